/* Answers: common fields, documents, errors. */
#include "gateway/op/request.h"

#include "common/base/check.h"
#include "gateway/op/authorize.h"
#include "gateway/op/cors.h"
#include "gateway/op/website.h"

static const char *date_now(struct gateway *gw)
{
    uint64_t now_ms = env_wall_ms(gw->env);
    if (now_ms / 1000 != gw->date_s) {
        gw->date_s = now_ms / 1000;
        http_date_format(now_ms, gw->date);
    }
    return gw->date;
}

void reply_begin(struct request *req, int status)
{
    /* Nothing is given out or done that was not allowed. */
    CHECK(status >= 300 || req->authorized);
    req->status = status;
    if (req->view && req->view->logging)
        req->replied_ns = uv_hrtime();
    http_response_begin(req->http, status);
    http_response_field_cstr(req->http, "Date", date_now(req->gw));
    http_response_field_cstr(req->http, "Server", "Cairn");
    http_response_field_cstr(req->http, "x-amz-request-id", req->id);
    if (req->charged && status < 400)
        http_response_field_cstr(req->http, "x-amz-request-charged", "requester");
    cors_reply_fields(req);
    if (status == 405 && req->s3.allow[0])
        http_response_field_cstr(req->http, "Allow", req->s3.allow);
}

void reply_field(struct request *req, const char *name, struct slice value)
{
    /* A value that no field may have is left out: it was refused when it came in, or never stored.
     */
    http_response_field(req->http, slice_cstr(name), value);
}

void reply_etag(struct request *req, const char *etag)
{
    char text[S3_ETAG_TEXT_MAX + 40];
    size_t len = strlen(etag);
    if (len + 2 >= sizeof(text))
        return;
    text[0] = text[len + 1] = '"';
    memcpy(text + 1, etag, len);
    reply_field(req, "ETag", SLICE(text, len + 2));
}

void reply_time(struct request *req, const char *name, uint64_t ms)
{
    char text[HTTP_DATE_CHARS + 1];
    http_date_format(ms, text);
    reply_field(req, name, SLICE(text, HTTP_DATE_CHARS));
}

void reply_checksum(struct request *req, const Cairn__Checksum *checksum, unsigned part_count)
{
    struct s3_checksum c;
    char text[S3_CHECKSUM_TEXT_MAX];
    if (!checksum_of_proto(checksum, &c))
        return;
    size_t n = s3_checksum_text(&c, part_count, text);
    reply_field(req, s3_checksum_field(c.algorithm), SLICE(text, n));
    reply_field(req, "x-amz-checksum-type", slice_cstr(s3_checksum_type_name(c.type)));
}

void reply_version_id(struct request *req, const char *name, uint64_t version)
{
    char text[S3_VERSION_ID_CHARS + 1] = "null";
    if (version != VERSION_NONE)
        s3_version_id_text(version, text);
    reply_field(req, name, slice_cstr(text));
}

void reply_version(struct request *req, const char *name, const Cairn__BucketRecord *bucket,
                   const Cairn__ObjectRecord *record)
{
    if (bucket->versioning != CAIRN__VERSIONING__VERSIONING_OFF)
        reply_version_id(req, name, record->versioned ? record->version : VERSION_NONE);
}

void reply_no_body(struct request *req)
{
    http_response_body(req->http, 0);
}

/* The bytes are copied once into shared memory, which the server sends from. */
static void reply_body(struct request *req, struct slice body)
{
    struct rcbuf *copy = rcbuf_copy(body);
    http_response_body(req->http, (int64_t)body.len);
    if (body.len && copy) {
        struct payload p = {copy, SLICE(copy->data, copy->len)};
        req->bytes_sent += body.len;
        http_response_write(req->http, p);
    }
    rcbuf_unref(copy);
}

void reply_document(struct request *req, struct buf *document)
{
    reply_body(req, document->failed ? SLICE_EMPTY : buf_view(document));
    buf_fini(document);
}

