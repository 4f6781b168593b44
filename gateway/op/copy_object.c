/* CopyObject, RenameObject and UploadPartCopy: the data are read from their blobs, verified,
 * hashed, and written again as blobs of the copy, through this gateway.
 *
 *   SOURCE ──► LOOKING ──► KEYING ──► COPYING ──► STOPPING ──► COMMITTING ──► DONE
 *      │          │           │          │           └──────────────────────►
 *      └──────────┴───────────┴──────────┴──────────►
 *
 * SOURCE reads the source with the access key, as GET would.  LOOKING (parts only) reads the
 * upload.  KEYING waits for the keys of encrypted data, the source's and the copy's. STOPPING waits
 * until nothing is under way any more; with a copy that failed it is the way to the answer. */
#include "common/base/check.h"
#include "gateway/op/authorize.h"
#include "gateway/op/commit.h"
#include "gateway/op/expiration.h"
#include "gateway/op/extract.h"
#include "gateway/op/ingest.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"
#include "gateway/op/quota.h"
#include "gateway/op/record.h"
#include "gateway/op/rename_object.h"
#include "gateway/op/session.h"
#include "gateway/op/sse.h"
#include "gateway/op/upload.h"

enum {
    COPY_SOURCE,
    COPY_LOOKING,
    COPY_KEYING,
    COPY_COPYING,
    COPY_STOPPING,
    COPY_COMMITTING,
    COPY_DONE,
    COPY_STATES
};
static const char *const copy_state_names[COPY_STATES] = {
    "SOURCE", "LOOKING", "KEYING", "COPYING", "STOPPING", "COMMITTING", "DONE"};
static const uint32_t copy_transitions[COPY_STATES] = {
    [COPY_SOURCE] = 1u << COPY_LOOKING | 1u << COPY_STOPPING,
    [COPY_LOOKING] = 1u << COPY_KEYING | 1u << COPY_STOPPING,
    [COPY_KEYING] = 1u << COPY_COPYING | 1u << COPY_STOPPING,
    [COPY_COPYING] = 1u << COPY_STOPPING,
    [COPY_STOPPING] = 1u << COPY_COMMITTING | 1u << COPY_DONE,
    [COPY_COMMITTING] = 1u << COPY_DONE,
};

struct copy_op {
    struct op op;
    struct request *req;
    bool is_part, is_rename;
    struct rename rename;
    uint8_t upload_id[ID_BYTES];
    uint32_t number;
    struct s3_copy_source source;
    struct s3_conditions conditions, source_conditions;
    Cairn__Condition *condition;
    struct meta_read read;
    bool read_done;
    const Cairn__ObjectRecord *from;
    uint64_t offset, length;
    struct parts_walk look;
    struct sse_key from_key, key;
    bool keying;
    Cairn__Encryption *encryption; /* of the copy */
    struct extract extract;
    struct ingest ingest;
    bool ingesting;
    struct payload held; /* read, not yet written */
    struct slice rest;   /* of it */
    struct s3_hasher hasher;
    struct s3_hashes hashes;
    enum s3_code code; /* why it failed */
    bool again;        /* the source was replaced: start anew */
    Cairn__ObjectRecord record;
    Cairn__PutObject put;
    struct upload_part part;
    struct commit commit, *committing;
    bool committed;
};

static void copy_read_cb(struct meta_read *r)
{
    struct copy_op *c = container_of(r, struct copy_op, read);
    c->read_done = true;
    op_wake(&c->op);
}

static void copy_look_wake(struct parts_walk *w)
{
    struct copy_op *c = container_of(w, struct copy_op, look);
    op_wake(&c->op);
}

static void copy_from_key_wake(struct sse_key *key)
{
    struct copy_op *c = container_of(key, struct copy_op, from_key);
    op_wake(&c->op);
}

static void copy_key_wake(struct sse_key *key)
{
    struct copy_op *c = container_of(key, struct copy_op, key);
    op_wake(&c->op);
}

static void copy_extract_wake(struct extract *x)
{
    struct copy_op *c = container_of(x, struct copy_op, extract);
    op_wake(&c->op);
}

