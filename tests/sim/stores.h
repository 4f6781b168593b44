#pragma once
/* The storage nodes of a simulated cluster: the real store and its service on disks and indexes
 * in memory, which keep after a crash what was synced, and of the rest what the seed says.  In a
 * run that mends (sim_cluster.mends) they follow the cluster map, report, scrub and repair as well.
 *
 * Everything is small (extents of a few frames, an index flushed often, tombstones that expire
 * within a run), so that a run meets full extents, reclamation, recovery and expiry. */
#include "tests/sim/cluster.h"

#define SIM_PUT_AGE_MS 5000 /* a put of an older blob is refused */
/* Repair leaves younger blobs to their writers: longer than a put may be on its way. */
#define SIM_REPAIR_AGE_MS 6000
#define SIM_ORPHAN_AGE_MS 20000

struct sim_shard {
    struct id128 blob_id;
    uint16_t index;
    bool damaged; /* the store knows that it is */
    uint32_t extent_id;
    uint64_t offset, bytes;
    size_t drive;
};

/* The disks and the indexes of a new node. */
void sim_store_init(struct sim_node *n);
/* Opens the stores (recovery); the node listens once that is done. */
void sim_store_boot(struct sim_node *n);
/* After the host's crash: what disks and indexes keep. */
void sim_store_crash(struct sim_node *n);
/* An empty disk is put in place of one.  The node does not run.  Its old id is given up, unless all
 * disks go at once: then nothing of the node knows that there was one. */
void sim_store_replace(struct sim_node *n, size_t drive, bool of_all);

/* It runs and has recovered: what it says it has is durable. */
bool sim_store_up(const struct sim_node *n);
/* Calls fn for each shard that the node has, on disks that are up, damaged ones included.  The node
 * is up. */
void sim_store_each(struct sim_node *n, void (*fn)(void *arg, const struct sim_shard *shard),
                    void *arg);
/* There is a deletion mark, and no shard.  The node is up. */
bool sim_store_marked(struct sim_node *n, struct id128 blob_id);
/* The bytes that lie there, read past the store, are what the frame's CRCs say. */
bool sim_store_whole(struct sim_node *n, const struct sim_shard *shard);
/* At least its frame's head is. */
bool sim_store_head_whole(struct sim_node *n, const struct sim_shard *shard);
/* Flips one bit of the shard, of its data or of the head of its frame. */
void sim_store_flip(struct sim_node *n, const struct sim_shard *shard);
/* The stores' own invariants against their indexes, if they are idle.  The node is up. */
void sim_store_check(struct sim_node *n);
/* What has been done there since its present life began. */
struct sim_store_counts {
    bool opening;
    uint64_t puts, deletes, queued, index_flushes, extents_reclaimed;
};
void sim_store_count_get(struct sim_node *n, struct sim_store_counts *ret);
