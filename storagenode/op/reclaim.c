/* Reclamation: what lives in an extent that is mostly dead is written once more, like a put, and the
 * extent becomes free.
 *
 *   RESTING   picks a victim (alloc_victim)
 *   READING   reads and checks its live frames, a round's worth
 *   COPYING   has them committed with whatever else is on its way; then the next round, or
 *             EMPTIED: its next life begins only after an index flush that knows all of this
 *
 * The order is what keeps every acknowledged byte: copies synced, index changed, index durable, then
 * the header of the next life.  Deletion marks are not copied: what they did is in the durable index
 * by then.  Copies are bounded in rate, unless space is short. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

#include <stdlib.h>

enum { RESTING, READING, COPYING, RECLAIM_STATES };
static const char *const state_names[] = {"RESTING", "READING", "COPYING"};
static const uint32_t transitions[] = {
    [RESTING] = 1u << READING,
    [READING] = 1u << COPYING | 1u << RESTING,
    [COPYING] = 1u << READING | 1u << RESTING,
};

#define RETRY_NS NS_PER_SEC

static void on_pause(struct env_timer *t)
{
    struct store *s = container_of(t, struct store, reclaim.pause);
    s->reclaim.paused = false;
    op_wake(&s->reclaim.op);
}

static void pause_for(struct store *s, uint64_t ns)
{
    if (ns == 0)
        return;
    s->reclaim.paused = true;
    env_timer_start(&s->reclaim.pause, ns);
}

static void round_free(struct reclaim *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        rcbuf_unref(r->copies[i]->buffer);
        free(r->copies[i]);
    }
    r->count = 0;
    r->round_bytes = 0;
}

/* ---- reading ---- */

static void on_read(struct disk_req *req)
{
    struct store *s = container_of(req, struct store, reclaim.req);
    s->reclaim.pending = false;
    op_wake(&s->reclaim.op);
}

static bool round_full(const struct reclaim *r)
{
    return r->count == COPIES_PER_ROUND || r->round_bytes >= COPY_BYTES_PER_ROUND;
}

/* OK: a read is under way.  ERR_NOT_FOUND: nothing more lives here. */
static int read_next(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    struct blob_record blob;
    struct shard_record *shard = NULL;
    int err = index_next_live(s, r->victim->header.id, r->next_offset, &r->reading,
                              &r->reading_offset);
    if (err)
        return err;
    r->next_offset = r->reading_offset + FRAME_ALIGN;
    err = index_load(s, r->reading.blob_id, &blob);
    if (!err)
        shard = blob_record_find(&blob, r->reading.shard_index);
    if (err || !shard || shard->extent_id != r->victim->header.id ||
        shard->offset != r->reading_offset)
        return err == OK || err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    uint64_t bytes = frame_bytes(shard->bytes);
    struct copy *c = calloc(1, sizeof(*c));
    if (c)
        c->buffer = rcbuf_new(bytes);
    if (!c || !c->buffer) {
        free(c);
        return ERR_NOMEM;
    }
    c->buffer->len = bytes;
    c->store = s;
    r->copies[r->count++] = c;
    r->round_bytes += bytes;
    r->req = (struct disk_req){.kind = DISK_READ,
                               .cb = on_read,
                               .file = r->victim->file,
                               .offset = r->reading_offset,
                               .buffer = c->buffer->data,
                               .bytes = bytes};
    r->pending = true;
    disk_start(s->disk, &r->req);
    return OK;
}

/* The frame just read joins the round, or is found damaged. */
static void read_finish(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    struct copy *c = r->copies[r->count - 1];
    struct slice frame = SLICE(c->buffer->data, c->buffer->len);
    struct frame_head *h = &c->head;
    bool good = r->req.err == OK && frame_head_decode(frame, h) == OK &&
                frame_head_fits(h, &r->victim->header, r->reading_offset) &&
                h->kind == FRAME_SHARD && id128_eq(h->info.blob_id, r->reading.blob_id) &&
                h->info.shard_index == r->reading.shard_index &&
                frame_bytes(h->data_bytes) == frame.len &&
                frame_data_verify(h, SLICE(frame.ptr + FRAME_HEAD_BYTES, h->data_bytes)) == OK;
    if (good)
        return;
    PROBE(RECLAIM_DAMAGED);
    r->round_bytes -= frame.len;
    r->count--;
    rcbuf_unref(c->buffer);
    free(c);
    struct store_damage damage = {.blob_id = r->reading.blob_id,
                                  .shard_index = r->reading.shard_index,
                                  .extent_id = r->victim->header.id,
                                  .offset = r->reading_offset,
                                  .err = r->req.err ? r->req.err : ERR_CHECKSUM};
    index_damaged(s, &damage, true);
}

/* ---- copying ---- */

static void on_copied(struct store_put *put)
{
    struct copy *c = container_of(put, struct copy, put);
    struct store *s = c->store;
    if (put->err == OK)
        s->stats.reclaimed_bytes_copied += frame_bytes(put->info.bytes);
    else if (put->err != ERR_CONFLICT && put->err != ERR_NOT_FOUND)
        s->reclaim.failed = true;
    if (--s->reclaim.outstanding == 0)
        store_wake(s);
}

