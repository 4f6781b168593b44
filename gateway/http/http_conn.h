#pragma once
/* One connection: from bytes to requests and back, without sockets.  http_server.c and http_tls.c
 * move the bytes; the fuzz target and tests stand in for them.
 *
 *   HEAD → REQUEST → HEAD ...            the next request is parsed when the one before has ended
 *   HEAD, REQUEST → LINGER → CLOSED      the answer is out, what the client still sends is dropped
 *   any → CLOSED
 *
 * All callbacks to the handler come out of http_conn_run(), which is never called inside the API.
 */
#include "gateway/http/http_body.h"
#include "gateway/http/http_out.h"
#include "gateway/http/http_parse.h"
#include "gateway/http/http_rate.h"

enum http_conn_state { HTTP_CONN_HEAD, HTTP_CONN_REQUEST, HTTP_CONN_LINGER, HTTP_CONN_CLOSED };

struct http_conn;

/* What moves the bytes.  None of these calls back into the connection: flush sets `broken` when the
 * connection turns out to be lost, and sets `transport_busy` while bytes that it took are not yet
 * sent (http_conn_sent() follows). */
struct http_transport {
    void (*flush)(struct http_conn *);            /* send from conn->out what can be sent now */
    void (*reading)(struct http_conn *, bool on); /* deliver input, or stop to */
    void (*shutdown)(struct http_conn *);         /* no more to send: tell the peer */
    void (*close)(struct http_conn *,
                  bool reset);        /* tear down; reset: the peer must see an error */
    void (*kick)(struct http_conn *); /* call http_conn_run() soon, not now */
    /* How many bytes the peer has taken so far: not those that lie in buffers on this side. */
    uint64_t (*taken)(struct http_conn *);
};

struct http_conn_env {
    const struct http_limits *limits;
    const struct http_handler *handler;
    void *arg;
    struct http_stats *stats;
};

struct http_conn {
    struct http_request req; /* first: the API's pointer is the connection's */
    const struct http_transport *transport;
    const struct http_conn_env *env;
    enum http_conn_state state;
    bool running, kicked;
    bool reading; /* as the transport was last told */
    bool transport_busy;
    bool linger_wait; /* the client may still be sending: let it see the answer before a reset */
    bool shutdown_sent;
    bool eof, broken; /* the peer sends no more; the connection is lost */
    bool draining;    /* of the server: no further request on this connection */
    uint64_t now_ms;  /* of the last event */
    uint64_t head_since_ms, input_ms, output_ms, linger_since_ms;
    struct http_rate in_rate, out_rate; /* of the body that comes, of the response */
    uint64_t taken;                     /* as the transport last said */

    struct payload input; /* received, not yet taken */
    struct http_parse parse;
    struct arena arena;
    struct http_body body;

    bool live;        /* the handler has the request */
    bool first;       /* no request has been read yet */
    bool close_after; /* no further request after this one */
    bool gone_told;
    bool is_head;
    bool continue_sent, body_seen; /* 100 Continue went out; a byte of the body came */
    bool body_started, body_paused, body_ended, body_drain;
    int body_err;
    uint64_t body_dropped;
    http_body_cb body_cb;
    void *body_arg;

    bool resp_begun, resp_open, resp_bodyless, resp_chunked, resp_until_close;
    int resp_status;
    int64_t resp_left;
    struct buf resp_head;
    struct http_out out;
    bool drain_wanted;
    void (*drain_cb)(struct http_request *, void *);
    void *drain_arg;

    char peer[64];
};

/* limits and env are borrowed for the connection's life. */
void http_conn_init(struct http_conn *c, const struct http_conn_env *env,
                    const struct http_transport *transport, uint64_t now_ms);
/* Once CLOSED, not live, and the transport is done with it. */
void http_conn_fini(struct http_conn *c);
bool http_conn_may_free(const struct http_conn *c);

/* Events from the transport; each runs the connection. */
void http_conn_input(struct http_conn *c, struct payload bytes, uint64_t now_ms);
void http_conn_eof(struct http_conn *c, uint64_t now_ms);
void http_conn_lost(struct http_conn *c, uint64_t now_ms);
void http_conn_sent(struct http_conn *c, uint64_t now_ms);  /* conn->out has shrunk */
void http_conn_tick(struct http_conn *c, uint64_t now_ms);  /* timeouts */
void http_conn_drain(struct http_conn *c, uint64_t now_ms); /* close when the request has ended */
/* Nothing of a request has come, or only a part of its head, and nothing is left to be sent. */
bool http_conn_waits(const struct http_conn *c);
/* Close it while it waits, because its place is needed. */
void http_conn_evict(struct http_conn *c, uint64_t now_ms);
/* This process stood still for a while: no client is to blame for what did not happen in it. */
void http_conn_excuse(struct http_conn *c, uint64_t now_ms);
void http_conn_run(struct http_conn *c);

/* How much the transport should read at once: a large buffer while a large body comes. */
size_t http_conn_read_hint(const struct http_conn *c);

/* Internal to http_conn*.c */
static inline struct http_conn *http_conn_of(struct http_request *req)
{
    return (struct http_conn *)(void *)req;
}
void http_conn_kick(struct http_conn *c);
void http_conn_end(struct http_conn *c, bool abort);
