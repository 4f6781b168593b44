/* Bucket replication: configuration and matching. */
#include "gateway/s3/replication.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/crypto/codec.h"
#include "gateway/s3/request.h"

#define ARN_HEAD "arn:aws:s3:::"
enum { ID_BYTES_MAX = 255, PREFIX_BYTES_MAX = 1024, NAME_BYTES_MAX = 64 };

/* ---- schema ---- */

static const char *const states[] = {"Enabled", "Disabled", NULL};
static const char *const disabled[] = {"Disabled", NULL};
#define STATUS(array, values)                                                                      \
    static const struct s3_schema array[] = {                                                      \
        {.name = "Status", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = (values)}, {0}}
STATUS(marker_children, states);
STATUS(existing_children, disabled);

static const struct s3_schema and_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .children = s3_tag_children},
    {0},
};
static const struct s3_schema filter_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .max = 1, .children = s3_tag_children},
    {.name = "And", .type = S3_NODE_GROUP, .max = 1, .children = and_children},
    {0},
};
static const struct s3_schema destination_children[] = {
    {.name = "Bucket", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "Account", .type = S3_NODE_TEXT, .max = 1},
    {.name = "StorageClass", .type = S3_NODE_TEXT, .max = 1},
    {.name = "AccessControlTranslation", .type = S3_NODE_REFUSED},
    {.name = "EncryptionConfiguration", .type = S3_NODE_REFUSED},
    {.name = "ReplicationTime", .type = S3_NODE_REFUSED},
    {.name = "Metrics", .type = S3_NODE_REFUSED},
    {0},
};
static const struct s3_schema rule_children[] = {
    {.name = "ID", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Priority", .type = S3_NODE_NUMBER, .max = 1},
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Filter",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = filter_children,
     .one_kind = true},
    {.name = "Status", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = states},
    {.name = "SourceSelectionCriteria", .type = S3_NODE_REFUSED},
    {.name = "ExistingObjectReplication",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = existing_children},
    {.name = "Destination",
     .type = S3_NODE_GROUP,
     .min = 1,
     .max = 1,
     .children = destination_children},
    {.name = "DeleteMarkerReplication",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = marker_children},
    {0},
};
static const struct s3_schema replication_children[] = {
    {.name = "Role", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "Rule", .type = S3_NODE_GROUP, .min = 1, .children = rule_children},
    {0},
};
const struct s3_schema s3_replication_schema = {
    .name = "ReplicationConfiguration", .type = S3_NODE_GROUP, .children = replication_children};

/* ---- ids ---- */

static uint64_t node_hash(const struct s3_node *n, uint64_t seed)
{
    uint64_t h = hash64(seed, n->text);
    for (const struct s3_node *c = n->first; c; c = c->next)
        h = node_hash(c, h);
    return h;
}

enum s3_code s3_replication_name(struct arena *arena, struct s3_node *root, struct s3_fault *fault)
{
    for (struct s3_node *n = root->first; n; n = n->next) {
        if (n->schema->children != rule_children || s3_node_child(n, "ID"))
            continue;
        struct s3_node *id = arena_zalloc(arena, sizeof(*id));
        char *text = arena_alloc(arena, HEX_CHARS(sizeof(uint64_t)));
        uint64_t h = node_hash(n, 1);
        if (!id || !text)
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
        hex_encode(SLICE(&h, sizeof(h)), text);
        *id = (struct s3_node){.schema = &rule_children[0],
                               .text = SLICE(text, HEX_CHARS(sizeof(h))),
                               .parent = n,
                               .next = n->first};
        n->first = id;
    }
    return S3_OK;
}

/* ---- rules ---- */

