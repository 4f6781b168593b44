#pragma once
/* A simulated Cairn: metanodes, witnesses and gateways (cache and metadata client) on the hosts of
 * one world, each with its disks, each able to crash and come back. */
#include "common/config/cluster.h"
#include "common/env/kv_mem.h"
#include "common/rpc/rpc.h"
#include "tests/sim/world.h"

#define SIM_NODES_MAX 16
#define SIM_PARTITIONS_MAX 8
#define SIM_TERMS_MAX 1024 /* later ones are not looked at */

/* The services' own headers are not included here: services never include one another. */
struct cache;
struct meta_client;
struct meta_node;
struct sim_cluster;
struct sim_files;
struct witness_node;

struct sim_node {
    struct sim_cluster *cluster;
    struct host *host;
    char id[32];
    bool running;
    uint64_t boot; /* counts the lives */
    struct rpc *rpc;
    /* metanode */
    struct kv *log_kv, *state_kv;
    struct meta_node *meta;
    bool failed; /* it stopped itself after an injected disk error */
    /* witness */
    struct witness_node *witness;
    /* gateway */
    struct cache *cache;
    struct meta_client *client;
    void (*on_boot)(void *arg, struct sim_node *gateway); /* clients start anew */
    void *on_boot_arg;
};

struct sim_cluster {
    struct world *world;
    struct cluster_config config;
    struct kv_mem_files *files;
    struct sim_files *snapshot_files;
    struct sim_node metas[SIM_NODES_MAX], witnesses[SIM_NODES_MAX], gateways[SIM_NODES_MAX];
    size_t zones;
    uint32_t drift_ppm;
    bool lease_reads;
    bool lease_at_bound;         /* a leader's lease is as long as the promise and drift allow */
    uint32_t append_entries_max; /* of one Raft message */
    uint64_t cache_bytes_max;    /* of a gateway; small, so that records share places, or leave */
    uint64_t log_bytes_max;      /* small, so that logs are truncated and snapshots needed */
    struct sim_terms {           /* who led which term: at most one ever */
        uint8_t leader[SIM_TERMS_MAX]; /* zone + 1; 0: nobody seen */
    } terms[SIM_PARTITIONS_MAX];
    void (*problem)(void *arg, const char *text); /* an invariant broke */
    void *problem_arg;
};

/* Three zones with one of each.  split_points: hex bounds as in the cluster file, or NULL. */
void sim_cluster_init(struct sim_cluster *c, struct world *w, const char *split_points);
void sim_boot(struct sim_node *n);
/* silent: the peers get no reset. */
void sim_crash(struct sim_node *n, bool silent);
/* Makes the cache and the client of a gateway's life (gateway.c). */
void sim_boot_gateway(struct sim_node *n);
/* A rate within the drift bound, often at one end of it: what depends on two clocks is hardest when
 * one is as fast and the other as slow as can be. */
int32_t sim_clock_rate(struct sim_cluster *c);
/* The invariants that hold at every moment (DESIGN section 9, numbers 1 and 2). */
void sim_check(struct sim_cluster *c);
/* All replicas of each partition that have applied the same index hold the same state; every
 * partition has a leader and all are at its index.  false with a reason. */
bool sim_converged(struct sim_cluster *c, struct buf *ret_why);
