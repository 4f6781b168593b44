/* IAM and STS over HTTP.
 *
 *   scope, time ─► the session, if there is a token ─► the principal ─► the body ─► the principal
 *   again ─► the signature ─► the action (gateway/iam), row by row ─► the principal again, if
 *   something was read ─► document
 *
 * Unlike S3's, their signatures are over the body's hash without saying it in a field; so the body
 * comes first, and only of whom there is a key.  Errors are IAM's. */
#include "gateway/op/iam.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/iam/action.h"
#include "gateway/op/authorize.h"
#include "gateway/op/body.h"
#include "gateway/op/context.h"
#include "gateway/op/iam_txn.h"
#include "gateway/op/session.h"

#define RECHECKS_MAX 3

struct iam_op {
    struct request *req;
    struct session session;
    bool has_session;
    struct meta_read read; /* the principal */
    const Cairn__PrincipalRecord *principal;
    struct body_text text;
    bool has_text;
    struct iam_query query;
    struct iam_caller caller;
    struct iam_call call;
    struct iam_drive drive;
    bool driving;
    struct cache_entry *checked; /* the principal that the action was allowed for; a reference */
    unsigned rechecks;
    struct iam_fault fault;
};

static void principal_read(struct iam_op *op);

/* ---- the end ---- */

static bool is_sts(const struct request *req)
{
    return slice_eq(req->auth.service, SLICE_LIT("sts"));
}

static void op_end(struct iam_op *op)
{
    struct cache_entry *checked = op->checked; /* whose record the request names to its very end */
    if (op->driving)
        iam_drive_fini(&op->drive);
    body_text_fini(&op->text);
    meta_read_fini(&op->read);
    request_end(op->req);
    cache_entry_unref(checked);
}

static void reply_fault(struct request *req, const struct iam_fault *fault)
{
    struct buf document = {0};
    iam_error_document(&document, fault, is_sts(req) ? STS_XMLNS : IAM_XMLNS, req->id);
    reply_begin(req, iam_code_status(fault->code));
    http_response_field_cstr(req->http, "x-amzn-RequestId", req->id);
    http_response_field_cstr(req->http, "Content-Type", "text/xml");
    reply_document(req, &document);
}

static void op_fail(struct iam_op *op, enum iam_code code)
{
    CHECK(code == op->fault.code);
    reply_fault(op->req, &op->fault);
    op_end(op);
}

/* What S3's layer refused, in IAM's words. */
static enum iam_code code_of_s3(struct request *req, enum s3_code code, struct iam_fault *fault)
{
    enum iam_code to = IAM_SERVICE_FAILURE;
    switch (code) {
    case S3_SIGNATURE_DOES_NOT_MATCH:
    case S3_REQUEST_TIME_TOO_SKEWED:
    case S3_REQUEST_EXPIRED: to = IAM_SIGNATURE_DOES_NOT_MATCH; break;
    case S3_INVALID_ACCESS_KEY_ID:
    case S3_INVALID_TOKEN: to = IAM_INVALID_CLIENT_TOKEN_ID; break;
    case S3_EXPIRED_TOKEN: to = IAM_EXPIRED_TOKEN; break;
    case S3_SLOW_DOWN: to = IAM_THROTTLING; break;
    case S3_SERVICE_UNAVAILABLE: to = IAM_SERVICE_UNAVAILABLE; break;
    case S3_INTERNAL_ERROR: break;
    default: to = s3_code_status(code) >= 500 ? IAM_SERVICE_FAILURE : IAM_INCOMPLETE_SIGNATURE;
    }
    const char *message = s3_code_message(code);
    if (to == IAM_SIGNATURE_DOES_NOT_MATCH && code != S3_SIGNATURE_DOES_NOT_MATCH)
        message = "Signature expired, or its time is not near enough to the server's.";
    if (to == IAM_INVALID_CLIENT_TOKEN_ID)
        message = "The security token included in the request is invalid.";
    if (to == IAM_EXPIRED_TOKEN)
        message = "The security token included in the request is expired";
    if (req->fault.code == code && req->fault.message.len && to == IAM_INCOMPLETE_SIGNATURE)
        return iam_fault_set(fault, to, "%.*s", (int)MIN(req->fault.message.len, 500u),
                             (const char *)req->fault.message.ptr);
    return iam_fault_set(fault, to, "%s", message);
}

static void op_refuse(struct iam_op *op, enum s3_code code)
{
    op_fail(op, code_of_s3(op->req, code, &op->fault));
}

