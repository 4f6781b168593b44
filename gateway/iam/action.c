/* From a query to its action: parameters, the target, authorization, the document around it. */
#include "gateway/iam/action.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/time.h"
#include "gateway/s3/xml.h"

#include <stdio.h>
#include <stdlib.h>

static const struct iam_action actions[] = {
#define X(service, name, target, result, function)                                                 \
    {IAM_SERVICE_##service, #name, IAM_OF_##target, result, function},
    IAM_ACTION_TABLE(X)
#undef X
};

const struct iam_action *iam_action_at(size_t i)
{
    return i < ARRAY_COUNT(actions) ? &actions[i] : NULL;
}

const struct iam_action *iam_action_find(enum iam_service service, struct slice name)
{
    for (size_t i = 0; i < ARRAY_COUNT(actions); i++)
        if (actions[i].service == service && slice_eq(name, slice_cstr(actions[i].name)))
            return &actions[i];
    return NULL;
}

/* ---- parameters ---- */

enum iam_code iam_param_bad(struct iam_call *c, const char *name)
{
    return iam_fail(c->t, IAM_VALIDATION_ERROR,
                    "The value of %s is too short, too long, or not of its form.", name);
}

enum iam_code iam_param_missing(struct iam_call *c, const char *name)
{
    return iam_fail(c->t, IAM_VALIDATION_ERROR, "The parameter %s is missing.", name);
}

enum iam_code iam_param(struct iam_call *c, const char *name, bool required,
                        bool (*valid)(struct slice s), struct slice *ret)
{
    *ret = iam_query_value(c->query, name);
    if (!ret->ptr)
        return required ? iam_param_missing(c, name) : IAM_OK;
    return valid(*ret) ? IAM_OK : iam_param_bad(c, name);
}

enum iam_code iam_param_name(struct iam_call *c, const char *name, size_t max, struct slice *ret)
{
    *ret = iam_query_value(c->query, name);
    if (!ret->ptr)
        return iam_param_missing(c, name);
    return iam_name_valid(*ret, max) ? IAM_OK : iam_param_bad(c, name);
}

enum iam_code iam_param_number(struct iam_call *c, const char *name, uint64_t min, uint64_t max,
                               uint64_t missing, uint64_t *ret)
{
    struct slice s = iam_query_value(c->query, name);
    *ret = missing;
    if (!s.ptr)
        return IAM_OK;
    if (!parse_u64(s, ret) || *ret < min || *ret > max)
        return iam_fail(c->t, IAM_VALIDATION_ERROR, "The value of %s is not between %llu and %llu.",
                        name, (unsigned long long)min, (unsigned long long)max);
    return IAM_OK;
}

enum iam_code iam_param_bool(struct iam_call *c, const char *name, bool missing, bool *ret)
{
    struct slice s = iam_query_value(c->query, name);
    *ret = s.ptr ? slice_eq(s, SLICE_LIT("true")) : missing;
    if (s.ptr && !*ret && !slice_eq(s, SLICE_LIT("false")))
        return iam_param_bad(c, name);
    return IAM_OK;
}

char *iam_new_id(struct iam_call *c, const char prefix[4], size_t chars)
{
    uint8_t random[32];
    char *id = iam_alloc(c->t, chars + 1);
    if (id) {
        iam_random(c->t, random, sizeof(random));
        iam_id_make(prefix, random, chars, id);
    }
    return id;
}

/* ---- documents ---- */

size_t iam_characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((uint8_t)*s & 0xc0) != 0x80;
    return n;
}

