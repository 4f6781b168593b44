/* Forms: up to the file, and the answer. */
#include "gateway/op/post_object.h"

#include "common/base/check.h"
#include "gateway/op/expiration.h"
#include "gateway/op/sse.h"
#include "gateway/s3/post.h"

enum s3_code post_form_check(struct request *req)
{
    struct s3_form form = {0};
    if (!req->auth.anonymous)
        return s3_fault_argument(&req->fault,
                                 "Only one auth mechanism allowed; a form is signed by its fields",
                                 "Authorization", SLICE_EMPTY);
    if (req->http->content_length == HTTP_BODY_CHUNKED)
        return s3_fault_set(&req->fault, S3_MISSING_CONTENT_LENGTH, NULL);
    return s3_form_init(&form, req->arena, http_fields_get(req->s3.fields, "content-type"),
                        &req->fault);
}

/* ---- reading ---- */

static void later_cb(struct env_timer *timer)
{
    struct post_form *p = container_of(timer, struct post_form, later);
    p->done(p->req, p->code);
}

/* The request may end with this, but not under the feet of whoever feeds it. */
static void form_end(struct post_form *p, enum s3_code code)
{
    p->reading = false;
    p->code = code;
    env_timer_start(&p->later, 0);
}

/* The file comes next: what do the fields say? */
static enum s3_code form_apply(struct post_form *p)
{
    struct request *req = p->req;
    struct http_fields fields = s3_form_fields(&p->form);
    enum s3_code code = sigv4_parse_form(fields, &req->auth, &req->fault);
    return code == S3_OK ? s3_post_apply(&req->s3, fields, p->form.filename, &req->fault) : code;
}

static void form_read(struct post_form *p, struct payload chunk)
{
    struct request *req = p->req;
    struct slice in = chunk.bytes, data;
    size_t used;
    while (in.len && !p->form.has_file) {
        enum s3_code code = s3_form_push(&p->form, in, &used, &data, &req->fault);
        if (code != S3_OK) {
            http_body_pause(req->http);
            form_end(p, code);
            return;
        }
        in = SLICE(in.ptr + used, in.len - used);
        p->consumed += used;
    }
    if (!p->form.has_file)
        return;
    http_body_pause(req->http);
    p->held = payload_ref((struct payload){chunk.owner, in});
    p->rest = in;
    form_end(p, form_apply(p));
}

static void form_http_cb(struct http_request *http, void *arg, struct payload chunk, int err)
{
    struct post_form *p = arg;
    struct request *req = p->req;
    if (p->sink) {
        p->sink(http, p->arg, chunk, err);
        return;
    }
    if (!p->reading) {
        p->lost = err; /* it comes once, paused or not: for who takes the body */
        return;
    }
    if (err != OK) {
        enum s3_code code = err == ERR_TIMEOUT ? S3_REQUEST_TIMEOUT : S3_INCOMPLETE_BODY;
        form_end(p, s3_fault_set(&req->fault, code, NULL));
    } else if (chunk.bytes.len == 0) {
        form_end(p, s3_form_finish(&p->form, &req->fault));
    } else {
        form_read(p, chunk);
    }
}

