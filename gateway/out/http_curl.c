/* libcurl on libuv: see http_curl.h.
 *
 * libcurl says which sockets it wants to be told of, and until when it wants to be called; the loop
 * does both.  Ends are collected by a timer, so that no callback runs inside a call of libcurl. */
#include "gateway/out/http_curl.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/env_uv.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>

enum { CONNECTIONS_KEPT = 16 };

struct socket_watch {
    uv_poll_t poll;
    struct http_curl *client;
    curl_socket_t fd;
};

struct http_curl {
    struct http_client client;
    struct env *env;
    uv_loop_t *loop;
    CURLM *multi;
    struct env_timer timer;   /* libcurl's */
    struct env_timer collect; /* ends */
    struct list calls;        /* under way */
    bool stopped;
};

static struct http_curl *curl_of(const struct http_client *client)
{
    return container_of((struct http_client *)(uintptr_t)client, struct http_curl, client);
}

static void collect_soon(struct http_curl *c)
{
    env_timer_start(&c->collect, 0);
}

/* ---- libcurl's wishes ---- */

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *w = poll->data;
    struct http_curl *c = w->client;
    int flags = status < 0 ? CURL_CSELECT_ERR
                           : (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                                 (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    int running;
    (void)curl_multi_socket_action(c->multi, w->fd, flags, &running); /* w may be gone now */
    collect_soon(c);
}

static void poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static int socket_cb(CURL *easy, curl_socket_t fd, int action, void *arg, void *watch)
{
    struct http_curl *c = arg;
    struct socket_watch *w = watch;
    (void)easy;
    if (action == CURL_POLL_REMOVE) {
        if (w) {
            (void)uv_poll_stop(&w->poll);
            (void)curl_multi_assign(c->multi, fd, NULL);
            uv_close((uv_handle_t *)&w->poll, poll_closed);
        }
        return 0;
    }
    if (!w) {
        w = calloc(1, sizeof(*w));
        if (!w)
            return -1;
        if (uv_poll_init_socket(c->loop, &w->poll, fd) != 0) {
            free(w);
            return -1;
        }
        w->poll.data = w;
        w->client = c;
        w->fd = fd;
        (void)curl_multi_assign(c->multi, fd, w);
    }
    int events =
        (action & CURL_POLL_IN ? UV_READABLE : 0) | (action & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, poll_cb) == 0 ? 0 : -1;
}

static int timer_wish_cb(CURLM *multi, long ms, void *arg)
{
    struct http_curl *c = arg;
    (void)multi;
    if (ms < 0)
        env_timer_stop(&c->timer);
    else
        env_timer_start(&c->timer, (uint64_t)ms * NS_PER_MS);
    return 0;
}

static void timer_cb(struct env_timer *timer)
{
    struct http_curl *c = container_of(timer, struct http_curl, timer);
    int running;
    (void)curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect_soon(c);
}

/* ---- one call ---- */

static void heard(struct http_call *call)
{
    call->heard_ns = env_now_ns(curl_of(call->client)->env);
}

static uint64_t total_ms(const struct http_call *call)
{
    if (call->total_ms || !call->streamed)
        return MAX(call->total_ms, call->timeout_ms);
    return call->timeout_ms + call->body_bytes / (HTTP_RATE_MEAN_MIN / 1000);
}

/* Runs where a call may take longer than it may be silent: libcurl's own bound of speed takes a
 * byte now and then for nothing. */
static void patience_cb(struct env_timer *timer)
{
    struct http_call *call = container_of(timer, struct http_call, patience);
    uint64_t now = env_now_ns(curl_of(call->client)->env);
    uint64_t until = call->heard_ns + call->timeout_ms * NS_PER_MS;
    call->silent = now >= until;
    if (call->silent)
        collect_soon(curl_of(call->client));
    else
        env_timer_start(timer, until - now);
}

static size_t answer_cb(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    size_t bytes = size * count, room = HTTP_ANSWER_BYTES_MAX - call->answer.len;
    buf_append(&call->answer, data, MIN(bytes, room)); /* the rest is of no interest */
    call->taken += bytes;
    heard(call);
    return call->answer.failed || call->taken > HTTP_ANSWER_TAKEN_MAX ? 0 : bytes;
}

/* The value without quotes, if the line is of this field. */
static void field_take(struct slice line, const char *name, char *ret, size_t size)
{
    size_t at = strlen(name), n = 0;
    if (line.len <= at || strncasecmp((const char *)line.ptr, name, at) != 0)
        return;
    while (at < line.len && line.ptr[at] == ' ')
        at++;
    for (; at < line.len && n + 1 < size; at++)
        if (line.ptr[at] >= ' ' && line.ptr[at] < 0x7F && line.ptr[at] != '"')
            ret[n++] = (char)line.ptr[at];
    while (n && ret[n - 1] == ' ')
        n--;
    ret[n] = 0;
}

static size_t field_cb(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    struct slice line = SLICE(data, size * count);
    heard(call);
    field_take(line, "etag:", call->etag, sizeof(call->etag));
    field_take(line, "date:", call->date, sizeof(call->date));
    field_take(line, "last-modified:", call->last_modified, sizeof(call->last_modified));
    return line.len;
}

static size_t read_cb(char *ret, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    ssize_t n = call->read(call, (uint8_t *)ret, size * count);
    if (n < 0)
        return CURL_READFUNC_ABORT;
    call->paused = n == 0;
    return n == 0 ? CURL_READFUNC_PAUSE : (size_t)n;
}

static void call_end(struct http_call *call, int err)
{
    struct http_curl *c = curl_of(call->client);
    if (call->easy) {
        (void)curl_multi_remove_handle(c->multi, call->easy);
        curl_easy_cleanup(call->easy);
    }
    curl_slist_free_all(call->list);
    call->easy = NULL;
    call->list = NULL;
    list_remove(&call->node);
    env_timer_stop(&call->patience);
    call->err = err;
    call->cb(call);
}

static int err_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK: return OK;
    case CURLE_OPERATION_TIMEDOUT: return ERR_TIMEOUT;
    case CURLE_OUT_OF_MEMORY: return ERR_NOMEM;
    case CURLE_ABORTED_BY_CALLBACK: return ERR_CANCELED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE: return ERR_AUTH;
    default: return ERR_IO;
    }
}

