/* Draws faults: crashes, pauses, partitions, clocks, bad networks, and directed ones (scenario.h),
 * of which each seed that has them prefers two, or one. */
#include "tests/sim/nemesis.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "tests/sim/scenario.h"

#include <stdlib.h>

struct nemesis {
    struct sim_cluster *cluster;
    bool active;
    uint64_t faults, gap_max_ns;
    bool crash, pause, partition, clocks, network; /* what this run's seed allows */
    uint32_t directed_per_10k;
    unsigned favourites[2];
    bool only_favourites;
    struct scenario scenario;
};

struct healing { /* undoes one fault later */
    struct nemesis *nemesis;
    struct host *from, *to;
};

struct nemesis *nemesis_new(struct sim_cluster *c, const char *directed)
{
    struct nemesis *n = calloc(1, sizeof(*n));
    CHECK(n);
    struct world *w = c->world;
    n->cluster = c;
    n->gap_max_ns = NS_PER_SEC / 2 + world_below(w, 3 * NS_PER_SEC);
    uint64_t kinds = world_below(w, 4) == 0 ? 31 : 1 + world_below(w, 31); /* often only a few */
    n->crash = kinds & 1;
    n->pause = kinds & 2;
    n->partition = kinds & 4;
    n->clocks = kinds & 8;
    n->network = kinds & 16;
    n->directed_per_10k = world_below(w, 4) == 0 ? 0 : 9000;
    for (size_t i = 0; i < ARRAY_COUNT(n->favourites); i++)
        n->favourites[i] = (unsigned)world_below(w, SCENARIO_COUNT);
    if (world_below(w, 2)) /* one situation again and again, in a workload that it may suit */
        n->favourites[1] = n->favourites[0];
    n->only_favourites = world_below(w, 2);
    for (unsigned kind = 0; directed && kind < SCENARIO_COUNT; kind++) {
        if (strcmp(directed, scenario_name(kind)) != 0)
            continue;
        n->directed_per_10k = 9000;
        n->favourites[0] = n->favourites[1] = kind;
        n->only_favourites = true;
    }
    scenario_init(&n->scenario, c);
    return n;
}

static struct sim_node *any_node(struct nemesis *n)
{
    struct sim_cluster *c = n->cluster;
    size_t zone = world_below(c->world, c->zones), stores = sim_store_count(c);
    if (stores && world_below(c->world, 5) == 0) /* store_faults.h has more for them */
        return &c->stores[world_below(c->world, stores)];
    switch (world_below(c->world, 6)) {
    case 0: return &c->gateways[zone];
    case 1:
    case 2: return &c->witnesses[zone];
    default: return &c->metas[zone];
    }
}

static void unblock(void *arg)
{
    struct healing *h = arg;
    world_block(h->nemesis->cluster->world, h->from, h->to, false);
    free(h);
}

static struct healing *healing_new(struct nemesis *n)
{
    struct healing *h = calloc(1, sizeof(*h));
    CHECK(h);
    h->nemesis = n;
    return h;
}

static void crash(struct nemesis *n, struct sim_node *node)
{
    struct world *w = n->cluster->world;
    if (node->running)
        scenario_crash(n->cluster, node, world_below(w, 2),
                       world_below(w, world_below(w, 3) ? NS_PER_SEC : 8 * NS_PER_SEC));
}

static void block_for(struct nemesis *n, struct host *from, struct host *to, uint64_t ns)
{
    struct world *w = n->cluster->world;
    struct healing *h = healing_new(n);
    h->from = from;
    h->to = to;
    world_block(w, from, to, true);
    world_call(w, ns, unblock, h);
}

/* One host loses others: one way or both, some or all. */
static void partition(struct nemesis *n)
{
    struct sim_cluster *c = n->cluster;
    struct world *w = c->world;
    struct host *lone = any_node(n)->host;
    uint64_t ns = world_below(w, 6 * NS_PER_SEC), way = world_below(w, 3);
    uint32_t share = world_below(w, 2) ? 10000 : 5000;
    struct host *others[4 * SIM_NODES_MAX];
    size_t count = 0;
    for (size_t z = 0; z < c->zones; z++) {
        others[count++] = c->metas[z].host;
        others[count++] = c->witnesses[z].host;
        others[count++] = c->gateways[z].host;
    }
    for (size_t i = 0; i < sim_store_count(c); i++)
        others[count++] = c->stores[i].host;
    for (size_t i = 0; i < count; i++) {
        if (others[i] == lone || !world_chance(w, share))
            continue;
        if (way != 1)
            block_for(n, lone, others[i], ns);
        if (way != 0)
            block_for(n, others[i], lone, ns);
    }
}

