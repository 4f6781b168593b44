#pragma once
/* The inside of a metanode, shared by the files of this folder:
 *   node.c         life, timers, the turn, drain, readiness
 *   topology.c     which partitions this node holds, and who else does
 *   store_id.c     a node that lost its data is noticed
 *   transport.c    Raft messages to and from the other metanodes, batched per peer and turn
 *   replica.c      one Raft group: restart, steps and their effects, apply
 *   propose.c      commands in, outcomes out
 *   read.c         linearizable reads; lists on worker threads
 *   stream.c       log entries to the witnesses
 *   bootstrap.c    the first content of the root
 *   placement.c    storage nodes' states, placement groups and their changes (leader of the root);
 *                  placement_view.c, placement_serve.c, placement.h
 *   root.c         leases, registrations and deaths of witnesses (leader of the root)
 *   witness_set.c  which witnesses live, as every metanode learns it; Attach and Detach
 *   snapshot_send.c, snapshot_receive.c
 *   truncate.c     flushing the state, truncating the logs
 *   deletion.c     the deletion queue
 *   balance.c      leadership goes back to the preferred replica
 *   sleep.c        idle groups sleep; which other metanodes are alive
 *   status.c       status and cluster map
 *
 * A turn: events only mark a replica dirty; on the loop's next turn node.c runs replica_turn() for
 * each dirty replica in the order of partitions: propose, make visible, apply, answer, stream. */
#include "common/base/arena.h"
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/mutant.h"
#include "common/obs/log.h"
#include "metanode/index/index.h"
#include "metanode/io/raft_log.h"
#include "metanode/op/control.h"
#include "metanode/op/node.h"
#include "metanode/raft/raft.h"
#include "metanode/visible/visible.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"
#include "proto/witness.pb-c.h"

#define META_PEERS_MAX 64
#define META_REPLICAS_MAX 3      /* of a partition */
#define META_PARTITIONS_MAX 1024 /* on one node */
#define OUTBOX_MESSAGES_MAX 256
#define OUTBOX_BYTES_MAX (4u << 20)
#define BATCH_ENTRIES_MAX 1024 /* of one append; raft_options.append_entries_max */
#define SNAPSHOT_FILES KV_FAMILY_COUNT

struct replica;

/* ---- transport.c ---- */

struct out_message {
    uint32_t group;
    uint64_t epoch;
    struct raft_message m;
};

struct meta_peer {
    struct meta_node *node;
    char *node_id, *addr;
    uint64_t raft_id;
    struct rpc_peer *rpc;
    struct out_message *out;
    unsigned out_count;
    struct payload payload[FRAME_PAYLOAD_SLICES_MAX];
    unsigned payload_count;
    uint64_t payload_bytes;
    bool refused; /* a cast was refused: what was under way is probably lost */
    uint64_t sent_ns; /* a batch was */
    bool shares;  /* a partition with us: we hear of each other */
    bool lost;    /* silent for an election timeout */
    uint64_t life, heard_ns; /* of its process, as last heard of; 0: never, or it has none */
    struct id128 store; /* of its log, as first seen; zero: never */
    struct kv_write_req store_write;
    bool store_writing, store_refused;
};

/* Queues a message, with the entries that it carries; the turn's end sends it. */
void transport_send(struct replica *r, const struct raft_message *m);
void transport_flush(struct meta_node *n);
void transport_beat(struct meta_peer *p); /* a batch, if only to say that we live */
void transport_tick(struct meta_node *n);
void transport_batch(void *arg, struct rpc_request *req); /* handler of raft.batch */
struct meta_peer *transport_peer(struct meta_node *n, uint64_t raft_id);

/* ---- store_id.c ---- */

struct slice store_id_key(void);
/* Ours and those of the peers; *ret_new: ours was drawn and is not stored. */
int store_id_load(struct meta_node *n, bool *ret_new);
/* May the batch be listened to?  If it says that we are not who we were, the node fails. */
bool store_id_admits(struct meta_node *n, const char *node_id, const Cairn__RaftBatch *batch);

/* ---- propose.c ---- */

#define PROPOSE_ENTRIES_MAX 512 /* in one step */
#define TAIL_ENTRIES_MAX 32768u /* behind the applied index, beyond which clients are held back */
#define TAIL_HEADROOM_ENTRIES 32768u
#define TAIL_HEADROOM_BYTES (16u << 20)
#define PROPOSE_BYTES_MAX (1u << 20)

