/* Requests below accounts and users: GETs name the account in the query, POSTs bring a JSON object;
 * what is below accounts/ACCOUNT/ names it there.
 *
 *   route ─► the body, of a POST ─► a transaction over the registry ─► JSON
 *
 * An account is named by its 12 digits or its name; without either it is the operator's own. */
#include "gateway/operator/admin_users.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/iam/action.h"
#include "gateway/operator/admin.h"
#include "gateway/op/body.h"
#include "gateway/op/iam_txn.h"
#include "gateway/op/quota.h"
#include "proto/registry.h"

#include <stdio.h>

#define BODY_BYTES_MAX 8192
#define POLICY_OF_NEW_USERS "arn:aws:iam::aws:policy/AmazonS3FullAccess"
#define CANONICAL_ID_BYTES 32

struct users_op;
struct users_route {
    const char *method, *head, *action; /* head, or head/NAME/action */
    enum iam_code (*run)(struct users_op *u);
};

struct users_op {
    struct request *req;
    const struct users_route *route;
    struct slice name; /* of the path; empty: none */
    struct body_text text;
    json_t *said; /* the body; NULL: a GET */
    struct iam_drive drive;
    bool driving;
    struct iam_call call;
    struct iam_caller caller;
    Cairn__AccountRow *account;
    json_t *answer; /* of the last run */
};

/* ---- what was said ---- */

/* Of the body, or of the query; {NULL, 0}: nothing. */
static struct slice said(const struct users_op *u, const char *name)
{
    const char *s = u->said ? json_string_value(json_object_get(u->said, name)) : NULL;
    if (u->said)
        return s ? slice_cstr(s) : SLICE_EMPTY;
    return s3_request_value(&u->req->s3, name);
}

static bool said_true(const struct users_op *u, const char *name)
{
    return u->said && json_is_true(json_object_get(u->said, name));
}

static enum iam_code bad(struct users_op *u, const char *what)
{
    return iam_fail(&u->drive.t, IAM_VALIDATION_ERROR, "%s", what);
}

/* ---- accounts ---- */

static bool same_name(const char *a, struct slice b)
{
    return policy_eq_ignore_case(slice_cstr(a), b);
}

static enum iam_code account_by_id(struct users_op *u, const char *id)
{
    struct iam_row *row;
    return iam_get_account(&u->drive.t, "", id, &row, &u->account);
}

static enum iam_code name_row(struct users_op *u, const char *scope, struct slice name,
                              struct iam_row **ret)
{
    char *lower = iam_lower(&u->drive.t.arena, name);
    return lower ? iam_row(&u->drive.t, CAIRN__ROW_KIND__ROW_ACCOUNT_NAME, scope, lower, ret)
                 : iam_no_memory(&u->drive.t);
}

/* Sets call.account and account (NULL: there is none). */
static enum iam_code account_find(struct users_op *u, struct slice text)
{
    struct iam_txn *t = &u->drive.t;
    const char *own = u->req->principal->account_id;
    struct iam_row *row;
    u->call.account = iam_cstr(t, slice_cstr(own));
    if (!u->call.account)
        return iam_no_memory(t);
    if (text.len && (!iam_text_valid(text, 128) || text.ptr[0] == ' '))
        return bad(u, "An account is named by 12 digits or up to 128 characters.");
    IAM_TRY(account_by_id(u, own));
    if (!text.len || slice_eq(text, slice_cstr(own)) ||
        (u->account && same_name(u->account->name, text)))
        return IAM_OK;
    if (iam_account_id_valid(text)) {
        u->call.account = iam_cstr(t, text);
    } else {
        IAM_TRY(name_row(u, ACCOUNT_NAMES, text, &row));
        u->account = NULL;
        u->call.account = row->present ? iam_cstr(t, row->value) : NULL;
        if (!row->present)
            return IAM_OK;
    }
    return u->call.account ? account_by_id(u, u->call.account) : iam_no_memory(t);
}

