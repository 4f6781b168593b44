/* What can be said of a command without looking at the tables: limits, ids, touches, time, route.
 *
 * Leaders ask before they propose; apply asks again, because an entry may come from a leader of
 * another version, and because epoch and time may have moved while it was in the log. */
#include "metanode/index/state.h"

#include "common/base/check.h"

#include <stdlib.h>

enum {
    ETAG_BYTES_MAX = 128,
    HEADER_VALUE_BYTES_MAX = 2048, /* content type and its like, each */
    ID_STRING_BYTES_MAX = 128,     /* user ids, owners, classes, access key ids */
    SECRET_BYTES_MAX = 256,
    CHECKSUM_BYTES_MAX = 64,
    METADATA_COUNT_MAX = 1024,
    BUCKET_NAME_BYTES_MIN = 3,
    BUCKET_NAME_BYTES_MAX = 63,
};
#define SIZE_MAX_BYTES (UINT64_C(1) << 50) /* no sum of 10,000 of these overflows */

static bool key_ok(ProtobufCBinaryData key)
{
    return key.len >= 1 && key.len <= OBJECT_KEY_BYTES_MAX;
}

static bool checksum_ok(const Cairn__Checksum *c)
{
    return !c || (c->value.len <= CHECKSUM_BYTES_MAX && check_unknown(&c->base) &&
                  (unsigned)c->algorithm <= CAIRN__CHECKSUM_ALGORITHM__CHECKSUM_SHA256 &&
                  (unsigned)c->type <= CAIRN__CHECKSUM_TYPE__CHECKSUM_COMPOSITE);
}

static bool segment_ok(const Cairn__Segment *s)
{
    return s->blob_id.len == ID_BYTES && s->bytes != 0 && s->bytes <= SIZE_MAX_BYTES &&
           check_unknown(&s->base);
}

/* Kind, segments and body agree with the size. */
static bool data_ok(Cairn__DataKind kind, uint64_t size, size_t n_segments,
                    Cairn__Segment *const *segments, size_t body_bytes)
{
    if (size > SIZE_MAX_BYTES)
        return false;
    if (kind == CAIRN__DATA_KIND__DATA_INLINE)
        return n_segments == 0 && body_bytes == size && body_bytes <= INDEX_BODY_BYTES_MAX;
    if (kind != CAIRN__DATA_KIND__DATA_SEGMENTS || body_bytes || n_segments == 0 ||
        n_segments > INDEX_SEGMENTS_MAX)
        return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < n_segments; i++) {
        if (!segment_ok(segments[i]))
            return false;
        sum += segments[i]->bytes;
    }
    return sum == size;
}

static bool metadata_ok(Cairn__Pair *const *pairs, size_t count)
{
    if (count > METADATA_COUNT_MAX)
        return false;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += string_of(pairs[i]->name).len + string_of(pairs[i]->value).len;
        if (!check_unknown(&pairs[i]->base))
            return false;
    }
    return bytes <= INDEX_METADATA_BYTES_MAX;
}

/* Everything but data and ETag. */
static bool headers_ok(const Cairn__ObjectRecord *r)
{
    return check_text(r->content_type, 0, HEADER_VALUE_BYTES_MAX) &&
           check_text(r->content_encoding, 0, HEADER_VALUE_BYTES_MAX) &&
           check_text(r->content_disposition, 0, HEADER_VALUE_BYTES_MAX) &&
           check_text(r->content_language, 0, HEADER_VALUE_BYTES_MAX) &&
           check_text(r->cache_control, 0, HEADER_VALUE_BYTES_MAX) &&
           check_text(r->expires, 0, HEADER_VALUE_BYTES_MAX) &&
           check_text(r->website_redirect, 0, HEADER_VALUE_BYTES_MAX) &&
           check_text(r->owner_id, 0, ID_STRING_BYTES_MAX) &&
           check_text(r->storage_class, 0, ID_STRING_BYTES_MAX) && checksum_ok(r->checksum) &&
           metadata_ok(r->user_metadata, r->n_user_metadata) && check_unknown(&r->base);
}

