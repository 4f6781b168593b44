/* Export and replacement of a key range: the two ends of a Raft snapshot.
 *
 * Replacing builds ONE table file: a range tombstone for each family's range, the keys of the received
 * files, and the puts of `extra`, merged in key order.  RocksDB takes one file in with one manifest
 * record, so that a reader or a crash meets either all of it or nothing: no journal is needed.
 *   1. Check the received files while writing  <store>/replace/N.sst  from them, and sync it.
 *   2. Flush, so that what was written earlier is durable, too.
 *   3. Ingest.  From its manifest record on the new content holds.
 * A crash before the end of 3 leaves a file that nobody refers to; the next open removes it. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env/kv_file.h"
#include "common/env_uv/kv_rocksdb_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096

void (*kv_rocksdb_replace_step_hook)(int step);

static void step(int n)
{
    if (kv_rocksdb_replace_step_hook)
        kv_rocksdb_replace_step_hook(n);
}

/* ---- export ---- */
static int write_all(int fd, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
        s = SLICE(s.ptr + n, s.len - (size_t)n);
    }
    return OK;
}

/* Appends what has gathered in `out` to the file once it is worth a call. */
static int drain(int fd, struct buf *out, size_t at_least, uint64_t *bytes)
{
    if (out->failed)
        return ERR_NOMEM;
    if (out->len < at_least)
        return OK;
    int err = write_all(fd, buf_view(out));
    *bytes += out->len;
    buf_clear(out);
    return err;
}

static int export_iter(struct kv_iter *it, int fd, uint64_t *ret_bytes)
{
    struct buf out = {0};
    struct kv_file_writer w;
    uint64_t bytes = 0;
    int err = OK;
    kv_file_begin(&w, &out);
    for (; err == OK && it->ops->valid(it); it->ops->next(it)) {
        err = kv_file_add(&w, it->ops->key(it), it->ops->value(it));
        if (err == OK)
            err = drain(fd, &out, 1 << 20, &bytes);
    }
    if (err == OK)
        err = it->ops->error(it);
    int end_err = kv_file_end(&w);
    if (err == OK)
        err = end_err;
    if (err == OK)
        err = drain(fd, &out, 0, &bytes);
    if (err == OK && fdatasync(fd) != 0)
        err = ERR_IO;
    buf_fini(&out);
    if (err == OK)
        *ret_bytes = bytes;
    return err;
}

int kv_rocksdb_export_range(struct kv *kv, const struct kv_snapshot *snap, enum kv_family family,
                            struct slice lower, struct slice upper, const char *path,
                            uint64_t *ret_bytes)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return ERR_IO;
    struct kv_iter *it = kv_rocksdb_iter_new(kv, snap, family, lower, upper);
    if (!it)
        return ERR_NOMEM;
    int err = it->ops->error(it);
    if (err == OK && !it->ops->valid(it)) {
        *ret_bytes = 0;
    } else if (err == OK) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        err = fd < 0 ? ERR_IO : export_iter(it, fd, ret_bytes);
        if (fd >= 0)
            close(fd);
        if (err != OK && fd >= 0)
            unlink(path);
    }
    it->ops->free(it);
    return err;
}

/* ---- replace: the puts of `extra`, sorted, the last of equal keys winning ---- */
struct put {
    enum kv_family family;
    struct slice key, value;
    size_t order;
};

static int compare_keys(enum kv_family f1, struct slice k1, enum kv_family f2, struct slice k2)
{
    return f1 != f2 ? (f1 < f2 ? -1 : 1) : slice_cmp(k1, k2);
}

static int compare_puts(const void *a, const void *b)
{
    const struct put *x = a, *y = b;
    int c = compare_keys(x->family, x->key, y->family, y->key);
    return c ? c : (x->order > y->order) - (x->order < y->order);
}

