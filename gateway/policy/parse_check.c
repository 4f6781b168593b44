/* Principals, actions and resources: what is well formed, and what fits together. */
#include "common/base/check.h"
#include "gateway/policy/parse_internal.h"
#include "gateway/policy/s3_actions.h"

/* ---- principals ---- */

static bool digits(struct slice s, size_t count)
{
    if (s.len != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return true;
}

static bool name_follows(struct slice s, const char *prefix)
{
    struct slice p = slice_cstr(prefix);
    if (!slice_has_prefix(s, p) || s.len == p.len || s.ptr[s.len - 1] == '/')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] == '*' || s.ptr[i] == '?' || s.ptr[i] >= 0x7f)
            return false;
    return true;
}

static bool unique_id(struct slice s)
{
    if (s.len < 16 || s.len > 128 ||
        (!slice_has_prefix(s, SLICE_LIT("AIDA")) && !slice_has_prefix(s, SLICE_LIT("AROA"))))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((s.ptr[i] < 'A' || s.ptr[i] > 'Z') && (s.ptr[i] < '0' || s.ptr[i] > '9'))
            return false;
    return true;
}

/* {"AWS": value}.  No wildcard but "*" alone: a part of an ARN cannot be one. */
static bool classify_aws(struct slice v, struct policy_principal *ret)
{
    struct slice part[POLICY_ARN_PARTS];
    ret->value = v;
    if (slice_eq(v, SLICE_LIT("*"))) {
        ret->kind = POLICY_PRINCIPAL_ANY;
        return true;
    }
    if (digits(v, 12)) {
        ret->kind = POLICY_PRINCIPAL_ACCOUNT;
        return true;
    }
    ret->kind = POLICY_PRINCIPAL_IDENTITY;
    if (unique_id(v))
        return true;
    if (!policy_arn_split(v, part) || !slice_eq(part[0], SLICE_LIT("arn")) ||
        !slice_eq(part[1], SLICE_LIT("aws")) || part[3].len || !digits(part[4], 12))
        return false;
    if (slice_eq(part[2], SLICE_LIT("sts"))) {
        ret->kind = POLICY_PRINCIPAL_SESSION;
        const uint8_t *slash = memchr(part[5].ptr, '/', part[5].len);
        struct slice rest =
            slash ? SLICE(slash + 1, part[5].len - (size_t)(slash - part[5].ptr) - 1) : SLICE_EMPTY;
        return name_follows(part[5], "federated-user/") ||
               (name_follows(part[5], "assumed-role/") && rest.len &&
                memchr(rest.ptr, '/', rest.len) && rest.ptr[0] != '/');
    }
    if (!slice_eq(part[2], SLICE_LIT("iam")))
        return false;
    if (slice_eq(part[5], SLICE_LIT("root"))) {
        ret->kind = POLICY_PRINCIPAL_ACCOUNT;
        ret->value = part[4];
        return true;
    }
    return name_follows(part[5], "user/") || name_follows(part[5], "role/");
}

static bool canonical_id(struct slice v)
{
    if (v.len != 64)
        return false;
    for (size_t i = 0; i < v.len; i++)
        if ((v.ptr[i] < '0' || v.ptr[i] > '9') && (v.ptr[i] < 'a' || v.ptr[i] > 'f'))
            return false;
    return true;
}

/* A domain: its own or that of an identity provider. */
static bool domain(struct slice v)
{
    return name_follows(v, "") && memchr(v.ptr, '.', v.len) != NULL;
}

static bool classify(struct slice type, struct slice v, struct policy_principal *ret)
{
    if (slice_eq(type, SLICE_LIT("AWS")))
        return classify_aws(v, ret);
    ret->value = v;
    if (slice_eq(type, SLICE_LIT("CanonicalUser"))) {
        ret->kind = POLICY_PRINCIPAL_CANONICAL;
        return canonical_id(v);
    }
    if (slice_eq(type, SLICE_LIT("Federated"))) {
        ret->kind = POLICY_PRINCIPAL_FEDERATED;
        return domain(v) || name_follows(v, "arn:aws:iam::");
    }
    if (slice_eq(type, SLICE_LIT("Service"))) {
        ret->kind = POLICY_PRINCIPAL_SERVICE;
        return domain(v);
    }
    return false;
}

static bool exists(const struct policy_parse_options *o, const struct policy_principal *p)
{
    bool asked = p->kind == POLICY_PRINCIPAL_ACCOUNT || p->kind == POLICY_PRINCIPAL_IDENTITY ||
                 p->kind == POLICY_PRINCIPAL_SESSION || p->kind == POLICY_PRINCIPAL_CANONICAL;
    return !asked || !o->principal_exists || o->principal_exists(o->arg, p);
}

