/* Managed policies and their versions. */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "gateway/s3/request.h"
#include "gateway/s3/xml.h"

#include <stdlib.h>

/* ---- how they are shown ---- */

static void xml_policy(struct iam_call *c, const char *element, const struct iam_policy *p,
                       bool whole)
{
    struct buf *b = IAM_ANSWER(c);
    const Cairn__PolicyRow *own = p->own;
    xml_open(b, element);
    xml_cstr(b, "PolicyName", own ? own->name : p->aws->name);
    xml_cstr(b, "PolicyId", own ? own->unique_id : p->aws->unique_id);
    xml_slice(b, "Arn", p->arn);
    xml_cstr(b, "Path", own ? own->path : p->aws->path);
    xml_cstr(b, "DefaultVersionId", own ? own->default_version : p->aws->version);
    xml_u64(b, "AttachmentCount", own ? own->attachments : 0);
    xml_u64(b, "PermissionsBoundaryUsageCount", own ? own->boundaries : 0);
    xml_bool(b, "IsAttachable", true);
    if (whole && (!own || *own->description))
        xml_cstr(b, "Description", own ? own->description : p->aws->description);
    iam_xml_time(c, "CreateDate", own ? own->created_ms : p->aws->created_ms);
    iam_xml_time(c, "UpdateDate", own ? own->changed_ms : p->aws->changed_ms);
    if (whole && own && own->n_tags)
        iam_xml_tags(c, own->tags, own->n_tags);
    xml_close(b, element);
}

static void xml_version(struct iam_call *c, const char *element, const char *id,
                        const char *document, bool is_default, uint64_t created_ms)
{
    struct buf *b = IAM_ANSWER(c);
    xml_open(b, element);
    if (document)
        iam_xml_document(c, "Document", document);
    xml_cstr(b, "VersionId", id);
    xml_bool(b, "IsDefaultVersion", is_default);
    iam_xml_time(c, "CreateDate", created_ms);
    xml_close(b, element);
}

/* ---- versions ---- */

static enum iam_code version_add(struct iam_call *c, Cairn__PolicyRow *p, bool make_default,
                                 Cairn__PolicyVersion **ret)
{
    struct iam_txn *t = c->t;
    struct slice text = iam_query_value(c->query, "PolicyDocument");
    Cairn__PolicyVersion *v = iam_alloc(t, sizeof(*v));
    if (!v)
        return iam_no_memory(t);
    if (!text.ptr)
        return iam_param_missing(c, "PolicyDocument");
    if (p->n_versions >= IAM_VERSIONS_MAX)
        return iam_fail(t, IAM_LIMIT_EXCEEDED,
                        "A managed policy can have up to %d versions. Before you create a new "
                        "version, you must delete an existing version.",
                        IAM_VERSIONS_MAX);
    cairn__policy_version__init(v);
    IAM_TRY(iam_document(c, POLICY_MANAGED, text, &v->document));
    v->id = iam_printf(t, "v%u", ++p->versions_made);
    v->created_ms = p->changed_ms = t->now_ms;
    if (!v->id)
        return iam_no_memory(t);
    if (make_default)
        p->default_version = v->id;
    *ret = v;
    return iam_array_insert(t, &p->versions, &p->n_versions, p->n_versions, v);
}

static enum iam_code version_find(struct iam_call *c, Cairn__PolicyRow *p, size_t *ret)
{
    struct slice id = iam_query_value(c->query, "VersionId");
    if (!id.ptr)
        return iam_param_missing(c, "VersionId");
    for (size_t i = 0; p && i < p->n_versions; i++)
        if (slice_eq(slice_cstr(p->versions[i]->id), id)) {
            *ret = i;
            return IAM_OK;
        }
    return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "The policy has no version %.*s.",
                    (int)MIN(id.len, 32u), (const char *)id.ptr);
}

/* Policies of AWS are nobody's to change. */
static enum iam_code changeable(struct iam_call *c)
{
    return c->policy.own ? IAM_OK
                         : iam_fail(c->t, IAM_ACCESS_DENIED,
                                    "Policies of AWS cannot be changed by an account.");
}

