/* A document from JSON to statements.  Every element that is not known is refused: to ignore one
 * could be to ignore a restriction.
 *
 *   policy_parse → read_document → read_statement → read_conditions
 *                                                 → policy_read_principals (parse_check.c)
 *                                                 → policy_check_statement (parse_check.c) */
#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/policy/parse_internal.h"
#include "gateway/policy/s3_actions.h"

#include <stdarg.h>
#include <stdio.h>

/* The JSON values live only while the document is read. */
#define SCRATCH_BYTES_MAX (2u << 20)

bool policy_refuse(struct policy_parser *p, const char *format, ...)
{
    if (p->err != POLICY_OK)
        return false;
    va_list ap;
    va_start(ap, format);
    vsnprintf(p->reason, POLICY_REASON_BYTES_MAX, format, ap);
    va_end(ap);
    p->err = POLICY_MALFORMED;
    return false;
}

bool policy_no_memory(struct policy_parser *p)
{
    if (p->err == POLICY_OK) {
        snprintf(p->reason, POLICY_REASON_BYTES_MAX, "out of memory");
        p->err = POLICY_NO_MEMORY;
    }
    return false;
}

struct policy_quoted policy_quote(struct slice s)
{
    struct policy_quoted q = {0};
    size_t n = MIN(s.len, sizeof(q.text) - 1);
    while (n < s.len && n > 0 && (s.ptr[n] & 0xc0) == 0x80)
        n--;
    if (n)
        memcpy(q.text, s.ptr, n);
    return q;
}

static bool syntax(struct policy_parser *p)
{
    return policy_refuse(p, p->iam ? "Syntax errors in policy." : "Invalid policy syntax.");
}

bool policy_keep(struct policy_parser *p, struct slice s, struct slice *ret)
{
    *ret = arena_copy(p->arena, s);
    return ret->ptr || policy_no_memory(p);
}

static bool is_text(const struct policy_json *v, bool scalars)
{
    return v->type == POLICY_JSON_STRING ||
           (scalars && (v->type == POLICY_JSON_NUMBER || v->type == POLICY_JSON_BOOL));
}

bool policy_read_list(struct policy_parser *p, const struct policy_json *v, bool scalars,
                      struct policy_list *ret)
{
    bool array = v->type == POLICY_JSON_ARRAY;
    if (!array && !is_text(v, scalars))
        return syntax(p);
    size_t n = array ? v->count : 1, i = 0;
    struct slice *items = arena_alloc(p->arena, MAX(n, 1) * sizeof(*items));
    if (!items)
        return policy_no_memory(p);
    for (const struct policy_json *at = array ? v->first : v; i < n; at = at->next, i++) {
        if (!is_text(at, scalars))
            return syntax(p);
        if (!policy_keep(p, at->text, &items[i]))
            return false;
    }
    *ret = (struct policy_list){items, n};
    return true;
}

/* ---- conditions ---- */

static bool check_value(struct policy_parser *p, const struct policy_condition *c,
                        struct slice value)
{
    if (policy_operator_takes(c->op, value, p->variables))
        return true;
    if (c->op->family == POLICY_IP)
        return policy_refuse(p, "Invalid IP address in Conditions");
    return policy_refuse(p, "Invalid value in Conditions for %s: %s", c->op->name,
                         policy_quote(value).text);
}

static bool check_key(struct policy_parser *p, struct slice key)
{
    if (p->iam) {
        if (key.len && memchr(key.ptr, ':', key.len))
            return true;
        return policy_refuse(p, "Actions/Conditions must be prefaced by a vendor, "
                                "e.g., iam, sdb, ec2, etc.");
    }
    /* S3 takes every key of "aws:" and knows its own. */
    struct policy_action_set set;
    if ((key.len > 4 && policy_eq_ignore_case(SLICE(key.ptr, 4), SLICE_LIT("aws:"))) ||
        policy_s3_key_actions(key, &set))
        return true;
    return policy_refuse(p, "Policy has an invalid condition key");
}

static bool read_condition(struct policy_parser *p, const struct policy_json *operator,
                           const struct policy_json * key, struct policy_condition *ret)
{
    struct policy_condition c = {0};
    if (!policy_operator_parse(operator->name, &c))
        return policy_refuse(p, "Invalid Condition type : %s", policy_quote(operator->name).text);
    if (!check_key(p, key->name) || !policy_keep(p, key->name, &c.key) ||
        !policy_read_list(p, key, true, &c.values))
        return false;
    /* Without a value a negated operator would always hold. */
    if (c.values.count == 0)
        return syntax(p);
    for (size_t i = 0; i < c.values.count; i++)
        if (!check_value(p, &c, c.values.items[i]))
            return false;
    *ret = c;
    return true;
}

