/* What the leader of the root partition does for witnesses (DESIGN 4.8 and 4.9), and the bootstrap of
 * a new cluster.  Storage nodes and placement groups: placement.c.
 *
 *   unknown ──LeaseRequest──→ Register in the log ──commit──→ registered ──┐
 *                                                      ↑  renewals, each   │
 *                                                      └──under proof──────┘
 *   registered ──reported, silent, or another process under its name──→ stopped (never renewed again)
 *   stopped ──lease waited out, or given up by itself──→ Death in the log ──commit──→ dead for ever
 *
 * Proof that this replica leads: its Raft lease, or a round begun after the request came in: a
 * ReadIndex round, or, while the no-op is committed but not yet visible (a witness may be missing, and
 * the others must not lose their leases over it), an empty control entry of ours that gets committed.
 *
 * Times are of this process's monotonic clock.  A witness counts its lease from the sending of its
 * request, which lies before our granting; node_drift_ns() covers the drift of both clocks.  What an
 * earlier leader granted, it granted before this one was elected: one whole lease from the election
 * covers it. */
#include "metanode/op/internal.h"

#include <stdlib.h>

#define WAITS_MAX 256

struct push {
    struct rpc_call call;
    struct list node;
    struct replica *replica;
};

void root_init(struct replica *r)
{
    list_init(&r->root.waits);
    list_init(&r->root.pushes);
}

static bool leads(const struct replica *r)
{
    /* Committed an entry of its own term: what every earlier leader committed is in the registry. */
    return replica_runs(r) && r->leading && r->visible.commit >= r->visible.noop;
}

/* ---- answers ---- */

static void reply_lease(struct meta_node *n, struct rpc_request *req, int err, uint32_t lease_ms,
                        bool dead)
{
    Cairn__LeaseResponse answer = CAIRN__LEASE_RESPONSE__INIT;
    struct replica *r = node_replica(n, ROOT_PARTITION);
    answer.lease_ms = lease_ms;
    answer.dead = dead;
    answer.leader_hint = (char *)(uintptr_t)(r ? status_leader_id(r) : "");
    n->stats.leases_granted += lease_ms != 0;
    n->stats.leases_refused += lease_ms == 0;
    rpc_reply(req, err, &answer.base, NULL, 0);
}

static void wait_end(struct replica *r, struct lease_wait *w, int err, uint32_t lease_ms, bool dead)
{
    list_remove(&w->node);
    r->root.wait_count--;
    reply_lease(r->node, w->req, err, lease_ms, dead);
    free(w);
}

/* Proof is at hand: grants, if it may be granted at all. */
static void grant(struct replica *r, struct lease_wait *w)
{
    struct meta_node *n = r->node;
    struct registration *g = registry_find(&r->control.registry, w->incarnation);
    uint32_t lease_ms = n->config.timeouts.witness_lease;
    if (!g || g->stopped) {
        bool dead = registry_is_dead(&r->control.registry, w->incarnation);
        wait_end(r, w, dead ? OK : ERR_LEASE, 0, dead);
        return;
    }
    g->lease_until_ns = env_now_ns(n->env) + node_drift_ns(n, lease_ms);
    wait_end(r, w, OK, lease_ms, false);
}

static void fail_waits(struct replica *r, int err)
{
    while (!list_empty(&r->root.waits))
        wait_end(r, container_of(r->root.waits.next, struct lease_wait, node), err, 0, false);
}

/* ---- proof ---- */

/* Begins a round if one is asked for and none runs. */
static void round_begin(struct replica *r)
{
    struct root_state *s = &r->root;
    bool asked = false;
    list_for_each(it, &s->waits)
    {
        asked |= container_of(it, struct lease_wait, node)->round == s->round + 1;
    }
    if (!asked || s->round_running || !leads(r))
        return;
    struct raft_event ev = {.type = RAFT_EV_READ, .read = {.ctx = READ_CTX_ROOT}};
    s->round++;
    s->round_running = true;
    s->round_index = 0;
    int err = replica_step(r, &ev, NULL);
    if (err == ERR_NOT_READY && s->round_running) {
        struct control_entry proof = {.kind = CONTROL_NONE};
        err = propose_control(r, &proof, &s->round_index);
    }
    if (err != OK && s->round_running)
        root_round_ended(r, false);
}

