/* The map is found, followed and never goes back; calls find the leader or end in time. */
#include "common/base/check.h"
#include "proto/map_client.h"
#include "proto/methods.h"
#include "tests/unit/gateway/meta/fake_rpc.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NODES 3

static struct rpc world;
static struct rpc_peer *nodes[NODES];
static struct map_client *mc;
static unsigned changes, leader, refusals;
static uint64_t map_version[NODES];
static uint64_t partition_epoch;
static int answer_err;
static char ids[NODES][8], addrs[NODES][8];

static unsigned number_of(const struct fake_call *call)
{
    return (unsigned)(call->peer->addr[1] - '0');
}

static void serve_map(struct fake_call *call)
{
    const Cairn__ClusterMapRequest *m = (const Cairn__ClusterMapRequest *)call->request;
    Cairn__ClusterMapResponse answer = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    Cairn__ClusterMap map = CAIRN__CLUSTER_MAP__INIT;
    Cairn__PartitionDescriptor root = CAIRN__PARTITION_DESCRIPTOR__INIT, all = root;
    Cairn__PartitionDescriptor *partitions[] = {&root, &all};
    Cairn__ReplicaRef refs[NODES], *ref_ptrs[NODES];
    map.version = map_version[number_of(call)];
    for (unsigned i = 0; i < NODES; i++) {
        cairn__replica_ref__init(&refs[i]);
        refs[i].node_id = ids[i];
        refs[i].addr = addrs[i];
        ref_ptrs[i] = &refs[i];
    }
    all.id = 1;
    root.n_replicas = all.n_replicas = NODES;
    root.replicas = all.replicas = ref_ptrs;
    all.epoch = partition_epoch;
    map.n_partitions = 2;
    map.partitions = partitions;
    answer.unchanged = m->known_version == map.version;
    if (!answer.unchanged)
        answer.map = &map;
    fake_reply(call, OK, &answer.base, (struct payload){0});
}

static void serve_refs(struct fake_call *call)
{
    const Cairn__BlobRefsRequest *m = (const Cairn__BlobRefsRequest *)call->request;
    Cairn__BlobRefsResponse answer = CAIRN__BLOB_REFS_RESPONSE__INIT;
    Cairn__RouteError route = CAIRN__ROUTE_ERROR__INIT;
    route.leader_hint = ids[leader];
    answer.route = &route;
    assert_int_equal(m->partition, 1);
    int err = number_of(call) != leader     ? ERR_NOT_LEADER
              : m->epoch != partition_epoch ? ERR_EPOCH
                                            : answer_err;
    refusals += err != OK;
    answer.as_of = 77;
    if (err == OK)
        answer.route = NULL;
    fake_reply(call, err, &answer.base, (struct payload){0});
}

static void serve(void *arg, struct fake_call *call)
{
    (void)arg;
    if (call->method == &method_meta_cluster_map)
        serve_map(call);
    else
        serve_refs(call);
}

static void on_change(void *arg)
{
    (void)arg;
    changes++;
}

static int setup(void **state)
{
    (void)state;
    const char *id_ptrs[NODES], *addr_ptrs[NODES];
    fake_init(&world, 3);
    for (unsigned i = 0; i < NODES; i++) {
        snprintf(ids[i], sizeof(ids[i]), "m%u", i);
        snprintf(addrs[i], sizeof(addrs[i]), "a%u", i);
        id_ptrs[i] = ids[i];
        addr_ptrs[i] = addrs[i];
        nodes[i] = fake_peer(&world, addrs[i], serve, NULL);
        map_version[i] = 5;
    }
    changes = refusals = 0;
    leader = 2;
    partition_epoch = 1;
    answer_err = OK;
    struct map_client_config config = {.metanode_ids = id_ptrs,
                                       .metanode_addrs = addr_ptrs,
                                       .metanode_count = NODES,
                                       .on_change = on_change};
    assert_int_equal(map_client_new(&world, &config, &mc), OK);
    assert_null(map_client_map(mc));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    map_client_stop(mc);
    fake_run(&world, 30 * NS_PER_SEC);
    assert_true(map_client_idle(mc));
    map_client_free(mc);
    fake_fini(&world);
    return 0;
}

