#pragma once
/* One event loop of the gateway: everything that its requests share.  The S3 operations (one file
 * each) work on a `struct request` (request.h) of one such loop and never meet another loop. */
#include "common/env/env.h"
#include "common/obs/metrics.h"
#include "gateway/blob/blob.h"
#include "gateway/cache/cache.h"
#include "gateway/http/http_server.h"
#include "gateway/iam/token.h"
#include "gateway/meta/meta_client.h"
#include "gateway/op/key_gate.h"
#include "gateway/op/keyring.h"
#include "gateway/s3/request.h"
#include "gateway/s3/sigv4.h"
#include "gateway/s3/time.h"

/* A storage class that the operator gave a scheme. */
struct gateway_class {
    struct slice name;
    struct blob_scheme scheme;
};

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
    uint64_t write_age_ms_max;   /* a body whose first blob is older is given up; 0: no bound */
    uint64_t bucket_resume_ms;   /* a deletion that stands still for so long is taken over */
    uint64_t keepalive_ms;       /* a completion that takes longer is kept alive; 0: never */
    uint64_t lifecycle_day_ms;   /* how long a day is to lifecycle rules; 0: 24 h */
    bool access_log;
    const struct master_keys *masters; /* of encryption; NULL: none */
    bool sse_require_tls;              /* for requests with a key of the client's */
    bool sse_default;                  /* SSE-S3 where neither request nor bucket says */
    const struct targets *webhooks, *remotes; /* the operator's; NULL: none */
    uint64_t event_queue_max; /* events that may wait for one destination, of a bucket in a partition */
    uint64_t event_timeout_ms; /* of a delivery */
    const struct gateway_class *classes;
    size_t class_count;
};

/* May an object have this storage class (empty: STANDARD)?  Those of S3 that need no restore, and
 * those of the operator. */
bool gateway_class_known(const struct gateway_config *c, struct slice storage_class);
/* How objects of this class are written.  Classes that the operator did not name are written as
 * STANDARD is; {0, 0}: as the cluster's schemes say. */
struct blob_scheme gateway_scheme(const struct gateway_config *c, struct slice storage_class);

/* Shared by all loops (they count atomically). */
struct gateway_metrics {
    struct metric_counter *requests[S3_OP_COUNT][6]; /* by operation and status class 0..5 */
    struct metric_histogram *latency[S3_OP_COUNT];
    struct metric_counter *bytes_in, *bytes_out, *mismatches;
    struct metric_gauge *under_way;
    struct metric_counter *events_dropped;
    struct metric_counter *keys_throttled; /* key_gate.h */
    struct metric_counter *policies_unreadable, *policies_too_costly; /* denied because of it */
};
void gateway_metrics_init(struct gateway_metrics *m);

struct gateway {
    const struct gateway_config *config;
    struct gateway_metrics *metrics;
    struct env *env;
    struct meta_client *mc;
    struct blob_client *bc;
    struct budget *budget;
    struct keyring *keyring;
    struct sigv4_cache signing;
    struct iam_token_key token_key;   /* what seals sessions, once it has been read (session.c) */
    bool token_key_known;
    uint64_t request_id_salt, request_count;
    struct key_gate key_gate;         /* reads of access keys that nobody may have */
    uint64_t text_bytes;              /* of XML documents coming in */
    uint64_t unverified_bytes;        /* of them, of who has not been verified yet */
    uint64_t date_s;                  /* the second that `date` is of */
    char date[HTTP_DATE_CHARS + 1];
    unsigned under_way;               /* requests, and bucket deletions taken over */
    struct access_log *access_log;    /* of buckets that log their requests; NULL: none does */
    struct quotas *quotas;            /* of all loops; borrowed; NULL: no quota holds (quota.h) */
    struct http_client *out;          /* NULL: the operator named nobody to call */
    uint64_t events_dropped_ns;       /* when that was said last */
    uint64_t resumed_id, resumed_ms;  /* the bucket deletion taken over last, and when */
};

/* env, mc and bc are borrowed.  Returns: OK; ERR_NOMEM. */
int gateway_init(struct gateway *gw, const struct gateway_config *config,
                 struct gateway_metrics *metrics, struct env *env, struct meta_client *mc,
                 struct blob_client *bc);
void gateway_fini(struct gateway *gw); /* nothing under way */

/* For the HTTP server: arg is the struct gateway. */
extern const struct http_handler gateway_http_handler;
