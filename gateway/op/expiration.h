#pragma once
/* What a bucket's lifecycle rules say, for answers: x-amz-expiration of objects, and the date at
 * which an upload is aborted.  The rules are read out of the bucket's record once per cache entry;
 * of a bucket without any nothing is looked at. */
#include "gateway/op/request.h"
#include "gateway/s3/lifecycle.h"

/* The rules of a bucket, for as long as the entry is held; NULL: none are set.
 * *ret_unreadable: some are, and could not be read (no memory, or written by a newer gateway). */
const struct s3_lifecycle *bucket_lifecycle(struct gateway *gw, struct cache_entry *bucket,
                                            bool *ret_unreadable);
/* They as they are kept; empty: none are set. */
struct slice bucket_lifecycle_document(const Cairn__BucketRecord *bucket);
static inline uint64_t lifecycle_day_ms(const struct gateway *gw)
{
    return gw->config->lifecycle_day_ms ? gw->config->lifecycle_day_ms : S3_DAY_MS;
}
/* The tags in the arena; false: no memory. */
bool lifecycle_tags(struct arena *arena, Cairn__Pair *const *pairs, size_t count,
                    struct s3_tags *ret);

/* Of the request's object (a current version), that was made at mtime_ms. */
void reply_expiration(struct request *req, const Cairn__ObjectRecord *record, uint64_t mtime_ms);
/* Of an upload of the request's key: x-amz-abort-date, x-amz-abort-rule-id. */
void reply_abort_date(struct request *req, uint64_t initiated_ms);
