#pragma once
/* One S3 request: from the HTTP request to its operation, and the ways to answer it.
 *
 *   on_request ─► parse ─► who signed? ─► read key, bucket, object ─► authorize ─► the operation
 *                   └──────────┴──────────────────┴───────────────────────┴─► error document
 *
 * The request and all that its operation keeps lie in the HTTP request's arena.  So whatever runs
 * on its behalf must have called back before request_end(); after it nothing of the request exists.
 */
#include "gateway/op/gateway.h"
#include "gateway/s3/checksum.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/results.h"

/* What the operation wants to have been read when it starts. */
enum {
    NEED_BUCKET = 1,       /* must exist and belong to the user */
    NEED_OBJECT = 2,       /* its record, or the knowledge that there is none */
    NEED_BODY = 4,         /* and its inline data */
    NEED_BUCKET_MAYBE = 8, /* read, but neither existence nor owner is checked */
};

struct request;

struct operation {
    unsigned needs;
    unsigned (*more_needs)(struct request *req); /* may be NULL */
    void (*start)(struct request *req);
};
extern const struct operation operations[S3_OP_COUNT];

struct request {
    struct gateway *gw;
    struct http_request *http;
    struct arena *arena;
    struct s3_request s3;
    struct sigv4_auth auth;
    struct s3_fault fault;
    uint8_t signing_key[SHA256_BYTES];
    char id[17]; /* x-amz-request-id: 16 hex digits */
    int status;  /* answered with; 0: not yet */
    uint64_t bytes_sent;
    unsigned restarts;
    struct meta_read read, recheck;
    void (*rechecked)(struct request *req, enum s3_code code);
    /* Valid from the start of the operation. */
    const Cairn__AccessKeyRecord *user;
    const Cairn__BucketRecord *bucket;    /* NULL: absent, or not read */
    const Cairn__ObjectRecord *object;    /* NULL: absent, or not read */
    void *operation;                      /* the operation's own struct */
    void (*on_gone)(struct request *req); /* the operation's; may be NULL */
    bool gone;
};

static inline uint64_t request_now_ms(const struct request *req)
{
    return env_wall_ms(req->gw->env);
}
static inline uint64_t request_deadline(const struct request *req)
{
    return env_now_ns(req->gw->env) + req->gw->config->timeout_ms * NS_PER_MS;
}

/* ---- memory: of the request; NULL after which the operation answers with INTERNAL_ERROR ---- */
static inline void *request_alloc(struct request *req, size_t bytes)
{
    return arena_zalloc(req->arena, bytes);
}
/* NUL-terminated; "" for an empty slice; NULL: no memory. */
char *request_cstr(struct request *req, struct slice s);

/* ---- answers: exactly one of these, then request_end() ---- */

/* begin + the fields that every response has. */
void reply_begin(struct request *req, int status);
void reply_field(struct request *req, const char *name, struct slice value);
void reply_etag(struct request *req, const char *etag);              /* in quotes */
void reply_time(struct request *req, const char *name, uint64_t ms); /* HTTP date */
/* x-amz-checksum-<algorithm> and -type. */
void reply_checksum(struct request *req, const Cairn__Checksum *checksum, unsigned part_count);
/* The fields are complete, there is no body. */
void reply_no_body(struct request *req);
/* begin, the document as the body; it is taken over. */
void reply_xml(struct request *req, int status, struct buf *document);
/* The same of JSON. */
void reply_json(struct request *req, struct buf *document);
/* After an own begin and content type: the document as the body; it is taken over. */
void reply_document(struct request *req, struct buf *document);
/* The error document of code and req->fault (whose code it becomes). */
void reply_error(struct request *req, enum s3_code code);
/* Of a code of err.h; a fault that was set for another code does not stick. */
void reply_err(struct request *req, int err);

/* Ends the HTTP request: finish, or abort when what was begun cannot be completed. */
void request_end(struct request *req);
void request_abort(struct request *req);

/* The object was replaced while its data were being read, and they went with it.  As long as
 * nothing has been answered the operation may let go of all that it holds and start anew, on the
 * records as they are now.  Not for ever: data may be missing for other reasons. */
#define REQUEST_RESTARTS_MAX 2
static inline bool request_may_restart(const struct request *req, int err)
{
    return (err == ERR_NO_UPLOAD || err == ERR_NOT_FOUND) && req->restarts < REQUEST_RESTARTS_MAX &&
           !req->gone;
}
void request_restart(struct request *req);

/* What an operation itself read at leaders is newer than what allowed it: before it is given out,
 * access key and bucket must be known to allow it at or after that moment (DESIGN section 2), as
 * meta_read_start() sees to for objects.  S3_OK: they do, and the bucket is the same one still;
 * else the code to answer with, its fault set.  One at a time; the callback comes later. */
void request_recheck(struct request *req, void (*cb)(struct request *req, enum s3_code code));

/* The usual end of an operation that failed before it answered anything. */
static inline void request_fail(struct request *req, enum s3_code code)
{
    reply_error(req, code);
    request_end(req);
}

/* A bucket that is being deleted was met: if its deletion stands still, take it over
 * (delete_bucket.c).  The record is borrowed for the call. */
void bucket_delete_resume(struct gateway *gw, const Cairn__BucketRecord *bucket);

/* ---- between proto and S3 ---- */
static inline struct slice bytes_of(ProtobufCBinaryData b)
{
    return SLICE(b.data, b.len);
}
static inline ProtobufCBinaryData binary_of(struct slice s)
{
    return (ProtobufCBinaryData){s.len, (uint8_t *)(uintptr_t)s.ptr};
}
/* false: none, or of no form that we know. */
bool checksum_of_proto(const Cairn__Checksum *from, struct s3_checksum *ret);
/* In the arena; NULL: none given, or no memory. */
Cairn__Checksum *checksum_to_proto(struct request *req, const struct s3_checksum *from);
struct s3_owner request_owner(const struct request *req);
