/* Deleting: what DELETE means with and without a version, of one key or of many.
 *
 * Without a version, under Command.versioning
 *   OFF         the object goes;
 *   ENABLED     a delete marker becomes the current version, whatever is there, also nothing;
 *   SUSPENDED   the same, and the marker is the null version: the one that was is let go.
 * With a version: that one goes, unless it is locked (apply_lock.c).  If it was the current one,
 * the newest of the others moves to suffix 0 in the same entry, so that undoing a deletion is
 * deleting its marker.
 *
 * An entry may name a key several times (a tool that empties a bucket names every version of it),
 * and the store shows what was there before the entry.  So the ops of one key go through a `struct
 * deletion` together: it knows what they have done so far, and writes the row of suffix 0 once, at
 * the end.  Rows of older versions are removed as they are met. */
#include "metanode/index/state.h"

#include "common/base/check.h"

#include <stdlib.h>

struct deletion {
    struct apply *a;
    uint64_t bucket_id;
    struct slice key;
    char *owner_id;
    Cairn__ObjectRecord *first; /* what lies at suffix 0 in the store; NULL: the key has nothing */
    bool first_gone;            /* deleted by this entry */
    bool made;                  /* `marker` is there */
    bool is_older;              /* `older` is the newest of the older ones that are left */
    Cairn__ObjectRecord marker, *older;
    uint64_t null_version; /* where the null version is; 0: there is none */
    uint64_t *gone;        /* older versions deleted by this entry */
    size_t gone_count;
    /* NULL: the entry's own arena, which is enough for one op. */
    struct index_arena *scratch; /* of a record that is let go */
    struct index_arena *kept;    /* of `older` */
};

static struct index_arena *arena_of(struct deletion *d, struct index_arena *own)
{
    return own ? own : d->a->arena;
}

static void arena_clear(struct index_arena *own)
{
    if (own)
        index_arena_reset(own);
}

/* ops: at most so many follow. */
static int deletion_begin(struct deletion *d, size_t ops)
{
    d->gone = index_arena_alloc(d->a->arena, ops * sizeof(*d->gone));
    if (!d->gone)
        return ERR_NOMEM;
    int err = object_get(d->a, d->bucket_id, d->key, &d->first);
    if (!err && d->first)
        d->null_version = d->first->versioned ? d->first->null_at : d->first->version;
    return err;
}

static bool is_gone(const struct deletion *d, uint64_t version)
{
    for (size_t i = 0; i < d->gone_count; i++)
        if (d->gone[i] == version)
            return true;
    return false;
}

/* The version of a row behind those of suffix 0. */
static int older_row_version(struct slice row, uint64_t *ret)
{
    if (row.len < KEY_BUCKET_BYTES + 8)
        return ERR_CORRUPT;
    *ret = ~load_be64(row.ptr + row.len - 8);
    return OK;
}

/* The newest older row that this entry has not deleted: it looks at one row more than have gone. */
static int older_find(struct deletion *d)
{
    struct kv *kv = d->a->index->kv;
    struct key lower, upper;
    d->is_older = true;
    d->older = NULL;
    key_object(&lower, d->a->index->partition, d->bucket_id, d->key);
    key_bytes(&lower, SLICE("", 1)); /* behind suffix 0 */
    key_object_base(&upper, d->a->index->partition, TABLE_OBJECT, d->bucket_id, d->key);
    key_successor(&upper);
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    uint64_t version = 0;
    it->ops->seek(it, SLICE_EMPTY);
    for (; !err && it->ops->valid(it); it->ops->next(it)) {
        err = older_row_version(it->ops->key(it), &version);
        if (err || !is_gone(d, version))
            break;
    }
    if (!err && it->ops->valid(it)) {
        struct slice value = it->ops->value(it);
        struct index_arena *kept = arena_of(d, d->kept);
        arena_clear(d->kept);
        d->older = cairn__object_record__unpack(&kept->allocator, value.len, value.ptr);
        if (!d->older)
            err = kept->failed ? ERR_NOMEM : ERR_CORRUPT;
    } else if (!err) {
        err = it->ops->error(it);
    }
    it->ops->free(it);
    return err;
}

