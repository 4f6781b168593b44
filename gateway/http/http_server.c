/* Listening, sockets and timers under libuv.
 *
 * A small request costs one read() and one write(): reading stays on between requests (turning it
 * off and on would cost an epoll_ctl each), responses are sent from inside the read callback or
 * from finish(), and head and body leave together.  Small reads of all connections share one
 * buffer; the body of a large upload is read into buffers of its own, which the handler may keep
 * without a copy. */
#include "gateway/http/http_uv.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <assert.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SHARED_BYTES 65536
#define SPACE_BYTES_MIN 16384
#define BACKLOG 1024
#define KEEPALIVE_S 60
#define CLOSING_TICK_MS 50u
#define STILL_MS 1000u /* a tick that comes so much too late: the loop, not the clients, was slow  \
                        */

struct http_server {
    uv_loop_t *loop;
    struct http_limits limits;
    struct http_handler handler;
    struct http_conn_env env;
    struct http_stats stats;
    struct ssl_ctx_st *tls;
    uv_tcp_t listener;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_idle_t idle;
    struct list conns, kicked;
    struct list waiting; /* for a request: of these connections the one that has longest is first */
    struct rcbuf *shared;
    size_t shared_used;
    bool closing, accept_again;
    unsigned handles;
    uint64_t cut_at_ms, ticked_ms;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

/* ---- memory to read into ---- */

/* Unused room behind what others still hold; from the start when nobody does. */
static struct slice space_of(struct rcbuf **buf, size_t *used, size_t cap)
{
    if (*buf && atomic_load(&(*buf)->refs) == 1)
        *used = 0;
    if (*buf && (*buf)->cap - *used < SPACE_BYTES_MIN) {
        rcbuf_unref(*buf);
        *buf = NULL;
    }
    if (!*buf) {
        *buf = rcbuf_new(cap);
        *used = 0;
    }
    return *buf ? SLICE((*buf)->data + *used, (*buf)->cap - *used) : SLICE_EMPTY;
}

struct slice http_uv_read_space(struct http_uv_conn *uc, struct rcbuf **ret_owner)
{
    struct http_server *s = uc->server;
    size_t large = http_conn_read_hint(&uc->c);
    struct slice space;
    if (large) {
        space = space_of(&uc->large, &uc->large_used, MAX(large, (size_t)SPACE_BYTES_MIN));
        *ret_owner = uc->large;
        return space;
    }
    rcbuf_unref(uc->large);
    uc->large = NULL;
    space = space_of(&s->shared, &s->shared_used, SHARED_BYTES);
    *ret_owner = s->shared;
    return space;
}

void http_uv_read_used(struct http_uv_conn *uc, struct rcbuf *owner, size_t bytes)
{
    size_t *used = owner == uc->large ? &uc->large_used : &uc->server->shared_used;
    *used += bytes;
    if (owner->len < *used)
        owner->len = *used;
}

struct http_stats *http_uv_stats(struct http_uv_conn *uc)
{
    return &uc->server->stats;
}

uint64_t http_uv_now(struct http_uv_conn *uc)
{
    return uv_now(uc->server->loop);
}

/* ---- the end of connections and of the server ---- */

static void on_handle_closed(uv_handle_t *h)
{
    struct http_server *s = h->data;
    if (--s->handles > 0)
        return;
    rcbuf_unref(s->shared);
    void (*on_closed)(void *) = s->on_closed;
    void *arg = s->closed_arg;
    free(s);
    if (on_closed)
        on_closed(arg);
}

static void close_handles(struct http_server *s)
{
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
    uv_close((uv_handle_t *)&s->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&s->idle, on_handle_closed);
}

/* After whatever may have run it: does it wait for a request, may it be freed? */
static void conn_ran(struct http_uv_conn *uc)
{
    struct http_server *s = uc->server;
    bool waits = http_conn_waits(&uc->c);
    if (waits && list_empty(&uc->wait_node))
        list_push_back(&s->waiting, &uc->wait_node);
    else if (!waits)
        list_remove(&uc->wait_node);
    if (!uc->uv_closed || !http_conn_may_free(&uc->c))
        return;
    list_remove(&uc->node);
    list_remove(&uc->kick_node);
    http_conn_fini(&uc->c);
    http_tls_conn_free(uc);
    rcbuf_unref(uc->large);
    rcbuf_unref(uc->write_cipher);
    free(uc);
    s->stats.connections--;
    if (s->closing && list_empty(&s->conns))
        close_handles(s);
}

static void on_conn_closed(uv_handle_t *h)
{
    struct http_uv_conn *uc = h->data;
    uc->uv_closed = true;
    conn_ran(uc);
}

/* ---- sending ---- */

static void on_write(uv_write_t *w, int status)
{
    struct http_uv_conn *uc = w->data;
    size_t bytes = uc->write_bytes;
    uc->write_bytes = 0;
    uc->c.transport_busy = false;
    uc->c.out.pinned = false;
    rcbuf_unref(uc->write_cipher);
    uc->write_cipher = NULL;
    if (status == 0)
        http_out_consume(&uc->c.out, bytes);
    if (status != 0)
        http_conn_lost(&uc->c, http_uv_now(uc));
    else
        http_conn_sent(&uc->c, http_uv_now(uc));
    conn_ran(uc);
}

/* What is queued, as far as one system call goes.  Returns the number of buffers. */
static unsigned gather_iov(struct http_uv_conn *uc, uv_buf_t *iov, size_t *ret_bytes)
{
    struct slice piece[HTTP_OUT_IOV_MAX];
    size_t n = http_out_peek(&uc->c.out, piece, HTTP_OUT_IOV_MAX);
    *ret_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned len = (unsigned)MIN(piece[i].len, (size_t)1 << 30);
        iov[i] = uv_buf_init((char *)(uintptr_t)piece[i].ptr, len);
        *ret_bytes += len;
        if (len < piece[i].len)
            return (unsigned)i + 1;
    }
    return (unsigned)n;
}

