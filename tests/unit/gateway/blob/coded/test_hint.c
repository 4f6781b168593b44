/* Who is told of blobs that were acknowledged without every member's shard. */
#include "gateway/blob/internal.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/blob/coded/world.h"

static unsigned hints_of(const struct world *w)
{
    unsigned n = 0;
    for (int i = 0; i < NODES; i++)
        n += w->node[i].hints;
    return n;
}

/* One of nine, or of three copies, fails: with an error, by hanging, by being out of reach. */
static void a_member_that_has_its_shard_is_told(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 6; how++) {
        struct world w;
        struct writing x;
        world_init(&w);
        group_add(&w, how % 2 ? 5 : 0, 4, 0);
        w.record[1].draining = true; /* it is told if there is nobody else */
        w.node[0].put_err = how / 2 == 0 ? ERR_NOSPACE : OK;
        w.node[0].put_hangs = how / 2 == 1;
        w.node[0].peer->down = how / 2 == 2;
        uint64_t before = w.f.now_ns;
        assert_int_equal(write_run(&w, &x, BYTES), OK);
        assert_true(w.f.now_ns - before < NS_PER_SEC);
        fake_run(&w.f, 10 * NS_PER_SEC);
        assert_int_equal(hints_of(&w), 1);
        assert_int_equal(w.node[2].hints, 1);
        assert_int_equal(w.node[2].hinted, 1);
        assert_int_equal(w.node[2].hinted_pg, x.w.pg);
        assert_memory_equal(w.node[2].hinted_id, x.w.blob_id.bytes, ID_BYTES);
        assert_int_equal(stats(&w)->hints, 1);
        world_fini(&w);
    }
}

/* What is whole, and what lacks the shard of a node that is down. */
static void of_others_nobody_is_told(void **state)
{
    (void)state;
    for (unsigned down = 0; down < 2; down++) {
        struct world w;
        struct writing x;
        world_init(&w);
        group_add(&w, 5, 4, 0);
        w.record[4].state = down ? CAIRN__NODE_STATE__NODE_DOWN : CAIRN__NODE_STATE__NODE_UP;
        w.node[4].peer->down = down;
        assert_int_equal(write_run(&w, &x, BYTES), OK);
        fake_run(&w.f, 10 * NS_PER_SEC);
        assert_int_equal(puts_of(&w), 9 - down);
        assert_int_equal(hints_of(&w) + stats(&w)->hints_dropped, 0);
        world_fini(&w);
    }
}

/* While members change, both holders of a shard have to have it. */
static void the_next_members_count(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 0, 0, 0);
    change_begin(&w, 0, 3);
    w.node[3].put_err = ERR_NOSPACE;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    assert_int_equal(hints_of(&w), 1);
    assert_int_equal(w.node[0].hints, 1);
    world_fini(&w);
}

/* An attempt that failed; a write that won and was discarded before its last shard had ended, or
 * before anybody was told. */
static void of_what_is_discarded_nobody_is_told(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct world w;
        struct writing x;
        world_init(&w);
        group_add(&w, 0, 0, 0);
        w.node[0].put_hangs = how == 1;
        w.node[0].put_err = how == 1 ? OK : ERR_NOSPACE;
        w.node[1].put_err = how == 0 ? ERR_NOSPACE : OK;
        assert_int_equal(write_run(&w, &x, BYTES), how == 0 ? ERR_NO_QUORUM : OK);
        if (how > 0) {
            fake_run(&w.f, 20 * NS_PER_MS);
            blob_discard(w.bc, x.w.pg, x.w.blob_id);
        }
        fake_run(&w.f, 10 * NS_PER_SEC);
        assert_int_equal(hints_of(&w) + stats(&w)->hints_dropped, 0);
        world_fini(&w);
    }
}

/* They travel together, one call a node at a time. */
static void hints_are_gathered(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct id128 id = {{0}};
    world_init(&w);
    group_add(&w, 0, 0, 0);
    assert_int_equal(write_run(&w, &x, 1000), OK);
    for (unsigned i = 0; i < 2 * HINT_BLOBS_MAX + 10; i++) {
        memcpy(id.bytes, &i, sizeof(i));
        hint_add(w.bc, node_by_id(w.bc, "s1"), 7, id);
    }
    hint_add(w.bc, node_by_id(w.bc, "s1"), 8, id);
    hint_add(w.bc, node_by_id(w.bc, "s2"), 7, id);
    w.node[1].peer->latency_ns = 200 * NS_PER_MS;
    fake_run(&w.f, 450 * NS_PER_MS);
    assert_int_equal(w.node[2].hints, 1);
    assert_int_equal(w.node[1].hints, 1);
    assert_int_equal(w.node[1].hinted, HINT_BLOBS_MAX);
    fake_run(&w.f, 10 * NS_PER_SEC);
    assert_int_equal(w.node[1].hints, 4);
    assert_int_equal(w.node[1].hinted, 1);
    assert_int_equal(w.node[1].hinted_pg, 8);
    assert_int_equal(stats(&w)->hints, 2 * HINT_BLOBS_MAX + 12);
    world_fini(&w);
}

/* Whoever is told hangs, or does not know the call; what does not fit is dropped. */
static void hints_are_bounded(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct world w;
        struct writing x;
        struct id128 id = {{0}};
        world_init(&w);
        group_add(&w, 0, 0, 0);
        assert_int_equal(write_run(&w, &x, 1000), OK);
        w.node[1].mend_hangs = how == 0;
        w.node[1].mend_err = how == 1 ? ERR_UNIMPLEMENTED : OK;
        w.node[1].peer->down = how == 2;
        for (unsigned i = 0; i < HINTS_MAX + 5; i++)
            hint_add(w.bc, node_by_id(w.bc, "s1"), 7, id);
        assert_int_equal(stats(&w)->hints_dropped, 5);
        hint_forget(w.bc, (struct id128){{1}});
        fake_run(&w.f, NS_PER_SEC);
        if (how == 0)
            assert_int_equal(w.node[1].hints, 1);
        fake_run(&w.f, 60 * NS_PER_SEC);
        assert_int_equal(stats(&w)->hints_dropped, HINTS_MAX + 5);
        hint_add(w.bc, node_by_id(w.bc, "s1"), 7, id); /* still waiting when the client stops */
        blob_client_stop(w.bc);
        assert_int_equal(stats(&w)->hints_dropped, HINTS_MAX + 6);
        world_fini(&w);
    }
}

static void without_memory_it_is_dropped(void **state)
{
    (void)state;
    for (uint64_t at = 0;; at++) {
        struct world w;
        struct writing x;
        world_init(&w);
        group_add(&w, 0, 0, 0);
        w.node[0].put_hangs = true;
        assert_int_equal(write_run(&w, &x, 1000), OK);
        alloc_fail_at(at);
        fake_run(&w.f, 10 * NS_PER_SEC);
        bool failed = alloc_fail_end();
        assert_int_equal(stats(&w)->hints + stats(&w)->hints_dropped, 1);
        assert_true(failed || stats(&w)->hints == 1);
        world_fini(&w);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_that_has_its_shard_is_told),
        cmocka_unit_test(of_others_nobody_is_told),
        cmocka_unit_test(the_next_members_count),
        cmocka_unit_test(of_what_is_discarded_nobody_is_told),
        cmocka_unit_test(hints_are_gathered),
        cmocka_unit_test(hints_are_bounded),
        cmocka_unit_test(without_memory_it_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
