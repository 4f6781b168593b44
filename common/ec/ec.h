#pragma once
/* Systematic Reed-Solomon codes over GF(2^8): k data shards, m parity shards, any k of which give
 * back all the others.  The arithmetic is ISA-L's; this file adds the layout of a blob and the
 * choice of matrix (Cauchy: every square submatrix is invertible, which a Vandermonde matrix cut to
 * systematic form does not promise).
 *
 * Layout (docs/decisions/0014-placement.md): a blob's bytes lie one after the other in the k data
 * shards; each shard has ec_shard_bytes() bytes, what lies behind the blob's end is zero.  Codes
 * work on each byte column by itself, so any range of a shard can be rebuilt from the same range of
 * k others.
 *
 * Pure; no allocation; from any thread. */
#include "common/base/err.h"
#include "common/base/slice.h"

#define EC_DATA_MAX 20u
#define EC_PARITY_MAX 8u
#define EC_SHARDS_MAX (EC_DATA_MAX + EC_PARITY_MAX)
#define EC_BLOCK_BYTES 65536u /* shards are whole blocks, so that block checksums stay aligned */

/* One code, with its tables for encoding.  About 6 KiB; the caller's. */
struct ec {
    unsigned data, parity;
    uint8_t matrix[EC_SHARDS_MAX * EC_DATA_MAX];
    uint8_t tables[32 * EC_DATA_MAX * EC_PARITY_MAX];
};

/* data >= 1, parity >= 1.  With data 1 every parity shard is a copy.
 * Returns: OK; ERR_INVAL. */
int ec_init(struct ec *ec, unsigned data, unsigned parity);

/* Of each shard of a blob of `bytes` > 0. */
uint64_t ec_shard_bytes(unsigned data, uint64_t bytes);

/* Bytes of the blob that lie in data shard `index`; the rest of the shard is padding. */
static inline uint64_t ec_shard_used(unsigned data, uint64_t bytes, unsigned index)
{
    uint64_t each = ec_shard_bytes(data, bytes), from = each * index;
    return from >= bytes ? 0 : bytes - from < each ? bytes - from : each;
}

/* parity[j], `len` bytes each, from data[i], `len` bytes each. */
void ec_encode(const struct ec *ec, size_t len, const uint8_t *const *data, uint8_t *const *parity);

/* What it takes to rebuild some shards from k others: made once, used for many ranges. */
struct ec_plan {
    unsigned data, wanted;
    uint8_t from[EC_DATA_MAX];   /* shards to read, ascending */
    uint8_t want[EC_SHARDS_MAX]; /* shards that come out, ascending */
    uint8_t tables[32 * EC_DATA_MAX * EC_SHARDS_MAX];
};

/* `have` and `want`: masks of shard numbers (bit i: shard i), disjoint, want not empty.  Of `have`
 * the lowest k are used. Returns: OK; ERR_NO_QUORUM (fewer than k); ERR_INVAL. */
int ec_plan_init(struct ec_plan *plan, const struct ec *ec, uint32_t have, uint32_t want);

/* from[i] is the range of shard plan->from[i]; to[j] becomes that of shard plan->want[j]. */
void ec_rebuild(const struct ec_plan *plan, size_t len, const uint8_t *const *from,
                uint8_t *const *to);
