/* Hands out interim segments (metanode/index/apply_interim.c) to gateways that write them again as
 * shards.
 *
 * All partitions that this node leads are walked round and round, a bounded stretch an answer. What
 * was handed out is claimed for a while, so that several gateways do not do the same work.  Claims
 * live here, in memory: one that is lost (a restart, another leader, a full table) costs work done
 * twice, of which MoveSegment takes one.  For the same reason the applied state is read as it is,
 * without proof of leadership, and a sleeping group is not woken: it has nothing to say to this. */
#include "metanode/op/internal.h"

#include <stdlib.h>

enum {
    CLAIMS = 4096,       /* slots */
    CLAIM_PROBES = 8,    /* of which one claim may take any of so many */
    TAKE_MAX = 64,       /* segments of an answer */
    ROWS_MAX = 32,       /* records looked at for one: each is a few reads, on the loop */
    SEGMENTS_MAX = 4096, /* and segments */
};
_Static_assert((CLAIMS & (CLAIMS - 1)) == 0, "slots are chosen by a mask");

struct interim_claim {
    struct id128 blob_id;
    uint64_t until_ns; /* 0: free */
};

struct interim_claims {
    struct meta_node *node;
    uint64_t now_ns;  /* of the answer being made */
    size_t slot;      /* of the replica where the walk stands */
    struct buf after; /* and where in it */
    struct interim_claim claims[CLAIMS];
};

/* Blob ids are random: any part of one is a hash.  False: somebody works at it, or the table is
 * full hereabouts, and the segment waits for another round. */
static bool claim(void *arg, struct id128 blob_id)
{
    struct interim_claims *c = arg;
    struct interim_claim *found = NULL;
    size_t hash = (size_t)blob_id.bytes[0] << 8 | blob_id.bytes[1];
    for (size_t i = 0; i < CLAIM_PROBES; i++) {
        struct interim_claim *at = &c->claims[(hash + i) & (CLAIMS - 1)];
        bool live = at->until_ns > c->now_ns;
        if (live && id128_eq(at->blob_id, blob_id))
            return false;
        if (!live && !found)
            found = at;
    }
    if (!found)
        return false;
    *found = (struct interim_claim){blob_id,
                                    c->now_ns + ms_to_ns(c->node->config.timeouts.interim_claim)};
    c->node->stats.interim_claims++;
    return true;
}

static bool leads_some(const struct replica *r)
{
    return replica_runs(r) && r->leading && !r->installing && index_interim_count(r->index) > 0;
}

/* One stretch of the walk.  *ret_more: it did not come round. */
static int walk(struct interim_claims *c, struct index_interim_walk *w, bool *ret_more)
{
    struct meta_node *n = c->node;
    *ret_more = false;
    /* The partition where it stands is met twice: its end first, its beginning last. */
    for (size_t i = 0; i <= n->replica_count; i++) {
        if (c->slot >= n->replica_count) {
            c->slot = 0;
            buf_clear(&c->after);
        }
        const struct replica *r = n->replicas[c->slot];
        bool end = true;
        if (leads_some(r)) {
            struct index_view view;
            index_view_init(&view, r->index, NULL);
            w->after = c->after;
            int err = index_interim_walk(&view, w, &end);
            c->after = w->after;
            if (err != OK)
                return err;
        }
        if (!end) {
            *ret_more = true;
            return OK;
        }
        buf_clear(&c->after);
        c->slot++;
    }
    return OK;
}

static int claims_get(struct meta_node *n, struct interim_claims **ret)
{
    if (!n->interim)
        n->interim = calloc(1, sizeof(*n->interim));
    if (!n->interim)
        return ERR_NOMEM;
    n->interim->node = n;
    n->interim->now_ns = env_now_ns(n->env);
    *ret = n->interim;
    return OK;
}

static uint64_t waiting(const struct meta_node *n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n->replica_count; i++)
        if (leads_some(n->replicas[i]))
            sum += index_interim_count(n->replicas[i]->index);
    return sum;
}

void interim_serve(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__InterimRequest *m = (const Cairn__InterimRequest *)req->msg;
    struct index_reply reply = {0};
    Cairn__InterimResponse *answer = &reply.msg.interim;
    struct interim_claims *c = NULL;
    bool more = false;
    cairn__interim_response__init(answer);
    int err = n->stopped || n->failed || n->draining ? ERR_SHUTDOWN : OK;
    if (err == OK)
        answer->waiting = waiting(n);
    if (err == OK && answer->waiting > 0 && m->segments_max > 0)
        err = claims_get(n, &c);
    if (c) {
        struct index_interim_walk w = {.rows_left = ROWS_MAX,
                                       .segments_left = SEGMENTS_MAX,
                                       .take_left = MIN(m->segments_max, (uint32_t)TAKE_MAX),
                                       .take = claim,
                                       .arg = c,
                                       .reply = &reply};
        err = walk(c, &w, &more);
        if (err != OK)
            log_warn("interim.read", 0, L_ERR(err));
    }
    if (err == OK) {
        answer->more = more;
        answer->claim_ms = n->config.timeouts.interim_claim;
        index_interim_finish(&reply);
    }
    rpc_reply(req, err, err == OK ? &answer->base : NULL, NULL, 0);
    index_reply_fini(&reply);
}

void interim_free(struct meta_node *n)
{
    if (n->interim)
        buf_fini(&n->interim->after);
    free(n->interim);
    n->interim = NULL;
}
