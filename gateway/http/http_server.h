#pragma once
/* An HTTP/1.1 server on one libuv loop.  Several servers (one a loop and thread) share a port.
 *
 * Everything here is called on the server's loop.  Life of a request, as the handler sees it:
 *   on_request        headers are complete; the request is the handler's until it ends it
 *   http_body_*       the body, as slices of the read buffers, at the handler's pace
 *   http_response_*   status and fields, then the body, at the client's pace
 *   finish or abort   exactly one of them, always, even when the client has gone: it ends the
 *                     request, no callback comes after it, and its memory (arena included) is gone.
 * Callbacks are never called inside a call to this interface.  When the client goes away, on_gone
 * is called once (body reads fail, writes are swallowed with ERR_CONN_LOST) and the handler still
 * ends the request.  The next request of a connection is parsed only after the one before it ended.
 */
#include "common/base/arena.h"
#include "gateway/http/field.h"

#include <uv.h>

struct http_server;
struct http_request;
struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

#define HTTP_BODY_CHUNKED (-1)

struct http_limits {
    unsigned connections_max; /* then the longest without a request goes, or 503; default 4096 */
    size_t head_bytes_max;    /* request line and fields; default 32 KiB */
    unsigned fields_max;      /* default 200 */
    size_t arena_bytes_max;   /* a request's arena; default 8 MiB */
    size_t read_bytes;        /* size of a body read buffer; default 256 KiB */
    size_t drain_bytes_max;  /* unread body that is read and dropped rather than closing; 256 KiB */
    size_t write_high_bytes; /* http_response_write() asks to wait above this; default 1 MiB */
    size_t write_low_bytes;  /* on_drain comes below this; default 256 KiB */
    unsigned head_timeout_ms;  /* first byte (or accept) to the end of the fields; default 10 s */
    unsigned body_timeout_ms;  /* no body byte while the handler wants some; default 60 s */
    unsigned idle_timeout_ms;  /* between requests; default 75 s */
    unsigned write_timeout_ms; /* the client takes no byte of the response; default 60 s */
    /* The least that a client must send of a body while the handler wants it, and take of a
     * response while there is some: bytes a second, over each window of such waiting after a grace
     * period of it.  0: any.  Default 1 KiB/s, 20 s, 30 s. */
    uint64_t body_rate_min, response_rate_min;
    unsigned rate_grace_ms, rate_window_ms;
};

/* All defaults. */
void http_limits_init(struct http_limits *l);

struct http_handler {
    /* Required.  req is the handler's until http_response_finish() or _abort(). */
    void (*on_request)(void *arg, struct http_request *req);
};

struct http_server_config {
    const char *host;       /* numeric address, IPv4 or IPv6 */
    uint16_t port;          /* 0: any */
    bool reuse_port;        /* several servers listen on the same port */
    struct ssl_ctx_st *tls; /* NULL: plain text.  Borrowed until the server has closed. */
    struct http_limits limits;
    const struct http_handler *handler;
    void *arg;
};

/* A server's SSL_CTX from PEM files: TLS 1.2 and later, ALPN http/1.1, no renegotiation.
 * Returns: 0; ERR_CONFIG (files); ERR_NOMEM.  Owns: the caller, until http_tls_context_free(). */
int http_tls_context_new(const char *certificate_path, const char *key_path,
                         struct ssl_ctx_st **ret);
void http_tls_context_free(struct ssl_ctx_st *ctx);

/* Returns: 0; ERR_NOMEM; ERR_INVAL (address); ERR_IO (cannot listen).
 * Owns: *ret until its on_closed. */
int http_server_new(uv_loop_t *loop, const struct http_server_config *config,
                    struct http_server **ret);
uint16_t http_server_port(const struct http_server *s);

/* Stops to accept, closes idle connections, lets requests under way end for grace_ms, then cuts
 * them (on_gone; the handlers still must end their requests).  on_closed: all is gone, s too. */
void http_server_close(struct http_server *s, unsigned grace_ms, void (*on_closed)(void *arg),
                       void *arg);

