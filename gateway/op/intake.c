/* Bodies into segments. */
#include "gateway/op/intake.h"

#include "common/base/check.h"
#include "gateway/op/post_object.h"

/* true: it is all taken. */
static bool push_before(struct intake *in)
{
    if (in->before.len && in->ingest.err == OK) {
        size_t taken = ingest_push(&in->ingest, in->before);
        in->before = SLICE(in->before.ptr + taken, in->before.len - taken);
    }
    return in->before.len == 0;
}

static size_t intake_sink(struct body *body, struct slice data)
{
    struct intake *in = container_of(body, struct intake, body);
    size_t taken = push_before(in) ? ingest_push(&in->ingest, data) : 0;
    if (in->ingest.err != OK)
        body_fail(body, s3_fault_set(&body->req->fault, s3_code_of_err(in->ingest.err), NULL));
    return taken;
}

static void intake_body_done(struct body *body)
{
    struct intake *in = container_of(body, struct intake, body);
    in->body_done = true;
    in->wake(in);
}

static void intake_ingest_wake(struct ingest *ingest)
{
    struct intake *in = container_of(ingest, struct intake, ingest);
    in->wake(in);
}

enum s3_code intake_init(struct intake *in, struct request *req, uint64_t bytes_max)
{
    enum s3_code code = body_init(&in->body, req, bytes_max);
    if (code != S3_OK)
        return code;
    in->body.sink = intake_sink;
    in->body.done = intake_body_done;
    in->ingest.req = req;
    in->ingest.total = in->body.length;
    in->ingest.total_is_bound = in->body.is_form;
    in->ingest.wake = intake_ingest_wake;
    return S3_OK;
}

void intake_seal(struct intake *in, const uint8_t data_key[CRYPT_KEY_BYTES],
                 const Cairn__Encryption *e)
{
    ingest_seal(&in->ingest, data_key, e);
}

enum s3_code intake_expect(struct intake *in)
{
    enum s3_code code = post_form_expect(in->body.req->form, &in->body.length);
    in->ingest.total = in->body.length;
    in->ingest.total_is_bound = false;
    return code;
}

enum s3_code intake_start(struct intake *in, enum s3_checksum_algorithm algorithm)
{
    struct request *req = in->body.req;
    int err = ingest_init(&in->ingest);
    if (err == OK)
        err = body_start(&in->body, algorithm, true);
    return err == OK ? S3_OK : s3_fault_set(&req->fault, s3_code_of_err(err), NULL);
}

bool intake_poll(struct intake *in)
{
    struct request *req = in->body.req;
    if (in->body_done && in->body.code == S3_OK && in->ingest.total_is_bound)
        ingest_end(&in->ingest);
    ingest_poll(&in->ingest);
    if (in->code == S3_OK)
        push_before(in);
    if (!in->body_done && in->ingest.err == OK)
        body_resume(&in->body);
    if (in->code == S3_OK && in->body_done)
        in->code = in->body.code;
    if (in->code == S3_OK && in->ingest.err != OK) {
        in->code = s3_fault_set(&req->fault, s3_code_of_err(in->ingest.err), NULL);
        body_stop(&in->body);
    }
    if (in->code != S3_OK)
        return ingest_idle(&in->ingest);
    return in->body_done && ingest_complete(&in->ingest);
}

void intake_fini(struct intake *in, bool discard)
{
    body_fini(&in->body);
    ingest_fini(&in->ingest, discard);
}
