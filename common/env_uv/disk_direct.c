/* Gathers slices into aligned pieces: whole aligned parts by reference, the rest through a bounce
 * buffer.  Pieces collect in an I/O vector that is written when it or the buffer is full. */
#include "common/env_uv/disk_direct.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define BOUNCE_BYTES (512u << 10)
#define PIECES 64

struct gather {
    struct disk_direct *direct;
    int fd;
    off_t offset;
    struct iovec piece[PIECES];
    int count;
    size_t bounce_used;
};

void disk_direct_fini(struct disk_direct *d)
{
    free(d->bounce);
    d->bounce = NULL;
}

static int err_of(int error)
{
    switch (error) {
    case EINVAL:
    case EOPNOTSUPP: return ERR_UNIMPLEMENTED;
    case ENOSPC:
    case EDQUOT: return ERR_NOSPACE;
    default: return ERR_IO;
    }
}

/* What is gathered, which is a multiple of the alignment. */
static int write_out(struct gather *g)
{
    struct iovec *iov = g->piece;
    while (g->count > 0) {
        ssize_t n = pwritev(g->fd, iov, g->count, g->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_of(errno) : ERR_IO;
        g->offset += n;
        while (g->count > 0 && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            g->count--;
        }
        if (g->count > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    g->bounce_used = 0;
    return OK;
}

static bool aligned(uint64_t value)
{
    return value % DISK_DIRECT_ALIGN == 0;
}

static void add_piece(struct gather *g, const uint8_t *ptr, size_t len)
{
    struct iovec *last = g->count ? &g->piece[g->count - 1] : NULL;
    if (last && (const uint8_t *)last->iov_base + last->iov_len == ptr)
        last->iov_len += len;
    else
        g->piece[g->count++] = (struct iovec){(void *)(uintptr_t)ptr, len};
}

/* Takes part of the slice.  Returns: bytes taken; 0 when what is gathered must be written first. */
static size_t take(struct gather *g, struct slice s)
{
    size_t whole = s.len - s.len % DISK_DIRECT_ALIGN;
    /* An unaligned end of the buffer is the last piece's, which then grows. */
    if (g->count == PIECES && aligned(g->bounce_used))
        return 0;
    if (aligned(g->bounce_used) && aligned((uintptr_t)s.ptr) && whole > 0) {
        add_piece(g, s.ptr, whole);
        return whole;
    }
    /* Through the buffer as far as to where the next aligned piece can begin. */
    size_t room = BOUNCE_BYTES - g->bounce_used,
           to_align = DISK_DIRECT_ALIGN - g->bounce_used % DISK_DIRECT_ALIGN;
    size_t n = MIN(s.len, room);
    if (aligned((uintptr_t)s.ptr + to_align))
        n = MIN(n, to_align);
    if (n == 0)
        return 0;
    memcpy(g->direct->bounce + g->bounce_used, s.ptr, n);
    add_piece(g, g->direct->bounce + g->bounce_used, n);
    g->bounce_used += n;
    return n;
}

int disk_direct_write(struct disk_direct *d, int fd, const struct slice *slices, unsigned count,
                      uint64_t offset)
{
    struct gather g = {.direct = d, .fd = fd, .offset = (off_t)offset};
    CHECK(aligned(offset));
    if (!d->bounce)
        d->bounce = aligned_alloc(DISK_DIRECT_ALIGN, BOUNCE_BYTES);
    if (!d->bounce)
        return ERR_NOMEM;
    for (unsigned i = 0; i < count; i++) {
        struct slice left = slices[i];
        while (left.len > 0) {
            size_t n = take(&g, left);
            int err = n == 0 ? write_out(&g) : OK;
            if (err != OK)
                return err;
            left.ptr += n;
            left.len -= n;
        }
    }
    return write_out(&g);
}
