/* The frame of a process; see proc.h.
 *
 * proc_init: configuration → limits → log → crash handler → loop and env → data directory → signals → admin server.
 * proc_run:  loop; then on_stop, admin, signals, env, in this order: each may need what follows. */
#include "common/proc/proc.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/env_uv.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/proc/proc_admin.h"
#include "common/proc/proc_crash.h"
#include "common/proc/proc_data.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define DRAIN_TIMEOUT_MS 10000
#define OPEN_FILES_MAX (1u << 20)
/* Segments, memtables and their like come and go all the time.  A page that is given back and taken
 * again costs a fault and its clearing, on a virtual machine far more than a copy. */
#define MALLOC_MMAP_BYTES (16 << 20)
#define MALLOC_TRIM_BYTES (32 << 20)

extern char **environ;

enum { SIGNAL_TERM, SIGNAL_INT, SIGNAL_HUP, SIGNAL_COUNT };

struct proc_impl {
    uv_loop_t loop;
    struct env_uv env;
    bool env_open;
    uv_signal_t signals[SIGNAL_COUNT];
    unsigned signals_open;
    struct admin *admin;
    int data_fd;
    struct env_timer drain_timer;
    struct proc *proc;
    bool draining, stopped;
    int status;
};

/* ---- configuration ---- */
static int say(const struct proc *p, FILE *to, struct buf *text, int status)
{
    if (status != 0)
        fprintf(to, "%s: ", p->program);
    fwrite(text->ptr ? text->ptr : (const uint8_t *)"", 1, text->len, to);
    if (text->len && text->ptr[text->len - 1] != '\n')
        fputc('\n', to);
    fflush(to);
    buf_fini(text);
    return status;
}

