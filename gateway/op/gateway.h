#pragma once
/* One event loop of the gateway: everything that its requests share.  The S3 operations (one file
 * each) work on a `struct request` (request.h) of one such loop and never meet another loop. */
#include "common/env/env.h"
#include "common/obs/metrics.h"
#include "gateway/blob/blob.h"
#include "gateway/cache/cache.h"
#include "gateway/http/http_server.h"
#include "gateway/meta/meta_client.h"
#include "gateway/s3/request.h"
#include "gateway/s3/sigv4.h"
#include "gateway/s3/time.h"

/* The same for all loops; borrowed. */
struct gateway_config {
    struct slice region;
    struct s3_addressing addressing;
    uint64_t inline_bytes_max;   /* smaller objects travel in the proposal */
    uint64_t segment_bytes;      /* of larger ones, one blob each */
    uint64_t part_bytes_min;     /* of a multipart upload, but for its last part */
    uint64_t body_bytes_max;     /* all bodies under way on one loop */
    uint64_t body_bytes_eager;   /* beyond it a body keeps but one segment in memory; 0: no bound */
    uint64_t timeout_ms;         /* of each step of a request on the index or on storage nodes */
    uint64_t bucket_resume_ms;   /* a deletion that stands still for so long is taken over */
    bool access_log;
};

/* Shared by all loops (they count atomically). */
struct gateway_metrics {
    struct metric_counter *requests[S3_OP_COUNT][6]; /* by operation and status class 0..5 */
    struct metric_histogram *latency[S3_OP_COUNT];
    struct metric_counter *bytes_in, *bytes_out, *mismatches;
    struct metric_gauge *under_way;
};
void gateway_metrics_init(struct gateway_metrics *m);

struct gateway {
    const struct gateway_config *config;
    struct gateway_metrics *metrics;
    struct env *env;
    struct meta_client *mc;
    struct blob_client *bc;
    struct budget *budget;
    struct sigv4_cache signing;
    uint64_t request_id_salt, request_count;
    uint64_t text_bytes;              /* of XML documents coming in */
    uint64_t date_s;                  /* the second that `date` is of */
    char date[HTTP_DATE_CHARS + 1];
    unsigned under_way;               /* requests, and bucket deletions taken over */
    uint64_t resumed_id, resumed_ms;  /* the bucket deletion taken over last, and when */
};

/* env, mc and bc are borrowed.  Returns: OK; ERR_NOMEM. */
int gateway_init(struct gateway *gw, const struct gateway_config *config,
                 struct gateway_metrics *metrics, struct env *env, struct meta_client *mc,
                 struct blob_client *bc);
void gateway_fini(struct gateway *gw); /* nothing under way */

/* For the HTTP server: arg is the struct gateway. */
extern const struct http_handler gateway_http_handler;
