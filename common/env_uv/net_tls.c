/* The net: listeners, connecting, the life of a connection, and what happens once a turn of the
 * loop.
 *
 *   outgoing: RESOLVING -> CONNECTING -> HANDSHAKE -> OPEN -> CLOSED
 *   incoming:                           HANDSHAKE -> OPEN -> CLOSED
 * Any state may go to CLOSED.  The descriptor is closed then, the memory one turn later, after
 * on_closed. */
#include "common/env_uv/net_tls_impl.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct tls_net *tls_net_of(struct net *net)
{
    return container_of(net, struct tls_net, net);
}

/* ---- the end of the net ---- */

static void net_maybe_gone(struct tls_net *net)
{
    if (!net->closing || net->handles > 0 || net->resolving > 0 || !list_empty(&net->conns) ||
        !list_empty(&net->listeners))
        return;
    void (*closed)(void *arg) = net->closed;
    void *arg = net->closed_arg;
    env_timer_stop(&net->health);
    net_tls_ctx_free(net->ctx);
    free(net->spare);
    free(net);
    if (closed)
        closed(arg);
}

static void net_handle_closed(uv_handle_t *handle)
{
    struct tls_net *net = handle->data;
    net->handles--;
    net_maybe_gone(net);
}

/* ---- a connection's descriptor ---- */

static void poll_closed(uv_handle_t *handle)
{
    struct conn_poll *p = container_of((void *)handle, struct conn_poll, poll);
    struct tls_net *net = p->net;
    free(p);
    net->handles--;
    net_maybe_gone(net);
}

static void conn_poll_cb(uv_poll_t *poll, int status, int events);

void conn_events_update(struct net_conn *c)
{
    int events = 0;
    if (!c->reading_off && c->state >= CONN_HANDSHAKE)
        events |= UV_READABLE;
    if (c->want_write || c->state == CONN_CONNECTING)
        events |= UV_WRITABLE;
    if (!c->poll || events == c->events)
        return;
    c->events = events;
    if (events)
        CHECK(uv_poll_start(&c->poll->poll, events, conn_poll_cb) == 0);
    else
        uv_poll_stop(&c->poll->poll);
}