/* ---- the action ---- */

static enum iam_code op_run(struct iam_drive *d)
{
    struct iam_op *op = container_of(d, struct iam_op, drive);
    return iam_run(&op->call);
}

static void op_reply(struct iam_op *op)
{
    struct request *req = op->req;
    struct buf *document = &op->drive.t.out;
    req->authorized = true; /* by iam_run() */
    reply_begin(req, 200);
    http_response_field_cstr(req->http, "x-amzn-RequestId", req->id);
    http_response_field_cstr(req->http, "Content-Type", "text/xml");
    reply_document(req, document);
    op_end(op);
}

static void op_done(struct iam_drive *d, enum iam_code code)
{
    struct iam_op *op = container_of(d, struct iam_op, drive);
    if (code == IAM_OK && d->changed) {
        op_reply(op);
    } else if (code == IAM_OK || code == IAM_NO_SUCH_ENTITY) {
        /* What was read is newer than what allowed it. */
        op->fault = code == IAM_OK ? (struct iam_fault){0} : d->t.fault;
        principal_read(op);
    } else {
        if (code == IAM_ACCESS_DENIED)
            authorize_count_denied(op->req->gw->metrics, op->call.denied);
        op->fault = d->t.fault;
        op_fail(op, code);
    }
}

static bool caller_make(struct iam_op *op)
{
    struct request *req = op->req;
    const struct principal *p = principal_of(req->gw, op->checked);
    const struct principal_session *session = op->has_session ? &op->session.view : NULL;
    if (!p)
        return false;
    op->caller = (struct iam_caller){
        .who = principal_caller(p, session),
        .identity = p->policies,
        .identity_count = p->policy_count,
        .boundary = p->boundary,
        .unreadable = p->unreadable,
        .session = session ? session->policies : NULL,
        .session_count = session ? session->policy_count : 0,
        .access_key = req->auth.access_key,
        .temporary = session != NULL,
        .issued_ms = session ? session->issued_ms : 0,
        .tags = p->record->tags,
        .tag_count = p->record->n_tags,
        .region = req->gw->config->region,
        .is_operator = p->record->is_operator,
        .created_ms = p->record->created_ms,
        .source_ip = context_source_ip(req),
        .user_agent = http_fields_get(req->s3.fields, "user-agent"),
        .tls = req->http->tls,
    };
    return true;
}

static void action_start(struct iam_op *op)
{
    struct request *req = op->req;
    if (op->driving)
        iam_drive_fini(&op->drive);
    op->drive = (struct iam_drive){.req = req, .run = op_run, .done = op_done};
    op->call = (struct iam_call){
        .t = &op->drive.t,
        .caller = &op->caller,
        .service = is_sts(req) ? IAM_SERVICE_STS : IAM_SERVICE_IAM,
        .query = &op->query,
        .request_id = req->id,
    };
    op->driving = true;
    iam_drive_start(&op->drive);
}

/* ---- the signature ---- */

static enum s3_code verify(struct iam_op *op)
{
    struct request *req = op->req;
    if (!req->auth.payload_text.len) {
        uint8_t hash[SHA256_BYTES];
        char *hex = request_alloc(req, HEX_CHARS(SHA256_BYTES));
        if (!hex)
            return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
        sha256(buf_view(&op->text.text), hash);
        hex_encode(SLICE(hash, sizeof(hash)), hex);
        req->auth.payload_text = SLICE(hex, HEX_CHARS(SHA256_BYTES));
    }
    sigv4_cached_key(&req->gw->signing,
                     session_secret(op->has_session ? &op->session : NULL, op->principal),
                     &req->auth, req->signing_key);
    return sigv4_verify(&req->s3, &req->auth, req->signing_key, &req->fault);
}

static enum iam_code query_read(struct iam_op *op)
{
    struct request *req = op->req;
    bool post = slice_eq(req->s3.method, SLICE_LIT("POST"));
    struct slice text = post ? buf_view(&op->text.text) : req->s3.raw_query;
    switch (iam_query_parse(req->arena, text, &op->query)) {
    case IAM_QUERY_OK: return IAM_OK;
    case IAM_QUERY_NO_MEMORY:
        return iam_fault_set(&op->fault, IAM_SERVICE_FAILURE,
                             "There is no memory for the request.");
    default:
        return iam_fault_set(&op->fault, IAM_MALFORMED_QUERY_STRING,
                             "The query string contains a syntax error.");
    }
}

