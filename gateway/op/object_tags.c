/* Tags of an object.
 *
 * A change is one proposal that names the version whose tags it changes: of an object that was
 * replaced meanwhile nothing is changed, and the change is tried again on what is there now. */
#include "common/base/check.h"
#include "gateway/op/authorize.h"
#include "gateway/op/body.h"
#include "gateway/op/commit.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"
#include "gateway/s3/tags.h"

enum { TRIES_MAX = 4 };

void get_object_tags_start(struct request *req)
{
    struct buf b = {0};
    struct s3_tags tags = {0};
    if (!req->object) {
        request_fail(req, request_no_object(req));
        return;
    }
    tags.tags = request_alloc(req, (req->object->n_tags + 1) * sizeof(*tags.tags));
    if (!tags.tags) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    for (size_t i = 0; i < req->object->n_tags; i++)
        tags.tags[tags.count++] = (struct s3_tag){slice_cstr(req->object->tags[i]->name),
                                                  slice_cstr(req->object->tags[i]->value)};
    xml_declaration(&b);
    s3_tags_write(&b, &tags);
    reply_begin(req, 200);
    reply_version(req, "x-amz-version-id", req->bucket, req->object);
    reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
    reply_document(req, &b);
    request_end(req);
}

/* ---- PUT, DELETE ---- */

struct tags_op {
    struct request *req;
    bool deletes;
    struct body_text text;
    struct s3_tags tags;
    struct request_said said;
    unsigned tries;
    bool versioned; /* the version that is changed has an id */
    Cairn__Condition condition;
    Cairn__PutObjectTags command;
    struct commit commit;
    struct meta_read read; /* of what is there now */
};

static void tags_end(struct tags_op *t, enum s3_code code)
{
    struct request *req = t->req;
    if (code == S3_OK) {
        reply_begin(req, t->deletes ? 204 : 200);
        if (req->bucket->versioning != CAIRN__VERSIONING__VERSIONING_OFF)
            reply_version_id(req, "x-amz-version-id",
                             t->versioned ? t->condition.if_version : VERSION_NONE);
        reply_no_body(req);
    } else {
        reply_error(req, code);
    }
    body_text_fini(&t->text);
    request_end(req);
}

static void tags_commit_cb(struct commit *c);

static void tags_propose(struct tags_op *t, const Cairn__ObjectRecord *now)
{
    struct request *req = t->req;
    t->condition.if_version = now->version;
    t->versioned = now->versioned;
    t->commit = (struct commit){0};
    cairn__command__init(&t->commit.propose.command);
    t->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_TAGS;
    t->commit.propose.command.put_object_tags = &t->command;
    t->commit.event = t->deletes ? S3_EVENT_TAGGING_DELETE : S3_EVENT_TAGGING_PUT;
    commit_start(&t->commit, req, req->s3.key, tags_commit_cb);
}

static void tags_read_cb(struct meta_read *read)
{
    struct tags_op *t = container_of(read, struct tags_op, read);
    const struct cache_entry *e = read->err == OK ? read->object_entry : NULL;
    enum s3_code code = S3_OK;
    const Cairn__ObjectRecord *now = e && e->record->present ? e->record->object : NULL;
    if (read->err != OK)
        code = s3_fault_set(&t->req->fault, s3_code_of_err(read->err), NULL);
    else if (!now || now->delete_marker)
        code = request_no_object(t->req);
    else
        code = authorize_changed(t->req, &t->said, now);
    if (code == S3_OK)
        tags_propose(t, now); /* keeps nothing of it */
    meta_read_fini(read);
    if (code != S3_OK)
        tags_end(t, code);
}

static void tags_commit_cb(struct commit *c)
{
    struct tags_op *t = container_of(c, struct tags_op, commit);
    struct request *req = t->req;
    int err = c->err;
    commit_fini(c);
    if (err == ERR_PRECONDITION && ++t->tries < TRIES_MAX) {
        t->read = (struct meta_read){
            .bucket = req->s3.bucket,
            .key = req->s3.key,
            .want_object = true,
            .version = req->s3.version,
            .deadline_ns = request_deadline(req),
            .cb = tags_read_cb,
        };
        meta_read_start(req->gw->mc, &t->read);
    } else if (err == ERR_PRECONDITION) {
        tags_end(t, s3_fault_set(&req->fault, S3_OPERATION_ABORTED, NULL));
    } else if (err == ERR_NOT_FOUND) {
        tags_end(t, request_no_object(req));
    } else {
        tags_end(t, err == OK ? S3_OK : commit_code(req, err));
    }
}

static enum s3_code tags_prepare(struct tags_op *t, const struct s3_tags *tags)
{
    struct request *req = t->req;
    if (!req->object)
        return request_no_object(req);
    cairn__condition__init(&t->condition);
    cairn__put_object_tags__init(&t->command);
    t->command.bucket_id = req->bucket->id;
    t->command.key = binary_of(req->s3.key);
    t->command.condition = &t->condition;
    t->command.version = req->s3.version;
    return record_set_tags(req, tags, &t->command.tags, &t->command.n_tags);
}

static void tags_text_done(struct body_text *text)
{
    struct tags_op *t = container_of(text, struct tags_op, text);
    struct request *req = t->req;
    enum s3_code code = text->body.code;
    if (code == S3_OK)
        code = s3_tags_read(req->arena, buf_view(&text->text), true, &t->tags, &req->fault);
    t->said.tags = &t->tags;
    code = authorize_late(req, &t->said, code);
    if (code == S3_OK)
        code = tags_prepare(t, &t->tags);
    if (code == S3_OK)
        tags_propose(t, req->object);
    else
        tags_end(t, code);
}

void put_object_tags_start(struct request *req)
{
    struct tags_op *t = request_alloc(req, sizeof(*t));
    if (!t) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    t->req = req;
    t->deletes = req->s3.op == S3_OP_DELETE_OBJECT_TAGGING;
    t->text.done = tags_text_done;
    struct s3_tags none = {0};
    enum s3_code code = t->deletes ? tags_prepare(t, &none)
                                   : body_text_start(&t->text, req, S3_CONFIG_BODY_BYTES_MAX);
    if (code != S3_OK)
        tags_end(t, code);
    else if (t->deletes)
        tags_propose(t, req->object);
}
