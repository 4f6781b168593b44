/* Tags. */
#include "gateway/s3/tags.h"

#include "common/base/check.h"
#include "gateway/s3/xml_reader.h"

const struct s3_schema s3_tag_children[] = {
    {.name = "Key", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "Value", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {0},
};
static const struct s3_schema set_children[] = {
    {.name = "Tag", .type = S3_NODE_GROUP, .children = s3_tag_children},
    {0},
};
static const struct s3_schema tagging_children[] = {
    {.name = "TagSet", .type = S3_NODE_GROUP, .min = 1, .max = 1, .children = set_children},
    {0},
};
const struct s3_schema s3_tagging_schema = {
    .name = "Tagging", .type = S3_NODE_GROUP, .children = tagging_children};

/* Letters, digits and spaces of any script, and + - = . _ : / @.  Which characters beyond ASCII are
 * letters is not asked. */
static bool characters_ok(struct slice s, size_t max)
{
    size_t chars = 0;
    for (size_t i = 0; i < s.len;) {
        uint8_t c = s.ptr[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (c < 0x80 && !alnum && (c == 0 || !strchr(" +-=._:/@", c)))
            return false;
        size_t n = utf8_sequence(s.ptr + i, s.len - i);
        if (n == 0)
            return false;
        i += n;
        chars++;
    }
    return chars <= max;
}

static enum s3_code invalid_tag(struct s3_fault *fault, const char *message, struct slice key)
{
    s3_fault_set(fault, S3_INVALID_TAG, message);
    s3_fault_extra(fault, "TagKey", key);
    return S3_INVALID_TAG;
}

static bool is_duplicate(const struct s3_tags *t, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (slice_eq(t->tags[i].key, t->tags[at].key))
            return true;
    return false;
}

static enum s3_code check_count(size_t count, bool of_object, struct s3_fault *fault)
{
    if (count <= (of_object ? S3_OBJECT_TAGS_MAX : S3_BUCKET_TAGS_MAX))
        return S3_OK;
    return s3_fault_set(fault, S3_BAD_REQUEST,
                        of_object ? "Object tags cannot be greater than 10"
                                  : "Bucket tag count cannot be greater than 50");
}

enum s3_code s3_tags_check(const struct s3_tags *t, struct s3_fault *fault)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct s3_tag *tag = &t->tags[i];
        if (tag->key.len == 0 || !characters_ok(tag->key, S3_TAG_KEY_CHARS_MAX))
            return invalid_tag(fault, "The TagKey you have provided is invalid", tag->key);
        if (slice_has_prefix_nocase(tag->key, SLICE_LIT("aws:")))
            return invalid_tag(fault, "System tags cannot be added/updated by requester", tag->key);
        if (!characters_ok(tag->value, S3_TAG_VALUE_CHARS_MAX))
            return invalid_tag(fault, "The TagValue you have provided is invalid", tag->key);
        if (is_duplicate(t, i))
            return invalid_tag(fault, "Cannot provide multiple Tags with the same key", tag->key);
    }
    return S3_OK;
}

static enum s3_code tags_of_set(struct arena *arena, const struct s3_node *set, bool of_object,
                                struct s3_tags *ret, struct s3_fault *fault)
{
    size_t count = s3_node_count(set, "Tag");
    *ret = (struct s3_tags){0};
    enum s3_code code = check_count(count, of_object, fault);
    if (code != S3_OK || count == 0)
        return code;
    ret->tags = arena_alloc(arena, count * sizeof(*ret->tags));
    if (!ret->tags)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *n = s3_node_child(set, "Tag"); n; n = s3_node_again(n))
        ret->tags[ret->count++] =
            (struct s3_tag){s3_node_child(n, "Key")->text, s3_node_child(n, "Value")->text};
    return s3_tags_check(ret, fault);
}

enum s3_code s3_tags_of_node(struct arena *arena, const struct s3_node *tagging, bool of_object,
                             struct s3_tags *ret, struct s3_fault *fault)
{
    const struct s3_node *set = s3_node_child(tagging, "TagSet");
    CHECK(set);
    return tags_of_set(arena, set, of_object, ret, fault);
}

/* ---- CreateBucketConfiguration ---- */

static const struct s3_schema create_tags_children[] = {
    {.name = "Tag", .type = S3_NODE_GROUP, .children = s3_tag_children}, {0}};
