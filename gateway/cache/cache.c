/* The record cache: a chained hash table with two recency lists, one over all entries and one over
 * those that keep an inline body.  When all entries are over their bound the least recently used
 * one leaves; when only the bodies are, the least recently used body goes and its record stays. */
#include "gateway/cache/cache.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "proto/keyhash.h"

#include <stdlib.h>

/* What an unpacked record costs beyond its packed size (pointers, allocator headers): measured on
 * records with few and with many segments. */
#define ENTRY_OVERHEAD_BYTES 256
#define UNPACKED_FACTOR 3

struct cache {
    struct cache_config config;
    struct cache_stats stats;
    struct cache_entry **table;
    size_t table_mask;
    struct list lru, body_lru; /* front: most recently used */
};

int cache_new(const struct cache_config *config, struct cache **ret)
{
    struct cache *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->config = *config;
    if (c->config.bytes_max == 0)
        c->config.bytes_max = 32u << 20;
    if (c->config.body_bytes_max == 0)
        c->config.body_bytes_max = c->config.bytes_max / 2;
    /* About a place an entry, in a small cache too. */
    size_t want = (size_t)(c->config.bytes_max / 1024), size = 4;
    while (size < want && size < (1u << 22))
        size *= 2;
    c->table = calloc(size, sizeof(*c->table));
    if (!c->table) {
        free(c);
        return ERR_NOMEM;
    }
    c->table_mask = size - 1;
    list_init(&c->lru);
    list_init(&c->body_lru);
    *ret = c;
    return OK;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    cache_clear(c);
    free(c->table);
    free(c);
}

const struct cache_stats *cache_stats(const struct cache *c)
{
    return &c->stats;
}

static uint64_t table_hash(const struct cache *c, const struct cache_key *key)
{
    uint64_t seed = c->config.seed ^ (key->bucket_id * 0x9e3779b97f4a7c15ull) ^ (uint64_t)key->kind;
    return hash64(seed, key->key);
}

/* A principal is made of many rows, and yet one hash vouches for it.  Let it have been put together
 * at applied index i (metanode/index/principal.c), and let nothing have touched its hash in (i, j]:
 * then it would come out the same at j.
 *  - Of an account (present, or not: the answer says which): everything but the access key's row
 *    lies in the account's scope, or is its quota, and any change there touches the account's hash.
 *    So does any change of the key's row, because apply has the accounts before and after it
 *    touched (metanode/index/apply_registry.c); so the key is still that account's.  A key that is
 *    given to another account, or is deleted and made anew in one, is a change of its row.
 *  - Of no account: there is no such key, and whoever makes one touches the hash of its id.  (Or it
 *    is no ARN of any account, and never will be.)
 *  - Of an ARN the account is in the name, and all lies in its scope.
 * What an earlier release left (metanode/index/registry.h) changes by the same entries as rows. */
static uint64_t principal_hash(const struct cache_key *key, const Cairn__Record *rec)
{
    const char *account = rec->principal ? rec->principal->account_id : "";
    if (account[0] && !MUTANT(PRINCIPAL_BY_KEY))
        return keyhash_account(slice_cstr(account));
    return keyhash_access_key(key->key);
}

static uint64_t witness_hash(const struct cache_key *key, const Cairn__Record *rec)
{
    switch (key->kind) {
    case CAIRN__RECORD_KIND__RECORD_OBJECT: return keyhash_object(key->bucket_id, key->key);
    case CAIRN__RECORD_KIND__RECORD_BUCKET: return keyhash_bucket(key->key);
    default: return principal_hash(key, rec);
    }
}

static bool key_eq(const struct cache_key *a, const struct cache_key *b)
{
    return a->kind == b->kind && a->bucket_id == b->bucket_id && slice_eq(a->key, b->key);
}

struct cache_entry *cache_entry_ref(struct cache_entry *e)
{
    if (e)
        e->refs++;
    return e;
}

struct cache_parsed {
    enum cache_parsed_kind kind;
    void *made;
    void (*free)(void *made);
    struct cache_parsed *next;
};

static void parsed_free(struct cache_parsed *p)
{
    while (p) {
        struct cache_parsed *next = p->next;
        p->free(p->made);
        free(p);
        p = next;
    }
}