enum iam_code iam_create_policy_version(struct iam_call *c)
{
    Cairn__PolicyVersion *v;
    bool make_default;
    IAM_TRY(changeable(c));
    IAM_TRY(iam_param_bool(c, "SetAsDefault", false, &make_default));
    IAM_TRY(version_add(c, c->policy.own, make_default, &v));
    iam_put(c->policy.row);
    xml_version(c, "PolicyVersion", v->id, NULL, make_default, v->created_ms);
    return IAM_OK;
}

enum iam_code iam_delete_policy_version(struct iam_call *c)
{
    Cairn__PolicyRow *p = c->policy.own;
    size_t at;
    IAM_TRY(changeable(c));
    IAM_TRY(version_find(c, p, &at));
    if (strcmp(p->versions[at]->id, p->default_version) == 0)
        return iam_fail(c->t, IAM_DELETE_CONFLICT,
                        "Cannot delete the default version of a policy.");
    iam_array_remove(p->versions, &p->n_versions, at);
    iam_put(c->policy.row);
    return IAM_OK;
}

enum iam_code iam_set_default_version(struct iam_call *c)
{
    Cairn__PolicyRow *p = c->policy.own;
    size_t at;
    IAM_TRY(changeable(c));
    IAM_TRY(version_find(c, p, &at));
    p->default_version = p->versions[at]->id;
    p->changed_ms = c->t->now_ms;
    iam_put(c->policy.row);
    return IAM_OK;
}

enum iam_code iam_get_policy_version(struct iam_call *c)
{
    const struct iam_aws_policy *aws = c->policy.aws;
    Cairn__PolicyRow *p = c->policy.own;
    size_t at;
    if (aws && slice_eq(iam_query_value(c->query, "VersionId"), slice_cstr(aws->version))) {
        xml_version(c, "PolicyVersion", aws->version, aws->document, true, aws->changed_ms);
        return IAM_OK;
    }
    IAM_TRY(version_find(c, p, &at));
    const Cairn__PolicyVersion *v = p->versions[at];
    xml_version(c, "PolicyVersion", v->id, v->document, strcmp(v->id, p->default_version) == 0,
                v->created_ms);
    return IAM_OK;
}

enum iam_code iam_list_policy_versions(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    const Cairn__PolicyRow *p = c->policy.own;
    struct iam_page page;
    IAM_TRY(iam_page_init(c, &page));
    const char *next = NULL;
    bool begun = !*page.after;
    uint32_t shown = 0;
    xml_open(b, "Versions");
    if (c->policy.aws)
        xml_version(c, "member", c->policy.aws->version, NULL, true, c->policy.aws->changed_ms);
    for (size_t i = p ? p->n_versions : 0; i-- > 0;) { /* the newest first */
        const Cairn__PolicyVersion *v = p->versions[i];
        if (!begun) {
            begun = strcmp(v->id, page.after) == 0;
            continue;
        }
        if (shown == page.max) {
            next = p->versions[i + 1]->id;
            break;
        }
        xml_version(c, "member", v->id, NULL, strcmp(v->id, p->default_version) == 0,
                    v->created_ms);
        shown++;
    }
    xml_close(b, "Versions");
    iam_page_end(c, next);
    return IAM_OK;
}

/* ---- policies ---- */

enum iam_code iam_create_policy(struct iam_call *c)
{
    struct iam_txn *t = c->t;
    struct iam_policy made = {0};
    Cairn__PolicyRow *p;
    Cairn__PolicyVersion *v;
    struct slice name = iam_query_value(c->query, "PolicyName"),
                 path = iam_query_value(c->query, "Path"), description;
    char *row_name = iam_lower(&t->arena, name);
    if (!row_name)
        return iam_no_memory(t);
    IAM_TRY(iam_param(c, "Description", false, iam_description_valid, &description));
    IAM_TRY(iam_get_policy(t, c->account, row_name, &made.row, &p));
    if (p)
        return iam_fail(t, IAM_ENTITY_ALREADY_EXISTS,
                        "A policy called %.*s already exists. Duplicate names are not allowed.",
                        (int)name.len, (const char *)name.ptr);
    p = made.own = iam_alloc(t, sizeof(*p));
    if (!p)
        return iam_no_memory(t);
    cairn__policy_row__init(p);
    p->name = iam_cstr(t, name);
    p->path = iam_cstr(t, path.len ? path : SLICE_LIT("/"));
    p->description = iam_cstr(t, description);
    p->unique_id = iam_new_id(c, "ANPA", IAM_UNIQUE_ID_CHARS);
    p->created_ms = t->now_ms;
    if (!p->name || !p->path || !p->description || !p->unique_id)
        return iam_no_memory(t);
    IAM_TRY(version_add(c, p, true, &v));
    IAM_TRY(iam_tags_read(c, &p->tags, &p->n_tags));
    iam_insert(made.row, p);
    const char *arn = iam_arn_make(&t->arena, IAM_ARN_POLICY, c->account, p->path, p->name);
    if (!arn)
        return iam_no_memory(t);
    made.arn = slice_cstr(arn);
    xml_policy(c, "Policy", &made, false);
    return IAM_OK;
}

