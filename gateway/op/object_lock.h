#pragma once
/* Object lock between S3 and the index: what a write says of it, and what of it a read shows. */
#include "gateway/op/commit.h"
#include "gateway/s3/lock.h"

/* The lock fields of a request into the record it makes.  Returns: S3_OK; what
 * s3_lock_of_request() says; INVALID_REQUEST (the bucket has no object lock). */
enum s3_code lock_from_request(struct request *req, Cairn__ObjectRecord *r);
/* The bucket's default retention, if it has one and the record none of its own: the mode is set,
 * and *ret_retain_ms is how long it lasts from the entry that makes the version (else 0).  As of
 * the bucket's record at the request's start.  Returns: S3_OK; INTERNAL_ERROR. */
enum s3_code lock_default(struct request *req, Cairn__ObjectRecord *r, uint64_t *ret_retain_ms);
/* What S3 wants of data that are to be locked: a checksum or Content-MD5.
 * Returns: S3_OK; INVALID_REQUEST. */
enum s3_code lock_check_put(struct request *req, const Cairn__ObjectRecord *r,
                            const struct s3_checksum_claim *claim);
enum s3_code lock_check_part(struct request *req, const Cairn__ObjectRecord *upload,
                             const struct s3_checksum_claim *claim);
/* The record as apply has completed it. */
static inline void lock_as_written(Cairn__ObjectRecord *r, uint64_t retain_ms,
                                   const Cairn__Outcome *outcome)
{
    if (retain_ms)
        r->retain_until_ms = outcome->time_ms + retain_ms;
}
/* x-amz-object-lock-* of GET and HEAD. */
void reply_lock_fields(struct request *req, const Cairn__ObjectRecord *r);

/* PutObjectLockConfiguration, once its document has been read.
 * Returns: S3_OK; INVALID_BUCKET_STATE (versions are not kept); INVALID_REQUEST (no checksum). */
enum s3_code lock_check_configuration(struct request *req, const struct s3_checksum_claim *claim);
enum s3_code lock_bucket_state(struct request *req, const char *message);
