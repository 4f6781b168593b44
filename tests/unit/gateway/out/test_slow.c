/* The HTTP client over libcurl, and the other side: it may take its time, but not as long as it
 * likes; what is sent to it is what was meant. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/env_uv.h"
#include "gateway/out/http_curl.h"
#include "gateway/out/s3_remote.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- a server of one connection ---- */

struct server {
    int fd;
    char url[64];
    pthread_t thread;
    size_t read_step; /* bytes of the request at a time; 0: all that is there */
    unsigned read_ms; /* between two of these */
    size_t body;      /* of the request; read before the answer */
    const char *head; /* of the answer */
    const char *drip; /* sent again and again, so often */
    unsigned drips, drip_ms;
    const char *tail;
    unsigned hang_ms; /* before the connection is closed */
    char request[4096];
    atomic_bool done;
};

static bool send_all(int fd, const char *s)
{
    size_t len = strlen(s);
    return send(fd, s, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void serve_body(struct server *s, int fd, size_t got)
{
    char *bytes = malloc(1 << 16);
    while (bytes && got < s->body && !atomic_load(&s->done)) {
        size_t step = s->read_step ? s->read_step : 1 << 16;
        ssize_t n = recv(fd, bytes, step, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
        usleep(s->read_ms * 1000);
    }
    free(bytes);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    int fd = accept(s->fd, NULL, NULL);
    size_t len = 0;
    char *end = NULL;
    while (fd >= 0 && !end && len < sizeof(s->request) - 1) {
        ssize_t n = recv(fd, s->request + len, sizeof(s->request) - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        end = memmem(s->request, len, "\r\n\r\n", 4);
    }
    if (end)
        serve_body(s, fd, len - (size_t)(end + 4 - s->request));
    bool ok = end && send_all(fd, s->head);
    for (unsigned i = 0; ok && i < s->drips && !atomic_load(&s->done); i++) {
        usleep(s->drip_ms * 1000);
        ok = send_all(fd, s->drip);
    }
    if (ok && s->tail)
        (void)send_all(fd, s->tail);
    for (unsigned i = 0; i < s->hang_ms && !atomic_load(&s->done); i += 10)
        usleep(10000);
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
    atomic_store(&s->done, true);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    close(s->fd);
}

/* ---- the client ---- */

static uv_loop_t loop;
static struct env_uv env;
static struct http_client *client;
static bool ended;

static int setup(void **state)
{
    (void)state;
    ended = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(env_uv_init(&env, &loop), 0);
    return http_curl_new(&env.env, &client);
}

static int teardown(void **state)
{
    (void)state;
    http_curl_free(client);
    env_uv_fini(&env);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void call_cb(struct http_call *call)
{
    (void)call;
    ended = true;
}

static ssize_t read_zeros(struct http_call *call, uint8_t *ret, size_t max)
{
    uint64_t *left = call->user;
    size_t n = MIN(max, *left);
    memset(ret, 0, n);
    *left -= n;
    return (ssize_t)n;
}

/* Milliseconds that it took. */
static uint64_t run(struct server *s, struct http_call *call)
{
    uint64_t from;
    server_start(s);
    call->method = call->streamed ? "PUT" : "POST";
    call->url = s->url;
    call->cb = call_cb;
    from = env_now_ns(&env.env);
    http_call_start(client, call);
    env_uv_run_until(&env, &ended);
    uint64_t ms = (env_now_ns(&env.env) - from) / NS_PER_MS;
    server_end(s);
    return ms;
}

#define ENDLESS "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

/* ---- the tests ---- */

static void an_answer_that_drips(void **state)
{
    (void)state;
    uint64_t left = 1000;
    struct server s = {
        .body = 1000, .head = ENDLESS, .drip = "1\r\nx\r\n", .drips = 300, .drip_ms = 100};
    struct http_call call = {.streamed = true,
                             .body_bytes = 1000,
                             .read = read_zeros,
                             .user = &left,
                             .timeout_ms = 1000};
    assert_in_range(run(&s, &call), 1000, 15000);
    assert_int_equal(call.err, ERR_TIMEOUT);
    http_call_fini(&call);
}

static void an_answer_without_end(void **state)
{
    (void)state;
    static char chunk[0x4000 + 16];
    uint64_t left = 1000;
    snprintf(chunk, sizeof(chunk), "4000\r\n%0*d\r\n", 0x4000, 0);
    struct server s = {.body = 1000, .head = ENDLESS, .drip = chunk, .drips = 100000, .drip_ms = 1};
    struct http_call call = {.streamed = true,
                             .body_bytes = 1000,
                             .read = read_zeros,
                             .user = &left,
                             .timeout_ms = 5000};
    assert_in_range(run(&s, &call), 0, 4000);
    assert_int_equal(call.err, ERR_IO);
    assert_int_equal(call.answer.len, HTTP_ANSWER_BYTES_MAX);
    http_call_fini(&call);
}

/* 500 bytes a second; what sockets buffer goes at once. */
static void a_body_that_is_taken_slowly(void **state)
{
    (void)state;
    uint64_t left = 256 << 20;
    struct server s = {.body = 256 << 20, .read_step = 50, .read_ms = 100, .head = ENDLESS};
    struct http_call call = {.streamed = true,
                             .body_bytes = 256 << 20,
                             .read = read_zeros,
                             .user = &left,
                             .timeout_ms = 1000};
    assert_in_range(run(&s, &call), 0, 20000);
    assert_int_equal(call.err, ERR_TIMEOUT);
    http_call_fini(&call);
}

/* As S3 does while it puts an upload together: white space is progress. */
static void an_answer_that_is_kept_alive(void **state)
{
    (void)state;
    struct server s = {.head = ENDLESS,
                       .drip = "1\r\n \r\n",
                       .drips = 30,
                       .drip_ms = 100,
                       .tail = "4\r\n<A/>\r\n0\r\n\r\n"};
    struct http_call call = {.body = SLICE_LIT("{}"), .timeout_ms = 2500, .total_ms = 60000};
    assert_in_range(run(&s, &call), 3000, 30000);
    assert_int_equal(call.err, OK);
    assert_int_equal(call.status, 200);
    assert_int_equal(call.answer.len, 34);
    http_call_fini(&call);
}

static void an_answer_that_falls_silent(void **state)
{
    (void)state;
    struct server s = {
        .head = ENDLESS, .drip = "1\r\n \r\n", .drips = 3, .drip_ms = 100, .hang_ms = 20000};
    struct http_call call = {.body = SLICE_LIT("{}"), .timeout_ms = 500, .total_ms = 60000};
    assert_in_range(run(&s, &call), 500, 10000);
    assert_int_equal(call.err, ERR_TIMEOUT);
    http_call_fini(&call);
}

static void an_answer_that_is_kept_alive_for_ever(void **state)
{
    (void)state;
    struct server s = {.head = ENDLESS, .drip = "1\r\n \r\n", .drips = 300, .drip_ms = 100};
    struct http_call call = {.body = SLICE_LIT("{}"), .timeout_ms = 5000, .total_ms = 1500};
    assert_in_range(run(&s, &call), 1400, 10000);
    assert_int_equal(call.err, ERR_TIMEOUT);
    http_call_fini(&call);
}

/* A value may be empty, or blank; and nobody makes up a type. */
static void fields_without_a_value(void **state)
{
    (void)state;
    struct server s = {.head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e\"\r\n"
                               "Date: Mon, 30 Nov 2026 17:14:15 GMT\r\n"
                               "Last-Modified:  Mon, 30 Nov 2026 17:14:16 GMT \r\n\r\n"};
    struct target target = {.url = s.url,
                            .access_key = (char *)(uintptr_t) "KEY",
                            .secret = (char *)(uintptr_t) "secret",
                            .region = (char *)(uintptr_t) "us-east-1"};
    struct arena arena;
    struct http_field fields[] = {{SLICE_LIT("x-amz-meta-a"), SLICE_EMPTY},
                                  {SLICE_LIT("x-amz-meta-b"), SLICE_LIT(" \t")},
                                  {SLICE_LIT("x-amz-meta-c"), SLICE_LIT("c")}};
    struct s3_remote r = {.method = "POST",
                          .bucket = SLICE_LIT("b"),
                          .key = SLICE_LIT("k"),
                          .fields = fields,
                          .field_count = ARRAY_COUNT(fields),
                          .timeout_ms = 5000,
                          .call = {.cb = call_cb}};
    arena_init(&arena, 0);
    server_start(&s);
    assert_int_equal(s3_remote_start(client, &target, &arena, &r), OK);
    env_uv_run_until(&env, &ended);
    server_end(&s);
    assert_int_equal(r.call.err, OK);
    assert_non_null(strstr(s.request, "\r\nx-amz-meta-a:\r\n"));
    assert_non_null(strstr(s.request, "\r\nx-amz-meta-b:\r\n"));
    assert_non_null(strstr(s.request, "\r\nx-amz-meta-c: c\r\n"));
    assert_null(strcasestr(s.request, "content-type"));
    assert_string_equal(r.call.etag, "e");
    assert_string_equal(r.call.date, "Mon, 30 Nov 2026 17:14:15 GMT");
    assert_string_equal(r.call.last_modified, "Mon, 30 Nov 2026 17:14:16 GMT");
    http_call_fini(&r.call);
    arena_fini(&arena);
}

static void a_type_that_is_given(void **state)
{
    (void)state;
    static const char *const fields[] = {"content-type: text/x"};
    struct server s = {.body = 2, .head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    struct http_call call = {.body = SLICE_LIT("{}"),
                             .timeout_ms = 5000,
                             .fields = fields,
                             .field_count = ARRAY_COUNT(fields)};
    run(&s, &call);
    assert_int_equal(call.err, OK);
    assert_non_null(strstr(s.request, "\r\ncontent-type: text/x\r\n"));
    http_call_fini(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_that_drips, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_without_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_is_taken_slowly, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_is_kept_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_falls_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_is_kept_alive_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(fields_without_a_value, setup, teardown),
        cmocka_unit_test_setup_teardown(a_type_that_is_given, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
