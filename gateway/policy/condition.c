/* One table of operators; one comparison a family; what several values mean. */
#include "gateway/policy/condition.h"

#include "common/base/check.h"
#include "gateway/policy/values.h"

static const struct policy_operator_row operators[] = {
    {"StringEquals", POLICY_STRING, POLICY_EQ, false},
    {"StringNotEquals", POLICY_STRING, POLICY_EQ, true},
    {"StringEqualsIgnoreCase", POLICY_STRING_IGNORE_CASE, POLICY_EQ, false},
    {"StringNotEqualsIgnoreCase", POLICY_STRING_IGNORE_CASE, POLICY_EQ, true},
    {"StringLike", POLICY_STRING_LIKE, POLICY_EQ, false},
    {"StringNotLike", POLICY_STRING_LIKE, POLICY_EQ, true},
    {"NumericEquals", POLICY_NUMERIC, POLICY_EQ, false},
    {"NumericNotEquals", POLICY_NUMERIC, POLICY_EQ, true},
    {"NumericLessThan", POLICY_NUMERIC, POLICY_LT, false},
    {"NumericLessThanEquals", POLICY_NUMERIC, POLICY_LE, false},
    {"NumericGreaterThan", POLICY_NUMERIC, POLICY_GT, false},
    {"NumericGreaterThanEquals", POLICY_NUMERIC, POLICY_GE, false},
    {"DateEquals", POLICY_DATE, POLICY_EQ, false},
    {"DateNotEquals", POLICY_DATE, POLICY_EQ, true},
    {"DateLessThan", POLICY_DATE, POLICY_LT, false},
    {"DateLessThanEquals", POLICY_DATE, POLICY_LE, false},
    {"DateGreaterThan", POLICY_DATE, POLICY_GT, false},
    {"DateGreaterThanEquals", POLICY_DATE, POLICY_GE, false},
    {"Bool", POLICY_BOOL, POLICY_EQ, false},
    {"BinaryEquals", POLICY_BINARY, POLICY_EQ, false},
    {"IpAddress", POLICY_IP, POLICY_EQ, false},
    {"NotIpAddress", POLICY_IP, POLICY_EQ, true},
    {"ArnEquals", POLICY_ARN, POLICY_EQ, false},
    {"ArnLike", POLICY_ARN, POLICY_EQ, false},
    {"ArnNotEquals", POLICY_ARN, POLICY_EQ, true},
    {"ArnNotLike", POLICY_ARN, POLICY_EQ, true},
    {"Null", POLICY_NULL, POLICY_EQ, false},
};

static bool cut_prefix(struct slice *s, struct slice prefix)
{
    if (!slice_has_prefix(*s, prefix))
        return false;
    *s = SLICE(s->ptr + prefix.len, s->len - prefix.len);
    return true;
}

static bool cut_suffix(struct slice *s, struct slice suffix)
{
    if (s->len < suffix.len || !slice_eq(SLICE(s->ptr + s->len - suffix.len, suffix.len), suffix))
        return false;
    s->len -= suffix.len;
    return true;
}

bool policy_operator_parse(struct slice name, struct policy_condition *ret)
{
    enum policy_quantifier quantifier = POLICY_FOR_ONE;
    if (cut_prefix(&name, SLICE_LIT("ForAllValues:")))
        quantifier = POLICY_FOR_ALL_VALUES;
    else if (cut_prefix(&name, SLICE_LIT("ForAnyValue:")))
        quantifier = POLICY_FOR_ANY_VALUE;
    bool if_exists = cut_suffix(&name, SLICE_LIT("IfExists"));
    for (size_t i = 0; i < ARRAY_COUNT(operators); i++) {
        const struct policy_operator_row *op = &operators[i];
        if (!slice_eq(name, slice_cstr(op->name)))
            continue;
        if (op->family == POLICY_NULL && if_exists)
            return false;
        ret->op = op;
        ret->quantifier = quantifier;
        ret->if_exists = if_exists;
        return true;
    }
    return false;
}

static bool takes_variables(enum policy_family f)
{
    return f == POLICY_STRING || f == POLICY_STRING_IGNORE_CASE || f == POLICY_STRING_LIKE ||
           f == POLICY_ARN;
}

