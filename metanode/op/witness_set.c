/* Which witnesses live and which are dead, as this metanode knows it: pushed by the root's leader, and
 * asked for at intervals.  Dead is for ever, so it may be believed whoever says it; "live" is a hint
 * that leads to an Attach. */
#include "metanode/op/internal.h"

#include <stdlib.h>

int witness_set_init(struct meta_node *n)
{
    n->witnesses.dead = calloc(REGISTRY_DEAD_MAX, sizeof(struct id128));
    return n->witnesses.dead ? OK : ERR_NOMEM;
}

bool witness_set_is_dead(const struct meta_node *n, struct id128 incarnation)
{
    const struct witness_set *s = &n->witnesses;
    for (unsigned i = s->dead_count; i-- > 0;) /* the newest are asked about most */
        if (id128_eq(s->dead[i], incarnation))
            return true;
    return false;
}

static bool add_dead(struct meta_node *n, struct id128 incarnation)
{
    struct witness_set *s = &n->witnesses;
    if (witness_set_is_dead(n, incarnation))
        return false;
    if (s->dead_count == REGISTRY_DEAD_MAX) {
        memmove(&s->dead[0], &s->dead[1], (REGISTRY_DEAD_MAX - 1) * sizeof(s->dead[0]));
        s->dead_count--;
    }
    s->dead[s->dead_count++] = incarnation;
    return true;
}

static void apply_all(struct meta_node *n)
{
    for (size_t i = 0; i < n->replica_count; i++)
        if (n->replicas[i] && replica_runs(n->replicas[i]))
            witness_set_apply(n->replicas[i]);
}

void witness_set_learn(struct meta_node *n, const Cairn__WitnessSet *m)
{
    struct witness_set *s = &n->witnesses;
    bool changed = false;
    for (size_t i = 0; i < m->n_dead; i++) {
        struct id128 id;
        if (id128_from_slice(SLICE(m->dead[i].data, m->dead[i].len), &id))
            changed |= add_dead(n, id);
    }
    if (m->version > s->version) {
        s->version = m->version;
        s->live_count = 0;
        for (size_t i = 0; i < m->n_live && s->live_count < REGISTRY_MAX; i++)
            if (witness_ref_unpack(m->live[i], &s->live[s->live_count]) == OK)
                s->live_count++;
        changed = true;
    }
    if (changed)
        apply_all(n);
}

void witness_set_from_registry(struct meta_node *n, const struct registry *g)
{
    struct witness_set *s = &n->witnesses;
    for (unsigned i = 0; i < g->dead_count; i++)
        add_dead(n, g->dead[i]);
    if (g->version > s->version) {
        s->version = g->version;
        s->live_count = g->count;
        for (unsigned i = 0; i < g->count; i++)
            s->live[i] = g->live[i].ref;
    }
    apply_all(n);
}

void witness_set_apply(struct replica *r)
{
    struct visible *v = &r->visible;
    for (unsigned i = 0; i < v->slot_count; i++)
        if (!v->slots[i].dead && witness_set_is_dead(r->node, v->slots[i].incarnation))
            visible_dead(v, v->slots[i].incarnation);
    r->attach_due = true;
    r->rouse = r->leading; /* a sleeping group is attached to just those that live */
    replica_wake(r);
}

void witness_set_turn(struct replica *r)
{
    struct meta_node *n = r->node;
    struct witness_set *s = &n->witnesses;
    if (!r->attach_due || !r->leading || n->stopped || r->visible.commit < r->visible.noop)
        return;
    r->attach_due = false;
    for (unsigned i = 0; i < s->live_count && r->leading; i++) {
        struct control_entry e = {.kind = CONTROL_ATTACH, .ref = s->live[i]};
        if (visible_may_attach(&r->visible, e.ref.incarnation) &&
            !witness_set_is_dead(n, e.ref.incarnation) && propose_control(r, &e, NULL) != OK)
            return; /* the next tick tries again */
    }
    for (unsigned i = 0; i < r->visible.slot_count && r->leading; i++) {
        struct control_entry e = {.kind = CONTROL_DETACH,
                                  .ref = {.incarnation = r->visible.slots[i].incarnation}};
        if (visible_may_detach(&r->visible, i) && propose_control(r, &e, NULL) != OK)
            return;
    }
}