struct proposal {
    struct list node;
    struct rpc_request *req;                       /* NULL: the node's own */
    void (*done)(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg);
    void *arg;
    struct raft_log_entry entry;
    uint64_t bytes;
};

struct propose_state {
    struct list queued;  /* not in the log yet */
    struct list waiting; /* in the log, by index */
    uint32_t stepping;   /* of the first queued: just being handed to the core */
    uint32_t count;
    uint64_t bytes;
    uint64_t time_ms;    /* of the newest command queued */
};

void propose_init(struct replica *r);
void propose_serve(void *arg, struct rpc_request *req);
/* The node's own command; `done` (may be NULL) comes once, never inside the call.  The command's
 * epoch and time are set here.  Returns: OK; ERR_NOT_LEADER; ERR_OVERLOAD; what index_command_check
 * says; ERR_NOMEM. */
int propose_own(struct replica *r, Cairn__Command *command,
                void (*done)(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg),
                void *arg);
/* A control entry, at once.  Returns: OK, *ret_index (may be NULL) is its index; ERR_NOT_LEADER ... */
int propose_control(struct replica *r, struct control_entry *e, uint64_t *ret_index);
void propose_turn(struct replica *r);
/* The entry at `index` was applied; outcome NULL: it was no command. */
void propose_applied(struct replica *r, uint64_t index, uint64_t term, const Cairn__Outcome *outcome);
bool propose_is_waiting(const struct replica *r, uint64_t index);
/* Leadership was lost: what is in the log has an unknown outcome. */
void propose_lost(struct replica *r, int queued_err);
uint64_t propose_time_ms(const struct replica *r);

/* ---- read.c ---- */

#define READ_CTX_ROOT UINT64_MAX /* a round that root.c asked for */

struct read_state {
    struct list asking;   /* for the next round */
    struct list round;    /* for rounds under way, by ctx */
    struct list applying; /* until applied reaches what was visible */
    struct list working;  /* on a worker thread */
    struct list proposing; /* until what it found is condemned */
    uint32_t count;
    uint64_t ctx;
    bool recent; /* one came in since the last tick */
};

void read_init(struct replica *r);
void read_serve(void *arg, struct rpc_request *req); /* all reading methods */
void read_turn(struct replica *r);
void read_round_ended(struct replica *r, const struct raft_read *read);
void read_fail_all(struct replica *r, int err);
void read_free(struct replica *r);

/* ---- stream.c ---- */

struct stream_call {
    struct rpc_call call;
    struct replica *replica;
    struct list node;
    struct visible_message m;
};

/* One witness, as seen by one replica that leads. */
struct stream {
    struct id128 incarnation; /* zero: free */
    uint64_t retry_ns;        /* not before */
    uint32_t failures;        /* in a row */
    uint64_t acked;           /* when last looked at */
    uint64_t blocked_ns;      /* since when it holds writes back; 0: it does not */
    uint64_t reported_ns;
    unsigned reports;
};

struct stream_state {
    struct stream streams[VISIBLE_SLOTS_MAX];
    struct list calls;
};

void stream_init(struct replica *r);
void stream_turn(struct replica *r, bool with_commit);
/* With the news of commit; reports who blocks.  stalled_ns: this process did not run for so long. */
void stream_tick(struct replica *r, uint64_t stalled_ns);
void stream_stop(struct replica *r); /* cancels calls */
void stream_free(struct replica *r);

/* ---- root.c ---- */

struct lease_wait {
    struct list node;
    struct rpc_request *req;
    struct id128 incarnation;
    uint64_t round; /* granted when this round of ours has ended; 0: waits for its Register */
};

struct root_state {
    struct list waits;
    unsigned wait_count;
    uint64_t round;       /* the newest one begun */
    bool round_running;
    uint64_t round_index; /* it ends when this entry of ours is committed; 0: by a ReadIndex round */
    uint64_t may_bury_ns; /* a new leader declares no one dead before */
    bool bury_refused;    /* no Death is proposed before the next tick */
    uint64_t pushed_version;
    uint64_t bootstrap_ns; /* not tried again before */
    bool bootstrapping;
    struct list pushes;
};

