/* A follower's side of the log: appends, heartbeats and snapshots from the leader of the term. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"
#include "metanode/raft/raft_internal.h"

/* A sign of life from the leader of m->term >= term.  False: there is another one in this term,
 * which no honest cluster can show. */
static bool contact(struct raft *r, uint64_t from, uint64_t term)
{
    if (!raft_config_is_voter(&r->config, from))
        return false;
    if (term == r->term && (r->role == RAFT_LEADER || (r->leader != 0 && r->leader != from)))
        return false;
    raft_become_follower(r, term, from);
    r->promise_ns = MAX(r->promise_ns, r->ev->now_ns + r->o.election_timeout_ns);
    raft_election_deadline_reset(r);
    /* What is committed here is in the log of every later leader (leader completeness). */
    r->proven = MAX(r->proven, r->commit);
    return true;
}

static void learn_visible(struct raft *r, const struct raft_message *m)
{
    r->visible_learnt = MAX(r->visible_learnt, m->visible);
    raft_commit_to(r, r->commit); /* what is visible may have grown without it */
}

/* ---- appends ---- */

static int append_check(const struct raft_message *m)
{
    if (m->index > UINT64_MAX - m->entry_count || m->log_term > m->term ||
        (m->index == 0) != (m->log_term == 0) || (m->entry_count && !m->entries))
        return ERR_PROTO;
    uint64_t term = m->log_term;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry_meta *e = &m->entries[i];
        if (e->term < term || e->term == 0 || e->term > m->term)
            return ERR_PROTO;
        /* A membership change that this version does not know must not be passed over. */
        if ((unsigned)e->kind > RAFT_ENTRY_CONTROL)
            return ERR_PROTO;
        term = e->term;
    }
    return OK;
}

static void reject(struct raft *r, const struct raft_message *m)
{
    /* Raft paper 5.3, one round a term instead of one an entry: the leader goes back to where it
     * can agree with this. */
    uint64_t hint = raft_tail_agree(&r->tail, m->index, m->log_term);
    uint64_t hint_term = 0;
    bool known = raft_tail_term(&r->tail, hint, &hint_term);
    CHECK(known);
    raft_send(r, (struct raft_message){.type = RAFT_APPEND_REPLY,
                                       .to = m->from,
                                       .reject = true,
                                       .index = m->index,
                                       .hint = hint,
                                       .log_term = hint_term});
}

/* Appends m's entries from `skip` on, after removing what conflicts.
 * OK; ERR_NOMEM; ERR_CORRUPT; ERR_PROTO: nothing happened. */
static int take_entries(struct raft *r, const struct raft_message *m, uint32_t skip)
{
    uint32_t terms = 1;
    for (uint32_t i = skip + 1; i < m->entry_count; i++)
        terms += m->entries[i].term != m->entries[i - 1].term;
    uint64_t from = m->index + 1 + skip;
    if (from <= r->commit)
        return ERR_CORRUPT;
    if (from <= r->proven)
        return ERR_PROTO; /* the leader contradicts what it said before in this term */
    int err = raft_tail_reserve(&r->tail, m->entry_count - skip, terms);
    if (err)
        return err;
    struct raft_write *w = raft_write_open(r);
    if (from <= r->tail.last_index) {
        w->truncate_from = from;
        r->truncate_seq = w->seq;
        r->synced_index = MIN(r->synced_index, from - 1);
        raft_tail_truncate(&r->tail, from);
    }
    w->first_index = from;
    w->entry_count = m->entry_count - skip;
    w->entry_offset = skip;
    for (uint32_t i = skip; i < m->entry_count; i++)
        raft_tail_push(&r->tail, m->entries[i].term, m->entries[i].bytes);
    return OK;
}

/* Entries that the log has already, to be skipped.  Those below the compaction point are committed,
 * and so the same. */
static uint32_t entries_known(const struct raft *r, const struct raft_message *m)
{
    uint32_t skip = 0;
    for (; skip < m->entry_count; skip++) {
        uint64_t index = m->index + 1 + skip;
        uint64_t term = 0;
        if (index <= r->tail.base_index)
            continue;
        if (!raft_tail_term(&r->tail, index, &term) || term != m->entries[skip].term)
            break;
    }
    return skip;
}

