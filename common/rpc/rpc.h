#pragma once
/* Calls, casts, deadlines, cancellation and windows over framed connections (common/env/net.h).
 *
 * One `struct rpc` per event loop; it is client and server at once.  Messages are protobuf-c; a raw
 * payload travels beside them and is never copied through protobuf.  Deadlines travel as the time
 * left.  A call ends exactly once, by its callback, later, on the same loop, never inside start.
 * How a failure is classed: before the request was handed to a connection ERR_UNREACHABLE /
 * ERR_LIMIT (nothing happened); after it ERR_CONN_LOST / ERR_TIMEOUT (unknown outcome).
 *
 * Windows: calls under way and bytes queued per peer are bounded (rpc_config); beyond it a start is
 * refused with ERR_LIMIT.  A server bounds requests under way per connection and bytes in all, and
 * stops reading from a connection that is over. */
#include "common/base/err.h"
#include "common/env/net.h"

#include <protobuf-c/protobuf-c.h>

struct rpc;
struct rpc_peer;
struct rpc_arena;
struct rpc_queued;

struct rpc_config {
    const char *node_id;
    uint32_t calls_max_per_peer;      /* 0: 4096 */
    uint64_t queued_bytes_max;        /* per peer and per connection served, 0: 64 MiB; at
                                         least 64 KiB */
    uint32_t requests_max_per_conn;   /* server side, 0: 1024 */
    uint64_t request_bytes_max;       /* server side, 0: 256 MiB; stops no metanode or witness */
    uint32_t connect_timeout_ms;      /* until the peer's HELLO, 0: 2000 */
    uint8_t version_min, version_max; /* 0: RPC_VERSION_MIN, RPC_VERSION_MAX */
    /* A peer came up (err OK), could not be reached or was lost (why: ERR_AUTH, ERR_VERSION, ...).
     * For logs; called once a change, not once an attempt.  May be NULL. */
    void (*on_peer)(void *arg, const struct rpc_peer *peer, bool up, int err);
    void *on_peer_arg;
};

#define RPC_VERSION_MIN 1
#define RPC_VERSION_MAX 1

int rpc_new(struct env *env, struct net *net, const struct rpc_config *config, struct rpc **ret);
/* Closes everything; calls under way end with ERR_CANCELED first.  `done` runs when all is closed, and
 * may free the net.  Requests under way are cancelled; their handlers may still reply after `done`,
 * as long as the env lives. */
void rpc_close(struct rpc *rpc, void (*done)(void *arg), void *arg);
struct env *rpc_env(struct rpc *rpc);

/* ---- methods: one table for both sides (proto/methods.h) ---- */
struct rpc_method {
    uint16_t kind;
    const char *name;                             /* "meta.read" */
    const ProtobufCMessageDescriptor *request;    /* cast: the message */
    const ProtobufCMessageDescriptor *response;   /* NULL: a cast */
    unsigned roles;                               /* mask of enum net_role that may call it */
};

/* ---- client ---- */
/* The peer at `addr` whose certificate must bear node_id (NULL: any node of the cluster).  One object
 * per (addr, node_id), shared, kept until rpc_close.  Connects on first use, reconnects with backoff for
 * as long as somebody tries to use it.  NULL: out of memory. */
struct rpc_peer *rpc_peer_get(struct rpc *rpc, const char *addr, const char *node_id);
/* Connected now, or not known to be down (a failed connect within the last backoff period). */
bool rpc_peer_is_up(const struct rpc_peer *peer);
const char *rpc_peer_addr(const struct rpc_peer *peer);
const char *rpc_peer_node_id(const struct rpc_peer *peer); /* "": any */
/* Why the last connection failed or ended; OK while none has. */
int rpc_peer_last_error(const struct rpc_peer *peer);

struct rpc_call {
    /* set by the caller */
    const struct rpc_method *method;
    const ProtobufCMessage *request;     /* packed within rpc_call_start: borrowed for it only */
    struct payload payload[FRAME_PAYLOAD_SLICES_MAX]; /* referenced by start for as long as needed */
    unsigned payload_count;
    uint64_t timeout_ns;
    uint64_t tried_since_ns; /* a peer in backoff is tried at once, unless it has been since then; 0: no */
    bool heap_response; /* response from malloc: the callback may take it over by nulling it, to be
                           freed by protobuf_c_message_free_unpacked(…, NULL) */
    void (*cb)(struct rpc_call *);
    /* valid in cb and until rpc_call_fini */
    int err;                             /* transport or the server's status */
    ProtobufCMessage *response;          /* NULL if err and the server sent none */
    struct payload response_payload;
    const uint32_t *response_block_crcs; /* as struct frame's; valid within cb only */
    /* private */
    struct rpc_peer *peer;
    uint64_t id;
    uint64_t deadline_ns;
    int state;
    struct list node, hash_node;
    struct env_timer timer;
    struct rpc_queued *queued;           /* while it waits for the connection */
    struct rpc_arena *arena;             /* of the response */
};

