/* Slow clients, on a virtual clock over a transport that takes what the test says. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/http/http_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* One connection; its handler keeps nothing, pauses when told to, and answers at the end. */
struct world {
    struct http_conn conn;
    struct http_limits limits;
    struct http_stats stats;
    struct http_conn_env env;
    uint64_t now_ms, sent, taken;
    bool closed, reset, kicked, holds; /* holds: what is flushed is taken over, and stays unsent */
    struct http_request *req;
    uint64_t body_bytes;
    int body_err;
    bool body_ended;
};

static struct world *world_of(struct http_conn *c)
{
    return (struct world *)(void *)c;
}

static void flush(struct http_conn *c)
{
    struct world *w = world_of(c);
    if (!w->holds) /* a socket without room: all stays where it is */
        return;
    w->sent += c->out.bytes;
    http_out_consume(&c->out, c->out.bytes);
    c->transport_busy = true;
}

static void reading(struct http_conn *c, bool on)
{
    (void)c;
    (void)on;
}

static void shut(struct http_conn *c)
{
    (void)c;
}

static void closed(struct http_conn *c, bool reset)
{
    world_of(c)->closed = true;
    world_of(c)->reset = reset;
}

static void kick(struct http_conn *c)
{
    world_of(c)->kicked = true;
}

static uint64_t taken(struct http_conn *c)
{
    return world_of(c)->taken;
}

static const struct http_transport transport = {flush, reading, shut, closed, kick, taken};

static void on_body(struct http_request *req, void *arg, struct payload chunk, int err)
{
    struct world *w = arg;
    w->body_bytes += chunk.bytes.len;
    if (chunk.bytes.len)
        return;
    w->body_ended = true;
    w->body_err = err;
    w->req = NULL;
    http_response_simple(req, err ? 400 : 200, "text/plain", SLICE_LIT("done"));
}

static void on_request(void *arg, struct http_request *req)
{
    struct world *w = arg;
    w->req = req;
    if (req->method == HTTP_METHOD_PUT)
        http_body_read_start(req, on_body, w);
}

static void on_gone(struct http_request *req)
{
    struct world *w = world_of((struct http_conn *)(void *)req);
    w->req = NULL;
    http_response_abort(req);
}

static void settle(struct world *w)
{
    while (w->kicked) {
        w->kicked = false;
        http_conn_run(&w->conn);
    }
}

static void input(struct world *w, struct slice bytes)
{
    struct rcbuf *b = rcbuf_copy(bytes);
    http_conn_input(&w->conn, (struct payload){b, SLICE(b->data, b->len)}, w->now_ms);
    rcbuf_unref(b);
    settle(w);
}

static void world_init(struct world *w, const char *request)
{
    static const struct http_handler handler = {on_request};
    memset(w, 0, sizeof(*w));
    w->now_ms = 1000;
    http_limits_init(&w->limits);
    w->env = (struct http_conn_env){&w->limits, &handler, w, &w->stats};
    http_conn_init(&w->conn, &w->env, &transport, w->now_ms);
    http_conn_run(&w->conn);
    input(w, slice_cstr(request));
    assert_non_null(w->req);
    w->req->on_gone = on_gone;
}

static void world_fini(struct world *w)
{
    if (!w->closed)
        http_conn_lost(&w->conn, w->now_ms);
    settle(w);
    assert_true(w->closed && !w->conn.live);
    http_conn_fini(&w->conn);
}

static void second(struct world *w)
{
    w->now_ms += 1000;
    http_conn_tick(&w->conn, w->now_ms);
    settle(w);
}

#define PUT "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
static uint8_t piece[50 << 10];

/* Seconds until the body ended, or `max`. */
static unsigned send_body(struct world *w, size_t bytes, unsigned every_s, unsigned max)
{
    for (unsigned s = 0; s < max; s++) {
        if (w->body_ended)
            return s;
        if (s % every_s == 0)
            input(w, SLICE(piece, bytes));
        second(w);
    }
    return max;
}

static void dribbled_body_ends(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, PUT);
    /* A byte a second is progress for any timeout of idleness. */
    unsigned s = send_body(&w, 1, 1, 600);
    assert_in_range(s, 50, 51); /* grace and one window */
    assert_int_equal(w.body_err, ERR_TIMEOUT);
    assert_int_equal(w.stats.timeouts, 1);
    assert_false(w.closed); /* the answer is given */
    struct slice out[1];
    assert_int_equal(http_out_peek(&w.conn.out, out, 1), 1);
    assert_memory_equal(out[0].ptr, "HTTP/1.1 400 ", 13);
    world_fini(&w);
}

static void slow_but_legal_body(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        unsigned every_s;
    } cases[] = {{50 << 10, 1}, {1100, 1}, {40000, 25}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct world w;
        world_init(&w, PUT);
        assert_int_equal(send_body(&w, cases[i].bytes, cases[i].every_s, 1000), 1000);
        assert_int_equal(w.stats.timeouts, 0);
        world_fini(&w);
    }
}

