/* Members of groups and changes of them, over random topologies: the zones' bound, the spread of
 * load, the scatter width that was stated, and no more moves than must be. */
#include "common/base/err.h"
#include "metanode/placement/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NODES_MAX 128
#define GROUPS_MAX 512
#define GB (1ull << 30)

static const struct place_scheme REP3 = {1, 2}, RS54 = {5, 4}, RS33 = {3, 3};

struct town {
    struct place_node nodes[NODES_MAX];
    struct place_group groups[GROUPS_MAX];
    struct place_view v;
};

static uint64_t state;

static unsigned dice(unsigned n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % n;
}

static void town_init(struct town *t)
{
    memset(t, 0, sizeof(*t));
    t->v.nodes = t->nodes;
    t->v.groups = t->groups;
}

static void add_zone(struct town *t, unsigned nodes, uint64_t bytes)
{
    for (unsigned i = 0; i < nodes; i++)
        t->nodes[t->v.node_count++] = (struct place_node){
            .zone = t->v.zone_count, .bytes_total = bytes, .bytes_used = bytes / 2};
    t->v.zone_count++;
}

static void add_groups(struct town *t, struct place_scheme scheme, unsigned count, unsigned width,
                       struct place_made *ret)
{
    struct place_ask ask = {.scheme = scheme, .count = count, .scatter_width = width, .seed = 5};
    struct place_made made;
    assert_int_equal(place_make(&t->v, &ask, &made), OK);
    for (unsigned g = 0; g < count; g++) {
        struct place_group *pg = &t->groups[t->v.group_count++];
        *pg = (struct place_group){.scheme = scheme, .count = (uint8_t)made.shards};
        memcpy(pg->members, made.members + g * made.shards, made.shards * sizeof(uint16_t));
    }
    if (ret)
        *ret = made;
    place_made_fini(&made);
}

static unsigned load_of(const struct town *t, size_t node, struct place_scheme s)
{
    unsigned load = 0;
    for (size_t g = 0; g < t->v.group_count; g++)
        for (unsigned i = 0; i < t->groups[g].count; i++)
            load += t->groups[g].scheme.data == s.data && t->groups[g].members[i] == node;
    return load;
}

/* One shard a node, and no zone above the bound. */
static void check_group(const struct town *t, const struct place_group *g, unsigned cap)
{
    unsigned zones[NODES_MAX] = {0};
    for (unsigned i = 0; i < g->count; i++) {
        assert_true(g->members[i] < t->v.node_count);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(g->members[i], g->members[k]);
        assert_true(++zones[t->nodes[g->members[i]].zone] <= cap);
    }
}

static void check_groups(const struct town *t)
{
    for (size_t g = 0; g < t->v.group_count; g++)
        check_group(t, &t->groups[g], place_zone_cap(&t->v, t->groups[g].count));
}

/* Carries the plan out, as if every change had been filled and finished.  Returns the places moved.
 */
static unsigned carry_out(struct town *t, const struct place_plan *p)
{
    unsigned moves = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct place_group *g = &t->groups[p->changes[i].group];
        unsigned differ = p->changes[i].count - g->count;
        for (unsigned k = 0; k < g->count; k++)
            differ += g->members[k] != p->changes[i].next[k];
        assert_true(differ == p->changes[i].moves && differ > 0);
        g->count = (uint8_t)p->changes[i].count;
        memcpy(g->members, p->changes[i].next, sizeof(g->members));
        moves += differ;
    }
    return moves;
}

static unsigned plan_once(struct town *t, size_t *ret_stuck)
{
    struct place_plan p;
    assert_int_equal(place_plan(&t->v, GROUPS_MAX, &p), OK);
    unsigned moves = carry_out(t, &p);
    if (ret_stuck)
        *ret_stuck = p.stuck;
    place_plan_fini(&p);
    return moves;
}

/* ---- schemes ---- */