static bool condition_ok(const Cairn__Condition *c)
{
    if (!c)
        return true;
    if (c->n_if_match > INDEX_ETAGS_MAX || c->n_if_none_match > INDEX_ETAGS_MAX)
        return false;
    for (size_t i = 0; i < c->n_if_match; i++)
        if (!check_text(c->if_match[i], 0, ETAG_BYTES_MAX))
            return false;
    for (size_t i = 0; i < c->n_if_none_match; i++)
        if (!check_text(c->if_none_match[i], 0, ETAG_BYTES_MAX))
            return false;
    return true;
}

static bool put_ok(const Cairn__PutObject *op, size_t body_bytes)
{
    const Cairn__ObjectRecord *r = op->record;
    return key_ok(op->key) && r && condition_ok(op->condition) && headers_ok(r) &&
           check_text(r->etag, 1, ETAG_BYTES_MAX) && r->manifest_id.len == 0 &&
           r->part_count == 0 && data_ok(r->kind, r->size, r->n_segments, r->segments, body_bytes);
}

static bool deletes_ok(const Cairn__DeleteObjects *op)
{
    if (op->n_keys == 0 || op->n_keys > INDEX_DELETE_KEYS_MAX ||
        (op->n_conditions && op->n_conditions != op->n_keys))
        return false;
    for (size_t i = 0; i < op->n_keys; i++)
        if (!key_ok(op->keys[i]) || (op->n_conditions && !condition_ok(op->conditions[i])))
            return false;
    return true;
}

static bool create_upload_ok(const Cairn__CreateUpload *op)
{
    const Cairn__UploadRecord *u = op->upload;
    return key_ok(op->key) && u && u->upload_id.len == ID_BYTES && u->object &&
           u->object->n_segments == 0 && u->object->manifest_id.len == 0 && headers_ok(u->object) &&
           check_text(u->object->etag, 0, ETAG_BYTES_MAX) &&
           check_text(u->initiator_id, 0, ID_STRING_BYTES_MAX) && check_unknown(&u->base) &&
           (unsigned)u->checksum_algorithm <= CAIRN__CHECKSUM_ALGORITHM__CHECKSUM_SHA256 &&
           (unsigned)u->checksum_type <= CAIRN__CHECKSUM_TYPE__CHECKSUM_COMPOSITE;
}

static bool put_part_ok(const Cairn__PutPart *op, size_t body_bytes)
{
    const Cairn__PartRecord *p = op->part;
    return key_ok(op->key) && op->upload_id.len == ID_BYTES && p && p->number >= 1 &&
           p->number <= INDEX_PARTS_MAX && check_text(p->etag, 1, ETAG_BYTES_MAX) &&
           checksum_ok(p->checksum) && check_unknown(&p->base) &&
           data_ok(p->kind, p->size, p->n_segments, p->segments, body_bytes);
}

static bool complete_ok(const Cairn__CompleteUpload *op)
{
    const Cairn__ObjectRecord *r = op->record;
    if (!key_ok(op->key) || op->upload_id.len != ID_BYTES || !r || !headers_ok(r) ||
        !condition_ok(op->condition) || op->n_parts == 0 || op->n_parts > INDEX_PARTS_MAX ||
        r->n_segments || !check_text(r->etag, 1, ETAG_BYTES_MAX) ||
        r->kind != CAIRN__DATA_KIND__DATA_MANIFEST || r->part_count != op->n_parts ||
        !slice_eq(bytes_of(r->manifest_id), bytes_of(op->upload_id)))
        return false;
    for (size_t i = 0; i < op->n_parts; i++) {
        const Cairn__CompletePart *p = op->parts[i];
        if (!check_text(p->etag, 1, ETAG_BYTES_MAX) || !checksum_ok(p->checksum))
            return false;
    }
    return true;
}

/* Ascending, so that an item is named once. */
static bool items_ok(const uint64_t *items, size_t count, size_t max)
{
    for (size_t i = 1; i < count && i < max; i++)
        if (items[i] <= items[i - 1])
            return false;
    return count >= 1 && count <= max;
}

static bool user_ok(const Cairn__UserRecord *u)
{
    return u && check_text(u->user_id, 1, ID_STRING_BYTES_MAX) &&
           check_text(u->name, 0, CHECK_NAME_BYTES_MAX) && check_unknown(&u->base);
}

