#pragma once
/* The frame of every service process: configuration, log, limits, signals, the data directory, the
 * admin HTTP server, and the main loop.  A main is then:
 *
 *     struct proc p;
 *     int status;
 *     if (!proc_init(&p, "cairn-witness", argc, argv, params, count, &status))
 *         return status;              // --help, --check-config: 0; configuration error: 2; else 1
 *     ... wire the service to p.env, p.loop, p.config, p.cluster ...
 *     p.on_drain = ..., p.ready = ..., p.arg = ...
 *     return proc_run(&p);
 *
 * SIGTERM/SIGINT call on_drain once; the service calls proc_drained() when nothing is under way, and
 * proc_run returns 0.  A second signal exits at once (128 + signal).  SIGHUP reopens the log. */
#include "common/config/cluster.h"
#include "common/config/config.h"
#include "common/env/env.h"

#define CAIRN_VERSION "0.1.0"

struct uv_loop_s;
struct proc_impl;

/* An answer of the admin server; body is taken over. */
struct admin_response {
    unsigned status;           /* 200 as given to the handler */
    const char *content_type;  /* "application/json" as given; a literal */
    struct buf body;
};

/* path and query ("" if none) are borrowed.  On the main loop; must not block. */
typedef void (*admin_handler)(void *arg, const char *path, const char *query,
                              struct admin_response *ret);

struct proc {
    const char *program;
    struct config *config;
    struct cluster_config cluster; /* zeroed when no cluster_file is set */
    const char *node_id, *zone, *data_dir; /* from the config; "" when not set */
    struct uv_loop_s *loop;
    struct env *env;

    /* set by the service before proc_run; each may be NULL */
    void (*on_drain)(void *arg);                      /* NULL: drained at once */
    bool (*ready)(void *arg, struct buf *ret_reason); /* false: /readyz answers 503 with the reason */
    void (*on_stop)(void *arg);                       /* the loop has ended: free what is left */
    void *arg;
    uint64_t drain_timeout_ms;                        /* 0: 10 s; then proc_run returns 1 */

    struct proc_impl *impl;
};

/* Blocking.  Returns: true, and the process may go on; false with the exit status in *ret_status,
 * everything printed and freed. */
bool proc_init(struct proc *p, const char *program, int argc, char *const argv[],
               const struct config_param *params, size_t count, int *ret_status);

/* Serves path (exact, "/debug/partitions") on the admin port, from now on.
 * Returns: OK; ERR_EXISTS; ERR_NOMEM. */
int proc_admin_route(struct proc *p, const char *path, admin_handler handler, void *arg);
/* Any suffix after the prefix too. */
int proc_admin_route_prefix(struct proc *p, const char *prefix, admin_handler handler, void *arg);
/* The port that admin_listen is bound to (it may be configured as 0); 0 when there is none. */
unsigned proc_admin_port(const struct proc *p);

/* Runs until drained, stopped or failed; then calls on_stop and closes the admin server, the signals
 * and the env.  Memory of the frame (env, config, cluster) stays valid, so that the service may be
 * freed afterwards; proc_fini frees it (a main may leave that to the exit).  Returns: the exit status. */
int proc_run(struct proc *p);
void proc_fini(struct proc *p);
void proc_drained(struct proc *p);          /* after on_drain: nothing is under way any more */
/* Stops the loop; proc_run returns status.  For errors that the process must not survive (a failed
 * fsync); logs `event` at ERROR. */
void proc_fail(struct proc *p, int status, const char *event, const char *reason);
bool proc_draining(const struct proc *p);
