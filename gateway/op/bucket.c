/* CreateBucket, HeadBucket, GetBucketLocation, ListBuckets. */
#include "common/base/check.h"
#include "gateway/op/acl.h"
#include "gateway/op/authorize.h"
#include "gateway/op/body.h"
#include "gateway/op/commit.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"
#include "gateway/s3/settings.h"
#include "proto/methods.h"

/* ---- CreateBucket ---- */

enum { CREATE_SETTINGS_MAX = 3 }; /* tags, ownership, ACL */

struct create_op {
    struct request *req;
    struct body_text text;
    struct s3_create_bucket wanted;
    bool lock;
    Cairn__BucketRecord bucket;
    Cairn__BucketSetting setting[CREATE_SETTINGS_MAX], *settings[CREATE_SETTINGS_MAX];
    struct buf document[CREATE_SETTINGS_MAX];
    Cairn__CreateBucket command;
    struct meta_propose propose;
    struct meta_read read; /* whose it is, if somebody was first */
};

static enum s3_code create_exists(struct create_op *c, const char *owner_id)
{
    bool own = strcmp(owner_id, c->req->principal->canonical_id) == 0;
    enum s3_code code = own ? S3_BUCKET_ALREADY_OWNED_BY_YOU : S3_BUCKET_ALREADY_EXISTS;
    s3_fault_set(&c->req->fault, code, NULL);
    s3_fault_extra(&c->req->fault, "BucketName", c->req->s3.bucket);
    return code;
}

static void create_end(struct create_op *c, enum s3_code code)
{
    struct request *req = c->req;
    struct buf location = {0};
    if (code == S3_OK) {
        buf_u8(&location, '/');
        buf_slice(&location, req->s3.bucket);
        reply_begin(req, 200);
        if (!location.failed)
            reply_field(req, "Location", buf_view(&location));
        reply_no_body(req);
        buf_fini(&location);
    } else {
        reply_error(req, code);
    }
    for (size_t i = 0; i < CREATE_SETTINGS_MAX; i++)
        buf_fini(&c->document[i]);
    body_text_fini(&c->text);
    request_end(req);
}

static void create_owner_cb(struct meta_read *read)
{
    struct create_op *c = container_of(read, struct create_op, read);
    struct request *req = c->req;
    const Cairn__Record *record = read->err == OK ? read->bucket_entry->record : NULL;
    enum s3_code code;
    if (!record)
        code = s3_fault_set(&req->fault, s3_code_of_err(read->err), NULL);
    else if (!record->present) /* gone again */
        code = s3_fault_set(&req->fault, S3_OPERATION_ABORTED, NULL);
    else
        code = create_exists(c, record->bucket->owner_id);
    meta_read_fini(read);
    create_end(c, code);
}

/* Somebody was first: another user, or we ourselves a moment ago.  Only the record tells. */
static void create_owner_read(struct create_op *c)
{
    c->read = (struct meta_read){
        .bucket = c->req->s3.bucket,
        .deadline_ns = request_deadline(c->req),
        .cb = create_owner_cb,
    };
    meta_read_start(c->req->gw->mc, &c->read);
}

static void create_cb(struct meta_propose *p)
{
    struct create_op *c = container_of(p, struct create_op, propose);
    struct request *req = c->req;
    int err = p->err;
    meta_propose_fini(p);
    if (err == ERR_EXISTS)
        create_owner_read(c);
    else if (err == ERR_CONFLICT)
        create_end(c, s3_fault_set(&req->fault, S3_OPERATION_ABORTED, NULL));
    else
        create_end(c, err == OK ? S3_OK : commit_code(req, err));
}

/* "us-east-1" has no constraint; "EU" is an old name for eu-west-1. */
static enum s3_code create_location(struct create_op *c)
{
    struct request *req = c->req;
    struct slice region = c->wanted.location_constraint;
    if (region.len && !slice_eq(region, req->gw->config->region))
        return s3_fault_set(&req->fault, S3_ILLEGAL_LOCATION_CONSTRAINT, NULL);
    return S3_OK;
}

/* A setting that the bucket is made with, in the order of their kinds.  `document` is taken. */
static void create_setting(struct create_op *c, Cairn__SettingKind kind, struct buf *document)
{
    Cairn__BucketSetting *s = &c->setting[c->bucket.n_settings];
    cairn__bucket_setting__init(s);
    s->kind = kind;
    c->document[c->bucket.n_settings] = *document;
    c->settings[c->bucket.n_settings++] = s;
}

