/* See lifecycle.h.  The steps of a round.
 *
 *   READING ──► LISTING ──► CONFIRMING ──► PROPOSING ──► ... ──► PACING ──► READING
 *      │           │ nothing to delete ────────────────────────────▲
 *      │           └ uploads: CONFIRMING ──► ABORTING, one after the other ──► PACING
 *      └── all was looked at, or nothing is to be done any more: the job ends
 *
 * Before each proposal it is asked once more whether the rules are still those that it was judged
 * by.  If not, and when something fails, it is done again from the place that was saved before it,
 * in the latter case after a while. */
#include "gateway/op/events.h"
#include "gateway/work/lifecycle_internal.h"
#include "gateway/work/walk.h"

#include "common/base/check.h"
#include "common/obs/log.h"

#include <stdlib.h>

#define UPLOADS_PAGE 200
#define DELETED_COST 10 /* versions looked at that one deleted counts as */

enum round_state {
    ROUND_READING,
    ROUND_LISTING,
    ROUND_CONFIRMING,
    ROUND_PROPOSING,
    ROUND_ABORTING,
    ROUND_PACING,
};

struct round {
    struct job *job;
    struct gateway *gw;
    struct lifecycle *l;
    enum round_state state;
    struct lifecycle_place place;
    struct meta_read read; /* its entry holds the rules until the next one */
    struct meta_read confirm;
    enum round_state confirmed; /* what comes then */
    bool has_read, has_list, has_uploads;
    const Cairn__BucketRecord *bucket;
    const struct s3_lifecycle *rules;
    struct arena arena; /* of a page */
    struct meta_list list;
    struct meta_list_uploads uploads;
    struct slice prefix;
    size_t at; /* of the page's entries: to be looked at next */
    struct lifecycle_batch batch;
    Cairn__AbortUpload abort;
    struct meta_propose propose;
    struct env_timer timer;
    struct pace pace;
    uint64_t cost, begun_ns;
    uint64_t expired, deleted, aborted;
};

static void round_read(struct round *r);
static void versions_go_on(struct round *r);
static void uploads_go_on(struct round *r);

static uint64_t deadline(const struct round *r)
{
    return env_now_ns(r->gw->env) + r->gw->config->timeout_ms * NS_PER_MS;
}

/* ---- the end ---- */

static void page_drop(struct round *r)
{
    if (r->has_list)
        meta_list_fini(&r->list);
    if (r->has_uploads)
        meta_list_uploads_fini(&r->uploads);
    if (r->has_read)
        meta_read_fini(&r->read);
    r->has_list = r->has_uploads = r->has_read = false;
    r->bucket = NULL;
    r->rules = NULL;
}

static void round_end(struct round *r, enum job_result result)
{
    struct job *job = r->job;
    uint64_t ns = env_now_ns(r->gw->env) - r->begun_ns;
    if (result == JOB_DONE) {
        metric_inc(r->l->metrics->rounds);
        metric_set(r->l->metrics->round_seconds, (int64_t)(ns / NS_PER_SEC));
    }
    if (r->expired || r->deleted || r->aborted || result == JOB_FAILED)
        log_info("lifecycle.round", 0, L_STR("bucket", job->bucket),
                 L_STR("result", result == JOB_LATER    ? "later"
                                 : result == JOB_FAILED ? "failed"
                                                        : "done"),
                 L_UINT("expired", r->expired), L_UINT("deleted", r->deleted),
                 L_UINT("aborted", r->aborted), L_UINT("ms", ns / NS_PER_MS));
    env_timer_stop(&r->timer);
    page_drop(r);
    lifecycle_place_fini(&r->place);
    arena_fini(&r->arena);
    arena_fini(&r->batch.arena);
    free(r);
    job_end(job, result);
}

/* ---- from page to page ---- */

static void round_save(struct round *r)
{
    lifecycle_place_write(&r->place, &r->job->cursor);
    job_save(r->job);
}