/* The current version as the ops so far have left it; *ret NULL: none. */
static int deletion_current(struct deletion *d, Cairn__ObjectRecord **ret)
{
    int err = OK;
    *ret = NULL;
    if (d->made)
        *ret = &d->marker;
    else if (d->first && !d->first_gone)
        *ret = d->first;
    else if (d->first && d->a->cmd->versioning != CAIRN__VERSIONING__VERSIONING_OFF) {
        if (!d->is_older) /* without versioning there is none (apply_fencing.c, b) */
            err = older_find(d);
        *ret = d->older;
    }
    return err;
}

static int deletion_release(struct deletion *d, const Cairn__ObjectRecord *record, bool older_row)
{
    struct index_arena *whole = d->a->arena;
    d->a->arena = arena_of(d, d->scratch); /* what is queued is packed at once */
    int err = older_row ? older_remove(d->a, d->bucket_id, d->key, record)
                        : object_release(d->a, d->bucket_id, d->key, record);
    d->a->arena = whole;
    return err;
}

/* What became of a version that was named. */
struct removal {
    bool found, marker; /* it was there; as a delete marker */
    bool locked;        /* and stays */
};

static int older_delete(struct deletion *d, uint64_t version, bool is_null, struct removal *ret)
{
    struct apply *a = d->a;
    struct index_arena *whole = a->arena;
    Cairn__ObjectRecord *record = NULL;
    if (is_gone(d, version))
        return OK;
    arena_clear(d->scratch);
    a->arena = arena_of(d, d->scratch);
    int err = older_get(a, d->bucket_id, d->key, version, &record);
    a->arena = whole;
    if (err || !record || (record->versioned != 0) == is_null)
        return err;
    ret->found = true;
    ret->marker = record->delete_marker;
    ret->locked = apply_locked(d->a, record);
    if (ret->locked)
        return OK;
    d->gone[d->gone_count++] = version;
    if (d->older && d->older->version == version) {
        d->is_older = false;
        d->older = NULL;
    }
    return deletion_release(d, record, true);
}

static int first_delete(struct deletion *d, struct removal *ret)
{
    ret->found = true;
    ret->marker = d->first->delete_marker;
    ret->locked = apply_locked(d->a, d->first);
    if (ret->locked)
        return OK;
    d->first_gone = true;
    arena_clear(d->scratch);
    return deletion_release(d, d->first, false);
}

/* Deletes the version that is named, unless it is locked. */
static int version_delete(struct deletion *d, uint64_t named, struct removal *ret)
{
    bool is_null = named == VERSION_NULL;
    uint64_t version = is_null ? d->null_version : named;
    int err = OK;
    *ret = (struct removal){0};
    if (!d->first && !d->made)
        return OK;
    if (version == VERSION_NONE)
        return OK;
    if (d->made && version == d->marker.version) {
        ret->found = ret->marker = (d->marker.versioned != 0) != is_null;
        d->made = !ret->found;
    } else if (d->first && version == d->first->version) {
        if (!d->first_gone && (d->first->versioned != 0) != is_null)
            err = first_delete(d, ret);
    } else {
        err = older_delete(d, version, is_null, ret);
    }
    if (ret->found && !ret->locked && is_null)
        d->null_version = 0;
    return err;
}

/* *ret_locked: the marker would take the place of what is locked. */
static int marker_make(struct deletion *d, bool *ret_locked)
{
    struct removal null = {0};
    bool enabled = d->a->cmd->versioning == CAIRN__VERSIONING__VERSIONING_ENABLED;
    if (d->made) /* named twice: one entry makes one version */
        return OK;
    int err = enabled ? OK : version_delete(d, VERSION_NULL, &null);
    *ret_locked = null.locked;
    if (err || null.locked)
        return err;
    cairn__object_record__init(&d->marker);
    d->marker.version = d->a->entry_index;
    d->marker.mtime_ms = d->a->h.time_ms;
    d->marker.owner_id = d->owner_id;
    d->marker.delete_marker = true;
    d->marker.versioned = enabled;
    d->made = true;
    if (!enabled)
        d->null_version = d->marker.version;
    return OK;
}

