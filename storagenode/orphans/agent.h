#pragma once
/* Orphans: blobs that this node holds and no record refers to, because the write that made them
 * never became one (DESIGN section 5, docs/decisions/0014-placement.md).
 *
 * Walks the shards of the groups that the node is a member of, or is becoming one, by group and
 * blob id, and asks about blobs that are older than orphan_age and not marked *confirmed*: the
 * partition that holds (bucket id, key) of the shard's owner looks at every record of that key.
 * What it refers to is marked (store_confirm(): in the disk's index; lost, it is asked again). What
 * it does not, it condemns in an entry of its log, and deletes by its deletion queue.
 *
 * Nothing is deleted here, and nothing here decides that something may be: a node whose clock is
 * wrong asks too early, and is told so, or too late.  Whoever does not answer is asked again in the
 * next walk.  A blob that some member lacks is asked about by the group's repairer whatever the
 * mark says (storagenode/repair/mend.h).  What lies in groups that the node has left is not asked
 * about: nobody would delete it here.  Nor is what is older than the cluster, by the map: an index
 * that was founded anew over these disks does not know it, and is no proof that nobody needs it.
 *
 * Bounds: pages of ORPHAN_BATCH_MAX blobs (memory: about 80 KiB), SCAN_MAX index lines a page;
 * blobs_per_sec questions.  The place that the walk has reached is kept in memory; a node that
 * starts again begins anew, and passes over what is confirmed.
 *
 * Runs on: the env's loop of disks and map. */
#include "proto/map_client.h"
#include "storagenode/op/disks.h"

struct orphans;

struct orphans_config {
    const char *node_id;    /* copied */
    uint64_t orphan_age_ms; /* 0: 24 h */
    uint64_t interval_ns;   /* 0: a 24th of orphan_age, 1 s to 1 h; between two walks */
    uint64_t blobs_per_sec; /* 0: 200 */
    uint64_t timeout_ns;    /* 0: 10 s; of one question */
};

struct orphans_stats {
    uint64_t walks;      /* ended */
    uint64_t asked;      /* blobs */
    uint64_t confirmed;  /* of these: a record refers to them */
    uint64_t condemned;  /* none does: they are, or were already, condemned */
    uint64_t young;      /* none does, and the partition calls it too early */
    uint64_t unanswered; /* blobs whose partition did not answer */
    uint64_t unreadable; /* blobs whose shard's head could not be read */
    uint64_t pages_failed;
    uint64_t left;    /* of the last walk: old enough and neither confirmed nor condemned, */
    uint64_t foreign; /* of these: older than the cluster */
};

/* disks and map outlive it.  Starts at once.  OK; ERR_INVAL; ERR_NOMEM. */
int orphans_new(struct env *env, struct disks *disks, struct map_client *map,
                const struct orphans_config *config, struct orphans **ret);
void orphans_stop(struct orphans *o);       /* what is under way ends soon */
bool orphans_idle(const struct orphans *o); /* no callback is to come */
void orphans_free(struct orphans *o);       /* idle, or after a crash in a simulation */
void orphans_stats(const struct orphans *o, struct orphans_stats *ret);

/* Metrics cairn_orphans_*, of the one agent of a process, until it is freed.  Read on the thread
 * that scrapes, which has to be the loop's.  OK; ERR_NOMEM. */
int orphans_metrics_register(struct orphans *o);
