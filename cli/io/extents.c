/* Reading extents; see extents.h. */
#include "cli/io/extents.h"

#include "common/base/check.h"
#include "storagenode/extent/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_BYTES (1u << 20)

/* ---- opening ---- */

static int lock(int dir_fd, int *ret_fd, const char *path, struct buf *ret_error)
{
    *ret_fd = openat(dir_fd, "LOCK", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*ret_fd < 0 && errno == ENOENT) /* a copy of the extents alone */
        return OK;
    if (*ret_fd >= 0 && flock(*ret_fd, LOCK_SH | LOCK_NB) == 0)
        return OK;
    if (*ret_fd >= 0 && errno == EWOULDBLOCK) {
        buf_printf(ret_error, "%s is in use: stop the storage node first", path);
        return ERR_CONFLICT;
    }
    buf_printf(ret_error, "%s: LOCK: %s", path, strerror(errno));
    return ERR_IO;
}

static int refused(const char *path, struct buf *ret_error)
{
    int err = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
    buf_printf(ret_error, "%s: %s", path, strerror(errno));
    return err;
}

int extents_open(struct extents *x, const char *path, struct buf *ret_error)
{
    *x = (struct extents){.path = path, .dir_fd = -1, .lock_fds = {-1, -1}};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return refused(path, ret_error);
    int err = lock(fd, &x->lock_fds[0], path, ret_error);
    x->dir_fd = err ? -1 : openat(fd, "extents", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!err && x->dir_fd < 0 && errno == ENOENT) {
        x->dir_fd = fd; /* the directory of extents itself */
        return OK;
    }
    if (!err)
        err = x->dir_fd < 0 ? refused(path, ret_error)
                            : lock(x->dir_fd, &x->lock_fds[1], path, ret_error);
    close(fd);
    return err;
}

