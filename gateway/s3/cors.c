/* CORS: rules and what they allow. */
#include "gateway/s3/cors.h"

#include "common/base/check.h"

enum { RULE_ID_BYTES_MAX = 255 };

static const struct s3_schema rule_children[] = {
    {.name = "ID", .type = S3_NODE_TEXT, .max = 1},
    {.name = "AllowedHeader", .type = S3_NODE_TEXT},
    {.name = "AllowedMethod", .type = S3_NODE_TEXT, .min = 1},
    {.name = "AllowedOrigin", .type = S3_NODE_TEXT, .min = 1},
    {.name = "ExposeHeader", .type = S3_NODE_TEXT},
    {.name = "MaxAgeSeconds", .type = S3_NODE_NUMBER, .max = 1},
    {0},
};
static const struct s3_schema cors_children[] = {
    {.name = "CORSRule", .type = S3_NODE_GROUP, .min = 1, .children = rule_children},
    {0},
};
const struct s3_schema s3_cors_schema = {
    .name = "CORSConfiguration", .type = S3_NODE_GROUP, .children = cors_children};

bool s3_cors_method_known(struct slice method)
{
    static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "HEAD"};
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
        if (slice_eq(method, slice_cstr(methods[i])))
            return true;
    return false;
}

/* ---- the configuration ---- */

/* "before 'value' after" as the fault's message. */
static enum s3_code invalid(struct arena *arena, struct s3_fault *fault, const char *before,
                            struct slice value, const char *after)
{
    struct buf b = {0};
    buf_cstr(&b, before);
    buf_slice(&b, value);
    buf_cstr(&b, after);
    struct slice message = b.failed ? SLICE_EMPTY : arena_copy(arena, buf_view(&b));
    buf_fini(&b);
    return s3_fault_set(fault, S3_INVALID_REQUEST, (const char *)message.ptr);
}

static size_t stars(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == '*';
    return n;
}

static enum s3_code check_value(struct arena *arena, const char *name, struct slice value,
                                struct s3_fault *fault)
{
    if (strcmp(name, "AllowedMethod") == 0)
        return s3_cors_method_known(value)
                   ? S3_OK
                   : invalid(arena, fault,
                             "Found unsupported HTTP method in CORS config. Unsupported method is ",
                             value, "");
    if (strcmp(name, "ExposeHeader") == 0)
        return stars(value) == 0 ? S3_OK
                                 : invalid(arena, fault, "ExposeHeader \"", value,
                                           "\" contains wildcard. We currently do not support "
                                           "wildcard for ExposeHeader.");
    bool origin = strcmp(name, "AllowedOrigin") == 0;
    if (origin && value.len == 0)
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    return stars(value) <= 1
               ? S3_OK
               : invalid(arena, fault, origin ? "AllowedOrigin \"" : "AllowedHeader \"", value,
                         "\" can not have more than one wildcard.");
}

static void lower(struct slice s)
{
    uint8_t *p = (uint8_t *)(uintptr_t)s.ptr; /* a copy of our own */
    for (size_t i = 0; i < s.len; i++)
        p[i] = ascii_lower(p[i]);
}

static enum s3_code take(struct arena *arena, const struct s3_node *rule, const char *name,
                         struct slice **ret, size_t *ret_count, struct s3_fault *fault)
{
    size_t count = s3_node_count(rule, name);
    *ret_count = 0;
    *ret = arena_alloc(arena, (count + 1) * sizeof(**ret));
    if (!*ret)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *n = s3_node_child(rule, name); n; n = s3_node_again(n)) {
        enum s3_code code = check_value(arena, name, n->text, fault);
        if (code != S3_OK)
            return code;
        struct slice copy = arena_copy(arena, n->text);
        if (!copy.ptr)
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
        (*ret)[(*ret_count)++] = copy;
    }
    return S3_OK;
}

