/* The rule itself; see quorum.h. */
#include "gateway/blob/quorum.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

static unsigned count(uint32_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}

/* The shards of `mask` that lie in that zone. */
static uint32_t in_zone(const struct quorum *q, uint32_t mask, unsigned zone)
{
    uint32_t ret = 0;
    for (unsigned i = 0; i < q->shards; i++)
        if ((mask & 1u << i) && q->zone[i] == zone)
            ret |= 1u << i;
    return ret;
}

bool quorum_reached(const struct quorum *q, uint32_t durable)
{
    CHECK(q->data > 0 && q->shards >= q->data && q->shards <= EC_SHARDS_MAX);
    uint32_t all = (uint32_t)((UINT64_C(1) << q->shards) - 1);
    durable &= q->known & ~q->lost & all;
    if (MUTANT(BLOB_ONE_COPY))
        return count(durable) >= q->data;
    bool one_zone = q->known == all && in_zone(q, all, q->zone[0]) == all;
    uint32_t enough = MIN(q->data + 1, q->shards);
    if (one_zone || (q->data > 1 && MUTANT(CODED_WITHOUT_ZONE)))
        return count(durable) >= enough;
    bool degraded = (q->known & q->down) != 0 && (q->known & ~q->down) != 0;
    if (degraded && count(durable & ~q->down) >= enough)
        return true;
    for (unsigned i = 0; i < q->shards; i++) {
        uint32_t lost = durable & 1u << i ? in_zone(q, durable, q->zone[i]) : 0;
        if (count(durable & ~lost) < q->data)
            return false;
    }
    return count(durable) >= q->data;
}
