#pragma once
/* The shards of ONE disk: extents on it, and the index of what is where (docs/formats/extent.md).
 *
 * The caller gives it an env, a disk and a state store (kv.h, second kind), opens it (recovery:
 * rescans what the index may have lost), then puts, gets and deletes.  All on the env's loop.  A
 * start is refused (no callback) or accepted (exactly one callback, later).  Several disks are
 * several stores; they share nothing.
 *
 * What an answer promises.  Put: OK means synced; every error but ERR_IO means that nothing was
 * kept.  Delete: OK means that the mark is synced: the shard does not come back through any crash,
 * nor by a put of the same blob that was on its way (tombstones, below).  Get: bytes that match the
 * CRCs they were put with, or an error, never anything else.
 *
 * Tombstones: a deleted blob id is refused (ERR_CONDEMNED) for tombstone_retention_ms, known or not
 * at the time of the delete.  A put is refused when its time_ms lies more than put_age_ms_max in the
 * past (ERR_TOO_OLD) or clock_skew_ms_max in the future (ERR_TIME).  As long as
 *     tombstone_retention_ms > put_age_ms_max + 2 * clock_skew_ms_max
 * a late put meets either the tombstone or its own age, or has waited here for too long (the node was
 * stopped meanwhile, say): its age is looked at when it comes, the tombstone when it is written.  time_ms is therefore the sender's clock
 * when it *chose the blob id*, or first sent it, and stays the same in retries. */
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/env/disk.h"
#include "common/env/kv.h"
#include "storagenode/extent/record.h"

struct store;

/* A shard whose frame does not hold what was put: another replica has it, repair is to rebuild it. */
struct store_damage {
    struct id128 blob_id;
    uint16_t shard_index;
    uint32_t extent_id;
    uint64_t offset;
    int err;                        /* ERR_CHECKSUM; ERR_CORRUPT (its head); ERR_IO */
    uint32_t pg;                    /* of the shard */
    bool by_scrub;                  /* else a read or reclamation found it */
};

struct store_config {
    uint64_t extent_bytes;          /* 0: 256 MiB; multiple of FRAME_ALIGN */
    uint64_t capacity_bytes;        /* 0: what the file system has, less space_reserve_bytes */
    uint64_t space_reserve_bytes;   /* 0: 1 GiB; of the file system, never taken */
    uint32_t extents_reserve;       /* 0: 2 or 2 % of the extents: kept for marks and reclamation */
    uint32_t extents_ready;         /* 0: 1; prepared ahead of need */
    uint64_t queue_bytes_max;       /* 0: 64 MiB of puts waiting or being written */
    uint32_t queue_count_max;       /* 0: 8192 puts and deletes */
    uint64_t read_bytes_max;        /* 0: 128 MiB of gets under way */
    uint64_t batch_bytes_max;       /* 0: 32 MiB */
    uint32_t batch_frames_max;      /* 0: 256 */
    uint64_t flush_bytes;           /* 0: 256 MiB appended since the last index flush start one */
    uint64_t flush_interval_ms;     /* 0: 30 s, if anything changed */
    uint64_t reclaim_bytes_per_sec; /* 0: 64 MiB; copied by reclamation; no bound when space is short */
    uint64_t put_age_ms_max;        /* 0: 10 min */
    uint64_t clock_skew_ms_max;     /* 0: 1 min */
    uint64_t tombstone_retention_ms; /* 0: 30 min */
    uint64_t scrub_period_ms;       /* 0: 14 days; in which every byte is read and verified once */
    uint64_t scrub_bytes_per_sec_max; /* 0: 64 MiB; however late the scrub is */
    /* For each shard that is found damaged, once; starts nothing of the store.  May be NULL. */
    void (*on_damage)(void *arg, const struct store_damage *damage);
    /* Once, when the disk or the index goes out of service; starts nothing of the store.  May be NULL. */
    void (*on_failed)(void *arg, int err);
    void (*on_flushed)(void *arg); /* more of the index is durable; may be NULL */
    void *arg;
};

enum store_state { STORE_NEW, STORE_OPENING, STORE_UP, STORE_CLOSING, STORE_FAILED, STORE_CLOSED };

#define STORE_BATCH_BUCKETS 10 /* batches of 1, 2, 3-4, 5-8, ... operations */

