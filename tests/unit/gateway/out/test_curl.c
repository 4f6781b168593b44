/* The HTTP client over libcurl: what ends a call never holds up the loop. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/env_uv.h"
#include "gateway/out/http_curl.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RESOLVE_MS 60000

/* In place of the C library's, for libcurl too: a name server that does not answer while the test runs. */
static atomic_uint resolving;
static atomic_bool test_over;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    (void)node;
    (void)service;
    (void)hints;
    *res = NULL;
    atomic_fetch_add(&resolving, 1);
    for (unsigned i = 0; i < RESOLVE_MS / 10 && !atomic_load(&test_over); i++)
        usleep(10000);
    atomic_fetch_sub(&resolving, 1);
    return EAI_AGAIN;
}

static uv_loop_t loop;
static struct env_uv env;
static struct http_client *client;
static bool ended;

static int setup(void **state)
{
    (void)state;
    ended = false;
    atomic_store(&test_over, false);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(env_uv_init(&env, &loop), 0);
    return http_curl_new(&env.env, &client);
}

static int teardown(void **state)
{
    (void)state;
    http_curl_free(client);
    atomic_store(&test_over, true);
    while (atomic_load(&resolving)) /* threads that were left to themselves */
        usleep(10000);
    usleep(50000);
    env_uv_fini(&env);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void call_cb(struct http_call *call)
{
    (void)call;
    ended = true;
}

static void start(struct http_call *call, const char *url, uint64_t timeout_ms)
{
    *call = (struct http_call){
        .method = "POST", .url = url, .timeout_ms = timeout_ms, .body = SLICE_LIT("{}")};
    call->cb = call_cb;
    http_call_start(client, call);
}

static uint64_t run_ms(void)
{
    uint64_t from = env_now_ns(&env.env);
    env_uv_run_until(&env, &ended);
    return (env_now_ns(&env.env) - from) / NS_PER_MS;
}

static void test_slow_names(void **state)
{
    (void)state;
    struct http_call call;
    start(&call, "http://name.that.is.not.resolved.test/", 200);
    assert_in_range(run_ms(), 0, RESOLVE_MS / 2);
    assert_int_equal(call.err, ERR_TIMEOUT);
    http_call_fini(&call);
}

static struct env_timer timer;

static void stop_cb(struct env_timer *t)
{
    (void)t;
    http_curl_stop(client);
}

static void test_stop_while_a_name_is_resolved(void **state)
{
    (void)state;
    struct http_call call;
    start(&call, "http://name.that.is.not.resolved.test/", 60000);
    env_timer_init(&env.env, &timer, stop_cb);
    env_timer_start(&timer, 100 * NS_PER_MS);
    assert_in_range(run_ms(), 0, RESOLVE_MS / 2);
    assert_int_equal(call.err, ERR_CANCELED);
    http_call_fini(&call);
}

static struct http_call *to_cancel;

static void cancel_cb(struct env_timer *t)
{
    (void)t;
    http_call_cancel(to_cancel);
}

/* It is connected, and nobody answers. */
static void test_cancel(void **state)
{
    (void)state;
    struct http_call call;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(at.sin_port));
    start(&call, url, 60000);
    to_cancel = &call;
    env_timer_init(&env.env, &timer, cancel_cb);
    env_timer_start(&timer, 50 * NS_PER_MS);
    assert_in_range(run_ms(), 0, 10000);
    assert_int_equal(call.err, ERR_CANCELED);
    http_call_fini(&call);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slow_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_while_a_name_is_resolved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
