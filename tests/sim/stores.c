/* Boots, crashes and looks into storage nodes. */
#include "tests/sim/stores.h"

#include "common/base/check.h"
#include "common/env/disk_mem.h"
#include "storagenode/extent/record.h"
#include "storagenode/io/follow.h"
#include "storagenode/io/leave.h"
#include "storagenode/io/service.h"
#include "storagenode/op/disks.h"
#include "storagenode/orphans/agent.h"
#include "storagenode/repair/agent.h"

#include <stdio.h>
#include <stdlib.h>

#define DISK_BYTES (32ull << 20)
#define EXTENT_BYTES (160ull << 10) /* two of the largest segments, or some twenty small ones */
#define DISK_DELAY_NS_MAX (2 * NS_PER_MS)
#define REPORT_NS (500 * NS_PER_MS)
#define REPAIR_INTERVAL_NS NS_PER_SEC
#define SCRUB_PERIOD_MS 10000
#define TOMBSTONE_MS 15500ull

static void problem(struct sim_node *n, const char *what, int err)
{
    char text[200];
    snprintf(text, sizeof(text), "%s %s: %s", n->id, what, err_name(err));
    n->failed = true;
    n->cluster->problem(n->cluster->problem_arg, text);
}

/* ---- life ---- */

static void drive_init(struct sim_node *n, struct sim_drive *drive)
{
    struct sim_cluster *c = n->cluster;
    struct disk_mem_config disk = {.seed = world_random(c->world),
                                   .bytes_total = DISK_BYTES,
                                   .delay_ns_max = 1 + world_below(c->world, DISK_DELAY_NS_MAX)};
    uint64_t flush_ns = world_below(c->world, 2) ? 5 * NS_PER_MS : 300 * NS_PER_MS;
    struct kv_mem_config index = {
        .mode = KV_STATE, .flush_delay_ns = flush_ns, .keep_on_close = true};
    drive->disk = disk_mem_new(host_env(n->host), &disk);
    drive->kv = kv_mem_new(host_env(n->host), &index);
    CHECK(drive->disk && drive->kv);
}

void sim_store_init(struct sim_node *n)
{
    n->drive_count = n->cluster->drives_per_store ? n->cluster->drives_per_store : 1;
    CHECK(n->drive_count <= SIM_DRIVES_MAX);
    for (size_t i = 0; i < n->drive_count; i++)
        drive_init(n, &n->drives[i]);
}

static bool record_find(const struct sim_drive *drive, struct record_key key, struct buf *ret)
{
    buf_clear(ret);
    return drive->kv->ops->get(drive->kv, NULL, KV_INDEX, record_key_slice(&key), ret) == OK;
}

static void drive_empty(struct sim_node *n, size_t drive)
{
    n->emptied_ns = world_now(n->cluster->world);
    drive_init(n, &n->drives[drive]); /* the old one is left to the run's process */
}

void sim_store_replace(struct sim_node *n, size_t drive, bool of_all)
{
    struct buf value = {0};
    struct disk_record record;
    CHECK(!n->running && drive < n->drive_count);
    n->refused &= ~(1u << drive);
    if (!of_all && record_find(&n->drives[drive], record_key_disk(), &value) &&
        disk_record_decode(buf_view(&value), &record) == OK) {
        n->given_up = realloc(n->given_up, (n->given_up_count + 1) * sizeof(*n->given_up));
        CHECK(n->given_up);
        n->given_up[n->given_up_count++] = record.disk_id;
    }
    buf_fini(&value);
    drive_empty(n, drive);
}

static void store_failed(void *arg, size_t disk, int err)
{
    struct sim_node *n = arg;
    (void)disk;
    if (n->repair)
        repair_agent_unfill(n->repair);
    if (!n->disk_may_fail)
        problem(n, "is out of service", err);
}

/* ---- following, reporting, repairing: as cairn-storagenode does it ---- */

/* As cairn-storagenode does it: nothing of the disk is served any more, and it is emptied at the
 * next start. */
static void on_disk_lost(void *arg, const struct id128 *disk_id)
{
    struct sim_node *n = arg;
    size_t member;
    if (disks_give_up(n->disks, *disk_id, &member) != OK)
        return;
    if (n->repair)
        repair_agent_unfill(n->repair);
    n->refused |= 1u << member;
    n->cluster->emptied(n->cluster->emptied_arg, n);
}

static int follow_start(struct sim_node *n)
{
    struct sim_cluster *c = n->cluster;
    const char *ids[SIM_NODES_MAX], *addrs[SIM_NODES_MAX];
    struct follow_config config = {.node_id = n->id,
                                   .metanode_ids = ids,
                                   .metanode_addrs = addrs,
                                   .metanode_count = c->zones,
                                   .report_ns = REPORT_NS,
                                   .on_disk_lost = on_disk_lost,
                                   .arg = n};
    for (size_t i = 0; i < c->zones; i++) {
        ids[i] = c->metas[i].id;
        addrs[i] = host_addr(c->metas[i].host);
    }
    return follow_new(n->rpc, n->disks, &config, &n->follow);
}

