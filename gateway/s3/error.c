/* The error table's functions and the error document. */
#include "gateway/s3/error.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/s3/xml.h"

static const struct {
    const char *name, *message;
    int status;
} table[S3_CODE_COUNT] = {[S3_OK] = {"OK", "OK", 200},
#define X(NAME, code, status, message) [S3_##NAME] = {code, message, status},
                          S3_ERROR_TABLE(X)
#undef X
};

const char *s3_code_name(enum s3_code code)
{
    CHECK((unsigned)code < S3_CODE_COUNT);
    return table[code].name;
}

int s3_code_status(enum s3_code code)
{
    CHECK((unsigned)code < S3_CODE_COUNT);
    return table[code].status;
}

const char *s3_code_message(enum s3_code code)
{
    CHECK((unsigned)code < S3_CODE_COUNT);
    return table[code].message;
}

enum s3_code s3_fault_set(struct s3_fault *fault, enum s3_code code, const char *message)
{
    *fault =
        (struct s3_fault){.code = code, .message = message ? slice_cstr(message) : SLICE_EMPTY};
    return code;
}

void s3_fault_extra(struct s3_fault *fault, const char *name, struct slice value)
{
    if (fault->extra_count == S3_FAULT_EXTRA_MAX)
        return;
    fault->extra[fault->extra_count].name = name;
    fault->extra[fault->extra_count++].value = value;
}

enum s3_code s3_fault_argument(struct s3_fault *fault, const char *message, const char *name,
                               struct slice value)
{
    s3_fault_set(fault, S3_INVALID_ARGUMENT, message);
    s3_fault_extra(fault, "ArgumentName", slice_cstr(name));
    s3_fault_extra(fault, "ArgumentValue", value);
    return S3_INVALID_ARGUMENT;
}

enum s3_code s3_code_of_err(int err)
{
    switch (err) {
    case OK: return S3_OK;
    case ERR_INVAL: return S3_INVALID_ARGUMENT;
    case ERR_TOO_LARGE: return S3_ENTITY_TOO_LARGE;
    case ERR_UNIMPLEMENTED: return S3_NOT_IMPLEMENTED;
    case ERR_NOT_FOUND: return S3_NO_SUCH_KEY;
    case ERR_NO_BUCKET: return S3_NO_SUCH_BUCKET;
    case ERR_SEALED: return S3_NO_SUCH_BUCKET;
    case ERR_EXISTS: return S3_BUCKET_ALREADY_EXISTS;
    case ERR_NOT_EMPTY: return S3_BUCKET_NOT_EMPTY;
    case ERR_PRECONDITION: return S3_PRECONDITION_FAILED;
    case ERR_CONFLICT: return S3_CONDITIONAL_REQUEST_CONFLICT;
    case ERR_NO_UPLOAD: return S3_NO_SUCH_UPLOAD;
    case ERR_INVALID_PART: return S3_INVALID_PART;
    case ERR_PART_ORDER: return S3_INVALID_PART_ORDER;
    case ERR_PART_SMALL: return S3_ENTITY_TOO_SMALL;
    case ERR_DIGEST: return S3_BAD_DIGEST;
    case ERR_LOCKED: return S3_OBJECT_LOCKED;
    case ERR_AUTH: return S3_ACCESS_DENIED;
    case ERR_NOMEM:
    case ERR_LIMIT:
    case ERR_OVERLOAD: return S3_SLOW_DOWN;
    case ERR_NOSPACE:
    case ERR_UNREACHABLE:
    case ERR_SHUTDOWN:
    case ERR_NOT_LEADER:
    case ERR_EPOCH:
    case ERR_NO_PARTITION:
    case ERR_SETTINGS:
    case ERR_TIME:
    case ERR_TOO_OLD:   /* it took too long, */
    case ERR_CONDEMNED: /* and what it had written is gone: the client begins anew */
    case ERR_NO_QUORUM:
    case ERR_NOT_READY:
    case ERR_LEASE: return S3_SERVICE_UNAVAILABLE;
    default: return S3_INTERNAL_ERROR; /* damage, unknown outcomes, our own faults */
    }
}

void s3_error_document(struct buf *b, const struct s3_fault *fault, struct slice resource,
                       struct slice request_id, struct slice host_id)
{
    xml_declaration(b);
    xml_open(b, "Error");
    xml_cstr(b, "Code", s3_code_name(fault->code));
    if (fault->message.len)
        xml_slice(b, "Message", fault->message);
    else
        xml_cstr(b, "Message", s3_code_message(fault->code));
    for (unsigned i = 0; i < fault->extra_count; i++)
        xml_slice(b, fault->extra[i].name, fault->extra[i].value);
    xml_slice(b, "Resource", resource);
    xml_slice(b, "RequestId", request_id);
    xml_slice(b, "HostId", host_id);
    xml_close(b, "Error");
}
