#pragma once
/* struct kv (common/env/kv.h) on RocksDB's C API.
 *
 * KV_LOG: the write-ahead log is on; write_start queues to one writer thread, which merges all that
 * is queued into one RocksDB write with one fsync.  write() goes to the WAL unsynced: it survives the
 * process, not the machine.  KV_STATE: no WAL; what flush_start completed for survives, all families
 * together.  Completions come on the loop of the env (one made by env_uv_init).
 *
 * Any I/O error, a failed fsync above all, makes the store refuse every later change with ERR_IO:
 * the owner stops the process.
 *
 * Both families live in ONE column family, told apart by the first byte of the key.  The C API of 7.8
 * can neither flush nor ingest several column families at once (rocksdb_flush_cf flushes one alone,
 * atomic_flush or not), and a crash must never take the families back to different points. */
#include "common/env/kv.h"

struct kv_rocksdb_config {
    enum kv_mode mode;
    const char *path;              /* directory, created if absent (its parent must exist) */
    uint64_t cache_bytes;          /* shared block cache of the process, 0: 32 MiB; the first open decides */
    uint64_t write_buffer_bytes;   /* all memtables of this store, 0: 16 MiB */
    int open_files_max;            /* 0: 128 */
    uint64_t blob_bytes_min;       /* values from this size live in blob files, 0: 2048; above most index rows */
    uint64_t queue_bytes_max;      /* write_start beyond it is refused with ERR_LIMIT, 0: 64 MiB */
    /* Once, on the loop, at the first error after which the store refuses changes; may be NULL.  arg
     * lives as long as the env. */
    void (*on_failed)(void *arg, int err, const char *text);
    void *arg;
};

/* Blocking: recovery may replay up to the WAL's bound.
 * Returns: OK; ERR_CORRUPT (damage other than a torn tail); ERR_IO; ERR_NOSPACE; ERR_INVAL; ERR_NOMEM.
 * `ret_text` (may be NULL) receives one line for the operator.  Owns: *ret until ops->close(). */
int kv_rocksdb_open(struct env *env, const struct kv_rocksdb_config *config, struct kv **ret,
                    struct buf *ret_text);

struct kv_rocksdb_stats {
    uint64_t group_commits;        /* rocksdb_write calls with sync */
    uint64_t synced_writes;        /* requests that they carried */
    uint64_t synced_bytes;
    uint64_t sync_ns;              /* time spent in them */
    uint64_t flushes;
    uint64_t queued_bytes;
    uint64_t memtable_bytes, table_reader_bytes, cache_bytes, disk_bytes;
};
/* Runs on: any thread.  Blocks: never for long (reads properties). */
void kv_rocksdb_stats(struct kv *kv, struct kv_rocksdb_stats *ret);
