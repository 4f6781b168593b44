/* Several disks behind one interface: where puts go, what a disk that fails, is full, vanishes or
 * is given up means for the others. */
#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/op/disks.h"
#include "tests/unit/common/env/fake_env.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define EXTENT_BYTES (64u * FRAME_ALIGN)
#define BLOB_BYTES 20000u
#define DISKS 3u
#define ROUNDS_MAX 100000u
#define PENDING 1 /* no error */

static struct fake_env fake;
static struct disk *disk[DISKS];
static struct kv *kv[DISKS];
static struct disks *disks;
static struct id128 disk_ids[DISKS];
static bool called;
static unsigned failures;
static size_t failed_disk;
static unsigned damages;
static size_t damaged_disk;
static struct id128 damaged_blob;
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
    called = true;
    *(int *)arg = err;
}

static void on_failed(void *arg, size_t at, int err)
{
    (void)arg;
    (void)err;
    failures++;
    failed_disk = at;
}

static void on_damage(void *arg, size_t at, const struct store_damage *d)
{
    (void)arg;
    damages++;
    damaged_disk = at;
    damaged_blob = d->blob_id;
}

/* Opens the node with the disks of the mask. */
static int open_with(unsigned mask, const struct id128 *lost, size_t lost_count)
{
    static const char *const paths[DISKS] = {"/a", "/b", "/c"};
    struct disks_member members[DISKS];
    size_t count = 0;
    for (unsigned i = 0; i < DISKS; i++)
        if (mask & 1u << i)
            members[count++] = (struct disks_member){disk[i], kv[i], paths[i], OK};
    struct disks_config config = {.store = {.extent_bytes = EXTENT_BYTES,
                                            .capacity_bytes = 6 * EXTENT_BYTES,
                                            .extents_reserve = 2,
                                            .flush_interval_ms = 3600 * 1000,
                                            .flush_bytes = 1ull << 40},
                                  .members = members,
                                  .count = count,
                                  .lost = lost,
                                  .lost_count = lost_count,
                                  .on_failed = on_failed,
                                  .on_damage = on_damage};
    int err = disks_new(&fake.env, &config, &disks);
    assert_int_equal(err, OK);
    called = false;
    disks_open_start(disks, on_open, &err);
    wait();
    return err;
}

/* Power loss: the indexes go back to their last flush. */
static void power_loss(void)
{
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_crash(disk[i], true);
        disk_mem_fail_clear(disk[i]);
        kv_mem_crash(kv[i], NULL, NULL);
    }
    disks_free(disks);
    disks = NULL;
}

static void again_with(unsigned mask, const struct id128 *lost, size_t lost_count)
{
    power_loss();
    assert_int_equal(open_with(mask, lost, lost_count), OK);
}

