/* CompleteMultipartUpload.
 *
 *   READING ──► COLLECTING ──► COMMITTING ──► DONE
 *      └────────────┴───────────────────────────▲
 *
 * A completion that takes long would be cut by clients and proxies that hear nothing, so after a
 * while it is answered with 200 and white space, as S3 does; how it ended, error or result, is then
 * said by the document alone.
 *
 * COLLECTING walks the stored parts beside those that the client names, and works out ETag, size
 * and checksum; the proposal repeats what was named, and apply checks it again.  Asking twice is
 * answered twice: a manifest whose object still is the one that it made counts as completed by this
 * request. */
#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/op/body.h"
#include "gateway/op/commit.h"
#include "gateway/op/expiration.h"
#include "gateway/op/extract.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"
#include "gateway/op/quota.h"
#include "gateway/op/record.h"
#include "gateway/op/sse.h"

enum { COMPLETE_READING, COMPLETE_COLLECTING, COMPLETE_COMMITTING, COMPLETE_DONE, COMPLETE_STATES };
static const char *const complete_state_names[COMPLETE_STATES] = {"READING", "COLLECTING",
                                                                  "COMMITTING", "DONE"};
static const uint32_t complete_transitions[COMPLETE_STATES] = {
    [COMPLETE_READING] = 1u << COMPLETE_COLLECTING | 1u << COMPLETE_DONE,
    [COMPLETE_COLLECTING] = 1u << COMPLETE_COMMITTING | 1u << COMPLETE_DONE,
    [COMPLETE_COMMITTING] = 1u << COMPLETE_DONE,
};

struct complete_op {
    struct op op;
    struct request *req;
    uint8_t upload_id[ID_BYTES];
    struct s3_conditions conditions;
    struct body_text text;
    bool text_done, committed;
    bool alive; /* 200 and the begin of a document have been sent */
    struct env_timer keepalive;
    struct s3_complete named;
    size_t position; /* in `named`: the next to be found */
    struct parts_walk parts;
    Cairn__UploadRecord *upload; /* of the first page */
    struct s3_combiner combiner;
    uint64_t size;
    bool too_small;
    char etag[S3_ETAG_TEXT_MAX];
    struct s3_checksum checksum;
    Cairn__ObjectRecord record;
    Cairn__CompleteUpload command;
    struct commit commit;
};

static void complete_text_done(struct body_text *t)
{
    struct complete_op *c = container_of(t, struct complete_op, text);
    c->text_done = true;
    op_wake(&c->op);
}

static void complete_parts_wake(struct parts_walk *w)
{
    struct complete_op *c = container_of(w, struct complete_op, parts);
    op_wake(&c->op);
}

static void complete_commit_cb(struct commit *commit)
{
    struct complete_op *c = container_of(commit, struct complete_op, commit);
    c->committed = true;
    op_wake(&c->op);
}

/* ---- answers ---- */

static void write_bytes(struct complete_op *c, struct slice bytes)
{
    c->req->bytes_sent += bytes.len;
    (void)http_response_write(c->req->http, (struct payload){.bytes = bytes});
}

static void keepalive_cb(struct env_timer *timer)
{
    struct complete_op *c = container_of(timer, struct complete_op, keepalive);
    struct request *req = c->req;
    struct buf b = {0};
    if (!c->alive) {
        reply_begin(req, 200);
        http_response_field_cstr(req->http, "Content-Type", "application/xml");
        http_response_body(req->http, HTTP_BODY_CHUNKED);
        xml_declaration(&b);
        c->alive = true;
    } else {
        buf_u8(&b, ' ');
    }
    write_bytes(c, buf_view(&b));
    buf_fini(&b);
    env_timer_start(timer, req->gw->config->keepalive_ms * NS_PER_MS);
}

/* The rest of a document whose declaration has been sent.  Without memory the client is left with
 * one that is not whole, and knows nothing: what it must assume. */
static void write_rest(struct complete_op *c, struct buf *document)
{
    struct buf declaration = {0};
    xml_declaration(&declaration);
    size_t skip = declaration.len;
    if (!document->failed && skip)
        write_bytes(c, SLICE(document->ptr + skip, document->len - skip));
    buf_fini(&declaration);
    buf_fini(document);
}

static enum op_next complete_fail(struct complete_op *c, enum s3_code code)
{
    struct request *req = c->req;
    struct buf b = {0};
    if (c->alive) {
        if (req->fault.code != code)
            s3_fault_set(&req->fault, code, NULL);
        s3_error_document(&b, &req->fault, req->s3.path, slice_cstr(req->id), SLICE_EMPTY);
        write_rest(c, &b);
    } else {
        reply_error(req, code);
    }
    return op_move(&c->op, COMPLETE_DONE);
}

