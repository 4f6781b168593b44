/* The Raft core's life, its step, and what every other file of it relies on: one write per step,
 * and messages that stay inside until the write that they depend on is synced.  See raft.h. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"
#include "metanode/raft/raft_internal.h"

/* ---- life ---- */

static void options_default(struct raft_options *o)
{
    o->append_entries_max = o->append_entries_max ? o->append_entries_max : 1024;
    o->append_bytes_max = o->append_bytes_max ? o->append_bytes_max : 1u << 20;
    o->inflight_messages_max = o->inflight_messages_max ? o->inflight_messages_max : 32;
    o->inflight_bytes_max = o->inflight_bytes_max ? o->inflight_bytes_max : 8u << 20;
    o->uncommitted_bytes_max = o->uncommitted_bytes_max ? o->uncommitted_bytes_max : 32u << 20;
    o->uncommitted_entries_max = o->uncommitted_entries_max ? o->uncommitted_entries_max : 65536;
    o->unapplied_bytes_max = o->unapplied_bytes_max ? o->unapplied_bytes_max : 64u << 20;
}

#define TIMEOUT_NS_MAX (3600ull * 1000000000ull)

/* The inequality that leases rest on: a leader whose clock is as slow as allowed must find its
 * lease over before a voter whose clock is as fast as allowed finds its promise over. */
static int options_check(const struct raft_options *o)
{
    if (raft_config_check(&o->config) != OK || !raft_config_is_member(&o->config, o->id))
        return ERR_CONFIG;
    if (o->election_timeout_ns == 0 || o->election_timeout_ns > TIMEOUT_NS_MAX ||
        o->heartbeat_interval_ns == 0 || o->heartbeat_interval_ns > o->election_timeout_ns / 3)
        return ERR_CONFIG;
    if (o->inflight_messages_max > RAFT_INFLIGHT_MAX || o->drift_ppm >= 500000)
        return ERR_CONFIG;
    if (o->lease_enabled && o->lease_ns == 0)
        return ERR_CONFIG;
    if (o->lease_ns > TIMEOUT_NS_MAX ||
        (o->lease_ns && o->lease_ns * (1000000ull + o->drift_ppm) >=
                            o->election_timeout_ns * (1000000ull - o->drift_ppm)))
        return ERR_CONFIG;
    return OK;
}

int raft_new(const struct raft_options *o, const struct raft_durable *d, struct raft **ret)
{
    if (options_check(o) != OK)
        return ERR_CONFIG;
    if (d->compact_term > d->term || (d->compact_index == 0) != (d->compact_term == 0) ||
        (d->applied != 0 && d->applied < d->compact_index) || (d->vote != 0 && d->term == 0))
        return ERR_INVAL;
    struct raft *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->o = *o;
    options_default(&r->o);
    r->config = o->config;
    r->term = d->term;
    r->vote = d->vote;
    r->commit = r->visible = r->applied = MAX(d->applied, d->compact_index);
    r->visible_learnt = r->visible;
    int err = raft_tail_init(&r->tail, d->compact_index, d->compact_term);
    if (err) {
        raft_free(r);
        return err;
    }
    raft_peers_rebuild(r);
    *ret = r;
    return OK;
}

void raft_free(struct raft *r)
{
    if (!r)
        return;
    raft_tail_fini(&r->tail);
    free(r);
}

int raft_restore(struct raft *r, uint64_t term, uint32_t bytes)
{
    CHECK(!r->started);
    if (term < raft_tail_last_term(&r->tail) || term > r->term || term == 0)
        return ERR_CORRUPT;
    int err = raft_tail_reserve(&r->tail, 1, 1);
    if (err)
        return err;
    raft_tail_push(&r->tail, term, bytes);
    return OK;
}

int raft_start(struct raft *r, uint64_t now_ns, uint64_t random)
{
    CHECK(!r->started);
    if (r->applied > r->tail.last_index)
        return ERR_CORRUPT;
    r->started = true;
    r->synced_index = r->tail.last_index;
    /* DESIGN section 3: a restarted voter waits.  In term 0 it has never answered anyone. */
    if (r->term > 0)
        r->promise_ns = now_ns + r->o.election_timeout_ns;
    r->election_deadline_ns = now_ns + r->o.election_timeout_ns + random % r->o.election_timeout_ns;
    return OK;
}

/* ---- peers ---- */

struct raft_progress *raft_progress_of(struct raft *r, uint64_t id)
{
    for (uint32_t i = 0; i < r->peer_count; i++) {
        if (r->peers[i].id == id)
            return &r->peers[i];
    }
    return NULL;
}

static void peers_add(struct raft *r, const uint64_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == r->o.id || raft_progress_of(r, ids[i]))
            continue;
        CHECK(r->peer_count < RAFT_MEMBERS_MAX);
        r->peers[r->peer_count++] =
            (struct raft_progress){.id = ids[i], .next = r->tail.last_index + 1};
    }
}

