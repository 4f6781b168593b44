/* MoveSegment: the bytes of one segment have been written again as another blob (in another
 * placement group, under another scheme); the record that named the old one names the new one from
 * now on.
 *
 * Applied only while the record still names the old blob, with the same length and checksum:
 * whoever replaced or deleted it meanwhile has let go of the old blob, and the new one stays an
 * orphan, to be collected as such.  The old blob goes into the deletion queue in the same entry;
 * reads in flight have its grace.
 *
 * For clients nothing happens: size, ETag, checksums, modification time and `version` stay, so that
 * conditions, listings and the names of bodies say what they said.  A version therefore names
 * content, not places: two readers may hold one version with different segments, and which is newer
 * only their as_of tells.  Gateways cache by as_of, and the command touches the object's key hash
 * like a write. */
#include "metanode/index/reply.h"

/* Replaces it in place.  out.err is set unless exactly one segment names `from`, and what is to be
 * put there is the same bytes and not in the record yet.  *ret: what was there. */
static void segment_replace(struct apply *a, const Cairn__MoveSegment *op,
                            Cairn__Segment **segments, size_t count, Cairn__Segment **ret)
{
    size_t found = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        if (slice_eq(bytes_of(segments[i]->blob_id), bytes_of(op->to->blob_id)))
            a->out.err = ERR_REFUSED;
        if (slice_eq(bytes_of(segments[i]->blob_id), bytes_of(op->from_blob_id))) {
            at = i;
            found++;
        }
    }
    if (found == 0)
        a->out.err = ERR_NOT_FOUND;
    else if (found > 1 || segments[at]->bytes != op->to->bytes ||
             segments[at]->crc32c != op->to->crc32c)
        a->out.err = ERR_REFUSED;
    if (a->out.err)
        return;
    *ret = segments[at];
    segments[at] = op->to;
}

static int move_in_object(struct apply *a, const Cairn__MoveSegment *op)
{
    Cairn__ObjectRecord *record;
    Cairn__Segment *old = NULL;
    struct slice key = bytes_of(op->key);
    int err = object_get(a, op->bucket_id, key, &record);
    bool older = !err && record && op->version && record->version != op->version;
    if (older)
        err = older_get(a, op->bucket_id, key, op->version, &record);
    if (err)
        return err;
    if (!record || record->kind != CAIRN__DATA_KIND__DATA_SEGMENTS)
        return apply_decide(a, ERR_NOT_FOUND);
    segment_replace(a, op, record->segments, record->n_segments, &old);
    if (a->out.err)
        return OK;
    struct key row;
    uint8_t id[ID_BYTES];
    key_interim_id(older ? record->version : 0, id);
    err =
        interim_note(a, op->bucket_id, key, SLICE(id, ID_BYTES), 0, old->interim || op->to->interim,
                     interim_count(record->segments, record->n_segments));
    if (err)
        return err;
    if (older)
        key_object_older(&row, a->index->partition, op->bucket_id, key, record->version);
    else
        key_object(&row, a->index->partition, op->bucket_id, key);
    err = apply_put_message(a, &row, &record->base);
    return err ? err : deletion_queue_segments(a, &old, 1);
}

/* The part is there for an upload under way or for an object.  *ret false: there is no such upload,
 * it is dead, or the part was left out: then its deletion is queued, with whatever it names by
 * then. */
static int part_refers(struct apply *a, const Cairn__MoveSegment *op, bool *ret)
{
    struct index_view view;
    struct part_owner owner = {0};
    index_view_init(&view, a->index, NULL);
    int err =
        part_owner_find(&view, op->bucket_id, bytes_of(op->key), bytes_of(op->upload_id), &owner);
    *ret = !err && part_owner_refers(&owner, op->part_number);
    part_owner_fini(&owner);
    return err;
}

static int move_in_part(struct apply *a, const Cairn__MoveSegment *op)
{
    struct slice key = bytes_of(op->key), id = bytes_of(op->upload_id);
    struct key row;
    ProtobufCMessage *message;
    Cairn__Segment *old = NULL;
    key_part(&row, a->index->partition, TABLE_PART, op->bucket_id, key, id, op->part_number);
    int err = apply_get_message(a, &row, &cairn__part_record__descriptor, &message);
    if (err)
        return err == ERR_NOT_FOUND ? apply_decide(a, err) : err;
    bool refers;
    err = part_refers(a, op, &refers);
    if (err || !refers)
        return err ? err : apply_decide(a, ERR_NOT_FOUND);
    Cairn__PartRecord *part = (Cairn__PartRecord *)(void *)message;
    segment_replace(a, op, part->segments, part->n_segments, &old);
    if (a->out.err)
        return OK;
    err = interim_note(a, op->bucket_id, key, id, op->part_number, old->interim || op->to->interim,
                       interim_count(part->segments, part->n_segments));
    if (err)
        return err;
    err = apply_put_message(a, &row, &part->base);
    return err ? err : deletion_queue_segments(a, &old, 1);
}

int apply_move_segment(struct apply *a, const Cairn__MoveSegment *op)
{
    return op->upload_id.len ? move_in_part(a, op) : move_in_object(a, op);
}
