#pragma once
/* How evenly the shards of one blob can lie over zones: arithmetic that the cluster file's checks
 * and the placement of groups share.  Pure. */
#include <stddef.h>

/* The smallest c such that `shards` nodes can be taken when no zone gives more than c of its nodes.
 * What survives the loss of any one zone is then shards - c.
 * Returns: c; 0 when there are fewer nodes than shards. */
unsigned spread_cap(const unsigned *zone_nodes, size_t zones, unsigned shards);
