/* Calls over real TLS: two RPC layers, each with its own net, the server once on a thread of its
 * own. */
#include "certs.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/rpc/rpc.h"
#include "proto/raft.pb-c.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct rpc_method method_echo = {
    1000, "test.echo", &cairn__snapshot_chunk_request__descriptor,
    &cairn__snapshot_chunk_response__descriptor, NET_ROLE_GATEWAY};
static const struct rpc_method method_witness = {
    1001, "test.witness", &cairn__snapshot_chunk_request__descriptor,
    &cairn__snapshot_chunk_response__descriptor, NET_ROLE_WITNESS};
#define HOLD_OFFSET 1000000u

static struct net_tls_ctx *server_ctx, *client_ctx;

/* A process: its loop, net and RPC layer. */
struct node {
    uv_loop_t loop;
    struct env_uv env;
    struct net *net;
    struct rpc *rpc;
    bool rpc_closed, net_closed;
    struct rpc_request *held[64];
    unsigned held_count, canceled;
};
static struct node here, there;
static struct rpc_peer *peer;
static struct env_timer watchdog;
static char addr[32];

static void on_cancel(struct rpc_request *req)
{
    struct node *n = req->user;
    n->canceled++;
}

static void on_echo(void *arg, struct rpc_request *req)
{
    struct node *n = arg;
    const Cairn__SnapshotChunkRequest *msg = (const void *)req->msg;
    Cairn__SnapshotChunkResponse r = CAIRN__SNAPSHOT_CHUNK_RESPONSE__INIT;
    r.offset = msg->offset + 1;
    if (msg->offset == HOLD_OFFSET) {
        req->user = n;
        req->on_cancel = on_cancel;
        n->held[n->held_count++] = req;
        return;
    }
    /* Asked for more: a payload of that many times what came. */
    struct payload out[FRAME_PAYLOAD_SLICES_MAX];
    unsigned count = req->payload.bytes.len ? MAX(msg->file, 1u) : 0;
    for (unsigned i = 0; i < count; i++)
        out[i] = req->payload;
    rpc_reply(req, OK, &r.base, out, count);
}

static void on_watchdog(struct env_timer *t)
{
    (void)t;
    fprintf(stderr, "the test hangs\n");
    abort();
}

static void node_open(struct node *n, struct net_tls_ctx *ctx)
{
    memset(n, 0, sizeof(*n));
    assert_int_equal(uv_loop_init(&n->loop), 0);
    assert_int_equal(env_uv_init(&n->env, &n->loop), OK);
    assert_int_equal(net_tls_new(&n->env, ctx, NULL, &n->net), OK);
    assert_int_equal(rpc_new(&n->env.env, n->net, &(struct rpc_config){0}, &n->rpc), OK);
}

/* `there` shares the loop of `here`, unless a test gives it its own. */
static void node_open_beside(struct node *n, struct env_uv *env, struct net_tls_ctx *ctx)
{
    memset(n, 0, sizeof(*n));
    assert_int_equal(net_tls_new(env, ctx, NULL, &n->net), OK);
    assert_int_equal(rpc_new(&env->env, n->net, &(struct rpc_config){0}, &n->rpc), OK);
}

