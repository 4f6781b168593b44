/* Repair of a group: what is mended, what never is, and when it counts as done. */
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "common/obs/metrics.h"
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

static Cairn__GroupReport report_of(const struct nodes *n)
{
    Cairn__GroupReport report = CAIRN__GROUP_REPORT__INIT;
    report.pg = PG;
    repair_agent_report_group(n->agent, &report);
    return report;
}

/* 3+2 and three replicas: every pair of shards lost or damaged, of blobs of odd sizes, over pages.
 */
static void heals(unsigned data, unsigned parity)
{
    struct nodes n;
    unsigned lost = 0;
    nodes_init(&n, data, parity);
    n.page_max = 2;
    for (unsigned x = 0; x < n.shards; x++)
        for (unsigned y = x + 1; y < n.shards; y++) {
            struct blob *b = nodes_blob(&n, 1 + 77777u * (x * n.shards + y));
            nodes_lose(&n, x, b, x);
            nodes_kept(&n, y, b, y)->state = KEPT_DAMAGED;
            lost += 2;
        }
    nodes_blob(&n, 100);
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, ROUND / 2);
    for (unsigned i = 0; i < n.blob_count; i++)
        assert_true(nodes_whole(&n, &n.blob[i]));
    assert_int_equal(n.asked, n.blob_count - 1);
    assert_int_equal(stats_of(&n).repaired_shards, lost);
    assert_int_equal(stats_of(&n).failures, 0);
    assert_int_equal(report_of(&n).missing, 0);
    nodes_fini(&n);
}

static void lost_and_damaged_shards_are_rebuilt(void **state)
{
    (void)state;
    heals(3, 2);
    heals(1, 2);
}

/* Of 256 buckets three have something; nodes of an earlier version do not say which. */
static void whole_is_not_listed_again(bool told, unsigned buckets)
{
    struct nodes n;
    nodes_init(&n, 3, 2);
    n.present_untold = !told;
    for (unsigned i = 0; i < 6; i++)
        nodes_blob(&n, 1000);
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, ROUND / 2);
    unsigned lists = n.node[1].lists;
    assert_int_equal(lists, buckets);
    fake_run(&n.f, 3 * ROUND);
    assert_int_equal(n.node[1].lists, lists);
    assert_int_equal(n.puts, 0);
    nodes_lose(&n, 4, &n.blob[2], 4);
    fake_run(&n.f, ROUND);
    assert_true(nodes_whole(&n, &n.blob[2]));
    assert_in_range(n.node[1].lists, lists + 1, lists + 2); /* of that bucket alone */
    nodes_fini(&n);
}

static void what_is_whole_is_not_listed_again(void **state)
{
    (void)state;
    whole_is_not_listed_again(true, 3);
    whole_is_not_listed_again(false, 256);
}

/* Damaged at all who have it, and nobody has a sum of it: it is not passed over as nothing. */
static void what_is_damaged_everywhere_is_met(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 1, 2);
    struct blob *b = nodes_blob(&n, 5000);
    for (unsigned i = 0; i < 3; i++)
        nodes_kept(&n, i, b, i)->state = KEPT_DAMAGED;
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, ROUND / 2);
    assert_int_equal(stats_of(&n).beyond, 1);
    nodes_fini(&n);
}

/* Each bucket shows one blob: they are mended side by side, unless it is the rate that they wait
 * for.  Returns how many are whole after 3 s, of which each takes two. */
static unsigned mended_meanwhile(uint64_t bytes_per_sec)
{
    struct nodes n;
    struct repair_config config = {.bytes_per_sec = bytes_per_sec,
                                   .bytes_per_sec_endangered = 1u << 30};
    unsigned whole = 0;
    nodes_init(&n, 3, 2);
    for (unsigned i = 0; i < 3; i++)
        nodes_lose(&n, 4, nodes_blob(&n, 100000), 4);
    nodes_repair(&n, "s0", &config);
    for (unsigned i = 0; i < n.shards; i++)
        n.node[i].peer->latency_ns = 100 * NS_PER_MS;
    fake_run(&n.f, 3 * NS_PER_SEC);
    for (unsigned i = 0; i < 3; i++)
        whole += nodes_whole(&n, &n.blob[i]);
    assert_int_equal(n.node[1].lists, whole == 3 ? 3 : n.node[1].lists);
    nodes_fini(&n);
    return whole;
}

