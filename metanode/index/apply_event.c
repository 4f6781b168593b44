/* The queue of events: what webhooks are to be told of, and what is to be replicated.
 *
 *   bucket, 0            the head: how many events wait for each destination
 *   bucket, index, n     an event, of the entry `index`; n: position of the key in DeleteObjects
 *
 * The gateway that proposes a change knows who wants to hear of it and says so in the command; the
 * event is queued in the entry that makes the change, so that neither is there without the other.
 * Whoever delivers reads the rows in order and says what the destinations have acknowledged; the
 * last acknowledgement removes the row.  No entry of a bucket that nobody listens to reads or
 * writes anything for this.
 *
 * A destination that is away must not fill the disks: beyond rows_max (the gateways' configuration)
 * its new events are dropped, and the outcome says so.  New ones, because dropping the oldest would
 * tear what a destination has begun to read in order, and because a dropped replication can then be
 * marked on the object that is being written.  Others' events are not affected.
 *
 * No entry is refused for any of this. */
#include "metanode/index/state.h"

#include "common/base/check.h"

/* ---- the head ---- */

static int head_load(struct apply *a, uint64_t bucket_id)
{
    struct key key;
    ProtobufCMessage *message = NULL;
    if (a->events.known)
        return a->events.bucket_id == bucket_id ? OK : ERR_CORRUPT; /* one command, one bucket */
    struct index_arena *given = a->arena;
    a->arena = &a->index->arena; /* it lives as long as the entry */
    key_event(&key, a->index->partition, bucket_id, 0, 0);
    int err = apply_get_message(a, &key, &cairn__event_queue__descriptor, &message);
    if (err == ERR_NOT_FOUND) {
        message = index_arena_alloc(a->arena, sizeof(Cairn__EventQueue));
        err = message ? OK : ERR_NOMEM;
        if (message)
            cairn__event_queue__init((Cairn__EventQueue *)(void *)message);
    }
    a->arena = given;
    if (err)
        return err;
    a->events.known = true;
    a->events.bucket_id = bucket_id;
    a->events.head = (Cairn__EventQueue *)(void *)message;
    return OK;
}

static Cairn__EventCount *count_find(const Cairn__EventQueue *head, Cairn__SinkKind kind,
                                     struct slice target)
{
    for (size_t i = 0; i < head->n_counts; i++)
        if (head->counts[i]->kind == kind && slice_eq(string_of(head->counts[i]->target), target))
            return head->counts[i];
    return NULL;
}

/* *ret NULL: there are too many destinations already. */
static int count_add(struct apply *a, const Cairn__EventSink *sink, Cairn__EventCount **ret)
{
    Cairn__EventQueue *head = a->events.head;
    struct index_arena *arena = &a->index->arena;
    *ret = NULL;
    if (head->n_counts >= INDEX_EVENT_TARGETS_MAX)
        return OK;
    Cairn__EventCount **counts =
        index_arena_alloc(arena, (head->n_counts + 1) * sizeof(*head->counts));
    Cairn__EventCount *count = index_arena_alloc(arena, sizeof(*count));
    if (!counts || !count)
        return ERR_NOMEM;
    if (head->n_counts)
        memcpy(counts, head->counts, head->n_counts * sizeof(*counts));
    cairn__event_count__init(count);
    count->kind = sink->kind;
    count->target = sink->target;
    counts[head->n_counts++] = count;
    head->counts = counts;
    *ret = count;
    return OK;
}

/* One event more waits for the sink.  *ret_room: false: it does not, there are too many. */
static int count_up(struct apply *a, const Cairn__EventSink *sink, bool *ret_room)
{
    Cairn__EventCount *count = count_find(a->events.head, sink->kind, string_of(sink->target));
    int err = count ? OK : count_add(a, sink, &count);
    *ret_room = !err && count && count->rows < a->cmd->events->rows_max;
    if (*ret_room) {
        count->rows++;
        a->events.changed = true;
    }
    return err;
}

