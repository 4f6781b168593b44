/* The root leader's placement driver: three metanodes, and storage nodes that only report, in
 * virtual time. What a storage node reports follows the map: it closes and fills whatever group is
 * changing, unless the test says otherwise. */
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
};

struct town {
    struct fixture fx;
    struct store stores[STORES_MAX];
    unsigned count;
    unsigned changing_most;
    Cairn__ClusterMap *map; /* newest seen */
};

static void serve_delete(void *arg, struct rpc_request *req)
{
    Cairn__DeleteShardsResponse answer = CAIRN__DELETE_SHARDS_RESPONSE__INIT;
    ((struct store *)arg)->deletes++;
    rpc_reply(req, OK, &answer.base, NULL, 0);
}

/* Number i lies in zone i % 3; the first three are in the fixture's cluster file. */
static struct store *add_store(struct town *t)
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

static void look(struct town *t)
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

static int send_report(struct town *t, struct store *s, unsigned meta, const char *as)
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
static void live(struct town *t, uint64_t ms)
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

static void town_new(struct town *t, uint64_t seed, unsigned stores, uint32_t balance_ms)
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

static void town_boot(struct town *t)
{
    fx_boot_all(&t->fx, 0);
    assert_true(fx_wait_ready(&t->fx, 10000));
    live(t, DOWN_MS + 1500);
}

static void town_init(struct town *t, uint64_t seed, unsigned stores)
{
    town_new(t, seed, stores, 300000);
    town_boot(t);
}

static void town_fini(struct town *t)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->stores[i].rpc)
            fx_close_rpc(&t->fx, t->stores[i].rpc);
    if (t->map)
        cairn__cluster_map__free_unpacked(t->map, NULL);
    fx_fini(&t->fx);
    free(t);
}

static Cairn__NodeRecord *record(struct town *t, const char *id)
{
    for (size_t i = 0; i < t->map->n_nodes; i++)
        if (strcmp(t->map->nodes[i]->node_id, id) == 0)
            return t->map->nodes[i];
    return NULL;
}

static unsigned places(struct town *t, const char *id)
{
    unsigned count = 0;
    for (size_t g = 0; g < t->map->n_pgs; g++)
        for (size_t i = 0; i < t->map->pgs[g]->n_members; i++)
            count += strcmp(t->map->pgs[g]->members[i], id) == 0;
    return count;
}

static unsigned changing(struct town *t)
{
    unsigned count = 0;
    for (size_t g = 0; g < t->map->n_pgs; g++)
        count += t->map->pgs[g]->n_next_members > 0;
    return count;
}

/* No zone has more shards of a group than its scheme lets it. */
static void check_zones(struct town *t)
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
static const Cairn__ClusterStatusResponse *status(struct town *t, struct rpc_call *call)
{
    Cairn__ClusterStatusRequest req = CAIRN__CLUSTER_STATUS_REQUEST__INIT;
    *call = (struct rpc_call){0};
    assert_int_equal(fx_call(&t->fx, (unsigned)fx_leader(&t->fx, 0), &method_root_cluster_status,
                             &req.base, 1000, call),
                     OK);
    return (const Cairn__ClusterStatusResponse *)call->response;
}

/* Returns the number of changes that the plan shows, or what the leader said. */
static int drain(struct town *t, const char *id, bool undrain, bool plan_only)
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

static void groups_follow_the_topology(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 1, 9);
    assert_int_equal(t->map->n_pgs, 8);
    for (size_t g = 0; g < 8; g++) {
        assert_int_equal(t->map->pgs[g]->id, g);
        assert_int_equal(t->map->pgs[g]->n_members, g < 4 ? 3 : 9);
        assert_int_equal(t->map->pgs[g]->scheme,
                         g < 4 ? CAIRN__SCHEME__SCHEME_REP3 : CAIRN__SCHEME__SCHEME_RS);
    }
    check_zones(t);
    assert_int_equal(record(t, "s4")->bytes_total, 100ull << 30);
    assert_int_equal(record(t, "s4")->n_disks, 1);
    /* Nothing is written while nothing happens. */
    uint64_t version = t->map->version;
    live(t, 6000);
    assert_int_equal(t->map->version, version);
    assert_int_equal(t->changing_most, 0);
    town_fini(t);
}

