/* What of a page is deleted, and under which conditions. */
#include "gateway/work/lifecycle_internal.h"

#include "common/base/check.h"

/* ---- one entry ---- */

static bool is_within(const struct lifecycle_place *p, const Cairn__ListEntry *e)
{
    return !p->past && slice_eq(buf_view(&p->key), bytes_of(e->key));
}

/* A delete marker at the end of a page may be alone or not: the index knows. */
static bool may_be_alone(const Cairn__ListEntry *const *entries, size_t count, size_t at)
{
    return at + 1 == count || !slice_eq(bytes_of(entries[at + 1]->key), bytes_of(entries[at]->key));
}

/* What was met of the key before this version; then the place is behind it. */
static void place_enter(struct lifecycle_place *p, const Cairn__ListEntry *e)
{
    if (is_within(p, e) && !e->is_latest)
        return;
    lifecycle_place_clear(p);
    buf_slice(&p->key, bytes_of(e->key));
}

static void place_pass(struct lifecycle_place *p, const Cairn__ListEntry *e)
{
    p->newer_noncurrent += !e->is_latest;
    p->newer_ms = e->mtime_ms;
    p->version = e->version;
}

/* ---- conditions ---- */

static Cairn__Pair **tags_copy(struct arena *arena, const Cairn__ListEntry *e)
{
    Cairn__Pair **pairs = arena_alloc(arena, (e->n_tags + 1) * sizeof(Cairn__Pair *));
    for (size_t i = 0; pairs && i < e->n_tags; i++)
        pairs[i] = e->tags[i];
    return pairs;
}

static size_t tags_bytes(const Cairn__ListEntry *e)
{
    size_t bytes = 0;
    for (size_t i = 0; i < e->n_tags; i++)
        bytes += 16 + strlen(e->tags[i]->name) + strlen(e->tags[i]->value);
    return bytes;
}

static bool condition_fill(struct lifecycle_batch *b, Cairn__Condition *c,
                           const Cairn__ListEntry *e, enum s3_lifecycle_action action,
                           const struct s3_lifecycle_verdict *v)
{
    cairn__condition__init(c);
    c->not_before_ms = v->due_ms;
    switch (action) {
    case S3_LIFECYCLE_EXPIRE: c->if_version = e->version; break;
    case S3_LIFECYCLE_DELETE_VERSION:
        c->if_named_version = e->version;
        c->if_newer_min = v->rule->newer_kept + 1;
        break;
    default:
        CHECK(action == S3_LIFECYCLE_DELETE_MARKER);
        c->if_named_version = e->version;
        c->if_alone = true;
    }
    if (v->rule->tags.count == 0)
        return true;
    c->has_if_tags = true;
    c->n_if_tags = e->n_tags;
    c->if_tags = tags_copy(&b->arena, e);
    b->bytes += tags_bytes(e);
    return c->if_tags != NULL;
}

/* ---- the batch ---- */

static bool batch_begin(struct lifecycle_batch *b, uint64_t bucket_id)
{
    arena_reset(&b->arena);
    b->bytes = b->looked = 0;
    b->has_versions = false;
    cairn__delete_objects__init(&b->command);
    b->command.bucket_id = bucket_id;
    b->command.keys = arena_alloc(&b->arena, LIFECYCLE_PAGE * sizeof(*b->command.keys));
    b->command.versions = arena_alloc(&b->arena, LIFECYCLE_PAGE * sizeof(*b->command.versions));
    b->command.conditions = arena_alloc(&b->arena, LIFECYCLE_PAGE * sizeof(*b->command.conditions));
    return b->command.keys && b->command.versions && b->command.conditions;
}

static int batch_add(struct lifecycle_batch *b, const Cairn__ListEntry *e,
                     enum s3_lifecycle_action action, const struct s3_lifecycle_verdict *v)
{
    size_t at = b->command.n_keys;
    Cairn__Condition *c = arena_alloc(&b->arena, sizeof(*c));
    if (!c || !condition_fill(b, c, e, action, v))
        return ERR_NOMEM;
    b->actions[at] = (uint8_t)action;
    b->command.keys[at] = e->key;
    b->command.conditions[at] = c;
    b->command.versions[at] = action == S3_LIFECYCLE_EXPIRE ? VERSION_NONE
                              : e->versioned                ? e->version
                                                            : VERSION_NULL;
    b->has_versions |= action != S3_LIFECYCLE_EXPIRE;
    b->bytes += e->key.len + 64;
    b->command.n_keys++;
    return OK;
}

static enum s3_lifecycle_action judge(struct lifecycle_batch *b, const struct s3_lifecycle *rules,
                                      const Cairn__ListEntry *e, bool alone, uint64_t now_ms,
                                      uint64_t day_ms, const struct lifecycle_place *p,
                                      struct s3_lifecycle_verdict *ret)
{
    struct s3_lifecycle_object o = {
        .key = bytes_of(e->key),
        .size = e->size,
        .mtime_ms = e->mtime_ms,
        .is_latest = e->is_latest,
        .delete_marker = e->delete_marker,
        .alone = alone,
        .noncurrent_ms = p->newer_ms,
        .newer_noncurrent = p->newer_noncurrent,
    };
    if (!e->is_latest && p->newer_ms == 0) /* since when is not known */
        return S3_LIFECYCLE_KEEP;
    if (!lifecycle_tags(&b->arena, e->tags, e->n_tags, &o.tags))
        return S3_LIFECYCLE_KEEP; /* the next round looks at it again */
    return s3_lifecycle_judge(rules, &o, now_ms, day_ms, ret);
}

static bool is_full(const struct lifecycle_batch *b)
{
    return b->command.n_keys == LIFECYCLE_PAGE || b->bytes >= LIFECYCLE_BATCH_BYTES_MAX;
}

int lifecycle_batch_fill(struct lifecycle_batch *b, struct meta_client *mc,
                         const struct s3_lifecycle *rules, uint64_t bucket_id, uint64_t now_ms,
                         uint64_t day_ms, const Cairn__ListEntry *const *entries, size_t count,
                         size_t *at, struct lifecycle_place *place)
{
    int err = batch_begin(b, bucket_id) ? OK : ERR_NOMEM;
    for (; err == OK && *at < count && !is_full(b); ++*at) {
        const Cairn__ListEntry *e = entries[*at];
        struct s3_lifecycle_verdict v;
        uint32_t partition = 0;
        if (b->command.n_keys)
            err = meta_partition_of(mc, bucket_id, bytes_of(e->key), &partition);
        if (err || partition != (b->command.n_keys ? b->partition : 0))
            break; /* the next batch begins with it */
        place_enter(place, e);
        bool alone = e->delete_marker && may_be_alone(entries, count, *at);
        enum s3_lifecycle_action action = judge(b, rules, e, alone, now_ms, day_ms, place, &v);
        if (action != S3_LIFECYCLE_KEEP) {
            err = meta_partition_of(mc, bucket_id, bytes_of(e->key), &b->partition);
            if (err == OK)
                err = batch_add(b, e, action, &v);
        }
        if (err == OK) {
            place_pass(place, e);
            b->looked++;
        }
    }
    b->command.n_versions = b->has_versions ? b->command.n_keys : 0;
    b->command.n_conditions = b->command.n_keys;
    return err || !place->key.failed ? err : ERR_NOMEM;
}
