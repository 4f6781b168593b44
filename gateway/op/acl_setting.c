/* GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl.
 *
 *   PUT: the fields, or the document → are there such accounts? → one proposal
 *
 * The ACL of an object is changed like its tags: the proposal names the version that it is about,
 * and is tried again on what is there now. */
#include "common/base/check.h"
#include "gateway/op/acl.h"
#include "gateway/op/authorize.h"
#include "gateway/op/body.h"
#include "gateway/op/commit.h"
#include "gateway/op/operations.h"
#include "gateway/op/setting_store.h"

enum { TRIES_MAX = 4 };

static bool of_object(const struct request *req)
{
    return req->s3.key.len > 0;
}

static bool is_enforced(const struct request *req)
{
    return req->view->ownership == OWNERSHIP_ENFORCED;
}

/* Where ACLs are disabled the bucket's owner owns all. */
static struct slice acl_owner(const struct request *req)
{
    return slice_cstr(of_object(req) && !is_enforced(req) ? req->object->owner_id
                                                          : req->bucket->owner_id);
}

/* ---- GET ---- */

static const struct s3_acl *acl_stored(struct request *req)
{
    if (is_enforced(req))
        return NULL;
    if (!of_object(req))
        return req->view->acl;
    return req->object->acl ? acl_of_proto(req->arena, req->object->acl) : NULL;
}

