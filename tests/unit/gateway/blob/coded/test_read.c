/* Reading coded blobs, however shards are lost, late or damaged. */
#include "common/base/mutant.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/blob/coded/world.h"

static const struct {
    unsigned data, parity;
    size_t bytes;
} shapes[] = {{5, 4, BYTES}, {3, 3, BYTES}, {2, 1, 400000}, {5, 4, 2000000}};

static void every_loss_reads_back(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_COUNT(shapes); k++) {
        struct world w;
        struct writing x;
        struct reading r;
        unsigned n = shapes[k].data + shapes[k].parity;
        world_init(&w);
        group_add(&w, shapes[k].data, shapes[k].parity, 0);
        if (k == 2) /* a code that no zone's loss survives is for one zone */
            w.record[1].zone = w.record[2].zone = w.record[0].zone;
        assert_int_equal(write_run(&w, &x, shapes[k].bytes), OK);
        fake_run(&w.f, NS_PER_SEC);
        for (uint32_t lost = 0; lost < 1u << n; lost++) {
            unsigned count = (unsigned)__builtin_popcount(lost);
            if (count > shapes[k].parity || (k == 3 && count != 1 && count != 4))
                continue;
            for (unsigned i = 0; i < n; i++)
                w.node[i].lost = lost & 1u << i;
            assert_int_equal(read_run(&w, &r, &x.w, 0, shapes[k].bytes), OK);
            size_t at = lost * 7919 % shapes[k].bytes;
            assert_int_equal(read_run(&w, &r, &x.w, at, MIN(100000, shapes[k].bytes - at)), OK);
            assert_int_equal(read_run(&w, &r, &x.w, at, 1), OK);
        }
        assert_true(stats(&w)->read_decodes > 0);
        assert_int_equal(stats(&w)->read_failures, 0);
        world_fini(&w);
    }
}

static void too_few_is_an_error(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    for (int i = 0; i < 5; i++)
        w.node[2 * i].lost = true;
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), ERR_NO_QUORUM);
    assert_int_equal(read_run(&w, &r, &x.w, 0, 1), ERR_NO_QUORUM);
    assert_true(w.refreshes > 0);
    /* What is there can be read all the same. */
    assert_int_equal(read_run(&w, &r, &x.w, 131072, 131072), OK);
    /* One of them comes back: nothing was remembered against it. */
    w.node[0].lost = false;
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    world_fini(&w);
}

/* What is away for a moment is waited for. */
static void shards_may_come_back(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    for (int i = 0; i < 5; i++)
        w.node[i].peer->down = true;
    read_begin(&w, &r, &x.w, 0, BYTES);
    fake_run_until(&w.f, &r.done, 200 * NS_PER_MS);
    assert_false(r.done);
    w.node[4].peer->down = false;
    fake_run_until(&w.f, &r.done, NS_PER_SEC);
    assert_int_equal(r.r.err, OK);
    assert_memory_equal(r.r.data.bytes.ptr, content(), BYTES);
    payload_unref(&r.r.data);
    world_fini(&w);
}

static void range_touches_only_what_it_needs(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    assert_int_equal(read_run(&w, &r, &x.w, 131072 + 5, 1000), OK);
    assert_int_equal(read_run(&w, &r, &x.w, 131072 - 5, 10), OK);
    for (int i = 0; i < 9; i++)
        assert_int_equal(w.node[i].gets, i == 0 ? 1 : i == 1 ? 2 : 0);
    /* Of a lost shard: the same range of five others, once. */
    w.node[1].lost = true;
    assert_int_equal(read_run(&w, &r, &x.w, 131072 + 5, 1000), OK);
    unsigned gets = 0;
    for (int i = 0; i < 9; i++)
        gets += w.node[i].gets;
    assert_int_equal(gets, 3 + 1 + 5);
    /* A peer that is down is not even tried. */
    w.node[1].peer->down = true;
    assert_int_equal(read_run(&w, &r, &x.w, 131072 + 5, 1000), OK);
    assert_int_equal(stats(&w)->read_failovers, 1);
    world_fini(&w);
}

/* Reads a lost shard's range while another's answers are damaged.  Returns: were the bytes wrong?
 */
static bool decode_with_damage(bool summed)
{
    struct world w;
    struct writing x;
    struct reading r;
    bool wrong = false;
    world_init(&w);
    for (int i = 0; i < NODES; i++)
        w.node[i].peer->sums = summed;
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    w.node[2].lost = true;
    for (int i = 0; i < 9; i++) {
        w.node[i].damaged = true;
        assert_int_equal(read_run(&w, &r, &x.w, 2 * 131072 + 7, 100000), OK);
        wrong |= r.wrong;
        w.node[i].damaged = false;
    }
    assert_true(stats(&w)->read_corrupt > 0 || mutant_active);
    /* Four damaged ones and no more. */
    for (int i = 3; i < 6; i++)
        w.node[i].damaged = true;
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    wrong |= r.wrong;
    w.node[6].damaged = w.node[7].damaged = true;
    if (!mutant_active)
        assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), ERR_NO_QUORUM);
    world_fini(&w);
    return wrong;
}

