/* STS: who am I, and temporary credentials. */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/crypto/digest.h"
#include "gateway/iam/token.h"
#include "gateway/s3/xml.h"

#include <stdio.h>

#define SECONDS_MIN 900
#define ROOT_SECONDS_MAX 3600
#define CHAINED_SECONDS_MAX 3600
#define TOKEN_SECONDS_MAX 129600
#define TOKEN_SECONDS 43200
#define ROLE_SECONDS 3600
#define SESSION_POLICY_ARNS_MAX 10

/* ---- who am I ---- */

enum iam_code sts_get_caller_identity(struct iam_call *c)
{
    struct buf *b = IAM_ANSWER(c);
    xml_slice(b, "UserId", c->caller->who.user_id);
    xml_cstr(b, "Account", c->account);
    xml_slice(b, "Arn", c->caller->who.arn);
    return IAM_OK;
}

enum iam_code sts_get_access_key_info(struct iam_call *c)
{
    struct iam_row *row;
    Cairn__AccessKeyRow *key;
    struct slice id = iam_query_value(c->query, "AccessKeyId");
    const char *text = iam_cstr(c->t, id);
    if (!id.ptr)
        return iam_param_missing(c, "AccessKeyId");
    if (!iam_word_valid(id, 16, 128))
        return iam_param_bad(c, "AccessKeyId");
    if (!text)
        return iam_no_memory(c->t);
    IAM_TRY(iam_get_key(c->t, "", text, &row, &key));
    if (!key)
        return iam_fail(c->t, IAM_VALIDATION_ERROR, "There is no such access key.");
    xml_cstr(IAM_ANSWER(c), "Account", key->account_id);
    return IAM_OK;
}

/* ---- credentials ---- */

/* The cluster's key: made by whoever needs it first, by the same change of rows as all else. */
static enum iam_code sealing_key(struct iam_call *c, struct iam_token_key *ret)
{
    struct iam_txn *t = c->t;
    struct iam_row *row;
    Cairn__SecretRow *secret;
    IAM_TRY(iam_row(t, CAIRN__ROW_KIND__ROW_SECRET, "", "sts", &row));
    IAM_TRY(iam_message(t, row, &cairn__secret_row__descriptor, &secret));
    if (!secret) {
        secret = iam_alloc(t, sizeof(*secret));
        uint8_t *bytes = iam_alloc(t, IAM_TOKEN_KEY_ID_BYTES + IAM_TOKEN_KEY_BYTES);
        if (!secret || !bytes)
            return iam_no_memory(t);
        cairn__secret_row__init(secret);
        iam_random(t, bytes, IAM_TOKEN_KEY_ID_BYTES + IAM_TOKEN_KEY_BYTES);
        secret->id = (ProtobufCBinaryData){IAM_TOKEN_KEY_ID_BYTES, bytes};
        secret->key = (ProtobufCBinaryData){IAM_TOKEN_KEY_BYTES, bytes + IAM_TOKEN_KEY_ID_BYTES};
        secret->created_ms = t->now_ms;
        iam_insert(row, secret);
    }
    return iam_token_key_of(secret, ret)
               ? IAM_OK
               : iam_fail(t, IAM_SERVICE_FAILURE, "What seals sessions cannot be read.");
}

