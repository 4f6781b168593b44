/* The connection's state machine: input, requests, ends, timeouts.  The response side of the API is
 * in http_response.c. */
#include "gateway/http/http_conn.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdio.h>

#define LINGER_MS 2000
#define IDLE_RELEASE_MS 5000
#define LARGE_BODY_BYTES 65536

void http_limits_init(struct http_limits *l)
{
    *l = (struct http_limits){
        .connections_max = 4096,
        .head_bytes_max = 32 << 10,
        .fields_max = 200,
        .arena_bytes_max = 8 << 20,
        .read_bytes = 256 << 10,
        .drain_bytes_max = 256 << 10,
        .write_high_bytes = 1 << 20,
        .write_low_bytes = 256 << 10,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 60000,
        .idle_timeout_ms = 75000,
        .write_timeout_ms = 60000,
        .body_rate_min = 1024,
        .response_rate_min = 1024,
        .rate_grace_ms = 20000,
        .rate_window_ms = 30000,
    };
}

void http_conn_init(struct http_conn *c, const struct http_conn_env *env,
                    const struct http_transport *transport, uint64_t now_ms)
{
    *c = (struct http_conn){.transport = transport, .env = env, .first = true};
    c->now_ms = c->head_since_ms = c->input_ms = c->output_ms = now_ms;
    http_parse_init(&c->parse, env->limits->head_bytes_max, env->limits->fields_max);
    arena_init(&c->arena, env->limits->arena_bytes_max);
    c->req.arena = &c->arena;
    c->req.peer = c->peer;
}

bool http_conn_may_free(const struct http_conn *c)
{
    return c->state == HTTP_CONN_CLOSED && !c->live && !c->running && !c->kicked;
}

void http_conn_fini(struct http_conn *c)
{
    CHECK(http_conn_may_free(c));
    payload_unref(&c->input);
    http_parse_fini(&c->parse);
    arena_fini(&c->arena);
    buf_fini(&c->resp_head);
    http_out_fini(&c->out);
}

void http_conn_kick(struct http_conn *c)
{
    if (c->running || c->kicked)
        return;
    c->kicked = true;
    c->transport->kick(c);
}

static void close_now(struct http_conn *c, bool reset)
{
    if (c->state == HTTP_CONN_CLOSED)
        return;
    c->state = HTTP_CONN_CLOSED;
    payload_unref(&c->input);
    c->transport->close(c, reset);
    c->broken = true; /* only now: an orderly close still has something to say (TLS) */
}

size_t http_conn_read_hint(const struct http_conn *c)
{
    bool large = c->state == HTTP_CONN_REQUEST && c->body_started && !c->body_ended &&
                 http_body_left(&c->body) >= LARGE_BODY_BYTES;
    return large ? c->env->limits->read_bytes : 0;
}

/* Forget the first n bytes of the input. */
static void consume(struct http_conn *c, size_t n)
{
    CHECK(n <= c->input.bytes.len);
    c->input.bytes.ptr += n;
    c->input.bytes.len -= n;
    if (c->input.bytes.len == 0)
        payload_unref(&c->input);
}

/* ---- the server's own refusals ---- */

struct refusal {
    int status;
    const char *reason, *code, *message;
};

static struct refusal refusal_of(enum http_parse_status why)
{
    switch (why) {
    case HTTP_PARSE_TOO_LARGE:
        return (struct refusal){400, "Bad Request", "RequestHeaderSectionTooLarge",
                                "Your request header section exceeds the maximum allowed request "
                                "header section size."};
    case HTTP_PARSE_BAD_METHOD:
        return (struct refusal){405, "Method Not Allowed", "MethodNotAllowed",
                                "The specified method is not allowed against this resource."};
    case HTTP_PARSE_BAD_VERSION:
        return (struct refusal){505, "HTTP Version Not Supported", "HttpVersionNotSupported",
                                "The HTTP version specified is not supported."};
    case HTTP_PARSE_BAD_ENCODING:
        return (struct refusal){501, "Not Implemented", "NotImplemented",
                                "A header you provided implies functionality that is not "
                                "implemented"};
    case HTTP_PARSE_BAD_EXPECT:
        return (struct refusal){417, "Expectation Failed", "ExpectationFailed",
                                "The server cannot meet the expectation of the request."};
    case HTTP_PARSE_NO_MEMORY:
        return (struct refusal){503, "Service Unavailable", "SlowDown",
                                "Please reduce your request rate."};
    default:
        return (struct refusal){400, "Bad Request", "BadRequest",
                                "An error occurred when parsing the HTTP request."};
    }
}

