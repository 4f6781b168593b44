/* Mending one blob.  See mend.h.
 *
 *   START → LOOKING → HEADER ⇄ (another place) → ASKING → PACING → FETCHING ⇄ (next range)
 *                                                                      ↓
 *                                                DONE ← VERIFYING ← WRITING
 * What was seen and answered is not acted upon for ever: after a long pause (the rate) it begins
 * anew with LOOKING, and after a very long one nothing is written, because by then a tombstone
 * might have been forgotten.
 *
 * A place that fails is not asked again; a source that fails sends FETCHING to the beginning with
 * another one.  Each failure takes a place away, so this ends. */
#include "storagenode/repair/mend.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "proto/methods.h"

#include <stdlib.h>

#define RANGE_BYTES (4 * EC_BLOCK_BYTES)
#define SHARD_BYTES_MAX (24u << 20) /* what a storage node takes */
#define LOOK_AGAIN_NS (60 * NS_PER_SEC)

enum {
    MEND_START,
    MEND_LOOKING,
    MEND_HEADER,
    MEND_ASKING,
    MEND_PACING,
    MEND_FETCHING,
    MEND_WRITING,
    MEND_VERIFYING,
    MEND_STATES
};
static const char *const state_names[MEND_STATES] = {"start",  "looking",  "header",  "asking",
                                                     "pacing", "fetching", "writing", "verifying"};
static const uint32_t transitions[MEND_STATES] = {
    [MEND_START] = 1u << MEND_LOOKING,
    [MEND_LOOKING] = 1u << MEND_HEADER,
    [MEND_HEADER] = 1u << MEND_HEADER | 1u << MEND_ASKING,
    [MEND_ASKING] = 1u << MEND_PACING,
    [MEND_PACING] = 1u << MEND_LOOKING | 1u << MEND_FETCHING,
    [MEND_FETCHING] = 1u << MEND_FETCHING | 1u << MEND_WRITING,
    [MEND_WRITING] = 1u << MEND_VERIFYING,
};

static enum op_next mend_end(struct mend *m, enum mend_outcome outcome, int err)
{
    m->outcome = outcome;
    m->err = err;
    return OP_DONE;
}

/* ---- calls ---- */

static void on_call(struct rpc_call *rpc)
{
    struct mend_slot *s = container_of(rpc, struct mend_slot, rpc);
    struct mend *m = s->mend;
    s->running = false;
    m->left--;
    op_wake(&m->op);
}

/* rpc.request and .payload are set; to the node of `place`.  A refusal is a failed call. */
static void send(struct mend *m, struct mend_slot *s, unsigned place)
{
    s->mend = m;
    s->place = place;
    s->sent = true;
    s->rpc.timeout_ns = m->timeout_ns;
    s->rpc.cb = on_call;
    s->rpc.err = m->peer[place] ? rpc_call_start(m->peer[place], &s->rpc) : ERR_UNREACHABLE;
    s->running = s->rpc.err == OK;
    m->left += s->running;
    s->rpc.request = NULL;
}

static void slots_fini(struct mend *m)
{
    for (unsigned i = 0; i < PLAN_PLACES_MAX; i++) {
        if (m->slot[i].sent)
            rpc_call_fini(&m->slot[i].rpc);
        m->slot[i].sent = false;
        m->slot[i].rpc = (struct rpc_call){0};
    }
}

static void header_free(struct mend *m)
{
    if (m->header)
        cairn__get_shard_response__free_unpacked(m->header, NULL);
    m->header = NULL;
}

static void check_send(struct mend *m, uint32_t places, bool deep)
{
    for (unsigned i = 0; i < m->group.place_count; i++) {
        if (!(places >> i & 1))
            continue;
        Cairn__CheckShardsRequest request = CAIRN__CHECK_SHARDS_REQUEST__INIT;
        ProtobufCBinaryData id = {ID_BYTES, m->item.blob_id.bytes};
        uint32_t shard = m->group.place[i].shard;
        request.n_blob_ids = request.n_shard_indexes = 1;
        request.blob_ids = &id;
        request.shard_indexes = &shard;
        request.deep = deep;
        m->slot[i].rpc = (struct rpc_call){.method = &method_store_check, .request = &request.base};
        send(m, &m->slot[i], i);
    }
}

