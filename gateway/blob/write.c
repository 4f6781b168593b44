/* Writing a blob: all copies at once, success when enough are durable, another group when that
 * cannot be.  An attempt (blob_put) is an object of its own, because its last copies outlive the
 * write that began it: the bytes are kept, and counted by the budget, until every copy has
 * answered.
 *
 *   start ─► attempt: copies under way ─┬─ quorum: callback; stragglers go on for straggler_ms
 *                 ▲                     └─ quorum lost: cancel the rest, delete what was written
 *                 └── another group ◄─────┘ */
#include "common/base/check.h"
#include "gateway/blob/internal.h"
#include "gateway/meta/meta_client.h"
#include "proto/methods.h"

#include <stdlib.h>

#define WRITE_ATTEMPTS_MAX 8

/* The bytes, shared by the attempts of one write. */
struct blob_body {
    unsigned refs;
    struct blob_segment segment;
    uint32_t avoid[WRITE_ATTEMPTS_MAX]; /* groups that failed */
    size_t avoid_count;
};

struct put_copy {
    struct blob_put *put;
    struct rpc_call rpc;
    struct blob_node *node;
    bool running, durable, maybe_durable;
};

struct blob_put {
    struct blob_client *bc;
    struct list node;
    struct blob_write *write; /* NULL once it was called back, or went on to another attempt */
    struct blob_body *body;
    uint32_t pg;
    struct id128 blob_id;
    unsigned need_copies, need_zones;
    bool won;
    struct env_timer straggler_timer;
    unsigned copy_count;
    struct put_copy copy[PG_MEMBERS_MAX];
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
    bc->outstanding--;
    w->cb(w);
}

/* ---- one attempt ---- */

static void count_durable(const struct blob_put *put, unsigned *ret_copies, unsigned *ret_zones,
                          bool with_running)
{
    unsigned zones[PG_MEMBERS_MAX], zone_count = 0;
    *ret_copies = 0;
    for (unsigned i = 0; i < put->copy_count; i++) {
        const struct put_copy *c = &put->copy[i];
        if (!c->durable && !(with_running && c->running))
            continue;
        ++*ret_copies;
        unsigned k = 0;
        while (k < zone_count && zones[k] != c->node->zone)
            k++;
        if (k == zone_count)
            zones[zone_count++] = c->node->zone;
    }
    *ret_zones = zone_count;
}

static bool has_quorum(const struct blob_put *put, bool with_running)
{
    unsigned copies, zones;
    count_durable(put, &copies, &zones, with_running);
    return copies >= put->need_copies && zones >= put->need_zones && copies > 0;
}

static void put_cancel_rest(struct blob_put *put, bool too_slow)
{
    for (unsigned i = 0; i < put->copy_count; i++) {
        if (!put->copy[i].running)
            continue;
        if (too_slow)
            node_suspect(put->bc, put->copy[i].node);
        rpc_call_cancel(&put->copy[i].rpc);
    }
}

