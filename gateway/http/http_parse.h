#pragma once
/* Reads the head of an HTTP/1 request: request line and fields.  Incremental, without I/O.  The
 * only file that knows http-parser; bodies are framed in http_body.c.
 *
 * Stricter than http-parser: no folded lines, bounded size and number of fields, one Host. */
#include "gateway/http/http_server.h"

enum http_parse_status {
    HTTP_PARSE_MORE, /* all input taken, the head is not complete */
    HTTP_PARSE_DONE, /* complete; what follows *ret_used belongs to the body */
    HTTP_PARSE_BAD,
    HTTP_PARSE_TOO_LARGE,
    HTTP_PARSE_BAD_METHOD,
    HTTP_PARSE_BAD_VERSION,
    HTTP_PARSE_BAD_ENCODING, /* a Transfer-Encoding other than chunked */
    HTTP_PARSE_BAD_EXPECT,
    HTTP_PARSE_NO_MEMORY,
};

struct http_span {
    uint32_t at, len;
};

struct http_parse {
    uint64_t impl[8];                /* http-parser's own */
    struct buf text;                 /* target, names and values, one behind the other */
    struct http_span target, *spans; /* name, value, name, value, ... */
    size_t span_count, span_cap;
    size_t bytes, bytes_max, fields_max;
    const char *data, *data_end; /* of the input at hand */
    bool in_value, value_open, done;
    enum http_parse_status error;
};

struct http_head {
    enum http_verb method;
    const char *method_name;
    unsigned minor; /* HTTP/1.x */
    struct slice target;
    struct http_fields fields;
    int64_t content_length; /* HTTP_BODY_CHUNKED, 0 or the number */
    bool keep_alive, expect_continue;
};

void http_parse_init(struct http_parse *p, size_t bytes_max, size_t fields_max);
void http_parse_fini(struct http_parse *p);
void http_parse_reset(struct http_parse *p);       /* for the next request; keeps its memory */
void http_parse_release(struct http_parse *p);     /* reset, and give the memory back */
bool http_parse_begun(const struct http_parse *p); /* has anything of a request come? */

/* Take input.  Returns MORE, DONE, or why the request cannot be understood. */
enum http_parse_status http_parse_step(struct http_parse *p, struct slice in, size_t *ret_used);

/* After DONE: the head, its slices in p's text until the next reset, its fields in the arena.
 * Returns: DONE, or what is wrong with the fields' meaning. */
enum http_parse_status http_parse_head(struct http_parse *p, struct arena *arena,
                                       struct http_head *ret);
