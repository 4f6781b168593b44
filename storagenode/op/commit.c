/* Group commit: the only writer of frames.
 *
 *   GATHERING  takes operations from the queue's head, answers those that need no write, and sends
 *              the rest as one write of the active extent, synced in the same request
 *   WRITING    waits for it; then the index learns of the frames, then the callers of their outcome
 *
 * Each operation meets the index as all earlier ones left it: whatever names a blob of the batch that
 * is being gathered waits for the next one.  A failed write or sync takes the store out of service:
 * what has become of those frames is known only after the next recovery. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

#include <stdlib.h>

enum { GATHERING, WRITING, COMMIT_STATES };
static const char *const state_names[] = {"GATHERING", "WRITING"};
static const uint32_t transitions[] = {1u << WRITING, 1u << GATHERING};

static const _Alignas(FRAME_ALIGN) uint8_t zeros[FRAME_ALIGN];

static struct store_put *put_of(struct store_item *item)
{
    return container_of(item, struct store_put, item);
}

static struct store_delete *delete_of(struct store_item *item)
{
    return container_of(item, struct store_delete, item);
}

static struct store_item *item_of(struct list *node)
{
    return container_of(node, struct store_item, node);
}

/* Answers an operation; it is on no list afterwards and may be gone. */
static void item_finish(struct store *s, struct store_item *item, int err)
{
    list_remove(&item->node);
    s->queued_count--;
    if (item->is_put) {
        struct store_put *put = put_of(item);
        s->queued_bytes -= put->payload.bytes.len;
        if (!put->is_copy) {
            s->stats.puts += err == OK;
            s->stats.put_errors += err != OK;
            s->stats.put_bytes += err == OK ? put->payload.bytes.len : 0;
        }
        put->err = err;
        put->cb(put);
    } else {
        struct store_delete *del = delete_of(item);
        s->stats.deletes += err == OK ? del->count : 0;
        del->err = err;
        del->cb(del);
    }
}

void commit_enqueue(struct store *s, struct store_item *item)
{
    list_push_back(&s->queue, &item->node);
    s->queued_count++;
    if (item->is_put)
        s->queued_bytes += put_of(item)->payload.bytes.len;
    store_wake(s);
}

void commit_fail_all(struct store *s, int err)
{
    while (!list_empty(&s->queue))
        item_finish(s, item_of(s->queue.next), err);
}

/* ---- what to do with one operation ---- */

enum verdict { WRITE, ANSWER };

/* Does the put need a write at all? */
static enum verdict put_examine(struct store *s, struct store_put *put, int *ret_err)
{
    struct blob_record r;
    uint32_t digest = shard_crcs_digest(put->info.block_crcs, shard_blocks(put->info.bytes));
    *ret_err = ERR_TIMEOUT;
    if (put->deadline_ns && env_now_ns(s->env) >= put->deadline_ns)
        return ANSWER;
    const struct store_config *c = &s->config;
    uint64_t wait_ms_max = c->tombstone_retention_ms - c->put_age_ms_max - 2 * c->clock_skew_ms_max;
    if (!put->is_copy && env_wall_ms(s->env) > put->queued_ms + wait_ms_max)
        return ANSWER; /* the tombstone that would have refused it may have expired meanwhile */
    *ret_err = index_load(s, put->info.blob_id, &r);
    if (*ret_err == ERR_NOT_FOUND && (!put->is_copy || MUTANT(STORE_COPY_DELETED)))
        return WRITE;
    if (*ret_err)
        return ANSWER;
    struct shard_record *known = blob_record_find(&r, put->info.shard_index);
    if (put->is_copy) {
        *ret_err = ERR_CONFLICT; /* deleted or replaced since it was read */
        bool still =
            known && known->extent_id == put->from_extent && known->offset == put->from_offset;
        return still || MUTANT(STORE_COPY_DELETED) ? WRITE : ANSWER;
    }
    if (r.deleted)
        *ret_err = ERR_CONDEMNED;
    else if (!known)
        *ret_err = r.shard_count < SHARDS_PER_BLOB_MAX ? OK : ERR_LIMIT;
    else
        *ret_err = known->bytes == put->info.bytes && known->crcs_digest == digest ? OK : ERR_EXISTS;
    /* Known and whole: durable already.  Damaged: the same bytes once more heal it. */
    return *ret_err == OK && (!known || known->damaged) ? WRITE : ANSWER;
}

