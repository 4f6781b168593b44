/* Appending through the whole of a gateway loop: what is written and how it is named, what becomes
 * of those that lose, and the bounds. */
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t bytes[1000000];

static void bytes_fill(void)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
}

static void run(struct stand *s, int status, const char *method, struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, method, "/bucket/key", body), status);
    exchange_fini(&x);
}

static void begin(struct stand *s)
{
    struct exchange x;
    bytes_fill();
    stand_init(s);
    assert_int_equal(exchange_run(s, &x, "PUT", "/bucket", SLICE_EMPTY), 200);
    exchange_fini(&x);
}

/* What lies between two offsets of `bytes`, at the first.  says: in the answer. */
static void append(struct stand *s, size_t from, size_t to, int status, const char *says)
{
    struct exchange x;
    char field[64];
    snprintf(field, sizeof(field), "x-amz-write-offset-bytes: %zu", from);
    exchange_start(s, &x, "PUT", "/bucket/key", SLICE(bytes + from, to - from), field, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, status);
    assert_true(exchange_says(&x, says));
    exchange_fini(&x);
}

static void expect(struct stand *s, size_t len)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, "GET", "/bucket/key", SLICE_EMPTY), 200);
    assert_int_equal(x.out.len, len);
    assert_memory_equal(x.out.ptr, bytes, len);
    exchange_fini(&x);
}

/* By which an index that is lost would be put together again. */
static void segments_go_on_numbering(void **state)
{
    (void)state;
    struct stand s;
    static const struct {
        unsigned segment, write;
        uint64_t body_bytes;
    } want[] = {{0, 0, 300000}, {1, 0, 300000}, {2, 1, 300001}, {3, 2, 700001}, {4, 2, 700001}};
    begin(&s);
    append(&s, 0, 300000, 200, "x-amz-object-size: 300000");
    append(&s, 300000, 300001, 200, "x-amz-object-size: 300001");
    append(&s, 300001, 700001, 200, "x-amz-object-size: 700001");
    append(&s, 700001, 700001, 200, "x-amz-object-size: 700001");
    expect(&s, 700001);
    const struct stand_node *n = &s.node[0];
    assert_int_equal(n->blob_count, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(n->blobs[i].segment_number, want[i].segment);
        assert_int_equal(n->blobs[i].body_bytes, want[i].body_bytes);
        for (unsigned k = 0; k < i; k++)
            assert_int_equal(id128_eq(n->blobs[i].write_id, n->blobs[k].write_id),
                             want[i].write == want[k].write);
    }
    stand_fini(&s);
}

/* From what is kept inline to segments, those written as a whole. */
static void inline_data_go_along(void **state)
{
    (void)state;
    struct stand s;
    static const size_t ends[] = {0, 1, 4000, 4096, 4097, 300000};
    begin(&s);
    for (size_t i = 0, at = 0; i < sizeof(ends) / sizeof(ends[0]); at = ends[i++]) {
        append(&s, at, ends[i], 200, "x-amz-checksum-crc64nvme");
        expect(&s, ends[i]);
    }
    assert_int_equal(s.node[0].blob_count, 3);
    assert_int_equal(s.node[0].blobs[0].body_bytes, 4097);
    stand_fini(&s);
}

static bool append_first(struct stand *s, struct fake_call *call)
{
    (void)call;
    s->on_propose = NULL;
    append(s, 300000, 300001, 200, "ETag");
    return false;
}

static bool delete_first(struct stand *s, struct fake_call *call)
{
    (void)call;
    s->on_propose = NULL;
    run(s, 204, "DELETE", SLICE_EMPTY);
    return false;
}

static bool put_first(struct stand *s, struct fake_call *call)
{
    (void)call;
    s->on_propose = NULL;
    run(s, 200, "PUT", SLICE(bytes, 300000));
    return false;
}

static void those_who_lose_leave_nothing(void **state)
{
    (void)state;
    static const struct {
        bool (*first)(struct stand *s, struct fake_call *call);
        unsigned live; /* blobs that are not the loser's; only the index deletes the old ones */
        size_t len;
    } cases[] = {{append_first, 3, 300001}, {put_first, 4, 300000}, {delete_first, 2, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stand s;
        begin(&s);
        run(&s, 200, "PUT", SLICE(bytes, 300000));
        s.on_propose = cases[i].first;
        append(&s, 300000, 400000, 400, "<Code>InvalidWriteOffset</Code>");
        fake_run(&s.f, 10 * NS_PER_SEC);
        assert_int_equal(stand_live_blobs(&s), cases[i].live);
        if (cases[i].len)
            expect(&s, cases[i].len);
        stand_fini(&s);
    }
    struct stand s; /* of two that would make it, one */
    begin(&s);
    s.on_propose = put_first;
    append(&s, 0, 100, 400, "<Code>InvalidWriteOffset</Code>");
    expect(&s, 300000);
    stand_fini(&s);
}

static Cairn__ObjectRecord *put_record(struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    return q->command->op_case == CAIRN__COMMAND__OP_PUT_OBJECT ? q->command->put_object->record
                                                                : NULL;
}

static bool many_appends(struct stand *s, struct fake_call *call)
{
    s->on_propose = NULL;
    put_record(call)->appends = INDEX_APPENDS_MAX - 1;
    return false;
}

/* 998 segments, all of them the same one. */
static bool many_segments(struct stand *s, struct fake_call *call)
{
    enum { MANY = 998 };
    static Cairn__Segment *same[MANY];
    Cairn__ObjectRecord *r = put_record(call);
    Cairn__Segment **own = r->segments;
    size_t n = r->n_segments;
    uint64_t size = r->size;
    s->on_propose = NULL;
    for (size_t i = 0; i < MANY; i++)
        same[i] = own[0];
    r->segments = same;
    r->n_segments = MANY;
    r->size = MANY * own[0]->bytes;
    stand_apply(s, call, false);
    r->segments = own;
    r->n_segments = n;
    r->size = size;
    return true;
}

static void so_many_and_no_more(void **state)
{
    (void)state;
    struct stand s;
    begin(&s);
    s.on_propose = many_appends;
    run(&s, 200, "PUT", SLICE(bytes, 10));
    struct exchange x; /* the cache has it as it was sent */
    cache_clear(s.cache);
    assert_int_equal(exchange_run(&s, &x, "HEAD", "/bucket/key", SLICE_EMPTY), 200);
    exchange_fini(&x);
    append(&s, 10, 20, 200, "ETag");
    append(&s, 20, 30, 400, "<Code>TooManyParts</Code>");
    expect(&s, 20);
    stand_fini(&s);

    size_t size = 998 * 5000;
    char field[64];
    begin(&s);
    s.on_propose = many_segments;
    run(&s, 200, "PUT", SLICE(bytes, 5000));
    cache_clear(s.cache);
    for (int i = 0; i < 3; i++) {
        /* Two more fit, however they are cut; then none, but nothing still does. */
        size_t len = i == 1 ? 0 : 600000;
        snprintf(field, sizeof(field), "x-amz-write-offset-bytes: %zu", size);
        exchange_start(&s, &x, "PUT", "/bucket/key", SLICE(bytes, len), field, NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, i == 2 ? 400 : 200);
        assert_true(exchange_says(&x, i == 2 ? "<Code>TooManyParts</Code>" : "ETag"));
        exchange_fini(&x);
        size += i == 2 ? 0 : len;
    }
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_go_on_numbering),
        cmocka_unit_test(inline_data_go_along),
        cmocka_unit_test(those_who_lose_leave_nothing),
        cmocka_unit_test(so_many_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
