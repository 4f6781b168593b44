/* What users, groups and roles have alike: attached and inline policies, boundaries, tags. */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "gateway/s3/xml.h"
#include "proto/registry.h"

/* Who had more than a principal may be made of could do nothing (metanode/index/principal.c).  A
 * change of a group or a policy cannot ask all whom it concerns, so the quotas keep everybody
 * within it: nothing that they let through makes anybody too large.  A character takes up to four
 * bytes. */
enum {
    ATTACHED_BYTES = IAM_ATTACHED_MAX * POLICY_MANAGED_BYTES_MAX,
    GROUP_BYTES = 4 * IAM_INLINE_GROUP_MAX + ATTACHED_BYTES,
    USER_BYTES = 4 * IAM_INLINE_USER_MAX + ATTACHED_BYTES + IAM_GROUPS_PER_USER * GROUP_BYTES,
    ROLE_BYTES = 4 * IAM_INLINE_ROLE_MAX + ATTACHED_BYTES,
    USER_ROWS = 3 + IAM_ATTACHED_MAX + IAM_GROUPS_PER_USER * (1 + IAM_ATTACHED_MAX),
};
static_assert(USER_BYTES + POLICY_MANAGED_BYTES_MAX <= PRINCIPAL_BYTES_MAX, "with a boundary");
static_assert(ROLE_BYTES + POLICY_MANAGED_BYTES_MAX <= PRINCIPAL_BYTES_MAX, "with a boundary");
static_assert(USER_ROWS + 1 <= PRINCIPAL_ROWS_MAX, "with a boundary");

/* ---- attached ---- */

enum iam_code iam_attach(struct iam_call *c, struct iam_entity *e, struct slice arn)
{
    struct iam_policy p;
    bool found;
    IAM_TRY(iam_policy_get(c, arn, &p));
    char *text = iam_cstr(c->t, arn);
    if (!text)
        return iam_no_memory(c->t);
    size_t at = iam_strings_find(*e->attached, *e->attached_count, text, &found);
    if (found)
        return IAM_OK;
    if (*e->attached_count >= IAM_ATTACHED_MAX)
        return iam_fail(c->t, IAM_LIMIT_EXCEEDED, "Cannot exceed quota of attached policies: %d",
                        IAM_ATTACHED_MAX);
    IAM_TRY(iam_strings_insert(c->t, e->attached, e->attached_count, at, text));
    iam_policy_count(&p, 1, 0);
    iam_put(e->row);
    return IAM_OK;
}

enum iam_code iam_detach(struct iam_call *c, struct iam_entity *e, struct slice arn)
{
    struct iam_policy p;
    bool found;
    char *text = iam_cstr(c->t, arn);
    if (!text)
        return iam_no_memory(c->t);
    size_t at = iam_strings_find(*e->attached, *e->attached_count, text, &found);
    if (!found)
        return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "Policy %.300s was not found.", text);
    enum iam_code code = iam_policy_get(c, arn, &p);
    if (code != IAM_OK && code != IAM_NO_SUCH_ENTITY)
        return code;
    iam_array_remove(*e->attached, e->attached_count, at);
    iam_policy_count(&p, -1, 0);
    iam_put(e->row);
    return IAM_OK;
}

static enum iam_code arn_param(struct iam_call *c, struct slice *arn)
{
    *arn = iam_query_value(c->query, "PolicyArn");
    if (!arn->ptr)
        return iam_param_missing(c, "PolicyArn");
    struct iam_arn parsed;
    if (!iam_arn_parse(*arn, &parsed) || parsed.type != IAM_ARN_POLICY)
        return iam_fail(c->t, IAM_INVALID_INPUT, "The PolicyArn is no ARN of a policy.");
    return IAM_OK;
}

enum iam_code iam_attach_policy(struct iam_call *c)
{
    struct slice arn;
    IAM_TRY(arn_param(c, &arn));
    return iam_attach(c, &c->entity, arn);
}

enum iam_code iam_detach_policy(struct iam_call *c)
{
    struct slice arn;
    IAM_TRY(arn_param(c, &arn));
    return iam_detach(c, &c->entity, arn);
}