/* Takes over fd.  Returns: OK; ERR_NOMEM; ERR_IO (and fd is closed). */
static int conn_attach(struct net_conn *c, int fd)
{
    struct conn_poll *p = malloc(sizeof(*p));
    int err = !p ? ERR_NOMEM : uv_poll_init(c->net->loop, &p->poll, fd) == 0 ? OK : ERR_IO;
    if (err != OK) {
        free(p);
        close(fd);
        return err;
    }
    p->net = c->net;
    p->conn = c;
    c->net->handles++;
    c->poll = p;
    c->fd = fd;
    c->events = 0;
    int on = 1, one_s = 1, probes = 2;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one_s, sizeof(one_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one_s, sizeof(one_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    return OK;
}

static void conn_detach(struct net_conn *c)
{
    if (!c->poll)
        return;
    c->poll->conn = NULL;
    uv_close((uv_handle_t *)&c->poll->poll, poll_closed);
    c->poll = NULL;
    close(c->fd);
    c->fd = -1;
}

/* ---- the end of a connection ---- */

static void conn_gone(struct env_timer *timer)
{
    struct net_conn *c = container_of(timer, struct net_conn, timer);
    struct tls_net *net = c->net;
    const struct net_conn_handler *handler = c->handler;
    if (handler)
        handler->on_closed(c->arg, c, c->err);
    SSL_free(c->ssl);
    list_remove(&c->node);
    free(c);
    net_maybe_gone(net);
}

/* Of an incoming connection, or nothing. */
static void handshake_over(struct net_conn *c)
{
    if (list_empty(&c->handshake_node))
        return;
    list_remove(&c->handshake_node);
    c->net->stats.handshaking--;
}

void conn_shut(struct net_conn *c, int err)
{
    if (c->state == CONN_CLOSED || c->ending)
        return;
    handshake_over(c);
    c->net->stats.conns--; /* its memory is there until this turn has ended */
    c->ending = true;      /* the last words may fail, and would come back here */
    if (c->poll && (err == OK || c->state == CONN_HANDSHAKE))
        conn_say_goodbye(c);
    c->state = CONN_CLOSED;
    c->err = err;
    c->listener = NULL;
    if (c->resolve) {
        c->resolve->conn = NULL;
        (void)uv_cancel((uv_req_t *)&c->resolve->req);
        c->resolve = NULL;
    }
    uv_freeaddrinfo(c->addrs);
    c->addrs = c->addr_next = NULL;
    conn_detach(c);
    list_remove(&c->dirty_node);
    list_remove(&c->ready_node);
    conn_free_buffers(c);
    c->timer.cb = conn_gone;
    env_timer_start(&c->timer, 0);
}

void conn_fail(struct net_conn *c, int err, const char *text)
{
    struct tls_net *net = c->net;
    if (c->state == CONN_CLOSED)
        return;
    if (c->state == CONN_HANDSHAKE)
        net->stats.handshakes_failed++;
    if (net->options.on_problem)
        net->options.on_problem(net->options.arg, c->addr, err, text);
    conn_shut(c, err);
}

/* ---- the beginning of a connection ---- */

static struct net_conn *conn_new(struct tls_net *net)
{
    struct net_conn *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->net = net;
    c->fd = -1;
    list_init(&c->dirty_node);
    list_init(&c->ready_node);
    list_init(&c->handshake_node);
    list_init(&c->chunks);
    if (list_empty(&net->conns))
        env_timer_start(&net->health, HEALTH_INTERVAL_NS);
    list_push_back(&net->conns, &c->node);
    net->stats.conns++;
    return c;
}

static void handshake_timeout(struct env_timer *timer)
{
    struct net_conn *c = container_of(timer, struct net_conn, timer);
    if (c->state == CONN_HANDSHAKE)
        conn_fail(c, ERR_TIMEOUT, "the TLS handshake took too long");
    else
        conn_shut(c, ERR_UNREACHABLE);
}

static void conn_timer_start(struct net_conn *c, uint64_t delay_ns)
{
    env_timer_init(c->net->net.env, &c->timer, handshake_timeout);
    env_timer_start(&c->timer, delay_ns);
}

static void conn_handshake_start(struct net_conn *c)
{
    c->state = CONN_HANDSHAKE;
    c->ssl = net_tls_ssl_new(c->net->ctx, c);
    if (!c->ssl) {
        conn_fail(c, ERR_NOMEM, "no memory for TLS");
        return;
    }
    conn_events_update(c);
    conn_handshake(c);
}

void conn_opened(struct net_conn *c)
{
    env_timer_stop(&c->timer);
    handshake_over(c);
    c->state = CONN_OPEN;
    if (c->outgoing) {
        c->handler->on_open(c->arg, c, &c->peer);
        return;
    }
    struct net_listener *l = c->listener;
    const struct net_conn_handler *handler = NULL;
    c->listener = NULL;
    void *arg = NULL;
    int err = l ? l->accept(l->arg, c, &c->peer, &handler, &arg) : ERR_SHUTDOWN;
    if (err != OK) {
        conn_shut(c, OK);
        return;
    }
    CHECK(handler != NULL);
    c->handler = handler;
    c->arg = arg;
}

/* Tries the addresses that are left; the last failure is final. */
static void connect_next(struct net_conn *c)
{
    while (c->addr_next) {
        struct addrinfo *a = c->addr_next;
        c->addr_next = a->ai_next;
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
            close(fd);
            continue;
        }
        if (conn_attach(c, fd) != OK)
            continue;
        c->state = CONN_CONNECTING;
        conn_events_update(c);
        return;
    }
    conn_shut(c, ERR_UNREACHABLE);
}

static void connect_done(struct net_conn *c)
{
    int so_error = 0;
    socklen_t len = sizeof(so_error);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &so_error, &len) != 0 || so_error != 0) {
        conn_detach(c);
        connect_next(c);
        return;
    }
    conn_handshake_start(c);
}

static void conn_poll_cb(uv_poll_t *poll, int status, int events)
{
    struct net_conn *c = container_of(poll, struct conn_poll, poll)->conn;
    if (!c)
        return;
    if (c->state == CONN_CONNECTING) {
        connect_done(c);
        return;
    }
    if (c->state == CONN_HANDSHAKE)
        conn_handshake(c);
    else if (c->state == CONN_OPEN && (status < 0 || (events & UV_READABLE)))
        conn_read(c);
    if (c->state == CONN_OPEN && (events & UV_WRITABLE))
        conn_mark_dirty(c);
    /* EPOLLERR: what the other side still said has been read, and libuv polls no further. */
    if (status < 0)
        conn_shut(c, ERR_CONN_LOST);
}

/* ---- connecting ---- */

