/* Objects: put, conditions, and the fence of a bucket.  Versions: apply_version.c.
 *
 * A version has one row, and its inline data another, in the family of bodies, named by the
 * version, so that a body belongs to exactly one record. */
#include "metanode/index/state.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

enum { MS_PER_SECOND = 1000, FENCE_ROW_BYTES = 8 + 1 };
enum { FENCE_SEALED = 1, FENCE_VERSIONED = 2 }; /* the row's last byte */
_Static_assert(FENCE_ROW_BYTES == 9, "docs/formats/index.md");

/* ---- fences ---- */

static int fence_load(struct apply *a, uint64_t bucket_id, struct fence_memo *ret)
{
    struct key key;
    struct slice value;
    key_table_be64(&key, a->index->partition, TABLE_FENCE, bucket_id);
    int err = apply_get(a, &key, &value);
    if (err && err != ERR_NOT_FOUND)
        return err;
    if (!err && (value.len != FENCE_ROW_BYTES || value.ptr[8] > (FENCE_SEALED | FENCE_VERSIONED)))
        return ERR_CORRUPT;
    *ret = (struct fence_memo){.known = true, .bucket_id = bucket_id};
    if (!err) {
        ret->version = load_be64(value.ptr);
        ret->sealed = value.ptr[8] & FENCE_SEALED;
        ret->versioned = value.ptr[8] & FENCE_VERSIONED;
    }
    return OK;
}

static int fence_get(struct apply *a, uint64_t bucket_id, struct fence_memo *ret)
{
    struct fence_memo *memo = &a->index->fence;
    int err = memo->known && memo->bucket_id == bucket_id ? OK : fence_load(a, bucket_id, memo);
    *ret = *memo;
    return err;
}

static void fence_put(struct apply *a, const struct fence_memo *fence)
{
    struct key key;
    uint8_t row[FENCE_ROW_BYTES];
    for (int i = 0; i < 8; i++)
        row[i] = (uint8_t)(fence->version >> (56 - 8 * i));
    row[8] =
        (uint8_t)((fence->sealed ? FENCE_SEALED : 0) | (fence->versioned ? FENCE_VERSIONED : 0));
    key_table_be64(&key, a->index->partition, TABLE_FENCE, fence->bucket_id);
    apply_put(a, &key, SLICE(row, sizeof(row)));
    a->index->fence.known = false; /* whether or not the entry's batch is written */
}

/* The first entry that assumes versioning fences its partition itself: none that assumes OFF comes
 * after it (apply_fencing.c, b).  A newer settings version also proves that a seal was lifted. */
static void fence_raise(struct apply *a, struct fence_memo *fence)
{
    if (fence->versioned)
        return;
    fence->versioned = true;
    fence->sealed = false;
    fence->version = a->cmd->settings_version;
    fence_put(a, fence);
}

int apply_fence_check(struct apply *a, uint64_t bucket_id)
{
    struct fence_memo fence;
    bool off = a->cmd->versioning == CAIRN__VERSIONING__VERSIONING_OFF;
    int err = fence_get(a, bucket_id, &fence);
    if (err)
        return err;
    if (a->cmd->settings_version < fence.version || (off && fence.versioned))
        a->out.err = ERR_SETTINGS;
    else if (fence.sealed && a->cmd->settings_version == fence.version && !MUTANT(SEAL_IGNORED))
        a->out.err = ERR_SEALED;
    a->out.settings_version = a->out.err ? fence.version : 0;
    if (!a->out.err && !off)
        fence_raise(a, &fence);
    return OK;
}

/* *ret: the table has a row of the bucket. */
static int bucket_has_row(struct apply *a, enum index_table table, uint64_t bucket_id, bool *ret)
{
    struct kv *kv = a->index->kv;
    struct key lower, upper;
    key_table_be64(&lower, a->index->partition, table, bucket_id);
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    *ret = it->ops->valid(it);
    int err = *ret ? OK : it->ops->error(it);
    it->ops->free(it);
    return err;
}

/* A fence never goes back: an older one that arrives late changes nothing, and at the same version
 * it can only become sealed.  Why a bucket's deletion is safe: apply_root.c; a change of its
 * settings: apply_fencing.c. */
int apply_fence_bucket(struct apply *a, const Cairn__FenceBucket *op)
{
    struct fence_memo fence;
    bool objects = false, uploads = false;
    int err = fence_get(a, op->bucket_id, &fence);
    if (err)
        return err;
    if (op->settings_version < fence.version) {
        a->out.settings_version = fence.version;
        return apply_decide(a, ERR_SETTINGS);
    }
    fence.sealed = op->sealed || (fence.sealed && op->settings_version == fence.version);
    fence.versioned |= op->versioning != CAIRN__VERSIONING__VERSIONING_OFF;
    fence.version = op->settings_version;
    fence_put(a, &fence);
    a->out.settings_version = op->settings_version;
    err = bucket_has_row(a, TABLE_OBJECT, op->bucket_id, &objects);
    if (!err)
        err = bucket_has_row(a, TABLE_UPLOAD, op->bucket_id, &uploads);
    a->out.empty = !objects && !uploads;
    return err;
}

/* ---- records ---- */

int object_get(struct apply *a, uint64_t bucket_id, struct slice key, Cairn__ObjectRecord **ret)
{
    struct key row;
    ProtobufCMessage *message = NULL;
    key_object(&row, a->index->partition, bucket_id, key);
    int err = apply_get_message(a, &row, &cairn__object_record__descriptor, &message);
    if (err && err != ERR_NOT_FOUND)
        return err;
    *ret = err ? NULL : (Cairn__ObjectRecord *)(void *)message;
    return OK;
}

