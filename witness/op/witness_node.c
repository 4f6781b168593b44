/* The witness's service and its lease loop.
 *
 *     begin a life ──→ ask ──granted──→ wait renew_ns ──→ ask ...
 *          ↑            │ refused, lost: the next metanode, after a pause
 *          └── the lease ran out, or the root calls this incarnation dead
 */
#include "witness/op/witness_node.h"

#include "common/base/check.h"
#include "common/base/mutant.h"
#include "proto/methods.h"
#include "proto/witness.pb-c.h"

#include <stddef.h>
#include <stdlib.h>

struct root_candidate {
    char *id;
    struct rpc_peer *peer;
};

struct witness_node {
    struct rpc *rpc;
    struct env *env;
    struct witness core;
    struct witness_stats stats;
    char *name, *addr, *zone;
    uint64_t renew_ns, call_timeout_ns;
    struct root_candidate roots[WITNESS_ROOTS_MAX];
    size_t root_count, root_next;

    struct env_timer timer;
    struct rpc_call call; /* the one request to the root under way */
    bool calling;
    struct id128 asked_for;
    struct id128 gave_up; /* the life whose lease ran out, until the root has heard of it; zero: none */
    uint64_t asked_at_ns;

    bool releasing, release_asked;
    struct id128 released;
    void (*release_done)(void *arg);
    void *release_arg;
};

static struct slice bytes_of(const ProtobufCBinaryData *b)
{
    return SLICE(b->data, b->len);
}

static void begin_life(struct witness_node *n)
{
    struct id128 id;
    do {
        env_random(n->env, id.bytes, sizeof(id.bytes));
    } while (id128_is_zero(id) || id128_eq(id, n->core.incarnation));
    witness_begin(&n->core, id);
    n->stats.lives++;
}

/* ---- the lease ---- */

static void ask_root(struct witness_node *n);

static void released(struct witness_node *n)
{
    void (*done)(void *) = n->release_done;
    n->release_done = NULL;
    if (done)
        done(n->release_arg);
}

/* Picks the metanode named by the hint, or the next one. */
static void choose_root(struct witness_node *n, const char *hint)
{
    for (size_t i = 0; hint && *hint && i < n->root_count; i++) {
        if (strcmp(n->roots[i].id, hint) == 0) {
            n->root_next = i;
            return;
        }
    }
    n->root_next = (n->root_next + 1) % n->root_count;
}

static void lease_answered(struct rpc_call *call)
{
    struct witness_node *n = container_of(call, struct witness_node, call);
    const Cairn__LeaseResponse *r = (const Cairn__LeaseResponse *)call->response;
    uint64_t pause = n->renew_ns / 4 + 1;
    n->calling = false;
    if (n->releasing) {
        rpc_call_fini(call);
        if (n->release_asked)
            released(n);
        else
            ask_root(n); /* what ended was the renewal that the release cancelled */
        return;
    }
    if (call->err == OK && r && r->dead) {
        /* Dead for ever: whatever this life still says could be wrong. */
        if (id128_eq(n->asked_for, n->core.incarnation))
            begin_life(n);
        pause = 0;
    } else if (call->err == OK && r && r->lease_ms > 0) {
        witness_granted(&n->core, n->asked_for, n->asked_at_ns, r->lease_ms * NS_PER_MS);
        n->gave_up = (struct id128){{0}}; /* the request that was granted carried it */
        n->stats.leases_granted++;
        pause = n->renew_ns;
    } else {
        choose_root(n, r ? r->leader_hint : NULL);
    }
    rpc_call_fini(call);
    env_timer_start(&n->timer, pause);
}

static void ask_root(struct witness_node *n)
{
    Cairn__WitnessRef ref = CAIRN__WITNESS_REF__INIT;
    Cairn__LeaseRequest req = CAIRN__LEASE_REQUEST__INIT;
    n->asked_for = n->releasing ? n->released : n->core.incarnation;
    n->asked_at_ns = env_now_ns(n->env);
    ref.incarnation = (ProtobufCBinaryData){ID_BYTES, n->asked_for.bytes};
    ref.name = n->name;
    ref.addr = n->addr;
    ref.zone = n->zone;
    req.witness = &ref;
    req.release = n->releasing;
    n->release_asked = n->releasing;
    if (!id128_is_zero(n->gave_up))
        req.gave_up = (ProtobufCBinaryData){ID_BYTES, n->gave_up.bytes};
    n->call = (struct rpc_call){.method = &method_root_lease,
                                .request = &req.base,
                                .timeout_ns = n->call_timeout_ns,
                                .cb = lease_answered};
    if (rpc_call_start(n->roots[n->root_next].peer, &n->call) == OK) {
        n->calling = true;
        return;
    }
    choose_root(n, NULL);
    if (n->releasing)
        released(n);
    else
        env_timer_start(&n->timer, n->renew_ns / 4 + 1);
}