static bool refuse_principal(struct policy_parser *p, struct slice type, struct slice value)
{
    if (!p->iam)
        return policy_refuse(p, "Invalid principal in policy");
    return policy_refuse(p, "Invalid principal in policy: \"%s\":\"%s\"", policy_quote(type).text,
                         policy_quote(value).text);
}

/* Values of one type, behind what `to` has. */
static bool read_type(struct policy_parser *p, const struct policy_json *type,
                      struct policy_principal *to, size_t *count)
{
    struct policy_list values;
    if (!policy_read_list(p, type, false, &values))
        return false;
    if (values.count == 0)
        return refuse_principal(p, type->name, SLICE_EMPTY);
    for (size_t i = 0; i < values.count; i++) {
        struct policy_principal *at = &to[(*count)++];
        if (!classify(type->name, values.items[i], at) || !exists(p->options, at))
            return refuse_principal(p, type->name, values.items[i]);
    }
    return true;
}

bool policy_read_principals(struct policy_parser *p, const struct policy_json *v,
                            struct policy_statement *s)
{
    size_t n = 0, used = 0;
    bool any = v->type == POLICY_JSON_STRING && slice_eq(v->text, SLICE_LIT("*"));
    if (!any && (v->type != POLICY_JSON_OBJECT || v->count == 0))
        return refuse_principal(p, SLICE_LIT("AWS"), v->text);
    for (const struct policy_json *type = v->first; type; type = type->next)
        n += type->type == POLICY_JSON_ARRAY ? type->count : 1;
    struct policy_principal *to = arena_alloc(p->arena, MAX(n, 1) * sizeof(*to));
    if (!to)
        return policy_no_memory(p);
    if (any)
        to[used++] = (struct policy_principal){POLICY_PRINCIPAL_ANY, SLICE_LIT("*")};
    for (const struct policy_json *type = v->first; type; type = type->next)
        if (!read_type(p, type, to, &used))
            return false;
    CHECK(used == MAX(n, 1));
    s->principals = to;
    s->principal_count = used;
    return true;
}

/* ---- actions ---- */

/* "vendor:Action", or "*". */
static bool check_iam_action(struct policy_parser *p, struct slice a)
{
    const uint8_t *colon = a.len ? memchr(a.ptr, ':', a.len) : NULL;
    if (slice_eq(a, SLICE_LIT("*")))
        return true;
    if (!colon || colon == a.ptr || colon + 1 == a.ptr + a.len)
        return policy_refuse(p, "Actions/Conditions must be prefaced by a vendor, "
                                "e.g., iam, sdb, ec2, etc.");
    for (const uint8_t *c = a.ptr; c < colon; c++)
        if ((policy_lower(*c) < 'a' || policy_lower(*c) > 'z') && (*c < '0' || *c > '9') &&
            *c != '-')
            return policy_refuse(p, "Vendor %s is not valid",
                                 policy_quote(SLICE(a.ptr, (size_t)(colon - a.ptr))).text);
    for (const uint8_t *c = colon + 1; c < a.ptr + a.len; c++)
        if ((policy_lower(*c) < 'a' || policy_lower(*c) > 'z') && (*c < '0' || *c > '9') &&
            *c != '*' && *c != '?')
            return policy_refuse(p, "Syntax errors in policy.");
    return p->options->kind != POLICY_TRUST ||
           policy_eq_ignore_case(SLICE(a.ptr, (size_t)(colon - a.ptr)), SLICE_LIT("sts")) ||
           policy_refuse(p, "AssumeRole policy may only specify STS AssumeRole actions.");
}

static bool check_s3_action(struct policy_parser *p, struct slice a, struct policy_action_set *ret)
{
    *ret = policy_s3_actions_named(a);
    return !policy_action_set_empty(*ret) || policy_refuse(p, "Policy has invalid action");
}

/* ---- resources ---- */

/* Before the fifth colon there are no variables. */
static bool check_variables(const struct policy_parser *p, const struct slice *part)
{
    if (!p->variables)
        return true;
    for (size_t i = 0; i < POLICY_ARN_PARTS - 1; i++)
        if (part[i].len && memmem(part[i].ptr, part[i].len, "${", 2))
            return false;
    return policy_variables_valid(part[POLICY_ARN_PARTS - 1]);
}

static bool part_is(struct slice pattern, const char *text)
{
    const struct policy_match_options o = {.wildcards = true};
    return policy_match(pattern, slice_cstr(text), &o) == POLICY_MATCHES;
}

