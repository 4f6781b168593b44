/* A real disk: one thread that changes it, a few that read. */
#include "common/env_uv/disk_uv.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/dir_make.h"
#include "common/env_uv/disk_direct.h"
#include "common/env_uv/env_uv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_THREADS_MAX 64u
#define IOVECS 256

struct disk_file {
    int fd;
    int direct_fd; /* the same file past the page cache; -1: its file system has no such thing */
};

struct lane { /* a queue and the threads that serve it */
    struct disk_uv *disk;
    pthread_cond_t cond;
    struct list queue;
    pthread_t threads[READ_THREADS_MAX];
    unsigned thread_count;
};

struct disk_uv {
    struct disk disk;
    struct env *env;
    int dir_fd, lock_fd;
    pthread_mutex_t mutex; /* guards what follows */
    struct lane changes, reads;
    struct disk_direct direct; /* of the one thread that writes */
    struct list done;
    bool posted, stopping;
    struct env_uv_post post;
    void (*closed)(void *arg);
    void *closed_arg;
};

static struct disk_uv *of(struct disk *d) { return container_of(d, struct disk_uv, disk); }

static int err_of(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT: return ERR_NOSPACE;
    case ENOENT: return ERR_NOT_FOUND;
    case ENOMEM: return ERR_NOMEM;
    default: return ERR_IO;
    }
}

/* ---- requests, on a thread of a lane ---- */

