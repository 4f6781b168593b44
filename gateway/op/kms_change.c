/* Changes of KMS keys.
 *
 *   the master row ─► the key's row ─► both proposed ─► done
 *         ▲                                 │
 *         └── ERR_PRECONDITION: one changed ┘
 *
 * KMS_TRIM reads all keys' rows in place of one, after the master row: who wraps anything meanwhile
 * writes the master row too, so the proposal then finds it changed. */
#include "gateway/op/kms_change.h"

#include "common/base/check.h"
#include "common/crypto/digest.h"

#include <stdio.h>
#include <stdlib.h>

#define TRIES_MAX 8

static void change_again(struct kms_change *c);

static void release(struct kms_change *c)
{
    if (c->master)
        cairn__master_row__free_unpacked(c->master, NULL);
    if (c->key)
        cairn__kms_key_row__free_unpacked(c->key, NULL);
    c->master = NULL;
    c->key = NULL;
    c->master_version = c->key_version = 0;
    for (int i = 0; i < 2; i++)
        buf_fini(&c->value[i]);
}

static void change_end(struct kms_change *c, int err)
{
    release(c);
    c->err = err;
    c->cb(c);
}

static const struct master_key *newest(const struct kms_change *c)
{
    return &c->masters->keys[0];
}

static bool pack(struct buf *b, const ProtobufCMessage *m)
{
    size_t bytes = protobuf_c_message_get_packed_size(m);
    buf_clear(b);
    if (buf_reserve(b, bytes + 1) != OK)
        return false;
    b->len = protobuf_c_message_pack(m, b->ptr);
    return true;
}

/* ---- the proposal ---- */

static void propose_cb(struct meta_propose *p)
{
    struct kms_change *c = container_of(p, struct kms_change, propose);
    int err = p->err;
    meta_propose_fini(p);
    c->change.n_changes = 0;
    if (err == ERR_PRECONDITION && ++c->tries < TRIES_MAX) {
        release(c);
        change_again(c);
        return;
    }
    c->changed = err == OK;
    change_end(c, err == ERR_PRECONDITION ? ERR_CONFLICT : err);
}

static void add_row(struct kms_change *c, uint32_t kind, const char *name, uint64_t version,
                    const struct buf *value)
{
    size_t i = c->change.n_changes++;
    c->row_ptr[i] = &c->row[i];
    cairn__row_change__init(&c->row[i]);
    c->row[i].kind = kind;
    c->row[i].name = (char *)(uintptr_t)name;
    c->row[i].expected_version = version;
    c->row[i].value = (ProtobufCBinaryData){value->len, value->ptr};
}

/* master: NULL: stays as it was; key: likewise. */
static void change_propose(struct kms_change *c, const Cairn__MasterRow *master,
                           const Cairn__KmsKeyRow *key)
{
    cairn__change_rows__init(&c->change);
    c->change.changes = c->row_ptr;
    if ((master && !pack(&c->value[0], &master->base)) ||
        (key && !pack(&c->value[1], &key->base))) {
        change_end(c, ERR_NOMEM);
        return;
    }
    if (master)
        add_row(c, CAIRN__ROW_KIND__ROW_SECRET, KMS_MASTER_ROW, c->master_version, &c->value[0]);
    if (key)
        add_row(c, CAIRN__ROW_KIND__ROW_KMS_KEY, c->name, c->key_version, &c->value[1]);
    c->propose =
        (struct meta_propose){.root = true, .deadline_ns = c->deadline_ns, .cb = propose_cb};
    cairn__command__init(&c->propose.command);
    c->propose.command.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    c->propose.command.change_rows = &c->change;
    meta_propose_start(c->mc, &c->propose);
}

/* ---- what the rows become ---- */

/* The master row with `with` in it, as its current one: what lies in the caller's memory. */
struct master_made {
    Cairn__MasterRow row;
    Cairn__MasterCheck check;
    Cairn__MasterCheck *used[MASTER_KEYS_MAX + 1];
    uint8_t bytes[MASTER_CHECK_BYTES];
};

static int master_make(const struct kms_change *c, const struct master_key *with,
                       struct master_made *m)
{
    size_t known = c->master ? c->master->n_used : 0;
    cairn__master_row__init(&m->row);
    m->row.current = (char *)(uintptr_t)with->id;
    m->row.used = m->used;
    if (known > MASTER_KEYS_MAX)
        return ERR_CORRUPT;
    for (size_t i = 0; i < known; i++)
        m->used[m->row.n_used++] = c->master->used[i];
    if (c->master && master_row_has(c->master, with->id))
        return OK;
    if (known == MASTER_KEYS_MAX)
        return ERR_LIMIT;
    cairn__master_check__init(&m->check);
    master_key_check(with, m->bytes);
    m->check.id = (char *)(uintptr_t)with->id;
    m->check.check = (ProtobufCBinaryData){sizeof(m->bytes), m->bytes};
    m->used[m->row.n_used++] = &m->check;
    return OK;
}