static bool read_conditions(struct policy_parser *p, const struct policy_json *v,
                            struct policy_statement *s)
{
    size_t n = 0;
    if (v->type != POLICY_JSON_OBJECT)
        return syntax(p);
    for (const struct policy_json *op = v->first; op; op = op->next) {
        if (op->type != POLICY_JSON_OBJECT)
            return syntax(p);
        n += op->count;
    }
    struct policy_condition *conditions = arena_alloc(p->arena, MAX(n, 1) * sizeof(*conditions));
    if (!conditions)
        return policy_no_memory(p);
    n = 0;
    for (const struct policy_json *op = v->first; op; op = op->next)
        for (const struct policy_json *key = op->first; key; key = key->next)
            if (!read_condition(p, op, key, &conditions[n++]))
                return false;
    s->conditions = conditions;
    s->condition_count = n;
    return true;
}

/* ---- statements ---- */

enum element {
    SID,
    EFFECT,
    PRINCIPAL,
    NOT_PRINCIPAL,
    ACTION,
    NOT_ACTION,
    RESOURCE,
    NOT_RESOURCE,
    CONDITION,
    ELEMENT_COUNT
};
static const char *const element_names[ELEMENT_COUNT] = {
    [SID] = "Sid",
    [EFFECT] = "Effect",
    [PRINCIPAL] = "Principal",
    [NOT_PRINCIPAL] = "NotPrincipal",
    [ACTION] = "Action",
    [NOT_ACTION] = "NotAction",
    [RESOURCE] = "Resource",
    [NOT_RESOURCE] = "NotResource",
    [CONDITION] = "Condition",
};

/* The members of an object by name.  false: it has one that is not among the names. */
static bool members(struct policy_parser *p, const struct policy_json *object,
                    const char *const *names, size_t count, const struct policy_json **ret)
{
    if (object->type != POLICY_JSON_OBJECT)
        return syntax(p);
    for (const struct policy_json *m = object->first; m; m = m->next) {
        size_t i = 0;
        while (i < count && !slice_eq(m->name, slice_cstr(names[i])))
            i++;
        if (i == count)
            return p->iam ? syntax(p)
                          : policy_refuse(p, "Unknown field %s", policy_quote(m->name).text);
        ret[i] = m;
    }
    return true;
}

static bool read_sid(struct policy_parser *p, const struct policy_json *v,
                     struct policy_statement *s)
{
    if (!v)
        return true;
    if (v->type != POLICY_JSON_STRING)
        return syntax(p);
    for (size_t i = 0; p->iam && i < v->text.len; i++) {
        uint8_t c = policy_lower(v->text.ptr[i]);
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9'))
            return policy_refuse(p, "Statement IDs (SID) must be alpha-numeric. Check that your "
                                    "input satisfies the regular expression [0-9A-Za-z]*");
    }
    return policy_keep(p, v->text, &s->sid);
}

static bool read_effect(struct policy_parser *p, const struct policy_json *v,
                        struct policy_statement *s)
{
    if (!v)
        return p->iam ? syntax(p) : policy_refuse(p, "Missing required field Effect");
    if (v->type != POLICY_JSON_STRING)
        return syntax(p);
    s->deny = slice_eq(v->text, SLICE_LIT("Deny"));
    if (!s->deny && !slice_eq(v->text, SLICE_LIT("Allow")))
        return p->iam ? syntax(p)
                      : policy_refuse(p, "Invalid effect: %s", policy_quote(v->text).text);
    return true;
}

/* One of an element and its opposite; *ret_not says which. */
static bool either(struct policy_parser *p, const struct policy_json **e, enum element plain,
                   const char *iam_missing, const struct policy_json **ret, bool *ret_not)
{
    const struct policy_json *yes = e[plain], *no = e[plain + 1];
    if (yes && no)
        return syntax(p);
    if (!yes && !no)
        return p->iam ? policy_refuse(p, "%s", iam_missing)
                      : policy_refuse(p, "Missing required field %s", element_names[plain]);
    *ret = yes ? yes : no;
    *ret_not = no != NULL;
    return true;
}

