#pragma once
/* The disks of one storage node: several stores (store.h) behind one interface.
 *
 * A put goes to the disk that has the shard already, else to the writable one of two with more
 * room, or to the one of them that is not slow (disks_pace.c); if that one is full or fails, to
 * another.  A get, a check and an inventory ask the disks'
 * indexes; nothing is remembered of single blobs but what is under way.  A delete marks on every
 * disk that is up, and is acknowledged only if every disk that could hold the blob took part: one
 * that is out of service and has not been given up makes it ERR_NOT_READY, so that whoever asked
 * asks again.
 *
 * A disk has an id.  The ids of all disks that the node has or had are kept in the index of each of
 * them ('n'), so that one that is no longer there is missed: it counts as out of service until the
 * operator gives it up (`lost`).  One that was given up is refused for ever: it may hold blobs
 * whose deletion was acknowledged without it.
 *
 * Closed epochs of placement groups lie there, too ('c'): the index is what a crash of the node
 * treats in one known way already, and every disk that is up has all of them, so that no single
 * disk takes them along.
 *
 * All on the env's loop.  A start is refused (no callback) or accepted (exactly one, later). */
#include "storagenode/op/store.h"

#define DISKS_MAX 32u
#define DISKS_KNOWN_MAX 256u      /* ids ever seen */
#define DISKS_CLOSED_MAX 65536u   /* groups with a closed epoch */
#define DISKS_CHECK_MAX 1024u     /* shards in one check */
#define DISKS_INVENTORY_MAX 4096u /* entries in one page */
#define DISKS_DIGESTS 256u

struct disks;

struct disks_member {
    struct disk *disk; /* NULL: could not be opened, */
    struct kv *kv;
    const char *path; /* copied; "" in tests */
    int err;          /* and why */
};

struct disks_config {
    struct store_config store; /* of each; the callbacks are not the caller's */
    const struct disks_member *members;
    size_t count;
    const struct id128 *lost; /* given up; copied */
    size_t lost_count;
    /* Once for each disk that goes out of service while the node runs.  May be NULL. */
    void (*on_failed)(void *arg, size_t disk, int err);
    /* As store_config.on_damage.  May be NULL. */
    void (*on_damage)(void *arg, size_t disk, const struct store_damage *damage);
    void *arg;
};

/* The members outlive it.  Returns: OK; ERR_NOMEM; ERR_INVAL (config, no or too many members). */
int disks_new(struct env *env, const struct disks_config *config, struct disks **ret);
/* Recovers all; cb(arg, err) later: OK when at least one disk is up, else why the first is not. */
void disks_open_start(struct disks *d, void (*cb)(void *arg, int err), void *arg);
/* As store_close_start() and store_free(). */
void disks_close_start(struct disks *d, void (*cb)(void *arg, int err), void *arg);
void disks_free(struct disks *d);

/* This disk, which is up, is given up from now on, as if it stood in config.lost: nothing of it is
 * served any more, and nobody waits for it.  What is under way on it ends.
 * Returns: OK, *ret_member is its number; ERR_NOT_FOUND: no disk that is up has this id;
 * ERR_NOT_READY, ERR_SHUTDOWN; ERR_NOMEM. */
int disks_give_up(struct disks *d, struct id128 id, size_t *ret_member);

/* ---- puts, gets, deletes ---- */

struct disks_put {
    struct store_put put; /* as for store_put_start(), but cb */
    bool any_epoch; /* repair: closed epochs do not bind it, but that of leaving the group does */
    void (*cb)(struct disks_put *);
    int err; /* as store_put.err */
    /* private */
    struct disks *disks;
    struct list node;
    size_t at;
    uint64_t began_ns; /* at that disk */
    uint32_t tried;    /* a bit a disk */
    bool unsure;       /* a disk failed under it: nobody knows what has been kept there */
};
/* Returns: as store_put_start(); ERR_NOSPACE: all are full; ERR_EPOCH: the group has moved on. */
int disks_put_start(struct disks *d, struct disks_put *put);

/* Returns: as store_get_start(); ERR_IO: it may lie on a disk that cannot be read. */
int disks_get_start(struct disks *d, struct store_get *get);

struct disks_delete {
    const struct id128 *blob_ids;
    uint32_t count;
    void (*cb)(struct disks_delete *);
    int err; /* ERR_NOT_READY: some disk could not take part */
    /* private */
    struct disks *disks;
    struct list node;
    struct disks_part *parts;
    unsigned left;
};
int disks_delete_start(struct disks *d, struct disks_delete *del);

/* ---- what is there ---- */

enum disks_shard { /* as enum ShardState in proto */
                   DISKS_SHARD_MISSING,
                   DISKS_SHARD_PRESENT,
                   DISKS_SHARD_DAMAGED,
                   DISKS_SHARD_DELETED,
                   DISKS_SHARD_UNREADABLE /* on a disk that is out of service, or perhaps on one
                                             that cannot say */
};
/* OK; ERR_NOMEM. */
int disks_look(struct disks *d, struct id128 blob_id, uint16_t shard_index, enum disks_shard *ret);

struct disks_check {
    /* the caller's, until cb */
    const struct id128 *blob_ids;
    const uint32_t *shard_indexes;
    size_t count;       /* at most DISKS_CHECK_MAX */
    bool deep;          /* read and verify what is there, */
    uint64_t bytes_max; /* until so much has been read; at least one shard */
    void (*cb)(struct disks_check *);
    /* result */
    int err;
    size_t done; /* the first so many states are known; fewer than count only if deep */
    enum disks_shard *states; /* the caller's memory, count of them */
    /* private */
    struct disks *disks;
    struct list node;
    struct env_timer timer;
    struct store_get get;
    uint64_t bytes;
};
/* Returns: OK; ERR_INVAL; ERR_NOT_READY; ERR_SHUTDOWN. */
int disks_check_start(struct disks *d, struct disks_check *check);