static enum iam_code account_need(struct users_op *u, struct slice text)
{
    IAM_TRY(account_find(u, text));
    if (!u->account)
        return iam_fail(&u->drive.t, IAM_NO_SUCH_ENTITY, "There is no account %.*s.", (int)text.len,
                        (const char *)text.ptr);
    return IAM_OK;
}

/* Names an account in another way; nobody else may have it. */
static enum iam_code name_take(struct users_op *u, const char *scope, struct slice name)
{
    struct iam_txn *t = &u->drive.t;
    struct iam_row *row;
    IAM_TRY(name_row(u, scope, name, &row));
    if (row->present)
        return iam_fail(t, IAM_ENTITY_ALREADY_EXISTS, "Another account has the %s %.*s.", scope,
                        (int)name.len, (const char *)name.ptr);
    iam_insert_bytes(row, slice_cstr(u->call.account));
    return IAM_OK;
}

static char *new_account_id(struct users_op *u)
{
    char id[IAM_ACCOUNT_DIGITS + 1];
    uint64_t random;
    iam_random(&u->drive.t, &random, sizeof(random));
    snprintf(id, sizeof(id), "%012llu",
             (unsigned long long)(100000000000ull + random % 900000000000ull));
    return iam_cstr(&u->drive.t, slice_cstr(id));
}

static enum iam_code account_make(struct users_op *u, struct slice name)
{
    struct iam_txn *t = &u->drive.t;
    struct slice display = said(u, "display_name"), email = said(u, "email");
    uint8_t random[CANONICAL_ID_BYTES];
    char hex[2 * CANONICAL_ID_BYTES];
    struct iam_row *row;
    Cairn__AccountRow *a;
    if (!u->call.account)
        u->call.account = new_account_id(u);
    if (!u->call.account)
        return iam_no_memory(t);
    IAM_TRY(iam_get_account(t, "", u->call.account, &row, &a));
    if (a)
        return iam_fail(t, IAM_CONCURRENT_MODIFICATION, "Try again: the number drawn is taken.");
    a = iam_alloc(t, sizeof(*a));
    if (!a)
        return iam_no_memory(t);
    cairn__account_row__init(a);
    iam_random(t, random, sizeof(random));
    hex_encode(SLICE(random, sizeof(random)), hex);
    a->account_id = u->call.account;
    a->canonical_id = iam_cstr(t, SLICE(hex, sizeof(hex)));
    a->name = iam_cstr(t, name);
    a->display_name = iam_cstr(t, display.len ? display : name);
    a->email = iam_cstr(t, email);
    a->created_ms = t->now_ms;
    if (!a->canonical_id || !a->name || !a->display_name || !a->email)
        return iam_no_memory(t);
    iam_insert(row, a);
    u->account = a;
    IAM_TRY(name_take(u, ACCOUNT_NAMES, name));
    IAM_TRY(name_take(u, ACCOUNT_CANONICAL_IDS, slice_cstr(a->canonical_id)));
    return email.len ? name_take(u, ACCOUNT_EMAILS, email) : IAM_OK;
}

static json_t *account_json(const Cairn__AccountRow *a)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "account_id", a->account_id, "name", a->name,
                     "canonical_id", a->canonical_id, "display_name", a->display_name, "email",
                     a->email, "created_ms", json_uint(a->created_ms));
}

static enum iam_code check_texts(struct users_op *u)
{
    struct slice email = said(u, "email"), display = said(u, "display_name");
    if (email.len && (!iam_text_valid(email, 254) || !memchr(email.ptr, '@', email.len)))
        return bad(u, "That is no email address.");
    return display.len && !iam_text_valid(display, 256) ? bad(u, "The display name is too long.")
                                                        : IAM_OK;
}

static enum iam_code run_account_create(struct users_op *u)
{
    struct slice name = said(u, "name");
    if (!name.len)
        return bad(u, "The account has no name.");
    IAM_TRY(check_texts(u));
    IAM_TRY(account_find(u, name));
    if (u->account)
        return iam_fail(&u->drive.t, IAM_ENTITY_ALREADY_EXISTS, "There is an account %.*s already.",
                        (int)name.len, (const char *)name.ptr);
    IAM_TRY(account_make(u, name));
    u->answer = account_json(u->account);
    return IAM_OK;
}