static enum op_next complete_read(struct complete_op *c)
{
    struct request *req = c->req;
    enum s3_code code = c->text.body.code;
    if (code == S3_OK)
        code = s3_xml_complete(req->arena, buf_view(&c->text.text), &c->named, &req->fault);
    if (code == S3_OK && c->named.count == 0)
        code = s3_fault_set(&req->fault, S3_MALFORMED_XML, NULL);
    if (code != S3_OK)
        return complete_fail(c, code);
    if (req->gw->config->keepalive_ms)
        env_timer_start(&c->keepalive, req->gw->config->keepalive_ms * NS_PER_MS);
    c->parts = (struct parts_walk){
        .req = req,
        .bucket_id = req->bucket->id,
        .key = req->s3.key,
        .upload_id = SLICE(c->upload_id, ID_BYTES),
        .wake = complete_parts_wake,
    };
    op_move(&c->op, COMPLETE_COLLECTING);
    parts_walk_start(&c->parts, 0);
    return OP_WAIT;
}

/* ---- the parts ---- */

static enum s3_code invalid_part(struct complete_op *c, const struct s3_complete_part *named)
{
    s3_fault_set(&c->req->fault, S3_INVALID_PART, NULL);
    s3_fault_extra(&c->req->fault, "ETag", named->etag);
    return S3_INVALID_PART;
}

static enum s3_code part_take(struct complete_op *c, const struct s3_complete_part *named,
                              const Cairn__PartRecord *part)
{
    struct s3_checksum checksum;
    uint8_t md5[MD5_BYTES];
    bool has = checksum_of_proto(part->checksum, &checksum);
    struct slice etag = slice_cstr(part->etag);
    if (!slice_eq(named->etag, etag) || !hex_decode(etag, md5, sizeof(md5)))
        return invalid_part(c, named);
    const struct s3_checksum *claim = &named->checksum;
    if (claim->algorithm != S3_CHECKSUM_NONE &&
        (!has || claim->algorithm != checksum.algorithm ||
         memcmp(claim->bytes, checksum.bytes, checksum.len) != 0))
        return invalid_part(c, named);
    if (c->position < c->named.count && part->size < c->req->gw->config->part_bytes_min)
        c->too_small = true; /* said only once it is clear that all parts are there */
    s3_combiner_add(&c->combiner, part->size, md5, has ? &checksum : NULL,
                    part->has_crc64nvme ? &part->crc64nvme : NULL);
    c->size += part->size;
    return S3_OK;
}

/* Takes what the page has of what is named; both ascend. */
static enum s3_code page_take(struct complete_op *c)
{
    const Cairn__ListPartsResponse *page = c->parts.page;
    for (size_t i = 0; i < page->n_parts && c->position < c->named.count; i++) {
        const struct s3_complete_part *named = &c->named.parts[c->position];
        if (page->parts[i]->number < named->number)
            continue;
        if (page->parts[i]->number > named->number)
            return invalid_part(c, named);
        c->position++;
        enum s3_code code = part_take(c, named, page->parts[i]);
        if (code != S3_OK)
            return code;
    }
    return S3_OK;
}

/* ---- what the object will be ---- */

/* The object's checksum and size, where the client says what they should be. */
static enum s3_code claims_verify(struct complete_op *c)
{
    struct request *req = c->req;
    struct slice size = http_fields_get(req->s3.fields, "x-amz-mp-object-size");
    uint64_t wanted;
    if (size.ptr && !parse_u64(size, &wanted))
        return s3_fault_argument(&req->fault, "The object's size must be a whole number.",
                                 "x-amz-mp-object-size", size);
    if (size.ptr && wanted != c->size)
        return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                            "The provided 'x-amz-mp-object-size' header does not match the size of "
                            "the parts");
    struct slice type = http_fields_get(req->s3.fields, "x-amz-checksum-type");
    if (type.ptr && c->checksum.algorithm != S3_CHECKSUM_NONE &&
        !slice_eq(type, slice_cstr(s3_checksum_type_name(c->checksum.type))))
        return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                            "The checksum type is not the one that the upload was created with");
    for (int a = S3_CHECKSUM_CRC32; a < S3_CHECKSUM_COUNT; a++) {
        struct slice text =
            http_fields_get(req->s3.fields, s3_checksum_field((enum s3_checksum_algorithm)a));
        struct s3_checksum claim;
        unsigned parts = 0;
        if (!text.ptr)
            continue;
        if (!s3_checksum_from_text((enum s3_checksum_algorithm)a, text, &claim, &parts))
            return s3_fault_set(&req->fault, S3_INVALID_REQUEST, "The checksum value is invalid");
        if (c->checksum.algorithm != (enum s3_checksum_algorithm)a ||
            memcmp(claim.bytes, c->checksum.bytes, claim.len) != 0)
            return s3_fault_set(&req->fault, S3_BAD_DIGEST, NULL);
    }
    return S3_OK;
}

