/* Placement groups, from the cluster map; the choice of a group for a write. */
#include "common/base/check.h"
#include "common/base/spread.h"
#include "gateway/blob/code.h"
#include "gateway/blob/internal.h"
#include "gateway/meta/meta_client.h"

#include <stdlib.h>

#define CHOICE_TRIES 16
#define CHOICE_MORE 64
#define NODES_IN_ZONES_MAX 64 /* zones that are looked at for the scheme by topology */

static int pg_cmp(const void *a, const void *b)
{
    const struct blob_pg *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The code of that shape, made at its first use.  NULL: no memory. */
static const struct ec *code_of(struct blob_client *bc, unsigned data, unsigned parity)
{
    for (size_t i = 0; i < bc->code_count; i++)
        if (bc->codes[i]->data == data && bc->codes[i]->parity == parity)
            return bc->codes[i];
    struct ec **p = realloc(bc->codes, (bc->code_count + 1) * sizeof(struct ec *));
    bc->codes = p ? p : bc->codes;
    struct ec *ec = p ? calloc(1, sizeof(*ec)) : NULL;
    if (!ec)
        return NULL;
    int err = ec_init(ec, data, parity);
    CHECK(err == OK); /* the shape was checked */
    return bc->codes[bc->code_count++] = ec;
}

/* Is it a group that this version can write to and read from? */
static bool is_known_shape(const Cairn__PlacementGroup *g)
{
    if (g->n_members == 0 || g->n_members > PG_MEMBERS_MAX || g->n_next_members > PG_MEMBERS_MAX ||
        (g->n_next_members && g->n_next_members < g->n_members))
        return false;
    if (g->scheme == CAIRN__SCHEME__SCHEME_REP3)
        return true;
    return g->n_next_members <= g->n_members && g->scheme == CAIRN__SCHEME__SCHEME_RS &&
           g->data_shards >= 1 && g->data_shards <= EC_DATA_MAX && g->parity_shards >= 1 &&
           g->parity_shards <= EC_PARITY_MAX && g->data_shards + g->parity_shards == g->n_members;
}

/* Returns: OK; ERR_NOMEM. */
static int pg_take(struct blob_client *bc, const Cairn__PlacementGroup *g, struct blob_pg *pg)
{
    *pg = (struct blob_pg){.id = g->id,
                           .epoch = g->epoch,
                           .shard_count = (unsigned)MAX(g->n_members, g->n_next_members),
                           .lists = g->n_next_members ? 2 : 1,
                           .list_count = {(unsigned)g->n_members, (unsigned)g->n_next_members}};
    for (unsigned list = 0; list < pg->lists; list++)
        for (unsigned i = 0; i < pg->list_count[list]; i++)
            pg->member[list][i] = node_by_id(bc, list ? g->next_members[i] : g->members[i]);
    if (g->scheme == CAIRN__SCHEME__SCHEME_RS)
        pg->ec = code_of(bc, g->data_shards, g->parity_shards);
    return g->scheme == CAIRN__SCHEME__SCHEME_RS && !pg->ec ? ERR_NOMEM : OK;
}

static bool has_scheme(const struct blob_scheme *list, size_t count, const struct ec *ec)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].data == ec->data && list[i].parity == ec->parity)
            return true;
    return false;
}

/* Says of each coded group whether it takes what names no scheme: unless its code is there for
 * other storage classes only. */
static void standard_mark(const struct blob_client *bc, struct blob_pg *pgs, size_t count)
{
    const struct blob_config *c = &bc->config;
    unsigned in_zone[NODES_IN_ZONES_MAX] = {0};
    struct blob_scheme by_topology;
    bool has_default;
    for (size_t i = 0; i < bc->node_count; i++)
        if (bc->nodes[i]->zone < ARRAY_COUNT(in_zone))
            in_zone[bc->nodes[i]->zone]++;
    has_default = c->standard_count == 0 &&
                  spread_default_code(in_zone, MIN(bc->zone_count, ARRAY_COUNT(in_zone)),
                                      &by_topology.data, &by_topology.parity);
    for (size_t i = 0; i < count; i++)
        pgs[i].standard = pgs[i].ec && (!has_scheme(c->classes, c->class_count, pgs[i].ec) ||
                                        has_scheme(c->standard, c->standard_count, pgs[i].ec) ||
                                        (has_default && has_scheme(&by_topology, 1, pgs[i].ec)));
}