/* The batch with `more` bytes in it fits into the active extent: READY.  An empty batch may go on to
 * the next extent, a batch that has begun is sent first. */
enum room { READY, CUT, STALL, FULL };

static enum room room_find(struct store *s, enum alloc_for purpose, uint64_t batch_bytes, bool empty)
{
    switch (alloc_room(&s->alloc, purpose, batch_bytes)) {
    case ALLOC_FITS: return READY;
    case ALLOC_WAITS: return empty ? STALL : CUT;
    case ALLOC_NONE: return empty ? FULL : CUT;
    case ALLOC_NEXT: break;
    }
    if (!empty)
        return CUT;
    struct extent *sealed = s->alloc.active;
    if (sealed)
        PROBE(STORE_SEALED);
    alloc_advance(&s->alloc);
    struct kv_batch *kv = sealed ? kv_batch_new() : NULL;
    if (kv) { /* without it recovery reads the extent's end once more, and finds nothing */
        index_extent(s, kv, sealed);
        if (index_write(s, &kv) != OK)
            return STALL;
    }
    s->reclaim.look = true;
    store_wake(s); /* another one is to be prepared, the sealed one may be worth reclaiming */
    return READY;
}

static bool batch_empty(const struct batch *b) { return b->frames == 0 && b->marks == 0; }

static enum room put_take(struct store *s, struct store_put *put)
{
    struct batch *b = &s->commit.batch;
    uint64_t bytes = frame_bytes(put->info.bytes);
    int err;
    if (batch_admit_put(b, put->info.blob_id, bytes) != BATCH_TAKE)
        return CUT;
    if (put_examine(s, put, &err) == ANSWER) {
        if (put->is_copy)
            PROBE(RECLAIM_COPY_DROPPED);
        else if (!err)
            PROBE(STORE_KNOWN);
        item_finish(s, &put->item, err);
        return READY;
    }
    enum room room = room_find(s, put->is_copy ? ALLOC_SYSTEM : ALLOC_PUT,
                               b->bytes + batch_mark_bytes(b, 0) + bytes, batch_empty(b));
    if (room == FULL) {
        PROBE(STORE_FULL);
        item_finish(s, &put->item, ERR_NOSPACE);
        return READY;
    }
    if (room == READY) {
        batch_take_put(b, put->info.blob_id, bytes);
        list_remove(&put->item.node);
        list_push_back(&s->commit.items, &put->item.node);
    }
    return room;
}

static enum room delete_take(struct store *s, struct store_delete *del)
{
    struct batch *b = &s->commit.batch;
    struct blob_record r;
    if (batch_admit_delete(b, del->blob_ids, del->count) != BATCH_TAKE)
        return CUT;
    uint32_t fresh = 0;
    for (uint32_t i = 0; i < del->count; i++)
        fresh += !(index_load(s, del->blob_ids[i], &r) == OK && r.deleted);
    enum room room = READY;
    if (fresh > 0)
        room = room_find(s, ALLOC_SYSTEM, b->bytes + batch_mark_bytes(b, fresh), batch_empty(b));
    if (room == FULL || fresh == 0) {
        item_finish(s, &del->item, fresh == 0 ? OK : ERR_NOSPACE);
        return READY;
    }
    if (room != READY)
        return room;
    for (uint32_t i = 0; i < del->count; i++) {
        uint8_t *to = s->commit.marks + (size_t)b->marks * ID_BYTES;
        bool known = index_load(s, del->blob_ids[i], &r) == OK && r.deleted;
        if (!known && batch_take_mark(b, del->blob_ids[i]))
            memcpy(to, del->blob_ids[i].bytes, ID_BYTES);
    }
    list_remove(&del->item.node);
    list_push_back(&s->commit.items, &del->item.node);
    return READY;
}

/* ---- the write ---- */

