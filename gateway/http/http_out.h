#pragma once
/* What a connection has yet to send: a queue of pieces, each either a shared buffer or bytes copied
 * into the queue's own buffer, so that the head and a small body leave in one system call and cost
 * no allocation.  Pure. */
#include "common/base/slice.h"

#define HTTP_OUT_IOV_MAX 64

struct http_out_item {
    struct rcbuf *owner; /* NULL: in `own`, at `at` */
    const uint8_t *ptr;
    size_t at, len;
};

struct http_out {
    struct http_out_item *items;
    size_t head, count, cap; /* items[head .. head+count) */
    size_t bytes;            /* queued in all */
    struct buf own;
    bool pinned; /* a write under way points into `own`: it must neither move nor be reused */
};

void http_out_fini(struct http_out *o);
void http_out_clear(struct http_out *o);   /* drop everything queued */
void http_out_release(struct http_out *o); /* give the memory back, if nothing is queued */

/* Returns: 0; ERR_NOMEM (nothing queued). */
int http_out_copy(struct http_out *o, struct slice s);
int http_out_ref(struct http_out *o, struct payload p); /* p.owner not NULL */

/* The first pieces, up to `max`; valid until the queue is next changed (with `pinned`: till then
 * consumed).  Returns their number. */
size_t http_out_peek(const struct http_out *o, struct slice *ret, size_t max);
/* These bytes have been sent. */
void http_out_consume(struct http_out *o, size_t bytes);
