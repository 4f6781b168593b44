#pragma once
/* An ordered key-value store: RocksDB in the real world (common/env_uv/kv_rocksdb.c), a sorted map
 * with crash semantics in tests (common/env/kv_mem.c).
 *
 * Two kinds of store use it (DESIGN section 3):
 *  - the log store: every write is synced before its callback (kv_write_start, group commit of all
 *    that was queued meanwhile: one fsync);
 *  - the state store: kv_write() is volatile until kv_flush_start() completes; a crash takes it back
 *    to some earlier point, all column families together, never to a mixture.
 * Reads see every write that was applied (kv_write: at return; kv_write_start: at its callback, at
 * the latest).  get/iterate may run on any thread with a snapshot; all else on the owner's loop. */
#include "common/base/slice.h"
#include "common/env/env.h"

/* What a store promises: KV_LOG syncs (write_start), KV_STATE refuses write_start (ERR_UNIMPLEMENTED)
 * and is durable by flush_start only. */
enum kv_mode { KV_LOG, KV_STATE };

enum kv_family { KV_INDEX, KV_BODY, KV_FAMILY_COUNT }; /* KV_BODY: large values kept out of the LSM */

#define KV_KEY_BYTES_MAX 4096 /* longer keys make a batch ERR_INVAL */

struct kv;
struct kv_batch;
struct kv_snapshot;
struct kv_iter;

/* One queued synced write, embedded by its user.  The batch is owned by the call until cb. */
struct kv_write_req {
    void (*cb)(struct kv_write_req *); /* on the loop; err says how it ended */
    struct kv_batch *batch;            /* nulled when taken; freed by the store */
    int err;                           /* OK; ERR_IO; ERR_NOSPACE: after an error nothing more is accepted */
    struct list node;
};

struct kv_flush_req {
    void (*cb)(struct kv_flush_req *);
    int err;
    uint64_t sequence; /* every write before the start of the flush is durable once err == OK */
    struct list node;
};

struct kv_ops {
    /* Appends the value to *ret.  OK; ERR_NOT_FOUND; ERR_CORRUPT; ERR_IO. */
    int (*get)(struct kv *, const struct kv_snapshot *, enum kv_family, struct slice key, struct buf *ret);
    /* Volatile write; takes and frees the batch in any case.  OK; ERR_IO; ERR_NOSPACE; ERR_UNIMPLEMENTED
     * (a range deleted in a KV_STATE store); the batch's own error. */
    int (*write)(struct kv *, struct kv_batch **batch);
    /* OK: one cb later, the batch is taken; else refused and the batch stays the caller's: ERR_IO (the
     * store has failed), ERR_LIMIT (queue full), ERR_UNIMPLEMENTED (KV_STATE), the batch's own error. */
    int (*write_start)(struct kv *, struct kv_write_req *);
    int (*flush_start)(struct kv *, struct kv_flush_req *);
    const struct kv_snapshot *(*snapshot_new)(struct kv *);
    void (*snapshot_free)(struct kv *, const struct kv_snapshot *);
    /* Bounds: lower inclusive, upper exclusive (empty upper: none).  Copied. NULL: out of memory. */
    struct kv_iter *(*iter_new)(struct kv *, const struct kv_snapshot *, enum kv_family,
                                struct slice lower, struct slice upper);
    /* Writes the range [lower, upper) of a family as of `snap` into a file
     * (kv_file.h) to be read by replace_range; used by Raft snapshots.  The file is synced; *ret_bytes is its size,
     * 0 when the range is empty and no file was made (an older one of that name is gone).
     * Blocking: run on a worker thread. */
    int (*export_range)(struct kv *, const struct kv_snapshot *, enum kv_family, struct slice lower,
                        struct slice upper, const char *path, uint64_t *ret_bytes);
    /* Replaces [lower, upper) of all families by the content of the files (path per family, NULL:
     * empty) plus the puts of `extra`, atomically also across a crash, and durable on OK.
     * Blocking: run on a worker thread while nobody else writes the range.  Takes `extra` in any case
     * (NULL: none).  Everything written before it is durable afterwards, too.  An empty upper: no bound. */
    int (*replace_range)(struct kv *, struct slice lower, struct slice upper,
                         const char *const paths[KV_FAMILY_COUNT], struct kv_batch **extra);
    uint64_t (*approximate_bytes)(struct kv *, enum kv_family, struct slice lower, struct slice upper);
    /* Pending callbacks must be drained first, iterators and snapshots freed; not inside a callback. */
    void (*close)(struct kv *);
};

struct kv {
    const struct kv_ops *ops;
};

struct kv_iter_ops {
    void (*seek)(struct kv_iter *, struct slice key); /* first key >= key; empty key: lower bound */
    void (*seek_last)(struct kv_iter *);              /* last key below the upper bound */
    void (*next)(struct kv_iter *);
    bool (*valid)(struct kv_iter *);
    struct slice (*key)(struct kv_iter *);   /* until the next move */
    struct slice (*value)(struct kv_iter *); /* until the next move */
    int (*error)(struct kv_iter *);          /* why valid() is false: OK at the end of the range */
    void (*free)(struct kv_iter *);
};

struct kv_iter {
    const struct kv_iter_ops *ops;
};

/* A batch: applied wholly or not at all, in the order of its operations.  The representation is
 * common to all stores (a list of operations in one buffer). */
struct kv_batch *kv_batch_new(void); /* NULL: out of memory */
void kv_batch_free(struct kv_batch *);
void kv_batch_put(struct kv_batch *, enum kv_family, struct slice key, struct slice value);
void kv_batch_put2(struct kv_batch *, enum kv_family, struct slice key, struct slice a, struct slice b);
void kv_batch_delete(struct kv_batch *, enum kv_family, struct slice key);
/* An empty upper: no bound.  For log stores: the write of a state store refuses such a batch with
 * ERR_UNIMPLEMENTED, since a range of it goes by replace_range. */
void kv_batch_delete_range(struct kv_batch *, enum kv_family, struct slice lower, struct slice upper);
/* OK; ERR_NOMEM, ERR_INVAL (a key too long) if any append failed: writes refuse such a batch. */
int kv_batch_error(const struct kv_batch *);
size_t kv_batch_bytes(const struct kv_batch *);
size_t kv_batch_count(const struct kv_batch *);
bool kv_batch_deletes_ranges(const struct kv_batch *);

enum kv_op_kind { KV_OP_PUT, KV_OP_DELETE, KV_OP_DELETE_RANGE };
struct kv_op {
    enum kv_op_kind kind;
    enum kv_family family;
    struct slice key;   /* delete_range: lower */
    struct slice value; /* delete_range: upper */
};
/* Walks the operations: *pos starts at 0; false at the end. */
bool kv_batch_next(const struct kv_batch *, size_t *pos, struct kv_op *ret);
