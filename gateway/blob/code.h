#pragma once
/* The shards of one segment under a code: data shards are ranges of the segment's own buffer,
 * parity shards lie in a second buffer that was taken from the same budget.  Made in one pass, in
 * pieces that fit the processor's caches: encode, sum the parity's blocks, and prove that the
 * shards decode to what came in.
 *
 * The proof drops as many shards as the code can lose, rebuilds them from the others, all parity
 * among these, and compares their CRCs with those that were computed when the bytes arrived.  The
 * data shards that it does not drop are summed again and compared, too.  So every byte of every
 * shard takes part: data are in memory what came in, and parity that gives the right data back is
 * the code's (the equations have one solution), so that any k shards decode.  Without the second
 * half, a byte that changed in memory would be refused by its own shard's node alone, and come back
 * when that shard is rebuilt from parity that agrees with it. */
#include "common/ec/ec.h"
#include "gateway/blob/blob.h"

/* A shard as it is sent: bytes of the segment, the block in which they end padded, zeros. */
#define CODE_PIECES_MAX 3
struct code_shard {
    struct payload piece[CODE_PIECES_MAX];
    unsigned piece_count;
    const uint32_t *crcs; /* of its 64 KiB blocks */
    size_t crc_count;
};

/* Of the second buffer, for a segment of that size. */
size_t code_buffer_bytes(const struct ec *ec, size_t segment_bytes);

/* Fills segment->parity, which is there and whose capacity is at least code_buffer_bytes().
 * Returns: OK; ERR_CORRUPT (the shards do not decode to what came in: nothing may be written). */
int code_make(const struct ec *ec, struct blob_segment *segment, struct id128 blob_id);

/* Shard `index` of a segment for which code_make() returned OK.  Borrows from it. */
void code_shard(const struct ec *ec, const struct blob_segment *segment, unsigned index,
                struct code_shard *ret);

/* The shards that the proof drops, as many as the code can lose: data ones, which of them the id
 * says, and, of a code with more parity than data, parity ones. */
uint32_t code_dropped(const struct ec *ec, struct id128 blob_id);

/* Rebuilds a range of shard `index` from the same range of others.  range[i]: of shard i, `len`
 * bytes, or NULL.  Returns: OK; ERR_NO_QUORUM (too few are there). */
int code_rebuild(const struct ec *ec, unsigned index, const uint8_t *const *range, size_t len,
                 uint8_t *ret);
