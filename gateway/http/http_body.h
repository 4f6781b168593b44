#pragma once
/* Where a request's body ends: Content-Length or chunked transfer coding (RFC 9112, section 7).
 * Strict: CR LF everywhere, bounded lines; chunk extensions and trailing fields are skipped. Yields
 * slices of its input.  Pure. */
#include "common/base/slice.h"

#define HTTP_CHUNK_LINE_BYTES_MAX 1024
#define HTTP_TRAILER_BYTES_MAX 8192

struct http_body {
    int state;
    uint64_t left;   /* of the body, or of the chunk */
    unsigned digits; /* of the chunk's size */
    size_t line_bytes, trailer_bytes;
    bool chunked;
};

/* length: HTTP_BODY_CHUNKED or the number of bytes. */
void http_body_init(struct http_body *b, int64_t length);
bool http_body_done(const struct http_body *b);
/* Bytes still to come; UINT64_MAX when chunked and not done. */
uint64_t http_body_left(const struct http_body *b);

/* Take *ret_used bytes, of which *ret_data (perhaps empty) are the body's.  Takes nothing once
 * done. Returns: 0; ERR_PROTO. */
int http_body_step(struct http_body *b, struct slice in, size_t *ret_used, struct slice *ret_data);