static void test_schemes_follow_topology(void **arg)
{
    static const struct {
        unsigned zones[4];
        size_t count;
        unsigned data;
    } cases[] = {{{3, 3, 3}, 2, 5}, {{3, 3, 2}, 2, 3}, {{2, 2, 2}, 2, 3},   {{1, 1, 1}, 1, 1},
                 {{5, 5}, 1, 1},    {{9}, 1, 1},       {{3, 3, 3, 1}, 2, 5}};
    (void)arg;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct town *t = malloc(sizeof(*t));
        struct place_scheme s[2];
        town_init(t);
        for (unsigned z = 0; z < 4 && cases[i].zones[z]; z++)
            add_zone(t, cases[i].zones[z], GB);
        assert_int_equal(place_default_schemes(&t->v, s), cases[i].count);
        assert_int_equal(s[0].data, cases[i].data);
        assert_int_equal(s[cases[i].count - 1].parity, 2);
        free(t);
    }
}

static void test_shares_of_zones(void **arg)
{
    struct town *t = malloc(sizeof(*t));
    (void)arg;
    town_init(t);
    add_zone(t, 3, GB), add_zone(t, 3, GB), add_zone(t, 3, GB);
    assert_int_equal(place_zone_cap(&t->v, 9), 3);
    assert_int_equal(place_zone_cap(&t->v, 6), 2);
    assert_int_equal(place_zone_cap(&t->v, 3), 1);
    assert_int_equal(place_zone_cap(&t->v, 10), 0);
    t->nodes[0].state = PLACE_LOST; /* a zone keeps its part while it is away */
    assert_int_equal(place_zone_cap(&t->v, 9), 3);
    free(t);
}

/* ---- making ---- */

/* Other nodes that share a group with a node, of the groups from a number on: the most, and the
 * least of those that have any. */
static unsigned widest(const struct town *t, size_t from, unsigned *ret_least)
{
    unsigned most = 0;
    *ret_least = NODES_MAX;
    for (size_t n = 0; n < t->v.node_count; n++) {
        bool met[NODES_MAX] = {false};
        unsigned seen = 0;
        for (size_t g = from; g < t->v.group_count; g++)
            for (unsigned k = 0; k < t->groups[g].count; k++)
                for (unsigned j = 0; t->groups[g].members[k] == n && j < t->groups[g].count; j++)
                    if (j != k && !met[t->groups[g].members[j]])
                        met[t->groups[g].members[j]] = true, seen++;
        if (seen && seen < *ret_least)
            *ret_least = seen;
        most = seen > most ? seen : most;
    }
    return most;
}

static void test_made_groups_keep_the_rules(void **arg)
{
    (void)arg;
    for (unsigned round = 0; round < 150; round++) {
        struct town *t = malloc(sizeof(*t));
        unsigned zones = 1 + dice(5), width = 1 + dice(20), expected = 0;
        struct place_scheme s[2];
        struct place_made made;
        town_init(t);
        for (unsigned z = 0; z < zones; z++)
            add_zone(t, 1 + dice(8), GB * (1 + dice(4)));
        size_t schemes = place_default_schemes(&t->v, s);
        for (size_t i = 0; i < schemes; i++) {
            unsigned count = 1 + dice(100);
            add_groups(t, s[i], count, width, &made);
            expected += count;
            /* What was stated of the scatter width is so. */
            unsigned least, most = widest(t, expected - count, &least);
            assert_int_equal(most, made.width_max);
            assert_true(most == 0 || least == made.width_min);
        }
        assert_int_equal(t->v.group_count, expected);
        check_groups(t);
        free(t);
    }
}

