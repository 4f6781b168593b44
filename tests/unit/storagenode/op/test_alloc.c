/* The n-th allocation failing while a shard is put, got and deleted: an error, or a store that
 * takes itself out of service; what was acknowledged is there after a crash, and nothing leaks. */
#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/extent/record.h"
#include "storagenode/op/disks.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/common/env/fake_env.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define EXTENT_BYTES (64u * FRAME_ALIGN)
#define BLOB_BYTES (SHARD_BLOCK_BYTES + 1000)

/* ---- disk and index in memory are equipment: only what the store allocates may fail ---- */

static struct disk *inner_disk;
static struct kv *inner_kv;

static struct {
    struct disk_req *req;
    void (*cb)(struct disk_req *);
} under_way[64];

/* The world turns with failures held back; they are let loose for the store's callbacks. */
static void disk_cb(struct disk_req *r)
{
    for (size_t i = 0; i < ARRAY_COUNT(under_way); i++) {
        if (under_way[i].req != r)
            continue;
        under_way[i].req = NULL;
        r->cb = under_way[i].cb;
        alloc_fail_go_on();
        r->cb(r);
        alloc_fail_hold();
        return;
    }
    fail();
}

static void disk_start_(struct disk *d, struct disk_req *r)
{
    (void)d;
    size_t i = 0;
    while (under_way[i].req)
        assert_true(++i < ARRAY_COUNT(under_way));
    under_way[i].req = r;
    under_way[i].cb = r->cb;
    r->cb = disk_cb;
    alloc_fail_hold();
    inner_disk->ops->start(inner_disk, r);
    alloc_fail_go_on();
}

static void disk_file_close_(struct disk *d, struct disk_file *f)
{
    (void)d;
    inner_disk->ops->file_close(inner_disk, f);
}

static const struct disk_ops disk_ops = {disk_start_, disk_file_close_, NULL};
static struct disk disk = {&disk_ops};

static int kv_get_(struct kv *kv, const struct kv_snapshot *s, enum kv_family family,
                   struct slice key, struct buf *ret)
{
    (void)kv;
    alloc_fail_hold();
    int err = inner_kv->ops->get(inner_kv, s, family, key, ret);
    alloc_fail_go_on();
    return err;
}

static int kv_write_(struct kv *kv, struct kv_batch **batch)
{
    (void)kv;
    alloc_fail_hold();
    int err = inner_kv->ops->write(inner_kv, batch);
    alloc_fail_go_on();
    return err;
}

static int kv_flush_(struct kv *kv, struct kv_flush_req *r)
{
    (void)kv;
    alloc_fail_hold();
    int err = inner_kv->ops->flush_start(inner_kv, r);
    alloc_fail_go_on();
    return err;
}

static struct kv_iter *kv_iter_(struct kv *kv, const struct kv_snapshot *s, enum kv_family family,
                                struct slice lower, struct slice upper)
{
    (void)kv;
    alloc_fail_hold();
    struct kv_iter *it = inner_kv->ops->iter_new(inner_kv, s, family, lower, upper);
    alloc_fail_go_on();
    return it;
}

static const struct kv_ops kv_ops = {
    .get = kv_get_, .write = kv_write_, .flush_start = kv_flush_, .iter_new = kv_iter_};
static struct kv kv = {&kv_ops};

/* ---- the world ---- */

static struct fake_env fake;
static struct store *store;
static bool called;

static void turn(void)
{
    alloc_fail_hold();
    bool more = fake_env_step(&fake);
    alloc_fail_go_on();
    assert_true(more);
}

static void on_open(void *arg, int err)
{
    called = true;
    *(int *)arg = err;
}

static int open_store(void)
{
    static const struct store_config config = {.extent_bytes = EXTENT_BYTES,
                                               .capacity_bytes = 8 * EXTENT_BYTES,
                                               .extents_reserve = 2,
                                               .flush_interval_ms = 3600 * 1000,
                                               .flush_bytes = 1ull << 40};
    int err = store_new(&fake.env, &disk, &kv, &config, &store);
    if (err != OK)
        return err;
    called = false;
    store_open_start(store, on_open, &err);
    while (!called)
        turn();
    return err;
}

static void power_loss(void)
{
    disk_mem_crash(inner_disk, true);
    kv_mem_crash(inner_kv, NULL, NULL);
    memset(under_way, 0, sizeof(under_way));
    if (store)
        store_free(store);
    store = NULL;
}

static void world_init(void)
{
    fake_env_init(&fake);
    fake.now_ns = 1000000 * NS_PER_SEC;
    inner_disk = disk_mem_new(
        &fake.env, &(struct disk_mem_config){.seed = 7, .bytes_total = 16 * EXTENT_BYTES});
    inner_kv = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    assert_int_equal(open_store(), OK);
    while (!store_is_idle(store))
        turn();
}

