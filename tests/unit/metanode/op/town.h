#pragma once
/* Three metanodes, and storage nodes that only report, in virtual time: for the tests of placement.
 * Included once by each program. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/keyhash.h"
#include "proto/storage.pb-c.h"
#include "tests/unit/metanode/op/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define STORES_MAX 16
#define DOWN_MS 3000
#define LOST_MS 12000
#define ROUND_MS 500 /* between reports */

struct store {
    char id[16], addr[16], zone[8];
    struct host *host;
    struct rpc *rpc;
    bool silent, keeps_open, fills_not; /* what it does not do */
    uint64_t bytes_total;
    uint8_t disk;     /* first byte of its disk's id */
    unsigned deletes; /* requests to delete */
    bool holds;       /* it answers none of them now */
    struct rpc_request *held;
};

struct town {
    struct fixture fx;
    struct store stores[STORES_MAX];
    unsigned count;
    unsigned changing_most;
    Cairn__ClusterMap *map; /* newest seen */
};

static inline void serve_delete(void *arg, struct rpc_request *req)
{
    Cairn__DeleteShardsResponse answer = CAIRN__DELETE_SHARDS_RESPONSE__INIT;
    struct store *s = arg;
    s->deletes++;
    if (s->holds) {
        CHECK(!s->held);
        s->held = req;
        return;
    }
    rpc_reply(req, OK, &answer.base, NULL, 0);
}

/* Number i lies in zone i % 3; the first three are in the fixture's cluster file. */
static inline struct store *add_store(struct town *t)
{
    struct store *s = &t->stores[t->count];
    struct rpc_config rc = {.node_id = s->id};
    snprintf(s->id, sizeof(s->id), "s%u", t->count);
    snprintf(s->addr, sizeof(s->addr), "s%u:1", t->count);
    snprintf(s->zone, sizeof(s->zone), "z%u", t->count % 3);
    s->bytes_total = 100ull << 30;
    s->disk = (uint8_t)(t->count + 1);
    if (t->count >= FX_METAS)
        fx_add_node(&t->fx, s->id, s->zone, NET_ROLE_STORAGENODE, s->addr);
    s->host =
        host_new(t->fx.world, s->id, s->zone, NET_ROLE_STORAGENODE, s->addr, 0, 1700000000000ull);
    CHECK(rpc_new(host_env(s->host), host_net(s->host), &rc, &s->rpc) == OK);
    CHECK(rpc_serve(s->rpc, &method_store_delete, serve_delete, s) == OK);
    CHECK(rpc_listen(s->rpc, s->addr) == OK);
    t->count++;
    return s;
}

static inline void look(struct town *t)
{
    int leader = fx_leader(&t->fx, 0);
    Cairn__ClusterMapRequest req = CAIRN__CLUSTER_MAP_REQUEST__INIT;
    struct rpc_call call = {0};
    if (leader >= 0 &&
        fx_call(&t->fx, (unsigned)leader, &method_meta_cluster_map, &req.base, 1000, &call) == OK) {
        const Cairn__ClusterMap *m = ((const Cairn__ClusterMapResponse *)call.response)->map;
        size_t len = cairn__cluster_map__get_packed_size(m);
        uint8_t *packed = malloc(len);
        unsigned changing = 0;
        cairn__cluster_map__pack(m, packed);
        if (t->map)
            cairn__cluster_map__free_unpacked(t->map, NULL);
        t->map = cairn__cluster_map__unpack(NULL, len, packed);
        free(packed);
        for (size_t i = 0; i < t->map->n_pgs; i++)
            changing += t->map->pgs[i]->n_next_members > 0;
        t->changing_most = MAX(t->changing_most, changing);
    }
    rpc_call_fini(&call);
}

static inline int send_report(struct town *t, struct store *s, unsigned meta, const char *as)
{
    Cairn__NodeReportRequest req = CAIRN__NODE_REPORT_REQUEST__INIT;
    Cairn__NodeReport report = CAIRN__NODE_REPORT__INIT;
    Cairn__DiskReport disk = CAIRN__DISK_REPORT__INIT, *disks = &disk;
    Cairn__GroupReport groups[64], *ptrs[64];
    uint8_t id[16] = {s->disk};
    struct rpc_call call = {0};
    disk.disk_id = (ProtobufCBinaryData){16, id};
    disk.bytes_total = s->bytes_total;
    disk.live_bytes = s->bytes_total / 4;
    report.node_id = (char *)(uintptr_t)as;
    report.n_disks = 1;
    report.disks = &disks;
    report.groups = ptrs;
    for (size_t i = 0; t->map && i < t->map->n_pgs; i++) {
        Cairn__GroupReport *g = &groups[report.n_groups];
        cairn__group_report__init(g);
        g->pg = t->map->pgs[i]->id;
        g->closed_epoch = s->keeps_open ? 0 : t->map->pgs[i]->epoch;
        g->filled_epoch = s->fills_not ? 0 : t->map->pgs[i]->epoch;
        ptrs[report.n_groups++] = g;
    }
    req.report = &report;
    int err = fx_call_from(&t->fx, s->rpc, meta, &method_root_node_report, &req.base, 500, &call);
    rpc_call_fini(&call);
    return err;
}