enum iam_code iam_list_attached(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    const struct iam_entity *e = &c->entity;
    struct iam_page page;
    struct slice prefix;
    struct iam_arn arn;
    const char *last = NULL, *next = NULL;
    uint32_t shown = 0;
    IAM_TRY(iam_param(c, "PathPrefix", false, iam_path_prefix_valid, &prefix));
    IAM_TRY(iam_page_init(c, &page));
    xml_open(b, "AttachedPolicies");
    for (size_t i = 0; i < *e->attached_count; i++) {
        const char *text = (*e->attached)[i];
        if (strcmp(text, page.after) <= 0 || !iam_arn_parse(slice_cstr(text), &arn) ||
            !slice_has_prefix(arn.path, prefix))
            continue;
        if (shown == page.max) {
            next = last;
            break;
        }
        xml_open(b, "member");
        xml_slice(b, "PolicyName", arn.name);
        xml_cstr(b, "PolicyArn", text);
        xml_close(b, "member");
        last = text;
        shown++;
    }
    xml_close(b, "AttachedPolicies");
    iam_page_end(c, next);
    return IAM_OK;
}

/* ---- inline ---- */

static enum iam_code inline_find(struct iam_call *c, struct slice *name, size_t *at, bool *found)
{
    const struct iam_entity *e = &c->entity;
    IAM_TRY(iam_param_name(c, "PolicyName", IAM_POLICY_NAME_MAX, name));
    *found = false;
    for (*at = 0; *at < *e->inlined_count; ++*at) {
        int order = slice_cmp(slice_cstr((*e->inlined)[*at]->name), *name);
        *found = order == 0;
        if (order >= 0)
            break;
    }
    return IAM_OK;
}

static enum iam_code inline_none(struct iam_call *c, struct slice name)
{
    return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "The policy with name %.*s cannot be found.",
                    (int)name.len, (const char *)name.ptr);
}

enum iam_code iam_put_inline(struct iam_call *c)
{
    static const size_t limits[] = {IAM_INLINE_USER_MAX, IAM_INLINE_GROUP_MAX, IAM_INLINE_ROLE_MAX};
    const struct iam_entity *e = &c->entity;
    struct slice name, text = iam_query_value(c->query, "PolicyDocument");
    size_t at, total = 0;
    bool found;
    char *document;
    IAM_TRY(inline_find(c, &name, &at, &found));
    if (!text.ptr)
        return iam_param_missing(c, "PolicyDocument");
    IAM_TRY(iam_document(c, POLICY_INLINE, text, &document));
    if (!found) {
        Cairn__NamedDocument *d = iam_alloc(c->t, sizeof(*d));
        if (!d)
            return iam_no_memory(c->t);
        cairn__named_document__init(d);
        d->name = iam_cstr(c->t, name);
        if (!d->name)
            return iam_no_memory(c->t);
        IAM_TRY(iam_array_insert(c->t, e->inlined, e->inlined_count, at, d));
    }
    (*e->inlined)[at]->document = document;
    for (size_t i = 0; i < *e->inlined_count; i++)
        total += iam_characters((*e->inlined)[i]->document);
    if (total > limits[e->kind])
        return iam_fail(c->t, IAM_LIMIT_EXCEEDED,
                        "Maximum policy size of %zu bytes exceeded for %s %s", limits[e->kind],
                        e->kind == IAM_USER    ? "user"
                        : e->kind == IAM_GROUP ? "group"
                                               : "role",
                        *e->name);
    iam_put(e->row);
    return IAM_OK;
}

enum iam_code iam_get_inline(struct iam_call *c)
{
    static const char *const elements[] = {"UserName", "GroupName", "RoleName"};
    const struct iam_entity *e = &c->entity;
    struct buf *b = IAM_ANSWER(c);
    struct slice name;
    size_t at;
    bool found;
    IAM_TRY(inline_find(c, &name, &at, &found));
    if (!found)
        return inline_none(c, name);
    xml_cstr(b, elements[e->kind], *e->name);
    xml_slice(b, "PolicyName", name);
    iam_xml_document(c, "PolicyDocument", (*e->inlined)[at]->document);
    return IAM_OK;
}

