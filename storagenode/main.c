/* cairn-storagenode: keeps shards on its disks and gives them back, bit for bit or not at all
 * (DESIGN section 5).  Each disk has its index and its extents.
 *
 * Start: configuration, disks, then recovery; the RPC port opens once that has ended and one disk
 * is up.  SIGTERM: no new connections, what is under way is finished, the indexes are flushed, all
 * is closed.  A disk that fails leaves the process running, unready when it was the last: what it
 * can still read is worth reading. */
#include "common/base/check.h"
#include "common/obs/log.h"
#include "common/proc/proc_rpc.h"
#include "storagenode/io/follow.h"
#include "storagenode/io/leave.h"
#include "storagenode/io/service.h"
#include "storagenode/orphans/agent.h"
#include "storagenode/proc/members.h"
#include "storagenode/repair/agent.h"

#include <stdlib.h>

#define TIB (1ll << 40)
#define MAP_SEEDS_MAX 64 /* metanodes that are asked for the map */

static const struct config_param params[] = {
    {"disks", CONFIG_STRING, "", 0, 0, NULL,
     "directories of the disks, with commas between them; empty: data_dir is the only one", 0},
    {"disks_lost", CONFIG_STRING, "", 0, 0, NULL,
     "ids of disks that are given up, with commas: no longer missed, never served again", 0},
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
    {"scrub_period", CONFIG_DURATION, "336h", 1000, 31536000000, NULL,
     "in which every stored byte is read again and verified", 0},
    {"scrub_bytes_per_sec_max", CONFIG_BYTES, "64MiB", 1 << 16, TIB, NULL,
     "read by the scrub, however late it is", 0},
    {"put_age_max", CONFIG_DURATION, "10m", 1000, 86400000, NULL,
     "a put whose blob was named longer ago is refused", 0},
    {"clock_skew_max", CONFIG_DURATION, "1m", 1, 3600000, NULL,
     "a put whose blob was named further in the future is refused", 0},
    {"tombstone_retention", CONFIG_DURATION, "30m", 1000, 604800000, NULL,
     "how long a deleted blob's id is remembered; more than put_age_max and twice clock_skew_max",
     0},
    {"orphan_blobs_per_sec", CONFIG_INT, "200", 1, 1000000, NULL,
     "blobs that their owners' partitions are asked about, at most", 0},
    {"repair_bytes_per_sec", CONFIG_BYTES, "32MiB", 1 << 10, TIB, NULL,
     "read and written by repair, in all", 0},
    {"repair_bytes_per_sec_endangered", CONFIG_BYTES, "256MiB", 1 << 10, TIB, NULL,
     "the same, for blobs that one more loss could destroy; at least repair_bytes_per_sec", 0},
    {"repair_interval", CONFIG_DURATION, "5m", 200, 86400000, NULL,
     "after which a group's shards are compared again, when nothing else has asked for it", 0},
    {"repair_age", CONFIG_DURATION, "30s", 100, 3600000, NULL,
     "blobs that are younger are left to their writers", 0},
    {"repair_parallel", CONFIG_INT, "4", 1, REPAIR_PARALLEL_MAX, "blobs",
     "mended at once; each takes up to 24 MiB of memory and a range of each shard it reads", 0},
    {"deep_scrub_period", CONFIG_DURATION, "720h", 60000, 31536000000, NULL,
     "in which all shards of each blob are read and compared once", 0},
    {"deep_scrub_bytes_per_sec", CONFIG_BYTES, "16MiB", 1 << 16, TIB, NULL,
     "read for that, from all members together", 0},
    {"read_threads", CONFIG_INT, "4", 1, 64, NULL, "reads at once", 0},
};

struct node {
    struct proc proc;
    struct proc_rpc rpc;
    struct members members;
    struct disks *disks;
    struct service *service;
    struct follow *follow;
    struct orphans *orphans;
    struct repair_agent *repair;
    struct leave *leave;
};

