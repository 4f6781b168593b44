/* PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy, GetBucketPolicyStatus.
 *
 *   PUT: read, validate → is there everybody that it names? → one proposal
 *
 * What is stored is the client's document without the blanks between its tokens. */
#include "common/base/check.h"
#include "gateway/meta/rows.h"
#include "gateway/op/authorize.h"
#include "gateway/op/body.h"
#include "gateway/op/operations.h"
#include "gateway/op/setting_store.h"
#include "proto/registry.h"

/* More principals than fit into 20 KiB. */
enum { PRINCIPALS_MAX = 2048 };

static enum s3_code no_policy(struct request *req)
{
    s3_fault_set(&req->fault, S3_NO_SUCH_BUCKET_POLICY, NULL);
    s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
    return S3_NO_SUCH_BUCKET_POLICY;
}

/* ---- GET ---- */

void get_policy_start(struct request *req)
{
    struct buf b = {0};
    struct slice document =
        bucket_setting_document(req->bucket, CAIRN__SETTING_KIND__SETTING_POLICY);
    if (document.len == 0) {
        request_fail(req, no_policy(req));
        return;
    }
    buf_slice(&b, document);
    reply_json(req, &b);
    request_end(req);
}

void get_policy_status_start(struct request *req)
{
    struct buf b = {0};
    if (bucket_setting_document(req->bucket, CAIRN__SETTING_KIND__SETTING_POLICY).len == 0) {
        request_fail(req, no_policy(req));
        return;
    }
    xml_declaration(&b);
    xml_open_ns(&b, "PolicyStatus");
    xml_bool(&b, "IsPublic", req->view->policy && policy_is_public(req->view->policy, NULL));
    xml_close(&b, "PolicyStatus");
    reply_xml(req, 200, &b);
    request_end(req);
}

/* ---- PUT, DELETE ---- */

struct policy_op {
    struct request *req;
    struct body_text text;
    struct buf document;
    struct policy_principal *principals; /* each once */
    size_t principal_count, at;
    struct meta_rows rows;
    struct setting_store store;
};

static void policy_end(struct policy_op *p, enum s3_code code)
{
    struct request *req = p->req;
    if (code == S3_OK) {
        reply_begin(req, 204);
        reply_no_body(req);
    } else {
        reply_error(req, code);
    }
    buf_fini(&p->document);
    body_text_fini(&p->text);
    request_end(req);
}

static void policy_stored(struct setting_store *s, enum s3_code code)
{
    policy_end(container_of(s, struct policy_op, store), code);
}

static void policy_store(struct policy_op *p)
{
    p->store.cb = policy_stored;
    enum s3_code code = setting_store_start(&p->store, p->req, CAIRN__SETTING_KIND__SETTING_POLICY,
                                            SLICE_EMPTY, buf_view(&p->document));
    if (code != S3_OK)
        policy_end(p, code);
}

/* ---- is there everybody that it names? ---- */

static enum s3_code invalid_principal(struct request *req, const struct policy_principal *who)
{
    s3_fault_set(&req->fault, S3_MALFORMED_POLICY, "Invalid principal in policy");
    s3_fault_extra(&req->fault, "Detail", who->value);
    return S3_MALFORMED_POLICY;
}

/* Principals as they are met; whether there are such is asked later. */
static bool collect(void *arg, const struct policy_principal *who)
{
    struct policy_op *p = arg;
    for (size_t i = 0; i < p->principal_count; i++)
        if (p->principals[i].kind == who->kind && slice_eq(p->principals[i].value, who->value))
            return true;
    if (p->principal_count < PRINCIPALS_MAX)
        p->principals[p->principal_count] = *who;
    p->principal_count++;
    return true;
}

