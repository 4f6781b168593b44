/* The server over real sockets: what clients and attackers do. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "tests/unit/gateway/http/loopback.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
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
    loopback_start(&l);
    return 0;
}

/* Timeouts short enough for a test. */
static int setup_impatient(void **state)
{
    (void)state;
    l = (struct loopback){0};
    http_limits_init(&l.limits);
    l.limits.head_timeout_ms = 80;
    l.limits.idle_timeout_ms = 160;
    l.limits.body_timeout_ms = 80;
    l.limits.write_timeout_ms = 100;
    loopback_start(&l);
    return 0;
}

static int setup_two(void **state)
{
    (void)state;
    l = (struct loopback){0};
    http_limits_init(&l.limits);
    l.limits.connections_max = 2;
    loopback_start(&l);
    return 0;
}

/* Idle for as long as it likes, but never slow. */
static int setup_rates(void **state)
{
    (void)state;
    l = (struct loopback){0};
    http_limits_init(&l.limits);
    l.limits.rate_grace_ms = 80;
    l.limits.rate_window_ms = 80;
    l.limits.body_rate_min = l.limits.response_rate_min = 1 << 20;
    loopback_start(&l);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(&l);
    return 0;
}

static unsigned count(const char *text, const char *needle)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, needle)); p += strlen(needle))
        n++;
    return n;
}

static void keep_alive(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    for (int i = 0; i < 3; i++) {
        client_text(&l, fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        const char *got = client_until(&l, fd, "hello");
        assert_non_null(strstr(got, "HTTP/1.1 200 OK\r\n"));
        assert_non_null(strstr(got, "Content-Length: 5\r\n"));
        assert_null(strstr(got, "Connection: close"));
        assert_false(client_closed());
    }
    /* One read and one write each. */
    assert_int_equal(http_server_stats(l.server)->reads, 3);
    assert_int_equal(http_server_stats(l.server)->writes, 3);
    client_text(&l, fd, "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, NULL), "Connection: close"));
    assert_true(client_closed());
    assert_int_equal(l.requests, 4);
    close(fd);
}

static void http_1_0(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, "hello"), "Connection: keep-alive"));
    /* No chunked coding for HTTP/1.0: the end of the connection ends the body. */
    client_text(&l, fd, "GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const char *got = client_until(&l, fd, NULL);
    assert_non_null(strstr(got, "\r\n\r\nhello world"));
    assert_null(strstr(got, "chunked"));
    assert_true(client_closed());
    close(fd);
}

static void pipelined(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd,
                "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
                "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const char *got = client_until(&l, fd, NULL);
    assert_int_equal(l.requests, 4);
    assert_int_equal(count(got, "HTTP/1.1 200 OK"), 4);
    const char *first = strstr(got, "later"), *second = strstr(got, "abc"),
               *third = strstr(second, "later"), *fourth = strstr(third, "hello");
    assert_true(first && first < second && second < third && third < fourth);
    close(fd);
}

static void every_split(void **state)
{
    (void)state;
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                                  "X-A:  b \r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n";
    int fd = client_connect(&l);
    for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
        client_send(&l, fd, SLICE(request, cut));
        client_send(&l, fd, SLICE(request + cut, sizeof(request) - 1 - cut));
        assert_non_null(strstr(client_until(&l, fd, "abcde"), "Content-Length: 5"));
        assert_false(client_closed());
    }
    close(fd);
}

