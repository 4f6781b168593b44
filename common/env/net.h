#pragma once
/* Connections that carry whole frames between the cluster's processes.
 *
 * common/env_uv/net_tls.c: TCP + mutual TLS under libuv.  tests/sim: queues with delay, loss of the
 * connection, reordering between connections, one-way partitions.  Frames of one connection arrive in
 * order, each at most once in the real world; the RPC layer above must survive a duplicated frame.
 *
 * Callbacks are never called inside a call to this interface, and after net_conn_close() none comes
 * except on_closed, exactly once; the connection's memory is the implementation's, gone after it. */
#include "common/base/slice.h"
#include "common/env/env.h"

#define NET_NODE_ID_MAX 64
#define FRAME_HEADER_BYTES 40
#define FRAME_MSG_BYTES_MAX (24u << 20)
#define FRAME_PAYLOAD_BYTES_MAX (24u << 20)
#define FRAME_PAYLOAD_SLICES_MAX 8
#define FRAME_BLOCK_BYTES 65536u
#define FRAME_BLOCKS_MAX (FRAME_PAYLOAD_BYTES_MAX / FRAME_BLOCK_BYTES)

enum net_role { NET_ROLE_GATEWAY = 1, NET_ROLE_METANODE = 2, NET_ROLE_STORAGENODE = 4, NET_ROLE_WITNESS = 8 };

/* What the peer's certificate says: CN is the node's id, OU its role. */
struct net_identity {
    char node_id[NET_NODE_ID_MAX];
    enum net_role role;
};

/* One frame.  For sending, `msg` is borrowed for the call only (it is copied), the payloads are
 * referenced until sent.  For receiving, both point into one rcbuf owned by payload[0].owner /
 * msg_owner; the receiver may keep them by taking a reference. */
struct frame {
    uint16_t kind;      /* method or control kind, rpc.h */
    uint8_t flags;      /* FRAME_* below */
    uint8_t version;
    uint64_t request_id;
    uint32_t timeout_ms; /* request: time left at sending (deadlines are relative: no shared clock) */
    int32_t status;      /* response: 0 or an error code */
    struct payload msg;
    struct payload payload[FRAME_PAYLOAD_SLICES_MAX]; /* received: only [0] */
    unsigned payload_count;
    /* Received: CRC32C of each FRAME_BLOCK_BYTES of the payload, summed as it came in; NULL: nobody
     * did, and whoever wants to compare must.  Borrowed for the callback, not referenced. */
    const uint32_t *block_crcs;
};

enum { FRAME_REQUEST = 1, FRAME_RESPONSE = 2, FRAME_CAST = 4, FRAME_CANCEL = 8, FRAME_HELLO = 16 };

struct net;
struct net_conn;
struct net_listener;

struct net_conn_handler {
    void (*on_open)(void *arg, struct net_conn *, const struct net_identity *peer); /* outgoing: TLS is up */
    void (*on_frame)(void *arg, struct net_conn *, struct frame *);   /* borrowed for the call */
    void (*on_drain)(void *arg, struct net_conn *);                   /* queued bytes fell below the low mark */
    void (*on_closed)(void *arg, struct net_conn *, int err);         /* last callback */
};

struct net_ops {
    /* addr: "host:port".  Never fails at once except ERR_INVAL/ERR_NOMEM; the outcome comes by
     * on_open or on_closed.  expect_node_id: NULL, or the id that the peer's certificate must bear. */
    int (*connect)(struct net *, const char *addr, const char *expect_node_id,
                   const struct net_conn_handler *, void *arg, struct net_conn **ret);
    /* accept: called per incoming connection once its TLS is up; it sets handler and arg for it, or
     * returns an error to drop it. */
    int (*listen)(struct net *, const char *addr,
                  int (*accept)(void *arg, struct net_conn *, const struct net_identity *,
                                const struct net_conn_handler **ret_handler, void **ret_arg),
                  void *arg, struct net_listener **ret);
    void (*listener_close)(struct net_listener *);
    /* OK: queued (and corked until the end of the loop's turn, so that frames of one turn share a
     * write).  ERR_CONN_LOST after it closed; ERR_TOO_LARGE.  Never blocks; the caller looks at
     * queued_bytes to bound it. */
    int (*send)(struct net_conn *, const struct frame *);
    size_t (*queued_bytes)(struct net_conn *);
    void (*conn_close)(struct net_conn *);
    /* false: no on_frame after this call, what arrives stays with the sender; true: goes on, on a later
     * turn.  For bounding memory.  May be NULL: the net cannot, and its user refuses instead. */
    void (*set_reading)(struct net_conn *, bool on);
};

struct net {
    const struct net_ops *ops;
    struct env *env;
};
