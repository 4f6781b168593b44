/* Chunked memory that is freed at once, and malloc that remembers a failure. */
#include "metanode/index/arena.h"

#include <stdlib.h>

enum { ARENA_CHUNK_BYTES = 32 << 10, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

static void *arena_alloc_cb(void *data, size_t bytes)
{
    return arena_alloc(data, bytes);
}

static void arena_free_cb(void *data, void *ptr)
{
    (void)data; /* all is freed at once */
    (void)ptr;
}

void arena_init(struct arena *a)
{
    *a = (struct arena){.allocator = {arena_alloc_cb, arena_free_cb, a}};
}

void arena_fini(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
    a->used = 0;
}

void arena_reset(struct arena *a)
{
    /* One ordinary chunk is kept, so that an ordinary entry allocates nothing. */
    struct arena_chunk *kept = NULL;
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;
        if (!kept && a->chunks->cap == ARENA_CHUNK_BYTES)
            kept = a->chunks;
        else
            free(a->chunks);
        a->chunks = next;
    }
    if (kept)
        kept->next = NULL;
    a->chunks = kept;
    a->used = 0;
    a->failed = false;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t rounded = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (rounded < bytes) {
        a->failed = true;
        return NULL;
    }
    if (rounded == 0)
        rounded = ARENA_ALIGN;
    if (!a->chunks || a->chunks->cap - a->used < rounded) {
        size_t cap = rounded > ARENA_CHUNK_BYTES ? rounded : ARENA_CHUNK_BYTES;
        struct arena_chunk *chunk = malloc(sizeof(*chunk) + cap);
        if (!chunk) {
            a->failed = true;
            return NULL;
        }
        chunk->cap = cap;
        chunk->next = a->chunks;
        a->chunks = chunk;
        a->used = 0;
    }
    void *ptr = a->chunks->data + a->used;
    a->used += rounded;
    return ptr;
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *copy = arena_alloc(a, bytes);
    if (copy)
        memcpy(copy, s, bytes);
    return copy;
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
