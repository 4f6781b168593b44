/* The index: lookups, the changes that frames make to it, flushing, expiry of tombstones.
 *
 * Index changes are volatile until a flush; what a crash takes back, recovery finds again in the
 * extents' tails.  The extent record in each batch says how far the index of that very batch knows
 * the extent, so whatever prefix of the changes survives, it names the place to rescan from. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#define TOMBSTONES_PER_TICK 1024u
#define DROP_MAX 128u
#define DROP_PAGES 16u /* looked through in one turn */

int index_load(struct store *s, struct id128 blob_id, struct blob_record *ret)
{
    struct record_key key = record_key_blob(blob_id);
    struct buf value = {0};
    int err = s->kv->ops->get(s->kv, NULL, KV_INDEX, record_key_slice(&key), &value);
    if (!err && value.failed)
        err = ERR_NOMEM;
    if (!err)
        err = blob_record_decode(buf_view(&value), ret);
    buf_fini(&value);
    return err;
}

void index_blob(struct kv_batch *kv, struct id128 blob_id, const struct blob_record *r)
{
    uint8_t value[RECORD_BYTES_MAX], group[GROUP_RECORD_BYTES];
    struct record_key key = record_key_blob(blob_id);
    size_t len = blob_record_encode(r, value);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, len));
    for (uint32_t i = 0; i < r->shard_count; i++) {
        const struct shard_record *shard = &r->shards[i];
        key = record_key_group(shard->pg, blob_id, shard->shard_index);
        group_record_encode(
            &(struct group_record){shard->time_ms, shard->crcs_digest, shard->damaged,
                                   shard->confirmed},
            group);
        kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(group, sizeof(group)));
    }
}

static void key_delete(struct kv_batch *kv, struct record_key key)
{
    kv_batch_delete(kv, KV_INDEX, record_key_slice(&key));
}

/* A shard's frame is dead from now on.  index_blob() of what is left follows in the same batch. */
static void place_free(struct store *s, struct kv_batch *kv, struct id128 blob_id,
                       const struct shard_record *old, bool account)
{
    struct extent *x = alloc_find(&s->alloc, old->extent_id);
    if (old->seq > 0 && !MUTANT(STORE_GROUP_STAYS))
        key_delete(kv, record_key_group(old->pg, blob_id, old->shard_index));
    if (old->extent_id == EXTENT_NONE)
        return;
    key_delete(kv, record_key_live(old->extent_id, old->offset));
    if (account && x && x->header.generation == old->generation)
        extent_account(&s->alloc, x, -(int64_t)frame_bytes(old->bytes), -1);
}

/* A record that is unknown, or damaged: then what the frame says is the better one. */
static void load_or_new(struct store *s, struct id128 blob_id, struct blob_record *ret)
{
    int err = index_load(s, blob_id, ret);
    if (err)
        *ret = (struct blob_record){0};
    if (err && err != ERR_NOT_FOUND && err != ERR_CORRUPT)
        store_fail(s, err);
}

void index_shard(struct store *s, struct kv_batch *kv, struct id128 blob_id,
                 const struct shard_record *shard, bool account)
{
    struct blob_record r;
    struct shard_record old;
    load_or_new(s, blob_id, &r);
    bool was_tombstone = r.deleted;
    if (!blob_record_take(&r, shard, &old))
        return;
    s->tombstones -= account && was_tombstone;
    /* The same bytes at another place, for example a copy that reclamation made. */
    if (old.seq > 0 && old.confirmed && old.crcs_digest == shard->crcs_digest)
        blob_record_find(&r, shard->shard_index)->confirmed = true;
    place_free(s, kv, blob_id, &old, account);
    index_blob(kv, blob_id, &r);
    if (shard->extent_id == EXTENT_NONE)
        return;
    uint8_t value[LIVE_RECORD_BYTES];
    struct record_key key = record_key_live(shard->extent_id, shard->offset);
    live_record_encode(&(struct live_record){blob_id, shard->shard_index}, value);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, sizeof(value)));
    if (account)
        extent_account(&s->alloc, alloc_find(&s->alloc, shard->extent_id),
                       (int64_t)frame_bytes(shard->bytes), 1);
}

void index_mark(struct store *s, struct kv_batch *kv, struct id128 blob_id, uint64_t seq,
                uint64_t time_ms, bool account)
{
    struct blob_record r;
    struct shard_record removed[SHARDS_PER_BLOB_MAX];
    uint32_t count;
    load_or_new(s, blob_id, &r);
    bool was_tombstone = r.deleted;
    if (!blob_record_mark(&r, seq, time_ms, removed, &count))
        return;
    for (uint32_t i = 0; i < count; i++)
        place_free(s, kv, blob_id, &removed[i], account);
    index_blob(kv, blob_id, &r);
    if (!r.deleted)
        return;
    s->tombstones += account && !was_tombstone;
    struct record_key key = record_key_tombstone(time_ms, blob_id);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE_EMPTY);
}

