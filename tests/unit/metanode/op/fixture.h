#pragma once
/* Three metanodes, up to three witnesses, a gateway and a storage node as clients in a world of virtual time: the real code over
 * kv_mem.  A crash loses what was not synced. */
#include "common/config/cluster.h"
#include "common/env/kv_mem.h"
#include "metanode/op/node.h"
#include "proto/methods.h"
#include "proto/meta.pb-c.h"
#include "tests/sim/world.h"
#include "witness/op/witness_node.h"

#define FX_METAS 3
#define FX_WITNESSES 3
#define FX_PARTITIONS 2 /* of objects; the root is number 0 */

struct fx_files {
    struct meta_files files;
    struct kv_mem_files *table;
};

struct fx_meta {
    struct fixture *fx;
    struct host *host;
    char id[16], addr[16], dir[16];
    struct rpc *rpc;
    struct kv *log_kv, *state_kv;
    struct meta_node *node; /* NULL: down */
    int failed;
};

struct fx_witness {
    struct host *host;
    char id[16], addr[16];
    struct rpc *rpc;
    struct witness_node *node;
};

struct fixture {
    struct world *world;
    struct cluster_config cluster;
    struct cluster_node nodes[FX_METAS + FX_WITNESSES + 20]; /* room for a test's own */
    struct buf split;
    struct kv_mem_files *table;
    struct fx_files files;
    struct meta_config config; /* of the next boot */
    struct fx_meta metas[FX_METAS + 1]; /* the last: a test's own */
    struct fx_witness witnesses[FX_WITNESSES];
    struct host *client_host, *storage_host;
    struct rpc *client, *storage;
    uint64_t writes;
};

void fx_init(struct fixture *fx, uint64_t seed);
/* One more for the cluster file. */
void fx_add_node(struct fixture *fx, const char *id, const char *zone, enum net_role role,
                 const char *addr);
void fx_close_rpc(struct fixture *fx, struct rpc *rpc);
void fx_fini(struct fixture *fx);
void fx_boot_meta(struct fixture *fx, unsigned i);
void fx_crash_meta(struct fixture *fx, unsigned i); /* unsynced data is lost */
void fx_boot_witness(struct fixture *fx, unsigned i);
void fx_kill_witness(struct fixture *fx, unsigned i);
void fx_boot_all(struct fixture *fx, unsigned witnesses);

void fx_run_ms(struct fixture *fx, uint64_t ms);
/* Runs until cond(fx, arg) or for ms; true: it holds. */
bool fx_run_until(struct fixture *fx, uint64_t ms, bool (*cond)(struct fixture *fx, void *arg), void *arg);
/* Which metanode leads the partition and serves; -1: none. */
int fx_leader(struct fixture *fx, uint32_t partition);
bool fx_wait_leader(struct fixture *fx, uint32_t partition, uint64_t ms);
bool fx_wait_ready(struct fixture *fx, uint64_t ms);
void fx_info(struct fixture *fx, unsigned meta, uint32_t partition, struct meta_partition_info *ret);

/* Calls, blocking in virtual time, by the gateway, or by the storage node if only that may.  The response is the caller's: free with rpc_call_fini(). */
int fx_call(struct fixture *fx, unsigned meta, const struct rpc_method *m, const ProtobufCMessage *req,
            uint64_t timeout_ms, struct rpc_call *ret);
/* The same from another process than the client. */
int fx_call_from(struct fixture *fx, struct rpc *from, unsigned meta, const struct rpc_method *m,
                 const ProtobufCMessage *req, uint64_t timeout_ms, struct rpc_call *ret);
/* A put of a small object through whoever leads, retried with the same write id until ms are over.
 * Returns: the outcome's error or the last call's; *ret_index: of the outcome. */
int fx_put(struct fixture *fx, const char *key, const char *body, uint64_t ms, uint64_t *ret_index);
/* One attempt with a given write id at a given node. */
int fx_put_once(struct fixture *fx, unsigned meta, uint64_t write, const char *key, const char *body,
                uint64_t timeout_ms, uint64_t *ret_index);
/* Reads it at whoever leads: OK, version 0 when absent. */
int fx_get(struct fixture *fx, const char *key, uint64_t ms, uint64_t *ret_version, uint64_t *ret_as_of);
int fx_get_once(struct fixture *fx, unsigned meta, const char *key, uint64_t timeout_ms,
                uint64_t *ret_version, uint64_t *ret_as_of);
