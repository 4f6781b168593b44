/* Objects and uploads through the whole of a gateway loop, with failures that clients do not make.
 */
#include "common/base/check.h"
#include "gateway/op/body.h"
#include "proto/methods.h"
#include "proto/registry.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

static void run(struct stand *s, int status, const char *method, const char *target,
                struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, method, target, body), status);
    exchange_fini(&x);
}

static void assert_get(struct stand *s, const char *target, struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, "GET", target, SLICE_EMPTY), 200);
    assert_int_equal(x.out.len, body.len);
    if (body.len)
        assert_memory_equal(x.out.ptr, body.ptr, body.len);
    exchange_fini(&x);
}

static struct slice make_body(size_t n)
{
    uint8_t *p = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 1000);
    return SLICE(p, n);
}

static void free_body(struct slice s)
{
    free((void *)(uintptr_t)s.ptr);
}

static void every_size_comes_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4096, 4097, 262144, 262145, 3000000};
    struct stand s;
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct slice body = make_body(sizes[i]);
        run(&s, 200, "PUT", "/bucket/key", body);
        assert_get(&s, "/bucket/key", body);
        assert_get(&s, "/bucket/key", body);
        run(&s, 200, "PUT", "/bucket/zkey", body); /* the other partition */
        assert_get(&s, "/bucket/zkey", body);
        free_body(body);
    }
    run(&s, 404, "GET", "/bucket/other", SLICE_EMPTY);
    run(&s, 409, "DELETE", "/bucket", SLICE_EMPTY);
    run(&s, 204, "DELETE", "/bucket/key", SLICE_EMPTY);
    run(&s, 204, "DELETE", "/bucket/key", SLICE_EMPTY);
    run(&s, 404, "GET", "/bucket/key", SLICE_EMPTY);
    stand_fini(&s);
}

/* What an index that is lost would be put together from: which segments are of one write, and whether
 * these are all. */
