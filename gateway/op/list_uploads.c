/* ListMultipartUploads. */
#include "common/base/check.h"
#include "gateway/op/operations.h"

struct uploads_op {
    struct request *req;
    struct s3_list_uploads_params params;
    struct meta_list_uploads list;
};

static void uploads_entry(const struct request *req, struct buf *b,
                          const struct s3_result_uploads *head, const Cairn__UploadEntry *e)
{
    const Cairn__UploadRecord *u = e->upload;
    struct id128 id;
    if (!u || !u->object || !id128_from_slice(bytes_of(u->upload_id), &id)) {
        b->failed = true; /* no upload of ours looks like this */
        return;
    }
    struct s3_owner owner = request_object_owner(req, u->object->owner_id);
    struct s3_owner initiator = request_owner_of(req, u->initiator_id);
    struct s3_result_upload r = {
        .key = bytes_of(e->key),
        .upload_id = id.bytes,
        .initiated_ms = u->initiated_ms,
        .storage_class = slice_cstr(u->object->storage_class),
        .owner = &owner,
        .initiator = &initiator,
        .checksum_algorithm = (enum s3_checksum_algorithm)u->checksum_algorithm,
        .checksum_type = (enum s3_checksum_type)u->checksum_type,
    };
    s3_result_uploads_entry(b, head, &r);
}

static void uploads_document(struct uploads_op *l, struct buf *b)
{
    struct request *req = l->req;
    const struct meta_list_uploads *m = &l->list;
    struct s3_result_uploads head = {
        .bucket = req->s3.bucket,
        .params = &l->params,
        .truncated = m->more,
    };
    if (m->more && m->entry_count) {
        const Cairn__UploadEntry *last = m->entries[m->entry_count - 1];
        head.next_key_marker = bytes_of(last->key);
        if (!last->is_prefix && last->upload && last->upload->upload_id.len == ID_BYTES)
            head.next_upload_id_marker = last->upload->upload_id.data;
    }
    s3_result_uploads_begin(b, &head);
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i]->is_prefix)
            s3_result_uploads_prefix(b, &head, bytes_of(m->entries[i]->key));
        else
            uploads_entry(req, b, &head, m->entries[i]);
    }
    s3_result_uploads_end(b, &head);
}

static void uploads_rechecked(struct request *req, enum s3_code code)
{
    struct uploads_op *l = req->operation;
    struct buf b = {0};
    if (code == S3_OK) {
        uploads_document(l, &b);
        reply_xml(req, 200, &b);
    } else {
        reply_error(req, code);
    }
    meta_list_uploads_fini(&l->list);
    request_end(req);
}

static void uploads_cb(struct meta_list_uploads *m)
{
    struct uploads_op *l = container_of(m, struct uploads_op, list);
    struct request *req = l->req;
    if (m->err == OK) {
        request_recheck(req, uploads_rechecked);
        return;
    }
    reply_err(req, m->err);
    meta_list_uploads_fini(m);
    request_end(req);
}

void list_uploads_start(struct request *req)
{
    struct uploads_op *l = request_alloc(req, sizeof(*l));
    if (!l) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    l->req = req;
    req->operation = l;
    enum s3_code code = s3_list_uploads_params_parse(&req->s3, &l->params, &req->fault);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    l->list.bucket_id = req->bucket->id;
    l->list.prefix = l->params.prefix;
    l->list.delimiter = l->params.delimiter;
    l->list.key_marker = l->params.key_marker;
    l->list.upload_id_marker = l->params.has_upload_id_marker
                                   ? SLICE(l->params.upload_id, sizeof(l->params.upload_id))
                                   : SLICE_EMPTY;
    l->list.uploads_max = l->params.max_uploads;
    l->list.deadline_ns = request_deadline(req);
    l->list.cb = uploads_cb;
    meta_list_uploads_start(req->gw->mc, &l->list);
}
