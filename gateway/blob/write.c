/* Writing a blob: all shards at once, success when enough are durable, another group when that
 * cannot be.  An attempt (blob_put) is an object of its own, because its last shards outlive the
 * write that began it: the bytes are kept, and counted by the budget, until every holder has
 * answered.
 *
 *   start ─► attempt: shards under way ─┬─ quorum: callback; stragglers go on for straggler_ms
 *                 ▲                     └─ quorum lost: cancel the rest, delete what was written
 *                 └── another group ◄─────┘
 *
 * What has won and lacks a shard in the end is told to a member that has its own, which mends it
 * (hint.c).
 *
 * For a coded group the parity is made, and proved to decode, before the first attempt (code.h);
 * further attempts at groups of the same code send the same bytes.  A group that calls the epoch
 * old is tried again when the map has a newer one. */
#include "common/base/check.h"
#include "gateway/blob/code.h"
#include "gateway/blob/internal.h"
#include "gateway/meta/meta_client.h"
#include "proto/methods.h"

#include <stdlib.h>

#define WRITE_ATTEMPTS_MAX 8
#define CODED_ATTEMPTS_MAX 3
#define EPOCH_WAIT_NS (50 * NS_PER_MS)

/* The bytes, shared by the attempts of one write. */
struct blob_body {
    unsigned refs;
    struct blob_segment segment;
    const struct ec *made; /* the code whose shards are in segment.parity; NULL: none are yet */
    struct pg_avoid avoid[WRITE_ATTEMPTS_MAX]; /* groups that failed */
    size_t avoid_count;
};

struct put_shard {
    struct blob_put *put;
    struct rpc_call rpc;
    struct blob_node *node;
    unsigned index;
    unsigned lists; /* mask: of which lists of members the node is the holder */
    size_t bytes;
    uint64_t sent_ns;
    bool running, durable, maybe_durable;
};

struct blob_put {
    struct blob_client *bc;
    struct list node;
    struct blob_write *write; /* NULL once it was called back, or went on to another attempt */
    struct blob_body *body;
    struct blob_pg pg; /* as it was when the attempt began */
    struct id128 blob_id;
    bool won, epoch_is_old;
    bool discarded; /* it had won, and no record will name it */
    struct env_timer straggler_timer;
    unsigned count;
    struct put_shard shard[]; /* room for shard_count * lists */
};

static void body_unref(struct blob_body *body)
{
    if (--body->refs > 0)
        return;
    blob_segment_fini(&body->segment);
    free(body);
}

static void write_end(struct blob_write *w, int err)
{
    struct blob_client *bc = w->bc;
    env_timer_stop(&w->timer);
    w->err = err;
    if (err)
        bc->stats.write_failures++;
    bc->stats.proofs_failed += err == ERR_CORRUPT; /* nothing else ends a write so */
    bc->outstanding--;
    w->cb(w);
}

/* ---- one attempt ---- */

static bool has_quorum(const struct blob_put *put, bool with_running)
{
    uint32_t durable[PG_LISTS] = {0};
    for (unsigned i = 0; i < put->count; i++) {
        const struct put_shard *s = &put->shard[i];
        if (!s->durable && !(with_running && s->running))
            continue;
        for (unsigned list = 0; list < PG_LISTS; list++)
            durable[list] |= s->lists & 1u << list ? 1u << s->index : 0;
    }
    return pg_quorum(put->bc, &put->pg, durable);
}

static void put_cancel_rest(struct blob_put *put, bool too_slow)
{
    for (unsigned i = 0; i < put->count; i++) {
        if (!put->shard[i].running)
            continue;
        if (too_slow)
            node_suspect(put->bc, put->shard[i].node);
        rpc_call_cancel(&put->shard[i].rpc);
    }
}

/* Has the node, holder of shard `index` in that list, taken it? */
static bool put_took(const struct blob_put *put, unsigned list, unsigned index)
{
    for (unsigned i = 0; i < put->count; i++) {
        const struct put_shard *s = &put->shard[i];
        if (s->index == index && (s->lists & 1u << list) && s->durable)
            return true;
    }
    return false;
}

