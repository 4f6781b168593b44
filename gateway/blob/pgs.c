/* Nodes and placement groups, from the cluster map; the choice of a group for a write. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "gateway/blob/internal.h"
#include "gateway/meta/meta_client.h"

#include <stdlib.h>

#define CHOICE_TRIES 16

static int pg_cmp(const void *a, const void *b)
{
    const struct blob_pg *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static bool zone_index(struct blob_client *bc, const char *zone, unsigned *ret)
{
    for (unsigned i = 0; i < bc->zone_count; i++) {
        if (strcmp(bc->zones[i], zone) == 0) {
            *ret = i;
            return true;
        }
    }
    void *p = realloc(bc->zones, (bc->zone_count + 1) * sizeof(*bc->zones));
    if (!p || strlen(zone) >= sizeof(bc->zones[0])) {
        bc->zones = p ? p : bc->zones;
        return false;
    }
    bc->zones = p;
    strcpy(bc->zones[bc->zone_count], zone);
    *ret = bc->zone_count++;
    return true;
}

static struct blob_node *node_by_id(struct blob_client *bc, const char *id)
{
    for (size_t i = 0; i < bc->node_count; i++)
        if (strcmp(bc->nodes[i]->id, id) == 0)
            return bc->nodes[i];
    return NULL;
}

static bool node_take(struct blob_client *bc, const Cairn__NodeRecord *r)
{
    struct blob_node *n = node_by_id(bc, r->node_id);
    if (strlen(r->node_id) >= sizeof(n->id))
        return true; /* no certificate can bear it: never reachable */
    if (!n) {
        struct blob_node **p =
            realloc(bc->nodes, (bc->node_count + 1) * sizeof(struct blob_node *));
        if (!p)
            return false;
        bc->nodes = p;
        n = calloc(1, sizeof(*n));
        if (!n)
            return false;
        strcpy(n->id, r->node_id);
        bc->nodes[bc->node_count++] = n;
    }
    struct rpc_peer *peer = rpc_peer_get(bc->rpc, r->addr, r->node_id);
    n->peer = peer ? peer : n->peer;
    n->own_zone = bc->config.zone && strcmp(bc->config.zone, r->zone) == 0;
    return n->peer && zone_index(bc, r->zone, &n->zone);
}

void pgs_update(struct blob_client *bc)
{
    const Cairn__ClusterMap *map = meta_client_map(bc->mc);
    if (!map || map->version == bc->map_version)
        return;
    struct blob_pg *pgs = calloc(map->n_pgs + 1, sizeof(*pgs));
    if (!pgs)
        return; /* the old map goes on to serve */
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (map->nodes[i]->role == NET_ROLE_STORAGENODE && !node_take(bc, map->nodes[i])) {
            free(pgs);
            return;
        }
    }
    size_t count = 0;
    for (size_t i = 0; i < map->n_pgs; i++) {
        const Cairn__PlacementGroup *g = map->pgs[i];
        if (g->scheme != CAIRN__SCHEME__SCHEME_REP3 || !g->n_members ||
            g->n_members > PG_MEMBERS_MAX)
            continue; /* a scheme that this version cannot write or read */
        struct blob_pg *pg = &pgs[count++];
        pg->id = g->id;
        pg->epoch = g->epoch;
        pg->member_count = (unsigned)g->n_members;
        for (unsigned k = 0; k < pg->member_count; k++)
            pg->member[k] = node_by_id(bc, g->members[k]);
    }
    if (count)
        qsort(pgs, count, sizeof(*pgs), pg_cmp);
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

bool node_is_usable(const struct blob_client *bc, const struct blob_node *n)
{
    return n && n->peer && rpc_peer_is_up(n->peer) && env_now_ns(bc->env) >= n->suspect_until_ns;
}

static unsigned zones_of(const struct blob_client *bc, const struct blob_pg *pg, bool usable_only,
                         unsigned *ret_members)
{
    unsigned zones[PG_MEMBERS_MAX], zone_count = 0;
    *ret_members = 0;
    for (unsigned i = 0; i < pg->member_count; i++) {
        const struct blob_node *n = pg->member[i];
        if (!n || (usable_only && !node_is_usable(bc, n)))
            continue;
        ++*ret_members;
        unsigned k = 0;
        while (k < zone_count && zones[k] != n->zone)
            k++;
        if (k == zone_count)
            zones[zone_count++] = n->zone;
    }
    return zone_count;
}

void pg_quorum(const struct blob_pg *pg, unsigned *ret_copies, unsigned *ret_zones)
{
    unsigned members, zones = zones_of(NULL, pg, false, &members);
    /* Two zones of three; a cluster of one zone has no zone to lose, but still two copies. */
    *ret_zones = MIN(zones, 2);
    *ret_copies = MIN(pg->member_count, 2);
    if (MUTANT(BLOB_ONE_COPY))
        *ret_zones = *ret_copies = 1;
}

static bool can_reach_quorum(const struct blob_client *bc, const struct blob_pg *pg)
{
    unsigned copies, zones, members, usable_zones;
    pg_quorum(pg, &copies, &zones);
    usable_zones = zones_of(bc, pg, true, &members);
    return members >= copies && usable_zones >= zones && zones > 0;
}

static uint64_t pg_load(const struct blob_pg *pg)
{
    uint64_t load = 0;
    for (unsigned i = 0; i < pg->member_count; i++)
        load += pg->member[i] ? pg->member[i]->outstanding_bytes : 0;
    return load;
}

static bool is_avoided(uint32_t id, const uint32_t *avoid, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (avoid[i] == id)
            return true;
    return false;
}

const struct blob_pg *pgs_choose(struct blob_client *bc, const uint32_t *avoid, size_t avoid_count)
{
    const struct blob_pg *best = NULL;
    unsigned found = 0;
    uint64_t dice;
    pgs_update(bc);
    if (bc->pg_count == 0)
        return NULL;
    env_random(bc->env, &dice, sizeof(dice));
    /* The better of two at random spreads load almost as well as the best of all, without herding.
     */
    for (unsigned tries = 0; tries < CHOICE_TRIES && found < 2; tries++) {
        const struct blob_pg *pg = &bc->pgs[dice % bc->pg_count];
        dice = dice * 6364136223846793005ull + 1442695040888963407ull;
        dice ^= dice >> 29;
        if (pg == best || is_avoided(pg->id, avoid, avoid_count) || !can_reach_quorum(bc, pg))
            continue;
        found++;
        if (!best || pg_load(pg) < pg_load(best))
            best = pg;
    }
    /* Few can: look at all of them in order; then at those that are merely suspect. */
    for (size_t i = 0; !best && i < bc->pg_count; i++)
        if (!is_avoided(bc->pgs[i].id, avoid, avoid_count) && can_reach_quorum(bc, &bc->pgs[i]))
            best = &bc->pgs[i];
    for (size_t i = 0; !best && i < bc->pg_count; i++)
        if (!is_avoided(bc->pgs[i].id, avoid, avoid_count))
            best = &bc->pgs[i];
    return best;
}
