/* RenameObject: one entry puts the object under its new key and takes the old one away.
 *
 * The data have been copied to blobs under the new key before (gateway/op/copy_object.c): a storage
 * node asks about a blob under the key that it was written for, so a record at another key that
 * named the old blobs would not be found, and they would be condemned.  The command says which
 * version of the source was copied; if another one lies there by now, nothing happens.
 *
 * Everything that describes the object is the source's as this entry finds it, not as the gateway
 * read it: tags and ACLs change without a new version.  Its time of modification stays.
 *
 * Only where no versions are kept (command_validate): there a record has one row, and no locks. */
#include "metanode/index/state.h"

#include "common/base/check.h"

static void describe(Cairn__ObjectRecord *record, const Cairn__ObjectRecord *source)
{
    record->delete_marker = false;
    record->content_type = source->content_type;
    record->content_encoding = source->content_encoding;
    record->content_disposition = source->content_disposition;
    record->content_language = source->content_language;
    record->cache_control = source->cache_control;
    record->expires = source->expires;
    record->user_metadata = source->user_metadata;
    record->n_user_metadata = source->n_user_metadata;
    record->owner_id = source->owner_id;
    record->storage_class = source->storage_class;
    record->website_redirect = source->website_redirect;
    record->acl = source->acl;
    record->tags = source->tags;
    record->n_tags = source->n_tags;
}

static int source_remove(struct apply *a, const Cairn__RenameObject *op,
                         const Cairn__ObjectRecord *source)
{
    struct slice key = bytes_of(op->source);
    struct key row;
    struct event_fact fact = {.bucket_id = op->bucket_id, .key = key, .position = 1};
    int err = object_release(a, op->bucket_id, key, source);
    if (err || a->out.err)
        return err;
    key_object(&row, a->index->partition, op->bucket_id, key);
    apply_delete(a, &row);
    err = interim_note(a, op->bucket_id, key, SLICE_EMPTY, 0,
                       interim_count(source->segments, source->n_segments), 0);
    return err ? err : event_note(a, &fact, NULL);
}

static int target_put(struct apply *a, const Cairn__RenameObject *op, Cairn__ObjectRecord *old,
                      uint64_t mtime_ms)
{
    struct slice key = bytes_of(op->key);
    struct key row;
    int err = object_replace(a, op->bucket_id, key, old, op->record, 0);
    if (err || a->out.err)
        return err;
    op->record->mtime_ms = mtime_ms;
    key_object(&row, a->index->partition, op->bucket_id, key);
    err = apply_put_message(a, &row, &op->record->base);
    if (!err && a->body.len) {
        key_object_body(&row, a->index->partition, op->bucket_id, key, a->entry_index);
        kv_batch_put(a->batch, KV_BODY, key_view(&row), a->body);
    }
    return err;
}

int apply_rename_object(struct apply *a, const Cairn__RenameObject *op)
{
    Cairn__ObjectRecord *source, *old;
    CHECK(a->cmd->versioning == CAIRN__VERSIONING__VERSIONING_OFF);
    int err = object_get(a, op->bucket_id, bytes_of(op->source), &source);
    if (!err)
        err = object_get(a, op->bucket_id, bytes_of(op->key), &old);
    if (err)
        return err;
    a->out.existed = object_visible(old) != NULL;
    if (!object_visible(source) || source->version != op->source_version)
        return apply_decide(a, ERR_NOT_FOUND);
    if (source->size != op->record->size)
        return apply_decide(a, ERR_REFUSED); /* not a copy of it */
    int decision = condition_check(op->condition, object_visible(old));
    if (decision)
        return apply_decide(a, decision);
    describe(op->record, source);
    err = target_put(a, op, old, source->mtime_ms);
    if (!err && !a->out.err)
        err = source_remove(a, op, source);
    a->out.etag = op->record->etag;
    a->out.size = op->record->size;
    return err;
}
