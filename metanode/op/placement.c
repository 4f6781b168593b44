/* The root leader's driver of placement (docs/decisions/0014-placement.md).
 *
 *   report ──→ heard (memory) ──┐
 *                               ├─ pass: 1. PutNode      who is up, down, lost; disks; capacity
 *   map (applied) ──────────────┘        2. FinishPgChange   all closed, all filled
 *                                        3. AddPgs           what the cluster is to have
 *                                        4. BeginPgChange    the most endangered first
 *
 * A pass looks at a map that is as new as everything it has proposed itself, proposes, and waits
 * until all of that is applied before the next one looks; so it never acts twice on one finding,
 * and a proposal that was lost is made again from what the map says.  Steps 3 and 4 wait until this
 * leader has listened for as long as DOWN takes; it listens while it serves.  What the pure core
 * decides, and why: metanode/placement/. */
#include "metanode/op/placement.h"

#include <stdlib.h>

#define PROPOSALS_MAX 64 /* of a pass */

/* ---- what was heard ---- */

struct heard *placement_heard(struct placement *p, const char *node_id)
{
    for (size_t i = 0; i < p->heard_count; i++)
        if (strcmp(p->heard[i].node_id, node_id) == 0)
            return &p->heard[i];
    return NULL;
}

bool placement_given_up(const Cairn__NodeRecord *record, const Cairn__NodeReport *report)
{
    for (size_t i = 0; i < record->n_disks; i++) {
        const Cairn__DiskRecord *lost = record->disks[i];
        for (size_t k = 0; lost->state == CAIRN__DISK_STATE__DISK_LOST && report &&
                           k < report->n_disks; k++) {
            const Cairn__DiskReport *d = report->disks[k];
            if (d->state != CAIRN__DISK_STATE__DISK_LOST &&
                slice_eq(SLICE(lost->disk_id.data, lost->disk_id.len),
                         SLICE(d->disk_id.data, d->disk_id.len)))
                return true;
        }
    }
    return false;
}

static void forget(struct placement *p)
{
    for (size_t i = 0; i < p->heard_count; i++)
        cairn__node_report__free_unpacked(p->heard[i].report, NULL);
    p->heard_count = 0;
    p->info = (struct meta_placement_info){0};
}

static const Cairn__GroupReport *group_report(struct placement *p, const char *node_id, uint32_t pg)
{
    const struct heard *h = placement_heard(p, node_id);
    for (size_t i = 0; h && i < h->report->n_groups; i++)
        if (h->report->groups[i]->pg == pg)
            return h->report->groups[i];
    return NULL;
}

/* ---- the view ---- */

bool placement_leads(const struct replica *r)
{
    return r && replica_runs(r) && r->leading && !r->installing && !r->node->stopped &&
           !r->node->failed && visible_serving(&r->visible) != 0 &&
           index_applied(r->index) >= r->visible.noop;
}

static void add_reports(struct placement *p, struct placement_view *w)
{
    for (size_t i = 0; i < p->heard_count; i++) {
        const Cairn__NodeReport *report = p->heard[i].report;
        int node = placement_view_node(w, p->heard[i].node_id);
        for (size_t k = 0; node >= 0 && k < report->n_disks; k++)
            w->nodes[node].bytes_used += report->disks[k]->live_bytes;
        for (size_t k = 0; k < report->n_groups; k++) {
            uint64_t endangered = report->groups[k]->endangered;
            int group = endangered ? placement_view_group(w, report->groups[k]->pg) : -1;
            if (group >= 0)
                w->groups[group].endangered = MAX(w->groups[group].endangered, endangered);
        }
    }
}

int placement_look(struct placement *p, struct arena *a, struct placement_view *ret,
                   const Cairn__ClusterMap **ret_map)
{
    struct meta_node *n = p->replica->node;
    if (n->map && n->map->version < p->version)
        n->map_ns = 0; /* older than what this leader has written */
    const Cairn__ClusterMap *map = status_map(n);
    if (!map || map->version < p->version || map->version < p->replica->visible.noop)
        return ERR_NOT_READY;
    int err = placement_view_make(a, map->nodes, map->n_nodes, map->pgs, map->n_pgs, ret);
    if (err == OK)
        add_reports(p, ret);
    *ret_map = map;
    return err;
}

/* ---- proposals ---- */