/* ---- asking the root ---- */

struct meta_peer *root_peer(struct meta_node *n, unsigned attempt)
{
    struct replica *r = node_replica(n, ROOT_PARTITION);
    const Cairn__PartitionDescriptor *d = topology_partition(n, ROOT_PARTITION);
    if (r && replica_runs(r)) {
        if (r->leading)
            return NULL;
        struct meta_peer *p = transport_peer(n, raft_leader(r->raft));
        if (p)
            return p;
    }
    for (size_t i = 0; d && i < d->n_replicas; i++) {
        const char *id = d->replicas[(i + attempt) % d->n_replicas]->node_id;
        struct meta_peer *p = transport_peer(n, topology_raft_id(id));
        if (p)
            return p;
    }
    return n->peer_count ? &n->peers[attempt % n->peer_count] : NULL;
}

static void answered(struct rpc_call *call)
{
    struct meta_node *n = container_of(call, struct meta_node, witnesses.call);
    const Cairn__WitnessSetResponse *a = (const Cairn__WitnessSetResponse *)call->response;
    n->witnesses.asking = false;
    if (call->err == OK && a && a->set)
        witness_set_learn(n, a->set);
    else
        n->witnesses.ask_peer++;
    rpc_call_fini(call);
}

/* Attached here, and neither known to live nor to be dead. */
static size_t find_unknown(struct meta_node *n, struct id128 *ret, size_t max)
{
    const struct witness_set *s = &n->witnesses;
    size_t count = 0;
    replica_set_for_each(i, &n->awake)
    {
        const struct visible *v = &n->replicas[i]->visible;
        for (unsigned k = 0; k < v->slot_count && n->replicas[i]->leading; k++) {
            struct id128 id = v->slots[k].incarnation;
            bool known = v->slots[k].dead || witness_set_is_dead(n, id);
            for (unsigned j = 0; j < s->live_count && !known; j++)
                known = id128_eq(s->live[j].incarnation, id);
            for (size_t j = 0; j < count && !known; j++)
                known = id128_eq(ret[j], id);
            if (!known && count < max)
                ret[count++] = id;
        }
    }
    return count;
}

void witness_set_tick(struct meta_node *n)
{
    struct witness_set *s = &n->witnesses;
    uint64_t now = env_now_ns(n->env);
    replica_set_for_each(i, &n->awake)
    {
        n->replicas[i]->attach_due = n->replicas[i]->attach_due || n->replicas[i]->leading;
    }
    if (s->asking || now < s->ask_ns)
        return;
    s->ask_ns = now + ms_to_ns(n->config.timeouts.witness_poll);
    struct meta_peer *peer = root_peer(n, s->ask_peer);
    if (!peer)
        return; /* we lead the root */
    Cairn__WitnessSetRequest req = CAIRN__WITNESS_SET_REQUEST__INIT;
    Cairn__WitnessSet question = CAIRN__WITNESS_SET__INIT;
    Cairn__WitnessRef refs[VISIBLE_ATTACH_MAX], *ptrs[VISIBLE_ATTACH_MAX];
    struct id128 unknown[VISIBLE_ATTACH_MAX];
    question.n_live = find_unknown(n, unknown, VISIBLE_ATTACH_MAX);
    for (size_t i = 0; i < question.n_live; i++) {
        cairn__witness_ref__init(&refs[i]);
        refs[i].incarnation = (ProtobufCBinaryData){ID_BYTES, unknown[i].bytes};
        ptrs[i] = &refs[i];
    }
    question.live = ptrs;
    req.push = &question;
    s->call = (struct rpc_call){.method = &method_root_witness_set, .request = &req.base,
                                .timeout_ns = ms_to_ns(n->config.timeouts.witness_call),
                                .cb = answered};
    if (rpc_call_start(peer->rpc, &s->call) == OK)
        s->asking = true;
    else
        s->ask_peer++;
}

void witness_set_stop(struct meta_node *n)
{
    if (n->witnesses.asking)
        rpc_call_cancel(&n->witnesses.call);
}
