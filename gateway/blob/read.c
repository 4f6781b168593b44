/* Reading a range of a replicated blob: one member, hedged by another, failing over to the next.
 * Coded ones: read_coded.c.
 *
 * A try is a call to one member.  A second one begins when the first has failed, or has not
 * answered for longer than most reads of late took (the hedge; a fraction of all reads may have
 * one, so that a cluster that is slow as a whole is not given twice the work).  The first good
 * answer counts.  When all members have been tried in vain, the round begins again until the
 * deadline. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "gateway/blob/internal.h"
#include "gateway/meta/meta_client.h"
#include "proto/methods.h"

#include <assert.h>
#include <stdlib.h>

static_assert(FRAME_BLOCK_BYTES == BLOB_BLOCK_BYTES, "payloads are summed by the blobs' blocks");

#define READ_ROUNDS_MAX 5
#define TRIES_MAX 16
#define HEDGE_TOKENS_MAX 10.0
#define HEDGE_TOKENS_PER_READ 0.1
#define LOCAL_LEAD_BYTES (8u << 20) /* so much busier may the own zone's member be */

struct get_try {
    struct blob_get *get;
    struct rpc_call rpc;
    struct blob_node *node;
    uint64_t sent_ns;
    bool running;
};

struct blob_get {
    struct blob_client *bc;
    struct list node;
    struct blob_read *read; /* NULL once it was called back */
    unsigned rounds, try_count;
    uint32_t tried[PG_LISTS]; /* masks of members, this round */
    int last_err;
    bool hedged;
    struct env_timer timer; /* the hedge, or the next round */
    struct get_try tries[TRIES_MAX];
};

static void get_next(struct blob_get *g);

static bool is_running(const struct blob_get *g)
{
    for (unsigned i = 0; i < g->try_count; i++)
        if (g->tries[i].running)
            return true;
    return false;
}

static void get_free_if_done(struct blob_get *g)
{
    if (g->read || is_running(g))
        return;
    env_timer_stop(&g->timer);
    list_remove(&g->node);
    g->bc->outstanding--;
    free(g);
}

/* Ends the read; g lives on for the calls that still run. */
static void get_end(struct blob_get *g, int err, struct payload data)
{
    struct blob_read *r = g->read;
    g->read = NULL;
    r->get = NULL;
    env_timer_stop(&g->timer);
    for (unsigned i = 0; i < g->try_count; i++)
        if (g->tries[i].running)
            rpc_call_cancel(&g->tries[i].rpc);
    r->err = err;
    r->data = data;
    if (err)
        g->bc->stats.read_failures++;
    else
        g->bc->stats.bytes_read += data.bytes.len;
    r->cb(r);
}

/* Moves the estimate of the 95th percentile: up in large steps when a read took longer, down in
 * small ones when it did not. */
void learn_latency(struct blob_client *bc, uint64_t took_ns)
{
    double estimate = (double)bc->hedge_ns;
    estimate += (double)took_ns > estimate ? estimate * 0.05 * 0.95 : -estimate * 0.05 * 0.05;
    uint64_t least = (uint64_t)bc->config.hedge_min_ms * NS_PER_MS;
    uint64_t most = (uint64_t)bc->config.hedge_max_ms * NS_PER_MS;
    bc->hedge_ns = (uint64_t)estimate;
    bc->hedge_ns = MAX(bc->hedge_ns, least);
    bc->hedge_ns = MIN(bc->hedge_ns, most);
}