static void copy_ingest_wake(struct ingest *in)
{
    struct copy_op *c = container_of(in, struct copy_op, ingest);
    op_wake(&c->op);
}

static void copy_commit_done(struct copy_op *c)
{
    c->committed = true;
    op_wake(&c->op);
}
static void copy_commit_cb(struct commit *commit)
{
    copy_commit_done(container_of(commit, struct copy_op, commit));
}
static void copy_part_commit_cb(struct commit *commit)
{
    copy_commit_done(container_of(commit, struct copy_op, part.commit));
}

static enum op_next copy_fail(struct copy_op *c, enum s3_code code)
{
    c->code = code;
    extract_stop(&c->extract);
    return op_move(&c->op, COPY_STOPPING);
}

/* ---- 1. the source ---- */

static enum s3_code source_range(struct copy_op *c)
{
    struct request *req = c->req;
    bool given = false;
    uint64_t first = 0, last = 0;
    c->offset = 0;
    c->length = c->from->size;
    if (!c->is_part)
        return S3_OK;
    enum s3_code code = s3_copy_range_parse(&req->s3, &given, &first, &last, &req->fault);
    if (code != S3_OK || !given)
        return code;
    if (last >= c->from->size)
        return s3_fault_argument(
            &req->fault, "Range specified is not valid for source object of this size",
            "x-amz-copy-source-range", http_fields_get(req->s3.fields, "x-amz-copy-source-range"));
    c->offset = first;
    c->length = last - first + 1;
    return S3_OK;
}

/* A copy onto itself that changes nothing is a mistake. */
static bool changes_nothing(const struct copy_op *c)
{
    const struct request *req = c->req;
    return !c->is_part && !c->is_rename && !c->source.replace_metadata &&
           !c->source.version && /* an older version becomes the current one again */
           slice_eq(c->source.bucket, req->s3.bucket) && slice_eq(c->source.key, req->s3.key) &&
           !http_fields_find(req->s3.fields, "x-amz-storage-class") &&
           !http_fields_find(req->s3.fields, "x-amz-website-redirect-location") &&
           !http_fields_find(req->s3.fields, "x-amz-server-side-encryption") &&
           !http_fields_find(req->s3.fields, "x-amz-server-side-encryption-customer-algorithm");
}

static enum s3_code source_check(struct copy_op *c)
{
    struct request *req = c->req;
    const struct meta_read *r = &c->read;
    if (r->err != OK)
        return s3_fault_set(&req->fault, s3_code_of_err(r->err), NULL);
    if (req->principal && !session_principal(req->temporary, &req->auth, r->principal_entry))
        return sigv4_unknown_key(&req->auth, &req->fault);
    const struct cache_entry *object = r->object_entry; /* NULL: there is no such bucket */
    c->from = object && object->record->present ? object->record->object : NULL;
    bool marker = c->from && c->from->delete_marker;
    struct authorize_basis basis = {req->principal ? r->principal_entry : NULL, r->bucket_entry};
    const Cairn__ObjectRecord *asked = marker && !c->source.version ? NULL : c->from;
    enum s3_code code =
        authorize_source(req, &basis, &c->source, c->rename.is_done ? req->object : asked);
    if (code == S3_OK)
        code = rename_token_check(&c->rename, req);
    if (code != S3_OK || c->rename.is_done)
        return code;
    if (marker && c->source.version)
        return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                            "The source of a copy request may not specifically refer to a delete "
                            "marker by version id.");
    if (!c->from || marker) {
        enum s3_code missing = c->source.version ? S3_NO_SUCH_VERSION : S3_NO_SUCH_KEY;
        s3_fault_set(&req->fault, missing, NULL);
        s3_fault_extra(&req->fault, "Key", c->source.key);
        return missing;
    }
    code = s3_conditions_copy(&c->source_conditions, slice_cstr(c->from->etag), c->from->mtime_ms,
                              &req->fault);
    if (code == S3_OK)
        code = source_range(c);
    if (code == S3_OK && c->is_rename)
        code = rename_source_check(req, c->from);
    if (code != S3_OK)
        return code;
    if (c->length > S3_PUT_BYTES_MAX)
        return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                            "The specified copy source is larger than the maximum allowable size "
                            "for a copy source: 5368709120");
    if (changes_nothing(c))
        return s3_fault_set(
            &req->fault, S3_INVALID_REQUEST,
            "This copy request is illegal because it is trying to copy an object to "
            "itself without changing the object's metadata, storage class, website "
            "redirect location or encryption attributes.");
    return quota_admit(req, c->length);
}