static int count_down(struct apply *a, Cairn__SinkKind kind, struct slice target)
{
    Cairn__EventQueue *head = a->events.head;
    Cairn__EventCount *count = count_find(head, kind, target);
    if (!count || count->rows == 0)
        return ERR_CORRUPT;
    a->events.changed = true;
    if (--count->rows)
        return OK;
    size_t at = 0;
    while (head->counts[at] != count)
        at++;
    memmove(&head->counts[at], &head->counts[at + 1],
            (head->n_counts - at - 1) * sizeof(*head->counts));
    head->n_counts--;
    return OK;
}

int event_finish(struct apply *a)
{
    struct key key;
    if (!a->events.changed)
        return OK;
    key_event(&key, a->index->partition, a->events.bucket_id, 0, 0);
    if (a->events.head->n_counts)
        return apply_put_message(a, &key, &a->events.head->base);
    apply_delete(a, &key);
    return OK;
}

/* ---- into the queue ---- */

static const Cairn__EventOrder *order_find(const Cairn__EventContext *e, uint32_t position)
{
    size_t low = 0, high = e->n_orders; /* ascending (check.c) */
    while (low < high) {
        size_t at = low + (high - low) / 2;
        if (e->orders[at]->position == position)
            return e->orders[at];
        if (e->orders[at]->position < position)
            low = at + 1;
        else
            high = at;
    }
    return NULL;
}

/* What the sinks that had room make of the object's replication. */
static void status_set(const Cairn__EventRow *row, bool dropped, Cairn__ReplicationStatus *ret)
{
    bool pending = false;
    for (size_t i = 0; i < row->n_sinks; i++)
        pending |= row->sinks[i]->kind == CAIRN__SINK_KIND__SINK_REPLICATION;
    if (ret && pending)
        *ret = CAIRN__REPLICATION_STATUS__REPLICATION_PENDING;
    else if (ret && dropped)
        *ret = CAIRN__REPLICATION_STATUS__REPLICATION_FAILED;
}

static int row_put(struct apply *a, const struct event_fact *fact, const Cairn__EventOrder *order,
                   Cairn__EventRow *row)
{
    const Cairn__EventContext *e = a->cmd->events;
    struct key key;
    row->name = order->name;
    row->key = (ProtobufCBinaryData){fact->key.len, (uint8_t *)(uintptr_t)fact->key.ptr};
    row->version = fact->version;
    row->versioned = fact->versioned;
    row->size = fact->size;
    if (fact->etag)
        row->etag = fact->etag;
    row->time_ms = a->h.time_ms;
    row->bucket = e->bucket;
    row->bucket_owner = e->bucket_owner;
    row->requester = e->requester;
    row->source_ip = e->source_ip;
    row->request_id = e->request_id;
    key_event(&key, a->index->partition, fact->bucket_id, a->entry_index, fact->position);
    return apply_put_message(a, &key, &row->base);
}

int event_note(struct apply *a, const struct event_fact *fact, Cairn__ReplicationStatus *ret_status)
{
    const Cairn__EventContext *e = a->cmd->events;
    const Cairn__EventOrder *order = e ? order_find(e, fact->position) : NULL;
    if (!order)
        return OK;
    Cairn__EventSink *sinks[INDEX_EVENT_ORDER_SINKS_MAX];
    Cairn__EventRow row = CAIRN__EVENT_ROW__INIT;
    bool replication_dropped = false;
    row.sinks = sinks;
    int err = head_load(a, fact->bucket_id);
    for (size_t i = 0; !err && i < order->n_sinks; i++) {
        Cairn__EventSink *sink = e->sinks[order->sinks[i]];
        bool room;
        err = count_up(a, sink, &room);
        if (!err && room) {
            sinks[row.n_sinks++] = sink;
        } else if (!err) {
            a->out.events |= CAIRN__EVENT_FATE__EVENT_FATE_DROPPED;
            replication_dropped |= sink->kind == CAIRN__SINK_KIND__SINK_REPLICATION;
        }
    }
    if (err)
        return err;
    if (replication_dropped)
        a->out.events |= CAIRN__EVENT_FATE__EVENT_FATE_NOT_REPLICATED;
    status_set(&row, replication_dropped, ret_status);
    return row.n_sinks ? row_put(a, fact, order, &row) : OK;
}