static int setup(void **state)
{
    (void)state;
    struct disks_status st;
    fake_env_init(&fake);
    fake.now_ns = 1000000 * NS_PER_SEC;
    failures = damages = 0;
    for (unsigned i = 0; i < DISKS; i++) {
        disk[i] =
            disk_mem_new(&fake.env, &(struct disk_mem_config){.seed = 7 + i,
                                                              .bytes_total = 16 * EXTENT_BYTES,
                                                              .delay_ns_max = NS_PER_MS});
        kv[i] = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    }
    for (size_t i = 0; i < BLOB_BYTES; i++)
        bytes[i] = (uint8_t)(i * 31);
    assert_int_equal(open_with(7, NULL, 0), OK);
    for (size_t pos = 0, i = 0; disks_status_next(disks, &pos, &st); i++)
        disk_ids[i] = st.id;
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

/* ---- calls ---- */

static void on_put(struct disks_put *p)
{
    (void)p;
    called = true;
}

static void on_store_put(struct store_put *p)
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

struct put {
    struct disks_put put;
    uint32_t crcs[1];
};

static int put_start(struct put *p, unsigned n, uint16_t index, uint32_t pg, uint64_t epoch)
{
    *p = (struct put){.put.put = {.info = {.blob_id = blob(n),
                                           .shard_index = index,
                                           .pg = pg,
                                           .pg_epoch = epoch,
                                           .time_ms = env_wall_ms(&fake.env),
                                           .bytes = BLOB_BYTES,
                                           .owner.key = SLICE_LIT("key"),
                                           .block_crcs = p->crcs},
                                  .payload.bytes = SLICE(bytes, BLOB_BYTES)},
                      .put.cb = on_put,
                      .crcs = {crc32c(0, SLICE(bytes, BLOB_BYTES))}};
    called = false;
    return disks_put_start(disks, &p->put);
}

static int put_of(unsigned n, uint16_t index, uint32_t pg, uint64_t epoch)
{
    struct put p;
    int err = put_start(&p, n, index, pg, epoch);
    if (err)
        return err;
    wait();
    return p.put.err;
}

static int put(unsigned n)
{
    return put_of(n, 0, 1, 1);
}

static int get(unsigned n)
{
    struct store_get g = {.blob_id = blob(n), .cb = on_get};
    called = false;
    int err = disks_get_start(disks, &g);
    if (err)
        return err;
    wait();
    if (!g.err)
        assert_memory_equal(g.payload.bytes.ptr, bytes, BLOB_BYTES);
    payload_unref(&g.payload);
    return g.err;
}

static int del(unsigned n)
{
    struct id128 id = blob(n);
    struct disks_delete d = {.blob_ids = &id, .count = 1, .cb = on_delete};
    called = false;
    int err = disks_delete_start(disks, &d);
    if (err)
        return err;
    wait();
    return d.err;
}

static uint64_t shards_on(size_t at)
{
    struct store_stats st;
    store_stats_get(disks_store(disks, at), &st);
    return st.shards;
}

/* DISKS: none has it. */
static size_t holder(unsigned n)
{
    size_t found = DISKS;
    for (size_t i = 0; i < disks_members(disks); i++) {
        struct store_look look;
        assert_int_equal(store_look(disks_store(disks, i), blob(n), 0, &look), OK);
        if (look.found) {
            assert_int_equal(found, DISKS); /* at most one */
            found = i;
        }
    }
    return found;
}

static enum disks_shard look_at(unsigned n)
{
    enum disks_shard state;
    assert_int_equal(disks_look(disks, blob(n), 0, &state), OK);
    return state;
}

static bool writes_on(size_t at)
{
    struct store_stats st;
    store_stats_get(disks_store(disks, at), &st);
    return st.state == STORE_UP;
}

/* Puts until the disk's next write has failed. */
static void fail_disk(size_t at, unsigned first)
{
    disk_mem_fail(disk[at], DISK_WRITE, 1, ERR_IO, true);
    for (unsigned n = first; writes_on(at); n++) {
        assert_true(n < first + 60);
        assert_int_equal(put(n), OK); /* the others take it */
    }
}

static void idle(void)
{
    for (unsigned n = 0, busy = 1; busy; n++) {
        assert_true(n < ROUNDS_MAX);
        busy = 0;
        for (size_t i = 0; i < disks_members(disks); i++)
            busy |= !store_is_idle(disks_store(disks, i));
        if (busy)
            assert_true(fake_env_step(&fake));
    }
}

/* ---- tests ---- */

static void puts_spread_and_are_found(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 60; n++)
        assert_int_equal(put(n), OK);
    for (size_t i = 0; i < DISKS; i++)
        assert_true(shards_on(i) >= 10);
    for (unsigned n = 0; n < 60; n++) {
        size_t at = holder(n);
        assert_int_equal(get(n), OK);
        assert_int_equal(put(n), OK); /* a retry finds it */
        assert_int_equal(holder(n), at);
    }
    assert_int_equal(del(5), OK);
    assert_int_equal(get(5), ERR_NOT_FOUND);
    assert_int_equal(put(5), ERR_CONDEMNED);
    again_with(7, NULL, 0);
    for (unsigned n = 0; n < 60; n++)
        assert_int_equal(get(n), n == 5 ? ERR_NOT_FOUND : OK);
    for (size_t i = 0; i < DISKS; i++) {
        idle();
        store_check(disks_store(disks, i));
    }
}

