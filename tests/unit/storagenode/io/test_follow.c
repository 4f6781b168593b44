/* A storage node and a metanode in memory: epochs of the map are closed, reports are sent. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "proto/meta.pb-c.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"
#include "storagenode/io/follow.h"
#include "storagenode/io/leave.h"
#include "tests/unit/common/rpc/fake_world.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define META "meta:1"
#define GROUPS 4
#define OLD 2500u

static struct fake_world world;
static struct fake_node meta_node, store_node;
static struct rpc *meta, *own;
static struct disk *disk;
static struct kv *kv;
static struct disks *disks;
static struct follow *follow;
static bool flag;
static unsigned reports, refusals, lost_disks;
static bool has_lost_disk, has_left;
static uint64_t map_version, created_ms, epochs[GROUPS + 1], reported[GROUPS + 1];
static int report_err;
static size_t reported_disks;

static void set_flag(void *arg)
{
    (void)arg;
    flag = true;
}

static void on_disks(void *arg, int err)
{
    (void)arg;
    assert_int_equal(err, OK);
    flag = true;
}

static void on_refused(void *arg, int err)
{
    (void)arg;
    assert_int_equal(err, ERR_REFUSED);
    refusals++;
}

static void on_disk_lost(void *arg, const struct id128 *disk_id)
{
    (void)arg;
    assert_int_equal(disk_id->bytes[0], 2);
    lost_disks++;
}

/* Group 1: the node is a member, until it has left.  2: it will be.  3: it has a shard of it.  4: nothing to do with it. */
static void serve_map(void *arg, struct rpc_request *req)
{
    static char *own_id = (char *)(uintptr_t)"store", *other_id = (char *)(uintptr_t)"other";
    Cairn__ClusterMapResponse answer = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    Cairn__ClusterMap map = CAIRN__CLUSTER_MAP__INIT;
    Cairn__PartitionDescriptor root = CAIRN__PARTITION_DESCRIPTOR__INIT, *roots[] = {&root};
    Cairn__ReplicaRef ref = CAIRN__REPLICA_REF__INIT, *refs[] = {&ref};
    Cairn__PlacementGroup groups[GROUPS], *pointers[GROUPS];
    (void)arg;
    ref.node_id = (char *)(uintptr_t)"meta";
    ref.addr = (char *)(uintptr_t)META;
    root.replicas = refs;
    root.n_replicas = 1;
    for (unsigned i = 0; i < GROUPS; i++) {
        cairn__placement_group__init(&groups[i]);
        groups[i].id = i + 1;
        groups[i].epoch = epochs[i + 1];
        groups[i].members = i == 0 && !has_left ? &own_id : &other_id;
        groups[i].n_members = 1;
        groups[i].next_members = &own_id;
        groups[i].n_next_members = i == 1;
        pointers[i] = &groups[i];
    }
    Cairn__NodeRecord node = CAIRN__NODE_RECORD__INIT, *nodes = &node;
    Cairn__DiskRecord records[2], *record_pointers[2];
    uint8_t disk_ids[2][ID_BYTES] = {{1}, {2}};
    for (unsigned i = 0; i < 2; i++) {
        cairn__disk_record__init(&records[i]);
        records[i].disk_id = (ProtobufCBinaryData){ID_BYTES, disk_ids[i]};
        records[i].state = i && has_lost_disk ? CAIRN__DISK_STATE__DISK_LOST
                                              : CAIRN__DISK_STATE__DISK_FAILED;
        record_pointers[i] = &records[i];
    }
    node.node_id = own_id;
    node.zone = node.addr = node.admin_addr = (char *)(uintptr_t) "";
    node.disks = record_pointers;
    node.n_disks = 2;
    map.nodes = &nodes;
    map.n_nodes = 1;
    map.version = map_version;
    map.created_ms = created_ms;
    map.partitions = roots;
    map.n_partitions = 1;
    map.pgs = pointers;
    map.n_pgs = GROUPS;
    answer.map = &map;
    rpc_reply(req, OK, &answer.base, NULL, 0);
}