void placement_proposed(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg)
{
    struct placement *p = arg;
    CHECK(p->under_way > 0);
    p->under_way--;
    if (err == OK && outcome) {
        p->version = MAX(p->version, outcome->index);
        err = outcome->err;
    }
    if (err != OK && r->leading)
        log_warn("placement.refused", 0, L_ERR(err));
}

static int propose(struct placement *p, Cairn__Command *command)
{
    int err = p->under_way < PROPOSALS_MAX ? propose_own(p->replica, command, placement_proposed, p)
                                           : ERR_OVERLOAD;
    p->under_way += err == OK;
    return err;
}

int placement_put_node(struct placement *p, Cairn__NodeRecord *node)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutNode put = CAIRN__PUT_NODE__INIT;
    put.node = node;
    command.op_case = CAIRN__COMMAND__OP_PUT_NODE;
    command.put_node = &put;
    return propose(p, &command);
}

/* ---- 1. nodes ---- */

static uint64_t silent_ms(const struct placement *p, const struct heard *h)
{
    uint64_t now = env_now_ns(p->replica->node->env), since = h ? h->ns : p->listening_ns;
    return now > since ? (now - since) / NS_PER_MS : 0;
}

bool placement_hears(struct placement *p, const Cairn__NodeRecord *record)
{
    const struct heard *h = placement_heard(p, record->node_id);
    return h && !placement_given_up(record, h->report) &&
           silent_ms(p, h) < p->replica->node->config.timeouts.node_down;
}

static bool set_disk(Cairn__DiskRecord *d, Cairn__DiskState state, uint64_t now_ms)
{
    if (d->state == state || d->state == CAIRN__DISK_STATE__DISK_LOST)
        return false; /* lost is lost for ever */
    d->state = state;
    d->state_since_ms = now_ms;
    return true;
}

/* The record's disks, and those reported besides, in a copy of their own.  *ret_changed is set if
 * there is anything new. */
static int merge_disks(struct arena *a, Cairn__NodeRecord *r, const Cairn__NodeReport *report,
                       uint64_t now_ms, bool *ret_changed)
{
    size_t reported = report ? report->n_disks : 0;
    Cairn__DiskRecord **all = arena_zalloc(a, (r->n_disks + reported + 1) * sizeof(all[0]));
    Cairn__DiskRecord *copies = arena_zalloc(a, (r->n_disks + reported + 1) * sizeof(copies[0]));
    size_t count = 0;
    if (!all || !copies)
        return ERR_NOMEM;
    for (; count < r->n_disks; count++) {
        copies[count] = *r->disks[count];
        all[count] = &copies[count];
    }
    for (size_t i = 0; i < reported; i++) {
        const Cairn__DiskReport *d = report->disks[i];
        size_t k = 0;
        while (k < count && !slice_eq(SLICE(all[k]->disk_id.data, all[k]->disk_id.len),
                                      SLICE(d->disk_id.data, d->disk_id.len)))
            k++;
        if (k == INDEX_DISKS_MAX)
            continue; /* its data is found all the same; only its loss could not be remembered */
        if (k == count) {
            cairn__disk_record__init(&copies[k]);
            copies[k].disk_id = d->disk_id;
            copies[k].state_since_ms = now_ms;
            all[count++] = &copies[k];
            *ret_changed = true;
        }
        *ret_changed |= set_disk(all[k], d->state, now_ms);
    }
    r->disks = all;
    r->n_disks = count;
    return OK;
}

static uint64_t capacity(const Cairn__NodeReport *report)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < report->n_disks; i++)
        if (report->disks[i]->state == CAIRN__DISK_STATE__DISK_UP)
            sum += MIN(report->disks[i]->bytes_total, UINT64_MAX / 2 / REPORT_BYTES_MAX);
    return sum;
}