static bool read_who(struct policy_parser *p, const struct policy_json **e,
                     struct policy_statement *s)
{
    const struct policy_json *v;
    bool wanted = p->options->kind == POLICY_BUCKET || p->options->kind == POLICY_TRUST;
    if (!wanted)
        return (!e[PRINCIPAL] && !e[NOT_PRINCIPAL]) ||
               policy_refuse(p, "Policy document should not specify a principal.");
    return either(p, e, PRINCIPAL, "Missing required field Principal", &v, &s->not_principal) &&
           policy_read_principals(p, v, s);
}

static bool read_what(struct policy_parser *p, const struct policy_json **e,
                      struct policy_statement *s)
{
    const struct policy_json *v;
    if (!either(p, e, ACTION, "Policy statement must contain actions.", &v, &s->not_action) ||
        !policy_read_list(p, v, false, &s->actions))
        return false;
    if (s->actions.count == 0)
        return policy_refuse(p, p->iam ? "Policy statement must contain actions."
                                       : "Action cannot be empty!");
    if (p->options->kind == POLICY_TRUST)
        return (!e[RESOURCE] && !e[NOT_RESOURCE]) ||
               policy_refuse(p, "Has prohibited field Resource");
    if (!either(p, e, RESOURCE, "Policy statement must contain resources.", &v, &s->not_resource) ||
        !policy_read_list(p, v, false, &s->resources))
        return false;
    return s->resources.count > 0 ||
           policy_refuse(p, p->iam ? "Policy statement must contain resources."
                                   : "Policy has invalid resource");
}

static bool read_statement(struct policy_parser *p, const struct policy_json *v,
                           struct policy_statement *s)
{
    const struct policy_json *e[ELEMENT_COUNT] = {NULL};
    return members(p, v, element_names, ELEMENT_COUNT, e) && read_sid(p, e[SID], s) &&
           read_effect(p, e[EFFECT], s) && read_who(p, e, s) && read_what(p, e, s) &&
           (!e[CONDITION] || read_conditions(p, e[CONDITION], s)) && policy_check_statement(p, s);
}

/* ---- the document ---- */

static bool read_version(struct policy_parser *p, const struct policy_json *v)
{
    bool text = v && v->type == POLICY_JSON_STRING;
    p->variables = text && slice_eq(v->text, SLICE_LIT("2012-10-17"));
    if (!v || p->variables || (text && slice_eq(v->text, SLICE_LIT("2008-10-17"))))
        return true;
    return p->iam ? syntax(p) : policy_refuse(p, "The policy must contain a valid version string");
}

/* IAM wants each Sid once. */
static bool check_sids(struct policy_parser *p, const struct policy_statement *s, size_t count)
{
    if (!p->iam)
        return true;
    for (size_t i = 1; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (s[i].sid.len && slice_eq(s[i].sid, s[k].sid))
                return policy_refuse(p, "Statement IDs (SID) in a single policy must be unique.");
    return true;
}

static bool read_statements(struct policy_parser *p, const struct policy_json *v,
                            struct policy *policy)
{
    bool array = v->type == POLICY_JSON_ARRAY;
    size_t n = array ? v->count : 1, i = 0;
    if (n == 0)
        return p->iam ? syntax(p)
                      : policy_refuse(p, "Could not parse the policy: Statement is empty!");
    struct policy_statement *s = arena_zalloc(p->arena, n * sizeof(*s));
    if (!s)
        return policy_no_memory(p);
    for (const struct policy_json *at = array ? v->first : v; i < n; at = at->next, i++)
        if (!read_statement(p, at, &s[i]))
            return false;
    policy->statements = s;
    policy->statement_count = n;
    return check_sids(p, s, n);
}

static bool read_document(struct policy_parser *p, const struct policy_json *v, struct policy *ret)
{
    enum { VERSION, ID, STATEMENT, TOP_COUNT };
    static const char *const names[TOP_COUNT] = {"Version", "Id", "Statement"};
    const struct policy_json *e[TOP_COUNT] = {NULL};
    if (!members(p, v, names, TOP_COUNT, e) || !read_version(p, e[VERSION]))
        return false;
    if (e[ID] && (e[ID]->type != POLICY_JSON_STRING || !policy_keep(p, e[ID]->text, &ret->id)))
        return syntax(p);
    if (!e[STATEMENT])
        return p->iam ? syntax(p) : policy_refuse(p, "Missing required field Statement");
    ret->kind = p->options->kind;
    ret->variables = p->variables;
    return read_statements(p, e[STATEMENT], ret);
}

/* Bytes that count: of IAM's documents blanks between tokens do not. */
static size_t counted_bytes(struct slice s, bool iam)
{
    size_t n = 0;
    bool quoted = false;
    if (!iam)
        return s.len;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if (quoted && c == '\\') {
            i++;
            n++;
        } else if (c == '"') {
            quoted = !quoted;
        }
        n += quoted || !(c == ' ' || c == '\t' || c == '\n' || c == '\r');
    }
    return n;
}