static void rate_of_zero_is_no_bound(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, PUT);
    w.limits.body_rate_min = 0;
    assert_int_equal(send_body(&w, 1, 50, 1000), 1000);
    world_fini(&w);
}

/* Storage is slow: the body is paused nearly all the time. */
static void pauses_are_not_the_clients(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, PUT);
    for (int i = 0; i < 300; i++) {
        http_body_pause(w.req);
        settle(&w);
        for (int s = 0; s < 9; s++)
            second(&w);
        http_body_resume(w.req);
        settle(&w);
        input(&w, SLICE(piece, 2048));
        second(&w); /* 2 KiB in 10 s, of which the client was waited for in one */
        assert_false(w.body_ended);
    }
    assert_int_equal(w.stats.timeouts, 0);
    /* Unpaused, the same is too slow. */
    assert_true(send_body(&w, 2048, 10, 600) < 100);
    assert_int_equal(w.body_err, ERR_TIMEOUT);
    world_fini(&w);
}

static void stillness_of_the_process_is_excused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, PUT);
    assert_int_equal(send_body(&w, 2048, 1, 100), 100);
    w.now_ms += 300000;
    http_conn_excuse(&w.conn, w.now_ms);
    http_conn_tick(&w.conn, w.now_ms);
    settle(&w);
    assert_false(w.body_ended);
    assert_int_equal(send_body(&w, 2048, 1, 100), 100);
    world_fini(&w);
}

static void respond(struct world *w, int64_t bytes)
{
    http_response_begin(w->req, 200);
    http_response_body(w->req, bytes);
}

/* Seconds until the connection was closed, or `max`; the client takes so much a second. */
static unsigned take_response(struct world *w, size_t bytes, unsigned max)
{
    for (unsigned s = 0; s < max; s++) {
        if (w->closed)
            return s;
        while (w->req && http_response_write(
                             w->req, (struct payload){.bytes = SLICE(piece, sizeof(piece))}) == OK)
            ;
        settle(w);
        http_out_consume(&w->conn.out, bytes);
        w->taken += bytes;
        second(w);
    }
    return max;
}

static void dribbling_reader_is_cut(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, GET);
    respond(&w, 1000000000);
    unsigned s = take_response(&w, 1, 600);
    assert_in_range(s, 50, 52);
    assert_true(w.closed && w.reset); /* never a short body that ends well */
    assert_int_equal(w.stats.timeouts, 1);
    world_fini(&w);
}

static void slow_but_legal_reader(void **state)
{
    (void)state;
    static const size_t rates[] = {50 << 10, 1100};
    for (size_t i = 0; i < ARRAY_COUNT(rates); i++) {
        struct world w;
        world_init(&w, GET);
        respond(&w, 1000000000);
        assert_int_equal(take_response(&w, rates[i], 1000), 1000);
        assert_int_equal(w.stats.timeouts, 0);
        world_fini(&w);
    }
}

/* A handler that has nothing to send, for whatever reason, does not make the client slow. */
static void waiting_for_data_is_not_the_readers(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, GET);
    respond(&w, 1000000000);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(http_response_write(w.req, (struct payload){.bytes = SLICE(piece, 100)}),
                         OK);
        settle(&w);
        w.taken += w.conn.out.bytes;
        http_out_consume(&w.conn.out, w.conn.out.bytes);
        http_conn_sent(&w.conn, w.now_ms);
        for (int s = 0; s < 20; s++)
            second(&w);
    }
    assert_false(w.closed);
    assert_int_equal(w.stats.timeouts, 0);
    world_fini(&w);
}

/* Behind TLS the queue is empty while all that was encrypted waits for the client. */
static void reader_of_nothing_is_cut_behind_tls(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, GET);
    w.holds = true;
    respond(&w, 4);
    assert_int_equal(http_response_write(w.req, (struct payload){.bytes = SLICE_LIT("abcd")}), OK);
    struct http_request *req = w.req;
    w.req = NULL;
    http_response_finish(req);
    settle(&w);
    assert_int_equal(w.conn.out.bytes, 0);
    for (int s = 0; s < 70 && !w.closed; s++)
        second(&w);
    assert_true(w.closed && w.reset);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dribbled_body_ends),
        cmocka_unit_test(slow_but_legal_body),
        cmocka_unit_test(rate_of_zero_is_no_bound),
        cmocka_unit_test(pauses_are_not_the_clients),
        cmocka_unit_test(stillness_of_the_process_is_excused),
        cmocka_unit_test(dribbling_reader_is_cut),
        cmocka_unit_test(slow_but_legal_reader),
        cmocka_unit_test(waiting_for_data_is_not_the_readers),
        cmocka_unit_test(reader_of_nothing_is_cut_behind_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
