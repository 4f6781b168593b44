#pragma once
/* POST Object: the fields of a form as those of the request that would put the same object.  What
 * they mean is decided where it is for PutObject.  Pure. */
#include "gateway/s3/request.h"

/* r: of the POST, its key empty.  Sets its key, and its fields: of those that were sent the ones
 * that say who asks (Host, Origin, Referer, ...), and what the form says of the object.
 * Returns: S3_OK; INVALID_ARGUMENT (no key; a value that no field can have); KEY_TOO_LONG;
 * INVALID_URI; NOT_IMPLEMENTED (fields whose meaning is not known); what s3_tags_read() says;
 * INTERNAL_ERROR. */
enum s3_code s3_post_apply(struct s3_request *r, struct http_fields form, struct slice filename,
                           struct s3_fault *fault);

enum s3_post_answer { S3_POST_204, S3_POST_200, S3_POST_201, S3_POST_REDIRECT };
/* What the form wants to be answered with. */
enum s3_post_answer s3_post_answer(struct http_fields form);
/* Where the object is, for a browser. */
void s3_post_location(struct buf *b, const struct s3_request *r, bool tls);
/* Where the browser is to go, with bucket, key and ETag (without its quotes). */
void s3_post_redirect(struct buf *b, const struct s3_request *r, struct http_fields form,
                      struct slice etag);
void s3_post_document(struct buf *b, const struct s3_request *r, struct slice location,
                      struct slice etag);
