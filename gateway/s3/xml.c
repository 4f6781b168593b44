/* The XML writer. */
#include "gateway/s3/xml.h"

#include "gateway/s3/time.h"

void xml_declaration(struct buf *b)
{
    buf_cstr(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static const char *escape_of(uint8_t c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&apos;";
    case '\r': return "&#13;"; /* a parser would make it a line feed */
    case '\n': return "&#10;"; /* in an attribute it would become a space */
    case '\t': return "&#9;";
    default: return c < 0x20 ? REPLACEMENT : NULL;
    }
}

/* What to write instead of the sequence at p; NULL: itself.  *ret_len: of the sequence.  U+FFFE and
 * U+FFFF are UTF-8 but no XML characters; in an error document there may be bytes that are not even
 * UTF-8. */
static const char *instead_of(const uint8_t *p, size_t left, size_t *ret_len)
{
    *ret_len = 1;
    if (p[0] < 0x80)
        return escape_of(p[0]);
    size_t len = utf8_sequence(p, left);
    if (len == 0)
        return REPLACEMENT;
    *ret_len = len;
    bool noncharacter = len == 3 && p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe;
    return noncharacter ? REPLACEMENT : NULL;
}

void xml_escape(struct buf *b, struct slice text)
{
    size_t from = 0, len = 0;
    for (size_t i = 0; i < text.len; i += len) {
        const char *instead = instead_of(text.ptr + i, text.len - i, &len);
        if (!instead)
            continue;
        buf_append(b, text.ptr + from, i - from);
        buf_cstr(b, instead);
        from = i + len;
    }
    if (from < text.len)
        buf_append(b, text.ptr + from, text.len - from);
}

void xml_open(struct buf *b, const char *name)
{
    buf_u8(b, '<');
    buf_cstr(b, name);
    buf_u8(b, '>');
}

void xml_open_ns(struct buf *b, const char *name)
{
    buf_u8(b, '<');
    buf_cstr(b, name);
    buf_cstr(b, " xmlns=\"" S3_XMLNS "\">");
}

void xml_close(struct buf *b, const char *name)
{
    buf_cstr(b, "</");
    buf_cstr(b, name);
    buf_u8(b, '>');
}

void xml_slice(struct buf *b, const char *name, struct slice value)
{
    xml_open(b, name);
    xml_escape(b, value);
    xml_close(b, name);
}

void xml_cstr(struct buf *b, const char *name, const char *value)
{
    xml_slice(b, name, slice_cstr(value));
}

void xml_u64(struct buf *b, const char *name, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    xml_open(b, name);
    buf_append(b, digits + at, sizeof(digits) - at);
    xml_close(b, name);
}

void xml_bool(struct buf *b, const char *name, bool value)
{
    xml_cstr(b, name, value ? "true" : "false");
}

void xml_time(struct buf *b, const char *name, uint64_t ms)
{
    char text[ISO8601_MS_CHARS + 1];
    iso8601_format(ms, text);
    xml_cstr(b, name, text);
}

void xml_key(struct buf *b, const char *name, struct slice key, bool url)
{
    if (!url) {
        xml_slice(b, name, key);
        return;
    }
    static const char digits[] = "0123456789ABCDEF";
    xml_open(b, name);
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = key.ptr[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '*' || c == '/';
        if (plain) {
            buf_u8(b, c);
        } else if (c == ' ') {
            buf_u8(b, '+');
        } else {
            const char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
            buf_append(b, escape, sizeof(escape));
        }
    }
    xml_close(b, name);
}
