/* Wires TLS, frames and RPC to a process's configuration. */
#include "common/proc/proc_rpc.h"

#include "common/env_uv/net_tls.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"

#include <errno.h>
#include <string.h>

static void on_problem(void *arg, const char *addr, int err, const char *text)
{
    (void)arg;
    log_warn("net.problem", 0, L_STR("addr", addr), L_ERR(err), L_STR("what", text));
}

static int open_tls(struct proc *p, enum net_role role, struct net_tls_ctx **ret)
{
    struct buf text = {0};
    struct net_tls_config config = {.ca_file = config_string(p->config, "tls_ca"),
                                    .cert_file = config_string(p->config, "tls_cert"),
                                    .key_file = config_string(p->config, "tls_key")};
    int err = net_tls_ctx_new(&config, ret, &text);
    if (err != OK) {
        log_error("config.tls", 0, L_ERR(err), L_BYTES("what", buf_view(&text)));
        buf_fini(&text);
        return err;
    }
    buf_fini(&text);
    const struct net_identity *own = net_tls_ctx_identity(*ret);
    if (own->role != role || strcmp(own->node_id, p->node_id) != 0) {
        log_error("config.tls", 0, L_STR("what", "tls_cert is another node's"),
                  L_STR("certificate_node", own->node_id), L_STR("node_id", p->node_id),
                  L_STR("certificate_role", net_role_name(own->role)),
                  L_STR("role", net_role_name(role)));
        net_tls_ctx_free(*ret);
        *ret = NULL;
        return ERR_CONFIG;
    }
    return OK;
}

int proc_rpc_open(struct proc *p, enum net_role role, struct proc_rpc *ret)
{
    struct net_tls_options options = {.on_problem = on_problem};
    struct rpc_config config = {.node_id = p->node_id};
    *ret = (struct proc_rpc){0};
    int err = open_tls(p, role, &ret->tls);
    if (err != OK)
        return err;
    err = net_tls_new(env_uv_from(p->env), ret->tls, &options, &ret->net);
    if (err == OK)
        err = rpc_new(p->env, ret->net, &config, &ret->rpc);
    if (err != OK)
        log_error("proc.rpc", 0, L_ERR(err));
    return err;
}

static double handshakes_evicted(void *arg)
{
    const struct proc_rpc *r = arg;
    struct net_tls_stats stats;
    net_tls_stats(r->net, &stats);
    return (double)stats.handshakes_evicted;
}

int proc_rpc_listen(struct proc *p, struct proc_rpc *r)
{
    const char *addr = config_address(p->config, "listen");
    errno = 0;
    int err = rpc_listen(r->rpc, addr);
    if (err != OK)
        log_error("proc.listen", 0, L_STR("addr", addr), L_ERR(err),
                  L_STR("why", errno ? strerror(errno) : err_text(err)));
    else
        metric_function_new("cairn_rpc_handshakes_evicted_total", NULL,
                            "Connections closed before they had authenticated, to make room.", true,
                            handshakes_evicted, r);
    return err;
}

static void net_closed(void *arg)
{
    struct proc_rpc *r = arg;
    r->net = NULL;
    net_tls_ctx_free(r->tls);
    r->tls = NULL;
    if (r->closed)
        r->closed(r->closed_arg);
}

static void rpc_closed(void *arg)
{
    struct proc_rpc *r = arg;
    r->rpc = NULL;
    net_tls_close(r->net, net_closed, r);
}

void proc_rpc_close(struct proc_rpc *r, void (*closed)(void *arg), void *arg)
{
    metric_function_forget(r);
    r->closed = closed;
    r->closed_arg = arg;
    rpc_close(r->rpc, rpc_closed, r);
}
