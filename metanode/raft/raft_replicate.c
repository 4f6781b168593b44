/* A leader's side of the log: proposals, the progress of each peer, appends within its window, and
 * what is committed. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"
#include "metanode/raft/raft_internal.h"

/* ---- windows ---- */

static void inflight_clear(struct raft_progress *p)
{
    p->inflight_first = p->inflight_count = 0;
    p->inflight_bytes = 0;
}

static void inflight_push(struct raft *r, struct raft_progress *p, uint64_t last, uint64_t bytes)
{
    CHECK(p->inflight_count < RAFT_INFLIGHT_MAX);
    if (p->inflight_count == 0)
        p->progress_ns = r->ev->now_ns;
    p->inflight[(p->inflight_first + p->inflight_count) % RAFT_INFLIGHT_MAX] =
        (struct raft_inflight){.last_index = last, .bytes = bytes};
    p->inflight_count++;
    p->inflight_bytes += bytes;
}

static void inflight_free_to(struct raft_progress *p, uint64_t index)
{
    while (p->inflight_count && p->inflight[p->inflight_first].last_index <= index) {
        p->inflight_bytes -= p->inflight[p->inflight_first].bytes;
        p->inflight_first = (p->inflight_first + 1) % RAFT_INFLIGHT_MAX;
        p->inflight_count--;
    }
}

static void probe_from(struct raft_progress *p, uint64_t next, bool paused)
{
    inflight_clear(p);
    p->state = RAFT_PEER_PROBE;
    p->next = next;
    p->paused = paused;
    p->probe_last = 0;
    p->nudge = false;
}

/* The probe found the place.  What went with it is under way: its sync takes longer than its match.
 */
static void replicate_from_probe(struct raft *r, struct raft_progress *p)
{
    uint64_t sent = MIN(p->probe_last, r->tail.last_index);
    probe_from(p, p->match + 1, false);
    p->state = RAFT_PEER_REPLICATE;
    if (sent <= p->match)
        return;
    inflight_push(r, p, sent, raft_tail_bytes(&r->tail, p->match, sent));
    p->next = sent + 1;
}

static bool window_full(const struct raft *r, const struct raft_progress *p)
{
    return p->inflight_count >= r->o.inflight_messages_max ||
           p->inflight_bytes >= r->o.inflight_bytes_max;
}

/* How many entries from `first` on go into one message: at least one, if there is one. */
static uint32_t batch_count(const struct raft *r, uint64_t first)
{
    uint64_t most = MIN(r->tail.last_index + 1 - first, (uint64_t)r->o.append_entries_max);
    uint64_t lo = MIN(most, 1u), hi = most; /* by bisection over the running sums */
    while (lo < hi) {
        uint64_t mid = hi - (hi - lo) / 2;
        uint64_t charged = raft_tail_bytes(&r->tail, first - 1, first - 1 + mid);
        if (charged - mid * RAFT_ENTRY_OVERHEAD <= r->o.append_bytes_max)
            lo = mid;
        else
            hi = mid - 1;
    }
    return (uint32_t)lo;
}

static uint64_t append_send(struct raft *r, const struct raft_progress *p, uint32_t count)
{
    uint64_t prev = p->next - 1, prev_term = 0;
    bool known = raft_tail_term(&r->tail, prev, &prev_term);
    CHECK(known);
    uint64_t charged = raft_tail_bytes(&r->tail, prev, prev + count);
    raft_send(r, (struct raft_message){
                     .type = RAFT_APPEND,
                     .to = p->id,
                     .index = prev,
                     .log_term = prev_term,
                     .commit = r->commit,
                     .visible = r->visible,
                     .entry_count = count,
                     .entry_bytes = charged - (uint64_t)count * RAFT_ENTRY_OVERHEAD,
                 });
    return charged;
}

static void snapshot_ask(struct raft *r, struct raft_progress *p)
{
    inflight_clear(p);
    p->state = RAFT_PEER_SNAPSHOT;
    CHECK(r->fx->snapshot_peer_count < RAFT_MEMBERS_MAX);
    r->fx->snapshot_peers[r->fx->snapshot_peer_count++] = p->id;
}

/* One append, if the peer may get one.  False: it may not. */
static bool pump_once(struct raft *r, struct raft_progress *p)
{
    if (p->state == RAFT_PEER_SNAPSHOT || (p->state == RAFT_PEER_PROBE && p->paused))
        return false;
    if (p->next <= r->tail.base_index) {
        if (p->active) /* no stream to one that is down */
            snapshot_ask(r, p);
        return false;
    }
    if (raft_messages_full(r)) {
        r->fx->more = true;
        return false;
    }
    if (p->nudge) {
        p->nudge = false;
        append_send(r, p, 0);
        return true;
    }
    uint32_t count = batch_count(r, p->next);
    if (p->state == RAFT_PEER_PROBE) {
        p->paused = true;
        p->probe_last = p->next - 1 + count;
        p->progress_ns = r->ev->now_ns;
        append_send(r, p, count);
        return false;
    }
    if (count == 0 || window_full(r, p))
        return false;
    uint64_t bytes = append_send(r, p, count);
    p->next += count;
    inflight_push(r, p, p->next - 1, bytes);
    return true;
}