static int check_words(const struct config *c, struct log_config *ret, struct buf *error)
{
    const char *level = config_string(c, "log_level"), *form = config_string(c, "log_format");
    *ret = (struct log_config){.node_id = config_string(c, "node_id"), .path = config_string(c, "log_file")};
    if (!log_level_by_name(slice_cstr(level), &ret->level)) {
        buf_printf(error, "%s: log_level: '%s' is unknown; use debug, info, warn or error",
                   config_source(c, "log_level"), level);
        return ERR_CONFIG;
    }
    ret->format = strcmp(form, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    if (ret->format == LOG_FORMAT_TEXT && strcmp(form, "text") != 0) {
        buf_printf(error, "%s: log_format: '%s' is unknown; use text or json",
                   config_source(c, "log_format"), form);
        return ERR_CONFIG;
    }
    return OK;
}

/* The cluster file may know this node: then both must say the same zone. */
static int load_cluster(struct proc *p, struct buf *error)
{
    const char *path = config_string(p->config, "cluster_file");
    int err = path[0] ? cluster_config_load(path, &p->cluster, error) : OK;
    if (err != OK)
        return err;
    p->node_id = config_string(p->config, "node_id");
    p->zone = config_string(p->config, "zone");
    p->data_dir = config_string(p->config, "data_dir");
    const struct cluster_node *own = cluster_node_by_id(&p->cluster, p->node_id);
    if (own && p->zone[0] == 0)
        p->zone = own->zone;
    if (own && strcmp(own->zone, p->zone) != 0) {
        buf_printf(error, "%s: zone: '%s', but %s:%u places '%s' in zone '%s'",
                   config_source(p->config, "zone"), p->zone, path, own->line, own->id, own->zone);
        return ERR_CONFIG;
    }
    return OK;
}

/* true: go on.  false: *ret_status is the exit status, everything has been said. */
static bool configure(struct proc *p, int argc, char *const argv[], const struct config_param *params,
                      size_t count, struct log_config *ret_log, int *ret_status)
{
    const struct config_param *const tables[] = {config_common_params, params};
    const size_t counts[] = {config_common_count, count};
    enum config_action action = CONFIG_RUN;
    struct buf text = {0};
    p->config = config_new(p->program, tables, counts, 2);
    int err = p->config ? config_load(p->config, argc, argv, environ, &action, &text) : ERR_NOMEM;
    *ret_status = 0;
    if (err == OK && action == CONFIG_SHOW_HELP) {
        config_help(p->config, &text);
        *ret_status = say(p, stdout, &text, 0);
        return false;
    }
    if (err == OK && action == CONFIG_SHOW_VERSION) {
        buf_printf(&text, "%s %s\n", p->program, CAIRN_VERSION);
        *ret_status = say(p, stdout, &text, 0);
        return false;
    }
    if (err == OK)
        err = check_words(p->config, ret_log, &text);
    if (err == OK)
        err = load_cluster(p, &text);
    if (err != OK) {
        if (text.len == 0)
            buf_cstr(&text, err_text(err));
        *ret_status = say(p, stderr, &text, err == ERR_CONFIG ? 2 : 1);
        return false;
    }
    if (action == CONFIG_PRINT)
        config_print(p->config, &text);
    if (action == CONFIG_CHECK_ONLY)
        buf_printf(&text, "the configuration is good\n%.*s", (int)p->cluster.warnings.len,
                   p->cluster.warnings.ptr ? (const char *)p->cluster.warnings.ptr : "");
    if (action != CONFIG_RUN)
        say(p, stdout, &text, 0);
    buf_fini(&text);
    return action == CONFIG_RUN;
}

/* ---- signals and the end ---- */
static void stop(struct proc *p, int status)
{
    struct proc_impl *impl = p->impl;
    if (!impl->stopped)
        impl->status = status;
    impl->stopped = true;
    uv_stop(&impl->loop);
}

static void on_drain_timeout(struct env_timer *t)
{
    struct proc_impl *impl = container_of(t, struct proc_impl, drain_timer);
    log_warn("proc.drain_timeout", 0);
    stop(impl->proc, 1);
}

static void on_signal(uv_signal_t *s, int number)
{
    struct proc *p = s->data;
    struct proc_impl *impl = p->impl;
    if (number == SIGHUP) {
        int err = log_reopen();
        log_info("proc.log_reopened", 0, L_ERR(err));
        return;
    }
    if (impl->draining) {
        log_warn("proc.second_signal", 0, L_INT("signal", number));
        _exit(128 + number);
    }
    impl->draining = true;
    log_info("proc.draining", 0, L_INT("signal", number));
    env_timer_start(&impl->drain_timer,
                    (p->drain_timeout_ms ? p->drain_timeout_ms : DRAIN_TIMEOUT_MS) * NS_PER_MS);
    if (p->on_drain)
        p->on_drain(p->arg);
    else
        proc_drained(p);
}

void proc_drained(struct proc *p)
{
    CHECK(p->impl->draining);
    stop(p, 0);
}

void proc_fail(struct proc *p, int status, const char *event, const char *reason)
{
    log_error(event, 0, L_STR("reason", reason));
    stop(p, status);
}

bool proc_draining(const struct proc *p)
{
    return p->impl->draining;
}

/* ---- admin pages ---- */
static void page_metrics(void *arg, const char *path, const char *query, struct admin_response *ret)
{
    (void)arg, (void)path, (void)query;
    ret->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_text(&ret->body);
}

static void page_healthz(void *arg, const char *path, const char *query, struct admin_response *ret)
{
    (void)arg, (void)path, (void)query;
    ret->content_type = "text/plain; charset=utf-8";
    buf_cstr(&ret->body, "ok\n");
}

static void page_readyz(void *arg, const char *path, const char *query, struct admin_response *ret)
{
    (void)path, (void)query;
    struct proc *p = arg;
    bool ready = !p->impl->draining;
    ret->content_type = "text/plain; charset=utf-8";
    if (!ready)
        buf_cstr(&ret->body, "draining");
    else if (p->ready)
        ready = p->ready(p->arg, &ret->body);
    if (ret->body.len == 0)
        buf_cstr(&ret->body, ready ? "ready" : "not ready");
    buf_cstr(&ret->body, "\n");
    ret->status = ready ? 200 : 503;
}

int proc_admin_route(struct proc *p, const char *path, admin_handler handler, void *arg)
{
    return p->impl->admin ? admin_route(p->impl->admin, path, false, handler, arg) : OK;
}

int proc_admin_route_prefix(struct proc *p, const char *prefix, admin_handler handler, void *arg)
{
    return p->impl->admin ? admin_route(p->impl->admin, prefix, true, handler, arg) : OK;
}

unsigned proc_admin_port(const struct proc *p)
{
    return p->impl->admin ? admin_port(p->impl->admin) : 0;
}

static int open_admin(struct proc *p, struct buf *error)
{
    const char *addr = config_address(p->config, "admin_listen");
    if (addr[0] == 0)
        return OK;
    int err = admin_open(p->env, p->loop, addr, &p->impl->admin, error);
    if (err == OK)
        err = proc_admin_route(p, "/metrics", page_metrics, p);
    if (err == OK)
        err = proc_admin_route(p, "/healthz", page_healthz, p);
    if (err == OK)
        err = proc_admin_route(p, "/readyz", page_readyz, p);
    return err;
}

/* ---- life ---- */
static void limits(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = MIN(l.rlim_max, (rlim_t)OPEN_FILES_MAX);
        setrlimit(RLIMIT_NOFILE, &l); /* best effort: a lower limit shows as refused connections */
    }
}