static void the_map_is_found_and_followed(void **state)
{
    (void)state;
    nodes[0]->down = true;
    nodes[1]->silent = true;
    fake_run(&world, 5 * NS_PER_SEC);
    assert_non_null(map_client_map(mc));
    assert_int_equal(changes, 1);
    map_version[2] = 6;
    fake_run(&world, 2 * NS_PER_SEC);
    assert_int_equal(map_client_map(mc)->version, 6);
    assert_int_equal(changes, 2);
}

static void it_never_goes_back(void **state)
{
    (void)state;
    fake_run(&world, NS_PER_SEC);
    assert_int_equal(map_client_map(mc)->version, 5);
    for (unsigned i = 0; i < NODES; i++)
        map_version[i] = 4;
    fake_run(&world, 5 * NS_PER_SEC);
    assert_int_equal(map_client_map(mc)->version, 5);
    assert_int_equal(changes, 1);
}

static struct leader_call call;
static Cairn__BlobRefsRequest request;
static bool ended;

static void on_end(struct leader_call *c)
{
    assert_ptr_equal(c, &call);
    assert_false(ended);
    ended = true;
}

static void call_start(uint64_t for_ns)
{
    cairn__blob_refs_request__init(&request);
    ended = false;
    call = (struct leader_call){.method = &method_meta_blob_refs,
                                .request = &request.base,
                                .bucket_id = 9,
                                .key = SLICE_LIT("k"),
                                .deadline_ns = world.now_ns + for_ns,
                                .cb = on_end};
    leader_call_start(mc, &call);
    assert_false(ended);
}

static void call_ends_with(int err)
{
    fake_run_until(&world, &ended, 60 * NS_PER_SEC);
    assert_true(ended);
    assert_int_equal(call.err, err);
    if (err == OK)
        assert_int_equal(((Cairn__BlobRefsResponse *)call.rpc.response)->as_of, 77);
    leader_call_fini(&call);
}

static void a_hint_is_followed(void **state)
{
    (void)state;
    call_start(10 * NS_PER_SEC); /* before there is a map */
    call_ends_with(OK);
    assert_int_equal(refusals, 1);
}

static void others_are_tried(void **state)
{
    (void)state;
    nodes[0]->silent = true;
    nodes[1]->loses = true;
    map_version[0] = 0;
    fake_run(&world, 10 * NS_PER_SEC);
    call_start(20 * NS_PER_SEC);
    call_ends_with(OK);
}

static void a_new_epoch_is_learnt(void **state)
{
    (void)state;
    fake_run(&world, NS_PER_SEC / 2);
    partition_epoch = 2;
    for (unsigned i = 0; i < NODES; i++)
        map_version[i] = 6;
    call_start(10 * NS_PER_SEC);
    call_ends_with(OK);
    assert_int_equal(request.epoch, 2);
}

static void it_ends_at_the_deadline(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++)
        nodes[i]->silent = true;
    uint64_t began = world.now_ns;
    call_start(3 * NS_PER_SEC);
    call_ends_with(ERR_TIMEOUT);
    assert_true(world.now_ns - began <= 3 * NS_PER_SEC + NS_PER_SEC);
}

static void a_refusal_for_good_ends_it(void **state)
{
    (void)state;
    answer_err = ERR_REFUSED;
    call_start(10 * NS_PER_SEC);
    call_ends_with(ERR_REFUSED);
}

static void a_cancelled_one_ends_soon(void **state)
{
    (void)state;
    fake_run(&world, NS_PER_SEC);
    for (unsigned i = 0; i < NODES; i++)
        nodes[i]->silent = true;
    for (uint64_t after = 0; after < 2; after++) {
        uint64_t began = world.now_ns;
        call_start(20 * NS_PER_SEC);
        fake_run(&world, after * 10 * NS_PER_MS);
        leader_call_cancel(&call);
        assert_false(ended);
        call_ends_with(ERR_CANCELED);
        assert_true(world.now_ns - began < NS_PER_SEC);
    }
}

static void stopping_ends_all(void **state)
{
    (void)state;
    fake_run(&world, NS_PER_SEC);
    call_start(20 * NS_PER_SEC);
    map_client_stop(mc);
    call_ends_with(ERR_SHUTDOWN);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_map_is_found_and_followed),
        T(it_never_goes_back),
        T(a_hint_is_followed),
        T(others_are_tried),
        T(a_new_epoch_is_learnt),
        T(it_ends_at_the_deadline),
        T(a_refusal_for_good_ends_it),
        T(a_cancelled_one_ends_soon),
        T(stopping_ends_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
