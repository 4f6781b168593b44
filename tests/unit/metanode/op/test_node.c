/* A cluster of metanodes in virtual time: election, bootstrap, writes and retries, reads, crashes,
 * snapshots, witnesses. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"
#include "tests/unit/metanode/op/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void elects_and_bootstraps(void **state)
{
    (void)state;
    struct fixture fx;
    fx_init(&fx, 1);
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    for (uint32_t p = 0; p <= FX_PARTITIONS; p++)
        assert_true(fx_leader(&fx, p) >= 0);
    Cairn__ClusterMapRequest req = CAIRN__CLUSTER_MAP_REQUEST__INIT;
    struct rpc_call call = {0};
    assert_int_equal(fx_call(&fx, 1, &method_meta_cluster_map, &req.base, 1000, &call), OK);
    const Cairn__ClusterMapResponse *a = (const Cairn__ClusterMapResponse *)call.response;
    assert_int_equal(a->map->n_partitions, FX_PARTITIONS + 1);
    assert_int_equal(a->map->n_pgs, 4);
    assert_int_equal(a->map->pgs[0]->n_members, 3);
    rpc_call_fini(&call);
    fx_fini(&fx);
}

static void writes_and_reads(void **state)
{
    (void)state;
    struct fixture fx;
    uint64_t index = 0, again = 0, version = 0, as_of = 0;
    fx_init(&fx, 2);
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_int_equal(fx_put(&fx, "a", "body", 5000, &index), OK);
    /* The same write id once more: the original outcome, not another write. */
    int leader = fx_leader(&fx, 1);
    assert_int_equal(fx_put_once(&fx, (unsigned)leader, fx.writes, "a", "body", 1000, &again), OK);
    assert_int_equal(again, index);
    assert_int_equal(fx_get(&fx, "a", 1000, &version, &as_of), OK);
    assert_int_equal(version, index);
    assert_true(as_of >= index);
    assert_int_equal(fx_get(&fx, "b", 1000, &version, &as_of), OK);
    assert_int_equal(version, 0);
    /* A follower sends the client to the leader. */
    unsigned follower = ((unsigned)leader + 1) % FX_METAS;
    assert_int_equal(fx_put_once(&fx, follower, 999, "a", "x", 1000, NULL), ERR_NOT_LEADER);
    assert_int_equal(fx_get_once(&fx, follower, "a", 1000, &version, &as_of), ERR_NOT_LEADER);
    /* Followers apply what they learn to be visible. */
    fx_run_ms(&fx, 500);
    struct meta_partition_info a, b;
    fx_info(&fx, (unsigned)leader, 1, &a);
    fx_info(&fx, follower, 1, &b);
    assert_int_equal(a.applied, b.applied);
    fx_fini(&fx);
}

static void reads_without_leases(void **state)
{
    (void)state;
    struct fixture fx;
    uint64_t index = 0, version = 0, as_of = 0;
    fx_init(&fx, 3);
    fx.config.lease_reads = false;
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_int_equal(fx_put(&fx, "a", "body", 5000, &index), OK);
    assert_int_equal(fx_get(&fx, "a", 1000, &version, &as_of), OK);
    assert_int_equal(version, index);
    int leader = fx_leader(&fx, 1);
    assert_true(meta_node_stats(fx.metas[leader].node)->reads_round > 0);
    assert_int_equal(meta_node_stats(fx.metas[leader].node)->reads_lease, 0);
    fx_fini(&fx);
}

