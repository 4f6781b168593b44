/* A client and a server of the RPC layer, their handlers and callbacks. */
#include "rpc_pair.h"

#include "common/base/check.h"
#include "tests/unit/common/alloc_fail.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

const struct rpc_method method_echo = {
    1000, "test.echo", &cairn__snapshot_chunk_request__descriptor,
    &cairn__snapshot_chunk_response__descriptor, NET_ROLE_GATEWAY};
const struct rpc_method method_note = {
    1001, "test.note", &cairn__snapshot_chunk_request__descriptor, NULL, NET_ROLE_GATEWAY};
const struct rpc_method method_other = {
    1002, "test.other", &cairn__snapshot_chunk_request__descriptor,
    &cairn__snapshot_chunk_response__descriptor, NET_ROLE_METANODE};
const struct rpc_method method_unknown = {
    1003, "test.unknown", &cairn__snapshot_chunk_request__descriptor,
    &cairn__snapshot_chunk_response__descriptor, NET_ROLE_GATEWAY};

struct fake_world world;
struct fake_node client_node, server_node;
struct rpc *client, *server;
struct rpc_peer *peer;
unsigned peer_ups, peer_downs;

/* ---- the server's side ---- */

struct rpc_request *held[HELD_MAX];
unsigned held_count, requests_seen, casts_seen, cancels_seen;
bool hold, reply_in_cancel;
uint64_t last_offset, last_deadline;
int reply_err;

void reply_to(struct rpc_request *req)
{
    const Cairn__SnapshotChunkRequest *msg = (const void *)req->msg;
    Cairn__SnapshotChunkResponse r = CAIRN__SNAPSHOT_CHUNK_RESPONSE__INIT;
    r.offset = msg->offset + 1;
    rpc_reply(req, reply_err, reply_err ? NULL : &r.base, &req->payload,
              req->payload.bytes.len > 0);
}

static void on_cancel(struct rpc_request *req)
{
    assert_true(req->canceled);
    cancels_seen++;
    if (!reply_in_cancel)
        return;
    /* The hardest moment: answer every request that is under way, the others' included. */
    unsigned n = held_count;
    held_count = 0;
    for (unsigned i = 0; i < n; i++)
        reply_to(held[i]);
}

void on_echo(void *arg, struct rpc_request *req)
{
    (void)arg;
    requests_seen++;
    assert_string_equal(req->peer.node_id, "client");
    last_offset = ((const Cairn__SnapshotChunkRequest *)(const void *)req->msg)->offset;
    last_deadline = req->deadline_ns;
    req->on_cancel = on_cancel;
    if (!hold) {
        reply_to(req);
        return;
    }
    assert_true(held_count < HELD_MAX);
    held[held_count++] = req;
}

static void on_note(void *arg, struct rpc_request *req)
{
    (void)arg;
    last_offset = ((const Cairn__SnapshotChunkRequest *)(const void *)req->msg)->offset;
    casts_seen++;
}

void release(void)
{
    for (unsigned i = 0; i < held_count; i++)
        reply_to(held[i]);
    held_count = 0;
}

/* ---- the client's side ---- */

unsigned ended;
uint64_t insist_since_ns;

static void call_cb(struct rpc_call *call)
{
    struct test_call *t = container_of(call, struct test_call, call);
    t->ends++;
    assert_int_equal(t->ends, 1);
    t->done = true;
    t->err = call->err;
    t->offset = call->response ? ((Cairn__SnapshotChunkResponse *)call->response)->offset : 0;
    t->payload_len = call->response_payload.bytes.len;
    ended++;
    if (t->then_cancel)
        rpc_call_cancel(&t->then_cancel->call);
    rpc_call_fini(call);
}

int start_method(struct test_call *t, const struct rpc_method *method, uint64_t offset,
                 uint64_t timeout_ns, size_t payload_len)
{
    *t = (struct test_call){0};
    Cairn__SnapshotChunkRequest msg = CAIRN__SNAPSHOT_CHUNK_REQUEST__INIT;
    msg.offset = offset;
    t->call.method = method;
    t->call.request = &msg.base;
    t->call.timeout_ns = timeout_ns;
    t->call.tried_since_ns = insist_since_ns;
    t->call.cb = call_cb;
    alloc_fail_hold();
    uint8_t *bytes = calloc(1, payload_len + 1);
    alloc_fail_go_on();
    if (payload_len) {
        t->call.payload[0] = (struct payload){NULL, SLICE(bytes, payload_len)};
        t->call.payload_count = 1;
    }
    int err = rpc_call_start(peer, &t->call);
    assert_int_equal(t->ends, 0);
    t->call.request = NULL;
    t->call.payload_count = 0;
    free(bytes); /* what must wait has been copied */
    return err;
}

