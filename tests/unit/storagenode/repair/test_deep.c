/* Deep scrub: shards that are sound by themselves and not their blob's are found, proven and
 * mended; what cannot be proven is left alone; the period is kept, over restarts too. */
#include "common/base/hash.h"
#include "tests/unit/common/alloc_fail.h"
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

static struct repair_deep_found last;
static void on_found(void *arg, const struct repair_deep_found *found)
{
    (void)arg;
    last = *found;
}

static void begin(struct nodes *n)
{
    struct repair_config c = {.on_deep_found = on_found};
    last = (struct repair_deep_found){0};
    nodes_repair(n, "s0", &c);
    fake_run(&n->f, 3 * NS_PER_SEC);
    assert_int_equal(repair_agent_deep_now(n->agent), OK);
}

/* The round that was asked for comes to its end. */
static void run(struct nodes *n)
{
    Cairn__NodeReport report = CAIRN__NODE_REPORT__INIT;
    uint64_t rounds = stats_of(n).deep_rounds;
    for (unsigned i = 0; i < 100 && stats_of(n).deep_rounds == rounds; i++)
        fake_run(&n->f, NS_PER_SEC);
    assert_int_equal(stats_of(n).deep_rounds, rounds + 1);
    repair_agent_report_node(n->agent, &report);
    assert_true(!report.deep->asked && report.deep->left == 0 && report.deep->total == 256);
}

/* Other bytes, and the sums of these: as if somebody had written the wrong thing. */
static void spoil(struct nodes *n, const struct blob *b, unsigned shard)
{
    struct kept_shard *k = nodes_kept(n, n->member[shard], b, shard);
    k->bytes[k->len / 2] ^= 0x40;
}

static void wrong_shards_are_mended(unsigned data, unsigned parity, unsigned wrong)
{
    struct nodes n;
    nodes_init(&n, data, parity);
    n.page_max = 2;
    for (unsigned i = 0; i < 9; i++)
        nodes_blob(&n, data == 1 ? 1 + 77777u * i : 1000000 + 70001u * i);
    for (unsigned i = 0; i < wrong; i++)
        spoil(&n, &n.blob[4], (data + i) % n.shards); /* not the repairer's own, but in the end */
    begin(&n);
    run(&n);
    assert_int_equal(stats_of(&n).deep_blobs, 9);
    assert_int_equal(stats_of(&n).deep_found, wrong);
    assert_int_equal(stats_of(&n).deep_mended, wrong);
    assert_int_equal(stats_of(&n).deep_unproven + stats_of(&n).deep_unchecked, 0);
    assert_int_equal(n.distrusted, wrong);
    assert_true(wrong == 0 || memcmp(last.blob_id.bytes, n.blob[4].id.bytes, ID_BYTES) == 0);
    assert_true(__builtin_popcount(last.wrong) == (int)wrong && last.marked == last.wrong);
    fake_run(&n.f, ROUND); /* repair finds what is marked */
    for (unsigned i = 0; i < 9; i++)
        assert_true(nodes_whole(&n, &n.blob[i]));
    assert_int_equal(repair_agent_deep_now(n.agent), OK);
    run(&n);
    assert_int_equal(stats_of(&n).deep_found, wrong); /* and nothing more */
    assert_int_equal(stats_of(&n).deep_blobs, 18);
    nodes_fini(&n);
}

static void what_is_proven_is_mended(void **state)
{
    (void)state;
    wrong_shards_are_mended(3, 3, 0);
    wrong_shards_are_mended(3, 3, 1);
    wrong_shards_are_mended(3, 3, 3);
    wrong_shards_are_mended(5, 2, 2);
    wrong_shards_are_mended(1, 2, 1);
    wrong_shards_are_mended(1, 2, 2); /* the sum proves the one that is left */
}

static void what_is_not_proven_is_left_alone(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 600000);
    for (unsigned i = 0; i < 3; i++)
        spoil(&n, b, i);
    begin(&n);
    run(&n);
    assert_true(last.unproven && last.wrong == 0);
    assert_int_equal(stats_of(&n).deep_unproven, 1);
    assert_int_equal(stats_of(&n).deep_found, 0);
    fake_run(&n.f, 2 * ROUND);
    assert_true(n.distrusted == 0 && n.puts == 0);
    nodes_fini(&n);
}

/* A shard of another size is no shard of the blob; one that changed meanwhile is not marked. */
static void odd_and_changing_shards(void **state)
{
    (void)state;
    for (int odd = 0; odd < 2; odd++) {
        struct nodes n;
        nodes_init(&n, 3, 2);
        struct blob *b = nodes_blob(&n, 600000);
        if (odd)
            nodes_kept(&n, 4, b, 4)->len -= EC_BLOCK_BYTES;
        else
            spoil(&n, b, 4);
        n.node[4].distrust_fails = true;
        begin(&n);
        run(&n);
        assert_int_equal(last.unproven, odd);
        assert_int_equal(stats_of(&n).deep_found, !odd);
        assert_int_equal(stats_of(&n).deep_mended, 0);
        assert_int_equal(n.puts, 0);
        nodes_fini(&n);
    }
}

