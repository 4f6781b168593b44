#pragma once
/* A proposal on behalf of a request that changes something in its bucket, under the bucket's
 * settings as this gateway knows them.  If they have changed, or the bucket is sealed by a deletion
 * that may still be called off, the bucket is read again and the proposal made anew: both refusals
 * mean that nothing has happened. */
#include "gateway/op/request.h"

struct commit {
    struct request *req;
    struct meta_propose propose; /* the caller sets command, key and body */
    void (*cb)(struct commit *);
    /* Results, until fini: as of meta_propose; ERR_NO_BUCKET when the bucket is gone. */
    int err;
    const Cairn__Outcome *outcome;
    /* private */
    uint64_t bucket_id, settings_version, deadline_ns;
    unsigned tries;
    bool has_proposed;
    struct meta_read bucket_read;
    struct env_timer timer;
};

/* Zeroed, then: command initialised and its op set. */
void commit_start(struct commit *c, struct request *req, struct slice key,
                  void (*cb)(struct commit *));
void commit_fini(struct commit *c);

/* What to tell the client about a failed change of an object, upload or bucket. */
enum s3_code commit_code(struct request *req, int err);

/* The cache learns what was written: record NULL: the object is gone now. */
void commit_cache_object(struct commit *c, struct slice key, const Cairn__ObjectRecord *record,
                         struct payload body);
