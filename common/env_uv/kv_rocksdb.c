/* struct kv on RocksDB: opening, reading, writing; see kv_rocksdb.h.
 *
 * Threads: the loop's; `writer` (log stores), which merges queued writes into one synced write;
 * `flusher`, started at the first flush (both in kv_rocksdb_lane.c); RocksDB's own two. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/dir_make.h"
#include "common/env_uv/kv_rocksdb_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_CACHE_BYTES (32ull << 20)
#define DEFAULT_WRITE_BUFFER_BYTES (16ull << 20)
#define DEFAULT_OPEN_FILES 128
#define DEFAULT_BLOB_BYTES_MIN 2048
#define DEFAULT_QUEUE_BYTES (64ull << 20)
#define LOG_TOTAL_BYTES_MAX (64ull << 20) /* of write-ahead logs: bounds recovery time, too */
#define MERGED_KEEP_BYTES (1u << 20)
#define OPTIONS                                                                                            \
    "track_and_verify_wals_in_manifest=true;max_bgerror_resume_count=0;avoid_flush_during_recovery=false"

static struct kv_rocksdb *rocks_of(struct kv *kv)
{
    return container_of(kv, struct kv_rocksdb, kv);
}

/* ---- errors ---- */
int kv_rocksdb_error(char *message, struct buf *ret_text)
{
    if (!message)
        return OK;
    int err = ERR_IO;
    if (strncmp(message, "Corruption", 10) == 0)
        err = ERR_CORRUPT;
    else if (strstr(message, "No space left") || strstr(message, "Space limit"))
        err = ERR_NOSPACE;
    if (ret_text)
        buf_cstr(ret_text, message);
    rocksdb_free(message);
    return err;
}

struct failure {
    struct env_uv_post post;
    void (*on_failed)(void *arg, int err, const char *text);
    void *arg;
    int err;
    char text[256];
};

static void tell_failure(struct env_uv_post *post)
{
    struct failure *f = container_of(post, struct failure, post);
    f->on_failed(f->arg, f->err, f->text);
    free(f);
}

void kv_rocksdb_fail(struct kv_rocksdb *r, int err, const char *what)
{
    if (atomic_exchange(&r->failed, true) || !r->on_failed)
        return;
    struct failure *f = calloc(1, sizeof(*f));
    CHECK(f != NULL); /* the process is about to be stopped anyway */
    *f = (struct failure){.post.fn = tell_failure, .on_failed = r->on_failed, .arg = r->arg, .err = err};
    snprintf(f->text, sizeof(f->text), "%s: %s", r->path, what);
    env_uv_post(r->env, &f->post);
}

/* Takes the message; a change that failed fails the store. */
static int change_error(struct kv_rocksdb *r, char *message)
{
    if (!message)
        return OK;
    struct buf text = {0};
    int err = kv_rocksdb_error(message, &text);
    buf_u8(&text, 0);
    kv_rocksdb_fail(r, err, text.failed ? "write error" : (const char *)text.ptr);
    buf_fini(&text);
    return err == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO;
}

/* ---- keys ---- */
bool kv_rocksdb_key(struct kv_rocksdb_key *ret, enum kv_family family, struct slice key)
{
    if (key.len > KV_KEY_BYTES_MAX)
        return false;
    ret->bytes[0] = (char)family;
    if (key.len)
        memcpy(ret->bytes + 1, key.ptr, key.len);
    ret->len = 1 + key.len;
    return true;
}

void kv_rocksdb_bound(struct kv_rocksdb_key *ret, enum kv_family family, struct slice bound)
{
    ret->bytes[0] = (char)family;
    ret->len = 1 + MIN(bound.len, (size_t)KV_KEY_BYTES_MAX + 1);
    if (bound.len)
        memcpy(ret->bytes + 1, bound.ptr, ret->len - 1);
}

void kv_rocksdb_upper(struct kv_rocksdb_key *ret, enum kv_family family, struct slice upper)
{
    kv_rocksdb_bound(ret, upper.len ? family : family + 1, upper);
}

