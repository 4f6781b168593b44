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
 *    corruption.  So logs are preallocated and filled with zeros (kv_rocksdb_fill.c), never recycled.
 * So this file cuts a torn tail off, and RocksDB then opens in the first mode.
 *
 * Format, as far as needed: blocks of 32 KiB; a record is cut into fragments that do not cross a block:
 * le32 masked crc32c(type, bytes), le16 length, u8 type (1 full, 2 first, 3 middle, 4 last), bytes; less
 * than 7 bytes at the end of a block are zeros.  Every sync covers one append, so fragments of the torn
 * record may follow a hole in it, but the beginning of another record may not.
 *
 * Zeros from a record's end to the end of the file were written ahead.  In the newest log with records a
 * record that never came looks the same, and was not acknowledged.  An older one was all synced before
 * the next was begun, and the manifest knows how long it was then: RocksDB finds it too short. */
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
    bool zeros;          /* after good_end there was nothing but zeros; not torn */
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

static bool all_zero(const uint8_t *p, uint32_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* What begins here is not a record: zeros to the end of the file, or torn. */
static void scan_gap(struct scan *s, const uint8_t *rest, uint32_t len)
{
    s->zeros = !s->torn && !s->in_record && all_zero(rest, len);
    s->torn = !s->zeros;
}

/* One block, whose first byte lies at `base`; len < BLOCK_BYTES only at the end of the file. */
static void scan_block(struct scan *s, const uint8_t *block, uint32_t len, uint64_t base)
{
    uint32_t pos = 0;
    if (s->zeros)
        scan_gap(s, block, len);
    if (s->zeros)
        return;
    while (!s->corrupt && pos + HEADER_BYTES <= len) {
        const uint8_t *head = block + pos;
        uint32_t n = le(head + 4, 2);
        unsigned type = head[6];
        if (type == TYPE_ZERO && n == 0) { /* written ahead, or a page that never came */
            scan_gap(s, head, len - pos);
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
        scan_gap(s, block + pos, len - pos); /* part of a header */
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

/* A torn log may be followed by ones without records only; *torn_before says whether one was met. */
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
    if (err == OK && (s.torn || s.zeros)) {
        *torn_before = *torn_before || s.torn;
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
