/* A store's life: configuration, opening, putting, deleting, closing, and the one place that wakes
 * everybody. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"

#include <stdlib.h>

#define MIB (1ull << 20)
#define TICK_NS (1 * NS_PER_SEC)

static void config_default(struct store_config *c)
{
#define DEFAULT(field, value)                                                                      \
    if (c->field == 0)                                                                             \
    c->field = (value)
    DEFAULT(extent_bytes, 256 * MIB);
    DEFAULT(space_reserve_bytes, 1024 * MIB);
    DEFAULT(extents_ready, 1);
    DEFAULT(queue_bytes_max, 64 * MIB);
    DEFAULT(queue_count_max, 8192);
    DEFAULT(read_bytes_max, 128 * MIB);
    DEFAULT(batch_bytes_max, 32 * MIB);
    DEFAULT(batch_frames_max, 256);
    DEFAULT(flush_bytes, 256 * MIB);
    DEFAULT(flush_interval_ms, 30000);
    DEFAULT(reclaim_bytes_per_sec, 64 * MIB);
    DEFAULT(scrub_period_ms, 14ull * 24 * 3600 * 1000);
    DEFAULT(scrub_bytes_per_sec_max, 64 * MIB);
    DEFAULT(put_age_ms_max, 10 * 60 * 1000);
    DEFAULT(clock_skew_ms_max, 60 * 1000);
    DEFAULT(tombstone_retention_ms, 30 * 60 * 1000);
#undef DEFAULT
}

static bool config_good(const struct store_config *c)
{
    return c->extent_bytes % FRAME_ALIGN == 0 && c->extent_bytes <= EXTENT_BYTES_MAX &&
           c->extent_bytes >= EXTENT_HEADER_BYTES + frame_bytes(MARKS_PER_REQUEST_MAX * ID_BYTES) &&
           c->batch_frames_max <= 1024 &&
           c->tombstone_retention_ms > c->put_age_ms_max + 2 * c->clock_skew_ms_max;
}

static void on_kick(struct env_timer *t);
static void on_tick(struct env_timer *t);

int store_new(struct env *env, struct disk *disk, struct kv *kv, const struct store_config *config,
              struct store **ret)
{
    struct store_config c = *config;
    config_default(&c);
    if (!config_good(&c))
        return ERR_INVAL;
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->env = env;
    s->disk = disk;
    s->kv = kv;
    s->config = c;
    s->next_seq = 1;
    list_init(&s->queue);
    list_init(&s->reads);
    env_timer_init(env, &s->kick, on_kick);
    env_timer_init(env, &s->tick, on_tick);
    alloc_init(&s->alloc, c.extent_bytes, 0, 0);
    prepare_init(s);
    reclaim_init(s);
    scrub_init(s);
    int err = group_commit_init(s);
    if (err) {
        store_free(s);
        return err;
    }
    *ret = s;
    return OK;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    env_timer_stop(&s->kick);
    env_timer_stop(&s->tick);
    reads_abandon(s);
    recover_free(s);
    reclaim_fini(s);
    scrub_fini(s);
    group_commit_fini(s);
    alloc_fini(&s->alloc);
    free(s);
}

/* ---- waking ---- */

void store_wake(struct store *s)
{
    if (!s->kick.active)
        env_timer_start(&s->kick, 0);
}

static void files_close(struct store *s)
{
    for (uint32_t i = 0; i < s->alloc.slots; i++) {
        struct extent *x = s->alloc.extents[i];
        if (x && x->file)
            disk_file_close(s->disk, x->file);
        if (x)
            x->file = NULL;
    }
}

/* Closing ends once nothing is under way and the index is durable, or the store has failed. */
static void close_step(struct store *s)
{
    if (!s->close_cb || s->recover || !list_empty(&s->queue) || s->commit.op.state != 0 ||
        s->reads_under_way > 0 || s->space_pending || s->prepare.pending ||
        !prepare_idle(s) || !reclaim_idle(s) || !scrub_idle(s) || s->flush.running)
        return;
    if (s->state == STORE_CLOSING && s->flush.changes > s->flush.durable_mark) {
        s->flush.wanted = true;
        index_flush_step(s);
        if (s->state == STORE_CLOSING)
            return;
    }
    void (*cb)(void *, int) = s->close_cb;
    int err = s->failure;
    s->close_cb = NULL;
    s->state = STORE_CLOSED;
    /* The env may go before the store is freed: no timer is left with it. */
    struct env_timer *timers[] = {&s->tick, &s->kick, &s->reclaim.pause, &s->scrub.pause};
    for (size_t i = 0; i < ARRAY_COUNT(timers); i++)
        env_timer_stop(timers[i]);
    files_close(s);
    cb(s->close_arg, err);
}

