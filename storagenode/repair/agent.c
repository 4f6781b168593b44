/* Which groups this node looks after, in what order, how fast.  See agent.h. */
#include "storagenode/repair/agent.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "storagenode/repair/agent_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOK_NS NS_PER_SEC /* has the map changed? */
#define RETRY_DOUBLINGS 12
#define AHEAD_NS (100 * NS_PER_MS) /* of the rate, within which more is begun */

/* ---- groups ---- */

/* The first whose number is not below pg; they are sorted. */
static size_t group_at(const struct repair_agent *a, uint32_t pg)
{
    size_t low = 0, high = a->group_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (a->groups[mid]->pg < pg)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct repair_group *group_find(const struct repair_agent *a, uint32_t pg)
{
    size_t at = group_at(a, pg);
    return at < a->group_count && a->groups[at]->pg == pg ? a->groups[at] : NULL;
}

struct repair_group *agent_group(const struct repair_agent *a, uint32_t pg)
{
    return group_find(a, pg);
}

static void group_free(struct repair_group *g)
{
    free(g->deep);
    free(g);
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
        for (unsigned i = 0; i < PASS_TURNS; i++)
            g->turn[i].due_ns = NEVER;
        size_t at = group_at(a, pg);
        memmove(&a->groups[at + 1], &a->groups[at],
                (a->group_count - at) * sizeof(struct repair_group *));
        a->groups[at] = g;
        a->group_count++;
    }
    return g;
}

static void groups_forget_unseen(struct repair_agent *a)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->group_count; i++) {
        struct repair_group *g = a->groups[i];
        bool busy = a->pass && a->pass->group == g; /* the next time, then */
        for (unsigned mode = 0; !g->seen && mode < PASS_TURNS; mode++)
            g->turn[mode].due_ns = NEVER;
        if (g->seen || busy)
            a->groups[kept++] = g;
        else
            group_free(g);
    }
    a->group_count = kept;
}

/* ---- what the map says ---- */

static const Cairn__NodeRecord *node_record(const struct repair_agent *a, const char *id)
{
    return map_client_node(a->map, id);
}

static bool node_is_up(const struct repair_agent *a, const char *id, bool *ret_draining)
{
    const Cairn__NodeRecord *node = node_record(a, id);
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

static bool names(char *const *ids, size_t count, const char *node_id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(ids[i], node_id) == 0)
            return true;
    return false;
}

/* It gets a place that it does not have. */
static bool is_joining(const struct repair_agent *a, const Cairn__PlacementGroup *pg)
{
    for (size_t i = 0; i < pg->n_next_members; i++)
        if (strcmp(pg->next_members[i], a->node_id) == 0 &&
            (i >= pg->n_members || strcmp(pg->members[i], a->node_id) != 0))
            return true;
    return false;
}

bool agent_is_member(const struct repair_agent *a, const Cairn__PlacementGroup *pg)
{
    return names(pg->members, pg->n_members, a->node_id) ||
           names(pg->next_members, pg->n_next_members, a->node_id);
}

static uint64_t view_of_nodes(const struct repair_agent *a, char *const *ids, size_t count,
                              uint64_t h)
{
    for (size_t i = 0; i < count; i++) {
        const Cairn__NodeRecord *node = node_record(a, ids[i]);
        uint64_t of_node[2] = {i, node && node->draining};
        h = hash64(h, SLICE((const uint8_t *)of_node, sizeof(of_node)));
        h = hash64(h, SLICE((const uint8_t *)ids[i], strlen(ids[i])));
        for (size_t k = 0; node && k < node->n_disks; k++) {
            uint64_t state = node->disks[k]->state;
            h = hash64(h, SLICE(node->disks[k]->disk_id.data, node->disks[k]->disk_id.len));
            h = hash64(h, SLICE((const uint8_t *)&state, sizeof(state)));
        }
    }
    return h;
}

/* All that decides whether a group's turn has come, but who is up, as one number; never 0. */
static uint64_t view_of(const struct repair_agent *a, const Cairn__PlacementGroup *pg)
{
    uint64_t h = view_of_nodes(a, pg->members, pg->n_members, pg->epoch);
    h = view_of_nodes(a, pg->next_members, pg->n_next_members, h);
    return h ? h : 1;
}

