#pragma once
/* An S3 request from "METHOD target\nName: value\n...", for the fuzz targets. */
#include "gateway/s3/request.h"

struct request_text {
    struct arena arena;
    struct http_field fields[64];
    size_t count;
    enum s3_code code;
    struct slice rest; /* behind an empty line */
};

static inline struct slice request_text_line(struct slice *text)
{
    const uint8_t *end = text->len ? memchr(text->ptr, '\n', text->len) : NULL;
    size_t len = end ? (size_t)(end - text->ptr) : text->len;
    struct slice line = SLICE(text->ptr, len);
    size_t used = len + (end != NULL);
    *text = SLICE(text->ptr + (text->ptr ? used : 0), text->len - used);
    return line;
}

static inline void request_text_init(struct request_text *t, struct slice text,
                                     struct s3_request *ret, struct s3_fault *fault)
{
    static const struct slice domains[] = {SLICE_LIT("s3.amazonaws.com")};
    static const struct s3_addressing addressing = {.base_domains = domains, .base_domain_count = 1};
    struct slice line = request_text_line(&text);
    const uint8_t *space = line.len ? memchr(line.ptr, ' ', line.len) : NULL;
    size_t method_len = space ? (size_t)(space - line.ptr) : line.len;
    struct slice method = SLICE(line.ptr, method_len);
    struct slice target =
        space ? SLICE(space + 1, line.len - method_len - 1) : SLICE((const uint8_t *)"/", 1);
    arena_init(&t->arena, 4 << 20);
    t->count = 0;
    while (text.len && t->count < 64) {
        struct slice field = request_text_line(&text);
        const uint8_t *colon = field.len ? memchr(field.ptr, ':', field.len) : NULL;
        if (!colon)
            break;
        size_t n = (size_t)(colon - field.ptr);
        struct slice value = SLICE(colon + 1, field.len - n - 1);
        while (value.len && value.ptr[0] == ' ')
            value = SLICE(value.ptr + 1, value.len - 1);
        t->fields[t->count++] = (struct http_field){SLICE(field.ptr, n), value};
    }
    t->rest = text;
    t->code = s3_request_parse(&t->arena, &addressing, method, target,
                               (struct http_fields){t->fields, t->count}, ret, fault);
}

static inline void request_text_fini(struct request_text *t)
{
    arena_fini(&t->arena);
}