void raft_pump(struct raft *r)
{
    for (uint32_t i = 0; i < r->peer_count; i++) {
        while (pump_once(r, &r->peers[i])) {
        }
    }
}

/* ---- commit ---- */

static uint64_t match_of(void *ctx, uint64_t id)
{
    struct raft *r = ctx;
    return id == r->o.id ? raft_counted_index(r) : raft_progress_of(r, id)->match;
}

/* Raft paper 5.4.2 and figure 8: an entry of an older term is not committed because a quorum has
 * it, only because one of the own term behind it is. */
void raft_maybe_commit(struct raft *r)
{
    uint64_t index = raft_config_quorum(&r->config, match_of, r);
    uint64_t term = 0;
    if (index <= r->commit || !raft_tail_term(&r->tail, index, &term))
        return;
    if (term != r->term && !MUTANT(COUNT_OLD_TERM))
        return;
    raft_commit_to(r, index);
}

/* ---- leadership ---- */

void raft_leader_start(struct raft *r)
{
    r->term_start = r->tail.last_index + 1;
    r->transferee = 0;
    r->round = r->round_done = 0;
    r->lease_started = r->lease_over = false;
    r->read_first = r->read_count = 0;
    raft_sleep_init(r);
    r->quorum_check_ns = r->ev->now_ns + r->o.election_timeout_ns;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        struct raft_progress *p = &r->peers[i];
        *p = (struct raft_progress){
            .id = p->id, .next = r->term_start, .state = RAFT_PEER_PROBE, .active = true};
    }
    /* Nothing of older terms can be committed, and no read be served, before an entry of this one.
     */
    int err = raft_tail_reserve(&r->tail, 1, 1);
    if (err) { /* without a no-op there is no leading: leave it to the others */
        raft_become_follower(r, r->term, 0);
        return;
    }
    struct raft_write *w = raft_write_open(r);
    w->first_index = r->term_start;
    w->entry_count = 1;
    w->noop = true;
    w->term_of_entries = r->term;
    raft_tail_push(&r->tail, r->term, 0);
    uint64_t interval = r->o.heartbeat_interval_ns;
    r->heartbeat_due_ns = (r->ev->now_ns / interval + 1) * interval;
    raft_round_start(r);
}

static uint64_t heard_of(void *ctx, uint64_t id)
{
    struct raft *r = ctx;
    return id == r->o.id || raft_progress_of(r, id)->active;
}

/* Thesis 6.2: a leader that no quorum hears steps down, so that clients do not wait on it, and so
 * that it binds no voter with a promise. */
static void quorum_check(struct raft *r)
{
    r->quorum_check_ns = r->ev->now_ns + r->o.election_timeout_ns;
    if (!raft_config_quorum(&r->config, heard_of, r)) {
        raft_become_follower(r, r->term, 0);
        return;
    }
    for (uint32_t i = 0; i < r->peer_count; i++) {
        r->peers[i].active_before = r->peers[i].active;
        r->peers[i].active = false;
    }
}

void raft_leader_tick(struct raft *r)
{
    uint64_t now = r->ev->now_ns;
    if (now >= r->quorum_check_ns)
        quorum_check(r);
    if (r->role != RAFT_LEADER)
        return;
    if (r->transferee && now >= r->transfer_deadline_ns)
        r->transferee = 0; /* proposals go on; the lease stays over if TIMEOUT_NOW was sent */
    if (now >= r->heartbeat_due_ns) {
        uint64_t interval = r->o.heartbeat_interval_ns;
        r->heartbeat_due_ns = (now / interval + 1) * interval;
        raft_drowse(r);
        raft_round_start(r);
        raft_leader_sleep(r); /* a single voter asks nobody */
    }
}

/* ---- proposals ---- */

/* Control entries pass: while a witness is silent nothing becomes visible or applied, and what ends
 * that (its death) is a control entry.  They are few and small; a leader without a quorum must
 * bound them all the same. */
static bool overloaded(const struct raft *r, uint64_t bytes, uint32_t count, bool control)
{
    const struct raft_tail *t = &r->tail;
    uint64_t pending = raft_tail_bytes(t, r->commit, t->last_index);
    uint64_t entries = t->last_index - r->commit;
    if (control)
        return entries + count > 2ull * r->o.uncommitted_entries_max;
    if (entries && (pending + bytes > r->o.uncommitted_bytes_max ||
                    entries + count > r->o.uncommitted_entries_max))
        return true;
    uint64_t unapplied = raft_tail_bytes(t, MAX(r->applied, t->base_index), r->commit);
    return unapplied > r->o.unapplied_bytes_max;
}

