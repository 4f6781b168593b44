/* Members for new groups.
 *
 * Copysets by permutations (Cidon et al., 3.2): a permutation of the nodes, cut into runs of one
 * group's size, makes every node share a set with shards - 1 others; P of them reach a scatter
 * width of about P * (shards - 1), and any other choice of that width has more sets that can die
 * together.  Groups share the sets: with more groups than sets, several lie on the same nodes.
 *
 * Here a permutation is not drawn as a whole: each place goes to the node that has had the fewest
 * for its capacity, so that with equal nodes every n / shards sets use each node once (that is a
 * permutation), and with unequal ones a node comes up in proportion.  A zone gives at most
 * place_zone_cap() nodes to a set. Between nodes of equal right: while sets are new, whoever has
 * met the others of the set least, later whoever has met them most; then a hash.  A later group
 * takes a set that is there, unless a new one would even the loads clearly better: balance comes
 * before the fewest sets. */
#include "metanode/placement/placement.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"

#include <stdlib.h>
#include <string.h>

#define COST_BITS 20

struct maker {
    const struct place_view *v;
    struct place_made *made;
    uint64_t seed;
    unsigned cap;
    uint32_t *weight, *turns; /* by node */
    uint16_t *sets;           /* copysets, and room for one a group */
    uint64_t slack;           /* half a place a member, by an average node */
    unsigned sets_wanted, at; /* at: the one that was taken last */
    uint8_t *met;             /* n * n: they share a set */
    unsigned *zone_taken;
};

static uint64_t dice(const struct maker *m, size_t node)
{
    uint32_t key[2] = {(uint32_t)node, m->turns[node]};
    return hash64(m->seed, SLICE(key, sizeof(key)));
}

static bool is_in(const uint16_t *set, unsigned count, size_t node)
{
    for (unsigned i = 0; i < count; i++)
        if (set[i] == node)
            return true;
    return false;
}

static unsigned met_count(const struct maker *m, const uint16_t *set, unsigned count, size_t node)
{
    unsigned met = 0;
    for (unsigned i = 0; i < count; i++)
        met += m->met[node * m->v->node_count + set[i]];
    return met;
}

/* Who is next: the fewest turns for its weight.  PLACE_NONE: nobody. */
static uint16_t next_of(const struct maker *m, const uint16_t *set, unsigned count)
{
    uint16_t best = PLACE_NONE;
    unsigned best_met = 0;
    for (size_t i = 0; i < m->v->node_count; i++) {
        const struct place_node *n = &m->v->nodes[i];
        if (!place_may_hold(n) || m->zone_taken[n->zone] >= m->cap || is_in(set, count, i))
            continue;
        unsigned met = met_count(m, set, count, i);
        if (best != PLACE_NONE) {
            uint64_t mine = (uint64_t)(m->turns[i] + 1) * m->weight[best];
            uint64_t its = (uint64_t)(m->turns[best] + 1) * m->weight[i];
            bool worse = m->made->copysets < m->sets_wanted ? met > best_met : met < best_met;
            if (mine > its || (mine == its && worse) ||
                (mine == its && met == best_met && dice(m, i) >= dice(m, best)))
                continue;
        }
        best = (uint16_t)i;
        best_met = met;
    }
    return best;
}

/* Marks that the members of a set share it.  Returns whether any two had not met before. */
static bool meet(struct maker *m, const uint16_t *set)
{
    bool strangers = false;
    for (unsigned i = 0; i < m->made->shards; i++) {
        for (unsigned k = 0; k < m->made->shards; k++) {
            uint8_t *met = &m->met[set[i] * m->v->node_count + set[k]];
            strangers |= i != k && !*met;
            *met |= i != k;
        }
    }
    return strangers;
}

static bool draw_set(struct maker *m, uint16_t *set)
{
    memset(m->zone_taken, 0, m->v->zone_count * sizeof(m->zone_taken[0]));
    for (unsigned i = 0; i < m->made->shards; i++) {
        set[i] = next_of(m, set, i);
        if (set[i] == PLACE_NONE)
            return false;
        m->zone_taken[m->v->nodes[set[i]].zone]++;
    }
    return true;
}

