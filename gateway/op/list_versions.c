/* ListObjectVersions. */
#include "common/base/check.h"
#include "gateway/op/operations.h"
#include "gateway/s3/version.h"

struct versions_op {
    struct request *req;
    struct s3_list_versions_params params;
    struct meta_list list;
};

static struct slice version_text(const Cairn__ListEntry *e, char text[S3_VERSION_ID_CHARS + 1])
{
    if (!e->versioned)
        return SLICE_LIT("null");
    s3_version_id_text(e->version, text);
    return SLICE(text, S3_VERSION_ID_CHARS);
}

static void versions_entry(const struct request *req, struct buf *b,
                           const struct s3_result_versions *head, const Cairn__ListEntry *e)
{
    char text[S3_VERSION_ID_CHARS + 1];
    struct s3_owner owner = request_object_owner(req, e->owner_id);
    struct s3_result_version v = {
        .key = bytes_of(e->key),
        .etag = slice_cstr(e->etag),
        .storage_class = slice_cstr(e->storage_class),
        .version_id = version_text(e, text),
        .is_latest = e->is_latest,
        .delete_marker = e->delete_marker,
        .size = e->size,
        .mtime_ms = e->mtime_ms,
        .owner = &owner,
        .checksum_algorithm = (enum s3_checksum_algorithm)e->checksum_algorithm,
        .checksum_type = (enum s3_checksum_type)e->checksum_type,
    };
    s3_result_versions_entry(b, head, &v);
}

static void versions_document(struct versions_op *l, struct buf *b)
{
    struct request *req = l->req;
    const struct meta_list *m = &l->list;
    char text[S3_VERSION_ID_CHARS + 1];
    struct s3_result_versions head = {
        .bucket = req->s3.bucket,
        .params = &l->params,
        .truncated = m->more,
    };
    if (m->more && m->entry_count) {
        const Cairn__ListEntry *last = m->entries[m->entry_count - 1];
        head.next_key_marker = bytes_of(last->key);
        if (!last->is_prefix)
            head.next_version_id_marker = version_text(last, text);
    }
    buf_reserve(b, 1024 + m->entry_count * 450);
    s3_result_versions_begin(b, &head);
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i]->is_prefix)
            s3_result_versions_prefix(b, &head, bytes_of(m->entries[i]->key));
        else
            versions_entry(req, b, &head, m->entries[i]);
    }
    s3_result_versions_end(b, &head);
}

static void versions_rechecked(struct request *req, enum s3_code code)
{
    struct versions_op *l = req->operation;
    struct buf b = {0};
    if (code == S3_OK) {
        versions_document(l, &b);
        reply_xml(req, 200, &b);
    } else {
        reply_error(req, code);
    }
    meta_list_fini(&l->list);
    request_end(req);
}

static void versions_cb(struct meta_list *m)
{
    struct versions_op *l = container_of(m, struct versions_op, list);
    struct request *req = l->req;
    if (m->err == OK) {
        request_recheck(req, versions_rechecked);
        return;
    }
    reply_err(req, m->err);
    meta_list_fini(m);
    request_end(req);
}

void list_versions_start(struct request *req)
{
    struct versions_op *l = request_alloc(req, sizeof(*l));
    if (!l) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    l->req = req;
    req->operation = l;
    enum s3_code code = s3_list_versions_params_parse(&req->s3, &l->params, &req->fault);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    if (l->params.max_keys == 0) { /* nothing is asked for, and nothing is left out */
        struct buf b = {0};
        versions_document(l, &b);
        reply_xml(req, 200, &b);
        request_end(req);
        return;
    }
    l->list.bucket_id = req->bucket->id;
    l->list.versions = true;
    l->list.prefix = l->params.prefix;
    l->list.delimiter = l->params.delimiter;
    l->list.start_after = l->params.key_marker;
    l->list.after_version = l->params.version;
    l->list.skip_prefix = l->params.skip_prefix;
    l->list.keys_max = l->params.max_keys;
    l->list.deadline_ns = request_deadline(req);
    l->list.cb = versions_cb;
    meta_list_start(req->gw->mc, &l->list);
}
