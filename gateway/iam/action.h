#pragma once
/* The actions of IAM and STS: which there are, and what each does as a function of rows (txn.h).
 *
 *   iam_run: find the action ─► read what it is about ─► may the caller? ─► the action ─► document
 * Pure. */
#include "gateway/iam/authorize.h"
#include "gateway/iam/aws_managed.h"
#include "gateway/iam/names.h"
#include "gateway/iam/query.h"
#include "gateway/iam/txn.h"

#define IAM_XMLNS "https://iam.amazonaws.com/doc/2010-05-08/"
#define STS_XMLNS "https://sts.amazonaws.com/doc/2011-06-15/"

/* Quotas, as AWS has them by default. */
#define IAM_KEYS_PER_USER 2
#define IAM_GROUPS_PER_USER 10
#define IAM_ATTACHED_MAX 10
#define IAM_VERSIONS_MAX 5
#define IAM_TAGS_MAX 50
#define IAM_INLINE_USER_MAX 2048 /* characters of all inline policies, blanks left out */
#define IAM_INLINE_GROUP_MAX 5120
#define IAM_INLINE_ROLE_MAX 10240

enum iam_service { IAM_SERVICE_IAM, IAM_SERVICE_STS };

struct iam_call;
struct iam_action {
    enum iam_service service;
    const char *name;
    enum iam_target {
        IAM_OF_NOTHING, /* resource "*" */
        IAM_OF_USER,    /* UserName */
        IAM_OF_SELF,    /* UserName, without it the caller itself */
        IAM_OF_GROUP,
        IAM_OF_ROLE,
        IAM_OF_POLICY, /* PolicyArn */
        IAM_OF_NEW_USER,
        IAM_OF_NEW_GROUP,
        IAM_OF_NEW_ROLE,
        IAM_OF_NEW_POLICY,
        IAM_OF_ITSELF, /* the action authorizes itself */
    } target;
    bool result; /* the answer has an ActionResult */
    enum iam_code (*run)(struct iam_call *c);
};
const struct iam_action *iam_action_find(enum iam_service service, struct slice name);
const struct iam_action *iam_action_at(size_t i); /* NULL: no more */

/* A user, group or role, whatever it is. */
enum iam_entity_kind { IAM_USER, IAM_GROUP, IAM_ROLE };
struct iam_entity {
    enum iam_entity_kind kind;
    struct iam_row *row;
    char *arn;
    char **name, **path, **unique_id;
    uint64_t *created_ms;
    char ***attached;
    size_t *attached_count;
    Cairn__NamedDocument ***inlined;
    size_t *inlined_count;
    char **boundary;     /* NULL: groups have none */
    Cairn__Pair ***tags; /* likewise */
    size_t *tag_count;
    union {
        Cairn__UserRow *user;
        Cairn__GroupRow *group;
        Cairn__RoleRow *role;
    };
};

/* A managed policy: the account's own, or one of AWS. */
struct iam_policy {
    struct slice arn;
    struct iam_row *row;
    Cairn__PolicyRow *own;            /* NULL: of AWS */
    const struct iam_aws_policy *aws; /* NULL: the account's own */
};

struct iam_call {
    /* Set by the driver. */
    struct iam_txn *t;
    const struct iam_caller *caller;
    enum iam_service service;
    const struct iam_query *query;
    const char *request_id;
    /* Set by iam_run(). */
    const struct iam_action *action;
    char *account;
    struct iam_entity entity; /* of the target */
    struct iam_policy policy; /* of the target */
    struct iam_context context;
    enum policy_reason denied; /* why, with ACCESS_DENIED of a decision; else BY_STATEMENT */
};

/* Runs the action that the query names.  IAM_OK: t->out is the document, the changes wanted are in
 * the rows; IAM_WAIT; else t->fault is set. */
enum iam_code iam_run(struct iam_call *c);

/* ---- between the files of actions ---- */

#define IAM_ANSWER(c) (&(c)->t->out)

/* Parameters.  A required one that is missing, and one that breaks its pattern: VALIDATION_ERROR.
 */
enum iam_code iam_param(struct iam_call *c, const char *name, bool required,
                        bool (*valid)(struct slice s), struct slice *ret);