enum iam_code iam_get_policy_call(struct iam_call *c)
{
    xml_policy(c, "Policy", &c->policy, true);
    return IAM_OK;
}

enum iam_code iam_delete_policy(struct iam_call *c)
{
    const Cairn__PolicyRow *p = c->policy.own;
    IAM_TRY(changeable(c));
    if (p->attachments || p->boundaries)
        return iam_fail(c->t, IAM_DELETE_CONFLICT, "Cannot delete a policy attached to entities.");
    if (p->n_versions > 1)
        return iam_fail(c->t, IAM_DELETE_CONFLICT,
                        "This policy has more than one version. Before you delete a policy, you "
                        "must delete the policy's versions. The default version is deleted with "
                        "the policy.");
    iam_remove(c->policy.row);
    return IAM_OK;
}

/* ---- the list of policies ---- */

struct listing {
    struct iam_call *c;
    struct slice prefix;
    bool only_attached, for_boundary, for_permission;
    uint32_t shown;
};

static bool wanted(const struct listing *l, const struct iam_policy *p)
{
    const char *path = p->own ? p->own->path : p->aws->path;
    uint64_t attachments = p->own ? p->own->attachments : 0,
             boundaries = p->own ? p->own->boundaries : 0;
    if (!slice_has_prefix(slice_cstr(path), l->prefix))
        return false;
    if (l->only_attached && !attachments && !boundaries)
        return false;
    return (!l->for_boundary || boundaries) && (!l->for_permission || attachments);
}

static void list_aws(struct listing *l, uint32_t max, const char *after, const char **next)
{
    const struct iam_aws_policy *last = NULL;
    for (size_t i = 0; iam_aws_policy_at(i); i++) {
        const struct iam_aws_policy *aws = iam_aws_policy_at(i);
        struct iam_policy p = {.arn = slice_cstr(aws->arn), .aws = aws};
        if (strcmp(aws->name, after) <= 0 || !wanted(l, &p))
            continue;
        if (l->shown == max) {
            *next = last ? last->name : after;
            return;
        }
        xml_policy(l->c, "member", &p, false);
        last = aws;
        l->shown++;
    }
}

/* Markers of the account's own begin with a colon, which no name has. */
static enum iam_code list_own(struct listing *l, uint32_t max, const char *after, const char **next)
{
    struct iam_call *c = l->c;
    const struct iam_list *list;
    if (l->shown == max) {
        *next = ":";
        return IAM_OK;
    }
    IAM_TRY(iam_list(c->t, CAIRN__ROW_KIND__ROW_POLICY, c->account, after, max - l->shown, &list));
    for (size_t i = 0; i < list->count; i++) {
        const Cairn__Row *row = list->rows[i];
        struct iam_policy p = {0};
        p.own = (void *)iam_unpack(c->t, &cairn__policy_row__descriptor,
                                   SLICE(row->value.data, row->value.len));
        const char *arn =
            p.own ? iam_arn_make(&c->t->arena, IAM_ARN_POLICY, c->account, p.own->path, p.own->name)
                  : NULL;
        if (!arn)
            return iam_no_memory(c->t);
        p.arn = slice_cstr(arn);
        if (wanted(l, &p))
            xml_policy(c, "member", &p, false);
    }
    if (list->more) {
        *next = iam_printf(c->t, ":%s", list->rows[list->count - 1]->name);
        if (!*next)
            return iam_no_memory(c->t);
    }
    return IAM_OK;
}

