#pragma once
/* Server access logging of buckets: the configuration, the names of log objects, and the records in
 * them.  Pure. */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

enum s3_logging_format {
    S3_LOGGING_SIMPLE,     /* PREFIX2026-11-30-15-00-00-UNIQUE */
    S3_LOGGING_BY_EVENT,   /* PREFIX ACCOUNT/REGION/BUCKET/2026/11/30/..., of the records' day */
    S3_LOGGING_BY_DELIVERY /* the same, of when it is written */
};
struct s3_logging {
    struct slice bucket, prefix; /* where to */
    enum s3_logging_format format;
};
extern const struct s3_schema s3_logging_schema;

/* Of a document with LoggingEnabled; in the arena.  Returns: S3_OK; INVALID_ARGUMENT;
 * INVALID_TARGET_BUCKET_FOR_LOGGING (no name of a bucket); INTERNAL_ERROR. */
enum s3_code s3_logging_of_node(struct arena *arena, const struct s3_node *root,
                                struct s3_logging *ret, struct s3_fault *fault);

#define S3_LOGGING_UNIQUE_CHARS 16
/* The key of a log object; event_ms: of its first record.  unique: hex digits. */
void s3_logging_key(struct buf *b, const struct s3_logging *l, struct slice account,
                    struct slice region, struct slice bucket, uint64_t event_ms, uint64_t now_ms,
                    const char *unique);

/* What is recorded of a request.  Empty slices and NULL: "-". */
struct s3_log_record {
    struct slice bucket_owner, bucket, peer, requester, request_id;
    uint64_t time_ms; /* when it came */
    enum s3_op op;
    const char *resource; /* as in struct s3_request */
    bool website;
    struct slice method, target; /* as sent */
    struct slice key;
    int status;
    const char *error;
    uint64_t bytes_sent;
    bool has_size, has_turnaround;
    uint64_t size, total_ms, turnaround_ms;
    struct slice referer, user_agent, version_id, host;
    bool is_signed, presigned, version_2, form;
    const char *tls_version;
};
/* One line, appended.  Whatever came from outside is escaped: it cannot begin a line or a field of
 * its own.  Signatures and tokens in the target are not repeated: others read logs. */
void s3_log_record_write(struct buf *b, const struct s3_log_record *r);
