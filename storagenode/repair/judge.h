#pragma once
/* Are the shards of a blob those of the blob?  Each may be intact by its own checksums and yet not
 * belong to the others: what a gateway, a repair or memory got wrong.
 *
 * A shard's header names the size and the CRC32C of the whole blob.  A set of k shards *proves* a
 * blob when their headers agree and what they decode to has that sum; the shards that are equal to
 * what the blob encodes to, and whose headers say the same, support it.  The blob is the one with
 * the most support; the others' shards are wrong.  Two blobs that are proven with equal support, or
 * none at all: nobody knows.
 *
 * Two blobs share at most k - 1 shards, so that one with more than half of (n + k - 1) shards has
 * no rival, and the search ends there: with all shards right, after its first try.
 *
 * Pure; no allocation; from any thread. */
#include "common/ec/ec.h"

#define JUDGE_TRIES_MAX 2000u /* sets of k; 126 of 5+4, 1001 of 10+4 */
#define JUDGE_SCRATCH_BYTES ((size_t)EC_SHARDS_MAX * EC_BLOCK_BYTES)

struct judge_shard {
    const uint8_t *bytes; /* shard_bytes of them; NULL: it could not be had */
    uint64_t blob_bytes;  /* its header's word; 0: it says nothing */
    uint32_t blob_crc32c;
};

enum judge_verdict {
    JUDGE_GOOD,
    JUDGE_WRONG,    /* `wrong` are proven not to be the blob's */
    JUDGE_UNPROVEN, /* they disagree, and none is proven */
    JUDGE_TOO_FEW,  /* fewer than k: nothing can be said */
};

struct judge {
    /* the caller's; data 1: replicas, each of which is the blob */
    const struct ec *ec;
    uint64_t shard_bytes;
    const struct judge_shard *shard; /* data + parity of them */
    uint8_t *scratch;                /* JUDGE_SCRATCH_BYTES */
    /* results */
    enum judge_verdict verdict;
    uint32_t wrong;
    unsigned tries;
};
void judge_blob(struct judge *j);