static enum iam_code run_accounts(struct users_op *u)
{
    const struct iam_list *list;
    const char *after = "";
    json_t *accounts = json_array();
    u->answer = json_object();
    do {
        enum iam_code code =
            iam_list(&u->drive.t, CAIRN__ROW_KIND__ROW_ACCOUNT, "", after, 1000, &list);
        for (size_t i = 0; code == IAM_OK && i < list->count; i++) {
            const Cairn__Row *row = list->rows[i];
            const Cairn__AccountRow *a =
                (const void *)iam_unpack(&u->drive.t, &cairn__account_row__descriptor,
                                         SLICE(row->value.data, row->value.len));
            json_append(&accounts, a ? account_json(a) : NULL);
        }
        if (code != IAM_OK) {
            json_decref(accounts);
            return code;
        }
        after = list->more ? list->rows[list->count - 1]->name : NULL;
    } while (after);
    json_set(&u->answer, "accounts", accounts);
    return IAM_OK;
}

/* ---- quotas of accounts ---- */

static enum iam_code quota_row(struct users_op *u, struct iam_row **row)
{
    if (!u->name.len) /* which else is the operator's own */
        return bad(u, "The account is not named.");
    IAM_TRY(account_need(u, u->name));
    return iam_row(&u->drive.t, CAIRN__ROW_KIND__ROW_QUOTA, QUOTAS_OF_ACCOUNTS, u->call.account,
                   row);
}

/* *ret NULL: it has none. */
static enum iam_code quota_get(struct users_op *u, struct iam_row **row, Cairn__Quota **ret)
{
    IAM_TRY(quota_row(u, row));
    return iam_message(&u->drive.t, *row, &cairn__quota__descriptor, ret);
}

static json_t *quota_json(const struct users_op *u, const Cairn__Quota *quota)
{
    json_t *ret = admin_quota_json("account", u->account->account_id, quota);
    json_set(&ret, "account_name", json_text(u->account->name));
    return ret;
}

/* With what was counted; JSON's null: there is no quota. */
static enum iam_code quota_look(struct users_op *u, json_t **ret)
{
    struct iam_row *row, *job;
    Cairn__Quota *quota;
    Cairn__QuotaUsage usage;
    IAM_TRY(quota_get(u, &row, &quota));
    IAM_TRY(iam_row(&u->drive.t, CAIRN__ROW_KIND__ROW_JOB, u->call.account, QUOTA_JOB, &job));
    bool known = quota && job->present && quota_usage_in(job->value, quota->id, &usage);
    *ret = quota ? quota_json(u, quota) : json_null();
    if (quota)
        json_set(ret, "usage", admin_usage_json(known ? &usage : NULL, true));
    return IAM_OK;
}

static enum iam_code run_account_show(struct users_op *u)
{
    json_t *quota;
    IAM_TRY(quota_look(u, &quota));
    u->answer = account_json(u->account);
    json_set(&u->answer, "quota", quota);
    return IAM_OK;
}

static enum iam_code run_quota_show(struct users_op *u)
{
    IAM_TRY(quota_look(u, &u->answer));
    if (!json_is_null(u->answer))
        return IAM_OK;
    return iam_fail(&u->drive.t, IAM_NO_SUCH_ENTITY, "The account has no quota.");
}

/* A whole number from 0 on; 0 when nothing is said. */
static bool bound_said(const struct users_op *u, const char *name, uint64_t *ret)
{
    const json_t *n = json_object_get(u->said, name);
    bool ok = !n || json_is_null(n) || (json_is_integer(n) && json_integer_value(n) >= 0);
    *ret = ok && n ? (uint64_t)json_integer_value(n) : 0;
    return ok;
}

