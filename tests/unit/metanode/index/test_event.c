/* The queue of events: what is queued with which change, who acknowledges what, and its bounds. */
#include "metanode/index/keys.h"
#include "world.h"

#include <stdlib.h>

#define KEY SLICE_LIT("k")
#define HOOK (char *)(uintptr_t) "hook"
#define FAR (char *)(uintptr_t) "far/b"

/* An order of one event for a webhook, for replication, or both. */
struct order {
    Cairn__EventContext e;
    Cairn__EventSink sink[2], *sinks[2];
    Cairn__EventOrder order[4], *orders[4];
    uint32_t both[2];
};

static void order_init(struct order *o, Cairn__EventName name, bool hook, bool far)
{
    cairn__event_context__init(&o->e);
    o->e.bucket = (char *)(uintptr_t) "photos";
    o->e.requester = (char *)(uintptr_t) "me";
    o->e.rows_max = 100;
    o->e.sinks = o->sinks;
    o->e.orders = o->orders;
    o->both[0] = 0;
    o->both[1] = 1;
    for (size_t i = 0; i < 2; i++) {
        if (i ? !far : !hook)
            continue;
        Cairn__EventSink *s = &o->sink[o->e.n_sinks];
        cairn__event_sink__init(s);
        s->kind = i ? CAIRN__SINK_KIND__SINK_REPLICATION : CAIRN__SINK_KIND__SINK_WEBHOOK;
        s->target = i ? FAR : HOOK;
        s->id = (char *)(uintptr_t) "rule";
        o->sinks[o->e.n_sinks++] = s;
    }
    for (size_t i = 0; i < 4; i++) {
        cairn__event_order__init(&o->order[i]);
        o->order[i].position = (uint32_t)i;
        o->order[i].name = name;
        o->order[i].sinks = o->both;
        o->order[i].n_sinks = o->e.n_sinks;
        o->orders[i] = &o->order[i];
    }
    o->e.n_orders = 1;
}

static int put_with(struct world *w, struct slice key, struct order *o, bool versioned)
{
    struct cmd c;
    cmd_put_inline(w, &c, key, SLICE_LIT("body"));
    c.msg.events = &o->e;
    if (versioned)
        c.msg.versioning = CAIRN__VERSIONING__VERSIONING_ENABLED;
    return world_run(w, &c);
}

static Cairn__ListEventsResponse *list(struct world *w, Cairn__SinkKind kind, const char *target,
                                       uint64_t after, uint32_t max)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListEventsRequest req = CAIRN__LIST_EVENTS_REQUEST__INIT;
    req.partition = w->partition;
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.kind = kind;
    req.target = (char *)(uintptr_t)target;
    req.after_index = after;
    req.after_n = after ? UINT16_MAX : 0;
    req.rows_max = max;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_list_events(&view, &req, &reply), OK);
    ProtobufCMessage *m = over_the_wire(&reply.msg.base);
    index_reply_fini(&reply);
    return (Cairn__ListEventsResponse *)(void *)m;
}

static void expect_waiting(struct world *w, uint64_t hook, uint64_t far)
{
    struct index_view view;
    Cairn__EventQueue *queue = NULL;
    uint64_t bucket = 0, oldest = 0, found[3] = {0};
    index_view_init(&view, w->index, NULL);
    int err = index_event_queue_next(&view, 0, &bucket, &queue, &oldest);
    assert_int_equal(err, hook || far ? OK : ERR_END);
    for (size_t i = 0; queue && i < queue->n_counts; i++)
        found[queue->counts[i]->kind] += queue->counts[i]->rows;
    if (queue) {
        assert_true(bucket == BUCKET && oldest != 0);
        assert_int_equal(
            index_event_queue_next(&view, bucket, &bucket, &(Cairn__EventQueue *){0}, &oldest),
            ERR_END);
        cairn__event_queue__free_unpacked(queue, NULL);
    }
    assert_int_equal(found[CAIRN__SINK_KIND__SINK_WEBHOOK], hook);
    assert_int_equal(found[CAIRN__SINK_KIND__SINK_REPLICATION], far);
    Cairn__ListEventsResponse *m = list(w, CAIRN__SINK_KIND__SINK_WEBHOOK, "hook", 0, 1000);
    assert_int_equal(m->n_entries, hook);
    cairn__list_events_response__free_unpacked(m, NULL);
    m = list(w, CAIRN__SINK_KIND__SINK_REPLICATION, "far/b", 0, 1000);
    assert_int_equal(m->n_entries, far);
    cairn__list_events_response__free_unpacked(m, NULL);
}

