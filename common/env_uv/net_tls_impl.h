#pragma once
/* What the files of net_tls share.  net_tls_ctx.c: credentials and identities.  net_tls.c: the net,
 * listeners, the life of a connection.  net_tls_io.c: bytes, records and frames of one connection.
 */
#include "common/env_uv/net_tls.h"
#include "common/rpc/frame.h"

#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>

/* One turn's reading of one connection, so that a stream of large frames leaves the others their
 * share of the loop. */
#define READ_TURN_BYTES (1u << 20)
/* Plaintext of a record, and what TLS 1.3 adds to it at most when it is written: header, type, tag.
 */
#define RECORD_BYTES 16384u
#define RECORD_OVERHEAD_BYTES 64u
#define RECORD_ADDED_BYTES 22u
/* Ciphertext per write().  More would be copied through a slower cache. */
#define WRITE_BATCH_BYTES (112u << 10)
/* Batches of each connection a turn.  All write their first, then all their second: those that send
 * copies of one payload find it in a near cache, and nobody waits behind a long one. */
#define WRITE_ROUNDS 18u
/* OpenSSL's read-ahead buffer, which is given back when it is empty.  It takes whole records of a
 * long payload: of one that is cut off, the rest would be read by a call of its own.  OpenSSL lays
 * the first record at a multiple of 8 behind its header of 5, hence the 3. */
#define READ_BUFFER_BYTES (4u * (RECORD_BYTES + RECORD_ADDED_BYTES) + 3u)
/* Payload slices up to this size are copied beside the message: one record instead of two. */
#define COPY_BYTES_MAX 4096u
#define CHUNK_BYTES 16384u
/* Received payloads at least this large begin at a page: a disk may then take them without a copy.
 */
#define ALIGNED_PAYLOAD_BYTES_MIN (64u << 10)
#define PAYLOAD_ALIGN 4096u
#define SUMMED_PAYLOAD_BYTES_MIN (64u << 10)
/* on_drain comes after a queue that was longer than the first has become shorter than the second,
 * and again when it is empty. */
#define DRAIN_HIGH_BYTES (32u << 10)
#define DRAIN_LOW_BYTES (256u << 10)
#define HEALTH_INTERVAL_NS NS_PER_SEC
#define DEAD_AFTER_MS 2500u
#define OUTGOING_TIMEOUT_NS (10 * NS_PER_SEC)
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)
#define PEER_TEXT_BYTES 80

struct net_tls_ctx {
    _Atomic uint32_t refs;
    SSL_CTX *ssl;
    struct net_identity identity;
};

struct tls_net {
    struct net net;
    struct env_uv *env;
    uv_loop_t *loop;
    struct net_tls_ctx *ctx;
    struct net_tls_options options;
    uv_prepare_t prepare; /* these two write what was sent in this turn */
    uv_check_t check;
    uv_idle_t idle; /* keeps turning while `ready` has connections */
    struct list conns, listeners;
    struct list handshaking; /* incoming connections that are not authenticated, oldest first */
    struct list dirty;       /* connections with something to write */
    struct list ready;       /* connections with more to read that the socket will not announce */
    struct env_timer health;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    unsigned handles;   /* uv handles not yet closed */
    unsigned resolving; /* name look-ups under way */
    struct out_chunk *spare;
    struct net_conn *scratch_conn; /* whose records go to `scratch` now */
    size_t scratch_len;
    struct net_tls_stats stats;
    uint8_t scratch[WRITE_BATCH_BYTES + 4 * (RECORD_BYTES + RECORD_OVERHEAD_BYTES)];
};

struct net_listener {
    struct tls_net *net;
    struct list node;
    uv_poll_t poll;
    struct env_timer timer; /* resumes after a want of descriptors */
    int fd;
    int port;
    int (*accept)(void *arg, struct net_conn *, const struct net_identity *,
                  const struct net_conn_handler **ret_handler, void **ret_arg);
    void *arg;
};

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSED };

/* A descriptor being polled; it outlives its connection by the turn that uv_close() takes. */
struct conn_poll {
    uv_poll_t poll;
    struct tls_net *net;
    struct net_conn *conn;
};

struct conn_resolve {
    uv_getaddrinfo_t req;
    struct tls_net *net;
    struct net_conn *conn; /* NULL: it has gone */
};

/* Plaintext to send: bytes of its own, or a reference to a payload. */
struct out_chunk {
    struct list node;
    struct payload ref;
    size_t len, sent, cap;
    uint8_t bytes[];
};

struct net_conn {
    struct tls_net *net;
    struct list node, dirty_node, ready_node, handshake_node;
    enum conn_state state;
    bool outgoing, reading_off, want_write, drained, was_high, ending;
    int err;
    int fd;
    int events;
    struct conn_poll *poll;
    struct conn_resolve *resolve;
    struct addrinfo *addrs, *addr_next;
    SSL *ssl;
    struct net_listener *listener; /* incoming, until it is open */
    const struct net_conn_handler *handler;
    void *arg;
    struct net_identity peer;
    char expect_node_id[NET_NODE_ID_MAX];
    char addr[PEER_TEXT_BYTES];
    struct env_timer timer; /* handshake; then the last callback */

    /* in: the header, then the body, which lies in its buffer from body_at to body_end */
    uint8_t head[FRAME_HEADER_BYTES];
    size_t head_len;
    struct frame_header header;
    struct rcbuf *body;
    size_t body_at, body_len, body_end;    /* body_len: up to where it has come */
    uint32_t block_crcs[FRAME_BLOCKS_MAX]; /* of the payload so far, if it is large */

    /* out: plaintext chunks, then ciphertext that the socket did not take */
    struct list chunks;
    size_t chunk_bytes;
    struct buf out;
    size_t out_at;
};

/* net_tls_ctx.c */
BIO_METHOD *net_tls_bio_method(void);
SSL *net_tls_ssl_new(struct net_tls_ctx *ctx, struct net_conn *c);
/* Returns: OK; ERR_AUTH.  `ret_text` says what is wrong: a literal. */
int net_tls_cert_identity(X509 *cert, struct net_identity *ret, const char **ret_text);

/* net_tls_io.c */
int conn_send(struct net_conn *c, const struct frame *f);
void conn_read(struct net_conn *c);
/* Writes a batch.  again: what is left is written in the next round, else when the poll says so. */
void conn_flush(struct net_conn *c, bool again);
void conn_handshake(struct net_conn *c);
void conn_free_buffers(struct net_conn *c);
bool conn_write_out(struct net_conn *c);
/* Best effort before the descriptor is closed: what is queued, close_notify or an alert.  No
 * callbacks; failures change nothing: the connection is ending already. */
void conn_say_goodbye(struct net_conn *c);
int conn_bio_read(struct net_conn *c, char *ret, size_t len, size_t *ret_len, bool *ret_again);
int conn_bio_write(struct net_conn *c, const char *bytes, size_t len);

/* net_tls.c */
void conn_opened(struct net_conn *c);
void conn_events_update(struct net_conn *c);
void conn_mark_ready(struct net_conn *c);
void conn_mark_dirty(struct net_conn *c);
/* Ends a connection; on_closed comes on a later turn. */
void conn_shut(struct net_conn *c, int err);
/* The same, and tells the operator. */
void conn_fail(struct net_conn *c, int err, const char *text);
