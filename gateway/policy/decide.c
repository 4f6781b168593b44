/* First what each policy says (verdict_of), then who of them must agree (decide_*). */
#include "gateway/policy/decide.h"

#include "common/base/check.h"
#include "gateway/policy/condition.h"

/* A request, and what may still be spent on it. */
struct deciding {
    const struct policy_request *r;
    uint64_t steps_left;
};

/* ---- the request's context ---- */

static bool give(struct policy_values *ret, struct slice value)
{
    *ret = (struct policy_values){.count = 1, .one = value};
    return value.len > 0;
}

static bool caller_value(const struct policy_request *r, struct slice key,
                         struct policy_values *ret, bool *known)
{
    static const char *const types[] = {[POLICY_ANONYMOUS] = "Anonymous",
                                        [POLICY_ROOT] = "Account",
                                        [POLICY_USER] = "User",
                                        [POLICY_ROLE_SESSION] = "AssumedRole"};
    const struct policy_caller *c = r->caller;
    struct slice anonymous = SLICE_LIT("anonymous");
    bool nobody = c->type == POLICY_ANONYMOUS;
    *known = true;
    if (policy_eq_ignore_case(key, SLICE_LIT("aws:PrincipalArn")))
        return give(ret, nobody                           ? SLICE_EMPTY
                         : c->type == POLICY_ROLE_SESSION ? c->role_arn
                                                          : c->arn);
    if (policy_eq_ignore_case(key, SLICE_LIT("aws:PrincipalAccount")))
        return give(ret, nobody ? anonymous : c->account);
    if (policy_eq_ignore_case(key, SLICE_LIT("aws:PrincipalType")))
        return give(ret, slice_cstr(types[c->type]));
    if (policy_eq_ignore_case(key, SLICE_LIT("aws:userid")))
        return give(ret, nobody ? anonymous : c->user_id);
    if (policy_eq_ignore_case(key, SLICE_LIT("aws:username")))
        return give(ret, c->type == POLICY_USER ? c->user_name : SLICE_EMPTY);
    if (policy_eq_ignore_case(key, SLICE_LIT("aws:ResourceAccount")) ||
        policy_eq_ignore_case(key, SLICE_LIT("s3:ResourceAccount")))
        return give(ret, r->resource_account.len ? r->resource_account : c->account);
    *known = false;
    return false;
}

static bool context_values(void *arg, struct slice key, struct policy_values *ret)
{
    const struct policy_request *r = arg;
    bool known, has = caller_value(r, key, ret, &known);
    return known ? has : r->values && r->values(r->arg, key, ret);
}

/* ---- one statement ---- */

/* As whom a statement allows, what binds most first; the first statement of each is remembered. */
enum grant {
    AS_ACCOUNT,  /* by its account: that account decides who */
    AS_ANYONE,   /* Principal "*", or all but some */
    AS_IDENTITY, /* by the ARN of the user or role */
    AS_SESSION,  /* by the ARN of the session */
    GRANT_COUNT
};

static bool principal_names(const struct policy_principal *p, const struct policy_caller *c,
                            enum grant *ret)
{
    if (p->kind == POLICY_PRINCIPAL_ANY) {
        *ret = AS_ANYONE;
        return true;
    }
    if (c->type == POLICY_ANONYMOUS)
        return false;
    switch (p->kind) {
    case POLICY_PRINCIPAL_ACCOUNT: *ret = AS_ACCOUNT; return slice_eq(p->value, c->account);
    case POLICY_PRINCIPAL_CANONICAL:
        *ret = AS_ACCOUNT;
        return c->canonical_id.len && slice_eq(p->value, c->canonical_id);
    case POLICY_PRINCIPAL_IDENTITY:
        *ret = AS_IDENTITY;
        return (c->unique_id.len && slice_eq(p->value, c->unique_id)) ||
               slice_eq(p->value, c->type == POLICY_ROLE_SESSION ? c->role_arn : c->arn);
    case POLICY_PRINCIPAL_SESSION:
        *ret = AS_SESSION;
        return c->type == POLICY_ROLE_SESSION && slice_eq(p->value, c->arn);
    case POLICY_PRINCIPAL_ANY:
    case POLICY_PRINCIPAL_FEDERATED:
    case POLICY_PRINCIPAL_SERVICE: break;
    }
    return false;
}

