/* Which groups need other members, and which.
 *
 *   1. Lost and draining members of every group → the least loaded node that the zones allow
 *   1a. Replicas on too few nodes → as many as the scheme wants, as far as there are nodes
 *   2. if nobody is missed: members that crowd a zone → a zone that has room
 *   3. if nobody is missed: load is evened, scheme by scheme, by moves that each lower the sum of
 *      load² / capacity, from or to a node that is more than a place off its share
 *
 * The zones' bound is place_zone_cap(), counted over all nodes of the view: a zone that is away
 * keeps its part, and its shards are not crowded into the others.  If no node is left for a place
 * within that bound, the group stays as it is, degraded, and is counted as stuck.
 *
 * Step 1 moves exactly the places that must move.  Each move of step 3 takes a place from a node
 * above its share or gives one to a node below it, and never the same place twice; the sum falls
 * each time, so it ends. */
#include "metanode/placement/placement.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"

#include <stdlib.h>
#include <string.h>

#define NO_SLOT UINT32_MAX

struct planner {
    const struct place_view *v;
    uint32_t *weight;
    uint32_t *load;           /* places of the scheme at hand, by node */
    uint64_t *place_bytes;    /* of a place on a node, estimated */
    uint16_t *members;        /* as planned: group * PLACE_SHARDS_MAX + i */
    uint8_t *count;           /* of these, by group */
    struct place_change *all; /* by group; moves 0: none */
    uint32_t *head, *follow;  /* places of each node, of the scheme at hand */
    unsigned *zone_taken;     /* zeros between calls */
    bool *seen;               /* groups whose scheme has had its turn */
    unsigned cap;             /* of the scheme at hand */
    struct place_scheme scheme;
    uint64_t weight_sum, load_sum;
    bool whole; /* nobody is missed: every node is up, or went for good and has no place */
    size_t stuck;
};

static uint16_t *members_of(const struct planner *p, size_t group)
{
    return p->members + group * PLACE_SHARDS_MAX;
}

static const struct place_node *node_of(const struct planner *p, uint16_t n)
{
    return n == PLACE_NONE ? NULL : &p->v->nodes[n];
}

/* It must be given away. */
static bool is_bad(const struct planner *p, uint16_t n)
{
    const struct place_node *node = node_of(p, n);
    return !node || !place_may_hold(node);
}

static bool same_scheme(struct place_scheme a, struct place_scheme b)
{
    return a.data == b.data && a.parity == b.parity;
}

/* Counts the members' zones, without place `except`, into zone_taken, or out of it again.  Those
 * that must go count until they have a new place: they may come back. */
static void count_zones(const struct planner *p, const uint16_t *members, unsigned count,
                        unsigned except, int step)
{
    for (unsigned i = 0; i < count; i++)
        if (i != except && members[i] != PLACE_NONE)
            p->zone_taken[p->v->nodes[members[i]].zone] += (unsigned)step;
}

static unsigned in_zone(const struct planner *p, size_t group, unsigned zone)
{
    const uint16_t *members = members_of(p, group);
    unsigned count = 0;
    for (unsigned i = 0; i < p->count[group]; i++)
        count += members[i] != PLACE_NONE && p->v->nodes[members[i]].zone == zone;
    return count;
}

static bool is_member(const struct planner *p, size_t group, uint16_t node)
{
    const uint16_t *now = p->v->groups[group].members, *then = members_of(p, group);
    for (unsigned i = 0; i < p->v->groups[group].count; i++)
        if (now[i] == node)
            return true;
    for (unsigned i = 0; i < p->count[group]; i++)
        if (then[i] == node)
            return true;
    return false;
}

/* Would one more place be a smaller part of a's capacity than of b's? */
static int compare_room(const struct planner *p, uint16_t a, uint16_t b)
{
    uint64_t x = (uint64_t)(p->load[a] + 1) * p->weight[b];
    uint64_t y = (uint64_t)(p->load[b] + 1) * p->weight[a];
    return (x > y) - (x < y);
}

