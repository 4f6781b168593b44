/* The RPC layer between two nodes in memory, with faults at every step. */
#include "common/base/check.h"
#include "common/rpc/frame.h"
#include "common/rpc/rpc.h"
#include "fake_world.h"
#include "proto/raft.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct rpc_method method_echo = {1000, "test.echo",
                                              &cairn__snapshot_chunk_request__descriptor,
                                              &cairn__snapshot_chunk_response__descriptor,
                                              NET_ROLE_GATEWAY};
static const struct rpc_method method_note = {
    1001, "test.note", &cairn__snapshot_chunk_request__descriptor, NULL, NET_ROLE_GATEWAY};
static const struct rpc_method method_other = {1002, "test.other",
                                               &cairn__snapshot_chunk_request__descriptor,
                                               &cairn__snapshot_chunk_response__descriptor,
                                               NET_ROLE_METANODE};
static const struct rpc_method method_unknown = {1003, "test.unknown",
                                                 &cairn__snapshot_chunk_request__descriptor,
                                                 &cairn__snapshot_chunk_response__descriptor,
                                                 NET_ROLE_GATEWAY};

static struct fake_world world;
static struct fake_node client_node, server_node;
static struct rpc *client, *server;
static struct rpc_peer *peer;
static unsigned peer_ups, peer_downs;

/* ---- the server's side ---- */

#define HELD_MAX 4096
static struct rpc_request *held[HELD_MAX];
static unsigned held_count, requests_seen, casts_seen, cancels_seen;
static bool hold, reply_in_cancel;
static uint64_t last_offset, last_deadline;
static int reply_err;

static void reply_to(struct rpc_request *req)
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

static void on_echo(void *arg, struct rpc_request *req)
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

static void release(void)
{
    for (unsigned i = 0; i < held_count; i++)
        reply_to(held[i]);
    held_count = 0;
}

/* ---- the client's side ---- */

struct test_call {
    struct rpc_call call;
    bool done;
    unsigned ends;
    int err;
    uint64_t offset;
    size_t payload_len;
    struct test_call *then_cancel;
};
static unsigned ended;

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