/* NotPrincipal.  A caller has several names (its account; itself; of a session also its role), and
 * Deny spares only whom it names by all of them, as AWS asks of those who write such policies.
 * Allow leaves out who is named by any. */
static bool not_principal_names(const struct policy_statement *s, const struct policy_caller *c)
{
    bool named[GRANT_COUNT] = {false};
    enum grant as;
    for (size_t i = 0; i < s->principal_count; i++)
        if (principal_names(&s->principals[i], c, &as))
            named[as] = true;
    if (!s->deny || named[AS_ANYONE])
        return !named[AS_ANYONE] && !named[AS_ACCOUNT] && !named[AS_IDENTITY] && !named[AS_SESSION];
    bool spared = named[AS_ACCOUNT] && (c->type == POLICY_ROOT || named[AS_IDENTITY]) &&
                  (c->type != POLICY_ROLE_SESSION || named[AS_SESSION]);
    return !spared;
}

static bool who(const struct policy_statement *s, const struct policy_caller *c, enum grant *ret)
{
    bool found = false;
    *ret = AS_ANYONE;
    if (s->principal_count == 0) /* of a policy of the caller itself */
        return true;
    if (s->not_principal)
        return not_principal_names(s, c);
    for (size_t i = 0; i < s->principal_count; i++) {
        enum grant as;
        if (!principal_names(&s->principals[i], c, &as))
            continue;
        /* Of several names the one that binds least (see decide_within). */
        *ret = found && *ret > as ? *ret : as;
        found = true;
    }
    return found;
}

static bool what(const struct policy_statement *s, struct slice action, uint64_t *steps_left)
{
    const struct policy_match_options o = {
        .wildcards = true, .ignore_case = true, .steps_left = steps_left};
    bool any = false;
    for (size_t i = 0; i < s->actions.count && !any; i++)
        any = policy_match(s->actions.items[i], action, &o) == POLICY_MATCHES;
    return any != s->not_action;
}

static bool resource_matches(struct slice pattern, const struct policy_request *r,
                             const struct policy_match_options *o, bool *unresolved)
{
    /* What is done to a service as a whole (ListBuckets) is allowed by what reaches all of it. */
    if (slice_eq(r->resource, SLICE_LIT("*"))) {
        bool of_s3 =
            r->action.len > 3 && policy_eq_ignore_case(SLICE(r->action.ptr, 3), SLICE_LIT("s3:"));
        return slice_eq(pattern, r->resource) ||
               (of_s3 && slice_eq(pattern, SLICE_LIT("arn:aws:s3:::*")));
    }
    enum policy_match m = policy_match_arn(pattern, r->resource, o);
    *unresolved |= m == POLICY_UNRESOLVED;
    return m == POLICY_MATCHES;
}

static bool where(const struct policy *p, const struct policy_statement *s,
                  const struct policy_request *r, const struct policy_scope *scope)
{
    const struct policy_match_options o = {
        .wildcards = true, .scope = p->variables ? scope : NULL, .steps_left = scope->steps_left};
    bool any = false, unresolved = false;
    if (s->resources.count == 0) /* a trust policy: its role */
        return true;
    for (size_t i = 0; i < s->resources.count && !any; i++)
        any = resource_matches(s->resources.items[i], r, &o, &unresolved);
    if (!s->not_resource)
        return any;
    /* "All but" something that is not known must not allow it. */
    return !any && (s->deny || !unresolved);
}