/* Which members are up, and next members behind them, a bit each. */
static uint64_t up_of(const struct repair_agent *a, const Cairn__PlacementGroup *pg)
{
    uint64_t up = 0;
    bool draining;
    for (size_t i = 0; i < pg->n_members && i < PLAN_SHARDS_MAX; i++)
        up |= (uint64_t)node_is_up(a, pg->members[i], &draining) << i;
    for (size_t i = 0; i < pg->n_next_members && i < PLAN_SHARDS_MAX; i++)
        up |= (uint64_t)node_is_up(a, pg->next_members[i], &draining) << (PLAN_SHARDS_MAX + i);
    return up;
}

/* ---- turns ---- */

uint64_t agent_backoff_ns(const struct repair_agent *a, unsigned tries)
{
    return MIN(a->config.interval_ns, a->config.retry_ns << MIN(tries, RETRY_DOUBLINGS));
}

static void turn_now(struct repair_agent *a, struct repair_turn *t)
{
    *t = (struct repair_turn){.due_ns = env_now_ns(a->env)};
}

static void group_plan(struct repair_agent *a, const Cairn__PlacementGroup *pg, bool first)
{
    int margin;
    bool repairs = is_repairer(a, pg, &margin), joins = is_joining(a, pg);
    bool member = agent_is_member(a, pg);
    struct repair_group *g = member ? group_get(a, pg->id) : NULL;
    if (!g)
        return;
    uint64_t view = view_of(a, pg), up = up_of(a, pg);
    /* Without one that has gone there is nothing more to do than with it. */
    bool changed = g->view != view || (up & ~g->up), fewer = g->up & ~up,
         took_over = repairs && !g->repairs;
    bool leaves_out = first && !repairs && names(pg->members, pg->n_members, a->node_id);
    g->seen = true;
    g->margin = margin;
    g->view = view;
    g->up = up;
    g->repairs = repairs;
    g->joins = joins && g->filled_epoch != pg->epoch;
    if (repairs && (changed || took_over))
        turn_now(a, &g->turn[PASS_REPAIR]);
    if (!repairs) {
        g->turn[PASS_REPAIR].due_ns = NEVER;
        g->missing = g->endangered = g->beyond = g->missing_bytes = 0; /* somebody else's to say */
    }
    if (g->joins && (changed || fewer)) /* who is away need not close its epoch */
        turn_now(a, &g->turn[PASS_FILL]);
    if (!g->joins)
        g->turn[PASS_FILL].due_ns = NEVER;
    if (leaves_out)
        turn_now(a, &g->turn[PASS_CATCH_UP]);
}

void repair_agent_unfill(struct repair_agent *a)
{
    a->disks_lost++;
    for (size_t i = 0; i < a->group_count; i++) {
        struct repair_group *g = a->groups[i];
        const Cairn__PlacementGroup *pg = map_client_pg(a->map, g->pg);
        if (g->filled_epoch && pg && is_joining(a, pg)) {
            g->joins = true;
            turn_now(a, &g->turn[PASS_FILL]);
        }
        g->filled_epoch = 0;
    }
}

/* The map is another one than that of the last time.  What memory is lacking for is planned with
 * the next. */
static void plan_all(struct repair_agent *a, const Cairn__ClusterMap *map)
{
    bool first = !a->started;
    for (size_t i = 0; i < a->group_count; i++)
        a->groups[i]->seen = false;
    a->planned_version = map->version;
    for (size_t i = 0; i < map->n_pgs; i++) {
        group_plan(a, map->pgs[i], first);
        if (agent_is_member(a, map->pgs[i]) && !group_find(a, map->pgs[i]->id))
            a->planned_version = 0;
    }
    a->started = a->started || a->planned_version != 0;
    groups_forget_unseen(a);
}

/* The group and the mode whose turn it is: the fewest losses that it bears, first; NULL: none's.
 * *ret_ns: when the next turn comes. */