static void survives_a_leaders_crash(void **state)
{
    (void)state;
    struct fixture fx;
    uint64_t index = 0, version = 0, as_of = 0;
    fx_init(&fx, 4);
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_int_equal(fx_put(&fx, "a", "1", 5000, &index), OK);
    int old = fx_leader(&fx, 1);
    fx_crash_meta(&fx, (unsigned)old);
    uint64_t before = world_now(fx.world);
    assert_int_equal(fx_put(&fx, "b", "2", 10000, NULL), OK);
    assert_true(world_now(fx.world) - before < 5 * NS_PER_SEC);
    assert_int_equal(fx_get(&fx, "a", 1000, &version, &as_of), OK);
    assert_int_equal(version, index);
    fx_boot_meta(&fx, (unsigned)old);
    assert_true(fx_wait_ready(&fx, 10000));
    fx_run_ms(&fx, 1000);
    struct meta_partition_info a, b;
    fx_info(&fx, (unsigned)fx_leader(&fx, 1), 1, &a);
    fx_info(&fx, (unsigned)old, 1, &b);
    assert_int_equal(a.applied, b.applied);
    fx_fini(&fx);
}

/* Writes go on within 5 s of a leader's death, whatever the dice say, with witnesses to wait for. */
static void writes_go_on_soon(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 130; seed++) {
        struct fixture fx;
        fx_init(&fx, seed);
        fx_boot_all(&fx, 2);
        assert_true(fx_wait_ready(&fx, 10000));
        assert_int_equal(fx_put(&fx, "a", "1", 5000, NULL), OK);
        fx_run_ms(&fx, seed % 7 * 30);
        fx_crash_meta(&fx, (unsigned)fx_leader(&fx, 1));
        uint64_t before = world_now(fx.world);
        assert_int_equal(fx_put(&fx, "b", "2", 10000, NULL), OK);
        uint64_t took = (world_now(fx.world) - before) / NS_PER_MS;
        assert_true(took < 5000);
        fx_fini(&fx);
    }
}

static void survives_a_crash_of_all(void **state)
{
    (void)state;
    struct fixture fx;
    uint64_t index[20], version = 0, as_of = 0;
    char key[20][16];
    fx_init(&fx, 5);
    fx_boot_all(&fx, 2);
    assert_true(fx_wait_ready(&fx, 10000));
    for (int round = 0; round < 2; round++) {
        for (int i = 10 * round; i < 10 * round + 10; i++) {
            snprintf(key[i], sizeof(key[i]), "k%d", i);
            assert_int_equal(fx_put(&fx, key[i], "x", 5000, &index[i]), OK);
        }
        for (unsigned i = 0; i < FX_METAS; i++)
            fx_crash_meta(&fx, i);
        for (unsigned i = 0; i < FX_METAS; i++)
            fx_boot_meta(&fx, i);
        assert_true(fx_wait_ready(&fx, 20000));
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(fx_get(&fx, key[i], 5000, &version, &as_of), OK);
        assert_int_equal(version, index[i]);
    }
    fx_fini(&fx);
}

/* A replica that was away while the log was truncated gets a snapshot, and survives a crash after. */
static void snapshot_brings_it_back(void **state)
{
    (void)state;
    struct fixture fx;
    uint64_t version = 0, as_of = 0;
    char key[16];
    struct meta_partition_info a, b;
    fx_init(&fx, 6);
    fx.config.limits.log_bytes_keep = 1024;
    fx.config.limits.log_bytes_max = 4096;
    fx.config.limits.snapshot_chunk_bytes = 1000;
    fx.config.timeouts.flush = 1000;
    fx_boot_all(&fx, 1);
    assert_true(fx_wait_ready(&fx, 10000));
    unsigned away = ((unsigned)fx_leader(&fx, 1) + 1) % FX_METAS;
    fx_crash_meta(&fx, away);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(fx_put(&fx, key, "some bytes of a body to fill the log with", 8000, NULL), OK);
    }
    fx_run_ms(&fx, 3000);
    fx_info(&fx, (unsigned)fx_leader(&fx, 1), 1, &a);
    assert_true(a.first > 0);
    fx_boot_meta(&fx, away);
    assert_true(fx_wait_ready(&fx, 20000));
    fx_run_ms(&fx, 3000);
    assert_true(meta_node_stats(fx.metas[away].node)->snapshots_installed > 0);
    fx_info(&fx, (unsigned)fx_leader(&fx, 1), 1, &a);
    fx_info(&fx, away, 1, &b);
    assert_int_equal(a.applied, b.applied);
    assert_int_equal(a.witnesses_attached, b.witnesses_attached);
    fx_crash_meta(&fx, away);
    fx_boot_meta(&fx, away);
    for (unsigned i = 0; i < FX_METAS; i++)
        if (i != away)
            fx_crash_meta(&fx, i);
    fx_boot_meta(&fx, (away + 1) % FX_METAS);
    assert_int_equal(fx_get(&fx, "k99", 20000, &version, &as_of), OK);
    assert_true(version > 0);
    assert_int_equal(fx_get(&fx, "k0", 20000, &version, &as_of), OK);
    assert_true(version > 0);
    fx_fini(&fx);
}