static uint64_t dice(size_t group, uint16_t node)
{
    uint64_t key[2] = {group, node};
    return hash64(7, SLICE(key, sizeof(key)));
}

/* A place from a to b lowers the sum of load² / weight. */
static bool evens(const struct planner *p, uint16_t a, uint16_t b)
{
    return p->load[a] > 0 &&
           (2ull * p->load[b] + 1) * p->weight[a] < (2ull * p->load[a] - 1) * p->weight[b];
}

/* load - share > 1, or share - load > 1. */
static bool is_over(const struct planner *p, uint16_t n)
{
    return p->load[n] > 0 && (p->load[n] - 1ull) * p->weight_sum > p->load_sum * p->weight[n];
}

static bool is_under(const struct planner *p, uint16_t n)
{
    return (p->load[n] + 1ull) * p->weight_sum < p->load_sum * p->weight[n];
}

/* A place from a to b makes load more even, and is worth it. */
static bool is_worth(const struct planner *p, uint16_t a, uint16_t b)
{
    return evens(p, a, b) && (is_over(p, a) || is_under(p, b));
}

/* The least loaded node that may take place i of the group, and is worth it if load is evened
 * (from: who gives).  PLACE_NONE: none. */
static uint16_t taker(const struct planner *p, size_t group, unsigned i, uint16_t from)
{
    const uint16_t *members = members_of(p, group);
    uint16_t best = PLACE_NONE;
    count_zones(p, members, p->count[group], i, 1);
    for (uint16_t n = 0; n < p->v->node_count; n++) {
        const struct place_node *node = &p->v->nodes[n];
        if (node->state != PLACE_UP || node->draining || p->zone_taken[node->zone] >= p->cap ||
            (from != PLACE_NONE && !is_worth(p, from, n)))
            continue;
        int c = best == PLACE_NONE ? -1 : compare_room(p, n, best);
        if (c > 0 || (c == 0 && dice(group, n) >= dice(group, best)) || is_member(p, group, n))
            continue;
        best = n;
    }
    count_zones(p, members, p->count[group], i, -1);
    return best;
}

/* Shards that may still be lost: members that are up or expected back, less what decoding takes. */
static int margin_of(const struct place_view *v, const struct place_group *g)
{
    int good = 0;
    for (unsigned i = 0; i < g->count; i++)
        good += g->members[i] != PLACE_NONE && v->nodes[g->members[i]].state == PLACE_UP;
    return good - g->scheme.data;
}

/* ---- moves ---- */

static void unlink_place(struct planner *p, uint32_t place)
{
    uint32_t *at = &p->head[p->members[place]];
    while (*at != place)
        at = &p->follow[*at];
    *at = p->follow[place];
}

static void link_place(struct planner *p, uint32_t place)
{
    uint16_t node = p->members[place];
    p->follow[place] = p->head[node];
    p->head[node] = place;
    p->load[node]++;
}

static void move(struct planner *p, size_t group, unsigned i, uint16_t to, enum place_reason reason)
{
    uint16_t *members = members_of(p, group), from = members[i];
    struct place_change *c = &p->all[group];
    uint32_t place = (uint32_t)(group * PLACE_SHARDS_MAX + i);
    CHECK(to != PLACE_NONE && !is_member(p, group, to));
    if (from != PLACE_NONE) {
        unlink_place(p, place);
        p->load[from]--;
        c->bytes += p->place_bytes[from];
    }
    members[i] = to;
    link_place(p, place);
    if (c->moves++ == 0 || reason < c->reason)
        c->reason = reason;
}

/* ---- 1. lost and draining members ---- */

/* What is gone must be rebuilt from enough others: else it is waited for, whatever it takes. */
static bool can_rebuild(const struct planner *p, const struct place_group *g)
{
    unsigned left = 0;
    for (unsigned i = 0; i < g->count; i++)
        left += g->members[i] != PLACE_NONE && p->v->nodes[g->members[i]].state != PLACE_LOST;
    return left >= g->scheme.data;
}