/* As long as there is one it keeps its id: what was counted for it stays good. */
static enum iam_code run_quota_set(struct users_op *u)
{
    struct iam_row *row;
    Cairn__Quota *quota;
    uint64_t bytes_max, objects_max;
    if (!bound_said(u, "max_bytes", &bytes_max) || !bound_said(u, "max_objects", &objects_max))
        return bad(u, QUOTA_BOUNDS);
    if (!bytes_max && !objects_max)
        return bad(u, "A quota bounds the bytes, the objects, or both.");
    IAM_TRY(quota_get(u, &row, &quota));
    if (!quota) {
        quota = iam_alloc(&u->drive.t, sizeof(*quota));
        if (!quota)
            return iam_no_memory(&u->drive.t);
        cairn__quota__init(quota);
        quota->id = admin_quota_id(u->req);
    }
    quota->bytes_max = bytes_max;
    quota->objects_max = objects_max;
    quota->changed_ms = u->drive.t.now_ms;
    iam_insert(row, quota);
    u->answer = quota_json(u, quota);
    return IAM_OK;
}

/* What was counted for it goes along, and whoever is counting finds that it has lost the job. */
static enum iam_code run_quota_delete(struct users_op *u)
{
    struct iam_row *row, *job;
    IAM_TRY(quota_row(u, &row));
    IAM_TRY(iam_row(&u->drive.t, CAIRN__ROW_KIND__ROW_JOB, u->call.account, QUOTA_JOB, &job));
    if (row->present)
        iam_remove(row);
    if (job->present)
        iam_remove(job);
    u->answer = json_pack("{s:s, s:s, s:b}", "account", u->account->account_id, "account_name",
                          u->account->name, "changed", (int)row->present);
    return IAM_OK;
}

/* ---- users ---- */

static json_t *strings(char *const *items, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_append(&array, json_text(items[i]));
    return array;
}

static json_t *user_json(struct users_op *u, const Cairn__UserRow *user)
{
    const Cairn__AccountRow *a = u->account;
    const char *arn =
        iam_arn_make(&u->drive.t.arena, IAM_ARN_USER, u->call.account, user->path, user->name);
    if (!arn)
        return NULL;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "user_name", user->name,
        "user_id", user->unique_id, "arn", arn, "account_id", a->account_id, "account_name",
        a->name, "canonical_id", a->canonical_id, "display_name",
        *user->display_name ? user->display_name : a->display_name, "email",
        *user->email ? user->email : a->email, "created_ms", json_uint(user->created_ms),
        "access_keys", strings(user->access_keys, user->n_access_keys), "policies",
        strings(user->attached, user->n_attached), "groups", strings(user->groups, user->n_groups));
}

static enum iam_code check_keys(struct users_op *u, struct slice *id, struct slice *secret)
{
    *id = said(u, "access_key");
    *secret = said(u, "secret_key");
    if (!id->ptr != !secret->ptr)
        return bad(u, "An access key and its secret key are given both or neither.");
    if (!id->ptr)
        return IAM_OK;
    if (id->len < 3 || !iam_name_valid(*id, 128))
        return bad(u, "An access key has 3 to 128 letters, digits and signs of _+=,.@-.");
    if (id->len >= 4 && memcmp(id->ptr, "ASIA", 4) == 0)
        return bad(u, "Access keys that begin with ASIA are those of sessions.");
    return secret->len >= 8 && secret->len <= 128 && iam_text_valid(*secret, 128)
               ? IAM_OK
               : bad(u, "A secret key has 8 to 128 characters.");
}

