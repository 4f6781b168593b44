/* Opening a store: what is on the disk decides, the index is brought up to it.
 *
 *   LOOKING, LISTING  how large is the disk, which extents are there
 *   OPENING, SYNCING, HEADING   one extent after the other.  It is synced, and the cache dropped,
 *                     before it is read: what is then read as good is durable, whatever the process
 *                     before this one had left in memory
 *   SCANNING          the tails that the index may not know (scan.h); frames are indexed again, the
 *                     highest seq wins, so the order of extents does not matter
 *   COUNTING          every record of the index against the extents: what refers to a life of an
 *                     extent that is over is damage
 *
 *   FLUSHING          only if anything was found torn or damaged: the index is durable before the
 *                     first new frame.  What was judged as torn now would look like damage behind
 *                     later batches, if the index went back to before this recovery
 *
 * Extent records are written only after all tails have been judged, so that a crash in between finds
 * the same tails again.  Frames of the last batch that were torn were acknowledged to nobody and are
 * dropped; anything else that is bad is reported, marked, and never written over. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

#include <stdlib.h>

enum {
    LOOKING, LISTING, OPENING, SYNCING, HEADING, SCANNING, COUNTING, FLUSHING, RECOVER_STATES
};
static const char *const state_names[] = {"LOOKING", "LISTING",  "OPENING",  "SYNCING",
                                          "HEADING", "SCANNING", "COUNTING", "FLUSHING"};
static const uint32_t transitions[] = {
    [LOOKING] = 1u << LISTING,   [LISTING] = 1u << OPENING,
    [OPENING] = 1u << SYNCING | 1u << SCANNING,
    [SYNCING] = 1u << HEADING,   [HEADING] = 1u << OPENING,
    [SCANNING] = 1u << COUNTING, [COUNTING] = 1u << FLUSHING,
    [FLUSHING] = 0,
};

#define WINDOW_BYTES (1u << 20)
#define COUNT_PER_TURN 4096u
/* Prepared extents are begun in the order of their ids, so few need more than a look at their first
 * frame: those that follow this many empty ones. */
#define EMPTY_SCANS 2u

struct found {
    uint32_t id;
    struct disk_file *file;
    struct extent_header header;
    struct extent_record record;
    bool has_record, header_bad, broken, unmade, scan, first_head;
    bool thin; /* one copy of the header is all there is */
    uint64_t from, end, last_seq;
    struct scan_bad *bad; /* taken from the scan */
    size_t bad_count;
    bool damaged;
};

struct recover {
    struct op op;
    struct store *store;
    struct disk_req req;
    struct env_timer turn;
    bool pending, waiting, scanning, seeking;
    bool judged;              /* something was found torn or damaged: not to be judged again */
    struct kv_flush_req flush;
    uint64_t sought;          /* there is data at this offset, as far as the disk can tell */
    struct found *found;
    size_t count, cap, at;
    struct scan scan;
    uint8_t *window;
    size_t window_cap, window_len;
    uint64_t window_offset, fs_bytes_free, last_seq;
    unsigned empties;
    struct record_key resume; /* counting goes on behind this key */
};

static void on_done(struct disk_req *req)
{
    struct recover *r = container_of(req, struct recover, req);
    r->pending = false;
    op_wake(&r->op);
}

static void on_turn(struct env_timer *t)
{
    struct recover *r = container_of(t, struct recover, turn);
    r->waiting = false;
    op_wake(&r->op);
}

static void start(struct recover *r, const struct disk_req *req)
{
    r->req = *req;
    r->req.cb = on_done;
    r->pending = true;
    disk_start(r->store->disk, &r->req);
}

void recover_free(struct store *s)
{
    struct recover *r = s->recover;
    if (!r)
        return;
    env_timer_stop(&r->turn);
    if (r->req.kind == DISK_LIST && !r->pending)
        disk_list_free(&r->req);
    for (size_t i = 0; i < r->count; i++)
        free(r->found[i].bad);
    if (r->scanning)
        scan_fini(&r->scan);
    free(r->found);
    free(r->window);
    free(r);
    s->recover = NULL;
}

