#pragma once
/* How evenly the shards of one blob can lie over zones: arithmetic that the cluster file's checks
 * and the placement of groups share.  Pure. */
#include <stdbool.h>
#include <stddef.h>

/* The smallest c such that `shards` nodes can be taken when no zone gives more than c of its nodes.
 * What survives the loss of any one zone is then shards - c.
 * Returns: c; 0 when there are fewer nodes than shards. */
unsigned spread_cap(const unsigned *zone_nodes, size_t zones, unsigned shards);

/* The code that is chosen where the operator states none: 5+4 when three zones have three or more
 * nodes each, 3+3 when three have two.  Returns: false: the topology keeps replicas only, and
 * nothing is written. */
bool spread_default_code(const unsigned *zone_nodes, size_t zones, unsigned *ret_data,
                         unsigned *ret_parity);
