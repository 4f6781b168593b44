/* AppendObject: what PutObject with a write offset does to an object that is there.
 *
 * The gateway has read a version of the object and written what is to come behind its data; here
 * that version must still be the one that is there, so of several appends at one offset, and of
 * appends and overwrites or deletions at once, one is first and the others are refused.
 *
 *   segments   the new ones come behind the old ones, which stay referred to: nothing of them goes
 *              into the deletion queue.  They are taken from the record as it is found here, not as
 *              it was read, because MoveSegment may have put others in their places since.
 *   inline     the gateway has read the data, and brings old and new as a whole; the old body goes.
 *
 * Everything else is the record's as this entry finds it: tags and ACLs change without a new
 * version, and fields that this release does not know stay too.
 *
 * Only where no versions are kept (command_validate): there a record has one row, and no locks. */
#include "metanode/index/state.h"

#include "common/base/check.h"

static uint64_t bytes_of_segments(Cairn__Segment *const *segments, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += segments[i]->bytes;
    return sum;
}

/* The command was made for such a record; that of this version is no other one. */
static bool append_fits(const Cairn__ObjectRecord *old, const Cairn__AppendObject *op)
{
    const Cairn__ObjectRecord *r = op->record;
    if (old->encryption || old->versioned || old->appends >= INDEX_APPENDS_MAX)
        return false;
    if (op->whole)
        return old->kind == CAIRN__DATA_KIND__DATA_INLINE && old->size <= r->size;
    return old->kind == CAIRN__DATA_KIND__DATA_SEGMENTS &&
           old->n_segments + r->n_segments <= INDEX_SEGMENTS_MAX &&
           old->size + bytes_of_segments(r->segments, r->n_segments) == r->size;
}

static int segments_join(struct apply *a, Cairn__ObjectRecord *record,
                         const Cairn__ObjectRecord *more)
{
    size_t count = record->n_segments + more->n_segments;
    Cairn__Segment **all = index_arena_alloc(a->arena, count * sizeof(Cairn__Segment *));
    if (!all)
        return ERR_NOMEM;
    memcpy(all, record->segments, record->n_segments * sizeof(*all));
    if (more->n_segments)
        memcpy(all + record->n_segments, more->segments, more->n_segments * sizeof(*all));
    record->segments = all;
    record->n_segments = count;
    return OK;
}

/* The record's data become those of the command. */
static int data_take(struct apply *a, const Cairn__AppendObject *op, struct slice key,
                     Cairn__ObjectRecord *record)
{
    struct key row;
    if (!op->whole)
        return segments_join(a, record, op->record);
    int err = object_release(a, op->bucket_id, key, record);
    if (err || a->out.err)
        return err;
    record->kind = op->record->kind;
    record->segments = op->record->segments;
    record->n_segments = op->record->n_segments;
    if (a->body.len) {
        key_object_body(&row, a->index->partition, op->bucket_id, key, a->entry_index);
        kv_batch_put(a->batch, KV_BODY, key_view(&row), a->body);
    }
    return OK;
}

static void describe(struct apply *a, const Cairn__AppendObject *op, Cairn__ObjectRecord *record)
{
    record->version = a->entry_index;
    record->mtime_ms = a->h.time_ms;
    record->size = op->record->size;
    record->etag = op->record->etag;
    record->checksum = op->record->checksum;
    record->crc64nvme = op->record->crc64nvme;
    record->has_crc64nvme = op->record->has_crc64nvme;
    record->appends++;
}

static int append_put(struct apply *a, const Cairn__AppendObject *op, struct slice key,
                      Cairn__ObjectRecord *record)
{
    struct key row;
    bool had = interim_count(record->segments, record->n_segments);
    int err = data_take(a, op, key, record);
    if (err || a->out.err)
        return err;
    describe(a, op, record);
    struct event_fact fact = {.bucket_id = op->bucket_id,
                              .key = key,
                              .version = record->version,
                              .size = record->size,
                              .etag = record->etag};
    err = event_note(a, &fact, &record->replication);
    if (!err)
        err = interim_note(a, op->bucket_id, key, SLICE_EMPTY, 0, had,
                           interim_count(record->segments, record->n_segments));
    if (err)
        return err;
    key_object(&row, a->index->partition, op->bucket_id, key);
    return apply_put_message(a, &row, &record->base);
}

int apply_append_object(struct apply *a, const Cairn__AppendObject *op)
{
    struct slice key = bytes_of(op->key);
    Cairn__ObjectRecord *record;
    CHECK(a->cmd->versioning == CAIRN__VERSIONING__VERSIONING_OFF);
    int err = object_get(a, op->bucket_id, key, &record);
    if (err)
        return err;
    a->out.existed = object_visible(record) != NULL;
    if (!a->out.existed || record->version != op->version)
        return apply_decide(a, ERR_PRECONDITION);
    if (!append_fits(record, op))
        return apply_decide(a, ERR_REFUSED);
    err = append_put(a, op, key, record);
    a->out.etag = record->etag;
    a->out.size = record->size;
    return err;
}
