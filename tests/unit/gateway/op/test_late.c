/* Writes that take so long that their blobs may be taken for orphans: they are given up, by the
 * clock that the blobs' times are of; and uploads, which may take as long as they like. */
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

#define HOUR_MS (UINT64_C(3600) * 1000)
#define ORPHAN_AGE_MS (24 * HOUR_MS)

static uint64_t made_ms, issued_ms[4];
static unsigned issued_count;
static struct id128 named[8];
static size_t named_count;

static void start(struct stand *s)
{
    struct exchange x;
    stand_init(s);
    s->config.write_age_ms_max = 23 * HOUR_MS;
    assert_int_equal(exchange_run(s, &x, "PUT", "/bucket", SLICE_EMPTY), 200);
    exchange_fini(&x);
    issued_count = 0;
    named_count = 0;
    made_ms = env_wall_ms(&s->f.env);
}

static struct slice make_body(size_t n)
{
    uint8_t *p = malloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 11 + i / 1000);
    return SLICE(p, n);
}

static void free_body(struct slice s)
{
    free((void *)(uintptr_t)s.ptr);
}

static void assert_refused(struct stand *s, struct exchange *x, unsigned proposals)
{
    assert_int_equal(x->status, 503);
    assert_true(exchange_says(x, "<Code>ServiceUnavailable</Code>"));
    assert_int_equal(s->proposals, proposals);
    exchange_fini(x);
    fake_run(&s->f, 20 * NS_PER_SEC);
    assert_int_equal(stand_live_blobs(s), 0);
    s->on_propose = NULL;
    assert_int_equal(exchange_run(s, x, "GET", "/bucket/key", SLICE_EMPTY), 404);
    exchange_fini(x);
}

/* The rest of the body is not even sent for. */
static void a_slow_body_is_given_up(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(4000000);
    for (int late = 0; late < 2; late++) {
        start(&s);
        unsigned before = s.proposals;
        for (int i = 0; i < STAND_NODES; i++)
            s.node[i].peer->latency_ns = NS_PER_SEC;
        exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
        fake_run(&s.f, 3 * NS_PER_SEC);
        s.f.wall_ms += (late ? 24 : 22) * HOUR_MS;
        exchange_wait(&x);
        if (late) {
            assert_true(x.sent < body.len);
            assert_refused(&s, &x, before);
        } else {
            assert_int_equal(x.status, 200);
            exchange_fini(&x);
        }
        stand_fini(&s);
    }
    free_body(body);
}

/* A document is small: who takes its time only wants to keep what it holds. */
static void a_slow_document_is_given_up(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    start(&s);
    exchange_start(&s, &x, "PUT", "/bucket?tagging", SLICE_LIT("<Tagging>"), NULL);
    x.paused = true; /* nothing comes */
    fake_run(&s.f, 60 * NS_PER_SEC);
    assert_int_equal(x.status, 0);
    fake_run(&s.f, 61 * NS_PER_SEC);
    assert_int_equal(x.status, 400);
    assert_true(exchange_says(&x, "<Code>RequestTimeout</Code>"));
    assert_int_equal(s.gw.text_bytes, 0);
    exchange_fini(&x);
    stand_fini(&s);
}

static const Cairn__Command *command_of(const struct fake_call *call)
{
    return ((const Cairn__ProposeRequest *)(void *)call->request)->command;
}

/* Answers the first proposal with a refusal after which it is made anew, a day later. */
static bool refuse_first(struct stand *s, struct fake_call *call, int err)
{
    Cairn__ProposeResponse response = CAIRN__PROPOSE_RESPONSE__INIT;
    Cairn__Outcome outcome = CAIRN__OUTCOME__INIT;
    assert_true(issued_count < 4);
    issued_ms[issued_count++] = command_of(call)->issued_ms;
    if (issued_count > 1)
        return false;
    s->f.wall_ms += 24 * HOUR_MS;
    outcome.err = err;
    response.outcome = &outcome;
    fake_reply(call, OK, &response.base, (struct payload){0});
    return true;
}

static bool refuse_settings(struct stand *s, struct fake_call *call)
{
    return refuse_first(s, call, ERR_SETTINGS);
}

static bool refuse_epoch(struct stand *s, struct fake_call *call)
{
    return refuse_first(s, call, ERR_EPOCH);
}

static void nothing_is_proposed_too_late(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(600000);
    start(&s);
    s.on_propose = refuse_settings;
    exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
    exchange_wait(&x);
    assert_int_equal(issued_count, 1);
    assert_refused(&s, &x, s.proposals);
    /* What has no blobs has no such bound. */
    s.on_propose = refuse_settings;
    issued_count = 0;
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/small", SLICE_LIT("small")), 200);
    assert_int_equal(issued_count, 2);
    exchange_fini(&x);
    stand_fini(&s);
    free_body(body);
}