static void fill(rocksdb_writebatch_t *to, const struct kv_batch *b)
{
    struct kv_rocksdb_key key, end;
    struct kv_op op;
    size_t pos = 0;
    while (kv_batch_next(b, &pos, &op)) {
        /* The batch has checked the lengths when it was built. */
        CHECK(kv_rocksdb_key(&key, op.family, op.key));
        switch (op.kind) {
        case KV_OP_PUT:
            rocksdb_writebatch_put(to, key.bytes, key.len, (const char *)op.value.ptr, op.value.len);
            break;
        case KV_OP_DELETE:
            rocksdb_writebatch_delete(to, key.bytes, key.len);
            break;
        case KV_OP_DELETE_RANGE:
            kv_rocksdb_upper(&end, op.family, op.value);
            rocksdb_writebatch_delete_range(to, key.bytes, key.len, end.bytes, end.len);
            break;
        }
    }
}

/* ---- reads ---- */
static int rocks_get(struct kv *kv, const struct kv_snapshot *snap, enum kv_family family,
                     struct slice key, struct buf *ret)
{
    struct kv_rocksdb *r = rocks_of(kv);
    struct kv_rocksdb_key k;
    char *message = NULL;
    if (!kv_rocksdb_key(&k, family, key))
        return ERR_NOT_FOUND;
    rocksdb_pinnableslice_t *value =
        rocksdb_get_pinned(r->db, snap ? snap->options : r->read, k.bytes, k.len, &message);
    if (message)
        return kv_rocksdb_error(message, NULL);
    if (!value)
        return ERR_NOT_FOUND;
    size_t len = 0;
    const char *ptr = rocksdb_pinnableslice_value(value, &len);
    buf_append(ret, ptr, len);
    rocksdb_pinnableslice_destroy(value);
    return ret->failed ? ERR_NOMEM : OK;
}

static const struct kv_snapshot *rocks_snapshot_new(struct kv *kv)
{
    struct kv_rocksdb *r = rocks_of(kv);
    struct kv_snapshot *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->snapshot = rocksdb_create_snapshot(r->db);
    s->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(s->options, s->snapshot);
    return s;
}

static void rocks_snapshot_free(struct kv *kv, const struct kv_snapshot *snap)
{
    if (!snap)
        return;
    rocksdb_readoptions_destroy(snap->options);
    rocksdb_release_snapshot(rocks_of(kv)->db, snap->snapshot);
    free((void *)(uintptr_t)snap);
}

struct rocks_iter {
    struct kv_iter iter;
    enum kv_family family;
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *options;
    bool empty; /* bounds turned around: RocksDB must not see them */
    struct kv_rocksdb_key lower, upper;
};

static struct rocks_iter *iter_of(struct kv_iter *it)
{
    return container_of(it, struct rocks_iter, iter);
}

static void iter_seek(struct kv_iter *base, struct slice key)
{
    struct rocks_iter *it = iter_of(base);
    struct slice lower = SLICE(it->lower.bytes + 1, it->lower.len - 1);
    struct kv_rocksdb_key k;
    if (it->empty)
        return;
    kv_rocksdb_bound(&k, it->family, slice_cmp(key, lower) < 0 ? lower : key);
    rocksdb_iter_seek(it->it, k.bytes, k.len);
}

static void iter_seek_last(struct kv_iter *base)
{
    if (!iter_of(base)->empty)
        rocksdb_iter_seek_to_last(iter_of(base)->it);
}

static bool iter_valid(struct kv_iter *base)
{
    return !iter_of(base)->empty && rocksdb_iter_valid(iter_of(base)->it);
}

static void iter_next(struct kv_iter *base)
{
    CHECK(iter_valid(base));
    rocksdb_iter_next(iter_of(base)->it);
}

static struct slice iter_key(struct kv_iter *base)
{
    size_t len = 0;
    const char *ptr = rocksdb_iter_key(iter_of(base)->it, &len);
    CHECK(len > 0);
    return SLICE(ptr + 1, len - 1);
}

static struct slice iter_value(struct kv_iter *base)
{
    size_t len = 0;
    const char *ptr = rocksdb_iter_value(iter_of(base)->it, &len);
    return SLICE(ptr, len);
}

