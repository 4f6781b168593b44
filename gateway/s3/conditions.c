/* Conditional requests (RFC 9110, section 13) and ranges (section 14). */
#include "gateway/s3/headers.h"

#include "common/base/check.h"

#include <stdio.h>

/* ---- entity tags ---- */

/* One tag at the start of *text: quoted, weak, or (as S3 tolerates) bare up to the next comma. */
static bool take_etag(struct slice *text, struct slice *ret, bool *ret_weak)
{
    struct slice s = *text;
    *ret_weak = slice_has_prefix(s, SLICE_LIT("W/"));
    if (*ret_weak)
        s = SLICE(s.ptr + 2, s.len - 2);
    if (s.len && s.ptr[0] == '"') {
        const uint8_t *end = memchr(s.ptr + 1, '"', s.len - 1);
        if (!end)
            return false;
        *ret = SLICE(s.ptr + 1, (size_t)(end - s.ptr) - 1);
        s = slice_trim(SLICE(end + 1, s.len - ret->len - 2));
        if (s.len && s.ptr[0] != ',')
            return false;
    } else {
        const uint8_t *comma = s.len ? memchr(s.ptr, ',', s.len) : NULL;
        size_t len = comma ? (size_t)(comma - s.ptr) : s.len;
        *ret = slice_trim(SLICE(s.ptr, len));
        s = SLICE(s.ptr + len, s.len - len);
        if (ret->len == 0)
            return false;
    }
    *text = s;
    return true;
}

static bool parse_etags(struct slice text, struct s3_etag_list *l)
{
    text = slice_trim(text);
    l->given = true;
    if (slice_eq(text, SLICE_LIT("*"))) {
        l->any = true;
        return l->count == 0;
    }
    while (text.len) {
        if (l->count == S3_CONDITION_ETAGS_MAX || l->any ||
            !take_etag(&text, &l->etag[l->count], &l->weak[l->count]))
            return false;
        l->count++;
        if (text.len) /* the comma */
            text = slice_trim(SLICE(text.ptr + 1, text.len - 1));
    }
    return l->count > 0;
}

static enum s3_code etags_of(const struct s3_request *r, const char *name, struct s3_etag_list *l,
                             struct s3_fault *fault)
{
    struct slice want = slice_cstr(name);
    for (size_t i = 0; i < r->fields.count; i++)
        if (slice_eq_nocase(r->fields.ptr[i].name, want) && !parse_etags(r->fields.ptr[i].value, l))
            return s3_fault_argument(fault, "The list of entity tags is not valid.", name,
                                     r->fields.ptr[i].value);
    return S3_OK;
}

bool s3_etag_list_has(const struct s3_etag_list *l, struct slice etag, bool strong)
{
    if (l->any)
        return true;
    for (unsigned i = 0; i < l->count; i++)
        if (!(strong && l->weak[i]) && slice_eq(l->etag[i], etag))
            return true;
    return false;
}

/* ---- conditions ---- */

static void date_of(const struct s3_request *r, const char *name, uint64_t now_ms, bool *ret_given,
                    uint64_t *ret)
{
    struct slice text = http_fields_get(r->fields, name);
    *ret_given = text.ptr && (http_date_parse(text, now_ms, ret) || iso8601_parse(text, ret));
}

enum s3_code s3_conditions_parse(const struct s3_request *r, uint64_t now_ms,
                                 struct s3_conditions *ret, struct s3_fault *fault)
{
    *ret = (struct s3_conditions){0};
    enum s3_code code = etags_of(r, "if-match", &ret->if_match, fault);
    if (code == S3_OK)
        code = etags_of(r, "if-none-match", &ret->if_none_match, fault);
    date_of(r, "if-modified-since", now_ms, &ret->has_modified_since, &ret->modified_since_ms);
    date_of(r, "if-unmodified-since", now_ms, &ret->has_unmodified_since,
            &ret->unmodified_since_ms);
    if (code != S3_OK)
        return code;
    /* These two guard a deletion: one that cannot be understood must not be ignored. */
    const struct http_field *f = http_fields_find(r->fields, "x-amz-if-match-last-modified-time");
    if (f) {
        date_of(r, "x-amz-if-match-last-modified-time", now_ms, &ret->has_mtime, &ret->mtime_ms);
        if (!ret->has_mtime)
            return s3_fault_argument(fault, NULL, "x-amz-if-match-last-modified-time", f->value);
    }
    f = http_fields_find(r->fields, "x-amz-if-match-size");
    if (f) {
        ret->has_size = parse_u64(f->value, &ret->size);
        if (!ret->has_size)
            return s3_fault_argument(fault, NULL, "x-amz-if-match-size", f->value);
    }
    return S3_OK;
}

