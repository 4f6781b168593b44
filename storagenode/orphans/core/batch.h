#pragma once
/* Blobs that a storage node asks about, as questions to their owners' partitions, and what the
 * answers mean.  A question is about the blobs of one owner (bucket id and key).
 *
 * An answer says of each blob: a record refers to it (it is confirmed, and not asked about again);
 * none does, and it is condemned (the partition's deletion queue deletes it, everywhere); or none
 * does, and it is too early.  What is no such answer decides nothing.
 *
 * Pure; no allocation; from any thread. */
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/base/slice.h"

#define ORPHAN_BATCH_MAX 64u
#define ORPHAN_KEY_BYTES_MAX 1024u

enum orphan_verdict {
    ORPHAN_LATER,     /* nothing is known: it is asked again */
    ORPHAN_CONFIRMED, /* a record refers to it */
    ORPHAN_CONDEMNED, /* no record does, and none ever will */
};

struct orphan {
    struct id128 blob_id;
    uint64_t time_ms; /* that its shard carries */
    uint32_t pg;
    uint16_t shard_index;
    bool has_owner; /* its shard's head could be read; the owner: */
    uint64_t bucket_id;
    uint8_t key[ORPHAN_KEY_BYTES_MAX];
    size_t key_len;
    enum orphan_verdict verdict;
};

struct orphan_batch {
    struct orphan blobs[ORPHAN_BATCH_MAX];
    size_t count;
};

/* Shards with a time below this are old enough to be asked about; 0: none can be. */
uint64_t orphan_older_than(uint64_t wall_ms, uint64_t orphan_age_ms);

/* Equal owners lie together from now on; those without one at the end. */
void orphan_batch_sort(struct orphan_batch *b);
/* The question that begins at `from`: how many blobs it is about.  0: there is none. */
size_t orphan_batch_question(const struct orphan_batch *b, size_t from);
/* What was answered to the question: a byte a blob (BlobRefsResponse.referred).
 * OK; ERR_PROTO (of another length, or with a byte that means nothing): all are left for later. */
int orphan_batch_answer(struct orphan_batch *b, size_t from, size_t count, struct slice referred);
/* Which blobs have this verdict; their number. */
size_t orphan_batch_select(const struct orphan_batch *b, enum orphan_verdict verdict,
                           struct id128 ret[ORPHAN_BATCH_MAX]);

/* How long to wait so that no more than per_sec are asked about in a second.  *free_ns: the pace's
 * own state, 0 at first. */
uint64_t orphan_pace(uint64_t *free_ns, uint64_t now_ns, size_t count, uint64_t per_sec);
