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

/* What lies in the zone that is declared down does not count, though its nodes answer: the root
 * may know better, and the promise holds for that very zone. */
static void the_zone_that_is_down_does_not_count(void **state)
{
    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        struct world w;
        struct writing x;
        world_init(&w);
        group_add(&w, 5, 4, 0);
        for (unsigned i = 0; i < NODES; i += 3)
            w.record[i].state = CAIRN__NODE_STATE__NODE_DOWN;
        /* Six of nine answer: all of the zone that is down, three others. */
        w.node[1].put_hangs = silent == 0;
        w.node[4].put_hangs = w.node[7].put_hangs = silent == 0;
        w.node[0].put_hangs = w.node[3].put_hangs = w.node[6].put_hangs = silent == 1;
        write_start(&w, &x, BYTES);
        fake_run_until(&w.f, &x.done, NS_PER_SEC);
        assert_int_equal(x.done, silent == 1);
        fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
        assert_int_equal(x.w.err == OK, silent == 1);
        world_fini(&w);
    }
}

/* A lost node's disks may have been given up: what it acknowledges is never trusted again. */
static void a_lost_node_does_not_count(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    w.record[0].state = CAIRN__NODE_STATE__NODE_LOST;
    w.node[1].put_hangs = true;
    write_start(&w, &x, BYTES);
    fake_run_until(&w.f, &x.done, NS_PER_SEC);
    assert_false(x.done);
    fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
    assert_int_not_equal(x.w.err, OK);
    w.node[1].put_hangs = false;
    fake_run(&w.f, 5 * NS_PER_SEC);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    world_fini(&w);
}

/* The zone is up again, for all this gateway knows, before enough shards are durable: what counts
 * is the rule at the moment of the acknowledgement. */
static void a_zone_comes_up_in_the_middle(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    for (unsigned i = 0; i < NODES; i += 3) {
        w.record[i].state = CAIRN__NODE_STATE__NODE_DOWN;
        w.node[i].put_hangs = true;
    }
    for (unsigned i = 0; i < NODES; i++)
        w.node[i].peer->latency_ns = 100 * NS_PER_MS;
    write_start(&w, &x, BYTES);
    fake_run(&w.f, 10 * NS_PER_MS);
    for (unsigned i = 0; i < NODES; i += 3)
        w.record[i].state = CAIRN__NODE_STATE__NODE_UP;
    w.map.version++;
    fake_run_until(&w.f, &x.done, NS_PER_SEC);
    assert_false(x.done); /* six of nine: the loss of a zone would leave three */
    fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
    world_fini(&w);
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
    assert_true(x.w.pg == 3 && x.w.interim);
    assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
    /* A zone is declared down, and one more node is gone: k + 1 is what is left nowhere. */
    for (int i = 0; i < NODES; i += 3)
        w.record[i].state = CAIRN__NODE_STATE__NODE_DOWN;
    w.map.version++;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    assert_true(x.w.pg != 3 && !x.w.interim);
    w.node[4].peer->down = w.node[13].peer->down = true;
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    assert_true(x.w.pg == 3 && x.w.interim);
    assert_int_equal(write_run(&w, &x, REPLICATED), OK);
    assert_true(x.w.pg == 3 && !x.w.interim); /* it was never meant for a code */
    world_fini(&w);
}

/* A segment that is small enough for copies, and was not when it was written first. */
static int write_coded(struct world *w, struct writing *x)
{
    enum { SMALL = 70000 };
    memset(x, 0, sizeof(*x));
    cairn__shard_owner__init(&x->owner);
    assert_int_equal(blob_segment_init(&x->segment, w->budget, SMALL,
                                       blob_code_bytes(w->bc, (struct blob_scheme){0}, SMALL)),
                     OK);
    assert_int_equal(blob_segment_append(&x->segment, SLICE(content(), SMALL)), SMALL);
    x->w = (struct blob_write){.segment = &x->segment,
                               .owner = &x->owner,
                               .coded_only = true,
                               .deadline_ns = w->f.now_ns + 30 * NS_PER_SEC,
                               .cb = write_cb};
    blob_write_start(w->bc, &x->w);
    fake_run_until(&w->f, &x->done, 60 * NS_PER_SEC);
    assert_true(x->done);
    return x->w.err;
}