static int do_open(struct disk_uv *d, struct disk_req *r)
{
    int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (r->flags & DISK_CREATE ? O_CREAT : 0);
    struct disk_file *f = malloc(sizeof(*f));
    if (!f)
        return ERR_NOMEM;
    f->fd = openat(d->dir_fd, r->name, flags, 0600);
    int err = f->fd < 0 ? err_of(errno) : OK;
    if (!err && r->flags & DISK_CREATE && fsync(d->dir_fd) != 0) {
        err = err_of(errno);
        close(f->fd);
    }
    if (err) {
        free(f);
        return err;
    }
    /* Readers ask for all they want at once.  Reading ahead would also turn space that was never
     * written into pages that SEEK takes for data. */
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
    f->direct_fd = openat(d->dir_fd, r->name, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    r->file = f;
    return OK;
}

static int write_all(int fd, struct iovec *iov, int count, off_t offset)
{
    while (count > 0) {
        ssize_t n = pwritev(fd, iov, count, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_of(errno) : ERR_IO;
        offset += n;
        while (count > 0 && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return OK;
}

static int write_cached(struct disk_req *r)
{
    struct iovec iov[IOVECS];
    uint64_t offset = r->offset, bytes;
    for (unsigned at = 0; at < r->slice_count;) {
        int count = 0;
        for (bytes = 0; count < IOVECS && at < r->slice_count; at++) {
            if (r->slices[at].len == 0)
                continue;
            iov[count++] = (struct iovec){(void *)(uintptr_t)r->slices[at].ptr, r->slices[at].len};
            bytes += r->slices[at].len;
        }
        int err = write_all(r->file->fd, iov, count, (off_t)offset);
        if (err)
            return err;
        offset += bytes;
    }
    return OK;
}

/* The kernel takes what it has cached of the range out of the cache, so that reads see the write. */
static int write_direct(struct disk_uv *d, struct disk_req *r)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < r->slice_count; i++)
        bytes += r->slices[i].len;
    if (r->file->direct_fd < 0 || bytes < DISK_DIRECT_BYTES_MIN ||
        (r->offset | bytes) % DISK_DIRECT_ALIGN != 0)
        return ERR_UNIMPLEMENTED;
    return disk_direct_write(&d->direct, r->file->direct_fd, r->slices, r->slice_count, r->offset);
}

static int do_write(struct disk_uv *d, struct disk_req *r)
{
    int err = write_direct(d, r);
    if (err == ERR_UNIMPLEMENTED || err == ERR_NOMEM)
        err = write_cached(r);
    if (!err && r->flags & DISK_SYNCED && fdatasync(r->file->fd) != 0)
        err = ERR_IO;
    return err;
}

/* Past the page cache; where the file system has no such thing, what the cache holds of the range is
 * dropped before and after. */
static bool read_uncached(struct disk_req *r, int *fd)
{
    *fd = r->file->fd;
    if (!(r->flags & DISK_UNCACHED))
        return false;
    if (r->file->direct_fd >= 0 &&
        (r->offset | r->bytes | (uintptr_t)r->buffer) % DISK_DIRECT_ALIGN == 0) {
        *fd = r->file->direct_fd;
        return false;
    }
    (void)posix_fadvise(*fd, (off_t)r->offset, (off_t)r->bytes, POSIX_FADV_DONTNEED);
    return true;
}

static int do_read(struct disk_req *r)
{
    size_t asked = r->bytes, got = 0;
    int fd;
    bool drop = read_uncached(r, &fd);
    while (got < asked) {
        ssize_t n = pread(fd, (char *)r->buffer + got, asked - got,
                          (off_t)(r->offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL && fd != r->file->fd) {
            fd = r->file->fd; /* the file's end, or a disk of larger blocks */
            continue;
        }
        if (n < 0)
            return err_of(errno);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    if (drop || (r->flags & DISK_UNCACHED && fd == r->file->fd))
        (void)posix_fadvise(fd, (off_t)r->offset, (off_t)asked, POSIX_FADV_DONTNEED);
    r->bytes = got;
    return got < asked ? ERR_END : OK;
}

/* Space that was allocated and never written counts as a hole.  A file system without holes says that
 * everything is data, which is as right. */
static int do_seek(struct disk_req *r)
{
    off_t at = lseek(r->file->fd, (off_t)r->offset, SEEK_DATA);
    if (at < 0)
        return errno == ENXIO ? ERR_END : errno == EINVAL ? OK : err_of(errno);
    r->offset = (uint64_t)at;
    return OK;
}

static int do_sync(struct disk_req *r)
{
    if (fdatasync(r->file->fd) != 0)
        return ERR_IO;
    if (r->flags & DISK_DROP_CACHE)
        (void)posix_fadvise(r->file->fd, 0, 0, POSIX_FADV_DONTNEED);
    return OK;
}

static int do_allocate(struct disk_req *r)
{
    int error = fallocate(r->file->fd, 0, 0, (off_t)r->offset) == 0 ? 0 : errno;
    if (error == EOPNOTSUPP)
        error = posix_fallocate(r->file->fd, 0, (off_t)r->offset);
    if (error)
        return err_of(error);
    return fsync(r->file->fd) == 0 ? OK : ERR_IO;
}

static int do_unlink(struct disk_uv *d, struct disk_req *r)
{
    if (unlinkat(d->dir_fd, r->name, 0) != 0)
        return err_of(errno);
    return fsync(d->dir_fd) == 0 ? OK : ERR_IO;
}

static int do_list(struct disk_uv *d, struct disk_req *r)
{
    size_t cap = 0;
    int err = OK;
    r->names = NULL;
    r->name_count = 0;
    int fd = openat(d->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return ERR_IO;
    }
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e)
            break;
        if (e->d_name[0] == '.' || strlen(e->d_name) > DISK_NAME_BYTES_MAX)
            continue;
        if (r->name_count == cap) {
            cap = cap ? cap * 2 : 64;
            char **grown = realloc(r->names, cap * sizeof(*grown));
            if (!grown) {
                err = ERR_NOMEM;
                break;
            }
            r->names = grown;
        }
        char *name = strdup(e->d_name);
        if (!name) {
            err = ERR_NOMEM;
            break;
        }
        r->names[r->name_count++] = name;
    }
    if (!err && errno)
        err = ERR_IO;
    closedir(dir);
    if (err)
        disk_list_free(r);
    return err;
}

static int do_space(struct disk_uv *d, struct disk_req *r)
{
    struct statvfs st;
    if (fstatvfs(d->dir_fd, &st) != 0)
        return ERR_IO;
    r->bytes_total = (uint64_t)st.f_blocks * st.f_frsize;
    r->bytes_free = (uint64_t)st.f_bavail * st.f_frsize;
    return OK;
}

static int request_run(struct disk_uv *d, struct disk_req *r)
{
    switch (r->kind) {
    case DISK_OPEN: return do_open(d, r);
    case DISK_WRITE: return do_write(d, r);
    case DISK_READ: return do_read(r);
    case DISK_SYNC: return do_sync(r);
    case DISK_ALLOCATE: return do_allocate(r);
    case DISK_UNLINK: return do_unlink(d, r);
    case DISK_LIST: return do_list(d, r);
    case DISK_SEEK: return do_seek(r);
    case DISK_SPACE: return do_space(d, r);
    case DISK_KIND_COUNT: break;
    }
    return ERR_INVAL;
}

/* ---- lanes ---- */

static void *lane_main(void *arg)
{
    struct lane *lane = arg;
    struct disk_uv *d = lane->disk;
    pthread_mutex_lock(&d->mutex);
    for (;;) {
        while (list_empty(&lane->queue) && !d->stopping)
            pthread_cond_wait(&lane->cond, &d->mutex);
        if (list_empty(&lane->queue))
            break;
        struct disk_req *r = container_of(list_pop_front(&lane->queue), struct disk_req, node);
        pthread_mutex_unlock(&d->mutex);
        r->err = request_run(d, r);
        pthread_mutex_lock(&d->mutex);
        list_push_back(&d->done, &r->node);
        if (!d->posted) {
            d->posted = true;
            env_uv_post(d->env, &d->post);
        }
    }
    pthread_mutex_unlock(&d->mutex);
    return NULL;
}

static void lane_stop(struct lane *lane)
{
    pthread_mutex_lock(&lane->disk->mutex);
    lane->disk->stopping = true;
    pthread_cond_broadcast(&lane->cond);
    pthread_mutex_unlock(&lane->disk->mutex);
    for (unsigned i = 0; i < lane->thread_count; i++)
        pthread_join(lane->threads[i], NULL);
    pthread_cond_destroy(&lane->cond);
}

static int lane_start(struct disk_uv *d, struct lane *lane, unsigned threads)
{
    lane->disk = d;
    list_init(&lane->queue);
    pthread_cond_init(&lane->cond, NULL);
    while (lane->thread_count < threads) {
        if (pthread_create(&lane->threads[lane->thread_count], NULL, lane_main, lane) != 0)
            return ERR_NOMEM;
        lane->thread_count++;
    }
    return OK;
}

/* ---- the loop's side ---- */

static void on_post(struct env_uv_post *post)
{
    struct disk_uv *d = container_of(post, struct disk_uv, post);
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&d->mutex);
    d->posted = false;
    while (!list_empty(&d->done))
        list_push_back(&done, list_pop_front(&d->done));
    pthread_mutex_unlock(&d->mutex);
    while (!list_empty(&done)) {
        struct disk_req *r = container_of(list_pop_front(&done), struct disk_req, node);
        r->cb(r);
    }
}

static void uv_start(struct disk *disk, struct disk_req *r)
{
    struct disk_uv *d = of(disk);
    struct lane *lane = disk_kind_changes(r->kind) ? &d->changes : &d->reads;
    CHECK(r->cb && (r->kind != DISK_WRITE || r->slice_count <= DISK_SLICES_MAX));
    r->disk = disk;
    pthread_mutex_lock(&d->mutex);
    list_push_back(&lane->queue, &r->node);
    pthread_cond_signal(&lane->cond);
    pthread_mutex_unlock(&d->mutex);
}

static void uv_file_close(struct disk *disk, struct disk_file *f)
{
    (void)disk;
    close(f->fd);
    if (f->direct_fd >= 0)
        close(f->direct_fd);
    free(f);
}

static void disk_free(struct disk_uv *d)
{
    lane_stop(&d->changes);
    lane_stop(&d->reads);
    pthread_mutex_destroy(&d->mutex);
    disk_direct_fini(&d->direct);
    close(d->lock_fd);
    close(d->dir_fd);
    free(d);
}

static void on_closed(struct env_uv_post *post)
{
    struct disk_uv *d = container_of(post, struct disk_uv, post);
    void (*closed)(void *) = d->closed;
    void *arg = d->closed_arg;
    disk_free(d);
    closed(arg);
}

static void uv_close_disk(struct disk *disk, void (*done)(void *arg), void *arg)
{
    struct disk_uv *d = of(disk);
    CHECK(list_empty(&d->changes.queue) && list_empty(&d->reads.queue) && !d->posted);
    d->closed = done;
    d->closed_arg = arg;
    d->post.fn = on_closed;
    env_uv_post(d->env, &d->post);
}

static const struct disk_ops disk_uv_ops = {uv_start, uv_file_close, uv_close_disk};

/* Directory and lock.  OK; ERR_IO; ERR_CONFLICT. */
static int dir_take(struct disk_uv *d, const char *dir)
{
    if (dir_make(dir) != OK)
        return ERR_IO;
    d->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->dir_fd < 0)
        return ERR_IO;
    d->lock_fd = openat(d->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd >= 0 && flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return OK;
    int err = d->lock_fd >= 0 && errno == EWOULDBLOCK ? ERR_CONFLICT : ERR_IO;
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    close(d->dir_fd);
    return err;
}

int disk_uv_open(struct env *env, const char *dir, unsigned read_threads, struct disk **ret)
{
    struct disk_uv *d = calloc(1, sizeof(*d));
    if (!d)
        return ERR_NOMEM;
    d->disk.ops = &disk_uv_ops;
    d->env = env;
    d->post.fn = on_post;
    list_init(&d->done);
    int err = dir_take(d, dir);
    if (err) {
        free(d);
        return err;
    }
    pthread_mutex_init(&d->mutex, NULL);
    unsigned readers = read_threads ? MIN(read_threads, READ_THREADS_MAX) : 4;
    err = lane_start(d, &d->changes, 1);
    if (lane_start(d, &d->reads, readers) != OK)
        err = ERR_NOMEM;
    if (err) {
        disk_free(d);
        return err;
    }
    *ret = &d->disk;
    return OK;
}