static bool name_parts(struct complete_op *c)
{
    struct request *req = c->req;
    size_t count = c->named.count;
    Cairn__CompletePart *all = request_alloc(req, count * sizeof(*all));
    c->command.parts = request_alloc(req, count * sizeof(*c->command.parts));
    if (!all || !c->command.parts)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct s3_complete_part *named = &c->named.parts[i];
        cairn__complete_part__init(&all[i]);
        all[i].number = named->number;
        all[i].etag = request_cstr(req, named->etag);
        all[i].checksum = checksum_to_proto(req, &named->checksum);
        if (!all[i].etag || (named->checksum.algorithm != S3_CHECKSUM_NONE && !all[i].checksum))
            return false;
        c->command.parts[i] = &all[i];
    }
    c->command.n_parts = count;
    return true;
}

static enum s3_code complete_prepare(struct complete_op *c)
{
    struct request *req = c->req;
    uint64_t crc64;
    bool crc64_known;
    s3_combiner_final(&c->combiner, c->etag, &c->checksum, &crc64, &crc64_known);
    enum s3_code code = claims_verify(c);
    if (code != S3_OK)
        return code;
    if (c->upload->object)
        c->record = *c->upload->object;
    else
        cairn__object_record__init(&c->record);
    c->record.etag = c->etag;
    c->record.size = c->size;
    c->record.kind = CAIRN__DATA_KIND__DATA_MANIFEST;
    c->record.manifest_id = binary_of(SLICE(c->upload_id, ID_BYTES));
    c->record.part_count = (uint32_t)c->named.count;
    c->record.checksum = checksum_to_proto(req, &c->checksum);
    c->record.crc64nvme = crc64_known ? crc64 : 0;
    c->record.has_crc64nvme = crc64_known;
    cairn__complete_upload__init(&c->command);
    c->command.bucket_id = req->bucket->id;
    c->command.key = binary_of(req->s3.key);
    c->command.upload_id = c->record.manifest_id;
    c->command.record = &c->record;
    c->command.part_bytes_min = req->gw->config->part_bytes_min;
    code = lock_default(req, &c->record, &c->command.retain_ms);
    if (code == S3_OK)
        code = condition_from_request(req, &c->conditions, &c->command.condition);
    if (code == S3_OK && !name_parts(c))
        code = s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    if (code == S3_OK && !c->upload->completed) /* else it is asked twice, and is there */
        code = quota_admit(req, c->size);
    return code;
}

/* The client's key need not be said again; if it is, it must be that of the parts. */
static enum s3_code complete_customer(struct complete_op *c)
{
    struct request *req = c->req;
    const Cairn__ObjectRecord *o = c->upload->object;
    if (!http_fields_find(req->s3.fields, "x-amz-server-side-encryption-customer-algorithm"))
        return S3_OK;
    return sse_check_customer(req, o ? o->encryption : NULL, req->bucket->id);
}

/* The object's key is the upload's; what a customer's key was is not told. */
static void complete_reply_encryption(struct complete_op *c)
{
    const Cairn__Encryption *e = c->record.encryption;
    if (e && e->mode != CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER)
        reply_encryption(c->req, e, false);
}

static enum op_next complete_collect(struct complete_op *c)
{
    struct request *req = c->req;
    struct parts_walk *w = &c->parts;
    if (w->err != OK)
        return complete_fail(c, s3_code_of_err(w->err));
    if (!c->upload) {
        c->upload = w->page->upload; /* the pages go, this stays */
        w->page->upload = NULL;
        enum s3_code wrong = complete_customer(c);
        if (wrong != S3_OK)
            return complete_fail(c, wrong);
        if (s3_combiner_init(&c->combiner,
                             (enum s3_checksum_algorithm)c->upload->checksum_algorithm,
                             (enum s3_checksum_type)c->upload->checksum_type) != OK)
            return complete_fail(c, S3_INTERNAL_ERROR);
    }
    enum s3_code code = page_take(c);
    if (code != S3_OK)
        return complete_fail(c, code);
    if (c->position < c->named.count) {
        if (parts_walk_next(w))
            return OP_WAIT;
        return complete_fail(c, invalid_part(c, &c->named.parts[c->position]));
    }
    code =
        c->too_small ? s3_fault_set(&req->fault, S3_ENTITY_TOO_SMALL, NULL) : complete_prepare(c);
    if (code != S3_OK)
        return complete_fail(c, code);
    cairn__command__init(&c->commit.propose.command);
    c->commit.propose.command.op_case = CAIRN__COMMAND__OP_COMPLETE_UPLOAD;
    c->commit.propose.command.complete_upload = &c->command;
    c->commit.event = S3_EVENT_CREATED_COMPLETE;
    op_move(&c->op, COMPLETE_COMMITTING);
    commit_start(&c->commit, req, req->s3.key, complete_commit_cb);
    return OP_WAIT;
}

