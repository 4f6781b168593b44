/* Who delivers which queue of events (metanode/index/apply_event.c).
 *
 * Gateways deliver; a queue (a bucket's, in a partition) is claimed by one of them at a time, so
 * that each destination gets the events of a key in order.  The partition's leader keeps the
 * claims, in memory: it knows which queues there are, and a claim costs no entry of the log.  A
 * gateway says again and again what it holds; what it is silent about for event_claim may be
 * claimed by another.  It begins no delivery that would outlast its claim.
 *
 * A new leader knows no claims.  Whoever holds a queue says so, and keeps it; others get none
 * before it has led for event_claim: by then every claim that an earlier leader gave is over.  That
 * clocks run at different speeds is in the margin that gateways leave.
 *
 * The applied state is read as it is, without proof of leadership: a deposed leader may give a
 * queue away once more, for as long as it does not know.  The harm is two deliveries of the same
 * events at a time, which their order survives but for what both have under way. */
#include "metanode/op/internal.h"

#include <stdlib.h>

enum {
    CLAIMS = 1024,        /* queues under delivery; beyond them they wait */
    QUEUES_MAX = 256,     /* of one answer */
    LOOKED_AT_MAX = 1024, /* of one question: each is a few reads, on the loop */
};

struct event_claim {
    uint32_t partition;
    uint64_t bucket_id;
    struct id128 claimant;
    uint64_t until_ns; /* 0: free */
};

struct event_claims {
    struct meta_node *node;
    /* Where the search for unclaimed queues goes on. */
    size_t slot;     /* of the replica */
    uint64_t bucket; /* behind this one */
    struct event_claim claims[CLAIMS];
};

/* What is made up for one question. */
struct answer {
    struct event_claims *c;
    struct id128 claimant;
    uint64_t now_ns;
    unsigned looked_at;
    Cairn__EventQueuesResponse msg;
    Cairn__EventQueueInfo queues[QUEUES_MAX];
    Cairn__EventQueueInfo *ptrs[QUEUES_MAX];
};

static struct event_claim *claim_find(struct event_claims *c, uint32_t partition,
                                      uint64_t bucket_id, uint64_t now_ns,
                                      struct event_claim **ret_free)
{
    *ret_free = NULL;
    for (size_t i = 0; i < CLAIMS; i++) {
        struct event_claim *at = &c->claims[i];
        if (at->until_ns <= now_ns) {
            if (!*ret_free)
                *ret_free = at;
        } else if (at->partition == partition && at->bucket_id == bucket_id) {
            return at;
        }
    }
    return NULL;
}

/* held: it says that it has it already. */
static bool claim(struct answer *a, const struct replica *r, uint64_t bucket_id, bool held)
{
    struct meta_node *n = a->c->node;
    struct event_claim *is_free;
    uint64_t claim_ns = ms_to_ns(n->config.timeouts.event_claim);
    struct event_claim *at = claim_find(a->c, r->partition, bucket_id, a->now_ns, &is_free);
    if (at && !id128_eq(at->claimant, a->claimant))
        return false;
    if (!at && !held && a->now_ns < r->led_since_ns + claim_ns)
        return false;
    if (!at)
        at = is_free;
    if (!at)
        return false;
    *at = (struct event_claim){r->partition, bucket_id, a->claimant, a->now_ns + claim_ns};
    return true;
}

static bool leads(const struct replica *r)
{
    return replica_runs(r) && r->leading && !r->installing && r->partition != ROOT_PARTITION;
}

static bool is_named(const struct answer *a, uint32_t partition, uint64_t bucket_id)
{
    for (size_t i = 0; i < a->msg.n_queues; i++)
        if (a->queues[i].partition == partition && a->queues[i].bucket_id == bucket_id)
            return true;
    return false;
}

/* Takes the queue over. */
static void queue_add(struct answer *a, const struct replica *r, uint64_t bucket_id,
                      Cairn__EventQueue **queue, uint64_t oldest_ms)
{
    Cairn__EventQueueInfo *q = &a->queues[a->msg.n_queues];
    cairn__event_queue_info__init(q);
    q->partition = r->partition;
    q->bucket_id = bucket_id;
    q->queue = *queue;
    q->oldest_ms = oldest_ms;
    q->start = r->desc->start;
    q->time_ms = propose_time_ms(r);
    *queue = NULL;
    a->ptrs[a->msg.n_queues++] = q;
}

