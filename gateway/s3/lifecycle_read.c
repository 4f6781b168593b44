/* The lifecycle configuration of a bucket: which documents there are, and their rules. */
#include "common/base/check.h"
#include "common/crypto/digest.h"
#include "gateway/s3/lifecycle.h"
#include "gateway/s3/time.h"
#include "gateway/s3/xml_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_MADE_BYTES = 18, ISO8601_DATE_CHARS = 10 };

/* ---- the schema ---- */

#define AMOUNTS                                                                                    \
    {.name = "ObjectSizeGreaterThan", .type = S3_NODE_SIZE, .max = 1},                             \
    {                                                                                              \
        .name = "ObjectSizeLessThan", .type = S3_NODE_SIZE, .max = 1                               \
    }

static const struct s3_schema and_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .children = s3_tag_children},
    AMOUNTS,
    {0}};
static const struct s3_schema filter_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .max = 1, .children = s3_tag_children},
    AMOUNTS,
    {.name = "And", .type = S3_NODE_GROUP, .max = 1, .children = and_children},
    {0}};
static const char *const booleans[] = {"true", "false", NULL};
static const struct s3_schema expiration_children[] = {
    {.name = "Date", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Days", .type = S3_NODE_NUMBER, .max = 1},
    {.name = "ExpiredObjectDeleteMarker", .type = S3_NODE_CHOICE, .max = 1, .choices = booleans},
    {0}};
static const struct s3_schema noncurrent_children[] = {
    {.name = "NoncurrentDays", .type = S3_NODE_NUMBER, .min = 1, .max = 1},
    {.name = "NewerNoncurrentVersions", .type = S3_NODE_NUMBER, .max = 1},
    {0}};
static const struct s3_schema abort_children[] = {
    {.name = "DaysAfterInitiation", .type = S3_NODE_NUMBER, .min = 1, .max = 1}, {0}};
static const char *const states[] = {"Enabled", "Disabled", NULL};
static const struct s3_schema rule_children[] = {
    {.name = "ID", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Filter",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = filter_children,
     .one_kind = true},
    {.name = "Status", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = states},
    {.name = "Expiration",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = expiration_children,
     .one_kind = true},
    {.name = "NoncurrentVersionExpiration",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = noncurrent_children},
    {.name = "AbortIncompleteMultipartUpload",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = abort_children},
    {.name = "Transition", .type = S3_NODE_REFUSED},
    {.name = "NoncurrentVersionTransition", .type = S3_NODE_REFUSED},
    {0}};
#define RULE_NODE                                                                                  \
    {                                                                                              \
        .name = "Rule", .type = S3_NODE_GROUP, .min = 1, .max = S3_LIFECYCLE_RULES_MAX,            \
        .children = rule_children                                                                  \
    }
static const struct s3_schema lifecycle_children[] = {RULE_NODE, {0}};
const struct s3_schema s3_lifecycle_schema = {
    .name = "LifecycleConfiguration", .type = S3_NODE_GROUP, .children = lifecycle_children};

/* ---- what the normal form adds ---- */

static bool date_parse(struct slice text, uint64_t *ret_ms)
{
    char whole[ISO8601_DATE_CHARS + sizeof("T00:00:00Z")];
    if (text.len == ISO8601_DATE_CHARS) {
        snprintf(whole, sizeof(whole), "%.*sT00:00:00Z", (int)text.len, (const char *)text.ptr);
        text = slice_cstr(whole);
    }
    return iso8601_parse(text, ret_ms);
}

static enum s3_code date_complete(struct arena *arena, const struct s3_node *rule,
                                  struct s3_fault *fault)
{
    const struct s3_node *e = s3_node_child(rule, "Expiration");
    struct s3_node *date = (struct s3_node *)(uintptr_t)(e ? s3_node_child(e, "Date") : NULL);
    char text[ISO8601_MS_CHARS + 1];
    uint64_t ms;
    if (!date)
        return S3_OK;
    if (!date_parse(xml_trim(date->text), &ms) || ms % S3_DAY_MS != 0)
        return s3_fault_argument(fault, "'Date' must be at midnight GMT", "Date", date->text);
    iso8601_format(ms, text);
    date->text = arena_copy(arena, slice_cstr(text));
    return date->text.ptr ? S3_OK : s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
}

/* Of what the rule says and where it stands: the same document gets the same ids.  Empty: no
 * memory. */
static struct slice id_make(struct arena *arena, const struct s3_node *rule, unsigned number)
{
    struct buf text = {0};
    uint8_t hash[SHA256_BYTES];
    char *hex = arena_alloc(arena, 2 * ID_MADE_BYTES + 1);
    buf_be32(&text, number);
    s3_document_write_inside(&text, rule);
    bool ok = hex && !text.failed;
    if (ok) {
        sha256(buf_view(&text), hash);
        for (size_t i = 0; i < ID_MADE_BYTES; i++)
            snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    }
    buf_fini(&text);
    return ok ? SLICE(hex, 2 * ID_MADE_BYTES) : SLICE_EMPTY;
}

static bool id_complete(struct arena *arena, struct s3_node *rule, unsigned number)
{
    struct s3_node *id = (struct s3_node *)(uintptr_t)s3_node_child(rule, "ID");
    if (id && id->text.len)
        return true;
    struct slice text = id_make(arena, rule, number);
    if (!id) {
        id = arena_zalloc(arena, sizeof(*id));
        if (!id)
            return false;
        *id = (struct s3_node){.schema = &rule_children[0], .parent = rule, .next = rule->first};
        rule->first = id;
    }
    id->text = text;
    return text.len > 0;
}

enum s3_code s3_lifecycle_complete(struct arena *arena, struct s3_node *root,
                                   struct s3_fault *fault)
{
    unsigned number = 0;
    for (struct s3_node *rule = root->first; rule; rule = rule->next) {
        enum s3_code code = date_complete(arena, rule, fault);
        if (code == S3_OK && !id_complete(arena, rule, number++))
            code = s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
        if (code != S3_OK)
            return code;
    }
    return S3_OK;
}

/* ---- rules ---- */

static enum s3_code malformed(struct s3_fault *fault)
{
    return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
}

static enum s3_code read_tags(struct arena *arena, const struct s3_node *in,
                              struct s3_lifecycle_rule *ret, struct s3_fault *fault)
{
    size_t count = s3_node_count(in, "Tag");
    if (count == 0)
        return S3_OK;
    ret->tags.tags = arena_alloc(arena, count * sizeof(*ret->tags.tags));
    if (!ret->tags.tags)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *t = s3_node_child(in, "Tag"); t; t = s3_node_again(t)) {
        struct s3_tag *tag = &ret->tags.tags[ret->tags.count++];
        tag->key = arena_copy(arena, s3_node_child(t, "Key")->text);
        tag->value = arena_copy(arena, s3_node_child(t, "Value")->text);
        if (!tag->key.ptr || !tag->value.ptr)
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    }
    return s3_tags_check(&ret->tags, fault);
}

