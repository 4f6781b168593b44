#pragma once
/* Which extent the scrub reads next, and how fast.  Pure: storagenode/op/scrub.c does it.
 *
 * An extent is *unverified since* the time before which each of its bytes was last known to be good:
 * when the reading of it began, or its first frame was written.  It is due DUE_AIM of the period
 * later; the rest of the period is for the time in which reads and writes come first.  The rate is
 * the least one at which every extent is read before it is due, in the order of their times (the
 * earliest deadline first): of all prefixes of that order the one whose bytes need most. */
#include "storagenode/extent/alloc.h"

#define DUE_SLOTS 64u            /* the period in pieces, for the rate; what is due in the first is begun */
#define DUE_AIM_NUM 7u           /* of DUE_AIM_DEN parts of the period */
#define DUE_AIM_DEN 8u
#define DUE_BYTES_PER_SEC_MIN (1ull << 20) /* slower is not worth it: it waits, then reads at this rate */

struct due {
    uint64_t now_ms;             /* wall clock */
    uint64_t period_ms, bytes_per_sec_max;
    uint64_t skew_ms_max;        /* a time further in the future says nothing: unverified for ever */
};

/* Since when the extent is unverified; 0: nobody knows. */
uint64_t due_since_ms(const struct due *d, const struct extent *x);
/* Of all bytes the longest unverified; UINT64_MAX: there are none. */
uint64_t due_oldest_ms(const struct due *d, const struct alloc *a);
/* The extent with live frames that pass number `pass` has not read and that is unverified for
 * longest; NULL: the pass is over. */
struct extent *due_next(const struct due *d, const struct alloc *a, uint32_t pass);
/* Bytes a second that are needed, at most bytes_per_sec_max. */
uint64_t due_rate(const struct due *d, const struct alloc *a);
/* Whether reading x begins now, when `rate` is needed. */
bool due_now(const struct due *d, const struct extent *x, uint64_t rate);
/* Its aim is missed: it no longer lets others go first. */
bool due_late(const struct due *d, const struct extent *x);