static void node_serve(struct node *n)
{
    assert_int_equal(rpc_serve(n->rpc, &method_echo, on_echo, n), OK);
    assert_int_equal(rpc_serve(n->rpc, &method_witness, on_echo, n), OK);
    assert_int_equal(rpc_listen(n->rpc, addr), OK);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void node_close(struct node *n, struct env_uv *env)
{
    rpc_close(n->rpc, set_flag, &n->rpc_closed);
    env_uv_run_until(env, &n->rpc_closed);
    net_tls_close(n->net, set_flag, &n->net_closed);
    env_uv_run_until(env, &n->net_closed);
    for (unsigned i = 0; i < n->held_count; i++)
        rpc_reply(n->held[i], OK, NULL, NULL, 0);
}

static int accept_nobody(void *arg, struct net_conn *conn, const struct net_identity *id,
                         const struct net_conn_handler **ret_handler, void **ret_arg)
{
    (void)arg, (void)conn, (void)id, (void)ret_handler, (void)ret_arg;
    return ERR_SHUTDOWN;
}

/* A port that was free a moment ago. */
static void find_port(void)
{
    struct net_listener *l;
    assert_int_equal(here.net->ops->listen(here.net, "127.0.0.1:0", accept_nobody, NULL, &l), OK);
    snprintf(addr, sizeof(addr), "127.0.0.1:%d", net_tls_listener_port(l));
    here.net->ops->listener_close(l);
}

static int setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    node_open(&here, client_ctx);
    find_port();
    node_open_beside(&there, &here.env, server_ctx);
    node_serve(&there);
    peer = rpc_peer_get(here.rpc, addr, "node-server");
    env_timer_init(&here.env.env, &watchdog, on_watchdog);
    env_timer_start(&watchdog, 20 * NS_PER_SEC);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    env_timer_stop(&watchdog);
    if (there.rpc)
        node_close(&there, &here.env);
    node_close(&here, &here.env);
    env_uv_fini(&here.env);
    assert_int_equal(uv_loop_close(&here.loop), 0);
    return 0;
}

struct test_call {
    struct rpc_call call;
    bool done;
    int err;
    uint64_t offset;
    size_t payload_len;
    uint32_t payload_crc;
};

static void call_cb(struct rpc_call *call)
{
    struct test_call *t = container_of(call, struct test_call, call);
    t->done = true;
    t->err = call->err;
    if (call->response)
        t->offset = ((Cairn__SnapshotChunkResponse *)(void *)call->response)->offset;
    t->payload_len = call->response_payload.bytes.len;
    t->payload_crc = crc32c(0, call->response_payload.bytes);
    rpc_call_fini(call);
}

static int start(struct test_call *t, const struct rpc_method *method, uint64_t offset,
                 uint32_t times, struct rcbuf *payload, uint64_t timeout_ns)
{
    *t = (struct test_call){0};
    Cairn__SnapshotChunkRequest msg = CAIRN__SNAPSHOT_CHUNK_REQUEST__INIT;
    msg.offset = offset;
    msg.file = times;
    t->call.method = method;
    t->call.request = &msg.base;
    t->call.timeout_ns = timeout_ns;
    t->call.cb = call_cb;
    if (payload) {
        t->call.payload[0] = (struct payload){payload, SLICE(payload->data, payload->len)};
        t->call.payload_count = 1;
    }
    return rpc_call_start(peer, &t->call);
}

static void end(struct test_call *t, int err)
{
    env_uv_run_until(&here.env, &t->done);
    assert_string_equal(err_name(t->err), err_name(err));
}

static void calls_and_roles(void **state)
{
    (void)state;
    struct test_call t;
    assert_int_equal(start(&t, &method_echo, 41, 0, NULL, NS_PER_SEC), OK);
    end(&t, OK);
    assert_int_equal(t.offset, 42);
    assert_int_equal(start(&t, &method_witness, 41, 0, NULL, NS_PER_SEC), OK);
    end(&t, ERR_AUTH);
    peer = rpc_peer_get(here.rpc, addr, "node-other");
    assert_int_equal(start(&t, &method_echo, 41, 0, NULL, NS_PER_SEC), OK);
    end(&t, ERR_UNREACHABLE);
    assert_int_equal(rpc_peer_last_error(peer), ERR_AUTH);
}