/* What the log is to say of a node; true: it says something else now. */
static bool node_as_heard(struct placement *p, struct arena *a, Cairn__NodeRecord *r)
{
    const struct meta_timeouts *t = &p->replica->node->config.timeouts;
    static const Cairn__NodeState states[] = {[PLACE_UP] = CAIRN__NODE_STATE__NODE_UP,
                                              [PLACE_DOWN] = CAIRN__NODE_STATE__NODE_DOWN,
                                              [PLACE_LOST] = CAIRN__NODE_STATE__NODE_LOST};
    const struct heard *h = placement_heard(p, r->node_id);
    if (h && placement_given_up(r, h->report))
        h = NULL; /* its report came in before it was given up */
    const Cairn__NodeReport *report = h ? h->report : NULL;
    uint64_t now_ms = propose_time_ms(p->replica);
    bool changed = false;
    enum place_state was = r->state == CAIRN__NODE_STATE__NODE_UP     ? PLACE_UP
                           : r->state == CAIRN__NODE_STATE__NODE_DOWN ? PLACE_DOWN
                                                                      : PLACE_LOST;
    enum place_state is =
        place_state_of(was, h != NULL, silent_ms(p, h), t->node_down, t->node_lost);
    if (is != was) {
        r->state = states[is];
        r->state_since_ms = now_ms;
        changed = true;
    }
    if (merge_disks(a, r, report, now_ms, &changed) != OK)
        return false;
    uint64_t bytes = report ? capacity(report) : 0;
    uint64_t differ = bytes > r->bytes_total ? bytes - r->bytes_total : r->bytes_total - bytes;
    if (bytes && differ > r->bytes_total / 8) {
        r->bytes_total = bytes;
        changed = true;
    }
    return changed;
}

static void say_state(const Cairn__NodeRecord *was, const Cairn__NodeRecord *is)
{
    if (!was)
        log_info("placement.node_added", 0, L_STR("node", is->node_id), L_STR("zone", is->zone));
    else if (is->state == CAIRN__NODE_STATE__NODE_UP && was->state != is->state)
        log_info("placement.node_up", 0, L_STR("node", is->node_id));
    else if (was->state != is->state)
        log_warn(is->state == CAIRN__NODE_STATE__NODE_DOWN ? "placement.node_down"
                                                           : "placement.node_lost",
                 0, L_STR("node", is->node_id), L_STR("zone", is->zone));
}

static void put_nodes(struct placement *p, struct arena *a, const struct placement_view *w)
{
    for (size_t i = 0; i < w->v.node_count; i++) {
        Cairn__NodeRecord r = *w->records[i];
        if (node_as_heard(p, a, &r) && placement_put_node(p, &r) == OK)
            say_state(w->records[i], &r);
    }
    for (size_t i = 0; i < p->heard_count; i++) {
        const char *id = p->heard[i].node_id;
        const struct cluster_node *node = topology_node(p->replica->node, id);
        Cairn__NodeRecord r = CAIRN__NODE_RECORD__INIT;
        if (placement_view_node(w, id) >= 0 || !node || node->role != NET_ROLE_STORAGENODE)
            continue;
        r.node_id = node->id;
        r.zone = node->zone;
        r.role = node->role;
        r.addr = node->addr;
        r.admin_addr = node->admin;
        (void)node_as_heard(p, a, &r);
        if (placement_put_node(p, &r) == OK)
            say_state(NULL, &r);
    }
}

/* ---- 2. the end of changes ---- */

/* Nobody reachable takes writes of the old epoch any more. */
static bool is_closed(struct placement *p, const struct placement_view *w,
                      const Cairn__PlacementGroup *pg, const struct place_group *g)
{
    if (MUTANT(RELEASED_UNCLOSED))
        return true;
    for (size_t i = 0; i < pg->n_members; i++) {
        const Cairn__GroupReport *report = group_report(p, pg->members[i], pg->id);
        bool reachable = g->members[i] != PLACE_NONE && w->nodes[g->members[i]].state == PLACE_UP;
        if (reachable && (!report || report->closed_epoch < pg->epoch))
            return false;
    }
    return true;
}

/* Every new member has everything.  One that was lost on the way is replaced afterwards, if the
 * others can do without it and one more. */
static bool is_filled(struct placement *p, const struct placement_view *w,
                      const Cairn__PlacementGroup *pg, const struct place_group *g)
{
    unsigned good = 0, lost = 0;
    for (size_t i = 0; i < pg->n_next_members; i++) {
        const Cairn__GroupReport *report = group_report(p, pg->next_members[i], pg->id);
        const struct place_node *n = g->next[i] == PLACE_NONE ? NULL : &w->nodes[g->next[i]];
        bool is_new = g->next[i] == PLACE_NONE || g->next[i] != g->members[i];
        bool has_all = !is_new || (report && report->filled_epoch >= pg->epoch);
        good += n && n->state == PLACE_UP && has_all;
        lost += is_new && (!n || n->state == PLACE_LOST);
        if (is_new && !has_all && n && n->state != PLACE_LOST)
            return false;
    }
    return lost == 0 || good > g->scheme.data;
}