enum s3_code s3_copy_conditions_parse(const struct s3_request *r, uint64_t now_ms,
                                      struct s3_conditions *ret, struct s3_fault *fault)
{
    *ret = (struct s3_conditions){0};
    enum s3_code code = etags_of(r, "x-amz-copy-source-if-match", &ret->if_match, fault);
    if (code == S3_OK)
        code = etags_of(r, "x-amz-copy-source-if-none-match", &ret->if_none_match, fault);
    date_of(r, "x-amz-copy-source-if-modified-since", now_ms, &ret->has_modified_since,
            &ret->modified_since_ms);
    date_of(r, "x-amz-copy-source-if-unmodified-since", now_ms, &ret->has_unmodified_since,
            &ret->unmodified_since_ms);
    return code;
}

enum s3_code s3_rename_conditions_parse(const struct s3_request *r, uint64_t now_ms,
                                        struct s3_conditions *ret, struct s3_fault *fault)
{
    *ret = (struct s3_conditions){0};
    enum s3_code code = etags_of(r, "x-amz-rename-source-if-match", &ret->if_match, fault);
    if (code == S3_OK)
        code = etags_of(r, "x-amz-rename-source-if-none-match", &ret->if_none_match, fault);
    date_of(r, "x-amz-rename-source-if-modified-since", now_ms, &ret->has_modified_since,
            &ret->modified_since_ms);
    date_of(r, "x-amz-rename-source-if-unmodified-since", now_ms, &ret->has_unmodified_since,
            &ret->unmodified_since_ms);
    return code;
}

bool s3_conditions_given(const struct s3_conditions *c)
{
    return c->if_match.given || c->if_none_match.given || c->has_modified_since ||
           c->has_unmodified_since || c->has_mtime || c->has_size;
}

static enum s3_code precondition_failed(struct s3_fault *fault, const char *condition)
{
    s3_fault_set(fault, S3_PRECONDITION_FAILED, NULL);
    s3_fault_extra(fault, "Condition", slice_cstr(condition));
    return S3_PRECONDITION_FAILED;
}

enum s3_code s3_conditions_read(const struct s3_conditions *c, struct slice etag, uint64_t mtime_ms,
                                struct s3_fault *fault)
{
    uint64_t mtime_s = mtime_ms / 1000;
    if (c->if_match.given) {
        if (!s3_etag_list_has(&c->if_match, etag, true))
            return precondition_failed(fault, "If-Match");
    } else if (c->has_unmodified_since && mtime_s > c->unmodified_since_ms / 1000) {
        return precondition_failed(fault, "If-Unmodified-Since");
    }
    if (c->if_none_match.given) {
        if (s3_etag_list_has(&c->if_none_match, etag, false))
            return s3_fault_set(fault, S3_NOT_MODIFIED, NULL);
    } else if (c->has_modified_since && mtime_s <= c->modified_since_ms / 1000) {
        return s3_fault_set(fault, S3_NOT_MODIFIED, NULL);
    }
    return S3_OK;
}

enum s3_code s3_conditions_copy(const struct s3_conditions *c, struct slice etag, uint64_t mtime_ms,
                                struct s3_fault *fault)
{
    enum s3_code code = s3_conditions_read(c, etag, mtime_ms, fault);
    if (code == S3_NOT_MODIFIED)
        return precondition_failed(fault, c->if_none_match.given
                                              ? "x-amz-copy-source-If-None-Match"
                                              : "x-amz-copy-source-If-Modified-Since");
    return code;
}

