/* The verdict on a cluster, of groups and nodes; whether a node may go. */
#include "common/base/check.h"
#include "common/env/net.h"
#include "gateway/admin/health.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NODES 5
static char ids[NODES][4] = {"n0", "n1", "n2", "n3", "n4"};

struct cluster {
    Cairn__NodeRecord record[NODES];
    Cairn__NodeReport report[NODES];
    Cairn__NodeStatus status[NODES], *nodes[NODES];
    bool answers[NODES];
    Cairn__PlacementGroup pg, *pgs;
    Cairn__PlannedChange change, *planned;
    char *members[NODES], *next[NODES];
    Cairn__ClusterStatusResponse r;
    struct view_node view_nodes[NODES];
    struct cluster_view view;
};

static void cluster_init(struct cluster *c, unsigned members, unsigned data)
{
    cairn__cluster_status_response__init(&c->r);
    for (int i = 0; i < NODES; i++) {
        cairn__node_record__init(&c->record[i]);
        cairn__node_report__init(&c->report[i]);
        cairn__node_status__init(c->nodes[i] = &c->status[i]);
        c->record[i].node_id = ids[i];
        c->record[i].role = NET_ROLE_STORAGENODE;
        c->status[i].record = &c->record[i];
        c->status[i].report = &c->report[i];
        c->answers[i] = true;
        c->members[i] = c->next[i] = ids[i];
    }
    cairn__placement_group__init(&c->pg);
    cairn__planned_change__init(&c->change);
    c->pgs = &c->pg;
    c->planned = &c->change;
    c->pg.data_shards = data;
    c->pg.members = c->members;
    c->pg.n_members = members;
    c->change.members = c->members;
    c->change.next_members = c->next;
    c->r.nodes = c->nodes;
    c->r.n_nodes = NODES;
    c->r.pgs = &c->pgs;
    c->r.n_pgs = 1;
    c->r.planned = &c->planned;
}

static enum pg_health group(struct cluster *c)
{
    view_init(&c->view, &c->r, c->answers, c->view_nodes);
    return pg_health(&c->view, &c->pg);
}

static void nodes(void **state)
{
    (void)state;
    static const struct {
        Cairn__NodeState state;
        bool answers, reported, has_disks;
        enum node_health is;
    } cases[] = {
        {CAIRN__NODE_STATE__NODE_UP, true, true, true, NODE_IS_UP},
        {CAIRN__NODE_STATE__NODE_UP, false, true, true, NODE_IS_SILENT},
        {CAIRN__NODE_STATE__NODE_DOWN, true, true, true, NODE_IS_DOWN},
        {CAIRN__NODE_STATE__NODE_DOWN, true, false, true, NODE_IS_DOWN},
        {CAIRN__NODE_STATE__NODE_DOWN, true, false, false, NODE_IS_UNREPORTED},
        {CAIRN__NODE_STATE__NODE_DOWN, false, false, false, NODE_IS_DOWN},
        {CAIRN__NODE_STATE__NODE_LOST, false, true, true, NODE_IS_LOST},
        {CAIRN__NODE_STATE__NODE_LOST, true, true, true, NODE_IS_LOST},
    };
    struct cluster c;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cluster_init(&c, 3, 1);
        c.record[0].state = cases[i].state;
        c.record[0].n_disks = cases[i].has_disks;
        c.status[0].report = cases[i].reported ? &c.report[0] : NULL;
        assert_int_equal(node_health(&c.status[0], cases[i].answers), cases[i].is);
    }
}

static void groups(void **state)
{
    (void)state;
    static const struct {
        unsigned members, data, away;
        bool changing;
        enum pg_health is;
    } cases[] = {
        {3, 1, 0, false, PG_IS_WELL},       {3, 1, 0, true, PG_IS_CHANGING},
        {3, 1, 1, false, PG_IS_DEGRADED},   {3, 1, 1, true, PG_IS_DEGRADED},
        {3, 1, 2, false, PG_IS_ENDANGERED}, {3, 1, 3, false, PG_IS_UNREADABLE},
        {5, 3, 0, false, PG_IS_WELL},       {5, 3, 1, false, PG_IS_DEGRADED},
        {5, 3, 2, false, PG_IS_ENDANGERED}, {5, 3, 3, false, PG_IS_UNREADABLE},
        {3, 0, 2, false, PG_IS_ENDANGERED}, /* written before groups had schemes */
    };
    struct cluster c;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cluster_init(&c, cases[i].members, cases[i].data);
        for (unsigned k = 0; k < cases[i].away; k++)
            c.answers[k] = false;
        c.pg.next_members = c.next;
        c.pg.n_next_members = cases[i].changing ? cases[i].members : 0;
        assert_int_equal(group(&c), cases[i].is);
    }
    cluster_init(&c, 3, 1);
    c.members[0] = (char[]){"gone"}; /* not in the map at all */
    assert_int_equal(group(&c), PG_IS_DEGRADED);
}

