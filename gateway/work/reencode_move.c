/* One segment from copies to shards.
 *
 *   READING ──all of it, as the record has it──► WRITING ──quorum──► MOVING ──► DONE
 *      └─────────────────────────────────────────────┴──────────────────────────►
 *
 * It is read in pieces, each verified by its blocks' CRCs, and the whole by the record's, before
 * anything is written.  The shards' headers say of the body what the copies' say: whoever puts
 * objects together without an index needs the body's write id and the segment's number.  After a
 * certain refusal the shards are discarded; after an unknown outcome nothing is. */
#include "gateway/work/reencode_move.h"

#include "common/base/check.h"
#include "common/obs/log.h"

#define PIECE_BYTES (UINT64_C(1) << 20)

enum { MOVE_READING, MOVE_WRITING, MOVE_MOVING, MOVE_DONE, MOVE_STATES };
static const char *const move_state_names[MOVE_STATES] = {"READING", "WRITING", "MOVING", "DONE"};
static const uint32_t move_transitions[MOVE_STATES] = {
    [MOVE_READING] = 1u << MOVE_WRITING | 1u << MOVE_DONE,
    [MOVE_WRITING] = 1u << MOVE_MOVING | 1u << MOVE_DONE,
    [MOVE_MOVING] = 1u << MOVE_DONE,
};

static uint64_t deadline(const struct reencode_move *m)
{
    return env_now_ns(m->gw->env) + m->gw->config->timeout_ms * NS_PER_MS;
}

static enum op_next move_end(struct reencode_move *m, int err)
{
    m->err = err;
    return op_move(&m->op, MOVE_DONE);
}

/* ---- 1. read ---- */

static void read_cb(struct blob_read *r)
{
    struct reencode_move *m = container_of(r, struct reencode_move, read);
    m->reading = false;
    op_wake(&m->op);
}

static void read_piece(struct reencode_move *m)
{
    const Cairn__Segment *s = m->from->segment;
    uint64_t at = m->segment.buf->len;
    m->read = (struct blob_read){
        .pg = s->pg,
        .blob_bytes = s->bytes,
        .offset = at,
        .bytes = MIN(PIECE_BYTES, s->bytes - at),
        .want_owner = at == 0,
        .has_crc32c = true,
        .crc32c = s->crc32c,
        .deadline_ns = deadline(m),
        .cb = read_cb,
    };
    CHECK(id128_from_slice(SLICE(s->blob_id.data, s->blob_id.len), &m->read.blob_id));
    m->reading = true;
    blob_read_start(m->gw->bc, &m->read);
}

static int owner_take(struct reencode_move *m)
{
    if (!m->read.has_owner)
        return ERR_PROTO;
    m->write_id = m->read.write_id;
    cairn__shard_owner__init(&m->owner);
    m->owner.bucket_id = m->from->bucket_id;
    m->owner.key = m->from->key;
    m->owner.upload_id = m->from->upload_id;
    m->owner.part_number = m->from->part_number;
    m->owner.segment_number = m->read.segment_number;
    m->owner.write_id = (ProtobufCBinaryData){ID_BYTES, m->write_id.bytes};
    m->owner.body_bytes = m->read.body_bytes;
    return OK;
}

static void write_cb(struct blob_write *w)
{
    struct reencode_move *m = container_of(w, struct reencode_move, write);
    m->writing = false;
    op_wake(&m->op);
}

static enum op_next move_read(struct reencode_move *m)
{
    if (m->reading)
        return OP_WAIT;
    bool first = m->segment.buf->len == 0;
    int err = m->canceled ? ERR_CANCELED : m->read.err;
    if (err == OK) {
        size_t taken = blob_segment_append(&m->segment, m->read.data.bytes);
        CHECK(taken == m->read.bytes);
    }
    payload_unref(&m->read.data);
    if (err == OK && first)
        err = owner_take(m);
    if (err != OK)
        return move_end(m, err);
    if (!blob_segment_full(&m->segment)) {
        read_piece(m);
        return OP_WAIT;
    }
    if (blob_segment_crc(&m->segment) != m->from->segment->crc32c)
        return move_end(m, ERR_CHECKSUM);
    m->write = (struct blob_write){
        .segment = &m->segment,
        .owner = &m->owner,
        .scheme = blob_interim_scheme(m->from->segment->interim),
        .deadline_ns = deadline(m),
        .coded_only = true,
        .cb = write_cb,
    };
    m->writing = true;
    blob_write_start(m->gw->bc, &m->write);
    return op_move(&m->op, MOVE_WRITING);
}

/* ---- 2. propose ---- */

static void propose_cb(struct meta_propose *p)
{
    struct reencode_move *m = container_of(p, struct reencode_move, propose);
    m->proposing = false;
    op_wake(&m->op);
}

