#pragma once
/* The gateway's side of the index: where partitions are and who leads them, reads that a witness
 * lets be served from the cache, proposals under one write id, lists across partitions.
 *
 * One `struct meta_client` per event loop, over that loop's env, rpc and cache; no libuv, so the
 * simulator runs this very code.  Every operation is a struct embedded by its user, zeroed before
 * first use; a start always leads to exactly one callback, later, on the same loop, never inside
 * the start; *_fini frees what it holds, after the callback (or on one never started).
 *
 * Order of reading (DESIGN section 2, GET): whoever serves an object must know that bucket and
 * principal still allowed it at or after the moment at which the object was read.  So within one
 * question frame all objects are asked about first, then buckets and principals; and after a read of the
 * object at its leader bucket and principal are asked about again. */
#include "common/base/id.h"
#include "common/env/env.h"
#include "common/op/op.h"
#include "common/rpc/rpc.h"
#include "gateway/cache/cache.h"
#include "proto/command.pb-c.h"
#include "proto/meta.pb-c.h"

struct meta_client;

struct meta_seed {       /* a metanode to learn the cluster map from */
    const char *node_id; /* NULL: whoever answers there */
    const char *addr;
};

struct meta_config {
    const char *zone; /* the own: its witness is asked first.  NULL: none is preferred */
    const struct meta_seed *seeds; /* copied */
    unsigned seed_count;
    bool witness_check_off;      /* every read goes to the leader */
    uint32_t witness_hedge_ms;   /* 0: 60; then another zone's witness is asked too */
    uint32_t witness_timeout_ms; /* 0: 400; then the leaders are read */
    uint32_t read_attempt_ms;    /* 0: 1000; then another replica is tried */
    uint32_t propose_attempt_ms; /* 0: 2000 */
    uint32_t backoff_ms;         /* 0: 10; doubles to 32 times that, with jitter */
    uint32_t map_refresh_ms;     /* 0: 3000 */
};

struct meta_stats {
    uint64_t reads, read_fresh, read_stale, read_miss;
    uint64_t checks, check_questions, check_hedges, check_failures;
    uint64_t leader_reads, route_retries, proposals, propose_retries, unknown_outcomes, map_loads;
};

/* env and rpc are borrowed and outlive it; so does the cache.  Begins at once to load the map. */
int meta_client_new(struct env *env, struct rpc *rpc, struct cache *cache,
                    const struct meta_config *config, struct meta_client **ret);
/* From now on every operation, under way or new, ends soon with ERR_SHUTDOWN, or with ERR_CANCELED
 * if it may have happened; nothing is retried.  Idempotent. */
void meta_client_stop(struct meta_client *mc);
bool meta_client_idle(const struct meta_client *mc); /* no callback is outstanding */
/* Stopped and idle, or after rpc_close() has completed. */
void meta_client_free(struct meta_client *mc);

struct env *meta_client_env(struct meta_client *mc);
struct rpc *meta_client_rpc(struct meta_client *mc);
struct cache *meta_client_cache(struct meta_client *mc);
const struct meta_stats *meta_client_stats(const struct meta_client *mc);
/* NULL until the first map has come.  Borrowed until the loop's next turn: a refresh replaces it.
 */
const Cairn__ClusterMap *meta_client_map(const struct meta_client *mc);
/* Metanode 0, 1, ... of the map, for what is asked of each; NULL: no more. */
struct rpc_peer *meta_client_metanode(const struct meta_client *mc, size_t i);
/* Asks for a newer map soon (a PG that a storage node refused, say), which may be old as well. */
void meta_client_refresh(struct meta_client *mc);

/* ---- one call to the leader of a partition, with routing and retries ---- */