static int iter_error(struct kv_iter *base)
{
    char *message = NULL;
    if (iter_of(base)->empty)
        return OK;
    rocksdb_iter_get_error(iter_of(base)->it, &message);
    return kv_rocksdb_error(message, NULL);
}

static void iter_free(struct kv_iter *base)
{
    if (!base)
        return;
    struct rocks_iter *it = iter_of(base);
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->options);
    free(it);
}

static const struct kv_iter_ops iter_ops = {
    .seek = iter_seek,
    .seek_last = iter_seek_last,
    .next = iter_next,
    .valid = iter_valid,
    .key = iter_key,
    .value = iter_value,
    .error = iter_error,
    .free = iter_free,
};

struct kv_iter *kv_rocksdb_iter_new(struct kv *kv, const struct kv_snapshot *snap, enum kv_family family,
                                    struct slice lower, struct slice upper)
{
    struct rocks_iter *it = malloc(sizeof(*it));
    if (!it)
        return NULL;
    it->iter.ops = &iter_ops;
    it->family = family;
    kv_rocksdb_bound(&it->lower, family, lower);
    kv_rocksdb_upper(&it->upper, family, upper);
    it->empty = slice_cmp(SLICE(it->lower.bytes, it->lower.len),
                          SLICE(it->upper.bytes, it->upper.len)) >= 0;
    it->options = rocksdb_readoptions_create();
    if (snap)
        rocksdb_readoptions_set_snapshot(it->options, snap->snapshot);
    if (!it->empty) {
        rocksdb_readoptions_set_iterate_lower_bound(it->options, it->lower.bytes, it->lower.len);
        rocksdb_readoptions_set_iterate_upper_bound(it->options, it->upper.bytes, it->upper.len);
    }
    it->it = rocksdb_create_iterator(rocks_of(kv)->db, it->options);
    iter_seek(&it->iter, SLICE_EMPTY);
    return &it->iter;
}

static uint64_t rocks_approximate_bytes(struct kv *kv, enum kv_family family, struct slice lower,
                                        struct slice upper)
{
    struct kv_rocksdb_key lo, hi;
    kv_rocksdb_bound(&lo, family, lower);
    kv_rocksdb_upper(&hi, family, upper);
    const char *lo_ptr = lo.bytes, *hi_ptr = hi.bytes;
    char *message = NULL;
    uint64_t bytes = 0;
    rocksdb_approximate_sizes(rocks_of(kv)->db, 1, &lo_ptr, &lo.len, &hi_ptr, &hi.len, &bytes, &message);
    return kv_rocksdb_error(message, NULL) == OK ? bytes : 0;
}

/* ---- writes ---- */
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void run_writes(struct kv_rocksdb *r, struct list *jobs)
{
    uint64_t count = 0, bytes = 0;
    list_for_each (it, jobs) {
        struct kv_job *job = container_of(it, struct kv_job, node);
        fill(r->merged, job->batch);
        bytes += kv_batch_bytes(job->batch);
        count++;
    }
    int err = ERR_IO;
    if (!atomic_load(&r->failed)) {
        char *message = NULL;
        uint64_t start = now_ns();
        kv_fill_ahead(&r->fill, r->path, bytes);
        rocksdb_write(r->db, r->write_sync, r->merged, &message);
        err = change_error(r, message);
        atomic_fetch_add(&r->sync_ns, now_ns() - start);
        atomic_fetch_add(&r->group_commits, 1);
        atomic_fetch_add(&r->synced_writes, count);
        atomic_fetch_add(&r->synced_bytes, bytes);
    }
    list_for_each (it, jobs)
        container_of(it, struct kv_job, node)->err = err;
    atomic_fetch_sub(&r->queued_bytes, bytes);
    /* One very large group must not keep its memory for ever. */
    size_t merged_bytes = 0;
    rocksdb_writebatch_data(r->merged, &merged_bytes);
    if (merged_bytes > MERGED_KEEP_BYTES) {
        rocksdb_writebatch_destroy(r->merged);
        r->merged = rocksdb_writebatch_create();
    } else {
        rocksdb_writebatch_clear(r->merged);
    }
}

