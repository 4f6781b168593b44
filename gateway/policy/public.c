/* The meaning of "public". */
#include "gateway/policy/condition.h"
#include "gateway/policy/values.h"

#include "common/base/check.h"

static bool fixed(struct slice v)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] == '*' || v.ptr[i] == '?' ||
            (v.ptr[i] == '$' && i + 1 < v.len && v.ptr[i + 1] == '{'))
            return false;
    return v.len > 0;
}

/* Networks of RFC 1918, and others that are no wider than /8 (IPv4) or /32 (IPv6). */
static bool narrow(struct slice v)
{
    static const char *const private[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"};
    struct policy_address a, p;
    if (!policy_address_parse(v, &a))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(private); i++)
        if (policy_address_parse(slice_cstr(private[i]), &p) && policy_address_within(&p, &a))
            return true;
    return a.prefix >= (a.len == 4 ? 8u : 32u);
}

/* In an access point's ARN only the name may be open. */
static bool fixed_access_point(struct slice v)
{
    struct slice part[POLICY_ARN_PARTS];
    return fixed(v) || (policy_arn_split(v, part) && fixed(part[4]));
}

static bool value_fixed(const struct policy_condition *c, struct slice v)
{
    if (c->op->family == POLICY_IP)
        return narrow(v);
    if (policy_eq_ignore_case(c->key, SLICE_LIT("s3:DataAccessPointArn")))
        return fixed_access_point(v);
    return fixed(v);
}

/* Does it say from whom or from where, and so that something must be there and be equal? */
static bool narrows(const struct policy_condition *c)
{
    static const char *const keys[] = {
        "aws:SourceArn",
        "aws:SourceVpc",
        "aws:SourceVpce",
        "aws:SourceOwner",
        "aws:SourceAccount",
        "aws:userid",
        "aws:PrincipalOrgID",
        "aws:PrincipalArn",
        "aws:PrincipalAccount",
        "s3:DataAccessPointArn",
        "s3:DataAccessPointAccount",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    };
    enum policy_family f = c->op->family;
    bool text = f == POLICY_STRING || f == POLICY_STRING_IGNORE_CASE || f == POLICY_STRING_LIKE ||
                f == POLICY_ARN;
    bool found = f == POLICY_IP && policy_eq_ignore_case(c->key, SLICE_LIT("aws:SourceIp"));
    for (size_t i = 0; text && i < ARRAY_COUNT(keys) && !found; i++)
        found = policy_eq_ignore_case(c->key, slice_cstr(keys[i]));
    if (!found || c->op->negated || c->if_exists || c->quantifier == POLICY_FOR_ALL_VALUES)
        return false;
    for (size_t i = 0; i < c->values.count; i++)
        if (!value_fixed(c, c->values.items[i]))
            return false;
    return true;
}

static bool statement_public(const struct policy_statement *s)
{
    bool anyone = s->not_principal;
    for (size_t i = 0; i < s->principal_count; i++)
        anyone |= s->principals[i].kind == POLICY_PRINCIPAL_ANY;
    if (s->deny || !anyone)
        return false;
    for (size_t i = 0; i < s->condition_count; i++)
        if (narrows(&s->conditions[i]))
            return false;
    return true;
}

bool policy_is_public(const struct policy *p, size_t *ret_statement)
{
    for (size_t i = 0; i < p->statement_count; i++)
        if (statement_public(&p->statements[i])) {
            if (ret_statement)
                *ret_statement = i;
            return true;
        }
    return false;
}