static enum s3_code tags_take(struct arena *arena, const struct s3_node *in,
                              struct s3_replication_rule *rule, struct s3_fault *fault)
{
    size_t count = s3_node_count(in, "Tag");
    rule->tags.tags = arena_alloc(arena, (count + 1) * sizeof(*rule->tags.tags));
    if (!rule->tags.tags)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *t = s3_node_child(in, "Tag"); t; t = s3_node_again(t))
        rule->tags.tags[rule->tags.count++] =
            (struct s3_tag){s3_node_child(t, "Key")->text, s3_node_child(t, "Value")->text};
    return S3_OK;
}

static enum s3_code filter_of(struct arena *arena, const struct s3_node *n,
                              struct s3_replication_rule *rule, struct s3_fault *fault)
{
    const struct s3_node *filter = s3_node_child(n, "Filter"), *prefix = s3_node_child(n, "Prefix");
    if (filter && prefix)
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    const struct s3_node *both = filter ? s3_node_child(filter, "And") : NULL;
    const struct s3_node *in = both ? both : filter;
    enum s3_code code = in ? tags_take(arena, in, rule, fault) : S3_OK;
    if (in)
        prefix = s3_node_child(in, "Prefix");
    rule->prefix = prefix ? prefix->text : SLICE_EMPTY;
    if (code == S3_OK && rule->prefix.len > PREFIX_BYTES_MAX)
        code = s3_fault_argument(fault, "The prefix of a rule is longer than any key.", "Prefix",
                                 rule->prefix);
    return code;
}

/* What rules of the second version must say, and those of the first must not. */
static enum s3_code version_check(const struct s3_node *n, struct s3_replication_rule *rule,
                                  struct s3_fault *fault)
{
    const struct s3_node *priority = s3_node_child(n, "Priority");
    const struct s3_node *marker = s3_node_child(n, "DeleteMarkerReplication");
    bool second = s3_node_child(n, "Filter") != NULL;
    if (!second && (priority || marker))
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Filter must be specified for this version of Cross Region Replication "
                            "configuration schema.");
    if (second && !priority)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Priority must be specified for this version of Cross Region "
                            "Replication configuration schema.");
    if (second && !marker)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "DeleteMarkerReplication must be specified for this version of Cross "
                            "Region Replication configuration schema.");
    rule->priority = priority ? priority->number : 0;
    rule->delete_markers =
        !second || slice_eq(s3_node_child(marker, "Status")->text, SLICE_LIT("Enabled"));
    if (rule->delete_markers && rule->tags.count)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Delete marker replication is not supported if any Tag filter is "
                            "specified.");
    return S3_OK;
}

static enum s3_code destination_of(const struct s3_node *n, struct s3_replication_rule *rule,
                                   struct s3_fault *fault)
{
    const struct s3_node *to = s3_node_child(n, "Destination");
    const struct s3_node *storage_class = s3_node_child(to, "StorageClass");
    struct slice arn = s3_node_child(to, "Bucket")->text, head = SLICE_LIT(ARN_HEAD);
    if (!slice_has_prefix(arn, head))
        return s3_fault_argument(fault, "Invalid bucket ARN.", "Bucket", arn);
    rule->place = SLICE(arn.ptr + head.len, arn.len - head.len);
    const uint8_t *slash = rule->place.len ? memchr(rule->place.ptr, '/', rule->place.len) : NULL;
    size_t name = slash ? (size_t)(slash - rule->place.ptr) : 0;
    rule->target = SLICE(rule->place.ptr, name);
    rule->bucket = slash ? SLICE(slash + 1, rule->place.len - name - 1) : SLICE_EMPTY;
    rule->storage_class = storage_class ? storage_class->text : SLICE_EMPTY;
    if (name == 0 || name > NAME_BYTES_MAX || rule->bucket.len < 3 ||
        rule->bucket.len > S3_BUCKET_NAME_MAX || memchr(rule->bucket.ptr, '/', rule->bucket.len))
        return s3_fault_set(fault, S3_INVALID_REQUEST, "Destination bucket must exist.");
    return S3_OK;
}