static void disturb_clock(struct nemesis *n)
{
    struct sim_cluster *c = n->cluster;
    struct host *h = any_node(n)->host;
    host_set_rate(h, sim_clock_rate(c));
    if (world_below(c->world, 3) == 0)
        host_jump_wall(h, (int64_t)world_below(c->world, 1000) - 500);
}

static void disturb_network(struct nemesis *n)
{
    struct world *w = n->cluster->world;
    struct world_faults f = {.delay_min_ns = 50 * NS_PER_US,
                             .delay_max_ns = NS_PER_MS + world_below(w, 10 * NS_PER_MS)};
    if (world_below(w, 3) != 0) {
        f.slow_per_10k = (uint32_t)world_below(w, 300);
        f.slow_ns = world_below(w, 2 * NS_PER_SEC);
        f.drop_per_10k = (uint32_t)world_below(w, 200);
        f.dup_per_10k = (uint32_t)world_below(w, 300);
        f.reorder_per_10k = (uint32_t)world_below(w, 500);
        f.reset_per_10k = (uint32_t)world_below(w, 20);
    }
    world_set_faults(w, &f);
}

/* A directed fault, if it is time for one.  While it runs, others come less often. */
static bool direct(struct nemesis *n)
{
    struct world *w = n->cluster->world;
    if (n->scenario.active)
        return n->directed_per_10k && world_chance(w, 8000);
    if (!world_chance(w, n->directed_per_10k))
        return false;
    unsigned kind = !n->only_favourites && world_below(w, 4) == 0
                        ? (unsigned)world_below(w, SCENARIO_COUNT)
                        : n->favourites[world_below(w, 2)];
    bool started = scenario_start(&n->scenario, kind);
    if (started)
        log_info("nemesis.directed", 0, L_STR("scenario", scenario_name(kind)));
    return started;
}

static void strike(void *arg)
{
    struct nemesis *n = arg;
    struct sim_cluster *c = n->cluster;
    struct world *w = c->world;
    if (!n->active)
        return;
    uint64_t kind = world_below(w, 5);
    n->faults++;
    if (direct(n)) {
    } else if (kind == 0 && n->crash)
        crash(n, any_node(n));
    else if (kind == 1 && n->pause)
        host_pause(any_node(n)->host, world_now(w) + world_below(w, 5 * NS_PER_SEC));
    else if (kind == 2 && n->partition)
        partition(n);
    else if (kind == 3 && n->clocks)
        disturb_clock(n);
    else if (kind == 4 && n->network)
        disturb_network(n);
    else
        n->faults--;
    world_call(w, world_below(w, n->gap_max_ns), strike, n);
}

void nemesis_start(struct nemesis *n)
{
    n->active = true;
    world_call(n->cluster->world, world_below(n->cluster->world, n->gap_max_ns), strike, n);
}

void nemesis_heal(struct nemesis *n)
{
    struct sim_cluster *c = n->cluster;
    struct world_faults calm = {.delay_min_ns = 50 * NS_PER_US, .delay_max_ns = NS_PER_MS};
    n->active = false;
    scenario_stop(&n->scenario);
    world_heal(c->world);
    world_set_faults(c->world, &calm);
    for (size_t z = 0; z < c->zones; z++) {
        struct sim_node *nodes[] = {&c->metas[z], &c->witnesses[z], &c->gateways[z]};
        for (size_t i = 0; i < ARRAY_COUNT(nodes); i++)
            if (!nodes[i]->running)
                sim_boot(nodes[i]);
    }
    for (size_t i = 0; i < sim_store_count(c); i++)
        if (!c->stores[i].running && !c->stores[i].gone)
            sim_boot(&c->stores[i]);
}

uint64_t nemesis_faults(const struct nemesis *n)
{
    return n->faults;
}
