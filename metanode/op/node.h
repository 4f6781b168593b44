#pragma once
/* A metanode: replicas of partitions, each one Raft group over the index, made visible through the
 * witnesses; the root partition's duties on top (DESIGN sections 2 to 4).
 *
 * Built over env, rpc, two kv stores and a few files only, with no global state, so that the
 * simulator runs many of them in one thread on virtual time.  Runs on: the rpc's loop, everything.
 *
 *   client ── meta.propose ──→ propose ─→ raft ─→ log store (fsync) ─→ commit ─┐
 *                                  │        └──→ raft.batch to the other replicas│
 *                                  └──→ stream ─→ witnesses ─→ acknowledged ─────┤
 *   client ←── outcome ←── apply (index) ←── visible = min(commit, acked) ←──────┘
 */
#include "common/config/cluster.h"
#include "common/env/kv.h"
#include "common/rpc/rpc.h"

struct meta_node;

/* Files of snapshots under way; small enough to be one table.  Every call may block and runs on a
 * worker (env_work): real files in metanode/io/files_posix.c, kv_mem's in tests.  Paths are what the
 * kv's export_range and replace_range take. */
struct meta_files {
    const struct meta_files_ops {
        /* Appends up to `len` bytes from `offset` to *ret; fewer only at the end of the file.
         * OK; ERR_NOT_FOUND; ERR_IO; ERR_NOMEM. */
        int (*read)(struct meta_files *, const char *path, uint64_t offset, size_t len,
                    struct buf *ret);
        /* Writes at `offset` (0: the file is made anew; else its present end).
         * OK; ERR_IO; ERR_NOSPACE; ERR_INVAL (not the end). */
        int (*write)(struct meta_files *, const char *path, uint64_t offset, struct slice bytes);
        int (*remove)(struct meta_files *, const char *path); /* OK also when it is not there */
    } *ops;
};

/* Every duration in milliseconds.  docs/decisions/0003-timeouts.md says why they hold together;
 * meta_config_check() refuses values that do not. */
struct meta_timeouts {
    uint32_t heartbeat;        /* between a leader's heartbeats */
    uint32_t election;         /* a voter's promise; elections start after 1 to 2 of it */
    uint32_t raft_lease;       /* a leader reads alone for so long after a round was sent */
    uint32_t witness_lease;    /* granted by the root */
    uint32_t witness_call;     /* one message of a stream */
    uint32_t witness_report;   /* a witness that holds writes back this long is reported */
    uint32_t witness_poll;     /* a metanode asks the root for the set of witnesses */
    uint32_t tick;             /* housekeeping */
    uint32_t flush;            /* the state store is flushed so often */
    uint32_t balance;          /* leadership is handed to the preferred replica so often at most;
                                  0: never */
    uint32_t deletion_grace;   /* a blob outlives its record by this, for reads in flight */
    uint32_t deletion_pause;   /* between two rounds of the deletion queue */
    uint32_t interim_claim;    /* an interim segment is handed out again after this */
    uint32_t event_claim;      /* a queue of events is given to another gateway after this */
    uint32_t prune;            /* between two prunings of the outcome table */
    uint32_t node_down;        /* a storage node silent for so long is DOWN */
    uint32_t node_lost;        /* ... is LOST: its places are given to others */
    uint32_t placement;        /* between two looks at nodes and placement groups */
    uint32_t drain;            /* a stopping node waits so long for its successors */
    uint32_t sleep_after;      /* a partition that is idle for so long sleeps; 0: never */
    uint32_t drift_ppm;        /* rate of any clock, both ways */
    uint32_t clock_ahead;      /* an entry's time may be ahead of a replica's clock by this */
};

struct meta_limits {
    uint32_t proposals_max;         /* under way, per partition */
    uint64_t proposal_bytes_max;
    uint32_t reads_max;             /* under way, per partition */
    uint32_t lists_max;             /* on worker threads, of the node */
    uint32_t apply_entries_max;     /* applied in one turn of a replica */
    uint32_t append_entries_max;    /* of one Raft message, at most 1024 */
    uint64_t log_bytes_keep;        /* a log this small is not truncated */
    uint64_t log_bytes_max;         /* beyond it, it is, whoever still needs it */
    uint64_t log_entries_max;
    uint64_t log_cache_bytes;
    uint32_t snapshot_chunk_bytes;
    uint64_t snapshot_bytes_per_s;  /* sent by the node */
    uint32_t pg_changes_max;        /* placement groups whose members change at one time; 0: none, plans only */
};

