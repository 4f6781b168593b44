/* Scrub: every live frame is read again and checked within scrub_period_ms, extents in the order of
 * their last reading (extent/due.h says which and how fast).
 *
 *   RESTING   picks the extent that is unverified for longest, once it is due
 *   READING   its live frames one after the other, a piece of a frame at a time; between the pieces
 *             it waits: for its rate, and for reads and writes that queue
 *
 * What it finds damaged is marked in the index, as reads do, counted, told once, and left for
 * repair. A frame that was deleted or moved meanwhile is nobody's; a life of the extent that is
 * over ends its reading.  Frames that are known to be damaged are not read again.
 *
 * How long an extent is unverified is kept in the index, one record an extent ('s').  After a crash
 * it may be older than true, never younger:
 *   - the record of a life is written when that life begins, with the first frame, and after each
 *     reading, with a time that lies before what it speaks of; an index that went back names an
 *     earlier time;
 *   - a life that the index does not know began after everything that the index knows: it takes the
 *     latest time of all records. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

#include <stdlib.h>

enum { RESTING, READING, SCRUB_STATES };
static const char *const state_names[] = {"RESTING", "READING"};
static const uint32_t transitions[] = {
    [RESTING] = 1u << READING,
    [READING] = 1u << RESTING,
};

#define PIECE_BYTES (16u * SHARD_BLOCK_BYTES) /* read at once, and the head with the first */
#define LOOK_NS (10 * NS_PER_SEC)             /* how often what is due is looked for */
#define RATE_NS (60 * NS_PER_SEC)             /* how often the rate is computed anew */
#define YIELD_NS (20 * NS_PER_MS)             /* then it looks whether others still queue */
#define READS_BESIDE 2u                       /* gets under way that do not count as a queue */
#define SKIPS_PER_TURN 256u                   /* index records passed over in one turn */

static struct due due_of(const struct store *s)
{
    return (struct due){.now_ms = env_wall_ms(s->env),
                        .period_ms = s->config.scrub_period_ms,
                        .bytes_per_sec_max = s->config.scrub_bytes_per_sec_max,
                        .skew_ms_max = s->config.clock_skew_ms_max};
}

static void on_pause(struct env_timer *t)
{
    struct store *s = container_of(t, struct store, scrub.pause);
    s->scrub.paused = false;
    op_wake(&s->scrub.op);
}

static void pause_for(struct store *s, uint64_t ns)
{
    s->scrub.paused = true;
    env_timer_start(&s->scrub.pause, ns);
}

/* ---- since when ---- */

static void record_put(struct kv_batch *kv, uint32_t extent_id, uint64_t generation, uint64_t ms)
{
    uint8_t value[SCRUB_RECORD_BYTES];
    struct record_key key = record_key_scrub(extent_id);
    scrub_record_encode(&(struct scrub_record){generation, ms}, value);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, sizeof(value)));
}

void scrub_record_put(struct kv_batch *kv, const struct extent *x)
{
    record_put(kv, x->header.id, x->header.generation, x->unverified_ms);
}

void scrub_first_frames(struct store *s, struct extent *x)
{
    x->unverified_ms = env_wall_ms(s->env);
    x->scrub_pass = s->scrub.pass; /* all of it is younger than the pass */
}

void scrub_written(struct store *s, struct kv_batch *kv)
{
    const struct extent *x = s->commit.extent;
    if (s->commit.first)
        scrub_record_put(kv, x);
    s->scrub.oldest_ms = MIN(s->scrub.oldest_ms, x->unverified_ms);
}

/* What the index says of one extent.  OK; ERR_CORRUPT; ERR_VERSION. */
static int record_take(struct store *s, struct kv_iter *it, uint64_t *latest_ms)
{
    struct scrub_record record;
    uint32_t id;
    int err = scrub_record_decode(it->ops->value(it), &record);
    if (!record_key_scrub_parse(it->ops->key(it), &id))
        err = ERR_CORRUPT;
    if (err)
        return err;
    *latest_ms = MAX(*latest_ms, record.unverified_ms);
    struct extent *x = alloc_find(&s->alloc, id);
    if (x && x->header.generation == record.generation) {
        x->unverified_ms = record.unverified_ms;
        x->scrub_known = true;
    }
    return OK;
}

