#pragma once
/* Memory for decoding one entry: pieces of a few chunks, freed all at once.
 *
 * protobuf-c answers NULL both for malformed bytes and for a failed allocation.  A replica that
 * took the second for the first would refuse an entry that the others apply; so both allocators
 * here remember that they failed.  Not thread-safe. */
#include "common/base/slice.h"

#include <protobuf-c/protobuf-c.h>

/* common/base has an arena too (without the memory of a failure): the symbols must not meet. */
#define arena_init index_arena_init
#define arena_fini index_arena_fini
#define arena_reset index_arena_reset
#define arena_alloc index_arena_alloc
#define arena_strdup index_arena_strdup

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; /* the newest first */
    size_t used;                /* of the newest */
    bool failed;
    ProtobufCAllocator allocator;
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);
void arena_reset(struct arena *a); /* all pieces are gone; `failed` is cleared */
/* Aligned for any type, not zeroed.  NULL: out of memory (a->failed). */
void *arena_alloc(struct arena *a, size_t bytes);
/* A zero-terminated copy; NULL: out of memory. */
char *arena_strdup(struct arena *a, const char *s);

/* malloc, remembering a failure: what it allocates is freed by protobuf-c's default allocator. */
struct heap_alloc {
    bool failed;
    ProtobufCAllocator allocator;
};
void heap_alloc_init(struct heap_alloc *h);