/* Rounds end in the order in which they began, one at a time. */
void root_round_ended(struct replica *r, bool ok)
{
    struct root_state *s = &r->root;
    if (!s->round_running)
        return;
    s->round_running = false;
    s->round_index = 0;
    list_for_each_safe(it, next, &s->waits)
    {
        struct lease_wait *w = container_of(it, struct lease_wait, node);
        if (w->round == 0 || w->round > s->round)
            continue;
        if (ok)
            grant(r, w);
        else
            wait_end(r, w, ERR_NO_QUORUM, 0, false);
    }
    replica_wake(r);
}

/* Grants at once under the Raft lease, else after the next round. */
static void prove(struct replica *r, struct lease_wait *w)
{
    bool proven = raft_lease_valid(r->raft, env_now_ns(r->node->env));
    if (proven || MUTANT(DEPOSED_ROOT_GRANTS)) {
        grant(r, w);
        return;
    }
    w->round = r->root.round + 1;
    replica_wake(r);
}

/* ---- registration ---- */

/* The Register of this incarnation is in the log and not committed. */
static bool is_registering(const struct replica *r, struct id128 incarnation)
{
    const struct control *c = &r->control;
    for (size_t i = 0; i < c->pending_count; i++)
        if (c->pending[i].entry.kind == CONTROL_REGISTER &&
            id128_eq(c->pending[i].entry.ref.incarnation, incarnation))
            return true;
    return false;
}

static unsigned registering_count(const struct replica *r)
{
    unsigned count = 0;
    for (size_t i = 0; i < r->control.pending_count; i++)
        count += r->control.pending[i].entry.kind == CONTROL_REGISTER;
    return count;
}

static int register_start(struct replica *r, const struct witness_ref *ref)
{
    struct registry *g = &r->control.registry;
    struct control_entry e = {.kind = CONTROL_REGISTER, .ref = *ref};
    if (g->count + registering_count(r) >= REGISTRY_MAX)
        return ERR_LIMIT;
    /* Another process under this name, or an earlier life of this one: its lease is waited out. */
    for (unsigned i = 0; i < g->count; i++)
        if (strcmp(g->live[i].ref.name, ref->name) == 0)
            g->live[i].stopped = true;
    log_info("witness.register", 0, L_STR("name", ref->name), L_STR("addr", ref->addr),
             L_BYTES("incarnation", id128_slice(&ref->incarnation)));
    r->node->stats.registrations++;
    return propose_control(r, &e, NULL);
}

/* That very process says that it answers under this incarnation no more: there is nothing to wait out.
 * The name is the certificate's. */
static void give_up(struct replica *r, const char *name, struct id128 incarnation)
{
    struct registration *g = registry_find(&r->control.registry, incarnation);
    if (!g || strcmp(g->ref.name, name) != 0)
        return;
    g->stopped = true;
    g->released = true;
    replica_wake(r);
}

static void lease_request(struct replica *r, struct rpc_request *req, const struct witness_ref *ref)
{
    struct lease_wait *w;
    int err = OK;
    bool known = registry_find(&r->control.registry, ref->incarnation) != NULL;
    if (r->root.wait_count >= WAITS_MAX || !(w = calloc(1, sizeof(*w)))) {
        reply_lease(r->node, req, ERR_OVERLOAD, 0, false);
        return;
    }
    w->req = req;
    w->incarnation = ref->incarnation;
    list_push_back(&r->root.waits, &w->node);
    r->root.wait_count++;
    if (known)
        prove(r, w);
    else if (!is_registering(r, ref->incarnation) && (err = register_start(r, ref)) != OK)
        wait_end(r, w, err, 0, false);
    /* Else it waits for its Register, and then for proof as any other. */
}

