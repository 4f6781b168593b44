#pragma once
/* One proposal to the root that sets one document of the request's bucket, or takes it away. */
#include "gateway/op/request.h"

struct setting_store {
    const char *note; /* set by the caller, like cb; NULL: none */
    void (*cb)(struct setting_store *s, enum s3_code code);
    /* Results, beside the code: what the proposal ended with, and whether the state machine said
     * so. */
    int err;
    bool decided;
    /* private */
    struct request *req;
    Cairn__BucketSetting setting;
    Cairn__PutBucketSetting command;
    struct meta_propose propose;
};

/* id and document are borrowed until the callback, which comes later, on the same loop: S3_OK;
 * TOO_MANY_CONFIGURATIONS; what commit_code() says; INTERNAL_ERROR.  An empty document: it goes.
 * Returns: S3_OK; INTERNAL_ERROR (no memory; no callback comes). */
enum s3_code setting_store_start(struct setting_store *s, struct request *req,
                                 Cairn__SettingKind kind, struct slice id, struct slice document);