static void on_kick(struct env_timer *t)
{
    struct store *s = container_of(t, struct store, kick);
    if (s->start_err) { /* the opening failed before it began; its callback may free the store */
        int err = s->start_err;
        s->start_err = OK;
        store_opened(s, err);
        return;
    }
    if (s->state != STORE_NEW && s->state != STORE_OPENING && s->state != STORE_CLOSED) {
        op_wake(&s->commit.op);
        op_wake(&s->reclaim.op);
        op_wake(&s->prepare.op);
        op_wake(&s->scrub.op);
        index_flush_step(s);
    }
    close_step(s); /* the last: its callback may free the store */
}

static void on_space(struct disk_req *req)
{
    struct store *s = container_of(req, struct store, space_req);
    s->space_pending = false;
    if (req->err == OK && store_writes(s))
        store_capacity_set(s, req->bytes_free);
    store_wake(s);
}

static void on_tick(struct env_timer *t)
{
    struct store *s = container_of(t, struct store, tick);
    if (s->state == STORE_UP && !s->space_pending) {
        s->space_req = (struct disk_req){.kind = DISK_SPACE, .cb = on_space};
        s->space_pending = true;
        disk_start(s->disk, &s->space_req);
    }
    index_expire_tombstones(s);
    s->reclaim.look = true;
    env_timer_start(&s->tick, TICK_NS);
    store_wake(s);
}

void store_capacity_set(struct store *s, uint64_t fs_bytes_free)
{
    uint64_t could = fs_bytes_free / s->alloc.extent_bytes, max;
    if (s->config.capacity_bytes) {
        max = s->config.capacity_bytes / s->alloc.extent_bytes;
        max = MIN(max, s->alloc.count + could);
    } else {
        uint64_t spare = s->config.space_reserve_bytes;
        could = fs_bytes_free > spare ? (fs_bytes_free - spare) / s->alloc.extent_bytes : 0;
        max = s->alloc.count + could;
    }
    if (env_now_ns(s->env) < s->prepare.retry_ns)
        max = s->alloc.count; /* it was full a moment ago, whatever it says now */
    s->alloc.extents_max = (uint32_t)MIN(max, EXTENTS_MAX);
    s->alloc.reserve = s->config.extents_reserve ? s->config.extents_reserve
                                                 : MAX(2, s->alloc.extents_max / 50);
}

void store_fail(struct store *s, int err)
{
    if (s->state == STORE_FAILED || s->state == STORE_CLOSED)
        return;
    s->failure = err;
    s->state = STORE_FAILED;
    if (s->config.on_failed)
        s->config.on_failed(s->config.arg, err);
    store_wake(s);
}

/* ---- opening ---- */

void store_open_start(struct store *s, void (*cb)(void *arg, int err), void *arg)
{
    CHECK(s->state == STORE_NEW);
    s->open_cb = cb;
    s->open_arg = arg;
    s->state = STORE_OPENING;
    s->start_err = recover_start(s);
    CHECK(s->start_err == OK || s->start_err == ERR_NOMEM);
    if (s->start_err)
        store_wake(s); /* the callback comes later, as always */
}

void store_opened(struct store *s, int err)
{
    if (!err && s->state == STORE_OPENING) {
        s->state = s->close_cb ? STORE_CLOSING : STORE_UP;
        s->flush.last_ns = env_now_ns(s->env);
        scrub_look(s);
        env_timer_start(&s->tick, TICK_NS);
    } else if (err) {
        store_fail(s, err);
    }
    store_wake(s);
    s->open_cb(s->open_arg, s->failure ? s->failure : err);
}

/* ---- operations ---- */

static int state_refuses(const struct store *s)
{
    switch (s->state) {
    case STORE_UP: return OK;
    case STORE_NEW:
    case STORE_OPENING: return ERR_NOT_READY;
    case STORE_FAILED: return ERR_IO;
    case STORE_CLOSING:
    case STORE_CLOSED: return ERR_SHUTDOWN;
    }
    return ERR_SHUTDOWN;
}

