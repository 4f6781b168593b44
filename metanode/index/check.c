/* What can be said of a command without looking at the tables: limits, ids, touches, time, route.
 *
 * Leaders ask before they propose; apply asks again, because an entry may come from a leader of
 * another version, and because epoch and time may have moved while it was in the log. */
#include "metanode/index/state.h"

#include "common/base/check.h"
#include "proto/registry.h"
#include "proto/sealed.h"
#include "proto/versions.h"

#include <stdlib.h>

enum {
    ETAG_BYTES_MAX = 128,
    HEADER_VALUE_BYTES_MAX = 2048, /* content type and its like, each */
    ID_STRING_BYTES_MAX = 128,     /* user ids, owners, classes, access key ids */
    SECRET_BYTES_MAX = 256,
    CHECKSUM_BYTES_MAX = 64,
    ENCRYPTION_SALT_BYTES = 16,
    WRAPPED_KEY_BYTES_MAX = 256,
    ENCRYPTION_CONTEXT_BYTES_MAX = 4096,
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
static bool data_ok(Cairn__DataKind kind, uint64_t plain, size_t n_segments,
                    Cairn__Segment *const *segments, size_t body_bytes, const Cairn__Encryption *e)
{
    if (plain > SIZE_MAX_BYTES || (e && e->salt.len != ENCRYPTION_SALT_BYTES))
        return false;
    uint64_t size = e ? sealed_bytes(plain) : plain;
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

/* Data keys and what wraps them are the gateways' business. */
static bool encryption_ok(const Cairn__Encryption *e)
{
    return !e ||
           (e->mode > CAIRN__ENCRYPTION_MODE__ENCRYPTION_NONE &&
            e->mode <= CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER &&
            (e->salt.len == 0 || e->salt.len == ENCRYPTION_SALT_BYTES) &&
            e->wrapped_key.len <= WRAPPED_KEY_BYTES_MAX &&
            check_text(e->kms_key, 0, ID_STRING_BYTES_MAX) &&
            check_text(e->context, 0, ENCRYPTION_CONTEXT_BYTES_MAX) && check_unknown(&e->base));
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

static bool tags_ok(Cairn__Pair *const *tags, size_t count)
{
    if (count > INDEX_TAGS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!check_text(tags[i]->name, 1, INDEX_TAG_NAME_BYTES_MAX) ||
            !check_text(tags[i]->value, 0, INDEX_TAG_VALUE_BYTES_MAX) ||
            !check_unknown(&tags[i]->base))
            return false;
    return true;
}

/* A mode with a date, or (retain_ms) with the time that it is to last; where versions are kept. */
static bool lock_ok(const Cairn__Command *cmd, const Cairn__ObjectRecord *r, uint64_t retain_ms)
{
    bool retains = r->lock_mode != CAIRN__LOCK_MODE__LOCK_NONE;
    bool locks = retains || r->legal_hold != CAIRN__LEGAL_HOLD__HOLD_NEVER;
    return (unsigned)r->lock_mode <= CAIRN__LOCK_MODE__LOCK_COMPLIANCE &&
           (unsigned)r->legal_hold <= CAIRN__LEGAL_HOLD__HOLD_OFF &&
           r->retain_until_ms <= INDEX_RETAIN_UNTIL_MS_MAX && retain_ms <= INDEX_RETAIN_MS_MAX &&
           (r->retain_until_ms || retain_ms) == retains &&
           (!locks || cmd->versioning == CAIRN__VERSIONING__VERSIONING_ENABLED);
}

static bool put_lock_ok(const Cairn__Command *cmd, const Cairn__PutObjectLock *op)
{
    Cairn__ObjectRecord r = CAIRN__OBJECT_RECORD__INIT;
    r.lock_mode = op->lock_mode;
    r.retain_until_ms = op->retain_until_ms;
    r.legal_hold = op->legal_hold;
    return key_ok(op->key) && lock_ok(cmd, &r, 0) &&
           (op->sets_retention || op->lock_mode == CAIRN__LOCK_MODE__LOCK_NONE);
}

static bool acl_ok(const Cairn__Acl *acl)
{
    if (!acl)
        return true;
    if (acl->n_grants > INDEX_ACL_GRANTS_MAX)
        return false;
    for (size_t i = 0; i < acl->n_grants; i++)
        if (!check_text(acl->grants[i]->canonical_id, 0, ID_STRING_BYTES_MAX) ||
            !check_unknown(&acl->grants[i]->base))
            return false;
    return check_unknown(&acl->base);
}

static bool renamed_ok(ProtobufCBinaryData by)
{
    return by.len == 0 || by.len == RENAMED_BY_BYTES;
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
           metadata_ok(r->user_metadata, r->n_user_metadata) && tags_ok(r->tags, r->n_tags) &&
           acl_ok(r->acl) && encryption_ok(r->encryption) && renamed_ok(r->renamed_by) &&
           check_unknown(&r->base);
}

static bool deletes_condition_ok(const Cairn__Condition *c)
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
    return tags_ok(c->if_tags, c->n_if_tags) && c->if_newer_min <= INDEX_NEWER_MAX;
}

/* Of what makes something: nothing that only deletions look at. */
static bool condition_ok(const Cairn__Condition *c)
{
    return !c || (deletes_condition_ok(c) && !c->if_named_version && !c->if_newer_min &&
                  !c->if_alone && !c->not_before_ms);
}

static bool put_ok(const Cairn__PutObject *op, size_t body_bytes)
{
    const Cairn__ObjectRecord *r = op->record;
    return key_ok(op->key) && r && condition_ok(op->condition) && headers_ok(r) &&
           check_text(r->etag, 1, ETAG_BYTES_MAX) && r->manifest_id.len == 0 &&
           r->part_count == 0 &&
           data_ok(r->kind, r->size, r->n_segments, r->segments, body_bytes, r->encryption);
}

/* One entry without versions: a bucket that keeps them would keep the source's. */
static bool rename_ok(const Cairn__Command *cmd, const Cairn__RenameObject *op, size_t body_bytes)
{
    Cairn__PutObject put = CAIRN__PUT_OBJECT__INIT;
    put.key = op->key;
    put.record = op->record;
    put.condition = op->condition;
    return cmd->versioning == CAIRN__VERSIONING__VERSIONING_OFF && key_ok(op->source) &&
           !slice_eq(bytes_of(op->key), bytes_of(op->source)) && op->source_version &&
           put_ok(&put, body_bytes) && lock_ok(cmd, op->record, 0);
}

/* Of a bucket without versions, like a rename.  How old and new data go together, apply sees. */
static bool append_ok(const Cairn__Command *cmd, const Cairn__AppendObject *op, size_t body_bytes)
{
    const Cairn__ObjectRecord *r = op->record;
    if (cmd->versioning != CAIRN__VERSIONING__VERSIONING_OFF || !key_ok(op->key) || !op->version ||
        !r || !headers_ok(r) || !check_text(r->etag, 1, ETAG_BYTES_MAX) || r->manifest_id.len ||
        r->part_count || r->encryption || r->size > SIZE_MAX_BYTES)
        return false;
    if (op->whole)
        return data_ok(r->kind, r->size, r->n_segments, r->segments, body_bytes, NULL);
    if (r->kind != CAIRN__DATA_KIND__DATA_SEGMENTS || body_bytes ||
        r->n_segments > INDEX_SEGMENTS_MAX)
        return false;
    for (size_t i = 0; i < r->n_segments; i++)
        if (!segment_ok(r->segments[i]))
            return false;
    return true;
}

static bool deletes_ok(const Cairn__DeleteObjects *op)
{
    if (op->n_keys == 0 || op->n_keys > INDEX_DELETE_KEYS_MAX ||
        (op->n_conditions && op->n_conditions != op->n_keys) ||
        (op->n_versions && op->n_versions != op->n_keys) ||
        !check_text(op->owner_id, 0, ID_STRING_BYTES_MAX))
        return false;
    for (size_t i = 0; i < op->n_keys; i++)
        if (!key_ok(op->keys[i]) || (op->n_conditions && !deletes_condition_ok(op->conditions[i])))
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
           checksum_ok(p->checksum) && encryption_ok(p->encryption) && check_unknown(&p->base) &&
           data_ok(p->kind, p->size, p->n_segments, p->segments, body_bytes, p->encryption);
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

static bool sink_ok(Cairn__SinkKind kind, const char *target)
{
    return kind != CAIRN__SINK_KIND__SINK_NONE &&
           (unsigned)kind <= CAIRN__SINK_KIND__SINK_REPLICATION &&
           check_text(target, 1, INDEX_EVENT_TARGET_BYTES_MAX);
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

static bool account_ok(const Cairn__AccountRow *a)
{
    return slice_eq(string_of(a->account_id), SLICE_LIT(OPERATOR_ACCOUNT)) &&
           check_text(a->canonical_id, 1, ID_STRING_BYTES_MAX) &&
           check_text(a->name, 1, CHECK_NAME_BYTES_MAX) &&
           check_text(a->display_name, 0, CHECK_NAME_BYTES_MAX) && check_unknown(&a->base);
}

static bool account_key_ok(const Cairn__AccessKeyRow *k)
{
    return k && check_text(k->access_key_id, 1, ID_STRING_BYTES_MAX) &&
           check_text(k->secret, 1, SECRET_BYTES_MAX) && string_of(k->user).len == 0 &&
           slice_eq(string_of(k->account_id), SLICE_LIT(OPERATOR_ACCOUNT)) &&
           check_unknown(&k->base);
}

static bool bootstrap_ok(const Cairn__Bootstrap *op)
{
    return op->cluster_id.len == ID_BYTES && check_nodes(op->nodes, op->n_nodes) &&
           check_partitions(op->partitions, op->n_partitions) && check_pgs(op->pgs, op->n_pgs) &&
           (op->account ? account_ok(op->account) && account_key_ok(op->account_key)
                        : user_ok(op->root_user) && access_key_ok(op->root_key));
}

static bool document_ok(const Cairn__BucketSetting *s)
{
    return s && s->kind != CAIRN__SETTING_KIND__SETTING_NONE &&
           check_text(s->id, 0, INDEX_SETTING_ID_BYTES_MAX) &&
           check_text(s->note, 0, INDEX_SETTING_ID_BYTES_MAX) &&
           s->document.len <= INDEX_SETTINGS_BYTES_MAX && check_unknown(&s->base);
}

/* What a bucket is made with: a few, each of a kind of its own, in the record's order. */
static bool settings_ok(Cairn__BucketSetting *const *settings, size_t count)
{
    size_t bytes = 0;
    if (count > INDEX_SETTINGS_MADE_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        const Cairn__BucketSetting *s = settings[i];
        if (!document_ok(s) || s->document.len == 0 || string_of(s->id).len != 0 ||
            (i && settings[i - 1]->kind >= s->kind))
            return false;
        bytes += s->document.len;
    }
    return bytes <= INDEX_SETTINGS_BYTES_MAX;
}

static bool bucket_ok(const Cairn__BucketRecord *b)
{
    return b && check_text(b->name, BUCKET_NAME_BYTES_MIN, BUCKET_NAME_BYTES_MAX) &&
           check_text(b->owner_id, 1, ID_STRING_BYTES_MAX) &&
           check_text(b->owner_account, 0, ID_STRING_BYTES_MAX) &&
           check_text(b->region, 0, ID_STRING_BYTES_MAX) &&
           settings_ok(b->settings, b->n_settings) && check_unknown(&b->base);
}

static bool bucket_ref_ok(const char *name, uint64_t id)
{
    return check_text(name, 1, BUCKET_NAME_BYTES_MAX) && id != 0;
}

static bool put_setting_ok(const Cairn__PutBucketSetting *op)
{
    return bucket_ref_ok(op->name, op->id) && document_ok(op->setting);
}

/* Versioning is never OFF again (apply_fencing.c). */
static bool setting_ok(const Cairn__BeginSetting *op)
{
    return op->versioning == CAIRN__VERSIONING__VERSIONING_ENABLED ||
           op->versioning == CAIRN__VERSIONING__VERSIONING_SUSPENDED;
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

/* Sinks, and orders of them, as far as the command's keys go. */
static bool events_ok(const Cairn__EventContext *e, size_t keys)
{
    if (!e)
        return true;
    if (e->n_sinks > INDEX_EVENT_SINKS_MAX || e->n_orders > keys || e->rows_max == 0 ||
        !check_text(e->bucket, 0, BUCKET_NAME_BYTES_MAX) ||
        !check_text(e->requester, 0, INDEX_EVENT_ID_BYTES_MAX) ||
        !check_text(e->bucket_owner, 0, ID_STRING_BYTES_MAX) ||
        !check_text(e->source_ip, 0, ID_STRING_BYTES_MAX) ||
        !check_text(e->request_id, 0, ID_STRING_BYTES_MAX) || !check_unknown(&e->base))
        return false;
    for (size_t i = 0; i < e->n_sinks; i++)
        if (!sink_ok(e->sinks[i]->kind, e->sinks[i]->target) ||
            !check_text(e->sinks[i]->id, 0, INDEX_EVENT_ID_BYTES_MAX) ||
            !check_text(e->sinks[i]->storage_class, 0, ID_STRING_BYTES_MAX) ||
            !check_unknown(&e->sinks[i]->base))
            return false;
    for (size_t i = 0; i < e->n_orders; i++) {
        const Cairn__EventOrder *o = e->orders[i];
        if (o->position >= keys || (i && o->position <= e->orders[i - 1]->position) ||
            o->name == CAIRN__EVENT_NAME__EVENT_NONE || (unsigned)o->name > INDEX_EVENT_NAME_MAX ||
            o->n_sinks == 0 || o->n_sinks > INDEX_EVENT_ORDER_SINKS_MAX)
            return false;
        for (size_t k = 0; k < o->n_sinks; k++)
            if (o->sinks[k] >= e->n_sinks || (k && o->sinks[k] <= o->sinks[k - 1]))
                return false;
    }
    return true;
}

/* Ascending, so that a row is named once. */
static bool ack_ok(const Cairn__AckEvents *op)
{
    if (!sink_ok(op->kind, op->target) || op->n_events == 0 ||
        op->n_events > INDEX_ACK_EVENTS_MAX || op->key.len > OBJECT_KEY_BYTES_MAX)
        return false;
    for (size_t i = 0; i < op->n_events; i++) {
        const Cairn__EventAck *e = op->events[i], *before = i ? op->events[i - 1] : NULL;
        if (e->index == 0 || e->n >= INDEX_DELETE_KEYS_MAX ||
            (unsigned)e->result > CAIRN__EVENT_RESULT__EVENT_REFUSED ||
            e->key.len > OBJECT_KEY_BYTES_MAX ||
            (before &&
             (e->index < before->index || (e->index == before->index && e->n <= before->n))))
            return false;
    }
    return true;
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
           cmd->op_case == CAIRN__COMMAND__OP_RENAME_OBJECT ||
           cmd->op_case == CAIRN__COMMAND__OP_APPEND_OBJECT ||
           cmd->op_case == CAIRN__COMMAND__OP_PUT_PART;
}

/* Of which it may order events. */
static size_t keys_of(const Cairn__Command *cmd)
{
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_DELETE_OBJECTS: return cmd->delete_objects->n_keys;
    case CAIRN__COMMAND__OP_RENAME_OBJECT: return 2;
    default: return 1;
    }
}

static bool operation_ok(const Cairn__Command *cmd, size_t body_bytes)
{
    if (!cmd->put_object || /* any member of the union: none is ever NULL once decoded */
        (unsigned)cmd->versioning > CAIRN__VERSIONING__VERSIONING_SUSPENDED ||
        !events_ok(cmd->events, keys_of(cmd)))
        return false;
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT:
        return put_ok(cmd->put_object, body_bytes) &&
               lock_ok(cmd, cmd->put_object->record, cmd->put_object->retain_ms);
    case CAIRN__COMMAND__OP_PUT_OBJECT_LOCK: return put_lock_ok(cmd, cmd->put_object_lock);
    case CAIRN__COMMAND__OP_RENAME_OBJECT: return rename_ok(cmd, cmd->rename_object, body_bytes);
    case CAIRN__COMMAND__OP_APPEND_OBJECT: return append_ok(cmd, cmd->append_object, body_bytes);
    case CAIRN__COMMAND__OP_PUT_OBJECT_ACL:
        return key_ok(cmd->put_object_acl->key) && condition_ok(cmd->put_object_acl->condition) &&
               acl_ok(cmd->put_object_acl->acl);
    case CAIRN__COMMAND__OP_PUT_OBJECT_TAGS:
        return key_ok(cmd->put_object_tags->key) && condition_ok(cmd->put_object_tags->condition) &&
               tags_ok(cmd->put_object_tags->tags, cmd->put_object_tags->n_tags);
    case CAIRN__COMMAND__OP_DELETE_OBJECT:
        return key_ok(cmd->delete_object->key) &&
               deletes_condition_ok(cmd->delete_object->condition) &&
               check_text(cmd->delete_object->owner_id, 0, ID_STRING_BYTES_MAX);
    case CAIRN__COMMAND__OP_DELETE_OBJECTS: return deletes_ok(cmd->delete_objects);
    case CAIRN__COMMAND__OP_CREATE_UPLOAD:
        return create_upload_ok(cmd->create_upload) &&
               lock_ok(cmd, cmd->create_upload->upload->object, 0);
    case CAIRN__COMMAND__OP_PUT_PART: return put_part_ok(cmd->put_part, body_bytes);
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD:
        return complete_ok(cmd->complete_upload) &&
               lock_ok(cmd, cmd->complete_upload->record, cmd->complete_upload->retain_ms);
    case CAIRN__COMMAND__OP_ABORT_UPLOAD:
        return key_ok(cmd->abort_upload->key) && cmd->abort_upload->upload_id.len == ID_BYTES;
    case CAIRN__COMMAND__OP_FENCE_BUCKET:
        return cmd->fence_bucket->bucket_id != 0 &&
               (unsigned)cmd->fence_bucket->versioning <= CAIRN__VERSIONING__VERSIONING_SUSPENDED;
    case CAIRN__COMMAND__OP_DELETION_DONE:
        return items_ok(cmd->deletion_done->items, cmd->deletion_done->n_items,
                        INDEX_DONE_ITEMS_MAX);
    case CAIRN__COMMAND__OP_EXPAND_DELETION:
        return items_ok(cmd->expand_deletion->items, cmd->expand_deletion->n_items,
                        INDEX_EXPAND_ITEMS_MAX);
    case CAIRN__COMMAND__OP_CONDEMN: return condemn_ok(cmd->condemn);
    case CAIRN__COMMAND__OP_MOVE_SEGMENT: return move_ok(cmd->move_segment);
    case CAIRN__COMMAND__OP_ACK_EVENTS: return ack_ok(cmd->ack_events);
    case CAIRN__COMMAND__OP_PRUNE_OUTCOMES: return true;
    case CAIRN__COMMAND__OP_BOOTSTRAP: return bootstrap_ok(cmd->bootstrap);
    case CAIRN__COMMAND__OP_CREATE_BUCKET: return bucket_ok(cmd->create_bucket->bucket);
    case CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET:
        return bucket_ref_ok(cmd->begin_delete_bucket->name, cmd->begin_delete_bucket->id);
    case CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET:
        return bucket_ref_ok(cmd->finish_delete_bucket->name, cmd->finish_delete_bucket->id);
    case CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET:
        return bucket_ref_ok(cmd->abort_delete_bucket->name, cmd->abort_delete_bucket->id);
    case CAIRN__COMMAND__OP_PUT_BUCKET_SETTING: return put_setting_ok(cmd->put_bucket_setting);
    case CAIRN__COMMAND__OP_BEGIN_SETTING:
        return bucket_ref_ok(cmd->begin_setting->name, cmd->begin_setting->id) &&
               setting_ok(cmd->begin_setting);
    case CAIRN__COMMAND__OP_FINISH_SETTING:
        return bucket_ref_ok(cmd->finish_setting->name, cmd->finish_setting->id);
    case CAIRN__COMMAND__OP_CHANGE_ROWS: return true; /* decided: apply_registry.c */
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

static bool bootstrap_touches(const Cairn__Bootstrap *op, const uint64_t *sorted, size_t count)
{
    uint64_t who = op->account ? keyhash_account(string_of(op->account->account_id))
                               : keyhash_user(string_of(op->root_user->user_id));
    uint64_t key = keyhash_access_key(
        string_of(op->account ? op->account_key->access_key_id : op->root_key->access_key_id));
    return touched(sorted, count, who) && touched(sorted, count, key);
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
    case CAIRN__COMMAND__OP_PUT_OBJECT_ACL:
        return touched(
            sorted, count,
            keyhash_object(cmd->put_object_acl->bucket_id, bytes_of(cmd->put_object_acl->key)));
    case CAIRN__COMMAND__OP_PUT_OBJECT_TAGS:
        return touched(
            sorted, count,
            keyhash_object(cmd->put_object_tags->bucket_id, bytes_of(cmd->put_object_tags->key)));
    case CAIRN__COMMAND__OP_PUT_OBJECT_LOCK:
        return touched(
            sorted, count,
            keyhash_object(cmd->put_object_lock->bucket_id, bytes_of(cmd->put_object_lock->key)));
    case CAIRN__COMMAND__OP_APPEND_OBJECT:
        return touched(
            sorted, count,
            keyhash_object(cmd->append_object->bucket_id, bytes_of(cmd->append_object->key)));
    case CAIRN__COMMAND__OP_RENAME_OBJECT:
        return touched(sorted, count,
                       keyhash_object(cmd->rename_object->bucket_id,
                                      bytes_of(cmd->rename_object->key))) &&
               touched(sorted, count,
                       keyhash_object(cmd->rename_object->bucket_id,
                                      bytes_of(cmd->rename_object->source)));
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
    case CAIRN__COMMAND__OP_ACK_EVENTS: /* of replication: the objects' status */
        for (size_t i = 0; i < cmd->ack_events->n_events; i++)
            if (cmd->ack_events->kind == CAIRN__SINK_KIND__SINK_REPLICATION &&
                !touched(sorted, count,
                         keyhash_object(cmd->ack_events->bucket_id,
                                        bytes_of(cmd->ack_events->events[i]->key))))
                return false;
        return true;
    case CAIRN__COMMAND__OP_BOOTSTRAP: return bootstrap_touches(cmd->bootstrap, sorted, count);
    case CAIRN__COMMAND__OP_CREATE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->create_bucket->bucket->name)));
    case CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->begin_delete_bucket->name)));
    case CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->finish_delete_bucket->name)));
    case CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->abort_delete_bucket->name)));
    case CAIRN__COMMAND__OP_PUT_BUCKET_SETTING:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->put_bucket_setting->name)));
    case CAIRN__COMMAND__OP_BEGIN_SETTING:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->begin_setting->name)));
    case CAIRN__COMMAND__OP_FINISH_SETTING:
        return touched(sorted, count, keyhash_bucket(string_of(cmd->finish_setting->name)));
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