static int raw_put_start(struct store_put *p, size_t at, unsigned n, const uint32_t *crc)
{
    *p = (struct store_put){.info = {.blob_id = blob(n),
                                     .pg = 1,
                                     .pg_epoch = 1,
                                     .time_ms = env_wall_ms(&fake.env),
                                     .bytes = BLOB_BYTES,
                                     .owner.key = SLICE_LIT("key"),
                                     .block_crcs = crc},
                            .payload.bytes = SLICE(bytes, BLOB_BYTES),
                            .cb = on_store_put,
                            .err = PENDING};
    called = false;
    return store_put_start(disks_store(disks, at), p);
}

/* Between the two, the disk that was chosen first has become the fuller one. */
static void a_retry_meets_the_put_under_way(void **state)
{
    (void)state;
    uint32_t crc = crc32c(0, SLICE(bytes, BLOB_BYTES));
    for (unsigned n = 0; n < 12; n++) {
        struct store_put filler[DISKS];
        struct put first, second;
        for (size_t i = 0; i < DISKS; i++)
            assert_int_equal(raw_put_start(&filler[i], i, 1000 + n * 8 + (unsigned)i, &crc), OK);
        for (unsigned turns = 0; turns < 2; turns++) /* their write has begun */
            assert_true(fake_env_step(&fake));
        assert_int_equal(put_start(&first, n, 0, 1, 1), OK);
        while (filler[first.put.at].err == PENDING)
            assert_true(fake_env_step(&fake));
        assert_int_equal(put_start(&second, n, 0, 1, 1), OK);
        assert_int_equal(second.put.at, first.put.at);
        idle();
        assert_int_equal(first.put.err, OK);
        assert_int_equal(second.put.err, OK);
        assert_true(holder(n) < DISKS);
    }
}

static void only_all_full_is_no_space(void **state)
{
    (void)state;
    unsigned n = 0;
    int err = OK;
    while (!err) {
        err = put(n++);
        assert_true(n < 1000);
        idle();
    }
    assert_int_equal(err, ERR_NOSPACE);
    for (size_t i = 0; i < DISKS; i++) {
        struct store_stats st;
        store_stats_get(disks_store(disks, i), &st);
        assert_true(st.bytes_free < frame_bytes(BLOB_BYTES));
    }
    assert_int_equal(put(0), OK); /* what is there is there, room or not */
    assert_int_equal(get(0), OK);
    assert_int_equal(del(0), OK);
}

static void a_disk_fails_alone(void **state)
{
    (void)state;
    struct disks_counts counts;
    for (unsigned n = 0; n < 30; n++)
        assert_int_equal(put(n), OK);
    fail_disk(1, 100);
    assert_int_equal(failures, 1);
    assert_int_equal(failed_disk, 1);
    disks_count(disks, &counts);
    assert_int_equal(counts.up, 2);
    assert_int_equal(counts.writable, 2);
    assert_int_equal(counts.out, 1);
    bool met = false;
    for (unsigned n = 0; n < 30; n++) {
        bool on_failed_disk = holder(n) == 1;
        met |= on_failed_disk;
        assert_int_equal(get(n), OK); /* still readable */
        assert_int_equal(look_at(n), on_failed_disk ? DISKS_SHARD_UNREADABLE : DISKS_SHARD_PRESENT);
    }
    assert_true(met);
    unsigned there = 0;
    while (holder(there) != 1)
        there++;
    bytes[0] ^= 1; /* other bytes under its id */
    assert_int_equal(put(there), ERR_EXISTS);
    bytes[0] ^= 1;
    for (unsigned n = 200; n < 210; n++)
        assert_int_equal(put(n), OK);
    assert_int_equal(del(201), ERR_NOT_READY);
    /* It comes back, whole: all that was promised is there. */
    again_with(7, NULL, 0);
    disks_count(disks, &counts);
    assert_int_equal(counts.out, 0);
    for (unsigned n = 0; n < 30; n++)
        assert_int_equal(get(n), OK);
    assert_int_equal(del(201), OK);
}

static void scrub_run(size_t at)
{
    struct store_stats before, st;
    store_stats_get(disks_store(disks, at), &before);
    store_scrub_start_now(disks_store(disks, at));
    st = before;
    for (unsigned n = 0; st.scrub_passes == before.scrub_passes; n++) {
        assert_true(n < ROUNDS_MAX);
        assert_true(fake_env_step(&fake));
        store_stats_get(disks_store(disks, at), &st);
    }
}

