/* The tables.  tests/unit/gateway/policy/s3_actions.txt is the list that the first is checked
 * against. */
#include "gateway/policy/s3_actions.h"

#include "common/base/check.h"
#include "gateway/policy/pattern.h"

#include <assert.h>

/* X(NAME, kind of resource) */
#define ACTIONS(X)                                                                                 \
    X(AbortMultipartUpload, OBJECT)                                                                \
    X(AssociateAccessGrantsIdentityCenter, OTHER)                                                  \
    X(BypassGovernanceRetention, OBJECT)                                                           \
    X(CreateAccessGrant, OTHER)                                                                    \
    X(CreateAccessGrantsInstance, OTHER)                                                           \
    X(CreateAccessGrantsLocation, OTHER)                                                           \
    X(CreateAccessPoint, OTHER)                                                                    \
    X(CreateAccessPointForObjectLambda, OTHER)                                                     \
    X(CreateBucket, BUCKET)                                                                        \
    X(CreateBucketMetadataTableConfiguration, BUCKET)                                              \
    X(CreateJob, SERVICE)                                                                          \
    X(CreateMultiRegionAccessPoint, OTHER)                                                         \
    X(CreateStorageLensGroup, SERVICE)                                                             \
    X(DeleteAccessGrant, OTHER)                                                                    \
    X(DeleteAccessGrantsInstance, OTHER)                                                           \
    X(DeleteAccessGrantsInstanceResourcePolicy, OTHER)                                             \
    X(DeleteAccessGrantsLocation, OTHER)                                                           \
    X(DeleteAccessPoint, OTHER)                                                                    \
    X(DeleteAccessPointForObjectLambda, OTHER)                                                     \
    X(DeleteAccessPointPolicy, OTHER)                                                              \
    X(DeleteAccessPointPolicyForObjectLambda, OTHER)                                               \
    X(DeleteBucket, BUCKET)                                                                        \
    X(DeleteBucketMetadataTableConfiguration, BUCKET)                                              \
    X(DeleteBucketPolicy, BUCKET)                                                                  \
    X(DeleteBucketWebsite, BUCKET)                                                                 \
    X(DeleteJobTagging, OTHER)                                                                     \
    X(DeleteMultiRegionAccessPoint, OTHER)                                                         \
    X(DeleteObject, OBJECT)                                                                        \
    X(DeleteObjectTagging, OBJECT)                                                                 \
    X(DeleteObjectVersion, OBJECT)                                                                 \
    X(DeleteObjectVersionTagging, OBJECT)                                                          \
    X(DeleteStorageLensConfiguration, OTHER)                                                       \
    X(DeleteStorageLensConfigurationTagging, OTHER)                                                \
    X(DeleteStorageLensGroup, OTHER)                                                               \
    X(DescribeJob, OTHER)                                                                          \
    X(DescribeMultiRegionAccessPointOperation, OTHER)                                              \
    X(DissociateAccessGrantsIdentityCenter, OTHER)                                                 \
    X(GetAccelerateConfiguration, BUCKET)                                                          \
    X(GetAccessGrant, OTHER)                                                                       \
    X(GetAccessGrantsInstance, OTHER)                                                              \
    X(GetAccessGrantsInstanceForPrefix, OTHER)                                                     \
    X(GetAccessGrantsInstanceResourcePolicy, OTHER)                                                \
    X(GetAccessGrantsLocation, OTHER)                                                              \
    X(GetAccessPoint, SERVICE)                                                                     \
    X(GetAccessPointConfigurationForObjectLambda, OTHER)                                           \
    X(GetAccessPointForObjectLambda, OTHER)                                                        \
    X(GetAccessPointPolicy, OTHER)                                                                 \
    X(GetAccessPointPolicyForObjectLambda, OTHER)                                                  \
    X(GetAccessPointPolicyStatus, OTHER)                                                           \
    X(GetAccessPointPolicyStatusForObjectLambda, OTHER)                                            \
    X(GetAccountPublicAccessBlock, SERVICE)                                                        \
    X(GetAnalyticsConfiguration, BUCKET)                                                           \
    X(GetBucketAbac, BUCKET)                                                                       \
    X(GetBucketAcl, BUCKET)                                                                        \
    X(GetBucketCORS, BUCKET)                                                                       \
    X(GetBucketLocation, BUCKET)                                                                   \
    X(GetBucketLogging, BUCKET)                                                                    \
    X(GetBucketMetadataTableConfiguration, BUCKET)                                                 \
    X(GetBucketNotification, BUCKET)                                                               \
    X(GetBucketObjectLockConfiguration, BUCKET)                                                    \
    X(GetBucketOwnershipControls, BUCKET)                                                          \
    X(GetBucketPolicy, BUCKET)                                                                     \
    X(GetBucketPolicyStatus, BUCKET)                                                               \
    X(GetBucketPublicAccessBlock, BUCKET)                                                          \
    X(GetBucketRequestPayment, BUCKET)                                                             \
    X(GetBucketTagging, BUCKET)                                                                    \
    X(GetBucketVersioning, BUCKET)                                                                 \
    X(GetBucketWebsite, BUCKET)                                                                    \
    X(GetDataAccess, OTHER)                                                                        \
    X(GetEncryptionConfiguration, BUCKET)                                                          \
    X(GetIntelligentTieringConfiguration, BUCKET)                                                  \
    X(GetInventoryConfiguration, BUCKET)                                                           \
    X(GetJobTagging, OTHER)                                                                        \
    X(GetLifecycleConfiguration, BUCKET)                                                           \
    X(GetMetricsConfiguration, BUCKET)                                                             \
    X(GetMultiRegionAccessPoint, OTHER)                                                            \
    X(GetMultiRegionAccessPointPolicy, OTHER)                                                      \
    X(GetMultiRegionAccessPointPolicyStatus, OTHER)                                                \
    X(GetMultiRegionAccessPointRoutes, OTHER)                                                      \
    X(GetObject, OBJECT)                                                                           \
    X(GetObjectAcl, OBJECT)                                                                        \
    X(GetObjectAttributes, OBJECT)                                                                 \
    X(GetObjectLegalHold, OBJECT)                                                                  \
    X(GetObjectRetention, OBJECT)                                                                  \
    X(GetObjectTagging, OBJECT)                                                                    \
    X(GetObjectTorrent, OBJECT)                                                                    \
    X(GetObjectVersion, OBJECT)                                                                    \
    X(GetObjectVersionAcl, OBJECT)                                                                 \
    X(GetObjectVersionAttributes, OBJECT)                                                          \
    X(GetObjectVersionForReplication, OBJECT)                                                      \
    X(GetObjectVersionTagging, OBJECT)                                                             \
    X(GetObjectVersionTorrent, OBJECT)                                                             \
    X(GetReplicationConfiguration, BUCKET)                                                         \
    X(GetStorageLensConfiguration, OTHER)                                                          \
    X(GetStorageLensConfigurationTagging, OTHER)                                                   \
    X(GetStorageLensDashboard, OTHER)                                                              \
    X(GetStorageLensGroup, OTHER)                                                                  \
    X(InitiateReplication, OBJECT)                                                                 \
    X(ListAccessGrants, OTHER)                                                                     \
    X(ListAccessGrantsInstances, SERVICE)                                                          \
    X(ListAccessGrantsLocations, OTHER)                                                            \
    X(ListAccessPoints, SERVICE)                                                                   \
    X(ListAccessPointsForObjectLambda, SERVICE)                                                    \
    X(ListAllMyBuckets, SERVICE)                                                                   \
    X(ListBucket, BUCKET)                                                                          \
    X(ListBucketMultipartUploads, BUCKET)                                                          \
    X(ListBucketVersions, BUCKET)                                                                  \
    X(ListCallerAccessGrants, OTHER)                                                               \
    X(ListJobs, SERVICE)                                                                           \
    X(ListMultiRegionAccessPoints, SERVICE)                                                        \
    X(ListMultipartUploadParts, OBJECT)                                                            \
    X(ListStorageLensConfigurations, SERVICE)                                                      \
    X(ListStorageLensGroups, SERVICE)                                                              \
    X(ListTagsForResource, BUCKET)                                                                 \
    X(ObjectOwnerOverrideToBucketOwner, OBJECT)                                                    \
    X(PauseReplication, BUCKET)                                                                    \
    X(PutAccelerateConfiguration, BUCKET)                                                          \
    X(PutAccessGrantsInstanceResourcePolicy, OTHER)                                                \
    X(PutAccessPointConfigurationForObjectLambda, OTHER)                                           \
    X(PutAccessPointPolicy, OTHER)                                                                 \
    X(PutAccessPointPolicyForObjectLambda, OTHER)                                                  \
    X(PutAccessPointPublicAccessBlock, SERVICE)                                                    \
    X(PutAccountPublicAccessBlock, SERVICE)                                                        \
    X(PutAnalyticsConfiguration, BUCKET)                                                           \
    X(PutBucketAbac, BUCKET)                                                                       \
    X(PutBucketAcl, BUCKET)                                                                        \
    X(PutBucketCORS, BUCKET)                                                                       \
    X(PutBucketLogging, BUCKET)                                                                    \
    X(PutBucketNotification, BUCKET)                                                               \
    X(PutBucketObjectLockConfiguration, BUCKET)                                                    \
    X(PutBucketOwnershipControls, BUCKET)                                                          \
    X(PutBucketPolicy, BUCKET)                                                                     \
    X(PutBucketPublicAccessBlock, BUCKET)                                                          \
    X(PutBucketRequestPayment, BUCKET)                                                             \
    X(PutBucketTagging, BUCKET)                                                                    \
    X(PutBucketVersioning, BUCKET)                                                                 \
    X(PutBucketWebsite, BUCKET)                                                                    \
    X(PutEncryptionConfiguration, BUCKET)                                                          \
    X(PutIntelligentTieringConfiguration, BUCKET)                                                  \
    X(PutInventoryConfiguration, BUCKET)                                                           \
    X(PutJobTagging, OTHER)                                                                        \
    X(PutLifecycleConfiguration, BUCKET)                                                           \
    X(PutMetricsConfiguration, BUCKET)                                                             \
    X(PutMultiRegionAccessPointPolicy, OTHER)                                                      \
    X(PutObject, OBJECT)                                                                           \
    X(PutObjectAcl, OBJECT)                                                                        \
    X(PutObjectLegalHold, OBJECT)                                                                  \
    X(PutObjectRetention, OBJECT)                                                                  \
    X(PutObjectTagging, OBJECT)                                                                    \
    X(PutObjectVersionAcl, OBJECT)                                                                 \
    X(PutObjectVersionTagging, OBJECT)                                                             \
    X(PutReplicationConfiguration, BUCKET)                                                         \
    X(PutStorageLensConfiguration, SERVICE)                                                        \
    X(PutStorageLensConfigurationTagging, OTHER)                                                   \
    X(ReplicateDelete, OBJECT)                                                                     \
    X(ReplicateObject, OBJECT)                                                                     \
    X(ReplicateTags, OBJECT)                                                                       \
    X(RestoreObject, OBJECT)                                                                       \
    X(SubmitMultiRegionAccessPointRoutes, OTHER)                                                   \
    X(TagResource, BUCKET)                                                                         \
    X(UntagResource, BUCKET)                                                                       \
    X(UpdateAccessGrantsLocation, OTHER)                                                           \
    X(UpdateBucketMetadataInventoryTableConfiguration, BUCKET)                                     \
    X(UpdateBucketMetadataJournalTableConfiguration, BUCKET)                                       \
    X(UpdateJobPriority, OTHER)                                                                    \
    X(UpdateJobStatus, OTHER)                                                                      \
    X(UpdateObjectEncryption, OBJECT)                                                              \
    X(UpdateStorageLensGroup, OTHER)