/* A rename takes the source away when it is done, so it must be allowed to by then, too. */
static enum s3_code rename_recheck(struct request *req, const struct authorize_basis *basis)
{
    struct copy_op *c = req->operation;
    return authorize_source(req, basis, &c->source, c->from);
}

/* ---- 2. what the copy will be ---- */

/* With the directive COPY everything that describes the source describes the copy; what belongs to
 * this request (owner, class, redirect, lock) comes from it. */
static enum s3_code copy_metadata(struct copy_op *c)
{
    cairn__put_object__init(&c->put);
    if (c->is_rename) {
        rename_record(c->from, &c->record);
        return S3_OK;
    }
    enum s3_code code = record_from_request(c->req, &c->record);
    if (code == S3_OK)
        code = lock_default(c->req, &c->record, &c->put.retain_ms);
    if (code == S3_OK && !c->source.replace_tags) {
        c->record.tags = c->from->tags;
        c->record.n_tags = c->from->n_tags;
    }
    if (code != S3_OK || c->source.replace_metadata)
        return code;
    c->record.content_type = c->from->content_type;
    c->record.content_encoding = c->from->content_encoding;
    c->record.content_disposition = c->from->content_disposition;
    c->record.content_language = c->from->content_language;
    c->record.cache_control = c->from->cache_control;
    c->record.expires = c->from->expires;
    c->record.user_metadata = c->from->user_metadata;
    c->record.n_user_metadata = c->from->n_user_metadata;
    return S3_OK;
}

/* The one that the client asks for, or the source's own. */
static enum s3_code copy_algorithm(struct copy_op *c, enum s3_checksum_algorithm *ret)
{
    struct request *req = c->req;
    struct slice name = http_fields_get(req->s3.fields, "x-amz-checksum-algorithm");
    if (c->is_rename)
        name = SLICE_EMPTY;
    *ret = c->from->checksum ? (enum s3_checksum_algorithm)c->from->checksum->algorithm
                             : S3_CHECKSUM_NONE;
    if (c->is_part)
        return upload_look_result(&c->look, ret);
    if (!name.ptr)
        return S3_OK;
    *ret = s3_checksum_by_name(name);
    return *ret != S3_CHECKSUM_NONE ? S3_OK
                                    : s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                                                   "Checksum algorithm provided is unsupported.");
}

/* 2b. The keys of both. */
static enum op_next copy_looked(struct copy_op *c)
{
    struct request *req = c->req;
    if (c->is_part) {
        enum s3_checksum_algorithm ignored;
        enum s3_code code = upload_look_result(&c->look, &ignored);
        if (code != S3_OK)
            return copy_fail(c, code);
    }
    c->keying = true;
    sse_open_start(&c->from_key, req, c->from->encryption, c->read.bucket_entry->record->bucket->id,
                   true, copy_from_key_wake);
    if (c->is_part)
        sse_open_upload_start(&c->key, req, upload_look_encryption(&c->look), copy_key_wake);
    else if (!c->is_rename) /* which changes nothing, and goes on with the source's key */
        sse_make_start(&c->key, req, true, copy_key_wake);
    op_move(&c->op, COPY_KEYING);
    return OP_AGAIN;
}

