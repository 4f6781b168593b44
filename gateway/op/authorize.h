#pragma once
/* May this request be done?  Every request passes authorize_request() before its operation starts,
 * and again, with what has been read since, before it gives out what it read at leaders.
 *
 * Who may: policies of the caller, of its session, of the bucket, and ACLs, as gateway/policy
 * decides from them.  Signatures are checked before (request.c).
 *
 * The owner's root user, in a bucket without a policy whose ACLs are disabled, is let in without
 * any of this: nothing there could deny it. */
#include "gateway/op/bucket_view.h"
#include "gateway/op/context.h"
#include "gateway/op/principal.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/xml.h"

/* Who owns what nobody signed. */
#define AUTHORIZE_ANONYMOUS_ID "65a011a29cdf8ec533ec3d1ccaae921c"

/* What is asked with: entries of one read, kept by the caller. */
struct authorize_basis {
    struct cache_entry *principal; /* present; NULL: anonymous */
    struct cache_entry *bucket;    /* NULL: not read; of a bucket that may be absent */
};

/* Sets of req: caller, who, view, unrestricted, charged.  What is asked about is req->s3 and, as
 * far as it was read, req->object.  Of an operation with AUTHORIZE_LATE everything but what
 * policies say: that comes with authorize_late(). Returns: S3_OK; NO_SUCH_BUCKET; ACCESS_DENIED;
 * METHOD_NOT_ALLOWED (the policy of another account's bucket); INVALID_BUCKET_OWNER;
 * INTERNAL_ERROR. */
enum s3_code authorize_request(struct request *req, const struct authorize_basis *basis);
/* The rest, once the body has been read: said is what policies may ask about in it.  To be called
 * with what the body was refused for, too: who may not ask hears that first.
 * Returns: `refused`, if the request would be allowed; else as above. */
enum s3_code authorize_late(struct request *req, const struct request_said *said,
                            enum s3_code refused);

/* Counts the denials that say something of the policies, not of the request. */
void authorize_count_denied(struct gateway_metrics *m, enum policy_reason reason);

/* Another object has come to lie where the one lay that the request was allowed for: the same for
 * that one. */
enum s3_code authorize_changed(struct request *req, const struct request_said *said,
                               const Cairn__ObjectRecord *now);

/* DeleteObjects: one of its keys.  Returns: S3_OK; ACCESS_DENIED. */
enum s3_code authorize_delete(struct request *req, const struct s3_delete_object *object);
/* May the caller pass by a lock in governance mode on this object, and does it ask to? */
bool authorize_bypass(struct request *req, struct slice key);

/* The source of a copy, in its own bucket; object: NULL: there is none, to be told by the caller.
 * Returns: as authorize_request(). */
enum s3_code authorize_source(struct request *req, const struct authorize_basis *basis,
                              const struct s3_copy_source *source,
                              const Cairn__ObjectRecord *object);

/* A setting has the gateway write into another bucket of the same owner, below `prefix`: may the
 * caller itself write there?  Returns: S3_OK; ACCESS_DENIED; INTERNAL_ERROR. */
enum s3_code authorize_delivery(struct request *req, const struct authorize_basis *basis,
                                struct slice prefix);

/* Would the caller still be allowed to change the bucket's policy under this one? */
bool authorize_keeps_policy(struct request *req, const struct policy *policy);

/* Canonical id of who owns what this request makes in the bucket, by the bucket's ownership. */
struct slice authorize_new_owner(const struct request *req, enum s3_canned canned);
