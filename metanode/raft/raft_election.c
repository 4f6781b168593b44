/* Elections: pre-vote (thesis 9.6) and check-quorum together, and votes that respect leases.
 *
 *              timeout               pre-vote quorum            vote quorum
 *   FOLLOWER ----------> PRE_CANDIDATE ------------> CANDIDATE ------------> LEADER
 *       ^                     |   (next term, own vote durable)                |
 *       +---------------------+------ a leader, a higher term -----------------+
 *                                     (LEADER: also no quorum heard of)
 *
 * A voter that has heard of a leader elects nobody for one election timeout: that is what leases
 * and protection from returning replicas rest on.  It is kept as a time (`promise_ns`), not as "a
 * leader is known", because the leader is forgotten with a change of term and the promise must not
 * be. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "metanode/raft/raft_internal.h"

void raft_election_deadline_reset(struct raft *r)
{
    uint64_t timeout = r->o.election_timeout_ns;
    r->election_deadline_ns = r->ev->now_ns + timeout + r->ev->random % timeout;
}

/* Also from follower to follower.  leader 0: not known. */
void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader)
{
    CHECK(term >= r->term);
    bool changed = r->role != RAFT_FOLLOWER || term != r->term || leader != r->leader;
    if (!changed)
        return;
    CHECK(!r->asleep);
    if (r->role == RAFT_LEADER) {
        raft_reads_drop(r);
        r->transferee = 0;
    }
    if (r->role != RAFT_FOLLOWER)
        raft_election_deadline_reset(r);
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    r->visible_learnt = r->visible; /* only the current leader's word counts beyond it */
    if (term > r->term) {
        r->term = term;
        r->vote = 0;
        r->proven = r->ack_sent = 0;
        r->ack_due = false;
        raft_hard_state_changed(r);
    }
    r->fx->role_changed = true;
}

/* ---- counting ---- */

static uint64_t vote_granted(void *ctx, uint64_t id)
{
    struct raft *r = ctx;
    return (id == r->o.id ? r->own_vote : raft_progress_of(r, id)->vote) == RAFT_VOTE_GRANTED;
}

static uint64_t vote_possible(void *ctx, uint64_t id)
{
    struct raft *r = ctx;
    return (id == r->o.id ? r->own_vote : raft_progress_of(r, id)->vote) != RAFT_VOTE_REFUSED;
}

static void votes_clear(struct raft *r)
{
    r->own_vote = RAFT_VOTE_OPEN;
    for (uint32_t i = 0; i < r->peer_count; i++)
        r->peers[i].vote = RAFT_VOTE_OPEN;
}

static void votes_ask(struct raft *r, enum raft_message_type type, uint64_t term)
{
    for (uint32_t i = 0; i < r->peer_count; i++) {
        if (!raft_config_is_voter(&r->config, r->peers[i].id))
            continue;
        raft_send(r, (struct raft_message){.type = type,
                                           .to = r->peers[i].id,
                                           .term = term,
                                           .index = r->tail.last_index,
                                           .log_term = raft_tail_last_term(&r->tail),
                                           .campaign_transfer = r->campaign_transfer});
    }
}

/* ---- campaigns ---- */

static void become_leader(struct raft *r)
{
    CHECK(r->role == RAFT_CANDIDATE && r->vote == r->o.id);
    r->role = RAFT_LEADER;
    r->leader = r->o.id;
    r->fx->role_changed = true;
    raft_leader_start(r);
}

static void votes_count(struct raft *r)
{
    if (raft_config_quorum(&r->config, vote_granted, r)) {
        if (r->role == RAFT_PRE_CANDIDATE)
            raft_campaign(r, false);
        else
            become_leader(r);
    } else if (!raft_config_quorum(&r->config, vote_possible, r)) {
        /* Refused by a quorum: not before the next timeout. */
        raft_become_follower(r, r->term, 0);
    }
}

static void pre_campaign(struct raft *r)
{
    r->role = RAFT_PRE_CANDIDATE;
    r->leader = 0;
    r->campaign_transfer = false;
    r->fx->role_changed = true;
    raft_election_deadline_reset(r);
    votes_clear(r);
    r->own_vote = RAFT_VOTE_GRANTED; /* binds to nothing, so it need not be durable */
    votes_ask(r, RAFT_PRE_VOTE, r->term + 1);
    votes_count(r);
}

