/* The root's commands about storage nodes and placement groups: each rule, and that a refusal
 * changes nothing. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODES = 24, STORAGE = INDEX_ROLE_STORAGENODE, METANODE = 2 };

static char names[NODES][16];
static Cairn__NodeRecord nodes[NODES];
static char *ids[NODES];

/* Nodes all hold data but the last one, which is a metanode. */
static void scene_init(struct world *w)
{
    struct cmd c;
    Cairn__UpdateNodes op = CAIRN__UPDATE_NODES__INIT;
    Cairn__NodeRecord *ptrs[NODES];
    world_init(w, ROOT_PARTITION);
    for (int i = 0; i < NODES; i++) {
        snprintf(names[i], sizeof(names[i]), "sn-%d", i);
        cairn__node_record__init(&nodes[i]);
        nodes[i].node_id = ids[i] = names[i];
        nodes[i].zone = str("z1");
        nodes[i].addr = str("127.0.0.1:1");
        nodes[i].role = i + 1 < NODES ? STORAGE : METANODE;
        ptrs[i] = &nodes[i];
    }
    op.nodes = ptrs;
    op.n_nodes = NODES;
    cmd_init(w, &c);
    c.msg.op_case = CAIRN__COMMAND__OP_UPDATE_NODES;
    c.msg.update_nodes = &op;
    assert_int_equal(world_run(w, &c), OK);
}

/* Applies without a write id, as the root's leader proposes it; what was refused left no trace. */
static int run_own(struct world *w, struct cmd *c)
{
    struct buf before = {0}, after = {0};
    c->msg.write_id.len = 0;
    dump(w->store, w->partition, &before);
    int err = world_run(w, c);
    dump(w->store, w->partition, &after);
    if (err) {
        /* Of equal size, and different only in the header's applied index, time and checksum. */
        assert_int_equal(before.len, after.len);
        size_t differ = 0;
        for (size_t i = 0; i < before.len; i++)
            differ += before.ptr[i] != after.ptr[i];
        assert_true(differ <= 8 + 8 + 4);
    }
    buf_fini(&before);
    buf_fini(&after);
    return err;
}

static int put_node(struct world *w, Cairn__NodeRecord *node)
{
    struct cmd c;
    Cairn__PutNode op = CAIRN__PUT_NODE__INIT;
    op.node = node;
    cmd_init(w, &c);
    c.msg.op_case = CAIRN__COMMAND__OP_PUT_NODE;
    c.msg.put_node = &op;
    return run_own(w, &c);
}

static int add_pgs(struct world *w, Cairn__PlacementGroup **pgs, size_t n)
{
    struct cmd c;
    Cairn__AddPgs op = CAIRN__ADD_PGS__INIT;
    op.pgs = pgs;
    op.n_pgs = n;
    cmd_init(w, &c);
    c.msg.op_case = CAIRN__COMMAND__OP_ADD_PGS;
    c.msg.add_pgs = &op;
    return run_own(w, &c);
}

static int add_pg(struct world *w, Cairn__PlacementGroup *pg)
{
    return add_pgs(w, &pg, 1);
}

static int begin_change(struct world *w, uint32_t pg, uint64_t epoch, char **next, size_t n)
{
    struct cmd c;
    Cairn__BeginPgChange op = CAIRN__BEGIN_PG_CHANGE__INIT;
    op.pg = pg;
    op.epoch = epoch;
    op.next_members = next;
    op.n_next_members = n;
    cmd_init(w, &c);
    c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_PG_CHANGE;
    c.msg.begin_pg_change = &op;
    return run_own(w, &c);
}

static int finish_change(struct world *w, uint32_t pg, uint64_t epoch)
{
    struct cmd c;
    Cairn__FinishPgChange op = CAIRN__FINISH_PG_CHANGE__INIT;
    op.pg = pg;
    op.epoch = epoch;
    cmd_init(w, &c);
    c.msg.op_case = CAIRN__COMMAND__OP_FINISH_PG_CHANGE;
    c.msg.finish_pg_change = &op;
    return run_own(w, &c);
}

static Cairn__PlacementGroup group(uint32_t id, Cairn__Scheme scheme, unsigned data,
                                   unsigned parity, size_t members)
{
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT;
    pg.id = id;
    pg.epoch = 1;
    pg.scheme = scheme;
    pg.data_shards = data;
    pg.parity_shards = parity;
    pg.members = ids;
    pg.n_members = members;
    return pg;
}

/* The stored group; free with free_unpacked. */
static Cairn__PlacementGroup *stored_pg(struct world *w, uint32_t id)
{
    struct buf value = {0};
    uint8_t key[] = {
        0,          0, 0, 0, 0x63, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
        (uint8_t)id};
    assert_int_equal(w->kv->ops->get(w->kv, NULL, KV_INDEX, SLICE(key, sizeof(key)), &value), OK);
    Cairn__PlacementGroup *pg = cairn__placement_group__unpack(NULL, value.len, value.ptr);
    assert_non_null(pg);
    buf_fini(&value);
    return pg;
}

