/* Connections between hosts: ordered frames with delay; loss, duplication, reordering and resets as
 * the world's faults say; one-way partitions hold frames back until they heal or the connection is
 * given up. */
#include "tests/sim/world_impl.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdlib.h>

struct net_conn {
    struct sim_net *net;
    struct host *host, *remote;
    struct net_conn *peer; /* NULL: not established, or the other end is gone */
    const struct net_conn_handler *handler;
    void *arg;
    struct list node;
    unsigned refs;     /* events on their way; the net's own */
    bool open, closed; /* closed: on_closed has been or will be called, nothing else */
    bool deserted;     /* the other host died without a word: nobody has noticed yet */
    int why;
    uint64_t last_due_ns; /* frames arrive in order */
    size_t queued;
    char expect[NET_NODE_ID_MAX];
};

struct flight {
    struct net_conn *from, *to;
    struct frame frame;
    struct rcbuf *bytes;
    uint64_t sent_ns;
    size_t size;
};

static void conn_drop_refs(struct net_conn *c, unsigned count)
{
    CHECK(c->refs >= count);
    c->refs -= count;
    if (c->refs == 0)
        free(c);
}

static void conn_unref(struct net_conn *c)
{
    conn_drop_refs(c, 1);
}

static void closed_event(void *arg)
{
    struct net_conn *c = arg;
    if (c->handler && c->handler->on_closed)
        c->handler->on_closed(c->arg, c, c->why);
    conn_drop_refs(c, 2); /* the event's and the net's */
}

/* Ends this side: on_closed comes once, later. */
static void end_side(struct net_conn *c, int why, uint64_t delay_ns)
{
    if (c->closed)
        return;
    c->closed = true;
    c->open = false;
    c->why = why;
    list_remove(&c->node);
    c->refs++;
    world_post(c->host->world, c->host, delay_ns, closed_event, c);
}

static uint64_t delay_of(struct world *w)
{
    const struct world_faults *f = &w->faults;
    uint64_t d = f->delay_min_ns + world_below(w, f->delay_max_ns - f->delay_min_ns + 1);
    if (world_chance(w, f->slow_per_10k))
        d += world_below(w, f->slow_ns + 1);
    return d;
}

/* Both ends learn of it, each after a while of its own. */
static void break_conn(struct net_conn *c, int why, uint64_t delay_ns)
{
    struct net_conn *peer = c->peer;
    end_side(c, why, delay_ns);
    c->peer = NULL;
    if (peer) {
        peer->peer = NULL;
        end_side(peer, ERR_CONN_LOST, delay_of(c->host->world));
    }
}

void world_break(struct world *w, struct host *a, struct host *b)
{
    struct host *both[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        if (!both[i]->alive)
            continue;
        list_for_each_safe(it, next, &both[i]->net->conns)
        {
            struct net_conn *c = container_of(it, struct net_conn, node);
            if (c->remote == both[1 - i])
                break_conn(c, ERR_CONN_LOST, delay_of(w));
        }
    }
}

/* ---- frames ---- */

static void flight_free(struct flight *f)
{
    rcbuf_unref(f->bytes);
    conn_unref(f->from);
    conn_unref(f->to);
    free(f);
}

static void arrives(void *arg);

/* Runs in the world, not on a host: whether the receiver can take it is looked at here. */
static void travels(void *arg)
{
    struct flight *f = arg;
    struct world *w = f->from->host->world;
    struct host *to = f->to->host;
    if (!f->to->open || !to->alive || f->from->peer != f->to) {
        f->from->queued -= MIN(f->from->queued, f->size);
        flight_free(f);
        return;
    }
    if (w->blocked[f->from->host->index][to->index]) {
        if (w->now_ns - f->sent_ns > CONN_DEAD_NS) {
            f->from->queued -= MIN(f->from->queued, f->size);
            break_conn(f->from, ERR_CONN_LOST, 0);
            flight_free(f);
            return;
        }
        world_call(w, 20 * NS_PER_MS, travels, f);
        return;
    }
    world_post(w, to, 0, arrives, f);
}

static void arrives(void *arg)
{
    struct flight *f = arg;
    struct net_conn *from = f->from, *to = f->to;
    from->queued -= MIN(from->queued, f->size);
    if (to->open && to->handler->on_frame)
        to->handler->on_frame(to->arg, to, &f->frame);
    if (from->open && from->host->alive && from->queued == 0 && from->handler->on_drain)
        from->handler->on_drain(from->arg, from);
    flight_free(f);
}

