/* Life of the RPC layer, packing and unpacking, statistics. */
#include "common/rpc/rpc_impl.h"

#include "common/base/check.h"

#include <stdlib.h>

/* ---- messages ---- */

int rpc_pack(struct rpc *rpc, const ProtobufCMessage *msg, struct slice *ret)
{
    size_t len = msg ? protobuf_c_message_get_packed_size(msg) : 0;
    if (len > FRAME_MSG_BYTES_MAX)
        return ERR_TOO_LARGE;
    if (rpc->pack.cap > RPC_PACK_KEEP_BYTES && len <= RPC_PACK_KEEP_BYTES)
        buf_fini(&rpc->pack);
    buf_clear(&rpc->pack);
    if (buf_reserve(&rpc->pack, len) != OK)
        return ERR_NOMEM;
    if (len > 0)
        rpc->pack.len = protobuf_c_message_pack(msg, rpc->pack.ptr);
    CHECK(rpc->pack.len == len);
    *ret = buf_view(&rpc->pack);
    return OK;
}

int rpc_payload_bytes(const struct payload *payload, unsigned count, size_t *ret)
{
    size_t sum = 0;
    CHECK(count <= FRAME_PAYLOAD_SLICES_MAX);
    for (unsigned i = 0; i < count; i++) {
        if (payload[i].bytes.len > FRAME_PAYLOAD_BYTES_MAX - sum)
            return ERR_TOO_LARGE;
        sum += payload[i].bytes.len;
    }
    *ret = sum;
    return OK;
}

static void *arena_allocate(void *data, size_t len)
{
    struct rpc_arena *a = data;
    void *p = arena_alloc(&a->arena, len);
    a->refused |= !p;
    return p;
}

static void arena_free_nothing(void *data, void *ptr)
{
    (void)data;
    (void)ptr;
}

void rpc_arena_init(struct rpc_arena *a)
{
    arena_init(&a->arena, 0);
    a->allocator = (ProtobufCAllocator){arena_allocate, arena_free_nothing, a};
}

/* A few bytes of a message can stand for a large struct (a repeated field of empty messages), so
 * the bound leaves room for what is honest and stops what is not. */
static size_t unpacked_bytes_max(size_t len)
{
    return MIN((1u << 20) + 32 * len, (64u << 20) + 2 * len);
}

int rpc_unpack(struct rpc_arena *a, const ProtobufCMessageDescriptor *type, struct slice bytes,
               ProtobufCMessage **ret)
{
    a->arena.bytes_max = unpacked_bytes_max(bytes.len);
    a->refused = false;
    ProtobufCMessage *msg = protobuf_c_message_unpack(type, &a->allocator, bytes.len, bytes.ptr);
    if (!msg)
        return a->refused ? ERR_NOMEM : ERR_PROTO;
    *ret = msg;
    return OK;
}

/* ---- frames ---- */

static uint64_t frame_bytes(const struct frame *f)
{
    uint64_t sum = FRAME_HEADER_BYTES + f->msg.bytes.len;
    for (unsigned i = 0; i < f->payload_count; i++)
        sum += f->payload[i].bytes.len;
    return sum;
}

void rpc_count_received(struct rpc *rpc, const struct frame *f)
{
    rpc->stats.bytes_received += frame_bytes(f);
}

int rpc_send_frame(struct rpc *rpc, struct net_conn *conn, const struct frame *f)
{
    int err = rpc->net->ops->send(conn, f);
    if (err == OK)
        rpc->stats.bytes_sent += frame_bytes(f);
    return err;
}

int rpc_send_hello(struct rpc *rpc, struct net_conn *conn)
{
    uint8_t bytes[FRAME_HELLO_BYTES];
    frame_encode_hello(&rpc->hello, bytes);
    struct frame f = {
        .flags = FRAME_HELLO,
        .version = (uint8_t)rpc->hello.version_max,
        .msg = {NULL, SLICE(bytes, sizeof(bytes))},
    };
    return rpc_send_frame(rpc, conn, &f);
}

/* ---- life ---- */