struct store_stats {
    enum store_state state;
    bool writable;              /* takes puts now */
    int failure;                /* why it is STORE_FAILED */
    uint64_t bytes_total, bytes_free;
    uint64_t shards, live_bytes, dead_bytes, tombstones;
    uint64_t extents, extents_free;
    uint64_t queued_bytes, queued_count, reads_under_way, read_bytes;
    /* counters */
    uint64_t puts, put_bytes, put_errors, gets, get_bytes, get_errors, deletes;
    uint64_t batches, frames, syncs, index_flushes, extents_reclaimed, reclaimed_bytes_copied;
    uint64_t corruptions;       /* damaged frames, shards and extents found, by recovery or reads */
    uint64_t torn_frames;       /* unacknowledged frames dropped by recovery */
    uint64_t recovered_frames;  /* found behind the durable index and indexed again */
    uint64_t dropped;           /* shards of groups that the node has left */
    uint64_t scrub_bytes;       /* read by the scrub */
    uint64_t scrub_found;       /* shards that it found damaged, and nobody before */
    uint64_t scrub_passes;      /* ended: everything there was at their begin has been read */
    uint64_t batch_sizes[STORE_BATCH_BUCKETS];
    /* Each byte has been verified, or was written, at this wall time or later: never younger than
     * true.  0: nobody knows of some; now, if there is nothing to verify. */
    uint64_t scrub_oldest_ms, scrub_oldest_age_s;
    bool scrub_asked;          /* a pass that was asked for is under way */
    uint64_t scrub_left_bytes; /* of the pass under way, at most */
};

/* An operation on its way to a group commit. */
struct store_item {
    struct list node;
    bool is_put;
};

struct store_put {
    /* set by the caller; borrowed until cb unless a line says otherwise */
    struct shard_info info;          /* whose key and block_crcs point to the caller's memory */
    struct payload payload;          /* the shard's bytes; the caller's reference */
    /* CRC32C of each of its blocks, if the caller has summed it already; NULL: the store does.
     * Borrowed for the start. */
    const uint32_t *payload_crcs;
    uint64_t deadline_ns;            /* 0: none; a put that is still waiting then, or has waited so
                                        long that a tombstone may have expired (tombstones, above),
                                        ends with ERR_TIMEOUT: nothing was kept */
    bool any_age;                    /* repair: not bound by put_age_ms_max (by the tombstone, yes) */
    void (*cb)(struct store_put *);
    /* result: OK; ERR_EXISTS (other bytes under this id); ERR_CONDEMNED; ERR_NOSPACE; ERR_TIMEOUT;
     * ERR_SHUTDOWN; ERR_IO (unknown outcome; the disk is out of service) */
    int err;
    /* private */
    struct store_item item;
    uint64_t queued_ms;              /* when it was taken, by the wall clock */
    bool is_copy;                    /* made by reclamation, of the frame at: */
    uint32_t from_extent;
    uint64_t from_offset;
    uint64_t seq, frame_offset;      /* where it went */
};

struct store_get {
    struct id128 blob_id;
    uint16_t shard_index;
    uint64_t offset, bytes;          /* bytes 0: to the end; what lies behind the end is left out */
    bool want_info;                  /* `info` is wanted, too */
    bool head_only;                  /* no bytes of the shard: what its head says, verified */
    void (*cb)(struct store_get *);
    /* result: OK; ERR_NOT_FOUND; ERR_INVAL (offset at or behind the end); ERR_CHECKSUM, ERR_CORRUPT
     * (damaged: another replica has it); ERR_IO; ERR_NOMEM */
    int err;
    uint64_t first_byte, shard_bytes; /* whole blocks that cover the range, from first_byte */
    struct payload payload;          /* the caller drops it with payload_unref() */
    uint32_t block_crcs[SHARD_BLOCKS_MAX];
    uint32_t block_count;
    struct shard_info info;          /* what the put said of it; the key points into the payload's
                                        buffer, there are no CRCs */
    /* private */
    struct store *store;
    struct list node;
    struct disk_req head_req, data_req;
    unsigned reads_left;
    struct rcbuf *buffer;            /* head, then whole blocks */
    uint32_t extent_id;
    uint64_t generation, frame_offset, bytes_reserved;
    uint64_t data_bytes;             /* of the blocks that are read */
};

struct store_delete {
    const struct id128 *blob_ids;
    uint32_t count;                  /* at most MARKS_PER_REQUEST_MAX */
    void (*cb)(struct store_delete *);
    int err;
    struct store_item item;
};

/* Returns: OK; ERR_NOMEM; ERR_INVAL (config). */
int store_new(struct env *env, struct disk *disk, struct kv *kv, const struct store_config *config,
              struct store **ret);

/* Recovers; cb(arg, err) later.  After an error only store_close_start() and store_free() remain. */
void store_open_start(struct store *s, void (*cb)(void *arg, int err), void *arg);

/* Checks the payload against info->block_crcs (once, here).
 * Returns: OK: cb comes; ERR_INVAL, ERR_CHECKSUM, ERR_TOO_LARGE, ERR_TOO_OLD, ERR_TIME,
 * ERR_OVERLOAD, ERR_NOSPACE, ERR_NOT_READY, ERR_SHUTDOWN, ERR_IO: refused, nothing was kept. */
int store_put_start(struct store *s, struct store_put *put);

/* Returns: OK: cb comes; ERR_NOT_FOUND, ERR_CORRUPT, ERR_INVAL, ERR_OVERLOAD, ERR_NOMEM,
 * ERR_NOT_READY, ERR_SHUTDOWN, ERR_IO: refused. */
