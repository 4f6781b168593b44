#pragma once
/* What the tests of the RPC layer share: a client and a server in one faulty world (fake_world.h),
 * methods that echo, and calls that record how they ended.  All of it is one test's at a time. */
#include "common/rpc/frame.h"
#include "common/rpc/rpc.h"
#include "fake_world.h"
#include "proto/raft.pb-c.h"

#define HELD_MAX 4096

extern const struct rpc_method method_echo, method_note, method_other, method_unknown;
extern struct fake_world world;
extern struct fake_node client_node, server_node;
extern struct rpc *client, *server;
extern struct rpc_peer *peer;
extern unsigned peer_ups, peer_downs;

/* The server: answers method_echo at once, or keeps the requests in `held`. */
extern struct rpc_request *held[HELD_MAX];
extern unsigned held_count, requests_seen, casts_seen, cancels_seen;
extern bool hold, reply_in_cancel;
extern uint64_t last_offset, last_deadline;
extern int reply_err;
void on_echo(void *arg, struct rpc_request *req);
void reply_to(struct rpc_request *req);
void release(void); /* replies to all that are held */

/* The client. */
struct test_call {
    struct rpc_call call;
    bool done;
    unsigned ends;
    int err;
    uint64_t offset;
    size_t payload_len;
    struct test_call *then_cancel;
};
extern unsigned ended;
extern uint64_t insist_since_ns; /* of the calls that are started from now on */
int start_method(struct test_call *t, const struct rpc_method *method, uint64_t offset,
                 uint64_t timeout_ns, size_t payload_len);
int start(struct test_call *t, uint64_t offset);
void end(struct test_call *t, int err); /* runs until the call has ended, with this error */
int cast(uint64_t offset);

/* A node that sends frames by itself. */
void raw_hello(struct fake_raw *r, uint16_t min, uint16_t max);
int raw_send(struct fake_raw *r, uint8_t flags, uint16_t kind, uint64_t id, struct slice msg);
void raw_connected(struct fake_raw *r);

void make(const struct rpc_config *client_config, const struct rpc_config *server_config,
          bool listen);
int setup(void **state);
int teardown(void **state);
void set_flag(void *arg);
