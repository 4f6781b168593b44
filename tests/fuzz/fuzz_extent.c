/* Extent headers, frame heads, index records and whole tails from any bytes.  What decodes must encode
 * to something that decodes to the same; a scan ends, stays within the extent, and hands out only
 * frames whose data matches their CRCs. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "storagenode/extent/record.h"
#include "storagenode/extent/scan.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_header(struct slice s)
{
    struct extent_header h, again;
    uint8_t block[EXTENT_HEADER_BYTES];
    if (extent_header_decode(s, &h) != OK)
        return;
    extent_header_encode(&h, block);
    CHECK(extent_header_decode(SLICE(block, sizeof(block)), &again) == OK);
    CHECK(again.generation == h.generation && again.salt == h.salt && again.id == h.id);
}

static void fuzz_head(struct slice s)
{
    static struct frame_head h, again;
    uint8_t block[FRAME_HEAD_BYTES];
    if (frame_head_decode(s, &h) != OK)
        return;
    CHECK(h.data_bytes <= SHARD_BYTES_MAX && h.block_count <= SHARD_BLOCKS_MAX);
    CHECK(h.info.owner.key.len <= SHARD_KEY_BYTES_MAX);
    frame_head_encode(&h, block);
    CHECK(frame_head_decode(SLICE(block, sizeof(block)), &again) == OK);
    CHECK(again.seq == h.seq && again.offset == h.offset && again.data_bytes == h.data_bytes);
}

static void fuzz_records(struct slice s)
{
    struct blob_record blob, again;
    struct extent_record extent;
    struct disk_record disk;
    struct live_record live;
    uint8_t bytes[RECORD_BYTES_MAX];
    if (blob_record_decode(s, &blob) == OK) {
        size_t len = blob_record_encode(&blob, bytes);
        CHECK(blob_record_decode(SLICE(bytes, len), &again) == OK);
        CHECK(again.shard_count == blob.shard_count && again.deleted == blob.deleted);
    }
    struct group_record group;
    struct node_record node;
    uint64_t epoch;
    uint8_t small[NODE_RECORD_BYTES_MAX];
    if (node_record_decode(s, &node) == OK) {
        size_t len = node_record_encode(&node, small);
        CHECK(node_record_decode(SLICE(small, len), &node) == OK);
    }
    (void)group_record_decode(s, &group);
    (void)closed_record_decode(s, &epoch);
    (void)extent_record_decode(s, &extent);
    (void)disk_record_decode(s, &disk);
    (void)live_record_decode(s, &live);
}

/* The input as an extent's content: fields at places of the file's choice get a CRC that holds. */
static void fuzz_scan(struct slice s)
{
    struct extent_header x = {.id = 1, .generation = 1, .salt = 1, .bytes = 16 * FRAME_ALIGN};
    uint8_t *window = calloc(1, x.bytes);
    struct scan scan;
    CHECK(window);
    memcpy(window, s.ptr, s.len < x.bytes ? s.len : x.bytes);
    for (size_t at = EXTENT_HEADER_BYTES; at < x.bytes; at += FRAME_ALIGN) {
        uint32_t crc = crc32c(0, SLICE(window + at, FRAME_HEAD_BYTES - 4));
        for (unsigned i = 0; i < 4 && window[at]; i++)
            window[at + FRAME_HEAD_BYTES - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
        fuzz_head(SLICE(window + at, FRAME_HEAD_BYTES));
    }
    scan_init(&scan, &x, EXTENT_HEADER_BYTES);
    for (unsigned n = 0; scan_step(&scan, 0, SLICE(window, x.bytes)) != SCAN_END; n++) {
        CHECK(n < 16 && scan.pos <= x.bytes && scan.end <= x.bytes);
        CHECK(frame_data_verify(&scan.frame, scan.data) == OK);
    }
    scan_judge(&scan, s.len & 1);
    scan_fini(&scan);
    free(window);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = SLICE(data, size);
    fuzz_header(s);
    fuzz_head(s);
    fuzz_records(s);
    fuzz_scan(s);
    return 0;
}