static bool check_size(struct policy_parser *p, struct slice document)
{
    static const size_t bytes_max[POLICY_KIND_COUNT] = {
        [POLICY_BUCKET] = POLICY_BUCKET_BYTES_MAX, [POLICY_MANAGED] = POLICY_MANAGED_BYTES_MAX,
        [POLICY_INLINE] = POLICY_INLINE_BYTES_MAX, [POLICY_SESSION] = POLICY_SESSION_BYTES_MAX,
        [POLICY_TRUST] = POLICY_TRUST_BYTES_MAX,
    };
    size_t max = bytes_max[p->options->kind];
    if (document.len <= POLICY_RAW_BYTES_MAX && counted_bytes(document, p->iam) <= max)
        return true;
    snprintf(p->reason, POLICY_REASON_BYTES_MAX,
             p->iam ? "Maximum policy size of %zu bytes exceeded"
                    : "Policy exceeds the maximum allowed document size of %zu bytes",
             max);
    p->err = POLICY_TOO_LARGE;
    return false;
}

static bool read_text(struct policy_parser *p, struct slice document,
                      const struct policy_json **ret)
{
    if (!check_size(p, document))
        return false;
    bool brace = document.len && document.ptr[0] == '{';
    if (p->iam && document.len && !brace && strchr(" \t\r\n", document.ptr[0]) && document.ptr[0])
        return policy_refuse(p, "JSON strings must not have leading spaces");
    int err = brace ? policy_json_parse(p->scratch, document, POLICY_DEPTH_MAX, ret) : ERR_INVAL;
    if (err == ERR_NOMEM)
        return policy_no_memory(p);
    return err == OK ||
           policy_refuse(p, p->iam ? "Syntax errors in policy."
                                   : "Policies must be valid JSON and the first byte must be '{'");
}

enum policy_error policy_parse(struct arena *arena, const struct policy_parse_options *options,
                               struct slice document, const struct policy **ret,
                               char reason[POLICY_REASON_BYTES_MAX])
{
    struct arena scratch;
    struct policy_parser p = {.arena = arena,
                              .scratch = &scratch,
                              .options = options,
                              .iam = options->kind != POLICY_BUCKET,
                              .reason = reason};
    const struct policy_json *v = NULL;
    CHECK(options->kind < POLICY_KIND_COUNT && (p.iam || options->bucket.len));
    reason[0] = '\0';
    arena_init(&scratch, SCRATCH_BYTES_MAX);
    struct policy *policy = arena_zalloc(arena, sizeof(*policy));
    bool ok =
        policy ? read_text(&p, document, &v) && read_document(&p, v, policy) : policy_no_memory(&p);
    arena_fini(&scratch);
    CHECK(ok == (p.err == POLICY_OK));
    if (ok)
        *ret = policy;
    return p.err;
}

const char *policy_error_code(enum policy_kind kind, enum policy_error err)
{
    bool s3 = kind == POLICY_BUCKET;
    switch (err) {
    case POLICY_OK: return "";
    case POLICY_MALFORMED: return s3 ? "MalformedPolicy" : "MalformedPolicyDocument";
    case POLICY_TOO_LARGE:
        return s3                       ? "PolicyTooLarge"
               : kind == POLICY_SESSION ? "PackedPolicyTooLarge"
                                        : "LimitExceeded";
    case POLICY_NO_MEMORY: break;
    }
    return s3 ? "InternalError" : "ServiceFailure";
}

const char *policy_kind_name(enum policy_kind kind)
{
    static const char *const names[POLICY_KIND_COUNT] = {
        [POLICY_BUCKET] = "bucket policy", [POLICY_MANAGED] = "managed policy",
        [POLICY_INLINE] = "inline policy", [POLICY_SESSION] = "session policy",
        [POLICY_TRUST] = "trust policy",
    };
    return names[kind];
}