int scrub_load(struct store *s, struct kv_batch *kv)
{
    uint64_t latest_ms = 0, now_ms = env_wall_ms(s->env);
    struct kv_iter *it =
        s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE_LIT("s"), SLICE_LIT("t"));
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    int err = OK;
    for (; !err && it->ops->valid(it); it->ops->next(it))
        err = record_take(s, it, &latest_ms);
    if (!err)
        err = it->ops->error(it);
    it->ops->free(it);
    if (err)
        return err;
    record_put(kv, EXTENT_NONE, 0,
               now_ms); /* so that an empty disk, too, has a time to begin from */
    for (uint32_t i = 0; i < s->alloc.slots; i++) {
        struct extent *x = s->alloc.extents[i];
        if (!x || x->scrub_known)
            continue;
        x->unverified_ms = x->end > EXTENT_HEADER_BYTES ? latest_ms : now_ms;
        x->scrub_known = true;
        scrub_record_put(kv, x);
    }
    return OK;
}

void scrub_look(struct store *s)
{
    struct due due = due_of(s);
    s->scrub.oldest_ms = due_oldest_ms(&due, &s->alloc);
}

/* ---- one piece of a frame ---- */

static void on_read(struct disk_req *req)
{
    struct store *s = container_of(req, struct store, scrub.req);
    s->scrub.pending = false;
    op_wake(&s->scrub.op);
}

/* The first frame at or behind r->next_offset that is alive and not known to be damaged.
 * OK; ERR_NOT_FOUND: none; ERR_TIMEOUT: go on in another turn; an error of the index. */
static int frame_next(struct store *s)
{
    struct scrub *r = &s->scrub;
    for (unsigned n = 0; n < SKIPS_PER_TURN; n++) {
        struct blob_record blob;
        struct live_record live;
        uint64_t at;
        int err = index_next_live(s, r->extent->header.id, r->next_offset, &live, &at);
        if (err)
            return err;
        r->next_offset = at + FRAME_ALIGN;
        err = index_load(s, live.blob_id, &blob);
        if (err && err != ERR_NOT_FOUND && err != ERR_CORRUPT)
            return err;
        struct shard_record *shard = err ? NULL : blob_record_find(&blob, live.shard_index);
        if (!shard || shard->extent_id != r->extent->header.id || shard->offset != at ||
            shard->generation != r->generation || shard->damaged)
            continue;
        r->blob_id = live.blob_id;
        r->shard = *shard;
        r->verified = 0;
        r->in_frame = true;
        return OK;
    }
    return ERR_TIMEOUT;
}

static uint64_t piece_bytes(const struct scrub *r)
{
    return MIN(r->shard.bytes - r->verified, (uint64_t)PIECE_BYTES);
}

static void piece_start(struct store *s)
{
    struct scrub *r = &s->scrub;
    uint64_t skipped = r->verified == 0 ? 0 : FRAME_HEAD_BYTES; /* the head: with the first piece */
    r->req = (struct disk_req){.kind = DISK_READ,
                               .flags = DISK_UNCACHED,
                               .cb = on_read,
                               .file = r->extent->file,
                               .offset = r->shard.offset + skipped + r->verified,
                               .buffer = r->buffer + skipped,
                               .bytes = frame_bytes(piece_bytes(r)) - skipped};
    r->extent->readers++;
    r->pending = true;
    disk_start(s->disk, &r->req);
}

static int head_verify(struct scrub *r)
{
    const struct frame_head *h = &r->head;
    if (frame_head_decode(SLICE(r->buffer, FRAME_HEAD_BYTES), &r->head) != OK ||
        !frame_head_fits(h, &r->extent->header, r->shard.offset) || h->kind != FRAME_SHARD ||
        !id128_eq(h->info.blob_id, r->blob_id) || h->info.shard_index != r->shard.shard_index ||
        h->data_bytes != r->shard.bytes || h->seq != r->shard.seq ||
        shard_crcs_digest(h->block_crcs, h->block_count) != r->shard.crcs_digest)
        return ERR_CORRUPT;
    return OK;
}