static enum op_next fail(struct recover *r, int err)
{
    for (size_t i = 0; i < r->count; i++) /* those that no extent has taken over */
        if (r->found[i].file)
            disk_file_close(r->store->disk, r->found[i].file);
    store_fail(r->store, err);
    return OP_DONE;
}

/* ---- what there is ---- */

static struct found *found_add(struct recover *r, uint32_t id)
{
    if (r->count == r->cap) {
        size_t cap = MAX(16, r->cap * 2);
        struct found *grown = realloc(r->found, cap * sizeof(*grown));
        if (!grown)
            return NULL;
        r->found = grown;
        r->cap = cap;
    }
    r->found[r->count] = (struct found){.id = id};
    return &r->found[r->count++];
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = ((const struct found *)a)->id, y = ((const struct found *)b)->id;
    return (x > y) - (x < y);
}

static struct found *found_find(struct recover *r, uint32_t id)
{
    struct found key = {.id = id};
    return r->count ? bsearch(&key, r->found, r->count, sizeof(key), by_id) : NULL;
}

/* Extent records of the index.  One without its file was lost, with all that the index says of it;
 * its id is not used again. */
static int records_load(struct recover *r)
{
    struct store *s = r->store;
    int err = OK;
    struct kv_iter *it =
        s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE_LIT("e"), SLICE_LIT("f"));
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    for (; !err && it->ops->valid(it); it->ops->next(it)) {
        struct extent_record record;
        uint32_t id;
        err = extent_record_decode(it->ops->value(it), &record);
        if (!record_key_extent_parse(it->ops->key(it), &id))
            err = ERR_CORRUPT;
        if (err)
            break;
        struct found *f = found_find(r, id);
        r->last_seq = MAX(r->last_seq, record.last_seq);
        s->alloc.id_floor = MAX(s->alloc.id_floor, id);
        if (!f) {
            s->stats.corruptions += record.used;
            continue;
        }
        f->has_record = true;
        f->record = record;
    }
    if (!err)
        err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

static int disk_record_load(struct store *s)
{
    struct record_key key = record_key_disk();
    struct disk_record record;
    struct buf value = {0};
    int err = s->kv->ops->get(s->kv, NULL, KV_INDEX, record_key_slice(&key), &value);
    if (!err)
        err = disk_record_decode(buf_view(&value), &record);
    buf_fini(&value);
    if (err == ERR_NOT_FOUND) /* a new store, or the index is gone: the extents know the disk's id */
        return OK;
    if (err)
        return err;
    s->disk_id = record.disk_id;
    return record.extent_bytes == s->alloc.extent_bytes ? OK : ERR_CONFIG;
}

static int list_take(struct recover *r)
{
    uint32_t id;
    for (size_t i = 0; i < r->req.name_count; i++) {
        if (!extent_name_parse(r->req.names[i], &id) || id > EXTENTS_MAX)
            continue; /* not ours */
        if (!found_add(r, id))
            return ERR_NOMEM;
    }
    disk_list_free(&r->req);
    r->req.kind = DISK_SPACE;
    if (r->count)
        qsort(r->found, r->count, sizeof(*r->found), by_id);
    int err = disk_record_load(r->store);
    return err ? err : records_load(r);
}

/* ---- one extent: who is it? ---- */

static int header_good(struct recover *r, struct found *f)
{
    struct store *s = r->store;
    if (f->header.bytes != s->alloc.extent_bytes)
        return ERR_CONFIG; /* extent_bytes is fixed for the life of a disk */
    if (id128_is_zero(s->disk_id))
        s->disk_id = f->header.disk_id;
    f->from = EXTENT_HEADER_BYTES;
    f->scan = true;
    if (f->header.id != f->id || !id128_eq(f->header.disk_id, s->disk_id)) {
        f->broken = true;
    } else if (f->has_record && f->header.generation == f->record.generation) {
        f->broken = f->header.salt != f->record.salt;
        f->from = f->record.indexed_end;
        f->scan = !f->record.sealed;
        f->last_seq = f->record.last_seq;
    } else if (f->has_record && f->header.generation < f->record.generation) {
        f->broken = true; /* the index knows a later life: these bytes are from the past */
    }
    return OK;
}

