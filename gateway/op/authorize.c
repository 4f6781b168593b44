/* From a request to questions for gateway/policy. */
#include "gateway/op/authorize.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/op/events.h"
#include "gateway/op/operations.h"
#include "gateway/policy/s3_actions.h"

#define REASON_CHARS_MAX 1024

/* One bucket, and what is in it, that the request is about. */
struct asking {
    struct request *req;
    const struct principal *who; /* NULL: anonymous */
    struct policy_caller caller;
    const Cairn__BucketRecord *bucket; /* NULL: about none */
    const struct bucket_view *view;
    struct slice bucket_name, key;
    const Cairn__ObjectRecord *object; /* that is there already and asked about; NULL: none */
    bool makes;                        /* about an object that the request makes */
    bool no_memory;                    /* to ask with: it is not known whether it is allowed */
    struct context context;
};

static enum s3_code denied(struct request *req)
{
    return s3_fault_set(&req->fault, S3_ACCESS_DENIED, NULL);
}

/* ---- whose is it? ---- */

static bool is_owner(const struct asking *a, const char *canonical_id)
{
    return a->who && slice_eq(a->caller.canonical_id, slice_cstr(canonical_id));
}

/* An object that another account owns, in a bucket that lets there be such. */
static bool is_foreign(const struct asking *a)
{
    return a->object && a->view->ownership != OWNERSHIP_ENFORCED &&
           strcmp(a->object->owner_id, a->bucket->owner_id) != 0;
}

/* 12 digits; of an account that is not the caller's and whose number is not known, something that
 * is no number. */
static struct slice resource_account(const struct asking *a)
{
    if (!a->bucket)
        return SLICE_EMPTY;
    bool foreign = is_foreign(a);
    if (is_owner(a, foreign ? a->object->owner_id : a->bucket->owner_id))
        return a->caller.account;
    return foreign ? slice_cstr(a->object->owner_id) : bucket_owner_account(a->bucket);
}

/* ---- ACLs ---- */

enum acl_side { ACL_OF_BUCKET, ACL_OF_OBJECT };

/* Ref: S3 User Guide, "Mapping of ACL permissions and access policy permissions". */
static const struct {
    const char *action;
    enum acl_side side;
    unsigned permission;
} acl_actions[] = {
    {"s3:ListBucket", ACL_OF_BUCKET, S3_PERMIT_READ},
    {"s3:ListBucketVersions", ACL_OF_BUCKET, S3_PERMIT_READ},
    {"s3:ListBucketMultipartUploads", ACL_OF_BUCKET, S3_PERMIT_READ},
    {"s3:PutObject", ACL_OF_BUCKET, S3_PERMIT_WRITE},
    {"s3:DeleteObject", ACL_OF_BUCKET, S3_PERMIT_WRITE},
    {"s3:AbortMultipartUpload", ACL_OF_BUCKET, S3_PERMIT_WRITE},
    {"s3:ListMultipartUploadParts", ACL_OF_BUCKET, S3_PERMIT_WRITE},
    {"s3:GetBucketAcl", ACL_OF_BUCKET, S3_PERMIT_READ_ACP},
    {"s3:PutBucketAcl", ACL_OF_BUCKET, S3_PERMIT_WRITE_ACP},
    {"s3:GetObject", ACL_OF_OBJECT, S3_PERMIT_READ},
    {"s3:GetObjectVersion", ACL_OF_OBJECT, S3_PERMIT_READ},
    {"s3:GetObjectAcl", ACL_OF_OBJECT, S3_PERMIT_READ_ACP},
    {"s3:GetObjectVersionAcl", ACL_OF_OBJECT, S3_PERMIT_READ_ACP},
    {"s3:PutObjectAcl", ACL_OF_OBJECT, S3_PERMIT_WRITE_ACP},
    {"s3:PutObjectVersionAcl", ACL_OF_OBJECT, S3_PERMIT_WRITE_ACP},
};