static int start_method(struct test_call *t, const struct rpc_method *method, uint64_t offset,
                        uint64_t timeout_ns, size_t payload_len)
{
    *t = (struct test_call){0};
    Cairn__SnapshotChunkRequest msg = CAIRN__SNAPSHOT_CHUNK_REQUEST__INIT;
    msg.offset = offset;
    t->call.method = method;
    t->call.request = &msg.base;
    t->call.timeout_ns = timeout_ns;
    t->call.cb = call_cb;
    uint8_t *bytes = calloc(1, payload_len + 1);
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

static int start(struct test_call *t, uint64_t offset)
{
    return start_method(t, &method_echo, offset, 3 * NS_PER_SEC, 0);
}

static void end(struct test_call *t, int err)
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

static void make(const struct rpc_config *client_config, const struct rpc_config *server_config,
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

static int setup(void **state)
{
    (void)state;
    world.no_set_reading = false;
    make(NULL, NULL, true);
    return 0;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
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

/* ---- calls ---- */

static void a_call_comes_back(void **state)
{
    (void)state;
    struct test_call t;
    assert_int_equal(start_method(&t, &method_echo, 41, 3 * NS_PER_SEC, 100000), OK);
    end(&t, OK);
    assert_int_equal(t.offset, 42);
    assert_int_equal(t.payload_len, 100000);
    assert_int_equal(requests_seen, 1);
    /* The deadline travelled as time left; one way took a delay, connecting three. */
    assert_true(last_deadline >= 4 * NS_PER_SEC);
    assert_true(last_deadline <= 4 * NS_PER_SEC + 2 * FAKE_DELAY_NS);
    assert_int_equal(peer_ups, 1);
    assert_true(rpc_peer_is_up(peer));
    /* Now that the connection is there, the answer takes one round trip. */
    uint64_t before = world.now_ns;
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    assert_int_equal(world.now_ns - before, 2 * FAKE_DELAY_NS);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.calls_failed, 0);
    assert_int_equal(s.calls_now, 0);
    assert_int_equal(s.connects, 1);
}

static void an_error_comes_back(void **state)
{
    (void)state;
    struct test_call t;
    reply_err = ERR_NOT_LEADER;
    assert_int_equal(start(&t, 41), OK);
    end(&t, ERR_NOT_LEADER);
}

static void calls_wait_for_the_connection(void **state)
{
    (void)state;
    struct test_call t[5];
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(start(&t[i], i), OK);
    assert_int_equal(world.conns_made, 1);
    for (unsigned i = 0; i < 5; i++) {
        end(&t[i], OK);
        assert_int_equal(t[i].offset, i + 1);
    }
}

static void an_absent_peer_is_unreachable_then_found(void **state)
{
    (void)state;
    rpc_stop_listening(server);
    struct test_call t;
    assert_true(rpc_peer_is_up(peer)); /* not known to be down */
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    assert_false(rpc_peer_is_up(peer));
    assert_int_equal(rpc_peer_last_error(peer), ERR_UNREACHABLE);
    assert_int_equal(start(&t, 1), ERR_UNREACHABLE);
    /* Attempts go on, no faster than the bound: 20 ms, 40, ... 1 s, each shortened up to a half. */
    struct rpc_stats before, s;
    rpc_stats(client, &before);
    fake_run_for(&world, 20 * NS_PER_SEC);
    rpc_stats(client, &s);
    assert_in_range(s.connects - before.connects, 20, 48);
    assert_int_equal(peer_downs, 1);
    assert_int_equal(rpc_listen(server, "server:1"), OK);
    uint64_t since = world.now_ns;
    while (!rpc_peer_is_up(peer))
        assert_true(fake_step(&world));
    assert_true(world.now_ns - since <= NS_PER_SEC + 10 * FAKE_DELAY_NS);
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    assert_int_equal(peer_ups, 1);
}

static void attempts_end_when_nobody_asks(void **state)
{
    (void)state;
    rpc_stop_listening(server);
    struct test_call t;
    assert_int_equal(start(&t, 1), OK);
    fake_run_for(&world, 70 * NS_PER_SEC);
    struct rpc_stats before, s;
    rpc_stats(client, &before);
    fake_run_for(&world, 70 * NS_PER_SEC);
    rpc_stats(client, &s);
    assert_int_equal(s.connects, before.connects);
    assert_int_equal(start(&t, 1), OK); /* tries again at once */
    end(&t, ERR_UNREACHABLE);
}

static void a_black_hole_costs_the_connect_timeout(void **state)
{
    (void)state;
    world.blackhole = true;
    struct test_call shorter, longer;
    assert_int_equal(start_method(&shorter, &method_echo, 1, NS_PER_SEC, 0), OK);
    assert_int_equal(start_method(&longer, &method_echo, 1, 30 * NS_PER_SEC, 10), OK);
    end(&shorter, ERR_UNREACHABLE); /* never sent: nothing happened */
    assert_true(world.now_ns == 2 * NS_PER_SEC);
    end(&longer, ERR_UNREACHABLE);
    assert_true(world.now_ns == 3 * NS_PER_SEC); /* connect_timeout_ms */
    assert_int_equal(rpc_peer_last_error(peer), ERR_TIMEOUT);
}

static void a_timeout_is_told_and_a_late_answer_dropped(void **state)
{
    (void)state;
    struct test_call t;
    hold = true;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    assert_int_equal(cancels_seen, 0);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 1);
    release(); /* replying to a cancelled request is right, and goes nowhere */
    world.drop_flags = FRAME_CANCEL;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    fake_run_for(&world, 10 * NS_PER_MS);
    release();
    fake_run_for(&world, 10 * NS_PER_MS);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.responses_late, 1);
    assert_int_equal(s.timeouts, 2);
    assert_int_equal(requests_seen, 2);
}

