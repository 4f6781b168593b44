/* Encoding and bounds-checked decoding of extent headers and frame heads.  Big-endian. */
#include "storagenode/extent/format.h"

#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

#include <assert.h>
#include <stdio.h>

#define FORMAT_VERSION 1u
#define EXTENT_COPY_BYTES 64u
#define EXTENT_COPY_STRIDE 2048u
static const uint8_t extent_magic[8] = {'C', 'A', 'I', 'R', 'N', 'E', 'X', 'T'};
#define FRAME_MAGIC 0x4346524du /* "CFRM" */

/* Offsets within one copy of the extent header. */
enum {
    X_MAGIC = 0, X_VERSION = 8, X_ZERO1 = 10, X_ID = 12, X_GENERATION = 16, X_SALT = 24, X_BYTES = 32,
    X_DISK = 40, X_ZERO2 = 56, X_CRC = 60, X_END = 64
};
static_assert(X_END == EXTENT_COPY_BYTES, "a copy of the extent header has 64 bytes");
static_assert(X_DISK + ID_BYTES == X_ZERO2, "disk id");
static_assert(2 * EXTENT_COPY_STRIDE == EXTENT_HEADER_BYTES, "two copies fill the header block");

/* Offsets within a frame head. */
enum {
    F_MAGIC = 0, F_VERSION = 4, F_KIND = 6, F_EXTENT = 8, F_BLOCKS = 12, F_GENERATION = 16,
    F_SALT = 24, F_OFFSET = 32, F_BATCH = 40, F_SEQ = 48, F_DATA = 56, F_TIME = 64, F_BLOB = 72,
    F_SHARD = 88, F_SCHEME = 90, F_PG = 92, F_PG_EPOCH = 96, F_BUCKET = 104, F_UPLOAD = 112,
    F_WRITE = 128, F_PART = 144, F_SEGMENT = 148, F_KEY_LEN = 152, F_ZERO = 154, F_KEY = FRAME_KEY_OFFSET,
    F_CRCS = F_KEY + SHARD_KEY_BYTES_MAX, F_BLOB_BYTES = F_CRCS + 4 * SHARD_BLOCKS_MAX,
    F_BLOB_CRC = F_BLOB_BYTES + 8, F_DATA_SHARDS = F_BLOB_CRC + 4, F_PARITY_SHARDS, F_BODY_BYTES = F_PARITY_SHARDS + 3,
    F_FREE = F_BODY_BYTES + 8,
    F_CRC = FRAME_HEAD_BYTES - 4
};
static_assert(F_BLOB + ID_BYTES == F_SHARD && F_WRITE + ID_BYTES == F_PART, "ids");
static_assert(F_CRCS == 1184 && F_BODY_BYTES == 2736 && F_FREE == 2744 && F_FREE <= F_CRC, "the head fits into its block");
static_assert(FRAME_HEAD_BYTES == FRAME_ALIGN && EXTENT_HEADER_BYTES == FRAME_ALIGN, "alignment");
static_assert(MARKS_PER_FRAME_MAX * ID_BYTES <= SHARD_BYTES_MAX, "marks fit into a frame");
static_assert(SHARD_BYTES_MAX % SHARD_BLOCK_BYTES == 0, "whole blocks");

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

void extent_header_encode(const struct extent_header *h, uint8_t ret[EXTENT_HEADER_BYTES])
{
    CHECK(h->id != 0 && h->generation != 0 && h->bytes % FRAME_ALIGN == 0);
    memset(ret, 0, EXTENT_HEADER_BYTES);
    memcpy(ret + X_MAGIC, extent_magic, sizeof(extent_magic));
    put16(ret + X_VERSION, FORMAT_VERSION);
    put32(ret + X_ID, h->id);
    put64(ret + X_GENERATION, h->generation);
    put64(ret + X_SALT, h->salt);
    put64(ret + X_BYTES, h->bytes);
    memcpy(ret + X_DISK, h->disk_id.bytes, ID_BYTES);
    put32(ret + X_CRC, crc32c(0, SLICE(ret, X_CRC)));
    memcpy(ret + EXTENT_COPY_STRIDE, ret, EXTENT_COPY_BYTES);
}

