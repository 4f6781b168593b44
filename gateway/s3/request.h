#pragma once
/* From method, target and header fields to an S3 request: addressing, decoded bucket and key, query
 * parameters, and which operation it is.  Pure; everything lives in the arena given or is borrowed
 * from the HTTP request. */
#include "common/base/arena.h"
#include "gateway/s3/fields.h"
#include "gateway/s3/error.h"

#define S3_KEY_BYTES_MAX 1024
#define S3_BUCKET_NAME_MIN 3
#define S3_BUCKET_NAME_MAX 63
#define S3_PARAMS_MAX 64
/* What lies below is no object: the operator's questions (S3_OP_ADMIN).  No bucket has that name.
 */
#define S3_ADMIN_PREFIX "/_cairn/admin/v1/"
#define S3_PART_NUMBER_MAX 10000
#define S3_OBJECT_BYTES_MAX (5ull << 40)
#define S3_PUT_BYTES_MAX (5ull << 30)
#define S3_PART_BYTES_MIN (5ull << 20)

/* X(NAME, "name as S3 calls it") */
#define S3_OP_TABLE(X)                                                                             \
    X(LIST_BUCKETS, "ListBuckets")                                                                 \
    X(CREATE_BUCKET, "CreateBucket")                                                               \
    X(HEAD_BUCKET, "HeadBucket")                                                                   \
    X(DELETE_BUCKET, "DeleteBucket")                                                               \
    X(GET_BUCKET_LOCATION, "GetBucketLocation")                                                    \
    X(LIST_OBJECTS, "ListObjects")                                                                 \
    X(LIST_OBJECTS_V2, "ListObjectsV2")                                                            \
    X(LIST_OBJECT_VERSIONS, "ListObjectVersions")                                                \
    X(GET_BUCKET_VERSIONING, "GetBucketVersioning")                                              \
    X(PUT_BUCKET_VERSIONING, "PutBucketVersioning")                                              \
    X(LIST_MULTIPART_UPLOADS, "ListMultipartUploads")                                              \
    X(DELETE_OBJECTS, "DeleteObjects")                                                             \
    X(GET_OBJECT, "GetObject")                                                                     \
    X(HEAD_OBJECT, "HeadObject")                                                                   \
    X(POST_OBJECT, "PostObject")                                                                   \
    X(PUT_OBJECT, "PutObject")                                                                     \
    X(COPY_OBJECT, "CopyObject")                                                                   \
    X(RENAME_OBJECT, "RenameObject")                                                               \
    X(DELETE_OBJECT, "DeleteObject")                                                               \
    X(GET_OBJECT_ATTRIBUTES, "GetObjectAttributes")                                                \
    X(CREATE_MULTIPART_UPLOAD, "CreateMultipartUpload")                                            \
    X(UPLOAD_PART, "UploadPart")                                                                   \
    X(UPLOAD_PART_COPY, "UploadPartCopy")                                                          \
    X(LIST_PARTS, "ListParts")                                                                     \
    X(COMPLETE_MULTIPART_UPLOAD, "CompleteMultipartUpload")                                        \
    X(ABORT_MULTIPART_UPLOAD, "AbortMultipartUpload")                                              \
    X(GET_BUCKET_TAGGING, "GetBucketTagging")                                                      \
    X(PUT_BUCKET_TAGGING, "PutBucketTagging")                                                      \
    X(DELETE_BUCKET_TAGGING, "DeleteBucketTagging")                                                \
    X(GET_OBJECT_TAGGING, "GetObjectTagging")                                                      \
    X(PUT_OBJECT_TAGGING, "PutObjectTagging")                                                      \
    X(DELETE_OBJECT_TAGGING, "DeleteObjectTagging")                                                \
    X(GET_BUCKET_CORS, "GetBucketCors")                                                            \
    X(PUT_BUCKET_CORS, "PutBucketCors")                                                            \
    X(DELETE_BUCKET_CORS, "DeleteBucketCors")                                                      \
    X(PREFLIGHT, "Preflight")                                                                      \
    X(GET_BUCKET_REQUEST_PAYMENT, "GetBucketRequestPayment")                                       \
    X(PUT_BUCKET_REQUEST_PAYMENT, "PutBucketRequestPayment")                                       \
    X(GET_BUCKET_ACCELERATE, "GetBucketAccelerateConfiguration")                                   \
    X(PUT_BUCKET_ACCELERATE, "PutBucketAccelerateConfiguration")                                   \
    X(GET_BUCKET_ANALYTICS, "GetBucketAnalyticsConfiguration")                                     \
    X(PUT_BUCKET_ANALYTICS, "PutBucketAnalyticsConfiguration")                                     \
    X(DELETE_BUCKET_ANALYTICS, "DeleteBucketAnalyticsConfiguration")                               \
    X(LIST_BUCKET_ANALYTICS, "ListBucketAnalyticsConfigurations")                                  \
    X(GET_BUCKET_METRICS, "GetBucketMetricsConfiguration")                                         \
    X(PUT_BUCKET_METRICS, "PutBucketMetricsConfiguration")                                         \
    X(DELETE_BUCKET_METRICS, "DeleteBucketMetricsConfiguration")                                   \
    X(LIST_BUCKET_METRICS, "ListBucketMetricsConfigurations")                                      \
    X(GET_BUCKET_TIERING, "GetBucketIntelligentTieringConfiguration")                              \
    X(PUT_BUCKET_TIERING, "PutBucketIntelligentTieringConfiguration")                              \
    X(DELETE_BUCKET_TIERING, "DeleteBucketIntelligentTieringConfiguration")                        \
    X(LIST_BUCKET_TIERING, "ListBucketIntelligentTieringConfigurations")                           \
    X(GET_BUCKET_LIFECYCLE, "GetBucketLifecycleConfiguration")                                     \
    X(PUT_BUCKET_LIFECYCLE, "PutBucketLifecycleConfiguration")                                     \
    X(DELETE_BUCKET_LIFECYCLE, "DeleteBucketLifecycle")                                            \
    X(GET_BUCKET_POLICY, "GetBucketPolicy")                                                        \
    X(PUT_BUCKET_POLICY, "PutBucketPolicy")                                                        \
    X(DELETE_BUCKET_POLICY, "DeleteBucketPolicy")                                                  \
    X(GET_BUCKET_POLICY_STATUS, "GetBucketPolicyStatus")                                           \
    X(GET_BUCKET_ENCRYPTION, "GetBucketEncryption")                                                \
    X(PUT_BUCKET_ENCRYPTION, "PutBucketEncryption")                                                \
    X(DELETE_BUCKET_ENCRYPTION, "DeleteBucketEncryption")                                          \
    X(GET_BUCKET_REPLICATION, "GetBucketReplication")                                              \
    X(PUT_BUCKET_REPLICATION, "PutBucketReplication")                                              \
    X(DELETE_BUCKET_REPLICATION, "DeleteBucketReplication")                                        \
    X(GET_BUCKET_WEBSITE, "GetBucketWebsite")                                                      \
    X(PUT_BUCKET_WEBSITE, "PutBucketWebsite")                                                      \
    X(DELETE_BUCKET_WEBSITE, "DeleteBucketWebsite")                                                \
    X(GET_BUCKET_OWNERSHIP, "GetBucketOwnershipControls")                                          \
    X(PUT_BUCKET_OWNERSHIP, "PutBucketOwnershipControls")                                          \
    X(DELETE_BUCKET_OWNERSHIP, "DeleteBucketOwnershipControls")                                    \
    X(GET_PUBLIC_ACCESS_BLOCK, "GetPublicAccessBlock")                                             \
    X(PUT_PUBLIC_ACCESS_BLOCK, "PutPublicAccessBlock")                                             \
    X(DELETE_PUBLIC_ACCESS_BLOCK, "DeletePublicAccessBlock")                                       \
    X(GET_BUCKET_ACL, "GetBucketAcl")                                                              \
    X(PUT_BUCKET_ACL, "PutBucketAcl")                                                              \
    X(GET_OBJECT_ACL, "GetObjectAcl")                                                              \
    X(PUT_OBJECT_ACL, "PutObjectAcl")                                                              \
    X(GET_BUCKET_INVENTORY, "GetBucketInventoryConfiguration")                                     \
    X(PUT_BUCKET_INVENTORY, "PutBucketInventoryConfiguration")                                     \
    X(DELETE_BUCKET_INVENTORY, "DeleteBucketInventoryConfiguration")                               \
    X(LIST_BUCKET_INVENTORY, "ListBucketInventoryConfigurations")                                  \
    X(GET_BUCKET_LOGGING, "GetBucketLogging")                                                      \
    X(PUT_BUCKET_LOGGING, "PutBucketLogging")                                                      \
    X(GET_BUCKET_NOTIFICATION, "GetBucketNotificationConfiguration")                               \
    X(PUT_BUCKET_NOTIFICATION, "PutBucketNotificationConfiguration")                               \
    X(GET_OBJECT_LOCK_CONFIGURATION, "GetObjectLockConfiguration")                                 \
    X(PUT_OBJECT_LOCK_CONFIGURATION, "PutObjectLockConfiguration")                                 \
    X(GET_OBJECT_RETENTION, "GetObjectRetention")                                                  \
    X(PUT_OBJECT_RETENTION, "PutObjectRetention")                                                  \
    X(GET_OBJECT_LEGAL_HOLD, "GetObjectLegalHold")                                                 \
    X(PUT_OBJECT_LEGAL_HOLD, "PutObjectLegalHold")                                                 \
    X(ADMIN, "Admin")

