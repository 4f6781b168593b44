/* What an ACL that a request brings has to pass. */
#include "gateway/op/acl.h"

#include "common/base/check.h"
#include "gateway/op/authorize.h"
#include "proto/registry.h"

/* ---- are there such accounts? ---- */

static void resolve_next(struct acl_resolve *r);

static enum s3_code unknown_grantee(struct request *req, const struct s3_grant *g)
{
    if (g->grantee != S3_GRANTEE_EMAIL)
        return s3_fault_argument(&req->fault, "Invalid id", "CanonicalUser/ID", g->id);
    s3_fault_set(&req->fault, S3_UNRESOLVABLE_GRANT, NULL);
    s3_fault_extra(&req->fault, "Email", g->id);
    return S3_UNRESOLVABLE_GRANT;
}

/* The account that an address belongs to: its canonical id takes the address's place. */
static enum s3_code take_account(struct acl_resolve *r, const Cairn__Row *row)
{
    struct request *req = r->req;
    struct s3_grant *g = &r->acl->grants[r->at];
    Cairn__AccountRow *account = cairn__account_row__unpack(NULL, row->value.len, row->value.data);
    struct slice id = SLICE_EMPTY;
    if (account)
        id = arena_copy(req->arena, slice_cstr(account->canonical_id));
    cairn__account_row__free_unpacked(account, NULL);
    if (!id.ptr)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    g->grantee = S3_GRANTEE_ACCOUNT;
    g->id = id;
    return S3_OK;
}

static void ask(struct acl_resolve *r, Cairn__RowKind kind, const char *scope, struct slice name);

static void resolve_cb(struct meta_rows *rows)
{
    struct acl_resolve *r = container_of(rows, struct acl_resolve, rows);
    struct request *req = r->req;
    struct s3_grant *g = &r->acl->grants[r->at];
    enum s3_code code = S3_OK;
    struct slice account = SLICE_EMPTY;
    if (rows->err != OK)
        code = s3_fault_set(&req->fault, s3_code_of_err(rows->err), NULL);
    else if (rows->row_count == 0)
        code = unknown_grantee(req, g);
    else if (r->of_email)
        code = take_account(r, rows->rows[0]);
    else if (g->grantee == S3_GRANTEE_EMAIL)
        account = arena_copy(req->arena, bytes_of(rows->rows[0]->value));
    meta_rows_fini(rows);
    r->of_email = account.len > 0;
    if (code != S3_OK) {
        r->cb(r, code);
    } else if (account.len) {
        ask(r, CAIRN__ROW_KIND__ROW_ACCOUNT, "", account);
    } else {
        r->at++;
        resolve_next(r);
    }
}