int rpc_new(struct env *env, struct net *net, const struct rpc_config *config, struct rpc **ret)
{
    struct rpc *rpc = calloc(1, sizeof(*rpc));
    if (!rpc)
        return ERR_NOMEM;
    rpc->env = env;
    rpc->net = net;
    rpc->config = *config;
    struct rpc_config *c = &rpc->config;
    c->node_id = NULL; /* not needed: the certificate says who we are */
    c->calls_max_per_peer = c->calls_max_per_peer ? c->calls_max_per_peer : 4096;
    c->queued_bytes_max = c->queued_bytes_max ? c->queued_bytes_max : 64ull << 20;
    c->queued_bytes_max = MAX(c->queued_bytes_max, (uint64_t)RPC_QUEUED_BYTES_MIN);
    c->requests_max_per_conn = c->requests_max_per_conn ? c->requests_max_per_conn : 1024;
    c->request_bytes_max = c->request_bytes_max ? c->request_bytes_max : 256ull << 20;
    c->connect_timeout_ms = c->connect_timeout_ms ? c->connect_timeout_ms : 2000;
    rpc->hello.version_min = c->version_min ? c->version_min : RPC_VERSION_MIN;
    rpc->hello.version_max = c->version_max ? c->version_max : RPC_VERSION_MAX;
    list_init(&rpc->peers);
    for (size_t i = 0; i < RPC_PEER_BUCKETS; i++)
        list_init(&rpc->peer_buckets[i]);
    for (size_t i = 0; i < RPC_HANDLER_BUCKETS; i++)
        list_init(&rpc->served[i]);
    list_init(&rpc->conns);
    list_init(&rpc->stopped);
    list_init(&rpc->spare);
    rpc_arena_init(&rpc->cast_arena);
    *ret = rpc;
    return OK;
}

struct env *rpc_env(struct rpc *rpc)
{
    return rpc->env;
}

/* The memory goes with the last request that its handler has still to answer. */
static void rpc_free(struct rpc *rpc)
{
    while (!list_empty(&rpc->spare)) {
        struct rpc_incoming *in =
            container_of(list_pop_front(&rpc->spare), struct rpc_incoming, bucket_node);
        arena_fini(&in->arena.arena);
        free(in);
    }
    arena_fini(&rpc->cast_arena.arena);
    buf_fini(&rpc->pack);
    free(rpc);
}

static void rpc_close_done(struct env_timer *timer)
{
    struct rpc *rpc = container_of(timer, struct rpc, close_timer);
    void (*done)(void *arg) = rpc->done;
    void *arg = rpc->done_arg;
    rpc->closed = true;
    rpc_peers_free(rpc);
    rpc_served_free(rpc);
    if (rpc->stats.requests_now == 0)
        rpc_free(rpc);
    if (done)
        done(arg);
}

void rpc_maybe_closed(struct rpc *rpc)
{
    if (rpc->closed) {
        if (rpc->stats.requests_now == 0)
            rpc_free(rpc);
    } else if (rpc->closing && rpc->conns_open == 0 && rpc->calls_open == 0) {
        /* Never within the callback that brought us here. */
        if (!rpc->close_timer.active)
            env_timer_start(&rpc->close_timer, 0);
    }
}

void rpc_close(struct rpc *rpc, void (*done)(void *arg), void *arg)
{
    CHECK(!rpc->closing);
    rpc->closing = true;
    rpc->done = done;
    rpc->done_arg = arg;
    env_timer_init(rpc->env, &rpc->close_timer, rpc_close_done);
    rpc_stop_listening(rpc);
    rpc_peers_close(rpc);
    rpc_conns_close(rpc);
    rpc_maybe_closed(rpc);
}

void rpc_stats(const struct rpc *rpc, struct rpc_stats *ret)
{
    *ret = rpc->stats;
    ret->calls_now = rpc->calls_open;
}

size_t rpc_requests_under_way(const struct rpc *rpc)
{
    size_t count = (size_t)rpc->stats.requests_now;
    list_for_each(it, &rpc->conns)
    {
        struct rpc_conn *c = container_of(it, struct rpc_conn, node);
        count += rpc->net->ops->queued_bytes(c->conn) > 0;
    }
    return count;
}
