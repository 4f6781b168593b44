#pragma once
/* A directory of a real disk behind disk.h: one thread for all that changes something, in order, and
 * a pool of threads for reads, so that a slow sync holds up no read.  Completions come through
 * env_uv_post() on the loop of the env it was opened with. */
#include "common/env/disk.h"

/* Makes the directory (mode 0700) if it is missing (its parent must exist) and locks it, so that two
 * processes never share it.  Blocking.  read_threads 0: 4.
 * Returns: OK; ERR_IO (errno says why); ERR_CONFLICT (another process has it); ERR_NOMEM. */
int disk_uv_open(struct env *env, const char *dir, unsigned read_threads, struct disk **ret);