static int ack(struct world *w, Cairn__SinkKind kind, char *target, uint64_t index, uint32_t n,
               Cairn__EventResult result)
{
    struct cmd c;
    Cairn__AckEvents op = CAIRN__ACK_EVENTS__INIT;
    Cairn__EventAck e = CAIRN__EVENT_ACK__INIT, *events[1] = {&e};
    cmd_init(w, &c);
    op.bucket_id = BUCKET;
    op.kind = kind;
    op.target = target;
    op.events = events;
    op.n_events = 1;
    e.index = index;
    e.n = n;
    e.result = result;
    e.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "k"};
    if (kind == CAIRN__SINK_KIND__SINK_REPLICATION)
        c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, KEY);
    c.msg.op_case = CAIRN__COMMAND__OP_ACK_EVENTS;
    c.msg.ack_events = &op;
    return world_run(w, &c);
}

static int ack_hook(struct world *w, uint64_t index)
{
    return ack(w, CAIRN__SINK_KIND__SINK_WEBHOOK, HOOK, index, 0, CAIRN__EVENT_RESULT__EVENT_DONE);
}

static int ack_far(struct world *w, uint64_t index, Cairn__EventResult result)
{
    return ack(w, CAIRN__SINK_KIND__SINK_REPLICATION, FAR, index, 0, result);
}

static Cairn__ReplicationStatus status(struct world *w, uint64_t version)
{
    Cairn__ObjectRecord *r = get_version(w, KEY, version, NULL);
    assert_non_null(r);
    Cairn__ReplicationStatus s = r->replication;
    cairn__object_record__free_unpacked(r, NULL);
    return s;
}

static void rows(struct world *w, size_t want)
{
    size_t found;
    count_rows(w, TABLE_EVENT, KV_INDEX, &found);
    assert_int_equal(found, want);
}

static void what_is_done_is_queued(void **state)
{
    (void)state;
    struct world w;
    struct order o;
    world_init(&w, 3);
    assert_int_equal(put(&w, "k", "nobody listens"), OK);
    rows(&w, 0);
    order_init(&o, CAIRN__EVENT_NAME__EVENT_CREATED_PUT, true, false);
    assert_int_equal(put_with(&w, KEY, &o, false), OK);
    uint64_t first = w.out->index;
    rows(&w, 2); /* the event and the head */
    Cairn__ListEventsResponse *m = list(&w, CAIRN__SINK_KIND__SINK_WEBHOOK, "hook", 0, 10);
    assert_int_equal(m->n_entries, 1);
    const Cairn__EventRow *row = m->entries[0]->row;
    assert_true(m->entries[0]->index == first && m->entries[0]->n == 0);
    assert_int_equal(row->name, CAIRN__EVENT_NAME__EVENT_CREATED_PUT);
    assert_true(slice_eq(SLICE(row->key.data, row->key.len), KEY));
    assert_true(row->size == 4 && !row->versioned && row->version == first && row->time_ms);
    assert_string_equal(row->bucket, "photos");
    assert_string_equal(row->requester, "me");
    assert_string_equal(row->sinks[0]->id, "rule");
    assert_true(row->etag[0]);
    cairn__list_events_response__free_unpacked(m, NULL);
    /* What is refused, or changes nothing, is not. */
    struct cmd c;
    Cairn__Condition condition = CAIRN__CONDITION__INIT;
    condition.if_absent = true;
    cmd_put_inline(&w, &c, KEY, SLICE_LIT("body"));
    c.put.condition = &condition;
    c.msg.events = &o.e;
    assert_int_equal(world_run(&w, &c), ERR_PRECONDITION);
    expect_waiting(&w, 1, 0);
    order_init(&o, CAIRN__EVENT_NAME__EVENT_REMOVED_DELETE, true, false);
    cmd_delete(&w, &c, SLICE_LIT("absent"));
    c.msg.events = &o.e;
    assert_int_equal(world_run(&w, &c), OK);
    expect_waiting(&w, 1, 0);
    cmd_delete(&w, &c, KEY);
    c.msg.events = &o.e;
    assert_int_equal(world_run(&w, &c), OK);
    uint64_t second = w.out->index;
    expect_waiting(&w, 2, 0);
    world_reopen(&w);
    expect_waiting(&w, 2, 0);
    /* Pages, and answers in any order, each once. */
    m = list(&w, CAIRN__SINK_KIND__SINK_WEBHOOK, "hook", 0, 1);
    assert_true(m->n_entries == 1 && m->more && m->resume_index == first);
    cairn__list_events_response__free_unpacked(m, NULL);
    m = list(&w, CAIRN__SINK_KIND__SINK_WEBHOOK, "hook", first, 1);
    assert_true(m->n_entries == 1 && !m->more && m->entries[0]->index == second);
    cairn__list_events_response__free_unpacked(m, NULL);
    assert_int_equal(ack_far(&w, first, CAIRN__EVENT_RESULT__EVENT_DONE), OK); /* not for it */
    expect_waiting(&w, 2, 0);
    assert_int_equal(ack_hook(&w, second), OK);
    assert_int_equal(ack_hook(&w, second), OK);
    expect_waiting(&w, 1, 0);
    assert_int_equal(ack_hook(&w, first), OK);
    expect_waiting(&w, 0, 0);
    rows(&w, 0);
    world_fini(&w);
}