static int open_signals(struct proc *p)
{
    static const int numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGHUP};
    struct proc_impl *impl = p->impl;
    for (unsigned i = 0; i < SIGNAL_COUNT; i++) {
        if (uv_signal_init(&impl->loop, &impl->signals[i]) != 0)
            return ERR_IO;
        impl->signals_open++;
        impl->signals[i].data = p;
        if (uv_signal_start(&impl->signals[i], on_signal, numbers[i]) != 0)
            return ERR_IO;
    }
    return OK;
}

static void close_all(struct proc_impl *impl)
{
    env_timer_stop(&impl->drain_timer);
    admin_close(impl->admin);
    impl->admin = NULL;
    for (unsigned i = 0; i < impl->signals_open; i++)
        uv_close((uv_handle_t *)&impl->signals[i], NULL);
    impl->signals_open = 0;
    if (impl->env_open) {
        env_uv_fini(&impl->env);
        impl->env_open = false;
        uv_run(&impl->loop, UV_RUN_NOWAIT); /* close callbacks that came after the env's own */
        uv_loop_close(&impl->loop); /* busy only if the service left handles open: the exit ends them */
    }
    if (impl->data_fd >= 0)
        close(impl->data_fd);
    impl->data_fd = -1;
}

void proc_fini(struct proc *p)
{
    if (p->impl)
        close_all(p->impl);
    free(p->impl);
    config_free(p->config);
    cluster_config_fini(&p->cluster);
    log_fini();
    *p = (struct proc){0};
}

static int open_loop(struct proc *p)
{
    struct proc_impl *impl = calloc(1, sizeof(*impl));
    if (!impl)
        return ERR_NOMEM;
    impl->data_fd = -1;
    impl->proc = p;
    if (uv_loop_init(&impl->loop) != 0) {
        free(impl);
        return ERR_NOMEM;
    }
    int err = env_uv_init(&impl->env, &impl->loop);
    if (err != OK) {
        uv_loop_close(&impl->loop);
        free(impl);
        return err;
    }
    impl->env_open = true;
    env_timer_init(&impl->env.env, &impl->drain_timer, on_drain_timeout);
    p->impl = impl;
    p->loop = &impl->loop;
    p->env = &impl->env.env;
    return OK;
}

static int open_frame(struct proc *p, struct buf *error)
{
    char cluster_id[ID_HEX_CHARS + 1] = "";
    if (p->cluster.node_count)
        id128_hex(p->cluster.cluster_id, cluster_id);
    int err = open_loop(p);
    if (err == OK && p->data_dir[0])
        err = data_dir_open(p->data_dir, p->node_id, cluster_id, &p->impl->data_fd, error);
    if (err == OK)
        err = open_signals(p);
    if (err == OK)
        err = open_admin(p, error);
    return err;
}

bool proc_init(struct proc *p, const char *program, int argc, char *const argv[],
               const struct config_param *params, size_t count, int *ret_status)
{
    struct log_config log;
    struct buf error = {0};
    *p = (struct proc){.program = program};
    if (!configure(p, argc, argv, params, count, &log, ret_status)) {
        proc_fini(p);
        return false;
    }
    limits();
    (void)mallopt(M_MMAP_THRESHOLD, MALLOC_MMAP_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, MALLOC_TRIM_BYTES);
    int err = log_init(&log);
    if (err != OK)
        buf_printf(&error, "log_file %s cannot be opened: %m", log.path);
    if (err == OK)
        err = proc_crash_install(program, config_string(p->config, "node_id"));
    if (err == OK)
        err = open_frame(p, &error);
    if (err != OK) {
        if (error.len == 0)
            buf_cstr(&error, err_text(err));
        *ret_status = say(p, stderr, &error, 1);
        proc_fini(p);
        return false;
    }
    buf_fini(&error);
    metrics_process_register(program, CAIRN_VERSION);
    if (p->cluster.warnings.len)
        log_warn("config.cluster", 0, L_BYTES("what", buf_view(&p->cluster.warnings)));
    log_info("proc.started", 0, L_STR("program", program), L_STR("version", CAIRN_VERSION),
             L_INT("pid", getpid()), L_UINT("admin_port", proc_admin_port(p)));
    return true;
}

int proc_run(struct proc *p)
{
    struct proc_impl *impl = p->impl;
    if (!impl->stopped)
        uv_run(&impl->loop, UV_RUN_DEFAULT);
    if (p->on_stop)
        p->on_stop(p->arg);
    close_all(impl);
    log_info("proc.stopped", 0, L_INT("status", impl->status));
    return impl->status;
}