static bool check_iam_resource(struct policy_parser *p, struct slice r)
{
    struct slice part[POLICY_ARN_PARTS];
    if (slice_eq(r, SLICE_LIT("*")))
        return true;
    if (!policy_arn_split(r, part) || !slice_eq(part[0], SLICE_LIT("arn")) || part[5].len == 0)
        return policy_refuse(p, "Resource %s must be in ARN format or \"*\".",
                             policy_quote(r).text);
    if (!part_is(part[1], "aws") && !part_is(part[1], "aws-cn") && !part_is(part[1], "aws-us-gov"))
        return policy_refuse(p, "Partition \"%s\" is not valid for resource \"%s\".",
                             policy_quote(part[1]).text, policy_quote(r).text);
    return check_variables(p, part) || policy_refuse(p, "Syntax errors in policy.");
}

/* What of the bucket a resource of its policy can mean. */
struct reach {
    bool bucket, objects;
};

/* false: nothing. */
static bool resource_reach(const struct policy_parser *p, struct slice r, struct reach *ret)
{
    struct slice part[POLICY_ARN_PARTS], name = p->options->bucket;
    uint8_t prefix[256];
    if (slice_eq(r, SLICE_LIT("*"))) {
        *ret = (struct reach){true, true};
        return true;
    }
    if (!policy_arn_split(r, part) || !part_is(part[0], "arn") || !part_is(part[1], "aws") ||
        !part_is(part[2], "s3") || !part_is(part[3], "") || !part_is(part[4], "") ||
        !check_variables(p, part) || name.len >= sizeof(prefix))
        return false;
    memcpy(prefix, name.ptr, name.len);
    prefix[name.len] = '/';
    const struct policy_match_options o = {.wildcards = true};
    ret->objects = policy_may_begin(part[5], SLICE(prefix, name.len + 1), p->variables);
    ret->bucket = policy_match(part[5], name, &o) == POLICY_MATCHES ||
                  (p->variables && policy_has_variable(part[5]) && ret->objects);
    return ret->bucket || ret->objects;
}

/* ---- together ---- */

/* What can be done to what the statement's resources reach. */
static struct policy_action_set reachable(struct reach reach)
{
    struct policy_action_set set = {{0}}, objects = policy_s3_actions_on(POLICY_RESOURCE_OBJECT);
    if (reach.bucket)
        set = policy_s3_actions_on(POLICY_RESOURCE_BUCKET);
    for (size_t i = 0; reach.objects && i < POLICY_ACTION_WORDS; i++)
        set.words[i] |= objects.words[i];
    return set;
}

/* Each action that is named must be one that can be done to the resources, and each condition of S3
 * must come with one that is named so: `named` has what each of the patterns names. */
static bool check_together(struct policy_parser *p, const struct policy_statement *s,
                           const struct policy_action_set *named, struct reach reach)
{
    struct policy_action_set can = reachable(reach), with;
    for (size_t i = 0; i < s->actions.count; i++)
        if (policy_action_set_empty(policy_action_set_and(named[i], can)))
            return policy_refuse(p, "Action does not apply to any resource(s) in statement");
    for (size_t k = 0; k < s->condition_count; k++) {
        if (!policy_s3_key_actions(s->conditions[k].key, &with))
            continue;
        with = policy_action_set_and(with, can);
        for (size_t i = 0; i < s->actions.count; i++)
            if (policy_action_set_empty(policy_action_set_and(named[i], with)))
                return policy_refuse(p, "Conditions do not apply to combination of actions and "
                                        "resources in statement");
    }
    return true;
}

static bool check_bucket_statement(struct policy_parser *p, const struct policy_statement *s)
{
    struct reach all = {0}, one;
    struct policy_action_set *named = arena_alloc(p->scratch, s->actions.count * sizeof(*named));
    if (!named)
        return policy_no_memory(p);
    for (size_t i = 0; i < s->actions.count; i++)
        if (!check_s3_action(p, s->actions.items[i], &named[i]))
            return false;
    for (size_t i = 0; i < s->resources.count; i++) {
        if (!resource_reach(p, s->resources.items[i], &one))
            return policy_refuse(p, "Policy has invalid resource");
        all.bucket |= one.bucket;
        all.objects |= one.objects;
    }
    /* What "all but" leaves is always something. */
    return s->not_action || s->not_resource || check_together(p, s, named, all);
}

bool policy_check_statement(struct policy_parser *p, const struct policy_statement *s)
{
    if (!p->iam)
        return check_bucket_statement(p, s);
    for (size_t i = 0; i < s->actions.count; i++)
        if (!check_iam_action(p, s->actions.items[i]))
            return false;
    for (size_t i = 0; i < s->resources.count; i++)
        if (!check_iam_resource(p, s->resources.items[i]))
            return false;
    return true;
}