static void a_cancelled_call_ends_later(void **state)
{
    (void)state;
    struct test_call queued, sent;
    hold = true;
    assert_int_equal(start(&queued, 1), OK);
    rpc_call_cancel(&queued.call);
    rpc_call_cancel(&queued.call);
    assert_int_equal(queued.ends, 0);
    end(&queued, ERR_CANCELED);
    assert_int_equal(start(&sent, 2), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(requests_seen, 1);
    assert_int_equal(last_offset, 2);
    rpc_call_cancel(&sent.call);
    assert_int_equal(sent.ends, 0);
    end(&sent, ERR_CANCELED);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 1);
}

static void a_callback_may_cancel_another_call(void **state)
{
    (void)state;
    struct test_call a, b;
    hold = true;
    assert_int_equal(start(&a, 1), OK);
    assert_int_equal(start(&b, 2), OK);
    a.then_cancel = &b;
    b.then_cancel = &a; /* already over: nothing happens */
    fake_run_for(&world, 10 * NS_PER_MS);
    release();
    end(&a, OK);
    end(&b, ERR_CANCELED); /* its answer was on the way */
}

static void lost_frames_end_by_the_deadline(void **state)
{
    (void)state;
    struct test_call t;
    world.drop_flags = FRAME_RESPONSE;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    world.drop_flags = FRAME_REQUEST;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    assert_int_equal(requests_seen, 1);
}

static void duplicated_frames_do_nothing(void **state)
{
    (void)state;
    struct test_call t[20];
    world.duplicate_flags = FRAME_REQUEST | FRAME_RESPONSE | FRAME_CANCEL | FRAME_HELLO;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(start(&t[i], i), OK);
    for (unsigned i = 0; i < 20; i++)
        end(&t[i], OK);
    hold = true;
    assert_int_equal(start(&t[0], 100), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    rpc_call_cancel(&t[0].call);
    end(&t[0], ERR_CANCELED);
    fake_run_for(&world, 10 * NS_PER_MS);
    release();
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(requests_seen, 21);
    assert_int_equal(cancels_seen, 1);
    struct rpc_stats c, s;
    rpc_stats(client, &c);
    rpc_stats(server, &s);
    assert_int_equal(c.protocol_errors + s.protocol_errors, 0);
    assert_int_equal(c.responses_late, 20);
    assert_int_equal(s.frames_duplicate, 22);
}

/* Closes the connection in place of the n-th event, for every n: each call ends once, with an error
 * that says truly whether the server may have seen it, and both sides can be closed. */
static void the_connection_breaks_at_each_step(void **state)
{
    (void)state;
    bool broke = true;
    unsigned n;
    for (n = 1; broke; n++) {
        make(NULL, NULL, true);
        world.close_at = n;
        reply_in_cancel = n % 2;
        struct test_call t[6];
        unsigned accepted = 0;
        for (unsigned i = 0; i < 6; i++) {
            hold = i % 3 == 2;
            bool ok = start(&t[accepted], i) == OK;
            accepted += ok;
            fake_run_for(&world, FAKE_DELAY_NS * 2);
            if (i == 3 && accepted > 0)
                rpc_call_cancel(&t[accepted - 1].call);
        }
        release();
        fake_run_for(&world, 5 * NS_PER_SEC);
        broke = false;
        for (unsigned i = 0; i < accepted; i++) {
            assert_int_equal(t[i].ends, 1);
            broke |= t[i].err == ERR_UNREACHABLE || t[i].err == ERR_CONN_LOST;
            assert_true(t[i].err == OK || t[i].err == ERR_UNREACHABLE ||
                        t[i].err == ERR_CONN_LOST || t[i].err == ERR_CANCELED);
        }
        broke |= world.events_done >= world.close_at;
        /* And it heals. */
        world.close_at = 0;
        hold = false;
        struct test_call after;
        while (start(&after, 1) != OK)
            fake_run_for(&world, 100 * NS_PER_MS);
        end(&after, OK);
        teardown(state);
    }
    assert_in_range(n, 10, 60);
}

/* ---- casts ---- */

static int cast(uint64_t offset)
{
    Cairn__SnapshotChunkRequest msg = CAIRN__SNAPSHOT_CHUNK_REQUEST__INIT;
    msg.offset = offset;
    struct payload p = {NULL, SLICE_LIT("bytes")};
    return rpc_cast(peer, &method_note, &msg.base, &p, 1);
}

static void casts_arrive_or_are_refused(void **state)
{
    (void)state;
    assert_int_equal(cast(1), OK);
    assert_int_equal(cast(2), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 2);
    assert_int_equal(last_offset, 2);
    assert_int_equal(cast(3), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 3);
    rpc_stop_listening(server);
    world.close_at = world.events_done + 1;
    assert_int_equal(cast(4), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 3);
    assert_int_equal(cast(5), ERR_UNREACHABLE);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.casts_sent, 4);
    assert_int_equal(s.casts_dropped, 1);
}