/* If a holder lacks its shard, one that has its own is told.  Whoever the map calls down looks for
 * what it has missed when it is back. */
static void put_hint(const struct blob_put *put)
{
    struct blob_node *to = NULL;
    bool lacking = false;
    if (!put->won || put->discarded)
        return;
    for (unsigned list = 0; list < put->pg.lists; list++) {
        for (unsigned i = 0; i < put->pg.shard_count; i++) {
            struct blob_node *n = put->pg.member[list][i];
            if (!n || n->down)
                continue;
            bool took = put_took(put, list, i);
            lacking |= !took;
            if (took && (!to || (to->draining && !n->draining)))
                to = n;
        }
    }
    if (lacking && to)
        hint_add(put->bc, to, put->pg.id, put->blob_id);
}

static void put_free_if_done(struct blob_put *put)
{
    struct blob_client *bc = put->bc;
    bool any = false;
    for (unsigned i = 0; i < put->count; i++) {
        if (put->shard[i].running)
            return;
        any |= put->shard[i].maybe_durable;
    }
    CHECK(!put->write);
    env_timer_stop(&put->straggler_timer);
    put_hint(put);
    /* No record will ever name what a failed attempt left behind. */
    bc->stats.discards += !put->won && any;
    for (unsigned i = 0; i < put->count && !put->won; i++)
        if (put->shard[i].maybe_durable)
            discard_at(bc, put->shard[i].node, put->blob_id);
    list_remove(&put->node);
    body_unref(put->body);
    free(put);
    bc->outstanding--;
}

static void straggler_cb(struct env_timer *timer)
{
    struct blob_put *put = container_of(timer, struct blob_put, straggler_timer);
    put->bc->stats.stragglers_dropped++;
    put_cancel_rest(put, true);
}

/* It is to be coded, if a group can be found. */
static bool is_for_code(const struct blob_client *bc, const struct blob_segment *segment)
{
    return segment->parity_bytes > 0 && segment->buf->len > bc->config.replicate_bytes_max;
}

static void put_won(struct blob_put *put)
{
    struct blob_client *bc = put->bc;
    struct blob_write *w = put->write;
    bool suspects_only = true;
    put->won = true;
    put->write = NULL;
    for (unsigned i = 0; i < put->count; i++)
        if (put->shard[i].running && node_is_usable(bc, put->shard[i].node))
            suspects_only = false;
    /* A node that was slow a moment ago is not waited for again and again. */
    env_timer_start(&put->straggler_timer,
                    (uint64_t)bc->config.straggler_ms * NS_PER_MS / (suspects_only ? 20 : 1));
    bc->stats.bytes_written += put->body->segment.buf->len;
    bc->stats.coded_writes += put->pg.ec != NULL;
    w->pg = put->pg.id;
    w->blob_id = put->blob_id;
    w->bytes = put->body->segment.buf->len;
    w->crc32c = blob_segment_crc(&put->body->segment);
    w->interim =
        !put->pg.ec && is_for_code(bc, &put->body->segment) ? blob_interim_of(w->scheme) : 0;
    write_end(w, OK);
}

static void put_lost(struct blob_put *put)
{
    struct blob_write *w = put->write;
    struct blob_body *body = put->body;
    put->write = NULL;
    /* With a newer epoch it is another group. */
    if (body->avoid_count < WRITE_ATTEMPTS_MAX)
        body->avoid[body->avoid_count++] =
            (struct pg_avoid){put->pg.id, put->epoch_is_old ? put->pg.epoch : UINT64_MAX};
    body->refs++; /* now the write's; its timer starts the next attempt */
    w->body = body;
    put_cancel_rest(put, false);
    env_timer_start(&w->timer, body->avoid_count > 1 ? body->avoid_count * 20 * NS_PER_MS : 0);
}

