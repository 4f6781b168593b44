/* Bodies coming in. */
#include "gateway/op/body.h"

#include "common/base/check.h"
#include "gateway/op/post_object.h"

static void later_cb(struct env_timer *timer)
{
    struct body *b = container_of(timer, struct body, later);
    b->done(b);
}

enum s3_code body_init(struct body *b, struct request *req, uint64_t bytes_max)
{
    enum s3_code code;
    b->req = req;
    env_timer_init(req->gw->env, &b->later, later_cb);
    b->is_chunked = s3_payload_is_chunked(req->auth.payload);
    b->is_form = req->form != NULL;
    if (b->is_form) {
        b->length = MIN(post_form_rest(req->form), bytes_max);
        bytes_max = UINT64_MAX; /* the file's length is known at its end */
    } else if (b->is_chunked) {
        code = aws_chunked_decoded_length(&req->s3, &b->length, &req->fault);
        if (code != S3_OK)
            return code;
    } else if (req->http->content_length == HTTP_BODY_CHUNKED) {
        return s3_fault_set(&req->fault, S3_MISSING_CONTENT_LENGTH, NULL);
    } else {
        b->length = (uint64_t)req->http->content_length;
    }
    if (b->length > bytes_max)
        return s3_fault_set(&req->fault, S3_ENTITY_TOO_LARGE, NULL);
    if (b->ignore_claim)
        return S3_OK;
    code = s3_checksum_claim_parse(&req->s3, &b->claim, &req->fault);
    if (code == S3_OK && b->claim.in_trailer && !b->is_chunked) /* which alone has one behind it */
        return s3_fault_set(&req->fault, S3_MALFORMED_TRAILER, NULL);
    return code;
}

void body_fail(struct body *b, enum s3_code code)
{
    if (b->finished)
        return;
    b->finished = true;
    b->code = code;
    if (!b->ended)
        http_body_pause(b->req->http);
    payload_unref(&b->held);
    b->encoded = b->plain = SLICE_EMPTY;
    /* The request may end with this, but not under the feet of whoever is feeding it. */
    env_timer_start(&b->later, 0);
}

static void body_verify(struct body *b)
{
    struct request *req = b->req;
    enum s3_code code = S3_OK;
    if (b->is_chunked)
        code = aws_chunked_finish(b->decoder, &req->fault);
    if (b->is_form)
        code = post_form_finish(req->form, b->received);
    else if (code == S3_OK && b->received != b->length)
        code = s3_fault_set(&req->fault, S3_INCOMPLETE_BODY, NULL);
    if (code == S3_OK && b->claim.in_trailer)
        code = s3_checksum_claim_trailer(&b->claim, aws_chunked_trailers(b->decoder), &req->fault);
    s3_hasher_final(&b->hasher, &b->hashes);
    if (code == S3_OK)
        code = s3_hashes_verify(&b->hashes, &b->claim, body_sha256(b), &req->fault);
    body_fail(b, code);
}

/* Decodes until there are data to hand on, or nothing is left. */
static enum s3_code body_decode(struct body *b)
{
    while (b->plain.len == 0 && b->encoded.len) {
        size_t used = b->encoded.len;
        b->plain = b->encoded;
        if (b->is_chunked) {
            enum s3_code code =
                aws_chunked_push(b->decoder, b->encoded, &used, &b->plain, &b->req->fault);
            if (code != S3_OK)
                return code;
        }
        if (b->is_form) {
            enum s3_code code = post_form_push(b->req->form, b->encoded, &used, &b->plain);
            if (code != S3_OK)
                return code;
        }
        b->encoded.ptr += used;
        b->encoded.len -= used;
        if (b->received + b->plain.len > b->length)
            return b->is_form ? post_form_too_large(b->req->form, b->received + b->plain.len)
                              : s3_fault_set(&b->req->fault, S3_INCOMPLETE_BODY, NULL);
        b->received += b->plain.len;
        s3_hasher_update(&b->hasher, b->plain);
    }
    return S3_OK;
}

/* Hands on what there is, until the sink has enough.  Not nested: a sink may resume. */
static void body_feed(struct body *b)
{
    if (b->feeding)
        return;
    b->feeding = true;
    while (!b->finished) {
        enum s3_code code = body_decode(b);
        if (code != S3_OK) {
            body_fail(b, code);
            break;
        }
        if (b->plain.len == 0) {
            payload_unref(&b->held);
            break;
        }
        size_t taken = b->sink(b, b->plain);
        if (b->finished)
            break;
        CHECK(taken <= b->plain.len);
        b->plain.ptr += taken;
        b->plain.len -= taken;
        if (taken == 0) {
            b->pausing = true;
            break;
        }
    }
    b->feeding = false;
    if (!b->finished && b->ended && b->plain.len == 0)
        body_verify(b);
}

