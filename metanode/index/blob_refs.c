/* Which blobs do the records under a key refer to?  For Condemn, on its way through apply, and for
 * readers.
 *
 * What refers: the object's versions (their segments), the parts of an upload under way, and those
 * parts of a manifest that its object consists of.  What does not: the parts of a dead upload or
 * manifest, and those that a completion left out.  These are still rows, but the deletion queue has
 * an item for them already.  Rows are scanned, not decoded; memory is that of the question. */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "metanode/index/wire.h"

#include <stdlib.h>

enum {
    RECORD_SEGMENTS = 6, /* of ObjectRecord and PartRecord */
    SEGMENT_BLOB_ID = 2,
    UPLOAD_CHOSEN = 8, /* of UploadRecord */
};

/* ---- the question ---- */

static int compare_refs(const void *x, const void *y)
{
    const struct blob_ref *a = x, *b = y;
    int c = memcmp(a->id.bytes, b->id.bytes, ID_BYTES);
    return c ? c : (a->position > b->position) - (a->position < b->position);
}

void blob_refs_sort(struct blob_refs *refs)
{
    qsort(refs->blobs, refs->count, sizeof(refs->blobs[0]), compare_refs);
}

/* The first of equal ones stands for all of them. */
void blob_refs_mark(struct blob_refs *refs, struct slice blob_id, enum blob_held held)
{
    size_t low = 0, high = refs->count;
    if (blob_id.len != ID_BYTES)
        return; /* never written: apply checks the length */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(refs->blobs[middle].id.bytes, blob_id.ptr, ID_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < refs->count && memcmp(refs->blobs[low].id.bytes, blob_id.ptr, ID_BYTES) == 0;
         low++)
        refs->blobs[low].held = MAX(refs->blobs[low].held, held);
}

static int segments_scan(struct blob_refs *refs, struct slice record, enum blob_held held)
{
    struct cursor c = cursor_of(record);
    struct wire_field f, s;
    while (wire_next(&c, &f)) {
        if (f.number != RECORD_SEGMENTS || f.type != WIRE_BYTES)
            continue;
        struct cursor segment = cursor_of(f.bytes);
        while (wire_next(&segment, &s))
            if (s.number == SEGMENT_BLOB_ID && s.type == WIRE_BYTES)
                blob_refs_mark(refs, s.bytes, held);
        c.failed |= segment.failed;
    }
    return c.failed ? ERR_CORRUPT : OK;
}

/* ---- whose parts live ---- */

void part_owner_fini(struct part_owner *o)
{
    buf_fini(&o->upload);
}

static int owner_get(const struct index_view *view, enum index_table table, uint64_t bucket_id,
                     struct slice key, struct slice upload_id, struct buf *ret)
{
    struct key row;
    key_upload(&row, view->partition, table, bucket_id, key, upload_id);
    int err = view_get(view, &row, ret);
    return err == ERR_NOT_FOUND ? OK : err;
}

int upload_chosen(struct slice upload, ProtobufCBinaryData *ret)
{
    struct cursor c = cursor_of(upload);
    struct wire_field f;
    *ret = (ProtobufCBinaryData){0};
    while (wire_next(&c, &f))
        if (f.number == UPLOAD_CHOSEN && f.type == WIRE_BYTES)
            *ret = (ProtobufCBinaryData){f.bytes.len, (uint8_t *)(uintptr_t)f.bytes.ptr};
    return c.failed ? ERR_CORRUPT : OK;
}

int part_owner_find(const struct index_view *view, uint64_t bucket_id, struct slice key,
                    struct slice upload_id, struct part_owner *o)
{
    o->chosen = (ProtobufCBinaryData){0};
    int err = owner_get(view, TABLE_DEAD, bucket_id, key, upload_id, &o->upload);
    o->dead = o->upload.len != 0;
    if (err || o->dead)
        return err;
    /* Under way, or a manifest; rows of neither are no state that apply leaves behind. */
    err = owner_get(view, TABLE_UPLOAD, bucket_id, key, upload_id, &o->upload);
    if (err || o->upload.len)
        return err;
    err = owner_get(view, TABLE_MANIFEST, bucket_id, key, upload_id, &o->upload);
    if (!err && o->upload.len == 0)
        err = ERR_CORRUPT;
    return err ? err : upload_chosen(buf_view(&o->upload), &o->chosen);
}