/* Not Condemn nor AckEvents, whose bucket may be gone, nor MoveSegment: none makes anything appear
 * in a bucket or leave it. */
bool command_bucket(const Cairn__Command *cmd, uint64_t *ret_bucket_id)
{
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT: *ret_bucket_id = cmd->put_object->bucket_id; return true;
    case CAIRN__COMMAND__OP_PUT_OBJECT_ACL:
        *ret_bucket_id = cmd->put_object_acl->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_PUT_OBJECT_TAGS:
        *ret_bucket_id = cmd->put_object_tags->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_PUT_OBJECT_LOCK:
        *ret_bucket_id = cmd->put_object_lock->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_RENAME_OBJECT:
        *ret_bucket_id = cmd->rename_object->bucket_id;
        return true;
    case CAIRN__COMMAND__OP_APPEND_OBJECT:
        *ret_bucket_id = cmd->append_object->bucket_id;
        return true;
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
    case CAIRN__COMMAND__OP_PUT_OBJECT_ACL: return bytes_of(cmd->put_object_acl->key);
    case CAIRN__COMMAND__OP_PUT_OBJECT_TAGS: return bytes_of(cmd->put_object_tags->key);
    case CAIRN__COMMAND__OP_PUT_OBJECT_LOCK: return bytes_of(cmd->put_object_lock->key);
    case CAIRN__COMMAND__OP_RENAME_OBJECT: return bytes_of(cmd->rename_object->key);
    case CAIRN__COMMAND__OP_APPEND_OBJECT: return bytes_of(cmd->append_object->key);
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
    if (cmd->op_case == CAIRN__COMMAND__OP_ACK_EVENTS)
        return range_contains(start, end, cmd->ack_events->bucket_id,
                              bytes_of(cmd->ack_events->key))
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
    if (cmd->op_case == CAIRN__COMMAND__OP_RENAME_OBJECT &&
        !range_contains(start, end, bucket_id, bytes_of(cmd->rename_object->source)))
        return ERR_EPOCH;
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