static int put_age_check(struct store *s, const struct store_put *put)
{
    uint64_t now_ms = env_wall_ms(s->env), time_ms = put->info.time_ms;
    if (time_ms > now_ms && time_ms - now_ms > s->config.clock_skew_ms_max)
        return ERR_TIME;
    if (!put->any_age && time_ms < now_ms && now_ms - time_ms > s->config.put_age_ms_max)
        return ERR_TOO_OLD;
    return OK;
}

static bool shard_known(struct store *s, const struct store_put *put)
{
    struct store_look look;
    return store_look(s, put->info.blob_id, put->info.shard_index, &look) == OK &&
           (look.deleted || (look.found && !look.damaged));
}

int store_put_start(struct store *s, struct store_put *put)
{
    int err = state_refuses(s);
    if (!err)
        err = shard_info_validate(&put->info);
    if (!err && put->payload.bytes.len != put->info.bytes)
        err = ERR_INVAL;
    if (!err && frame_bytes(put->info.bytes) > s->alloc.extent_bytes - EXTENT_HEADER_BYTES)
        err = ERR_TOO_LARGE;
    if (!err)
        err = put_age_check(s, put);
    if (!err && (s->queued_bytes + put->info.bytes > s->config.queue_bytes_max ||
                 s->queued_count >= s->config.queue_count_max))
        err = ERR_OVERLOAD;
    if (!err && alloc_room(&s->alloc, ALLOC_PUT, frame_bytes(put->info.bytes)) == ALLOC_NONE &&
        !shard_known(s, put)) /* what is here already is answered so, room or not */
        err = ERR_NOSPACE;
    if (!err)
        err = put->payload_crcs ? shard_compare(&put->info, put->payload_crcs)
                                : shard_verify(&put->info, put->payload.bytes);
    put->payload_crcs = NULL;
    if (err) {
        s->stats.put_errors++;
        return err;
    }
    put->item.is_put = true;
    put->is_copy = false;
    put->queued_ms = env_wall_ms(s->env);
    commit_enqueue(s, &put->item);
    return OK;
}

int store_delete_start(struct store *s, struct store_delete *del)
{
    int err = state_refuses(s);
    if (err)
        return err;
    if (del->count == 0 || del->count > MARKS_PER_REQUEST_MAX)
        return ERR_INVAL;
    for (uint32_t i = 0; i < del->count; i++)
        if (id128_is_zero(del->blob_ids[i]))
            return ERR_INVAL;
    if (s->queued_count >= s->config.queue_count_max)
        return ERR_OVERLOAD;
    del->item.is_put = false;
    commit_enqueue(s, &del->item);
    return OK;
}

void store_close_start(struct store *s, void (*cb)(void *arg, int err), void *arg)
{
    CHECK(!s->close_cb && s->state != STORE_CLOSED && s->state != STORE_NEW);
    s->close_cb = cb;
    s->close_arg = arg;
    if (s->state == STORE_UP)
        s->state = STORE_CLOSING;
    store_wake(s);
}

/* ---- looking in ---- */

void store_stats_get(const struct store *s, struct store_stats *ret)
{
    const struct alloc *a = &s->alloc;
    uint64_t per_extent = a->extent_bytes - EXTENT_HEADER_BYTES;
    *ret = s->stats;
    ret->state = s->state;
    ret->failure = s->failure;
    ret->bytes_free = alloc_put_bytes_left(a);
    ret->bytes_total = (uint64_t)MAX(a->extents_max, a->count) * per_extent;
    ret->writable = s->state == STORE_UP && ret->bytes_free > 0;
    ret->shards = a->live_frames;
    ret->live_bytes = a->live_bytes;
    ret->dead_bytes = a->used_bytes - MIN(a->used_bytes, a->live_bytes);
    ret->tombstones = s->tombstones;
    ret->extents = a->count;
    ret->extents_free = alloc_free(a);
    ret->queued_bytes = s->queued_bytes;
    ret->queued_count = s->queued_count;
    ret->reads_under_way = s->reads_under_way;
    ret->read_bytes = s->read_bytes;
    uint64_t now_ms = env_wall_ms(s->env);
    ret->scrub_oldest_ms = MIN(now_ms, s->scrub.oldest_ms);
    ret->scrub_oldest_age_s = (now_ms - ret->scrub_oldest_ms) / 1000;
    ret->scrub_asked = s->scrub.forced;
    ret->scrub_left_bytes = scrub_left_bytes(s);
}

