/* Base64 and hexadecimal. */
#include "common/crypto/codec.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(const char *alphabet, struct slice s, bool pad, char *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i += 3) {
        size_t left = s.len - i;
        uint32_t v = (uint32_t)s.ptr[i] << 16;
        if (left > 1)
            v |= (uint32_t)s.ptr[i + 1] << 8;
        if (left > 2)
            v |= s.ptr[i + 2];
        ret[n++] = alphabet[v >> 18];
        ret[n++] = alphabet[v >> 12 & 63];
        if (left > 1)
            ret[n++] = alphabet[v >> 6 & 63];
        else if (pad)
            ret[n++] = '=';
        if (left > 2)
            ret[n++] = alphabet[v & 63];
        else if (pad)
            ret[n++] = '=';
    }
    return n;
}

static int value_of(uint8_t c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    if (c == (url ? '_' : '/'))
        return 63;
    return -1;
}

/* s without its padding. */
static ssize_t decode(struct slice s, bool url, uint8_t *ret, size_t cap)
{
    if (s.len % 4 == 1 || s.len / 4 * 3 + s.len % 4 * 3 / 4 > cap)
        return -1;
    size_t n = 0;
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < s.len; i++) {
        int v = value_of(s.ptr[i], url);
        if (v < 0)
            return -1;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            ret[n++] = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    return bits ? -1 : (ssize_t)n;
}

size_t base64_encode(struct slice s, char *ret)
{
    return encode(standard, s, true, ret);
}

size_t base64url_encode(struct slice s, char *ret)
{
    return encode(url_safe, s, false, ret);
}

ssize_t base64_decode(struct slice s, uint8_t *ret, size_t cap)
{
    if (s.len % 4)
        return -1;
    for (int i = 0; i < 2 && s.len && s.ptr[s.len - 1] == '='; i++)
        s.len--;
    return decode(s, false, ret, cap);
}

ssize_t base64url_decode(struct slice s, uint8_t *ret, size_t cap)
{
    return decode(s, true, ret, cap);
}

void hex_encode(struct slice s, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < s.len; i++) {
        ret[2 * i] = digits[s.ptr[i] >> 4];
        ret[2 * i + 1] = digits[s.ptr[i] & 15];
    }
}

/* The value of a hexadecimal digit, and 1 more; 0: it is none. */
static const uint8_t hex_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

bool hex_decode(struct slice s, uint8_t *ret, size_t len)
{
    if (s.len % 2 || s.len / 2 != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned high = hex_values[s.ptr[2 * i]], low = hex_values[s.ptr[2 * i + 1]];
        if (!high || !low)
            return false;
        ret[i] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    return true;
}
