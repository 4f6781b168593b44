/* Budgets of bytes, nested. */
#include "gateway/blob/budget.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdlib.h>

struct budget *budget_new(struct budget *parent, uint64_t max)
{
    struct budget *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->max = max;
    b->refs = 1;
    b->parent = parent ? budget_ref(parent) : NULL;
    list_init(&b->waiters);
    return b;
}

/* ---- spare buffers ---- */

static struct budget *own_of_loop(struct budget *b)
{
    while (b->parent)
        b = b->parent;
    return b;
}

/* Frees so many, the oldest first. */
static void spares_drop(struct budget *own, unsigned count)
{
    CHECK(count <= own->spare_count);
    for (unsigned i = 0; i < count; i++) {
        own->spare_bytes -= own->spare[i]->cap;
        rcbuf_unref(own->spare[i]);
    }
    own->spare_count -= count;
    own->spare_least = MIN(own->spare_least, own->spare_count);
    memmove(own->spare, own->spare + count, own->spare_count * sizeof(*own->spare));
}

/* The newest of that size: its pages may still be in the processor's caches.  NULL: there is none.
 */
static struct rcbuf *spare_find(struct budget *own, size_t cap)
{
    for (unsigned i = own->spare_count; i-- > 0;) {
        struct rcbuf *buffer = own->spare[i];
        if (buffer->cap != cap)
            continue;
        own->spare_count--;
        own->spare_least = MIN(own->spare_least, own->spare_count);
        own->spare_bytes -= cap;
        memmove(own->spare + i, own->spare + i + 1, (own->spare_count - i) * sizeof(*own->spare));
        return buffer;
    }
    return NULL;
}

static void spare_keep(struct budget *own, struct rcbuf *buffer)
{
    if (!rcbuf_is_shared(buffer) && buffer->cap >= BUDGET_SPARE_BYTES_MIN &&
        own->used + own->spare_bytes + buffer->cap <= own->max) {
        if (own->spare_count == BUDGET_SPARES_MAX)
            spares_drop(own, 1);
        buffer->len = 0;
        own->spare[own->spare_count++] = buffer;
        own->spare_bytes += buffer->cap;
    } else {
        rcbuf_unref(buffer);
    }
}

void budget_trim(struct budget *b)
{
    CHECK(!b->parent);
    spares_drop(b, b->spare_least);
    b->spare_least = b->spare_count;
}

/* ---- bytes ---- */

struct budget *budget_ref(struct budget *b)
{
    b->refs++;
    return b;
}

void budget_unref(struct budget *b)
{
    if (!b || --b->refs > 0)
        return;
    CHECK(b->used == 0 && list_empty(&b->waiters));
    spares_drop(b, b->spare_count);
    budget_unref(b->parent);
    free(b);
}

bool budget_take(struct budget *b, uint64_t bytes)
{
    for (const struct budget *at = b; at; at = at->parent) {
        if (at->used + bytes > at->max)
            return false;
        if (at != b && at->eager_max && b->used > 0 && at->used + bytes > at->eager_max)
            return false;
    }
    for (struct budget *at = b; at; at = at->parent)
        at->used += bytes;
    struct budget *own = own_of_loop(b);
    while (own->used + own->spare_bytes > own->max)
        spares_drop(own, 1);
    return true;
}

struct rcbuf *budget_buffer(struct budget *b, size_t cap)
{
    struct rcbuf *spare = spare_find(own_of_loop(b), cap);
    return spare ? spare : rcbuf_new(cap);
}

int budget_take_buffer(struct budget *b, size_t cap, struct rcbuf **ret)
{
    struct budget *own = own_of_loop(b);
    struct rcbuf *spare = spare_find(own, cap);
    if (!budget_take(b, cap)) {
        if (spare)
            spare_keep(own, spare);
        return ERR_LIMIT;
    }
    struct rcbuf *buffer = spare ? spare : rcbuf_new(cap);
    if (!buffer) {
        budget_give(b, cap);
        return ERR_NOMEM;
    }
    *ret = buffer;
    return OK;
}

static void wake_all(struct budget *b)
{
    /* Those that come to wait again while being woken are not woken twice. */
    struct list woken;
    list_init(&woken);
    while (!list_empty(&b->waiters))
        list_push_back(&woken, list_pop_front(&b->waiters));
    while (!list_empty(&woken)) {
        struct budget_waiter *w = container_of(list_pop_front(&woken), struct budget_waiter, node);
        w->wake(w);
    }
}

static void untake(struct budget *b, uint64_t bytes)
{
    for (struct budget *at = b; at; at = at->parent) {
        CHECK(at->used >= bytes);
        at->used -= bytes;
    }
}

/* Waking may end requests, and with them their references to this budget. */
static void wake_waiters(struct budget *b)
{
    budget_ref(b);
    for (struct budget *at = b; at; at = at->parent)
        wake_all(at);
    budget_unref(b);
}

void budget_give(struct budget *b, uint64_t bytes)
{
    untake(b, bytes);
    wake_waiters(b);
}

void budget_give_buffer(struct budget *b, struct rcbuf **buffer)
{
    untake(b, (*buffer)->cap);
    spare_keep(own_of_loop(b), *buffer);
    *buffer = NULL;
    wake_waiters(b);
}

bool budget_exhausted(const struct budget *b, uint64_t bytes)
{
    while (b->parent)
        b = b->parent;
    return b->used + bytes > b->max;
}

void budget_wait(struct budget *b, struct budget_waiter *w)
{
    struct budget *at = b;
    list_remove(&w->node);
    /* Its own request's bytes come back sooner than a stranger's, if any are out. */
    if (b->used == 0 && b->parent)
        at = b->parent;
    list_push_back(&at->waiters, &w->node);
}
