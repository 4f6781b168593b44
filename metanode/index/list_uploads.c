/* Listing uploads under way, the parts of an upload or manifest, and reading a part's inline data.
 */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "metanode/index/wire.h"
#include "proto/sealed.h"

enum {
    ENTRY_KEY = 1,
    ENTRY_IS_PREFIX = 2,
    ENTRY_UPLOAD = 3,
    UPLOADS_RESPONSE_UPLOADS = 2,
    PARTS_RESPONSE_UPLOAD = 2,
    PARTS_RESPONSE_PARTS = 3,
    PART_SIZE = 2, /* of PartRecord */
    PART_KIND = 5,
    PART_SEGMENTS = 6,
    PART_ENCRYPTION = 11,
};

/* ---- uploads ---- */

struct upload_lister {
    const struct index_view *view;
    const Cairn__ListUploadsRequest *req;
    struct index_reply *ret;
    struct kv_iter *it;
    size_t count, max;
    size_t key_bytes;
    uint8_t key[OBJECT_KEY_BYTES_MAX];
};

static void uploads_give(struct upload_lister *l, struct slice key, bool is_prefix,
                         struct slice upload, struct slice upload_id)
{
    struct buf *packed = &l->ret->packed;
    size_t bytes = 1 + wire_varint_bytes(key.len) + key.len +
                   (is_prefix ? 2 : 1 + wire_varint_bytes(upload.len) + upload.len);
    buf_u8(packed, UPLOADS_RESPONSE_UPLOADS << 3 | WIRE_BYTES);
    wire_append_varint(packed, bytes);
    wire_append_bytes(packed, ENTRY_KEY, key);
    if (is_prefix) {
        buf_u8(packed, ENTRY_IS_PREFIX << 3 | WIRE_VARINT);
        buf_u8(packed, 1);
    } else {
        wire_append_bytes(packed, ENTRY_UPLOAD, upload);
    }
    buf_clear(&l->ret->mark);
    buf_clear(&l->ret->mark2);
    buf_slice(&l->ret->mark, key);
    buf_slice(&l->ret->mark2, upload_id);
    l->count++;
}

static int uploads_run(struct upload_lister *l)
{
    while (l->it->ops->valid(l->it)) {
        struct slice upload_id;
        int err = key_decode(l->it->ops->key(l->it), l->key, &l->key_bytes, &upload_id);
        if (err || upload_id.len != ID_BYTES)
            return ERR_CORRUPT;
        if (l->count == l->max || l->ret->packed.len >= REPLY_BYTES_MAX) {
            l->ret->msg.uploads.more = true;
            return OK;
        }
        struct slice key = SLICE(l->key, l->key_bytes);
        struct slice common =
            common_prefix(key, bytes_of(l->req->prefix), bytes_of(l->req->delimiter));
        if (!common.len) {
            uploads_give(l, key, false, l->it->ops->value(l->it), upload_id);
            l->it->ops->next(l->it);
            continue;
        }
        struct key past;
        key_after_prefix(&past, l->view->partition, TABLE_UPLOAD, l->req->bucket_id, common);
        uploads_give(l, common, true, SLICE_EMPTY, SLICE_EMPTY);
        l->it->ops->seek(l->it, key_view(&past));
    }
    return l->it->ops->error(l->it);
}

/* Where the page begins.  A key marker alone means after all uploads of that key; if it is a common
 * prefix of this listing, or lies in one, after all that it covers. */
static int uploads_start(struct upload_lister *l)
{
    const Cairn__ListUploadsRequest *req = l->req;
    struct list_range range;
    struct key after;
    uint32_t partition = l->view->partition;
    struct slice prefix = bytes_of(req->prefix), marker = bytes_of(req->key_marker);
    marker.len = MIN(marker.len, (size_t)OBJECT_KEY_BYTES_MAX);
    list_range_init(&range, partition, TABLE_UPLOAD, req->bucket_id, prefix);
    if (marker.len) {
        struct slice common = slice_has_prefix(marker, prefix)
                                  ? common_prefix(marker, prefix, bytes_of(req->delimiter))
                                  : SLICE_EMPTY;
        if (common.len) {
            key_after_prefix(&after, partition, TABLE_UPLOAD, req->bucket_id, common);
        } else if (req->upload_id_marker.len) {
            key_upload(&after, partition, TABLE_UPLOAD, req->bucket_id, marker,
                       bytes_of(req->upload_id_marker));
            key_successor(&after);
        } else {
            key_after_object(&after, partition, TABLE_UPLOAD, req->bucket_id, marker);
        }
        list_range_raise(&range, &after);
    }
    if (slice_cmp(key_view(&range.lower), key_view(&range.upper)) >= 0)
        return OK;
    l->it = view_iter(l->view, &range.lower, &range.upper);
    return l->it ? OK : ERR_NOMEM;
}

