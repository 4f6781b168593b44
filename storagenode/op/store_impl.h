#pragma once
/* The inside of a store: shared by the files of storagenode/op/, by nobody else.
 *
 *   commit.c   queue → group commit → index              the only writer of frames
 *   read.c     gets
 *   index.c    records in the kv: lookup, changes, flush
 *   inventory.c what a group has here; facts of the node
 *   prepare.c  new extents, and the next life of emptied ones
 *   reclaim.c  copies what lives out of extents that are mostly dead
 *   scrub.c    reads everything again, in a bounded period
 *   recover.c  opening: rescans tails, judges damage, counts
 *   store.c    lifecycle; wakes the others */
#include "common/op/op.h"
#include "storagenode/extent/alloc.h"
#include "storagenode/extent/batch.h"
#include "storagenode/extent/due.h"
#include "storagenode/extent/record.h"
#include "storagenode/extent/scan.h"
#include "storagenode/op/store.h"

#define SEQ_GAP (1ull << 20) /* more than a batch has frames: what was torn never shares a seq */
#define COPIES_PER_ROUND 16u
#define COPY_BYTES_PER_ROUND (4u << 20) /* or one frame, if it is larger */

struct commit {
    struct op op;
    struct disk_req req;
    bool writing;
    struct batch batch;
    struct list items;     /* puts and deletes of the batch */
    struct extent *extent;
    bool first;            /* of this life of the extent */
    uint64_t bytes;        /* of all frames */
    uint64_t last_seq;
    uint64_t began_ms;     /* when the write was started */
    uint64_t mark_seq, mark_time_ms;
    uint8_t *heads;        /* frames_max + 1 blocks */
    uint8_t *marks;        /* blob ids */
    struct slice *slices;
    unsigned slice_count;
};

struct flush {
    struct kv_flush_req req;
    bool running, wanted;
    uint64_t changes;      /* made to the index so far */
    uint64_t running_mark; /* changes that the running flush covers */
    uint64_t durable_mark; /* changes that are durable */
    uint64_t notes_mark;   /* changes up to the last note */
    uint64_t bytes;        /* appended since the last start */
    uint64_t last_ns;      /* when the last one started */
};

struct prepare {
    struct op op;
    struct disk_req req;
    bool pending;
    struct extent *extent; /* NULL: a new one is being made */
    struct extent_header header;
    struct disk_file *file;
    struct slice slice;
    uint64_t retry_ns;     /* after the file system was full */
    uint8_t block[EXTENT_HEADER_BYTES];
};

struct copy {
    struct store_put put;
    struct store *store;
    struct frame_head head;
    struct rcbuf *buffer;
};

struct reclaim {
    struct op op;
    struct disk_req req;
    struct env_timer pause;
    bool pending, paused, failed, forced;
    bool look;             /* there may be a victim: something died, or an extent was sealed */
    struct extent *victim;
    uint64_t next_offset;
    struct live_record reading;
    uint64_t reading_offset;
    struct copy *copies[COPIES_PER_ROUND];
    unsigned count, outstanding;
    uint64_t round_bytes;
};

struct scrub {
    struct op op;
    struct disk_req req;
    struct env_timer pause;
    bool pending, paused;
    bool forced;              /* this pass was asked for: as fast as allowed */
    bool pass_read;           /* this pass has read an extent */
    uint32_t pass;            /* its number, from 1 */
    uint64_t oldest_ms;       /* at the last look; UINT64_MAX: nothing to verify */
    uint64_t bytes_per_sec, rate_ns; /* and when it was computed */
    struct extent *extent;    /* being read, */
    uint64_t generation;      /* this life of it, */
    uint64_t began_ms;        /* since then, */
    uint32_t extent_pass;     /* for this pass, */
    uint64_t next_offset;     /* the next frame from here on */
    bool in_frame;
    struct id128 blob_id;
    struct shard_record shard;
    uint64_t verified;        /* of its bytes */
    struct frame_head head;
    uint8_t *buffer;
};

struct recover;

