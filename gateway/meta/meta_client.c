/* The metadata client's life: making it, stopping it, freeing it. */
#include "gateway/meta/meta_client.h"

#include "common/base/check.h"
#include "gateway/meta/internal.h"

#include <stdlib.h>

static void set_defaults(struct meta_config *c)
{
    c->witness_hedge_ms = c->witness_hedge_ms ? c->witness_hedge_ms : 60;
    c->witness_timeout_ms = c->witness_timeout_ms ? c->witness_timeout_ms : 400;
    c->read_attempt_ms = c->read_attempt_ms ? c->read_attempt_ms : 1000;
    c->propose_attempt_ms = c->propose_attempt_ms ? c->propose_attempt_ms : 2000;
    c->backoff_ms = c->backoff_ms ? c->backoff_ms : 10;
    c->map_refresh_ms = c->map_refresh_ms ? c->map_refresh_ms : 3000;
}

int meta_client_new(struct env *env, struct rpc *rpc, struct cache *cache,
                    const struct meta_config *config, struct meta_client **ret)
{
    struct meta_client *mc = calloc(1, sizeof(*mc));
    if (!mc)
        return ERR_NOMEM;
    mc->env = env;
    mc->rpc = rpc;
    mc->cache = cache;
    mc->config = *config;
    set_defaults(&mc->config);
    list_init(&mc->calls);
    check_init(mc);
    mc->config.zone = config->zone ? strdup(config->zone) : NULL;
    int err = config->zone && !mc->config.zone ? ERR_NOMEM : map_init(mc);
    mc->config.seeds = NULL; /* what was borrowed has become peers */
    if (err) {
        meta_client_stop(mc);
        meta_client_free(mc);
        return err;
    }
    *ret = mc;
    return OK;
}

void meta_client_stop(struct meta_client *mc)
{
    if (mc->stopped)
        return;
    mc->stopped = true;
    map_stop(mc);
    list_for_each(it, &mc->calls)
    {
        struct meta_call *call = container_of(it, struct meta_call, node);
        if (call->calling)
            rpc_call_cancel(&call->rpc);
        else
            env_timer_start(&call->timer, 0);
    }
}

bool meta_client_idle(const struct meta_client *mc)
{
    return mc->outstanding == 0;
}

void meta_client_free(struct meta_client *mc)
{
    if (!mc)
        return;
    CHECK(mc->stopped && mc->outstanding == 0);
    check_fini(mc);
    map_fini(mc);
    free((char *)(uintptr_t)mc->config.zone);
    free(mc);
}

uint64_t meta_backoff_ns(struct meta_client *mc, unsigned step)
{
    uint64_t base = (uint64_t)mc->config.backoff_ms * NS_PER_MS << (step < 5 ? step : 5);
    uint64_t dice;
    env_random(mc->env, &dice, sizeof(dice));
    return base / 2 + dice % (base / 2 + 1);
}

struct env *meta_client_env(struct meta_client *mc)
{
    return mc->env;
}

struct rpc *meta_client_rpc(struct meta_client *mc)
{
    return mc->rpc;
}

struct cache *meta_client_cache(struct meta_client *mc)
{
    return mc->cache;
}

const struct meta_stats *meta_client_stats(const struct meta_client *mc)
{
    return &mc->stats;
}

struct rpc_peer *meta_client_metanode(const struct meta_client *mc, size_t i)
{
    return i < mc->metanode_count ? mc->metanodes[i] : NULL;
}

const Cairn__ClusterMap *meta_client_map(const struct meta_client *mc)
{
    return mc->map;
}