static void put_free_if_done(struct blob_put *put)
{
    struct blob_client *bc = put->bc;
    bool any = false;
    for (unsigned i = 0; i < put->copy_count; i++) {
        if (put->copy[i].running)
            return;
        any |= put->copy[i].maybe_durable;
    }
    CHECK(!put->write);
    env_timer_stop(&put->straggler_timer);
    /* No record will ever name what a failed attempt left behind. */
    if (!put->won && any)
        blob_discard(bc, put->pg, put->blob_id);
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

static void put_won(struct blob_put *put)
{
    struct blob_client *bc = put->bc;
    struct blob_write *w = put->write;
    bool suspects_only = true;
    put->won = true;
    put->write = NULL;
    for (unsigned i = 0; i < put->copy_count; i++)
        if (put->copy[i].running && node_is_usable(bc, put->copy[i].node))
            suspects_only = false;
    /* A node that was slow a moment ago is not waited for again and again. */
    env_timer_start(&put->straggler_timer,
                    (uint64_t)bc->config.straggler_ms * NS_PER_MS / (suspects_only ? 20 : 1));
    bc->stats.bytes_written += put->body->segment.buf->len;
    w->pg = put->pg;
    w->blob_id = put->blob_id;
    w->bytes = put->body->segment.buf->len;
    w->crc32c = blob_segment_crc(&put->body->segment);
    write_end(w, OK);
}

static void put_lost(struct blob_put *put)
{
    struct blob_write *w = put->write;
    struct blob_body *body = put->body;
    put->write = NULL;
    if (body->avoid_count < WRITE_ATTEMPTS_MAX)
        body->avoid[body->avoid_count++] = put->pg;
    body->refs++; /* now the write's; its timer starts the next attempt */
    w->body = body;
    put_cancel_rest(put, false);
    env_timer_start(&w->timer, body->avoid_count > 1 ? body->avoid_count * 20 * NS_PER_MS : 0);
}

static void copy_cb(struct rpc_call *rpc)
{
    struct put_copy *c = container_of(rpc, struct put_copy, rpc);
    struct blob_put *put = c->put;
    int err = rpc->err;
    c->running = false;
    c->node->outstanding_bytes -= put->body->segment.buf->len;
    c->durable = err == OK;
    c->maybe_durable = c->durable || err_class(err) == ERR_CLASS_UNKNOWN_OUTCOME;
    if (err == OK)
        c->node->suspect_until_ns = 0;
    else if (err == ERR_EPOCH)
        meta_client_refresh(put->bc->mc);
    else if (err != ERR_CANCELED)
        node_suspect(put->bc, c->node);
    rpc_call_fini(rpc);
    if (put->write && has_quorum(put, false))
        put_won(put);
    else if (put->write && !has_quorum(put, true))
        put_lost(put);
    put_free_if_done(put);
}

/* Starts the copies.  Refused ones have failed. */
static void put_send(struct blob_put *put, const struct blob_pg *pg, uint64_t timeout_ns)
{
    struct blob_client *bc = put->bc;
    struct blob_segment *segment = &put->body->segment;
    size_t len = segment->buf->len;
    Cairn__PutShardRequest request = CAIRN__PUT_SHARD_REQUEST__INIT;
    request.pg = pg->id;
    request.pg_epoch = pg->epoch;
    request.blob_id = (ProtobufCBinaryData){ID_BYTES, put->blob_id.bytes};
    request.scheme = CAIRN__SCHEME__SCHEME_REP3;
    request.data_shards = 1;
    request.parity_shards = pg->member_count - 1;
    request.blob_bytes = len;
    request.blob_crc32c = blob_segment_crc(segment);
    request.owner = put->write->owner;
    request.time_ms = env_wall_ms(bc->env);
    request.bytes = len;
    request.n_block_crcs = (len + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES;
    request.block_crcs = segment->crc;
    for (unsigned i = 0; i < pg->member_count; i++) {
        struct put_copy *c = &put->copy[put->copy_count];
        if (!pg->member[i] || !pg->member[i]->peer)
            continue;
        c->put = put;
        c->node = pg->member[i];
        request.shard_index = i;
        c->rpc = (struct rpc_call){
            .method = &method_store_put,
            .request = &request.base,
            .payload[0] = {segment->buf, SLICE(segment->buf->data, len)},
            .payload_count = 1,
            .timeout_ns = timeout_ns,
            .cb = copy_cb,
        };
        if (rpc_call_start(c->node->peer, &c->rpc) != OK)
            continue;
        c->running = true;
        c->node->outstanding_bytes += len;
        put->copy_count++;
    }
}

/* ---- the write ---- */

/* put: zeroed memory for the attempt, taken over; NULL: there is none. */
static void write_attempt(struct blob_write *w, struct blob_put *put)
{
    struct blob_client *bc = w->bc;
    struct blob_body *body = w->body;
    uint64_t now = env_now_ns(bc->env);
    const struct blob_pg *pg = NULL;
    int err = OK;
    if (bc->stopped)
        err = ERR_SHUTDOWN;
    else if (now >= w->deadline_ns)
        err = ERR_TIMEOUT;
    else if (body->avoid_count >= WRITE_ATTEMPTS_MAX)
        err = ERR_NO_QUORUM;
    else if (!(pg = pgs_choose(bc, body->avoid, body->avoid_count)))
        err = ERR_NO_QUORUM;
    if (err != OK || !put) {
        free(put);
        w->body = NULL;
        body_unref(body);
        write_end(w, err ? err : ERR_NOMEM);
        return;
    }
    *put = (struct blob_put){.bc = bc, .write = w, .body = body, .pg = pg->id};
    w->body = NULL; /* the reference is the attempt's now */
    pg_quorum(pg, &put->need_copies, &put->need_zones);
    env_random(bc->env, put->blob_id.bytes, ID_BYTES);
    env_timer_init(bc->env, &put->straggler_timer, straggler_cb);
    list_push_back(&bc->puts, &put->node);
    bc->outstanding++;
    bc->stats.write_retries += body->avoid_count > 0;
    uint64_t attempt_ns = (uint64_t)bc->config.write_attempt_ms * NS_PER_MS;
    put_send(put, pg, MIN(attempt_ns, w->deadline_ns - now));
    if (!has_quorum(put, true)) {
        put_lost(put);
        put_free_if_done(put);
    }
}

static void write_timer_cb(struct env_timer *timer)
{
    write_attempt(container_of(timer, struct blob_write, timer),
                  calloc(1, sizeof(struct blob_put)));
}

static void write_refused_cb(struct env_timer *timer)
{
    write_end(container_of(timer, struct blob_write, timer), ERR_NOMEM);
}

void blob_write_start(struct blob_client *bc, struct blob_write *w)
{
    struct blob_body *body = calloc(1, sizeof(*body));
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
    w->segment->buf = NULL;
    w->segment->budget = NULL;
    w->body = body;
    /* An attempt may end the write, which must not happen inside the start. */
    bool can_begin =
        !bc->stopped && env_now_ns(bc->env) < w->deadline_ns && pgs_choose(bc, NULL, 0);
    struct blob_put *put = can_begin ? calloc(1, sizeof(*put)) : NULL;
    if (put)
        write_attempt(w, put);
    else
        env_timer_start(&w->timer, 0);
}

/* ---- deleting what no record names ---- */

struct discard {
    struct blob_client *bc;
    struct rpc_call rpc;
};

static void discard_cb(struct rpc_call *rpc)
{
    struct discard *d = container_of(rpc, struct discard, rpc);
    d->bc->outstanding--;
    rpc_call_fini(rpc);
    free(d);
}

void blob_discard(struct blob_client *bc, uint32_t pg_id, struct id128 blob_id)
{
    const struct blob_pg *pg = bc->stopped ? NULL : pgs_find(bc, pg_id);
    ProtobufCBinaryData id = {ID_BYTES, blob_id.bytes};
    Cairn__DeleteShardsRequest request = CAIRN__DELETE_SHARDS_REQUEST__INIT;
    request.n_blob_ids = 1;
    request.blob_ids = &id;
    bc->stats.discards++;
    for (unsigned i = 0; pg && i < pg->member_count; i++) {
        struct discard *d = pg->member[i] ? calloc(1, sizeof(*d)) : NULL;
        if (!d)
            continue; /* an orphan, which the storage node will ask about one day */
        d->bc = bc;
        d->rpc = (struct rpc_call){
            .method = &method_store_delete,
            .request = &request.base,
            .timeout_ns = 5 * NS_PER_SEC,
            .cb = discard_cb,
        };
        if (rpc_call_start(pg->member[i]->peer, &d->rpc) == OK)
            bc->outstanding++;
        else
            free(d);
    }
}

void puts_stop(struct blob_client *bc)
{
    list_for_each(it, &bc->puts)
    {
        struct blob_put *put = container_of(it, struct blob_put, node);
        for (unsigned i = 0; i < put->copy_count; i++)
            if (put->copy[i].running)
                rpc_call_cancel(&put->copy[i].rpc);
    }
}
