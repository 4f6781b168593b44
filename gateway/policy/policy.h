#pragma once
/* Policy documents: bucket policies, identity policies (boundaries are such), session policies and
 * trust policies, parsed into an arena and validated as S3, IAM and STS do.  What they mean for a
 * request: gateway/policy/decide.h.  Pure.
 *
 * Ref: IAM User Guide, "IAM JSON policy reference" and "Grammar of the IAM JSON policy language".
 */
#include "common/base/arena.h"

/* What a document may have: a bucket policy in bytes as sent, the others in characters without the
 * blanks between tokens, as IAM counts.  (IAM's 10,240 hold for all inline policies of a role
 * together; groups and users have less: whoever stores them counts on.) */
#define POLICY_BUCKET_BYTES_MAX 20480
#define POLICY_MANAGED_BYTES_MAX 6144
#define POLICY_INLINE_BYTES_MAX 10240
#define POLICY_SESSION_BYTES_MAX 2048
#define POLICY_TRUST_BYTES_MAX 4096
#define POLICY_RAW_BYTES_MAX 131072 /* blanks included; of the IAM API's model */
#define POLICY_DEPTH_MAX 8          /* a valid document has six levels */
#define POLICY_REASON_BYTES_MAX 256

enum policy_kind {
    POLICY_BUCKET,
    POLICY_MANAGED, /* of identities; permission boundaries are managed policies */
    POLICY_INLINE,
    POLICY_SESSION,
    POLICY_TRUST,
    POLICY_KIND_COUNT
};

enum policy_error {
    POLICY_OK,
    POLICY_MALFORMED,
    POLICY_TOO_LARGE,
    POLICY_NO_MEMORY,
};

struct policy_list {
    const struct slice *items;
    size_t count;
};

enum policy_principal_kind {
    POLICY_PRINCIPAL_ANY,       /* "*", {"AWS": "*"} */
    POLICY_PRINCIPAL_ACCOUNT,   /* 12 digits, or arn:aws:iam::ACCOUNT:root */
    POLICY_PRINCIPAL_IDENTITY,  /* ARN of a user or role, or the unique id of one */
    POLICY_PRINCIPAL_SESSION,   /* ARN of a role's or federated user's session */
    POLICY_PRINCIPAL_CANONICAL, /* canonical id of an account */
    POLICY_PRINCIPAL_FEDERATED, /* never matches: nobody signs in that way here */
    POLICY_PRINCIPAL_SERVICE,   /* never matches: no service calls on its own behalf here */
};

struct policy_principal {
    enum policy_principal_kind kind;
    struct slice value; /* as written; of an ACCOUNT its 12 digits */
};

enum policy_quantifier { POLICY_FOR_ONE, POLICY_FOR_ALL_VALUES, POLICY_FOR_ANY_VALUE };

struct policy_condition {
    const struct policy_operator_row *op; /* gateway/policy/condition.h */
    enum policy_quantifier quantifier;
    bool if_exists;
    struct slice key;
    struct policy_list values; /* at least one */
};

struct policy_statement {
    struct slice sid; /* ptr NULL: none */
    bool deny;
    bool not_principal, not_action, not_resource;
    const struct policy_principal *principals; /* none in policies of identities */
    size_t principal_count;
    struct policy_list actions;
    struct policy_list resources; /* none in a trust policy */
    const struct policy_condition *conditions;
    size_t condition_count;
};

struct policy {
    enum policy_kind kind;
    bool variables; /* Version 2012-10-17: ${...} is a variable, not text */
    struct slice id;
    const struct policy_statement *statements;
    size_t statement_count;
};

struct policy_parse_options {
    enum policy_kind kind;
    struct slice bucket; /* POLICY_BUCKET: its name */
    /* Is there such an account, user or role?  Only asked about ACCOUNT, IDENTITY (by ARN),
     * SESSION and CANONICAL.  NULL: whatever is well formed.  Neither S3 nor IAM takes a policy
     * that names nobody. */
    bool (*principal_exists)(void *arg, const struct policy_principal *p);
    void *arg;
};

/* Parse and validate.  The policy and all it points to lie in the arena, the document is not needed
 * afterwards; at most 16 bytes of the arena for each byte of the document, and 1 KiB.
 * Returns: POLICY_OK; POLICY_MALFORMED, with the reason that S3 or IAM would give;
 * POLICY_TOO_LARGE; POLICY_NO_MEMORY.  On error *ret is untouched; `reason` is always
 * NUL-terminated UTF-8. */
enum policy_error policy_parse(struct arena *arena, const struct policy_parse_options *options,
                               struct slice document, const struct policy **ret,
                               char reason[POLICY_REASON_BYTES_MAX]);

/* The code that the client hears: "MalformedPolicy" of S3, "MalformedPolicyDocument" of IAM and
 * STS, and so on. */
const char *policy_error_code(enum policy_kind kind, enum policy_error err);
const char *policy_kind_name(enum policy_kind kind); /* "bucket policy" */

/* Is the bucket policy public, as GetBucketPolicyStatus and BlockPublicPolicy mean it: does a
 * statement allow something to whom neither its principal nor a condition with fixed values names?
 * Deny statements do not count.  ret_statement (NULL is fine): the first such statement.
 * Ref: S3 User Guide, "Blocking public access", "The meaning of public". */
bool policy_is_public(const struct policy *p, size_t *ret_statement);
