#pragma once
/* The n-th allocation failing.  A test that links alloc_fail.c (its folder's SOURCES names it) has
 * the whole program's malloc, calloc, realloc, strdup and aligned_alloc in its hands, the
 * libraries' included; the sanitizer still stands behind them.
 *
 *     for (uint64_t n = 0;; n++) {
 *         alloc_fail_at(n);
 *         int err = what_is_tested();
 *         if (!alloc_fail_end())
 *             break;          n allocations were not needed: it ran undisturbed
 *         ...                 err must be one that is allowed, and nothing may have leaked
 *     }
 *
 * Only allocations of the calling thread count.  What a test's fakes allocate on behalf of somebody
 * else is kept out by alloc_fail_hold() and alloc_fail_go_on() around it.  With ALLOC_FAIL_TRACE=1
 * in the environment the stack of each allocation that fails is printed: the last one tells which n
 * it was. */
#include <stdbool.h>
#include <stdint.h>

/* The allocation number n from now on (0: the next) fails, and no other. */
void alloc_fail_at(uint64_t n);
/* That one and all that follow. */
void alloc_fail_from(uint64_t n);
/* Back to normal.  Returns: did one fail? */
bool alloc_fail_end(void);

/* Nested. */
void alloc_fail_hold(void);
void alloc_fail_go_on(void);