static void each_key_of_many(void **state)
{
    (void)state;
    struct world w;
    struct order o;
    struct cmd c;
    static const char *const names[] = {"b", "none", "a", "b"};
    ProtobufCBinaryData keys[ARRAY_COUNT(names)];
    Cairn__DeleteObjects op = CAIRN__DELETE_OBJECTS__INIT;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "x"), OK);
    assert_int_equal(put(&w, "b", "x"), OK);
    cmd_init(&w, &c);
    order_init(&o, CAIRN__EVENT_NAME__EVENT_REMOVED_DELETE, true, false);
    o.e.n_orders = 4;
    op.bucket_id = BUCKET;
    op.keys = keys;
    op.n_keys = ARRAY_COUNT(names);
    for (size_t i = 0; i < op.n_keys; i++) {
        keys[i] = (ProtobufCBinaryData){strlen(names[i]), (uint8_t *)(uintptr_t)names[i]};
        c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, slice_cstr(names[i]));
    }
    c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    c.msg.delete_objects = &op;
    c.msg.events = &o.e;
    assert_int_equal(world_run(&w, &c), OK);
    Cairn__ListEventsResponse *m = list(&w, CAIRN__SINK_KIND__SINK_WEBHOOK, "hook", 0, 10);
    assert_int_equal(m->n_entries, 2); /* in the order of the request, what was there, once */
    assert_true(m->entries[0]->n == 0 && m->entries[0]->row->key.data[0] == 'b');
    assert_true(m->entries[1]->n == 2 && m->entries[1]->row->key.data[0] == 'a');
    cairn__list_events_response__free_unpacked(m, NULL);
    expect_waiting(&w, 2, 0);
    world_fini(&w);
}

static void replication_has_a_status(void **state)
{
    (void)state;
    struct world w;
    struct order o;
    world_init(&w, 3);
    order_init(&o, CAIRN__EVENT_NAME__EVENT_CREATED_PUT, true, true);
    assert_int_equal(put_with(&w, KEY, &o, true), OK);
    uint64_t first = w.out->index;
    assert_int_equal(status(&w, first), CAIRN__REPLICATION_STATUS__REPLICATION_PENDING);
    assert_int_equal(put_with(&w, KEY, &o, true), OK);
    uint64_t second = w.out->index;
    expect_waiting(&w, 2, 2);
    /* An older version as well as the current one. */
    assert_int_equal(ack_far(&w, first, CAIRN__EVENT_RESULT__EVENT_REFUSED), OK);
    expect_waiting(&w, 2, 2);
    assert_int_equal(status(&w, first), CAIRN__REPLICATION_STATUS__REPLICATION_FAILED);
    assert_int_equal(status(&w, second), CAIRN__REPLICATION_STATUS__REPLICATION_PENDING);
    assert_int_equal(ack_far(&w, first, CAIRN__EVENT_RESULT__EVENT_DONE), OK);
    assert_int_equal(status(&w, first), CAIRN__REPLICATION_STATUS__REPLICATION_COMPLETED);
    expect_waiting(&w, 2, 1);
    assert_int_equal(ack_hook(&w, first), OK);
    expect_waiting(&w, 1, 1);
    assert_int_equal(ack_far(&w, second, CAIRN__EVENT_RESULT__EVENT_GIVEN_UP), OK);
    assert_int_equal(status(&w, second), CAIRN__REPLICATION_STATUS__REPLICATION_FAILED);
    expect_waiting(&w, 1, 0);
    /* A webhook's answer says nothing about it. */
    assert_int_equal(ack_hook(&w, second), OK);
    assert_int_equal(status(&w, second), CAIRN__REPLICATION_STATUS__REPLICATION_FAILED);
    rows(&w, 0);
    /* The version has gone meanwhile. */
    assert_int_equal(put_with(&w, KEY, &o, true), OK);
    uint64_t third = w.out->index;
    struct cmd c;
    cmd_delete(&w, &c, KEY);
    c.msg.versioning = CAIRN__VERSIONING__VERSIONING_ENABLED;
    c.del.version = third;
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(ack_far(&w, third, CAIRN__EVENT_RESULT__EVENT_DONE), OK);
    expect_waiting(&w, 1, 0);
    world_fini(&w);
}