static void it_mends_while_it_lists(void **state)
{
    (void)state;
    assert_int_equal(mended_meanwhile(1u << 30), 3);
    assert_int_equal(mended_meanwhile(100000), 1);
}

/* A node that acknowledges and keeps nothing. */
static void forgotten(struct nodes *n)
{
    nodes_init(n, 3, 2);
    nodes_lose(n, 2, nodes_blob(n, 300000), 2);
    n->node[2].forgets = true;
    nodes_repair(n, "s0", NULL);
    fake_run(&n->f, ROUND / 2);
}

static void done_is_what_was_read_back(void **state)
{
    (void)state;
    struct nodes n;
    forgotten(&n);
    assert_int_equal(n.puts, 1);
    assert_int_equal(stats_of(&n).repaired_shards, 0);
    assert_int_equal(stats_of(&n).failures, 1);
    assert_int_equal(report_of(&n).missing, 1);
    assert_int_equal(report_of(&n).endangered, 0);
    n.node[2].forgets = false;
    fake_run(&n.f, ROUND);
    assert_int_equal(stats_of(&n).repaired_shards, 1);
    assert_int_equal(report_of(&n).missing, 0);
    assert_true(nodes_whole(&n, &n.blob[0]));
    nodes_fini(&n);
    mutant_active = MUTANT_REPAIR_UNVERIFIED; /* is seen by the same test */
    forgotten(&n);
    assert_int_equal(stats_of(&n).repaired_shards, 1);
    assert_int_equal(report_of(&n).missing, 0);
    nodes_fini(&n);
    mutant_active = MUTANT_NONE;
}

/* Node 1 has deleted it, node 2 never got it; the record is still there. */
static unsigned puts_of_deleted(bool listed)
{
    struct nodes n;
    nodes_init(&n, 1, 2);
    struct blob *b = nodes_blob(&n, 5000);
    n.tombstones_listed = listed;
    n.node[1].deleted[0] = true;
    nodes_lose(&n, 1, b, 1);
    nodes_lose(&n, 2, b, 2);
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, ROUND / 2);
    unsigned puts = n.puts;
    assert_true(mutant_active || stats_of(&n).deleted_skipped == 1);
    nodes_fini(&n);
    return puts;
}

static void what_a_live_member_deleted_is_not_copied(void **state)
{
    (void)state;
    assert_int_equal(puts_of_deleted(true), 0);
    assert_int_equal(puts_of_deleted(false), 0); /* known only when it is looked at */
    mutant_active = MUTANT_REPAIR_COPIES_DELETED;
    assert_int_equal(puts_of_deleted(true), 1);
    assert_int_equal(puts_of_deleted(false), 1);
    mutant_active = MUTANT_NONE;
}

static void what_nothing_refers_to_or_is_young_is_left_alone(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *orphan = nodes_blob(&n, 5000), *young = nodes_blob(&n, 5000);
    struct blob *rest = nodes_blob(&n, 5000); /* of a write that failed */
    orphan->referred = rest->referred = false;
    rest->time_ms = 1700000000000 - 30 * 3600000ull;
    young->time_ms = 1700000000000 - 60000;
    nodes_lose(&n, 1, orphan, 1);
    nodes_lose(&n, 1, young, 1);
    for (unsigned i = 0; i < 4; i++)
        nodes_lose(&n, i, rest, i);
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, ROUND / 2);
    assert_int_equal(n.puts, 0);
    assert_int_equal(report_of(&n).missing, 0);
    assert_true(rest->condemned && !orphan->condemned && !young->condemned);
    fake_run(&n.f, 2 * ROUND);
    assert_int_equal(n.puts, 1);
    assert_true(nodes_whole(&n, young));
    nodes_fini(&n);
}

static void what_is_out_of_reach_is_reported(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 5000), *c = nodes_blob(&n, 5000);
    for (unsigned i = 0; i < 3; i++)
        nodes_lose(&n, i, b, i);
    for (unsigned i = 0; i < 2; i++)
        nodes_lose(&n, i, c, i);
    n.node[0].forgets = n.node[1].forgets = true;
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, ROUND / 2);
    assert_int_equal(stats_of(&n).beyond, 1);
    assert_int_equal(report_of(&n).missing, 5);
    assert_int_equal(report_of(&n).endangered, 2);
    nodes_fini(&n);
}

