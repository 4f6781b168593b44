#pragma once
/* The files of one disk, behind the seam: every request is asynchronous and ends by its callback on
 * the loop, never inside disk_start().  common/env_uv/disk_uv.c: threads over a real directory.
 * common/env/disk_mem.c: memory with the semantics of a crash, for tests and the simulator.
 *
 * Requests that change something are carried out one after another in the order of their start; the
 * others (READ, SEEK, LIST, SPACE) beside them and beside each other.  What is durable when: WRITE
 * after a SYNC of the file that was started after the write's callback (or at once with DISK_SYNCED);
 * OPEN with DISK_CREATE, ALLOCATE and UNLINK at their callback.
 *
 * Errors: ERR_IO, ERR_NOSPACE, ERR_NOT_FOUND (open, unlink), ERR_END (read: fewer bytes than asked
 * for; `bytes` says how many), ERR_NOMEM. */
#include "common/base/slice.h"
#include "common/env/env.h"

#define DISK_NAME_BYTES_MAX 63

struct disk;
struct disk_file;

enum disk_kind {
    DISK_OPEN,     /* name, flags -> file */
    DISK_WRITE,    /* file, offset, slices, slice_count, flags */
    DISK_READ,     /* file, offset, buffer, bytes -> bytes */
    DISK_SYNC,     /* file, flags: data and what is needed to find it (fdatasync) */
    DISK_ALLOCATE, /* file, offset = new size: the space is taken, so that writes need no metadata */
    DISK_UNLINK,   /* name; the file must not be open */
    DISK_LIST,     /* -> names, name_count: free with disk_list_free() */
    DISK_SEEK,     /* file, offset -> offset: of the next byte, from there on, that may not be zero;
                      ERR_END: all that follows is zeros */
    DISK_SPACE,    /* -> bytes_total, bytes_free of the file system */
    DISK_KIND_COUNT
};

enum {
    DISK_CREATE = 1,     /* open: make the file if it is missing */
    DISK_SYNCED = 2,     /* write: followed by a sync of the file, in the same request */
    DISK_DROP_CACHE = 4, /* sync: later reads come from the disk, not from memory */
    DISK_UNCACHED = 8,   /* read: from the disk, and leave nothing in memory, where that can be done:
                            buffer, offset and bytes are multiples of 4 KiB */
};

/* Embedded by its user, who leaves it and all that it points to alone until cb. */
struct disk_req {
    enum disk_kind kind;
    unsigned flags;
    void (*cb)(struct disk_req *);
    int err;
    struct disk_file *file;
    uint64_t offset;
    const struct slice *slices; /* write: at most DISK_SLICES_MAX */
    unsigned slice_count;
    void *buffer;
    size_t bytes;
    uint64_t bytes_total, bytes_free;
    char **names;
    size_t name_count;
    char name[DISK_NAME_BYTES_MAX + 1];
    /* for the implementation */
    struct list node;
    struct disk *disk;
    uint64_t due_ns;
};

#define DISK_SLICES_MAX 4096u

static inline bool disk_kind_changes(enum disk_kind kind)
{
    return kind != DISK_READ && kind != DISK_LIST && kind != DISK_SPACE && kind != DISK_SEEK;
}

struct disk_ops {
    void (*start)(struct disk *, struct disk_req *);
    void (*file_close)(struct disk *, struct disk_file *);
    void (*close)(struct disk *, void (*done)(void *arg), void *arg);
};

struct disk {
    const struct disk_ops *ops;
};

/* Accepted always; exactly one cb. */
static inline void disk_start(struct disk *d, struct disk_req *r)
{
    r->err = 0;
    d->ops->start(d, r);
}

/* No request of the file may be under way. */
static inline void disk_file_close(struct disk *d, struct disk_file *f) { d->ops->file_close(d, f); }

/* All files are closed and no request is under way.  done runs on the loop, later; the disk's memory
 * is gone then. */
static inline void disk_close(struct disk *d, void (*done)(void *arg), void *arg)
{
    d->ops->close(d, done, arg);
}

void disk_list_free(struct disk_req *r);
