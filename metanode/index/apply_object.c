/* Objects: put, delete, many deletes, conditions, and the fence of a bucket.
 *
 * An object has one row, its current version, and its inline data another, in the family of bodies,
 * named by the version, so that a body belongs to exactly one record. */
#include "metanode/index/state.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#include <stdlib.h>

enum { MS_PER_SECOND = 1000, FENCE_ROW_BYTES = 8 + 1 };
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
    if (!err && (value.len != FENCE_ROW_BYTES || value.ptr[8] > 1))
        return ERR_CORRUPT;
    *ret = (struct fence_memo){.known = true, .bucket_id = bucket_id};
    if (!err) {
        ret->version = load_be64(value.ptr);
        ret->sealed = value.ptr[8];
    }
    return OK;
}

static int fence_get(struct apply *a, uint64_t bucket_id, uint64_t *ret_version, bool *ret_sealed)
{
    struct fence_memo *memo = &a->index->fence;
    int err = memo->known && memo->bucket_id == bucket_id ? OK : fence_load(a, bucket_id, memo);
    if (err)
        return err;
    *ret_version = memo->version;
    *ret_sealed = memo->sealed;
    return OK;
}

int apply_fence_check(struct apply *a, uint64_t bucket_id)
{
    uint64_t version;
    bool sealed;
    int err = fence_get(a, bucket_id, &version, &sealed);
    if (err)
        return err;
    if (a->cmd->settings_version < version)
        a->out.err = ERR_SETTINGS;
    else if (sealed && a->cmd->settings_version == version && !MUTANT(SEAL_IGNORED))
        a->out.err = ERR_SEALED;
    a->out.settings_version = a->out.err ? version : 0;
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
 * it can only become sealed.  Why a bucket's deletion is safe: apply_root.c. */
int apply_fence_bucket(struct apply *a, const Cairn__FenceBucket *op)
{
    uint64_t version;
    bool sealed, objects = false, uploads = false;
    int err = fence_get(a, op->bucket_id, &version, &sealed);
    if (err)
        return err;
    if (op->settings_version < version) {
        a->out.settings_version = version;
        return apply_decide(a, ERR_SETTINGS);
    }
    sealed = op->sealed || (sealed && op->settings_version == version);
    struct key key;
    uint8_t row[FENCE_ROW_BYTES];
    for (int i = 0; i < 8; i++)
        row[i] = (uint8_t)(op->settings_version >> (56 - 8 * i));
    row[8] = sealed;
    key_table_be64(&key, a->index->partition, TABLE_FENCE, op->bucket_id);
    apply_put(a, &key, SLICE(row, sizeof(row)));
    a->index->fence.known = false;
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

int condition_check(const Cairn__Condition *c, const Cairn__ObjectRecord *current)
{
    if (!c)
        return OK;
    bool wants_present =
        c->if_present || c->n_if_match || c->if_version || c->has_if_size || c->has_if_mtime;
    if (!current)
        return wants_present ? ERR_PRECONDITION : OK;
    bool holds =
        !c->if_absent &&
        (!c->n_if_match || any_equals(c->if_match, c->n_if_match, current->etag)) &&
        !any_equals(c->if_none_match, c->n_if_none_match, current->etag) &&
        (!c->if_version || c->if_version == current->version) &&
        (!c->has_if_size || c->if_size == current->size) &&
        (!c->has_if_mtime || c->if_mtime_ms / MS_PER_SECOND == current->mtime_ms / MS_PER_SECOND);
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
    a->out.existed = old != NULL;
    int decision = condition_check(op->condition, old);
    if (decision)
        return apply_decide(a, decision);
    err = old ? object_release(a, op->bucket_id, key, old) : OK;
    if (err)
        return err;

    op->record->version = a->entry_index;
    op->record->mtime_ms = a->h.time_ms;
    struct key row;
    key_object(&row, a->index->partition, op->bucket_id, key);
    err = apply_put_message(a, &row, &op->record->base);
    if (!err && a->body.len) {
        key_object_body(&row, a->index->partition, op->bucket_id, key, a->entry_index);
        kv_batch_put(a->batch, KV_BODY, key_view(&row), a->body);
    }
    a->out.etag = op->record->etag;
    a->out.size = op->record->size;
    return err;
}

/* ---- delete ---- */

static int object_delete(struct apply *a, uint64_t bucket_id, struct slice key,
                         const Cairn__ObjectRecord *old)
{
    struct key row;
    key_object(&row, a->index->partition, bucket_id, key);
    apply_delete(a, &row);
    return object_release(a, bucket_id, key, old);
}

int apply_delete_object(struct apply *a, const Cairn__DeleteObject *op)
{
    Cairn__ObjectRecord *old;
    int err = object_get(a, op->bucket_id, bytes_of(op->key), &old);
    if (err)
        return err;
    a->out.existed = old != NULL;
    int decision = condition_check(op->condition, old);
    if (decision)
        return apply_decide(a, decision);
    return old ? object_delete(a, op->bucket_id, bytes_of(op->key), old) : OK;
}

struct delete_item {
    struct slice key;
    size_t position;
};

static int compare_items(const void *x, const void *y)
{
    const struct delete_item *a = x, *b = y;
    int c = slice_cmp(a->key, b->key);
    return c ? c : (a->position > b->position) - (a->position < b->position);
}

/* A key may be named twice: equal ones come together in the order of the request, and the later one
 * finds what the earlier one left. */
static int delete_sorted(struct apply *a, const Cairn__DeleteObjects *op,
                         const struct delete_item *items, int32_t *ret_errs)
{
    Cairn__ObjectRecord *old = NULL;
    for (size_t i = 0; i < op->n_keys; i++) {
        if (i == 0 || !slice_eq(items[i].key, items[i - 1].key)) {
            index_arena_reset(a->arena);
            int err = object_get(a, op->bucket_id, items[i].key, &old);
            if (err)
                return err;
        }
        size_t position = items[i].position;
        ret_errs[position] = op->n_conditions ? condition_check(op->conditions[position], old) : OK;
        if (ret_errs[position] || !old)
            continue;
        int err = object_delete(a, op->bucket_id, items[i].key, old);
        if (err)
            return err;
        a->out.existed = true;
        old = NULL;
    }
    return OK;
}

int apply_delete_objects(struct apply *a, const Cairn__DeleteObjects *op)
{
    struct delete_item *items = index_arena_alloc(a->arena, op->n_keys * sizeof(*items));
    int32_t *errs = index_arena_alloc(a->arena, op->n_keys * sizeof(*errs));
    if (!items || !errs)
        return ERR_NOMEM;
    for (size_t i = 0; i < op->n_keys; i++)
        items[i] = (struct delete_item){bytes_of(op->keys[i]), i};
    qsort(items, op->n_keys, sizeof(*items), compare_items);
    /* Records are decoded one at a time into an arena of their own: a thousand of a thousand
     * segments would be a hundred megabytes. */
    struct index_arena records, *whole = a->arena;
    index_arena_init(&records);
    a->arena = &records;
    int err = delete_sorted(a, op, items, errs);
    a->arena = whole;
    index_arena_fini(&records);
    for (size_t i = 0; !err && i < op->n_keys; i++)
        if (errs[i]) {
            a->out.key_errs = errs;
            a->out.n_key_errs = op->n_keys;
        }
    return err;
}