enum s3_op {
    S3_OP_NONE,
#define X(NAME, name) S3_OP_##NAME,
    S3_OP_TABLE(X)
#undef X
        S3_OP_COUNT
};
const char *s3_op_name(enum s3_op op);

struct s3_param {
    struct slice name, value; /* decoded: %XX, and '+' as a space */
    struct slice raw_name, raw_value;
    bool has_value; /* "a=" has one (empty), "a" has none */
};

struct s3_request {
    enum s3_op op;
    const char *resource; /* what it is about, as S3 names it; NULL: that is not known */
    char allow[32];       /* the methods that it has, if METHOD_NOT_ALLOWED came of the choice */
    struct slice method;
    struct slice raw_path;  /* of the target, as sent; what is signed */
    struct slice raw_query; /* without '?', as sent */
    struct slice path;      /* decoded raw_path (Resource of error documents) */
    struct slice host;      /* Host, without the port */
    struct slice bucket;    /* empty: the service itself */
    struct slice key;       /* empty: the bucket itself; of S3_OP_ADMIN what follows the prefix */
    uint64_t version;       /* versionId (version.h); S3_VERSION_NONE: none */
    bool virtual_host;
    bool website; /* of a host that websites are at: nothing but bucket and key was looked at */
    struct s3_param *params;
    size_t param_count;
    struct http_fields fields; /* as sent, and behind them */
    size_t hoisted;            /* so many that the query of a presigned request has (hoist.h) */
    struct arena *arena;
};