struct meta_call {
    /* Set by the caller. */
    const struct rpc_method *method;
    bool root; /* the root partition; else the one that holds (bucket_id, key) */
    uint64_t bucket_id;
    struct slice key;          /* borrowed until the callback */
    ProtobufCMessage *request; /* borrowed until the callback; partition and epoch are filled in */
    struct payload payload;    /* referenced until fini */
    bool is_write;             /* an unknown outcome is remembered */
    bool want_range;
    uint32_t attempt_ms; /* 0: read_attempt_ms */
    uint64_t deadline_ns;
    void (*cb)(struct meta_call *);
    /* Results, until fini.  err after an unknown outcome is of class UNKNOWN_OUTCOME unless a later
     * answer settled it. */
    int err;
    ProtobufCMessage *response;
    struct payload response_payload;
    uint32_t partition;
    struct buf range_end; /* end of the range that was asked, when want_range */
    bool maybe_applied;
    unsigned attempts;
    /* private */
    struct meta_client *mc;
    bool calling;
    int last_err, fatal_err;
    unsigned hops, backoffs;
    struct rpc_call rpc;
    struct env_timer timer;
    struct list node;
    struct rpc_peer *target;
};
void meta_call_start(struct meta_client *mc, struct meta_call *call);
void meta_call_fini(struct meta_call *call);

/* ---- the map as of now: a linearizable read at the root's leader ---- */

struct meta_map_read {
    /* Set by the caller. */
    uint64_t deadline_ns;
    void (*cb)(struct meta_map_read *);
    /* Result.  OK: meta_client_map() is at least as new as the start; ERR_UNIMPLEMENTED: the root's
     * leader is of a version that cannot say. */
    int err;
    /* private */
    struct meta_call call;
    Cairn__ClusterMapRequest request;
};
void meta_map_read_start(struct meta_client *mc, struct meta_map_read *read); /* no fini */

/* ---- records ---- */

#define META_OWNER_CHARS_MAX 63

struct meta_read {
    /* Set by the caller; slices are borrowed until the callback. */
    struct slice principal; /* access key id, or ARN; len 0: not asked */
    struct slice bucket;    /* len 0: not asked */
    struct slice key;       /* of the object */
    bool want_object, want_body;
    bool want_owner; /* of the bucket: its account's root user, if that is not the principal's */
    /* Of the object: this version (proto/versions.h), delete markers too, always read at the leader;
     * VERSION_NONE: the current one, which may be a delete marker. */
    uint64_t version;
    uint64_t deadline_ns; /* on the env's monotonic clock */
    void (*cb)(struct meta_read *);
    /* Results, until fini.  With err OK each record asked for has an entry, but: an absent
     * principal ends the read at once, alone (look at it first), and an absent bucket has no object
     * entry. No entry is given that is not known to be current: each was at some moment between the
     * start and the callback; bucket and principal at or after the moment of the object. */
    int err;
    struct cache_entry *principal_entry, *bucket_entry, *object_entry;
    struct cache_entry *owner_entry; /* NULL: not wanted, or the principal's account is the owner */
    struct payload body;           /* the object's inline data, when wanted and kept inline */
    unsigned leader_reads, checks; /* rounds that it took */
    /* private */
    struct meta_client *mc;
    struct op op;
    uint8_t asked, ok;         /* masks over enum meta_record: see read.c */
    uint8_t in_check, in_call; /* masks: what the question, the call under way is about */
    uint32_t slot[4];
    struct cache_entry *entry[4];
    char owner[META_OWNER_CHARS_MAX + 1]; /* its ARN; "": not known yet, or not wanted */
    struct list check_node;
    struct meta_call call;
    Cairn__ReadRequest request;
    Cairn__RecordKey record_key[3], *record_key_ptr[3];
};
void meta_read_start(struct meta_client *mc, struct meta_read *read);
void meta_read_fini(struct meta_read *read);

/* ---- proposals ---- */

struct meta_propose {
    /* Set by the caller: the op of the command and what it points to, all borrowed until the
     * callback; settings_version where it matters.  write_id, issued_ms, epoch and touches are set
     * here. */
    Cairn__Command command; /* cairn__command__init() first */
    bool root;
    uint64_t bucket_id; /* with key: which partition; ignored for the root */
    struct slice key;
    struct payload body; /* inline data; referenced until fini */
    /* No write id is given a later issued_ms, whenever it is chosen: the state machine then refuses
     * by its window what comes too late.  0: no bound. */
    uint64_t issue_until_ms;
    uint64_t deadline_ns;
    void (*cb)(struct meta_propose *);
    /* Results, until fini.  err: what the state machine said, or how the attempt failed; of class
     * UNKNOWN_OUTCOME when it may have happened: then nothing may be cleaned up. */
    int err;
    Cairn__Outcome *outcome; /* NULL when the state machine's answer is not known */
    uint32_t partition;
    struct id128 write_id;
    /* private */
    struct meta_client *mc;
    unsigned reroutes;
    struct meta_call call;
    Cairn__ProposeRequest request;
    uint64_t *touches;
};
void meta_propose_start(struct meta_client *mc, struct meta_propose *propose);
void meta_propose_fini(struct meta_propose *propose);