int answer_verify(const struct rpc_call *rpc, uint64_t shard_bytes, uint64_t offset, uint64_t bytes,
                  bool checked, struct payload *ret)
{
    const Cairn__GetShardResponse *m = (const Cairn__GetShardResponse *)(const void *)rpc->response;
    struct slice got = rpc->response_payload.bytes;
    if (!m || m->first_byte % BLOB_BLOCK_BYTES != 0 || m->first_byte > offset)
        return ERR_PROTO;
    if (m->shard_bytes != shard_bytes || got.len > shard_bytes - m->first_byte)
        return ERR_CORRUPT;
    if (offset - m->first_byte > got.len || got.len - (offset - m->first_byte) < bytes)
        return ERR_PROTO;
    if (m->n_block_crcs != (got.len + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES)
        return ERR_PROTO;
    const uint32_t *summed = rpc->response_block_crcs;
    for (size_t at = 0, i = 0; at < got.len && checked; at += BLOB_BLOCK_BYTES, i++) {
        size_t n = MIN(BLOB_BLOCK_BYTES, got.len - at);
        uint32_t crc = summed ? summed[i] : crc32c(0, SLICE(got.ptr + at, n));
        if (crc != m->block_crcs[i])
            return ERR_CHECKSUM;
    }
    *ret = payload_ref((struct payload){rpc->response_payload.owner,
                                        SLICE(got.ptr + (offset - m->first_byte), bytes)});
    return OK;
}

/* Of a whole blob: does the answer add up to what the record says?  Its blocks have been verified.
 */
static int verify_whole(const struct blob_read *r, const struct rpc_call *rpc)
{
    const Cairn__GetShardResponse *m = (const Cairn__GetShardResponse *)(const void *)rpc->response;
    uint32_t crc = 0;
    if (!r->has_crc32c || r->bytes != r->blob_bytes)
        return OK;
    for (size_t i = 0; i < m->n_block_crcs; i++)
        crc = crc32c_combine(crc, m->block_crcs[i],
                             MIN(BLOB_BLOCK_BYTES, r->bytes - i * BLOB_BLOCK_BYTES));
    return crc == r->crc32c ? OK : ERR_CHECKSUM;
}

static void owner_take(struct blob_read *r, const struct rpc_call *rpc)
{
    const Cairn__GetShardResponse *m = (const Cairn__GetShardResponse *)(const void *)rpc->response;
    const Cairn__ShardOwner *owner = m->info ? m->info->owner : NULL;
    if (!r->want_owner || !owner)
        return;
    r->has_owner =
        id128_from_slice(SLICE(owner->write_id.data, owner->write_id.len), &r->write_id);
    r->body_bytes = owner->body_bytes;
    r->segment_number = owner->segment_number;
}

static void try_cb(struct rpc_call *rpc)
{
    struct get_try *t = container_of(rpc, struct get_try, rpc);
    struct blob_get *g = t->get;
    struct blob_client *bc = g->bc;
    struct payload data = {0};
    int err = rpc->err;
    t->running = false;
    t->node->outstanding_bytes -= BLOB_BLOCK_BYTES;
    if (g->read) {
        if (err == OK)
            err = answer_verify(rpc, g->read->blob_bytes, g->read->offset, g->read->bytes, true,
                                &data);
        if (err == OK)
            err = verify_whole(g->read, rpc);
        if (err == OK) {
            learn_latency(bc, env_now_ns(bc->env) - t->sent_ns);
            owner_take(g->read, rpc);
        } else {
            payload_unref(&data);
        }
    }
    /* A call that was given up took this long at least. */
    if (rpc->err == OK || rpc->err == ERR_CANCELED || rpc->err == ERR_TIMEOUT)
        node_learn(bc, t->node, &t->node->reads, env_now_ns(bc->env) - t->sent_ns, rpc->err != OK);
    rpc_call_fini(rpc);
    if (err == ERR_CHECKSUM || err == ERR_CORRUPT)
        bc->stats.read_corrupt++;
    if (err == ERR_TIMEOUT || err == ERR_CONN_LOST || err == ERR_UNREACHABLE)
        node_suspect(bc, t->node);
    if (g->read && err == OK) {
        get_end(g, OK, data);
    } else if (g->read) {
        g->last_err = err;
        bc->stats.read_failovers++;
        get_next(g);
    }
    get_free_if_done(g);
}

/* ---- whom to ask ---- */

int holder_score(const struct blob_client *bc, const struct blob_node *n, uint64_t least)
{
    int score = !node_is_usable(bc, n) ? 2 * HOLDER_POOR : node_is_slow(bc, n) ? HOLDER_POOR : 0;
    if (!n->own_zone || n->outstanding_bytes > least + LOCAL_LEAD_BYTES)
        score += 1;
    return score;
}

/* Of the holders in all lists that have not been tried this round. */
static struct blob_node *pick(struct blob_get *g, const struct blob_pg *pg, unsigned *ret_member)
{
    struct blob_node *best = NULL;
    unsigned best_list = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < pg->lists * pg->shard_count; i++) {
        const struct blob_node *n = pg->member[i / pg->shard_count][i % pg->shard_count];
        least = n ? MIN(least, n->outstanding_bytes) : least;
    }
    for (unsigned i = 0; i < pg->lists * pg->shard_count; i++) {
        unsigned list = i / pg->shard_count, shard = i % pg->shard_count;
        struct blob_node *n = pg->member[list][shard];
        if (!n || !n->peer || (g->tried[list] & 1u << shard))
            continue;
        int a = holder_score(g->bc, n, least), b = best ? holder_score(g->bc, best, least) : 99;
        if (a < b || (a == b && n->outstanding_bytes < best->outstanding_bytes)) {
            best = n;
            best_list = list;
            *ret_member = shard;
        }
    }
    if (best)
        g->tried[best_list] |= 1u << *ret_member;
    for (unsigned list = 0; best && list < pg->lists; list++)
        if (pg->member[list][*ret_member] == best) /* the same shard in both lists */
            g->tried[list] |= 1u << *ret_member;
    return best;
}

