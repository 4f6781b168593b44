/* The root leader's placement driver: three metanodes, and storage nodes that only report, in
 * virtual time. What a storage node reports follows the map: it closes and fills whatever group is
 * changing, unless the test says otherwise. */
#include "tests/unit/metanode/op/town.h"

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

/* Four groups of every scheme that some class names, each once; those of the topology stay. */
static void every_storage_class_has_groups(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    unsigned count[6] = {0}; /* by data shards */
    town_new(t, 4, 9, 300000);
    t->fx.cluster.classes[0] = (struct cluster_class){"ECONOMY", {4, 2}};
    t->fx.cluster.classes[1] = (struct cluster_class){"ALSO", {4, 2}};
    t->fx.cluster.classes[2] = (struct cluster_class){"STANDARD_IA", {5, 4}};
    t->fx.cluster.classes[3] = (struct cluster_class){"SAFE", {1, 2}};
    t->fx.cluster.class_count = 4;
    town_boot(t);
    for (size_t g = 0; g < t->map->n_pgs; g++)
        count[MIN(t->map->pgs[g]->data_shards, 5u)]++;
    assert_true(count[1] == 4 && count[4] == 4 && count[5] == 4);
    assert_int_equal(t->map->n_pgs, 12);
    check_zones(t);
    /* A class that is stated later gets its groups, too. */
    t->fx.cluster.classes[t->fx.cluster.class_count++] = (struct cluster_class){"LATER", {3, 3}};
    live(t, 3000);
    assert_int_equal(t->map->n_pgs, 16);
    assert_int_equal(t->map->pgs[15]->data_shards, 3);
    town_fini(t);
}

/* Replicas of two become three, and are not three before the third has been filled. */
static void replicas_become_more(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    struct cluster_node *third = NULL;
    town_new(t, 11, 2, 300000);
    for (size_t i = 0; i < t->fx.cluster.node_count; i++)
        if (strcmp(t->fx.nodes[i].id, "s2") == 0)
            third = &t->fx.nodes[i];
    assert_non_null(third);
    third->role = NET_ROLE_GATEWAY; /* it is not there yet */
    third->id[0] = 'x';
    town_boot(t);
    assert_int_equal(t->map->n_pgs, 4);
    assert_int_equal(t->map->pgs[0]->n_members, 2);
    third->role = NET_ROLE_STORAGENODE;
    third->id[0] = 's';
    add_store(t);
    t->stores[2].fills_not = true;
    live(t, 30000);
    unsigned growing = 0;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(t->map->pgs[i]->n_members, 2);
        growing += t->map->pgs[i]->n_next_members == 3;
    }
    assert_int_equal(growing, 3);
    t->stores[2].fills_not = false;
    live(t, 20000);
    assert_int_equal(changing(t), 0);
    for (size_t i = 0; i < t->map->n_pgs; i++)
        assert_int_equal(t->map->pgs[i]->n_members, 3);
    check_zones(t);
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

/* A leader that waits for a witness to be buried refuses reports: in that time nobody is silent. */
static void who_cannot_be_heard_is_not_silent(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    struct meta_partition_info info;
    town_new(t, 20, 9, 300000);
    fx_boot_all(&t->fx, FX_WITNESSES);
    assert_true(fx_wait_ready(&t->fx, 10000));
    live(t, DOWN_MS + 1500);
    unsigned old = (unsigned)fx_leader(&t->fx, 0), deaf = 0;
    fx_kill_witness(&t->fx, old);
    fx_crash_meta(&t->fx, old);
    for (unsigned ms = 0; fx_leader(&t->fx, 0) < 0; ms += 100) {
        assert_true(ms < 10000);
        fx_run_ms(&t->fx, 100);
        for (unsigned i = 0; i < FX_METAS; i++) {
            if (i == old)
                continue;
            fx_info(&t->fx, i, 0, &info);
            deaf += info.leader;
        }
    }
    assert_true(deaf > 15); /* it has led for so long, and served nobody */
    fx_run_ms(&t->fx, DOWN_MS - 1500);
    look(t);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(record(t, t->stores[i].id)->state, CAIRN__NODE_STATE__NODE_UP);
    fx_run_ms(&t->fx, 3000);
    look(t);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(record(t, t->stores[i].id)->state, CAIRN__NODE_STATE__NODE_DOWN);
    town_fini(t);
}

