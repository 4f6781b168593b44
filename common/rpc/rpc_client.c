/* Peers, and the calls and casts that go to them.
 *
 * A call's end is decided once: by the response, its timeout, a cancellation, or the connection.
 * Where that happens inside a function that the user called, or for many calls at once, the
 * callback is left to the call's timer, on the next turn.  A call whose end is decided is in no
 * table any more, so whatever still arrives for it finds nothing.
 *
 * Request ids grow by one along the life of a peer object, over all its connections, and are given
 * at the moment of sending: the server drops what does not grow, which makes duplicates harmless.
 */
#include "common/rpc/rpc_impl.h"

#include "common/base/check.h"
#include "common/base/hash.h"

#include <stdlib.h>

static void peer_connect(struct rpc_peer *peer);

/* ---- the end of a call ---- */

static void queued_free(struct rpc_queued *q)
{
    if (!q)
        return;
    for (unsigned i = 0; i < q->payload_count; i++)
        payload_unref(&q->payload[i]);
    free(q);
}

/* Out of every table; the call counts no more against the window. */
static void call_unlink(struct rpc_call *call)
{
    struct rpc_peer *peer = call->peer;
    CHECK(call->state == CALL_QUEUED || call->state == CALL_SENT);
    CHECK(peer->call_count > 0);
    list_remove(&call->node);
    list_remove(&call->hash_node);
    peer->call_count--;
    if (call->queued) {
        peer->queued_bytes -= call->queued->bytes;
        queued_free(call->queued);
        call->queued = NULL;
    }
}

/* Calls back; the call may be gone afterwards. */
static void call_end(struct rpc_call *call)
{
    struct rpc *rpc = call->peer->rpc;
    struct rpc_stats *s = &rpc->stats;
    call->state = CALL_DONE;
    s->calls++;
    s->calls_failed += call->err != OK;
    s->timeouts += call->err == ERR_TIMEOUT;
    s->cancels += call->err == ERR_CANCELED;
    s->conn_lost += call->err == ERR_CONN_LOST;
    s->unreachable += call->err == ERR_UNREACHABLE;
    rpc->calls_open--;
    call->cb(call);
    rpc_maybe_closed(rpc);
}

static void call_end_soon(struct rpc_call *call, int err)
{
    call_unlink(call);
    call->state = CALL_ENDING;
    call->err = err;
    env_timer_start(&call->timer, 0);
}

static void call_send_cancel(struct rpc_call *call)
{
    struct rpc_peer *peer = call->peer;
    if (call->state != CALL_SENT || peer->state != PEER_UP)
        return;
    struct frame f = {
        .kind = call->method->kind,
        .flags = FRAME_CANCEL,
        .version = peer->version,
        .request_id = call->id,
    };
    (void)rpc_send_frame(peer->rpc, peer->conn, &f); /* the server also has the deadline */
}

static void call_timer_cb(struct env_timer *timer)
{
    struct rpc_call *call = container_of(timer, struct rpc_call, timer);
    if (call->state != CALL_ENDING) {
        call_send_cancel(call);
        /* What was never handed to a connection did not happen. */
        call->err = call->state == CALL_SENT ? ERR_TIMEOUT : ERR_UNREACHABLE;
        call_unlink(call);
    }
    call_end(call);
}

void rpc_call_cancel(struct rpc_call *call)
{
    if (call->state != CALL_QUEUED && call->state != CALL_SENT)
        return;
    call_send_cancel(call);
    call_end_soon(call, ERR_CANCELED);
}

void rpc_call_fini(struct rpc_call *call)
{
    CHECK(call->state == CALL_IDLE || call->state == CALL_DONE);
    if (call->arena) {
        arena_fini(&call->arena->arena);
        free(call->arena);
    } else if (call->response) {
        protobuf_c_message_free_unpacked(call->response, NULL);
    }
    call->arena = NULL;
    call->response = NULL;
    payload_unref(&call->response_payload);
    call->state = CALL_IDLE;
}

/* ---- sending ---- */

