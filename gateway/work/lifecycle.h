#pragma once
/* Lifecycle rules carried out: a kind of job (jobs.h) that walks a bucket's versions, then its
 * uploads, and proposes to delete what its rules say has had its time.
 *
 *   each page: read the bucket (its rules as they are now) ─► list versions ─► judge each
 *                  ▲                                                             │
 *                  └── pace, save the place ◄── one command a partition ◄────────┘
 *                                               (read the bucket before: the same rules?)
 *
 * What was judged may have changed before it is deleted.  So each deletion goes with the conditions
 * under which it was right, and the index decides at apply (Condition): the object is the version
 * that was looked at, with the same tags if a rule asks for tags; an older version is not the
 * current one again, and as many newer ones are there as the rule keeps; a delete marker is still
 * alone; and the entry's time, not this gateway's clock, has reached the date.  What is locked is
 * refused there, too, and comes up again with the next round.  So it does no harm if two gateways
 * are at one bucket, or one with an old page.
 *
 * The rules themselves are no such condition: partitions do not know them.  They are asked for
 * again before each command, so that none is begun under rules that were taken away, or changed,
 * before; one that is under way may still be decided (docs/decisions/0019-background-work.md). */
#include "gateway/work/jobs.h"

struct lifecycle_config {
    uint64_t interval_ms; /* from the beginning of a round over a bucket to the next one's */
    uint64_t rate;        /* versions looked at a second and bucket; one deleted counts as ten */
    unsigned parallel;    /* buckets at a time */
};

struct lifecycle_metrics {
    struct metric_counter *looked, *expired, *versions, *markers, *uploads, *overtaken, *locked;
    struct metric_counter *rounds;
    struct metric_gauge *oldest, *round_seconds;
};
void lifecycle_metrics_init(struct lifecycle_metrics *m);

struct lifecycle {
    struct lifecycle_config config;
    const struct lifecycle_metrics *metrics;
    struct job_kind kind;
};
/* The kind to be given to jobs_new(); lives as long as they. */
const struct job_kind *lifecycle_init(struct lifecycle *l, const struct lifecycle_config *config,
                                      const struct lifecycle_metrics *metrics);