/* ---- witnesses ---- */

static bool witnesses_are_ready(struct fixture *fx, void *arg)
{
    unsigned want = *(unsigned *)arg, have = 0;
    for (unsigned i = 0; i < FX_WITNESSES; i++)
        have += fx->witnesses[i].node && witness_node_ready(fx->witnesses[i].node) &&
                witness_node_core(fx->witnesses[i].node)->partition_count == FX_PARTITIONS + 1;
    return have == want;
}

static void witnesses_register_and_follow(void **state)
{
    (void)state;
    struct fixture fx;
    unsigned want = 3;
    uint64_t index = 0;
    fx_init(&fx, 7);
    fx_boot_all(&fx, want);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    assert_int_equal(fx_put(&fx, "a", "1", 5000, &index), OK);
    for (unsigned i = 0; i < want; i++) {
        /* Acknowledged means: every witness knows. */
        const struct witness *w = witness_node_core(fx.witnesses[i].node);
        assert_true(witness_find(w, 1)->recv >= index);
        assert_int_equal(witness_find(w, 1)->listening, true);
    }
    fx_run_ms(&fx, 300);
    const struct witness *w = witness_node_core(fx.witnesses[0].node);
    assert_true(witness_find(w, 1)->through >= index);
    struct meta_partition_info a;
    fx_info(&fx, (unsigned)fx_leader(&fx, 1), 1, &a);
    assert_int_equal(a.witnesses_needed, want);
    fx_fini(&fx);
}

static void a_witness_death_delays_writes(void **state)
{
    (void)state;
    struct fixture fx;
    unsigned want = 2;
    fx_init(&fx, 8);
    fx_boot_all(&fx, want);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    fx_kill_witness(&fx, 0);
    uint64_t before = world_now(fx.world);
    assert_int_equal(fx_put(&fx, "a", "1", 10000, NULL), OK);
    uint64_t took = world_now(fx.world) - before;
    /* It may have renewed just before it died: a whole lease is waited out; and not much more than
     * that and the detection. */
    assert_true(took > 1000 * NS_PER_MS);
    assert_true(took < 3200 * NS_PER_MS);
    /* Back under a new incarnation: attached, caught up, needed again. */
    fx_boot_witness(&fx, 0);
    assert_true(fx_run_until(&fx, 10000, witnesses_are_ready, &want));
    struct meta_partition_info a;
    fx_info(&fx, (unsigned)fx_leader(&fx, 1), 1, &a);
    assert_int_equal(a.witnesses_attached, 2);
    assert_int_equal(a.witnesses_needed, 2);
    before = world_now(fx.world);
    assert_int_equal(fx_put(&fx, "b", "1", 10000, NULL), OK);
    assert_true(world_now(fx.world) - before < 200 * NS_PER_MS);
    fx_fini(&fx);
}

static void released(void *arg)
{
    *(bool *)arg = true;
}

