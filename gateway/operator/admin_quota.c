/* The operator's quotas of buckets; those of accounts are set in admin_users.c:
 *
 *   GET  quota                 all buckets and accounts that have one
 *   GET  quota/BUCKET/show
 *   POST quota/BUCKET/set?max_bytes=N&max_objects=N      0, or left out: no bound
 *   POST quota/BUCKET/delete
 *
 * A quota is a setting of the bucket, so it holds for the next request at every gateway.  As long
 * as there is one it keeps its id, whatever its bounds: what was counted for it stays good. */
#include "common/base/check.h"
#include "gateway/operator/admin.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/commit.h"
#include "gateway/op/quota.h"
#include "proto/methods.h"
#include "proto/registry.h"

#define PAGE_BUCKETS 200
#define PAGE_ACCOUNTS 200

struct quota_op {
    struct request *req;
    const char *bucket; /* the one that is looked at */
    struct meta_read read;
    Cairn__Quota quota; /* of it, or to be set */
    struct meta_rows rows;
    char scope[QUOTA_SCOPE_BYTES];
    void (*got)(struct quota_op *q, json_t *one); /* NULL: it has no quota, or is not there */
    /* lists */
    json_t *quotas;
    struct meta_call call;
    Cairn__ListBucketsRequest request;
    Cairn__ListBucketsResponse *page;
    uint32_t kind;
    size_t at;
    char *after;
    json_t *accounts;
    struct meta_rows account_rows; /* a page of accounts' quotas */
    /* changes */
    bool removes;
    Cairn__BucketSetting setting;
    Cairn__PutBucketSetting command;
    struct meta_propose propose;
};

static void list_ask(struct quota_op *q);
static void list_next(struct quota_op *q);
static void accounts_ask(struct quota_op *q);

static struct quota_op *quota_op_new(struct request *req, const char *bucket)
{
    struct quota_op *q = request_alloc(req, sizeof(*q));
    if (!q) {
        request_fail(req, S3_INTERNAL_ERROR);
        return NULL;
    }
    q->req = req;
    q->bucket = bucket;
    cairn__quota__init(&q->quota);
    return q;
}

static void list_drop(struct quota_op *q)
{
    cairn__list_buckets_response__free_unpacked(q->page, NULL);
    json_decref(q->quotas);
    json_decref(q->accounts);
    q->page = NULL;
    q->quotas = q->accounts = NULL;
}

static void quota_op_fail(struct quota_op *q, int err)
{
    list_drop(q);
    admin_fail(q->req, err);
}

static void no_bucket(struct quota_op *q)
{
    struct request *req = q->req;
    s3_fault_set(&req->fault, S3_NO_SUCH_BUCKET, NULL);
    s3_fault_extra(&req->fault, "BucketName", slice_cstr(q->bucket));
    request_fail(req, S3_NO_SUCH_BUCKET);
}

/* ---- what is said ---- */

static json_t *bound(uint64_t n)
{
    return n ? json_uint(n) : json_null();
}

json_t *admin_quota_json(const char *what, const char *name, const Cairn__Quota *quota)
{
    return json_pack("{s:s, s:o, s:o}", what, name, "bytes_max", bound(quota->bytes_max),
                     "objects_max", bound(quota->objects_max));
}

json_t *admin_usage_json(const Cairn__QuotaUsage *u, bool of_account)
{
    if (!u)
        return json_null();
    json_t *ret = json_pack("{s:o, s:o, s:o, s:o, s:o}", "bytes", json_uint(u->bytes), "versions",
                            json_uint(u->versions), "objects", json_uint(u->objects), "started_ms",
                            json_uint(u->started_ms), "measured_ms", json_uint(u->measured_ms));
    if (of_account)
        json_set(&ret, "buckets", json_uint(u->buckets));
    return ret;
}

uint64_t admin_quota_id(struct request *req)
{
    uint64_t id;
    env_random(req->gw->env, &id, sizeof(id));
    return id ? id : 1; /* 0: those of an earlier release have none */
}

/* ---- a bucket ---- */