static void test_equal_nodes_get_equal_loads(void **arg)
{
    static const struct {
        unsigned zones, nodes;
        struct place_scheme scheme;
        unsigned groups;
    } cases[] = {{3, 3, {5, 4}, 16}, {3, 6, {5, 4}, 32}, {3, 2, {3, 3}, 16}, {3, 4, {1, 2}, 16},
                 {1, 7, {1, 2}, 40}, {4, 5, {5, 4}, 60}, {5, 3, {1, 2}, 45}};
    (void)arg;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct town *t = malloc(sizeof(*t));
        unsigned least = GROUPS_MAX, most = 0;
        town_init(t);
        for (unsigned z = 0; z < cases[i].zones; z++)
            add_zone(t, cases[i].nodes, GB);
        add_groups(t, cases[i].scheme, cases[i].groups, 16, NULL);
        for (size_t n = 0; n < t->v.node_count; n++) {
            unsigned load = load_of(t, n, cases[i].scheme);
            least = load < least ? load : least;
            most = load > most ? load : most;
        }
        assert_true(most - least <= 2);
        assert_int_equal(plan_once(t, NULL), 0); /* nothing is out of place from the start */
        free(t);
    }
}

static void test_load_follows_capacity(void **arg)
{
    struct town *t = malloc(sizeof(*t));
    (void)arg;
    town_init(t);
    for (unsigned z = 0; z < 3; z++) {
        add_zone(t, 6, 100 * GB);
        for (unsigned i = 0; i < 3; i++)
            t->nodes[t->v.node_count - 1 - i].bytes_total = 300 * GB;
    }
    add_groups(t, REP3, 240, 12, NULL); /* 240 places a zone: 60 a heavy node, 20 a light one */
    for (size_t n = 0; n < t->v.node_count; n++) {
        unsigned load = load_of(t, n, REP3);
        if (t->nodes[n].bytes_total == 300 * GB)
            assert_in_range(load, 57, 63);
        else
            assert_in_range(load, 18, 22);
    }
    free(t);
}

/* 30 nodes: three replicas of width 4 take two permutations, 20 sets; far fewer than random
 * triples. */
static void test_scatter_width_as_asked(void **arg)
{
    struct town *t = malloc(sizeof(*t));
    struct place_made made;
    (void)arg;
    town_init(t);
    add_zone(t, 10, GB), add_zone(t, 10, GB), add_zone(t, 10, GB);
    add_groups(t, REP3, 200, 4, &made);
    assert_int_equal(made.permutations, 2);
    assert_int_equal(made.copysets, 20);
    assert_int_equal(made.width_min, 4); /* no two nodes meet twice */
    assert_int_equal(made.width_max, 4);
    add_groups(t, REP3, 200, 4, &made); /* later ones lie on the same sets */
    assert_int_equal(made.copysets, 20);
    unsigned least;
    assert_int_equal(widest(t, 0, &least), 4);
    add_groups(t, RS54, 20, 16, &made);
    assert_int_equal(made.permutations, 2);
    assert_true(made.width_min >= 8 && made.width_max <= 24); /* 30 is no multiple of 9 */
    free(t);
}

/* What is made while a zone is away must not crowd the others for ever; nor do new groups lie on
 * sets that were made when there were fewer zones. */
static void test_new_groups_keep_to_zones(void **arg)
{
    struct town *t = malloc(sizeof(*t));
    struct place_ask ask = {.scheme = REP3, .count = 4, .scatter_width = 8};
    struct place_made made;
    (void)arg;
    town_init(t);
    add_zone(t, 3, GB), add_zone(t, 3, GB);
    add_groups(t, REP3, 16, 8, NULL);
    add_zone(t, 3, GB / 100);
    add_groups(t, REP3, 16, 8, NULL);
    for (size_t g = 16; g < 32; g++)
        check_group(t, &t->groups[g], 1);
    for (size_t n = 0; n < 3; n++)
        t->nodes[n].state = PLACE_LOST;
    assert_int_equal(place_make(&t->v, &ask, &made), ERR_NOSPACE);
    free(t);
}