static void round_sleep(struct round *r, uint64_t ns)
{
    page_drop(r);
    if (r->job->stopping) {
        round_end(r, JOB_LATER);
        return;
    }
    r->state = ROUND_PACING;
    env_timer_start(&r->timer, ns);
}

/* What was looked at and deleted since the last time, at the rate that is allowed. */
static void round_pace(struct round *r)
{
    pace_add(&r->pace, r->cost);
    r->cost = 0;
    if (job_should_yield(r->job))
        round_end(r, JOB_LATER);
    else
        round_sleep(r, pace_left_ns(&r->pace));
}

static void round_failed(struct round *r, int err)
{
    uint64_t ns;
    if (!pace_failed(&r->pace, &ns)) {
        log_info("lifecycle.failed", 0, L_STR("bucket", r->job->bucket), L_ERR(err));
        round_end(r, JOB_FAILED);
        return;
    }
    lifecycle_place_read(&r->place, buf_view(&r->job->cursor));
    round_sleep(r, ns);
}

static void timer_cb(struct env_timer *timer)
{
    round_read(container_of(timer, struct round, timer));
}

/* ---- proposals ---- */

static bool rules_are_the_same(const struct round *r, const struct cache_entry *bucket)
{
    const Cairn__Record *now = bucket->record;
    return now->present && now->bucket->id == r->bucket->id &&
           slice_eq(bucket_lifecycle_document(now->bucket), bucket_lifecycle_document(r->bucket));
}

static void confirmed_cb(struct meta_read *read)
{
    struct round *r = container_of(read, struct round, confirm);
    int err = read->err;
    bool same = err == OK && rules_are_the_same(r, read->bucket_entry);
    meta_read_fini(read);
    if (err != OK) {
        round_failed(r, err);
    } else if (same && !r->job->stopping) {
        r->state = r->confirmed;
        r->propose.deadline_ns = deadline(r);
        meta_propose_start(r->gw->mc, &r->propose);
    } else {
        lifecycle_place_read(&r->place, buf_view(&r->job->cursor));
        round_sleep(r, 0);
    }
}

/* Whoever took the rules away has been answered when a witness says that they are no more: what is
 * proposed from then on is none of theirs. */
static void round_propose(struct round *r, enum round_state state, struct slice key,
                          void (*cb)(struct meta_propose *))
{
    struct meta_propose *p = &r->propose;
    p->command.settings_version = r->bucket->settings_version;
    p->command.versioning = r->bucket->versioning;
    p->bucket_id = r->bucket->id;
    p->key = key;
    p->root = false;
    p->cb = cb;
    r->confirm = (struct meta_read){
        .bucket = slice_cstr(r->job->bucket),
        .deadline_ns = deadline(r),
        .cb = confirmed_cb,
    };
    r->confirmed = state;
    r->state = ROUND_CONFIRMING;
    meta_read_start(r->gw->mc, &r->confirm);
}

static void count_key(struct round *r, enum s3_lifecycle_action action, int err)
{
    const struct lifecycle_metrics *m = r->l->metrics;
    if (err != OK) { /* what was locked is, and what was changed is no longer what was judged */
        metric_inc(err == ERR_LOCKED ? m->locked : m->overtaken);
        return;
    }
    r->cost += DELETED_COST;
    r->expired += action == S3_LIFECYCLE_EXPIRE;
    r->deleted += action != S3_LIFECYCLE_EXPIRE;
    metric_inc(action == S3_LIFECYCLE_EXPIRE           ? m->expired
               : action == S3_LIFECYCLE_DELETE_VERSION ? m->versions
                                                       : m->markers);
}