static enum iam_code credentials(struct iam_call *c, Cairn__SessionToken *s, uint64_t seconds)
{
    struct iam_txn *t = c->t;
    struct buf *b = IAM_ANSWER(c);
    struct iam_token_key key;
    uint8_t random[30], nonce[IAM_TOKEN_NONCE_BYTES];
    char secret[IAM_SECRET_CHARS];
    const char *token = NULL;
    IAM_TRY(sealing_key(c, &key));
    iam_random(t, random, sizeof(random));
    iam_secret_make(random, secret);
    iam_random(t, nonce, sizeof(nonce));
    s->access_key_id = iam_new_id(c, "ASIA", IAM_KEY_ID_CHARS);
    s->secret = iam_cstr(t, SLICE(secret, sizeof(secret)));
    crypto_wipe(random, sizeof(random));
    crypto_wipe(secret, sizeof(secret));
    s->issued_ms = t->now_ms;
    s->expires_ms = t->now_ms / 1000 * 1000 + seconds * 1000;
    if (!s->access_key_id || !s->secret)
        return iam_no_memory(t);
    int err = iam_token_seal(&t->arena, &key, nonce, s, &token);
    crypto_wipe(&key, sizeof(key));
    if (err == ERR_TOO_LARGE)
        return iam_fail(t, IAM_PACKED_POLICY_TOO_LARGE,
                        "The session policies take more than a session token may hold.");
    if (err != OK)
        return iam_no_memory(t);
    xml_open(b, "Credentials");
    xml_cstr(b, "AccessKeyId", s->access_key_id);
    xml_cstr(b, "SecretAccessKey", s->secret);
    xml_cstr(b, "SessionToken", token);
    iam_xml_time(c, "Expiration", s->expires_ms);
    xml_close(b, "Credentials");
    return IAM_OK;
}

enum iam_code sts_get_session_token(struct iam_call *c)
{
    Cairn__SessionToken s = CAIRN__SESSION_TOKEN__INIT;
    bool root = c->caller->who.type == POLICY_ROOT;
    uint64_t seconds;
    if (c->caller->temporary)
        return iam_fail(c->t, IAM_ACCESS_DENIED,
                        "Cannot call GetSessionToken with session credentials");
    if (iam_query_value(c->query, "SerialNumber").ptr || iam_query_value(c->query, "TokenCode").ptr)
        return iam_fail(c->t, IAM_ACCESS_DENIED, "There are no MFA devices here.");
    IAM_TRY(iam_param_number(c, "DurationSeconds", SECONDS_MIN, TOKEN_SECONDS_MAX,
                             root ? ROOT_SECONDS_MAX : TOKEN_SECONDS, &seconds));
    if (root)
        seconds = MIN(seconds, (uint64_t)ROOT_SECONDS_MAX);
    s.type = root ? CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROOT : CAIRN__PRINCIPAL_TYPE__PRINCIPAL_USER;
    s.arn = iam_cstr(c->t, c->caller->who.arn);
    s.unique_id = iam_cstr(c->t, root ? SLICE_LIT("") : c->caller->who.unique_id);
    if (!s.arn || !s.unique_id)
        return iam_no_memory(c->t);
    return credentials(c, &s, seconds);
}

/* ---- AssumeRole ---- */

struct assume {
    struct iam_call *c;
    char *account; /* of the role */
    Cairn__RoleRow *role;
    char *arn;
    struct slice session_name;
    uint64_t seconds;
    Cairn__SessionToken session;
    size_t policy_bytes;
};

/* Who may not assume a role does not learn whether it is there. */
static enum iam_code assume_denied(struct assume *a, struct slice arn)
{
    return iam_fail(a->c->t, IAM_ACCESS_DENIED,
                    "User: %.*s is not authorized to perform: sts:AssumeRole on resource: %.*s",
                    (int)MIN(a->c->caller->who.arn.len, 200u),
                    (const char *)a->c->caller->who.arn.ptr, (int)MIN(arn.len, 300u),
                    (const char *)arn.ptr);
}

static enum iam_code assume_role_read(struct assume *a)
{
    struct iam_call *c = a->c;
    struct slice text = iam_query_value(c->query, "RoleArn");
    struct iam_arn arn;
    struct iam_row *row;
    if (!text.ptr)
        return iam_param_missing(c, "RoleArn");
    if (!iam_arn_parse(text, &arn) || arn.type != IAM_ARN_ROLE)
        return iam_fail(c->t, IAM_VALIDATION_ERROR, "%.*s is invalid", (int)MIN(text.len, 300u),
                        (const char *)text.ptr);
    a->account = iam_cstr(c->t, arn.account);
    char *name = iam_lower(&c->t->arena, arn.name);
    a->arn = iam_cstr(c->t, text);
    if (!a->account || !name || !a->arn)
        return iam_no_memory(c->t);
    IAM_TRY(iam_get_role(c->t, a->account, name, &row, &a->role));
    if (!a->role || !slice_eq(arn.path, slice_cstr(a->role->path)) ||
        !slice_eq(arn.name, slice_cstr(a->role->name)))
        return assume_denied(a, text);
    return IAM_OK;
}

