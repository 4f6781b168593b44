/* Which groups this node looks after, in what order, how fast.  See agent.h. */
#include "storagenode/repair/agent.h"

#include "common/base/check.h"
#include "storagenode/repair/agent_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define MAP_WAIT_NS NS_PER_SEC

/* ---- groups ---- */

static struct repair_group *group_find(const struct repair_agent *a, uint32_t pg)
{
    for (size_t i = 0; i < a->group_count; i++)
        if (a->groups[i]->pg == pg)
            return a->groups[i];
    return NULL;
}

/* NULL: out of memory. */
static struct repair_group *group_get(struct repair_agent *a, uint32_t pg)
{
    struct repair_group *g = group_find(a, pg);
    if (g)
        return g;
    if (a->group_count == a->group_cap) {
        size_t cap = a->group_cap ? 2 * a->group_cap : 16;
        struct repair_group **more = realloc(a->groups, cap * sizeof(struct repair_group *));
        if (!more)
            return NULL;
        a->groups = more;
        a->group_cap = cap;
    }
    g = calloc(1, sizeof(*g));
    if (g) {
        g->pg = pg;
        a->groups[a->group_count++] = g;
    }
    return g;
}

static void groups_forget_unseen(struct repair_agent *a)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->group_count; i++) {
        if (a->groups[i]->seen)
            a->groups[kept++] = a->groups[i];
        else
            free(a->groups[i]);
    }
    a->group_count = kept;
}

/* ---- a round ---- */

static bool node_is_up(const struct repair_agent *a, const char *id, bool *ret_draining)
{
    const Cairn__NodeRecord *node = map_client_node(a->map, id);
    *ret_draining = node && node->draining;
    return node && node->state == CAIRN__NODE_STATE__NODE_UP;
}

static bool is_repairer(const struct repair_agent *a, const Cairn__PlacementGroup *pg, int *margin)
{
    struct plan_member members[PLAN_SHARDS_MAX];
    size_t count = MIN(pg->n_members, PLAN_SHARDS_MAX);
    *margin = -(int)MIN(pg->data_shards, PLAN_SHARDS_MAX);
    for (size_t i = 0; i < count; i++) {
        members[i].up = node_is_up(a, pg->members[i], &members[i].draining);
        *margin += members[i].up;
    }
    int i = plan_repairer(members, count);
    return i >= 0 && strcmp(pg->members[i], a->node_id) == 0;
}

static bool is_joining(const struct repair_agent *a, const Cairn__PlacementGroup *pg)
{
    for (size_t i = 0; i < pg->n_next_members && i < pg->n_members; i++)
        if (strcmp(pg->next_members[i], a->node_id) == 0 && strcmp(pg->members[i], a->node_id) != 0)
            return true;
    return false;
}

static int round_compare(const void *a, const void *b)
{
    const struct round_entry *x = a, *y = b;
    if (x->margin != y->margin)
        return x->margin < y->margin ? -1 : 1;
    if (x->mode != y->mode)
        return x->mode < y->mode ? -1 : 1;
    return x->pg < y->pg ? -1 : x->pg > y->pg;
}

static void round_add(struct repair_agent *a, uint32_t pg, enum pass_mode mode, int margin)
{
    a->round[a->round_count++] = (struct round_entry){pg, mode, margin};
}

/* What is to be done.  OK; ERR_NOMEM. */
static int round_plan(struct repair_agent *a, const Cairn__ClusterMap *map)
{
    free(a->round);
    a->round_count = a->round_next = 0;
    a->round = calloc(2 * map->n_pgs + 1, sizeof(*a->round));
    if (!a->round)
        return ERR_NOMEM;
    for (size_t i = 0; i < a->group_count; i++)
        a->groups[i]->seen = false;
    for (size_t i = 0; i < map->n_pgs; i++) {
        const Cairn__PlacementGroup *pg = map->pgs[i];
        int margin;
        bool repairs = is_repairer(a, pg, &margin), joins = is_joining(a, pg);
        struct repair_group *g = repairs || joins ? group_get(a, pg->id) : NULL;
        if (!g)
            continue;
        g->seen = true;
        if (repairs)
            round_add(a, pg->id, PASS_REPAIR, margin);
        else
            g->missing = g->endangered = g->beyond = 0; /* somebody else's to say */
        if (joins && g->filled_epoch != pg->epoch)
            round_add(a, pg->id, PASS_FILL, margin);
    }
    groups_forget_unseen(a);
    qsort(a->round, a->round_count, sizeof(*a->round), round_compare);
    return OK;
}