static bool ready(void *arg, struct buf *ret_reason)
{
    struct node *n = arg;
    struct disks_counts counts;
    disks_count(n->disks, &counts);
    if (!disks_are_open(n->disks))
        buf_cstr(ret_reason, proc_draining(&n->proc) ? "closing" : "recovering");
    else if (counts.up == 0)
        buf_cstr(ret_reason, counts.members == 1 ? "the disk is out of service"
                                                 : "all disks are out of service");
    else /* full disks serve reads, and say so by their metrics */
        return true;
    return false;
}

/* ---- draining: calls, disks, indexes, connections ---- */

static void on_rpc_closed(void *arg)
{
    struct node *n = arg;
    proc_drained(&n->proc);
}

static void on_members_closed(void *arg)
{
    struct node *n = arg;
    proc_rpc_close(&n->rpc, on_rpc_closed, n);
}

static void on_disks_closed(void *arg, int err)
{
    struct node *n = arg;
    log_info("storagenode.closed", 0, L_ERR(err));
    members_close(&n->members, on_members_closed, n);
}

/* What has been taken is finished and answered; what comes now is refused, so that gateways go
 * elsewhere. */
static void drain(void *arg)
{
    struct node *n = arg;
    log_info("storagenode.drain", 0);
    rpc_stop_listening(n->rpc.rpc);
    if (n->orphans)
        orphans_stop(n->orphans);
    if (n->repair)
        repair_agent_stop(n->repair); /* what is under way ends with the connections, at latest */
    leave_free(n->leave);
    n->leave = NULL;
    if (n->follow)
        follow_stop(n->follow);
    disks_close_start(n->disks, on_disks_closed, n);
}

/* ---- starting ---- */

static void on_disk_failed(void *arg, size_t disk, int err)
{
    struct node *n = arg;
    if (n->repair)
        repair_agent_unfill(n->repair);
    log_error(
        "storagenode.out_of_service", 0, L_ERR(err), L_STR("path", n->members.disks[disk].path),
        L_STR("what", "nothing is written there any more; its shards must be rebuilt elsewhere"));
}

static void on_report_refused(void *arg, int err)
{
    (void)arg;
    log_warn("storagenode.report_refused", 0, L_ERR(err));
}

/* Blobs may have been deleted without it. */
static void on_disk_lost(void *arg, const struct id128 *disk_id)
{
    struct node *n = arg;
    size_t member;
    if (disks_give_up(n->disks, *disk_id, &member) != OK)
        return; /* it is not here, or refused already */
    if (n->repair)
        repair_agent_unfill(n->repair);
    int err = members_give_up(&n->members, member);
    log_error("storagenode.disk_given_up", 0, L_ERR(err),
              L_STR("path", n->members.disks[member].path),
              L_STR("what", "this node was lost, and given up (drained) meanwhile: the disk is not "
                            "served any more; start the node again, it is emptied then and used as "
                            "a new one"));
}

static void disk_tell(const struct disks_status *st)
{
    char id[ID_HEX_CHARS + 1];
    id128_hex(st->id, id);
    if (st->state == DISKS_STATE_LOST && st->present)
        log_error("storagenode.disk_refused", 0, L_STR("path", st->path), L_STR("disk_id", id),
                  L_STR("what", "this disk was given up (disks_lost): blobs may have been deleted "
                                "without it; empty the directory to use it as a new disk"));
    else if (st->state == DISKS_STATE_FAILED && !st->present)
        log_error("storagenode.disk_missing", 0, L_STR("path", st->path), L_STR("disk_id", id),
                  L_STR("what", "this node had a disk of this id; bring it back, or name it in "
                                "disks_lost: nothing is deleted before"));
    else if (st->state == DISKS_STATE_FAILED)
        log_error("storagenode.out_of_service", 0, L_ERR(st->err), L_STR("path", st->path),
                  L_STR("what", st->err == ERR_VERSION
                                    ? "the index is of an earlier version: remove "
                                      "it, it is built anew from the extents"
                                : st->err == ERR_EXISTS ? "another directory has the same disk id"
                                                        : "the disk could not be opened"));
    if (st->stats.corruptions)
        log_error("storagenode.damage_found", 0, L_STR("path", st->path),
                  L_UINT("count", st->stats.corruptions));
    if (st->state == DISKS_STATE_UP)
        log_info("storagenode.open", 0, L_STR("path", st->path), L_STR("disk_id", id),
                 L_UINT("shards", st->stats.shards), L_UINT("extents", st->stats.extents),
                 L_UINT("live_bytes", st->stats.live_bytes),
                 L_UINT("recovered_frames", st->stats.recovered_frames),
                 L_UINT("torn_frames", st->stats.torn_frames));
}

