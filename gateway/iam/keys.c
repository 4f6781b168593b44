/* Access keys of users.  The root user's are the operator's business: they are shown, not changed.
 */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "common/crypto/digest.h"
#include "gateway/s3/xml.h"

static enum iam_code not_of_root(struct iam_call *c)
{
    return iam_fail(c->t, IAM_UNMODIFIABLE_ENTITY,
                    "The root user's access keys are the operator's: name a user.");
}

enum iam_code iam_key_create(struct iam_call *c, struct iam_entity *user, struct slice key_id,
                             struct slice secret, Cairn__AccessKeyRow **ret)
{
    struct iam_txn *t = c->t;
    Cairn__UserRow *u = user->user;
    struct iam_row *row;
    Cairn__AccessKeyRow *key;
    uint8_t random[30];
    char made[IAM_SECRET_CHARS];
    if (u->n_access_keys >= IAM_KEYS_PER_USER)
        return iam_fail(t, IAM_LIMIT_EXCEEDED, "Cannot exceed quota for AccessKeysPerUser: %d",
                        IAM_KEYS_PER_USER);
    char *id = key_id.ptr ? iam_cstr(t, key_id) : iam_new_id(c, "AKIA", IAM_KEY_ID_CHARS);
    if (!id)
        return iam_no_memory(t);
    IAM_TRY(iam_get_key(t, "", id, &row, &key));
    if (key)
        return iam_fail(t, IAM_ENTITY_ALREADY_EXISTS, "There is an access key of this id already.");
    key = iam_alloc(t, sizeof(*key));
    if (!key)
        return iam_no_memory(t);
    cairn__access_key_row__init(key);
    iam_random(t, random, sizeof(random));
    iam_secret_make(random, made);
    key->access_key_id = id;
    key->secret = iam_cstr(t, secret.ptr ? secret : SLICE(made, sizeof(made)));
    crypto_wipe(random, sizeof(random));
    crypto_wipe(made, sizeof(made));
    key->account_id = c->account;
    key->user = iam_cstr(t, slice_cstr(user->row->name));
    key->enabled = true;
    key->created_ms = t->now_ms;
    if (!key->secret || !key->user)
        return iam_no_memory(t);
    iam_insert(row, key);
    iam_put(user->row);
    *ret = key;
    return iam_strings_insert(t, &u->access_keys, &u->n_access_keys, u->n_access_keys, id);
}

enum iam_code iam_create_access_key(struct iam_call *c)
{
    Cairn__AccessKeyRow *key;
    struct buf *b = IAM_ANSWER(c);
    if (!c->entity.row)
        return not_of_root(c);
    IAM_TRY(iam_key_create(c, &c->entity, SLICE_EMPTY, SLICE_EMPTY, &key));
    xml_open(b, "AccessKey");
    xml_cstr(b, "UserName", c->entity.user->name);
    xml_cstr(b, "AccessKeyId", key->access_key_id);
    xml_cstr(b, "Status", "Active");
    xml_cstr(b, "SecretAccessKey", key->secret);
    iam_xml_time(c, "CreateDate", key->created_ms);
    xml_close(b, "AccessKey");
    return IAM_OK;
}

/* The user's own key of this id. */
static enum iam_code find_key(struct iam_call *c, struct iam_entity *user, struct slice id,
                              size_t *at, struct iam_row **row, Cairn__AccessKeyRow **key)
{
    const Cairn__UserRow *u = user->user;
    for (*at = 0; *at < u->n_access_keys; ++*at)
        if (slice_eq(slice_cstr(u->access_keys[*at]), id))
            break;
    if (*at < u->n_access_keys)
        IAM_TRY(iam_get_key(c->t, "", u->access_keys[*at], row, key));
    if (*at == u->n_access_keys || !*key)
        return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "The Access Key with id %.*s cannot be found.",
                        (int)MIN(id.len, 128u), (const char *)id.ptr);
    return IAM_OK;
}

static enum iam_code key_param(struct iam_call *c, struct slice *id)
{
    *id = iam_query_value(c->query, "AccessKeyId");
    if (!id->ptr)
        return iam_param_missing(c, "AccessKeyId");
    /* Wider than AWS: operators may have given shorter ones. */
    return iam_word_valid(*id, 1, 128) || iam_name_valid(*id, 128)
               ? IAM_OK
               : iam_param_bad(c, "AccessKeyId");
}

enum iam_code iam_key_remove(struct iam_call *c, struct iam_entity *user, struct slice key_id)
{
    struct iam_row *row;
    Cairn__AccessKeyRow *key = NULL;
    size_t at;
    IAM_TRY(find_key(c, user, key_id, &at, &row, &key));
    iam_array_remove(user->user->access_keys, &user->user->n_access_keys, at);
    iam_put(user->row);
    iam_remove(row);
    return IAM_OK;
}

enum iam_code iam_delete_access_key(struct iam_call *c)
{
    struct slice id;
    IAM_TRY(key_param(c, &id));
    return c->entity.row ? iam_key_remove(c, &c->entity, id) : not_of_root(c);
}

enum iam_code iam_update_access_key(struct iam_call *c)
{
    struct slice id, status = iam_query_value(c->query, "Status");
    struct iam_row *row;
    Cairn__AccessKeyRow *key = NULL;
    size_t at;
    bool active = slice_eq(status, SLICE_LIT("Active"));
    IAM_TRY(key_param(c, &id));
    if (!active && !slice_eq(status, SLICE_LIT("Inactive")))
        return iam_param_bad(c, "Status");
    if (!c->entity.row)
        return not_of_root(c);
    IAM_TRY(find_key(c, &c->entity, id, &at, &row, &key));
    key->enabled = active;
    iam_put(row);
    return IAM_OK;
}

static void xml_key_metadata(struct iam_call *c, const char *user, const char *id, bool active,
                             uint64_t created_ms)
{
    struct buf *b = IAM_ANSWER(c);
    xml_open(b, "member");
    if (user)
        xml_cstr(b, "UserName", user);
    xml_cstr(b, "AccessKeyId", id);
    xml_cstr(b, "Status", active ? "Active" : "Inactive");
    iam_xml_time(c, "CreateDate", created_ms);
    xml_close(b, "member");
}

enum iam_code iam_list_access_keys(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    const Cairn__UserRow *u = c->entity.user;
    struct iam_page page;
    IAM_TRY(iam_page_init(c, &page));
    if (u)
        xml_cstr(b, "UserName", u->name);
    xml_open(b, "AccessKeyMetadata");
    for (size_t i = 0; u && i < u->n_access_keys; i++) {
        struct iam_row *row;
        Cairn__AccessKeyRow *key;
        IAM_TRY(iam_get_key(c->t, "", u->access_keys[i], &row, &key));
        if (key)
            xml_key_metadata(c, u->name, key->access_key_id, key->enabled, key->created_ms);
    }
    if (!u && !c->caller->temporary) { /* of the root user the one that it signed with */
        const char *id = iam_cstr(c->t, c->caller->access_key);
        if (!id)
            return iam_no_memory(c->t);
        xml_key_metadata(c, NULL, id, true, c->caller->created_ms);
    }
    xml_close(b, "AccessKeyMetadata");
    iam_page_end(c, NULL);
    return IAM_OK;
}
