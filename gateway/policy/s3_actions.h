#pragma once
/* What policies call S3's operations: the actions that there are and what each applies to, the
 * condition keys of S3, and which actions an operation needs of whoever asks for it.  Pure.
 *
 * Ref: Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3";
 * S3 User Guide, "Required permissions for Amazon S3 API operations". */
#include "gateway/policy/policy.h"

enum policy_resource {
    POLICY_RESOURCE_SERVICE, /* "*": the account, no resource of its own */
    POLICY_RESOURCE_BUCKET,  /* arn:aws:s3:::bucket */
    POLICY_RESOURCE_OBJECT,  /* arn:aws:s3:::bucket/key */
    POLICY_RESOURCE_OTHER,   /* access points, jobs, grants: nothing that Cairn has */
};

struct policy_action {
    const char *name; /* without "s3:" */
    enum policy_resource resource;
};
extern const struct policy_action policy_s3_actions[];
extern const size_t policy_s3_action_count;

/* Some of these actions: bit i stands for the i-th. */
#define POLICY_ACTION_WORDS 3
struct policy_action_set {
    uint64_t words[POLICY_ACTION_WORDS];
};

/* What "s3:Get*", "*" or the like names, whatever the case. */
struct policy_action_set policy_s3_actions_named(struct slice pattern);
/* What applies to a resource of this kind. */
struct policy_action_set policy_s3_actions_on(enum policy_resource resource);
/* What a condition key of S3 comes with.  false: S3 has no such key ("aws:" keys are not S3's). */
bool policy_s3_key_actions(struct slice key, struct policy_action_set *ret);

struct policy_action_set policy_action_set_and(struct policy_action_set a,
                                               struct policy_action_set b);
bool policy_action_set_empty(struct policy_action_set s);

/* ---- operations ---- */

/* What of a request needs more, or other, permission. */
enum policy_use {
    POLICY_USE_VERSION = 1 << 0,        /* names a version of the object */
    POLICY_USE_ACL = 1 << 1,            /* sets an ACL or grants */
    POLICY_USE_TAGGING = 1 << 2,        /* sets tags */
    POLICY_USE_RETENTION = 1 << 3,      /* sets a retention */
    POLICY_USE_LEGAL_HOLD = 1 << 4,     /* sets or clears a legal hold */
    POLICY_USE_BYPASS = 1 << 5,         /* x-amz-bypass-governance-retention: true */
    POLICY_USE_OBJECT_LOCK = 1 << 6,    /* makes a bucket with object lock */
    POLICY_USE_OWNERSHIP = 1 << 7,      /* makes a bucket with x-amz-object-ownership */
    POLICY_USE_SOURCE_VERSION = 1 << 8, /* the source of a copy names a version */
    POLICY_USE_COPY_TAGS = 1 << 9,      /* copies the source's tags along */
    POLICY_USE_REPLICA = 1 << 10,       /* says that it is another store's replication */
};

enum policy_target {
    POLICY_ON_SERVICE,
    POLICY_ON_BUCKET,
    POLICY_ON_OBJECT,
    POLICY_ON_SOURCE, /* the object that is copied or renamed */
};

struct policy_need {
    const char *action; /* "s3:GetObject" */
    enum policy_target target;
};
#define POLICY_NEEDS_MAX 8

/* What the operation of this name (botocore's, and PostObject) needs; all of it must be allowed.
 * DeleteObjects: for each key.  uses: of enum policy_use; what means nothing to the operation is
 * ignored.  Returns how many; 0: no such operation, to be refused. */
size_t policy_s3_needs(const char *operation, unsigned uses,
                       struct policy_need ret[POLICY_NEEDS_MAX]);

/* The operations of the table, in no order; NULL behind the last. */
const char *policy_s3_operation(size_t i);

/* The resource's ARN; key empty: of the bucket; bucket empty: "*". */
void policy_s3_arn(struct buf *b, struct slice bucket, struct slice key);
