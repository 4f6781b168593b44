/* CopyObject and UploadPartCopy: the data are read from their blobs, verified, hashed, and written
 * again as blobs of the copy, through this gateway.
 *
 *   SOURCE ──► LOOKING ──► COPYING ──► STOPPING ──► COMMITTING ──► DONE
 *      │          │            │           └──────────────────────►
 *      └──────────┴────────────┴──────────►
 *
 * SOURCE reads the source with the access key, as GET would.  LOOKING (parts only) reads the
 * upload. STOPPING waits until nothing is under way any more; with a copy that failed it is the way
 * to the answer. */
#include "common/base/check.h"
#include "gateway/op/commit.h"
#include "gateway/op/extract.h"
#include "gateway/op/ingest.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"
#include "gateway/op/upload.h"

enum {
    COPY_SOURCE,
    COPY_LOOKING,
    COPY_COPYING,
    COPY_STOPPING,
    COPY_COMMITTING,
    COPY_DONE,
    COPY_STATES
};
static const char *const copy_state_names[COPY_STATES] = {"SOURCE",   "LOOKING",    "COPYING",
                                                          "STOPPING", "COMMITTING", "DONE"};
static const uint32_t copy_transitions[COPY_STATES] = {
    [COPY_SOURCE] = 1u << COPY_LOOKING | 1u << COPY_STOPPING,
    [COPY_LOOKING] = 1u << COPY_COPYING | 1u << COPY_STOPPING,
    [COPY_COPYING] = 1u << COPY_STOPPING,
    [COPY_STOPPING] = 1u << COPY_COMMITTING | 1u << COPY_DONE,
    [COPY_COMMITTING] = 1u << COPY_DONE,
};

struct copy_op {
    struct op op;
    struct request *req;
    bool is_part;
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
    return !c->is_part && !c->source.replace_metadata &&
           slice_eq(c->source.bucket, req->s3.bucket) && slice_eq(c->source.key, req->s3.key) &&
           !http_fields_find(req->s3.fields, "x-amz-storage-class") &&
           !http_fields_find(req->s3.fields, "x-amz-website-redirect-location");
}

static enum s3_code source_check(struct copy_op *c)
{
    struct request *req = c->req;
    const struct meta_read *r = &c->read;
    if (r->err != OK)
        return s3_fault_set(&req->fault, s3_code_of_err(r->err), NULL);
    if (!r->access_key_entry->record->present || !r->access_key_entry->record->access_key->enabled)
        return sigv4_unknown_key(&req->auth, &req->fault);
    if (!r->bucket_entry->record->present) {
        s3_fault_set(&req->fault, S3_NO_SUCH_BUCKET, NULL);
        s3_fault_extra(&req->fault, "BucketName", c->source.bucket);
        return S3_NO_SUCH_BUCKET;
    }
    if (!req->user->is_root &&
        strcmp(req->user->user_id, r->bucket_entry->record->bucket->owner_id) != 0)
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    struct slice expected = http_fields_get(req->s3.fields, "x-amz-source-expected-bucket-owner");
    if (expected.ptr && !slice_eq(expected, slice_cstr(r->bucket_entry->record->bucket->owner_id)))
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
    if (!r->object_entry->record->present) {
        s3_fault_set(&req->fault, S3_NO_SUCH_KEY, NULL);
        s3_fault_extra(&req->fault, "Key", c->source.key);
        return S3_NO_SUCH_KEY;
    }
    c->from = r->object_entry->record->object;
    enum s3_code code = s3_conditions_copy(&c->source_conditions, slice_cstr(c->from->etag),
                                           c->from->mtime_ms, &req->fault);
    if (code == S3_OK)
        code = source_range(c);
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
    return S3_OK;
}

/* ---- 2. what the copy will be ---- */

/* With the directive COPY everything that describes the source describes the copy; what belongs to
 * this request (owner, class, redirect) comes from it. */
