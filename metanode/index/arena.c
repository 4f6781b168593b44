/* Allocators that remember a failure. */
#include "metanode/index/arena.h"

#include <stdlib.h>

static void *arena_alloc_cb(void *data, size_t bytes)
{
    return index_arena_alloc(data, bytes);
}

static void arena_free_cb(void *data, void *ptr)
{
    (void)data; /* all is freed at once */
    (void)ptr;
}

void index_arena_init(struct index_arena *a)
{
    *a = (struct index_arena){.allocator = {arena_alloc_cb, arena_free_cb, a}};
}

void index_arena_fini(struct index_arena *a)
{
    arena_fini(&a->arena);
}

void index_arena_reset(struct index_arena *a)
{
    arena_reset(&a->arena);
    a->failed = false;
}

void *index_arena_alloc(struct index_arena *a, size_t bytes)
{
    void *ptr = arena_alloc(&a->arena, bytes ? bytes : 1);
    if (!ptr)
        a->failed = true;
    return ptr;
}

static void *heap_alloc_cb(void *data, size_t bytes)
{
    struct heap_alloc *h = data;
    void *ptr = malloc(bytes ? bytes : 1);
    if (!ptr)
        h->failed = true;
    return ptr;
}

static void heap_free_cb(void *data, void *ptr)
{
    (void)data;
    free(ptr);
}

void heap_alloc_init(struct heap_alloc *h)
{
    *h = (struct heap_alloc){.allocator = {heap_alloc_cb, heap_free_cb, h}};
}
