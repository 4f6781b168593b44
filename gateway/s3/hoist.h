#pragma once
/* Fields in the query.  Who presigns a request has only a URL to hand on, so SDKs put fields
 * `x-amz-*` into it ("hoist" them) that the bearer would else have to be told to send.  They count
 * as if they had been sent as fields, and are under the signature as all of the query is.  Pure. */
#include "gateway/s3/request.h"

/* Does the query claim to have a signature, of version 4 or of version 2? */
bool s3_request_is_presigned(const struct s3_request *r);
bool s3_request_is_presigned_v2(const struct s3_request *r);
/* Could it have been sent as a field? */
bool s3_can_be_field(struct slice name, struct slice value);
/* Puts what the query of a presigned request says behind r->fields, and counts it in r->hoisted;
 * of other requests nothing.  Names and values are such as fields could have.  SDKs that presign with
 * version 2 put Content-Type and Content-MD5 there, too: they count unless they are sent.
 * Returns: S3_OK; NOT_IMPLEMENTED (a field that nobody here knows); INVALID_ARGUMENT (one that comes
 * twice, or as a field too and with another value; what no field could hold); INVALID_REQUEST (a
 * client's key, which belongs into no URL); INTERNAL_ERROR (no memory). */
enum s3_code s3_request_hoist(struct s3_request *r, struct s3_fault *fault);
