/* PutObject, and PostObject, which comes here when its form has been read up to the file.
 *
 *   KEYING ──► RECEIVING ──► COMMITTING ──► DONE
 *      └───────────┴──────────────────────────▲   anything wrong with the request or the data
 *
 * KEYING waits for the key that the data are to be encrypted with, if they are.
 * RECEIVING ends when the whole body is durable (or gathered, if it is small) and verified; only
 * then is the record proposed.  Conditions are decided at apply, in log order.  They are looked at
 * before the body is sent for, too, where that saves a useless upload or tells 404 from 412; a
 * condition that held then and does not hold at apply has lost a race: 412 for If-None-Match
 * (somebody was first), 409 for If-Match (the object changed while this upload was under way). */
#include "common/base/check.h"
#include "gateway/op/append.h"
#include "gateway/op/commit.h"
#include "gateway/op/expiration.h"
#include "gateway/op/intake.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"
#include "gateway/op/post_object.h"
#include "gateway/op/record.h"
#include "gateway/op/sse.h"

enum { PUT_KEYING, PUT_RECEIVING, PUT_COMMITTING, PUT_DONE, PUT_STATES };
static const char *const put_state_names[PUT_STATES] = {"KEYING", "RECEIVING", "COMMITTING",
                                                        "DONE"};
static const uint32_t put_transitions[PUT_STATES] = {
    [PUT_KEYING] = 1u << PUT_RECEIVING | 1u << PUT_DONE,
    [PUT_RECEIVING] = 1u << PUT_COMMITTING | 1u << PUT_DONE,
    [PUT_COMMITTING] = 1u << PUT_DONE,
};

struct put_op {
    struct op op;
    struct request *req;
    struct sse_key key;
    struct intake intake;
    struct s3_conditions conditions;
    Cairn__Condition *condition;
    Cairn__ObjectRecord record;
    Cairn__PutObject put;
    struct commit commit;
    bool committed;
};

unsigned put_object_needs(struct request *req)
{
    struct http_fields f = req->s3.fields;
    if (append_is_asked(req))
        return NEED_OBJECT | NEED_BODY;
    if (http_fields_find(f, "if-match"))
        return NEED_OBJECT;
    /* A small body is here before an answer would be. */
    bool small = req->http->content_length >= 0 &&
                 (uint64_t)req->http->content_length <= req->gw->config->inline_bytes_max;
    return !small && http_fields_find(f, "if-none-match") ? NEED_OBJECT : 0;
}

static void put_intake_wake(struct intake *intake)
{
    struct put_op *p = container_of(intake, struct put_op, intake);
    op_wake(&p->op);
}

static void put_key_wake(struct sse_key *key)
{
    struct put_op *p = container_of(key, struct put_op, key);
    op_wake(&p->op);
}

static void put_commit_cb(struct commit *c)
{
    struct put_op *p = container_of(c, struct put_op, commit);
    p->committed = true;
    op_wake(&p->op);
}

static enum op_next put_fail(struct put_op *p, enum s3_code code)
{
    reply_error(p->req, code);
    return op_move(&p->op, PUT_DONE);
}

static enum op_next put_receive(struct put_op *p)
{
    if (p->key.code != S3_OK)
        return put_fail(p, p->key.code);
    if (p->key.made && p->intake.body.is_form) { /* every chunk says how large the whole is */
        enum s3_code code = intake_expect(&p->intake);
        if (code != S3_OK)
            return put_fail(p, code);
    }
    p->record.encryption = p->key.made;
    if (p->key.made)
        intake_seal(&p->intake, p->key.data_key, p->key.made);
    op_move(&p->op, PUT_RECEIVING);
    p->intake.code = intake_start(&p->intake, S3_CHECKSUM_NONE);
    return OP_AGAIN;
}

static enum op_next put_propose(struct put_op *p)
{
    struct request *req = p->req;
    enum s3_code code = record_set_hashes(req, &p->record, &p->intake.body.hashes);
    if (code != S3_OK)
        return put_fail(p, code);
    record_set_data(&p->record, &p->intake.ingest);
    p->put.bucket_id = req->bucket->id;
    p->put.key = binary_of(req->s3.key);
    p->put.record = &p->record;
    p->put.condition = p->condition;
    cairn__command__init(&p->commit.propose.command);
    p->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    p->commit.propose.command.put_object = &p->put;
    p->commit.event = req->form ? S3_EVENT_CREATED_POST : S3_EVENT_CREATED_PUT;
    p->commit.propose.body = ingest_body(&p->intake.ingest);
    p->commit.propose.issue_until_ms = ingest_issue_until_ms(&p->intake.ingest);
    op_move(&p->op, PUT_COMMITTING);
    commit_start(&p->commit, req, req->s3.key, put_commit_cb);
    return OP_WAIT;
}