static void serve_report(void *arg, struct rpc_request *req)
{
    (void)arg;
    const Cairn__NodeReport *r = ((const Cairn__NodeReportRequest *)(const void *)req->msg)->report;
    Cairn__NodeReportResponse answer = CAIRN__NODE_REPORT_RESPONSE__INIT;
    assert_non_null(r);
    assert_string_equal(r->node_id, "store");
    assert_int_equal(r->boot_id.len, ID_BYTES);
    reports++;
    reported_disks = r->n_disks;
    for (size_t i = 0; i < r->n_groups; i++) {
        assert_true(r->groups[i]->pg <= GROUPS);
        reported[r->groups[i]->pg] = r->groups[i]->closed_epoch;
    }
    rpc_reply(req, report_err, report_err ? NULL : &answer.base, NULL, 0);
}

static void put_done(struct disks_put *p)
{
    assert_int_equal(p->err, OK);
    flag = true;
}

static int put_blob(uint32_t pg, unsigned blob, uint64_t epoch, bool repairer)
{
    static uint8_t byte = 1;
    uint32_t crc = crc32c(0, SLICE(&byte, 1));
    struct disks_put p = {
        .put = {.info = {.blob_id = {{(uint8_t)blob, (uint8_t)(blob >> 8), (uint8_t)pg}},
                         .pg = pg,
                         .pg_epoch = epoch,
                         .time_ms = env_wall_ms(&store_node.env),
                         .bytes = 1,
                         .block_crcs = &crc},
                .payload.bytes = SLICE(&byte, 1)},
        .any_epoch = repairer,
        .cb = put_done};
    flag = false;
    int err = disks_put_start(disks, &p);
    if (!err)
        fake_run_until(&world, &flag);
    return err;
}

static int put_by(uint32_t pg, uint64_t epoch, bool repairer)
{
    return put_blob(pg, 0, epoch, repairer);
}

static int put(uint32_t pg, uint64_t epoch)
{
    return put_by(pg, epoch, false);
}

static int setup(void **state)
{
    (void)state;
    struct rpc_config names[] = {{.node_id = "meta"}, {.node_id = "store"}};
    fake_world_init(&world);
    world.now_ns = 1000000 * NS_PER_SEC;
    fake_node_init(&meta_node, &world, "meta", NET_ROLE_METANODE);
    fake_node_init(&store_node, &world, "store", NET_ROLE_STORAGENODE);
    assert_int_equal(rpc_new(&meta_node.env, &meta_node.net, &names[0], &meta), OK);
    assert_int_equal(rpc_new(&store_node.env, &store_node.net, &names[1], &own), OK);
    assert_int_equal(rpc_serve(meta, &method_meta_cluster_map, serve_map, NULL), OK);
    assert_int_equal(rpc_listen(meta, META), OK);
    disk = disk_mem_new(&store_node.env, &(struct disk_mem_config){.bytes_total = 64 << 20});
    kv = kv_mem_new(&store_node.env, &(struct kv_mem_config){.mode = KV_STATE});
    struct disks_member member = {.disk = disk, .kv = kv, .path = "/a"};
    struct disks_config config = {.store = {.extent_bytes = 1 << 20,
                                            .capacity_bytes = 48 << 20,
                                            .put_age_ms_max = 600 * NS_PER_SEC,
                                            .clock_skew_ms_max = 60 * NS_PER_SEC,
                                            .tombstone_retention_ms = 1800 * NS_PER_SEC},
                                  .members = &member,
                                  .count = 1};
    assert_int_equal(disks_new(&store_node.env, &config, &disks), OK);
    flag = false;
    disks_open_start(disks, on_disks, NULL);
    fake_run_until(&world, &flag);
    reports = refusals = lost_disks = 0;
    has_lost_disk = has_left = false;
    report_err = OK;
    map_version = 1;
    created_ms = 0;
    memset(reported, 0, sizeof(reported));
    for (unsigned i = 0; i <= GROUPS; i++)
        epochs[i] = 1;
    assert_int_equal(put(3, 1), OK);
    static const char *const ids[] = {"meta"}, *const addrs[] = {META};
    struct follow_config following = {.node_id = "store",
                                      .metanode_ids = ids,
                                      .metanode_addrs = addrs,
                                      .metanode_count = 1,
                                      .on_refused = on_refused,
                                      .on_disk_lost = on_disk_lost};
    assert_int_equal(follow_new(own, disks, &following, &follow), OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct rpc *all[] = {own, meta};
    follow_stop(follow);
    flag = false;
    disks_close_start(disks, on_disks, NULL);
    fake_run_until(&world, &flag);
    for (unsigned i = 0; i < 2; i++) {
        flag = false;
        rpc_close(all[i], set_flag, NULL);
        fake_run_until(&world, &flag);
    }
    assert_true(follow_idle(follow));
    follow_free(follow);
    disks_free(disks);
    disk_mem_free(disk);
    kv_mem_free(kv);
    return 0;
}

static void epochs_are_closed_and_reported(void **state)
{
    (void)state;
    assert_int_equal(rpc_serve(meta, &method_root_node_report, serve_report, NULL), OK);
    fake_run_for(&world, 5 * NS_PER_SEC);
    assert_true(reports >= 1 && reports <= 3);
    assert_int_equal(reported_disks, 1);
    for (unsigned i = 1; i <= GROUPS; i++)
        assert_int_equal(reported[i], 0); /* nothing lies below a first epoch */
    assert_int_equal(put(1, 1), OK);
    for (unsigned i = 1; i <= GROUPS; i++)
        epochs[i] = 2;
    map_version = 2;
    fake_run_for(&world, 6 * NS_PER_SEC);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(reported[i], 2);
        assert_int_equal(put(i, 1), ERR_EPOCH);
    }
    assert_int_equal(reported[4], 0);
    assert_int_equal(put(4, 1), OK);
    assert_int_equal(refusals, 0);
    assert_int_equal(lost_disks, 0);
    has_lost_disk = true;
    map_version = 3;
    fake_run_for(&world, 2 * NS_PER_SEC);
    assert_int_equal(lost_disks, 1);
}