static enum s3_code rule_of_node(struct arena *arena, const struct s3_node *n,
                                 struct s3_replication_rule *ret, struct s3_fault *fault)
{
    const struct s3_node *id = s3_node_child(n, "ID");
    *ret = (struct s3_replication_rule){
        .id = id ? id->text : SLICE_EMPTY,
        .enabled = slice_eq(s3_node_child(n, "Status")->text, SLICE_LIT("Enabled"))};
    if (ret->id.len > ID_BYTES_MAX)
        return s3_fault_argument(fault, "Rule ID must be less than or equal to 255 characters.",
                                 "ID", ret->id);
    enum s3_code code = filter_of(arena, n, ret, fault);
    if (code == S3_OK)
        code = version_check(n, ret, fault);
    return code == S3_OK ? destination_of(n, ret, fault) : code;
}

static enum s3_code rules_agree(const struct s3_replication *r, struct s3_fault *fault)
{
    size_t places = 0;
    for (size_t i = 0; i < r->count; i++) {
        bool met = false;
        for (size_t k = 0; k < i; k++) {
            const struct s3_replication_rule *a = &r->rules[i], *b = &r->rules[k];
            met |= slice_eq(a->place, b->place);
            if (a->id.len && slice_eq(a->id, b->id))
                return s3_fault_argument(fault,
                                         "Rule Id must be unique. Found same Id for more "
                                         "than one rule",
                                         "ID", a->id);
            if (a->priority == b->priority && slice_eq(a->place, b->place))
                return s3_fault_set(fault, S3_INVALID_REQUEST,
                                    "Found duplicate priority in rules of one destination.");
        }
        places += !met;
    }
    if (places > S3_REPLICATION_SINKS_MAX)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "A bucket may be replicated to 8 destinations.");
    return S3_OK;
}

enum s3_code s3_replication_of_node(struct arena *arena, const struct s3_node *root,
                                    struct s3_replication *ret, struct s3_fault *fault)
{
    size_t count = s3_node_count(root, "Rule");
    *ret = (struct s3_replication){0};
    if (count > S3_REPLICATION_RULES_MAX)
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    ret->rules = arena_alloc(arena, (count + 1) * sizeof(*ret->rules));
    if (!ret->rules)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *n = s3_node_child(root, "Rule"); n; n = s3_node_again(n)) {
        enum s3_code code = rule_of_node(arena, n, &ret->rules[ret->count], fault);
        if (code != S3_OK)
            return code;
        ret->count++;
    }
    return rules_agree(ret, fault);
}

/* ---- matching ---- */

static bool has_tag(const struct s3_tags *tags, const struct s3_tag *wanted)
{
    for (size_t i = 0; tags && i < tags->count; i++)
        if (slice_eq(tags->tags[i].key, wanted->key))
            return slice_eq(tags->tags[i].value, wanted->value);
    return false;
}

static bool matches(const struct s3_replication_rule *rule, struct slice key,
                    const struct s3_tags *tags, bool marker)
{
    if (!rule->enabled || !slice_has_prefix(key, rule->prefix) || (marker && !rule->delete_markers))
        return false;
    for (size_t i = 0; i < rule->tags.count; i++)
        if (!has_tag(tags, &rule->tags.tags[i]))
            return false;
    return true;
}

size_t s3_replication_match(const struct s3_replication *r, struct slice key,
                            const struct s3_tags *tags, bool marker,
                            const struct s3_replication_rule **ret)
{
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct s3_replication_rule *rule = &r->rules[i];
        if (!matches(rule, key, tags, marker))
            continue;
        size_t at = 0;
        while (at < count && !slice_eq(ret[at]->place, rule->place))
            at++;
        if (at == count && count < S3_REPLICATION_SINKS_MAX)
            ret[count++] = rule;
        else if (at < count && ret[at]->priority < rule->priority)
            ret[at] = rule;
    }
    return count;
}