void root_init(struct replica *r);
void root_elected(struct replica *r);
void root_deposed(struct replica *r);
void root_committed(struct replica *r, bool registry_changed);
void root_round_ended(struct replica *r, bool ok);
void root_turn(struct replica *r);
void root_tick(struct replica *r, uint64_t stalled_ns);
void root_stop(struct replica *r);
void root_free(struct replica *r);
/* Some leader cannot reach it: its lease is renewed no more. */
void root_report(struct meta_node *n, struct id128 incarnation);
void root_serve_lease(void *arg, struct rpc_request *req);
void root_serve_report(void *arg, struct rpc_request *req);
void root_serve_witness_set(void *arg, struct rpc_request *req);

/* bootstrap.c: proposes the first content of the root: nodes, partitions, placement groups, root user,
 * from the cluster file and the root credentials.  OK: `done` comes once. */
int bootstrap_propose(struct replica *r, void (*done)(struct replica *r, int err,
                                                      const Cairn__Outcome *outcome, void *arg));

/* ---- witness_set.c ---- */

struct witness_set {
    uint64_t version;
    unsigned live_count;
    struct witness_ref live[REGISTRY_MAX];
    unsigned dead_count; /* newest REGISTRY_DEAD_MAX */
    struct id128 *dead;
    bool asking;
    uint64_t ask_ns;
    unsigned ask_peer;
    struct rpc_call call;
};

int witness_set_init(struct meta_node *n);
void witness_set_learn(struct meta_node *n, const Cairn__WitnessSet *m);
/* The root's replica on this node knows by itself. */
void witness_set_from_registry(struct meta_node *n, const struct registry *g);
bool witness_set_is_dead(const struct meta_node *n, struct id128 incarnation);
void witness_set_tick(struct meta_node *n);
/* Tells visible who is dead, and makes a turn of witness_set_turn() due. */
void witness_set_apply(struct replica *r);
/* A leader attaches the living and detaches the dead. */
void witness_set_turn(struct replica *r);
void witness_set_stop(struct meta_node *n);
/* Where the root's leader is, as far as it is known: a peer (which one may change with `attempt` while
 * it is not known), or NULL when this node leads it. */
struct meta_peer *root_peer(struct meta_node *n, unsigned attempt);

/* ---- snapshots ---- */

struct snapshot_sender;
struct snapshot_receiver;
void snapshot_send(struct replica *r, uint64_t peer);
void snapshot_send_stop(struct replica *r);
void snapshot_send_free(struct replica *r);
void snapshot_receive(void *arg, struct rpc_request *req); /* handler of raft.snapshot_chunk */
/* Of the snapshot that is being installed, until its log write has begun; empty when there is none. */
struct slice snapshot_receive_header(struct replica *r);
void snapshot_receive_stop(struct replica *r);
void snapshot_receive_free(struct replica *r);
void snapshot_path(struct meta_node *n, uint32_t partition, const char *what, unsigned family,
                   char *ret, size_t size);
/* The header of a snapshot that is being installed, in the log store: restart needs it when the state
 * is new already and the log is not. */
void snapshot_pending_key(uint32_t partition, struct buf *ret);

/* ---- interim.c ---- */

struct interim_claims;
/* Handler of meta.interim: hands out segments to be written again as shards. */
void interim_serve(void *arg, struct rpc_request *req);

/* ---- events.c ---- */
struct event_claims;
void event_queues_serve(void *arg, struct rpc_request *req);
void event_claims_free(struct meta_node *n);
void interim_free(struct meta_node *n);

/* ---- deletion.c, balance.c, truncate.c ---- */

struct deletion;
void deletion_tick(struct replica *r);
void deletion_stop(struct replica *r);
void deletion_free(struct replica *r);
void balance_tick(struct replica *r);
/* When it wants the group awake: 0: now; UINT64_MAX: never, leadership is where it belongs. */
uint64_t balance_alarm(const struct replica *r);
void truncate_tick(struct meta_node *n);
void truncate_replica(struct replica *r);

/* ---- sleep.c ---- */

/* Replicas, by their places in the node's table; walked in that order. */
struct replica_set {
    uint64_t words[META_PARTITIONS_MAX / 64];
};

static inline void replica_set_put(struct replica_set *s, size_t slot, bool in)
{
    uint64_t bit = 1ull << (slot % 64);
    s->words[slot / 64] = in ? s->words[slot / 64] | bit : s->words[slot / 64] & ~bit;
}
/* The first member from `slot` on; SIZE_MAX: none. */
size_t replica_set_next(const struct replica_set *s, size_t slot);
#define replica_set_for_each(slot, set)                                                            \
    for (size_t slot = replica_set_next(set, 0); slot != SIZE_MAX;                                 \
         slot = replica_set_next(set, slot + 1))

