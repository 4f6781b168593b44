/* See spread.h. */
#include "common/base/spread.h"

unsigned spread_cap(const unsigned *zone_nodes, size_t zones, unsigned shards)
{
    for (unsigned cap = 1; cap <= shards; cap++) {
        size_t room = 0;
        for (size_t z = 0; z < zones; z++)
            room += zone_nodes[z] < cap ? zone_nodes[z] : cap;
        if (room >= shards)
            return cap;
    }
    return 0;
}