static struct flight *flight_new(struct net_conn *c, const struct frame *frame)
{
    size_t payload = 0;
    for (unsigned i = 0; i < frame->payload_count; i++)
        payload += frame->payload[i].bytes.len;
    struct flight *f = calloc(1, sizeof(*f));
    struct rcbuf *b = rcbuf_new(frame->msg.bytes.len + payload + 1);
    CHECK(f && b);
    if (frame->msg.bytes.len)
        memcpy(b->data, frame->msg.bytes.ptr, frame->msg.bytes.len);
    b->len = frame->msg.bytes.len;
    for (unsigned i = 0; i < frame->payload_count; i++) {
        struct slice s = frame->payload[i].bytes;
        if (s.len)
            memcpy(b->data + b->len, s.ptr, s.len);
        b->len += s.len;
    }
    f->frame = *frame;
    f->frame.msg = (struct payload){b, SLICE(b->data, frame->msg.bytes.len)};
    f->frame.payload_count = payload ? 1 : 0;
    f->frame.payload[0] = (struct payload){b, SLICE(b->data + frame->msg.bytes.len, payload)};
    f->bytes = b;
    f->from = c;
    f->to = c->peer;
    f->sent_ns = c->host->world->now_ns;
    f->size = FRAME_HEADER_BYTES + b->len;
    c->refs++;
    c->peer->refs++;
    c->queued += f->size;
    return f;
}

static int sim_send(struct net_conn *c, const struct frame *frame)
{
    struct world *w = c->host->world;
    const struct world_faults *faults = &w->faults;
    if (frame->msg.bytes.len > FRAME_MSG_BYTES_MAX)
        return ERR_TOO_LARGE;
    if (c->open && c->deserted) {
        /* A host that is back knows nothing of the connection, and says so. */
        if (c->remote->alive && !w->blocked[c->host->index][c->remote->index])
            end_side(c, ERR_CONN_LOST, delay_of(w) + delay_of(w));
        return OK;
    }
    if (!c->open || !c->peer)
        return ERR_CONN_LOST;
    bool ordinary = !(frame->flags & FRAME_HELLO);
    if (ordinary && world_chance(w, faults->drop_per_10k))
        return OK;
    if (ordinary && world_chance(w, faults->reset_per_10k)) {
        break_conn(c, ERR_CONN_LOST, delay_of(w));
        return OK;
    }
    unsigned copies = ordinary && world_chance(w, faults->dup_per_10k) ? 2 : 1;
    for (unsigned i = 0; i < copies; i++) {
        uint64_t due = w->now_ns + delay_of(w);
        bool overtakes = ordinary && world_chance(w, faults->reorder_per_10k);
        if (!overtakes) {
            due = MAX(due, c->last_due_ns);
            c->last_due_ns = due;
        }
        world_call(w, due - w->now_ns, travels, flight_new(c, frame));
    }
    return OK;
}

static size_t sim_queued_bytes(struct net_conn *c)
{
    return c->queued;
}

/* ---- connecting ---- */

static struct net_conn *conn_new(struct sim_net *net, struct host *remote)
{
    struct net_conn *c = calloc(1, sizeof(*c));
    CHECK(c);
    *c = (struct net_conn){.net = net, .host = net->host, .remote = remote, .refs = 1};
    list_push_back(&net->conns, &c->node);
    return c;
}

static struct net_identity identity_of(const struct host *h)
{
    struct net_identity id = {.role = h->role};
    memcpy(id.node_id, h->id, sizeof(id.node_id));
    return id;
}

static void opened(void *arg)
{
    struct net_conn *c = arg;
    if (!c->closed && c->peer) {
        struct net_identity id = identity_of(c->remote);
        c->open = true;
        if (c->handler->on_open)
            c->handler->on_open(c->arg, c, &id);
    }
    conn_unref(c);
}

/* The listener's side, on its host. */
static void accepts(void *arg)
{
    struct net_conn *c = arg;
    struct host *h = c->remote;
    if (!c->closed && c->host->alive && h->net->listening) {
        struct net_conn *other = conn_new(h->net, c->host);
        struct net_identity id = identity_of(c->host);
        other->peer = c;
        other->open = true;
        c->peer = other;
        /* What the listener sends at once must not arrive before the connection is open. */
        uint64_t delay = delay_of(h->world);
        other->last_due_ns = h->world->now_ns + delay + 1;
        int err = h->net->accept(h->net->accept_arg, other, &id, &other->handler, &other->arg);
        if (err != OK) {
            other->handler = NULL;
            break_conn(other, err, 0);
        } else {
            c->refs++;
            world_post(h->world, c->host, delay, opened, c);
        }
    } else if (!c->closed && c->host->alive) {
        end_side(c, ERR_UNREACHABLE, delay_of(h->world));
    }
    conn_unref(c);
}

