/* Leadership goes back to the partition's preferred replica, the first of its descriptor, so that the
 * groups of a cluster do not all sit on one node.  Gently: only when that replica has kept up for a
 * while, and rarely; soon after this node's start a first time without the long wait. */
#include "metanode/op/internal.h"

#define SETTLE_NS (2 * NS_PER_SEC)       /* led for so long, at least */
#define START_NS (60 * NS_PER_SEC)       /* "soon after the start" */
#define BEHIND_MAX 1000                  /* entries that the preferred replica may lack */

void balance_tick(struct replica *r)
{
    struct meta_node *n = r->node;
    uint64_t now = env_now_ns(n->env);
    uint64_t preferred = topology_raft_id(r->desc->replicas[0]->node_id);
    struct raft_peer_status status;
    if (!r->leading || preferred == n->raft_id || n->draining ||
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
    bool soon = now - n->started_ns < START_NS && r->balance_due_ns == 0;
    if (!soon && now < MAX(r->balance_due_ns, r->led_since_ns + ms_to_ns(n->config.timeouts.balance)))
        return;
    struct raft_event ev = {.type = RAFT_EV_TRANSFER, .peer = preferred};
    r->balance_due_ns = now + ms_to_ns(n->config.timeouts.balance);
    if (replica_step(r, &ev, NULL) == OK) {
        n->stats.transfers++;
        log_info("raft.transfer", 0, L_UINT("partition", r->partition),
                 L_STR("to", r->desc->replicas[0]->node_id));
    }
}