static enum iam_code run_user_create(struct users_op *u)
{
    struct iam_txn *t = &u->drive.t;
    struct iam_entity user;
    Cairn__AccessKeyRow *key;
    struct slice name = said(u, "name"), account = said(u, "account"), id, secret;
    struct slice display = said(u, "display_name"), email = said(u, "email");
    if (!iam_name_valid(name, IAM_USER_NAME_MAX))
        return bad(u, "A user's name has 1 to 64 letters, digits and signs of _+=,.@-.");
    IAM_TRY(check_texts(u));
    IAM_TRY(check_keys(u, &id, &secret));
    IAM_TRY(account_find(u, account));
    bool made = !u->account;
    if (made)
        IAM_TRY(account_make(u, account));
    IAM_TRY(iam_entity_create(&u->call, IAM_USER, name, SLICE_EMPTY, &user));
    if (!made) { /* of the user alone: the account is described as it was made */
        user.user->display_name = iam_cstr(t, display);
        user.user->email = iam_cstr(t, email);
        if (!user.user->display_name || !user.user->email)
            return iam_no_memory(t);
    }
    IAM_TRY(iam_key_create(&u->call, &user, id, secret, &key));
    if (!said_true(u, "no_policy"))
        IAM_TRY(iam_attach(&u->call, &user, SLICE_LIT(POLICY_OF_NEW_USERS)));
    u->answer = user_json(u, user.user);
    json_set(&u->answer, "access_key", json_text(key->access_key_id));
    json_set(&u->answer, "secret_key", json_text(key->secret));
    return IAM_OK;
}

static enum iam_code run_users(struct users_op *u)
{
    const struct iam_list *list;
    const char *after = "";
    IAM_TRY(account_need(u, said(u, "account")));
    json_t *users = json_array();
    u->answer = json_object();
    do {
        enum iam_code code =
            iam_list(&u->drive.t, CAIRN__ROW_KIND__ROW_USER, u->call.account, after, 1000, &list);
        for (size_t i = 0; code == IAM_OK && i < list->count; i++) {
            const Cairn__Row *row = list->rows[i];
            const Cairn__UserRow *user = (const void *)iam_unpack(
                &u->drive.t, &cairn__user_row__descriptor, SLICE(row->value.data, row->value.len));
            json_append(&users, user ? user_json(u, user) : NULL);
        }
        if (code != IAM_OK) {
            json_decref(users);
            return code;
        }
        after = list->more ? list->rows[list->count - 1]->name : NULL;
    } while (after);
    json_set(&u->answer, "users", users);
    return IAM_OK;
}

static enum iam_code user_need(struct users_op *u, struct iam_entity *user)
{
    IAM_TRY(account_need(u, said(u, "account")));
    if (!iam_name_valid(u->name, 128))
        return iam_no_entity(&u->call, IAM_USER, u->name);
    return iam_entity_get(&u->call, IAM_USER, u->name, user);
}

/* Its keys, with what is to be known of each but the secret. */
static enum iam_code keys_json(struct users_op *u, const struct iam_entity *user, json_t **ret)
{
    json_t *keys = json_array();
    for (size_t i = 0; i < user->user->n_access_keys; i++) {
        struct iam_row *row;
        Cairn__AccessKeyRow *key;
        enum iam_code code = iam_get_key(&u->drive.t, "", user->user->access_keys[i], &row, &key);
        if (code != IAM_OK) {
            json_decref(keys);
            return code;
        }
        if (key)
            json_append(&keys,
                        json_pack("{s:s, s:b, s:o}", "access_key", key->access_key_id, "enabled",
                                  (int)key->enabled, "created_ms", json_uint(key->created_ms)));
    }
    *ret = keys;
    return IAM_OK;
}

static enum iam_code run_user_show(struct users_op *u)
{
    struct iam_entity user;
    json_t *keys, *inlined = json_array();
    enum iam_code code = user_need(u, &user);
    if (code == IAM_OK)
        code = keys_json(u, &user, &keys);
    if (code != IAM_OK) {
        json_decref(inlined);
        return code;
    }
    for (size_t i = 0; i < user.user->n_inlined; i++)
        json_append(&inlined, json_text(user.user->inlined[i]->name));
    u->answer = user_json(u, user.user);
    json_set(&u->answer, "keys", keys);
    json_set(&u->answer, "inline_policies", inlined);
    json_set(&u->answer, "boundary", json_text(user.user->boundary));
    return IAM_OK;
}