/* Neither copy of the header can be read.  The index may know who it is; else, without a frame, it
 * was never finished. */
static void header_bad(struct recover *r, struct found *f, bool any_frame)
{
    f->header = (struct extent_header){.id = f->id, .bytes = r->store->alloc.extent_bytes};
    PROBE(RECOVER_HEADER_BAD);
    f->header_bad = true;
    f->from = EXTENT_HEADER_BYTES;
    if (!f->has_record || f->record.generation == 0) {
        f->broken = any_frame;
        f->unmade = !any_frame;
        return;
    }
    f->header.generation = f->record.generation;
    f->header.salt = f->record.salt;
    f->from = f->record.indexed_end;
    f->scan = !f->record.sealed;
    f->last_seq = f->record.last_seq;
}

static int extent_judge(struct recover *r, struct found *f)
{
    struct slice block = SLICE(r->window, EXTENT_HEADER_BYTES);
    struct slice first = SLICE(r->window + EXTENT_HEADER_BYTES, FRAME_HEAD_BYTES);
    struct frame_head h;
    int err = extent_header_decode(block, &f->header);
    bool any_frame = frame_head_decode(first, &h) == OK && h.extent_id == f->id;
    if (err == ERR_VERSION)
        return err;
    f->thin = err == OK && !extent_header_whole(block);
    if (err)
        header_bad(r, f, any_frame);
    else
        err = header_good(r, f);
    if (f->has_record && f->record.broken)
        f->broken = true;
    if (f->from > f->header.bytes)
        f->broken = true;
    f->end = f->from;
    f->first_head = any_frame && frame_head_fits(&h, &f->header, EXTENT_HEADER_BYTES);
    return err == ERR_CORRUPT ? OK : err;
}

/* ---- tails ---- */

static int replay(struct recover *r)
{
    struct store *s = r->store;
    const struct frame_head *h = &r->scan.frame;
    int err = OK;
    PROBE(RECOVER_TAIL);
    s->stats.recovered_frames++;
    if (h->kind == FRAME_SHARD) {
        struct shard_record shard = {
            .shard_index = h->info.shard_index,
            .extent_id = h->extent_id,
            .generation = h->generation,
            .offset = h->offset,
            .bytes = h->data_bytes,
            .seq = h->seq,
            .crcs_digest = shard_crcs_digest(h->block_crcs, h->block_count),
            .pg = h->info.pg,
            .time_ms = h->info.time_ms};
        struct kv_batch *kv = kv_batch_new();
        if (!kv)
            return ERR_NOMEM;
        index_shard(s, kv, h->info.blob_id, &shard, false);
        return index_write(s, &kv);
    }
    for (size_t at = 0; !err && at < r->scan.data.len; at += ID_BYTES) {
        struct id128 blob_id;
        struct kv_batch *kv = kv_batch_new();
        if (!kv)
            return ERR_NOMEM;
        memcpy(blob_id.bytes, r->scan.data.ptr + at, ID_BYTES);
        index_mark(s, kv, blob_id, h->seq, h->time_ms, false);
        err = index_write(s, &kv);
    }
    return err;
}

static int window_read(struct recover *r, struct found *f)
{
    uint64_t offset = r->scan.need_offset, left = f->header.bytes - offset;
    size_t want = MIN(left, MAX(r->scan.need_bytes, WINDOW_BYTES));
    if (want > r->window_cap) {
        uint8_t *grown = realloc(r->window, want);
        if (!grown)
            return ERR_NOMEM;
        r->window = grown;
        r->window_cap = want;
    }
    r->window_offset = offset;
    r->window_len = want;
    start(r, &(struct disk_req){.kind = DISK_READ,
                                .file = f->file,
                                .offset = offset,
                                .buffer = r->window,
                                .bytes = want});
    return OK;
}

