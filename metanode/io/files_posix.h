#pragma once
/* Snapshot files (struct meta_files) as real files.  Every call blocks: on workers only.  Nothing is
 * synced: a snapshot under way that a crash interrupts starts anew. */
#include "metanode/op/node.h"

/* Static; nothing to free. */
struct meta_files *files_posix(void);
/* Makes the directory if it is missing, and removes what an earlier life left in it.
 * Returns: OK; ERR_IO (errno says why). */
int files_posix_prepare(const char *dir);