/* With all that IAM would have taken from it first. */
static enum iam_code run_user_delete(struct users_op *u)
{
    struct iam_entity user;
    IAM_TRY(user_need(u, &user));
    Cairn__UserRow *row = user.user;
    u->answer = json_pack("{s:s, s:s}", "user_name", row->name, "account_id", u->call.account);
    while (row->n_access_keys)
        IAM_TRY(iam_key_remove(&u->call, &user, slice_cstr(row->access_keys[0])));
    while (row->n_groups)
        IAM_TRY(iam_leave_group(&u->call, &user, row->groups[0]));
    while (row->n_attached)
        IAM_TRY(iam_detach(&u->call, &user, slice_cstr(row->attached[0])));
    IAM_TRY(iam_boundary_clear(&u->call, &user));
    iam_remove(user.row);
    return IAM_OK;
}

/* ---- keys, policies ---- */

static enum iam_code run_key_create(struct users_op *u)
{
    struct iam_entity user;
    Cairn__AccessKeyRow *key;
    struct slice id, secret;
    IAM_TRY(check_keys(u, &id, &secret));
    IAM_TRY(user_need(u, &user));
    IAM_TRY(iam_key_create(&u->call, &user, id, secret, &key));
    u->answer =
        json_pack("{s:s, s:s, s:s, s:s}", "user_name", user.user->name, "account_id",
                  u->call.account, "access_key", key->access_key_id, "secret_key", key->secret);
    return IAM_OK;
}

static enum iam_code run_key_delete(struct users_op *u)
{
    struct iam_entity user;
    struct slice id = said(u, "access_key");
    IAM_TRY(user_need(u, &user));
    IAM_TRY(iam_key_remove(&u->call, &user, id));
    u->answer =
        json_pack("{s:s, s:s%}", "user_name", user.user->name, "access_key", id.ptr, id.len);
    return IAM_OK;
}

static enum iam_code run_keys(struct users_op *u)
{
    struct iam_entity user;
    json_t *keys;
    IAM_TRY(user_need(u, &user));
    IAM_TRY(keys_json(u, &user, &keys));
    u->answer = json_pack("{s:s, s:o}", "user_name", user.user->name, "keys", keys);
    return IAM_OK;
}

static enum iam_code attached_answer(struct users_op *u, const struct iam_entity *user)
{
    u->answer = json_pack("{s:s, s:o}", "user_name", user->user->name, "policies",
                          strings(user->user->attached, user->user->n_attached));
    return IAM_OK;
}

static enum iam_code run_attach(struct users_op *u)
{
    struct iam_entity user;
    IAM_TRY(user_need(u, &user));
    IAM_TRY(iam_attach(&u->call, &user, said(u, "policy")));
    return attached_answer(u, &user);
}

static enum iam_code run_detach(struct users_op *u)
{
    struct iam_entity user;
    IAM_TRY(user_need(u, &user));
    IAM_TRY(iam_detach(&u->call, &user, said(u, "policy")));
    return attached_answer(u, &user);
}

/* ---- from the request to its answer ---- */

static const struct users_route routes[] = {
    {"GET", "accounts", NULL, run_accounts},
    {"POST", "accounts", NULL, run_account_create},
    {"GET", "accounts", "show", run_account_show},
    {"GET", "accounts", "quota", run_quota_show},
    {"POST", "accounts", "set-quota", run_quota_set},
    {"POST", "accounts", "delete-quota", run_quota_delete},
    {"GET", "users", NULL, run_users},
    {"POST", "users", NULL, run_user_create},
    {"GET", "users", "show", run_user_show},
    {"POST", "users", "delete", run_user_delete},
    {"GET", "users", "keys", run_keys},
    {"POST", "users", "create-key", run_key_create},
    {"POST", "users", "delete-key", run_key_delete},
    {"POST", "users", "attach", run_attach},
    {"POST", "users", "detach", run_detach},
};

static void users_free(struct users_op *u)
{
    json_decref(u->said);
    if (u->driving)
        iam_drive_fini(&u->drive);
    body_text_fini(&u->text);
}