static void scan_end(struct recover *r, struct found *f)
{
    bool empty = r->scan.end == EXTENT_HEADER_BYTES;
    f->end = MAX(f->end, r->scan.end);
    f->last_seq = MAX(f->last_seq, r->scan.last_seq);
    f->bad = r->scan.bad;
    f->bad_count = r->scan.bad_count;
    r->scan.bad = NULL;
    r->empties += empty;
    r->scanning = false;
    r->at++;
}

static bool scan_wanted(const struct recover *r, const struct found *f)
{
    if (f->broken || f->unmade || !f->scan)
        return false;
    return f->from > EXTENT_HEADER_BYTES || f->first_head || r->empties < EMPTY_SCANS;
}

/* Before a head is looked for, the disk is asked where there is any data: most of an extent that was
 * never full is not read at all. */
static int bytes_get(struct recover *r, struct found *f)
{
    if (r->scan.need_bytes > FRAME_HEAD_BYTES || r->sought == r->scan.need_offset)
        return window_read(r, f);
    r->seeking = true;
    start(r, &(struct disk_req){.kind = DISK_SEEK, .file = f->file, .offset = r->scan.need_offset});
    return OK;
}

static void bytes_got(struct recover *r, const struct found *f)
{
    if (r->seeking) {
        uint64_t at = r->req.err == ERR_END ? f->header.bytes : r->req.offset;
        at = MIN(at, f->header.bytes) / FRAME_ALIGN * FRAME_ALIGN;
        r->seeking = false;
        scan_skip(&r->scan, MAX(at, r->scan.pos));
        r->sought = r->scan.pos;
    } else if (r->req.bytes < r->window_len) { /* a file that is shorter ends in zeros */
        memset(r->window + r->req.bytes, 0, r->window_len - r->req.bytes);
    }
}

/* OK: a read is under way; ERR_END: all tails are read; else an error. */
static int scan_on(struct recover *r)
{
    if (r->scanning)
        bytes_got(r, &r->found[r->at]);
    while (r->at < r->count) {
        struct found *f = &r->found[r->at];
        int err = OK;
        if (!r->scanning && !scan_wanted(r, f)) {
            r->at++;
            continue;
        }
        if (!r->scanning) {
            scan_init(&r->scan, &f->header, f->from);
            r->scanning = true;
            r->window_len = 0;
            r->sought = 0;
        }
        switch (scan_step(&r->scan, r->window_offset, SLICE(r->window, r->window_len))) {
        case SCAN_NEED: return bytes_get(r, f);
        case SCAN_FRAME: err = replay(r); break;
        case SCAN_END:
            if (r->scan.nomem)
                return ERR_NOMEM;
            scan_end(r, f);
            break;
        }
        if (err)
            return err;
    }
    return ERR_END;
}

/* ---- judgement ---- */

static void bad_judge(struct recover *r, struct found *f, bool later)
{
    struct store *s = r->store;
    struct scan scan = {.bad = f->bad, .bad_count = f->bad_count};
    while (scan.bad_open < scan.bad_count && f->bad[scan.bad_open].damaged)
        scan.bad_open++;
    scan_judge(&scan, later);
    for (size_t i = 0; i < f->bad_count; i++) {
        const struct scan_bad *bad = &f->bad[i];
        r->judged |= bad->offset < f->end; /* not just the unused end */
        if (!bad->damaged) {
            PROBE(RECOVER_TORN);
            s->stats.torn_frames += bad->known;
            continue;
        }
        PROBE(RECOVER_DAMAGED);
        f->damaged = true;
        s->stats.corruptions++;
        struct kv_batch *kv = bad->known && bad->kind == FRAME_SHARD ? kv_batch_new() : NULL;
        if (!kv)
            continue;
        struct shard_record shard = {.shard_index = bad->shard_index,
                                     .damaged = true,
                                     .extent_id = EXTENT_NONE,
                                     .bytes = bad->bytes,
                                     .seq = bad->seq,
                                     .crcs_digest = bad->crcs_digest,
                                     .pg = bad->pg,
                                     .time_ms = bad->time_ms};
        index_shard(s, kv, bad->blob_id, &shard, false);
        (void)index_write(s, &kv);
    }
}