static void large_payloads_both_ways(void **state)
{
    (void)state;
    struct test_call t[4];
    struct rcbuf *b = rcbuf_new(20 << 20);
    assert_non_null(b);
    b->len = b->cap;
    for (size_t i = 0; i < b->len; i++)
        b->data[i] = (uint8_t)(i * 2654435761u >> 13);
    uint32_t crc = crc32c(0, SLICE(b->data, b->len));
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(start(&t[i], &method_echo, i, 1, b, 20 * NS_PER_SEC) == OK, i < 3);
    for (unsigned i = 0; i < 3; i++) { /* the fourth is beyond 64 MiB */
        end(&t[i], OK);
        assert_int_equal(t[i].payload_len, b->len);
        assert_int_equal(t[i].payload_crc, crc);
    }
    assert_int_equal(start(&t[0], &method_echo, 1, 2, b, 10 * NS_PER_SEC), OK);
    end(&t[0], ERR_TOO_LARGE); /* the answer would be 40 MiB */
    rcbuf_unref(b);
}

/* The server goes away with calls under way and comes back: each call ends with the truth, and the
 * peer is found again without help. */
static void a_server_that_restarts(void **state)
{
    (void)state;
    struct test_call held, t;
    assert_int_equal(start(&held, &method_echo, HOLD_OFFSET, 0, NULL, 10 * NS_PER_SEC), OK);
    while (there.held_count == 0)
        uv_run(&here.loop, UV_RUN_ONCE);
    node_close(&there, &here.env);
    there.rpc = NULL;
    end(&held, ERR_CONN_LOST);
    assert_int_equal(there.canceled, 1);
    while (
        rpc_peer_is_up(peer)) /* one attempt at once, as it was up; then it is known to be down */
        uv_run(&here.loop, UV_RUN_ONCE);
    assert_int_equal(start(&t, &method_echo, 1, 0, NULL, NS_PER_SEC), ERR_UNREACHABLE);
    node_open_beside(&there, &here.env, server_ctx);
    node_serve(&there);
    while (!rpc_peer_is_up(peer))
        uv_run(&here.loop, UV_RUN_ONCE);
    assert_int_equal(start(&t, &method_echo, 1, 0, NULL, NS_PER_SEC), OK);
    end(&t, OK);
}

static void a_cancel_reaches_the_handler(void **state)
{
    (void)state;
    struct test_call t, other;
    assert_int_equal(start(&t, &method_echo, HOLD_OFFSET, 0, NULL, 10 * NS_PER_SEC), OK);
    while (there.held_count == 0)
        uv_run(&here.loop, UV_RUN_ONCE);
    rpc_call_cancel(&t.call);
    end(&t, ERR_CANCELED);
    assert_int_equal(start(&other, &method_echo, 1, 0, NULL, NS_PER_SEC), OK);
    end(&other, OK);
    assert_int_equal(there.canceled, 1);
    assert_int_equal(start(&t, &method_echo, HOLD_OFFSET, 0, NULL, 20 * NS_PER_MS), OK);
    end(&t, ERR_TIMEOUT);
}

/* ---- the server on a thread of its own; both share nothing but the machine and OpenSSL ---- */

static struct node far;
static bool far_stop;
static struct env_uv_post far_post;
static uv_sem_t far_up;

static void far_stop_cb(struct env_uv_post *p)
{
    (void)p;
    far_stop = true;
}

static void far_run(void *arg)
{
    (void)arg;
    node_open(&far, server_ctx);
    node_serve(&far);
    uv_sem_post(&far_up);
    env_uv_run_until(&far.env, &far_stop);
    node_close(&far, &far.env);
    env_uv_fini(&far.env);
    CHECK(uv_loop_close(&far.loop) == 0);
}

static void two_threads(void **state)
{
    (void)state;
    uv_thread_t thread;
    far_stop = false;
    node_close(&there, &here.env);
    there.rpc = NULL;
    uv_sem_init(&far_up, 0);
    assert_int_equal(uv_thread_create(&thread, far_run, NULL), 0);
    uv_sem_wait(&far_up);
    struct test_call t[64];
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(start(&t[i], &method_echo, i, 0, NULL, 5 * NS_PER_SEC), OK);
        for (unsigned i = 0; i < 64; i++) {
            end(&t[i], OK);
            assert_int_equal(t[i].offset, i + 1);
        }
    }
    far_post.fn = far_stop_cb;
    env_uv_post(&far.env.env, &far_post);
    uv_thread_join(&thread);
    uv_sem_destroy(&far_up);
}

