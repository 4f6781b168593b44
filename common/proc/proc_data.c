/* Lock and format file of the data directory; see proc_data.h. */
#include "common/proc/proc_data.h"

#include "common/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int io_error(struct buf *ret_error, const char *dir, const char *what)
{
    buf_printf(ret_error, "data_dir %s: %s: %s", dir, what, strerror(errno));
    return ERR_IO;
}

static int lock(int dir_fd, const char *dir, int *ret_fd, struct buf *ret_error)
{
    int fd = openat(dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return io_error(ret_error, dir, "LOCK");
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        char pid[16] = "";
        ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);
        pid[n > 0 ? n : 0] = 0;
        pid[strspn(pid, "0123456789")] = 0;
        buf_printf(ret_error, "data_dir %s is in use by another process%s%s; stop it, or choose another",
                   dir, pid[0] ? ", pid " : "", pid);
        close(fd);
        return ERR_CONFLICT;
    }
    /* The pid is for that message only; the lock itself ends with the process. */
    char pid[16];
    int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len) {
        int err = io_error(ret_error, dir, "LOCK");
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return OK;
}

static int write_format(int dir_fd, const char *dir, const char *text, struct buf *ret_error)
{
    int fd = openat(dir_fd, "FORMAT.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t len = (ssize_t)strlen(text);
    bool good = fd >= 0 && write(fd, text, (size_t)len) == len && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    good = good && renameat(dir_fd, "FORMAT.tmp", dir_fd, "FORMAT") == 0 && fsync(dir_fd) == 0;
    return good ? OK : io_error(ret_error, dir, "FORMAT");
}

/* The word after "name: " on a line of its own; empty when absent. */
static void read_word(const char *text, const char *name, char *ret, size_t size)
{
    const char *p = strstr(text, name);
    ret[0] = 0;
    if (p && (p == text || p[-1] == '\n')) {
        p += strlen(name);
        snprintf(ret, size, "%.*s", (int)strcspn(p, "\n"), p);
    }
}

static int check_format(const char *dir, const char *text, const char *node_id, const char *cluster_id,
                        struct buf *ret_error)
{
    char format[32], node[80], cluster[80];
    read_word(text, "format: ", format, sizeof(format));
    read_word(text, "node: ", node, sizeof(node));
    read_word(text, "cluster: ", cluster, sizeof(cluster));
    char *end;
    unsigned long version = strtoul(format, &end, 10);
    if (!format[0] || *end) {
        buf_printf(ret_error, "data_dir %s: FORMAT is damaged", dir);
        return ERR_CORRUPT;
    }
    if (version != DATA_FORMAT) {
        buf_printf(ret_error, "data_dir %s has format %lu; this program knows %d", dir, version, DATA_FORMAT);
        return ERR_VERSION;
    }
    if (strcmp(node, node_id) != 0) {
        buf_printf(ret_error, "data_dir %s belongs to node '%s', not to '%s'", dir, node, node_id);
        return ERR_CONFIG;
    }
    if (cluster[0] && cluster_id[0] && strcmp(cluster, cluster_id) != 0) {
        buf_printf(ret_error, "data_dir %s belongs to cluster %s, not to %s", dir, cluster, cluster_id);
        return ERR_CONFIG;
    }
    return OK;
}

static int format(int dir_fd, const char *dir, const char *node_id, const char *cluster_id,
                  struct buf *ret_error)
{
    char text[256];
    int fd = openat(dir_fd, "FORMAT", O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return io_error(ret_error, dir, "FORMAT");
    if (fd < 0) {
        snprintf(text, sizeof(text), "format: %d\nnode: %s\ncluster: %s\n", DATA_FORMAT, node_id, cluster_id);
        return write_format(dir_fd, dir, text, ret_error);
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n < 0)
        return io_error(ret_error, dir, "FORMAT");
    text[n] = 0;
    return check_format(dir, text, node_id, cluster_id, ret_error);
}

/* A new directory's name must be as durable as what will be acknowledged inside it. */
static int make_directory(const char *dir, struct buf *ret_error)
{
    if (mkdir(dir, 0700) != 0)
        return errno == EEXIST ? OK : io_error(ret_error, dir, "cannot be created");
    struct buf parent = {0};
    buf_printf(&parent, "%s/..", dir);
    buf_u8(&parent, 0);
    int fd = parent.failed ? -1 : open((const char *)parent.ptr, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd >= 0 && fsync(fd) == 0 ? OK : io_error(ret_error, dir, "its parent cannot be synced");
    if (fd >= 0)
        close(fd);
    buf_fini(&parent);
    return err;
}

int data_dir_open(const char *dir, const char *node_id, const char *cluster_id, int *ret_fd,
                  struct buf *ret_error)
{
    int err = make_directory(dir, ret_error);
    if (err != OK)
        return err;
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return io_error(ret_error, dir, "cannot be opened");
    int lock_fd = -1;
    err = lock(dir_fd, dir, &lock_fd, ret_error);
    if (err == OK)
        err = format(dir_fd, dir, node_id, cluster_id, ret_error);
    close(dir_fd);
    if (err != OK && lock_fd >= 0)
        close(lock_fd);
    else if (err == OK)
        *ret_fd = lock_fd;
    return err;
}
