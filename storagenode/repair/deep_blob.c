/* One blob, deep.  See deep_blob.h.
 *
 *   START → READING ⇄ (next range) → JUDGING → TELLING → done */
#include "storagenode/repair/deep_blob.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "proto/methods.h"

#include <stdlib.h>

#define RANGE_BYTES (4 * EC_BLOCK_BYTES)

enum { DEEP_START, DEEP_READING, DEEP_JUDGING, DEEP_TELLING, DEEP_STATES };
static const char *const state_names[DEEP_STATES] = {"start", "reading", "judging", "telling"};
static const uint32_t transitions[DEEP_STATES] = {
    [DEEP_START] = 1u << DEEP_READING,
    [DEEP_READING] = 1u << DEEP_READING | 1u << DEEP_JUDGING,
    [DEEP_JUDGING] = 1u << DEEP_TELLING,
};

static enum op_next blob_end(struct deep_blob *b, int err)
{
    b->err = err;
    if (err)
        b->verdict = JUDGE_TOO_FEW;
    return OP_DONE;
}

static void on_call(struct rpc_call *rpc)
{
    struct deep_shard *s = container_of(rpc, struct deep_shard, rpc);
    s->running = false;
    s->blob->left--;
    op_wake(&s->blob->op);
}

static void send(struct deep_blob *b, unsigned i)
{
    struct deep_shard *s = &b->shard[i];
    s->sent = true;
    s->rpc.timeout_ns = b->timeout_ns;
    s->rpc.cb = on_call;
    s->rpc.err = b->peer[i] ? rpc_call_start(b->peer[i], &s->rpc) : ERR_UNREACHABLE;
    s->running = s->rpc.err == OK;
    b->left += s->running;
    s->rpc.request = NULL;
}

static void call_fini(struct deep_shard *s)
{
    if (s->sent)
        rpc_call_fini(&s->rpc);
    s->sent = false;
    s->rpc = (struct rpc_call){0};
}

static void shard_drop(struct deep_shard *s)
{
    if (s->head)
        cairn__get_shard_response__free_unpacked(s->head, NULL);
    rcbuf_unref(s->bytes);
    free(s->crcs);
    s->head = NULL;
    s->bytes = NULL;
    s->crcs = NULL;
    s->had = false;
}

/* ---- 1. Reading ---- */

static uint64_t range_bytes(const struct deep_blob *b)
{
    return b->shard_bytes ? MIN((uint64_t)RANGE_BYTES, b->shard_bytes - b->offset) : RANGE_BYTES;
}

/* The first range also asks for the header, and how large the shard is. */
static void range_send(struct deep_blob *b)
{
    for (unsigned i = 0; i < b->shards; i++) {
        if (b->offset > 0 && !b->shard[i].had)
            continue;
        Cairn__GetShardRequest request = CAIRN__GET_SHARD_REQUEST__INIT;
        request.blob_id = (ProtobufCBinaryData){ID_BYTES, b->blob_id.bytes};
        request.shard_index = i;
        request.offset = b->offset;
        request.bytes = range_bytes(b);
        request.want_info = b->offset == 0;
        b->shard[i].rpc = (struct rpc_call){
            .method = &method_store_get, .request = &request.base, .heap_response = b->offset == 0};
        send(b, i);
    }
}

