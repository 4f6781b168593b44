/* GetObjectAttributes. */
#include "common/base/check.h"
#include "gateway/op/extract.h"
#include "gateway/op/operations.h"
#include "gateway/op/sse.h"

struct attributes_op {
    struct request *req;
    struct s3_attributes wanted;
    struct parts_walk parts;
    struct buf document;
};

static void attributes_reply(struct attributes_op *a, const Cairn__ListPartsResponse *page)
{
    struct request *req = a->req;
    const Cairn__ObjectRecord *o = req->object;
    struct s3_checksum checksum;
    struct s3_result_attributes r = {
        .mask = a->wanted.mask,
        .etag = slice_cstr(o->etag),
        .storage_class = slice_cstr(o->storage_class),
        .size = o->size,
        .checksum = checksum_of_proto(o->checksum, &checksum) ? &checksum : NULL,
        .part_count = o->part_count,
        .part_marker = a->wanted.part_marker,
        .parts_max = a->wanted.parts_max,
    };
    if (page && page->n_parts) {
        r.truncated = page->more;
        r.next_part_marker = page->parts[page->n_parts - 1]->number;
    }
    s3_result_attributes_begin(&a->document, &r);
    for (size_t i = 0; page && i < page->n_parts; i++) {
        const Cairn__PartRecord *p = page->parts[i];
        struct s3_checksum c;
        bool has = checksum_of_proto(p->checksum, &c);
        s3_result_attributes_part(&a->document, p->number, p->size, has ? &c : NULL);
    }
    s3_result_attributes_end(&a->document, &r);
    if (a->document.failed) {
        buf_fini(&a->document);
        reply_error(req, S3_INTERNAL_ERROR);
        return;
    }
    reply_begin(req, 200);
    reply_time(req, "Last-Modified", o->mtime_ms);
    reply_version(req, "x-amz-version-id", req->bucket, o);
    http_response_field_cstr(req->http, "Content-Type", "application/xml");
    reply_document(req, &a->document);
}

static void parts_wake(struct parts_walk *w)
{
    struct attributes_op *a = container_of(w, struct attributes_op, parts);
    struct request *req = a->req;
    if (request_may_restart(req, w->err)) {
        parts_walk_fini(w);
        request_restart(req);
        return;
    }
    if (w->err == OK)
        attributes_reply(a, w->page);
    else
        reply_error(req, extract_code(w->err));
    parts_walk_fini(w);
    request_end(req);
}

static enum s3_code attributes_prepare(struct attributes_op *a)
{
    struct request *req = a->req;
    struct s3_conditions conditions;
    enum s3_code code = s3_attributes_parse(&req->s3, &a->wanted, &req->fault);
    if (code == S3_OK && !req->object)
        return request_no_object(req);
    if (code == S3_OK)
        code = sse_check_customer(req, req->object->encryption, req->bucket->id);
    if (code == S3_OK)
        code = s3_conditions_parse(&req->s3, request_now_ms(req), &conditions, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_read(&conditions, slice_cstr(req->object->etag), req->object->mtime_ms,
                                  &req->fault);
    return code;
}

void get_attributes_start(struct request *req)
{
    struct attributes_op *a = request_alloc(req, sizeof(*a));
    if (!a) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    a->req = req;
    enum s3_code code = attributes_prepare(a);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    const Cairn__ObjectRecord *o = req->object;
    if (!(a->wanted.mask & S3_ATTRIBUTE_PARTS) || o->kind != CAIRN__DATA_KIND__DATA_MANIFEST) {
        attributes_reply(a, NULL);
        request_end(req);
        return;
    }
    a->parts = (struct parts_walk){
        .req = req,
        .bucket_id = req->bucket->id,
        .key = req->s3.key,
        .upload_id = bytes_of(o->manifest_id),
        .page_max = MAX(a->wanted.parts_max, 1),
        .wake = parts_wake,
    };
    parts_walk_start(&a->parts, a->wanted.part_marker);
}