static void on_report(void *arg, Cairn__NodeReport *report)
{
    struct node *n = arg;
    struct orphans_stats st;
    if (!n->orphans)
        return;
    orphans_stats(n->orphans, &st);
    report->orphans_condemned = st.condemned;
}

static int orphans_start(struct node *n)
{
    const struct orphans_config config = {
        .node_id = n->proc.node_id,
        .orphan_age_ms = n->proc.cluster.orphan_age_ms,
        .blobs_per_sec = (uint64_t)config_int(n->proc.config, "orphan_blobs_per_sec")};
    int err = orphans_new(n->proc.env, n->disks, follow_map(n->follow), &config, &n->orphans);
    return err ? err : orphans_metrics_register(n->orphans);
}

/* Without a cluster file there is no map to follow. */
static int follow_start(struct node *n)
{
    const char *ids[MAP_SEEDS_MAX], *addrs[MAP_SEEDS_MAX];
    struct follow_config config = {.node_id = n->proc.node_id,
                                   .metanode_ids = ids,
                                   .metanode_addrs = addrs,
                                   .on_refused = on_report_refused,
                                   .on_report = on_report,
                                   .on_disk_lost = on_disk_lost,
                                   .arg = n};
    const struct cluster_node *c;
    for (size_t pos = 0;
         config.metanode_count < MAP_SEEDS_MAX &&
         (c = cluster_node_next(&n->proc.cluster, NET_ROLE_METANODE, &pos)) != NULL;) {
        ids[config.metanode_count] = c->id;
        addrs[config.metanode_count++] = c->addr;
    }
    if (config.metanode_count == 0)
        return OK;
    int err = follow_new(n->rpc.rpc, n->disks, &config, &n->follow);
    return err ? err : orphans_start(n);
}

static uint64_t duration_ns(const struct config *c, const char *name)
{
    return config_duration_ms(c, name) * NS_PER_MS;
}

static bool deep_load(void *arg, uint32_t pg, uint64_t ret_since_ms[REPAIR_BUCKETS])
{
    return disks_deep_load(((struct node *)arg)->disks, pg, ret_since_ms);
}

static void deep_save(void *arg, uint32_t pg, const uint64_t since_ms[REPAIR_BUCKETS])
{
    disks_deep_save(((struct node *)arg)->disks, pg, since_ms);
}

/* Shards that are wrong and sound by themselves: something other than a disk has made them so. */
static void on_deep_found(void *arg, const struct repair_deep_found *f)
{
    char blob_id[ID_HEX_CHARS + 1];
    (void)arg;
    id128_hex(f->blob_id, blob_id);
    if (f->unproven)
        log_error("repair.blob_unproven", 0, L_STR("blob_id", blob_id), L_UINT("pg", f->pg));
    else
        log_error("repair.shards_wrong", 0, L_STR("blob_id", blob_id), L_UINT("pg", f->pg),
                  L_UINT("shards", f->wrong), L_UINT("marked", f->marked));
}

/* Some may be orphans whose heads are damaged, too: they do not say whom to ask. */
static void on_filled_without(void *arg, uint32_t pg, uint64_t blobs)
{
    (void)arg;
    log_error("repair.filled_without", 0, L_UINT("pg", pg), L_UINT("blobs", blobs),
              L_STR("what", "shards of these blobs are whole at no old member; objects may have "
                            "lost redundancy, or more: `cairnctl verify` tells"));
}

