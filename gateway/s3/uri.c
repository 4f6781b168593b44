/* Percent-encoding, UTF-8, decimal numbers, bucket names: the lexical part of a request. */
#include "gateway/s3/request.h"

#include "common/base/check.h"

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool s3_percent_decode(struct arena *arena, struct slice s, bool plus_is_space, struct slice *ret)
{
    if ((s.len == 0 || !memchr(s.ptr, '%', s.len)) &&
        (!plus_is_space || s.len == 0 || !memchr(s.ptr, '+', s.len))) {
        *ret = s;
        return true;
    }
    uint8_t *out = arena_alloc(arena, s.len);
    size_t n = 0;
    if (!out)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '%') {
            int high = i + 2 < s.len ? hex_digit(s.ptr[i + 1]) : -1;
            int low = i + 2 < s.len ? hex_digit(s.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            out[n++] = (uint8_t)(high << 4 | low);
            i += 2;
        } else {
            out[n++] = plus_is_space && s.ptr[i] == '+' ? ' ' : s.ptr[i];
        }
    }
    *ret = SLICE(out, n);
    return true;
}

void s3_percent_encode(struct buf *b, struct slice s, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash))
            continue;
        const char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
        buf_append(b, s.ptr + from, i - from);
        buf_append(b, escape, sizeof(escape));
        from = i + 1;
    }
    if (from < s.len)
        buf_append(b, s.ptr + from, s.len - from);
}

/* Shortest forms only, no surrogates, nothing above U+10FFFF (RFC 3629). */
size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t c = p[0];
    if (c < 0x80)
        return 1;
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || left < len)
        return 0;
    uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t k = 2; k < len; k++)
        if ((p[k] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool utf8_valid(struct slice s)
{
    for (size_t i = 0; i < s.len;) {
        size_t len = utf8_sequence(s.ptr + i, s.len - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

bool parse_u64(struct slice s, uint64_t *ret)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned d = (unsigned)s.ptr[i] - '0';
        if (d > 9 || v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

static bool is_ipv4(struct slice s)
{
    unsigned dots = 0, digits = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '.') {
            if (digits == 0 || digits > 3)
                return false;
            dots++;
            digits = 0;
        } else if (s.ptr[i] >= '0' && s.ptr[i] <= '9') {
            digits++;
        } else {
            return false;
        }
    }
    return dots == 3 && digits > 0 && digits <= 3;
}

static bool has_suffix(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0;
}

/* Ref: "Bucket naming rules" of the S3 user guide, general purpose buckets. */
bool s3_bucket_name_valid(struct slice name)
{
    static const char *const prefixes[] = {"xn--", "sthree-", "amzn-s3-demo-"};
    static const char *const suffixes[] = {"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"};
    if (name.len < S3_BUCKET_NAME_MIN || name.len > S3_BUCKET_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool edge = i == 0 || i + 1 == name.len;
        if (!alnum && (edge || (c != '-' && c != '.')))
            return false;
        if (c == '.' && name.ptr[i + 1] == '.')
            return false;
    }
    if (is_ipv4(name))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++)
        if (slice_has_prefix(name, slice_cstr(prefixes[i])))
            return false;
    for (size_t i = 0; i < ARRAY_COUNT(suffixes); i++)
        if (has_suffix(name, slice_cstr(suffixes[i])))
            return false;
    return true;
}
