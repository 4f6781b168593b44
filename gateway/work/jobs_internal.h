#pragma once
/* What the files of jobs.h share: one job that this process has claimed, or is about to
 * (job_run.c), what is remembered of the others (job_seen.c), and the looks that find them (jobs.c,
 * jobs_accounts.c). */
#include "gateway/meta/rows.h"
#include "gateway/work/jobs.h"

/* ---- job_seen.c: until when a job needs no look ---- */

struct job_seen {
    uint64_t key; /* 0: empty */
    uint64_t not_before_ms, changed_ms;
    uint64_t finished_ms; /* of its last round, or when the setting was made; 0: not known */
    const struct metric_gauge *shown; /* where */
    uint32_t look;
    uint16_t failures; /* in a row, here */
    uint16_t turn; /* in which it gave way here, of its kind's; 0: none */
};
struct job_seen_table {
    struct job_seen *slots;
    size_t cap, count;
};
uint64_t job_seen_key(uint64_t bucket_id, const char *kind, const char *id);
/* The entry, made if there is none; NULL: no room, or no memory.  Good until the next call. */
struct job_seen *job_seen_get(struct job_seen_table *t, uint64_t key);
/* The earliest finished_ms that is known of those that are shown there; 0: there is none. */
uint64_t job_seen_oldest(const struct job_seen_table *t, const struct metric_gauge *shown);
/* Forgets what the look did not meet. */
void job_seen_sweep(struct job_seen_table *t, uint32_t look);
void job_seen_fini(struct job_seen_table *t);

/* ---- job_run.c ---- */

/*   FREE ──► READING ──due──► CLAIMING ──► RUNNING ◄──► SAVING
 *    ▲          │ not due        │ refused    │ ended       │ ended
 *    └──────────┴────────────────┴────────────┴── GIVING ◄──┘ */
enum job_state { JOB_FREE, JOB_READING, JOB_CLAIMING, JOB_RUNNING, JOB_SAVING, JOB_GIVING };

struct job_run {
    struct job job;
    enum job_state state;
    uint64_t key, changed_ms;
    uint64_t version; /* of the row; 0: there is none */
    uint64_t lease_until_ns, sent_ns, begun_ns;
    bool ended, begun, reread, unsure;
    bool known; /* what the row says of rounds that were finished */
    enum job_result result;
    char scope[17], name[128];
    struct meta_rows rows;
    struct meta_propose propose;
    Cairn__ChangeRows change;
    Cairn__RowChange row, *row_ptr;
    struct buf value;
    struct env_timer timer;
};

/* What a job may be about; strings are borrowed. */
struct job_subject {
    const char *bucket; /* "": an account */
    uint64_t bucket_id;
    const char *account;
    const char *id; /* of each_id; else "" */
    uint64_t changed_ms;
};

enum job_due {
    JOB_DUE,
    JOB_NOT_DUE, /* before *ret_not_before_ms */
};
/* May the job be begun, or gone on with, by `node`, now?  row NULL: there is none.  Pure. */
enum job_due job_due(const Cairn__JobRow *row, const char *node, uint64_t changed_ms,
                     uint64_t period_ms, uint64_t now_ms, uint64_t *ret_not_before_ms);

void job_run_init(struct job_run *r, struct jobs *jobs);
/* A free one looks at its row, and claims it if it is due.  jobs_decided() comes once, later. */
void job_run_start(struct job_run *r, const struct job_kind *kind,
                   const struct job_subject *subject, uint64_t key);
void job_run_stop(struct job_run *r);

/* ---- jobs_accounts.c: the end of a look ---- */

#define JOB_ACCOUNTS_PAGE 64
#define JOB_ROW_CHARS_MAX 256 /* a name of any row */

struct job_accounts {
    bool looking;
    bool resume; /* the next look begins here, not with the buckets */
    struct meta_rows rows;
    struct job_account {
        char id[JOB_ACCOUNT_CHARS + 1];
        uint64_t changed_ms;
    } page[JOB_ACCOUNTS_PAGE];
    size_t count, next, next_kind;
    bool more;
    char at[JOB_ROW_CHARS_MAX + 1], last[JOB_ROW_CHARS_MAX + 1]; /* gone through; of the page */
};
/* The accounts' turn; look_whole() or look_end() follows, now or later. */
void jobs_accounts_look(struct jobs *jobs);
void jobs_accounts_go_on(struct jobs *jobs); /* what was decided last is decided */

/* ---- jobs.c ---- */

enum job_taken {
    JOB_TAKEN_NOT, /* nothing is to be done, here and now */
    JOB_TAKEN,     /* jobs_decided() comes, later */
    JOB_NO_ROOM,   /* nor for anything else: the look is to be cut */
};
/* The job of that kind, if it may be due, is looked at. */
enum job_taken jobs_take(struct jobs *jobs, const struct job_kind *kind,
                         const struct job_subject *subject);
void look_end(struct jobs *jobs);   /* of all, or it was `cut` for want of places */
void look_whole(struct jobs *jobs); /* of all */

struct jobs {
    struct gateway *gw;
    struct jobs_config config;
    const struct jobs_metrics *metrics;
    bool stopped;
    struct env_timer timer;
    /* the look under way */
    bool asking, deciding, cut, passed;
    /* Of kinds[i]: somebody waited for a place, when all was looked at last. */
    bool waits[JOB_KINDS_MAX];
    /* Who gave way goes behind all others of its kind that are due: it is passed over until a look
     * has met everybody and found a place left, with which a new turn begins. */
    uint16_t turn[JOB_KINDS_MAX];
    bool behind[JOB_KINDS_MAX]; /* somebody was passed over for that, in this look */
    uint32_t look;
    struct meta_call call;
    Cairn__ListBucketsRequest request;
    Cairn__ListBucketsResponse *page;
    size_t next_bucket, next_setting, next_kind;
    struct buf at; /* the last bucket that was looked at to the end; NUL-terminated */
    uint32_t settings[JOB_KINDS_MAX];
    size_t setting_count;
    bool any_of_accounts;
    struct job_accounts accounts;
    struct job_seen_table seen;
    unsigned used;
    struct job_run run[JOBS_PARALLEL_MAX];
};
/* The turn that those of its kind have; never 0. */
uint16_t jobs_turn(const struct jobs *jobs, const struct job_kind *kind);
/* The look may go on: the job is running, or free again. */
void jobs_decided(struct jobs *jobs);
/* A job that was running is free again. */
void jobs_freed(struct jobs *jobs);
/* Somebody waits for a place that one of the kind has. */
bool jobs_wait_for(const struct jobs *jobs, const struct job_kind *kind);
/* Remembers when its last round was. */
void jobs_show(struct jobs *jobs, const struct job_run *r);
/* Remembers that, and that a job needs no look before. */
void jobs_remember(struct jobs *jobs, const struct job_run *r, uint64_t not_before_ms);