struct store {
    struct env *env;
    struct disk *disk;
    struct kv *kv;
    struct store_config config;
    enum store_state state;
    int failure;
    struct id128 disk_id;
    struct alloc alloc;
    uint64_t next_seq;
    uint64_t tombstones;
    struct list queue; /* store_item */
    uint64_t queued_bytes;
    uint32_t queued_count;
    struct list reads; /* store_get */
    uint64_t read_bytes, reads_under_way;
    struct commit commit;
    struct flush flush;
    struct prepare prepare;
    struct reclaim reclaim;
    struct scrub scrub;
    struct recover *recover;
    struct env_timer kick, tick;
    int start_err; /* of an opening that did not begin; until its callback */
    struct disk_req space_req;
    bool space_pending;
    void (*open_cb)(void *arg, int err);
    void *open_arg;
    void (*close_cb)(void *arg, int err);
    void *close_arg;
    struct store_stats stats; /* counters only */
};

/* ---- store.c ---- */
/* Something changed: everybody looks again, on the loop's next turn. */
void store_wake(struct store *s);
/* Out of service: nothing is written any more.  The first reason stays. */
void store_fail(struct store *s, int err);
void store_opened(struct store *s, int err);
void store_capacity_set(struct store *s, uint64_t fs_bytes_free);
static inline bool store_writes(const struct store *s)
{
    return s->state == STORE_UP || s->state == STORE_CLOSING;
}

/* ---- commit.c ---- */
int group_commit_init(struct store *s);
void group_commit_fini(struct store *s);
void commit_enqueue(struct store *s, struct store_item *item);
void commit_fail_all(struct store *s, int err); /* what waits; not what is being written */

/* ---- read.c ---- */
void reads_abandon(struct store *s);

/* ---- index.c ---- */
/* OK; ERR_NOT_FOUND; ERR_CORRUPT and others: the index cannot say. */
int index_load(struct store *s, struct id128 blob_id, struct blob_record *ret);
/* The blob's record, and what its group's inventory says of its shards. */
void index_blob(struct kv_batch *kv, struct id128 blob_id, const struct blob_record *r);
/* Changes gather in a kv batch.  One blob at most once in a batch.  `account`: extents' sums too. */
void index_shard(struct store *s, struct kv_batch *kv, struct id128 blob_id,
                 const struct shard_record *shard, bool account);
void index_mark(struct store *s, struct kv_batch *kv, struct id128 blob_id, uint64_t seq,
                uint64_t time_ms, bool account);
void index_extent(struct store *s, struct kv_batch *kv, const struct extent *x);
/* Applies and frees the batch.  OK; else the store has failed. */
int index_write(struct store *s, struct kv_batch **kv);
/* The shard at this very place is damaged.  `lost`: its place is given up too.  true: nobody had
 * found it before; it has been told (config.on_damage), with its group. */
bool index_damaged(struct store *s, struct store_damage *damage, bool lost);
/* The first shard alive in extent x at or behind `offset`.  OK; ERR_NOT_FOUND; ERR_NOMEM, ERR_IO. */
int index_next_live(struct store *s, uint32_t extent_id, uint64_t offset, struct live_record *ret,
                    uint64_t *ret_offset);
void index_flush_want(struct store *s);
void index_flush_step(struct store *s);
void index_expire_tombstones(struct store *s);

/* ---- scrub.c ---- */
void scrub_init(struct store *s);
void scrub_fini(struct store *s);
bool scrub_idle(const struct store *s); /* reads nothing */
uint64_t scrub_left_bytes(const struct store *s); /* of the pass under way, at most */
/* The first frames of this life of the extent are about to be written. */
void scrub_first_frames(struct store *s, struct extent *x);
/* The batch that has been written: its frames are unverified from now on. */
void scrub_written(struct store *s, struct kv_batch *kv);
void scrub_record_put(struct kv_batch *kv, const struct extent *x);
void scrub_look(struct store *s); /* anew at what is unverified for longest */
/* Recovery, once all extents are known.  OK; ERR_NOMEM, ERR_IO, ERR_CORRUPT, ERR_VERSION. */
int scrub_load(struct store *s, struct kv_batch *kv);

/* ---- prepare.c, reclaim.c ---- */
void prepare_init(struct store *s);
bool prepare_idle(const struct store *s);
void reclaim_init(struct store *s);
void reclaim_fini(struct store *s);
bool reclaim_idle(const struct store *s);
void reclaim_release(struct store *s); /* EMPTIED extents whose index changes are durable go on */

/* ---- recover.c ---- */
int recover_start(struct store *s);
void recover_free(struct store *s);
