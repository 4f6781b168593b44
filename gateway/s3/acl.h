#pragma once
/* Access control lists: canned ones, x-amz-grant-* fields, the AccessControlPolicy document, and
 * what a list lets whom do.  Pure; what is read lives in the arena given.
 *
 * Ref: S3 User Guide, "Access control list (ACL) overview". */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

#define S3_ACL_GRANTS_MAX 100

/* Bits; FULL_CONTROL is all of them.  A grant is of one of them or of all. */
enum s3_permission {
    S3_PERMIT_READ = 1,
    S3_PERMIT_WRITE = 2,
    S3_PERMIT_READ_ACP = 4,
    S3_PERMIT_WRITE_ACP = 8,
    S3_PERMIT_FULL = 15,
};

enum s3_grantee {
    S3_GRANTEE_ACCOUNT, /* id: canonical id */
    S3_GRANTEE_EMAIL,   /* id: address; never stored: the caller finds out whose it is */
    S3_GRANTEE_ALL_USERS,
    S3_GRANTEE_AUTHENTICATED_USERS,
    S3_GRANTEE_LOG_DELIVERY,
};

struct s3_grant {
    enum s3_grantee grantee;
    struct slice id;
    unsigned permission;
};

struct s3_acl {
    struct s3_grant *grants;
    size_t count;
};

enum s3_canned {
    S3_CANNED_NONE, /* nothing was asked for */
    S3_CANNED_PRIVATE,
    S3_CANNED_PUBLIC_READ,
    S3_CANNED_PUBLIC_READ_WRITE,
    S3_CANNED_AUTHENTICATED_READ,
    S3_CANNED_BUCKET_OWNER_READ,
    S3_CANNED_BUCKET_OWNER_FULL_CONTROL,
    S3_CANNED_AWS_EXEC_READ,
    S3_CANNED_LOG_DELIVERY_WRITE,
};

/* What the fields of a request ask for. */
struct s3_acl_wanted {
    enum s3_canned canned; /* NONE, and no grants: nothing */
    struct s3_acl grants;
};
/* x-amz-acl and x-amz-grant-*.  Returns: S3_OK; INVALID_ARGUMENT (no such canned list; a grant of
 * no known form, an unknown group); INVALID_REQUEST (both kinds at once); MALFORMED_ACL (too many
 * grants); INTERNAL_ERROR. */
enum s3_code s3_acl_wanted_parse(const struct s3_request *r, struct s3_acl_wanted *ret,
                                 struct s3_fault *fault);
static inline bool s3_acl_is_wanted(const struct s3_acl_wanted *w)
{
    return w->canned != S3_CANNED_NONE || w->grants.count > 0;
}

/* The grants of a canned list.  owner: canonical id of the bucket's or object's; bucket_owner: of
 * an object's bucket, empty for a bucket.  Returns: S3_OK; INTERNAL_ERROR. */
enum s3_code s3_acl_canned(struct arena *arena, enum s3_canned canned, struct slice owner,
                           struct slice bucket_owner, struct s3_acl *ret, struct s3_fault *fault);

/* AccessControlPolicy.  ret_owner: the Owner's ID as sent.  Returns: S3_OK; MALFORMED_ACL;
 * INVALID_ARGUMENT (an unknown group); INTERNAL_ERROR. */
enum s3_code s3_acl_read(struct arena *arena, struct slice body, struct slice *ret_owner,
                         struct s3_acl *ret, struct s3_fault *fault);
/* Display names: S3 has ceased to give them; clients that show one see the id. */
void s3_acl_write(struct buf *b, struct slice owner, const struct s3_acl *acl);

/* What it lets this account do; canonical_id empty: an anonymous caller.  ignore_public: as if
 * nothing were granted to the two groups that everybody can join. */
unsigned s3_acl_permits(const struct s3_acl *acl, struct slice canonical_id, bool ignore_public);
/* Does it grant anything to one of those two groups? */
bool s3_acl_is_public(const struct s3_acl *acl);
/* Does it grant anything to anyone but the owner? */
bool s3_acl_is_shared(const struct s3_acl *acl, struct slice owner);
bool s3_canonical_id_valid(struct slice id); /* 64 hex digits in lower case */