static int sort_puts(const struct kv_batch *extra, struct put **ret, size_t *ret_count)
{
    *ret = NULL;
    *ret_count = 0;
    if (!extra || kv_batch_count(extra) == 0)
        return OK;
    int err = kv_batch_error(extra);
    if (err != OK)
        return err;
    struct put *puts = calloc(kv_batch_count(extra), sizeof(*puts));
    if (!puts)
        return ERR_NOMEM;
    size_t pos = 0, count = 0;
    struct kv_op op;
    while (kv_batch_next(extra, &pos, &op)) {
        if (op.kind != KV_OP_PUT) {
            free(puts);
            return ERR_INVAL;
        }
        puts[count] = (struct put){op.family, op.key, op.value, count};
        count++;
    }
    qsort(puts, count, sizeof(*puts), compare_puts);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool again = i + 1 < count && compare_keys(puts[i].family, puts[i].key, puts[i + 1].family,
                                                   puts[i + 1].key) == 0;
        if (!again)
            puts[kept++] = puts[i];
    }
    *ret = puts;
    *ret_count = kept;
    return OK;
}

/* ---- replace: building the table ---- */
struct build {
    rocksdb_sstfilewriter_t *sst;
    const struct put *puts;
    size_t put_count, put_pos;
};

static int add(struct build *b, enum kv_family family, struct slice key, struct slice value)
{
    struct kv_rocksdb_key k;
    char *message = NULL;
    if (!kv_rocksdb_key(&k, family, key))
        return ERR_CORRUPT;
    rocksdb_sstfilewriter_put(b->sst, k.bytes, k.len, (const char *)value.ptr, value.len, &message);
    return kv_rocksdb_error(message, NULL);
}

/* Adds the puts that sort before (family, key).  *ret_same: one has this very key and replaces it. */
static int add_puts_before(struct build *b, enum kv_family family, struct slice key, bool *ret_same)
{
    *ret_same = false;
    while (b->put_pos < b->put_count) {
        const struct put *p = &b->puts[b->put_pos];
        int c = compare_keys(p->family, p->key, family, key);
        if (c > 0)
            return OK;
        b->put_pos++;
        int err = add(b, p->family, p->key, p->value);
        if (err != OK || c == 0) {
            *ret_same = true;
            return err;
        }
    }
    return OK;
}

static int read_fd(void *arg, void *to, size_t len, size_t *ret_len)
{
    ssize_t n;
    do
        n = read(*(int *)arg, to, len);
    while (n < 0 && errno == EINTR);
    *ret_len = n > 0 ? (size_t)n : 0;
    return n < 0 ? ERR_IO : OK;
}

static int add_file(struct build *b, enum kv_family family, const char *path, struct slice lower,
                    struct slice upper)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    struct kv_file_reader reader = {.read = read_fd, .arg = &fd, .lower = lower, .upper = upper};
    struct slice key, value;
    int err;
    while ((err = kv_file_next(&reader, &key, &value)) == OK) {
        bool same;
        err = add_puts_before(b, family, key, &same);
        if (err == OK && !same)
            err = add(b, family, key, value);
        if (err != OK)
            break;
    }
    kv_file_reader_fini(&reader);
    close(fd);
    return err == ERR_END ? OK : err;
}

static int add_tombstone(struct build *b, enum kv_family family, struct slice lower, struct slice upper)
{
    struct kv_rocksdb_key lo, hi;
    char *message = NULL;
    kv_rocksdb_bound(&lo, family, lower);
    kv_rocksdb_upper(&hi, family, upper);
    rocksdb_sstfilewriter_delete_range(b->sst, lo.bytes, lo.len, hi.bytes, hi.len, &message);
    return kv_rocksdb_error(message, NULL);
}

