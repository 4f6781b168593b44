/* One run: boot, break, heal, check. */
#include "tests/sim/run.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "tests/sim/losses.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/store_faults.h"

#include <stdio.h>
#include <stdlib.h>

#define HEAL_S_MAX 20
/* Here frames are lost without the connection breaking: a sender of snapshots that has lost the
 * answer to the last chunk finds out after two minutes (metanode/op/snapshot_send.c). */
#define CONVERGE_S_MAX 150
#define SETTLE_S_MAX                                                                               \
    60 /* deletion queues become empty: rounds, their timeouts and the grace period */
/* Repair finds what is old enough, new members are filled, old ones emptied, orphans condemned. */
#define MEND_S_MAX 240
#define BLOBS_EVERY 3 /* seeds */
#define MENDS_EVERY 12
#define MENDS_REST 5

struct run {
    struct run_result *result;
    uint64_t seed;
    struct sim_cluster cluster;
    struct sim_workload *load;
    struct sim_shards *shards; /* NULL: no storage nodes in this run, and no blobs */
    struct sim_blobs *blobs;
    struct store_faults *store_faults;
    struct losses *losses; /* NULL: nothing that was synced is lost in this run */
    bool beyond;           /* more has been lost than the budget allows */
    struct nemesis *nemesis;
    unsigned problems;
    bool verbose;
};

static void problem(void *arg, const char *text)
{
    struct run *r = arg;
    if (r->problems++ == 0)
        snprintf(r->result->first_problem, sizeof(r->result->first_problem), "%s (at %.3f s)", text,
                 (double)world_now(r->cluster.world) / 1e9);
    if (r->verbose || r->problems == 1)
        fprintf(stderr, "seed %llu: %s (at %.3f s)\n", (unsigned long long)r->seed, text,
                (double)world_now(r->cluster.world) / 1e9);
}

/* What a storage node says of bits that this run has flipped. */
static bool is_of_damage(const struct run *r, const char *event)
{
    return r->losses && sim_shards_stats(r->shards)->flips > 0 &&
           strcmp(event, "store.damaged") == 0;
}

static void log_line(void *arg, enum log_level level, const char *event, const char *line)
{
    struct run *r = arg;
    if (level == LOG_LEVEL_ERROR && !r->beyond && !is_of_damage(r, event)) {
        char text[220];
        snprintf(text, sizeof(text), "ERROR logged: %s: %.150s", event, line);
        problem(r, text);
    }
    if (r->verbose)
        fprintf(stderr, "%11.6f %s\n", (double)world_now(r->cluster.world) / 1e9, line);
}

/* Runs to world time `until`, checking the invariants of every moment on the way. */
static void run_until(struct run *r, uint64_t until, bool (*stop)(struct run *))
{
    struct world *w = r->cluster.world;
    while (world_now(w) < until && r->problems == 0) {
        r->result->events += world_run_until(w, world_now(w) + 2 * NS_PER_MS);
        sim_check(&r->cluster);
        if (r->shards && !r->beyond)
            sim_shards_check(r->shards);
        if (stop && stop(r))
            return;
    }
}

static bool bucket_exists(struct run *r)
{
    return sim_workload_ready(r->load);
}

static bool clients_idle(struct run *r)
{
    return sim_workload_idle(r->load) && (!r->blobs || sim_blobs_idle(r->blobs));
}

static uint64_t progress(struct run *r)
{
    uint64_t least = sim_workload_progress(r->load);
    uint64_t of_blobs = r->blobs ? sim_blobs_progress(r->blobs) : UINT64_MAX;
    return MIN(least, of_blobs);
}

static bool settled(struct run *r)
{
    struct buf why = {0};
    bool ok = sim_shards_settled(r->shards, &why);
    buf_fini(&why);
    return ok;
}

static bool converged(struct run *r)
{
    struct buf why = {0};
    bool ok = sim_converged(&r->cluster, &why);
    buf_fini(&why);
    return ok;
}