/* A source whose bytes agree with their own sums, but are not the blob's.  Another replica will
 * do. */
static void what_is_not_the_blob_is_not_written(void **state)
{
    (void)state;
    for (unsigned data = 1; data <= 3; data += 2) {
        struct nodes n;
        nodes_init(&n, data, 2);
        struct blob *b = nodes_blob(&n, 500000);
        nodes_kept(&n, 0, b, 0)->bytes[77] ^= 1;
        nodes_lose(&n, 1, b, 1);
        nodes_repair(&n, "s0", NULL);
        fake_run(&n.f, ROUND / 2);
        assert_int_equal(n.puts, data == 1);
        assert_int_equal(stats_of(&n).checksum_failures, data > 1);
        const struct kept_shard *k = nodes_kept(&n, 1, b, 1);
        if (data == 1)
            assert_memory_equal(k->bytes, b->data, b->bytes);
        nodes_fini(&n);
    }
}

/* The same, where a data shard that nobody asks for is out of reach: it is rebuilt to be compared.
 */
static void what_is_not_the_blob_is_seen_without_a_data_shard(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 500000), *c = nodes_blob(&n, 500000);
    nodes_kept(&n, 0, b, 0)->bytes[77] ^= 1;
    nodes_lose(&n, 4, b, 4);
    nodes_lose(&n, 4, c, 4);
    n.node[1].state = CAIRN__NODE_STATE__NODE_DOWN;
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, ROUND / 2);
    assert_int_equal(n.puts, 1);
    assert_true(nodes_whole(&n, c));
    assert_int_equal(stats_of(&n).checksum_failures, 1);
    nodes_fini(&n);
}

static void a_source_that_fails_is_replaced(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct nodes n;
        nodes_init(&n, 3, 2);
        struct blob *b = nodes_blob(&n, 900000);
        nodes_lose(&n, 4, b, 4);
        /* Nodes 0, 1 and 2 are asked first; 0 for the header. */
        if (i < 2)
            n.node[i].get_fails = true;
        else
            n.node[1].flips = true;
        n.node[2].flips |= i == 3;
        nodes_repair(&n, "s0", NULL);
        fake_run(&n.f, ROUND / 2);
        assert_int_equal(nodes_whole(&n, b), i < 3);
        assert_int_equal(stats_of(&n).beyond, i == 3);
        assert_int_equal(stats_of(&n).checksum_failures, 0);
        nodes_fini(&n);
    }
}

static void a_group_that_changes_ends_the_pass(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 5000);
    b->id.bytes[0] = 255;
    n.present_untold = true;
    nodes_lose(&n, 4, b, 4);
    for (unsigned i = 0; i < n.shards; i++)
        n.node[i].peer->latency_ns = 10 * NS_PER_MS; /* a pass takes more than 5 s */
    nodes_repair(&n, "s0", NULL);
    fake_run(&n.f, 3 * NS_PER_SEC);
    n.epoch++;
    nodes_map_changed(&n);
    fake_run(&n.f, 3 * NS_PER_SEC);
    assert_int_equal(stats_of(&n).passes_failed, 1);
    assert_int_equal(n.puts, 0);
    fake_run(&n.f, 10 * NS_PER_SEC); /* at once, with the new epoch */
    assert_true(nodes_whole(&n, b));
    nodes_fini(&n);
}

/* It waited for its turn so long that what was seen before is old. */
static void after_a_long_wait_it_is_looked_again(void **state)
{
    (void)state;
    for (unsigned deleted = 0; deleted < 2; deleted++) {
        struct nodes n;
        nodes_init(&n, 1, 2);
        struct blob *a = nodes_blob(&n, 500000), *b = nodes_blob(&n, 500000);
        a->id.bytes[0] = b->id.bytes[0] = 0;
        nodes_lose(&n, 2, a, 2);
        nodes_lose(&n, 2, b, 2);
        struct repair_config config = {.bytes_per_sec = 10000}; /* 100 s each */
        nodes_repair(&n, "s0", &config);
        fake_run(&n.f, 50 * NS_PER_SEC);
        assert_int_equal(n.puts, 1);
        n.node[1].deleted[1] = deleted; /* it is b that waits */
        fake_run(&n.f, 80 * NS_PER_SEC);
        assert_int_equal(n.puts, deleted ? 1 : 2);
        assert_int_equal(stats_of(&n).deleted_skipped, deleted);
        nodes_fini(&n);
    }
}