int index_list_uploads(const struct index_view *view, const Cairn__ListUploadsRequest *req,
                       struct index_reply *ret)
{
    Cairn__ListUploadsResponse *msg = &ret->msg.uploads;
    *msg = (Cairn__ListUploadsResponse)CAIRN__LIST_UPLOADS_RESPONSE__INIT;
    msg->as_of = view->applied;
    int err = view_bucket_check(view, req->epoch, req->bucket_id);
    if (err)
        return err;
    if (req->upload_id_marker.len && req->upload_id_marker.len != ID_BYTES)
        return ERR_INVAL;
    if (req->uploads_max == 0 || req->prefix.len > OBJECT_KEY_BYTES_MAX)
        return OK;
    struct upload_lister l = {.view = view, .req = req, .ret = ret};
    l.max = MIN(req->uploads_max, (uint32_t)INDEX_LIST_KEYS_MAX);
    err = uploads_start(&l);
    if (!err && l.it)
        err = uploads_run(&l);
    if (l.it)
        l.it->ops->free(l.it);
    if (err || ret->packed.failed || ret->mark.failed || ret->mark2.failed)
        return err ? err : ERR_NOMEM;
    if (msg->more) {
        msg->next_key_marker = (ProtobufCBinaryData){ret->mark.len, ret->mark.ptr};
        msg->next_upload_id_marker = (ProtobufCBinaryData){ret->mark2.len, ret->mark2.ptr};
    }
    reply_rows(ret, 0, UPLOADS_RESPONSE_UPLOADS, &ret->packed);
    return OK;
}

/* ---- parts ---- */

/* The upload's row, under way or completed. */
static int upload_get(const struct index_view *view, uint64_t bucket_id, struct slice key,
                      struct slice upload_id, struct buf *ret)
{
    struct key row;
    key_upload(&row, view->partition, TABLE_UPLOAD, bucket_id, key, upload_id);
    int err = view_get(view, &row, ret);
    if (err != ERR_NOT_FOUND)
        return err;
    key_upload(&row, view->partition, TABLE_MANIFEST, bucket_id, key, upload_id);
    err = view_get(view, &row, ret);
    return err == ERR_NOT_FOUND ? ERR_NO_UPLOAD : err;
}

/* A part without its segments: those who list parts for a client do not need thousands of them. */
static int part_append(struct buf *packed, struct slice value, bool want_segments,
                       struct buf *scratch)
{
    if (!want_segments) {
        struct cursor c = cursor_of(value);
        struct wire_field f;
        buf_clear(scratch);
        while (wire_next(&c, &f))
            if (f.number != PART_SEGMENTS)
                buf_slice(scratch, f.whole);
        if (c.failed)
            return ERR_CORRUPT;
        if (scratch->failed)
            return ERR_NOMEM;
        value = buf_view(scratch);
    }
    wire_append_bytes(packed, PARTS_RESPONSE_PARTS, value);
    return OK;
}

static int parts_run(struct kv_iter *it, const Cairn__ListPartsRequest *req,
                     ProtobufCBinaryData chosen, struct index_reply *ret)
{
    size_t count = 0, max = MIN(req->parts_max, (uint32_t)INDEX_LIST_KEYS_MAX);
    struct buf scratch = {0};
    int err = OK;
    for (; !err && it->ops->valid(it); it->ops->next(it)) {
        struct slice row = it->ops->key(it);
        if (!part_is_chosen(chosen, load_be16(row.ptr + row.len - 2)))
            continue;
        if (count == max || ret->packed.len >= REPLY_BYTES_MAX) {
            ret->msg.parts.more = true;
            break;
        }
        err = part_append(&ret->packed, it->ops->value(it), req->want_segments, &scratch);
        count++;
    }
    if (!err && !it->ops->valid(it))
        err = it->ops->error(it);
    buf_fini(&scratch);
    return err;
}