/* The row to be looked for; false: there can be none. */
static bool principal_row(struct policy_op *p, const struct policy_principal *who)
{
    struct request *req = p->req;
    struct slice part[POLICY_ARN_PARTS], name = who->value, account = SLICE_EMPTY;
    p->rows = (struct meta_rows){.scope = ""};
    switch (who->kind) {
    case POLICY_PRINCIPAL_ACCOUNT: p->rows.kind = CAIRN__ROW_KIND__ROW_ACCOUNT; break;
    case POLICY_PRINCIPAL_CANONICAL:
        p->rows.kind = CAIRN__ROW_KIND__ROW_ACCOUNT_NAME;
        p->rows.scope = ACCOUNT_CANONICAL_IDS;
        break;
    default: { /* user/PATH/NAME, role/PATH/NAME; of a session assumed-role/ROLE/NAME */
        if (!policy_arn_split(who->value, part))
            return false;
        account = part[4];
        struct slice path = part[5];
        const uint8_t *slash = path.len ? memchr(path.ptr, '/', path.len) : NULL;
        if (!slash)
            return false;
        struct slice type = SLICE(path.ptr, (size_t)(slash - path.ptr));
        name = SLICE(slash + 1, path.len - type.len - 1);
        bool session = slice_eq(type, SLICE_LIT("assumed-role"));
        bool user = slice_eq(type, SLICE_LIT("user"));
        if (!user && !session && !slice_eq(type, SLICE_LIT("role")))
            return false;
        const uint8_t *last =
            name.len ? session ? memchr(name.ptr, '/', name.len) : memrchr(name.ptr, '/', name.len)
                     : NULL;
        if (last)
            name = session ? SLICE(name.ptr, (size_t)(last - name.ptr))
                           : SLICE(last + 1, (size_t)(name.ptr + name.len - last - 1));
        p->rows.kind = user ? CAIRN__ROW_KIND__ROW_USER : CAIRN__ROW_KIND__ROW_ROLE;
        p->rows.scope = request_cstr(req, account);
    }
    }
    char *text = request_cstr(req, name);
    for (char *c = text; c && account.len && *c; c++)
        *c = (char)ascii_lower((uint8_t)*c);
    p->rows.name = text;
    return name.len > 0;
}

/* What lies in the row under that name must also have the path that the ARN has, and its case. */
static bool row_fits(const struct policy_principal *who, const Cairn__Row *row)
{
    const char *path = NULL, *name = NULL;
    Cairn__UserRow *user = NULL;
    Cairn__RoleRow *role = NULL;
    struct slice part[POLICY_ARN_PARTS];
    if (who->kind != POLICY_PRINCIPAL_IDENTITY)
        return true;
    if (row->kind == CAIRN__ROW_KIND__ROW_USER) {
        user = cairn__user_row__unpack(NULL, row->value.len, row->value.data);
        path = user ? user->path : NULL;
        name = user ? user->name : NULL;
    } else {
        role = cairn__role_row__unpack(NULL, row->value.len, row->value.data);
        path = role ? role->path : NULL;
        name = role ? role->name : NULL;
    }
    struct buf want = {0};
    if (path)
        buf_printf(&want, "%s%s%s", user ? "user" : "role", path[0] ? path : "/", name);
    bool fits = path && !want.failed && policy_arn_split(who->value, part) &&
                slice_eq(part[5], buf_view(&want));
    buf_fini(&want);
    cairn__user_row__free_unpacked(user, NULL);
    cairn__role_row__free_unpacked(role, NULL);
    return fits;
}

static void principals_next(struct policy_op *p);

static void principal_cb(struct meta_rows *rows)
{
    struct policy_op *p = container_of(rows, struct policy_op, rows);
    const struct policy_principal *who = &p->principals[p->at];
    enum s3_code code = S3_OK;
    if (rows->err != OK)
        code = s3_fault_set(&p->req->fault, s3_code_of_err(rows->err), NULL);
    else if (rows->row_count == 0 || !row_fits(who, rows->rows[0]))
        code = invalid_principal(p->req, who);
    meta_rows_fini(rows);
    if (code != S3_OK) {
        policy_end(p, code);
        return;
    }
    p->at++;
    principals_next(p);
}

/* The caller's own account is there. */
static bool is_own(const struct policy_op *p, const struct policy_principal *who)
{
    const struct policy_caller *c = &p->req->caller;
    return slice_eq(who->value, c->account) || slice_eq(who->value, c->canonical_id) ||
           slice_eq(who->value, c->arn);
}