static void a_cluster_that_grows_gets_groups(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 2, 3);
    assert_int_equal(t->map->n_pgs, 4);
    for (unsigned i = 0; i < 3; i++)
        add_store(t); /* the cluster file has them; the map has not */
    assert_null(record(t, "s3"));
    live(t, 30000);
    assert_string_equal(record(t, "s3")->addr, "s3:1");
    assert_int_equal(t->map->n_pgs, 8);
    assert_int_equal(t->map->pgs[7]->data_shards, 3);
    assert_int_equal(t->map->pgs[7]->parity_shards, 3);
    check_zones(t);
    assert_int_equal(changing(t), 0);
    unsigned load = 0;
    for (unsigned i = 0; i < 6; i++)
        load = MAX(load, places(t, t->stores[i].id));
    assert_true(load <= 8); /* 4 coded groups, and 2 or 3 of 4 replicated ones in the zone */
    town_fini(t);
}

/* ---- states ---- */

static void down_lost_and_up_again(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 3, 12);
    struct store *s = &t->stores[3];
    assert_true(places(t, s->id) > 0);
    s->silent = true;
    live(t, DOWN_MS - 1500);
    assert_int_equal(record(t, s->id)->state, CAIRN__NODE_STATE__NODE_UP);
    live(t, 3000);
    assert_int_equal(record(t, s->id)->state, CAIRN__NODE_STATE__NODE_DOWN);
    s->silent = false;
    live(t, 1500);
    assert_int_equal(record(t, s->id)->state, CAIRN__NODE_STATE__NODE_UP);
    assert_int_equal(t->changing_most, 0); /* a short absence moves nothing */
    s->silent = true;
    live(t, LOST_MS + 2000);
    assert_int_equal(record(t, s->id)->state, CAIRN__NODE_STATE__NODE_LOST);
    live(t, 15000);
    assert_int_equal(places(t, s->id), 0);
    assert_true(t->changing_most > 0 && t->changing_most <= 3);
    check_zones(t);
    s->silent = false;
    live(t, 20000);
    assert_int_equal(record(t, s->id)->state, CAIRN__NODE_STATE__NODE_UP);
    assert_true(places(t, s->id) > 0); /* empty as it is, it is given its part again */
    assert_int_equal(changing(t), 0);
    check_zones(t);
    town_fini(t);
}

static void a_lost_zone_is_not_moved(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    struct rpc_call call;
    town_init(t, 4, 12);
    for (unsigned i = 0; i < 12; i += 3)
        t->stores[i].silent = true;
    live(t, DOWN_MS + 2000);
    const Cairn__ClusterStatusResponse *a = status(t, &call);
    assert_int_equal(a->n_zones_down, 1);
    assert_string_equal(a->zones_down[0], "z0");
    assert_int_equal(a->n_planned, 0);
    rpc_call_fini(&call);
    live(t, LOST_MS);
    a = status(t, &call);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_LOST);
    assert_int_equal(a->n_zones_down, 1);
    assert_int_equal(a->n_planned, 0);
    rpc_call_fini(&call);
    struct meta_placement_info info;
    meta_node_placement_info(t->fx.metas[fx_leader(&t->fx, 0)].node, &info);
    assert_true(info.stuck == t->map->n_pgs && info.nodes_lost == 4 && info.nodes_up == 8);
    assert_int_equal(t->changing_most, 0);
    for (unsigned i = 0; i < 12; i += 3)
        t->stores[i].silent = false;
    live(t, 2000);
    a = status(t, &call);
    assert_int_equal(a->n_zones_down, 0);
    rpc_call_fini(&call);
    town_fini(t);
}

/* Whoever comes to lead has heard nobody: it calls nobody down before it has listened. */
static void a_new_leader_listens_first(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_new(t, 5, 9, 1000);
    town_boot(t);
    /* Until one leads for the second time in its life: nor does it remember whom it heard then. */
    bool led[FX_METAS] = {false}, again = false;
    unsigned leader = 0;
    for (unsigned turns = 0; !again; turns++) {
        assert_true(turns < 20);
        live(t, 5000); /* leadership goes back to the preferred node */
        unsigned crashed = (unsigned)fx_leader(&t->fx, 0);
        fx_crash_meta(&t->fx, crashed);
        assert_true(fx_wait_leader(&t->fx, 0, 10000));
        leader = (unsigned)fx_leader(&t->fx, 0);
        again = led[leader];
        led[leader] = true;
        led[crashed] = false;
        fx_boot_meta(&t->fx, crashed);
    }
    fx_run_ms(&t->fx, DOWN_MS - 1500); /* in silence */
    look(t);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(record(t, t->stores[i].id)->state, CAIRN__NODE_STATE__NODE_UP);
    assert_int_equal(fx_leader(&t->fx, 0), leader);
    fx_run_ms(&t->fx, 9000); /* and once more, if leadership was handed on meanwhile */
    look(t);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(record(t, t->stores[i].id)->state, CAIRN__NODE_STATE__NODE_DOWN);
    town_fini(t);
}

