/* The state store is flushed now and then; the logs are truncated below what is flushed.
 *
 * A log is kept while it is small, so that a replica that was away for a while catches up from it.
 * Beyond limits.log_bytes_keep the leader drops what every replica has; beyond log_bytes_max it drops
 * what is flushed, whoever still needs it: a dead replica fills no disk, it gets a snapshot later. */
#include "metanode/op/internal.h"

#define LOOK_AGAIN_NS NS_PER_SEC /* when a flush was due and nothing to be flushed */

static uint64_t least_match(const struct replica *r)
{
    const struct raft_config *c = raft_config(r->raft);
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < c->voter_count; i++) {
        struct raft_peer_status status;
        if (raft_peer(r->raft, c->voters[i], &status))
            least = MIN(least, status.match);
    }
    return least;
}

static uint64_t target_of(const struct replica *r)
{
    const struct meta_limits *l = &r->node->config.limits;
    uint64_t bytes = raft_log_bytes(r->raft);
    uint64_t entries = raft_last_index(r->raft) - raft_compact_index(r->raft);
    uint64_t target = MIN(r->flushed, raft_synced_index(r->raft));
    if (bytes > l->log_bytes_max || entries > l->log_entries_max)
        return target;
    if (bytes <= l->log_bytes_keep && entries <= l->log_entries_max / 4)
        return 0;
    if (r->leading)
        return MIN(target, least_match(r));
    /* A follower cannot know who lags: it keeps more. */
    return bytes > l->log_bytes_max / 2 || entries > l->log_entries_max / 2 ? target : 0;
}

void truncate_replica(struct replica *r)
{
    struct buf header = {0};
    uint64_t term;
    if (!replica_runs(r) || r->installing || r->resets > 0)
        return;
    uint64_t target = target_of(r);
    if (target <= raft_compact_index(r->raft) || !raft_term_at(r->raft, target, &term))
        return;
    const struct raft_config *c = raft_config(r->raft);
    control_header(&r->control, &r->visible, target, term, r->desc->epoch, c->voters,
                   c->voter_count, &header);
    int err = header.failed ? ERR_NOMEM
                            : raft_log_compact(r->log, target, term, buf_view(&header));
    buf_fini(&header);
    if (err == OK)
        err = raft_compact(r->raft, target);
    if (err == OK) {
        visible_compacted(&r->visible, target);
        r->node->stats.compactions++;
        log_debug("log.truncated", 0, L_UINT("partition", r->partition), L_UINT("upto", target));
    } else if (err != ERR_NOMEM) {
        node_fail(r->node, err, "log truncation");
    }
}

static void flushed(struct kv_flush_req *req)
{
    struct meta_node *n = container_of(req, struct meta_node, flush);
    n->flush_running = false;
    if (req->err != OK) {
        node_fail(n, req->err, "state flush");
        return;
    }
    n->stats.state_flushes++;
    for (size_t i = 0; i < n->replica_count; i++) {
        struct replica *r = n->replicas[i];
        r->flushed = MAX(r->flushed, r->flushing);
        if (!n->stopped && !n->failed)
            truncate_replica(r);
    }
    if (n->draining && n->drain_done)
        env_timer_start(&n->tick_timer, 0);
}

static bool has_news(const struct meta_node *n)
{
    for (size_t i = 0; i < n->replica_count; i++)
        if (replica_runs(n->replicas[i]) &&
            index_applied(n->replicas[i]->index) > n->replicas[i]->flushed)
            return true;
    return false;
}

/* A flush is due by time, or because a log has grown: none does asleep. */
static bool is_due(struct meta_node *n)
{
    uint64_t now = env_now_ns(n->env);
    bool grown = false;
    replica_set_for_each(i, &n->awake)
    {
        const struct replica *r = n->replicas[i];
        if (index_applied(r->index) <= r->flushed)
            continue;
        grown |= raft_log_bytes(r->raft) > n->config.limits.log_bytes_keep &&
                 index_applied(r->index) - r->flushed > n->config.limits.log_entries_max / 16;
        grown |= raft_log_bytes(r->raft) > n->config.limits.log_bytes_max;
    }
    if (grown || (!n->draining && now < n->flush_due_ns))
        return grown;
    if (has_news(n))
        return true;
    n->flush_due_ns = MAX(n->flush_due_ns, now + LOOK_AGAIN_NS);
    return false;
}

void truncate_tick(struct meta_node *n)
{
    if (n->flush_running || !is_due(n))
        return;
    for (size_t i = 0; i < n->replica_count; i++)
        n->replicas[i]->flushing = replica_applied(n->replicas[i]);
    n->flush = (struct kv_flush_req){.cb = flushed};
    list_init(&n->flush.node);
    n->flush_due_ns = env_now_ns(n->env) + ms_to_ns(n->config.timeouts.flush);
    int err = n->state_kv->ops->flush_start(n->state_kv, &n->flush);
    if (err == OK)
        n->flush_running = true;
    else
        node_fail(n, err, "state flush");
}