/* Splits "host:port" or "[v6]:port".  Returns: false when it is neither. */
static bool addr_split(const char *addr, char host[256], char port[8])
{
    const char *colon = strrchr(addr, ':');
    if (!colon || strlen(colon + 1) == 0 || strlen(colon + 1) >= 8)
        return false;
    const char *begin = addr, *end = colon;
    if (*begin == '[') {
        begin++;
        if (end == begin || end[-1] != ']')
            return false;
        end--;
    }
    size_t len = (size_t)(end - begin);
    if (len >= 256)
        return false;
    memcpy(host, begin, len);
    host[len] = 0;
    unsigned long n = 0;
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        n = n * 10 + (unsigned long)(*p - '0');
    }
    strcpy(port, colon + 1);
    return n <= 65535;
}

static void resolve_done(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct conn_resolve *r = container_of(req, struct conn_resolve, req);
    struct net_conn *c = r->conn;
    struct tls_net *net = r->net;
    free(r);
    net->resolving--;
    if (!c) {
        uv_freeaddrinfo(found);
        net_maybe_gone(net);
        return;
    }
    c->resolve = NULL;
    c->addrs = c->addr_next = status == 0 ? found : NULL;
    connect_next(c);
}

/* An address is tried on a later turn, because no callback may come within connect. */
static void connect_soon(struct env_timer *timer)
{
    struct net_conn *c = container_of(timer, struct net_conn, timer);
    conn_timer_start(c, OUTGOING_TIMEOUT_NS);
    connect_next(c);
}

static int conn_resolve_start(struct net_conn *c, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    if (getaddrinfo(host, port, &hints, &c->addrs) == 0) {
        c->addr_next = c->addrs;
        env_timer_init(c->net->net.env, &c->timer, connect_soon);
        env_timer_start(&c->timer, 0);
        return OK;
    }
    c->addrs = NULL;
    struct conn_resolve *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->net = c->net;
    r->conn = c;
    hints.ai_flags = AI_NUMERICSERV;
    if (uv_getaddrinfo(c->net->loop, &r->req, resolve_done, host, port, &hints) != 0) {
        free(r);
        return ERR_NOMEM;
    }
    c->resolve = r;
    c->net->resolving++;
    conn_timer_start(c, OUTGOING_TIMEOUT_NS);
    return OK;
}

static int tls_connect(struct net *n, const char *addr, const char *expect_node_id,
                       const struct net_conn_handler *handler, void *arg, struct net_conn **ret)
{
    struct tls_net *net = tls_net_of(n);
    char host[256], port[8];
    if (net->closing)
        return ERR_SHUTDOWN;
    if (!addr_split(addr, host, port) || !host[0] ||
        (expect_node_id && strlen(expect_node_id) >= NET_NODE_ID_MAX))
        return ERR_INVAL;
    struct net_conn *c = conn_new(net);
    if (!c)
        return ERR_NOMEM;
    c->outgoing = true;
    c->state = CONN_RESOLVING;
    snprintf(c->addr, sizeof(c->addr), "%s", addr);
    if (expect_node_id)
        strcpy(c->expect_node_id, expect_node_id);
    int err = conn_resolve_start(c, host, port);
    if (err != OK) {
        list_remove(&c->node);
        net->stats.conns--;
        free(c);
        return err;
    }
    c->handler = handler;
    c->arg = arg;
    *ret = c;
    return OK;
}

/* ---- listening ---- */

static void sockaddr_text(const struct sockaddr_storage *sa, char *ret, size_t cap)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(ret, cap, "%s:%u", host, ntohs(in->sin_port));
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(ret, cap, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(ret, cap, "?");
    }
}

/* Whoever has not authenticated makes room for the next: never the other way round. */
static void handshakes_make_room(struct tls_net *net)
{
    if (net->stats.handshaking < net->options.handshakes_max)
        return;
    CHECK(!list_empty(&net->handshaking));
    conn_shut(container_of(net->handshaking.next, struct net_conn, handshake_node), ERR_LIMIT);
    net->stats.handshakes_evicted++;
}

static void conn_accepted(struct net_listener *l, int fd, const struct sockaddr_storage *from)
{
    struct tls_net *net = l->net;
    bool room = net->stats.conns - net->stats.handshaking < net->options.conns_max;
    struct net_conn *c = room ? conn_new(net) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    handshakes_make_room(net);
    list_push_back(&net->handshaking, &c->handshake_node);
    net->stats.handshaking++;
    sockaddr_text(from, c->addr, sizeof(c->addr));
    c->listener = l;
    conn_timer_start(c, net->options.handshake_timeout_ms * NS_PER_MS);
    int err = conn_attach(c, fd);
    if (err != OK)
        conn_shut(c, err);
    else
        conn_handshake_start(c);
}

