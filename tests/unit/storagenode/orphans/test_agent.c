/* Orphans from beginning to end: storage nodes ask, the partition decides, its queue deletes. */
#include "common/base/check.h"
#include "common/obs/metrics.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/storagenode/orphans/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void what_nothing_refers_to_goes(void **state)
{
    (void)state;
    struct world w;
    struct id128 kept[3], orphan[2];
    world_init(&w);
    for (unsigned i = 0; i < 3; i++)
        kept[i] = blob_new(&w, i == 2 ? "b" : "a");
    orphan[0] = blob_new(&w, "a");
    orphan[1] = blob_new(&w, "never");
    assert_int_equal(put_object(&w, "a", kept, 2), OK);
    assert_int_equal(put_object(&w, "b", &kept[2], 1), OK);
    agents_start(&w);
    run_hours(&w, 0.95);
    assert_int_equal(w.asked, 0); /* they are too young */
    run_hours(&w, 0.15);
    assert_int_equal(index_condemned_count(w.index), 2);
    assert_int_equal(index_deletion_count(w.index), 2); /* each once, whoever asked */
    /* Nothing goes but by the queue. */
    assert_int_equal(holders(&w, orphan[0]) + holders(&w, orphan[1]), 2 * NODES);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, orphan[0]) + holders(&w, orphan[1]), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(holders(&w, kept[i]), NODES);
    for (unsigned i = 0; i < NODES; i++) {
        struct orphans_stats st = node_stats(&w.node[i]);
        assert_true(st.confirmed == 3 && st.condemned >= 2 && st.walks >= 20 && st.left == 0);
    }
    /* What is confirmed is not asked about again. */
    unsigned asked = w.asked;
    run_hours(&w, 3);
    assert_int_equal(w.asked, asked);
    /* And goes when its record goes. */
    assert_int_equal(delete_object(&w, "a"), OK);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, kept[0]) + holders(&w, kept[1]), 0);
    assert_int_equal(holders(&w, kept[2]), NODES);
    world_fini(&w);
}

/* ---- clocks ---- */

/* Its owner is still writing: `late` hours after the blob was made it proposes. */
static void write_under_a_wrong_clock(int64_t skew_ms, double late)
{
    struct world w;
    world_init(&w);
    struct id128 b = blob_new(&w, "k");
    for (unsigned i = 0; i < NODES; i++)
        w.node[i].clock.skew_ms = i == 1 ? 0 : skew_ms;
    agents_start(&w);
    run_hours(&w, late);
    if (skew_ms > 0)
        assert_true(w.asked > 0 && node_stats(&w.node[0]).young > 0 &&
                    node_stats(&w.node[0]).left == 1);
    assert_int_equal(index_condemned_count(w.index), 0);
    assert_int_equal(put_object(&w, "k", &b, 1), OK);
    run_hours(&w, 6);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, b), NODES);
    assert_int_equal(node_stats(&w.node[1]).confirmed, 1);
    world_fini(&w);
}

static void a_clock_that_is_ahead_loses_nothing(void **state)
{
    (void)state;
    write_under_a_wrong_clock(5 * 3600000, 0.9);
    write_under_a_wrong_clock(INT64_C(20) * 365 * 24 * 3600000, 0.5);
}

static void a_clock_that_is_behind_loses_nothing(void **state)
{
    (void)state;
    write_under_a_wrong_clock(-5 * 3600000, 0.9);
    write_under_a_wrong_clock(-INT64_C(1700000000000), 0.9); /* 1970 */
}

/* The others ask, and the queue reaches the node whatever its clock says. */
static void a_wrong_clock_keeps_nothing(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct id128 b = blob_new(&w, "k");
    w.node[0].clock.skew_ms = -50 * 3600000;
    w.node[2].clock.skew_ms = 50 * 3600000;
    agents_start(&w);
    run_hours(&w, 1.2);
    assert_int_equal(index_condemned_count(w.index), 1);
    assert_int_equal(node_stats(&w.node[0]).asked, 0);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, b), 0);
    world_fini(&w);
}

/* ---- nodes that are away ---- */