static enum op_next move_propose(struct reencode_move *m)
{
    if (m->write.err != OK)
        return move_end(m, m->write.err);
    m->written = true;
    cairn__segment__init(&m->to);
    m->to.pg = m->write.pg;
    m->to.blob_id = (ProtobufCBinaryData){ID_BYTES, m->write.blob_id.bytes};
    m->to.bytes = m->write.bytes;
    m->to.crc32c = m->write.crc32c;
    cairn__move_segment__init(&m->command);
    m->command.bucket_id = m->from->bucket_id;
    m->command.key = m->from->key;
    m->command.upload_id = m->from->upload_id;
    m->command.part_number = m->from->part_number;
    m->command.version = m->from->version;
    m->command.from_blob_id = m->from->segment->blob_id;
    m->command.to = &m->to;
    m->propose = (struct meta_propose){
        .bucket_id = m->from->bucket_id,
        .key = SLICE(m->from->key.data, m->from->key.len),
        .deadline_ns = deadline(m),
        .cb = propose_cb,
    };
    if (m->gw->config
            ->write_age_ms_max) /* no orphan may be taken up (metanode/index/apply_condemn.c) */
        m->propose.issue_until_ms = m->write.time_ms + m->gw->config->write_age_ms_max;
    cairn__command__init(&m->propose.command);
    m->propose.command.op_case = CAIRN__COMMAND__OP_MOVE_SEGMENT;
    m->propose.command.move_segment = &m->command;
    m->proposing = m->proposed = true;
    meta_propose_start(m->gw->mc, &m->propose);
    return op_move(&m->op, MOVE_MOVING);
}

/* ---- the machine ---- */

static enum op_next move_step(struct op *op)
{
    struct reencode_move *m = container_of(op, struct reencode_move, op);
    switch (op->state) {
    case MOVE_READING: return move_read(m);
    case MOVE_WRITING: return m->writing ? OP_WAIT : move_propose(m);
    case MOVE_MOVING: return m->proposing ? OP_WAIT : move_end(m, m->propose.err);
    default: CHECK(op->state == MOVE_DONE); return OP_DONE;
    }
}

static void log_failure(const struct reencode_move *m)
{
    struct id128 id = {0};
    char hex[ID_HEX_CHARS + 1];
    (void)id128_from_slice(SLICE(m->from->segment->blob_id.data, m->from->segment->blob_id.len),
                           &id);
    id128_hex(id, hex);
    log_warn("reencode.failed", 0, L_ERR(m->err), L_STR("blob_id", hex),
             L_UINT("pg", m->from->segment->pg), L_UINT("bucket_id", m->from->bucket_id),
             L_BYTES("key", SLICE(m->from->key.data, m->from->key.len)));
}

static void move_done(struct op *op)
{
    struct reencode_move *m = container_of(op, struct reencode_move, op);
    bool unknown = m->proposed && err_class(m->err) == ERR_CLASS_UNKNOWN_OUTCOME;
    if (m->written && m->err != OK && !unknown)
        blob_discard(m->gw->bc, m->write.pg, m->write.blob_id);
    m->result = m->err == OK                             ? REENCODE_MOVED
                : m->proposed && m->err == ERR_NOT_FOUND ? REENCODE_OVERTAKEN
                                                         : REENCODE_FAILED;
    if (m->result == REENCODE_FAILED && !m->canceled)
        log_failure(m);
    if (m->proposed)
        meta_propose_fini(&m->propose);
    blob_segment_fini(&m->segment);
    budget_give(m->gw->budget, m->budgeted);
    m->running = false;
    m->gw->under_way--;
    m->cb(m);
}

static const struct op_type move_type = {
    .name = "reencode_move",
    .state_names = move_state_names,
    .transitions = move_transitions,
    .state_count = MOVE_STATES,
    .step = move_step,
    .done = move_done,
};

int reencode_move_start(struct reencode_move *m, const Cairn__InterimSegment *from)
{
    struct gateway *gw = m->gw;
    const Cairn__Segment *s = from->segment;
    CHECK(!m->running);
    if (!s || s->blob_id.len != ID_BYTES || s->bytes == 0 || s->bytes > BLOB_BYTES_MAX)
        return ERR_CORRUPT;
    size_t parity = blob_code_bytes(gw->bc, blob_interim_scheme(s->interim), (size_t)s->bytes);
    if (parity == 0)
        return ERR_NO_QUORUM;
    *m = (struct reencode_move){.gw = gw, .user = m->user, .cb = m->cb, .from = from};
    m->bytes = s->bytes;
    uint64_t piece = MIN(PIECE_BYTES, s->bytes);
    if (!budget_take(gw->budget, piece))
        return ERR_LIMIT;
    int err = blob_segment_init(&m->segment, gw->budget, (size_t)s->bytes, parity);
    if (err != OK) {
        budget_give(gw->budget, piece);
        return err;
    }
    m->budgeted = piece;
    m->running = true;
    gw->under_way++;
    op_init(&m->op, &move_type, MOVE_READING, 0, 0);
    read_piece(m);
    return OK;
}

void reencode_move_cancel(struct reencode_move *m)
{
    m->canceled = true;
    if (m->reading)
        blob_read_cancel(&m->read);
}