static bool read_amount(const struct s3_node *in, const char *name, uint64_t *ret)
{
    const struct s3_node *n = s3_node_child(in, name);
    if (n)
        *ret = n->number;
    return n != NULL;
}

static enum s3_code read_prefix(struct arena *arena, const struct s3_node *in,
                                struct s3_lifecycle_rule *ret, struct s3_fault *fault)
{
    const struct s3_node *n = s3_node_child(in, "Prefix");
    if (!n)
        return S3_OK;
    if (n->text.len > S3_KEY_BYTES_MAX)
        return s3_fault_set(fault, S3_INVALID_REQUEST, "The maximum size of a prefix is 1024.");
    ret->prefix = arena_copy(arena, n->text);
    return ret->prefix.ptr ? S3_OK : s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
}

/* The filter, one thing or several in And; or, as it was before there were filters, a prefix. */
static enum s3_code read_filter(struct arena *arena, const struct s3_node *rule,
                                struct s3_lifecycle_rule *ret, struct s3_fault *fault)
{
    const struct s3_node *filter = s3_node_child(rule, "Filter");
    bool old = s3_node_child(rule, "Prefix") != NULL;
    if (old == (filter != NULL))
        return malformed(fault);
    if (old)
        return read_prefix(arena, rule, ret, fault);
    const struct s3_node *and = s3_node_child(filter, "And"), *in = and? and : filter;
    enum s3_code code = read_prefix(arena, in, ret, fault);
    if (code == S3_OK)
        code = read_tags(arena, in, ret, fault);
    ret->has_size_above = read_amount(in, "ObjectSizeGreaterThan", &ret->size_above);
    ret->has_size_below = read_amount(in, "ObjectSizeLessThan", &ret->size_below);
    size_t said = ret->tags.count + ret->has_size_above + ret->has_size_below +
                  (s3_node_child(in, "Prefix") != NULL);
    if (code == S3_OK && and&&said < 2)
        return malformed(fault);
    if (code == S3_OK && ret->has_size_above && ret->has_size_below &&
        ret->size_below <= ret->size_above)
        return s3_fault_set(
            fault, S3_INVALID_REQUEST,
            "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'");
    return code;
}

static enum s3_code positive(uint64_t days, const char *what, struct s3_fault *fault)
{
    return days ? S3_OK : s3_fault_argument(fault, what, "Days", SLICE_LIT("0"));
}