static void round_step(struct env_timer *timer)
{
    struct repair_agent *a = container_of(timer, struct repair_agent, timer);
    const Cairn__ClusterMap *map = map_client_map(a->map);
    CHECK(!a->pass);
    if (a->stopped)
        return;
    if (!map) {
        env_timer_start(&a->timer, MAP_WAIT_NS);
        return;
    }
    if (a->round_next >= a->round_count && round_plan(a, map) != OK) {
        env_timer_start(&a->timer, a->config.interval_ns);
        return;
    }
    while (a->round_next < a->round_count) {
        const struct round_entry *e = &a->round[a->round_next++];
        struct repair_group *g = group_find(a, e->pg);
        if (g && pass_start(a, g, e->mode) == OK)
            return;
        a->stats.passes_failed++;
    }
    a->stats.rounds++;
    env_timer_start(&a->timer, a->config.interval_ns);
}

void agent_pass_ended(struct repair_agent *a)
{
    a->pass = NULL;
    if (a->stopped)
        return;
    bool more = a->round_next < a->round_count;
    a->stats.rounds += !more;
    env_timer_start(&a->timer, more ? 0 : a->config.interval_ns);
}

uint64_t agent_pace(void *agent, uint64_t bytes, bool endangered)
{
    struct repair_agent *a = agent;
    uint64_t now = env_now_ns(a->env), start = MAX(now, a->free_ns);
    uint64_t rate = endangered ? a->config.bytes_per_sec_endangered : a->config.bytes_per_sec;
    a->free_ns = start + bytes * NS_PER_SEC / rate;
    return start - now;
}

/* ---- lifecycle ---- */

int repair_agent_new(struct rpc *rpc, struct map_client *map, const struct repair_config *config,
                     struct repair_agent **ret)
{
    if (strlen(config->node_id) >= NET_NODE_ID_MAX || config->parallel > REPAIR_PARALLEL_MAX)
        return ERR_INVAL;
    struct repair_agent *a = calloc(1, sizeof(*a));
    if (!a)
        return ERR_NOMEM;
    *a = (struct repair_agent){.rpc = rpc, .env = rpc_env(rpc), .map = map, .config = *config};
    snprintf(a->node_id, sizeof(a->node_id), "%s", config->node_id);
    struct repair_config *c = &a->config;
    c->node_id = a->node_id;
    c->repair_age_ms = c->repair_age_ms ? c->repair_age_ms : 120000;
    c->orphan_age_ms = c->orphan_age_ms ? c->orphan_age_ms : 24 * 3600000;
    c->interval_ns = c->interval_ns ? c->interval_ns : 60 * NS_PER_SEC;
    c->bytes_per_sec = c->bytes_per_sec ? c->bytes_per_sec : 32u << 20;
    c->bytes_per_sec_endangered =
        c->bytes_per_sec_endangered ? c->bytes_per_sec_endangered : 256u << 20;
    c->blob_bytes_max = c->blob_bytes_max ? c->blob_bytes_max : 24u << 20;
    c->parallel = c->parallel ? c->parallel : 4;
    c->timeout_ns = c->timeout_ns ? c->timeout_ns : 10 * NS_PER_SEC;
    env_timer_init(a->env, &a->timer, round_step);
    env_timer_start(&a->timer, 0);
    *ret = a;
    return OK;
}

void repair_agent_stop(struct repair_agent *a)
{
    a->stopped = true;
    env_timer_stop(&a->timer);
    if (a->pass)
        pass_cancel(a->pass);
}

bool repair_agent_idle(const struct repair_agent *a)
{
    return !a->pass && !a->timer.active;
}

void repair_agent_free(struct repair_agent *a)
{
    if (!a)
        return;
    CHECK(!a->pass);
    repair_metrics_forget(a);
    for (size_t i = 0; i < a->group_count; i++)
        free(a->groups[i]);
    free(a->groups);
    free(a->round);
    free(a);
}

/* ---- what is said of it ---- */

void repair_agent_stats(const struct repair_agent *a, struct repair_stats *ret)
{
    *ret = a->stats;
    ret->missing = ret->endangered = ret->beyond = 0;
    for (size_t i = 0; i < a->group_count; i++) {
        ret->missing += a->groups[i]->missing;
        ret->endangered += a->groups[i]->endangered;
        ret->beyond += a->groups[i]->beyond;
    }
}

void repair_agent_report_group(const struct repair_agent *a, Cairn__GroupReport *ret)
{
    const struct repair_group *g = group_find(a, ret->pg);
    if (!g)
        return;
    ret->filled_epoch = g->filled_epoch;
    ret->missing = g->missing;
    ret->endangered = g->endangered;
}

bool repair_agent_next_group(const struct repair_agent *a, size_t *pos, uint32_t *ret_pg)
{
    if (*pos >= a->group_count)
        return false;
    *ret_pg = a->groups[(*pos)++]->pg;
    return true;
}

void repair_agent_report_node(const struct repair_agent *a, Cairn__NodeReport *ret)
{
    ret->repair_bytes = a->stats.repaired_bytes;
    ret->repaired_shards = a->stats.repaired_shards;
}
