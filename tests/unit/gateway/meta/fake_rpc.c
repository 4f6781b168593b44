/* Virtual clock, timers and RPC for tests. */
#include "tests/unit/gateway/meta/fake_rpc.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "tests/unit/common/alloc_fail.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- env ---- */

static struct rpc *fake_of(struct env *e)
{
    return container_of(e, struct rpc, env);
}

static uint64_t now_ns(struct env *e)
{
    return fake_of(e)->now_ns;
}

static uint64_t wall_ms(struct env *e)
{
    return fake_of(e)->wall_ms + fake_of(e)->now_ns / NS_PER_MS;
}

static void random_bytes(struct env *e, void *ret, size_t len)
{
    struct rpc *f = fake_of(e);
    for (size_t i = 0; i < len; i++) {
        f->random = f->random * 6364136223846793005ull + 1442695040888963407ull;
        ((uint8_t *)ret)[i] = (uint8_t)(f->random >> 56);
    }
}

static void timer_stop(struct env *e, struct env_timer *t)
{
    (void)e;
    list_remove(&t->node);
    t->active = false;
}

static void timer_start(struct env *e, struct env_timer *t, uint64_t delay_ns)
{
    struct rpc *f = fake_of(e);
    if (t->active)
        timer_stop(e, t);
    t->due_ns = f->now_ns + delay_ns;
    t->active = true;
    struct list *at = f->timers.next;
    while (at != &f->timers && container_of(at, struct env_timer, node)->due_ns <= t->due_ns)
        at = at->next;
    list_insert_before(at, &t->node);
}

static void work_start(struct env *e, struct env_work *w)
{
    (void)e;
    w->run(w);
    w->done(w);
}

static const struct env_ops ops = {now_ns,      wall_ms,    random_bytes,
                                   timer_start, timer_stop, work_start};

void fake_init(struct rpc *f, uint64_t seed)
{
    *f =
        (struct rpc){.env = {&ops}, .now_ns = NS_PER_SEC, .wall_ms = 1700000000000, .random = seed};
    list_init(&f->timers);
    list_init(&f->calls);
}

void fake_run_until(struct rpc *f, const bool *flag, uint64_t for_ns)
{
    uint64_t until = f->now_ns + for_ns;
    while (!(flag && *flag) && !list_empty(&f->timers)) {
        struct env_timer *t = container_of(f->timers.next, struct env_timer, node);
        if (t->due_ns > until)
            break;
        if (t->due_ns > f->now_ns)
            f->now_ns = t->due_ns;
        timer_stop(&f->env, t);
        CHECK(++f->work < 10000000);
        t->cb(t);
    }
    if (!(flag && *flag))
        f->now_ns = until;
}

void fake_run(struct rpc *f, uint64_t for_ns)
{
    fake_run_until(f, NULL, for_ns);
}

/* ---- peers ---- */

struct rpc_peer *fake_peer(struct rpc *f, const char *addr,
                           void (*serve)(void *arg, struct fake_call *call), void *arg)
{
    struct rpc_peer *p = rpc_peer_get(f, addr, NULL);
    p->serve = serve;
    p->arg = arg;
    p->latency_ns = NS_PER_MS;
    return p;
}

struct rpc_peer *rpc_peer_get(struct rpc *f, const char *addr, const char *node_id)
{
    (void)node_id;
    for (unsigned i = 0; i < f->peer_count; i++)
        if (strcmp(f->peers[i].addr, addr) == 0)
            return &f->peers[i];
    CHECK(f->peer_count < FAKE_PEERS_MAX);
    struct rpc_peer *p = &f->peers[f->peer_count++];
    snprintf(p->addr, sizeof(p->addr), "%s", addr);
    p->world = f;
    return p;
}

bool rpc_peer_is_up(const struct rpc_peer *p)
{
    return !p->down && p->serve;
}

const char *rpc_peer_addr(const struct rpc_peer *p)
{
    return p->addr;
}

/* ---- calls ---- */

static void call_free(struct fake_call *c)
{
    if (c->request)
        protobuf_c_message_free_unpacked(c->request, NULL);
    if (c->response)
        protobuf_c_message_free_unpacked(c->response, NULL);
    payload_unref(&c->payload);
    payload_unref(&c->response_payload);
    free(c->packed);
    if (c->timer.active)
        env_timer_stop(&c->timer);
    list_remove(&c->node);
    free(c);
}

static void client_timeout(struct env_timer *t)
{
    struct rpc_call *call = container_of(t, struct rpc_call, timer);
    struct fake_call *c = (struct fake_call *)(void *)call->hash_node.prev;
    call->hash_node.prev = NULL;
    c->call = NULL;
    call->err = call->state == 2 ? ERR_CANCELED : ERR_TIMEOUT;
    call->state = 0;
    if (c->served && !c->timer.active)
        call_free(c);
    call->cb(call);
}

/* As a net that sums payloads while they come in; valid until the next one. */
static const uint32_t *summed(struct slice payload)
{
    static uint32_t crcs[FRAME_BLOCKS_MAX];
    for (size_t at = 0, i = 0; at < payload.len; at += FRAME_BLOCK_BYTES, i++)
        crcs[i] = crc32c(0, SLICE(payload.ptr + at, MIN(payload.len - at, FRAME_BLOCK_BYTES)));
    return crcs;
}