static enum s3_code copy_keys(struct copy_op *c)
{
    bool failed = false;
    if (c->from_key.code != S3_OK)
        return c->from_key.code;
    if (c->key.code != S3_OK)
        return c->key.code;
    c->encryption = c->is_part     ? sse_part(c->req, upload_look_encryption(&c->look), &failed)
                    : c->is_rename ? sse_renamed(c->req, c->from->encryption, &failed)
                                   : c->key.made;
    if (failed)
        return s3_fault_set(&c->req->fault, S3_INTERNAL_ERROR, NULL);
    if (c->encryption)
        ingest_seal(&c->ingest, c->is_rename ? c->from_key.data_key : c->key.data_key,
                    c->encryption);
    memcpy(c->extract.data_key, c->from_key.data_key, sizeof(c->extract.data_key));
    c->extract.has_data_key = c->from_key.has_key;
    return S3_OK;
}

static enum op_next copy_begin(struct copy_op *c)
{
    struct request *req = c->req;
    enum s3_checksum_algorithm algorithm;
    enum s3_code code = copy_keys(c);
    if (code == S3_OK)
        code = copy_algorithm(c, &algorithm);
    if (code == S3_OK && !c->is_part)
        code = copy_metadata(c);
    if (code != S3_OK)
        return copy_fail(c, code);
    c->ingest.req = req;
    c->ingest.total = c->length;
    c->ingest.upload_id = c->is_part ? SLICE(c->upload_id, ID_BYTES) : SLICE_EMPTY;
    c->ingest.part_number = c->number;
    c->ingest.storage_class =
        c->is_part ? upload_look_class(&c->look) : slice_cstr(c->record.storage_class);
    c->ingest.wake = copy_ingest_wake;
    c->extract.req = req;
    c->extract.bucket_id = c->read.bucket_entry->record->bucket->id;
    c->extract.key = c->source.key;
    c->extract.record = c->from;
    c->extract.inline_body = c->read.body;
    c->extract.offset = c->offset;
    c->extract.length = c->length;
    c->extract.wake = copy_extract_wake;
    c->ingesting = true;
    int err = s3_hasher_init(&c->hasher, algorithm, true, false);
    if (err == OK)
        err = ingest_init(&c->ingest);
    if (err == OK)
        err = extract_start(&c->extract);
    if (err != OK)
        return copy_fail(c, s3_code_of_err(err));
    return op_move(&c->op, COPY_COPYING);
}

/* ---- 3. the data ---- */