static bool access_key_ok(const Cairn__AccessKeyRecord *k)
{
    return k && check_text(k->access_key_id, 1, ID_STRING_BYTES_MAX) &&
           check_text(k->secret, 1, SECRET_BYTES_MAX) &&
           check_text(k->user_id, 1, ID_STRING_BYTES_MAX) &&
           check_text(k->user_name, 0, CHECK_NAME_BYTES_MAX) && check_unknown(&k->base);
}

static bool bootstrap_ok(const Cairn__Bootstrap *op)
{
    return op->cluster_id.len == ID_BYTES && check_nodes(op->nodes, op->n_nodes) &&
           check_partitions(op->partitions, op->n_partitions) && check_pgs(op->pgs, op->n_pgs) &&
           user_ok(op->root_user) && access_key_ok(op->root_key);
}

static bool bucket_ok(const Cairn__BucketRecord *b)
{
    return b && check_text(b->name, BUCKET_NAME_BYTES_MIN, BUCKET_NAME_BYTES_MAX) &&
           check_text(b->owner_id, 1, ID_STRING_BYTES_MAX) &&
           check_text(b->region, 0, ID_STRING_BYTES_MAX) && check_unknown(&b->base);
}

static bool bucket_ref_ok(const char *name, uint64_t id)
{
    return check_text(name, 1, BUCKET_NAME_BYTES_MAX) && id != 0;
}

static bool condemn_ok(const Cairn__Condemn *op)
{
    for (size_t i = 0; i < op->n_blobs && i < INDEX_CONDEMN_BLOBS_MAX; i++)
        if (op->blobs[i]->blob_id.len != ID_BYTES)
            return false;
    return key_ok(op->key) && op->n_blobs >= 1 && op->n_blobs <= INDEX_CONDEMN_BLOBS_MAX;
}

static bool move_ok(const Cairn__MoveSegment *op)
{
    bool of_part =
        op->upload_id.len == ID_BYTES && op->part_number >= 1 && op->part_number <= INDEX_PARTS_MAX;
    bool of_object = op->upload_id.len == 0 && op->part_number == 0;
    return key_ok(op->key) && (of_part || of_object) && op->from_blob_id.len == ID_BYTES &&
           op->to && segment_ok(op->to);
}

static bool is_root_command(const Cairn__Command *cmd)
{
    return cmd->op_case >= CAIRN__COMMAND__OP_BOOTSTRAP;
}

static bool is_any_partition_command(const Cairn__Command *cmd)
{
    return cmd->op_case == CAIRN__COMMAND__OP_PRUNE_OUTCOMES;
}

static bool has_body(const Cairn__Command *cmd)
{
    return cmd->op_case == CAIRN__COMMAND__OP_PUT_OBJECT ||
           cmd->op_case == CAIRN__COMMAND__OP_PUT_PART;
}