static void held_again(struct answer *a, const Cairn__EventQueueRef *ref)
{
    struct index_view view;
    Cairn__EventQueue *queue = NULL;
    uint64_t bucket_id, oldest_ms;
    struct replica *r = node_replica(a->c->node, ref->partition);
    if (!r || !leads(r) || ref->bucket_id == 0 || a->msg.n_queues == QUEUES_MAX ||
        is_named(a, r->partition, ref->bucket_id) || !claim(a, r, ref->bucket_id, true))
        return;
    index_view_init(&view, r->index, NULL);
    int err = index_event_queue_next(&view, ref->bucket_id - 1, &bucket_id, &queue, &oldest_ms);
    if (err == OK && bucket_id == ref->bucket_id)
        queue_add(a, r, bucket_id, &queue, oldest_ms);
    if (queue)
        cairn__event_queue__free_unpacked(queue, NULL);
}

/* Further ones of one partition, from where the search stands.  Returns: its end was reached. */
static bool search_partition(struct answer *a, const struct replica *r, size_t max)
{
    struct event_claims *c = a->c;
    struct index_view view;
    index_view_init(&view, r->index, NULL);
    while (a->msg.n_queues < max && a->looked_at < LOOKED_AT_MAX) {
        Cairn__EventQueue *queue;
        uint64_t bucket_id, oldest_ms;
        int err = index_event_queue_next(&view, c->bucket, &bucket_id, &queue, &oldest_ms);
        a->looked_at++;
        if (err != OK) {
            if (err != ERR_END)
                log_warn("events.read", 0, L_ERR(err));
            return true;
        }
        c->bucket = bucket_id;
        if (!is_named(a, r->partition, bucket_id) && claim(a, r, bucket_id, false))
            queue_add(a, r, bucket_id, &queue, oldest_ms);
        else
            cairn__event_queue__free_unpacked(queue, NULL);
    }
    return false;
}

static void search(struct answer *a, size_t max)
{
    struct event_claims *c = a->c;
    struct meta_node *n = c->node;
    /* The partition where it stands is met twice: its end first, its beginning last. */
    for (size_t i = 0; i <= n->replica_count; i++) {
        if (c->slot >= n->replica_count) {
            c->slot = 0;
            c->bucket = 0;
        }
        const struct replica *r = n->replicas[c->slot];
        if (leads(r) && !search_partition(a, r, max))
            return;
        c->bucket = 0;
        c->slot++;
    }
}

static struct event_claims *claims_get(struct meta_node *n)
{
    if (!n->events)
        n->events = calloc(1, sizeof(*n->events));
    if (n->events)
        n->events->node = n;
    return n->events;
}

void event_queues_serve(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__EventQueuesRequest *m = (const Cairn__EventQueuesRequest *)req->msg;
    struct answer *a = calloc(1, sizeof(*a));
    int err = n->stopped || n->failed || n->draining ? ERR_SHUTDOWN : OK;
    if (err == OK && (!a || !claims_get(n)))
        err = ERR_NOMEM;
    if (err == OK && !id128_from_slice(SLICE(m->claimant.data, m->claimant.len), &a->claimant))
        err = ERR_INVAL;
    if (err == OK) {
        a->c = n->events;
        a->now_ns = env_now_ns(n->env);
        cairn__event_queues_response__init(&a->msg);
        a->msg.queues = a->ptrs;
        a->msg.claim_ms = n->config.timeouts.event_claim;
        for (size_t i = 0; i < m->n_held && i < QUEUES_MAX; i++)
            held_again(a, m->held[i]);
        search(a, MIN(a->msg.n_queues + m->queues_max, (size_t)QUEUES_MAX));
    }
    rpc_reply(req, err, err == OK ? &a->msg.base : NULL, NULL, 0);
    for (size_t i = 0; err == OK && i < a->msg.n_queues; i++)
        cairn__event_queue__free_unpacked(a->queues[i].queue, NULL);
    free(a);
}

void event_claims_free(struct meta_node *n)
{
    free(n->events);
    n->events = NULL;
}
