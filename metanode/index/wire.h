#pragma once
/* Just enough of the protobuf wire format to copy rows into responses without building objects: a
 * reader that walks the fields of a packed message, and writers of varints and tagged fields. */
#include "common/base/cursor.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;     /* VARINT, FIXED64, FIXED32 */
    struct slice bytes; /* BYTES: the content */
    struct slice whole; /* tag and all */
};

static inline uint64_t wire_varint(struct cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = cursor_u8(c);
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80))
            return c->failed ? 0 : v;
    }
    c->failed = true;
    return 0;
}

static inline uint64_t wire_le(struct cursor *c, unsigned bytes)
{
    struct slice s = cursor_bytes(c, bytes);
    uint64_t v = 0;
    for (size_t i = s.len; i > 0; i--)
        v = v << 8 | s.ptr[i - 1];
    return v;
}

/* The next field; false at the end, or at malformed bytes (then c->failed). */
static inline bool wire_next(struct cursor *c, struct wire_field *ret)
{
    if (c->failed || cursor_left(c) == 0)
        return false;
    const uint8_t *begin = c->ptr;
    uint64_t tag = wire_varint(c);
    *ret = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    switch (ret->type) {
    case WIRE_VARINT: ret->value = wire_varint(c); break;
    case WIRE_FIXED64: ret->value = wire_le(c, 8); break;
    case WIRE_FIXED32: ret->value = wire_le(c, 4); break;
    case WIRE_BYTES: ret->bytes = cursor_bytes(c, wire_varint(c)); break;
    default: c->failed = true;
    }
    if (c->failed)
        return false;
    ret->whole = SLICE(begin, (size_t)(c->ptr - begin));
    return true;
}

enum { WIRE_VARINT_BYTES_MAX = 10 };

/* Writers into memory that the caller has reserved; each returns the new end. */
static inline uint8_t *wire_put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline size_t wire_varint_bytes(uint64_t v)
{
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

/* A field below 16; nothing for the default value, as proto3 has it. */
static inline uint8_t *wire_put_uint(uint8_t *p, unsigned number, uint64_t v)
{
    if (v == 0)
        return p;
    *p++ = (uint8_t)(number << 3 | WIRE_VARINT);
    return wire_put_varint(p, v);
}

static inline uint8_t *wire_put_bytes(uint8_t *p, unsigned number, struct slice s)
{
    if (s.len == 0)
        return p;
    *p++ = (uint8_t)(number << 3 | WIRE_BYTES);
    p = wire_put_varint(p, s.len);
    memcpy(p, s.ptr, s.len);
    return p + s.len;
}

static inline void wire_append_varint(struct buf *b, uint64_t v)
{
    uint8_t tmp[WIRE_VARINT_BYTES_MAX];
    buf_append(b, tmp, (size_t)(wire_put_varint(tmp, v) - tmp));
}

/* A bytes field below 16, also when empty: an element of a repeated field counts as it is. */
static inline void wire_append_bytes(struct buf *b, unsigned number, struct slice s)
{
    buf_u8(b, (uint8_t)(number << 3 | WIRE_BYTES));
    wire_append_varint(b, s.len);
    buf_slice(b, s);
}
