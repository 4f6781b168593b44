#pragma once
/* A bounds-checked reader over bytes from outside, with a sticky error: read ten fields, then check
 * `failed` once.  A failed read gives zeros and empty slices.  Big-endian. */
#include "common/base/slice.h"

struct cursor {
    const uint8_t *ptr, *end;
    bool failed;
};

static inline struct cursor cursor_of(struct slice s)
{
    return (struct cursor){.ptr = s.ptr, .end = s.ptr ? s.ptr + s.len : s.ptr};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return c->ptr ? (size_t)(c->end - c->ptr) : 0;
}

static inline struct slice cursor_bytes(struct cursor *c, size_t len)
{
    if (c->failed || cursor_left(c) < len) {
        c->failed = true;
        return SLICE_EMPTY;
    }
    struct slice s = SLICE(c->ptr, len);
    if (len)
        c->ptr += len;
    return s;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 1);
    return s.len ? s.ptr[0] : 0;
}

static inline uint16_t cursor_be16(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 2);
    if (!s.len)
        return 0;
    return (uint16_t)((unsigned)s.ptr[0] << 8 | s.ptr[1]);
}

static inline uint32_t cursor_be32(struct cursor *c)
{
    uint32_t hi = cursor_be16(c);
    return hi << 16 | cursor_be16(c);
}

static inline uint64_t cursor_be64(struct cursor *c)
{
    uint64_t hi = cursor_be32(c);
    return hi << 32 | cursor_be32(c);
}
