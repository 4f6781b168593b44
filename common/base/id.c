/* Hexadecimal text of 128-bit ids. */
#include "common/base/id.h"

void id128_hex(struct id128 id, char ret[ID_HEX_CHARS + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < ID_BYTES; i++) {
        ret[2 * i] = digits[id.bytes[i] >> 4];
        ret[2 * i + 1] = digits[id.bytes[i] & 15];
    }
    ret[ID_HEX_CHARS] = '\0';
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool id128_from_hex(struct slice hex, struct id128 *ret)
{
    struct id128 id;
    if (hex.len != ID_HEX_CHARS)
        return false;
    for (size_t i = 0; i < ID_BYTES; i++) {
        int hi = hex_value(hex.ptr[2 * i]), lo = hex_value(hex.ptr[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        id.bytes[i] = (uint8_t)(hi << 4 | lo);
    }
    *ret = id;
    return true;
}
