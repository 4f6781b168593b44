/* See quota.h. */
#include "gateway/op/quota.h"

#include "common/base/check.h"
#include "gateway/op/append.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/post_object.h"
#include "gateway/s3/chunked.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADS 256
#define OF_HEAD_MAX (QUOTAS_MAX / HEADS)
#define REFRESH_MS_MAX 5000 /* a count that was read is good for so long */
#define REFRESH_MS_MIN 100
#define READ_MS_MAX 2000 /* no write waits longer for a count */
#define STEPS 8          /* of the tally, between two measurements */

struct quota_key {
    uint64_t subject; /* id of the bucket; number of the account */
    uint64_t quota_id;
    bool of_account;
};

/* What is known of a bucket, or an account. */
struct quota {
    struct quota *next;
    struct quota_key key;
    uint64_t used_ns;    /* when it was asked for last */
    uint64_t read_ns;    /* when its count was read last, or that was tried; 0: never */
    uint64_t started_ms; /* of the measurement that was read */
    bool reading;
    unsigned holds; /* requests that point here */
    struct quota_amount counted, pending;
    struct quota_tally accepted;
};

struct quotas {
    pthread_mutex_t lock;
    const struct quotas_metrics *metrics;
    uint64_t refresh_ns, step_ms;
    struct quota *heads[HEADS];
};

/* A request's part in one. */
struct quota_part {
    struct quota_hold *hold;
    struct quota *quota;
    struct quota_amount max;
    struct meta_rows rows;
    char scope[QUOTA_SCOPE_BYTES];
};

/* In all that it is subject to. */
enum { PARTS_MAX = 2 }; /* the bucket's and the account's */
struct quota_hold {
    struct request *req;
    void (*cb)(struct request *req, enum s3_code code);
    struct quota_part part[PARTS_MAX];
    unsigned parts;                      /* 0: released */
    unsigned reading;                    /* counts that it waits for */
    struct quota_amount reserved, taken; /* in each */
    bool admitted;                       /* something is reserved */
};

void quotas_metrics_init(struct quotas_metrics *m)
{
    m->refused = metric_counter_new("cairn_quota_refused_total", NULL,
                                    "Requests refused because a quota would be exceeded.");
    m->reads = metric_counter_new("cairn_quota_reads_total", NULL,
                                  "Counts of buckets and accounts with a quota that were read.");
    m->unknown = metric_counter_new("cairn_quota_unknown_total", NULL,
                                    "Counts that could not be read: writes go on without.");
}

int quotas_new(uint64_t interval_ms, const struct quotas_metrics *metrics, struct quotas **ret)
{
    struct quotas *q = calloc(1, sizeof(*q));
    if (!q)
        return ERR_NOMEM;
    pthread_mutex_init(&q->lock, NULL);
    q->metrics = metrics;
    q->refresh_ns =
        MIN(MAX(interval_ms / 2, (uint64_t)REFRESH_MS_MIN), (uint64_t)REFRESH_MS_MAX) * NS_PER_MS;
    q->step_ms = interval_ms / STEPS + 1;
    *ret = q;
    return OK;
}

void quotas_free(struct quotas *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < HEADS; i++)
        for (struct quota *next, *at = q->heads[i]; at; at = next) {
            CHECK(at->holds == 0);
            next = at->next;
            free(at);
        }
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* ---- the table; under the lock ---- */

static struct quota **head_of(struct quotas *q, const struct quota_key *key)
{
    uint64_t x = (key->subject ^ key->quota_id) + key->of_account;
    return &q->heads[(x * 0x9e3779b97f4a7c15ull) >> 56];
}

static bool key_eq(const struct quota_key *a, const struct quota_key *b)
{
    return a->subject == b->subject && a->quota_id == b->quota_id && a->of_account == b->of_account;
}

/* Forgets the one that was asked for longest ago.  false: all are held. */
static bool forget_one(struct quota **head)
{
    struct quota **oldest = NULL;
    for (struct quota **at = head; *at; at = &(*at)->next)
        if ((*at)->holds == 0 && (!oldest || (*at)->used_ns < (*oldest)->used_ns))
            oldest = at;
    if (!oldest)
        return false;
    struct quota *gone = *oldest;
    *oldest = gone->next;
    free(gone);
    return true;
}

/* NULL: no memory, or no room. */
static struct quota *quota_get(struct quotas *q, const struct quota_key *key)
{
    struct quota **head = head_of(q, key);
    size_t count = 0;
    for (struct quota *at = *head; at; at = at->next, count++)
        if (key_eq(&at->key, key))
            return at;
    if (count >= OF_HEAD_MAX && !forget_one(head))
        return NULL;
    struct quota *made = calloc(1, sizeof(*made));
    if (!made)
        return NULL;
    made->key = *key;
    made->next = *head;
    *head = made;
    return made;
}