/* What was written as copies is written again as shards, or not at all. */
static void coded_only_waits_for_healing(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    group_add(&w, 0, 0, 0);
    for (int step = 0; step < 3; step++) {
        /* A zone is declared down: k + 1 could be had.  Then it does not answer, and nobody has
         * said so.  Then all is well. */
        for (int i = 0; i < NODES; i += 3) {
            w.record[i].state =
                step == 0 ? CAIRN__NODE_STATE__NODE_DOWN : CAIRN__NODE_STATE__NODE_UP;
            w.node[i].peer->down = step == 1;
        }
        w.map.version++;
        assert_int_equal(blob_can_code(w.bc), step == 2);
        assert_int_equal(write_coded(&w, &x), step == 2 ? OK : ERR_NO_QUORUM);
        assert_true(step < 2 || (x.w.pg == 1 && !x.w.interim));
    }
    /* However often it fails. */
    w.node[0].put_err = w.node[3].put_err = ERR_NOSPACE;
    assert_int_equal(write_coded(&w, &x), ERR_NO_QUORUM);
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

/* Bad memory: nothing is sent, and it is told. */
static void what_changed_in_memory_is_not_sent(void **state)
{
    (void)state;
    for (unsigned shard = 0; shard < 4; shard++) {
        struct world w;
        struct writing x = {0};
        world_init(&w);
        group_add(&w, 5, 4, 0);
        cairn__shard_owner__init(&x.owner);
        assert_int_equal(blob_segment_init(&x.segment, w.budget, BYTES,
                                           blob_parity_bytes(w.bc, (struct blob_scheme){0}, BYTES)),
                         OK);
        assert_int_equal(blob_segment_append(&x.segment, SLICE(content(), BYTES)), BYTES);
        x.segment.buf->data[shard * 131072 + 77] ^= 8;
        x.w = (struct blob_write){.segment = &x.segment,
                                  .owner = &x.owner,
                                  .deadline_ns = w.f.now_ns + 30 * NS_PER_SEC,
                                  .cb = write_cb};
        blob_write_start(w.bc, &x.w);
        fake_run_until(&w.f, &x.done, NS_PER_SEC);
        assert_true(x.done);
        assert_int_equal(x.w.err, ERR_CORRUPT);
        assert_int_equal(puts_of(&w), 0);
        assert_int_equal(stats(&w)->proofs_failed, 1);
        world_fini(&w);
    }
}

/* A full node takes no writes for a while; it is read as before. */
static void full_nodes_are_read(void **state)
{
    (void)state;
    struct world w;
    struct writing x, y;
    struct reading r;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    assert_int_equal(write_run(&w, &x, BYTES), OK);
    fake_run(&w.f, NS_PER_SEC);
    group_add(&w, 5, 4, 9);
    w.map.version++;
    w.node[0].put_err = w.node[1].put_err = ERR_NOSPACE;
    for (int i = 0; i < 4; i++) {
        unsigned puts = w.node[0].puts;
        do
            assert_int_equal(write_run(&w, &y, BYTES), OK);
        while (w.node[0].puts == puts);
        assert_int_equal(y.w.pg, 2);
        assert_int_equal(read_run(&w, &r, &x.w, 0, BYTES), OK);
        assert_int_equal(stats(&w)->read_decodes, 0);
        /* It is not asked again at once. */
        puts = w.node[0].puts;
        for (int k = 0; k < 3; k++)
            assert_int_equal(write_run(&w, &y, BYTES), OK);
        assert_int_equal(w.node[0].puts, puts);
        fake_run(&w.f, 5 * NS_PER_SEC);
    }
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

/* Nodes of the same size, some of which are nearly full: what is free decides, not the size. */
static void free_space_is_weighed(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    unsigned of_empty = 0, of_first = 0;
    world_init(&w);
    group_add(&w, 5, 4, 0);
    group_add(&w, 5, 4, 9);
    for (int i = 0; i < NODES; i++) {
        w.record[i].bytes_total = w.node[i].bytes_total = 1ull << 40;
        w.node[i].bytes_free = 9ull << 36;
    }
    w.node[4].bytes_free = 1ull << 36; /* the fullest member counts */
    for (int i = 0; i < 60; i++) {
        assert_int_equal(write_run(&w, &x, REPLICATED + 1), OK);
        of_empty += i >= 10 && x.w.pg == 2;
        fake_run(&w.f, NS_PER_SEC / 10);
    }
    assert_in_range(of_empty, 38, 50); /* 45, give or take */
    /* It has room again, and nobody writes for a while: what was heard long ago does not count. */
    w.node[4].bytes_free = 9ull << 36;
    fake_run(&w.f, 120 * NS_PER_SEC);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(write_run(&w, &x, REPLICATED + 1), OK);
        of_first += x.w.pg == 1;
        fake_run(&w.f, NS_PER_SEC / 10);
    }
    assert_in_range(of_first, 18, 42);
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

/* One or two, and more to come: what the few can promise is asked of them, not more. */
static void copies_become_more(void **state)
{
    (void)state;
    for (unsigned now = 1; now < 3; now++) {
        struct world w;
        struct writing x;
        struct reading r;
        world_init(&w);
        group_add(&w, 0, 0, 0);
        change_begin(&w, 0, 0); /* 0, 1, 2 next */
        w.pg[0].n_members = now;
        assert_int_equal(write_run(&w, &x, 1000), OK);
        fake_run(&w.f, NS_PER_SEC);
        assert_int_equal(puts_of(&w), 3);
        w.node[0].lost = w.node[1].lost = true;
        assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
        w.node[2].put_hangs = true; /* two zones of three will do */
        assert_int_equal(write_run(&w, &x, 1000), OK);
        w.node[0].put_hangs = true; /* but not without the old member */
        w.node[2].put_hangs = false;
        write_start(&w, &x, 1000);
        fake_run_until(&w.f, &x.done, NS_PER_SEC);
        assert_false(x.done);
        fake_run_until(&w.f, &x.done, 60 * NS_PER_SEC);
        world_fini(&w);
    }
}

static void memory_is_bounded(void **state)
{
    (void)state;
    struct world w;
    struct writing x[7];
    world_init(&w);
    group_add(&w, 5, 4, 0);
    size_t bytes = 4 << 20, parity = blob_parity_bytes(w.bc, (struct blob_scheme){0}, bytes);
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

/* Which group a blob of that scheme went to, of: 1 is 5+4, 2 is 3+3, 3 is 4+2, 4 is copies. */
/* It is flagged with the code that it waits for, if it should have had one. */
static uint32_t group_of(struct world *w, struct blob_scheme scheme)
{
    struct writing x;
    w->scheme = scheme;
    assert_int_equal(write_run(w, &x, BYTES), OK);
    fake_run(&w->f, NS_PER_SEC);
    uint32_t code = scheme.data ? scheme.data << 8 | scheme.parity : 1;
    assert_int_equal(x.w.interim, x.w.pg == 4 && scheme.data != 1 ? code : 0);
    struct blob_scheme again = blob_interim_scheme(code);
    assert_true(again.data == scheme.data && again.parity == scheme.parity);
    return x.w.pg;
}

static void groups_open(struct world *w, const struct blob_config *config)
{
    world_init_with(w, config);
    group_add(w, 5, 4, 0);
    group_add(w, 3, 3, 9);
    group_add(w, 4, 2, 3);
    group_add(w, 0, 0, 12);
}

/* Six nodes in each of three zones: STANDARD is 5+4 unless its schemes are stated. */
static void a_class_has_groups_of_its_own(void **state)
{
    (void)state;
    const struct blob_scheme any = {0}, copies = {1, 2}, rs33 = {3, 3}, rs42 = {4, 2},
                             rs54 = {5, 4};
    const struct blob_config plain = {.zone = "z1"},
                             with_classes = {.zone = "z1",
                                             .classes = {{3, 3}, {4, 2}, {1, 2}, {5, 4}},
                                             .class_count = 4},
                             stated = {.zone = "z1",
                                       .classes = {{5, 4}, {4, 2}},
                                       .class_count = 2,
                                       .standard = {{3, 3}, {1, 2}},
                                       .standard_count = 2};
    static const unsigned rounds = 12;
    struct world w;
    groups_open(&w, &with_classes);
    for (unsigned i = 0; i < rounds; i++) {
        assert_int_equal(group_of(&w, any), 1);
        assert_int_equal(group_of(&w, rs54), 1);
        assert_int_equal(group_of(&w, rs33), 2);
        assert_int_equal(group_of(&w, rs42), 3);
        assert_int_equal(group_of(&w, copies), 4);
    }
    for (unsigned i = 3; i < 9; i++)
        w.node[i].peer->down = true;         /* 4+2's group, and most of 5+4's */
    assert_int_equal(group_of(&w, rs42), 4); /* copies, not another class's groups */
    assert_int_equal(group_of(&w, rs33), 2);
    world_fini(&w);
    groups_open(&w, &stated);
    for (unsigned i = 0; i < rounds; i++) {
        assert_int_equal(group_of(&w, any), 2);
        assert_int_equal(group_of(&w, rs54), 1);
    }
    world_fini(&w);
    bool seen[5] = {false};
    groups_open(&w, &plain); /* no classes: every coded group is STANDARD's */
    for (unsigned i = 0; i < 4 * rounds; i++)
        seen[group_of(&w, any)] = true;
    assert_true(seen[1] && seen[2] && seen[3] && !seen[4]);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_is_coded_small_is_copied),
        cmocka_unit_test(counts_once_any_zone_may_go),
        cmocka_unit_test(counts_at_one_more_while_a_zone_is_down),
        cmocka_unit_test(the_zone_that_is_down_does_not_count),
        cmocka_unit_test(a_lost_node_does_not_count),
        cmocka_unit_test(a_zone_comes_up_in_the_middle),
        cmocka_unit_test(copies_where_no_code_can_count),
        cmocka_unit_test(coded_only_waits_for_healing),
        cmocka_unit_test(copies_after_codes_failed),
        cmocka_unit_test(full_group_is_left_for_another),
        cmocka_unit_test(what_changed_in_memory_is_not_sent),
        cmocka_unit_test(full_nodes_are_read),
        cmocka_unit_test(draining_and_down_count_against_a_group),
        cmocka_unit_test(space_is_weighed),
        cmocka_unit_test(free_space_is_weighed),
        cmocka_unit_test(old_epoch_is_tried_again_with_the_new),
        cmocka_unit_test(a_change_needs_the_quorum_in_both),
        cmocka_unit_test(copies_change_members_too),
        cmocka_unit_test(copies_become_more),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_class_has_groups_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
