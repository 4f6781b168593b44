/* Users, groups and roles, as far as they are alike: found, made, changed, removed, listed, shown;
 * managed policies by name. */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "gateway/s3/xml.h"

#include <stdlib.h>

static const struct {
    uint32_t row;
    const ProtobufCMessageDescriptor *descriptor;
    enum iam_arn_type arn;
    const char *noun, *what, *list; /* in messages, in elements */
    const char id[5];
} kinds[] = {
    [IAM_USER] = {CAIRN__ROW_KIND__ROW_USER, &cairn__user_row__descriptor, IAM_ARN_USER, "user",
                  "User", "Users", "AIDA"},
    [IAM_GROUP] = {CAIRN__ROW_KIND__ROW_GROUP, &cairn__group_row__descriptor, IAM_ARN_GROUP,
                   "group", "Group", "Groups", "AGPA"},
    [IAM_ROLE] = {CAIRN__ROW_KIND__ROW_ROLE, &cairn__role_row__descriptor, IAM_ARN_ROLE, "role",
                  "Role", "Roles", "AROA"},
};

void iam_entity_of(struct iam_entity *e, enum iam_entity_kind kind, void *message)
{
    e->kind = kind;
    if (kind == IAM_USER) {
        Cairn__UserRow *u = e->user = message;
        e->name = &u->name, e->path = &u->path, e->unique_id = &u->unique_id;
        e->created_ms = &u->created_ms;
        e->attached = &u->attached, e->attached_count = &u->n_attached;
        e->inlined = &u->inlined, e->inlined_count = &u->n_inlined;
        e->boundary = &u->boundary;
        e->tags = &u->tags, e->tag_count = &u->n_tags;
    } else if (kind == IAM_GROUP) {
        Cairn__GroupRow *g = e->group = message;
        e->name = &g->name, e->path = &g->path, e->unique_id = &g->unique_id;
        e->created_ms = &g->created_ms;
        e->attached = &g->attached, e->attached_count = &g->n_attached;
        e->inlined = &g->inlined, e->inlined_count = &g->n_inlined;
    } else {
        Cairn__RoleRow *r = e->role = message;
        e->name = &r->name, e->path = &r->path, e->unique_id = &r->unique_id;
        e->created_ms = &r->created_ms;
        e->attached = &r->attached, e->attached_count = &r->n_attached;
        e->inlined = &r->inlined, e->inlined_count = &r->n_inlined;
        e->boundary = &r->boundary;
        e->tags = &r->tags, e->tag_count = &r->n_tags;
    }
}

enum iam_code iam_no_entity(struct iam_call *c, enum iam_entity_kind kind, struct slice name)
{
    static const char *const params[] = {"UserName", "GroupName", "RoleName"};
    if (!name.ptr)
        name = iam_query_value(c->query, params[kind]);
    return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "The %s with name %.*s cannot be found.",
                    kinds[kind].noun, (int)MIN(name.len, 128u), (const char *)name.ptr);
}

static char *arn_with(struct iam_call *c, enum iam_entity_kind kind, const char *path,
                      const char *name)
{
    return iam_arn_make(&c->t->arena, kinds[kind].arn, c->account, path, name);
}

enum iam_code iam_entity_arn(struct iam_call *c, struct iam_entity *e)
{
    e->arn = arn_with(c, e->kind, *e->path, *e->name);
    return e->arn ? IAM_OK : iam_no_memory(c->t);
}

enum iam_code iam_entity_may_become(struct iam_call *c, const struct iam_entity *e,
                                    struct slice path, struct slice name)
{
    const char *new_path = path.ptr ? iam_cstr(c->t, path) : *e->path;
    const char *new_name = name.ptr ? iam_cstr(c->t, name) : *e->name;
    const char *arn = new_path && new_name ? arn_with(c, e->kind, new_path, new_name) : NULL;
    if (!arn)
        return iam_no_memory(c->t);
    return strcmp(arn, e->arn) == 0 ? IAM_OK : iam_check_allowed(c, arn);
}

static enum iam_code find(struct iam_call *c, enum iam_entity_kind kind, struct slice name,
                          struct iam_row **ret_row, void *ret_message)
{
    char *row_name = iam_lower(&c->t->arena, name);
    if (!row_name)
        return iam_no_memory(c->t);
    IAM_TRY(iam_row(c->t, kinds[kind].row, c->account, row_name, ret_row));
    return iam_message(c->t, *ret_row, kinds[kind].descriptor, ret_message);
}

enum iam_code iam_entity_get(struct iam_call *c, enum iam_entity_kind kind, struct slice name,
                             struct iam_entity *ret)
{
    struct iam_row *row;
    void *message;
    *ret = (struct iam_entity){0};
    IAM_TRY(find(c, kind, name, &row, &message));
    if (!message)
        return iam_no_entity(c, kind, name);
    iam_entity_of(ret, kind, message);
    ret->row = row;
    return iam_entity_arn(c, ret);
}

/* ---- changes ---- */