/* A version that does not report is no reason to move its data. */
static void who_never_reports_is_not_lost(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_new(t, 14, 12, 300000);
    t->stores[3].silent = true;
    town_boot(t);
    live(t, LOST_MS + 5000);
    assert_int_equal(record(t, "s3")->state, CAIRN__NODE_STATE__NODE_DOWN);
    assert_int_equal(t->changing_most, 0);
    town_fini(t);
}

/* ---- drains ---- */

static void a_plan_is_only_shown(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 6, 12);
    unsigned held = places(t, "s3");
    assert_true(held > 0);
    assert_true(drain(t, "s3", false, true) >= (int)held);
    live(t, 3000);
    assert_false(record(t, "s3")->draining);
    assert_int_equal(t->changing_most, 0);
    assert_int_equal(drain(t, "nobody", false, false), ERR_NOT_FOUND);
    assert_int_equal(drain(t, "m0", false, false), ERR_NOT_FOUND); /* no storage node */
    town_fini(t);
}

static void a_drain_goes_to_its_end(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 7, 12);
    assert_true(places(t, "s3") > 3);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].fills_not = true;
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 5000);
    assert_true(record(t, "s3")->draining);
    assert_int_equal(changing(t), 3); /* a few at once, and none ends before it is filled */
    unsigned held = places(t, "s3");
    for (unsigned i = 0; i < 12; i++) {
        t->stores[i].fills_not = false;
        t->stores[i].keeps_open = true;
    }
    live(t, 3000);
    assert_int_equal(changing(t), 3); /* nor before it is closed */
    assert_int_equal(places(t, "s3"), held);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].keeps_open = false;
    live(t, 20000);
    assert_int_equal(places(t, "s3"), 0);
    assert_int_equal(changing(t), 0);
    assert_int_equal(t->changing_most, 3);
    check_zones(t);
    assert_int_equal(drain(t, "s3", true, false), 0);
    live(t, 20000);
    assert_false(record(t, "s3")->draining);
    assert_true(places(t, "s3") > 0);
    town_fini(t);
}

/* An old member that is away need not close: whoever writes needs the others, too. */
static void who_is_down_need_not_close(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 8, 12);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].keeps_open = i == 4;
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 8000);
    unsigned waiting = changing(t);
    assert_true(waiting > 0);
    t->stores[4].silent = true;
    live(t, DOWN_MS + 6000);
    assert_int_equal(record(t, "s4")->state, CAIRN__NODE_STATE__NODE_DOWN);
    assert_int_equal(places(t, "s3"), 0);
    town_fini(t);
}

static void a_new_leader_goes_on(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 9, 12);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].fills_not = true;
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 3000);
    assert_int_equal(changing(t), 3);
    unsigned leader = (unsigned)fx_leader(&t->fx, 0);
    fx_crash_meta(&t->fx, leader);
    assert_true(fx_wait_leader(&t->fx, 0, 10000));
    live(t, 2000);
    assert_int_equal(changing(t), 3);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].fills_not = false;
    live(t, DOWN_MS + 20000);
    assert_int_equal(places(t, "s3"), 0);
    assert_int_equal(changing(t), 0);
    check_zones(t);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(record(t, t->stores[i].id)->state, CAIRN__NODE_STATE__NODE_UP);
    town_fini(t);
}

/* It ends what has been begun, and begins nothing itself before it has listened. */
static void a_new_leader_begins_nothing_at_once(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 15, 12);
    assert_true(places(t, "s3") > 3);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].fills_not = true;
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 2000);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].fills_not = false;
    fx_crash_meta(&t->fx, (unsigned)fx_leader(&t->fx, 0));
    assert_true(fx_wait_leader(&t->fx, 0, 10000));
    live(t, DOWN_MS - 1000);
    assert_int_equal(changing(t), 0);
    assert_true(places(t, "s3") > 0);
    live(t, 15000);
    assert_int_equal(places(t, "s3"), 0);
    town_fini(t);
}

/* Whoever was to come is lost on the way: the change ends without it, and another takes its place.
 */
