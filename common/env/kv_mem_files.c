/* The file table that the in-memory stores of one simulated world share. */
#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/check.h"
#include "common/env/kv_mem.h"

#include <stdlib.h>

struct file {
    struct list node;
    char *path;
    struct buf bytes;
};

struct kv_mem_files {
    struct list all;
};

struct kv_mem_files *kv_mem_files_new(void)
{
    struct kv_mem_files *files = calloc(1, sizeof(*files));
    if (files)
        list_init(&files->all);
    return files;
}

static struct file *find(const struct kv_mem_files *files, const char *path)
{
    list_for_each (it, &files->all) {
        struct file *f = container_of(it, struct file, node);
        if (strcmp(f->path, path) == 0)
            return f;
    }
    return NULL;
}

static void drop(struct file *f)
{
    list_remove(&f->node);
    buf_fini(&f->bytes);
    free(f->path);
    free(f);
}

void kv_mem_files_free(struct kv_mem_files *files)
{
    if (!files)
        return;
    while (!list_empty(&files->all))
        drop(container_of(files->all.next, struct file, node));
    free(files);
}

int kv_mem_file_append(struct kv_mem_files *files, const char *path, struct slice bytes)
{
    struct file *f = find(files, path);
    if (!f) {
        f = calloc(1, sizeof(*f));
        char *copy = strdup(path);
        if (!f || !copy) {
            free(f);
            free(copy);
            return ERR_NOMEM;
        }
        f->path = copy;
        list_push_back(&files->all, &f->node);
    }
    if (buf_reserve(&f->bytes, bytes.len) != OK) {
        f->bytes.failed = false;
        return ERR_NOMEM;
    }
    buf_slice(&f->bytes, bytes);
    return OK;
}

int kv_mem_file_view(const struct kv_mem_files *files, const char *path, struct slice *ret)
{
    const struct file *f = find(files, path);
    if (!f)
        return ERR_NOT_FOUND;
    *ret = buf_view(&f->bytes);
    return OK;
}

int kv_mem_file_remove(struct kv_mem_files *files, const char *path)
{
    struct file *f = find(files, path);
    if (!f)
        return ERR_NOT_FOUND;
    drop(f);
    return OK;
}

int kv_mem_file_rename(struct kv_mem_files *files, const char *from, const char *to)
{
    struct file *f = find(files, from);
    if (!f)
        return ERR_NOT_FOUND;
    if (strcmp(from, to) == 0)
        return OK;
    char *copy = strdup(to);
    if (!copy)
        return ERR_NOMEM;
    kv_mem_file_remove(files, to);
    free(f->path);
    f->path = copy;
    return OK;
}