static void reply_typed(struct request *req, int status, const char *type, struct buf *document)
{
    if (document->failed) {
        buf_fini(document);
        reply_error(req, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
        return;
    }
    reply_begin(req, status);
    http_response_field_cstr(req->http, "Content-Type", type);
    reply_document(req, document);
}

void reply_xml(struct request *req, int status, struct buf *document)
{
    reply_typed(req, status, "application/xml", document);
}

void reply_json(struct request *req, struct buf *document)
{
    reply_typed(req, 200, "application/json", document);
}

/* There is no object because it was deleted, or what was asked for is a delete marker. */
static void reply_marker(struct request *req, enum s3_code code)
{
    reply_field(req, "x-amz-delete-marker", SLICE_LIT("true"));
    reply_version(req, "x-amz-version-id", req->bucket, req->marker);
    if (code != S3_METHOD_NOT_ALLOWED)
        return;
    reply_field(req, "Allow", SLICE_LIT("DELETE"));
    reply_time(req, "Last-Modified", req->marker->mtime_ms);
}

void reply_error(struct request *req, enum s3_code code)
{
    struct buf document = {0};
    int status = s3_code_status(code);
    if (req->fault.code != code)
        s3_fault_set(&req->fault, code, NULL);
    if (req->s3.website && status != 304 && req->s3.op != S3_OP_PREFLIGHT) {
        website_reply_error(req, code);
        return;
    }
    reply_begin(req, status);
    if (req->marker && (code == S3_NO_SUCH_KEY || code == S3_METHOD_NOT_ALLOWED))
        reply_marker(req, code);
    if (status == 304 || req->http->method == HTTP_METHOD_HEAD) {
        reply_no_body(req);
        return;
    }
    s3_error_document(&document, &req->fault, req->s3.path, slice_cstr(req->id), SLICE_EMPTY);
    http_response_field_cstr(req->http, "Content-Type", "application/xml");
    /* Without memory for the document the status says it all. */
    reply_body(req, document.failed ? SLICE_EMPTY : buf_view(&document));
    buf_fini(&document);
}

void reply_err(struct request *req, int err)
{
    reply_error(req, s3_code_of_err(err));
}

/* ---- between proto and S3 ---- */

bool checksum_of_proto(const Cairn__Checksum *from, struct s3_checksum *ret)
{
    if (!from || from->algorithm <= 0 || from->algorithm >= (int)S3_CHECKSUM_COUNT ||
        from->value.len != s3_checksum_bytes((enum s3_checksum_algorithm)from->algorithm))
        return false;
    *ret = (struct s3_checksum){
        .algorithm = (enum s3_checksum_algorithm)from->algorithm,
        .type = from->type == CAIRN__CHECKSUM_TYPE__CHECKSUM_COMPOSITE ? S3_CHECKSUM_COMPOSITE
                                                                       : S3_CHECKSUM_FULL_OBJECT,
        .len = (uint8_t)from->value.len,
    };
    memcpy(ret->bytes, from->value.data, from->value.len);
    return true;
}

Cairn__Checksum *checksum_to_proto(struct request *req, const struct s3_checksum *from)
{
    if (from->algorithm == S3_CHECKSUM_NONE)
        return NULL;
    Cairn__Checksum *c = request_alloc(req, sizeof(*c));
    struct slice value = arena_copy(req->arena, SLICE(from->bytes, from->len));
    if (!c || !value.ptr)
        return NULL;
    cairn__checksum__init(c);
    c->algorithm = (Cairn__ChecksumAlgorithm)from->algorithm;
    c->type = (Cairn__ChecksumType)from->type;
    c->value = binary_of(value);
    return c;
}

struct s3_owner request_owner(const struct request *req)
{
    if (!req->principal)
        return (struct s3_owner){SLICE_LIT(AUTHORIZE_ANONYMOUS_ID), SLICE_LIT("anonymous")};
    return (struct s3_owner){slice_cstr(req->principal->canonical_id),
                             slice_cstr(req->principal->account_display_name)};
}

struct s3_owner request_owner_of(const struct request *req, const char *canonical_id)
{
    struct s3_owner requester = request_owner(req);
    struct slice id = slice_cstr(canonical_id);
    return slice_eq(id, requester.id) ? requester : (struct s3_owner){id, id};
}

struct s3_owner request_object_owner(const struct request *req, const char *owner_id)
{
    bool enforced = req->view && req->view->ownership == OWNERSHIP_ENFORCED;
    return request_owner_of(req, enforced ? req->bucket->owner_id : owner_id);
}
