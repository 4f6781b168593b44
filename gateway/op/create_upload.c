/* CreateMultipartUpload and AbortMultipartUpload: one proposal each. */
#include "common/base/check.h"
#include "gateway/op/commit.h"
#include "gateway/op/expiration.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"
#include "gateway/op/sse.h"

struct create_upload_op {
    struct request *req;
    struct id128 id;
    struct sse_key key;
    Cairn__ObjectRecord object;
    Cairn__UploadRecord upload;
    Cairn__CreateUpload command;
    struct commit commit;
};

static void create_cb(struct commit *c)
{
    struct create_upload_op *u = container_of(c, struct create_upload_op, commit);
    struct request *req = u->req;
    struct buf b = {0};
    if (c->err == OK)
        s3_result_initiate(&b, req->s3.bucket, req->s3.key, u->id.bytes);
    if (c->err == OK && !b.failed) {
        reply_begin(req, 200);
        http_response_field_cstr(req->http, "Content-Type", "application/xml");
        if (u->upload.checksum_algorithm) {
            enum s3_checksum_algorithm a = (enum s3_checksum_algorithm)u->upload.checksum_algorithm;
            enum s3_checksum_type t = (enum s3_checksum_type)u->upload.checksum_type;
            reply_field(req, "x-amz-checksum-algorithm", slice_cstr(s3_checksum_name(a)));
            reply_field(req, "x-amz-checksum-type", slice_cstr(s3_checksum_type_name(t)));
        }
        reply_encryption(req, u->object.encryption, true);
        reply_abort_date(req, c->outcome->time_ms);
        reply_document(req, &b);
    } else {
        buf_fini(&b);
        reply_error(req, commit_code(req, c->err == OK ? ERR_NOMEM : c->err));
    }
    commit_fini(c);
    request_end(req);
}

static enum s3_code create_prepare(struct create_upload_op *u)
{
    struct request *req = u->req;
    enum s3_checksum_algorithm algorithm;
    enum s3_checksum_type type;
    enum s3_code code = record_from_request(req, &u->object);
    if (code == S3_OK)
        code = s3_checksum_upload_parse(&req->s3, &algorithm, &type, &req->fault);
    if (code != S3_OK)
        return code;
    env_random(req->gw->env, u->id.bytes, ID_BYTES);
    cairn__upload_record__init(&u->upload);
    u->upload.upload_id = binary_of(id128_slice(&u->id));
    u->upload.object = &u->object;
    u->upload.checksum_algorithm = (Cairn__ChecksumAlgorithm)algorithm;
    u->upload.checksum_type = (Cairn__ChecksumType)type;
    u->upload.initiator_id = req->principal->canonical_id;
    cairn__create_upload__init(&u->command);
    u->command.bucket_id = req->bucket->id;
    u->command.key = binary_of(req->s3.key);
    u->command.upload = &u->upload;
    return S3_OK;
}

/* What the parts' data are encrypted with is decided here; the data key waits in the upload. */
static void create_key_wake(struct sse_key *key)
{
    struct create_upload_op *u = container_of(key, struct create_upload_op, key);
    struct request *req = u->req;
    enum s3_code code = key->code;
    u->object.encryption = key->made;
    sse_key_fini(key);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    cairn__command__init(&u->commit.propose.command);
    u->commit.propose.command.op_case = CAIRN__COMMAND__OP_CREATE_UPLOAD;
    u->commit.propose.command.create_upload = &u->command;
    commit_start(&u->commit, req, req->s3.key, create_cb);
}

void create_upload_start(struct request *req)
{
    struct create_upload_op *u = request_alloc(req, sizeof(*u));
    if (!u) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    u->req = req;
    enum s3_code code = create_prepare(u);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    sse_make_start(&u->key, req, false, create_key_wake);
    if (!u->key.busy)
        create_key_wake(&u->key);
}

/* ---- abort ---- */

/* A condition that S3 has in directory buckets: to ignore it could abort what it is to spare. */
#define INITIATED_FIELD "x-amz-if-match-initiated-time"

struct abort_op {
    struct request *req;
    uint8_t upload_id[ID_BYTES];
    Cairn__AbortUpload command;
    struct commit commit;
};

static void abort_cb(struct commit *c)
{
    struct abort_op *a = container_of(c, struct abort_op, commit);
    struct request *req = a->req;
    if (c->err == OK) {
        reply_begin(req, 204);
        reply_no_body(req);
    } else {
        reply_error(req, commit_code(req, c->err));
    }
    commit_fini(c);
    request_end(req);
}

void abort_upload_start(struct request *req)
{
    struct abort_op *a = request_alloc(req, sizeof(*a));
    if (!a) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    a->req = req;
    enum s3_code code = s3_upload_id_parse(&req->s3, a->upload_id, &req->fault);
    if (code == S3_OK && http_fields_find(req->s3.fields, INITIATED_FIELD)) {
        code = s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, NULL);
        s3_fault_extra(&req->fault, "Header", SLICE_LIT(INITIATED_FIELD));
    }
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    cairn__abort_upload__init(&a->command);
    a->command.bucket_id = req->bucket->id;
    a->command.key = binary_of(req->s3.key);
    a->command.upload_id = binary_of(SLICE(a->upload_id, ID_BYTES));
    cairn__command__init(&a->commit.propose.command);
    a->commit.propose.command.op_case = CAIRN__COMMAND__OP_ABORT_UPLOAD;
    a->commit.propose.command.abort_upload = &a->command;
    commit_start(&a->commit, req, req->s3.key, abort_cb);
}
