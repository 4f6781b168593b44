/* Zeros written ahead in the log file of a log store.
 *
 * RocksDB preallocates a log's blocks but leaves its size to grow, and blocks that were never written
 * unwritten: each fdatasync then writes the file's metadata too, a second write (with a journal, a commit)
 * one after the other with the first.  Recycled logs, which would avoid it, are unsafe (kv_rocksdb_wal.c).
 * So the writer thread appends zeros now and then: the writes behind them lie within the file's size, in
 * blocks that were written before, and their sync is one write.
 *
 * Zeros are twice the bytes: worth it for small writes, where a sync is most of the cost, and not for
 * large ones.  They are appended (O_APPEND), so they can never come over a record: RocksDB writes at a
 * position of its own, which is at most the file's end.  Zeros where RocksDB has gone on to another file,
 * or an append that fails, cost nothing but their use.  Recovery takes zeros up to the end of a file for
 * what they are: kv_rocksdb_wal.c. */
#include "common/env_uv/kv_rocksdb_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILL_BYTES (256u << 10)
#define FILL_PIECE_BYTES (4u << 10) /* one large write would make large pages, each dirty as a whole */
#define FILL_WRITE_BYTES_MAX (32u << 10) /* a larger write does without */
#define RECORD_OVERHEAD_BYTES 64u        /* the batch's header and the record's, generously */

/* The number of the newest log file; 0: none. */
static uint64_t newest_log(DIR *d)
{
    uint64_t newest = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char *end = NULL;
        uint64_t number = strtoull(e->d_name, &end, 10);
        if (end != e->d_name && strcmp(end, ".log") == 0 && number > newest)
            newest = number;
    }
    return newest;
}

static void fill_open(struct kv_fill *f, const char *path)
{
    char name[32];
    DIR *d = opendir(path);
    if (!d)
        return;
    uint64_t number = newest_log(d);
    if (number != 0 && number != f->number) {
        kv_fill_close(f);
        snprintf(name, sizeof(name), "%06llu.log", (unsigned long long)number);
        int fd = openat(dirfd(d), name, O_WRONLY | O_APPEND | O_CLOEXEC);
        f->fd_plus_one = fd + 1;
        f->number = fd < 0 ? 0 : number;
    }
    closedir(d);
}

/* Returns: how many were written. */
static uint64_t append_zeros(int fd)
{
    static const uint8_t zeros[FILL_PIECE_BYTES];
    uint64_t sum = 0;
    ssize_t n = 1;
    while (n > 0 && sum < FILL_BYTES) {
        n = write(fd, zeros, sizeof(zeros));
        sum += n > 0 ? (uint64_t)n : 0;
    }
    return sum;
}

void kv_fill_ahead(struct kv_fill *f, const char *path, uint64_t bytes)
{
    bytes += RECORD_OVERHEAD_BYTES;
    if (bytes <= f->left) {
        f->left -= bytes;
        return;
    }
    f->left = 0;
    if (bytes > FILL_WRITE_BYTES_MAX)
        return;
    fill_open(f, path);
    uint64_t zeros = f->fd_plus_one ? append_zeros(f->fd_plus_one - 1) : 0;
    f->left = zeros - MIN(zeros, bytes);
}

void kv_fill_close(struct kv_fill *f)
{
    if (f->fd_plus_one)
        close(f->fd_plus_one - 1);
    *f = (struct kv_fill){0};
}