static enum iam_code assume_allowed(struct assume *a)
{
    struct iam_call *c = a->c;
    struct arena arena;
    const struct policy_parse_options options = {.kind = POLICY_TRUST};
    const struct policy *trust = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    arena_init(&arena, 1u << 20);
    enum policy_error err =
        policy_parse(&arena, &options, slice_cstr(a->role->trust), &trust, reason);
    bool allowed = false;
    c->denied = POLICY_UNREADABLE;
    if (err == POLICY_OK) {
        struct policy_decision d = iam_authorize(&c->context, SLICE_LIT("sts:AssumeRole"),
                                                 slice_cstr(a->arn), slice_cstr(a->account), trust);
        allowed = policy_allowed(&d);
        c->denied = d.reason;
    }
    arena_fini(&arena);
    if (err == POLICY_NO_MEMORY)
        return iam_no_memory(c->t);
    return allowed ? IAM_OK : assume_denied(a, slice_cstr(a->arn));
}

static enum iam_code add_policy(struct assume *a, char ***items, size_t *count, const char *text)
{
    a->policy_bytes += strlen(text);
    return iam_strings_insert(a->c->t, items, count, *count, text);
}

static enum iam_code assume_no_policy(struct assume *a)
{
    return iam_fail(a->c->t, IAM_MALFORMED_POLICY_DOCUMENT,
                    "There is no policy of an ARN among PolicyArns.");
}

static enum iam_code add_default_version(struct assume *a, const Cairn__PolicyRow *p)
{
    Cairn__SessionToken *s = &a->session;
    for (size_t v = 0; v < p->n_versions; v++)
        if (strcmp(p->versions[v]->id, p->default_version) == 0)
            return add_policy(a, &s->policies, &s->n_policies, p->versions[v]->document);
    return assume_no_policy(a); /* without it the session would not be bounded */
}

/* All of them are in the list's order: one behind a gap would bound nothing. */
static enum iam_code assume_arns_counted(struct assume *a, size_t count)
{
    const struct iam_query *q = a->c->query;
    size_t given = 0;
    for (size_t i = 0; i < q->count; i++)
        given += slice_has_prefix(q->params[i].name, SLICE_LIT("PolicyArns"));
    return given == count ? IAM_OK
                          : iam_fail(a->c->t, IAM_VALIDATION_ERROR,
                                     "PolicyArns is no list of ARNs without gaps.");
}

/* Managed policies of the role's account are taken as they are now: what a session may can only be
 * less than what its role may, and that is asked with every request. */
static enum iam_code assume_policies(struct assume *a)
{
    struct iam_call *c = a->c;
    Cairn__SessionToken *s = &a->session;
    struct slice text = iam_query_value(c->query, "Policy");
    char *document, *own = c->account;
    if (text.ptr) {
        IAM_TRY(iam_document(c, POLICY_SESSION, text, &document));
        IAM_TRY(add_policy(a, &s->policies, &s->n_policies, document));
    }
    for (size_t i = 1;; i++) {
        struct iam_policy p;
        struct slice arn = iam_query_member(c->query, "PolicyArns", i, "arn");
        if (!arn.ptr)
            return assume_arns_counted(a, i - 1);
        if (i > SESSION_POLICY_ARNS_MAX)
            return iam_fail(c->t, IAM_VALIDATION_ERROR, "There are more than %d PolicyArns.",
                            SESSION_POLICY_ARNS_MAX);
        c->account = a->account;
        enum iam_code code = iam_policy_get(c, arn, &p);
        c->account = own;
        if (code != IAM_OK)
            return code == IAM_NO_SUCH_ENTITY ? assume_no_policy(a) : code;
        if (p.aws) {
            IAM_TRY(add_policy(a, &s->aws_managed, &s->n_aws_managed, p.aws->arn));
            continue;
        }
        IAM_TRY(add_default_version(a, p.own));
    }
}