static void slice_add(struct commit *c, const void *ptr, size_t len)
{
    if (len)
        c->slices[c->slice_count++] = SLICE(ptr, len);
    c->bytes += len;
}

static void frame_add(struct store *s, struct frame_head *h, unsigned index, struct slice data)
{
    struct commit *c = &s->commit;
    struct extent *x = c->extent;
    uint8_t *head = c->heads + (size_t)index * FRAME_HEAD_BYTES;
    h->extent_id = x->header.id;
    h->generation = x->header.generation;
    h->salt = x->header.salt;
    h->batch_start = x->end;
    h->offset = x->end + c->bytes;
    h->seq = c->last_seq = s->next_seq++;
    h->data_bytes = data.len;
    frame_head_encode(h, head);
    slice_add(c, head, FRAME_HEAD_BYTES);
    slice_add(c, data.ptr, data.len);
    slice_add(c, zeros, frame_bytes(data.len) - FRAME_HEAD_BYTES - data.len);
}

static void on_written(struct disk_req *req)
{
    struct store *s = container_of(req, struct store, commit.req);
    s->commit.writing = false;
    op_wake(&s->commit.op);
}

static void batch_send(struct store *s)
{
    struct commit *c = &s->commit;
    struct frame_head h = {0};
    unsigned index = 0, operations = 0;
    c->extent = s->alloc.active;
    c->first = c->extent->end == EXTENT_HEADER_BYTES;
    if (c->first)
        scrub_first_frames(s, c->extent);
    c->began_ms = env_wall_ms(s->env);
    c->bytes = 0;
    c->slice_count = 0;
    list_for_each(it, &c->items) {
        struct store_item *item = item_of(it);
        operations++;
        if (!item->is_put)
            continue;
        struct store_put *put = put_of(item);
        h.kind = FRAME_SHARD;
        h.info = put->info;
        put->frame_offset = c->extent->end + c->bytes;
        put->seq = s->next_seq;
        frame_add(s, &h, index++, put->payload.bytes);
    }
    if (c->batch.marks > 0) {
        struct slice marks = SLICE(c->marks, (size_t)c->batch.marks * ID_BYTES);
        h.kind = FRAME_MARKS;
        h.time_ms = c->mark_time_ms = env_wall_ms(s->env);
        c->mark_seq = s->next_seq;
        h.block_count = shard_blocks(marks.len);
        for (uint32_t i = 0; i < h.block_count; i++) {
            size_t at = (size_t)i * SHARD_BLOCK_BYTES;
            h.block_crcs[i] =
                crc32c(0, SLICE(marks.ptr + at, MIN(marks.len - at, (size_t)SHARD_BLOCK_BYTES)));
        }
        frame_add(s, &h, index++, marks);
    }
    bool sync = !MUTANT(STORE_SKIP_FSYNC) && !(MUTANT(STORE_MARK_UNSYNCED) && c->batch.frames == 0);
    s->stats.batches++;
    s->stats.frames += index;
    s->stats.syncs += sync;
    unsigned bucket = operations <= 1 ? 0 : 32u - (unsigned)__builtin_clz(operations - 1);
    s->stats.batch_sizes[MIN(bucket, STORE_BATCH_BUCKETS - 1u)]++;
    c->req = (struct disk_req){.kind = DISK_WRITE,
                               .flags = sync ? DISK_SYNCED : 0,
                               .cb = on_written,
                               .file = c->extent->file,
                               .offset = c->extent->end,
                               .slices = c->slices,
                               .slice_count = c->slice_count};
    c->writing = true;
    disk_start(s->disk, &c->req);
}

/* ---- after the sync ---- */

static void put_index(struct store *s, struct kv_batch *kv, const struct store_put *put)
{
    const struct extent *x = s->commit.extent;
    struct shard_record shard = {.shard_index = put->info.shard_index,
                                 .extent_id = x->header.id,
                                 .generation = x->header.generation,
                                 .offset = put->frame_offset,
                                 .bytes = put->info.bytes,
                                 .seq = put->seq,
                                 .crcs_digest = shard_crcs_digest(
                                     put->info.block_crcs, shard_blocks(put->info.bytes)),
                                 .pg = put->info.pg,
                                 .time_ms = put->info.time_ms};
    index_shard(s, kv, put->info.blob_id, &shard, true);
}