static enum s3_code complete_code(struct complete_op *c)
{
    struct request *req = c->req;
    int err = c->commit.err;
    if (err == ERR_INVALID_PART && c->commit.outcome)
        for (size_t i = 0; i < c->named.count; i++)
            if (c->named.parts[i].number == c->commit.outcome->detail)
                return invalid_part(c, &c->named.parts[i]);
    if (err == ERR_PRECONDITION && req->read.want_object && c->conditions.if_match.given)
        return s3_fault_set(&req->fault, S3_CONDITIONAL_REQUEST_CONFLICT, NULL);
    return commit_code(req, err);
}

static void complete_reply(struct complete_op *c)
{
    struct request *req = c->req;
    struct buf location = {0}, b = {0};
    buf_cstr(&location, req->http->tls ? "https://" : "http://");
    buf_slice(&location, http_fields_get(req->s3.fields, "host"));
    if (!req->s3.virtual_host) {
        buf_u8(&location, '/');
        buf_slice(&location, req->s3.bucket);
    }
    buf_u8(&location, '/');
    s3_percent_encode(&location, req->s3.key, true);
    s3_result_complete(&b, buf_view(&location), req->s3.bucket, req->s3.key, slice_cstr(c->etag),
                       c->checksum.algorithm ? &c->checksum : NULL, (unsigned)c->named.count);
    b.failed |= location.failed;
    if (c->alive) {
        write_rest(c, &b);
    } else if (b.failed) {
        buf_fini(&b);
        reply_error(req, S3_INTERNAL_ERROR);
    } else {
        reply_begin(req, 200);
        reply_version_made(&c->commit);
        complete_reply_encryption(c);
        reply_expiration(req, &c->record, c->commit.outcome->time_ms);
        reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
        reply_document(req, &b);
    }
    buf_fini(&location);
}

static enum op_next complete_step(struct op *op)
{
    struct complete_op *c = container_of(op, struct complete_op, op);
    switch (op->state) {
    case COMPLETE_READING: /* 1. Which parts does the client name? */
        return c->text_done ? complete_read(c) : OP_WAIT;
    case COMPLETE_COLLECTING: /* 2. Are they there, and what do they make? */
        return c->parts.busy ? OP_WAIT : complete_collect(c);
    case COMPLETE_COMMITTING: /* 3. Is it in the index? */
        if (!c->committed)
            return OP_WAIT;
        if (c->commit.err != OK)
            return complete_fail(c, complete_code(c));
        complete_reply(c);
        return op_move(op, COMPLETE_DONE);
    default: CHECK(op->state == COMPLETE_DONE); return OP_DONE;
    }
}

static void complete_done(struct op *op)
{
    struct complete_op *c = container_of(op, struct complete_op, op);
    struct request *req = c->req;
    env_timer_stop(&c->keepalive);
    commit_fini(&c->commit);
    parts_walk_fini(&c->parts);
    if (c->upload)
        cairn__upload_record__free_unpacked(c->upload, NULL);
    s3_combiner_fini(&c->combiner);
    body_text_fini(&c->text);
    request_end(req);
}

static const struct op_type complete_type = {
    .name = "complete_upload",
    .state_names = complete_state_names,
    .transitions = complete_transitions,
    .state_count = COMPLETE_STATES,
    .step = complete_step,
    .done = complete_done,
};

void complete_upload_start(struct request *req)
{
    struct complete_op *c = request_alloc(req, sizeof(*c));
    if (!c) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    c->req = req;
    c->text.done = complete_text_done;
    c->text.body.ignore_claim = true; /* they are of the object */
    enum s3_code code = s3_upload_id_parse(&req->s3, c->upload_id, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_parse(&req->s3, request_now_ms(req), &c->conditions, &req->fault);
    if (code == S3_OK)
        code = s3_conditions_for_write(&c->conditions, &req->fault);
    if (code == S3_OK && req->read.want_object)
        code = condition_check_early(req, &c->conditions);
    op_init(&c->op, &complete_type, COMPLETE_READING, 0, 0);
    env_timer_init(req->gw->env, &c->keepalive, keepalive_cb);
    if (code == S3_OK)
        code = body_text_start(&c->text, req, S3_COMPLETE_BODY_BYTES_MAX);
    if (code != S3_OK) {
        body_text_fini(&c->text);
        request_fail(req, code);
    }
}