static int piece_verify(struct scrub *r)
{
    int err = r->verified == 0 ? head_verify(r) : OK;
    uint32_t block = (uint32_t)(r->verified / SHARD_BLOCK_BYTES);
    for (uint64_t at = 0; !err && at < piece_bytes(r); at += SHARD_BLOCK_BYTES) {
        size_t len = MIN(piece_bytes(r) - at, (size_t)SHARD_BLOCK_BYTES);
        if (crc32c(0, SLICE(r->buffer + FRAME_HEAD_BYTES + at, len)) != r->head.block_crcs[block++])
            err = ERR_CHECKSUM;
    }
    return err;
}

static void found(struct store *s, int err)
{
    struct scrub *r = &s->scrub;
    struct store_damage damage = {.blob_id = r->blob_id,
                                  .shard_index = r->shard.shard_index,
                                  .extent_id = r->extent->header.id,
                                  .offset = r->shard.offset,
                                  .err = err,
                                  .by_scrub = true};
    /* Else: deleted or moved meanwhile, or a read came first. */
    s->stats.scrub_found += index_damaged(s, &damage, false);
}

static void piece_finish(struct store *s)
{
    struct scrub *r = &s->scrub;
    int err = r->req.err;
    r->req.cb = NULL;
    r->extent->readers--;
    store_wake(s); /* the extent's next life, or the end of the store, may wait for this reader */
    if (err == ERR_NOMEM) { /* says nothing about the frame */
        pause_for(s, NS_PER_SEC);
        return;
    }
    if (err == ERR_END)
        err = ERR_CORRUPT; /* the file is shorter than it was */
    if (!err)
        err = piece_verify(r);
    s->stats.scrub_bytes += r->req.bytes;
    if (err)
        found(s, err);
    r->verified += piece_bytes(r);
    r->in_frame = !err && r->verified < r->shard.bytes;
    pause_for(s, r->req.bytes * NS_PER_SEC / r->bytes_per_sec);
}

/* ---- one extent ---- */

/* Before the first look into the extent.  What is being written meanwhile may be indexed, and not
 * have been met, when the reading ends. */
static void began(struct store *s)
{
    const struct commit *c = &s->commit;
    bool written = c->writing && c->extent == s->scrub.extent;
    s->scrub.began_ms = written ? c->began_ms : env_wall_ms(s->env);
}

/* Reads or writes wait for the disk: they go first, as long as the period allows. */
static bool others_first(const struct store *s)
{
    struct due due = due_of(s);
    return (!list_empty(&s->queue) || s->reads_under_way > READS_BESIDE) &&
           !due_late(&due, s->scrub.extent);
}

/* Returns: the rate that is needed. */
static uint64_t rate_update(struct store *s)
{
    struct scrub *r = &s->scrub;
    struct due due = due_of(s);
    uint64_t needed = due_rate(&due, &s->alloc);
    uint64_t least = r->forced ? due.bytes_per_sec_max : DUE_BYTES_PER_SEC_MIN;
    r->rate_ns = env_now_ns(s->env);
    r->bytes_per_sec = MIN(MAX(needed, least), due.bytes_per_sec_max);
    return needed;
}

static enum op_next extent_leave(struct store *s, uint64_t pause_ns)
{
    struct scrub *r = &s->scrub;
    free(r->buffer);
    r->buffer = NULL;
    r->extent = NULL;
    if (pause_ns)
        pause_for(s, pause_ns);
    store_wake(s);
    return op_move(&r->op, RESTING);
}

/* All of it has been read. */
static enum op_next extent_done(struct store *s)
{
    struct scrub *r = &s->scrub;
    struct kv_batch *kv = kv_batch_new();
    r->extent->scrub_pass = r->extent_pass;
    r->extent->unverified_ms = r->began_ms;
    r->pass_read = true;
    if (kv) { /* without it the extent is read earlier than it need be, after a restart */
        scrub_record_put(kv, r->extent);
        (void)index_write(s, &kv);
    }
    scrub_look(s);
    return extent_leave(s, 0);
}

