#pragma once
/* The extents of a storage node that does not run, read and never written.  Blocks. */
#include "cli/salvage/catalog.h"

/* One directory of extents. */
struct extents {
    const char *path; /* as given; borrowed */
    int dir_fd, lock_fds[2];
    uint64_t count, frames, marks; /* whole ones */
    uint64_t damaged;     /* frames known to be damaged, and places where one must have been */
    uint64_t headers_bad; /* extents with no readable header: read by their first frame's life, or
                             left out */
    uint64_t read_errors; /* sectors that the disk does not give back; read as zeros */
};

/* path: a storage node's data_dir, or a directory of extents itself.  Holds the locks that a
 * running node would hold, where there are any. Returns: OK; ERR_CONFLICT (a node runs on it);
 * ERR_NOT_FOUND (no extents there); ERR_IO; with one line in *ret_error.  Owns: extents_close(),
 * after an error too. */
int extents_open(struct extents *x, const char *path, struct buf *ret_error);
void extents_close(struct extents *x);

/* Every frame into the catalog, as of disk `disk`.  progress: after each extent; may be NULL.
 * Returns: OK; ERR_IO (the directory cannot be read); ERR_NOMEM. */
int extents_scan(struct extents *x, uint32_t disk, struct salvage_catalog *c,
                 void (*progress)(uint64_t extents, uint64_t of));

/* The data of one shard, verified anew.  to: s->info.bytes.
 * Returns: OK; ERR_IO; ERR_CHECKSUM (also: another frame is there now); ERR_NOT_FOUND. */
int extents_read(const struct extents *x, const struct salvage_shard *s, uint8_t *to);