void index_extent(struct store *s, struct kv_batch *kv, const struct extent *x)
{
    uint8_t value[EXTENT_RECORD_BYTES];
    struct record_key key = record_key_extent(x->header.id);
    (void)s;
    extent_record_encode(&(struct extent_record){.generation = x->header.generation,
                                                 .salt = x->header.salt,
                                                 .indexed_end = x->end,
                                                 .last_seq = x->last_seq,
                                                 .used = x->end > EXTENT_HEADER_BYTES,
                                                 .sealed = x->state != EXTENT_FREE &&
                                                           x->state != EXTENT_ACTIVE,
                                                 .broken = x->state == EXTENT_BROKEN},
                         value);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, sizeof(value)));
}

int index_write(struct store *s, struct kv_batch **kv)
{
    int err = kv_batch_error(*kv);
    if (!err)
        err = s->kv->ops->write(s->kv, kv);
    if (err) {
        kv_batch_free(*kv);
        *kv = NULL;
        store_fail(s, err);
        return err;
    }
    s->flush.changes++;
    return OK;
}

int store_distrust(struct store *s, struct id128 blob_id, uint16_t shard_index,
                   const uint32_t *block_crcs, uint32_t count)
{
    struct blob_record r;
    if (!store_writes(s))
        return ERR_NOT_READY;
    int err = index_load(s, blob_id, &r);
    struct shard_record *shard = err ? NULL : blob_record_find(&r, shard_index);
    if (!shard)
        return err ? err : ERR_NOT_FOUND;
    if (shard->crcs_digest != shard_crcs_digest(block_crcs, count) ||
        shard_blocks(shard->bytes) != count)
        return ERR_EPOCH;
    struct store_damage damage = {.blob_id = blob_id,
                                  .shard_index = shard_index,
                                  .extent_id = shard->extent_id,
                                  .offset = shard->offset,
                                  .err = ERR_CORRUPT};
    (void)index_damaged(s, &damage, false);
    return OK;
}

/* Of one blob, all its shards of the group; *count is how many more.  A line of the group that no
 * record stands behind goes, too; while the record cannot be read it stays, or nothing would lead to
 * the shards any more.  Returns: OK; ERR_NOMEM, ERR_IO. */
static int blob_drop(struct store *s, struct kv_batch *kv, struct id128 blob_id, uint32_t pg,
                     unsigned *count)
{
    struct blob_record r;
    int err = index_load(s, blob_id, &r);
    if (err)
        return err == ERR_NOT_FOUND || err == ERR_CORRUPT ? OK : err;
    for (uint32_t i = r.shard_count; i > 0; i--) {
        struct shard_record shard = r.shards[i - 1];
        if (shard.pg != pg)
            continue;
        place_free(s, kv, blob_id, &shard, true);
        blob_record_remove(&r, &r.shards[i - 1]);
        ++*count;
    }
    if (r.shard_count == 0 && !r.deleted)
        key_delete(kv, record_key_blob(blob_id));
    else
        index_blob(kv, blob_id, &r);
    return OK;
}

/* The next page that has something to drop, of a bounded number of pages.  *ret_count: that are to
 * go, at the beginning of entries; *ret_more: there are others behind *at. */
static int drop_page(struct store *s, uint32_t pg, uint64_t since_ms, struct store_inventory_at *at,
                     struct store_inventory_entry entries[DROP_MAX], size_t *ret_count,
                     bool *ret_more)
{
    size_t found = DROP_MAX;
    *ret_count = 0;
    for (unsigned pages = 0; pages < DROP_PAGES && found == DROP_MAX && *ret_count == 0; pages++) {
        int err = store_inventory(s, pg, at, entries, DROP_MAX, &found);
        if (err)
            return err;
        for (size_t i = 0; i < found; i++)
            if (entries[i].record.time_ms >= since_ms)
                entries[(*ret_count)++] = entries[i];
    }
    *ret_more = found == DROP_MAX;
    return OK;
}

static int entries_drop(struct store *s, uint32_t pg, const struct store_inventory_entry *entries,
                        size_t count)
{
    unsigned dropped = 0;
    int err = OK;
    struct kv_batch *kv = kv_batch_new();
    if (!kv)
        return ERR_NOMEM;
    for (size_t i = 0; !err && i < count; i++) {
        if (i == 0 || !id128_eq(entries[i].blob_id, entries[i - 1].blob_id))
            err = blob_drop(s, kv, entries[i].blob_id, pg, &dropped);
        if (!err)
            key_delete(kv, record_key_group(pg, entries[i].blob_id, entries[i].shard_index));
    }
    int written = index_write(s, &kv); /* those before one that fails are counted as dead by now */
    if (err || written)
        return written ? written : err;
    s->stats.dropped += dropped;
    s->reclaim.look = true;
    store_wake(s);
    return OK;
}

int store_group_drop(struct store *s, uint32_t pg, uint64_t since_ms, struct store_inventory_at *at,
                     bool *ret_more)
{
    struct store_inventory_entry entries[DROP_MAX];
    size_t count;
    *ret_more = false;
    if (s->state != STORE_UP)
        return ERR_NOT_READY;
    int err = drop_page(s, pg, since_ms, at, entries, &count, ret_more);
    if (!err && count > 0)
        err = entries_drop(s, pg, entries, count);
    if (!err && !*ret_more)
        index_flush_want(s); /* until then a crash brings back what may be deleted meanwhile */
    return err;
}

