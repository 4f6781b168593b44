/* See quota_tally.h. */
#include "gateway/op/quota_tally.h"

#include "common/base/check.h"

#include <string.h>

static uint64_t add(uint64_t a, uint64_t b)
{
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

struct quota_amount quota_sum(struct quota_amount a, struct quota_amount b)
{
    return (struct quota_amount){add(a.bytes, b.bytes), add(a.objects, b.objects)};
}

static void remove_first(struct quota_tally *t)
{
    t->count--;
    memmove(&t->slots[0], &t->slots[1], t->count * sizeof(t->slots[0]));
}

void quota_tally_add(struct quota_tally *t, uint64_t now_ms, uint64_t step_ms,
                     struct quota_amount amount)
{
    struct quota_slot *last = t->count ? &t->slots[t->count - 1] : NULL;
    if (last && now_ms < last->from_ms + step_ms) { /* or the clock was set back */
        last->until_ms = now_ms > last->until_ms ? now_ms : last->until_ms;
        last->amount = quota_sum(last->amount, amount);
        return;
    }
    if (t->count == QUOTA_SLOTS) {
        t->slots[1].from_ms = t->slots[0].from_ms;
        t->slots[1].amount = quota_sum(t->slots[0].amount, t->slots[1].amount);
        remove_first(t);
    }
    CHECK(t->count < QUOTA_SLOTS);
    t->slots[t->count++] = (struct quota_slot){now_ms, now_ms, amount};
}

void quota_tally_drop(struct quota_tally *t, uint64_t before_ms)
{
    while (t->count && t->slots[0].until_ms < before_ms)
        remove_first(t);
}

struct quota_amount quota_tally_sum(const struct quota_tally *t)
{
    struct quota_amount sum = {0};
    for (unsigned i = 0; i < t->count; i++)
        sum = quota_sum(sum, t->slots[i].amount);
    return sum;
}

static bool exceeds(uint64_t max, uint64_t used, uint64_t more)
{
    return max && (used > max || more > max - used);
}

bool quota_exceeded(struct quota_amount max, struct quota_amount used, struct quota_amount more)
{
    return exceeds(max.bytes, used.bytes, more.bytes) ||
           exceeds(max.objects, used.objects, more.objects);
}