struct disks_inventory {
    uint32_t pg;
    bool digests;       /* hashes, not ids */
    uint8_t first_byte; /* ids: those that begin with it, */
    bool all_bytes;     /* or with any */
    bool has_after;
    struct id128 after;     /* and lie behind this one */
    uint32_t entries_max;   /* 0: DISKS_INVENTORY_MAX; a page may be a few longer, so that it ends
                               with the last shard of a blob */
    uint64_t older_than_ms; /* by the shards' own times; 0: all */
    bool unconfirmed;       /* only those that are not marked confirmed */
    uint32_t scan_max;      /* the page ends after so many have been looked at; 0: no bound */
    void (*cb)(struct disks_inventory *);
    /* result; entries are freed with disks_inventory_fini() */
    int err;
    struct store_inventory_entry *entries;
    size_t count;
    bool more;
    struct id128 last; /* `more`: the next page's `after` */
    uint64_t hashes[DISKS_DIGESTS];
    uint8_t present[DISKS_DIGESTS / 8]; /* digests: which of them speak of any shard, whole or not,
                                           however young */
    /* private */
    struct disks *disks;
    struct list node;
    struct env_timer timer;
    struct inventory_stream *streams;
    size_t stream_count, cap, scanned;
};
/* Returns: OK; ERR_INVAL; ERR_NOMEM; ERR_NOT_READY (no disk is up); ERR_SHUTDOWN. */
int disks_inventory_start(struct disks *d, struct disks_inventory *inv);
void disks_inventory_fini(struct disks_inventory *inv);
/* store_confirm() on every disk that is up.  OK; the first error. */
int disks_confirm(struct disks *d, const struct id128 *blob_ids, size_t count);
/* What a whole shard adds (XOR) to the hash of its id's first byte. */
uint64_t disks_digest(const struct store_inventory_entry *e);
/* Some disk that is up has a shard of the group. */
bool disks_has_group(struct disks *d, uint32_t pg);

/* ---- epochs ---- */

/* From now on puts of the group below `epoch` are refused.  OK; ERR_NOMEM; ERR_LIMIT;
 * ERR_NOT_READY. */
int disks_epoch_close(struct disks *d, uint32_t pg, uint64_t epoch);
/* The epoch below which writes of the group are refused through any crash, and none that was taken
 * before is still under way; 0: none. */
uint64_t disks_epoch_closed(const struct disks *d, uint32_t pg);
/* As of this epoch, in which no change is under way, the node is no member of the group any more:
 * some of the shards that it has are dropped, without tombstones, since they may come back with the
 * next membership.  *ret_more: there are others, call it again.  A put of a later epoch, which the
 * caller's map does not know yet, ends it: the node may be coming back.  Puts of this epoch or
 * earlier ones are refused from now on, also repair's.  Shards from before since_ms stay: another
 * cluster had them on these disks, and this one's map says nothing of them.
 * Returns: OK; ERR_EPOCH: the group has moved on; ERR_NOT_READY: the epoch is not closed durably;
 * and as store_group_drop(), which one disk failed with. */
int disks_group_leave(struct disks *d, uint32_t pg, uint64_t epoch, uint64_t since_ms,
                      bool *ret_more);
/* Walks the groups with one: *pos starts at 0; false at the end. */
bool disks_epoch_next(const struct disks *d, size_t *pos, uint32_t *ret_pg, uint64_t *ret_epoch);

/* ---- looking in ---- */

enum disks_state { DISKS_STATE_UP, DISKS_STATE_FAILED, DISKS_STATE_LOST };
struct disks_status {
    struct id128 id; /* zero: not known */
    const char *path;
    enum disks_state state;
    bool present; /* a member; else it is missed, or was given up */
    bool writable;
    bool slow;                /* much slower than the others, or than any disk should be */
    int err;                  /* why it is not up */
    struct store_stats stats; /* of one that is present */
};
/* Members first, in their order, then those that are missed: *pos starts at 0; false at the end. */
bool disks_status_next(const struct disks *d, size_t *pos, struct disks_status *ret);
struct disks_counts {
    unsigned members, up, writable, out; /* out: FAILED, present or not */
};
void disks_count(const struct disks *d, struct disks_counts *ret);
/* Of the disks that are up: their size, and what puts have left of it, counting what reclamation
 * can give back. */
void disks_space(const struct disks *d, uint64_t *ret_total, uint64_t *ret_free);
/* As store_distrust(), on whichever disk has the shard. */
int disks_distrust(struct disks *d, struct id128 blob_id, uint16_t shard_index,
                   const uint32_t *block_crcs, uint32_t count);
/* Notes of deep scrub (record.h, 'v').  Load: false: none is known, and nothing is written. */
bool disks_deep_load(struct disks *d, uint32_t pg, uint64_t ret_since_ms[DEEP_BUCKETS]);
void disks_deep_save(struct disks *d, uint32_t pg, const uint64_t since_ms[DEEP_BUCKETS]);
/* store_scrub_start_now() on every disk that is up.  Returns: OK; ERR_NOT_READY: none is. */
int disks_scrub_start_now(struct disks *d);
bool disks_are_open(const struct disks *d); /* recovered, and not closing */
size_t disks_members(const struct disks *d);
/* NULL: the member could not be opened. */
struct store *disks_store(const struct disks *d, size_t member);
