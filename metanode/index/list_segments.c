/* Listing what the records of a bucket refer to: for verification, and for whoever moves segments.
 *
 * Two walks side by side, over the objects and over the parts, in key order; of one key the
 * object's versions come first, newest first, then its parts by upload id and number.  Parts of
 * dead uploads and those that a completion left out are passed over.  A page ends at rows_max
 * entries, at segments_max segments, at the byte budget, or after so many rows looked at, wherever
 * that is; it is resumed behind the row that was looked at last. */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "metanode/index/wire.h"

enum {
    ROWS_LOOKED_AT_MAX = 1 << 16,
    PART_TAIL_BYTES = ID_BYTES + 2, /* of a part's row: upload id, number */
    /* Field numbers inside a stored ObjectRecord, a PartRecord, and of a SegmentsEntry. */
    OBJECT_VERSION = 1,
    OBJECT_SIZE = 2,
    OBJECT_KIND = 5,
    OBJECT_MANIFEST_ID = 7,
    OBJECT_DELETE_MARKER = 23,
    PART_SIZE = 2,
    PART_KIND = 5,
    PART_VERSION = 10,
    RECORD_SEGMENTS = 6, /* of both */
    ENTRY_KEY = 1,
    ENTRY_UPLOAD_ID = 2,
    ENTRY_PART_NUMBER = 3,
    ENTRY_VERSION = 4,
    ENTRY_SEGMENTS = 5,
    ENTRY_INLINE_BYTES = 6,
    RESPONSE_ENTRIES = 2,
};

/* Where a page ends: be16 part number ‖ upload id ‖ key; an object itself has number 0, and for the
 * id be64 0 ‖ be64 suffix of its row. */
enum { POSITION_HEAD_BYTES = 2 + ID_BYTES };

struct place {
    size_t key_bytes;
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    uint8_t upload_id[ID_BYTES];
    uint16_t number;
};

static struct slice place_key(const struct place *p)
{
    return SLICE(p->key, p->key_bytes);
}

struct walker {
    const struct index_view *view;
    const Cairn__ListSegmentsRequest *req;
    struct index_reply *ret;
    struct kv_iter *objects, *parts;
    struct place object, part; /* under the iterators, while they are valid */
    struct place last;         /* looked at last */
    struct part_owner owner;   /* of the part's upload */
    struct place owned;        /* whose owner that is */
    bool owner_known;
    struct buf scratch;
    size_t count, max, looked;
    size_t segments, row_segments; /* in all entries; in the row that was scanned last */
};

/* ---- entries ---- */

struct row_fields {
    uint64_t version, size, kind, delete_marker;
    struct slice manifest_id;
};

/* Scans a record; its segments go into the scratch buffer as an entry's. */
static int row_scan(struct walker *w, struct slice value, bool is_part, struct row_fields *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    *ret = (struct row_fields){0};
    buf_clear(&w->scratch);
    w->row_segments = 0;
    while (wire_next(&c, &f)) {
        if (f.number == RECORD_SEGMENTS && f.type == WIRE_BYTES) {
            wire_append_bytes(&w->scratch, ENTRY_SEGMENTS, f.bytes);
            w->row_segments++;
        } else if (f.number == (is_part ? (unsigned)PART_VERSION : (unsigned)OBJECT_VERSION))
            ret->version = f.value;
        else if (f.number == (is_part ? (unsigned)PART_SIZE : (unsigned)OBJECT_SIZE))
            ret->size = f.value;
        else if (f.number == (is_part ? (unsigned)PART_KIND : (unsigned)OBJECT_KIND))
            ret->kind = f.value;
        else if (f.number == OBJECT_MANIFEST_ID && !is_part)
            ret->manifest_id = f.bytes;
        else if (f.number == OBJECT_DELETE_MARKER && !is_part)
            ret->delete_marker = f.value;
    }
    return c.failed ? ERR_CORRUPT : OK;
}