static unsigned object_permits(struct asking *a, struct slice canonical_id)
{
    if (!a->object || !a->object->acl)
        return 0;
    struct s3_acl *acl = acl_of_proto(a->req->arena, a->object->acl);
    a->no_memory |= !acl;
    return acl ? s3_acl_permits(acl, canonical_id, a->view->ignore_public_acls) : 0;
}

/* What is granted to an account is its account's to give to its users, so within an account only
 * what is granted to everybody counts. */
static bool acl_allows(struct asking *a, struct slice action, bool own)
{
    if (!a->bucket || a->view->ownership == OWNERSHIP_ENFORCED)
        return false;
    struct slice id = !a->who ? SLICE_EMPTY : own ? SLICE_LIT("-") : a->caller.canonical_id;
    unsigned of_bucket =
        a->view->acl ? s3_acl_permits(a->view->acl, id, a->view->ignore_public_acls) : 0;
    for (size_t i = 0; i < ARRAY_COUNT(acl_actions); i++) {
        if (!slice_eq(action, slice_cstr(acl_actions[i].action)))
            continue;
        if (acl_actions[i].side == ACL_OF_BUCKET)
            return of_bucket & acl_actions[i].permission;
        /* Who may make an object may say who may read it. */
        return a->makes ? of_bucket & S3_PERMIT_WRITE
                        : object_permits(a, id) & acl_actions[i].permission;
    }
    return false;
}

/* ---- one question ---- */

static struct policy_decision decide(struct asking *a, const struct policy_request *r,
                                     const struct policy *resource, bool own)
{
    struct policy_bundle b = {
        .resource = resource,
        .acl_allows = acl_allows(a, r->action, own),
        .restrict_public_buckets = a->view && a->view->restrict_public_buckets,
        .unreadable = a->view && a->view->unreadable &&
                      (a->view->policy_unreadable || !own || a->caller.type != POLICY_ROOT),
    };
    if (a->who) {
        b.identity = a->who->policies;
        b.identity_count = a->who->policy_count;
        b.boundary = a->who->boundary;
        b.unreadable |= a->who->unreadable != NULL;
    }
    if (a->who && a->req->session) {
        b.session = a->req->session->policies;
        b.session_count = a->req->session->policy_count;
    }
    return policy_decide(r, &b);
}

/* S3 tells those of the bucket's own account why, others nothing. */
static void explain(struct asking *a, const struct policy_request *r,
                    const struct policy_decision *d)
{
    static const char *const sources[] = {
        [POLICY_OF_NONE] = "policy",
        [POLICY_OF_RESOURCE] = "resource-based policy",
        [POLICY_OF_IDENTITY] = "identity-based policy",
        [POLICY_OF_BOUNDARY] = "permissions boundary",
        [POLICY_OF_SESSION] = "session policy",
    };
    const char *missing = d->reason == POLICY_NOT_BY_BOUNDARY  ? "permissions boundary"
                          : d->reason == POLICY_NOT_BY_SESSION ? "session policy"
                                                               : "identity-based policy";
    struct buf b = {0};
    buf_cstr(&b, "User: ");
    buf_slice(&b, a->caller.arn);
    buf_cstr(&b, " is not authorized to perform: ");
    buf_slice(&b, r->action);
    if (a->bucket) {
        buf_cstr(&b, " on resource: \"");
        buf_slice(&b, r->resource);
        buf_u8(&b, '"');
    }
    if (d->reason == POLICY_UNREADABLE)
        buf_printf(&b, " because %s: nothing is allowed",
                   a->who && a->who->unreadable ? a->who->unreadable
                                                : "the bucket's policy or ACL is not understood");
    else if (d->reason == POLICY_TOO_COSTLY)
        buf_cstr(&b, " because the policies take too long to evaluate");
    else if (d->outcome == POLICY_EXPLICIT_DENY)
        buf_printf(&b, " with an explicit deny in a%s %s",
                   d->source == POLICY_OF_IDENTITY ? "n" : "", sources[d->source]);
    else
        buf_printf(&b, " because no %s allows the %.*s action", missing, (int)r->action.len,
                   (const char *)r->action.ptr);
    char *text = b.failed || b.len > REASON_CHARS_MAX + 2 * S3_KEY_BYTES_MAX
                     ? NULL
                     : request_cstr(a->req, buf_view(&b));
    s3_fault_set(&a->req->fault, S3_ACCESS_DENIED, text);
    buf_fini(&b);
}

