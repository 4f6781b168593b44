/* What must hold of the stores of a model: their sums, their inventories, what a scrub leaves. */
#include "tests/model/model_impl.h"

#include "common/base/check.h"
#include "common/env/disk_mem.h"

#include <stdlib.h>

uint64_t model_reread(struct model *m)
{
    struct store_stats st;
    uint64_t bytes = m->reread;
    for (unsigned i = 0; m->disks && i < m->bays; i++) {
        if (!store_of(m, i))
            continue;
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
    if (m->damaged || m->read_faults)
        return;
    for (unsigned i = 0; i < BLOBS; i++) {
        struct blob *b = &m->blobs[i];
        if (b->is == PRESENT && !b->puts && !b->deletes && b->stored_ms > 0 &&
            b->reread_at == model_reread(m) && oldest_ms > b->stored_ms &&
            store_locate(store_of(m, disk), b->id, shard_of(b->id), &extent, &offset, &bytes) == OK)
            FAIL(m, "disk %d is unverified since %llu, it says, and blob %u was put at %llu",
                 m->bay[disk], (unsigned long long)oldest_ms, i, (unsigned long long)b->stored_ms);
    }
}

void check_stats(struct model *m)
{
    struct store_stats st;
    for (unsigned i = 0; i < m->bays; i++) {
        if (!store_of(m, i))
            continue;
        store_stats_get(store_of(m, i), &st);
        if (st.state == STORE_UP)
            oldest_check(m, i, st.scrub_oldest_ms);
        if (st.scrub_found > 0 && !m->damaged && !m->read_faults)
            FAIL(m, "the scrub found damage, and no bit was flipped");
        if (st.corruptions > 0 && !m->damaged && !m->read_faults)
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

/* A frame that was dropped as torn, and has others behind it, looks damaged once the index is lost
 * (docs/formats/extent.md); the put that was acknowledged afterwards lies on another disk. */
static bool torn_before(struct model *m, const struct blob *b)
{
    for (unsigned i = 0; m->strays && i < m->bays; i++) {
        struct store_look look = {0};
        if (store_of(m, i) && store_look(store_of(m, i), b->id, shard_of(b->id), &look) == OK &&
            look.found && !look.damaged)
            return true;
    }
    return false;
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
    if ((b->is == ABSENT || b->is == DELETED) && !b->puts)
        FAIL(m, "blob %s: not there, but in the inventory", name);
    if (pg != pg_of(b->id) || e->shard_index != shard_of(b->id) || e->record.time_ms != b->time_ms)
        FAIL(m, "blob %s: the inventory says something else of it", name);
    if (e->record.damaged && !b->tainted && !m->read_faults && !torn_before(m, b))
        FAIL(m, "blob %s: damaged, says the inventory", name);
    if (e->record.confirmed && !b->confirmed)
        FAIL(m, "blob %s: confirmed, and nobody said so", name);
    seen[b - m->blobs] = true;
}

/* Each disk's own, while all are idle and up. */
static void inventory_check(struct model *m)
{
    bool seen[BLOBS] = {false};
    if (world_failure(m) != OK)
        return;
    for (unsigned i = 0; i < m->bays; i++)
        for (uint32_t pg = FIRST_PG; store_of(m, i) && pg < FIRST_PG + PGS; pg++) {
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
        if (m->blobs[i].is == PRESENT && !seen[i] && !m->blobs[i].tainted && !units_out(m))
            FAIL(m, "blob %u: acknowledged, but in no inventory", i);
}

void check_all(struct model *m)
{
    for (unsigned i = 0; i < m->bays && !m->failed; i++)
        if (store_of(m, i))
            store_check(store_of(m, i));
    if (!m->failed)
        inventory_check(m);
}

/* A second after the last expiry all of them are gone. */
void check_expired(struct model *m)
{
    struct store_stats st;
    if (m->failed || world_failure(m) != OK)
        return;
    for (unsigned i = 0; i < m->bays; i++) {
        if (!store_of(m, i))
            continue;
        uint64_t until = m->fake.now_ns + 3 * NS_PER_SEC;
        while (m->fake.now_ns < until)
            fake_env_step(&m->fake);
        store_stats_get(store_of(m, i), &st);
        if (st.tombstones > 0 && !st.failure)
            FAIL(m, "%llu tombstones do not expire", (unsigned long long)st.tombstones);
    }
    SEEN(m, EXPIRED);
}

void check_retired(struct model *m)
{
    enum disks_shard state;
    for (unsigned i = 0; i < MIN(m->retired_count, RETIRED) && !m->failed; i++) {
        struct id128 id = m->retired[i];
        CHECK(disks_look(m->disks, id, shard_of(id), &state) == OK);
        if (state == DISKS_SHARD_PRESENT || state == DISKS_SHARD_DAMAGED)
            FAIL(m, "a deleted blob came back");
    }
}

/* ---- what a node says of its groups ---- */

static bool certain(struct model *m)
{
    world_idle(m);
    return !m->failed && !m->strays && world_failure(m) == OK && !units_out(m);
}

static void on_inventory(struct disks_inventory *inv)
{
    inv->cb = NULL;
}

static int inventory_get(struct model *m, struct disks_inventory *inv)
{
    inv->cb = on_inventory;
    int err = disks_inventory_start(m->disks, inv);
    for (unsigned n = 0; !err && inv->cb && !m->failed; n++) {
        if (n > STEPS_MAX)
            FAIL(m, "the inventory does not end");
        fake_env_step(&m->fake);
    }
    return err ? err : inv->err;
}

static bool settled(const struct blob *b)
{
    return b->is != UNKNOWN && !b->tainted && !b->puts && !b->deletes;
}

void check_digests(struct model *m)
{
    uint64_t want[DISKS_DIGESTS] = {0};
    bool skip[DISKS_DIGESTS] = {false};
    struct disks_inventory inv = {.pg = FIRST_PG + (uint32_t)model_below(m, PGS), .digests = true};
    if (!certain(m))
        return;
    for (unsigned i = 0; i < BLOBS; i++) {
        struct blob *b = &m->blobs[i];
        struct store_inventory_entry e = {b->id, shard_of(b->id), {.crcs_digest = 0}};
        if (pg_of(b->id) != inv.pg)
            continue;
        skip[b->id.bytes[0]] |= !settled(b) || m->read_faults;
        e.record.crcs_digest = b->is == PRESENT ? blob_digest(b) : 0;
        if (b->is == PRESENT)
            want[b->id.bytes[0]] ^= disks_digest(&e);
    }
    int err = inventory_get(m, &inv);
    if (err)
        FAIL(m, "no digests: %s", err_name(err));
    for (unsigned i = 0; i < DISKS_DIGESTS && !m->failed; i++)
        if (inv.hashes[i] != want[i] && !skip[i])
            FAIL(m, "the digest of group %u, byte %u, is not that of the reference", inv.pg, i);
    SEEN(m, DIGESTS);
}

/* The page of a first byte: pages of one entry, so that they must be asked for one by one. */
void check_page(struct model *m)
{
    struct blob *first = &m->blobs[model_below(m, BLOBS)];
    struct disks_inventory inv = {.pg = pg_of(first->id), .first_byte = first->id.bytes[0]};
    unsigned want = 0, got = 0;
    bool sure = certain(m) && !m->read_faults;
    for (unsigned i = 0; i < BLOBS; i++) {
        struct blob *b = &m->blobs[i];
        if (pg_of(b->id) != inv.pg || b->id.bytes[0] != inv.first_byte)
            continue;
        sure &= settled(b);
        want += b->is == PRESENT;
    }
    inv.entries_max = 1;
    do {
        int err = inventory_get(m, &inv);
        if (err)
            break;
        got += (unsigned)inv.count;
        if (inv.count > 0)
            inv.after = inv.entries[inv.count - 1].blob_id;
        inv.has_after = true;
        disks_inventory_fini(&inv);
    } while (inv.more && !m->failed);
    if (sure && !m->failed && got != want)
        FAIL(m, "an inventory has %u shards instead of %u", got, want);
    SEEN(m, PAGES);
}

static void on_checked(struct disks_check *c)
{
    c->cb = NULL;
}

static void state_check(struct model *m, const struct blob *b, enum disks_shard state)
{
    char name[ID_HEX_CHARS + 1];
    id128_hex(b->id, name);
    if (!settled(b) || m->read_faults)
        return;
    if (b->is == PRESENT && state != DISKS_SHARD_PRESENT)
        FAIL(m, "blob %s: acknowledged, but a check says %d", name, (int)state);
    if (b->is != PRESENT && state != DISKS_SHARD_MISSING && state != DISKS_SHARD_DELETED)
        FAIL(m, "blob %s: gone, but a check says %d", name, (int)state);
    if (b->is == DELETED && state == DISKS_SHARD_MISSING && tombstone_in_reach(m, b) &&
        env_wall_ms(&m->fake.env) < b->delete_ms + m->config.tombstone_retention_ms)
        FAIL(m, "blob %s: deleted, but a check does not know that", name);
    SEEN(m, CHECKED);
}

void check_shards(struct model *m)
{
    struct id128 ids[BLOBS];
    uint32_t indexes[BLOBS];
    enum disks_shard states[BLOBS];
    struct disks_check c = {.blob_ids = ids,
                            .shard_indexes = indexes,
                            .count = BLOBS,
                            .deep = model_below(m, 2),
                            .bytes_max = model_below(m, 1000000),
                            .states = states,
                            .cb = on_checked};
    if (!certain(m))
        return;
    for (unsigned i = 0; i < BLOBS; i++) {
        ids[i] = m->blobs[i].id;
        indexes[i] = shard_of(ids[i]);
    }
    int err = disks_check_start(m->disks, &c);
    while (!err && c.cb && !m->failed)
        fake_env_step(&m->fake);
    if (err || c.err)
        FAIL(m, "no check: %s", err_name(err ? err : c.err));
    for (size_t i = 0; i < c.done && !m->failed; i++)
        state_check(m, &m->blobs[i], states[i]);
}

/* ---- epochs ---- */

void check_epochs(struct model *m)
{
    if (m->failed || !m->disks || !disks_are_open(m->disks))
        return;
    for (unsigned pg = 0; pg < PGS; pg++) {
        uint64_t said = disks_epoch_closed(m->disks, FIRST_PG + pg);
        if (said < m->reported[pg])
            FAIL(m, "a closed epoch is open again");
        if (said == m->reported[pg])
            continue;
        if (puts_below(m, pg, said))
            FAIL(m, "an epoch is closed, and a put below it is under way");
        m->reported[pg] = said;
        for (unsigned i = 0; i < m->bays; i++) {
            struct store_stats st;
            if (!store_of(m, i))
                continue;
            store_stats_get(store_of(m, i), &st);
            if (st.state == STORE_UP)
                unit_in(m, i)->closed[pg] = said;
        }
        SEEN(m, EPOCH_CLOSED);
    }
}

/* ---- scrub ---- */

/* What the disk holds of a blob, as far as the index names a place. */
static bool whole_on_disk(struct model *m, unsigned disk, const struct blob *b)
{
    uint32_t extent;
    uint64_t offset, bytes;
    char name[EXTENT_NAME_BYTES + 1];
    struct frame_head head;
    if (store_locate(store_of(m, disk), b->id, shard_of(b->id), &extent, &offset, &bytes) != OK)
        return true;
    uint8_t *frame = malloc(bytes), *want = malloc(b->bytes);
    extent_name(extent, name);
    CHECK(disk_mem_peek(unit_in(m, disk)->disk, name, offset, frame, bytes));
    bool whole = frame_head_decode(SLICE(frame, FRAME_HEAD_BYTES), &head) == OK, same = false;
    for (int other = 0; other < 2; other++) {
        blob_fill(b, want, other);
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

void check_scrub(struct model *m)
{
    struct store_stats st;
    struct store_look seen;
    char name[ID_HEX_CHARS + 1];
    world_idle(m);
    for (unsigned i = 0; i < m->bays && !m->failed; i++) {
        if (!store_of(m, i))
            continue;
        store_stats_get(store_of(m, i), &st);
        store_scrub_start_now(store_of(m, i));
        for (unsigned n = 0; scrubs(m, i, st.scrub_passes) && !m->failed; n++) {
            if (n > STEPS_MAX)
                FAIL(m, "the scrub does not end");
            fake_env_step(&m->fake);
        }
    }
    world_idle(m);
    if (m->failed || world_failure(m) != OK || m->read_faults)
        return;
    for (unsigned i = 0; i < m->bays * BLOBS && !m->failed; i++) {
        struct blob *b = &m->blobs[i % BLOBS];
        if (!store_of(m, i / BLOBS) || whole_on_disk(m, i / BLOBS, b))
            continue;
        id128_hex(b->id, name);
        SEEN(m, BAD_SEEN);
        if (store_look(store_of(m, i / BLOBS), b->id, shard_of(b->id), &seen) != OK ||
            !seen.damaged)
            FAIL(m, "blob %s: bad on the disk, and the scrub passed over it", name);
    }
    check_stats(m);
}
