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
    X(AUTHORIZATION_HEADER_MALFORMED, "AuthorizationHeaderMalformed", 400,                         \
      "The authorization header is malformed.")                                                    \
    X(AUTHORIZATION_QUERY_PARAMETERS_ERROR, "AuthorizationQueryParametersError", 400,              \
      "The authorization query parameters that you provided are not valid.")                       \
    X(BAD_DIGEST, "BadDigest", 400,                                                                \
      "The Content-MD5 or checksum value that you specified did not match what the server "        \
      "received.")                                                                                 \
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
    X(ILLEGAL_LOCATION_CONSTRAINT, "IllegalLocationConstraintException", 400,                      \
      "The specified location constraint is incompatible with the region of this endpoint.")       \
    X(INCOMPLETE_BODY, "IncompleteBody", 400,                                                      \
      "You did not provide the number of bytes specified by the Content-Length HTTP header")       \
    X(INTERNAL_ERROR, "InternalError", 500, "We encountered an internal error. Please try again.") \
    X(INVALID_ACCESS_KEY_ID, "InvalidAccessKeyId", 403,                                            \
      "The AWS Access Key Id you provided does not exist in our records.")                         \
    X(INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid Argument")                                \
    X(INVALID_BUCKET_NAME, "InvalidBucketName", 400, "The specified bucket is not valid.")         \
    X(INVALID_CHUNK_SIZE, "InvalidChunkSizeError", 403,                                            \
      "Only the last chunk is allowed to have a size less than 8192 bytes")                        \
    X(INVALID_DIGEST, "InvalidDigest", 400, "The Content-MD5 you specified was invalid.")          \
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
    X(INVALID_RANGE, "InvalidRange", 416, "The requested range is not satisfiable")                \
    X(INVALID_REQUEST, "InvalidRequest", 400, "Invalid Request")                                   \
    X(INVALID_STORAGE_CLASS, "InvalidStorageClass", 400,                                           \
      "The storage class you specified is not valid")                                              \
    X(INVALID_TOKEN, "InvalidToken", 400, "The provided token is malformed or otherwise invalid.") \
    X(INVALID_URI, "InvalidURI", 400, "Couldn't parse the specified URI.")                         \
    X(KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long")                                \
    X(MALFORMED_TRAILER, "MalformedTrailerError", 400,                                             \
      "The request contained trailing data that was not well-formed or did not conform to our "    \
      "published schema.")                                                                         \
    X(MALFORMED_XML, "MalformedXML", 400,                                                          \
      "The XML you provided was not well-formed or did not validate against our published schema") \
    X(MAX_MESSAGE_LENGTH_EXCEEDED, "MaxMessageLengthExceeded", 400, "Your request was too big.")   \
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
    X(NO_SUCH_CORS, "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist")       \
    X(NO_SUCH_KEY, "NoSuchKey", 404, "The specified key does not exist.")                          \
    X(NO_SUCH_LIFECYCLE, "NoSuchLifecycleConfiguration", 404,                                      \
      "The lifecycle configuration does not exist")                                                \
    X(NO_SUCH_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist")                           \
    X(NO_SUCH_UPLOAD, "NoSuchUpload", 404,                                                         \
      "The specified upload does not exist. The upload ID may be invalid, or the upload may have " \
      "been aborted or completed.")                                                                \
    X(NO_SUCH_VERSION, "NoSuchVersion", 404, "The specified version does not exist.")              \
    X(OPERATION_ABORTED, "OperationAborted", 409,                                                  \
      "A conflicting conditional operation is currently in progress against this resource. "       \
      "Please try again.")                                                                         \
    X(PRECONDITION_FAILED, "PreconditionFailed", 412,                                              \
      "At least one of the pre-conditions you specified did not hold")                             \
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
    X(TOO_MANY_BUCKETS, "TooManyBuckets", 400,                                                     \
      "You have attempted to create more buckets than allowed")                                    \
    X(UNEXPECTED_CONTENT, "UnexpectedContent", 400, "This request does not support content")       \
    X(URI_TOO_LONG, "URITooLong", 414, "The request URI is too long")                              \
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