static void test_few_nodes(void **arg)
{
    struct town *t = malloc(sizeof(*t));
    struct place_ask ask = {.scheme = RS33, .count = 4, .scatter_width = 4};
    struct place_made made;
    (void)arg;
    town_init(t);
    ask.scheme = REP3;
    assert_int_equal(place_make(&t->v, &ask, &made), ERR_NOSPACE);
    add_zone(t, 2, 0);
    add_groups(t, REP3, 4, 16, &made);
    assert_int_equal(made.shards, 2);
    check_groups(t);
    ask.scheme = RS33;
    assert_int_equal(place_make(&t->v, &ask, &made), ERR_NOSPACE);
    ask.scheme = (struct place_scheme){12, 5};
    assert_int_equal(place_make(&t->v, &ask, &made), ERR_INVAL);
    free(t);
}

/* ---- plans ---- */

static void test_replicas_on_too_few_nodes_become_more(void **arg)
{
    struct town *t = malloc(sizeof(*t));
    struct place_plan p;
    (void)arg;
    town_init(t);
    add_zone(t, 1, 100);
    add_groups(t, REP3, 4, 16, NULL);
    assert_int_equal(plan_once(t, NULL), 0); /* there is nobody */
    add_zone(t, 1, 100);
    t->nodes[1].state = PLACE_DOWN; /* nor now */
    assert_int_equal(plan_once(t, NULL), 0);
    t->nodes[1].state = PLACE_UP;
    assert_int_equal(plan_once(t, NULL), 4);
    for (unsigned g = 0; g < 4; g++)
        assert_int_equal(t->groups[g].count, 2);
    add_zone(t, 2, 100);
    assert_int_equal(place_plan(&t->v, GROUPS_MAX, &p), OK);
    assert_int_equal(p.count, 4);
    assert_int_equal(p.stuck, 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(p.changes[i].reason, PLACE_GROW);
        assert_int_equal(p.changes[i].bytes, 50 / 4); /* of a place of its first member */
    }
    carry_out(t, &p);
    place_plan_fini(&p);
    check_groups(t);
    for (unsigned g = 0; g < 4; g++)
        assert_int_equal(t->groups[g].count, 3);
    plan_once(t, NULL);
    assert_int_equal(plan_once(t, NULL), 0);
    free(t);
}

static struct town *big_town(unsigned zones, unsigned nodes)
{
    struct town *t = malloc(sizeof(*t));
    town_init(t);
    for (unsigned z = 0; z < zones; z++)
        add_zone(t, nodes, 100 * GB);
    add_groups(t, REP3, 48, 8, NULL);
    if (zones >= 3 && nodes >= 3)
        add_groups(t, RS54, 32, 16, NULL);
    return t;
}

static void test_drain_moves_what_must_move(void **arg)
{
    (void)arg;
    for (unsigned round = 0; round < 40; round++) {
        struct town *t = big_town(3 + dice(2), 4 + dice(4));
        size_t stuck;
        unsigned node = dice((unsigned)t->v.node_count);
        unsigned places = load_of(t, node, REP3) + load_of(t, node, RS54);
        t->nodes[node].draining = true;
        t->nodes[node].bytes_used = places * 100;
        struct place_plan p;
        assert_int_equal(place_plan(&t->v, GROUPS_MAX, &p), OK);
        uint64_t bytes = 0;
        for (size_t i = 0; i < p.count; i++)
            bytes += p.changes[i].reason == PLACE_DRAIN ? p.changes[i].bytes : 0;
        assert_true(bytes >= places * 100);
        unsigned moves = carry_out(t, &p);
        stuck = p.stuck;
        place_plan_fini(&p);
        assert_int_equal(stuck, 0);
        assert_true(moves >= places && moves <= places + places / 4 + 2);
        assert_int_equal(load_of(t, node, REP3) + load_of(t, node, RS54), 0);
        check_groups(t);
        assert_int_equal(plan_once(t, &stuck), 0); /* and then there is peace */
        free(t);
    }
}

