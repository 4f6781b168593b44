/* The operator's questions about keys of encryption: the list, changes of one key, and the
 * re-wrapping of all under this gateway's newest master key.
 *
 * Re-wrapping goes key by key, each a change of its own by compare and swap: broken off, it is
 * simply asked for again, and finds less to do.  No answer has key material in it. */
#include "common/base/check.h"
#include "common/crypto/digest.h"
#include "gateway/iam/names.h"
#include "gateway/operator/admin.h"

#include <stdio.h>

#define PAGE_ROWS 100

struct kms_op {
    struct request *req;
    struct meta_rows rows;
    char after[S3_KMS_KEY_CHARS_MAX + 1];
    json_t *keys;
    Cairn__MasterRow *master;
    /* changes */
    struct kms_change change;
    const char *action, *name, *account;
    size_t at, changed;
};

static const struct master_keys *masters(const struct kms_op *k)
{
    return keyring_masters(k->req->gw->keyring);
}

/* ---- the end ---- */

static void kms_release(struct kms_op *k)
{
    json_decref(k->keys);
    k->keys = NULL;
    if (k->master)
        cairn__master_row__free_unpacked(k->master, NULL);
    k->master = NULL;
}

static void kms_fail(struct kms_op *k, enum s3_code code, const char *message)
{
    struct request *req = k->req;
    kms_release(k);
    request_fail(req, s3_fault_set(&req->fault, code, message));
}

static void kms_fail_err(struct kms_op *k, int err)
{
    switch (err) {
    case ERR_EXISTS: kms_fail(k, S3_INVALID_REQUEST, "There is a key of that name."); return;
    case ERR_NOT_FOUND: kms_fail(k, S3_KMS_NOT_FOUND, "There is no key of that name."); return;
    case ERR_LIMIT:
        kms_fail(k, S3_INVALID_REQUEST,
                 "There are as many versions of the key, or as many master keys, as there may be.");
        return;
    case ERR_AUTH:
        kms_fail(k, S3_INVALID_REQUEST,
                 "This gateway does not have a master key that is needed, or has another under its "
                 "id.");
        return;
    case ERR_NOT_EMPTY:
        kms_fail(k, S3_OPERATION_ABORTED,
                 "A key was made under another master key meanwhile. Ask again.");
        return;
    case ERR_CONFLICT: kms_fail(k, S3_OPERATION_ABORTED, NULL); return;
    default: break;
    }
    struct request *req = k->req;
    kms_release(k);
    admin_fail(req, err);
}

/* ---- the list ---- */

/* Of one key: what its row says, and whether this gateway can unwrap it. */
static json_t *key_json(const struct kms_op *k, const Cairn__KmsKeyRow *row)
{
    json_t *under = json_array();
    bool readable = true;
    uint8_t key[CRYPT_KEY_BYTES];
    for (size_t i = 0; i < row->n_versions; i++) {
        const Cairn__KmsVersion *v = row->versions[i];
        bool known = false;
        size_t n;
        json_t *id;
        json_array_foreach(under, n, id) known |= strcmp(json_string_value(id), v->master_id) == 0;
        if (!known)
            json_append(&under, json_text(v->master_id));
        readable &= kms_version_unwrap(v, row->name, masters(k), key) == OK;
        crypto_wipe(key, sizeof(key));
    }
    uint64_t newest = row->n_versions ? row->versions[row->n_versions - 1]->created_ms : 0;
    json_t *whose = row->account_id[0] ? json_text(row->account_id) : json_null();
    return json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:b, s:o}", "name", row->name, "account",
                     whose, "enabled", row->enabled, "created_ms", json_uint(row->created_ms),
                     "versions", json_uint(row->n_versions), "newest_ms", json_uint(newest),
                     "readable", readable, "master_keys", under);
}

/* The master keys that anything needs, or this gateway has. */
static json_t *masters_json(const struct kms_op *k)
{
    json_t *all = json_array();
    uint8_t check[MASTER_CHECK_BYTES];
    const struct master_keys *m = masters(k);
    for (size_t i = 0; k->master && i < k->master->n_used; i++) {
        const Cairn__MasterCheck *used = k->master->used[i];
        const struct master_key *here = master_keys_find(m, slice_cstr(used->id));
        bool same = false;
        if (here) {
            master_key_check(here, check);
            same = used->check.len == sizeof(check) &&
                   crypto_equal(check, used->check.data, sizeof(check));
        }
        json_append(&all, json_pack("{s:s, s:b, s:b, s:b, s:b}", "id", used->id, "used", true,
                                    "here", here != NULL, "same", same, "current",
                                    strcmp(used->id, k->master->current) == 0));
    }
    for (size_t i = 0; i < m->count; i++)
        if (!k->master || !master_row_has(k->master, m->keys[i].id))
            json_append(&all, json_pack("{s:s, s:b, s:b, s:b, s:b}", "id", m->keys[i].id, "used",
                                        false, "here", true, "same", true, "current", false));
    return all;
}