static void deleted_cb(struct meta_propose *p)
{
    struct round *r = container_of(p, struct round, propose);
    const Cairn__Outcome *o = p->outcome;
    size_t count = r->batch.command.n_keys;
    int err = p->err;
    bool each = err == OK && o->n_key_errs == count;
    if (err == OK)
        events_account(r->gw, slice_cstr(r->job->bucket), o);
    for (size_t i = 0; err == OK && i < count; i++)
        count_key(r, (enum s3_lifecycle_action)r->batch.actions[i], each ? o->key_errs[i] : OK);
    meta_propose_fini(p);
    if (err != OK) {
        round_failed(r, err);
        return;
    }
    round_save(r);
    if (r->job->stopping)
        round_end(r, JOB_LATER);
    else
        versions_go_on(r);
}

/* ---- versions ---- */

/* The page was gone through: the next one of the prefix, or the next prefix. */
static void versions_page_end(struct round *r)
{
    if (!r->list.more) {
        lifecycle_place_clear(&r->place);
        buf_slice(&r->place.key, r->prefix);
        r->place.past = true;
        if (r->prefix.len == 0) { /* that was all */
            lifecycle_place_clear(&r->place);
            r->place.phase = LIFECYCLE_UPLOADS;
        }
    }
    round_save(r);
    round_pace(r);
}

/* Who listens hears of expirations as of other deletions.  As on S3 they are not replicated: each
 * bucket has rules of its own. */
static int order_events(struct round *r)
{
    static const struct event_origin origin = {
        .requester = {(const uint8_t *)"s3.amazonaws.com", 16},
        .source_ip = {(const uint8_t *)"s3.amazonaws.com", 16},
        .replica = true,
    };
    r->propose.command.versioning = r->bucket->versioning;
    return events_order(r->gw, &r->batch.arena, r->bucket, &origin, S3_EVENT_EXPIRED_DELETE,
                        &r->propose.command);
}

static void versions_go_on(struct round *r)
{
    while (r->at < r->list.entry_count) {
        int err = lifecycle_batch_fill(&r->batch, r->gw->mc, r->rules, r->bucket->id,
                                       env_wall_ms(r->gw->env), lifecycle_day_ms(r->gw),
                                       r->list.entries, r->list.entry_count, &r->at, &r->place);
        if (err != OK) {
            round_failed(r, err);
            return;
        }
        r->cost += r->batch.looked;
        metric_add(r->l->metrics->looked, r->batch.looked);
        if (r->batch.command.n_keys == 0)
            continue;
        r->batch.command.owner_id = r->bucket->owner_id;
        cairn__command__init(&r->propose.command);
        r->propose.command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
        r->propose.command.delete_objects = &r->batch.command;
        err = order_events(r);
        if (err != OK) {
            round_failed(r, err);
            return;
        }
        round_propose(r, ROUND_PROPOSING, bytes_of(r->batch.command.keys[0]), deleted_cb);
        return;
    }
    versions_page_end(r);
}

static void listed_cb(struct meta_list *list)
{
    struct round *r = container_of(list, struct round, list);
    if (list->err != OK)
        round_failed(r, list->err);
    else if (r->job->stopping)
        round_end(r, JOB_LATER);
    else
        versions_go_on(r);
}

static void versions_list(struct round *r)
{
    struct slice key = buf_view(&r->place.key);
    bool within = !r->place.past && slice_has_prefix(key, r->prefix);
    r->at = 0;
    r->has_list = true;
    r->list = (struct meta_list){
        .bucket_id = r->bucket->id,
        .prefix = r->prefix,
        .start_after = within ? key : SLICE_EMPTY,
        .after_version = within ? r->place.version : VERSION_NONE,
        .versions = true,
        .want_tags = r->rules->wants_tags,
        .keys_max = LIFECYCLE_PAGE,
        .deadline_ns = deadline(r),
        .cb = listed_cb,
    };
    r->state = ROUND_LISTING;
    meta_list_start(r->gw->mc, &r->list);
}

/* ---- uploads ---- */

