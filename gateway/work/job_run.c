/* One job: its row is read, claimed, written again for as long as its worker works, and given back.
 * The row's version is the ticket: whoever changed it meanwhile has the job. */
#include "gateway/work/jobs_internal.h"

#include "common/base/check.h"
#include "common/obs/log.h"

#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MS 1000              /* before a round that was not finished is gone on with here */
#define FAILED_PAUSE_MS_MAX 300000 /* before one that failed is; doubles up to this */
#define UNREACHED_PAUSE_MS 2000    /* the root did not answer */
#define LEASE_MS_MAX 3600000       /* of jobs_lease */

static void run_changed_cb(struct meta_propose *p);
static void run_read_cb(struct meta_rows *rows);

static struct env *env_of(const struct job_run *r)
{
    return r->job.gw->env;
}

static uint64_t now_ms(const struct job_run *r)
{
    return env_wall_ms(env_of(r));
}

static uint64_t jitter(const struct job_run *r, uint64_t up_to)
{
    uint32_t dice;
    env_random(env_of(r), &dice, sizeof(dice));
    return up_to ? dice % up_to : 0;
}

/* ---- what a row says ---- */

static bool round_open(const Cairn__JobRow *row)
{
    return row->started_ms != 0 && row->finished_ms < row->started_ms;
}

enum job_due job_due(const Cairn__JobRow *row, const char *node, uint64_t changed_ms,
                     uint64_t period_ms, uint64_t now, uint64_t *ret_not_before_ms)
{
    *ret_not_before_ms = 0;
    if (!row)
        return JOB_DUE;
    /* A lease that ends in the far future is a clock that was wrong, and would keep the job from
     * everybody.  A row of our own that this process does not know of is that of its life before.
     */
    if (row->holder && row->holder[0] && strcmp(row->holder, node) != 0 &&
        row->lease_until_ms > now && row->lease_until_ms <= now + 2 * LEASE_MS_MAX) {
        *ret_not_before_ms = row->lease_until_ms;
        return JOB_NOT_DUE;
    }
    if (round_open(row) || changed_ms > row->started_ms || row->started_ms > now)
        return JOB_DUE; /* a start in the future is a clock that was wrong */
    *ret_not_before_ms = row->started_ms + period_ms;
    return *ret_not_before_ms <= now ? JOB_DUE : JOB_NOT_DUE;
}

/* ---- the end ---- */

static void run_release(struct job_run *r)
{
    struct jobs *jobs = r->job.jobs;
    env_timer_stop(&r->timer);
    buf_fini(&r->job.cursor);
    buf_fini(&r->job.state);
    buf_fini(&r->value);
    job_run_init(r, jobs);
    jobs->used--;
    metric_gauge_add(jobs->metrics->running, -1);
}

/* Before it was running: the look waits for it. */
static void run_pass(struct job_run *r, uint64_t not_before_ms)
{
    struct jobs *jobs = r->job.jobs;
    jobs_remember(jobs, r, not_before_ms);
    run_release(r);
    jobs_decided(jobs);
}

static void run_over(struct job_run *r)
{
    struct jobs *jobs = r->job.jobs;
    struct job_seen *seen = job_seen_get(&jobs->seen, r->key);
    uint64_t pause = r->job.lost ? jobs->config.lease_ms : PAUSE_MS;
    if (seen && r->result == JOB_FAILED)
        pause = MIN((uint64_t)PAUSE_MS << MIN(seen->failures, 16), (uint64_t)FAILED_PAUSE_MS_MAX);
    if (seen) {
        seen->failures = r->result == JOB_FAILED ? (uint16_t)(MIN(seen->failures, 16) + 1) : 0;
        seen->turn = r->result == JOB_LATER ? jobs_turn(jobs, r->job.kind) : 0;
    }
    uint64_t not_before = r->result == JOB_DONE && !r->job.lost
                              ? r->job.started_ms + r->job.kind->period_ms
                              : now_ms(r) + pause;
    jobs_remember(jobs, r, not_before + jitter(r, pause / 4));
    run_release(r);
    jobs_freed(jobs);
}

/* ---- writing the row ---- */

