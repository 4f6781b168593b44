#pragma once
/* A bump allocator for what lives as long as one request: many small allocations, freed at once.
 *
 * It keeps its first block across arena_reset() (unless that is a large one), so that a connection
 * that serves small requests allocates nothing per request.  `bytes_max` bounds what bytes from
 * outside can make it take: past it arena_alloc() answers NULL.  Zero-initialised is empty and valid,
 * without a bound.  One loop. */
#include "common/base/slice.h"

#define ARENA_BLOCK_BYTES 8192

struct arena_block;

struct arena {
    struct arena_block *first, *last;
    size_t used;      /* of the last block */
    size_t bytes;     /* handed out since the last reset */
    size_t bytes_max; /* 0: no bound */
    bool failed;      /* something was not handed out since the last reset */
};

void arena_init(struct arena *a, size_t bytes_max);
void arena_fini(struct arena *a);  /* frees all; a is empty and valid again */
void arena_reset(struct arena *a); /* everything handed out is gone; keeps the first block */

/* Uninitialised memory, aligned to 16 bytes.  NULL: out of memory, or past the bound. */
void *arena_alloc(struct arena *a, size_t len);
/* Zeroed. */
void *arena_zalloc(struct arena *a, size_t len);
/* A copy, NUL-terminated behind its end.  On failure the result is {NULL, 0}. */
struct slice arena_copy(struct arena *a, struct slice s);
