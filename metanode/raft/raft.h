#pragma once
/* Raft for one group: a pure state machine, step(event) -> effects.
 *
 * It has no clock, random source, threads or I/O: monotonic time and a random number come in with
 * each event, what is to be done comes out in `struct raft_effects`.  It holds no entry data, only
 * terms (as runs) and sizes; the driver keeps the data (metanode/io/raft_log.h).
 *
 * What the caller does, in this order:
 *  1. raft_new() with the durable hard state, compaction point and configuration; raft_restore()
 *     once per stored entry, in order; raft_start().
 *  2. For each event: raft_step(), then carry out the effects in the order of the struct's fields:
 *     a. `write`: hand hard state, reset, truncation and entries to the log store as ONE atomic
 *        write.  Writes of a group reach the disk in the order of `seq`.  Truncated entries
 *        are gone for readers of the log at once.  For a follower the entries are a part of the
 *        message just stepped; for a leader they are what was just proposed (or the no-op, which
 *        has no data).
 *     b. `messages`: send them now, before the write is durable; whatever depends on a write is
 *        held inside until RAFT_EV_SYNCED.  RAFT_APPEND: fetch entries [index + 1, index +
 *        entry_count] from the log; if one is gone (compacted meanwhile), drop the message.
 *     c. role, commit, visible, reads, snapshot requests, in any order.
 *     If `more` is set, step RAFT_EV_TICK again with the same time: the message array was full.
 *     Any step may send the replica to sleep or wake it: raft_is_asleep(), raft_next_deadline().
 *  3. When a write is synced: RAFT_EV_SYNCED with the same (seq, last_index, last_term).  A later
 *     write's completion covers the earlier ones.  A failed write stops the node: never step again.
 *  4. Step RAFT_EV_TICK at raft_next_deadline() at the latest.  Deadlines of heartbeats fall on
 *     multiples of the interval, so that those of all groups can share one frame.
 *  5. raft_set_applied() as the state machine advances (back-pressure), raft_set_visible() as
 *     witnesses acknowledge, raft_compact() below what is durably applied.
 *  6. Idle groups sleep (raft_sleep.c), if sleep_after_ns says so: raft_set_quiet() while the
 * leader's driver has nothing under way; `heard_ns` with each event of a sleeping follower; and
 *     RAFT_EV_NODE_LOST to every replica when a node has not been heard of for an election timeout,
 *     or is another process than before.  Without the latter a follower might sleep for ever.
 * The state machine may apply what is committed but not yet synced here: after a crash its applied
 * index can then be above the log's last.  Everything up to it is committed, so the driver resets
 * the log to (applied index, applied term) before raft_new(), as after a snapshot; if the applied
 * term is above the hard state's, the same write sets the hard state to (applied term, no vote),
 * which nobody has heard of either.
 *
 * Messages may be lost, duplicated, reordered, delayed for ever.  What they say is checked; nothing
 * in a message makes a CHECK fail.
 *
 * Ref: Ongaro's thesis ("thesis"), DESIGN section 3.  Membership change: the configuration type,
 * the quorum rules and the entry kind have room for it; proposing RAFT_ENTRY_CONFIG is refused. */
#include "common/base/slice.h"

#define RAFT_MEMBERS_MAX 16         /* voters, learners and outgoing voters together */
#define RAFT_READS_MAX 256          /* reads that wait for a round */
#define RAFT_EFFECT_MESSAGES_MAX 96 /* per step */
#define RAFT_INFLIGHT_MAX 64        /* append messages under way to one peer */

enum raft_role {
    RAFT_FOLLOWER,
    RAFT_PRE_CANDIDATE,
    RAFT_CANDIDATE,
    RAFT_LEADER,
};

/* Numbers are on disk and on the wire. */
enum raft_entry_kind {
    RAFT_ENTRY_NORMAL = 0,
    RAFT_ENTRY_NOOP = 1,    /* start of a term; no data */
    RAFT_ENTRY_CONTROL = 2, /* witness attach, detach, floor, register, death */
    RAFT_ENTRY_CONFIG = 3,  /* reserved: membership */
};

/* As in proto/raft.proto (equal numbers). */
enum raft_message_type {
    RAFT_VOTE = 0,
    RAFT_VOTE_REPLY = 1,
    RAFT_PRE_VOTE = 2,
    RAFT_PRE_VOTE_REPLY = 3,
    RAFT_APPEND = 4,
    RAFT_APPEND_REPLY = 5,
    RAFT_HEARTBEAT = 6,
    RAFT_HEARTBEAT_REPLY = 7,
    RAFT_TIMEOUT_NOW = 8,
};

