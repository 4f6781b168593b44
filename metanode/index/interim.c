/* Walking over interim segments, for whoever writes them again (index.h).
 *
 * A row of TABLE_INTERIM names a record; the record says which of its segments it are.  What
 * belongs to a dead upload, or was left out by a completion, is passed over: it will be deleted. */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "metanode/index/wire.h"

enum {
    RECORD_SEGMENTS = 6, /* of ObjectRecord and PartRecord */
    SEGMENT_BLOB_ID = 2,
    SEGMENT_INTERIM = 5,
    INTERIM_BUCKET = 1, /* of InterimSegment */
    INTERIM_KEY = 2,
    INTERIM_UPLOAD = 3,
    INTERIM_NUMBER = 4,
    INTERIM_SEGMENT = 5,
    INTERIM_VERSION = 6,
    RESPONSE_SEGMENTS = 1,
    TAIL_BYTES = ID_BYTES + 2,
};

/* Whose segments are looked at. */
struct interim_record {
    uint64_t bucket_id;
    size_t key_bytes;
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    uint8_t upload_id[ID_BYTES];
    uint16_t number;  /* 0: the object itself */
    uint64_t version; /* of it, if it is not the current one; else 0 */
};

static int record_of(struct slice row, struct interim_record *ret)
{
    struct slice tail;
    int err = key_decode(row, ret->key, &ret->key_bytes, &tail);
    if (err || tail.len != TAIL_BYTES)
        return ERR_CORRUPT;
    ret->bucket_id = load_be64(row.ptr + KEY_PREFIX_BYTES);
    memcpy(ret->upload_id, tail.ptr, ID_BYTES);
    ret->number = load_be16(tail.ptr + ID_BYTES);
    ret->version = ret->number ? 0 : load_be64(tail.ptr + 8); /* key_interim_id() */
    return OK;
}

/* The packed record.  ERR_NOT_FOUND: nothing of it is to be moved. */
static int record_get(const struct index_view *view, const struct interim_record *r,
                      struct buf *ret)
{
    struct slice key = SLICE(r->key, r->key_bytes), id = SLICE(r->upload_id, ID_BYTES);
    struct key row;
    if (r->number == 0) {
        if (r->version)
            key_object_older(&row, view->partition, r->bucket_id, key, r->version);
        else
            key_object(&row, view->partition, r->bucket_id, key);
        return view_get(view, &row, ret);
    }
    struct part_owner owner = {0};
    int err = part_owner_find(view, r->bucket_id, key, id, &owner);
    bool refers = !err && part_owner_refers(&owner, r->number);
    part_owner_fini(&owner);
    if (err || !refers)
        return err ? err : ERR_NOT_FOUND;
    key_part(&row, view->partition, TABLE_PART, r->bucket_id, key, id, r->number);
    return view_get(view, &row, ret);
}

/* Its blob, if it is interim. */
static bool segment_scan(struct slice segment, struct id128 *ret_blob)
{
    struct cursor c = cursor_of(segment);
    struct wire_field f;
    bool interim = false, has_id = false;
    while (wire_next(&c, &f)) {
        if (f.number == SEGMENT_INTERIM && f.type == WIRE_VARINT)
            interim = f.value != 0;
        else if (f.number == SEGMENT_BLOB_ID && f.type == WIRE_BYTES)
            has_id = id128_from_slice(f.bytes, ret_blob);
    }
    return !c.failed && interim && has_id;
}