void pgs_update(struct blob_client *bc)
{
    const Cairn__ClusterMap *map = meta_client_map(bc->mc);
    if (!map || map->version == bc->map_version)
        return;
    struct blob_pg *pgs = calloc(map->n_pgs + 1, sizeof(*pgs));
    size_t count = 0;
    int err = pgs ? nodes_update(bc, map) : ERR_NOMEM;
    for (size_t i = 0; i < map->n_pgs && err == OK; i++) {
        if (!is_known_shape(map->pgs[i]))
            continue;
        err = pg_take(bc, map->pgs[i], &pgs[count]);
        count++;
    }
    if (err != OK) {
        free(pgs);
        return; /* the old map goes on to serve */
    }
    if (count)
        qsort(pgs, count, sizeof(*pgs), pg_cmp);
    standard_mark(bc, pgs, count);
    free(bc->pgs);
    bc->pgs = pgs;
    bc->pg_count = count;
    bc->map_version = map->version;
}

const struct blob_pg *pgs_find(struct blob_client *bc, uint32_t id)
{
    struct blob_pg key = {.id = id};
    pgs_update(bc);
    return bc->pg_count ? bsearch(&key, bc->pgs, bc->pg_count, sizeof(key), pg_cmp) : NULL;
}

/* May a blob of that scheme lie in this coded group? */
static bool is_of_scheme(const struct blob_pg *pg, struct blob_scheme s)
{
    return s.data == 0 ? pg->standard : pg->ec->data == s.data && pg->ec->parity == s.parity;
}

size_t blob_parity_bytes(struct blob_client *bc, struct blob_scheme scheme, size_t segment_bytes)
{
    return segment_bytes > bc->config.replicate_bytes_max
               ? blob_code_bytes(bc, scheme, segment_bytes)
               : 0;
}

size_t blob_code_bytes(struct blob_client *bc, struct blob_scheme scheme, size_t segment_bytes)
{
    size_t ret = 0;
    pgs_update(bc);
    for (size_t i = 0; i < bc->pg_count; i++)
        if (bc->pgs[i].ec && is_of_scheme(&bc->pgs[i], scheme))
            ret = MAX(ret, code_buffer_bytes(bc->pgs[i].ec, segment_bytes));
    return ret;
}

bool blob_has_codes(struct blob_client *bc)
{
    pgs_update(bc);
    for (size_t i = 0; i < bc->pg_count; i++)
        if (bc->pgs[i].ec)
            return true;
    return false;
}

/* ---- quorums ---- */

bool pg_quorum(const struct blob_client *bc, const struct blob_pg *pg,
               const uint32_t durable[PG_LISTS])
{
    for (unsigned list = 0; list < pg->lists; list++) {
        struct quorum q = {.data = pg_data(pg), .shards = pg->list_count[list]};
        for (unsigned i = 0; i < pg->list_count[list]; i++) {
            const struct blob_node *n = pg->member[list][i];
            q.known |= n ? 1u << i : 0;
            q.lost |= n && n->lost ? 1u << i : 0;
            q.down |= n && bc->zones[n->zone].down ? 1u << i : 0;
            q.zone[i] = n ? n->zone : 0;
        }
        if (!quorum_reached(&q, durable[list]))
            return false;
    }
    return true;
}

static bool can_reach_quorum(const struct blob_client *bc, const struct blob_pg *pg)
{
    uint32_t usable[PG_LISTS] = {0};
    for (unsigned list = 0; list < pg->lists; list++)
        for (unsigned i = 0; i < pg->list_count[list]; i++)
            usable[list] |= node_takes_writes(bc, pg->member[list][i]) ? 1u << i : 0;
    return pg_quorum(bc, pg, usable);
}

/* One of its zones is declared down. */
static bool pg_zone_down(const struct blob_client *bc, const struct blob_pg *pg)
{
    for (unsigned list = 0; list < pg->lists; list++)
        for (unsigned i = 0; i < pg->list_count[list]; i++)
            if (pg->member[list][i] && bc->zones[pg->member[list][i]->zone].down)
                return true;
    return false;
}

/* It is coded, can reach its quorum, and no zone of it is declared down. */
static bool takes_shards(const struct blob_client *bc, const struct blob_pg *pg)
{
    return pg->ec && !bc->stopped && !pg_zone_down(bc, pg) && can_reach_quorum(bc, pg);
}

bool blob_can_code(struct blob_client *bc)
{
    pgs_update(bc);
    for (size_t i = 0; i < bc->pg_count; i++)
        if (takes_shards(bc, &bc->pgs[i]))
            return true;
    return false;
}

bool blob_can_code_as(struct blob_client *bc, struct blob_scheme scheme)
{
    pgs_update(bc);
    for (size_t i = 0; i < bc->pg_count; i++)
        if (takes_shards(bc, &bc->pgs[i]) && is_of_scheme(&bc->pgs[i], scheme))
            return true;
    return false;
}

/* ---- the choice ---- */

