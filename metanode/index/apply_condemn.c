/* Condemned blobs: those that a partition has decided to delete although no record ever let them go
 * (a write that never became one), and that no record may name from then on.
 *
 * Condemn looks over all records of the key once more, whatever the proposer saw: what is referred
 * to now is passed over, and so is what is younger than the entry's age_ms (orphan_age), by entry
 * time and the time that its shards carry.  The others get a row each in TABLE_CONDEMNED (and one
 * by time, to find it when it has expired) and go into the deletion queue, as one item, unless an
 * item there stands for them already. From then on an entry that names one of them is decided
 * ERR_CONDEMNED.
 *
 * A row is kept as long as a proposal that names its blob could still be executed.  Why the window
 * of the outcome table is enough: let W = window_ms, S = skew_ms, and C the entry time of the
 * Condemn.
 *  - A row is removed only by an entry of time P with  C < P - (W + S).
 *  - Let b be the time that the blob's shards carry, and A the age_ms of the entry.  It was
 * condemned, so C >= b + A.
 *  - What writers owe: what names a blob is issued while their clock, by which the blob was given
 * b, does not say more than b + A, or never: issued <= b + A.  (gateway/op/commit.c; their
 * orphan_age is not above A.)
 *  - Suppose it is met in an entry of time T' with the row gone: then T' >= P > C + S + W >= b + A
 * + W >= issued + W: it is refused as too old (command_window_check), and so is every later copy.
 *  - These are comparisons of numbers that entries carry.  No clock is compared with another, and a
 * storage node's decides nothing: one that is hours ahead asks early and hears INDEX_CONDEMN_YOUNG.
 *  - A proposal without a write id has no such bound, but none of those names a blob that is new
 *    to the records (command_needs_write_id).
 *
 * Nobody pays for what is not there: how many rows there are, and how old the oldest is, are known
 * in memory, read from the table when the index is opened. */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "common/base/mutant.h"
#include "metanode/index/wire.h"

enum {
    ROWS_MAX = 1 << 20,    /* beyond it nothing is condemned until some have expired */
    PRUNE_ROWS_MAX = 2048, /* of one entry; more than a Condemn adds */
    QUEUE_ROWS_MAX = 256,  /* of the deletion queue that one Condemn looks through */
    QUEUE_BYTES_MAX = 1 << 20,
};
_Static_assert(PRUNE_ROWS_MAX > (int)INDEX_CONDEMN_BLOBS_MAX, "rows go faster than they come");
#define KEY_ROWS_BYTES_MAX                                                                         \
    (UINT64_C(64) << 20) /* of the key's records that one Condemn looks over */

static void condemned_key(struct key *key, uint32_t partition, struct slice blob_id)
{
    key_table(key, partition, TABLE_CONDEMNED, blob_id);
}

static void time_key(struct key *key, uint32_t partition, uint64_t time_ms, struct slice blob_id)
{
    key_table_be64(key, partition, TABLE_CONDEMNED_TIME, time_ms);
    key_bytes(key, blob_id);
}

static int row_time(struct slice row, uint64_t *ret_ms)
{
    if (row.len != KEY_PREFIX_BYTES + 8 + ID_BYTES)
        return ERR_CORRUPT;
    *ret_ms = load_be64(row.ptr + KEY_PREFIX_BYTES);
    return OK;
}

/* From `from_ms` on. */
static struct kv_iter *time_iter(struct kv *kv, uint32_t partition, uint64_t from_ms)
{
    struct key lower, upper;
    key_table_be64(&lower, partition, TABLE_CONDEMNED_TIME, from_ms);
    key_table(&upper, partition, TABLE_CONDEMNED_TIME, SLICE_EMPTY);
    key_successor(&upper);
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (it)
        it->ops->seek(it, SLICE_EMPTY);
    return it;
}