static void run_write(struct job_run *r, enum job_state state)
{
    Cairn__JobRow row = CAIRN__JOB_ROW__INIT;
    const struct jobs_config *config = &r->job.jobs->config;
    bool gives = state == JOB_GIVING;
    row.holder = (char *)(uintptr_t)(gives ? "" : config->node_id);
    row.lease_until_ms = gives ? 0 : now_ms(r) + config->lease_ms;
    row.started_ms = r->job.started_ms;
    row.finished_ms = r->job.finished_ms;
    row.cursor = (ProtobufCBinaryData){r->job.cursor.len, r->job.cursor.ptr};
    row.state = (ProtobufCBinaryData){r->job.state.len, r->job.state.ptr};
    buf_clear(&r->value);
    size_t bytes = cairn__job_row__get_packed_size(&row);
    if (buf_reserve(&r->value, bytes) == OK)
        r->value.len = cairn__job_row__pack(&row, r->value.ptr);
    cairn__change_rows__init(&r->change);
    cairn__row_change__init(&r->row);
    r->row.kind = CAIRN__ROW_KIND__ROW_JOB;
    r->row.scope = r->scope;
    r->row.name = r->name;
    r->row.expected_version = r->version;
    r->row.remove = gives && r->result == JOB_GONE;
    if (!r->row.remove)
        r->row.value = (ProtobufCBinaryData){r->value.len, r->value.ptr};
    r->row_ptr = &r->row;
    r->change.n_changes = 1;
    r->change.changes = &r->row_ptr;
    cairn__command__init(&r->propose.command);
    r->propose.command.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    r->propose.command.change_rows = &r->change;
    r->propose.root = true;
    r->propose.cb = run_changed_cb;
    r->sent_ns = env_now_ns(env_of(r));
    r->propose.deadline_ns =
        r->sent_ns + MIN(r->job.gw->config->timeout_ms, config->lease_ms / 3 + 1) * NS_PER_MS;
    r->state = state;
    meta_propose_start(r->job.gw->mc, &r->propose);
}

static void run_give(struct job_run *r)
{
    if (r->job.lost) {
        run_over(r);
        return;
    }
    if (r->result == JOB_DONE) {
        r->job.finished_ms = MAX(now_ms(r), r->job.started_ms);
        buf_clear(&r->job.cursor);
        metric_inc(r->job.jobs->metrics->done);
    } else if (r->result == JOB_FAILED) {
        metric_inc(r->job.jobs->metrics->failed);
    }
    run_write(r, JOB_GIVING);
}

static void run_tell(struct job_run *r)
{
    if (r->begun && !r->ended && !r->job.stopping) {
        r->job.stopping = true;
        r->job.kind->stop(&r->job); /* may end it, and then it is free */
    }
}

static void run_lose(struct job_run *r)
{
    log_info("job.lost", 0, L_STR("kind", r->job.kind->name), L_STR("bucket", r->job.bucket),
             L_STR("account", r->job.account));
    metric_inc(r->job.jobs->metrics->lost);
    env_timer_stop(&r->timer);
    r->job.lost = true;
    r->state = JOB_RUNNING;
    if (r->ended)
        run_over(r);
    else
        run_tell(r);
}

/* ---- while it is ours ---- */

static uint64_t renew_ns(const struct job_run *r)
{
    return r->job.jobs->config.lease_ms * NS_PER_MS / 3;
}

static void run_begin(struct job_run *r)
{
    struct jobs *jobs = r->job.jobs;
    r->state = JOB_RUNNING;
    env_timer_start(&r->timer, renew_ns(r));
    jobs_show(jobs, r);
    if (jobs->stopped) {
        r->ended = true;
        r->result = JOB_LATER;
    } else {
        metric_inc(jobs->metrics->started);
        r->begun_ns = env_now_ns(env_of(r));
        r->begun = r->job.kind->start(&r->job) == OK;
        r->ended = !r->begun;
        r->result = JOB_FAILED;
    }
    if (r->ended)
        run_give(r);
    jobs_decided(jobs);
}