static void too_few_and_absent_members(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 600000);
    for (unsigned i = 1; i < 4; i++)
        n.node[i].get_fails = true;
    begin(&n);
    run(&n);
    assert_int_equal(stats_of(&n).deep_unchecked, 1);
    assert_int_equal(stats_of(&n).deep_blobs, 0);
    for (unsigned i = 1; i < 4; i++)
        n.node[i].get_fails = false;
    /* While a member is away its group has no turn: the round that is asked for has nothing to do.
     */
    spoil(&n, b, 1);
    n.node[4].state = CAIRN__NODE_STATE__NODE_DOWN;
    nodes_map_changed(&n);
    fake_run(&n.f, 3 * NS_PER_SEC);
    assert_int_equal(repair_agent_deep_now(n.agent), OK);
    fake_run(&n.f, 5 * NS_PER_SEC);
    assert_int_equal(stats_of(&n).deep_blobs, 0);
    n.node[4].state = CAIRN__NODE_STATE__NODE_UP;
    nodes_map_changed(&n);
    fake_run(&n.f, 3 * NS_PER_SEC);
    assert_int_equal(repair_agent_deep_now(n.agent), OK);
    run(&n);
    assert_int_equal(stats_of(&n).deep_found, 1);
    nodes_fini(&n);
}

/* ---- the period ---- */

static struct {
    bool there;
    uint64_t since_ms[REPAIR_BUCKETS];
    unsigned saves;
} note;

static bool load(void *arg, uint32_t pg, uint64_t ret_since_ms[REPAIR_BUCKETS])
{
    (void)arg;
    assert_int_equal(pg, PG);
    if (note.there)
        memcpy(ret_since_ms, note.since_ms, sizeof(note.since_ms));
    return note.there;
}

static void save(void *arg, uint32_t pg, const uint64_t since_ms[REPAIR_BUCKETS])
{
    (void)arg;
    assert_int_equal(pg, PG);
    note.there = true;
    note.saves++;
    memcpy(note.since_ms, since_ms, sizeof(note.since_ms));
}

static void every_blob_within_the_period(void **state)
{
    (void)state;
    struct nodes n;
    struct repair_config c = {
        .deep_period_ms = 600000, .deep_load = load, .deep_save = save, .on_deep_found = on_found};
    memset(&note, 0, sizeof(note));
    nodes_init(&n, 3, 2);
    for (unsigned i = 0; i < 9; i++)
        nodes_blob(&n, 100000);
    nodes_repair(&n, "s0", &c);
    for (unsigned i = 0; i < 130; i++) {
        fake_run(&n.f, 10 * NS_PER_SEC);
        assert_true(stats_of(&n).deep_oldest_age_s <= 600);
    }
    /* About two periods: spread over them, not in bursts. */
    assert_in_range(note.saves, 2 * 256, 3 * 256);
    assert_in_range(stats_of(&n).deep_blobs, 2 * 9, 3 * 9);
    uint64_t oldest_s = stats_of(&n).deep_oldest_age_s;
    unsigned saves = note.saves;
    repair_agent_stop(n.agent);
    fake_run(&n.f, 100 * NS_PER_SEC);
    repair_agent_free(n.agent);
    nodes_repair(&n, "s0", &c); /* it goes on where it was */
    fake_run(&n.f, 2 * NS_PER_SEC);
    assert_in_range(stats_of(&n).deep_oldest_age_s, oldest_s, oldest_s + 103);
    for (unsigned i = 0; i < 30; i++)
        fake_run(&n.f, NS_PER_SEC);
    assert_in_range(note.saves, saves + 40, saves + 100); /* what has become due, no more */
    nodes_fini(&n);
}

/* Whatever cannot be allocated: the next round finds it. */
static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (unsigned at = 1;; at++) {
        struct nodes n;
        nodes_init(&n, 3, 2);
        struct blob *b = nodes_blob(&n, 300000);
        spoil(&n, b, 4);
        fake_run(&n.f, NS_PER_SEC); /* the map is there */
        nodes_repair(&n, "s0", NULL);
        fake_run(&n.f, NS_PER_SEC);
        assert_int_equal(repair_agent_deep_now(n.agent), OK);
        alloc_fail_at(at < 60 ? at : 60 + (at - 60) * 13);
        fake_run(&n.f, 10 * NS_PER_SEC);
        bool failed = alloc_fail_end();
        fake_run(&n.f, 20 * NS_PER_SEC);
        assert_int_equal(repair_agent_deep_now(n.agent), OK);
        fake_run(&n.f, 3 * ROUND);
        assert_true(nodes_whole(&n, b));
        assert_int_equal(stats_of(&n).deep_unproven, 0);
        nodes_fini(&n);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_proven_is_mended),
        cmocka_unit_test(what_is_not_proven_is_left_alone),
        cmocka_unit_test(odd_and_changing_shards),
        cmocka_unit_test(too_few_and_absent_members),
        cmocka_unit_test(every_blob_within_the_period),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
