#pragma once
/* The context of a request as policies ask for it: values of condition keys.  Allocates a little in
 * the request's arena when it is set up, nothing while a policy is evaluated.
 *
 * Ref: IAM User Guide, "AWS global condition context keys"; Service Authorization Reference,
 * "Condition keys for Amazon S3". */
#include "gateway/op/request.h"
#include "gateway/policy/pattern.h"
#include "gateway/s3/tags.h"

/* What the body of a request says that policies may ask about (request.h: authorize_late()).
 * Zeroed: nothing. */
struct request_said {
    const struct s3_tags *tags; /* PutObjectTagging */
    struct slice location;      /* CreateBucket: LocationConstraint */
    struct slice lock_mode;     /* PutObjectRetention */
    struct slice lock_until;    /* the same, as ISO 8601 */
    struct slice legal_hold;    /* PutObjectLegalHold */
};

struct context {
    const struct request *req;
    const struct request_said *said;
    const Cairn__PrincipalRecord *principal; /* NULL: anonymous */
    const struct principal_session *session; /* NULL: none */
    const Cairn__ObjectRecord *object;       /* that the action is about; NULL: none is known */
    struct slice version_id;                 /* as the request names it; ptr NULL: it does not */
    struct slice if_match;                   /* likewise */
    /* private */
    struct slice copy_source;
    struct s3_tags tags;
    struct slice tag_keys[S3_OBJECT_TAGS_MAX];
    char text[40];
};

/* said: NULL: nothing, or not yet.  false: there was no memory for what may be asked about, so
 * nothing must be decided with it. */
bool context_init(struct context *c, struct request *req, const struct request_said *said);
/* aws:SourceIp; empty: not known. */
struct slice context_source_ip(const struct request *req);
/* For struct policy_request: arg is the context. */
bool context_values(void *arg, struct slice key, struct policy_values *ret);
