#pragma once
/* What the core knows of the log: where it starts, where it ends, the terms of its entries as runs
 * (one per change of leader), and their sizes as running sums.  No data. */
#include <stdbool.h>
#include <stdint.h>

/* Charged for each entry on top of its data, so that empty entries are not free. */
#define RAFT_ENTRY_OVERHEAD 64u

struct raft_run {
    uint64_t term, first; /* entries [first, next run's first) have this term */
};

struct raft_tail {
    uint64_t base_index, base_term; /* compaction point: the log starts after it */
    uint64_t last_index;
    struct raft_run *runs;
    uint32_t run_count, run_cap;
    uint64_t *sums; /* ring; sums[i & mask]: charged bytes of all entries up to i; base included */
    uint32_t sum_cap;
};

/* OK; ERR_NOMEM. */
int raft_tail_init(struct raft_tail *t, uint64_t base_index, uint64_t base_term);
void raft_tail_fini(struct raft_tail *t);
/* Room for `entries` more, of at most `terms` different terms.  OK; ERR_NOMEM (nothing changed). */
int raft_tail_reserve(struct raft_tail *t, uint32_t entries, uint32_t terms);
/* One more entry; its room is reserved.  Terms never fall. */
void raft_tail_push(struct raft_tail *t, uint64_t term, uint32_t bytes);
void raft_tail_truncate(struct raft_tail *t, uint64_t from); /* from > base */
void raft_tail_compact(struct raft_tail *t, uint64_t index); /* base <= index <= last */
void raft_tail_reset(struct raft_tail *t, uint64_t index, uint64_t term); /* empty after index */
/* False when the entry is neither in the log nor the compaction point. */
bool raft_tail_term(const struct raft_tail *t, uint64_t index, uint64_t *ret);
uint64_t raft_tail_last_term(const struct raft_tail *t);
/* Charged bytes of the entries in (after, to]; base <= after <= to <= last. */
uint64_t raft_tail_bytes(const struct raft_tail *t, uint64_t after, uint64_t to);
/* The largest index <= `index` whose term is <= `term`, at least the compaction point. */
uint64_t raft_tail_agree(const struct raft_tail *t, uint64_t index, uint64_t term);
