/* Random histories of a cluster: loss, repetition, reordering, one-way cuts, clocks that drift as
 * far as they may, crashes that lose unsynced writes, compaction, snapshots, transfers, reads.
 * After every step the invariants of cluster.c hold; at the end the world heals and must converge.
 * Each planted bug of the core has to be found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster.h"
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"

#define SEEDS 150
#define STEPS 16000

static _Thread_local jmp_buf check_escape;
static _Thread_local char check_text[200];

static void on_check_failed(const char *cond, const char *file, int line)
{
    snprintf(check_text, sizeof(check_text), "CHECK(%s) at %s:%d", cond, file, line);
    longjmp(check_escape, 1);
}

static uint64_t pick(struct cluster *c, uint64_t n)
{
    return cluster_random(c) % n;
}

static void random_network(struct cluster *c)
{
    if (c->net_count == 0)
        return;
    uint64_t what = pick(c, 20);
    /* Mostly the oldest, sometimes any: order is usual, never certain. */
    uint32_t i = pick(c, 8) ? 0 : (uint32_t)pick(c, c->net_count);
    while (i < c->net_count && c->net[i].not_before_ns > c->now_ns)
        i++;
    if (i == c->net_count)
        return;
    if (what == 0 || c->net_count > 400)
        cluster_drop(c, i);
    else
        cluster_deliver(c, i, what == 1);
}

/* One node is cut off, or a link in one direction, for long enough that others act on it. */
static void random_cut(struct cluster *c, uint64_t node)
{
    if (c->heal_ns)
        return;
    c->heal_ns = c->now_ns + pick(c, 600 * MS);
    uint64_t way = pick(c, 4);
    for (uint64_t k = 1; k <= c->node_count; k++) {
        c->cut[node][k] = way != 0;
        c->cut[k][node] = way <= 1;
    }
    if (way == 3) {
        memset(c->cut, 0, sizeof(c->cut));
        c->cut[node][1 + pick(c, c->node_count)] = true;
    }
}

static void random_disk(struct cluster *c, struct node *n)
{
    switch (pick(c, 6)) {
    case 0: /* the state machine flushes */
        if (raft_term_at(n->raft, n->applied, &n->applied_durable_term))
            n->applied_durable = n->applied;
        break;
    case 1:
        if (n->applied_durable > n->log.compact_index && pick(c, 4) == 0)
            cluster_compact(c, n->id,
                            n->log.compact_index + 1 +
                                pick(c, n->applied_durable - n->log.compact_index));
        break;
    default: cluster_sync(c, n->id, 1 + (uint32_t)pick(c, 3));
    }
}

static void random_client(struct cluster *c, struct node *n)
{
    static uint64_t read_ctx;
    struct raft_event transfer = {.type = RAFT_EV_TRANSFER, .peer = 1 + pick(c, c->node_count)};
    uint64_t leader = pick(c, 4) ? cluster_leader(c) : n->id;
    if (!leader || !cluster_node(c, leader)->raft)
        return;
    switch (pick(c, 8)) {
    case 0: cluster_read(c, leader, ++read_ctx); break;
    case 1:
        if (pick(c, 10) == 0)
            cluster_step(c, cluster_node(c, leader), &transfer, NULL);
        break;
    default:
        if (raft_last_index(cluster_node(c, leader)->raft) < CLUSTER_LOG_MAX - 400)
            cluster_propose(c, leader, RAFT_ENTRY_NORMAL, (uint32_t)pick(c, 100),
                            1 + (uint32_t)pick(c, 3));
    }
}

/* How often what happens, of the sum.  A world has one of these moods, or it would be the same mix
 * of everything for ever. */
static const struct mood {
    const char *name;
    unsigned network, time, disk, client, cut, crash;
    bool malice;
} moods[] = {
    {"busy", 400, 40, 160, 60, 4, 1, false},        {"slow disks", 400, 50, 30, 40, 3, 2, false},
    {"slow network", 400, 60, 160, 40, 6, 1, true}, {"crashes", 400, 60, 120, 20, 3, 2, true},
    {"elections", 400, 60, 160, 20, 10, 3, true},   {"idle", 400, 140, 160, 1, 2, 1, false},
};
#define SLOW_NETWORK 2 /* of moods */

/* Ticks may come late, or early. */
static void random_time(struct cluster *c)
{
    c->now_ns += pick(c, 60) == 0 ? pick(c, 120 * MS) : pick(c, 3 * MS);
    if (c->heal_ns && c->now_ns > c->heal_ns) {
        memset(c->cut, 0, sizeof(c->cut));
        c->heal_ns = 0;
    }
    cluster_beat(c);
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct node *n = &c->nodes[i];
        if (n->raft && (raft_next_deadline(n->raft) <= node_now(c, n) || pick(c, 8) == 0) &&
            pick(c, 4))
            cluster_tick(c, n->id);
    }
}