void raft_peers_rebuild(struct raft *r)
{
    r->peer_count = 0;
    peers_add(r, r->config.voters, r->config.voter_count);
    peers_add(r, r->config.old_voters, r->config.old_voter_count);
    peers_add(r, r->config.learners, r->config.learner_count);
}

bool raft_self_is_voter(const struct raft *r)
{
    return raft_config_is_voter(&r->config, r->o.id);
}

/* ---- writes, and what waits for them ---- */

struct raft_write *raft_write_open(struct raft *r)
{
    struct raft_write *w = &r->fx->write;
    if (!w->present) {
        w->present = true;
        w->seq = ++r->seq;
    }
    return w;
}

void raft_hard_state_changed(struct raft *r)
{
    struct raft_write *w = raft_write_open(r);
    w->has_hard_state = true;
    w->term = r->term;
    w->vote = r->vote;
    r->hard_state_seq = w->seq;
    /* What was to be said in an older term has no one to hear it. */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->held_count; i++) {
        if (r->held[i].message.term >= r->term)
            r->held[kept++] = r->held[i];
    }
    r->held_count = kept;
}

bool raft_messages_full(const struct raft *r)
{
    return r->fx->message_count == RAFT_EFFECT_MESSAGES_MAX;
}

static void emit(struct raft *r, const struct raft_message *m)
{
    if (!raft_messages_full(r)) /* else it counts as lost on the way */
        r->fx->messages[r->fx->message_count++] = *m;
}

/* Every message speaks for the term and vote of this replica, so it leaves only once they are
 * durable (Raft paper, figure 2: "updated on stable storage before responding"). */
void raft_send(struct raft *r, struct raft_message m)
{
    m.from = r->o.id;
    if (m.term == 0)
        m.term = r->term;
    if (r->synced_seq >= r->hard_state_seq || MUTANT(UNPERSISTED_VOTE)) {
        emit(r, &m);
        return;
    }
    if (r->held_count < RAFT_HELD_MAX)
        r->held[r->held_count++] = (struct raft_held){.seq = r->hard_state_seq, .message = m};
}

static void held_release(struct raft *r)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->held_count; i++) {
        if (r->held[i].seq <= r->synced_seq)
            emit(r, &r->held[i].message);
        else
            r->held[kept++] = r->held[i];
    }
    r->held_count = kept;
}

/* A completion covers all earlier writes.  One that was started before entries were removed is no
 * proof for the entries that have their indexes now, even if terms agree: the log may have gone
 * from (5,10) to (6,10) and back, and the disk may be at the step between. */
static void on_synced(struct raft *r)
{
    CHECK(r->ev->synced.seq <= r->seq);
    if (r->ev->synced.seq <= r->synced_seq)
        return;
    r->synced_seq = r->ev->synced.seq;
    if (r->synced_seq >= r->truncate_seq) {
        uint64_t term = 0;
        uint64_t index = r->ev->synced.last_index;
        CHECK(index <= r->tail.last_index);
        CHECK(!raft_tail_term(&r->tail, index, &term) || term == r->ev->synced.last_term);
        r->synced_index = MAX(r->synced_index, index);
    }
    held_release(r);
    raft_own_vote_synced(r);
    if (r->role == RAFT_LEADER) {
        raft_maybe_commit(r);
        raft_transfer_advance(r);
    }
}

uint64_t raft_counted_index(const struct raft *r)
{
    return MUTANT(REPLY_BEFORE_SYNC) ? r->tail.last_index : r->synced_index;
}

/* ---- commit and visible ---- */

static void visible_follow(struct raft *r)
{
    if (r->role == RAFT_LEADER)
        return; /* a leader's driver decides */
    uint64_t v = MIN(r->visible_learnt, r->commit);
    if (v > r->visible) {
        r->visible = v;
        r->fx->visible_changed = true;
    }
}

void raft_commit_to(struct raft *r, uint64_t index)
{
    CHECK(index <= r->tail.last_index);
    if (index > r->commit) {
        r->commit = index;
        r->fx->commit_changed = true;
    }
    visible_follow(r);
}

/* ---- the step ---- */

static int on_follower_message(struct raft *r, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_APPEND: return raft_on_append(r, m);
    case RAFT_HEARTBEAT: return raft_on_heartbeat(r, m);
    default: raft_on_timeout_now(r, m); return OK;
    }
}

static int on_leader_message(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_LEADER)
        return OK;
    return m->type == RAFT_APPEND_REPLY ? raft_on_append_reply(r, m)
                                        : raft_on_heartbeat_reply(r, m);
}

/* A leader of a past term is told of the present one, or it would go on until its quorum check, and
 * a replica that is ahead in term could never be brought back. */
static void answer_stale(struct raft *r, const struct raft_message *m)
{
    if (m->type == RAFT_APPEND)
        raft_send(r,
                  (struct raft_message){
                      .type = RAFT_APPEND_REPLY, .to = m->from, .reject = true, .index = m->index});
    else if (m->type == RAFT_HEARTBEAT)
        raft_send(
            r, (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .to = m->from, .reject = true});
}

