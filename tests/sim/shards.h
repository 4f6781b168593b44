#pragma once
/* Invariant 6 and what it needs to be known: which blobs records refer to, which were let go and
 * wait in a deletion queue, and what lies on the storage nodes.
 *
 * The truth is the state of the replica of each partition that has applied most, read row by row;
 * as long as none that runs has applied what was applied before, nothing is judged.  At any moment:
 *
 *   - a blob that a record refers to is not marked at any member of its group, a member that once
 * held it holds it, and those that hold it or are not up are in two zones at least;
 *   - a blob that was let go and has left the queue lives at no storage node that is up;
 *   - a shard that has gone from a storage node does not come back.
 *
 * Blobs that no record ever referred to are orphans of attempts that failed or whose outcome stayed
 * unknown.  In runs that mend they are condemned, and all go in the end; in the others nothing
 * collects them, and only those that were discarded in a calm world must go. */
#include "common/base/id.h"
#include "tests/sim/cluster.h"

struct sim_shards;

struct sim_shards_stats {
    uint64_t looks, blobs, let_go, orphans; /* blobs: that a record referred to, at some time */
    uint64_t flips, changes;                /* changes: of the members of groups, that ended */
    uint64_t coded;                         /* of the blobs */
};

struct sim_shards *sim_shards_new(struct sim_cluster *c);
/* Often: notes what has been applied; from time to time looks at everything. */
void sim_shards_check(struct sim_shards *s);
/* From now on discards reach everybody. */
void sim_shards_calm(struct sim_shards *s);
/* A record that names the blob is in the index, says its metanode. */
void sim_shards_acknowledged(struct sim_shards *s, struct id128 blob_id);
/* A gateway deletes a blob that no record will ever name. */
void sim_shards_discarded(struct sim_shards *s, struct id128 blob_id);
/* Nothing waits in a deletion queue, every row has its owner, no bucket that is gone left anything,
 * and all that lives at storage nodes is referred to, or an orphan.  false with a reason. */
bool sim_shards_settled(struct sim_shards *s, struct buf *ret_why);

/* ---- runs that mend (sim_cluster.mends), for who destroys (losses.h) ---- */

/* Everything that is referred to is where it should be, all nodes that are not gone are up, no group
 * changes, and nothing is being written any more that was there when data were destroyed last. */
bool sim_shards_full(struct sim_shards *s);
/* A node is about to lose what is on its disks, or on one of them. */
void sim_shards_emptied(struct sim_shards *s, size_t node);
/* Flips a bit in up to `count` shards of a node that is up.  Returns: in how many. */
unsigned sim_shards_flip(struct sim_shards *s, size_t node, unsigned count);
bool sim_shards_is_up(const struct sim_shards *s, size_t node); /* as the map says */
bool sim_shards_draining(const struct sim_shards *s, size_t node);
/* It is lost, and has not been given up. */
bool sim_shards_missed(const struct sim_shards *s, size_t node);
/* A zone other than this one was declared down since world time `since_ns`. */
bool sim_shards_zone_was_down(const struct sim_shards *s, size_t zone, uint64_t since_ns);
const struct sim_shards_stats *sim_shards_stats(const struct sim_shards *s);