static enum iam_code usage_filter(struct iam_call *c, bool *boundary, bool *permission)
{
    struct slice usage = iam_query_value(c->query, "PolicyUsageFilter");
    *boundary = slice_eq(usage, SLICE_LIT("PermissionsBoundary"));
    *permission = slice_eq(usage, SLICE_LIT("PermissionsPolicy"));
    return usage.ptr && !*boundary && !*permission ? iam_param_bad(c, "PolicyUsageFilter") : IAM_OK;
}

enum iam_code iam_list_policies(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    struct listing l = {.c = c};
    struct slice scope = iam_query_value(c->query, "Scope");
    struct iam_page page;
    const char *next = NULL;
    bool aws = slice_eq(scope, SLICE_LIT("AWS")), local = slice_eq(scope, SLICE_LIT("Local"));
    if (scope.ptr && !aws && !local && !slice_eq(scope, SLICE_LIT("All")))
        return iam_param_bad(c, "Scope");
    IAM_TRY(iam_param(c, "PathPrefix", false, iam_path_prefix_valid, &l.prefix));
    IAM_TRY(iam_param_bool(c, "OnlyAttached", false, &l.only_attached));
    IAM_TRY(usage_filter(c, &l.for_boundary, &l.for_permission));
    IAM_TRY(iam_page_init(c, &page));
    xml_open(b, "Policies");
    if (!local && page.after[0] != ':')
        list_aws(&l, page.max, page.after, &next);
    if (!aws && !next)
        IAM_TRY(list_own(&l, page.max, page.after[0] == ':' ? page.after + 1 : "", &next));
    xml_close(b, "Policies");
    iam_page_end(c, next);
    return IAM_OK;
}

/* ---- who has a policy ---- */

static bool entity_has(const struct iam_entity *e, const char *arn, bool boundary, bool permission)
{
    bool found;
    iam_strings_find(*e->attached, *e->attached_count, arn, &found);
    return (found && !boundary) || (e->boundary && strcmp(*e->boundary, arn) == 0 && !permission);
}

struct having {
    const char *arn, *group, *param, *name, *id;
    bool boundary, permission;
    struct slice prefix;
};

/* All of one kind, in one page. */
static enum iam_code list_having(struct iam_call *c, enum iam_entity_kind kind,
                                 const struct having *h)
{
    struct buf *b = IAM_ANSWER(c);
    const struct iam_list *list;
    const char *after = "";
    xml_open(b, h->group);
    do {
        IAM_TRY(iam_entity_rows(c, kind, after, 1000, &list));
        for (size_t i = 0; i < list->count; i++) {
            struct iam_entity e = {0};
            IAM_TRY(iam_entity_of_row(c, kind, list->rows[i], &e));
            if (!slice_has_prefix(slice_cstr(*e.path), h->prefix) ||
                !entity_has(&e, h->arn, h->boundary, h->permission))
                continue;
            xml_open(b, "member");
            xml_cstr(b, h->name, *e.name);
            xml_cstr(b, h->id, *e.unique_id);
            xml_close(b, "member");
        }
        after = list->more ? list->rows[list->count - 1]->name : NULL;
    } while (after);
    xml_close(b, h->group);
    return IAM_OK;
}

enum iam_code iam_list_entities_for_policy(struct iam_call *c)
{
    static const struct {
        const char *filter, *group, *name, *id;
    } kinds[] = {
        [IAM_USER] = {"User", "PolicyUsers", "UserName", "UserId"},
        [IAM_GROUP] = {"Group", "PolicyGroups", "GroupName", "GroupId"},
        [IAM_ROLE] = {"Role", "PolicyRoles", "RoleName", "RoleId"},
    };
    struct slice filter = iam_query_value(c->query, "EntityFilter");
    struct having h = {.arn = iam_cstr(c->t, c->policy.arn)};
    if (!h.arn)
        return iam_no_memory(c->t);
    IAM_TRY(usage_filter(c, &h.boundary, &h.permission));
    IAM_TRY(iam_param(c, "PathPrefix", false, iam_path_prefix_valid, &h.prefix));
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (filter.ptr && !slice_eq(filter, slice_cstr(kinds[i].filter)))
            continue;
        h.group = kinds[i].group;
        h.name = kinds[i].name;
        h.id = kinds[i].id;
        IAM_TRY(list_having(c, (enum iam_entity_kind)i, &h));
    }
    iam_page_end(c, NULL);
    return IAM_OK;
}