static void begin_linger(struct http_conn *c)
{
    c->state = HTTP_CONN_LINGER;
    c->linger_since_ms = c->now_ms;
    c->linger_wait = true;
    payload_unref(&c->input);
}

/* Nobody waits for an answer. */
static void close_quietly(struct http_conn *c)
{
    begin_linger(c);
    c->linger_wait = false;
    http_conn_run(c);
}

static void refuse(struct http_conn *c, const struct refusal *r)
{
    char body[512], head[256];
    int body_len = snprintf(body, sizeof(body),
                            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code>"
                            "<Message>%s</Message></Error>",
                            r->code, r->message);
    int head_len = snprintf(head, sizeof(head),
                            "HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\n"
                            "Content-Length: %d\r\nConnection: close\r\n\r\n",
                            r->status, r->reason, body_len);
    CHECK(body_len > 0 && body_len < (int)sizeof(body) && head_len > 0 &&
          head_len < (int)sizeof(head));
    c->env->stats->rejected++;
    c->output_ms = c->now_ms;
    if (http_out_copy(&c->out, SLICE(head, (size_t)head_len)) != OK ||
        http_out_copy(&c->out, SLICE(body, (size_t)body_len)) != OK) {
        close_now(c, true);
        return;
    }
    begin_linger(c);
}

/* ---- a request begins ---- */

static void reset_request(struct http_conn *c, const struct http_head *h)
{
    c->live = true;
    c->first = false;
    c->close_after = !h->keep_alive;
    c->gone_told = false;
    c->is_head = h->method == HTTP_METHOD_HEAD;
    c->continue_sent = c->body_seen = false;
    c->body_started = c->body_paused = c->body_drain = false;
    c->body_ended = false;
    c->body_err = OK;
    c->body_dropped = 0;
    c->body_cb = NULL;
    c->resp_begun = c->resp_open = c->resp_bodyless = false;
    c->resp_chunked = c->resp_until_close = false;
    c->resp_left = 0;
    c->drain_wanted = false;
    c->drain_cb = NULL;
    http_body_init(&c->body, h->content_length);
    http_rate_start(&c->in_rate);
}

static void begin_request(struct http_conn *c, const struct http_head *h)
{
    reset_request(c, h);
    struct http_request *req = &c->req;
    req->method = h->method;
    req->method_name = slice_cstr(h->method_name);
    req->target = h->target;
    req->fields = h->fields;
    req->content_length = h->content_length;
    req->http_1_0 = h->minor == 0;
    req->expect_continue = h->expect_continue;
    req->started_ns = uv_hrtime();
    req->user = NULL;
    req->on_gone = NULL;
    c->input_ms = c->output_ms = c->now_ms;
    c->state = HTTP_CONN_REQUEST;
    c->env->stats->requests++;
    c->env->handler->on_request(c->env->arg, req);
}

/* Returns whether anything happened. */
static bool run_head(struct http_conn *c)
{
    if (c->draining && !http_parse_begun(&c->parse)) {
        begin_linger(c);
        return true;
    }
    if (c->input.bytes.len == 0) {
        if (c->eof) /* between requests, or in the middle of a head: no one waits for an answer */
            begin_linger(c);
        return c->eof;
    }
    if (c->out.bytes > c->env->limits->write_low_bytes)
        return false; /* a client that pipelines but does not read */
    if (!http_parse_begun(&c->parse))
        c->head_since_ms = c->now_ms;
    size_t used = 0;
    enum http_parse_status status = http_parse_step(&c->parse, c->input.bytes, &used);
    struct http_head head;
    if (status == HTTP_PARSE_DONE)
        status = http_parse_head(&c->parse, &c->arena, &head);
    if (status == HTTP_PARSE_DONE || status == HTTP_PARSE_MORE)
        consume(c, used);
    if (status == HTTP_PARSE_DONE) {
        begin_request(c, &head);
    } else if (status != HTTP_PARSE_MORE) {
        struct refusal r = refusal_of(status);
        refuse(c, &r);
    }
    return true;
}