static void nothing_comes_back(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct id128 orphan = blob_new(&w, "never"), kept = blob_new(&w, "k");
    assert_int_equal(put_object(&w, "k", &kept, 1), OK);
    agents_start(&w);
    run_hours(&w, 0.8);
    node_down(&w.node[2]);
    run_hours(&w, 0.4);
    assert_int_equal(index_condemned_count(w.index), 1);
    assert_int_equal(delete_object(&w, "k"), OK);
    assert_int_equal(drain(&w, NULL), 2); /* the queue waits for it */
    assert_int_equal(holders(&w, orphan) + holders(&w, kept), 0);
    run_hours(&w, 10); /* the condemned row has expired by then */
    assert_int_equal(delete_object(&w, "other"), OK);
    assert_int_equal(index_condemned_count(w.index), 0);
    node_up(&w.node[2], true);
    run_hours(&w, 0.2);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, orphan) + holders(&w, kept), 0);
    run_hours(&w, 3);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, orphan) + holders(&w, kept), 0);
    world_fini(&w);
}

/* The queue did not wait for it, because it was given up, and yet it is back: what it has is
 * condemned anew when the first Condemn has been forgotten. */
static void what_a_lost_node_brings_back_goes(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct id128 orphan = blob_new(&w, "never");
    agents_start(&w);
    run_hours(&w, 0.8);
    node_down(&w.node[2]);
    run_hours(&w, 0.4);
    assert_int_equal(drain(&w, &w.node[2]), 0);
    node_up(&w.node[2], true);
    assert_int_equal(holders(&w, orphan), 1);
    run_hours(&w, 2);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, orphan), 0);
    world_fini(&w);
}

/* ---- marks ---- */

static void a_lost_mark_is_asked_again(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct id128 b = blob_new(&w, "k");
    assert_int_equal(put_object(&w, "k", &b, 1), OK);
    agents_start(&w);
    run_hours(&w, 1.1);
    assert_int_equal(node_stats(&w.node[0]).confirmed, 1);
    run_hours(&w, 0.1); /* the index is flushed */
    node_down(&w.node[0]);
    node_up(&w.node[0], true);
    run_hours(&w, 1);
    assert_int_equal(node_stats(&w.node[0]).asked, 0); /* it knows */
    node_down(&w.node[0]);
    kv_mem_free(w.node[0].kv); /* the index is built anew from the extents */
    w.node[0].kv = kv_mem_new(&w.node[0].clock.env, &(struct kv_mem_config){.mode = KV_STATE});
    node_up(&w.node[0], true);
    run_hours(&w, 1);
    assert_int_equal(node_stats(&w.node[0]).confirmed, 1);
    assert_int_equal(holders(&w, b), NODES);
    world_fini(&w);
}

/* ---- whose they are ---- */

static void an_upload_may_take_days(void **state)
{
    (void)state;
    struct world w;
    struct id128 upload = {{1, 2, 3}}, parts[2], again;
    world_init(&w);
    agents_start(&w);
    assert_int_equal(create_upload(&w, "k", upload), OK);
    parts[0] = blob_new(&w, "k");
    assert_int_equal(put_part(&w, "k", upload, 1, &parts[0], 1), OK);
    run_hours(&w, 30);
    parts[1] = blob_new(&w, "k");
    assert_int_equal(put_part(&w, "k", upload, 2, &parts[1], 1), OK);
    again = blob_new(&w, "k"); /* the first part once more */
    assert_int_equal(put_part(&w, "k", upload, 1, &again, 1), OK);
    run_hours(&w, 30);
    assert_int_equal(index_condemned_count(w.index), 0);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, parts[0]), 0);
    assert_int_equal(holders(&w, parts[1]), NODES);
    assert_int_equal(holders(&w, again), NODES);
    assert_int_equal(abort_upload(&w, "k", upload), OK);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, parts[1]) + holders(&w, again), 0);
    world_fini(&w);
}

static void of_a_bucket_that_is_gone(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct id128 b = blob_new(&w, "k");
    assert_int_equal(seal_bucket(&w), OK); /* for ever: its record is gone */
    assert_int_equal(put_object(&w, "k", &b, 1), ERR_SETTINGS);
    agents_start(&w);
    run_hours(&w, 1.2);
    assert_int_equal(index_condemned_count(w.index), 1);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, b), 0);
    world_fini(&w);
}

static void what_was_left_is_not_asked_about(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    blob_new(&w, "k");
    w.node[0].member = false;
    agents_start(&w);
    run_hours(&w, 1.5);
    assert_int_equal(node_stats(&w.node[0]).asked, 0);
    assert_true(node_stats(&w.node[1]).asked > 0);
    w.node[0].member = true;
    w.map_version++;
    run_hours(&w, 0.2);
    assert_true(node_stats(&w.node[0]).asked > 0);
    world_fini(&w);
}