/* A valid document has quotes only around strings, so outside of them blanks mean nothing. */
static char *compact(struct iam_call *c, struct slice text)
{
    char *out = iam_alloc(c->t, text.len + 1);
    size_t n = 0;
    bool in_string = false;
    for (size_t i = 0; out && i < text.len; i++) {
        char ch = (char)text.ptr[i];
        if (!in_string && (ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r'))
            continue;
        out[n++] = ch;
        if (ch == '"')
            in_string = !in_string;
        else if (ch == '\\' && in_string && i + 1 < text.len)
            out[n++] = (char)text.ptr[++i];
    }
    return out;
}

struct known {
    struct iam_call *c;
    enum iam_code code; /* what looking it up came to, besides yes and no */
};

/* Whom a trust policy names must be there: the account, the user or the role. */
static bool principal_exists(void *arg, const struct policy_principal *p)
{
    struct known *k = arg;
    struct iam_txn *t = k->c->t;
    struct iam_arn arn = {.type = IAM_ARN_ROOT, .account = p->value};
    struct iam_row *row;
    if (p->kind == POLICY_PRINCIPAL_SESSION)
        return iam_arn_parse(p->value, &arn); /* sessions are written nowhere */
    if (p->kind == POLICY_PRINCIPAL_CANONICAL ||
        (p->kind == POLICY_PRINCIPAL_IDENTITY && !iam_arn_parse(p->value, &arn)))
        return false;
    const char *account = iam_cstr(t, arn.account);
    char *name = iam_lower(&t->arena, arn.name);
    uint32_t kind = arn.type == IAM_ARN_USER   ? CAIRN__ROW_KIND__ROW_USER
                    : arn.type == IAM_ARN_ROLE ? CAIRN__ROW_KIND__ROW_ROLE
                                               : CAIRN__ROW_KIND__ROW_ACCOUNT;
    if (!account || !name || (kind == CAIRN__ROW_KIND__ROW_ACCOUNT && arn.type != IAM_ARN_ROOT))
        return false;
    enum iam_code code = kind == CAIRN__ROW_KIND__ROW_ACCOUNT
                             ? iam_row(t, kind, "", account, &row)
                             : iam_row(t, kind, account, name, &row);
    if (code != IAM_OK) {
        k->code = code;
        return code == IAM_WAIT;
    }
    return row->present;
}

enum iam_code iam_document(struct iam_call *c, enum policy_kind kind, struct slice text, char **ret)
{
    struct arena arena;
    struct known known = {.c = c};
    const struct policy_parse_options options = {
        .kind = kind,
        .principal_exists = kind == POLICY_TRUST ? principal_exists : NULL,
        .arg = &known,
    };
    const struct policy *parsed;
    char reason[POLICY_REASON_BYTES_MAX];
    arena_init(&arena, 4u << 20);
    enum policy_error err = policy_parse(&arena, &options, text, &parsed, reason);
    arena_fini(&arena);
    if (known.code != IAM_OK)
        return known.code;
    if (err == POLICY_NO_MEMORY)
        return iam_no_memory(c->t);
    if (err == POLICY_TOO_LARGE && kind != POLICY_SESSION)
        return iam_fail(c->t, IAM_LIMIT_EXCEEDED, "%s", reason);
    if (err != POLICY_OK)
        return iam_fail(c->t, IAM_MALFORMED_POLICY_DOCUMENT, "%s", reason);
    *ret = compact(c, text);
    return *ret ? IAM_OK : iam_no_memory(c->t);
}

/* ---- pages ---- */

/* The longest that a page begins behind: an ARN, whose path has up to 512 characters. */
#define MARKER_BYTES_MAX 1024

enum iam_code iam_page_init(struct iam_call *c, struct iam_page *p)
{
    uint64_t max;
    struct slice marker = iam_query_value(c->query, "Marker");
    p->after = iam_cstr(c->t, SLICE_LIT(""));
    IAM_TRY(iam_param_number(c, "MaxItems", 1, 1000, 100, &max));
    p->max = (uint32_t)max;
    if (!p->after)
        return iam_no_memory(c->t);
    if (!marker.ptr)
        return IAM_OK;
    uint8_t text[MARKER_BYTES_MAX];
    ssize_t n = base64url_decode(marker, text, sizeof(text));
    if (n <= 0 || memchr(text, 0, (size_t)n) || !utf8_valid(SLICE(text, (size_t)n)))
        return iam_fail(c->t, IAM_VALIDATION_ERROR, "The Marker is none that was given out.");
    p->after = iam_cstr(c->t, SLICE(text, (size_t)n));
    return p->after ? IAM_OK : iam_no_memory(c->t);
}

void iam_page_end(struct iam_call *c, const char *next)
{
    struct buf *b = IAM_ANSWER(c);
    char text[BASE64_CHARS(MARKER_BYTES_MAX)];
    xml_bool(b, "IsTruncated", next != NULL);
    if (!next)
        return;
    CHECK(strlen(next) <= MARKER_BYTES_MAX);
    size_t n = base64url_encode(slice_cstr(next), text);
    xml_slice(b, "Marker", SLICE(text, n));
}

/* ---- texts of answers ---- */

void iam_xml_time(struct iam_call *c, const char *element, uint64_t ms)
{
    char text[ISO8601_MS_CHARS + 1];
    iso8601_format(ms / 1000 * 1000, text);
    memcpy(text + 19, "Z", 2);
    xml_cstr(IAM_ANSWER(c), element, text);
}

void iam_xml_document(struct iam_call *c, const char *element, const char *document)
{
    struct buf *b = IAM_ANSWER(c);
    xml_open(b, element);
    s3_percent_encode(b, slice_cstr(document), false);
    xml_close(b, element);
}

/* ---- the target ---- */

static const struct {
    const char *param;
    size_t max;
    enum iam_arn_type arn;
} kinds[] = {
    [IAM_USER] = {"UserName", IAM_USER_NAME_MAX, IAM_ARN_USER},
    [IAM_GROUP] = {"GroupName", IAM_GROUP_NAME_MAX, IAM_ARN_GROUP},
    [IAM_ROLE] = {"RoleName", IAM_ROLE_NAME_MAX, IAM_ARN_ROLE},
};

/* What is not there is asked about by the ARN that it would have without a path, so that who may
 * not ask does not learn that it is not there. */
static enum iam_code resolve_entity(struct iam_call *c, enum iam_entity_kind kind,
                                    struct slice name, const char **resource)
{
    enum iam_code code = iam_entity_get(c, kind, name, &c->entity);
    *resource = c->entity.arn;
    if (code == IAM_NO_SUCH_ENTITY) {
        const char *text = iam_cstr(c->t, name);
        *resource =
            text ? iam_arn_make(&c->t->arena, kinds[kind].arn, c->account, "/", text) : NULL;
        return *resource ? IAM_OK : iam_no_memory(c->t);
    }
    return code;
}

static enum iam_code resolve_new(struct iam_call *c, enum iam_arn_type type, const char *param,
                                 size_t max, const char **resource)
{
    struct slice name, path;
    IAM_TRY(iam_param_name(c, param, max, &name));
    IAM_TRY(iam_param(c, "Path", false,
                      type == IAM_ARN_POLICY ? iam_policy_path_valid : iam_path_valid, &path));
    const char *n = iam_cstr(c->t, name), *p = iam_cstr(c->t, path.len ? path : SLICE_LIT("/"));
    *resource = n && p ? iam_arn_make(&c->t->arena, type, c->account, p, n) : NULL;
    return *resource ? IAM_OK : iam_no_memory(c->t);
}

static enum iam_code resolve_policy(struct iam_call *c, const char **resource)
{
    struct slice arn = iam_query_value(c->query, "PolicyArn");
    if (!arn.ptr)
        return iam_param_missing(c, "PolicyArn");
    if (arn.len < 20 || arn.len > IAM_ARN_BYTES_MAX)
        return iam_param_bad(c, "PolicyArn");
    *resource = iam_cstr(c->t, arn);
    enum iam_code code = iam_policy_get(c, arn, &c->policy);
    return !*resource ? iam_no_memory(c->t) : code == IAM_NO_SUCH_ENTITY ? IAM_OK : code;
}

/* Without a name it is the caller; the account's root user is no entity. */
static enum iam_code resolve_self(struct iam_call *c, const char **resource)
{
    struct slice name = iam_query_value(c->query, "UserName");
    if (name.ptr && !iam_name_valid(name, 128))
        return iam_param_bad(c, "UserName");
    if (name.ptr)
        return resolve_entity(c, IAM_USER, name, resource);
    *resource = iam_cstr(c->t, c->caller->who.arn);
    if (!*resource)
        return iam_no_memory(c->t);
    if (c->caller->who.type == POLICY_USER)
        return resolve_entity(c, IAM_USER, c->caller->who.user_name, resource);
    if (c->caller->who.type == POLICY_ROLE_SESSION)
        return iam_fail(c->t, IAM_VALIDATION_ERROR,
                        "Must specify userName when calling with non-User credentials");
    return IAM_OK;
}

static enum iam_code resolve(struct iam_call *c, const char **resource)
{
    struct slice name;
    switch (c->action->target) {
    case IAM_OF_USER:
    case IAM_OF_GROUP:
    case IAM_OF_ROLE: {
        enum iam_entity_kind kind =
            (enum iam_entity_kind)(c->action->target == IAM_OF_USER    ? IAM_USER
                                   : c->action->target == IAM_OF_GROUP ? IAM_GROUP
                                                                       : IAM_ROLE);
        IAM_TRY(iam_param_name(c, kinds[kind].param, 128, &name));
        return resolve_entity(c, kind, name, resource);
    }
    case IAM_OF_SELF: return resolve_self(c, resource);
    case IAM_OF_POLICY: return resolve_policy(c, resource);
    case IAM_OF_NEW_USER:
        return resolve_new(c, IAM_ARN_USER, "UserName", IAM_USER_NAME_MAX, resource);
    case IAM_OF_NEW_GROUP:
        return resolve_new(c, IAM_ARN_GROUP, "GroupName", IAM_GROUP_NAME_MAX, resource);
    case IAM_OF_NEW_ROLE:
        return resolve_new(c, IAM_ARN_ROLE, "RoleName", IAM_ROLE_NAME_MAX, resource);
    case IAM_OF_NEW_POLICY:
        return resolve_new(c, IAM_ARN_POLICY, "PolicyName", IAM_POLICY_NAME_MAX, resource);
    case IAM_OF_NOTHING:
    case IAM_OF_ITSELF: break;
    }
    *resource = "*";
    return IAM_OK;
}

/* The target was not there, and the caller may know. */
static enum iam_code check_found(struct iam_call *c)
{
    bool entity = c->action->target == IAM_OF_USER || c->action->target == IAM_OF_GROUP ||
                  c->action->target == IAM_OF_ROLE ||
                  (c->action->target == IAM_OF_SELF && (iam_query_value(c->query, "UserName").ptr ||
                                                        c->caller->who.type == POLICY_USER));
    if (entity && !c->entity.row)
        return iam_no_entity(c,
                             c->action->target == IAM_OF_GROUP  ? IAM_GROUP
                             : c->action->target == IAM_OF_ROLE ? IAM_ROLE
                                                                : IAM_USER,
                             SLICE_EMPTY);
    if (c->action->target == IAM_OF_POLICY && !c->policy.own && !c->policy.aws)
        return iam_fail(c->t, IAM_NO_SUCH_ENTITY, "There is no policy of this ARN.");
    return IAM_OK;
}

/* ---- may the caller? ---- */

/* Only what the action does something with is a value: what a request merely says besides must not
 * make a condition hold. */
static bool takes_tags(const struct iam_action *a)
{
    return a->run == iam_create_user || a->run == iam_create_role || a->run == iam_create_policy ||
           a->run == iam_tag || a->run == iam_tag_policy;
}

static bool untags(const struct iam_action *a)
{
    return a->run == iam_untag || a->run == iam_untag_policy;
}

/* The boundary that is set; of whose policies are changed, the one that is there. */
static struct slice boundary_of(const struct iam_call *c)
{
    enum iam_code (*run)(struct iam_call * c) = c->action->run;
    if (run == iam_create_user || run == iam_create_role || run == iam_put_boundary)
        return iam_query_value(c->query, "PermissionsBoundary");
    bool changes = run == iam_attach_policy || run == iam_detach_policy || run == iam_put_inline ||
                   run == iam_delete_inline || run == iam_delete_boundary;
    return changes && c->entity.row && c->entity.boundary ? slice_cstr(*c->entity.boundary)
                                                          : SLICE_EMPTY;
}

static enum iam_code context_init(struct iam_call *c)
{
    struct slice keys[IAM_TAGS_MAX], values[IAM_TAGS_MAX];
    bool tags = takes_tags(c->action), takes_away = untags(c->action);
    bool attaches = c->action->run == iam_attach_policy || c->action->run == iam_detach_policy;
    bool assumes = c->action->run == sts_assume_role;
    size_t n = 0;
    for (; (tags || takes_away) && n < IAM_TAGS_MAX; n++) {
        keys[n] = tags ? iam_query_member(c->query, "Tags", n + 1, "Key")
                       : iam_query_member(c->query, "TagKeys", n + 1, NULL);
        values[n] = tags ? iam_query_member(c->query, "Tags", n + 1, "Value") : SLICE_EMPTY;
        if (!keys[n].ptr)
            break;
    }
    struct slice *kept = iam_alloc(c->t, 2 * (n + 1) * sizeof(*kept));
    if (!kept)
        return iam_no_memory(c->t);
    memcpy(kept, keys, n * sizeof(*kept));
    memcpy(kept + n, values, n * sizeof(*kept));
    c->context = (struct iam_context){
        .caller = c->caller,
        .now_ms = c->t->now_ms,
        .policy_arn = attaches ? iam_query_value(c->query, "PolicyArn") : SLICE_EMPTY,
        .boundary = boundary_of(c),
        .session_name = assumes ? iam_query_value(c->query, "RoleSessionName") : SLICE_EMPTY,
        .external_id = assumes ? iam_query_value(c->query, "ExternalId") : SLICE_EMPTY,
        .tag_keys = kept,
        .tag_values = tags ? kept + n : NULL,
        .tag_count = n,
    };
    return IAM_OK;
}

enum iam_code iam_check_allowed(struct iam_call *c, const char *resource)
{
    char action[80];
    bool iam = c->service == IAM_SERVICE_IAM;
    snprintf(action, sizeof(action), "%s:%s", iam ? "iam" : "sts", c->action->name);
    if (iam && c->caller->temporary && c->caller->who.type != POLICY_ROLE_SESSION)
        return iam_fail(c->t, IAM_ACCESS_DENIED,
                        "Sessions of GetSessionToken may not call IAM; use the keys themselves.");
    struct policy_decision d = iam_authorize(&c->context, slice_cstr(action), slice_cstr(resource),
                                             slice_cstr(c->account), NULL);
    if (policy_allowed(&d))
        return IAM_OK;
    c->denied = d.reason;
    const char *why = d.reason == POLICY_UNREADABLE   ? c->caller->unreadable
                      : d.reason == POLICY_TOO_COSTLY ? "the policies take too long to evaluate"
                                                      : NULL;
    return iam_fail(c->t, IAM_ACCESS_DENIED,
                    "User: %.*s is not authorized to perform: %s on resource: %.300s%s%s",
                    (int)MIN(c->caller->who.arn.len, 200u), (const char *)c->caller->who.arn.ptr,
                    action, resource, why ? " because " : "", why ? why : "");
}

/* ---- the whole ---- */

static enum iam_code run_action(struct iam_call *c)
{
    struct slice version = iam_query_value(c->query, "Version");
    struct slice name = iam_query_value(c->query, "Action");
    bool iam = c->service == IAM_SERVICE_IAM;
    if (name.len == 0)
        return iam_fail(c->t, IAM_MISSING_ACTION, "The request names no Action.");
    c->action = iam_action_find(c->service, name);
    if (!c->action || !slice_eq(version, iam ? SLICE_LIT("2010-05-08") : SLICE_LIT("2011-06-15")))
        return iam_fail(c->t, IAM_INVALID_ACTION,
                        "The action %.*s is not valid for this web service, or its version is.",
                        (int)MIN(name.len, 100u), (const char *)name.ptr);
    c->account = iam_cstr(c->t, c->caller->who.account);
    if (!c->account)
        return iam_no_memory(c->t);
    const char *resource = "*";
    IAM_TRY(resolve(c, &resource));
    IAM_TRY(context_init(c));
    if (c->action->target != IAM_OF_ITSELF)
        IAM_TRY(iam_check_allowed(c, resource));
    IAM_TRY(check_found(c));
    struct buf *b = IAM_ANSWER(c);
    buf_printf(b, "<%sResponse xmlns=\"%s\">", c->action->name, iam ? IAM_XMLNS : STS_XMLNS);
    if (c->action->result)
        buf_printf(b, "<%sResult>", c->action->name);
    IAM_TRY(c->action->run(c));
    if (c->action->result)
        buf_printf(b, "</%sResult>", c->action->name);
    buf_cstr(b, "<ResponseMetadata>");
    xml_cstr(b, "RequestId", c->request_id);
    buf_printf(b, "</ResponseMetadata></%sResponse>", c->action->name);
    return b->failed ? iam_no_memory(c->t) : IAM_OK;
}

enum iam_code iam_run(struct iam_call *c)
{
    c->entity = (struct iam_entity){0};
    c->policy = (struct iam_policy){0};
    c->denied = POLICY_BY_STATEMENT;
    iam_txn_begin(c->t);
    return run_action(c);
}
