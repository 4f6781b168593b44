/* See quota_measure.h.
 *
 *   READING (the quota) ─► LISTING ─► PACING ─► LISTING ─► ... ─► the end
 *                             ▲          │ of an account, after a bucket's last page
 *                             └─ PICKING ◄  (the next of its buckets) ─► the end
 *
 * An account is walked as one: its buckets in order of their names, so that what was counted has
 * one beginning.  Were each bucket counted by a job of its own and the counts summed, the sum would
 * be as old as the oldest of them, and whoever uses it would have to read them all. */
#include "gateway/work/quota_measure.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/quota.h"
#include "gateway/work/walk.h"
#include "proto/methods.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE 500
#define PAGE_BUCKETS 64
#define PAGE_COST 20 /* versions whose time a page takes at least, though it be empty */
#define PARALLEL_MAX 2

enum round_state { ROUND_READING, ROUND_PICKING, ROUND_LISTING, ROUND_PACING };

struct round {
    struct job *job;
    struct gateway *gw;
    struct quota_measure *q;
    enum round_state state;
    struct meta_read read;
    bool is_known; /* what is counted was read, and has a quota */
    uint64_t quota_id;
    Cairn__QuotaUsage so_far;
    struct buf key; /* counted up to here */
    uint64_t version;
    struct meta_list list;
    struct env_timer timer;
    struct pace pace;
    /* the bucket that is counted: the job's, or one of the account's */
    char bucket[JOB_BUCKET_CHARS_MAX + 1]; /* of an account; "": none yet */
    uint64_t bucket_id;                    /* 0: that one is done */
    /* of an account */
    char arn[64]; /* of its root user */
    char *owner;  /* its canonical id */
    struct meta_call call;
    Cairn__ListBucketsRequest request;
    struct buf after; /* gone through up to here; NUL-terminated */
    struct {
        char name[JOB_BUCKET_CHARS_MAX + 1];
        uint64_t id;
    } page[PAGE_BUCKETS];
    size_t picked, page_count;
    bool more;
};

static void round_read(struct round *r);
static void round_next(struct round *r);

static bool of_account(const struct round *r)
{
    return r->job->kind->of_accounts;
}

static uint64_t deadline(const struct round *r)
{
    return env_now_ns(r->gw->env) + r->gw->config->timeout_ms * NS_PER_MS;
}

static void round_end(struct round *r, enum job_result result)
{
    struct job *job = r->job;
    env_timer_stop(&r->timer);
    buf_fini(&r->key);
    buf_fini(&r->after);
    free(r->owner);
    free(r);
    job_end(job, result);
}

static void round_sleep(struct round *r, uint64_t ns)
{
    if (r->job->stopping) {
        round_end(r, JOB_LATER);
        return;
    }
    r->state = ROUND_PACING;
    env_timer_start(&r->timer, ns);
}

static void round_failed(struct round *r, int err)
{
    uint64_t ns;
    if (!pace_failed(&r->pace, &ns)) {
        log_info("quota.failed", 0, L_STR("bucket", r->job->bucket),
                 L_STR("account", r->job->account), L_ERR(err));
        round_end(r, JOB_FAILED);
        return;
    }
    round_sleep(r, ns);
}

static void timer_cb(struct env_timer *timer)
{
    struct round *r = container_of(timer, struct round, timer);
    if (r->is_known)
        round_next(r);
    else
        round_read(r);
}

/* ---- cursor and state ---- */

static bool message_write(const ProtobufCMessage *m, struct buf *ret)
{
    size_t bytes = protobuf_c_message_get_packed_size(m);
    buf_clear(ret);
    if (buf_reserve(ret, bytes) != OK)
        return false;
    ret->len = protobuf_c_message_pack(m, ret->ptr);
    return true;
}

/* What cannot be read is as good as nothing: the round begins anew. */
static void cursor_read(struct round *r)
{
    struct slice s = buf_view(&r->job->cursor);
    cairn__quota_usage__init(&r->so_far);
    Cairn__QuotaCursor *c = s.len ? cairn__quota_cursor__unpack(NULL, s.len, s.ptr) : NULL;
    if (c && c->so_far && strlen(c->bucket) < sizeof(r->bucket)) {
        r->so_far.bytes = c->so_far->bytes;
        r->so_far.versions = c->so_far->versions;
        r->so_far.objects = c->so_far->objects;
        r->so_far.quota_id = c->so_far->quota_id;
        r->so_far.buckets = c->so_far->buckets;
        r->version = c->version;
        r->bucket_id = c->bucket_id;
        strcpy(r->bucket, c->bucket);
        buf_append(&r->key, c->key.data, c->key.len);
    }
    cairn__quota_cursor__free_unpacked(c, NULL);
}