static void damage_is_never_decoded(void **state)
{
    (void)state;
    assert_false(decode_with_damage(false));
    assert_false(decode_with_damage(true));
    mutant_active = MUTANT_DECODE_UNCHECKED;
    bool found = decode_with_damage(false);
    mutant_active = MUTANT_NONE;
    assert_true(found);
}

/* A damaged data shard is read as if it were lost. */
static void damaged_shard_is_decoded(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    for (int i = 0; i < 4; i++)
        w.node[i].damaged = true;
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    assert_true(stats(&w)->read_corrupt >= 4);
    world_fini(&w);
}

static void whole_blob_is_checked(void **state)
{
    (void)state;
    static const size_t sizes[] = {1000, BYTES};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct world w;
        struct writing x;
        world_init(&w);
        group_add(&w, 5, 4, 0);
        group_add(&w, 0, 0, 0);
        assert_int_equal(write_run(&w, &x, sizes[i]), OK);
        fake_run(&w.f, NS_PER_SEC);
        for (int wrong = 0; wrong < 2; wrong++) {
            struct reading r = {.r = {.pg = x.w.pg,
                                      .blob_id = x.w.blob_id,
                                      .blob_bytes = x.w.bytes,
                                      .bytes = x.w.bytes,
                                      .has_crc32c = true,
                                      .crc32c = x.w.crc32c ^ (uint32_t)wrong,
                                      .deadline_ns = w.f.now_ns + 20 * NS_PER_SEC,
                                      .cb = read_cb}};
            blob_read_start(w.bc, &r.r);
            fake_run_until(&w.f, &r.done, 60 * NS_PER_SEC);
            assert_int_equal(r.r.err, wrong ? ERR_CHECKSUM : OK);
            payload_unref(&r.r.data);
        }
        world_fini(&w);
    }
}

static void late_shard_is_decoded(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    for (int i = 0; i < 40; i++)
        assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    w.node[0].get_delay_ns = 2 * NS_PER_SEC;
    w.node[3].get_delay_ns = 2 * NS_PER_SEC; /* so is one that stands in */
    uint64_t before = w.f.now_ns;
    assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    assert_true(w.f.now_ns - before < 500 * NS_PER_MS);
    assert_true(stats(&w)->read_hedges >= 2);
    /* Not every read may be hedged. */
    uint64_t hedges = stats(&w)->read_hedges;
    for (int i = 0; i < 9; i++)
        w.node[i].get_delay_ns = NS_PER_SEC;
    for (int i = 0; i < 40; i++)
        assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    assert_true(stats(&w)->read_hedges - hedges <= 8);
    world_fini(&w);
}

static void slow_node_is_noticed_and_avoided(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    struct blob_node_view view;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    w.node[2].get_delay_ns = 300 * NS_PER_MS;
    for (int i = 0; i < 40; i++)
        assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    for (size_t i = 0; i < NODES; i++) {
        assert_true(blob_client_node(w.bc, i, &view));
        assert_int_equal(view.slow, strcmp(view.id, "s2") == 0);
        if (view.slow)
            assert_true(view.slow_ns > 5 * view.usual_ns);
    }
    assert_false(blob_client_node(w.bc, NODES, &view));
    /* It is done without, and quickly; */
    unsigned gets = w.node[2].gets;
    uint64_t before = w.f.now_ns;
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    assert_int_equal(w.node[2].gets, gets);
    assert_true(w.f.now_ns - before < 50 * NS_PER_MS);
    /* unless nobody else is left. */
    for (int i = 5; i < 9; i++)
        w.node[i].peer->down = true;
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    for (int i = 5; i < 9; i++)
        w.node[i].peer->down = false;
    /* Later it has another chance. */
    w.node[2].get_delay_ns = 0;
    fake_run(&w.f, 31 * NS_PER_SEC);
    gets = w.node[2].gets;
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    assert_true(w.node[2].gets > gets);
    world_fini(&w);
}

static void cancelled_read_ends_soon(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    for (int lost = 0; lost < 2; lost++) {
        w.node[0].lost = lost;
        for (uint64_t after = 0; after < 8; after++) {
            read_begin(&w, &r, &x.w, 0, BYTES);
            fake_run(&w.f, after * NS_PER_MS / 2);
            if (!r.done)
                blob_read_cancel(&r.r);
            fake_run_until(&w.f, &r.done, 10 * NS_PER_MS);
            assert_true(r.done);
            payload_unref(&r.r.data);
        }
    }
    read_begin(&w, &r, &x.w, 0, BYTES);
    blob_client_stop(w.bc);
    fake_run_until(&w.f, &r.done, 10 * NS_PER_MS);
    assert_true(r.done && r.r.err != OK);
    world_fini(&w);
}

