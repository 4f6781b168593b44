#pragma once
/* A header field, and a list of them in the order they were sent: what the HTTP server and the S3
 * layer have in common.  Everything is borrowed.  Names compare without regard to case (ASCII). */
#include "common/base/slice.h"

struct http_field {
    struct slice name;  /* as sent */
    struct slice value; /* without the white space around it */
};

struct http_fields {
    const struct http_field *ptr;
    size_t count;
};

static inline uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static inline bool slice_eq_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && bytes_eq_nocase(a.ptr, b.ptr, a.len);
}

static inline bool slice_has_prefix_nocase(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_eq_nocase(SLICE(s.ptr, prefix.len), prefix);
}

/* What a field's name may be (RFC 9110, 5.6.2: token); not empty. */
static inline bool http_name_valid(struct slice s)
{
    static const bool of_token[256] = {
        ['!'] = true,         ['#' ... '\''] = true, ['*'] = true,         ['+'] = true,
        ['-'] = true,         ['.'] = true,          ['0' ... '9'] = true, ['A' ... 'Z'] = true,
        ['^' ... 'z'] = true, ['|'] = true,          ['~'] = true,
    };
    for (size_t i = 0; i < s.len; i++)
        if (!of_token[s.ptr[i]])
            return false;
    return s.len > 0;
}

/* What a field's value may be made of: no control characters but the tab (RFC 9110, 5.5).  Eight
 * bytes at a time: every byte of every request and answer comes past here. */
static inline bool http_value_valid(struct slice s)
{
    const uint64_t ones = 0x0101010101010101ull, tops = 0x8080808080808080ull;
    size_t i = 0;
    for (; i + sizeof(uint64_t) <= s.len; i += sizeof(uint64_t)) {
        uint64_t x;
        memcpy(&x, s.ptr + i, sizeof(x));
        uint64_t del = x ^ ones * 0x7f;
        if (((x - ones * 0x20) & ~x & tops) | ((del - ones) & ~del & tops))
            break; /* some byte is below 0x20, or 0x7f: which one? */
    }
    for (; i < s.len; i++)
        if ((s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
            return false;
    return true;
}
