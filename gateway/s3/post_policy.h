#pragma once
/* The policy of an upload by form: what whoever signed it lets others upload, and until when. Pure.
 *
 * Ref: S3 API Reference, "POST policy" (Signature Version 4); those of version 2 are the same. */
#include "gateway/s3/request.h"

struct s3_post_range {
    uint64_t min, max; /* bytes of the file */
};

/* What is uploaded, as far as it is known before the file's data. */
struct s3_post {
    struct http_fields form;
    struct slice bucket, key; /* the key in full, whatever it was in the form */
};

/* Does the policy (base64, as in the form) allow it at this time, and how large may the file be?
 * Each field of the form must be named by a condition, but for the policy, its signature (with
 * version 2 also the key), and those that are to be ignored.
 * Returns: S3_OK; INVALID_POLICY_DOCUMENT; ACCESS_DENIED (expired, a condition does not hold, a
 * field that none names); INTERNAL_ERROR. */
enum s3_code s3_post_policy_check(struct arena *arena, struct slice policy,
                                  const struct s3_post *post, uint64_t now_ms,
                                  struct s3_post_range *ret, struct s3_fault *fault);
/* The file's size, once it is known, or so much of it as has come.  Returns: S3_OK;
 * ENTITY_TOO_SMALL (at the end only); ENTITY_TOO_LARGE. */
enum s3_code s3_post_range_check(struct arena *arena, const struct s3_post_range *range,
                                 uint64_t bytes, bool end, struct s3_fault *fault);