/* A leader that nobody hears any more, while answers from before are still on their way to it: what
 * leases must survive. */
static void cut_off_with_late_answers(struct cluster *c, struct node *n)
{
    uint32_t late = 0;
    for (uint32_t k = 0; k < c->net_count; k++) {
        if (c->net[k].m.to != n->id || c->net[k].m.type != RAFT_HEARTBEAT_REPLY)
            continue;
        c->net[k].not_before_ns = c->now_ns + 50 * MS + pick(c, 150 * MS);
        late++;
    }
    if (late == 0)
        return;
    c->heal_ns = c->now_ns + 300 * MS;
    for (uint64_t k = 1; k <= c->node_count; k++)
        c->cut[n->id][k] = c->cut[k][n->id] = true;
}

/* The moments at which a fault hurts most: a hard state that is not synced, a new leader. */
static void malice(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct node *n = &c->nodes[i];
        if (n->raft && n->pending_count && n->pending[0].w.has_hard_state && pick(c, 100) == 0) {
            cluster_crash(c, n->id, 0);
            CHECK(cluster_start(c, n->id) == OK);
        }
        if (n->raft && raft_role(n->raft) == RAFT_LEADER && !c->heal_ns && pick(c, 100) == 0)
            cut_off_with_late_answers(c, n);
    }
}

static void random_step(struct cluster *c, const struct mood *m)
{
    struct node *n = cluster_node(c, 1 + pick(c, c->node_count));
    uint64_t what = pick(c, m->network + m->time + m->disk + m->client + m->cut + m->crash);
    unsigned at = m->network;
    if (m->malice)
        malice(c);
    if (what < at) {
        random_network(c);
    } else if (what < (at += m->time)) {
        random_time(c);
    } else if (what < (at += m->disk)) {
        if (n->raft)
            random_disk(c, n);
    } else if (what < (at += m->client)) {
        if (n->raft)
            random_client(c, n);
    } else if (what < at + m->cut) {
        if (pick(c, 12) == 0)
            random_cut(c, n->id);
    } else if (!n->raft) {
        CHECK(cluster_start(c, n->id) == OK);
    } else if (pick(c, 2) == 0) {
        cluster_crash(c, n->id, (uint32_t)pick(c, n->pending_count + 1));
        if (pick(c, 2) == 0)
            CHECK(cluster_start(c, n->id) == OK);
    }
}

/* Left alone, all sleep; the leader's death wakes the others in time. */
static void sleep_and_wake(struct cluster *c)
{
    cluster_run(c, 10 * c->options.sleep_after_ns + 200 * MS);
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (!raft_is_asleep(c->nodes[i].raft))
            cluster_violated(c, "liveness: %d does not fall asleep", (int)i + 1);
    }
    uint64_t leader = cluster_leader(c);
    if (c->node_count < 3 || c->violation[0])
        return;
    cluster_crash(c, leader, UINT32_MAX);
    if (pick(c, 2))
        CHECK(cluster_start(c, leader) == OK);
    cluster_run(c, 800 * MS);
    leader = cluster_leader(c);
    if (!leader || cluster_propose(c, leader, RAFT_ENTRY_NORMAL, 10, 1) != OK)
        cluster_violated(c, "liveness: no leader after a sleeping one died");
}

static void heal(struct cluster *c)
{
    memset(c->cut, 0, sizeof(c->cut));
    c->slow_percent = 0;
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (!c->nodes[i].raft)
            CHECK(cluster_start(c, c->nodes[i].id) == OK);
    }
    cluster_run(c, 1500 * MS);
    uint64_t leader = cluster_leader(c);
    if (!leader) {
        cluster_violated(c, "liveness: no leader after healing");
        return;
    }
    cluster_propose(c, leader, RAFT_ENTRY_NORMAL, 10, 1);
    cluster_read(c, leader, UINT64_MAX);
    cluster_run(c, 200 * MS);
    uint64_t last = raft_last_index(cluster_node(c, leader)->raft);
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct raft *r = c->nodes[i].raft;
        if (raft_commit(r) != last || raft_last_index(r) != last || raft_visible(r) != last)
            cluster_violated(c, "liveness: %d stands at %d of %d, commit %d", (int)i + 1,
                             (int)raft_last_index(r), (int)last, (int)raft_commit(r));
    }
    if (c->options.sleep_after_ns && !c->violation[0])
        sleep_and_wake(c);
}