void sleep_init(struct meta_node *n);
void sleep_start(struct meta_node *n); /* when the replicas are there */
void sleep_stop(struct meta_node *n);
void sleep_tick(struct meta_node *n);
/* The replica has made a step, or ended: it may be asleep now, or awake. */
void sleep_noted(struct replica *r);
/* A sleeping leader wakes. */
void sleep_rouse(struct replica *r);
/* A batch of another metanode has come in. */
void sleep_heard(struct meta_peer *p, uint64_t life);
uint64_t sleep_heard_ns(struct replica *r); /* of the leader's node; 0: never */
/* This node does not lead any more what others may think it leads, without having told them: they
 * are to take it for another. */
void sleep_new_life(struct meta_node *n);

/* ---- placement.c, placement_serve.c ---- */

struct placement;
void placement_elected(struct replica *r);
void placement_tick(struct replica *r, uint64_t stalled_ns);
void placement_stop(struct replica *r, int err); /* answers who waits */
void placement_free(struct replica *r);
void placement_serve_report(void *arg, struct rpc_request *req);
/* The operator's view, by a map that has at least what was applied at `index`.
 * Returns: OK; ERR_NOT_READY; ERR_NOMEM.  Owns: memory of the arena and of the node's map. */
int placement_status(struct replica *r, uint64_t index, struct arena *a,
                     Cairn__ClusterStatusResponse *ret);
void placement_serve_drain(void *arg, struct rpc_request *req);

/* ---- replica.c ---- */

enum replica_state { REPLICA_RUNNING, REPLICA_QUARANTINED };

struct replica_write {
    struct raft_log_write w;
    struct replica *replica;
    struct list node;
    bool first; /* made at the start, without the core */
};

struct replica {
    struct meta_node *node;
    uint32_t partition;
    size_t slot; /* in the node's table */
    const Cairn__PartitionDescriptor *desc; /* of the node's topology */
    enum replica_state state;
    const char *quarantine_reason;

    struct raft *raft;
    struct raft_log *log;
    struct index *index;
    struct visible visible;
    struct control control;

    bool attach_due;
    bool rouse;          /* wake in the next turn, if asleep */
    uint64_t alarm_ns;   /* asleep and leading: wake then */
    bool leading;
    uint64_t lead_term;
    uint64_t led_since_ns;
    uint64_t flushed;    /* applied index that is durable in the state store */
    uint64_t flushing;   /* applied index when the flush under way began */
    unsigned resets;     /* writes under way that reset the log: nothing is applied meanwhile */
    bool installing;     /* a worker replaces our rows: nothing is applied or read meanwhile */
    struct list writes;
    uint64_t tail_bytes; /* data of the log's entries behind the applied index */

    /* A leader whose entries are of the future is not listened to. */
    uint64_t refused_from, refused_term, refused_until_ns;

    struct propose_state propose;
    struct read_state read;
    struct stream_state stream;
    struct root_state root;
    struct snapshot_sender *senders[META_REPLICAS_MAX];
    struct snapshot_receiver *receiver;
    struct deletion *deletion;
    struct placement *placement; /* of the root; NULL: never led */
    uint64_t deletion_due_ns, prune_due_ns, balance_due_ns, balance_ok_ns;
};

int replica_new(struct meta_node *n, const Cairn__PartitionDescriptor *desc, struct replica **ret);
void replica_free(struct replica *r); /* NULL is fine */
void replica_stop(struct replica *r);
/* One event.  now and random are filled in.  entries: of a proposal (term and index are set here) or
 * of a received message.  Returns what raft_step said. */
int replica_step(struct replica *r, struct raft_event *ev, struct raft_log_entry *entries);
void replica_wake(struct replica *r); /* a turn is due */
void replica_turn(struct replica *r);
void replica_quarantine(struct replica *r, int err, const char *reason);
/* Begins behind an installed snapshot: control state and visible from its header. */
int replica_restart_from_header(struct replica *r, struct slice header, uint64_t index);
uint64_t replica_applied(const struct replica *r);
static inline bool replica_runs(const struct replica *r)
{
    return r->state == REPLICA_RUNNING;
}