static int extent_adopt(struct recover *r, struct found *f, bool last)
{
    struct store *s = r->store;
    struct extent *x;
    if (f->unmade && !f->has_record && f == &r->found[r->count - 1]) {
        PROBE(RECOVER_UNMADE);
        /* What prepare.c was about to make, or could not for want of space: it tries again. */
        disk_file_close(s->disk, f->file);
        f->file = NULL;
        return OK;
    }
    if (f->broken && f->header.id != f->id)
        f->header = (struct extent_header){
            .id = f->id, .generation = 1, .bytes = s->alloc.extent_bytes};
    int err = alloc_add(&s->alloc, &f->header, &x);
    if (err)
        return err;
    x->file = f->file;
    x->header_bad = f->header_bad;
    x->last_seq = f->last_seq;
    f->file = NULL;
    bool frames = f->end > EXTENT_HEADER_BYTES;
    if (f->broken) {
        PROBE(RECOVER_BROKEN);
        s->stats.corruptions += !(f->has_record && f->record.broken);
        extent_restore(&s->alloc, x, EXTENT_BROKEN, EXTENT_HEADER_BYTES);
    } else if (f->unmade || (!frames && (f->header_bad || f->thin))) {
        /* Torn while it was written, perhaps: nothing may come to depend on the other copy alone. */
        x->header_bad = true;
        extent_restore(&s->alloc, x, EXTENT_FREEING, EXTENT_HEADER_BYTES);
    } else if (frames) {
        bool sealed = !last || f->damaged || f->header_bad || f->thin ||
                      (f->has_record && f->record.generation == f->header.generation &&
                       f->record.sealed);
        extent_restore(&s->alloc, x, sealed ? EXTENT_SEALED : EXTENT_ACTIVE, f->end);
    }
    return OK;
}

static int all_judge(struct recover *r)
{
    struct store *s = r->store;
    struct found *last = NULL;
    int err = OK;
    for (size_t i = 0; i < r->count; i++)
        if (!r->found[i].broken && r->found[i].last_seq > 0 &&
            (!last || r->found[i].last_seq > last->last_seq))
            last = &r->found[i];
    if (last)
        r->last_seq = MAX(r->last_seq, last->last_seq);
    s->next_seq = r->last_seq + SEQ_GAP;
    for (size_t i = 0; !err && i < r->count; i++) {
        bad_judge(r, &r->found[i], &r->found[i] != last);
        err = extent_adopt(r, &r->found[i], &r->found[i] == last);
    }
    if (err)
        return err;
    while (id128_is_zero(s->disk_id))
        env_random(s->env, &s->disk_id, sizeof(s->disk_id));
    struct kv_batch *kv = kv_batch_new();
    if (!kv)
        return ERR_NOMEM;
    uint8_t value[DISK_RECORD_BYTES];
    struct record_key key = record_key_disk();
    disk_record_encode(&(struct disk_record){s->disk_id, s->alloc.extent_bytes}, value);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, sizeof(value)));
    for (uint32_t i = 0; i < s->alloc.slots; i++)
        if (s->alloc.extents[i])
            index_extent(s, kv, s->alloc.extents[i]);
    store_capacity_set(s, r->fs_bytes_free);
    err = scrub_load(s, kv);
    if (err) {
        kv_batch_free(kv);
        return err;
    }
    return index_write(s, &kv);
}

/* ---- counting ---- */

static bool shard_stands(struct store *s, const struct shard_record *shard)
{
    const struct extent *x = alloc_find(&s->alloc, shard->extent_id);
    return x && (x->state == EXTENT_ACTIVE || x->state == EXTENT_SEALED) &&
           x->header.generation == shard->generation && shard->offset <= x->end &&
           frame_bytes(shard->bytes) <= x->end - shard->offset;
}