static bool cursor_write(struct round *r)
{
    Cairn__QuotaCursor c = CAIRN__QUOTA_CURSOR__INIT;
    c.so_far = &r->so_far;
    c.key = (ProtobufCBinaryData){r->key.len, r->key.ptr};
    c.version = r->version;
    if (of_account(r)) {
        c.bucket = r->bucket;
        c.bucket_id = r->bucket_id;
    }
    return message_write(&c.base, &r->job->cursor);
}

/* What was counted for another quota is of no use. */
static void cursor_check(struct round *r)
{
    if (r->so_far.quota_id != r->quota_id) {
        cairn__quota_usage__init(&r->so_far);
        r->so_far.quota_id = r->quota_id;
        r->version = VERSION_NONE;
        r->bucket[0] = 0;
        r->bucket_id = 0;
        buf_clear(&r->key);
    }
    if (!of_account(r))
        r->bucket_id = r->job->bucket_id;
    buf_clear(&r->after);
    buf_append(&r->after, r->bucket, strlen(r->bucket) + 1);
}

static void round_done(struct round *r)
{
    r->so_far.started_ms = r->job->started_ms;
    r->so_far.measured_ms = env_wall_ms(r->gw->env);
    if (!message_write(&r->so_far.base, &r->job->state)) {
        round_end(r, JOB_FAILED);
        return;
    }
    metric_inc(r->q->metrics->rounds);
    round_end(r, JOB_DONE);
}

/* ---- the list ---- */

static void page_count(struct round *r)
{
    for (size_t i = 0; i < r->list.entry_count; i++) {
        const Cairn__ListEntry *e = r->list.entries[i];
        if (e->delete_marker)
            continue;
        r->so_far.bytes += e->size;
        r->so_far.versions++;
        r->so_far.objects += e->is_latest != 0;
    }
    metric_add(r->q->metrics->counted, r->list.entry_count);
}

static void listed_cb(struct meta_list *list)
{
    struct round *r = container_of(list, struct round, list);
    int err = list->err;
    bool more = list->more;
    size_t count = list->entry_count;
    if (err == OK) {
        page_count(r);
        walk_behind(&r->list, &r->key, &r->version);
    }
    meta_list_fini(list);
    if (err == OK && !more && of_account(r)) {
        r->bucket_id = 0;
        r->version = VERSION_NONE;
        buf_clear(&r->key);
        more = true; /* perhaps another bucket */
    }
    if (err != OK) {
        round_failed(r, err);
    } else if (!more) {
        round_done(r);
    } else if (r->key.failed || !cursor_write(r)) {
        round_end(r, JOB_FAILED);
    } else {
        pace_add(&r->pace, MAX(count, (size_t)PAGE_COST));
        job_save(r->job);
        if (job_should_yield(r->job))
            round_end(r, JOB_LATER);
        else
            round_sleep(r, pace_left_ns(&r->pace));
    }
}

static void round_list(struct round *r)
{
    r->list = (struct meta_list){
        .bucket_id = r->bucket_id,
        .start_after = buf_view(&r->key),
        .after_version = r->version,
        .versions = true,
        .keys_max = PAGE,
        .deadline_ns = deadline(r),
        .cb = listed_cb,
    };
    r->state = ROUND_LISTING;
    meta_list_start(r->gw->mc, &r->list);
}

/* ---- the buckets of an account ---- */

static void page_take(struct round *r, const Cairn__ListBucketsResponse *page)
{
    r->picked = r->page_count = 0;
    for (size_t i = 0; i < page->n_buckets && i < PAGE_BUCKETS; i++) {
        const Cairn__BucketRecord *b = page->buckets[i];
        if (strlen(b->name) > JOB_BUCKET_CHARS_MAX || b->id == 0)
            continue; /* there are none such */
        strcpy(r->page[r->page_count].name, b->name);
        r->page[r->page_count++].id = b->id;
    }
    r->more = page->more && page->resume_after[0];
    buf_clear(&r->after);
    buf_append(&r->after, page->resume_after, strlen(page->resume_after) + 1);
}

static void picked_cb(struct meta_call *call)
{
    struct round *r = container_of(call, struct round, call);
    int err = call->err;
    if (err == OK)
        page_take(r, (const Cairn__ListBucketsResponse *)(const void *)call->response);
    meta_call_fini(call);
    if (err != OK)
        round_failed(r, err);
    else if (r->after.failed)
        round_end(r, JOB_FAILED);
    else if (r->job->stopping)
        round_end(r, JOB_LATER);
    else
        round_next(r);
}