static void plain_flush(struct http_uv_conn *uc)
{
    struct http_conn *c = &uc->c;
    uv_stream_t *stream = (uv_stream_t *)&uc->tcp;
    uv_buf_t iov[HTTP_OUT_IOV_MAX];
    while (c->out.bytes > 0 && uc->write_bytes == 0 && !c->broken) {
        size_t bytes = 0;
        unsigned n = gather_iov(uc, iov, &bytes);
        int sent = uv_try_write(stream, iov, n);
        uc->server->stats.writes++;
        if (sent > 0) {
            uc->server->stats.bytes_out += (uint64_t)sent;
            uc->handed += (uint64_t)sent;
            c->output_ms = http_uv_now(uc);
            http_out_consume(&c->out, (size_t)sent);
            if ((size_t)sent == bytes)
                continue;
            n = gather_iov(uc, iov, &bytes);
        } else if (sent != UV_EAGAIN) {
            c->broken = true;
            return;
        }
        if (uv_write(&uc->write, stream, iov, n, on_write) != 0) {
            c->broken = true;
            return;
        }
        uc->server->stats.writes++;
        uc->server->stats.bytes_out += bytes;
        uc->handed += bytes;
        uc->write_bytes = bytes;
        c->out.pinned = true;
    }
}

int http_uv_send_copy(struct http_uv_conn *uc, struct slice bytes)
{
    uv_stream_t *stream = (uv_stream_t *)&uc->tcp;
    CHECK(!uc->c.transport_busy && bytes.len <= 1u << 30);
    uv_buf_t iov = uv_buf_init((char *)(uintptr_t)bytes.ptr, (unsigned)bytes.len);
    int sent = uv_try_write(stream, &iov, 1);
    uc->server->stats.writes++;
    if (sent < 0 && sent != UV_EAGAIN)
        return ERR_CONN_LOST;
    size_t done = sent > 0 ? (size_t)sent : 0;
    uc->server->stats.bytes_out += bytes.len;
    uc->handed += bytes.len;
    uc->c.output_ms = http_uv_now(uc);
    if (done == bytes.len)
        return OK;
    uc->write_cipher = rcbuf_copy(SLICE(bytes.ptr + done, bytes.len - done));
    if (!uc->write_cipher)
        return ERR_NOMEM;
    iov = uv_buf_init((char *)uc->write_cipher->data, (unsigned)uc->write_cipher->len);
    if (uv_write(&uc->write, stream, &iov, 1, on_write) != 0)
        return ERR_CONN_LOST;
    uc->server->stats.writes++;
    uc->c.transport_busy = true;
    return OK;
}