/* What a place answered.  ERR_PROTO: nothing of use. */
static int check_state(const struct mend_slot *s, Cairn__ShardState *ret)
{
    const Cairn__CheckShardsResponse *a =
        (const Cairn__CheckShardsResponse *)(const void *)s->rpc.response;
    if (s->rpc.err != OK)
        return s->rpc.err;
    if (!a || a->n_states != 1)
        return ERR_PROTO;
    *ret = a->states[0];
    return OK;
}

/* ---- 1. What is where, now? ---- */

static uint32_t live_places(const struct mend *m)
{
    uint32_t live = 0;
    for (unsigned i = 0; i < m->group.place_count; i++)
        live |= (uint32_t)m->group.place[i].live << i;
    return live;
}

static void judge(struct mend *m, bool deleted)
{
    const struct plan_rules rules = {.fill = true}; /* its age has been judged */
    plan_judge(&m->group, &rules, m->whole, m->damaged, deleted, &m->item);
}

static void look_take(struct mend *m)
{
    bool deleted = false;
    m->whole = m->damaged = m->unknown = 0;
    for (unsigned i = 0; i < m->group.place_count; i++) {
        Cairn__ShardState state;
        if (!m->group.place[i].live || check_state(&m->slot[i], &state) != OK) {
            m->group.place[i].live = false;
            m->unknown |= 1u << i;
            continue;
        }
        deleted |= state == CAIRN__SHARD_STATE__SHARD_DELETED;
        if (state == CAIRN__SHARD_STATE__SHARD_PRESENT)
            m->whole |= 1u << i;
        if (state == CAIRN__SHARD_STATE__SHARD_DAMAGED)
            m->damaged |= 1u << i;
        if (state == CAIRN__SHARD_STATE__SHARD_UNREADABLE)
            m->unknown |= 1u << i;
    }
    slots_fini(m);
    m->had = m->whole;
    m->heads = m->damaged;
    m->copies = m->wrong = false;
    judge(m, deleted);
}

/* ---- 2. What does a shard's header say of the blob? ---- */

static void get_send(struct mend *m, struct mend_slot *s, unsigned place, uint64_t offset,
                     uint64_t bytes, bool want_info, bool head_only)
{
    Cairn__GetShardRequest request = CAIRN__GET_SHARD_REQUEST__INIT;
    request.blob_id = (ProtobufCBinaryData){ID_BYTES, m->item.blob_id.bytes};
    request.shard_index = m->group.place[place].shard;
    request.offset = offset;
    request.bytes = bytes;
    request.want_info = want_info;
    request.head_only = head_only;
    s->rpc = (struct rpc_call){
        .method = &method_store_get, .request = &request.base, .heap_response = want_info};
    send(m, s, place);
}

/* If nobody has a whole shard, the head of a damaged one may say whom to ask.  False: nobody is
 * left. */
static bool header_send(struct mend *m)
{
    uint32_t places = m->whole ? m->whole : m->heads;
    if (!places)
        return false;
    m->header_place = (unsigned)__builtin_ctz(places);
    get_send(m, &m->slot[0], m->header_place, 0, 1, true, !m->whole);
    return true;
}

/* Is it a blob of this group, of the group's scheme, of a size that can be? */
static bool header_is_sane(const struct mend *m, const Cairn__GetShardResponse *h)
{
    const Cairn__ShardInfo *info = h->info;
    const struct plan_group *g = &m->group;
    if (!info || info->pg != m->pg || h->shard_bytes == 0 || h->shard_bytes > SHARD_BYTES_MAX ||
        !info->owner)
        return false;
    if (g->data == 1 && info->scheme == CAIRN__SCHEME__SCHEME_REP3)
        return info->blob_bytes == 0 || info->blob_bytes == h->shard_bytes;
    return info->scheme == CAIRN__SCHEME__SCHEME_RS && info->data_shards == g->data &&
           info->data_shards + info->parity_shards == g->shards && info->blob_bytes > 0 &&
           info->blob_bytes <= (uint64_t)SHARD_BYTES_MAX * g->data &&
           h->shard_bytes == ec_shard_bytes(g->data, info->blob_bytes);
}

