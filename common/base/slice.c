/* Growing and shared byte buffers. */
#include "common/base/slice.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool bytes_eq_nocase(const uint8_t *a, const uint8_t *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (a[i] != b[i] && lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

struct slice u64_text(uint64_t v, char text[U64_CHARS_MAX])
{
    size_t at = U64_CHARS_MAX;
    do
        text[--at] = (char)('0' + v % 10);
    while (v /= 10);
    return SLICE(text + at, U64_CHARS_MAX - at);
}

void buf_fini(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Is there room already?  The way of nearly all appends. */
static inline bool has_room(const struct buf *b, size_t extra)
{
    return !b->failed && b->cap - b->len >= extra;
}

int buf_reserve(struct buf *b, size_t extra)
{
    if (b->failed)
        return ERR_NOMEM;
    if (has_room(b, extra))
        return OK;
    if (extra > SIZE_MAX / 2 - b->len) {
        b->failed = true;
        return ERR_NOMEM;
    }
    size_t cap = b->cap ? b->cap : 64;
    while (cap < b->len + extra)
        cap *= 2;
    uint8_t *ptr = realloc(b->ptr, cap);
    if (!ptr) {
        b->failed = true;
        return ERR_NOMEM;
    }
    b->ptr = ptr;
    b->cap = cap;
    return OK;
}

void buf_append(struct buf *b, const void *ptr, size_t len)
{
    if (len == 0 || (!has_room(b, len) && buf_reserve(b, len) != OK))
        return;
    memcpy(b->ptr + b->len, ptr, len);
    b->len += len;
}

void buf_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.ptr, s.len);
}

void buf_cstr(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_u8(struct buf *b, uint8_t v)
{
    if (has_room(b, 1) || buf_reserve(b, 1) == OK)
        b->ptr[b->len++] = v;
}

void buf_be16(struct buf *b, uint16_t v)
{
    uint8_t x[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, x, sizeof(x));
}

void buf_be32(struct buf *b, uint32_t v)
{
    uint8_t x[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, x, sizeof(x));
}

void buf_be64(struct buf *b, uint64_t v)
{
    buf_be32(b, (uint32_t)(v >> 32));
    buf_be32(b, (uint32_t)v);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    if (buf_reserve(b, (size_t)n + 1) != OK)
        return;
    va_start(ap, fmt);
    vsnprintf((char *)b->ptr + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

struct rcbuf *rcbuf_new(size_t cap)
{
    if (cap > SIZE_MAX / 2)
        return NULL;
    struct rcbuf *b = malloc(sizeof(*b) + cap);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    b->len = 0;
    b->cap = cap;
    return b;
}

struct rcbuf *rcbuf_copy(struct slice s)
{
    struct rcbuf *b = rcbuf_new(s.len);
    if (!b)
        return NULL;
    if (s.len)
        memcpy(b->data, s.ptr, s.len);
    b->len = s.len;
    return b;
}

struct rcbuf *rcbuf_ref(struct rcbuf *b)
{
    if (b)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void rcbuf_unref(struct rcbuf *b)
{
    if (!b)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1)
        free(b);
}

bool rcbuf_is_shared(const struct rcbuf *b)
{
    return atomic_load_explicit(&b->refs, memory_order_acquire) > 1;
}

struct payload payload_ref(struct payload p)
{
    rcbuf_ref(p.owner);
    return p;
}

void payload_unref(struct payload *p)
{
    rcbuf_unref(p->owner);
    *p = (struct payload){0};
}
