#pragma once
/* A directory of a real disk behind disk.h: one thread for all that changes something, in order, and
 * a pool of threads for reads.  Runs on the loop it was opened on. */
#include "common/env/disk.h"

#include <uv.h>

/* Makes the directory (mode 0700) if it is missing and takes its lock file, so that two processes
 * never share it.  read_threads 0: 4.
 * Returns: OK; ERR_IO; ERR_CONFLICT (another process has it); ERR_NOMEM. */
int disk_uv_open(uv_loop_t *loop, const char *dir, unsigned read_threads, struct disk **ret);