static enum s3_code read_expiration(const struct s3_node *e, struct s3_lifecycle_rule *ret,
                                    struct s3_fault *fault)
{
    const struct s3_node *marker = s3_node_child(e, "ExpiredObjectDeleteMarker");
    const struct s3_node *date = s3_node_child(e, "Date"), *days = s3_node_child(e, "Days");
    if (days) {
        ret->expiration = S3_EXPIRE_DAYS;
        ret->days = days->number;
        return positive(ret->days, "'Days' for Expiration action must be a positive integer",
                        fault);
    }
    if (date) {
        ret->expiration = S3_EXPIRE_DATE;
        if (date_parse(xml_trim(date->text), &ret->date_ms) && ret->date_ms % S3_DAY_MS == 0)
            return S3_OK;
        return s3_fault_argument(fault, "'Date' must be at midnight GMT", "Date", date->text);
    }
    if (!marker)
        return malformed(fault);
    if (ret->tags.count)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "ExpiredObjectDeleteMarker cannot be specified with Tags.");
    if (slice_eq(marker->text, SLICE_LIT("true")))
        ret->expiration = S3_EXPIRE_MARKER;
    return S3_OK;
}

static enum s3_code read_noncurrent(const struct s3_node *n, struct s3_lifecycle_rule *ret,
                                    struct s3_fault *fault)
{
    const struct s3_node *newer = s3_node_child(n, "NewerNoncurrentVersions");
    ret->noncurrent_days = s3_node_child(n, "NoncurrentDays")->number;
    if (newer && (newer->number == 0 || newer->number > S3_LIFECYCLE_NEWER_MAX))
        return s3_fault_argument(fault,
                                 "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action "
                                 "must be between 1 and 100",
                                 "NewerNoncurrentVersions", SLICE_EMPTY);
    ret->newer_kept = newer ? (uint32_t)newer->number : 0;
    return positive(ret->noncurrent_days,
                    "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive "
                    "integer",
                    fault);
}

static enum s3_code read_abort(const struct s3_node *n, struct s3_lifecycle_rule *ret,
                               struct s3_fault *fault)
{
    ret->abort_days = s3_node_child(n, "DaysAfterInitiation")->number;
    if (ret->tags.count)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "AbortIncompleteMultipartUpload cannot be specified with Tags.");
    if (ret->has_size_above || ret->has_size_below)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "AbortIncompleteMultipartUpload cannot be specified with Object Size.");
    return positive(ret->abort_days,
                    "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a "
                    "positive integer",
                    fault);
}

static enum s3_code read_rule(struct arena *arena, const struct s3_node *rule,
                              struct s3_lifecycle_rule *ret, struct s3_fault *fault)
{
    const struct s3_node *id = s3_node_child(rule, "ID");
    const struct s3_node *expiration = s3_node_child(rule, "Expiration");
    const struct s3_node *noncurrent = s3_node_child(rule, "NoncurrentVersionExpiration");
    const struct s3_node *aborts = s3_node_child(rule, "AbortIncompleteMultipartUpload");
    ret->id = id ? arena_copy(arena, id->text) : SLICE_EMPTY;
    ret->enabled = slice_eq(s3_node_child(rule, "Status")->text, SLICE_LIT("Enabled"));
    if (id && !ret->id.ptr)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    if (ret->id.len > S3_LIFECYCLE_ID_CHARS_MAX)
        return s3_fault_argument(fault, "ID length should not exceed allowed limit of 255", "ID",
                                 ret->id);
    enum s3_code code = read_filter(arena, rule, ret, fault);
    if (code == S3_OK && !expiration && !noncurrent && !aborts)
        code = s3_fault_set(fault, S3_INVALID_REQUEST,
                            "At least one action needs to be specified in a rule");
    if (code == S3_OK && expiration)
        code = read_expiration(expiration, ret, fault);
    if (code == S3_OK && noncurrent)
        code = read_noncurrent(noncurrent, ret, fault);
    if (code == S3_OK && aborts)
        code = read_abort(aborts, ret, fault);
    return code;
}

static int compare_ids(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static enum s3_code check_ids(struct arena *arena, const struct s3_lifecycle *l,
                              struct s3_fault *fault)
{
    struct slice *ids = arena_alloc(arena, l->count * sizeof(*ids));
    if (!ids)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (size_t i = 0; i < l->count; i++)
        ids[i] = l->rules[i].id;
    qsort(ids, l->count, sizeof(*ids), compare_ids);
    for (size_t i = 1; i < l->count; i++)
        if (ids[i].len && slice_eq(ids[i], ids[i - 1]))
            return s3_fault_argument(fault,
                                     "Rule ID must be unique. Found same ID for more than one rule",
                                     "ID", ids[i]);
    return S3_OK;
}

enum s3_code s3_lifecycle_of_node(struct arena *arena, const struct s3_node *root,
                                  struct s3_lifecycle *ret, struct s3_fault *fault)
{
    size_t count = s3_node_count(root, "Rule");
    *ret = (struct s3_lifecycle){.rules = arena_zalloc(arena, count * sizeof(*ret->rules))};
    CHECK(count >= 1);
    if (!ret->rules)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *n = s3_node_child(root, "Rule"); n; n = s3_node_again(n)) {
        struct s3_lifecycle_rule *rule = &ret->rules[ret->count++];
        enum s3_code code = read_rule(arena, n, rule, fault);
        if (code != S3_OK)
            return code;
        ret->wants_tags |= rule->enabled && rule->tags.count > 0;
    }
    return check_ids(arena, ret, fault);
}
