/* cairn-storagenode: keeps shards on a disk and gives them back, bit for bit or not at all (DESIGN
 * section 5).  The index lies in data_dir/index, the extents in data_dir/extents.
 *
 * Start: configuration, index, disk, then recovery; the RPC port opens once the store is up.
 * SIGTERM: no new connections, what is under way is finished, the index is flushed, all is closed.
 * A disk that fails leaves the process running and unready: what it can still read is worth reading. */
#include "common/base/check.h"
#include "common/env_uv/disk_uv.h"
#include "common/env_uv/kv_rocksdb.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/proc/proc_rpc.h"
#include "storagenode/io/service.h"

#include <stdio.h>
#include <stdlib.h>

#define TIB (1ll << 40)

static const struct config_param params[] = {
    {"extent_bytes", CONFIG_BYTES, "256MiB", 1 << 20, 4ll << 30, NULL,
     "size of an extent file; fixed once the disk has one", 0},
    {"capacity_bytes", CONFIG_BYTES, "0", 0, 1024 * TIB, NULL,
     "what extents may take in all; 0: what the file system has", 0},
    {"space_reserve_bytes", CONFIG_BYTES, "1GiB", 1 << 20, 1024 * TIB, NULL,
     "of the file system, left free when capacity_bytes is 0", 0},
    {"extents_reserve", CONFIG_INT, "0", 0, 1 << 20, NULL,
     "extents kept for deletion marks and reclamation; 0: 2 or 2 %", 0},
    {"extents_ready", CONFIG_INT, "1", 1, 64, NULL, "extents prepared ahead of need", 0},
    {"queue_bytes_max", CONFIG_BYTES, "64MiB", 1 << 20, TIB, NULL,
     "puts waiting or being written; beyond it they are refused", 0},
    {"read_bytes_max", CONFIG_BYTES, "128MiB", 32 << 20, TIB, NULL,
     "memory of reads under way; beyond it they are refused", 0},
    {"batch_bytes_max", CONFIG_BYTES, "32MiB", 1 << 16, 1ll << 30, NULL,
     "of one group commit; a single shard may be larger", 0},
    {"batch_frames_max", CONFIG_INT, "256", 1, 1024, NULL, "shards in one group commit", 0},
    {"index_flush_bytes", CONFIG_BYTES, "256MiB", 1 << 20, TIB, NULL,
     "written to extents before the index is flushed: what a restart reads again", 0},
    {"index_flush_interval", CONFIG_DURATION, "30s", 100, 86400000, NULL,
     "after which a changed index is flushed", 0},
    {"index_cache_bytes", CONFIG_BYTES, "16MiB", 1 << 20, TIB, NULL, "block cache of the index", 0},
    {"reclaim_bytes_per_sec", CONFIG_BYTES, "64MiB", 1 << 10, TIB, NULL,
     "copied out of mostly dead extents; not bounded when space is short", 0},
    {"scrub_period", CONFIG_DURATION, "336h", 60000, 31536000000, NULL,
     "in which every stored byte is read again and verified", 0},
    {"scrub_bytes_per_sec_max", CONFIG_BYTES, "64MiB", 1 << 16, TIB, NULL,
     "read by the scrub, however late it is", 0},
    {"put_age_max", CONFIG_DURATION, "10m", 1000, 86400000, NULL,
     "a put whose blob was named longer ago is refused", 0},
    {"clock_skew_max", CONFIG_DURATION, "1m", 1, 3600000, NULL,
     "a put whose blob was named further in the future is refused", 0},
    {"tombstone_retention", CONFIG_DURATION, "30m", 1000, 604800000, NULL,
     "how long a deleted blob's id is remembered; more than put_age_max and twice clock_skew_max", 0},
    {"read_threads", CONFIG_INT, "4", 1, 64, NULL, "reads at once", 0},
};

struct node {
    struct proc proc;
    struct proc_rpc rpc;
    struct kv *kv;
    struct disk *disk;
    struct store *store;
    struct service *service;
};