/* ---- its body ---- */

void http_body_read_start(struct http_request *req, http_body_cb cb, void *arg)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live && !c->body_started);
    c->body_started = true;
    c->body_cb = cb;
    c->body_arg = arg;
    c->input_ms = c->now_ms;
    if (req->expect_continue && !c->resp_open && c->input.bytes.len == 0 && !c->body_seen &&
        !c->broken && !c->eof) {
        c->continue_sent = true;
        (void)http_out_copy(&c->out, SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    http_conn_kick(c);
}

void http_body_pause(struct http_request *req)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live);
    c->body_paused = true;
    http_conn_kick(c); /* the client is not waited for any more */
}

void http_body_resume(struct http_request *req)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live);
    if (!c->body_paused)
        return;
    c->body_paused = false;
    c->input_ms = c->now_ms;
    http_conn_kick(c);
}

static void end_body(struct http_conn *c, int err)
{
    struct payload none = {0};
    c->body_ended = true;
    c->body_err = err;
    if (err != OK)
        c->close_after = true;
    if (c->live && c->body_started)
        c->body_cb(&c->req, c->body_arg, none, err);
}

/* One piece of the body, to the handler or to nowhere.  Returns whether anything happened. */
static bool run_body(struct http_conn *c)
{
    bool to_handler = c->live && c->body_started && !c->body_paused;
    if (c->body_ended || !(to_handler || c->body_drain))
        return false;
    if (http_body_done(&c->body)) {
        end_body(c, OK);
        return true;
    }
    if (c->input.bytes.len == 0) {
        if (c->eof || c->broken)
            end_body(c, ERR_CONN_LOST);
        return c->eof || c->broken;
    }
    size_t used = 0;
    struct slice data;
    int err = http_body_step(&c->body, c->input.bytes, &used, &data);
    if (err != OK) {
        payload_unref(&c->input);
        end_body(c, err);
        return true;
    }
    c->body_seen = true;
    struct payload chunk = payload_ref((struct payload){c->input.owner, data});
    consume(c, used);
    if (data.len && to_handler) {
        c->body_cb(&c->req, c->body_arg, chunk, OK);
    } else {
        c->body_dropped += used;
        if (c->body_drain && c->body_dropped > c->env->limits->drain_bytes_max) {
            c->close_after = true;
            c->body_ended = true;
            c->body_err = ERR_TOO_LARGE;
        }
    }
    payload_unref(&chunk);
    return true;
}

/* ---- a request ends ---- */

/* The handler is through with it: everything of it is gone but the bytes yet to be sent. */
void http_conn_end(struct http_conn *c, bool abort)
{
    CHECK(c->live);
    c->live = false;
    c->req.user = NULL;
    c->drain_wanted = false;
    if (abort) {
        c->env->stats->aborted++;
        /* The transport is not touched inside the API while it may be what is calling us. */
        c->broken = true;
    } else {
        c->env->stats->responses++;
        c->body_drain = !c->body_ended;
    }
}

/* Between two requests. */
static bool run_end(struct http_conn *c)
{
    if (c->live)
        return false;
    if (c->close_after || c->eof) {
        bool more_may_come = !c->eof && !(c->body_ended && c->body_err == OK);
        begin_linger(c);
        c->linger_wait = more_may_come;
        return true;
    }
    if (!c->body_ended) {
        if (http_body_done(&c->body)) {
            c->body_ended = true;
            return true;
        }
        return false;
    }
    http_parse_reset(&c->parse);
    arena_reset(&c->arena);
    c->state = HTTP_CONN_HEAD;
    c->head_since_ms = c->input_ms = c->now_ms;
    return true;
}