static void the_most_endangered_come_first(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *blob[6];
    for (unsigned i = 0; i < 6; i++) {
        blob[i] = nodes_blob(&n, 5000);
        blob[i]->id.bytes[0] = 9;
        nodes_lose(&n, 4, blob[i], 4);
    }
    nodes_lose(&n, 3, blob[5], 3);
    struct repair_config config = {.parallel = 1};
    nodes_repair(&n, "s0", &config);
    fake_run(&n.f, ROUND / 2);
    assert_int_equal(blob[5]->mended_at, 1);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(blob[i]->mended_at, i + 2); /* then the oldest */
    nodes_fini(&n);
}

static void the_rate_is_bounded_and_rises_with_danger(void **state)
{
    (void)state;
    for (unsigned more = 0; more < 2; more++) {
        struct nodes n;
        nodes_init(&n, 1, 2);
        for (unsigned i = 0; i < 10; i++) {
            struct blob *b = nodes_blob(&n, 500000);
            nodes_lose(&n, 2, b, 2);
            if (more)
                nodes_lose(&n, 1, b, 1);
        }
        struct repair_config config = {.bytes_per_sec = 200000,
                                       .bytes_per_sec_endangered = 100000000};
        nodes_repair(&n, "s0", &config);
        fake_run(&n.f, 11 * NS_PER_SEC);
        uint64_t bytes = stats_of(&n).repaired_bytes;
        if (more)
            assert_int_equal(bytes, 20 * 500000);
        else
            assert_in_range(bytes, 500000, 6 * 200000); /* read and written are counted */
        fake_run(&n.f, 60 * NS_PER_SEC);
        assert_true(nodes_whole(&n, &n.blob[9]));
        nodes_fini(&n);
    }
}

static void only_the_first_live_member_repairs(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 5000);
    nodes_lose(&n, 4, b, 4);
    nodes_repair(&n, "s1", NULL);
    fake_run(&n.f, ROUND);
    assert_int_equal(n.puts, 0);
    n.node[0].state = CAIRN__NODE_STATE__NODE_DOWN;
    n.node[0].peer->down = true;
    nodes_map_changed(&n);
    fake_run(&n.f, ROUND);
    assert_int_equal(n.puts, 1);
    assert_true(nodes_whole(&n, b));
    nodes_fini(&n);
}

/* Of one that is no repairer: its own damage is mended at once, before any group has its turn. */
static void what_is_found_is_mended_at_once(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 300000), *gone = nodes_blob(&n, 1000);
    fake_run(&n.f, NS_PER_SEC);
    nodes_repair(&n, "s2", NULL);
    fake_run(&n.f, ROUND / 2); /* what it had missed is behind it */
    assert_int_equal(n.puts, 0);
    unsigned lists = n.node[1].lists;
    nodes_kept(&n, 2, b, 2)->state = nodes_kept(&n, 2, gone, 2)->state = KEPT_DAMAGED;
    n.node[1].deleted[1] = true;       /* that is gone */
    for (unsigned i = 0; i < 2; i++) { /* told twice, done once */
        repair_agent_spot(n.agent, PG, &b->id, 3);
        repair_agent_spot(n.agent, PG, &gone->id, REPAIR_SOURCE_NONE);
        repair_agent_spot(n.agent, PG + 1, &b->id, 3); /* of a group that there is not */
    }
    fake_run(&n.f, NS_PER_SEC);
    assert_true(nodes_whole(&n, b));
    assert_int_equal(n.puts, 1);
    assert_int_equal(n.node[1].lists, lists);
    assert_int_equal(repair_agent_spots_mended(n.agent, 3), 1);
    assert_int_equal(stats_of(&n).spots, 3);
    assert_int_equal(stats_of(&n).spots_mended, 1);
    nodes_fini(&n);
}

/* More than are kept: a pass over the group finds the rest; one that does not succeed is tried
 * again. */
