#pragma once
/* A service's RPC endpoint, as its configuration says: TLS from tls_ca, tls_cert and tls_key, node
 * id checked against the certificate, frames, calls, their metrics. */
#include "common/proc/proc.h"
#include "common/rpc/rpc.h"

struct net_tls_ctx;

struct proc_rpc {
    struct net_tls_ctx *tls;
    struct net *net;
    struct rpc *rpc;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Opens the endpoint on the process's main loop; roles: what the own certificate must say.
 * Returns: OK, or an error after having logged what is wrong ("config.tls", "proc.rpc"). */
int proc_rpc_open(struct proc *p, enum net_role role, struct proc_rpc *ret);
/* Listens on the `listen` parameter. */
int proc_rpc_listen(struct proc *p, struct proc_rpc *r);
/* Ends all calls, closes all connections, then calls `closed`. */
void proc_rpc_close(struct proc_rpc *r, void (*closed)(void *arg), void *arg);
