#pragma once
/* What a bucket's settings mean for requests: read out of its record once per cache entry.  The
 * record is as fresh as every other read of it, so a changed setting holds for the next request.
 *
 * What was never set has the meaning that S3 gives it for new buckets: ACLs disabled, public access
 * blocked. */
#include "gateway/op/gateway.h"
#include "gateway/policy/policy.h"
#include "gateway/s3/acl.h"
#include "gateway/s3/cors.h"
#include "gateway/s3/logging.h"
#include "gateway/s3/website.h"

enum bucket_ownership {
    OWNERSHIP_ENFORCED, /* ACLs are disabled; the bucket's owner owns all objects */
    OWNERSHIP_PREFERRED,
    OWNERSHIP_WRITER,
};

struct bucket_view {
    enum bucket_ownership ownership;
    bool block_public_acls, ignore_public_acls, block_public_policy, restrict_public_buckets;
    bool requester_pays;
    /* Not understood: nobody but the root user of the owner's account may do anything, and under a
     * policy, which might deny it to that one too, it can only mend that. */
    bool unreadable;
    bool policy_unreadable;
    const struct policy *policy;      /* NULL: none */
    const struct s3_acl *acl;         /* NULL: the owner has FULL_CONTROL, nobody else anything */
    const struct s3_cors *cors;       /* NULL: none */
    const struct s3_website *website; /* NULL: it is none */
    const struct s3_logging *logging; /* NULL: its requests are not recorded */
    bool has_quota;
    uint64_t quota_bytes_max, quota_objects_max; /* 0: no bound */
    uint64_t quota_id;
    /* private */
    struct arena arena;
};

/* entry: of a bucket that is present.  Lives as long as the entry.  NULL: no memory. */
const struct bucket_view *bucket_view_of(struct gateway *gw, struct cache_entry *entry);

/* The document of a setting; empty: none. */
struct slice bucket_setting_document(const Cairn__BucketRecord *bucket, Cairn__SettingKind kind);
/* The 12 digits of the owner, or what stands for them in a bucket from before there were accounts
 * (its canonical id), so that they are nobody else's. */
struct slice bucket_owner_account(const Cairn__BucketRecord *bucket);

/* ---- ACLs, as the index keeps them ---- */

/* In the arena; slices are borrowed from the message.  NULL: no memory. */
struct s3_acl *acl_of_proto(struct arena *arena, const Cairn__Acl *acl);
Cairn__Acl *acl_to_proto(struct arena *arena, const struct s3_acl *acl);
