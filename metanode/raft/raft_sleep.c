/* Idle groups sleep: no heartbeats, no election timers, nothing to do until something happens.
 *
 *               idle for sleep_after_ns            every follower has answered that it sleeps
 *   AWAKE leader -----------------------> DROWSY ------------------------------------> ASLEEP
 *      ^                (its heartbeats say "sleep")  |                                   |
 *      +----- an entry, a read, a transfer, a word that is news, a lost node -------------+
 *
 * A follower falls asleep by such a heartbeat when its own log agrees, to the last entry, and is
 * synced, committed, visible and applied; any other word about the group wakes it.  A group sleeps
 * only as a whole: one that is behind, or down, keeps the others awake.
 *
 * What watches over sleepers is the leader's NODE.  The driver knows when it last heard of it (one
 * small message a heartbeat interval for all groups together), and whether it is the process that
 * it was.  A sleeper that wakes is where it would be had each such word been a heartbeat of the
 * leader, so deaths are noticed as fast as ever.  Words may be lost: a follower that is awake alone
 * asks for votes after its timeout, and that wakes the rest; a leader that is awake alone goes on
 * with heartbeats; a replica that led and does not any more, while its followers sleep, campaigns,
 * and that wakes them too.
 *
 * Nothing here touches safety.  A vote is refused or given as the log, the term and the promise
 * say; sleep only adds refusals.  The lease ends where the last round that a quorum answered said.
 * Ref: docs/decisions/0013-idle-groups.md. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "metanode/raft/raft_internal.h"

/* A follower that has not answered so many rounds may be gone: it is told plainly, not to sleep. */
#define ROUNDS_OPEN_MAX 4

void raft_sleep_init(struct raft *r)
{
    CHECK(!r->asleep);
    r->quiet = false;
    r->busy_ns = r->ev->now_ns;
    r->drowsy_round = 0;
}

void raft_set_quiet(struct raft *r, bool quiet)
{
    if (r->role != RAFT_LEADER || r->asleep)
        return;
    r->quiet = quiet;
    if (!quiet)
        r->drowsy_round = 0;
}

/* ---- waking ---- */

/* As after a heartbeat at `heard_ns`: what the voter promised then, and when it would campaign. */
static void follower_wakes(struct raft *r, uint64_t heard_ns)
{
    uint64_t timeout = r->o.election_timeout_ns;
    r->asleep = false;
    r->promise_ns = MAX(r->promise_ns, heard_ns + timeout);
    r->election_deadline_ns = heard_ns + timeout + r->ev->random % timeout;
}

static uint64_t heard(const struct raft *r)
{
    uint64_t ns = r->ev->heard_ns;
    return ns != 0 && ns < r->ev->now_ns ? ns : r->ev->now_ns;
}

void raft_rouse(struct raft *r)
{
    uint64_t now = r->ev->now_ns, interval = r->o.heartbeat_interval_ns;
    r->busy_ns = now;
    r->drowsy_round = 0;
    if (!r->asleep)
        return;
    if (r->role != RAFT_LEADER) {
        follower_wakes(r, heard(r));
        return;
    }
    r->asleep = false;
    r->heartbeat_due_ns = (now / interval + 1) * interval;
    r->quorum_check_ns = now + r->o.election_timeout_ns;
}

/* The leader, or a follower that the leader may need, is gone: who slept is awake. */
static void node_lost(struct raft *r)
{
    struct raft_progress *p = raft_progress_of(r, r->ev->peer);
    if (!p)
        return;
    if (r->role != RAFT_LEADER) {
        if (r->leader == r->ev->peer && !MUTANT(SLEEP_ON_LOSS))
            raft_rouse(r);
        return;
    }
    if (r->asleep)
        p->active = p->active_before =
            false; /* it counts for the quorum once it is heard of again */
    raft_rouse(r);
}