/* The row that one of this name will have. */
static enum iam_code find_none(struct iam_call *c, enum iam_entity_kind kind, struct slice name,
                               struct iam_row **ret)
{
    void *message;
    IAM_TRY(find(c, kind, name, ret, &message));
    return message ? iam_fail(c->t, IAM_ENTITY_ALREADY_EXISTS, "%s with name %.*s already exists.",
                              kinds[kind].what, (int)name.len, (const char *)name.ptr)
                   : IAM_OK;
}

enum iam_code iam_entity_create(struct iam_call *c, enum iam_entity_kind kind, struct slice name,
                                struct slice path, struct iam_entity *ret)
{
    struct iam_txn *t = c->t;
    struct iam_row *row;
    IAM_TRY(find_none(c, kind, name, &row));
    void *message = iam_alloc(t, kinds[kind].descriptor->sizeof_message);
    if (!message)
        return iam_no_memory(t);
    protobuf_c_message_init(kinds[kind].descriptor, message);
    *ret = (struct iam_entity){.row = row};
    iam_entity_of(ret, kind, message);
    *ret->name = iam_cstr(t, name);
    *ret->path = iam_cstr(t, path.len ? path : SLICE_LIT("/"));
    *ret->unique_id = iam_new_id(c, kinds[kind].id, IAM_UNIQUE_ID_CHARS);
    *ret->created_ms = t->now_ms;
    if (!*ret->name || !*ret->path || !*ret->unique_id)
        return iam_no_memory(t);
    iam_insert(row, message);
    return iam_entity_arn(c, ret);
}

/* The row is found by the name, so another name may be another row. */
static enum iam_code rename_target(struct iam_call *c, struct slice name,
                                   enum iam_code (*moves)(struct iam_call *c, char *row_name))
{
    struct iam_entity *e = &c->entity;
    struct iam_row *row;
    char *row_name = iam_lower(&c->t->arena, name), *text = iam_cstr(c->t, name);
    if (!row_name || !text)
        return iam_no_memory(c->t);
    if (strcmp(row_name, e->row->name) != 0) {
        void *message = e->row->message;
        IAM_TRY(moves(c, row_name));
        IAM_TRY(find_none(c, e->kind, name, &row));
        iam_remove(e->row);
        iam_insert(row, message);
    }
    *e->name = text;
    return IAM_OK;
}

enum iam_code iam_entity_update(struct iam_call *c, const char *name_param, size_t name_max,
                                enum iam_code (*moves)(struct iam_call *c, char *row_name))
{
    struct slice path, name = iam_query_value(c->query, name_param);
    IAM_TRY(iam_param(c, "NewPath", false, iam_path_valid, &path));
    if (name.ptr && !iam_name_valid(name, name_max))
        return iam_param_bad(c, name_param);
    IAM_TRY(iam_entity_may_become(c, &c->entity, path, name));
    iam_put(c->entity.row);
    if (path.ptr && !(*c->entity.path = iam_cstr(c->t, path)))
        return iam_no_memory(c->t);
    return name.ptr ? rename_target(c, name, moves) : IAM_OK;
}

enum iam_code iam_entity_remove(struct iam_call *c)
{
    struct iam_entity *e = &c->entity;
    if (*e->attached_count)
        return iam_fail(c->t, IAM_DELETE_CONFLICT,
                        "Cannot delete entity, must detach all policies first.");
    if (*e->inlined_count)
        return iam_fail(c->t, IAM_DELETE_CONFLICT,
                        "Cannot delete entity, must delete policies first.");
    if (e->boundary)
        IAM_TRY(iam_boundary_clear(c, e));
    iam_remove(e->row);
    return IAM_OK;
}

/* ---- lists ---- */

enum iam_code iam_entity_rows(struct iam_call *c, enum iam_entity_kind kind, const char *after,
                              uint32_t rows_max, const struct iam_list **ret)
{
    return iam_list(c->t, kinds[kind].row, c->account, after, rows_max, ret);
}

enum iam_code iam_entity_of_row(struct iam_call *c, enum iam_entity_kind kind,
                                const Cairn__Row *row, struct iam_entity *ret)
{
    void *message =
        iam_unpack(c->t, kinds[kind].descriptor, SLICE(row->value.data, row->value.len));
    *ret = (struct iam_entity){0};
    if (!message)
        return iam_no_memory(c->t);
    iam_entity_of(ret, kind, message);
    return IAM_OK;
}

enum iam_code iam_entity_list(struct iam_call *c, enum iam_entity_kind kind)
{
    struct buf *b = IAM_ANSWER(c);
    const struct iam_list *list;
    struct iam_page page;
    struct slice prefix;
    IAM_TRY(iam_param(c, "PathPrefix", false, iam_path_prefix_valid, &prefix));
    IAM_TRY(iam_page_init(c, &page));
    IAM_TRY(iam_entity_rows(c, kind, page.after, page.max, &list));
    xml_open(b, kinds[kind].list);
    for (size_t i = 0; i < list->count; i++) {
        struct iam_entity e;
        IAM_TRY(iam_entity_of_row(c, kind, list->rows[i], &e));
        if (slice_has_prefix(slice_cstr(*e.path), prefix))
            iam_xml_entity(c, "member", &e, false);
    }
    xml_close(b, kinds[kind].list);
    iam_page_end(c, list->more ? list->rows[list->count - 1]->name : NULL);
    return IAM_OK;
}

