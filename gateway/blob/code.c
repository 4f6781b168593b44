/* See code.h.  The second buffer: parity shards; one block, the segment's last bytes padded; what
 * the proof rebuilds; the CRCs of all blocks of all shards. */
#include "gateway/blob/code.h"

#include "common/base/check.h"
#include "common/base/hash.h"

#include <assert.h>

static_assert(EC_BLOCK_BYTES == BLOB_BLOCK_BYTES, "shards are whole blocks of blobs");

/* So much of every shard at once: with 5 + 4 shards and what is rebuilt, some 200 KiB. */
#define PIECE_BYTES 16384u
static_assert(BLOB_BLOCK_BYTES % PIECE_BYTES == 0, "blocks are whole pieces");

/* What lies behind a blob's end: less than a block a data shard.  Never written to. */
static uint8_t zeros[EC_DATA_MAX * BLOB_BLOCK_BYTES];

struct layout {
    size_t shard_bytes, blocks; /* of one shard */
    uint8_t *parity, *padded, *rebuilt;
    uint32_t *crcs;
};

static size_t parity_bytes(const struct ec *ec, size_t segment_bytes)
{
    return ec->parity * (size_t)ec_shard_bytes(ec->data, segment_bytes);
}

size_t code_buffer_bytes(const struct ec *ec, size_t segment_bytes)
{
    size_t blocks = (size_t)ec_shard_bytes(ec->data, segment_bytes) / BLOB_BLOCK_BYTES;
    return parity_bytes(ec, segment_bytes) + BLOB_BLOCK_BYTES + ec->parity * PIECE_BYTES +
           (ec->data + ec->parity) * blocks * sizeof(uint32_t);
}

static struct layout layout_of(const struct ec *ec, const struct blob_segment *s)
{
    size_t len = s->buf->len;
    struct layout l = {.shard_bytes = (size_t)ec_shard_bytes(ec->data, len)};
    CHECK(s->parity && s->parity->cap >= code_buffer_bytes(ec, len));
    l.blocks = l.shard_bytes / BLOB_BLOCK_BYTES;
    l.parity = s->parity->data;
    l.padded = l.parity + parity_bytes(ec, len);
    l.rebuilt = l.padded + BLOB_BLOCK_BYTES;
    /* All parts before are multiples of a block or a piece, and the buffer's bytes are aligned. */
    static_assert(offsetof(struct rcbuf, data) % sizeof(uint32_t) == 0, "alignment of CRCs");
    l.crcs = (uint32_t *)(void *)(l.rebuilt + ec->parity * PIECE_BYTES);
    return l;
}

/* `take` of the shards from `first` on, `count` of them: each with the probability that just so
 * many are left to be taken. */
static uint32_t draw(uint64_t *dice, unsigned first, unsigned count, unsigned take)
{
    uint32_t ret = 0;
    for (unsigned i = 0; i < count && take > 0; i++) {
        *dice = *dice * 6364136223846793005ull + 1442695040888963407ull;
        if ((*dice >> 33) % (count - i) >= take)
            continue;
        ret |= 1u << (first + i);
        take--;
    }
    return ret;
}

uint32_t code_dropped(const struct ec *ec, struct id128 blob_id)
{
    unsigned of_data = MIN(ec->data, ec->parity);
    uint64_t dice;
    memcpy(&dice, blob_id.bytes, sizeof(dice));
    uint32_t ret = draw(&dice, 0, ec->data, of_data);
    return ret | draw(&dice, ec->data, ec->parity, ec->parity - of_data);
}

/* A block of data as it is in its shard. */
static const uint8_t *data_block(const struct blob_segment *s, const struct layout *l, size_t block)
{
    size_t at = block * BLOB_BLOCK_BYTES, len = s->buf->len;
    if (at >= len)
        return zeros;
    return len - at < BLOB_BLOCK_BYTES ? l->padded : s->buf->data + at;
}

/* The CRCs of the data shards' blocks follow from those of what came in, not from what is in memory
 * now. */
static void data_crcs(const struct ec *ec, const struct blob_segment *s, const struct layout *l)
{
    size_t len = s->buf->len, whole = len / BLOB_BLOCK_BYTES, rest = len % BLOB_BLOCK_BYTES;
    size_t blocks = ec->data * l->blocks;
    memcpy(l->crcs, s->crc, whole * sizeof(uint32_t));
    if (rest > 0) {
        size_t padding = BLOB_BLOCK_BYTES - rest;
        memcpy(l->padded, s->buf->data + whole * BLOB_BLOCK_BYTES, rest);
        memset(l->padded + rest, 0, padding);
        l->crcs[whole] = crc32c_combine(s->crc[whole], crc32c(0, SLICE(zeros, padding)), padding);
        whole++;
    }
    uint32_t crc = whole < blocks ? crc32c(0, SLICE(zeros, BLOB_BLOCK_BYTES)) : 0;
    for (; whole < blocks; whole++)
        l->crcs[whole] = crc;
}

/* Encodes block `block` of all shards, sums what is kept, and rebuilds the others.  Returns: is all
 * of it what came in? */