static int extent_copy_decode(struct slice copy, struct extent_header *ret)
{
    struct extent_header h = {0};
    struct cursor c = cursor_of(copy);
    struct slice magic = cursor_bytes(&c, sizeof(extent_magic));
    if (!slice_eq(magic, SLICE(extent_magic, sizeof(extent_magic))))
        return ERR_CORRUPT;
    uint16_t version = cursor_be16(&c);
    (void)cursor_be16(&c);
    h.id = cursor_be32(&c);
    h.generation = cursor_be64(&c);
    h.salt = cursor_be64(&c);
    h.bytes = cursor_be64(&c);
    struct slice disk = cursor_bytes(&c, ID_BYTES);
    (void)cursor_be32(&c);
    uint32_t crc = cursor_be32(&c);
    if (c.failed || crc != crc32c(0, SLICE(copy.ptr, X_CRC)))
        return ERR_CORRUPT;
    if (version != FORMAT_VERSION)
        return ERR_VERSION;
    if (!id128_from_slice(disk, &h.disk_id) || h.id == 0 || h.generation == 0 ||
        h.bytes % FRAME_ALIGN != 0 || h.bytes > EXTENT_BYTES_MAX ||
        h.bytes < EXTENT_HEADER_BYTES + FRAME_HEAD_BYTES)
        return ERR_CORRUPT;
    *ret = h;
    return OK;
}

bool extent_header_whole(struct slice block)
{
    struct extent_header h;
    return block.len >= EXTENT_HEADER_BYTES &&
           extent_copy_decode(SLICE(block.ptr, EXTENT_COPY_BYTES), &h) == OK &&
           memcmp(block.ptr, block.ptr + EXTENT_COPY_STRIDE, EXTENT_COPY_BYTES) == 0;
}

int extent_header_decode(struct slice block, struct extent_header *ret)
{
    if (block.len < EXTENT_HEADER_BYTES)
        return ERR_CORRUPT;
    int err = extent_copy_decode(SLICE(block.ptr, EXTENT_COPY_BYTES), ret);
    if (err == ERR_CORRUPT)
        err = extent_copy_decode(SLICE(block.ptr + EXTENT_COPY_STRIDE, EXTENT_COPY_BYTES), ret);
    return err;
}

void extent_name(uint32_t id, char ret[EXTENT_NAME_BYTES + 1])
{
    snprintf(ret, EXTENT_NAME_BYTES + 1, "x%08x.extent", (unsigned)id);
}

bool extent_name_parse(const char *name, uint32_t *ret_id)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t id = 0;
    if (strlen(name) != EXTENT_NAME_BYTES || name[0] != 'x' || strcmp(name + 9, ".extent") != 0)
        return false;
    for (unsigned i = 1; i <= 8; i++) {
        const char *at = strchr(digits, name[i]);
        if (!at || !*at)
            return false;
        id = id << 4 | (uint32_t)(at - digits);
    }
    *ret_id = id;
    return id != 0;
}

int shard_info_validate(const struct shard_info *info)
{
    if (info->bytes == 0 || info->shard_index > SHARD_INDEX_MAX || id128_is_zero(info->blob_id) ||
        info->scheme > SHARD_SCHEME_RS || info->owner.key.len > SHARD_KEY_BYTES_MAX ||
        info->time_ms == 0)
        return ERR_INVAL;
    return info->bytes > SHARD_BYTES_MAX ? ERR_TOO_LARGE : OK;
}

static int blocks_verify(const uint32_t *crcs, uint32_t count, struct slice data)
{
    if (shard_blocks(data.len) != count)
        return ERR_INVAL;
    for (uint32_t i = 0; i < count; i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        size_t len = MIN(data.len - at, (size_t)SHARD_BLOCK_BYTES);
        if (crc32c(0, SLICE(data.ptr + at, len)) != crcs[i])
            return ERR_CHECKSUM;
    }
    return OK;
}

int shard_verify(const struct shard_info *info, struct slice data)
{
    if (data.len != info->bytes)
        return ERR_INVAL;
    return blocks_verify(info->block_crcs, shard_blocks(info->bytes), data);
}

int shard_compare(const struct shard_info *info, const uint32_t *crcs)
{
    size_t bytes = shard_blocks(info->bytes) * sizeof(*crcs);
    return memcmp(info->block_crcs, crcs, bytes) == 0 ? OK : ERR_CHECKSUM;
}

