/* Settings, tags and CORS through the whole of a gateway loop; completions that take long. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/obs/log.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

static struct stand s;

#define CORS                                                                                       \
    "<CORSConfiguration><CORSRule><AllowedOrigin>http://a</AllowedOrigin>"                         \
    "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
#define TAGS "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"

static void run(int status, const char *method, const char *target, const char *body)
{
    struct exchange x;
    int got = exchange_run(&s, &x, method, target, slice_cstr(body));
    if (got != status)
        fail_msg("%s %s: %d instead of %d", method, target, got, status);
    exchange_fini(&x);
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    run(200, "PUT", "/bucket", "");
    run(200, "PUT", "/bucket/key", "body");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stand_fini(&s);
    return 0;
}

/* A change that the state machine never heard of, or that nobody heard the answer to. */
static bool lose(struct stand *stand_, struct fake_call *call)
{
    stand_->on_propose = NULL;
    stand_apply(stand_, call, true);
    return true;
}

static void a_lost_answer_sets_it_once(void **state)
{
    (void)state;
    struct exchange x;
    s.on_propose = lose;
    run(204, "PUT", "/bucket?tagging", TAGS);
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket?tagging", SLICE_EMPTY), 200);
    assert_true(exchange_says(&x, "<Key>k</Key><Value>v</Value>"));
    exchange_fini(&x);
    s.on_propose = lose;
    run(204, "DELETE", "/bucket?tagging", "");
    run(404, "GET", "/bucket?tagging", "");
    s.on_propose = lose;
    run(200, "PUT", "/bucket/key?tagging", TAGS);
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/key", SLICE_EMPTY), 200);
    assert_true(exchange_says(&x, "x-amz-tagging-count: 1"));
    exchange_fini(&x);
}

static unsigned replacements;

static bool replace_first(struct stand *stand_, struct fake_call *call)
{
    struct exchange other;
    (void)call;
    stand_->on_propose = NULL;
    exchange_start(stand_, &other, "PUT", "/bucket/key", SLICE_LIT("other"), NULL);
    exchange_wait(&other);
    exchange_fini(&other);
    if (--replacements)
        stand_->on_propose = replace_first;
    return false;
}

/* Tags are put onto what is there: again when it was replaced between, but not for ever. */
static void tags_of_an_object_that_is_replaced(void **state)
{
    (void)state;
    struct exchange x;
    replacements = 1;
    s.on_propose = replace_first;
    run(200, "PUT", "/bucket/key?tagging", TAGS);
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/key", SLICE_EMPTY), 200);
    assert_true(exchange_says(&x, "x-amz-tagging-count: 1"));
    assert_true(exchange_says(&x, "other"));
    exchange_fini(&x);
    replacements = 100;
    s.on_propose = replace_first;
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/key?tagging", slice_cstr(TAGS)), 409);
    assert_true(exchange_says(&x, "<Code>OperationAborted</Code>"));
    exchange_fini(&x);
    s.on_propose = NULL;
}

static int with_origin(struct exchange *x, const char *method, const char *target)
{
    exchange_start(&s, x, method, target, SLICE_EMPTY, "Origin: http://a",
                   "Access-Control-Request-Method: GET", NULL);
    exchange_wait(x);
    return x->status;
}

static void cors_is_read_once_an_entry(void **state)
{
    (void)state;
    struct exchange x;
    run(200, "PUT", "/bucket?cors", CORS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(with_origin(&x, "GET", "/bucket/key"), 200);
        assert_true(exchange_says(&x, "Access-Control-Allow-Origin: http://a"));
        exchange_fini(&x);
        assert_int_equal(with_origin(&x, "OPTIONS", "/bucket/key"), 200);
        exchange_fini(&x);
        assert_int_equal(with_origin(&x, "GET", "/bucket/none"), 404);
        assert_true(exchange_says(&x, "Access-Control-Allow-Origin: http://a"));
        exchange_fini(&x);
    }
    run(204, "DELETE", "/bucket?cors", "");
    assert_int_equal(with_origin(&x, "OPTIONS", "/bucket/key"), 403);
    exchange_fini(&x);
    assert_int_equal(with_origin(&x, "GET", "/bucket/key"), 200);
    assert_false(exchange_says(&x, "Access-Control-"));
    exchange_fini(&x);
}

/* ---- completions that take long ---- */

static struct fake_call *held;

static bool hold(struct stand *stand_, struct fake_call *call)
{
    stand_->on_propose = NULL;
    held = call;
    return true;
}