static bool make_block(const struct ec *ec, const struct ec_plan *plan, uint32_t dropped,
                       const struct blob_segment *s, const struct layout *l, size_t block)
{
    const uint8_t *shard[EC_SHARDS_MAX], *from[EC_DATA_MAX];
    uint8_t *parity[EC_PARITY_MAX], *to[EC_PARITY_MAX];
    uint32_t crc[EC_SHARDS_MAX] = {0}, rebuilt_crc[EC_PARITY_MAX] = {0};
    unsigned n = ec->data + ec->parity;
    bool ok = true;
    for (unsigned i = 0; i < ec->data; i++)
        shard[i] = data_block(s, l, i * l->blocks + block);
    for (unsigned i = 0; i < ec->parity; i++)
        shard[ec->data + i] = parity[i] = l->parity + i * l->shard_bytes + block * BLOB_BLOCK_BYTES;
    for (unsigned i = 0; i < plan->wanted; i++)
        to[i] = l->rebuilt + i * PIECE_BYTES;
    for (size_t at = 0; at < BLOB_BLOCK_BYTES; at += PIECE_BYTES) {
        ec_encode(ec, PIECE_BYTES, shard, parity);
        for (unsigned i = 0; i < n; i++)
            if (i >= ec->data || !(dropped & 1u << i))
                crc[i] = crc32c(crc[i], SLICE(shard[i], PIECE_BYTES));
        for (unsigned i = 0; i < plan->data; i++)
            from[i] = shard[plan->from[i]];
        ec_rebuild(plan, PIECE_BYTES, from, to);
        for (unsigned i = 0; i < plan->wanted; i++)
            rebuilt_crc[i] = crc32c(rebuilt_crc[i], SLICE(to[i], PIECE_BYTES));
        for (unsigned i = 0; i < n; i++)
            shard[i] += PIECE_BYTES;
        for (unsigned i = 0; i < ec->parity; i++)
            parity[i] += PIECE_BYTES;
    }
    for (unsigned i = ec->data; i < n; i++)
        l->crcs[i * l->blocks + block] = crc[i];
    for (unsigned i = 0; i < ec->data; i++)
        ok &= (dropped & 1u << i) || crc[i] == l->crcs[i * l->blocks + block];
    for (unsigned i = 0; i < plan->wanted; i++)
        ok &= rebuilt_crc[i] == l->crcs[plan->want[i] * l->blocks + block];
    return ok;
}

int code_make(const struct ec *ec, struct blob_segment *segment, struct id128 blob_id)
{
    struct layout l = layout_of(ec, segment);
    uint32_t all = (uint32_t)((UINT64_C(1) << (ec->data + ec->parity)) - 1);
    uint32_t dropped = code_dropped(ec, blob_id);
    struct ec_plan plan;
    int err = ec_plan_init(&plan, ec, all & ~dropped, dropped);
    if (err != OK)
        return err;
    data_crcs(ec, segment, &l);
    for (size_t block = 0; block < l.blocks; block++)
        if (!make_block(ec, &plan, dropped, segment, &l, block))
            return ERR_CORRUPT;
    return OK;
}

static void piece_add(struct code_shard *s, struct rcbuf *owner, const uint8_t *ptr, size_t len)
{
    if (len > 0)
        s->piece[s->piece_count++] = (struct payload){owner, SLICE(ptr, len)};
}

/* Zeros belong to no buffer; they name an owner all the same, so that calls need not copy them. */
void code_shard(const struct ec *ec, const struct blob_segment *segment, unsigned index,
                struct code_shard *ret)
{
    struct layout l = layout_of(ec, segment);
    size_t from = index * l.shard_bytes, len = segment->buf->len;
    *ret = (struct code_shard){.crcs = l.crcs + index * l.blocks, .crc_count = l.blocks};
    if (index >= ec->data) {
        piece_add(ret, segment->parity, l.parity + (index - ec->data) * l.shard_bytes,
                  l.shard_bytes);
        return;
    }
    size_t used = (size_t)ec_shard_used(ec->data, len, index), rest = used % BLOB_BLOCK_BYTES;
    piece_add(ret, segment->buf, segment->buf->data + from, used - rest);
    piece_add(ret, segment->parity, l.padded, rest ? BLOB_BLOCK_BYTES : 0);
    size_t padding = l.shard_bytes - (used - rest) - (rest ? BLOB_BLOCK_BYTES : 0);
    CHECK(padding <= sizeof(zeros));
    piece_add(ret, segment->parity, zeros, padding);
}

int code_rebuild(const struct ec *ec, unsigned index, const uint8_t *const *range, size_t len,
                 uint8_t *ret)
{
    struct ec_plan plan;
    const uint8_t *from[EC_DATA_MAX];
    uint32_t have = 0;
    for (unsigned i = 0; i < ec->data + ec->parity; i++)
        have |= range[i] ? 1u << i : 0;
    int err = ec_plan_init(&plan, ec, have, 1u << index);
    if (err != OK)
        return err;
    for (unsigned i = 0; i < plan.data; i++)
        from[i] = range[plan.from[i]];
    ec_rebuild(&plan, len, from, &ret);
    return OK;
}
