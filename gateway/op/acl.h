#pragma once
/* ACLs of requests: what the fields ask for, checked against the bucket's ownership and its block
 * of public access, with all grantees known to be accounts. */
#include "gateway/meta/rows.h"
#include "gateway/op/request.h"
#include "gateway/s3/acl.h"

/* ---- are there such accounts? ---- */

/* Puts canonical ids for addresses, and looks whether each account that is named exists. */
struct acl_resolve {
    /* Set by the caller. */
    struct request *req;
    struct s3_acl *acl; /* changed in place */
    /* Comes later, or within the start when nothing need be asked.  S3_OK; INVALID_ARGUMENT (no
     * such account); UNRESOLVABLE_GRANT; or how it failed. */
    void (*cb)(struct acl_resolve *r, enum s3_code code);
    /* private */
    size_t at;
    bool of_email;
    struct meta_rows rows;
};
void acl_resolve_start(struct acl_resolve *r);

/* ---- requests that make something ---- */

/* Does this request need acl_prepare() before its operation? */
bool acl_is_asked(const struct request *req);
/* PutObject, CopyObject, CreateMultipartUpload, CreateBucket: sets req->acl (NULL: private) and
 * req->acl_canned.  done comes later or at once: S3_OK; ACL_NOT_SUPPORTED; ACCESS_DENIED (public,
 * and blocked); what s3_acl_wanted_parse() and acl_resolve say. */
void acl_prepare(struct request *req, void (*done)(struct request *req, enum s3_code code));

/* OwnershipControls to be set: INVALID_BUCKET_ACL when they would disable an ACL that lets others
 * in.  Returns: S3_OK; INVALID_BUCKET_ACL. */
enum s3_code acl_allows_ownership(struct request *req, struct slice document);