static void listener_poll_cb(uv_poll_t *poll, int status, int events)
{
    struct net_listener *l = container_of(poll, struct net_listener, poll);
    (void)status;
    (void)events;
    for (int i = 0; i < 64 && l->fd >= 0; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof(from);
        int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            conn_accepted(l, fd, &from);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            uv_poll_stop(&l->poll);
            env_timer_start(&l->timer, ACCEPT_PAUSE_NS);
            return;
        }
        if (errno == EAGAIN)
            return;
    }
}

static void listener_resume(struct env_timer *timer)
{
    struct net_listener *l = container_of(timer, struct net_listener, timer);
    CHECK(uv_poll_start(&l->poll, UV_READABLE, listener_poll_cb) == 0);
}

/* Returns: a listening socket; ERR_INVAL; ERR_IO (errno says why). */
static int listen_socket(const struct tls_net *net, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, port, &hints, &found) != 0)
        return ERR_INVAL;
    int result = ERR_IO, on = 1, why = 0;
    for (struct addrinfo *a = found; a && result < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (net->options.reuse_port)
            (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 512) == 0)
            result = fd;
        else
            why = errno, close(fd);
    }
    freeaddrinfo(found);
    errno = result < 0 ? why : 0;
    return result;
}

static int tls_listen(struct net *n, const char *addr,
                      int (*accept)(void *arg, struct net_conn *, const struct net_identity *,
                                    const struct net_conn_handler **ret_handler, void **ret_arg),
                      void *arg, struct net_listener **ret)
{
    struct tls_net *net = tls_net_of(n);
    char host[256], port[8];
    if (net->closing)
        return ERR_SHUTDOWN;
    if (!addr_split(addr, host, port))
        return ERR_INVAL;
    int fd = listen_socket(net, host, port);
    if (fd < 0)
        return fd;
    struct net_listener *l = calloc(1, sizeof(*l));
    if (!l || uv_poll_init(net->loop, &l->poll, fd) != 0) {
        free(l);
        close(fd);
        return l ? ERR_IO : ERR_NOMEM;
    }
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        l->port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&sa)->sin6_port
                                                 : ((struct sockaddr_in *)(void *)&sa)->sin_port);
    l->net = net;
    l->fd = fd;
    l->accept = accept;
    l->arg = arg;
    env_timer_init(net->net.env, &l->timer, listener_resume);
    list_push_back(&net->listeners, &l->node);
    CHECK(uv_poll_start(&l->poll, UV_READABLE, listener_poll_cb) == 0);
    *ret = l;
    return OK;
}

static void listener_closed(uv_handle_t *handle)
{
    struct net_listener *l = container_of((void *)handle, struct net_listener, poll);
    struct tls_net *net = l->net;
    list_remove(&l->node);
    free(l);
    net_maybe_gone(net);
}

static void tls_listener_close(struct net_listener *l)
{
    if (l->fd < 0)
        return;
    env_timer_stop(&l->timer);
    list_for_each(it, &l->net->conns)
    {
        struct net_conn *c = container_of(it, struct net_conn, node);
        if (c->listener == l)
            conn_shut(c, ERR_SHUTDOWN);
    }
    uv_close((uv_handle_t *)&l->poll, listener_closed);
    close(l->fd);
    l->fd = -1;
}

int net_tls_listener_port(const struct net_listener *listener)
{
    return listener->port;
}

/* ---- once a turn ---- */

void conn_mark_ready(struct net_conn *c)
{
    if (!list_empty(&c->ready_node))
        return;
    list_push_back(&c->net->ready, &c->ready_node);
}

void conn_mark_dirty(struct net_conn *c)
{
    if (list_empty(&c->dirty_node))
        list_push_back(&c->net->dirty, &c->dirty_node);
}

static void ready_cb(uv_idle_t *idle)
{
    struct tls_net *net = container_of(idle, struct tls_net, idle);
    struct list batch;
    list_init(&batch);
    while (!list_empty(&net->ready))
        list_push_back(&batch, list_pop_front(&net->ready));
    while (!list_empty(&batch))
        conn_read(container_of(list_pop_front(&batch), struct net_conn, ready_node));
    if (list_empty(&net->ready))
        uv_idle_stop(&net->idle);
}

static void net_turn(struct tls_net *net)
{
    for (unsigned round = 1; !list_empty(&net->dirty); round++) {
        struct list now;
        list_init(&now);
        while (!list_empty(&net->dirty))
            list_push_back(&now, list_pop_front(&net->dirty));
        while (!list_empty(&now))
            conn_flush(container_of(list_pop_front(&now), struct net_conn, dirty_node),
                       round < WRITE_ROUNDS);
    }
    if (!list_empty(&net->ready))
        uv_idle_start(&net->idle, ready_cb);
}