/* Who is in the group.  A change is joint (thesis 4.3): while `old_voter_count` is not 0, a
 * decision needs a quorum of both.  Ids are stable, not 0, and never used again. */
struct raft_config {
    uint64_t voters[RAFT_MEMBERS_MAX];
    uint64_t old_voters[RAFT_MEMBERS_MAX];
    uint64_t learners[RAFT_MEMBERS_MAX];
    uint32_t voter_count, old_voter_count, learner_count;
};

/* OK; ERR_CONFIG (no voter, a zero or repeated id, a learner that is a voter, too many). */
int raft_config_check(const struct raft_config *c);
bool raft_config_is_voter(const struct raft_config *c, uint64_t id);
bool raft_config_is_member(const struct raft_config *c, uint64_t id);
/* The largest value that a quorum has reached: value(ctx, voter) of each voter, sorted; for a joint
 * configuration the smaller one of both quorums.  Votes, commit, rounds and check-quorum all count
 * through this one function. */
uint64_t raft_config_quorum(const struct raft_config *c, uint64_t (*value)(void *ctx, uint64_t id),
                            void *ctx);

struct raft_entry_meta {
    uint64_t term;
    enum raft_entry_kind kind;
    uint32_t bytes; /* of data */
};

/* struct RaftMessage in plain C (group and epoch are the driver's: it checks them and knows them).
 * Received appends: entries[0] has index `index + 1`; the core reads them during the step only.
 * Appends to send: entries is NULL, fetch them. */
struct raft_message {
    enum raft_message_type type;
    uint64_t from, to;
    uint64_t term;
    uint64_t index;    /* append: previous index; votes: last index; append reply: matched index,
                          or the rejected previous index; heartbeat: an index known to match */
    uint64_t log_term; /* the term of the entry at `index`; rejected append: term at `hint` */
    uint64_t commit;
    uint64_t visible;
    uint64_t round;
    bool reject;
    uint64_t hint; /* rejected append: the follower's log may agree up to here */
    uint32_t entry_count;
    uint64_t entry_bytes; /* data bytes of the entries */
    bool campaign_transfer;
    bool sleep; /* heartbeat: all is said, fall asleep; heartbeat reply: fell asleep */
    const struct raft_entry_meta *entries;
};

struct raft_options {
    uint64_t id;
    struct raft_config config;
    uint64_t election_timeout_ns;   /* a voter's promise; elections start in [1, 2) of it */
    uint64_t heartbeat_interval_ns; /* at most a third of the election timeout */
    uint64_t lease_ns;              /* lease * (1 + drift) < election timeout * (1 - drift) */
    uint32_t drift_ppm;             /* how far the rate of any clock may be off, below 500,000 */
    bool lease_enabled;             /* off: every read goes through a ReadIndex round */
    uint64_t sleep_after_ns;        /* a group that is idle for so long sleeps; 0: never */
    /* Bounds; 0 takes the default in brackets. */
    uint32_t append_entries_max;      /* per message [1024] */
    uint32_t append_bytes_max;        /* per message, at least one entry always goes [1 MiB] */
    uint32_t inflight_messages_max;   /* per peer [32], at most RAFT_INFLIGHT_MAX */
    uint64_t inflight_bytes_max;      /* per peer [8 MiB] */
    uint64_t uncommitted_bytes_max;   /* (commit, last] on a leader [32 MiB] */
    uint32_t uncommitted_entries_max; /* [65,536] */
    uint64_t unapplied_bytes_max;     /* (applied, commit] on a leader [64 MiB] */
};

/* What was found on disk. */
struct raft_durable {
    uint64_t term, vote;                  /* hard state; zeros for a new group */
    uint64_t compact_index, compact_term; /* the log starts after it */
    uint64_t applied; /* durably; committed and visible already; 0 or >= compact_index */
};

