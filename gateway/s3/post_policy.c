/* Policies of forms. */
#include "gateway/s3/post_policy.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/crypto/codec.h"
#include "gateway/policy/json.h"
#include "gateway/s3/form.h"
#include "gateway/s3/time.h"

#include <stdio.h>

enum { POLICY_DEPTH_MAX = 4 };

struct checking {
    struct arena *arena;
    const struct s3_post *post;
    struct s3_post_range *range;
    struct s3_fault *fault;
    bool covered[S3_FORM_FIELDS_MAX]; /* the form's fields that a condition names */
};

/* ---- refusals ---- */

static enum s3_code refuse(struct checking *c, enum s3_code code, const char *before,
                           struct slice what, const char *after)
{
    struct buf b = {0};
    buf_cstr(&b, code == S3_INVALID_POLICY_DOCUMENT ? "Invalid Policy: "
                                                    : "Invalid according to Policy: ");
    buf_cstr(&b, before);
    buf_slice(&b, what);
    buf_cstr(&b, after);
    buf_u8(&b, 0);
    struct slice text = b.failed ? SLICE_EMPTY : arena_copy(c->arena, buf_view(&b));
    buf_fini(&b);
    return s3_fault_set(c->fault, code, (const char *)text.ptr);
}

static enum s3_code invalid(struct checking *c, const char *why)
{
    return refuse(c, S3_INVALID_POLICY_DOCUMENT, why, SLICE_EMPTY, "");
}

static enum s3_code failed(struct checking *c, const char *operator, struct slice name,
                           struct slice value)
{
    struct buf b = {0};
    buf_printf(&b, "[\"%s\", \"$", operator);
    buf_slice(&b, name);
    buf_cstr(&b, "\", \"");
    buf_slice(&b, value);
    enum s3_code code =
        refuse(c, S3_ACCESS_DENIED, "Policy Condition failed: ", buf_view(&b), "\"]");
    buf_fini(&b);
    return code;
}

/* ---- conditions ---- */

static bool is(struct slice name, const char *what)
{
    return slice_eq_nocase(name, slice_cstr(what));
}

/* false: the form has none such. */
static bool value_of(struct checking *c, struct slice name, struct slice *ret)
{
    bool found = false;
    for (size_t i = 0; i < c->post->form.count; i++) {
        if (!slice_eq_nocase(c->post->form.ptr[i].name, name))
            continue;
        CHECK(i < S3_FORM_FIELDS_MAX);
        c->covered[i] = found = true;
        *ret = c->post->form.ptr[i].value;
    }
    if (is(name, "bucket") || is(name, "key")) {
        *ret = is(name, "key") ? c->post->key : c->post->bucket;
        return true;
    }
    return found;
}

/* A list of types must be allowed whole. */
static bool starts_with(struct slice name, struct slice value, struct slice prefix)
{
    if (!is(name, "content-type"))
        return slice_has_prefix(value, prefix);
    for (;;) {
        const uint8_t *comma = value.len ? memchr(value.ptr, ',', value.len) : NULL;
        if (!slice_has_prefix(value, prefix))
            return false;
        if (!comma)
            return true;
        size_t used = (size_t)(comma - value.ptr) + 1;
        while (used < value.len && value.ptr[used] == ' ')
            used++;
        value = SLICE(value.ptr + used, value.len - used);
    }
}

static enum s3_code check_equal(struct checking *c, struct slice name, struct slice want)
{
    struct slice value;
    return value_of(c, name, &value) && slice_eq(value, want) ? S3_OK : failed(c, "eq", name, want);
}

static enum s3_code check_prefix(struct checking *c, struct slice name, struct slice prefix)
{
    struct slice value;
    return value_of(c, name, &value) && starts_with(name, value, prefix)
               ? S3_OK
               : failed(c, "starts-with", name, prefix);
}

static bool is_text(const struct policy_json *j)
{
    return j->type == POLICY_JSON_STRING || j->type == POLICY_JSON_NUMBER;
}

static enum s3_code check_range(struct checking *c, const struct policy_json *min)
{
    uint64_t low, high;
    if (!is_text(min) || !is_text(min->next) || !parse_u64(min->text, &low) ||
        !parse_u64(min->next->text, &high))
        return invalid(c, "Invalid Range-Condition.");
    c->range->min = MAX(c->range->min, low);
    c->range->max = MIN(c->range->max, high);
    return S3_OK;
}

/* ["eq", "$name", "value"] and the like. */
static enum s3_code check_list(struct checking *c, const struct policy_json *list)
{
    const struct policy_json *op = list->first;
    if (list->count != 3 || op->type != POLICY_JSON_STRING)
        return invalid(c, "Invalid Condition: a list must have three items.");
    if (is(op->text, "content-length-range"))
        return check_range(c, op->next);
    struct slice name = op->next->text;
    if (op->next->type != POLICY_JSON_STRING || name.len < 2 || name.ptr[0] != '$' ||
        !is_text(op->next->next))
        return invalid(c, "Invalid Condition: a name that begins with '$' and a value are needed.");
    name = SLICE(name.ptr + 1, name.len - 1);
    if (is(op->text, "eq"))
        return check_equal(c, name, op->next->next->text);
    if (is(op->text, "starts-with"))
        return check_prefix(c, name, op->next->next->text);
    return refuse(c, S3_INVALID_POLICY_DOCUMENT, "Invalid Condition: unknown operation '", op->text,
                  "'.");
}

/* {"name": "value"} */
static enum s3_code check_object(struct checking *c, const struct policy_json *object)
{
    if (object->count != 1 || !is_text(object->first))
        return invalid(c, "Invalid Simple-Condition: Simple-Conditions must have exactly one "
                          "property specified.");
    return check_equal(c, object->first->name, object->first->text);
}

