/* The notes of deep scrub, kept on every disk that is up, and distrusted shards. */
#include "storagenode/op/disks_impl.h"

#include "common/base/check.h"

/* The note of one disk is merged into *ret: the later time of two counts, both were true. */
static bool note_read(struct store *s, uint32_t pg, uint64_t ret[DEEP_BUCKETS])
{
    uint64_t since_ms[DEEP_BUCKETS];
    struct record_key key = record_key_deep(pg);
    struct kv_iter *it = store_notes_iter(s, 'v');
    bool found = false;
    if (!it)
        return false;
    it->ops->seek(it, record_key_slice(&key));
    if (it->ops->valid(it) && slice_eq(it->ops->key(it), record_key_slice(&key)) &&
        deep_record_decode(it->ops->value(it), since_ms) == OK) {
        for (unsigned i = 0; i < DEEP_BUCKETS; i++)
            ret[i] = MAX(ret[i], since_ms[i]);
        found = true;
    }
    it->ops->free(it);
    return found;
}

bool disks_deep_load(struct disks *d, uint32_t pg, uint64_t ret_since_ms[DEEP_BUCKETS])
{
    uint64_t since_ms[DEEP_BUCKETS] = {0};
    bool found = false;
    for (size_t i = 0; i < d->count; i++)
        if (slot_up(&d->slots[i]))
            found |= note_read(d->slots[i].store, pg, since_ms);
    if (found)
        memcpy(ret_since_ms, since_ms, sizeof(since_ms));
    return found;
}

void disks_deep_save(struct disks *d, uint32_t pg, const uint64_t since_ms[DEEP_BUCKETS])
{
    uint8_t value[DEEP_RECORD_BYTES];
    struct record_key key = record_key_deep(pg);
    deep_record_encode(since_ms, value);
    for (size_t i = 0; d->life == DISKS_UP && i < d->count; i++) {
        struct kv_batch *kv = slot_up(&d->slots[i]) ? kv_batch_new() : NULL;
        if (!kv)
            continue; /* it is compared once more than it need be, after a restart */
        kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, sizeof(value)));
        (void)store_notes_write(d->slots[i].store, &kv);
    }
}

int disks_distrust(struct disks *d, struct id128 blob_id, uint16_t shard_index,
                   const uint32_t *block_crcs, uint32_t count)
{
    int err = disks_refuse(d), ret = ERR_NOT_FOUND;
    for (size_t i = 0; !err && i < d->count; i++) {
        int e = slot_up(&d->slots[i])
                    ? store_distrust(d->slots[i].store, blob_id, shard_index, block_crcs, count)
                    : ERR_NOT_FOUND;
        if (e == OK)
            return OK;
        ret = e == ERR_NOT_FOUND ? ret : e;
    }
    return err ? err : ret;
}
