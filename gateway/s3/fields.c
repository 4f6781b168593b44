/* Header fields by name. */
#include "gateway/s3/fields.h"

const struct http_field *http_fields_find_slice(struct http_fields f, struct slice name)
{
    for (size_t i = 0; i < f.count; i++)
        if (slice_eq_nocase(f.ptr[i].name, name))
            return &f.ptr[i];
    return NULL;
}

struct slice http_fields_get_slice(struct http_fields f, struct slice name)
{
    const struct http_field *field = http_fields_find_slice(f, name);
    return field ? field->value : SLICE_EMPTY;
}

size_t http_fields_count(struct http_fields f, const char *name)
{
    size_t n = 0;
    struct slice want = slice_cstr(name);
    for (size_t i = 0; i < f.count; i++)
        n += slice_eq_nocase(f.ptr[i].name, want);
    return n;
}

bool http_fields_any(struct http_fields f, struct slice prefix)
{
    for (size_t i = 0; i < f.count; i++)
        if (slice_has_prefix_nocase(f.ptr[i].name, prefix))
            return true;
    return false;
}
