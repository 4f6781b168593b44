/* Connections that came in, and the requests on them.
 *
 * Memory is bounded by not reading: a connection with too many requests under way, too many bytes
 * queued to it, or that delivers a request while all requests together hold too much, is not read
 * until there is room again.  So at most one frame a connection goes beyond a bound.  A net that
 * cannot stop reading makes the server refuse instead (ERR_LIMIT).
 *
 * Order of checks for a request: version, id (not above the last one: a duplicate, dropped
 * silently), method, role, draining, window, message. */
#include "common/rpc/rpc_impl.h"

#include "common/base/check.h"

#include <stdlib.h>

/* ---- methods ---- */

static struct rpc_served *served_find(struct rpc *rpc, uint16_t kind)
{
    list_for_each(it, &rpc->served[kind % RPC_HANDLER_BUCKETS])
    {
        struct rpc_served *s = container_of(it, struct rpc_served, node);
        if (s->method->kind == kind)
            return s;
    }
    return NULL;
}

int rpc_serve(struct rpc *rpc, const struct rpc_method *method, rpc_handler handler, void *arg)
{
    if (served_find(rpc, method->kind))
        return ERR_EXISTS;
    struct rpc_served *s = malloc(sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    *s = (struct rpc_served){.method = method, .handler = handler, .arg = arg};
    list_push_back(&rpc->served[method->kind % RPC_HANDLER_BUCKETS], &s->node);
    return OK;
}

void rpc_served_free(struct rpc *rpc)
{
    for (size_t i = 0; i < RPC_HANDLER_BUCKETS; i++)
        while (!list_empty(&rpc->served[i]))
            free(container_of(list_pop_front(&rpc->served[i]), struct rpc_served, node));
}

/* ---- windows ---- */

/* Metanodes and witnesses are few, and so are their bytes; what others' requests wait for (Raft's
 * answers, a lease) comes over their connections, so bytes held by others do not stop these. */
static bool is_vital(const struct rpc_conn *c)
{
    return c->peer.role == NET_ROLE_METANODE || c->peer.role == NET_ROLE_WITNESS;
}

static bool over_window(const struct rpc_conn *c)
{
    const struct rpc *rpc = c->rpc;
    return c->request_count >= rpc->config.requests_max_per_conn ||
           (rpc->stats.request_bytes_now >= rpc->config.request_bytes_max && !is_vital(c));
}

static bool over_queue(const struct rpc_conn *c, uint64_t max)
{
    return c->rpc->net->ops->queued_bytes(c->conn) > max;
}

static void conn_stop_reading(struct rpc_conn *c)
{
    struct rpc *rpc = c->rpc;
    if (!rpc->net->ops->set_reading || !list_empty(&c->stopped_node))
        return;
    rpc->net->ops->set_reading(c->conn, false);
    list_push_back(&rpc->stopped, &c->stopped_node);
    rpc->stats.reading_stopped++;
}

/* Somewhere there is room again: looks who may go on, longest stopped first. */
static void conns_resume_reading(struct rpc *rpc)
{
    list_for_each_safe(it, next, &rpc->stopped)
    {
        struct rpc_conn *c = container_of(it, struct rpc_conn, stopped_node);
        if (over_window(c) || over_queue(c, rpc->config.queued_bytes_max / 2))
            continue;
        list_remove(&c->stopped_node);
        rpc->net->ops->set_reading(c->conn, true);
    }
}

/* ---- requests ---- */

static struct rpc_incoming *incoming_new(struct rpc *rpc)
{
    struct rpc_incoming *in;
    if (!list_empty(&rpc->spare)) {
        in = container_of(list_pop_front(&rpc->spare), struct rpc_incoming, bucket_node);
        rpc->spare_count--;
        return in;
    }
    in = malloc(sizeof(*in));
    if (in)
        rpc_arena_init(&in->arena);
    return in;
}

static void incoming_free(struct rpc *rpc, struct rpc_incoming *in)
{
    if (rpc->spare_count >= RPC_SPARE_REQUESTS_MAX || in->arena.arena.bytes > ARENA_BLOCK_BYTES) {
        arena_fini(&in->arena.arena);
        free(in);
        return;
    }
    arena_reset(&in->arena.arena); /* keeps its first block for the next request */
    list_init(&in->bucket_node);
    list_push_front(&rpc->spare, &in->bucket_node);
    rpc->spare_count++;
}

static struct rpc_incoming *incoming_find(struct rpc_conn *c, uint64_t id)
{
    list_for_each(it, &c->buckets[id % RPC_REQUEST_BUCKETS])
    {
        struct rpc_incoming *in = container_of(it, struct rpc_incoming, bucket_node);
        if (in->id == id)
            return in;
    }
    return NULL;
}

static void incoming_cancel(struct rpc_incoming *in)
{
    if (in->pub.canceled)
        return;
    in->pub.canceled = true;
    if (in->pub.on_cancel)
        in->pub.on_cancel(&in->pub); /* may reply, and so free it */
}

/* Returns: as net's send. */
static int response_send(struct rpc_conn *c, uint16_t kind, uint64_t id, int status,
                         struct slice msg, const struct payload *payload, unsigned payload_count)
{
    struct frame f = {
        .kind = kind,
        .flags = FRAME_RESPONSE,
        .version = c->version,
        .request_id = id,
        .status = status,
        .msg = {NULL, msg},
        .payload_count = payload_count,
    };
    CHECK(payload_count <= FRAME_PAYLOAD_SLICES_MAX);
    for (unsigned i = 0; i < payload_count; i++)
        f.payload[i] = payload[i];
    return rpc_send_frame(c->rpc, c->conn, &f);
}

/* A request that no handler sees. */
static void refuse(struct rpc_conn *c, const struct frame *f, int err)
{
    c->rpc->stats.requests_refused++;
    if (response_send(c, f->kind, f->request_id, err, SLICE_EMPTY, NULL, 0) == ERR_NOMEM)
        c->rpc->net->ops->conn_close(c->conn);
}

static void reply_send(struct rpc_incoming *in, int err, const ProtobufCMessage *msg,
                       const struct payload *payload, unsigned payload_count)
{
    struct rpc_conn *c = in->conn;
    struct rpc *rpc = c->rpc;
    uint16_t kind = in->pub.method->kind;
    struct slice packed = SLICE_EMPTY;
    int sent = msg ? rpc_pack(rpc, msg, &packed) : OK;
    if (sent == OK)
        sent = response_send(c, kind, in->id, err, packed, payload, payload_count);
    if (sent == ERR_TOO_LARGE)
        sent = response_send(c, kind, in->id, ERR_TOO_LARGE, SLICE_EMPTY, NULL, 0);
    /* An answer that cannot be sent must not look like a request that is still under way. */
    if (sent == ERR_NOMEM)
        rpc->net->ops->conn_close(c->conn);
}

void rpc_reply(struct rpc_request *req, int err, const ProtobufCMessage *msg,
               const struct payload *payload, unsigned payload_count)
{
    struct rpc_incoming *in = container_of(req, struct rpc_incoming, pub);
    struct rpc *rpc = req->rpc;
    CHECK(req->method->response != NULL && err <= 0);
    if (in->conn && !req->canceled)
        reply_send(in, err, msg, payload, payload_count);
    list_remove(&in->pub.node);
    list_remove(&in->bucket_node); /* of its connection, or of the orphans that are being told */
    if (in->conn)
        in->conn->request_count--;
    CHECK(rpc->stats.requests_now > 0 && rpc->stats.request_bytes_now >= in->bytes);
    rpc->stats.requests_now--;
    rpc->stats.request_bytes_now -= in->bytes;
    payload_unref(&in->pub.payload);
    incoming_free(rpc, in);
    if (!list_empty(&rpc->stopped))
        conns_resume_reading(rpc);
    rpc_maybe_closed(rpc);
}

static void request_begin(struct rpc_conn *c, const struct frame *f,
                          const struct rpc_served *served, struct rpc_incoming *in,
                          const ProtobufCMessage *msg)
{
    struct rpc *rpc = c->rpc;
    in->pub = (struct rpc_request){
        .method = served->method,
        .rpc = rpc,
        .peer = c->peer,
        .msg = msg,
        .payload =
            f->payload_count > 0 ? payload_ref(f->payload[0]) : (struct payload){NULL, SLICE_EMPTY},
        .block_crcs = f->block_crcs,
        .deadline_ns = env_now_ns(rpc->env) + f->timeout_ms * NS_PER_MS,
    };
    in->conn = c;
    in->id = f->request_id;
    in->bytes = f->msg.bytes.len + in->pub.payload.bytes.len + in->arena.arena.bytes;
    list_init(&in->pub.node);
    list_init(&in->bucket_node);
    list_push_back(&c->requests, &in->pub.node);
    list_push_back(&c->buckets[in->id % RPC_REQUEST_BUCKETS], &in->bucket_node);
    c->request_count++;
    rpc->stats.requests++;
    rpc->stats.requests_now++;
    rpc->stats.request_bytes_now += in->bytes;
    if (over_window(c))
        conn_stop_reading(c);
    served->handler(served->arg, &in->pub);
}

/* Returns: OK, and *ret serves it; why it is refused otherwise. */
static int request_check(struct rpc_conn *c, const struct frame *f, struct rpc_served **ret)
{
    struct rpc *rpc = c->rpc;
    struct rpc_served *served = served_find(rpc, f->kind);
    if (!served)
        return ERR_UNIMPLEMENTED;
    if (!(served->method->roles & (unsigned)c->peer.role))
        return ERR_AUTH;
    if (f->flags == FRAME_REQUEST && rpc->draining)
        return ERR_SHUTDOWN;
    if (f->flags == FRAME_REQUEST && over_window(c) && !rpc->net->ops->set_reading)
        return ERR_LIMIT;
    *ret = served;
    return OK;
}

static void conn_broke_protocol(struct rpc_conn *c)
{
    c->rpc->stats.protocol_errors++;
    c->rpc->net->ops->conn_close(c->conn);
}

static void conn_on_request(struct rpc_conn *c, const struct frame *f)
{
    struct rpc *rpc = c->rpc;
    if (f->request_id <= c->last_id) {
        rpc->stats.frames_duplicate++;
        return;
    }
    c->last_id = f->request_id;
    struct rpc_served *served = NULL;
    int err = request_check(c, f, &served);
    if (err != OK) {
        refuse(c, f, err);
        return;
    }
    if (!served->method->response) { /* a cast's number on a request */
        conn_broke_protocol(c);
        return;
    }
    struct rpc_incoming *in = incoming_new(rpc);
    ProtobufCMessage *msg = NULL;
    err = in ? rpc_unpack(&in->arena, served->method->request, f->msg.bytes, &msg) : ERR_NOMEM;
    if (err != OK) {
        if (in)
            incoming_free(rpc, in);
        refuse(c, f, err);
        return;
    }
    request_begin(c, f, served, in, msg);
}

static void conn_on_cast(struct rpc_conn *c, const struct frame *f)
{
    struct rpc *rpc = c->rpc;
    struct rpc_served *served = NULL;
    ProtobufCMessage *msg = NULL;
    int err = request_check(c, f, &served);
    if (err == OK && served->method->response) {
        conn_broke_protocol(c);
        return;
    }
    if (err == OK)
        err = rpc_unpack(&rpc->cast_arena, served->method->request, f->msg.bytes, &msg);
    if (err != OK) {
        rpc->stats.requests_refused++;
    } else {
        struct rpc_request req = {
            .method = served->method,
            .rpc = rpc,
            .peer = c->peer,
            .msg = msg,
            .payload = f->payload_count > 0 ? f->payload[0] : (struct payload){NULL, SLICE_EMPTY},
            .deadline_ns = UINT64_MAX,
        };
        list_init(&req.node);
        rpc->stats.casts_received++;
        served->handler(served->arg, &req);
    }
    if (rpc->cast_arena.arena.bytes > ARENA_BLOCK_BYTES)
        arena_fini(&rpc->cast_arena.arena);
    else
        arena_reset(&rpc->cast_arena.arena);
}

static void conn_on_hello(struct rpc_conn *c, const struct frame *f)
{
    struct rpc *rpc = c->rpc;
    struct frame_hello hello;
    if (c->version != 0) {
        rpc->stats.frames_duplicate++;
        return;
    }
    /* Our own HELLO has been sent, so the other side learns why as well. */
    if (frame_decode_hello(f->msg.bytes, &hello) != OK ||
        frame_common_version(rpc->hello, hello, &c->version) != OK)
        conn_broke_protocol(c);
}

static void conn_on_frame(void *arg, struct net_conn *conn, struct frame *f)
{
    struct rpc_conn *c = arg;
    struct rpc *rpc = c->rpc;
    (void)conn;
    rpc_count_received(rpc, f);
    if (f->flags == FRAME_HELLO) {
        conn_on_hello(c, f);
        return;
    }
    if (c->version == 0 || f->version != c->version) {
        conn_broke_protocol(c);
        return;
    }
    if (over_queue(c, rpc->config.queued_bytes_max))
        conn_stop_reading(c);
    switch (f->flags) {
    case FRAME_REQUEST: conn_on_request(c, f); break;
    case FRAME_CAST: conn_on_cast(c, f); break;
    case FRAME_CANCEL: {
        struct rpc_incoming *in = incoming_find(c, f->request_id);
        if (in)
            incoming_cancel(in);
        break;
    }
    default: /* responses go the other way */ conn_broke_protocol(c);
    }
}

/* ---- connections ---- */

static void conn_on_drain(void *arg, struct net_conn *conn)
{
    struct rpc_conn *c = arg;
    (void)conn;
    if (!list_empty(&c->stopped_node))
        conns_resume_reading(c->rpc);
}

static void conn_on_closed(void *arg, struct net_conn *conn, int err)
{
    struct rpc_conn *c = arg;
    struct rpc *rpc = c->rpc;
    (void)conn;
    (void)err;
    /* First let go of all, then tell: a handler may reply from its on_cancel. */
    struct list orphans;
    list_init(&orphans);
    while (!list_empty(&c->requests)) {
        struct rpc_incoming *in =
            container_of(list_pop_front(&c->requests), struct rpc_incoming, pub.node);
        list_remove(&in->bucket_node);
        in->conn = NULL;
        list_push_back(&orphans, &in->bucket_node);
    }
    list_remove(&c->node);
    list_remove(&c->stopped_node);
    free(c);
    while (!list_empty(&orphans)) {
        struct rpc_incoming *in =
            container_of(list_pop_front(&orphans), struct rpc_incoming, bucket_node);
        incoming_cancel(in);
    }
    rpc->conns_open--;
    rpc_maybe_closed(rpc);
}

static const struct net_conn_handler conn_handler = {
    .on_frame = conn_on_frame,
    .on_drain = conn_on_drain,
    .on_closed = conn_on_closed,
};

static int conn_accept(void *arg, struct net_conn *conn, const struct net_identity *peer,
                       const struct net_conn_handler **ret_handler, void **ret_arg)
{
    struct rpc *rpc = arg;
    struct rpc_conn *c = rpc->closing ? NULL : calloc(1, sizeof(*c));
    if (!c)
        return rpc->closing ? ERR_SHUTDOWN : ERR_NOMEM;
    c->rpc = rpc;
    c->conn = conn;
    c->peer = *peer;
    list_init(&c->stopped_node);
    list_init(&c->requests);
    for (size_t i = 0; i < RPC_REQUEST_BUCKETS; i++)
        list_init(&c->buckets[i]);
    int err = rpc_send_hello(rpc, conn);
    if (err != OK) {
        free(c);
        return err;
    }
    list_push_back(&rpc->conns, &c->node);
    rpc->conns_open++;
    *ret_handler = &conn_handler;
    *ret_arg = c;
    return OK;
}

int rpc_listen(struct rpc *rpc, const char *addr)
{
    if (rpc->closing)
        return ERR_SHUTDOWN;
    if (rpc->listener_count == RPC_LISTENERS_MAX)
        return ERR_LIMIT;
    int err = rpc->net->ops->listen(rpc->net, addr, conn_accept, rpc,
                                    &rpc->listeners[rpc->listener_count]);
    if (err == OK)
        rpc->listener_count++;
    return err;
}

void rpc_stop_listening(struct rpc *rpc)
{
    while (rpc->listener_count > 0)
        rpc->net->ops->listener_close(rpc->listeners[--rpc->listener_count]);
}

void rpc_drain(struct rpc *rpc)
{
    rpc->draining = true;
}

void rpc_conns_close(struct rpc *rpc)
{
    list_for_each(it, &rpc->conns)
        rpc->net->ops->conn_close(container_of(it, struct rpc_conn, node)->conn);
}