static void boot(struct run *r)
{
    struct sim_cluster *c = &r->cluster;
    for (size_t z = 0; z < c->zones; z++)
        sim_boot(&c->metas[z]);
    for (size_t z = 0; z < c->zones; z++)
        sim_boot(&c->witnesses[z]);
    for (size_t i = 0; i < sim_store_count(c); i++)
        sim_boot(&c->stores[i]);
    for (size_t z = 0; z < c->zones; z++)
        sim_boot(&c->gateways[z]);
    run_until(r, world_now(c->world) + 30 * NS_PER_SEC, bucket_exists);
    if (r->problems == 0 && !sim_workload_ready(r->load))
        problem(r, "no bucket could be made within 30 s of a calm start");
}

/* Invariant 6: once nobody writes any more, what was let go goes, everywhere. */
static void settle(struct run *r)
{
    struct world *w = r->cluster.world;
    struct buf why = {0};
    uint64_t until = world_now(w) + (r->losses ? MEND_S_MAX : SETTLE_S_MAX) * NS_PER_SEC;
    while (r->problems == 0 && world_now(w) < until && !settled(r))
        run_until(r, world_now(w) + 200 * NS_PER_MS, NULL);
    if (r->problems == 0 && !sim_shards_settled(r->shards, &why)) {
        buf_u8(&why, 0);
        problem(r, (const char *)why.ptr);
    }
    buf_fini(&why);
}

/* More is lost than may be: answers are errors, or what was written. */
static void go_beyond(struct run *r)
{
    struct world *w = r->cluster.world;
    r->beyond = true;
    losses_beyond(r->losses);
    /* Before repair begins, while it is at work, or when it has done what it can. */
    uint64_t until = world_now(w) + 200 * NS_PER_MS + world_below(w, 3 * NS_PER_SEC);
    run_until(r, until, NULL);
    sim_blobs_read_beyond(r->blobs);
    run_until(r, world_now(w) + 30 * NS_PER_SEC, clients_idle);
    if (r->problems == 0 && !clients_idle(r))
        problem(r, "reads of what is lost do not end");
}

/* DESIGN: whatever was broken, once it is healed the cluster serves, converges and answers all. */
static void recover(struct run *r)
{
    struct world *w = r->cluster.world;
    if (r->store_faults)
        store_faults_stop(r->store_faults);
    if (r->losses)
        losses_stop(r->losses);
    nemesis_heal(r->nemesis);
    /* Timeouts, leases and back-offs of the broken phase run out; then every client gets on. */
    uint64_t until = world_now(w) + HEAL_S_MAX * NS_PER_SEC;
    run_until(r, world_now(w) + 2 * NS_PER_SEC, NULL);
    bool all_get_on = false;
    while (r->problems == 0 && !all_get_on && world_now(w) < until) {
        progress(r);
        run_until(r, world_now(w) + NS_PER_SEC, NULL);
        all_get_on = progress(r) > 0;
    }
    if (r->problems == 0 && !all_get_on)
        problem(r, "20 s after healing a client's operations still fail");
    if (r->blobs) {
        sim_shards_calm(r->shards);
        run_until(r, world_now(w) + NS_PER_SEC, NULL);
        sim_blobs_stop(r->blobs);
    }
    sim_workload_stop(r->load);
    run_until(r, world_now(w) + 10 * NS_PER_SEC, clients_idle);
    run_until(r, world_now(w) + CONVERGE_S_MAX * NS_PER_SEC, converged);
    struct buf why = {0};
    if (r->problems == 0 && !sim_converged(&r->cluster, &why)) {
        buf_u8(&why, 0);
        problem(r, (const char *)why.ptr);
    }
    buf_fini(&why);
    if (r->problems > 0)
        return;
    if (r->blobs) {
        settle(r);
        sim_blobs_read_all(r->blobs);
    }
    sim_workload_read_all(r->load);
    run_until(r, world_now(w) + 30 * NS_PER_SEC, clients_idle);
    if (r->problems == 0 && !clients_idle(r))
        problem(r, "the final reads do not end");
    if (r->problems == 0 && r->losses && world_below(w, 3) == 0)
        go_beyond(r);
}