static struct kv_job *job_new(void)
{
    struct kv_job *job = calloc(1, sizeof(*job));
    if (job)
        list_init(&job->node);
    return job;
}

static int rocks_write_start(struct kv *kv, struct kv_write_req *req)
{
    struct kv_rocksdb *r = rocks_of(kv);
    if (r->mode != KV_LOG)
        return ERR_UNIMPLEMENTED;
    if (atomic_load(&r->failed))
        return ERR_IO;
    int err = kv_batch_error(req->batch);
    if (err != OK)
        return err;
    uint64_t bytes = kv_batch_bytes(req->batch);
    uint64_t queued = atomic_load(&r->queued_bytes);
    /* A single batch larger than the bound passes when it is alone. */
    if (queued > 0 && queued + bytes > r->queue_bytes_max)
        return ERR_LIMIT;
    struct kv_job *job = job_new();
    if (!job)
        return ERR_NOMEM;
    job->write = req;
    job->batch = req->batch;
    atomic_fetch_add(&r->queued_bytes, bytes);
    req->batch = NULL;
    err = kv_lane_push(&r->writer, job);
    if (err != OK) {
        atomic_fetch_sub(&r->queued_bytes, bytes);
        req->batch = job->batch;
        free(job);
    }
    return err;
}

static int rocks_write(struct kv *kv, struct kv_batch **batch)
{
    struct kv_rocksdb *r = rocks_of(kv);
    struct kv_batch *b = *batch;
    *batch = NULL;
    int err = atomic_load(&r->failed) ? ERR_IO : kv_batch_error(b);
    if (err == OK && r->mode == KV_STATE && kv_batch_deletes_ranges(b))
        err = ERR_UNIMPLEMENTED; /* why: options_new() */
    if (err == OK) {
        char *message = NULL;
        rocksdb_writebatch_t *wb = rocksdb_writebatch_create();
        fill(wb, b);
        rocksdb_write(r->db, r->write_plain, wb, &message);
        rocksdb_writebatch_destroy(wb);
        err = change_error(r, message);
        atomic_fetch_add(&r->sequence, 1);
    }
    kv_batch_free(b);
    return err;
}

/* ---- flush ---- */
int kv_rocksdb_flush_now(struct kv_rocksdb *r)
{
    char *message = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    rocksdb_flush(r->db, options, &message);
    rocksdb_flushoptions_destroy(options);
    atomic_fetch_add(&r->flushes, 1);
    return change_error(r, message);
}

static void run_flushes(struct kv_rocksdb *r, struct list *jobs)
{
    int err = atomic_load(&r->failed) ? ERR_IO : kv_rocksdb_flush_now(r);
    list_for_each (it, jobs)
        container_of(it, struct kv_job, node)->err = err;
}

static int rocks_flush_start(struct kv *kv, struct kv_flush_req *req)
{
    struct kv_rocksdb *r = rocks_of(kv);
    if (atomic_load(&r->failed))
        return ERR_IO;
    struct kv_job *job = job_new();
    if (!job)
        return ERR_NOMEM;
    job->flush = req;
    req->sequence = atomic_load(&r->sequence);
    int err = kv_lane_push(&r->flusher, job);
    if (err != OK)
        free(job);
    return err;
}

/* ---- life ---- */
static void destroy(struct kv_rocksdb *r)
{
    kv_lane_fini(&r->writer);
    kv_lane_fini(&r->flusher);
    kv_fill_close(&r->fill);
    if (r->db) {
        rocksdb_cancel_all_background_work(r->db, 1);
        rocksdb_close(r->db); /* flushes what no WAL holds */
    }
    if (r->merged)
        rocksdb_writebatch_destroy(r->merged);
    if (r->write_sync)
        rocksdb_writeoptions_destroy(r->write_sync);
    if (r->write_plain)
        rocksdb_writeoptions_destroy(r->write_plain);
    if (r->read)
        rocksdb_readoptions_destroy(r->read);
    if (r->options)
        rocksdb_options_destroy(r->options);
    pthread_mutex_destroy(&r->lock);
    free(r->path);
    free(r);
}

static void rocks_close(struct kv *kv)
{
    struct kv_rocksdb *r = rocks_of(kv);
    CHECK(r->pending == 0);
    destroy(r);
}