/* Once over the group is enough: a place that one bad member makes in a zone by going elsewhere is
 * none that another lacked, for it could have gone there, too. */
static void replace_bad(struct planner *p, size_t group)
{
    const struct place_group *g = &p->v->groups[group];
    bool stuck = false, hopeless = !can_rebuild(p, g);
    for (unsigned i = 0; i < g->count; i++) {
        uint16_t now = members_of(p, group)[i];
        if (!is_bad(p, now))
            continue;
        uint16_t to = hopeless ? PLACE_NONE : taker(p, group, i, PLACE_NONE);
        const struct place_node *node = node_of(p, now);
        stuck |= to == PLACE_NONE;
        if (to != PLACE_NONE)
            move(p, group, i, to, node && node->state != PLACE_LOST ? PLACE_DRAIN : PLACE_LOSS);
    }
    p->stuck += stuck;
}

/* ---- 1a. too few members ---- */

static void grow(struct planner *p, size_t group)
{
    const struct place_group *g = &p->v->groups[group];
    uint16_t *members = members_of(p, group);
    while (g->scheme.data == 1 && p->count[group] < place_shards(g->scheme)) {
        unsigned i = p->count[group];
        members[i] = PLACE_NONE;
        uint16_t to = taker(p, group, i, PLACE_NONE);
        if (to == PLACE_NONE)
            return;
        p->count[group]++;
        p->load_sum++;
        move(p, group, i, to, PLACE_GROW);
        p->all[group].bytes += members[0] == PLACE_NONE ? 0 : p->place_bytes[members[0]];
    }
}

/* ---- 2. crowded zones ---- */

static void thin_out(struct planner *p, size_t group)
{
    for (unsigned i = 0; i < p->count[group]; i++) {
        const struct place_node *node = node_of(p, members_of(p, group)[i]);
        if (!node || in_zone(p, group, node->zone) <= p->cap)
            continue;
        uint16_t to = taker(p, group, i, PLACE_NONE);
        if (to != PLACE_NONE && p->v->nodes[to].zone != node->zone)
            move(p, group, i, to, PLACE_SPREAD);
    }
}

/* ---- 3. load ---- */

/* The best move of any place of a.  False: none evens anything. */
static bool move_from(struct planner *p, uint16_t a)
{
    uint16_t best = PLACE_NONE;
    uint32_t best_place = NO_SLOT;
    for (uint32_t at = p->head[a]; at != NO_SLOT; at = p->follow[at]) {
        size_t group = at / PLACE_SHARDS_MAX;
        unsigned i = at % PLACE_SHARDS_MAX;
        if (p->v->groups[group].members[i] != a)
            continue; /* it has just come here */
        uint16_t to = taker(p, group, i, a);
        if (to == PLACE_NONE)
            continue;
        int c = best == PLACE_NONE ? -1 : compare_room(p, to, best);
        /* Rather a group that changes anyhow. */
        if (c > 0 || (c == 0 && p->all[group].moves <= p->all[best_place / PLACE_SHARDS_MAX].moves))
            continue;
        best = to;
        best_place = at;
    }
    if (best == PLACE_NONE)
        return false;
    move(p, best_place / PLACE_SHARDS_MAX, best_place % PLACE_SHARDS_MAX, best, PLACE_BALANCE);
    return true;
}

/* Is there anybody at all to whom a place of a could go? */
static bool may_give(const struct planner *p, uint16_t a)
{
    for (uint16_t b = 0; b < p->v->node_count; b++)
        if (place_may_hold(&p->v->nodes[b]) && is_worth(p, a, b))
            return true;
    return false;
}

/* The fullest node, for its capacity, that was not tried in vain. */
static uint16_t fullest(const struct planner *p, const bool *tried)
{
    uint16_t best = PLACE_NONE;
    for (uint16_t n = 0; n < p->v->node_count; n++) {
        if (tried[n] || !place_may_hold(&p->v->nodes[n]))
            continue;
        if (best == PLACE_NONE ||
            (uint64_t)p->load[n] * p->weight[best] > (uint64_t)p->load[best] * p->weight[n])
            best = n;
    }
    return best;
}