static int repair_start(struct sim_node *n, struct service *service)
{
    struct repair_config config = {.node_id = n->id,
                                   .repair_age_ms = SIM_REPAIR_AGE_MS,
                                   .interval_ns = REPAIR_INTERVAL_NS,
                                   .seen_ns_max = TOMBSTONE_MS / 3 * NS_PER_MS,
                                   .timeout_ns = 2 * NS_PER_SEC};
    struct leave *leave;
    int err = repair_agent_new(n->rpc, follow_map(n->follow), &config, &n->repair);
    if (err == OK)
        err = leave_new(host_env(n->host), n->disks, follow_map(n->follow), n->id, &leave);
    if (err == OK) {
        follow_report_repair(n->follow, n->repair);
        service_report_repair(service, n->repair);
    }
    return err;
}

static int orphans_start(struct sim_node *n)
{
    struct orphans_config config = {.node_id = n->id,
                                    .orphan_age_ms = SIM_ORPHAN_AGE_MS,
                                    .interval_ns = NS_PER_SEC,
                                    .timeout_ns = 2 * NS_PER_SEC};
    struct orphans *orphans;
    return orphans_new(host_env(n->host), n->disks, follow_map(n->follow), &config, &orphans);
}

static void on_damage(void *arg, size_t disk, const struct store_damage *d)
{
    struct sim_node *n = arg;
    if (n->repair)
        repair_agent_spot(n->repair, d->pg, &d->blob_id,
                          d->by_scrub ? (unsigned)disk : REPAIR_SOURCE_NONE);
}

static void opened(void *arg, int err)
{
    struct sim_node *n = arg;
    struct service *service;
    if (err == OK)
        err = service_new(n->rpc, n->disks, &service);
    if (err == OK && n->cluster->mends)
        err = follow_start(n);
    if (err == OK && n->cluster->mends)
        err = repair_start(n, service);
    if (err == OK && n->cluster->mends)
        err = orphans_start(n);
    if (err == OK)
        err = rpc_listen(n->rpc, host_addr(n->host));
    if (err != OK && !n->disk_may_fail)
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
        .put_age_ms_max = SIM_PUT_AGE_MS,
        .clock_skew_ms_max = 5000,
        .tombstone_retention_ms = TOMBSTONE_MS,
        .scrub_period_ms = n->cluster->mends ? SCRUB_PERIOD_MS : 0,
    };
}

void sim_store_boot(struct sim_node *n)
{
    struct disks_member members[SIM_DRIVES_MAX];
    for (size_t i = 0; i < n->drive_count; i++)
        if (n->refused & 1u << i)
            drive_empty(n, i);
    n->refused = 0;
    for (size_t i = 0; i < n->drive_count; i++) {
        static const char *const paths[SIM_DRIVES_MAX] = {"", "b", "c"};
        disk_mem_attach(n->drives[i].disk, host_env(n->host));
        kv_mem_set_env(n->drives[i].kv, host_env(n->host));
        members[i] = (struct disks_member){
            .disk = n->drives[i].disk, .kv = n->drives[i].kv, .path = paths[i]};
    }
    struct disks_config config = {.store = config_of(n),
                                  .members = members,
                                  .count = n->drive_count,
                                  .lost = n->given_up,
                                  .lost_count = n->given_up_count,
                                  .on_failed = store_failed,
                                  .on_damage = on_damage,
                                  .arg = n};
    CHECK(disks_new(host_env(n->host), &config, &n->disks) == OK);
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
    n->follow = NULL;
    n->repair = NULL;
    bool lose = world_below(w, 4) != 0;
    for (size_t i = 0; i < n->drive_count; i++) {
        disk_mem_crash(n->drives[i].disk, lose);
        kv_mem_crash(n->drives[i].kv, random64, w);
    }
}

/* ---- looking into it ---- */

/* NULL: that disk cannot be asked. */
static struct store *store_of(const struct sim_node *n, size_t drive)
{
    struct store_stats st;
    struct store *s = n->disks ? disks_store(n->disks, drive) : NULL;
    if (!s)
        return NULL;
    store_stats_get(s, &st);
    return st.state == STORE_UP ? s : NULL;
}

bool sim_store_up(const struct sim_node *n)
{
    if (!n->running || n->failed || !n->disks || !disks_are_open(n->disks))
        return false;
    for (size_t i = 0; i < n->drive_count; i++)
        if (!store_of(n, i))
            return false;
    return true;
}