/* The nodes hold coded groups where they are enough, several disks each, and lose data. */
static void add_mending(struct sim_cluster *c)
{
    static const uint64_t segment_sizes[] = {1000, 5000, 66000, 200000};
    static const uint64_t replicated[] = {1, 1, 3000, 0};
    struct world *w = c->world;
    c->mends = true;
    c->stores_per_zone = 1 + world_below(w, 3);
    c->schemes = c->stores_per_zone < 2 ? NULL : "3+3, rep-3";
    c->pgs = 2;
    c->drives_per_store = 1 + world_below(w, SIM_DRIVES_MAX);
    c->segment_bytes = segment_sizes[world_below(w, ARRAY_COUNT(segment_sizes))];
    c->replicate_bytes_max = replicated[world_below(w, ARRAY_COUNT(replicated))];
    c->timeout_ms = world_below(w, 2) ? 4000 : 1500 + world_below(w, 1000);
    c->deletion_grace_ms = 500 + (uint32_t)world_below(w, 1500);
    c->store_flush_ms = world_below(w, 2) ? 200 + (uint32_t)world_below(w, 1000) : 8000;
    c->store_flush_bytes = world_below(w, 2) ? 256 << 10 : 8 << 20;
    c->node_down_ms = 2000 + (uint32_t)world_below(w, 2000);
    c->node_lost_ms = c->node_down_ms + 3000 + (uint32_t)world_below(w, 5000);
}

/* Whether a run has blobs is no part of its world: a seed without them is the same run as ever. */
static void add_blobs(struct run *r, const struct run_options *o)
{
    struct sim_cluster *c = &r->cluster;
    struct world *w = c->world;
    static const uint64_t segment_sizes[] = {1000, 5000, 5000, 66000};
    if (o->blobs == RUN_BLOBS_MENDS ||
        (o->blobs == RUN_BLOBS_SHARE && r->seed % MENDS_EVERY == MENDS_REST)) {
        add_mending(c);
        return;
    }
    if (o->blobs == RUN_BLOBS_NEVER || (o->blobs == RUN_BLOBS_SHARE && r->seed % BLOBS_EVERY != 0))
        return;
    c->stores_per_zone = 1 + world_below(w, 2);
    c->segment_bytes = segment_sizes[world_below(w, ARRAY_COUNT(segment_sizes))];
    c->timeout_ms = world_below(w, 2) ? 4000 : 1000 + world_below(w, 1000);
    c->deletion_grace_ms = 500 + (uint32_t)world_below(w, 1500);
    c->store_flush_ms = world_below(w, 2) ? 200 + (uint32_t)world_below(w, 1000) : 8000;
    c->store_flush_bytes = world_below(w, 2) ? 256 << 10 : 8 << 20;
}

static void start_blobs(struct run *r)
{
    struct sim_cluster *c = &r->cluster;
    if (c->stores_per_zone == 0)
        return;
    r->store_faults = store_faults_new(c);
    r->shards = sim_shards_new(c);
    uint64_t think_max_ms =
        c->mends ? 150 + world_below(c->world, 300) : 20 + world_below(c->world, 100);
    r->blobs = sim_blobs_new(c, r->shards, 1, think_max_ms * NS_PER_MS);
    if (c->mends)
        r->losses = losses_new(c, r->shards);
}