static void a_released_lease_is_not_waited_for(void **state)
{
    (void)state;
    struct fixture fx;
    unsigned want = 2;
    bool done = false;
    fx_init(&fx, 9);
    fx_boot_all(&fx, want);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    witness_node_release(fx.witnesses[0].node, released, &done);
    fx_run_ms(&fx, 200);
    assert_true(done);
    fx_kill_witness(&fx, 0);
    uint64_t before = world_now(fx.world);
    assert_int_equal(fx_put(&fx, "a", "1", 10000, NULL), OK);
    assert_true(world_now(fx.world) - before < 300 * NS_PER_MS);
    fx_fini(&fx);
}

/* A quick restart: the old incarnation's lease is waited out although the new one is there. */
static void a_new_life_waits_for_the_old_lease(void **state)
{
    (void)state;
    struct fixture fx;
    unsigned want = 1;
    fx_init(&fx, 10);
    fx_boot_all(&fx, want);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    fx_kill_witness(&fx, 0);
    fx_boot_witness(&fx, 0);
    uint64_t before = world_now(fx.world);
    assert_int_equal(fx_put(&fx, "a", "1", 10000, NULL), OK);
    uint64_t took = world_now(fx.world) - before;
    assert_true(took > 1000 * NS_PER_MS);
    assert_true(took < 3200 * NS_PER_MS);
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    fx_fini(&fx);
}

/* The root's leader dies together with a witness: the others keep their leases over it. */
static void root_leader_and_a_witness_die(void **state)
{
    (void)state;
    struct fixture fx;
    unsigned want = 3;
    fx_init(&fx, 11);
    fx_boot_all(&fx, want);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    uint64_t lives = witness_node_stats(fx.witnesses[1].node)->lives;
    fx_kill_witness(&fx, 0);
    fx_crash_meta(&fx, (unsigned)fx_leader(&fx, 0));
    uint64_t before = world_now(fx.world);
    assert_int_equal(fx_put(&fx, "a", "1", 20000, NULL), OK);
    assert_true(world_now(fx.world) - before < 9000 * NS_PER_MS);
    assert_true(fx_wait_leader(&fx, 0, 10000));
    /* At most one lost its lease while the root had no leader at all. */
    assert_true(witness_node_stats(fx.witnesses[1].node)->lives <= lives + 1);
    want = 2;
    assert_true(fx_run_until(&fx, 10000, witnesses_are_ready, &want));
    fx_fini(&fx);
}


/* A leader whose clock jumps far ahead can commit nothing; another takes over, and it may lead again
 * once its clock is right. */
static void a_wrong_clock_expires_nothing(void **state)
{
    (void)state;
    struct fixture fx;
    struct meta_partition_info info;
    fx_init(&fx, 12);
    fx_boot_all(&fx, 1);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_int_equal(fx_put(&fx, "a", "1", 5000, NULL), OK);
    unsigned wrong = (unsigned)fx_leader(&fx, 1);
    host_jump_wall(fx.metas[wrong].host, 3600000);
    /* Its entry is one of the future (the client's own clock is right, so the index refuses the command
     * as old; a control entry is tried as well with the next witness). */
    fx_boot_witness(&fx, 1);
    fx_run_ms(&fx, 12000);
    assert_true(fx_leader(&fx, 1) >= 0 && (unsigned)fx_leader(&fx, 1) != wrong);
    assert_int_equal(fx_put(&fx, "b", "1", 5000, NULL), OK);
    host_jump_wall(fx.metas[wrong].host, -3600000);
    for (unsigned i = 0; i < FX_METAS; i++) {
        if (i == wrong)
            continue;
        fx_crash_meta(&fx, i);
        assert_int_equal(fx_put(&fx, "c", "1", 10000, NULL), OK);
        fx_boot_meta(&fx, i);
        assert_true(fx_wait_ready(&fx, 10000));
    }
    fx_info(&fx, wrong, 1, &info);
    assert_true(info.running);
    fx_fini(&fx);
}

