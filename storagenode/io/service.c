/* The RPC side of a storage node. */
#include "storagenode/io/service.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static_assert((int)SHARD_SCHEME_REP3 == (int)CAIRN__SCHEME__SCHEME_REP3 &&
                  (int)SHARD_SCHEME_RS == (int)CAIRN__SCHEME__SCHEME_RS,
              "schemes are stored as they travel");
static_assert(FRAME_BLOCK_BYTES == SHARD_BLOCK_BYTES, "payloads are summed by the shards' blocks");

struct service {
    struct store *store;
    struct env *env;
    size_t under_way;
    struct metric_histogram *put_seconds, *get_seconds, *delete_seconds;
};

/* One call in the store's hands. */
struct call {
    struct service *service;
    struct rpc_request *req;
    uint64_t start_ns;
    union {
        struct store_put put;
        struct store_get get;
        struct store_delete del;
    };
};

static struct call *call_new(struct service *s, struct rpc_request *req)
{
    struct call *c = calloc(1, sizeof(*c));
    if (!c) {
        rpc_reply(req, ERR_NOMEM, NULL, NULL, 0);
        return NULL;
    }
    c->service = s;
    c->req = req;
    c->start_ns = env_now_ns(s->env);
    s->under_way++;
    return c;
}

static void call_end(struct call *c, struct metric_histogram *seconds, int err,
                     const ProtobufCMessage *msg, const struct payload *payload)
{
    struct service *s = c->service;
    if (!err)
        metric_observe_ns(seconds, env_now_ns(s->env) - c->start_ns);
    s->under_way--;
    rpc_reply(c->req, err, err ? NULL : msg, payload, payload ? 1 : 0);
}

static struct slice bytes_of(const ProtobufCBinaryData *b) { return SLICE(b->data, b->len); }

/* An id that may be left out. */
static bool id_or_none(const ProtobufCBinaryData *b, struct id128 *ret)
{
    return b->len == 0 || id128_from_slice(bytes_of(b), ret);
}

/* ---- put ---- */

static void put_answer(struct call *c, int err)
{
    Cairn__PutShardResponse response = CAIRN__PUT_SHARD_RESPONSE__INIT;
    call_end(c, c->service->put_seconds, err, &response.base, NULL);
    free(c);
}

static void on_put(struct store_put *put)
{
    put_answer(container_of(put, struct call, put), put->err);
}

/* The put as the message says it; key, CRCs and payload stay in the request. */
static int put_decode(const struct rpc_request *req, struct store_put *ret)
{
    const Cairn__PutShardRequest *m = (const Cairn__PutShardRequest *)(const void *)req->msg;
    struct shard_info *info = &ret->info;
    if (!id128_from_slice(bytes_of(&m->blob_id), &info->blob_id) ||
        m->shard_index > SHARD_INDEX_MAX || m->bytes != req->payload.bytes.len ||
        m->bytes > SHARD_BYTES_MAX || m->n_block_crcs != shard_blocks(m->bytes) ||
        (m->scheme != CAIRN__SCHEME__SCHEME_REP3 && m->scheme != CAIRN__SCHEME__SCHEME_RS))
        return m->bytes > SHARD_BYTES_MAX ? ERR_TOO_LARGE : ERR_INVAL;
    info->shard_index = (uint16_t)m->shard_index;
    info->scheme = (uint16_t)m->scheme;
    info->pg = m->pg;
    info->pg_epoch = m->pg_epoch;
    info->time_ms = m->time_ms;
    info->bytes = m->bytes;
    info->block_crcs = m->block_crcs;
    if (m->data_shards > SHARD_INDEX_MAX || m->parity_shards > SHARD_INDEX_MAX)
        return ERR_INVAL;
    info->data_shards = (uint8_t)m->data_shards;
    info->parity_shards = (uint8_t)m->parity_shards;
    info->blob_bytes = m->blob_bytes;
    info->blob_crc32c = m->blob_crc32c;
    const Cairn__ShardOwner *owner = m->owner;
    if (owner) {
        info->owner.bucket_id = owner->bucket_id;
        info->owner.key = bytes_of(&owner->key);
        info->owner.part_number = owner->part_number;
        info->owner.segment_number = owner->segment_number;
        info->owner.body_bytes = owner->body_bytes;
        if (!id_or_none(&owner->upload_id, &info->owner.upload_id) ||
            !id_or_none(&owner->write_id, &info->owner.write_id))
            return ERR_INVAL;
    }
    ret->payload = req->payload;
    ret->payload_crcs = req->block_crcs;
    ret->deadline_ns = req->deadline_ns;
    /* A peer rebuilds shards whose blobs are old. */
    ret->any_age = req->peer.role == NET_ROLE_STORAGENODE;
    return OK;
}

static void serve_put(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    struct call *c = call_new(s, req);
    if (!c)
        return;
    int err = put_decode(req, &c->put);
    c->put.cb = on_put;
    if (!err)
        err = store_put_start(s->store, &c->put);
    if (err)
        put_answer(c, err);
}

/* ---- get ---- */

