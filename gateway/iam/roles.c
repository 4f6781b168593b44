/* Roles. */
#include "gateway/iam/action.h"

#include "common/base/check.h"

#define SESSION_SECONDS_MIN 3600
#define SESSION_SECONDS_MAX 43200

static enum iam_code set_trust(struct iam_call *c, Cairn__RoleRow *r, const char *param)
{
    struct slice text = iam_query_value(c->query, param);
    if (!text.ptr)
        return iam_param_missing(c, param);
    return iam_document(c, POLICY_TRUST, text, &r->trust);
}

static enum iam_code set_description(struct iam_call *c, Cairn__RoleRow *r, bool required)
{
    struct slice text;
    IAM_TRY(iam_param(c, "Description", required, iam_description_valid, &text));
    if (text.ptr && !(r->description = iam_cstr(c->t, text)))
        return iam_no_memory(c->t);
    return IAM_OK;
}

static enum iam_code set_duration(struct iam_call *c, Cairn__RoleRow *r)
{
    uint64_t seconds;
    IAM_TRY(iam_param_number(c, "MaxSessionDuration", SESSION_SECONDS_MIN, SESSION_SECONDS_MAX,
                             r->session_seconds_max, &seconds));
    r->session_seconds_max = (uint32_t)seconds;
    return IAM_OK;
}

enum iam_code iam_create_role(struct iam_call *c)
{
    struct iam_entity e;
    struct slice boundary = iam_query_value(c->query, "PermissionsBoundary");
    IAM_TRY(iam_entity_create(c, IAM_ROLE, iam_query_value(c->query, "RoleName"),
                              iam_query_value(c->query, "Path"), &e));
    e.role->session_seconds_max = SESSION_SECONDS_MIN;
    IAM_TRY(set_trust(c, e.role, "AssumeRolePolicyDocument"));
    IAM_TRY(set_description(c, e.role, false));
    IAM_TRY(set_duration(c, e.role));
    IAM_TRY(iam_tags_read(c, e.tags, e.tag_count));
    if (boundary.ptr)
        IAM_TRY(iam_boundary_set(c, &e, boundary));
    iam_xml_entity(c, "Role", &e, true);
    return IAM_OK;
}

enum iam_code iam_get_role_call(struct iam_call *c)
{
    iam_xml_entity(c, "Role", &c->entity, true);
    return IAM_OK;
}

enum iam_code iam_update_role(struct iam_call *c)
{
    IAM_TRY(set_description(c, c->entity.role, false));
    IAM_TRY(set_duration(c, c->entity.role));
    iam_put(c->entity.row);
    return IAM_OK;
}

enum iam_code iam_update_role_description(struct iam_call *c)
{
    IAM_TRY(set_description(c, c->entity.role, true));
    iam_put(c->entity.row);
    iam_xml_entity(c, "Role", &c->entity, true);
    return IAM_OK;
}

enum iam_code iam_update_trust(struct iam_call *c)
{
    IAM_TRY(set_trust(c, c->entity.role, "PolicyDocument"));
    iam_put(c->entity.row);
    return IAM_OK;
}

enum iam_code iam_delete_role(struct iam_call *c)
{
    return iam_entity_remove(c);
}

enum iam_code iam_list_roles(struct iam_call *c)
{
    return iam_entity_list(c, IAM_ROLE);
}
