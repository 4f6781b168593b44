/* Appending to an object, S3's way: PutObject says at which offset its data belong, and that must
 * be the object's size.
 *
 *   RECEIVING ──► COMMITTING ──► DONE
 *       └─────────────────────────▲   anything wrong with the request or the data
 *
 *   there is no object     the offset is 0: a put, if there still is none
 *   it is inline           old and new data are written as a whole, inline again or as segments
 *   it has segments        the new data become segments behind them, however few they are
 *
 * In the last two cases the index takes them only if the version that was read is still the one
 * that is there (metanode/index/apply_append.c): so a condition that was looked at here holds
 * there, and of several appends at one offset one is taken.  The others hear what they would have
 * heard had they come later: that the offset is not the object's size.
 *
 * What the object is besides its data stays: fields that would change it are refused. */
#include "gateway/op/append.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "common/crypto/crc.h"
#include "gateway/op/commit.h"
#include "gateway/op/expiration.h"
#include "gateway/op/intake.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"
#include "gateway/op/sse.h"

#include <stdio.h>

#define OFFSET_FIELD "x-amz-write-offset-bytes"
#define APPENDS_MAX 10000 /* S3's, and the index's */

enum { APPEND_RECEIVING, APPEND_COMMITTING, APPEND_DONE, APPEND_STATES };
static const char *const append_state_names[APPEND_STATES] = {"RECEIVING", "COMMITTING", "DONE"};
static const uint32_t append_transitions[APPEND_STATES] = {
    [APPEND_RECEIVING] = 1u << APPEND_COMMITTING | 1u << APPEND_DONE,
    [APPEND_COMMITTING] = 1u << APPEND_DONE,
};

struct append_op {
    struct op op;
    struct request *req;
    const Cairn__ObjectRecord *old; /* NULL: there is none */
    struct intake intake;
    struct s3_conditions conditions;
    Cairn__ObjectRecord record;
    Cairn__Condition absent;
    Cairn__PutObject put;
    Cairn__AppendObject append;
    struct commit commit;
    bool committed;
};

bool append_is_asked(const struct request *req)
{
    return req->s3.op == S3_OP_PUT_OBJECT && http_fields_find(req->s3.fields, OFFSET_FIELD);
}

static void append_intake_wake(struct intake *intake)
{
    struct append_op *p = container_of(intake, struct append_op, intake);
    op_wake(&p->op);
}

static void append_commit_cb(struct commit *c)
{
    struct append_op *p = container_of(c, struct append_op, commit);
    p->committed = true;
    op_wake(&p->op);
}

static enum op_next append_fail(struct append_op *p, enum s3_code code)
{
    reply_error(p->req, code);
    return op_move(&p->op, APPEND_DONE);
}

/* ---- may it be done? ---- */

static enum s3_code not_offered(struct request *req, const char *why)
{
    return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, why);
}

static enum s3_code no_versions(struct request *req)
{
    return not_offered(req, "Data cannot be appended to objects of a bucket whose versioning is or "
                            "was enabled.");
}

static enum s3_code check_object(struct request *req, const Cairn__ObjectRecord *old)
{
    if (old->encryption)
        return not_offered(req, "Data cannot be appended to encrypted objects.");
    if (old->kind == CAIRN__DATA_KIND__DATA_MANIFEST)
        return not_offered(req, "Data cannot be appended to objects that were made by a multipart "
                                "upload.");
    if (old->lock_mode != CAIRN__LOCK_MODE__LOCK_NONE ||
        old->legal_hold != CAIRN__LEGAL_HOLD__HOLD_NEVER)
        return not_offered(req, "Data cannot be appended to objects with a lock.");
    if (old->base.n_unknown_fields) /* of a later release, which may say what the data are */
        return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, NULL);
    return S3_OK;
}

/* Content-Type and its like are not among them: clients send these by themselves. */
static enum s3_code check_fields(struct request *req)
{
    static const char *const more[] = {"x-amz-acl",
                                       "x-amz-grant-",
                                       "x-amz-tagging",
                                       "x-amz-meta-",
                                       "x-amz-object-lock-",
                                       "x-amz-storage-class",
                                       "x-amz-website-redirect-location"};
    struct http_fields f = req->s3.fields;
    for (size_t i = 0; i < f.count; i++)
        for (size_t k = 0; k < ARRAY_COUNT(more); k++) {
            if (!slice_has_prefix_nocase(f.ptr[i].name, slice_cstr(more[k])))
                continue;
            not_offered(req, "Appending does not change what describes the object.");
            s3_fault_extra(&req->fault, "Header", f.ptr[i].name);
            return S3_NOT_IMPLEMENTED;
        }
    return S3_OK;
}

static enum s3_code check_offset(struct request *req, uint64_t size)
{
    uint64_t offset;
    struct slice value = http_fields_get(req->s3.fields, OFFSET_FIELD);
    if (!parse_u64(value, &offset))
        return s3_fault_argument(&req->fault, "The write offset is not a number.", OFFSET_FIELD,
                                 value);
    return offset == size ? S3_OK : s3_fault_set(&req->fault, S3_INVALID_WRITE_OFFSET, NULL);
}

