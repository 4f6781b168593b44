/* What can be asked of a Raft core between steps, and the invariants that hold there. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "metanode/raft/raft_internal.h"

uint64_t raft_id(const struct raft *r)
{
    return r->o.id;
}
enum raft_role raft_role(const struct raft *r)
{
    return r->role;
}
uint64_t raft_term(const struct raft *r)
{
    return r->term;
}
uint64_t raft_leader(const struct raft *r)
{
    return r->leader;
}
uint64_t raft_commit(const struct raft *r)
{
    return r->commit;
}
uint64_t raft_visible(const struct raft *r)
{
    return r->visible;
}
uint64_t raft_applied(const struct raft *r)
{
    return r->applied;
}
uint64_t raft_last_index(const struct raft *r)
{
    return r->tail.last_index;
}
uint64_t raft_last_term(const struct raft *r)
{
    return raft_tail_last_term(&r->tail);
}
uint64_t raft_synced_index(const struct raft *r)
{
    return r->synced_index;
}
bool raft_is_truncating(const struct raft *r)
{
    return r->synced_seq < r->truncate_seq;
}
uint64_t raft_compact_index(const struct raft *r)
{
    return r->tail.base_index;
}
const struct raft_config *raft_config(const struct raft *r)
{
    return &r->config;
}

uint64_t raft_log_bytes(const struct raft *r)
{
    uint64_t entries = r->tail.last_index - r->tail.base_index;
    return raft_tail_bytes(&r->tail, r->tail.base_index, r->tail.last_index) -
           entries * RAFT_ENTRY_OVERHEAD;
}

uint64_t raft_term_start(const struct raft *r)
{
    return r->role == RAFT_LEADER ? r->term_start : 0;
}

uint64_t raft_transferee(const struct raft *r)
{
    return r->role == RAFT_LEADER ? r->transferee : 0;
}

bool raft_term_at(const struct raft *r, uint64_t index, uint64_t *ret)
{
    return raft_tail_term(&r->tail, index, ret);
}

bool raft_peer(const struct raft *r, uint64_t id, struct raft_peer_status *ret)
{
    if (r->role != RAFT_LEADER)
        return false;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct raft_progress *p = &r->peers[i];
        if (p->id != id)
            continue;
        *ret = (struct raft_peer_status){
            .match = p->match,
            .next = p->next,
            .inflight_bytes = p->inflight_bytes,
            .inflight_messages = p->inflight_count,
            .probing = p->state == RAFT_PEER_PROBE,
            .snapshotting = p->state == RAFT_PEER_SNAPSHOT,
            .active = p->active || p->active_before,
        };
        return true;
    }
    return false;
}

bool raft_is_asleep(const struct raft *r)
{
    return r->asleep;
}

/* Nothing is left to be said in a sleeping group. */
static void check_asleep(const struct raft *r)
{
    CHECK(r->role == RAFT_LEADER || (r->role == RAFT_FOLLOWER && r->leader != 0));
    CHECK(r->applied == r->tail.last_index && r->synced_index == r->tail.last_index);
    CHECK(r->held_count == 0 && r->read_count == 0 && !r->ack_due);
    if (r->role != RAFT_LEADER)
        return;
    CHECK(r->quiet && r->transferee == 0);
    for (uint32_t i = 0; i < r->peer_count; i++)
        CHECK(r->peers[i].match == r->tail.last_index || MUTANT(SLEEP_BEHIND));
}

static void check_peer(const struct raft *r, const struct raft_progress *p)
{
    CHECK(p->match <= r->tail.last_index);
    CHECK(p->next > p->match && p->next <= r->tail.last_index + 1);
    CHECK(p->round_acked <= r->round);
    CHECK(p->inflight_count <= r->o.inflight_messages_max);
    CHECK(p->state == RAFT_PEER_REPLICATE || p->inflight_count == 0);
    CHECK(p->inflight_count > 0 || p->inflight_bytes == 0);
}

void raft_check(const struct raft *r)
{
    const struct raft_tail *t = &r->tail;
    CHECK(r->applied <= r->visible && r->visible <= r->commit); /* DESIGN section 9, 2 */
    CHECK(t->base_index <= r->commit && r->commit <= t->last_index);
    CHECK(r->synced_index <= t->last_index && r->synced_seq <= r->seq);
    CHECK(raft_tail_last_term(t) <= r->term);
    for (uint32_t i = 0; i < t->run_count; i++) {
        CHECK(t->runs[i].first > t->base_index && t->runs[i].first <= t->last_index);
        CHECK(t->runs[i].term >= t->base_term);
        CHECK(i == 0 ||
              (t->runs[i].first > t->runs[i - 1].first && t->runs[i].term > t->runs[i - 1].term));
    }
    CHECK(t->run_count > 0 || t->last_index == t->base_index);
    CHECK(r->role != RAFT_LEADER || (r->vote == r->o.id && r->leader == r->o.id));
    CHECK(r->role == RAFT_FOLLOWER || raft_self_is_voter(r));
    CHECK(r->held_count <= RAFT_HELD_MAX && r->read_count <= RAFT_READS_MAX);
    CHECK(r->role == RAFT_LEADER || r->read_count == 0);
    if (r->asleep)
        check_asleep(r);
    if (r->role != RAFT_LEADER)
        return;
    CHECK(r->round_done <= r->round && r->term_start <= t->last_index);
    for (uint32_t i = 0; i < r->peer_count; i++)
        check_peer(r, &r->peers[i]);
}
