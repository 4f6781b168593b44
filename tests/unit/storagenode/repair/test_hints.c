/* What gateways could not write to every member, and said so: mended without waiting for a pass. */
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/storagenode/repair/nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define AGE_S 5
#define INTERVAL_S 3600
static const struct repair_config config = {.interval_ns = INTERVAL_S * NS_PER_SEC,
                                            .retry_ns = NS_PER_SEC,
                                            .repair_age_ms = AGE_S * 1000,
                                            .timeout_ns = 2 * NS_PER_SEC};

static struct repair_stats stats_of(const struct nodes *n)
{
    struct repair_stats st;
    repair_agent_stats(n->agent, &st);
    return st;
}

/* An agent on that node; what it does of its own accord is behind it, and lasts for an hour. */
static void begin(struct nodes *n, const char *node_id)
{
    fake_run(&n->f, NS_PER_SEC);
    nodes_repair(n, node_id, &config);
    fake_run(&n->f, 20 * NS_PER_SEC);
    assert_int_equal(n->puts, 0);
}

static void hint(struct nodes *n, const struct blob *b)
{
    assert_int_equal(repair_agent_hint(n->agent, PG, &b->id, 1), OK);
}

static void seconds(struct nodes *n, unsigned count)
{
    fake_run(&n->f, count * NS_PER_SEC);
}

/* By a member that is not the repairer; once, and when it is old enough; no list is made. */
static void what_is_hinted_is_mended(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 300000), *whole = nodes_blob(&n, 1000);
    begin(&n, "s2");
    unsigned lists = n.node[1].lists;
    nodes_lose(&n, 4, b, 4);
    for (unsigned i = 0; i < 2; i++) {
        hint(&n, b);
        hint(&n, whole);
    }
    seconds(&n, AGE_S - 1);
    assert_int_equal(n.asked, 0);
    seconds(&n, 2);
    assert_true(nodes_whole(&n, b));
    assert_int_equal(n.asked, 1);
    assert_int_equal(n.puts, 1);
    assert_int_equal(n.node[1].lists, lists);
    assert_int_equal(stats_of(&n).hints, 2);
    assert_int_equal(stats_of(&n).hints_mended, 1);
    assert_int_equal(stats_of(&n).spots + stats_of(&n).failures, 0);
    nodes_lose(&n, 4, b, 4); /* it is not kept in mind */
    seconds(&n, INTERVAL_S / 2);
    assert_int_equal(n.puts, 1);
    nodes_fini(&n);
}

/* Deleted meanwhile, an orphan, an upload under way. */
static void what_nothing_refers_to_is_not_written(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *gone = nodes_blob(&n, 1000), *orphan = nodes_blob(&n, 1000);
    struct blob *upload = nodes_blob(&n, 1000);
    begin(&n, "s2");
    nodes_lose(&n, 4, gone, 4);
    nodes_lose(&n, 4, orphan, 4);
    nodes_lose(&n, 4, upload, 4);
    n.node[1].deleted[0] = true;
    orphan->referred = upload->referred = false;
    orphan->time_ms -= 25 * UINT64_C(3600000);
    hint(&n, gone);
    hint(&n, orphan);
    hint(&n, upload);
    seconds(&n, AGE_S + 1);
    assert_true(orphan->condemned);
    seconds(&n, 6);
    assert_int_equal(n.puts, 0);
    unsigned asked = n.asked;
    assert_in_range(asked, 3, 6); /* about the upload, ever more slowly */
    upload->referred = true;
    seconds(&n, 10);
    assert_true(nodes_whole(&n, upload));
    assert_int_equal(n.puts, 1);
    assert_int_equal(stats_of(&n).hints_mended, 1);
    asked = n.asked;
    seconds(&n, INTERVAL_S / 2);
    assert_int_equal(n.asked, asked);
    nodes_fini(&n);
}

/* The member that lacks them all hangs: it is waited for once a pass, damage is mended meanwhile,
 * and the hints are kept until it answers. */
static void a_member_that_hangs_is_tried_again(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    for (unsigned i = 0; i < 20; i++)
        nodes_blob(&n, 1000);
    struct blob *damaged = nodes_blob(&n, 1000);
    begin(&n, "s2");
    for (unsigned i = 0; i < 20; i++) {
        nodes_lose(&n, 4, &n.blob[i], 4);
        hint(&n, &n.blob[i]);
    }
    n.node[4].peer->silent = true;
    unsigned calls = n.node[4].peer->calls;
    seconds(&n, AGE_S + 1);
    nodes_kept(&n, 2, damaged, 2)->state = KEPT_DAMAGED;
    repair_agent_spot(n.agent, PG, &damaged->id, REPAIR_SOURCE_NONE);
    seconds(&n, 7); /* it asks the one that hangs, too */
    assert_int_equal(nodes_kept(&n, 2, damaged, 2)->state, KEPT_WHOLE);
    seconds(&n, 20);
    assert_in_range(n.node[4].peer->calls - calls, 3, 6 * 4); /* four at a time, seldom */
    assert_int_equal(n.puts, 1);
    n.node[4].peer->silent = false;
    seconds(&n, 20);
    for (unsigned i = 0; i < 20; i++)
        assert_true(nodes_whole(&n, &n.blob[i]));
    assert_int_equal(stats_of(&n).hints_mended, 20);
    nodes_fini(&n);
}

