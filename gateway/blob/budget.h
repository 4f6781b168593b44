#pragma once
/* A bound on the bytes that bodies under way may take: one for the loop, one a request below it.
 *
 * Bytes are taken before a buffer is made and given back when the last user of the buffer is done,
 * which may be long after its request was answered (a straggling replica): hence the references. */
#include "common/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct budget {
    uint64_t used, max;
    /* Above this only those below may take that hold nothing yet: each body moves on, but none reads far
     * ahead while many are under way.  0: no such bound. */
    uint64_t eager_max;
    struct budget *parent; /* referenced; NULL: the loop's own */
    unsigned refs;
    struct list waiters;
};

/* Waits for bytes to be given back; woken once, then it tries again. */
struct budget_waiter {
    struct list node;
    void (*wake)(struct budget_waiter *);
};

struct budget *budget_new(struct budget *parent, uint64_t max); /* one reference; NULL: no memory */
struct budget *budget_ref(struct budget *b);
void budget_unref(struct budget *b); /* NULL is fine */

/* Takes bytes here and in every parent, or nothing at all. */
bool budget_take(struct budget *b, uint64_t bytes);
void budget_give(struct budget *b, uint64_t bytes);
/* Is the loop's own budget full?  Then new bodies are refused (503). */
bool budget_exhausted(const struct budget *b, uint64_t bytes);

static inline void budget_waiter_init(struct budget_waiter *w, void (*wake)(struct budget_waiter *))
{
    list_init(&w->node);
    w->wake = wake;
}
/* Wakes when anything is given back to b or to a parent of b. */
void budget_wait(struct budget *b, struct budget_waiter *w);
static inline void budget_wait_end(struct budget_waiter *w) { list_remove(&w->node); }