/* What a set adds to the sum of load² / capacity: least for those who are behind. */
static uint64_t cost_of(const struct maker *m, const uint16_t *set)
{
    uint64_t cost = 0;
    for (unsigned i = 0; i < m->made->shards; i++)
        cost += ((2ull * m->turns[set[i]] + 1) << COST_BITS) / m->weight[set[i]];
    return cost;
}

/* A set that is there and evens as well as the new one behind them; else the new one joins them. */
static const uint16_t *choose_set(struct maker *m, uint64_t slack)
{
    struct place_made *made = m->made;
    uint16_t *fresh = m->sets + (size_t)made->copysets * made->shards;
    uint64_t bound = cost_of(m, fresh) + slack;
    for (unsigned k = 0; made->copysets >= m->sets_wanted && k < made->copysets; k++) {
        m->at = (m->at + 1) % made->copysets;
        const uint16_t *set = m->sets + (size_t)m->at * made->shards;
        if (cost_of(m, set) <= bound)
            return set;
    }
    meet(m, fresh);
    made->copysets++;
    return fresh;
}

/* The set in the order of shards: zones in turn, beginning with another one from group to group, so
 * that data shards, first members and whole zones come out even. */
static void order_members(const struct maker *m, const uint16_t *set, unsigned turn, uint16_t *ret)
{
    unsigned shards = m->made->shards, done = 0;
    bool taken[PLACE_SHARDS_MAX] = {false};
    while (done < shards) {
        bool zone_used[PLACE_SHARDS_MAX] = {false}; /* by the first of the set in that zone */
        for (unsigned step = 0; step < shards; step++) {
            unsigned i = (step + turn) % shards, first = 0;
            while (m->v->nodes[set[first]].zone != m->v->nodes[set[i]].zone)
                first++;
            if (taken[i] || zone_used[first])
                continue;
            taken[i] = zone_used[first] = true;
            ret[done++] = set[i];
        }
    }
}

static void measure_width(struct maker *m)
{
    size_t n = m->v->node_count;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        unsigned width = 0;
        for (size_t k = 0; k < n; k++)
            width += m->met[i * n + k];
        if (width == 0)
            continue;
        if (!any || width < m->made->width_min)
            m->made->width_min = width;
        if (width > m->made->width_max)
            m->made->width_max = width;
        any = true;
    }
}

static int make_groups(struct maker *m, unsigned count, unsigned able)
{
    struct place_made *made = m->made;
    for (unsigned g = 0; g < count; g++) {
        uint16_t *fresh = m->sets + (size_t)made->copysets * made->shards;
        /* Towards the end what is uneven is made good. */
        bool late = count - g <= 3 * (able / made->shards + 1);
        if (!draw_set(m, fresh))
            return ERR_NOSPACE;
        const uint16_t *set = choose_set(m, late ? 0 : m->slack);
        for (unsigned i = 0; i < made->shards; i++)
            m->turns[set[i]]++;
        order_members(m, set, g + g / m->sets_wanted, made->members + (size_t)g * made->shards);
    }
    measure_width(m);
    return OK;
}

/* Zones as those who may hold have them; turns as the groups of this scheme have given them. */
static void look_around(struct maker *m, struct place_scheme scheme, unsigned *ret_able)
{
    const struct place_view *v = m->v;
    uint64_t sum = 0;
    place_weights(v, m->weight);
    *ret_able = 0;
    for (size_t i = 0; i < v->node_count; i++)
        sum += m->weight[i];
    m->slack = sum ? (((uint64_t)m->made->shards * v->node_count) << COST_BITS) / sum : 0;
    for (size_t i = 0; i < v->node_count; i++)
        *ret_able += place_may_hold(&v->nodes[i]);
    for (size_t g = 0; g < v->group_count; g++) {
        const struct place_group *pg = &v->groups[g];
        const uint16_t *members = pg->changing ? pg->next : pg->members;
        if (pg->scheme.data != scheme.data || pg->scheme.parity != scheme.parity)
            continue;
        for (unsigned i = 0; i < pg->count; i++)
            if (members[i] != PLACE_NONE)
                m->turns[members[i]]++;
    }
}

