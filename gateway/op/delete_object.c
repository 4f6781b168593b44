/* DeleteObject: one proposal.  What is not there is deleted already, unless a condition asks for
 * it.  With a version that one is deleted; without, a bucket that keeps versions gets a delete marker
 * (metanode/index/apply_delete.c). */
#include "common/base/check.h"
#include "gateway/op/authorize.h"
#include "gateway/op/commit.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"

struct delete_op {
    struct request *req;
    Cairn__DeleteObject command;
    struct commit commit;
};

/* What the current version is now, where that is known. */
static void delete_cache(struct delete_op *d)
{
    struct commit *c = &d->commit;
    if (c->outcome->marks & DELETE_MARKER_MADE)
        commit_cache_marker(c, d->req->s3.key, d->command.owner_id);
    else if (d->command.version == VERSION_NONE)
        commit_cache_object(c, d->req->s3.key, NULL, (struct payload){0});
}

static void delete_reply(struct delete_op *d)
{
    struct request *req = d->req;
    const Cairn__Outcome *o = d->commit.outcome;
    reply_begin(req, 204);
    if (o->marks)
        reply_field(req, "x-amz-delete-marker", SLICE_LIT("true"));
    if (o->marks & DELETE_MARKER_MADE)
        reply_version_made(&d->commit);
    else if (d->command.version != VERSION_NONE)
        reply_field(req, "x-amz-version-id", s3_request_value(&req->s3, "versionId"));
    reply_no_body(req);
}

static void delete_cb(struct commit *c)
{
    struct delete_op *d = container_of(c, struct delete_op, commit);
    struct request *req = d->req;
    if (c->err == OK) {
        delete_cache(d);
        delete_reply(d);
    } else {
        reply_error(req, commit_code(req, c->err));
    }
    commit_fini(c);
    request_end(req);
}

void delete_object_start(struct request *req)
{
    struct delete_op *d = request_alloc(req, sizeof(*d));
    struct s3_conditions conditions;
    if (!d) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    d->req = req;
    cairn__delete_object__init(&d->command);
    enum s3_code code =
        s3_conditions_parse(&req->s3, request_now_ms(req), &conditions, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_for_write(&conditions, &req->fault);
    if (code == S3_OK)
        code = condition_from_request(req, &conditions, &d->command.condition);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    d->command.bucket_id = req->bucket->id;
    d->command.key = binary_of(req->s3.key);
    d->command.version = req->s3.version;
    d->command.bypass_governance = authorize_bypass(req, req->s3.key);
    d->command.owner_id = req->bucket->owner_id;
    cairn__command__init(&d->commit.propose.command);
    d->commit.propose.command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    d->commit.propose.command.delete_object = &d->command;
    commit_start(&d->commit, req, req->s3.key, delete_cb);
}
