/* DeleteObject: one proposal.  What is not there is deleted already, unless a condition asks for
 * it. */
#include "common/base/check.h"
#include "gateway/op/commit.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"

struct delete_op {
    struct request *req;
    Cairn__DeleteObject command;
    struct commit commit;
};

static void delete_cb(struct commit *c)
{
    struct delete_op *d = container_of(c, struct delete_op, commit);
    struct request *req = d->req;
    if (c->err == OK) {
        commit_cache_object(c, req->s3.key, NULL, (struct payload){0});
        reply_begin(req, 204);
        reply_no_body(req);
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
        code = condition_from_request(req, &conditions, &d->command.condition);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    d->command.bucket_id = req->bucket->id;
    d->command.key = binary_of(req->s3.key);
    cairn__command__init(&d->commit.propose.command);
    d->commit.propose.command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    d->commit.propose.command.delete_object = &d->command;
    commit_start(&d->commit, req, req->s3.key, delete_cb);
}
