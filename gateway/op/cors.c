/* CORS: preflight requests, which nobody signs, and the fields of every other answer.
 *
 * The bucket's rules are read out of its record once per cache entry (bucket_view.h). */
#include "gateway/op/cors.h"

#include "common/base/check.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/operations.h"

#include <stdio.h>

enum { VALUE_CHARS_MAX = 24 };

/* NULL: none is set (or no memory to read it: then the browser keeps the answer to itself). */
static const struct s3_cors *bucket_cors(const struct request *req)
{
    struct cache_entry *e = req->read.err == OK ? req->read.bucket_entry : NULL;
    if (!e || !e->record->present || !e->record->bucket)
        return NULL;
    const struct bucket_view *view = bucket_view_of(req->gw, e);
    return view ? view->cors : NULL;
}

/* ---- fields ---- */

static void reply_joined(struct request *req, const char *name, const struct slice *values,
                         size_t count)
{
    struct buf b = {0};
    s3_cors_join(&b, values, count);
    if (count && !b.failed)
        reply_field(req, name, buf_view(&b));
    buf_fini(&b);
}

static void reply_match(struct request *req, const struct s3_cors_match *m, struct slice origin)
{
    char text[VALUE_CHARS_MAX];
    reply_field(req, "Access-Control-Allow-Origin", m->any_origin ? SLICE_LIT("*") : origin);
    reply_joined(req, "Access-Control-Allow-Methods", m->rule->methods, m->rule->method_count);
    reply_joined(req, "Access-Control-Expose-Headers", m->rule->expose, m->rule->expose_count);
    if (m->rule->has_max_age) {
        int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)m->rule->max_age_s);
        reply_field(req, "Access-Control-Max-Age", SLICE(text, (size_t)n));
    }
    if (!m->any_origin)
        reply_field(req, "Access-Control-Allow-Credentials", SLICE_LIT("true"));
}

/* A cache between must not give one origin what was said to another, nor to one what was denied. */
static void reply_vary(struct request *req)
{
    reply_field(req, "Vary",
                SLICE_LIT("Origin, Access-Control-Request-Headers, "
                          "Access-Control-Request-Method"));
}

void cors_reply_fields(struct request *req)
{
    struct slice origin = http_fields_get(req->s3.fields, "origin");
    struct s3_cors_match match;
    if (req->s3.op == S3_OP_PREFLIGHT || (origin.len == 0 && !req->read.bucket_entry))
        return;
    const struct s3_cors *cors = bucket_cors(req);
    if (!cors)
        return;
    reply_vary(req);
    if (origin.len && s3_cors_find(cors, origin, req->s3.method, SLICE_EMPTY, &match))
        reply_match(req, &match, origin);
}

bool cors_may_apply(const struct request *req)
{
    return !req->read.bucket_entry && s3_bucket_name_valid(req->s3.bucket) &&
           http_fields_get(req->s3.fields, "origin").len > 0;
}

/* ---- preflight ---- */

#define NOT_ALLOWED                                                                                \
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of "    \
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers "    \
    "are not whitelisted by the resource's CORS spec."

static enum s3_code forbidden(struct request *req, const char *message, struct slice method)
{
    s3_fault_set(&req->fault, S3_ACCESS_FORBIDDEN, message);
    s3_fault_extra(&req->fault, "Method", method);
    s3_fault_extra(&req->fault, "ResourceType",
                   req->s3.key.len ? SLICE_LIT("OBJECT") : SLICE_LIT("BUCKET"));
    return S3_ACCESS_FORBIDDEN;
}

static enum s3_code bad_method(struct request *req, struct slice method)
{
    struct buf b = {0};
    buf_cstr(&b, "Invalid Access-Control-Request-Method: ");
    buf_slice(&b, method.len ? method : SLICE_LIT("null"));
    char *message = b.failed ? NULL : request_cstr(req, buf_view(&b));
    buf_fini(&b);
    return s3_fault_set(&req->fault, S3_BAD_REQUEST, message);
}

static enum s3_code preflight_check(struct request *req, struct s3_cors_match *ret)
{
    struct http_fields f = req->s3.fields;
    struct slice origin = http_fields_get(f, "origin");
    struct slice method = http_fields_get(f, "access-control-request-method");
    const struct cache_entry *bucket = req->read.bucket_entry;
    if (origin.len == 0)
        return s3_fault_set(&req->fault, S3_BAD_REQUEST,
                            "Insufficient information. Origin request header needed.");
    if (!s3_cors_method_known(method))
        return bad_method(req, method);
    if (!bucket || !bucket->record->present)
        return forbidden(req, "CORSResponse: Bucket not found", method);
    const struct s3_cors *cors = bucket_cors(req);
    if (!cors)
        return forbidden(req, "CORSResponse: CORS is not enabled for this bucket.", method);
    if (!s3_cors_find(cors, origin, method, http_fields_get(f, "access-control-request-headers"),
                      ret))
        return forbidden(req, NOT_ALLOWED, method);
    return S3_OK;
}

void preflight_start(struct request *req)
{
    struct s3_cors_match match;
    enum s3_code code = preflight_check(req, &match);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    struct slice headers = http_fields_get(req->s3.fields, "access-control-request-headers");
    reply_begin(req, 200);
    reply_match(req, &match, http_fields_get(req->s3.fields, "origin"));
    if (headers.len)
        reply_field(req, "Access-Control-Allow-Headers", headers);
    reply_vary(req);
    reply_no_body(req);
    request_end(req);
}