static void continue_100(void **state)
{
    (void)state;
    /* Sent when the handler starts to read. */
    int fd = client_connect(&l);
    client_text(&l, fd,
                "PUT /readlater HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                "Content-Length: 5\r\n\r\n");
    const char *got = client_until(&l, fd, "Continue\r\n\r\n");
    assert_string_equal(got, "HTTP/1.1 100 Continue\r\n\r\n");
    client_text(&l, fd, "12345");
    assert_non_null(strstr(client_until(&l, fd, "12345"), "200 OK"));
    /* Never sent when it does not read: the final answer comes, and the connection ends, since the
     * client may or may not send the body. */
    client_text(&l, fd,
                "PUT /hello HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                "Content-Length: 5\r\n\r\n");
    got = client_until(&l, fd, NULL);
    assert_null(strstr(got, "100 Continue"));
    assert_non_null(strstr(got, "200 OK"));
    assert_non_null(strstr(got, "Connection: close"));
    assert_true(client_closed() && !client_reset());
    close(fd);
    fd = client_connect(&l);
    client_text(&l, fd,
                "PUT /echo HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 5\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, NULL), "HTTP/1.1 417 "));
    close(fd);
}

static void refused_heads(void **state)
{
    (void)state;
    static const struct {
        const char *request, *status;
    } cases[] = {
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
         "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", "501"},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
         "Transfer-Encoding: chunked\r\n\r\n",
         "501"},
        {"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: x\r\n X: a\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: x\r\nX: a\x01z\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: x\r\nX: a\rz\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: x\r\nX y: a\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505"},
        {"GET / HTTP/1.2\r\nHost: x\r\n\r\n", "505"},
        {"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "405"},
        {"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "405"},
        {"\x16\x03\x01\x02\x01", "405"},
        {"GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET /a\x01"
         "b HTTP/1.1\r\nHost: x\r\n\r\n",
         "400"},
        {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int fd = client_connect(&l);
        client_text(&l, fd, cases[i].request);
        const char *got = client_until(&l, fd, NULL);
        char want[16];
        snprintf(want, sizeof(want), "HTTP/1.1 %s ", cases[i].status);
        if (strncmp(got, want, strlen(want)) != 0)
            fail_msg("%s\n=> %s", cases[i].request, got);
        assert_non_null(strstr(got, "<Error><Code>"));
        assert_true(client_closed());
        close(fd);
    }
    assert_int_equal(l.requests, 0);
    assert_int_equal(http_server_stats(l.server)->rejected, ARRAY_COUNT(cases));
}

static void folded_at_every_split(void **state)
{
    (void)state;
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n";
    for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
        int fd = client_connect(&l);
        client_send(&l, fd, SLICE(request, cut));
        client_send(&l, fd, SLICE(request + cut, sizeof(request) - 1 - cut));
        if (strncmp(client_until(&l, fd, NULL), "HTTP/1.1 400 ", 13) != 0)
            fail_msg("split at %zu", cut);
        close(fd);
    }
    assert_int_equal(l.requests, 0);
}

static void large_heads(void **state)
{
    (void)state;
    struct buf b = {0};
    int fd = client_connect(&l);
    /* Just below the limit it is served. */
    buf_cstr(&b, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    while (b.len < l.limits.head_bytes_max - 4)
        buf_u8(&b, 'a');
    buf_cstr(&b, "\r\n\r\n");
    client_send(&l, fd, buf_view(&b));
    assert_non_null(strstr(client_until(&l, fd, "hello"), "200 OK"));
    buf_clear(&b);
    buf_cstr(&b, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    while (b.len < l.limits.head_bytes_max - 3)
        buf_u8(&b, 'a');
    buf_cstr(&b, "\r\n\r\n");
    client_send(&l, fd, buf_view(&b));
    assert_non_null(strstr(client_until(&l, fd, NULL), "RequestHeaderSectionTooLarge"));
    close(fd);
    fd = client_connect(&l);
    buf_clear(&b);
    buf_cstr(&b, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (unsigned i = 0; i < l.limits.fields_max; i++)
        buf_cstr(&b, "A: b\r\n");
    buf_cstr(&b, "\r\n");
    client_send(&l, fd, buf_view(&b));
    assert_non_null(strstr(client_until(&l, fd, NULL), "RequestHeaderSectionTooLarge"));
    close(fd);
    buf_fini(&b);
}

static void bad_chunks(void **state)
{
    (void)state;
    static const char *const bodies[] = {"x\r\n",  "3\r\nabcX\r\n",        "3\nabc\r\n",
                                         "\r\n",   "1000000000000000\r\n", "3\r\nabc\r\n0\r\n\nx",
                                         "-1\r\n", "0x3\r\nabc\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
        int fd = client_connect(&l);
        l.body_err = OK;
        client_text(&l, fd,
                    "POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client_text(&l, fd, bodies[i]);
        const char *got = client_until(&l, fd, NULL);
        assert_int_equal(l.body_err, ERR_PROTO);
        assert_non_null(strstr(got, "HTTP/1.1 400"));
        assert_non_null(strstr(got, "Connection: close"));
        close(fd);
    }
}

static void bodyless(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd,
                "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n"
                "HEAD /chunked HTTP/1.1\r\nHost: x\r\n\r\n"
                "GET /204 HTTP/1.1\r\nHost: x\r\n\r\n"
                "GET /304 HTTP/1.1\r\nHost: x\r\n\r\n"
                "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const char *got = client_until(&l, fd, NULL);
    assert_int_equal(count(got, "hello"), 1);
    assert_null(strstr(got, "world"));
    assert_null(strstr(got, "12345"));
    assert_int_equal(count(got, "Content-Length: 5\r\n"), 2);
    assert_int_equal(count(got, "\r\n\r\n"), 5);
    close(fd);
}

static void chunked_response(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd, "GET /chunked HTTP/1.1\r\nHost: x\r\n\r\n");
    const char *got = client_until(&l, fd, "0\r\n\r\n");
    assert_non_null(strstr(got, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(got, "\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"));
    close(fd);
}

/* More than all buffers between: the queue stays bounded, and every byte arrives. */
static void back_pressure(void **state)
{
    (void)state;
    enum { BYTES = 24 << 20 };
    int fd = client_connect(&l);
    char text[64];
    snprintf(text, sizeof(text), "GET /big/%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
             BYTES);
    client_text(&l, fd, text);
    for (int i = 0; i < 20; i++) /* a client that does not read yet */
        loopback_turn(&l);
    assert_int_equal(l.live, 1);
    client_until(&l, fd, NULL);
    assert_true(client_received() > BYTES && client_received() < BYTES + 300);
    assert_true(l.queued_max <= l.limits.write_high_bytes + 65536 + 300);
    assert_true(l.drains > 1);
    close(fd);
}

static void large_upload(void **state)
{
    (void)state;
    enum { BYTES = 16 << 20 };
    int fd = client_connect(&l);
    char text[96];
    struct buf b = {0};
    assert_int_equal(buf_reserve(&b, BYTES), OK);
    memset(b.ptr, 'y', BYTES);
    b.len = BYTES;
    snprintf(text, sizeof(text), "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
             BYTES);
    client_text(&l, fd, text);
    client_send(&l, fd, buf_view(&b));
    assert_non_null(strstr(client_until(&l, fd, "16777216"), "200 OK"));
    assert_int_equal(l.body_bytes, BYTES);
    buf_fini(&b);
    close(fd);
}

/* Does the socket wake the loop?  It must not while nobody takes what lies in it. */
static bool is_woken(void)
{
    for (int i = 0; i < 4; i++)
        loopback_turn(&l);
    struct pollfd p = {.fd = uv_backend_fd(&l.loop), .events = POLLIN};
    return poll(&p, 1, 20) != 0;
}

/* With a body that its handler does not read yet: what more comes stays in the socket, and is not
 * lost; nor is the client's end. */
static void held_body(void **state)
{
    (void)state;
    static const char head[] = "PUT /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nabc";
    char rest[8997];
    memset(rest, 'r', sizeof(rest));
    int fd = client_connect(&l);
    client_text(&l, fd, head);
    assert_true(loopback_wait(&l, &l.requests, 1));
    uint64_t before = http_server_stats(l.server)->bytes_in;
    assert_int_equal(before, strlen(head));
    client_send(&l, fd, SLICE(rest, 5000));
    assert_false(is_woken());
    assert_int_equal(http_server_stats(l.server)->bytes_in, before);
    loopback_go_on(&l);
    client_send(&l, fd, SLICE(rest, sizeof(rest) - 5000));
    assert_non_null(strstr(client_until(&l, fd, "9000"), "200 OK"));
    /* It is on again: nothing more is needed for the next request. */
    client_text(&l, fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, "hello"), "200 OK"));
    /* Turned on before anything came: it was never off. */
    client_text(&l, fd, head);
    assert_true(loopback_wait(&l, &l.requests, 3));
    loopback_go_on(&l);
    client_send(&l, fd, SLICE(rest, sizeof(rest)));
    assert_non_null(strstr(client_until(&l, fd, "18000"), "200 OK"));
    /* The client goes away meanwhile. */
    client_text(&l, fd, head);
    assert_true(loopback_wait(&l, &l.requests, 4));
    client_send(&l, fd, SLICE(rest, 100));
    close(fd);
    assert_false(is_woken());
    l.body_err = OK;
    loopback_go_on(&l);
    for (int i = 0; i < 2000 && l.body_err == OK; i++)
        loopback_turn(&l);
    assert_int_equal(l.body_err, ERR_CONN_LOST);
    assert_int_equal(l.body_bytes, 18000 + 3 + 100);
    assert_int_equal(l.live, 0);
}

/* A failure behind the head must never look like a complete body. */
static void aborted_response(void **state)
{
    (void)state;
    static const char *const targets[] = {"/abort", "/short"};
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        int fd = client_connect(&l);
        char text[64];
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", targets[i]);
        client_text(&l, fd, text);
        const char *got = client_until(&l, fd, NULL);
        const char *end = strstr(got, "\r\n\r\n");
        assert_true(client_closed());
        assert_true(!end || strlen(end + 4) < 100);
        close(fd);
    }
    assert_int_equal(http_server_stats(l.server)->aborted, 2);
}

static void unread_bodies(void **state)
{
    (void)state;
    /* A small one is read and dropped, the connection lives. */
    int fd = client_connect(&l);
    client_text(&l, fd, "PUT /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, "hello"), "200 OK"));
    client_text(&l, fd, "12345GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, "hello"), "200 OK"));
    assert_string_equal(l.target, "/next");
    /* A large one ends the connection, after the client could read the answer. */
    client_text(&l, fd, "PUT /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n12345");
    const char *got = client_until(&l, fd, NULL);
    assert_non_null(strstr(got, "Connection: close"));
    assert_non_null(strstr(got, "hello"));
    assert_true(client_closed() && !client_reset());
    assert_int_equal(l.requests, 3);
    close(fd);
    /* Even when the client goes on sending it gets the answer, not a reset. */
    fd = client_connect(&l);
    struct buf b = {0};
    buf_cstr(&b, "PUT /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n");
    for (int i = 0; i < 1000000; i++)
        buf_u8(&b, 'z');
    client_send(&l, fd, buf_view(&b));
    got = client_until(&l, fd, NULL);
    assert_non_null(strstr(got, "hello"));
    assert_true(client_closed() && !client_reset());
    close(fd);
    /* Chunked: its size shows only as it comes. */
    fd = client_connect(&l);
    client_text(&l, fd, "PUT /ignore HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fd, "hello"), "200 OK"));
    buf_clear(&b);
    buf_cstr(&b, "100000\r\n");
    for (int i = 0; i < 400000; i++)
        buf_u8(&b, 'z');
    client_send(&l, fd, buf_view(&b));
    client_until(&l, fd, NULL);
    assert_true(client_closed());
    buf_fini(&b);
    close(fd);
}

static void client_goes_away(void **state)
{
    (void)state;
    /* In the middle of its body. */
    int fd = client_connect(&l);
    client_text(&l, fd, "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n12345");
    close(fd);
    assert_true(loopback_wait(&l, &l.requests, 1));
    for (int i = 0; i < 2000 && l.body_err == OK; i++)
        loopback_turn(&l);
    assert_int_equal(l.body_err, ERR_CONN_LOST);
    /* While a large response is under way. */
    fd = client_connect(&l);
    client_text(&l, fd, "GET /big/50000000 HTTP/1.1\r\nHost: x\r\n\r\n");
    client_until(&l, fd, "xxxx");
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    assert_true(loopback_wait(&l, &l.gone, 1));
    /* Before the handler has answered. */
    fd = client_connect(&l);
    client_text(&l, fd, "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(loopback_wait(&l, &l.requests, 3));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    assert_true(loopback_wait(&l, &l.gone, 2));
    assert_int_equal(l.live, 0);
}

/* A client that has closed its sending side still gets its answers. */
static void half_closed(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd,
                "GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /chunked HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR);
    const char *got = client_until(&l, fd, NULL);
    assert_non_null(strstr(got, "later"));
    assert_non_null(strstr(got, "world"));
    close(fd);
}

static void slow_heads(void **state)
{
    (void)state;
    int fd = client_connect(&l), silent = client_connect(&l);
    client_text(&l, fd, "GET / HTTP/1.1\r\nHos");
    const char *got = client_until(&l, fd, NULL);
    assert_non_null(strstr(got, "RequestTimeout"));
    assert_true(client_closed());
    client_until(&l, silent, NULL);
    assert_true(client_closed());
    assert_int_equal(client_received(), 0);
    close(fd);
    close(silent);
}

static void slow_body(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd, "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n12345");
    const char *got = client_until(&l, fd, NULL);
    assert_int_equal(l.body_err, ERR_TIMEOUT);
    assert_non_null(strstr(got, "HTTP/1.1 400"));
    assert_true(client_closed());
    close(fd);
}

static void slow_reader(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd, "GET /big/90000000 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(loopback_wait(&l, &l.gone, 1));
    close(fd);
}

/* A byte now and then: never idle, and yet too slow. */
static void dribbled_body(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd, "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n");
    for (int i = 0; i < 2000 && l.body_err == OK; i++) {
        client_text(&l, fd, "x");
        poll(NULL, 0, 2);
    }
    assert_int_equal(l.body_err, ERR_TIMEOUT);
    assert_non_null(strstr(client_until(&l, fd, NULL), "HTTP/1.1 400"));
    assert_true(client_closed());
    close(fd);
}

/* What the kernels hold between the two is not what the client took. */
static void dribbling_reader(void **state)
{
    (void)state;
    char some[200];
    int fd = client_connect(&l);
    client_text(&l, fd, "GET /big/90000000 HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 2000 && l.gone == 0; i++) {
        (void)recv(fd, some, sizeof(some), MSG_DONTWAIT);
        loopback_turn(&l);
        poll(NULL, 0, 2);
    }
    assert_int_equal(l.gone, 1);
    close(fd);
}

static void idle_connection(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client_until(&l, fd, "hello");
    assert_false(client_closed());
    client_until(&l, fd, NULL);
    assert_true(client_closed() && !client_reset());
    close(fd);
}

/* At the bound whoever has waited longest for a request makes room, be it before its first one, in
 * the middle of a head, or between two.  A request is never cut: if all have one, the next is
 * refused. */
static void too_many_connections(void **state)
{
    (void)state;
    int a = client_connect(&l), b = client_connect(&l);
    client_text(&l, b, "GET /half HTTP/1.1\r\nHo");
    client_text(&l, a, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    client_until(&l, a, "later");
    int c = client_connect(&l);
    assert_string_equal(client_until(&l, b, NULL), "");
    assert_true(client_closed() && !client_reset());
    client_text(&l, c, "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert_true(loopback_wait(&l, &l.requests, 2));
    int d = client_connect(&l);
    assert_string_equal(client_until(&l, a, NULL), "");
    assert_true(client_closed() && !client_reset());
    client_text(&l, d, "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(loopback_wait(&l, &l.requests, 3));

    int e = client_connect(&l);
    const char *got = client_until(&l, e, NULL);
    assert_non_null(strstr(got, "503 Service Unavailable"));
    assert_non_null(strstr(got, "SlowDown"));
    assert_true(client_closed());
    loopback_go_on(&l);
    assert_non_null(strstr(client_until(&l, c, "3"), "200 OK"));
    const struct http_stats *stats = http_server_stats(l.server);
    assert_int_equal(stats->accepted, 4);
    assert_int_equal(stats->evicted, 2);
    assert_int_equal(stats->refused, 1);
    assert_int_equal(stats->connections, 2);
    const int fds[] = {a, b, c, d, e};
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        close(fds[i]);
}

/* Many come in one turn of the loop, more than may be there: the last of them stay. */
static void a_burst_of_connections(void **state)
{
    (void)state;
    enum { BURST = 50 };
    int fds[BURST];
    for (size_t i = 0; i < BURST; i++)
        fds[i] = client_socket(&l);
    const struct http_stats *stats = http_server_stats(l.server);
    uint64_t seen = 0;
    while ((seen = stats->accepted + stats->refused) < BURST)
        loopback_turn(&l);
    assert_int_equal(stats->evicted, BURST - 2);
    assert_int_equal(stats->connections, 2);
    client_text(&l, fds[BURST - 1], "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(client_until(&l, fds[BURST - 1], "hello"), "200 OK"));
    for (size_t i = 0; i < BURST; i++)
        close(fds[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define RATES(f) cmocka_unit_test_setup_teardown(f, setup_rates, teardown)
#define TWO(f) cmocka_unit_test_setup_teardown(f, setup_two, teardown)
#define IMPATIENT(f) cmocka_unit_test_setup_teardown(f, setup_impatient, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keep_alive),
        TEST(http_1_0),
        TEST(pipelined),
        TEST(every_split),
        TEST(continue_100),
        TEST(refused_heads),
        TEST(folded_at_every_split),
        TEST(large_heads),
        TEST(bad_chunks),
        TEST(bodyless),
        TEST(chunked_response),
        TEST(back_pressure),
        TEST(large_upload),
        TEST(held_body),
        TEST(aborted_response),
        TEST(unread_bodies),
        TEST(client_goes_away),
        TEST(half_closed),
        IMPATIENT(slow_heads),
        IMPATIENT(slow_body),
        IMPATIENT(slow_reader),
        RATES(dribbled_body),
        RATES(dribbling_reader),
        IMPATIENT(idle_connection),
        TWO(too_many_connections),
        TWO(a_burst_of_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