void post_form_start(struct request *req, void (*done)(struct request *req, enum s3_code code))
{
    struct post_form *p = request_alloc(req, sizeof(*p));
    if (!p) {
        done(req, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
        return;
    }
    p->req = req;
    p->done = done;
    p->reading = true;
    env_timer_init(req->gw->env, &p->later, later_cb);
    req->form = p;
    enum s3_code code = s3_form_init(&p->form, req->arena,
                                     http_fields_get(req->s3.fields, "content-type"), &req->fault);
    if (code != S3_OK)
        form_end(p, code);
    else
        http_body_read_start(req->http, form_http_cb, p);
}

enum s3_code post_form_allowed(struct request *req)
{
    struct post_form *p = req->form;
    p->range = (struct s3_post_range){0, UINT64_MAX};
    if (req->auth.anonymous)
        return S3_OK;
    struct s3_post post = {s3_form_fields(&p->form), req->s3.bucket, req->s3.key};
    return s3_post_policy_check(req->arena, req->auth.policy, &post, request_now_ms(req), &p->range,
                                &req->fault);
}

/* ---- the file ---- */

static enum s3_code not_the_end(struct post_form *p)
{
    return s3_fault_set(&p->req->fault, S3_NOT_IMPLEMENTED,
                        "A file that is to be encrypted must be the end of its form.");
}

uint64_t post_form_rest(const struct post_form *p)
{
    uint64_t all = (uint64_t)p->req->http->content_length;
    return MIN(all > p->consumed ? all - p->consumed : 0, p->range.max);
}

enum s3_code post_form_expect(struct post_form *p, uint64_t *ret_bytes)
{
    uint64_t all = (uint64_t)p->req->http->content_length - p->consumed;
    uint64_t end = p->form.delimiter_len + sizeof("--\r\n") - 1;
    p->is_exact = true;
    p->exact = *ret_bytes = all > end ? all - end : 0;
    return p->exact > MIN(p->range.max, S3_PUT_BYTES_MAX) ? post_form_too_large(p, p->exact)
                                                          : S3_OK;
}

struct slice post_form_take(struct post_form *p, http_body_cb cb, void *arg,
                            struct payload *ret_held)
{
    *ret_held = p->held;
    p->held = (struct payload){0};
    p->sink = cb;
    p->arg = arg;
    return p->rest;
}

enum s3_code post_form_push(struct post_form *p, struct slice in, size_t *ret_used,
                            struct slice *ret_data)
{
    return s3_form_push(&p->form, in, ret_used, ret_data, &p->req->fault);
}

enum s3_code post_form_too_large(struct post_form *p, uint64_t bytes)
{
    struct s3_post_range range = {0, MIN(p->range.max, S3_PUT_BYTES_MAX)};
    if (p->is_exact && bytes <= range.max)
        return not_the_end(p);
    return s3_post_range_check(p->req->arena, &range, bytes, false, &p->req->fault);
}

enum s3_code post_form_finish(struct post_form *p, uint64_t bytes)
{
    enum s3_code code = s3_form_finish(&p->form, &p->req->fault);
    if (code == S3_OK && p->is_exact && bytes != p->exact)
        code = not_the_end(p);
    return code == S3_OK
               ? s3_post_range_check(p->req->arena, &p->range, bytes, true, &p->req->fault)
               : code;
}

void post_form_fini(struct post_form *p)
{
    env_timer_stop(&p->later);
    payload_unref(&p->held);
    s3_form_fini(&p->form);
}

/* ---- the answer ---- */

static void reply_head(struct request *req, int status, const Cairn__ObjectRecord *record,
                       const struct commit *commit, const struct buf *location)
{
    reply_begin(req, status);
    reply_etag(req, record->etag);
    reply_checksum(req, record->checksum, 0);
    reply_version_made(commit);
    reply_encryption(req, record->encryption, true);
    reply_expiration(req, record, commit->outcome->time_ms);
    if (!location->failed)
        reply_field(req, "Location", buf_view(location));
}

void post_form_reply(struct request *req, const Cairn__ObjectRecord *record,
                     const struct commit *commit)
{
    static const int statuses[] = {
        [S3_POST_200] = 200, [S3_POST_201] = 201, [S3_POST_204] = 204, [S3_POST_REDIRECT] = 303};
    struct http_fields form = s3_form_fields(&req->form->form);
    enum s3_post_answer answer = s3_post_answer(form);
    struct slice etag = slice_cstr(record->etag);
    struct buf location = {0}, document = {0};
    if (answer == S3_POST_REDIRECT)
        s3_post_redirect(&location, &req->s3, form, etag);
    else
        s3_post_location(&location, &req->s3, req->http->tls);
    reply_head(req, statuses[answer], record, commit, &location);
    if (answer == S3_POST_201) {
        s3_post_document(&document, &req->s3, buf_view(&location), etag);
        reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
        reply_document(req, &document);
    } else {
        reply_no_body(req);
    }
    buf_fini(&location);
}