static void entry_append(struct walker *w, const struct place *at, struct slice upload_id,
                         const struct row_fields *row)
{
    enum { HEAD_BYTES_MAX = 5 * (1 + WIRE_VARINT_BYTES_MAX) + OBJECT_KEY_BYTES_MAX + ID_BYTES };
    uint8_t head[HEAD_BYTES_MAX];
    bool is_inline = row->kind == CAIRN__DATA_KIND__DATA_INLINE;
    uint8_t *p = wire_put_bytes(head, ENTRY_KEY, place_key(at));
    p = wire_put_bytes(p, ENTRY_UPLOAD_ID, upload_id);
    p = wire_put_uint(p, ENTRY_PART_NUMBER, at->number);
    p = wire_put_uint(p, ENTRY_VERSION, row->version);
    p = wire_put_uint(p, ENTRY_INLINE_BYTES, is_inline ? row->size : 0);
    size_t head_bytes = (size_t)(p - head);
    CHECK(head_bytes <= sizeof(head));
    struct buf *packed = &w->ret->packed;
    buf_u8(packed, RESPONSE_ENTRIES << 3 | WIRE_BYTES);
    wire_append_varint(packed, head_bytes + w->scratch.len);
    buf_append(packed, head, head_bytes);
    buf_slice(packed, buf_view(&w->scratch));
    w->count++;
    w->segments += w->row_segments;
}

/* ---- the walk ---- */

static bool is_full(const struct walker *w)
{
    return w->count == w->max || w->ret->packed.len >= REPLY_BYTES_MAX ||
           (w->req->segments_max && w->segments >= w->req->segments_max);
}

static int object_place(struct walker *w)
{
    enum { SUFFIX_BYTES = 8 };
    struct slice suffix;
    w->object.number = 0;
    memset(w->object.upload_id, 0, ID_BYTES);
    if (!w->objects->ops->valid(w->objects))
        return w->objects->ops->error(w->objects);
    int err =
        key_decode(w->objects->ops->key(w->objects), w->object.key, &w->object.key_bytes, &suffix);
    if (err || suffix.len != SUFFIX_BYTES)
        return ERR_CORRUPT;
    memcpy(w->object.upload_id + ID_BYTES - SUFFIX_BYTES, suffix.ptr, SUFFIX_BYTES);
    return OK;
}

static int part_place(struct walker *w)
{
    struct slice tail;
    if (!w->parts->ops->valid(w->parts))
        return w->parts->ops->error(w->parts);
    int err = key_decode(w->parts->ops->key(w->parts), w->part.key, &w->part.key_bytes, &tail);
    if (err || tail.len != PART_TAIL_BYTES)
        return ERR_CORRUPT;
    memcpy(w->part.upload_id, tail.ptr, ID_BYTES);
    w->part.number = load_be16(tail.ptr + ID_BYTES);
    return OK;
}

static int object_step(struct walker *w)
{
    struct row_fields row;
    int err = row_scan(w, w->objects->ops->value(w->objects), false, &row);
    if (err)
        return err;
    if (!row.delete_marker) /* which refers to nothing */
        entry_append(w, &w->object, row.manifest_id, &row);
    w->last = w->object;
    w->objects->ops->next(w->objects);
    return object_place(w);
}

static int part_step(struct walker *w)
{
    struct slice id = SLICE(w->part.upload_id, ID_BYTES);
    if (!w->owner_known || !slice_eq(place_key(&w->part), place_key(&w->owned)) ||
        memcmp(w->part.upload_id, w->owned.upload_id, ID_BYTES) != 0) {
        int err = part_owner_find(w->view, w->req->bucket_id, place_key(&w->part), id, &w->owner);
        if (err)
            return err;
        w->owned = w->part;
        w->owner_known = true;
    }
    if (part_owner_refers(&w->owner, w->part.number)) {
        struct row_fields row;
        int err = row_scan(w, w->parts->ops->value(w->parts), true, &row);
        if (err)
            return err;
        entry_append(w, &w->part, id, &row);
    }
    w->last = w->part;
    w->parts->ops->next(w->parts);
    return part_place(w);
}

