/* Counting what is there: see redundancy.h. */
#include "gateway/admin/redundancy.h"

#include "common/base/check.h"

static const char *const found_names[] = {"present", "missing", "damaged", "not answered"};
static const char *const names[REDUNDANCY_COUNT] = {"full", "degraded", "lost", "unknown"};

const char *shard_found_name(enum shard_found f)
{
    CHECK((unsigned)f < ARRAY_COUNT(found_names));
    return found_names[f];
}

const char *redundancy_name(enum redundancy r)
{
    CHECK((unsigned)r < REDUNDANCY_COUNT);
    return names[r];
}

enum redundancy redundancy_of(const enum shard_found *found, size_t shards, unsigned data)
{
    size_t there = 0, silent = 0;
    for (size_t i = 0; i < shards; i++) {
        there += found[i] == SHARD_FOUND;
        silent += found[i] == SHARD_NOT_ANSWERED;
    }
    if (shards == 0)
        return REDUNDANCY_UNKNOWN; /* of a group that this map does not have */
    if (there == shards)
        return REDUNDANCY_FULL;
    if (there >= data)
        return REDUNDANCY_DEGRADED;
    return there + silent >= data ? REDUNDANCY_UNKNOWN : REDUNDANCY_LOST;
}

void redundancy_count(struct redundancy_counts *c, unsigned data, unsigned parity,
                      enum redundancy r, int by)
{
    size_t i = 0;
    while (i < c->scheme_count && (c->scheme[i].data != data || c->scheme[i].parity != parity))
        i++;
    if (i == REDUNDANCY_SCHEMES_MAX)
        i--;
    if (i == c->scheme_count)
        c->scheme[c->scheme_count++] = (struct redundancy_scheme){.data = data, .parity = parity};
    c->scheme[i].count[r] += (uint64_t)(int64_t)by;
}
