/* Forms into parameters. */
#include "gateway/iam/query.h"

#include "gateway/s3/request.h"

#include <stdio.h>
#include <stdlib.h>

static int param_cmp(const void *a, const void *b)
{
    return slice_cmp(((const struct iam_param *)a)->name, ((const struct iam_param *)b)->name);
}

static enum iam_query_error read_pair(struct arena *arena, struct slice pair, struct iam_param *ret)
{
    const uint8_t *equals = memchr(pair.ptr, '=', pair.len);
    size_t name_len = equals ? (size_t)(equals - pair.ptr) : pair.len;
    struct slice value = equals ? SLICE(equals + 1, pair.len - name_len - 1) : SLICE("", 0);
    if (arena->bytes_max && arena->bytes + pair.len > arena->bytes_max)
        return IAM_QUERY_NO_MEMORY;
    if (!s3_percent_decode(arena, SLICE(pair.ptr, name_len), true, &ret->name) ||
        !s3_percent_decode(arena, value, true, &ret->value) || !utf8_valid(ret->name) ||
        !utf8_valid(ret->value) || ret->name.len == 0)
        return IAM_QUERY_MALFORMED;
    return IAM_QUERY_OK;
}

enum iam_query_error iam_query_parse(struct arena *arena, struct slice text, struct iam_query *ret)
{
    struct iam_query q = {0};
    size_t cap = 1;
    for (size_t i = 0; i < text.len; i++)
        cap += text.ptr[i] == '&';
    if (cap > IAM_PARAMS_MAX + 1)
        return IAM_QUERY_MALFORMED;
    q.params = arena_alloc(arena, cap * sizeof(*q.params));
    if (!q.params)
        return IAM_QUERY_NO_MEMORY;
    for (size_t at = 0; at < text.len;) {
        const uint8_t *end = memchr(text.ptr + at, '&', text.len - at);
        size_t len = end ? (size_t)(end - (text.ptr + at)) : text.len - at;
        if (len) {
            enum iam_query_error err =
                read_pair(arena, SLICE(text.ptr + at, len), &q.params[q.count]);
            if (err != IAM_QUERY_OK)
                return err;
            q.count++;
        }
        at += len + 1;
    }
    if (q.count)
        qsort(q.params, q.count, sizeof(q.params[0]), param_cmp);
    for (size_t i = 1; i < q.count; i++)
        if (slice_eq(q.params[i - 1].name, q.params[i].name))
            return IAM_QUERY_MALFORMED;
    *ret = q;
    return IAM_QUERY_OK;
}

struct slice iam_query_value(const struct iam_query *q, const char *name)
{
    struct iam_param key = {.name = slice_cstr(name)};
    const struct iam_param *p =
        q->count ? bsearch(&key, q->params, q->count, sizeof(key), param_cmp) : NULL;
    return p ? p->value : SLICE_EMPTY;
}

struct slice iam_query_member(const struct iam_query *q, const char *list, size_t index,
                              const char *field)
{
    char name[160];
    int n = field ? snprintf(name, sizeof(name), "%s.member.%zu.%s", list, index, field)
                  : snprintf(name, sizeof(name), "%s.member.%zu", list, index);
    return n > 0 && (size_t)n < sizeof(name) ? iam_query_value(q, name) : SLICE_EMPTY;
}
