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
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    return true;
}

static inline bool slice_has_prefix_nocase(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_eq_nocase(SLICE(s.ptr, prefix.len), prefix);
}

/* The first field of this name, or NULL. */
static inline const struct http_field *http_fields_find(struct http_fields f, const char *name)
{
    struct slice want = slice_cstr(name);
    for (size_t i = 0; i < f.count; i++)
        if (slice_eq_nocase(f.ptr[i].name, want))
            return &f.ptr[i];
    return NULL;
}

/* The value of the first field of this name; {NULL, 0} when there is none (an empty value has a
 * pointer). */
static inline struct slice http_fields_get(struct http_fields f, const char *name)
{
    const struct http_field *field = http_fields_find(f, name);
    return field ? field->value : SLICE_EMPTY;
}

static inline size_t http_fields_count(struct http_fields f, const char *name)
{
    size_t n = 0;
    struct slice want = slice_cstr(name);
    for (size_t i = 0; i < f.count; i++)
        n += slice_eq_nocase(f.ptr[i].name, want);
    return n;
}
