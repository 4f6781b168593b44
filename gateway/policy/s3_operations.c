/* Which actions an operation needs.  Where S3 has an action for versions, a request that names a
 * version needs that one instead of the plain one.
 *
 * Two operations have no action in general purpose buckets of S3, and are what they do:
 * RenameObject reads and deletes its source and writes its target; appending is PutObject. */
#include "gateway/policy/s3_actions.h"

#include "common/base/check.h"

/* X(operation, target, action, action with a version) */
#define OPERATIONS(X)                                                                              \
    X(ListBuckets, SERVICE, ListAllMyBuckets, 0)                                                   \
    X(CreateBucket, BUCKET, CreateBucket, 0)                                                       \
    X(HeadBucket, BUCKET, ListBucket, 0)                                                           \
    X(DeleteBucket, BUCKET, DeleteBucket, 0)                                                       \
    X(GetBucketLocation, BUCKET, GetBucketLocation, 0)                                             \
    X(ListObjects, BUCKET, ListBucket, 0)                                                          \
    X(ListObjectsV2, BUCKET, ListBucket, 0)                                                        \
    X(ListObjectVersions, BUCKET, ListBucketVersions, 0)                                           \
    X(ListMultipartUploads, BUCKET, ListBucketMultipartUploads, 0)                                 \
    X(GetBucketVersioning, BUCKET, GetBucketVersioning, 0)                                         \
    X(PutBucketVersioning, BUCKET, PutBucketVersioning, 0)                                         \
    X(GetBucketAcl, BUCKET, GetBucketAcl, 0)                                                       \
    X(PutBucketAcl, BUCKET, PutBucketAcl, 0)                                                       \
    X(GetBucketPolicy, BUCKET, GetBucketPolicy, 0)                                                 \
    X(PutBucketPolicy, BUCKET, PutBucketPolicy, 0)                                                 \
    X(DeleteBucketPolicy, BUCKET, DeleteBucketPolicy, 0)                                           \
    X(GetBucketPolicyStatus, BUCKET, GetBucketPolicyStatus, 0)                                     \
    X(GetPublicAccessBlock, BUCKET, GetBucketPublicAccessBlock, 0)                                 \
    X(PutPublicAccessBlock, BUCKET, PutBucketPublicAccessBlock, 0)                                 \
    X(DeletePublicAccessBlock, BUCKET, PutBucketPublicAccessBlock, 0)                              \
    X(GetBucketOwnershipControls, BUCKET, GetBucketOwnershipControls, 0)                           \
    X(PutBucketOwnershipControls, BUCKET, PutBucketOwnershipControls, 0)                           \
    X(DeleteBucketOwnershipControls, BUCKET, PutBucketOwnershipControls, 0)                        \
    X(GetBucketTagging, BUCKET, GetBucketTagging, 0)                                               \
    X(PutBucketTagging, BUCKET, PutBucketTagging, 0)                                               \
    X(DeleteBucketTagging, BUCKET, PutBucketTagging, 0)                                            \
    X(GetBucketCors, BUCKET, GetBucketCORS, 0)                                                     \
    X(PutBucketCors, BUCKET, PutBucketCORS, 0)                                                     \
    X(DeleteBucketCors, BUCKET, PutBucketCORS, 0)                                                  \
    X(GetBucketWebsite, BUCKET, GetBucketWebsite, 0)                                               \
    X(PutBucketWebsite, BUCKET, PutBucketWebsite, 0)                                               \
    X(DeleteBucketWebsite, BUCKET, DeleteBucketWebsite, 0)                                         \
    X(GetBucketEncryption, BUCKET, GetEncryptionConfiguration, 0)                                  \
    X(PutBucketEncryption, BUCKET, PutEncryptionConfiguration, 0)                                  \
    X(DeleteBucketEncryption, BUCKET, PutEncryptionConfiguration, 0)                               \
    X(GetBucketLifecycle, BUCKET, GetLifecycleConfiguration, 0)                                    \
    X(GetBucketLifecycleConfiguration, BUCKET, GetLifecycleConfiguration, 0)                       \
    X(PutBucketLifecycle, BUCKET, PutLifecycleConfiguration, 0)                                    \
    X(PutBucketLifecycleConfiguration, BUCKET, PutLifecycleConfiguration, 0)                       \
    X(DeleteBucketLifecycle, BUCKET, PutLifecycleConfiguration, 0)                                 \
    X(GetBucketReplication, BUCKET, GetReplicationConfiguration, 0)                                \
    X(PutBucketReplication, BUCKET, PutReplicationConfiguration, 0)                                \
    X(DeleteBucketReplication, BUCKET, PutReplicationConfiguration, 0)                             \
    X(GetBucketNotification, BUCKET, GetBucketNotification, 0)                                     \
    X(GetBucketNotificationConfiguration, BUCKET, GetBucketNotification, 0)                        \
    X(PutBucketNotification, BUCKET, PutBucketNotification, 0)                                     \
    X(PutBucketNotificationConfiguration, BUCKET, PutBucketNotification, 0)                        \
    X(GetBucketLogging, BUCKET, GetBucketLogging, 0)                                               \
    X(PutBucketLogging, BUCKET, PutBucketLogging, 0)                                               \
    X(GetBucketRequestPayment, BUCKET, GetBucketRequestPayment, 0)                                 \
    X(PutBucketRequestPayment, BUCKET, PutBucketRequestPayment, 0)                                 \
    X(GetBucketAccelerateConfiguration, BUCKET, GetAccelerateConfiguration, 0)                     \
    X(PutBucketAccelerateConfiguration, BUCKET, PutAccelerateConfiguration, 0)                     \
    X(GetObjectLockConfiguration, BUCKET, GetBucketObjectLockConfiguration, 0)                     \
    X(PutObjectLockConfiguration, BUCKET, PutBucketObjectLockConfiguration, 0)                     \
    X(GetBucketAnalyticsConfiguration, BUCKET, GetAnalyticsConfiguration, 0)                       \
    X(ListBucketAnalyticsConfigurations, BUCKET, GetAnalyticsConfiguration, 0)                     \
    X(PutBucketAnalyticsConfiguration, BUCKET, PutAnalyticsConfiguration, 0)                       \
    X(DeleteBucketAnalyticsConfiguration, BUCKET, PutAnalyticsConfiguration, 0)                    \
    X(GetBucketInventoryConfiguration, BUCKET, GetInventoryConfiguration, 0)                       \
    X(ListBucketInventoryConfigurations, BUCKET, GetInventoryConfiguration, 0)                     \
    X(PutBucketInventoryConfiguration, BUCKET, PutInventoryConfiguration, 0)                       \
    X(DeleteBucketInventoryConfiguration, BUCKET, PutInventoryConfiguration, 0)                    \
    X(GetBucketMetricsConfiguration, BUCKET, GetMetricsConfiguration, 0)                           \
    X(ListBucketMetricsConfigurations, BUCKET, GetMetricsConfiguration, 0)                         \
    X(PutBucketMetricsConfiguration, BUCKET, PutMetricsConfiguration, 0)                           \
    X(DeleteBucketMetricsConfiguration, BUCKET, PutMetricsConfiguration, 0)                        \
    X(GetBucketIntelligentTieringConfiguration, BUCKET, GetIntelligentTieringConfiguration, 0)     \
    X(ListBucketIntelligentTieringConfigurations, BUCKET, GetIntelligentTieringConfiguration, 0)   \
    X(PutBucketIntelligentTieringConfiguration, BUCKET, PutIntelligentTieringConfiguration, 0)     \
    X(DeleteBucketIntelligentTieringConfiguration, BUCKET, PutIntelligentTieringConfiguration, 0)  \
    X(GetObject, OBJECT, GetObject, GetObjectVersion)                                              \
    X(HeadObject, OBJECT, GetObject, GetObjectVersion)                                             \
    X(GetObjectAttributes, OBJECT, GetObject, GetObjectVersion)                                    \
    X(SelectObjectContent, OBJECT, GetObject, 0)                                                   \
    X(GetObjectTorrent, OBJECT, GetObjectTorrent, GetObjectVersionTorrent)                         \
    X(PutObject, OBJECT, PutObject, 0)                                                             \
    X(PostObject, OBJECT, PutObject, 0)                                                            \
    X(CopyObject, OBJECT, PutObject, 0)                                                            \
    X(RenameObject, OBJECT, PutObject, 0)                                                          \
    X(DeleteObject, OBJECT, DeleteObject, DeleteObjectVersion)                                     \
    X(DeleteObjects, OBJECT, DeleteObject, DeleteObjectVersion)                                    \
    X(CreateMultipartUpload, OBJECT, PutObject, 0)                                                 \
    X(UploadPart, OBJECT, PutObject, 0)                                                            \
    X(UploadPartCopy, OBJECT, PutObject, 0)                                                        \
    X(CompleteMultipartUpload, OBJECT, PutObject, 0)                                               \
    X(AbortMultipartUpload, OBJECT, AbortMultipartUpload, 0)                                       \
    X(ListParts, OBJECT, ListMultipartUploadParts, 0)                                              \
    X(GetObjectAcl, OBJECT, GetObjectAcl, GetObjectVersionAcl)                                     \
    X(PutObjectAcl, OBJECT, PutObjectAcl, PutObjectVersionAcl)                                     \
    X(GetObjectTagging, OBJECT, GetObjectTagging, GetObjectVersionTagging)                         \
    X(PutObjectTagging, OBJECT, PutObjectTagging, PutObjectVersionTagging)                         \
    X(DeleteObjectTagging, OBJECT, DeleteObjectTagging, DeleteObjectVersionTagging)                \
    X(GetObjectRetention, OBJECT, GetObjectRetention, 0)                                           \
    X(PutObjectRetention, OBJECT, PutObjectRetention, 0)                                           \
    X(GetObjectLegalHold, OBJECT, GetObjectLegalHold, 0)                                           \
    X(PutObjectLegalHold, OBJECT, PutObjectLegalHold, 0)                                           \
    X(RestoreObject, OBJECT, RestoreObject, 0)