static void a_scrub_tells_the_disk(void **state)
{
    (void)state;
    uint32_t extent;
    uint64_t offset, length;
    char name[EXTENT_NAME_BYTES + 1];
    unsigned n = 0;
    do
        assert_int_equal(put(++n), OK);
    while (holder(n) != 2);
    assert_int_equal(store_locate(disks_store(disks, 2), blob(n), 0, &extent, &offset, &length),
                     OK);
    extent_name(extent, name);
    assert_true(disk_mem_flip(disk[2], name, offset + FRAME_HEAD_BYTES + 100, 3));
    for (size_t at = 0; at < DISKS; at++)
        scrub_run(at);
    assert_int_equal(damages, 1);
    assert_int_equal(damaged_disk, 2);
    assert_true(id128_eq(damaged_blob, blob(n)));
}

static void all_disks_fail(void **state)
{
    (void)state;
    assert_int_equal(put(1), OK);
    for (unsigned i = 0; i < DISKS; i++)
        disk_mem_fail(disk[i], DISK_WRITE, 1, ERR_IO, true);
    assert_int_equal(put(2), ERR_IO);
    assert_int_equal(failures, DISKS);
    assert_int_equal(put(3), ERR_IO);
    assert_int_equal(del(1), ERR_NOT_READY);
    assert_int_equal(get(1), OK);
}

static void a_disk_is_missed_until_it_is_given_up(void **state)
{
    (void)state;
    struct disks_status st;
    struct disks_counts counts;
    unsigned gone = 0;
    for (unsigned n = 0; n < 30; n++)
        assert_int_equal(put(n), OK);
    while (holder(gone) != 2)
        gone++;
    again_with(3, NULL, 0);
    disks_count(disks, &counts);
    assert_int_equal(counts.up, 2);
    assert_int_equal(counts.out, 1);
    size_t pos = 2;
    assert_true(disks_status_next(disks, &pos, &st));
    assert_true(id128_eq(st.id, disk_ids[2]) && st.state == DISKS_STATE_FAILED && !st.present);
    assert_string_equal(st.path, "/c");
    assert_int_equal(get(gone), ERR_IO); /* not: not found */
    assert_int_equal(look_at(gone), DISKS_SHARD_UNREADABLE);
    assert_int_equal(del(gone), ERR_NOT_READY);
    assert_int_equal(put(300), OK);
    /* Given up: what it had is gone, and deletes are acknowledged without it, */
    again_with(3, &disk_ids[2], 1);
    assert_int_equal(get(gone), ERR_NOT_FOUND);
    assert_int_equal(look_at(gone), DISKS_SHARD_DELETED); /* marked before */
    assert_int_equal(del(gone), OK);
    /* so it never comes back, whether or not the parameter is kept. */
    again_with(7, NULL, 0);
    pos = 2;
    assert_true(disks_status_next(disks, &pos, &st));
    assert_true(st.present && st.state == DISKS_STATE_LOST && st.err == ERR_REFUSED);
    disks_count(disks, &counts);
    assert_int_equal(counts.up, 2);
    assert_int_equal(counts.out, 0);
    assert_int_equal(get(gone), ERR_NOT_FOUND);
}

static void an_empty_directory_is_a_new_disk(void **state)
{
    (void)state;
    struct disks_status st;
    struct disks_counts counts;
    for (unsigned n = 0; n < 30; n++)
        assert_int_equal(put(n), OK);
    for (unsigned n = 0; n < 10; n++)
        assert_int_equal(del(n), OK);
    power_loss();
    disk_mem_free(disk[0]);
    kv_mem_free(kv[0]);
    disk[0] = disk_mem_new(&fake.env,
                           &(struct disk_mem_config){.seed = 99, .bytes_total = 16 * EXTENT_BYTES});
    kv[0] = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    assert_int_equal(open_with(7, &disk_ids[0], 1), OK);
    size_t pos = 0;
    assert_true(disks_status_next(disks, &pos, &st));
    assert_true(st.state == DISKS_STATE_UP && !id128_eq(st.id, disk_ids[0]));
    disks_count(disks, &counts);
    assert_int_equal(counts.up, 3);
    assert_int_equal(counts.out, 0);
    for (unsigned n = 0; n < 10; n++) /* which was never told */
        assert_int_equal(put(n), ERR_CONDEMNED);
    for (unsigned n = 400; n < 430; n++)
        assert_int_equal(put(n), OK);
    assert_true(shards_on(0) > 5);
    assert_int_equal(del(400), OK);
}