void root_serve_lease(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__LeaseRequest *m = (const Cairn__LeaseRequest *)req->msg;
    struct replica *r = node_replica(n, ROOT_PARTITION);
    struct witness_ref ref;
    if (!m->witness || witness_ref_unpack(m->witness, &ref) != OK) {
        reply_lease(n, req, ERR_INVAL, 0, false);
    } else if (strcmp(req->peer.node_id, ref.name) != 0) {
        reply_lease(n, req, ERR_AUTH, 0, false); /* the certificate says who it is */
    } else if (!r || n->stopped || n->failed || !replica_runs(r)) {
        reply_lease(n, req, ERR_NOT_LEADER, 0, false);
    } else if (registry_is_dead(&r->control.registry, ref.incarnation)) {
        reply_lease(n, req, OK, 0, true); /* true on every replica, for ever */
    } else if (MUTANT(DEPOSED_ROOT_GRANTS) && !m->release &&
               registry_find(&r->control.registry, ref.incarnation)) {
        reply_lease(n, req, OK, n->config.timeouts.witness_lease, false);
    } else if (!leads(r)) {
        reply_lease(n, req, ERR_NOT_LEADER, 0, false);
    } else if (m->release) {
        give_up(r, ref.name, ref.incarnation);
        reply_lease(n, req, OK, 0, false);
    } else {
        struct id128 former;
        if (id128_from_slice(SLICE(m->gave_up.data, m->gave_up.len), &former) &&
            !id128_eq(former, ref.incarnation))
            give_up(r, ref.name, former);
        lease_request(r, req, &ref);
    }
}

/* ---- death ---- */

/* It can hold no lease any more, whatever this or an earlier leader granted. */
static bool may_bury(const struct replica *r, const struct registration *g, uint64_t now)
{
    uint64_t lease_ns = ms_to_ns(r->node->config.timeouts.witness_lease);
    if (g->released)
        return true;
    if (MUTANT(DEATH_WITHOUT_WAIT) && g->stopped)
        return true;
    if (MUTANT(DEAD_BEFORE_EXPIRY))
        return now + lease_ns * 3 / 4 >= g->lease_until_ns;
    return now >= g->lease_until_ns && now >= r->root.may_bury_ns;
}

static void bury(struct replica *r)
{
    uint64_t now = env_now_ns(r->node->env);
    for (unsigned i = 0; leads(r) && !r->root.bury_refused && i < r->control.registry.count; i++) {
        struct registration *g = &r->control.registry.live[i];
        struct control_entry e = {.kind = CONTROL_DEATH, .ref = g->ref};
        if (g->burying || !may_bury(r, g, now))
            continue;
        g->stopped = true; /* before the Death is in the log */
        g->burying = true;
        log_info("witness.death", 0, L_STR("name", g->ref.name),
                 L_BYTES("incarnation", id128_slice(&g->ref.incarnation)),
                 L_BOOL("released", g->released));
        r->node->stats.witness_deaths++;
        if (propose_control(r, &e, NULL) == OK)
            continue;
        /* The log takes nothing now (a transfer is under way, or it is full).  The refused step has
         * asked for another turn: to try again in that one would be to do nothing else. */
        r->root.bury_refused = true;
        g = registry_find(&r->control.registry, e.ref.incarnation);
        if (g)
            g->burying = false;
    }
}

void root_report(struct meta_node *n, struct id128 incarnation)
{
    struct replica *r = node_replica(n, ROOT_PARTITION);
    struct registration *g;
    if (!r || !leads(r) || !(g = registry_find(&r->control.registry, incarnation)) || g->stopped)
        return;
    log_info("witness.stopped", 0, L_STR("name", g->ref.name),
             L_BYTES("incarnation", id128_slice(&incarnation)));
    g->stopped = true;
    replica_wake(r);
}

void root_serve_report(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__ReportWitnessRequest *m = (const Cairn__ReportWitnessRequest *)req->msg;
    Cairn__ReportWitnessResponse answer = CAIRN__REPORT_WITNESS_RESPONSE__INIT;
    struct replica *r = node_replica(n, ROOT_PARTITION);
    struct id128 incarnation;
    int err = OK;
    answer.leader_hint = (char *)(uintptr_t)(r ? status_leader_id(r) : "");
    if (!id128_from_slice(SLICE(m->incarnation.data, m->incarnation.len), &incarnation))
        err = ERR_INVAL;
    else if (!r || !leads(r) || n->stopped)
        err = ERR_NOT_LEADER;
    else
        root_report(n, incarnation);
    rpc_reply(req, err, &answer.base, NULL, 0);
}

/* ---- the set of witnesses, told to every metanode ---- */

#define TOLD_DEAD_MAX 256 /* the newest; older ones are answered for when asked about */

