/* See jobs.h.  The looks: which buckets have work, and who of this process does it.
 *
 * A look goes through the buckets in order of their names, one job after the other, and then
 * through the accounts (jobs_accounts.c); where it had to stop because as much as may be is under
 * way, the next one begins, so that each has its turn. */
#include "gateway/work/jobs_internal.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "proto/methods.h"

#include <stdlib.h>

#define PAGE_BUCKETS 200
#define AGAIN_NS (200 * NS_PER_MS) /* after a job ended while others waited for its place */

static void look_go_on(struct jobs *jobs);

/* ---- between looks ---- */

static void sleep_start(struct jobs *jobs)
{
    uint64_t ns = jobs->config.interval_ms * NS_PER_MS;
    uint32_t dice;
    env_random(jobs->gw->env, &dice, sizeof(dice));
    if (!jobs->stopped && jobs->config.kind_count)
        env_timer_start(&jobs->timer,
                        ns - ns / 4 + (uint64_t)((double)dice / UINT32_MAX * (double)(ns / 2)));
}

static bool is_looking(const struct jobs *jobs)
{
    return jobs->asking || jobs->deciding || jobs->page || jobs->accounts.looking;
}

void look_end(struct jobs *jobs)
{
    jobs->accounts.looking = false;
    cairn__list_buckets_response__free_unpacked(jobs->page, NULL);
    jobs->page = NULL;
    sleep_start(jobs);
    if (jobs->used == 0) /* those whose places others waited for have ended meanwhile */
        jobs_freed(jobs);
}

void jobs_freed(struct jobs *jobs)
{
    if ((jobs->cut || jobs->passed) && !jobs->stopped && !is_looking(jobs))
        env_timer_start(&jobs->timer, AGAIN_NS);
}

void jobs_show(struct jobs *jobs, const struct job_run *r)
{
    struct job_seen *seen = job_seen_get(&jobs->seen, r->key);
    if (!seen || !r->known)
        return;
    seen->shown = r->job.kind->oldest;
    /* A bucket that was never gone through: since that was asked for. */
    seen->finished_ms = r->job.finished_ms ? r->job.finished_ms : r->changed_ms;
}

void jobs_remember(struct jobs *jobs, const struct job_run *r, uint64_t not_before_ms)
{
    struct job_seen *seen = job_seen_get(&jobs->seen, r->key);
    if (!seen)
        return;
    seen->not_before_ms = not_before_ms;
    seen->changed_ms = r->changed_ms;
    seen->look = jobs->look;
    jobs_show(jobs, r);
}

/* ---- a page of buckets ---- */

static struct job_run *run_free(struct jobs *jobs)
{
    for (unsigned i = 0; i < jobs->config.parallel; i++)
        if (jobs->run[i].state == JOB_FREE)
            return &jobs->run[i];
    return NULL;
}

static unsigned of_kind(const struct jobs *jobs, const struct job_kind *kind)
{
    unsigned n = 0;
    for (unsigned i = 0; i < jobs->config.parallel; i++)
        n += jobs->run[i].state != JOB_FREE && jobs->run[i].job.kind == kind;
    return n;
}

static bool kind_full(const struct jobs *jobs, const struct job_kind *kind)
{
    return kind->parallel_max && of_kind(jobs, kind) >= kind->parallel_max;
}

static bool all_full(const struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->config.kind_count; i++)
        if (!kind_full(jobs, jobs->config.kinds[i]))
            return false;
    return true;
}

static bool is_running(const struct jobs *jobs, uint64_t key)
{
    for (unsigned i = 0; i < jobs->config.parallel; i++)
        if (jobs->run[i].state != JOB_FREE && jobs->run[i].key == key)
            return true;
    return false;
}

/* One job for the bucket: for the first of the kind's settings only. */
static bool is_first(const Cairn__BucketRecord *bucket, size_t setting)
{
    return setting == 0 || bucket->settings[setting - 1]->kind != bucket->settings[setting]->kind;
}

static bool needs_look(struct jobs *jobs, uint64_t key, uint64_t changed_ms)
{
    struct job_seen *seen = job_seen_get(&jobs->seen, key);
    if (!seen)
        return true;
    seen->look = jobs->look;
    if (changed_ms > seen->changed_ms)
        seen->failures = 0;
    return changed_ms > seen->changed_ms || seen->not_before_ms <= env_wall_ms(jobs->gw->env);
}

static size_t kind_index(const struct jobs *jobs, const struct job_kind *kind)
{
    size_t i = 0;
    while (i + 1 < jobs->config.kind_count && jobs->config.kinds[i] != kind)
        i++;
    return i;
}

bool jobs_wait_for(const struct jobs *jobs, const struct job_kind *kind)
{
    return jobs->waits[kind_index(jobs, kind)];
}

uint16_t jobs_turn(const struct jobs *jobs, const struct job_kind *kind)
{
    return jobs->turn[kind_index(jobs, kind)];
}

/* It gave way, and not all others have been asked yet. */
static bool is_behind(struct jobs *jobs, uint64_t key, size_t kind)
{
    const struct job_seen *seen = job_seen_get(&jobs->seen, key);
    return seen && seen->turn == jobs->turn[kind];
}