int condemned_load(struct kv *kv, uint32_t partition, struct condemned *ret)
{
    *ret = (struct condemned){0};
    struct kv_iter *it = time_iter(kv, partition, 0);
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    for (; !err && it->ops->valid(it); it->ops->next(it)) {
        uint64_t ms = 0;
        err = row_time(it->ops->key(it), &ms);
        if (ret->count++ == 0)
            ret->oldest_ms = ms;
    }
    if (!err)
        err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

/* ---- what may not be named ---- */

static int is_condemned(struct apply *a, struct slice blob_id, bool *ret)
{
    struct key key;
    struct slice ignored;
    condemned_key(&key, a->index->partition, blob_id);
    int err = apply_get(a, &key, &ignored);
    *ret = err == OK;
    return err == ERR_NOT_FOUND ? OK : err;
}

static size_t named_segments(const Cairn__Command *cmd, Cairn__Segment *const **ret)
{
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT:
        *ret = cmd->put_object->record->segments;
        return cmd->put_object->record->n_segments;
    case CAIRN__COMMAND__OP_RENAME_OBJECT:
        *ret = cmd->rename_object->record->segments;
        return cmd->rename_object->record->n_segments;
    case CAIRN__COMMAND__OP_APPEND_OBJECT:
        *ret = cmd->append_object->record->segments;
        return cmd->append_object->record->n_segments;
    case CAIRN__COMMAND__OP_PUT_PART:
        *ret = cmd->put_part->part->segments;
        return cmd->put_part->part->n_segments;
    case CAIRN__COMMAND__OP_MOVE_SEGMENT: *ret = &cmd->move_segment->to; return 1;
    default: return 0; /* completing names parts, whose rows Condemn has looked at */
    }
}

int condemned_check(struct apply *a)
{
    Cairn__Segment *const *segments = NULL;
    size_t count = a->condemned.count ? named_segments(a->cmd, &segments) : 0;
    if (MUTANT(CONDEMNED_ACCEPTED))
        count = 0;
    for (size_t i = 0; i < count; i++) {
        bool condemned;
        int err = is_condemned(a, bytes_of(segments[i]->blob_id), &condemned);
        if (err)
            return err;
        if (condemned)
            return apply_decide(a, ERR_CONDEMNED);
    }
    return OK;
}

/* ---- condemning ---- */

/* Marks those that an item of blobs holds.  Looks at the oldest items only, so that the entry is
 * bounded: a blob that another one holds gets a second item, which deletes what is deleted. */
static int queue_scan(const struct index_view *view, struct blob_refs *refs)
{
    enum { ITEM_BLOBS = 3, BLOB_ID = 2 };
    struct key lower, upper;
    key_table(&lower, view->partition, TABLE_DELETION, SLICE_EMPTY);
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    struct wire_field f, b;
    bool failed = false;
    size_t bytes = 0;
    for (unsigned rows = 0; it->ops->valid(it) && rows < QUEUE_ROWS_MAX && bytes < QUEUE_BYTES_MAX;
         it->ops->next(it), rows++) {
        struct cursor c = cursor_of(it->ops->value(it));
        bytes += cursor_left(&c);
        while (wire_next(&c, &f)) {
            if (f.number != ITEM_BLOBS || f.type != WIRE_BYTES)
                continue;
            struct cursor blob = cursor_of(f.bytes);
            while (wire_next(&blob, &b))
                if (b.number == BLOB_ID && b.type == WIRE_BYTES)
                    blob_refs_mark(refs, b.bytes, BLOB_QUEUED);
            failed |= blob.failed;
        }
        failed |= c.failed;
    }
    int err = failed ? ERR_CORRUPT : it->ops->error(it);
    it->ops->free(it);
    return err;
}

static void condemn_blob(struct apply *a, struct slice blob_id)
{
    struct key key;
    uint8_t value[8];
    for (int i = 0; i < 8; i++)
        value[i] = (uint8_t)(a->h.time_ms >> (56 - 8 * i));
    condemned_key(&key, a->index->partition, blob_id);
    apply_put(a, &key, SLICE(value, sizeof(value)));
    time_key(&key, a->index->partition, a->h.time_ms, blob_id);
    apply_put(a, &key, SLICE_EMPTY);
    if (a->condemned.count++ == 0)
        a->condemned.oldest_ms = a->h.time_ms;
}

static bool too_young(const struct apply *a, const Cairn__Condemn *op, size_t blob)
{
    uint64_t time_ms = op->blobs[blob]->time_ms;
    return !MUTANT(CONDEMN_ANY_AGE) &&
           (a->h.time_ms < time_ms || a->h.time_ms - time_ms < op->age_ms);
}

/* refs are sorted: equal ids lie together, and only the first of them counts; of those that are old
 * enough. */
