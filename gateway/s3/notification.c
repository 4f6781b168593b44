/* Bucket notifications: configuration and matching. */
#include "gateway/s3/notification.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/crypto/codec.h"
#include "gateway/s3/request.h"

#define ARN_HEAD "arn:cairn:sqs::"
#define ARN_TAIL ":webhook"
enum { ID_BYTES_MAX = 255, FILTER_BYTES_MAX = 1024, NAME_BYTES_MAX = 64 };

static const char *const event_names[S3_EVENT_COUNT] = {
    [S3_EVENT_CREATED_PUT] = "ObjectCreated:Put",
    [S3_EVENT_CREATED_POST] = "ObjectCreated:Post",
    [S3_EVENT_CREATED_COPY] = "ObjectCreated:Copy",
    [S3_EVENT_CREATED_COMPLETE] = "ObjectCreated:CompleteMultipartUpload",
    [S3_EVENT_REMOVED_DELETE] = "ObjectRemoved:Delete",
    [S3_EVENT_REMOVED_MARKER] = "ObjectRemoved:DeleteMarkerCreated",
    [S3_EVENT_TAGGING_PUT] = "ObjectTagging:Put",
    [S3_EVENT_TAGGING_DELETE] = "ObjectTagging:Delete",
    [S3_EVENT_ACL_PUT] = "ObjectAcl:Put",
    [S3_EVENT_EXPIRED_DELETE] = "LifecycleExpiration:Delete",
    [S3_EVENT_EXPIRED_MARKER] = "LifecycleExpiration:DeleteMarkerCreated",
};

const char *s3_event_name(enum s3_event event)
{
    bool known = event > S3_EVENT_NONE && event < S3_EVENT_COUNT;
    return known ? event_names[event] : "";
}

/* ---- schema ---- */