/* ---- out of it ---- */

/* The status of the version that the event made, if it is still there and was to be replicated. */
static int status_change(struct apply *a, uint64_t bucket_id, const Cairn__EventRow *row,
                         Cairn__ReplicationStatus status)
{
    Cairn__ObjectRecord *record;
    struct key key;
    if (!row->versioned)
        return OK;
    int err = version_find(a, bucket_id, bytes_of(row->key), row->version, &record, &key);
    if (err || !record || record->replication == status ||
        (record->replication != CAIRN__REPLICATION_STATUS__REPLICATION_PENDING &&
         record->replication != CAIRN__REPLICATION_STATUS__REPLICATION_FAILED))
        return err;
    record->replication = status;
    return apply_put_message(a, &key, &record->base);
}

/* FAILED once one replication was given up, COMPLETED when all are done; PENDING till then. */
static int replicated(struct apply *a, uint64_t bucket_id, const Cairn__EventRow *row,
                      Cairn__EventResult result)
{
    bool waiting = false;
    for (size_t i = 0; i < row->n_sinks; i++)
        waiting |= row->sinks[i]->kind == CAIRN__SINK_KIND__SINK_REPLICATION;
    if (result == CAIRN__EVENT_RESULT__EVENT_REFUSED || row->failed)
        return status_change(a, bucket_id, row, CAIRN__REPLICATION_STATUS__REPLICATION_FAILED);
    return waiting
               ? OK
               : status_change(a, bucket_id, row, CAIRN__REPLICATION_STATUS__REPLICATION_COMPLETED);
}

static bool sink_remove(Cairn__EventRow *row, Cairn__SinkKind kind, struct slice target)
{
    for (size_t i = 0; i < row->n_sinks; i++) {
        if (row->sinks[i]->kind != kind || !slice_eq(string_of(row->sinks[i]->target), target))
            continue;
        memmove(&row->sinks[i], &row->sinks[i + 1], (row->n_sinks - i - 1) * sizeof(*row->sinks));
        row->n_sinks--;
        return true;
    }
    return false;
}

static bool sink_waits(const Cairn__EventRow *row, Cairn__SinkKind kind, struct slice target)
{
    for (size_t i = 0; i < row->n_sinks; i++)
        if (row->sinks[i]->kind == kind && slice_eq(string_of(row->sinks[i]->target), target))
            return true;
    return false;
}

/* A second answer about the same event finds no row, or not the sink in it, and changes nothing. */
static int ack(struct apply *a, const Cairn__AckEvents *op, const Cairn__EventAck *answer)
{
    struct key key;
    ProtobufCMessage *message;
    struct slice target = string_of(op->target);
    bool replication = op->kind == CAIRN__SINK_KIND__SINK_REPLICATION;
    key_event(&key, a->index->partition, op->bucket_id, answer->index, answer->n);
    int err = apply_get_message(a, &key, &cairn__event_row__descriptor, &message);
    if (err)
        return err == ERR_NOT_FOUND ? OK : err;
    Cairn__EventRow *row = (Cairn__EventRow *)(void *)message;
    if (!sink_waits(row, op->kind, target) ||
        (replication && !slice_eq(bytes_of(row->key), bytes_of(answer->key))))
        return OK; /* no such answer was asked for */
    if (answer->result != CAIRN__EVENT_RESULT__EVENT_REFUSED) {
        err = head_load(a, op->bucket_id);
        while (!err && sink_remove(row, op->kind, target))
            err = count_down(a, op->kind, target);
        row->failed |= replication && answer->result == CAIRN__EVENT_RESULT__EVENT_GIVEN_UP;
        if (!err && row->n_sinks)
            err = apply_put_message(a, &key, &row->base);
        else if (!err)
            apply_delete(a, &key);
    }
    return err || !replication ? err : replicated(a, op->bucket_id, row, answer->result);
}

int apply_ack_events(struct apply *a, const Cairn__AckEvents *op)
{
    int err = OK;
    for (size_t i = 0; !err && i < op->n_events; i++)
        err = ack(a, op, op->events[i]);
    return err;
}
