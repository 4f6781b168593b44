/* Interim segments at the metanodes: who hands them out, to whom, and when again. */
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
#define CLAIM_MS 60000u

static void start(struct fixture *fx, uint64_t seed)
{
    fx_init(fx, seed);
    fx->config.timeouts.sleep_after = 1000;
    fx->config.timeouts.balance = 0; /* leaders stay */
    fx->config.timeouts.sleep_after = 1000;
    fx_boot_all(fx, 0);
    assert_true(fx_wait_ready(fx, 10000));
}

static void command_init(struct fixture *fx, Cairn__Command *c, struct id128 *id, uint64_t *touch,
                         const char *key)
{
    cairn__command__init(c);
    *id = (struct id128){{2}};
    fx->writes++;
    memcpy(id->bytes + 8, &fx->writes, sizeof(fx->writes));
    *touch = keyhash_object(BUCKET_ID, slice_cstr(key));
    c->write_id = (ProtobufCBinaryData){ID_BYTES, id->bytes};
    c->issued_ms = env_wall_ms(host_env(fx->client_host));
    c->epoch = 1;
    c->n_touches = 1;
    c->touches = touch;
}

static int propose(struct fixture *fx, uint32_t partition, Cairn__Command *command)
{
    Cairn__ProposeRequest req = CAIRN__PROPOSE_REQUEST__INIT;
    struct rpc_call call = {0};
    int leader = fx_leader(fx, partition);
    assert_true(leader >= 0);
    req.partition = partition;
    req.command = command;
    int err = fx_call(fx, (unsigned)leader, &method_meta_propose, &req.base, 2000, &call);
    if (err == OK)
        err = ((const Cairn__ProposeResponse *)call.response)->outcome->err;
    rpc_call_fini(&call);
    return err;
}

/* Blob n: an object of one interim segment. */
static void put(struct fixture *fx, uint8_t n, bool interim)
{
    Cairn__Command command;
    Cairn__PutObject op = CAIRN__PUT_OBJECT__INIT;
    Cairn__ObjectRecord record = CAIRN__OBJECT_RECORD__INIT;
    Cairn__Segment segment = CAIRN__SEGMENT__INIT, *segments[1] = {&segment};
    struct id128 id, blob = {{n, 7}};
    uint64_t touch;
    char key[8];
    snprintf(key, sizeof(key), "k%u", n);
    command_init(fx, &command, &id, &touch, key);
    segment.blob_id = (ProtobufCBinaryData){ID_BYTES, blob.bytes};
    segment.bytes = record.size = 5;
    segment.interim = interim;
    record.etag = (char *)(uintptr_t) "e";
    record.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    record.segments = segments;
    record.n_segments = 1;
    op.bucket_id = BUCKET_ID;
    op.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    op.record = &record;
    command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    command.put_object = &op;
    assert_int_equal(propose(fx, 1, &command), OK);
}

static int move(struct fixture *fx, uint8_t n)
{
    Cairn__Command command;
    Cairn__MoveSegment op = CAIRN__MOVE_SEGMENT__INIT;
    Cairn__Segment to = CAIRN__SEGMENT__INIT;
    struct id128 id, blob = {{n, 7}}, next = {{n, 8}};
    uint64_t touch;
    char key[8];
    snprintf(key, sizeof(key), "k%u", n);
    command_init(fx, &command, &id, &touch, key);
    to.blob_id = (ProtobufCBinaryData){ID_BYTES, next.bytes};
    to.bytes = 5;
    op.bucket_id = BUCKET_ID;
    op.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    op.from_blob_id = (ProtobufCBinaryData){ID_BYTES, blob.bytes};
    op.to = &to;
    command.op_case = CAIRN__COMMAND__OP_MOVE_SEGMENT;
    command.move_segment = &op;
    return propose(fx, 1, &command);
}

/* A mask of the blobs that it hands out. */
static uint32_t ask(struct fixture *fx, unsigned meta, uint32_t max, bool *ret_more,
                    uint64_t *ret_waiting)
{
    Cairn__InterimRequest req = CAIRN__INTERIM_REQUEST__INIT;
    struct rpc_call call = {0};
    uint32_t ret = 0;
    req.segments_max = max;
    assert_int_equal(fx_call(fx, meta, &method_meta_interim, &req.base, 2000, &call), OK);
    const Cairn__InterimResponse *a = (const Cairn__InterimResponse *)call.response;
    assert_int_equal(a->claim_ms, CLAIM_MS);
    assert_true(a->n_segments <= max);
    for (size_t i = 0; i < a->n_segments; i++) {
        const Cairn__InterimSegment *s = a->segments[i];
        assert_true(s->bucket_id == BUCKET_ID && s->key.len == 2 && s->segment->bytes == 5 &&
                    s->segment->interim && s->segment->blob_id.len == ID_BYTES);
        assert_false(ret & 1u << s->segment->blob_id.data[0]); /* each once */
        ret |= 1u << s->segment->blob_id.data[0];
    }
    *ret_more = a->more;
    *ret_waiting = a->waiting;
    rpc_call_fini(&call);
    return ret;
}