static void log_denied(struct asking *a, const struct policy_request *r,
                       const struct policy_decision *d)
{
    struct buf b = {0};
    if (!a->req->gw->config->access_log)
        return;
    policy_decision_write(d, &b);
    log_info("s3.denied", 0, L_STR("request_id", a->req->id), L_BYTES("caller", a->caller.arn),
             L_BYTES("action", r->action), L_BYTES("resource", r->resource),
             L_BYTES("why", buf_view(&b)));
    buf_fini(&b);
}

void authorize_count_denied(struct gateway_metrics *m, enum policy_reason reason)
{
    if (reason == POLICY_UNREADABLE)
        metric_inc(m->policies_unreadable);
    if (reason == POLICY_TOO_COSTLY)
        metric_inc(m->policies_too_costly);
}

/* key: empty: the bucket.  Leaves the fault set when it says no: ACCESS_DENIED, INTERNAL_ERROR. */
static bool allowed(struct asking *a, const char *action, struct slice key)
{
    struct buf arn = {0};
    struct slice account = resource_account(a);
    bool own = a->who && (account.len == 0 || slice_eq(account, a->caller.account));
    denied(a->req);
    policy_s3_arn(&arn, a->bucket_name, key);
    struct policy_request r = {
        .caller = &a->caller,
        .action = slice_cstr(action),
        .resource = buf_view(&arn),
        .resource_account = account,
        .values = context_values,
        .arg = &a->context,
    };
    const struct policy *resource = a->bucket && a->view ? a->view->policy : NULL;
    struct policy_decision d = {.outcome = POLICY_IMPLICIT_DENY};
    a->no_memory |= arn.failed;
    if (!a->no_memory) {
        d = decide(a, &r, resource, own);
        /* Of what another account owns the bucket's policy can only deny. */
        if (d.outcome != POLICY_EXPLICIT_DENY && resource && is_foreign(a))
            d = decide(a, &r, NULL, own);
        if (!policy_allowed(&d) && !a->no_memory) {
            if (own)
                explain(a, &r, &d);
            log_denied(a, &r, &d);
            authorize_count_denied(a->req->gw->metrics, d.reason);
        }
    }
    a->req->policy_steps += d.steps;
    buf_fini(&arn);
    if (policy_allowed(&d))
        a->req->fault = (struct s3_fault){0};
    else if (a->no_memory)
        s3_fault_set(&a->req->fault, S3_INTERNAL_ERROR, NULL);
    return policy_allowed(&d);
}

/* ---- what a request uses ---- */

static bool field_given(const struct request *req, const char *name)
{
    return http_fields_get(req->s3.fields, name).len > 0;
}

static bool field_is(const struct request *req, const char *name, const char *value)
{
    return slice_eq_nocase(http_fields_get(req->s3.fields, name), slice_cstr(value));
}

static bool sets_acl(const struct request *req)
{
    struct http_fields f = req->s3.fields;
    for (size_t i = 0; i < f.count; i++)
        if (slice_has_prefix_nocase(f.ptr[i].name, SLICE_LIT("x-amz-grant-")))
            return true;
    return field_given(req, "x-amz-acl") &&
           !(req->s3.op == S3_OP_CREATE_BUCKET && field_is(req, "x-amz-acl", "private"));
}

/* What says so is not replicated on, so not everybody who may write may say it. */
static bool is_replica(const struct request *req)
{
    return http_fields_find(req->s3.fields, REPLICA_FIELD) != NULL;
}