/* Writes that pile up behind a dead witness are refused at a bound, and go on after its burial. */
static void overload_does_not_block_burial(void **state)
{
    (void)state;
    struct fixture fx;
    unsigned want = 1;
    fx_init(&fx, 13);
    fx.config.limits.proposal_bytes_max = 2000;
    fx_boot_all(&fx, want);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    unsigned leader = (unsigned)fx_leader(&fx, 1);
    fx_kill_witness(&fx, 0);
    int err = OK;
    for (unsigned i = 0; i < 40 && err != ERR_OVERLOAD; i++)
        err = fx_put_once(&fx, leader, 2000 + i, "a", "some bytes to fill the bound with", 20, NULL);
    assert_int_equal(err, ERR_OVERLOAD);
    assert_int_equal(fx_put(&fx, "b", "1", 5000, NULL), OK);
    fx_fini(&fx);
}

/* While the root's leadership is being handed to a replica that has just gone away, a Death is refused
 * again and again: the leader tries at intervals and does not spin. */
static void refused_death_does_not_spin(void **state)
{
    (void)state;
    struct fixture fx;
    unsigned want = 1;
    bool done = false, drained = false;
    fx_init(&fx, 14);
    fx_boot_all(&fx, want);
    assert_true(fx_wait_ready(&fx, 10000));
    assert_true(fx_run_until(&fx, 5000, witnesses_are_ready, &want));
    unsigned leader = (unsigned)fx_leader(&fx, 0);
    for (unsigned i = 0; i < FX_METAS; i++)
        if (i != leader)
            world_block(fx.world, fx.metas[leader].host, fx.metas[i].host, true);
    /* Something that the others lack, so that the transfer cannot end. */
    (void)fx_put_once(&fx, leader, 3000, "a", "1", 10, NULL);
    meta_node_drain(fx.metas[leader].node, released, &drained);
    fx_run_ms(&fx, 20);
    witness_node_release(fx.witnesses[0].node, released, &done);
    uint64_t events = world_run_until(fx.world, world_now(fx.world) + 600 * NS_PER_MS);
    assert_true(done);
    assert_true(events < 20000);
    world_heal(fx.world);
    fx_run_ms(&fx, 5000);
    fx_fini(&fx);
}

/* ---- planted bugs: each rule as a scenario whose answer a bug changes ---- */

static struct host *meta_host(struct fixture *fx, unsigned i)
{
    return fx->metas[i].host;
}

static void isolate(struct fixture *fx, unsigned meta, bool blocked)
{
    for (unsigned i = 0; i < FX_METAS; i++) {
        if (i == meta)
            continue;
        world_block(fx->world, meta_host(fx, meta), meta_host(fx, i), blocked);
        world_block(fx->world, meta_host(fx, i), meta_host(fx, meta), blocked);
    }
}

static void start_ready(struct fixture *fx, uint64_t seed, unsigned witnesses)
{
    fx_init(fx, seed);
    fx_boot_all(fx, witnesses);
    assert_true(fx_wait_ready(fx, 10000));
    assert_true(fx_run_until(fx, 5000, witnesses_are_ready, &witnesses));
}

/* as_of claims no more than the state that was read holds. */
static bool as_of_is_applied(void)
{
    struct fixture fx;
    struct meta_partition_info info;
    uint64_t version, as_of = 0;
    start_ready(&fx, 40, 0);
    unsigned leader = (unsigned)fx_leader(&fx, 1);
    assert_int_equal(fx_put(&fx, "a", "1", 5000, NULL), OK);
    isolate(&fx, leader, true);
    /* In the log, and never committed while its reader still has a lease. */
    (void)fx_put_once(&fx, leader, 1000, "a", "2", 100, NULL);
    assert_int_equal(fx_get_once(&fx, leader, "a", 500, &version, &as_of), OK);
    fx_info(&fx, leader, 1, &info);
    bool right = as_of <= info.applied && info.last > info.applied;
    fx_fini(&fx);
    return right;
}

