/* Reading the queue of events (apply_event.c): whole rows are handed on as they are stored. */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "metanode/index/wire.h"

enum {
    ROW_TIME = 7, /* of EventRow */
    ROW_SINKS = 8,
    SINK_KIND = 1, /* of EventSink */
    SINK_TARGET = 2,
    ENTRY_INDEX = 1, /* of EventEntry */
    ENTRY_N = 2,
    ENTRY_ROW = 3,
    RESPONSE_ENTRIES = 2,
    PLACE_BYTES = 8 + 2, /* be64 index, be16 n: the end of a row's key */
    ROWS_LOOKED_AT_MAX = 4096,
};

struct place {
    uint64_t index;
    uint32_t n;
};

static int place_of(struct slice row_key, struct place *ret)
{
    if (row_key.len != KEY_BUCKET_BYTES + PLACE_BYTES)
        return ERR_CORRUPT;
    *ret = (struct place){load_be64(row_key.ptr + KEY_BUCKET_BYTES),
                          load_be16(row_key.ptr + KEY_BUCKET_BYTES + 8)};
    return OK;
}

static bool sink_is(struct slice sink, uint32_t kind, struct slice target)
{
    struct cursor c = cursor_of(sink);
    struct wire_field f;
    uint64_t found_kind = 0;
    struct slice found = SLICE_EMPTY;
    while (wire_next(&c, &f)) {
        if (f.number == SINK_KIND && f.type == WIRE_VARINT)
            found_kind = f.value;
        else if (f.number == SINK_TARGET && f.type == WIRE_BYTES)
            found = f.bytes;
    }
    return !c.failed && found_kind == kind && slice_eq(found, target);
}

static int waits_for(struct slice row, uint32_t kind, struct slice target, bool *ret)
{
    struct cursor c = cursor_of(row);
    struct wire_field f;
    *ret = false;
    while (wire_next(&c, &f))
        if (f.number == ROW_SINKS && f.type == WIRE_BYTES)
            *ret |= sink_is(f.bytes, kind, target);
    return c.failed ? ERR_CORRUPT : OK;
}

static void entry_append(struct buf *packed, struct place at, struct slice row)
{
    uint8_t head[2 * (1 + WIRE_VARINT_BYTES_MAX)];
    uint8_t *p = wire_put_uint(head, ENTRY_INDEX, at.index);
    p = wire_put_uint(p, ENTRY_N, at.n);
    buf_u8(packed, RESPONSE_ENTRIES << 3 | WIRE_BYTES);
    wire_append_varint(packed, (size_t)(p - head) + 1 + wire_varint_bytes(row.len) + row.len);
    buf_append(packed, head, (size_t)(p - head));
    wire_append_bytes(packed, ENTRY_ROW, row);
}

static int rows_walk(struct kv_iter *it, const Cairn__ListEventsRequest *req,
                     struct index_reply *ret)
{
    Cairn__ListEventsResponse *msg = &ret->msg.events;
    uint32_t max = MIN(req->rows_max, (uint32_t)INDEX_LIST_KEYS_MAX), count = 0;
    struct place at = {req->after_index, req->after_n};
    int err = OK;
    for (unsigned looked = 0; !err && it->ops->valid(it); it->ops->next(it), looked++) {
        if (count == max || looked == ROWS_LOOKED_AT_MAX || ret->packed.len >= REPLY_BYTES_MAX) {
            msg->more = true;
            break;
        }
        bool waits;
        err = place_of(it->ops->key(it), &at);
        if (!err)
            err = waits_for(it->ops->value(it), req->kind, string_of(req->target), &waits);
        if (!err && waits) {
            entry_append(&ret->packed, at, it->ops->value(it));
            count++;
        }
    }
    msg->resume_index = at.index;
    msg->resume_n = at.n;
    return err ? err : it->ops->error(it);
}

int index_list_events(const struct index_view *view, const Cairn__ListEventsRequest *req,
                      struct index_reply *ret)
{
    Cairn__ListEventsResponse *msg = &ret->msg.events;
    struct key lower, upper;
    cairn__list_events_response__init(msg);
    msg->as_of = view->applied;
    int err = view_bucket_check(view, req->epoch, req->bucket_id);
    if (!err && (req->kind == CAIRN__SINK_KIND__SINK_NONE || req->after_n > UINT16_MAX ||
                 string_of(req->target).len > INDEX_EVENT_TARGET_BYTES_MAX))
        err = ERR_INVAL;
    if (err)
        return err;
    key_event(&lower, view->partition, req->bucket_id, req->after_index, req->after_n);
    key_bytes(&lower, SLICE("", 1)); /* behind it; the head has index 0 */
    key_table_be64(&upper, view->partition, TABLE_EVENT, req->bucket_id);
    key_successor(&upper);
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    err = rows_walk(it, req, ret);
    it->ops->free(it);
    if (!err && ret->packed.failed)
        err = ERR_NOMEM;
    if (!err)
        reply_rows(ret, 0, RESPONSE_ENTRIES, &ret->packed);
    return err;
}

/* ---- which buckets have some ---- */

static int row_time(struct slice row, uint64_t *ret)
{
    struct cursor c = cursor_of(row);
    struct wire_field f;
    while (wire_next(&c, &f))
        if (f.number == ROW_TIME && f.type == WIRE_VARINT)
            *ret = f.value;
    return c.failed ? ERR_CORRUPT : OK;
}

static int queue_read(struct kv_iter *it, uint64_t *ret_bucket_id, Cairn__EventQueue **ret_queue,
                      uint64_t *ret_oldest_ms)
{
    struct place at;
    if (!it->ops->valid(it)) {
        int err = it->ops->error(it);
        return err ? err : ERR_END;
    }
    int err = place_of(it->ops->key(it), &at);
    if (err || at.index)
        return ERR_CORRUPT; /* every queue has a head */
    *ret_bucket_id = load_be64(it->ops->key(it).ptr + KEY_PREFIX_BYTES);
    struct slice value = it->ops->value(it);
    Cairn__EventQueue *queue = cairn__event_queue__unpack(NULL, value.len, value.ptr);
    if (!queue)
        return ERR_CORRUPT;
    it->ops->next(it); /* and at least one event */
    *ret_oldest_ms = 0;
    if (it->ops->valid(it))
        err = row_time(it->ops->value(it), ret_oldest_ms);
    else
        err = it->ops->error(it);
    if (err)
        cairn__event_queue__free_unpacked(queue, NULL);
    else
        *ret_queue = queue;
    return err;
}

int index_event_queue_next(const struct index_view *view, uint64_t after, uint64_t *ret_bucket_id,
                           Cairn__EventQueue **ret_queue, uint64_t *ret_oldest_ms)
{
    struct key lower, upper;
    if (after == UINT64_MAX)
        return ERR_END;
    key_table_be64(&lower, view->partition, TABLE_EVENT, after + 1);
    key_table(&upper, view->partition, TABLE_EVENT, SLICE_EMPTY);
    key_successor(&upper);
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    int err = queue_read(it, ret_bucket_id, ret_queue, ret_oldest_ms);
    it->ops->free(it);
    return err;
}