static bool header_take(struct mend *m)
{
    struct rpc_call *rpc = &m->slot[0].rpc;
    Cairn__GetShardResponse *h = (Cairn__GetShardResponse *)(void *)rpc->response;
    if (rpc->err == OK && h && header_is_sane(m, h)) {
        m->header = h;
        rpc->response = NULL;
        m->shard_bytes = h->shard_bytes;
    }
    slots_fini(m);
    if (!m->header) { /* neither a source nor, for now, to be mended */
        m->whole &= ~(1u << m->header_place);
        m->heads &= ~(1u << m->header_place);
    }
    return m->header != NULL;
}

/* ---- 3. Does a record refer to it? ---- */

/* BlobRefsResponse.referred. */
enum mend_referred {
    MEND_CONDEMNED = 0, /* none does, and none will */
    MEND_REFERRED = 1,
    MEND_REFERRED_NOT_YET = 2, /* none does, and it is younger than orphan_age */
};

static void on_answer(struct leader_call *call)
{
    struct mend *m = container_of(call, struct mend, ask);
    m->asking = false;
    op_wake(&m->op);
}

static void ask_send(struct mend *m)
{
    const Cairn__ShardOwner *owner = m->header->info->owner;
    cairn__blob_refs_request__init(&m->ask_request);
    m->ask_id = (ProtobufCBinaryData){ID_BYTES, m->item.blob_id.bytes};
    m->ask_request.bucket_id = owner->bucket_id;
    m->ask_request.key = owner->key;
    m->ask_request.blob_ids = &m->ask_id;
    m->ask_request.n_blob_ids = 1;
    m->ask_request.pgs = &m->pg;
    m->ask_request.n_pgs = 1;
    m->ask_time_ms = m->header->info->time_ms;
    m->ask_request.times_ms = &m->ask_time_ms;
    m->ask_request.n_times_ms = 1;
    m->ask_request.condemn = true;
    m->ask = (struct leader_call){.method = &method_meta_blob_refs,
                                  .request = &m->ask_request.base,
                                  .bucket_id = owner->bucket_id,
                                  .key = SLICE(owner->key.data, owner->key.len),
                                  .deadline_ns = env_now_ns(m->env) + 2 * m->timeout_ns,
                                  .cb = on_answer};
    m->asking = true;
    leader_call_start(m->map, &m->ask);
}

/* What the partition says of it.  Whatever a member's mark says: some member lacks it. */
static int ask_take(struct mend *m, enum mend_referred *ret)
{
    const Cairn__BlobRefsResponse *a =
        (const Cairn__BlobRefsResponse *)(const void *)m->ask.rpc.response;
    int err = m->ask.err;
    if (!err && (!a || a->referred.len != 1 || a->referred.data[0] > MEND_REFERRED_NOT_YET))
        err = ERR_PROTO;
    if (!err)
        *ret = (enum mend_referred)a->referred.data[0];
    leader_call_fini(&m->ask);
    m->ask_id.len = 0;
    return err;
}

/* Places of new members: of next_members only. */
static uint32_t new_places(const struct mend *m)
{
    uint32_t places = 0;
    for (unsigned i = 0; i < m->group.place_count; i++)
        places |= (uint32_t)(m->group.place[i].next && !m->group.place[i].now) << i;
    return places;
}

/* ---- 4. Sources and targets ---- */

static void out_free(struct mend *m)
{
    for (unsigned s = 0; s < PLAN_SHARDS_MAX; s++) {
        rcbuf_unref(m->out[s]);
        m->out[s] = NULL;
    }
}

/* As many targets as memory allows; whatever is left is found again next time. */
static void targets_choose(struct mend *m)
{
    uint32_t lacking = m->item.lack & m->want & live_places(m);
    uint64_t bytes = 0;
    if (m->new_only)
        lacking &= new_places(m);
    for (unsigned i = 0; m->copies && i < m->group.place_count; i++)
        if (!(plan_shards_of(&m->group, m->whole) >> m->group.place[i].shard & 1))
            lacking &= ~(1u << i);
    m->targets = m->outputs = 0;
    for (unsigned i = 0; i < m->group.place_count; i++) {
        uint32_t shard = 1u << m->group.place[i].shard;
        if (!(lacking >> i & 1))
            continue;
        if (!(m->outputs & shard) && m->outputs && bytes + m->shard_bytes > m->bytes_max)
            continue;
        bytes += m->outputs & shard ? 0 : m->shard_bytes;
        m->outputs |= shard;
        m->targets |= 1u << i;
    }
}