/* Far from overflowing: what a request says that it brings is bounded (quota_admit). */
static void reserve(struct quota_hold *h, struct quota_amount more)
{
    h->admitted = true;
    h->reserved = more;
    for (unsigned i = 0; i < h->parts; i++) {
        struct quota *quota = h->part[i].quota;
        quota->pending.bytes += more.bytes;
        quota->pending.objects += more.objects;
    }
}

static void take_back(struct quota_hold *h)
{
    for (unsigned i = 0; i < h->parts; i++) {
        struct quota *quota = h->part[i].quota;
        CHECK(quota->pending.bytes >= h->reserved.bytes);
        CHECK(quota->pending.objects >= h->reserved.objects);
        quota->pending.bytes -= h->reserved.bytes;
        quota->pending.objects -= h->reserved.objects;
    }
    h->reserved = (struct quota_amount){0};
    h->admitted = false;
}

/* ---- what was counted ---- */

void quota_scope_of_bucket(uint64_t bucket_id, char ret[QUOTA_SCOPE_BYTES])
{
    snprintf(ret, QUOTA_SCOPE_BYTES, "%016llx", (unsigned long long)bucket_id);
}

void quota_usage_read(struct meta_client *mc, const char *scope, struct meta_rows *rows)
{
    rows->kind = CAIRN__ROW_KIND__ROW_JOB;
    rows->scope = scope;
    rows->name = QUOTA_JOB;
    meta_rows_start(mc, rows);
}

bool quota_usage_in(struct slice row, uint64_t quota_id, Cairn__QuotaUsage *ret)
{
    cairn__quota_usage__init(ret);
    Cairn__JobRow *job = cairn__job_row__unpack(NULL, row.len, row.ptr);
    Cairn__QuotaUsage *usage =
        job && job->state.len ? cairn__quota_usage__unpack(NULL, job->state.len, job->state.data)
                              : NULL;
    bool known = usage && usage->measured_ms && usage->quota_id == quota_id;
    if (known) {
        *ret = *usage;
        ret->base.unknown_fields = NULL;
        ret->base.n_unknown_fields = 0;
    }
    cairn__quota_usage__free_unpacked(usage, NULL);
    cairn__job_row__free_unpacked(job, NULL);
    return known;
}

bool quota_usage_of(const struct meta_rows *rows, uint64_t quota_id, Cairn__QuotaUsage *ret)
{
    cairn__quota_usage__init(ret);
    if (rows->err != OK || rows->row_count == 0)
        return false;
    const ProtobufCBinaryData *value = &rows->rows[0]->value;
    return quota_usage_in(SLICE(value->data, value->len), quota_id, ret);
}

static void counted(struct quota *quota, const Cairn__QuotaUsage *usage)
{
    quota->counted = (struct quota_amount){usage->bytes, usage->versions};
    quota->started_ms = usage->started_ms;
    quota_tally_drop(&quota->accepted, usage->started_ms);
}

/* ---- requests ---- */

/* What is done to a bucket that has a quota. */
static bool op_adds(enum s3_op op)
{
    switch (op) {
    case S3_OP_PUT_OBJECT:
    case S3_OP_POST_OBJECT:
    case S3_OP_COPY_OBJECT:
    case S3_OP_CREATE_MULTIPART_UPLOAD:
    case S3_OP_UPLOAD_PART:
    case S3_OP_UPLOAD_PART_COPY:
    case S3_OP_COMPLETE_MULTIPART_UPLOAD: return true;
    default: return false;
    }
}

/* Parts, and uploads that are begun, are only looked at: they count when they are completed. */
static bool op_reserves(enum s3_op op)
{
    return op == S3_OP_PUT_OBJECT || op == S3_OP_POST_OBJECT || op == S3_OP_COPY_OBJECT ||
           op == S3_OP_COMPLETE_MULTIPART_UPLOAD;
}

bool quota_may_be_asked(const struct request *req)
{
    return op_adds(req->s3.op) && req->gw->quotas;
}

/* The bucket's owner, if its account has a quota: the principal itself may be of it. */
static const Cairn__PrincipalRecord *owner_with_quota(const struct request *req)
{
    const struct cache_entry *e =
        req->read.owner_entry ? req->read.owner_entry : req->read.principal_entry;
    const Cairn__PrincipalRecord *p = e && e->record->present ? e->record->principal : NULL;
    bool has = p && p->quota && (p->quota->bytes_max || p->quota->objects_max);
    return has ? p : NULL;
}

