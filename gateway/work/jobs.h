#pragma once
/* Work on buckets, and accounts, that nobody waits for: lifecycle rules, queues, reports.  Gateways
 * do it; a row of the registry (JobRow) for each bucket and kind of work says who is at it, and how
 * far.
 *
 *   now and then:  the root: which buckets have such a setting?  which accounts a quota?
 *   each of these: its row: due? ──► claim it (compare and swap) ──► the kind's worker
 *                                      │ renew, and save the cursor     │
 *                                      └──────── give it back ◄─────────┘ job_end()
 *
 * A lease is by the clocks of gateways and by what they last heard.  It spares them doing the same
 * twice and no more: two may be at one job, after a pause or with a clock that is wrong.  So every
 * change that a worker makes must be right whoever else makes it: under conditions that the index
 * decides at apply (Condition), or such that once more does no harm.  A cursor only says from where
 * on to look again.
 *
 * A row goes with its bucket (FinishDeleteBucket); one that a worker still makes, or keeps, for a
 * bucket that is gone, or without its setting, goes when it finds that out (JOB_GONE).
 *
 * A round is begun anew a period after it began, and at once when the setting was changed since.
 * One that was not finished is gone on with, here or elsewhere, from its saved cursor.
 *
 * A process has one, on one of its loops.  A cluster in which nothing is due costs these questions
 * to the root an interval and gateway, whose answers name the buckets and accounts; what their rows
 * said is remembered until it may have changed.  Memory: 48 bytes a job that was seen,
 * up to JOBS_SEEN_MAX of them (beyond that, rows are read again at each look). */
#include "gateway/op/gateway.h"

#define JOB_KINDS_MAX 16
#define JOBS_PARALLEL_MAX 64
#define JOBS_SEEN_MAX (1u << 16)
#define JOB_ID_CHARS_MAX 64
#define JOB_BUCKET_CHARS_MAX 63
#define JOB_ACCOUNT_CHARS 12
#define JOB_CURSOR_BYTES_MAX (16u << 10) /* cursor and state together */

struct job;
struct jobs;

enum job_result {
    JOB_DONE,   /* the round is finished; the next begins at its cursor's beginning */
    JOB_GONE,   /* the bucket is no more, or has no such setting: nor will the row be */
    JOB_LATER,  /* it is not: it goes on from the cursor, soon, here or elsewhere */
    JOB_FAILED, /* the same, after a pause that grows from failure to failure */
};

/* What to do for the buckets that have a setting.  Borrowed for as long as the jobs. */
struct job_kind {
    const char *name; /* of the rows: "name", or "name/id"; never to be changed again */
    unsigned setting; /* SettingKind */
    bool each_id;     /* of settings that come in numbers: a job for each, by its id */
    bool of_accounts; /* not of buckets: of the accounts that have a quota; no setting, no ids */
    uint64_t period_ms;
    struct metric_gauge *oldest; /* seconds since the end of the round that ended longest ago, of
                                  * the buckets that have the setting; NULL: not shown */
    unsigned parallel_max; /* of these at a time in this process; 0: as many as there may be */
    void *user;
    /* Begins, or goes on from job->cursor.  OK: job_end() will be called once, later; any other:
     * the job is given back, as failed.  Reads the bucket for itself: whether it and the setting
     * are still there is not known (if not: JOB_GONE). */
    int (*start)(struct job *job);
    /* The process ends, or the lease is lost: job_end() soon, and nothing new begun. */
    void (*stop)(struct job *job);
};

struct job {
    /* For the worker to read. */
    struct gateway *gw;
    const struct job_kind *kind;
    char bucket[JOB_BUCKET_CHARS_MAX + 1];
    uint64_t bucket_id;
    char account[JOB_ACCOUNT_CHARS + 1]; /* of_accounts, and then there is no bucket; else empty */
    char id[JOB_ID_CHARS_MAX + 1];       /* of each_id; else empty */
    uint64_t started_ms;                 /* the round, by the clock of whoever began it */
    uint64_t finished_ms;                /* the round before; 0: there was none */
    bool lost;     /* somebody else may be at it: nothing is written any more */
    bool stopping; /* stop() was called */
    /* The worker's: as last written, then as it likes; job_save() has them written. */
    struct buf cursor, state;
    void *work;
    struct jobs *jobs; /* private */
};

/* What the worker has read of the bucket says that there is nothing more to be done: JOB_GONE; or
 * not now, for it is being deleted: JOB_DONE. */
enum job_result job_idle(const struct job *job, const Cairn__Record *record);
/* It has worked for the time of a lease, and others wait for its place, those of its kind or, if
 * there is none left at all, any: what is saved lets it go on later (JOB_LATER), here, behind all of
 * them, or elsewhere, so that no bucket has to wait for the rounds of larger ones. */
bool job_should_yield(const struct job *job);
/* Cursor and state have changed: they are written with the next renewal of the lease, which is no
 * later than a third of it.  Whoever goes on does again what came after. */
void job_save(struct job *job);
/* The worker is at its end and touches the job no more.  With JOB_DONE the cursor is cleared, the
 * state is kept.  Not inside start(). */
void job_end(struct job *job, enum job_result result);

struct jobs_config {
    uint64_t interval_ms; /* between looks; spread by a quarter both ways */
    uint64_t lease_ms;
    unsigned parallel; /* at most JOBS_PARALLEL_MAX */
    const char *node_id;
    const struct job_kind *const *kinds;
    size_t kind_count; /* at most JOB_KINDS_MAX; 0: nothing is ever looked for */
};

struct jobs_metrics {
    struct metric_gauge *running;
    struct metric_counter *looks, *rows_read, *started, *done, *failed, *lost, *taken_over;
};
void jobs_metrics_init(struct jobs_metrics *m);

/* Begins after an interval.  gw, config's strings and kinds, and metrics are borrowed.
 * Returns: OK; ERR_NOMEM. */
int jobs_new(struct gateway *gw, const struct jobs_config *config,
             const struct jobs_metrics *metrics, struct jobs **ret);
/* Nothing further is begun; workers are told to stop, and their jobs given back.  Idempotent. */
void jobs_stop(struct jobs *jobs);
bool jobs_idle(const struct jobs *jobs); /* nothing is under way */
void jobs_free(struct jobs *jobs);       /* stopped and idle; NULL is fine */
