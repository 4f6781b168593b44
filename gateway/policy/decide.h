#pragma once
/* May this caller do this to that?  One request against all policies that have a say.  Pure,
 * allocates nothing, needs no policy to be valid for more than it parsed.
 *
 * Ref: IAM User Guide, "Policy evaluation logic" (within an account, across accounts), "Permissions
 * boundaries for IAM entities", "Session policies". */
#include "gateway/policy/pattern.h"

enum policy_caller_type {
    POLICY_ANONYMOUS,
    POLICY_ROOT, /* of an account */
    POLICY_USER, /* with its own key or a session of its own */
    POLICY_ROLE_SESSION,
};

struct policy_caller {
    enum policy_caller_type type; /* of ANONYMOUS all else is empty */
    struct slice account;         /* 12 digits */
    struct slice canonical_id;    /* of the account */
    struct slice arn;             /* of the user, the account's root, or the session */
    struct slice role_arn;  /* of a session: its role's, arn:aws:iam::ACCOUNT:role/PATH/NAME */
    struct slice unique_id; /* AIDA...; of a session its role's, AROA... */
    struct slice user_id;   /* aws:userid; of a session "AROA...:session name" */
    struct slice user_name; /* of a USER */
};

struct policy_request {
    const struct policy_caller *caller;
    struct slice action;           /* "s3:GetObject" */
    struct slice resource;         /* ARN; of a service's actions "*" */
    struct slice resource_account; /* whose it is; empty: the caller's own */
    /* Values of other context keys than those that follow from the above (aws:PrincipalArn,
     * aws:PrincipalAccount, aws:PrincipalType, aws:userid, aws:username, aws:ResourceAccount,
     * s3:ResourceAccount), which it is never asked for.  Names come as the policy wrote them:
     * compare without case.  false: not in this request.  NULL: there are none. */
    bool (*values)(void *arg, struct slice key, struct policy_values *ret);
    void *arg;
    uint64_t steps_max; /* 0: POLICY_STEPS_MAX */
};

/* What one decision may take.  Whoever may write policies decides what others wait for, so what
 * takes more is denied.  All that a user can have by IAM's quotas takes less, unless it is made to
 * take more: many '?' or '*' against long keys or fields. */
#define POLICY_STEPS_MAX ((uint64_t)4 << 20)

/* All policies that have a say.  Zeroed: none, so only a root user may do anything. */
struct policy_bundle {
    const struct policy *resource;        /* bucket or trust policy; NULL: none */
    const struct policy *const *identity; /* of the user and its groups, or of the role */
    size_t identity_count;
    const struct policy *boundary;       /* NULL: none */
    const struct policy *const *session; /* given when the session was made; together they allow */
    size_t session_count;                /* what any of them allows.  0: none were given */
    bool acl_allows;                     /* an ACL of bucket or object grants it */
    bool restrict_public_buckets;        /* RestrictPublicBuckets is in force */
    bool resource_must_allow; /* identity policies alone are not enough: a trust policy */
    bool unreadable; /* one that has a say could not be read: it might have denied anything */
};

enum policy_outcome { POLICY_IMPLICIT_DENY, POLICY_EXPLICIT_DENY, POLICY_ALLOW };

enum policy_reason {
    POLICY_BY_STATEMENT,        /* allowed or denied by the statement named */
    POLICY_BY_ACL,              /* allowed */
    POLICY_BY_ROOT,             /* the account's root user may */
    POLICY_BY_OWNER,            /* the owner's root user may always mend the bucket's policy */
    POLICY_NOTHING_ALLOWS,      /* denied */
    POLICY_NOT_BY_IDENTITY,     /* the caller's own account does not allow it */
    POLICY_NOT_BY_RESOURCE,     /* the other account, or the trust policy, does not allow it */
    POLICY_NOT_BY_BOUNDARY,     /* outside the permission boundary */
    POLICY_NOT_BY_SESSION,      /* outside the session policies */
    POLICY_NOT_BY_PUBLIC_BLOCK, /* RestrictPublicBuckets: the policy is public, the caller foreign
                                 */
    POLICY_UNREADABLE,          /* denied: policy_bundle.unreadable */
    POLICY_TOO_COSTLY,          /* denied: it would take more than steps_max */
};

enum policy_source {
    POLICY_OF_NONE,
    POLICY_OF_RESOURCE,
    POLICY_OF_IDENTITY,
    POLICY_OF_BOUNDARY,
    POLICY_OF_SESSION
};

struct policy_decision {
    enum policy_outcome outcome;
    enum policy_reason reason;
    /* POLICY_BY_STATEMENT: */
    enum policy_source source;
    size_t policy;    /* among those of the source */
    size_t statement; /* from 0 */
    struct slice sid; /* of the policy; empty: none */
    uint64_t steps;   /* that it took */
};

struct policy_decision policy_decide(const struct policy_request *r, const struct policy_bundle *b);

static inline bool policy_allowed(const struct policy_decision *d)
{
    return d->outcome == POLICY_ALLOW;
}

/* For logs: "explicit deny: bucket policy, statement 2 (NoPlainHttp)", statements counted from 1.
 */
void policy_decision_write(const struct policy_decision *d, struct buf *b);