/* ---- the transport's operations ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct http_uv_conn *uc = h->data;
    struct rcbuf *owner = NULL;
    (void)suggested;
    if (!uc->read_on) { /* not now: it stays in the socket */
        *ret = uv_buf_init(NULL, 0);
        return;
    }
    struct slice space = http_uv_read_space(uc, &owner);
    *ret = uv_buf_init((char *)(uintptr_t)space.ptr, (unsigned)space.len);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct http_uv_conn *uc = stream->data;
    struct http_server *s = uc->server;
    uint64_t now = uv_now(s->loop);
    if (n == 0)
        return;
    if (n < 0) {
        bool told = uc->read_on;
        uc->read_on = uc->read_armed = false;
        uv_read_stop(stream);
        if (!told) /* of which whoever turns it on again will hear */
            return;
        if (n == UV_EOF && !uc->tls)
            http_conn_eof(&uc->c, now);
        else
            http_conn_lost(&uc->c, now);
    } else {
        s->stats.reads++;
        s->stats.bytes_in += (uint64_t)n;
        struct slice bytes = SLICE(buf->base, (size_t)n);
        if (uc->tls) {
            http_tls_input(uc, bytes);
        } else {
            struct rcbuf *large = uc->large, *owner = s->shared;
            if (large && bytes.ptr >= large->data && bytes.ptr < large->data + large->cap)
                owner = large;
            http_uv_read_used(uc, owner, bytes.len);
            http_conn_input(&uc->c, (struct payload){owner, bytes}, now);
        }
    }
    conn_ran(uc);
}

static void transport_reading(struct http_conn *c, bool on)
{
    struct http_uv_conn *uc = http_uv_of(c);
    if (on && uc->tls) {
        uc->pump = true; /* what was decrypted or received earlier comes first */
        http_uv_kick(uc);
    }
    if (on == uc->read_on)
        return;
    uc->read_on = on;
    /* It goes off when something comes meanwhile (on_alloc): mostly it is on again by then. */
    if (!on || uc->read_armed)
        return;
    uc->read_armed = true;
    if (uv_read_start((uv_stream_t *)&uc->tcp, on_alloc, on_read) != 0)
        c->broken = true;
}

static void transport_flush(struct http_conn *c)
{
    struct http_uv_conn *uc = http_uv_of(c);
    if (uc->tls)
        http_tls_flush(uc);
    else
        plain_flush(uc);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)req;
    (void)status; /* the end of the lingering decides, not this */
}

static void transport_shutdown(struct http_conn *c)
{
    struct http_uv_conn *uc = http_uv_of(c);
    if (uc->tls)
        http_tls_shutdown(uc);
    if (uv_shutdown(&uc->shutdown, (uv_stream_t *)&uc->tcp, on_shutdown) != 0)
        c->linger_since_ms = 0; /* it is gone already: the next tick closes */
}

