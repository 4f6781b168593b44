/* The table of errors, and their document. */
#include "gateway/iam/error.h"

#include "common/base/check.h"
#include "gateway/s3/xml.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    int status;
} codes[IAM_CODE_COUNT] = {
#define X(NAME, code, status) [IAM_##NAME] = {code, status},
    IAM_ERROR_TABLE(X)
#undef X
};

const char *iam_code_name(enum iam_code code)
{
    return codes[code].name ? codes[code].name : "ServiceFailure";
}

int iam_code_status(enum iam_code code)
{
    return codes[code].name ? codes[code].status : 500;
}

enum iam_code iam_fault_set(struct iam_fault *fault, enum iam_code code, const char *format, ...)
{
    va_list ap;
    fault->code = code;
    va_start(ap, format);
    vsnprintf(fault->message, sizeof(fault->message), format, ap);
    va_end(ap);
    return code;
}

void iam_error_document(struct buf *b, const struct iam_fault *fault, const char *xmlns,
                        const char *request_id)
{
    buf_cstr(b, "<ErrorResponse xmlns=\"");
    buf_cstr(b, xmlns);
    buf_cstr(b, "\"><Error>");
    xml_cstr(b, "Type", iam_code_status(fault->code) >= 500 ? "Receiver" : "Sender");
    xml_cstr(b, "Code", iam_code_name(fault->code));
    xml_cstr(b, "Message", fault->message);
    buf_cstr(b, "</Error>");
    xml_cstr(b, "RequestId", request_id);
    buf_cstr(b, "</ErrorResponse>");
}