/* In rounds, each of which tries every node until it has nothing more to give: what was in vain in
 * one may have become possible in the next. */
static void even_out(struct planner *p)
{
    for (bool moved = true; moved;) {
        bool tried[PLACE_NODES_MAX] = {false};
        uint16_t a;
        moved = false;
        while ((a = fullest(p, tried)) != PLACE_NONE) {
            if (may_give(p, a) && move_from(p, a))
                moved = true;
            else
                tried[a] = true;
        }
    }
}

/* ---- a scheme ---- */

static void scheme_start(struct planner *p, struct place_scheme scheme)
{
    const struct place_view *v = p->v;
    p->scheme = scheme;
    p->cap = place_zone_cap(v, place_shards(scheme));
    if (p->cap == 0)
        p->cap = 1; /* fewer nodes than shards: what there is, one a node */
    p->load_sum = p->weight_sum = 0;
    for (size_t n = 0; n < v->node_count; n++) {
        p->load[n] = 0;
        p->head[n] = NO_SLOT;
        p->weight_sum += place_may_hold(&v->nodes[n]) ? p->weight[n] : 0;
    }
    for (size_t g = 0; g < v->group_count; g++) {
        const struct place_group *pg = &v->groups[g];
        if (!same_scheme(pg->scheme, scheme))
            continue;
        p->seen[g] = true;
        for (unsigned i = 0; i < pg->count; i++) {
            uint16_t n = members_of(p, g)[i];
            p->load_sum++;
            if (n != PLACE_NONE)
                link_place(p, (uint32_t)(g * PLACE_SHARDS_MAX + i));
        }
    }
    /* Groups that are changing have a place to come, and none to give now. */
    for (size_t g = 0; g < v->group_count; g++) {
        const struct place_group *pg = &v->groups[g];
        if (!pg->changing || !same_scheme(pg->scheme, scheme))
            continue;
        for (unsigned i = 0; i < pg->count; i++)
            if (members_of(p, g)[i] != PLACE_NONE)
                unlink_place(p, (uint32_t)(g * PLACE_SHARDS_MAX + i));
    }
}

static void scheme_plan(struct planner *p, struct place_scheme scheme)
{
    const struct place_view *v = p->v;
    scheme_start(p, scheme);
    for (size_t g = 0; g < v->group_count; g++)
        if (!v->groups[g].changing && same_scheme(v->groups[g].scheme, scheme))
            replace_bad(p, g);
    for (size_t g = 0; g < v->group_count; g++)
        if (!v->groups[g].changing && same_scheme(v->groups[g].scheme, scheme))
            grow(p, g);
    for (size_t g = 0; p->whole && g < v->group_count; g++)
        if (!v->groups[g].changing && same_scheme(v->groups[g].scheme, scheme))
            thin_out(p, g);
    if (p->whole)
        even_out(p);
}

/* ---- the whole ---- */

