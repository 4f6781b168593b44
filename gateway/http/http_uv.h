#pragma once
/* What http_server.c and http_tls.c share: a connection on a libuv socket.  Internal. */
#include "common/base/list.h"
#include "gateway/http/http_conn.h"

struct http_tls;

struct http_uv_conn {
    struct http_conn c; /* first */
    struct http_server *server;
    struct list node, kick_node, wait_node;
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t shutdown;
    uint64_t handed;            /* bytes given to libuv, sent or queued */
    size_t write_bytes;         /* plain text: of conn->out, under way */
    struct rcbuf *write_cipher; /* TLS: under way */
    bool uv_closed;
    bool read_on, read_armed; /* wanted; still asked of libuv, which is told late */
    struct rcbuf *large; /* read buffer of its own, for a large body */
    size_t large_used;
    struct http_tls *tls;
    bool pump; /* TLS: there may be more to decrypt */
};

static inline struct http_uv_conn *http_uv_of(struct http_conn *c)
{
    return (struct http_uv_conn *)(void *)c;
}

/* A place to put received bytes: at least 16 KiB.  Then what came of it. */
struct slice http_uv_read_space(struct http_uv_conn *uc, struct rcbuf **ret_owner);
void http_uv_read_used(struct http_uv_conn *uc, struct rcbuf *owner, size_t bytes);
struct http_stats *http_uv_stats(struct http_uv_conn *uc);
uint64_t http_uv_now(struct http_uv_conn *uc);
void http_uv_kick(struct http_uv_conn *uc);
/* Send these bytes, which stay valid; what the socket does not take at once is copied and sent
 * later (transport_busy).  Returns: 0; ERR_CONN_LOST; ERR_NOMEM. */
int http_uv_send_copy(struct http_uv_conn *uc, struct slice bytes);

int http_tls_conn_new(struct http_uv_conn *uc, struct ssl_ctx_st *ctx);
void http_tls_conn_free(struct http_uv_conn *uc);
void http_tls_input(struct http_uv_conn *uc, struct slice cipher); /* then pumps */
void http_tls_pump(struct http_uv_conn *uc);
void http_tls_flush(struct http_uv_conn *uc);
void http_tls_shutdown(struct http_uv_conn *uc);