static int walk(struct walker *w)
{
    int err = object_place(w);
    if (!err)
        err = part_place(w);
    while (!err) {
        bool object = w->objects->ops->valid(w->objects), part = w->parts->ops->valid(w->parts);
        if (!object && !part)
            return OK;
        if (is_full(w) || w->looked++ == ROWS_LOOKED_AT_MAX) {
            w->ret->msg.segments.more = true;
            return OK;
        }
        if (object && part)
            object = slice_cmp(place_key(&w->object), place_key(&w->part)) <= 0;
        err = object ? object_step(w) : part_step(w);
    }
    return err;
}

/* ---- pages ---- */

static int walker_start(struct walker *w)
{
    const Cairn__ListSegmentsRequest *req = w->req;
    uint32_t partition = w->view->partition;
    struct list_range objects, parts;
    struct key after;
    list_range_init(&objects, partition, TABLE_OBJECT, req->bucket_id, SLICE_EMPTY);
    list_range_init(&parts, partition, TABLE_PART, req->bucket_id, SLICE_EMPTY);
    if (req->start_after.len) {
        struct slice at = bytes_of(req->start_after);
        if (at.len <= POSITION_HEAD_BYTES || at.len > POSITION_HEAD_BYTES + OBJECT_KEY_BYTES_MAX)
            return ERR_INVAL;
        uint16_t number = load_be16(at.ptr);
        struct slice key = SLICE(at.ptr + POSITION_HEAD_BYTES, at.len - POSITION_HEAD_BYTES);
        if (number) {
            key_after_object(&after, partition, TABLE_OBJECT, req->bucket_id, key);
        } else {
            key_object_base(&after, partition, TABLE_OBJECT, req->bucket_id, key);
            key_be64(&after, load_be64(at.ptr + 2 + 8));
            key_bytes(&after, SLICE("", 1)); /* the first row behind it */
        }
        list_range_raise(&objects, &after);
        if (number) {
            key_part(&after, partition, TABLE_PART, req->bucket_id, key,
                     SLICE(at.ptr + 2, ID_BYTES), number);
            key_bytes(&after, SLICE("", 1)); /* the first row behind it */
        } else {
            key_object_base(&after, partition, TABLE_PART, req->bucket_id, key);
        }
        list_range_raise(&parts, &after);
    }
    w->objects = view_iter(w->view, &objects.lower, &objects.upper);
    w->parts = view_iter(w->view, &parts.lower, &parts.upper);
    return w->objects && w->parts ? OK : ERR_NOMEM;
}

static void walker_fini(struct walker *w)
{
    if (w->objects)
        w->objects->ops->free(w->objects);
    if (w->parts)
        w->parts->ops->free(w->parts);
    part_owner_fini(&w->owner);
    buf_fini(&w->scratch);
}

int index_list_segments(const struct index_view *view, const Cairn__ListSegmentsRequest *req,
                        struct index_reply *ret)
{
    Cairn__ListSegmentsResponse *msg = &ret->msg.segments;
    *msg = (Cairn__ListSegmentsResponse)CAIRN__LIST_SEGMENTS_RESPONSE__INIT;
    msg->as_of = view->applied;
    int err = view_bucket_check(view, req->epoch, req->bucket_id);
    if (err)
        return err;
    struct walker w = {.view = view, .req = req, .ret = ret};
    w.max = req->rows_max ? MIN(req->rows_max, (uint32_t)INDEX_LIST_KEYS_MAX) : INDEX_LIST_KEYS_MAX;
    err = walker_start(&w);
    if (!err)
        err = walk(&w);
    bool failed = w.scratch.failed;
    walker_fini(&w);
    if (!err && msg->more) {
        buf_be16(&ret->mark, w.last.number);
        buf_append(&ret->mark, w.last.upload_id, ID_BYTES);
        buf_append(&ret->mark, w.last.key, w.last.key_bytes);
        msg->resume_after = (ProtobufCBinaryData){ret->mark.len, ret->mark.ptr};
    }
    if (!err && (failed || ret->packed.failed || ret->mark.failed))
        err = ERR_NOMEM;
    if (!err)
        reply_rows(ret, 0, RESPONSE_ENTRIES, &ret->packed);
    return err;
}