static bool applies(const struct policy *p, const struct policy_statement *s, struct deciding *d,
                    enum grant *ret)
{
    const struct policy_request *r = d->r;
    struct policy_scope scope = {context_values, (void *)(uintptr_t)r, &d->steps_left};
    if (!who(s, r->caller, ret) || !what(s, r->action, &d->steps_left) || !where(p, s, r, &scope))
        return false;
    for (size_t i = 0; i < s->condition_count; i++)
        if (!policy_condition_holds(&s->conditions[i], p->variables, s->deny, &scope))
            return false;
    return true;
}

/* ---- one policy, or several of one kind ---- */

#define NO_STATEMENT SIZE_MAX

struct place {
    size_t policy, statement; /* NO_STATEMENT: none */
};
struct verdict {
    const struct policy *const *policies;
    struct place denied;
    struct place allowed[GRANT_COUNT];
};

static struct verdict verdict_of(const struct policy *const *policies, size_t count,
                                 struct deciding *d)
{
    struct verdict v = {.policies = policies, .denied = {0, NO_STATEMENT}};
    for (size_t g = 0; g < GRANT_COUNT; g++)
        v.allowed[g].statement = NO_STATEMENT;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < policies[i]->statement_count && d->steps_left; k++) {
            const struct policy_statement *s = &policies[i]->statements[k];
            enum grant as;
            if (!applies(policies[i], s, d, &as))
                continue;
            struct place *at = s->deny ? &v.denied : &v.allowed[as];
            if (at->statement == NO_STATEMENT)
                *at = (struct place){i, k};
        }
    return v;
}

static bool denies(const struct verdict *v)
{
    return v->denied.statement != NO_STATEMENT;
}

static bool allows_as(const struct verdict *v, enum grant as)
{
    return v->allowed[as].statement != NO_STATEMENT;
}

/* The first grant there is; GRANT_COUNT: none. */
static enum grant first_grant(const struct verdict *v)
{
    unsigned g = 0;
    while (g < GRANT_COUNT && !allows_as(v, (enum grant)g))
        g++;
    return (enum grant)g;
}

static bool allows(const struct verdict *v)
{
    return first_grant(v) != GRANT_COUNT;
}

/* ---- all of them ---- */

struct verdicts {
    struct verdict resource, identity, boundary, session;
};

static struct policy_decision because(enum policy_outcome outcome, enum policy_reason reason)
{
    return (struct policy_decision){.outcome = outcome, .reason = reason};
}

static struct policy_decision named(enum policy_outcome outcome, const struct verdict *v,
                                    enum policy_source source, struct place at)
{
    CHECK(at.statement != NO_STATEMENT);
    return (struct policy_decision){
        .outcome = outcome,
        .reason = POLICY_BY_STATEMENT,
        .source = source,
        .policy = at.policy,
        .statement = at.statement,
        .sid = v->policies[at.policy]->statements[at.statement].sid,
    };
}

static struct policy_decision allowed_by(const struct verdict *v, enum policy_source source)
{
    enum grant g = first_grant(v);
    CHECK(g != GRANT_COUNT);
    return named(POLICY_ALLOW, v, source, v->allowed[g]);
}

/* Bounds on what is allowed.  BY_STATEMENT: it is within them. */
static enum policy_reason bounded(const struct policy_bundle *b, const struct verdicts *v)
{
    if (b->boundary && !allows(&v->boundary))
        return POLICY_NOT_BY_BOUNDARY;
    if (b->session_count && !allows(&v->session))
        return POLICY_NOT_BY_SESSION;
    return POLICY_BY_STATEMENT;
}

/* Caller and resource are of one account: it is enough that one of its policies allows it.  A
 * bucket policy that names the account leaves it to the account; one that names the user directly
 * is not bound by the user's boundary, one that names the session by no bound at all.  (AWS says
 * nothing of Principal "*" here; it is bound by both.) */