static void one_disk_of_which_nothing_is_up(void **state)
{
    (void)state;
    power_loss();
    assert_int_equal(open_with(1, &disk_ids[0], 1), ERR_REFUSED);
    struct disks_counts counts;
    disks_count(disks, &counts);
    assert_int_equal(counts.up, 0);
    assert_int_equal(put(1), ERR_IO);
}

/* ---- checks and inventories ---- */

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

static size_t check_run(struct disks_check *c, const struct id128 *ids, size_t count, bool deep,
                        uint64_t bytes_max)
{
    static uint32_t indexes[DISKS_CHECK_MAX];
    static enum disks_shard states[DISKS_CHECK_MAX];
    *c = (struct disks_check){.blob_ids = ids,
                              .shard_indexes = indexes,
                              .count = count,
                              .deep = deep,
                              .bytes_max = bytes_max,
                              .states = states,
                              .cb = on_check};
    called = false;
    assert_int_equal(disks_check_start(disks, c), OK);
    assert_false(called);
    wait();
    assert_int_equal(c->err, OK);
    return c->done;
}

static void a_check_tells_the_state(void **state)
{
    (void)state;
    struct id128 ids[300];
    struct disks_check c;
    uint32_t extent;
    uint64_t offset, length;
    char name[EXTENT_NAME_BYTES + 1];
    for (unsigned n = 0; n < 300; n++)
        ids[n] = blob(n);
    for (unsigned n = 0; n < 10; n++)
        assert_int_equal(put(n), OK);
    assert_int_equal(del(3), OK);
    size_t at = holder(4);
    assert_int_equal(store_locate(disks_store(disks, at), blob(4), 0, &extent, &offset, &length),
                     OK);
    extent_name(extent, name);
    assert_true(disk_mem_flip(disk[at], name, offset + FRAME_HEAD_BYTES + 100, 3));
    assert_int_equal(check_run(&c, ids, 300, false, 0), 300);
    for (unsigned n = 0; n < 300; n++)
        assert_int_equal(c.states[n], n == 3   ? DISKS_SHARD_DELETED
                                      : n < 10 ? DISKS_SHARD_PRESENT
                                               : DISKS_SHARD_MISSING);
    assert_int_equal(check_run(&c, ids, 300, true, 1ull << 40), 300);
    assert_int_equal(c.states[4], DISKS_SHARD_DAMAGED);
    assert_int_equal(c.states[5], DISKS_SHARD_PRESENT);
    assert_int_equal(c.bytes, 8 * BLOB_BYTES); /* the others were read */
    assert_int_equal(check_run(&c, ids, 300, false, 0), 300);
    assert_int_equal(c.states[4], DISKS_SHARD_DAMAGED); /* remembered */
    assert_int_equal(put(4), OK);                       /* healed */
    assert_int_equal(check_run(&c, ids, 300, true, 3 * BLOB_BYTES),
                     4); /* three, and a deleted one */
    c.count = DISKS_CHECK_MAX + 1;
    assert_int_equal(disks_check_start(disks, &c), ERR_INVAL);
}

static void inventory_run(struct disks_inventory *inv)
{
    inv->cb = on_inventory;
    called = false;
    assert_int_equal(disks_inventory_start(disks, inv), OK);
    assert_false(called);
    wait();
    assert_int_equal(inv->err, OK);
}

/* Pages of any length give the same shards, all of them, in order. */
static size_t pages_count(uint32_t pg, uint8_t first_byte, uint32_t entries_max)
{
    struct disks_inventory inv = {.pg = pg, .first_byte = first_byte, .entries_max = entries_max};
    struct id128 last = {{0}};
    size_t count = 0;
    do {
        inventory_run(&inv);
        for (size_t i = 0; i < inv.count; i++) {
            assert_int_equal(inv.entries[i].blob_id.bytes[0], first_byte);
            assert_true(memcmp(inv.entries[i].blob_id.bytes, last.bytes, ID_BYTES) >= 0);
            if (i == 0 && inv.has_after)
                assert_false(id128_eq(inv.entries[i].blob_id, last));
            last = inv.entries[i].blob_id;
        }
        count += inv.count;
        inv.has_after = true;
        inv.after = last;
        assert_true(inv.count > 0 || !inv.more);
        disks_inventory_fini(&inv);
    } while (inv.more);
    return count;
}