static void test_most_endangered_first(void **arg)
{
    struct town *t = big_town(3, 5);
    struct place_plan p;
    (void)arg;
    t->nodes[0].state = t->nodes[5].state = PLACE_LOST;
    t->nodes[1].draining = true;
    assert_int_equal(place_plan(&t->v, GROUPS_MAX, &p), OK);
    assert_true(p.count > 10 && p.changes[0].reason == PLACE_LOSS);
    for (size_t i = 1; i < p.count; i++)
        if (p.changes[i].reason == PLACE_LOSS)
            assert_true(p.changes[i - 1].reason == PLACE_LOSS &&
                        p.changes[i - 1].margin <= p.changes[i].margin);
        else
            assert_int_equal(p.changes[i].reason,
                             PLACE_DRAIN); /* nothing is evened out meanwhile */
    place_plan_fini(&p);
    assert_int_equal(place_plan(&t->v, 3, &p), OK);
    assert_true(p.count == 3 && p.cut);
    place_plan_fini(&p);
    free(t);
}

static void test_down_is_waited_for(void **arg)
{
    struct town *t = big_town(3, 4);
    size_t stuck;
    (void)arg;
    for (size_t n = 0; n < 4; n++)
        t->nodes[n].state = PLACE_DOWN;
    assert_true(place_zone_is_down(&t->v, 0) && !place_zone_is_down(&t->v, 1));
    assert_int_equal(plan_once(t, &stuck), 0);
    assert_int_equal(stuck, 0);
    /* Nor is anything evened out while not all are there. */
    t->nodes[t->v.node_count++] = (struct place_node){.zone = 1, .bytes_total = 100 * GB};
    assert_int_equal(plan_once(t, NULL), 0);
    for (size_t n = 0; n < 4; n++)
        t->nodes[n].state = PLACE_UP;
    assert_true(plan_once(t, NULL) > 0);
    free(t);
}

/* Whoever was drained and went for good is not waited for, once no place of it is left. */
static void test_gone_is_not_waited_for(void **arg)
{
    struct town *t = big_town(3, 4);
    const struct place_node added = {.zone = 1, .bytes_total = 100 * GB};
    (void)arg;
    t->nodes[0].draining = true;
    assert_true(plan_once(t, NULL) > 0);
    t->nodes[0].state = PLACE_LOST;
    t->nodes[t->v.node_count++] = added;
    assert_true(plan_once(t, NULL) > 0 && load_of(t, t->v.node_count - 1, REP3) > 0);
    check_groups(t);
    assert_int_equal(plan_once(t, NULL), 0);
    /* One that is only lost is. */
    t->nodes[0].draining = false;
    t->nodes[t->v.node_count++] = added;
    assert_int_equal(plan_once(t, NULL), 0);
    free(t);
    /* And so are those whose places nobody may take. */
    t = big_town(3, 4);
    for (size_t n = 0; n < 4; n++)
        t->nodes[n].state = PLACE_LOST, t->nodes[n].draining = true;
    t->nodes[t->v.node_count++] = added;
    assert_int_equal(plan_once(t, NULL), 0);
    free(t);
}

/* The zone keeps its part: its shards are not crowded into the two others. */
static void test_lost_zone_moves_nothing(void **arg)
{
    struct town *t = big_town(3, 4);
    size_t stuck;
    (void)arg;
    for (size_t n = 0; n < 4; n++)
        t->nodes[n].state = PLACE_LOST;
    assert_int_equal(plan_once(t, &stuck), 0);
    assert_int_equal(stuck, t->v.group_count);
    /* One of its nodes comes back: it takes what one node may take. */
    t->nodes[0].state = PLACE_UP;
    plan_once(t, &stuck);
    check_groups(t);
    for (size_t g = 0; g < t->v.group_count; g++)
        if (t->groups[g].scheme.data == 1)
            for (unsigned i = 0; i < 3; i++)
                assert_true(t->nodes[t->groups[g].members[i]].state == PLACE_UP);
    free(t);
}