/* The index was lost and founded anew: it knows nothing, and that is no proof. */
static void what_is_older_than_the_cluster_stays(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct id128 old = blob_new(&w, "k");
    run_hours(&w, 0.1);
    w.created_ms = world_ms(&w);
    w.map_version++;
    run_hours(&w, 0.1);
    struct id128 young = blob_new(&w, "k");
    agents_start(&w);
    run_hours(&w, 30);
    assert_int_equal(index_deletion_count(w.index), 1);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, old), NODES);
    assert_int_equal(holders(&w, young), 0);
    assert_true(node_stats(&w.node[0]).left == 1 && node_stats(&w.node[0]).foreign == 1);
    world_fini(&w);
}

/* ---- failures ---- */

/* Nobody says anything of use for hours: nothing happens.  Then somebody does. */
static void unanswered(int err, unsigned odd, bool silent)
{
    struct world w;
    world_init(&w);
    struct id128 kept = blob_new(&w, "k"), orphan = blob_new(&w, "never");
    assert_int_equal(put_object(&w, "k", &kept, 1), OK);
    w.refs_err = err;
    w.refs_odd = odd;
    agents_start(&w);
    run_hours(&w, 0.5); /* the map is there */
    w.metanode->silent = silent;
    run_hours(&w, 2);
    for (unsigned i = 0; i < NODES; i++) {
        struct orphans_stats st = node_stats(&w.node[i]);
        assert_true(st.confirmed == 0 && st.condemned == 0);
        assert_true(st.unanswered > 0 && st.walks > 0 && st.left == 2);
    }
    assert_int_equal(holders(&w, kept) + holders(&w, orphan), 2 * NODES);
    w.metanode->silent = false;
    w.refs_err = OK;
    w.refs_odd = 0;
    run_hours(&w, 0.3);
    assert_int_equal(drain(&w, NULL), 0);
    assert_int_equal(holders(&w, orphan), 0);
    assert_int_equal(holders(&w, kept), NODES);
    for (unsigned i = 0; i < NODES; i++)
        assert_int_equal(node_stats(&w.node[i]).left, 0);
    world_fini(&w);
}

static void no_answer_decides_nothing(void **state)
{
    (void)state;
    unanswered(ERR_OVERLOAD, 0, false);
    unanswered(ERR_TOO_LARGE, 0, false);
    unanswered(OK, 1, false);
    unanswered(OK, 2, false);
    unanswered(OK, 3, false);
    unanswered(OK, 0, true);
}

/* Heads that cannot be read, one after the other: the rest is asked about, these are later. */
static void reads_that_fail(void **state)
{
    (void)state;
    for (uint32_t nth = 1; nth <= 3; nth++) {
        struct world w;
        struct id128 b[3];
        world_init(&w);
        for (unsigned i = 0; i < 3; i++)
            b[i] = blob_new(&w, "never");
        run_hours(&w, 0.9); /* the index is flushed, nothing else reads */
        agents_start(&w);
        disk_mem_fail(w.node[0].disk, DISK_READ, nth, ERR_NOMEM, false);
        node_down(&w.node[1]);
        node_down(&w.node[2]);
        run_hours(&w, 0.2);
        assert_int_equal(node_stats(&w.node[0]).unreadable, 1);
        assert_int_equal(index_condemned_count(w.index), 3);
        for (unsigned i = 1; i < NODES; i++)
            node_up(&w.node[i], false);
        assert_int_equal(drain(&w, NULL), 0);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(holders(&w, b[i]), 0);
        world_fini(&w);
    }
}