/* It looks for what it has missed when it is back. */
static void for_a_member_that_is_down_nobody_waits(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 1000);
    begin(&n, "s2");
    nodes_lose(&n, 4, b, 4);
    hint(&n, b);
    n.node[4].state = CAIRN__NODE_STATE__NODE_DOWN;
    n.node[4].peer->down = true;
    nodes_map_changed(&n);
    seconds(&n, AGE_S + 2);
    n.node[4].peer->down = false;
    n.node[4].state = CAIRN__NODE_STATE__NODE_UP;
    nodes_map_changed(&n);
    seconds(&n, INTERVAL_S / 2);
    assert_int_equal(n.puts, 0);
    nodes_fini(&n);
}

/* Of other groups, of no group, of blobs that nobody has. */
static void hints_are_not_trusted(void **state)
{
    (void)state;
    struct nodes n;
    struct id128 id = {{1, 2, 3}};
    nodes_init(&n, 3, 2);
    n.other_epoch = 1; /* of nodes 0, 7, 6, ... */
    nodes_repair(&n, "s2", &config);
    assert_int_equal(repair_agent_hint(n.agent, PG, &id, 1), ERR_NOT_READY);
    seconds(&n, 20);
    assert_int_equal(repair_agent_hint(n.agent, PG + 1, &id, 1), ERR_NOT_FOUND);
    assert_int_equal(repair_agent_hint(n.agent, PG + 2, &id, 1), ERR_NOT_FOUND);
    assert_int_equal(stats_of(&n).hints, 0);
    assert_int_equal(repair_agent_hint(n.agent, PG, &id, 1), OK);
    unsigned calls = n.node[1].peer->calls;
    seconds(&n, INTERVAL_S / 2);
    assert_int_equal(n.node[1].peer->calls, calls + 1);
    repair_agent_stop(n.agent);
    assert_int_equal(repair_agent_hint(n.agent, PG, &id, 1), ERR_SHUTDOWN);
    nodes_fini(&n);
}

/* More than are kept: the repairer looks into the group when they are old enough; what is damaged
 * has room of its own. */
static void hints_are_bounded(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 1000), *damaged = nodes_blob(&n, 1000);
    begin(&n, "s0");
    nodes_lose(&n, 4, b, 4);
    nodes_kept(&n, 0, damaged, 0)->state = KEPT_DAMAGED;
    struct id128 *ids = calloc(REPAIR_HINTS_MAX, sizeof(*ids));
    for (unsigned i = 0; i < REPAIR_HINTS_MAX; i++)
        memcpy(&ids[i].bytes[4], &i, sizeof(i));
    assert_int_equal(repair_agent_hint(n.agent, PG, ids, REPAIR_HINTS_MAX), OK);
    free(ids);
    assert_int_equal(stats_of(&n).hints_dropped, 0);
    hint(&n, b);
    assert_int_equal(stats_of(&n).hints_dropped, 1);
    repair_agent_spot(n.agent, PG, &damaged->id, REPAIR_SOURCE_NONE);
    assert_int_equal(stats_of(&n).spots_dropped, 0);
    seconds(&n, 1);
    assert_true(nodes_whole(&n, damaged));
    assert_false(nodes_whole(&n, b));
    seconds(&n, AGE_S + 5);
    assert_true(nodes_whole(&n, b));
    seconds(&n, 60);
    hint(&n, b); /* there is room again */
    assert_int_equal(stats_of(&n).hints_dropped, 1);
    nodes_fini(&n);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (uint64_t at = 0;; at++) {
        struct nodes n;
        nodes_init(&n, 3, 2);
        struct blob *b = nodes_blob(&n, 100000);
        begin(&n, "s2");
        nodes_lose(&n, 4, b, 4);
        alloc_fail_at(at);
        hint(&n, b);
        seconds(&n, AGE_S + 1);
        bool failed = alloc_fail_end();
        seconds(&n, 10);
        assert_true(nodes_whole(&n, b));
        nodes_fini(&n);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_hinted_is_mended),
        cmocka_unit_test(what_nothing_refers_to_is_not_written),
        cmocka_unit_test(a_member_that_hangs_is_tried_again),
        cmocka_unit_test(for_a_member_that_is_down_nobody_waits),
        cmocka_unit_test(hints_are_not_trusted),
        cmocka_unit_test(hints_are_bounded),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
