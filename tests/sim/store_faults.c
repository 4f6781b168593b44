/* Watches storage nodes and strikes. */
#include "tests/sim/store_faults.h"

#include "common/base/check.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stores.h"

#include <stdlib.h>

#define POLL_NS (NS_PER_MS / 2)

enum moment {
    DURING_COMMIT,
    AFTER_PUT,
    AFTER_DELETE,
    AFTER_FLUSH,
    AFTER_EMPTYING,
    WHILE_OPENING,
    MOMENT_COUNT
};

struct store_faults {
    struct sim_cluster *cluster;
    bool active;
    uint32_t moments; /* a mask of those that this seed is after */
    uint64_t gap_max_ns, next_ns, count;
    uint64_t seen[SIM_NODES_MAX][MOMENT_COUNT];
};

static void count_moments(struct sim_node *n, uint64_t ret[MOMENT_COUNT])
{
    struct sim_store_counts st;
    sim_store_count_get(n, &st);
    ret[DURING_COMMIT] = st.puts + st.deletes + st.queued;
    ret[AFTER_PUT] = st.puts;
    ret[AFTER_DELETE] = st.deletes;
    ret[AFTER_FLUSH] = st.index_flushes;
    ret[AFTER_EMPTYING] = st.extents_reclaimed;
    ret[WHILE_OPENING] = st.opening;
}

/* Did something happen there just now that this seed waits for? */
static bool is_moment(struct store_faults *f, size_t at)
{
    uint64_t now[MOMENT_COUNT];
    bool found = false;
    count_moments(&f->cluster->stores[at], now);
    for (unsigned m = 0; m < MOMENT_COUNT; m++)
        found |= (f->moments & 1u << m) && now[m] > f->seen[at][m];
    memcpy(f->seen[at], now, sizeof(now));
    return found;
}

/* Sometimes it is the power of all: what was acknowledged is durable, so nothing is lost. */
static void strike(struct store_faults *f, struct sim_node *n)
{
    struct sim_cluster *c = f->cluster;
    struct world *w = c->world;
    uint64_t down_max_ns = world_below(w, 3) ? 300 * NS_PER_MS : 4 * NS_PER_SEC;
    bool all = world_below(w, 10) == 0;
    f->count++;
    f->next_ns = world_now(w) + world_below(w, f->gap_max_ns);
    for (size_t i = 0; i < sim_store_count(c); i++)
        if (&c->stores[i] == n || (all && c->stores[i].running))
            scenario_crash(c, &c->stores[i], world_below(w, 2), world_below(w, down_max_ns));
}

static void poll(void *arg)
{
    struct store_faults *f = arg;
    struct sim_cluster *c = f->cluster;
    if (!f->active)
        return;
    for (size_t i = 0; i < sim_store_count(c); i++) {
        struct sim_node *n = &c->stores[i];
        if (!n->running || !n->disks)
            memset(f->seen[i], 0, sizeof(f->seen[i]));
        else if (is_moment(f, i) && world_now(c->world) >= f->next_ns &&
                 world_below(c->world, 4) == 0)
            strike(f, n);
    }
    world_call(c->world, POLL_NS, poll, f);
}

struct store_faults *store_faults_new(struct sim_cluster *c)
{
    struct store_faults *f = calloc(1, sizeof(*f));
    CHECK(f);
    f->cluster = c;
    f->moments = (uint32_t)world_below(c->world, 1u << MOMENT_COUNT); /* none, too */
    f->gap_max_ns = NS_PER_SEC / 4 + world_below(c->world, 2 * NS_PER_SEC);
    return f;
}

void store_faults_start(struct store_faults *f)
{
    f->active = true;
    poll(f);
}

void store_faults_stop(struct store_faults *f)
{
    f->active = false;
}

uint64_t store_faults_count(const struct store_faults *f)
{
    return f->count;
}