static void allocations_that_fail(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t at = 0; failed; at++) {
        struct world w;
        world_init(&w);
        struct id128 kept = blob_new(&w, "k"), orphan = blob_new(&w, "never");
        assert_int_equal(put_object(&w, "k", &kept, 1), OK);
        run_hours(&w, 0.02); /* their indexes are flushed: they can go, and cost no time */
        node_down(&w.node[1]);
        node_down(&w.node[2]);
        run_hours(&w, 0.97);
        agents_start_one(&w, 0);
        run_hours(&w, 0.005);
        alloc_fail_at(at * 2);
        run_hours(&w, 0.06); /* both are asked about, once */
        failed = alloc_fail_end();
        if (!failed)
            assert_int_equal(index_condemned_count(w.index), 1);
        assert_int_equal(holders(&w, kept), 1);
        run_hours(&w, 0.2);
        assert_int_equal(node_stats(&w.node[0]).left, 0);
        assert_int_equal(index_condemned_count(w.index), 1);
        node_up(&w.node[1], false);
        node_up(&w.node[2], false);
        assert_int_equal(drain(&w, NULL), 0);
        assert_int_equal(holders(&w, orphan), 0);
        assert_int_equal(holders(&w, kept), NODES);
        world_fini(&w);
    }
}

/* Stopped at any moment: it ends, and leaves nothing behind. */
static void a_stop_at_any_moment(void **state)
{
    (void)state;
    for (unsigned ms = 0; ms < 60; ms += 3) {
        struct world w;
        world_init(&w);
        for (unsigned i = 0; i < 5; i++)
            blob_new(&w, i % 2 ? "a" : "b");
        run_hours(&w, 1.1);
        agents_start_one(&w, 0);
        fake_run(&w.f, NS_PER_SEC - 5 * NS_PER_MS + ms * NS_PER_MS);
        node_down(&w.node[0]);
        world_fini(&w);
    }
}

/* ---- bounds ---- */

static void many_are_asked_about_at_a_pace(void **state)
{
    (void)state;
    struct world w;
    struct id128 b[BLOBS_MAX];
    world_init(&w);
    w.blobs_per_sec = 10;
    for (unsigned i = 0; i < BLOBS_MAX; i++)
        b[i] = blob_new(&w, i % 4 == 0 ? "a" : i % 4 == 1 ? "b" : "c");
    for (unsigned i = 0; i < BLOBS_MAX; i += 50) {
        char key[8] = {'x', (char)('0' + i / 50)};
        assert_int_equal(put_object(&w, key, &b[i], 1), OK);
    }
    run_hours(&w, 1.1);
    agents_start_one(&w, 0);
    fake_run(&w.f, 21 * NS_PER_SEC);
    assert_in_range(w.asked, 128, 21 * 10 + 64);
    assert_true(w.questions <= w.asked / 10); /* those of one key together */
    fake_run(&w.f, 40 * NS_PER_SEC);
    assert_int_equal(w.asked, BLOBS_MAX); /* a walk asks about each once */
    /* The header is a hint where to ask: records under other keys do not count. */
    assert_int_equal(index_condemned_count(w.index), BLOBS_MAX);
    world_fini(&w);
}

static void metrics_are_there(void **state)
{
    (void)state;
    struct world w;
    struct buf text = {0};
    metrics_reset();
    world_init(&w);
    blob_new(&w, "never");
    run_hours(&w, 1.1);
    agents_start_one(&w, 0);
    assert_int_equal(orphans_metrics_register(w.node[0].agent), OK);
    run_hours(&w, 0.01);
    metrics_text(&text);
    buf_u8(&text, 0);
    assert_non_null(strstr((char *)text.ptr, "cairn_orphans_condemned_total 1\n"));
    assert_non_null(strstr((char *)text.ptr, "cairn_orphans_left 0\n"));
    buf_fini(&text);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nothing_refers_to_goes),
        cmocka_unit_test(a_clock_that_is_ahead_loses_nothing),
        cmocka_unit_test(a_clock_that_is_behind_loses_nothing),
        cmocka_unit_test(a_wrong_clock_keeps_nothing),
        cmocka_unit_test(nothing_comes_back),
        cmocka_unit_test(what_a_lost_node_brings_back_goes),
        cmocka_unit_test(a_lost_mark_is_asked_again),
        cmocka_unit_test(an_upload_may_take_days),
        cmocka_unit_test(of_a_bucket_that_is_gone),
        cmocka_unit_test(what_was_left_is_not_asked_about),
        cmocka_unit_test(what_is_older_than_the_cluster_stays),
        cmocka_unit_test(no_answer_decides_nothing),
        cmocka_unit_test(reads_that_fail),
        cmocka_unit_test(allocations_that_fail),
        cmocka_unit_test(a_stop_at_any_moment),
        cmocka_unit_test(many_are_asked_about_at_a_pace),
        cmocka_unit_test(metrics_are_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