/* Starts one more try.  Returns: whether one was started. */
static bool try_start(struct blob_get *g)
{
    struct blob_client *bc = g->bc;
    struct blob_read *r = g->read;
    const struct blob_pg *pg = pgs_find(bc, r->pg);
    uint64_t now = env_now_ns(bc->env);
    if (!pg || pg->ec || now >= r->deadline_ns || bc->stopped)
        return false;
    Cairn__GetShardRequest request = CAIRN__GET_SHARD_REQUEST__INIT;
    request.blob_id = (ProtobufCBinaryData){ID_BYTES, r->blob_id.bytes};
    request.offset = r->offset;
    request.bytes = r->bytes;
    request.want_info = r->want_owner;
    unsigned member = 0;
    struct blob_node *n;
    while (g->try_count < TRIES_MAX && (n = pick(g, pg, &member)) != NULL) {
        struct get_try *t = &g->tries[g->try_count];
        request.shard_index = member;
        uint64_t attempt_ns = (uint64_t)bc->config.read_attempt_ms * NS_PER_MS;
        *t = (struct get_try){.get = g, .node = n, .sent_ns = now};
        t->rpc = (struct rpc_call){
            .method = &method_store_get,
            .request = &request.base,
            .timeout_ns = MIN(attempt_ns, r->deadline_ns - now),
            .cb = try_cb,
        };
        if (rpc_call_start(n->peer, &t->rpc) != OK)
            continue;
        t->running = true;
        n->outstanding_bytes += BLOB_BLOCK_BYTES;
        g->try_count++;
        return true;
    }
    return false;
}

