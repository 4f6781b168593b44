#pragma once
/* Access logs of buckets (PutBucketLogging): records of requests, gathered in memory and written as
 * objects into the bucket that the setting names.
 *
 * Best effort, as S3 says of them: what has not been written when the process dies is lost, and
 * what finds no room, or a destination that is gone or refuses, is dropped and counted.  Nothing of
 * a request waits for its record.  What the gateway writes itself is no request: logs of a log's
 * bucket do not feed themselves.
 *
 * One for a loop.  Memory: ACCESS_LOG_BYTES_MAX of records, and ACCESS_LOG_SINKS_MAX destinations.
 */
#include "gateway/op/request.h"

#define ACCESS_LOG_SINKS_MAX 256
#define ACCESS_LOG_BYTES_MAX (16u << 20)
#define ACCESS_LOG_PARALLEL_MAX 4

struct access_log_config {
    uint64_t interval_ms;  /* from the first record of an object until it is written */
    uint64_t object_bytes; /* so many are written at once */
};
struct access_log_metrics {
    struct metric_counter *records, *dropped, *objects;
};
void access_log_metrics_init(struct access_log_metrics *m);

struct access_log;
/* gw and metrics are borrowed.  Returns: OK; ERR_NOMEM. */
int access_log_new(struct gateway *gw, const struct access_log_config *config,
                   const struct access_log_metrics *metrics, struct access_log **ret);
/* The request is at its end.  Costs next to nothing if its bucket has no settings. */
void access_log_request(struct access_log *log, const struct request *req);
/* What there is, is written now, and not tried again.  Idempotent. */
void access_log_stop(struct access_log *log);
bool access_log_idle(const struct access_log *log); /* stopped, and nothing is under way */
void access_log_free(struct access_log *log);       /* idle; NULL is fine */