static int build_table(struct build *b, const char *sst_path, struct slice lower, struct slice upper,
                       const char *const paths[KV_FAMILY_COUNT])
{
    char *message = NULL;
    rocksdb_sstfilewriter_open(b->sst, sst_path, &message);
    int err = kv_rocksdb_error(message, NULL);
    for (enum kv_family f = 0; err == OK && f < KV_FAMILY_COUNT; f++) {
        err = add_tombstone(b, f, lower, upper);
        if (err == OK && paths[f])
            err = add_file(b, f, paths[f], lower, upper);
    }
    bool same;
    if (err == OK) /* what is left of the puts lies before the end of all families */
        err = add_puts_before(b, KV_FAMILY_COUNT, SLICE_EMPTY, &same);
    if (err != OK)
        return err;
    rocksdb_sstfilewriter_finish(b->sst, &message); /* syncs the file */
    return kv_rocksdb_error(message, NULL);
}

void kv_rocksdb_replace_sweep(const struct kv_rocksdb *r)
{
    char path[PATH_BYTES_MAX];
    snprintf(path, sizeof(path), "%s/replace", r->path);
    DIR *dir = opendir(path); /* usually absent */
    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        if (d->d_name[0] != '.')
            unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    rmdir(path);
}

static int ingest(struct kv_rocksdb *r, const char *sst_path)
{
    char *message = NULL;
    rocksdb_ingestexternalfileoptions_t *o = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(o, 1);
    rocksdb_ingest_external_file(r->db, &sst_path, 1, o, &message);
    rocksdb_ingestexternalfileoptions_destroy(o);
    struct buf text = {0};
    int err = kv_rocksdb_error(message, &text);
    buf_u8(&text, 0);
    if (err != OK) /* it may have been taken in, or not: only a restart tells */
        kv_rocksdb_fail(r, err, text.failed ? "ingestion" : (const char *)text.ptr);
    buf_fini(&text);
    return err;
}

static int replace(struct kv_rocksdb *r, struct slice lower, struct slice upper,
                   const char *const paths[KV_FAMILY_COUNT], const struct put *puts, size_t put_count)
{
    /* Several ranges may be under way on several threads: each has a file of its own. */
    char file[PATH_BYTES_MAX];
    snprintf(file, sizeof(file), "%s/replace", r->path);
    if (mkdir(file, 0700) != 0 && errno != EEXIST)
        return ERR_IO;
    snprintf(file, sizeof(file), "%s/replace/%llu.sst", r->path,
             (unsigned long long)atomic_fetch_add(&r->replaces, 1));
    step(1);
    rocksdb_envoptions_t *env_options = rocksdb_envoptions_create();
    struct build b = {.sst = rocksdb_sstfilewriter_create(env_options, r->options),
                      .puts = puts,
                      .put_count = put_count};
    int err = build_table(&b, file, lower, upper, paths);
    rocksdb_sstfilewriter_destroy(b.sst);
    rocksdb_envoptions_destroy(env_options);
    step(2);
    if (err == OK)
        err = kv_rocksdb_flush_now(r);
    step(3);
    if (err == OK)
        err = ingest(r, file);
    step(4);
    unlink(file); /* gone already if it was ingested */
    return err;
}

int kv_rocksdb_replace_range(struct kv *kv, struct slice lower, struct slice upper,
                             const char *const paths[KV_FAMILY_COUNT], struct kv_batch **extra_ptr)
{
    struct kv_rocksdb *r = container_of(kv, struct kv_rocksdb, kv);
    struct kv_batch *extra = extra_ptr ? *extra_ptr : NULL;
    if (extra_ptr)
        *extra_ptr = NULL;
    struct put *puts = NULL;
    size_t put_count = 0;
    int err = atomic_load(&r->failed) ? ERR_IO : sort_puts(extra, &puts, &put_count);
    if (err == OK && upper.len && slice_cmp(lower, upper) >= 0)
        err = ERR_INVAL;
    if (err == OK)
        err = replace(r, lower, upper, paths, puts, put_count);
    free(puts);
    kv_batch_free(extra);
    return err;
}