static void reaches(void *arg)
{
    struct net_conn *c = arg;
    struct world *w = c->host->world;
    struct host *to = c->remote;
    if (c->closed || !c->host->alive) {
        conn_unref(c);
    } else if (!to || !to->alive || (c->expect[0] && strcmp(c->expect, to->id) != 0)) {
        end_side(c, !to || !to->alive ? ERR_UNREACHABLE : ERR_AUTH, 0);
        conn_unref(c);
    } else if (w->blocked[c->host->index][to->index] || w->blocked[to->index][c->host->index]) {
        world_call(w, 50 * NS_PER_MS, reaches, c); /* until its user gives up */
    } else {
        world_post(w, to, 0, accepts, c);
    }
}

static int sim_connect(struct net *n, const char *addr, const char *expect_node_id,
                       const struct net_conn_handler *handler, void *arg, struct net_conn **ret)
{
    struct sim_net *net = container_of(n, struct sim_net, net);
    struct world *w = net->host->world;
    struct net_conn *c = conn_new(net, world_host_at(w, addr));
    c->handler = handler;
    c->arg = arg;
    if (expect_node_id)
        strncpy(c->expect, expect_node_id, sizeof(c->expect) - 1);
    c->refs++;
    world_call(w, delay_of(w), reaches, c);
    *ret = c;
    return OK;
}

struct net_listener {
    struct sim_net *net;
};

static int sim_listen(struct net *n, const char *addr,
                      int (*accept)(void *arg, struct net_conn *, const struct net_identity *,
                                    const struct net_conn_handler **, void **),
                      void *arg, struct net_listener **ret)
{
    struct sim_net *net = container_of(n, struct sim_net, net);
    (void)addr;
    CHECK(!net->listening);
    net->listening = true;
    net->accept = accept;
    net->accept_arg = arg;
    *ret = calloc(1, sizeof(**ret));
    CHECK(*ret);
    (*ret)->net = net;
    return OK;
}

static void sim_listener_close(struct net_listener *l)
{
    l->net->listening = false;
    free(l);
}

static void sim_conn_close(struct net_conn *c)
{
    struct net_conn *peer = c->peer;
    if (c->closed)
        return;
    end_side(c, OK, 0);
    c->peer = NULL;
    if (peer) {
        peer->peer = NULL;
        end_side(peer, ERR_CONN_LOST, delay_of(c->host->world));
    }
}

static const struct net_ops sim_net_ops = {
    .connect = sim_connect,
    .listen = sim_listen,
    .listener_close = sim_listener_close,
    .send = sim_send,
    .queued_bytes = sim_queued_bytes,
    .conn_close = sim_conn_close,
};

struct sim_net *sim_net_new(struct host *h)
{
    struct sim_net *net = calloc(1, sizeof(*net));
    CHECK(net);
    *net = (struct sim_net){.net = {.ops = &sim_net_ops, .env = &h->env->env}, .host = h};
    list_init(&net->conns);
    return net;
}

static void gives_up(void *arg)
{
    struct net_conn *c = arg;
    end_side(c, ERR_CONN_LOST, 0);
    conn_unref(c);
}

/* The other ends learn of it at once (a reset), or when they hear nothing for long. */
void sim_net_crash(struct sim_net *net, bool silent)
{
    struct world *w = net->host->world;
    while (!list_empty(&net->conns)) {
        struct net_conn *c = container_of(list_pop_front(&net->conns), struct net_conn, node);
        struct net_conn *peer = c->peer;
        c->open = false;
        c->closed = true;
        c->peer = NULL;
        if (!peer)
            continue;
        peer->peer = NULL;
        if (silent && peer->open) {
            peer->deserted = true;
            peer->refs++;
            world_post(w, peer->host, CONN_DEAD_NS, gives_up, peer);
        } else {
            end_side(peer, ERR_CONN_LOST, silent ? CONN_DEAD_NS : delay_of(w));
        }
    }
    net->listening = false;
}