/* What a node that took a shard thereby says of itself. */
static void put_learn(const struct blob_client *bc, struct blob_node *n, const struct rpc_call *rpc)
{
    const Cairn__PutShardResponse *m = (const Cairn__PutShardResponse *)(const void *)rpc->response;
    n->suspect_until_ns = n->full_until_ns = 0;
    if (!m || m->bytes_total == 0)
        return; /* a version that does not tell */
    n->bytes_free = MIN(m->bytes_free, m->bytes_total);
    n->told_ns = env_now_ns(bc->env);
}

static void shard_cb(struct rpc_call *rpc)
{
    struct put_shard *s = container_of(rpc, struct put_shard, rpc);
    struct blob_put *put = s->put;
    struct blob_client *bc = put->bc;
    int err = rpc->err;
    s->running = false;
    s->node->outstanding_bytes -= s->bytes;
    s->durable = err == OK;
    s->maybe_durable = s->durable || err_class(err) == ERR_CLASS_UNKNOWN_OUTCOME;
    if (err == OK) {
        put_learn(bc, s->node, rpc);
    } else if (err == ERR_EPOCH) {
        put->epoch_is_old = true;
        meta_client_refresh(bc->mc);
    } else if (err == ERR_NOSPACE) {
        s->node->full_until_ns = env_now_ns(bc->env) + SUSPECT_FOR_NS;
    } else if (err != ERR_CANCELED) {
        node_suspect(bc, s->node);
    }
    /* A call that was given up took this long at least. */
    if (err == OK || err == ERR_TIMEOUT || (err == ERR_CANCELED && put->won))
        node_learn(bc, s->node, &s->node->writes, env_now_ns(bc->env) - s->sent_ns, err != OK);
    rpc_call_fini(rpc);
    pgs_update(bc); /* a zone may have come up, or been declared down, since the attempt began */
    if (put->write && has_quorum(put, false))
        put_won(put);
    else if (put->write && !has_quorum(put, true))
        put_lost(put);
    put_free_if_done(put);
}

/* Never before the cluster was: by a clock that is a little behind its root's, the first blobs would
 * be, and what is older than the cluster is nobody's to condemn (storagenode/orphans/agent.h). */
static uint64_t time_ms(const struct blob_put *put)
{
    const Cairn__ClusterMap *map = meta_client_map(put->bc->mc);
    uint64_t now_ms = env_wall_ms(put->bc->env);
    return map ? MAX(now_ms, map->created_ms) : now_ms;
}

/* What all shards of the attempt have in common. */
static void put_request_init(const struct blob_put *put, Cairn__PutShardRequest *request)
{
    const struct blob_pg *pg = &put->pg;
    cairn__put_shard_request__init(request);
    request->pg = pg->id;
    request->pg_epoch = pg->epoch;
    request->blob_id = (ProtobufCBinaryData){ID_BYTES, (uint8_t *)(uintptr_t)put->blob_id.bytes};
    request->scheme = pg->ec ? CAIRN__SCHEME__SCHEME_RS : CAIRN__SCHEME__SCHEME_REP3;
    request->data_shards = pg_data(pg);
    request->parity_shards = pg->shard_count - pg_data(pg);
    request->blob_bytes = put->body->segment.buf->len;
    request->blob_crc32c = blob_segment_crc(&put->body->segment);
    request->owner = put->write->owner;
    request->time_ms = put->write->time_ms = time_ms(put);
}

