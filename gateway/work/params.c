/* The parameters of cairn-gateway; what they mean to an operator: docs/operations.md. */
#include "gateway/work/params.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/work/deliver.h"
#include "gateway/work/jobs.h"
#include "gateway/work/reencode.h"

const struct config_param gateway_params[] = {
    {"http_listen", CONFIG_ADDRESS, NULL, 0, 0, NULL, "where clients speak S3", CONFIG_REQUIRED},
    {"http_tls_cert", CONFIG_STRING, NULL, 0, 0, NULL,
     "PEM certificate chain for clients; without it HTTP is not encrypted", 0},
    {"http_tls_key", CONFIG_STRING, NULL, 0, 0, NULL, "PEM key of http_tls_cert", 0},
    {"region", CONFIG_STRING, NULL, 0, 0, NULL,
     "region that signatures must name; default: the cluster file's", 0},
    {"base_domains", CONFIG_STRING, NULL, 0, 0, NULL,
     "host names, separated by commas, under which buckets are subdomains", 0},
    {"website_domains", CONFIG_STRING, NULL, 0, 0, NULL,
     "host names, separated by commas, under which buckets are websites; each is itself the "
     "website of "
     "the bucket of its name; *: so is every other host name",
     0},
    {"loops", CONFIG_INT, "0", 0, GATEWAY_LOOPS_MAX, "threads",
     "event loops; 0: a thread a CPU, at most 4", 0},
    {"cache_bytes", CONFIG_BYTES, "64MiB", 1 << 20, 1ll << 40, NULL,
     "index records and small objects cached, all loops together", 0},
    {"body_bytes_max", CONFIG_BYTES, "256MiB", 32 << 20, 1ll << 40, NULL,
     "bodies under way, all loops together; beyond it uploads hear SlowDown", 0},
    {"body_bytes_eager", CONFIG_BYTES, "32MiB", 0, 1ll << 40, NULL,
     "beyond it a body keeps only one segment in memory; 0: no such bound", 0},
    {"inline_bytes_max", CONFIG_BYTES, "16KiB", 0, 1 << 20, NULL,
     "objects and parts up to this size are kept in the index", 0},
    {"segment_bytes", CONFIG_BYTES, "4MiB", 64 << 10, BLOB_BYTES_MAX, NULL,
     "larger ones are cut into blobs of this size", 0},
    {"replicate_bytes_max", CONFIG_BYTES, "384KiB", 1, BLOB_BYTES_MAX, NULL,
     "blobs up to this size are replicated though there are coded groups", 0},
    {"part_bytes_min", CONFIG_BYTES, "5MiB", 1, 5ll << 30, NULL,
     "least size of an upload's part, but for the last", 0},
    {"request_timeout", CONFIG_DURATION, "15s", 100, 600000, NULL,
     "for each step of a request on the index or on storage nodes", 0},
    {"complete_keepalive", CONFIG_DURATION, "5s", 10, 60000, NULL,
     "a CompleteMultipartUpload that takes longer is answered 200 and kept alive by white space",
     0},
    {"bucket_resume_after", CONFIG_DURATION, "10s", 100, 3600000, NULL,
     "a bucket deletion that stands still for so long is taken over", 0},
    {"connections_max", CONFIG_INT, "8192", 1, 1 << 20, NULL, "from clients, all loops together",
     0},
    {"body_rate_min", CONFIG_BYTES, "1KiB", 0, 1 << 30, NULL,
     "bytes a second that a client must send of a body while it is waited for; 0: any", 0},
    {"response_rate_min", CONFIG_BYTES, "1KiB", 0, 1 << 30, NULL,
     "bytes a second that a client must take of a response while some is to be sent; 0: any", 0},
    {"rate_grace", CONFIG_DURATION, "20s", 100, 3600000, NULL,
     "waiting for a client's body, or for it to take a response, before its rate counts", 0},
    {"rate_window", CONFIG_DURATION, "30s", 100, 3600000, NULL,
     "waiting over which its rate is averaged from then on", 0},
    {"drain_grace", CONFIG_DURATION, "5s", 0, 600000, NULL,
     "for requests under way when the process is told to stop", 0},
    {"witness_check", CONFIG_BOOL, "on", 0, 0, NULL,
     "ask a witness whether cached records are fresh; off: read every one at its leader", 0},
    {"witness_hedge", CONFIG_DURATION, "60ms", 1, 60000, NULL,
     "after which another zone's witness is asked too", 0},
    {"reencode_interval", CONFIG_DURATION, "1m", 100, 86400000, NULL,
     "between two looks for copies that were written for want of a coded group", 0},
    {"reencode_parallel", CONFIG_INT, "2", 1, REENCODE_PARALLEL_MAX, "segments",
     "of these that are written again at one time", 0},
    {"reencode_rate", CONFIG_BYTES, "32MiB", 0, 1ll << 40, NULL,
     "bytes a second of these that are begun; 0: no bound", 0},
    {"master_key_file", CONFIG_STRING, NULL, 0, 0, NULL,
     "master keys of encryption, a line ID:KEY each, the newest first; no one but its owner and "
     "group may read it",
     0},
    {"master_key", CONFIG_STRING, NULL, 0, 0, NULL,
     "the same in place of a file; CAIRN_MASTER_KEY is better than a flag, which others can see",
     CONFIG_SECRET},
    {"sse_require_tls", CONFIG_BOOL, "on", 0, 0, NULL,
     "refuse keys that clients send (SSE-C) without TLS", 0},
    {"sse_default", CONFIG_BOOL, "off", 0, 0, NULL,
     "encrypt (SSE-S3) where neither the request nor the bucket says how", 0},
    {"jobs_interval", CONFIG_DURATION, "30s", 100, 86400000, NULL,
     "between two looks for background work on buckets", 0},
    {"jobs_lease", CONFIG_DURATION, "60s", 1000, 3600000, NULL,
     "after which the work of a gateway that died is taken over", 0},
    {"jobs_parallel", CONFIG_INT, "16", 1, JOBS_PARALLEL_MAX, "buckets",
     "that this gateway works on at one time", 0},
    {"lifecycle_day", CONFIG_DURATION, "24h", 100, 86400000, NULL,
     "what a day is to lifecycle rules and inventories; shorter for tests only", 0},
    {"lifecycle_interval", CONFIG_DURATION, "6h", 100, 2592000000, NULL,
     "from one round over a bucket with lifecycle rules to the next", 0},
    {"lifecycle_rate", CONFIG_INT, "20000", 0, 1000000000, NULL,
     "versions of a bucket looked at a second, one deleted counts as ten; 0: no bound", 0},
    {"lifecycle_parallel", CONFIG_INT, "2", 1, JOBS_PARALLEL_MAX, "buckets",
     "that this gateway applies lifecycle rules to at one time", 0},
    {"inventory_rate", CONFIG_INT, "20000", 0, 1000000000, NULL,
     "versions of a bucket listed a second for an inventory; 0: no bound", 0},
    {"inventory_file_bytes", CONFIG_BYTES, "8MiB", 4096, 64 << 20, NULL,
     "of a file of an inventory, compressed; doubled with each 64 files, three times", 0},
    {"quota_interval", CONFIG_DURATION, "10m", 100, 2592000000, NULL,
     "from one count of what a bucket or an account with a quota holds to the next", 0},
    {"quota_rate", CONFIG_INT, "20000", 0, 1000000000, NULL,
     "versions of a bucket, or an account, counted a second; 0: no bound", 0},
    {"webhooks", CONFIG_STRING, NULL, 0, 0, NULL,
     "where notifications may go: NAME=URL [token=FILE] [ca=FILE] "
     "[accounts=ID,ID...]; NAME=URL ...", 0},
    {"replication_targets", CONFIG_STRING, NULL, 0, 0, NULL,
     "endpoints to replicate to: NAME=URL access_key=ID secret=FILE [region=R] [ca=FILE] "
     "[accounts=ID,ID...]; ...", 0},
    {"event_queue_max", CONFIG_INT, "1000000", 1, 1ll << 32, "events",
     "that may wait for one destination, of a bucket in a partition; further ones are lost", 0},
    {"event_interval", CONFIG_DURATION, "1s", 50, 60000, NULL,
     "between two looks for events that wait for their destinations", 0},
    {"event_timeout", CONFIG_DURATION, "5s", 100, 60000, NULL,
     "in which a webhook must take an event", 0},
    {"event_claim", CONFIG_DURATION, "15s", 500, 600000, NULL,
     "as the metanodes have it: after which another gateway goes on with a queue of events", 0},
    {"event_retry_max", CONFIG_DURATION, "1m", 200, 3600000, NULL,
     "between two tries of an event, in the end", 0},
    {"event_parallel", CONFIG_INT, "4", 1, DELIVER_PARALLEL_MAX, "events",
     "of one bucket and partition under way to one destination", 0},
    {"replication_give_up", CONFIG_DURATION, "24h", 1000, 2592000000ll, NULL,
     "a replication that is refused for so long is not tried again", 0},
    {"access_log", CONFIG_BOOL, "off", 0, 0, NULL, "a line for every request", 0},
    {"access_log_interval", CONFIG_DURATION, "5m", 100, 86400000, NULL,
     "after which records of requests are written into the buckets that they are logged to", 0},
    {"access_log_bytes", CONFIG_BYTES, "1MiB", 1024, 8 << 20, NULL,
     "of such records, for one bucket and loop, after which they are written at once", 0},
};
const size_t gateway_param_count = ARRAY_COUNT(gateway_params);

int gateway_params_check(const struct config *c, struct buf *ret_why)
{
    uint64_t timeout = config_duration_ms(c, "event_timeout");
    uint64_t interval = config_duration_ms(c, "event_interval");
    uint64_t claim = config_duration_ms(c, "event_claim");
    if (deliver_times_fit(timeout, interval, claim))
        return OK;
    buf_printf(
        ret_why,
        "event_timeout (%llu ms) and event_interval (%llu ms) together must be less than "
        "three quarters of event_claim (%llu ms), or no event would ever be sent; event_claim "
        "is to be the same here and at the metanodes",
        (unsigned long long)timeout, (unsigned long long)interval, (unsigned long long)claim);
    return ERR_CONFIG;
}