static void a_new_member_is_lost(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    const char *lost = NULL;
    town_init(t, 10, 15);
    for (unsigned i = 0; i < t->count; i++)
        t->stores[i].fills_not = true;
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 2000);
    for (size_t g = 0; g < t->map->n_pgs; g++)
        for (size_t i = 0; i < t->map->pgs[g]->n_next_members; i++)
            if (strcmp(t->map->pgs[g]->next_members[i], t->map->pgs[g]->members[i]) != 0)
                lost = t->map->pgs[g]->next_members[i];
    assert_non_null(lost);
    struct store *s = &t->stores[atoi(lost + 1)];
    s->silent = true;
    for (unsigned i = 0; i < t->count; i++)
        t->stores[i].fills_not = &t->stores[i] == s;
    live(t, LOST_MS + 30000);
    assert_int_equal(places(t, "s3"), 0);
    assert_int_equal(places(t, s->id), 0);
    assert_int_equal(changing(t), 0);
    check_zones(t);
    town_fini(t);
}

/* ---- who may say what ---- */

static void reports_are_checked(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 11, 9);
    unsigned leader = (unsigned)fx_leader(&t->fx, 0);
    assert_int_equal(send_report(t, &t->stores[0], leader, "s1"), ERR_AUTH);
    assert_int_equal(send_report(t, &t->stores[0], (leader + 1) % 3, "s0"), ERR_NOT_LEADER);
    struct rpc_call call = {0};
    Cairn__NodeReportRequest many = CAIRN__NODE_REPORT_REQUEST__INIT;
    Cairn__NodeReport report = CAIRN__NODE_REPORT__INIT;
    Cairn__DiskReport disk = CAIRN__DISK_REPORT__INIT, *disks[257];
    uint8_t disk_id[16] = {1};
    disk.disk_id = (ProtobufCBinaryData){16, disk_id};
    for (unsigned i = 0; i < 257; i++)
        disks[i] = &disk;
    many.report = &report;
    report.node_id = t->stores[0].id;
    report.disks = disks;
    for (unsigned i = 0; i < 2; i++) {
        report.n_disks = i == 0 ? 257 : 1; /* too many; then one with too short an id */
        disk.disk_id.len = i == 0 ? 16 : 15;
        assert_int_equal(fx_call_from(&t->fx, t->stores[0].rpc, leader, &method_root_node_report,
                                      &many.base, 500, &call),
                         ERR_INVAL);
        rpc_call_fini(&call);
        call = (struct rpc_call){0};
    }
    Cairn__ClusterStatusRequest req = CAIRN__CLUSTER_STATUS_REQUEST__INIT;
    assert_int_equal(
        fx_call(&t->fx, (leader + 1) % 3, &method_root_cluster_status, &req.base, 1000, &call),
        ERR_NOT_LEADER);
    assert_string_equal(((const Cairn__ClusterStatusResponse *)call.response)->leader_hint,
                        t->fx.metas[leader].id);
    rpc_call_fini(&call);
    add_store(t);
    t->fx.cluster.node_count--; /* no file names it */
    assert_int_equal(send_report(t, &t->stores[9], leader, "s9"), ERR_NOT_FOUND);
    t->fx.cluster.node_count++;
    /* What a report says is shown; and what only others may propose is refused from outside. */
    live(t, 1000);
    const Cairn__ClusterStatusResponse *a = status(t, &call);
    for (size_t i = 0; i < a->n_nodes; i++)
        if (a->nodes[i]->record->role == NET_ROLE_STORAGENODE) {
            assert_non_null(a->nodes[i]->report);
            assert_true(a->nodes[i]->heard_ms_ago < 2000);
        }
    rpc_call_fini(&call);
    town_fini(t);
}

/* ---- deletion ---- */

static int propose(struct town *t, Cairn__Command *command)
{
    Cairn__ProposeRequest req = CAIRN__PROPOSE_REQUEST__INIT;
    struct id128 id = {{2, (uint8_t)++t->fx.writes}};
    struct rpc_call call = {0};
    uint64_t touch = keyhash_object(1, SLICE_LIT("key"));
    command->write_id = (ProtobufCBinaryData){ID_BYTES, id.bytes};
    command->issued_ms = env_wall_ms(host_env(t->fx.client_host));
    command->epoch = 1;
    command->n_touches = 1;
    command->touches = &touch;
    req.partition = 1;
    req.command = command;
    int err = fx_call(&t->fx, (unsigned)fx_leader(&t->fx, 1), &method_meta_propose, &req.base, 2000,
                      &call);
    if (err == OK)
        err = ((const Cairn__ProposeResponse *)call.response)->outcome->err;
    rpc_call_fini(&call);
    return err;
}

