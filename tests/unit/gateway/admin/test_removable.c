/* safe-to-remove, against every combination on small clusters: who is stopped, who is drained, who
 * is drained meanwhile, at every step of the changes that follow.  The root's plans are the real
 * ones; who holds which shard is kept apart from the groups' members, and is what a "yes" is
 * measured by: a node that may go holds no shard, and never gets one again. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env/net.h"
#include "gateway/admin/health.h"
#include "metanode/placement/placement.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NODES_MAX 9
#define GROUPS_MAX 8
#define STEPS 20
#define CHANGES_AT_ONCE 2

struct town {
    struct place_node nodes[NODES_MAX];
    struct place_group groups[GROUPS_MAX];
    struct place_view v;
    uint32_t holds[GROUPS_MAX][PLACE_SHARDS_MAX]; /* masks of nodes */
    uint32_t filled[GROUPS_MAX];                  /* new members that are, by shard */
    uint32_t may_go;                              /* nodes that were told to be safe to remove */
    uint64_t asked, yes;
    unsigned turn;
};

static void add_groups(struct town *t, struct place_scheme scheme, unsigned count)
{
    struct place_made made;
    struct place_ask ask = {.scheme = scheme, .count = count, .scatter_width = 16, .seed = 5};
    assert_int_equal(place_make(&t->v, &ask, &made), OK);
    for (unsigned g = 0; g < count; g++) {
        struct place_group *pg = &t->groups[t->v.group_count];
        *pg = (struct place_group){.scheme = scheme, .count = (uint8_t)made.shards};
        for (unsigned i = 0; i < made.shards; i++) {
            pg->members[i] = made.members[g * made.shards + i];
            t->holds[t->v.group_count][i] = 1u << pg->members[i];
        }
        t->v.group_count++;
    }
    place_made_fini(&made);
}

static void town_init(struct town *t, unsigned nodes)
{
    memset(t, 0, sizeof(*t));
    t->v = (struct place_view){.nodes = t->nodes, .node_count = nodes, .zone_count = 3};
    t->v.groups = t->groups;
    for (unsigned i = 0; i < nodes; i++)
        t->nodes[i] = (struct place_node){.zone = i % 3, .bytes_total = 1u << 30};
    add_groups(t, (struct place_scheme){1, 2}, 4);
    if (nodes >= 6)
        add_groups(t, (struct place_scheme){3, 3}, 4);
}

/* ---- what the root's leader would tell ---- */

static char names[NODES_MAX][4];

struct told {
    Cairn__ClusterStatusResponse status;
    Cairn__NodeStatus node[NODES_MAX], *nodes[NODES_MAX];
    Cairn__NodeRecord record[NODES_MAX];
    Cairn__PlacementGroup pg[GROUPS_MAX], *pgs[GROUPS_MAX];
    Cairn__PlannedChange planned[GROUPS_MAX], *changes[GROUPS_MAX];
    char *ids[4 * GROUPS_MAX][PLACE_SHARDS_MAX];
    unsigned used;
};

static char **ids_of(struct told *o, const uint16_t *members, unsigned count)
{
    char **ids = o->ids[o->used++];
    for (unsigned i = 0; i < count; i++)
        ids[i] = names[members[i]];
    return ids;
}

