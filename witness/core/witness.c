/* The witness's tables: streams in, freshness out.  Every rule names the action of
 * spec/WitnessVisibility.tla that it implements. */
#include "witness/core/witness.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"

#include <stdlib.h>

void witness_init(struct witness *w, unsigned slot_bits, uint32_t partitions_max)
{
    CHECK(slot_bits >= 1 && slot_bits <= WITNESS_SLOT_BITS_MAX);
    CHECK(partitions_max >= 1 && partitions_max <= WITNESS_PARTITIONS_MAX);
    *w = (struct witness){.slot_bits = slot_bits, .partitions_max = partitions_max};
}

void witness_fini(struct witness *w)
{
    for (uint32_t i = 0; i < w->partition_count; i++)
        free(w->partitions[i].slots);
    free(w->partitions);
    *w = (struct witness){0};
}

int witness_clone(const struct witness *w, struct witness *ret)
{
    size_t slots_bytes = sizeof(uint64_t) << w->slot_bits;
    struct witness copy = *w;
    copy.partition_count = 0;
    copy.partition_cap = w->partition_count;
    copy.partitions = calloc(w->partition_count ? w->partition_count : 1, sizeof(*copy.partitions));
    *ret = (struct witness){0};
    if (!copy.partitions)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < w->partition_count; i++) {
        struct witness_partition *p = &copy.partitions[i];
        *p = w->partitions[i];
        p->slots = malloc(slots_bytes);
        if (!p->slots) {
            witness_fini(&copy);
            return ERR_NOMEM;
        }
        memcpy(p->slots, w->partitions[i].slots, slots_bytes);
        copy.partition_count++;
    }
    *ret = copy;
    return OK;
}