static void a_queue_is_bounded(void **state)
{
    (void)state;
    struct world w;
    struct order o;
    world_init(&w, 3);
    order_init(&o, CAIRN__EVENT_NAME__EVENT_CREATED_PUT, false, true);
    o.e.rows_max = 2;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(put_with(&w, KEY, &o, true), OK);
        assert_int_equal(w.out->events, 0);
    }
    uint64_t second = w.out->index;
    assert_int_equal(put_with(&w, KEY, &o, true), OK); /* a change is never refused for it */
    assert_int_equal(w.out->events, CAIRN__EVENT_FATE__EVENT_FATE_DROPPED |
                                        CAIRN__EVENT_FATE__EVENT_FATE_NOT_REPLICATED);
    assert_int_equal(status(&w, w.out->index), CAIRN__REPLICATION_STATUS__REPLICATION_FAILED);
    expect_waiting(&w, 0, 2);
    /* Other destinations have room of their own. */
    order_init(&o, CAIRN__EVENT_NAME__EVENT_CREATED_PUT, true, true);
    o.e.rows_max = 2;
    assert_int_equal(put_with(&w, KEY, &o, true), OK);
    expect_waiting(&w, 1, 2);
    assert_int_equal(w.out->events, CAIRN__EVENT_FATE__EVENT_FATE_DROPPED |
                                        CAIRN__EVENT_FATE__EVENT_FATE_NOT_REPLICATED);
    assert_int_equal(ack_far(&w, second, CAIRN__EVENT_RESULT__EVENT_DONE), OK);
    assert_int_equal(put_with(&w, KEY, &o, true), OK);
    assert_int_equal(w.out->events, 0);
    expect_waiting(&w, 2, 2);
    world_fini(&w);
}

/* Events keep no bucket from being deleted. */
static void an_empty_bucket_is_empty(void **state)
{
    (void)state;
    struct world w;
    struct order o;
    struct cmd c;
    world_init(&w, 3);
    order_init(&o, CAIRN__EVENT_NAME__EVENT_CREATED_PUT, true, false);
    assert_int_equal(put_with(&w, KEY, &o, false), OK);
    assert_int_equal(del(&w, "k"), OK);
    cmd_fence(&w, &c, BUCKET, 9, true);
    assert_int_equal(world_run(&w, &c), OK);
    assert_true(w.out->empty);
    expect_waiting(&w, 1, 0);
    world_fini(&w);
}

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    struct world w;
    struct order o;
    world_init(&w, 3);
    for (int i = 0; i < 8; i++) {
        order_init(&o, CAIRN__EVENT_NAME__EVENT_CREATED_PUT, true, true);
        switch (i) {
        case 0: o.e.rows_max = 0; break;
        case 1: o.order[0].position = 1; break;
        case 2: o.e.n_orders = 2; break;
        case 3: o.both[1] = 2; break;
        case 4: o.both[1] = 0; break;
        case 5: o.sink[0].target = (char *)(uintptr_t) ""; break;
        case 6: o.sink[0].kind = (Cairn__SinkKind)9; break;
        case 7: o.order[0].name = (Cairn__EventName)(INDEX_EVENT_NAME_MAX + 1); break;
        }
        assert_int_equal(put_with(&w, KEY, &o, false), ERR_REFUSED);
    }
    assert_int_equal(ack_hook(&w, 0), ERR_REFUSED);
    assert_int_equal(ack(&w, CAIRN__SINK_KIND__SINK_NONE, HOOK, 1, 0, 0), ERR_REFUSED);
    assert_int_equal(ack_hook(&w, 7), OK); /* nothing of the kind: nothing to do */
    rows(&w, 0);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_done_is_queued),   cmocka_unit_test(each_key_of_many),
        cmocka_unit_test(replication_has_a_status), cmocka_unit_test(a_queue_is_bounded),
        cmocka_unit_test(an_empty_bucket_is_empty), cmocka_unit_test(what_is_malformed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