static int compare_changes(const void *a, const void *b)
{
    const struct place_change *x = a, *y = b;
    if ((x->reason == PLACE_LOSS) != (y->reason == PLACE_LOSS))
        return x->reason == PLACE_LOSS ? -1 : 1;
    if (x->margin != y->margin)
        return x->margin < y->margin ? -1 : 1;
    if (x->endangered != y->endangered)
        return x->endangered > y->endangered ? -1 : 1;
    if (x->reason != y->reason)
        return x->reason < y->reason ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

/* What a place takes on each node: what it holds, by its number of places. */
static void estimate_bytes(struct planner *p)
{
    const struct place_view *v = p->v;
    for (size_t g = 0; g < v->group_count; g++)
        for (unsigned i = 0; i < v->groups[g].count; i++)
            if (v->groups[g].members[i] != PLACE_NONE)
                p->place_bytes[v->groups[g].members[i]]++;
    for (size_t n = 0; n < v->node_count; n++)
        p->place_bytes[n] = p->place_bytes[n] ? v->nodes[n].bytes_used / p->place_bytes[n] : 0;
}

static bool planner_init(struct planner *p, const struct place_view *v)
{
    size_t n = v->node_count + 1, groups = v->group_count + 1;
    *p = (struct planner){.v = v, .whole = true};
    p->weight = calloc(n, sizeof(p->weight[0]));
    p->load = calloc(n, sizeof(p->load[0]));
    p->place_bytes = calloc(n, sizeof(p->place_bytes[0]));
    p->head = calloc(n, sizeof(p->head[0]));
    p->members = calloc(groups * PLACE_SHARDS_MAX, sizeof(p->members[0]));
    p->follow = calloc(groups * PLACE_SHARDS_MAX, sizeof(p->follow[0]));
    p->count = calloc(groups, sizeof(p->count[0]));
    p->all = calloc(groups, sizeof(p->all[0]));
    p->seen = calloc(groups, sizeof(p->seen[0]));
    p->zone_taken = calloc(v->zone_count + 1, sizeof(p->zone_taken[0]));
    if (!p->weight || !p->load || !p->place_bytes || !p->head || !p->members || !p->follow ||
        !p->count || !p->all || !p->seen || !p->zone_taken)
        return false;
    place_weights(v, p->weight);
    for (size_t i = 0; i < v->node_count; i++)
        p->whole &= v->nodes[i].state == PLACE_UP ||
                    (v->nodes[i].state == PLACE_LOST && v->nodes[i].draining);
    for (size_t g = 0; g < v->group_count; g++) {
        const struct place_group *pg = &v->groups[g];
        CHECK(pg->count <= place_shards(pg->scheme) &&
              place_shards(pg->scheme) <= PLACE_SHARDS_MAX);
        p->count[g] = pg->count;
        memcpy(members_of(p, g), pg->changing ? pg->next : pg->members, sizeof(pg->members));
        for (unsigned i = 0; i < pg->count; i++)
            p->whole &=
                pg->members[i] == PLACE_NONE || v->nodes[pg->members[i]].state != PLACE_LOST;
    }
    estimate_bytes(p);
    return true;
}

static void planner_fini(struct planner *p)
{
    free(p->weight);
    free(p->load);
    free(p->place_bytes);
    free(p->head);
    free(p->members);
    free(p->follow);
    free(p->count);
    free(p->all);
    free(p->seen);
    free(p->zone_taken);
}

int place_plan(const struct place_view *v, size_t changes_max, struct place_plan *ret)
{
    struct planner p;
    size_t count = 0;
    CHECK(v->node_count <= PLACE_NODES_MAX && v->group_count <= PLACE_GROUPS_MAX);
    if (!planner_init(&p, v)) {
        planner_fini(&p);
        return ERR_NOMEM;
    }
    for (size_t g = 0; g < v->group_count; g++)
        if (!p.seen[g])
            scheme_plan(&p, v->groups[g].scheme);
    for (size_t g = 0; g < v->group_count; g++) {
        struct place_change c = p.all[g];
        if (c.moves == 0)
            continue;
        c.group = g;
        c.count = p.count[g];
        c.margin = margin_of(v, &v->groups[g]);
        c.endangered = v->groups[g].endangered;
        memcpy(c.next, members_of(&p, g), sizeof(c.next));
        p.all[count++] = c; /* count <= g */
    }
    qsort(p.all, count, sizeof(p.all[0]), compare_changes);
    *ret = (struct place_plan){.changes = p.all, .count = count, .stuck = p.stuck};
    if (count > changes_max) {
        ret->count = changes_max;
        ret->cut = true;
    }
    p.all = NULL;
    planner_fini(&p);
    return OK;
}

void place_plan_fini(struct place_plan *p)
{
    free(p->changes);
    *p = (struct place_plan){0};
}
