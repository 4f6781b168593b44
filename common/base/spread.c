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

bool spread_default_code(const unsigned *zone_nodes, size_t zones, unsigned *ret_data,
                         unsigned *ret_parity)
{
    size_t with_two = 0, with_three = 0;
    for (size_t z = 0; z < zones; z++) {
        with_two += zone_nodes[z] >= 2;
        with_three += zone_nodes[z] >= 3;
    }
    if (with_two < 3)
        return false;
    *ret_data = with_three >= 3 ? 5 : 3;
    *ret_parity = with_three >= 3 ? 4 : 3;
    return true;
}