const struct policy_action policy_s3_actions[] = {
#define X(name, resource) {#name, POLICY_RESOURCE_##resource},
    ACTIONS(X)
#undef X
};
const size_t policy_s3_action_count = ARRAY_COUNT(policy_s3_actions);

/* Keys of S3 and the actions that they come with; NULL: all.  A name that ends in '/' is followed
 * by a tag's key. */
static const struct {
    const char *name;
    const char *actions; /* each with a blank before and behind */
} keys[] = {
    {"s3:ResourceAccount", NULL},
    {"s3:signatureversion", NULL},
    {"s3:authType", NULL},
    {"s3:signatureAge", NULL},
    {"s3:TlsVersion", NULL},
    {"s3:x-amz-content-sha256", NULL},
    {"s3:DataAccessPointAccount", NULL},
    {"s3:DataAccessPointArn", NULL},
    {"s3:AccessPointNetworkOrigin", NULL},
    {"s3:AccessGrantsInstanceArn", NULL},
    {"s3:BucketTag/", NULL},
    {"s3:AccessPointTag/", NULL},
    {"s3:AccessGrantScope", " CreateAccessGrant DeleteAccessGrant GetAccessGrant "},
    {"s3:AccessGrantsLocationScope",
     " CreateAccessGrantsLocation DeleteAccessGrantsLocation GetAccessGrantsLocation "
     "UpdateAccessGrantsLocation "},
    {"s3:delimiter", " ListBucket ListBucketVersions "},
    {"s3:destinationRegion", " PauseReplication "},
    {"s3:ExistingJobOperation",
     " DeleteJobTagging PutJobTagging UpdateJobPriority UpdateJobStatus "},
    {"s3:ExistingJobPriority",
     " DeleteJobTagging PutJobTagging UpdateJobPriority UpdateJobStatus "},
    {"s3:ExistingObjectTag/",
     " DeleteObjectTagging DeleteObjectVersionTagging GetObject GetObjectAcl "
     "GetObjectAttributes GetObjectTagging GetObjectVersion GetObjectVersionAcl "
     "GetObjectVersionAttributes GetObjectVersionTagging PutObjectAcl "
     "PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging "},
    {"s3:if-match", " DeleteObject PutObject "},
    {"s3:if-none-match", " PutObject "},
    {"s3:InventoryAccessibleOptionalFields", " PutInventoryConfiguration "},
    {"s3:isReplicationPauseRequest", " PutReplicationConfiguration "},
    {"s3:JobSuspendedCause", " UpdateJobStatus "},
    {"s3:locationconstraint", " CreateAccessPoint CreateBucket "},
    {"s3:max-keys", " ListBucket ListBucketVersions "},
    {"s3:object-lock-legal-hold", " PutObject PutObjectLegalHold "},
    {"s3:object-lock-mode", " PutObject PutObjectRetention "},
    {"s3:object-lock-remaining-retention-days", " PutObject PutObjectRetention "},
    {"s3:object-lock-retain-until-date", " PutObject PutObjectRetention "},
    {"s3:ObjectCreationOperation", " PutObject "},
    {"s3:prefix", " ListBucket ListBucketVersions "},
    {"s3:RequestJobOperation", " CreateJob "},
    {"s3:RequestJobPriority", " CreateJob UpdateJobPriority "},
    {"s3:RequestObjectTag/",
     " BypassGovernanceRetention PutObject PutObjectTagging PutObjectVersionTagging "},
    {"s3:RequestObjectTagKeys",
     " BypassGovernanceRetention PutObject PutObjectTagging PutObjectVersionTagging "},
    {"s3:versionid", " DeleteObjectVersion DeleteObjectVersionTagging GetObjectVersion "
                     "GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionTagging "
                     "GetObjectVersionTorrent PutObjectVersionAcl PutObjectVersionTagging "},
    {"s3:x-amz-acl", " BypassGovernanceRetention CreateAccessPoint CreateBucket PutBucketAcl "
                     "PutObject PutObjectAcl PutObjectVersionAcl "},
    {"s3:x-amz-bucket-namespace", " CreateBucket "},
    {"s3:x-amz-copy-source", " BypassGovernanceRetention PutObject "},
    {"s3:x-amz-grant-full-control",
     " BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl "
     "PutObjectVersionAcl "},
    {"s3:x-amz-grant-read",
     " BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl "
     "PutObjectVersionAcl "},
    {"s3:x-amz-grant-read-acp",
     " BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl "
     "PutObjectVersionAcl "},
    {"s3:x-amz-grant-write",
     " BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl "
     "PutObjectVersionAcl "},
    {"s3:x-amz-grant-write-acp",
     " BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl "
     "PutObjectVersionAcl "},
    {"s3:x-amz-metadata-directive", " BypassGovernanceRetention PutObject "},
    {"s3:x-amz-object-ownership", " CreateBucket "},
    {"s3:x-amz-server-side-encryption",
     " BypassGovernanceRetention PutObject ReplicateObject UpdateObjectEncryption "},
    {"s3:x-amz-server-side-encryption-aws-kms-key-id",
     " BypassGovernanceRetention PutObject ReplicateObject UpdateObjectEncryption "},
    {"s3:x-amz-server-side-encryption-customer-algorithm",
     " BypassGovernanceRetention PutObject ReplicateObject "},
    {"s3:x-amz-storage-class",
     " BypassGovernanceRetention PutObject PutObjectAcl PutObjectVersionAcl "},
    {"s3:x-amz-website-redirect-location", " BypassGovernanceRetention PutObject "},
};