static void what_is_found_is_bounded_and_not_lost(void **state)
{
    (void)state;
    struct nodes n;
    struct repair_config config = {.retry_ns = NS_PER_SEC};
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 3000), *c = nodes_blob(&n, 3000);
    fake_run(&n.f, NS_PER_SEC);
    nodes_repair(&n, "s2", &config);
    fake_run(&n.f, ROUND / 2);
    nodes_kept(&n, 2, b, 2)->state = nodes_kept(&n, 2, c, 2)->state = KEPT_DAMAGED;
    n.node[2].forgets = true;
    repair_agent_spot(n.agent, PG, &b->id, 0);
    fake_run(&n.f, 2 * NS_PER_SEC);
    assert_int_equal(stats_of(&n).spots_mended, 0);
    n.node[2].forgets = false;
    fake_run(&n.f, 3 * NS_PER_SEC);
    assert_int_equal(stats_of(&n).spots_mended, 1);
    struct id128 id = {{1}};
    for (unsigned i = 0; i < REPAIR_SPOTS_MAX; i++) {
        memcpy(&id.bytes[4], &i, sizeof(i));
        repair_agent_spot(n.agent, PG + 1, &id, 0);
    }
    repair_agent_spot(n.agent, PG, &c->id, 0);
    assert_int_equal(stats_of(&n).spots_dropped, 1);
    fake_run(&n.f, ROUND / 2);
    assert_true(nodes_whole(&n, b) && nodes_whole(&n, c));
    nodes_fini(&n);
}

/* It is not the repairer, and was away for less time than the map knows of. */
static void a_node_that_starts_looks_for_what_it_missed(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 5000), *others = nodes_blob(&n, 5000);
    struct blob *young = nodes_blob(&n, 5000);
    young->time_ms = 1700000000000 - 110000;
    struct repair_config config = {.retry_ns = NS_PER_SEC};
    nodes_lose(&n, 3, b, 3);
    nodes_lose(&n, 3, young, 3);
    nodes_lose(&n, 4, others, 4);
    fake_run(&n.f, NS_PER_SEC);
    nodes_repair(&n, "s3", &config);
    fake_run(&n.f, 5 * NS_PER_SEC);
    assert_true(nodes_whole(&n, b));
    assert_int_equal(n.puts, 1);
    fake_run(&n.f, 15 * NS_PER_SEC); /* when it is old enough, not after the interval */
    assert_true(nodes_whole(&n, young));
    assert_int_equal(n.puts, 2);
    nodes_fini(&n);
}

/* Two minutes pass between the group's turns, and it is mended within a few seconds. */
static void a_member_that_is_back_is_filled_at_once(void **state)
{
    (void)state;
    struct nodes n;
    struct repair_config config = {.interval_ns = 3600 * NS_PER_SEC};
    nodes_init(&n, 3, 2);
    n.node[4].state = CAIRN__NODE_STATE__NODE_DOWN;
    n.node[4].peer->down = true;
    fake_run(&n.f, NS_PER_SEC);
    nodes_repair(&n, "s0", &config);
    fake_run(&n.f, ROUND);
    struct blob *b = nodes_blob(&n, 5000);
    nodes_lose(&n, 4, b, 4);
    fake_run(&n.f, ROUND);
    n.node[4].state = CAIRN__NODE_STATE__NODE_UP;
    n.node[4].peer->down = false;
    nodes_map_changed(&n);
    fake_run(&n.f, 5 * NS_PER_SEC);
    assert_true(nodes_whole(&n, b));
    nodes_fini(&n);
}

/* Node 4 leaves, node 5 comes. */
static void a_new_member_fills_itself(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 700000), *young = nodes_blob(&n, 100);
    struct blob *upload = nodes_blob(&n, 200), *gone = nodes_blob(&n, 300);
    young->time_ms = 1700000000000 + 900000; /* also by a clock that is ahead */
    upload->referred = gone->referred = false;
    gone->time_ms = 1700000000000 - 25 * 3600000ull;
    nodes_lose(&n, 4, b, 4); /* is rebuilt, the others are copied */
    n.changing = true;
    n.next[4] = 5;
    nodes_repair(&n, "s5", NULL);
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, 0); /* they have not closed */
    for (unsigned i = 0; i < 4; i++)
        n.node[i].closed_epoch = n.epoch;
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, 0); /* the one that leaves has to, too */
    n.node[4].closed_epoch = n.epoch;
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch,
                     0); /* and the one that comes: it might lose it all */
    n.node[5].closed_epoch = n.epoch;
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, n.epoch);
    n.member[4] = 5;
    assert_true(nodes_whole(&n, b));
    assert_true(nodes_whole(&n, young));
    assert_true(nodes_whole(&n, upload));
    assert_int_equal(nodes_kept(&n, 5, gone, 4)->state, KEPT_NOT);
    nodes_fini(&n);
}