static enum s3_code put_commit_code(struct put_op *p, int err)
{
    struct request *req = p->req;
    if (err == ERR_PRECONDITION && p->conditions.if_match.given)
        return s3_fault_set(&req->fault, S3_CONDITIONAL_REQUEST_CONFLICT, NULL);
    return commit_code(req, err);
}

static void put_reply(struct put_op *p)
{
    struct request *req = p->req;
    lock_as_written(&p->record, p->put.retain_ms, p->commit.outcome);
    commit_cache_object(&p->commit, req->s3.key, &p->record, ingest_body(&p->intake.ingest));
    if (req->form) {
        post_form_reply(req, &p->record, &p->commit);
        return;
    }
    reply_begin(req, 200);
    reply_etag(req, p->record.etag);
    reply_checksum(req, p->record.checksum, 0);
    reply_version_made(&p->commit);
    reply_encryption(req, p->record.encryption, true);
    reply_expiration(req, &p->record, p->commit.outcome->time_ms);
    reply_no_body(req);
}

static enum op_next put_step(struct op *op)
{
    struct put_op *p = container_of(op, struct put_op, op);
    switch (op->state) {
    case PUT_KEYING: return p->key.busy ? OP_WAIT : put_receive(p);
    case PUT_RECEIVING: /* 1. Is everything here, durable, and what the client says it is? */
        if (!intake_poll(&p->intake))
            return OP_WAIT;
        return p->intake.code != S3_OK ? put_fail(p, p->intake.code) : put_propose(p);
    case PUT_COMMITTING: /* 2. Is it in the index? */
        if (!p->committed)
            return OP_WAIT;
        if (p->commit.err != OK)
            return put_fail(p, put_commit_code(p, p->commit.err));
        put_reply(p);
        return op_move(op, PUT_DONE);
    default: CHECK(op->state == PUT_DONE); return OP_DONE;
    }
}

static void put_done(struct op *op)
{
    struct put_op *p = container_of(op, struct put_op, op);
    struct request *req = p->req;
    /* After an unknown outcome the segments may be referred to: they stay. */
    bool refused = !p->committed ||
                   (p->commit.err != OK && err_class(p->commit.err) != ERR_CLASS_UNKNOWN_OUTCOME);
    commit_fini(&p->commit);
    sse_key_fini(&p->key);
    intake_fini(&p->intake, refused);
    request_end(req);
}

static const struct op_type put_type = {
    .name = "put_object",
    .state_names = put_state_names,
    .transitions = put_transitions,
    .state_count = PUT_STATES,
    .step = put_step,
    .done = put_done,
};

static enum s3_code put_prepare(struct put_op *p, struct request *req)
{
    cairn__put_object__init(&p->put);
    enum s3_code code =
        s3_conditions_parse(&req->s3, request_now_ms(req), &p->conditions, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_for_write(&p->conditions, &req->fault);
    if (code == S3_OK && req->read.want_object)
        code = condition_check_early(req, &p->conditions);
    if (code == S3_OK)
        code = condition_from_request(req, &p->conditions, &p->condition);
    if (code == S3_OK)
        code = record_from_request(req, &p->record);
    if (code == S3_OK)
        code = lock_default(req, &p->record, &p->put.retain_ms);
    if (code == S3_OK)
        code = intake_init(&p->intake, req, S3_PUT_BYTES_MAX);
    if (code == S3_OK)
        code = lock_check_put(req, &p->record, &p->intake.body.claim);
    if (code == S3_OK)
        p->intake.ingest.storage_class = slice_cstr(p->record.storage_class);
    return code;
}

void put_object_start(struct request *req)
{
    if (append_is_asked(req)) {
        append_start(req);
        return;
    }
    struct put_op *p = request_alloc(req, sizeof(*p));
    if (!p) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    p->req = req;
    enum s3_code code = put_prepare(p, req);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    op_init(&p->op, &put_type, PUT_KEYING, 0, 0);
    p->intake.wake = put_intake_wake;
    sse_make_start(&p->key, req, true, put_key_wake);
    op_wake(&p->op);
}