void raft_campaign(struct raft *r, bool transfer)
{
    CHECK(raft_self_is_voter(r) && r->role != RAFT_LEADER && !r->asleep);
    r->role = RAFT_CANDIDATE;
    r->leader = 0;
    r->campaign_transfer = transfer;
    r->term++;
    r->vote = r->o.id;
    r->proven = r->ack_sent = 0;
    r->ack_due = false;
    r->fx->role_changed = true;
    raft_election_deadline_reset(r);
    raft_hard_state_changed(r);
    votes_clear(r);
    votes_ask(r, RAFT_VOTE, r->term); /* held until the own vote is durable */
    if (MUTANT(UNPERSISTED_VOTE)) {
        r->own_vote = RAFT_VOTE_GRANTED;
        votes_count(r);
    }
}

void raft_own_vote_synced(struct raft *r)
{
    if (r->role != RAFT_CANDIDATE || r->synced_seq < r->hard_state_seq)
        return;
    if (r->own_vote == RAFT_VOTE_GRANTED)
        return;
    r->own_vote = RAFT_VOTE_GRANTED;
    votes_count(r);
}

void raft_election_tick(struct raft *r)
{
    if (!raft_self_is_voter(r) || r->ev->now_ns < r->election_deadline_ns)
        return;
    if (r->ev->now_ns < r->promise_ns) {
        r->election_deadline_ns = r->promise_ns;
        return;
    }
    pre_campaign(r);
}

/* ---- votes ---- */

/* Raft paper 5.4.1: the log of the one elected is at least as good as that of each who elects it.
 */
static bool up_to_date(const struct raft *r, const struct raft_message *m)
{
    uint64_t last_term = raft_tail_last_term(&r->tail);
    return m->log_term > last_term || (m->log_term == last_term && m->index >= r->tail.last_index);
}

/* A leader is bound as well as its followers: it steps down by its own quorum check. */
static bool promised(const struct raft *r)
{
    return r->role == RAFT_LEADER || r->ev->now_ns < r->promise_ns;
}

void raft_on_pre_vote(struct raft *r, const struct raft_message *m)
{
    if (!raft_config_is_voter(&r->config, m->from) || !raft_self_is_voter(r))
        return;
    bool grant = m->term > r->term && !promised(r) && up_to_date(r, m);
    /* A refusal tells the present term, so that one that is behind does not ask for ever. */
    raft_send(r, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY,
                                       .to = m->from,
                                       .term = grant ? m->term : r->term,
                                       .reject = !grant});
}

void raft_on_pre_vote_reply(struct raft *r, const struct raft_message *m)
{
    if (m->reject && m->term > r->term) {
        raft_become_follower(r, m->term, 0);
        return;
    }
    if (r->role != RAFT_PRE_CANDIDATE || m->term != (m->reject ? r->term : r->term + 1))
        return;
    raft_progress_of(r, m->from)->vote = m->reject ? RAFT_VOTE_REFUSED : RAFT_VOTE_GRANTED;
    votes_count(r);
}

void raft_on_vote(struct raft *r, const struct raft_message *m)
{
    if (!raft_config_is_voter(&r->config, m->from) || !raft_self_is_voter(r))
        return;
    /* No answer and no change of term while bound by a promise (thesis 6.4.1), whatever the own
     * term is by now.  A campaign that the leader asked for is exempt: its lease has ended. */
    if (m->term >= r->term && promised(r) && !m->campaign_transfer &&
        !(m->term == r->term && r->vote == m->from))
        return;
    if (m->term > r->term)
        raft_become_follower(r, m->term, 0);
    bool grant = m->term == r->term && (r->vote == 0 || r->vote == m->from) &&
                 (r->leader == 0 || r->leader == m->from) && up_to_date(r, m);
    if (grant && r->vote == 0) {
        r->vote = m->from;
        raft_hard_state_changed(r);
    }
    if (grant)
        raft_election_deadline_reset(r);
    raft_send(r, (struct raft_message){.type = RAFT_VOTE_REPLY, .to = m->from, .reject = !grant});
}

void raft_on_vote_reply(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_CANDIDATE || !raft_config_is_voter(&r->config, m->from))
        return;
    raft_progress_of(r, m->from)->vote = m->reject ? RAFT_VOTE_REFUSED : RAFT_VOTE_GRANTED;
    votes_count(r);
}
