/* Between the cluster map's records and the numbers of the pure core; groups that are to be made.
 */
#include "metanode/op/placement.h"

#include "common/base/hash.h"

#include <stdlib.h>

/* ---- the view ---- */

static int compare_records(const void *a, const void *b)
{
    const Cairn__NodeRecord *const *x = a, *const *y = b;
    return strcmp((*x)->node_id, (*y)->node_id);
}

int placement_view_node(const struct placement_view *w, const char *node_id)
{
    Cairn__NodeRecord key = {.node_id = (char *)(uintptr_t)node_id}, *at = &key;
    Cairn__NodeRecord **found =
        w->v.node_count ? bsearch(&at, w->records, w->v.node_count, sizeof(at), compare_records)
                        : NULL;
    return found ? (int)(found - w->records) : -1;
}

static int compare_pgs(const void *a, const void *b)
{
    const Cairn__PlacementGroup *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

int placement_view_group(const struct placement_view *w, uint32_t pg)
{
    Cairn__PlacementGroup key = {.id = pg}, *at = &key;
    Cairn__PlacementGroup **found =
        w->v.group_count ? bsearch(&at, w->pgs, w->v.group_count, sizeof(at), compare_pgs) : NULL;
    return found ? (int)(found - w->pgs) : -1;
}

static unsigned zone_number(struct placement_view *w, char *zone)
{
    unsigned z = 0;
    while (z < w->v.zone_count && strcmp(w->zones[z], zone) != 0)
        z++;
    if (z == w->v.zone_count)
        w->zones[w->v.zone_count++] = zone;
    return z;
}

static void add_node(struct placement_view *w, Cairn__NodeRecord *r)
{
    w->nodes[w->v.node_count] = (struct place_node){
        .zone = zone_number(w, r->zone),
        .state = r->state == CAIRN__NODE_STATE__NODE_UP     ? PLACE_UP
                 : r->state == CAIRN__NODE_STATE__NODE_DOWN ? PLACE_DOWN
                                                            : PLACE_LOST,
        .draining = r->draining,
        .bytes_total = r->bytes_total,
    };
    w->v.node_count++;
}

static void fill_members(const struct placement_view *w, char *const *ids, size_t count,
                         uint16_t *ret)
{
    for (size_t i = 0; i < count; i++) {
        int node = placement_view_node(w, ids[i]);
        ret[i] = node < 0 ? PLACE_NONE : (uint16_t)node;
    }
}

static void add_group(struct placement_view *w, const Cairn__PlacementGroup *pg)
{
    struct place_group *g = &w->groups[w->v.group_count++];
    *g = (struct place_group){.scheme = {(uint8_t)pg->data_shards, (uint8_t)pg->parity_shards},
                              .count = (uint8_t)MAX(pg->n_members, pg->n_next_members),
                              .changing = pg->n_next_members > 0};
    for (unsigned i = 0; i < PLACE_SHARDS_MAX; i++)
        g->members[i] = g->next[i] = PLACE_NONE;
    fill_members(w, pg->members, pg->n_members, g->members);
    fill_members(w, pg->next_members, pg->n_next_members, g->next);
}

static bool is_understood(const Cairn__PlacementGroup *pg)
{
    uint64_t shards = (uint64_t)pg->data_shards + pg->parity_shards;
    return pg->data_shards >= 1 && shards <= PLACE_SHARDS_MAX && pg->n_members >= 1 &&
           pg->n_members <= shards &&
           (pg->n_next_members == 0 ||
            (pg->n_next_members >= pg->n_members && pg->n_next_members <= shards));
}

int placement_view_make(struct arena *a, Cairn__NodeRecord **nodes, size_t node_count,
                        Cairn__PlacementGroup **pgs, size_t pg_count, struct placement_view *ret)
{
    struct placement_view w = {0};
    size_t storage = 0, groups = 0;
    w.nodes = arena_zalloc(a, (node_count + 1) * sizeof(w.nodes[0]));
    w.records = arena_zalloc(a, (node_count + 1) * sizeof(w.records[0]));
    w.zones = arena_zalloc(a, (node_count + 1) * sizeof(w.zones[0]));
    w.groups = arena_zalloc(a, (pg_count + 1) * sizeof(w.groups[0]));
    w.pgs = arena_zalloc(a, (pg_count + 1) * sizeof(w.pgs[0]));
    if (!w.nodes || !w.records || !w.zones || !w.groups || !w.pgs)
        return ERR_NOMEM;
    for (size_t i = 0; i < node_count && storage < PLACE_NODES_MAX; i++)
        if (nodes[i]->role == NET_ROLE_STORAGENODE)
            w.records[storage++] = nodes[i];
    qsort(w.records, storage, sizeof(w.records[0]), compare_records);
    for (size_t i = 0; i < storage; i++)
        add_node(&w, w.records[i]);
    for (size_t i = 0; i < pg_count && groups < PLACE_GROUPS_MAX; i++)
        if (is_understood(pgs[i]))
            w.pgs[groups++] = pgs[i];
    qsort(w.pgs, groups, sizeof(w.pgs[0]), compare_pgs);
    for (size_t i = 0; i < groups; i++)
        add_group(&w, w.pgs[i]);
    w.v.nodes = w.nodes;
    w.v.groups = w.groups;
    *ret = w;
    return OK;
}

/* ---- new groups ---- */

struct group_list {
    struct arena *arena;
    Cairn__PlacementGroup **pgs;
    size_t count, max;
    uint32_t next_id;
};

/* Groups as the scheme wants them: replicas on too few nodes make way for whole ones later. */
static unsigned count_whole(const struct placement_view *w, struct place_scheme s)
{
    unsigned count = 0;
    for (size_t g = 0; g < w->v.group_count; g++) {
        const struct place_group *pg = &w->groups[g];
        count += pg->scheme.data == s.data && pg->scheme.parity == s.parity &&
                 pg->count >= MIN(place_shards(s), w->v.node_count);
    }
    return count;
}

static int append(struct group_list *l, const struct placement_view *w, struct place_scheme s,
                  const uint16_t *members, unsigned count)
{
    Cairn__PlacementGroup *pg = arena_zalloc(l->arena, sizeof(*pg));
    char **ids = arena_zalloc(l->arena, count * sizeof(*ids));
    if (!pg || !ids)
        return ERR_NOMEM;
    cairn__placement_group__init(pg);
    pg->id = l->next_id++;
    pg->epoch = 1;
    pg->scheme = s.data == 1 ? CAIRN__SCHEME__SCHEME_REP3 : CAIRN__SCHEME__SCHEME_RS;
    pg->data_shards = s.data;
    pg->parity_shards = s.parity;
    pg->members = ids;
    pg->n_members = count;
    for (unsigned i = 0; i < count; i++)
        ids[i] = w->records[members[i]]->node_id;
    l->pgs[l->count++] = pg;
    return OK;
}

static int add_scheme(struct group_list *l, const struct placement_view *w,
                      const struct cluster_config *c, struct place_scheme s)
{
    struct place_made made;
    unsigned wanted = c->pgs ? c->pgs : place_groups_wanted(w->v.node_count, s);
    unsigned there = count_whole(w, s);
    if (there >= wanted || l->count == l->max)
        return OK;
    struct place_ask ask = {.scheme = s,
                            .scatter_width = c->scatter_width,
                            .count = (unsigned)MIN(wanted - there, l->max - l->count),
                            .seed = hash64(l->next_id, id128_slice(&c->cluster_id))};
    int err = place_make(&w->v, &ask, &made);
    if (err != OK)
        return err == ERR_NOSPACE ? OK : err; /* when there are nodes for it */
    log_info("placement.groups", 0, L_UINT("data", s.data), L_UINT("parity", s.parity),
             L_UINT("groups", ask.count), L_UINT("copysets", made.copysets),
             L_UINT("scatter_width_min", made.width_min),
             L_UINT("scatter_width_max", made.width_max));
    for (unsigned g = 0; err == OK && g < ask.count; g++)
        err = append(l, w, s, made.members + (size_t)g * made.shards, made.shards);
    place_made_fini(&made);
    return err;
}

/* Adds a code that is not there yet.  Replicas are. */
static size_t add_code(struct place_scheme *schemes, size_t n, struct place_scheme s)
{
    for (size_t i = 0; i < n; i++)
        if (schemes[i].data == s.data && schemes[i].parity == s.parity)
            return n;
    if (s.data > 1)
        schemes[n++] = s;
    return n;
}

static struct place_scheme scheme_of(struct cluster_scheme s)
{
    return (struct place_scheme){(uint8_t)s.data, (uint8_t)s.parity};
}

/* Every scheme that somebody may write with: replicas, STANDARD's, and those of other storage
 * classes. */
static size_t schemes_in_use(const struct placement_view *w, const struct cluster_config *c,
                             struct place_scheme ret[PLACE_SCHEMES_MAX])
{
    struct place_scheme by_topology[2];
    size_t n = 1, topology = place_default_schemes(&w->v, by_topology);
    _Static_assert(1 + CLUSTER_SCHEMES_MAX + CLUSTER_CLASSES_MAX <= PLACE_SCHEMES_MAX, "all fit");
    ret[0] = (struct place_scheme){1, PLACE_REPLICAS - 1};
    for (size_t i = 0; i < c->scheme_count; i++)
        n = add_code(ret, n, scheme_of(c->schemes[i]));
    for (size_t i = 0; c->scheme_count == 0 && i < topology; i++)
        n = add_code(ret, n, by_topology[i]);
    for (size_t i = 0; i < c->class_count; i++)
        n = add_code(ret, n, scheme_of(c->classes[i].scheme));
    return n;
}

int placement_new_groups(struct arena *a, const struct placement_view *w,
                         const struct cluster_config *c, uint32_t first_id, size_t max,
                         Cairn__PlacementGroup ***ret, size_t *ret_count)
{
    struct place_scheme schemes[PLACE_SCHEMES_MAX];
    size_t n = schemes_in_use(w, c, schemes);
    size_t room = PLACE_GROUPS_MAX - MIN(w->v.group_count, PLACE_GROUPS_MAX);
    struct group_list l = {.arena = a, .max = MIN(max, room), .next_id = first_id};
    l.pgs = arena_zalloc(a, (l.max + 1) * sizeof(l.pgs[0]));
    int err = l.pgs ? OK : ERR_NOMEM;
    for (size_t i = 0; err == OK && i < n; i++)
        err = add_scheme(&l, w, c, schemes[i]);
    *ret = l.pgs;
    *ret_count = err == OK ? l.count : 0;
    return err;
}
