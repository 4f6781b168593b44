#pragma once
/* The data directory of a process: one process at a time, one format, one node for ever.  Internal to
 * common/proc. */
#include "common/base/slice.h"

#define DATA_FORMAT 1

/* Makes the directory (0700) if it is missing, locks <dir>/LOCK until the descriptor is closed, and
 * checks or writes <dir>/FORMAT, which names the format's version, the node and the cluster.
 * Returns: OK; ERR_CONFLICT (another process has it); ERR_VERSION; ERR_CONFIG (another node's);
 * ERR_IO; with one line in *ret_error.  Owns: the caller closes *ret_fd. */
int data_dir_open(const char *dir, const char *node_id, const char *cluster_id, int *ret_fd,
                  struct buf *ret_error);
