/* The RPC side of a storage node. */
#include "storagenode/io/service_impl.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"
#include "storagenode/io/report.h"

#include <assert.h>
#include <stdlib.h>

static_assert((int)SHARD_SCHEME_REP3 == (int)CAIRN__SCHEME__SCHEME_REP3 &&
                  (int)SHARD_SCHEME_RS == (int)CAIRN__SCHEME__SCHEME_RS,
              "schemes are stored as they travel");
static_assert(FRAME_BLOCK_BYTES == SHARD_BLOCK_BYTES, "payloads are summed by the shards' blocks");

#define MEND_BLOBS_MAX 128u /* in one call */

/* One call in the disks' hands. */
struct call {
    struct service *service;
    struct rpc_request *req;
    uint64_t start_ns;
    union {
        struct disks_put put;
        struct store_get get;
        struct disks_delete del;
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

/* An id that may be left out. */
static bool id_or_none(const ProtobufCBinaryData *b, struct id128 *ret)
{
    return b->len == 0 || id128_from_slice(bytes_of(b), ret);
}

/* ---- put ---- */

static void put_answer(struct call *c, int err)
{
    Cairn__PutShardResponse response = CAIRN__PUT_SHARD_RESPONSE__INIT;
    if (!err)
        disks_space(c->service->disks, &response.bytes_total, &response.bytes_free);
    call_end(c, c->service->put_seconds, err, &response.base, NULL);
    free(c);
}

static void on_put(struct disks_put *put)
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
    int err = put_decode(req, &c->put.put);
    /* A peer rebuilds what the group has had. */
    c->put.any_epoch = req->peer.role == NET_ROLE_STORAGENODE;
    c->put.cb = on_put;
    if (!err)
        err = disks_put_start(s->disks, &c->put);
    if (err)
        put_answer(c, err);
}

/* ---- get ---- */

/* What the shard's header says of it; the key stays in the payload's buffer. */
struct info_message {
    Cairn__ShardInfo info;
    Cairn__ShardOwner owner;
};

static ProtobufCBinaryData id_message(const struct id128 *id)
{
    return (ProtobufCBinaryData){id128_is_zero(*id) ? 0 : ID_BYTES,
                                 (uint8_t *)(uintptr_t)id->bytes};
}

static void info_fill(const struct shard_info *info, struct info_message *ret)
{
    cairn__shard_info__init(&ret->info);
    cairn__shard_owner__init(&ret->owner);
    ret->info.pg = info->pg;
    ret->info.pg_epoch = info->pg_epoch;
    ret->info.scheme = (Cairn__Scheme)info->scheme;
    ret->info.owner = &ret->owner;
    ret->info.time_ms = info->time_ms;
    ret->info.data_shards = info->data_shards;
    ret->info.parity_shards = info->parity_shards;
    ret->info.blob_bytes = info->blob_bytes;
    ret->info.blob_crc32c = info->blob_crc32c;
    ret->owner.bucket_id = info->owner.bucket_id;
    ret->owner.key =
        (ProtobufCBinaryData){info->owner.key.len, (uint8_t *)(uintptr_t)info->owner.key.ptr};
    ret->owner.upload_id = id_message(&info->owner.upload_id);
    ret->owner.write_id = id_message(&info->owner.write_id);
    ret->owner.part_number = info->owner.part_number;
    ret->owner.segment_number = info->owner.segment_number;
    ret->owner.body_bytes = info->owner.body_bytes;
}

static void get_answer(struct call *c, int err)
{
    struct info_message info;
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
    if (!err && g->want_info) {
        info_fill(&g->info, &info);
        response.info = &info.info;
    }
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
    c->get.want_info = m->want_info;
    c->get.head_only = m->head_only;
    if (m->shard_index <= SHARD_INDEX_MAX &&
        id128_from_slice(bytes_of(&m->blob_id), &c->get.blob_id))
        err = disks_get_start(s->disks, &c->get);
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

static void on_delete(struct disks_delete *del)
{
    delete_answer(container_of(del, struct call, del), del->err);
}

static int delete_decode(const Cairn__DeleteShardsRequest *m, struct disks_delete *ret)
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
        err = disks_delete_start(s->disks, &c->del);
    if (err)
        delete_answer(c, err);
}

/* ---- status ---- */

static void serve_status(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    struct disks_status st;
    struct report report;
    Cairn__StoreStatusResponse response = CAIRN__STORE_STATUS_RESPONSE__INIT;
    for (size_t pos = 0; disks_status_next(s->disks, &pos, &st);) {
        if (st.state != DISKS_STATE_UP)
            continue; /* what it has is not to be counted on */
        response.bytes_total += st.stats.bytes_total;
        response.bytes_free += st.stats.bytes_free;
        response.shards += st.stats.shards;
        response.live_bytes += st.stats.live_bytes;
        response.dead_bytes += st.stats.dead_bytes;
        response.writable |= st.writable;
    }
    int err = report_init(&report, s->disks, s->repair);
    if (err) {
        rpc_reply(req, err, NULL, NULL, 0);
        return;
    }
    response.report = &report.message;
    rpc_reply(req, OK, &response.base, NULL, 0);
    report_fini(&report);
}

/* ---- scrub ---- */

static void serve_start_scrub(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    const Cairn__StartScrubRequest *m = (const Cairn__StartScrubRequest *)(const void *)req->msg;
    Cairn__StartScrubResponse response = CAIRN__START_SCRUB_RESPONSE__INIT;
    int err = ERR_NOT_READY;
    if (!m->deep)
        err = disks_scrub_start_now(s->disks);
    else if (s->repair)
        err = repair_agent_deep_now(s->repair);
    log_info("storagenode.scrub_asked", 0, L_BOOL("deep", m->deep), L_ERR(err));
    rpc_reply(req, err, err ? NULL : &response.base, NULL, 0);
}

/* ---- mending ---- */

/* All of it is taken, or nothing.  Returns: OK; ERR_TOO_LARGE; ERR_INVAL; ERR_NOT_READY; as
 * repair_agent_hint(). */
static int mend_take(struct service *s, const Cairn__MendRequest *m)
{
    struct id128 ids[MEND_BLOBS_MAX];
    if (m->n_blob_ids > MEND_BLOBS_MAX)
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < m->n_blob_ids; i++)
        if (!id128_from_slice(bytes_of(&m->blob_ids[i]), &ids[i]))
            return ERR_INVAL;
    return s->repair ? repair_agent_hint(s->repair, m->pg, ids, m->n_blob_ids) : ERR_NOT_READY;
}