static void tell(const struct town *t, const struct place_plan *plan, struct told *o)
{
    static const Cairn__NodeState states[] = {
        CAIRN__NODE_STATE__NODE_UP, CAIRN__NODE_STATE__NODE_DOWN, CAIRN__NODE_STATE__NODE_LOST};
    o->used = 0;
    cairn__cluster_status_response__init(&o->status);
    for (unsigned i = 0; i < t->v.node_count; i++) {
        cairn__node_status__init(o->nodes[i] = &o->node[i]);
        cairn__node_record__init(o->node[i].record = &o->record[i]);
        o->record[i].node_id = names[i];
        o->record[i].role = NET_ROLE_STORAGENODE;
        o->record[i].state = states[t->nodes[i].state];
        o->record[i].draining = t->nodes[i].draining;
    }
    for (unsigned g = 0; g < t->v.group_count; g++) {
        const struct place_group *from = &t->groups[g];
        Cairn__PlacementGroup *pg = o->pgs[g] = &o->pg[g];
        cairn__placement_group__init(pg);
        pg->members = ids_of(o, from->members, from->count);
        pg->n_members = from->count;
        pg->next_members = ids_of(o, from->next, from->changing ? from->count : 0);
        pg->n_next_members = from->changing ? from->count : 0;
    }
    for (size_t k = 0; k < plan->count; k++) {
        const struct place_change *c = &plan->changes[k];
        const struct place_group *from = &t->groups[c->group];
        cairn__planned_change__init(o->changes[k] = &o->planned[k]);
        o->planned[k].members = ids_of(o, from->members, from->count);
        o->planned[k].next_members = ids_of(o, c->next, from->count);
        o->planned[k].n_members = o->planned[k].n_next_members = from->count;
    }
    o->status.nodes = o->nodes;
    o->status.n_nodes = t->v.node_count;
    o->status.pgs = o->pgs;
    o->status.n_pgs = t->v.group_count;
    o->status.planned = o->changes;
    o->status.n_planned = plan->count;
}

/* Every node is asked about (who does not drain, once); a yes is held against the shards. */
static void ask_of_all(struct town *t, const struct place_plan *plan)
{
    static struct told told;
    tell(t, plan, &told);
    for (unsigned x = 0; x < t->v.node_count; x++) {
        struct removable r;
        if (t->turn > 0 && !t->nodes[x].draining)
            continue;
        removable_check(&told.status, names[x], &r);
        assert_true(r.known);
        t->asked++;
        t->yes += r.safe;
        t->may_go |= (uint32_t)r.safe << x;
        assert_true(!r.safe || t->nodes[x].draining);
    }
    for (unsigned g = 0; g < t->v.group_count; g++)
        for (unsigned i = 0; i < t->groups[g].count; i++)
            assert_false(t->holds[g][i] & t->may_go);
}

/* ---- what becomes of it ---- */

static bool is_up(const struct town *t, unsigned node)
{
    return t->nodes[node].state == PLACE_UP;
}

/* One new member that is up gets its shard, if enough of the others are there. */
static void fill(struct town *t, unsigned g)
{
    struct place_group *pg = &t->groups[g];
    unsigned there = 0;
    for (unsigned i = 0; i < pg->count; i++)
        there += is_up(t, pg->members[i]);
    for (unsigned i = 0; i < pg->count; i++) {
        if ((t->filled[g] >> i & 1) || !is_up(t, pg->next[i]) ||
            (pg->next[i] != pg->members[i] && there < pg->scheme.data))
            continue;
        t->filled[g] |= 1u << i;
        t->holds[g][i] |= 1u << pg->next[i];
        if (pg->next[i] != pg->members[i])
            return;
    }
}

/* As FinishPgChange: every new member has been filled; the old ones drop what they have. */
static void finish(struct town *t, unsigned g)
{
    struct place_group *pg = &t->groups[g];
    for (unsigned i = 0; i < pg->count; i++)
        if (pg->next[i] != pg->members[i] && !(t->filled[g] >> i & 1))
            return;
    for (unsigned i = 0; i < pg->count; i++) {
        if (pg->next[i] != pg->members[i])
            t->holds[g][i] = 1u << pg->next[i];
        pg->members[i] = pg->next[i];
    }
    pg->changing = false;
}

/* Everybody is asked about; then what is planned begins, or, in turn, what is under way goes on.
 * False: nothing has changed by it. */
static bool step(struct town *t)
{
    struct place_plan plan;
    unsigned changing = 0, moved = 0;
    assert_int_equal(place_plan(&t->v, GROUPS_MAX, &plan), OK);
    ask_of_all(t, &plan);
    for (unsigned g = 0; g < t->v.group_count; g++) {
        uint32_t before = t->filled[g];
        if (!t->groups[g].changing)
            continue;
        if (t->turn % 2) {
            fill(t, g);
            finish(t, g);
        }
        changing += t->groups[g].changing;
        moved += t->filled[g] != before || !t->groups[g].changing;
    }
    for (size_t k = 0; t->turn % 2 == 0 && k < plan.count && changing < CHANGES_AT_ONCE; k++) {
        struct place_group *pg = &t->groups[plan.changes[k].group];
        memcpy(pg->next, plan.changes[k].next, sizeof(pg->next));
        pg->changing = true;
        t->filled[plan.changes[k].group] = 0;
        changing++;
        moved++;
    }
    place_plan_fini(&plan);
    t->turn++;
    return moved > 0;
}