static void get_answer(struct call *c, int err)
{
    Cairn__GetShardResponse response = CAIRN__GET_SHARD_RESPONSE__INIT;
    struct store_get *g = &c->get;
    if (err == ERR_CHECKSUM) {
        char blob_id[ID_HEX_CHARS + 1];
        id128_hex(g->blob_id, blob_id);
        log_error("store.damaged", 0, L_STR("blob_id", blob_id), L_UINT("shard", g->shard_index),
                  L_UINT("extent", g->extent_id), L_UINT("offset", g->frame_offset));
    }
    response.first_byte = g->first_byte;
    response.shard_bytes = g->shard_bytes;
    response.n_block_crcs = g->block_count;
    response.block_crcs = g->block_crcs;
    call_end(c, c->service->get_seconds, err, &response.base, err ? NULL : &g->payload);
    payload_unref(&g->payload);
    free(c);
}

static void on_get(struct store_get *get)
{
    get_answer(container_of(get, struct call, get), get->err);
}

static void serve_get(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    const Cairn__GetShardRequest *m = (const Cairn__GetShardRequest *)(const void *)req->msg;
    struct call *c = call_new(s, req);
    if (!c)
        return;
    int err = ERR_INVAL;
    c->get.cb = on_get;
    c->get.shard_index = (uint16_t)m->shard_index;
    c->get.offset = m->offset;
    c->get.bytes = m->bytes;
    if (m->shard_index <= SHARD_INDEX_MAX &&
        id128_from_slice(bytes_of(&m->blob_id), &c->get.blob_id))
        err = store_get_start(s->store, &c->get);
    if (err)
        get_answer(c, err);
}

/* ---- delete ---- */

static void delete_answer(struct call *c, int err)
{
    Cairn__DeleteShardsResponse response = CAIRN__DELETE_SHARDS_RESPONSE__INIT;
    call_end(c, c->service->delete_seconds, err, &response.base, NULL);
    free((void *)(uintptr_t)c->del.blob_ids);
    free(c);
}

static void on_delete(struct store_delete *del)
{
    delete_answer(container_of(del, struct call, del), del->err);
}

static int delete_decode(const Cairn__DeleteShardsRequest *m, struct store_delete *ret)
{
    if (m->n_blob_ids > MARKS_PER_REQUEST_MAX)
        return ERR_TOO_LARGE;
    struct id128 *ids = calloc(m->n_blob_ids + 1, sizeof(*ids));
    if (!ids)
        return ERR_NOMEM;
    ret->blob_ids = ids;
    ret->count = (uint32_t)m->n_blob_ids;
    for (size_t i = 0; i < m->n_blob_ids; i++)
        if (!id128_from_slice(bytes_of(&m->blob_ids[i]), &ids[i]))
            return ERR_INVAL;
    return OK;
}

static void serve_delete(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    struct call *c = call_new(s, req);
    if (!c)
        return;
    int err = delete_decode((const Cairn__DeleteShardsRequest *)(const void *)req->msg, &c->del);
    c->del.cb = on_delete;
    if (!err && c->del.count == 0) {
        delete_answer(c, OK);
        return;
    }
    if (!err)
        err = store_delete_start(s->store, &c->del);
    if (err)
        delete_answer(c, err);
}

/* ---- status ---- */

static void serve_status(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    struct store_stats st;
    Cairn__StoreStatusResponse response = CAIRN__STORE_STATUS_RESPONSE__INIT;
    store_stats_get(s->store, &st);
    response.bytes_total = st.bytes_total;
    response.bytes_free = st.bytes_free;
    response.shards = st.shards;
    response.live_bytes = st.live_bytes;
    response.dead_bytes = st.dead_bytes;
    response.writable = st.writable;
    rpc_reply(req, OK, &response.base, NULL, 0);
}

/* ---- metrics ---- */