static uint32_t timeout_left_ms(uint64_t deadline_ns, uint64_t now_ns)
{
    uint64_t left = deadline_ns > now_ns ? (deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    return (uint32_t)MIN(MAX(left, 1ull), (uint64_t)UINT32_MAX);
}

/* Hands the call to the peer's connection.  Returns: OK; what net's send returns. */
static int call_send(struct rpc_call *call, struct slice msg, const struct payload *payload,
                     unsigned payload_count)
{
    struct rpc_peer *peer = call->peer;
    struct rpc *rpc = peer->rpc;
    CHECK(peer->state == PEER_UP);
    struct frame f = {
        .kind = call->method->kind,
        .flags = FRAME_REQUEST,
        .version = peer->version,
        .request_id = peer->last_id + 1,
        .timeout_ms = timeout_left_ms(call->deadline_ns, env_now_ns(rpc->env)),
        .msg = {NULL, msg},
        .payload_count = payload_count,
    };
    for (unsigned i = 0; i < payload_count; i++)
        f.payload[i] = payload[i];
    int err = rpc_send_frame(rpc, peer->conn, &f);
    if (err != OK)
        return err;
    call->id = ++peer->last_id;
    call->state = CALL_SENT;
    list_push_back(&peer->sent, &call->node);
    list_push_back(&peer->buckets[call->id % RPC_CALL_BUCKETS], &call->hash_node);
    return OK;
}

/* A copy of the message, with references to the payload, that can wait.  NULL: out of memory. */
static struct rpc_queued *queued_new(const struct rpc_method *method, struct slice msg,
                                     const struct payload *payload, unsigned payload_count,
                                     size_t bytes)
{
    struct rpc_queued *q = malloc(sizeof(*q) + msg.len);
    if (!q)
        return NULL;
    list_init(&q->node);
    q->method = method;
    q->bytes = bytes;
    q->payload_count = 0;
    q->msg_len = msg.len;
    if (msg.len)
        memcpy(q->msg, msg.ptr, msg.len);
    for (unsigned i = 0; i < payload_count; i++) {
        struct payload p = payload[i];
        if (p.owner || p.bytes.len == 0) {
            q->payload[q->payload_count++] = payload_ref(p);
            continue;
        }
        struct rcbuf *copy = rcbuf_copy(p.bytes);
        if (!copy) {
            queued_free(q);
            return NULL;
        }
        q->payload[q->payload_count++] = (struct payload){copy, SLICE(copy->data, p.bytes.len)};
    }
    return q;
}

/* May something of this size go to the peer now?  Starts connecting if need be.
 * Returns: OK; ERR_SHUTDOWN, ERR_UNREACHABLE, ERR_LIMIT. */
static int peer_admit(struct rpc_peer *peer, size_t bytes, uint64_t tried_since_ns)
{
    struct rpc *rpc = peer->rpc;
    if (rpc->closing)
        return ERR_SHUTDOWN;
    peer->used_ns = env_now_ns(rpc->env);
    if (peer->state == PEER_BACKOFF && peer->tried_ns < tried_since_ns) {
        env_timer_stop(&peer->timer);
        peer->state = PEER_IDLE;
    }
    if (peer->state == PEER_IDLE)
        peer_connect(peer);
    if (peer->state == PEER_BACKOFF || peer->state == PEER_CLOSING)
        return ERR_UNREACHABLE;
    uint64_t queued = peer->queued_bytes;
    if (peer->state == PEER_UP)
        queued += rpc->net->ops->queued_bytes(peer->conn);
    /* One frame always fits, so that a small window slows down but does not stop. */
    return queued > 0 && queued + bytes > rpc->config.queued_bytes_max ? ERR_LIMIT : OK;
}

static int call_start(struct rpc_peer *peer, struct rpc_call *call)
{
    struct rpc *rpc = peer->rpc;
    struct slice msg;
    size_t payload_bytes;
    if (peer->call_count >= rpc->config.calls_max_per_peer)
        return ERR_LIMIT;
    int err = rpc_payload_bytes(call->payload, call->payload_count, &payload_bytes);
    if (err == OK)
        err = rpc_pack(rpc, call->request, &msg);
    if (err != OK)
        return err;
    size_t bytes = FRAME_HEADER_BYTES + msg.len + payload_bytes;
    err = peer_admit(peer, bytes, call->tried_since_ns);
    if (err != OK)
        return err;
    call->peer = peer;
    if (peer->state == PEER_UP) {
        err = call_send(call, msg, call->payload, call->payload_count);
        return err == ERR_CONN_LOST ? ERR_UNREACHABLE : err;
    }
    call->queued = queued_new(call->method, msg, call->payload, call->payload_count, bytes);
    if (!call->queued)
        return ERR_NOMEM;
    call->state = CALL_QUEUED;
    peer->queued_bytes += bytes;
    list_push_back(&peer->queued, &call->node);
    return OK;
}

int rpc_call_start(struct rpc_peer *peer, struct rpc_call *call)
{
    struct rpc *rpc = peer->rpc;
    CHECK(call->state == CALL_IDLE && !call->arena && !call->queued);
    CHECK(call->method->response != NULL && call->cb != NULL);
    list_init(&call->node);
    list_init(&call->hash_node);
    env_timer_init(rpc->env, &call->timer, call_timer_cb);
    call->err = OK;
    call->response = NULL;
    call->response_payload = (struct payload){NULL, SLICE_EMPTY};
    call->response_block_crcs = NULL;
    uint64_t now = env_now_ns(rpc->env);
    call->deadline_ns = call->timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + call->timeout_ns;
    int err = call_start(peer, call);
    if (err != OK) {
        rpc->stats.calls_refused++;
        return err;
    }
    peer->call_count++;
    rpc->calls_open++;
    env_timer_start(&call->timer, call->timeout_ns);
    return OK;
}

static int cast_send(struct rpc_peer *peer, const struct rpc_method *method, struct slice msg,
                     const struct payload *payload, unsigned payload_count)
{
    struct frame f = {
        .kind = method->kind,
        .flags = FRAME_CAST,
        .version = peer->version,
        .msg = {NULL, msg},
        .payload_count = payload_count,
    };
    for (unsigned i = 0; i < payload_count; i++)
        f.payload[i] = payload[i];
    int err = rpc_send_frame(peer->rpc, peer->conn, &f);
    if (err == OK)
        peer->rpc->stats.casts_sent++;
    return err == ERR_CONN_LOST ? ERR_UNREACHABLE : err;
}

static int cast_start(struct rpc_peer *peer, const struct rpc_method *method,
                      const ProtobufCMessage *request, const struct payload *payload,
                      unsigned payload_count)
{
    struct slice msg;
    size_t payload_bytes;
    int err = rpc_payload_bytes(payload, payload_count, &payload_bytes);
    if (err == OK)
        err = rpc_pack(peer->rpc, request, &msg);
    if (err != OK)
        return err;
    size_t bytes = FRAME_HEADER_BYTES + msg.len + payload_bytes;
    err = peer_admit(peer, bytes, 0);
    if (err != OK)
        return err;
    if (peer->state == PEER_UP)
        return cast_send(peer, method, msg, payload, payload_count);
    struct rpc_queued *q = queued_new(method, msg, payload, payload_count, bytes);
    if (!q)
        return ERR_NOMEM;
    peer->queued_bytes += bytes;
    list_push_back(&peer->queued_casts, &q->node);
    return OK;
}

int rpc_cast(struct rpc_peer *peer, const struct rpc_method *method, const ProtobufCMessage *msg,
             const struct payload *payload, unsigned payload_count)
{
    CHECK(method->response == NULL);
    int err = cast_start(peer, method, msg, payload, payload_count);
    if (err != OK)
        peer->rpc->stats.casts_dropped++;
    return err;
}

/* ---- what the peer says ---- */

static void peer_close(struct rpc_peer *peer, int err)
{
    CHECK(peer->state == PEER_CONNECTING || peer->state == PEER_UP);
    peer->state = PEER_CLOSING;
    peer->close_err = err;
    peer->rpc->net->ops->conn_close(peer->conn);
}

static void peer_broke_protocol(struct rpc_peer *peer, int err)
{
    peer->rpc->stats.protocol_errors++;
    peer_close(peer, err);
}

static void peer_report(struct rpc_peer *peer, bool up, int err)
{
    const struct rpc_config *config = &peer->rpc->config;
    if (peer->reported == (up ? REPORTED_UP : REPORTED_DOWN))
        return;
    peer->reported = up ? REPORTED_UP : REPORTED_DOWN;
    if (config->on_peer && !peer->rpc->closing)
        config->on_peer(config->on_peer_arg, peer, up, err);
}

/* Everything that waited goes out: casts first, they are about the connection's own time. */
static void peer_send_queued(struct rpc_peer *peer)
{
    while (!list_empty(&peer->queued_casts)) {
        struct rpc_queued *q =
            container_of(list_pop_front(&peer->queued_casts), struct rpc_queued, node);
        peer->queued_bytes -= q->bytes;
        if (cast_send(peer, q->method, SLICE(q->msg, q->msg_len), q->payload, q->payload_count) !=
            OK)
            peer->rpc->stats.casts_dropped++;
        queued_free(q);
    }
    while (!list_empty(&peer->queued)) {
        struct rpc_call *call = container_of(peer->queued.next, struct rpc_call, node);
        struct rpc_queued *q = call->queued;
        list_remove(&call->node);
        int err = call_send(call, SLICE(q->msg, q->msg_len), q->payload, q->payload_count);
        if (err != OK) {
            call_end_soon(call, err == ERR_NOMEM ? ERR_NOMEM : ERR_UNREACHABLE);
            continue;
        }
        peer->queued_bytes -= q->bytes;
        queued_free(q);
        call->queued = NULL;
    }
}

static void peer_hello(struct rpc_peer *peer, const struct frame *f)
{
    struct rpc *rpc = peer->rpc;
    struct frame_hello hello;
    if (peer->state == PEER_UP) {
        rpc->stats.frames_duplicate++;
        return;
    }
    int err = frame_decode_hello(f->msg.bytes, &hello);
    if (err == OK)
        err = frame_common_version(rpc->hello, hello, &peer->version);
    if (err != OK) {
        peer_broke_protocol(peer, err);
        return;
    }
    env_timer_stop(&peer->timer);
    peer->state = PEER_UP;
    peer->up_ns = env_now_ns(rpc->env);
    peer_send_queued(peer);
    peer_report(peer, true, OK);
}

static struct rpc_call *call_find(struct rpc_peer *peer, uint64_t id)
{
    struct list *bucket = &peer->buckets[id % RPC_CALL_BUCKETS];
    list_for_each(it, bucket)
    {
        struct rpc_call *call = container_of(it, struct rpc_call, hash_node);
        if (call->id == id)
            return call;
    }
    return NULL;
}

/* Returns: OK; ERR_PROTO; ERR_NOMEM. */
static int call_take_response(struct rpc_call *call, const struct frame *f)
{
    /* An error without a message says all by its code. */
    bool has_message = f->status == OK || f->msg.bytes.len > 0;
    if (has_message && call->heap_response) {
        /* Whole frames are bounded, and so is what one may claim to be. */
        call->response = protobuf_c_message_unpack(call->method->response, NULL, f->msg.bytes.len,
                                                   f->msg.bytes.ptr);
        if (!call->response)
            return ERR_PROTO;
    } else if (has_message) {
        call->arena = malloc(sizeof(*call->arena));
        if (!call->arena)
            return ERR_NOMEM;
        rpc_arena_init(call->arena);
        int err = rpc_unpack(call->arena, call->method->response, f->msg.bytes, &call->response);
        if (err != OK) {
            arena_fini(&call->arena->arena);
            free(call->arena);
            call->arena = NULL;
            return err;
        }
    }
    if (f->payload_count > 0)
        call->response_payload = payload_ref(f->payload[0]);
    call->response_block_crcs = f->block_crcs;
    call->err = f->status;
    return OK;
}

static void peer_response(struct rpc_peer *peer, const struct frame *f)
{
    struct rpc_call *call = call_find(peer, f->request_id);
    if (!call && f->request_id <= peer->last_id) {
        peer->rpc->stats.responses_late++;
        return;
    }
    if (!call || call->method->kind != f->kind) {
        peer_broke_protocol(peer, ERR_PROTO);
        return;
    }
    int err = call_take_response(call, f);
    if (err == ERR_PROTO) {
        /* The request was carried out, but how it ended is lost: as if the connection had been. */
        peer_broke_protocol(peer, ERR_PROTO);
        return;
    }
    if (err != OK)
        call->err = ERR_CONN_LOST;
    call_unlink(call);
    env_timer_stop(&call->timer);
    call_end(call);
}

static void peer_on_open(void *arg, struct net_conn *conn, const struct net_identity *identity)
{
    struct rpc_peer *peer = arg;
    (void)identity; /* net has compared it with what was asked for */
    int err = rpc_send_hello(peer->rpc, conn);
    if (err != OK)
        peer_close(peer, err);
}

static void peer_on_frame(void *arg, struct net_conn *conn, struct frame *f)
{
    struct rpc_peer *peer = arg;
    (void)conn;
    if (peer->state == PEER_CLOSING)
        return;
    rpc_count_received(peer->rpc, f);
    if (f->flags == FRAME_HELLO)
        peer_hello(peer, f);
    else if (f->flags == FRAME_RESPONSE && peer->state == PEER_UP && f->version == peer->version)
        peer_response(peer, f);
    else
        peer_broke_protocol(peer, ERR_PROTO); /* nobody sends requests this way */
}

/* ---- connecting and losing ---- */

static void peer_fail_calls(struct rpc_peer *peer)
{
    while (!list_empty(&peer->sent))
        call_end_soon(container_of(peer->sent.next, struct rpc_call, node), ERR_CONN_LOST);
    while (!list_empty(&peer->queued))
        call_end_soon(container_of(peer->queued.next, struct rpc_call, node), ERR_UNREACHABLE);
    while (!list_empty(&peer->queued_casts)) {
        struct rpc_queued *q =
            container_of(list_pop_front(&peer->queued_casts), struct rpc_queued, node);
        peer->queued_bytes -= q->bytes;
        peer->rpc->stats.casts_dropped++;
        queued_free(q);
    }
    CHECK(peer->call_count == 0 && peer->queued_bytes == 0);
}

/* Doubles from RPC_BACKOFF_FIRST_NS, with jitter so that the peers of a node that comes back do not
 * all knock at once. */
static uint64_t backoff_ns(struct rpc_peer *peer)
{
    unsigned doublings = MIN(peer->failures - 1, 10u);
    uint64_t max = MIN(RPC_BACKOFF_FIRST_NS << doublings, RPC_BACKOFF_MAX_NS);
    uint64_t r;
    env_random(peer->rpc->env, &r, sizeof(r));
    return max / 2 + r % (max / 2 + 1);
}

static void peer_down(struct rpc_peer *peer, int err)
{
    peer->conn = NULL;
    peer->last_err = err;
    peer->state = PEER_BACKOFF;
    peer->failures++;
    peer->rpc->stats.connects_failed += peer->up_ns == 0;
    env_timer_start(&peer->timer, backoff_ns(peer));
}

static void peer_on_closed(void *arg, struct net_conn *conn, int err)
{
    struct rpc_peer *peer = arg;
    struct rpc *rpc = peer->rpc;
    CHECK(conn == peer->conn);
    bool was_stable = peer->up_ns != 0 && env_now_ns(rpc->env) - peer->up_ns >= RPC_STABLE_AFTER_NS;
    if (peer->close_err != OK)
        err = peer->close_err;
    if (err == OK)
        err = ERR_CONN_LOST;
    env_timer_stop(&peer->timer);
    rpc->conns_open--;
    peer->conn = NULL;
    peer->last_err = err;
    /* Not yet a state that a call can use: failing the calls below starts nothing. */
    peer->state = PEER_CLOSING;
    peer_fail_calls(peer);
    if (rpc->closing) {
        rpc_maybe_closed(rpc);
        return;
    }
    if (was_stable) {
        peer->failures = 0;
        peer_connect(peer);
    } else {
        peer_down(peer, err);
    }
    peer_report(peer, false, err);
}

static const struct net_conn_handler peer_handler = {
    .on_open = peer_on_open,
    .on_frame = peer_on_frame,
    .on_closed = peer_on_closed,
};

static void peer_connect(struct rpc_peer *peer)
{
    struct rpc *rpc = peer->rpc;
    peer->state = PEER_CONNECTING;
    peer->close_err = OK;
    peer->up_ns = 0;
    peer->tried_ns = env_now_ns(rpc->env);
    rpc->stats.connects++;
    const char *expect = peer->node_id[0] ? peer->node_id : NULL;
    int err =
        rpc->net->ops->connect(rpc->net, peer->addr, expect, &peer_handler, peer, &peer->conn);
    if (err != OK) {
        peer_down(peer, err);
        return;
    }
    rpc->conns_open++;
    env_timer_start(&peer->timer, rpc->config.connect_timeout_ms * NS_PER_MS);
}

static void peer_timer_cb(struct env_timer *timer)
{
    struct rpc_peer *peer = container_of(timer, struct rpc_peer, timer);
    struct rpc *rpc = peer->rpc;
    if (peer->state == PEER_CONNECTING) {
        peer_close(peer, ERR_TIMEOUT);
        return;
    }
    CHECK(peer->state == PEER_BACKOFF);
    if (env_now_ns(rpc->env) - peer->used_ns > RPC_RECONNECT_IDLE_NS) {
        peer->state = PEER_IDLE;
        peer->failures = 0;
        return;
    }
    peer_connect(peer);
}

/* ---- peers ---- */

struct rpc_peer *rpc_peer_get(struct rpc *rpc, const char *addr, const char *node_id)
{
    const char *id = node_id ? node_id : "";
    uint64_t hash = hash64(hash64(0, slice_cstr(addr)), slice_cstr(id));
    struct list *bucket = &rpc->peer_buckets[hash % RPC_PEER_BUCKETS];
    list_for_each(it, bucket)
    {
        struct rpc_peer *peer = container_of(it, struct rpc_peer, bucket_node);
        if (strcmp(peer->addr, addr) == 0 && strcmp(peer->node_id, id) == 0)
            return peer;
    }
    struct rpc_peer *peer = calloc(1, sizeof(*peer));
    char *addr_copy = strdup(addr), *id_copy = strdup(id);
    if (!peer || !addr_copy || !id_copy) {
        free(peer);
        free(addr_copy);
        free(id_copy);
        return NULL;
    }
    peer->rpc = rpc;
    peer->addr = addr_copy;
    peer->node_id = id_copy;
    list_init(&peer->sent);
    list_init(&peer->queued);
    list_init(&peer->queued_casts);
    for (size_t i = 0; i < RPC_CALL_BUCKETS; i++)
        list_init(&peer->buckets[i]);
    env_timer_init(rpc->env, &peer->timer, peer_timer_cb);
    list_push_back(&rpc->peers, &peer->node);
    list_push_back(bucket, &peer->bucket_node);
    return peer;
}

bool rpc_peer_is_up(const struct rpc_peer *peer)
{
    return peer->state == PEER_UP || peer->state == PEER_IDLE ||
           (peer->state == PEER_CONNECTING && peer->failures == 0);
}

const char *rpc_peer_addr(const struct rpc_peer *peer)
{
    return peer->addr;
}

const char *rpc_peer_node_id(const struct rpc_peer *peer)
{
    return peer->node_id;
}

int rpc_peer_last_error(const struct rpc_peer *peer)
{
    return peer->last_err;
}

void rpc_peers_close(struct rpc *rpc)
{
    list_for_each(it, &rpc->peers)
    {
        struct rpc_peer *peer = container_of(it, struct rpc_peer, node);
        env_timer_stop(&peer->timer);
        while (!list_empty(&peer->sent))
            rpc_call_cancel(container_of(peer->sent.next, struct rpc_call, node));
        while (!list_empty(&peer->queued))
            rpc_call_cancel(container_of(peer->queued.next, struct rpc_call, node));
        if (peer->state == PEER_CONNECTING || peer->state == PEER_UP)
            peer_close(peer, ERR_SHUTDOWN);
    }
}

void rpc_peers_free(struct rpc *rpc)
{
    while (!list_empty(&rpc->peers)) {
        struct rpc_peer *peer = container_of(list_pop_front(&rpc->peers), struct rpc_peer, node);
        CHECK(!peer->conn && peer->call_count == 0);
        free(peer->addr);
        free(peer->node_id);
        free(peer);
    }
}