void cache_entry_unref(struct cache_entry *e)
{
    if (!e)
        return;
    CHECK(e->refs > 0);
    if (--e->refs > 0)
        return;
    CHECK(!e->in_table);
    payload_unref(&e->body);
    parsed_free(e->parsed);
    if (e->record)
        protobuf_c_message_free_unpacked((ProtobufCMessage *)(uintptr_t)&e->record->base, NULL);
    free(e);
}

static struct cache_entry **table_slot(struct cache *c, struct cache_entry *e)
{
    struct cache_entry **at = &c->table[e->table_hash & c->table_mask];
    while (*at != e) {
        CHECK(*at);
        at = &(*at)->chain;
    }
    return at;
}

static size_t body_bytes(const struct cache_entry *e)
{
    return e->body.owner ? e->body.bytes.len : 0;
}

static void drop_body(struct cache *c, struct cache_entry *e)
{
    c->stats.body_bytes -= body_bytes(e);
    c->stats.bytes -= body_bytes(e);
    list_remove(&e->body_lru);
    e->has_body = false;
    payload_unref(&e->body);
}

static void take_out(struct cache *c, struct cache_entry *e)
{
    *table_slot(c, e) = e->chain;
    e->chain = NULL;
    e->in_table = false;
    list_remove(&e->lru);
    list_remove(&e->body_lru);
    c->stats.entries--;
    c->stats.bytes -= e->bytes + body_bytes(e);
    c->stats.body_bytes -= body_bytes(e);
    cache_entry_unref(e);
}

void cache_clear(struct cache *c)
{
    while (!list_empty(&c->lru))
        take_out(c, container_of(c->lru.next, struct cache_entry, lru));
}

static struct cache_entry *table_find(struct cache *c, const struct cache_key *key, uint64_t hash)
{
    for (struct cache_entry *e = c->table[hash & c->table_mask]; e; e = e->chain)
        if (e->table_hash == hash && key_eq(&e->key, key))
            return e;
    return NULL;
}

static void touch(struct cache *c, struct cache_entry *e)
{
    list_remove(&e->lru);
    list_push_front(&c->lru, &e->lru);
    if (e->body.owner) {
        list_remove(&e->body_lru);
        list_push_front(&c->body_lru, &e->body_lru);
    }
}

struct cache_entry *cache_find(struct cache *c, const struct cache_key *key)
{
    struct cache_entry *e = table_find(c, key, table_hash(c, key));
    if (e)
        touch(c, e);
    return e;
}

/* The entry just used is at the front of both lists, so it goes last. */
static void shrink(struct cache *c)
{
    while (c->stats.body_bytes > c->config.body_bytes_max) {
        CHECK(!list_empty(&c->body_lru));
        drop_body(c, container_of(c->body_lru.prev, struct cache_entry, body_lru));
        c->stats.bodies_dropped++;
    }
    while (c->stats.bytes > c->config.bytes_max) {
        CHECK(!list_empty(&c->lru));
        take_out(c, container_of(c->lru.prev, struct cache_entry, lru));
        c->stats.evictions++;
    }
}

static void keep_body(struct cache *c, struct cache_entry *e, struct payload body)
{
    e->body = payload_ref(body);
    e->has_body = true;
    if (!e->body.owner)
        return;
    if (e->in_table) {
        list_push_front(&c->body_lru, &e->body_lru);
        c->stats.body_bytes += body_bytes(e);
        c->stats.bytes += body_bytes(e);
    }
}

static struct cache_entry *entry_new(struct cache *c, const struct cache_key *key,
                                     Cairn__Record *rec)
{
    struct cache_entry *e = calloc(1, sizeof(*e) + key->key.len);
    if (!e)
        return NULL;
    e->key = (struct cache_key){key->kind, key->bucket_id, SLICE(e + 1, key->key.len)};
    if (key->key.len)
        memcpy(e + 1, key->key.ptr, key->key.len);
    e->keyhash = witness_hash(key, rec);
    e->table_hash = table_hash(c, key);
    e->record = rec;
    e->refs = 1; /* the caller's */
    e->bytes = sizeof(*e) + key->key.len + ENTRY_OVERHEAD_BYTES +
               UNPACKED_FACTOR * protobuf_c_message_get_packed_size(&rec->base);
    list_init(&e->lru);
    list_init(&e->body_lru);
    return e;
}

static uint64_t object_version(const struct cache_entry *e)
{
    return e->record->object ? e->record->object->version : 0;
}

