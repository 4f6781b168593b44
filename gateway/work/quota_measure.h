#pragma once
/* Counts what buckets and accounts with a quota hold: two kinds of job (jobs.h), which walk a
 * bucket's versions, or those of all buckets that the account owns, and leave what they counted as
 * the job's state (QuotaUsage).  As a list it is no snapshot: what changes meanwhile may be counted
 * or not, a bucket that is made or deleted too. */
#include "gateway/work/jobs.h"

struct quota_measure_config {
    uint64_t interval_ms; /* from the beginning of one count to the next one's */
    uint64_t rate;        /* versions counted a second and job; 0: no bound */
};

struct quota_measure_metrics {
    struct metric_counter *counted, *rounds;
};
void quota_measure_metrics_init(struct quota_measure_metrics *m);

struct quota_measure {
    struct quota_measure_config config;
    const struct quota_measure_metrics *metrics;
    struct job_kind of_buckets, of_accounts; /* to be given to jobs_new() */
};
/* Lives as long as the jobs. */
void quota_measure_init(struct quota_measure *q, const struct quota_measure_config *config,
                        const struct quota_measure_metrics *metrics);