static void world_fini(void)
{
    power_loss();
    disk_mem_free(inner_disk);
    kv_mem_free(inner_kv);
}

/* ---- calls that run to their end ---- */

static uint8_t bytes[BLOB_BYTES];

static struct id128 blob(uint8_t n)
{
    return (struct id128){{0xb1, 0x0b, n}};
}

static void on_put(struct store_put *p)
{
    (void)p;
    called = true;
}

static void on_get(struct store_get *g)
{
    (void)g;
    called = true;
}

static void on_delete(struct store_delete *d)
{
    (void)d;
    called = true;
}

static int put(uint8_t n)
{
    uint32_t crcs[2] = {crc32c(0, SLICE(bytes, SHARD_BLOCK_BYTES)),
                        crc32c(0, SLICE(bytes + SHARD_BLOCK_BYTES, 1000))};
    struct store_put p = {.info = {.blob_id = blob(n),
                                   .time_ms = env_wall_ms(&fake.env),
                                   .bytes = BLOB_BYTES,
                                   .owner.key = SLICE_LIT("key"),
                                   .block_crcs = crcs},
                          .payload.bytes = SLICE(bytes, BLOB_BYTES),
                          .cb = on_put};
    called = false;
    int err = store_put_start(store, &p);
    while (err == OK && !called)
        turn();
    return err ? err : p.err;
}

static int get(uint8_t n)
{
    struct id128 id = blob(n);
    struct store_get *g = calloc(1, sizeof(*g));
    if (!g)
        return ERR_NOMEM;
    g->blob_id = id;
    g->cb = on_get;
    called = false;
    int err = store_get_start(store, g);
    while (err == OK && !called)
        turn();
    if (err == OK)
        err = g->err;
    if (err == OK)
        assert_memory_equal(g->payload.bytes.ptr, bytes, BLOB_BYTES);
    payload_unref(&g->payload);
    free(g);
    return err;
}

static int del(uint8_t n)
{
    struct id128 id = blob(n);
    struct store_delete d = {.blob_ids = &id, .count = 1, .cb = on_delete};
    called = false;
    int err = store_delete_start(store, &d);
    while (err == OK && !called)
        turn();
    return err ? err : d.err;
}

/* ---- tests ---- */

static void puts_gets_deletes(void **state)
{
    (void)state;
    uint64_t n = 0;
    for (bool failed = true; failed; n++) {
        world_init();
        assert_int_equal(put(1), OK);
        assert_int_equal(put(2), OK);
        alloc_fail_at(n);
        int put_err = put(3), get_err = get(1), del_err = del(2);
        failed = alloc_fail_end();
        if (!failed)
            assert_true(put_err == OK && get_err == OK && del_err == OK);
        power_loss();
        assert_int_equal(open_store(), OK);
        assert_int_equal(get(1), OK);
        /* What was promised holds; what was not is there whole, or not at all. */
        int err = get(3);
        assert_true(err == OK || (err == ERR_NOT_FOUND && put_err != OK));
        err = get(2);
        assert_true(err == ERR_NOT_FOUND || (err == OK && del_err != OK));
        world_fini();
    }
    assert_true(n > 5);
}

static void opening(void **state)
{
    (void)state;
    uint64_t n = 0;
    world_init();
    assert_int_equal(put(1), OK);
    assert_int_equal(put(2), OK);
    assert_int_equal(del(2), OK);
    for (bool failed = true; failed; n++) {
        power_loss();
        alloc_fail_at(n);
        int err = open_store();
        failed = alloc_fail_end();
        if (!failed)
            assert_int_equal(err, OK);
        if (err == OK) {
            assert_int_equal(get(1), OK);
            assert_int_equal(get(2), ERR_NOT_FOUND);
        }
    }
    assert_true(n > 5);
    world_fini();
}

/* ---- a node ---- */

static struct disks *disks;

static int open_disks(void)
{
    struct disks_member member = {.disk = &disk, .kv = &kv, .path = "/a"};
    struct disks_config config = {.store = {.extent_bytes = EXTENT_BYTES,
                                            .capacity_bytes = 8 * EXTENT_BYTES,
                                            .extents_reserve = 2,
                                            .flush_interval_ms = 3600 * 1000,
                                            .flush_bytes = 1ull << 40},
                                  .members = &member,
                                  .count = 1};
    int err = disks_new(&fake.env, &config, &disks);
    if (err != OK)
        return err;
    called = false;
    disks_open_start(disks, on_open, &err);
    while (!called)
        turn();
    return err;
}