static bool operation_ok(const Cairn__Command *cmd, size_t body_bytes)
{
    if (!cmd->put_object) /* any member of the union: none is ever NULL once decoded */
        return false;
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT: return put_ok(cmd->put_object, body_bytes);
    case CAIRN__COMMAND__OP_DELETE_OBJECT:
        return key_ok(cmd->delete_object->key) && condition_ok(cmd->delete_object->condition);
    case CAIRN__COMMAND__OP_DELETE_OBJECTS: return deletes_ok(cmd->delete_objects);
    case CAIRN__COMMAND__OP_CREATE_UPLOAD: return create_upload_ok(cmd->create_upload);
    case CAIRN__COMMAND__OP_PUT_PART: return put_part_ok(cmd->put_part, body_bytes);
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD: return complete_ok(cmd->complete_upload);
    case CAIRN__COMMAND__OP_ABORT_UPLOAD:
        return key_ok(cmd->abort_upload->key) && cmd->abort_upload->upload_id.len == ID_BYTES;
    case CAIRN__COMMAND__OP_FENCE_BUCKET: return cmd->fence_bucket->bucket_id != 0;
    case CAIRN__COMMAND__OP_DELETION_DONE:
        return items_ok(cmd->deletion_done->items, cmd->deletion_done->n_items,
                        INDEX_DONE_ITEMS_MAX);
    case CAIRN__COMMAND__OP_EXPAND_DELETION:
        return items_ok(cmd->expand_deletion->items, cmd->expand_deletion->n_items,
                        INDEX_EXPAND_ITEMS_MAX);
    case CAIRN__COMMAND__OP_CONDEMN: return condemn_ok(cmd->condemn);
    case CAIRN__COMMAND__OP_MOVE_SEGMENT: return move_ok(cmd->move_segment);
    case CAIRN__COMMAND__OP_PRUNE_OUTCOMES: return true;
    case CAIRN__COMMAND__OP_BOOTSTRAP: return bootstrap_ok(cmd->bootstrap);
    case CAIRN__COMMAND__OP_CREATE_BUCKET: return bucket_ok(cmd->create_bucket->bucket);
    case CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET:
        return bucket_ref_ok(cmd->begin_delete_bucket->name, cmd->begin_delete_bucket->id);
    case CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET:
        return bucket_ref_ok(cmd->finish_delete_bucket->name, cmd->finish_delete_bucket->id);
    case CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET:
        return bucket_ref_ok(cmd->abort_delete_bucket->name, cmd->abort_delete_bucket->id);
    case CAIRN__COMMAND__OP_PUT_USER: return user_ok(cmd->put_user->user);
    case CAIRN__COMMAND__OP_PUT_ACCESS_KEY: return access_key_ok(cmd->put_access_key->key);
    case CAIRN__COMMAND__OP_DELETE_ACCESS_KEY:
        return check_text(cmd->delete_access_key->access_key_id, 1, ID_STRING_BYTES_MAX);
    case CAIRN__COMMAND__OP_UPDATE_NODES:
        return check_nodes(cmd->update_nodes->nodes, cmd->update_nodes->n_nodes) &&
               check_pgs(cmd->update_nodes->pgs, cmd->update_nodes->n_pgs);
    case CAIRN__COMMAND__OP_PUT_NODE: return check_put_node(cmd->put_node);
    case CAIRN__COMMAND__OP_ADD_PGS: return check_add_pgs(cmd->add_pgs);
    case CAIRN__COMMAND__OP_BEGIN_PG_CHANGE: return check_begin_change(cmd->begin_pg_change);
    case CAIRN__COMMAND__OP_FINISH_PG_CHANGE: return true;
    default: return false;
    }
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool touched(const uint64_t *sorted, size_t count, uint64_t hash)
{
    return count && bsearch(&hash, sorted, count, sizeof(hash), compare_u64) != NULL;
}

/* Every cacheable record that the command may change is named in touches: a witness that was not
 * told of a change would go on calling it fresh.  Whether it does change is not asked, so that the
 * answer depends on the command alone. */
static bool touches_ok(const Cairn__Command *cmd, const uint64_t *sorted, size_t count)
{
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT:
        return touched(sorted, count,
                       keyhash_object(cmd->put_object->bucket_id, bytes_of(cmd->put_object->key)));
    case CAIRN__COMMAND__OP_DELETE_OBJECT:
        return touched(
            sorted, count,
            keyhash_object(cmd->delete_object->bucket_id, bytes_of(cmd->delete_object->key)));
    case CAIRN__COMMAND__OP_DELETE_OBJECTS:
        for (size_t i = 0; i < cmd->delete_objects->n_keys; i++)
            if (!touched(sorted, count,
                         keyhash_object(cmd->delete_objects->bucket_id,
                                        bytes_of(cmd->delete_objects->keys[i]))))
                return false;
        return true;
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD:
        return touched(
            sorted, count,
            keyhash_object(cmd->complete_upload->bucket_id, bytes_of(cmd->complete_upload->key)));
    case CAIRN__COMMAND__OP_MOVE_SEGMENT:
        return touched(
            sorted, count,
            keyhash_object(cmd->move_segment->bucket_id, bytes_of(cmd->move_segment->key)));
    case CAIRN__COMMAND__OP_BOOTSTRAP:
        return touched(sorted, count,
                       keyhash_user(string_of(cmd->bootstrap->root_user->user_id))) &&
               touched(sorted, count,
                       keyhash_access_key(string_of(cmd->bootstrap->root_key->access_key_id)));
    case CAIRN__COMMAND__OP_CREATE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->create_bucket->bucket->name)));
    case CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->begin_delete_bucket->name)));
    case CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->finish_delete_bucket->name)));
    case CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->abort_delete_bucket->name)));
    case CAIRN__COMMAND__OP_PUT_USER:
        return touched(sorted, count, keyhash_user(string_of(cmd->put_user->user->user_id)));
    case CAIRN__COMMAND__OP_PUT_ACCESS_KEY:
        return touched(sorted, count,
                       keyhash_access_key(string_of(cmd->put_access_key->key->access_key_id)));
    case CAIRN__COMMAND__OP_DELETE_ACCESS_KEY:
        return touched(sorted, count,
                       keyhash_access_key(string_of(cmd->delete_access_key->access_key_id)));
    default: return true; /* changes no record that a gateway may cache */
    }
}