/* It may have died right after it was given places, before any leader could write down what it has. */
static void who_never_reports_is_lost(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_new(t, 14, 12, 300000);
    t->stores[3].silent = true;
    town_boot(t);
    assert_true(places(t, "s3") > 0);
    live(t, LOST_MS + 5000);
    assert_int_equal(record(t, "s3")->state, CAIRN__NODE_STATE__NODE_LOST);
    assert_true(t->changing_most > 0);
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

/* A leader that is cut off, and does not know yet that it has been deposed, must not say what was:
 * the node that it calls drained may have been given places since. */
static void a_deposed_leader_says_nothing(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    Cairn__ClusterStatusRequest req = CAIRN__CLUSTER_STATUS_REQUEST__INIT;
    Cairn__ClusterMapRequest map = CAIRN__CLUSTER_MAP_REQUEST__INIT;
    struct rpc_call call = {0};
    struct meta_partition_info info;
    town_init(t, 13, 3);
    map.current = true;
    int old = fx_leader(&t->fx, 0);
    for (int i = 0; i < FX_METAS; i++) {
        if (i == old)
            continue;
        world_block(t->fx.world, t->fx.metas[i].host, t->fx.metas[old].host, true);
        world_block(t->fx.world, t->fx.metas[old].host, t->fx.metas[i].host, true);
    }
    unsigned with = 0, without = 0, asked = 0; /* lease */
    for (fx_info(&t->fx, (unsigned)old, 0, &info); info.leader;) {
        bool lease = info.lease_valid;
        int err = asked++ % 2
                      ? fx_call(&t->fx, (unsigned)old, &method_meta_cluster_map, &map.base, 20, &call)
                      : fx_call(&t->fx, (unsigned)old, &method_root_cluster_status, &req.base, 20,
                                &call);
        assert_true(lease || err != OK);
        with += lease && err == OK;
        without += !lease;
        rpc_call_fini(&call);
        call = (struct rpc_call){0};
        fx_run_ms(&t->fx, 10);
        fx_info(&t->fx, (unsigned)old, 0, &info);
    }
    assert_true(with > 0 && without > 0);
    town_fini(t);
}

/* However new the map is that a metanode happens to have. */
static void a_current_map_is_as_new_as_the_question(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    Cairn__ClusterMapRequest req = CAIRN__CLUSTER_MAP_REQUEST__INIT;
    const Cairn__ClusterMapResponse *a;
    struct rpc_call call = {0};
    town_init(t, 14, 3);
    unsigned leader = (unsigned)fx_leader(&t->fx, 0);
    for (unsigned i = 0; i < 20; i++) {
        bool draining = i % 2 == 0;
        look(t); /* it has a map, that it will not look for again so soon */
        assert_int_equal(drain(t, "s1", !draining, false), 0);
        req.current = true;
        assert_int_equal(fx_call(&t->fx, leader, &method_meta_cluster_map, &req.base, 1000, &call),
                         OK);
        a = (const Cairn__ClusterMapResponse *)call.response;
        assert_true(a->as_of > 0 && a->map && a->map->version >= a->as_of && !a->unchanged);
        for (size_t k = 0; k < a->map->n_nodes; k++)
            if (strcmp(a->map->nodes[k]->node_id, "s1") == 0)
                assert_true(a->map->nodes[k]->draining == draining);
        req.known_version = a->map->version;
        rpc_call_fini(&call);
        call = (struct rpc_call){0};
        assert_int_equal(fx_call(&t->fx, leader, &method_meta_cluster_map, &req.base, 1000, &call),
                         OK);
        a = (const Cairn__ClusterMapResponse *)call.response;
        assert_true(a->unchanged && !a->map && a->as_of > 0 && a->as_of <= req.known_version);
        rpc_call_fini(&call);
        call = (struct rpc_call){0};
    }
    assert_int_equal(
        fx_call(&t->fx, (leader + 1) % 3, &method_meta_cluster_map, &req.base, 1000, &call),
        ERR_NOT_LEADER);
    a = (const Cairn__ClusterMapResponse *)call.response;
    assert_string_equal(a->leader_hint, t->fx.metas[leader].id);
    rpc_call_fini(&call);
    call = (struct rpc_call){0};
    req.current = false; /* anybody's will do, and proves nothing */
    assert_int_equal(
        fx_call(&t->fx, (leader + 1) % 3, &method_meta_cluster_map, &req.base, 1000, &call), OK);
    assert_int_equal(((const Cairn__ClusterMapResponse *)call.response)->as_of, 0);
    rpc_call_fini(&call);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_follow_the_topology),
        cmocka_unit_test(a_cluster_that_grows_gets_groups),
        cmocka_unit_test(every_storage_class_has_groups),
        cmocka_unit_test(replicas_become_more),
        cmocka_unit_test(down_lost_and_up_again),
        cmocka_unit_test(a_lost_zone_is_not_moved),
        cmocka_unit_test(a_new_leader_listens_first),
        cmocka_unit_test(who_cannot_be_heard_is_not_silent),
        cmocka_unit_test(who_never_reports_is_lost),
        cmocka_unit_test(a_plan_is_only_shown),
        cmocka_unit_test(a_drain_goes_to_its_end),
        cmocka_unit_test(a_deposed_leader_says_nothing),
        cmocka_unit_test(a_current_map_is_as_new_as_the_question),
        cmocka_unit_test(who_is_down_need_not_close),
        cmocka_unit_test(a_new_leader_goes_on),
        cmocka_unit_test(a_new_leader_begins_nothing_at_once),
        cmocka_unit_test(a_new_member_is_lost),
        cmocka_unit_test(reports_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