struct set_message {
    Cairn__WitnessSet set;
    Cairn__WitnessRef refs[REGISTRY_MAX], *ref_ptrs[REGISTRY_MAX];
    ProtobufCBinaryData dead[TOLD_DEAD_MAX + VISIBLE_SLOTS_MAX];
    struct id128 asked[VISIBLE_SLOTS_MAX];
};

static void set_fill(struct registry *g, struct set_message *m)
{
    cairn__witness_set__init(&m->set);
    unsigned from = g->dead_count > TOLD_DEAD_MAX ? g->dead_count - TOLD_DEAD_MAX : 0;
    m->set.version = g->version;
    m->set.live = m->ref_ptrs;
    m->set.dead = m->dead;
    for (unsigned i = 0; i < g->count; i++) {
        witness_ref_pack(&g->live[i].ref, &m->refs[i]);
        m->ref_ptrs[m->set.n_live++] = &m->refs[i];
    }
    for (unsigned i = from; i < g->dead_count; i++)
        m->dead[m->set.n_dead++] = (ProtobufCBinaryData){ID_BYTES, g->dead[i].bytes};
}

/* Whoever was attached somewhere had been registered before; so an incarnation that a leader of the
 * root, up to date by its lease, does not know, is dead, even if it died too long ago to be listed. */
static void set_answer_questions(struct replica *r, const Cairn__WitnessSet *asked,
                                 struct set_message *m)
{
    size_t count = 0;
    if (!raft_lease_valid(r->raft, env_now_ns(r->node->env)))
        return;
    for (size_t i = 0; i < asked->n_live && count < VISIBLE_SLOTS_MAX; i++) {
        struct id128 *id = &m->asked[count];
        const ProtobufCBinaryData *b = &asked->live[i]->incarnation;
        if (!id128_from_slice(SLICE(b->data, b->len), id) ||
            registry_find(&r->control.registry, *id) || is_registering(r, *id))
            continue;
        m->dead[m->set.n_dead++] = (ProtobufCBinaryData){ID_BYTES, id->bytes};
        count++;
    }
}

/* A push (version not 0) is learnt; a question (version 0: `live` are those whose fate the asker does
 * not know) is answered by the leader. */
void root_serve_witness_set(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__WitnessSetRequest *q = (const Cairn__WitnessSetRequest *)req->msg;
    Cairn__WitnessSetResponse answer = CAIRN__WITNESS_SET_RESPONSE__INIT;
    struct replica *r = node_replica(n, ROOT_PARTITION);
    struct set_message *m = NULL;
    int err = OK;
    answer.leader_hint = (char *)(uintptr_t)(r ? status_leader_id(r) : "");
    if (n->stopped) {
        err = ERR_SHUTDOWN;
    } else if (q->push && q->push->version != 0) {
        witness_set_learn(n, q->push);
    } else if (!r || !leads(r)) {
        err = ERR_NOT_LEADER;
    } else if (!(m = calloc(1, sizeof(*m)))) {
        err = ERR_NOMEM;
    } else {
        set_fill(&r->control.registry, m);
        if (q->push)
            set_answer_questions(r, q->push, m);
        answer.set = &m->set;
    }
    rpc_reply(req, err, &answer.base, NULL, 0);
    free(m);
}

static void push_answered(struct rpc_call *call)
{
    struct push *p = container_of(call, struct push, call);
    list_remove(&p->node);
    rpc_call_fini(&p->call);
    free(p);
}

static void push_all(struct replica *r)
{
    struct meta_node *n = r->node;
    struct set_message *m = calloc(1, sizeof(*m));
    Cairn__WitnessSetRequest req = CAIRN__WITNESS_SET_REQUEST__INIT;
    if (!m)
        return; /* they ask by themselves, a little later */
    set_fill(&r->control.registry, m);
    req.push = &m->set;
    for (size_t i = 0; i < n->peer_count && m->set.version != 0; i++) {
        struct push *p = calloc(1, sizeof(*p));
        if (!p)
            break;
        p->replica = r;
        p->call = (struct rpc_call){.method = &method_root_witness_set, .request = &req.base,
                                    .timeout_ns = ms_to_ns(n->config.timeouts.witness_call),
                                    .cb = push_answered};
        if (rpc_call_start(n->peers[i].rpc, &p->call) == OK)
            list_push_back(&r->root.pushes, &p->node);
        else
            free(p);
    }
    free(m);
}