/* A record whose range lies outside its own blob is an error, never a place in memory. */
static void unsound_range_is_an_error(void **state)
{
    (void)state;
    static const struct {
        uint64_t blob_bytes, offset, bytes;
    } ranges[] = {{0, 0, 1},
                  {BYTES, BYTES, 1},
                  {BYTES, 0, BYTES + 1},
                  {BYTES, UINT64_C(1) << 40, 1000},
                  {BYTES, UINT64_MAX, 2},
                  {UINT64_MAX, UINT64_MAX - 10, 100},
                  {UINT64_MAX, 0, 1}, /* larger than any blob */
                  {UINT64_MAX, 0, UINT64_C(1) << 62}};
    for (size_t i = 0; i < ARRAY_COUNT(ranges); i++) {
        struct world w;
        struct reading x = {.r = {.pg = 1,
                                  .blob_id = {{1}},
                                  .blob_bytes = ranges[i].blob_bytes,
                                  .offset = ranges[i].offset,
                                  .bytes = ranges[i].bytes,
                                  .cb = read_cb}};
        world_init(&w);
        group_add(&w, 5, 4, 0);
        x.r.deadline_ns = w.f.now_ns + 20 * NS_PER_SEC;
        blob_read_start(w.bc, &x.r);
        assert_false(x.done);
        fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
        assert_true(x.done);
        assert_int_not_equal(x.r.err, OK);
        world_fini(&w);
    }
}

/* The group turns out to be a coded one just when nobody wants the bytes any more. */
static void cancelled_read_starts_nothing_new(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    w.map.n_pgs = 0;
    w.map.version++;
    read_begin(&w, &r, &x.w, 0, BYTES);
    fake_run(&w.f, NS_PER_MS);
    blob_read_cancel(&r.r);
    w.map.n_pgs = 1;
    w.map.version++;
    fake_run_until(&w.f, &r.done, 10 * NS_PER_MS);
    assert_true(r.done);
    assert_int_equal(r.r.err, ERR_CANCELED);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(w.node[i].gets, 0);
    world_fini(&w);
}

static void group_may_appear_late(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    w.map.n_pgs = 0;
    w.map.version++;
    read_begin(&w, &r, &x.w, 0, BYTES);
    fake_run(&w.f, 10 * NS_PER_MS);
    w.map.n_pgs = 1;
    w.map.version++;
    fake_run_until(&w.f, &r.done, 60 * NS_PER_SEC);
    assert_int_equal(r.r.err, OK);
    assert_memory_equal(r.r.data.bytes.ptr, content(), BYTES);
    payload_unref(&r.r.data);
    world_fini(&w);
}

/* ---- memory ---- */

static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (int lost = 0; lost < 2; lost++) {
        bool more = true;
        for (uint64_t n = 0; more; n++) {
            struct world w;
            struct writing x;
            struct reading r;
            world_init(&w);
            group_add(&w, 5, 4, 0);
            content();
            memset(&x, 0, sizeof(x));
            w.node[0].lost = w.node[3].lost = lost;
            cairn__shard_owner__init(&x.owner);
            alloc_fail_at(n);
            int err =
                blob_segment_init(&x.segment, w.budget, BYTES, blob_parity_bytes(w.bc, (struct blob_scheme){0}, BYTES));
            if (err == OK) {
                blob_segment_append(&x.segment, SLICE(content(), BYTES));
                x.w.segment = &x.segment;
                x.w.owner = &x.owner;
                x.w.deadline_ns = w.f.now_ns + 3 * NS_PER_SEC;
                x.w.cb = write_cb;
                blob_write_start(w.bc, &x.w);
                fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
                assert_true(x.done);
                err = x.w.err;
            }
            if (err == OK)
                err = read_run(&w, &r, &x.w, 0, BYTES);
            more = alloc_fail_end();
            assert_true(err == OK || (more && err_class(err) != ERR_CLASS_PERMANENT));
            world_fini(&w);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loss_reads_back),
        cmocka_unit_test(too_few_is_an_error),
        cmocka_unit_test(shards_may_come_back),
        cmocka_unit_test(range_touches_only_what_it_needs),
        cmocka_unit_test(damage_is_never_decoded),
        cmocka_unit_test(damaged_shard_is_decoded),
        cmocka_unit_test(whole_blob_is_checked),
        cmocka_unit_test(late_shard_is_decoded),
        cmocka_unit_test(slow_node_is_noticed_and_avoided),
        cmocka_unit_test(cancelled_read_ends_soon),
        cmocka_unit_test(unsound_range_is_an_error),
        cmocka_unit_test(cancelled_read_starts_nothing_new),
        cmocka_unit_test(group_may_appear_late),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