static void http_cb(struct http_request *http, void *arg, struct payload chunk, int err)
{
    struct body *b = arg;
    if (b->finished)
        return;
    if (err != OK) {
        b->ended = true;
        body_fail(b,
                  s3_fault_set(&b->req->fault,
                               err == ERR_TIMEOUT ? S3_REQUEST_TIMEOUT : S3_INCOMPLETE_BODY, NULL));
        return;
    }
    CHECK(b->plain.len == 0 && b->encoded.len == 0);
    if (chunk.bytes.len == 0) {
        b->ended = true;
    } else {
        metric_add(b->req->gw->metrics->bytes_in, chunk.bytes.len);
        b->held = payload_ref(chunk);
        b->encoded = chunk.bytes;
    }
    body_feed(b);
    if (b->pausing && !b->finished)
        http_body_pause(http);
}

int body_start(struct body *b, enum s3_checksum_algorithm algorithm, bool with_md5)
{
    struct request *req = b->req;
    enum s3_checksum_algorithm chosen =
        b->claim.algorithm != S3_CHECKSUM_NONE ? b->claim.algorithm : algorithm;
    int err = s3_hasher_init(&b->hasher, chosen, with_md5 || b->claim.has_md5,
                             req->auth.payload == S3_PAYLOAD_SHA256);
    if (err == OK && b->is_chunked) {
        b->decoder = arena_alloc(req->arena, sizeof(*b->decoder));
        err = b->decoder ? OK : ERR_NOMEM;
    }
    if (err == OK && b->is_chunked) {
        struct aws_chunked_config config = {
            .mode = req->auth.payload,
            .decoded_length = b->length,
            .auth = &req->auth,
            .trailer_names = http_fields_get(req->s3.fields, "x-amz-trailer"),
        };
        memcpy(config.signing_key, req->signing_key, sizeof(config.signing_key));
        err = aws_chunked_init(b->decoder, &config);
        crypto_wipe(&config, sizeof(config));
    }
    if (err != OK)
        return err;
    b->started = true;
    if (b->is_form) { /* which has read its begin already */
        b->pausing = true;
        b->encoded = post_form_take(req->form, http_cb, b, &b->held);
        if (req->form->lost != OK)
            http_cb(req->http, b, (struct payload){0}, req->form->lost);
    } else {
        http_body_read_start(req->http, http_cb, b);
    }
    return OK;
}

void body_resume(struct body *b)
{
    if (!b->started || b->finished || !b->pausing)
        return;
    b->pausing = false;
    body_feed(b);
    if (!b->finished && !b->pausing && !b->ended)
        http_body_resume(b->req->http);
}

void body_stop(struct body *b)
{
    if (b->later.env)
        env_timer_stop(&b->later);
    if (b->finished)
        return;
    b->finished = true;
    payload_unref(&b->held);
    if (b->started && !b->ended)
        http_body_pause(b->req->http);
}

void body_fini(struct body *b)
{
    body_stop(b);
    if (b->decoder)
        aws_chunked_fini(b->decoder);
    b->decoder = NULL;
    s3_hasher_fini(&b->hasher);
}

/* ---- small bodies ---- */

static size_t text_sink(struct body *b, struct slice data)
{
    struct body_text *t = container_of(b, struct body_text, body);
    buf_slice(&t->text, data);
    return data.len;
}

static void text_late(struct env_timer *timer)
{
    struct body_text *t = container_of(timer, struct body_text, late);
    body_fail(&t->body, s3_fault_set(&t->body.req->fault, S3_REQUEST_TIMEOUT, NULL));
}

static void text_renewed(struct request *req, enum s3_code code)
{
    struct body_text *t = req->text;
    t->body.code = code;
    t->done(t);
}

static void text_done(struct body *b)
{
    struct body_text *t = container_of(b, struct body_text, body);
    env_timer_stop(&t->late);
    if (b->code == S3_OK && t->text.failed)
        b->code = s3_fault_set(&b->req->fault, S3_INTERNAL_ERROR, NULL);
    if (b->code != S3_OK || !request_rights_are_old(b->req)) {
        t->done(t);
        return;
    }
    b->req->text = t;
    request_renew(b->req, text_renewed);
}

enum s3_code body_text_start(struct body_text *t, struct request *req, uint64_t bytes_max)
{
    enum s3_code code = body_init(&t->body, req, bytes_max);
    if (code != S3_OK)
        return code;
    if (req->gw->text_bytes + t->body.length > BODY_TEXT_BYTES_MAX ||
        (t->unverified &&
         req->gw->unverified_bytes + t->body.length > BODY_TEXT_UNVERIFIED_BYTES_MAX))
        return s3_fault_set(&req->fault, S3_SLOW_DOWN, NULL);
    t->counted = t->body.length;
    req->gw->text_bytes += t->counted;
    req->gw->unverified_bytes += t->unverified ? t->counted : 0;
    t->body.sink = text_sink;
    t->body.done = text_done;
    env_timer_init(req->gw->env, &t->late, text_late);
    if (body_start(&t->body, S3_CHECKSUM_NONE, false) != OK)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    env_timer_start(&t->late, BODY_TEXT_NS_MAX);
    return S3_OK;
}

void body_text_fini(struct body_text *t)
{
    if (t->late.env)
        env_timer_stop(&t->late);
    body_fini(&t->body);
    buf_fini(&t->text);
    if (t->counted) {
        t->body.req->gw->text_bytes -= t->counted;
        t->body.req->gw->unverified_bytes -= t->unverified ? t->counted : 0;
    }
    t->counted = 0;
}