void extents_close(struct extents *x)
{
    for (int i = 0; i < 2; i++)
        if (x->lock_fds[i] >= 0)
            close(x->lock_fds[i]);
    if (x->dir_fd >= 0)
        close(x->dir_fd);
    x->dir_fd = x->lock_fds[0] = x->lock_fds[1] = -1;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Owns: the caller frees *ret. */
static int ids_list(const struct extents *x, uint32_t **ret, size_t *ret_count)
{
    size_t cap = 0;
    int err = OK, fd = openat(x->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    *ret = NULL;
    *ret_count = 0;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return ERR_IO;
    }
    errno = 0;
    for (struct dirent *e; !err && (e = readdir(dir)); errno = 0) {
        uint32_t id;
        if (!extent_name_parse(e->d_name, &id))
            continue;
        if (*ret_count == cap) {
            cap = MAX(64, cap * 2);
            uint32_t *grown = realloc(*ret, cap * sizeof(*grown));
            if (!grown)
                err = ERR_NOMEM;
            else
                *ret = grown;
        }
        if (!err)
            (*ret)[(*ret_count)++] = id;
    }
    if (!err && errno)
        err = ERR_IO;
    closedir(dir);
    if (*ret_count)
        qsort(*ret, *ret_count, sizeof(**ret), by_number);
    return err;
}

static int file_open(const struct extents *x, uint32_t id)
{
    char name[EXTENT_NAME_BYTES + 1];
    struct stat st;
    extent_name(id, name);
    int fd = openat(x->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- reading ---- */

/* Up to `bytes`.  Returns: how many; -1: the disk gives an error. */
static ssize_t read_some(int fd, uint8_t *to, size_t bytes, uint64_t offset)
{
    size_t got = 0;
    while (got < bytes) {
        ssize_t n = pread(fd, to + got, bytes - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

/* What lies behind the end of the file, and in sectors that the disk does not give back, are zeros.
 */
static void window_read(struct extents *x, int fd, uint8_t *to, size_t bytes, uint64_t offset)
{
    ssize_t got = read_some(fd, to, bytes, offset);
    if (got >= 0) {
        memset(to + got, 0, bytes - (size_t)got);
        return;
    }
    for (size_t at = 0; at < bytes; at += FRAME_ALIGN) {
        got = read_some(fd, to + at, FRAME_ALIGN, offset + at);
        x->read_errors += got < 0;
        got = MAX(got, 0);
        memset(to + at + got, 0, FRAME_ALIGN - (size_t)got);
    }
}

/* Space that was never written is not read.  Returns: false: there may be data at the place. */
static bool hole_skip(int fd, struct scan *s)
{
    off_t data = lseek(fd, (off_t)s->need_offset, SEEK_DATA);
    uint64_t to = s->header.bytes;
    if (data >= 0)
        to = MIN(to, (uint64_t)data / FRAME_ALIGN * FRAME_ALIGN);
    else if (errno != ENXIO)
        return false;
    if (to <= s->pos)
        return false;
    scan_skip(s, to);
    return true;
}

/* Frames whose data is damaged: their heads say of what. */
static int damaged_add(struct extents *x, int fd, uint32_t disk, const struct scan *s,
                       struct salvage_catalog *c)
{
    static struct frame_head head;
    uint8_t block[FRAME_HEAD_BYTES];
    int err = OK;
    for (size_t i = 0; !err && i < s->bad_count; i++) {
        const struct scan_bad *bad = &s->bad[i];
        x->damaged += bad->damaged || bad->known;
        if (!bad->known || bad->kind != FRAME_SHARD)
            continue;
        window_read(x, fd, block, sizeof(block), bad->offset);
        if (frame_head_decode(SLICE(block, sizeof(block)), &head) == OK &&
            frame_head_fits(&head, &s->header, bad->offset) && head.kind == FRAME_SHARD)
            err = salvage_add_shard(c, disk, &head, true);
    }
    return err;
}

static int frame_add(struct extents *x, uint32_t disk, const struct scan *s,
                     struct salvage_catalog *c)
{
    x->frames++;
    if (s->frame.kind == FRAME_SHARD)
        return salvage_add_shard(c, disk, &s->frame, false);
    x->marks += s->data.len / ID_BYTES;
    return salvage_add_marks(c, disk, s->frame.seq, s->data);
}

struct window {
    uint8_t *bytes;
    size_t cap, len;
    uint64_t offset;
};

static int window_move(struct extents *x, int fd, const struct scan *s, struct window *w)
{
    size_t want = (size_t)MIN(MAX(s->need_bytes, WINDOW_BYTES), s->header.bytes - s->need_offset);
    if (want > w->cap) {
        uint8_t *grown = realloc(w->bytes, want);
        if (!grown)
            return ERR_NOMEM;
        w->bytes = grown;
        w->cap = want;
    }
    window_read(x, fd, w->bytes, want, s->need_offset);
    w->offset = s->need_offset;
    w->len = want;
    return OK;
}

static int frames_scan(struct extents *x, int fd, uint32_t disk, const struct extent_header *header,
                       struct window *w, struct salvage_catalog *c)
{
    struct scan *s = malloc(sizeof(*s));
    int err = s ? OK : ERR_NOMEM;
    if (err)
        return err;
    scan_init(s, header, EXTENT_HEADER_BYTES);
    w->len = 0;
    while (!err) {
        enum scan_event event = scan_step(s, w->offset, SLICE(w->bytes, w->len));
        if (event == SCAN_END)
            break;
        if (event == SCAN_FRAME)
            err = frame_add(x, disk, s, c);
        else if (!hole_skip(fd, s))
            err = window_move(x, fd, s, w);
    }
    if (!err)
        err = s->nomem ? ERR_NOMEM : damaged_add(x, fd, disk, s, c);
    scan_fini(s);
    free(s);
    return err;
}

/* The header, or, if neither copy is readable, the life that the first frame tells of: a file's
 * first frame is always at the same place.  Returns: false: nothing can be known of the file. */
static bool header_read(struct extents *x, int fd, uint32_t id, struct extent_header *ret)
{
    static struct frame_head head;
    uint8_t block[EXTENT_HEADER_BYTES];
    struct stat st;
    window_read(x, fd, block, sizeof(block), 0);
    if (extent_header_decode(SLICE(block, sizeof(block)), ret) == OK && ret->id == id)
        return true;
    window_read(x, fd, block, sizeof(block), EXTENT_HEADER_BYTES);
    int err = frame_head_decode(SLICE(block, sizeof(block)), &head);
    x->headers_bad += err != ERR_NOT_FOUND; /* without a frame it was never begun */
    if (err || fstat(fd, &st) != 0 || head.extent_id != id || head.offset != EXTENT_HEADER_BYTES)
        return false;
    uint64_t bytes = MIN((uint64_t)st.st_size, EXTENT_BYTES_MAX) / FRAME_ALIGN * FRAME_ALIGN;
    *ret = (struct extent_header){
        .id = id, .generation = head.generation, .salt = head.salt, .bytes = bytes};
    return bytes > EXTENT_HEADER_BYTES;
}

int extents_scan(struct extents *x, uint32_t disk, struct salvage_catalog *c,
                 void (*progress)(uint64_t extents, uint64_t of))
{
    struct window w = {0};
    uint32_t *ids;
    size_t count;
    int err = ids_list(x, &ids, &count);
    for (size_t i = 0; !err && i < count; i++) {
        struct extent_header header;
        int fd = file_open(x, ids[i]);
        x->count++;
        if (fd < 0)
            x->read_errors++;
        else if (header_read(x, fd, ids[i], &header))
            err = frames_scan(x, fd, disk, &header, &w, c);
        if (fd >= 0)
            close(fd);
        if (progress)
            progress(i + 1, count);
    }
    free(ids);
    free(w.bytes);
    return err;
}

int extents_read(const struct extents *x, const struct salvage_shard *s, uint8_t *to)
{
    static struct frame_head head;
    uint8_t block[FRAME_HEAD_BYTES];
    int fd = file_open(x, s->extent), err = OK;
    if (fd < 0)
        return ERR_NOT_FOUND;
    if (read_some(fd, block, sizeof(block), s->offset) != (ssize_t)sizeof(block) ||
        read_some(fd, to, s->info.bytes, s->offset + FRAME_HEAD_BYTES) != (ssize_t)s->info.bytes)
        err = ERR_IO;
    else if (frame_head_decode(SLICE(block, sizeof(block)), &head) != OK ||
             head.kind != FRAME_SHARD || head.seq != s->seq ||
             !id128_eq(head.info.blob_id, s->info.blob_id) ||
             frame_data_verify(&head, SLICE(to, s->info.bytes)) != OK)
        err = ERR_CHECKSUM;
    close(fd);
    return err;
}
