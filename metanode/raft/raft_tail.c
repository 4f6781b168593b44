/* Term runs and running sizes of a log: see raft_tail.h.  The arrays grow by doubling and never
 * shrink, so that appending allocates only while a log grows beyond what it ever was. */
#include "metanode/raft/raft_tail.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/err.h"

#define SUM_CAP_MIN 64u
#define SUM_CAP_MAX (1u << 30)

static uint64_t *sum_at(const struct raft_tail *t, uint64_t index)
{
    return &t->sums[index & (t->sum_cap - 1)];
}

int raft_tail_init(struct raft_tail *t, uint64_t base_index, uint64_t base_term)
{
    *t = (struct raft_tail){
        .base_index = base_index, .base_term = base_term, .last_index = base_index};
    return raft_tail_reserve(t, 1, 1);
}

void raft_tail_fini(struct raft_tail *t)
{
    free(t->runs);
    free(t->sums);
    *t = (struct raft_tail){0};
}

static int grow_runs(struct raft_tail *t, uint32_t terms)
{
    uint32_t cap = t->run_cap ? t->run_cap : 4;
    while (cap - t->run_count < terms && cap < SUM_CAP_MAX)
        cap *= 2;
    if (cap == t->run_cap)
        return OK;
    struct raft_run *runs = realloc(t->runs, cap * sizeof(*runs));
    if (!runs)
        return ERR_NOMEM;
    t->runs = runs;
    t->run_cap = cap;
    return OK;
}

int raft_tail_reserve(struct raft_tail *t, uint32_t entries, uint32_t terms)
{
    uint64_t need =
        t->last_index - t->base_index + 1 + entries; /* the base's own sum is kept too */
    uint64_t cap = t->sum_cap ? t->sum_cap : SUM_CAP_MIN;
    while (cap < need)
        cap *= 2;
    if (cap > SUM_CAP_MAX)
        return ERR_NOMEM;
    int err = grow_runs(t, terms);
    if (err)
        return err;
    if (cap == t->sum_cap)
        return OK;
    uint64_t *sums = calloc(cap, sizeof(*sums));
    if (!sums)
        return ERR_NOMEM;
    if (t->sums) {
        for (uint64_t i = t->base_index; i <= t->last_index; i++)
            sums[i & (cap - 1)] = *sum_at(t, i);
    }
    free(t->sums);
    t->sums = sums;
    t->sum_cap = (uint32_t)cap;
    return OK;
}

void raft_tail_push(struct raft_tail *t, uint64_t term, uint32_t bytes)
{
    CHECK(t->last_index - t->base_index + 1 < t->sum_cap);
    CHECK(term >= raft_tail_last_term(t));
    uint64_t sum = *sum_at(t, t->last_index) + bytes + RAFT_ENTRY_OVERHEAD;
    t->last_index++;
    *sum_at(t, t->last_index) = sum;
    if (t->run_count && t->runs[t->run_count - 1].term == term)
        return;
    CHECK(t->run_count < t->run_cap);
    t->runs[t->run_count++] = (struct raft_run){.term = term, .first = t->last_index};
}

void raft_tail_truncate(struct raft_tail *t, uint64_t from)
{
    CHECK(from > t->base_index && from <= t->last_index + 1);
    t->last_index = from - 1;
    while (t->run_count && t->runs[t->run_count - 1].first >= from)
        t->run_count--;
}

void raft_tail_compact(struct raft_tail *t, uint64_t index)
{
    uint64_t term = 0;
    CHECK(index >= t->base_index && raft_tail_term(t, index, &term));
    uint32_t gone = 0;
    while (gone < t->run_count &&
           (gone + 1 < t->run_count ? t->runs[gone + 1].first - 1 : t->last_index) <= index)
        gone++;
    if (gone) { /* with no run at all there is no array either */
        t->run_count -= gone;
        memmove(t->runs, t->runs + gone, t->run_count * sizeof(*t->runs));
    }
    if (t->run_count && t->runs[0].first <= index)
        t->runs[0].first = index + 1;
    t->base_index = index;
    t->base_term = term;
}

void raft_tail_reset(struct raft_tail *t, uint64_t index, uint64_t term)
{
    t->run_count = 0;
    t->base_index = t->last_index = index;
    t->base_term = term;
    *sum_at(t, index) = 0;
}

/* The run that holds index; base < index <= last. */
static uint32_t run_of(const struct raft_tail *t, uint64_t index)
{
    uint32_t lo = 0, hi = t->run_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->runs[mid].first <= index)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

bool raft_tail_term(const struct raft_tail *t, uint64_t index, uint64_t *ret)
{
    if (index < t->base_index || index > t->last_index)
        return false;
    *ret = index == t->base_index ? t->base_term : t->runs[run_of(t, index)].term;
    return true;
}

uint64_t raft_tail_last_term(const struct raft_tail *t)
{
    return t->run_count ? t->runs[t->run_count - 1].term : t->base_term;
}

uint64_t raft_tail_bytes(const struct raft_tail *t, uint64_t after, uint64_t to)
{
    CHECK(after >= t->base_index && after <= to && to <= t->last_index);
    return *sum_at(t, to) - *sum_at(t, after);
}

uint64_t raft_tail_agree(const struct raft_tail *t, uint64_t index, uint64_t term)
{
    index = MIN(index, t->last_index);
    if (index <= t->base_index)
        return t->base_index;
    uint32_t run = run_of(t, index);
    if (t->runs[run].term <= term)
        return index;
    while (run > 0 && t->runs[run - 1].term > term)
        run--;
    return t->runs[run].first - 1; /* the end of the run before, or the base */
}