/* ---- raw frames ---- */

static void raw_hello(struct fake_raw *r, uint16_t min, uint16_t max)
{
    uint8_t bytes[FRAME_HELLO_BYTES + 3] = {0}; /* with something behind it that is not known yet */
    frame_encode_hello(&(struct frame_hello){min, max}, bytes);
    struct frame f = {.flags = FRAME_HELLO, .version = (uint8_t)max,
                      .msg = {NULL, SLICE(bytes, sizeof(bytes))}};
    assert_int_equal(client_node.net.ops->send(r->conn, &f), OK);
}

static int raw_send(struct fake_raw *r, uint8_t flags, uint16_t kind, uint64_t id,
                    struct slice msg)
{
    struct frame f = {.flags = flags, .kind = kind, .request_id = id, .version = 1,
                      .timeout_ms = flags == FRAME_RESPONSE ? 0 : 1000, .msg = {NULL, msg}};
    return client_node.net.ops->send(r->conn, &f);
}

static void raw_connected(struct fake_raw *r)
{
    fake_raw_connect(&client_node, "server:1", r);
    fake_run_until(&world, &r->opened);
    assert_int_equal(r->hellos, 0);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(r->hellos, 1);
}

/* ---- windows ---- */

static void the_clients_window_refuses(void **state)
{
    (void)state;
    make(&(struct rpc_config){.calls_max_per_peer = 3, .queued_bytes_max = 70000}, NULL, true);
    struct test_call t[4], big[3];
    hold = true;
    for (unsigned round = 0; round < 2; round++) { /* queued, then sent */
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(start(&t[i], i), OK);
        assert_int_equal(start(&t[3], 3), ERR_LIMIT);
        fake_run_for(&world, 20 * NS_PER_MS);
        assert_int_equal(start(&t[3], 3), ERR_LIMIT);
        release();
        for (unsigned i = 0; i < 3; i++)
            end(&t[i], OK);
    }
    hold = false;
    assert_int_equal(start_method(&big[0], &method_echo, 1, NS_PER_SEC, 200000), OK);
    assert_int_equal(start_method(&big[1], &method_echo, 1, NS_PER_SEC, 10), ERR_LIMIT);
    end(&big[0], OK);
    assert_int_equal(start_method(&big[1], &method_echo, 1, NS_PER_SEC, 40000), OK);
    assert_int_equal(start_method(&big[2], &method_echo, 1, NS_PER_SEC, 40000), ERR_LIMIT);
    end(&big[1], OK);
    assert_int_equal(
        start_method(&big[2], &method_echo, 1, NS_PER_SEC, FRAME_PAYLOAD_BYTES_MAX + 1),
        ERR_TOO_LARGE);
    teardown(state);
}

