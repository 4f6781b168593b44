/* Virtual clock, timers, and connections in memory. */
#include "fake_world.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/rpc/frame.h"
#include "tests/unit/common/alloc_fail.h"

#include <stdlib.h>

enum event_kind { EVENT_ACCEPT, EVENT_OPEN, EVENT_FRAME, EVENT_CLOSED };

struct net_conn {
    struct list node;
    struct fake_node *owner;
    struct net_conn *other; /* NULL: it has gone */
    struct net_listener *target;
    bool open, closing, reading_off, outgoing;
    struct list held; /* frame events while it is not read */
    size_t queued;
    const struct net_conn_handler *handler;
    void *arg;
    char expect[NET_NODE_ID_MAX];
};

struct net_listener {
    struct list node;
    struct fake_node *owner;
    char addr[64];
    int (*accept)(void *arg, struct net_conn *, const struct net_identity *,
                  const struct net_conn_handler **, void **);
    void *arg;
};

struct fake_event {
    struct list node;
    enum event_kind kind;
    uint64_t due_ns;
    struct net_conn *conn; /* receiver */
    int err;
    struct frame frame;
    struct rcbuf *body;
};

static struct fake_node *node_of_net(struct net *net)
{
    return container_of(net, struct fake_node, net);
}

/* ---- env ---- */

static uint64_t fake_now(struct env *env)
{
    return container_of(env, struct fake_node, env)->world->now_ns;
}

static void fake_random(struct env *env, void *ret, size_t len)
{
    struct fake_world *w = container_of(env, struct fake_node, env)->world;
    for (size_t i = 0; i < len; i++) {
        w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
        ((uint8_t *)ret)[i] = (uint8_t)(w->random >> 56);
    }
}

static void fake_timer_stop(struct env *env, struct env_timer *t)
{
    (void)env;
    t->active = false;
    list_remove(&t->node);
}

static void fake_timer_start(struct env *env, struct env_timer *t, uint64_t delay_ns)
{
    struct fake_world *w = container_of(env, struct fake_node, env)->world;
    fake_timer_stop(env, t);
    t->active = true;
    t->due_ns = delay_ns > UINT64_MAX - w->now_ns ? UINT64_MAX : w->now_ns + delay_ns;
    struct list *at = w->timers.next;
    while (at != &w->timers && container_of(at, struct env_timer, node)->due_ns <= t->due_ns)
        at = at->next;
    list_insert_before(at, &t->node);
}

static const struct env_ops fake_env_ops = {
    .now_ns = fake_now,
    .wall_ms = fake_now,
    .random = fake_random,
    .timer_start = fake_timer_start,
    .timer_stop = fake_timer_stop,
};

/* What the world is made of is not what a failing allocation is meant for. */
static void *equipment(size_t bytes)
{
    alloc_fail_hold();
    void *p = calloc(1, bytes);
    alloc_fail_go_on();
    CHECK(p != NULL);
    return p;
}

/* ---- events ---- */

static struct fake_event *event_new(struct fake_world *w, enum event_kind kind,
                                    struct net_conn *conn, uint64_t delay_ns)
{
    struct fake_event *e = equipment(sizeof(*e));
    e->kind = kind;
    e->conn = conn;
    e->due_ns = w->now_ns + delay_ns;
    struct list *at = &w->events; /* behind all that are not later */
    while (at->prev != &w->events &&
           container_of(at->prev, struct fake_event, node)->due_ns > e->due_ns)
        at = at->prev;
    list_insert_before(at, &e->node);
    return e;
}

static void event_free(struct fake_event *e)
{
    rcbuf_unref(e->body);
    free(e);
}

static void close_one(struct net_conn *c, int err, uint64_t delay_ns)
{
    if (c->closing)
        return;
    c->closing = true;
    event_new(c->owner->world, EVENT_CLOSED, c, delay_ns)->err = err;
}