/* With four zones there is room: no zone holds more than before. */
static void test_lost_zone_of_four(void **arg)
{
    struct town *t = big_town(4, 4);
    size_t stuck;
    (void)arg;
    for (size_t n = 0; n < 4; n++)
        t->nodes[n].state = PLACE_LOST;
    plan_once(t, &stuck);
    assert_int_equal(stuck, 0);
    check_groups(t);
    for (size_t n = 0; n < 4; n++)
        assert_int_equal(load_of(t, n, REP3) + load_of(t, n, RS54), 0);
    free(t);
}

/* Too few are left to rebuild from: nothing helps but their coming back. */
static void test_nothing_to_rebuild_from(void **arg)
{
    struct town *t = big_town(3, 4), *before = malloc(sizeof(*before));
    size_t stuck, hopeless = 0, moved = 0;
    (void)arg;
    for (size_t n = 0; n < t->v.node_count; n++)
        t->nodes[n].state = n % 4 >= 2 ? PLACE_UP : PLACE_LOST;
    *before = *t;
    plan_once(t, &stuck);
    for (size_t g = 0; g < t->v.group_count; g++) {
        const struct place_group *was = &before->groups[g];
        unsigned left = 0;
        for (unsigned i = 0; i < was->count; i++)
            left += t->nodes[was->members[i]].state == PLACE_UP;
        bool same = memcmp(was->members, t->groups[g].members, sizeof(was->members)) == 0;
        hopeless += left < was->scheme.data;
        moved += !same;
        if (left < was->scheme.data)
            assert_true(same);
    }
    assert_true(hopeless > 0 && moved > 0 && stuck >= hopeless);
    free(before);
    free(t);
}

/* Added nodes: load is evened with at most twice the moves that any evening takes. */
static void test_added_nodes_are_filled(void **arg)
{
    (void)arg;
    for (unsigned round = 0; round < 40; round++) {
        struct town *t = big_town(3, 3 + dice(4));
        unsigned added = 1 + dice(3);
        for (unsigned i = 0; i < added; i++)
            for (unsigned z = 0; z < 3; z++)
                t->nodes[t->v.node_count++] =
                    (struct place_node){.zone = z, .bytes_total = 100 * GB};
        unsigned least = 0, floors[2];
        struct place_scheme schemes[] = {REP3, RS54};
        for (unsigned s = 0; s < 2; s++) {
            unsigned sum = 0, n = (unsigned)t->v.node_count;
            for (unsigned i = 0; i < n; i++)
                sum += load_of(t, i, schemes[s]);
            floors[s] = sum / n;
            least += 3 * added * (sum / n - 1);
        }
        unsigned moves = plan_once(t, NULL);
        assert_true(moves >= least && moves <= 2 * least);
        check_groups(t);
        for (unsigned s = 0; s < 2; s++)
            for (unsigned i = 0; i < 3 * added; i++)
                assert_true(load_of(t, t->v.node_count - 1 - i, schemes[s]) + 1 >= floors[s]);
        assert_int_equal(plan_once(t, NULL), 0);
        free(t);
    }
}

/* A zone that was added takes its part of groups that were crowded. */
static void test_added_zone_thins_out(void **arg)
{
    struct town *t = malloc(sizeof(*t));
    (void)arg;
    town_init(t);
    add_zone(t, 3, GB), add_zone(t, 3, GB);
    add_groups(t, REP3, 16, 8, NULL);
    add_zone(t, 3, GB);
    plan_once(t, NULL);
    for (size_t g = 0; g < t->v.group_count; g++)
        check_group(t, &t->groups[g], 1);
    assert_int_equal(plan_once(t, NULL), 0);
    free(t);
}

