#pragma once
/* The gateway's cache of index records (objects, buckets, principals), one per event loop.
 *
 * What it is: a bounded table of records as they stood at `as_of`, an applied index of the
 * partition that they were read from.  Absence is cached like presence.  An entry never changes but
 * for four things: `as_of` may be raised, the inline body may be dropped to save memory, `parsed`
 * may be set, and it may leave the table.  It is reference counted, so a request keeps what it
 * asked about, whatever happens to the table meanwhile.  What it is not: it never decides that
 * something is fresh; only a witness does.
 *
 * The rules (DESIGN 4.4), which make a cached read right:
 *  1. a fresh answer raises `as_of` only of the very entry that was asked about (a pointer taken
 * when the question was sent), never of what the table holds under that key by now;
 *  2. a late fill never replaces an entry with a larger `as_of`.
 * Pure and deterministic; one loop. */
#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/slice.h"
#include "proto/meta.pb-c.h"

struct cache;

/* What the layer above makes of records: of a bucket's its settings, in the form that requests use.
 */
enum cache_parsed_kind {
    CACHE_PARSED_BUCKET, /* gateway/op/bucket_view.h */
    CACHE_PARSED_PRINCIPAL,
    CACHE_PARSED_LIFECYCLE,
    CACHE_PARSED_NOTIFICATION,
    CACHE_PARSED_REPLICATION,
    CACHE_PARSED_WEBSITE,
};
struct cache_parsed;

struct cache_config {
    uint64_t bytes_max;      /* records, keys and bodies together; 0: 32 MiB */
    uint64_t body_bytes_max; /* of these, inline bodies; 0: half of bytes_max */
    uint64_t seed;           /* of the table's own hash: random in the real world */
};

struct cache_key {
    Cairn__RecordKind kind;
    uint64_t bucket_id; /* objects only */
    struct slice key;   /* object key; bucket name; access key id or ARN of a principal */
};

/* Read-only for everyone but the cache. */
struct cache_entry {
    struct cache_key key;
    uint64_t keyhash;   /* proto/keyhash.h: what a witness knows it by */
    uint32_t partition; /* as_of counts in the log of this partition */
    uint64_t as_of;
    const Cairn__Record *record; /* record->present says whether there is one */
    struct payload body;         /* inline data; owner NULL when not (or no longer) kept */
    bool has_body;               /* also true for an empty inline body */
    /* For the check in preparation (gateway/meta/check.c): which question of which frame asks. */
    uint64_t asked_frame;
    uint32_t asked_slot;
    /* What the layer above made of the record: cache_set_parsed(). */
    struct cache_parsed *parsed;
    /* private */
    uint32_t refs;
    bool in_table;
    uint64_t table_hash;
    size_t bytes;
    struct cache_entry *chain;
    struct list lru, body_lru;
};

struct cache_stats {
    uint64_t entries, bytes, body_bytes;
    uint64_t fills, late_fills, evictions, bodies_dropped, raises;
};

int cache_new(const struct cache_config *config, struct cache **ret); /* OK; ERR_NOMEM */
/* Entries that are still referenced live on until their last reference is dropped. */
void cache_free(struct cache *cache);
const struct cache_stats *cache_stats(const struct cache *cache);

/* The entry under the key, or NULL.  Borrowed: take a reference to keep it.  Counts as a use. */
struct cache_entry *cache_find(struct cache *cache, const struct cache_key *key);

/* Puts what was read at `as_of` (or written at that index) into the cache and returns it with a
 * reference.  *record is taken and nulled, also on error; the body is referenced.  When the table
 * holds the key with an as_of at least as large, that entry stays (a body it lacks is added to it
 * if as_of and version are the same) and *ret is an entry of its own, outside the table: the reader
 * may use what it has read all the same.
 * Returns: OK; ERR_NOMEM.  has_body: the body given is the object's whole inline data. */
int cache_fill(struct cache *cache, const struct cache_key *key, uint32_t partition, uint64_t as_of,
               Cairn__Record **record, struct payload body, bool has_body,
               struct cache_entry **ret);

/* An entry of its own, outside the table, for what is not the record under that key (a version that
 * is not the current one).  Else as cache_fill(). */
int cache_entry_alone(struct cache *cache, const struct cache_key *key, uint32_t partition,
                      uint64_t as_of, Cairn__Record **record, struct payload body, bool has_body,
                      struct cache_entry **ret);

/* A witness called `entry` fresh, and knows of everything up to `through` in the entry's partition.
 */
void cache_raise(struct cache *cache, struct cache_entry *entry, uint64_t through);

/* What was made of the entry's record; NULL: nothing yet. */
void *cache_parsed(const struct cache_entry *entry, enum cache_parsed_kind kind);
/* Keeps it with the entry, which frees it.  Once an entry and kind.  Its bytes count like the
 * record's, so others may leave for it, or the entry itself (whose reference the caller holds).
 * Returns: what was made; NULL (no memory): it was freed. */
void *cache_set_parsed(struct cache *cache, struct cache_entry *entry, enum cache_parsed_kind kind,
                       void *made, size_t bytes, void (*made_free)(void *made));

struct cache_entry *cache_entry_ref(struct cache_entry *entry); /* NULL is fine */
void cache_entry_unref(struct cache_entry *entry);              /* NULL is fine */

/* Takes everything out (a switch for tests and the simulator). */
void cache_clear(struct cache *cache);
void cache_check(const struct cache *cache); /* invariants */
