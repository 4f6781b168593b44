/* Questions about blobs at the metanode: what is referred to, what is condemned, who is answered what. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/keyhash.h"
#include "tests/unit/metanode/op/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define BUCKET_ID 1u
#define KEY "k"

static ProtobufCBinaryData blob(uint8_t n)
{
    static uint8_t ids[256][ID_BYTES];
    ids[n][0] = n;
    ids[n][15] = 1;
    return (ProtobufCBinaryData){ID_BYTES, ids[n]};
}

static void start(struct fixture *fx, uint64_t seed)
{
    fx_init(fx, seed);
    fx_boot_all(fx, 0);
    assert_true(fx_wait_ready(fx, 10000));
}

static unsigned leader(struct fixture *fx)
{
    int i = fx_leader(fx, 1);
    assert_true(i >= 0);
    return (unsigned)i;
}

static int propose(struct fixture *fx, Cairn__Command *command)
{
    Cairn__ProposeRequest req = CAIRN__PROPOSE_REQUEST__INIT;
    struct rpc_call call = {0};
    struct id128 id = {{2}};
    uint64_t touch = keyhash_object(BUCKET_ID, slice_cstr(KEY));
    fx->writes++;
    memcpy(id.bytes + 8, &fx->writes, sizeof(fx->writes));
    command->write_id = (ProtobufCBinaryData){ID_BYTES, id.bytes};
    command->issued_ms = env_wall_ms(host_env(fx->client_host));
    command->epoch = 1;
    command->n_touches = 1;
    command->touches = &touch;
    req.partition = 1;
    req.command = command;
    int err = fx_call(fx, leader(fx), &method_meta_propose, &req.base, 2000, &call);
    if (err == OK)
        err = ((const Cairn__ProposeResponse *)call.response)->outcome->err;
    rpc_call_fini(&call);
    return err;
}

/* An object of one segment. */
static int put_blob(struct fixture *fx, uint8_t n)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutObject put = CAIRN__PUT_OBJECT__INIT;
    Cairn__ObjectRecord record = CAIRN__OBJECT_RECORD__INIT;
    Cairn__Segment segment = CAIRN__SEGMENT__INIT, *segments[1] = {&segment};
    segment.blob_id = blob(n);
    segment.bytes = 5;
    record.etag = (char *)(uintptr_t)"e";
    record.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    record.size = 5;
    record.segments = segments;
    record.n_segments = 1;
    put.bucket_id = BUCKET_ID;
    put.key = (ProtobufCBinaryData){strlen(KEY), (uint8_t *)(uintptr_t)KEY};
    put.record = &record;
    command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    command.put_object = &put;
    return propose(fx, &command);
}

struct question {
    Cairn__BlobRefsRequest msg;
    ProtobufCBinaryData ids[2];
    uint32_t pgs[2];
    uint64_t times_ms[2];
};

/* About blobs 1 and 2. */
static void question_init(struct fixture *fx, struct question *q, bool condemn)
{
    cairn__blob_refs_request__init(&q->msg);
    q->ids[0] = blob(1);
    q->ids[1] = blob(2);
    q->pgs[0] = q->pgs[1] = 1;
    q->times_ms[0] = q->times_ms[1] = env_wall_ms(host_env(fx->client_host)) - 1;
    q->msg.partition = 1;
    q->msg.epoch = 1;
    q->msg.bucket_id = BUCKET_ID;
    q->msg.key = (ProtobufCBinaryData){strlen(KEY), (uint8_t *)(uintptr_t)KEY};
    q->msg.n_blob_ids = q->msg.n_pgs = 2;
    q->msg.blob_ids = q->ids;
    q->msg.pgs = q->pgs;
    q->msg.times_ms = q->times_ms;
    q->msg.n_times_ms = 2;
    q->msg.condemn = condemn;
}

static int ask(struct fixture *fx, unsigned meta, struct question *q, uint8_t ret[2], uint64_t *ret_as_of)
{
    struct rpc_call call = {0};
    int err = fx_call(fx, meta, &method_meta_blob_refs, &q->msg.base, 5000, &call);
    const Cairn__BlobRefsResponse *a = (const Cairn__BlobRefsResponse *)call.response;
    if (err == OK) {
        assert_int_equal(a->referred.len, 2);
        ret[0] = a->referred.data[0];
        ret[1] = a->referred.data[1];
        *ret_as_of = a->as_of;
    } else if (err == ERR_NOT_LEADER || err == ERR_EPOCH) {
        assert_true(a && a->route && a->route->n_current > 0);
    }
    rpc_call_fini(&call);
    return err;
}