static void power_loss_disks(void)
{
    disk_mem_crash(inner_disk, true);
    kv_mem_crash(inner_kv, NULL, NULL);
    memset(under_way, 0, sizeof(under_way));
    disks_free(disks);
    disks = NULL;
}

static void on_disks_put(struct disks_put *p)
{
    (void)p;
    called = true;
}

static void on_disks_delete(struct disks_delete *d)
{
    (void)d;
    called = true;
}

static void on_check(struct disks_check *c)
{
    (void)c;
    called = true;
}

static void on_inventory(struct disks_inventory *i)
{
    (void)i;
    called = true;
}

static int disks_put_run(uint8_t n)
{
    uint32_t crcs[2] = {crc32c(0, SLICE(bytes, SHARD_BLOCK_BYTES)),
                        crc32c(0, SLICE(bytes + SHARD_BLOCK_BYTES, 1000))};
    struct disks_put p = {.put = {.info = {.blob_id = blob(n),
                                           .pg = 1,
                                           .pg_epoch = 9,
                                           .time_ms = env_wall_ms(&fake.env),
                                           .bytes = BLOB_BYTES,
                                           .block_crcs = crcs},
                                  .payload.bytes = SLICE(bytes, BLOB_BYTES)},
                          .cb = on_disks_put};
    called = false;
    int err = disks_put_start(disks, &p);
    while (err == OK && !called)
        turn();
    return err ? err : p.err;
}

static int disks_delete_run(uint8_t n)
{
    struct id128 id = blob(n);
    struct disks_delete d = {.blob_ids = &id, .count = 1, .cb = on_disks_delete};
    called = false;
    int err = disks_delete_start(disks, &d);
    while (err == OK && !called)
        turn();
    return err ? err : d.err;
}

static int check_run(uint8_t n, enum disks_shard *ret)
{
    struct id128 id = blob(n);
    uint32_t index = 0;
    struct disks_check c = {.blob_ids = &id,
                            .shard_indexes = &index,
                            .count = 1,
                            .deep = true,
                            .bytes_max = 1 << 20,
                            .states = ret,
                            .cb = on_check};
    called = false;
    int err = disks_check_start(disks, &c);
    while (err == OK && !called)
        turn();
    return err ? err : c.err;
}

static int inventory_run(size_t *ret_count)
{
    struct disks_inventory inv = {.pg = 1, .first_byte = blob(0).bytes[0], .cb = on_inventory};
    called = false;
    int err = disks_inventory_start(disks, &inv);
    while (err == OK && !called)
        turn();
    *ret_count = inv.count;
    if (!err) {
        err = inv.err;
        disks_inventory_fini(&inv);
    }
    return err;
}

static void a_node(void **state)
{
    (void)state;
    uint64_t n = 0;
    for (bool failed = true; failed; n++) {
        enum disks_shard shard = DISKS_SHARD_MISSING;
        size_t count = 0;
        world_init();
        power_loss();
        assert_int_equal(open_disks(), OK);
        assert_int_equal(disks_put_run(1), OK);
        assert_int_equal(disks_put_run(2), OK);
        alloc_fail_at(n);
        int inv_err = inventory_run(&count), check_err = check_run(1, &shard);
        int close_err = disks_epoch_close(disks, 1, 5);
        int put_err = disks_put_run(3), del_err = disks_delete_run(2);
        failed = alloc_fail_end();
        assert_true(inv_err != OK || count == 2);
        struct disks_counts counts;
        disks_count(disks, &counts); /* it may have taken itself out of service */
        assert_true(check_err != OK || shard == DISKS_SHARD_PRESENT ||
                    (shard == DISKS_SHARD_UNREADABLE && counts.up == 0));
        for (unsigned i = 0; i < 50; i++)
            turn();
        bool closed = disks_epoch_closed(disks, 1) == 5;
        if (!failed)
            assert_true(inv_err == OK && check_err == OK && close_err == OK && put_err == OK &&
                        del_err == OK && closed);
        power_loss_disks();
        alloc_fail_at(n);
        int err = open_disks();
        bool again = alloc_fail_end();
        failed |= again;
        if (err != OK) {
            assert_true(again);
            if (disks)
                power_loss_disks();
            assert_int_equal(open_disks(), OK);
        }
        struct store_look look;
        struct store *s = disks_store(disks, 0);
        assert_int_equal(store_look(s, blob(1), 0, &look), OK);
        assert_true(look.found);
        assert_int_equal(store_look(s, blob(2), 0, &look), OK);
        assert_true(look.deleted || (look.found && del_err != OK));
        assert_true(!closed || disks_epoch_closed(disks, 1) == 5);
        power_loss_disks();
        disk_mem_free(inner_disk);
        kv_mem_free(inner_kv);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_gets_deletes),
        cmocka_unit_test(opening),
        cmocka_unit_test(a_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