static void ask(struct acl_resolve *r, Cairn__RowKind kind, const char *scope, struct slice name)
{
    struct request *req = r->req;
    r->rows = (struct meta_rows){
        .kind = kind,
        .scope = scope,
        .name = request_cstr(req, name),
        .deadline_ns = request_deadline(req),
        .cb = resolve_cb,
    };
    if (r->rows.name)
        meta_rows_start(req->gw->mc, &r->rows);
    else
        r->cb(r, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
}

static bool is_known(const struct acl_resolve *r, size_t i)
{
    const struct request *req = r->req;
    const struct s3_grant *g = &r->acl->grants[i];
    if (g->grantee != S3_GRANTEE_ACCOUNT && g->grantee != S3_GRANTEE_EMAIL)
        return true;
    if (g->grantee == S3_GRANTEE_EMAIL)
        return false;
    if ((req->who && slice_eq(g->id, req->caller.canonical_id)) ||
        (req->bucket && slice_eq(g->id, slice_cstr(req->bucket->owner_id))))
        return true;
    for (size_t k = 0; k < i; k++)
        if (r->acl->grants[k].grantee == S3_GRANTEE_ACCOUNT &&
            slice_eq(g->id, r->acl->grants[k].id))
            return true;
    return false;
}

static struct slice lower(struct request *req, struct slice s)
{
    uint8_t *p = request_alloc(req, s.len + 1);
    for (size_t i = 0; p && i < s.len; i++)
        p[i] = ascii_lower(s.ptr[i]);
    return p ? SLICE(p, s.len) : SLICE_EMPTY;
}

static void resolve_next(struct acl_resolve *r)
{
    while (r->at < r->acl->count && is_known(r, r->at))
        r->at++;
    if (r->at == r->acl->count) {
        r->cb(r, S3_OK);
        return;
    }
    const struct s3_grant *g = &r->acl->grants[r->at];
    bool email = g->grantee == S3_GRANTEE_EMAIL;
    ask(r, CAIRN__ROW_KIND__ROW_ACCOUNT_NAME, email ? ACCOUNT_EMAILS : ACCOUNT_CANONICAL_IDS,
        email ? lower(r->req, g->id) : g->id);
}

void acl_resolve_start(struct acl_resolve *r)
{
    r->at = 0;
    r->of_email = false;
    resolve_next(r);
}

/* ---- requests that make something ---- */

struct acl_op {
    struct acl_resolve resolve;
    struct s3_acl acl;
    struct slice owner;
    bool block_public;
    void (*done)(struct request *req, enum s3_code code);
};

bool acl_is_asked(const struct request *req)
{
    switch (req->s3.op) {
    case S3_OP_PUT_OBJECT:
    case S3_OP_POST_OBJECT:
    case S3_OP_COPY_OBJECT:
    case S3_OP_CREATE_MULTIPART_UPLOAD:
    case S3_OP_CREATE_BUCKET: break;
    default: return false;
    }
    struct http_fields f = req->s3.fields;
    for (size_t i = 0; i < f.count; i++)
        if (slice_eq_nocase(f.ptr[i].name, SLICE_LIT("x-amz-acl")) ||
            slice_has_prefix_nocase(f.ptr[i].name, SLICE_LIT("x-amz-grant-")))
            return true;
    return false;
}

/* All that there is to grant is the owner's anyway. */
static bool is_private(const struct s3_acl *acl, struct slice owner)
{
    return acl->count == 1 && acl->grants[0].permission == S3_PERMIT_FULL &&
           !s3_acl_is_shared(acl, owner);
}

static void prepare_end(struct request *req, struct acl_op *a, enum s3_code code)
{
    if (code == S3_OK && a->block_public && s3_acl_is_public(&a->acl))
        code = s3_fault_set(&req->fault,
                            req->s3.op == S3_OP_CREATE_BUCKET ? S3_INVALID_PUBLIC_BUCKET_ACL
                                                              : S3_ACCESS_DENIED,
                            NULL);
    if (code == S3_OK && !is_private(&a->acl, a->owner)) {
        req->acl = acl_to_proto(req->arena, &a->acl);
        if (!req->acl)
            code = s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    }
    a->done(req, code);
}

static void prepare_resolved(struct acl_resolve *r, enum s3_code code)
{
    prepare_end(r->req, container_of(r, struct acl_op, resolve), code);
}

/* Who makes a bucket says in the same request whether there will be ACLs in it. */
static bool is_enforced(const struct request *req)
{
    struct slice said = http_fields_get(req->s3.fields, "x-amz-object-ownership");
    if (req->s3.op != S3_OP_CREATE_BUCKET)
        return req->view->ownership == OWNERSHIP_ENFORCED;
    return !said.ptr || slice_eq(said, SLICE_LIT("BucketOwnerEnforced"));
}

/* Where ACLs are disabled only what says nothing new is taken. */
static enum s3_code check_enforced(struct request *req, const struct s3_acl_wanted *w)
{
    if (req->s3.op == S3_OP_CREATE_BUCKET) {
        bool nothing = w->canned == S3_CANNED_PRIVATE ||
                       (w->grants.count && !s3_acl_is_shared(&w->grants, req->caller.canonical_id));
        return nothing ? S3_OK : s3_fault_set(&req->fault, S3_INVALID_BUCKET_ACL, NULL);
    }
    /* S3 refuses `private` too.  Yet tools that are much in use send it with every object, and of
     * the owner's own account it asks for what the bucket does anyway. */
    struct slice owner = slice_cstr(req->bucket->owner_id);
    bool own = req->who && slice_eq(req->caller.canonical_id, owner);
    bool nothing = w->canned == S3_CANNED_BUCKET_OWNER_FULL_CONTROL ||
                   (w->canned == S3_CANNED_PRIVATE && own) ||
                   (w->canned == S3_CANNED_NONE && is_private(&w->grants, owner));
    return nothing ? S3_OK : s3_fault_set(&req->fault, S3_ACL_NOT_SUPPORTED, NULL);
}

void acl_prepare(struct request *req, void (*done)(struct request *req, enum s3_code code))
{
    struct acl_op *a = request_alloc(req, sizeof(*a));
    struct s3_acl_wanted w = {0};
    bool of_bucket = req->s3.op == S3_OP_CREATE_BUCKET;
    req->acl = NULL;
    if (!a) {
        done(req, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
        return;
    }
    enum s3_code code = s3_acl_wanted_parse(&req->s3, &w, &req->fault);
    req->acl_canned = w.canned;
    if (code == S3_OK && w.canned == S3_CANNED_LOG_DELIVERY_WRITE && !of_bucket)
        code = s3_fault_argument(&req->fault, NULL, "x-amz-acl", SLICE_LIT("log-delivery-write"));
    bool enforced = code == S3_OK && is_enforced(req);
    if (enforced)
        code = check_enforced(req, &w);
    if (code != S3_OK || enforced || !s3_acl_is_wanted(&w)) {
        done(req, code);
        return;
    }
    a->done = done;
    a->owner = of_bucket ? req->caller.canonical_id : authorize_new_owner(req, w.canned);
    a->block_public = of_bucket || req->view->block_public_acls;
    a->acl = w.grants;
    if (w.canned != S3_CANNED_NONE) {
        code = s3_acl_canned(req->arena, w.canned, a->owner,
                             of_bucket ? SLICE_EMPTY : slice_cstr(req->bucket->owner_id), &a->acl,
                             &req->fault);
        prepare_end(req, a, code);
        return;
    }
    a->resolve = (struct acl_resolve){.req = req, .acl = &a->acl, .cb = prepare_resolved};
    acl_resolve_start(&a->resolve);
}

enum s3_code acl_allows_ownership(struct request *req, struct slice document)
{
    struct slice enforced = SLICE_LIT("BucketOwnerEnforced");
    if (!req->view->acl || !memmem(document.ptr, document.len, enforced.ptr, enforced.len) ||
        !s3_acl_is_shared(req->view->acl, slice_cstr(req->bucket->owner_id)))
        return S3_OK;
    return s3_fault_set(&req->fault, S3_INVALID_BUCKET_ACL, NULL);
}