/* What the leader itself proposes may do without: a second copy changes nothing, or is refused by
 * what the first one left (an epoch, an id in use).  None of these makes a record name a blob: how
 * long condemned ones are remembered relies on it (apply_condemn.c). */
bool command_needs_write_id(const Cairn__Command *cmd)
{
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_DELETION_DONE:
    case CAIRN__COMMAND__OP_EXPAND_DELETION:
    case CAIRN__COMMAND__OP_PRUNE_OUTCOMES:
    case CAIRN__COMMAND__OP_CONDEMN:
    case CAIRN__COMMAND__OP_PUT_NODE:
    case CAIRN__COMMAND__OP_ADD_PGS:
    case CAIRN__COMMAND__OP_BEGIN_PG_CHANGE:
    case CAIRN__COMMAND__OP_FINISH_PG_CHANGE: return false;
    default: return true;
    }
}

int command_validate(const Cairn__Command *cmd, size_t body_bytes, bool root,
                     struct index_arena *arena)
{
    enum { TOUCHES_MAX = 2 * INDEX_DELETE_KEYS_MAX };
    bool id_ok =
        cmd->write_id.len == ID_BYTES || (cmd->write_id.len == 0 && !command_needs_write_id(cmd));
    if (!id_ok || cmd->n_touches > TOUCHES_MAX || (body_bytes && !has_body(cmd)) ||
        (!is_any_partition_command(cmd) && is_root_command(cmd) != root) ||
        !operation_ok(cmd, body_bytes))
        return ERR_REFUSED;
    if (cmd->n_touches <= 1)
        return touches_ok(cmd, cmd->touches, cmd->n_touches) ? OK : ERR_REFUSED;
    uint64_t *sorted = index_arena_alloc(arena, cmd->n_touches * sizeof(*sorted));
    if (!sorted)
        return ERR_NOMEM;
    memcpy(sorted, cmd->touches, cmd->n_touches * sizeof(*sorted));
    qsort(sorted, cmd->n_touches, sizeof(*sorted), compare_u64);
    return touches_ok(cmd, sorted, cmd->n_touches) ? OK : ERR_REFUSED;
}

/* Why a retry can never outlive its outcome.  Let W = window_ms, S = skew_ms.  A proposal keeps its
 * write id and issued_ms when it is sent again.
 *  - It is executed in an entry of time T only if  issued <= T + S  (else ERR_TIME)
 *    and  issued >= T - W  (else ERR_TOO_OLD).
 *  - Its outcome, recorded with time T, is removed only by an entry of time P with  T < P - (W + S)
 *    (outcome_prune), and entry time never runs backwards.
 *  - Suppose a copy is met in an entry of time T' with the outcome gone: then T' >= P > T + S + W
 *    >= issued + W, so issued < T' - W: it is refused as too old, and so is every later copy.
 * So within a partition each write id is executed at most once.  An ERR_TIME is no execution: the
 * same write id may be sent again, and may then succeed. */
int command_window_check(const Cairn__Command *cmd, const struct index_settings *settings)
{
    if (cmd->write_id.len == 0)
        return OK; /* idempotent by itself */
    if (cmd->time_ms > cmd->issued_ms && cmd->time_ms - cmd->issued_ms > settings->window_ms)
        return ERR_TOO_OLD;
    if (cmd->issued_ms > cmd->time_ms && cmd->issued_ms - cmd->time_ms > settings->skew_ms)
        return ERR_TIME;
    return OK;
}

