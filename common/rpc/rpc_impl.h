#pragma once
/* What the files of the RPC layer share.  rpc.c: life, packing, statistics.  rpc_client.c: peers,
 * calls, casts.  rpc_server.c: connections that came in, requests, windows.
 *
 * Nothing here knows a socket, a clock or a random source other than through env and net, and every
 * walk is along a list in order of creation: the simulator runs this code from a seed. */
#include "common/base/arena.h"
#include "common/rpc/frame.h"
#include "common/rpc/rpc.h"

#define RPC_PEER_BUCKETS 64
#define RPC_CALL_BUCKETS 256
#define RPC_REQUEST_BUCKETS 64
#define RPC_HANDLER_BUCKETS 64
#define RPC_LISTENERS_MAX 8
#define RPC_SPARE_REQUESTS_MAX 64
/* A smaller window would wait for a drain that a net does not announce for so little. */
#define RPC_QUEUED_BYTES_MIN (64u << 10)
#define RPC_PACK_KEEP_BYTES (256u << 10)

#define RPC_BACKOFF_FIRST_NS (20 * NS_PER_MS)
#define RPC_BACKOFF_MAX_NS NS_PER_SEC
#define RPC_STABLE_AFTER_NS NS_PER_SEC          /* up for this long: the next loss starts afresh */
#define RPC_RECONNECT_IDLE_NS (60 * NS_PER_SEC) /* unused for this long: no more attempts */

/* A message unpacked into memory that is freed whole. */
struct rpc_arena {
    struct arena arena;
    ProtobufCAllocator allocator;
    bool refused; /* an allocation failed, or went past the bound */
};

/* What waits for a connection: a call's or a cast's message. */
struct rpc_queued {
    struct list node; /* casts only */
    const struct rpc_method *method;
    size_t bytes; /* as a frame */
    unsigned payload_count;
    struct payload payload[FRAME_PAYLOAD_SLICES_MAX];
    size_t msg_len;
    uint8_t msg[];
};

enum rpc_call_state {
    CALL_IDLE,   /* never started, or refused */
    CALL_QUEUED, /* waits for the connection */
    CALL_SENT,   /* was handed to it */
    CALL_ENDING, /* its end is decided; cb comes on the next turn */
    CALL_DONE,
};

/*  IDLE -> CONNECTING -> UP -> (lost) CONNECTING again, or BACKOFF -> CONNECTING ...
 *  CLOSING: we closed the connection and wait for on_closed. */
enum rpc_peer_state { PEER_IDLE, PEER_CONNECTING, PEER_UP, PEER_CLOSING, PEER_BACKOFF };

struct rpc_peer {
    struct rpc *rpc;
    struct list node, bucket_node;
    char *addr, *node_id; /* node_id "": any */
    enum rpc_peer_state state;
    enum { REPORTED_NOTHING, REPORTED_UP, REPORTED_DOWN } reported;
    struct net_conn *conn;
    uint8_t version;
    unsigned failures; /* in a row */
    int close_err;     /* why we close it ourselves */
    int last_err;
    uint64_t used_ns, tried_ns, up_ns;
    struct env_timer timer;
    uint64_t last_id;
    uint32_t call_count; /* queued and sent */
    struct list sent;    /* in order of sending */
    struct list queued, queued_casts;
    uint64_t queued_bytes;
    struct list buckets[RPC_CALL_BUCKETS];
};

/* An incoming connection. */
struct rpc_conn {
    struct rpc *rpc;
    struct net_conn *conn;
    struct net_identity peer;
    struct list node, stopped_node;
    uint8_t version; /* 0: no HELLO yet */
    uint64_t last_id;
    uint32_t request_count;
    struct list requests; /* in order of arrival */
    struct list buckets[RPC_REQUEST_BUCKETS];
};

/* pub.node links it to its connection's requests. */
struct rpc_incoming {
    struct rpc_request pub;
    struct rpc_conn *conn; /* NULL: it has gone */
    uint64_t id;
    uint64_t bytes;
    struct list bucket_node; /* also: the list of spare ones */
    struct rpc_arena arena;
};

struct rpc_served {
    struct list node;
    const struct rpc_method *method;
    rpc_handler handler;
    void *arg;
};

struct rpc {
    struct env *env;
    struct net *net;
    struct rpc_config config;
    struct frame_hello hello;
    struct list peers;
    struct list peer_buckets[RPC_PEER_BUCKETS];
    struct list served[RPC_HANDLER_BUCKETS];
    struct net_listener *listeners[RPC_LISTENERS_MAX];
    unsigned listener_count;
    struct list conns;
    struct list stopped; /* connections that are not read, in order of stopping */
    struct list spare;
    unsigned spare_count;
    struct rpc_arena cast_arena;
    struct buf pack;
    bool draining, closing, closed;
    unsigned conns_open; /* both directions */
    uint64_t calls_open; /* cb still to come */
    void (*done)(void *arg);
    void *done_arg;
    struct env_timer close_timer;
    struct rpc_stats stats;
};

/* rpc.c */
void rpc_maybe_closed(struct rpc *rpc);
int rpc_send_hello(struct rpc *rpc, struct net_conn *conn);
/* Sends a frame and counts it. */
int rpc_send_frame(struct rpc *rpc, struct net_conn *conn, const struct frame *f);
/* msg (may be NULL) packed into rpc->pack: valid until the next call.
 * Returns: OK; ERR_TOO_LARGE; ERR_NOMEM. */
int rpc_pack(struct rpc *rpc, const ProtobufCMessage *msg, struct slice *ret);
/* The sum of the slices: OK; ERR_TOO_LARGE. */
int rpc_payload_bytes(const struct payload *payload, unsigned count, size_t *ret);
void rpc_count_received(struct rpc *rpc, const struct frame *f);

void rpc_arena_init(struct rpc_arena *a);
/* Allocated in `a`, whose memory is bounded in proportion to the message.
 * Returns: OK; ERR_PROTO (malformed); ERR_NOMEM (too much when unpacked, or none left). */
int rpc_unpack(struct rpc_arena *a, const ProtobufCMessageDescriptor *type, struct slice bytes,
               ProtobufCMessage **ret);

/* rpc_client.c */
void rpc_peers_close(struct rpc *rpc);
void rpc_peers_free(struct rpc *rpc);

/* rpc_server.c */
void rpc_conns_close(struct rpc *rpc);
void rpc_served_free(struct rpc *rpc);
