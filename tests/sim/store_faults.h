#pragma once
/* Power cuts of storage nodes at the moments that matter: while one writes, right after it has
 * acknowledged puts or deletions, has flushed its index, has emptied an extent, or has begun to
 * recover.  Which of these, and how often, follows from the seed. */
#include "tests/sim/cluster.h"

struct store_faults;

struct store_faults *store_faults_new(struct sim_cluster *c); /* with storage nodes */
void store_faults_start(struct store_faults *f);
void store_faults_stop(
    struct store_faults *f); /* the nodes that are down come back by themselves */
uint64_t store_faults_count(const struct store_faults *f);
