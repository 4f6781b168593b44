/* The n-th allocation failing in the gateway while a request is served: it is answered or cut off,
 * what was there before is there still, nothing leaks, and the next request finds all as it was. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/obs/log.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

static struct stand s;
static uint8_t bytes[300000];

static void run(int status, const char *method, const char *target, struct slice body)
{
    struct exchange x;
    int got = exchange_run(&s, &x, method, target, body);
    if (got != status)
        fail_msg("%s %s: %d instead of %d", method, target, got, status);
    exchange_fini(&x);
}

static void assert_get(const char *target, struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(&s, &x, "GET", target, SLICE_EMPTY), 200);
    assert_true(slice_eq(buf_view(&x.out), body));
    exchange_fini(&x);
}

/* Warnings are as they should be here, thousands of them. */
static void on_log(void *arg, enum log_level level, const char *event, const char *line)
{
    (void)arg;
    (void)event;
    if (level == LOG_LEVEL_ERROR)
        fail_msg("%s", line);
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    log_hook_set(on_log, NULL);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    run(200, "PUT", "/bucket", SLICE_EMPTY);
    run(200, "PUT", "/bucket/small", SLICE(bytes, 100));
    run(200, "PUT", "/bucket/large", SLICE(bytes, sizeof(bytes)));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stand_fini(&s);
    log_hook_set(NULL, NULL);
    return 0;
}

/* What a client may hear when memory runs out. */
static bool is_allowed(const struct exchange *x, int status)
{
    return x->aborted || x->status == status || x->status == 500 || x->status == 503;
}

/* cold: nothing is cached that the witness would vouch for. */
static const char *more_field; /* of the request; may be NULL */

static uint64_t play(int status, const char *method, const char *target, struct slice body,
                     bool cold)
{
    for (uint64_t n = 0;; n++) {
        struct exchange x;
        if (cold)
            memset(s.slots, 0xff, sizeof(s.slots));
        alloc_fail_at(n);
        exchange_start(&s, &x, method, target, body, more_field, NULL);
        fake_run_until(&s.f, &x.done, 120 * NS_PER_SEC);
        bool failed = alloc_fail_end();
        assert_true(x.done);
        if (!failed && (x.aborted || x.status != status))
            fail_msg("%s %s: %d undisturbed", method, target, x.status);
        if (!is_allowed(&x, status))
            fail_msg("%s %s: %d with allocation %llu failing", method, target, x.status,
                     (unsigned long long)n);
        exchange_fini(&x);
        assert_get("/bucket/small", SLICE(bytes, 100));
        assert_int_equal(s.gw.under_way, 0);
        if (!failed)
            return n;
    }
}

static void puts_and_gets(void **state)
{
    (void)state;
    for (int cold = 0; cold < 2; cold++) {
        assert_true(play(200, "PUT", "/bucket/small", SLICE(bytes, 100), cold) > 5);
        assert_true(play(200, "GET", "/bucket/small", SLICE_EMPTY, cold) > 0);
        assert_true(play(200, "PUT", "/bucket/large", SLICE(bytes, sizeof(bytes)), cold) > 5);
        assert_get("/bucket/large", SLICE(bytes, sizeof(bytes)));
        assert_true(play(200, "GET", "/bucket/large", SLICE_EMPTY, cold) > 0);
        play(200, "HEAD", "/bucket/large", SLICE_EMPTY, cold);
        play(404, "GET", "/bucket/none", SLICE_EMPTY, cold);
    }
}

static void lists(void **state)
{
    (void)state;
    assert_true(play(200, "GET", "/bucket?list-type=2&max-keys=1", SLICE_EMPTY, true) > 5);
    play(200, "GET", "/bucket?uploads", SLICE_EMPTY, true);
    play(200, "GET", "/", SLICE_EMPTY, true);
}

static void questions(void **state)
{
    (void)state;
    static const char *const targets[] = {"status",
                                          "nodes",
                                          "disks",
                                          "pgs",
                                          "verify",
                                          "verify?bucket=bucket&max=1",
                                          "nodes/s1/safe-to-remove"};
    s.on_view = stand_root;
    for (int bad = 0; bad < 2; bad++) {
        s.node[1].check_err = bad ? ERR_IO : OK;
        for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
            char target[96];
            snprintf(target, sizeof(target), "/_cairn/admin/v1/%s", targets[i]);
            assert_true(play(200, "GET", target, SLICE_EMPTY, true) > 5);
        }
    }
    play(200, "POST", "/_cairn/admin/v1/nodes/s1/drain?plan=1", SLICE_EMPTY, true);
    s.node[1].check_err = OK;
    s.on_view = NULL;
}

static void deletes(void **state)
{
    (void)state;
    play(204, "DELETE", "/bucket/large", SLICE_EMPTY, false);
    play(200, "POST", "/bucket?delete",
         SLICE_LIT("<Delete><Object><Key>a</Key></Object><Object><Key>large</Key></Object>"
                   "</Delete>"),
         false);
}

static void parts_and_copies(void **state)
{
    (void)state;
    char id[33], target[96];
    struct exchange x;
    play(200, "POST", "/bucket/up?uploads", SLICE_EMPTY, false);
    assert_int_equal(exchange_run(&s, &x, "POST", "/bucket/up?uploads", SLICE_EMPTY), 200);
    buf_u8(&x.out, 0);
    snprintf(id, sizeof(id), "%s", strstr((const char *)x.out.ptr, "<UploadId>") + 10);
    exchange_fini(&x);
    snprintf(target, sizeof(target), "/bucket/up?partNumber=1&uploadId=%s", id);
    play(200, "PUT", target, SLICE(bytes, 100), false);
    play(200, "PUT", target, SLICE(bytes, sizeof(bytes)), false);
    snprintf(target, sizeof(target), "/bucket/up?uploadId=%s", id);
    play(200, "GET", target, SLICE_EMPTY, false);
    exchange_upload(&s, SLICE(bytes, sizeof(bytes)), 100000, id);
    play(200, "GET", "/bucket/mp", SLICE_EMPTY, true);
    play(206, "GET", "/bucket/mp?partNumber=2", SLICE_EMPTY, true);
    more_field = "x-amz-copy-source: bucket/mp";
    play(200, "PUT", "/bucket/copy", SLICE_EMPTY, true);
    more_field = NULL;
    assert_get("/bucket/copy", SLICE(bytes, sizeof(bytes)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(puts_and_gets), TEST(lists), TEST(questions),
                                       TEST(deletes), TEST(parts_and_copies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
