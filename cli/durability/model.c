/* Bounds, and the placement groups of a topology. */
#include "cli/durability/model.h"

#include "cli/durability/rng.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

static bool within(double v, double min, double max)
{
    return v >= min && v <= max;
}

bool dur_params_valid(const struct dur_params *p)
{
    return p->zones >= 1 && p->zones <= DUR_ZONES_MAX && p->nodes >= 1 &&
           p->nodes <= DUR_NODES_MAX / p->zones && p->disks >= 1 && p->disks <= DUR_DISKS_MAX &&
           p->data >= 1 && p->parity >= 1 && p->data <= DUR_SHARDS_MAX &&
           p->parity <= DUR_SHARDS_MAX && dur_shards(p) <= DUR_SHARDS_MAX &&
           dur_shards(p) <= dur_nodes(p) && p->scatter >= 1 && within(p->disk_rate, 0, 1e4) &&
           within(p->node_rate, 0, 1e4) && within(p->zone_rate, 0, 1e4) &&
           p->disk_rate + p->node_rate + p->zone_rate * p->zone_permanent > 0 &&
           within(p->zone_permanent, 0, 1) && within(p->disk_hours, 1e-3, 1e6) &&
           within(p->node_hours, 1e-3, 1e6) && within(p->zone_hours, 1e-3, 1e6) &&
           within(p->outage_hours, 1e-3, 1e6) && within(p->lse_rate, 0, 1e6) &&
           within(p->scrub_hours, 1, 1e6) && p->disk_bytes >= 1 && p->blob_bytes >= 1;
}

double dur_load(const struct dur_params *p)
{
    double zone_hours =
        p->zone_permanent * p->zone_hours + (1 - p->zone_permanent) * p->outage_hours;
    double member = p->disks * p->disk_rate * p->disk_hours + p->node_rate * p->node_hours;
    return (dur_shards(p) * member + p->zones * p->zone_rate * zone_hours) / DUR_YEAR_HOURS;
}

static void shuffle(struct rng *r, uint32_t *v, unsigned count)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned j = rng_below(r, i);
        uint32_t swap = v[i - 1];
        v[i - 1] = v[j];
        v[j] = swap;
    }
}

/* One permutation: nodes of zone z at places z, z + zones, ..., in random order within the zone. */
static void permutation(const struct dur_params *p, struct rng *r, uint32_t *zone, uint32_t *ret)
{
    for (unsigned z = 0; z < p->zones; z++) {
        for (unsigned i = 0; i < p->nodes; i++)
            zone[i] = i * p->zones + z;
        shuffle(r, zone, p->nodes);
        for (unsigned i = 0; i < p->nodes; i++)
            ret[i * p->zones + z] = zone[i];
    }
}

static void invert(struct dur_groups *g, uint32_t *at)
{
    size_t slots = (size_t)g->count * g->shards;
    for (size_t i = 0; i < slots; i++)
        g->node_from[g->member[i] + 1]++;
    for (unsigned n = 0; n < g->node_count; n++)
        g->node_from[n + 1] += g->node_from[n];
    memcpy(at, g->node_from, g->node_count * sizeof(*at));
    for (size_t i = 0; i < slots; i++)
        g->node_group[at[g->member[i]]++] = (uint32_t)(i / g->shards);
}

int dur_groups_init(struct dur_groups *g, const struct dur_params *p, uint64_t seed)
{
    CHECK(dur_params_valid(p));
    unsigned shards = dur_shards(p), nodes = dur_nodes(p);
    uint64_t permutations = ((uint64_t)p->scatter + shards - 2) / (shards - 1);
    uint64_t count = permutations * (nodes / shards);
    memset(g, 0, sizeof(*g));
    if (count > DUR_GROUPS_MAX)
        return ERR_TOO_LARGE;
    *g = (struct dur_groups){.count = (unsigned)count, .shards = shards, .node_count = nodes};
    g->member = calloc(count * shards, sizeof(uint32_t));
    g->node_from = calloc(nodes + 1, sizeof(uint32_t));
    g->node_group = calloc(count * shards, sizeof(uint32_t));
    uint32_t *zone = calloc(nodes, sizeof(uint32_t)), *order = calloc(nodes, sizeof(uint32_t));
    int err = g->member && g->node_from && g->node_group && zone && order ? OK : ERR_NOMEM;
    struct rng r;
    rng_init(&r, seed);
    for (uint64_t i = 0, at = 0; !err && i < permutations; i++, at += nodes / shards) {
        permutation(p, &r, zone, order);
        memcpy(g->member + at * shards, order, nodes / shards * shards * sizeof(uint32_t));
    }
    if (!err)
        invert(g, order);
    free(zone);
    free(order);
    if (err)
        dur_groups_fini(g);
    return err;
}

void dur_groups_fini(struct dur_groups *g)
{
    free(g->member);
    free(g->node_from);
    free(g->node_group);
    memset(g, 0, sizeof(*g));
}