static int on_message(struct raft *r)
{
    const struct raft_message *m = &r->ev->message;
    if (m->to != r->o.id || m->from == r->o.id || m->term == 0 || m->term > RAFT_NUMBER_MAX ||
        m->index > RAFT_NUMBER_MAX)
        return ERR_PROTO;
    /* One that is not, or no longer, a member cannot disturb (thesis 4.2.3). */
    if (!raft_config_is_member(&r->config, m->from))
        return OK;
    raft_rouse_by_message(r, m);
    switch (m->type) {
    case RAFT_PRE_VOTE: raft_on_pre_vote(r, m); return OK;
    case RAFT_PRE_VOTE_REPLY: raft_on_pre_vote_reply(r, m); return OK;
    case RAFT_VOTE: raft_on_vote(r, m); return OK;
    case RAFT_APPEND:
    case RAFT_HEARTBEAT:
    case RAFT_TIMEOUT_NOW:
        if (m->term < r->term) {
            answer_stale(r, m);
            return OK;
        }
        return on_follower_message(r, m);
    case RAFT_VOTE_REPLY:
    case RAFT_APPEND_REPLY:
    case RAFT_HEARTBEAT_REPLY:
        if (m->term > r->term)
            raft_become_follower(r, m->term, 0);
        if (m->term < r->term)
            return OK;
        if (m->type != RAFT_VOTE_REPLY)
            return on_leader_message(r, m);
        raft_on_vote_reply(r, m);
        return OK;
    default: return ERR_PROTO;
    }
}

static int dispatch(struct raft *r)
{
    switch (r->ev->type) {
    case RAFT_EV_TICK:
        if (r->asleep)
            return OK;
        if (r->role == RAFT_LEADER)
            raft_leader_tick(r);
        else
            raft_election_tick(r);
        return OK;
    case RAFT_EV_MESSAGE: return on_message(r);
    case RAFT_EV_PROPOSE: return raft_propose(r);
    case RAFT_EV_SYNCED: on_synced(r); return OK;
    case RAFT_EV_READ: return raft_on_read(r);
    case RAFT_EV_TRANSFER: return raft_on_transfer(r);
    case RAFT_EV_UNREACHABLE: raft_on_unreachable(r, r->ev->peer); return OK;
    case RAFT_EV_SNAPSHOT_SENT: raft_on_snapshot_sent(r); return OK;
    case RAFT_EV_SNAPSHOT_OFFERED: return raft_on_snapshot_offered(r);
    case RAFT_EV_SNAPSHOT_INSTALLED: return raft_on_snapshot_installed(r);
    case RAFT_EV_NODE_LOST:
    case RAFT_EV_WAKE: return OK; /* see raft_rouse_by_event() */
    }
    return ERR_INVAL;
}

static void effects_clear(struct raft_effects *fx)
{
    /* Not the arrays: they are large, and their counts say what of them holds. */
    fx->write = (struct raft_write){0};
    fx->message_count = fx->read_count = fx->snapshot_peer_count = 0;
    fx->role_changed = fx->commit_changed = fx->visible_changed = fx->more = false;
}

int raft_step(struct raft *r, const struct raft_event *ev, struct raft_effects *fx)
{
    CHECK(r->started);
    effects_clear(fx);
    r->ev = ev;
    r->fx = fx;
    raft_rouse_by_event(r);
    int err = dispatch(r);
    if (r->role == RAFT_LEADER)
        raft_pump(r);
    else
        raft_ack_flush(r);
    if (fx->write.present) {
        fx->write.last_index = r->tail.last_index;
        fx->write.last_term = raft_tail_last_term(&r->tail);
    }
    r->ev = NULL;
    r->fx = NULL;
    return err;
}

uint64_t raft_next_deadline(const struct raft *r)
{
    if (r->asleep)
        return UINT64_MAX;
    if (r->role == RAFT_LEADER) {
        uint64_t due = MIN(r->heartbeat_due_ns, r->quorum_check_ns);
        return r->transferee ? MIN(due, r->transfer_deadline_ns) : due;
    }
    return raft_self_is_voter(r) ? r->election_deadline_ns : UINT64_MAX;
}

int raft_set_visible(struct raft *r, uint64_t index)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (index > r->commit)
        return ERR_INVAL;
    r->visible = MAX(r->visible, index);
    return OK;
}

void raft_set_applied(struct raft *r, uint64_t index)
{
    CHECK(index <= r->visible);
    r->applied = MAX(r->applied, index);
}

int raft_compact(struct raft *r, uint64_t index)
{
    if (index < r->tail.base_index || index > MIN(r->applied, r->synced_index))
        return ERR_INVAL;
    raft_tail_compact(&r->tail, index);
    return OK;
}