static void collect_cb(struct env_timer *timer)
{
    struct http_curl *c = container_of(timer, struct http_curl, collect);
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_call *call = NULL;
        long status = 0;
        CURLcode code = msg->data.result;
        if (msg->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        call->status = (int)status;
        if (code != CURLE_OK) {
            const char *text = curl_easy_strerror(code);
            memcpy(call->why, text, MIN(strlen(text), sizeof(call->why) - 1));
        }
        call_end(call, err_of(code));
    }
    /* Those that could not even begin, were canceled or have heard nothing for too long, and all
     * when it has been stopped. */
    list_for_each_safe(it, next, &c->calls)
    {
        struct http_call *call = container_of(it, struct http_call, node);
        bool canceled = c->stopped || call->canceled;
        if (canceled || call->silent || !call->easy)
            call_end(call, canceled ? ERR_CANCELED : call->silent ? ERR_TIMEOUT : ERR_NOMEM);
    }
}

static bool options_body(CURL *e, struct http_call *call)
{
    if (call->streamed)
        return curl_easy_setopt(e, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->body_bytes) ==
                   CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_READFUNCTION, read_cb) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_READDATA, call) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, (long)HTTP_RATE_MIN) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)(call->timeout_ms / 1000 + 1)) ==
                   CURLE_OK;
    if (strcmp(call->method, "HEAD") == 0)
        return curl_easy_setopt(e, CURLOPT_NOBODY, 1L) == CURLE_OK;
    return strcmp(call->method, "DELETE") == 0 ||
           (curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len) ==
                CURLE_OK &&
            curl_easy_setopt(e, CURLOPT_POSTFIELDS,
                             call->body.len ? (const char *)call->body.ptr : "") == CURLE_OK);
}