static void create_tags(struct create_op *c)
{
    struct buf b = {0};
    const struct s3_tags tags = {c->wanted.tags, c->wanted.tag_count};
    if (tags.count == 0)
        return;
    s3_tags_write(&b, &tags);
    create_setting(c, CAIRN__SETTING_KIND__SETTING_TAGGING, &b);
}

/* The default is what a bucket has without saying so. */
static enum s3_code create_ownership(struct create_op *c)
{
    struct request *req = c->req;
    struct buf b = {0}, body = {0};
    struct slice said = http_fields_get(req->s3.fields, "x-amz-object-ownership");
    const struct s3_setting *kind = s3_setting_of_op(S3_OP_PUT_BUCKET_OWNERSHIP);
    if (!said.ptr || slice_eq(said, SLICE_LIT("BucketOwnerEnforced")))
        return S3_OK;
    buf_cstr(&body, "<OwnershipControls><Rule><ObjectOwnership>");
    xml_escape(&body, said);
    buf_cstr(&body, "</ObjectOwnership></Rule></OwnershipControls>");
    enum s3_code code = body.failed
                            ? s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL)
                            : s3_setting_read(kind, &req->s3, buf_view(&body), &b, &req->fault);
    buf_fini(&body);
    if (code == S3_OK)
        create_setting(c, CAIRN__SETTING_KIND__SETTING_OWNERSHIP, &b);
    else
        buf_fini(&b);
    return code == S3_MALFORMED_XML
               ? s3_fault_argument(&req->fault, "Invalid x-amz-object-ownership header",
                                   "x-amz-object-ownership", said)
               : code;
}

static void create_acl(struct create_op *c)
{
    struct buf b = {0};
    if (!c->req->acl)
        return;
    if (buf_reserve(&b, cairn__acl__get_packed_size(c->req->acl)) == OK)
        b.len += cairn__acl__pack(c->req->acl, b.ptr);
    create_setting(c, CAIRN__SETTING_KIND__SETTING_ACL, &b);
}

static enum s3_code create_fill(struct create_op *c)
{
    struct request *req = c->req;
    cairn__bucket_record__init(&c->bucket);
    cairn__create_bucket__init(&c->command);
    c->bucket.name = request_cstr(req, req->s3.bucket);
    c->bucket.region = request_cstr(req, req->gw->config->region);
    c->bucket.owner_id = req->principal->canonical_id;
    c->bucket.owner_account = req->principal->account_id;
    c->bucket.object_lock = c->lock;
    c->bucket.settings = c->settings;
    c->command.bucket = &c->bucket;
    create_tags(c);
    enum s3_code code = create_ownership(c);
    if (code != S3_OK)
        return code;
    create_acl(c);
    bool failed = !c->bucket.name || !c->bucket.region;
    for (size_t i = 0; i < c->bucket.n_settings; i++) {
        failed |= c->document[i].failed;
        c->setting[i].document = binary_of(buf_view(&c->document[i]));
    }
    return failed ? s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL) : S3_OK;
}

static void create_acl_done(struct request *req, enum s3_code code)
{
    struct create_op *c = req->operation;
    if (code == S3_OK)
        code = create_fill(c);
    if (code != S3_OK) {
        create_end(c, code);
        return;
    }
    cairn__command__init(&c->propose.command);
    c->propose.command.op_case = CAIRN__COMMAND__OP_CREATE_BUCKET;
    c->propose.command.create_bucket = &c->command;
    c->propose.root = true;
    c->propose.deadline_ns = request_deadline(req);
    c->propose.cb = create_cb;
    meta_propose_start(req->gw->mc, &c->propose);
}

static void create_text_done(struct body_text *t)
{
    struct create_op *c = container_of(t, struct create_op, text);
    struct request *req = c->req;
    enum s3_code code = t->body.code;
    if (code == S3_OK)
        code = s3_xml_create_bucket(req->arena, buf_view(&t->text), &c->wanted, &req->fault);
    if (code == S3_OK)
        code = s3_lock_of_bucket(&req->s3, &c->lock, &req->fault);
    struct request_said said = {.location = c->wanted.location_constraint};
    code = authorize_late(req, &said, code);
    if (code == S3_OK)
        code = create_location(c);
    if (code == S3_OK && req->bucket)
        code = create_exists(c, req->bucket->owner_id);
    if (code != S3_OK)
        create_end(c, code);
    else if (acl_is_asked(req))
        acl_prepare(req, create_acl_done);
    else
        create_acl_done(req, S3_OK);
}