static enum iam_code assume_params(struct assume *a)
{
    static const char *const refused[] = {
        "Tags.member.1.Key", "TransitiveTagKeys.member.1",           "SerialNumber", "TokenCode",
        "SourceIdentity",    "ProvidedContexts.member.1.ProviderArn"};
    struct iam_call *c = a->c;
    bool chained = c->caller->who.type == POLICY_ROLE_SESSION;
    struct slice external = iam_query_value(c->query, "ExternalId");
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++)
        if (iam_query_value(c->query, refused[i]).ptr)
            return iam_fail(c->t, IAM_VALIDATION_ERROR, "%s is not offered here.", refused[i]);
    if (c->caller->who.type == POLICY_ROOT)
        return iam_fail(c->t, IAM_ACCESS_DENIED, "Roles may not be assumed by root accounts.");
    IAM_TRY(iam_param_name(c, "RoleSessionName", 64, &a->session_name));
    if (a->session_name.len < 2)
        return iam_param_bad(c, "RoleSessionName");
    if (external.ptr && (external.len < 2 || external.len > 1224))
        return iam_param_bad(c, "ExternalId");
    IAM_TRY(iam_param_number(c, "DurationSeconds", SECONDS_MIN, 43200, ROLE_SECONDS, &a->seconds));
    if (chained && a->seconds > CHAINED_SECONDS_MAX)
        return iam_fail(c->t, IAM_VALIDATION_ERROR,
                        "The requested DurationSeconds exceeds the 1 hour session limit for roles "
                        "assumed by role chaining.");
    return IAM_OK;
}

static enum iam_code assume_answer(struct assume *a)
{
    struct iam_call *c = a->c;
    struct buf *b = IAM_ANSWER(c);
    Cairn__SessionToken *s = &a->session;
    s->type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROLE;
    s->arn = a->arn;
    s->unique_id = a->role->unique_id;
    s->session_name = iam_cstr(c->t, a->session_name);
    if (!s->session_name)
        return iam_no_memory(c->t);
    char *name = iam_printf(c->t, "%s/%s", a->role->name, s->session_name);
    char *arn =
        name ? iam_arn_make(&c->t->arena, IAM_ARN_ASSUMED_ROLE, a->account, "", name) : NULL;
    char *id = iam_printf(c->t, "%s:%s", a->role->unique_id, s->session_name);
    if (!arn || !id)
        return iam_no_memory(c->t);
    IAM_TRY(credentials(c, s, a->seconds));
    xml_open(b, "AssumedRoleUser");
    xml_cstr(b, "AssumedRoleId", id);
    xml_cstr(b, "Arn", arn);
    xml_close(b, "AssumedRoleUser");
    if (a->policy_bytes)
        xml_u64(b, "PackedPolicySize",
                MIN(MAX(a->policy_bytes * 100 / IAM_TOKEN_PLAIN_MAX, 1u), 100u));
    return IAM_OK;
}

enum iam_code sts_assume_role(struct iam_call *c)
{
    struct assume a = {.c = c, .session = CAIRN__SESSION_TOKEN__INIT};
    IAM_TRY(assume_params(&a));
    IAM_TRY(assume_role_read(&a));
    IAM_TRY(assume_allowed(&a));
    if (a.seconds > a.role->session_seconds_max)
        return iam_fail(c->t, IAM_VALIDATION_ERROR,
                        "The requested DurationSeconds exceeds the MaxSessionDuration set for this "
                        "role.");
    IAM_TRY(assume_policies(&a));
    return assume_answer(&a);
}
