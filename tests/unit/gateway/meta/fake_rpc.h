#pragma once
/* A world for tests of the gateway's clients: one virtual clock, timers in order, numbers from a
 * seed, and the client half of common/rpc/rpc.h over servers that are functions.  Requests and
 * answers are packed and unpacked as on the wire, so what is borrowed too long is found by the
 * sanitizers. */
#include "common/base/err.h"
#include "common/rpc/rpc.h"

#define FAKE_PEERS_MAX 32

struct fake_call; /* at the server: reply once, now or later */

struct rpc_peer {
    struct rpc *world;
    char addr[64];
    void (*serve)(void *arg, struct fake_call *call); /* NULL: refuses to connect */
    void *arg;
    bool down;           /* rpc_peer_is_up() says so, starts are refused */
    bool silent;         /* takes requests and never answers */
    bool sums;           /* answers come with the CRCs of their payloads, as from a real net */
    bool loses;          /* the connection breaks after the request was served */
    bool loses_once;     /* the next one */
    uint64_t latency_ns; /* each way */
    unsigned calls;
};

struct fake_call {
    struct rpc_peer *peer;
    const struct rpc_method *method;
    ProtobufCMessage *request;
    struct payload payload;
    /* private */
    struct rpc_call *call; /* NULL: gone */
    uint8_t *packed;
    size_t packed_len;
    struct env_timer timer;
    int err;
    ProtobufCMessage *response; /* unpacked for the client */
    struct payload response_payload;
    bool served;
    struct list node;
};

struct rpc {
    struct env env;
    uint64_t now_ns, wall_ms, random;
    struct list timers;
    struct rpc_peer peers[FAKE_PEERS_MAX];
    unsigned peer_count;
    struct list calls;
    unsigned work; /* callbacks run */
};

void fake_init(struct rpc *f, uint64_t seed);
void fake_fini(struct rpc *f); /* all calls must have ended */
struct rpc_peer *fake_peer(struct rpc *f, const char *addr,
                           void (*serve)(void *arg, struct fake_call *call), void *arg);
/* msg may be NULL; payload is referenced. */
void fake_reply(struct fake_call *call, int err, const ProtobufCMessage *msg,
                struct payload payload);
/* Runs what is due, moving the clock, until *flag, or until nothing is left before `until`. */
void fake_run_until(struct rpc *f, const bool *flag, uint64_t for_ns);
void fake_run(struct rpc *f, uint64_t for_ns);