void get_acl_start(struct request *req)
{
    struct buf b = {0};
    struct s3_acl none;
    if (of_object(req) && !req->object) {
        request_fail(req, request_no_object(req));
        return;
    }
    const struct s3_acl *acl = acl_stored(req);
    if (!acl) {
        enum s3_code code = s3_acl_canned(req->arena, S3_CANNED_PRIVATE, acl_owner(req),
                                          SLICE_EMPTY, &none, &req->fault);
        if (code != S3_OK) {
            request_fail(req, code);
            return;
        }
        acl = &none;
    }
    s3_acl_write(&b, acl_owner(req), acl);
    if (b.failed) {
        buf_fini(&b);
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    reply_begin(req, 200);
    if (of_object(req))
        reply_version(req, "x-amz-version-id", req->bucket, req->object);
    reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
    reply_document(req, &b);
    request_end(req);
}

/* ---- PUT ---- */

struct put_acl_op {
    struct request *req;
    struct body_text text;
    struct s3_acl_wanted wanted;
    struct s3_acl acl;
    struct acl_resolve resolve;
    struct buf document; /* of a bucket */
    struct setting_store store;
    unsigned tries; /* of an object: */
    bool versioned;
    Cairn__Condition condition;
    Cairn__PutObjectAcl command;
    struct commit commit;
    struct meta_read read;
};

static void put_acl_end(struct put_acl_op *p, enum s3_code code)
{
    struct request *req = p->req;
    if (code == S3_OK) {
        reply_begin(req, 200);
        if (of_object(req) && req->bucket->versioning != CAIRN__VERSIONING__VERSIONING_OFF)
            reply_version_id(req, "x-amz-version-id",
                             p->versioned ? p->condition.if_version : VERSION_NONE);
        reply_no_body(req);
    } else {
        reply_error(req, code);
    }
    buf_fini(&p->document);
    body_text_fini(&p->text);
    request_end(req);
}

/* Nothing but what the owner has anyway is kept as nothing. */
static bool is_default(const struct put_acl_op *p)
{
    return p->acl.count == 1 && p->acl.grants[0].permission == S3_PERMIT_FULL &&
           !s3_acl_is_shared(&p->acl, acl_owner(p->req));
}

static void stored(struct setting_store *s, enum s3_code code)
{
    put_acl_end(container_of(s, struct put_acl_op, store), code);
}

static void propose_bucket(struct put_acl_op *p, Cairn__Acl *acl)
{
    size_t bytes = acl ? cairn__acl__get_packed_size(acl) : 0;
    if (bytes && buf_reserve(&p->document, bytes) == OK)
        p->document.len += cairn__acl__pack(acl, p->document.ptr);
    p->store.cb = stored;
    enum s3_code code =
        p->document.failed
            ? s3_fault_set(&p->req->fault, S3_INTERNAL_ERROR, NULL)
            : setting_store_start(&p->store, p->req, CAIRN__SETTING_KIND__SETTING_ACL, SLICE_EMPTY,
                                  buf_view(&p->document));
    if (code != S3_OK)
        put_acl_end(p, code);
}

static void commit_cb(struct commit *c);

static void propose_object(struct put_acl_op *p, const Cairn__ObjectRecord *now)
{
    struct request *req = p->req;
    p->condition.if_version = now->version;
    p->versioned = now->versioned;
    p->commit = (struct commit){0};
    cairn__command__init(&p->commit.propose.command);
    p->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_ACL;
    p->commit.propose.command.put_object_acl = &p->command;
    p->commit.event = S3_EVENT_ACL_PUT;
    commit_start(&p->commit, req, req->s3.key, commit_cb);
}

static void read_cb(struct meta_read *read)
{
    struct put_acl_op *p = container_of(read, struct put_acl_op, read);
    struct request *req = p->req;
    const struct cache_entry *e = read->err == OK ? read->object_entry : NULL;
    const Cairn__ObjectRecord *now = e && e->record->present ? e->record->object : NULL;
    enum s3_code code = S3_OK;
    if (read->err != OK)
        code = s3_fault_set(&req->fault, s3_code_of_err(read->err), NULL);
    else if (!now || now->delete_marker)
        code = request_no_object(req);
    else if (strcmp(now->owner_id, req->object->owner_id) != 0)
        code = s3_fault_set(&req->fault, S3_OPERATION_ABORTED, NULL); /* its owner is another */
    else
        code = authorize_changed(req, NULL, now);
    if (code == S3_OK)
        propose_object(p, now); /* keeps nothing of it */
    meta_read_fini(read);
    if (code != S3_OK)
        put_acl_end(p, code);
}

static void commit_cb(struct commit *c)
{
    struct put_acl_op *p = container_of(c, struct put_acl_op, commit);
    struct request *req = p->req;
    int err = c->err;
    commit_fini(c);
    if (err == ERR_PRECONDITION && ++p->tries < TRIES_MAX) {
        p->read = (struct meta_read){
            .bucket = req->s3.bucket,
            .key = req->s3.key,
            .want_object = true,
            .version = req->s3.version,
            .deadline_ns = request_deadline(req),
            .cb = read_cb,
        };
        meta_read_start(req->gw->mc, &p->read);
    } else if (err == ERR_PRECONDITION) {
        put_acl_end(p, s3_fault_set(&req->fault, S3_OPERATION_ABORTED, NULL));
    } else if (err == ERR_NOT_FOUND) {
        put_acl_end(p, request_no_object(req));
    } else {
        put_acl_end(p, err == OK ? S3_OK : commit_code(req, err));
    }
}

static void resolved(struct acl_resolve *r, enum s3_code code)
{
    struct put_acl_op *p = container_of(r, struct put_acl_op, resolve);
    struct request *req = p->req;
    if (code == S3_OK && req->view->block_public_acls && s3_acl_is_public(&p->acl))
        code = s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    Cairn__Acl *acl = code == S3_OK && !is_default(p) ? acl_to_proto(req->arena, &p->acl) : NULL;
    if (code == S3_OK && !acl && !is_default(p))
        code = s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    if (code != S3_OK) {
        put_acl_end(p, code);
        return;
    }
    if (!of_object(req)) {
        propose_bucket(p, acl);
        return;
    }
    cairn__condition__init(&p->condition);
    cairn__put_object_acl__init(&p->command);
    p->command.bucket_id = req->bucket->id;
    p->command.key = binary_of(req->s3.key);
    p->command.acl = acl;
    p->command.condition = &p->condition;
    p->command.version = req->s3.version;
    propose_object(p, req->object);
}

static void resolve(struct put_acl_op *p)
{
    p->resolve = (struct acl_resolve){.req = p->req, .acl = &p->acl, .cb = resolved};
    acl_resolve_start(&p->resolve);
}

static void text_done(struct body_text *t)
{
    struct put_acl_op *p = container_of(t, struct put_acl_op, text);
    struct request *req = p->req;
    struct slice body = buf_view(&t->text), owner = SLICE_EMPTY;
    enum s3_code code = t->body.code;
    bool by_fields = s3_acl_is_wanted(&p->wanted);
    if (code == S3_OK && by_fields && body.len)
        code = s3_fault_set(&req->fault, S3_UNEXPECTED_CONTENT, NULL);
    if (code == S3_OK && !by_fields && body.len == 0)
        code = s3_fault_set(&req->fault, S3_MISSING_SECURITY_HEADER,
                            "Your request was missing a required header: x-amz-acl");
    if (code == S3_OK && !by_fields)
        code = s3_acl_read(req->arena, body, &owner, &p->acl, &req->fault);
    /* An owner cannot be changed. */
    if (code == S3_OK && !by_fields && !slice_eq(owner, acl_owner(req)))
        code = s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    bool nothing_new = code == S3_OK && is_enforced(req) && is_default(p);
    if (code == S3_OK && is_enforced(req) && !nothing_new)
        code = s3_fault_set(&req->fault, S3_ACL_NOT_SUPPORTED, NULL);
    if (code == S3_OK && nothing_new && of_object(req)) {
        p->condition.if_version = req->object->version;
        p->versioned = req->object->versioned;
    }
    if (code == S3_OK && !nothing_new)
        resolve(p);
    else
        put_acl_end(p, code);
}

static enum s3_code put_acl_prepare(struct put_acl_op *p)
{
    struct request *req = p->req;
    if (of_object(req) && !req->object)
        return request_no_object(req);
    enum s3_code code = s3_acl_wanted_parse(&req->s3, &p->wanted, &req->fault);
    /* What gives the owner FULL_CONTROL and nobody else anything is taken, and is nothing new. */
    if (code == S3_OK && is_enforced(req) && p->wanted.canned != S3_CANNED_NONE &&
        (p->wanted.canned != S3_CANNED_BUCKET_OWNER_FULL_CONTROL || !of_object(req)))
        return s3_fault_set(&req->fault, S3_ACL_NOT_SUPPORTED, NULL);
    if (code == S3_OK && of_object(req) && p->wanted.canned == S3_CANNED_LOG_DELIVERY_WRITE)
        code = s3_fault_argument(&req->fault, NULL, "x-amz-acl", SLICE_LIT("log-delivery-write"));
    if (code != S3_OK || !s3_acl_is_wanted(&p->wanted))
        return code;
    p->acl = p->wanted.grants;
    if (p->wanted.canned == S3_CANNED_NONE)
        return S3_OK;
    struct slice bucket_owner = of_object(req) ? slice_cstr(req->bucket->owner_id) : SLICE_EMPTY;
    return s3_acl_canned(req->arena, p->wanted.canned, acl_owner(req), bucket_owner, &p->acl,
                         &req->fault);
}

void put_acl_start(struct request *req)
{
    struct put_acl_op *p = request_alloc(req, sizeof(*p));
    if (!p) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    p->req = req;
    p->text.done = text_done;
    enum s3_code code = put_acl_prepare(p);
    if (code == S3_OK)
        code = body_text_start(&p->text, req, S3_CONFIG_BODY_BYTES_MAX);
    if (code != S3_OK)
        put_acl_end(p, code);
}
