/* Idle groups sleep, and the other metanodes are listened to in their stead.
 *
 * The core (metanode/raft/raft_sleep.c) sends a group to sleep when its log has nothing left to say
 * and its leader's driver has nothing under way.  A sleeping replica takes part in no tick, timer
 * or turn: it costs nothing.  A leader that will have something to do at a known time sleeps with
 * an alarm.
 *
 * Liveness of nodes.  Every metanode sends each other one that it shares a partition with at least
 * one batch of Raft messages a heartbeat interval, if need be an empty one, with the number of its
 * life, which is drawn at the process's start.  One that is not heard of for an election timeout,
 * or comes with another life, is lost: what it leads, and what we lead with it, is woken.  An own
 * stall is no evidence against others. */
#include "metanode/op/internal.h"

size_t replica_set_next(const struct replica_set *s, size_t slot)
{
    for (size_t w = slot / 64; w < ARRAY_COUNT(s->words); w++) {
        uint64_t word = s->words[w];
        if (w == slot / 64)
            word &= UINT64_MAX << (slot % 64);
        if (word)
            return w * 64 + (size_t)__builtin_ctzll(word);
    }
    return SIZE_MAX;
}

/* ---- may it sleep? ---- */

static bool is_known_to_live(const struct meta_node *n, struct id128 incarnation)
{
    const struct witness_set *s = &n->witnesses;
    for (unsigned i = 0; i < s->live_count; i++)
        if (id128_eq(s->live[i].incarnation, incarnation))
            return true;
    return false;
}

/* Just those that live are attached, and know everything, the commit index included: an idle stream
 * has no messages. */
static bool witnesses_are_quiet(const struct replica *r)
{
    const struct visible *v = &r->visible;
    const struct witness_set *s = &r->node->witnesses;
    for (unsigned i = 0; i < v->slot_count; i++) {
        const struct visible_slot *slot = &v->slots[i];
        if (slot->dead || slot->state != VISIBLE_OPEN || slot->rewind || slot->under_way > 0 ||
            slot->sent < v->last || slot->acked < v->last || slot->commit_sent < v->commit ||
            !is_known_to_live(r->node, slot->incarnation))
            return false;
    }
    for (unsigned i = 0; i < s->live_count; i++)
        if (visible_may_attach(v, s->live[i].incarnation))
            return false;
    return list_empty(&r->stream.calls);
}

static bool snapshots_are_quiet(const struct replica *r)
{
    for (unsigned i = 0; i < META_REPLICAS_MAX; i++)
        if (r->senders[i])
            return false;
    return !r->receiver && !r->installing && r->resets == 0;
}

/* When the leader will have something to do although nobody asks. */
static uint64_t alarm_of(const struct replica *r)
{
    uint64_t prune = index_outcome_count(r->index) > 0 ? r->prune_due_ns : UINT64_MAX;
    return MIN(prune, balance_alarm(r));
}

static bool is_quiet(struct replica *r, uint64_t now)
{
    bool read = r->read.recent;
    r->read.recent = false;
    return !read && r->leading && !r->node->draining && r->propose.count == 0 &&
           r->read.count == 0 && index_deletion_count(r->index) == 0 && list_empty(&r->writes) &&
           snapshots_are_quiet(r) && witnesses_are_quiet(r) && alarm_of(r) > now;
}

/* ---- asleep and awake ---- */

void sleep_noted(struct replica *r)
{
    struct meta_node *n = r->node;
    bool was = replica_set_next(&n->awake, r->slot) == r->slot;
    bool is = replica_runs(r) && !raft_is_asleep(r->raft);
    if (was == is)
        return;
    replica_set_put(&n->awake, r->slot, is);
    if (!replica_runs(r))
        return;
    n->stats.woken += is;
    n->stats.fell_asleep += !is;
    if (is || !r->leading)
        return;
    r->alarm_ns = alarm_of(r);
    n->alarm_ns = MIN(n->alarm_ns, r->alarm_ns);
}

void sleep_rouse(struct replica *r)
{
    struct raft_event ev = {.type = RAFT_EV_WAKE};
    r->rouse = false;
    if (r->leading && raft_is_asleep(r->raft))
        (void)replica_step(r, &ev, NULL);
}