/* What the first answers say: the size that most shards have is the size. */
static int heads_take(struct deep_blob *b)
{
    unsigned best = 0;
    b->shard_bytes = 0;
    for (unsigned i = 0; i < b->shards; i++) {
        struct deep_shard *s = &b->shard[i];
        Cairn__GetShardResponse *h = (Cairn__GetShardResponse *)(void *)s->rpc.response;
        if (s->rpc.err != OK || !h || !h->info || h->info->pg != b->pg || h->shard_bytes == 0)
            continue;
        s->head = h;
        s->rpc.response = NULL;
        s->had = true;
    }
    for (unsigned i = 0; i < b->shards; i++) {
        unsigned same = 0;
        for (unsigned k = 0; b->shard[i].had && k < b->shards; k++)
            same +=
                b->shard[k].had && b->shard[k].head->shard_bytes == b->shard[i].head->shard_bytes;
        if (same > best) {
            best = same;
            b->shard_bytes = b->shard[i].head->shard_bytes;
        }
    }
    if (b->shard_bytes > DEEP_BYTES_MAX / b->shards)
        return ERR_TOO_LARGE;
    for (unsigned i = 0; i < b->shards; i++) {
        struct deep_shard *s = &b->shard[i];
        if (!s->had)
            continue;
        b->odd |= s->head->shard_bytes != b->shard_bytes;
        s->had = s->head->shard_bytes == b->shard_bytes;
        s->crc_count = (size_t)((b->shard_bytes + EC_BLOCK_BYTES - 1) / EC_BLOCK_BYTES);
        s->bytes = s->had ? rcbuf_new(b->shard_bytes) : NULL;
        s->crcs = s->had ? calloc(s->crc_count, sizeof(*s->crcs)) : NULL;
        if (s->had && (!s->bytes || !s->crcs))
            return ERR_NOMEM;
    }
    return OK;
}

/* Copies the range that was asked for, if it is there and as its sums say. */
static bool range_take(struct deep_blob *b, struct deep_shard *s)
{
    const Cairn__GetShardResponse *a =
        b->offset == 0 ? s->head : (const Cairn__GetShardResponse *)(const void *)s->rpc.response;
    struct slice bytes = s->rpc.response_payload.bytes;
    uint64_t len = range_bytes(b);
    size_t blocks = (size_t)((len + EC_BLOCK_BYTES - 1) / EC_BLOCK_BYTES);
    if (s->rpc.err != OK || !a || a->first_byte != b->offset || a->shard_bytes != b->shard_bytes ||
        bytes.len < len || a->n_block_crcs < blocks)
        return false;
    for (size_t k = 0; k < blocks; k++) {
        size_t at = k * EC_BLOCK_BYTES;
        struct slice block = SLICE(bytes.ptr + at, MIN(len - at, EC_BLOCK_BYTES));
        if (crc32c(0, block) != a->block_crcs[k])
            return false;
        s->crcs[b->offset / EC_BLOCK_BYTES + k] = a->block_crcs[k];
        memcpy(s->bytes->data + b->offset + at, block.ptr, block.len);
    }
    b->bytes += len;
    return true;
}

static void ranges_take(struct deep_blob *b)
{
    for (unsigned i = 0; i < b->shards; i++) {
        struct deep_shard *s = &b->shard[i];
        if (s->had && !range_take(b, s))
            shard_drop(s);
        call_fini(s);
    }
    b->offset += range_bytes(b);
}

/* ---- 2. Judging ---- */

static void judge_run(struct env_work *work)
{
    judge_blob(&container_of(work, struct deep_blob, work)->judge);
}

static void judge_done(struct env_work *work)
{
    struct deep_blob *b = container_of(work, struct deep_blob, work);
    b->judging = false;
    op_wake(&b->op);
}

static int judge_start(struct deep_blob *b)
{
    int err = ec_init(&b->ec, b->data, b->shards - b->data);
    uint8_t *scratch = err ? NULL : malloc(JUDGE_SCRATCH_BYTES);
    if (!scratch)
        return err ? err : ERR_NOMEM;
    for (unsigned i = 0; i < b->shards; i++) {
        const struct deep_shard *s = &b->shard[i];
        b->judged[i] = (struct judge_shard){0};
        if (s->had)
            b->judged[i] = (struct judge_shard){s->bytes->data, s->head->info->blob_bytes,
                                                s->head->info->blob_crc32c};
    }
    b->judge = (struct judge){
        .ec = &b->ec, .shard_bytes = b->shard_bytes, .shard = b->judged, .scratch = scratch};
    b->work.run = judge_run;
    b->work.done = judge_done;
    b->judging = true;
    env_work_start(b->env, &b->work);
    return OK;
}

