/* Published results, closed forms against simulations where failures are common enough to be seen,
 * and the three simulations against each other. */
#include "cli/durability/closed.h"
#include "cli/durability/sim.h"
#include "common/base/check.h"

#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void near(double got, double want, double relative)
{
    if (fabs(got - want) > relative * fabs(want))
        fail_msg("got %.6g, expected %.6g within %.3g", got, want, relative);
}

/* ---- published ---- */

/* B. Beach's table for 4+2 at 10 % a year and one day (README of Backblaze's calculator):
 * cumulative probability of a window, and of a year of 365 of them.  It computes 1 - (1 - p), hence
 * the tolerance. */
static void windows_as_published(void **state)
{
    (void)state;
    static const struct {
        unsigned lost;
        double window, year;
    } rows[] = {{6, 4.226e-22, 1.542e-19},
                {5, 9.253e-18, 3.377e-15},
                {4, 8.443e-14, 3.082e-11},
                {3, 4.109e-10, 1.500e-07},
                {2, 1.125e-06, 4.105e-04}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        double window = closed_window(6, rows[i].lost - 1, 0.10, 24);
        near(window, rows[i].window, 1e-3);
        near(closed_probability(365 * window), rows[i].year, 2e-3);
    }
}

/* 17+3, 0.405 % a year, 6.5 days: 1.3098e-13 a window; 56.15 windows a year make 7.354e-12. */
static void backblaze_17_of_20(void **state)
{
    (void)state;
    double window = closed_window(20, 3, 0.00405, 6.5 * 24);
    near(window, 1.309770e-13, 1e-6);
    near(window * 56.15, 7.354e-12, 0.0005 / 7.354);
    near(window * 365 / 6.5, 7.354860e-12, 1e-6);
}

/* Copysets, USENIX ATC 2013: 5000 nodes, three replicas, 1 % of the nodes lost at once. */
static void copysets_as_published(void **state)
{
    (void)state;
    static const struct {
        unsigned scatter;
        double percent, rounding;
    } rows[] = {{2, 0.16, 0.005}, {10, 0.78, 0.005}, {50, 3.8, 0.05}};
    struct dur_params p = {.zones = 1,
                           .nodes = 5000,
                           .disks = 1,
                           .data = 1,
                           .parity = 2,
                           .disk_rate = 0.01,
                           .disk_hours = 1,
                           .node_hours = 1,
                           .zone_hours = 1,
                           .outage_hours = 1,
                           .scrub_hours = 24,
                           .disk_bytes = 1,
                           .blob_bytes = 1};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct dur_groups g;
        struct sim_estimate e;
        p.scatter = rows[i].scatter;
        assert_int_equal(dur_groups_init(&g, &p, 7), OK);
        double closed = closed_burst(5000, 50, g.count, 3, 2);
        near(100 * closed, rows[i].percent, rows[i].rounding / rows[i].percent);
        assert_int_equal(sim_burst(&p, &g, 50, rows[i].scatter < 50 ? 20000 : 4000, 3, &e), OK);
        assert_true(e.low <= closed && closed <= e.high);
        dur_groups_fini(&g);
    }
}

/* Two copies: MTTDL = (3 lambda + mu) / (2 lambda^2), as in every textbook. */
static void markov_of_a_mirror(void **state)
{
    (void)state;
    double lambda = 0.05, mu = DUR_YEAR_HOURS / 24;
    near(1 / closed_markov(2, 1, lambda, 24, false), (3 * lambda + mu) / (2 * lambda * lambda),
         1e-12);
    /* With two parities, one repair at a time loses about parity! times as often. */
    near(closed_markov(9, 3, 1e-3, 24, true) / closed_markov(9, 3, 1e-3, 24, false), 6, 1e-3);
}

/* Windows that overlap: a loss that a window's edge would cut in two is one, parity + 1 times as
 * many. */
static void fixed_windows_miss_what_spans_two(void **state)
{
    (void)state;
    unsigned members[DUR_ZONES_MAX] = {20};
    struct dur_terms terms;
    struct dur_params p = {.zones = 1,
                           .nodes = 20,
                           .disks = 1,
                           .data = 17,
                           .parity = 3,
                           .disk_rate = 0.00405,
                           .disk_hours = 156,
                           .node_hours = 1,
                           .zone_hours = 1};
    double sliding = closed_crossings(&p, members, false, &terms);
    near(sliding / (closed_window(20, 3, 0.00405, 156) * DUR_YEAR_HOURS / 156), 4, 1e-3);
    near(sliding, closed_markov(20, 3, 0.00405, 156, false), 1e-3);
    near(terms.rate[0][4], sliding, 1e-12);
}

/* ---- simulations ---- */

static struct sim_result group_run(const struct dur_params *p, uint64_t cycles, bool biased,
                                   uint64_t seed)
{
    struct dur_groups g;
    struct sim_result r;
    struct sim_options o = {.seed = seed, .cycles = cycles, .biased = biased};
    assert_int_equal(dur_groups_init(&g, p, 1), OK);
    assert_int_equal(sim_group(p, &g, &o, &r), OK);
    dur_groups_fini(&g);
    return r;
}