static bool options_set(CURL *e, struct http_call *call)
{
    return curl_easy_setopt(e, CURLOPT_URL, call->url) == CURLE_OK && options_body(e, call) &&
           curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)total_ms(call)) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, call->method) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->list) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           /* A name that is still being resolved at the end of a call would be waited for, and the
            * loop with it: its thread is left to itself instead. */
           curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)call->timeout_ms) == CURLE_OK &&
           (!call->ca_file || curl_easy_setopt(e, CURLOPT_CAINFO, call->ca_file) == CURLE_OK) &&
           curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, answer_cb) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEDATA, call) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, field_cb) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERDATA, call) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PRIVATE, call) == CURLE_OK;
}

static bool fields_set(struct http_call *call)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    bool ok = list != NULL;
    /* libcurl would make up one for what it takes for a form; a later field of the name is sent. */
    struct curl_slist *typeless = ok ? curl_slist_append(list, "Content-Type:") : NULL;
    ok = typeless != NULL;
    for (size_t i = 0; ok && i < call->field_count; i++) {
        struct curl_slist *longer = curl_slist_append(list, call->fields[i]);
        ok = longer != NULL;
        list = ok ? longer : list;
    }
    call->list = list;
    return ok;
}

static void start(struct http_client *client, struct http_call *call)
{
    struct http_curl *c = curl_of(client);
    call->status = 0;
    call->taken = 0;
    call->silent = false;
    heard(call);
    env_timer_init(c->env, &call->patience, patience_cb);
    list_init(&call->node);
    list_push_back(&c->calls, &call->node);
    CURL *easy = c->stopped ? NULL : curl_easy_init();
    bool ok = easy && fields_set(call) && options_set(easy, call) &&
              curl_multi_add_handle(c->multi, easy) == CURLM_OK;
    if (ok)
        call->easy = easy;
    else if (easy)
        curl_easy_cleanup(easy);
    if (!ok)
        collect_soon(c);
    else if (!call->streamed && total_ms(call) > call->timeout_ms)
        env_timer_start(&call->patience, call->timeout_ms * NS_PER_MS);
}

static void resume(struct http_call *call)
{
    if (!call->easy || !call->paused)
        return;
    call->paused = false;
    (void)curl_easy_pause(call->easy, CURLPAUSE_CONT); /* may call read */
    collect_soon(curl_of(call->client));
}

static void cancel(struct http_call *call)
{
    call->canceled = true;
    collect_soon(curl_of(call->client));
}

static const struct http_client_ops ops = {.start = start, .resume = resume, .cancel = cancel};

/* ---- life ---- */

int http_curl_new(struct env *env, struct http_client **ret)
{
    struct http_curl *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->client.ops = &ops;
    c->env = env;
    c->loop = env_uv_loop(env);
    c->multi = curl_multi_init();
    list_init(&c->calls);
    env_timer_init(env, &c->timer, timer_cb);
    env_timer_init(env, &c->collect, collect_cb);
    if (!c->multi || curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, socket_cb) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, timer_wish_cb) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT) != CURLM_OK) {
        http_curl_free(&c->client);
        return ERR_NOMEM;
    }
    *ret = &c->client;
    return OK;
}

void http_curl_stop(struct http_client *client)
{
    struct http_curl *c = curl_of(client);
    c->stopped = true;
    if (!list_empty(&c->calls))
        collect_soon(c);
}

bool http_curl_idle(const struct http_client *client)
{
    return list_empty(&curl_of(client)->calls);
}

void http_curl_free(struct http_client *client)
{
    struct http_curl *c = client ? curl_of(client) : NULL;
    if (!c)
        return;
    CHECK(list_empty(&c->calls));
    if (c->multi)
        (void)curl_multi_cleanup(c->multi);
    env_timer_stop(&c->timer);
    env_timer_stop(&c->collect);
    free(c);
}