/* ---- node.c, topology.c, status.c ---- */

struct meta_node {
    struct env *env;
    struct rpc *rpc;
    struct kv *log_kv, *state_kv;
    struct meta_files *files;
    struct meta_config config;
    struct meta_stats stats;
    uint64_t random[2]; /* state of the generator that feeds the cores */

    uint64_t raft_id;
    struct raft_logstore *logs;
    Cairn__ClusterMap *topology; /* partitions as of the first start */
    size_t replica_count;
    struct replica *replicas[META_PARTITIONS_MAX]; /* by partition */
    size_t peer_count;
    struct meta_peer peers[META_PEERS_MAX];

    struct env_timer deadline_timer, turn_timer, tick_timer, fail_timer, beat_timer;
    bool turn_armed;
    uint64_t deadline_ns;
    uint64_t last_tick_ns;
    uint64_t started_ns;
    struct replica_set dirty; /* a turn is due */
    struct replica_set awake; /* run, and do not sleep */
    uint64_t alarm_ns;        /* the first of a sleeping leader */
    uint64_t life, last_beat_ns;
    struct raft_effects fx; /* of the step under way */
    bool stepping;
    /* Entries in passing: read from a log; received; about to be proposed. */
    struct raft_log_entry scratch[BATCH_ENTRIES_MAX];
    struct raft_log_entry received[BATCH_ENTRIES_MAX];
    struct raft_entry_meta received_metas[BATCH_ENTRIES_MAX];
    struct raft_log_entry own[PROPOSE_ENTRIES_MAX];

    struct interim_claims *interim; /* NULL: nobody has asked */
    struct event_claims *events;    /* NULL: nobody has asked */
    struct witness_set witnesses;
    unsigned lists_under_way;
    unsigned snapshots_under_way;
    uint64_t snapshot_paced_ns; /* the next chunk goes no earlier */

    bool flush_running;
    uint64_t flush_due_ns;
    struct kv_flush_req flush;
    struct kv_write_req topology_write;
    bool topology_writing;
    struct id128 store; /* of our log store */

    Cairn__ClusterMap *map; /* newest seen of the root; NULL: none */
    uint64_t map_ns;        /* it is looked at anew then */
    struct rpc_call map_call;
    bool map_asking;
    unsigned map_attempt;

    bool stopped, failed, draining;
    int fail_err;
    const char *fail_what;
    uint64_t drain_until_ns;
    void (*drain_done)(void *arg);
    void *drain_arg;
};

/* Something that the process must not survive. */
void node_fail(struct meta_node *n, int err, const char *what);
struct replica *node_replica(struct meta_node *n, uint32_t partition); /* NULL: not here */
void node_deadline_changed(struct meta_node *n, const struct replica *r);
uint64_t node_random(struct meta_node *n);
static inline uint64_t ms_to_ns(uint32_t ms)
{
    return ms * NS_PER_MS;
}
/* A duration on this clock that no other clock can see as shorter than `ms`. */
uint64_t node_drift_ns(const struct meta_node *n, uint32_t ms);

uint64_t topology_raft_id(const char *node_id);
/* The partitions of the cluster file, or those stored at the first start; stores them then.
 * OK; ERR_CONFIG (another cluster's data); ERR_NOMEM; ERR_IO; ERR_CORRUPT. */
int topology_load(struct meta_node *n);
const Cairn__PartitionDescriptor *topology_partition(const struct meta_node *n, uint32_t id);
const struct cluster_node *topology_node(const struct meta_node *n, const char *node_id);

void status_serve(void *arg, struct rpc_request *req);
void status_serve_map(void *arg, struct rpc_request *req);
void status_map_tick(struct meta_node *n);
/* The newest cluster map that this node can know, NULL: none yet. */
const Cairn__ClusterMap *status_map(struct meta_node *n);
/* The map as of that index of the root's, which is applied here, or of a later one.  NULL: it cannot be had. */
const Cairn__ClusterMap *status_map_at(struct meta_node *n, uint64_t index);
/* Such a map is the answer to meta.cluster_map. */
void status_reply_map(struct rpc_request *req, const Cairn__ClusterMap *map, uint64_t index);
/* Answers with a routing error: who leads, and what covers the range now. */
void status_reply_route(struct rpc_request *req, int err, struct meta_node *n, struct replica *r);
const char *status_leader_id(const struct replica *r); /* "" unknown */
