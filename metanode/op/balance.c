/* Leadership goes back to the partition's preferred replica, the first of its descriptor, so that the
 * groups of a cluster do not all sit on one node.  Gently: only when that replica has kept up for a
 * while, and rarely; soon after this node's start a first time without the long wait. */
#include "metanode/op/internal.h"

#define SETTLE_NS (2 * NS_PER_SEC)       /* led for so long, at least */
#define START_NS (60 * NS_PER_SEC)       /* "soon after the start" */
#define BEHIND_MAX 1000                  /* entries that the preferred replica may lack */

static bool is_soon(const struct replica *r, uint64_t now)
{
    return now - r->node->started_ns < START_NS && r->balance_due_ns == 0;
}

static uint64_t due(const struct replica *r)
{
    return MAX(r->balance_due_ns, r->led_since_ns + ms_to_ns(r->node->config.timeouts.balance));
}

/* The next leader of the root would wait a whole lease before it buries anyone. */
static bool is_burying(const struct replica *r)
{
    const struct registry *g = &r->control.registry;
    for (unsigned i = 0; r->partition == ROOT_PARTITION && i < g->count; i++)
        if (g->live[i].stopped)
            return true;
    return false;
}

uint64_t balance_alarm(const struct replica *r)
{
    if (topology_raft_id(r->desc->replicas[0]->node_id) == r->node->raft_id ||
        r->node->config.timeouts.balance == 0)
        return UINT64_MAX;
    return is_soon(r, env_now_ns(r->node->env)) ? 0 : due(r);
}

void balance_tick(struct replica *r)
{
    struct meta_node *n = r->node;
    uint64_t now = env_now_ns(n->env);
    uint64_t preferred = topology_raft_id(r->desc->replicas[0]->node_id);
    struct raft_peer_status status;
    if (!r->leading || preferred == n->raft_id || n->draining || n->config.timeouts.balance == 0 ||
        visible_serving(&r->visible) == 0 || raft_transferee(r->raft) != 0)
        return;
    bool fresh = raft_peer(r->raft, preferred, &status) && status.active && !status.probing &&
                 !status.snapshotting && raft_last_index(r->raft) - status.match <= BEHIND_MAX;
    if (!fresh) {
        r->balance_ok_ns = 0; /* it has to keep up without a break */
        return;
    }
    if (r->balance_ok_ns == 0)
        r->balance_ok_ns = now;
    if (now - r->balance_ok_ns < SETTLE_NS || now - r->led_since_ns < SETTLE_NS)
        return;
    if ((!is_soon(r, now) && now < due(r)) || is_burying(r))
        return;
    struct raft_event ev = {.type = RAFT_EV_TRANSFER, .peer = preferred};
    r->balance_due_ns = now + ms_to_ns(n->config.timeouts.balance);
    if (replica_step(r, &ev, NULL) == OK) {
        n->stats.transfers++;
        log_info("raft.transfer", 0, L_UINT("partition", r->partition),
                 L_STR("to", r->desc->replicas[0]->node_id));
    }
}
