/* The structured log: lines are built on the caller's stack and written with one call each, under one
 * mutex that also guards the file.  See log.h. */
#include "common/obs/log.h"

#include "common/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define VALUE_CHARS_MAX 1024 /* of one value, as escaped */
#define PIECE_CHARS_MAX (VALUE_CHARS_MAX + 256)
#define TAIL_ROOM 32 /* for " truncated=1" and the closing brace */

_Atomic int log_level_min = LOG_LEVEL_INFO;

static struct {
    pthread_mutex_t lock;
    char *node_id, *path;
    enum log_format format;
    int fd;
    log_hook_fn hook;
    void *hook_arg;
    uint64_t (*clock)(void *arg);
    void *clock_arg;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

static _Thread_local const char *thread_node;

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
static const char *const level_json_names[] = {"debug", "info", "warn", "error"};

bool log_level_by_name(struct slice name, enum log_level *ret)
{
    for (unsigned i = 0; i < 4; i++) {
        if (slice_eq(name, slice_cstr(level_json_names[i]))) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* ---- pieces of a line ---- */
struct piece {
    char text[PIECE_CHARS_MAX];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void piece_printf(struct piece *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(p->text + p->len, sizeof(p->text) - p->len, fmt, args);
    va_end(args);
    size_t room = sizeof(p->text) - p->len - 1;
    if (n > 0)
        p->len += (size_t)n < room ? (size_t)n : room;
}

/* Nothing but printable ASCII goes through as it is: no newline can forge a line, no control
 * sequence reaches a terminal. */
static void piece_escaped(struct piece *p, struct slice s, enum log_format format)
{
    size_t start = p->len;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if (p->len - start > VALUE_CHARS_MAX - 16) {
            piece_printf(p, "...");
            return;
        }
        if (c == '"' || c == '\\')
            piece_printf(p, "\\%c", c);
        else if (c >= 0x20 && c < 0x7f)
            piece_printf(p, "%c", c);
        else if (format == LOG_FORMAT_JSON)
            piece_printf(p, "\\u%04x", c);
        else
            piece_printf(p, "\\x%02x", c);
    }
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || s.ptr[i] == '"' || s.ptr[i] == '\\' || s.ptr[i] == '=')
            return false;
    return s.len > 0;
}

static void piece_string(struct piece *p, struct slice s, enum log_format format)
{
    bool quote = format == LOG_FORMAT_JSON || !is_plain(s);
    if (quote)
        piece_printf(p, "\"");
    piece_escaped(p, s, format);
    if (quote)
        piece_printf(p, "\"");
}

static void piece_value(struct piece *p, const struct log_field *f, enum log_format format)
{
    switch (f->kind) {
    case LOG_FIELD_NONE: break;
    case LOG_FIELD_INT: piece_printf(p, "%lld", (long long)f->v.i); break;
    case LOG_FIELD_UINT: piece_printf(p, "%llu", (unsigned long long)f->v.u); break;
    case LOG_FIELD_HEX:
        piece_printf(p, format == LOG_FORMAT_JSON ? "\"%llx\"" : "%llx", (unsigned long long)f->v.u);
        break;
    case LOG_FIELD_STR: piece_string(p, f->v.str ? slice_cstr(f->v.str) : SLICE_EMPTY, format); break;
    case LOG_FIELD_BYTES: piece_string(p, f->v.bytes, format); break;
    case LOG_FIELD_ERR: piece_string(p, slice_cstr(f->v.i ? err_name((int)f->v.i) : "OK"), format); break;
    case LOG_FIELD_BOOL: piece_printf(p, f->v.u ? "true" : "false"); break;
    }
}

struct line {
    char text[LOG_LINE_BYTES_MAX];
    size_t len;
    bool truncated;
};

/* A piece goes in whole or not at all, so that JSON stays JSON. */
static void line_add(struct line *l, const struct piece *p)
{
    if (l->truncated || l->len + p->len + TAIL_ROOM > sizeof(l->text)) {
        l->truncated = true;
        return;
    }
    memcpy(l->text + l->len, p->text, p->len);
    l->len += p->len;
}

static void line_field(struct line *l, const struct log_field *f, enum log_format format)
{
    if (f->kind == LOG_FIELD_NONE)
        return;
    struct piece p = {.len = 0};
    piece_printf(&p, format == LOG_FORMAT_JSON ? ",\"%.64s\":" : " %.64s=", f->key);
    piece_value(&p, f, format);
    line_add(l, &p);
}

static void line_head(struct line *l, enum log_level level, const char *node, const char *event,
                      uint64_t op_id, uint64_t ms, enum log_format format)
{
    struct piece p = {.len = 0};
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    char time_text[40];
    gmtime_r(&seconds, &tm);
    size_t n = strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(time_text + n, sizeof(time_text) - n, ".%03uZ", (unsigned)(ms % 1000));
    if (format == LOG_FORMAT_JSON) {
        piece_printf(&p, "{\"time\":\"%s\",\"level\":\"%s\",\"node\":", time_text,
                     level_json_names[level]);
        piece_string(&p, slice_cstr(node), format);
        piece_printf(&p, ",\"event\":\"%.64s\"", event);
        if (op_id)
            piece_printf(&p, ",\"op\":\"%llx\"", (unsigned long long)op_id);
    } else {
        piece_printf(&p, "%s %s ", time_text, level_names[level]);
        piece_string(&p, slice_cstr(node), format);
        piece_printf(&p, " %.64s", event);
        if (op_id)
            piece_printf(&p, " op=%llx", (unsigned long long)op_id);
    }
    line_add(l, &p);
}

static void line_end(struct line *l, enum log_format format)
{
    bool json = format == LOG_FORMAT_JSON;
    if (l->truncated) {
        const char *text = json ? ",\"truncated\":true" : " truncated=true";
        memcpy(l->text + l->len, text, strlen(text));
        l->len += strlen(text);
    }
    if (json)
        l->text[l->len++] = '}';
    l->text[l->len++] = '\n';
}

/* ---- rate ---- */
/* false: this one is only counted.  *ret_suppressed: how many were, before this one. */
static bool site_admits(struct log_site *site, uint64_t second, uint32_t *ret_suppressed)
{
    uint64_t window = atomic_load_explicit(&site->window, memory_order_relaxed);
    uint64_t next;
    do {
        bool same = window >> 32 == (second & UINT32_MAX);
        uint64_t count = same ? (window & UINT32_MAX) : 0;
        if (count >= LOG_BURST) {
            atomic_fetch_add_explicit(&site->suppressed, 1, memory_order_relaxed);
            return false;
        }
        next = (second & UINT32_MAX) << 32 | (count + 1);
    } while (!atomic_compare_exchange_weak_explicit(&site->window, &window, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    *ret_suppressed = atomic_exchange_explicit(&site->suppressed, 0, memory_order_relaxed);
    return true;
}

/* ---- output ---- */
static uint64_t wall_ms(void)
{
    if (logger.clock)
        return logger.clock(logger.clock_arg);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A log that cannot be written must not stop the service: what fails is dropped. */
static void emit(const struct line *l)
{
    size_t done = 0;
    while (done < l->len) {
        ssize_t n = write(logger.fd, l->text + done, l->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

void log_write(enum log_level level, struct log_site *site, const char *event, uint64_t op_id,
               const struct log_field *fields, size_t count)
{
    int saved_errno = errno;
    struct line line;
    line.len = 0;
    line.truncated = false;
    uint32_t suppressed = 0;
    pthread_mutex_lock(&logger.lock);
    uint64_t ms = wall_ms();
    /* A capture sees every line: whether a run fails must not depend on how fast it went. */
    if (!logger.hook && site && !site_admits(site, ms / 1000, &suppressed))
        goto unlock;
    const char *node = thread_node ? thread_node : logger.node_id ? logger.node_id : "-";
    line_head(&line, level, node, event, op_id, ms, logger.format);
    if (suppressed) {
        struct log_field f = L_UINT("suppressed", suppressed);
        line_field(&line, &f, logger.format);
    }
    for (size_t i = 0; i < count; i++)
        line_field(&line, &fields[i], logger.format);
    line_end(&line, logger.format);
    if (!logger.hook)
        emit(&line);
unlock:;
    log_hook_fn hook = logger.hook;
    void *hook_arg = logger.hook_arg;
    pthread_mutex_unlock(&logger.lock);
    if (hook) { /* outside the lock: it may end the run by a longjmp */
        line.text[line.len - 1] = 0;
        hook(hook_arg, level, event, line.text);
    }
    errno = saved_errno;
}

/* ---- set-up ---- */
static int open_path(const char *path)
{
    if (!path || strcmp(path, "-") == 0)
        return STDERR_FILENO;
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

static void take_fd(int fd)
{
    if (logger.fd != STDERR_FILENO)
        close(logger.fd);
    logger.fd = fd;
}

int log_init(const struct log_config *config)
{
    int fd = open_path(config->path);
    if (fd < 0)
        return ERR_IO;
    char *node_id = strdup(config->node_id ? config->node_id : "-");
    char *path = strdup(config->path ? config->path : "-");
    if (!node_id || !path) {
        free(node_id);
        free(path);
        if (fd != STDERR_FILENO)
            close(fd);
        return ERR_NOMEM;
    }
    pthread_mutex_lock(&logger.lock);
    take_fd(fd);
    free(logger.node_id);
    free(logger.path);
    logger.node_id = node_id;
    logger.path = path;
    logger.format = config->format;
    pthread_mutex_unlock(&logger.lock);
    log_level_min = (int)config->level;
    return OK;
}

void log_fini(void)
{
    pthread_mutex_lock(&logger.lock);
    take_fd(STDERR_FILENO);
    free(logger.node_id);
    free(logger.path);
    logger.node_id = logger.path = NULL;
    logger.format = LOG_FORMAT_TEXT;
    pthread_mutex_unlock(&logger.lock);
    log_level_min = LOG_LEVEL_INFO;
}

int log_reopen(void)
{
    pthread_mutex_lock(&logger.lock);
    int fd = open_path(logger.path);
    if (fd >= 0)
        take_fd(fd);
    pthread_mutex_unlock(&logger.lock);
    return fd >= 0 ? OK : ERR_IO;
}

int log_sink(enum log_format *ret_format)
{
    *ret_format = logger.format;
    return logger.fd;
}

void log_hook_set(log_hook_fn hook, void *arg)
{
    pthread_mutex_lock(&logger.lock);
    logger.hook = hook;
    logger.hook_arg = arg;
    pthread_mutex_unlock(&logger.lock);
}

void log_node_set(const char *node_id)
{
    thread_node = node_id;
}

void log_clock_set(uint64_t (*clock_ms)(void *arg), void *arg)
{
    pthread_mutex_lock(&logger.lock);
    logger.clock = clock_ms;
    logger.clock_arg = arg;
    pthread_mutex_unlock(&logger.lock);
}