int store_get_start(struct store *s, struct store_get *get);

/* Returns: OK: cb comes; ERR_INVAL, ERR_OVERLOAD, ERR_NOT_READY, ERR_SHUTDOWN, ERR_IO: refused. */
int store_delete_start(struct store *s, struct store_delete *del);

/* What the index says of a shard, without reading it. */
struct store_look {
    bool found, damaged; /* the shard */
    bool deleted;        /* the blob: a tombstone is remembered */
    uint32_t crcs_digest;
};
/* Returns: OK, whatever there is; ERR_CORRUPT, ERR_IO, ERR_NOMEM: the index cannot say;
 * ERR_NOT_READY, ERR_SHUTDOWN. */
int store_look(struct store *s, struct id128 blob_id, uint16_t shard_index, struct store_look *ret);

/* The shards of one placement group, in the order of (blob id, shard index). */
struct store_inventory_entry {
    struct id128 blob_id;
    uint16_t shard_index;
    struct group_record record;
};
struct store_inventory_at { /* zero: the beginning */
    struct id128 blob_id;
    uint32_t shard_index;
};
/* At most `max` of those at or behind *at, which moves on; fewer than max: there are no more.
 * Returns: OK; ERR_NOMEM, ERR_CORRUPT, ERR_IO; ERR_NOT_READY, ERR_SHUTDOWN. */
int store_inventory(struct store *s, uint32_t pg, struct store_inventory_at *at,
                    struct store_inventory_entry *ret, size_t max, size_t *ret_count);

/* A record refers to these blobs: `confirmed` in the index, for what is here of them.  Applied at once,
 * durable with the next flush of the index; a crash may take it back.
 * Returns: OK; ERR_NOMEM; ERR_NOT_READY (not up); else the store has failed. */
int store_confirm(struct store *s, const struct id128 *blob_ids, size_t count);

/* Some shards of the group, the first of its inventory at or behind *at, which moves on, are no
 * longer here: no tombstones, and a crash may bring them back.  Those from before since_ms stay.
 * *ret_more: there are others.  Puts under way are not met.
 * Returns: OK; ERR_NOT_READY (not up), ERR_NOMEM, ERR_CORRUPT, ERR_IO; else the store has failed. */
int store_group_drop(struct store *s, uint32_t pg, uint64_t since_ms, struct store_inventory_at *at,
                     bool *ret_more);

/* Small facts that a node keeps beside its shards (record.h, kinds 'c', 'n' and 'v').  Applied at once,
 * durable once store_notes_durable(); on_flushed tells when to look again.  The batch is taken in any
 * case.  Returns: OK; ERR_NOT_READY (not up); else the store has failed. */
int store_notes_write(struct store *s, struct kv_batch **batch);
bool store_notes_durable(const struct store *s);
/* All notes of a kind; NULL: out of memory. */
struct kv_iter *store_notes_iter(struct store *s, char kind);
/* Zero before it is open. */
struct id128 store_disk_id(const struct store *s);

void store_stats_get(const struct store *s, struct store_stats *ret);

/* The shard is marked as damaged, and told, if its blocks still have these sums: somebody has proven
 * that it is not its blob's.  Returns: OK (also if it was marked already); ERR_NOT_FOUND; ERR_EPOCH:
 * it is another one by now; ERR_NOT_READY; ERR_CORRUPT, ERR_IO, ERR_NOMEM (the index). */
int store_distrust(struct store *s, struct id128 blob_id, uint16_t shard_index,
                   const uint32_t *block_crcs, uint32_t count);

/* A whole pass of the scrub begins now and reads as fast as scrub_bytes_per_sec_max and those who come
 * first allow.  It has ended when stats.scrub_passes grows.  One that is under way begins anew. */
void store_scrub_start_now(struct store *s);

/* Takes nothing new, finishes what is under way, flushes the index, closes the files; then cb.  The
 * disk and the kv stay the caller's. */
void store_close_start(struct store *s, void (*cb)(void *arg, int err), void *arg);

/* After the callback of store_close_start(); or at any moment once neither env nor disk nor kv will
 * call back any more (a crash in a simulation): what was under way is forgotten without callbacks. */
void store_free(struct store *s);

/* ---- for tests ---- */
/* Starts an index flush, or a round of reclamation whatever the thresholds say. */
void store_flush_now(struct store *s);
void store_reclaim_now(struct store *s);
/* No put, delete, flush, preparation or reclamation is under way. */
bool store_is_idle(const struct store *s);
/* Where a shard's frame lies.  OK; ERR_NOT_FOUND. */
int store_locate(struct store *s, struct id128 blob_id, uint16_t shard_index, uint32_t *ret_extent,
                 uint64_t *ret_offset, uint64_t *ret_bytes);
/* Invariants of the whole store against its index; a CHECK fails otherwise.  Only while idle;
 * nothing is checked of one that has failed. */
void store_check(struct store *s);
