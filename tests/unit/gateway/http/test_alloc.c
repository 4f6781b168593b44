/* The n-th allocation failing in the server: the client gets an answer, or is cut off, and the next
 * one is served; a handler's request ends once. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/http/loopback.h"

#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct loopback l;

static int setup(void **state)
{
    (void)state;
    l = (struct loopback){0};
    http_limits_init(&l.limits);
    l.limits.head_timeout_ms = 500; /* ticks come soon */
    loopback_start(&l);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(&l);
    return 0;
}

static void assert_serves(void)
{
    int fd = client_connect(&l);
    client_text(&l, fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, "hello"), "200 OK"));
    close(fd);
}

static void requests(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /chunked HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\n",
        "GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n"
        "Connection: close\r\n\r\n",
        "NONSENSE\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        for (uint64_t n = 0;; n++) {
            alloc_fail_at(n);
            int fd = client_connect(&l);
            client_text(&l, fd, texts[i]);
            for (int t = 0; t < 20; t++)
                loopback_turn(&l);
            bool failed = alloc_fail_end();
            const char *got = client_until(&l, fd, NULL);
            assert_true(client_closed());
            if (!failed)
                assert_non_null(strstr(got, "HTTP/1.1 "));
            close(fd);
            assert_serves();
            if (!failed)
                break;
        }
    }
}

/* Not even the memory to refuse a connection: it waits, and so do those behind it. */
static void accepting_goes_on(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    close(fd);
    for (int t = 0; t < 20; t++)
        loopback_turn(&l);
    alloc_fail_from(0);
    int first = client_connect(&l), second = client_connect(&l);
    for (int t = 0; t < 20; t++)
        loopback_turn(&l);
    assert_true(alloc_fail_end());
    client_text(&l, second, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(client_until(&l, second, "hello"), "200 OK"));
    close(first);
    close(second);
    assert_serves();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(requests), TEST(accepting_goes_on)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