static const struct s3_schema filter_rule_children[] = {
    {.name = "Name", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "Value", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {0},
};
static const struct s3_schema key_children[] = {
    {.name = "FilterRule", .type = S3_NODE_GROUP, .children = filter_rule_children}, {0}};
static const struct s3_schema filter_children[] = {
    {.name = "S3Key", .type = S3_NODE_GROUP, .max = 1, .children = key_children}, {0}};

#define CONFIGURATION(array, destination)                                                          \
    static const struct s3_schema array[] = {                                                      \
        {.name = "Id", .type = S3_NODE_TEXT, .max = 1},                                            \
        {.name = destination, .type = S3_NODE_TEXT, .min = 1, .max = 1},                           \
        {.name = "Event", .type = S3_NODE_TEXT, .min = 1},                                         \
        {.name = "Filter", .type = S3_NODE_GROUP, .max = 1, .children = filter_children},          \
        {0},                                                                                       \
    }
CONFIGURATION(topic_children, "Topic");
CONFIGURATION(queue_children, "Queue");
CONFIGURATION(function_children, "CloudFunction");

static const struct s3_schema notification_children[] = {
    {.name = "TopicConfiguration", .type = S3_NODE_GROUP, .children = topic_children},
    {.name = "QueueConfiguration", .type = S3_NODE_GROUP, .children = queue_children},
    {.name = "CloudFunctionConfiguration", .type = S3_NODE_GROUP, .children = function_children},
    {.name = "EventBridgeConfiguration", .type = S3_NODE_REFUSED},
    {0},
};
const struct s3_schema s3_notification_schema = {
    .name = "NotificationConfiguration", .type = S3_NODE_GROUP, .children = notification_children};

/* The name of the element that holds the ARN is the second of each. */
static const char *destination_of(const struct s3_node *config)
{
    return config->schema->children[1].name;
}

/* ---- ids ---- */

static uint64_t node_hash(const struct s3_node *n, uint64_t seed)
{
    uint64_t h = hash64(seed, n->text);
    for (const struct s3_node *c = n->first; c; c = c->next)
        h = node_hash(c, h);
    return h;
}

enum s3_code s3_notification_name(struct arena *arena, struct s3_node *root, struct s3_fault *fault)
{
    for (struct s3_node *n = root->first; n; n = n->next) {
        if (s3_node_child(n, "Id"))
            continue;
        struct s3_node *id = arena_zalloc(arena, sizeof(*id));
        char *text = arena_alloc(arena, 2 * HEX_CHARS(sizeof(uint64_t)));
        if (!id || !text)
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
        for (uint64_t half = 0; half < 2; half++) {
            uint64_t h = node_hash(n, half + 1);
            hex_encode(SLICE(&h, sizeof(h)), text + half * HEX_CHARS(sizeof(h)));
        }
        *id = (struct s3_node){.schema = &n->schema->children[0],
                               .text = SLICE(text, 2 * HEX_CHARS(sizeof(uint64_t))),
                               .parent = n,
                               .next = n->first};
        n->first = id;
    }
    return S3_OK;
}

/* ---- rules ---- */

/* "s3:ObjectCreated:*" and its like; 0: there is no such event. */
static uint32_t event_mask(struct slice text)
{
    uint32_t mask = 0;
    if (!slice_has_prefix(text, SLICE_LIT("s3:")))
        return 0;
    text = SLICE(text.ptr + 3, text.len - 3);
    bool all = text.len >= 2 && text.ptr[text.len - 1] == '*' && text.ptr[text.len - 2] == ':';
    for (int e = 1; e < S3_EVENT_COUNT; e++) {
        struct slice name = slice_cstr(event_names[e]);
        if (all ? slice_has_prefix(name, SLICE(text.ptr, text.len - 1)) : slice_eq(name, text))
            mask |= 1u << e;
    }
    return mask;
}

static enum s3_code filter_of(const struct s3_node *config, struct s3_notification_rule *rule,
                              struct s3_fault *fault)
{
    const struct s3_node *filter = s3_node_child(config, "Filter");
    const struct s3_node *key = filter ? s3_node_child(filter, "S3Key") : NULL;
    bool has_prefix = false, has_suffix = false;
    for (const struct s3_node *n = key ? key->first : NULL; n; n = n->next) {
        struct slice name = s3_node_child(n, "Name")->text;
        struct slice value = s3_node_child(n, "Value")->text;
        bool prefix = slice_eq_nocase(name, SLICE_LIT("prefix"));
        bool *has = prefix ? &has_prefix : &has_suffix;
        if (!prefix && !slice_eq_nocase(name, SLICE_LIT("suffix")))
            return s3_fault_argument(fault, "filter rule name must be either prefix or suffix",
                                     "FilterRule.Name", name);
        if (*has)
            return s3_fault_argument(fault,
                                     "Cannot specify more than one rule of a kind in a filter.",
                                     "FilterRule.Name", name);
        if (value.len > FILTER_BYTES_MAX)
            return s3_fault_argument(fault, "Size of filter rule value cannot exceed 1024 bytes",
                                     "FilterRule.Value", value);
        *has = true;
        *(prefix ? &rule->prefix : &rule->suffix) = value;
    }
    return S3_OK;
}

static bool arn_parse(struct slice arn, struct slice *ret_name)
{
    struct slice head = SLICE_LIT(ARN_HEAD), tail = SLICE_LIT(ARN_TAIL);
    if (arn.len <= head.len + tail.len || !slice_has_prefix(arn, head) ||
        !slice_eq(SLICE(arn.ptr + arn.len - tail.len, tail.len), tail))
        return false;
    *ret_name = SLICE(arn.ptr + head.len, arn.len - head.len - tail.len);
    return ret_name->len <= NAME_BYTES_MAX && !memchr(ret_name->ptr, ':', ret_name->len);
}

enum s3_code s3_notification_unreachable(struct s3_fault *fault, struct slice arn)
{
    return s3_fault_argument(fault, "Unable to validate the following destination configurations",
                             "Destination", arn);
}

static enum s3_code rule_of_node(const struct s3_node *config, struct s3_notification_rule *ret,
                                 struct s3_fault *fault)
{
    const struct s3_node *id = s3_node_child(config, "Id");
    *ret = (struct s3_notification_rule){.id = id ? id->text : SLICE_EMPTY};
    ret->arn = s3_node_child(config, destination_of(config))->text;
    if (ret->id.len > ID_BYTES_MAX)
        return s3_fault_argument(fault, "The Id of a configuration may have 255 characters.", "Id",
                                 ret->id);
    if (!arn_parse(ret->arn, &ret->webhook))
        return s3_notification_unreachable(fault, ret->arn);
    for (const struct s3_node *e = s3_node_child(config, "Event"); e; e = s3_node_again(e)) {
        uint32_t mask = event_mask(e->text);
        if (mask == 0)
            return s3_fault_argument(fault, "A specified event is not supported for notifications.",
                                     "Event", e->text);
        ret->events |= mask;
    }
    return filter_of(config, ret, fault);
}

static bool is_suffix(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && slice_eq(SLICE(s.ptr + s.len - suffix.len, suffix.len), suffix);
}

/* Is there a key that both match? */
static bool overlap(const struct s3_notification_rule *a, const struct s3_notification_rule *b)
{
    return (slice_has_prefix(a->prefix, b->prefix) || slice_has_prefix(b->prefix, a->prefix)) &&
           (is_suffix(a->suffix, b->suffix) || is_suffix(b->suffix, a->suffix));
}

static enum s3_code rules_agree(const struct s3_notification *n, struct s3_fault *fault)
{
    for (size_t i = 0; i < n->count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct s3_notification_rule *a = &n->rules[i], *b = &n->rules[k];
            if (a->id.len && slice_eq(a->id, b->id))
                return s3_fault_argument(
                    fault, "Same ID used for multiple configurations. IDs must be unique", "Id",
                    a->id);
            if (a->events & b->events && overlap(a, b))
                return s3_fault_argument(
                    fault,
                    "Configuration is ambiguously defined. Cannot have overlapping suffixes in two "
                    "rules if the prefixes are overlapping for the same event type.",
                    "Id", a->id);
        }
    return S3_OK;
}

enum s3_code s3_notification_of_node(struct arena *arena, const struct s3_node *root,
                                     struct s3_notification *ret, struct s3_fault *fault)
{
    size_t count = 0;
    for (const struct s3_node *n = root->first; n; n = n->next)
        count++;
    *ret = (struct s3_notification){0};
    if (count > S3_NOTIFICATIONS_MAX)
        return s3_fault_argument(fault, "A bucket may have 100 notification configurations.",
                                 "NotificationConfiguration", SLICE_EMPTY);
    ret->rules = arena_alloc(arena, (count + 1) * sizeof(*ret->rules));
    if (!ret->rules)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *n = root->first; n; n = n->next) {
        enum s3_code code = rule_of_node(n, &ret->rules[ret->count], fault);
        if (code != S3_OK)
            return code;
        ret->count++;
    }
    return rules_agree(ret, fault);
}

const struct s3_notification_rule *s3_notification_match(const struct s3_notification *n,
                                                         enum s3_event event, struct slice key)
{
    for (size_t i = 0; i < n->count; i++) {
        const struct s3_notification_rule *r = &n->rules[i];
        if (r->events >> event & 1 && slice_has_prefix(key, r->prefix) && is_suffix(key, r->suffix))
            return r;
    }
    return NULL;
}
