/* Budgets of bytes, nested. */
#include "gateway/blob/budget.h"

#include "common/base/check.h"

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
    return true;
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

void budget_give(struct budget *b, uint64_t bytes)
{
    for (struct budget *at = b; at; at = at->parent) {
        CHECK(at->used >= bytes);
        at->used -= bytes;
    }
    /* Waking may end requests, and with them their references to this budget. */
    budget_ref(b);
    for (struct budget *at = b; at; at = at->parent)
        wake_all(at);
    budget_unref(b);
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
