/* Blocks are chained; one larger than ARENA_BLOCK_BYTES is made for an allocation that needs it. */
#include "common/base/arena.h"

#include <stdalign.h>
#include <stdlib.h>

struct arena_block {
    struct arena_block *next;
    size_t cap;
    alignas(16) uint8_t data[];
};

void arena_init(struct arena *a, size_t bytes_max)
{
    *a = (struct arena){.bytes_max = bytes_max};
}

void arena_fini(struct arena *a)
{
    for (struct arena_block *b = a->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (struct arena){.bytes_max = a->bytes_max};
}

void arena_reset(struct arena *a)
{
    /* One made for a large allocation would be kept for ever by a small need. */
    struct arena_block *kept = a->first && a->first->cap == ARENA_BLOCK_BYTES ? a->first : NULL;
    for (struct arena_block *b = a->first, *next; b; b = next) {
        next = b->next;
        if (b != kept)
            free(b);
    }
    if (kept)
        kept->next = NULL;
    a->first = a->last = kept;
    a->used = 0;
    a->bytes = 0;
    a->failed = false;
}

static void *refuse(struct arena *a)
{
    a->failed = true;
    return NULL;
}

void *arena_alloc(struct arena *a, size_t len)
{
    if (len > SIZE_MAX / 2)
        return refuse(a);
    len = (len + 15) & ~(size_t)15;
    if (a->bytes_max && (len > a->bytes_max || a->bytes > a->bytes_max - len))
        return refuse(a);
    if (!a->last || a->last->cap - a->used < len) {
        size_t cap = len > ARENA_BLOCK_BYTES ? len : ARENA_BLOCK_BYTES;
        struct arena_block *b = malloc(sizeof(*b) + cap);
        if (!b)
            return refuse(a);
        b->next = NULL;
        b->cap = cap;
        if (a->last)
            a->last->next = b;
        else
            a->first = b;
        a->last = b;
        a->used = 0;
    }
    void *p = a->last->data + a->used;
    a->used += len;
    a->bytes += len;
    return p;
}

void *arena_zalloc(struct arena *a, size_t len)
{
    void *p = arena_alloc(a, len);
    if (p)
        memset(p, 0, len);
    return p;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    uint8_t *p = s.len < SIZE_MAX / 2 ? arena_alloc(a, s.len + 1) : NULL;
    if (!p)
        return SLICE_EMPTY;
    if (s.len)
        memcpy(p, s.ptr, s.len);
    p[s.len] = 0;
    return SLICE(p, s.len);
}
