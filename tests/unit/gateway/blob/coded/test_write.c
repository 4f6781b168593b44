/* Writing to coded groups: what goes where, and when it counts. */
#include "common/base/mutant.h"
#include "tests/unit/gateway/blob/coded/world.h"

static void large_is_coded_small_is_copied(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100000, REPLICATED, REPLICATED + 1, BYTES, 4 << 20};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct world w;
        struct writing x;
        struct reading r;
        world_init(&w);
        group_add(&w, 5, 4, 0);
        group_add(&w, 0, 0, 9);
        assert_int_equal(write_run(&w, &x, sizes[i]), OK);
        fake_run(&w.f, NS_PER_SEC);
        bool coded = sizes[i] > REPLICATED;
        assert_int_equal(x.w.pg, coded ? 1 : 2);
        assert_int_equal(stats(&w)->coded_writes, coded);
        assert_int_equal(puts_of(&w), coded ? 9 : 3);
        for (unsigned k = 0; k < 9 && coded; k++) {
            const struct shard *s = &w.node[k].shards[0];
            assert_int_equal(s->index, k);
            assert_int_equal(s->data_shards, 5);
            assert_int_equal(s->parity_shards, 4);
            assert_int_equal(s->blob_bytes, sizes[i]);
            assert_int_equal(s->data->len, ec_shard_bytes(5, sizes[i]));
        }
        assert_int_equal(read_run(&w, &r, &x.w, 0, sizes[i]), OK);
        assert_int_equal(stats(&w)->read_decodes, 0);
        world_fini(&w);
    }
}

/* How many of nine must be durable; the others hang.  Returns: was it acknowledged? */
static bool acknowledged_with(unsigned durable, bool zone_down)
{
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    /* The nodes of zone 0 are the first to hang. */
    static const unsigned order[] = {0, 3, 6, 1, 4, 7, 2, 5, 8};
    for (unsigned i = 0; i < 9 - durable; i++)
        w.node[order[i]].put_hangs = true;
    for (unsigned i = 0; i < NODES && zone_down; i += 3)
        w.record[i].state = i % 2 ? CAIRN__NODE_STATE__NODE_DOWN : CAIRN__NODE_STATE__NODE_LOST;
    write_start(&w, &x, BYTES);
    fake_run_until(&w.f, &x.done, NS_PER_SEC);
    bool ret = x.done && x.w.err == OK;
    fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
    assert_true(x.done);
    world_fini(&w);
    return ret;
}

static void counts_once_any_zone_may_go(void **state)
{
    (void)state;
    assert_true(acknowledged_with(9, false));
    assert_true(acknowledged_with(8, false));
    assert_false(acknowledged_with(7, false));
    assert_false(acknowledged_with(6, false));
    assert_false(acknowledged_with(5, false));
    mutant_active = MUTANT_CODED_WITHOUT_ZONE;
    bool found = acknowledged_with(6, false);
    mutant_active = MUTANT_NONE;
    assert_true(found);
}

static void counts_at_one_more_while_a_zone_is_down(void **state)
{
    (void)state;
    assert_true(acknowledged_with(6, true));
    assert_false(acknowledged_with(5, true));
}

static void copies_where_no_code_can_count(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    group_add(&w, 5, 4, 9);
    group_add(&w, 0, 0, 0);
    /* A zone does not answer and is not declared down: 6 of 9 are not enough. */
    for (int i = 0; i < NODES; i += 3)
        w.node[i].peer->down = true;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    assert_int_equal(x.w.pg, 3);
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    /* A zone is declared down, and one more node is gone: k + 1 is what is left nowhere. */
    for (int i = 0; i < NODES; i += 3)
        w.record[i].state = CAIRN__NODE_STATE__NODE_DOWN;
    w.map.version++;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    assert_true(x.w.pg != 3);
    w.node[4].peer->down = w.node[13].peer->down = true;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    assert_int_equal(x.w.pg, 3);
    world_fini(&w);
}

static void copies_after_codes_failed(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    group_add(&w, 5, 4, 9);
    group_add(&w, 0, 0, 0);
    /* Found out only by trying; what failed attempts left is deleted. */
    w.node[0].put_err = w.node[3].put_err = w.node[9].put_err = w.node[12].put_err = ERR_NOSPACE;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    assert_int_equal(x.w.pg, 3);
    assert_int_equal(stats(&w)->write_retries, 2);
    fake_run(&w.f, NS_PER_SEC);
    for (int i = 0; i < NODES; i++)
        for (unsigned k = 0; k < w.node[i].shard_count; k++)
            assert_int_equal(w.node[i].shards[k].deleted,
                             memcmp(w.node[i].shards[k].blob_id, x.w.blob_id.bytes, ID_BYTES) != 0);
    world_fini(&w);
}

static void full_group_is_left_for_another(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    group_add(&w, 5, 4, 9);
    w.node[0].put_err = w.node[3].put_err = ERR_NOSPACE;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(write_run(&w, &x, BYTES), OK);
        assert_int_equal(x.w.pg, 2);
        assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
        fake_run(&w.f, 5 * NS_PER_SEC); /* suspicion ends */
    }
    assert_true(stats(&w)->write_retries > 0);
    world_fini(&w);
}

static void draining_and_down_count_against_a_group(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    group_add(&w, 5, 4, 9);
    w.record[2].draining = true;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(write_run(&w, &x, BYTES), OK);
        assert_int_equal(x.w.pg, 2);
    }
    w.record[10].state = w.record[11].state = CAIRN__NODE_STATE__NODE_DOWN;
    w.map.version++;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(write_run(&w, &x, BYTES), OK);
        assert_int_equal(x.w.pg, 1); /* better than one that cannot count */
    }
    world_fini(&w);
}