enum iam_code iam_param_name(struct iam_call *c, const char *name, size_t max, struct slice *ret);
enum iam_code iam_param_number(struct iam_call *c, const char *name, uint64_t min, uint64_t max,
                               uint64_t missing, uint64_t *ret);
enum iam_code iam_param_bool(struct iam_call *c, const char *name, bool missing, bool *ret);
enum iam_code iam_param_bad(struct iam_call *c, const char *name);
enum iam_code iam_param_missing(struct iam_call *c, const char *name);

/* May the caller do the action to this too?  iam_run() has asked for its target. */
enum iam_code iam_check_allowed(struct iam_call *c, const char *resource);

/* Entities by name.  NO_SUCH_ENTITY when there is none. */
enum iam_code iam_entity_get(struct iam_call *c, enum iam_entity_kind kind, struct slice name,
                             struct iam_entity *ret);
void iam_entity_of(struct iam_entity *e, enum iam_entity_kind kind, void *message);
enum iam_code iam_entity_arn(struct iam_call *c, struct iam_entity *e);
/* Of who gets another name or path (empty: keeps it): other policies may speak of that ARN, so to
 * become it takes the right to change it.  ACCESS_DENIED. */
enum iam_code iam_entity_may_become(struct iam_call *c, const struct iam_entity *e,
                                    struct slice path, struct slice name);
enum iam_code iam_no_entity(struct iam_call *c, enum iam_entity_kind kind, struct slice name);
/* A new one of this name and path (empty: /).  ENTITY_ALREADY_EXISTS. */
enum iam_code iam_entity_create(struct iam_call *c, enum iam_entity_kind kind, struct slice name,
                                struct slice path, struct iam_entity *ret);
/* The target gets the path and name of the request, if it has such.  moves: called when its row
 * goes to another name, with what depends on the row's. */
enum iam_code iam_entity_update(struct iam_call *c, const char *name_param, size_t name_max,
                                enum iam_code (*moves)(struct iam_call *c, char *row_name));
/* The target goes, if it has no policies any more.  DELETE_CONFLICT. */
enum iam_code iam_entity_remove(struct iam_call *c);
/* A page of rows, and one of them as what it is. */
enum iam_code iam_entity_rows(struct iam_call *c, enum iam_entity_kind kind, const char *after,
                              uint32_t rows_max, const struct iam_list **ret);
enum iam_code iam_entity_of_row(struct iam_call *c, enum iam_entity_kind kind,
                                const Cairn__Row *row, struct iam_entity *ret);
/* The answer to ListUsers and its like. */
enum iam_code iam_entity_list(struct iam_call *c, enum iam_entity_kind kind);
/* By ARN.  NO_SUCH_ENTITY. */
enum iam_code iam_policy_get(struct iam_call *c, struct slice arn, struct iam_policy *ret);
/* "Attached" counters of the account's own policies. */
void iam_policy_count(struct iam_policy *p, int attachments, int boundaries);
const char *iam_policy_name(const struct iam_policy *p);
/* Name as the last part of an ARN that is stored. */
const char *iam_arn_name(const char *arn);

char *iam_new_id(struct iam_call *c, const char prefix[4], size_t chars); /* NULL: no memory */
/* Validates; the document without blanks between its tokens.  limit: characters. */
enum iam_code iam_document(struct iam_call *c, enum policy_kind kind, struct slice text,
                           char **ret);
size_t iam_characters(const char *s);

/* Pages of lists.  Marker and MaxItems; after: where the page begins (a name as stored). */
struct iam_page {
    uint32_t max;
    char *after;
};
enum iam_code iam_page_init(struct iam_call *c, struct iam_page *p);
/* IsTruncated and Marker; next NULL: the end. */
void iam_page_end(struct iam_call *c, const char *next);

/* whole: with its boundary and tags. */
void iam_xml_entity(struct iam_call *c, const char *element, const struct iam_entity *e,
                    bool whole);
void iam_xml_tags(struct iam_call *c, Cairn__Pair *const *tags, size_t count);
void iam_xml_boundary(struct iam_call *c, const char *arn);
void iam_xml_time(struct iam_call *c, const char *element, uint64_t ms); /* whole seconds */
void iam_xml_document(struct iam_call *c, const char *element, const char *document);