/* A long pass makes way for a group that bears no loss any more, and for no other; then it goes
 * on. */
static void a_group_in_danger_does_not_wait(void **state)
{
    (void)state;
    for (unsigned danger = 0; danger < 2; danger++) {
        struct nodes n;
        nodes_init(&n, 3, 2);
        for (unsigned i = 0; i < 20; i++) {
            struct blob *b = nodes_blob(&n, 50000);
            b->id.bytes[0] = (uint8_t)(i * 5);
            nodes_lose(&n, 4, b, 4);
        }
        for (unsigned i = 0; i < 1 + danger; i++)
            n.node[7 - i].state = CAIRN__NODE_STATE__NODE_DOWN;
        struct repair_config config = {.bytes_per_sec = 25600}; /* 10 s each */
        nodes_repair(&n, "s0", &config);
        fake_run(&n.f, 30 * NS_PER_SEC);
        n.other_epoch = 1;
        nodes_map_changed(&n);
        fake_run(&n.f, 30 * NS_PER_SEC);
        assert_in_range(n.puts, 3, 12);
        assert_int_equal(n.other_asked > 0, danger);
        assert_int_equal(stats_of(&n).passes_failed, 0);
        fake_run(&n.f, 300 * NS_PER_SEC);
        assert_int_equal(n.puts, 20);
        assert_true(n.other_asked > 0);
        nodes_fini(&n);
    }
}

/* Replicas of one become three: each new member fills itself. */
static void replicas_become_more(void **state)
{
    (void)state;
    for (unsigned own = 1; own < 3; own++) {
        struct nodes n;
        nodes_init(&n, 1, 2);
        struct blob *b = nodes_blob(&n, 5000);
        nodes_lose(&n, 1, b, 1);
        nodes_lose(&n, 2, b, 2);
        n.members_now = 1;
        n.changing = true;
        n.node[own].closed_epoch = n.epoch;
        nodes_repair(&n, own == 1 ? "s1" : "s2", NULL);
        fake_run(&n.f, ROUND);
        assert_int_equal(report_of(&n).filled_epoch, 0); /* the old one has not closed */
        n.node[0].closed_epoch = n.epoch;
        fake_run(&n.f, ROUND);
        assert_int_equal(report_of(&n).filled_epoch, n.epoch);
        assert_int_equal(nodes_kept(&n, own, b, own)->state, KEPT_WHOLE);
        assert_int_equal(n.puts, 1);
        nodes_fini(&n);
    }
}

static void filled_is_not_said_of_what_is_lacking(void **state)
{
    (void)state;
    struct nodes n;
    nodes_init(&n, 3, 2);
    struct blob *b = nodes_blob(&n, 5000);
    n.changing = true;
    n.next[4] = 5;
    for (unsigned i = 0; i < 6; i++)
        n.node[i].closed_epoch = n.epoch;
    n.node[5].forgets = true;
    nodes_repair(&n, "s5", NULL);
    fake_run(&n.f, ROUND);
    assert_int_equal(report_of(&n).filled_epoch, 0);
    n.node[5].forgets = false;
    /* So few are there that a blob might be at none of them. */
    for (unsigned i = 0; i < 3; i++) {
        n.node[i].state = CAIRN__NODE_STATE__NODE_DOWN;
        n.node[i].peer->down = true;
    }
    nodes_lose(&n, 3, b, 3);
    nodes_lose(&n, 4, b, 4);
    nodes_map_changed(&n);
    fake_run(&n.f, 2 * ROUND);
    assert_int_equal(report_of(&n).filled_epoch, 0);
    for (unsigned i = 0; i < 3; i++) {
        n.node[i].state = CAIRN__NODE_STATE__NODE_UP;
        n.node[i].peer->down = false;
    }
    nodes_map_changed(&n);
    fake_run(&n.f, 2 * ROUND);
    assert_int_equal(report_of(&n).filled_epoch, n.epoch);
    assert_int_equal(nodes_kept(&n, 5, b, 4)->state, KEPT_WHOLE);
    nodes_fini(&n);
}

