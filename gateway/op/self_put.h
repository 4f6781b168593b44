#pragma once
/* An object that the gateway writes on its own account: reports and logs of buckets, into a bucket
 * of the same owner.  It goes the way of PutObject (ingest, commit), and so is inline or in blobs,
 * encrypted as the destination says, locked as its default says, and told of to who listens there.
 * Nothing is authorized: whoever made the setting had to be allowed to, and the owner must be the
 * same still.
 *
 * The data are in memory as a whole, and count against the loop's bodies. */
#include "gateway/op/commit.h"
#include "gateway/op/ingest.h"
#include "gateway/op/sse.h"

struct self_put {
    /* Set by the caller; zeroed otherwise.  Borrowed until the callback. */
    struct gateway *gw;
    struct slice bucket, key;
    struct slice owner_id; /* the destination must belong to this account, */
    struct slice account;  /* and to this one, unless empty */
    struct slice data;
    const char *content_type;
    const char *encryption; /* x-amz-server-side-encryption; NULL: as the destination says */
    struct slice kms_key;
    void (*cb)(struct self_put *p);
    /* Results, until fini.  OK; ERR_NO_BUCKET (or another's, or an object that cannot be there);
     * others as of a proposal. */
    int err;
    uint8_t md5[MD5_BYTES];
    /* private */
    struct arena arena;
    struct request *req;
    struct http_field fields[2];
    struct meta_read read;
    struct sse_key sse;
    struct ingest ingest;
    size_t pushed;
    Cairn__ObjectRecord record;
    Cairn__PutObject put;
    struct commit commit;
    struct env_timer end;
    bool has_ingest, has_commit, committed, is_read;
};
/* The callback comes once, later. */
void self_put_start(struct self_put *p);
/* After the callback, or never started. */
void self_put_fini(struct self_put *p);
/* Would another try do?  Of err. */
bool self_put_may_retry(int err);
