#pragma once
/* When enough shards of a blob are durable (docs/decisions/0014-placement.md, "a write's quorum").
 *
 * One rule for codes and replicas (which are codes with one data shard): whichever zone is taken
 * away, as many shards are left as it takes to read the blob.  While one of its zones is declared
 * down there is no second zone to lose, and one shard more than that outside that zone is enough:
 * what answers from there, because only the root does not hear it, may be gone for good all the
 * same.  Where all zones of a group are declared down nothing is known of any, and nothing is
 * relaxed.  Where all shards lie in one zone, one more than it takes is enough.
 *
 * Pure; from any thread. */
#include "common/ec/ec.h"

/* Where the shards of one group lie, by one list of its members. */
struct quorum {
    unsigned data;   /* shards that it takes to read */
    unsigned shards; /* data and parity */
    uint32_t known;  /* mask: shards whose holder is known; others have no zone, and never count */
    uint32_t lost;   /* holders that are lost: their disks may have been given up; never count */
    uint32_t down;   /* holders in zones that are declared down */
    unsigned zone[EC_SHARDS_MAX];
};

/* durable: mask of shard numbers. */
bool quorum_reached(const struct quorum *q, uint32_t durable);
