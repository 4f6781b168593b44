/* Object lock: GetObjectRetention, PutObjectRetention, GetObjectLegalHold, PutObjectLegalHold, and
 * the locks of writes.
 *
 * A change of a lock is one proposal, decided at apply on the version as it is there; so is all
 * that a lock forbids (metanode/index/apply_lock.c).  What is looked at here only chooses the
 * words. */
#include "gateway/op/object_lock.h"

#include "common/base/check.h"
#include "gateway/op/authorize.h"
#include "gateway/op/body.h"
#include "gateway/op/operations.h"
#include "gateway/s3/time.h"

_Static_assert((int)S3_LOCK_GOVERNANCE == CAIRN__LOCK_MODE__LOCK_GOVERNANCE &&
                   (int)S3_LOCK_COMPLIANCE == CAIRN__LOCK_MODE__LOCK_COMPLIANCE &&
                   (int)S3_HOLD_ON == CAIRN__LEGAL_HOLD__HOLD_ON &&
                   (int)S3_HOLD_OFF == CAIRN__LEGAL_HOLD__HOLD_OFF,
               "gateway/s3/lock.h");

static enum s3_code no_lock(struct request *req)
{
    return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                        "Bucket is missing Object Lock Configuration");
}

/* ---- writes ---- */

enum s3_code lock_from_request(struct request *req, Cairn__ObjectRecord *r)
{
    struct s3_lock lock;
    enum s3_code code = s3_lock_of_request(&req->s3, request_now_ms(req), &lock, &req->fault);
    if (code != S3_OK)
        return code;
    if ((lock.mode || lock.hold) && !req->bucket->object_lock)
        return no_lock(req);
    r->lock_mode = (Cairn__LockMode)lock.mode;
    r->retain_until_ms = lock.until_ms;
    r->legal_hold = (Cairn__LegalHold)lock.hold;
    return S3_OK;
}

static enum s3_code bucket_default(struct request *req, enum s3_lock_mode *ret_mode,
                                   uint64_t *ret_retain_ms)
{
    const Cairn__BucketRecord *b = req->bucket;
    *ret_mode = S3_LOCK_NONE;
    *ret_retain_ms = 0;
    for (size_t i = 0; b->object_lock && i < b->n_settings; i++)
        if (b->settings[i]->kind == CAIRN__SETTING_KIND__SETTING_OBJECT_LOCK)
            return s3_lock_default(req->arena, bytes_of(b->settings[i]->document), ret_mode,
                                   ret_retain_ms, &req->fault);
    return S3_OK;
}

enum s3_code lock_default(struct request *req, Cairn__ObjectRecord *r, uint64_t *ret_retain_ms)
{
    enum s3_lock_mode mode;
    uint64_t retain_ms;
    *ret_retain_ms = 0;
    if (r->lock_mode)
        return S3_OK;
    enum s3_code code = bucket_default(req, &mode, &retain_ms);
    if (code != S3_OK || mode == S3_LOCK_NONE)
        return code;
    r->lock_mode = (Cairn__LockMode)mode;
    *ret_retain_ms = retain_ms;
    return S3_OK;
}

enum s3_code lock_check_put(struct request *req, const Cairn__ObjectRecord *r,
                            const struct s3_checksum_claim *claim)
{
    if (!r->lock_mode && !r->legal_hold)
        return S3_OK;
    return s3_lock_needs_checksum(claim,
                                  "Content-MD5 OR x-amz-checksum- HTTP header is required for Put "
                                  "Object requests with Object Lock parameters",
                                  &req->fault);
}

enum s3_code lock_check_part(struct request *req, const Cairn__ObjectRecord *upload,
                             const struct s3_checksum_claim *claim)
{
    enum s3_lock_mode mode;
    uint64_t ignored;
    enum s3_code code = bucket_default(req, &mode, &ignored);
    bool locks = mode || (upload && (upload->lock_mode || upload->legal_hold));
    if (code != S3_OK || !locks)
        return code;
    return s3_lock_needs_checksum(claim,
                                  "Content-MD5 OR x-amz-checksum- HTTP header is required for Put "
                                  "Part requests with Object Lock parameters",
                                  &req->fault);
}

/* ---- the bucket ---- */

enum s3_code lock_bucket_state(struct request *req, const char *message)
{
    s3_fault_set(&req->fault, S3_INVALID_BUCKET_STATE, message);
    s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
    return S3_INVALID_BUCKET_STATE;
}

static enum s3_code check_document(struct request *req, const struct s3_checksum_claim *claim)
{
    return s3_lock_needs_checksum(
        claim, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        &req->fault);
}

enum s3_code lock_check_configuration(struct request *req, const struct s3_checksum_claim *claim)
{
    enum s3_code code = check_document(req, claim);
    if (code == S3_OK && req->bucket->versioning != CAIRN__VERSIONING__VERSIONING_ENABLED)
        code =
            lock_bucket_state(req, "Versioning must be 'Enabled' on the bucket to apply a Object "
                                   "Lock configuration");
    return code;
}

/* ---- reads ---- */

