/* UploadPart.
 *
 *   LOOKING ──► KEYING ──► RECEIVING ──► COMMITTING ──► DONE
 *      └───────────┴───────────┴──────────────────────────▲
 *
 * LOOKING reads the upload: it must exist before a body is sent for, and says which checksum its
 * parts must have.  KEYING waits for the upload's key, if its data are encrypted. */
#include "common/base/check.h"
#include "gateway/op/commit.h"
#include "gateway/op/extract.h"
#include "gateway/op/intake.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"
#include "gateway/op/sse.h"
#include "gateway/op/upload.h"

enum { PART_LOOKING, PART_KEYING, PART_RECEIVING, PART_COMMITTING, PART_DONE, PART_STATES };
static const char *const part_state_names[PART_STATES] = {"LOOKING", "KEYING", "RECEIVING",
                                                          "COMMITTING", "DONE"};
static const uint32_t part_transitions[PART_STATES] = {
    [PART_LOOKING] = 1u << PART_KEYING | 1u << PART_DONE,
    [PART_KEYING] = 1u << PART_RECEIVING | 1u << PART_DONE,
    [PART_RECEIVING] = 1u << PART_COMMITTING | 1u << PART_DONE,
    [PART_COMMITTING] = 1u << PART_DONE,
};

struct part_op {
    struct op op;
    struct request *req;
    uint8_t upload_id[ID_BYTES];
    uint32_t number;
    struct parts_walk look;
    struct sse_key key;
    Cairn__Encryption *encryption; /* of the part */
    struct intake intake;
    struct upload_part part;
    enum s3_checksum_algorithm algorithm;
    bool committed;
};

static void part_look_wake(struct parts_walk *w)
{
    struct part_op *p = container_of(w, struct part_op, look);
    op_wake(&p->op);
}

static void part_key_wake(struct sse_key *key)
{
    struct part_op *p = container_of(key, struct part_op, key);
    op_wake(&p->op);
}

static void part_intake_wake(struct intake *intake)
{
    struct part_op *p = container_of(intake, struct part_op, intake);
    op_wake(&p->op);
}

static void part_commit_cb(struct commit *c)
{
    struct part_op *p = container_of(c, struct part_op, part.commit);
    p->committed = true;
    op_wake(&p->op);
}

static enum op_next part_fail(struct part_op *p, enum s3_code code)
{
    reply_error(p->req, code);
    return op_move(&p->op, PART_DONE);
}

static enum op_next part_looked(struct part_op *p)
{
    struct request *req = p->req;
    enum s3_checksum_algorithm wanted;
    enum s3_code code = upload_look_result(&p->look, &wanted);
    if (code != S3_OK)
        return part_fail(p, code);
    enum s3_checksum_algorithm claimed = p->intake.body.claim.algorithm;
    if (wanted && claimed && wanted != claimed)
        return part_fail(p, s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                                         "The checksum algorithm is not the one that the upload "
                                         "was created with"));
    code = lock_check_part(req, p->look.page->upload->object, &p->intake.body.claim);
    if (code != S3_OK)
        return part_fail(p, code);
    p->algorithm = wanted;
    op_move(&p->op, PART_KEYING);
    sse_open_upload_start(&p->key, req, upload_look_encryption(&p->look), part_key_wake);
    return OP_AGAIN;
}

static enum op_next part_keyed(struct part_op *p)
{
    bool failed;
    if (p->key.code != S3_OK)
        return part_fail(p, p->key.code);
    p->encryption = sse_part(p->req, upload_look_encryption(&p->look), &failed);
    if (failed)
        return part_fail(p, s3_fault_set(&p->req->fault, S3_INTERNAL_ERROR, NULL));
    if (p->encryption)
        intake_seal(&p->intake, p->key.data_key, p->encryption);
    op_move(&p->op, PART_RECEIVING);
    p->intake.ingest.storage_class = upload_look_class(&p->look);
    p->intake.code = intake_start(&p->intake, p->algorithm);
    return OP_AGAIN;
}

static enum op_next part_received(struct part_op *p)
{
    struct request *req = p->req;
    if (p->intake.code != S3_OK)
        return part_fail(p, p->intake.code);
    enum s3_code code = upload_part_init(&p->part, req, p->upload_id, p->number,
                                         &p->intake.body.hashes, p->encryption, &p->intake.ingest);
    if (code != S3_OK)
        return part_fail(p, code);
    op_move(&p->op, PART_COMMITTING);
    commit_start(&p->part.commit, req, req->s3.key, part_commit_cb);
    return OP_WAIT;
}

static enum op_next part_step(struct op *op)
{
    struct part_op *p = container_of(op, struct part_op, op);
    struct request *req = p->req;
    switch (op->state) {
    case PART_LOOKING: /* 1. Which upload is this? */
        return p->look.busy ? OP_WAIT : part_looked(p);
    case PART_KEYING: return p->key.busy ? OP_WAIT : part_keyed(p);
    case PART_RECEIVING: /* 2. Is everything here, durable, and what the client says it is? */
        return intake_poll(&p->intake) ? part_received(p) : OP_WAIT;
    case PART_COMMITTING: /* 3. Is it in the index? */
        if (!p->committed)
            return OP_WAIT;
        if (p->part.commit.err != OK)
            return part_fail(p, commit_code(req, p->part.commit.err));
        reply_begin(req, 200);
        reply_etag(req, p->part.record.etag);
        reply_checksum(req, p->part.record.checksum, 0);
        reply_encryption(req, upload_look_encryption(&p->look), false);
        reply_no_body(req);
        return op_move(op, PART_DONE);
    default: CHECK(op->state == PART_DONE); return OP_DONE;
    }
}

static void part_done(struct op *op)
{
    struct part_op *p = container_of(op, struct part_op, op);
    struct request *req = p->req;
    int err = p->part.commit.err;
    bool refused = !p->committed || (err != OK && err_class(err) != ERR_CLASS_UNKNOWN_OUTCOME);
    sse_key_fini(&p->key);
    parts_walk_fini(&p->look);
    commit_fini(&p->part.commit);
    intake_fini(&p->intake, refused);
    request_end(req);
}

static const struct op_type part_type = {
    .name = "upload_part",
    .state_names = part_state_names,
    .transitions = part_transitions,
    .state_count = PART_STATES,
    .step = part_step,
    .done = part_done,
};

void upload_part_start(struct request *req)
{
    struct part_op *p = request_alloc(req, sizeof(*p));
    bool given;
    if (!p) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    p->req = req;
    enum s3_code code = s3_upload_id_parse(&req->s3, p->upload_id, &req->fault);
    if (code == S3_OK)
        code = s3_part_number_parse(&req->s3, &given, &p->number, &req->fault);
    if (code == S3_OK)
        code = intake_init(&p->intake, req, S3_PUT_BYTES_MAX);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    p->intake.wake = part_intake_wake;
    p->intake.ingest.upload_id = SLICE(p->upload_id, ID_BYTES);
    p->intake.ingest.part_number = p->number;
    op_init(&p->op, &part_type, PART_LOOKING, 0, 0);
    upload_look_start(&p->look, req, SLICE(p->upload_id, ID_BYTES), part_look_wake);
}