static void run_saved(struct job_run *r, int err, bool refused)
{
    uint64_t now = env_now_ns(env_of(r));
    if (refused && !r->unsure) {
        run_lose(r);
        return;
    }
    r->state = JOB_RUNNING;
    if (err == OK) {
        r->unsure = false;
    } else if (now >= r->lease_until_ns) {
        run_lose(r);
        return;
    } else if (err_class(err) == ERR_CLASS_UNKNOWN_OUTCOME) {
        r->unsure = true; /* the row may be ours under a version that we do not know */
    }
    if (refused) {
        r->state = JOB_SAVING;
        r->reread = true;
        r->rows.deadline_ns = now + renew_ns(r);
        meta_rows_start(r->job.gw->mc, &r->rows);
    } else if (r->ended) {
        run_give(r);
    } else {
        env_timer_start(&r->timer, err == OK ? renew_ns(r) : renew_ns(r) / 4);
    }
}

static void run_claimed(struct job_run *r, int err, bool refused)
{
    if (err == OK) {
        run_begin(r);
        return;
    }
    /* Whoever was quicker has just begun. */
    run_pass(r, now_ms(r) + (refused ? r->job.jobs->config.lease_ms / 2 : UNREACHED_PAUSE_MS));
}

static void run_changed_cb(struct meta_propose *p)
{
    struct job_run *r = container_of(p, struct job_run, propose);
    int err = p->err;
    bool refused = p->outcome && err == ERR_PRECONDITION;
    if (err == OK) {
        r->version = p->outcome->index;
        r->lease_until_ns = r->sent_ns + r->job.jobs->config.lease_ms * NS_PER_MS;
    }
    meta_propose_fini(p);
    if (r->state == JOB_GIVING)
        run_over(r); /* if it did not get there: the lease ends by itself */
    else if (r->state == JOB_CLAIMING)
        run_claimed(r, err, refused);
    else
        run_saved(r, err, refused);
}

static void run_timer_cb(struct env_timer *timer)
{
    struct job_run *r = container_of(timer, struct job_run, timer);
    if (r->state == JOB_RUNNING && !r->ended && !r->job.lost)
        run_write(r, JOB_SAVING);
}

/* ---- looking at the row ---- */

static Cairn__JobRow *row_unpack(const struct meta_rows *rows)
{
    const Cairn__Row *row = rows->rows[0];
    return cairn__job_row__unpack(NULL, row->value.len, row->value.data);
}

/* A renewal may have happened, and the next was refused: is it still ours? */
static void run_reread(struct job_run *r)
{
    struct meta_rows *rows = &r->rows;
    int err = rows->err;
    Cairn__JobRow *row = err == OK && rows->row_count ? row_unpack(rows) : NULL;
    bool ours = row && row->holder && strcmp(row->holder, r->job.jobs->config.node_id) == 0;
    uint64_t version = err == OK && rows->row_count ? rows->rows[0]->version : 0;
    cairn__job_row__free_unpacked(row, NULL);
    meta_rows_fini(rows);
    r->reread = false;
    if (err == OK && ours) {
        r->version = version;
        r->unsure = false;
        run_write(r, JOB_SAVING);
    } else if (err == OK) {
        run_lose(r);
    } else {
        run_saved(r, err, false);
    }
}

static bool run_take_row(struct job_run *r, const Cairn__JobRow *row)
{
    bool open = row && round_open(row) && row->started_ms <= now_ms(r);
    r->job.started_ms = open ? row->started_ms : now_ms(r);
    r->job.finished_ms = row ? row->finished_ms : 0;
    if (open)
        buf_append(&r->job.cursor, row->cursor.data, row->cursor.len);
    if (row)
        buf_append(&r->job.state, row->state.data, row->state.len);
    if (open && row->holder && row->holder[0])
        metric_inc(r->job.jobs->metrics->taken_over);
    return !r->job.cursor.failed && !r->job.state.failed;
}