/* Everybody was met, and there are places still: those that gave way are next.  Whether there are
 * such. */
static bool turns_next(struct jobs *jobs)
{
    bool any = false;
    for (size_t i = 0; i < jobs->config.kind_count; i++) {
        if (jobs->behind[i] && !kind_full(jobs, jobs->config.kinds[i])) {
            jobs->turn[i] = jobs->turn[i] == UINT16_MAX ? 1 : (uint16_t)(jobs->turn[i] + 1);
            any = true;
        }
        jobs->behind[i] = false;
    }
    return any;
}

enum job_taken jobs_take(struct jobs *jobs, const struct job_kind *kind,
                         const struct job_subject *subject)
{
    /* An account's jobs have no id: its number stands there, beside no bucket's. */
    uint64_t key = job_seen_key(subject->bucket_id, kind->name,
                                subject->account[0] ? subject->account : subject->id);
    size_t at = kind_index(jobs, kind);
    if (!needs_look(jobs, key, subject->changed_ms) || is_running(jobs, key))
        return JOB_TAKEN_NOT;
    if (kind_full(jobs, kind)) {
        jobs->passed = jobs->waits[at] = true;
        return all_full(jobs) ? JOB_NO_ROOM : JOB_TAKEN_NOT;
    }
    if (is_behind(jobs, key, at)) {
        jobs->behind[at] = true;
        return JOB_TAKEN_NOT;
    }
    struct job_run *r = run_free(jobs);
    if (!r) { /* whoever has a place has what is waited for */
        for (size_t i = 0; i < jobs->config.kind_count; i++)
            jobs->waits[i] = true;
        return JOB_NO_ROOM;
    }
    jobs->deciding = true;
    job_run_start(r, kind, subject, key);
    return JOB_TAKEN;
}

static enum job_taken take(struct jobs *jobs, const struct job_kind *kind,
                           const Cairn__BucketRecord *bucket, size_t at)
{
    const Cairn__BucketSetting *setting = bucket->settings[at];
    if (kind->of_accounts || setting->kind != kind->setting ||
        (!kind->each_id && !is_first(bucket, at)) || strlen(bucket->name) > JOB_BUCKET_CHARS_MAX ||
        strlen(setting->id) > JOB_ID_CHARS_MAX)
        return JOB_TAKEN_NOT;
    struct job_subject subject = {bucket->name, bucket->id, "", kind->each_id ? setting->id : "",
                                  setting->changed_ms};
    return jobs_take(jobs, kind, &subject);
}

/* true: the page was gone through. */
static bool page_step(struct jobs *jobs)
{
    for (; jobs->next_bucket < jobs->page->n_buckets; jobs->next_bucket++) {
        const Cairn__BucketRecord *bucket = jobs->page->buckets[jobs->next_bucket];
        for (; jobs->next_setting < bucket->n_settings; jobs->next_setting++) {
            while (jobs->next_kind < jobs->config.kind_count) {
                enum job_taken t =
                    take(jobs, jobs->config.kinds[jobs->next_kind], bucket, jobs->next_setting);
                jobs->cut = t == JOB_NO_ROOM;
                if (jobs->cut)
                    return false;
                jobs->next_kind++;
                if (t == JOB_TAKEN)
                    return false;
            }
            jobs->next_kind = 0;
        }
        jobs->next_setting = 0;
        buf_clear(&jobs->at);
        buf_append(&jobs->at, bucket->name, strlen(bucket->name) + 1);
    }
    return true;
}

static void look_cb(struct meta_call *call)
{
    struct jobs *jobs = container_of(call, struct jobs, call);
    jobs->asking = false;
    if (call->err == OK && !jobs->stopped) {
        jobs->page = (Cairn__ListBucketsResponse *)(void *)call->response;
        call->response = NULL;
        jobs->next_bucket = jobs->next_setting = jobs->next_kind = 0;
    }
    meta_call_fini(call);
    if (jobs->page)
        look_go_on(jobs);
    else
        look_end(jobs);
}

static void look_ask(struct jobs *jobs)
{
    Cairn__ListBucketsRequest *q = &jobs->request;
    cairn__list_buckets_request__init(q);
    q->start_after = jobs->at.len ? (char *)jobs->at.ptr : (char *)(uintptr_t) "";
    q->buckets_max = PAGE_BUCKETS;
    q->with_settings = jobs->settings;
    q->n_with_settings = jobs->setting_count;
    jobs->asking = true;
    jobs->call = (struct meta_call){
        .method = &method_meta_list_buckets,
        .root = true,
        .request = &q->base,
        .deadline_ns = env_now_ns(jobs->gw->env) + jobs->gw->config->timeout_ms * NS_PER_MS,
        .cb = look_cb,
    };
    meta_call_start(jobs->gw->mc, &jobs->call);
}

/* What this look did not meet is forgotten: a look that was cut went on where it had stopped, so
 * all that is there was met under its number. */
