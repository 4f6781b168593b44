#pragma once
/* Who a request is of, ready to be asked what it may: a principal's record with its policies
 * parsed, once per cache entry.  The record is as fresh as every other read of it, so a changed
 * policy holds for the next request. */
#include "gateway/op/gateway.h"
#include "gateway/policy/decide.h"

/* Of a temporary session (STS), beside the record of the user or role that it is of.  In the
 * request's arena. */
struct principal_session {
    struct slice name;    /* of a role's session; empty: a session of the user itself */
    struct slice arn;     /* of a role's session: arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME */
    struct slice user_id; /* of a role's session: "AROA...:NAME" */
    const struct policy *const *policies; /* given when it was made; together they bound it */
    size_t policy_count;
    uint64_t issued_ms;
};

struct principal {
    const Cairn__PrincipalRecord *record; /* of the entry */
    struct policy_caller caller;          /* without a session */
    const struct policy *const *policies;
    size_t policy_count;
    const struct policy *boundary; /* NULL: none */
    /* A policy was not understood, or the record says so itself: why nothing is allowed, for what
     * is missing might have denied it.  NULL: all is there.  A root user has no policies. */
    const char *unreadable;
    /* private */
    struct arena arena;
};

/* entry: of a principal that is present.  Lives as long as the entry.  NULL: no memory. */
const struct principal *principal_of(struct gateway *gw, struct cache_entry *entry);
/* session: NULL: none. */
struct policy_caller principal_caller(const struct principal *p,
                                      const struct principal_session *session);

/* A principal of its own, outside the cache, for what asks once.  NULL: no memory. */
struct principal *principal_new(const Cairn__PrincipalRecord *record);
void principal_free(struct principal *p); /* NULL is fine */
