#pragma once
/* What destroys data, in runs that mend.
 *
 * The budget, which a seed keeps to:
 *
 *   - Data are destroyed in one zone at a time: a storage node comes back with empty disks, or
 * never; one of its disks fails or is replaced; bits of its shards flip.  All of that zone may be
 * lost.
 *   - Another zone's turn comes when every shard is whole again (the node that is gone for ever
 *     excepted: that happens once, and where another node can take its places).  Also of what was
 *     being written when data were destroyed: repair leaves it alone until a record refers to it.
 *   - Nor is anything more destroyed in a zone while another one is declared down, or was since all
 *     was whole: what is written then counts on the zones that are up.
 *
 * Within it, and beside it, anything else happens: crashes, power cuts of all nodes, a zone that is
 * away together with a node of another one, drains that are begun and taken back, wall clocks that
 * are hours wrong, partitions, slow and lossy networks.
 *
 * Outside of it (losses_beyond) answers are errors, or what was written: never anything else. */
#include "tests/sim/shards.h"

struct losses;

struct losses *losses_new(struct sim_cluster *c, struct sim_shards *s);
void losses_start(struct losses *l);
/* Nothing more happens; clocks are right again, whoever is not gone is started again by the
 * nemesis, and no drain is under way but that of a node that is gone. */
void losses_stop(struct losses *l);
/* All that the budget forbids, at once; the nodes are up a moment later. */
void losses_beyond(struct losses *l);
uint64_t losses_count(const struct losses *l);
