/* Looking into the index without reading a shard: one shard, a group's inventory; and the small facts
 * that a node keeps beside its shards because they need the same durability as the index. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"

/* A disk that is out of service still has its index. */
static int look_refused(const struct store *s)
{
    switch (s->state) {
    case STORE_UP:
    case STORE_FAILED: return OK;
    case STORE_NEW:
    case STORE_OPENING: return ERR_NOT_READY;
    case STORE_CLOSING:
    case STORE_CLOSED: return ERR_SHUTDOWN;
    }
    return ERR_SHUTDOWN;
}

int store_look(struct store *s, struct id128 blob_id, uint16_t shard_index, struct store_look *ret)
{
    struct blob_record r;
    int err = look_refused(s);
    if (err)
        return err;
    *ret = (struct store_look){0};
    err = index_load(s, blob_id, &r);
    if (err)
        return err == ERR_NOT_FOUND ? OK : err;
    const struct shard_record *shard = blob_record_find(&r, shard_index);
    ret->found = shard != NULL;
    ret->damaged = shard && shard->damaged;
    ret->crcs_digest = shard ? shard->crcs_digest : 0;
    ret->deleted = r.deleted;
    return OK;
}

static int entry_read(struct kv_iter *it, uint32_t pg, struct store_inventory_entry *ret)
{
    uint32_t id;
    if (!record_key_group_parse(it->ops->key(it), &id, &ret->blob_id, &ret->shard_index) || id != pg)
        return ERR_CORRUPT;
    return group_record_decode(it->ops->value(it), &ret->record);
}

int store_inventory(struct store *s, uint32_t pg, struct store_inventory_at *at,
                    struct store_inventory_entry *ret, size_t max, size_t *ret_count)
{
    int err = look_refused(s);
    *ret_count = 0;
    if (err)
        return err;
    CHECK(at->shard_index <= UINT16_MAX && max > 0);
    struct record_key lower = record_key_group(pg, at->blob_id, (uint16_t)at->shard_index);
    struct id128 last;
    memset(last.bytes, 0xff, sizeof(last.bytes));
    struct record_key upper = record_key_group(pg, last, UINT16_MAX);
    struct kv_iter *it = s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, record_key_slice(&lower),
                                              record_key_slice(&upper));
    if (!it)
        return ERR_NOMEM;
    size_t n = 0;
    it->ops->seek(it, SLICE_EMPTY);
    for (; !err && n < max && it->ops->valid(it); it->ops->next(it))
        if ((err = entry_read(it, pg, &ret[n])) == OK)
            n++;
    if (!err && n < max)
        err = it->ops->error(it);
    it->ops->free(it);
    if (err)
        return err;
    if (n > 0) /* the next one, if there is any, is not before this */
        *at = (struct store_inventory_at){ret[n - 1].blob_id, ret[n - 1].shard_index + 1u};
    *ret_count = n;
    return OK;
}

int store_confirm(struct store *s, const struct id128 *blob_ids, size_t count)
{
    struct blob_record r;
    if (s->state != STORE_UP)
        return ERR_NOT_READY;
    struct kv_batch *kv = kv_batch_new();
    if (!kv)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        bool fresh = false;
        if (index_load(s, blob_ids[i], &r) != OK)
            continue;
        for (uint32_t k = 0; k < r.shard_count; k++) {
            fresh |= !r.shards[k].confirmed;
            r.shards[k].confirmed = true;
        }
        if (fresh)
            index_blob(kv, blob_ids[i], &r);
    }
    int err = kv_batch_count(kv) > 0 ? index_write(s, &kv) : OK;
    kv_batch_free(kv);
    return err;
}

/* ---- notes ---- */

int store_notes_write(struct store *s, struct kv_batch **batch)
{
    if (s->state != STORE_UP) {
        kv_batch_free(*batch);
        *batch = NULL;
        return ERR_NOT_READY;
    }
    int err = index_write(s, batch);
    if (!err)
        s->flush.notes_mark = s->flush.changes;
    index_flush_want(s);
    return err;
}

bool store_notes_durable(const struct store *s)
{
    return s->flush.notes_mark <= s->flush.durable_mark;
}

struct kv_iter *store_notes_iter(struct store *s, char kind)
{
    char upper = (char)(kind + 1);
    struct kv_iter *it =
        s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE(&kind, 1), SLICE(&upper, 1));
    if (it)
        it->ops->seek(it, SLICE_EMPTY);
    return it;
}

struct id128 store_disk_id(const struct store *s) { return s->disk_id; }
