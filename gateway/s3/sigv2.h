#pragma once
/* AWS Signature Version 2, of presigned URLs and forms and of nothing else (decision 0021):
 * AWSAccessKeyId, Expires and Signature are in the query; or AWSAccessKeyId, policy and signature
 * in the form.
 *
 * Reached through sigv4_parse(), sigv4_parse_form() and sigv4_check_scope(), which find out which
 * signature it is; only the last step is the caller's choice, since the secret itself is the key.
 * What it signs of a URL: method, Content-MD5, Content-Type, Expires, the fields x-amz-*, the path,
 * and those parameters that say what is asked for.  Of a form: the policy as it was sent.  Pure.
 * Ref: Amazon S3 Developer Guide, "Signing and Authenticating REST Requests" and "Browser-Based
 * Uploads Using POST"; for the query of SDKs botocore's HmacV1QueryAuth. */
#include "gateway/s3/sigv4.h"

/* What sigv4_parse() does of such a request, but for the payload.
 * Returns: S3_OK; ACCESS_DENIED (one of the three is missing, or Expires is no number),
 * INVALID_ACCESS_KEY_ID (longer than any), INVALID_TOKEN, INVALID_REQUEST (the operator's
 * questions; a field that comes twice), INVALID_ARGUMENT. */
enum s3_code sigv2_parse(const struct s3_request *r, struct sigv4_auth *ret,
                         struct s3_fault *fault);

/* What sigv4_parse_form() does of such a form.
 * Returns: S3_OK; INVALID_ARGUMENT (one of the three is missing); INVALID_ACCESS_KEY_ID (longer
 * than any). */
enum s3_code sigv2_parse_form(struct http_fields form, struct sigv4_auth *ret,
                              struct s3_fault *fault);

/* Returns: S3_OK (of a form always: its policy says until when); REQUEST_EXPIRED.  There is no time
 * too far away. */
enum s3_code sigv2_check_time(const struct s3_request *r, const struct sigv4_auth *a,
                              uint64_t now_ms, struct s3_fault *fault);

/* Check the signature.  Returns: S3_OK; SIGNATURE_DOES_NOT_MATCH (with S3's fields);
 * INTERNAL_ERROR (no memory). */
enum s3_code sigv2_verify(const struct s3_request *r, const struct sigv4_auth *a,
                          struct slice secret, struct s3_fault *fault);

/* For tests: the text that is signed.  Without memory the buffer is marked as failed. */
void sigv2_string_to_sign(struct buf *b, const struct s3_request *r, const struct sigv4_auth *a);
