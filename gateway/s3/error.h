#pragma once
/* S3's errors: code, HTTP status, default message in one table; the mapping from the system's own
 * error codes; the error document.
 *
 * Functions of gateway/s3 return enum s3_code: S3_OK (0) or what to tell the client, with details
 * in a struct s3_fault whose slices live in the request's arena.  Pure. */
#include "common/base/slice.h"

/* X(NAME, "Code", HTTP status, "default message") */
#define S3_ERROR_TABLE(X)                                                                          \
    X(ACCESS_DENIED, "AccessDenied", 403, "Access Denied")                                         \
    X(ACL_NOT_SUPPORTED, "AccessControlListNotSupported", 400, "The bucket does not allow ACLs")   \
    X(ACCESS_FORBIDDEN, "AccessForbidden", 403, "Access Forbidden")                                \
    X(AUTHORIZATION_HEADER_MALFORMED, "AuthorizationHeaderMalformed", 400,                         \
      "The authorization header is malformed.")                                                    \
    X(AUTHORIZATION_QUERY_PARAMETERS_ERROR, "AuthorizationQueryParametersError", 400,              \
      "The authorization query parameters that you provided are not valid.")                       \
    X(BAD_DIGEST, "BadDigest", 400,                                                                \
      "The Content-MD5 or checksum value that you specified did not match what the server "        \
      "received.")                                                                                 \
    X(BAD_REQUEST, "BadRequest", 400, "Bad Request")                                               \
    X(BUCKET_ALREADY_EXISTS, "BucketAlreadyExists", 409,                                           \
      "The requested bucket name is not available. The bucket namespace is shared by all users "   \
      "of the system. Please select a different name and try again.")                              \
    X(BUCKET_ALREADY_OWNED_BY_YOU, "BucketAlreadyOwnedByYou", 409,                                 \
      "Your previous request to create the named bucket succeeded and you already own it.")        \
    X(BUCKET_NOT_EMPTY, "BucketNotEmpty", 409, "The bucket you tried to delete is not empty.")     \
    X(CONDITIONAL_REQUEST_CONFLICT, "ConditionalRequestConflict", 409,                             \
      "A conflicting operation occurred during the request. Please retry.")                        \
    X(ENTITY_TOO_LARGE, "EntityTooLarge", 400,                                                     \
      "Your proposed upload exceeds the maximum allowed object size.")                             \
    X(ENTITY_TOO_SMALL, "EntityTooSmall", 400,                                                     \
      "Your proposed upload is smaller than the minimum allowed size")                             \
    X(EXPIRED_TOKEN, "ExpiredToken", 400, "The provided token has expired.")                       \
    X(IDEMPOTENCY_PARAMETER_MISMATCH, "IdempotencyParameterMismatch", 400,                         \
      "Parameters on this idempotent request are inconsistent with parameters used in previous "   \
      "request(s).")                                                                               \
    X(ILLEGAL_VERSIONING, "IllegalVersioningConfigurationException", 400,                          \
      "The Versioning element must be specified")                                                  \
    X(ILLEGAL_LOCATION_CONSTRAINT, "IllegalLocationConstraintException", 400,                      \
      "The specified location constraint is incompatible with the region of this endpoint.")       \
    X(INCOMPLETE_BODY, "IncompleteBody", 400,                                                      \
      "You did not provide the number of bytes specified by the Content-Length HTTP header")       \
    X(INCORRECT_NUMBER_OF_FILES, "IncorrectNumberOfFilesInPostRequest", 400,                       \
      "POST requires exactly one file upload per request.")                                        \
    X(INTERNAL_ERROR, "InternalError", 500, "We encountered an internal error. Please try again.") \
    X(INVALID_ACCESS_KEY_ID, "InvalidAccessKeyId", 403,                                            \
      "The AWS Access Key Id you provided does not exist in our records.")                         \
    X(INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid Argument")                                \
    X(INVALID_BUCKET_ACL, "InvalidBucketAclWithObjectOwnership", 400,                              \
      "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")            \
    X(INVALID_PUBLIC_BUCKET_ACL, "InvalidBucketAclWithBlockPublicAccessError", 400,                \
      "Bucket cannot have public ACLs set with BlockPublicAccess enabled")                         \
    X(INVALID_BUCKET_OWNER, "InvalidBucketOwnerAWSAccountID", 400,                                 \
      "The value of the expected bucket owner parameter must be an AWS account ID")                \
    X(INVALID_BUCKET_NAME, "InvalidBucketName", 400, "The specified bucket is not valid.")         \
    X(INVALID_BUCKET_STATE, "InvalidBucketState", 409,                                             \
      "The request is not valid with the current state of the bucket.")                            \
    X(INVALID_CHUNK_SIZE, "InvalidChunkSizeError", 403,                                            \
      "Only the last chunk is allowed to have a size less than 8192 bytes")                        \
    X(INVALID_DIGEST, "InvalidDigest", 400, "The Content-MD5 you specified was invalid.")          \
    X(INVALID_ENCRYPTION_ALGORITHM, "InvalidEncryptionAlgorithmError", 400,                        \
      "The Encryption request you specified is not valid. Supported value: AES256.")               \
    X(INVALID_LOCATION_CONSTRAINT, "InvalidLocationConstraint", 400,                               \
      "The specified location-constraint is not valid")                                            \
    X(INVALID_OBJECT_STATE, "InvalidObjectState", 403,                                             \
      "The operation is not valid for the object's storage class")                                 \
    X(INVALID_PART, "InvalidPart", 400,                                                            \
      "One or more of the specified parts could not be found.  The part may not have been "        \
      "uploaded, or the specified entity tag may not match the part's entity tag.")                \
    X(INVALID_PART_NUMBER, "InvalidPartNumber", 416,                                               \
      "The requested partnumber is not satisfiable")                                               \
    X(INVALID_PART_ORDER, "InvalidPartOrder", 400,                                                 \
      "The list of parts was not in ascending order. Parts must be ordered by part number.")       \
    X(INVALID_RETENTION_PERIOD, "InvalidRetentionPeriod", 400,                                     \
      "The retention period is not valid.")                                                        \
    X(INVALID_POLICY_DOCUMENT, "InvalidPolicyDocument", 400,                                       \
      "The policy document of the form is not valid.")                                             \
    X(INVALID_RANGE, "InvalidRange", 416, "The requested range is not satisfiable")                \
    X(INVALID_REQUEST, "InvalidRequest", 400, "Invalid Request")                                   \
    X(INVALID_STORAGE_CLASS, "InvalidStorageClass", 400,                                           \
      "The storage class you specified is not valid")                                              \
    X(INVALID_S3_DESTINATION_BUCKET, "InvalidS3DestinationBucket", 400,                            \
      "The destination bucket does not exist, or is not owned by the owner of this one.")          \
    X(INVALID_TAG, "InvalidTag", 400, "The tag provided was not a valid tag.")                     \
    X(INVALID_TARGET_BUCKET_FOR_LOGGING, "InvalidTargetBucketForLogging", 400,                     \
      "The target bucket for logging does not exist, or is not owned by the owner of this one.")   \
    X(INVALID_TOKEN, "InvalidToken", 400, "The provided token is malformed or otherwise invalid.") \
    X(INVALID_URI, "InvalidURI", 400, "Couldn't parse the specified URI.")                         \
    X(KMS_DISABLED, "KMS.DisabledException", 400,                                                  \
      "The request was rejected because the specified KMS key is not enabled.")                    \
    X(KMS_NOT_FOUND, "KMS.NotFoundException", 400,                                                 \
      "The request was rejected because the specified key could not be found.")                    \
    X(KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long")                                \
    X(MALFORMED_ACL, "MalformedACLError", 400,                                                     \
      "The XML you provided was not well-formed or did not validate against our published schema") \
    X(MALFORMED_POST_REQUEST, "MalformedPOSTRequest", 400,                                         \
      "The body of your POST request is not well-formed multipart/form-data.")                     \
    X(MALFORMED_POLICY, "MalformedPolicy", 400, "The policy is not valid.")                        \
    X(MALFORMED_TRAILER, "MalformedTrailerError", 400,                                             \
      "The request contained trailing data that was not well-formed or did not conform to our "    \
      "published schema.")                                                                         \
    X(MALFORMED_XML, "MalformedXML", 400,                                                          \
      "The XML you provided was not well-formed or did not validate against our published schema") \
    X(MAX_MESSAGE_LENGTH_EXCEEDED, "MaxMessageLengthExceeded", 400, "Your request was too big.")   \
    X(MAX_POST_PRE_DATA_LENGTH, "MaxPostPreDataLengthExceeded", 400,                               \
      "Your POST request fields preceding the upload file were too large.")                        \
    X(METADATA_TOO_LARGE, "MetadataTooLarge", 400,                                                 \
      "Your metadata headers exceed the maximum allowed metadata size")                            \
    X(METHOD_NOT_ALLOWED, "MethodNotAllowed", 405,                                                 \
      "The specified method is not allowed against this resource.")                                \
    X(MISSING_CONTENT_LENGTH, "MissingContentLength", 411,                                         \
      "You must provide the Content-Length HTTP header.")                                          \
    X(MISSING_REQUEST_BODY, "MissingRequestBodyError", 400, "Request Body is empty")               \
    X(MISSING_SECURITY_HEADER, "MissingSecurityHeader", 400,                                       \
      "Your request was missing a required header")                                                \
    X(NOT_IMPLEMENTED, "NotImplemented", 501,                                                      \
      "A header or query you provided implies functionality that is not implemented")              \
    X(NOT_MODIFIED, "NotModified", 304, "Not Modified")                                            \
    X(NO_SUCH_BUCKET, "NoSuchBucket", 404, "The specified bucket does not exist")                  \
    X(NO_SUCH_BUCKET_POLICY, "NoSuchBucketPolicy", 404, "The bucket policy does not exist")        \
    X(NO_SUCH_CONFIGURATION, "NoSuchConfiguration", 404,                                           \
      "The specified configuration does not exist.")                                               \
    X(NO_SUCH_CORS, "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist")       \
    X(NO_SUCH_ENCRYPTION, "ServerSideEncryptionConfigurationNotFoundError", 404,                   \
      "The server side encryption configuration was not found")                                    \
    X(NO_SUCH_KEY, "NoSuchKey", 404, "The specified key does not exist.")                          \
    X(NO_SUCH_LIFECYCLE, "NoSuchLifecycleConfiguration", 404,                                      \
      "The lifecycle configuration does not exist")                                                \
    X(NO_SUCH_OBJECT_LOCK, "ObjectLockConfigurationNotFoundError", 404,                            \
      "Object Lock configuration does not exist for this bucket")                                  \
    X(NO_SUCH_OBJECT_LOCK_OF_OBJECT, "NoSuchObjectLockConfiguration", 404,                         \
      "The specified object does not have a ObjectLock configuration")                             \
    X(NO_SUCH_OWNERSHIP, "OwnershipControlsNotFoundError", 404,                                    \
      "The bucket ownership controls were not found")                                              \
    X(NO_SUCH_PUBLIC_ACCESS_BLOCK, "NoSuchPublicAccessBlockConfiguration", 404,                    \
      "The public access block configuration was not found")                                       \
    X(NO_SUCH_REPLICATION, "ReplicationConfigurationNotFoundError", 404,                           \
      "The replication configuration was not found")                                               \
    X(NO_SUCH_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist")                           \
    X(NO_SUCH_UPLOAD, "NoSuchUpload", 404,                                                         \
      "The specified upload does not exist. The upload ID may be invalid, or the upload may have " \
      "been aborted or completed.")                                                                \
    X(NO_SUCH_VERSION, "NoSuchVersion", 404, "The specified version does not exist.")              \
    X(NO_SUCH_WEBSITE, "NoSuchWebsiteConfiguration", 404,                                          \
      "The specified bucket does not have a website configuration")                                \
    X(OBJECT_LOCKED, "AccessDenied", 403,                                                          \
      "Access Denied because object protected by object lock.")                                    \
    X(OPERATION_ABORTED, "OperationAborted", 409,                                                  \
      "A conflicting conditional operation is currently in progress against this resource. "       \
      "Please try again.")                                                                         \
    X(POLICY_TOO_LARGE, "PolicyTooLarge", 400, "The policy is larger than 20 KB.")                 \
    X(PRECONDITION_FAILED, "PreconditionFailed", 412,                                              \
      "At least one of the pre-conditions you specified did not hold")                             \
    X(QUOTA_EXCEEDED, "QuotaExceeded", 403, "The bucket's quota would be exceeded.")               \
    X(REQUEST_EXPIRED, "AccessDenied", 403, "Request has expired")                                 \
    X(REQUEST_HEADER_SECTION_TOO_LARGE, "RequestHeaderSectionTooLarge", 400,                       \
      "Your request header section exceeds the maximum allowed request header section size.")      \
    X(REQUEST_TIMEOUT, "RequestTimeout", 400,                                                      \
      "Your socket connection to the server was not read from or written to within the timeout "   \
      "period.")                                                                                   \
    X(REQUEST_TIME_TOO_SKEWED, "RequestTimeTooSkewed", 403,                                        \
      "The difference between the request time and the current time is too large.")                \
    X(SERVICE_UNAVAILABLE, "ServiceUnavailable", 503, "Service is unable to handle request.")      \
    X(SIGNATURE_DOES_NOT_MATCH, "SignatureDoesNotMatch", 403,                                      \
      "The request signature we calculated does not match the signature you provided. Check your " \
      "key and signing method.")                                                                   \
    X(SLOW_DOWN, "SlowDown", 503, "Please reduce your request rate.")                              \
    X(TOO_MANY_CONFIGURATIONS, "TooManyConfigurations", 400,                                       \
      "You are attempting to create a new configuration but have already reached the "             \
      "1,000-configuration limit.")                                                                \
    X(TOO_MANY_BUCKETS, "TooManyBuckets", 400,                                                     \
      "You have attempted to create more buckets than allowed")                                    \
    X(UNRESOLVABLE_GRANT, "UnresolvableGrantByEmailAddress", 400,                                  \
      "The e-mail address you provided does not match any account on record.")                     \
    X(UNEXPECTED_CONTENT, "UnexpectedContent", 400, "This request does not support content")       \
    X(URI_TOO_LONG, "URITooLong", 414, "The request URI is too long")                              \
    X(INVALID_WRITE_OFFSET, "InvalidWriteOffset", 400,                                             \
      "The write offset value that you specified does not match the current object size.")         \
    X(TOO_MANY_PARTS, "TooManyParts", 400,                                                         \
      "You have attempted to add more parts than the maximum that is allowed for this object. "    \
      "You can copy the object to another and then add more data to the copy.")                    \
    X(X_AMZ_CONTENT_SHA256_MISMATCH, "XAmzContentSHA256Mismatch", 400,                             \
      "The provided 'x-amz-content-sha256' header does not match what was computed.")

enum s3_code {
    S3_OK = 0,
#define X(NAME, code, status, message) S3_##NAME,
    S3_ERROR_TABLE(X)
#undef X
        S3_CODE_COUNT
};

#define S3_FAULT_EXTRA_MAX 10

/* What to tell the client about a failure.  Zero-initialised: nothing. */
struct s3_fault {
    enum s3_code code;
    struct slice message; /* empty: the default */
    struct {
        const char *name; /* element of the error document */
        struct slice value;
    } extra[S3_FAULT_EXTRA_MAX];
    unsigned extra_count;
};

const char *s3_code_name(enum s3_code code); /* "NoSuchKey" */
int s3_code_status(enum s3_code code);       /* HTTP status */
const char *s3_code_message(enum s3_code code);

/* Fill *fault and return code, so that callers write `return s3_fault_set(...)`.  message: NULL
 * (the default) or text that outlives the fault (a literal or of the arena). */
enum s3_code s3_fault_set(struct s3_fault *fault, enum s3_code code, const char *message);
/* Adds an element to the document; silently drops what does not fit. */
void s3_fault_extra(struct s3_fault *fault, const char *name, struct slice value);
/* INVALID_ARGUMENT with ArgumentName and ArgumentValue, as S3 reports it. */
enum s3_code s3_fault_argument(struct s3_fault *fault, const char *message, const char *name,
                               struct slice value);

/* What an error of common/base/err.h means to a client when nothing more specific is known
 * (ERR_NOT_FOUND → NoSuchKey, ERR_OVERLOAD → SlowDown, unknown outcomes → InternalError, ...). */
enum s3_code s3_code_of_err(int err);

/* Appends the error document.  Not for HEAD and not for 304: those have no body. */
void s3_error_document(struct buf *b, const struct s3_fault *fault, struct slice resource,
                       struct slice request_id, struct slice host_id);