/* After a failure: the next member, or the next round, or the end. */
static void get_next(struct blob_get *g)
{
    struct blob_client *bc = g->bc;
    if (try_start(g) || is_running(g))
        return;
    const struct blob_pg *pg = pgs_find(bc, g->read->pg);
    if (pg && pg->ec && g->rounds < READ_ROUNDS_MAX) { /* a newer map has it, and it is coded */
        struct blob_read *r = g->read;
        g->read = NULL;
        r->get = NULL;
        bc->outstanding++;
        coded_read_start(bc, r);
        return;
    }
    if (bc->stopped || g->rounds >= READ_ROUNDS_MAX ||
        env_now_ns(bc->env) >= g->read->deadline_ns) {
        get_end(g,
                bc->stopped   ? ERR_SHUTDOWN
                : g->last_err ? g->last_err
                              : ERR_NO_QUORUM,
                (struct payload){0});
        return;
    }
    /* Perhaps the group has moved; perhaps its nodes come back. */
    meta_client_refresh(bc->mc);
    memset(g->tried, 0, sizeof(g->tried));
    g->try_count = 0;
    g->hedged = true;
    env_timer_start(&g->timer, 30 * NS_PER_MS << g->rounds++);
}

static void get_timer_cb(struct env_timer *timer)
{
    struct blob_get *g = container_of(timer, struct blob_get, timer);
    struct blob_client *bc = g->bc;
    if (!g->read)
        return;
    if (!is_running(g)) {
        get_next(g);
        get_free_if_done(g);
        return;
    }
    if (g->hedged || bc->hedge_tokens < 1)
        return;
    g->hedged = true;
    if (try_start(g)) {
        bc->hedge_tokens -= 1;
        bc->stats.read_hedges++;
    }
}

static void read_refused_cb(struct env_timer *timer)
{
    struct blob_read *r = container_of(timer, struct blob_read, timer);
    r->bc->outstanding--;
    r->err = ERR_NOMEM;
    r->cb(r);
}

void blob_read_start(struct blob_client *bc, struct blob_read *r)
{
    CHECK(r->bytes > 0);
    r->bc = bc;
    r->get = NULL;
    r->coded = NULL;
    r->data = (struct payload){0};
    r->has_owner = false;
    bc->outstanding++;
    bc->stats.reads++;
    bc->hedge_tokens = MIN(bc->hedge_tokens + HEDGE_TOKENS_PER_READ, HEDGE_TOKENS_MAX);
    bool sound = r->blob_bytes <= BLOB_BYTES_MAX && r->offset <= r->blob_bytes &&
                 r->bytes <= r->blob_bytes - r->offset;
    const struct blob_pg *pg = sound ? pgs_find(bc, r->pg) : NULL;
    if (pg && pg->ec) {
        coded_read_start(bc, r);
        return;
    }
    struct blob_get *g = calloc(1, sizeof(*g));
    r->get = g;
    if (!g) {
        env_timer_init(bc->env, &r->timer, read_refused_cb);
        env_timer_start(&r->timer, 0);
        return;
    }
    g->bc = bc;
    g->read = r;
    list_push_back(&bc->gets, &g->node);
    env_timer_init(bc->env, &g->timer, get_timer_cb);
    if (!sound)
        g->rounds = READ_ROUNDS_MAX; /* a record that contradicts itself */
    if (!sound || !try_start(g))
        env_timer_start(&g->timer, 0); /* what comes next may end the read */
    else
        env_timer_start(&g->timer, bc->hedge_ns + bc->hedge_ns / 2);
}

void blob_read_cancel(struct blob_read *r)
{
    struct blob_get *g = r->get;
    if (r->coded)
        coded_read_cancel(r->coded);
    if (!g)
        return;
    g->rounds = READ_ROUNDS_MAX;
    g->last_err = ERR_CANCELED;
    memset(g->tried, 0xff, sizeof(g->tried));
    bool running = is_running(g);
    for (unsigned i = 0; i < g->try_count; i++)
        if (g->tries[i].running)
            rpc_call_cancel(&g->tries[i].rpc);
    if (!running)
        env_timer_start(&g->timer, 0);
}

void gets_stop(struct blob_client *bc)
{
    list_for_each(it, &bc->gets)
    {
        struct blob_get *g = container_of(it, struct blob_get, node);
        if (g->read)
            blob_read_cancel(g->read);
    }
}