static void what_nothing_refers_to_is_condemned(void **state)
{
    (void)state;
    struct fixture fx;
    struct question q;
    uint8_t referred[2];
    uint64_t looked = 0, decided = 0, again = 0;
    start(&fx, 50);
    assert_int_equal(put_blob(&fx, 1), OK);
    struct meta_partition_info before, after;
    question_init(&fx, &q, false);
    fx_info(&fx, leader(&fx), 1, &before);
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &looked), OK);
    assert_true(referred[0] && !referred[1] && looked == before.applied);
    fx_info(&fx, leader(&fx), 1, &after);
    assert_int_equal(before.applied, after.applied);
    assert_int_equal(ask(&fx, (leader(&fx) + 1) % FX_METAS, &q, referred, &looked), ERR_NOT_LEADER);
    q.msg.epoch = 2;
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &looked), ERR_EPOCH);
    q.msg.epoch = 1;
    q.msg.n_pgs = 1;
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &looked), ERR_INVAL);
    q.msg.n_pgs = 2;

    /* Looking condemns nothing; asked to, the answer is that of an entry. */
    q.msg.condemn = true;
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &decided), OK);
    assert_true(referred[0] && !referred[1] && decided > looked);
    assert_int_equal(put_blob(&fx, 2), ERR_CONDEMNED);
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &again), OK);
    assert_true(referred[0] && !referred[1] && again > decided);
    /* Where all is referred to there is nothing to propose. */
    fx_info(&fx, leader(&fx), 1, &before);
    q.msg.n_blob_ids = q.msg.n_pgs = 2;
    q.ids[1] = blob(1);
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &again), OK);
    assert_true(referred[0] && referred[1]);
    fx_info(&fx, leader(&fx), 1, &after);
    assert_int_equal(before.applied, after.applied);
    fx_fini(&fx);
}

static void without_leases_too(void **state)
{
    (void)state;
    struct fixture fx;
    struct question q;
    uint8_t referred[2];
    uint64_t as_of = 0;
    fx_init(&fx, 51);
    fx.config.lease_reads = false;
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_int_equal(put_blob(&fx, 2), OK);
    question_init(&fx, &q, true);
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &as_of), OK);
    assert_true(!referred[0] && referred[1]);
    assert_int_equal(put_blob(&fx, 1), ERR_CONDEMNED);
    fx_fini(&fx);
}

static void what_cannot_be_judged_is_left_for_later(void **state)
{
    (void)state;
    struct fixture fx;
    struct question q;
    struct meta_partition_info before, after;
    uint8_t referred[2];
    uint64_t as_of = 0;
    const uint64_t age = 20000;
    fx_init(&fx, 56);
    fx.cluster.orphan_age_ms = age;
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    question_init(&fx, &q, true);
    /* A bit short of it: nothing is worth an entry. */
    fx_run_ms(&fx, 2 * age);
    uint64_t now = env_wall_ms(host_env(fx.client_host));
    q.times_ms[0] = now - age + 5000;
    q.times_ms[1] = now + age;
    fx_info(&fx, leader(&fx), 1, &before);
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &as_of), OK);
    assert_true(referred[0] == 2 && referred[1] == 2);
    /* Of a cluster that was lost before this one was founded. */
    q.times_ms[0] = q.times_ms[1] = now - 5 * age;
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &as_of), OK);
    assert_true(referred[0] == 2 && referred[1] == 2);
    q.times_ms[0] = q.times_ms[1] = now - age - 10000;
    q.pgs[0] = q.pgs[1] = 99;
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &as_of), OK);
    assert_true(referred[0] == 2 && referred[1] == 2);
    q.msg.n_times_ms = 1;
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &as_of), ERR_INVAL);
    fx_info(&fx, leader(&fx), 1, &after);
    assert_int_equal(before.applied, after.applied);
    q.msg.n_times_ms = 2;
    q.pgs[1] = 1;
    assert_int_equal(ask(&fx, leader(&fx), &q, referred, &as_of), OK);
    assert_true(referred[0] == 2 && referred[1] == 0);
    assert_int_equal(put_blob(&fx, 1), OK);
    assert_int_equal(put_blob(&fx, 2), ERR_CONDEMNED);
    fx_fini(&fx);
}

/* A leader that cannot commit says so in the end, and not that the blob is gone. */
static void a_lost_leader_decides_nothing(void **state)
{
    (void)state;
    struct fixture fx;
    struct question q;
    uint8_t referred[2];
    uint64_t as_of = 0;
    start(&fx, 52);
    unsigned old = leader(&fx);
    for (unsigned i = 0; i < FX_METAS; i++)
        if (i != old) {
            world_block(fx.world, fx.metas[old].host, fx.metas[i].host, true);
            world_block(fx.world, fx.metas[i].host, fx.metas[old].host, true);
        }
    question_init(&fx, &q, true);
    assert_int_equal(ask(&fx, old, &q, referred, &as_of), ERR_DROPPED);
    assert_true(fx_wait_leader(&fx, 1, 10000));
    assert_int_equal(put_blob(&fx, 2), OK);
    fx_fini(&fx);
}

static void ended(struct rpc_call *call)
{
    (void)call;
}

