#pragma once
/* Looking up header fields by their names.  A request has some ten fields and is asked for some
 * fifty: what is asked lies in one place, not in every caller, since the code of a request is read
 * from memory about once for each. */
#include "gateway/http/field.h"

const struct http_field *http_fields_find_slice(struct http_fields f, struct slice name);

/* The first field of this name, or NULL. */
static inline const struct http_field *http_fields_find(struct http_fields f, const char *name)
{
    return http_fields_find_slice(f, slice_cstr(name));
}

/* The value of the first field of this name; {NULL, 0} when there is none (an empty value has a
 * pointer). */
struct slice http_fields_get_slice(struct http_fields f, struct slice name);
static inline struct slice http_fields_get(struct http_fields f, const char *name)
{
    return http_fields_get_slice(f, slice_cstr(name));
}

size_t http_fields_count(struct http_fields f, const char *name);
/* Is there one whose name begins so? */
bool http_fields_any(struct http_fields f, struct slice prefix);