/* Groups 1 and 3 are left; then a repairer with an old map comes, and no new map ever. */
static void what_is_late_goes_too(void **state)
{
    (void)state;
    struct leave *leave;
    epochs[1] = epochs[3] = 2;
    map_version = 2;
    fake_run_for(&world, 5 * NS_PER_SEC);
    assert_int_equal(leave_new(&store_node.env, disks, follow_map(follow), "store", &leave), OK);
    epochs[1] = 3;
    has_left = true;
    map_version = 3;
    fake_run_for(&world, 5 * NS_PER_SEC);
    assert_false(disks_has_group(disks, 3));
    assert_int_equal(put_by(1, 2, true), OK);
    assert_true(disks_has_group(disks, 1));
    fake_run_for(&world, 70 * NS_PER_SEC);
    assert_false(disks_has_group(disks, 1));
    leave_free(leave);
}

/* The index was founded anew over these disks, and has groups of the same numbers: what its
 * predecessor had of them is not its to drop. */
static void what_is_older_than_the_cluster_stays(void **state)
{
    (void)state;
    struct leave *leave;
    struct store_stats st;
    epochs[1] = epochs[3] = 2;
    for (unsigned i = 0; i < OLD; i++) /* more than are looked through in one turn */
        assert_int_equal(put_blob(1, i, 2, false), OK);
    created_ms = env_wall_ms(&store_node.env) + 1;
    fake_run_for(&world, NS_PER_SEC / 4);
    for (unsigned i = OLD; i < OLD + 300; i++)
        assert_int_equal(put_blob(1, i, 2, false), OK);
    map_version = 2;
    fake_run_for(&world, 5 * NS_PER_SEC);
    assert_int_equal(leave_new(&store_node.env, disks, follow_map(follow), "store", &leave), OK);
    epochs[1] = 3;
    has_left = true;
    map_version = 3;
    fake_run_for(&world, 70 * NS_PER_SEC);
    store_stats_get(disks_store(disks, 0), &st);
    assert_int_equal(st.shards, OLD + 1); /* and the one of group 3 */
    created_ms = 0;
    map_version = 4;
    fake_run_for(&world, 5 * NS_PER_SEC);
    assert_false(disks_has_group(disks, 1) || disks_has_group(disks, 3));
    leave_free(leave);
}

static void refusals_are_told_once(void **state)
{
    (void)state;
    fake_run_for(&world, 10 * NS_PER_SEC); /* not served at all: nobody is told */
    assert_int_equal(refusals, 0);
    report_err = ERR_REFUSED;
    assert_int_equal(rpc_serve(meta, &method_root_node_report, serve_report, NULL), OK);
    fake_run_for(&world, 10 * NS_PER_SEC);
    assert_true(reports >= 3);
    assert_int_equal(refusals, 1);
    report_err = OK;
    fake_run_for(&world, 5 * NS_PER_SEC);
    report_err = ERR_REFUSED;
    fake_run_for(&world, 5 * NS_PER_SEC);
    assert_int_equal(refusals, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(epochs_are_closed_and_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_late_goes_too, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_older_than_the_cluster_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_are_told_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
