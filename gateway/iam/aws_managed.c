/* What the policies allow is as AWS has published it, as far as it concerns what is here. */
#include "gateway/iam/aws_managed.h"

#define ARN "arn:aws:iam::aws:policy/"
#define DAY_MS 86400000ull

#define ALLOW(actions)                                                                             \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":" actions         \
    ",\"Resource\":\"*\"}]}"

static const struct iam_aws_policy policies[] = {
    {ARN "AdministratorAccess", "AdministratorAccess", "/", "ANPAIWMBCKSKIEE64ZLYK",
     "Everything, in all services.", "v1", ALLOW("\"*\""), 16472 * DAY_MS, 16472 * DAY_MS},
    {ARN "AmazonS3FullAccess", "AmazonS3FullAccess", "/", "ANPAIFIR6V6BVTRAHWINE",
     "Everything in all buckets of the account.", "v2", ALLOW("[\"s3:*\",\"s3-object-lambda:*\"]"),
     16472 * DAY_MS, 18897 * DAY_MS},
    {ARN "AmazonS3ReadOnlyAccess", "AmazonS3ReadOnlyAccess", "/", "ANPAIZTJ4DXE7G6AGAE6M",
     "Reads and lists in all buckets of the account.", "v3",
     ALLOW("[\"s3:Get*\",\"s3:List*\",\"s3:Describe*\",\"s3-object-lambda:Get*\","
           "\"s3-object-lambda:List*\"]"),
     16472 * DAY_MS, 19579 * DAY_MS},
    {ARN "IAMFullAccess", "IAMFullAccess", "/", "ANPAI7XKCFMBPM3QQRRVQ",
     "Everything about the account's identities.", "v2",
     ALLOW("[\"iam:*\",\"organizations:DescribeAccount\","
           "\"organizations:DescribeOrganization\",\"organizations:DescribeOrganizationalUnit\","
           "\"organizations:DescribePolicy\",\"organizations:ListChildren\","
           "\"organizations:ListParents\",\"organizations:ListPoliciesForTarget\","
           "\"organizations:ListRoots\",\"organizations:ListPolicies\","
           "\"organizations:ListTargetsForPolicy\"]"),
     16472 * DAY_MS, 18068 * DAY_MS},
    {ARN "IAMReadOnlyAccess", "IAMReadOnlyAccess", "/", "ANPAJKSO7NDY4T57MWDSQ",
     "Reads and lists the account's identities.", "v4",
     ALLOW("[\"iam:GenerateCredentialReport\",\"iam:GenerateServiceLastAccessedDetails\","
           "\"iam:Get*\",\"iam:List*\",\"iam:SimulateCustomPolicy\","
           "\"iam:SimulatePrincipalPolicy\"]"),
     16472 * DAY_MS, 17556 * DAY_MS},
};

const struct iam_aws_policy *iam_aws_policy_at(size_t i)
{
    return i < sizeof(policies) / sizeof(policies[0]) ? &policies[i] : NULL;
}

const struct iam_aws_policy *iam_aws_policy_find(struct slice arn)
{
    for (size_t i = 0; iam_aws_policy_at(i); i++)
        if (slice_eq(arn, slice_cstr(policies[i].arn)))
            return &policies[i];
    return NULL;
}

const struct policy *iam_aws_policy_parse(struct arena *arena, struct slice arn)
{
    const struct iam_aws_policy *p = iam_aws_policy_find(arn);
    const struct policy_parse_options options = {.kind = POLICY_MANAGED};
    const struct policy *parsed = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    if (!p || policy_parse(arena, &options, slice_cstr(p->document), &parsed, reason) != POLICY_OK)
        return NULL;
    return parsed;
}