bool policy_operator_takes(const struct policy_operator_row *op, struct slice value, bool variables)
{
    struct slice parts[POLICY_ARN_PARTS];
    struct policy_address address;
    int64_t ms;
    bool truth;
    if (variables && takes_variables(op->family) && !policy_variables_valid(value))
        return false;
    switch (op->family) {
    case POLICY_STRING:
    case POLICY_STRING_IGNORE_CASE:
    case POLICY_STRING_LIKE: return true;
    case POLICY_NUMERIC: return policy_number_valid(value);
    case POLICY_DATE: return policy_date_parse(value, &ms);
    case POLICY_BOOL:
    case POLICY_NULL: return policy_bool_parse(value, &truth);
    case POLICY_BINARY: return policy_base64_valid(value);
    case POLICY_IP: return policy_address_parse(value, &address);
    case POLICY_ARN:
        return slice_eq(value, SLICE_LIT("*")) || policy_arn_split(value, parts) ||
               (variables && policy_has_variable(value));
    }
    return false;
}

static bool related(enum policy_relation relation, int c)
{
    return c == 0 ? relation & POLICY_EQ : c < 0 ? relation & POLICY_LT : relation & POLICY_GT;
}

/* Does one value of the request match one of the policy?  *unsure is set when it cannot be said. */
static bool matches(const struct policy_operator_row *op, struct slice want, struct slice have,
                    const struct policy_match_options *text, bool *unsure)
{
    struct policy_address network, address;
    enum policy_match m = POLICY_DIFFERS;
    int64_t a, b;
    int c = 0;
    bool x, y, known = true, result = false;
    if (!policy_spend(text->steps_left, 1 + want.len / 16 + have.len / 16)) {
        *unsure = true;
        return false;
    }
    switch (op->family) {
    case POLICY_STRING:
    case POLICY_STRING_IGNORE_CASE:
    case POLICY_STRING_LIKE: m = policy_match(want, have, text); break;
    case POLICY_ARN: m = policy_match_arn(want, have, text); break;
    case POLICY_NUMERIC:
        known = policy_number_compare(have, want, &c);
        result = known && related(op->relation, c);
        break;
    case POLICY_DATE:
        known = policy_date_parse(have, &a) && policy_date_parse(want, &b);
        result = known && related(op->relation, (a > b) - (a < b));
        break;
    case POLICY_BOOL:
        known = policy_bool_parse(have, &x) && policy_bool_parse(want, &y);
        result = known && x == y;
        break;
    case POLICY_BINARY: return slice_eq(want, have);
    case POLICY_IP:
        known = policy_address_parse(have, &address) && policy_address_parse(want, &network);
        result = known && policy_address_within(&network, &address);
        break;
    case POLICY_NULL: CHECK(false);
    }
    *unsure |= !known || m == POLICY_UNRESOLVED;
    return result || m == POLICY_MATCHES;
}

/* Is this value of the request as the condition wants it? */
static bool value_fits(const struct policy_condition *c, bool deny, struct slice have,
                       const struct policy_match_options *text)
{
    bool any = false, unsure = false;
    for (size_t i = 0; i < c->values.count && !any; i++)
        any = matches(c->op, c->values.items[i], have, text, &unsure);
    if (!c->op->negated)
        return any;
    return !any && (deny || !unsure);
}

static bool null_holds(const struct policy_condition *c, bool absent)
{
    bool want;
    for (size_t i = 0; i < c->values.count; i++)
        if (policy_bool_parse(c->values.items[i], &want) && want == absent)
            return true;
    return false;
}

bool policy_condition_holds(const struct policy_condition *c, bool variables, bool deny,
                            const struct policy_scope *scope)
{
    struct policy_match_options text = {
        .wildcards = c->op->family == POLICY_STRING_LIKE || c->op->family == POLICY_ARN,
        .ignore_case = c->op->family == POLICY_STRING_IGNORE_CASE,
        .scope = variables ? scope : NULL,
        .steps_left = scope->steps_left,
    };
    struct policy_values have = {0};
    (void)policy_spend(scope->steps_left, POLICY_LOOKUP_STEPS);
    if (!scope->values(scope->arg, c->key, &have))
        have.count = 0;
    if (c->op->family == POLICY_NULL)
        return null_holds(c, have.count == 0);
    if (have.count == 0)
        return c->if_exists || c->quantifier == POLICY_FOR_ALL_VALUES ||
               (c->quantifier == POLICY_FOR_ONE && c->op->negated);
    /* Several values without a quantifier: one that matches is enough to match, so a negated
     * operator must hold for all. */
    bool all = c->quantifier == POLICY_FOR_ALL_VALUES ||
               (c->quantifier == POLICY_FOR_ONE && c->op->negated);
    for (size_t i = 0; i < have.count; i++)
        if (value_fits(c, deny, policy_values_at(&have, i), &text) != all)
            return !all;
    return all;
}