static void transport_close(struct http_conn *c, bool reset)
{
    struct http_uv_conn *uc = http_uv_of(c);
    uv_handle_t *h = (uv_handle_t *)&uc->tcp;
    uc->read_on = false;
    if (!reset && uc->tls && !c->shutdown_sent)
        http_tls_shutdown(uc);
    if (reset && uv_tcp_close_reset(&uc->tcp, on_conn_closed) == 0)
        return;
    if (!uv_is_closing(h))
        uv_close(h, on_conn_closed);
}

/* A write under way says nothing until all of it is done, and the kernel takes megabytes that the
 * client has not: what counts is what the client's side has acknowledged. */
static uint64_t transport_taken(struct http_conn *c)
{
    struct http_uv_conn *uc = http_uv_of(c);
    uv_os_fd_t fd;
    int unacknowledged = 0;
    if (uv_fileno((uv_handle_t *)&uc->tcp, &fd) != 0 || ioctl(fd, SIOCOUTQ, &unacknowledged) != 0)
        unacknowledged = 0;
    size_t waiting =
        uv_stream_get_write_queue_size((uv_stream_t *)&uc->tcp) + (size_t)unacknowledged;
    return uc->handed > waiting ? uc->handed - waiting : 0;
}

/* Its only purpose is that the loop does not sleep while someone is on the kicked list. */
static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

void http_uv_kick(struct http_uv_conn *uc)
{
    struct http_server *s = uc->server;
    list_remove(&uc->kick_node);
    list_push_back(&s->kicked, &uc->kick_node);
    if (!uv_is_active((uv_handle_t *)&s->idle))
        uv_idle_start(&s->idle, on_idle);
}

static void transport_kick(struct http_conn *c)
{
    http_uv_kick(http_uv_of(c));
}

static const struct http_transport transport = {
    .flush = transport_flush,
    .reading = transport_reading,
    .shutdown = transport_shutdown,
    .close = transport_close,
    .kick = transport_kick,
    .taken = transport_taken,
};

/* ---- turns of the loop ---- */

static void on_prepare(uv_prepare_t *prepare)
{
    struct http_server *s = prepare->data;
    struct list now;
    if (list_empty(&s->kicked))
        return;
    /* Those kicked meanwhile wait for the next turn, so that no connection can hold the loop. */
    list_init(&now);
    while (!list_empty(&s->kicked))
        list_push_back(&now, list_pop_front(&s->kicked));
    while (!list_empty(&now)) {
        struct http_uv_conn *uc =
            container_of(list_pop_front(&now), struct http_uv_conn, kick_node);
        uc->c.now_ms = uv_now(s->loop);
        http_conn_run(&uc->c);
        if (uc->pump && uc->c.state != HTTP_CONN_CLOSED)
            http_tls_pump(uc);
        conn_ran(uc);
    }
    if (list_empty(&s->kicked))
        uv_idle_stop(&s->idle);
}

static void on_connection(uv_stream_t *listener, int status);

static void on_timer(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    uint64_t now = uv_now(s->loop);
    bool cut = s->closing && now >= s->cut_at_ms;
    bool stood_still = now - s->ticked_ms > 2 * uv_timer_get_repeat(timer) + STILL_MS;
    s->ticked_ms = now;
    if (s->accept_again && !s->closing) {
        s->accept_again = false;
        on_connection((uv_stream_t *)&s->listener, 0);
    }
    list_for_each_safe(it, tmp, &s->conns)
    {
        struct http_uv_conn *uc = container_of(it, struct http_uv_conn, node);
        if (stood_still)
            http_conn_excuse(&uc->c, now);
        if (cut && uc->c.state != HTTP_CONN_CLOSED)
            http_conn_lost(&uc->c, now);
        else
            http_conn_tick(&uc->c, now);
        conn_ran(uc);
    }
}

/* ---- accepting ---- */