static void keys_read(struct kms_op *k, void (*cb)(struct meta_rows *))
{
    k->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_KMS_KEY,
        .after = k->after,
        .rows_max = PAGE_ROWS,
        .deadline_ns = request_deadline(k->req),
        .cb = cb,
    };
    meta_rows_start(k->req->gw->mc, &k->rows);
}

/* Takes in a page.  OK; ERR_END: it was the last. */
static int keys_take(struct kms_op *k)
{
    int err = k->rows.err;
    bool more = k->rows.more;
    for (size_t i = 0; err == OK && i < k->rows.row_count; i++) {
        const Cairn__Row *row = k->rows.rows[i];
        Cairn__KmsKeyRow *m = cairn__kms_key_row__unpack(NULL, row->value.len, row->value.data);
        err = m ? OK : ERR_CORRUPT;
        if (m) {
            json_append(&k->keys, key_json(k, m));
            cairn__kms_key_row__free_unpacked(m, NULL);
        }
        snprintf(k->after, sizeof(k->after), "%s", row->name);
    }
    meta_rows_fini(&k->rows);
    return err != OK ? err : more ? OK : ERR_END;
}

static void list_end(struct kms_op *k)
{
    struct request *req = k->req;
    json_t *answer =
        json_pack("{s:o, s:o}", "keys", json_incref(k->keys), "master_keys", masters_json(k));
    kms_release(k);
    admin_reply(req, answer);
}

static void list_cb(struct meta_rows *r)
{
    struct kms_op *k = container_of(r, struct kms_op, rows);
    int err = keys_take(k);
    if (err == OK)
        keys_read(k, list_cb);
    else if (err == ERR_END)
        list_end(k);
    else
        kms_fail_err(k, err);
}

static void master_cb(struct meta_rows *r)
{
    struct kms_op *k = container_of(r, struct kms_op, rows);
    int err = r->err;
    if (err == OK && r->row_count) {
        const ProtobufCBinaryData *value = &r->rows[0]->value;
        k->master = cairn__master_row__unpack(NULL, value->len, value->data);
        err = k->master ? OK : ERR_CORRUPT;
    }
    meta_rows_fini(r);
    if (err == OK)
        keys_read(k, list_cb);
    else
        kms_fail_err(k, err);
}

static struct kms_op *kms_new(struct request *req, bool changes)
{
    struct kms_op *k = request_alloc(req, sizeof(*k));
    if (!k || !(k->keys = json_array())) {
        request_fail(req, S3_INTERNAL_ERROR);
        return NULL;
    }
    k->req = req;
    if (!changes || masters(k)->count)
        return k;
    kms_fail(k, S3_NOT_IMPLEMENTED, "This gateway has no master key.");
    return NULL;
}

void admin_kms_list_start(struct request *req)
{
    struct kms_op *k = kms_new(req, false);
    if (!k)
        return;
    k->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_SECRET,
        .name = KMS_MASTER_ROW,
        .deadline_ns = request_deadline(req),
        .cb = master_cb,
    };
    meta_rows_start(req->gw->mc, &k->rows);
}

/* ---- changes of one key ---- */

static void change_begin(struct kms_op *k, enum kms_action action, const char *name,
                         void (*cb)(struct kms_change *))
{
    k->change = (struct kms_change){
        .env = k->req->gw->env,
        .mc = k->req->gw->mc,
        .masters = masters(k),
        .action = action,
        .name = name,
        .account = k->account,
        .deadline_ns = request_deadline(k->req),
        .cb = cb,
    };
    kms_change_start(&k->change);
}

static void changed_cb(struct kms_change *c)
{
    struct kms_op *k = container_of(c, struct kms_op, change);
    struct request *req = k->req;
    if (c->err != OK) {
        kms_fail_err(k, c->err);
        return;
    }
    json_t *answer =
        json_pack("{s:s, s:s, s:b}", "name", c->name, "action", k->action, "changed", c->changed);
    kms_release(k);
    admin_reply(req, answer);
}