/* Which shards to read, which to rebuild, from the places that are whole.  Begins anew.
 * Returns: OK; ERR_NO_QUORUM; ERR_NOMEM; ERR_INVAL. */
static int sources_choose(struct mend *m)
{
    const struct plan_group *g = &m->group;
    uint32_t have = plan_shards_of(g, m->whole), data = (1u << g->data) - 1;
    uint32_t rebuild = m->outputs & ~have;
    int err = OK;
    out_free(m);
    m->offset = 0;
    memset(m->crc, 0, sizeof(m->crc));
    m->sources = m->outputs & have; /* another place has it: a plain copy */
    m->rebuilt = 0;
    if (rebuild) {
        /* With all data shards the blob's CRC can be verified. */
        m->rebuilt = rebuild | (data & ~have);
        err = ec_init(&m->ec, g->data, g->shards - g->data);
        if (!err)
            err = ec_plan_init(&m->plan, &m->ec, have, m->rebuilt);
        for (unsigned i = 0; !err && i < g->data; i++)
            m->sources |= 1u << m->plan.from[i];
    }
    for (unsigned s = 0; !err && s < g->shards; s++) {
        if (!((m->outputs | m->rebuilt) >> s & 1))
            continue;
        m->out[s] = rcbuf_new(m->outputs >> s & 1 ? m->shard_bytes : RANGE_BYTES);
        if (!m->out[s])
            err = ERR_NOMEM;
        else
            m->out[s]->len = m->outputs >> s & 1 ? m->shard_bytes : RANGE_BYTES;
    }
    return err;
}

static uint64_t bytes_to_move(const struct mend *m)
{
    return m->shard_bytes *
           (unsigned)(__builtin_popcount(m->sources) + __builtin_popcount(m->targets));
}

/* ---- 5. Range by range ---- */

static uint64_t range_bytes(const struct mend *m)
{
    return MIN((uint64_t)RANGE_BYTES, m->shard_bytes - m->offset);
}

static void range_send(struct mend *m)
{
    for (unsigned s = 0; s < m->group.shards; s++) {
        if (!(m->sources >> s & 1))
            continue;
        unsigned place = 0;
        while (!(m->whole >> place & 1) || m->group.place[place].shard != s)
            place++;
        get_send(m, &m->slot[s], place, m->offset, range_bytes(m), false, false);
    }
}

/* The asked range, block by block as its CRCs say. */
static bool range_is_good(const struct mend *m, const struct mend_slot *s)
{
    const Cairn__GetShardResponse *a =
        (const Cairn__GetShardResponse *)(const void *)s->rpc.response;
    struct slice bytes = s->rpc.response_payload.bytes;
    size_t blocks = (range_bytes(m) + EC_BLOCK_BYTES - 1) / EC_BLOCK_BYTES;
    if (s->rpc.err != OK || !a || a->first_byte != m->offset || a->shard_bytes != m->shard_bytes ||
        bytes.len != range_bytes(m) || a->n_block_crcs != blocks)
        return false;
    for (size_t b = 0; b < blocks; b++) {
        size_t at = b * EC_BLOCK_BYTES;
        if (crc32c(0, SLICE(bytes.ptr + at, MIN(bytes.len - at, EC_BLOCK_BYTES))) !=
            a->block_crcs[b])
            return false;
    }
    return true;
}

static uint8_t *range_out(const struct mend *m, unsigned shard)
{
    return m->out[shard]->data + (m->outputs >> shard & 1 ? m->offset : 0);
}

/* The used bytes of data shards, and of every replica, for the CRC of the whole. */
static void range_sum(struct mend *m, unsigned shard, const uint8_t *bytes)
{
    uint64_t blob = m->header->info->blob_bytes;
    unsigned data = m->group.data;
    if (blob == 0 || (data > 1 && shard >= data))
        return;
    uint64_t used = data == 1 ? blob : ec_shard_used(data, blob, shard);
    if (used > m->offset)
        m->crc[shard] =
            crc32c(m->crc[shard], SLICE(bytes, (size_t)MIN(used - m->offset, range_bytes(m))));
}