static void an_inventory_has_each_shard_once(void **state)
{
    (void)state;
    uint64_t want[DISKS_DIGESTS] = {0};
    uint32_t crc = crc32c(0, SLICE(bytes, BLOB_BYTES));
    for (unsigned n = 0; n < 20; n++)
        for (uint16_t index = 0; index < 1 + n % 3; index++) {
            unsigned id = n % 4 + n * 256; /* few first bytes */
            assert_int_equal(put_of(id, index, 5, 1), OK);
            struct store_inventory_entry e = {
                blob(id), index, {.crcs_digest = shard_crcs_digest(&crc, 1)}};
            want[n % 4] ^= disks_digest(&e);
        }
    assert_int_equal(put_of(9 * 256, 0, 6, 1), OK); /* another group */
    struct disks_inventory inv = {.pg = 5, .digests = true};
    inventory_run(&inv);
    assert_memory_equal(inv.hashes, want, sizeof(want));
    size_t all = 0;
    for (unsigned first = 0; first < 4; first++) {
        size_t count = pages_count(5, (uint8_t)first, 0);
        all += count;
        for (uint32_t max = 1; max < 8; max++)
            assert_int_equal(pages_count(5, (uint8_t)first, max), count);
    }
    assert_int_equal(all, 39);
    assert_int_equal(pages_count(6, 0, 0), 1);
    assert_int_equal(pages_count(7, 0, 0), 0);
    inv = (struct disks_inventory){.pg = 5, .older_than_ms = 1};
    inventory_run(&inv);
    assert_int_equal(inv.count, 0);
    assert_true(disks_has_group(disks, 6));
    assert_int_equal(del(9 * 256), OK);
    assert_false(disks_has_group(disks, 6));
    again_with(7, NULL, 0);
    inv = (struct disks_inventory){.pg = 5, .digests = true};
    inventory_run(&inv);
    assert_memory_equal(inv.hashes, want, sizeof(want));
}

/* A put whose disk failed under it went to another; when the first comes back both have it. */
static void a_shard_on_two_disks_counts_once(void **state)
{
    (void)state;
    uint32_t crc = crc32c(0, SLICE(bytes, BLOB_BYTES));
    struct store_inventory_entry e = {blob(9), 0, {.crcs_digest = shard_crcs_digest(&crc, 1)}};
    assert_int_equal(put(9), OK);
    struct store_put twice;
    assert_int_equal(raw_put_start(&twice, (holder(9) + 1) % DISKS, 9, &crc), OK);
    wait();
    assert_int_equal(twice.err, OK);
    struct disks_inventory inv = {.pg = 1, .digests = true};
    inventory_run(&inv);
    assert_true(inv.hashes[9] == disks_digest(&e));
    assert_int_equal(pages_count(1, 9, 0), 1);
    /* A whole one is better than a damaged one; damaged ones count for nothing. */
    for (size_t at = 0, damaged = 0; at < DISKS; at++) {
        struct store_get get = {.blob_id = blob(9), .cb = on_get};
        uint32_t extent;
        uint64_t offset, length;
        char name[EXTENT_NAME_BYTES + 1];
        struct store *s = disks_store(disks, at);
        if (store_locate(s, blob(9), 0, &extent, &offset, &length) != OK)
            continue;
        extent_name(extent, name);
        assert_true(disk_mem_flip(disk[at], name, offset + FRAME_HEAD_BYTES, 0));
        called = false;
        assert_int_equal(store_get_start(s, &get), OK);
        wait();
        assert_int_equal(get.err, ERR_CHECKSUM);
        inventory_run(&inv);
        assert_true(inv.hashes[9] == (damaged++ ? 0 : disks_digest(&e)));
    }
    inv = (struct disks_inventory){.pg = 1, .first_byte = 9};
    inventory_run(&inv);
    assert_true(inv.count == 1 && inv.entries[0].record.damaged);
    disks_inventory_fini(&inv);
    assert_int_equal(del(9), OK); /* both */
    for (size_t i = 0; i < DISKS; i++)
        assert_int_equal(shards_on(i), 0);
}