static void usage_cb(struct meta_rows *rows)
{
    struct quota_op *q = container_of(rows, struct quota_op, rows);
    Cairn__QuotaUsage u;
    int err = rows->err;
    bool known = quota_usage_of(rows, q->quota.id, &u);
    meta_rows_fini(rows);
    if (err != OK) {
        quota_op_fail(q, err);
        return;
    }
    json_t *one = admin_quota_json("bucket", q->bucket, &q->quota);
    json_set(&one, "usage", admin_usage_json(known ? &u : NULL, false));
    q->got(q, one);
}

/* What the record says, before it goes. */
static bool quota_take(struct quota_op *q, const Cairn__BucketRecord *bucket)
{
    struct slice s = bucket_setting_document(bucket, CAIRN__SETTING_KIND__SETTING_QUOTA);
    Cairn__Quota *quota = s.len ? cairn__quota__unpack(NULL, s.len, s.ptr) : NULL;
    if (!quota)
        return false;
    q->quota.bytes_max = quota->bytes_max;
    q->quota.objects_max = quota->objects_max;
    q->quota.id = quota->id;
    cairn__quota__free_unpacked(quota, NULL);
    return true;
}

static const Cairn__BucketRecord *bucket_read(const struct meta_read *read)
{
    const Cairn__Record *record = read->bucket_entry->record;
    return record->present ? record->bucket : NULL;
}

static void bucket_read_start(struct quota_op *q, void (*cb)(struct meta_read *))
{
    q->read = (struct meta_read){
        .bucket = slice_cstr(q->bucket),
        .deadline_ns = request_deadline(q->req),
        .cb = cb,
    };
    meta_read_start(q->req->gw->mc, &q->read);
}

static void bucket_cb(struct meta_read *read)
{
    struct quota_op *q = container_of(read, struct quota_op, read);
    int err = read->err;
    const Cairn__BucketRecord *b = err == OK ? bucket_read(read) : NULL;
    bool there = b != NULL, has = b && quota_take(q, b);
    uint64_t id = b ? b->id : 0;
    meta_read_fini(read);
    if (err != OK) {
        quota_op_fail(q, err);
    } else if (has) {
        q->rows = (struct meta_rows){.deadline_ns = request_deadline(q->req), .cb = usage_cb};
        quota_scope_of_bucket(id, q->scope);
        quota_usage_read(q->req->gw->mc, q->scope, &q->rows);
    } else if (there || q->quotas) {
        q->got(q, NULL);
    } else {
        no_bucket(q);
    }
}

/* ---- one ---- */

static void show_got(struct quota_op *q, json_t *one)
{
    if (one)
        admin_reply(q->req, one);
    else
        request_fail(q->req, s3_fault_set(&q->req->fault, S3_NO_SUCH_CONFIGURATION,
                                          "The bucket has no quota."));
}

void admin_quota_show_start(struct request *req, const char *bucket)
{
    struct quota_op *q = quota_op_new(req, bucket);
    if (!q)
        return;
    q->got = show_got;
    bucket_read_start(q, bucket_cb);
}

/* ---- all ---- */

static void list_got(struct quota_op *q, json_t *one)
{
    if (one)
        json_append(&q->quotas, one);
    q->at++;
    if (q->quotas)
        list_next(q);
    else
        quota_op_fail(q, ERR_NOMEM);
}

static void list_end(struct quota_op *q)
{
    json_t *answer = json_pack("{s:O, s:O}", "quotas", q->quotas, "accounts", q->accounts);
    list_drop(q);
    admin_reply(q->req, answer);
}

static void list_next(struct quota_op *q)
{
    if (q->at < q->page->n_buckets) {
        q->bucket = q->page->buckets[q->at]->name;
        bucket_read_start(q, bucket_cb);
        return;
    }
    bool more = q->page->more && q->page->resume_after[0];
    q->after = more ? request_cstr(q->req, slice_cstr(q->page->resume_after)) : NULL;
    cairn__list_buckets_response__free_unpacked(q->page, NULL);
    q->page = NULL;
    if (!more)
        accounts_ask(q);
    else if (q->after)
        list_ask(q);
    else
        quota_op_fail(q, ERR_NOMEM);
}

