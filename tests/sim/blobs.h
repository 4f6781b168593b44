#pragma once
/* Clients whose objects are mostly too large for the index: they put, overwrite, read, list and
 * delete them, upload them in parts (complete, abort, leave lying), sweep uploads away, create
 * buckets and delete them, through a gateway's real code for bodies in and out, proposals and the
 * deletion of buckets.  What they did is kept in histories like those of workload.h, one for each
 * key of each life of a bucket; every body that is read is compared bit for bit with what was
 * written. */
#include "tests/sim/shards.h"

struct sim_blobs;

struct sim_blobs_stats {
    uint64_t puts, reads, lists, uploads_completed, uploads_aborted, parts, deletes;
    uint64_t buckets_deleted, unknown, refused, failed, undecided;
    uint64_t beyond, beyond_lost; /* reads when too much is lost; those that failed */
};

/* In a cluster with storage nodes.  Clients per gateway: they start with it. */
struct sim_blobs *sim_blobs_new(struct sim_cluster *c, struct sim_shards *shards,
                                unsigned clients_per_gateway, uint64_t think_max_ns);
void sim_blobs_stop(struct sim_blobs *w); /* no new operation begins */
bool sim_blobs_idle(const struct sim_blobs *w);
/* Operations that succeeded since the last call, of the client that had the fewest. */
uint64_t sim_blobs_progress(struct sim_blobs *w);
/* Reads every key of every bucket through each gateway: now each must be had.  Idle when done. */
void sim_blobs_read_all(struct sim_blobs *w);
/* The same when more was lost than may be: each body is what was written, or the read fails.  Idle
 * when done. */
void sim_blobs_read_beyond(struct sim_blobs *w);
/* Checks all histories, to the first that fails; reports through the cluster's problem hook. */
void sim_blobs_check(struct sim_blobs *w);
const struct sim_blobs_stats *sim_blobs_stats(const struct sim_blobs *w);
void sim_blobs_print(const struct sim_blobs *w, void (*line)(void *arg, const char *), void *arg);