static void serve_mend(void *arg, struct rpc_request *req)
{
    Cairn__MendResponse response = CAIRN__MEND_RESPONSE__INIT;
    int err = mend_take(arg, (const Cairn__MendRequest *)(const void *)req->msg);
    rpc_reply(req, err, err ? NULL : &response.base, NULL, 0);
}

int service_new(struct rpc *rpc, struct disks *disks, struct service **ret)
{
    struct service *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->disks = disks;
    s->env = rpc_env(rpc);
    s->put_seconds = metric_latency_new("cairn_store_put_seconds", NULL, "Time to a durable put.");
    s->get_seconds =
        metric_latency_new("cairn_store_get_seconds", NULL, "Time to a verified read.");
    s->delete_seconds =
        metric_latency_new("cairn_store_delete_seconds", NULL, "Time to durable deletion marks.");
    int err = disk_metrics_new(disks, &s->metrics);
    if (!err)
        err = rpc_serve(rpc, &method_store_put, serve_put, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_get, serve_get, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_delete, serve_delete, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_status, serve_status, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_start_scrub, serve_start_scrub, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_mend, serve_mend, s);
    if (!err)
        err = inspect_serve(s, rpc);
    if (err) {
        service_free(s);
        return err;
    }
    *ret = s;
    return OK;
}

void service_report_repair(struct service *s, struct repair_agent *repair)
{
    s->repair = repair;
}

void service_free(struct service *s)
{
    if (!s)
        return;
    disk_metrics_free(s->metrics);
    free(s);
}

size_t service_calls_under_way(const struct service *s)
{
    return s->under_way;
}