static void lease_due(struct env_timer *timer)
{
    struct witness_node *n = container_of(timer, struct witness_node, timer);
    if (n->calling || n->releasing)
        return;
    /* A lease that lapsed ends the life: leaders may have been told to go on without it. */
    bool had_one = n->core.lease_until_ns != 0;
    if (had_one && !witness_holds_lease(&n->core, env_now_ns(n->env))) {
        /* Only this process knows that the old life has ended: saying so spares the root the wait. */
        n->gave_up = n->core.incarnation;
        begin_life(n);
    }
    ask_root(n);
}

void witness_node_release(struct witness_node *n, void (*done)(void *arg), void *arg)
{
    CHECK(!n->releasing);
    n->releasing = true;
    n->released = n->core.incarnation;
    n->release_done = done;
    n->release_arg = arg;
    witness_release(&n->core); /* before anyone is told */
    env_timer_stop(&n->timer);
    if (n->calling)
        rpc_call_cancel(&n->call); /* its end calls released() */
    else
        ask_root(n);
}

/* ---- the service ---- */

static void serve_open(void *arg, struct rpc_request *req)
{
    struct witness_node *n = arg;
    const Cairn__StreamOpenRequest *m = (const Cairn__StreamOpenRequest *)req->msg;
    Cairn__StreamOpenResponse answer = CAIRN__STREAM_OPEN_RESPONSE__INIT;
    struct witness_open open = {.partition = m->partition, .term = m->term, .target = m->target,
                                .log_first = m->log_first, .commit = m->commit,
                                .stream = m->stream};
    int err = id128_from_slice(bytes_of(&m->incarnation), &open.incarnation) ? OK : ERR_INVAL;
    if (err == OK)
        err = witness_open(&n->core, &open, &answer.resume_after);
    n->stats.opens++;
    n->stats.refused_streams += err != OK;
    const struct witness_partition *p = witness_find(&n->core, m->partition);
    answer.term = p ? p->term : 0;
    answer.incarnation = (ProtobufCBinaryData){ID_BYTES, n->core.incarnation.bytes};
    rpc_reply(req, err, &answer.base, NULL, 0);
}

static void serve_append(void *arg, struct rpc_request *req)
{
    struct witness_node *n = arg;
    const Cairn__StreamAppendRequest *m = (const Cairn__StreamAppendRequest *)req->msg;
    Cairn__StreamAppendResponse answer = CAIRN__STREAM_APPEND_RESPONSE__INIT;
    struct witness_append append = {
        .partition = m->partition, .term = m->term, .stream = m->stream, .prev = m->prev,
        .hash_counts = m->hash_counts, .entry_count = m->n_hash_counts,
        .hashes = m->hashes, .hash_count = m->n_hashes,
        .floors = m->floors, .floor_count = m->n_floors, .commit = m->commit,
    };
    int err = id128_from_slice(bytes_of(&m->incarnation), &append.incarnation) ? OK : ERR_INVAL;
    if (err == OK && m->n_hash_counts > WITNESS_ENTRIES_MAX)
        err = ERR_TOO_LARGE;
    if (err == OK)
        err = witness_append(&n->core, &append, &answer.recv);
    n->stats.entries += m->n_hash_counts;
    n->stats.refused_streams += err != OK;
    const struct witness_partition *p = witness_find(&n->core, m->partition);
    answer.term = p ? p->term : 0;
    answer.stream = m->stream;
    answer.incarnation = (ProtobufCBinaryData){ID_BYTES, n->core.incarnation.bytes};
    rpc_reply(req, err, &answer.base, NULL, 0);
}

/* An answer that waits, for the planted bug THROUGH_AFTER_SLOT only: it shows what happens when
 * `through` is read later than the slot. */
struct late_answer {
    struct witness_node *node;
    struct rpc_request *req;
    struct env_timer timer;
    uint8_t *fresh;
    uint64_t *through;
};

static void send_answer(struct rpc_request *req, uint8_t *fresh, uint64_t *through, size_t count)
{
    Cairn__CheckResponse answer = CAIRN__CHECK_RESPONSE__INIT;
    answer.fresh = (ProtobufCBinaryData){count, fresh};
    answer.n_through = count;
    answer.through = through;
    rpc_reply(req, OK, &answer.base, NULL, 0);
    free(fresh);
    free(through);
}

static void answer_late(struct env_timer *timer)
{
    struct late_answer *late = container_of(timer, struct late_answer, timer);
    const Cairn__CheckRequest *m = (const Cairn__CheckRequest *)late->req->msg;
    for (size_t i = 0; i < m->n_hashes; i++) {
        const struct witness_partition *p = witness_find(&late->node->core, m->partitions[i]);
        late->through[i] = late->fresh[i] && p ? p->through : 0;
    }
    send_answer(late->req, late->fresh, late->through, m->n_hashes);
    free(late);
}

