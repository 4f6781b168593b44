/* The send queue. */
#include "gateway/http/http_out.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdlib.h>

#define OWN_BYTES_KEPT 16384
/* The own buffer begins anew only when nothing is queued: beyond this a queue that never becomes
 * empty copies into buffers that go with their piece. */
#define OWN_BYTES_MAX 65536

void http_out_clear(struct http_out *o)
{
    for (size_t i = 0; i < o->count; i++)
        rcbuf_unref(o->items[o->head + i].owner);
    o->head = o->count = 0;
    o->bytes = 0;
    if (!o->pinned)
        buf_clear(&o->own);
}

void http_out_fini(struct http_out *o)
{
    o->pinned = false;
    http_out_clear(o);
    buf_fini(&o->own);
    free(o->items);
    *o = (struct http_out){0};
}

void http_out_release(struct http_out *o)
{
    if (o->count == 0 && !o->pinned)
        http_out_fini(o);
}

static struct http_out_item *add(struct http_out *o)
{
    if (o->head + o->count == o->cap) {
        if (o->head > o->cap / 2) {
            memmove(o->items, o->items + o->head, o->count * sizeof(*o->items));
            o->head = 0;
        } else {
            size_t cap = o->cap ? o->cap * 2 : 8;
            struct http_out_item *bigger = realloc(o->items, cap * sizeof(*bigger));
            if (!bigger)
                return NULL;
            o->items = bigger;
            o->cap = cap;
        }
    }
    return &o->items[o->head + o->count++];
}

int http_out_ref(struct http_out *o, struct payload p)
{
    CHECK(p.owner);
    if (p.bytes.len == 0)
        return OK;
    struct http_out_item *item = add(o);
    if (!item)
        return ERR_NOMEM;
    *item =
        (struct http_out_item){.owner = rcbuf_ref(p.owner), .ptr = p.bytes.ptr, .len = p.bytes.len};
    o->bytes += p.bytes.len;
    return OK;
}

int http_out_copy(struct http_out *o, struct slice s)
{
    if (s.len == 0)
        return OK;
    if (o->pinned || (o->own.len > 0 && o->own.len + s.len > OWN_BYTES_MAX)) {
        struct payload p = {.owner = rcbuf_copy(s)};
        if (!p.owner)
            return ERR_NOMEM;
        p.bytes = SLICE(p.owner->data, s.len);
        int err = http_out_ref(o, p);
        rcbuf_unref(p.owner);
        return err;
    }
    size_t at = o->own.len;
    buf_append(&o->own, s.ptr, s.len);
    if (o->own.failed) {
        o->own.failed = false;
        return ERR_NOMEM;
    }
    struct http_out_item *last = o->count ? &o->items[o->head + o->count - 1] : NULL;
    if (last && !last->owner && last->at + last->len == at) {
        last->len += s.len;
    } else {
        struct http_out_item *item = add(o);
        if (!item) {
            o->own.len = at;
            return ERR_NOMEM;
        }
        *item = (struct http_out_item){.at = at, .len = s.len};
    }
    o->bytes += s.len;
    return OK;
}

size_t http_out_peek(const struct http_out *o, struct slice *ret, size_t max)
{
    size_t n = MIN(o->count, max);
    for (size_t i = 0; i < n; i++) {
        const struct http_out_item *item = &o->items[o->head + i];
        ret[i] = SLICE(item->owner ? item->ptr : o->own.ptr + item->at, item->len);
    }
    return n;
}

void http_out_consume(struct http_out *o, size_t bytes)
{
    CHECK(bytes <= o->bytes);
    o->bytes -= bytes;
    while (bytes > 0) {
        struct http_out_item *item = &o->items[o->head];
        size_t n = MIN(bytes, item->len);
        item->ptr = item->owner ? item->ptr + n : NULL;
        item->at += n;
        item->len -= n;
        bytes -= n;
        if (item->len)
            break;
        rcbuf_unref(item->owner);
        o->head++;
        o->count--;
    }
    if (o->count)
        return;
    o->head = 0;
    if (o->pinned)
        return;
    buf_clear(&o->own);
    if (o->own.cap > OWN_BYTES_KEPT)
        buf_fini(&o->own);
}
