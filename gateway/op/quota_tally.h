#pragma once
/* Pure: what was accepted since when, and whether more would exceed a quota. */
#include <stdbool.h>
#include <stdint.h>

#define QUOTA_SLOTS 16

/* Bytes of data, and versions that have any. */
struct quota_amount {
    uint64_t bytes, objects;
};

/* What was accepted, by when: in steps, so that it takes little room.  A step is forgotten as a
 * whole, once all of it was before a measurement; what is merged for want of room is kept longer,
 * never shorter.  Zeroed: nothing. */
struct quota_tally {
    struct quota_slot {
        uint64_t from_ms, until_ms;
        struct quota_amount amount;
    } slots[QUOTA_SLOTS]; /* ascending */
    unsigned count;
};

/* Saturating. */
struct quota_amount quota_sum(struct quota_amount a, struct quota_amount b);

void quota_tally_add(struct quota_tally *t, uint64_t now_ms, uint64_t step_ms,
                     struct quota_amount amount);
/* What began and ended before is in the measurement that began then. */
void quota_tally_drop(struct quota_tally *t, uint64_t before_ms);
struct quota_amount quota_tally_sum(const struct quota_tally *t);

/* max: 0 bounds nothing.  What is over it already takes no more, not even nothing. */
bool quota_exceeded(struct quota_amount max, struct quota_amount used, struct quota_amount more);