/* ---- 3. Telling ---- */

static void wrong_tell(struct deep_blob *b)
{
    for (unsigned i = 0; i < b->shards; i++) {
        struct deep_shard *s = &b->shard[i];
        if (!(b->wrong >> i & 1))
            continue;
        Cairn__DistrustShardRequest request = CAIRN__DISTRUST_SHARD_REQUEST__INIT;
        request.blob_id = (ProtobufCBinaryData){ID_BYTES, b->blob_id.bytes};
        request.shard_index = i;
        request.block_crcs = s->crcs;
        request.n_block_crcs = s->crc_count;
        s->rpc = (struct rpc_call){.method = &method_store_distrust, .request = &request.base};
        send(b, i);
    }
}

static void told_take(struct deep_blob *b)
{
    for (unsigned i = 0; i < b->shards; i++) {
        if (!b->shard[i].sent)
            continue;
        b->told |= b->shard[i].rpc.err == OK ? 1u << i : 0;
        call_fini(&b->shard[i]);
    }
}

/* ---- the steps ---- */

static enum op_next read_step(struct deep_blob *b)
{
    int err = b->offset == 0 ? heads_take(b) : OK;
    if (!err)
        ranges_take(b);
    if (err || b->shard_bytes == 0)
        return blob_end(b, err);
    if (b->offset < b->shard_bytes) {
        range_send(b);
        return op_move(&b->op, DEEP_READING);
    }
    err = judge_start(b);
    return err ? blob_end(b, err) : op_move(&b->op, DEEP_JUDGING);
}

static enum op_next deep_step(struct op *op)
{
    struct deep_blob *b = container_of(op, struct deep_blob, op);
    if (b->left > 0 || b->judging || b->timer.active)
        return OP_WAIT;
    if (b->canceled)
        return blob_end(b, ERR_CANCELED);
    switch (op->state) {
    case DEEP_START: range_send(b); return op_move(op, DEEP_READING);
    case DEEP_READING: return read_step(b);
    case DEEP_JUDGING:
        b->verdict = b->judge.verdict;
        b->wrong = b->judge.wrong;
        if (b->odd && b->verdict != JUDGE_TOO_FEW && !b->wrong)
            b->verdict = JUDGE_UNPROVEN; /* a shard of another size is no shard of this blob */
        wrong_tell(b);
        return op_move(op, DEEP_TELLING);
    default: told_take(b); return blob_end(b, OK);
    }
}

static void deep_done(struct op *op)
{
    struct deep_blob *b = container_of(op, struct deep_blob, op);
    for (unsigned i = 0; i < b->shards; i++) {
        call_fini(&b->shard[i]);
        shard_drop(&b->shard[i]);
    }
    free(b->judge.scratch);
    b->cb(b);
}

static const struct op_type deep_type = {.name = "deep_blob",
                                         .state_names = state_names,
                                         .transitions = transitions,
                                         .state_count = DEEP_STATES,
                                         .step = deep_step,
                                         .done = deep_done};

static void on_timer(struct env_timer *timer)
{
    op_wake(&container_of(timer, struct deep_blob, timer)->op);
}

void deep_blob_start(struct deep_blob *b)
{
    CHECK(b->data >= 1 && b->shards > b->data && b->shards <= PLAN_SHARDS_MAX);
    b->verdict = JUDGE_TOO_FEW;
    for (unsigned i = 0; i < b->shards; i++)
        b->shard[i].blob = b;
    op_init(&b->op, &deep_type, DEEP_START, 0, 0);
    env_timer_init(b->env, &b->timer, on_timer);
    env_timer_start(&b->timer, 0);
}

void deep_blob_cancel(struct deep_blob *b)
{
    b->canceled = true;
    for (unsigned i = 0; i < b->shards; i++)
        if (b->shard[i].running)
            rpc_call_cancel(&b->shard[i].rpc);
    if (b->timer.active)
        env_timer_start(&b->timer, 0);
}