static void range_rebuild(struct mend *m)
{
    const uint8_t *from[EC_DATA_MAX];
    uint8_t *to[EC_SHARDS_MAX];
    size_t len = (size_t)range_bytes(m);
    for (unsigned s = 0; s < m->group.shards; s++) {
        const uint8_t *bytes = m->slot[s].rpc.response_payload.bytes.ptr;
        if (!(m->sources >> s & 1))
            continue;
        if (m->outputs >> s & 1)
            memcpy(range_out(m, s), bytes, len);
        range_sum(m, s, bytes);
    }
    if (!m->rebuilt)
        return;
    for (unsigned i = 0; i < m->plan.data; i++)
        from[i] = m->slot[m->plan.from[i]].rpc.response_payload.bytes.ptr;
    for (unsigned i = 0; i < m->plan.wanted; i++)
        to[i] = range_out(m, m->plan.want[i]);
    ec_rebuild(&m->plan, len, from, to);
    for (unsigned i = 0; i < m->plan.wanted; i++)
        range_sum(m, m->plan.want[i], to[i]);
}

/* False: some source was no good; it is none any more. */
static bool range_take(struct mend *m)
{
    bool good = true;
    for (unsigned s = 0; s < m->group.shards; s++) {
        if (!(m->sources >> s & 1) || range_is_good(m, &m->slot[s]))
            continue;
        m->whole &= ~(1u << m->slot[s].place);
        good = false;
    }
    if (good)
        range_rebuild(m);
    slots_fini(m);
    m->offset += good ? range_bytes(m) : 0;
    return good;
}

/* Is it the blob, as far as can be seen: when all data shards were at hand.  A plain copy of a
 * coded shard is vouched for by the CRCs of its blocks alone. */
static bool blob_is_right(const struct mend *m)
{
    const Cairn__ShardInfo *info = m->header->info;
    unsigned data = m->group.data;
    uint32_t crc = m->crc[0], all = (1u << data) - 1, seen = m->sources | m->rebuilt;
    if (info->blob_bytes == 0)
        return true; /* its header says neither its size nor its sum */
    for (unsigned s = 0; data == 1 && s < m->group.shards; s++)
        if (seen >> s & 1 && m->crc[s] != info->blob_crc32c)
            return false;
    if (data == 1 || (seen & all) != all)
        return true;
    for (unsigned s = 1; s < data; s++)
        crc = crc32c_combine(crc, m->crc[s], ec_shard_used(data, info->blob_bytes, s));
    return crc == info->blob_crc32c;
}

/* ---- 6. Writing and reading back ---- */

static int write_send(struct mend *m)
{
    const Cairn__ShardInfo *info = m->header->info;
    size_t blocks = (size_t)((m->shard_bytes + EC_BLOCK_BYTES - 1) / EC_BLOCK_BYTES);
    uint32_t *crcs = malloc(blocks * sizeof(*crcs));
    if (!crcs)
        return ERR_NOMEM;
    Cairn__PutShardRequest request = CAIRN__PUT_SHARD_REQUEST__INIT;
    request.pg = m->pg;
    request.pg_epoch = m->pg_epoch;
    request.blob_id = (ProtobufCBinaryData){ID_BYTES, m->item.blob_id.bytes};
    request.scheme = info->scheme;
    request.owner = info->owner;
    request.time_ms = info->time_ms;
    request.bytes = m->shard_bytes;
    request.block_crcs = crcs;
    request.n_block_crcs = blocks;
    request.data_shards = info->data_shards;
    request.parity_shards = info->parity_shards;
    request.blob_bytes = info->blob_bytes;
    request.blob_crc32c = info->blob_crc32c;
    for (unsigned i = 0; i < m->group.place_count; i++) {
        if (!(m->targets >> i & 1))
            continue;
        struct rcbuf *out = m->out[m->group.place[i].shard];
        struct slice bytes = SLICE(out->data, out->len);
        for (size_t b = 0; b < blocks; b++) {
            size_t at = b * EC_BLOCK_BYTES;
            crcs[b] = crc32c(0, SLICE(bytes.ptr + at, MIN(bytes.len - at, EC_BLOCK_BYTES)));
        }
        request.shard_index = m->group.place[i].shard;
        m->slot[i].rpc = (struct rpc_call){.method = &method_store_put,
                                           .request = &request.base,
                                           .payload[0] = {out, bytes},
                                           .payload_count = 1};
        send(m, &m->slot[i], i);
    }
    free(crcs);
    return OK;
}

