#pragma once
/* The managed policies of AWS that are known here: arn:aws:iam::aws:policy/NAME.  Pure. */
#include "gateway/policy/policy.h"

struct iam_aws_policy {
    const char *arn, *name, *path, *unique_id, *description, *version, *document;
    uint64_t created_ms, changed_ms;
};

/* NULL: there is none of this ARN. */
const struct iam_aws_policy *iam_aws_policy_find(struct slice arn);
const struct iam_aws_policy *iam_aws_policy_at(size_t i); /* by name; NULL: no more */
/* Parsed into the arena.  NULL: no such policy, or no memory. */
const struct policy *iam_aws_policy_parse(struct arena *arena, struct slice arn);