/* What speaks against or for a group that can reach its quorum. */
struct merit {
    unsigned faults; /* members that are down, suspect, full, slow or draining */
    uint64_t load;   /* bytes on their way to its members */
    uint64_t space;  /* of the member that has least; 0: not known */
};

/* Where shards will lie counts: the members to be, if there are any. */
static struct merit merit_of(const struct blob_client *bc, const struct blob_pg *pg)
{
    struct merit m = {.space = UINT64_MAX};
    for (unsigned i = 0; i < pg->list_count[pg->lists - 1]; i++) {
        const struct blob_node *n = pg->member[pg->lists - 1][i];
        if (!n || !node_takes_writes(bc, n) || node_is_slow(bc, n) || n->draining)
            m.faults++;
        m.load += n ? n->outstanding_bytes : 0;
        m.space = MIN(m.space, n ? node_space(bc, n) : 0);
    }
    return m;
}

/* Is a better than b?  Equally loaded groups are drawn in proportion to their free space, so that
 * they become full together. */
static bool is_better(const struct merit *a, const struct merit *b, uint32_t dice)
{
    if (a->faults != b->faults)
        return a->faults < b->faults;
    double space_a = (double)a->space, space_b = (double)b->space;
    if (a->space == 0 || b->space == 0)
        space_a = space_b = 1; /* not known */
    if (a->load != b->load)
        return (double)a->load * space_b < (double)b->load * space_a;
    return (double)dice / UINT32_MAX * (space_a + space_b) < space_a;
}

static bool is_wanted(const struct blob_client *bc, const struct blob_pg *pg,
                      const struct pg_wish *wish, bool coded)
{
    if (coded != (pg->ec != NULL))
        return false;
    if (wish->coded_only && (!coded || pg_zone_down(bc, pg)))
        return false;
    if (coded && (!is_of_scheme(pg, wish->scheme) || (wish->made && pg->ec != wish->made)))
        return false;
    if (coded && code_buffer_bytes(pg->ec, wish->bytes) > wish->parity_cap)
        return false;
    for (size_t i = 0; i < wish->avoid_count; i++)
        if (wish->avoid[i].pg == pg->id && pg->epoch <= wish->avoid[i].epoch)
            return false;
    return true;
}

/* Of the coded groups, or of the replicated ones. */
static const struct blob_pg *choose_of(struct blob_client *bc, const struct pg_wish *wish,
                                       bool coded)
{
    const struct blob_pg *best = NULL;
    struct merit best_merit = {0};
    unsigned found = 0;
    uint64_t dice;
    env_random(bc->env, &dice, sizeof(dice));
    /* The better of two at random spreads load almost as well as the best of all, without herding.
     */
    for (unsigned tries = 0; tries < CHOICE_TRIES && found < 2; tries++) {
        const struct blob_pg *pg = &bc->pgs[dice % bc->pg_count];
        dice = dice * 6364136223846793005ull + 1442695040888963407ull;
        dice ^= dice >> 29;
        if (pg == best || !is_wanted(bc, pg, wish, coded) || !can_reach_quorum(bc, pg))
            continue;
        struct merit merit = merit_of(bc, pg);
        found++;
        if (!best || is_better(&merit, &best_merit, (uint32_t)(dice >> 32))) {
            best = pg;
            best_merit = merit;
        }
    }
    /* Few can: look at all of them.  The better of two is not a good one: look at some more. */
    for (size_t i = 0; i < bc->pg_count; i++) {
        const struct blob_pg *pg = &bc->pgs[(dice + i) % bc->pg_count];
        if (best && (best_merit.faults == 0 || i >= CHOICE_MORE))
            break;
        if (pg == best || !is_wanted(bc, pg, wish, coded) || !can_reach_quorum(bc, pg))
            continue;
        struct merit merit = merit_of(bc, pg);
        if (!best || merit.faults < best_merit.faults) {
            best = pg;
            best_merit = merit;
        }
    }
    return best;
}

const struct blob_pg *pgs_choose(struct blob_client *bc, const struct pg_wish *wish)
{
    const struct blob_pg *ret = NULL;
    pgs_update(bc);
    if (bc->pg_count == 0)
        return NULL;
    if (wish->parity_cap > 0)
        ret = choose_of(bc, wish, true);
    if (!ret)
        ret = choose_of(bc, wish, false);
    if (wish->coded_only)
        return ret; /* it can wait */
    /* None can, it seems: those that are merely suspect, copies first, which need least. */
    for (int coded = 0; coded <= (wish->parity_cap > 0); coded++)
        for (size_t i = 0; !ret && i < bc->pg_count; i++)
            if (is_wanted(bc, &bc->pgs[i], wish, coded))
                ret = &bc->pgs[i];
    return ret;
}