/* Groups fill in proportion to their space. */
static void space_is_weighed(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    unsigned of_large = 0;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    group_add(&w, 5, 4, 9);
    for (int i = 0; i < NODES; i++)
        w.record[i].bytes_total = i < 9 ? 1ull << 40 : 4ull << 40;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(write_run(&w, &x, REPLICATED + 1), OK);
        of_large += x.w.pg == 2;
        fake_run(&w.f, NS_PER_SEC / 10);
    }
    assert_in_range(of_large, 30, 48); /* 40, give or take */
    world_fini(&w);
}

static void old_epoch_is_tried_again_with_the_new(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    for (int i = 0; i < 9; i++)
        w.node[i].epoch_min = 7;
    w.refresh_ends_change = true;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    assert_int_equal(x.w.pg, 1);
    assert_true(w.refreshes > 0);
    world_fini(&w);

    /* A map that never comes is waited for until the deadline, no longer. */
    world_init(&w);
    group_add(&w, 5, 4, 0);
    for (int i = 0; i < 9; i++)
        w.node[i].epoch_min = 7;
    assert_int_equal(write_run(&w, &x, BYTES), ERR_TIMEOUT);
    world_fini(&w);
}

static void a_change_needs_the_quorum_in_both(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct world w;
        struct writing x;
        struct reading r;
        world_init(&w);
        group_add(&w, 5, 4, 0);
        change_begin(&w, 0, 9);
        /* 0: all answer; 1: two new members do not; 2: two old ones. */
        if (which)
            w.node[which == 1 ? 9 : 0].put_hangs = w.node[which == 1 ? 10 : 1].put_hangs = true;
        write_start(&w, &x, BYTES);
        fake_run_until(&w.f, &x.done, NS_PER_SEC);
        assert_int_equal(x.done, which == 0);
        if (which == 0) {
            fake_run(&w.f, NS_PER_SEC);
            for (unsigned i = 0; i < 18; i++)
                assert_int_equal(w.node[i].shards[0].index, i % 9);
            /* Either holder will do. */
            for (unsigned i = 0; i < 9; i++)
                w.node[i % 2 ? i : 9 + i].lost = true;
            assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
            assert_int_equal(stats(&w)->read_decodes, 0);
            unsigned deletes = 0;
            blob_discard(w.bc, x.w.pg, x.w.blob_id);
            fake_run(&w.f, NS_PER_SEC);
            for (unsigned i = 0; i < 18; i++)
                deletes += w.node[i].deletes;
            assert_int_equal(deletes, 18);
        }
        fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
        assert_int_equal(x.w.err == OK, which == 0);
        world_fini(&w);
    }
}

static void copies_change_members_too(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 0, 0, 0);
    change_begin(&w, 0, 2); /* 0, 1, 2 → 2, 3, 4: node 2 holds another shard then */
    assert_int_equal(write_run(&w, &x, 1000), OK);
    fake_run(&w.f, NS_PER_SEC);
    assert_int_equal(puts_of(&w), 6);
    w.node[0].lost = w.node[1].lost = w.node[2].lost = w.node[4].lost = true;
    assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    w.node[3].put_hangs = w.node[4].put_hangs = true;
    write_start(&w, &x, 1000);
    fake_run_until(&w.f, &x.done, NS_PER_SEC);
    assert_false(x.done);
    fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
    world_fini(&w);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    struct world w;
    struct writing x[7];
    world_init(&w);
    group_add(&w, 5, 4, 0);
    size_t bytes = 4 << 20, parity = blob_parity_bytes(w.bc, bytes);
    assert_true(parity < bytes); /* 4 of 5 shards, and less than 3 % */
    w.node[8].put_hangs = true;
    for (int i = 0; i < 7; i++)
        write_start(&w, &x[i], bytes);
    assert_int_equal(w.budget->used, 7 * (bytes + parity));
    struct blob_segment more = {0};
    assert_int_equal(blob_segment_init(&more, w.budget, 12 << 20, parity), ERR_LIMIT);
    assert_int_equal(w.budget->used, 7 * (bytes + parity)); /* both or none */
    assert_int_equal(blob_segment_init(&more, w.budget, 12 << 20, 0), OK);
    blob_segment_fini(&more);
    for (int i = 0; i < 7; i++)
        fake_run_until(&w.f, &x[i].done, NS_PER_SEC);
    assert_int_equal(w.budget->used, 7 * (bytes + parity)); /* stragglers */
    fake_run(&w.f, 4 * NS_PER_SEC);
    assert_int_equal(w.budget->used, 0);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_is_coded_small_is_copied),
        cmocka_unit_test(counts_once_any_zone_may_go),
        cmocka_unit_test(counts_at_one_more_while_a_zone_is_down),
        cmocka_unit_test(copies_where_no_code_can_count),
        cmocka_unit_test(copies_after_codes_failed),
        cmocka_unit_test(full_group_is_left_for_another),
        cmocka_unit_test(draining_and_down_count_against_a_group),
        cmocka_unit_test(space_is_weighed),
        cmocka_unit_test(old_epoch_is_tried_again_with_the_new),
        cmocka_unit_test(a_change_needs_the_quorum_in_both),
        cmocka_unit_test(copies_change_members_too),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