bool part_owner_refers(const struct part_owner *o, uint32_t number)
{
    return !o->dead && part_is_chosen(o->chosen, number);
}

/* ---- the answer ---- */

struct finder {
    const struct index_view *view;
    uint64_t bucket_id;
    struct slice key;
    struct blob_refs *refs;
    struct part_owner owner;
    bool owner_known;
    uint8_t upload_id[ID_BYTES]; /* whose owner is known */
};

static int part_row_scan(struct finder *f, struct slice row, struct slice value)
{
    enum { TAIL_BYTES = ID_BYTES + 2 };
    if (row.len < KEY_BUCKET_BYTES + TAIL_BYTES)
        return ERR_CORRUPT;
    const uint8_t *tail = row.ptr + row.len - TAIL_BYTES;
    if (!f->owner_known || memcmp(tail, f->upload_id, ID_BYTES) != 0) {
        memcpy(f->upload_id, tail, ID_BYTES);
        f->owner_known = true;
        int err = part_owner_find(f->view, f->bucket_id, f->key, SLICE(f->upload_id, ID_BYTES),
                                  &f->owner);
        if (err)
            return err;
    }
    bool refers = part_owner_refers(&f->owner, load_be16(tail + ID_BYTES));
    return segments_scan(f->refs, value, refers ? BLOB_REFERRED : BLOB_QUEUED);
}

/* Every row of the key in one table. */
static int table_scan(struct finder *f, enum index_table table)
{
    struct key lower, upper;
    key_object_base(&lower, f->view->partition, table, f->bucket_id, f->key);
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it = view_iter(f->view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    for (; !err && it->ops->valid(it); it->ops->next(it)) {
        struct slice row = it->ops->key(it), value = it->ops->value(it);
        uint64_t bytes = row.len + value.len;
        if (bytes > f->refs->budget_bytes) {
            err = ERR_TOO_LARGE;
            break;
        }
        f->refs->budget_bytes -= bytes;
        err = table == TABLE_PART ? part_row_scan(f, row, value)
                                  : segments_scan(f->refs, value, BLOB_REFERRED);
    }
    if (!err)
        err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

int blob_refs_find(const struct index_view *view, uint64_t bucket_id, struct slice key,
                   struct blob_refs *refs)
{
    struct finder f = {.view = view, .bucket_id = bucket_id, .key = key, .refs = refs};
    int err = table_scan(&f, TABLE_OBJECT);
    if (!err)
        err = table_scan(&f, TABLE_PART);
    part_owner_fini(&f.owner);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

int index_blob_refs(const struct index_view *view, const Cairn__BlobRefsRequest *req,
                    struct index_reply *ret)
{
    ret->msg.blob_refs = (Cairn__BlobRefsResponse)CAIRN__BLOB_REFS_RESPONSE__INIT;
    ret->msg.blob_refs.as_of = view->applied;
    int err = view_object_check(view, req->epoch, req->bucket_id, bytes_of(req->key));
    if (err)
        return err;
    if (req->n_blob_ids == 0 || req->n_blob_ids > INDEX_CONDEMN_BLOBS_MAX ||
        req->n_pgs != req->n_blob_ids)
        return ERR_INVAL;
    struct blob_refs refs = {.count = req->n_blob_ids, .budget_bytes = UINT64_MAX};
    refs.blobs = calloc(refs.count, sizeof(refs.blobs[0]));
    if (!refs.blobs || buf_reserve(&ret->mark, refs.count) != OK)
        err = ERR_NOMEM;
    for (size_t i = 0; !err && i < refs.count; i++) {
        refs.blobs[i].position = i;
        if (!id128_from_slice(bytes_of(req->blob_ids[i]), &refs.blobs[i].id))
            err = ERR_INVAL;
    }
    if (!err) {
        blob_refs_sort(&refs);
        err = blob_refs_find(view, req->bucket_id, bytes_of(req->key), &refs);
    }
    for (size_t i = 0; !err && i < refs.count; i++)
        ret->mark.ptr[refs.blobs[i].position] = refs.blobs[i].held == BLOB_REFERRED;
    if (!err) {
        ret->mark.len = refs.count;
        ret->msg.blob_refs.referred = (ProtobufCBinaryData){ret->mark.len, ret->mark.ptr};
    }
    free(refs.blobs);
    return err;
}