int object_release(struct apply *a, uint64_t bucket_id, struct slice key,
                   const Cairn__ObjectRecord *record)
{
    struct key row;
    if (apply_locked(a, record))
        return apply_decide(a, ERR_LOCKED);
    switch (record->kind) {
    case CAIRN__DATA_KIND__DATA_INLINE:
        if (record->size) {
            key_object_body(&row, a->index->partition, bucket_id, key, record->version);
            kv_batch_delete(a->batch, KV_BODY, key_view(&row));
        }
        return OK;
    case CAIRN__DATA_KIND__DATA_SEGMENTS:
        return deletion_queue_segments(a, record->segments, record->n_segments);
    case CAIRN__DATA_KIND__DATA_MANIFEST:
        if (record->manifest_id.len != ID_BYTES)
            return ERR_CORRUPT;
        /* The manifest stays readable until its parts go: for reads in flight. */
        return deletion_queue_upload(a, bucket_id, key, bytes_of(record->manifest_id));
    default: return ERR_CORRUPT;
    }
}

static bool any_equals(char *const *etags, size_t count, const char *etag)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq(string_of(etags[i]), string_of(etag)))
            return true;
    return false;
}

bool condition_tags_hold(const Cairn__Condition *c, const Cairn__ObjectRecord *record)
{
    if (!c->has_if_tags)
        return true;
    if (c->n_if_tags != record->n_tags)
        return false;
    for (size_t i = 0; i < record->n_tags; i++)
        if (!slice_eq(string_of(c->if_tags[i]->name), string_of(record->tags[i]->name)) ||
            !slice_eq(string_of(c->if_tags[i]->value), string_of(record->tags[i]->value)))
            return false;
    return true;
}

int condition_check(const Cairn__Condition *c, const Cairn__ObjectRecord *current)
{
    if (!c)
        return OK;
    bool wants_present = c->if_present || c->n_if_match || c->if_version || c->has_if_size ||
                         c->has_if_mtime || c->has_if_tags;
    if (!current)
        return wants_present ? ERR_PRECONDITION : OK;
    bool holds =
        !c->if_absent &&
        (!c->n_if_match || any_equals(c->if_match, c->n_if_match, current->etag)) &&
        !any_equals(c->if_none_match, c->n_if_none_match, current->etag) &&
        (!c->if_version || c->if_version == current->version) &&
        (!c->has_if_size || c->if_size == current->size) &&
        (!c->has_if_mtime || c->if_mtime_ms / MS_PER_SECOND == current->mtime_ms / MS_PER_SECOND) &&
        condition_tags_hold(c, current);
    return holds ? OK : ERR_PRECONDITION;
}

/* ---- put ---- */

int apply_put_object(struct apply *a, const Cairn__PutObject *op)
{
    struct slice key = bytes_of(op->key);
    Cairn__ObjectRecord *old;
    int err = object_get(a, op->bucket_id, key, &old);
    if (err)
        return err;
    a->out.existed = object_visible(old) != NULL;
    int decision = condition_check(op->condition, object_visible(old));
    if (decision)
        return apply_decide(a, decision);
    op->record->delete_marker = false;
    err = object_replace(a, op->bucket_id, key, old, op->record, op->retain_ms);
    if (err || a->out.err)
        return err;
    if (a->body.len) {
        struct key row;
        key_object_body(&row, a->index->partition, op->bucket_id, key, a->entry_index);
        kv_batch_put(a->batch, KV_BODY, key_view(&row), a->body);
    }
    a->out.etag = op->record->etag;
    a->out.size = op->record->size;
    return OK;
}

/* ---- tags ---- */

/* What describes the object's data stays, `version` too: bodies are named by it, and conditions and
 * listings must say what they said.  As with MoveSegment, which of two readers' records is newer
 * only their as_of tells. */
static int described_find(struct apply *a, uint64_t bucket_id, struct slice key, uint64_t version,
                          const Cairn__Condition *condition, Cairn__ObjectRecord **ret,
                          struct key *ret_row)
{
    int err = version_find(a, bucket_id, key, version, ret, ret_row);
    if (err)
        return err;
    if (!*ret || (*ret)->delete_marker) {
        *ret = NULL;
        return apply_decide(a, ERR_NOT_FOUND);
    }
    a->out.existed = true;
    int decision = condition_check(condition, *ret);
    if (decision)
        *ret = NULL;
    return decision ? apply_decide(a, decision) : OK;
}

static int described_put(struct apply *a, uint64_t bucket_id, struct slice key,
                         const struct key *row, const Cairn__ObjectRecord *record)
{
    struct event_fact fact = {.bucket_id = bucket_id,
                              .key = key,
                              .version = record->version,
                              .versioned = record->versioned,
                              .size = record->size,
                              .etag = record->etag};
    int err = apply_put_message(a, row, &record->base);
    return err ? err : event_note(a, &fact, NULL);
}

int apply_put_object_tags(struct apply *a, const Cairn__PutObjectTags *op)
{
    Cairn__ObjectRecord *record;
    struct key row;
    int err = described_find(a, op->bucket_id, bytes_of(op->key), op->version, op->condition,
                             &record, &row);
    if (err || !record)
        return err;
    record->tags = op->tags;
    record->n_tags = op->n_tags;
    return described_put(a, op->bucket_id, bytes_of(op->key), &row, record);
}

int apply_put_object_acl(struct apply *a, const Cairn__PutObjectAcl *op)
{
    Cairn__ObjectRecord *record;
    struct key row;
    int err = described_find(a, op->bucket_id, bytes_of(op->key), op->version, op->condition,
                             &record, &row);
    if (err || !record)
        return err;
    record->acl = op->acl;
    return described_put(a, op->bucket_id, bytes_of(op->key), &row, record);
}