/* A version more, with fresh material. */
static void change_add_version(struct kms_change *c, const struct master_key *with)
{
    Cairn__KmsKeyRow row = CAIRN__KMS_KEY_ROW__INIT;
    Cairn__KmsVersion version = CAIRN__KMS_VERSION__INIT;
    uint8_t random[CRYPT_SALT_BYTES + CRYPT_KEY_BYTES], wrapped[CRYPT_WRAPPED_BYTES];
    struct master_made master;
    size_t count = c->key ? c->key->n_versions : 0;
    if (c->key)
        row = *c->key;
    row.name = (char *)(uintptr_t)c->name;
    version.created_ms = env_wall_ms(c->env);
    version.number = count ? c->key->versions[count - 1]->number + 1 : 1;
    if (!c->key) {
        row.enabled = true;
        row.created_ms = version.created_ms;
        if (c->account)
            row.account_id = (char *)(uintptr_t)c->account;
    }
    row.versions = count < KMS_VERSIONS_MAX ? calloc(count + 1, sizeof(struct version *)) : NULL;
    if (!row.versions) {
        change_end(c, count < KMS_VERSIONS_MAX ? ERR_NOMEM : ERR_LIMIT);
        return;
    }
    for (size_t i = 0; i < count; i++)
        row.versions[i] = c->key->versions[i];
    row.versions[count] = &version;
    row.n_versions = count + 1;
    env_random(c->env, random, sizeof(random));
    int err = kms_version_wrap(&version, c->name, with, random, random + CRYPT_SALT_BYTES, wrapped);
    crypto_wipe(random, sizeof(random));
    if (err == OK)
        err = master_make(c, with, &master);
    if (err == OK)
        change_propose(c, &master.row, &row);
    else
        change_end(c, err);
    free(row.versions);
}

/* Every version under the newest master key. */
static void change_rewrap(struct kms_change *c)
{
    const struct master_key *with = newest(c);
    struct master_made master;
    uint8_t key[CRYPT_KEY_BYTES], salt[CRYPT_SALT_BYTES];
    size_t count = c->key->n_versions, done = 0;
    uint8_t(*wrapped)[CRYPT_WRAPPED_BYTES] = calloc(count + 1, sizeof(*wrapped));
    Cairn__KmsKeyRow row = *c->key;
    Cairn__KmsVersion *versions = calloc(count + 1, sizeof(*versions));
    row.versions = calloc(count + 1, sizeof(struct version *));
    int err = wrapped && versions && row.versions ? OK : ERR_NOMEM;
    for (size_t i = 0; err == OK && i < count; i++) {
        versions[i] = *c->key->versions[i];
        row.versions[i] = &versions[i];
        if (strcmp(versions[i].master_id, with->id) == 0)
            continue;
        err = kms_version_unwrap(&versions[i], c->name, c->masters, key);
        env_random(c->env, salt, sizeof(salt));
        if (err == OK)
            err = kms_version_wrap(&versions[i], c->name, with, salt, key, wrapped[i]);
        crypto_wipe(key, sizeof(key));
        done++;
    }
    if (err == OK)
        err = master_make(c, with, &master);
    bool same = done == 0 && c->master && strcmp(c->master->current, with->id) == 0;
    if (err != OK || same)
        change_end(c, err == ERR_NOT_FOUND ? ERR_AUTH : err);
    else
        change_propose(c, &master.row, done ? &row : NULL);
    free(versions);
    free(row.versions);
    free(wrapped);
}

static void change_state(struct kms_change *c, bool enabled)
{
    if (!c->key->enabled == !enabled) {
        change_end(c, OK);
        return;
    }
    c->key->enabled = enabled;
    change_propose(c, NULL, c->key);
}

/* What a gateway cannot wrap under the current master key it must not begin with another. */
static int current_master(const struct kms_change *c, const struct master_key **ret)
{
    const char *id;
    *ret = newest(c);
    if (!c->master)
        return OK;
    *ret = master_keys_find(c->masters, slice_cstr(c->master->current));
    return *ret && master_row_check(c->master, c->masters, &id) == OK ? OK : ERR_AUTH;
}