static void write_take(struct mend *m, bool *ret_deleted)
{
    for (unsigned i = 0; i < m->group.place_count; i++) {
        if (!(m->targets >> i & 1))
            continue;
        int err = m->slot[i].rpc.err;
        *ret_deleted |= err == ERR_CONDEMNED;
        if (err) {
            m->err = err;
            m->targets &= ~(1u << i);
        }
    }
    slots_fini(m);
}

static void verify_take(struct mend *m)
{
    for (unsigned i = 0; i < m->group.place_count; i++) {
        Cairn__ShardState state = CAIRN__SHARD_STATE__SHARD_MISSING;
        if (!(m->targets >> i & 1))
            continue;
        int err = MUTANT(REPAIR_UNVERIFIED) ? OK : check_state(&m->slot[i], &state);
        if (!err && state != CAIRN__SHARD_STATE__SHARD_PRESENT && !MUTANT(REPAIR_UNVERIFIED))
            err = ERR_CHECKSUM;
        if (err) {
            m->err = err;
            continue;
        }
        m->mended |= 1u << i;
        m->bytes += m->shard_bytes;
    }
    slots_fini(m);
}

/* ---- the steps ---- */

static enum op_next look_begin(struct mend *m)
{
    m->looked_ns = env_now_ns(m->env);
    check_send(m, live_places(m), false);
    return op_move(&m->op, MEND_LOOKING);
}

static enum op_next step_look(struct mend *m)
{
    look_take(m);
    if (m->item.verdict == PLAN_DELETED)
        return mend_end(m, MEND_DELETED, OK);
    if (!(m->item.lack & m->want))
        return mend_end(m, MEND_NOTHING, OK);
    if (!header_send(m))
        return mend_end(m, MEND_BEYOND, ERR_NO_QUORUM);
    return op_move(&m->op, MEND_HEADER);
}

static enum op_next step_header(struct mend *m)
{
    if (!header_take(m)) {
        if (!header_send(m))
            return mend_end(m, MEND_BEYOND, ERR_NO_QUORUM);
        return op_move(&m->op, MEND_HEADER);
    }
    /* Also of what cannot be rebuilt: most often it is the rest of a write that failed. */
    if (m->item.ask || m->item.margin < 0 || (m->item.lack & new_places(m)))
        ask_send(m);
    else
        m->ask_id.len = 0;
    return op_move(&m->op, MEND_ASKING);
}

static enum op_next sources_lacking(struct mend *m, int err)
{
    if (err != ERR_NO_QUORUM)
        return mend_end(m, MEND_FAILED, err);
    return m->wrong ? mend_end(m, MEND_WRONG, ERR_CHECKSUM) : mend_end(m, MEND_BEYOND, err);
}

static enum op_next step_ask(struct mend *m)
{
    enum mend_referred referred = MEND_REFERRED;
    int err = m->ask_id.len ? ask_take(m, &referred) : OK;
    if (err)
        return mend_end(m, MEND_FAILED, err);
    m->new_only = referred == MEND_REFERRED_NOT_YET;
    m->copies = (unsigned)__builtin_popcount(plan_shards_of(&m->group, m->whole)) < m->group.data;
    targets_choose(m);
    if (referred == MEND_CONDEMNED || (m->new_only && !m->targets))
        return mend_end(m, MEND_UNREFERRED, OK);
    err = m->targets ? sources_choose(m) : ERR_NO_QUORUM;
    if (err)
        return sources_lacking(m, err);
    uint64_t delay =
        m->paced ? 0 : m->pace(m->pace_arg, bytes_to_move(m), plan_is_endangered(&m->item));
    m->paced = true;
    if (delay)
        env_timer_start(&m->timer, delay);
    return op_move(&m->op, MEND_PACING);
}

static enum op_next step_paced(struct mend *m)
{
    if (env_now_ns(m->env) - m->looked_ns > MIN(LOOK_AGAIN_NS, m->seen_ns_max / 2)) {
        header_free(m);
        out_free(m);
        return look_begin(m);
    }
    range_send(m);
    return op_move(&m->op, MEND_FETCHING);
}