static void alarms_ring(struct meta_node *n, uint64_t now)
{
    n->alarm_ns = UINT64_MAX;
    for (size_t i = 0; i < n->replica_count && !n->failed; i++) {
        struct replica *r = n->replicas[i];
        if (!replica_runs(r) || !r->leading || !raft_is_asleep(r->raft))
            continue;
        if (r->alarm_ns <= now)
            sleep_rouse(r);
        else
            n->alarm_ns = MIN(n->alarm_ns, r->alarm_ns);
    }
}

void sleep_tick(struct meta_node *n)
{
    uint64_t now = env_now_ns(n->env);
    if (now >= n->alarm_ns)
        alarms_ring(n, now);
    if (n->config.timeouts.sleep_after == 0)
        return;
    replica_set_for_each(i, &n->awake)
    {
        struct replica *r = n->replicas[i];
        if (r->leading)
            raft_set_quiet(r->raft, is_quiet(r, now));
    }
}

/* ---- the other metanodes ---- */

static void lost(struct meta_peer *p)
{
    struct meta_node *n = p->node;
    n->stats.peers_lost++;
    for (size_t i = 0; i < n->replica_count && !n->failed; i++) {
        struct replica *r = n->replicas[i];
        struct raft_event ev = {.type = RAFT_EV_NODE_LOST, .peer = p->raft_id};
        if (replica_runs(r) &&
            (r->leading || (raft_is_asleep(r->raft) && raft_leader(r->raft) == p->raft_id)))
            (void)replica_step(r, &ev, NULL);
    }
}

void sleep_heard(struct meta_peer *p, uint64_t life)
{
    bool reborn = p->life != 0 && p->life != life;
    if (reborn && !MUTANT(SLEEP_PAST_RESTART)) {
        log_info("metanode.peer_reborn", 0, L_STR("peer", p->node_id));
        lost(p);
    }
    p->life = life;
    p->heard_ns = env_now_ns(p->node->env);
    p->lost = false;
}

uint64_t sleep_heard_ns(struct replica *r)
{
    if (r->leading || !raft_is_asleep(r->raft))
        return 0;
    const struct meta_peer *p = transport_peer(r->node, raft_leader(r->raft));
    return p ? p->heard_ns : 0;
}

static void listen(struct meta_peer *p, uint64_t now, uint64_t stalled_ns)
{
    p->heard_ns = MIN(now, p->heard_ns + stalled_ns);
    if (p->life == 0 || p->lost || now - p->heard_ns < ms_to_ns(p->node->config.timeouts.election))
        return;
    p->lost = true;
    log_info("metanode.peer_lost", 0, L_STR("peer", p->node_id));
    lost(p);
}

static void beat_fired(struct env_timer *timer)
{
    struct meta_node *n = container_of(timer, struct meta_node, beat_timer);
    uint64_t now = env_now_ns(n->env), interval = ms_to_ns(n->config.timeouts.heartbeat);
    uint64_t gap = now - n->last_beat_ns, stalled = gap > 2 * interval ? gap - interval : 0;
    n->last_beat_ns = now;
    env_timer_start(&n->beat_timer, interval);
    for (size_t i = 0; i < n->peer_count && !n->failed; i++) {
        struct meta_peer *p = &n->peers[i];
        if (!p->shares)
            continue;
        listen(p, now, stalled);
        if (!n->failed && now - p->sent_ns >= interval - interval / 4)
            transport_beat(p);
    }
}

void sleep_new_life(struct meta_node *n)
{
    do {
        env_random(n->env, &n->life, sizeof(n->life));
    } while (n->life == 0);
}

void sleep_init(struct meta_node *n)
{
    sleep_new_life(n);
    n->alarm_ns = UINT64_MAX;
    env_timer_init(n->env, &n->beat_timer, beat_fired);
}

void sleep_start(struct meta_node *n)
{
    for (size_t i = 0; i < n->replica_count; i++) {
        const Cairn__PartitionDescriptor *d = n->replicas[i]->desc;
        for (size_t k = 0; k < d->n_replicas; k++) {
            struct meta_peer *p = transport_peer(n, topology_raft_id(d->replicas[k]->node_id));
            if (p)
                p->shares = true;
        }
    }
    n->last_beat_ns = env_now_ns(n->env);
    env_timer_start(&n->beat_timer, ms_to_ns(n->config.timeouts.heartbeat));
}

void sleep_stop(struct meta_node *n)
{
    env_timer_stop(&n->beat_timer);
}