static void nodes_change_only_in_what_may(void **state)
{
    (void)state;
    struct world w;
    Cairn__DiskRecord disks[2] = {CAIRN__DISK_RECORD__INIT, CAIRN__DISK_RECORD__INIT};
    Cairn__DiskRecord *disk_ptrs[2] = {&disks[0], &disks[1]};
    struct id128 disk_ids[2] = {{{1}}, {{2}}};
    scene_init(&w);
    for (int i = 0; i < 2; i++)
        disks[i].disk_id = (ProtobufCBinaryData){ID_BYTES, disk_ids[i].bytes};
    Cairn__NodeRecord node = nodes[0];
    node.state = CAIRN__NODE_STATE__NODE_DOWN;
    node.state_since_ms = w.now_ms;
    node.draining = true;
    node.bytes_total = 1 << 20;
    node.disks = disk_ptrs;
    node.n_disks = 2;
    assert_int_equal(put_node(&w, &node), OK);
    assert_true(w.out->existed);
    assert_int_equal(put_node(&w, &node), OK);

    Cairn__NodeRecord bad = node;
    bad.zone = str("z2");
    assert_int_equal(put_node(&w, &bad), ERR_REFUSED);
    bad = node;
    bad.addr = str("127.0.0.1:2");
    assert_int_equal(put_node(&w, &bad), ERR_REFUSED);
    bad = node;
    bad.admin_addr = str("127.0.0.1:2");
    assert_int_equal(put_node(&w, &bad), ERR_REFUSED);
    bad = node;
    bad.role = METANODE;
    assert_int_equal(put_node(&w, &bad), ERR_REFUSED);
    bad = node;
    bad.state = (Cairn__NodeState)3;
    assert_int_equal(put_node(&w, &bad), ERR_REFUSED);
    disk_ids[1] = disk_ids[0];
    assert_int_equal(put_node(&w, &node), ERR_REFUSED);
    disk_ids[1].bytes[0] = 2;
    disks[1].disk_id.len = 15;
    assert_int_equal(put_node(&w, &node), ERR_REFUSED);
    disks[1].disk_id.len = ID_BYTES;
    disks[1].state = (Cairn__DiskState)3;
    assert_int_equal(put_node(&w, &node), ERR_REFUSED);
    disks[1].state = CAIRN__DISK_STATE__DISK_LOST;
    assert_int_equal(put_node(&w, &node), OK);

    /* A new one: only if it holds data. */
    Cairn__NodeRecord fresh = nodes[0];
    fresh.node_id = str("sn-new");
    fresh.role = METANODE;
    assert_int_equal(put_node(&w, &fresh), ERR_NOT_FOUND);
    fresh.role = STORAGE;
    assert_int_equal(put_node(&w, &fresh), OK);
    assert_false(w.out->existed);
    world_fini(&w);
}

static void groups_are_sane(void **state)
{
    (void)state;
    const Cairn__Scheme REP = CAIRN__SCHEME__SCHEME_REP3, RS = CAIRN__SCHEME__SCHEME_RS;
    struct world w;
    scene_init(&w);
    Cairn__PlacementGroup a = group(1, RS, 5, 4, 9), b = group(2, REP, 1, 2, 3),
                          c = group(3, REP, 1, 2, 1);
    Cairn__PlacementGroup *all[] = {&a, &b, &c};
    assert_int_equal(add_pgs(&w, all, 3), OK);
    assert_int_equal(add_pgs(&w, all, 3), ERR_EXISTS);
    Cairn__PlacementGroup d = group(4, RS, 3, 3, 6), *mixed[] = {&d, &b};
    assert_int_equal(add_pgs(&w, mixed, 2), ERR_REFUSED); /* not ascending */
    mixed[0] = &a;
    mixed[1] = &d;
    assert_int_equal(add_pgs(&w, mixed, 2), ERR_EXISTS); /* and 4 is not made */
    mixed[0] = mixed[1] = &d;
    assert_int_equal(add_pgs(&w, mixed, 2), ERR_REFUSED); /* one id twice */
    const Cairn__PlacementGroup bad[] = {
        group(9, RS, 5, 4, 8),  group(9, RS, 0, 4, 4),
        group(9, RS, 5, 0, 5),  group(9, RS, 21, 1, 22),
        group(9, RS, 1, 9, 10), group(9, REP, 2, 1, 3),
        group(9, REP, 1, 3, 4), group(9, REP, 1, 2, 4),
        group(9, REP, 1, 2, 0), group(9, (Cairn__Scheme)2, 1, 2, 3),
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        Cairn__PlacementGroup pg = bad[i];
        assert_int_equal(add_pg(&w, &pg), ERR_REFUSED);
    }
    char *twice[] = {ids[0], ids[1], ids[0]}, *unknown[] = {ids[0], ids[1], str("nobody")};
    Cairn__PlacementGroup e = group(5, REP, 1, 2, 3);
    e.members = twice;
    assert_int_equal(add_pg(&w, &e), ERR_REFUSED);
    e.members = unknown;
    assert_int_equal(add_pg(&w, &e), ERR_NOT_FOUND);
    e.members = &ids[NODES - 3]; /* the last is a metanode */
    assert_int_equal(add_pg(&w, &e), ERR_NOT_FOUND);
    e.members = ids;
    e.epoch = 0;
    assert_int_equal(add_pg(&w, &e), ERR_REFUSED);
    e.epoch = 1;
    e.change_ms = 1;
    assert_int_equal(add_pg(&w, &e), ERR_REFUSED);
    e.change_ms = 0;
    e.next_members = &ids[1];
    e.n_next_members = 3;
    assert_int_equal(add_pg(&w, &e), ERR_REFUSED);
    e.n_next_members = 0;
    assert_int_equal(add_pg(&w, &e), OK);
    assert_int_equal(add_pgs(&w, NULL, 0), ERR_REFUSED);
    world_fini(&w);
}