int raft_on_append(struct raft *r, const struct raft_message *m)
{
    int err = append_check(m);
    if (err)
        return err;
    if (!contact(r, m->from, m->term))
        return ERR_PROTO;
    uint64_t term = 0;
    if (m->index >= r->tail.base_index &&
        (!raft_tail_term(&r->tail, m->index, &term) || term != m->log_term)) {
        if (m->index <= r->commit)
            return ERR_CORRUPT;
        reject(r, m);
        return OK;
    }
    uint32_t skip = entries_known(r, m);
    if (skip < m->entry_count) {
        err = take_entries(r, m, skip);
        if (err)
            return err;
    }
    uint64_t proven = MAX(m->index + m->entry_count, r->commit);
    r->proven = MAX(r->proven, proven);
    r->ack_due = true;
    /* Raft paper, figure 2: "index of last new entry" is the last that *this message* proved.  What
     * lies behind it in the log may be left over from an older term. */
    uint64_t bound = MUTANT(COMMIT_OWN_LAST) ? r->tail.last_index : proven;
    raft_commit_to(r, MAX(r->commit, MIN(m->commit, bound)));
    learn_visible(r, m);
    return OK;
}

/* Tells the leader how far the log agrees with its own and is durable.  Several appends may be
 * answered by one reply; one that is not synced yet is answered when it is. */
void raft_ack_flush(struct raft *r)
{
    if (!r->ack_due || r->leader == 0 || r->synced_seq < r->hard_state_seq)
        return;
    uint64_t index = MIN(r->proven, raft_counted_index(r));
    bool whole = index == r->proven;
    if (!whole && index <= r->ack_sent)
        return;
    r->ack_due = !whole;
    r->ack_sent = index;
    raft_send(r, (struct raft_message){.type = RAFT_APPEND_REPLY, .to = r->leader, .index = index});
}

int raft_on_heartbeat(struct raft *r, const struct raft_message *m)
{
    if (!contact(r, m->from, m->term))
        return ERR_PROTO;
    /* It carries its own proof: an entry that the leader has seen acknowledged. */
    uint64_t term = 0;
    bool agrees = m->index != 0 && raft_tail_term(&r->tail, m->index, &term) && term == m->log_term;
    uint64_t bound = MUTANT(COMMIT_OWN_LAST) ? r->tail.last_index : agrees ? m->index : 0;
    raft_commit_to(r, MAX(r->commit, MIN(m->commit, bound)));
    learn_visible(r, m);
    raft_follower_sleep(r, m);
    raft_send(
        r, (struct raft_message){
               .type = RAFT_HEARTBEAT_REPLY, .to = m->from, .round = m->round, .sleep = r->asleep});
    return OK;
}

/* ---- snapshots ---- */

static bool log_has(const struct raft *r, uint64_t index, uint64_t log_term)
{
    uint64_t term = 0;
    return raft_tail_term(&r->tail, index, &term) && term == log_term;
}

int raft_on_snapshot_offered(struct raft *r)
{
    uint64_t index = r->ev->snapshot.index;
    if (index > RAFT_NUMBER_MAX || r->ev->snapshot.term > RAFT_NUMBER_MAX ||
        r->ev->snapshot.term < r->term || !contact(r, r->ev->snapshot.peer, r->ev->snapshot.term))
        return ERR_CONFLICT;
    if (index > r->commit && !log_has(r, index, r->ev->snapshot.log_term))
        return OK;
    r->proven = MAX(r->proven, index);
    raft_commit_to(r, MAX(r->commit, index));
    r->ack_due = true;
    return ERR_EXISTS;
}

/* The state machine holds what the snapshot held, so everything up to its index is committed and
 * was visible where it was made.  A log that reaches beyond with the right term stays (thesis 5.3).
 */
int raft_on_snapshot_installed(struct raft *r)
{
    uint64_t index = r->ev->snapshot.index, term = r->ev->snapshot.log_term;
    if (index == 0 || term == 0 || term > r->term)
        return ERR_INVAL;
    bool had = index <= r->commit || log_has(r, index, term);
    if (!had && r->role == RAFT_LEADER)
        return ERR_CORRUPT; /* a leader's log has all that is committed */
    if (!had && r->ev->snapshot.config && raft_config_check(r->ev->snapshot.config) != OK)
        return ERR_INVAL;
    if (!had) {
        struct raft_write *w = raft_write_open(r);
        w->reset_index = index;
        w->reset_term = term;
        r->truncate_seq = w->seq;
        r->synced_index = MIN(r->synced_index, r->commit);
        r->proven = MIN(r->proven, index);
        raft_tail_reset(&r->tail, index, term);
        if (r->ev->snapshot.config) {
            r->config = *r->ev->snapshot.config;
            raft_peers_rebuild(r);
        }
        if (r->role != RAFT_FOLLOWER)
            raft_become_follower(r, r->term, 0);
    }
    raft_commit_to(r, MAX(r->commit, index));
    if (index > r->visible) {
        r->visible = index;
        r->fx->visible_changed = true;
    }
    r->visible_learnt = MAX(r->visible_learnt, r->visible);
    r->applied = MAX(r->applied, index);
    if (r->leader != 0 && r->role == RAFT_FOLLOWER) {
        r->proven = MAX(r->proven, index);
        r->ack_due = true;
    }
    return had ? ERR_EXISTS : OK;
}