static void conn_free(struct net_conn *c)
{
    struct fake_world *w = c->owner->world;
    list_for_each_safe(it, next, &w->events)
    {
        struct fake_event *e = container_of(it, struct fake_event, node);
        if (e->conn == c) {
            list_remove(&e->node);
            event_free(e);
        }
    }
    while (!list_empty(&c->held))
        event_free(container_of(list_pop_front(&c->held), struct fake_event, node));
    if (c->other)
        c->other->other = NULL;
    list_remove(&c->node);
    w->conns_now--;
    free(c);
}

static struct net_conn *conn_new(struct fake_node *n)
{
    struct net_conn *c = equipment(sizeof(*c));
    c->owner = n;
    list_init(&c->held);
    list_push_back(&n->world->conns, &c->node);
    n->world->conns_now++;
    n->world->conns_made++;
    return c;
}

/* ---- net ---- */

static int fake_connect(struct net *net, const char *addr, const char *expect_node_id,
                        const struct net_conn_handler *handler, void *arg, struct net_conn **ret)
{
    struct fake_node *n = node_of_net(net);
    struct net_conn *c = conn_new(n);
    c->outgoing = true;
    c->handler = handler;
    c->arg = arg;
    strcpy(c->expect, expect_node_id ? expect_node_id : "");
    *ret = c;
    if (n->world->blackhole)
        return OK;
    list_for_each(it, &n->world->listeners)
    {
        struct net_listener *l = container_of(it, struct net_listener, node);
        if (strcmp(l->addr, addr) == 0) {
            c->target = l;
            event_new(n->world, EVENT_OPEN, c, FAKE_DELAY_NS);
            return OK;
        }
    }
    close_one(c, ERR_UNREACHABLE, FAKE_DELAY_NS);
    return OK;
}

static int fake_listen(struct net *net, const char *addr,
                       int (*accept)(void *arg, struct net_conn *, const struct net_identity *,
                                     const struct net_conn_handler **, void **),
                       void *arg, struct net_listener **ret)
{
    struct fake_node *n = node_of_net(net);
    struct net_listener *l = equipment(sizeof(*l));
    l->owner = n;
    strcpy(l->addr, addr);
    l->accept = accept;
    l->arg = arg;
    list_push_back(&n->world->listeners, &l->node);
    *ret = l;
    return OK;
}

static void fake_listener_close(struct net_listener *l)
{
    list_for_each(it, &l->owner->world->conns)
    {
        struct net_conn *c = container_of(it, struct net_conn, node);
        if (c->target == l && !c->open) {
            c->target = NULL;
            close_one(c, ERR_UNREACHABLE, FAKE_DELAY_NS);
        }
    }
    list_remove(&l->node);
    free(l);
}

static int fake_send(struct net_conn *c, const struct frame *f)
{
    if (!c->open || c->closing)
        return ERR_CONN_LOST;
    size_t payload_len = 0;
    for (unsigned i = 0; i < f->payload_count; i++)
        payload_len += f->payload[i].bytes.len;
    if (f->msg.bytes.len > FRAME_MSG_BYTES_MAX || payload_len > FRAME_PAYLOAD_BYTES_MAX)
        return ERR_TOO_LARGE;
    struct fake_world *w = c->owner->world;
    if (!c->other || (w->drop_flags & f->flags))
        return OK;
    unsigned copies = w->duplicate_flags & f->flags ? 2 : 1;
    for (unsigned n = 0; n < copies; n++) {
        struct fake_event *e = event_new(w, EVENT_FRAME, c->other, FAKE_DELAY_NS);
        e->frame = *f;
        alloc_fail_hold();
        e->body = rcbuf_new(f->msg.bytes.len + payload_len);
        alloc_fail_go_on();
        CHECK(e->body != NULL);
        struct rcbuf *b = e->body;
        memcpy(b->data, f->msg.bytes.len ? f->msg.bytes.ptr : (const uint8_t *)"",
               f->msg.bytes.len);
        b->len = f->msg.bytes.len;
        for (unsigned i = 0; i < f->payload_count; i++) {
            if (f->payload[i].bytes.len)
                memcpy(b->data + b->len, f->payload[i].bytes.ptr, f->payload[i].bytes.len);
            b->len += f->payload[i].bytes.len;
        }
        e->frame.msg = (struct payload){b, SLICE(b->data, f->msg.bytes.len)};
        e->frame.payload[0] = (struct payload){b, SLICE(b->data + f->msg.bytes.len, payload_len)};
        e->frame.payload_count = payload_len > 0;
        c->queued += b->len;
    }
    return OK;
}