static void finish_changes(struct placement *p, const struct placement_view *w)
{
    for (size_t g = 0; g < w->v.group_count; g++) {
        Cairn__PlacementGroup *pg = w->pgs[g];
        Cairn__Command command = CAIRN__COMMAND__INIT;
        Cairn__FinishPgChange finish = CAIRN__FINISH_PG_CHANGE__INIT;
        if (!w->groups[g].changing || !is_closed(p, w, pg, &w->groups[g]) ||
            !is_filled(p, w, pg, &w->groups[g]))
            continue;
        finish.pg = pg->id;
        finish.epoch = pg->epoch;
        command.op_case = CAIRN__COMMAND__OP_FINISH_PG_CHANGE;
        command.finish_pg_change = &finish;
        if (propose(p, &command) == OK)
            log_info("placement.change_finished", 0, L_UINT("pg", pg->id),
                     L_UINT("epoch", pg->epoch + 1));
    }
}

/* ---- 3. new groups ---- */

static void add_groups(struct placement *p, struct arena *a, const struct placement_view *w,
                       const Cairn__ClusterMap *map)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__AddPgs add = CAIRN__ADD_PGS__INIT;
    uint32_t next_id = 0;
    for (size_t i = 0; i < map->n_pgs; i++)
        next_id = MAX(next_id, map->pgs[i]->id + 1);
    int err = placement_new_groups(a, w, p->replica->node->config.cluster, next_id,
                                   INDEX_ADD_PGS_MAX, &add.pgs, &add.n_pgs);
    if (err != OK)
        log_warn("placement.no_groups", 0, L_ERR(err));
    if (err != OK || add.n_pgs == 0)
        return;
    command.op_case = CAIRN__COMMAND__OP_ADD_PGS;
    command.add_pgs = &add;
    (void)propose(p, &command);
}

/* ---- 4. changes ---- */

static bool next_members(struct arena *a, const struct placement_view *w,
                         const struct place_change *c, char ***ret)
{
    char **ids = arena_zalloc(a, c->count * sizeof(ids[0]));
    for (unsigned i = 0; ids && i < c->count; i++) {
        if (c->next[i] == PLACE_NONE)
            return false;
        ids[i] = w->records[c->next[i]]->node_id;
    }
    *ret = ids;
    return ids != NULL;
}

Cairn__PlannedChange *placement_planned(struct arena *a, const struct placement_view *w,
                                        const struct place_change *c)
{
    Cairn__PlannedChange *m = arena_zalloc(a, sizeof(*m));
    char **next;
    if (!m || !next_members(a, w, c, &next))
        return NULL;
    cairn__planned_change__init(m);
    m->pg = w->pgs[c->group]->id;
    m->members = w->pgs[c->group]->members;
    m->n_members = w->pgs[c->group]->n_members;
    m->next_members = next;
    m->n_next_members = c->count;
    m->bytes = c->bytes;
    return m;
}

static void begin_change(struct placement *p, struct arena *a, const struct placement_view *w,
                         const struct place_change *c)
{
    static const char *const reasons[] = {[PLACE_LOSS] = "loss",
                                          [PLACE_DRAIN] = "drain",
                                          [PLACE_GROW] = "grow",
                                          [PLACE_SPREAD] = "spread",
                                          [PLACE_BALANCE] = "balance"};
    const Cairn__PlacementGroup *pg = w->pgs[c->group];
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__BeginPgChange begin = CAIRN__BEGIN_PG_CHANGE__INIT;
    if (!next_members(a, w, c, &begin.next_members))
        return;
    begin.n_next_members = c->count;
    begin.pg = pg->id;
    begin.epoch = pg->epoch;
    command.op_case = CAIRN__COMMAND__OP_BEGIN_PG_CHANGE;
    command.begin_pg_change = &begin;
    if (propose(p, &command) == OK)
        log_info("placement.change", 0, L_UINT("pg", pg->id), L_UINT("epoch", pg->epoch + 1),
                 L_STR("reason", reasons[c->reason]), L_UINT("moves", c->moves),
                 L_INT("margin", c->margin));
}