static const struct operation {
    const char *name;
    enum policy_target target;
    const char *action, *version_action;
} operations[] = {
#define X(name, target, action, version) {#name, POLICY_ON_##target, "s3:" #action, "s3:" #version},
    OPERATIONS(X)
#undef X
};

/* What an operation needs besides, when the request has all the uses of `with` and none of
 * `without`. */
static const struct more {
    const char *operation;
    unsigned with, without;
    enum policy_target target;
    const char *action;
} mores[] = {
#define WRITES(op)                                                                                 \
    {op, POLICY_USE_ACL, 0, POLICY_ON_OBJECT, "s3:PutObjectAcl"},                                  \
        {op, POLICY_USE_TAGGING, 0, POLICY_ON_OBJECT, "s3:PutObjectTagging"},                      \
        {op, POLICY_USE_RETENTION, 0, POLICY_ON_OBJECT, "s3:PutObjectRetention"},                  \
    {                                                                                              \
        op, POLICY_USE_LEGAL_HOLD, 0, POLICY_ON_OBJECT, "s3:PutObjectLegalHold"                    \
    }
#define READS_SOURCE(op)                                                                           \
    {op, 0, POLICY_USE_SOURCE_VERSION, POLICY_ON_SOURCE, "s3:GetObject"},                          \
    {                                                                                              \
        op, POLICY_USE_SOURCE_VERSION, 0, POLICY_ON_SOURCE, "s3:GetObjectVersion"                  \
    }
#define BYPASSES(op)                                                                               \
    {                                                                                              \
        op, POLICY_USE_BYPASS, 0, POLICY_ON_OBJECT, "s3:BypassGovernanceRetention"                 \
    }
#define REPLICATES(op, action)                                                                     \
    {                                                                                              \
        op, POLICY_USE_REPLICA, 0, POLICY_ON_OBJECT, "s3:" action                                  \
    }
    WRITES("PutObject"),
    WRITES("PostObject"),
    WRITES("CopyObject"),
    WRITES("CreateMultipartUpload"),
    READS_SOURCE("CopyObject"),
    READS_SOURCE("UploadPartCopy"),
    {"CopyObject", POLICY_USE_COPY_TAGS, POLICY_USE_SOURCE_VERSION, POLICY_ON_SOURCE,
     "s3:GetObjectTagging"},
    {"CopyObject", POLICY_USE_COPY_TAGS | POLICY_USE_SOURCE_VERSION, 0, POLICY_ON_SOURCE,
     "s3:GetObjectVersionTagging"},
    {"CopyObject", POLICY_USE_COPY_TAGS, POLICY_USE_TAGGING, POLICY_ON_OBJECT,
     "s3:PutObjectTagging"},
    {"RenameObject", 0, 0, POLICY_ON_SOURCE, "s3:GetObject"},
    {"RenameObject", 0, 0, POLICY_ON_SOURCE, "s3:DeleteObject"},
    {"GetObjectAttributes", 0, POLICY_USE_VERSION, POLICY_ON_OBJECT, "s3:GetObjectAttributes"},
    {"GetObjectAttributes", POLICY_USE_VERSION, 0, POLICY_ON_OBJECT,
     "s3:GetObjectVersionAttributes"},
    BYPASSES("DeleteObject"),
    BYPASSES("DeleteObjects"),
    BYPASSES("PutObjectRetention"),
    REPLICATES("PutObject", "ReplicateObject"),
    REPLICATES("PostObject", "ReplicateObject"),
    REPLICATES("CopyObject", "ReplicateObject"),
    REPLICATES("CreateMultipartUpload", "ReplicateObject"),
    REPLICATES("CompleteMultipartUpload", "ReplicateObject"),
    REPLICATES("DeleteObject", "ReplicateDelete"),
    REPLICATES("DeleteObjects", "ReplicateDelete"),
    {"CreateBucket", POLICY_USE_ACL, 0, POLICY_ON_BUCKET, "s3:PutBucketAcl"},
    {"CreateBucket", POLICY_USE_OBJECT_LOCK, 0, POLICY_ON_BUCKET,
     "s3:PutBucketObjectLockConfiguration"},
    {"CreateBucket", POLICY_USE_OBJECT_LOCK, 0, POLICY_ON_BUCKET, "s3:PutBucketVersioning"},
    {"CreateBucket", POLICY_USE_OWNERSHIP, 0, POLICY_ON_BUCKET, "s3:PutBucketOwnershipControls"},
#undef WRITES
#undef READS_SOURCE
#undef BYPASSES
#undef REPLICATES
};