static size_t fake_queued(struct net_conn *c)
{
    return c->queued;
}

static void fake_close(struct net_conn *c)
{
    if (c->closing)
        return;
    close_one(c, OK, 0);
    if (c->other)
        close_one(c->other, ERR_CONN_LOST, FAKE_DELAY_NS);
}

static void fake_set_reading(struct net_conn *c, bool on)
{
    if (c->reading_off == !on)
        return;
    c->reading_off = !on;
    if (!on) {
        c->owner->world->stops++;
        return;
    }
    c->owner->world->resumes++;
    while (!list_empty(&c->held)) {
        struct fake_event *held = container_of(list_pop_front(&c->held), struct fake_event, node);
        struct fake_event *e = event_new(c->owner->world, EVENT_FRAME, c, 0);
        e->frame = held->frame;
        e->body = held->body;
        held->body = NULL;
        event_free(held);
    }
}

static const struct net_ops fake_net_ops = {
    .connect = fake_connect,
    .listen = fake_listen,
    .listener_close = fake_listener_close,
    .send = fake_send,
    .queued_bytes = fake_queued,
    .conn_close = fake_close,
    .set_reading = fake_set_reading,
};

static const struct net_ops fake_net_ops_simple = {
    .connect = fake_connect,
    .listen = fake_listen,
    .listener_close = fake_listener_close,
    .send = fake_send,
    .queued_bytes = fake_queued,
    .conn_close = fake_close,
};

void fake_world_init(struct fake_world *w)
{
    *w = (struct fake_world){.now_ns = NS_PER_SEC, .random = 1};
    list_init(&w->timers);
    list_init(&w->events);
    list_init(&w->conns);
    list_init(&w->listeners);
}

void fake_node_init(struct fake_node *n, struct fake_world *w, const char *id, enum net_role role)
{
    *n = (struct fake_node){.world = w, .env = {&fake_env_ops}, .identity = {.role = role}};
    n->net = (struct net){w->no_set_reading ? &fake_net_ops_simple : &fake_net_ops, &n->env};
    strcpy(n->identity.node_id, id);
}

/* ---- running ---- */

static void accept_conn(struct fake_event *e)
{
    struct net_conn *c = e->conn, *s;
    struct net_listener *l = c->target;
    if (c->expect[0] && strcmp(c->expect, l->owner->identity.node_id) != 0) {
        close_one(c, ERR_AUTH, 0);
        return;
    }
    s = conn_new(l->owner);
    s->other = c;
    c->other = s;
    s->open = c->open = true;
    if (l->accept(l->arg, s, &c->owner->identity, &s->handler, &s->arg) != OK) {
        c->other = NULL;
        close_one(c, ERR_CONN_LOST, 0);
        s->other = NULL;
        conn_free(s);
        return;
    }
    c->handler->on_open(c->arg, c, &l->owner->identity);
}

static void deliver(struct fake_event *e)
{
    struct net_conn *c = e->conn;
    switch (e->kind) {
    case EVENT_OPEN:
        if (!c->closing)
            accept_conn(e);
        break;
    case EVENT_FRAME: {
        struct net_conn *from = c->other;
        if (c->closing)
            break;
        if (c->reading_off) {
            struct fake_event *held = equipment(sizeof(*held));
            *held = *e;
            e->body = NULL;
            list_init(&held->node);
            list_push_back(&c->held, &held->node);
            break;
        }
        if (from) {
            from->queued -= e->body->len;
            if (from->queued == 0 && !from->closing && from->handler->on_drain)
                from->handler->on_drain(from->arg, from);
        }
        if (!c->closing)
            c->handler->on_frame(c->arg, c, &e->frame);
        break;
    }
    default:
        c->handler->on_closed(c->arg, c, e->err);
        conn_free(c);
        break;
    }
}

