/* The gateway's part of a simulated node: its cache and its metadata client. */
#include "common/base/check.h"
#include "gateway/meta/meta_client.h"
#include "tests/sim/cluster.h"

void sim_boot_gateway(struct sim_node *n)
{
    struct sim_cluster *c = n->cluster;
    struct meta_seed seeds[SIM_NODES_MAX];
    struct cache_config cache = {.bytes_max = c->cache_bytes_max, .seed = world_random(c->world)};
    struct meta_config config = {
        .zone = host_zone(n->host), .seeds = seeds, .seed_count = (unsigned)c->zones};
    for (size_t i = 0; i < c->zones; i++)
        seeds[i] = (struct meta_seed){c->metas[i].id, host_addr(c->metas[i].host)};
    CHECK(cache_new(&cache, &n->cache) == OK);
    CHECK(meta_client_new(host_env(n->host), n->rpc, n->cache, &config, &n->client) == OK);
    if (n->on_boot)
        n->on_boot(n->on_boot_arg, n);
}
