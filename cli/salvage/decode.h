#pragma once
/* A blob's bytes from enough of its shards, and names for files that hostile keys cannot abuse.
 * Pure. */
#include "cli/salvage/catalog.h"

/* Reads a shard: all of its bytes, verified, into `to` (s->info.bytes).  OK; an error: another
 * shard is tried. */
typedef int (*salvage_read)(void *arg, const struct salvage_shard *s, uint8_t *to);

/* Appends the blob's bytes to *ret.
 * Returns: OK; ERR_NO_QUORUM (fewer shards can be read than it takes); ERR_CHECKSUM (what came out
 * is not what the heads state); ERR_NOMEM.  Memory: the blob twice. */
int salvage_decode(const struct salvage_blob *b, salvage_read read, void *arg, struct buf *ret);

#define SALVAGE_NAME_BYTES 256
/* A file's name for a version: the key with all but letters, digits, '.', '_' and '-' as %xx, cut
 * short with a hash if it is long, then '@', its time and id, so that versions of one key sort and
 * never collide. */
void salvage_name(const struct salvage_version *v, char ret[SALVAGE_NAME_BYTES]);
