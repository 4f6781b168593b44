#pragma once
/* A simulated Cairn: metanodes, witnesses, gateways (cache, metadata client, blob client) and
 * storage nodes on the hosts of one world, each with its disks, each able to crash and come back.
 */
#include "common/base/id.h"
#include "common/config/cluster.h"
#include "common/env/kv_mem.h"
#include "common/rpc/rpc.h"
#include "tests/sim/world.h"

#define SIM_NODES_MAX 16
#define SIM_PARTITIONS_MAX 8
#define SIM_TERMS_MAX 1024 /* later ones are not looked at */
#define SIM_BOOT_HOOKS 2
#define SIM_DRIVES_MAX 3 /* disks of a storage node */

/* The services' own headers are not included here: services never include one another. */
struct blob_client;
struct cache;
struct disk;
struct follow;
struct gateway;
struct meta_client;
struct meta_node;
struct sim_cluster;
struct sim_files;
struct disks;
struct repair_agent;
struct store;
struct witness_node;

struct sim_drive { /* one disk of a storage node, with its index */
    struct disk *disk;
    struct kv *kv;
};

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
    struct blob_client *blobs; /* NULL in a cluster without storage nodes; so is the next */
    struct gateway *gateway;   /* what its requests share */
    struct {
        void (*fn)(void *arg, struct sim_node *gateway); /* clients start anew */
        void *arg;
    } on_boot[SIM_BOOT_HOOKS];
    /* storage node */
    struct sim_drive drives[SIM_DRIVES_MAX];
    size_t drive_count;
    struct id128 *given_up; /* ids of disks that its operator does not expect back */
    size_t given_up_count;
    uint32_t refused;    /* a mask of disks that the map calls lost: emptied at the next start */
    bool gone;           /* it will never run again */
    bool disk_may_fail;  /* because the nemesis breaks one */
    uint64_t emptied_ns; /* when it lost something last; 0: never */
    struct disks *disks;
    struct follow *follow;
    struct repair_agent *repair;
};

struct sim_cluster {
    struct world *world;
    struct cluster_config config;
    struct kv_mem_files *files;
    struct sim_files *snapshot_files;
    struct sim_node metas[SIM_NODES_MAX], witnesses[SIM_NODES_MAX], gateways[SIM_NODES_MAX];
    struct sim_node stores[SIM_NODES_MAX]; /* storage nodes: those of the first zone first */
    size_t zones, stores_per_zone;         /* 0: the cluster file names some, but they never run */
    uint32_t drift_ppm;
    bool lease_reads;
    bool lease_at_bound;         /* a leader's lease is as long as the promise and drift allow */
    uint32_t append_entries_max; /* of one Raft message */
    uint64_t cache_bytes_max;    /* of a gateway; small, so that records share places, or leave */
    uint64_t log_bytes_max;      /* small, so that logs are truncated and snapshots needed */
    uint64_t segment_bytes;      /* of objects beyond the inline limit */
    uint64_t timeout_ms;         /* of each step of a gateway's work on blobs */
    uint32_t deletion_grace_ms;  /* 0: the default; as long as a run, or longer */
    uint32_t store_flush_ms;     /* between two flushes of a storage node's index, */
    uint64_t store_flush_bytes;  /* or written by it */
    bool mends;                  /* storage nodes follow the map, report, scrub and repair */
    size_t drives_per_store;
    unsigned pgs;                 /* of each scheme; */
    const char *schemes;          /* as in the cluster file; NULL: what the topology suggests */
    uint64_t replicate_bytes_max; /* larger blobs are coded, where there are coded groups */
    uint32_t node_down_ms, node_lost_ms;
    uint32_t sleep_after_ms;           /* short, so that groups fall asleep; 0: never */
    uint32_t balance_ms;               /* leadership goes back so often; 0: never */
    bool lulls;                        /* times in which no client asks anything */
    struct sim_terms {                 /* who led which term: at most one ever */
        uint8_t leader[SIM_TERMS_MAX]; /* zone + 1; 0: nobody seen */
    } terms[SIM_PARTITIONS_MAX];
    uint64_t orphaned_ns[SIM_NODES_MAX][SIM_PARTITIONS_MAX]; /* asleep without a leader, since */
    uint64_t asleep; /* replicas that were seen to sleep, summed over all looks */
    void (*problem)(void *arg, const char *text); /* an invariant broke */
    void *problem_arg;
    void (*emptied)(void *arg, struct sim_node *store); /* what it had is not served any more */
    void *emptied_arg;
};

/* Three zones with one of each, and stores_per_zone storage nodes.  split_points: hex bounds as in
 * the cluster file, or NULL. */
void sim_cluster_init(struct sim_cluster *c, struct world *w, const char *split_points);
void sim_boot(struct sim_node *n);
/* silent: the peers get no reset. */
void sim_crash(struct sim_node *n, bool silent);
/* Makes the cache and the clients of a gateway's life (gateway.c). */
void sim_boot_gateway(struct sim_node *n);
/* A rate within the drift bound, often at one end of it: what depends on two clocks is hardest when
 * one is as fast and the other as slow as can be. */
int32_t sim_clock_rate(struct sim_cluster *c);
/* Called in each life of the gateway, once it can be used. */
void sim_on_boot(struct sim_node *gateway, void (*fn)(void *arg, struct sim_node *gateway),
                 void *arg);
static inline size_t sim_store_count(const struct sim_cluster *c)
{
    return c->zones * c->stores_per_zone;
}
/* The invariants that hold at every moment (DESIGN section 9, numbers 1 and 2). */
void sim_check(struct sim_cluster *c);
/* All replicas of each partition that have applied the same index hold the same state; every
 * partition has a leader and all are at its index.  false with a reason. */
bool sim_converged(struct sim_cluster *c, struct buf *ret_why);
