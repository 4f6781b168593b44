/* Destroys data within the budget, and plays the operator who drains nodes and replaces disks. */
#include "tests/sim/losses.h"

#include "common/base/check.h"
#include "common/env/disk_mem.h"
#include "common/obs/log.h"
#include "gateway/meta/meta_client.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stores.h"

#include <stdlib.h>

#define POLL_NS (200 * NS_PER_MS)
#define CALL_NS NS_PER_SEC
#define NOBODY SIZE_MAX
#define REPORTED_NS (5 * NS_PER_SEC) /* every node has told of its disks by then */
#define HOUR_MS 3600000ll

enum kind { FLIP, EMPTY, DISK, FOREVER, DRAIN, ZONE, CLOCK, KIND_COUNT };

struct losses {
    struct sim_cluster *cluster;
    struct sim_shards *shards;
    bool active;
    uint32_t kinds; /* a mask of those that this seed has */
    uint64_t gap_max_ns, began_ns, next_ns, count;
    size_t zone;       /* where data are being destroyed; NOBODY: all is whole */
    uint64_t since_ns; /* when that began */
    size_t drained;    /* a node; NOBODY */
    uint64_t drain_ends_ns, asked_ns;
    struct host *wrong; /* whose clock is */
    int64_t wrong_ms;
    uint64_t right_ns;
};

static uint64_t below(struct losses *l, uint64_t n)
{
    return world_below(l->cluster->world, n);
}

static uint64_t now(const struct losses *l)
{
    return world_now(l->cluster->world);
}

static struct sim_node *node_of(struct losses *l, size_t n)
{
    return &l->cluster->stores[n];
}

/* ---- the operator ---- */

struct order {
    struct meta_call call;
    Cairn__DrainNodeRequest request;
};

static void ordered(struct meta_call *call)
{
    meta_call_fini(call);
    free(container_of(call, struct order, call));
}

/* Until the map says what it should, again and again: a gateway that dies takes the order along,
 * and who was drained before it was lost is given up by a second one. */
static void order(struct losses *l, size_t n, bool draining)
{
    struct sim_node *gateway = &l->cluster->gateways[below(l, l->cluster->zones)];
    bool done = sim_shards_draining(l->shards, n) == draining &&
                !(draining && sim_shards_missed(l->shards, n));
    if (done || now(l) - l->asked_ns < CALL_NS || !gateway->running)
        return;
    struct order *o = calloc(1, sizeof(*o));
    CHECK(o);
    l->asked_ns = now(l);
    cairn__drain_node_request__init(&o->request);
    o->request.node_id = node_of(l, n)->id;
    o->request.undrain = !draining;
    o->call = (struct meta_call){.method = &method_root_drain_node,
                                 .root = true,
                                 .request = &o->request.base,
                                 .deadline_ns = env_now_ns(host_env(gateway->host)) + CALL_NS,
                                 .cb = ordered};
    meta_call_start(gateway->client, &o->call);
}

/* A drained node that is LOST is given up, and deletions do not wait for it: that is said only of
 * one that does not come back. */
static void orders(struct losses *l)
{
    for (size_t n = 0; n < sim_store_count(l->cluster); n++) {
        bool wanted = node_of(l, n)->gone || (n == l->drained && now(l) < l->drain_ends_ns &&
                                              sim_shards_is_up(l->shards, n));
        order(l, n, wanted);
    }
    if (now(l) >= l->drain_ends_ns)
        l->drained = NOBODY;
}

/* ---- what is destroyed ---- */

static void crash(struct losses *l, struct sim_node *n, uint64_t down_ns)
{
    scenario_crash(l->cluster, n, below(l, 2), down_ns);
}

static void flip(struct losses *l, size_t n)
{
    if (sim_store_up(node_of(l, n)))
        sim_shards_flip(l->shards, n, 1 + (unsigned)below(l, below(l, 2) ? 3 : 30));
}

static void empty(struct losses *l, size_t n)
{
    struct sim_node *node = node_of(l, n);
    crash(l, node, below(l, 2) ? below(l, NS_PER_SEC) : below(l, 8 * NS_PER_SEC));
    sim_shards_emptied(l->shards, n);
    for (size_t i = 0; i < node->drive_count; i++)
        sim_store_replace(node, i, true);
}

struct replacing {
    struct losses *losses;
    size_t node, drive;
};

static void replace(void *arg)
{
    struct replacing *r = arg;
    struct sim_node *node = node_of(r->losses, r->node);
    crash(r->losses, node, below(r->losses, NS_PER_SEC));
    sim_shards_emptied(r->losses->shards, r->node);
    sim_store_replace(node, r->drive, node->drive_count == 1);
    node->disk_may_fail = false;
    free(r);
}

/* It fails, and the node goes on without it for a while; or it is taken out. */
static void lose_disk(struct losses *l, size_t n)
{
    struct sim_node *node = node_of(l, n);
    struct replacing *r = calloc(1, sizeof(*r));
    CHECK(r);
    *r = (struct replacing){l, n, below(l, node->drive_count)};
    if (node->disk_may_fail) {
        free(r);
        return;
    }
    if (!below(l, 2) || !sim_store_up(node)) {
        node->disk_may_fail = true; /* only so that this comes once at a time */
        replace(r);
        return;
    }
    node->disk_may_fail = true;
    disk_mem_fail(node->drives[r->drive].disk, below(l, 2) ? DISK_WRITE : DISK_SYNC, 1, ERR_IO,
                  true);
    world_call(l->cluster->world, below(l, 3 * NS_PER_SEC), replace, r);
}

static bool is_any_gone(struct losses *l)
{
    for (size_t n = 0; n < sim_store_count(l->cluster); n++)
        if (node_of(l, n)->gone)
            return true;
    return false;
}

