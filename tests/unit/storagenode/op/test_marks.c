/* Confirmed blobs: what the index keeps of the mark, what loses it; pages of what is not marked;
 * heads read alone. */
#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/op/disks.h"
#include "tests/unit/common/env/fake_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define EXTENT_BYTES (64u * FRAME_ALIGN)
#define BLOB_BYTES 20000u
#define DISKS 2u
#define ROUNDS_MAX 100000u

static struct fake_env fake;
static struct disk *disk[DISKS];
static struct kv *kv[DISKS];
static struct disks *disks;
static bool called;
static uint8_t bytes[BLOB_BYTES];

static struct id128 blob(unsigned n)
{
    return (struct id128){{(uint8_t)n, 0xb1, (uint8_t)(n >> 8), 7}};
}

static void wait(void)
{
    for (unsigned n = 0; !called; n++) {
        assert_true(n < ROUNDS_MAX);
        assert_true(fake_env_step(&fake));
    }
}

static void on_open(void *arg, int err)
{
    (void)arg;
    assert_int_equal(err, OK);
    called = true;
}

static void start(void)
{
    struct disks_member members[DISKS];
    for (unsigned i = 0; i < DISKS; i++)
        members[i] = (struct disks_member){disk[i], kv[i], i ? "/b" : "/a", OK};
    struct disks_config config = {.store = {.extent_bytes = EXTENT_BYTES,
                                            .capacity_bytes = 20 * EXTENT_BYTES,
                                            .extents_reserve = 2,
                                            .flush_interval_ms = 3600 * 1000,
                                            .flush_bytes = 1ull << 40},
                                  .members = members,
                                  .count = DISKS};
    assert_int_equal(disks_new(&fake.env, &config, &disks), OK);
    called = false;
    disks_open_start(disks, on_open, NULL);
    wait();
}

/* Power loss: the indexes go back to their last flush. */
static void power_loss(void)
{
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_crash(disk[i], true);
        kv_mem_crash(kv[i], NULL, NULL);
    }
    disks_free(disks);
    disks = NULL;
}

static int setup(void **state)
{
    (void)state;
    fake_env_init(&fake);
    fake.now_ns = 1000000 * NS_PER_SEC;
    for (unsigned i = 0; i < DISKS; i++) {
        disk[i] = disk_mem_new(
            &fake.env, &(struct disk_mem_config){.seed = 7 + i, .bytes_total = 32 * EXTENT_BYTES});
        kv[i] = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    }
    start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    power_loss();
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_free(disk[i]);
        kv_mem_free(kv[i]);
    }
    return 0;
}

static void idle(void)
{
    for (unsigned n = 0, busy = 1; busy; n++) {
        assert_true(n < ROUNDS_MAX);
        busy = 0;
        for (size_t i = 0; i < DISKS; i++)
            busy |= !store_is_idle(disks_store(disks, i));
        if (busy)
            assert_true(fake_env_step(&fake));
    }
}

/* The blobs' records say the same as the group's. */
static void check_all(void)
{
    idle();
    for (size_t i = 0; i < DISKS; i++)
        store_check(disks_store(disks, i));
}

static void on_put(struct disks_put *p)
{
    (void)p;
    called = true;
}

static void on_get(struct store_get *g)
{
    (void)g;
    called = true;
}

static void on_delete(struct disks_delete *d)
{
    (void)d;
    called = true;
}

static void on_inventory(struct disks_inventory *i)
{
    (void)i;
    called = true;
}

static void put(unsigned n)
{
    uint32_t crc = crc32c(0, SLICE(bytes, BLOB_BYTES));
    struct disks_put p = {.put = {.info = {.blob_id = blob(n),
                                           .pg = 5,
                                           .pg_epoch = 1,
                                           .time_ms = env_wall_ms(&fake.env),
                                           .bytes = BLOB_BYTES,
                                           .owner.key = SLICE_LIT("key"),
                                           .block_crcs = &crc},
                                  .payload.bytes = SLICE(bytes, BLOB_BYTES)},
                          .cb = on_put};
    called = false;
    assert_int_equal(disks_put_start(disks, &p), OK);
    wait();
    assert_int_equal(p.err, OK);
}