static_assert(ARRAY_COUNT(policy_s3_actions) <= POLICY_ACTION_WORDS * 64, "a bit for each action");

static void set_add(struct policy_action_set *s, size_t i)
{
    s->words[i / 64] |= 1ull << (i % 64);
}

struct policy_action_set policy_action_set_and(struct policy_action_set a,
                                               struct policy_action_set b)
{
    for (size_t i = 0; i < POLICY_ACTION_WORDS; i++)
        a.words[i] &= b.words[i];
    return a;
}

bool policy_action_set_empty(struct policy_action_set s)
{
    uint64_t any = 0;
    for (size_t i = 0; i < POLICY_ACTION_WORDS; i++)
        any |= s.words[i];
    return any == 0;
}

struct policy_action_set policy_s3_actions_named(struct slice pattern)
{
    const struct policy_match_options o = {.wildcards = true, .ignore_case = true};
    struct policy_action_set set = {{0}};
    char name[64] = "s3:";
    for (size_t i = 0; i < policy_s3_action_count; i++) {
        size_t n = strlen(policy_s3_actions[i].name);
        CHECK(n + 3 < sizeof(name));
        memcpy(name + 3, policy_s3_actions[i].name, n);
        if (policy_match(pattern, SLICE(name, n + 3), &o) == POLICY_MATCHES)
            set_add(&set, i);
    }
    return set;
}

