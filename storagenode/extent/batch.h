#pragma once
/* What goes into one group commit.  Pure.
 *
 * Operations are taken from the head of one queue, in order, until the batch is full or the next one
 * names a blob that is in it already: that one is decided by the index as this batch leaves it, so
 * it has to wait for the next.  One batch is under way at a time: while it is synced, the next one
 * gathers, so that the more callers there are, the more of them share a sync. */
#include "storagenode/extent/format.h"

#define BATCH_BLOBS_MAX 8192u /* puts and marks in one batch */

struct batch {
    uint64_t bytes_max;
    uint32_t frames_max;
    uint64_t bytes;  /* of the frames of shards */
    uint32_t frames; /* of shards */
    uint32_t marks;  /* in the one frame of marks */
    uint32_t blob_count;
    uint32_t epoch;            /* a slot is used when it carries the batch's epoch */
    struct batch_slot *slots;  /* open addressing, twice BATCH_BLOBS_MAX */
};

int batch_init(struct batch *b, uint64_t bytes_max, uint32_t frames_max); /* OK; ERR_NOMEM */
void batch_fini(struct batch *b);
void batch_begin(struct batch *b);

enum batch_admission {
    BATCH_TAKE,
    BATCH_FULL,    /* send what there is first */
    BATCH_CONFLICT /* a blob of it is in the batch: send what there is first */
};
/* May the next operation join?  A put of one frame of `bytes`: the first one always, whatever its
 * size.  A delete: all of its blobs (at most MARKS_PER_REQUEST_MAX) or none. */
enum batch_admission batch_admit_put(const struct batch *b, struct id128 blob_id, uint64_t bytes);
enum batch_admission batch_admit_delete(const struct batch *b, const struct id128 *blob_ids,
                                        uint32_t count);
/* It joins.  batch_take_mark: false if the blob is in the batch already (named twice). */
void batch_take_put(struct batch *b, struct id128 blob_id, uint64_t bytes);
bool batch_take_mark(struct batch *b, struct id128 blob_id);
/* Bytes of the frame of marks, if there were `more` of them; 0: none. */
uint64_t batch_mark_bytes(const struct batch *b, uint32_t more);