/* Is there the account that the key is to be of? */
static void account_cb(struct meta_rows *r)
{
    struct kms_op *k = container_of(r, struct kms_op, rows);
    int err = r->err;
    bool present = err == OK && r->row_count;
    meta_rows_fini(r);
    if (err != OK)
        kms_fail_err(k, err);
    else if (!present)
        kms_fail(k, S3_INVALID_REQUEST, "There is no such account.");
    else
        change_begin(k, KMS_CREATE, k->name, changed_cb);
}

/* POST kms/KEY/create?account=ID */
static void create_for_account(struct kms_op *k, struct slice account)
{
    k->account = request_cstr(k->req, account);
    if (strcmp(k->name, S3_KMS_KEY_DEFAULT) == 0) {
        kms_fail(k, S3_INVALID_REQUEST, "The default key is everybody's.");
        return;
    }
    if (!k->account || !iam_account_id_valid(account)) {
        kms_fail(k, S3_INVALID_REQUEST, "An account's id is 12 digits.");
        return;
    }
    k->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_ACCOUNT,
        .scope = "",
        .name = k->account,
        .rows_max = 1,
        .deadline_ns = request_deadline(k->req),
        .cb = account_cb,
    };
    meta_rows_start(k->req->gw->mc, &k->rows);
}

void admin_kms_change_start(struct request *req, const char *name, const char *action)
{
    static const char *const actions[] = {
        [KMS_CREATE] = "create",
        [KMS_ROTATE] = "rotate",
        [KMS_ENABLE] = "enable",
        [KMS_DISABLE] = "disable",
    };
    struct kms_op *k = kms_new(req, true);
    if (!k)
        return;
    enum kms_action what = KMS_CREATE;
    while (strcmp(actions[what], action) != 0)
        what++;
    k->action = action;
    k->name = name;
    struct slice account = s3_request_value(&req->s3, "account");
    bool internal = strcmp(name, S3_KMS_KEY_INTERNAL) == 0;
    if (!s3_kms_key_name_valid(slice_cstr(name)))
        kms_fail(k, S3_INVALID_REQUEST, "A key's name is 1 to 64 of A-Z a-z 0-9 - _");
    else if (internal && what != KMS_ROTATE)
        kms_fail(k, S3_INVALID_REQUEST, "The key of SSE-S3 can be rotated, and nothing else.");
    else if (what == KMS_CREATE && account.ptr)
        create_for_account(k, account);
    else
        change_begin(k, what, name, changed_cb);
}

/* ---- all under another master key ---- */

static void rewrap_next(struct kms_op *k);

static void trimmed_cb(struct kms_change *c)
{
    struct kms_op *k = container_of(c, struct kms_op, change);
    struct request *req = k->req;
    if (c->err != OK) {
        kms_fail_err(k, c->err);
        return;
    }
    json_t *answer =
        json_pack("{s:s, s:o, s:o}", "master_key", masters(k)->keys[0].id, "keys",
                  json_uint(json_array_size(k->keys)), "rewrapped", json_uint(k->changed));
    kms_release(k);
    admin_reply(req, answer);
}

static void rewrapped_cb(struct kms_change *c)
{
    struct kms_op *k = container_of(c, struct kms_op, change);
    if (c->err != OK) {
        kms_fail_err(k, c->err);
        return;
    }
    k->changed += c->changed;
    rewrap_next(k);
}

static void rewrap_next(struct kms_op *k)
{
    const json_t *key = json_array_get(k->keys, k->at++);
    if (key)
        change_begin(k, KMS_REWRAP, json_string_value(json_object_get(key, "name")), rewrapped_cb);
    else
        change_begin(k, KMS_TRIM, NULL, trimmed_cb);
}

static void rewrap_list_cb(struct meta_rows *r)
{
    struct kms_op *k = container_of(r, struct kms_op, rows);
    int err = keys_take(k);
    if (err == OK)
        keys_read(k, rewrap_list_cb);
    else if (err == ERR_END && k->keys)
        rewrap_next(k);
    else
        kms_fail_err(k, err == ERR_END ? ERR_NOMEM : err);
}

void admin_kms_rewrap_start(struct request *req)
{
    struct kms_op *k = kms_new(req, true);
    if (k)
        keys_read(k, rewrap_list_cb);
}