static void peer_name(struct http_uv_conn *uc)
{
    struct sockaddr_storage addr = {0};
    int len = sizeof(addr);
    if (uv_tcp_getpeername(&uc->tcp, (struct sockaddr *)&addr, &len) != 0)
        return;
    if (addr.ss_family == AF_INET)
        uv_ip4_name((const struct sockaddr_in *)(const void *)&addr, uc->c.peer,
                    sizeof(uc->c.peer));
    else if (addr.ss_family == AF_INET6)
        uv_ip6_name((const struct sockaddr_in6 *)(const void *)&addr, uc->c.peer,
                    sizeof(uc->c.peer));
}

static void on_refused_closed(uv_handle_t *h)
{
    free(h);
}

#define REFUSAL                                                                                    \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code>"                     \
    "<Message>Please reduce your request rate.</Message></Error>"

/* Too many: say so and go, without a connection's memory. */
static void refuse_connection(struct http_server *s, uv_stream_t *listener)
{
    static char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\n"
                         "Content-Length: 126\r\nConnection: close\r\n\r\n" REFUSAL;
    static_assert(sizeof(REFUSAL) - 1 == 126, "the Content-Length above");
    uv_tcp_t *tcp = malloc(sizeof(*tcp));
    if (!tcp || uv_tcp_init(s->loop, tcp) != 0) {
        /* libuv listens no more until it was rid of this connection. */
        s->accept_again = true;
        free(tcp);
        return;
    }
    s->stats.refused++;
    if (uv_accept(listener, (uv_stream_t *)tcp) == 0 && !s->tls) {
        uv_buf_t iov = uv_buf_init(text, sizeof(text) - 1);
        (void)uv_try_write((uv_stream_t *)tcp, &iov, 1);
    }
    uv_close((uv_handle_t *)tcp, on_refused_closed);
}

/* May another one come?  Whoever merely keeps connections open keeps nobody out.  What is closed
 * here is counted, and has its memory, until the turn ends. */
static bool make_room(struct http_server *s)
{
    if (s->stats.connections < s->limits.connections_max)
        return true;
    if (list_empty(&s->waiting) || s->stats.connections >= s->limits.connections_max + BACKLOG)
        return false;
    struct http_uv_conn *uc = container_of(s->waiting.next, struct http_uv_conn, wait_node);
    http_conn_evict(&uc->c, uv_now(s->loop));
    conn_ran(uc);
    return true;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct http_server *s = listener->data;
    if (status != 0)
        return;
    struct http_uv_conn *uc = NULL;
    if (make_room(s))
        uc = calloc(1, sizeof(*uc));
    if (!uc) {
        refuse_connection(s, listener);
        return;
    }
    http_conn_init(&uc->c, &s->env, &transport, uv_now(s->loop));
    uc->server = s;
    uc->tcp.data = uc->write.data = uc;
    list_init(&uc->node);
    list_init(&uc->kick_node);
    list_init(&uc->wait_node);
    if (uv_tcp_init(s->loop, &uc->tcp) != 0) {
        free(uc);
        return;
    }
    uc->tcp.data = uc;
    s->stats.connections++;
    list_push_back(&s->conns, &uc->node);
    if (uv_accept(listener, (uv_stream_t *)&uc->tcp) != 0 ||
        (s->tls && http_tls_conn_new(uc, s->tls) != OK)) {
        http_conn_lost(&uc->c, uv_now(s->loop));
        return;
    }
    s->stats.accepted++;
    uc->c.req.tls = s->tls != NULL;
    (void)uv_tcp_nodelay(&uc->tcp, 1);
    (void)uv_tcp_keepalive(&uc->tcp, 1, KEEPALIVE_S);
    peer_name(uc);
    http_conn_run(&uc->c); /* begins to read */
    conn_ran(uc);
}

static int resolve(const char *host, uint16_t port, struct sockaddr_storage *ret)
{
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)(void *)ret) == 0)
        return OK;
    if (uv_ip6_addr(host, port, (struct sockaddr_in6 *)(void *)ret) == 0)
        return OK;
    return ERR_INVAL;
}