static unsigned in_zone(const struct maker *m, const uint16_t *set, uint16_t node)
{
    unsigned count = 0;
    for (unsigned i = 0; i < m->made->shards; i++)
        count += set[i] != PLACE_NONE && m->v->nodes[set[i]].zone == m->v->nodes[node].zone;
    return count;
}

/* The sets on which groups of this scheme lie already: new groups join them as far as they can. */
static void load_sets(struct maker *m, struct place_scheme scheme)
{
    struct place_made *made = m->made;
    for (size_t g = 0; g < m->v->group_count; g++) {
        const struct place_group *pg = &m->v->groups[g];
        bool usable = pg->scheme.data == scheme.data && pg->scheme.parity == scheme.parity &&
                      pg->count == made->shards && !pg->changing;
        for (unsigned i = 0; usable && i < pg->count; i++)
            usable = pg->members[i] != PLACE_NONE && place_may_hold(&m->v->nodes[pg->members[i]]) &&
                     in_zone(m, pg->members, pg->members[i]) <= m->cap;
        if (!usable || !meet(m, pg->members))
            continue;
        memcpy(m->sets + (size_t)made->copysets * made->shards, pg->members,
               made->shards * sizeof(m->sets[0]));
        made->copysets++;
    }
}

static int allocate(struct maker *m, size_t n, unsigned count, unsigned width)
{
    struct place_made *made = m->made;
    unsigned others = made->shards > 1 ? made->shards - 1 : 1;
    made->permutations = (width + others - 1) / others;
    if (made->permutations == 0)
        made->permutations = 1;
    uint64_t sets = ((uint64_t)made->permutations * n + made->shards - 1) / made->shards;
    m->sets_wanted = sets < count ? (unsigned)sets : count;
    m->sets = calloc((count + m->v->group_count) * made->shards, sizeof(m->sets[0]));
    made->members = calloc((size_t)count * made->shards, sizeof(made->members[0]));
    return m->sets && made->members ? OK : ERR_NOMEM;
}

int place_make(const struct place_view *v, const struct place_ask *ask, struct place_made *ret)
{
    struct place_made made = {.shards = place_shards(ask->scheme)};
    struct maker m = {.v = v, .made = &made, .seed = ask->seed};
    unsigned able = 0;
    if (ask->scheme.data == 0 || made.shards > PLACE_SHARDS_MAX || ask->count == 0 ||
        ask->count > PLACE_GROUPS_MAX)
        return ERR_INVAL;
    CHECK(v->node_count <= PLACE_NODES_MAX);
    size_t n = v->node_count ? v->node_count : 1;
    m.weight = calloc(n, sizeof(m.weight[0]));
    m.turns = calloc(n, sizeof(m.turns[0]));
    m.met = calloc(n, n);
    m.zone_taken = calloc(v->zone_count ? v->zone_count : 1, sizeof(m.zone_taken[0]));
    int err = m.weight && m.turns && m.met && m.zone_taken ? OK : ERR_NOMEM;
    if (err == OK) {
        look_around(&m, ask->scheme, &able);
        if (ask->scheme.data == 1 && v->node_count < made.shards)
            made.shards = (unsigned)v->node_count; /* replicas: as many as there can be */
        m.cap = made.shards ? place_zone_cap(v, made.shards) : 0;
        err = m.cap ? allocate(&m, able, ask->count, ask->scatter_width) : ERR_NOSPACE;
    }
    if (err == OK)
        load_sets(&m, ask->scheme);
    if (err == OK)
        err = make_groups(&m, ask->count, able);
    free(m.weight);
    free(m.turns);
    free(m.met);
    free(m.zone_taken);
    free(m.sets);
    if (err == OK)
        *ret = made;
    else
        free(made.members);
    return err;
}

void place_made_fini(struct place_made *m)
{
    free(m->members);
    *m = (struct place_made){0};
}