/* ---- lists: across partitions in key order, whole or an error, never short ---- */

struct meta_list_state { /* private: what lists of objects and of uploads have in common */
    struct buf at;       /* first position of the bucket not yet covered */
    ProtobufCMessage **pages;
    size_t page_count, page_cap, entry_cap;
};

struct meta_list {
    /* Set by the caller; slices are borrowed until the callback. */
    uint64_t bucket_id;
    struct slice prefix, delimiter;
    struct slice start_after; /* exclusive */
    struct slice skip_prefix; /* a common prefix that is not to be given: skip all below it */
    bool by_key_alone;        /* who goes on says no more than `passed`: not within a common prefix */
    bool versions;            /* and delete markers; else current objects */
    uint64_t after_version;   /* of start_after, those behind this one too (proto/versions.h) */
    bool want_tags;
    bool want_state; /* encryption, lock and replication of versions */
    uint32_t keys_max;        /* 1..LIST_KEYS_MAX */
    uint64_t deadline_ns;
    void (*cb)(struct meta_list *);
    /* Results, until fini. */
    int err;
    const Cairn__ListEntry **entries;
    size_t entry_count;
    bool more;
    /* With `more`, when a long way led past delete markers: the list goes on behind this key, which is
     * none of the entries.  Else empty. */
    struct slice passed;
    /* private */
    struct meta_client *mc;
    struct meta_call call;
    Cairn__ListRequest request;
    uint64_t version_after; /* of the next request */
    unsigned empty_pages;
    struct meta_list_state state;
    struct buf after, skip; /* of the next request */
};
#define LIST_KEYS_MAX 1000
void meta_list_start(struct meta_client *mc, struct meta_list *list);
void meta_list_fini(struct meta_list *list);

struct meta_list_uploads {
    uint64_t bucket_id;
    struct slice prefix, delimiter, key_marker, upload_id_marker;
    uint32_t uploads_max;
    uint64_t deadline_ns;
    void (*cb)(struct meta_list_uploads *);
    int err;
    const Cairn__UploadEntry **entries;
    size_t entry_count;
    bool more;
    /* private */
    struct meta_client *mc;
    struct meta_call call;
    Cairn__ListUploadsRequest request;
    struct meta_list_state state;
    struct buf key_after, upload_after;
};
void meta_list_uploads_start(struct meta_client *mc, struct meta_list_uploads *list);
void meta_list_uploads_fini(struct meta_list_uploads *list);

/* The partitions that overlap a bucket, as the map has them now: for each the first key of the
 * bucket in its range (be16 length and bytes, appended), good for routing a call to it. Returns:
 * OK; ERR_NOT_READY (no map, or nothing overlaps); ERR_NOMEM. */
int meta_bucket_ranges(struct meta_client *mc, uint64_t bucket_id, struct buf *ret_starts,
                       uint32_t *ret_count);
/* Behind the range that a call was routed by (range_end): where the bucket goes on.
 * Returns: OK; ERR_END (it ends there); ERR_PROTO (the range was not of this bucket).  *ret_key is
 * borrowed from the range's end. */
int meta_range_next(struct slice range_end, uint64_t bucket_id, struct slice *ret_key);
/* Of objects: the root is not counted. */
size_t meta_partition_count(const struct meta_client *mc);
/* Which partition holds the key, as the map has it now.  OK; ERR_NOT_READY. */
int meta_partition_of(struct meta_client *mc, uint64_t bucket_id, struct slice key, uint32_t *ret);