/* Reports go out and the map is looked at, for so long. */
static inline void live(struct town *t, uint64_t ms)
{
    uint64_t until = world_now(t->fx.world) + ms * NS_PER_MS;
    while (world_now(t->fx.world) < until) {
        uint64_t next = world_now(t->fx.world) + ROUND_MS * NS_PER_MS;
        look(t);
        for (unsigned i = 0; i < t->count; i++) {
            int leader = fx_leader(&t->fx, 0);
            if (leader >= 0 && !t->stores[i].silent)
                send_report(t, &t->stores[i], (unsigned)leader, t->stores[i].id);
        }
        if (world_now(t->fx.world) < next)
            world_run_until(t->fx.world, next);
    }
    look(t);
}

static inline void town_new(struct town *t, uint64_t seed, unsigned stores, uint32_t balance_ms)
{
    memset(t, 0, sizeof(*t));
    fx_init(&t->fx, seed);
    t->fx.config.timeouts.node_down = DOWN_MS;
    t->fx.config.timeouts.node_lost = LOST_MS;
    t->fx.config.timeouts.placement = 200;
    t->fx.config.timeouts.balance = balance_ms;
    t->fx.config.timeouts.deletion_grace = 0;
    t->fx.config.limits.pg_changes_max = 3;
    t->fx.cluster.scatter_width = 16;
    while (t->count < stores)
        add_store(t);
}

static inline void town_boot(struct town *t)
{
    fx_boot_all(&t->fx, 0);
    assert_true(fx_wait_ready(&t->fx, 10000));
    live(t, DOWN_MS + 1500);
}

static inline void town_init(struct town *t, uint64_t seed, unsigned stores)
{
    town_new(t, seed, stores, 300000);
    town_boot(t);
}

static inline void town_fini(struct town *t)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->stores[i].rpc)
            fx_close_rpc(&t->fx, t->stores[i].rpc);
    if (t->map)
        cairn__cluster_map__free_unpacked(t->map, NULL);
    fx_fini(&t->fx);
    free(t);
}

static inline Cairn__NodeRecord *record(struct town *t, const char *id)
{
    for (size_t i = 0; i < t->map->n_nodes; i++)
        if (strcmp(t->map->nodes[i]->node_id, id) == 0)
            return t->map->nodes[i];
    return NULL;
}

static inline unsigned places(struct town *t, const char *id)
{
    unsigned count = 0;
    for (size_t g = 0; g < t->map->n_pgs; g++)
        for (size_t i = 0; i < t->map->pgs[g]->n_members; i++)
            count += strcmp(t->map->pgs[g]->members[i], id) == 0;
    return count;
}

static inline unsigned changing(struct town *t)
{
    unsigned count = 0;
    for (size_t g = 0; g < t->map->n_pgs; g++)
        count += t->map->pgs[g]->n_next_members > 0;
    return count;
}

/* No zone has more shards of a group than its scheme lets it. */
static inline void check_zones(struct town *t)
{
    for (size_t g = 0; g < t->map->n_pgs; g++) {
        const Cairn__PlacementGroup *pg = t->map->pgs[g];
        unsigned zones[3] = {0};
        for (size_t i = 0; i < pg->n_members; i++)
            zones[record(t, pg->members[i])->zone[1] - '0']++;
        for (unsigned z = 0; z < 3; z++)
            assert_true(zones[z] <= (pg->n_members + 2) / 3);
    }
}

/* At the root's leader; the caller ends the call. */
static inline const Cairn__ClusterStatusResponse *status(struct town *t, struct rpc_call *call)
{
    Cairn__ClusterStatusRequest req = CAIRN__CLUSTER_STATUS_REQUEST__INIT;
    *call = (struct rpc_call){0};
    assert_int_equal(fx_call(&t->fx, (unsigned)fx_leader(&t->fx, 0), &method_root_cluster_status,
                             &req.base, 1000, call),
                     OK);
    return (const Cairn__ClusterStatusResponse *)call->response;
}

/* Returns the number of changes that the plan shows, or what the leader said. */
static inline int drain(struct town *t, const char *id, bool undrain, bool plan_only)
{
    Cairn__DrainNodeRequest req = CAIRN__DRAIN_NODE_REQUEST__INIT;
    struct rpc_call call = {0};
    req.node_id = (char *)(uintptr_t)id;
    req.undrain = undrain;
    req.plan_only = plan_only;
    int err = fx_call(&t->fx, (unsigned)fx_leader(&t->fx, 0), &method_root_drain_node, &req.base,
                      3000, &call);
    int planned =
        err == OK ? (int)((const Cairn__DrainNodeResponse *)call.response)->n_planned : err;
    rpc_call_fini(&call);
    return planned;
}

/* ---- groups ---- */
