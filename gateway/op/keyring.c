/* KMS keys in memory.
 *
 * One question is under way at a time, for one key: those that wait for it when it begins are
 * answered by it, those that come later by the next.  A key to be made is made in between, and read
 * again. */
#include "gateway/op/keyring.h"

#include "common/base/check.h"
#include "common/crypto/digest.h"
#include "common/obs/log.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS_MAX 64
#define UNWRAPPED_MAX 8 /* versions of one key */
#define INTERNAL_FRESH_NS (30 * NS_PER_SEC)

struct unwrapped {
    uint32_t number;
    uint8_t key[CRYPT_KEY_BYTES];
};

struct entry {
    Cairn__KmsKeyRow *row; /* NULL: unused */
    uint64_t version;      /* of the row */
    uint64_t read_ns, used_ns;
    struct unwrapped unwrapped[UNWRAPPED_MAX];
    unsigned next; /* whose place the next one takes */
};

struct keyring {
    struct env *env;
    struct meta_client *mc;
    const struct master_keys *masters;
    struct list asks;
    bool busy;
    unsigned created; /* since the question began */
    struct meta_rows rows;
    struct kms_change change;
    char name[S3_KMS_KEY_CHARS_MAX + 1]; /* that is asked for */
    struct entry entries[KEYS_MAX];
};

static void pump(struct keyring *k);

struct keyring *keyring_new(struct env *env, struct meta_client *mc,
                            const struct master_keys *masters)
{
    struct keyring *k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    k->env = env;
    k->mc = mc;
    k->masters = masters;
    list_init(&k->asks);
    return k;
}

static void entry_clear(struct entry *e)
{
    if (e->row)
        cairn__kms_key_row__free_unpacked(e->row, NULL);
    crypto_wipe(e, sizeof(*e));
}

void keyring_free(struct keyring *k)
{
    if (!k)
        return;
    CHECK(list_empty(&k->asks) && !k->busy);
    for (size_t i = 0; i < KEYS_MAX; i++)
        entry_clear(&k->entries[i]);
    free(k);
}

const struct master_keys *keyring_masters(const struct keyring *k)
{
    return k->masters;
}

/* ---- what is known ---- */

static struct entry *entry_find(struct keyring *k, struct slice name)
{
    for (size_t i = 0; i < KEYS_MAX; i++)
        if (k->entries[i].row && slice_eq(slice_cstr(k->entries[i].row->name), name))
            return &k->entries[i];
    return NULL;
}

/* A free one, or that which was not used for longest. */
static struct entry *entry_place(struct keyring *k)
{
    struct entry *oldest = &k->entries[0];
    for (size_t i = 0; i < KEYS_MAX; i++) {
        if (!k->entries[i].row)
            return &k->entries[i];
        if (k->entries[i].used_ns < oldest->used_ns)
            oldest = &k->entries[i];
    }
    entry_clear(oldest);
    return oldest;
}

/* The row as it was just read, in place of what was known; NULL: there is none. */
static int entry_take(struct keyring *k, const Cairn__Row *row, struct entry **ret)
{
    struct entry *e = entry_find(k, slice_cstr(k->name));
    *ret = NULL;
    if (e && (!row || e->version != row->version)) {
        entry_clear(e);
        e = NULL;
    }
    if (!row)
        return OK;
    if (!e) {
        Cairn__KmsKeyRow *m = cairn__kms_key_row__unpack(NULL, row->value.len, row->value.data);
        if (!m || strcmp(m->name, k->name) != 0) {
            if (m)
                cairn__kms_key_row__free_unpacked(m, NULL);
            return ERR_CORRUPT;
        }
        e = entry_place(k);
        e->row = m;
        e->version = row->version;
    }
    e->read_ns = e->used_ns = env_now_ns(k->env);
    *ret = e;
    return OK;
}

static int version_unwrap(struct keyring *k, struct entry *e, const Cairn__KmsVersion *v,
                          uint8_t ret[CRYPT_KEY_BYTES])
{
    for (unsigned i = 0; i < UNWRAPPED_MAX; i++)
        if (e->unwrapped[i].number == v->number) {
            memcpy(ret, e->unwrapped[i].key, CRYPT_KEY_BYTES);
            return OK;
        }
    int err = kms_version_unwrap(v, e->row->name, k->masters, ret);
    if (err == ERR_NOT_FOUND || err == ERR_AUTH) {
        log_error("gateway.master_key", 0, L_STR("master_key", v->master_id),
                  L_STR("kms_key", e->row->name),
                  L_STR("what", err == ERR_AUTH ? "is another key here than that which wraps it"
                                                : "is not configured here"));
        err = ERR_AUTH;
    }
    if (err != OK)
        return err;
    struct unwrapped *u = &e->unwrapped[e->next++ % UNWRAPPED_MAX];
    u->number = v->number;
    memcpy(u->key, ret, CRYPT_KEY_BYTES);
    return OK;
}