static void live(struct town *t)
{
    for (unsigned s = 0, still = 0; s < STEPS && still < 2; s++)
        still = step(t) ? 0 : still + 1;
}

/* Who is stopped (and down, or lost), who is drained, and who else is drained while that is under
 * way (or whom the drain is given up of). */
static void every_combination(unsigned nodes, uint64_t *ret_yes)
{
    uint64_t asked = 0;
    *ret_yes = 0;
    for (uint32_t stopped = 0; stopped < 1u << nodes; stopped++) {
        for (unsigned lost = 0; lost < (stopped ? 2 : 1); lost++) {
            for (unsigned drained = 0; drained < nodes; drained++) {
                struct town t;
                town_init(&t, nodes);
                for (unsigned i = 0; i < nodes; i++)
                    if (stopped >> i & 1)
                        t.nodes[i].state = lost ? PLACE_LOST : PLACE_DOWN;
                t.nodes[drained].draining = true;
                live(&t);
                /* Another one, in the midst of it, then nobody any more is stopped. */
                unsigned other = (drained + 1 + stopped % (nodes - 1)) % nodes;
                t.nodes[other].draining = true;
                (void)step(&t);
                for (unsigned i = 0; i < nodes; i++)
                    t.nodes[i].state = PLACE_UP;
                live(&t);
                asked += t.asked;
                *ret_yes += t.yes;
            }
        }
    }
    print_message("%u nodes: %llu questions, %llu yes\n", nodes, (unsigned long long)asked,
                  (unsigned long long)*ret_yes);
}

static void never_yes_wrongly(void **state)
{
    (void)state;
    uint64_t yes;
    for (unsigned i = 0; i < NODES_MAX; i++)
        snprintf(names[i], sizeof(names[i]), "n%u", i);
    every_combination(3, &yes); /* nobody could take the place of any */
    assert_int_equal(yes, 0);
    every_combination(6, &yes);
    assert_int_equal(yes, 0);
    every_combination(9, &yes);
    assert_true(yes > 10000);
}

/* A drain that begins while a change brings shards to the node. */
static void a_new_member_may_not_go(void **state)
{
    (void)state;
    for (unsigned first = 0; first < NODES_MAX; first++) {
        for (unsigned second = 0; second < NODES_MAX; second++) {
            for (unsigned after = 0; after < 4; after++) {
                struct town t;
                town_init(&t, NODES_MAX);
                t.nodes[first].draining = true;
                for (unsigned s = 0; s <= after; s++)
                    (void)step(&t);
                t.nodes[second].draining = true;
                live(&t);
                live(&t);
            }
        }
    }
}

/* A node that was empty, and is drained again while its first shards are on their way. */
static void an_empty_node_may_be_getting_some(void **state)
{
    (void)state;
    for (unsigned x = 0; x < NODES_MAX; x++) {
        for (unsigned after = 1; after < 5; after++) {
            struct town t;
            town_init(&t, NODES_MAX);
            t.nodes[x].draining = true;
            for (unsigned s = 0; s < 3 * STEPS; s++)
                (void)step(&t);
            assert_true(t.may_go >> x & 1);
            t.nodes[x].draining = false;
            t.may_go = 0;
            for (unsigned s = 0; s < after; s++)
                (void)step(&t);
            t.nodes[x].draining = true;
            t.yes = 0;
            (void)step(&t);
            assert_int_equal(t.yes, 0);
            t.may_go = 0;
            for (unsigned s = 0; s < 3 * STEPS; s++)
                (void)step(&t);
            assert_true(t.may_go >> x & 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_yes_wrongly),
        cmocka_unit_test(a_new_member_may_not_go),
        cmocka_unit_test(an_empty_node_may_be_getting_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