/* ---- managed policies ---- */

enum iam_code iam_policy_get(struct iam_call *c, struct slice arn, struct iam_policy *ret)
{
    struct iam_arn a;
    *ret = (struct iam_policy){.arn = arn, .aws = iam_aws_policy_find(arn)};
    if (ret->aws)
        return IAM_OK;
    enum iam_code none = iam_fail(c->t, IAM_NO_SUCH_ENTITY, "Policy %.*s does not exist.",
                                  (int)MIN(arn.len, 400u), (const char *)arn.ptr);
    if (!iam_arn_parse(arn, &a) || a.type != IAM_ARN_POLICY ||
        !slice_eq(a.account, slice_cstr(c->account)))
        return none;
    char *name = iam_lower(&c->t->arena, a.name);
    if (!name)
        return iam_no_memory(c->t);
    IAM_TRY(iam_get_policy(c->t, c->account, name, &ret->row, &ret->own));
    if (ret->own && slice_eq(a.path, slice_cstr(ret->own->path)) &&
        slice_eq(a.name, slice_cstr(ret->own->name)))
        return IAM_OK;
    ret->own = NULL;
    return none;
}

/* Counted up and down: never below zero, whatever is stored. */
static void count_by(uint64_t *n, int by)
{
    *n = by < 0 && *n == 0 ? 0 : *n + (uint64_t)(int64_t)by;
}

void iam_policy_count(struct iam_policy *p, int attachments, int boundaries)
{
    if (!p->own)
        return;
    count_by(&p->own->attachments, attachments);
    count_by(&p->own->boundaries, boundaries);
    iam_put(p->row);
}

const char *iam_arn_name(const char *arn)
{
    const char *slash = strrchr(arn, '/');
    return slash ? slash + 1 : arn;
}

const char *iam_policy_name(const struct iam_policy *p)
{
    return p->own ? p->own->name : p->aws->name;
}

/* ---- how they are shown ---- */

void iam_xml_tags(struct iam_call *c, Cairn__Pair *const *tags, size_t count)
{
    struct buf *b = IAM_ANSWER(c);
    xml_open(b, "Tags");
    for (size_t i = 0; i < count; i++) {
        xml_open(b, "member");
        xml_cstr(b, "Key", tags[i]->name);
        xml_cstr(b, "Value", tags[i]->value);
        xml_close(b, "member");
    }
    xml_close(b, "Tags");
}

void iam_xml_boundary(struct iam_call *c, const char *arn)
{
    struct buf *b = IAM_ANSWER(c);
    if (!*arn)
        return;
    xml_open(b, "PermissionsBoundary");
    xml_cstr(b, "PermissionsBoundaryType", "Policy");
    xml_cstr(b, "PermissionsBoundaryArn", arn);
    xml_close(b, "PermissionsBoundary");
}

static void xml_identity(struct iam_call *c, const struct iam_entity *e)
{
    struct buf *b = IAM_ANSWER(c);
    char element[16];
    buf_cstr(b, "<Path>");
    xml_escape(b, slice_cstr(*e->path));
    buf_cstr(b, "</Path>");
    const char *what = kinds[e->kind].what, *arn = arn_with(c, e->kind, *e->path, *e->name);
    size_t n = strlen(what);
    memcpy(element, what, n);
    memcpy(element + n, "Name", 5);
    xml_cstr(b, element, *e->name);
    memcpy(element + n, "Id", 3);
    xml_cstr(b, element, *e->unique_id);
    if (arn)
        xml_cstr(b, "Arn", arn);
    b->failed |= !arn;
    iam_xml_time(c, "CreateDate", *e->created_ms);
}

static void xml_role(struct iam_call *c, const Cairn__RoleRow *r)
{
    struct buf *b = IAM_ANSWER(c);
    iam_xml_document(c, "AssumeRolePolicyDocument", r->trust);
    if (*r->description)
        xml_cstr(b, "Description", r->description);
    xml_u64(b, "MaxSessionDuration", r->session_seconds_max);
}

void iam_xml_entity(struct iam_call *c, const char *element, const struct iam_entity *e, bool whole)
{
    struct buf *b = IAM_ANSWER(c);
    xml_open(b, element);
    xml_identity(c, e);
    if (e->kind == IAM_ROLE)
        xml_role(c, e->role);
    if (whole && e->boundary)
        iam_xml_boundary(c, *e->boundary);
    if (whole && e->tags && *e->tag_count)
        iam_xml_tags(c, *e->tags, *e->tag_count);
    if (whole && e->kind == IAM_ROLE)
        buf_cstr(b, "<RoleLastUsed></RoleLastUsed>");
    xml_close(b, element);
}
