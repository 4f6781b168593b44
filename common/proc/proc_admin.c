/* The admin HTTP server; see proc_admin.h.
 *
 *   accept → read until the empty line → parse → handler → write → close
 * Each connection answers once and closes; a timer closes one that is slow at either end. */
#include "common/proc/proc_admin.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/env_uv.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct route {
    char *path;
    bool prefix;
    admin_handler handler;
    void *arg;
};

struct admin {
    struct env *env;
    uv_tcp_t tcp;
    unsigned port;
    struct route routes[ADMIN_ROUTES_MAX];
    size_t route_count;
    struct list conns;
    size_t open; /* handles whose memory must not go: connections and the listener */
    bool closing;
};

struct conn {
    struct admin *admin;
    struct list node;
    uv_tcp_t tcp;
    uv_write_t write;
    struct env_timer timer;
    size_t in_len;
    bool closing, answered;
    struct buf out;
    char in[ADMIN_REQUEST_BYTES_MAX];
};

/* ---- parsing ---- */
static struct slice take_line(struct slice *text)
{
    for (size_t i = 0; i + 1 < text->len; i++) {
        if (text->ptr[i] == '\r' && text->ptr[i + 1] == '\n') {
            struct slice line = SLICE(text->ptr, i);
            *text = SLICE(text->ptr + i + 2, text->len - i - 2);
            return line;
        }
    }
    struct slice line = *text;
    *text = SLICE_EMPTY;
    return line;
}

static bool header_is(struct slice line, const char *name)
{
    size_t n = strlen(name);
    return line.len > n && line.ptr[n] == ':' && strncasecmp((const char *)line.ptr, name, n) == 0;
}

/* A body would be taken for the next request by someone in between: refused, not skipped. */
static bool announces_body(struct slice line)
{
    if (header_is(line, "transfer-encoding"))
        return true;
    if (!header_is(line, "content-length"))
        return false;
    for (size_t i = strlen("content-length") + 1; i < line.len; i++)
        if (line.ptr[i] != ' ' && line.ptr[i] != '0')
            return true;
    return false;
}

static unsigned parse_target(struct slice target, struct admin_request *ret)
{
    if (target.len == 0 || target.ptr[0] != '/')
        return 400;
    size_t path_len = target.len;
    for (size_t i = 0; i < target.len; i++) {
        if (target.ptr[i] <= ' ' || target.ptr[i] >= 0x7f)
            return 400;
        if (target.ptr[i] == '?' && path_len == target.len)
            path_len = i;
    }
    ret->path = SLICE(target.ptr, path_len);
    ret->query = path_len < target.len ? SLICE(target.ptr + path_len + 1, target.len - path_len - 1)
                                       : SLICE_EMPTY;
    return 200;
}

unsigned admin_parse(struct slice text, struct admin_request *ret)
{
    struct slice line = take_line(&text);
    const uint8_t *space = line.len ? memchr(line.ptr, ' ', line.len) : NULL;
    if (!space)
        return 400;
    struct slice method = SLICE(line.ptr, (size_t)(space - line.ptr));
    struct slice rest = SLICE(space + 1, line.len - method.len - 1);
    space = rest.len ? memchr(rest.ptr, ' ', rest.len) : NULL;
    if (!space)
        return 400;
    struct slice target = SLICE(rest.ptr, (size_t)(space - rest.ptr));
    struct slice version = SLICE(space + 1, rest.len - target.len - 1);
    if (!slice_eq(version, SLICE_LIT("HTTP/1.1")) && !slice_eq(version, SLICE_LIT("HTTP/1.0")))
        return version.len >= 5 && memcmp(version.ptr, "HTTP/", 5) == 0 ? 505 : 400;
    while (text.len) {
        line = take_line(&text);
        if (line.len == 0)
            break;
        const uint8_t *colon = memchr(line.ptr, ':', line.len);
        if (!colon || colon == line.ptr || line.ptr[0] == ' ' || line.ptr[0] == '\t' || colon[-1] == ' ' ||
            memchr(line.ptr, '\r', line.len) || memchr(line.ptr, '\n', line.len) ||
            memchr(line.ptr, 0, line.len))
            return 400;
        if (announces_body(line))
            return 413;
    }
    ret->head = slice_eq(method, SLICE_LIT("HEAD"));
    if (!ret->head && !slice_eq(method, SLICE_LIT("GET")))
        return 405;
    return parse_target(target, ret);
}

