/* The notes of deep scrub: on every disk, so that no single one takes them along. */
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/op/disks.h"
#include "tests/unit/common/env/fake_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DISKS 3u
#define STEPS_MAX 100000u

static struct fake_env fake;
static struct disk *disk[DISKS];
static struct kv *kv[DISKS];
static struct disks *disks;
static bool opened;

static void on_open(void *arg, int err)
{
    (void)arg;
    assert_int_equal(err, OK);
    opened = true;
}

static void open_with(unsigned mask)
{
    struct disks_member members[DISKS];
    struct disks_config config = {.store = {.extent_bytes = 64 * FRAME_ALIGN,
                                            .capacity_bytes = 6 * 64 * FRAME_ALIGN,
                                            .extents_reserve = 2},
                                  .members = members};
    for (unsigned i = 0; i < DISKS; i++)
        if (mask & 1u << i)
            members[config.count++] = (struct disks_member){disk[i], kv[i], "/d", OK};
    assert_int_equal(disks_new(&fake.env, &config, &disks), OK);
    opened = false;
    disks_open_start(disks, on_open, NULL);
    for (unsigned n = 0; !opened; n++)
        assert_true(n < STEPS_MAX && fake_env_step(&fake));
}

/* Power fails: what was not flushed is gone. */
static void crash(void)
{
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_crash(disk[i], true);
        kv_mem_crash(kv[i], NULL, NULL);
    }
    disks_free(disks);
}

static bool durable(void)
{
    for (size_t i = 0; i < DISKS; i++)
        if (!store_notes_durable(disks_store(disks, i)))
            return false;
    return true;
}

static void notes_are_on_every_disk(void **state)
{
    (void)state;
    uint64_t since_ms[DEEP_BUCKETS], got_ms[DEEP_BUCKETS] = {0};
    fake_env_init(&fake);
    fake.now_ns = 1000000 * NS_PER_SEC;
    for (unsigned i = 0; i < DISKS; i++) {
        struct disk_mem_config config = {.seed = 7 + i, .bytes_total = 16 * 64 * FRAME_ALIGN};
        disk[i] = disk_mem_new(&fake.env, &config);
        kv[i] = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    }
    for (unsigned i = 0; i < DEEP_BUCKETS; i++)
        since_ms[i] = 1700000000000 + i * 1001;
    open_with(7);
    assert_false(disks_deep_load(disks, 5, got_ms));
    assert_int_equal(got_ms[0], 0);
    disks_deep_save(disks, 5, since_ms);
    assert_false(disks_deep_load(disks, 4, got_ms));
    assert_false(disks_deep_load(disks, 6, got_ms));
    for (unsigned n = 0; !durable(); n++)
        assert_true(n < STEPS_MAX && fake_env_step(&fake));
    for (unsigned mask = 7; mask > 0; mask--) {
        assert_true(disks_deep_load(disks, 5, got_ms));
        for (unsigned i = 0; i < DEEP_BUCKETS; i++)
            assert_true(got_ms[i] <= since_ms[i] && since_ms[i] - got_ms[i] < 1000);
        crash();
        open_with(mask);
    }
    crash();
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_free(disk[i]);
        kv_mem_free(kv[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(notes_are_on_every_disk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