static void users_fail(struct users_op *u, const struct iam_fault *fault)
{
    struct request *req = u->req;
    struct buf document = {0};
    iam_error_document(&document, fault, IAM_XMLNS, req->id);
    reply_begin(req, iam_code_status(fault->code));
    http_response_field_cstr(req->http, "Content-Type", "application/xml");
    reply_document(req, &document);
    json_decref(u->answer);
    users_free(u);
    request_end(req);
}

static void users_done(struct iam_drive *d, enum iam_code code)
{
    struct users_op *u = container_of(d, struct users_op, drive);
    if (code != IAM_OK) {
        users_fail(u, &d->t.fault);
        return;
    }
    json_t *answer = u->answer;
    users_free(u);
    admin_reply(u->req, answer);
}

static enum iam_code users_run(struct iam_drive *d)
{
    struct users_op *u = container_of(d, struct users_op, drive);
    json_decref(u->answer);
    u->answer = NULL;
    u->account = NULL;
    return u->route->run(u);
}

static void users_drive(struct users_op *u)
{
    u->drive = (struct iam_drive){.req = u->req, .run = users_run, .done = users_done};
    u->call = (struct iam_call){.t = &u->drive.t, .caller = &u->caller, .request_id = u->req->id};
    u->driving = true;
    iam_drive_start(&u->drive);
}

static void users_text_done(struct body_text *t)
{
    struct users_op *u = container_of(t, struct users_op, text);
    struct slice text = buf_view(&t->text);
    json_error_t error;
    if (t->body.code != S3_OK) {
        enum s3_code code = t->body.code;
        users_free(u);
        request_fail(u->req, code);
        return;
    }
    u->said = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(u->said)) {
        users_drive(u);
        return;
    }
    struct iam_fault fault;
    iam_fault_set(&fault, IAM_VALIDATION_ERROR,
                  !u->said && json_error_code(&error) == json_error_numeric_overflow
                      ? "The body has a number beyond 9223372036854775807."
                      : "The body is no JSON object.");
    users_fail(u, &fault);
}

static const struct users_route *route_find(struct request *req, struct slice *name, bool *known)
{
    struct slice path = req->s3.key;
    const uint8_t *slash = path.len ? memchr(path.ptr, '/', path.len) : NULL;
    struct slice head = slash ? SLICE(path.ptr, (size_t)(slash - path.ptr)) : path;
    struct slice rest = slash ? SLICE(slash + 1, path.len - head.len - 1) : SLICE_EMPTY;
    const uint8_t *second = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
    struct slice action =
        second ? SLICE(second + 1, rest.len - (size_t)(second - rest.ptr) - 1) : SLICE_EMPTY;
    *name = second ? SLICE(rest.ptr, (size_t)(second - rest.ptr)) : SLICE_EMPTY;
    *known = false;
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        const struct users_route *r = &routes[i];
        if (!slice_eq(head, slice_cstr(r->head)) || (slash && !second) ||
            !slice_eq(action, r->action ? slice_cstr(r->action) : SLICE_EMPTY) ||
            (second != NULL) != (r->action != NULL))
            continue;
        *known = true;
        if (slice_eq(req->s3.method, slice_cstr(r->method)))
            return r;
    }
    return NULL;
}

bool admin_users_start(struct request *req)
{
    struct slice name;
    bool known;
    const struct users_route *route = route_find(req, &name, &known);
    if (!known)
        return false;
    struct users_op *u = route ? request_alloc(req, sizeof(*u)) : NULL;
    if (!u) {
        request_fail(req, route ? S3_INTERNAL_ERROR : S3_METHOD_NOT_ALLOWED);
        return true;
    }
    u->req = req;
    u->route = route;
    u->name = name;
    if (slice_eq(req->s3.method, SLICE_LIT("GET"))) {
        users_drive(u);
        return true;
    }
    u->text.done = users_text_done;
    enum s3_code code = body_text_start(&u->text, req, BODY_BYTES_MAX);
    if (code != S3_OK) {
        users_free(u);
        request_fail(req, code);
    }
    return true;
}