/* ---- bootstrap ---- */

static void bootstrapped(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg)
{
    (void)arg;
    r->root.bootstrapping = false;
    if (err == OK && outcome && outcome->err == OK)
        log_info("root.bootstrapped", 0, L_UINT("index", outcome->index));
}

static void bootstrap(struct replica *r)
{
    struct meta_node *n = r->node;
    uint64_t now = env_now_ns(n->env);
    if (r->root.bootstrapping || now < r->root.bootstrap_ns || !n->config.root_access_key[0] ||
        visible_serving(&r->visible) == 0 || index_applied(r->index) < r->visible.noop ||
        status_map(n))
        return;
    r->root.bootstrap_ns = now + NS_PER_SEC;
    r->root.bootstrapping = bootstrap_propose(r, bootstrapped) == OK;
}

/* ---- life ---- */

void root_elected(struct replica *r)
{
    struct meta_node *n = r->node;
    r->root.may_bury_ns =
        env_now_ns(n->env) + node_drift_ns(n, n->config.timeouts.witness_lease);
    for (unsigned i = 0; i < r->control.registry.count; i++) {
        struct registration *g = &r->control.registry.live[i];
        g->lease_until_ns = r->root.may_bury_ns;
        g->stopped = g->released = g->burying = false;
    }
    r->root.pushed_version = 0;
    r->root.round_running = false;
    r->root.round_index = 0;
    placement_elected(r);
}

void root_deposed(struct replica *r)
{
    r->root.round_running = false;
    fail_waits(r, ERR_NOT_LEADER);
    placement_stop(r, ERR_NOT_LEADER);
    r->root.bootstrapping = false;
}

void root_committed(struct replica *r, bool registry_changed)
{
    struct root_state *s = &r->root;
    if (!r->leading)
        return;
    if (registry_changed) {
        /* New ones: nobody has granted them anything before this leader; and one that an earlier
         * leader registered was covered at the election. */
        for (unsigned i = 0; i < r->control.registry.count; i++) {
            struct registration *g = &r->control.registry.live[i];
            if (g->lease_until_ns == 0)
                g->lease_until_ns = env_now_ns(r->node->env) +
                                    node_drift_ns(r->node, r->node->config.timeouts.witness_lease);
        }
    }
    if (s->round_running && s->round_index != 0 && r->visible.commit >= s->round_index)
        root_round_ended(r, true);
    replica_wake(r);
}

void root_turn(struct replica *r)
{
    if (!leads(r) || r->node->stopped || r->node->failed)
        return;
    list_for_each_safe(it, next, &r->root.waits)
    {
        struct lease_wait *w = container_of(it, struct lease_wait, node);
        if (w->round != 0 || is_registering(r, w->incarnation))
            continue;
        prove(r, w); /* its Register is committed (or was refused: grant() says so) */
    }
    round_begin(r);
    bury(r);
    if (leads(r) && r->root.pushed_version != r->control.registry.version) {
        r->root.pushed_version = r->control.registry.version;
        push_all(r);
    }
}

void root_tick(struct replica *r, uint64_t stalled_ns)
{
    if (!leads(r))
        return;
    /* While this process stood still, renewals may have come in that it has not seen yet. */
    for (unsigned i = 0; i < r->control.registry.count; i++)
        r->control.registry.live[i].lease_until_ns += stalled_ns;
    r->root.bury_refused = false;
    bootstrap(r);
    placement_tick(r, stalled_ns);
    root_turn(r);
}

void root_stop(struct replica *r)
{
    fail_waits(r, ERR_SHUTDOWN);
    placement_stop(r, ERR_SHUTDOWN);
    list_for_each(it, &r->root.pushes)
    {
        rpc_call_cancel(&container_of(it, struct push, node)->call);
    }
}

void root_free(struct replica *r)
{
    while (!list_empty(&r->root.waits))
        free(container_of(list_pop_front(&r->root.waits), struct lease_wait, node));
    while (!list_empty(&r->root.pushes))
        free(container_of(list_pop_front(&r->root.pushes), struct push, node));
    placement_free(r);
}