int start(struct test_call *t, uint64_t offset)
{
    return start_method(t, &method_echo, offset, 3 * NS_PER_SEC, 0);
}

void end(struct test_call *t, int err)
{
    fake_run_until(&world, &t->done);
    if (t->err != err)
        fail_msg("%s instead of %s", err_name(t->err), err_name(err));
}

static void on_peer(void *arg, const struct rpc_peer *p, bool up, int err)
{
    (void)arg;
    assert_string_equal(rpc_peer_addr(p), "server:1");
    assert_int_equal(up, err == OK);
    peer_ups += up;
    peer_downs += !up;
}

/* ---- setup ---- */

void make(const struct rpc_config *client_config, const struct rpc_config *server_config,
          bool listen)
{
    struct rpc_config c = client_config ? *client_config : (struct rpc_config){0};
    struct rpc_config s = server_config ? *server_config : (struct rpc_config){0};
    c.on_peer = on_peer;
    held_count = requests_seen = casts_seen = cancels_seen = ended = 0;
    peer_ups = peer_downs = 0;
    hold = reply_in_cancel = false;
    reply_err = OK;
    bool no_set_reading = world.no_set_reading;
    fake_world_init(&world);
    world.no_set_reading = no_set_reading;
    fake_node_init(&client_node, &world, "client", NET_ROLE_GATEWAY);
    fake_node_init(&server_node, &world, "server", NET_ROLE_METANODE);
    assert_int_equal(rpc_new(&client_node.env, &client_node.net, &c, &client), OK);
    assert_int_equal(rpc_new(&server_node.env, &server_node.net, &s, &server), OK);
    assert_int_equal(rpc_serve(server, &method_echo, on_echo, NULL), OK);
    assert_int_equal(rpc_serve(server, &method_note, on_note, NULL), OK);
    assert_int_equal(rpc_serve(server, &method_other, on_echo, NULL), OK);
    assert_int_equal(rpc_serve(server, &method_echo, on_echo, NULL), ERR_EXISTS);
    if (listen)
        assert_int_equal(rpc_listen(server, "server:1"), OK);
    peer = rpc_peer_get(client, "server:1", "server");
    assert_ptr_equal(peer, rpc_peer_get(client, "server:1", "server"));
    assert_ptr_not_equal(peer, rpc_peer_get(client, "server:1", NULL));
}

int setup(void **state)
{
    (void)state;
    world.no_set_reading = false;
    make(NULL, NULL, true);
    return 0;
}

void set_flag(void *arg)
{
    *(bool *)arg = true;
}

int teardown(void **state)
{
    (void)state;
    bool done = false;
    if (client) {
        rpc_close(client, set_flag, &done);
        assert_false(done);
        fake_run_until(&world, &done);
    }
    release();
    done = false;
    if (server) {
        rpc_close(server, set_flag, &done);
        fake_run_until(&world, &done);
    }
    fake_world_check_empty(&world);
    return 0;
}

int cast(uint64_t offset)
{
    Cairn__SnapshotChunkRequest msg = CAIRN__SNAPSHOT_CHUNK_REQUEST__INIT;
    msg.offset = offset;
    struct payload p = {NULL, SLICE_LIT("bytes")};
    return rpc_cast(peer, &method_note, &msg.base, &p, 1);
}

void raw_hello(struct fake_raw *r, uint16_t min, uint16_t max)
{
    uint8_t bytes[FRAME_HELLO_BYTES + 3] = {0}; /* with something behind it that is not known yet */
    frame_encode_hello(&(struct frame_hello){min, max}, bytes);
    struct frame f = {
        .flags = FRAME_HELLO, .version = (uint8_t)max, .msg = {NULL, SLICE(bytes, sizeof(bytes))}};
    assert_int_equal(client_node.net.ops->send(r->conn, &f), OK);
}

int raw_send(struct fake_raw *r, uint8_t flags, uint16_t kind, uint64_t id, struct slice msg)
{
    struct frame f = {.flags = flags,
                      .kind = kind,
                      .request_id = id,
                      .version = 1,
                      .timeout_ms = flags == FRAME_RESPONSE ? 0 : 1000,
                      .msg = {NULL, msg}};
    return client_node.net.ops->send(r->conn, &f);
}

void raw_connected(struct fake_raw *r)
{
    fake_raw_connect(&client_node, "server:1", r);
    fake_run_until(&world, &r->opened);
    assert_int_equal(r->hellos, 0);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(r->hellos, 1);
}