/* Tags.member.N of a request that makes something, into an empty array. */
enum iam_code iam_tags_read(struct iam_call *c, Cairn__Pair ***tags, size_t *count);
enum iam_code iam_boundary_set(struct iam_call *c, struct iam_entity *e, struct slice arn);
enum iam_code iam_boundary_clear(struct iam_call *c, struct iam_entity *e);

/* What operators do by the same functions (gateway/operator/admin_users.c), but for those above. */
/* secret: empty: made; key_id: empty: made. */
enum iam_code iam_key_create(struct iam_call *c, struct iam_entity *user, struct slice key_id,
                             struct slice secret, Cairn__AccessKeyRow **ret);
enum iam_code iam_key_remove(struct iam_call *c, struct iam_entity *user, struct slice key_id);
enum iam_code iam_attach(struct iam_call *c, struct iam_entity *e, struct slice arn);
enum iam_code iam_detach(struct iam_call *c, struct iam_entity *e, struct slice arn);
enum iam_code iam_leave_group(struct iam_call *c, struct iam_entity *user, const char *group);

/* X(service, name, target, result, function): the actions, one function each. */
#define IAM_ACTION_TABLE(X)                                                                        \
    X(IAM, AddUserToGroup, GROUP, false, iam_add_user_to_group)                                    \
    X(IAM, AttachGroupPolicy, GROUP, false, iam_attach_policy)                                     \
    X(IAM, AttachRolePolicy, ROLE, false, iam_attach_policy)                                       \
    X(IAM, AttachUserPolicy, USER, false, iam_attach_policy)                                       \
    X(IAM, CreateAccessKey, SELF, true, iam_create_access_key)                                     \
    X(IAM, CreateGroup, NEW_GROUP, true, iam_create_group)                                         \
    X(IAM, CreatePolicy, NEW_POLICY, true, iam_create_policy)                                      \
    X(IAM, CreatePolicyVersion, POLICY, true, iam_create_policy_version)                           \
    X(IAM, CreateRole, NEW_ROLE, true, iam_create_role)                                            \
    X(IAM, CreateUser, NEW_USER, true, iam_create_user)                                            \
    X(IAM, DeleteAccessKey, SELF, false, iam_delete_access_key)                                    \
    X(IAM, DeleteGroup, GROUP, false, iam_delete_group)                                            \
    X(IAM, DeleteGroupPolicy, GROUP, false, iam_delete_inline)                                     \
    X(IAM, DeletePolicy, POLICY, false, iam_delete_policy)                                         \
    X(IAM, DeletePolicyVersion, POLICY, false, iam_delete_policy_version)                          \
    X(IAM, DeleteRole, ROLE, false, iam_delete_role)                                               \
    X(IAM, DeleteRolePermissionsBoundary, ROLE, false, iam_delete_boundary)                        \
    X(IAM, DeleteRolePolicy, ROLE, false, iam_delete_inline)                                       \
    X(IAM, DeleteUser, USER, false, iam_delete_user)                                               \
    X(IAM, DeleteUserPermissionsBoundary, USER, false, iam_delete_boundary)                        \
    X(IAM, DeleteUserPolicy, USER, false, iam_delete_inline)                                       \
    X(IAM, DetachGroupPolicy, GROUP, false, iam_detach_policy)                                     \
    X(IAM, DetachRolePolicy, ROLE, false, iam_detach_policy)                                       \
    X(IAM, DetachUserPolicy, USER, false, iam_detach_policy)                                       \
    X(IAM, GetAccountSummary, NOTHING, true, iam_get_account_summary)                              \
    X(IAM, GetGroup, GROUP, true, iam_get_group_members)                                           \
    X(IAM, GetGroupPolicy, GROUP, true, iam_get_inline)                                            \
    X(IAM, GetPolicy, POLICY, true, iam_get_policy_call)                                           \
    X(IAM, GetPolicyVersion, POLICY, true, iam_get_policy_version)                                 \
    X(IAM, GetRole, ROLE, true, iam_get_role_call)                                                 \
    X(IAM, GetRolePolicy, ROLE, true, iam_get_inline)                                              \
    X(IAM, GetUser, SELF, true, iam_get_user_call)                                                 \
    X(IAM, GetUserPolicy, USER, true, iam_get_inline)                                              \
    X(IAM, ListAccessKeys, SELF, true, iam_list_access_keys)                                       \
    X(IAM, ListAccountAliases, NOTHING, true, iam_list_account_aliases)                            \
    X(IAM, ListAttachedGroupPolicies, GROUP, true, iam_list_attached)                              \
    X(IAM, ListAttachedRolePolicies, ROLE, true, iam_list_attached)                                \
    X(IAM, ListAttachedUserPolicies, USER, true, iam_list_attached)                                \
    X(IAM, ListEntitiesForPolicy, POLICY, true, iam_list_entities_for_policy)                      \
    X(IAM, ListGroupPolicies, GROUP, true, iam_list_inline)                                        \
    X(IAM, ListGroups, NOTHING, true, iam_list_groups)                                             \
    X(IAM, ListGroupsForUser, USER, true, iam_list_groups_for_user)                                \
    X(IAM, ListPolicies, NOTHING, true, iam_list_policies)                                         \
    X(IAM, ListPolicyTags, POLICY, true, iam_list_policy_tags)                                     \
    X(IAM, ListPolicyVersions, POLICY, true, iam_list_policy_versions)                             \
    X(IAM, ListRolePolicies, ROLE, true, iam_list_inline)                                          \
    X(IAM, ListRoleTags, ROLE, true, iam_list_tags)                                                \
    X(IAM, ListRoles, NOTHING, true, iam_list_roles)                                               \
    X(IAM, ListUserPolicies, USER, true, iam_list_inline)                                          \
    X(IAM, ListUserTags, USER, true, iam_list_tags)                                                \
    X(IAM, ListUsers, NOTHING, true, iam_list_users)                                               \
    X(IAM, PutGroupPolicy, GROUP, false, iam_put_inline)                                           \
    X(IAM, PutRolePermissionsBoundary, ROLE, false, iam_put_boundary)                              \
    X(IAM, PutRolePolicy, ROLE, false, iam_put_inline)                                             \
    X(IAM, PutUserPermissionsBoundary, USER, false, iam_put_boundary)                              \
    X(IAM, PutUserPolicy, USER, false, iam_put_inline)                                             \
    X(IAM, RemoveUserFromGroup, GROUP, false, iam_remove_user_from_group)                          \
    X(IAM, SetDefaultPolicyVersion, POLICY, false, iam_set_default_version)                        \
    X(IAM, TagPolicy, POLICY, false, iam_tag_policy)                                               \
    X(IAM, TagRole, ROLE, false, iam_tag)                                                          \
    X(IAM, TagUser, USER, false, iam_tag)                                                          \
    X(IAM, UntagPolicy, POLICY, false, iam_untag_policy)                                           \
    X(IAM, UntagRole, ROLE, false, iam_untag)                                                      \
    X(IAM, UntagUser, USER, false, iam_untag)                                                      \
    X(IAM, UpdateAccessKey, SELF, false, iam_update_access_key)                                    \
    X(IAM, UpdateAssumeRolePolicy, ROLE, false, iam_update_trust)                                  \
    X(IAM, UpdateGroup, GROUP, false, iam_update_group)                                            \
    X(IAM, UpdateRole, ROLE, true, iam_update_role)                                                \
    X(IAM, UpdateRoleDescription, ROLE, true, iam_update_role_description)                         \
    X(IAM, UpdateUser, USER, false, iam_update_user)                                               \
    X(STS, AssumeRole, ITSELF, true, sts_assume_role)                                              \
    X(STS, GetAccessKeyInfo, NOTHING, true, sts_get_access_key_info)                               \
    X(STS, GetCallerIdentity, ITSELF, true, sts_get_caller_identity)                               \
    X(STS, GetSessionToken, ITSELF, true, sts_get_session_token)

#define IAM_DECLARE(service, name, target, result, function)                                       \
    enum iam_code function(struct iam_call *c);
IAM_ACTION_TABLE(IAM_DECLARE)
#undef IAM_DECLARE
