/* See loopback.h. */
#include "tests/unit/gateway/http/loopback.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "tests/unit/common/alloc_fail.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_MS 5000

/* ---- the handler ---- */

struct task {
    struct loopback *l;
    struct http_request *req;
    struct payload kept[64];
    unsigned kept_count;
    uint64_t left;
    uv_idle_t later;
    struct rcbuf *block;
};

static void end_task(struct task *t)
{
    for (unsigned i = 0; i < t->kept_count; i++)
        payload_unref(&t->kept[i]);
    rcbuf_unref(t->block);
    t->l->live--;
    free(t);
}

static void on_gone(struct http_request *req)
{
    struct task *t = req->user;
    t->l->gone++;
}

static void echo_done(struct task *t)
{
    struct http_request *req = t->req;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < t->kept_count; i++)
        bytes += t->kept[i].bytes.len;
    http_response_begin(req, 200);
    http_response_body(req, (int64_t)bytes);
    for (unsigned i = 0; i < t->kept_count; i++)
        (void)http_response_write(req, t->kept[i]);
    http_response_finish(req);
    end_task(t);
}

static void echo_body(struct http_request *req, void *arg, struct payload chunk, int err)
{
    struct task *t = arg;
    (void)req;
    t->l->body_bytes += chunk.bytes.len;
    if (chunk.bytes.len) {
        CHECK(t->kept_count < 64);
        t->kept[t->kept_count++] = payload_ref(chunk);
        return;
    }
    t->l->body_err = err;
    if (err == OK) {
        echo_done(t);
        return;
    }
    http_response_simple(t->req, 400, "text/plain", SLICE_LIT("bad body"));
    end_task(t);
}

static void count_body(struct http_request *req, void *arg, struct payload chunk, int err)
{
    struct task *t = arg;
    t->l->body_bytes += chunk.bytes.len;
    if (chunk.bytes.len)
        return;
    t->l->body_err = err;
    char text[32];
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)t->l->body_bytes);
    http_response_simple(req, err == OK ? 200 : 400, "text/plain", SLICE(text, (size_t)n));
    end_task(t);
}

static void fill(struct http_request *req, void *arg)
{
    struct task *t = arg;
    t->l->drains++;
    while (t->left > 0) {
        size_t n = MIN(t->left, t->block->len);
        int err = http_response_write(req, (struct payload){t->block, SLICE(t->block->data, n)});
        t->left -= n;
        if (http_response_queued(req) > t->l->queued_max)
            t->l->queued_max = http_response_queued(req);
        if (err == ERR_LIMIT)
            return;
        if (err != OK)
            break;
    }
    if (t->left)
        http_response_abort(req);
    else
        http_response_finish(req);
    end_task(t);
}

static void later_closed(uv_handle_t *h)
{
    end_task(h->data);
}

static void later(uv_idle_t *h)
{
    struct task *t = h->data;
    uv_idle_stop(h);
    http_response_simple(t->req, 200, "text/plain", SLICE_LIT("later"));
    uv_close((uv_handle_t *)h, later_closed);
}

static void later_read(uv_idle_t *h)
{
    struct task *t = h->data;
    uv_close((uv_handle_t *)h, NULL);
    http_body_read_start(t->req, echo_body, t);
}

static bool is(struct http_request *req, const char *target)
{
    return slice_has_prefix(req->target, slice_cstr(target));
}

static void respond(struct task *t, struct http_request *req)
{
    if (is(req, "/echo")) {
        http_body_read_start(req, echo_body, t);
    } else if (is(req, "/count")) {
        http_body_read_start(req, count_body, t);
    } else if (is(req, "/big")) {
        t->left = strtoull((const char *)req->target.ptr + 5, NULL, 10);
        t->block = rcbuf_new(65536);
        t->block->len = 65536;
        memset(t->block->data, 'x', 65536);
        http_response_begin(req, 200);
        http_response_body(req, is(req, "/bigc") ? HTTP_BODY_CHUNKED : (int64_t)t->left);
        http_response_on_drain(req, fill, t);
        fill(req, t);
    } else if (is(req, "/later")) {
        uv_idle_init(&t->l->loop, &t->later);
        t->later.data = t;
        uv_idle_start(&t->later, later);
    } else if (is(req, "/readlater")) {
        static uv_idle_t handle; /* one at a time is enough here */
        uv_idle_init(&t->l->loop, &handle);
        handle.data = t;
        uv_idle_start(&handle, later_read);
    } else if (is(req, "/abort")) {
        http_response_begin(req, 200);
        http_response_body(req, 100);
        (void)http_response_write(req, (struct payload){.bytes = SLICE_LIT("0123456789")});
        http_response_abort(req);
        end_task(t);
    } else if (is(req, "/short")) {
        http_response_begin(req, 200);
        http_response_body(req, 100);
        (void)http_response_write(req, (struct payload){.bytes = SLICE_LIT("0123456789")});
        http_response_finish(req);
        end_task(t);
    } else if (is(req, "/chunked")) {
        http_response_begin(req, 200);
        http_response_body(req, HTTP_BODY_CHUNKED);
        (void)http_response_write(req, (struct payload){.bytes = SLICE_LIT("hello ")});
        (void)http_response_write(req, (struct payload){.bytes = SLICE_LIT("world")});
        http_response_finish(req);
        end_task(t);
    } else if (is(req, "/204") || is(req, "/304")) {
        http_response_begin(req, is(req, "/204") ? 204 : 304);
        http_response_body(req, 5);
        (void)http_response_write(req, (struct payload){.bytes = SLICE_LIT("12345")});
        http_response_finish(req);
        end_task(t);
    } else if (is(req, "/hold")) {
        t->l->held = t;
    } else if (is(req, "/silent")) {
        /* Answers only once the client has gone. */
    } else {
        http_response_simple(req, 200, "text/plain", SLICE_LIT("hello"));
        end_task(t);
    }
}