static int start_listening(struct http_server *s, const struct http_server_config *config)
{
    struct sockaddr_storage addr = {0};
    uv_os_fd_t fd;
    int on = 1;
    int err = resolve(config->host, config->port, &addr);
    if (err != OK)
        return err;
    if (uv_tcp_init_ex(s->loop, &s->listener, addr.ss_family) != 0)
        return ERR_IO;
    s->listener.data = s;
    if (config->reuse_port && (uv_fileno((uv_handle_t *)&s->listener, &fd) != 0 ||
                               setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0))
        err = ERR_IO;
    if (err == OK && (uv_tcp_bind(&s->listener, (const struct sockaddr *)&addr, 0) != 0 ||
                      uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection) != 0))
        err = ERR_IO;
    return err;
}

/* Often enough that a timeout is late by a quarter at most, and at most a second. */
static unsigned tick_ms(const struct http_limits *l)
{
    unsigned least = MIN(MIN(l->head_timeout_ms, l->body_timeout_ms),
                         MIN(l->idle_timeout_ms, l->write_timeout_ms));
    least = MIN(least, MIN(l->rate_grace_ms, l->rate_window_ms));
    return MAX(MIN(least / 4, 1000u), 5u);
}

int http_server_new(uv_loop_t *loop, const struct http_server_config *config,
                    struct http_server **ret)
{
    struct http_server *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->loop = loop;
    s->limits = config->limits;
    s->handler = *config->handler;
    s->tls = config->tls;
    s->env = (struct http_conn_env){
        .limits = &s->limits, .handler = &s->handler, .arg = config->arg, .stats = &s->stats};
    list_init(&s->conns);
    list_init(&s->kicked);
    list_init(&s->waiting);
    uv_timer_init(loop, &s->timer);
    uv_prepare_init(loop, &s->prepare);
    uv_idle_init(loop, &s->idle);
    s->timer.data = s->prepare.data = s->idle.data = s;
    s->handles = 3;
    int err = start_listening(s, config);
    if (s->listener.data)
        s->handles++;
    if (err != OK) {
        if (s->listener.data)
            uv_close((uv_handle_t *)&s->listener, on_handle_closed);
        close_handles(s);
        return err;
    }
    unsigned every = tick_ms(&s->limits);
    s->ticked_ms = uv_now(loop);
    uv_timer_start(&s->timer, on_timer, every, every);
    uv_prepare_start(&s->prepare, on_prepare);
    *ret = s;
    return OK;
}

uint16_t http_server_port(const struct http_server *s)
{
    struct sockaddr_storage addr = {0};
    int len = sizeof(addr);
    if (uv_tcp_getsockname(&s->listener, (struct sockaddr *)&addr, &len) != 0)
        return 0;
    return addr.ss_family == AF_INET6
               ? ntohs(((const struct sockaddr_in6 *)(const void *)&addr)->sin6_port)
               : ntohs(((const struct sockaddr_in *)(const void *)&addr)->sin_port);
}

void http_server_close(struct http_server *s, unsigned grace_ms, void (*on_closed)(void *arg),
                       void *arg)
{
    uint64_t now = uv_now(s->loop);
    CHECK(!s->closing);
    s->closing = true;
    s->cut_at_ms = now + grace_ms;
    s->on_closed = on_closed;
    s->closed_arg = arg;
    uv_close((uv_handle_t *)&s->listener, on_handle_closed);
    if (list_empty(&s->conns)) {
        close_handles(s);
        return;
    }
    s->ticked_ms = now;
    uv_timer_start(&s->timer, on_timer, MIN(grace_ms, CLOSING_TICK_MS), CLOSING_TICK_MS);
    list_for_each_safe(it, tmp, &s->conns)
    {
        struct http_uv_conn *uc = container_of(it, struct http_uv_conn, node);
        http_conn_drain(&uc->c, now);
    }
}

const struct http_stats *http_server_stats(const struct http_server *s)
{
    return &s->stats;
}
