/* What must hold of the stores of a model: their sums, their inventories, what a scrub leaves. */
#include "tests/unit/storagenode/op/model_impl.h"

#include "common/base/check.h"
#include "common/env/disk_mem.h"

#include <stdlib.h>

#define STEPS_MAX 200000

uint64_t model_reread(struct model *m)
{
    struct store_stats st;
    uint64_t bytes = m->reread;
    for (unsigned i = 0; i < m->disk_count; i++) {
        store_stats_get(store_of(m, i), &st);
        bytes += st.scrub_bytes + st.reclaimed_bytes_copied;
    }
    return bytes;
}

/* What nobody has read or copied since it was put is not unverified for less than that. */
static void oldest_check(struct model *m, unsigned disk, uint64_t oldest_ms)
{
    uint32_t extent;
    uint64_t offset, bytes;
    if (m->flips || m->read_faults)
        return;
    for (unsigned i = 0; i < BLOBS; i++) {
        struct blob *b = &m->blobs[i];
        if (b->is == PRESENT && !b->puts && !b->deletes && b->stored_ms > 0 &&
            b->reread_at == model_reread(m) && oldest_ms > b->stored_ms &&
            store_locate(store_of(m, disk), b->id, b->id.bytes[0] % 3, &extent, &offset, &bytes) ==
                OK)
            FAIL(m, "unverified since %llu, it is said, and put at %llu",
                 (unsigned long long)oldest_ms, (unsigned long long)b->stored_ms);
    }
}

void model_stats_check(struct model *m)
{
    struct store_stats st;
    for (unsigned i = 0; i < m->disk_count; i++) {
        store_stats_get(store_of(m, i), &st);
        if (st.state == STORE_UP)
            oldest_check(m, i, st.scrub_oldest_ms);
        if (st.scrub_found > 0 && !m->flips && !m->read_faults)
            FAIL(m, "the scrub found damage, and no bit was flipped");
        if (st.corruptions > 0 && !m->flips && !m->read_faults)
            FAIL(m, "%llu corruptions reported, and no bit was flipped",
                 (unsigned long long)st.corruptions);
        if (st.live_bytes + st.dead_bytes > st.bytes_total + EXTENT_BYTES)
            FAIL(m, "more bytes than there is room");
    }
}

/* ---- inventories ---- */

static struct blob *blob_of(struct model *m, struct id128 id)
{
    for (unsigned i = 0; i < BLOBS; i++)
        if (id128_eq(m->blobs[i].id, id))
            return &m->blobs[i];
    return NULL;
}

static void entry_check(struct model *m, uint32_t pg, const struct store_inventory_entry *e,
                        bool seen[BLOBS])
{
    char name[ID_HEX_CHARS + 1];
    struct blob *b = blob_of(m, e->blob_id);
    id128_hex(e->blob_id, name);
    if (!b) {
        for (unsigned i = 0; i < MIN(m->retired_count, RETIRED); i++)
            if (id128_eq(m->retired[i], e->blob_id))
                FAIL(m, "blob %s: deleted, and in the inventory", name);
        return; /* one that was given up: nobody knows whether it is there */
    }
    if (b->is == ABSENT || b->is == DELETED)
        FAIL(m, "blob %s: not there, but in the inventory", name);
    if (pg != pg_of(b->id) || e->shard_index != b->id.bytes[0] % 3 ||
        e->record.time_ms != b->time_ms)
        FAIL(m, "blob %s: the inventory says something else of it", name);
    if (e->record.damaged && !b->tainted && !m->read_faults)
        FAIL(m, "blob %s: damaged, says the inventory", name);
    seen[b - m->blobs] = true;
}

/* Each disk's own, while all are idle and up. */
static void inventory_check(struct model *m)
{
    bool seen[BLOBS] = {false};
    if (failure_of(m) != OK)
        return;
    for (unsigned i = 0; i < m->disk_count; i++)
        for (uint32_t pg = FIRST_PG; pg < FIRST_PG + 2; pg++) {
            struct store_inventory_at at = {0};
            struct store_inventory_entry e[3];
            size_t count = 3;
            while (count == 3 && !m->failed) {
                if (store_inventory(store_of(m, i), pg, &at, e, 3, &count) != OK)
                    FAIL(m, "no inventory");
                for (size_t n = 0; n < count; n++)
                    entry_check(m, pg, &e[n], seen);
            }
        }
    for (unsigned i = 0; i < BLOBS; i++)
        if (m->blobs[i].is == PRESENT && !seen[i] && !m->blobs[i].tainted)
            FAIL(m, "blob %u: acknowledged, but in no inventory", i);
}

void model_all_check(struct model *m)
{
    for (unsigned i = 0; i < m->disk_count && !m->failed; i++)
        store_check(store_of(m, i));
    if (!m->failed)
        inventory_check(m);
}

/* ---- scrub ---- */

/* What the disk holds of a blob, as far as the index names a place. */
static bool whole_on_disk(struct model *m, unsigned disk, const struct blob *b)
{
    uint32_t extent;
    uint64_t offset, bytes;
    char name[EXTENT_NAME_BYTES + 1];
    struct frame_head head;
    if (store_locate(store_of(m, disk), b->id, b->id.bytes[0] % 3, &extent, &offset, &bytes) != OK)
        return true;
    uint8_t *frame = malloc(bytes), *want = malloc(b->bytes);
    extent_name(extent, name);
    CHECK(disk_mem_peek(m->disk[disk], name, offset, frame, bytes));
    bool whole = frame_head_decode(SLICE(frame, FRAME_HEAD_BYTES), &head) == OK, same = false;
    for (int other = 0; other < 2; other++) {
        model_blob_fill(b, want, other);
        same |= memcmp(frame + FRAME_HEAD_BYTES, want, b->bytes) == 0;
    }
    free(frame);
    free(want);
    return whole && same;
}

/* Up, and a pass has not ended since there were `before`. */
static bool scrubs(struct model *m, unsigned disk, uint64_t before)
{
    struct store_stats st;
    store_stats_get(store_of(m, disk), &st);
    return st.state == STORE_UP && st.scrub_passes == before;
}

void model_scrub_all(struct model *m)
{
    struct store_stats st;
    struct store_look seen;
    char name[ID_HEX_CHARS + 1];
    model_run_idle(m);
    for (unsigned i = 0; i < m->disk_count && !m->failed; i++) {
        store_stats_get(store_of(m, i), &st);
        store_scrub_start_now(store_of(m, i));
        for (unsigned n = 0; scrubs(m, i, st.scrub_passes) && !m->failed; n++) {
            if (n > STEPS_MAX)
                FAIL(m, "the scrub does not end");
            fake_env_step(&m->fake);
        }
    }
    model_run_idle(m);
    if (m->failed || failure_of(m) != OK || m->read_faults)
        return;
    for (unsigned i = 0; i < m->disk_count * BLOBS && !m->failed; i++) {
        struct blob *b = &m->blobs[i % BLOBS];
        if (whole_on_disk(m, i / BLOBS, b))
            continue;
        id128_hex(b->id, name);
        m->totals->bad_seen++;
        if (store_look(store_of(m, i / BLOBS), b->id, b->id.bytes[0] % 3, &seen) != OK ||
            !seen.damaged)
            FAIL(m, "blob %s: bad on the disk, and the scrub passed over it", name);
    }
    model_stats_check(m);
}