void look_whole(struct jobs *jobs)
{
    uint64_t now = env_wall_ms(jobs->gw->env);
    job_seen_sweep(&jobs->seen, jobs->look);
    for (size_t i = 0; i < jobs->config.kind_count; i++) {
        struct metric_gauge *gauge = jobs->config.kinds[i]->oldest;
        uint64_t oldest = gauge ? job_seen_oldest(&jobs->seen, gauge) : 0;
        if (gauge)
            metric_set(gauge, oldest && oldest < now ? (int64_t)((now - oldest) / 1000) : 0);
    }
    jobs->look++;
    buf_clear(&jobs->at);
    bool again = turns_next(jobs);
    look_end(jobs);
    if (again && !jobs->stopped)
        env_timer_start(&jobs->timer, AGAIN_NS);
}

static void look_go_on(struct jobs *jobs)
{
    if (jobs->stopped) {
        look_end(jobs);
        return;
    }
    if (!page_step(jobs)) {
        if (jobs->cut)
            look_end(jobs);
        return;
    }
    bool more = jobs->page->more && jobs->page->resume_after[0];
    if (more) {
        buf_clear(&jobs->at);
        buf_append(&jobs->at, jobs->page->resume_after, strlen(jobs->page->resume_after) + 1);
    }
    cairn__list_buckets_response__free_unpacked(jobs->page, NULL);
    jobs->page = NULL;
    if (more && !jobs->at.failed)
        look_ask(jobs);
    else if (jobs->any_of_accounts)
        jobs_accounts_look(jobs);
    else
        look_whole(jobs);
}

void jobs_decided(struct jobs *jobs)
{
    jobs->deciding = false;
    if (jobs->page)
        look_go_on(jobs);
    else if (jobs->accounts.looking)
        jobs_accounts_go_on(jobs);
}

static void timer_cb(struct env_timer *timer)
{
    struct jobs *jobs = container_of(timer, struct jobs, timer);
    metric_inc(jobs->metrics->looks);
    jobs->cut = jobs->passed = false;
    memset(jobs->waits, 0, sizeof(jobs->waits));
    if (jobs->accounts.resume)
        jobs_accounts_look(jobs);
    else
        look_ask(jobs);
}

/* ---- life ---- */

void jobs_metrics_init(struct jobs_metrics *m)
{
    m->running = metric_gauge_new("cairn_jobs_running", NULL,
                                  "Background jobs that this gateway has or looks at.");
    m->looks = metric_counter_new("cairn_jobs_looks_total", NULL,
                                  "Questions which buckets and accounts have work.");
    m->rows_read = metric_counter_new("cairn_jobs_rows_read_total", NULL, "Rows of jobs read.");
    m->started =
        metric_counter_new("cairn_jobs_started_total", NULL, "Jobs begun or gone on with.");
    m->done = metric_counter_new("cairn_jobs_done_total", NULL, "Rounds of jobs finished.");
    m->failed = metric_counter_new("cairn_jobs_failed_total", NULL,
                                   "Jobs given back because they failed; they come up again.");
    m->lost = metric_counter_new("cairn_jobs_lost_total", NULL,
                                 "Jobs whose lease was lost while they ran.");
    m->taken_over = metric_counter_new("cairn_jobs_taken_over_total", NULL,
                                       "Jobs gone on with whose holder had not given them back.");
}

int jobs_new(struct gateway *gw, const struct jobs_config *config,
             const struct jobs_metrics *metrics, struct jobs **ret)
{
    CHECK(config->parallel >= 1 && config->parallel <= JOBS_PARALLEL_MAX);
    CHECK(config->kind_count <= JOB_KINDS_MAX);
    struct jobs *jobs = calloc(1, sizeof(*jobs));
    if (!jobs)
        return ERR_NOMEM;
    jobs->gw = gw;
    jobs->config = *config;
    jobs->metrics = metrics;
    jobs->look = 1;
    for (size_t i = 0; i < config->kind_count; i++) {
        if (config->kinds[i]->of_accounts)
            jobs->any_of_accounts = true;
        else
            jobs->settings[jobs->setting_count++] = config->kinds[i]->setting;
        jobs->turn[i] = 1;
    }
    for (unsigned i = 0; i < JOBS_PARALLEL_MAX; i++)
        job_run_init(&jobs->run[i], jobs);
    env_timer_init(gw->env, &jobs->timer, timer_cb);
    sleep_start(jobs);
    *ret = jobs;
    return OK;
}

void jobs_stop(struct jobs *jobs)
{
    if (jobs->stopped)
        return;
    jobs->stopped = true;
    env_timer_stop(&jobs->timer);
    if (jobs->page && !jobs->deciding)
        look_end(jobs);
    for (unsigned i = 0; i < jobs->config.parallel; i++)
        job_run_stop(&jobs->run[i]);
}

bool jobs_idle(const struct jobs *jobs)
{
    return !jobs->asking && jobs->used == 0;
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    CHECK(jobs->stopped && jobs_idle(jobs) && !jobs->page);
    job_seen_fini(&jobs->seen);
    buf_fini(&jobs->at);
    free(jobs);
}