static unsigned uses_of(const struct request *req)
{
    unsigned uses = 0;
    const struct {
        bool given;
        unsigned use;
    } each[] = {
        {s3_request_param(&req->s3, "versionId") != NULL, POLICY_USE_VERSION},
        {sets_acl(req), POLICY_USE_ACL},
        {field_given(req, "x-amz-tagging"), POLICY_USE_TAGGING},
        {field_given(req, "x-amz-object-lock-mode") ||
             field_given(req, "x-amz-object-lock-retain-until-date"),
         POLICY_USE_RETENTION},
        {field_given(req, "x-amz-object-lock-legal-hold"), POLICY_USE_LEGAL_HOLD},
        {field_is(req, "x-amz-bucket-object-lock-enabled", "true"), POLICY_USE_OBJECT_LOCK},
        {field_given(req, "x-amz-object-ownership"), POLICY_USE_OWNERSHIP},
        {is_replica(req), POLICY_USE_REPLICA},
    };
    for (size_t i = 0; i < ARRAY_COUNT(each); i++)
        uses |= each[i].given ? each[i].use : 0;
    return uses;
}

/* Its condition says whether the object is there and what it is, so it takes the right to read. */
static bool asks_etag(struct slice if_match)
{
    return if_match.len && !slice_eq(if_match, SLICE_LIT("*"));
}

static bool is_write(enum s3_op op)
{
    switch (op) {
    case S3_OP_PUT_OBJECT:
    case S3_OP_POST_OBJECT:
    case S3_OP_COPY_OBJECT:
    case S3_OP_RENAME_OBJECT:
    case S3_OP_CREATE_MULTIPART_UPLOAD:
    case S3_OP_UPLOAD_PART:
    case S3_OP_UPLOAD_PART_COPY:
    case S3_OP_COMPLETE_MULTIPART_UPLOAD: return true;
    default: return false;
    }
}

/* ---- the whole request ---- */

static void asking_init(struct asking *a, struct request *req, const Cairn__BucketRecord *bucket,
                        const struct request_said *said)
{
    *a = (struct asking){
        .req = req,
        .who = req->who,
        .caller = req->caller,
        .bucket = bucket,
        .view = bucket ? req->view : NULL,
        .bucket_name = req->s3.bucket,
        .key = req->s3.key,
        .object = req->object,
        .makes = is_write(req->s3.op),
    };
    if (a->makes) /* what may lie there is not what is asked about */
        a->object = NULL;
    a->no_memory = !context_init(&a->context, req, said);
    a->context.principal = req->who ? req->who->record : NULL;
    a->context.session = req->session;
    a->context.object = a->object;
}

/* Who may not list the bucket is not told what it does not hold. */
static bool may_know_absence(struct asking *a)
{
    const struct request *req = a->req;
    bool absent = operations[req->s3.op].needs & NEED_OBJECT && !req->object &&
                  !(req->s3.version && req->marker);
    return !absent || allowed(a, "s3:ListBucket", SLICE_EMPTY);
}

static enum s3_code authorize_needs(struct request *req, const Cairn__BucketRecord *bucket,
                                    const struct request_said *said)
{
    struct policy_need needs[POLICY_NEEDS_MAX];
    struct asking a;
    if (req->unrestricted)
        return S3_OK;
    size_t count = policy_s3_needs(s3_op_name(req->s3.op), uses_of(req), needs);
    if (count == 0)
        return denied(req);
    if (req->s3.op == S3_OP_DELETE_OBJECTS) /* each of its keys for itself */
        return S3_OK;
    asking_init(&a, req, bucket, said);
    for (size_t i = 0; i < count; i++) {
        bool of_object = needs[i].target == POLICY_ON_OBJECT;
        if (needs[i].target != POLICY_ON_SOURCE &&
            !allowed(&a, needs[i].action, of_object ? req->s3.key : SLICE_EMPTY))
            return req->fault.code;
    }
    bool writes = a.makes || req->s3.op == S3_OP_DELETE_OBJECT;
    a.makes = false; /* from here on it is asked about what is there */
    a.object = a.context.object = req->object;
    if (writes && asks_etag(a.context.if_match) && !allowed(&a, "s3:GetObject", req->s3.key))
        return req->fault.code;
    return may_know_absence(&a) ? S3_OK : req->fault.code;
}

/* ---- what comes before policies ---- */

static bool is_account(struct slice s)
{
    bool ok = s.len == 12;
    for (size_t i = 0; ok && i < s.len; i++)
        ok = s.ptr[i] >= '0' && s.ptr[i] <= '9';
    return ok;
}