static void change_decide(struct kms_change *c)
{
    const struct master_key *with;
    int err = current_master(c, &with);
    if (c->action == KMS_CREATE && c->key)
        err = ERR_EXISTS;
    else if (c->action != KMS_CREATE && !c->key)
        err = ERR_NOT_FOUND;
    if (err != OK && c->action != KMS_ENABLE && c->action != KMS_DISABLE) {
        change_end(c, err);
        return;
    }
    switch (c->action) {
    case KMS_CREATE:
    case KMS_ROTATE: change_add_version(c, with); return;
    case KMS_REWRAP: change_rewrap(c); return;
    default:
        if (c->key)
            change_state(c, c->action == KMS_ENABLE);
        else
            change_end(c, ERR_NOT_FOUND);
    }
}

/* ---- reading ---- */

static int unpack(const Cairn__Row *row, const ProtobufCMessageDescriptor *type, void *ret)
{
    ProtobufCMessage *m = protobuf_c_message_unpack(type, NULL, row->value.len, row->value.data);
    *(void **)ret = m;
    return m ? OK : ERR_CORRUPT;
}

static void read_start(struct kms_change *c, uint32_t kind, const char *name,
                       void (*cb)(struct meta_rows *))
{
    c->rows = (struct meta_rows){
        .kind = kind, .name = name, .deadline_ns = c->deadline_ns, .cb = cb, .rows_max = 100};
    if (kind == CAIRN__ROW_KIND__ROW_KMS_KEY && !name[0])
        c->rows.after = c->after;
    meta_rows_start(c->mc, &c->rows);
}

static void key_read_cb(struct meta_rows *r)
{
    struct kms_change *c = container_of(r, struct kms_change, rows);
    int err = r->err;
    if (err == OK && r->row_count) {
        c->key_version = r->rows[0]->version;
        err = unpack(r->rows[0], &cairn__kms_key_row__descriptor, &c->key);
    }
    meta_rows_fini(r);
    if (err == OK)
        change_decide(c);
    else
        change_end(c, err);
}

/* The newest alone is remembered from now on. */
static void trim_propose(struct kms_change *c)
{
    const struct master_key *with = newest(c);
    struct master_made master;
    bool remembered = c->master && c->master->n_used > 0;
    if (!remembered || (c->master->n_used == 1 && master_row_has(c->master, with->id))) {
        change_end(c, OK);
        return;
    }
    size_t known = c->master->n_used;
    c->master->n_used = 0;
    int err = master_make(c, with, &master);
    c->master->n_used = known;
    if (err == OK)
        change_propose(c, &master.row, NULL);
    else
        change_end(c, err);
}

/* Every version must be under the newest master key. */
static void trim_read_cb(struct meta_rows *r)
{
    struct kms_change *c = container_of(r, struct kms_change, rows);
    int err = r->err;
    bool more = r->more;
    for (size_t i = 0; err == OK && i < r->row_count; i++) {
        Cairn__KmsKeyRow *key = NULL;
        err = unpack(r->rows[i], &cairn__kms_key_row__descriptor, &key);
        for (size_t k = 0; err == OK && k < key->n_versions; k++)
            if (strcmp(key->versions[k]->master_id, newest(c)->id) != 0)
                err = ERR_NOT_EMPTY;
        if (key)
            cairn__kms_key_row__free_unpacked(key, NULL);
        snprintf(c->after, sizeof(c->after), "%s", r->rows[i]->name);
    }
    meta_rows_fini(r);
    if (err != OK)
        change_end(c, err);
    else if (more)
        read_start(c, CAIRN__ROW_KIND__ROW_KMS_KEY, "", trim_read_cb);
    else
        trim_propose(c);
}

static void master_read_cb(struct meta_rows *r)
{
    struct kms_change *c = container_of(r, struct kms_change, rows);
    int err = r->err;
    if (err == OK && r->row_count) {
        c->master_version = r->rows[0]->version;
        err = unpack(r->rows[0], &cairn__master_row__descriptor, &c->master);
    }
    meta_rows_fini(r);
    if (err != OK)
        change_end(c, err);
    else if (c->action == KMS_TRIM)
        read_start(c, CAIRN__ROW_KIND__ROW_KMS_KEY, "", trim_read_cb);
    else
        read_start(c, CAIRN__ROW_KIND__ROW_KMS_KEY, c->name, key_read_cb);
}

static void change_again(struct kms_change *c)
{
    c->after[0] = 0;
    read_start(c, CAIRN__ROW_KIND__ROW_SECRET, KMS_MASTER_ROW, master_read_cb);
}

void kms_change_start(struct kms_change *c)
{
    CHECK(c->masters->count > 0);
    c->tries = 0;
    c->changed = false;
    change_again(c);
}