/* Of version 2 "AWSAccessKeyId" and "signature"; no form of version 4 has them. */
static bool needs_no_condition(struct slice name)
{
    return is(name, "policy") || is(name, "x-amz-signature") || is(name, "signature") ||
           is(name, "AWSAccessKeyId") || is(name, "file") ||
           slice_has_prefix_nocase(name, SLICE_LIT("x-ignore-"));
}

static enum s3_code check_conditions(struct checking *c, const struct policy_json *conditions)
{
    enum s3_code code = S3_OK;
    for (const struct policy_json *j = conditions->first; j && code == S3_OK; j = j->next) {
        if (j->type == POLICY_JSON_ARRAY)
            code = check_list(c, j);
        else if (j->type == POLICY_JSON_OBJECT)
            code = check_object(c, j);
        else
            code = invalid(c, "Invalid Condition: neither a list nor an object.");
    }
    for (size_t i = 0; code == S3_OK && i < c->post->form.count; i++)
        if (!c->covered[i] && !needs_no_condition(c->post->form.ptr[i].name))
            code =
                refuse(c, S3_ACCESS_DENIED, "Extra input fields: ", c->post->form.ptr[i].name, "");
    return code;
}

/* ---- the document ---- */

/* Policies may have two escapes that JSON has not: \$ and \v. */
static struct slice to_json(struct arena *arena, struct slice text)
{
    uint8_t *out = arena_alloc(arena, text.len * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < text.len; i++) {
        bool escape = text.ptr[i] == '\\' && i + 1 < text.len;
        if (escape && text.ptr[i + 1] == '$')
            continue;
        if (escape && text.ptr[i + 1] == 'v') {
            memcpy(out + n, "\\u000b", 6);
            n += 6;
            i++;
            continue;
        }
        out[n++] = text.ptr[i];
        if (escape)
            out[n++] = text.ptr[++i];
    }
    return out ? SLICE(out, n) : SLICE_EMPTY;
}

static enum s3_code read_document(struct checking *c, struct slice policy,
                                  const struct policy_json **ret)
{
    uint8_t *bytes = arena_alloc(c->arena, policy.len + 1);
    if (!bytes)
        return s3_fault_set(c->fault, S3_INTERNAL_ERROR, NULL);
    ssize_t len = base64_decode(policy, bytes, policy.len);
    if (len < 0)
        return invalid(c, "Invalid base64 encoding.");
    struct slice json = to_json(c->arena, SLICE(bytes, (size_t)len));
    int err = json.ptr ? policy_json_parse(c->arena, json, POLICY_DEPTH_MAX, ret) : ERR_NOMEM;
    if (err == ERR_NOMEM)
        return s3_fault_set(c->fault, S3_INTERNAL_ERROR, NULL);
    return err == OK && (*ret)->type == POLICY_JSON_OBJECT ? S3_OK : invalid(c, "Invalid JSON.");
}

enum s3_code s3_post_policy_check(struct arena *arena, struct slice policy,
                                  const struct s3_post *post, uint64_t now_ms,
                                  struct s3_post_range *ret, struct s3_fault *fault)
{
    struct checking c = {.arena = arena, .post = post, .range = ret, .fault = fault};
    const struct policy_json *root = NULL, *expiration = NULL, *conditions = NULL;
    uint64_t end_ms;
    *ret = (struct s3_post_range){0, UINT64_MAX};
    enum s3_code code = read_document(&c, policy, &root);
    if (code != S3_OK)
        return code;
    for (const struct policy_json *j = root->first; j; j = j->next) {
        if (slice_eq(j->name, SLICE_LIT("expiration")))
            expiration = j;
        else if (slice_eq(j->name, SLICE_LIT("conditions")))
            conditions = j;
        else
            return refuse(&c, S3_INVALID_POLICY_DOCUMENT, "Unexpected: '", j->name, "'.");
    }
    if (!expiration)
        return invalid(&c, "Policy missing expiration.");
    if (expiration->type != POLICY_JSON_STRING || !iso8601_parse(expiration->text, &end_ms))
        return refuse(&c, S3_INVALID_POLICY_DOCUMENT, "Invalid 'expiration' value: '",
                      expiration->text, "'.");
    if (!conditions || conditions->type != POLICY_JSON_ARRAY)
        return invalid(&c, "Policy missing conditions.");
    if (now_ms > end_ms)
        return refuse(&c, S3_ACCESS_DENIED, "Policy expired.", SLICE_EMPTY, "");
    return check_conditions(&c, conditions);
}

static enum s3_code wrong_size(struct arena *arena, enum s3_code code, uint64_t bytes,
                               const char *name, uint64_t bound, struct s3_fault *fault)
{
    char *text = arena_alloc(arena, 48);
    s3_fault_set(fault, code, NULL);
    if (text) {
        int n = snprintf(text, 24, "%llu", (unsigned long long)bytes);
        s3_fault_extra(fault, "ProposedSize", SLICE(text, (size_t)n));
        n = snprintf(text + 24, 24, "%llu", (unsigned long long)bound);
        s3_fault_extra(fault, name, SLICE(text + 24, (size_t)n));
    }
    return code;
}

enum s3_code s3_post_range_check(struct arena *arena, const struct s3_post_range *range,
                                 uint64_t bytes, bool end, struct s3_fault *fault)
{
    if (bytes > range->max)
        return wrong_size(arena, S3_ENTITY_TOO_LARGE, bytes, "MaxSizeAllowed", range->max, fault);
    if (end && bytes < range->min)
        return wrong_size(arena, S3_ENTITY_TOO_SMALL, bytes, "MinSizeAllowed", range->min, fault);
    return S3_OK;
}