static void aborted_cb(struct meta_propose *p)
{
    struct round *r = container_of(p, struct round, propose);
    const struct lifecycle_metrics *m = r->l->metrics;
    int err = p->err;
    bool decided = err == OK || err == ERR_NO_UPLOAD || err == ERR_PRECONDITION;
    meta_propose_fini(p);
    if (!decided) {
        round_failed(r, err);
        return;
    }
    metric_inc(err == OK ? m->uploads : m->overtaken);
    r->aborted += err == OK;
    r->cost += DELETED_COST;
    if (r->job->stopping)
        round_end(r, JOB_LATER);
    else
        uploads_go_on(r);
}

static void uploads_page_end(struct round *r)
{
    if (!r->uploads.more) {
        round_end(r, JOB_DONE);
        return;
    }
    const Cairn__UploadEntry *last = r->uploads.entries[r->uploads.entry_count - 1];
    lifecycle_place_clear(&r->place);
    buf_slice(&r->place.key, bytes_of(last->key));
    buf_slice(&r->place.upload_id, bytes_of(last->upload->upload_id));
    round_save(r);
    round_pace(r);
}

static void uploads_go_on(struct round *r)
{
    uint64_t now = env_wall_ms(r->gw->env), due;
    while (r->at < r->uploads.entry_count) {
        const Cairn__UploadEntry *e = r->uploads.entries[r->at++];
        r->cost++;
        if (!s3_lifecycle_abort(r->rules, bytes_of(e->key), e->upload->initiated_ms,
                                lifecycle_day_ms(r->gw), &due) ||
            due > now)
            continue;
        cairn__abort_upload__init(&r->abort);
        r->abort.bucket_id = r->bucket->id;
        r->abort.key = e->key;
        r->abort.upload_id = e->upload->upload_id;
        r->abort.not_before_ms = due;
        cairn__command__init(&r->propose.command);
        r->propose.command.op_case = CAIRN__COMMAND__OP_ABORT_UPLOAD;
        r->propose.command.abort_upload = &r->abort;
        round_propose(r, ROUND_ABORTING, bytes_of(e->key), aborted_cb);
        return;
    }
    uploads_page_end(r);
}

static void uploads_listed_cb(struct meta_list_uploads *list)
{
    struct round *r = container_of(list, struct round, uploads);
    if (list->err != OK)
        round_failed(r, list->err);
    else if (r->job->stopping)
        round_end(r, JOB_LATER);
    else
        uploads_go_on(r);
}

static void uploads_list(struct round *r)
{
    r->at = 0;
    r->has_uploads = true;
    r->uploads = (struct meta_list_uploads){
        .bucket_id = r->bucket->id,
        .key_marker = buf_view(&r->place.key),
        .upload_id_marker = buf_view(&r->place.upload_id),
        .uploads_max = UPLOADS_PAGE,
        .deadline_ns = deadline(r),
        .cb = uploads_listed_cb,
    };
    r->state = ROUND_LISTING;
    meta_list_uploads_start(r->gw->mc, &r->uploads);
}

static bool any_aborts(const struct s3_lifecycle *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->rules[i].enabled && l->rules[i].abort_days)
            return true;
    return false;
}

/* ---- the bucket, and what is next ---- */

static void round_next(struct round *r)
{
    struct slice *prefixes;
    size_t count;
    arena_reset(&r->arena);
    if (!s3_lifecycle_prefixes(&r->arena, r->rules, &prefixes, &count)) {
        round_failed(r, ERR_NOMEM);
        return;
    }
    if (r->place.phase == LIFECYCLE_VERSIONS) {
        if (lifecycle_place_prefix(&r->place, prefixes, count, &r->prefix)) {
            versions_list(r);
            return;
        }
        lifecycle_place_clear(&r->place);
        r->place.phase = LIFECYCLE_UPLOADS;
    }
    if (any_aborts(r->rules))
        uploads_list(r);
    else
        round_end(r, JOB_DONE);
}