/* A claim about the owner that the client wants checked. */
static enum s3_code check_expected(struct request *req, const Cairn__BucketRecord *bucket,
                                   const char *field)
{
    struct slice expected = http_fields_get(req->s3.fields, field);
    if (!expected.ptr)
        return S3_OK;
    if (!is_account(expected)) {
        s3_fault_set(&req->fault, S3_INVALID_BUCKET_OWNER, NULL);
        s3_fault_extra(&req->fault, "ExpectedBucketOwner", expected);
        return S3_INVALID_BUCKET_OWNER;
    }
    bool own = req->who && slice_eq(req->caller.canonical_id, slice_cstr(bucket->owner_id));
    return slice_eq(expected, own ? req->caller.account : bucket_owner_account(bucket))
               ? S3_OK
               : denied(req);
}

/* Whoever is to pay must say so, and be known. */
static enum s3_code check_payer(struct request *req, const Cairn__BucketRecord *bucket,
                                const struct bucket_view *view)
{
    if (!view->requester_pays ||
        (req->who && slice_eq(req->caller.canonical_id, slice_cstr(bucket->owner_id))))
        return S3_OK;
    struct slice said = http_fields_get(req->s3.fields, "x-amz-request-payer");
    if (!said.ptr)
        said = s3_request_value(&req->s3, "x-amz-request-payer");
    if (!req->who || !slice_eq_nocase(said, SLICE_LIT("requester")))
        return denied(req);
    req->charged = true;
    return S3_OK;
}

/* What policies can not give. */
static enum s3_code check_never(struct request *req, const Cairn__BucketRecord *bucket)
{
    bool own =
        req->who && bucket && slice_eq(req->caller.canonical_id, slice_cstr(bucket->owner_id));
    switch (req->s3.op) {
    case S3_OP_GET_BUCKET_POLICY:
    case S3_OP_PUT_BUCKET_POLICY:
    case S3_OP_DELETE_BUCKET_POLICY:
        if (own)
            return S3_OK;
        if (!req->who)
            return denied(req);
        s3_fault_set(&req->fault, S3_METHOD_NOT_ALLOWED, NULL);
        s3_fault_extra(&req->fault, "Method", req->s3.method);
        s3_fault_extra(&req->fault, "ResourceType", SLICE_LIT("BUCKETPOLICY"));
        return S3_METHOD_NOT_ALLOWED;
    case S3_OP_CREATE_MULTIPART_UPLOAD:
    case S3_OP_CREATE_BUCKET:
    case S3_OP_LIST_BUCKETS:
    case S3_OP_ADMIN: return req->who ? S3_OK : denied(req);
    default: return S3_OK;
    }
}

/* Nothing in it could deny the owner's root user anything. */
static bool is_plain(const struct bucket_view *view)
{
    return !view->policy && !view->policy_unreadable && view->ownership == OWNERSHIP_ENFORCED;
}

/* Nothing could deny it, and what it may is everything. */
static bool is_unrestricted(const struct request *req, const Cairn__BucketRecord *bucket)
{
    return req->caller.type == POLICY_ROOT && !req->who->unreadable && !req->session &&
           (!bucket || (slice_eq(req->caller.canonical_id, slice_cstr(bucket->owner_id)) &&
                        is_plain(req->view)));
}

static const Cairn__BucketRecord *bucket_in(const struct cache_entry *e)
{
    return e && e->record->present ? e->record->bucket : NULL;
}

/* Who asks, in what bucket.  Without memory for both it stays who asked before: whoever asks late
 * must not turn into nobody. */
static enum s3_code basis_set(struct request *req, const struct authorize_basis *basis,
                              const Cairn__BucketRecord *bucket)
{
    const struct principal *who = basis->principal ? principal_of(req->gw, basis->principal) : NULL;
    const struct bucket_view *view = bucket ? bucket_view_of(req->gw, basis->bucket) : NULL;
    if ((basis->principal && !who) || (bucket && !view))
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    req->who = who;
    req->view = view;
    req->caller = req->who ? principal_caller(req->who, req->session)
                           : (struct policy_caller){.type = POLICY_ANONYMOUS};
    req->charged = false;
    req->unrestricted = req->who && is_unrestricted(req, bucket);
    return S3_OK;
}