int raft_propose(struct raft *r)
{
    const struct raft_entry_meta *e = r->ev->propose.entries;
    uint32_t count = r->ev->propose.count;
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (r->transferee)
        return ERR_NOT_READY;
    if (count == 0)
        return ERR_INVAL;
    uint64_t bytes = 0;
    bool control = true;
    for (uint32_t i = 0; i < count; i++) {
        if (e[i].kind == RAFT_ENTRY_CONFIG)
            return ERR_UNIMPLEMENTED;
        if (e[i].kind != RAFT_ENTRY_NORMAL && e[i].kind != RAFT_ENTRY_CONTROL)
            return ERR_INVAL;
        control = control && e[i].kind == RAFT_ENTRY_CONTROL;
        bytes += e[i].bytes + RAFT_ENTRY_OVERHEAD;
    }
    if (overloaded(r, bytes, count, control))
        return ERR_OVERLOAD;
    int err = raft_tail_reserve(&r->tail, count, 1);
    if (err)
        return err;
    struct raft_write *w = raft_write_open(r);
    w->first_index = r->tail.last_index + 1;
    w->entry_count = count;
    w->term_of_entries = r->term;
    for (uint32_t i = 0; i < count; i++)
        raft_tail_push(&r->tail, r->term, e[i].bytes);
    return OK;
}

/* ---- replies ---- */

static int append_rejected(struct raft *r, struct raft_progress *p, const struct raft_message *m)
{
    if (p->state == RAFT_PEER_SNAPSHOT || m->index <= p->match)
        return OK; /* overtaken by an acknowledgement: old */
    if (p->state == RAFT_PEER_PROBE && m->index != p->next - 1)
        return OK; /* the answer to an earlier probe */
    if (m->index > r->tail.last_index || m->hint > m->index)
        return ERR_PROTO;
    uint64_t agree = raft_tail_agree(&r->tail, m->hint, m->log_term);
    if (m->hint < r->tail.base_index)
        agree = m->hint; /* below what is known here: a snapshot's work */
    probe_from(p, MAX(p->match + 1, MIN(agree + 1, m->index)), false);
    return OK;
}

int raft_on_append_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_progress *p = raft_progress_of(r, m->from);
    p->active = true;
    if (m->reject)
        return append_rejected(r, p, m);
    if (m->index > r->tail.last_index)
        return ERR_PROTO;
    if (m->index > p->match) {
        p->match = m->index;
        p->progress_ns = r->ev->now_ns;
        raft_maybe_commit(r);
    }
    inflight_free_to(p, p->match);
    if (p->state != RAFT_PEER_REPLICATE && p->match >= r->tail.base_index)
        replicate_from_probe(r, p);
    p->next = MAX(p->next, p->match + 1);
    raft_transfer_advance(r);
    return OK;
}

/* What may have been lost on the way is found out here, after a silence of a heartbeat interval: a
 * probe is repeated, a window is asked about with an empty append, whose rejection starts a probe.
 */
int raft_on_heartbeat_reply(struct raft *r, const struct raft_message *m)
{
    struct raft_progress *p = raft_progress_of(r, m->from);
    p->active = true;
    if (m->round > r->round)
        return ERR_PROTO;
    if (r->ev->now_ns - p->progress_ns >= r->o.heartbeat_interval_ns) {
        p->paused = false;
        p->nudge = p->state == RAFT_PEER_REPLICATE && p->inflight_count > 0;
        p->progress_ns = r->ev->now_ns;
    }
    if (m->round > p->round_acked) {
        p->round_acked = m->round;
        raft_round_advance(r);
    }
    if (m->sleep) {
        p->slept_round = MAX(p->slept_round, m->round);
        raft_leader_sleep(r);
    }
    return OK;
}

void raft_on_unreachable(struct raft *r, uint64_t id)
{
    struct raft_progress *p = r->role == RAFT_LEADER ? raft_progress_of(r, id) : NULL;
    if (p && p->state == RAFT_PEER_REPLICATE)
        probe_from(p, p->match + 1, true);
}

void raft_on_snapshot_sent(struct raft *r)
{
    struct raft_progress *p =
        r->role == RAFT_LEADER ? raft_progress_of(r, r->ev->snapshot.peer) : NULL;
    if (!p || p->state != RAFT_PEER_SNAPSHOT)
        return;
    uint64_t next = p->match + 1;
    if (r->ev->snapshot.ok)
        next = MAX(next, MIN(r->ev->snapshot.index, r->tail.last_index) + 1);
    /* After a failure an answer to a heartbeat tries again. */
    p->progress_ns = r->ev->now_ns;
    probe_from(p, next, !r->ev->snapshot.ok);
}
