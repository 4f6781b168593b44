#pragma once
/* The inside of the Raft core, shared by its files:
 *   raft.c            life, getters, the step's dispatch, writes, messages held until durable
 *   raft_election.c   timers, pre-vote, vote, roles
 *   raft_replicate.c  a leader's side of the log: progress of peers, appends, commit
 *   raft_follow.c     a follower's side: appends, heartbeats, snapshots
 *   raft_read.c       rounds, leases, reads, leadership transfer
 *   raft_sleep.c      idle groups sleep, and what wakes them
 *   raft_status.c     getters and invariants
 *   raft_config.c     quorums;  raft_tail.c  terms and sizes of the log */
#include "metanode/raft/raft.h"
#include "metanode/raft/raft_tail.h"

#define RAFT_NUMBER_MAX (1ull << 62) /* terms and indexes above cannot be, and must not wrap */
#define RAFT_HELD_MAX 48    /* messages that wait for a write; more are dropped, as a network may */
#define RAFT_ROUNDS_KEPT 64 /* rounds whose send time is remembered */
#define RAFT_READ_ROUNDS_MAX 4 /* rounds under way beyond which a read waits for the next one */

enum raft_vote_state { RAFT_VOTE_OPEN, RAFT_VOTE_GRANTED, RAFT_VOTE_REFUSED };

/*            accepted            rejected, unreachable
 *   PROBE -----------> REPLICATE --------------------> PROBE
 *     |  ^                |  what it needs is compacted
 *     v  | stream ended   v
 *   SNAPSHOT <------------+
 * PROBE: one append at a time, until its answer or the next heartbeat's.  REPLICATE: a window of
 * appends, `next` runs ahead of the answers.  SNAPSHOT: nothing until the stream has ended. */
enum raft_peer_state { RAFT_PEER_PROBE, RAFT_PEER_REPLICATE, RAFT_PEER_SNAPSHOT };

struct raft_inflight {
    uint64_t last_index, bytes;
};

struct raft_progress {
    uint64_t id;
    enum raft_vote_state vote;
    enum raft_peer_state state;
    uint64_t match, next;
    uint64_t round_acked;
    uint64_t progress_ns; /* when match last grew, a probe left, the window stopped being empty */
    bool active;          /* heard of since the last quorum check */
    bool active_before;   /* in the time before that */
    bool paused;          /* PROBE: an append is under way, with entries up to probe_last */
    uint64_t probe_last;
    bool nudge;           /* REPLICATE: ask with an empty append where the peer stands */
    uint64_t slept_round; /* the last round to which it answered that it sleeps */
    uint32_t inflight_first, inflight_count;
    uint64_t inflight_bytes;
    struct raft_inflight inflight[RAFT_INFLIGHT_MAX];
};

struct raft_pending_read {
    uint64_t ctx, commit, visible;
    uint64_t round; /* this one or a later one must be answered by a quorum */
};

struct raft_held {
    uint64_t seq;
    struct raft_message message;
};

struct raft {
    struct raft_options o;
    struct raft_config config;

    /* Hard state, and the role. */
    uint64_t term, vote;
    enum raft_role role;
    uint64_t leader;
    bool started;

    /* Log. */
    struct raft_tail tail;
    uint64_t commit, visible, applied;
    uint64_t visible_learnt; /* follower: what the current leader said; may be above commit */

    /* Durability.  `seq` numbers writes; each belongs to one step. */
    uint64_t seq, synced_seq;
    uint64_t hard_state_seq; /* the write that carries the current term and vote */
    uint64_t truncate_seq;   /* the last write that removed entries: what completed before it says
                                nothing about the entries that are at those indexes now */
    uint64_t synced_index;
    struct raft_held held[RAFT_HELD_MAX];
    uint32_t held_count;

    /* Follower. */
    uint64_t proven;   /* up to here the log is known to agree with the current leader's */
    bool ack_due;      /* the leader has not been told of all of it, because it is not synced */
    uint64_t ack_sent; /* what it was told in this term */

    /* Elections.  Until `promise_ns` this voter elects nobody: it told a leader, in a lease round
     * or before a restart, that it would not.  A promise outlives a change of term. */
    uint64_t promise_ns, election_deadline_ns;
    bool campaign_transfer; /* candidate: the leader itself asked for it */
    enum raft_vote_state own_vote;

