#pragma once
/* Borrowed bytes (slice), growing bytes (buf), and shared immutable bytes (rcbuf).
 *
 * A slice never owns.  A buf owns what it points to.  An rcbuf is reference counted, may be shared
 * between loops (its count is atomic), and is not written to once it is shared. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *ptr;
    size_t len;
};

#define SLICE(p, n) ((struct slice){(const uint8_t *)(p), (n)})
#define SLICE_EMPTY ((struct slice){NULL, 0})
#define SLICE_LIT(s) ((struct slice){(const uint8_t *)(s), sizeof(s) - 1})

static inline struct slice slice_cstr(const char *s)
{
    return SLICE(s, strlen(s));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Without regard to case (ASCII). */
bool bytes_eq_nocase(const uint8_t *a, const uint8_t *b, size_t len);

/* Byte order, as memcmp; a proper prefix sorts first. */
static inline int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_has_prefix(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* Without the blanks (space, tab) around it. */
static inline struct slice slice_trim(struct slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = SLICE(s.ptr + 1, s.len - 1);
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* A number's decimal digits, somewhere in `text`, without a NUL: what snprintf() would write takes
 * twenty times as long, and every answer has some. */
#define U64_CHARS_MAX 20
struct slice u64_text(uint64_t v, char text[U64_CHARS_MAX]);

/* A growing byte buffer.  Zero-initialised is empty and valid.  After an allocation failure it is
 * `failed`: further appends do nothing, so that a builder checks once at the end. */
struct buf {
    uint8_t *ptr;
    size_t len, cap;
    bool failed;
};

void buf_fini(struct buf *b);                               /* frees; b is empty and valid again */
void buf_clear(struct buf *b);                              /* len = 0, keeps the memory */
int buf_reserve(struct buf *b, size_t extra);               /* OK; ERR_NOMEM (and b->failed) */
void buf_append(struct buf *b, const void *ptr, size_t len); /* sets b->failed on ERR_NOMEM */
void buf_slice(struct buf *b, struct slice s);
void buf_cstr(struct buf *b, const char *s);
void buf_u8(struct buf *b, uint8_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline struct slice buf_view(const struct buf *b)
{
    return SLICE(b->ptr, b->len);
}

/* Reference-counted bytes. */
struct rcbuf {
    _Atomic uint32_t refs;
    size_t len; /* used bytes; at most cap */
    size_t cap;
    uint8_t data[];
};

struct rcbuf *rcbuf_new(size_t cap);                    /* one reference, len 0; NULL: out of memory */
struct rcbuf *rcbuf_copy(struct slice s);               /* one reference; NULL: out of memory */
struct rcbuf *rcbuf_ref(struct rcbuf *b);               /* returns b; NULL is fine */
void rcbuf_unref(struct rcbuf *b);                      /* NULL is fine */
/* Has anyone else a reference?  false: the only holder may write to it again. */
bool rcbuf_is_shared(const struct rcbuf *b);

/* A slice that keeps the rcbuf it points into alive (owner may be NULL: the bytes are borrowed). */
struct payload {
    struct rcbuf *owner;
    struct slice bytes;
};

struct payload payload_ref(struct payload p);
void payload_unref(struct payload *p); /* drops the reference and empties *p */