static enum op_next copy_copied(struct copy_op *c)
{
    struct request *req = c->req;
    s3_hasher_final(&c->hasher, &c->hashes);
    bool whole = c->length == c->from->size;
    if (whole &&
        !record_verify_whole(req, c->source.bucket, c->source.key, c->from, c->hashes.crc64nvme))
        return copy_fail(c, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
    return op_move(&c->op, COPY_STOPPING);
}

static enum op_next copy_data(struct copy_op *c)
{
    ingest_poll(&c->ingest);
    for (;;) {
        if (c->ingest.err != OK)
            return copy_fail(c, s3_code_of_err(c->ingest.err));
        if (c->rest.len) {
            size_t taken = ingest_push(&c->ingest, c->rest);
            c->rest.ptr += taken;
            c->rest.len -= taken;
            if (c->rest.len && taken == 0 && c->ingest.err == OK)
                return OP_WAIT;
            continue;
        }
        payload_unref(&c->held);
        int err = extract_next(&c->extract, &c->held);
        if (err == ERR_LIMIT)
            return OP_WAIT;
        if (err == ERR_END)
            return ingest_complete(&c->ingest) ? copy_copied(c) : OP_WAIT;
        if (err != OK) {
            c->again = request_may_restart(c->req, err);
            return copy_fail(c, extract_code(err));
        }
        c->rest = c->held.bytes;
        s3_hasher_update(&c->hasher, c->rest);
    }
}

/* ---- 4. the index ---- */

static void copy_command(struct copy_op *c)
{
    c->put.bucket_id = c->req->bucket->id;
    c->put.key = binary_of(c->req->s3.key);
    c->put.record = &c->record;
    c->put.condition = c->condition;
    c->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    c->commit.propose.command.put_object = &c->put;
}

static enum op_next copy_propose(struct copy_op *c)
{
    struct request *req = c->req;
    enum s3_code code;
    if (c->is_part) {
        code = upload_part_init(&c->part, req, c->upload_id, c->number, &c->hashes, c->encryption,
                                &c->ingest);
        c->committing = &c->part.commit;
    } else {
        c->record.encryption = c->encryption;
        code = record_set_hashes(req, &c->record, &c->hashes);
        record_set_data(&c->record, &c->ingest);
        cairn__command__init(&c->commit.propose.command);
        if (c->is_rename)
            rename_command(&c->rename, req, &c->source, c->from, &c->record, c->condition,
                           &c->commit.propose.command);
        else
            copy_command(c);
        c->commit.event = S3_EVENT_CREATED_COPY;
        c->commit.propose.body = ingest_body(&c->ingest);
        c->commit.propose.issue_until_ms = ingest_issue_until_ms(&c->ingest);
        c->committing = &c->commit;
    }
    if (code != S3_OK) {
        reply_error(req, code);
        return op_move(&c->op, COPY_DONE);
    }
    op_move(&c->op, COPY_COMMITTING);
    commit_start(c->committing, req, req->s3.key,
                 c->is_part ? copy_part_commit_cb : copy_commit_cb);
    return OP_WAIT;
}

static void copy_reply(struct copy_op *c)
{
    struct request *req = c->req;
    const struct commit *commit = c->committing;
    struct buf b = {0};
    if (commit->err != OK) {
        bool raced = commit->err == ERR_PRECONDITION && c->conditions.if_match.given;
        reply_error(req, raced          ? S3_CONDITIONAL_REQUEST_CONFLICT
                         : c->is_rename ? rename_commit_code(req, commit)
                                        : commit_code(req, commit->err));
        return;
    }
    if (c->is_rename) {
        rename_reply(req);
        return;
    }
    const struct s3_checksum *checksum = &c->hashes.checksum;
    uint64_t mtime = commit->outcome->time_ms;
    if (c->is_part) {
        s3_result_copy_part(&b, slice_cstr(c->part.record.etag), mtime, checksum);
    } else {
        lock_as_written(&c->record, c->put.retain_ms, commit->outcome);
        commit_cache_object(&c->commit, req->s3.key, &c->record, ingest_body(&c->ingest));
        s3_result_copy(&b, slice_cstr(c->record.etag), mtime, checksum, 0);
    }
    if (b.failed) {
        buf_fini(&b);
        reply_error(req, S3_INTERNAL_ERROR);
        return;
    }
    reply_begin(req, 200);
    reply_version(req, "x-amz-copy-source-version-id", c->read.bucket_entry->record->bucket,
                  c->from);
    if (!c->is_part) {
        reply_version_made(&c->commit);
        reply_expiration(req, &c->record, mtime);
    }
    reply_encryption(req, c->is_part ? upload_look_encryption(&c->look) : c->encryption,
                     !c->is_part);
    reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
    reply_document(req, &b);
}

/* ---- the machine ---- */

static enum op_next copy_sourced(struct copy_op *c)
{
    enum s3_code code = source_check(c);
    if (code == S3_NO_SUCH_KEY)
        c->again = rename_may_be_done(&c->rename, c->req);
    if (code != S3_OK || c->rename.is_done)
        return copy_fail(c, code);
    op_move(&c->op, COPY_LOOKING);
    if (c->is_part)
        upload_look_start(&c->look, c->req, SLICE(c->upload_id, ID_BYTES), copy_look_wake);
    return OP_AGAIN;
}

static enum op_next copy_step(struct op *op)
{
    struct copy_op *c = container_of(op, struct copy_op, op);
    switch (op->state) {
    case COPY_SOURCE: return c->read_done ? copy_sourced(c) : OP_WAIT;
    case COPY_LOOKING: return c->look.busy ? OP_WAIT : copy_looked(c);
    case COPY_KEYING: return c->from_key.busy || c->key.busy ? OP_WAIT : copy_begin(c);
    case COPY_COPYING: return copy_data(c);
    case COPY_STOPPING:
        if (!extract_idle(&c->extract) || !ingest_idle(&c->ingest))
            return OP_WAIT;
        if (c->code == S3_OK && !c->rename.is_done)
            return copy_propose(c);
        if (c->code == S3_OK)
            rename_reply(c->req);
        else if (!c->again)
            reply_error(c->req, c->code);
        return op_move(op, COPY_DONE);
    case COPY_COMMITTING:
        if (!c->committed)
            return OP_WAIT;
        c->again = c->is_rename && request_may_restart(c->req, c->commit.err);
        if (!c->again)
            copy_reply(c);
        return op_move(op, COPY_DONE);
    default: CHECK(op->state == COPY_DONE); return OP_DONE;
    }
}

static void copy_done(struct op *op)
{
    struct copy_op *c = container_of(op, struct copy_op, op);
    struct request *req = c->req;
    int err = c->committing ? c->committing->err : OK;
    bool refused = !c->committed || (err != OK && err_class(err) != ERR_CLASS_UNKNOWN_OUTCOME);
    bool again = c->again;
    commit_fini(&c->commit);
    commit_fini(&c->part.commit);
    payload_unref(&c->held);
    s3_hasher_fini(&c->hasher);
    extract_fini(&c->extract);
    if (c->ingesting)
        ingest_fini(&c->ingest, refused);
    if (c->keying) {
        sse_key_fini(&c->from_key);
        sse_key_fini(&c->key);
    }
    parts_walk_fini(&c->look);
    meta_read_fini(&c->read);
    if (again)
        request_restart(req);
    else
        request_end(req);
}

static const struct op_type copy_type = {
    .name = "copy_object",
    .state_names = copy_state_names,
    .transitions = copy_transitions,
    .state_count = COPY_STATES,
    .step = copy_step,
    .done = copy_done,
};

static enum s3_code copy_prepare(struct copy_op *c)
{
    struct request *req = c->req;
    uint64_t now = request_now_ms(req);
    bool given;
    enum s3_code code = c->is_rename ? rename_prepare(&c->rename, req, &c->source)
                                     : s3_copy_source_parse(&req->s3, &c->source, &req->fault);
    if (code == S3_OK)
        code = c->is_rename
                   ? s3_rename_conditions_parse(&req->s3, now, &c->source_conditions, &req->fault)
                   : s3_copy_conditions_parse(&req->s3, now, &c->source_conditions, &req->fault);
    if (code == S3_OK && c->is_part)
        code = s3_upload_id_parse(&req->s3, c->upload_id, &req->fault);
    if (code == S3_OK && c->is_part)
        code = s3_part_number_parse(&req->s3, &given, &c->number, &req->fault);
    if (code != S3_OK || c->is_part)
        return code;
    code = s3_conditions_parse(&req->s3, now, &c->conditions, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_for_write(&c->conditions, &req->fault);
    if (code == S3_OK && req->read.want_object && !c->rename.is_done && !c->rename.is_other)
        code = condition_check_early(req, &c->conditions);
    if (code == S3_OK)
        code = condition_from_request(req, &c->conditions, &c->condition);
    return code;
}

void copy_object_start(struct request *req)
{
    struct copy_op *c = request_alloc(req, sizeof(*c));
    if (!c) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    c->req = req;
    c->is_part = req->s3.op == S3_OP_UPLOAD_PART_COPY;
    c->is_rename = req->s3.op == S3_OP_RENAME_OBJECT;
    if (c->is_rename) {
        req->operation = c;
        req->recheck_more = rename_recheck;
    }
    enum s3_code code = copy_prepare(c);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    op_init(&c->op, &copy_type, COPY_SOURCE, 0, 0);
    c->read = (struct meta_read){
        .principal = session_principal_name(req->temporary, &req->auth),
        .bucket = c->source.bucket,
        .key = c->source.key,
        .want_object = true,
        .want_body = true,
        .version = c->source.version,
        .deadline_ns = request_deadline(req),
        .cb = copy_read_cb,
    };
    meta_read_start(req->gw->mc, &c->read);
}