static void prepare_cb(uv_prepare_t *prepare)
{
    net_turn(container_of(prepare, struct tls_net, prepare));
}

static void check_cb(uv_check_t *check)
{
    net_turn(container_of(check, struct tls_net, check));
}

/* Data has been under way for a while, was sent again, and the other host's kernel has said nothing
 * at all.  A receiver that does not read still acknowledges, so it is not taken for dead. */
static bool tcp_is_dead(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return false;
    return info.tcpi_unacked > 0 && info.tcpi_retransmits > 0 &&
           info.tcpi_last_ack_recv >= DEAD_AFTER_MS && info.tcpi_last_data_recv >= DEAD_AFTER_MS;
}

static void health_cb(struct env_timer *timer)
{
    struct tls_net *net = container_of(timer, struct tls_net, health);
    list_for_each(it, &net->conns)
    {
        struct net_conn *c = container_of(it, struct net_conn, node);
        if (c->state == CONN_OPEN && tcp_is_dead(c->fd))
            conn_fail(c, ERR_CONN_LOST, "the peer's host does not answer");
    }
    if (!list_empty(&net->conns))
        env_timer_start(&net->health, HEALTH_INTERVAL_NS);
}

/* ---- the interface ---- */

static size_t tls_queued_bytes(struct net_conn *c)
{
    return c->chunk_bytes + (c->out.len - c->out_at);
}

static void tls_conn_close(struct net_conn *c)
{
    conn_shut(c, OK);
}

static void tls_set_reading(struct net_conn *c, bool on)
{
    if (c->state != CONN_OPEN || c->reading_off == !on)
        return;
    c->reading_off = !on;
    conn_events_update(c);
    if (on)
        conn_mark_ready(c); /* decrypted bytes may be waiting that no poll will announce */
}

static const struct net_ops tls_net_ops = {
    .connect = tls_connect,
    .listen = tls_listen,
    .listener_close = tls_listener_close,
    .send = conn_send,
    .queued_bytes = tls_queued_bytes,
    .conn_close = tls_conn_close,
    .set_reading = tls_set_reading,
};

int net_tls_new(struct env_uv *env, struct net_tls_ctx *ctx, const struct net_tls_options *options,
                struct net **ret)
{
    struct tls_net *net = calloc(1, sizeof(*net));
    if (!net)
        return ERR_NOMEM;
    net->net = (struct net){&tls_net_ops, &env->env};
    net->env = env;
    net->loop = env->loop;
    net->ctx = ctx;
    atomic_fetch_add(&ctx->refs, 1);
    if (options)
        net->options = *options;
    if (net->options.conns_max == 0)
        net->options.conns_max = 4096;
    if (net->options.handshake_timeout_ms == 0)
        net->options.handshake_timeout_ms = 2000;
    if (net->options.handshakes_max == 0)
        net->options.handshakes_max = 256;
    list_init(&net->conns);
    list_init(&net->listeners);
    list_init(&net->handshaking);
    list_init(&net->dirty);
    list_init(&net->ready);
    env_timer_init(&env->env, &net->health, health_cb);
    CHECK(uv_prepare_init(net->loop, &net->prepare) == 0);
    CHECK(uv_check_init(net->loop, &net->check) == 0);
    CHECK(uv_idle_init(net->loop, &net->idle) == 0);
    net->handles = 3;
    net->prepare.data = net->check.data = net->idle.data = net;
    CHECK(uv_prepare_start(&net->prepare, prepare_cb) == 0);
    CHECK(uv_check_start(&net->check, check_cb) == 0);
    uv_unref((uv_handle_t *)&net->prepare);
    uv_unref((uv_handle_t *)&net->check);
    *ret = &net->net;
    return OK;
}

void net_tls_close(struct net *n, void (*done)(void *arg), void *arg)
{
    struct tls_net *net = tls_net_of(n);
    CHECK(!net->closing);
    net->closing = true;
    net->closed = done;
    net->closed_arg = arg;
    list_for_each(it, &net->listeners)
        tls_listener_close(container_of(it, struct net_listener, node));
    list_for_each(it, &net->conns) conn_shut(container_of(it, struct net_conn, node), OK);
    uv_close((uv_handle_t *)&net->prepare, net_handle_closed);
    uv_close((uv_handle_t *)&net->check, net_handle_closed);
    uv_close((uv_handle_t *)&net->idle, net_handle_closed);
}

void net_tls_stats(const struct net *n, struct net_tls_stats *ret)
{
    *ret = container_of(n, const struct tls_net, net)->stats;
}