static void silent_gone(struct http_request *req)
{
    struct task *t = req->user;
    t->l->gone++;
    http_response_abort(req);
    end_task(t);
}

static void on_request(void *arg, struct http_request *req)
{
    struct loopback *l = arg;
    alloc_fail_hold();
    struct task *t = calloc(1, sizeof(*t));
    alloc_fail_go_on();
    t->l = l;
    t->req = req;
    l->requests++;
    l->live++;
    size_t n = MIN(req->target.len, sizeof(l->target) - 1);
    memcpy(l->target, req->target.ptr, n);
    l->target[n] = 0;
    req->user = t;
    req->on_gone = is(req, "/silent") ? silent_gone : on_gone;
    respond(t, req);
}

/* ---- the server ---- */

void loopback_start(struct loopback *l)
{
    static const struct http_handler handler = {on_request};
    struct http_server_config config = {.host = "127.0.0.1",
                                        .reuse_port = true,
                                        .tls = l->tls,
                                        .limits = l->limits,
                                        .handler = &handler,
                                        .arg = l};
    CHECK(uv_loop_init(&l->loop) == 0);
    CHECK(http_server_new(&l->loop, &config, &l->server) == OK);
}

static void on_closed(void *arg)
{
    ((struct loopback *)arg)->closed = true;
}

void loopback_stop(struct loopback *l)
{
    http_server_close(l->server, 0, on_closed, l);
    CHECK(uv_run(&l->loop, UV_RUN_DEFAULT) == 0);
    CHECK(l->closed && l->live == 0);
    CHECK(uv_loop_close(&l->loop) == 0);
}

void loopback_turn(struct loopback *l)
{
    uv_run(&l->loop, UV_RUN_NOWAIT);
}

void loopback_go_on(struct loopback *l)
{
    struct task *t = l->held;
    http_body_read_start(t->req, count_body, t);
}

bool loopback_wait(struct loopback *l, const unsigned *flag, unsigned n)
{
    uint64_t end = uv_hrtime() + WAIT_MS * 1000000ull;
    while (*flag < n && uv_hrtime() < end) {
        loopback_turn(l);
        poll(NULL, 0, 1);
    }
    return *flag >= n;
}

/* ---- the client ---- */

static char *received;
static size_t received_len, received_cap;
static bool closed, reset;

int client_socket(struct loopback *l)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(http_server_port(l->server))};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(fd >= 0);
    int on = 1; /* no waiting for delayed acknowledgements */
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
    CHECK(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EINPROGRESS);
    return fd;
}

int client_connect(struct loopback *l)
{
    int fd = client_socket(l);
    loopback_turn(l);
    return fd;
}

void client_send(struct loopback *l, int fd, struct slice bytes)
{
    uint64_t end = uv_hrtime() + WAIT_MS * 1000000ull;
    while (bytes.len && uv_hrtime() < end) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n > 0) {
            bytes.ptr += n;
            bytes.len -= (size_t)n;
        } else if (errno != EAGAIN) {
            break;
        }
        loopback_turn(l);
    }
    loopback_turn(l);
}

void client_text(struct loopback *l, int fd, const char *text)
{
    client_send(l, fd, slice_cstr(text));
}

static bool receive(int fd)
{
    if (received_cap - received_len < 65537) {
        received_cap = received_cap * 2 + 131072;
        received = realloc(received, received_cap);
        CHECK(received);
    }
    ssize_t n = recv(fd, received + received_len, 65536, MSG_DONTWAIT);
    if (n > 0)
        received_len += (size_t)n;
    received[received_len] = 0;
    closed = n == 0 || (n < 0 && errno != EAGAIN);
    reset = n < 0 && errno == ECONNRESET;
    return n > 0;
}

const char *client_until(struct loopback *l, int fd, const char *text)
{
    uint64_t end = uv_hrtime() + WAIT_MS * 1000000ull;
    received_len = 0;
    closed = reset = false;
    while (uv_hrtime() < end) {
        loopback_turn(l);
        if (!receive(fd)) {
            if (closed)
                break;
            poll(NULL, 0, 1);
        }
        if (text && received_len && memmem(received, received_len, text, strlen(text)))
            break;
    }
    return received;
}

size_t client_received(void)
{
    return received_len;
}

bool client_closed(void)
{
    return closed;
}

bool client_reset(void)
{
    return reset;
}

__attribute__((destructor)) static void release(void)
{
    free(received);
    received = NULL;
}