static void put_in(struct cache *c, struct cache_entry *e)
{
    struct cache_entry **head = &c->table[e->table_hash & c->table_mask];
    e->chain = *head;
    *head = e;
    e->in_table = true;
    cache_entry_ref(e);
    list_push_front(&c->lru, &e->lru);
    c->stats.entries++;
    c->stats.bytes += e->bytes;
}

/* Without its body.  *record is taken. */
static struct cache_entry *entry_made(struct cache *c, const struct cache_key *key,
                                      uint32_t partition, uint64_t as_of, Cairn__Record **record)
{
    struct cache_entry *e = entry_new(c, key, *record);
    if (!e)
        protobuf_c_message_free_unpacked(&(*record)->base, NULL);
    *record = NULL;
    if (e) {
        e->partition = partition;
        e->as_of = as_of;
    }
    return e;
}

int cache_entry_alone(struct cache *c, const struct cache_key *key, uint32_t partition,
                      uint64_t as_of, Cairn__Record **record, struct payload body, bool has_body,
                      struct cache_entry **ret)
{
    struct cache_entry *e = entry_made(c, key, partition, as_of, record);
    if (!e)
        return ERR_NOMEM;
    if (has_body)
        keep_body(c, e, body);
    *ret = e;
    return OK;
}

int cache_fill(struct cache *c, const struct cache_key *key, uint32_t partition, uint64_t as_of,
               Cairn__Record **record, struct payload body, bool has_body, struct cache_entry **ret)
{
    struct cache_entry *e = entry_made(c, key, partition, as_of, record);
    if (!e)
        return ERR_NOMEM;
    struct cache_entry *old = table_find(c, key, e->table_hash);
    if (old && old->as_of >= as_of) {
        /* Rule 2.  What was read may still serve the one that read it. */
        c->stats.late_fills++;
        if (has_body && !old->has_body && old->as_of == as_of &&
            object_version(old) == object_version(e))
            keep_body(c, old, body);
    } else {
        if (old)
            take_out(c, old);
        put_in(c, e);
        c->stats.fills++;
    }
    if (has_body)
        keep_body(c, e, body);
    shrink(c);
    *ret = e;
    return OK;
}

void *cache_parsed(const struct cache_entry *e, enum cache_parsed_kind kind)
{
    for (const struct cache_parsed *p = e->parsed; p; p = p->next)
        if (p->kind == kind)
            return p->made;
    return NULL;
}

void *cache_set_parsed(struct cache *c, struct cache_entry *e, enum cache_parsed_kind kind,
                       void *made, size_t bytes, void (*made_free)(void *made))
{
    CHECK(!cache_parsed(e, kind) && e->refs > 0);
    struct cache_parsed *p = malloc(sizeof(*p));
    if (!p) {
        made_free(made);
        return NULL;
    }
    *p = (struct cache_parsed){kind, made, made_free, e->parsed};
    e->parsed = p;
    e->bytes += bytes + sizeof(*p);
    if (e->in_table) {
        c->stats.bytes += bytes + sizeof(*p);
        shrink(c);
    }
    return made;
}

void cache_raise(struct cache *c, struct cache_entry *e, uint64_t through)
{
    if (MUTANT(RAISE_OTHER_ENTRY)) {
        /* What lies at the entry's place in the table by now, whichever entry that is. */
        struct cache_entry *other = c->table[e->table_hash & c->table_mask];
        e = other && other->partition == e->partition ? other : e;
    }
    if (through > e->as_of) {
        e->as_of = through;
        c->stats.raises++;
    }
}

void cache_check(const struct cache *c)
{
    uint64_t entries = 0, bytes = 0, bodies = 0;
    list_for_each(it, &c->lru)
    {
        const struct cache_entry *e = container_of(it, struct cache_entry, lru);
        CHECK(e->in_table && e->refs > 0 && e->record);
        entries++;
        bytes += e->bytes + body_bytes(e);
        bodies += body_bytes(e);
        CHECK(!e->body.owner || e->has_body);
        CHECK((e->body.owner != NULL) == !list_empty(&e->body_lru));
    }
    CHECK(entries == c->stats.entries && bytes == c->stats.bytes && bodies == c->stats.body_bytes);
    CHECK(bytes <= c->config.bytes_max && bodies <= c->config.body_bytes_max);
}