static bool run_gone(struct http_conn *c)
{
    if (!c->broken || !c->live || c->gone_told)
        return false;
    c->gone_told = true;
    if (c->body_started && !c->body_ended)
        end_body(c, ERR_CONN_LOST);
    if (c->live && c->req.on_gone)
        c->req.on_gone(&c->req);
    return true;
}

static bool drain_due(const struct http_conn *c)
{
    return c->live && c->drain_wanted && c->drain_cb &&
           (c->broken || c->out.bytes < c->env->limits->write_low_bytes);
}

static bool run_drain(struct http_conn *c)
{
    if (!drain_due(c))
        return false;
    c->drain_wanted = false;
    c->drain_cb(&c->req, c->drain_arg);
    return true;
}

/* ---- the loop ---- */

static void run_linger(struct http_conn *c)
{
    payload_unref(&c->input);
    if (c->out.bytes > 0 || c->transport_busy)
        return;
    if (!c->linger_wait || c->eof) {
        close_now(c, false);
    } else if (!c->shutdown_sent) {
        c->shutdown_sent = true;
        c->linger_since_ms = c->now_ms;
        c->transport->shutdown(c);
    }
}

/* Input is wanted as long as there is none unread: between requests, for the body, and while the
 * handler works, so that neither the wish for more nor its end costs a system call. */
static void update_reading(struct http_conn *c)
{
    bool on = c->state != HTTP_CONN_CLOSED && !c->eof && !c->broken && c->input.bytes.len == 0;
    if (on == c->reading)
        return;
    c->reading = on;
    c->transport->reading(c, on);
}

static bool body_awaited(const struct http_conn *c)
{
    return c->state == HTTP_CONN_REQUEST && !c->body_ended && c->input.bytes.len == 0 &&
           (c->live ? c->body_started && !c->body_paused : c->body_drain);
}

static bool reader_awaited(const struct http_conn *c)
{
    return c->out.bytes > 0 || c->transport_busy;
}

static bool run_once(struct http_conn *c)
{
    switch (c->state) {
    case HTTP_CONN_HEAD: return run_head(c);
    case HTTP_CONN_REQUEST: return run_body(c) || run_gone(c) || run_drain(c) || run_end(c);
    case HTTP_CONN_CLOSED: /* the handler may not have ended its request yet */
        return run_body(c) || run_gone(c) || run_drain(c);
    default: return false;
    }
}

void http_conn_run(struct http_conn *c)
{
    c->kicked = false;
    if (c->running)
        return;
    c->running = true;
    do {
        while (run_once(c))
            if (c->broken && !c->live)
                break;
        if (c->broken && c->state != HTTP_CONN_CLOSED)
            close_now(c, true);
        if (c->state != HTTP_CONN_CLOSED && c->out.bytes > 0)
            c->transport->flush(c);
        /* What flushing changed: lost, or room for more. */
    } while ((c->broken && c->live && !c->gone_told) ||
             (c->broken && c->state != HTTP_CONN_CLOSED) || drain_due(c) ||
             (c->state == HTTP_CONN_HEAD && c->input.bytes.len > 0 &&
              c->out.bytes <= c->env->limits->write_low_bytes));
    if (c->state == HTTP_CONN_LINGER)
        run_linger(c);
    if (c->state != HTTP_CONN_CLOSED)
        update_reading(c);
    http_rate_wait(&c->in_rate, body_awaited(c), c->now_ms);
    http_rate_wait(&c->out_rate, reader_awaited(c), c->now_ms);
    c->running = false;
}

/* ---- events ---- */

void http_conn_input(struct http_conn *c, struct payload bytes, uint64_t now_ms)
{
    c->now_ms = c->input_ms = now_ms;
    if (c->state == HTTP_CONN_LINGER || c->state == HTTP_CONN_CLOSED)
        return; /* dropped */
    CHECK(c->input.bytes.len == 0);
    c->in_rate.bytes += bytes.bytes.len;
    c->input = payload_ref(bytes);
    http_conn_run(c);
}

void http_conn_eof(struct http_conn *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    c->eof = true;
    c->reading = false;
    http_conn_run(c);
}

void http_conn_lost(struct http_conn *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    c->broken = true;
    c->reading = false;
    http_conn_run(c);
}

