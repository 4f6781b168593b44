#pragma once
/* A proposal on behalf of a request that changes something in its bucket, under the bucket's
 * settings as this gateway knows them.  If they have changed, or the bucket is sealed by a deletion
 * that may still be called off, the bucket is read again and the proposal made anew: both refusals
 * mean that nothing has happened. */
#include "gateway/op/events.h"
#include "gateway/op/request.h"

struct commit {
    struct request *req;
    struct meta_propose propose; /* the caller sets command, body and issue_until_ms */
    enum s3_event event;         /* what it is, for those who are told of it (events_order) */
    bool among_others; /* of the request's, at once: its rights have just been asked about */
    void (*cb)(struct commit *);
    /* Results, until fini: as of meta_propose; ERR_NO_BUCKET when the bucket is gone; ERR_TOO_OLD
     * (nothing happened) when it was too late to issue it; ERR_AUTH (nor here) when the request is
     * not allowed any more, with the fault set. */
    int err;
    const Cairn__Outcome *outcome;
    Cairn__Versioning versioning; /* of the bucket, as the proposal assumed */
    /* private */
    uint64_t bucket_id, settings_version, deadline_ns;
    unsigned tries;
    bool has_proposed;
    int order_err; /* nobody could be told of it: it is not proposed */
    struct commit_again *again; /* the bucket read anew; NULL: it was not refused */
    struct env_timer timer;
};

/* Zeroed, then: command initialised and its op set.  If the request's rights were asked about some
 * time ago they are again, before each attempt. */
void commit_start(struct commit *c, struct request *req, struct slice key,
                  void (*cb)(struct commit *));
void commit_fini(struct commit *c);

/* What to tell the client about a failed change of an object, upload or bucket. */
enum s3_code commit_code(struct request *req, int err);

/* x-amz-version-id of what was made, if the bucket has versions. */
void reply_version_made(const struct commit *c);

/* The cache learns what was written: record NULL: the object is gone now. */
void commit_cache_object(struct commit *c, struct slice key, const Cairn__ObjectRecord *record,
                         struct payload body);
/* ... that a delete marker was made. */
void commit_cache_marker(struct commit *c, struct slice key, const char *owner_id);
