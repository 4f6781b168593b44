/* Rounds, leases, reads and leadership transfer.
 *
 * A round is one broadcast of heartbeats with a number and a send time.  When a quorum has answered
 * it, this replica led at the time it was sent: reads asked for before that may be served
 * (ReadIndex, thesis 6.4), and no other leader can be elected until one election timeout after that
 * time, because each who answered promised so at or after it (leases, thesis 6.4.1).  The lease is
 * shorter than the promise by more than the clocks can drift apart; counting it from the time the
 * answers came in would make it longer by a round trip, which may be of any length. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"
#include "metanode/raft/raft_internal.h"

/* ---- rounds ---- */

static void heartbeat_send(struct raft *r, const struct raft_progress *p)
{
    uint64_t term = 0;
    bool known = p->match > 0 && raft_tail_term(&r->tail, p->match, &term);
    raft_send(r, (struct raft_message){.type = RAFT_HEARTBEAT,
                                       .to = p->id,
                                       .index = known ? p->match : 0,
                                       .log_term = term,
                                       .commit = r->commit,
                                       .visible = r->visible,
                                       .round = r->round,
                                       .sleep = r->drowsy_round != 0});
}

void raft_round_start(struct raft *r)
{
    CHECK(r->role == RAFT_LEADER);
    r->round++;
    r->round_sent_ns[r->round % RAFT_ROUNDS_KEPT] = r->ev->now_ns;
    for (uint32_t i = 0; i < r->peer_count; i++)
        heartbeat_send(r, &r->peers[i]);
    raft_round_advance(r); /* a single voter answers itself */
}

static uint64_t round_of(void *ctx, uint64_t id)
{
    struct raft *r = ctx;
    return id == r->o.id ? r->round : raft_progress_of(r, id)->round_acked;
}

static void read_emit(struct raft *r, const struct raft_pending_read *p,
                      enum raft_read_status status)
{
    CHECK(r->fx->read_count < RAFT_READS_MAX);
    r->fx->reads[r->fx->read_count++] = (struct raft_read){
        .ctx = p->ctx, .status = status, .commit = p->commit, .visible = p->visible};
}

static void reads_release(struct raft *r)
{
    while (r->read_count && r->reads[r->read_first].round <= r->round_done) {
        read_emit(r, &r->reads[r->read_first], RAFT_READ_READY);
        r->read_first = (r->read_first + 1) % RAFT_READS_MAX;
        r->read_count--;
    }
}

void raft_round_advance(struct raft *r)
{
    uint64_t round = raft_config_quorum(&r->config, round_of, r);
    if (round <= r->round_done)
        return;
    r->round_done = round;
    if (r->round - round < RAFT_ROUNDS_KEPT) {
        uint64_t sent = r->round_sent_ns[round % RAFT_ROUNDS_KEPT];
        r->lease_start_ns = MUTANT(LEASE_FROM_RECEIVE) ? r->ev->now_ns : sent;
        r->lease_started = true;
    }
    reads_release(r);
    /* Reads that came while enough rounds were under way share the next one. */
    if (r->read_count) {
        uint32_t newest = (r->read_first + r->read_count - 1) % RAFT_READS_MAX;
        if (r->reads[newest].round > r->round && r->round - r->round_done < RAFT_READ_ROUNDS_MAX)
            raft_round_start(r);
    }
}

/* ---- leases and reads ---- */

static bool serving(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->commit >= r->term_start && r->visible >= r->term_start;
}

bool raft_lease_valid(const struct raft *r, uint64_t now_ns)
{
    if (!r->o.lease_enabled || !serving(r) || !r->lease_started || r->lease_over)
        return false;
    /* Sleep does not renew it: it runs out, and the next read makes a round, which wakes. */
    if (MUTANT(LEASE_ASLEEP) && r->asleep)
        return true;
    return now_ns >= r->lease_start_ns && now_ns - r->lease_start_ns < r->o.lease_ns;
}

void raft_set_lease_enabled(struct raft *r, bool enabled)
{
    r->o.lease_enabled = enabled && r->o.lease_ns > 0;
}

int raft_on_read(struct raft *r)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (!serving(r))
        return ERR_NOT_READY;
    struct raft_pending_read read = {
        .ctx = r->ev->read.ctx, .commit = r->commit, .visible = r->visible, .round = r->round + 1};
    if (raft_lease_valid(r, r->ev->now_ns)) {
        read_emit(r, &read, RAFT_READ_READY);
        return OK;
    }
    if (r->read_count == RAFT_READS_MAX)
        return ERR_LIMIT;
    r->reads[(r->read_first + r->read_count) % RAFT_READS_MAX] = read;
    r->read_count++;
    if (r->round - r->round_done < RAFT_READ_ROUNDS_MAX)
        raft_round_start(r);
    return OK;
}

void raft_reads_drop(struct raft *r)
{
    while (r->read_count) {
        read_emit(r, &r->reads[r->read_first], RAFT_READ_DROPPED);
        r->read_first = (r->read_first + 1) % RAFT_READS_MAX;
        r->read_count--;
    }
}

/* ---- leadership transfer (thesis 3.10) ---- */

int raft_on_transfer(struct raft *r)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (r->ev->peer == r->o.id || !raft_config_is_voter(&r->config, r->ev->peer))
        return ERR_INVAL;
    if (r->transferee)
        return ERR_CONFLICT;
    r->transferee = r->ev->peer;
    r->transfer_told = false;
    r->transfer_deadline_ns = r->ev->now_ns + r->o.election_timeout_ns;
    raft_transfer_advance(r);
    return OK;
}

/* Once the peer has the whole log it is told to campaign at once.  Voters elect it in spite of
 * their promises, so the lease ends first, and for good: the message may arrive at any later time.
 */
void raft_transfer_advance(struct raft *r)
{
    if (!r->transferee || r->transfer_told ||
        raft_progress_of(r, r->transferee)->match != r->tail.last_index)
        return;
    r->transfer_told = true;
    r->lease_over = true;
    raft_send(r, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .to = r->transferee});
}

void raft_on_timeout_now(struct raft *r, const struct raft_message *m)
{
    if (m->term != r->term || r->role != RAFT_FOLLOWER || r->leader != m->from ||
        !raft_self_is_voter(r))
        return;
    raft_campaign(r, true);
}
