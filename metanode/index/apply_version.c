/* The versions of one key.
 *
 *   suffix 0          the current version: an object, or a delete marker
 *   suffix ~version   older ones, newest first
 *
 * There are older ones only where there is a current one.  At most one of them all is the *null
 * version* (ObjectRecord.versioned is false): what was made while versioning was not enabled.  If
 * it is not the current one, the current row says where it lies (null_at), so that nobody searches.
 *
 * A new record under Command.versioning
 *   OFF         takes the place of what is there, which is let go;
 *   ENABLED     pushes what is there to its own suffix;
 *   SUSPENDED   is the null version: the one that was, wherever it lies, is let go; anything else
 * at suffix 0 is pushed to its own. Bodies are named by version and stay where they are.  So do the
 * manifest and the parts that a record refers to.
 *
 * OFF costs nothing that it did not before there were versions: one read, one row.  It needs not
 * ask whether there are older rows: there are none.  An entry that assumes anything else raises the
 * fence of its bucket in its partition for ever (apply_fence_check), after which OFF is refused. */
#include "metanode/index/state.h"

#include "common/base/check.h"

int older_get(struct apply *a, uint64_t bucket_id, struct slice key, uint64_t version,
              Cairn__ObjectRecord **ret)
{
    struct key row;
    ProtobufCMessage *message = NULL;
    *ret = NULL;
    if (version == VERSION_NONE || version == VERSION_NULL)
        return OK;
    key_object_older(&row, a->index->partition, bucket_id, key, version);
    int err = apply_get_message(a, &row, &cairn__object_record__descriptor, &message);
    if (err && err != ERR_NOT_FOUND)
        return err;
    *ret = err ? NULL : (Cairn__ObjectRecord *)(void *)message;
    return *ret && (*ret)->version != version ? ERR_CORRUPT : OK;
}

static int older_note(struct apply *a, uint64_t bucket_id, struct slice key,
                      const Cairn__ObjectRecord *record, bool is_there)
{
    uint8_t id[ID_BYTES];
    uint32_t interim = interim_count(record->segments, record->n_segments);
    key_interim_id(record->version, id);
    return interim_note(a, bucket_id, key, SLICE(id, ID_BYTES), 0, interim > 0 && !is_there,
                        is_there ? interim : 0);
}

int older_put(struct apply *a, uint64_t bucket_id, struct slice key, Cairn__ObjectRecord *record)
{
    struct key row;
    record->null_at = 0;
    key_object_older(&row, a->index->partition, bucket_id, key, record->version);
    int err = apply_put_message(a, &row, &record->base);
    return err ? err : older_note(a, bucket_id, key, record, true);
}

int older_row_remove(struct apply *a, uint64_t bucket_id, struct slice key,
                     const Cairn__ObjectRecord *record)
{
    struct key row;
    key_object_older(&row, a->index->partition, bucket_id, key, record->version);
    apply_delete(a, &row);
    return older_note(a, bucket_id, key, record, false);
}

int older_remove(struct apply *a, uint64_t bucket_id, struct slice key,
                 const Cairn__ObjectRecord *record)
{
    int err = older_row_remove(a, bucket_id, key, record);
    return err ? err : object_release(a, bucket_id, key, record);
}

/* The older null version, which another one replaces. */
static int null_remove(struct apply *a, uint64_t bucket_id, struct slice key, uint64_t version)
{
    Cairn__ObjectRecord *record;
    int err = version ? older_get(a, bucket_id, key, version, &record) : OK;
    if (err || !version)
        return err;
    return record ? older_remove(a, bucket_id, key, record) : ERR_CORRUPT;
}

int version_find(struct apply *a, uint64_t bucket_id, struct slice key, uint64_t version,
                 Cairn__ObjectRecord **ret, struct key *ret_row)
{
    Cairn__ObjectRecord *current;
    *ret = NULL;
    int err = object_get(a, bucket_id, key, &current);
    if (err || !current)
        return err;
    bool is_null = version == VERSION_NULL;
    if (version == VERSION_NONE ||
        (is_null ? !current->versioned : current->versioned && current->version == version)) {
        key_object(ret_row, a->index->partition, bucket_id, key);
        *ret = current;
        return OK;
    }
    err = older_get(a, bucket_id, key, is_null ? current->null_at : version, ret);
    if (!err && *ret && (*ret)->versioned == is_null)
        *ret = NULL;
    if (!err && *ret)
        key_object_older(ret_row, a->index->partition, bucket_id, key, (*ret)->version);
    return err;
}

int object_replace(struct apply *a, uint64_t bucket_id, struct slice key, Cairn__ObjectRecord *old,
                   Cairn__ObjectRecord *record, uint64_t retain_ms)
{
    bool enabled = a->cmd->versioning == CAIRN__VERSIONING__VERSIONING_ENABLED;
    int err = OK;
    if (retain_ms)
        record->retain_until_ms = a->h.time_ms + retain_ms;
    record->version = a->entry_index;
    record->mtime_ms = a->h.time_ms;
    record->versioned = enabled;
    record->null_at = 0;
    if (old && enabled)
        record->null_at = old->versioned ? old->null_at : old->version;
    else if (old && old->versioned)
        err = null_remove(a, bucket_id, key, old->null_at);
    if (err || a->out.err)
        return err;
    struct event_fact fact = {.bucket_id = bucket_id,
                              .key = key,
                              .version = record->version,
                              .versioned = enabled,
                              .size = record->size,
                              .etag = record->etag};
    err = event_note(a, &fact, &record->replication);
    if (err)
        return err;
    bool had = old && interim_count(old->segments, old->n_segments);
    if (old)
        err = enabled || old->versioned ? older_put(a, bucket_id, key, old)
                                        : object_release(a, bucket_id, key, old);
    if (!err)
        err = interim_note(a, bucket_id, key, SLICE_EMPTY, 0, had,
                           interim_count(record->segments, record->n_segments));
    if (err || a->out.err)
        return err;
    struct key row;
    key_object(&row, a->index->partition, bucket_id, key);
    a->out.version = enabled ? record->version : 0;
    return apply_put_message(a, &row, &record->base);
}