void http_conn_sent(struct http_conn *c, uint64_t now_ms)
{
    c->now_ms = c->output_ms = now_ms;
    http_conn_run(c);
}

void http_conn_drain(struct http_conn *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    c->draining = true;
    if (c->state == HTTP_CONN_REQUEST)
        c->close_after = true;
    http_conn_run(c);
}

bool http_conn_waits(const struct http_conn *c)
{
    return c->state == HTTP_CONN_HEAD && !reader_awaited(c) && c->input.bytes.len == 0;
}

void http_conn_evict(struct http_conn *c, uint64_t now_ms)
{
    CHECK(http_conn_waits(c));
    c->now_ms = now_ms;
    c->env->stats->evicted++;
    close_quietly(c);
}

void http_conn_excuse(struct http_conn *c, uint64_t now_ms)
{
    c->now_ms = c->head_since_ms = c->input_ms = c->output_ms = now_ms;
    c->in_rate.since_ms = c->out_rate.since_ms = now_ms;
}

static bool past(uint64_t now_ms, uint64_t since_ms, unsigned limit_ms)
{
    return now_ms - since_ms >= limit_ms;
}

/* The client is too slow with its head: an answer, if it has begun one. */
static void tick_head(struct http_conn *c)
{
    static const struct refusal slow = {400, "Bad Request", "RequestTimeout",
                                        "Your socket connection to the server was not read from or "
                                        "written to within the timeout period."};
    const struct http_limits *l = c->env->limits;
    bool begun = http_parse_begun(&c->parse);
    if (c->input.bytes.len) /* waits for the client to take earlier responses */
        return;
    if (begun && past(c->now_ms, c->head_since_ms, l->head_timeout_ms)) {
        c->env->stats->timeouts++;
        refuse(c, &slow);
        http_conn_run(c);
    } else if (!begun && past(c->now_ms, c->head_since_ms,
                              c->first ? l->head_timeout_ms : l->idle_timeout_ms)) {
        c->env->stats->timeouts += c->first;
        close_quietly(c);
    } else if (!begun && past(c->now_ms, c->head_since_ms, IDLE_RELEASE_MS)) {
        http_parse_release(&c->parse);
        arena_fini(&c->arena);
        buf_fini(&c->resp_head);
        http_out_release(&c->out);
    }
}

static void tick_request(struct http_conn *c)
{
    const struct http_limits *l = c->env->limits;
    if (!body_awaited(c) || (!http_rate_too_slow(&c->in_rate, l->rate_grace_ms, l->rate_window_ms,
                                                 l->body_rate_min, c->now_ms) &&
                             !past(c->now_ms, c->input_ms, l->body_timeout_ms)))
        return;
    c->env->stats->timeouts++;
    c->running = true; /* what the handler does in its callback is picked up by the run below */
    end_body(c, ERR_TIMEOUT);
    c->running = false;
    http_conn_run(c);
}

/* The client takes nothing of what is to be sent, or too little. */
static bool reader_too_slow(struct http_conn *c)
{
    const struct http_limits *l = c->env->limits;
    if (!reader_awaited(c))
        return false;
    uint64_t taken = c->transport->taken(c);
    if (taken > c->taken) {
        c->out_rate.bytes += taken - c->taken;
        c->taken = taken;
        c->output_ms = c->now_ms;
    }
    return http_rate_too_slow(&c->out_rate, l->rate_grace_ms, l->rate_window_ms,
                              l->response_rate_min, c->now_ms) ||
           past(c->now_ms, c->output_ms, l->write_timeout_ms);
}

void http_conn_tick(struct http_conn *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->state == HTTP_CONN_CLOSED)
        return;
    if (reader_too_slow(c)) {
        c->env->stats->timeouts++;
        http_conn_lost(c, now_ms);
    } else if (c->state == HTTP_CONN_HEAD) {
        tick_head(c);
    } else if (c->state == HTTP_CONN_REQUEST) {
        tick_request(c);
    } else if (c->state == HTTP_CONN_LINGER && c->shutdown_sent &&
               past(now_ms, c->linger_since_ms, LINGER_MS)) {
        close_now(c, false);
    }
}