struct meta_config {
    const char *node_id;
    const struct cluster_config *cluster; /* borrowed for the life of the node */
    const char *root_access_key;    /* of the root user, for the first start of a cluster; "" else */
    const char *root_secret_key;
    const char *snapshot_dir;       /* where files of snapshots live */
    struct meta_timeouts timeouts;  /* meta_config_defaults() first */
    struct meta_limits limits;
    bool lease_reads;               /* false: every read makes a ReadIndex round */

    /* The node must stop at once (a failed write, damaged state): the process exits loudly, the
     * simulator crashes the node.  Called at most once, last thing in a turn. */
    void (*on_failed)(void *arg, int err, const char *what);
    void *arg;
};

void meta_config_defaults(struct meta_config *c);
/* Returns: OK; ERR_CONFIG with one line in *ret_error. */
int meta_config_check(const struct meta_config *c, struct buf *ret_error);

/* Opens the logs and the state (blocking: it reads the logs) and serves its methods on `rpc`.  A
 * damaged partition is quarantined, the others run.
 * Returns: OK; ERR_CONFIG; ERR_IO; ERR_CORRUPT; ERR_NOMEM.  Borrows all for the life of the node. */
int meta_node_new(struct rpc *rpc, struct kv *log_kv, struct kv *state_kv, struct meta_files *files,
                  const struct meta_config *config, struct meta_node **ret);

/* Hands leadership away, waits (bounded), answers what is left with ERR_SHUTDOWN, flushes the state,
 * then calls `done`. */
void meta_node_drain(struct meta_node *n, void (*done)(void *arg), void *arg);

/* Answers every request under way with ERR_SHUTDOWN, cancels calls, stops timers.  Before rpc_close;
 * what the stores and workers still have under way must end (or be forgotten by a crash) before
 * meta_node_free(). */
void meta_node_stop(struct meta_node *n);
/* Stopped, and no callback of a store or worker is to come. */
bool meta_node_idle(const struct meta_node *n);
/* After rpc_close() has finished, when idle (or when a crash has forgotten what was under way). */
void meta_node_free(struct meta_node *n);

/* Every partition runs, knows a leader and applies.  *ret_reason (may be NULL) says what is missing. */
bool meta_node_ready(struct meta_node *n, struct buf *ret_reason);

/* ---- what is going on, for metrics, the simulator's checkers and tests ---- */

struct meta_partition_info {
    uint32_t partition;
    bool running, quarantined, leader, lease_valid, asleep;
    const char *leader_id; /* "" unknown */
    uint64_t term, noop, first, last, synced, commit, visible, applied;
    uint64_t log_bytes, proposals, reads, deletions, outcomes, interim;
    unsigned witnesses_attached, witnesses_needed;
};
size_t meta_node_partition_count(const struct meta_node *n);
/* i < meta_node_partition_count(). */
void meta_node_partition_info(struct meta_node *n, size_t i, struct meta_partition_info *ret);

/* Storage nodes and placement groups, as the root's leader sees them; zeros on any other node. */
struct meta_placement_info {
    unsigned nodes_up, nodes_down, nodes_lost;
    unsigned changing; /* groups whose members change now */
    unsigned planned;  /* groups whose members are to change next */
    unsigned stuck;    /* groups with a lost or draining member for whom there is no place */
};
void meta_node_placement_info(struct meta_node *n, struct meta_placement_info *ret);

struct meta_stats {
    uint64_t proposals, proposals_refused, proposals_dropped, entries_applied, bytes_applied;
    uint64_t reads_lease, reads_round, reads_retried, lists;
    uint64_t elections_won, leaderships_lost, transfers;
    uint64_t stream_opens, stream_appends, stream_failures, stream_acks, witness_reports;
    uint64_t fell_asleep, woken, peers_lost;
    uint64_t leases_granted, leases_refused, witness_deaths, registrations;
    uint64_t snapshots_sent, snapshots_installed, snapshot_bytes_sent;
    uint64_t batches_sent, messages_sent, batches_received, messages_received, messages_refused;
    uint64_t compactions, state_flushes, blobs_deleted, deletion_rounds, interim_claims;
    uint64_t log_batches, log_writes, log_bytes;
};
const struct meta_stats *meta_node_stats(struct meta_node *n);