static void authenticated(struct iam_op *op)
{
    enum s3_code code = verify(op);
    if (code != S3_OK) {
        op_refuse(op, code);
        return;
    }
    if (!caller_make(op)) {
        op_refuse(op, S3_INTERNAL_ERROR);
        return;
    }
    if (op->rechecks == 0) {
        enum iam_code iam = query_read(op);
        if (iam != IAM_OK) {
            op_fail(op, iam);
            return;
        }
    }
    action_start(op);
}

static void text_done(struct body_text *t)
{
    struct iam_op *op = container_of(t, struct iam_op, text);
    op->has_text = true;
    if (t->body.code == S3_OK) /* a body may take its time: who sends it, may it still? */
        principal_read(op);
    else
        op_refuse(op, t->body.code);
}

/* ---- the principal ---- */

static void principal_cb(struct meta_read *read)
{
    struct iam_op *op = container_of(read, struct iam_op, read);
    struct request *req = op->req;
    struct session *session = op->has_session ? &op->session : NULL;
    session_principal_read(req, read);
    if (read->err != OK) {
        op_refuse(op, s3_code_of_err(read->err));
        return;
    }
    op->principal = req->principal = session_principal(session, &req->auth, read->principal_entry);
    if (!op->principal) {
        op_refuse(op, session ? S3_INVALID_TOKEN : S3_INVALID_ACCESS_KEY_ID);
        return;
    }
    /* The same entry is the same record: what it allowed it allows still. */
    bool same = op->checked == read->principal_entry;
    cache_entry_unref(op->checked);
    op->checked = cache_entry_ref(read->principal_entry);
    if (op->driving && same && op->fault.code == IAM_OK) {
        op_reply(op);
    } else if (op->driving && same) {
        op_fail(op, op->fault.code);
    } else if (op->driving && ++op->rechecks > RECHECKS_MAX) {
        op_refuse(op, S3_SERVICE_UNAVAILABLE);
    } else if (op->has_text) {
        authenticated(op);
    } else {
        op->text.done = text_done;
        op->text.unverified = true;
        enum s3_code code = body_text_start(&op->text, req, IAM_BODY_BYTES_MAX);
        if (code != S3_OK)
            op_refuse(op, code);
    }
}

static void principal_read(struct iam_op *op)
{
    const struct session *session = op->has_session ? &op->session : NULL;
    enum s3_code code = session_principal_ask(session, op->req);
    meta_read_fini(&op->read);
    if (code != S3_OK) {
        op_refuse(op, code);
        return;
    }
    op->read = (struct meta_read){
        .principal = session_principal_name(session, &op->req->auth),
        .deadline_ns = request_deadline(op->req),
        .cb = principal_cb,
    };
    meta_read_start(op->req->gw->mc, &op->read);
}

/* ---- the start ---- */

static void session_cb(struct session *s, enum s3_code code)
{
    struct iam_op *op = container_of(s, struct iam_op, session);
    if (code != S3_OK)
        op_refuse(op, code);
    else
        principal_read(op);
}

bool iam_is_request(const struct request *req)
{
    return (is_sts(req) || slice_eq(req->auth.service, SLICE_LIT("iam"))) &&
           slice_eq(req->s3.path, SLICE_LIT("/")) && req->s3.bucket.len == 0 &&
           (slice_eq(req->s3.method, SLICE_LIT("POST")) ||
            slice_eq(req->s3.method, SLICE_LIT("GET")));
}

static enum s3_code check_scope(struct request *req)
{
    /* IAM has one region everywhere, which the cluster's need not be. */
    struct slice region =
        slice_eq(req->auth.region, SLICE_LIT("us-east-1")) ? SLICE_EMPTY : req->gw->config->region;
    if (req->auth.payload != S3_PAYLOAD_SHA256 && req->auth.payload_text.len)
        return s3_fault_set(&req->fault, S3_INVALID_REQUEST, "The body must be signed as a whole.");
    return sigv4_check_scope_of(&req->s3, &req->auth, req->auth.service, region,
                                request_now_ms(req), &req->fault);
}

void iam_start(struct request *req, enum s3_code code)
{
    struct iam_op *op = request_alloc(req, sizeof(*op));
    if (!op) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    op->req = req;
    if (code == S3_OK)
        code = check_scope(req);
    if (code != S3_OK) {
        op_refuse(op, code);
    } else if (req->auth.token.ptr) {
        op->has_session = true;
        session_open(&op->session, req, session_cb);
    } else {
        principal_read(op);
    }
}