static enum s3_code no_bucket(struct request *req, struct slice name)
{
    s3_fault_set(&req->fault, S3_NO_SUCH_BUCKET, NULL);
    s3_fault_extra(&req->fault, "BucketName", name);
    return S3_NO_SUCH_BUCKET;
}

enum s3_code authorize_request(struct request *req, const struct authorize_basis *basis)
{
    unsigned flags = operations[req->s3.op].needs;
    const Cairn__BucketRecord *bucket = bucket_in(basis->bucket);
    req->authorized = false;
    if (!(flags & NEED_BUCKET))
        bucket = NULL; /* CreateBucket: of whose it is not asked here */
    else if (!bucket)
        return no_bucket(req, req->s3.bucket);
    enum s3_code code = basis_set(req, basis, bucket);
    if (code == S3_OK && bucket)
        code = check_expected(req, bucket, "x-amz-expected-bucket-owner");
    if (code == S3_OK)
        code = check_never(req, bucket);
    if (code == S3_OK && bucket)
        code = check_payer(req, bucket, req->view);
    if (code == S3_OK && !(flags & AUTHORIZE_LATE) && req->s3.op != S3_OP_ADMIN)
        code = authorize_needs(req, bucket, NULL);
    req->authorized = code == S3_OK && !(flags & AUTHORIZE_LATE);
    return code;
}

enum s3_code authorize_late(struct request *req, const struct request_said *said,
                            enum s3_code refused)
{
    CHECK(operations[req->s3.op].needs & AUTHORIZE_LATE);
    struct s3_fault fault = req->fault;
    bool of_bucket = operations[req->s3.op].needs & NEED_BUCKET;
    enum s3_code code = authorize_needs(req, of_bucket ? req->bucket : NULL, said);
    req->authorized = code == S3_OK;
    if (code == S3_OK && refused != S3_OK)
        req->fault = fault;
    return code == S3_OK ? refused : code;
}

enum s3_code authorize_changed(struct request *req, const struct request_said *said,
                               const Cairn__ObjectRecord *now)
{
    const Cairn__ObjectRecord *before = req->object;
    req->object = now;
    enum s3_code code = authorize_needs(req, req->bucket, said);
    req->object = before;
    return code;
}

/* ---- parts of a request ---- */

enum s3_code authorize_delete(struct request *req, const struct s3_delete_object *object)
{
    struct asking a;
    if (req->unrestricted)
        return S3_OK;
    asking_init(&a, req, req->bucket, NULL);
    a.context.version_id = object->has_version_id ? object->version_id : SLICE_EMPTY;
    a.context.if_match = object->has_etag ? object->etag : SLICE_EMPTY;
    bool ok = allowed(&a, object->has_version_id ? "s3:DeleteObjectVersion" : "s3:DeleteObject",
                      object->key);
    if (ok && is_replica(req))
        ok = allowed(&a, "s3:ReplicateDelete", object->key);
    if (ok && object->has_etag && asks_etag(object->etag))
        ok = allowed(&a, "s3:GetObject", object->key);
    enum s3_code code = ok ? S3_OK : req->fault.code;
    req->fault = (struct s3_fault){0};
    return code;
}

bool authorize_bypass(struct request *req, struct slice key)
{
    struct asking a;
    if (!field_is(req, "x-amz-bypass-governance-retention", "true"))
        return false;
    if (req->unrestricted)
        return true;
    struct s3_fault fault = req->fault;
    asking_init(&a, req, req->bucket, NULL);
    bool ok = allowed(&a, "s3:BypassGovernanceRetention", key);
    req->fault = fault;
    return ok;
}