void reply_lock_fields(struct request *req, const Cairn__ObjectRecord *r)
{
    char date[ISO8601_MS_CHARS + 1];
    if (r->lock_mode) {
        iso8601_format(r->retain_until_ms, date);
        reply_field(req, "x-amz-object-lock-mode",
                    slice_cstr(s3_lock_mode_name((enum s3_lock_mode)r->lock_mode)));
        reply_field(req, "x-amz-object-lock-retain-until-date", slice_cstr(date));
    }
    if (r->legal_hold)
        reply_field(req, "x-amz-object-lock-legal-hold",
                    slice_cstr(s3_hold_name((enum s3_hold)r->legal_hold)));
}

static enum s3_code check_object(struct request *req)
{
    if (!req->bucket->object_lock)
        return no_lock(req);
    return req->object ? S3_OK : request_no_object(req);
}

void get_object_lock_start(struct request *req)
{
    const Cairn__ObjectRecord *o = req->object;
    bool retention = req->s3.op == S3_OP_GET_OBJECT_RETENTION;
    struct buf b = {0};
    enum s3_code code = check_object(req);
    if (code == S3_OK && !(retention ? (int)o->lock_mode : (int)o->legal_hold))
        code = s3_fault_set(&req->fault, S3_NO_SUCH_OBJECT_LOCK_OF_OBJECT, NULL);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    xml_declaration(&b);
    if (retention)
        s3_lock_write_retention(&b, (enum s3_lock_mode)o->lock_mode, o->retain_until_ms);
    else
        s3_lock_write_hold(&b, (enum s3_hold)o->legal_hold);
    reply_xml(req, 200, &b);
    request_end(req);
}

/* ---- changes ---- */

struct lock_op {
    struct request *req;
    struct body_text text;
    Cairn__PutObjectLock command;
    struct commit commit;
};

static void lock_end(struct lock_op *l, enum s3_code code)
{
    struct request *req = l->req;
    if (code == S3_OK) {
        reply_begin(req, 200);
        reply_no_body(req);
    } else {
        reply_error(req, code);
    }
    body_text_fini(&l->text);
    request_end(req);
}

static void lock_commit_cb(struct commit *c)
{
    struct lock_op *l = container_of(c, struct lock_op, commit);
    int err = c->err;
    commit_fini(c);
    lock_end(l, err == OK              ? S3_OK
                : err == ERR_NOT_FOUND ? request_no_object(l->req)
                                       : commit_code(l->req, err));
}

/* Of the version that is named, else of the one that is current when the entry is applied. */
static void lock_propose(struct lock_op *l, const struct s3_lock *lock)
{
    struct request *req = l->req;
    cairn__put_object_lock__init(&l->command);
    l->command.bucket_id = req->bucket->id;
    l->command.key = binary_of(req->s3.key);
    l->command.version = req->s3.version;
    l->command.sets_retention = req->s3.op == S3_OP_PUT_OBJECT_RETENTION;
    l->command.lock_mode = (Cairn__LockMode)lock->mode;
    l->command.retain_until_ms = lock->until_ms;
    l->command.legal_hold = (Cairn__LegalHold)lock->hold;
    l->command.bypass_governance = authorize_bypass(req, req->s3.key);
    cairn__command__init(&l->commit.propose.command);
    l->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_LOCK;
    l->commit.propose.command.put_object_lock = &l->command;
    commit_start(&l->commit, req, req->s3.key, lock_commit_cb);
}

/* For policies. */
static void lock_said(const struct s3_lock *lock, char until[ISO8601_MS_CHARS + 1],
                      struct request_said *ret)
{
    *ret = (struct request_said){0};
    if (lock->mode != S3_LOCK_NONE) {
        iso8601_format(lock->until_ms, until);
        ret->lock_mode = slice_cstr(s3_lock_mode_name(lock->mode));
        ret->lock_until = slice_cstr(until);
    }
    if (lock->hold != S3_HOLD_NEVER)
        ret->legal_hold = slice_cstr(s3_hold_name(lock->hold));
}

static void lock_text_done(struct body_text *text)
{
    struct lock_op *l = container_of(text, struct lock_op, text);
    struct request *req = l->req;
    struct s3_lock lock = {0};
    enum s3_code code = text->body.code;
    if (code == S3_OK)
        code = check_document(req, &text->body.claim);
    if (code == S3_OK && req->s3.op == S3_OP_PUT_OBJECT_RETENTION)
        code = s3_lock_read_retention(req->arena, buf_view(&text->text), request_now_ms(req), &lock,
                                      &req->fault);
    else if (code == S3_OK)
        code = s3_lock_read_hold(req->arena, buf_view(&text->text), &lock, &req->fault);
    struct request_said said;
    char until[ISO8601_MS_CHARS + 1];
    lock_said(&lock, until, &said);
    code = authorize_late(req, &said, code);
    if (code == S3_OK)
        code = check_object(req);
    if (code == S3_OK)
        lock_propose(l, &lock);
    else
        lock_end(l, code);
}

void put_object_lock_start(struct request *req)
{
    struct lock_op *l = request_alloc(req, sizeof(*l));
    if (!l) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    l->req = req;
    l->text.done = lock_text_done;
    enum s3_code code = body_text_start(&l->text, req, S3_CONFIG_BODY_BYTES_MAX);
    if (code != S3_OK)
        lock_end(l, code);
}
