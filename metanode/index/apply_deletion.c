/* The deletion queue: what let go of blobs puts them here in the same entry.
 *
 * Items of blobs wait until every member of their placement group has deleted them (the leader's
 * consumer sees to that) and leave by DeletionDone.  A dead upload is one item, however many parts
 * it has: its part rows stay where they are, and ExpandDeletion turns a bounded number of them at a
 * time into items of blobs, so that no entry is larger than its limits.  A row of TABLE_DEAD keeps
 * the upload id from being used again while its old parts are still there.  The manifest of an
 * object that was replaced or deleted stays until then, too, so that whoever began to read the
 * object finds all of its parts for as long as their blobs live; it goes before the first of them,
 * so that nobody ever finds only some. */
#include "metanode/index/state.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

static int item_put(struct apply *a, uint64_t id, const Cairn__DeletionItem *item)
{
    struct key key;
    key_table_be64(&key, a->index->partition, TABLE_DELETION, id);
    return apply_put_message(a, &key, &item->base);
}

static int item_queue(struct apply *a, Cairn__DeletionItem *item)
{
    item->queued_ms = a->h.time_ms;
    a->h.deletion_count++;
    return item_put(a, a->h.deletion_next++, item);
}

static void item_remove(struct apply *a, uint64_t id)
{
    struct key key;
    key_table_be64(&key, a->index->partition, TABLE_DELETION, id);
    apply_delete(a, &key);
    a->h.deletion_count--;
}

/* OK with *ret NULL: no such item. */
static int item_get(struct apply *a, uint64_t id, Cairn__DeletionItem **ret)
{
    struct key key;
    ProtobufCMessage *message = NULL;
    key_table_be64(&key, a->index->partition, TABLE_DELETION, id);
    int err = apply_get_message(a, &key, &cairn__deletion_item__descriptor, &message);
    if (err && err != ERR_NOT_FOUND)
        return err;
    *ret = err ? NULL : (Cairn__DeletionItem *)(void *)message;
    if (*ret && a->h.deletion_count == 0)
        return ERR_CORRUPT;
    return OK;
}

int deletion_queue_segments(struct apply *a, Cairn__Segment *const *segments, size_t count)
{
    if (count == 0)
        return OK;
    Cairn__BlobRef *refs = index_arena_alloc(a->arena, count * sizeof(*refs));
    if (!refs)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        refs[i] = (Cairn__BlobRef)CAIRN__BLOB_REF__INIT;
        refs[i].pg = segments[i]->pg;
        refs[i].blob_id = segments[i]->blob_id;
    }
    return deletion_queue_blobs(a, refs, count);
}

int deletion_queue_blobs(struct apply *a, Cairn__BlobRef *blobs, size_t count)
{
    if (count == 0)
        return OK;
    Cairn__DeletionItem item = CAIRN__DELETION_ITEM__INIT;
    item.blobs = index_arena_alloc(a->arena, count * sizeof(*item.blobs));
    if (!item.blobs)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        item.blobs[i] = &blobs[i];
    item.n_blobs = count;
    return item_queue(a, &item);
}

static Cairn__DeletionItem upload_item(Cairn__DeletionKind kind, uint64_t bucket_id,
                                       struct slice key, struct slice upload_id)
{
    Cairn__DeletionItem item = CAIRN__DELETION_ITEM__INIT;
    item.kind = kind;
    item.bucket_id = bucket_id;
    item.key = (ProtobufCBinaryData){key.len, (uint8_t *)(uintptr_t)key.ptr};
    item.upload_id = (ProtobufCBinaryData){upload_id.len, (uint8_t *)(uintptr_t)upload_id.ptr};
    return item;
}

int deletion_queue_upload(struct apply *a, uint64_t bucket_id, struct slice key,
                          struct slice upload_id)
{
    struct key row;
    uint8_t id[8];
    for (int i = 0; i < 8; i++)
        id[i] = (uint8_t)(a->h.deletion_next >> (56 - 8 * i));
    key_upload(&row, a->index->partition, TABLE_DEAD, bucket_id, key, upload_id);
    apply_put(a, &row, SLICE(id, sizeof(id)));
    Cairn__DeletionItem item =
        upload_item(CAIRN__DELETION_KIND__DELETION_UPLOAD, bucket_id, key, upload_id);
    return item_queue(a, &item);
}

int deletion_queue_unchosen(struct apply *a, uint64_t bucket_id, struct slice key,
                            struct slice upload_id)
{
    Cairn__DeletionItem item =
        upload_item(CAIRN__DELETION_KIND__DELETION_UNCHOSEN, bucket_id, key, upload_id);
    return item_queue(a, &item);
}

bool part_is_chosen(ProtobufCBinaryData chosen, uint32_t number)
{
    if (chosen.len == 0)
        return true;
    size_t bit = number - 1;
    return bit / 8 < chosen.len && (chosen.data[bit / 8] >> (bit % 8) & 1);
}

int apply_deletion_done(struct apply *a, const Cairn__DeletionDone *op)
{
    for (size_t i = 0; i < op->n_items; i++) {
        Cairn__DeletionItem *item;
        int err = item_get(a, op->items[i], &item);
        if (err)
            return err;
        /* Gone already: a repeated command.  Not of blobs: its parts are not deleted. */
        if (item && item->kind == CAIRN__DELETION_KIND__DELETION_BLOBS)
            item_remove(a, op->items[i]);
    }
    return OK;
}

/* ---- expanding ---- */