static enum s3_code source_needs(struct asking *source, const struct s3_copy_source *from)
{
    struct request *req = source->req;
    struct policy_need needs[POLICY_NEEDS_MAX];
    unsigned uses = uses_of(req) & ~(unsigned)POLICY_USE_VERSION;
    bool copies_tags = source->object && source->object->n_tags && !from->replace_tags;
    uses |= from->version_id.ptr ? POLICY_USE_SOURCE_VERSION : 0;
    uses |= copies_tags ? POLICY_USE_COPY_TAGS : 0;
    size_t count = policy_s3_needs(s3_op_name(req->s3.op), uses, needs);
    struct asking target;
    asking_init(&target, req, req->bucket, NULL);
    for (size_t i = 0; i < count; i++) {
        bool of_source = needs[i].target == POLICY_ON_SOURCE;
        /* Of the target all has been asked but what only the source tells. */
        if (!of_source && (!copies_tags || req->unrestricted))
            continue;
        if (!allowed(of_source ? source : &target, needs[i].action,
                     of_source ? from->key : req->s3.key))
            return req->fault.code;
    }
    if (!source->object && !allowed(source, "s3:ListBucket", SLICE_EMPTY))
        return req->fault.code;
    return S3_OK;
}

enum s3_code authorize_source(struct request *req, const struct authorize_basis *basis,
                              const struct s3_copy_source *from, const Cairn__ObjectRecord *object)
{
    const Cairn__BucketRecord *bucket = bucket_in(basis->bucket);
    if (!bucket)
        return no_bucket(req, from->bucket);
    const struct bucket_view *view = bucket_view_of(req->gw, basis->bucket);
    const struct principal *who = basis->principal ? principal_of(req->gw, basis->principal) : NULL;
    if (!view || (basis->principal && !who))
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    bool charged = req->charged;
    enum s3_code code = check_expected(req, bucket, "x-amz-source-expected-bucket-owner");
    if (code == S3_OK)
        code = check_payer(req, bucket, view);
    req->charged |= charged;
    bool free = req->unrestricted && is_plain(view) &&
                slice_eq(req->caller.canonical_id, slice_cstr(bucket->owner_id));
    if (code != S3_OK || free)
        return code;
    struct asking a;
    asking_init(&a, req, bucket, NULL);
    a.who = who;
    a.view = view;
    a.bucket_name = from->bucket;
    a.key = from->key;
    a.object = a.context.object = object;
    a.makes = false;
    a.context.principal = who ? who->record : NULL;
    a.context.version_id = from->version_id;
    return source_needs(&a, from);
}

enum s3_code authorize_delivery(struct request *req, const struct authorize_basis *basis,
                                struct slice prefix)
{
    const Cairn__BucketRecord *bucket = bucket_in(basis->bucket);
    const struct bucket_view *view = bucket ? bucket_view_of(req->gw, basis->bucket) : NULL;
    if (!view)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    if (req->unrestricted && is_plain(view) &&
        slice_eq(req->caller.canonical_id, slice_cstr(bucket->owner_id)))
        return S3_OK;
    struct asking a;
    asking_init(&a, req, bucket, NULL);
    a.view = view;
    a.bucket_name = slice_cstr(bucket->name);
    a.key = prefix;
    return allowed(&a, "s3:PutObject", prefix) ? S3_OK : req->fault.code;
}

bool authorize_keeps_policy(struct request *req, const struct policy *policy)
{
    struct asking a;
    struct bucket_view changed = *req->view;
    struct s3_fault fault = req->fault;
    asking_init(&a, req, req->bucket, NULL);
    changed.policy = policy;
    a.view = &changed;
    bool ok = allowed(&a, "s3:PutBucketPolicy", SLICE_EMPTY);
    req->fault = fault;
    return ok;
}

struct slice authorize_new_owner(const struct request *req, enum s3_canned canned)
{
    bool given = canned == S3_CANNED_BUCKET_OWNER_FULL_CONTROL;
    if (req->view->ownership == OWNERSHIP_ENFORCED ||
        (req->view->ownership == OWNERSHIP_PREFERRED && given))
        return slice_cstr(req->bucket->owner_id);
    return req->who ? req->caller.canonical_id : SLICE_LIT(AUTHORIZE_ANONYMOUS_ID);
}
