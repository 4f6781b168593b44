/* Blobs that were acknowledged although a member of their group had not taken its shard: a member
 * that has its own is told, and mends them without waiting for a pass over the group.
 *
 * Hints wait a moment, so that those for one node and group travel together; one call a node is
 * under way at a time.  What is too much, or fails, is dropped and counted: whoever loses a hint
 * loses nothing but time. */
#include "common/base/check.h"
#include "gateway/blob/internal.h"
#include "proto/methods.h"

#include <stdlib.h>

#define GATHER_NS (100 * NS_PER_MS)
#define TIMEOUT_NS (5 * NS_PER_SEC)

struct hint_call {
    struct blob_client *bc;
    struct list node;
    struct blob_node *to;
    size_t count; /* of blobs */
    struct rpc_call rpc;
};

static void call_end(struct hint_call *c, int err)
{
    struct blob_client *bc = c->bc;
    *(err ? &bc->stats.hints_dropped : &bc->stats.hints) += c->count;
    c->to->hinted = false;
    list_remove(&c->node);
    bc->outstanding--;
    free(c);
    if (bc->hint_count > 0 && !bc->hint_timer.active)
        env_timer_start(&bc->hint_timer, GATHER_NS);
}

static void call_cb(struct rpc_call *rpc)
{
    int err = rpc->err;
    rpc_call_fini(rpc);
    call_end(container_of(rpc, struct hint_call, rpc), err);
}

/* Takes what is for the same node and group as the hint at `at`, up to a batch; the others move up.
 * Returns: how many were taken. */
static size_t batch_take(struct blob_client *bc, size_t at, struct id128 ret[HINT_BLOBS_MAX])
{
    const struct blob_hint first = bc->hints[at];
    size_t taken = 0, kept = at;
    for (size_t i = at; i < bc->hint_count; i++) {
        const struct blob_hint *h = &bc->hints[i];
        if (taken < HINT_BLOBS_MAX && h->node == first.node && h->pg == first.pg)
            ret[taken++] = h->blob_id;
        else
            bc->hints[kept++] = *h;
    }
    bc->hint_count = kept;
    return taken;
}

static void batch_send(struct blob_client *bc, size_t at)
{
    struct blob_node *to = bc->hints[at].node;
    struct id128 ids[HINT_BLOBS_MAX];
    ProtobufCBinaryData blob_ids[HINT_BLOBS_MAX];
    Cairn__MendRequest request = CAIRN__MEND_REQUEST__INIT;
    request.pg = bc->hints[at].pg;
    request.blob_ids = blob_ids;
    request.n_blob_ids = batch_take(bc, at, ids);
    for (size_t i = 0; i < request.n_blob_ids; i++)
        blob_ids[i] = (ProtobufCBinaryData){ID_BYTES, ids[i].bytes};
    struct hint_call *c = calloc(1, sizeof(*c));
    if (!c) {
        bc->stats.hints_dropped += request.n_blob_ids;
        return;
    }
    c->bc = bc;
    c->to = to;
    c->count = request.n_blob_ids;
    c->rpc = (struct rpc_call){.method = &method_store_mend,
                               .request = &request.base,
                               .timeout_ns = TIMEOUT_NS,
                               .cb = call_cb};
    to->hinted = true;
    list_push_back(&bc->hint_calls, &c->node);
    bc->outstanding++;
    int err = rpc_call_start(to->peer, &c->rpc);
    if (err)
        call_end(c, err);
}

/* For whoever a call is under way, the rest waits for its end. */
static void gathered_cb(struct env_timer *timer)
{
    struct blob_client *bc = container_of(timer, struct blob_client, hint_timer);
    for (size_t i = 0; i < bc->hint_count;) {
        if (bc->hints[i].node->hinted)
            i++;
        else
            batch_send(bc, i);
    }
}

void hint_add(struct blob_client *bc, struct blob_node *n, uint32_t pg, struct id128 blob_id)
{
    if (bc->stopped || bc->hint_count == HINTS_MAX) {
        bc->stats.hints_dropped++;
        return;
    }
    bc->hints[bc->hint_count++] = (struct blob_hint){n, pg, blob_id};
    if (!bc->hint_timer.active)
        env_timer_start(&bc->hint_timer, GATHER_NS);
}

void hint_forget(struct blob_client *bc, struct id128 blob_id)
{
    for (size_t i = 0; i < bc->hint_count; i++)
        if (id128_eq(bc->hints[i].blob_id, blob_id)) {
            bc->hints[i] = bc->hints[--bc->hint_count];
            return;
        }
}

int hints_init(struct blob_client *bc)
{
    list_init(&bc->hint_calls);
    env_timer_init(bc->env, &bc->hint_timer, gathered_cb);
    bc->hints = calloc(HINTS_MAX, sizeof(*bc->hints));
    return bc->hints ? OK : ERR_NOMEM;
}

void hints_stop(struct blob_client *bc)
{
    bc->stats.hints_dropped += bc->hint_count;
    bc->hint_count = 0;
    env_timer_stop(&bc->hint_timer);
    list_for_each(it, &bc->hint_calls)
        rpc_call_cancel(&container_of(it, struct hint_call, node)->rpc);
}

void hints_fini(struct blob_client *bc)
{
    CHECK(list_empty(&bc->hint_calls));
    free(bc->hints);
}