static void read_cb(struct meta_read *read)
{
    struct round *r = container_of(read, struct round, read);
    bool unreadable = false;
    if (read->err != OK) {
        round_failed(r, read->err);
        return;
    }
    const Cairn__Record *record = read->bucket_entry->record;
    bool is_there = record->present && record->bucket->id == r->job->bucket_id &&
                    record->bucket->state == CAIRN__BUCKET_STATE__BUCKET_ACTIVE;
    r->bucket = is_there ? record->bucket : NULL;
    r->rules = is_there ? bucket_lifecycle(r->gw, read->bucket_entry, &unreadable) : NULL;
    if (unreadable)
        round_failed(r, ERR_UNIMPLEMENTED);
    else if (r->job->stopping)
        round_end(r, JOB_LATER);
    else if (!r->rules)
        round_end(r, job_idle(r->job, record));
    else
        round_next(r);
}

static void round_read(struct round *r)
{
    r->has_read = true;
    r->read = (struct meta_read){
        .bucket = slice_cstr(r->job->bucket),
        .deadline_ns = deadline(r),
        .cb = read_cb,
    };
    r->state = ROUND_READING;
    meta_read_start(r->gw->mc, &r->read);
}

/* ---- the kind of job ---- */

static int round_start(struct job *job)
{
    struct round *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->job = job;
    r->gw = job->gw;
    r->l = job->kind->user;
    r->begun_ns = env_now_ns(r->gw->env);
    r->pace = (struct pace){.env = r->gw->env, .rate = r->l->config.rate};
    arena_init(&r->arena, 0);
    arena_init(&r->batch.arena, 0);
    env_timer_init(r->gw->env, &r->timer, timer_cb);
    lifecycle_place_read(&r->place, buf_view(&job->cursor));
    job->work = r;
    round_read(r);
    return OK;
}

/* What is under way comes to its end first. */
static void round_stop(struct job *job)
{
    struct round *r = job->work;
    if (r->state == ROUND_PACING)
        round_end(r, JOB_LATER);
}

void lifecycle_metrics_init(struct lifecycle_metrics *m)
{
#define NEW(field, name, help) m->field = metric_counter_new("cairn_lifecycle_" name, NULL, help)
    NEW(looked, "versions_looked_at_total", "Versions that lifecycle rules were asked about.");
    NEW(expired, "objects_expired_total", "Objects deleted by lifecycle rules, or hidden.");
    NEW(versions, "versions_deleted_total", "Noncurrent versions deleted by lifecycle rules.");
    NEW(markers, "markers_deleted_total", "Delete markers that were alone, deleted by rules.");
    NEW(uploads, "uploads_aborted_total", "Uploads aborted by lifecycle rules.");
    NEW(overtaken, "overtaken_total", "What had changed when it was to be deleted: it stays.");
    NEW(locked, "locked_total", "What was to be deleted and is locked: it stays.");
    NEW(rounds, "rounds_total", "Buckets that were gone through to the end.");
#undef NEW
    m->oldest = metric_gauge_new("cairn_lifecycle_oldest_seconds", NULL,
                                 "Since the last round was finished, of the bucket with rules of "
                                 "which that is longest ago.");
    m->round_seconds = metric_gauge_new("cairn_lifecycle_round_seconds", NULL,
                                        "What the last bucket took that was finished here.");
}

const struct job_kind *lifecycle_init(struct lifecycle *l, const struct lifecycle_config *config,
                                      const struct lifecycle_metrics *metrics)
{
    *l = (struct lifecycle){.config = *config, .metrics = metrics};
    l->kind = (struct job_kind){
        .name = "lifecycle",
        .setting = CAIRN__SETTING_KIND__SETTING_LIFECYCLE,
        .period_ms = config->interval_ms,
        .oldest = metrics->oldest,
        .parallel_max = config->parallel,
        .user = l,
        .start = round_start,
        .stop = round_stop,
    };
    return &l->kind;
}