enum iam_code iam_delete_inline(struct iam_call *c)
{
    struct slice name;
    size_t at;
    bool found;
    IAM_TRY(inline_find(c, &name, &at, &found));
    if (!found)
        return inline_none(c, name);
    iam_array_remove(*c->entity.inlined, c->entity.inlined_count, at);
    iam_put(c->entity.row);
    return IAM_OK;
}

enum iam_code iam_list_inline(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    const struct iam_entity *e = &c->entity;
    struct iam_page page;
    const char *last = NULL, *next = NULL;
    uint32_t shown = 0;
    IAM_TRY(iam_page_init(c, &page));
    xml_open(b, "PolicyNames");
    for (size_t i = 0; i < *e->inlined_count; i++) {
        const char *name = (*e->inlined)[i]->name;
        if (strcmp(name, page.after) <= 0)
            continue;
        if (shown == page.max) {
            next = last;
            break;
        }
        xml_cstr(b, "member", name);
        last = name;
        shown++;
    }
    xml_close(b, "PolicyNames");
    iam_page_end(c, next);
    return IAM_OK;
}

/* ---- boundaries ---- */

enum iam_code iam_boundary_clear(struct iam_call *c, struct iam_entity *e)
{
    struct iam_policy p;
    if (!**e->boundary)
        return IAM_OK;
    enum iam_code code = iam_policy_get(c, slice_cstr(*e->boundary), &p);
    if (code != IAM_OK && code != IAM_NO_SUCH_ENTITY)
        return code;
    iam_policy_count(&p, 0, -1);
    *e->boundary = iam_cstr(c->t, SLICE_LIT(""));
    iam_put(e->row);
    return *e->boundary ? IAM_OK : iam_no_memory(c->t);
}

enum iam_code iam_boundary_set(struct iam_call *c, struct iam_entity *e, struct slice arn)
{
    struct iam_policy p;
    struct iam_arn parsed;
    if (!iam_arn_parse(arn, &parsed) || parsed.type != IAM_ARN_POLICY)
        return iam_fail(c->t, IAM_INVALID_INPUT, "The PermissionsBoundary is no ARN of a policy.");
    IAM_TRY(iam_policy_get(c, arn, &p));
    IAM_TRY(iam_boundary_clear(c, e));
    iam_policy_count(&p, 0, 1);
    *e->boundary = iam_cstr(c->t, arn);
    iam_put(e->row);
    return *e->boundary ? IAM_OK : iam_no_memory(c->t);
}

enum iam_code iam_put_boundary(struct iam_call *c)
{
    struct slice arn = iam_query_value(c->query, "PermissionsBoundary");
    return arn.ptr ? iam_boundary_set(c, &c->entity, arn)
                   : iam_param_missing(c, "PermissionsBoundary");
}

enum iam_code iam_delete_boundary(struct iam_call *c)
{
    if (!**c->entity.boundary)
        return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "There is no permissions boundary.");
    return iam_boundary_clear(c, &c->entity);
}

/* ---- tags ---- */

/* Keys differ in more than case. */
static size_t tag_find(Cairn__Pair *const *tags, size_t count, struct slice key, bool *found)
{
    *found = false;
    for (size_t i = 0; i < count; i++)
        if (policy_eq_ignore_case(slice_cstr(tags[i]->name), key)) {
            *found = true;
            return i;
        }
    return count;
}

static enum iam_code tag_set(struct iam_call *c, Cairn__Pair ***tags, size_t *count,
                             struct slice key, struct slice value)
{
    bool found;
    if (!iam_tag_key_valid(key) || !iam_tag_value_valid(value))
        return iam_param_bad(c, "Tags");
    if (key.len >= 4 && policy_eq_ignore_case(SLICE(key.ptr, 4), SLICE_LIT("aws:")))
        return iam_fail(c->t, IAM_INVALID_INPUT, "Keys of tags may not begin with aws:.");
    size_t at = tag_find(*tags, *count, key, &found);
    Cairn__Pair *pair = iam_alloc(c->t, sizeof(*pair));
    if (!pair)
        return iam_no_memory(c->t);
    cairn__pair__init(pair);
    pair->name = iam_cstr(c->t, key);
    pair->value = iam_cstr(c->t, value);
    if (!pair->name || !pair->value)
        return iam_no_memory(c->t);
    if (!found)
        return iam_array_insert(c->t, tags, count, at, pair);
    (*tags)[at] = pair;
    return IAM_OK;
}

