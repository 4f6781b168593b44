#pragma once
/* Between S3's header fields and the index's object record. */
#include "gateway/op/body.h"
#include "gateway/op/ingest.h"
#include "gateway/s3/tags.h"

/* Tags as the index keeps them, in the request's arena.  Returns: S3_OK; INTERNAL_ERROR. */
enum s3_code record_set_tags(struct request *req, const struct s3_tags *tags, Cairn__Pair ***ret,
                             size_t *ret_count);
/* The metadata fields, tags and lock of a request into a record (initialised here), in the request's
 * arena. Returns: S3_OK; what s3_metadata_parse, s3_tags_of_request and lock_from_request say; INVALID_STORAGE_CLASS;
 * INTERNAL_ERROR. */
enum s3_code record_from_request(struct request *req, Cairn__ObjectRecord *ret);
/* Size, ETag, checksums of data that came in; r->encryption is set before. */
enum s3_code record_set_hashes(struct request *req, Cairn__ObjectRecord *r,
                               const struct s3_hashes *h);
/* Where the data are. */
void record_set_data(Cairn__ObjectRecord *r, const struct ingest *in);
/* Conditional headers of a write into the command's condition; NULL when there are none.
 * Returns: S3_OK; NOT_IMPLEMENTED; INVALID_ARGUMENT; INTERNAL_ERROR. */
enum s3_code condition_from_request(struct request *req, const struct s3_conditions *c,
                                    Cairn__Condition **ret);
/* Does the condition of a write hold against req->object, as read?  Answers early what apply would
 * answer late.  Returns: S3_OK; NO_SUCH_KEY (If-Match, and there is none); PRECONDITION_FAILED. */
enum s3_code condition_check_early(struct request *req, const struct s3_conditions *c);

/* The fields of GET and HEAD that describe the object (not ETag, length, range). */
void reply_object_fields(struct request *req, const Cairn__ObjectRecord *r,
                         const struct s3_overrides *overrides);

/* Is this the CRC64NVME that the object (at bucket and key) was stored with (or is none known)?
 * Every block has passed its own checksum; this one covers the joints.  false: an event at ERROR
 * and a metric say so, and the data must not be given out as whole. */
bool record_verify_whole(struct request *req, struct slice bucket, struct slice key,
                         const Cairn__ObjectRecord *r, uint64_t crc64nvme);
