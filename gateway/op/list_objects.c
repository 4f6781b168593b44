/* ListObjects, v1 and v2. */
#include "common/base/check.h"
#include "gateway/op/operations.h"

struct list_op {
    struct request *req;
    struct s3_list_params params;
    struct meta_list list;
};

static void list_entry(const struct request *req, struct buf *b, const struct s3_result_list *head,
                       const Cairn__ListEntry *e)
{
    struct s3_owner owner = request_object_owner(req, e->owner_id);
    bool with_owner = head->params->fetch_owner || !head->params->v2;
    struct s3_result_object o = {
        .key = bytes_of(e->key),
        .etag = slice_cstr(e->etag),
        .storage_class = slice_cstr(e->storage_class),
        .size = e->size,
        .mtime_ms = e->mtime_ms,
        .owner = with_owner ? &owner : NULL,
        .checksum_algorithm = (enum s3_checksum_algorithm)e->checksum_algorithm,
        .checksum_type = (enum s3_checksum_type)e->checksum_type,
    };
    s3_result_list_object(b, head, &o);
}

static void list_document(struct list_op *l, struct buf *b)
{
    struct request *req = l->req;
    const struct meta_list *m = &l->list;
    struct s3_result_list head = {
        .bucket = req->s3.bucket,
        .params = &l->params,
        .truncated = m->more,
        .key_count = (uint32_t)m->entry_count,
    };
    struct buf token = {0};
    if (m->passed.len) {
        head.next_marker = m->passed;
        head.marker_needed = true;
        if (l->params.v2)
            s3_list_token(&token, &req->s3, &l->params, m->passed, false);
        head.next_token = buf_view(&token);
    } else if (m->more && m->entry_count) {
        const Cairn__ListEntry *last = m->entries[m->entry_count - 1];
        head.next_marker = bytes_of(last->key);
        if (l->params.v2)
            s3_list_token(&token, &req->s3, &l->params, bytes_of(last->key), last->is_prefix);
        head.next_token = buf_view(&token);
    }
    /* A page of a thousand keys is some 300 KiB: one allocation instead of many. */
    buf_reserve(b, 1024 + m->entry_count * 400);
    s3_result_list_begin(b, &head);
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i]->is_prefix)
            s3_result_list_prefix(b, &head, bytes_of(m->entries[i]->key));
        else
            list_entry(req, b, &head, m->entries[i]);
    }
    s3_result_list_end(b, &head);
    b->failed |= token.failed;
    buf_fini(&token);
}

static void list_rechecked(struct request *req, enum s3_code code)
{
    struct list_op *l = req->operation;
    struct buf b = {0};
    if (code == S3_OK) {
        list_document(l, &b);
        reply_xml(req, 200, &b);
    } else {
        reply_error(req, code);
    }
    meta_list_fini(&l->list);
    request_end(req);
}

static void list_cb(struct meta_list *m)
{
    struct list_op *l = container_of(m, struct list_op, list);
    struct request *req = l->req;
    if (m->err == OK) {
        request_recheck(req, list_rechecked);
        return;
    }
    reply_err(req, m->err);
    meta_list_fini(m);
    request_end(req);
}

void list_objects_start(struct request *req)
{
    struct list_op *l = request_alloc(req, sizeof(*l));
    if (!l) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    l->req = req;
    req->operation = l;
    enum s3_code code = s3_list_params_parse(&req->s3, &l->params, &req->fault);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    if (l->params.max_keys == 0) { /* nothing is asked for, and nothing is left out */
        struct buf b = {0};
        list_document(l, &b);
        reply_xml(req, 200, &b);
        request_end(req);
        return;
    }
    l->list.bucket_id = req->bucket->id;
    l->list.prefix = l->params.prefix;
    l->list.delimiter = l->params.delimiter;
    l->list.start_after = l->params.marker;
    l->list.skip_prefix = l->params.skip_prefix;
    l->list.by_key_alone = !l->params.v2;
    l->list.keys_max = l->params.max_keys;
    l->list.deadline_ns = request_deadline(req);
    l->list.cb = list_cb;
    meta_list_start(req->gw->mc, &l->list);
}