static void del(unsigned n)
{
    struct id128 id = blob(n);
    struct disks_delete d = {.blob_ids = &id, .count = 1, .cb = on_delete};
    called = false;
    assert_int_equal(disks_delete_start(disks, &d), OK);
    wait();
    assert_int_equal(d.err, OK);
}

static void inventory_run(struct disks_inventory *inv)
{
    inv->cb = on_inventory;
    called = false;
    assert_int_equal(disks_inventory_start(disks, inv), OK);
    wait();
    assert_int_equal(inv->err, OK);
}

/* All unconfirmed blobs of a group in pages that look at so many lines each; their number. */
static size_t unconfirmed_count(uint32_t pg, uint32_t scan_max, uint32_t entries_max)
{
    struct disks_inventory inv = {.pg = pg,
                                  .all_bytes = true,
                                  .unconfirmed = true,
                                  .scan_max = scan_max,
                                  .entries_max = entries_max};
    struct id128 before = {{0}};
    size_t count = 0, pages = 0;
    do {
        inv.has_after = pages > 0;
        inv.after = inv.last;
        inventory_run(&inv);
        for (size_t i = 0; i < inv.count; i++, count++) {
            assert_true(memcmp(before.bytes, inv.entries[i].blob_id.bytes, ID_BYTES) < 0);
            before = inv.entries[i].blob_id;
            assert_false(inv.entries[i].record.confirmed);
        }
        assert_true(inv.count <= entries_max && ++pages < 1000);
        disks_inventory_fini(&inv);
    } while (inv.more);
    return count;
}

static void marks_are_kept_as_the_index_is(void **state)
{
    (void)state;
    struct id128 ids[40];
    for (unsigned n = 0; n < 40; n++) {
        put(n);
        ids[n] = blob(n);
    }
    for (uint32_t scan = 1; scan <= 64; scan *= 4)
        for (uint32_t max = 1; max <= 64; max *= 4)
            assert_int_equal(unconfirmed_count(5, scan, max), 40);
    assert_int_equal(disks_confirm(disks, ids + 10, 25), OK);
    ids[0] = blob(1000); /* not here */
    assert_int_equal(disks_confirm(disks, ids, 1), OK);
    for (uint32_t scan = 1; scan <= 64; scan *= 4)
        for (uint32_t max = 1; max <= 64; max *= 4)
            assert_int_equal(unconfirmed_count(5, scan, max), 15);
    assert_int_equal(unconfirmed_count(6, 4, 4), 0);
    check_all();
    /* Lost by a crash before the index was flushed, not after. */
    power_loss();
    start();
    assert_int_equal(unconfirmed_count(5, 16, 16), 40);
    assert_int_equal(disks_confirm(disks, ids + 10, 25), OK);
    for (size_t i = 0; i < DISKS; i++)
        store_flush_now(disks_store(disks, i));
    idle();
    power_loss();
    start();
    assert_int_equal(unconfirmed_count(5, 16, 16), 15);
    /* A copy that reclamation makes keeps it; what is deleted loses it. */
    for (unsigned n = 0; n < 40; n += 2)
        del(n);
    assert_int_equal(unconfirmed_count(5, 16, 16), 8);
    struct store_stats st;
    uint64_t copied = 0;
    for (size_t i = 0; i < DISKS; i++) {
        store_reclaim_now(disks_store(disks, i));
        idle();
        store_stats_get(disks_store(disks, i), &st);
        copied += st.reclaimed_bytes_copied;
    }
    assert_true(copied > 0);
    assert_int_equal(unconfirmed_count(5, 16, 16), 8);
    check_all();
}

static void a_head_is_read_alone(void **state)
{
    (void)state;
    put(3);
    struct store_get g = {.blob_id = blob(3), .want_info = true, .head_only = true, .cb = on_get};
    called = false;
    assert_int_equal(disks_get_start(disks, &g), OK);
    wait();
    assert_int_equal(g.err, OK);
    assert_int_equal(g.payload.bytes.len, 0);
    assert_int_equal(g.payload.owner->cap, FRAME_HEAD_BYTES);
    assert_true(slice_eq(g.info.owner.key, SLICE_LIT("key")) && g.info.pg == 5);
    payload_unref(&g.payload);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(marks_are_kept_as_the_index_is),
        CASE(a_head_is_read_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
