/* Several disks behind one interface: where puts go, what a disk that fails, is full, vanishes or
 * is given up means for the others. */
#include "tests/unit/storagenode/op/disks_world.h"

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

/* Its frame may be on the disk that failed: another disk's refusal does not undo that. */
static void a_refusal_elsewhere_settles_nothing(void **state)
{
    (void)state;
    struct put p;
    struct id128 id = blob(1);
    struct disks_delete d = {.blob_ids = &id, .count = 1, .cb = on_delete};
    assert_int_equal(put_start(&p, 1, 0, 1, 1), OK);
    disk_mem_fail(disk[p.put.at], DISK_WRITE, 1, ERR_IO, false);
    assert_int_equal(disks_delete_start(disks, &d), OK); /* marks where the put will go next */
    p.put.err = PENDING;
    while (p.put.err == PENDING)
        assert_true(fake_env_step(&fake));
    idle();
    assert_int_equal(failures, 1);
    assert_int_equal(look_at(1), DISKS_SHARD_DELETED);
    assert_int_equal(p.put.err,
                     ERR_IO); /* not ERR_CONDEMNED: that would say that nothing was kept */
}

/* A disk that was put in after the delete has no tombstone; the one that has, fails. */
static void a_failed_disk_remembers_what_was_deleted(void **state)
{
    (void)state;
    power_loss();
    for (unsigned i = 1; i < DISKS; i++) { /* new ones */
        kv_mem_free(kv[i]);
        disk_mem_free(disk[i]);
        disk[i] = disk_mem_new(
            &fake.env, &(struct disk_mem_config){.seed = 70 + i, .bytes_total = 16 * EXTENT_BYTES});
        kv[i] = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    }
    assert_int_equal(open_with(1, disk_ids + 1, DISKS - 1), OK);
    assert_int_equal(del(1), OK);
    again_with(3, NULL, 0);
    assert_int_equal(put(1), ERR_CONDEMNED);
    fail_disk(0, 100);
    assert_int_equal(put(1), ERR_CONDEMNED);
    assert_int_equal(put(2), OK);
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

static bool slow_of(size_t at)
{
    struct disks_status st;
    for (size_t pos = at; disks_status_next(disks, &pos, &st);)
        return st.slow;
    return false;
}

/* Opens the node with new disks, the second of which takes up to so long for each request. */
static void open_with_delay(unsigned mask, uint64_t delay_ns)
{
    power_loss();
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_free(disk[i]);
        kv_mem_free(kv[i]);
        disk[i] = disk_mem_new(
            &fake.env, &(struct disk_mem_config){.seed = 7 + i,
                                                 .bytes_total = 16 * EXTENT_BYTES,
                                                 .delay_ns_max = i == 1 ? delay_ns : NS_PER_MS});
        kv[i] = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    }
    assert_int_equal(open_with(mask, NULL, 0), OK);
}

static void a_slow_disk_is_noticed_and_avoided(void **state)
{
    (void)state;
    unsigned n = 1000;
    open_with_delay(7, 400 * NS_PER_MS);
    for (unsigned k = 0; k < 150 && !slow_of(1); k++)
        assert_int_equal(put(n++), OK);
    assert_true(slow_of(1));
    assert_false(slow_of(0) || slow_of(2));
    /* Others take what would go to it, */
    uint64_t had = shards_on(1);
    for (unsigned k = 0; k < 15; k++)
        assert_int_equal(put(n++), OK);
    assert_int_equal(shards_on(1), had);
    /* and later it has another chance. */
    fake.now_ns += 31 * NS_PER_SEC;
    assert_false(slow_of(1));
    for (unsigned k = 0; k < 15; k++)
        assert_int_equal(put(n++), OK);
    assert_true(shards_on(1) > had);
}

/* With nothing to compare it with, only what is slow by any measure is called so. */
static void a_slow_disk_alone(void **state)
{
    (void)state;
    open_with_delay(2, 300 * NS_PER_MS);
    for (unsigned n = 0; n < 40; n++)
        assert_int_equal(put(n), OK);
    assert_false(slow_of(0));
    open_with_delay(2, 8 * NS_PER_SEC);
    for (unsigned n = 0; n < 40; n++)
        assert_int_equal(put(n), OK);
    assert_true(slow_of(0));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(puts_spread_and_are_found),
        CASE(a_retry_meets_the_put_under_way),
        CASE(only_all_full_is_no_space),
        CASE(a_disk_fails_alone),
        CASE(a_refusal_elsewhere_settles_nothing),
        CASE(a_failed_disk_remembers_what_was_deleted),
        CASE(a_scrub_tells_the_disk),
        CASE(all_disks_fail),
        CASE(a_disk_is_missed_until_it_is_given_up),
        CASE(a_slow_disk_is_noticed_and_avoided),
        CASE(a_slow_disk_alone),
        CASE(an_empty_directory_is_a_new_disk),
        CASE(one_disk_of_which_nothing_is_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
