#pragma once
/* Errors of the IAM and STS APIs: their codes, and the document that says so.  Pure. */
#include "common/base/slice.h"

/* X(NAME, "Code", HTTP status) */
#define IAM_ERROR_TABLE(X)                                                                         \
    X(ACCESS_DENIED, "AccessDenied", 403)                                                          \
    X(CONCURRENT_MODIFICATION, "ConcurrentModification", 409)                                      \
    X(DELETE_CONFLICT, "DeleteConflict", 409)                                                      \
    X(ENTITY_ALREADY_EXISTS, "EntityAlreadyExists", 409)                                           \
    X(EXPIRED_TOKEN, "ExpiredToken", 403)                                                          \
    X(INCOMPLETE_SIGNATURE, "IncompleteSignature", 400)                                            \
    X(INVALID_ACTION, "InvalidAction", 400)                                                        \
    X(INVALID_CLIENT_TOKEN_ID, "InvalidClientTokenId", 403)                                        \
    X(INVALID_INPUT, "InvalidInput", 400)                                                          \
    X(LIMIT_EXCEEDED, "LimitExceeded", 409)                                                        \
    X(MALFORMED_POLICY_DOCUMENT, "MalformedPolicyDocument", 400)                                   \
    X(MALFORMED_QUERY_STRING, "MalformedQueryString", 400)                                         \
    X(MISSING_ACTION, "MissingAction", 400)                                                        \
    X(MISSING_AUTHENTICATION_TOKEN, "MissingAuthenticationToken", 403)                             \
    X(NO_SUCH_ENTITY, "NoSuchEntity", 404)                                                         \
    X(PACKED_POLICY_TOO_LARGE, "PackedPolicyTooLarge", 400)                                        \
    X(POLICY_NOT_ATTACHABLE, "PolicyNotAttachable", 400)                                           \
    X(SERVICE_FAILURE, "ServiceFailure", 500)                                                      \
    X(SERVICE_UNAVAILABLE, "ServiceUnavailable", 503)                                              \
    X(SIGNATURE_DOES_NOT_MATCH, "SignatureDoesNotMatch", 403)                                      \
    X(THROTTLING, "Throttling", 400)                                                               \
    X(UNMODIFIABLE_ENTITY, "UnmodifiableEntity", 400)                                              \
    X(VALIDATION_ERROR, "ValidationError", 400)

enum iam_code {
    IAM_OK = 0,
    IAM_WAIT, /* no error: rows are wanted first (txn.h) */
#define X(NAME, code, status) IAM_##NAME,
    IAM_ERROR_TABLE(X)
#undef X
        IAM_CODE_COUNT
};

#define IAM_MESSAGE_BYTES_MAX 640

/* What to tell the client about a failure. */
struct iam_fault {
    enum iam_code code;
    char message[IAM_MESSAGE_BYTES_MAX];
};

const char *iam_code_name(enum iam_code code);
int iam_code_status(enum iam_code code);

/* Fill *fault and return code, so that callers write `return iam_fault_set(...)`. */
enum iam_code iam_fault_set(struct iam_fault *fault, enum iam_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends the error document. */
void iam_error_document(struct buf *b, const struct iam_fault *fault, const char *xmlns,
                        const char *request_id);