/* Without a map to follow there is nobody to repair with. */
static int repair_start(struct node *n)
{
    const struct config *c = n->proc.config;
    struct repair_config config = {
        .node_id = n->proc.node_id,
        .repair_age_ms = config_duration_ms(c, "repair_age"),
        .interval_ns = duration_ns(c, "repair_interval"),
        .bytes_per_sec = config_bytes(c, "repair_bytes_per_sec"),
        .bytes_per_sec_endangered = config_bytes(c, "repair_bytes_per_sec_endangered"),
        .seen_ns_max = MIN(600 * NS_PER_SEC, duration_ns(c, "tombstone_retention") / 3),
        .parallel = (unsigned)config_int(c, "repair_parallel"),
        .deep_period_ms = config_duration_ms(c, "deep_scrub_period"),
        .deep_bytes_per_sec = config_bytes(c, "deep_scrub_bytes_per_sec"),
        .deep_load = deep_load,
        .deep_save = deep_save,
        .on_deep_found = on_deep_found,
        .on_filled_without = on_filled_without,
        .arg = n,
    };
    if (!n->follow)
        return OK;
    int err = repair_agent_new(n->rpc.rpc, follow_map(n->follow), &config, &n->repair);
    if (!err)
        err = repair_metrics_register(n->repair);
    if (!err)
        err = leave_new(n->proc.env, n->disks, follow_map(n->follow), n->proc.node_id, &n->leave);
    if (err)
        return err;
    follow_report_repair(n->follow, n->repair);
    service_report_repair(n->service, n->repair);
    return OK;
}

/* Repair learns of it at once.  At most LOG_BURST lines a second, and how many more there were. */
static void on_damage(void *arg, size_t disk, const struct store_damage *d)
{
    struct node *n = arg;
    char blob_id[ID_HEX_CHARS + 1];
    if (n->repair)
        repair_agent_spot(n->repair, d->pg, &d->blob_id,
                          d->by_scrub ? (unsigned)disk : REPAIR_SOURCE_NONE);
    if (!d->by_scrub)
        return; /* whoever reads says so */
    id128_hex(d->blob_id, blob_id);
    log_error("store.scrub_damaged", 0, L_ERR(d->err), L_STR("path", n->members.disks[disk].path),
              L_STR("blob_id", blob_id), L_UINT("shard", d->shard_index),
              L_UINT("extent", d->extent_id), L_UINT("offset", d->offset));
}

static void on_open(void *arg, int err)
{
    struct node *n = arg;
    struct disks_status st;
    if (proc_draining(&n->proc))
        return;
    for (size_t pos = 0; disks_status_next(n->disks, &pos, &st);)
        disk_tell(&st);
    if (err) {
        proc_fail(&n->proc, 1, "storagenode.recovery_failed", err_text(err));
        return;
    }
    err = service_new(n->rpc.rpc, n->disks, &n->service);
    if (!err)
        err = follow_start(n);
    if (!err)
        err = repair_start(n);
    if (!err)
        err = proc_rpc_listen(&n->proc, &n->rpc);
    if (err)
        proc_fail(&n->proc, 1, "storagenode.listen_failed", err_text(err));
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
    if (config_bytes(p->config, "repair_bytes_per_sec_endangered") <
        config_bytes(p->config, "repair_bytes_per_sec")) {
        log_error("config.repair_bytes_per_sec_endangered", 0,
                  L_STR("what", "must be at least repair_bytes_per_sec"));
        return ERR_CONFIG;
    }
    int err = proc_rpc_open(p, NET_ROLE_STORAGENODE, &n->rpc);
    if (!err)
        err = members_open(&n->members, p);
    if (err)
        return err;
    struct disks_config config = {.store = store_config_read(p->config),
                                  .members = n->members.disks,
                                  .count = n->members.count,
                                  .lost = n->members.lost,
                                  .lost_count = n->members.lost_count,
                                  .on_failed = on_disk_failed,
                                  .on_damage = on_damage,
                                  .arg = n};
    err = disks_new(p->env, &config, &n->disks);
    if (err) {
        log_error("config.storagenode", 0, L_ERR(err),
                  L_STR("what", "tombstone_retention must exceed put_age_max + 2 clock_skew_max"));
        return err;
    }
    disks_open_start(n->disks, on_open, n);
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
    orphans_free(n.orphans);
    repair_agent_free(n.repair);
    follow_free(n.follow);
    disks_free(n.disks);
    return status;
}