static bool ready(void *arg, struct buf *ret_reason)
{
    struct node *n = arg;
    struct store_stats st;
    store_stats_get(n->store, &st);
    switch (st.state) {
    case STORE_UP: return true; /* a full disk serves reads, and says so by its metrics */
    case STORE_NEW:
    case STORE_OPENING: buf_cstr(ret_reason, "recovering"); break;
    case STORE_FAILED:
        buf_printf(ret_reason, "the disk is out of service: %s", err_text(st.failure));
        break;
    case STORE_CLOSING:
    case STORE_CLOSED: buf_cstr(ret_reason, "closing"); break;
    }
    return false;
}

/* ---- draining: calls, store, disk, index, connections ---- */

static void on_rpc_closed(void *arg)
{
    struct node *n = arg;
    proc_drained(&n->proc);
}

static void on_disk_closed(void *arg)
{
    struct node *n = arg;
    n->disk = NULL;
    n->kv->ops->close(n->kv);
    n->kv = NULL;
    proc_rpc_close(&n->rpc, on_rpc_closed, n);
}

static void on_store_closed(void *arg, int err)
{
    struct node *n = arg;
    log_info("storagenode.closed", 0, L_ERR(err));
    disk_close(n->disk, on_disk_closed, n);
}

/* What has been taken is finished and answered; what comes now is refused, so that gateways go
 * elsewhere. */
static void drain(void *arg)
{
    struct node *n = arg;
    log_info("storagenode.drain", 0);
    rpc_stop_listening(n->rpc.rpc);
    store_close_start(n->store, on_store_closed, n);
}

/* ---- starting ---- */

static void on_kv_failed(void *arg, int err, const char *text)
{
    (void)arg;
    log_error("storagenode.index_failed", 0, L_ERR(err), L_STR("what", text));
}

static void on_store_failed(void *arg, int err)
{
    (void)arg;
    log_error("storagenode.out_of_service", 0, L_ERR(err),
              L_STR("what", "nothing is written any more; its shards must be rebuilt elsewhere"));
}

/* At most LOG_BURST lines a second, and how many more there were. */
static void on_damage(void *arg, const struct store_damage *d)
{
    char blob_id[ID_HEX_CHARS + 1];
    (void)arg;
    id128_hex(d->blob_id, blob_id);
    log_error("store.scrub_damaged", 0, L_ERR(d->err), L_STR("blob_id", blob_id),
              L_UINT("shard", d->shard_index), L_UINT("extent", d->extent_id),
              L_UINT("offset", d->offset));
}

static void on_open(void *arg, int err)
{
    struct node *n = arg;
    struct store_stats st;
    store_stats_get(n->store, &st);
    if (err) {
        proc_fail(&n->proc, 1, "storagenode.recovery_failed", err_text(err));
        return;
    }
    if (st.corruptions)
        log_error("storagenode.damage_found", 0, L_UINT("count", st.corruptions));
    log_info("storagenode.open", 0, L_UINT("shards", st.shards), L_UINT("extents", st.extents),
             L_UINT("live_bytes", st.live_bytes), L_UINT("recovered_frames", st.recovered_frames),
             L_UINT("torn_frames", st.torn_frames));
    if (proc_draining(&n->proc))
        return;
    err = service_new(n->rpc.rpc, n->store, &n->service);
    if (!err)
        err = proc_rpc_listen(&n->proc, &n->rpc);
    if (err)
        proc_fail(&n->proc, 1, "storagenode.listen_failed", err_text(err));
}