static const struct kv_ops rocks_ops = {
    .get = rocks_get,
    .write = rocks_write,
    .write_start = rocks_write_start,
    .flush_start = rocks_flush_start,
    .snapshot_new = rocks_snapshot_new,
    .snapshot_free = rocks_snapshot_free,
    .iter_new = kv_rocksdb_iter_new,
    .export_range = kv_rocksdb_export_range,
    .replace_range = kv_rocksdb_replace_range,
    .approximate_bytes = rocks_approximate_bytes,
    .close = rocks_close,
};

/* The one block cache of the process; never freed, so that stores may come and go. */
static rocksdb_cache_t *shared_cache(uint64_t bytes)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static rocksdb_cache_t *cache;
    pthread_mutex_lock(&lock);
    if (!cache)
        cache = rocksdb_cache_create_lru(bytes ? bytes : DEFAULT_CACHE_BYTES);
    pthread_mutex_unlock(&lock);
    return cache;
}

static void set_table_options(rocksdb_options_t *o, const struct kv_rocksdb_config *config)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, shared_cache(config->cache_bytes));
    rocksdb_block_based_options_set_block_size(t, 16 << 10);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    /* Indexes and filters count against the cache, so that they are bounded by it. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    /* Those of the newest tables are asked by every read. */
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
}

static void set_blob_options(rocksdb_options_t *o, const struct kv_rocksdb_config *config)
{
    rocksdb_options_set_enable_blob_files(o, 1);
    rocksdb_options_set_min_blob_size(
        o, config->blob_bytes_min ? config->blob_bytes_min : DEFAULT_BLOB_BYTES_MIN);
    rocksdb_options_set_blob_file_size(o, 64ull << 20);
    /* Bodies are users' bytes, often compressed already: not worth the processor. */
    rocksdb_options_set_blob_compression_type(o, rocksdb_no_compression);
    /* A log loses its oldest entries only: its files become garbage whole, and go without a copy. */
    rocksdb_options_set_enable_blob_gc(o, config->mode == KV_STATE);
    rocksdb_options_set_blob_gc_age_cutoff(o, 0.25);
    rocksdb_options_set_blob_gc_force_threshold(o, 0.5);
}

static rocksdb_options_t *options_new(const struct kv_rocksdb_config *config, char **message)
{
    rocksdb_options_t *base = rocksdb_options_create(), *o = rocksdb_options_create();
    /* What the C API has no setter for: the manifest remembers closed logs and their synced sizes, so
     * that a missing or shortened one is found; errors are never retried in the background.  A state
     * store's memtable remembers where in each table of rows (family, partition, table: 6 bytes) the
     * last insert was: most of a command's rows lie next to those of the command before.  RocksDB 7.8
     * would use such a place also for the tombstones of ranges, which are in another list, and spoil
     * both: so rocks_write() refuses them, and log stores go without. */
    rocksdb_get_options_from_string(base,
                                    config->mode == KV_STATE
                                        ? "memtable_insert_with_hint_prefix_extractor=fixed:6;" OPTIONS
                                        : OPTIONS,
                                    o, message);
    rocksdb_options_destroy(base);
    uint64_t buffers =
        config->write_buffer_bytes ? config->write_buffer_bytes : DEFAULT_WRITE_BUFFER_BYTES;
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_write_buffer_size(o, buffers / 2);
    rocksdb_options_set_max_write_buffer_number(o, 3);
    rocksdb_options_set_db_write_buffer_size(o, buffers);
    rocksdb_options_set_max_open_files(o, config->open_files_max ? config->open_files_max
                                                                 : DEFAULT_OPEN_FILES);
    rocksdb_options_set_max_background_jobs(o, 2);
    /* One thread writes at a time: nothing to be gained from shared memtables and spinning waiters. */
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0);
    rocksdb_options_set_bytes_per_sync(o, 1 << 20);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    /* Flushed tables are small beside their buffer, because bodies go to blob files: the first level
     * must be small, too, or each few of them would have all of it written anew. */
    rocksdb_options_set_level0_file_num_compaction_trigger(o, 6);
    rocksdb_options_set_max_bytes_for_level_base(o, 16ull << 20);
    rocksdb_options_set_target_file_size_base(o, 4ull << 20);
    /* Most keys that apply looks for are in no memtable. */
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.02);
    rocksdb_options_set_memtable_whole_key_filtering(o, 1);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_max_log_file_size(o, 1 << 20);
    rocksdb_options_set_keep_log_file_num(o, 3);
    rocksdb_options_set_info_log_level(o, 2); /* warnings */
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_max_manifest_file_size(o, 4 << 20);
    set_table_options(o, config);
    set_blob_options(o, config);
    if (config->mode == KV_LOG) {
        rocksdb_options_set_wal_recovery_mode(o, rocksdb_tolerate_corrupted_tail_records_recovery);
        rocksdb_options_set_recycle_log_file_num(o, 0); /* why: kv_rocksdb_wal.c */
        rocksdb_options_set_max_total_wal_size(o, LOG_TOTAL_BYTES_MAX);
    }
    return o;
}

