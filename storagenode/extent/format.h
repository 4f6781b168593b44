#pragma once
/* What an extent file is made of: docs/formats/extent.md.  Pure: bytes in, structs out.
 *
 * An extent is one header block, then frames.  Header block, frame heads and frame data all start at
 * multiples of FRAME_ALIGN, so no write ever touches a sector that an earlier sync made durable. */
#include "common/base/err.h"
#include "common/base/id.h"

#define FRAME_ALIGN 4096u
#define FRAME_HEAD_BYTES 4096u           /* fixed part, key, block CRCs, zeros */
#define EXTENT_HEADER_BYTES 4096u        /* two copies of the same fields */
#define EXTENT_NAME_BYTES 16             /* "x0000002a.extent" */
#define EXTENT_BYTES_MAX (4ull << 30)
#define SHARD_BLOCK_BYTES 65536u
#define SHARD_BYTES_MAX (24u << 20)      /* what fits into one frame of the wire */
#define SHARD_BLOCKS_MAX (SHARD_BYTES_MAX / SHARD_BLOCK_BYTES)
#define SHARD_KEY_BYTES_MAX 1024u
#define SHARD_INDEX_MAX 255u
#define MARKS_PER_FRAME_MAX 4096u        /* deletion marks: data of 16 bytes each */
#define MARKS_PER_REQUEST_MAX 1024u

/* Identity of one life of an extent.  The salt is random and new with each generation: bytes that a
 * client stored can never pass for a frame, and neither can what an earlier life left behind. */
struct extent_header {
    uint32_t id;
    uint64_t generation;
    uint64_t salt;
    uint64_t bytes; /* of the file */
    struct id128 disk_id;
};

/* Writes the header block.  Returns: OK (cannot fail). */
void extent_header_encode(const struct extent_header *h, uint8_t ret[EXTENT_HEADER_BYTES]);
/* Both copies are there, and say the same: one may be lost. */
bool extent_header_whole(struct slice block);
/* Either copy will do.  Returns: OK; ERR_CORRUPT (neither copy is whole); ERR_VERSION. */
int extent_header_decode(struct slice block, struct extent_header *ret);

void extent_name(uint32_t id, char ret[EXTENT_NAME_BYTES + 1]);
bool extent_name_parse(const char *name, uint32_t *ret_id); /* false: not an extent's name */

enum shard_scheme { SHARD_SCHEME_REP3 = 0, SHARD_SCHEME_RS = 1 }; /* as enum Scheme in proto */

/* What a put says of a shard: kept with it, so that orphans can be told from data and the index can
 * be rebuilt. */
struct shard_info {
    struct id128 blob_id;
    uint16_t shard_index;
    uint16_t scheme;
    uint32_t pg;
    uint64_t pg_epoch;
    uint64_t time_ms;
    uint64_t bytes;
    struct {
        uint64_t bucket_id;
        struct slice key;
        struct id128 upload_id; /* zero: none */
        struct id128 write_id;  /* of one body: equal for all its segments; zero: not said */
        uint64_t body_bytes;    /* of the whole object or part; 0: not said */
        uint32_t part_number, segment_number;
    } owner;
    uint8_t data_shards, parity_shards; /* of the blob's code; 0: not said */
    uint64_t blob_bytes;                /* of user data in the whole blob; 0: not said */
    uint32_t blob_crc32c;               /* of these */
    const uint32_t *block_crcs; /* shard_blocks(bytes) of them */
};

static inline uint32_t shard_blocks(uint64_t bytes)
{
    return (uint32_t)((bytes + SHARD_BLOCK_BYTES - 1) / SHARD_BLOCK_BYTES);
}

/* What may be stored at all.  Returns: OK; ERR_INVAL; ERR_TOO_LARGE. */
int shard_info_validate(const struct shard_info *info);
/* Returns: OK; ERR_CHECKSUM; ERR_INVAL (length). */
int shard_verify(const struct shard_info *info, struct slice data);
/* The same for data of info->bytes whose blocks' CRCs somebody else has computed. */
int shard_compare(const struct shard_info *info, const uint32_t *crcs);
/* One number for all block CRCs: tells whether two puts of one blob carry the same bytes. */
uint32_t shard_crcs_digest(const uint32_t *crcs, uint32_t count);

enum frame_kind { FRAME_SHARD = 1, FRAME_MARKS = 2 };

/* Head of a frame.  `seq` grows with each frame of a disk; `batch_start` is the offset of the first
 * frame of the same group commit in this extent: a head that is there proves that all below its
 * batch_start had been synced before. */
struct frame_head {
    enum frame_kind kind;
    uint32_t extent_id;
    uint64_t generation, salt;
    uint64_t offset, batch_start;
    uint64_t seq;
    uint64_t data_bytes;
    uint64_t time_ms;         /* marks: when they were made, by this node's clock */
    struct shard_info info;   /* shard; decoded: key and CRCs point into the struct's own arrays */
    uint32_t block_count;
    uint32_t block_crcs[SHARD_BLOCKS_MAX];
    uint8_t key[SHARD_KEY_BYTES_MAX];
};

static inline uint64_t frame_bytes(uint64_t data_bytes)
{
    return FRAME_HEAD_BYTES + (data_bytes + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
}

#define FRAME_KEY_OFFSET 160u /* of a shard's owner's key in an encoded head */
/* For a shard: info and what lies above it; key and CRCs are taken from info.  For marks: block_crcs
 * and block_count. */
void frame_head_encode(const struct frame_head *h, uint8_t ret[FRAME_HEAD_BYTES]);
/* Every field is checked for sense.  Returns: OK; ERR_NOT_FOUND (no frame's magic); ERR_CORRUPT;
 * ERR_VERSION.  With an error ret holds nothing of use. */
int frame_head_decode(struct slice block, struct frame_head *ret);
/* The head belongs to this life of this extent, at this offset, and its frame ends within it. */
bool frame_head_fits(const struct frame_head *h, const struct extent_header *x, uint64_t offset);
/* Data (exactly data_bytes) against the CRCs of the head.  Returns: OK; ERR_CHECKSUM. */
int frame_data_verify(const struct frame_head *h, struct slice data);