#define STAT(field) offsetof(struct store_stats, field)
static const struct stat_metric {
    size_t offset;
    bool counter;
    const char *name, *help;
} stat_metrics[] = {
    {STAT(puts), true, "cairn_store_puts_total", "Shards acknowledged, all synced."},
    {STAT(put_bytes), true, "cairn_store_put_bytes_total", "Bytes of shards acknowledged."},
    {STAT(put_errors), true, "cairn_store_put_errors_total", "Puts refused or failed."},
    {STAT(gets), true, "cairn_store_gets_total", "Reads answered, all verified."},
    {STAT(get_bytes), true, "cairn_store_get_bytes_total", "Bytes read, in whole blocks."},
    {STAT(get_errors), true, "cairn_store_get_errors_total", "Reads that failed."},
    {STAT(deletes), true, "cairn_store_deletes_total", "Blobs durably marked as deleted."},
    {STAT(batches), true, "cairn_store_batches_total", "Group commits."},
    {STAT(frames), true, "cairn_store_frames_total", "Frames written."},
    {STAT(syncs), true, "cairn_store_syncs_total", "Syncs of extents for group commits."},
    {STAT(index_flushes), true, "cairn_store_index_flushes_total", "Flushes of the index."},
    {STAT(extents_reclaimed), true, "cairn_store_extents_reclaimed_total", "Extents emptied."},
    {STAT(reclaimed_bytes_copied), true, "cairn_store_reclaimed_bytes_total",
     "Bytes copied out of extents that were reclaimed."},
    {STAT(corruptions), true, "cairn_store_corruptions_total",
     "Damaged frames, shards and extents found."},
    {STAT(torn_frames), true, "cairn_store_torn_frames_total",
     "Unacknowledged frames dropped by recovery."},
    {STAT(recovered_frames), true, "cairn_store_recovered_frames_total",
     "Frames that recovery indexed again."},
    {STAT(scrub_bytes), true, "cairn_store_scrub_bytes_total", "Bytes read again by the scrub."},
    {STAT(scrub_found), true, "cairn_store_scrub_found_total", "Shards that the scrub found damaged."},
    {STAT(scrub_passes), true, "cairn_store_scrub_passes_total", "Passes of the scrub that ended."},
    {STAT(scrub_oldest_age_s), false, "cairn_store_scrub_oldest_age_seconds",
     "For how long the longest unverified byte has not been verified, at most."},
    {STAT(shards), false, "cairn_store_shards", "Shards stored."},
    {STAT(live_bytes), false, "cairn_store_live_bytes", "Bytes of frames that are alive."},
    {STAT(dead_bytes), false, "cairn_store_dead_bytes", "Bytes of frames that are dead."},
    {STAT(bytes_total), false, "cairn_store_bytes", "Bytes that extents may take."},
    {STAT(bytes_free), false, "cairn_store_free_bytes", "Bytes that puts may still take."},
    {STAT(tombstones), false, "cairn_store_tombstones", "Deleted blobs remembered."},
    {STAT(queued_bytes), false, "cairn_store_queued_bytes", "Bytes of puts waiting or written."},
    {STAT(queued_count), false, "cairn_store_queued", "Puts and deletes waiting or written."},
    {STAT(read_bytes), false, "cairn_store_read_bytes", "Bytes of reads under way."},
};

struct stat_reader {
    struct store *store;
    size_t offset;
};

static struct stat_reader stat_readers[ARRAY_COUNT(stat_metrics)];
static struct stat_reader batch_readers[STORE_BATCH_BUCKETS];

static double stat_read(void *arg)
{
    const struct stat_reader *r = arg;
    struct store_stats st;
    uint64_t value;
    store_stats_get(r->store, &st);
    memcpy(&value, (const char *)&st + r->offset, sizeof(value));
    return (double)value;
}

static double writable_read(void *arg)
{
    struct store_stats st;
    store_stats_get(arg, &st);
    return st.writable;
}

static void metrics_register(struct service *s)
{
    for (size_t i = 0; i < ARRAY_COUNT(stat_metrics); i++) {
        const struct stat_metric *m = &stat_metrics[i];
        stat_readers[i] = (struct stat_reader){s->store, m->offset};
        metric_function_new(m->name, NULL, m->help, m->counter, stat_read, &stat_readers[i]);
    }
    for (unsigned i = 0; i < STORE_BATCH_BUCKETS; i++) {
        char labels[48];
        unsigned last = 1u << i, first = i == 0 ? 1 : (last >> 1) + 1;
        if (i + 1 == STORE_BATCH_BUCKETS)
            snprintf(labels, sizeof(labels), "operations=\"%u or more\"", first);
        else
            snprintf(labels, sizeof(labels), "operations=\"%u-%u\"", first, last);
        batch_readers[i] =
            (struct stat_reader){s->store, STAT(batch_sizes) + i * sizeof(uint64_t)};
        metric_function_new("cairn_store_batch_size_total", labels,
                            "Group commits by the operations they carried.", true, stat_read,
                            &batch_readers[i]);
    }
    metric_function_new("cairn_store_writable", NULL, "1 while puts are taken.", false,
                        writable_read, s->store);
    s->put_seconds = metric_latency_new("cairn_store_put_seconds", NULL, "Time to a durable put.");
    s->get_seconds = metric_latency_new("cairn_store_get_seconds", NULL, "Time to a verified read.");
    s->delete_seconds =
        metric_latency_new("cairn_store_delete_seconds", NULL, "Time to durable deletion marks.");
}

int service_new(struct rpc *rpc, struct store *store, struct service **ret)
{
    struct service *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->store = store;
    s->env = rpc_env(rpc);
    metrics_register(s);
    int err = rpc_serve(rpc, &method_store_put, serve_put, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_get, serve_get, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_delete, serve_delete, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_status, serve_status, s);
    if (err) {
        service_free(s);
        return err;
    }
    *ret = s;
    return OK;
}

void service_free(struct service *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < ARRAY_COUNT(stat_metrics); i++)
        metric_function_forget(&stat_readers[i]);
    for (size_t i = 0; i < STORE_BATCH_BUCKETS; i++)
        metric_function_forget(&batch_readers[i]);
    metric_function_forget(s->store);
    free(s);
}

size_t service_calls_under_way(const struct service *s) { return s->under_way; }
