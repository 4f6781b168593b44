/* ChangeRows: rows of the registry (proto/registry.proto), all or none.
 *
 * Every row must be at the version that the proposer saw (0: not there), else nothing happens and
 * the outcome says which one was not.  A row's version is the index of the entry that wrote it.
 *
 * What rows mean is the gateways' business, but for what caches depend on.  Gateways cache
 * principals, each made of several rows, and ask witnesses about the hash of the account alone
 * (proto/keyhash.h); about an access key that is not there they ask by its id.  So a change of an
 * account, of its quota, or of anything in its scope, must touch its hash; one of an access key its
 * id's, that of the account that it belongs to, and that of the one that it belonged to before.
 * The last follows from the row that is there, so apply checks it, not only the leader. */
#include "metanode/index/registry.h"

#include "metanode/index/wire.h"
#include "proto/registry.h"

enum { ROW_VERSION = 5 }; /* field number */

static int refuse(struct apply *a, int err, size_t change)
{
    a->out.detail = (uint32_t)change;
    return apply_decide(a, err);
}

static bool same_row(const Cairn__RowChange *a, const Cairn__RowChange *b)
{
    return a->kind == b->kind && slice_eq(string_of(a->scope), string_of(b->scope)) &&
           slice_eq(string_of(a->name), string_of(b->name));
}

/* OK; ERR_INVAL; ERR_LIMIT: what can be said of a change by itself. */
static int change_check(const Cairn__RowChange *c)
{
    struct slice scope = string_of(c->scope);
    bool global =
        c->kind == CAIRN__ROW_KIND__ROW_ACCOUNT || c->kind == CAIRN__ROW_KIND__ROW_ACCESS_KEY;
    if (c->kind == CAIRN__ROW_KIND__ROW_NONE || c->kind > UINT16_MAX || (global && scope.len) ||
        !check_text(c->name, 1, INDEX_ROW_NAME_BYTES_MAX) ||
        scope.len > INDEX_ROW_SCOPE_BYTES_MAX || (c->keep && (c->remove || c->value.len)) ||
        (c->remove && c->expected_version == 0))
        return ERR_INVAL;
    if (c->kind == CAIRN__ROW_KIND__ROW_ACCOUNT && c->remove &&
        slice_eq(string_of(c->name), SLICE_LIT(OPERATOR_ACCOUNT)))
        return ERR_INVAL;
    return c->value.len > INDEX_ROW_VALUE_BYTES_MAX ? ERR_LIMIT : OK;
}

/* Sets out.err and detail when the command cannot be carried out whatever is there. */
static void changes_check(struct apply *a, const Cairn__ChangeRows *op)
{
    size_t bytes = 0;
    if (op->n_changes == 0 || op->n_changes > INDEX_CHANGES_MAX) {
        refuse(a, op->n_changes ? ERR_LIMIT : ERR_INVAL, 0);
        return;
    }
    for (size_t i = 0; i < op->n_changes; i++) {
        int err = change_check(op->changes[i]);
        for (size_t j = 0; !err && j < i; j++)
            err = same_row(op->changes[i], op->changes[j]) ? ERR_INVAL : OK;
        bytes += op->changes[i]->value.len;
        if (!err && bytes > INDEX_CHANGES_BYTES_MAX)
            err = ERR_LIMIT;
        if (err) {
            refuse(a, err, i);
            return;
        }
    }
}

/* ---- what is there ---- */

/* Whose an access key is, by its row's value; empty: the value is no such row. */
static int key_account(struct apply *a, struct slice value, struct slice *ret)
{
    ProtobufCMessage *m;
    int err = apply_unpack(a, &cairn__access_key_row__descriptor, value, &m);
    *ret = err ? SLICE_EMPTY : string_of(((Cairn__AccessKeyRow *)(void *)m)->account_id);
    return err == ERR_CORRUPT ? OK : err;
}

static int row_version(struct slice row, uint64_t *ret)
{
    struct cursor c = cursor_of(row);
    struct wire_field f;
    *ret = 0;
    while (wire_next(&c, &f))
        if (f.number == ROW_VERSION)
            *ret = f.value;
    return c.failed || *ret == 0 ? ERR_CORRUPT : OK;
}

/* The row that is there: its version (0: none), and of an access key whose it is. */
static int row_look(struct apply *a, const Cairn__RowChange *c, uint64_t *ret_version,
                    struct slice *ret_account)
{
    struct slice value;
    struct buf *scratch = &a->index->scratch;
    *ret_version = 0;
    *ret_account = SLICE_EMPTY;
    int err = registry_value(a->index->kv, NULL, a->index->partition, (uint16_t)c->kind,
                             string_of(c->scope), string_of(c->name), scratch, &value);
    if (err)
        return err == ERR_NOT_FOUND ? OK : err;
    err = row_version(buf_view(scratch), ret_version);
    if (err || c->kind != CAIRN__ROW_KIND__ROW_ACCESS_KEY)
        return err;
    err = key_account(a, value, ret_account);
    return err || ret_account->len ? err : ERR_CORRUPT; /* nothing else was let in */
}

/* ---- touches ---- */

static bool touches(const struct apply *a, uint64_t hash)
{
    for (size_t i = 0; i < a->cmd->n_touches; i++)
        if (a->cmd->touches[i] == hash)
            return true;
    return false;
}