/* A quick restart of a witness: the old lease is waited out. */
static bool old_lease_is_waited_out(void)
{
    struct fixture fx;
    start_ready(&fx, 41, 1);
    fx_kill_witness(&fx, 0);
    fx_boot_witness(&fx, 0);
    uint64_t before = world_now(fx.world);
    assert_int_equal(fx_put(&fx, "a", "1", 10000, NULL), OK);
    bool right = world_now(fx.world) - before > 1000 * NS_PER_MS;
    fx_fini(&fx);
    return right;
}

static bool death_was_declared(struct fixture *fx, void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < FX_METAS; i++)
        if (meta_node_stats(fx->metas[i].node)->witness_deaths > 0)
            return true;
    return false;
}

/* A witness that cannot reach the root is declared dead only when its lease has run out. */
static bool dead_holds_no_lease(void)
{
    struct fixture fx;
    start_ready(&fx, 42, 1);
    for (unsigned i = 0; i < FX_METAS; i++)
        world_block(fx.world, fx.witnesses[0].host, meta_host(&fx, i), true);
    bool right = true;
    (void)fx_run_until(&fx, 5000, death_was_declared, NULL);
    assert_true(death_was_declared(&fx, NULL));
    right = !witness_node_holds_lease(fx.witnesses[0].node);
    fx_fini(&fx);
    return right;
}

/* A root leader cut off from its voters grants nothing once its Raft lease is over. */
static bool deposed_root_is_silent(void)
{
    struct fixture fx;
    start_ready(&fx, 43, 1);
    unsigned old = (unsigned)fx_leader(&fx, 0);
    isolate(&fx, old, true);
    fx_run_ms(&fx, 950);
    uint64_t granted = meta_node_stats(fx.metas[old].node)->leases_granted;
    fx_run_ms(&fx, 3000);
    bool right = meta_node_stats(fx.metas[old].node)->leases_granted == granted;
    fx_fini(&fx);
    return right;
}

static void planted_bugs_show(void **state)
{
    (void)state;
    static const struct {
        enum mutant mutant;
        bool (*scenario)(void);
    } cases[] = {
        {MUTANT_AS_OF_ABOVE_APPLIED, as_of_is_applied},
        {MUTANT_DEATH_WITHOUT_WAIT, old_lease_is_waited_out},
        {MUTANT_DEAD_BEFORE_EXPIRY, dead_holds_no_lease},
        {MUTANT_DEPOSED_ROOT_GRANTS, deposed_root_is_silent},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (!cases[i].scenario())
            fail_msg("%s: fails without a bug", mutant_name(cases[i].mutant));
#ifdef CAIRN_MUTANTS
        mutant_active = cases[i].mutant;
        bool right = cases[i].scenario();
        mutant_active = MUTANT_NONE;
        if (right)
            fail_msg("%s is not found", mutant_name(cases[i].mutant));
#endif
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elects_and_bootstraps),
        cmocka_unit_test(writes_and_reads),
        cmocka_unit_test(reads_without_leases),
        cmocka_unit_test(survives_a_leaders_crash),
        cmocka_unit_test(writes_go_on_soon),
        cmocka_unit_test(survives_a_crash_of_all),
        cmocka_unit_test(snapshot_brings_it_back),
        cmocka_unit_test(witnesses_register_and_follow),
        cmocka_unit_test(a_witness_death_delays_writes),
        cmocka_unit_test(a_released_lease_is_not_waited_for),
        cmocka_unit_test(a_new_life_waits_for_the_old_lease),
        cmocka_unit_test(root_leader_and_a_witness_die),
        cmocka_unit_test(a_wrong_clock_expires_nothing),
        cmocka_unit_test(overload_does_not_block_burial),
        cmocka_unit_test(refused_death_does_not_spin),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