enum raft_event_type {
    RAFT_EV_TICK,          /* time has passed */
    RAFT_EV_MESSAGE,       /* message */
    RAFT_EV_PROPOSE,       /* propose: entries become the log's next, all or none */
    RAFT_EV_SYNCED,        /* synced */
    RAFT_EV_READ,          /* read: a read state follows, in this step's effects or a later one's */
    RAFT_EV_TRANSFER,      /* peer: hand leadership over to it */
    RAFT_EV_UNREACHABLE,   /* peer: what was under way to it is probably lost */
    RAFT_EV_SNAPSHOT_SENT, /* snapshot: the stream to `peer` ended; ok, index */
    RAFT_EV_SNAPSHOT_OFFERED,   /* snapshot: `peer` streams one to us (step each chunk: it is a sign
                                   of life of the leader); peer, message term, index, log_term */
    RAFT_EV_SNAPSHOT_INSTALLED, /* snapshot: the state machine is durably at index, log_term */
    RAFT_EV_NODE_LOST, /* peer: its node is silent for an election timeout, or began a new life */
    RAFT_EV_WAKE,      /* the driver has something to do: a leader does not sleep on */
};

struct raft_event {
    enum raft_event_type type;
    uint64_t now_ns;   /* monotonic; never goes back */
    uint64_t random;   /* fresh with each event */
    uint64_t heard_ns; /* sleeping follower: when its leader's node was last heard of; 0: now */
    union {
        struct raft_message message;
        struct {
            const struct raft_entry_meta *entries; /* the core sets their terms */
            uint32_t count;
        } propose;
        struct {
            uint64_t seq, last_index, last_term; /* as in the write */
        } synced;
        struct {
            uint64_t ctx; /* the driver's, given back with the read state */
        } read;
        uint64_t peer;
        struct {
            uint64_t peer, term, index, log_term;
            bool ok;
            const struct raft_config *config; /* installed: the header's; NULL keeps it */
        } snapshot;
    };
};

/* One atomic write to the log store: hard state, then reset or truncation, then entries. */
struct raft_write {
    bool present;
    uint64_t seq; /* 1, 2, ... within one life of the process */
    bool has_hard_state;
    uint64_t term, vote;
    uint64_t reset_index, reset_term; /* not 0: the log is emptied; it starts after this */
    uint64_t truncate_from;           /* not 0: entries with this index and above are removed */
    /* Entries [first_index, first_index + entry_count).
     * Follower: message.entries[entry_offset...].
     * Leader: the proposal's, or a no-op without data (`noop`), with term `term_of_entries`. */
    uint64_t first_index;
    uint32_t entry_count, entry_offset;
    bool noop;
    uint64_t term_of_entries;       /* leader only; a follower's entries keep their own */
    uint64_t last_index, last_term; /* of the log after this write; echo them when synced */
};

enum raft_read_status { RAFT_READ_READY, RAFT_READ_DROPPED /* leadership lost */ };

struct raft_read {
    uint64_t ctx;
    enum raft_read_status status;
    uint64_t commit, visible; /* as they stood when the read was asked for */
};

/* Owned by the caller, reusable for all groups; each step starts by clearing it. */
struct raft_effects {
    struct raft_write write;
    struct raft_message messages[RAFT_EFFECT_MESSAGES_MAX];
    uint32_t message_count;
    bool role_changed;    /* role, term or leader did: see the getters */
    bool commit_changed;  /* raft_commit() grew */
    bool visible_changed; /* raft_visible() grew */
    struct raft_read reads[RAFT_READS_MAX];
    uint32_t read_count;
    /* Each needs what was compacted: stream it a snapshot, then step SNAPSHOT_SENT, however it
     * ended. */
    uint64_t snapshot_peers[RAFT_MEMBERS_MAX];
    uint32_t snapshot_peer_count;
    bool more;
};

struct raft;

/* OK; ERR_CONFIG (bounds that do not hold together, id not a member); ERR_INVAL (durable state that
 * contradicts itself); ERR_NOMEM.  Owns: the caller owns *ret until raft_free(). */
int raft_new(const struct raft_options *o, const struct raft_durable *d, struct raft **ret);
void raft_free(struct raft *r);
/* The next stored entry (compact_index + 1, ...).  OK; ERR_NOMEM; ERR_CORRUPT (term runs backwards
 * or is above the hard state's). */
int raft_restore(struct raft *r, uint64_t term, uint32_t bytes);
/* Once, after the last restore.  A voter that has ever been part of a term may have answered a
 * lease round just before it stopped: it gives no vote for one election timeout.
 * OK; ERR_CORRUPT (applied is above the log's end). */
int raft_start(struct raft *r, uint64_t now_ns, uint64_t random);

