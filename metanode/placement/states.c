/* Who is up, down or lost; what topologies can keep.  See placement.h. */
#include "metanode/placement/placement.h"

#include "common/base/check.h"
#include "common/base/spread.h"

#define GROUPS_MIN 16
#define PLACES_MIN 4 /* a node, so that load can be evened */
#define WEIGHT_MAX 1024u

/*   UP ──silent for down_ms──→ DOWN ──silent for lost_ms──→ LOST
 *    ↑                           │                           │
 *    └──────────── heard ────────┴───────────────────────────┘ */
enum place_state place_state_of(enum place_state now, bool heard, uint64_t silent_ms,
                                uint64_t down_ms, uint64_t lost_ms)
{
    CHECK(down_ms <= lost_ms);
    if (silent_ms < down_ms)
        return heard ? PLACE_UP : now;
    if (silent_ms >= lost_ms)
        return PLACE_LOST;
    return now == PLACE_LOST ? PLACE_LOST : PLACE_DOWN; /* lost it stays until it is heard */
}

bool place_zone_is_down(const struct place_view *v, unsigned zone)
{
    bool any = false;
    for (size_t i = 0; i < v->node_count; i++) {
        if (v->nodes[i].zone != zone)
            continue;
        if (v->nodes[i].state == PLACE_UP)
            return false;
        any = true;
    }
    return any;
}

static void count_zones(const struct place_view *v, unsigned *ret)
{
    for (size_t i = 0; i < v->node_count; i++) {
        CHECK(v->nodes[i].zone < v->zone_count);
        ret[v->nodes[i].zone]++;
    }
}

unsigned place_zone_cap(const struct place_view *v, unsigned shards)
{
    unsigned counts[PLACE_NODES_MAX] = {0};
    CHECK(v->zone_count <= PLACE_NODES_MAX);
    count_zones(v, counts);
    return spread_cap(counts, v->zone_count, shards);
}

size_t place_default_schemes(const struct place_view *v, struct place_scheme *ret)
{
    unsigned counts[PLACE_NODES_MAX] = {0}, data, parity;
    size_t n = 0;
    CHECK(v->zone_count <= PLACE_NODES_MAX);
    count_zones(v, counts);
    if (spread_default_code(counts, v->zone_count, &data, &parity))
        ret[n++] = (struct place_scheme){(uint8_t)data, (uint8_t)parity};
    ret[n++] = (struct place_scheme){1, PLACE_REPLICAS - 1};
    return n;
}

unsigned place_groups_wanted(size_t nodes, struct place_scheme scheme)
{
    size_t shards = place_shards(scheme), wanted = (nodes * PLACES_MIN + shards - 1) / shards;
    return (unsigned)(wanted < GROUPS_MIN ? GROUPS_MIN : wanted);
}

void place_weights(const struct place_view *v, uint32_t *ret)
{
    uint64_t largest = 0, sum = 0, known = 0;
    for (size_t i = 0; i < v->node_count; i++)
        if (v->nodes[i].bytes_total > largest)
            largest = v->nodes[i].bytes_total;
    uint64_t unit = largest / WEIGHT_MAX + 1;
    for (size_t i = 0; i < v->node_count; i++) {
        uint64_t w = v->nodes[i].bytes_total / unit;
        ret[i] = v->nodes[i].bytes_total ? (uint32_t)(w ? w : 1) : 0;
        sum += ret[i];
        known += ret[i] != 0;
    }
    uint32_t average = known ? (uint32_t)(sum / known) : 1;
    for (size_t i = 0; i < v->node_count; i++)
        if (ret[i] == 0)
            ret[i] = average;
}
