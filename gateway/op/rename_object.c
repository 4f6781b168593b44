/* RenameObject: the request, its idempotence, its command. */
#include "gateway/op/rename_object.h"

#include "common/base/check.h"
#include "common/crypto/digest.h"
#include "gateway/op/operations.h"
#include "gateway/s3/headers.h"

enum { TOKEN_HASH_BYTES = RENAMED_BY_BYTES / 2 };
_Static_assert(TOKEN_HASH_BYTES <= SHA256_BYTES, "half a row is one hash");

unsigned rename_object_needs(struct request *req)
{
    (void)req;
    return NEED_OBJECT;
}

static enum s3_code no_versions(struct request *req)
{
    return s3_fault_set(
        &req->fault, S3_NOT_IMPLEMENTED,
        "Objects of a bucket whose versioning is or was enabled cannot be renamed.");
}

/* All that describes the object stays as it is. */
static enum s3_code check_fields(struct request *req)
{
    static const char *const more[] = {"x-amz-acl",          "x-amz-grant-",
                                       "x-amz-tagging",      "x-amz-meta-",
                                       "x-amz-object-lock-", "x-amz-server-side-encryption",
                                       "x-amz-copy-source",  "x-amz-storage-class"};
    struct http_fields f = req->s3.fields;
    for (size_t i = 0; i < f.count; i++)
        for (size_t k = 0; k < ARRAY_COUNT(more); k++) {
            if (!slice_has_prefix_nocase(f.ptr[i].name, slice_cstr(more[k])))
                continue;
            s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, NULL);
            s3_fault_extra(&req->fault, "Header", f.ptr[i].name);
            return S3_NOT_IMPLEMENTED;
        }
    return S3_OK;
}

static void hash_text(struct digest *d, struct slice text)
{
    uint8_t len[4] = {(uint8_t)(text.len >> 24), (uint8_t)(text.len >> 16),
                      (uint8_t)(text.len >> 8), (uint8_t)text.len};
    digest_update(d, SLICE(len, sizeof(len)));
    digest_update(d, text);
}

/* What has to be said again with the same token. */
static int hash_said(const struct request *req, struct slice source, uint8_t ret[SHA256_BYTES])
{
    static const char *const said[] = {
        "if-match",
        "if-none-match",
        "x-amz-rename-source-if-match",
        "x-amz-rename-source-if-none-match",
        "x-amz-rename-source-if-modified-since",
        "x-amz-rename-source-if-unmodified-since",
    };
    struct digest d = {0};
    int err = digest_init(&d, DIGEST_SHA256);
    if (err)
        return err;
    hash_text(&d, source);
    for (size_t i = 0; i < ARRAY_COUNT(said); i++)
        hash_text(&d, http_fields_get(req->s3.fields, said[i]));
    digest_final(&d, ret);
    digest_fini(&d);
    return OK;
}

static enum s3_code check_token(struct rename *r, struct request *req,
                                const struct s3_copy_source *source)
{
    struct slice token;
    uint8_t hash[SHA256_BYTES];
    enum s3_code code = s3_client_token_parse(&req->s3, &token, &req->fault);
    r->has_token = token.len > 0;
    if (code != S3_OK || !r->has_token)
        return code;
    sha256(token, hash);
    memcpy(r->by, hash, TOKEN_HASH_BYTES);
    if (hash_said(req, source->key, hash) != OK)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    memcpy(r->by + TOKEN_HASH_BYTES, hash, TOKEN_HASH_BYTES);
    const Cairn__ObjectRecord *there = req->object;
    if (!there || there->renamed_by.len != sizeof(r->by) ||
        memcmp(there->renamed_by.data, r->by, TOKEN_HASH_BYTES) != 0)
        return S3_OK;
    r->is_done = memcmp(there->renamed_by.data, r->by, sizeof(r->by)) == 0;
    r->is_other = !r->is_done;
    return S3_OK;
}

/* One entry changes both keys, so one partition has to hold them. */
static enum s3_code check_partition(struct request *req, struct slice source)
{
    uint32_t from, to;
    int err = meta_partition_of(req->gw->mc, req->bucket->id, source, &from);
    if (err == OK)
        err = meta_partition_of(req->gw->mc, req->bucket->id, req->s3.key, &to);
    if (err != OK)
        return s3_fault_set(&req->fault, s3_code_of_err(err), NULL);
    if (from != to)
        return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED,
                            "The two names lie in different partitions of the index.");
    return S3_OK;
}

enum s3_code rename_prepare(struct rename *r, struct request *req, struct s3_copy_source *source)
{
    enum s3_code code = s3_rename_source_parse(&req->s3, source, &req->fault);
    if (code == S3_OK && req->bucket->versioning != CAIRN__VERSIONING__VERSIONING_OFF)
        code = no_versions(req);
    if (code == S3_OK)
        code = check_fields(req);
    if (code == S3_OK)
        code = check_partition(req, source->key);
    return code == S3_OK ? check_token(r, req, source) : code;
}

enum s3_code rename_token_check(const struct rename *r, struct request *req)
{
    return r->is_other ? s3_fault_set(&req->fault, S3_IDEMPOTENCY_PARAMETER_MISMATCH, NULL) : S3_OK;
}

enum s3_code rename_source_check(struct request *req, const Cairn__ObjectRecord *from)
{
    const Cairn__Encryption *e = from->encryption;
    if (e && e->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER)
        return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED,
                            "Objects that are encrypted with keys of clients cannot be renamed.");
    if (from->base.n_unknown_fields ||
        (e && e->base.n_unknown_fields)) /* of a later release: it would be lost */
        return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, NULL);
    return S3_OK;
}

bool rename_may_be_done(const struct rename *r, const struct request *req)
{
    return r->has_token && req->restarts == 0 && request_may_restart(req, ERR_NOT_FOUND);
}

void rename_record(const Cairn__ObjectRecord *from, Cairn__ObjectRecord *record)
{
    cairn__object_record__init(record);
    record->storage_class = from->storage_class;
}

void rename_command(struct rename *r, struct request *req, const struct s3_copy_source *source,
                    const Cairn__ObjectRecord *from, Cairn__ObjectRecord *record,
                    Cairn__Condition *condition, Cairn__Command *ret)
{
    Cairn__RenameObject *op = &r->command;
    cairn__rename_object__init(op);
    record->etag = from->etag;
    /* A composite one is of parts, which the object has no longer. */
    if (from->checksum && from->checksum->type != CAIRN__CHECKSUM_TYPE__CHECKSUM_COMPOSITE)
        record->checksum = from->checksum;
    if (r->has_token)
        record->renamed_by = binary_of(SLICE(r->by, sizeof(r->by)));
    op->bucket_id = req->bucket->id;
    op->key = binary_of(req->s3.key);
    op->source = binary_of(source->key);
    op->source_version = from->version;
    op->record = record;
    op->condition = condition;
    ret->op_case = CAIRN__COMMAND__OP_RENAME_OBJECT;
    ret->rename_object = op;
}

enum s3_code rename_commit_code(struct request *req, const struct commit *commit)
{
    if (commit->err == ERR_NOT_FOUND) /* the source was replaced, again and again */
        return s3_fault_set(&req->fault, S3_CONDITIONAL_REQUEST_CONFLICT, NULL);
    if (commit->versioning != CAIRN__VERSIONING__VERSIONING_OFF && commit->err == ERR_REFUSED)
        return no_versions(req); /* since the request began */
    return commit_code(req, commit->err);
}

void rename_reply(struct request *req)
{
    reply_begin(req, 200);
    reply_no_body(req);
}