static int open_db(struct kv_rocksdb *r, const struct kv_rocksdb_config *config, struct buf *ret_text)
{
    char *message = NULL;
    int err = dir_make(r->path);
    if (err != OK) {
        if (ret_text)
            buf_printf(ret_text, "%s: cannot create the directory", r->path);
        return err;
    }
    if (r->mode == KV_LOG) {
        err = kv_rocksdb_wal_check(r->path, ret_text);
        if (err != OK)
            return err;
    }
    kv_rocksdb_replace_sweep(r);
    r->options = options_new(config, &message);
    if (message)
        return kv_rocksdb_error(message, ret_text);
    r->db = rocksdb_open(r->options, r->path, &message);
    return kv_rocksdb_error(message, ret_text);
}

int kv_rocksdb_open(struct env *env, const struct kv_rocksdb_config *config, struct kv **ret,
                    struct buf *ret_text)
{
    struct kv_rocksdb *r = calloc(1, sizeof(*r));
    if (!r || !(r->path = strdup(config->path))) {
        free(r);
        return ERR_NOMEM;
    }
    r->kv.ops = &rocks_ops;
    r->env = env;
    r->mode = config->mode;
    r->queue_bytes_max = config->queue_bytes_max ? config->queue_bytes_max : DEFAULT_QUEUE_BYTES;
    r->on_failed = config->on_failed;
    r->arg = config->arg;
    r->post.fn = kv_lane_post;
    pthread_mutex_init(&r->lock, NULL);
    kv_lane_init(&r->writer, r, run_writes);
    kv_lane_init(&r->flusher, r, run_flushes);
    int err = open_db(r, config, ret_text);
    if (err != OK) {
        destroy(r);
        return err;
    }
    r->read = rocksdb_readoptions_create();
    r->merged = rocksdb_writebatch_create();
    r->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->write_sync, 1);
    r->write_plain = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write_plain, r->mode == KV_STATE);
    *ret = &r->kv;
    return OK;
}

static uint64_t property(rocksdb_t *db, const char *name)
{
    uint64_t v = 0;
    return rocksdb_property_int(db, name, &v) == 0 ? v : 0;
}

void kv_rocksdb_stats(struct kv *kv, struct kv_rocksdb_stats *ret)
{
    struct kv_rocksdb *r = rocks_of(kv);
    *ret = (struct kv_rocksdb_stats){
        .group_commits = atomic_load(&r->group_commits),
        .synced_writes = atomic_load(&r->synced_writes),
        .synced_bytes = atomic_load(&r->synced_bytes),
        .sync_ns = atomic_load(&r->sync_ns),
        .flushes = atomic_load(&r->flushes),
        .queued_bytes = atomic_load(&r->queued_bytes),
        .memtable_bytes = property(r->db, "rocksdb.cur-size-all-mem-tables"),
        .table_reader_bytes = property(r->db, "rocksdb.estimate-table-readers-mem"),
        .cache_bytes = property(r->db, "rocksdb.block-cache-usage"),
        .disk_bytes = property(r->db, "rocksdb.total-sst-files-size") +
                      property(r->db, "rocksdb.total-blob-file-size"),
    };
}