static void begin_changes(struct placement *p, struct arena *a, const struct placement_view *w)
{
    struct place_plan plan;
    size_t room = p->replica->node->config.limits.pg_changes_max;
    int err = place_plan(&w->v, PLANNED_MAX, &plan);
    if (err != OK) {
        log_warn("placement.no_plan", 0, L_ERR(err));
        return;
    }
    room -= MIN(room, p->info.changing);
    for (size_t i = 0; i < plan.count && i < room; i++)
        begin_change(p, a, w, &plan.changes[i]);
    if (plan.stuck > p->info.stuck)
        log_warn("placement.no_place", 0, L_UINT("groups", plan.stuck));
    p->info.planned = (unsigned)plan.count;
    p->info.stuck = (unsigned)plan.stuck;
    place_plan_fini(&plan);
}

/* ---- passes ---- */

static void count(struct placement *p, const struct placement_view *w)
{
    struct meta_placement_info *info = &p->info;
    info->nodes_up = info->nodes_down = info->nodes_lost = info->changing = 0;
    for (size_t i = 0; i < w->v.node_count; i++) {
        info->nodes_up += w->nodes[i].state == PLACE_UP;
        info->nodes_down += w->nodes[i].state == PLACE_DOWN;
        info->nodes_lost += w->nodes[i].state == PLACE_LOST;
    }
    for (size_t g = 0; g < w->v.group_count; g++)
        info->changing += w->groups[g].changing;
}

static void pass(struct placement *p)
{
    struct meta_node *n = p->replica->node;
    struct arena a = {0};
    struct placement_view w;
    const Cairn__ClusterMap *map;
    uint64_t listened = env_now_ns(n->env) - p->listening_ns;
    if (placement_look(p, &a, &w, &map) == OK) {
        count(p, &w);
        put_nodes(p, &a, &w);
        if (p->under_way == 0)
            finish_changes(p, &w);
        if (p->under_way == 0 && listened >= ms_to_ns(n->config.timeouts.node_down))
            add_groups(p, &a, &w, map);
        if (p->under_way == 0 && listened >= ms_to_ns(n->config.timeouts.node_down))
            begin_changes(p, &a, &w);
    }
    arena_fini(&a);
}

static struct placement *placement_of(struct replica *r)
{
    if (!r->placement && (r->placement = calloc(1, sizeof(*r->placement))) != NULL) {
        r->placement->replica = r;
        r->placement->listening_ns = r->placement->served_ns = env_now_ns(r->node->env);
        list_init(&r->placement->drains);
    }
    return r->placement;
}

void placement_tick(struct replica *r, uint64_t stalled_ns)
{
    struct placement *p = placement_of(r);
    uint64_t now = env_now_ns(r->node->env);
    if (!p)
        return;
    if (!placement_leads(r)) {
        p->deaf = true;
        return;
    }
    /* While this process stood still, reports may have come in that it has not seen yet; while it
     * could not serve (for a witness that is to be buried, say), it has refused them. */
    uint64_t lost_ns = p->deaf ? now - p->served_ns : stalled_ns;
    p->deaf = false;
    p->served_ns = now;
    for (size_t i = 0; i < p->heard_count; i++)
        p->heard[i].ns = MIN(now, p->heard[i].ns + lost_ns);
    p->listening_ns = MIN(now, p->listening_ns + lost_ns);
    if (r->node->draining || p->under_way > 0)
        return;
    placement_drains(p);
    if (p->under_way > 0 || now < p->due_ns)
        return;
    p->due_ns = now + ms_to_ns(r->node->config.timeouts.placement);
    pass(p);
}

void placement_elected(struct replica *r)
{
    struct placement *p = placement_of(r);
    if (!p)
        return; /* the first tick tries again */
    forget(p);
    p->listening_ns = p->served_ns = env_now_ns(r->node->env);
    p->deaf = true;
    p->due_ns = 0;
    p->version = 0;
}

void placement_stop(struct replica *r, int err)
{
    if (r->placement)
        placement_drains_fail(r->placement, err);
}

void placement_free(struct replica *r)
{
    if (!r->placement)
        return;
    forget(r->placement);
    while (!list_empty(&r->placement->drains))
        free(container_of(list_pop_front(&r->placement->drains), struct drain_wait, node));
    free(r->placement);
    r->placement = NULL;
}

void meta_node_placement_info(struct meta_node *n, struct meta_placement_info *ret)
{
    struct replica *r = node_replica(n, ROOT_PARTITION);
    *ret = (struct meta_placement_info){0};
    if (r && r->placement && placement_leads(r))
        *ret = r->placement->info;
}
