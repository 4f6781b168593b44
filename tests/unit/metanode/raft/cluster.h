#pragma once
/* A cluster of Raft cores in memory, for the golden, random and rule tests: real cores, a network
 * whose every message is delivered, dropped or repeated by hand, disks whose writes complete by
 * hand and lose what is not synced in a crash.  It narrates what it does, and watches Raft's five
 * invariants (paper, figure 3) and the freshness of reads all the while. */
#include "common/base/slice.h"
#include "metanode/raft/raft.h"

#define CLUSTER_NODES_MAX 9
#define CLUSTER_LOG_MAX 2048 /* entries of one run */
#define CLUSTER_TERMS_MAX 4096
#define MS 1000000ull

struct entry {
    uint64_t term, value;
    enum raft_entry_kind kind;
    uint32_t bytes;
};

struct disk_log {
    uint64_t compact_index, compact_term, last;
    struct entry *at; /* by index */
};

struct pending_write {
    struct raft_write w;
    struct entry *entries;
};

struct node {
    uint64_t id;
    struct raft *raft; /* NULL: down */
    uint64_t clock_offset_ns;
    int64_t clock_ppm;
    /* What survives a crash. */
    uint64_t term, vote, applied_durable, applied_durable_term;
    struct disk_log disk;
    /* What does not. */
    struct disk_log log;
    uint64_t applied;
    struct pending_write *pending;
    uint32_t pending_count, pending_cap;
    uint64_t seen_commit; /* checked against the others up to here */
    struct {
        uint64_t ctx, floor;
    } reads[RAFT_READS_MAX]; /* floor: what had been acknowledged when the read began */
    uint32_t read_count;
    uint32_t reads_served, reads_dropped;
    enum raft_role last_role;
    uint64_t last_term;
    uint64_t life; /* of the process: counts the starts */
    /* What the driver knows of the other nodes, by id. */
    struct {
        uint64_t ns, life;
        bool lost;
    } heard[CLUSTER_NODES_MAX + 1];
};

struct packet {
    struct raft_message m;
    struct entry *entries;
    struct raft_entry_meta *metas;
    bool snapshot;          /* index, log_term: a whole state */
    uint64_t not_before_ns; /* a hint for who delivers */
};

struct committed {
    bool known;
    uint64_t term, value;
};

struct cluster {
    struct raft_options options; /* for nodes started from now on */
    struct node nodes[CLUSTER_NODES_MAX];
    uint32_t node_count;
    uint64_t now_ns;
    uint64_t rng;
    bool cut[CLUSTER_NODES_MAX + 1][CLUSTER_NODES_MAX + 1]; /* from, to */
    uint64_t heal_ns;                                       /* for who cuts */
    struct packet *net;
    uint32_t net_count, net_cap;
    struct raft_effects fx;
    struct buf *trace; /* NULL: silent */
    bool trace_heartbeats;
    uint32_t slow_percent; /* of the packets take up to 300 ms */
    bool visible_by_hand;  /* else a leader's visible index follows its commit index at once */
    uint64_t next_value;
    uint64_t acknowledged; /* the largest commit index that any leader has shown */
    uint64_t leader_of_term[CLUSTER_TERMS_MAX];
    struct committed committed[CLUSTER_LOG_MAX];
    uint64_t leaders_elected;
    uint64_t fell_asleep; /* replicas, in all */
    char violation[256];  /* the first broken invariant, or empty */
};

void cluster_init(struct cluster *c, uint32_t nodes, uint64_t seed);
void cluster_fini(struct cluster *c);
uint64_t cluster_random(struct cluster *c);
struct node *cluster_node(struct cluster *c, uint64_t id);
uint64_t node_now(const struct cluster *c, const struct node *n);
void cluster_say(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cluster_violated(struct cluster *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Opens a core over the node's disk.  What raft_new and raft_start say. */
int cluster_start(struct cluster *c, uint64_t id);
/* The first `keep` of its pending writes reach the disk, the rest and all memory is lost. */
void cluster_crash(struct cluster *c, uint64_t id, uint32_t keep);

/* One step of a node; what raft_step says.  Carries out the effects and checks the invariants. */
int cluster_step(struct cluster *c, struct node *n, struct raft_event *ev, const struct packet *p);
int cluster_tick(struct cluster *c, uint64_t id);
/* What nodes do for all groups together: those that can be heard are heard, those that are silent
 * for an election timeout, or have been started anew, are said to be lost. */
void cluster_beat(struct cluster *c);
int cluster_lost(struct cluster *c, uint64_t id, uint64_t peer);
int cluster_propose(struct cluster *c, uint64_t id, enum raft_entry_kind kind, uint32_t bytes,
                    uint32_t count);
int cluster_read(struct cluster *c, uint64_t id, uint64_t ctx);
void cluster_sync(struct cluster *c, uint64_t id, uint32_t count); /* oldest pending writes */
int cluster_compact(struct cluster *c, uint64_t id, uint64_t index);

/* The i-th packet under way. */
void cluster_deliver(struct cluster *c, uint32_t i, bool keep_copy);
void cluster_drop(struct cluster *c, uint32_t i);
/* Syncs and delivers until nothing is under way, at most `rounds` times over. */
void cluster_settle(struct cluster *c, uint32_t rounds);
/* Time goes by in steps of a heartbeat interval, with ticks, syncs and deliveries. */
void cluster_run(struct cluster *c, uint64_t ns);
uint64_t cluster_leader(struct cluster *c); /* of the highest term among those up; 0: none */

const char *message_name(enum raft_message_type t);
const char *role_name(enum raft_role r);