static void segment_append(struct buf *packed, const struct interim_record *r, struct slice segment)
{
    uint8_t head[1 + 8 + 4 * (1 + WIRE_VARINT_BYTES_MAX) + OBJECT_KEY_BYTES_MAX + ID_BYTES];
    uint8_t *p = head;
    *p++ = INTERIM_BUCKET << 3 | WIRE_FIXED64;
    for (unsigned i = 0; i < 8; i++)
        *p++ = (uint8_t)(r->bucket_id >> (8 * i));
    p = wire_put_bytes(p, INTERIM_KEY, SLICE(r->key, r->key_bytes));
    p = wire_put_bytes(p, INTERIM_UPLOAD, r->number ? SLICE(r->upload_id, ID_BYTES) : SLICE_EMPTY);
    p = wire_put_uint(p, INTERIM_NUMBER, r->number);
    p = wire_put_uint(p, INTERIM_VERSION, r->version);
    CHECK((size_t)(p - head) <= sizeof(head));
    buf_u8(packed, RESPONSE_SEGMENTS << 3 | WIRE_BYTES);
    wire_append_varint(packed,
                       (size_t)(p - head) + 1 + wire_varint_bytes(segment.len) + segment.len);
    buf_append(packed, head, (size_t)(p - head));
    wire_append_bytes(packed, INTERIM_SEGMENT, segment);
}

/* *ret_full: the answer is, or enough was looked at, and the record is not through. */
static int record_take(struct index_interim_walk *w, const struct interim_record *r,
                       struct slice record, bool *ret_full)
{
    struct cursor c = cursor_of(record);
    struct wire_field f;
    struct id128 blob;
    while (wire_next(&c, &f)) {
        if (f.number != RECORD_SEGMENTS || f.type != WIRE_BYTES)
            continue;
        w->segments_left -= w->segments_left > 0;
        if (!segment_scan(f.bytes, &blob))
            continue;
        if (w->take_left == 0) {
            *ret_full = true;
            return OK;
        }
        if (!w->take(w->arg, blob))
            continue;
        w->take_left--;
        segment_append(&w->reply->packed, r, f.bytes);
    }
    return c.failed ? ERR_CORRUPT : w->reply->packed.failed ? ERR_NOMEM : OK;
}

static int walk_rows(const struct index_view *view, struct index_interim_walk *w,
                     struct kv_iter *it, bool *ret_end)
{
    struct interim_record r;
    struct buf record = {0};
    bool full = false;
    int err = OK;
    while (!err && it->ops->valid(it)) {
        full = w->rows_left == 0 || w->segments_left == 0 || w->take_left == 0;
        if (full)
            break;
        w->rows_left--;
        struct slice row = it->ops->key(it);
        err = record_of(row, &r);
        if (!err) {
            buf_clear(&record);
            err = record_get(view, &r, &record);
            if (err == ERR_NOT_FOUND)
                err = OK; /* and the record is empty */
            else if (!err)
                err = record_take(w, &r, buf_view(&record), &full);
        }
        if (err || full)
            break;
        buf_clear(&w->after);
        buf_append(&w->after, row.ptr + KEY_PREFIX_BYTES, row.len - KEY_PREFIX_BYTES);
        if (w->after.failed || record.failed)
            err = ERR_NOMEM;
        else
            it->ops->next(it);
    }
    if (!err && !full)
        err = it->ops->error(it);
    *ret_end = !err && !full;
    buf_fini(&record);
    return err;
}

int index_interim_walk(const struct index_view *view, struct index_interim_walk *w, bool *ret_end)
{
    struct key lower, upper;
    *ret_end = false;
    CHECK(w->after.len <= sizeof(lower.bytes) - KEY_PREFIX_BYTES - 1);
    key_table(&lower, view->partition, TABLE_INTERIM, buf_view(&w->after));
    if (w->after.len)
        key_bytes(&lower, SLICE("", 1)); /* the first row behind it */
    key_table(&upper, view->partition, TABLE_INTERIM, SLICE_EMPTY);
    key_successor(&upper);
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    int err = walk_rows(view, w, it, ret_end);
    it->ops->free(it);
    if (*ret_end)
        buf_clear(&w->after);
    return err;
}

void index_interim_finish(struct index_reply *reply)
{
    reply_rows(reply, 0, RESPONSE_SEGMENTS, &reply->packed);
}