static void each_of_drive(struct sim_node *n, size_t drive,
                          void (*fn)(void *arg, const struct sim_shard *shard), void *arg)
{
    struct kv *kv = n->drives[drive].kv;
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, SLICE_LIT("b"), SLICE_LIT("c"));
    CHECK(it);
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
        struct blob_record record;
        struct sim_shard shard = {.drive = drive};
        CHECK(record_key_blob_parse(it->ops->key(it), &shard.blob_id) &&
              blob_record_decode(it->ops->value(it), &record) == OK);
        for (uint32_t i = 0; i < record.shard_count; i++) {
            const struct shard_record *r = &record.shards[i];
            shard.index = r->shard_index;
            shard.damaged = r->damaged;
            shard.extent_id = r->extent_id;
            shard.offset = r->offset;
            shard.bytes = r->bytes;
            fn(arg, &shard);
        }
    }
    it->ops->free(it);
}

void sim_store_each(struct sim_node *n, void (*fn)(void *arg, const struct sim_shard *shard),
                    void *arg)
{
    for (size_t i = 0; i < n->drive_count; i++)
        if (store_of(n, i))
            each_of_drive(n, i, fn, arg);
}

bool sim_store_marked(struct sim_node *n, struct id128 blob_id)
{
    struct buf value = {0};
    bool marked = false, lives = false;
    for (size_t i = 0; i < n->drive_count; i++) {
        struct blob_record record;
        if (!store_of(n, i) || !record_find(&n->drives[i], record_key_blob(blob_id), &value) ||
            blob_record_decode(buf_view(&value), &record) != OK)
            continue;
        marked |= record.deleted;
        lives |= !record.deleted && record.shard_count > 0;
    }
    buf_fini(&value);
    return marked && !lives;
}

static bool head_read(struct sim_node *n, const struct sim_shard *shard, struct frame_head *ret)
{
    char name[EXTENT_NAME_BYTES + 1];
    uint8_t block[FRAME_HEAD_BYTES];
    extent_name(shard->extent_id, name);
    return shard->extent_id != EXTENT_NONE &&
           disk_mem_peek(n->drives[shard->drive].disk, name, shard->offset, block, sizeof(block)) &&
           frame_head_decode(SLICE(block, sizeof(block)), ret) == OK && ret->kind == FRAME_SHARD &&
           id128_eq(ret->info.blob_id, shard->blob_id) && ret->info.shard_index == shard->index &&
           ret->data_bytes == shard->bytes;
}

bool sim_store_head_whole(struct sim_node *n, const struct sim_shard *shard)
{
    struct frame_head *head = malloc(sizeof(*head));
    CHECK(head);
    bool whole = head_read(n, shard, head);
    free(head);
    return whole;
}

bool sim_store_whole(struct sim_node *n, const struct sim_shard *shard)
{
    char name[EXTENT_NAME_BYTES + 1];
    struct frame_head *head = malloc(sizeof(*head));
    uint8_t *data = malloc(shard->bytes + 1);
    CHECK(head && data);
    extent_name(shard->extent_id, name);
    bool whole = !shard->damaged && head_read(n, shard, head) &&
                 disk_mem_peek(n->drives[shard->drive].disk, name, shard->offset + FRAME_HEAD_BYTES,
                               data, shard->bytes) &&
                 frame_data_verify(head, SLICE(data, shard->bytes)) == OK;
    free(head);
    free(data);
    return whole;
}

void sim_store_flip(struct sim_node *n, const struct sim_shard *shard)
{
    struct world *w = n->cluster->world;
    char name[EXTENT_NAME_BYTES + 1];
    extent_name(shard->extent_id, name);
    /* Of the head only what is no padding: it need not be noticed there. */
    uint64_t at = world_below(w, 8) == 0 ? world_below(w, FRAME_KEY_OFFSET)
                                                 : FRAME_HEAD_BYTES + world_below(w, shard->bytes);
    CHECK(disk_mem_flip(n->drives[shard->drive].disk, name, shard->offset + at,
                        (unsigned)world_below(w, 8)));
}

void sim_store_check(struct sim_node *n)
{
    for (size_t i = 0; i < n->drive_count; i++) {
        struct store *s = store_of(n, i);
        if (s && store_is_idle(s))
            store_check(s);
    }
}

void sim_store_count_get(struct sim_node *n, struct sim_store_counts *ret)
{
    *ret = (struct sim_store_counts){0};
    for (size_t i = 0; n->disks && i < n->drive_count; i++) {
        struct store_stats st;
        struct store *s = disks_store(n->disks, i);
        if (!s)
            continue;
        store_stats_get(s, &st);
        ret->opening |= st.state == STORE_OPENING;
        ret->puts += st.puts;
        ret->deletes += st.deletes;
        ret->queued += st.queued_count;
        ret->index_flushes += st.index_flushes;
        ret->extents_reclaimed += st.extents_reclaimed;
    }
}