/* True: nothing was violated. */
static bool run(struct cluster *c, uint64_t seed, uint32_t steps)
{
    uint32_t nodes = (uint32_t[]){3, 3, 5, 3, 1, 4}[seed / ARRAY_COUNT(moods) % 6];
    cluster_init(c, nodes, seed);
    c->options.append_entries_max = (uint32_t[]){1, 1, 2, 8}[pick(c, 4)];
    c->options.inflight_messages_max = 1 + (uint32_t)pick(c, 4);
    c->slow_percent = seed % ARRAY_COUNT(moods) == SLOW_NETWORK ? 20 : 2;
    c->options.lease_enabled = pick(c, 4) != 0;
    c->options.sleep_after_ns = (uint64_t[]){0, 0, 30 * MS, 150 * MS}[pick(c, 4)];
    if (seed % ARRAY_COUNT(moods) == 5)
        c->options.sleep_after_ns = 30 * MS;
    for (uint32_t i = 0; i < nodes; i++) {
        /* Rates within the stated bound, so the worst case of the lease inequality comes up. */
        c->nodes[i].clock_ppm =
            (int64_t)pick(c, 2 * c->options.drift_ppm) - (int64_t)c->options.drift_ppm;
        c->nodes[i].clock_offset_ns = 1000000 * MS + pick(c, 1000) * MS;
    }
    check_text[0] = 0;
    check_hook = on_check_failed;
    if (setjmp(check_escape) == 0) {
        for (uint32_t i = 0; i < nodes; i++)
            CHECK(cluster_start(c, i + 1) == OK);
        for (uint32_t i = 0; i < steps && !c->violation[0]; i++)
            random_step(c, &moods[seed % ARRAY_COUNT(moods)]);
        if (!c->violation[0])
            heal(c);
    } else if (!c->violation[0]) {
        snprintf(c->violation, sizeof(c->violation), "%s", check_text);
    }
    check_hook = NULL;
    return !c->violation[0];
}

static void test_invariants(void **state)
{
    (void)state;
    static struct cluster c;
    const char *one = getenv("SEED");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, count = one ? 1 : SEEDS;
    uint64_t leaders = 0, committed = 0, served = 0, slept = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        bool ok = run(&c, seed, STEPS);
        if (!ok)
            print_error("SEED=%d: %s\n", (int)seed, c.violation);
        if (getenv("STATS"))
            print_message("%d %s n=%d: %d ms, %d leaders, %d entries, net %d\n", (int)seed,
                          moods[seed % ARRAY_COUNT(moods)].name, (int)c.node_count,
                          (int)(c.now_ns / MS), (int)c.leaders_elected, (int)c.acknowledged,
                          (int)c.net_count);
        leaders += c.leaders_elected;
        committed += c.acknowledged;
        slept += c.fell_asleep;
        for (uint32_t i = 0; i < c.node_count; i++)
            served += c.nodes[i].reads_served;
        cluster_fini(&c);
        assert_true(ok);
    }
    print_message("  %d histories: %d leaders, %d entries, %d reads, %d times asleep\n", (int)count,
                  (int)leaders, (int)committed, (int)served, (int)slept);
    /* A test in which nothing happens proves nothing. */
    assert_true(leaders > 2 * count);
    assert_true(committed > 20 * count);
    assert_true(served > 2 * count);
    assert_true(slept > 5 * count);
}

/* Within so many seeds, of which each `step`-th is tried, from `first` on. */
static void find(enum mutant m, uint64_t first, uint64_t step, uint64_t seeds)
{
    static struct cluster c;
    mutant_active = m;
    for (uint64_t seed = first; seed <= seeds; seed += step) {
        bool ok = run(&c, seed, STEPS);
        if (!ok)
            print_message("  %s: seed %d (%s): %s\n", mutant_name(m), (int)seed,
                          moods[seed % ARRAY_COUNT(moods)].name, c.violation);
        cluster_fini(&c);
        if (!ok) {
            mutant_active = MUTANT_NONE;
            return;
        }
    }
    mutant_active = MUTANT_NONE;
    print_error("%s was not found\n", mutant_name(m));
    fail();
}

static void test_planted_bugs(void **state)
{
    (void)state;
    find(MUTANT_COMMIT_OWN_LAST, 1, 1, 2000);
    find(MUTANT_UNPERSISTED_VOTE, 1, 1, 2000);
    find(MUTANT_REPLY_BEFORE_SYNC, 1, 1, 2000);
    find(MUTANT_LEASE_FROM_RECEIVE, 1, 1, 2000);
    find(MUTANT_COUNT_OLD_TERM, SLOW_NETWORK, ARRAY_COUNT(moods), 4000); /* others rarely meet it */
    find(MUTANT_SLEEP_BEHIND, 1, 1, 2000);
    find(MUTANT_SLEEP_ON_LOSS, 1, 1, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invariants),
        cmocka_unit_test(test_planted_bugs),
    };
    return cmocka_run_group_tests_name("raft_random", tests, NULL, NULL);
}