/* The item's upload as a manifest that an object refers to; *ret NULL: none does any more. */
static int manifest_get(struct apply *a, const Cairn__DeletionItem *item, Cairn__UploadRecord **ret)
{
    struct key key;
    struct slice ignored;
    ProtobufCMessage *message = NULL;
    *ret = NULL;
    key_upload(&key, a->index->partition, TABLE_DEAD, item->bucket_id, bytes_of(item->key),
               bytes_of(item->upload_id));
    int dead = apply_get(a, &key, &ignored);
    if (dead != ERR_NOT_FOUND)
        return dead;
    key_upload(&key, a->index->partition, TABLE_MANIFEST, item->bucket_id, bytes_of(item->key),
               bytes_of(item->upload_id));
    int err = apply_get_message(a, &key, &cairn__upload_record__descriptor, &message);
    if (err && err != ERR_NOT_FOUND)
        return err;
    *ret = err ? NULL : (Cairn__UploadRecord *)(void *)message;
    return OK;
}

static int part_kill(struct apply *a, const Cairn__DeletionItem *item, uint32_t number,
                     struct slice value)
{
    ProtobufCMessage *message;
    int err = apply_unpack(a, &cairn__part_record__descriptor, value, &message);
    if (err)
        return err;
    const Cairn__PartRecord *part = (const Cairn__PartRecord *)(void *)message;
    struct key key;
    key_part(&key, a->index->partition, TABLE_PART, item->bucket_id, bytes_of(item->key),
             bytes_of(item->upload_id), number);
    apply_delete(a, &key);
    err = interim_note(a, item->bucket_id, bytes_of(item->key), bytes_of(item->upload_id), number,
                       interim_count(part->segments, part->n_segments), 0);
    if (err)
        return err;
    if (part->kind == CAIRN__DATA_KIND__DATA_SEGMENTS)
        return deletion_queue_segments(a, part->segments, part->n_segments);
    if (part->size) {
        key_part(&key, a->index->partition, TABLE_PART_BODY, item->bucket_id, bytes_of(item->key),
                 bytes_of(item->upload_id), number);
        kv_batch_delete(a->batch, KV_BODY, key_view(&key));
    }
    return OK;
}

/* Walks part rows after item->after_number; *budget falls by each row looked at.  *ret_done: there
 * is none left. */
static int parts_expand(struct apply *a, Cairn__DeletionItem *item, ProtobufCBinaryData chosen,
                        unsigned *budget, bool *ret_done)
{
    struct kv *kv = a->index->kv;
    struct key lower, upper;
    key_part(&lower, a->index->partition, TABLE_PART, item->bucket_id, bytes_of(item->key),
             bytes_of(item->upload_id), item->after_number + 1);
    key_upload(&upper, a->index->partition, TABLE_PART, item->bucket_id, bytes_of(item->key),
               bytes_of(item->upload_id));
    key_successor(&upper);
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    bool unchosen_only = item->kind == CAIRN__DELETION_KIND__DELETION_UNCHOSEN;
    it->ops->seek(it, SLICE_EMPTY);
    for (; !err && *budget && it->ops->valid(it); it->ops->next(it), --*budget) {
        struct slice row = it->ops->key(it);
        uint32_t number = load_be16(row.ptr + row.len - 2);
        item->after_number = number;
        if (!unchosen_only || !part_is_chosen(chosen, number) || MUTANT(UNCHOSEN_IS_ALL))
            err = part_kill(a, item, number, it->ops->value(it));
    }
    *ret_done = !it->ops->valid(it);
    if (!err && *ret_done)
        err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

static int item_expand(struct apply *a, uint64_t id, Cairn__DeletionItem *item, unsigned *budget)
{
    if (item->upload_id.len != ID_BYTES || item->key.len > OBJECT_KEY_BYTES_MAX ||
        item->after_number > INDEX_PARTS_MAX)
        return ERR_CORRUPT;
    bool done = false, whole = item->kind == CAIRN__DELETION_KIND__DELETION_UPLOAD;
    Cairn__UploadRecord *manifest = NULL;
    int err = whole ? OK : manifest_get(a, item, &manifest);
    if (err)
        return err;
    if (whole) {
        struct key key;
        key_upload(&key, a->index->partition, TABLE_MANIFEST, item->bucket_id, bytes_of(item->key),
                   bytes_of(item->upload_id));
        apply_delete(a, &key);
    }
    if (whole || manifest)
        err = parts_expand(a, item, manifest ? manifest->chosen : (ProtobufCBinaryData){0}, budget,
                           &done);
    else
        done = true; /* the object has gone since: another item stands for all of its parts */
    if (err || !done)
        return err ? err : item_put(a, id, item);
    if (whole) {
        struct key key;
        key_upload(&key, a->index->partition, TABLE_DEAD, item->bucket_id, bytes_of(item->key),
                   bytes_of(item->upload_id));
        apply_delete(a, &key);
    }
    item_remove(a, id);
    return OK;
}

/* Two items of one entry may stand for the same upload (its unchosen parts, then all of them): rows
 * that the first removes are still seen by the second, which would queue their blobs twice.  So an
 * UNCHOSEN item is only expanded while no row of TABLE_DEAD is there, and an UPLOAD item exists
 * only while there is one. */
int apply_expand_deletion(struct apply *a, const Cairn__ExpandDeletion *op)
{
    unsigned budget = INDEX_EXPAND_PARTS_MAX;
    for (size_t i = 0; i < op->n_items && budget; i++) {
        Cairn__DeletionItem *item;
        int err = item_get(a, op->items[i], &item);
        if (!err && item && item->kind != CAIRN__DELETION_KIND__DELETION_BLOBS)
            err = item_expand(a, op->items[i], item, &budget);
        if (err)
            return err;
    }
    return OK;
}