static void test_changing_groups_are_left_alone(void **arg)
{
    struct town *t = big_town(3, 4);
    struct place_plan p;
    (void)arg;
    t->nodes[0].draining = true;
    for (size_t g = 0; g < t->v.group_count; g++) {
        t->groups[g].changing = true;
        memcpy(t->groups[g].next, t->groups[g].members, sizeof(t->groups[g].next));
    }
    t->groups[0].changing = false;
    t->groups[0].members[0] =
        0; /* zone 0; its others are elsewhere, or it would not be one a zone */
    assert_int_equal(place_plan(&t->v, GROUPS_MAX, &p), OK);
    for (size_t i = 0; i < p.count; i++)
        assert_int_equal(p.changes[i].group, 0);
    place_plan_fini(&p);
    free(t);
}

/* Whatever happens to nodes in whatever order: rules are kept, and planning comes to an end. */
static void test_random_lives(void **arg)
{
    (void)arg;
    for (unsigned round = 0; round < 60; round++) {
        struct town *t = big_town(3 + dice(3), 3 + dice(4));
        for (unsigned step = 0; step < 12; step++) {
            struct place_node *n = &t->nodes[dice((unsigned)t->v.node_count)];
            unsigned what = dice(5);
            n->state = what == 0 ? PLACE_LOST : what == 1 ? PLACE_DOWN : PLACE_UP;
            n->draining = what == 2 || (what == 0 && dice(2));
            n->bytes_total = GB * (50 + dice(200));
            unsigned turns = 0;
            while (plan_once(t, NULL) > 0)
                assert_true(++turns < 4);
            check_groups(t);
        }
        free(t);
    }
}

/* ---- states ---- */

static void test_states(void **arg)
{
    (void)arg;
    assert_int_equal(place_state_of(PLACE_UP, true, 9, 10, 100), PLACE_UP);
    assert_int_equal(place_state_of(PLACE_UP, true, 10, 10, 100), PLACE_DOWN);
    assert_int_equal(place_state_of(PLACE_DOWN, true, 99, 10, 100), PLACE_DOWN);
    assert_int_equal(place_state_of(PLACE_DOWN, true, 100, 10, 100), PLACE_LOST);
    assert_int_equal(place_state_of(PLACE_LOST, true, 50, 10, 100), PLACE_LOST);
    assert_int_equal(place_state_of(PLACE_LOST, true, 1, 10, 100), PLACE_UP);
    /* Who begins to listen knows nothing yet. */
    assert_int_equal(place_state_of(PLACE_DOWN, false, 1, 10, 100), PLACE_DOWN);
    assert_int_equal(place_state_of(PLACE_LOST, false, 1, 10, 100), PLACE_LOST);
    assert_int_equal(place_state_of(PLACE_UP, false, 9, 10, 100), PLACE_UP);
    assert_int_equal(place_state_of(PLACE_UP, false, 10, 10, 100), PLACE_DOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schemes_follow_topology),
        cmocka_unit_test(test_shares_of_zones),
        cmocka_unit_test(test_made_groups_keep_the_rules),
        cmocka_unit_test(test_equal_nodes_get_equal_loads),
        cmocka_unit_test(test_load_follows_capacity),
        cmocka_unit_test(test_scatter_width_as_asked),
        cmocka_unit_test(test_new_groups_keep_to_zones),
        cmocka_unit_test(test_few_nodes),
        cmocka_unit_test(test_replicas_on_too_few_nodes_become_more),
        cmocka_unit_test(test_drain_moves_what_must_move),
        cmocka_unit_test(test_most_endangered_first),
        cmocka_unit_test(test_down_is_waited_for),
        cmocka_unit_test(test_gone_is_not_waited_for),
        cmocka_unit_test(test_lost_zone_moves_nothing),
        cmocka_unit_test(test_lost_zone_of_four),
        cmocka_unit_test(test_nothing_to_rebuild_from),
        cmocka_unit_test(test_added_nodes_are_filled),
        cmocka_unit_test(test_added_zone_thins_out),
        cmocka_unit_test(test_changing_groups_are_left_alone),
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
