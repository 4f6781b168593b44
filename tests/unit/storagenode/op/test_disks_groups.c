/* Several disks behind one interface: what is told of shards and groups, and what goes with a
 * group. */
#include "tests/unit/storagenode/op/disks_world.h"

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
    assert_true(pages_count(6, 0, 0) == 1 && pages_count(7, 0, 0) == 0);
    inv = (struct disks_inventory){.pg = 5, .older_than_ms = 1};
    inventory_run(&inv);
    assert_int_equal(inv.count, 0);
    inv = (struct disks_inventory){.pg = 5, .digests = true, .older_than_ms = 1};
    inventory_run(&inv); /* the young have no digest, and are present */
    assert_true(inv.hashes[0] == 0 && inv.present[0] == 0xf && inv.present[1] == 0);
    assert_true(disks_has_group(disks, 6) && del(9 * 256) == OK && !disks_has_group(disks, 6));
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
    assert_int_equal(put_of(4, 0, 5, 2), ERR_EPOCH);
    assert_int_equal(put_of_peer(4, 5, 2), OK); /* repair */
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

static int leave_since(uint32_t pg, uint64_t epoch, uint64_t since_ms)
{
    bool more;
    int err = disks_group_leave(disks, pg, epoch, since_ms, &more);
    return !err && more ? leave_since(pg, epoch, since_ms) : err;
}

static int leave_all(uint32_t pg, uint64_t epoch)
{
    return leave_since(pg, epoch, 0);
}

static void what_a_group_had_goes_when_it_is_left(void **state)
{
    (void)state;
    assert_int_equal(disks_epoch_close(disks, 5, 2), OK);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(put_of_peer(i, i % 3 ? 5 : 6, 2), OK);
    assert_int_equal(put_of(1, 7, 5, 2), OK); /* a second shard of the same blob */
    assert_int_equal(disks_epoch_close(disks, 5, 3), OK);
    assert_int_equal(leave_all(5, 3), ERR_NOT_READY); /* not durably */
    run_a_while(50);
    assert_int_equal(leave_all(5, 2), ERR_EPOCH); /* an older map */
    assert_int_equal(leave_all(5, 3), OK);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(look_at(i), i % 3 ? DISKS_SHARD_MISSING : DISKS_SHARD_PRESENT);
    idle();
    store_check(disks_store(disks, 0));
    assert_int_equal(put_of_peer(1, 5, 3), ERR_EPOCH); /* a repairer with an old map */
    assert_int_equal(put_of_peer(1, 5, 4), OK);        /* it is a member again */
    assert_int_equal(leave_all(5, 3), ERR_EPOCH);      /* this node's map does not know it yet */
    assert_int_equal(disks_epoch_close(disks, 5, 4), OK);
    run_a_while(50);
    again_with(7, NULL, 0);
    assert_int_equal(leave_all(5, 3), ERR_EPOCH); /* nor one that is behind after a restart */
    assert_int_equal(look_at(1), DISKS_SHARD_PRESENT);
}

static void what_another_cluster_had_stays(void **state)
{
    (void)state;
    uint64_t since_ms = 0;
    for (unsigned i = 0; i < 300; i++) {
        if (i == 200)
            since_ms = env_wall_ms(&fake.env);
        assert_int_equal(put_of_peer(i, 5, 2), OK);
        fake.now_ns += NS_PER_MS;
    }
    assert_int_equal(disks_epoch_close(disks, 5, 3), OK);
    run_a_while(50);
    for (unsigned turn = 0; turn < 2; turn++) {
        assert_int_equal(leave_since(5, 3, turn ? since_ms : since_ms + 1000000), OK);
        for (unsigned i = 0; i < 300; i++)
            assert_int_equal(look_at(i),
                             turn && i >= 200 ? DISKS_SHARD_MISSING : DISKS_SHARD_PRESENT);
    }
    idle();
    store_check(disks_store(disks, 0));
    assert_int_equal(leave_all(5, 3), OK);
    assert_false(disks_has_group(disks, 5));
}

/* With a put under way; and it stays so, without a word of the operator. */
static void a_disk_is_given_up_while_it_runs(void **state)
{
    (void)state;
    unsigned gone[2] = {0};
    size_t member;
    struct put p;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(put(i), OK);
    struct id128 id = store_disk_id(disks_store(disks, 1));
    assert_int_equal(put_start(&p, 30, 0, 1, 1), OK);
    assert_true(disks_give_up(disks, id, &member) == OK && member == 1);
    assert_int_equal(disks_give_up(disks, id, &member), ERR_NOT_FOUND); /* it is not up */
    wait();
    for (unsigned life = 0; life < 2; life++) {
        for (unsigned i = 0; i < 20; i++)
            gone[life] += get(i) == ERR_NOT_FOUND;
        assert_int_equal(del(25), OK); /* nobody waits for it */
        again_with(7, NULL, 0);
    }
    assert_in_range(gone[0], 1, 19);
    assert_int_equal(gone[0], gone[1]);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_check_tells_the_state),
        CASE(an_inventory_has_each_shard_once),
        CASE(a_shard_on_two_disks_counts_once),
        CASE(a_closed_epoch_stays_closed),
        CASE(an_epoch_is_closed_after_the_puts_under_way),
        CASE(what_a_group_had_goes_when_it_is_left),
        CASE(what_another_cluster_had_stays),
        CASE(a_disk_is_given_up_while_it_runs),
        CASE(closing_ends_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