enum iam_code iam_tags_read(struct iam_call *c, Cairn__Pair ***tags, size_t *count)
{
    struct slice keys[IAM_TAGS_MAX];
    for (size_t i = 1;; i++) {
        struct slice key = iam_query_member(c->query, "Tags", i, "Key"),
                     value = iam_query_member(c->query, "Tags", i, "Value");
        if (!key.ptr && !value.ptr)
            break;
        if (i > IAM_TAGS_MAX)
            return iam_fail(c->t, IAM_LIMIT_EXCEEDED, "Cannot exceed quota for tags: %d",
                            IAM_TAGS_MAX);
        for (size_t j = 0; j + 1 < i; j++)
            if (policy_eq_ignore_case(keys[j], key))
                return iam_fail(c->t, IAM_INVALID_INPUT, "A tag's key comes twice.");
        keys[i - 1] = key;
        IAM_TRY(tag_set(c, tags, count, key, value));
    }
    if (*count > IAM_TAGS_MAX)
        return iam_fail(c->t, IAM_LIMIT_EXCEEDED, "Cannot exceed quota for tags: %d", IAM_TAGS_MAX);
    return IAM_OK;
}

static enum iam_code untag(struct iam_call *c, Cairn__Pair **tags, size_t *count)
{
    bool found;
    for (size_t i = 1;; i++) {
        struct slice key = iam_query_member(c->query, "TagKeys", i, NULL);
        if (!key.ptr)
            break;
        if (i > IAM_TAGS_MAX) /* nor has aws:TagKeys more: nobody was asked about these */
            return iam_param_bad(c, "TagKeys");
        size_t at = tag_find(tags, *count, key, &found);
        if (found)
            iam_array_remove(tags, count, at);
    }
    return IAM_OK;
}

static enum iam_code list_tags(struct iam_call *c, Cairn__Pair *const *tags, size_t count)
{
    struct iam_page page;
    size_t from = 0;
    bool found = false;
    IAM_TRY(iam_page_init(c, &page));
    if (*page.after)
        from = tag_find(tags, count, slice_cstr(page.after), &found) + 1;
    from = MIN(from, count);
    size_t shown = MIN(count - from, (size_t)page.max);
    iam_xml_tags(c, tags + from, shown);
    iam_page_end(c, from + shown < count ? tags[from + shown - 1]->name : NULL);
    return IAM_OK;
}

enum iam_code iam_tag(struct iam_call *c)
{
    iam_put(c->entity.row);
    return iam_tags_read(c, c->entity.tags, c->entity.tag_count);
}

enum iam_code iam_untag(struct iam_call *c)
{
    iam_put(c->entity.row);
    return untag(c, *c->entity.tags, c->entity.tag_count);
}

enum iam_code iam_list_tags(struct iam_call *c)
{
    return list_tags(c, *c->entity.tags, *c->entity.tag_count);
}

static enum iam_code own_policy(struct iam_call *c)
{
    return c->policy.own ? IAM_OK
                         : iam_fail(c->t, IAM_ACCESS_DENIED, "AWS managed policies have no tags.");
}

enum iam_code iam_tag_policy(struct iam_call *c)
{
    IAM_TRY(own_policy(c));
    iam_put(c->policy.row);
    return iam_tags_read(c, &c->policy.own->tags, &c->policy.own->n_tags);
}

enum iam_code iam_untag_policy(struct iam_call *c)
{
    IAM_TRY(own_policy(c));
    iam_put(c->policy.row);
    return untag(c, c->policy.own->tags, &c->policy.own->n_tags);
}

enum iam_code iam_list_policy_tags(struct iam_call *c)
{
    IAM_TRY(own_policy(c));
    return list_tags(c, c->policy.own->tags, c->policy.own->n_tags);
}