enum s3_code s3_conditions_for_write(const struct s3_conditions *c, struct s3_fault *fault)
{
    const char *header = NULL;
    if (c->has_modified_since)
        header = "If-Modified-Since";
    else if (c->has_unmodified_since)
        header = "If-Unmodified-Since";
    else if (c->if_none_match.given && !c->if_none_match.any)
        header = "If-None-Match";
    if (!header)
        return S3_OK;
    s3_fault_set(fault, S3_NOT_IMPLEMENTED,
                 "A header you provided implies functionality that is not implemented");
    s3_fault_extra(fault, "Header", slice_cstr(header));
    return S3_NOT_IMPLEMENTED;
}

/* ---- ranges ---- */

void s3_range_parse(struct slice value, struct s3_range *ret)
{
    *ret = (struct s3_range){.kind = S3_RANGE_NONE};
    value = slice_trim(value);
    if (!slice_has_prefix_nocase(value, SLICE_LIT("bytes=")))
        return;
    value = slice_trim(SLICE(value.ptr + 6, value.len - 6));
    const uint8_t *dash = value.len ? memchr(value.ptr, '-', value.len) : NULL;
    if (!dash)
        return;
    struct slice first = SLICE(value.ptr, (size_t)(dash - value.ptr));
    struct slice last = SLICE(dash + 1, value.len - first.len - 1);
    struct s3_range r = {.kind = first.len ? S3_RANGE_BYTES : S3_RANGE_SUFFIX};
    if (first.len && !parse_u64(first, &r.first))
        return;
    r.open_end = first.len && last.len == 0;
    if (!r.open_end && !parse_u64(last, &r.last))
        return; /* several ranges end up here: a comma is no digit */
    if (r.kind == S3_RANGE_BYTES && !r.open_end && r.first > r.last)
        return;
    *ret = r;
}

enum s3_code s3_range_resolve(const struct s3_range *r, uint64_t size, struct slice requested,
                              struct arena *arena, uint64_t *ret_offset, uint64_t *ret_length,
                              bool *ret_partial, struct s3_fault *fault)
{
    uint64_t first = 0, end = size;
    bool satisfiable = true;
    if (r->kind == S3_RANGE_SUFFIX) {
        satisfiable = r->last > 0 && size > 0;
        first = r->last < size ? size - r->last : 0;
    } else if (r->kind == S3_RANGE_BYTES) {
        satisfiable = r->first < size;
        first = r->first;
        if (!r->open_end && r->last < size)
            end = r->last + 1;
    }
    if (!satisfiable) {
        char *text = arena_alloc(arena, 24);
        s3_fault_set(fault, S3_INVALID_RANGE, NULL);
        s3_fault_extra(fault, "RangeRequested", requested);
        if (text) {
            int n = snprintf(text, 24, "%llu", (unsigned long long)size);
            s3_fault_extra(fault, "ActualObjectSize", SLICE(text, (size_t)n));
        }
        return S3_INVALID_RANGE;
    }
    *ret_offset = first;
    *ret_length = end - first;
    *ret_partial = r->kind != S3_RANGE_NONE;
    return S3_OK;
}

enum s3_code s3_copy_range_parse(const struct s3_request *r, bool *ret_given, uint64_t *ret_first,
                                 uint64_t *ret_last, struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "x-amz-copy-source-range");
    struct s3_range range;
    *ret_given = false;
    if (!f)
        return S3_OK;
    s3_range_parse(f->value, &range);
    if (range.kind != S3_RANGE_BYTES || range.open_end)
        return s3_fault_argument(fault,
                                 "The x-amz-copy-source-range value must be of the form "
                                 "bytes=first-last where first and last are the zero-based offsets "
                                 "of the first and last bytes to copy",
                                 "x-amz-copy-source-range", f->value);
    *ret_given = true;
    *ret_first = range.first;
    *ret_last = range.last;
    return S3_OK;
}
