/* Queues of events at the metanodes: who gets which to deliver, and when another does. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/keyhash.h"
#include "tests/unit/metanode/op/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define BUCKET_ID 1u
#define CLAIM_MS 15000u

static void start(struct fixture *fx, uint64_t seed)
{
    fx_init(fx, seed);
    fx->config.timeouts.sleep_after = 1000;
    fx->config.timeouts.balance = 0; /* leaders stay */
    fx_boot_all(fx, 0);
    assert_true(fx_wait_ready(fx, 10000));
}

static void put(struct fixture *fx, uint64_t bucket_id)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutObject op = CAIRN__PUT_OBJECT__INIT;
    Cairn__ObjectRecord record = CAIRN__OBJECT_RECORD__INIT;
    Cairn__EventContext events = CAIRN__EVENT_CONTEXT__INIT;
    Cairn__EventSink sink = CAIRN__EVENT_SINK__INIT, *sinks[1] = {&sink};
    Cairn__EventOrder order = CAIRN__EVENT_ORDER__INIT, *orders[1] = {&order};
    Cairn__ProposeRequest req = CAIRN__PROPOSE_REQUEST__INIT;
    struct id128 id = {{2}};
    struct rpc_call call = {0};
    uint32_t zero = 0;
    uint64_t touch = keyhash_object(bucket_id, SLICE_LIT("k"));
    fx->writes++;
    memcpy(id.bytes + 8, &fx->writes, sizeof(fx->writes));
    record.etag = (char *)(uintptr_t) "e";
    op.bucket_id = bucket_id;
    op.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "k"};
    op.record = &record;
    sink.kind = CAIRN__SINK_KIND__SINK_WEBHOOK;
    sink.target = (char *)(uintptr_t) "hook";
    order.name = CAIRN__EVENT_NAME__EVENT_CREATED_PUT;
    order.sinks = &zero;
    order.n_sinks = 1;
    events.sinks = sinks;
    events.n_sinks = 1;
    events.orders = orders;
    events.n_orders = 1;
    events.rows_max = 10;
    command.write_id = (ProtobufCBinaryData){ID_BYTES, id.bytes};
    command.issued_ms = env_wall_ms(host_env(fx->client_host));
    command.epoch = 1;
    command.n_touches = 1;
    command.touches = &touch;
    command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    command.put_object = &op;
    command.events = &events;
    req.partition = 1;
    req.command = &command;
    assert_int_equal(
        fx_call(fx, (unsigned)fx_leader(fx, 1), &method_meta_propose, &req.base, 2000, &call), OK);
    assert_int_equal(((const Cairn__ProposeResponse *)call.response)->outcome->err, OK);
    rpc_call_fini(&call);
}

/* How many queues the gateway has then; it says that it holds `held` (0: none). */
static size_t ask(struct fixture *fx, unsigned meta, uint8_t gateway, uint64_t held, uint32_t max)
{
    Cairn__EventQueuesRequest req = CAIRN__EVENT_QUEUES_REQUEST__INIT;
    Cairn__EventQueueRef ref = CAIRN__EVENT_QUEUE_REF__INIT, *refs[1] = {&ref};
    struct id128 claimant = {{gateway}};
    struct rpc_call call = {0};
    req.claimant = (ProtobufCBinaryData){ID_BYTES, claimant.bytes};
    req.queues_max = max;
    ref.partition = 1;
    ref.bucket_id = held;
    req.held = refs;
    req.n_held = held ? 1 : 0;
    assert_int_equal(fx_call(fx, meta, &method_meta_event_queues, &req.base, 2000, &call), OK);
    const Cairn__EventQueuesResponse *a = (const Cairn__EventQueuesResponse *)call.response;
    assert_int_equal(a->claim_ms, CLAIM_MS);
    size_t count = a->n_queues;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(a->queues[i]->partition, 1);
        assert_true(a->queues[i]->queue->n_counts == 1 && a->queues[i]->oldest_ms != 0);
        assert_true(a->queues[i]->time_ms >= a->queues[i]->oldest_ms);
    }
    rpc_call_fini(&call);
    return count;
}

static void each_to_one(void **state)
{
    (void)state;
    struct fixture fx;
    start(&fx, 81);
    unsigned leader = (unsigned)fx_leader(&fx, 1);
    assert_int_equal(ask(&fx, leader, 1, 0, 10), 0); /* there is none */
    put(&fx, BUCKET_ID);
    put(&fx, BUCKET_ID + 1);
    /* A leader that is new to it waits for those that may hold some. */
    assert_int_equal(ask(&fx, leader, 1, 0, 10), 0);
    assert_int_equal(ask(&fx, leader, 2, BUCKET_ID, 10), 1);
    fx_run_ms(&fx, CLAIM_MS / 2);
    assert_int_equal(ask(&fx, leader, 2, BUCKET_ID, 0), 1);
    fx_run_ms(&fx, CLAIM_MS / 2 + 1000);
    assert_int_equal(ask(&fx, leader, 1, 0, 10), 1); /* the other one */
    assert_int_equal(ask(&fx, leader, 3, 0, 10), 0);
    assert_int_equal(ask(&fx, leader, 3, BUCKET_ID, 10), 0);   /* another holds it */
    assert_int_equal(ask(&fx, (leader + 1) % 3, 3, 0, 10), 0); /* who does not lead gives none */
    /* Silence: another gets both. */
    fx_run_ms(&fx, CLAIM_MS + 1000);
    assert_int_equal(ask(&fx, leader, 3, 0, 1), 1);
    assert_int_equal(ask(&fx, leader, 3, 0, 1), 1);
    assert_int_equal(ask(&fx, leader, 1, BUCKET_ID + 1, 10), 0);
    fx_fini(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_to_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