static struct policy_decision decide_within(const struct policy_request *r,
                                            const struct policy_bundle *b, const struct verdicts *v)
{
    const struct verdict *res = &v->resource;
    bool session_given = b->session_count > 0;
    if (b->resource_must_allow && !allows(res))
        return because(POLICY_IMPLICIT_DENY, POLICY_NOT_BY_RESOURCE);
    if (r->caller->type == POLICY_ROOT)
        return because(POLICY_ALLOW, POLICY_BY_ROOT);
    if (allows_as(res, AS_SESSION))
        return named(POLICY_ALLOW, res, POLICY_OF_RESOURCE, res->allowed[AS_SESSION]);
    if (allows_as(res, AS_IDENTITY) && r->caller->type == POLICY_USER &&
        (!session_given || allows(&v->session)))
        return named(POLICY_ALLOW, res, POLICY_OF_RESOURCE, res->allowed[AS_IDENTITY]);
    bool direct = allows_as(res, AS_ANYONE) || allows_as(res, AS_IDENTITY);
    if (!allows(&v->identity) && !direct && !b->acl_allows)
        return because(POLICY_IMPLICIT_DENY,
                       allows_as(res, AS_ACCOUNT) ? POLICY_NOT_BY_IDENTITY : POLICY_NOTHING_ALLOWS);
    enum policy_reason bound = bounded(b, v);
    if (bound != POLICY_BY_STATEMENT)
        return because(POLICY_IMPLICIT_DENY, bound);
    if (allows(&v->identity))
        return allowed_by(&v->identity, POLICY_OF_IDENTITY);
    if (direct)
        return named(POLICY_ALLOW, res, POLICY_OF_RESOURCE,
                     res->allowed[allows_as(res, AS_IDENTITY) ? AS_IDENTITY : AS_ANYONE]);
    return because(POLICY_ALLOW, POLICY_BY_ACL);
}

/* The resource is another account's: both must allow it. */
static struct policy_decision decide_across(const struct policy_request *r,
                                            const struct policy_bundle *b, const struct verdicts *v)
{
    if (b->restrict_public_buckets && b->resource && policy_is_public(b->resource, NULL))
        return because(POLICY_IMPLICIT_DENY, POLICY_NOT_BY_PUBLIC_BLOCK);
    bool by_acl = b->acl_allows && !b->resource_must_allow;
    if (!allows(&v->resource) && !by_acl)
        return because(POLICY_IMPLICIT_DENY, POLICY_NOT_BY_RESOURCE);
    bool own_say = r->caller->type == POLICY_USER || r->caller->type == POLICY_ROLE_SESSION;
    if (own_say && !allows(&v->identity))
        return because(POLICY_IMPLICIT_DENY, POLICY_NOT_BY_IDENTITY);
    enum policy_reason bound = own_say ? bounded(b, v) : POLICY_BY_STATEMENT;
    if (bound != POLICY_BY_STATEMENT)
        return because(POLICY_IMPLICIT_DENY, bound);
    return allows(&v->resource) ? allowed_by(&v->resource, POLICY_OF_RESOURCE)
                                : because(POLICY_ALLOW, POLICY_BY_ACL);
}

/* Whoever locks everybody out of a bucket by its policy can be helped. */
static bool mends_policy(const struct policy_request *r)
{
    static const char *const actions[] = {"s3:GetBucketPolicy", "s3:PutBucketPolicy",
                                          "s3:DeleteBucketPolicy"};
    bool found = false;
    for (size_t i = 0; i < ARRAY_COUNT(actions); i++)
        found |= policy_eq_ignore_case(r->action, slice_cstr(actions[i]));
    return found && r->caller->type == POLICY_ROOT && r->resource_account.len &&
           slice_eq(r->caller->account, r->resource_account);
}

/* What all of them say together.  Statements that were not looked at any more may have denied it,
 * so without a step left nothing of it counts. */