/* Some shard is not the blob's.  Of replicas the others are taken; of a code nobody knows which
 * it is, and only copies are left. */
static enum op_next step_wrong(struct mend *m)
{
    m->wrong = true;
    if (m->group.data == 1) {
        for (unsigned i = 0; i < m->group.place_count; i++) {
            unsigned shard = m->group.place[i].shard;
            if ((m->sources >> shard & 1) && m->crc[shard] != m->header->info->blob_crc32c)
                m->whole &= ~(1u << i);
        }
    } else {
        m->copies = true;
        targets_choose(m);
    }
    int err = m->targets ? sources_choose(m) : ERR_NO_QUORUM;
    if (err)
        return sources_lacking(m, err);
    range_send(m);
    return op_move(&m->op, MEND_FETCHING);
}

/* What was to be written has been, and read back. */
static enum op_next step_verified(struct mend *m)
{
    verify_take(m);
    if (m->err)
        return mend_end(m, MEND_FAILED, m->err);
    if (!m->copies)
        return mend_end(m, MEND_MENDED, OK);
    return m->new_only ? mend_end(m, MEND_UNREFERRED, OK) : sources_lacking(m, ERR_NO_QUORUM);
}

static enum op_next step_fetch(struct mend *m)
{
    int err = range_take(m) ? OK : sources_choose(m);
    if (err)
        return sources_lacking(m, err);
    if (m->offset < m->shard_bytes) {
        range_send(m);
        return op_move(&m->op, MEND_FETCHING);
    }
    if (!m->copies && !blob_is_right(m))
        return step_wrong(m);
    if (env_now_ns(m->env) - m->looked_ns > m->seen_ns_max)
        return mend_end(m, MEND_FAILED, ERR_TIMEOUT);
    err = write_send(m);
    return err ? mend_end(m, MEND_FAILED, err) : op_move(&m->op, MEND_WRITING);
}

static enum op_next mend_step(struct op *op)
{
    struct mend *m = container_of(op, struct mend, op);
    bool deleted = false;
    if (m->left > 0 || m->asking || m->timer.active)
        return OP_WAIT;
    if (m->canceled)
        return mend_end(m, MEND_FAILED, ERR_CANCELED);
    switch (op->state) {
    case MEND_START: return look_begin(m);
    case MEND_LOOKING: return step_look(m);
    case MEND_HEADER: return step_header(m);
    case MEND_ASKING: return step_ask(m);
    case MEND_PACING: return step_paced(m);
    case MEND_FETCHING: return step_fetch(m);
    case MEND_WRITING:
        write_take(m, &deleted);
        if (deleted)
            return mend_end(m, MEND_DELETED, OK);
        if (!MUTANT(REPAIR_UNVERIFIED))
            check_send(m, m->targets, true);
        return op_move(op, MEND_VERIFYING);
    default: return step_verified(m);
    }
}

static void mend_done(struct op *op)
{
    struct mend *m = container_of(op, struct mend, op);
    if (m->ask_id.len) /* asked, and cancelled meanwhile */
        leader_call_fini(&m->ask);
    slots_fini(m);
    out_free(m);
    header_free(m);
    m->unwanted = m->item.lack & m->want & ~m->mended;
    m->cb(m);
}

static const struct op_type mend_type = {.name = "mend",
                                         .state_names = state_names,
                                         .transitions = transitions,
                                         .state_count = MEND_STATES,
                                         .step = mend_step,
                                         .done = mend_done};

static void on_timer(struct env_timer *timer)
{
    op_wake(&container_of(timer, struct mend, timer)->op);
}

void mend_start(struct mend *m)
{
    op_init(&m->op, &mend_type, MEND_START, 0, 0);
    env_timer_init(m->env, &m->timer, on_timer);
    env_timer_start(&m->timer, 0);
}

void mend_cancel(struct mend *m)
{
    if (m->canceled)
        return;
    m->canceled = true;
    for (unsigned i = 0; i < PLAN_PLACES_MAX; i++)
        if (m->slot[i].running)
            rpc_call_cancel(&m->slot[i].rpc);
    if (m->asking)
        leader_call_cancel(&m->ask);
    if (m->timer.active)
        env_timer_start(&m->timer, 0);
}
