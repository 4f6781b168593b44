/* The write-ahead logs of a log store, looked through before RocksDB opens them.
 *
 * What a crash may leave is a torn tail: the last record cut short, or some of its pages never
 * written.  Anything else is damage to what was acknowledged, and must stop the node.  RocksDB 7.8
 * cannot tell the two apart as finely as this:
 *  - kTolerateCorruptedTailRecords accepts a cut record, but refuses one whose length is there and
 *    whose bytes are not, which a power failure can leave;
 *  - kPointInTimeRecovery stops at the first bad record and silently drops the good ones behind it;
 *  - recycle_log_file_num survives with kSkipAnyCorruptedRecords only (the other three modes set it to
 *    0, as the OPTIONS file then shows), because stale records at the end of a reused file look like
 *    corruption.  So logs are preallocated, but never recycled.
 * So this file cuts a torn tail off, and RocksDB then opens in the first mode.
 *
 * Format, as far as needed: blocks of 32 KiB; a record is cut into fragments that do not cross a block:
 * le32 masked crc32c(type, bytes), le16 length, u8 type (1 full, 2 first, 3 middle, 4 last), bytes; less
 * than 7 bytes at the end of a block are zeros.  Every sync covers one append, so fragments of the torn
 * record may follow a hole in it, but the beginning of another record may not. */
#include "common/base/err.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/env_uv/kv_rocksdb_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK_BYTES 32768u
#define HEADER_BYTES 7u
enum { TYPE_ZERO = 0, TYPE_FULL = 1, TYPE_FIRST = 2, TYPE_MIDDLE = 3, TYPE_LAST = 4 };

struct scan {
    uint64_t good_end;   /* end of the last whole record */
    uint64_t records;    /* whole ones */
    bool torn;           /* something after good_end is not a whole record */
    bool in_record;      /* between a first and its last fragment */
    bool corrupt;
};

static uint32_t le(const uint8_t *p, unsigned bytes)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

static bool crc_ok(const uint8_t *head, uint32_t len)
{
    uint32_t masked = le(head, 4) - 0xa282ead8u;
    uint32_t stored = masked >> 17 | masked << 15;
    return stored == crc32c(0, SLICE(head + 6, 1 + (size_t)len));
}

static void scan_fragment(struct scan *s, unsigned type, uint64_t end)
{
    bool begins = type == TYPE_FULL || type == TYPE_FIRST;
    if (begins && (s->torn || s->in_record)) {
        s->corrupt = true; /* a record begins behind one that is damaged or never ended */
        return;
    }
    if (s->torn)
        return; /* the rest of the torn record */
    if (!begins && !s->in_record) {
        s->torn = true;
        return;
    }
    s->in_record = type == TYPE_FIRST || type == TYPE_MIDDLE;
    if (!s->in_record) {
        s->good_end = end;
        s->records++;
    }
}

/* One block, whose first byte lies at `base`; len < BLOCK_BYTES only at the end of the file. */
static void scan_block(struct scan *s, const uint8_t *block, uint32_t len, uint64_t base)
{
    uint32_t pos = 0;
    while (!s->corrupt && pos + HEADER_BYTES <= len) {
        const uint8_t *head = block + pos;
        uint32_t n = le(head + 4, 2);
        unsigned type = head[6];
        if (type == TYPE_ZERO && n == 0) { /* preallocated, or a page that never came */
            s->torn = true;
            return;
        }
        if (n > len - pos - HEADER_BYTES) {
            s->torn = true;
            /* Only the end of the file can cut a fragment; in a whole block its length is wrong. */
            s->corrupt = n > BLOCK_BYTES - pos - HEADER_BYTES;
            return;
        }
        pos += HEADER_BYTES + n;
        if (!crc_ok(head, n) || type > TYPE_LAST)
            s->torn = true;
        else
            scan_fragment(s, type, base + pos);
    }
    if (len < BLOCK_BYTES && pos < len)
        s->torn = true; /* part of a header */
}

static int scan_file(int fd, struct scan *s)
{
    uint8_t *block = malloc(BLOCK_BYTES);
    if (!block)
        return ERR_NOMEM;
    int err = OK;
    for (uint64_t base = 0; err == OK && !s->corrupt; base += BLOCK_BYTES) {
        uint32_t len = 0;
        while (len < BLOCK_BYTES) {
            ssize_t got = pread(fd, block + len, BLOCK_BYTES - len, (off_t)(base + len));
            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0)
                err = ERR_IO;
            if (got <= 0)
                break;
            len += (uint32_t)got;
        }
        if (err == OK)
            scan_block(s, block, len, base);
        if (len < BLOCK_BYTES)
            break;
    }
    if (s->in_record)
        s->torn = true;
    free(block);
    return err;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    unsigned long long x = strtoull((*a)->d_name, NULL, 10), y = strtoull((*b)->d_name, NULL, 10);
    return (x > y) - (x < y);
}

static int is_log(const struct dirent *d)
{
    size_t digits = strspn(d->d_name, "0123456789");
    return digits > 0 && strcmp(d->d_name + digits, ".log") == 0;
}

static int cut(int fd, const struct scan *s)
{
    if (ftruncate(fd, (off_t)s->good_end) != 0 || fdatasync(fd) != 0)
        return ERR_IO;
    return OK;
}

/* A torn log may be followed by empty ones only; *torn_before says whether one was met. */
static int check_file(int dir, const char *name, bool *torn_before, struct buf *ret_text)
{
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    struct scan s = {0};
    int err = scan_file(fd, &s);
    if (err == OK && (s.corrupt || (*torn_before && (s.records || s.torn)))) {
        err = ERR_CORRUPT;
        if (ret_text)
            buf_printf(ret_text, "log %s is damaged after byte %llu, with records behind it", name,
                       (unsigned long long)(s.corrupt ? s.good_end : 0));
    }
    if (err == OK && s.torn) {
        *torn_before = true;
        err = cut(fd, &s);
    }
    close(fd);
    return err;
}

int kv_rocksdb_wal_check(const char *path, struct buf *ret_text)
{
    struct dirent **names = NULL;
    int count = scandir(path, &names, is_log, compare_names);
    if (count < 0)
        return errno == ENOENT ? OK : ERR_IO; /* a new store */
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = dir < 0 ? ERR_IO : OK;
    bool torn = false;
    for (int i = 0; i < count; i++) {
        if (err == OK)
            err = check_file(dir, names[i]->d_name, &torn, ret_text);
        free(names[i]);
    }
    free(names);
    if (dir >= 0)
        close(dir);
    return err;
}
