/* The part of every request before its operation: parse, authenticate, read, authorize. */
#include "gateway/op/request.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/op/access_log.h"
#include "gateway/op/acl.h"
#include "gateway/op/authorize.h"
#include "gateway/op/cors.h"
#include "gateway/op/iam.h"
#include "gateway/op/operations.h"
#include "gateway/op/post_object.h"
#include "gateway/op/quota.h"
#include "gateway/op/session.h"
#include "gateway/op/website.h"
#include "gateway/s3/sigv2.h"

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
    x ^= x >> 31;
    for (size_t i = sizeof(req->id) - 1; i-- > 0; x >>= 4)
        req->id[i] = "0123456789ABCDEF"[x & 15];
}

static enum s3_code request_parse(struct request *req)
{
    struct gateway *gw = req->gw;
    struct http_request *http = req->http;
    enum s3_code code = s3_request_parse(req->arena, &gw->config->addressing, http->method_name,
                                         http->target, http->fields, &req->s3, &req->fault);
    if (req->s3.op == S3_OP_PREFLIGHT) /* browsers do not sign them */
        return code;
    if (req->s3.website) { /* whatever a browser sends along */
        req->auth = (struct sigv4_auth){.anonymous = true, .payload = S3_PAYLOAD_UNSIGNED};
        return code;
    }
    struct s3_fault fault = req->fault;
    enum s3_code auth = sigv4_parse(&req->s3, &req->auth, &req->fault);
    if (auth != S3_OK || iam_is_request(req)) /* which are checked there */
        return auth;
    bool unknown = code == S3_OK && !operations[req->s3.op].start;
    /* Who is not known is not told what there is not, and has no buckets. */
    if (req->auth.anonymous &&
        (code != S3_OK || unknown ||
         !(operations[req->s3.op].needs & (NEED_BUCKET | NEED_BUCKET_MAYBE))))
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    if (code != S3_OK) {
        req->fault = fault;
        return code;
    }
    if (unknown)
        return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, NULL);
    if (req->s3.op == S3_OP_POST_OBJECT) /* the form says who signed */
        return post_form_check(req);
    return req->auth.anonymous ? S3_OK
                               : sigv4_check_scope(&req->s3, &req->auth, gw->config->region,
                                                   request_now_ms(req), &req->fault);
}

/* Refuses, but reads the bucket first if a browser would else not be let to see why. */
static void request_refuse(struct request *req, enum s3_code code)
{
    if (req->refused || !cors_may_apply(req)) {
        request_fail(req, code);
        return;
    }
    req->refused = code;
    req->principal = NULL;
    req->view = NULL;
    meta_read_fini(&req->read);
    req->read = (struct meta_read){
        .bucket = req->s3.bucket,
        .deadline_ns = request_deadline(req),
        .cb = request_read_cb,
    };
    meta_read_start(req->gw->mc, &req->read);
}

