/* Users: CreateUser, GetUser, UpdateUser, DeleteUser, ListUsers; the account's summary. */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "gateway/s3/xml.h"

enum iam_code iam_create_user(struct iam_call *c)
{
    struct iam_entity e;
    struct slice boundary = iam_query_value(c->query, "PermissionsBoundary");
    IAM_TRY(iam_entity_create(c, IAM_USER, iam_query_value(c->query, "UserName"),
                              iam_query_value(c->query, "Path"), &e));
    IAM_TRY(iam_tags_read(c, e.tags, e.tag_count));
    if (boundary.ptr)
        IAM_TRY(iam_boundary_set(c, &e, boundary));
    iam_xml_entity(c, "User", &e, true);
    return IAM_OK;
}

enum iam_code iam_get_user_call(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    if (c->entity.row) {
        iam_xml_entity(c, "User", &c->entity, true);
        return IAM_OK;
    }
    /* The account's root user. */
    xml_open(b, "User");
    xml_cstr(b, "Path", "/");
    xml_cstr(b, "UserName", "root");
    xml_cstr(b, "UserId", c->account);
    xml_slice(b, "Arn", c->caller->who.arn);
    iam_xml_time(c, "CreateDate", c->caller->created_ms);
    xml_close(b, "User");
    return IAM_OK;
}

/* Its keys name the user as its row is named. */
static enum iam_code move_keys(struct iam_call *c, char *row_name)
{
    const Cairn__UserRow *user = c->entity.user;
    for (size_t i = 0; i < user->n_access_keys; i++) {
        struct iam_row *row;
        Cairn__AccessKeyRow *key;
        IAM_TRY(iam_get_key(c->t, "", user->access_keys[i], &row, &key));
        if (!key)
            continue;
        key->user = row_name;
        iam_put(row);
    }
    return IAM_OK;
}

enum iam_code iam_update_user(struct iam_call *c)
{
    return iam_entity_update(c, "NewUserName", IAM_USER_NAME_MAX, move_keys);
}

enum iam_code iam_delete_user(struct iam_call *c)
{
    const Cairn__UserRow *u = c->entity.user;
    struct iam_txn *t = c->t;
    if (u->n_access_keys)
        return iam_fail(t, IAM_DELETE_CONFLICT,
                        "Cannot delete entity, must delete access keys first.");
    if (u->n_groups)
        return iam_fail(t, IAM_DELETE_CONFLICT,
                        "Cannot delete entity, must remove users from group first.");
    return iam_entity_remove(c);
}

enum iam_code iam_list_users(struct iam_call *c)
{
    return iam_entity_list(c, IAM_USER);
}

/* ---- the account ---- */

static enum iam_code count_rows(struct iam_call *c, uint32_t kind, uint64_t *ret)
{
    const struct iam_list *list;
    const char *after = "";
    *ret = 0;
    do {
        IAM_TRY(iam_list(c->t, kind, c->account, after, 1000, &list));
        *ret += list->count;
        after = list->more ? list->rows[list->count - 1]->name : NULL;
    } while (after);
    return IAM_OK;
}

static void summary_entry(struct buf *b, const char *key, uint64_t value)
{
    xml_open(b, "entry");
    xml_cstr(b, "key", key);
    xml_u64(b, "value", value);
    xml_close(b, "entry");
}

enum iam_code iam_get_account_summary(struct iam_call *c)
{
    static const struct {
        const char *name;
        uint64_t value;
    } quotas[] = {
        {"AccessKeysPerUserQuota", IAM_KEYS_PER_USER},
        {"AssumeRolePolicySizeQuota", POLICY_TRUST_BYTES_MAX},
        {"AttachedPoliciesPerGroupQuota", IAM_ATTACHED_MAX},
        {"AttachedPoliciesPerRoleQuota", IAM_ATTACHED_MAX},
        {"AttachedPoliciesPerUserQuota", IAM_ATTACHED_MAX},
        {"GroupPolicySizeQuota", IAM_INLINE_GROUP_MAX},
        {"GroupsPerUserQuota", IAM_GROUPS_PER_USER},
        {"PolicySizeQuota", POLICY_MANAGED_BYTES_MAX},
        {"RolePolicySizeQuota", IAM_INLINE_ROLE_MAX},
        {"UserPolicySizeQuota", IAM_INLINE_USER_MAX},
        {"VersionsPerPolicyQuota", IAM_VERSIONS_MAX},
        {"AccountAccessKeysPresent", 1},
        {"AccountMFAEnabled", 0},
        {"MFADevices", 0},
    };
    static const struct {
        const char *name;
        uint32_t kind;
    } counted[] = {
        {"Users", CAIRN__ROW_KIND__ROW_USER},
        {"Groups", CAIRN__ROW_KIND__ROW_GROUP},
        {"Roles", CAIRN__ROW_KIND__ROW_ROLE},
        {"Policies", CAIRN__ROW_KIND__ROW_POLICY},
    };
    uint64_t counts[ARRAY_COUNT(counted)];
    struct buf *b = IAM_ANSWER(c);
    for (size_t i = 0; i < ARRAY_COUNT(counted); i++)
        IAM_TRY(count_rows(c, counted[i].kind, &counts[i]));
    xml_open(b, "SummaryMap");
    for (size_t i = 0; i < ARRAY_COUNT(counted); i++)
        summary_entry(b, counted[i].name, counts[i]);
    for (size_t i = 0; i < ARRAY_COUNT(quotas); i++)
        summary_entry(b, quotas[i].name, quotas[i].value);
    xml_close(b, "SummaryMap");
    return IAM_OK;
}

enum iam_code iam_list_account_aliases(struct iam_call *c)
{
    buf_cstr(IAM_ANSWER(c), "<AccountAliases></AccountAliases>");
    iam_page_end(c, NULL);
    return IAM_OK;
}