static void list_cb(struct meta_call *call)
{
    struct quota_op *q = container_of(call, struct quota_op, call);
    int err = call->err;
    if (err == OK) {
        q->page = (Cairn__ListBucketsResponse *)(void *)call->response;
        call->response = NULL;
    }
    meta_call_fini(call);
    q->at = 0;
    if (err == OK)
        list_next(q);
    else
        quota_op_fail(q, err);
}

static void list_ask(struct quota_op *q)
{
    cairn__list_buckets_request__init(&q->request);
    q->request.start_after = q->after;
    q->request.buckets_max = PAGE_BUCKETS;
    q->request.with_settings = &q->kind;
    q->request.n_with_settings = 1;
    q->call = (struct meta_call){
        .method = &method_meta_list_buckets,
        .root = true,
        .request = &q->request.base,
        .deadline_ns = request_deadline(q->req),
        .cb = list_cb,
    };
    meta_call_start(q->req->gw->mc, &q->call);
}

void admin_quota_list_start(struct request *req)
{
    struct quota_op *q = quota_op_new(req, NULL);
    if (!q)
        return;
    q->kind = CAIRN__SETTING_KIND__SETTING_QUOTA;
    q->got = list_got;
    q->after = request_cstr(req, SLICE_EMPTY);
    q->quotas = json_array();
    q->accounts = json_array();
    if (q->after && q->quotas && q->accounts)
        list_ask(q);
    else
        quota_op_fail(q, ERR_NOMEM);
}

/* ---- all accounts, behind the buckets ---- */

static void account_next(struct quota_op *q);

static void account_usage_cb(struct meta_rows *rows)
{
    struct quota_op *q = container_of(rows, struct quota_op, rows);
    const Cairn__Row *row = q->account_rows.rows[q->at++];
    Cairn__QuotaUsage u;
    int err = rows->err;
    bool known = quota_usage_of(rows, q->quota.id, &u);
    meta_rows_fini(rows);
    json_t *one = admin_quota_json("account", row->name, &q->quota);
    json_set(&one, "usage", admin_usage_json(known ? &u : NULL, true));
    json_append(&q->accounts, one);
    if (err == OK && q->accounts) {
        account_next(q);
        return;
    }
    meta_rows_fini(&q->account_rows);
    quota_op_fail(q, err == OK ? ERR_NOMEM : err);
}

/* false: what cannot be read bounds nothing. */
static bool account_quota_take(struct quota_op *q, const Cairn__Row *row)
{
    Cairn__Quota *quota = cairn__quota__unpack(NULL, row->value.len, row->value.data);
    if (!quota)
        return false;
    cairn__quota__init(&q->quota);
    q->quota.bytes_max = quota->bytes_max;
    q->quota.objects_max = quota->objects_max;
    q->quota.id = quota->id;
    cairn__quota__free_unpacked(quota, NULL);
    return true;
}

static void account_next(struct quota_op *q)
{
    struct meta_rows *page = &q->account_rows;
    while (q->at < page->row_count && !account_quota_take(q, page->rows[q->at]))
        q->at++;
    if (q->at < page->row_count) {
        q->rows =
            (struct meta_rows){.deadline_ns = request_deadline(q->req), .cb = account_usage_cb};
        quota_usage_read(q->req->gw->mc, page->rows[q->at]->name, &q->rows);
        return;
    }
    bool more = page->more && page->row_count;
    q->after =
        more ? request_cstr(q->req, slice_cstr(page->rows[page->row_count - 1]->name)) : NULL;
    meta_rows_fini(page);
    if (!more)
        list_end(q);
    else if (q->after)
        accounts_ask(q);
    else
        quota_op_fail(q, ERR_NOMEM);
}

static void accounts_cb(struct meta_rows *page)
{
    struct quota_op *q = container_of(page, struct quota_op, account_rows);
    int err = page->err;
    q->at = 0;
    if (err == OK) {
        account_next(q);
        return;
    }
    meta_rows_fini(page);
    quota_op_fail(q, err);
}

