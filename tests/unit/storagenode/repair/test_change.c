/* Repair while the members of a group change: what a new one gets, what it does without, and when it
 * calls itself filled. */
#include "tests/unit/storagenode/repair/nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUND (70 * NS_PER_SEC)

static struct repair_stats stats_of(const struct nodes *n)
{
    struct repair_stats st;
    repair_agent_stats(n->agent, &st);
    return st;
}

static Cairn__GroupReport report_of(const struct nodes *n)
{
    Cairn__GroupReport report = CAIRN__GROUP_REPORT__INIT;
    report.pg = PG;
    repair_agent_report_group(n->agent, &report);
    return report;
}

/* Node 4 leaves, node 5 comes; everybody has closed. */
static void change_init(struct nodes *n, unsigned data, unsigned parity)
{
    nodes_init(n, data, parity);
    n->changing = true;
    n->next[n->shards - 1] = 5;
    for (unsigned i = 0; i < 6; i++)
        n->node[i].closed_epoch = n->epoch;
}

/* Only the shards of these nodes are left. */
static struct blob *rest_of_blob(struct nodes *n, unsigned nodes)
{
    struct blob *b = nodes_blob(n, 5000);
    for (unsigned i = 0; i < n->shards; i++)
        if (!(nodes >> i & 1))
            nodes_lose(n, i, b, i);
    return b;
}

/* A blob beyond repair holds no change up for ever; what of it can be kept is. */
static void what_nobody_has_holds_no_change_up(void **state)
{
    (void)state;
    struct nodes n;
    change_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 70000);
    struct blob *headless = rest_of_blob(&n, 1u << 4), *damaged = rest_of_blob(&n, 1u << 4);
    struct blob *copied = rest_of_blob(&n, 1u << 1 | 1u << 4), *upload = rest_of_blob(&n, 1u << 4);
    struct blob *lost = rest_of_blob(&n, 1u << 0 | 1u << 1);
    nodes_kept(&n, 4, headless, 4)->state = KEPT_HEADLESS;
    nodes_kept(&n, 4, damaged, 4)->state = KEPT_DAMAGED;
    damaged->referred = upload->referred = false;
    damaged->time_ms = 1700000000000 - 25 * 3600000ull;
    nodes_repair(&n, "s5", NULL);
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, n.epoch);
    assert_int_equal(stats_of(&n).filled_without, 2); /* headless, lost */
    assert_true(damaged->condemned);
    const struct blob *kept[] = {b, copied, upload};
    for (unsigned i = 0; i < 3; i++)
        assert_memory_equal(nodes_kept(&n, 5, kept[i], 4)->bytes, kept[i]->shard[4].bytes,
                            kept[i]->shard[4].len);
    assert_int_equal(nodes_kept(&n, 5, lost, 4)->state, KEPT_NOT);
    assert_int_equal(n.puts, 3);
    nodes_fini(&n);
}

/* One that is out of reach, and has not been given up, may have what would make a blob whole. */
static void filled_waits_for_who_may_have_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct nodes n;
        change_init(&n, 3, 2);
        struct blob *rest = rest_of_blob(&n, 1u << 0);
        nodes_kept(&n, 0, rest, 0)->state = KEPT_HEADLESS; /* one more is not enough */
        if (i > 0)
            rest_of_blob(&n, 1u << 0 | 1u << 1);
        n.node[4].state = i < 2 ? CAIRN__NODE_STATE__NODE_LOST : CAIRN__NODE_STATE__NODE_UP;
        n.node[4].peer->down = i < 2;
        n.node[4].disk = CAIRN__DISK_STATE__DISK_FAILED;
        nodes_repair(&n, "s5", NULL);
        fake_run(&n.f, ROUND);
        assert_int_equal(report_of(&n).filled_epoch, i == 0 ? n.epoch : 0);
        n.node[4].disk = CAIRN__DISK_STATE__DISK_LOST;
        nodes_map_changed(&n);
        fake_run(&n.f, 2 * ROUND);
        assert_int_equal(report_of(&n).filled_epoch, n.epoch);
        nodes_fini(&n);
    }
}