static void verdicts(void **state)
{
    (void)state;
    static const struct {
        struct health_facts f;
        enum health is;
        size_t reasons;
    } cases[] = {
        {{.nodes = 3, .pg_count = 9, .pgs = {[PG_IS_WELL] = 9}}, HEALTH_OK, 0},
        {{.pgs = {[PG_IS_CHANGING] = 9}, .backlog_bytes = 5}, HEALTH_OK, 0},
        {{.nodes_unreported = 3}, HEALTH_OK, 0},
        {{.nodes_silent = 1}, HEALTH_DEGRADED, 1},
        {{.nodes_down = 1}, HEALTH_DEGRADED, 1},
        {{.nodes_lost = 1, .zones_down = 1}, HEALTH_DEGRADED, 2},
        {{.disks_failed = 1}, HEALTH_DEGRADED, 1},
        {{.disks_full = 2}, HEALTH_DEGRADED, 1},
        {{.disks_slow = 1}, HEALTH_DEGRADED, 1},
        {{.missing = 1}, HEALTH_DEGRADED, 1},
        {{.pgs = {[PG_IS_DEGRADED] = 1}}, HEALTH_DEGRADED, 1},
        {{.pgs = {[PG_IS_ENDANGERED] = 1}}, HEALTH_CRITICAL, 1},
        {{.pgs = {[PG_IS_UNREADABLE] = 1}}, HEALTH_CRITICAL, 1},
        {{.missing = 7, .endangered = 1}, HEALTH_CRITICAL, 2},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct health_reason reasons[HEALTH_REASONS_MAX];
        size_t count;
        assert_int_equal(health_verdict(&cases[i].f, reasons, &count), cases[i].is);
        assert_int_equal(count, cases[i].reasons);
        for (size_t k = 0; k < count; k++) {
            assert_true(reasons[k].count > 0 && reasons[k].text[0]);
            assert_true(k == 0 || reasons[k].is <= reasons[k - 1].is);
        }
    }
}

static void facts(void **state)
{
    (void)state;
    struct cluster c;
    struct health_facts f;
    Cairn__DiskReport disk[3], *disks[3];
    Cairn__GroupReport g = CAIRN__GROUP_REPORT__INIT, *gs = &g;
    cluster_init(&c, 3, 1);
    for (int i = 0; i < 3; i++) {
        cairn__disk_report__init(disks[i] = &disk[i]);
        disk[i].bytes_total = 100;
        disk[i].bytes_free = 10;
        disk[i].writable = i == 0;
    }
    disk[2].state = CAIRN__DISK_STATE__DISK_FAILED;
    disk[0].slow = disk[2].slow = true; /* one that is out of service is not slow besides */
    g.missing = 4;
    g.endangered = 1;
    c.report[1].disks = disks;
    c.report[1].n_disks = 3;
    c.report[1].groups = &gs;
    c.report[1].n_groups = 1;
    c.report[1].repair_backlog_bytes = 77;
    c.answers[4] = false;
    c.record[3].role = NET_ROLE_METANODE;
    view_init(&c.view, &c.r, c.answers, c.view_nodes);
    health_facts(&c.view, &f);
    assert_true(f.nodes == 4 && f.nodes_silent == 1 && f.disks == 3 && f.disks_failed == 1);
    assert_true(f.disks_full == 1 && f.disks_slow == 1 && f.bytes_total == 300 && f.bytes_free == 30);
    assert_true(f.missing == 4 && f.endangered == 1 && f.backlog_bytes == 77);
    assert_true(f.pg_count == 1 && f.pgs[PG_IS_WELL] == 1);
}

/* Whoever is drained and away is missed where a group names it, and nowhere else. */
static void drained_and_gone(void **state)
{
    (void)state;
    static const Cairn__NodeState away[] = {CAIRN__NODE_STATE__NODE_DOWN,
                                            CAIRN__NODE_STATE__NODE_LOST};
    struct health_reason reasons[HEALTH_REASONS_MAX];
    size_t count;
    struct cluster c;
    struct health_facts f;
    for (unsigned k = 0; k < 8; k++) {
        bool member = k % 2, draining = k / 2 % 2;
        unsigned node = member ? 2 : 4;
        cluster_init(&c, 3, 1);
        c.record[node].state = away[k / 4];
        c.record[node].draining = draining;
        c.answers[node] = false;
        view_init(&c.view, &c.r, c.answers, c.view_nodes);
        health_facts(&c.view, &f);
        assert_int_equal(f.nodes_down + f.nodes_lost, !draining);
        assert_int_equal(f.pgs[PG_IS_DEGRADED], member);
        assert_int_equal(health_verdict(&f, reasons, &count),
                         draining && !member ? HEALTH_OK : HEALTH_DEGRADED);
    }
}

static void removable(void **state)
{
    (void)state;
    static const struct {
        const char *node;
        bool draining, changing, planned, safe;
        unsigned member_of, next_member_of, planned_for;
    } cases[] = {
        {"n0", true, false, false, false, 1, 0, 0},     {"n0", true, true, false, false, 1, 1, 0},
        {"n4", true, false, false, true, 0, 0, 0},      {"n4", false, false, false, false, 0, 0, 0},
        {"n4", true, true, false, false, 0, 1, 0},      {"n4", true, false, true, false, 0, 0, 1},
        {"nobody", true, false, false, false, 0, 0, 0},
    };
    struct cluster c;
    struct removable r;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cluster_init(&c, 3, 1);
        for (int k = 0; k < NODES; k++)
            c.record[k].draining = cases[i].draining;
        c.next[1] = ids[4];
        c.pg.next_members = c.next;
        c.pg.n_next_members = cases[i].changing ? 3 : 0;
        c.r.n_planned = cases[i].planned;
        c.change.n_members = c.change.n_next_members = 3;
        removable_check(&c.r, cases[i].node, &r);
        assert_int_equal(r.safe, cases[i].safe);
        assert_int_equal(r.member_of, cases[i].member_of);
        assert_int_equal(r.next_member_of, cases[i].next_member_of);
        assert_int_equal(r.planned_for, cases[i].planned_for);
        assert_int_equal(r.known, cases[i].node[1] != 'o');
    }
    c.record[4].role = NET_ROLE_METANODE;
    removable_check(&c.r, "n4", &r);
    assert_false(r.known || r.safe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes), cmocka_unit_test(groups),           cmocka_unit_test(verdicts),
        cmocka_unit_test(facts), cmocka_unit_test(drained_and_gone), cmocka_unit_test(removable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