/* Behind `after`; NULL: from the first. */
static void accounts_ask(struct quota_op *q)
{
    q->account_rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_QUOTA,
        .scope = QUOTAS_OF_ACCOUNTS,
        .after = q->after,
        .rows_max = PAGE_ACCOUNTS,
        .deadline_ns = request_deadline(q->req),
        .cb = accounts_cb,
    };
    meta_rows_start(q->req->gw->mc, &q->account_rows);
}

/* ---- changes ---- */

static void changed_cb(struct meta_propose *p)
{
    struct quota_op *q = container_of(p, struct quota_op, propose);
    struct request *req = q->req;
    int err = p->err;
    bool existed = err == OK && p->outcome->existed;
    meta_propose_fini(p);
    if (err == OK && q->removes)
        admin_reply(req, json_pack("{s:s, s:b}", "bucket", q->bucket, "changed", existed));
    else if (err == OK)
        admin_reply(req, admin_quota_json("bucket", q->bucket, &q->quota));
    else if (err == ERR_NO_BUCKET)
        no_bucket(q);
    else if (err == ERR_SEALED)
        request_fail(req, s3_fault_set(&req->fault, S3_OPERATION_ABORTED, NULL));
    else
        admin_fail(req, err);
}

static void change_propose(struct quota_op *q, uint64_t bucket_id)
{
    size_t bytes = q->removes ? 0 : cairn__quota__get_packed_size(&q->quota);
    uint8_t *document = request_alloc(q->req, bytes + 1);
    if (!document) {
        request_fail(q->req, S3_INTERNAL_ERROR);
        return;
    }
    if (bytes)
        cairn__quota__pack(&q->quota, document);
    cairn__bucket_setting__init(&q->setting);
    cairn__put_bucket_setting__init(&q->command);
    cairn__command__init(&q->propose.command);
    q->setting.kind = CAIRN__SETTING_KIND__SETTING_QUOTA;
    q->setting.document = (ProtobufCBinaryData){bytes, document};
    q->command.name = (char *)(uintptr_t)q->bucket;
    q->command.id = bucket_id;
    q->command.setting = &q->setting;
    q->propose.command.op_case = CAIRN__COMMAND__OP_PUT_BUCKET_SETTING;
    q->propose.command.put_bucket_setting = &q->command;
    q->propose.root = true;
    q->propose.deadline_ns = request_deadline(q->req);
    q->propose.cb = changed_cb;
    meta_propose_start(q->req->gw->mc, &q->propose);
}

static void change_read_cb(struct meta_read *read)
{
    struct quota_op *q = container_of(read, struct quota_op, read);
    int err = read->err;
    const Cairn__BucketRecord *b = err == OK ? bucket_read(read) : NULL;
    bool there = b != NULL;
    uint64_t id = b ? b->id : 0;
    const Cairn__Quota bounds = q->quota;
    q->quota.id = b && quota_take(q, b) ? q->quota.id : admin_quota_id(q->req);
    q->quota.bytes_max = bounds.bytes_max;
    q->quota.objects_max = bounds.objects_max;
    meta_read_fini(read);
    if (err != OK)
        admin_fail(q->req, err);
    else if (there)
        change_propose(q, id);
    else
        no_bucket(q);
}

/* Of the query; 0 when it says nothing.  Up to what an answer can say. */
static bool number_said(struct request *req, const char *name, uint64_t *ret)
{
    struct slice text = s3_request_value(&req->s3, name);
    *ret = 0;
    return !text.len || (parse_u64(text, ret) && *ret <= INT64_MAX);
}

void admin_quota_change_start(struct request *req, const char *bucket, bool removes)
{
    struct quota_op *q = quota_op_new(req, bucket);
    if (!q)
        return;
    q->removes = removes;
    bool read = removes || (number_said(req, "max_bytes", &q->quota.bytes_max) &&
                            number_said(req, "max_objects", &q->quota.objects_max));
    bool bounds = removes || q->quota.bytes_max || q->quota.objects_max;
    if (read && bounds)
        bucket_read_start(q, change_read_cb);
    else
        request_fail(req, s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                                       read ? "A quota bounds the bytes, the objects, or both."
                                            : QUOTA_BOUNDS));
}
