#pragma once
/* A store against a reference map, over random operations with faults among them, from one seed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_totals {
    uint64_t puts, gets, deletes, crashes, closes, reclaimed, recovered, torn, corruptions, nospace,
        failures, flips, scrub_passes, scrub_found, bad_seen;
};

/* Runs one seed.  false: an invariant was violated; `ret_why` says which. */
bool model_run(uint64_t seed, unsigned operations, char *ret_why, size_t why_len,
               struct model_totals *totals);