uint32_t shard_crcs_digest(const uint32_t *crcs, uint32_t count)
{
    uint32_t digest = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t be[4];
        put32(be, crcs[i]);
        digest = crc32c(digest, SLICE(be, 4));
    }
    return digest;
}

static void shard_fields_encode(const struct shard_info *info, uint8_t *ret)
{
    CHECK(info->owner.key.len <= SHARD_KEY_BYTES_MAX);
    memcpy(ret + F_BLOB, info->blob_id.bytes, ID_BYTES);
    put16(ret + F_SHARD, info->shard_index);
    put16(ret + F_SCHEME, info->scheme);
    put32(ret + F_PG, info->pg);
    put64(ret + F_PG_EPOCH, info->pg_epoch);
    put64(ret + F_BUCKET, info->owner.bucket_id);
    memcpy(ret + F_UPLOAD, info->owner.upload_id.bytes, ID_BYTES);
    memcpy(ret + F_WRITE, info->owner.write_id.bytes, ID_BYTES);
    put32(ret + F_PART, info->owner.part_number);
    put32(ret + F_SEGMENT, info->owner.segment_number);
    put64(ret + F_BLOB_BYTES, info->blob_bytes);
    put32(ret + F_BLOB_CRC, info->blob_crc32c);
    ret[F_DATA_SHARDS] = info->data_shards;
    ret[F_PARITY_SHARDS] = info->parity_shards;
    put64(ret + F_BODY_BYTES, info->owner.body_bytes);
    put16(ret + F_KEY_LEN, (uint16_t)info->owner.key.len);
    if (info->owner.key.len)
        memcpy(ret + F_KEY, info->owner.key.ptr, info->owner.key.len);
}

void frame_head_encode(const struct frame_head *h, uint8_t ret[FRAME_HEAD_BYTES])
{
    bool shard = h->kind == FRAME_SHARD;
    uint32_t blocks = shard_blocks(h->data_bytes);
    const uint32_t *crcs = shard ? h->info.block_crcs : h->block_crcs;
    CHECK(h->data_bytes > 0 && blocks <= SHARD_BLOCKS_MAX);
    CHECK(h->offset % FRAME_ALIGN == 0 && h->batch_start <= h->offset);
    CHECK(!shard || h->info.bytes == h->data_bytes);
    memset(ret, 0, FRAME_HEAD_BYTES);
    put32(ret + F_MAGIC, FRAME_MAGIC);
    put16(ret + F_VERSION, FORMAT_VERSION);
    put16(ret + F_KIND, (uint16_t)h->kind);
    put32(ret + F_EXTENT, h->extent_id);
    put32(ret + F_BLOCKS, blocks);
    put64(ret + F_GENERATION, h->generation);
    put64(ret + F_SALT, h->salt);
    put64(ret + F_OFFSET, h->offset);
    put64(ret + F_BATCH, h->batch_start);
    put64(ret + F_SEQ, h->seq);
    put64(ret + F_DATA, h->data_bytes);
    put64(ret + F_TIME, shard ? h->info.time_ms : h->time_ms);
    if (shard)
        shard_fields_encode(&h->info, ret);
    for (uint32_t i = 0; i < blocks; i++)
        put32(ret + F_CRCS + 4 * i, crcs[i]);
    put32(ret + F_CRC, crc32c(0, SLICE(ret, F_CRC)));
}

static bool shard_fields_decode(struct cursor *c, struct frame_head *h)
{
    struct shard_info *info = &h->info;
    struct slice blob = cursor_bytes(c, ID_BYTES);
    info->shard_index = cursor_be16(c);
    info->scheme = cursor_be16(c);
    info->pg = cursor_be32(c);
    info->pg_epoch = cursor_be64(c);
    info->owner.bucket_id = cursor_be64(c);
    struct slice upload = cursor_bytes(c, ID_BYTES), write = cursor_bytes(c, ID_BYTES);
    info->owner.part_number = cursor_be32(c);
    info->owner.segment_number = cursor_be32(c);
    uint16_t key_len = cursor_be16(c);
    (void)cursor_bytes(c, F_KEY - F_ZERO);
    struct slice key = cursor_bytes(c, SHARD_KEY_BYTES_MAX);
    if (c->failed || key_len > SHARD_KEY_BYTES_MAX || !id128_from_slice(blob, &info->blob_id) ||
        !id128_from_slice(upload, &info->owner.upload_id) ||
        !id128_from_slice(write, &info->owner.write_id))
        return false;
    memcpy(h->key, key.ptr, key_len);
    info->owner.key = SLICE(h->key, key_len);
    info->time_ms = h->time_ms;
    info->bytes = h->data_bytes;
    info->block_crcs = h->block_crcs;
    return true;
}