static void each_to_one_at_a_time(void **state)
{
    (void)state;
    struct fixture fx;
    bool more;
    uint64_t waiting;
    start(&fx, 71);
    unsigned leader = (unsigned)fx_leader(&fx, 1);
    assert_int_equal(ask(&fx, leader, 32, &more, &waiting), 0);
    assert_true(!more && waiting == 0);
    for (uint8_t n = 1; n <= 5; n++)
        put(&fx, n, n != 3);
    assert_int_equal(ask(&fx, leader, 0, &more, &waiting), 0);
    assert_int_equal(waiting, 4);
    assert_int_equal(ask(&fx, leader, 2, &more, &waiting), 1u << 1 | 1u << 2);
    assert_true(more && waiting == 4);
    assert_int_equal(ask(&fx, leader, 32, &more, &waiting), 1u << 4 | 1u << 5);
    assert_false(more);
    assert_int_equal(ask(&fx, leader, 32, &more, &waiting), 0); /* all are claimed */
    assert_true(!more && waiting == 4);
    assert_int_equal(move(&fx, 2), OK);
    assert_int_equal(move(&fx, 3), OK); /* any segment may move */
    fx_run_ms(&fx, CLAIM_MS - 5000);
    assert_int_equal(ask(&fx, leader, 32, &more, &waiting), 0);
    assert_int_equal(waiting, 3);
    fx_run_ms(&fx, 6000);
    assert_int_equal(ask(&fx, leader, 32, &more, &waiting), 1u << 1 | 1u << 4 | 1u << 5);
    assert_int_equal(meta_node_stats(fx.metas[leader].node)->interim_claims, 7);
    fx_fini(&fx);
}

/* Claims are lost with their leader; that costs nothing but work. */
static void another_leader_hands_out_again(void **state)
{
    (void)state;
    struct fixture fx;
    bool more;
    uint64_t waiting;
    start(&fx, 72);
    unsigned leader = (unsigned)fx_leader(&fx, 1);
    put(&fx, 1, true);
    put(&fx, 2, true);
    for (unsigned i = 0; i < FX_METAS; i++) {
        assert_int_equal(ask(&fx, i, 32, &more, &waiting), i == leader ? 1u << 1 | 1u << 2 : 0);
        assert_int_equal(waiting, i == leader ? 2 : 0);
    }
    assert_int_equal(move(&fx, 1), OK);
    fx_crash_meta(&fx, leader);
    assert_true(fx_wait_leader(&fx, 1, 10000));
    unsigned next = (unsigned)fx_leader(&fx, 1);
    assert_true(next != leader);
    fx_run_ms(&fx, 1000); /* it applies what it has */
    assert_int_equal(ask(&fx, next, 32, &more, &waiting), 1u << 2);
    assert_int_equal(waiting, 1);
    fx_fini(&fx);
}

/* Asked again and again, a sleeping group sleeps on. */
static void nobody_is_woken(void **state)
{
    (void)state;
    struct fixture fx;
    struct meta_partition_info info;
    bool more;
    uint64_t waiting;
    start(&fx, 73);
    unsigned leader = (unsigned)fx_leader(&fx, 1);
    put(&fx, 1, true);
    fx_run_ms(&fx, 15000);
    fx_info(&fx, leader, 1, &info);
    assert_true(info.asleep);
    uint64_t woken = meta_node_stats(fx.metas[leader].node)->woken, found = 0;
    for (int i = 0; i < 100; i++) {
        found |= ask(&fx, leader, 32, &more, &waiting);
        assert_int_equal(waiting, 1);
        fx_run_ms(&fx, 1000);
    }
    assert_int_equal(found, 1u << 1);
    fx_info(&fx, leader, 1, &info);
    assert_true(info.asleep && info.interim == 1);
    assert_int_equal(meta_node_stats(fx.metas[leader].node)->woken, woken);
    assert_int_equal(move(&fx, 1), OK); /* what must wake it does */
    fx_info(&fx, leader, 1, &info);
    assert_int_equal(info.interim, 0);
    fx_fini(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_to_one_at_a_time),
        cmocka_unit_test(another_leader_hands_out_again),
        cmocka_unit_test(nobody_is_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
