#pragma once
/* FenceBucket in every partition that overlaps a bucket, all at once, and once more if the
 * partitions have changed meanwhile.  For what a bucket's deletion and changes of its settings have
 * in common; why: metanode/index/apply_root.c, apply_fencing.c. */
#include "gateway/op/gateway.h"

struct fence;

struct fences {
    /* Set by the caller, zeroed otherwise. */
    struct gateway *gw;
    uint64_t bucket_id, settings_version;
    bool sealed;
    Cairn__Versioning versioning;
    void (*cb)(struct fences *f); /* once; may come within the start */
    /* Results.  err: a failure; ERR_SETTINGS: none, but some partition has a newer fence already.
     */
    int err;
    bool empty; /* the bucket is, in all of them (with err OK) */
    /* private */
    struct fence *fence;
    struct buf ranges; /* first keys of the ranges that the fences are for */
    size_t count, left;
    unsigned rounds;
};

void fences_start(struct fences *f);
void fences_fini(struct fences *f);