static void request_read_start(struct request *req)
{
    const struct operation *o = &operations[req->s3.op];
    unsigned needs = o->needs | (o->more_needs ? o->more_needs(req) : 0);
    enum s3_code code = session_principal_ask(req->temporary, req);
    if (code != S3_OK) {
        request_refuse(req, code);
        return;
    }
    req->read = (struct meta_read){
        .principal = session_principal_name(req->temporary, &req->auth),
        .bucket = needs & (NEED_BUCKET | NEED_BUCKET_MAYBE) ? req->s3.bucket : SLICE_EMPTY,
        .key = req->s3.key,
        .want_object = (needs & NEED_OBJECT) != 0,
        .want_body = (needs & NEED_BODY) != 0,
        .version = needs & NEED_OBJECT ? req->s3.version : VERSION_NONE,
        .want_owner = quota_may_be_asked(req),
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
    req->principal = NULL;
    req->who = NULL;
    req->bucket = NULL;
    req->view = NULL;
    req->authorized = false;
    req->object = NULL;
    req->marker = NULL;
    req->operation = NULL;
    req->recheck_more = NULL;
    req->on_gone = NULL;
    meta_read_fini(&req->read);
    request_read_start(req);
}

static void session_cb(struct session *s, enum s3_code code)
{
    struct request *req = s->req;
    if (code == S3_OK)
        req->session = &s->view;
    if (code != S3_OK)
        request_refuse(req, code);
    else
        request_read_start(req);
}

/* Whose temporary credentials are they? */
static void request_session_start(struct request *req)
{
    req->temporary = request_alloc(req, sizeof(*req->temporary));
    if (req->temporary)
        session_open(req->temporary, req, session_cb);
    else
        request_fail(req, S3_INTERNAL_ERROR);
}

/* It is known who signed, as they say. */
static void request_go_on(struct request *req)
{
    if (req->auth.token.ptr)
        request_session_start(req);
    else
        request_read_start(req);
}

static void request_form_done(struct request *req, enum s3_code code)
{
    if (code == S3_OK && !req->auth.anonymous)
        code = sigv4_check_scope(&req->s3, &req->auth, req->gw->config->region, request_now_ms(req),
                                 &req->fault);
    if (code != S3_OK)
        request_refuse(req, code);
    else
        request_go_on(req);
}

static void on_request(void *arg, struct http_request *http)
{
    struct gateway *gw = arg;
    struct request *req = arena_alloc(http->arena, sizeof(*req));
    if (!req) {
        http_response_simple(http, 503, "text/plain", SLICE_EMPTY);
        return;
    }
    memset(req, 0, offsetof(struct request, recheck));
    req->gw = gw;
    req->http = http;
    req->arena = http->arena;
    http->user = req;
    http->on_gone = request_gone;
    gw->under_way++;
    metric_gauge_add(gw->metrics->under_way, 1);
    request_id_set(req);
    enum s3_code code = request_parse(req);
    if (req->s3.website && req->s3.op != S3_OP_PREFLIGHT)
        website_start(req, code);
    else if (iam_is_request(req))
        iam_start(req, code);
    else if (code != S3_OK)
        request_refuse(req, code);
    else if (req->s3.op == S3_OP_PREFLIGHT && req->s3.bucket.len == 0)
        preflight_start(req);
    else if (req->s3.op == S3_OP_POST_OBJECT)
        post_form_start(req, request_form_done);
    else
        request_go_on(req);
}

const struct http_handler gateway_http_handler = {.on_request = on_request};

/* An ARN finds a principal, too, and anybody can write one where an access key id belongs: it has
 * no secret, and so must never be signed with. */
const Cairn__PrincipalRecord *request_principal_of(const struct sigv4_auth *auth,
                                                   const struct cache_entry *entry)
{
    const Cairn__PrincipalRecord *p =
        entry && entry->record->present ? entry->record->principal : NULL;
    return p && p->enabled && p->secret[0] &&
                   slice_eq(slice_cstr(p->access_key_id), auth->access_key)
               ? p
               : NULL;
}

/* Who signed? */
static enum s3_code authenticate(struct request *req, const struct cache_entry *entry,
                                 uint8_t ret_signing_key[SHA256_BYTES])
{
    const Cairn__PrincipalRecord *p = session_principal(req->temporary, &req->auth, entry);
    if (!p && req->temporary)
        return s3_fault_set(&req->fault, S3_INVALID_TOKEN, NULL);
    if (!p)
        return sigv4_unknown_key(&req->auth, &req->fault);
    if (req->auth.version_2)
        return sigv2_verify(&req->s3, &req->auth, session_secret(req->temporary, p), &req->fault);
    sigv4_cached_key(&req->gw->signing, session_secret(req->temporary, p), &req->auth,
                     ret_signing_key);
    return sigv4_verify(&req->s3, &req->auth, ret_signing_key, &req->fault);
}

static const Cairn__BucketRecord *bucket_of(const struct cache_entry *e)
{
    return e && e->record->present ? e->record->bucket : NULL;
}

enum s3_code request_authorize(struct request *req)
{
    struct cache_entry *principal = req->read.principal_entry;
    const struct cache_entry *object = req->read.object_entry;
    if (req->s3.op == S3_OP_PREFLIGHT) {
        req->authorized = true; /* browsers do not sign them, and they say nothing of objects */
        return S3_OK;
    }
    if (!req->auth.anonymous) {
        enum s3_code code = authenticate(req, principal, req->signing_key);
        if (code != S3_OK)
            return code;
        req->principal = session_principal(req->temporary, &req->auth, principal);
    }
    if (req->form) { /* what was signed is a policy: does it allow this? */
        enum s3_code code = post_form_allowed(req);
        if (code != S3_OK)
            return code;
    }
    req->bucket = bucket_of(req->read.bucket_entry);
    req->object = object && object->record->present ? object->record->object : NULL;
    req->marker = req->object && req->object->delete_marker ? req->object : NULL;
    if (req->marker)
        req->object = NULL;
    struct authorize_basis basis = {req->principal ? principal : NULL, req->read.bucket_entry};
    enum s3_code code = authorize_request(req, &basis);
    req->authorized_ns = env_now_ns(req->gw->env);
    if (code != S3_OK)
        req->marker = NULL; /* nor is anything said of what was deleted */
    return code;
}

enum s3_code request_no_object(struct request *req)
{
    enum s3_code code = req->s3.version && req->marker ? S3_METHOD_NOT_ALLOWED
                        : req->s3.version              ? S3_NO_SUCH_VERSION
                                                       : S3_NO_SUCH_KEY;
    s3_fault_set(&req->fault, code, NULL);
    if (code == S3_METHOD_NOT_ALLOWED) {
        s3_fault_extra(&req->fault, "Method", req->s3.method);
        s3_fault_extra(&req->fault, "ResourceType", SLICE_LIT("DeleteMarker"));
        return code;
    }
    s3_fault_extra(&req->fault, "Key", req->s3.key);
    if (req->s3.version)
        s3_fault_extra(&req->fault, "VersionId", s3_request_value(&req->s3, "versionId"));
    return code;
}

static void request_quota_done(struct request *req, enum s3_code code)
{
    if (code == S3_OK)
        operations[req->s3.op].start(req);
    else
        request_fail(req, code);
}

static void request_acl_done(struct request *req, enum s3_code code)
{
    if (code == S3_OK && quota_is_asked(req))
        quota_start(req, request_quota_done);
    else
        request_quota_done(req, code);
}

static void request_read_cb(struct meta_read *read)
{
    struct request *req = container_of(read, struct request, read);
    if (req->refused) {
        request_fail(req, req->refused);
        return;
    }
    session_principal_read(req, read);
    if (read->err != OK) {
        reply_err(req, read->err);
        request_end(req);
        return;
    }
    enum s3_code code = request_authorize(req);
    if (code != S3_OK) {
        request_refuse(req, code);
        return;
    }
    if (req->bucket && req->bucket->state == CAIRN__BUCKET_STATE__BUCKET_DELETING)
        bucket_delete_resume(req->gw, req->bucket);
    else if (req->bucket && req->bucket->fencing)
        bucket_versioning_resume(req->gw, req->bucket);
    if (acl_is_asked(req) && req->authorized)
        acl_prepare(req, request_acl_done);
    else
        request_acl_done(req, S3_OK);
}

/* ---- again, after an operation has read at leaders ---- */

/* What the operation goes on to look at stays as it was read for the request.  An operation that
 * was authorized late stays so: what it asked with was renewed behind its body. */
static enum s3_code authorize_again(struct request *req)
{
    const struct principal *who = req->who;
    const struct policy_caller caller = req->caller;
    const struct bucket_view *view = req->view;
    bool unrestricted = req->unrestricted, authorized = req->authorized;
    struct authorize_basis basis = {req->principal ? req->recheck.principal_entry : NULL,
                                    req->recheck.bucket_entry};
    enum s3_code code = authorize_request(req, &basis);
    req->who = who;
    req->caller = caller;
    req->view = view;
    req->unrestricted = unrestricted;
    req->authorized = code == S3_OK && authorized;
    if (code == S3_OK && req->recheck_more)
        code = req->recheck_more(req, &basis);
    return code;
}

static enum s3_code authenticate_again(struct request *req)
{
    const struct cache_entry *key = req->recheck.principal_entry;
    uint8_t signing_key[SHA256_BYTES];
    if (session_has_ended(req->temporary))
        return s3_fault_set(&req->fault, S3_EXPIRED_TOKEN, NULL);
    /* The same entry is the same record: it was verified. */
    if (req->auth.anonymous || key == req->read.principal_entry)
        return S3_OK;
    enum s3_code code = authenticate(req, key, signing_key);
    crypto_wipe(signing_key, sizeof(signing_key));
    return code;
}

/* Deleted and made anew meanwhile: what was read is of the old one, or of none. */
static enum s3_code check_same_bucket(struct request *req)
{
    const Cairn__BucketRecord *bucket = bucket_of(req->recheck.bucket_entry);
    return req->bucket && bucket && bucket->id != req->bucket->id
               ? s3_fault_set(&req->fault, S3_SERVICE_UNAVAILABLE, NULL)
               : S3_OK;
}

static enum s3_code request_reauthorize(struct request *req)
{
    enum s3_code code = authenticate_again(req);
    if (code == S3_OK)
        code = authorize_again(req);
    return code == S3_OK ? check_same_bucket(req) : code;
}

static void recheck_end(struct request *req, enum s3_code code)
{
    meta_read_fini(&req->recheck);
    if (code == S3_OK)
        req->authorized_ns = env_now_ns(req->gw->env);
    req->rechecked(req, code);
}

static void request_recheck_cb(struct meta_read *read)
{
    struct request *req = container_of(read, struct request, recheck);
    recheck_end(req, read->err == OK
                         ? request_reauthorize(req)
                         : s3_fault_set(&req->fault, s3_code_of_err(read->err), NULL));
}

static void recheck_start(struct request *req, void (*read_cb)(struct meta_read *read),
                          void (*cb)(struct request *req, enum s3_code code))
{
    req->rechecked = cb;
    req->recheck = (struct meta_read){
        .principal = session_principal_name(req->temporary, &req->auth),
        .bucket = req->bucket ? req->s3.bucket : SLICE_EMPTY,
        .deadline_ns = request_deadline(req),
        .cb = read_cb,
    };
    meta_read_start(req->gw->mc, &req->recheck);
}

void request_recheck(struct request *req, void (*cb)(struct request *req, enum s3_code code))
{
    recheck_start(req, request_recheck_cb, cb);
}

bool request_rights_are_old(const struct request *req)
{
    return req->authorized_ns &&
           env_now_ns(req->gw->env) > req->authorized_ns + REQUEST_RIGHTS_NS;
}

/* Entries whose records the request looks at to its end. */
struct request_kept {
    struct request_kept *next;
    struct cache_entry *principal, *bucket;
};

static void release_kept(struct request *req)
{
    for (struct request_kept *k = req->kept; k; k = k->next) {
        cache_entry_unref(k->principal);
        cache_entry_unref(k->bucket);
    }
    req->kept = NULL;
}

static enum s3_code request_adopt(struct request *req)
{
    struct request_kept *k = request_alloc(req, sizeof(*k));
    if (!k)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    enum s3_code code = authenticate_again(req);
    if (code == S3_OK)
        code = check_same_bucket(req);
    if (code != S3_OK)
        return code;
    const Cairn__PrincipalRecord *now = NULL;
    if (req->principal)
        now = session_principal(req->temporary, &req->auth, req->recheck.principal_entry);
    if (req->principal && !now) /* its session has ended */
        return s3_fault_set(&req->fault, S3_INVALID_TOKEN, NULL);
    *k = (struct request_kept){req->kept, cache_entry_ref(req->recheck.principal_entry),
                               cache_entry_ref(req->recheck.bucket_entry)};
    req->kept = k;
    struct authorize_basis basis = {now ? k->principal : NULL, k->bucket};
    code = authorize_request(req, &basis);
    if (code != S3_OK)
        return code;
    req->principal = now;
    if (req->bucket)
        req->bucket = bucket_of(k->bucket);
    return S3_OK;
}

static void request_renew_cb(struct meta_read *read)
{
    struct request *req = container_of(read, struct request, recheck);
    recheck_end(req, read->err == OK
                         ? request_adopt(req)
                         : s3_fault_set(&req->fault, s3_code_of_err(read->err), NULL));
}

void request_renew(struct request *req, void (*cb)(struct request *req, enum s3_code code))
{
    recheck_start(req, request_renew_cb, cb);
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
    if (gw->access_log)
        access_log_request(gw->access_log, req);
    if (gw->config->access_log)
        log_info("s3.request", 0, L_STR("request_id", req->id), L_STR("op", s3_op_name(req->s3.op)),
                 L_BYTES("bucket", req->s3.bucket), L_BYTES("key", req->s3.key),
                 L_INT("status", req->status), L_UINT("bytes", req->bytes_sent),
                 L_UINT("us", ns / 1000), L_STR("peer", req->http->peer),
                 L_STR("user", req->principal ? req->principal->name : ""),
                 L_UINT("checks", req->read.checks),
                 L_UINT("leader_reads", req->read.leader_reads));
}

static void request_release(struct request *req)
{
    request_account(req);
    quota_release(req);
    req->gw->under_way--;
    crypto_wipe(req->signing_key, sizeof(req->signing_key));
    if (req->form)
        post_form_fini(req->form);
    meta_read_fini(&req->read);
    release_kept(req);
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