static enum s3_code rule_of_node(struct arena *arena, const struct s3_node *n,
                                 struct s3_cors_rule *ret, struct s3_fault *fault)
{
    const struct s3_node *age = s3_node_child(n, "MaxAgeSeconds"), *id = s3_node_child(n, "ID");
    *ret = (struct s3_cors_rule){.has_max_age = age != NULL, .max_age_s = age ? age->number : 0};
    if (id && id->text.len > RULE_ID_BYTES_MAX)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "The ID of a CORS rule may not be longer than 255 characters.");
    enum s3_code code = take(arena, n, "AllowedOrigin", &ret->origins, &ret->origin_count, fault);
    if (code == S3_OK)
        code = take(arena, n, "AllowedMethod", &ret->methods, &ret->method_count, fault);
    if (code == S3_OK)
        code = take(arena, n, "AllowedHeader", &ret->headers, &ret->header_count, fault);
    if (code == S3_OK)
        code = take(arena, n, "ExposeHeader", &ret->expose, &ret->expose_count, fault);
    for (size_t i = 0; code == S3_OK && i < ret->header_count; i++)
        lower(ret->headers[i]);
    return code;
}

enum s3_code s3_cors_of_node(struct arena *arena, const struct s3_node *root, struct s3_cors *ret,
                             struct s3_fault *fault)
{
    size_t count = s3_node_count(root, "CORSRule");
    *ret = (struct s3_cors){0};
    if (count > S3_CORS_RULES_MAX)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "The number of CORS rules should not exceed allowed limit of 100 "
                            "rules.");
    ret->rules = arena_alloc(arena, (count + 1) * sizeof(*ret->rules));
    if (!ret->rules)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *n = s3_node_child(root, "CORSRule"); n; n = s3_node_again(n)) {
        enum s3_code code = rule_of_node(arena, n, &ret->rules[ret->count], fault);
        if (code != S3_OK)
            return code;
        ret->count++;
    }
    return S3_OK;
}

/* ---- a request ---- */

/* At most one '*' in the pattern, for any run of characters. */
static bool pattern_matches(struct slice pattern, struct slice s)
{
    const uint8_t *star = pattern.len ? memchr(pattern.ptr, '*', pattern.len) : NULL;
    if (!star)
        return slice_eq(pattern, s);
    size_t front = (size_t)(star - pattern.ptr), back = pattern.len - front - 1;
    return s.len >= front + back && slice_eq(SLICE(pattern.ptr, front), SLICE(s.ptr, front)) &&
           slice_eq(SLICE(star + 1, back), SLICE(s.ptr + s.len - back, back));
}

static bool any_matches(const struct slice *patterns, size_t count, struct slice s)
{
    for (size_t i = 0; i < count; i++)
        if (pattern_matches(patterns[i], s))
            return true;
    return false;
}

/* Header names have no case: the rule's are in lower case already. */
static bool header_allowed(const struct s3_cors_rule *rule, struct slice name)
{
    uint8_t small[256];
    if (name.len > sizeof(small))
        return false;
    for (size_t i = 0; i < name.len; i++)
        small[i] = ascii_lower(name.ptr[i]);
    return any_matches(rule->headers, rule->header_count, SLICE(small, name.len));
}

static bool headers_allowed(const struct s3_cors_rule *rule, struct slice list)
{
    for (size_t at = 0; at < list.len;) {
        const uint8_t *comma = memchr(list.ptr + at, ',', list.len - at);
        size_t end = comma ? (size_t)(comma - list.ptr) : list.len;
        struct slice name = SLICE(list.ptr + at, end - at);
        at = end + 1;
        while (name.len && (name.ptr[0] == ' ' || name.ptr[0] == '\t'))
            name = SLICE(name.ptr + 1, name.len - 1);
        while (name.len && (name.ptr[name.len - 1] == ' ' || name.ptr[name.len - 1] == '\t'))
            name.len--;
        if (name.len && !header_allowed(rule, name))
            return false;
    }
    return true;
}

bool s3_cors_find(const struct s3_cors *cors, struct slice origin, struct slice method,
                  struct slice headers, struct s3_cors_match *ret)
{
    for (size_t i = 0; i < cors->count; i++) {
        const struct s3_cors_rule *rule = &cors->rules[i];
        bool method_ok = false;
        for (size_t k = 0; k < rule->method_count; k++)
            method_ok |= slice_eq(rule->methods[k], method);
        if (!method_ok || !any_matches(rule->origins, rule->origin_count, origin) ||
            !headers_allowed(rule, headers))
            continue;
        *ret = (struct s3_cors_match){.rule = rule};
        for (size_t k = 0; k < rule->origin_count; k++)
            ret->any_origin |= slice_eq(rule->origins[k], SLICE_LIT("*"));
        return true;
    }
    return false;
}

void s3_cors_join(struct buf *b, const struct slice *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_append(b, ", ", 2);
        buf_slice(b, values[i]);
    }
}