static void blob_count(struct recover *r, struct kv_batch *kv, struct id128 blob_id,
                       struct blob_record *blob)
{
    struct store *s = r->store;
    bool changed = false;
    s->tombstones += blob->deleted;
    s->next_seq = MAX(s->next_seq, blob->seq + SEQ_GAP);
    for (uint32_t i = 0; i < blob->shard_count; i++) {
        struct shard_record *shard = &blob->shards[i];
        /* Its extent may be gone, and this the last trace of a seq that must not be used again. */
        s->next_seq = MAX(s->next_seq, shard->seq + SEQ_GAP);
        if (shard->extent_id == EXTENT_NONE)
            continue;
        if (shard_stands(s, shard)) {
            extent_account(&s->alloc, alloc_find(&s->alloc, shard->extent_id),
                           (int64_t)frame_bytes(shard->bytes), 1);
            continue;
        }
        PROBE(RECOVER_STALE);
        struct record_key live = record_key_live(shard->extent_id, shard->offset);
        struct extent *x = alloc_find(&s->alloc, shard->extent_id);
        struct live_record now;
        uint64_t at;
        /* A later life of the extent may have a frame at the same place: that one's key stays. */
        if (!x || index_next_live(s, shard->extent_id, shard->offset, &now, &at) != OK ||
            (at == shard->offset && id128_eq(now.blob_id, blob_id)))
            kv_batch_delete(kv, KV_INDEX, record_key_slice(&live));
        s->stats.corruptions++;
        shard->damaged = changed = true;
        shard->extent_id = EXTENT_NONE;
    }
    if (changed)
        index_blob(kv, blob_id, blob);
}

/* OK: there is more; ERR_END: all is counted; else an error. */
static int count_on(struct recover *r)
{
    struct store *s = r->store;
    struct slice lower = r->resume.len ? record_key_slice(&r->resume) : SLICE_LIT("b");
    struct kv_batch *kv = kv_batch_new();
    struct kv_iter *it = s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, lower, SLICE_LIT("c"));
    int err = kv && it ? ERR_END : ERR_NOMEM;
    if (it && kv) {
        it->ops->seek(it, SLICE_EMPTY);
        for (unsigned n = 0; it->ops->valid(it); it->ops->next(it)) {
            struct blob_record blob;
            struct id128 blob_id;
            if (n++ == COUNT_PER_TURN) {
                struct slice key = it->ops->key(it);
                r->resume.len = MIN(key.len, sizeof(r->resume.bytes));
                memcpy(r->resume.bytes, key.ptr, r->resume.len);
                err = OK;
                break;
            }
            if (record_key_blob_parse(it->ops->key(it), &blob_id) &&
                blob_record_decode(it->ops->value(it), &blob) == OK)
                blob_count(r, kv, blob_id, &blob);
            else
                s->stats.corruptions++;
        }
        if (err == ERR_END && it->ops->error(it) != OK)
            err = it->ops->error(it);
    }
    if (it)
        it->ops->free(it);
    if ((err == OK || err == ERR_END) && kv_batch_count(kv) > 0 && index_write(s, &kv) != OK)
        err = s->failure;
    kv_batch_free(kv);
    return err;
}

/* ---- the operation ---- */

static void on_flushed(struct kv_flush_req *req)
{
    struct recover *r = container_of(req, struct recover, flush);
    r->waiting = false;
    r->req.err = req->err;
    op_wake(&r->op);
}

static enum op_next flush_step(struct recover *r)
{
    struct store *s = r->store;
    PROBE(RECOVER_FLUSHED);
    r->flush = (struct kv_flush_req){.cb = on_flushed};
    int err = s->kv->ops->flush_start(s->kv, &r->flush);
    if (err)
        return fail(r, err);
    r->waiting = true;
    return op_move(&r->op, FLUSHING);
}