/* The process ends with a question proposed: that is answered, and nothing of it is left behind. */
static void a_stop_leaves_nothing(void **state)
{
    (void)state;
    struct fixture fx;
    struct question q;
    start(&fx, 53);
    unsigned old = leader(&fx);
    for (unsigned i = 0; i < FX_METAS; i++)
        if (i != old)
            world_block(fx.world, fx.metas[old].host, fx.metas[i].host, true);
    question_init(&fx, &q, true);
    struct rpc_call call = {.method = &method_meta_blob_refs, .request = &q.msg.base,
                            .timeout_ns = 5 * NS_PER_SEC, .cb = ended};
    struct rpc_peer *peer = rpc_peer_get(fx.storage, fx.metas[old].addr, fx.metas[old].id);
    int err = rpc_call_start(peer, &call);
    if (err == ERR_UNREACHABLE) { /* it connects */
        fx_run_ms(&fx, 20);
        err = rpc_call_start(peer, &call);
    }
    assert_int_equal(err, OK);
    fx_run_ms(&fx, 100);
    struct meta_partition_info info;
    fx_info(&fx, old, 1, &info);
    assert_true(info.proposals > 0);
    fx_crash_meta(&fx, old);
    fx_run_ms(&fx, 6000);
    assert_true(call.err != OK);
    rpc_call_fini(&call);
    fx_fini(&fx);
}

static void only_metanodes_propose_it(void **state)
{
    (void)state;
    struct fixture fx;
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__Condemn condemn = CAIRN__CONDEMN__INIT;
    Cairn__CondemnBlob b = CAIRN__CONDEMN_BLOB__INIT, *blobs[1] = {&b};
    start(&fx, 54);
    b.blob_id = blob(1);
    condemn.bucket_id = BUCKET_ID;
    condemn.key = (ProtobufCBinaryData){strlen(KEY), (uint8_t *)(uintptr_t)KEY};
    condemn.blobs = blobs;
    condemn.n_blobs = 1;
    command.op_case = CAIRN__COMMAND__OP_CONDEMN;
    command.condemn = &condemn;
    assert_int_equal(propose(&fx, &command), ERR_AUTH);
    /* Nor what the root's leader decides. */
    Cairn__PutNode node = CAIRN__PUT_NODE__INIT;
    Cairn__AddPgs pgs = CAIRN__ADD_PGS__INIT;
    Cairn__BeginPgChange begin = CAIRN__BEGIN_PG_CHANGE__INIT;
    Cairn__FinishPgChange finish = CAIRN__FINISH_PG_CHANGE__INIT;
    command.op_case = CAIRN__COMMAND__OP_PUT_NODE;
    command.put_node = &node;
    assert_int_equal(propose(&fx, &command), ERR_AUTH);
    command.op_case = CAIRN__COMMAND__OP_ADD_PGS;
    command.add_pgs = &pgs;
    assert_int_equal(propose(&fx, &command), ERR_AUTH);
    command.op_case = CAIRN__COMMAND__OP_BEGIN_PG_CHANGE;
    command.begin_pg_change = &begin;
    assert_int_equal(propose(&fx, &command), ERR_AUTH);
    command.op_case = CAIRN__COMMAND__OP_FINISH_PG_CHANGE;
    command.finish_pg_change = &finish;
    assert_int_equal(propose(&fx, &command), ERR_AUTH);
    fx_fini(&fx);
}

static void segments_are_listed(void **state)
{
    (void)state;
    struct fixture fx;
    struct rpc_call call = {0};
    Cairn__ListSegmentsRequest req = CAIRN__LIST_SEGMENTS_REQUEST__INIT;
    start(&fx, 55);
    assert_int_equal(put_blob(&fx, 1), OK);
    req.partition = 1;
    req.epoch = 1;
    req.bucket_id = BUCKET_ID;
    assert_int_equal(fx_call(&fx, leader(&fx), &method_meta_list_segments, &req.base, 2000, &call), OK);
    const Cairn__ListSegmentsResponse *a = (const Cairn__ListSegmentsResponse *)call.response;
    assert_int_equal(a->n_entries, 1);
    assert_int_equal(a->entries[0]->n_segments, 1);
    assert_memory_equal(a->entries[0]->segments[0]->blob_id.data, blob(1).data, ID_BYTES);
    rpc_call_fini(&call);
    call = (struct rpc_call){0};
    unsigned follower = (leader(&fx) + 1) % FX_METAS;
    assert_int_equal(fx_call(&fx, follower, &method_meta_list_segments, &req.base, 2000, &call),
                     ERR_NOT_LEADER);
    a = (const Cairn__ListSegmentsResponse *)call.response;
    assert_true(a && a->route && a->route->n_current > 0);
    rpc_call_fini(&call);
    fx_fini(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nothing_refers_to_is_condemned),
        cmocka_unit_test(what_cannot_be_judged_is_left_for_later),
        cmocka_unit_test(without_leases_too),
        cmocka_unit_test(a_lost_leader_decides_nothing),
        cmocka_unit_test(a_stop_leaves_nothing),
        cmocka_unit_test(only_metanodes_propose_it),
        cmocka_unit_test(segments_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