static void deliver_answer(struct env_timer *t)
{
    struct fake_call *c = container_of(t, struct fake_call, timer);
    struct rpc_call *call = c->call;
    if (call) {
        env_timer_stop(&call->timer);
        call->hash_node.prev = NULL;
        call->state = 0;
        bool lost = c->peer->loses || c->peer->loses_once;
        c->peer->loses_once = false;
        call->err = lost ? ERR_CONN_LOST : c->err;
        if (!lost) {
            call->response = c->response;
            /* As in an arena: gone with rpc_call_fini(), whoever took it meanwhile. */
            call->arena = call->heap_response ? NULL : (struct rpc_arena *)(void *)c->response;
            call->response_payload = c->response_payload;
            call->response_block_crcs = c->peer->sums ? summed(c->response_payload.bytes) : NULL;
            c->response = NULL;
            c->response_payload = (struct payload){0};
        }
    }
    call_free(c);
    if (call)
        call->cb(call);
}

void fake_reply(struct fake_call *c, int err, const ProtobufCMessage *msg, struct payload payload)
{
    CHECK(!c->served);
    c->served = true;
    c->err = err;
    alloc_fail_hold(); /* the peers are no part of what is tested */
    if (msg) {
        size_t n = protobuf_c_message_get_packed_size(msg);
        uint8_t *packed = malloc(n + 1);
        protobuf_c_message_pack(msg, packed);
        c->response = protobuf_c_message_unpack(c->method->response, NULL, n, packed);
        CHECK(c->response);
        free(packed);
    }
    alloc_fail_go_on();
    c->response_payload = payload_ref(payload);
    env_timer_init(c->timer.env, &c->timer, deliver_answer);
    env_timer_start(&c->timer, c->peer->latency_ns);
}

static void deliver_request(struct env_timer *t)
{
    struct fake_call *c = container_of(t, struct fake_call, timer);
    if (c->peer->silent)
        return; /* freed with the world */
    alloc_fail_hold();
    c->peer->serve(c->peer->arg, c);
    alloc_fail_go_on();
}

/* The pieces of a payload arrive as one. */
static struct payload joined(const struct rpc_call *call)
{
    size_t len = 0;
    if (call->payload_count <= 1)
        return call->payload_count ? payload_ref(call->payload[0]) : (struct payload){0};
    for (unsigned i = 0; i < call->payload_count; i++)
        len += call->payload[i].bytes.len;
    struct rcbuf *all = rcbuf_new(len);
    CHECK(all);
    for (unsigned i = 0; i < call->payload_count; i++) {
        memcpy(all->data + all->len, call->payload[i].bytes.ptr, call->payload[i].bytes.len);
        all->len += call->payload[i].bytes.len;
    }
    return (struct payload){all, SLICE(all->data, len)};
}

int rpc_call_start(struct rpc_peer *peer, struct rpc_call *call)
{
    struct rpc *f = peer->world;
    if (peer->down || !peer->serve)
        return ERR_UNREACHABLE;
    struct fake_call *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    alloc_fail_hold();
    c->peer = peer;
    c->method = call->method;
    c->call = call;
    peer->calls++;
    c->packed_len = protobuf_c_message_get_packed_size(call->request);
    c->packed = malloc(c->packed_len + 1);
    protobuf_c_message_pack(call->request, c->packed);
    c->request = protobuf_c_message_unpack(call->method->request, NULL, c->packed_len, c->packed);
    CHECK(c->request);
    c->payload = joined(call);
    alloc_fail_go_on();
    list_push_back(&f->calls, &c->node);
    env_timer_init(&f->env, &c->timer, deliver_request);
    env_timer_start(&c->timer, peer->latency_ns);
    env_timer_init(&f->env, &call->timer, client_timeout);
    env_timer_start(&call->timer, call->timeout_ns);
    call->hash_node.prev = (struct list *)(void *)c;
    call->state = 1;
    call->err = OK;
    call->response = NULL;
    call->arena = NULL;
    call->response_payload = (struct payload){0};
    call->response_block_crcs = NULL;
    return OK;
}

void rpc_call_cancel(struct rpc_call *call)
{
    if (call->state != 1)
        return;
    call->state = 2;
    env_timer_start(&call->timer, 0);
}

void rpc_call_fini(struct rpc_call *call)
{
    CHECK(call->state == 0);
    if (call->arena)
        protobuf_c_message_free_unpacked((ProtobufCMessage *)(void *)call->arena, NULL);
    else if (call->response)
        protobuf_c_message_free_unpacked(call->response, NULL);
    call->arena = NULL;
    call->response = NULL;
    payload_unref(&call->response_payload);
}

void fake_fini(struct rpc *f)
{
    while (!list_empty(&f->calls)) {
        struct fake_call *c = container_of(f->calls.next, struct fake_call, node);
        CHECK(!c->call);
        call_free(c);
    }
}

struct env *rpc_env(struct rpc *f)
{
    return &f->env;
}