/* Not Condemn, whose bucket may be gone, nor MoveSegment: neither makes anything appear in a bucket
 * or leave it. */
bool command_bucket(const Cairn__Command *cmd, uint64_t *ret_bucket_id)
{
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT: *ret_bucket_id = cmd->put_object->bucket_id; return true;
    case CAIRN__COMMAND__OP_DELETE_OBJECT:
        *ret_bucket_id = cmd->delete_object->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_DELETE_OBJECTS:
        *ret_bucket_id = cmd->delete_objects->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_CREATE_UPLOAD:
        *ret_bucket_id = cmd->create_upload->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_PUT_PART: *ret_bucket_id = cmd->put_part->bucket_id; return true;
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD:
        *ret_bucket_id = cmd->complete_upload->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_ABORT_UPLOAD:
        *ret_bucket_id = cmd->abort_upload->bucket_id;
        return true;
    default: return false;
    }
}

static struct slice command_key(const Cairn__Command *cmd)
{
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT: return bytes_of(cmd->put_object->key);
    case CAIRN__COMMAND__OP_DELETE_OBJECT: return bytes_of(cmd->delete_object->key);
    case CAIRN__COMMAND__OP_CREATE_UPLOAD: return bytes_of(cmd->create_upload->key);
    case CAIRN__COMMAND__OP_PUT_PART: return bytes_of(cmd->put_part->key);
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD: return bytes_of(cmd->complete_upload->key);
    case CAIRN__COMMAND__OP_ABORT_UPLOAD: return bytes_of(cmd->abort_upload->key);
    default: return SLICE_EMPTY;
    }
}

int command_route_check(const struct index *index, const Cairn__Command *cmd)
{
    if (cmd->epoch != index->h.epoch)
        return ERR_EPOCH;
    struct slice start = buf_view(&index->start), end = buf_view(&index->end);
    if (cmd->op_case == CAIRN__COMMAND__OP_FENCE_BUCKET)
        return range_overlaps_bucket(start, end, cmd->fence_bucket->bucket_id) ? OK : ERR_EPOCH;
    if (cmd->op_case == CAIRN__COMMAND__OP_CONDEMN)
        return range_contains(start, end, cmd->condemn->bucket_id, bytes_of(cmd->condemn->key))
                   ? OK
                   : ERR_EPOCH;
    if (cmd->op_case == CAIRN__COMMAND__OP_MOVE_SEGMENT)
        return range_contains(start, end, cmd->move_segment->bucket_id,
                              bytes_of(cmd->move_segment->key))
                   ? OK
                   : ERR_EPOCH;
    uint64_t bucket_id;
    if (!command_bucket(cmd, &bucket_id))
        return OK;
    if (cmd->op_case == CAIRN__COMMAND__OP_DELETE_OBJECTS) {
        for (size_t i = 0; i < cmd->delete_objects->n_keys; i++)
            if (!range_contains(start, end, bucket_id, bytes_of(cmd->delete_objects->keys[i])))
                return ERR_EPOCH;
        return OK;
    }
    return range_contains(start, end, bucket_id, command_key(cmd)) ? OK : ERR_EPOCH;
}

int index_command_check(const struct index *index, const Cairn__Command *command, size_t body_bytes)
{
    struct index_arena arena;
    index_arena_init(&arena);
    int err = command_validate(command, body_bytes, index->partition == ROOT_PARTITION, &arena);
    index_arena_fini(&arena);
    if (!err && command->time_ms < index->h.time_ms)
        err = ERR_REFUSED;
    if (!err)
        err = command_window_check(command, &index->settings);
    if (!err && command->write_id.len &&
        outcome_full(&index->h, &index->settings, command->time_ms))
        err = ERR_OVERLOAD;
    if (!err)
        err = command_route_check(index, command);
    if (!err && cairn__command__get_packed_size(command) > INDEX_COMMAND_BYTES_MAX)
        err = ERR_REFUSED;
    return err;
}