struct s3_addressing {
    const struct slice
        *base_domains; /* "s3.example.com": bucket.s3.example.com is virtual-host style */
    size_t base_domain_count;
    /* "web.example.com": bucket.web.example.com is the website of the bucket, and web.example.com that
     * of the bucket with that very name; "*": so is any other host with a dot that is no base
     * domain, nor below one, nor an address. */
    const struct slice *website_domains;
    size_t website_domain_count;
};

/* Is a parameter of this name one that operations are chosen by, be they offered or not, and be it
 * on the service, buckets or objects? */
bool s3_names_subresource(struct slice name);

/* Parse.  Returns: S3_OK; INVALID_URI, INVALID_BUCKET_NAME, KEY_TOO_LONG, METHOD_NOT_ALLOWED,
 * NOT_IMPLEMENTED (a known subresource that is not offered, or not of this kind of resource, or an
 * unknown one), INVALID_ARGUMENT, INVALID_REQUEST, INTERNAL_ERROR, and what s3_request_hoist()
 * says.  Of websites GET and HEAD are those of objects.  OPTIONS is S3_OP_PREFLIGHT, with or without
 * a bucket.
 * On error *ret holds what was understood (bucket, path, params), enough for the error document and
 * for authenticating first: an anonymous client should hear AccessDenied before NotImplemented. */
enum s3_code s3_request_parse(struct arena *arena, const struct s3_addressing *addressing,
                              struct slice method, struct slice target, struct http_fields fields,
                              struct s3_request *ret, struct s3_fault *fault);

/* The first parameter of this (decoded, case-sensitive) name, or NULL. */
const struct s3_param *s3_request_param(const struct s3_request *r, const char *name);
/* Its value; {NULL, 0} when absent. */
struct slice s3_request_value(const struct s3_request *r, const char *name);

/* The number in a parameter.  Returns: S3_OK (absent: `missing`); INVALID_ARGUMENT. */
enum s3_code s3_request_number(const struct s3_request *r, const char *name, uint64_t min,
                               uint64_t max, uint64_t missing, uint64_t *ret,
                               struct s3_fault *fault);

bool s3_bucket_name_valid(struct slice name);
bool utf8_valid(struct slice s);
/* Length of the sequence at p (left >= 1 bytes); 0 when it is not UTF-8. */
size_t utf8_sequence(const uint8_t *p, size_t left);

/* %XX decoding into the arena.  plus_is_space: query semantics.  false: a bad escape, or no memory.
 * Returns a borrowed slice when there is nothing to decode. */
bool s3_percent_decode(struct arena *arena, struct slice s, bool plus_is_space, struct slice *ret);
/* RFC 3986 as SigV4 wants it (A-Z a-z 0-9 - . _ ~ stay); keep_slash keeps '/'. */
void s3_percent_encode(struct buf *b, struct slice s, bool keep_slash);

/* Decimal, all of s, no sign.  false: empty, not digits, or overflow. */
bool parse_u64(struct slice s, uint64_t *ret);