static int parts_list(const struct index_view *view, const Cairn__ListPartsRequest *req,
                      ProtobufCBinaryData chosen, struct index_reply *ret)
{
    struct key lower, upper;
    if (req->parts_max == 0 || req->number_marker >= INDEX_PARTS_MAX)
        return OK;
    key_part(&lower, view->partition, TABLE_PART, req->bucket_id, bytes_of(req->key),
             bytes_of(req->upload_id), req->number_marker + 1);
    key_upload(&upper, view->partition, TABLE_PART, req->bucket_id, bytes_of(req->key),
               bytes_of(req->upload_id));
    key_successor(&upper);
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    int err = parts_run(it, req, chosen, ret);
    it->ops->free(it);
    return err;
}

int index_list_parts(const struct index_view *view, const Cairn__ListPartsRequest *req,
                     struct index_reply *ret)
{
    ret->msg.parts = (Cairn__ListPartsResponse)CAIRN__LIST_PARTS_RESPONSE__INIT;
    ret->msg.parts.as_of = view->applied;
    int err = view_object_check(view, req->epoch, req->bucket_id, bytes_of(req->key));
    if (err)
        return err;
    if (req->upload_id.len != ID_BYTES)
        return ERR_INVAL;
    struct buf upload = {0};
    ProtobufCBinaryData chosen;
    err = upload_get(view, req->bucket_id, bytes_of(req->key), bytes_of(req->upload_id), &upload);
    if (!err)
        err = upload_chosen(buf_view(&upload), &chosen);
    if (!err)
        err = parts_list(view, req, chosen, ret);
    if (!err)
        wire_append_bytes(&ret->mark, PARTS_RESPONSE_UPLOAD, buf_view(&upload));
    buf_fini(&upload);
    if (err || ret->packed.failed || ret->mark.failed)
        return err ? err : ERR_NOMEM;
    reply_rows(ret, 0, PARTS_RESPONSE_UPLOAD, &ret->mark);
    reply_rows(ret, 1, PARTS_RESPONSE_PARTS, &ret->packed);
    return OK;
}

/* ---- a part's body ---- */

/* *ret_bytes: what its inline body takes. */
static int part_scan(struct slice value, uint64_t *ret_bytes, uint64_t *ret_kind)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    bool sealed = false;
    *ret_bytes = 0;
    *ret_kind = CAIRN__DATA_KIND__DATA_INLINE;
    while (wire_next(&c, &f)) {
        *ret_bytes = f.number == PART_SIZE ? f.value : *ret_bytes;
        *ret_kind = f.number == PART_KIND ? f.value : *ret_kind;
        sealed |= f.number == PART_ENCRYPTION;
    }
    *ret_bytes = sealed ? sealed_bytes(*ret_bytes) : *ret_bytes;
    return c.failed ? ERR_CORRUPT : OK;
}

int index_read_part_body(const struct index_view *view, const Cairn__ReadPartBodyRequest *req,
                         struct index_reply *ret)
{
    ret->msg.part_body = (Cairn__ReadPartBodyResponse)CAIRN__READ_PART_BODY_RESPONSE__INIT;
    ret->msg.part_body.as_of = view->applied;
    struct slice key = bytes_of(req->key), id = bytes_of(req->upload_id);
    int err = view_object_check(view, req->epoch, req->bucket_id, key);
    if (err)
        return err;
    if (id.len != ID_BYTES || req->number < 1 || req->number > INDEX_PARTS_MAX)
        return ERR_INVAL;
    struct key row;
    struct buf value = {0};
    ProtobufCBinaryData chosen;
    uint64_t size = 0, kind = 0;
    err = upload_get(view, req->bucket_id, key, id, &value);
    if (!err)
        err = upload_chosen(buf_view(&value), &chosen);
    if (!err && !part_is_chosen(chosen, req->number))
        err = ERR_NOT_FOUND;
    if (!err) {
        key_part(&row, view->partition, TABLE_PART, req->bucket_id, key, id, req->number);
        err = view_get(view, &row, &value);
    }
    if (!err)
        err = part_scan(buf_view(&value), &size, &kind);
    if (!err && kind != CAIRN__DATA_KIND__DATA_INLINE)
        err = ERR_NOT_FOUND;
    if (!err) {
        key_part(&row, view->partition, TABLE_PART_BODY, req->bucket_id, key, id, req->number);
        err = reply_body(view, &row, size, ret);
    }
    buf_fini(&value);
    return err;
}
