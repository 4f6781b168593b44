/* Conditions of IAM's and STS's requests, and the question to the evaluator. */
#include "gateway/iam/authorize.h"

#include "gateway/s3/time.h"

#include <stdio.h>

static bool give(struct policy_values *ret, struct slice value)
{
    *ret = (struct policy_values){.count = 1, .one = value};
    return value.len > 0;
}

/* Keys of identities' tags differ in more than case, and mean the same in whatever case. */
static bool principal_tag(const struct iam_context *c, struct slice key, struct policy_values *ret)
{
    static const struct slice head = {(const uint8_t *)"aws:PrincipalTag/", 17};
    if (key.len <= head.len || !policy_eq_ignore_case(SLICE(key.ptr, head.len), head))
        return false;
    struct slice name = SLICE(key.ptr + head.len, key.len - head.len);
    for (size_t i = 0; i < c->caller->tag_count; i++)
        if (policy_eq_ignore_case(slice_cstr(c->caller->tags[i]->name), name)) {
            *ret = (struct policy_values){.count = 1, .one = slice_cstr(c->caller->tags[i]->value)};
            return true;
        }
    return false;
}

static bool request_tag(const struct iam_context *c, struct slice key, struct policy_values *ret)
{
    static const struct slice head = {(const uint8_t *)"aws:RequestTag/", 15};
    if (key.len <= head.len || !policy_eq_ignore_case(SLICE(key.ptr, head.len), head))
        return false;
    struct slice name = SLICE(key.ptr + head.len, key.len - head.len);
    for (size_t i = 0; c->tag_values && i < c->tag_count; i++)
        if (policy_eq_ignore_case(c->tag_keys[i], name)) {
            *ret = (struct policy_values){.count = 1, .one = c->tag_values[i]};
            return true;
        }
    return false;
}

static bool context_value(void *arg, struct slice key, struct policy_values *ret)
{
    struct iam_context *c = arg;
    const struct {
        const char *name;
        struct slice value;
    } plain[] = {
        {"iam:PolicyARN", c->policy_arn},
        {"iam:PermissionsBoundary", c->boundary},
        {"sts:RoleSessionName", c->session_name},
        {"sts:ExternalId", c->external_id},
        {"aws:SourceIp", c->caller->source_ip},
        {"aws:UserAgent", c->caller->user_agent},
        {"aws:SecureTransport", c->caller->tls ? SLICE_LIT("true") : SLICE_LIT("false")},
        {"aws:CurrentTime", slice_cstr(c->now)},
        {"aws:EpochTime", slice_cstr(c->epoch)},
        {"aws:RequestedRegion", c->caller->region},
        {"aws:ViaAWSService", SLICE_LIT("false")},
        {"aws:PrincipalIsAWSService", SLICE_LIT("false")},
        /* Of sessions only, none of which is made with a second factor. */
        {"aws:TokenIssueTime", c->caller->temporary ? slice_cstr(c->issued) : SLICE_EMPTY},
        {"aws:MultiFactorAuthPresent", c->caller->temporary ? SLICE_LIT("false") : SLICE_EMPTY},
    };
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (policy_eq_ignore_case(key, slice_cstr(plain[i].name)))
            return give(ret, plain[i].value);
    if (policy_eq_ignore_case(key, SLICE_LIT("aws:TagKeys"))) {
        *ret = (struct policy_values){.items = c->tag_keys, .count = c->tag_count};
        return c->tag_count > 0;
    }
    return principal_tag(c, key, ret) || request_tag(c, key, ret);
}

struct policy_decision iam_authorize(struct iam_context *context, struct slice action,
                                     struct slice resource, struct slice account,
                                     const struct policy *trust)
{
    const struct iam_caller *caller = context->caller;
    iso8601_format(context->now_ms / 1000 * 1000, context->now);
    iso8601_format(caller->issued_ms, context->issued);
    snprintf(context->epoch, sizeof(context->epoch), "%llu",
             (unsigned long long)(context->now_ms / 1000));
    struct policy_request request = {
        .caller = &caller->who,
        .action = action,
        .resource = resource,
        .resource_account = account,
        .values = context_value,
        .arg = context,
    };
    struct policy_bundle bundle = {
        .resource = trust,
        .identity = caller->identity,
        .identity_count = caller->identity_count,
        .boundary = caller->boundary,
        .session = caller->session,
        .session_count = caller->session_count,
        .resource_must_allow = trust != NULL,
        .unreadable = caller->unreadable != NULL,
    };
    return policy_decide(&request, &bundle);
}
