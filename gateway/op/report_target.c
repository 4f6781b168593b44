/* Destinations of reports. */
#include "gateway/op/report_target.h"

#include "common/base/check.h"
#include "gateway/op/session.h"
#include "gateway/s3/inventory.h"
#include "gateway/s3/logging.h"

bool report_target_is_asked(unsigned kind)
{
    return kind == CAIRN__SETTING_KIND__SETTING_LOGGING ||
           kind == CAIRN__SETTING_KIND__SETTING_INVENTORY;
}

static enum s3_code refuse(struct report_target *t)
{
    s3_fault_set(&t->req->fault, t->refusal, NULL);
    s3_fault_extra(&t->req->fault, "TargetBucket", t->bucket);
    return t->refusal;
}

static enum s3_code check(struct report_target *t, const struct meta_read *read)
{
    struct request *req = t->req;
    if (read->err != OK)
        return s3_fault_set(&req->fault, s3_code_of_err(read->err), NULL);
    const Cairn__Record *record = read->bucket_entry ? read->bucket_entry->record : NULL;
    const Cairn__BucketRecord *b = record && record->present ? record->bucket : NULL;
    bool ours = b && b->state == CAIRN__BUCKET_STATE__BUCKET_ACTIVE &&
                strcmp(b->owner_id, req->bucket->owner_id) == 0 &&
                (t->account.len == 0 || slice_eq(t->account, bucket_owner_account(b)));
    if (!ours)
        return refuse(t);
    struct authorize_basis basis = {read->principal_entry, read->bucket_entry};
    return authorize_delivery(req, &basis, t->prefix);
}

static void read_cb(struct meta_read *read)
{
    struct report_target *t = container_of(read, struct report_target, read);
    enum s3_code code = check(t, read);
    meta_read_fini(read);
    t->cb(t, code);
}

static enum s3_code read_logging(struct report_target *t, struct slice document)
{
    struct request *req = t->req;
    struct s3_node *root;
    struct s3_logging l;
    enum s3_code code =
        s3_document_read(req->arena, &s3_logging_schema, document, &root, &req->fault);
    if (code == S3_OK)
        code = s3_logging_of_node(req->arena, root, &l, &req->fault);
    if (code != S3_OK)
        return code;
    t->refusal = S3_INVALID_TARGET_BUCKET_FOR_LOGGING;
    t->bucket = l.bucket;
    t->prefix = l.prefix;
    return S3_OK;
}

static enum s3_code read_inventory(struct report_target *t, struct slice document)
{
    struct request *req = t->req;
    struct s3_node *root;
    struct s3_inventory i;
    struct buf place = {0};
    enum s3_code code =
        s3_document_read(req->arena, &s3_inventory_schema, document, &root, &req->fault);
    if (code == S3_OK)
        code = s3_inventory_of_node(root, &i, &req->fault);
    if (code != S3_OK)
        return code;
    t->refusal = S3_INVALID_S3_DESTINATION_BUCKET;
    t->bucket = i.bucket;
    t->account = i.account;
    s3_inventory_place(&place, &i, req->s3.bucket);
    t->prefix = place.failed ? SLICE_EMPTY : arena_copy(req->arena, buf_view(&place));
    buf_fini(&place);
    return t->prefix.ptr ? S3_OK : s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
}

void report_target_start(struct report_target *t, unsigned kind, struct slice document)
{
    struct request *req = t->req;
    bool logging = kind == CAIRN__SETTING_KIND__SETTING_LOGGING;
    enum s3_code code = logging ? read_logging(t, document) : read_inventory(t, document);
    if (code != S3_OK) {
        t->cb(t, code);
        return;
    }
    t->read = (struct meta_read){
        .principal = session_principal_name(req->temporary, &req->auth),
        .bucket = t->bucket,
        .deadline_ns = request_deadline(req),
        .cb = read_cb,
    };
    meta_read_start(req->gw->mc, &t->read);
}