/* Stopped at any moment: everything ends, nothing is left behind (the sanitizers look). */
static void it_stops_at_any_moment(void **state)
{
    (void)state;
    for (unsigned ms = 1; ms < 60; ms += 2) {
        struct nodes n;
        nodes_init(&n, 3, 2);
        struct blob *b = nodes_blob(&n, 900000);
        b->id.bytes[0] = 0;
        nodes_lose(&n, 1, b, 1);
        nodes_lose(&n, 4, b, 4);
        nodes_repair(&n, "s0", NULL);
        fake_run(&n.f, NS_PER_SEC + ms * NS_PER_MS);
        nodes_fini(&n);
    }
}

/* Whatever allocation fails: nothing wrong is written, and the next round mends. */
static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (uint64_t at = 0;; at++) {
        struct nodes n;
        nodes_init(&n, 3, 2);
        struct blob *b = nodes_blob(&n, 300000), *c = nodes_blob(&n, 300);
        nodes_lose(&n, 1, b, 1);
        nodes_lose(&n, 4, b, 4);
        nodes_lose(&n, 2, c, 2);
        fake_run(&n.f, NS_PER_SEC); /* the map is there */
        nodes_repair(&n, "s0", NULL);
        alloc_fail_at(at < 40 ? at : 40 + (at - 40) * 13);
        fake_run(&n.f, 10 * NS_PER_SEC);
        bool failed = alloc_fail_end();
        fake_run(&n.f, 3 * ROUND);
        assert_true(nodes_whole(&n, b));
        assert_true(nodes_whole(&n, c));
        nodes_fini(&n);
        if (!failed)
            break;
    }
}

static void metrics_say_what_is_missing(void **state)
{
    (void)state;
    struct nodes n;
    struct buf text = {0};
    forgotten(&n);
    assert_int_equal(repair_metrics_register(n.agent), OK);
    metrics_text(&text);
    buf_printf(&text, "%c", 0);
    assert_non_null(strstr((const char *)text.ptr, "\ncairn_repair_missing_shards 1\n"));
    assert_non_null(strstr((const char *)text.ptr, "\ncairn_repair_failures_total 1\n"));
    assert_non_null(strstr((const char *)text.ptr, "\ncairn_repair_shards_total 0\n"));
    buf_fini(&text);
    nodes_fini(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_and_damaged_shards_are_rebuilt),
        cmocka_unit_test(what_is_whole_is_not_listed_again),
        cmocka_unit_test(what_is_damaged_everywhere_is_met),
        cmocka_unit_test(it_mends_while_it_lists),
        cmocka_unit_test(done_is_what_was_read_back),
        cmocka_unit_test(what_a_live_member_deleted_is_not_copied),
        cmocka_unit_test(what_nothing_refers_to_or_is_young_is_left_alone),
        cmocka_unit_test(what_is_out_of_reach_is_reported),
        cmocka_unit_test(what_is_not_the_blob_is_not_written),
        cmocka_unit_test(what_is_not_the_blob_is_seen_without_a_data_shard),
        cmocka_unit_test(a_source_that_fails_is_replaced),
        cmocka_unit_test(a_group_that_changes_ends_the_pass),
        cmocka_unit_test(after_a_long_wait_it_is_looked_again),
        cmocka_unit_test(the_most_endangered_come_first),
        cmocka_unit_test(the_rate_is_bounded_and_rises_with_danger),
        cmocka_unit_test(only_the_first_live_member_repairs),
        cmocka_unit_test(what_is_found_is_mended_at_once),
        cmocka_unit_test(what_is_found_is_bounded_and_not_lost),
        cmocka_unit_test(a_node_that_starts_looks_for_what_it_missed),
        cmocka_unit_test(a_member_that_is_back_is_filled_at_once),
        cmocka_unit_test(a_new_member_fills_itself),
        cmocka_unit_test(a_group_in_danger_does_not_wait),
        cmocka_unit_test(replicas_become_more),
        cmocka_unit_test(filled_is_not_said_of_what_is_lacking),
        cmocka_unit_test(it_stops_at_any_moment),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(metrics_say_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
