/* The part of every request before its operation: parse, authenticate, read, authorize. */
#include "gateway/op/request.h"

#include "common/base/check.h"
#include "common/obs/log.h"

#include <stdio.h>

static void request_read_cb(struct meta_read *read);

static void request_gone(struct http_request *http)
{
    struct request *req = http->user;
    req->gone = true;
    if (req->on_gone)
        req->on_gone(req);
}

static void request_id_set(struct request *req)
{
    struct gateway *gw = req->gw;
    /* Unique in this life of the process, and not guessable from another request's. */
    uint64_t x = gw->request_id_salt + ++gw->request_count * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    snprintf(req->id, sizeof(req->id), "%016llX", (unsigned long long)(x ^ (x >> 31)));
}

static enum s3_code request_parse(struct request *req)
{
    struct gateway *gw = req->gw;
    struct http_request *http = req->http;
    enum s3_code code = s3_request_parse(req->arena, &gw->config->addressing, http->method_name,
                                         http->target, http->fields, &req->s3, &req->fault);
    struct s3_fault fault = req->fault;
    enum s3_code auth = sigv4_parse(&req->s3, &req->auth, &req->fault);
    if (auth != S3_OK)
        return auth;
    /* There is no anonymous access; who is not known is not told what exists. */
    if (req->auth.anonymous)
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    if (code != S3_OK) {
        req->fault = fault;
        return code;
    }
    if (!operations[req->s3.op].start)
        return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, NULL);
    return sigv4_check_scope(&req->s3, &req->auth, gw->config->region, request_now_ms(req),
                             &req->fault);
}

static void request_read_start(struct request *req)
{
    const struct operation *o = &operations[req->s3.op];
    unsigned needs = o->needs | (o->more_needs ? o->more_needs(req) : 0);
    req->read = (struct meta_read){
        .access_key = req->auth.access_key,
        .bucket = needs & (NEED_BUCKET | NEED_BUCKET_MAYBE) ? req->s3.bucket : SLICE_EMPTY,
        .key = req->s3.key,
        .want_object = (needs & NEED_OBJECT) != 0,
        .want_body = (needs & NEED_BODY) != 0,
        .deadline_ns = request_deadline(req),
        .cb = request_read_cb,
    };
    meta_read_start(req->gw->mc, &req->read);
}

void request_restart(struct request *req)
{
    CHECK(req->status == 0 && req->restarts < REQUEST_RESTARTS_MAX);
    req->restarts++;
    req->fault = (struct s3_fault){0};
    req->user = NULL;
    req->bucket = NULL;
    req->object = NULL;
    req->operation = NULL;
    req->on_gone = NULL;
    meta_read_fini(&req->read);
    request_read_start(req);
}

static void on_request(void *arg, struct http_request *http)
{
    struct gateway *gw = arg;
    struct request *req = arena_zalloc(http->arena, sizeof(*req));
    if (!req) {
        http_response_simple(http, 503, "text/plain", SLICE_EMPTY);
        return;
    }
    req->gw = gw;
    req->http = http;
    req->arena = http->arena;
    http->user = req;
    http->on_gone = request_gone;
    gw->under_way++;
    metric_gauge_add(gw->metrics->under_way, 1);
    request_id_set(req);
    enum s3_code code = request_parse(req);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    request_read_start(req);
}

const struct http_handler gateway_http_handler = {.on_request = on_request};

/* Who signed, and may they?  For now: the owner of a bucket, and the root user, may do everything
 * with it; nobody else may do anything. */
static enum s3_code authorize_key(struct request *req, const struct cache_entry *key,
                                  uint8_t ret_signing_key[SHA256_BYTES])
{
    if (!key || !key->record->present || !key->record->access_key->enabled)
        return sigv4_unknown_key(&req->auth, &req->fault);
    sigv4_cached_key(&req->gw->signing, slice_cstr(key->record->access_key->secret), &req->auth,
                     ret_signing_key);
    return sigv4_verify(&req->s3, &req->auth, ret_signing_key, &req->fault);
}

static enum s3_code authorize_bucket(struct request *req, const Cairn__AccessKeyRecord *user,
                                     const Cairn__BucketRecord *bucket)
{
    if (!(operations[req->s3.op].needs & NEED_BUCKET))
        return S3_OK;
    if (!bucket) {
        s3_fault_set(&req->fault, S3_NO_SUCH_BUCKET, NULL);
        s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
        return S3_NO_SUCH_BUCKET;
    }
    if (!user->is_root && strcmp(user->user_id, bucket->owner_id) != 0)
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    /* A claim about the owner that the client wants checked. */
    struct slice expected = http_fields_get(req->s3.fields, "x-amz-expected-bucket-owner");
    if (expected.ptr && !slice_eq(expected, slice_cstr(bucket->owner_id)))
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    return S3_OK;
}