static void the_servers_windows_stop_reading(void **state)
{
    (void)state;
    static struct test_call t[64];
    /* First by number, then by bytes of all requests. */
    for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
        struct rpc_config config = {.requests_max_per_conn = by_bytes ? 0 : 8,
                                    .request_bytes_max = by_bytes ? 8 * 100100 - 1 : 0};
        make(NULL, &config, true);
        hold = true;
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(start_method(&t[i], &method_echo, i, NS_PER_SEC, 100000), OK);
        fake_run_for(&world, 50 * NS_PER_MS);
        assert_int_equal(held_count, 8);
        assert_int_equal(rpc_requests_under_way(server), 8);
        assert_int_equal(world.stops, 1);
        while (ended < 64) {
            assert_true(held_count > 0 && held_count <= 8);
            release();
            fake_run_for(&world, 10 * NS_PER_MS);
        }
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(t[i].err, OK);
        struct rpc_stats s;
        rpc_stats(server, &s);
        assert_int_equal(s.request_bytes_now, 0);
        assert_int_equal(world.stops, world.resumes);
        teardown(state);
    }
}

/* The bytes of one connection's requests stop another; the first one's end sets it going again. */
static void room_made_by_one_connection_is_given_to_another(void **state)
{
    (void)state;
    struct fake_raw r;
    struct test_call t[2];
    make(NULL, &(struct rpc_config){.request_bytes_max = 100000}, true);
    hold = true;
    raw_connected(&r);
    raw_hello(&r, 1, 1);
    struct rcbuf *zeros = rcbuf_new(100000);
    memset(zeros->data, 0, zeros->cap);
    struct frame f = {.flags = FRAME_REQUEST, .kind = 1000, .request_id = 1, .version = 1,
                      .timeout_ms = 1000, .payload = {{zeros, SLICE(zeros->data, zeros->cap)}},
                      .payload_count = 1};
    assert_int_equal(client_node.net.ops->send(r.conn, &f), OK);
    rcbuf_unref(zeros);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 1);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(start(&t[i], i), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 2); /* the first, after which it was not read any more */
    client_node.net.ops->conn_close(r.conn);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 1);
    assert_int_equal(held_count, 2); /* what a cancelled request holds, it holds until the reply */
    reply_to(held[0]);
    held[0] = held[1];
    held_count = 1;
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 2);
    release();
    for (unsigned i = 0; i < 2; i++)
        end(&t[i], OK);
    teardown(state);
}

static void answers_that_pile_up_stop_reading(void **state)
{
    (void)state;
    static struct test_call t[40];
    make(NULL, &(struct rpc_config){.queued_bytes_max = 300000}, true);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(start_method(&t[i], &method_echo, i, NS_PER_SEC, 100000), OK);
    fake_run_for(&world, 500 * NS_PER_MS);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(t[i].err, OK);
    assert_true(world.stops > 2);
    assert_int_equal(world.stops, world.resumes);
    teardown(state);
}

static void a_net_that_cannot_stop_reading_makes_the_server_refuse(void **state)
{
    (void)state;
    struct test_call t[10];
    world.no_set_reading = true;
    make(NULL, &(struct rpc_config){.requests_max_per_conn = 8}, true);
    hold = true;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(start(&t[i], i), OK);
    end(&t[8], ERR_LIMIT);
    end(&t[9], ERR_LIMIT);
    release();
    for (unsigned i = 0; i < 8; i++)
        end(&t[i], OK);
    teardown(state);
}

/* ---- who may, and what is understood ---- */

static void roles_and_methods_are_checked(void **state)
{
    (void)state;
    struct test_call t;
    assert_int_equal(start_method(&t, &method_other, 1, NS_PER_SEC, 0), OK);
    end(&t, ERR_AUTH);
    assert_int_equal(start_method(&t, &method_unknown, 1, NS_PER_SEC, 0), OK);
    end(&t, ERR_UNIMPLEMENTED);
    assert_int_equal(requests_seen, 0);
    assert_int_equal(start(&t, 1), OK); /* the connection lives on */
    end(&t, OK);
    assert_int_equal(world.conns_made, 2);
}