static void members_change_in_two_steps(void **state)
{
    (void)state;
    struct world w;
    scene_init(&w);
    Cairn__PlacementGroup pg = group(7, CAIRN__SCHEME__SCHEME_REP3, 1, 2, 3), *stored;
    assert_int_equal(add_pg(&w, &pg), OK);
    char *next[] = {ids[3], ids[1], ids[2], ids[4]};
    assert_int_equal(begin_change(&w, 8, 1, next, 3), ERR_NOT_FOUND);
    assert_int_equal(begin_change(&w, 7, 2, next, 3), ERR_CONFLICT);
    assert_int_equal(begin_change(&w, 7, 0, next, 3), ERR_CONFLICT);
    assert_int_equal(begin_change(&w, 7, 1, next, 2), ERR_REFUSED);
    assert_int_equal(begin_change(&w, 7, 1, next, 4), ERR_REFUSED);
    assert_int_equal(begin_change(&w, 7, 1, NULL, 0), ERR_REFUSED);
    assert_int_equal(begin_change(&w, 7, 1, ids, 3), ERR_REFUSED); /* as it is */
    next[1] = next[0];
    assert_int_equal(begin_change(&w, 7, 1, next, 3), ERR_REFUSED);
    next[1] = ids[NODES - 1];
    assert_int_equal(begin_change(&w, 7, 1, next, 3), ERR_NOT_FOUND);
    next[1] = str("nobody");
    assert_int_equal(begin_change(&w, 7, 1, next, 3), ERR_NOT_FOUND);
    next[1] = ids[1];
    assert_int_equal(finish_change(&w, 7, 1), ERR_REFUSED); /* none is under way */
    w.now_ms += 1000;
    assert_int_equal(begin_change(&w, 7, 1, next, 3), OK);
    assert_int_equal(begin_change(&w, 7, 1, next, 3), ERR_CONFLICT);
    assert_int_equal(begin_change(&w, 7, 2, ids, 3), ERR_EXISTS);
    stored = stored_pg(&w, 7);
    assert_true(stored->epoch == 2 && stored->n_members == 3 && stored->n_next_members == 3 &&
                stored->change_ms == w.now_ms);
    assert_string_equal(stored->members[0], "sn-0");
    assert_string_equal(stored->next_members[0], "sn-3");
    cairn__placement_group__free_unpacked(stored, NULL);
    assert_int_equal(finish_change(&w, 7, 1), ERR_CONFLICT);
    assert_int_equal(finish_change(&w, 8, 2), ERR_NOT_FOUND);
    assert_int_equal(finish_change(&w, 7, 2), OK);
    assert_int_equal(finish_change(&w, 7, 2), ERR_CONFLICT);
    stored = stored_pg(&w, 7);
    assert_true(stored->epoch == 3 && stored->n_members == 3 && stored->n_next_members == 0 &&
                stored->change_ms == 0);
    assert_string_equal(stored->members[0], "sn-3");
    cairn__placement_group__free_unpacked(stored, NULL);
    world_fini(&w);
}

static void replicas_may_become_more(void **state)
{
    (void)state;
    struct world w;
    scene_init(&w);
    Cairn__PlacementGroup pg = group(7, CAIRN__SCHEME__SCHEME_REP3, 1, 2, 1), *stored;
    assert_int_equal(add_pg(&w, &pg), OK);
    assert_int_equal(begin_change(&w, 7, 1, ids, 4), ERR_REFUSED); /* more than the scheme has */
    assert_int_equal(begin_change(&w, 7, 1, ids, 1), ERR_REFUSED);
    assert_int_equal(begin_change(&w, 7, 1, ids, 3), OK);
    assert_int_equal(finish_change(&w, 7, 2), OK);
    stored = stored_pg(&w, 7);
    assert_int_equal(stored->n_members, 3);
    cairn__placement_group__free_unpacked(stored, NULL);
    assert_int_equal(begin_change(&w, 7, 3, ids, 2), ERR_REFUSED); /* never fewer */
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_change_only_in_what_may),
        cmocka_unit_test(groups_are_sane),
        cmocka_unit_test(members_change_in_two_steps),
        cmocka_unit_test(replicas_may_become_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
