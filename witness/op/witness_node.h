#pragma once
/* A running witness: its tables (witness/core) behind the RPC service, and the lease that it holds
 * from the root.  Over env and rpc only, so that the simulator runs many of them in one thread.
 *
 * Lives: each life is an incarnation with an id of its own, chosen at random.  It asks the root for a
 * lease and renews it long before it ends.  A lease that ran out, or an incarnation that the root
 * calls dead, ends the life: the next begins under a new id with the tables kept (DESIGN 4.9). */
#include "common/rpc/rpc.h"
#include "witness/core/witness.h"

#define WITNESS_ROOTS_MAX 64
#define WITNESS_QUESTIONS_MAX 65536 /* in one check */
#define WITNESS_ENTRIES_MAX 65536   /* in one append */

struct witness_config {
    const char *name; /* node id: two processes under one name are two incarnations */
    const char *addr; /* where leaders and gateways reach it */
    const char *zone;
    const char *const *metanode_ids; /* who may lead the root; copied */
    const char *const *metanode_addrs;
    size_t metanode_count; /* 1..WITNESS_ROOTS_MAX */
    unsigned slot_bits;
    uint32_t partitions_max;
    uint64_t renew_ns;        /* between renewals; far shorter than a lease */
    uint64_t call_timeout_ns; /* for one request to the root */
};

struct witness_stats {
    uint64_t questions, fresh, entries, opens, refused_streams, lives, leases_granted;
};

struct witness_node;

/* Serves its methods on `rpc` and begins its first life.  Config is copied.
 * Returns: OK; ERR_INVAL; ERR_NOMEM.  Runs on: rpc's loop, as everything here. */
int witness_node_new(struct rpc *rpc, const struct witness_config *config,
                     struct witness_node **ret);
/* Gives the lease up (answering nothing from now on), tells the root if it answers within the call
 * timeout, then calls `done`. */
void witness_node_release(struct witness_node *n, void (*done)(void *arg), void *arg);
/* After rpc_close() has finished. */
void witness_node_free(struct witness_node *n);

bool witness_node_holds_lease(struct witness_node *n);
/* It holds its lease, and every partition that ever opened a stream is caught up in this life. */
bool witness_node_ready(struct witness_node *n);
const struct witness *witness_node_core(const struct witness_node *n);
const struct witness_stats *witness_node_stats(const struct witness_node *n);