bool fake_step(struct fake_world *w)
{
    struct env_timer *t =
        list_empty(&w->timers) ? NULL : container_of(w->timers.next, struct env_timer, node);
    struct fake_event *e =
        list_empty(&w->events) ? NULL : container_of(w->events.next, struct fake_event, node);
    if (!t && !e)
        return false;
    if (t && (!e || t->due_ns <= e->due_ns)) {
        w->now_ns = MAX(w->now_ns, t->due_ns);
        fake_timer_stop(t->env, t);
        t->cb(t);
        return true;
    }
    w->now_ns = MAX(w->now_ns, e->due_ns);
    list_remove(&e->node);
    if (++w->events_done == w->close_at && e->kind != EVENT_CLOSED) {
        struct net_conn *c = e->conn, *other = c->other;
        close_one(c, ERR_CONN_LOST, 0);
        if (other)
            close_one(other, ERR_CONN_LOST, 0);
    } else {
        deliver(e);
    }
    event_free(e);
    return true;
}

void fake_run_until(struct fake_world *w, const bool *flag)
{
    for (int i = 0; !*flag; i++)
        CHECK(i < 1000000 && fake_step(w));
}

void fake_run_for(struct fake_world *w, uint64_t ns)
{
    uint64_t end = w->now_ns + ns;
    for (;;) {
        uint64_t next = UINT64_MAX;
        if (!list_empty(&w->timers))
            next = container_of(w->timers.next, struct env_timer, node)->due_ns;
        if (!list_empty(&w->events))
            next = MIN(next, container_of(w->events.next, struct fake_event, node)->due_ns);
        if (next > end)
            break;
        fake_step(w);
    }
    w->now_ns = end;
}

void fake_world_check_empty(struct fake_world *w)
{
    CHECK(list_empty(&w->timers) && list_empty(&w->events) && list_empty(&w->listeners));
    CHECK(w->conns_now == 0);
}

/* ---- raw ends ---- */

static void raw_open(void *arg, struct net_conn *conn, const struct net_identity *peer)
{
    struct fake_raw *r = arg;
    (void)conn;
    r->opened = true;
    r->peer = *peer;
}

static void raw_frame(void *arg, struct net_conn *conn, struct frame *f)
{
    struct fake_raw *r = arg;
    (void)conn;
    r->frames++;
    r->hellos += f->flags == FRAME_HELLO;
    r->responses += f->flags == FRAME_RESPONSE;
    r->last_status = f->status;
}

static void raw_closed(void *arg, struct net_conn *conn, int err)
{
    struct fake_raw *r = arg;
    (void)conn;
    r->closed = true;
    r->err = err;
    r->conn = NULL;
}

static const struct net_conn_handler raw_handler = {
    .on_open = raw_open, .on_frame = raw_frame, .on_closed = raw_closed};

void fake_raw_connect(struct fake_node *n, const char *addr, struct fake_raw *r)
{
    *r = (struct fake_raw){0};
    CHECK(n->net.ops->connect(&n->net, addr, NULL, &raw_handler, r, &r->conn) == OK);
}

static int raw_accept(void *arg, struct net_conn *conn, const struct net_identity *peer,
                      const struct net_conn_handler **ret_handler, void **ret_arg)
{
    struct fake_raw *r = arg;
    *r = (struct fake_raw){.conn = conn, .peer = *peer, .opened = true};
    *ret_handler = &raw_handler;
    *ret_arg = r;
    return OK;
}

void fake_raw_listen(struct fake_node *n, const char *addr, struct fake_raw *r,
                     struct net_listener **ret)
{
    *r = (struct fake_raw){0};
    CHECK(n->net.ops->listen(&n->net, addr, raw_accept, r, ret) == OK);
}