static struct repair_group *turn_next(const struct repair_agent *a, uint64_t now_ns,
                                      enum pass_mode *ret_mode, uint64_t *ret_ns)
{
    struct repair_group *best = NULL;
    *ret_ns = NEVER;
    for (size_t i = 0; i < a->group_count; i++)
        for (unsigned mode = 0; mode < PASS_TURNS; mode++) {
            struct repair_group *g = a->groups[i];
            *ret_ns = MIN(*ret_ns, g->turn[mode].due_ns);
            if (g->turn[mode].due_ns > now_ns ||
                (best && (g->margin > best->margin ||
                          (g->margin == best->margin &&
                           g->turn[mode].due_ns >= best->turn[*ret_mode].due_ns))))
                continue;
            best = g;
            *ret_mode = (enum pass_mode)mode;
        }
    return best;
}

static void sleep_until(struct repair_agent *a, uint64_t now_ns, uint64_t due_ns)
{
    uint64_t ns = due_ns > now_ns ? due_ns - now_ns : 0;
    env_timer_start(&a->timer, MIN(ns, LOOK_NS));
}

bool agent_wants_other(struct repair_agent *a, const struct pass *p)
{
    const Cairn__ClusterMap *map = map_client_map(a->map);
    uint64_t now = env_now_ns(a->env);
    if (map && map->version != a->planned_version)
        plan_all(a, map);
    for (size_t i = 0; p->mode != PASS_FILL && i < a->group_count; i++) {
        const struct repair_group *g = a->groups[i];
        for (unsigned mode = 0; mode < PASS_TURNS; mode++)
            if (g->turn[mode].due_ns <= now && g->margin <= 0 && g->margin < p->group->margin)
                return true;
    }
    return false;
}

static void spots_step(struct env_timer *timer)
{
    struct repair_agent *a = container_of(timer, struct repair_agent, spot_timer);
    uint64_t now = env_now_ns(a->env), due_ns = spots_due_ns(a);
    CHECK(!a->spot_pass);
    if (a->stopped || due_ns == NEVER)
        return;
    if (due_ns > now || !map_client_map(a->map)) {
        env_timer_start(timer, due_ns > now ? due_ns - now : LOOK_NS);
        return;
    }
    a->spot_group = (struct repair_group){0};
    int err = pass_start(a, &a->spot_group, PASS_SPOT);
    if (err == OK)
        return;
    spots_release(a);
    env_timer_start(timer, err == ERR_NOMEM ? a->config.retry_ns : 0);
}

static void agent_step(struct env_timer *timer)
{
    struct repair_agent *a = container_of(timer, struct repair_agent, timer);
    const Cairn__ClusterMap *map = map_client_map(a->map);
    uint64_t now = env_now_ns(a->env), due_ns;
    enum pass_mode mode = PASS_REPAIR;
    CHECK(!a->pass);
    if (a->stopped)
        return;
    if (!map) {
        env_timer_start(&a->timer, LOOK_NS);
        return;
    }
    if (map->version != a->planned_version)
        plan_all(a, map);
    struct repair_group *g = turn_next(a, now, &mode, &due_ns);
    if (!g) {
        sleep_until(a, now, due_ns);
        return;
    }
    g->turn[mode].due_ns = NEVER; /* what the map changes meanwhile brings it forward */
    if (pass_start(a, g, mode) == OK)
        return;
    a->stats.passes_failed++;
    g->turn[mode].due_ns = now + agent_backoff_ns(a, g->turn[mode].tries++);
    env_timer_start(&a->timer, 0);
}

/* When a group is looked into again, if nothing happens before. */
static void turn_plan(struct repair_agent *a, const struct pass_result *r)
{
    struct repair_turn *t = &r->group->turn[r->mode];
    if (!r->group->seen)
        return; /* it is not ours any more */
    uint64_t now = env_now_ns(a->env), wall_ms = env_wall_ms(a->env), due = NEVER;
    bool again = r->err != OK || r->left;
    if (r->made_way)
        due = now;
    else if (again)
        due = now + agent_backoff_ns(a, t->tries);
    else if (r->mode == PASS_REPAIR)
        due = now + a->config.interval_ns;
    if (r->young_ms && r->mode != PASS_FILL) {
        uint64_t wait_ms = r->young_ms > wall_ms ? r->young_ms - wall_ms : 0;
        due = MIN(due, now + MAX(wait_ms * NS_PER_MS, a->config.retry_ns));
    }
    t->tries = again ? t->tries + 1 : 0;
    t->due_ns = MIN(t->due_ns, due);
}