/* ---- how fast: printed, not judged ---- */

struct bench_call {
    struct rpc_call call;
    unsigned *left;
    unsigned *running;
};

static void bench_next(struct bench_call *b);

static void bench_cb(struct rpc_call *call)
{
    struct bench_call *b = container_of(call, struct bench_call, call);
    assert_int_equal(call->err, OK);
    rpc_call_fini(call);
    --*b->running;
    bench_next(b);
}

static void bench_next(struct bench_call *b)
{
    if (*b->left == 0)
        return;
    --*b->left;
    ++*b->running;
    Cairn__SnapshotChunkRequest msg = CAIRN__SNAPSHOT_CHUNK_REQUEST__INIT;
    uint8_t header[100] = {0};
    msg.header = (ProtobufCBinaryData){sizeof(header), header};
    b->call.method = &method_echo;
    b->call.request = &msg.base;
    b->call.timeout_ns = 10 * NS_PER_SEC;
    b->call.cb = bench_cb;
    assert_int_equal(rpc_call_start(peer, &b->call), OK);
}

static double cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void bench_calls(unsigned total, unsigned depth)
{
    static struct bench_call calls[64];
    unsigned left = total, running = 0;
    struct net_tls_stats before, after;
    memset(calls, 0, sizeof(calls));
    net_tls_stats(here.net, &before);
    double start_s = cpu_seconds();
    for (unsigned i = 0; i < depth; i++) {
        calls[i].left = &left;
        calls[i].running = &running;
        bench_next(&calls[i]);
    }
    while (running > 0)
        uv_run(&here.loop, UV_RUN_ONCE);
    double took = cpu_seconds() - start_s;
    net_tls_stats(here.net, &after);
    print_message(
        "%u in flight, both ends on one core: %.0f calls/s; %.2f writes, %.2f reads a call\n",
        depth, total / took, (double)(after.writes - before.writes) / total,
        (double)(after.reads - before.reads) / total);
}

static void calls_per_second(void **state)
{
    (void)state;
    const char *env_total = getenv("BENCH_CALLS");
    unsigned total = env_total ? (unsigned)atoi(env_total) : 4000;
    bench_calls(total, 64);
    bench_calls(total / 8, 1);
}

static void megabytes_per_second(void **state)
{
    (void)state;
    const char *env_total = getenv("BENCH_ROUNDS");
    unsigned total = env_total ? (unsigned)atoi(env_total) : 8;
    struct rcbuf *b = rcbuf_new(4 << 20);
    assert_non_null(b);
    memset(b->data, 1, b->cap);
    b->len = b->cap;
    struct test_call t[4];
    double start_s = cpu_seconds();
    for (unsigned i = 0; i < total + 4; i++) {
        if (i >= 4)
            end(&t[i % 4], OK);
        if (i < total)
            assert_int_equal(start(&t[i % 4], &method_echo, 1, 1, b, 10 * NS_PER_SEC), OK);
    }
    double took = cpu_seconds() - start_s;
    rcbuf_unref(b);
    print_message("4 MiB there and back, four in flight: %.0f MB/s\n", total * 2 * 4.194304 / took);
}

int main(void)
{
    int err;
    struct test_ca *ca = test_ca_new("ca");
    test_cert_write(ca, "server", "node-server", NULL, "metanode", 10);
    test_cert_write(ca, "client", "node-client", NULL, "gateway", 10);
    server_ctx = test_ctx("ca", "server", &err);
    client_ctx = test_ctx("ca", "client", &err);
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(calls_and_roles),
        T(large_payloads_both_ways),
        T(a_server_that_restarts),
        T(a_cancel_reaches_the_handler),
        T(two_threads),
        T(calls_per_second),
        T(megabytes_per_second),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    net_tls_ctx_free(server_ctx);
    net_tls_ctx_free(client_ctx);
    test_ca_free(ca);
    certs_remove();
    return failed;
}