    /* Leader. */
    struct raft_progress peers[RAFT_MEMBERS_MAX];
    uint32_t peer_count;
    uint64_t term_start;
    uint64_t heartbeat_due_ns, quorum_check_ns;
    uint64_t transferee, transfer_deadline_ns;
    bool transfer_told; /* the TIMEOUT_NOW is out */

    /* Rounds, leases, reads. */
    uint64_t round, round_done; /* last one sent; last one that a quorum answered */
    uint64_t round_sent_ns[RAFT_ROUNDS_KEPT];
    bool lease_started, lease_over; /* over: a TIMEOUT_NOW was sent in this term */
    uint64_t lease_start_ns;
    struct raft_pending_read reads[RAFT_READS_MAX]; /* ring */
    uint32_t read_first, read_count;

    /* Sleep. */
    bool asleep;
    bool quiet;            /* leader: the driver has nothing under way */
    uint64_t busy_ns;      /* leader: when the group was last not idle */
    uint64_t drowsy_round; /* leader: rounds from this one on ask the followers to sleep; 0: none */

    /* The step under way. */
    const struct raft_event *ev;
    struct raft_effects *fx;
};

/* raft.c */
struct raft_write *raft_write_open(struct raft *r); /* this step's write, numbered on first use */
void raft_hard_state_changed(struct raft *r);
void raft_send(struct raft *r, struct raft_message m); /* fills from and, if 0, term; may hold it */
bool raft_messages_full(const struct raft *r);
void raft_commit_to(struct raft *r, uint64_t index);
bool raft_self_is_voter(const struct raft *r);
uint64_t raft_counted_index(const struct raft *r); /* how far this replica's own log counts */
struct raft_progress *raft_progress_of(struct raft *r, uint64_t id); /* NULL: none */
void raft_peers_rebuild(struct raft *r);

/* raft_election.c */
void raft_election_deadline_reset(struct raft *r);
void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader);
void raft_campaign(struct raft *r, bool transfer);
void raft_election_tick(struct raft *r);
void raft_own_vote_synced(struct raft *r);
void raft_on_vote(struct raft *r, const struct raft_message *m);
void raft_on_vote_reply(struct raft *r, const struct raft_message *m);
void raft_on_pre_vote(struct raft *r, const struct raft_message *m);
void raft_on_pre_vote_reply(struct raft *r, const struct raft_message *m);

/* raft_replicate.c */
void raft_leader_start(struct raft *r);
void raft_leader_tick(struct raft *r);
int raft_propose(struct raft *r);
void raft_maybe_commit(struct raft *r);
void raft_pump(struct raft *r); /* sends what the windows allow */
int raft_on_append_reply(struct raft *r, const struct raft_message *m);
int raft_on_heartbeat_reply(struct raft *r, const struct raft_message *m);
void raft_on_unreachable(struct raft *r, uint64_t id);
void raft_on_snapshot_sent(struct raft *r);

/* raft_follow.c */
int raft_on_append(struct raft *r, const struct raft_message *m);
int raft_on_heartbeat(struct raft *r, const struct raft_message *m);
int raft_on_snapshot_offered(struct raft *r);
int raft_on_snapshot_installed(struct raft *r);
void raft_ack_flush(struct raft *r);

/* raft_read.c */
void raft_round_start(struct raft *r);
void raft_round_advance(struct raft *r);
int raft_on_read(struct raft *r);
void raft_reads_drop(struct raft *r);
int raft_on_transfer(struct raft *r);
void raft_transfer_advance(struct raft *r);
void raft_on_timeout_now(struct raft *r, const struct raft_message *m);

/* raft_sleep.c */
void raft_sleep_init(struct raft *r); /* of a new leader */
void raft_rouse(struct raft *r);      /* the group is not idle */
void raft_rouse_by_event(struct raft *r);
void raft_rouse_by_message(struct raft *r, const struct raft_message *m);
void raft_drowse(struct raft *r); /* leader, before a heartbeat: may it ask to sleep? */
void raft_leader_sleep(struct raft *r);
void raft_follower_sleep(struct raft *r, const struct raft_message *m);