void agent_pass_ended(struct repair_agent *a, const struct pass_result *result)
{
    bool spots = result->mode == PASS_SPOT;
    a->pass_ended_ms = env_wall_ms(a->env);
    if (spots) {
        a->spot_pass = NULL;
        spots_release(a);
    } else {
        a->pass = NULL;
        turn_plan(a, result);
    }
    if (!a->stopped)
        env_timer_start(spots ? &a->spot_timer : &a->timer, 0);
}

/* Drops the windows that are over. */
static void rate_advance(struct repair_agent *a)
{
    uint64_t window = env_now_ns(a->env) / RATE_WINDOW_NS;
    for (unsigned i = 0; a->rate_window < window && i < RATE_WINDOWS; i++)
        a->rate_bytes[++a->rate_window % RATE_WINDOWS] = 0;
    a->rate_window = window;
}

void agent_repaired(struct repair_agent *a, uint64_t bytes)
{
    rate_advance(a);
    a->rate_bytes[a->rate_window % RATE_WINDOWS] += bytes;
}

/* Bytes a second over the last windows, or since the start. */
static uint64_t rate_of(struct repair_agent *a)
{
    uint64_t sum = 0, now = env_now_ns(a->env);
    uint64_t ns = (RATE_WINDOWS - 1) * RATE_WINDOW_NS + now % RATE_WINDOW_NS;
    rate_advance(a);
    for (unsigned i = 0; i < RATE_WINDOWS; i++)
        sum += a->rate_bytes[i];
    ns = MAX(MIN(ns, now - a->started_ns), NS_PER_SEC);
    return sum * 1000 / (ns / NS_PER_MS);
}

uint64_t agent_pace(void *agent, uint64_t bytes, bool endangered)
{
    struct repair_agent *a = agent;
    uint64_t now = env_now_ns(a->env), start = MAX(now, a->free_ns);
    uint64_t rate = endangered ? a->config.bytes_per_sec_endangered : a->config.bytes_per_sec;
    a->free_ns = start + bytes * NS_PER_SEC / rate;
    return start - now;
}

bool agent_is_ahead(const struct repair_agent *a)
{
    return a->free_ns > env_now_ns(a->env) + AHEAD_NS;
}

/* ---- lifecycle ---- */

int repair_agent_new(struct rpc *rpc, struct map_client *map, const struct repair_config *config,
                     struct repair_agent **ret)
{
    if (strlen(config->node_id) >= NET_NODE_ID_MAX || config->parallel > REPAIR_PARALLEL_MAX)
        return ERR_INVAL;
    struct repair_agent *a = calloc(1, sizeof(*a));
    struct repair_spot *spots = calloc(REPAIR_SPOTS_MAX + REPAIR_HINTS_MAX, sizeof(*spots));
    if (!a || !spots) {
        free(a);
        free(spots);
        return ERR_NOMEM;
    }
    *a = (struct repair_agent){
        .rpc = rpc, .env = rpc_env(rpc), .map = map, .config = *config, .spots = spots};
    a->started_ns = env_now_ns(a->env);
    a->rate_window = a->started_ns / RATE_WINDOW_NS;
    snprintf(a->node_id, sizeof(a->node_id), "%s", config->node_id);
    struct repair_config *c = &a->config;
    c->node_id = a->node_id;
    c->repair_age_ms = c->repair_age_ms ? c->repair_age_ms : 120000;
    c->interval_ns = c->interval_ns ? c->interval_ns : 60 * NS_PER_SEC;
    c->retry_ns = c->retry_ns ? c->retry_ns : NS_PER_SEC;
    c->bytes_per_sec = c->bytes_per_sec ? c->bytes_per_sec : 32u << 20;
    c->bytes_per_sec_endangered =
        c->bytes_per_sec_endangered ? c->bytes_per_sec_endangered : 256u << 20;
    c->blob_bytes_max = c->blob_bytes_max ? c->blob_bytes_max : 24u << 20;
    c->seen_ns_max = c->seen_ns_max ? c->seen_ns_max : 600 * NS_PER_SEC;
    c->parallel = c->parallel ? c->parallel : 4;
    c->timeout_ns = c->timeout_ns ? c->timeout_ns : 10 * NS_PER_SEC;
    env_timer_init(a->env, &a->timer, agent_step);
    env_timer_start(&a->timer, 0);
    env_timer_init(a->env, &a->spot_timer, spots_step);
    c->deep_period_ms = c->deep_period_ms ? c->deep_period_ms : 30ull * 86400000;
    c->deep_bytes_per_sec = c->deep_bytes_per_sec ? c->deep_bytes_per_sec : 16u << 20;
    deep_init(a);
    *ret = a;
    return OK;
}

