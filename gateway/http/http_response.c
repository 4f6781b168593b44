/* The response side of a request. */
#include "gateway/http/http_conn.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdio.h>

static const char *reason_of(int status)
{
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "Unknown";
    }
}

void http_response_begin(struct http_request *req, int status)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live && !c->resp_open && status >= 200 && status <= 599);
    c->resp_begun = true;
    c->resp_status = status;
    buf_clear(&c->resp_head);
    buf_cstr(&c->resp_head, "HTTP/1.1 ");
    const char digits[4] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                            (char)('0' + status % 10), ' '};
    buf_append(&c->resp_head, digits, sizeof(digits));
    buf_cstr(&c->resp_head, reason_of(status));
    buf_append(&c->resp_head, "\r\n", 2);
}

bool http_response_begun(const struct http_request *req)
{
    return ((const struct http_conn *)(const void *)req)->resp_begun;
}

static bool name_valid(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || s.ptr[i] == ':')
            return false;
    return s.len > 0;
}

int http_response_field(struct http_request *req, struct slice name, struct slice value)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live && c->resp_begun && !c->resp_open);
    if (!name_valid(name) || !http_value_valid(value))
        return ERR_INVAL;
    if (buf_reserve(&c->resp_head, name.len + value.len + 4) != OK)
        return ERR_NOMEM;
    buf_slice(&c->resp_head, name);
    buf_append(&c->resp_head, ": ", 2);
    buf_slice(&c->resp_head, value);
    buf_append(&c->resp_head, "\r\n", 2);
    return OK;
}

int http_response_field_cstr(struct http_request *req, const char *name, const char *value)
{
    return http_response_field(req, slice_cstr(name), slice_cstr(value));
}

int http_response_field_u64(struct http_request *req, const char *name, uint64_t value)
{
    char text[U64_CHARS_MAX];
    return http_response_field(req, slice_cstr(name), u64_text(value, text));
}

/* Can the connection serve another request?  Not if the client waits for a 100 Continue that never
 * came: it may or may not send the body then.  Nor if what it still sends is too much to read for
 * nothing. */
static bool must_close(const struct http_conn *c)
{
    if (c->close_after || c->draining || c->eof || c->resp_until_close)
        return true;
    if (c->body_ended || http_body_done(&c->body))
        return false;
    if (c->req.expect_continue && !c->continue_sent && !c->body_seen && c->input.bytes.len == 0)
        return true;
    return !c->body.chunked && http_body_left(&c->body) > c->env->limits->drain_bytes_max;
}

void http_response_body(struct http_request *req, int64_t length)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live && c->resp_begun && !c->resp_open && length >= HTTP_BODY_CHUNKED);
    bool no_body = c->resp_status == 204 || c->resp_status == 304;
    c->resp_open = true;
    c->resp_bodyless = no_body || c->is_head;
    c->resp_chunked = length == HTTP_BODY_CHUNKED && !req->http_1_0;
    c->resp_until_close = length == HTTP_BODY_CHUNKED && req->http_1_0 && !c->resp_bodyless;
    c->resp_left = length;
    if (!no_body && length >= 0) {
        char text[U64_CHARS_MAX];
        buf_cstr(&c->resp_head, "Content-Length: ");
        buf_slice(&c->resp_head, u64_text((uint64_t)length, text));
        buf_append(&c->resp_head, "\r\n", 2);
    } else if (!no_body && c->resp_chunked) {
        buf_cstr(&c->resp_head, "Transfer-Encoding: chunked\r\n");
    }
    if (must_close(c)) {
        c->close_after = true;
        buf_cstr(&c->resp_head, "Connection: close\r\n");
    } else if (req->http_1_0) {
        buf_cstr(&c->resp_head, "Connection: keep-alive\r\n");
    }
    buf_append(&c->resp_head, "\r\n", 2);
    if (c->out.bytes == 0) {
        c->output_ms = c->now_ms;
        http_rate_start(&c->out_rate);
    }
    if (!c->broken &&
        (c->resp_head.failed || http_out_copy(&c->out, buf_view(&c->resp_head)) != OK))
        c->broken = true; /* no memory for the head: nothing may follow */
    c->resp_head.failed = false;
    http_conn_kick(c);
}

static int queue(struct http_conn *c, struct payload p)
{
    return p.owner ? http_out_ref(&c->out, p) : http_out_copy(&c->out, p.bytes);
}

int http_response_write(struct http_request *req, struct payload p)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live && c->resp_open);
    if (p.bytes.len == 0)
        return OK;
    if (c->resp_left >= 0 && !c->resp_bodyless) {
        CHECK((uint64_t)c->resp_left >= p.bytes.len);
        c->resp_left -= (int64_t)p.bytes.len;
    }
    if (c->broken)
        return ERR_CONN_LOST;
    if (c->resp_bodyless)
        return OK;
    if (c->out.bytes == 0)
        c->output_ms = c->now_ms;
    int err = OK;
    if (c->resp_chunked) {
        char size[24];
        int n = snprintf(size, sizeof(size), "%zx\r\n", p.bytes.len);
        err = http_out_copy(&c->out, SLICE(size, (size_t)n));
    }
    if (err == OK)
        err = queue(c, p);
    if (err == OK && c->resp_chunked)
        err = http_out_copy(&c->out, SLICE_LIT("\r\n"));
    if (err != OK) {
        c->broken = true; /* a piece is missing: the client must not see more */
        http_conn_kick(c);
        return ERR_NOMEM;
    }
    http_conn_kick(c);
    if (c->out.bytes <= c->env->limits->write_high_bytes)
        return OK;
    c->drain_wanted = true;
    return ERR_LIMIT;
}

size_t http_response_queued(const struct http_request *req)
{
    return ((const struct http_conn *)(const void *)req)->out.bytes;
}

void http_response_on_drain(struct http_request *req, void (*cb)(struct http_request *, void *),
                            void *arg)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live);
    c->drain_cb = cb;
    c->drain_arg = arg;
    if (c->drain_wanted)
        http_conn_kick(c);
}

/* Outside of the connection's own run the answer is sent at once: the rest can wait for the kick.
 */
static void send_now(struct http_conn *c)
{
    if (!c->running && !c->broken && c->out.bytes > 0)
        c->transport->flush(c);
}

void http_response_finish(struct http_request *req)
{
    struct http_conn *c = http_conn_of(req);
    CHECK(c->live && c->resp_open);
    bool whole = c->resp_bodyless || c->resp_left <= 0;
    if (!whole) {
        http_response_abort(req);
        return;
    }
    if (!c->broken && c->resp_chunked && !c->resp_bodyless &&
        http_out_copy(&c->out, SLICE_LIT("0\r\n\r\n")) != OK)
        c->broken = true;
    http_conn_end(c, false);
    send_now(c);
    http_conn_kick(c);
}

void http_response_abort(struct http_request *req)
{
    struct http_conn *c = http_conn_of(req);
    http_conn_end(c, true);
    http_conn_kick(c);
}

void http_response_simple(struct http_request *req, int status, const char *content_type,
                          struct slice body)
{
    if (!http_response_begun(req))
        http_response_begin(req, status);
    if (body.len)
        (void)http_response_field_cstr(req, "Content-Type", content_type);
    http_response_body(req, (int64_t)body.len);
    (void)http_response_write(req, (struct payload){.bytes = body});
    http_response_finish(req);
}