static enum op_next extent_begin(struct store *s, struct extent *x)
{
    struct scrub *r = &s->scrub;
    /* Aligned like the frames, so that the disk is read past the page cache. */
    r->buffer = aligned_alloc(FRAME_ALIGN, FRAME_HEAD_BYTES + PIECE_BYTES);
    if (!r->buffer) {
        pause_for(s, LOOK_NS);
        return OP_WAIT;
    }
    r->extent = x;
    r->generation = x->header.generation;
    r->extent_pass = r->pass;
    r->next_offset = 0;
    r->in_frame = false;
    return op_move(&r->op, READING);
}

static void pass_begin(struct scrub *r, bool forced)
{
    r->pass++;
    r->pass_read = false;
    r->forced = forced;
}

static enum op_next rest(struct store *s)
{
    struct scrub *r = &s->scrub;
    if (s->state != STORE_UP || r->paused)
        return OP_WAIT;
    struct due due = due_of(s);
    struct extent *x = due_next(&due, &s->alloc, r->pass);
    uint64_t needed = rate_update(s);
    scrub_look(s);
    if (x && (r->forced || due_now(&due, x, needed)))
        return extent_begin(s, x);
    if (!x) {
        s->stats.scrub_passes += r->forced || r->pass_read;
        pass_begin(r, false);
    }
    pause_for(s, LOOK_NS);
    return OP_WAIT;
}

static enum op_next read_step(struct store *s)
{
    struct scrub *r = &s->scrub;
    if (r->pending)
        return OP_WAIT;
    if (r->req.cb)
        piece_finish(s);
    if (s->state != STORE_UP || r->extent->header.generation != r->generation) {
        PROBE(SCRUB_GONE);
        return extent_leave(s, 0);
    }
    if (r->paused)
        return OP_WAIT;
    if (others_first(s)) {
        PROBE(SCRUB_YIELDS);
        pause_for(s, YIELD_NS);
        return OP_WAIT;
    }
    if (env_now_ns(s->env) - r->rate_ns >= RATE_NS)
        (void)rate_update(s);
    if (r->next_offset == 0)
        began(s);
    int err = r->in_frame ? OK : frame_next(s);
    if (MUTANT(SCRUB_SKIPS_EXTENT) && r->extent->header.id % 3 == 0)
        err = ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND)
        return extent_done(s);
    if (err == OK)
        piece_start(s);
    else if (err == ERR_TIMEOUT)
        pause_for(s, 0);
    else
        return extent_leave(s, LOOK_NS);
    return OP_WAIT;
}

static enum op_next scrub_step(struct op *op)
{
    struct store *s = container_of(op, struct store, scrub.op);
    switch (op->state) {
    case RESTING: return rest(s);
    case READING: return read_step(s);
    }
    CHECK(0);
    return OP_WAIT;
}

static void never_done(struct op *op)
{
    (void)op;
    CHECK(0);
}

static const struct op_type scrub_type = {"scrub",    state_names, transitions, SCRUB_STATES,
                                          scrub_step, NULL,        never_done};

void store_scrub_start_now(struct store *s)
{
    struct scrub *r = &s->scrub;
    pass_begin(r, true); /* what is being read began before it, and is read once more */
    (void)rate_update(s);
    env_timer_stop(&r->pause);
    r->paused = false;
    store_wake(s);
}

uint64_t scrub_left_bytes(const struct store *s)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->alloc.slots; i++) {
        const struct extent *x = s->alloc.extents[i];
        if (x && x->live_frames > 0 && x->scrub_pass != s->scrub.pass)
            bytes += x->live_bytes;
    }
    return bytes;
}

void scrub_init(struct store *s)
{
    s->scrub.pass = 1;
    s->scrub.oldest_ms = UINT64_MAX;
    op_init(&s->scrub.op, &scrub_type, RESTING, 0, 0);
    env_timer_init(s->env, &s->scrub.pause, on_pause);
}

void scrub_fini(struct store *s)
{
    env_timer_stop(&s->scrub.pause);
    free(s->scrub.buffer);
}

bool scrub_idle(const struct store *s)
{
    return !s->scrub.pending && s->scrub.op.state == RESTING;
}