static enum s3_code copy_metadata(struct copy_op *c)
{
    enum s3_code code = record_from_request(c->req, &c->record);
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

static enum op_next copy_begin(struct copy_op *c)
{
    struct request *req = c->req;
    enum s3_checksum_algorithm algorithm;
    enum s3_code code = copy_algorithm(c, &algorithm);
    if (code == S3_OK && !c->is_part)
        code = copy_metadata(c);
    if (code != S3_OK)
        return copy_fail(c, code);
    c->ingest.req = req;
    c->ingest.total = c->length;
    c->ingest.upload_id = c->is_part ? SLICE(c->upload_id, ID_BYTES) : SLICE_EMPTY;
    c->ingest.part_number = c->number;
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

static enum op_next copy_propose(struct copy_op *c)
{
    struct request *req = c->req;
    enum s3_code code;
    if (c->is_part) {
        code = upload_part_init(&c->part, req, c->upload_id, c->number, &c->hashes, &c->ingest);
        c->committing = &c->part.commit;
    } else {
        code = record_set_hashes(req, &c->record, &c->hashes);
        record_set_data(&c->record, &c->ingest);
        cairn__put_object__init(&c->put);
        c->put.bucket_id = req->bucket->id;
        c->put.key = binary_of(req->s3.key);
        c->put.record = &c->record;
        c->put.condition = c->condition;
        cairn__command__init(&c->commit.propose.command);
        c->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
        c->commit.propose.command.put_object = &c->put;
        c->commit.propose.body = ingest_body(&c->ingest);
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
        reply_error(req, raced ? S3_CONDITIONAL_REQUEST_CONFLICT : commit_code(req, commit->err));
        return;
    }
    const struct s3_checksum *checksum = &c->hashes.checksum;
    uint64_t mtime = commit->outcome->time_ms;
    if (c->is_part) {
        s3_result_copy_part(&b, slice_cstr(c->part.record.etag), mtime, checksum);
    } else {
        commit_cache_object(&c->commit, req->s3.key, &c->record, ingest_body(&c->ingest));
        s3_result_copy(&b, slice_cstr(c->record.etag), mtime, checksum, 0);
    }
    reply_xml(req, 200, &b);
}

/* ---- the machine ---- */

static enum op_next copy_sourced(struct copy_op *c)
{
    enum s3_code code = source_check(c);
    if (code != S3_OK)
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
    case COPY_LOOKING: return c->look.busy ? OP_WAIT : copy_begin(c);
    case COPY_COPYING: return copy_data(c);
    case COPY_STOPPING:
        if (!extract_idle(&c->extract) || !ingest_idle(&c->ingest))
            return OP_WAIT;
        if (c->code == S3_OK)
            return copy_propose(c);
        if (!c->again)
            reply_error(c->req, c->code);
        return op_move(op, COPY_DONE);
    case COPY_COMMITTING:
        if (!c->committed)
            return OP_WAIT;
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
    enum s3_code code = s3_copy_source_parse(&req->s3, &c->source, &req->fault);
    if (code == S3_OK)
        code = s3_copy_conditions_parse(&req->s3, now, &c->source_conditions, &req->fault);
    if (code == S3_OK && c->is_part)
        code = s3_upload_id_parse(&req->s3, c->upload_id, &req->fault);
    if (code == S3_OK && c->is_part)
        code = s3_part_number_parse(&req->s3, &given, &c->number, &req->fault);
    if (code != S3_OK || c->is_part)
        return code;
    code = s3_conditions_parse(&req->s3, now, &c->conditions, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_for_write(&c->conditions, &req->fault);
    if (code == S3_OK && req->read.want_object)
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
    enum s3_code code = copy_prepare(c);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    op_init(&c->op, &copy_type, COPY_SOURCE, 0, 0);
    c->read = (struct meta_read){
        .access_key = req->auth.access_key,
        .bucket = c->source.bucket,
        .key = c->source.key,
        .want_object = true,
        .want_body = true,
        .deadline_ns = request_deadline(req),
        .cb = copy_read_cb,
    };
    meta_read_start(req->gw->mc, &c->read);
}
