/* Directories, extents and indexes of a storage node. */
#include "storagenode/proc/members.h"

#include "common/base/check.h"
#include "common/env_uv/disk_uv.h"
#include "common/env_uv/kv_rocksdb.h"
#include "common/obs/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define GIVEN_UP "given-up" /* a file; while it is there, the rest is to be removed */

static void on_kv_failed(void *arg, int err, const char *text)
{
    log_error("storagenode.index_failed", 0, L_ERR(err), L_STR("path", arg), L_STR("what", text));
}

static int open_index(struct proc *p, struct disks_member *d)
{
    struct buf text = {0}, path = {0};
    buf_printf(&path, "%s/index", d->path);
    buf_u8(&path, 0);
    struct kv_rocksdb_config config = {.mode = KV_STATE,
                                       .path = (const char *)path.ptr,
                                       .cache_bytes = config_bytes(p->config, "index_cache_bytes"),
                                       .on_failed = on_kv_failed,
                                       .arg = (void *)(uintptr_t)d->path};
    int err = path.failed ? ERR_NOMEM : kv_rocksdb_open(p->env, &config, &d->kv, &text);
    if (err)
        log_error("storagenode.index", 0, L_ERR(err), L_STR("path", d->path),
                  L_BYTES("what", buf_view(&text)));
    buf_fini(&text);
    buf_fini(&path);
    return err;
}

static int open_extents(struct proc *p, struct disks_member *d)
{
    struct buf path = {0};
    buf_printf(&path, "%s/extents", d->path);
    buf_u8(&path, 0);
    unsigned threads = (unsigned)config_int(p->config, "read_threads");
    int err =
        path.failed ? ERR_NOMEM : disk_uv_open(p->env, (const char *)path.ptr, threads, &d->disk);
    if (err)
        log_error("storagenode.extents", 0, L_ERR(err), L_BYTES("path", buf_view(&path)));
    buf_fini(&path);
    return err;
}

/* ---- disks that were given up ---- */

/* The path of a file or directory of the member's; NULL: no memory.  The caller's to free. */
static char *path_of(const struct disks_member *d, const char *dir, const char *name)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s%s%s", d->path, dir, name[0] ? "/" : "", name);
    buf_u8(&path, 0);
    if (!path.failed)
        return (char *)path.ptr;
    buf_fini(&path);
    return NULL;
}

static int dir_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd >= 0 && fsync(fd) == 0 ? OK : ERR_IO;
    if (fd >= 0)
        close(fd);
    return err;
}