/* One transition.  Effects are valid for every return value.
 * Returns: OK.  PROPOSE: ERR_NOT_LEADER; ERR_OVERLOAD (a bound on uncommitted or unapplied is
 * reached); ERR_NOT_READY (a transfer is under way); ERR_UNIMPLEMENTED (CONFIG); ERR_INVAL;
 * ERR_NOMEM: nothing was appended.  READ: ERR_NOT_LEADER; ERR_NOT_READY (the no-op is not committed
 * and visible yet); ERR_LIMIT.  MESSAGE: ERR_PROTO (ignored; impossible content); ERR_NOMEM
 * (ignored); ERR_CORRUPT (it contradicts what is committed here: quarantine the replica). TRANSFER:
 * ERR_NOT_LEADER; ERR_INVAL (not another voter); ERR_CONFLICT (one is under way). SNAPSHOT_OFFERED:
 * OK (wanted, go on); ERR_EXISTS (had already; the leader is told); ERR_CONFLICT (not from the
 * current leader).  SNAPSHOT_INSTALLED: OK; ERR_EXISTS (the log had it: nothing changed). */
int raft_step(struct raft *r, const struct raft_event *ev, struct raft_effects *fx);

/* When RAFT_EV_TICK is due at the latest; UINT64_MAX: never (asleep, or a learner). */
uint64_t raft_next_deadline(const struct raft *r);

uint64_t raft_id(const struct raft *r);
enum raft_role raft_role(const struct raft *r);
uint64_t raft_term(const struct raft *r);
uint64_t raft_leader(const struct raft *r); /* 0: unknown */
uint64_t raft_commit(const struct raft *r);
uint64_t raft_last_index(const struct raft *r);
uint64_t raft_last_term(const struct raft *r);
uint64_t raft_synced_index(const struct raft *r);
/* Entries were removed here and the disk may still hold them. */
bool raft_is_truncating(const struct raft *r);
uint64_t raft_compact_index(const struct raft *r);
uint64_t raft_log_bytes(const struct raft *r);  /* data bytes after the compaction point */
uint64_t raft_term_start(const struct raft *r); /* leader: index of its no-op; else 0 */
uint64_t raft_transferee(const struct raft *r); /* 0: no transfer under way */
/* The term of the entry at index; false when it is not in the log (the compaction point itself is).
 */
bool raft_term_at(const struct raft *r, uint64_t index, uint64_t *ret);
const struct raft_config *raft_config(const struct raft *r);

struct raft_peer_status {
    uint64_t match, next, inflight_bytes;
    uint32_t inflight_messages;
    bool probing, snapshotting;
    bool active; /* heard of within the last one to two election timeouts, or slept when it was */
};
/* Leader only; false: no such peer. */
bool raft_peer(const struct raft *r, uint64_t id, struct raft_peer_status *ret);

/* This replica leads, has committed and made visible an entry of its term, and no other can have
 * been elected at `now_ns`.  A read checks it again after it has read (a thread can be paused
 * between). Once a TIMEOUT_NOW has been sent it stays false for the rest of the term, because that
 * message can arrive at any later time. */
bool raft_lease_valid(const struct raft *r, uint64_t now_ns);
void raft_set_lease_enabled(struct raft *r, bool enabled);

/* Neither heartbeats nor election timers until something wakes it; everything in its log is synced,
 * committed, visible and applied, and, at the leader, on every peer. */
bool raft_is_asleep(const struct raft *r);
/* A leader's driver has nothing under way that it wants the group awake for.  False until set, in
 * each term; setting it to false does not wake (RAFT_EV_WAKE does). */
void raft_set_quiet(struct raft *r, bool quiet);

/* The visible index (DESIGN section 4): set by the leader's driver, learnt by followers with its
 * messages; never above the commit index, never falling. */
uint64_t raft_visible(const struct raft *r);
/* OK; ERR_NOT_LEADER; ERR_INVAL (above commit).  A smaller value than before changes nothing. */
int raft_set_visible(struct raft *r, uint64_t index);

uint64_t raft_applied(const struct raft *r);
void raft_set_applied(struct raft *r, uint64_t index); /* monotonic, at most visible */

/* The log store drops entries up to index: never above what is applied and synced here.  A peer
 * that needs them gets a snapshot.  OK; ERR_INVAL. */
int raft_compact(struct raft *r, uint64_t index);

/* Invariants that hold between steps; a CHECK fails otherwise.  For tests and the simulator. */
void raft_check(const struct raft *r);