struct policy_action_set policy_s3_actions_on(enum policy_resource resource)
{
    struct policy_action_set set = {{0}};
    for (size_t i = 0; i < policy_s3_action_count; i++)
        if (policy_s3_actions[i].resource == resource)
            set_add(&set, i);
    return set;
}

/* Its place in the table; SIZE_MAX: none. */
static size_t key_find(struct slice key)
{
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        struct slice name = slice_cstr(keys[i].name);
        bool tag = name.ptr[name.len - 1] == '/';
        if (tag ? key.len > name.len && policy_eq_ignore_case(SLICE(key.ptr, name.len), name)
                : policy_eq_ignore_case(key, name))
            return i;
    }
    return SIZE_MAX;
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = words; *at; at++)
        if (*at == ' ' && strncmp(at + 1, word, n) == 0 && at[1 + n] == ' ')
            return true;
    return false;
}

bool policy_s3_key_actions(struct slice key, struct policy_action_set *ret)
{
    struct policy_action_set set = {{0}};
    size_t k = key_find(key);
    if (k == SIZE_MAX)
        return false;
    for (size_t i = 0; i < policy_s3_action_count; i++)
        if (!keys[k].actions || has_word(keys[k].actions, policy_s3_actions[i].name))
            set_add(&set, i);
    *ret = set;
    return true;
}