/* An object of one segment in that group, stored and deleted. */
static void put_and_delete(struct town *t, uint32_t pg)
{
    static uint8_t blob[16] = {42}, key[] = "key";
    Cairn__Command command = CAIRN__COMMAND__INIT, again = CAIRN__COMMAND__INIT;
    Cairn__PutObject put = CAIRN__PUT_OBJECT__INIT;
    Cairn__DeleteObject delete = CAIRN__DELETE_OBJECT__INIT;
    Cairn__ObjectRecord r = CAIRN__OBJECT_RECORD__INIT;
    Cairn__Condition c = CAIRN__CONDITION__INIT;
    Cairn__Segment segment = CAIRN__SEGMENT__INIT, *segments = &segment;
    blob[1]++;
    segment.pg = pg;
    segment.blob_id = (ProtobufCBinaryData){16, blob};
    segment.bytes = r.size = 100000;
    r.etag = (char *)(uintptr_t) "d41d8cd98f00b204e9800998ecf8427e";
    r.owner_id = (char *)(uintptr_t) "owner";
    r.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    r.n_segments = 1;
    r.segments = &segments;
    put.bucket_id = delete.bucket_id = 1;
    put.key = delete.key = (ProtobufCBinaryData){3, key};
    put.record = &r;
    put.condition = delete.condition = &c;
    command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    command.put_object = &put;
    again.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    again.delete_object = &delete;
    assert_int_equal(propose(t, &command), OK);
    assert_int_equal(propose(t, &again), OK);
}

static uint64_t queued(struct town *t)
{
    struct meta_partition_info info;
    fx_info(&t->fx, (unsigned)fx_leader(&t->fx, 1), 1, &info);
    return info.deletions;
}

static void cut_off(struct town *t, struct store *s)
{
    s->silent = true;
    fx_close_rpc(&t->fx, s->rpc);
    s->rpc = NULL;
    host_crash(s->host, true);
}

static void deletion_reaches_old_and_new_members(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 12, 12);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].fills_not = true;
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 3000);
    const Cairn__PlacementGroup *pg = NULL;
    for (size_t g = 0; g < t->map->n_pgs && !pg; g++)
        if (t->map->pgs[g]->n_next_members > 0)
            pg = t->map->pgs[g];
    assert_non_null(pg);
    put_and_delete(t, pg->id);
    fx_run_ms(&t->fx, 4000);
    assert_int_equal(queued(t), 0);
    for (unsigned i = 0; i < 12; i++) {
        bool member = false;
        for (size_t k = 0; k < pg->n_members; k++)
            member |= strcmp(pg->members[k], t->stores[i].id) == 0 ||
                      strcmp(pg->next_members[k], t->stores[i].id) == 0;
        assert_int_equal(t->stores[i].deletes > 0, member);
    }
    town_fini(t);
}

/* A node that is away holds an item up; one that its operator gave up does not. */
static void deletion_does_not_wait_for_the_lost(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 13, 3);
    uint32_t pg = t->map->pgs[0]->id;
    cut_off(t, &t->stores[0]);
    live(t, LOST_MS + 3000);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_LOST);
    put_and_delete(t, pg);
    live(t, 15000);
    assert_int_equal(queued(t), 1);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_UP);
    assert_int_equal(drain(t, "s0", false, false), 0); /* it does not come back */
    live(t, 5000);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_LOST);
    assert_int_equal(queued(t), 0);
    town_fini(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_follow_the_topology),
        cmocka_unit_test(a_cluster_that_grows_gets_groups),
        cmocka_unit_test(down_lost_and_up_again),
        cmocka_unit_test(a_lost_zone_is_not_moved),
        cmocka_unit_test(a_new_leader_listens_first),
        cmocka_unit_test(who_never_reports_is_not_lost),
        cmocka_unit_test(a_plan_is_only_shown),
        cmocka_unit_test(a_drain_goes_to_its_end),
        cmocka_unit_test(who_is_down_need_not_close),
        cmocka_unit_test(a_new_leader_goes_on),
        cmocka_unit_test(a_new_leader_begins_nothing_at_once),
        cmocka_unit_test(a_new_member_is_lost),
        cmocka_unit_test(reports_are_checked),
        cmocka_unit_test(deletion_reaches_old_and_new_members),
        cmocka_unit_test(deletion_does_not_wait_for_the_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
