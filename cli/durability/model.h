#pragma once
/* How likely data are lost: what is assumed, in one struct, and the placement groups that follow
 * from it.  Closed forms are in closed.h, simulations in sim.h.  docs/durability.md derives and
 * compares.
 *
 * A group has data + parity members, each another node; every member keeps one shard of each of the
 * group's blobs, on one of its disks.  A group has many blobs, so for every choice of one disk a
 * member there are blobs on just these.  Losses come as Poisson processes: of a disk, of a node
 * with all its disks, of a zone with all its nodes.  A loss of a zone is for ever with probability
 * `zone_permanent`, else its shards are out of reach for a while and nothing in it is lost.  What
 * was lost is there again after a while of its own, all repairs in parallel.  Data are lost when
 * more than `parity` shards are.
 *
 * Pure.  Times in hours, rates a year; a year has 365 days. */
#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define DUR_YEAR_HOURS 8760.0
#define DUR_ZONES_MAX 9u
#define DUR_NODES_MAX 20000u /* of all zones */
#define DUR_DISKS_MAX 100u   /* a node */
#define DUR_SHARDS_MAX 28u
#define DUR_GROUPS_MAX 1000000u

struct dur_params {
    unsigned zones, nodes, disks; /* zones, nodes a zone, disks a node */
    unsigned data, parity;        /* replicas: 1 and copies - 1 */
    unsigned scatter;             /* least number of other nodes that share a group with a node */
    double disk_rate, node_rate, zone_rate;    /* losses a year, of each one */
    double zone_permanent;                     /* of the losses of a zone, 0 .. 1 */
    double disk_hours, node_hours, zone_hours; /* until what was lost is there again */
    double outage_hours;                       /* of a zone that comes back */
    bool exponential;   /* repair and outage times: exponential, else fixed */
    double lse_rate;    /* latent sector errors a year, of each disk */
    double scrub_hours; /* in which every byte is read once; found is repaired */
    double disk_bytes;  /* used, of each disk */
    double blob_bytes;
};

static inline unsigned dur_shards(const struct dur_params *p)
{
    return p->data + p->parity;
}
static inline unsigned dur_nodes(const struct dur_params *p)
{
    return p->zones * p->nodes;
}
static inline unsigned dur_zone_of(const struct dur_params *p, unsigned node)
{
    return node % p->zones;
}

/* Everything within bounds, and enough nodes for the scheme. */
bool dur_params_valid(const struct dur_params *p);

/* How many things that a group depends on are lost or out of reach, on average; beyond about 3 it
 * is hardly ever whole, and cycles do not end. */
double dur_load(const struct dur_params *p);

/* Groups by permutations (copysets: A. Cidon et al., "Copysets: Reducing the Frequency of Data Loss
 * in Cloud Storage", USENIX ATC 2013): scatter / (shards - 1) of them, rounded up, each cut into
 * groups of as many nodes as there are shards.  Nodes of a permutation alternate between zones, so
 * a group is as even over them as can be. */
struct dur_groups {
    unsigned count, shards, node_count;
    uint32_t *member;    /* count * shards; node numbers */
    uint32_t *node_from; /* node_count + 1: where a node's groups begin in node_group */
    uint32_t *node_group;
};

/* Returns: OK; ERR_NOMEM; ERR_TOO_LARGE (DUR_GROUPS_MAX).  Owns: dur_groups_fini() frees. */
int dur_groups_init(struct dur_groups *g, const struct dur_params *p, uint64_t seed);
void dur_groups_fini(struct dur_groups *g);

/* By what was lost when data were: whole zones, and shards beside them.  Rates a year. */
struct dur_terms {
    double rate[DUR_ZONES_MAX + 1][DUR_SHARDS_MAX + 1];
};