static bool delay_answer(struct witness_node *n, struct rpc_request *req, uint8_t *fresh,
                         uint64_t *through)
{
    struct late_answer *late = MUTANT(THROUGH_AFTER_SLOT) ? calloc(1, sizeof(*late)) : NULL;
    if (!late)
        return false;
    *late = (struct late_answer){.node = n, .req = req, .fresh = fresh, .through = through};
    env_timer_init(n->env, &late->timer, answer_late);
    env_timer_start(&late->timer, 5 * NS_PER_MS);
    return true;
}

static void serve_check(void *arg, struct rpc_request *req)
{
    struct witness_node *n = arg;
    const Cairn__CheckRequest *m = (const Cairn__CheckRequest *)req->msg;
    size_t count = m->n_hashes;
    if (m->n_partitions != count || m->n_as_of != count || count > WITNESS_QUESTIONS_MAX) {
        rpc_reply(req, ERR_INVAL, NULL, NULL, 0);
        return;
    }
    uint8_t *fresh = malloc(count ? count : 1);
    uint64_t *through = malloc((count ? count : 1) * sizeof(*through));
    if (!fresh || !through) {
        free(fresh);
        free(through);
        rpc_reply(req, ERR_NOMEM, NULL, NULL, 0);
        return;
    }
    for (size_t i = 0; i < count; i++)
        fresh[i] = witness_check(&n->core, m->partitions[i], m->hashes[i], m->as_of[i],
                                 env_now_ns(n->env), &through[i]);
    /* The clock once more, after the last table was read: a process that was suspended in between
     * must not answer for a lease that ended meanwhile. */
    if (!witness_holds_lease(&n->core, env_now_ns(n->env)) && !MUTANT(ANSWER_WITHOUT_LEASE))
        memset(fresh, 0, count);
    n->stats.questions += count;
    for (size_t i = 0; i < count; i++)
        n->stats.fresh += fresh[i];
    if (!delay_answer(n, req, fresh, through))
        send_answer(req, fresh, through, count);
}

/* ---- life of the node ---- */

static int copy_config(struct witness_node *n, const struct witness_config *c)
{
    n->name = strdup(c->name);
    n->addr = strdup(c->addr);
    n->zone = strdup(c->zone);
    n->renew_ns = c->renew_ns;
    n->call_timeout_ns = c->call_timeout_ns;
    if (!n->name || !n->addr || !n->zone)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->metanode_count; i++) {
        n->roots[i].id = strdup(c->metanode_ids[i]);
        if (!n->roots[i].id)
            return ERR_NOMEM;
        n->root_count++;
        n->roots[i].peer = rpc_peer_get(n->rpc, c->metanode_addrs[i], c->metanode_ids[i]);
        if (!n->roots[i].peer)
            return ERR_NOMEM;
    }
    return OK;
}

int witness_node_new(struct rpc *rpc, const struct witness_config *config,
                     struct witness_node **ret)
{
    if (config->metanode_count == 0 || config->metanode_count > WITNESS_ROOTS_MAX ||
        config->slot_bits < 1 || config->slot_bits > WITNESS_SLOT_BITS_MAX ||
        config->partitions_max < 1 || config->partitions_max > WITNESS_PARTITIONS_MAX ||
        config->renew_ns == 0 || config->call_timeout_ns == 0)
        return ERR_INVAL;
    struct witness_node *n = calloc(1, sizeof(*n));
    if (!n)
        return ERR_NOMEM;
    n->rpc = rpc;
    n->env = rpc_env(rpc);
    witness_init(&n->core, config->slot_bits, config->partitions_max);
    env_timer_init(n->env, &n->timer, lease_due);
    int err = copy_config(n, config);
    if (err == OK)
        err = rpc_serve(rpc, &method_witness_open, serve_open, n);
    if (err == OK)
        err = rpc_serve(rpc, &method_witness_append, serve_append, n);
    if (err == OK)
        err = rpc_serve(rpc, &method_witness_check, serve_check, n);
    if (err != OK) {
        witness_node_free(n);
        return err;
    }
    begin_life(n);
    env_timer_start(&n->timer, 0);
    *ret = n;
    return OK;
}

void witness_node_free(struct witness_node *n)
{
    if (!n)
        return;
    env_timer_stop(&n->timer);
    for (size_t i = 0; i < n->root_count; i++)
        free(n->roots[i].id);
    free(n->name);
    free(n->addr);
    free(n->zone);
    witness_fini(&n->core);
    free(n);
}

bool witness_node_holds_lease(struct witness_node *n)
{
    return witness_holds_lease(&n->core, env_now_ns(n->env));
}

bool witness_node_ready(struct witness_node *n)
{
    for (uint32_t i = 0; i < n->core.partition_count; i++)
        if (!n->core.partitions[i].ready)
            return false;
    return witness_node_holds_lease(n);
}

const struct witness *witness_node_core(const struct witness_node *n)
{
    return &n->core;
}

const struct witness_stats *witness_node_stats(const struct witness_node *n)
{
    return &n->stats;
}
