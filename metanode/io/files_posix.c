/* struct meta_files over open, pread, pwrite, unlink. */
#include "metanode/io/files_posix.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int io_error(void)
{
    return errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}

static int posix_read(struct meta_files *f, const char *path, uint64_t offset, size_t len,
                      struct buf *ret)
{
    (void)f;
    if (buf_reserve(ret, len) != OK)
        return ERR_NOMEM;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error();
    int err = OK;
    while (len > 0) {
        ssize_t n = pread(fd, ret->ptr + ret->len, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = n < 0 ? io_error() : OK;
            break;
        }
        ret->len += (size_t)n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    close(fd);
    return err;
}

static int posix_write(struct meta_files *f, const char *path, uint64_t offset, struct slice bytes)
{
    (void)f;
    struct stat st;
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (offset == 0 ? O_TRUNC : 0);
    int fd = open(path, flags, 0600);
    if (fd < 0)
        return io_error();
    int err = OK;
    if (fstat(fd, &st) != 0)
        err = io_error();
    else if ((uint64_t)st.st_size != offset)
        err = ERR_INVAL;
    while (err == OK && bytes.len > 0) {
        ssize_t n = pwrite(fd, bytes.ptr, bytes.len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err = io_error();
            break;
        }
        bytes.ptr += n;
        bytes.len -= (size_t)n;
        offset += (uint64_t)n;
    }
    if (close(fd) != 0 && err == OK)
        err = io_error();
    return err;
}

static int posix_remove(struct meta_files *f, const char *path)
{
    (void)f;
    return unlink(path) == 0 || errno == ENOENT ? OK : io_error();
}

struct meta_files *files_posix(void)
{
    static const struct meta_files_ops ops = {posix_read, posix_write, posix_remove};
    static struct meta_files files = {&ops};
    return &files;
}

int files_posix_prepare(const char *dir)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return ERR_IO;
    DIR *d = opendir(dir);
    if (!d)
        return ERR_IO;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return OK;
}