bool quota_is_asked(const struct request *req)
{
    return quota_may_be_asked(req) && req->authorized && req->view &&
           (req->view->has_quota || owner_with_quota(req));
}

/* Of the body that comes; 0 where it is not known yet: what is wrong with it the operation says. */
static uint64_t bytes_to_come(struct request *req)
{
    struct s3_fault ignored = {0};
    uint64_t bytes;
    if (req->s3.op == S3_OP_POST_OBJECT)
        return post_form_rest(req->form);
    if (req->s3.op != S3_OP_PUT_OBJECT && req->s3.op != S3_OP_UPLOAD_PART)
        return 0;
    if (s3_payload_is_chunked(req->auth.payload))
        return aws_chunked_decoded_length(&req->s3, &bytes, &ignored) == S3_OK ? bytes : 0;
    return req->http->content_length > 0 ? (uint64_t)req->http->content_length : 0;
}

static enum s3_code exceeded(struct request *req, bool of_account, bool bytes)
{
    static const char *const texts[2][2] = {
        {"The bucket's quota of objects would be exceeded.",
         "The bucket's quota of bytes would be exceeded."},
        {"The quota of objects of the bucket's account would be exceeded.",
         "The quota of bytes of the bucket's account would be exceeded."},
    };
    metric_inc(req->gw->quotas->metrics->refused);
    s3_fault_set(&req->fault, S3_QUOTA_EXCEEDED, texts[of_account][bytes]);
    s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
    return S3_QUOTA_EXCEEDED;
}

static struct quota_amount used(const struct quota *quota)
{
    return quota_sum(quota_sum(quota->counted, quota->pending), quota_tally_sum(&quota->accepted));
}

/* Parts become objects when they are completed; what is appended to is one already. */
static bool makes_object(const struct request *req)
{
    return req->s3.op != S3_OP_UPLOAD_PART && req->s3.op != S3_OP_UPLOAD_PART_COPY &&
           !(append_is_asked(req) && req->object);
}

enum s3_code quota_admit(struct request *req, uint64_t bytes)
{
    struct quota_hold *h = req->quota;
    struct quotas *q = req->gw->quotas;
    bool over = false, in_bytes = false, of_account = false;
    if (!h)
        return S3_OK;
    struct quota_amount more = {MIN(bytes, S3_OBJECT_BYTES_MAX), makes_object(req) ? 1 : 0};
    pthread_mutex_lock(&q->lock);
    take_back(h);
    for (unsigned i = 0; i < h->parts && !over; i++) {
        const struct quota_part *p = &h->part[i];
        struct quota_amount bytes_max = {p->max.bytes, 0};
        over = quota_exceeded(p->max, used(p->quota), more);
        in_bytes = quota_exceeded(bytes_max, used(p->quota), more);
        of_account = p->quota->key.of_account;
    }
    if (!over && op_reserves(req->s3.op))
        reserve(h, more);
    pthread_mutex_unlock(&q->lock);
    return over ? exceeded(req, of_account, in_bytes) : S3_OK;
}

/* A completion is asked when it is known what it completes: it may have been done before. */
static void quota_decide(struct quota_hold *h)
{
    struct request *req = h->req;
    enum s3_code code = S3_OK;
    if (req->s3.op != S3_OP_COMPLETE_MULTIPART_UPLOAD)
        code = quota_admit(req, bytes_to_come(req));
    h->cb(req, code);
}

static void rows_cb(struct meta_rows *rows)
{
    struct quota_part *p = container_of(rows, struct quota_part, rows);
    struct quota_hold *h = p->hold;
    struct quotas *q = h->req->gw->quotas;
    struct quota *quota = p->quota;
    Cairn__QuotaUsage usage;
    bool known = quota_usage_of(rows, quota->key.quota_id, &usage), failed = rows->err != OK;
    metric_inc(failed ? q->metrics->unknown : q->metrics->reads);
    meta_rows_fini(rows);
    pthread_mutex_lock(&q->lock);
    if (known && usage.started_ms != quota->started_ms)
        counted(quota, &usage);
    quota->reading = false;
    quota->read_ns = env_now_ns(h->req->gw->env);
    pthread_mutex_unlock(&q->lock);
    if (--h->reading == 0)
        quota_decide(h);
}

