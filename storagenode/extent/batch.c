/* Group commit: what goes into one batch. */
#include "storagenode/extent/batch.h"

#include "common/base/check.h"
#include "common/base/hash.h"

#include <assert.h>
#include <stdlib.h>

#define SLOT_COUNT (2 * BATCH_BLOBS_MAX)
static_assert((SLOT_COUNT & (SLOT_COUNT - 1)) == 0, "a power of two");

struct batch_slot {
    struct id128 blob_id;
    uint32_t epoch;
};

int batch_init(struct batch *b, uint64_t bytes_max, uint32_t frames_max)
{
    CHECK(frames_max > 0);
    *b = (struct batch){.bytes_max = bytes_max, .frames_max = MIN(frames_max, BATCH_BLOBS_MAX / 2)};
    b->slots = calloc(SLOT_COUNT, sizeof(*b->slots));
    return b->slots ? OK : ERR_NOMEM;
}

void batch_fini(struct batch *b)
{
    free(b->slots);
    b->slots = NULL;
}

void batch_begin(struct batch *b)
{
    b->bytes = 0;
    b->frames = b->marks = b->blob_count = 0;
    if (++b->epoch == 0) { /* wrapped: what older batches left must not look like this one's */
        memset(b->slots, 0, SLOT_COUNT * sizeof(*b->slots));
        b->epoch = 1;
    }
}

/* The blob's slot: where it is, or the free one where it goes. */
static struct batch_slot *slot_of(const struct batch *b, struct id128 blob_id)
{
    size_t i = hash64(0x62617463u, id128_slice(&blob_id)) & (SLOT_COUNT - 1);
    while (b->slots[i].epoch == b->epoch && !id128_eq(b->slots[i].blob_id, blob_id))
        i = (i + 1) & (SLOT_COUNT - 1);
    return &b->slots[i];
}

/* false: it is there already. */
static bool slot_take(struct batch *b, struct id128 blob_id)
{
    struct batch_slot *slot = slot_of(b, blob_id);
    if (slot->epoch == b->epoch)
        return false;
    CHECK(b->blob_count < BATCH_BLOBS_MAX);
    b->blob_count++;
    *slot = (struct batch_slot){blob_id, b->epoch};
    return true;
}

enum batch_admission batch_admit_put(const struct batch *b, struct id128 blob_id, uint64_t bytes)
{
    if (slot_of(b, blob_id)->epoch == b->epoch)
        return BATCH_CONFLICT;
    if (b->frames >= b->frames_max || (b->frames > 0 && b->bytes + bytes > b->bytes_max))
        return BATCH_FULL;
    return BATCH_TAKE;
}

enum batch_admission batch_admit_delete(const struct batch *b, const struct id128 *blob_ids,
                                        uint32_t count)
{
    CHECK(count <= MARKS_PER_REQUEST_MAX);
    for (uint32_t i = 0; i < count; i++)
        if (slot_of(b, blob_ids[i])->epoch == b->epoch)
            return BATCH_CONFLICT;
    return b->marks + count > MARKS_PER_FRAME_MAX ? BATCH_FULL : BATCH_TAKE;
}

void batch_take_put(struct batch *b, struct id128 blob_id, uint64_t bytes)
{
    bool fresh = slot_take(b, blob_id);
    CHECK(fresh);
    b->bytes += bytes;
    b->frames++;
}

bool batch_take_mark(struct batch *b, struct id128 blob_id)
{
    if (!slot_take(b, blob_id))
        return false;
    CHECK(b->marks < MARKS_PER_FRAME_MAX);
    b->marks++;
    return true;
}

uint64_t batch_mark_bytes(const struct batch *b, uint32_t more)
{
    uint64_t marks = b->marks + more;
    return marks ? frame_bytes(marks * ID_BYTES) : 0;
}