static void round_pick(struct round *r)
{
    Cairn__ListBucketsRequest *q = &r->request;
    cairn__list_buckets_request__init(q);
    q->owner_id = r->owner;
    q->start_after = (char *)r->after.ptr;
    q->buckets_max = PAGE_BUCKETS;
    r->call = (struct meta_call){
        .method = &method_meta_list_buckets,
        .root = true,
        .request = &q->base,
        .deadline_ns = deadline(r),
        .cb = picked_cb,
    };
    r->state = ROUND_PICKING;
    meta_call_start(r->gw->mc, &r->call);
}

/* The next page, of this bucket or of the next one. */
static void round_next(struct round *r)
{
    if (!r->bucket_id && r->picked < r->page_count) {
        strcpy(r->bucket, r->page[r->picked].name);
        r->bucket_id = r->page[r->picked++].id;
        r->so_far.buckets++;
    }
    if (r->bucket_id)
        round_list(r);
    else if (r->more)
        round_pick(r);
    else
        round_done(r);
}

/* ---- what is counted, and for which quota ---- */

/* false: the bucket is gone, or has no quota any more. */
static bool take_bucket(struct round *r, const Cairn__Record *record)
{
    const Cairn__BucketRecord *b = record->present ? record->bucket : NULL;
    if (!b || b->id != r->job->bucket_id || b->state != CAIRN__BUCKET_STATE__BUCKET_ACTIVE)
        return false;
    struct slice s = bucket_setting_document(b, CAIRN__SETTING_KIND__SETTING_QUOTA);
    Cairn__Quota *quota = s.len ? cairn__quota__unpack(NULL, s.len, s.ptr) : NULL;
    r->quota_id = quota ? quota->id : 0;
    cairn__quota__free_unpacked(quota, NULL);
    return quota != NULL;
}

static bool take_account(struct round *r, const Cairn__Record *record)
{
    const Cairn__PrincipalRecord *p = record->present ? record->principal : NULL;
    if (!p || !p->quota || !p->canonical_id[0]) /* nobody's buckets would be everybody's */
        return false;
    free(r->owner);
    r->owner = strdup(p->canonical_id);
    r->quota_id = p->quota->id;
    r->more = true;
    return true;
}

static void read_cb(struct meta_read *read)
{
    struct round *r = container_of(read, struct round, read);
    enum job_result idle = JOB_DONE;
    int err = read->err;
    if (err == OK) {
        const Cairn__Record *record =
            of_account(r) ? r->read.principal_entry->record : r->read.bucket_entry->record;
        r->is_known = of_account(r) ? take_account(r, record) : take_bucket(r, record);
        idle = of_account(r) ? JOB_GONE : job_idle(r->job, record);
        cursor_check(r);
    }
    meta_read_fini(read);
    bool no_memory = r->is_known && (r->after.failed || (of_account(r) && !r->owner));
    if (err != OK)
        round_failed(r, err);
    else if (no_memory)
        round_end(r, JOB_FAILED);
    else if (r->job->stopping)
        round_end(r, JOB_LATER);
    else if (!r->is_known)
        round_end(r, idle);
    else
        round_next(r);
}

static void round_read(struct round *r)
{
    snprintf(r->arn, sizeof(r->arn), "arn:aws:iam::%s:root", r->job->account);
    r->read = (struct meta_read){
        .principal = of_account(r) ? slice_cstr(r->arn) : SLICE_EMPTY,
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
    r->q = job->kind->user;
    r->pace = (struct pace){.env = r->gw->env, .rate = r->q->config.rate};
    env_timer_init(r->gw->env, &r->timer, timer_cb);
    cursor_read(r);
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

void quota_measure_metrics_init(struct quota_measure_metrics *m)
{
    m->counted = metric_counter_new("cairn_quota_versions_counted_total", NULL,
                                    "Versions counted for quotas of buckets and accounts.");
    m->rounds = metric_counter_new("cairn_quota_counts_total", NULL,
                                   "Buckets and accounts that were counted to the end.");
}

void quota_measure_init(struct quota_measure *q, const struct quota_measure_config *config,
                        const struct quota_measure_metrics *metrics)
{
    *q = (struct quota_measure){.config = *config, .metrics = metrics};
    q->of_buckets = (struct job_kind){
        .name = QUOTA_JOB,
        .setting = CAIRN__SETTING_KIND__SETTING_QUOTA,
        .period_ms = config->interval_ms,
        .parallel_max = PARALLEL_MAX,
        .user = q,
        .start = round_start,
        .stop = round_stop,
    };
    q->of_accounts = q->of_buckets;
    q->of_accounts.of_accounts = true;
}