/* OK: cb comes exactly once.  Else refused, no cb: ERR_LIMIT, ERR_NOMEM, ERR_UNREACHABLE (peer known
 * down), ERR_TOO_LARGE, ERR_SHUTDOWN.  The call must be zeroed before first use and stay in place until
 * cb; after rpc_call_fini it may be started again.  Payload without an owner is copied if it has to
 * wait for the connection. */
int rpc_call_start(struct rpc_peer *peer, struct rpc_call *call);
/* Asks for an early end: cb comes later with ERR_CANCELED (or the real outcome); the server is told. */
void rpc_call_cancel(struct rpc_call *call);
/* Frees response and payload.  After cb, or on a call never started. */
void rpc_call_fini(struct rpc_call *call);

/* One-way message: OK means queued, nothing more.  ERR_UNREACHABLE, ERR_LIMIT, ERR_TOO_LARGE, ERR_NOMEM,
 * ERR_SHUTDOWN: it is not on its way.  The payload is referenced, or copied if it has no owner. */
int rpc_cast(struct rpc_peer *peer, const struct rpc_method *method, const ProtobufCMessage *msg,
             const struct payload *payload, unsigned payload_count);

/* ---- server ---- */
struct rpc_request {
    const struct rpc_method *method;
    struct rpc *rpc;
    struct net_identity peer;
    const ProtobufCMessage *msg;      /* lives until the reply */
    struct payload payload;           /* lives until the reply; take a reference to keep it longer */
    const uint32_t *block_crcs;       /* of it, as struct frame's; for the call of the handler only */
    uint64_t deadline_ns;             /* on the env's monotonic clock */
    bool canceled;                    /* the caller has gone or cancelled; still reply (it is dropped) */
    void (*on_cancel)(struct rpc_request *); /* optional, set by the handler */
    void *user;                       /* the handler's */
    /* private below */
    struct list node;
    void *impl[8];
};

/* For a call: reply exactly once, now or later.  For a cast: do not reply; msg and payload are valid
 * for the call of the handler only. */
typedef void (*rpc_handler)(void *arg, struct rpc_request *req);

int rpc_serve(struct rpc *rpc, const struct rpc_method *method, rpc_handler handler, void *arg);
int rpc_listen(struct rpc *rpc, const char *addr);
/* err: a code from err.h; with an error msg may still be given (details) or NULL.  Frees req. */
void rpc_reply(struct rpc_request *req, int err, const ProtobufCMessage *msg,
               const struct payload *payload, unsigned payload_count);
/* SIGTERM: stop accepting connections; requests under way go on. */
void rpc_stop_listening(struct rpc *rpc);
/* Requests without a reply, plus connections with replies that wait for the socket: 0 means that
 * closing loses nothing. */
size_t rpc_requests_under_way(const struct rpc *rpc);
/* From now on requests on open connections are answered ERR_SHUTDOWN, too; those under way go on. */
void rpc_drain(struct rpc *rpc);

/* ---- for metrics ---- */
struct rpc_stats {
    uint64_t calls, calls_failed;       /* ended; of these with err != OK */
    uint64_t calls_refused;             /* start said no */
    uint64_t timeouts, cancels, conn_lost, unreachable; /* why calls failed */
    uint64_t responses_late;            /* for calls that had ended */
    uint64_t requests, requests_refused; /* server: handed to a handler; refused before */
    uint64_t frames_duplicate;
    uint64_t casts_sent, casts_dropped, casts_received;
    uint64_t bytes_sent, bytes_received; /* frames with their headers */
    uint64_t connects, connects_failed;
    uint64_t protocol_errors;
    uint64_t reading_stopped;           /* a window was full */
    uint64_t calls_now, requests_now, request_bytes_now;
};
void rpc_stats(const struct rpc *rpc, struct rpc_stats *ret);