static const struct s3_schema create_children[] = {
    {.name = "LocationConstraint", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Location", .type = S3_NODE_REFUSED}, /* of directory buckets */
    {.name = "Bucket", .type = S3_NODE_REFUSED},
    {.name = "Tags", .type = S3_NODE_GROUP, .max = 1, .children = create_tags_children},
    {0}};
static const struct s3_schema create_schema = {
    .name = "CreateBucketConfiguration", .type = S3_NODE_GROUP, .children = create_children};

enum s3_code s3_xml_create_bucket(struct arena *arena, struct slice body,
                                  struct s3_create_bucket *ret, struct s3_fault *fault)
{
    struct s3_node *root;
    struct s3_tags tags = {0};
    *ret = (struct s3_create_bucket){0};
    if (body.len == 0)
        return S3_OK;
    enum s3_code code = s3_document_read(arena, &create_schema, body, &root, fault);
    if (code != S3_OK)
        return code;
    const struct s3_node *location = s3_node_child(root, "LocationConstraint");
    if (location)
        ret->location_constraint = xml_trim(location->text);
    const struct s3_node *set = s3_node_child(root, "Tags");
    if (set)
        code = tags_of_set(arena, set, false, &tags, fault);
    ret->tags = tags.tags;
    ret->tag_count = tags.count;
    return code;
}

enum s3_code s3_tags_read(struct arena *arena, struct slice body, bool of_object,
                          struct s3_tags *ret, struct s3_fault *fault)
{
    struct s3_node *root;
    enum s3_code code = s3_document_read(arena, &s3_tagging_schema, body, &root, fault);
    return code == S3_OK ? s3_tags_of_node(arena, root, of_object, ret, fault) : code;
}

/* ---- the field ---- */

static enum s3_code bad_field(struct s3_fault *fault, struct slice value)
{
    return s3_fault_argument(fault,
                             "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded "
                             "URL query parameters without tag name duplicates.",
                             "x-amz-tagging", value);
}

/* One "name=value", decoded; false: of no such form, or no memory. */
static bool decode_pair(struct arena *arena, struct slice pair, struct s3_tag *ret)
{
    const uint8_t *equals = memchr(pair.ptr, '=', pair.len);
    size_t name_len = equals ? (size_t)(equals - pair.ptr) : pair.len;
    struct slice value = equals ? SLICE(equals + 1, pair.len - name_len - 1) : SLICE_EMPTY;
    return s3_percent_decode(arena, SLICE(pair.ptr, name_len), true, &ret->key) &&
           s3_percent_decode(arena, value, true, &ret->value) && utf8_valid(ret->key) &&
           utf8_valid(ret->value);
}

enum s3_code s3_tags_of_request(const struct s3_request *r, struct s3_tags *ret,
                                struct s3_fault *fault)
{
    struct slice text = http_fields_get(r->fields, "x-amz-tagging");
    *ret = (struct s3_tags){0};
    if (text.len == 0)
        return S3_OK;
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '&';
    enum s3_code code = check_count(count, true, fault);
    if (code != S3_OK)
        return code;
    ret->tags = arena_alloc(r->arena, count * sizeof(*ret->tags));
    if (!ret->tags)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (size_t at = 0; at <= text.len;) {
        const uint8_t *and = at < text.len ? memchr(text.ptr + at, '&', text.len - at) : NULL;
        size_t len = and? (size_t)(and-(text.ptr + at)) : text.len - at;
        if (len == 0 || !decode_pair(r->arena, SLICE(text.ptr + at, len), &ret->tags[ret->count]))
            return r->arena->failed ? s3_fault_set(fault, S3_INTERNAL_ERROR, NULL)
                                    : bad_field(fault, text);
        if (is_duplicate(ret, ret->count))
            return bad_field(fault, text);
        ret->count++;
        at += len + 1;
    }
    return s3_tags_check(ret, fault);
}

void s3_tags_write(struct buf *b, const struct s3_tags *t)
{
    xml_open_ns(b, "Tagging");
    xml_open(b, "TagSet");
    for (size_t i = 0; i < t->count; i++) {
        xml_open(b, "Tag");
        xml_slice(b, "Key", t->tags[i].key);
        xml_slice(b, "Value", t->tags[i].value);
        xml_close(b, "Tag");
    }
    xml_close(b, "TagSet");
    xml_close(b, "Tagging");
}
