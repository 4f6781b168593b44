/* A replica whose disk was left between two steps: its state says one thing and its log another.
 *
 * The first two begin with a leader that is cut off with a tail that nobody else has.  When it comes back, other
 * entries stand at these indexes. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "tests/unit/metanode/op/fixture.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define TAIL_ENTRIES 120 /* proposed to the one that is cut off */

static void cut_off(struct fixture *fx, unsigned meta, bool blocked)
{
    for (unsigned i = 0; i < FX_METAS; i++) {
        if (i == meta)
            continue;
        world_block(fx->world, fx->metas[meta].host, fx->metas[i].host, blocked);
        world_block(fx->world, fx->metas[i].host, fx->metas[meta].host, blocked);
    }
}

static bool leads_elsewhere(struct fixture *fx, void *arg)
{
    int leader = fx_leader(fx, 1);
    return leader >= 0 && leader != *(int *)arg;
}

/* Returns who was cut off: its log has a tail of an old term, the others have committed `puts`. */
static unsigned leave_behind(struct fixture *fx, int puts)
{
    char key[16];
    fx_boot_all(fx, 0);
    assert_true(fx_wait_ready(fx, 10000));
    for (int i = 0; i < 5; i++)
        assert_int_equal(fx_put(fx, "first", "bytes", 5000, NULL), OK);
    int old = fx_leader(fx, 1);
    cut_off(fx, (unsigned)old, true);
    for (unsigned i = 0; i < TAIL_ENTRIES; i++)
        (void)fx_put_once(fx, (unsigned)old, 5000 + i, "tail", "never committed", 3, NULL);
    assert_true(fx_run_until(fx, 20000, leads_elsewhere, &old));
    for (int i = 0; i < puts; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(fx_put(fx, key, "some bytes of a body to fill the log with", 8000, NULL), OK);
    }
    return (unsigned)old;
}

static void comes_back_whole(struct fixture *fx, unsigned meta)
{
    struct meta_partition_info a, b;
    fx_crash_meta(fx, meta);
    kv_mem_set_delays(fx->metas[meta].log_kv, NS_PER_MS, 5 * NS_PER_MS);
    fx_boot_meta(fx, meta);
    for (uint32_t p = 0; p <= FX_PARTITIONS; p++) {
        fx_info(fx, meta, p, &a);
        assert_false(a.quarantined);
    }
    assert_true(fx_wait_ready(fx, 20000));
    assert_int_equal(fx_put(fx, "last", "bytes", 8000, NULL), OK);
    fx_run_ms(fx, 3000);
    assert_true(fx_wait_leader(fx, 1, 5000));
    fx_info(fx, (unsigned)fx_leader(fx, 1), 1, &a);
    fx_info(fx, meta, 1, &b);
    assert_false(b.quarantined);
    assert_int_equal(a.applied, b.applied);
}

static bool has_installed(struct fixture *fx, void *arg)
{
    return meta_node_stats(fx->metas[*(unsigned *)arg].node)->snapshots_installed > 0;
}

/* The rows are the snapshot's, and the log is still the old one, longer than the snapshot's index. */
static void snapshot_installed_log_not_reset(void **state)
{
    (void)state;
    struct fixture fx;
    struct meta_partition_info a;
    fx_init(&fx, 31);
    fx.config.limits.log_bytes_keep = 1024;
    fx.config.limits.log_bytes_max = 4096;
    fx.config.timeouts.flush = 500;
    fx.config.timeouts.balance = 3600000;
    unsigned old = leave_behind(&fx, 40);
    fx_run_ms(&fx, 2000);
    assert_true(fx_wait_leader(&fx, 1, 5000));
    fx_info(&fx, (unsigned)fx_leader(&fx, 1), 1, &a);
    assert_true(a.first > 10); /* truncated beyond what the two have in common */
    uint64_t index = a.applied;
    fx_info(&fx, old, 1, &a);
    assert_true(a.last > index + 10);
    cut_off(&fx, old, false);
    kv_mem_set_delays(fx.metas[old].log_kv, 300 * NS_PER_MS, 5 * NS_PER_MS);
    assert_true(fx_run_until(&fx, 20000, has_installed, &old));
    fx_info(&fx, old, 1, &a);
    assert_true(a.synced < a.applied);
    comes_back_whole(&fx, old);
    fx_fini(&fx);
}

static bool knows_the_commit(struct fixture *fx, void *arg)
{
    struct meta_partition_info a, b;
    int leader = fx_leader(fx, 1);
    if (leader < 0)
        return false; /* it is just being handed on */
    fx_info(fx, (unsigned)leader, 1, &a);
    fx_info(fx, *(unsigned *)arg, 1, &b);
    return b.commit == a.commit;
}

