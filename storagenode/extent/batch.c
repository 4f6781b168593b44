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
    b->frames = b->operations = b->blob_count = 0;
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

static void slot_take(struct batch *b, struct id128 blob_id)
{
    struct batch_slot *slot = slot_of(b, blob_id);
    CHECK(b->blob_count < SLOT_COUNT / 2);
    b->blob_count += slot->epoch != b->epoch;
    *slot = (struct batch_slot){blob_id, b->epoch};
}

enum batch_admission batch_admit_put(struct batch *b, struct id128 blob_id, uint64_t bytes)
{
    if (slot_of(b, blob_id)->epoch == b->epoch)
        return BATCH_CONFLICT;
    if (b->frames >= b->frames_max || (b->frames > 0 && b->bytes + bytes > b->bytes_max))
        return BATCH_FULL;
    slot_take(b, blob_id);
    b->bytes += bytes;
    b->frames++;
    b->operations++;
    return BATCH_TAKE;
}

enum batch_admission batch_admit_delete(struct batch *b, const struct id128 *blob_ids,
                                        uint32_t count, uint32_t marks_so_far)
{
    CHECK(count <= MARKS_PER_REQUEST_MAX);
    for (uint32_t i = 0; i < count; i++)
        if (slot_of(b, blob_ids[i])->epoch == b->epoch)
            return BATCH_CONFLICT;
    if (marks_so_far + count > MARKS_PER_FRAME_MAX)
        return BATCH_FULL;
    for (uint32_t i = 0; i < count; i++)
        slot_take(b, blob_ids[i]);
    b->operations++;
    return BATCH_TAKE;
}