/* ---- connections ---- */
static void unref(struct admin *a)
{
    CHECK(a->open > 0);
    if (--a->open > 0)
        return;
    for (size_t i = 0; i < a->route_count; i++)
        free(a->routes[i].path);
    free(a);
}

static void on_conn_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct admin *a = c->admin;
    list_remove(&c->node);
    buf_fini(&c->out);
    free(c);
    unref(a);
}

static void conn_close(struct conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    env_timer_stop(&c->timer);
    uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

static void on_timeout(struct env_timer *t)
{
    conn_close(container_of(t, struct conn, timer));
}

static const char *reason(unsigned status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
    }
}

static const struct route *find_route(const struct admin *a, struct slice path)
{
    const struct route *best = NULL;
    for (size_t i = 0; i < a->route_count; i++) {
        const struct route *r = &a->routes[i];
        struct slice want = slice_cstr(r->path);
        bool match = r->prefix ? slice_has_prefix(path, want) : slice_eq(path, want);
        if (match && (!best || !r->prefix || strlen(r->path) > strlen(best->path)))
            best = r;
        if (match && !r->prefix)
            break; /* an exact path wins over every prefix */
    }
    return best;
}

static void call_handler(const struct admin *a, const struct admin_request *req,
                         struct admin_response *ret)
{
    char path[ADMIN_REQUEST_BYTES_MAX], query[ADMIN_REQUEST_BYTES_MAX];
    const struct route *r = find_route(a, req->path);
    if (!r) {
        ret->status = 404;
        return;
    }
    memcpy(path, req->path.ptr, req->path.len);
    path[req->path.len] = 0;
    if (req->query.len)
        memcpy(query, req->query.ptr, req->query.len);
    query[req->query.len] = 0;
    r->handler(r->arg, path, query, ret);
    if (ret->body.failed) {
        buf_fini(&ret->body);
        ret->status = 503;
    }
}

static void on_written(uv_write_t *w, int status)
{
    (void)status;
    conn_close(w->data);
}

/* Sends the answer to what has been read, or a refusal. */
static void answer(struct conn *c, unsigned status)
{
    struct admin_request req = {0};
    struct admin_response res = {.status = status, .content_type = "application/json"};
    c->answered = true;
    uv_read_stop((uv_stream_t *)&c->tcp);
    if (status == 200)
        res.status = admin_parse(SLICE(c->in, c->in_len), &req);
    if (res.status == 200)
        call_handler(c->admin, &req, &res);
    if (res.status != 200 && res.body.len == 0) {
        res.content_type = "text/plain; charset=utf-8";
        buf_printf(&res.body, "%s\n", reason(res.status));
    }
    buf_printf(&c->out, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
                        "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
               res.status, reason(res.status), res.content_type, res.body.len,
               res.status == 405 ? "Allow: GET, HEAD\r\n" : "");
    if (!req.head)
        buf_slice(&c->out, buf_view(&res.body));
    buf_fini(&res.body);
    if (c->out.failed) {
        conn_close(c);
        return;
    }
    uv_buf_t out = uv_buf_init((char *)c->out.ptr, (unsigned)c->out.len);
    env_timer_start(&c->timer, ADMIN_TIMEOUT_MS * NS_PER_MS);
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &out, 1, on_written) != 0)
        conn_close(c);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct conn *c = h->data;
    *ret = uv_buf_init(c->in + c->in_len, (unsigned)(sizeof(c->in) - c->in_len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct conn *c = s->data;
    if (n < 0 && n != UV_ENOBUFS) {
        conn_close(c);
        return;
    }
    size_t from = c->in_len > 3 ? c->in_len - 3 : 0;
    if (n > 0)
        c->in_len += (size_t)n;
    const char *end = memmem(c->in + from, c->in_len - from, "\r\n\r\n", 4);
    if (end) {
        c->in_len = (size_t)(end - c->in) + 4; /* what follows is no business of ours: we close */
        answer(c, 200);
    } else if (c->in_len == sizeof(c->in)) {
        answer(c, 431);
    }
}

static void on_connection(uv_stream_t *s, int status)
{
    struct admin *a = s->data;
    struct conn *c = status == 0 ? calloc(1, sizeof(*c)) : NULL;
    if (!c)
        return;
    c->admin = a;
    list_init(&c->node);
    env_timer_init(a->env, &c->timer, on_timeout);
    if (uv_tcp_init(s->loop, &c->tcp) != 0) {
        free(c);
        return;
    }
    c->tcp.data = c;
    a->open++;
    list_push_back(&a->conns, &c->node);
    if (uv_accept(s, (uv_stream_t *)&c->tcp) != 0) {
        conn_close(c);
        return;
    }
    /* At the limit the oldest gives way: slow ones cannot keep an operator out. */
    if (a->open > ADMIN_CONNS_MAX)
        conn_close(container_of(a->conns.next, struct conn, node));
    env_timer_start(&c->timer, ADMIN_TIMEOUT_MS * NS_PER_MS);
    if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) != 0)
        conn_close(c);
}

