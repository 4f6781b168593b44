#pragma once
/* A sorted map in memory with the contract of env/kv.h and the crash semantics of a disk, for unit
 * tests and the simulator.  Deterministic: the same calls give the same results and callbacks.
 *
 * The map is a persistent tree: a snapshot costs one reference, a write copies only the nodes that a
 * snapshot shares.  Reads with a snapshot may run on any thread; everything else, replace_range
 * included, on one.  A crash keeps what was synced and, as the random callback decides, a prefix of
 * what was not; a torn record fails its checksum in the real store, so here it counts as lost. */
#include "common/env/kv.h"

/* Files by path, shared by the stores of one simulated world: what export_range writes and
 * replace_range reads, and what a simulated snapshot transfer copies.  They survive crashes. */
struct kv_mem_files;
struct kv_mem_files *kv_mem_files_new(void); /* NULL: out of memory */
void kv_mem_files_free(struct kv_mem_files *files);
/* Creates or extends.  OK; ERR_NOMEM. */
int kv_mem_file_append(struct kv_mem_files *files, const char *path, struct slice bytes);
/* The whole content, until the next change of that file.  OK; ERR_NOT_FOUND. */
int kv_mem_file_view(const struct kv_mem_files *files, const char *path, struct slice *ret);
int kv_mem_file_remove(struct kv_mem_files *files, const char *path); /* OK; ERR_NOT_FOUND */
int kv_mem_file_rename(struct kv_mem_files *files, const char *from, const char *to); /* replaces */

struct kv_mem_config {
    enum kv_mode mode;            /* KV_STATE refuses write_start, as RocksDB without a WAL does */
    struct kv_mem_files *files;   /* NULL: export and replace answer ERR_UNIMPLEMENTED */
    uint64_t write_delay_ns;      /* a group commit's time from its start to its callbacks */
    uint64_t flush_delay_ns;
    bool keep_on_close;           /* close() keeps the "disk"; kv_mem_free() frees it */
};

/* NULL: out of memory. */
struct kv *kv_mem_new(struct env *env, const struct kv_mem_config *config);
/* Frees the store whatever its state; requests under way are forgotten without a callback. */
void kv_mem_free(struct kv *kv);

void kv_mem_set_env(struct kv *kv, struct env *env); /* nothing may be under way */
void kv_mem_set_delays(struct kv *kv, uint64_t write_delay_ns, uint64_t flush_delay_ns);

/* The process dies and the store is opened again.  Requests under way are forgotten (their memory is
 * not touched again, their callbacks never come).  rng returns 64 random bits; NULL: everything that
 * was not synced is lost.  Snapshots and iterators stay valid until their owners free them. */
void kv_mem_crash(struct kv *kv, uint64_t (*rng)(void *arg), void *arg);

/* Lets the n-th change from now (n = 1: the next; a write, a synced write at its completion, a flush
 * at its completion, a replace) fail with err.  Afterwards the store refuses every change with ERR_IO
 * until kv_mem_crash().  n = 0 switches it off. */
void kv_mem_fail_nth(struct kv *kv, uint64_t n, int err);

struct kv_mem_stats {
    uint64_t group_commits, synced_writes, volatile_writes, flushes;
    uint64_t keys[KV_FAMILY_COUNT];
};
void kv_mem_stats(const struct kv *kv, struct kv_mem_stats *ret);
/* Requests accepted whose callback has not come. */
size_t kv_mem_pending(const struct kv *kv);