static void segments_say_which_write_they_are_of(void **state)
{
    (void)state;
    struct stand s;
    struct slice body = make_body(600000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/key", body);
    run(&s, 200, "PUT", "/bucket/key", body);
    const struct stand_node *n = &s.node[0];
    assert_int_equal(n->blob_count, 6); /* three segments each */
    for (unsigned i = 0; i < n->blob_count; i++) {
        assert_int_equal(n->blobs[i].body_bytes, 600000);
        assert_int_equal(n->blobs[i].segment_number, i % 3);
        assert_int_equal(id128_eq(n->blobs[i].write_id, n->blobs[0].write_id), i < 3);
        assert_false(id128_is_zero(n->blobs[i].write_id));
    }
    stand_fini(&s);
    free_body(body);
}

static void ranges(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(1500000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/key", body);
    static const struct {
        const char *field;
        size_t first, count;
    } cases[] = {{"Range: bytes=0-0", 0, 1},
                 {"Range: bytes=262143-262144", 262143, 2},
                 {"Range: bytes=100-1299999", 100, 1299900},
                 {"Range: bytes=-5", 1499995, 5},
                 {"Range: bytes=1499999-", 1499999, 1}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        exchange_start(&s, &x, "GET", "/bucket/key", SLICE_EMPTY, cases[i].field, NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 206);
        assert_int_equal(x.out.len, cases[i].count);
        assert_memory_equal(x.out.ptr, body.ptr + cases[i].first, cases[i].count);
        exchange_fini(&x);
    }
    exchange_start(&s, &x, "GET", "/bucket/key", SLICE_EMPTY, "Range: bytes=1500000-", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 416);
    exchange_fini(&x);
    /* If-Range: of this object, or the whole. */
    assert_int_equal(exchange_run(&s, &x, "HEAD", "/bucket/key", SLICE_EMPTY), 200);
    buf_u8(&x.head, 0);
    char etag[64], date[64];
    snprintf(etag, sizeof(etag), "If-Range: %.34s", strstr((char *)x.head.ptr, "ETag: ") + 6);
    snprintf(date, sizeof(date), "If-Range: %.29s",
             strstr((char *)x.head.ptr, "Last-Modified: ") + 15);
    exchange_fini(&x);
    const char *if_range[] = {etag, date, "If-Range: \"00000000000000000000000000000000\"",
                              "If-Range: Thu, 01 Jan 1970 00:00:00 GMT", "If-Range: W/\"x\""};
    for (size_t i = 0; i < ARRAY_COUNT(if_range); i++) {
        exchange_start(&s, &x, "GET", "/bucket/key", SLICE_EMPTY, "Range: bytes=5-6", if_range[i],
                       NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, i < 2 ? 206 : 200);
        assert_int_equal(x.out.len, i < 2 ? 2 : body.len);
        exchange_fini(&x);
    }
    free_body(body);
    stand_fini(&s);
}

/* ---- what a failed upload leaves behind ---- */

static void client_that_goes_away_leaves_nothing(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(1500000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
    x.break_at = 1000000;
    exchange_wait(&x);
    assert_int_equal(x.status, 400);
    exchange_fini(&x);
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_true(s.node[0].blob_count > 0);
    assert_int_equal(stand_live_blobs(&s), 0);
    run(&s, 404, "GET", "/bucket/key", SLICE_EMPTY);
    free_body(body);
    stand_fini(&s);
}

static void slow_client_hears_so(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(1500000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
    x.break_at = 1000000;
    x.break_err = ERR_TIMEOUT;
    exchange_wait(&x);
    assert_int_equal(x.status, 400);
    assert_true(exchange_says(&x, "<Code>RequestTimeout</Code>"));
    exchange_fini(&x);
    run(&s, 404, "GET", "/bucket/key", SLICE_EMPTY);
    fake_run(&s.f, 20 * NS_PER_SEC);
    assert_int_equal(stand_live_blobs(&s), 0);
    free_body(body);
    stand_fini(&s);
}

static void wrong_digest_is_refused_after_the_body(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(600000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    exchange_start(&s, &x, "PUT", "/bucket/key", body,
                   "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 400);
    assert_true(exchange_says(&x, "<Code>BadDigest</Code>"));
    exchange_fini(&x);
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_int_equal(stand_live_blobs(&s), 0);
    free_body(body);
    stand_fini(&s);
}

static bool lose_put(struct stand *s, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    if (q->command->op_case != CAIRN__COMMAND__OP_PUT_OBJECT)
        return false;
    stand_apply(s, call, true); /* applied; nobody hears of it */
    return true;
}

/* The proposal was applied and no answer came: an error, and every blob stays. */
static void unknown_outcome_deletes_nothing(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(600000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    s.on_propose = lose_put;
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/key", body) / 100, 5);
    exchange_fini(&x);
    s.on_propose = NULL;
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_int_equal(stand_live_blobs(&s), 3);
    assert_get(&s, "/bucket/key", body);
    free_body(body);
    stand_fini(&s);
}

/* ---- storage nodes ---- */

static void a_lost_zone_is_survived(void **state)
{
    (void)state;
    struct stand s;
    struct slice body = make_body(2000000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    for (int how = 0; how < 2; how++) {
        s.node[1].put_err = how == 0 ? ERR_NOSPACE : 0;
        s.node[1].put_hangs = how == 1;
        run(&s, 200, "PUT", "/bucket/key", body);
        assert_get(&s, "/bucket/key", body);
    }
    free_body(body);
    stand_fini(&s);
}

static void without_a_quorum_nothing_is_acknowledged(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(2000000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    s.node[1].put_err = s.node[2].put_err = ERR_NOSPACE;
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/key", body), 503);
    exchange_fini(&x);
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_int_equal(stand_live_blobs(&s), 0);
    run(&s, 200, "PUT", "/bucket/small", SLICE_LIT("needs no storage node"));
    free_body(body);
    stand_fini(&s);
}

/* A node that takes bytes and never answers holds up a bounded number of segments. */
static void memory_of_an_upload_is_bounded(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(6 << 20);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    s.node[2].put_hangs = true;
    uint64_t most = 0;
    exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
    while (!x.done) {
        fake_run(&s.f, NS_PER_MS);
        most = MAX(most, s.gw.budget->used);
    }
    assert_int_equal(x.status, 200);
    exchange_fini(&x);
    assert_true(most > 0 && most <= 4 * s.config.segment_bytes);
    /* When all uploads together have used the loop's budget up, the next one hears so at once. */
    assert_true(budget_take(s.gw.budget, s.config.body_bytes_max - 2 * s.config.segment_bytes -
                                             s.gw.budget->used + 2 * s.config.segment_bytes));
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/key", body), 503);
    assert_true(exchange_says(&x, "<Code>SlowDown</Code>"));
    exchange_fini(&x);
    fake_run(&s.f, 10 * NS_PER_SEC);
    budget_give(s.gw.budget, s.gw.budget->used);
    free_body(body);
    stand_fini(&s);
}

/* Downloads count as well: with little left they go on in small pieces, with nothing left they
 * wait. */
static void memory_of_downloads_is_bounded(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(3000000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/key", body);
    fake_run(&s.f, 10 * NS_PER_SEC);
    uint64_t max = s.config.body_bytes_max, left[] = {2 << 20, 200 << 10, 1000};
    for (size_t i = 0; i < ARRAY_COUNT(left); i++) {
        assert_true(budget_take(s.gw.budget, max - left[i]));
        assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/key", SLICE_EMPTY),
                         i < 2 ? 200 : 503);
        if (i < 2)
            assert_memory_equal(x.out.ptr, body.ptr, body.len);
        exchange_fini(&x);
        budget_give(s.gw.budget, max - left[i]);
    }
    free_body(body);
    stand_fini(&s);
}

static void memory_of_documents_is_bounded(void **state)
{
    (void)state;
    struct stand s;
    struct slice xml = SLICE_LIT("<Delete><Object><Key>a</Key></Object></Delete>");
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    s.gw.text_bytes = BODY_TEXT_BYTES_MAX - xml.len;
    run(&s, 200, "POST", "/bucket?delete", xml);
    s.gw.text_bytes++;
    run(&s, 503, "POST", "/bucket?delete", xml);
    run(&s, 200, "PUT", "/bucket/key", xml); /* no document */
    s.gw.text_bytes = 0;
    stand_fini(&s);
}

/* ---- conditions ---- */

static void one_of_many_creators_wins(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x[8];
    struct slice big = make_body(300000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    for (int round = 0; round < 2; round++) {
        int won = 0, lost = 0;
        for (int i = 0; i < 8; i++)
            exchange_start(&s, &x[i], "PUT", round ? "/bucket/big" : "/bucket/small",
                           round ? big : SLICE_LIT("x"), "If-None-Match: *", NULL);
        for (int i = 0; i < 8; i++) {
            exchange_wait(&x[i]);
            won += x[i].status == 200;
            lost += x[i].status == 412;
            exchange_fini(&x[i]);
        }
        assert_int_equal(won, 1);
        assert_int_equal(lost, 7);
    }
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_int_equal(stand_live_blobs(&s), 2); /* the winner's two segments */
    free_body(big);
    stand_fini(&s);
}

/* Another user's proposal of the same bucket is applied just before. */
static bool create_first(struct stand *s, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    Cairn__BucketRecord *bucket = q->command->create_bucket->bucket;
    char *own = bucket->owner_id;
    s->on_propose = NULL;
    bucket->owner_id = (char *)(uintptr_t)"somebody";
    q->command->write_id.data[0] ^= 1;
    stand_apply(s, call, true);
    q->command->write_id.data[0] ^= 1;
    bucket->owner_id = own;
    return false;
}

static void a_bucket_made_by_another_is_not_ours(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    stand_init(&s);
    s.on_propose = create_first;
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket", SLICE_EMPTY), 409);
    assert_true(exchange_says(&x, "<Code>BucketAlreadyExists</Code>"));
    exchange_fini(&x);
    run(&s, 200, "PUT", "/other", SLICE_EMPTY);
    assert_int_equal(exchange_run(&s, &x, "PUT", "/other", SLICE_EMPTY), 409);
    assert_true(exchange_says(&x, "<Code>BucketAlreadyOwnedByYou</Code>"));
    exchange_fini(&x);
    stand_fini(&s);
}

static bool change_first(struct stand *s, struct fake_call *call)
{
    struct exchange other;
    (void)call;
    s->on_propose = NULL;
    exchange_start(s, &other, "PUT", "/bucket/key", SLICE_LIT("other"), NULL);
    exchange_wait(&other);
    exchange_fini(&other);
    return false;
}

static void if_match(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    /* 404: there is none.  412: another.  409: it was that one, until somebody else changed it. */
    exchange_start(&s, &x, "PUT", "/bucket/key", SLICE_LIT("b"),
                   "If-Match: \"0cc175b9c0f1b6a831c399e269772661\"", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 404);
    exchange_fini(&x);
    run(&s, 200, "PUT", "/bucket/key", SLICE_LIT("a"));
    exchange_start(&s, &x, "PUT", "/bucket/key", SLICE_LIT("b"),
                   "If-Match: \"00000000000000000000000000000000\"", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 412);
    exchange_fini(&x);
    s.on_propose = change_first;
    exchange_start(&s, &x, "PUT", "/bucket/key", SLICE_LIT("b"),
                   "If-Match: \"0cc175b9c0f1b6a831c399e269772661\"", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 409);
    assert_true(exchange_says(&x, "ConditionalRequestConflict"));
    exchange_fini(&x);
    assert_get(&s, "/bucket/key", SLICE_LIT("other"));
    stand_fini(&s);
}

/* ---- buckets ---- */

/* A deletion that died after its fences: the bucket refuses writes, until somebody takes it over.
 */
static bool die_at_abort(struct stand *s, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    (void)s;
    return q->command->op_case == CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET ||
           q->command->op_case == CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET;
}

static void dead_deletion_is_taken_over(void **state)
{
    (void)state;
    for (int empty = 0; empty < 2; empty++) {
        struct stand s;
        struct exchange x;
        stand_init(&s);
        run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
        if (!empty)
            run(&s, 200, "PUT", "/bucket/key", SLICE_LIT("kept"));
        s.on_propose = die_at_abort;
        assert_int_equal(exchange_run(&s, &x, "DELETE", "/bucket", SLICE_EMPTY) / 100, 5);
        exchange_fini(&x);
        s.on_propose = NULL;
        assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/other", SLICE_LIT("x")), 409);
        exchange_fini(&x);
        fake_run(&s.f, 11 * NS_PER_SEC);
        exchange_run(&s, &x, "HEAD", "/bucket", SLICE_EMPTY); /* meets it, and resumes */
        exchange_fini(&x);
        fake_run(&s.f, NS_PER_SEC);
        if (empty) {
            run(&s, 404, "HEAD", "/bucket", SLICE_EMPTY);
            run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
            run(&s, 404, "GET", "/bucket/key", SLICE_EMPTY);
        } else {
            run(&s, 200, "PUT", "/bucket/other", SLICE_LIT("x"));
            assert_get(&s, "/bucket/key", SLICE_LIT("kept"));
        }
        stand_fini(&s);
    }
}

/* Writes that meet a deletion that is called off are delayed, not refused. */
static void called_off_deletion_refuses_no_write(void **state)
{
    (void)state;
    struct stand s;
    struct exchange del, put[10];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/key", SLICE_LIT("x"));
    for (int round = 0; round < 5; round++) {
        exchange_start(&s, &del, "DELETE", "/bucket", SLICE_EMPTY, NULL);
        for (int i = 0; i < 10; i++) {
            fake_run(&s.f, 500000);
            exchange_start(&s, &put[i], "PUT", i % 2 ? "/bucket/a" : "/bucket/z", SLICE_LIT("x"),
                           NULL);
        }
        exchange_wait(&del);
        assert_int_equal(del.status, 409);
        exchange_fini(&del);
        for (int i = 0; i < 10; i++) {
            exchange_wait(&put[i]);
            assert_int_equal(put[i].status, 200);
            exchange_fini(&put[i]);
        }
    }
    stand_fini(&s);
}

/* ---- uploads and copies ---- */

static void parts_and_copies(void **state)
{
    (void)state;
    static const size_t part_bytes[] = {2000, 300000}; /* inline parts; parts in segments */
    for (size_t i = 0; i < ARRAY_COUNT(part_bytes); i++) {
        struct stand s;
        struct exchange x;
        char id[40];
        struct slice body = make_body(part_bytes[i] * 5 + 17);
        stand_init(&s);
        run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
        exchange_upload(&s, body, part_bytes[i], id);
        assert_get(&s, "/bucket/mp", body);
        /* A range over the joint of two parts, and a part by its number. */
        char range[64];
        snprintf(range, sizeof(range), "Range: bytes=%zu-%zu", part_bytes[i] - 3,
                 part_bytes[i] + 3);
        exchange_start(&s, &x, "GET", "/bucket/mp", SLICE_EMPTY, range, NULL);
        exchange_wait(&x);
        assert_int_equal(x.out.len, 7);
        assert_memory_equal(x.out.ptr, body.ptr + part_bytes[i] - 3, 7);
        exchange_fini(&x);
        assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/mp?partNumber=6", SLICE_EMPTY), 206);
        assert_int_equal(x.out.len, 17);
        assert_true(exchange_says(&x, "x-amz-mp-parts-count: 6"));
        exchange_fini(&x);
        run(&s, 416, "GET", "/bucket/mp?partNumber=7", SLICE_EMPTY);
        exchange_start(&s, &x, "PUT", "/bucket/copy", SLICE_EMPTY, "x-amz-copy-source: bucket/mp",
                       NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        exchange_fini(&x);
        run(&s, 204, "DELETE", "/bucket/mp", SLICE_EMPTY);
        assert_get(&s, "/bucket/copy", body);
        free_body(body);
        stand_fini(&s);
    }
}

/* ---- data that are not there ---- */

static unsigned parts_lost;

static bool lose_parts(struct stand *s, struct fake_call *call)
{
    (void)s;
    if (call->method != &method_meta_list_parts || parts_lost == 0)
        return false;
    parts_lost--;
    fake_reply(call, ERR_NO_UPLOAD, NULL, (struct payload){0});
    return true;
}

/* The object was replaced between its record and its parts: read anew, not called absent. */
static void object_replaced_under_a_read(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    char id[40];
    struct slice body = make_body(900000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    exchange_upload(&s, body, 300000, id);
    s.on_view = lose_parts;
    parts_lost = 1;
    assert_get(&s, "/bucket/mp", body);
    parts_lost = 2;
    run(&s, 206, "GET", "/bucket/mp?partNumber=2", SLICE_EMPTY);
    parts_lost = 1;
    exchange_start(&s, &x, "PUT", "/bucket/copy", SLICE_EMPTY, "x-amz-copy-source: bucket/mp",
                   NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    exchange_fini(&x);
    assert_get(&s, "/bucket/copy", body);
    parts_lost = 100;
    run(&s, 500, "GET", "/bucket/mp", SLICE_EMPTY);
    exchange_start(&s, &x, "PUT", "/bucket/copy2", SLICE_EMPTY, "x-amz-copy-source: bucket/mp",
                   NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 500);
    exchange_fini(&x);
    free_body(body);
    stand_fini(&s);
}

/* An object whose blobs are lost is there all the same. */
static void lost_blobs_are_not_absence(void **state)
{
    (void)state;
    struct stand s;
    struct slice body = make_body(600000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/key", body);
    for (int i = 0; i < STAND_NODES; i++)
        for (unsigned k = 0; k < s.node[i].blob_count; k++)
            s.node[i].blobs[k].deleted = true;
    run(&s, 500, "GET", "/bucket/key", SLICE_EMPTY);
    run(&s, 200, "HEAD", "/bucket/key", SLICE_EMPTY);
    free_body(body);
    stand_fini(&s);
}

static void source_owner_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *claim;
        int status;
    } cases[] = {{"x-amz-source-expected-bucket-owner: " OPERATOR_ACCOUNT, 200},
                 {"x-amz-source-expected-bucket-owner: 000000000002", 403},
                 {"x-amz-source-expected-bucket-owner: root", 400}};
    struct stand s;
    struct exchange x;
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/key", SLICE_LIT("x"));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        exchange_start(&s, &x, "PUT", "/bucket/copy", SLICE_EMPTY, "x-amz-copy-source: bucket/key",
                       cases[i].claim, NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, cases[i].status);
        exchange_fini(&x);
    }
    stand_fini(&s);
}

static void upload_that_is_not_there(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    const char *target = "/bucket/mp?partNumber=1&uploadId=00112233445566778899aabbccddeeff";
    assert_int_equal(exchange_run(&s, &x, "PUT", target, SLICE_LIT("x")), 404);
    assert_true(exchange_says(&x, "NoSuchUpload"));
    exchange_fini(&x);
    run(&s, 404, "DELETE", "/bucket/mp?uploadId=00112233445566778899aabbccddeeff", SLICE_EMPTY);
    stand_fini(&s);
}

static void delete_many(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/a", SLICE_LIT("x"));
    run(&s, 200, "PUT", "/bucket/z", SLICE_LIT("x"));
    struct slice xml =
        SLICE_LIT("<Delete><Object><Key>a</Key></Object><Object><Key>z</Key></Object>"
                  "<Object><Key>none</Key></Object></Delete>");
    unsigned before = s.proposals;
    exchange_start(&s, &x, "POST", "/bucket?delete", xml, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    assert_true(exchange_says(&x, "<Key>z</Key>"));
    assert_int_equal(s.proposals, before + 2); /* one a partition */
    exchange_fini(&x);
    run(&s, 404, "GET", "/bucket/a", SLICE_EMPTY);
    run(&s, 404, "GET", "/bucket/z", SLICE_EMPTY);
    run(&s, 204, "DELETE", "/bucket", SLICE_EMPTY);
    run(&s, 404, "GET", "/bucket/a", SLICE_EMPTY);
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_comes_back),
        cmocka_unit_test(segments_say_which_write_they_are_of),
        cmocka_unit_test(ranges),
        cmocka_unit_test(client_that_goes_away_leaves_nothing),
        cmocka_unit_test(slow_client_hears_so),
        cmocka_unit_test(wrong_digest_is_refused_after_the_body),
        cmocka_unit_test(unknown_outcome_deletes_nothing),
        cmocka_unit_test(a_lost_zone_is_survived),
        cmocka_unit_test(without_a_quorum_nothing_is_acknowledged),
        cmocka_unit_test(memory_of_an_upload_is_bounded),
        cmocka_unit_test(memory_of_downloads_is_bounded),
        cmocka_unit_test(memory_of_documents_is_bounded),
        cmocka_unit_test(one_of_many_creators_wins),
        cmocka_unit_test(a_bucket_made_by_another_is_not_ours),
        cmocka_unit_test(if_match),
        cmocka_unit_test(dead_deletion_is_taken_over),
        cmocka_unit_test(called_off_deletion_refuses_no_write),
        cmocka_unit_test(parts_and_copies),
        cmocka_unit_test(object_replaced_under_a_read),
        cmocka_unit_test(lost_blobs_are_not_absence),
        cmocka_unit_test(source_owner_is_checked),
        cmocka_unit_test(upload_that_is_not_there),
        cmocka_unit_test(delete_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