const char *policy_s3_operation(size_t i)
{
    return i < ARRAY_COUNT(operations) ? operations[i].name : NULL;
}

size_t policy_s3_needs(const char *operation, unsigned uses,
                       struct policy_need ret[POLICY_NEEDS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_COUNT(operations) && n == 0; i++) {
        const struct operation *o = &operations[i];
        if (strcmp(o->name, operation) != 0)
            continue;
        bool version = uses & POLICY_USE_VERSION && strcmp(o->version_action, "s3:0") != 0;
        ret[n++] = (struct policy_need){version ? o->version_action : o->action, o->target};
    }
    if (n == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(mores); i++) {
        const struct more *m = &mores[i];
        if (strcmp(m->operation, operation) != 0 || (uses & m->with) != m->with ||
            uses & m->without)
            continue;
        CHECK(n < POLICY_NEEDS_MAX);
        ret[n++] = (struct policy_need){m->action, m->target};
    }
    return n;
}

void policy_s3_arn(struct buf *b, struct slice bucket, struct slice key)
{
    if (bucket.len == 0) {
        buf_cstr(b, "*");
        return;
    }
    buf_cstr(b, "arn:aws:s3:::");
    buf_slice(b, bucket);
    if (key.len) {
        buf_u8(b, '/');
        buf_slice(b, key);
    }
}
