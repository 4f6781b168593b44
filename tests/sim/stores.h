#pragma once
/* The storage nodes of a simulated cluster: the real store and its service on a disk and an index
 * in memory, which keep after a crash what was synced, and of the rest what the seed says.
 *
 * Everything is small (extents of a few frames, an index flushed often, tombstones that expire
 * within a run), so that a run meets full extents, reclamation, recovery and expiry. */
#include "common/base/id.h"
#include "tests/sim/cluster.h"

/* The disk and the index of a new node. */
void sim_store_init(struct sim_node *n);
/* Opens the store (recovery); the node listens once that is done. */
void sim_store_boot(struct sim_node *n);
/* After the host's crash: what disk and index keep. */
void sim_store_crash(struct sim_node *n);

/* It runs and has recovered: what it says it has is durable. */
bool sim_store_up(const struct sim_node *n);
/* Calls fn for each shard that lives there.  The node is up. */
void sim_store_each(struct sim_node *n, void (*fn)(void *arg, struct id128 blob_id), void *arg);
/* There is a deletion mark, and no shard.  The node is up. */
bool sim_store_marked(struct sim_node *n, struct id128 blob_id);
/* The store's own invariants against its index, if it is idle.  The node is up. */
void sim_store_check(struct sim_node *n);