/* Where the partition stands or would be inserted. */
static uint32_t position_of(const struct witness *w, uint32_t partition)
{
    uint32_t lo = 0, hi = w->partition_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (w->partitions[mid].id < partition)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct witness_partition *find(const struct witness *w, uint32_t partition)
{
    uint32_t at = position_of(w, partition);
    bool hit = at < w->partition_count && w->partitions[at].id == partition;
    return hit ? &w->partitions[at] : NULL;
}

const struct witness_partition *witness_find(const struct witness *w, uint32_t partition)
{
    return find(w, partition);
}

static int add(struct witness *w, uint32_t partition, struct witness_partition **ret)
{
    if (w->partition_count >= w->partitions_max)
        return ERR_LIMIT;
    if (w->partition_count >= w->partition_cap) {
        uint32_t cap = w->partition_cap ? 2 * w->partition_cap : 8;
        void *grown = realloc(w->partitions, cap * sizeof(*w->partitions));
        if (!grown)
            return ERR_NOMEM;
        w->partitions = grown;
        w->partition_cap = cap;
    }
    /* calloc: untouched pages of the table cost no memory. */
    uint64_t *slots = calloc((size_t)1 << w->slot_bits, sizeof(*slots));
    if (!slots)
        return ERR_NOMEM;
    uint32_t at = position_of(w, partition);
    memmove(&w->partitions[at + 1], &w->partitions[at],
            (w->partition_count - at) * sizeof(*w->partitions));
    w->partition_count++;
    w->partitions[at] = (struct witness_partition){.id = partition, .slots = slots};
    *ret = &w->partitions[at];
    return OK;
}

void witness_begin(struct witness *w, struct id128 incarnation)
{
    CHECK(!id128_is_zero(incarnation));
    CHECK(!id128_eq(w->incarnation, incarnation));
    w->incarnation = incarnation;
    w->lease_until_ns = 0;
    for (uint32_t i = 0; i < w->partition_count; i++) {
        struct witness_partition *p = &w->partitions[i];
        if (!MUTANT(OLD_STREAM_COUNTS))
            p->listening = false;
        if (!MUTANT(READY_SURVIVES))
            p->ready = false;
    }
}

void witness_granted(struct witness *w, struct id128 incarnation, uint64_t sent_ns,
                     uint64_t lease_ns)
{
    uint64_t until = sent_ns + lease_ns;
    if (!id128_eq(w->incarnation, incarnation) || until < sent_ns)
        return;
    if (until > w->lease_until_ns)
        w->lease_until_ns = until;
}

void witness_release(struct witness *w)
{
    w->lease_until_ns = 0;
    w->incarnation = (struct id128){{0}};
}

bool witness_holds_lease(const struct witness *w, uint64_t now_ns)
{
    return now_ns < w->lease_until_ns;
}

/* Everything up to `resume` counts as received; what was skipped on the way raises the floor. */
static void resume_at(struct witness_partition *p, const struct witness_open *open, uint64_t from,
                      uint64_t resume)
{
    if ((p->term == 0 || resume > from) && !MUTANT(FLOOR_NOT_RAISED))
        p->floor = MAX(p->floor, resume);
    p->term = open->term;
    p->stream = open->stream;
    p->listening = true;
    p->recv = resume;
    p->through = MAX(p->through, MIN(resume, open->commit));
}

/* RecvHello.  A newer term resumes behind the committed part of what is here, because only that is
 * the same in every log; a further open of the same leader goes on where it was. */
int witness_open(struct witness *w, const struct witness_open *open, uint64_t *ret_resume_after)
{
    if (id128_is_zero(w->incarnation) || !id128_eq(w->incarnation, open->incarnation))
        return ERR_CONFLICT;
    if (open->term == 0 || open->log_first > open->commit || open->commit > open->target)
        return ERR_INVAL;

    struct witness_partition *p = find(w, open->partition);
    if (p && p->listening && p->term == open->term && open->stream < p->stream)
        return ERR_CONFLICT;
    if (p && p->term > open->term)
        return ERR_CONFLICT;
    if (p && p->listening && p->term == open->term) {
        resume_at(p, open, p->recv, MAX(p->recv, open->log_first));
        p->ready = p->ready || p->recv >= p->target;
        *ret_resume_after = p->recv;
        return OK;
    }
    if (!p) {
        int err = add(w, open->partition, &p);
        if (err != OK)
            return err;
    }

    uint64_t from = MUTANT(RESUME_FROM_RECV) ? p->recv : p->through;
    uint64_t resume = MAX(from, open->log_first);
    if (resume > open->target && !MUTANT(RESUME_FROM_RECV))
        return ERR_INVAL; /* less than what was committed before: not a leader's log */
    resume_at(p, open, from, resume);
    p->target = open->target;
    p->ready = p->ready || resume >= p->target || MUTANT(READY_ON_HELLO);
    *ret_resume_after = resume;
    return OK;
}

/* The counts of an append add up to what it carries. */
static bool append_is_sound(const struct witness_append *a)
{
    size_t hashes = 0;
    if (a->floor_count % 2 != 0 || a->entry_count > UINT64_MAX - a->prev)
        return false;
    for (size_t i = 0; i < a->entry_count; i++) {
        if (a->hash_counts[i] > a->hash_count - hashes)
            return false;
        hashes += a->hash_counts[i];
    }
    return hashes == a->hash_count;
}

/* RecvEntry and RecvCommit, for a batch. */
int witness_append(struct witness *w, const struct witness_append *a, uint64_t *ret_recv)
{
    struct witness_partition *p = find(w, a->partition);
    bool for_this_life = id128_eq(w->incarnation, a->incarnation) || MUTANT(OLD_STREAM_COUNTS);
    if (!p || !p->listening || !for_this_life || p->term != a->term || p->stream != a->stream)
        return ERR_CONFLICT;
    if (!append_is_sound(a))
        return ERR_INVAL;
    if (a->prev <= p->recv) {
        uint64_t mask = ((uint64_t)1 << w->slot_bits) - 1;
        const uint64_t *hash = a->hashes;
        for (size_t i = 0; i < a->entry_count; i++) {
            uint64_t index = a->prev + 1 + i;
            for (uint32_t k = 0; k < a->hash_counts[i]; k++, hash++) {
                uint64_t *slot = &p->slots[*hash & mask];
                *slot = MAX(*slot, index);
            }
        }
        for (size_t i = 0; i < a->floor_count; i += 2)
            p->floor = MAX(p->floor, a->floors[i + 1]);
        p->recv = MAX(p->recv, a->prev + a->entry_count);
        p->ready = p->ready || p->recv >= p->target;
    }
    uint64_t committed = MUTANT(THROUGH_UNCOMMITTED) ? p->recv : MIN(p->recv, a->commit);
    p->through = MAX(p->through, committed);
    *ret_recv = p->recv;
    return OK;
}

/* WitnessSaysFresh. */
bool witness_check(const struct witness *w, uint32_t partition, uint64_t hash, uint64_t as_of,
                   uint64_t now_ns, uint64_t *ret_through)
{
    const struct witness_partition *p = find(w, partition);
    *ret_through = 0;
    if (!p)
        return false;
    uint64_t through = p->through;
    uint64_t slot = p->slots[hash & (((uint64_t)1 << w->slot_bits) - 1)];
    bool known = slot <= as_of && (p->floor <= as_of || MUTANT(FLOOR_IGNORED)) && p->ready;
    if (!known || !(witness_holds_lease(w, now_ns) || MUTANT(ANSWER_WITHOUT_LEASE)))
        return false;
    *ret_through = through;
    return true;
}

void witness_check_invariants(const struct witness *w)
{
    for (uint32_t i = 0; i < w->partition_count; i++) {
        const struct witness_partition *p = &w->partitions[i];
        CHECK(i == 0 || w->partitions[i - 1].id < p->id);
        CHECK(p->term > 0);
        CHECK(p->slots != NULL);
    }
}