/* *ret: the command names all that the change makes stale.  old_account: of the access key that is
 * there, if one is. */
static int touches_check(struct apply *a, const Cairn__RowChange *c, struct slice old_account,
                         bool *ret)
{
    struct slice account;
    int err = OK;
    switch (c->kind) {
    case CAIRN__ROW_KIND__ROW_ACCOUNT:
        *ret = touches(a, keyhash_account(string_of(c->name)));
        return OK;
    case CAIRN__ROW_KIND__ROW_USER:
    case CAIRN__ROW_KIND__ROW_GROUP:
    case CAIRN__ROW_KIND__ROW_ROLE:
    case CAIRN__ROW_KIND__ROW_POLICY:
        *ret = touches(a, keyhash_account(string_of(c->scope)));
        return OK;
    case CAIRN__ROW_KIND__ROW_QUOTA:
        *ret = !slice_eq(string_of(c->scope), SLICE_LIT(QUOTAS_OF_ACCOUNTS)) ||
               touches(a, keyhash_account(string_of(c->name)));
        return OK;
    case CAIRN__ROW_KIND__ROW_ACCESS_KEY:
        *ret = touches(a, keyhash_access_key(string_of(c->name))) &&
               (old_account.len == 0 || touches(a, keyhash_account(old_account)));
        if (c->remove)
            return OK;
        err = key_account(a, bytes_of(c->value), &account);
        *ret = *ret && account.len != 0 && touches(a, keyhash_account(account));
        return err;
    default: *ret = true; return OK;
    }
}

/* ---- the command ---- */

/* Sets out.err and detail if the row is not as expected. */
static int change_decide(struct apply *a, const Cairn__RowChange *c, size_t i)
{
    uint64_t version;
    struct slice old_account;
    bool touched = true;
    int err = row_look(a, c, &version, &old_account);
    if (err)
        return err;
    if (version != c->expected_version)
        return refuse(a, ERR_PRECONDITION, i);
    if (!c->keep)
        err = touches_check(a, c, old_account, &touched);
    return err || touched ? err : refuse(a, ERR_INVAL, i);
}

static int row_put(struct apply *a, uint32_t kind, char *scope, char *name,
                   ProtobufCBinaryData value)
{
    struct key key;
    Cairn__Row row = CAIRN__ROW__INIT;
    key_registry(&key, a->index->partition, (uint16_t)kind, string_of(scope), string_of(name));
    row.kind = kind;
    row.scope = scope;
    row.name = name;
    row.value = value;
    row.version = a->entry_index;
    return apply_put_message(a, &key, &row.base);
}

static int change_write(struct apply *a, const Cairn__RowChange *c)
{
    struct key key;
    if (c->keep)
        return OK;
    if (c->kind == CAIRN__ROW_KIND__ROW_ACCESS_KEY && c->expected_version == FOUNDED_VERSION) {
        key_table(&key, a->index->partition, TABLE_ACCESS_KEY, string_of(c->name));
        apply_delete(a, &key); /* else it would be there again once this one is removed */
    }
    if (!c->remove)
        return row_put(a, c->kind, c->scope, c->name, c->value);
    key_registry(&key, a->index->partition, (uint16_t)c->kind, string_of(c->scope),
                 string_of(c->name));
    apply_delete(a, &key);
    return OK;
}

int apply_change_rows(struct apply *a, const Cairn__ChangeRows *op)
{
    int err = OK;
    changes_check(a, op);
    for (size_t i = 0; !err && !a->out.err && i < op->n_changes; i++)
        err = change_decide(a, op->changes[i], i);
    for (size_t i = 0; !err && !a->out.err && i < op->n_changes; i++)
        err = change_write(a, op->changes[i]);
    return err;
}

static int put_packed(struct apply *a, uint32_t kind, char *name, const ProtobufCMessage *value)
{
    size_t bytes = protobuf_c_message_get_packed_size(value);
    uint8_t *packed = index_arena_alloc(a->arena, bytes + 1);
    if (!packed)
        return ERR_NOMEM;
    protobuf_c_message_pack(value, packed);
    return row_put(a, kind, "", name, (ProtobufCBinaryData){bytes, packed});
}

int found_account(struct apply *a, Cairn__AccountRow *account, Cairn__AccessKeyRow *key)
{
    struct slice id = string_of(account->account_id);
    ProtobufCBinaryData whose = {id.len, (uint8_t *)(uintptr_t)id.ptr};
    account->created_ms = key->created_ms = a->h.time_ms;
    int err = put_packed(a, CAIRN__ROW_KIND__ROW_ACCOUNT, account->account_id, &account->base);
    if (!err)
        err = row_put(a, CAIRN__ROW_KIND__ROW_ACCOUNT_NAME, ACCOUNT_CANONICAL_IDS,
                      account->canonical_id, whose);
    if (!err)
        err = row_put(a, CAIRN__ROW_KIND__ROW_ACCOUNT_NAME, ACCOUNT_NAMES, account->name, whose);
    return err ? err
               : put_packed(a, CAIRN__ROW_KIND__ROW_ACCESS_KEY, key->access_key_id, &key->base);
}