/* Of an upload of one part; the proposal stays where it is until the clock says `wait_ms`. */
static void complete_slowly(struct exchange *x, uint64_t wait_ms, const char *etag)
{
    static char body[300], target[80], id[33];
    struct exchange part;
    assert_int_equal(exchange_run(&s, &part, "POST", "/bucket/up?uploads", SLICE_EMPTY), 200);
    buf_u8(&part.out, 0);
    snprintf(id, sizeof(id), "%s", strstr((const char *)part.out.ptr, "<UploadId>") + 10);
    exchange_fini(&part);
    snprintf(target, sizeof(target), "/bucket/up?partNumber=1&uploadId=%s", id);
    run(200, "PUT", target, "a");
    snprintf(target, sizeof(target), "/bucket/up?uploadId=%s", id);
    snprintf(body, sizeof(body),
             "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
             "</CompleteMultipartUpload>",
             etag);
    held = NULL;
    s.on_propose = hold;
    exchange_start(&s, x, "POST", target, slice_cstr(body), NULL);
    fake_run(&s.f, wait_ms * NS_PER_MS);
}

#define ETAG_A "0cc175b9c0f1b6a831c399e269772661"
#define DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static void a_long_completion_is_kept_alive(void **state)
{
    (void)state;
    struct exchange x;
    s.config.keepalive_ms = 100;
    complete_slowly(&x, 50, ETAG_A); /* not long: the answer comes as a whole */
    assert_non_null(held);
    assert_int_equal(x.status, 0);
    stand_apply(&s, held, false);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    assert_true(x.length > 0);
    exchange_fini(&x);

    complete_slowly(&x, 450, ETAG_A);
    assert_int_equal(x.status, 200);
    assert_int_equal(x.length, HTTP_BODY_CHUNKED);
    assert_false(x.done);
    assert_true(slice_eq(buf_view(&x.out), SLICE_LIT(DECLARATION "   ")));
    stand_apply(&s, held, false);
    exchange_wait(&x);
    assert_false(x.aborted);
    assert_true(exchange_says(&x, DECLARATION "   <CompleteMultipartUploadResult"));
    assert_true(exchange_says(&x, "</CompleteMultipartUploadResult>"));
    exchange_fini(&x);
    run(200, "GET", "/bucket/up", "");

    complete_slowly(&x, 250, ETAG_A); /* and fails after it was answered with 200 */
    assert_int_equal(x.status, 200);
    assert_non_null(held);
    run(204, "DELETE", x.target, "");
    stand_apply(&s, held, false);
    exchange_wait(&x);
    assert_false(x.aborted);
    assert_true(exchange_says(&x, DECLARATION " <Error><Code>NoSuchUpload</Code>"));
    assert_true(exchange_says(&x, "</Error>"));
    exchange_fini(&x);

    s.config.keepalive_ms = 0;
    complete_slowly(&x, 450, ETAG_A);
    assert_int_equal(x.status, 0);
    stand_apply(&s, held, false);
    exchange_wait(&x);
    assert_true(x.length > 0);
    exchange_fini(&x);
}

/* ---- the n-th allocation failing ---- */

static void on_log(void *arg, enum log_level level, const char *event, const char *line)
{
    (void)arg;
    (void)event;
    if (level == LOG_LEVEL_ERROR)
        fail_msg("%s", line);
}

static void play(int status, const char *method, const char *target, const char *body,
                 const char *field)
{
    for (uint64_t n = 0;; n++) {
        struct exchange x;
        memset(s.slots, 0xff, sizeof(s.slots)); /* the witness vouches for nothing */
        alloc_fail_at(n);
        exchange_start(&s, &x, method, target, slice_cstr(body), field, NULL);
        fake_run_until(&s.f, &x.done, 120 * NS_PER_SEC);
        bool failed = alloc_fail_end();
        bool allowed = x.aborted || x.status == status || x.status == 500 || x.status == 503;
        assert_true(x.done);
        if (!allowed || (!failed && x.status != status))
            fail_msg("%s %s: %d with allocation %llu failing", method, target, x.status,
                     (unsigned long long)n);
        exchange_fini(&x);
        assert_int_equal(s.gw.under_way, 0);
        if (!failed)
            break;
        assert_true(n < 10000);
    }
}

static void allocations(void **state)
{
    (void)state;
    log_hook_set(on_log, NULL);
    play(204, "PUT", "/bucket?tagging", TAGS, NULL);
    play(200, "GET", "/bucket?tagging", "", NULL);
    play(204, "DELETE", "/bucket?tagging", "", NULL);
    play(200, "PUT", "/bucket?cors", CORS, NULL);
    play(404, "GET", "/bucket/none", "", "Origin: http://a");
    play(200, "GET", "/bucket?metrics", "", NULL);
    play(404, "GET", "/bucket?policy", "", NULL);
    play(200, "PUT", "/bucket/key?tagging", TAGS, NULL);
    play(200, "GET", "/bucket/key?tagging", "", NULL);
    play(204, "DELETE", "/bucket/key?tagging", "", NULL);
    play(200, "PUT", "/bucket/key", "x", "x-amz-tagging: a=b&c=d");
    log_hook_set(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_answer_sets_it_once),
        cmocka_unit_test(tags_of_an_object_that_is_replaced),
        cmocka_unit_test(cors_is_read_once_an_entry),
        cmocka_unit_test(a_long_completion_is_kept_alive),
        cmocka_unit_test(allocations),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