bool index_damaged(struct store *s, struct store_damage *damage, bool lost)
{
    struct blob_record r;
    if (!store_writes(s) || index_load(s, damage->blob_id, &r) != OK)
        return false;
    struct shard_record *shard = blob_record_find(&r, damage->shard_index);
    if (!shard || shard->extent_id != damage->extent_id || shard->offset != damage->offset)
        return false; /* moved or deleted meanwhile: what was read is nobody's any more */
    bool fresh = !shard->damaged;
    s->stats.corruptions += fresh;
    damage->pg = shard->pg;
    struct kv_batch *kv = kv_batch_new();
    if (kv) {
        shard->damaged = true;
        if (lost) {
            place_free(s, kv, damage->blob_id, shard, true);
            shard->extent_id = EXTENT_NONE;
        }
        index_blob(kv, damage->blob_id, &r);
        (void)index_write(s, &kv);
    }
    if (fresh && s->config.on_damage)
        s->config.on_damage(s->config.arg, damage);
    return fresh;
}

int index_next_live(struct store *s, uint32_t extent_id, uint64_t offset, struct live_record *ret,
                    uint64_t *ret_offset)
{
    struct record_key lower = record_key_live(extent_id, offset);
    struct record_key upper = record_key_live(extent_id, UINT64_MAX);
    uint32_t id = 0;
    struct kv_iter *it = s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, record_key_slice(&lower),
                                              record_key_slice(&upper));
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    int err = ERR_NOT_FOUND;
    if (it->ops->valid(it)) {
        err = live_record_decode(it->ops->value(it), ret);
        if (!record_key_live_parse(it->ops->key(it), &id, ret_offset) || id != extent_id)
            err = ERR_CORRUPT;
    } else if (it->ops->error(it) != OK) {
        err = it->ops->error(it);
    }
    it->ops->free(it);
    return err;
}

/* ---- flush ---- */

static void on_flushed(struct kv_flush_req *req)
{
    struct store *s = container_of(req, struct store, flush.req);
    s->flush.running = false;
    if (req->err) {
        store_fail(s, req->err);
        return;
    }
    s->flush.durable_mark = s->flush.running_mark;
    s->stats.index_flushes++;
    reclaim_release(s);
    if (s->config.on_flushed)
        s->config.on_flushed(s->config.arg);
    store_wake(s);
}

void index_flush_want(struct store *s)
{
    s->flush.wanted = true;
    store_wake(s);
}

void index_flush_step(struct store *s)
{
    struct flush *f = &s->flush;
    uint64_t now = env_now_ns(s->env);
    bool dirty = f->changes > f->durable_mark;
    if (!store_writes(s))
        f->wanted = false;
    if (!store_writes(s) || f->running)
        return;
    if (dirty && (f->bytes >= s->config.flush_bytes ||
                  now - f->last_ns >= s->config.flush_interval_ms * NS_PER_MS))
        f->wanted = true;
    if (!f->wanted)
        return;
    f->wanted = false;
    if (!dirty) {
        reclaim_release(s);
        return;
    }
    f->req = (struct kv_flush_req){.cb = on_flushed};
    f->running_mark = f->changes;
    f->last_ns = now;
    f->bytes = 0;
    int err = s->kv->ops->flush_start(s->kv, &f->req);
    if (err)
        store_fail(s, err);
    else
        f->running = true;
}

/* ---- tombstones ---- */

void index_expire_tombstones(struct store *s)
{
    uint64_t now_ms = env_wall_ms(s->env), time_ms;
    uint64_t kept_ms = s->config.tombstone_retention_ms / (MUTANT(STORE_TOMBSTONE_EARLY) ? 8 : 1);
    struct id128 blob_id;
    struct blob_record r;
    if (s->state != STORE_UP || now_ms < kept_ms)
        return;
    struct record_key lower = record_key_tombstone(0, (struct id128){{0}});
    struct record_key upper =
        record_key_tombstone(now_ms - kept_ms, (struct id128){{0}});
    struct kv_batch *kv = kv_batch_new();
    struct kv_iter *it = s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, record_key_slice(&lower),
                                              record_key_slice(&upper));
    uint64_t expired = 0;
    if (it && kv) {
        it->ops->seek(it, SLICE_EMPTY);
        for (unsigned n = 0; n < TOMBSTONES_PER_TICK && it->ops->valid(it); n++) {
            if (!record_key_tombstone_parse(it->ops->key(it), &time_ms, &blob_id))
                break;
            kv_batch_delete(kv, KV_INDEX, it->ops->key(it));
            if (index_load(s, blob_id, &r) == OK && r.deleted && r.time_ms == time_ms) {
                key_delete(kv, record_key_blob(blob_id));
                expired++;
            }
            it->ops->next(it);
        }
    }
    if (it)
        it->ops->free(it);
    if (kv && kv_batch_count(kv) > 0 && index_write(s, &kv) == OK)
        s->tombstones -= expired;
    kv_batch_free(kv);
}