/* Shard `index` of the attempt, and how it goes into a request. */
static void put_pieces(const struct blob_put *put, unsigned index, struct code_shard *ret,
                       Cairn__PutShardRequest *request)
{
    const struct blob_segment *segment = &put->body->segment;
    size_t len = segment->buf->len;
    if (put->pg.ec)
        code_shard(put->pg.ec, segment, index, ret);
    else
        *ret = (struct code_shard){
            .piece[0] = {segment->buf, SLICE(segment->buf->data, len)},
            .piece_count = 1,
            .crcs = segment->crc,
            .crc_count = (len + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES,
        };
    request->shard_index = index;
    request->bytes = 0;
    for (unsigned i = 0; i < ret->piece_count; i++)
        request->bytes += ret->piece[i].bytes.len;
    request->n_block_crcs = ret->crc_count;
    request->block_crcs = (uint32_t *)(uintptr_t)ret->crcs;
}

/* Sends one shard to one holder.  Refused: it has failed. */
static void shard_send(struct blob_put *put, struct blob_node *n, unsigned lists,
                       const struct code_shard *shard, const Cairn__PutShardRequest *request,
                       uint64_t timeout_ns)
{
    struct put_shard *s = &put->shard[put->count];
    *s = (struct put_shard){.put = put,
                            .node = n,
                            .index = request->shard_index,
                            .lists = lists,
                            .bytes = (size_t)request->bytes,
                            .sent_ns = env_now_ns(put->bc->env)};
    s->rpc = (struct rpc_call){
        .method = &method_store_put,
        .request = &request->base,
        .payload_count = shard->piece_count,
        .timeout_ns = timeout_ns,
        .cb = shard_cb,
    };
    memcpy(s->rpc.payload, shard->piece, shard->piece_count * sizeof(shard->piece[0]));
    if (rpc_call_start(n->peer, &s->rpc) != OK)
        return;
    s->running = true;
    n->outstanding_bytes += s->bytes;
    put->count++;
}

static void put_send(struct blob_put *put, uint64_t timeout_ns)
{
    Cairn__PutShardRequest request;
    put_request_init(put, &request);
    for (unsigned i = 0; i < put->pg.shard_count; i++) {
        struct blob_node *now = put->pg.member[0][i], *next = put->pg.member[1][i];
        struct code_shard shard;
        put_pieces(put, i, &shard, &request);
        if (now && now->peer)
            shard_send(put, now, now == next ? 3 : 1, &shard, &request, timeout_ns);
        if (next && next->peer && next != now)
            shard_send(put, next, 2, &shard, &request, timeout_ns);
    }
}

/* ---- the write ---- */

static bool may_wait_for_epoch(const struct blob_body *body)
{
    for (size_t i = 0; i < body->avoid_count; i++)
        if (body->avoid[i].epoch != UINT64_MAX)
            return true;
    return false;
}

/* Returns: OK; ERR_NOMEM; ERR_CORRUPT. */
static int body_make(struct blob_body *body, const struct ec *ec, struct id128 blob_id)
{
    struct blob_segment *s = &body->segment;
    if (!s->parity)
        s->parity = budget_buffer(s->budget, code_buffer_bytes(ec, s->buf->len));
    return s->parity ? code_make(ec, s, blob_id) : ERR_NOMEM;
}

/* The memory of the next attempt, its group chosen and its shards made.
 * Returns: OK; ERR_EPOCH (a newer map may offer a group); why the write has failed. */
static int put_new(struct blob_write *w, struct blob_put **ret)
{
    struct blob_client *bc = w->bc;
    struct blob_body *body = w->body;
    struct pg_wish wish = {.avoid = body->avoid,
                           .avoid_count = body->avoid_count,
                           .bytes = body->segment.buf->len,
                           .scheme = w->scheme,
                           .made = body->made,
                           .coded_only = w->coded_only};
    if (w->coded_only || is_for_code(bc, &body->segment))
        wish.parity_cap = body->segment.parity_bytes;
    if (bc->stopped)
        return ERR_SHUTDOWN;
    if (env_now_ns(bc->env) >= w->deadline_ns)
        return ERR_TIMEOUT;
    if (body->avoid_count >= WRITE_ATTEMPTS_MAX)
        return ERR_NO_QUORUM;
    /* What failed at several coded groups is not tried at all of them: copies need less. */
    struct pg_wish copies = wish;
    copies.parity_cap = 0;
    const struct blob_pg *pg =
        body->avoid_count >= CODED_ATTEMPTS_MAX && !w->coded_only ? pgs_choose(bc, &copies) : NULL;
    if (!pg)
        pg = pgs_choose(bc, &wish);
    if (!pg)
        return may_wait_for_epoch(body) ? ERR_EPOCH : ERR_NO_QUORUM;
    struct blob_put *put =
        calloc(1, sizeof(*put) + pg->shard_count * pg->lists * sizeof(struct put_shard));
    if (!put)
        return ERR_NOMEM;
    put->bc = bc;
    put->pg = *pg;
    env_random(bc->env, put->blob_id.bytes, ID_BYTES);
    int err = pg->ec && !body->made ? body_make(body, pg->ec, put->blob_id) : OK;
    if (err != OK) {
        free(put);
        return err;
    }
    body->made = pg->ec ? pg->ec : body->made;
    *ret = put;
    return OK;
}

/* Takes the write's reference to the body, and its memory. */
static void put_start(struct blob_write *w, struct blob_put *put)
{
    struct blob_client *bc = w->bc;
    put->write = w;
    put->body = w->body;
    w->body = NULL;
    env_timer_init(bc->env, &put->straggler_timer, straggler_cb);
    list_push_back(&bc->puts, &put->node);
    bc->outstanding++;
    bc->stats.write_retries += put->body->avoid_count > 0;
    uint64_t attempt_ns = (uint64_t)bc->config.write_attempt_ms * NS_PER_MS;
    uint64_t now = env_now_ns(bc->env); /* encoding took its time */
    put_send(put, MIN(attempt_ns, w->deadline_ns > now ? w->deadline_ns - now : 1));
    if (!has_quorum(put, true)) {
        put_lost(put);
        put_free_if_done(put);
    }
}

static void write_timer_cb(struct env_timer *timer)
{
    struct blob_write *w = container_of(timer, struct blob_write, timer);
    struct blob_put *put;
    int err = put_new(w, &put);
    if (err == OK) {
        put_start(w, put);
        return;
    }
    if (err == ERR_EPOCH) {
        meta_client_refresh(w->bc->mc);
        env_timer_start(&w->timer, EPOCH_WAIT_NS);
        return;
    }
    body_unref(w->body);
    w->body = NULL;
    write_end(w, err);
}

static void write_refused_cb(struct env_timer *timer)
{
    write_end(container_of(timer, struct blob_write, timer), ERR_NOMEM);
}

void blob_write_start(struct blob_client *bc, struct blob_write *w)
{
    struct blob_body *body = calloc(1, sizeof(*body));
    struct blob_put *put;
    w->bc = bc;
    bc->outstanding++;
    bc->stats.writes++;
    env_timer_init(bc->env, &w->timer, body ? write_timer_cb : write_refused_cb);
    if (!body) {
        blob_segment_fini(w->segment);
        env_timer_start(&w->timer, 0);
        return;
    }
    body->refs = 1;
    body->segment = *w->segment;
    w->segment->buf = w->segment->parity = NULL;
    w->segment->parity_bytes = 0;
    w->segment->budget = NULL;
    w->body = body;
    /* What cannot begin ends the write, which must not happen inside the start. */
    if (put_new(w, &put) == OK)
        put_start(w, put);
    else
        env_timer_start(&w->timer, 0);
}

void puts_stop(struct blob_client *bc)
{
    list_for_each(it, &bc->puts)
    {
        struct blob_put *put = container_of(it, struct blob_put, node);
        for (unsigned i = 0; i < put->count; i++)
            if (put->shard[i].running)
                rpc_call_cancel(&put->shard[i].rpc);
    }
}

void puts_forget(struct blob_client *bc, struct id128 blob_id)
{
    list_for_each(it, &bc->puts)
    {
        struct blob_put *put = container_of(it, struct blob_put, node);
        put->discarded |= id128_eq(put->blob_id, blob_id);
    }
}
