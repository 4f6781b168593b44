/* ListParts: of an upload under way.  One page of the index is one page of S3. */
#include "common/base/check.h"
#include "gateway/op/expiration.h"
#include "gateway/op/extract.h"
#include "gateway/op/operations.h"

struct list_parts_op {
    struct request *req;
    struct s3_list_parts_params params;
    uint8_t upload_id[ID_BYTES];
    struct parts_walk parts;
};

static void parts_document(struct list_parts_op *l, struct buf *b)
{
    struct request *req = l->req;
    const Cairn__ListPartsResponse *page = l->parts.page;
    const Cairn__UploadRecord *u = page->upload;
    struct s3_owner owner = request_object_owner(req, u->object ? u->object->owner_id : "");
    struct s3_owner initiator = request_owner_of(req, u->initiator_id);
    struct s3_result_parts head = {
        .bucket = req->s3.bucket,
        .key = req->s3.key,
        .upload_id = l->upload_id,
        .params = &l->params,
        .truncated = page->more,
        .next_marker = page->n_parts ? page->parts[page->n_parts - 1]->number : 0,
        .storage_class = u->object ? slice_cstr(u->object->storage_class) : SLICE_EMPTY,
        .owner = &owner,
        .initiator = &initiator,
        .checksum_algorithm = (enum s3_checksum_algorithm)u->checksum_algorithm,
        .checksum_type = (enum s3_checksum_type)u->checksum_type,
    };
    s3_result_parts_begin(b, &head);
    for (size_t i = 0; i < page->n_parts; i++) {
        const Cairn__PartRecord *p = page->parts[i];
        struct s3_checksum checksum;
        struct s3_result_part part = {
            .number = p->number,
            .etag = slice_cstr(p->etag),
            .size = p->size,
            .mtime_ms = p->mtime_ms,
            .checksum = checksum_of_proto(p->checksum, &checksum) ? &checksum : NULL,
        };
        s3_result_parts_entry(b, &part);
    }
    s3_result_parts_end(b, &head);
}

static void parts_reply(struct request *req, const Cairn__UploadRecord *upload, struct buf *b)
{
    if (b->failed) {
        buf_fini(b);
        reply_error(req, S3_INTERNAL_ERROR);
        return;
    }
    reply_begin(req, 200);
    reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
    reply_abort_date(req, upload->initiated_ms);
    reply_document(req, b);
}

static void parts_rechecked(struct request *req, enum s3_code code)
{
    struct list_parts_op *l = req->operation;
    struct parts_walk *w = &l->parts;
    struct buf b = {0};
    if (w->err == OK && w->page->upload->completed)
        w->err = ERR_NO_UPLOAD; /* it is an object now */
    if (code != S3_OK) {
        reply_error(req, code);
    } else if (w->err == OK) {
        parts_document(l, &b);
        parts_reply(req, w->page->upload, &b);
    } else {
        reply_err(req, w->err);
    }
    parts_walk_fini(w);
    request_end(req);
}

static void parts_wake(struct parts_walk *w)
{
    struct list_parts_op *l = container_of(w, struct list_parts_op, parts);
    request_recheck(l->req, parts_rechecked);
}

void list_parts_start(struct request *req)
{
    struct list_parts_op *l = request_alloc(req, sizeof(*l));
    if (!l) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    l->req = req;
    req->operation = l;
    enum s3_code code = s3_list_parts_params_parse(&req->s3, &l->params, &req->fault);
    if (code == S3_OK)
        code = s3_upload_id_parse(&req->s3, l->upload_id, &req->fault);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    l->parts = (struct parts_walk){
        .req = req,
        .bucket_id = req->bucket->id,
        .key = req->s3.key,
        .upload_id = SLICE(l->upload_id, ID_BYTES),
        .page_max = MAX(l->params.max_parts, 1),
        .wake = parts_wake,
    };
    parts_walk_start(&l->parts, l->params.marker);
}
