#pragma once
/* Object lock as clients speak of it: header fields, the documents Retention, LegalHold and
 * ObjectLockConfiguration, and what S3 says of wrong ones.  Pure; what is read lives in the arena
 * given.  What a lock forbids, the index decides (metanode/index/apply_lock.c). */
#include "gateway/s3/checksum.h"
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

/* As in proto/common.proto; the operations assert that these agree. */
enum s3_lock_mode { S3_LOCK_NONE, S3_LOCK_GOVERNANCE, S3_LOCK_COMPLIANCE };
enum s3_hold { S3_HOLD_NEVER, S3_HOLD_ON, S3_HOLD_OFF };

#define S3_LOCK_DAYS_MAX 36500
#define S3_LOCK_YEARS_MAX 100

struct s3_lock {
    enum s3_lock_mode mode; /* with until_ms, or none */
    uint64_t until_ms;
    enum s3_hold hold; /* NEVER: nothing is said */
};

/* What a request that makes an object says in x-amz-object-lock-mode, -retain-until-date and
 * -legal-hold.  Returns: S3_OK; INVALID_ARGUMENT; NOT_IMPLEMENTED (a field of that family that is
 * not known). */
enum s3_code s3_lock_of_request(const struct s3_request *r, uint64_t now_ms, struct s3_lock *ret,
                                struct s3_fault *fault);
/* x-amz-bypass-governance-retention: true.  Whether who asks may is another question. */
bool s3_lock_bypass(const struct s3_request *r);
/* x-amz-bucket-object-lock-enabled of CreateBucket.  Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_lock_of_bucket(const struct s3_request *r, bool *ret, struct s3_fault *fault);

/* S3 wants the data of a locked object, and what says so, to come with a checksum or Content-MD5;
 * `what` is put or asked for.  Returns: S3_OK; INVALID_REQUEST. */
enum s3_code s3_lock_needs_checksum(const struct s3_checksum_claim *claim, const char *what,
                                    struct s3_fault *fault);

/* The documents of PutObjectRetention (an empty one: mode NONE) and PutObjectLegalHold.
 * Returns: S3_OK; MISSING_REQUEST_BODY; MALFORMED_XML; INVALID_ARGUMENT (a date that is past). */
enum s3_code s3_lock_read_retention(struct arena *arena, struct slice body, uint64_t now_ms,
                                    struct s3_lock *ret, struct s3_fault *fault);
enum s3_code s3_lock_read_hold(struct arena *arena, struct slice body, struct s3_lock *ret,
                               struct s3_fault *fault);
void s3_lock_write_retention(struct buf *b, enum s3_lock_mode mode, uint64_t until_ms);
void s3_lock_write_hold(struct buf *b, enum s3_hold hold);

/* "GOVERNANCE", "ON". */
const char *s3_lock_mode_name(enum s3_lock_mode mode);
const char *s3_hold_name(enum s3_hold hold);

/* The configuration of a bucket, and what its schema cannot say.
 * Returns: S3_OK; MALFORMED_XML; INVALID_RETENTION_PERIOD. */
extern const struct s3_schema s3_lock_schema;
enum s3_code s3_lock_check(const struct s3_node *root, struct s3_fault *fault);
/* The default retention that a stored configuration has: mode NONE if it has none.  A year is 365
 * days.  Returns: S3_OK; INTERNAL_ERROR (no memory, or not what we had stored). */
enum s3_code s3_lock_default(struct arena *arena, struct slice document,
                             enum s3_lock_mode *ret_mode, uint64_t *ret_retain_ms,
                             struct s3_fault *fault);
