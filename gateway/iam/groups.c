/* Groups and who is in them.  A user's row has its groups; a group's row only counts, so that a
 * user joining and the group going meet in one row. */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "gateway/s3/xml.h"

enum iam_code iam_create_group(struct iam_call *c)
{
    struct iam_entity e;
    IAM_TRY(iam_entity_create(c, IAM_GROUP, iam_query_value(c->query, "GroupName"),
                              iam_query_value(c->query, "Path"), &e));
    iam_xml_entity(c, "Group", &e, true);
    return IAM_OK;
}

/* Its users are found by going through all users: the page is one of users looked at. */
enum iam_code iam_get_group_members(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    const char *group = c->entity.row->name, *last = NULL;
    struct iam_page page;
    const struct iam_list *list;
    uint32_t shown = 0;
    bool more = true, found;
    IAM_TRY(iam_page_init(c, &page));
    iam_xml_entity(c, "Group", &c->entity, true);
    xml_open(b, "Users");
    for (const char *after = page.after; more && shown < page.max; after = last) {
        IAM_TRY(iam_entity_rows(c, IAM_USER, after, 1000, &list));
        more = list->more;
        for (size_t i = 0; i < list->count; i++) {
            struct iam_entity user;
            IAM_TRY(iam_entity_of_row(c, IAM_USER, list->rows[i], &user));
            if (shown == page.max) {
                more = true;
                break;
            }
            last = list->rows[i]->name;
            iam_strings_find(user.user->groups, user.user->n_groups, group, &found);
            if (!found)
                continue;
            iam_xml_entity(c, "member", &user, false);
            shown++;
        }
    }
    xml_close(b, "Users");
    iam_page_end(c, more && last ? last : NULL);
    return IAM_OK;
}

/* Each member's row would have to change with it. */
static enum iam_code move_members(struct iam_call *c, char *row_name)
{
    (void)row_name;
    return c->entity.group->members
               ? iam_fail(c->t, IAM_LIMIT_EXCEEDED,
                          "A group with members cannot be renamed here: remove them first.")
               : IAM_OK;
}

enum iam_code iam_update_group(struct iam_call *c)
{
    return iam_entity_update(c, "NewGroupName", IAM_GROUP_NAME_MAX, move_members);
}

enum iam_code iam_delete_group(struct iam_call *c)
{
    if (c->entity.group->members)
        return iam_fail(c->t, IAM_DELETE_CONFLICT,
                        "Cannot delete entity, must remove users from group first.");
    return iam_entity_remove(c);
}

enum iam_code iam_list_groups(struct iam_call *c)
{
    return iam_entity_list(c, IAM_GROUP);
}

/* ---- who is in them ---- */

static enum iam_code member_of(struct iam_call *c, struct iam_entity *user)
{
    struct slice name;
    IAM_TRY(iam_param_name(c, "UserName", 128, &name));
    return iam_entity_get(c, IAM_USER, name, user);
}

enum iam_code iam_add_user_to_group(struct iam_call *c)
{
    struct iam_entity user;
    bool found;
    IAM_TRY(member_of(c, &user));
    Cairn__UserRow *u = user.user;
    size_t at = iam_strings_find(u->groups, u->n_groups, c->entity.row->name, &found);
    if (found)
        return IAM_OK;
    if (u->n_groups >= IAM_GROUPS_PER_USER)
        return iam_fail(c->t, IAM_LIMIT_EXCEEDED, "Cannot exceed quota for GroupsPerUser: %d",
                        IAM_GROUPS_PER_USER);
    IAM_TRY(iam_strings_insert(c->t, &u->groups, &u->n_groups, at, c->entity.row->name));
    c->entity.group->members++;
    iam_put(user.row);
    iam_put(c->entity.row);
    return IAM_OK;
}

enum iam_code iam_leave_group(struct iam_call *c, struct iam_entity *user, const char *group)
{
    struct iam_row *row;
    Cairn__GroupRow *g;
    bool found;
    Cairn__UserRow *u = user->user;
    size_t at = iam_strings_find(u->groups, u->n_groups, group, &found);
    if (!found)
        return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "User %s is not in group %s.", u->name, group);
    IAM_TRY(iam_get_group(c->t, c->account, group, &row, &g));
    if (g) {
        g->members -= g->members > 0;
        iam_put(row);
    }
    iam_array_remove(u->groups, &u->n_groups, at);
    iam_put(user->row);
    return IAM_OK;
}

enum iam_code iam_remove_user_from_group(struct iam_call *c)
{
    struct iam_entity user;
    IAM_TRY(member_of(c, &user));
    return iam_leave_group(c, &user, c->entity.row->name);
}

enum iam_code iam_list_groups_for_user(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    const Cairn__UserRow *u = c->entity.user;
    struct iam_page page;
    const char *last = NULL, *next = NULL;
    uint32_t shown = 0;
    IAM_TRY(iam_page_init(c, &page));
    xml_open(b, "Groups");
    for (size_t i = 0; i < u->n_groups && !next; i++) {
        struct iam_entity group = {0};
        struct iam_row *row;
        Cairn__GroupRow *g;
        if (strcmp(u->groups[i], page.after) <= 0)
            continue;
        if (shown == page.max) {
            next = last;
            break;
        }
        IAM_TRY(iam_get_group(c->t, c->account, u->groups[i], &row, &g));
        last = u->groups[i];
        if (!g)
            continue;
        iam_entity_of(&group, IAM_GROUP, g);
        iam_xml_entity(c, "member", &group, false);
        shown++;
    }
    xml_close(b, "Groups");
    iam_page_end(c, next);
    return IAM_OK;
}