static const Cairn__BucketRecord *bucket_of(const struct cache_entry *e)
{
    return e && e->record->present ? e->record->bucket : NULL;
}

static enum s3_code request_authorize(struct request *req)
{
    const struct cache_entry *key = req->read.access_key_entry, *object = req->read.object_entry;
    req->user = key && key->record->present ? key->record->access_key : NULL;
    enum s3_code code = authorize_key(req, key, req->signing_key);
    if (code != S3_OK)
        return code;
    req->bucket = bucket_of(req->read.bucket_entry);
    code = authorize_bucket(req, req->user, req->bucket);
    if (code != S3_OK)
        return code;
    req->object = object && object->record->present ? object->record->object : NULL;
    return S3_OK;
}

static void request_read_cb(struct meta_read *read)
{
    struct request *req = container_of(read, struct request, read);
    if (read->err != OK) {
        reply_err(req, read->err);
        request_end(req);
        return;
    }
    enum s3_code code = request_authorize(req);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    if (req->bucket && req->bucket->state == CAIRN__BUCKET_STATE__BUCKET_DELETING)
        bucket_delete_resume(req->gw, req->bucket);
    operations[req->s3.op].start(req);
}

/* ---- again, after an operation has read at leaders ---- */

static enum s3_code request_reauthorize(struct request *req)
{
    const struct cache_entry *key = req->recheck.access_key_entry;
    const Cairn__BucketRecord *bucket = bucket_of(req->recheck.bucket_entry);
    uint8_t signing_key[SHA256_BYTES];
    enum s3_code code = S3_OK;
    if (key !=
        req->read.access_key_entry) { /* the same entry is the same record: it was verified */
        code = authorize_key(req, key, signing_key);
        crypto_wipe(signing_key, sizeof(signing_key));
    }
    if (code == S3_OK)
        code = authorize_bucket(req, key->record->access_key, bucket);
    /* Deleted and made anew meanwhile: what was read is of the old one, or of none. */
    if (code == S3_OK && req->bucket && bucket && bucket->id != req->bucket->id)
        code = s3_fault_set(&req->fault, S3_SERVICE_UNAVAILABLE, NULL);
    return code;
}

static void request_recheck_cb(struct meta_read *read)
{
    struct request *req = container_of(read, struct request, recheck);
    enum s3_code code = read->err == OK
                            ? request_reauthorize(req)
                            : s3_fault_set(&req->fault, s3_code_of_err(read->err), NULL);
    meta_read_fini(read);
    req->rechecked(req, code);
}

void request_recheck(struct request *req, void (*cb)(struct request *req, enum s3_code code))
{
    req->rechecked = cb;
    req->recheck = (struct meta_read){
        .access_key = req->auth.access_key,
        .bucket = req->bucket ? req->s3.bucket : SLICE_EMPTY,
        .deadline_ns = request_deadline(req),
        .cb = request_recheck_cb,
    };
    meta_read_start(req->gw->mc, &req->recheck);
}

/* ---- the end ---- */

static void request_account(struct request *req)
{
    struct gateway *gw = req->gw;
    struct gateway_metrics *m = gw->metrics;
    unsigned class = (unsigned)req->status / 100;
    metric_inc(m->requests[req->s3.op][class < 6 ? class : 0]);
    metric_gauge_add(m->under_way, -1);
    uint64_t ns = uv_hrtime() - req->http->started_ns;
    metric_observe_ns(m->latency[req->s3.op], ns);
    if (gw->config->access_log)
        log_info(
            "s3.request", 0, L_STR("request_id", req->id), L_STR("op", s3_op_name(req->s3.op)),
            L_BYTES("bucket", req->s3.bucket), L_BYTES("key", req->s3.key),
            L_INT("status", req->status), L_UINT("bytes", req->bytes_sent), L_UINT("us", ns / 1000),
            L_STR("peer", req->http->peer), L_STR("user", req->user ? req->user->user_name : ""),
            L_UINT("checks", req->read.checks), L_UINT("leader_reads", req->read.leader_reads));
}

static void request_release(struct request *req)
{
    request_account(req);
    req->gw->under_way--;
    crypto_wipe(req->signing_key, sizeof(req->signing_key));
    meta_read_fini(&req->read);
}

void request_end(struct request *req)
{
    struct http_request *http = req->http;
    request_release(req);
    http_response_finish(http);
}

void request_abort(struct request *req)
{
    struct http_request *http = req->http;
    request_release(req);
    http_response_abort(http);
}

char *request_cstr(struct request *req, struct slice s)
{
    struct slice copy = arena_copy(req->arena, s);
    return copy.ptr ? (char *)(uintptr_t)copy.ptr : NULL;
}