static void messages_that_do_not_parse_are_answered(void **state)
{
    (void)state;
    struct fake_raw r;
    raw_connected(&r);
    raw_hello(&r, 1, 1);
    assert_int_equal(raw_send(&r, FRAME_REQUEST, 1000, 1, SLICE_LIT("\xff\xff\xff")), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(r.responses, 1);
    assert_int_equal(r.last_status, ERR_PROTO);
    assert_int_equal(raw_send(&r, FRAME_CAST, 1001, 0, SLICE_LIT("\xff\xff\xff")), OK);
    assert_int_equal(raw_send(&r, FRAME_CAST, 9999, 0, SLICE_EMPTY), OK);
    assert_int_equal(raw_send(&r, FRAME_CANCEL, 1000, 77, SLICE_EMPTY), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_false(r.closed);
    assert_int_equal(casts_seen + requests_seen, 0);
    client_node.net.ops->conn_close(r.conn);
    fake_run_until(&world, &r.closed);
}

/* Two bytes on the wire for a struct of more than a hundred: unpacking is bounded. */
static void a_message_that_explodes_is_refused(void **state)
{
    (void)state;
    static const struct rpc_method method_batch = {1004, "test.batch",
                                                   &cairn__raft_batch__descriptor,
                                                   &cairn__snapshot_chunk_response__descriptor,
                                                   NET_ROLE_GATEWAY};
    assert_int_equal(rpc_serve(server, &method_batch, on_echo, NULL), OK);
    size_t len = 2 << 20;
    uint8_t *bytes = malloc(len);
    for (size_t i = 0; i < len; i += 2) {
        bytes[i] = 0x0a; /* messages: one more, empty */
        bytes[i + 1] = 0;
    }
    struct fake_raw r;
    raw_connected(&r);
    raw_hello(&r, 1, 1);
    assert_int_equal(raw_send(&r, FRAME_REQUEST, 1004, 1, SLICE(bytes, len)), OK);
    free(bytes);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(r.responses, 1);
    assert_int_equal(r.last_status, ERR_NOMEM);
    assert_int_equal(requests_seen, 0);
    client_node.net.ops->conn_close(r.conn);
    fake_run_until(&world, &r.closed);
}

static void a_client_that_breaks_the_protocol_is_closed(void **state)
{
    (void)state;
    struct rpc_stats s;
    for (unsigned n = 0; n < 6; n++) {
        struct fake_raw r;
        raw_connected(&r);
        if (n > 0)
            raw_hello(&r, n == 1 ? 9 : 1, n == 1 ? 12 : 1);
        if (n == 0) /* a request before the HELLO */
            assert_int_equal(raw_send(&r, FRAME_REQUEST, 1000, 1, SLICE_EMPTY), OK);
        if (n == 2) /* an answer to nothing */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, 1, SLICE_EMPTY), OK);
        if (n == 3) { /* another version than agreed */
            struct frame f = {.flags = FRAME_CAST, .kind = 1001, .version = 2};
            assert_int_equal(client_node.net.ops->send(r.conn, &f), OK);
        }
        if (n == 4) /* a call of what can only be cast */
            assert_int_equal(raw_send(&r, FRAME_REQUEST, 1001, 1, SLICE_EMPTY), OK);
        if (n == 5) /* a cast of what can only be called */
            assert_int_equal(raw_send(&r, FRAME_CAST, 1000, 1, SLICE_EMPTY), OK);
        fake_run_for(&world, 10 * NS_PER_MS);
        assert_true(r.closed);
        rpc_stats(server, &s);
        assert_int_equal(s.protocol_errors, n + 1);
    }
    assert_int_equal(requests_seen + casts_seen, 0);
}