/* Its files, one by one; there are no directories in it. */
static int dir_empty(const struct disks_member *d, const char *dir)
{
    char *path = path_of(d, dir, "");
    DIR *handle = path ? opendir(path) : NULL;
    int err = handle || (path && errno == ENOENT) ? OK : path ? ERR_IO : ERR_NOMEM;
    for (struct dirent *e; handle && !err && (e = readdir(handle)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *file = path_of(d, dir, e->d_name);
        err = !file ? ERR_NOMEM : unlink(file) == 0 ? OK : ERR_IO;
        free(file);
    }
    if (handle)
        closedir(handle);
    if (handle && !err)
        err = dir_sync(path);
    free(path);
    return err;
}

/* Extents first: an index without them refers to nothing, and they alone would be indexed again. */
static int given_up_empty(const struct disks_member *d)
{
    char *mark = path_of(d, GIVEN_UP, "");
    int err = mark ? OK : ERR_NOMEM;
    if (!err && access(mark, F_OK) == 0) {
        err = dir_empty(d, "extents");
        if (!err)
            err = dir_empty(d, "index");
        if (!err && unlink(mark) != 0)
            err = ERR_IO;
        if (!err)
            err = dir_sync(d->path);
        if (err)
            log_error("storagenode.not_emptied", 0, L_ERR(err), L_STR("path", d->path),
                      L_STR("what", "this disk was given up, and its files cannot be removed"));
        else
            log_warn("storagenode.emptied", 0, L_STR("path", d->path));
    }
    free(mark);
    return err;
}

int members_give_up(const struct members *m, size_t member)
{
    const struct disks_member *d = &m->disks[member];
    char *mark = path_of(d, GIVEN_UP, "");
    int fd = mark ? open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    int err = !mark ? ERR_NOMEM : fd >= 0 && fsync(fd) == 0 ? OK : ERR_IO;
    if (fd >= 0)
        close(fd);
    free(mark);
    return err ? err : dir_sync(d->path);
}

static void member_open(struct proc *p, struct disks_member *d)
{
    d->err = given_up_empty(d);
    if (!d->err)
        d->err = open_index(p, d);
    if (!d->err)
        d->err = open_extents(p, d);
    if (d->err && d->kv) {
        d->kv->ops->close(d->kv);
        d->kv = NULL;
    }
}

static int config_wrong(const char *name, const char *value, const char *what)
{
    log_error("config.storagenode", 0, L_STR("parameter", name), L_STR("value", value),
              L_STR("what", what));
    return ERR_CONFIG;
}

/* The next word of a list with commas, without the spaces around it; NULL at the end. */
static char *word_next(char **rest)
{
    char *word;
    do {
        word = strsep(rest, ",");
        while (word && *word == ' ')
            word++;
    } while (word && *word == 0);
    for (size_t n = word ? strlen(word) : 0; n > 0 && word[n - 1] == ' '; n--)
        word[n - 1] = 0;
    return word;
}

static int paths_read(struct members *m, const char *list)
{
    char *rest = m->text = strdup(list);
    if (!rest)
        return ERR_NOMEM;
    for (char *word; (word = word_next(&rest)) != NULL;) {
        size_t len = strlen(word);
        while (len > 1 && word[len - 1] == '/')
            word[--len] = 0;
        if (len > DISK_PATH_BYTES_MAX)
            return config_wrong("disks", word, "a path is too long");
        if (m->count == DISKS_MAX)
            return config_wrong("disks", word, "more disks than a node may have");
        for (size_t i = 0; i < m->count; i++)
            if (strcmp(m->disks[i].path, word) == 0)
                return config_wrong("disks", word, "the same directory twice");
        m->disks[m->count++].path = word;
    }
    return m->count ? OK : config_wrong("disks", list, "no directory");
}

static int lost_read(struct members *m, const char *list)
{
    char *text = strdup(list), *rest = text;
    int err = text ? OK : ERR_NOMEM;
    for (char *word; !err && (word = word_next(&rest)) != NULL;) {
        if (m->lost_count == DISKS_KNOWN_MAX ||
            !id128_from_hex(SLICE(word, strlen(word)), &m->lost[m->lost_count]))
            err = config_wrong("disks_lost", word, "not a disk's id: 32 hex digits");
        else
            m->lost_count++;
    }
    free(text);
    return err;
}

int members_open(struct members *m, struct proc *p)
{
    const char *list = config_string(p->config, "disks");
    *m = (struct members){0};
    int err = lost_read(m, config_string(p->config, "disks_lost"));
    if (!err && list[0]) {
        err = paths_read(m, list);
    } else if (!err) { /* whatever characters it has */
        m->text = strdup(p->data_dir);
        m->disks[0].path = m->text;
        m->count = 1;
        err = !m->text ? ERR_NOMEM
              : strlen(m->text) > DISK_PATH_BYTES_MAX
                  ? config_wrong("data_dir", m->text, "the path is too long")
                  : OK;
    }
    if (err)
        return err;
    bool some = false;
    for (size_t i = 0; i < m->count; i++) {
        member_open(p, &m->disks[i]);
        some |= m->disks[i].err == OK;
    }
    return some ? OK : m->disks[0].err;
}

static void all_closed(struct members *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct disks_member *d = &m->disks[i];
        if (d->kv)
            d->kv->ops->close(d->kv);
        d->kv = NULL;
    }
    m->closed(m->closed_arg);
}

static void on_disk_closed(void *arg)
{
    struct members *m = arg;
    if (--m->closing == 0)
        all_closed(m);
}

void members_close(struct members *m, void (*closed)(void *arg), void *arg)
{
    m->closed = closed;
    m->closed_arg = arg;
    m->closing = 1;
    for (size_t i = 0; i < m->count; i++) {
        if (!m->disks[i].disk)
            continue;
        m->closing++;
        disk_close(m->disks[i].disk, on_disk_closed, m);
        m->disks[i].disk = NULL;
    }
    on_disk_closed(m);
}