struct http_stats {
    uint64_t accepted, refused, evicted, requests, responses, aborted, rejected, timeouts;
    uint64_t bytes_in, bytes_out;
    uint64_t reads, writes; /* system calls (with data) */
    unsigned connections;
};
const struct http_stats *http_server_stats(const struct http_server *s);

/* ---- the request ---- */

enum http_verb {
    HTTP_METHOD_OTHER,
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_PUT,
    HTTP_METHOD_POST,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS
};

/* Embedded at the start of the server's own request; read-only for the handler except `user`.
 * Slices are valid until the request ends. */
struct http_request {
    enum http_verb method;
    struct slice method_name;
    struct slice target; /* exactly as sent: path and query, still encoded */
    struct http_fields fields;
    int64_t content_length; /* HTTP_BODY_CHUNKED, 0 (no body), or the number */
    bool http_1_0;
    bool expect_continue;
    bool tls;
    int tls_version; /* as on the wire: 0x0303 (1.2), 0x0304 (1.3); 0: none */
    struct arena *arena; /* for whatever lives as long as the request */
    const char *peer;    /* numeric address of the client */
    uint64_t started_ns; /* uv_hrtime() when the fields were complete */
    void *user;          /* the handler's */
    void (*on_gone)(
        struct http_request *req); /* the handler's, may be NULL: the client went away */
};

/* ---- its body ---- */

/* chunk has bytes: body data; take payload_ref() of it (or of a part) to keep it.
 * chunk empty, err 0: the end.  err: the body will not be complete: ERR_CONN_LOST, ERR_PROTO (bad
 * chunked framing), ERR_TIMEOUT (nothing came for too long, or too little).  After the end or an
 * error it is not called again. */
typedef void (*http_body_cb)(struct http_request *req, void *arg, struct payload chunk, int err);

/* Begin to deliver the body (once a request).  Sends `100 Continue` first if the client waits for
 * it.  Works for a request without a body too: the end is delivered. */
void http_body_read_start(struct http_request *req, http_body_cb cb, void *arg);
/* While paused no callback comes but for the loss of the client, which is told once; and (but for what is in the read buffer) nothing is read. */
void http_body_pause(struct http_request *req);
void http_body_resume(struct http_request *req);

/* ---- its response ---- */

/* Begin; then fields, then _body().  Content-Length, Transfer-Encoding and Connection are set by
 * the server, everything else (Date, Server, ...) by the handler. */
void http_response_begin(struct http_request *req, int status);
/* Returns: 0; ERR_INVAL (a byte that may not stand in a field: nothing added); ERR_NOMEM. */
int http_response_field(struct http_request *req, struct slice name, struct slice value);
int http_response_field_cstr(struct http_request *req, const char *name, const char *value);
int http_response_field_u64(struct http_request *req, const char *name, uint64_t value);
bool http_response_begun(const struct http_request *req);

/* The fields are complete; length bytes follow, or HTTP_BODY_CHUNKED.  For HEAD give the length
 * that GET would have: nothing that is written is sent.  For 204 and 304 the length is ignored.
 * Nothing goes out before the end of this turn of the loop or finish, so that it is one write. */
void http_response_body(struct http_request *req, int64_t length);

/* Queue a piece of the body: the server takes its own reference; bytes without an owner are copied.
 * Returns: 0; ERR_LIMIT (queued, but stop until on_drain); ERR_CONN_LOST (dropped); ERR_NOMEM
 * (dropped; abort).  More than the stated length is a CHECK: the handler's own fault. */
int http_response_write(struct http_request *req, struct payload p);
size_t http_response_queued(const struct http_request *req);
/* Called once after an ERR_LIMIT, when the queue has fallen below write_low_bytes, or when the
 * client is gone. */
void http_response_on_drain(struct http_request *req, void (*cb)(struct http_request *, void *arg),
                            void *arg);

/* End the request.  The body written must be complete for a fixed length, else it is an abort. */
void http_response_finish(struct http_request *req);
/* End the request and cut the connection, so that the client sees a short body, never a whole one.
 * Before _body() nothing has been sent at all. */
void http_response_abort(struct http_request *req);

/* begin + content type + body + finish; further fields may have been added after an own begin. */
void http_response_simple(struct http_request *req, int status, const char *content_type,
                          struct slice body);