static void a_server_that_breaks_the_protocol_is_closed(void **state)
{
    (void)state;
    rpc_stop_listening(server);
    for (unsigned n = 0; n < 6; n++) {
        struct fake_raw r;
        struct net_listener *l;
        fake_raw_listen(&server_node, "server:1", &r, &l);
        struct test_call t;
        while (start(&t, 1) != OK)
            fake_run_for(&world, 100 * NS_PER_MS);
        fake_run_until(&world, &r.opened);
        server_node.net.ops->listener_close(l);
        if (n == 0) { /* an answer before the HELLO: the call was never sent */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, 1, SLICE_EMPTY), OK);
            end(&t, ERR_UNREACHABLE);
            assert_int_equal(rpc_peer_last_error(peer), ERR_PROTO);
            continue;
        }
        raw_hello(&r, 1, 1);
        fake_run_for(&world, 10 * NS_PER_MS);
        assert_int_equal(r.frames, 2); /* HELLO, request */
        /* The request id is not known here: one of these is it. */
        if (n == 1) /* an id that was never given */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, 1u << 30, SLICE_EMPTY), OK);
        if (n == 2) /* a request to a client */
            assert_int_equal(raw_send(&r, FRAME_REQUEST, 1000, 1, SLICE_EMPTY), OK);
        for (uint64_t id = 1; n == 3 && id < 20 && r.conn; id++) /* another method's answer */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1002, id, SLICE_EMPTY), OK);
        for (uint64_t id = 1; n == 4 && id < 20 && r.conn; id++) /* an answer that does not parse */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, id, SLICE_LIT("\xff\xff")), OK);
        if (n == 5) { /* another version than agreed */
            struct frame f = {.flags = FRAME_RESPONSE, .request_id = 1, .version = 2};
            assert_int_equal(server_node.net.ops->send(r.conn, &f), OK);
        }
        end(&t, ERR_CONN_LOST);
        fake_run_until(&world, &r.closed);
        struct rpc_stats s;
        rpc_stats(client, &s);
        assert_int_equal(s.protocol_errors, n + 1);
    }
}

static void versions_are_negotiated(void **state)
{
    (void)state;
    struct test_call t;
    make(&(struct rpc_config){.version_min = 1, .version_max = 3},
         &(struct rpc_config){.version_min = 2, .version_max = 5}, true);
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    teardown(state);
    make(&(struct rpc_config){.version_min = 1, .version_max = 3},
         &(struct rpc_config){.version_min = 4, .version_max = 5}, true);
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    assert_int_equal(rpc_peer_last_error(peer), ERR_VERSION);
    assert_int_equal(requests_seen, 0);
    assert_int_equal(peer_downs, 1);
    teardown(state);
}

static void another_node_at_the_address_is_not_called(void **state)
{
    (void)state;
    struct rpc_peer *right = peer;
    struct test_call t;
    peer = rpc_peer_get(client, "server:1", "somebody else");
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    assert_int_equal(rpc_peer_last_error(peer), ERR_AUTH);
    assert_string_equal(rpc_peer_node_id(peer), "somebody else");
    peer = right;
}

/* ---- ends ---- */

static void closing_ends_calls_and_requests(void **state)
{
    (void)state;
    struct test_call t[3], refused;
    bool done = false;
    hold = true;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(start(&t[i], i), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 2);
    rpc_close(client, set_flag, &done);
    assert_int_equal(start(&refused, 1), ERR_SHUTDOWN);
    assert_int_equal(cast(1), ERR_SHUTDOWN);
    assert_int_equal(ended, 0);
    fake_run_until(&world, &done);
    assert_int_equal(t[0].err, ERR_CANCELED);
    assert_int_equal(t[1].err, ERR_CANCELED);
    client = NULL;
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 2);
    /* The server closes before its handlers have answered: they may do it afterwards. */
    done = false;
    rpc_close(server, set_flag, &done);
    fake_run_until(&world, &done);
    server = NULL;
    release();
}

static void a_draining_server_refuses_what_is_new(void **state)
{
    (void)state;
    struct test_call old, new;
    hold = true;
    assert_int_equal(start(&old, 1), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    rpc_stop_listening(server);
    rpc_drain(server);
    assert_int_equal(start(&new, 2), OK);
    end(&new, ERR_SHUTDOWN);
    assert_int_equal(cast(3), OK); /* what needs no answer still gets in */
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 1);
    release();
    end(&old, OK);
    assert_int_equal(rpc_requests_under_way(server), 0);
}

