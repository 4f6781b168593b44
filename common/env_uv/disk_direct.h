#pragma once
/* Large writes past the page cache.  A copy into pages that nobody may ever read costs more than
 * the rest of a large write, and drives out what is read.  One user at a time; blocking. */
#include "common/base/slice.h"

#define DISK_DIRECT_ALIGN 4096u /* of memory, offsets and lengths: enough for any disk's blocks */
#define DISK_DIRECT_BYTES_MIN (256u << 10) /* smaller writes are likely to be read soon */

struct disk_direct {
    uint8_t *bounce; /* for what lies unaligned; made at the first use */
};

void disk_direct_fini(struct disk_direct *d);

/* Writes the slices one behind another from `offset` on, through a descriptor opened with O_DIRECT.
 * offset and the sum of the lengths must be multiples of DISK_DIRECT_ALIGN; slices that lie aligned
 * are not copied.  Returns: OK; ERR_NOMEM (nothing was written); ERR_UNIMPLEMENTED (the file
 * system does not do this: write all of it in another way); ERR_NOSPACE; ERR_IO. */
int disk_direct_write(struct disk_direct *d, int fd, const struct slice *slices, unsigned count,
                      uint64_t offset);
