/* Boots, crashes and looks into storage nodes. */
#include "tests/sim/stores.h"

#include "common/base/check.h"
#include "common/env/disk_mem.h"
#include "storagenode/extent/record.h"
#include "storagenode/io/service.h"
#include "storagenode/op/disks.h"

#include <stdio.h>

#define DISK_BYTES (32ull << 20)
#define EXTENT_BYTES (160ull << 10) /* two of the largest segments, or some twenty small ones */
#define DISK_DELAY_NS_MAX (2 * NS_PER_MS)

static void problem(struct sim_node *n, const char *what, int err)
{
    char text[200];
    snprintf(text, sizeof(text), "%s %s: %s", n->id, what, err_name(err));
    n->failed = true;
    n->cluster->problem(n->cluster->problem_arg, text);
}

/* ---- life ---- */

void sim_store_init(struct sim_node *n)
{
    struct sim_cluster *c = n->cluster;
    struct disk_mem_config disk = {.seed = world_random(c->world),
                                   .bytes_total = DISK_BYTES,
                                   .delay_ns_max = 1 + world_below(c->world, DISK_DELAY_NS_MAX)};
    uint64_t flush_ns = world_below(c->world, 2) ? 5 * NS_PER_MS : 300 * NS_PER_MS;
    struct kv_mem_config index = {
        .mode = KV_STATE, .flush_delay_ns = flush_ns, .keep_on_close = true};
    n->disk = disk_mem_new(host_env(n->host), &disk);
    n->index_kv = kv_mem_new(host_env(n->host), &index);
    CHECK(n->disk && n->index_kv);
}

static void store_failed(void *arg, size_t disk, int err)
{
    (void)disk;
    problem(arg, "is out of service", err);
}

static void opened(void *arg, int err)
{
    struct sim_node *n = arg;
    struct service *service;
    if (err == OK)
        err = service_new(n->rpc, n->disks, &service);
    if (err == OK)
        err = rpc_listen(n->rpc, host_addr(n->host));
    if (err != OK)
        problem(n, "does not recover", err);
}

/* As tombstone_retention_ms must outlast what the clocks of a run can be apart. */
static struct store_config config_of(struct sim_node *n)
{
    return (struct store_config){
        .extent_bytes = EXTENT_BYTES,
        .capacity_bytes = DISK_BYTES,
        .flush_bytes = n->cluster->store_flush_bytes,
        .flush_interval_ms = n->cluster->store_flush_ms,
        .put_age_ms_max = 5000,
        .clock_skew_ms_max = 5000,
        .tombstone_retention_ms = 15500,
    };
}

void sim_store_boot(struct sim_node *n)
{
    disk_mem_attach(n->disk, host_env(n->host));
    kv_mem_set_env(n->index_kv, host_env(n->host));
    struct disks_member member = {.disk = n->disk, .kv = n->index_kv, .path = ""};
    struct disks_config config = {.store = config_of(n),
                                  .members = &member,
                                  .count = 1,
                                  .on_failed = store_failed,
                                  .arg = n};
    CHECK(disks_new(host_env(n->host), &config, &n->disks) == OK);
    n->store = disks_store(n->disks, 0);
    disks_open_start(n->disks, opened, n);
}

static uint64_t random64(void *arg)
{
    return world_random(arg);
}

/* Sometimes only the process dies: what it had written is read again, but is not yet durable. */
void sim_store_crash(struct sim_node *n)
{
    struct world *w = n->cluster->world;
    n->disks = NULL;
    n->store = NULL;
    disk_mem_crash(n->disk, world_below(w, 4) != 0);
    kv_mem_crash(n->index_kv, random64, w);
}

/* ---- looking into it ---- */

bool sim_store_up(const struct sim_node *n)
{
    struct store_stats st;
    if (!n->running || n->failed || !n->store)
        return false;
    store_stats_get(n->store, &st);
    return st.state == STORE_UP;
}

void sim_store_each(struct sim_node *n, void (*fn)(void *arg, struct id128 blob_id), void *arg)
{
    struct kv *kv = n->index_kv;
    struct kv_iter *it =
        kv->ops->iter_new(kv, NULL, KV_INDEX, SLICE_LIT("x"), SLICE_LIT("y")); /* what lives */
    CHECK(it);
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
        struct live_record live;
        CHECK(live_record_decode(it->ops->value(it), &live) == OK);
        fn(arg, live.blob_id);
    }
    it->ops->free(it);
}

bool sim_store_marked(struct sim_node *n, struct id128 blob_id)
{
    struct record_key key = record_key_blob(blob_id);
    struct blob_record record;
    struct buf value = {0};
    int err = n->index_kv->ops->get(n->index_kv, NULL, KV_INDEX, record_key_slice(&key), &value);
    bool marked =
        err == OK && blob_record_decode(buf_view(&value), &record) == OK && record.deleted;
    buf_fini(&value);
    return marked;
}

void sim_store_check(struct sim_node *n)
{
    if (store_is_idle(n->store))
        store_check(n->store);
}