/* ---- epochs ---- */

static void run_a_while(unsigned turns)
{
    while (turns-- > 0)
        fake_env_step(&fake);
}

static void a_closed_epoch_stays_closed(void **state)
{
    (void)state;
    assert_int_equal(put_of(1, 0, 5, 2), OK);
    assert_int_equal(disks_epoch_close(disks, 5, 3), OK);
    assert_int_equal(disks_epoch_closed(disks, 5), 0); /* not durable yet */
    assert_int_equal(put_of(2, 0, 5, 2), ERR_EPOCH);
    run_a_while(50);
    assert_int_equal(disks_epoch_closed(disks, 5), 3);
    assert_int_equal(put_of(2, 0, 5, 3), OK);
    assert_int_equal(put_of(3, 0, 6, 1), OK);             /* another group */
    assert_int_equal(disks_epoch_close(disks, 5, 2), OK); /* never back */
    assert_int_equal(disks_epoch_closed(disks, 5), 3);
    struct put p;
    assert_int_equal(put_start(&p, 4, 0, 5, 2), ERR_EPOCH);
    p.put.any_epoch = true; /* repair */
    called = false;
    assert_int_equal(disks_put_start(disks, &p.put), OK);
    wait();
    again_with(7, NULL, 0);
    assert_int_equal(disks_epoch_closed(disks, 5), 3);
    assert_int_equal(put_of(5, 0, 5, 2), ERR_EPOCH);
    /* Any one disk knows it. */
    for (unsigned i = 0; i < DISKS; i++) {
        again_with(1u << i, NULL, 0);
        assert_int_equal(disks_epoch_closed(disks, 5), 3);
    }
}

static void an_epoch_is_closed_after_the_puts_under_way(void **state)
{
    (void)state;
    struct put p;
    for (unsigned i = 0; i < DISKS; i++) /* indexes are flushed before the put is written */
        kv_mem_set_delays(kv[i], 0, 0);
    assert_int_equal(put_start(&p, 1, 0, 5, 2), OK);
    assert_int_equal(disks_epoch_close(disks, 5, 3), OK);
    while (!called) {
        assert_int_equal(disks_epoch_closed(disks, 5), 0);
        assert_true(fake_env_step(&fake));
    }
    run_a_while(50);
    assert_int_equal(disks_epoch_closed(disks, 5), 3);
}

static void closing_ends_what_is_under_way(void **state)
{
    (void)state;
    struct disks_inventory inv = {.pg = 1, .cb = on_inventory};
    int err = ERR_INVAL;
    bool closed = false;
    assert_int_equal(put(1), OK);
    assert_int_equal(disks_inventory_start(disks, &inv), OK);
    called = false;
    disks_close_start(disks, on_open, &err);
    assert_int_equal(put(2), ERR_SHUTDOWN);
    for (unsigned n = 0; !closed; n++) {
        assert_true(n < ROUNDS_MAX);
        assert_true(fake_env_step(&fake));
        closed = err == OK;
    }
    assert_int_equal(inv.err, ERR_SHUTDOWN);
    disks_inventory_fini(&inv);
    again_with(7, NULL, 0);
    assert_int_equal(get(1), OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(puts_spread_and_are_found),
        CASE(a_retry_meets_the_put_under_way),
        CASE(only_all_full_is_no_space),
        CASE(a_disk_fails_alone),
        CASE(a_scrub_tells_the_disk),
        CASE(all_disks_fail),
        CASE(a_disk_is_missed_until_it_is_given_up),
        CASE(an_empty_directory_is_a_new_disk),
        CASE(one_disk_of_which_nothing_is_up),
        CASE(a_check_tells_the_state),
        CASE(an_inventory_has_each_shard_once),
        CASE(a_shard_on_two_disks_counts_once),
        CASE(a_closed_epoch_stays_closed),
        CASE(an_epoch_is_closed_after_the_puts_under_way),
        CASE(closing_ends_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