static int condemn_found(struct apply *a, const Cairn__Condemn *op, const struct blob_refs *refs,
                         uint8_t *ret_condemned)
{
    Cairn__BlobRef *items = index_arena_alloc(a->arena, refs->count * sizeof(*items));
    const struct blob_ref *last = NULL;
    size_t count = 0;
    if (!items)
        return ERR_NOMEM;
    for (size_t i = 0; i < refs->count; i++) {
        const struct blob_ref *blob = &refs->blobs[i];
        bool known = last && id128_eq(blob->id, last->id);
        ret_condemned[blob->position] = blob->held == BLOB_REFERRED        ? INDEX_CONDEMN_REFERRED
                                        : too_young(a, op, blob->position) ? INDEX_CONDEMN_YOUNG
                                                                           : INDEX_CONDEMNED;
        if (ret_condemned[blob->position] != INDEX_CONDEMNED)
            continue;
        last = blob;
        int err = known ? OK : is_condemned(a, id128_slice(&blob->id), &known);
        if (err)
            return err;
        if (known)
            continue;
        condemn_blob(a, id128_slice(&blob->id));
        if (blob->held == BLOB_QUEUED)
            continue;
        items[count] = (Cairn__BlobRef)CAIRN__BLOB_REF__INIT;
        items[count].pg = op->blobs[blob->position]->pg;
        items[count++].blob_id = op->blobs[blob->position]->blob_id;
    }
    return deletion_queue_blobs(a, items, count);
}

int apply_condemn(struct apply *a, const Cairn__Condemn *op)
{
    struct index_view view;
    struct blob_refs refs = {.count = op->n_blobs, .budget_bytes = KEY_ROWS_BYTES_MAX};
    uint8_t *condemned = index_arena_alloc(a->arena, op->n_blobs);
    refs.blobs = index_arena_alloc(a->arena, op->n_blobs * sizeof(refs.blobs[0]));
    if (!condemned || !refs.blobs)
        return ERR_NOMEM;
    if (a->condemned.count + op->n_blobs > ROWS_MAX) {
        a->record = false; /* nothing happened: the same again, later */
        return apply_decide(a, ERR_OVERLOAD);
    }
    for (size_t i = 0; i < op->n_blobs; i++) {
        refs.blobs[i] = (struct blob_ref){.position = i};
        CHECK(id128_from_slice(bytes_of(op->blobs[i]->blob_id), &refs.blobs[i].id));
    }
    blob_refs_sort(&refs);
    index_view_init(&view, a->index, NULL);
    int err = MUTANT(CONDEMN_WITHOUT_LOOKING)
                  ? OK
                  : blob_refs_find(&view, op->bucket_id, bytes_of(op->key), &refs);
    if (err == ERR_TOO_LARGE)
        return apply_decide(a, err);
    if (!err)
        err = queue_scan(&view, &refs);
    if (!err)
        err = condemn_found(a, op, &refs, condemned);
    a->out.condemned = (ProtobufCBinaryData){op->n_blobs, condemned};
    return err;
}

/* ---- expiry ---- */

static int prune_rows(struct apply *a, struct kv_iter *it, uint64_t cutoff_ms)
{
    struct key key;
    for (unsigned rows = 0; it->ops->valid(it); it->ops->next(it), rows++) {
        struct slice row = it->ops->key(it);
        uint64_t ms = 0;
        int err = row_time(row, &ms);
        if (err || a->condemned.count == 0)
            return ERR_CORRUPT;
        a->condemned.oldest_ms = ms;
        if (ms >= cutoff_ms || rows == PRUNE_ROWS_MAX)
            return OK;
        condemned_key(&key, a->index->partition, SLICE(row.ptr + KEY_PREFIX_BYTES + 8, ID_BYTES));
        apply_delete(a, &key);
        kv_batch_delete(a->batch, KV_INDEX, row);
        a->condemned.count--;
    }
    /* What is left, if anything, is this very entry's. */
    a->condemned.oldest_ms = a->h.time_ms;
    return it->ops->error(it);
}

int condemned_prune(struct apply *a)
{
    uint64_t keep_ms = outcome_keep_ms(&a->index->settings);
    if (a->condemned.count == 0 || a->h.time_ms <= keep_ms ||
        a->condemned.oldest_ms >= a->h.time_ms - keep_ms)
        return OK;
    struct kv_iter *it = time_iter(a->index->kv, a->index->partition, a->condemned.oldest_ms);
    if (!it)
        return ERR_NOMEM;
    int err = prune_rows(a, it, a->h.time_ms - keep_ms);
    it->ops->free(it);
    return err;
}