void create_bucket_start(struct request *req)
{
    struct create_op *c = request_alloc(req, sizeof(*c));
    if (!c) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    c->req = req;
    req->operation = c;
    c->text.done = create_text_done;
    enum s3_code code = body_text_start(&c->text, req, S3_CONFIG_BODY_BYTES_MAX);
    if (code != S3_OK)
        create_end(c, code);
}

/* ---- HeadBucket, GetBucketLocation ---- */

void head_bucket_start(struct request *req)
{
    reply_begin(req, 200);
    reply_field(req, "x-amz-bucket-region", slice_cstr(req->bucket->region));
    reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
    reply_no_body(req);
    request_end(req);
}

void get_bucket_location_start(struct request *req)
{
    struct buf b = {0};
    s3_result_location(&b, slice_cstr(req->bucket->region));
    reply_xml(req, 200, &b);
    request_end(req);
}

/* ---- ListBuckets ---- */

#define BUCKET_PAGE 1000

struct buckets_op {
    struct request *req;
    struct s3_list_buckets_params params;
    struct buf document, after;
    uint32_t count;
    bool more;
    struct meta_call call;
    Cairn__ListBucketsRequest request;
};

static void buckets_call_cb(struct meta_call *call);

static void buckets_end(struct request *req, enum s3_code code)
{
    struct buckets_op *l = req->operation;
    struct buf token = {0};
    if (code == S3_OK) {
        if (l->more)
            s3_list_buckets_token(&token, &l->params, buf_view(&l->after));
        l->document.failed |= token.failed;
        s3_result_buckets_end(&l->document, l->params.prefix, buf_view(&token));
        reply_xml(req, 200, &l->document);
    } else {
        reply_error(req, code);
    }
    buf_fini(&token);
    buf_fini(&l->document);
    buf_fini(&l->after);
    request_end(req);
}

static void buckets_page(struct buckets_op *l)
{
    struct request *req = l->req;
    cairn__list_buckets_request__init(&l->request);
    l->request.owner_id = req->principal->canonical_id;
    l->request.prefix = request_cstr(req, l->params.prefix);
    l->request.start_after = request_cstr(req, buf_view(&l->after));
    l->request.buckets_max = MIN(BUCKET_PAGE, l->params.max_buckets - l->count);
    if (!l->request.prefix || !l->request.start_after) {
        buckets_end(req, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
        return;
    }
    l->call = (struct meta_call){
        .method = &method_meta_list_buckets,
        .root = true,
        .request = &l->request.base,
        .deadline_ns = request_deadline(req),
        .cb = buckets_call_cb,
    };
    meta_call_start(req->gw->mc, &l->call);
}

static void buckets_call_cb(struct meta_call *call)
{
    struct buckets_op *l = container_of(call, struct buckets_op, call);
    struct request *req = l->req;
    if (call->err != OK) {
        int err = call->err;
        meta_call_fini(call);
        buckets_end(req, s3_fault_set(&req->fault, s3_code_of_err(err), NULL));
        return;
    }
    const Cairn__ListBucketsResponse *r =
        (const Cairn__ListBucketsResponse *)(const void *)call->response;
    for (size_t i = 0; i < r->n_buckets; i++) {
        const Cairn__BucketRecord *b = r->buckets[i];
        struct s3_result_bucket e = {slice_cstr(b->name), slice_cstr(b->region), b->created_ms};
        s3_result_buckets_entry(&l->document, &e);
        l->count++;
        buf_clear(&l->after);
        buf_cstr(&l->after, b->name);
    }
    l->more = r->more && r->n_buckets;
    l->document.failed |= l->after.failed;
    meta_call_fini(call);
    if (l->more && l->count < l->params.max_buckets)
        buckets_page(l);
    else
        request_recheck(req, buckets_end);
}

void list_buckets_start(struct request *req)
{
    struct buckets_op *l = request_alloc(req, sizeof(*l));
    if (!l) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    l->req = req;
    req->operation = l;
    enum s3_code code = s3_list_buckets_params_parse(&req->s3, &l->params, &req->fault);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    struct s3_owner owner = request_owner(req);
    s3_result_buckets_begin(&l->document, &owner);
    buf_slice(&l->after, l->params.start_after);
    if (l->params.region.len && !slice_eq(l->params.region, req->gw->config->region))
        buckets_end(req, S3_OK); /* none of these lies there */
    else
        buckets_page(l);
}