void raft_rouse_by_event(struct raft *r)
{
    switch (r->ev->type) {
    case RAFT_EV_TICK:
    case RAFT_EV_SYNCED:
    case RAFT_EV_MESSAGE: return; /* raft_rouse_by_message() */
    case RAFT_EV_NODE_LOST: node_lost(r); return;
    case RAFT_EV_PROPOSE:
    case RAFT_EV_READ:
    case RAFT_EV_TRANSFER:
    case RAFT_EV_WAKE:
        if (r->role == RAFT_LEADER)
            raft_rouse(r);
        return;
    case RAFT_EV_UNREACHABLE:
    case RAFT_EV_SNAPSHOT_SENT:
    case RAFT_EV_SNAPSHOT_OFFERED:
    case RAFT_EV_SNAPSHOT_INSTALLED: raft_rouse(r); return;
    }
}

/* Says nothing that an idle group does not know. */
static bool is_routine(struct raft *r, const struct raft_message *m)
{
    if (m->term != r->term || m->reject)
        return false;
    switch (m->type) {
    case RAFT_HEARTBEAT: return m->sleep && m->from == r->leader; /* raft_follower_sleep() */
    case RAFT_HEARTBEAT_REPLY: return r->role == RAFT_LEADER && m->round != 0;
    case RAFT_APPEND_REPLY:
        return r->role == RAFT_LEADER && m->index <= raft_progress_of(r, m->from)->match;
    default: return false;
    }
}

/* Before the message is looked at.  A sleeper that is asked for its vote by another follower does
 * as one that has just heard of its leader, and tells the leader, which may sleep too; the leader
 * itself asks only when it does not lead any more. */
void raft_rouse_by_message(struct raft *r, const struct raft_message *m)
{
    if (is_routine(r, m))
        return;
    if (!r->asleep || r->role == RAFT_LEADER) {
        raft_rouse(r);
        return;
    }
    if (m->from == r->leader) {
        r->asleep = false;
        r->election_deadline_ns = r->ev->now_ns + r->ev->random % r->o.election_timeout_ns;
        return;
    }
    raft_rouse(r);
    raft_send(r, (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .to = r->leader});
}

/* ---- falling asleep ---- */

static bool follower_is_done(const struct raft *r, const struct raft_progress *p)
{
    return p->state == RAFT_PEER_REPLICATE && p->match == r->tail.last_index &&
           p->inflight_count == 0 && r->round - p->round_acked <= ROUNDS_OPEN_MAX;
}

/* Everything in the log is synced here, committed, visible and applied. */
static bool log_is_done(const struct raft *r)
{
    return r->applied == r->tail.last_index && r->synced_index == r->tail.last_index &&
           r->synced_seq == r->seq && r->held_count == 0;
}

static bool is_idle(const struct raft *r)
{
    if (r->o.sleep_after_ns == 0 || !r->quiet || !log_is_done(r) || r->read_count != 0 ||
        r->transferee != 0 || r->applied < r->term_start)
        return false;
    for (uint32_t i = 0; i < r->peer_count && !MUTANT(SLEEP_BEHIND); i++) {
        if (!follower_is_done(r, &r->peers[i]))
            return false;
    }
    return true;
}

void raft_drowse(struct raft *r)
{
    if (!is_idle(r)) {
        r->busy_ns = r->ev->now_ns;
        r->drowsy_round = 0;
    } else if (r->ev->now_ns - r->busy_ns >= r->o.sleep_after_ns && r->drowsy_round == 0) {
        r->drowsy_round = r->round + 1;
    }
}

void raft_leader_sleep(struct raft *r)
{
    if (r->asleep || r->drowsy_round == 0 || !is_idle(r))
        return;
    for (uint32_t i = 0; i < r->peer_count && !MUTANT(SLEEP_BEHIND); i++) {
        if (r->peers[i].slept_round < r->drowsy_round)
            return;
    }
    r->asleep = true;
    r->drowsy_round = 0;
}

/* The heartbeat carries its proof as ever: an entry that the leader knows to be here, and which is
 * its last as well as ours. */
void raft_follower_sleep(struct raft *r, const struct raft_message *m)
{
    uint64_t last = r->tail.last_index;
    bool done = m->sleep && r->o.sleep_after_ns != 0 && m->index == last &&
                m->log_term == raft_tail_last_term(&r->tail) && m->commit == last &&
                m->visible == last && log_is_done(r) && !r->ack_due;
    if (!done)
        raft_rouse(r);
    else
        r->asleep = true;
}