static int batch_index(struct store *s)
{
    struct commit *c = &s->commit;
    struct kv_batch *kv = kv_batch_new();
    if (!kv) {
        store_fail(s, ERR_NOMEM); /* written, but not to be found before the next recovery */
        return ERR_NOMEM;
    }
    extent_append(&s->alloc, c->extent, c->bytes);
    c->extent->last_seq = c->last_seq;
    s->flush.bytes += c->bytes;
    list_for_each(it, &c->items)
        if (item_of(it)->is_put)
            put_index(s, kv, put_of(item_of(it)));
    for (uint32_t i = 0; i < c->batch.marks; i++) {
        struct id128 blob_id;
        memcpy(blob_id.bytes, c->marks + (size_t)i * ID_BYTES, ID_BYTES);
        index_mark(s, kv, blob_id, c->mark_seq, c->mark_time_ms, true);
    }
    index_extent(s, kv, c->extent);
    scrub_written(s, kv);
    s->reclaim.look |= c->batch.marks > 0;
    return index_write(s, &kv);
}

static void batch_finish(struct store *s)
{
    struct commit *c = &s->commit;
    int err = c->req.err;
    if (err) {
        /* The frames may or may not be there: nothing may follow them in this life of the store. */
        PROBE(STORE_WRITE_FAILED);
        err = ERR_IO;
        if (!MUTANT(STORE_WRITES_ON))
            store_fail(s, err);
    } else if (batch_index(s) != OK) {
        err = ERR_IO;
    }
    while (!list_empty(&c->items))
        item_finish(s, item_of(c->items.next), err);
    store_wake(s);
}

static bool gather(struct store *s)
{
    struct commit *c = &s->commit;
    enum room room = READY;
    batch_begin(&c->batch);
    while (room == READY && !list_empty(&s->queue) && store_writes(s)) {
        struct store_item *item = item_of(s->queue.next);
        room = item->is_put ? put_take(s, put_of(item)) : delete_take(s, delete_of(item));
    }
    if (room == CUT)
        PROBE(STORE_BATCH_CUT);
    if (room == STALL)
        PROBE(STORE_STALLED);
    if (!store_writes(s))
        commit_fail_all(s, ERR_IO);
    return !list_empty(&c->items);
}

static enum op_next commit_step(struct op *op)
{
    struct store *s = container_of(op, struct store, commit.op);
    switch (op->state) {
    case GATHERING: /* 1. What can share a write? */
        if (!gather(s))
            return OP_WAIT;
        batch_send(s);
        return op_move(op, WRITING);
    case WRITING: /* 2. Durable?  Index it, then say so. */
        if (s->commit.writing)
            return OP_WAIT;
        batch_finish(s);
        return op_move(op, GATHERING);
    }
    CHECK(0);
    return OP_WAIT;
}

static void never_done(struct op *op)
{
    (void)op;
    CHECK(0);
}

static const struct op_type commit_type = {"commit", state_names, transitions, COMMIT_STATES,
                                           commit_step, NULL, never_done};

int group_commit_init(struct store *s)
{
    struct commit *c = &s->commit;
    size_t frames = s->config.batch_frames_max + 1u;
    op_init(&c->op, &commit_type, GATHERING, 0, 0);
    list_init(&c->items);
    /* Aligned like the frames, so that a disk may take them without a copy. */
    c->heads = aligned_alloc(FRAME_ALIGN, frames * FRAME_HEAD_BYTES);
    c->marks = malloc((size_t)MARKS_PER_FRAME_MAX * ID_BYTES);
    c->slices = calloc(frames * 3, sizeof(*c->slices));
    if (!c->heads || !c->marks || !c->slices)
        return ERR_NOMEM;
    return batch_init(&c->batch, s->config.batch_bytes_max, s->config.batch_frames_max);
}

void group_commit_fini(struct store *s)
{
    batch_fini(&s->commit.batch);
    free(s->commit.heads);
    free(s->commit.marks);
    free(s->commit.slices);
}