static int open_index(struct node *n)
{
    struct proc *p = &n->proc;
    struct buf text = {0}, path = {0};
    buf_printf(&path, "%s/index", p->data_dir);
    buf_u8(&path, 0);
    struct kv_rocksdb_config config = {.mode = KV_STATE,
                                       .path = (const char *)path.ptr,
                                       .cache_bytes = config_bytes(p->config, "index_cache_bytes"),
                                       .on_failed = on_kv_failed,
                                       .arg = n};
    int err = path.failed ? ERR_NOMEM : kv_rocksdb_open(p->env, &config, &n->kv, &text);
    if (err)
        log_error("storagenode.index", 0, L_ERR(err), L_BYTES("what", buf_view(&text)));
    buf_fini(&text);
    buf_fini(&path);
    return err;
}

static int open_disk(struct node *n)
{
    struct proc *p = &n->proc;
    struct buf path = {0};
    buf_printf(&path, "%s/extents", p->data_dir);
    buf_u8(&path, 0);
    unsigned threads = (unsigned)config_int(p->config, "read_threads");
    int err = path.failed ? ERR_NOMEM
                          : disk_uv_open(p->env, (const char *)path.ptr, threads, &n->disk);
    if (err)
        log_error("storagenode.extents", 0, L_ERR(err), L_BYTES("path", buf_view(&path)));
    buf_fini(&path);
    return err;
}

static struct store_config store_config_read(const struct config *c)
{
    return (struct store_config){
        .extent_bytes = config_bytes(c, "extent_bytes") / FRAME_ALIGN * FRAME_ALIGN,
        .capacity_bytes = config_bytes(c, "capacity_bytes"),
        .space_reserve_bytes = config_bytes(c, "space_reserve_bytes"),
        .extents_reserve = (uint32_t)config_int(c, "extents_reserve"),
        .extents_ready = (uint32_t)config_int(c, "extents_ready"),
        .queue_bytes_max = config_bytes(c, "queue_bytes_max"),
        .read_bytes_max = config_bytes(c, "read_bytes_max"),
        .batch_bytes_max = config_bytes(c, "batch_bytes_max"),
        .batch_frames_max = (uint32_t)config_int(c, "batch_frames_max"),
        .flush_bytes = config_bytes(c, "index_flush_bytes"),
        .flush_interval_ms = config_duration_ms(c, "index_flush_interval"),
        .reclaim_bytes_per_sec = config_bytes(c, "reclaim_bytes_per_sec"),
        .scrub_period_ms = config_duration_ms(c, "scrub_period"),
        .scrub_bytes_per_sec_max = config_bytes(c, "scrub_bytes_per_sec_max"),
        .put_age_ms_max = config_duration_ms(c, "put_age_max"),
        .clock_skew_ms_max = config_duration_ms(c, "clock_skew_max"),
        .tombstone_retention_ms = config_duration_ms(c, "tombstone_retention"),
    };
}

static int start(struct node *n)
{
    struct proc *p = &n->proc;
    if (p->data_dir[0] == 0) {
        log_error("config.data_dir", 0, L_STR("what", "data_dir is not set"));
        return ERR_CONFIG;
    }
    struct store_config config = store_config_read(p->config);
    config.on_failed = on_store_failed;
    config.on_damage = on_damage;
    int err = proc_rpc_open(p, NET_ROLE_STORAGENODE, &n->rpc);
    if (!err)
        err = open_index(n);
    if (!err)
        err = open_disk(n);
    if (err)
        return err;
    err = store_new(p->env, n->disk, n->kv, &config, &n->store);
    if (err) {
        log_error("config.storagenode", 0, L_ERR(err),
                  L_STR("what", "tombstone_retention must exceed put_age_max + 2 clock_skew_max"));
        return err;
    }
    store_open_start(n->store, on_open, n);
    return OK;
}

int main(int argc, char **argv)
{
    static struct node n;
    int status;
    if (!proc_init(&n.proc, "cairn-storagenode", argc, argv, params, ARRAY_COUNT(params), &status))
        return status;
    if (start(&n) != OK)
        return 1;
    n.proc.on_drain = drain;
    n.proc.ready = ready;
    n.proc.arg = &n;
    status = proc_run(&n.proc);
    service_free(n.service);
    store_free(n.store);
    return status;
}