/* All but the magic, after the CRC of the block has been found right. */
static int head_fields_decode(struct cursor *c, struct frame_head *h)
{
    uint16_t version = cursor_be16(c);
    uint16_t kind = cursor_be16(c);
    h->extent_id = cursor_be32(c);
    h->block_count = cursor_be32(c);
    h->generation = cursor_be64(c);
    h->salt = cursor_be64(c);
    h->offset = cursor_be64(c);
    h->batch_start = cursor_be64(c);
    h->seq = cursor_be64(c);
    h->data_bytes = cursor_be64(c);
    h->time_ms = cursor_be64(c);
    if (version != FORMAT_VERSION)
        return ERR_VERSION;
    if (c->failed || (kind != FRAME_SHARD && kind != FRAME_MARKS) || h->data_bytes == 0 ||
        h->data_bytes > SHARD_BYTES_MAX || h->block_count != shard_blocks(h->data_bytes) ||
        h->offset % FRAME_ALIGN != 0 || h->offset < EXTENT_HEADER_BYTES ||
        h->batch_start % FRAME_ALIGN != 0 || h->batch_start > h->offset ||
        h->batch_start < EXTENT_HEADER_BYTES || h->seq == 0)
        return ERR_CORRUPT;
    h->kind = (enum frame_kind)kind;
    if (!shard_fields_decode(c, h))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < h->block_count; i++)
        h->block_crcs[i] = cursor_be32(c);
    (void)cursor_bytes(c, 4 * (SHARD_BLOCKS_MAX - h->block_count));
    h->info.blob_bytes = cursor_be64(c);
    h->info.blob_crc32c = cursor_be32(c);
    h->info.data_shards = cursor_u8(c);
    h->info.parity_shards = cursor_u8(c);
    (void)cursor_be16(c);
    h->info.owner.body_bytes = cursor_be64(c);
    if (c->failed)
        return ERR_CORRUPT;
    if (h->kind == FRAME_MARKS)
        return h->data_bytes % ID_BYTES != 0 || h->data_bytes > MARKS_PER_FRAME_MAX * ID_BYTES
                   ? ERR_CORRUPT
                   : OK;
    return shard_info_validate(&h->info) == OK ? OK : ERR_CORRUPT;
}

int frame_head_decode(struct slice block, struct frame_head *ret)
{
    struct cursor c = cursor_of(block);
    if (block.len < FRAME_HEAD_BYTES || cursor_be32(&c) != FRAME_MAGIC)
        return ERR_NOT_FOUND;
    struct cursor at_crc = cursor_of(SLICE(block.ptr + F_CRC, 4));
    if (cursor_be32(&at_crc) != crc32c(0, SLICE(block.ptr, F_CRC)))
        return ERR_CORRUPT;
    return head_fields_decode(&c, ret);
}

bool frame_head_fits(const struct frame_head *h, const struct extent_header *x, uint64_t offset)
{
    bool same_life = h->generation == x->generation && h->salt == x->salt;
    if (h->extent_id == x->id && h->generation < x->generation)
        PROBE(EXTENT_OLD_FRAME);
    return h->extent_id == x->id && (same_life || MUTANT(STORE_ANY_GENERATION)) &&
           h->offset == offset && offset <= x->bytes &&
           frame_bytes(h->data_bytes) <= x->bytes - offset;
}

int frame_data_verify(const struct frame_head *h, struct slice data)
{
    if (data.len != h->data_bytes)
        return ERR_CHECKSUM;
    return blocks_verify(h->block_crcs, h->block_count, data) == OK ? OK : ERR_CHECKSUM;
}
