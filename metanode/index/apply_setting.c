/* PutBucketSetting: one document of a bucket's record, by kind and id.
 *
 * What a document says is the gateways' business: apply depends on none of them (that there is one
 * of object lock sets BucketRecord.object_lock), so neither the settings version nor a fence is
 * involved, and the bucket's key hash in the witness stream is what makes the change hold for the
 * next request on every gateway.  Here only the order, the number and the bytes are kept within
 * their bounds.  The record's order is that of (kind, id), so that every replica holds the same
 * bytes. */
#include "metanode/index/state.h"

#include <string.h>

static int compare(const Cairn__BucketSetting *a, const Cairn__BucketSetting *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return slice_cmp(string_of(a->id), string_of(b->id));
}

static size_t bytes_counted(const Cairn__BucketSetting *s)
{
    return s->document.len + string_of(s->id).len;
}

/* Two deleters of one bucket may be at work; whatever is set meanwhile would be lost with it, so it
 * is refused until the deletion is called off. */
int apply_put_bucket_setting(struct apply *a, const Cairn__PutBucketSetting *op)
{
    Cairn__BucketRecord *bucket;
    int err = bucket_get(a, op->name, op->id, &bucket);
    if (err || !bucket)
        return err;
    if (bucket->state != CAIRN__BUCKET_STATE__BUCKET_ACTIVE)
        return apply_decide(a, ERR_SEALED);
    /* Here the order decides which of two holds, the lock or the end of versions. */
    if (op->setting->kind == CAIRN__SETTING_KIND__SETTING_OBJECT_LOCK) {
        if (bucket->versioning != CAIRN__VERSIONING__VERSIONING_ENABLED)
            return apply_decide(a, ERR_REFUSED);
        bucket->object_lock = true; /* for good */
    }
    Cairn__BucketSetting **next =
        index_arena_alloc(a->arena, (bucket->n_settings + 1) * sizeof(Cairn__BucketSetting *));
    if (!next)
        return ERR_NOMEM;
    bool sets = op->setting->document.len != 0, placed = !sets;
    size_t n = 0, bytes = sets ? bytes_counted(op->setting) : 0;
    op->setting->changed_ms = a->h.time_ms;
    for (size_t i = 0; i < bucket->n_settings; i++) {
        int c = compare(bucket->settings[i], op->setting);
        if (c == 0) {
            a->out.existed = true;
            continue;
        }
        if (c > 0 && !placed) {
            next[n++] = op->setting;
            placed = true;
        }
        next[n++] = bucket->settings[i];
        bytes += bytes_counted(bucket->settings[i]);
    }
    if (!placed)
        next[n++] = op->setting;
    if (sets && (bytes > INDEX_SETTINGS_BYTES_MAX || n > INDEX_SETTINGS_MAX))
        return apply_decide(a, ERR_LIMIT);
    bucket->settings = next;
    bucket->n_settings = n;
    return root_put(a, TABLE_BUCKET, string_of(bucket->name), &bucket->base);
}
