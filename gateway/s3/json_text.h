#pragma once
/* Strings of JSON documents that are written, not read.  Pure. */
#include "common/base/slice.h"

/* s is UTF-8: in quotes, appended. */
static inline void json_text(struct buf *b, struct slice s)
{
    buf_u8(b, '"');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if (c == '"' || c == '\\') {
            buf_u8(b, '\\');
            buf_u8(b, c);
        } else if (c < 0x20 || c == 0x7F) {
            buf_printf(b, "\\u%04x", c);
        } else {
            buf_u8(b, c);
        }
    }
    buf_u8(b, '"');
}