/* What fails now may succeed the next time. */
static void a_failing_source_is_waited_for(void **state)
{
    (void)state;
    for (unsigned data = 1; data <= 3; data += 2) {
        struct nodes n;
        change_init(&n, data, 2);
        struct blob *b = rest_of_blob(&n, (1u << data) - 1);
        n.node[0].get_fails = true;
        nodes_repair(&n, "s5", NULL);
        fake_run(&n.f, 2 * ROUND);
        assert_int_equal(report_of(&n).filled_epoch, 0);
        n.node[0].get_fails = false;
        fake_run(&n.f, 2 * ROUND);
        assert_int_equal(report_of(&n).filled_epoch, n.epoch);
        assert_int_equal(nodes_kept(&n, 5, b, n.shards - 1)->state, KEPT_WHOLE);
        nodes_fini(&n);
    }
}

/* What one member cannot list keeps nobody from repairing the rest; but from calling itself
 * filled. */
static void one_that_cannot_list_holds_nobody_up(void **state)
{
    (void)state;
    for (unsigned fill = 0; fill < 2; fill++) {
        struct nodes n;
        change_init(&n, 3, 2);
        n.changing = fill;
        struct blob *b = nodes_blob(&n, 5000), *c = nodes_blob(&n, 5000);
        nodes_lose(&n, 3, b, 3);
        n.node[1].list_fails = true;
        nodes_repair(&n, fill ? "s5" : "s0", NULL);
        fake_run(&n.f, ROUND);
        assert_int_equal(nodes_kept(&n, 3, b, 3)->state, fill ? KEPT_NOT : KEPT_WHOLE);
        assert_int_equal(report_of(&n).filled_epoch, 0);
        assert_true(stats_of(&n).passes_failed > 0);
        n.node[1].list_fails = false;
        nodes_lose(&n, 1, c, 1);
        fake_run(&n.f, 2 * ROUND);
        assert_int_equal(report_of(&n).filled_epoch, fill ? n.epoch : 0);
        assert_true(fill || nodes_whole(&n, c));
        nodes_fini(&n);
    }
}

/* What had been filled may have been on the disk that has failed. */
static void filled_is_taken_back_with_a_disk(void **state)
{
    (void)state;
    struct nodes n;
    change_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 5000);
    nodes_repair(&n, "s5", NULL);
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, n.epoch);
    nodes_lose(&n, 5, b, 4);
    repair_agent_unfill(n.agent);
    assert_int_equal(report_of(&n).filled_epoch, 0);
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, n.epoch);
    assert_int_equal(nodes_kept(&n, 5, b, 4)->state, KEPT_WHOLE);
    nodes_fini(&n);
}

/* A shard that is not its blob's, and sound by itself, is found by deep scrub, which waits until
 * the change has ended. */
static void a_wrong_shard_holds_no_change_up(void **state)
{
    (void)state;
    struct nodes n;
    change_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 500000), *c = nodes_blob(&n, 500000);
    nodes_kept(&n, 0, b, 0)->bytes[77] ^= 1;
    nodes_kept(&n, 0, c, 0)->bytes[77] ^= 1;
    nodes_lose(&n, 4, b, 4);
    nodes_repair(&n, "s5", NULL);
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, n.epoch);
    assert_int_equal(stats_of(&n).filled_without, 1);
    assert_int_equal(nodes_kept(&n, 5, c, 4)->state, KEPT_WHOLE);
    nodes_fini(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_has_holds_no_change_up),
        cmocka_unit_test(filled_waits_for_who_may_have_it),
        cmocka_unit_test(a_failing_source_is_waited_for),
        cmocka_unit_test(a_wrong_shard_holds_no_change_up),
        cmocka_unit_test(one_that_cannot_list_holds_nobody_up),
        cmocka_unit_test(filled_is_taken_back_with_a_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
