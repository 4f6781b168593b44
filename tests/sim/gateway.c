/* The gateway's part of a simulated node: its cache, its metadata client and, where there are
 * storage nodes, its blob client and what requests share. */
#include "gateway/op/gateway.h"
#include "common/base/check.h"
#include "gateway/meta/meta_client.h"
#include "tests/sim/cluster.h"

#include <stdlib.h>

#define INLINE_BYTES_MAX 512

/* Attempts last a fraction of what a step may take, as in a real gateway. */
static void boot_blobs(struct sim_node *n)
{
    struct sim_cluster *c = n->cluster;
    uint32_t attempt_ms = (uint32_t)c->timeout_ms / 3;
    struct blob_config blob = {.zone = host_zone(n->host),
                               .replicate_bytes_max = c->replicate_bytes_max,
                               .write_attempt_ms = attempt_ms,
                               .straggler_ms = attempt_ms,
                               .read_attempt_ms = attempt_ms};
    struct gateway_config *config = calloc(1, sizeof(*config));
    n->gateway = calloc(1, sizeof(*n->gateway));
    CHECK(config && n->gateway);
    *config = (struct gateway_config){.region = SLICE_LIT("us-east-1"),
                                      .inline_bytes_max = INLINE_BYTES_MAX,
                                      .segment_bytes = c->segment_bytes,
                                      .part_bytes_min = 1,
                                      .body_bytes_max = 16 << 20,
                                      .timeout_ms = c->timeout_ms};
    CHECK(blob_client_new(host_env(n->host), n->rpc, n->client, &blob, &n->blobs) == OK);
    CHECK(gateway_init(n->gateway, config, NULL, host_env(n->host), n->client, n->blobs) == OK);
}

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
    if (c->stores_per_zone)
        boot_blobs(n);
    for (size_t i = 0; i < SIM_BOOT_HOOKS && n->on_boot[i].fn; i++)
        n->on_boot[i].fn(n->on_boot[i].arg, n);
}