static enum s3_code check_conditions(struct append_op *p)
{
    struct request *req = p->req;
    enum s3_code code =
        s3_conditions_parse(&req->s3, request_now_ms(req), &p->conditions, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_for_write(&p->conditions, &req->fault);
    return code == S3_OK ? condition_check_early(req, &p->conditions) : code;
}

static enum s3_code check_all(struct append_op *p)
{
    struct request *req = p->req;
    bool encrypts = false;
    enum s3_code code = S3_OK;
    if (req->bucket->versioning != CAIRN__VERSIONING__VERSIONING_OFF)
        return no_versions(req);
    code = sse_is_wanted(req, &encrypts);
    if (code == S3_OK && encrypts)
        code = not_offered(req, "Data that are to be encrypted, by the request or the bucket's "
                                "default, cannot be appended.");
    if (code == S3_OK)
        code = check_conditions(p);
    if (code == S3_OK && p->old)
        code = check_object(req, p->old);
    if (code == S3_OK)
        code = check_offset(req, p->old ? p->old->size : 0);
    if (code == S3_OK && p->old)
        code = check_fields(req);
    if (code == S3_OK && p->old && p->old->appends >= APPENDS_MAX)
        code = s3_fault_set(&req->fault, S3_TOO_MANY_PARTS, NULL);
    return code;
}

/* ---- what is written ---- */

/* Where the body goes. */
static enum s3_code prepare_intake(struct append_op *p)
{
    struct request *req = p->req;
    struct ingest *in = &p->intake.ingest;
    const Cairn__ObjectRecord *old = p->old;
    enum s3_code code = intake_init(&p->intake, req, S3_PUT_BYTES_MAX);
    if (code != S3_OK)
        return code;
    in->storage_class = slice_cstr(old ? old->storage_class : p->record.storage_class);
    if (!old)
        return S3_OK;
    if (in->total > S3_OBJECT_BYTES_MAX - MIN(old->size, S3_OBJECT_BYTES_MAX))
        return s3_fault_set(&req->fault, S3_ENTITY_TOO_LARGE, NULL);
    if (old->kind == CAIRN__DATA_KIND__DATA_INLINE) {
        if (req->read.body.bytes.len != old->size)
            return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
        p->append.whole = true;
        p->intake.before = req->read.body.bytes;
        in->total += old->size;
    } else {
        in->segments_before = (uint32_t)old->n_segments;
        in->bytes_before = old->size;
    }
    return S3_OK;
}

/* Not an MD5, and in no form that clients take for one. */
static char *etag_make(struct request *req, const Cairn__ObjectRecord *old, const uint8_t *md5)
{
    enum { HEX = HEX_CHARS(MD5_BYTES), NUMBER = 12 };
    uint8_t hash[MD5_BYTES];
    struct digest d = {0};
    char *ret = request_alloc(req, HEX + NUMBER + 1);
    if (!ret || digest_init(&d, DIGEST_MD5) != OK)
        return NULL;
    digest_update(&d, slice_cstr(old->etag));
    digest_update(&d, SLICE(md5, MD5_BYTES));
    digest_final(&d, hash);
    digest_fini(&d);
    hex_encode(SLICE(hash, sizeof(hash)), ret);
    snprintf(ret + HEX, NUMBER + 1, "-%u", old->appends + 1);
    return ret;
}

/* Of the whole only the CRC64NVME is known: other checksums it may have had go. */
static bool checksum_make(struct append_op *p, const struct s3_hashes *h)
{
    const Cairn__ObjectRecord *old = p->old;
    struct s3_checksum whole;
    bool known = old->has_crc64nvme || p->append.whole;
    p->record.has_crc64nvme = known;
    if (!known)
        return true;
    uint64_t before = old->has_crc64nvme ? old->crc64nvme : crc64nvme(0, p->req->read.body.bytes);
    p->record.crc64nvme = crc64nvme_combine(before, h->crc64nvme, h->bytes);
    s3_checksum_of_crc64(p->record.crc64nvme, &whole);
    p->record.checksum = checksum_to_proto(p->req, &whole);
    return p->record.checksum != NULL;
}

static enum s3_code describe(struct append_op *p)
{
    struct request *req = p->req;
    const struct s3_hashes *h = &p->intake.body.hashes;
    if (!p->old)
        return record_set_hashes(req, &p->record, h);
    CHECK(h->has_md5);
    p->record.size = p->old->size + h->bytes;
    p->record.etag = etag_make(req, p->old, h->md5);
    if (!p->record.etag || !checksum_make(p, h))
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    return S3_OK;
}

static void make_put(struct append_op *p, Cairn__Command *ret)
{
    cairn__condition__init(&p->absent);
    p->absent.if_absent = true;
    cairn__put_object__init(&p->put);
    p->put.bucket_id = p->req->bucket->id;
    p->put.key = binary_of(p->req->s3.key);
    p->put.record = &p->record;
    p->put.condition = &p->absent;
    ret->op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    ret->put_object = &p->put;
}

static void make_append(struct append_op *p, Cairn__Command *ret)
{
    p->append.bucket_id = p->req->bucket->id;
    p->append.key = binary_of(p->req->s3.key);
    p->append.version = p->old->version;
    p->append.record = &p->record;
    if (!p->append.whole) /* also when nothing has come */
        p->record.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    ret->op_case = CAIRN__COMMAND__OP_APPEND_OBJECT;
    ret->append_object = &p->append;
}

static enum op_next append_propose(struct append_op *p)
{
    struct meta_propose *propose = &p->commit.propose;
    enum s3_code code = describe(p);
    if (code != S3_OK)
        return append_fail(p, code);
    record_set_data(&p->record, &p->intake.ingest);
    cairn__command__init(&propose->command);
    if (p->old)
        make_append(p, &propose->command);
    else
        make_put(p, &propose->command);
    p->commit.event = S3_EVENT_CREATED_PUT;
    propose->body = ingest_body(&p->intake.ingest);
    propose->issue_until_ms = ingest_issue_until_ms(&p->intake.ingest);
    op_move(&p->op, APPEND_COMMITTING);
    commit_start(&p->commit, p->req, p->req->s3.key, append_commit_cb);
    return OP_WAIT;
}

/* ---- answers ---- */

static enum s3_code append_commit_code(struct append_op *p)
{
    struct request *req = p->req;
    const struct commit *c = &p->commit;
    if (c->err == ERR_PRECONDITION)
        return s3_fault_set(&req->fault,
                            p->conditions.if_match.given ? S3_CONDITIONAL_REQUEST_CONFLICT
                                                         : S3_INVALID_WRITE_OFFSET,
                            NULL);
    if (c->err == ERR_REFUSED && c->versioning != CAIRN__VERSIONING__VERSIONING_OFF)
        return no_versions(req); /* since the request began */
    return commit_code(req, c->err);
}

static enum s3_code append_intake_code(struct append_op *p)
{
    struct request *req = p->req;
    if (p->intake.ingest.segments_before && p->intake.code == S3_ENTITY_TOO_LARGE)
        return s3_fault_set(&req->fault, S3_TOO_MANY_PARTS, NULL);
    return p->intake.code;
}

/* What was appended to is left to be read again: tags, ACL or segments may have changed since. */
static void append_reply(struct append_op *p)
{
    struct request *req = p->req;
    char size[24];
    snprintf(size, sizeof(size), "%llu", (unsigned long long)p->record.size);
    if (!p->old)
        commit_cache_object(&p->commit, req->s3.key, &p->record, ingest_body(&p->intake.ingest));
    Cairn__ObjectRecord now = p->old ? *p->old : p->record;
    now.size = p->record.size;
    reply_begin(req, 200);
    reply_etag(req, p->record.etag);
    reply_checksum(req, p->record.checksum, 0);
    reply_field(req, "x-amz-object-size", slice_cstr(size));
    reply_expiration(req, &now, p->commit.outcome->time_ms);
    reply_no_body(req);
}

/* ---- the operation ---- */

static enum op_next append_step(struct op *op)
{
    struct append_op *p = container_of(op, struct append_op, op);
    switch (op->state) {
    case APPEND_RECEIVING: /* 1. Is everything here, durable, and what the client says it is? */
        if (!intake_poll(&p->intake))
            return OP_WAIT;
        return p->intake.code != S3_OK ? append_fail(p, append_intake_code(p)) : append_propose(p);
    case APPEND_COMMITTING: /* 2. Is it in the index? */
        if (!p->committed)
            return OP_WAIT;
        if (p->commit.err != OK)
            return append_fail(p, append_commit_code(p));
        append_reply(p);
        return op_move(op, APPEND_DONE);
    default: CHECK(op->state == APPEND_DONE); return OP_DONE;
    }
}

static void append_done(struct op *op)
{
    struct append_op *p = container_of(op, struct append_op, op);
    struct request *req = p->req;
    /* After an unknown outcome the segments may be referred to: they stay. */
    bool refused = !p->committed ||
                   (p->commit.err != OK && err_class(p->commit.err) != ERR_CLASS_UNKNOWN_OUTCOME);
    commit_fini(&p->commit);
    intake_fini(&p->intake, refused);
    request_end(req);
}

static const struct op_type append_type = {
    .name = "append_object",
    .state_names = append_state_names,
    .transitions = append_transitions,
    .state_count = APPEND_STATES,
    .step = append_step,
    .done = append_done,
};

void append_start(struct request *req)
{
    struct append_op *p = request_alloc(req, sizeof(*p));
    if (!p) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    p->req = req;
    p->old = req->object;
    cairn__append_object__init(&p->append);
    cairn__object_record__init(&p->record);
    enum s3_code code = check_all(p);
    if (code == S3_OK && !p->old)
        code = record_from_request(req, &p->record);
    if (code == S3_OK)
        code = prepare_intake(p);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    op_init(&p->op, &append_type, APPEND_RECEIVING, 0, 0);
    p->intake.wake = append_intake_wake;
    p->intake.code = intake_start(&p->intake, S3_CHECKSUM_NONE);
    op_wake(&p->op);
}