/* ---- conditions on the version that a deletion names ---- */

/* *ret: versions of the key that are newer, but no more than `enough`; `version` is an older one.
 */
static int newer_count(struct deletion *d, const Cairn__ObjectRecord *current, uint64_t version,
                       uint32_t enough, uint32_t *ret)
{
    struct kv *kv = d->a->index->kv;
    struct key lower, upper;
    /* The current one, and what this entry has pushed aside, which has no row of its own yet. */
    *ret = 1u + (d->made && d->first && !d->first_gone);
    if (*ret >= enough)
        return OK;
    key_object(&lower, d->a->index->partition, d->bucket_id, d->key);
    key_bytes(&lower, SLICE("", 1)); /* behind suffix 0 */
    key_object_older(&upper, d->a->index->partition, d->bucket_id, d->key, version);
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    it->ops->seek(it, SLICE_EMPTY);
    for (; !err && *ret < enough && it->ops->valid(it); it->ops->next(it)) {
        uint64_t newer;
        err = older_row_version(it->ops->key(it), &newer);
        *ret += !err && newer != current->version && !is_gone(d, newer);
    }
    if (!err)
        err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

/* *ret: nothing but the current version is left of the key. */
static int current_alone(struct deletion *d, const Cairn__ObjectRecord *current, bool *ret)
{
    *ret = current == d->first;
    if (!*ret || d->a->cmd->versioning == CAIRN__VERSIONING__VERSIONING_OFF)
        return OK;
    int err = d->is_older ? OK : older_find(d);
    *ret = !d->older;
    return err;
}

static int named_record(struct deletion *d, Cairn__ObjectRecord *current, uint64_t version,
                        Cairn__ObjectRecord **ret)
{
    *ret = NULL;
    if (current && current->version == version)
        *ret = current;
    else if (!is_gone(d, version))
        return older_get(d->a, d->bucket_id, d->key, version, ret);
    return OK;
}

/* *ret_decision: OK or ERR_PRECONDITION.  What is not there any more meets none of these. */
static int named_check(struct deletion *d, Cairn__ObjectRecord *current, uint64_t named,
                       const Cairn__Condition *c, int *ret_decision)
{
    uint64_t version = named == VERSION_NULL ? d->null_version : named;
    Cairn__ObjectRecord *record = NULL;
    uint32_t newer = UINT32_MAX;
    bool alone = true;
    if (!c->if_named_version && !c->if_newer_min && !c->if_alone && !c->has_if_tags)
        return OK;
    int err = named_record(d, current, version, &record);
    bool is_current = record && record == current;
    if (!err && record && c->if_newer_min && !is_current)
        err = newer_count(d, current, version, c->if_newer_min, &newer);
    if (!err && is_current && c->if_alone)
        err = current_alone(d, current, &alone);
    bool holds = record && (!c->if_named_version || c->if_named_version == version) &&
                 (!c->if_newer_min || (!is_current && newer >= c->if_newer_min)) &&
                 (!c->if_alone || (is_current && alone)) && condition_tags_hold(c, record);
    *ret_decision = holds ? OK : ERR_PRECONDITION;
    return err;
}

/* The tags asked for are those of the version that is deleted.  What is too early is so by the
 * entry's time, which no one clock makes: a gateway whose clock is wrong deletes nothing. */
static int item_check(struct deletion *d, Cairn__ObjectRecord *current, uint64_t named,
                      const Cairn__Condition *c, int *ret_decision)
{
    if (c && c->not_before_ms > d->a->h.time_ms) {
        *ret_decision = ERR_PRECONDITION;
        return OK;
    }
    if (!c || named == VERSION_NONE) {
        *ret_decision = condition_check(c, object_visible(current));
        return OK;
    }
    Cairn__Condition of_current = *c;
    of_current.has_if_tags = false;
    *ret_decision = condition_check(&of_current, object_visible(current));
    return *ret_decision ? OK : named_check(d, current, named, c, ret_decision);
}

struct delete_item {
    struct slice key;
    uint64_t version;
    const Cairn__Condition *condition;
    size_t position;
    /* what became of it */
    int decision;
    bool existed;
    uint8_t marks;
};

/* What was made or deleted is told of, each version once. */
static int deletion_note(struct deletion *d, const struct delete_item *item, bool made)
{
    bool has_id = item->version != VERSION_NONE && item->version != VERSION_NULL;
    struct event_fact fact = {.bucket_id = d->bucket_id,
                              .key = d->key,
                              .position = (uint32_t)item->position,
                              .version = made     ? d->marker.version
                                         : has_id ? item->version
                                                  : VERSION_NONE,
                              .versioned = made ? d->marker.versioned : has_id};
    return event_note(d->a, &fact, NULL);
}

static int deletion_op(struct deletion *d, struct delete_item *item)
{
    Cairn__ObjectRecord *current;
    struct removal removal = {0};
    bool off = d->a->cmd->versioning == CAIRN__VERSIONING__VERSIONING_OFF;
    item->decision = OK;
    item->existed = false;
    item->marks = 0;
    if (item->condition || item->version == VERSION_NONE) {
        int err = deletion_current(d, &current);
        if (err)
            return err;
        err = item_check(d, current, item->version, item->condition, &item->decision);
        if (err)
            return err;
        item->existed = object_visible(current) != NULL;
    }
    if (item->decision)
        return OK;
    if (item->version == VERSION_NONE && !off) {
        bool again = d->made;
        int err = marker_make(d, &removal.locked);
        item->marks = removal.locked ? 0 : DELETE_MARKER_MADE;
        item->decision = removal.locked ? ERR_LOCKED : OK;
        return err || again || removal.locked ? err : deletion_note(d, item, true);
    }
    /* Without versioning the object is the null version. */
    int err =
        version_delete(d, item->version == VERSION_NONE ? VERSION_NULL : item->version, &removal);
    item->existed = removal.found;
    item->marks = removal.marker ? DELETE_MARKER_DELETED : 0;
    item->decision = removal.locked ? ERR_LOCKED : OK;
    return err || !removal.found || removal.locked ? err : deletion_note(d, item, false);
}

/* ---- what lies at suffix 0 in the end ---- */

static int first_note(struct deletion *d, const Cairn__ObjectRecord *now)
{
    const Cairn__ObjectRecord *was = d->first;
    return interim_note(d->a, d->bucket_id, d->key, SLICE_EMPTY, 0,
                        was && interim_count(was->segments, was->n_segments),
                        now ? interim_count(now->segments, now->n_segments) : 0);
}

static int deletion_end(struct deletion *d)
{
    struct apply *a = d->a;
    struct key row;
    Cairn__ObjectRecord *now;
    int err = deletion_current(d, &now);
    if (err || (!now && !d->first))
        return err;
    key_object(&row, a->index->partition, d->bucket_id, d->key);
    if (!now) {
        apply_delete(a, &row);
        return first_note(d, NULL);
    }
    uint64_t null_at = now->versioned ? d->null_version : 0;
    if (now == d->first && now->null_at == null_at)
        return OK;
    now->null_at = null_at;
    if (now != d->first)
        err = first_note(d, now);
    if (!err && now == d->older)
        err = older_row_remove(a, d->bucket_id, d->key, now);
    if (!err && now == &d->marker && d->first && !d->first_gone)
        err = older_put(a, d->bucket_id, d->key, d->first);
    if (!err && now == &d->marker && now->versioned)
        a->out.version = now->version;
    return err ? err : apply_put_message(a, &row, &now->base);
}

/* ---- the commands ---- */

/* Ops of one key, in order. */
static int key_delete(struct apply *a, uint64_t bucket_id, char *owner_id,
                      struct delete_item *items, size_t count, struct index_arena *scratch,
                      struct index_arena *kept)
{
    struct deletion d = {.a = a,
                         .bucket_id = bucket_id,
                         .key = items[0].key,
                         .owner_id = owner_id,
                         .scratch = scratch,
                         .kept = kept};
    int err = deletion_begin(&d, count);
    for (size_t i = 0; !err && i < count; i++)
        err = deletion_op(&d, &items[i]);
    return err ? err : deletion_end(&d);
}

/* Records are decoded one at a time into arenas of their own: a thousand of a thousand segments
 * would be a hundred megabytes. */
static int items_delete(struct apply *a, uint64_t bucket_id, char *owner_id,
                        struct delete_item *items, size_t count)
{
    struct index_arena records, scratch, kept, *whole = a->arena;
    index_arena_init(&records);
    index_arena_init(&scratch);
    index_arena_init(&kept);
    a->arena = &records;
    int err = OK;
    for (size_t i = 0, n; !err && i < count; i += n) {
        for (n = 1; i + n < count && slice_eq(items[i + n].key, items[i].key);)
            n++;
        index_arena_reset(&records);
        err = key_delete(a, bucket_id, owner_id, &items[i], n, &scratch, &kept);
    }
    a->arena = whole;
    index_arena_fini(&records);
    index_arena_fini(&scratch);
    index_arena_fini(&kept);
    return err;
}

int apply_delete_object(struct apply *a, const Cairn__DeleteObject *op)
{
    struct delete_item item = {
        .key = bytes_of(op->key), .version = op->version, .condition = op->condition};
    int err = key_delete(a, op->bucket_id, op->owner_id, &item, 1, NULL, NULL);
    a->out.existed = item.existed;
    a->out.marks = item.marks;
    return err ? err : apply_decide(a, item.decision);
}

static int compare_items(const void *x, const void *y)
{
    const struct delete_item *a = x, *b = y;
    int c = slice_cmp(a->key, b->key);
    return c ? c : (a->position > b->position) - (a->position < b->position);
}

static int deletes_answer(struct apply *a, const struct delete_item *items, size_t count)
{
    int32_t *errs = index_arena_alloc(a->arena, count * sizeof(*errs));
    uint8_t *marks = index_arena_alloc(a->arena, count);
    bool any_err = false, any_mark = false;
    if (!errs || !marks)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        errs[items[i].position] = items[i].decision;
        marks[items[i].position] = items[i].marks;
        any_err |= items[i].decision != OK;
        any_mark |= items[i].marks != 0;
        a->out.existed |= items[i].existed && !items[i].decision;
    }
    a->out.key_errs = errs;
    a->out.n_key_errs = any_err ? count : 0;
    a->out.key_marks = (ProtobufCBinaryData){any_mark ? count : 0, marks};
    return OK;
}

/* A key may be named several times: equal ones come together in the order of the request, and a
 * later one finds what the earlier ones left. */
int apply_delete_objects(struct apply *a, const Cairn__DeleteObjects *op)
{
    struct delete_item *items = index_arena_alloc(a->arena, op->n_keys * sizeof(*items));
    if (!items)
        return ERR_NOMEM;
    for (size_t i = 0; i < op->n_keys; i++)
        items[i] = (struct delete_item){
            .key = bytes_of(op->keys[i]),
            .version = op->n_versions ? op->versions[i] : VERSION_NONE,
            .condition = op->n_conditions ? op->conditions[i] : NULL,
            .position = i,
        };
    qsort(items, op->n_keys, sizeof(*items), compare_items);
    int err = items_delete(a, op->bucket_id, op->owner_id, items, op->n_keys);
    return err ? err : deletes_answer(a, items, op->n_keys);
}