/* Routed anew under another write id: it says that it was issued while that was still allowed, and
 * is refused for that. */
static void no_write_id_is_of_a_later_time(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(600000);
    start(&s);
    s.on_propose = refuse_epoch;
    exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
    exchange_wait(&x);
    assert_int_equal(issued_count, 2);
    assert_true(issued_ms[1] <= made_ms + 23 * HOUR_MS + 1000);
    assert_refused(&s, &x, s.proposals);
    stand_fini(&s);
    free_body(body);
}

/* ---- condemned blobs ---- */

static void remember(Cairn__Segment *const *segments, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_true(named_count < 8 && id128_from_slice(SLICE(segments[i]->blob_id.data, ID_BYTES),
                                                        &named[named_count++]));
}

/* A storage node asks about all that was named so far, just before this proposal is applied. */
static bool condemn_first(struct stand *s, struct fake_call *call)
{
    Cairn__ProposeRequest *q = (Cairn__ProposeRequest *)(void *)call->request;
    Cairn__Command command = CAIRN__COMMAND__INIT, *own = q->command;
    Cairn__Condemn condemn = CAIRN__CONDEMN__INIT;
    Cairn__CondemnBlob blobs[8], *pointers[8];
    for (size_t i = 0; i < named_count; i++) {
        cairn__condemn_blob__init(&blobs[i]);
        blobs[i].pg = 1;
        blobs[i].blob_id = (ProtobufCBinaryData){ID_BYTES, named[i].bytes};
        blobs[i].time_ms = made_ms;
        pointers[i] = &blobs[i];
    }
    if (own->op_case == CAIRN__COMMAND__OP_PUT_OBJECT) {
        condemn.bucket_id = own->put_object->bucket_id;
        condemn.key = own->put_object->key;
    } else if (own->op_case == CAIRN__COMMAND__OP_PUT_PART) {
        condemn.bucket_id = own->put_part->bucket_id;
        condemn.key = own->put_part->key;
    }
    condemn.blobs = pointers;
    condemn.n_blobs = named_count;
    condemn.age_ms = ORPHAN_AGE_MS;
    command.epoch = own->epoch;
    command.op_case = CAIRN__COMMAND__OP_CONDEMN;
    command.condemn = &condemn;
    if (condemn.bucket_id && named_count) {
        q->command = &command;
        stand_apply(s, call, true);
        q->command = own;
    }
    return false;
}

/* The clocks lied about: it is condemned although its writer was in time. */
static bool condemn_own(struct stand *s, struct fake_call *call)
{
    const Cairn__Command *own = command_of(call);
    remember(own->put_object->record->segments, own->put_object->record->n_segments);
    made_ms -= 10 * ORPHAN_AGE_MS;
    return condemn_first(s, call);
}

static void a_condemned_write_is_said_to_have_failed(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(600000);
    start(&s);
    s.on_propose = condemn_own;
    exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
    exchange_wait(&x);
    assert_int_equal(named_count, 3);
    assert_refused(&s, &x, s.proposals);
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/key", body),
                     200); /* the client's next try */
    exchange_fini(&x);
    stand_fini(&s);
    free_body(body);
}

static bool part_named(struct stand *s, struct fake_call *call)
{
    const Cairn__Command *own = command_of(call);
    condemn_first(s, call); /* those of the parts before */
    if (own->op_case == CAIRN__COMMAND__OP_PUT_PART)
        remember(own->put_part->part->segments, own->put_part->part->n_segments);
    stand_apply(s, call, false);
    s->f.wall_ms += 3 * ORPHAN_AGE_MS; /* the next takes days */
    return true;
}

static void an_upload_may_take_days(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    char id[33];
    struct slice body = make_body(600000);
    start(&s);
    s.on_propose = part_named;
    exchange_upload(&s, body, 200000, id);
    s.on_propose = NULL;
    assert_int_equal(named_count, 3);
    for (unsigned i = 0; i < STAND_PARTITIONS; i++)
        assert_int_equal(index_condemned_count(s.index[i]), 0);
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/mp", SLICE_EMPTY), 200);
    assert_int_equal(x.out.len, body.len);
    assert_memory_equal(x.out.ptr, body.ptr, body.len);
    exchange_fini(&x);
    stand_fini(&s);
    free_body(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_body_is_given_up),
        cmocka_unit_test(a_slow_document_is_given_up),
        cmocka_unit_test(nothing_is_proposed_too_late),
        cmocka_unit_test(no_write_id_is_of_a_later_time),
        cmocka_unit_test(a_condemned_write_is_said_to_have_failed),
        cmocka_unit_test(an_upload_may_take_days),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