/* Random calls, casts, cancellations, breaks and duplicates: every call ends once, nothing is answered
 * wrongly, nothing leaks; and the same seed gives the same world. */
static uint64_t random_world(unsigned seed)
{
    static struct test_call t[400];
    unsigned started = 0;
    make(&(struct rpc_config){.calls_max_per_peer = 16},
         &(struct rpc_config){.requests_max_per_conn = 4}, true);
    srand(seed);
    for (unsigned i = 0; i < 400; i++) {
        hold = rand() % 3 == 0;
        world.duplicate_flags = rand() % 4 == 0 ? 0xff : 0;
        world.drop_flags = rand() % 8 == 0 ? FRAME_CANCEL | FRAME_RESPONSE : 0;
        reply_in_cancel = rand() % 2;
        if (rand() % 20 == 0)
            world.close_at = world.events_done + 1 + (unsigned)rand() % 5;
        unsigned what = (unsigned)rand() % 8;
        uint64_t timeout = (1 + (uint64_t)rand() % 40) * NS_PER_MS;
        if (what < 5)
            started += start_method(&t[started], &method_echo, started, timeout,
                                    (size_t)rand() % 2000) == OK;
        else if (what == 5)
            (void)cast(i);
        else if (what == 6 && started > 0)
            rpc_call_cancel(&t[started - 1 - (unsigned)rand() % MIN(started, 8u)].call);
        else
            release();
        fake_run_for(&world, (uint64_t)rand() % 4 * NS_PER_MS);
        if (!rpc_peer_is_up(peer) && rand() % 4 == 0)
            fake_run_for(&world, NS_PER_SEC);
    }
    world.close_at = 0;
    release();
    hold = false;
    fake_run_for(&world, NS_PER_SEC);
    release();
    unsigned good = 0;
    for (unsigned i = 0; i < started; i++) {
        assert_int_equal(t[i].ends, 1);
        good += t[i].err == OK;
        if (t[i].err == OK)
            assert_int_equal(t[i].offset, i + 1);
    }
    assert_true(started > 50 && good > 10);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.calls, started);
    assert_int_equal(s.calls_now, 0);
    assert_int_equal(s.protocol_errors, 0);
    uint64_t hash = world.events_done * 1000003 + world.now_ns + world.random + s.bytes_sent;
    teardown(NULL);
    return hash;
}

static void random_worlds_hold_and_repeat(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++)
        assert_true(random_world(seed) == random_world(seed));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
/* makes its own world, after that of setup has gone */
#define OWN(f) cmocka_unit_test(f)
    const struct CMUnitTest tests[] = {
        T(a_call_comes_back),
        T(an_error_comes_back),
        T(calls_wait_for_the_connection),
        T(an_absent_peer_is_unreachable_then_found),
        T(attempts_end_when_nobody_asks),
        T(a_black_hole_costs_the_connect_timeout),
        T(a_timeout_is_told_and_a_late_answer_dropped),
        T(a_cancelled_call_ends_later),
        T(a_callback_may_cancel_another_call),
        T(lost_frames_end_by_the_deadline),
        T(duplicated_frames_do_nothing),
        OWN(the_connection_breaks_at_each_step),
        T(casts_arrive_or_are_refused),
        OWN(the_clients_window_refuses),
        OWN(the_servers_windows_stop_reading),
        OWN(room_made_by_one_connection_is_given_to_another),
        OWN(answers_that_pile_up_stop_reading),
        OWN(a_net_that_cannot_stop_reading_makes_the_server_refuse),
        T(roles_and_methods_are_checked),
        T(messages_that_do_not_parse_are_answered),
        T(a_message_that_explodes_is_refused),
        T(a_client_that_breaks_the_protocol_is_closed),
        T(a_server_that_breaks_the_protocol_is_closed),
        OWN(versions_are_negotiated),
        T(another_node_at_the_address_is_not_called),
        T(closing_ends_calls_and_requests),
        T(a_draining_server_refuses_what_is_new),
        OWN(random_worlds_hold_and_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