static enum op_next extent_next(struct recover *r)
{
    struct disk_req req = {.kind = DISK_OPEN};
    if (r->at == r->count) {
        r->at = 0;
        return op_move(&r->op, SCANNING);
    }
    char name[EXTENT_NAME_BYTES + 1];
    extent_name(r->found[r->at].id, name);
    memcpy(req.name, name, sizeof(name));
    start(r, &req);
    return OP_WAIT;
}

static enum op_next open_step(struct recover *r)
{
    struct found *f = &r->found[r->at];
    if (r->req.kind != DISK_OPEN)
        return extent_next(r);
    f->file = r->req.file;
    enum disk_kind kind = MUTANT(STORE_OPEN_UNSYNCED) ? DISK_SPACE : DISK_SYNC;
    start(r, &(struct disk_req){.kind = kind, .flags = DISK_DROP_CACHE, .file = f->file});
    return op_move(&r->op, SYNCING);
}

static enum op_next head_start(struct recover *r)
{
    memset(r->window, 0, EXTENT_HEADER_BYTES + FRAME_HEAD_BYTES);
    start(r, &(struct disk_req){.kind = DISK_READ,
                                .file = r->found[r->at].file,
                                .buffer = r->window,
                                .bytes = EXTENT_HEADER_BYTES + FRAME_HEAD_BYTES});
    return op_move(&r->op, HEADING);
}

static enum op_next list_step(struct recover *r)
{
    if (r->req.kind == DISK_LIST) {
        int err = list_take(r);
        return err ? fail(r, err) : op_move(&r->op, OPENING);
    }
    r->fs_bytes_free = r->req.bytes_free;
    start(r, &(struct disk_req){.kind = DISK_LIST});
    return OP_WAIT;
}

static enum op_next recover_step(struct op *op)
{
    struct recover *r = container_of(op, struct recover, op);
    if (r->pending || r->waiting)
        return OP_WAIT;
    /* A file shorter than asked for is no error: the rest is zeros. */
    int err = r->req.err == ERR_END ? OK : r->req.err;
    if (err)
        return fail(r, err);
    switch (op->state) {
    case LOOKING: return op_move(op, LISTING);
    case LISTING: return list_step(r);
    case OPENING: return open_step(r);
    case SYNCING: return head_start(r);
    case HEADING:
        err = extent_judge(r, &r->found[r->at]);
        r->at++;
        return err ? fail(r, err) : op_move(op, OPENING);
    case SCANNING:
        err = scan_on(r);
        if (err == OK)
            return OP_WAIT;
        if (err == ERR_END)
            err = all_judge(r);
        return err ? fail(r, err) : op_move(op, COUNTING);
    case FLUSHING: return OP_DONE;
    case COUNTING:
        err = count_on(r);
        if (err == ERR_END)
            return r->judged && !MUTANT(STORE_JUDGES_AGAIN) ? flush_step(r) : OP_DONE;
        if (err)
            return fail(r, err);
        r->waiting = true;
        env_timer_start(&r->turn, 0);
        return OP_WAIT;
    }
    CHECK(0);
    return OP_WAIT;
}

static void recover_done(struct op *op)
{
    struct store *s = container_of(op, struct recover, op)->store;
    recover_free(s);
    store_opened(s, s->failure);
}

static const struct op_type recover_type = {"recover", state_names, transitions, RECOVER_STATES,
                                            recover_step, NULL, recover_done};

int recover_start(struct store *s)
{
    struct recover *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->window_cap = EXTENT_HEADER_BYTES + FRAME_HEAD_BYTES;
    r->window = malloc(r->window_cap);
    if (!r->window) {
        free(r);
        return ERR_NOMEM;
    }
    r->store = s;
    s->recover = r;
    env_timer_init(s->env, &r->turn, on_turn);
    op_init(&r->op, &recover_type, LOOKING, 0, 0);
    start(r, &(struct disk_req){.kind = DISK_SPACE});
    return OK;
}