/* A run in which nothing happened must not pass. */
static void check_something_ran(struct run *r)
{
    const struct sim_blobs_stats *b = sim_blobs_stats(r->blobs);
    const struct sim_shards_stats *s = sim_shards_stats(r->shards);
    if (b->puts == 0 || b->reads == 0 || b->parts == 0 || s->blobs == 0 || s->looks == 0)
        problem(r, "hardly anything was done with blobs");
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

/* One draw after the other: the order of an initializer's would be the compiler's. */
static void draw_tunables(struct sim_cluster *c, uint64_t seed)
{
    /* The smaller ones have 8 or 16 places, and hardly room for all records. */
    static const uint64_t cache_sizes[] = {1 << 20, 16 << 10, 8 << 10, 5 << 10};
    static const uint32_t append_sizes[] = {1, 1, 2, 1024};
    static const uint64_t log_sizes[] = {4 << 10, 4 << 10, 16 << 10, 1 << 20};
    static const uint32_t sleeps[] = {50, 300, 1000};
    static const uint32_t balances[] = {0, 300000, 1500};
    struct world *w = c->world;
    bool sleepy = seed % 3 == 0;
    c->drift_ppm = world_below(w, 2) ? 1000 : 20000;
    c->lease_reads = world_below(w, 4) != 0;
    c->lease_at_bound = world_below(w, 2);
    c->append_entries_max = append_sizes[world_below(w, 4)];
    c->cache_bytes_max = cache_sizes[world_below(w, 4)];
    c->log_bytes_max = log_sizes[world_below(w, 4)];
    c->sleep_after_ms = sleepy ? sleeps[world_below(w, 3)] : 5000;
    c->balance_ms = sleepy ? balances[world_below(w, 3)] : balances[world_below(w, 4) == 0];
    c->lulls = sleepy;
}

void run_seed(uint64_t seed, const struct run_options *o, struct run_result *ret)
{
    struct run *r = calloc(1, sizeof(*r));
    CHECK(r);
    struct world *w = world_new(seed);
    static const char *const splits[] = {NULL, "\"80000000000000006d\"",
                                         "\"8000000000000000622f32\", \"80000000000000006e\""};
    *ret = (struct run_result){.seed = seed};
    r->result = ret;
    r->seed = seed;
    r->verbose = o->verbose;
    r->cluster = (struct sim_cluster){.world = w, .problem = problem, .problem_arg = r};
    draw_tunables(&r->cluster, seed);
    log_hook_set(log_line, r);
    log_level_min = o->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR;
    add_blobs(r, o);
    sim_cluster_init(&r->cluster, w, splits[world_below(w, 3)]);
    uint64_t think_max_ns = (5 + world_below(w, 60)) * NS_PER_MS;
    bool roles = world_below(w, 2);
    r->load = sim_workload_new(&r->cluster, roles, think_max_ns);
    start_blobs(r);
    r->nemesis = nemesis_new(&r->cluster, o->directed);
    boot(r);
    nemesis_start(r->nemesis);
    if (r->store_faults)
        store_faults_start(r->store_faults);
    if (r->losses)
        losses_start(r->losses);
    run_until(r, world_now(w) + o->seconds * NS_PER_SEC, NULL);
    if (r->problems == 0)
        recover(r);
    sim_workload_check(r->load);
    if (r->blobs && r->problems == 0) {
        sim_blobs_check(r->blobs);
        check_something_ran(r);
    }
    if (r->problems > 0 && o->verbose)
        for (uint32_t reg = 0; reg < SIM_REGISTERS; reg++)
            sim_workload_print(r->load, reg, print_line, NULL);
    if (r->problems > 0 && o->verbose && r->blobs)
        sim_blobs_print(r->blobs, print_line, NULL);
    ret->trace = world_trace(w);
    ret->virtual_ns = world_now(w);
    ret->faults = nemesis_faults(r->nemesis);
    ret->problems = r->problems;
    ret->asleep = r->cluster.asleep;
    ret->stats = *sim_workload_stats(r->load);
    if (r->blobs) {
        ret->faults += store_faults_count(r->store_faults);
        ret->faults += r->losses ? losses_count(r->losses) : 0;
        ret->mends = r->losses != NULL;
        ret->blobs = *sim_blobs_stats(r->blobs);
        ret->shards = *sim_shards_stats(r->shards);
    }
}
