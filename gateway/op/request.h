#pragma once
/* One S3 request: from the HTTP request to its operation, and the ways to answer it.
 *
 *   on_request ─► parse ─► who signed? ─► read key, bucket, object ─► authorize ─► ACL ─► the
 * operation └──────────┴──────────────────┴───────────────────────┴─► error document
 *
 * The request and all that its operation keeps lie in the HTTP request's arena.  So whatever runs
 * on its behalf must have called back before request_end(); after it nothing of the request exists.
 */
#include "gateway/op/gateway.h"
#include "gateway/policy/decide.h"
#include "gateway/s3/acl.h"
#include "gateway/s3/checksum.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/results.h"
#include "gateway/s3/version.h"
#include "proto/versions.h"

/* What the operation wants to have been read when it starts. */
enum {
    NEED_BUCKET = 1,       /* must exist */
    NEED_OBJECT = 2,       /* its record, or the knowledge that there is none */
    NEED_BODY = 4,         /* and its inline data */
    NEED_BUCKET_MAYBE = 8, /* read, but its existence is not checked */
    AUTHORIZE_LATE = 16, /* policies may ask about the body: the operation calls authorize_late() */
};

struct request;
struct principal;
struct principal_session;
struct bucket_view;
struct post_form;
struct website;
struct session;
struct quota_hold;

struct operation {
    unsigned needs;
    unsigned (*more_needs)(struct request *req); /* may be NULL */
    void (*start)(struct request *req);
};
extern const struct operation operations[S3_OP_COUNT];

struct authorize_basis;
struct body_text;
struct commit;
struct request_kept;
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
    uint64_t replied_ns; /* uv_hrtime() of the answer's beginning; of buckets that log requests only */
    unsigned restarts;
    uint64_t policy_steps; /* that decisions about it took (gateway/policy/decide.h) */
    struct website *website; /* of a request to a website (website.h); else NULL */
    int status_instead; /* of 200, for the object that says what went wrong; 0: 200 */
    struct post_form *form; /* of PostObject (post_object.h); NULL: of another operation */
    enum s3_code refused; /* the answer, once the bucket has been read for its CORS fields */
    bool key_taken; /* its access key is looked for (key_gate.h) */
    struct session *temporary; /* its credentials are of a session (session.h); NULL: a key of its own */
    struct meta_read read;
    void (*rechecked)(struct request *req, enum s3_code code);
    uint64_t authorized_ns; /* when its rights were asked about last; 0: a request of the gateway's own */
    struct request_kept *kept; /* what it was authorized with, each time anew */
    /* The operation's: what else has to be allowed still when it is rechecked; NULL: nothing. */
    enum s3_code (*recheck_more)(struct request *req, const struct authorize_basis *basis);
    /* Valid from the start of the operation. */
    const Cairn__PrincipalRecord *principal; /* NULL: anonymous */
    const struct principal *who;             /* the same, ready to be asked (authorize.h) */
    const struct principal_session *session; /* NULL: none */
    struct slice acts_for; /* of a request of the gateway's own: the account that it is made for */
    struct policy_caller caller;
    const struct bucket_view *view; /* of the bucket */
    bool authorized;
    bool unrestricted; /* the owner's root user, whom nothing could deny anything */
    bool charged;      /* the requester pays */
    enum s3_canned acl_canned;
    Cairn__Acl *acl;                      /* of what the request makes; NULL: private */
    const Cairn__BucketRecord *bucket;    /* NULL: absent, or not read */
    const Cairn__ObjectRecord *object;    /* NULL: absent, or not read, or */
    const Cairn__ObjectRecord *marker;    /* there is a delete marker in its place */
    struct quota_hold *quota;             /* of bucket, account (quota.h); NULL: none */
    void *operation;                      /* the operation's own struct */
    struct body_text *text;               /* that waits for request_renew() */
    struct commit *commit;                /* that waits for request_recheck() */
    void (*on_gone)(struct request *req); /* the operation's; may be NULL */
    bool gone;
    struct meta_read recheck; /* not zeroed: set as a whole when one starts, which few need */
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
/* x-amz-version-id of a record in a bucket whose versioning is or was enabled; else nothing. */
void reply_version(struct request *req, const char *name, const Cairn__BucketRecord *bucket,
                   const Cairn__ObjectRecord *record);
void reply_version_id(struct request *req, const char *name, uint64_t version); /* 0: "null" */
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

/* Whoever takes its time with the body, or has the gateway copy for a while, may have lost its
 * rights meanwhile.  What was asked about longer ago than this is asked about again before anything
 * is done with it; requests that are done sooner count as of the moment at which they came. */
#define REQUEST_RIGHTS_NS NS_PER_SEC
bool request_rights_are_old(const struct request *req);
/* As request_recheck(); and from now on the request is that of who asks now, in the bucket as it is
 * now: principal, who, caller, view, unrestricted, bucket.  So an operation that is authorized late
 * is so by these. */
void request_renew(struct request *req, void (*cb)(struct request *req, enum s3_code code));

/* With what req->read has read, of req->s3.op and its key: who asks, and may they?  Sets principal,
 * who, caller, view, bucket, object and marker.  Returns: S3_OK; what sigv4_verify(),
 * post_form_allowed() and authorize_request() say. */
enum s3_code request_authorize(struct request *req);

/* The usual end of an operation that failed before it answered anything. */
static inline void request_fail(struct request *req, enum s3_code code)
{
    reply_error(req, code);
    request_end(req);
}

/* The object that the operation is about is not there: why (NO_SUCH_KEY, NO_SUCH_VERSION, or
 * METHOD_NOT_ALLOWED for a version that is a delete marker), with the fault set. */
enum s3_code request_no_object(struct request *req);

/* A bucket was met whose change of settings is not finished: if it stands still, take it over
 * (versioning.c).  The record is borrowed for the call. */
void bucket_versioning_resume(struct gateway *gw, const Cairn__BucketRecord *bucket);
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
/* Who asks; who a canonical id is; who owns an object with that one in its record. */
struct s3_owner request_owner(const struct request *req);
struct s3_owner request_owner_of(const struct request *req, const char *canonical_id);
struct s3_owner request_object_owner(const struct request *req, const char *owner_id);

/* The principal that the access key of a request found; NULL: there is none that may sign. */
const Cairn__PrincipalRecord *request_principal_of(const struct sigv4_auth *auth,
                                                   const struct cache_entry *entry);
