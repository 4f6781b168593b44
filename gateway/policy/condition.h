#pragma once
/* The operators of the Condition element.  Pure.
 * Ref: IAM User Guide, "IAM JSON policy elements: Condition operators", "Multivalued context keys".
 */
#include "gateway/policy/pattern.h"

enum policy_family {
    POLICY_STRING,
    POLICY_STRING_IGNORE_CASE,
    POLICY_STRING_LIKE,
    POLICY_NUMERIC,
    POLICY_DATE,
    POLICY_BOOL,
    POLICY_BINARY,
    POLICY_IP,
    POLICY_ARN,
    POLICY_NULL,
};

enum policy_relation { /* request's value to policy's value */
                       POLICY_EQ = 1,
                       POLICY_LT = 2,
                       POLICY_LE = 3,
                       POLICY_GT = 4,
                       POLICY_GE = 5,
};

struct policy_operator_row {
    const char *name;
    enum policy_family family;
    enum policy_relation relation;
    bool negated;
};

/* "ForAnyValue:StringLikeIfExists" into its parts; names as AWS writes them, case included.
 * false: there is no such operator. */
bool policy_operator_parse(struct slice name, struct policy_condition *ret);
/* Can the operator compare with this value?  variables: as policy.variables. */
bool policy_operator_takes(const struct policy_operator_row *op, struct slice value,
                           bool variables);

/* Does the condition hold?  deny: of a Deny statement.  What cannot be decided (a value of the
 * request that is no number, date, address; a variable without a value) never makes more allowed: a
 * negated operator then holds in a Deny and fails in an Allow. */
bool policy_condition_holds(const struct policy_condition *c, bool variables, bool deny,
                            const struct policy_scope *scope);