static void run_read_cb(struct meta_rows *rows)
{
    struct job_run *r = container_of(rows, struct job_run, rows);
    struct jobs *jobs = r->job.jobs;
    metric_inc(jobs->metrics->rows_read);
    if (r->reread) {
        run_reread(r);
        return;
    }
    int err = rows->err;
    uint64_t not_before = now_ms(r) + UNREACHED_PAUSE_MS;
    Cairn__JobRow *row = NULL;
    bool due = false;
    if (err == OK && rows->row_count) {
        r->version = rows->rows[0]->version;
        row = row_unpack(rows);
        err = row ? OK : ERR_PROTO;
    }
    if (err == OK) {
        r->known = true;
        r->job.finished_ms = row ? row->finished_ms : 0;
        due = job_due(row, jobs->config.node_id, r->changed_ms, r->job.kind->period_ms, now_ms(r),
                      &not_before) == JOB_DUE;
        if (!due && row && row->lease_until_ms == not_before)
            not_before += jitter(r, jobs->config.lease_ms / 4);
    }
    if (due && !run_take_row(r, row))
        due = false;
    cairn__job_row__free_unpacked(row, NULL);
    meta_rows_fini(rows);
    if (due && !jobs->stopped)
        run_write(r, JOB_CLAIMING);
    else
        run_pass(r, not_before);
}

/* ---- for the looks ---- */

void job_run_init(struct job_run *r, struct jobs *jobs)
{
    *r = (struct job_run){.job = {.gw = jobs->gw, .jobs = jobs}};
    env_timer_init(jobs->gw->env, &r->timer, run_timer_cb);
}

void job_run_start(struct job_run *r, const struct job_kind *kind,
                   const struct job_subject *subject, uint64_t key)
{
    const char *id = subject->id;
    CHECK(r->state == JOB_FREE && strlen(id) <= JOB_ID_CHARS_MAX);
    CHECK(strlen(subject->bucket) <= JOB_BUCKET_CHARS_MAX);
    CHECK(strlen(subject->account) <= JOB_ACCOUNT_CHARS);
    struct jobs *jobs = r->job.jobs;
    jobs->used++;
    metric_gauge_add(jobs->metrics->running, 1);
    r->job.kind = kind;
    strcpy(r->job.bucket, subject->bucket);
    strcpy(r->job.account, subject->account);
    strcpy(r->job.id, id);
    r->job.bucket_id = subject->bucket_id;
    r->key = key;
    r->changed_ms = subject->changed_ms;
    if (subject->account[0])
        strcpy(r->scope, subject->account);
    else
        snprintf(r->scope, sizeof(r->scope), "%016llx", (unsigned long long)subject->bucket_id);
    int n = snprintf(r->name, sizeof(r->name), "%s%s%s", kind->name, id[0] ? "/" : "", id);
    CHECK(n > 0 && (size_t)n < sizeof(r->name));
    r->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_JOB,
        .scope = r->scope,
        .name = r->name,
        .deadline_ns = env_now_ns(env_of(r)) + jobs->gw->config->timeout_ms * NS_PER_MS,
        .cb = run_read_cb,
    };
    r->state = JOB_READING;
    meta_rows_start(jobs->gw->mc, &r->rows);
}

void job_run_stop(struct job_run *r)
{
    if (r->state == JOB_RUNNING || r->state == JOB_SAVING)
        run_tell(r);
}

/* ---- for workers ---- */

static bool has_setting(const struct job *job, const Cairn__BucketRecord *b)
{
    for (size_t i = 0; i < b->n_settings; i++)
        if (b->settings[i]->kind == job->kind->setting &&
            (!job->kind->each_id || strcmp(b->settings[i]->id, job->id) == 0))
            return true;
    return false;
}

enum job_result job_idle(const struct job *job, const Cairn__Record *record)
{
    const Cairn__BucketRecord *b = record->present ? record->bucket : NULL;
    if (!b || b->id != job->bucket_id)
        return JOB_GONE;
    bool whole = b->state == CAIRN__BUCKET_STATE__BUCKET_ACTIVE;
    return whole && !has_setting(job, b) ? JOB_GONE : JOB_DONE;
}

bool job_should_yield(const struct job *job)
{
    const struct job_run *r = container_of(job, struct job_run, job);
    uint64_t worked = env_now_ns(env_of(r)) - r->begun_ns;
    return worked >= job->jobs->config.lease_ms * NS_PER_MS && jobs_wait_for(job->jobs, job->kind);
}

void job_save(struct job *job)
{
    CHECK(job->cursor.len + job->state.len <= JOB_CURSOR_BYTES_MAX);
}

void job_end(struct job *job, enum job_result result)
{
    struct job_run *r = container_of(job, struct job_run, job);
    CHECK(r->begun && !r->ended);
    r->ended = true;
    r->result = result;
    if (r->state == JOB_RUNNING)
        run_give(r);
}