static void round_send(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    r->outstanding = r->count;
    for (unsigned i = 0; i < r->count; i++) {
        struct copy *c = r->copies[i];
        c->put = (struct store_put){.info = c->head.info,
                                    .payload = {c->buffer, SLICE(c->buffer->data + FRAME_HEAD_BYTES,
                                                                 c->head.data_bytes)},
                                    .cb = on_copied,
                                    .item = {.is_put = true},
                                    .is_copy = true,
                                    .any_age = true,
                                    .from_extent = r->victim->header.id,
                                    .from_offset = c->head.offset};
        commit_enqueue(s, &c->put.item);
    }
}

/* ---- the victim ---- */

static void release(struct store *s, struct extent *x)
{
    extent_move(&s->alloc, x, EXTENT_FREEING);
    s->stats.extents_reclaimed++;
    store_wake(s);
}

void reclaim_release(struct store *s)
{
    for (uint32_t i = 0; i < s->alloc.slots; i++) {
        struct extent *x = s->alloc.extents[i];
        if (x && x->state == EXTENT_EMPTIED &&
            (x->needs_mark <= s->flush.durable_mark || MUTANT(STORE_RECLAIM_EARLY)))
            release(s, x);
    }
}

static enum op_next victim_give_up(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    PROBE(RECLAIM_GAVE_UP);
    round_free(r);
    extent_move(&s->alloc, r->victim, EXTENT_SEALED);
    r->victim = NULL;
    pause_for(s, RETRY_NS);
    store_wake(s);
    return op_move(&r->op, RESTING);
}

static enum op_next victim_done(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    struct extent *x = r->victim;
    if (x->live_frames > 0)
        return victim_give_up(s); /* the index contradicts itself; nothing is thrown away for it */
    extent_move(&s->alloc, x, EXTENT_EMPTIED);
    x->needs_mark = s->flush.changes;
    r->victim = NULL;
    reclaim_release(s);
    if (x->state == EXTENT_EMPTIED)
        PROBE(RECLAIM_WAITS);
    if (alloc_pressure(&s->alloc) != ALLOC_RELAXED || r->forced)
        index_flush_want(s);
    return op_move(&r->op, RESTING);
}

static enum op_next rest(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    if (s->state != STORE_UP || r->paused || !(r->look || r->forced))
        return OP_WAIT;
    r->victim = alloc_victim(&s->alloc, r->forced);
    if (!r->victim) {
        r->look = r->forced = false;
        return OP_WAIT;
    }
    extent_move(&s->alloc, r->victim, EXTENT_RECLAIMING);
    r->next_offset = 0;
    r->failed = false;
    return op_move(&r->op, READING);
}

static enum op_next read_step(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    if (r->pending || (r->paused && s->state == STORE_UP))
        return OP_WAIT;
    bool out_of_memory = r->req.cb && r->req.err == ERR_NOMEM; /* says nothing about the frame */
    if (r->req.cb && !out_of_memory)
        read_finish(s);
    r->req.cb = NULL;
    if (s->state != STORE_UP || out_of_memory)
        return victim_give_up(s);
    int err = round_full(r) ? ERR_NOT_FOUND : read_next(s);
    if (err == OK)
        return OP_WAIT;
    if (err != ERR_NOT_FOUND)
        return victim_give_up(s);
    if (r->count == 0)
        return victim_done(s);
    round_send(s);
    return op_move(&r->op, COPYING);
}

static enum op_next copy_step(struct store *s)
{
    struct reclaim *r = &s->reclaim;
    if (r->outstanding > 0)
        return OP_WAIT;
    if (r->failed || s->state != STORE_UP)
        return victim_give_up(s);
    if (alloc_pressure(&s->alloc) == ALLOC_RELAXED && !r->forced)
        pause_for(s, r->round_bytes * NS_PER_SEC / s->config.reclaim_bytes_per_sec);
    round_free(r);
    return op_move(&r->op, READING);
}

static enum op_next reclaim_step(struct op *op)
{
    struct store *s = container_of(op, struct store, reclaim.op);
    switch (op->state) {
    case RESTING: return rest(s);
    case READING: return read_step(s);
    case COPYING: return copy_step(s);
    }
    CHECK(0);
    return OP_WAIT;
}

static void never_done(struct op *op)
{
    (void)op;
    CHECK(0);
}

static const struct op_type reclaim_type = {"reclaim", state_names, transitions, RECLAIM_STATES,
                                            reclaim_step, NULL, never_done};

void reclaim_init(struct store *s)
{
    op_init(&s->reclaim.op, &reclaim_type, RESTING, 0, 0);
    env_timer_init(s->env, &s->reclaim.pause, on_pause);
}

void reclaim_fini(struct store *s)
{
    env_timer_stop(&s->reclaim.pause);
    round_free(&s->reclaim);
}

bool reclaim_idle(const struct store *s) { return s->reclaim.op.state == RESTING; }
