/* From a token to a session. */
#include "gateway/op/session.h"

#include "common/base/check.h"
#include "gateway/iam/aws_managed.h"
#include "gateway/iam/names.h"

#include <stdio.h>

/* ---- the token ---- */

/* None of them would be no bound at all: so one that cannot be read ends the session. */
static enum s3_code read_policies(struct session *s)
{
    const Cairn__SessionToken *t = s->token;
    size_t count = t->n_policies + t->n_aws_managed;
    const struct policy **policies =
        count ? request_alloc(s->req, count * sizeof(*policies)) : NULL;
    /* The largest: managed policies may be among them. */
    const struct policy_parse_options options = {.kind = POLICY_INLINE};
    char reason[POLICY_REASON_BYTES_MAX];
    if (count && !policies)
        return S3_INTERNAL_ERROR;
    for (size_t i = 0; i < count; i++) {
        struct slice text = slice_cstr(i < t->n_policies ? t->policies[i] : "");
        const struct iam_aws_policy *aws =
            i < t->n_policies ? NULL
                              : iam_aws_policy_find(slice_cstr(t->aws_managed[i - t->n_policies]));
        if (aws)
            text = slice_cstr(aws->document);
        enum policy_error err = policy_parse(s->req->arena, &options, text, &policies[i], reason);
        if (err != POLICY_OK)
            return err == POLICY_NO_MEMORY ? S3_INTERNAL_ERROR : S3_INVALID_TOKEN;
    }
    s->view.policies = policies;
    s->view.policy_count = count;
    return S3_OK;
}

static enum s3_code token_open(struct session *s)
{
    struct request *req = s->req;
    int err = iam_token_open(req->arena, s->key, s->text, &s->token);
    if (err != OK)
        return err == ERR_NOMEM ? S3_INTERNAL_ERROR : S3_INVALID_TOKEN;
    if (!slice_eq(slice_cstr(s->token->access_key_id), req->auth.access_key))
        return S3_INVALID_TOKEN;
    if (s->token->expires_ms <= request_now_ms(req))
        return S3_EXPIRED_TOKEN;
    s->view.issued_ms = s->token->issued_ms;
    return read_policies(s);
}

static void session_end(struct session *s, enum s3_code code)
{
    if (code != S3_OK)
        s3_fault_set(&s->req->fault, code, NULL);
    s->cb(s, code);
}

/* ---- the key that seals them ---- */

static void key_cb(struct meta_rows *rows)
{
    struct session *s = container_of(rows, struct session, rows);
    int err = rows->err;
    key_gate_done(s->req->gw, true, err != OK || rows->row_count);
    enum s3_code code = err == OK ? S3_INVALID_TOKEN : s3_code_of_err(err);
    if (err == OK && rows->row_count) {
        Cairn__SecretRow *row =
            cairn__secret_row__unpack(NULL, rows->rows[0]->value.len, rows->rows[0]->value.data);
        if (!row)
            code = S3_INTERNAL_ERROR;
        else if (iam_token_key_of(row, s->key))
            s->req->gw->token_key_known = true;
        if (row)
            crypto_wipe(row->key.data, row->key.len);
        if (row)
            cairn__secret_row__free_unpacked(row, NULL);
        if (s->req->gw->token_key_known)
            code = token_open(s);
    }
    meta_rows_fini(rows);
    session_end(s, code);
}

void session_open(struct session *s, struct request *req,
                  void (*cb)(struct session *s, enum s3_code code))
{
    struct gateway *gw = req->gw;
    uint8_t id[IAM_TOKEN_KEY_ID_BYTES];
    s->req = req;
    s->cb = cb;
    s->text = req->auth.token;
    s->key = &gw->token_key;
    if (!iam_token_key_id(s->text, id)) {
        session_end(s, S3_INVALID_TOKEN);
        return;
    }
    /* There is one key, for good: a loop reads it once. */
    if (gw->token_key_known) {
        session_end(s, token_open(s));
        return;
    }
    /* As long as nobody was given a session there is no key, and any token makes it be looked for. */
    if (!key_gate_take(gw)) {
        session_end(s, S3_SLOW_DOWN);
        return;
    }
    s->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_SECRET,
        .scope = "",
        .name = "sts",
        .rows_max = 1,
        .deadline_ns = request_deadline(req),
        .cb = key_cb,
    };
    meta_rows_start(gw->mc, &s->rows);
}

/* ---- who it is ---- */

/* An ARN finds a principal, too, and anybody can write one where an access key id belongs. */
enum s3_code session_principal_ask(const struct session *s, struct request *req)
{
    req->key_taken = false;
    if (s || req->auth.anonymous)
        return S3_OK;
    if (slice_has_prefix(req->auth.access_key, SLICE_LIT("arn:")))
        return sigv4_unknown_key(&req->auth, &req->fault);
    return key_gate_enter(req->gw, req->auth.access_key, &req->key_taken)
               ? S3_OK
               : s3_fault_set(&req->fault, S3_SLOW_DOWN, NULL);
}

void session_principal_read(struct request *req, const struct meta_read *read)
{
    const struct cache_entry *e = read->err == OK ? read->principal_entry : NULL;
    key_gate_done(req->gw, req->key_taken, read->err != OK || (e && e->record->present));
    req->key_taken = false;
}

struct slice session_principal_name(const struct session *s, const struct sigv4_auth *auth)
{
    return s ? slice_cstr(s->token->arn) : auth->access_key;
}

static bool view_complete(struct session *s, const Cairn__PrincipalRecord *p)
{
    struct buf b = {0};
    if (p->type != CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROLE)
        return true;
    s->view.name = slice_cstr(s->token->session_name);
    buf_printf(&b, "%s/%s", p->name, s->token->session_name);
    buf_u8(&b, 0);
    const char *arn = b.failed ? NULL
                               : iam_arn_make(s->req->arena, IAM_ARN_ASSUMED_ROLE, p->account_id,
                                              "", (const char *)b.ptr);
    buf_clear(&b);
    buf_printf(&b, "%s:%s", p->unique_id, s->token->session_name);
    s->view.user_id = b.failed ? SLICE_EMPTY : arena_copy(s->req->arena, buf_view(&b));
    buf_fini(&b);
    if (arn)
        s->view.arn = slice_cstr(arn);
    return arn && s->view.user_id.ptr;
}

bool session_has_ended(const struct session *s)
{
    return s && s->token->expires_ms <= request_now_ms(s->req);
}

const Cairn__PrincipalRecord *session_principal(struct session *s, const struct sigv4_auth *auth,
                                                const struct cache_entry *entry)
{
    const Cairn__PrincipalRecord *p =
        entry && entry->record->present ? entry->record->principal : NULL;
    if (!s)
        return request_principal_of(auth, entry);
    /* Whoever asks again later asks whether it has ended, too. */
    bool same = p && !session_has_ended(s) && p->type == s->token->type &&
                (p->type == CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROOT ||
                 strcmp(p->unique_id, s->token->unique_id) == 0);
    return same && view_complete(s, p) ? p : NULL;
}

struct slice session_secret(const struct session *s, const Cairn__PrincipalRecord *p)
{
    return slice_cstr(s ? s->token->secret : p->secret);
}
