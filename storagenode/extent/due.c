/* Which extent the scrub reads next, and how fast. */
#include "storagenode/extent/due.h"

#include "common/base/check.h"

uint64_t due_since_ms(const struct due *d, const struct extent *x)
{
    return x->unverified_ms > d->now_ms + d->skew_ms_max ? 0 : x->unverified_ms;
}

/* Until the extent is due; 0: it is. */
static uint64_t left_ms(const struct due *d, const struct extent *x)
{
    uint64_t aim_ms = d->period_ms / DUE_AIM_DEN * DUE_AIM_NUM;
    uint64_t due_ms = due_since_ms(d, x) + aim_ms;
    return due_ms > d->now_ms ? due_ms - d->now_ms : 0;
}

static uint64_t slot_ms(const struct due *d) { return MAX(1, d->period_ms / DUE_SLOTS); }

uint64_t due_oldest_ms(const struct due *d, const struct alloc *a)
{
    uint64_t oldest_ms = UINT64_MAX;
    for (uint32_t i = 0; i < a->slots; i++)
        if (a->extents[i] && a->extents[i]->live_frames > 0)
            oldest_ms = MIN(oldest_ms, due_since_ms(d, a->extents[i]));
    return oldest_ms;
}

struct extent *due_next(const struct due *d, const struct alloc *a, uint32_t pass)
{
    struct extent *next = NULL;
    for (uint32_t i = 0; i < a->slots; i++) {
        struct extent *x = a->extents[i];
        if (x && x->live_frames > 0 && x->scrub_pass != pass &&
            (!next || due_since_ms(d, x) < due_since_ms(d, next)))
            next = x;
    }
    return next;
}

uint64_t due_rate(const struct due *d, const struct alloc *a)
{
    uint64_t bytes[DUE_SLOTS] = {0}, sum = 0, rate = 0;
    for (uint32_t i = 0; i < a->slots; i++) {
        const struct extent *x = a->extents[i];
        if (x && x->live_frames > 0)
            bytes[MIN(left_ms(d, x) / slot_ms(d), DUE_SLOTS - 1)] += x->live_bytes;
    }
    for (uint32_t i = 0; i < DUE_SLOTS; i++) {
        sum += bytes[i];
        rate = MAX(rate, sum * 1000 / ((i + 1) * slot_ms(d)));
    }
    return MIN(rate, d->bytes_per_sec_max);
}

bool due_now(const struct due *d, const struct extent *x, uint64_t rate)
{
    return left_ms(d, x) < slot_ms(d) || rate >= MIN(DUE_BYTES_PER_SEC_MIN, d->bytes_per_sec_max);
}

bool due_late(const struct due *d, const struct extent *x) { return left_ms(d, x) == 0; }
