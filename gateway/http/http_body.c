/*  SIZE → EXTENSION → SIZE_LF → DATA → DATA_CR → DATA_LF → SIZE ...
 *  SIZE (0) → SIZE_LF → TRAILER ⇄ TRAILER_LINE → TRAILER_LF → DONE */
#include "gateway/http/http_body.h"

#include "common/base/err.h"
#include "gateway/http/http_server.h"

enum {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
    TRAILER_LINE,
    TRAILER_LINE_LF,
    TRAILER_LF,
    DONE
};

#define SIZE_DIGITS_MAX 15

void http_body_init(struct http_body *b, int64_t length)
{
    *b = (struct http_body){.chunked = length == HTTP_BODY_CHUNKED};
    b->state = b->chunked ? SIZE : length == 0 ? DONE : DATA;
    b->left = b->chunked ? 0 : (uint64_t)length;
}

bool http_body_done(const struct http_body *b)
{
    return b->state == DONE;
}

uint64_t http_body_left(const struct http_body *b)
{
    return b->state == DONE ? 0 : b->chunked ? UINT64_MAX : b->left;
}

static int take_size(struct http_body *b, uint8_t c)
{
    unsigned digit = 16;
    if (c >= '0' && c <= '9')
        digit = (unsigned)(c - '0');
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        digit = (unsigned)((c | 0x20) - 'a') + 10;
    if (digit < 16) {
        if (++b->digits > SIZE_DIGITS_MAX)
            return ERR_PROTO;
        b->left = b->left << 4 | digit;
        return OK;
    }
    if (b->digits == 0)
        return ERR_PROTO;
    if (c == '\r')
        b->state = SIZE_LF;
    else if (c == ';' || c == ' ' || c == '\t')
        b->state = EXTENSION;
    else
        return ERR_PROTO;
    return OK;
}

/* One byte of the framing. */
static int take_byte(struct http_body *b, uint8_t c)
{
    switch (b->state) {
    case SIZE: return take_size(b, c);
    case EXTENSION:
        if (c == '\n' || ++b->line_bytes > HTTP_CHUNK_LINE_BYTES_MAX)
            return ERR_PROTO;
        if (c == '\r')
            b->state = SIZE_LF;
        return OK;
    case SIZE_LF:
        b->state = b->left ? DATA : TRAILER;
        b->digits = 0;
        b->line_bytes = 0;
        return c == '\n' ? OK : ERR_PROTO;
    case DATA_CR: b->state = DATA_LF; return c == '\r' ? OK : ERR_PROTO;
    case DATA_LF: b->state = SIZE; return c == '\n' ? OK : ERR_PROTO;
    case TRAILER:
        b->state = c == '\r' ? TRAILER_LF : TRAILER_LINE;
        return c == '\n' ? ERR_PROTO : OK;
    case TRAILER_LINE:
        if (c == '\n' || ++b->trailer_bytes > HTTP_TRAILER_BYTES_MAX)
            return ERR_PROTO;
        if (c == '\r')
            b->state = TRAILER_LINE_LF;
        return OK;
    case TRAILER_LINE_LF: b->state = TRAILER; return c == '\n' ? OK : ERR_PROTO;
    case TRAILER_LF: b->state = DONE; return c == '\n' ? OK : ERR_PROTO;
    default: return ERR_PROTO;
    }
}

int http_body_step(struct http_body *b, struct slice in, size_t *ret_used, struct slice *ret_data)
{
    size_t at = 0;
    *ret_data = SLICE_EMPTY;
    *ret_used = 0;
    while (at < in.len && b->state != DATA && b->state != DONE) {
        int err = take_byte(b, in.ptr[at++]);
        if (err != OK)
            return err;
    }
    if (b->state == DATA && at < in.len) {
        size_t n = b->left < in.len - at ? (size_t)b->left : in.len - at;
        *ret_data = SLICE(in.ptr + at, n);
        at += n;
        b->left -= n;
        if (b->left == 0)
            b->state = b->chunked ? DATA_CR : DONE;
    }
    *ret_used = at;
    return OK;
}