/* The interval is a 95 % one; with some slack a sound estimate is always within. */
static void holds(struct sim_estimate e, double truth, double slack)
{
    double half = (e.high - e.low) / 2;
    if (fabs(e.rate - truth) > slack * half)
        fail_msg("%.6g (%.6g .. %.6g) does not hold %.6g", e.rate, e.low, e.high, truth);
}

static void rare_events_agree_with_the_closed_form(void **state)
{
    (void)state;
    struct dur_params p = {.zones = 1,
                           .nodes = 20,
                           .disks = 1,
                           .data = 17,
                           .parity = 3,
                           .scatter = 19,
                           .disk_rate = 0.00405,
                           .disk_hours = 156,
                           .node_hours = 1,
                           .zone_hours = 1,
                           .outage_hours = 1,
                           .scrub_hours = 24,
                           .disk_bytes = 1,
                           .blob_bytes = 1};
    for (int exponential = 0; exponential < 2; exponential++) {
        p.exponential = exponential;
        struct sim_result r = group_run(&p, 100000, true, 11);
        holds(r.blob, closed_markov(20, 3, 0.00405, 156, false), 2);
        assert_true((r.blob.high - r.blob.low) / r.blob.rate < 0.2);
        holds(r.any, r.blob.rate, 1);
    }
}

/* Plain cycles, and biased ones, of a group that fails often enough. */
static void bias_changes_nothing_but_the_interval(void **state)
{
    (void)state;
    struct dur_params p = {.zones = 1,
                           .nodes = 5,
                           .disks = 1,
                           .data = 3,
                           .parity = 2,
                           .scatter = 4,
                           .disk_rate = 4,
                           .disk_hours = 48,
                           .node_hours = 1,
                           .zone_hours = 1,
                           .outage_hours = 1,
                           .exponential = true,
                           .scrub_hours = 24,
                           .disk_bytes = 1,
                           .blob_bytes = 1};
    double truth = closed_markov(5, 2, 4, 48, false);
    struct sim_result plain = group_run(&p, 200000, false, 5),
                      biased = group_run(&p, 200000, true, 6);
    holds(plain.blob, truth, 2);
    holds(biased.blob, truth, 2);
    assert_true(biased.blob.high - biased.blob.low < (plain.blob.high - plain.blob.low) / 2);
    assert_true(plain.losses > 100);
}

/* Zones, nodes, disks, groups that share nodes, outages that delay repair, bad sectors: the cluster
 * as a whole and the group with its neighbours are different programs. */
static void cluster_and_group_agree(void **state)
{
    (void)state;
    struct dur_params p = {.zones = 3,
                           .nodes = 4,
                           .disks = 3,
                           .data = 2,
                           .parity = 2,
                           .scatter = 9,
                           .disk_rate = 0.6,
                           .node_rate = 0.8,
                           .zone_rate = 0.5,
                           .zone_permanent = 0.3,
                           .disk_hours = 24,
                           .node_hours = 48,
                           .zone_hours = 60,
                           .outage_hours = 100,
                           .lse_rate = 20,
                           .scrub_hours = 720,
                           .disk_bytes = 1e12,
                           .blob_bytes = 4e6};
    struct dur_groups g;
    struct sim_result group = group_run(&p, 300000, true, 3), cluster;
    struct sim_options o = {.seed = 4, .years = 100000};
    unsigned members[DUR_ZONES_MAX] = {2, 1, 1};
    struct dur_terms terms;
    assert_int_equal(dur_groups_init(&g, &p, 1), OK);
    assert_int_equal(sim_cluster(&p, &g, &o, &cluster), OK);
    double wide = 2 * (cluster.blob.high - cluster.blob.low) / cluster.blob.rate;
    near(cluster.blob.rate, group.blob.rate, wide / 2);
    near(cluster.group.rate, group.group.rate, wide / 2);
    near(cluster.any.rate, group.any.rate, wide / 2);
    assert_true(group.any.rate <
                0.95 * group.group.rate * g.count); /* some losses hit several groups */
    near(cluster.any_lse, group.any_lse, 0.03);
    near(cluster.blob_lse, group.blob_lse, 0.03);
    near(closed_crossings(&p, members, false, &terms), group.blob.rate, 0.03);
    near(closed_crossings(&p, members, true, &terms), group.group.rate, 0.03);
    near(terms.rate[1][1], group.terms.rate[1][1], 0.04);
    dur_groups_fini(&g);
}

/* However common failures are: the stationary process is known exactly, whatever the repair times.
 */