/* ---- life ---- */
static int resolve(const char *addr, struct sockaddr_storage *ret)
{
    char host[256], port_text[8];
    unsigned port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (!config_address_split(addr, host, sizeof(host), &port))
        return ERR_INVAL;
    snprintf(port_text, sizeof(port_text), "%u", port);
    if (getaddrinfo(host, port_text, &hints, &found) != 0 || !found)
        return ERR_IO;
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return OK;
}

static void on_listener_closed(uv_handle_t *h)
{
    unref(h->data);
}

static int listen_on(struct admin *a, const char *addr, struct buf *ret_error)
{
    struct sockaddr_storage sa;
    int uv_err = UV_EINVAL;
    if (resolve(addr, &sa) == OK) {
        uv_err = uv_tcp_bind(&a->tcp, (struct sockaddr *)&sa, 0);
        if (uv_err == 0)
            uv_err = uv_listen((uv_stream_t *)&a->tcp, 32, on_connection);
    }
    if (uv_err != 0) {
        buf_printf(ret_error, "admin_listen %s: %s", addr, uv_strerror(uv_err));
        return ERR_IO;
    }
    int len = sizeof(sa);
    if (uv_tcp_getsockname(&a->tcp, (struct sockaddr *)&sa, &len) == 0)
        a->port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&sa)->sin6_port
                                                 : ((struct sockaddr_in *)(void *)&sa)->sin_port);
    return OK;
}

int admin_open(struct env *env, uv_loop_t *loop, const char *addr, struct admin **ret,
               struct buf *ret_error)
{
    struct admin *a = calloc(1, sizeof(*a));
    if (!a)
        return ERR_NOMEM;
    a->env = env;
    list_init(&a->conns);
    if (uv_tcp_init(loop, &a->tcp) != 0) {
        free(a);
        return ERR_NOMEM;
    }
    a->tcp.data = a;
    a->open = 1;
    int err = listen_on(a, addr, ret_error);
    if (err != OK) {
        admin_close(a);
        return err;
    }
    *ret = a;
    return OK;
}

unsigned admin_port(const struct admin *a)
{
    return a->port;
}

int admin_route(struct admin *a, const char *path, bool prefix, admin_handler handler, void *arg)
{
    CHECK(path[0] == '/');
    for (size_t i = 0; i < a->route_count; i++)
        if (strcmp(a->routes[i].path, path) == 0 && a->routes[i].prefix == prefix)
            return ERR_EXISTS;
    if (a->route_count == ADMIN_ROUTES_MAX)
        return ERR_LIMIT;
    char *copy = strdup(path);
    if (!copy)
        return ERR_NOMEM;
    a->routes[a->route_count++] =
        (struct route){.path = copy, .prefix = prefix, .handler = handler, .arg = arg};
    return OK;
}

void admin_close(struct admin *a)
{
    if (!a || a->closing)
        return;
    a->closing = true;
    list_for_each_safe (it, next, &a->conns)
        conn_close(container_of(it, struct conn, node));
    uv_close((uv_handle_t *)&a->tcp, on_listener_closed);
}