static struct policy_decision combine(struct deciding *d, const struct policy_bundle *b)
{
    const struct policy_request *r = d->r;
    const struct verdicts v = {
        .resource = verdict_of(&b->resource, b->resource != NULL, d),
        .identity = verdict_of(b->identity, b->identity_count, d),
        .boundary = verdict_of(&b->boundary, b->boundary != NULL, d),
        .session = verdict_of(b->session, b->session_count, d),
    };
    const struct verdict *const each[] = {&v.resource, &v.identity, &v.boundary, &v.session};
    if (d->steps_left == 0)
        return because(POLICY_IMPLICIT_DENY, POLICY_TOO_COSTLY);
    for (size_t i = 0; i < ARRAY_COUNT(each); i++)
        if (denies(each[i]))
            return named(POLICY_EXPLICIT_DENY, each[i],
                         (enum policy_source)(POLICY_OF_RESOURCE + i), each[i]->denied);
    bool own = r->caller->type != POLICY_ANONYMOUS &&
               (r->resource_account.len == 0 || slice_eq(r->caller->account, r->resource_account));
    return own ? decide_within(r, b, &v) : decide_across(r, b, &v);
}

struct policy_decision policy_decide(const struct policy_request *r, const struct policy_bundle *b)
{
    uint64_t max = r->steps_max ? r->steps_max : POLICY_STEPS_MAX;
    struct deciding d = {r, max};
    CHECK(r->caller->type == POLICY_ANONYMOUS || r->caller->account.len > 0);
    CHECK(r->caller->type != POLICY_ANONYMOUS || b->identity_count + b->session_count == 0);
    if (mends_policy(r))
        return because(POLICY_ALLOW, POLICY_BY_OWNER);
    if (b->unreadable)
        return because(POLICY_IMPLICIT_DENY, POLICY_UNREADABLE);
    struct policy_decision decision = combine(&d, b);
    decision.steps = max - d.steps_left;
    return decision;
}

/* ---- for logs ---- */

void policy_decision_write(const struct policy_decision *d, struct buf *b)
{
    static const char *const outcomes[] = {[POLICY_IMPLICIT_DENY] = "implicit deny",
                                           [POLICY_EXPLICIT_DENY] = "explicit deny",
                                           [POLICY_ALLOW] = "allow"};
    static const char *const sources[] = {[POLICY_OF_NONE] = "",
                                          [POLICY_OF_RESOURCE] = "resource policy",
                                          [POLICY_OF_IDENTITY] = "identity policy",
                                          [POLICY_OF_BOUNDARY] = "permission boundary",
                                          [POLICY_OF_SESSION] = "session policy"};
    static const char *const reasons[] = {
        [POLICY_BY_STATEMENT] = "",
        [POLICY_BY_ACL] = "ACL",
        [POLICY_BY_ROOT] = "root user",
        [POLICY_BY_OWNER] = "owner's root user mends the policy",
        [POLICY_NOTHING_ALLOWS] = "no policy allows it",
        [POLICY_NOT_BY_IDENTITY] = "no identity policy allows it",
        [POLICY_NOT_BY_RESOURCE] = "the resource's side does not allow it",
        [POLICY_NOT_BY_BOUNDARY] = "outside the permission boundary",
        [POLICY_NOT_BY_SESSION] = "outside the session policy",
        [POLICY_NOT_BY_PUBLIC_BLOCK] = "public access is restricted",
        [POLICY_UNREADABLE] = "a policy cannot be read",
        [POLICY_TOO_COSTLY] = "it takes too long to evaluate the policies",
    };
    buf_printf(b, "%s: %s%s", outcomes[d->outcome], reasons[d->reason], sources[d->source]);
    if (d->reason != POLICY_BY_STATEMENT)
        return;
    if (d->source == POLICY_OF_IDENTITY || d->source == POLICY_OF_SESSION)
        buf_printf(b, " %zu", d->policy + 1);
    buf_printf(b, ", statement %zu", d->statement + 1);
    if (d->sid.len)
        buf_printf(b, " (%.*s)", (int)MIN(d->sid.len, 128), (const char *)d->sid.ptr);
}