static void principals_next(struct policy_op *p)
{
    struct request *req = p->req;
    while (p->at < p->principal_count && is_own(p, &p->principals[p->at]))
        p->at++;
    if (p->at == p->principal_count) {
        policy_store(p);
        return;
    }
    if (!principal_row(p, &p->principals[p->at])) {
        policy_end(p, invalid_principal(req, &p->principals[p->at]));
        return;
    }
    p->rows.deadline_ns = request_deadline(req);
    p->rows.cb = principal_cb;
    if (p->rows.name && p->rows.scope)
        meta_rows_start(req->gw->mc, &p->rows);
    else
        policy_end(p, s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL));
}

/* ---- the document ---- */

/* Valid JSON: blanks outside strings go. */
static void compact(struct buf *b, struct slice json)
{
    bool quoted = false;
    for (size_t i = 0; i < json.len; i++) {
        uint8_t c = json.ptr[i];
        if (!quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'))
            continue;
        buf_u8(b, c);
        if (c == '"')
            quoted = !quoted;
        if (quoted && c == '\\' && i + 1 < json.len)
            buf_u8(b, json.ptr[++i]);
    }
}

static enum s3_code policy_code(struct request *req, enum policy_error err, const char *reason)
{
    if (err == POLICY_NO_MEMORY)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    return s3_fault_set(&req->fault,
                        err == POLICY_TOO_LARGE ? S3_POLICY_TOO_LARGE : S3_MALFORMED_POLICY,
                        request_cstr(req, slice_cstr(reason)));
}

static enum s3_code policy_check(struct policy_op *p, struct slice document)
{
    struct request *req = p->req;
    const struct policy *policy;
    char reason[POLICY_REASON_BYTES_MAX] = "";
    p->principals = request_alloc(req, PRINCIPALS_MAX * sizeof(*p->principals));
    if (!p->principals)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    if (document.len == 0)
        return s3_fault_set(&req->fault, S3_MISSING_REQUEST_BODY, NULL);
    const struct policy_parse_options o = {
        .kind = POLICY_BUCKET,
        .bucket = req->s3.bucket,
        .principal_exists = collect,
        .arg = p,
    };
    enum policy_error err = policy_parse(req->arena, &o, document, &policy, reason);
    if (err != POLICY_OK)
        return policy_code(req, err, reason);
    if (p->principal_count > PRINCIPALS_MAX)
        return policy_code(req, POLICY_MALFORMED, "Too many principals in policy");
    if (req->view->block_public_policy && policy_is_public(policy, NULL))
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED,
                            "Public policies are blocked by the BlockPublicPolicy block public "
                            "access setting");
    bool confirmed =
        slice_eq_nocase(http_fields_get(req->s3.fields, "x-amz-confirm-remove-self-bucket-access"),
                        SLICE_LIT("true"));
    if (!confirmed && !authorize_keeps_policy(req, policy))
        return s3_fault_set(&req->fault, S3_ACCESS_DENIED,
                            "The policy would not let the requester change it any more; "
                            "x-amz-confirm-remove-self-bucket-access confirms that");
    compact(&p->document, document);
    return p->document.failed ? s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL) : S3_OK;
}

static void policy_text_done(struct body_text *t)
{
    struct policy_op *p = container_of(t, struct policy_op, text);
    enum s3_code code = t->body.code;
    if (code == S3_OK)
        code = policy_check(p, buf_view(&t->text));
    if (code == S3_OK)
        principals_next(p);
    else
        policy_end(p, code);
}

void put_policy_start(struct request *req)
{
    struct policy_op *p = request_alloc(req, sizeof(*p));
    if (!p) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    p->req = req;
    if (req->s3.op == S3_OP_DELETE_BUCKET_POLICY) {
        policy_store(p); /* of none: nothing changes */
        return;
    }
    p->text.done = policy_text_done;
    enum s3_code code = body_text_start(&p->text, req, S3_CONFIG_BODY_BYTES_MAX);
    if (code != S3_OK)
        policy_end(p, code);
}