/* Entries were replaced and the disk does not know it: what is applied must wait, or a flush would
 * leave a state that the log contradicts. */
static void truncation_not_synced(void **state)
{
    (void)state;
    struct fixture fx;
    fx_init(&fx, 32);
    fx.config.timeouts.flush = 500;
    fx.config.timeouts.balance = 3600000;
    unsigned old = leave_behind(&fx, 40);
    cut_off(&fx, old, false);
    kv_mem_set_delays(fx.metas[old].log_kv, 2000 * NS_PER_MS, 5 * NS_PER_MS);
    assert_true(fx_run_until(&fx, 20000, knows_the_commit, &old));
    fx_run_ms(&fx, 1200); /* a flush, and not the end of the write */
    comes_back_whole(&fx, old);
    fx_fini(&fx);
}

static void wipe(struct fixture *fx, unsigned meta)
{
    struct fx_meta *m = &fx->metas[meta];
    struct kv_mem_config log = {.mode = KV_LOG, .files = fx->table, .write_delay_ns = NS_PER_MS,
                                .keep_on_close = true};
    struct kv_mem_config state = {.mode = KV_STATE, .files = fx->table, .keep_on_close = true};
    fx_crash_meta(fx, meta);
    kv_mem_free(m->log_kv);
    kv_mem_free(m->state_kv);
    m->log_kv = kv_mem_new(host_env(m->host), &log);
    m->state_kv = kv_mem_new(host_env(m->host), &state);
}

/* A metanode whose data directory was emptied: with it, one that lacks what was acknowledged would have
 * a quorum.  It stops, and until then nobody listens to it. */
static void no_node_comes_back_empty(void **state)
{
    (void)state;
    struct fixture fx;
    uint64_t version = 0, as_of = 0;
    fx_init(&fx, 33);
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    unsigned leader = (unsigned)fx_leader(&fx, 1);
    unsigned behind = (leader + 1) % FX_METAS, empty = (leader + 2) % FX_METAS;
    fx_crash_meta(&fx, behind);
    assert_int_equal(fx_put(&fx, "a", "bytes", 5000, NULL), OK);
    fx_crash_meta(&fx, leader);
    wipe(&fx, empty);
    fx_boot_meta(&fx, behind);
    fx_boot_meta(&fx, empty);
    assert_false(fx_wait_leader(&fx, 1, 10000));
    assert_int_equal(fx.metas[behind].failed, OK);
    assert_int_equal(fx.metas[empty].failed, ERR_CONFIG);
    fx_crash_meta(&fx, empty);
    fx_boot_meta(&fx, leader);
    assert_int_equal(fx_get(&fx, "a", 10000, &version, &as_of), OK);
    assert_true(version > 0);
    fx_fini(&fx);
}

/* A fourth metanode, added to the file of a running cluster, would place partition 1 on itself, lead it
 * with whoever came with it, and take the witnesses from the real one. */
static void an_added_node_founds_nothing(void **state)
{
    (void)state;
    struct fixture fx;
    struct fx_meta *m = &fx.metas[FX_METAS];
    struct kv_mem_config log = {.mode = KV_LOG, .write_delay_ns = NS_PER_MS, .keep_on_close = true};
    struct kv_mem_config kept = {.mode = KV_STATE, .keep_on_close = true};
    fx_init(&fx, 34);
    fx_boot_all(&fx, 0);
    assert_true(fx_wait_ready(&fx, 10000));
    fx.nodes[fx.cluster.node_count++] = (struct cluster_node){
        .id = strdup("m3"), .zone = strdup("z0"), .addr = strdup("m3:1"), .admin = strdup(""),
        .role = NET_ROLE_METANODE};
    *m = (struct fx_meta){.fx = &fx, .id = "m3", .addr = "m3:1", .dir = "dir3"};
    m->host = host_new(fx.world, m->id, "z0", NET_ROLE_METANODE, m->addr, 0, 1700000000000u);
    m->log_kv = kv_mem_new(host_env(m->host), &log);
    m->state_kv = kv_mem_new(host_env(m->host), &kept);
    fx_boot_meta(&fx, FX_METAS);
    fx_run_ms(&fx, 1100); /* before anyone can be elected */
    assert_int_equal(m->failed, ERR_CONFIG);
    fx_crash_meta(&fx, FX_METAS);
    kv_mem_free(m->log_kv);
    kv_mem_free(m->state_kv);
    assert_int_equal(fx_put(&fx, "a", "bytes", 5000, NULL), OK);
    fx_fini(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshot_installed_log_not_reset),
        cmocka_unit_test(truncation_not_synced),
        cmocka_unit_test(no_node_comes_back_empty),
        cmocka_unit_test(an_added_node_founds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