void repair_agent_stop(struct repair_agent *a)
{
    a->stopped = true;
    env_timer_stop(&a->timer);
    env_timer_stop(&a->spot_timer);
    if (a->pass)
        pass_cancel(a->pass);
    if (a->spot_pass)
        pass_cancel(a->spot_pass);
    deep_stop(a);
}

bool repair_agent_idle(const struct repair_agent *a)
{
    return !a->pass && !a->timer.active && !a->spot_pass && !a->spot_timer.active &&
           deep_idle(a);
}

void repair_agent_free(struct repair_agent *a)
{
    if (!a)
        return;
    CHECK(!a->pass && !a->spot_pass && deep_idle(a));
    repair_metrics_forget(a);
    for (size_t i = 0; i < a->group_count; i++)
        group_free(a->groups[i]);
    free(a->groups);
    free(a->spots);
    free(a);
}

/* ---- what is said of it ---- */

/* While a pass is under way: what it has met so far, if that is more than the last one left. */
static uint64_t group_missing(const struct repair_agent *a, const struct repair_group *g)
{
    const struct pass *p = a->pass;
    bool now = p && p->group == g && p->mode == PASS_REPAIR;
    return now ? MAX(g->missing, p->missing + p->pending) : g->missing;
}

void repair_agent_stats(const struct repair_agent *a, struct repair_stats *ret)
{
    *ret = a->stats;
    ret->missing = ret->endangered = ret->beyond = ret->missing_bytes = 0;
    uint64_t now_ms = env_wall_ms(a->env), oldest_ms = deep_oldest_ms(a);
    ret->deep_oldest_age_s = oldest_ms ? (now_ms - MIN(now_ms, oldest_ms)) / 1000 : 0;
    for (size_t i = 0; i < a->group_count; i++) {
        ret->missing += group_missing(a, a->groups[i]);
        ret->missing_bytes += a->groups[i]->missing_bytes;
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
    ret->missing = group_missing(a, g);
    ret->endangered = g->endangered;
}

bool repair_agent_next_group(const struct repair_agent *a, size_t *pos, uint32_t *ret_pg)
{
    if (*pos >= a->group_count)
        return false;
    *ret_pg = a->groups[(*pos)++]->pg;
    return true;
}

void repair_agent_report_node(struct repair_agent *a, Cairn__NodeReport *ret)
{
    deep_report(a, ret);
    ret->repair_rate = rate_of(a);
    ret->repair_passes = a->stats.passes;
    ret->repair_passes_failed = a->stats.passes_failed;
    ret->repair_pass_ms = a->pass_ended_ms;
    ret->repair_bytes = a->stats.repaired_bytes;
    ret->repaired_shards = a->stats.repaired_shards;
    ret->repair_backlog_bytes = 0;
    for (size_t i = 0; i < a->group_count; i++) {
        ret->repair_backlog_bytes += a->groups[i]->missing_bytes;
        ret->repair_beyond += a->groups[i]->beyond;
    }
}
