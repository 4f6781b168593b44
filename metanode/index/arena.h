#pragma once
/* Memory for decoding one entry, freed all at once: the base's arena, and malloc, each as
 * protobuf-c wants it.
 *
 * protobuf-c answers NULL both for malformed bytes and for a failed allocation.  A replica that
 * took the second for the first would refuse an entry that the others apply; so both allocators
 * here remember that they failed.  Not thread-safe. */
#include "common/base/arena.h"

#include <protobuf-c/protobuf-c.h>

struct index_arena {
    struct arena arena;
    bool failed;
    ProtobufCAllocator allocator; /* refers to this struct, which must not move */
};

void index_arena_init(struct index_arena *a);
void index_arena_fini(struct index_arena *a);
void index_arena_reset(struct index_arena *a); /* all pieces are gone; `failed` is cleared */
/* Aligned for any type, not zeroed.  NULL: out of memory (a->failed). */
void *index_arena_alloc(struct index_arena *a, size_t bytes);

/* malloc, remembering a failure: what it allocates is freed by protobuf-c's default allocator. */
struct heap_alloc {
    bool failed;
    ProtobufCAllocator allocator;
};
void heap_alloc_init(struct heap_alloc *h);