void store_flush_now(struct store *s)
{
    index_flush_want(s);
}

void store_reclaim_now(struct store *s)
{
    s->reclaim.forced = true;
    index_flush_want(s);
}

bool store_is_idle(const struct store *s)
{
    return list_empty(&s->queue) && s->commit.op.state == 0 && s->reads_under_way == 0 &&
           !s->prepare.pending && reclaim_idle(s) && !s->flush.running && !s->flush.wanted &&
           !s->recover && !s->space_pending && !s->kick.active;
}

int store_locate(struct store *s, struct id128 blob_id, uint16_t shard_index, uint32_t *ret_extent,
                 uint64_t *ret_offset, uint64_t *ret_bytes)
{
    struct blob_record r;
    int err = index_load(s, blob_id, &r);
    if (err)
        return err;
    struct shard_record *shard = blob_record_find(&r, shard_index);
    if (!shard || shard->extent_id == EXTENT_NONE)
        return ERR_NOT_FOUND;
    *ret_extent = shard->extent_id;
    *ret_offset = shard->offset;
    *ret_bytes = frame_bytes(shard->bytes);
    return OK;
}

/* The group's inventory says the same. */
static void check_group(struct store *s, struct id128 blob_id, const struct shard_record *shard)
{
    struct store_inventory_at at = {blob_id, shard->shard_index};
    struct store_inventory_entry e;
    size_t count = 0;
    CHECK(store_inventory(s, shard->pg, &at, &e, 1, &count) == OK && count == 1);
    CHECK(id128_eq(e.blob_id, blob_id) && e.shard_index == shard->shard_index);
    CHECK(e.record.time_ms == shard->time_ms && e.record.crcs_digest == shard->crcs_digest);
    CHECK(e.record.damaged == shard->damaged && e.record.confirmed == shard->confirmed);
}

static uint64_t group_records_count(struct store *s)
{
    uint64_t count = 0;
    struct kv_iter *it =
        s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE_LIT("g"), SLICE_LIT("h"));
    CHECK(it);
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it))
        count++;
    it->ops->free(it);
    return count;
}

static void check_shard(struct store *s, struct id128 blob_id, const struct shard_record *shard,
                        uint64_t *live_bytes)
{
    struct extent *x = alloc_find(&s->alloc, shard->extent_id);
    struct live_record live;
    uint64_t at = 0;
    CHECK(x && x->header.generation == shard->generation);
    CHECK(shard->offset + frame_bytes(shard->bytes) <= x->end);
    CHECK(index_next_live(s, shard->extent_id, shard->offset, &live, &at) == OK);
    CHECK(at == shard->offset && id128_eq(live.blob_id, blob_id));
    CHECK(live.shard_index == shard->shard_index);
    *live_bytes += frame_bytes(shard->bytes);
}

void store_check(struct store *s)
{
    struct record_key lower = record_key_blob((struct id128){{0}});
    uint64_t live_bytes = 0, tombstones = 0, shards = 0;
    struct id128 blob_id;
    if (s->state == STORE_FAILED)
        return; /* the sums may be ahead of an index that takes no more changes */
    alloc_check(&s->alloc);
    struct kv_iter *it = s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE(lower.bytes, 1),
                                              SLICE_LIT("c"));
    CHECK(it);
    it->ops->seek(it, SLICE_EMPTY);
    for (; it->ops->valid(it); it->ops->next(it)) {
        struct blob_record r;
        CHECK(record_key_blob_parse(it->ops->key(it), &blob_id));
        CHECK(blob_record_decode(it->ops->value(it), &r) == OK);
        tombstones += r.deleted;
        shards += r.shard_count;
        for (uint32_t i = 0; i < r.shard_count; i++) {
            check_group(s, blob_id, &r.shards[i]);
            if (r.shards[i].extent_id != EXTENT_NONE)
                check_shard(s, blob_id, &r.shards[i], &live_bytes);
        }
    }
    it->ops->free(it);
    CHECK(live_bytes == s->alloc.live_bytes && tombstones == s->tombstones);
    CHECK(shards == group_records_count(s));
}