static void cluster_agrees_with_the_exact_form(void **state)
{
    (void)state;
    struct dur_params p = {.zones = 1,
                           .nodes = 6,
                           .disks = 1,
                           .data = 4,
                           .parity = 2,
                           .scatter = 5,
                           .disk_rate = 60,
                           .disk_hours = 48,
                           .node_hours = 1,
                           .zone_hours = 1,
                           .outage_hours = 1,
                           .scrub_hours = 24,
                           .disk_bytes = 1,
                           .blob_bytes = 1};
    unsigned members[DUR_ZONES_MAX] = {6};
    struct dur_terms terms;
    struct dur_groups g;
    struct sim_result cluster;
    struct sim_options o = {.seed = 2, .years = 2000};
    assert_int_equal(dur_groups_init(&g, &p, 1), OK);
    for (int exponential = 0; exponential < 2; exponential++) {
        p.exponential = exponential;
        assert_int_equal(sim_cluster(&p, &g, &o, &cluster), OK);
        near(cluster.any.rate, closed_crossings(&p, members, true, &terms), 0.02);
    }
    dur_groups_fini(&g);
}

/* Repair waits while too few shards are within reach. */
static void outages_delay_repair(void **state)
{
    (void)state;
    struct dur_params p = {.zones = 2,
                           .nodes = 2,
                           .disks = 1,
                           .data = 2,
                           .parity = 2,
                           .scatter = 3,
                           .disk_rate = 1,
                           .zone_rate = 20,
                           .zone_permanent = 0,
                           .disk_hours = 2,
                           .node_hours = 1,
                           .zone_hours = 1,
                           .outage_hours = 200,
                           .scrub_hours = 24,
                           .disk_bytes = 1,
                           .blob_bytes = 1};
    struct dur_groups g;
    struct sim_result cluster;
    struct sim_options o = {.seed = 4, .years = 400000};
    struct sim_result with = group_run(&p, 500000, true, 1);
    assert_int_equal(dur_groups_init(&g, &p, 1), OK);
    assert_int_equal(sim_cluster(&p, &g, &o, &cluster), OK);
    near(cluster.blob.rate, with.blob.rate, 0.15);
    dur_groups_fini(&g);
    p.zone_rate = 0;
    struct sim_result without = group_run(&p, 300000, true, 1);
    assert_true(with.blob.rate > 10 * without.blob.rate);
}

static void a_seed_is_an_answer(void **state)
{
    (void)state;
    struct dur_params p = {.zones = 3,
                           .nodes = 3,
                           .disks = 2,
                           .data = 5,
                           .parity = 4,
                           .scatter = 8,
                           .disk_rate = 0.01,
                           .node_rate = 0.01,
                           .zone_rate = 0.1,
                           .zone_permanent = 0.1,
                           .disk_hours = 24,
                           .node_hours = 48,
                           .zone_hours = 60,
                           .outage_hours = 4,
                           .lse_rate = 1,
                           .scrub_hours = 720,
                           .disk_bytes = 1e12,
                           .blob_bytes = 4e6};
    struct sim_result a = group_run(&p, 20000, true, 9), b = group_run(&p, 20000, true, 9),
                      c = group_run(&p, 20000, true, 10);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_true(a.blob.rate != c.blob.rate);
}

static void groups_are_even_over_zones(void **state)
{
    (void)state;
    struct dur_params p = {.zones = 3,
                           .nodes = 7,
                           .disks = 1,
                           .data = 5,
                           .parity = 4,
                           .scatter = 20,
                           .disk_rate = 1,
                           .disk_hours = 1,
                           .node_hours = 1,
                           .zone_hours = 1,
                           .outage_hours = 1,
                           .scrub_hours = 24,
                           .disk_bytes = 1,
                           .blob_bytes = 1};
    struct dur_groups g;
    assert_int_equal(dur_groups_init(&g, &p, 1), OK);
    assert_int_equal(g.count, 3 * 2); /* 20 / 8 permutations rounded up, of 21 / 9 groups each */
    for (unsigned k = 0; k < g.count; k++) {
        unsigned in[3] = {0};
        for (unsigned i = 0; i < 9; i++) {
            uint32_t node = g.member[k * 9 + i];
            in[dur_zone_of(&p, node)]++;
            for (unsigned j = 0; j < i; j++)
                assert_int_not_equal(g.member[k * 9 + j], node);
            bool found = false;
            for (uint32_t at = g.node_from[node]; at < g.node_from[node + 1]; at++)
                found |= g.node_group[at] == k;
            assert_true(found);
        }
        assert_true(in[0] == 3 && in[1] == 3 && in[2] == 3);
    }
    dur_groups_fini(&g);
    p.scatter = DUR_NODES_MAX;
    p.nodes = 6666;
    assert_int_equal(dur_groups_init(&g, &p, 1), ERR_TOO_LARGE);
    p.nodes = 2;
    assert_false(dur_params_valid(&p)); /* fewer nodes than shards */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_as_published),
        cmocka_unit_test(backblaze_17_of_20),
        cmocka_unit_test(copysets_as_published),
        cmocka_unit_test(markov_of_a_mirror),
        cmocka_unit_test(fixed_windows_miss_what_spans_two),
        cmocka_unit_test(rare_events_agree_with_the_closed_form),
        cmocka_unit_test(bias_changes_nothing_but_the_interval),
        cmocka_unit_test(cluster_and_group_agree),
        cmocka_unit_test(cluster_agrees_with_the_exact_form),
        cmocka_unit_test(outages_delay_repair),
        cmocka_unit_test(a_seed_is_an_answer),
        cmocka_unit_test(groups_are_even_over_zones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
