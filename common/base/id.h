#pragma once
/* 128-bit ids: write ids, upload ids, blob ids, witness incarnations.  Random, chosen by whoever
 * creates the thing; equal ids mean the same thing.  On the wire: 16 bytes. */
#include "common/base/slice.h"

#define ID_BYTES 16
#define ID_HEX_CHARS 32

struct id128 {
    uint8_t bytes[ID_BYTES];
};

static inline bool id128_eq(struct id128 a, struct id128 b)
{
    return memcmp(a.bytes, b.bytes, ID_BYTES) == 0;
}

static inline bool id128_is_zero(struct id128 a)
{
    struct id128 zero = {{0}};
    return id128_eq(a, zero);
}

static inline struct slice id128_slice(const struct id128 *id)
{
    return SLICE(id->bytes, ID_BYTES);
}

/* Returns: false when s is not ID_BYTES long (*ret untouched). */
static inline bool id128_from_slice(struct slice s, struct id128 *ret)
{
    if (s.len != ID_BYTES)
        return false;
    memcpy(ret->bytes, s.ptr, ID_BYTES);
    return true;
}

void id128_hex(struct id128 id, char ret[ID_HEX_CHARS + 1]);
bool id128_from_hex(struct slice hex, struct id128 *ret); /* false: not 32 hex digits */
