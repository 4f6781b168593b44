/* What lifecycle rules say.  Reading them: lifecycle_read.c. */
#include "gateway/s3/lifecycle.h"

#include "common/base/check.h"
#include "gateway/s3/time.h"

#include <stdlib.h>

#define TIME_MS_MAX 253402214400000ull /* 9999-12-31: dates have four digits of a year */

uint64_t s3_lifecycle_due(uint64_t from_ms, uint64_t days, uint64_t day_ms)
{
    uint64_t reached = from_ms + days * day_ms; /* days < 2^31 */
    uint64_t due = (reached / day_ms + 1) * day_ms;
    return due < from_ms || due > TIME_MS_MAX ? TIME_MS_MAX : due;
}

/* ---- which objects a rule is about ---- */

static bool has_tag(const struct s3_tags *tags, const struct s3_tag *wanted)
{
    for (size_t i = 0; i < tags->count; i++)
        if (slice_eq(tags->tags[i].key, wanted->key) &&
            slice_eq(tags->tags[i].value, wanted->value))
            return true;
    return false;
}

/* A delete marker has neither tags nor a size: a rule that looks at them is not about it. */
static bool is_about(const struct s3_lifecycle_rule *r, const struct s3_lifecycle_object *o)
{
    bool narrow = r->tags.count || r->has_size_above || r->has_size_below;
    if (!r->enabled || !slice_has_prefix(o->key, r->prefix) || (narrow && o->delete_marker))
        return false;
    if ((r->has_size_above && o->size <= r->size_above) ||
        (r->has_size_below && o->size >= r->size_below))
        return false;
    for (size_t i = 0; i < r->tags.count; i++)
        if (!has_tag(&o->tags, &r->tags.tags[i]))
            return false;
    return true;
}

/* When the rule expires a latest version; false: never. */
static bool expires(const struct s3_lifecycle_rule *r, const struct s3_lifecycle_object *o,
                    uint64_t day_ms, uint64_t *ret_ms)
{
    switch (r->expiration) {
    case S3_EXPIRE_DAYS: *ret_ms = s3_lifecycle_due(o->mtime_ms, r->days, day_ms); return true;
    case S3_EXPIRE_DATE: *ret_ms = r->date_ms; return !o->delete_marker;
    case S3_EXPIRE_MARKER: *ret_ms = 0; return o->delete_marker;
    default: return false;
    }
}

static enum s3_lifecycle_action judge_rule(const struct s3_lifecycle_rule *r,
                                           const struct s3_lifecycle_object *o, uint64_t day_ms,
                                           uint64_t *ret_due_ms)
{
    if (!is_about(r, o))
        return S3_LIFECYCLE_KEEP;
    if (!o->is_latest) {
        *ret_due_ms = s3_lifecycle_due(o->noncurrent_ms, r->noncurrent_days, day_ms);
        return r->noncurrent_days && o->newer_noncurrent >= r->newer_kept
                   ? S3_LIFECYCLE_DELETE_VERSION
                   : S3_LIFECYCLE_KEEP;
    }
    if ((o->delete_marker && !o->alone) || !expires(r, o, day_ms, ret_due_ms))
        return S3_LIFECYCLE_KEEP;
    return o->delete_marker ? S3_LIFECYCLE_DELETE_MARKER : S3_LIFECYCLE_EXPIRE;
}

enum s3_lifecycle_action s3_lifecycle_judge(const struct s3_lifecycle *l,
                                            const struct s3_lifecycle_object *o, uint64_t now_ms,
                                            uint64_t day_ms, struct s3_lifecycle_verdict *ret)
{
    enum s3_lifecycle_action found = S3_LIFECYCLE_KEEP;
    for (size_t i = 0; i < l->count; i++) {
        const struct s3_lifecycle_rule *r = &l->rules[i];
        uint64_t due_ms = 0;
        if (found && r->tags.count)
            continue;
        enum s3_lifecycle_action action = judge_rule(r, o, day_ms, &due_ms);
        if (action == S3_LIFECYCLE_KEEP || due_ms > now_ms)
            continue;
        found = action;
        *ret = (struct s3_lifecycle_verdict){r, due_ms};
        if (r->tags.count == 0)
            break;
    }
    return found;
}

const struct s3_lifecycle_rule *s3_lifecycle_expiry(const struct s3_lifecycle *l,
                                                    const struct s3_lifecycle_object *o,
                                                    uint64_t day_ms, uint64_t *ret_ms)
{
    const struct s3_lifecycle_rule *first = NULL;
    for (size_t i = 0; i < l->count; i++) {
        uint64_t at;
        if (!is_about(&l->rules[i], o) || !expires(&l->rules[i], o, day_ms, &at))
            continue;
        if (!first || at < *ret_ms) {
            first = &l->rules[i];
            *ret_ms = at;
        }
    }
    return first;
}

const struct s3_lifecycle_rule *s3_lifecycle_abort(const struct s3_lifecycle *l, struct slice key,
                                                   uint64_t initiated_ms, uint64_t day_ms,
                                                   uint64_t *ret_ms)
{
    const struct s3_lifecycle_rule *first = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct s3_lifecycle_rule *r = &l->rules[i];
        if (!r->enabled || !r->abort_days || !slice_has_prefix(key, r->prefix))
            continue;
        uint64_t at = s3_lifecycle_due(initiated_ms, r->abort_days, day_ms);
        if (!first || at < *ret_ms) {
            first = r;
            *ret_ms = at;
        }
    }
    return first;
}

void s3_lifecycle_expiration_text(struct buf *b, const struct s3_lifecycle_rule *rule, uint64_t ms)
{
    char date[HTTP_DATE_CHARS + 1];
    http_date_format(MIN(ms, (uint64_t)TIME_MS_MAX), date);
    buf_cstr(b, "expiry-date=\"");
    buf_cstr(b, date);
    buf_cstr(b, "\", rule-id=\"");
    s3_percent_encode(b, rule->id, false);
    buf_cstr(b, "\"");
}

/* ---- which keys ---- */

static int compare(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

bool s3_lifecycle_prefixes(struct arena *arena, const struct s3_lifecycle *l, struct slice **ret,
                           size_t *ret_count)
{
    struct slice *all = arena_alloc(arena, (l->count + 1) * sizeof(*all));
    size_t count = 0, kept = 0;
    if (!all)
        return false;
    for (size_t i = 0; i < l->count; i++)
        if (l->rules[i].enabled &&
            (l->rules[i].expiration != S3_EXPIRE_NEVER || l->rules[i].noncurrent_days))
            all[count++] = l->rules[i].prefix;
    qsort(all, count, sizeof(*all), compare);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !slice_has_prefix(all[i], all[kept - 1]))
            all[kept++] = all[i];
    *ret = all;
    *ret_count = kept;
    return true;
}