/* Without memory or room it holds no more than if it could not be read. */
static void hold_add(struct quota_hold *h, const struct quota_key *key, struct quota_amount max,
                     const char *scope)
{
    struct quotas *q = h->req->gw->quotas;
    CHECK(h->parts < PARTS_MAX);
    struct quota_part *p = &h->part[h->parts];
    pthread_mutex_lock(&q->lock);
    p->quota = quota_get(q, key);
    if (p->quota) {
        p->quota->holds++;
        p->quota->used_ns = env_now_ns(h->req->gw->env);
        h->parts++;
    }
    pthread_mutex_unlock(&q->lock);
    if (!p->quota) {
        metric_inc(q->metrics->unknown);
        return;
    }
    p->hold = h;
    p->max = max;
    snprintf(p->scope, sizeof(p->scope), "%s", scope);
}

static void hold_add_all(struct quota_hold *h)
{
    const struct request *req = h->req;
    const struct bucket_view *view = req->view;
    const Cairn__PrincipalRecord *owner = owner_with_quota(req);
    char scope[QUOTA_SCOPE_BYTES];
    if (view->has_quota) {
        struct quota_key key = {req->bucket->id, view->quota_id, false};
        quota_scope_of_bucket(req->bucket->id, scope);
        hold_add(h, &key, (struct quota_amount){view->quota_bytes_max, view->quota_objects_max},
                 scope);
    }
    if (owner) {
        struct quota_key key = {0, owner->quota->id, true};
        if (parse_u64(slice_cstr(owner->account_id), &key.subject))
            hold_add(h, &key,
                     (struct quota_amount){owner->quota->bytes_max, owner->quota->objects_max},
                     owner->account_id);
    }
}

/* Is this request the one that reads the count?  Of those that find it old one does; before it was
 * ever read, all. */
static bool part_reads(struct quota_part *p)
{
    struct quotas *q = p->hold->req->gw->quotas;
    struct quota *quota = p->quota;
    uint64_t now = env_now_ns(p->hold->req->gw->env);
    pthread_mutex_lock(&q->lock);
    bool reads = !quota->read_ns || (!quota->reading && now - quota->read_ns >= q->refresh_ns);
    quota->reading |= reads;
    pthread_mutex_unlock(&q->lock);
    return reads;
}

static void part_read(struct quota_part *p)
{
    struct request *req = p->hold->req;
    p->hold->reading++;
    p->rows = (struct meta_rows){
        .deadline_ns = env_now_ns(req->gw->env) +
                       MIN(req->gw->config->timeout_ms, (uint64_t)READ_MS_MAX) * NS_PER_MS,
        .cb = rows_cb,
    };
    quota_usage_read(req->gw->mc, p->scope, &p->rows);
}

void quota_start(struct request *req, void (*cb)(struct request *req, enum s3_code code))
{
    quota_release(req); /* of a request that begins anew */
    struct quota_hold *h = request_alloc(req, sizeof(*h));
    if (!h) {
        cb(req, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
        return;
    }
    h->req = req;
    h->cb = cb;
    req->quota = h;
    hold_add_all(h);
    for (unsigned i = 0; i < h->parts; i++)
        if (part_reads(&h->part[i]))
            part_read(&h->part[i]);
    if (h->reading == 0)
        quota_decide(h);
}

/* Of an outcome that is not known it is assumed that it was. */
void quota_committed(struct request *req, const Cairn__Command *command, int err)
{
    struct quota_hold *h = req->quota;
    if (!h || !h->admitted || (err != OK && err_class(err) != ERR_CLASS_UNKNOWN_OUTCOME))
        return;
    const Cairn__ObjectRecord *record = NULL;
    if (command->op_case == CAIRN__COMMAND__OP_PUT_OBJECT)
        record = command->put_object->record;
    else if (command->op_case == CAIRN__COMMAND__OP_COMPLETE_UPLOAD)
        record = command->complete_upload->record;
    else if (command->op_case == CAIRN__COMMAND__OP_APPEND_OBJECT)
        h->taken = h->reserved; /* its record is of the whole */
    if (record)
        h->taken = (struct quota_amount){record->size, 1};
}

void quota_release(struct request *req)
{
    struct quota_hold *h = req->quota;
    struct quotas *q = req->gw->quotas;
    req->quota = NULL;
    if (!h)
        return;
    CHECK(h->reading == 0);
    pthread_mutex_lock(&q->lock);
    take_back(h);
    for (unsigned i = 0; i < h->parts; i++) {
        struct quota *quota = h->part[i].quota;
        if (h->taken.bytes || h->taken.objects)
            quota_tally_add(&quota->accepted, env_wall_ms(req->gw->env), q->step_ms, h->taken);
        CHECK(quota->holds > 0);
        quota->holds--;
    }
    pthread_mutex_unlock(&q->lock);
    h->parts = 0;
}
