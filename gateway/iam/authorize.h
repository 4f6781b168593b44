#pragma once
/* May this caller do that to this identity?  The caller's own policies decide, and the trust policy
 * of a role that it wants to assume.  Pure. */
#include "common/base/arena.h"
#include "gateway/policy/decide.h"
#include "proto/common.pb-c.h"

struct iam_caller {
    struct policy_caller who; /* never anonymous */
    const struct policy *const *identity;
    size_t identity_count;
    const struct policy *boundary; /* NULL: none */
    const char *unreadable;        /* why nothing is allowed to it; NULL: it is not so */
    const struct policy *const *session;
    size_t session_count;
    struct slice access_key;  /* that signed */
    bool temporary;           /* the credentials are of STS: a session's */
    uint64_t issued_ms;       /* of the session: aws:TokenIssueTime */
    Cairn__Pair *const *tags; /* aws:PrincipalTag/KEY */
    size_t tag_count;
    struct slice region;          /* aws:RequestedRegion */
    bool is_operator;             /* root user of the account that the cluster was founded with */
    uint64_t created_ms;          /* of the user or account */
    uint32_t session_seconds_max; /* what is left, of a session (0: no bound) */
    struct slice source_ip, user_agent;
    bool tls;
};

struct iam_context { /* of conditions */
    const struct iam_caller *caller;
    uint64_t now_ms;
    struct slice policy_arn; /* iam:PolicyARN: that is attached or detached */
    struct slice boundary;   /* iam:PermissionsBoundary: that is set; else of whom it is about */
    struct slice session_name, external_id;    /* sts: */
    const struct slice *tag_keys, *tag_values; /* aws:TagKeys, aws:RequestTag/KEY (NULL) */
    size_t tag_count;
    char now[32]; /* private: aws:CurrentTime */
    char epoch[24];
    char issued[32];
};

/* Is the action allowed on the resource?  trust: of the role that is to be assumed, NULL else. */
struct policy_decision iam_authorize(struct iam_context *context, struct slice action,
                                     struct slice resource, struct slice account,
                                     const struct policy *trust);
