#pragma once
/* Where a new configuration of logging or inventory has the gateway write: is there such a bucket,
 * does it belong to the owner of this one, and may the caller write there itself?  (S3 has the
 * destination's policy name its service instead.) */
#include "gateway/op/authorize.h"

struct report_target {
    /* Set by the caller, zeroed otherwise. */
    struct request *req;
    void (*cb)(struct report_target *t, enum s3_code code); /* once; maybe within the start */
    /* private */
    enum s3_code refusal;
    struct slice bucket, account, prefix;
    struct meta_read read;
};
/* Of this kind of setting? */
bool report_target_is_asked(unsigned kind);
/* document: as it will be stored; borrowed until the callback. */
void report_target_start(struct report_target *t, unsigned kind, struct slice document);
