/* HTTP connections from any bytes.  Input: one byte that chooses how the rest is split and what the
 * handler does, then what the client sends.  The same bytes in one piece and in many must lead to
 * the same requests with the same bodies; memory stays bounded; every request ends. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "gateway/http/http_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct http_conn conn;
    bool closed, kicked;
    unsigned mode, live;
    uint64_t seen; /* a hash over everything that the handler was given */
    unsigned requests;
    uint64_t sent;
};

static void note(struct world *w, struct slice s)
{
    w->seen = hash64(w->seen, s) + 1;
}

static void on_body(struct http_request *req, void *arg, struct payload chunk, int err)
{
    struct world *w = arg;
    for (size_t i = 0; i < chunk.bytes.len; i++) /* however it was cut */
        w->seen = w->seen * 1099511628211u + chunk.bytes.ptr[i] + 1;
    if (chunk.bytes.len)
        return;
    w->seen += (uint64_t)(uint32_t)err;
    w->live--;
    if (w->mode & 1)
        http_response_simple(req, 200, "text/plain", SLICE_LIT("done"));
    else
        http_response_abort(req);
}

static void on_request(void *arg, struct http_request *req)
{
    struct world *w = arg;
    CHECK(w->live == 0);
    w->requests++;
    note(w, req->method_name);
    note(w, req->target);
    for (size_t i = 0; i < req->fields.count; i++) {
        note(w, req->fields.ptr[i].name);
        note(w, req->fields.ptr[i].value);
        CHECK(!memchr(req->fields.ptr[i].value.ptr, '\n', req->fields.ptr[i].value.len));
    }
    w->live++;
    if (w->mode & 2) {
        w->live--;
        http_response_begin(req, 404);
        http_response_body(req, HTTP_BODY_CHUNKED);
        (void)http_response_write(req, (struct payload){.bytes = SLICE_LIT("no")});
        http_response_finish(req);
        return;
    }
    http_body_read_start(req, on_body, w);
}

static struct world *world_of(struct http_conn *c)
{
    return (struct world *)(void *)c;
}

static void flush(struct http_conn *c)
{
    world_of(c)->sent += c->out.bytes;
    http_out_consume(&c->out, c->out.bytes);
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
    (void)reset;
    world_of(c)->closed = true;
}

static void kick(struct http_conn *c)
{
    world_of(c)->kicked = true;
}

static uint64_t taken(struct http_conn *c)
{
    return world_of(c)->sent;
}

static void settle(struct world *w)
{
    for (int turns = 0; w->kicked; turns++) {
        CHECK(turns < 100000);
        w->kicked = false;
        http_conn_run(&w->conn);
    }
}

static void play(struct world *w, const uint8_t *data, size_t size, size_t step)
{
    static const struct http_transport transport = {flush, reading, shut, closed, kick, taken};
    static const struct http_handler handler = {on_request};
    struct http_limits limits;
    struct http_stats stats = {0};
    http_limits_init(&limits);
    limits.head_bytes_max = 4096;
    limits.drain_bytes_max = 1024;
    struct http_conn_env env = {&limits, &handler, w, &stats};
    http_conn_init(&w->conn, &env, &transport, 1);
    http_conn_run(&w->conn);
    for (size_t at = 0; at < size && !w->closed && w->conn.reading; at += step) {
        struct rcbuf *b = rcbuf_copy(SLICE(data + at, MIN(step, size - at)));
        CHECK(b);
        http_conn_input(&w->conn, (struct payload){b, SLICE(b->data, b->len)}, 2);
        rcbuf_unref(b);
        settle(w);
    }
    if (!w->closed)
        http_conn_eof(&w->conn, 3);
    settle(w);
    if (!w->closed)
        http_conn_tick(&w->conn, 1000000);
    settle(w);
    CHECK(w->closed && w->live == 0 && !w->conn.live);
    http_conn_fini(&w->conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    static const size_t steps[] = {1, 2, 3, 5, 17, 100, 1000, 4096};
    struct world whole = {.mode = data[0] & 3}, parts = {.mode = data[0] & 3};
    play(&whole, data + 1, size - 1, size);
    play(&parts, data + 1, size - 1, steps[data[0] >> 5]);
    CHECK(whole.requests == parts.requests && whole.seen == parts.seen);
    return 0;
}
