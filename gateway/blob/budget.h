#pragma once
/* A bound on the bytes that bodies under way may take: one for the loop, one a request below it.
 *
 * Bytes are taken before a buffer is made and given back when the last user of the buffer is done,
 * which may be long after its request was answered (a straggling replica): hence the references. */
#include "common/base/list.h"
#include "common/base/slice.h"

/* The loop's own budget keeps so many buffers that were given back, of this size at least, for the
 * next that want that size: the kernel's clearing and mapping of fresh pages would cost more than
 * the copy into them.  Kept bytes stay within `max` as well, and make way for bytes taken. */
#define BUDGET_SPARES_MAX 4
#define BUDGET_SPARE_BYTES_MIN (1u << 20)

struct budget {
    uint64_t used, max;
    /* Above this only those below may take that hold nothing yet: each body moves on, but none
     * reads far ahead while many are under way.  0: no such bound. */
    uint64_t eager_max;
    struct budget *parent; /* referenced; NULL: the loop's own */
    unsigned refs;
    struct list waiters;
    struct rcbuf *spare[BUDGET_SPARES_MAX]; /* the newest last */
    unsigned spare_count, spare_least;      /* least: since the last budget_trim() */
    uint64_t spare_bytes;
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
/* The same for a buffer of this capacity, perhaps one that was given back before: its bytes are
 * anything.  Returns: OK; ERR_LIMIT (the budget: wait and try again); ERR_NOMEM.
 * Owns: *ret is the caller's one reference. */
int budget_take_buffer(struct budget *b, size_t cap, struct rcbuf **ret);
/* The buffer alone, for bytes that have been taken already.  NULL: no memory. */
struct rcbuf *budget_buffer(struct budget *b, size_t cap);
/* Drops the caller's reference and gives the bytes back.  A buffer that others still refer to is
 * not kept. */
void budget_give_buffer(struct budget *b, struct rcbuf **buffer);
/* Now and then, on the loop's own budget: frees the spare buffers that nobody has wanted since the
 * last time. */
void budget_trim(struct budget *b);
/* Is the loop's own budget full?  Then new bodies are refused (503). */
bool budget_exhausted(const struct budget *b, uint64_t bytes);

static inline void budget_waiter_init(struct budget_waiter *w, void (*wake)(struct budget_waiter *))
{
    list_init(&w->node);
    w->wake = wake;
}
/* Wakes when anything is given back to b or to a parent of b. */
void budget_wait(struct budget *b, struct budget_waiter *w);
static inline void budget_wait_end(struct budget_waiter *w)
{
    list_remove(&w->node);
}