static void answer(struct keyring *k, struct entry *e, struct keyring_ask *a)
{
    const Cairn__KmsVersion *v = kms_version_find(e->row, a->version);
    const char *owner = e->row->account_id;
    e->used_ns = env_now_ns(k->env);
    if (owner[0] && !slice_eq(a->account, slice_cstr(owner)))
        a->err = ERR_NOT_FOUND;
    else if (!e->row->enabled)
        a->err = ERR_REFUSED;
    else if (!v || v->number == 0)
        a->err = ERR_CORRUPT;
    else
        a->err = version_unwrap(k, e, v, a->key);
    a->number = v ? v->number : 0;
}

/* Without a question. */
static bool answer_at_once(struct keyring *k, struct keyring_ask *a)
{
    struct entry *e;
    if (!slice_eq(a->name, SLICE_LIT(S3_KMS_KEY_INTERNAL)) || !(e = entry_find(k, a->name)))
        return false;
    if (a->version ? !kms_version_find(e->row, a->version)
                   : env_now_ns(k->env) - e->read_ns > INTERNAL_FRESH_NS)
        return false;
    answer(k, e, a);
    return true;
}

/* ---- questions ---- */

/* Who was waiting when the question began is answered by it. */
static void serve(struct keyring *k, struct entry *e, int err)
{
    struct list done;
    list_init(&done);
    list_for_each_safe(n, after, &k->asks)
    {
        struct keyring_ask *a = container_of(n, struct keyring_ask, node);
        if (!a->serving)
            continue;
        list_remove(&a->node);
        list_push_back(&done, &a->node);
        a->err = err;
        if (err == OK)
            answer(k, e, a);
    }
    k->busy = false;
    while (!list_empty(&done)) {
        struct keyring_ask *a = container_of(list_pop_front(&done), struct keyring_ask, node);
        a->cb(a);
    }
    pump(k);
}

static bool may_create(const struct keyring *k)
{
    list_for_each(n, (struct list *)(uintptr_t)&k->asks)
    {
        const struct keyring_ask *a = container_of(n, struct keyring_ask, node);
        if (a->serving && a->create)
            return true;
    }
    return false;
}

static uint64_t deadline(const struct keyring *k)
{
    uint64_t latest = 0;
    list_for_each(n, (struct list *)(uintptr_t)&k->asks)
    {
        const struct keyring_ask *a = container_of(n, struct keyring_ask, node);
        latest = a->serving ? MAX(latest, a->deadline_ns) : latest;
    }
    return latest;
}

static void question(struct keyring *k);

static void created_cb(struct kms_change *c)
{
    struct keyring *k = container_of(c, struct keyring, change);
    if (c->err == OK)
        log_info("gateway.kms_key_made", 0, L_STR("kms_key", k->name));
    if (c->err == OK || c->err == ERR_EXISTS)
        question(k);
    else
        serve(k, NULL, c->err);
}

static void rows_cb(struct meta_rows *r)
{
    struct keyring *k = container_of(r, struct keyring, rows);
    struct entry *e = NULL;
    int err = r->err;
    if (err == OK)
        err = entry_take(k, r->row_count ? r->rows[0] : NULL, &e);
    meta_rows_fini(r);
    if (err == OK && !e && k->created++ == 0 && may_create(k)) {
        k->change = (struct kms_change){
            .env = k->env,
            .mc = k->mc,
            .masters = k->masters,
            .action = KMS_CREATE,
            .name = k->name,
            .deadline_ns = deadline(k),
            .cb = created_cb,
        };
        kms_change_start(&k->change);
        return;
    }
    serve(k, e, err == OK && !e ? ERR_NOT_FOUND : err);
}

static void question(struct keyring *k)
{
    k->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_KMS_KEY,
        .name = k->name,
        .deadline_ns = deadline(k),
        .cb = rows_cb,
    };
    meta_rows_start(k->mc, &k->rows);
}

static void pump(struct keyring *k)
{
    if (k->busy || list_empty(&k->asks))
        return;
    struct slice name = container_of(k->asks.next, struct keyring_ask, node)->name;
    CHECK(name.len < sizeof(k->name));
    memcpy(k->name, name.ptr, name.len);
    k->name[name.len] = 0;
    list_for_each(n, &k->asks)
    {
        struct keyring_ask *a = container_of(n, struct keyring_ask, node);
        a->serving = slice_eq(a->name, slice_cstr(k->name));
    }
    k->busy = true;
    k->created = 0;
    question(k);
}

bool keyring_ask(struct keyring *k, struct keyring_ask *a)
{
    a->serving = false;
    a->err = k->masters->count == 0                ? ERR_CONFIG
             : a->name.len > S3_KMS_KEY_CHARS_MAX ? ERR_NOT_FOUND /* no key has such a name */
                                                  : OK;
    if (a->err != OK || answer_at_once(k, a))
        return true;
    list_push_back(&k->asks, &a->node);
    pump(k);
    return false;
}

void keyring_ask_fini(struct keyring_ask *a)
{
    crypto_wipe(a->key, sizeof(a->key));
}
