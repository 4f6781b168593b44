#pragma once
/* What the files of the RocksDB store share; nobody else includes it. */
#include "common/env_uv/env_uv.h"
#include "common/env_uv/kv_rocksdb.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <semaphore.h>
#include <stdatomic.h>

struct kv_snapshot {
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *options;
};

/* One thread that takes what is queued, all of it at a time, and gives it back to the loop. */
struct kv_lane {
    struct kv_rocksdb *r;
    pthread_t thread;
    bool started, stop;       /* under r->lock */
    bool waiting;             /* under r->lock: whoever clears it posts `wake` */
    sem_t wake;
    struct list queue, done;  /* of struct kv_job, under r->lock */
    void (*run)(struct kv_rocksdb *r, struct list *jobs); /* on the thread; sets each job's err */
};

struct kv_job {
    struct list node;
    struct kv_write_req *write; /* one of the two */
    struct kv_flush_req *flush;
    struct kv_batch *batch;     /* of a write */
    int err;
};

/* Zeros ahead in the newest log file; all zero: none yet. */
struct kv_fill {
    int fd_plus_one; /* 0: not open */
    uint64_t number; /* of the file */
    uint64_t left;   /* about how many zeros are still ahead */
};

struct kv_rocksdb {
    struct kv kv;
    struct env *env;
    enum kv_mode mode;
    char *path;
    uint64_t queue_bytes_max;
    void (*on_failed)(void *arg, int err, const char *text);
    void *arg;

    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *write_sync, *write_plain;
    rocksdb_writebatch_t *merged;    /* the writer's */
    struct kv_fill fill;             /* the writer's, too */
    rocksdb_readoptions_t *read;

    _Atomic bool failed;
    pthread_mutex_t lock;
    struct kv_lane writer, flusher;
    bool posted;                     /* under lock: the post is on its way */
    struct env_uv_post post;
    size_t pending;                  /* the loop's: accepted, callback not yet run */
    _Atomic uint64_t queued_bytes;
    _Atomic uint64_t group_commits, synced_writes, synced_bytes, sync_ns, flushes, sequence, replaces;
};

/* kv_rocksdb_lane.c.  run: on the lane's thread. */
void kv_lane_init(struct kv_lane *lane, struct kv_rocksdb *r,
                  void (*run)(struct kv_rocksdb *r, struct list *jobs));
void kv_lane_fini(struct kv_lane *lane); /* waits for what is under way */
/* Takes the job on OK; its callback comes from a later turn of the loop.  Returns: OK; ERR_NOMEM. */
int kv_lane_push(struct kv_lane *lane, struct kv_job *job);
void kv_lane_post(struct env_uv_post *post); /* on the loop: the callbacks of what is done */

/* kv_rocksdb_fill.c: before a synced write of so many bytes to the log store at `path`; and at the end. */
void kv_fill_ahead(struct kv_fill *f, const char *path, uint64_t bytes);
void kv_fill_close(struct kv_fill *f);

/* Maps and frees a message of the C API; OK for NULL. */
int kv_rocksdb_error(char *message, struct buf *ret_text);
/* After an error of a change: the store refuses everything from now on.  Runs on: any thread. */
void kv_rocksdb_fail(struct kv_rocksdb *r, int err, const char *what);

/* A key of the one column family: the family's byte, then the key.  Room for a bound one byte longer
 * than any key: cut there, a longer bound divides the possible keys in the same way. */
struct kv_rocksdb_key {
    size_t len;
    char bytes[1 + KV_KEY_BYTES_MAX + 1];
};
/* false: longer than any key can be. */
bool kv_rocksdb_key(struct kv_rocksdb_key *ret, enum kv_family family, struct slice key);
void kv_rocksdb_bound(struct kv_rocksdb_key *ret, enum kv_family family, struct slice bound);
/* An empty upper bound means the end of the family. */
void kv_rocksdb_upper(struct kv_rocksdb_key *ret, enum kv_family family, struct slice upper);
struct kv_iter *kv_rocksdb_iter_new(struct kv *kv, const struct kv_snapshot *snap, enum kv_family family,
                                    struct slice lower, struct slice upper);
int kv_rocksdb_flush_now(struct kv_rocksdb *r); /* blocking, any thread */

/* kv_rocksdb_replace.c */
int kv_rocksdb_export_range(struct kv *kv, const struct kv_snapshot *snap, enum kv_family family,
                            struct slice lower, struct slice upper, const char *path,
                            uint64_t *ret_bytes);
int kv_rocksdb_replace_range(struct kv *kv, struct slice lower, struct slice upper,
                             const char *const paths[KV_FAMILY_COUNT], struct kv_batch **extra);
/* Sweeps away what a replace that a crash interrupted left behind. */
void kv_rocksdb_replace_sweep(const struct kv_rocksdb *r);
/* For tests: called at each numbered step of a replace, so that a child may die there. */
extern void (*kv_rocksdb_replace_step_hook)(int step);

/* kv_rocksdb_wal.c: drops a torn tail of the newest log file, before RocksDB looks at it.
 * Returns: OK; ERR_CORRUPT (damage with good records behind it); ERR_IO. */
int kv_rocksdb_wal_check(const char *path, struct buf *ret_text);