static void lose_for_ever(struct losses *l, size_t n)
{
    struct sim_node *node = node_of(l, n);
    if (is_any_gone(l) || l->cluster->stores_per_zone < 2 || now(l) < l->began_ns + REPORTED_NS)
        return;
    if (node->running)
        sim_crash(node, below(l, 2));
    node->gone = true;
    node->emptied_ns = now(l);
    sim_shards_emptied(l->shards, n);
}

/* ---- what is not ---- */

static void zone_away(struct losses *l, size_t zone)
{
    struct sim_cluster *c = l->cluster;
    uint64_t ns = NS_PER_SEC + below(l, 6 * NS_PER_SEC);
    size_t other = below(l, 2) ? below(l, sim_store_count(c)) : NOBODY;
    for (size_t n = 0; n < sim_store_count(c); n++)
        if ((n / c->stores_per_zone == zone || n == other) && node_of(l, n)->running)
            crash(l, node_of(l, n), ns + below(l, NS_PER_SEC));
}

static void clock_right(struct losses *l)
{
    if (l->wrong)
        host_jump_wall(l->wrong, -l->wrong_ms);
    l->wrong = NULL;
}

/* Of a storage node or a gateway: those of metanodes stop a cluster (docs/decisions, time in
 * entries). */
static void clock_wrong(struct losses *l, size_t n)
{
    struct sim_cluster *c = l->cluster;
    if (l->wrong)
        return;
    l->wrong = below(l, 3) ? node_of(l, n)->host : c->gateways[below(l, c->zones)].host;
    l->wrong_ms = (1 + (int64_t)below(l, 30)) * HOUR_MS * (below(l, 2) ? 1 : -1);
    l->right_ns = now(l) + NS_PER_SEC + below(l, 8 * NS_PER_SEC);
    host_jump_wall(l->wrong, l->wrong_ms);
}

static void drain(struct losses *l, size_t n)
{
    if (l->drained != NOBODY || is_any_gone(l))
        return;
    l->drained = n;
    l->drain_ends_ns = now(l) + below(l, 15 * NS_PER_SEC);
}

/* ---- when ---- */

/* Data may be destroyed in this zone now. */
static bool may_destroy(struct losses *l, size_t zone)
{
    if (l->zone != NOBODY && sim_shards_full(l->shards))
        l->zone = NOBODY;
    if (l->zone == NOBODY) {
        if (!sim_shards_full(l->shards))
            return false;
        l->zone = zone;
        l->since_ns = now(l);
    }
    return l->zone == zone && !sim_shards_zone_was_down(l->shards, zone, l->since_ns);
}

static void strike(struct losses *l)
{
    static const char *const names[KIND_COUNT] = {"bits flip",         "a node comes back empty",
                                                  "a disk is lost",    "a node is lost for ever",
                                                  "a node is drained", "a zone is away",
                                                  "a clock is wrong"};
    size_t stores = sim_store_count(l->cluster), n = below(l, stores);
    enum kind kind = (enum kind)below(l, KIND_COUNT);
    bool more = l->zone != NOBODY && below(l, 2) == 0;
    if (!(l->kinds & 1u << kind))
        return;
    if (more && kind <= FOREVER) /* in the same zone */
        n = l->zone * l->cluster->stores_per_zone + below(l, l->cluster->stores_per_zone);
    size_t zone = n / l->cluster->stores_per_zone;
    if (node_of(l, n)->gone || (kind <= FOREVER && !may_destroy(l, zone)))
        return;
    log_info("losses.strike", 0, L_STR("what", names[kind]), L_STR("node", node_of(l, n)->id));
    l->count++;
    l->next_ns = now(l) + below(l, l->gap_max_ns);
    switch (kind) {
    case FLIP: flip(l, n); break;
    case EMPTY: empty(l, n); break;
    case DISK: lose_disk(l, n); break;
    case FOREVER: lose_for_ever(l, n); break;
    case DRAIN: drain(l, n); break;
    case ZONE: zone_away(l, zone); break;
    default: clock_wrong(l, n); break;
    }
}

static void poll(void *arg)
{
    struct losses *l = arg;
    if (l->wrong && now(l) >= l->right_ns)
        clock_right(l);
    orders(l); /* also when all has been healed */
    if (l->active && now(l) >= l->next_ns)
        strike(l);
    world_call(l->cluster->world, POLL_NS, poll, l);
}

struct losses *losses_new(struct sim_cluster *c, struct sim_shards *s)
{
    struct losses *l = calloc(1, sizeof(*l));
    CHECK(l);
    l->cluster = c;
    l->shards = s;
    l->zone = l->drained = NOBODY;
    l->kinds = below(l, 2) ? (1u << KIND_COUNT) - 1
                           : 1 + (uint32_t)below(l, (1u << KIND_COUNT) - 1); /* often only a few */
    l->gap_max_ns = NS_PER_SEC + below(l, 3 * NS_PER_SEC);
    return l;
}

void losses_start(struct losses *l)
{
    l->active = true;
    l->began_ns = now(l);
    poll(l);
}

void losses_stop(struct losses *l)
{
    l->active = false;
    l->right_ns = 0;
    clock_right(l);
    l->drain_ends_ns = 0;
}

void losses_beyond(struct losses *l)
{
    for (size_t n = 0; n < sim_store_count(l->cluster); n++) {
        struct sim_node *node = node_of(l, n);
        if (node->gone || !sim_store_up(node))
            continue;
        switch (below(l, 4)) {
        case 0: empty(l, n); break;
        case 1: break;
        default: sim_shards_flip(l->shards, n, 1 + (unsigned)below(l, 60)); break;
        }
    }
}

uint64_t losses_count(const struct losses *l)
{
    return l->count;
}
