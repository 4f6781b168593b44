/* What storage nodes tell the root's leader, and what operators ask of it.  Any other metanode
 * answers ERR_NOT_LEADER and says where to go. */
#include "metanode/op/placement.h"

#include <stdio.h>
#include <stdlib.h>

/* The root's replica that may answer; NULL: not here, *ret_hint says where. */
static struct placement *leader(struct meta_node *n, char **ret_hint)
{
    struct replica *r = node_replica(n, ROOT_PARTITION);
    *ret_hint = (char *)(uintptr_t)(r ? status_leader_id(r) : "");
    return placement_leads(r) ? r->placement : NULL;
}

/* ---- root.node_report ---- */

static int check_report(const Cairn__NodeReport *m)
{
    if (m->n_disks > INDEX_DISKS_MAX || m->n_groups > CLUSTER_PGS_MAX ||
        cairn__node_report__get_packed_size(m) > REPORT_BYTES_MAX)
        return ERR_INVAL;
    for (size_t i = 0; i < m->n_disks; i++)
        if (m->disks[i]->disk_id.len != ID_BYTES ||
            (unsigned)m->disks[i]->state > CAIRN__DISK_STATE__DISK_LOST)
            return ERR_INVAL;
    return OK;
}

/* A storage node of the map, or of the cluster file, that was not given up.
 * Returns: OK; ERR_NOT_FOUND; ERR_NOT_READY (no map yet); ERR_REFUSED. */
static int check_node(struct meta_node *n, const Cairn__NodeReport *m)
{
    const Cairn__ClusterMap *map = status_map(n);
    const struct cluster_node *node = topology_node(n, m->node_id);
    if (!map)
        return ERR_NOT_READY;
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (strcmp(map->nodes[i]->node_id, m->node_id) != 0)
            continue;
        if (map->nodes[i]->role != NET_ROLE_STORAGENODE)
            return ERR_NOT_FOUND;
        if (!placement_given_up(map->nodes[i], m))
            return OK;
        log_warn("placement.given_up", 0, L_STR("node", m->node_id),
                 L_STR("do", "its disks were given up, and deletions did not wait for them: "
                             "empty their directories"));
        return ERR_REFUSED;
    }
    return node && node->role == NET_ROLE_STORAGENODE ? OK : ERR_NOT_FOUND;
}

static Cairn__NodeReport *copy_report(const Cairn__NodeReport *m)
{
    struct buf packed = {0};
    Cairn__NodeReport *copy = NULL;
    if (buf_reserve(&packed, cairn__node_report__get_packed_size(m)) == OK) {
        packed.len = cairn__node_report__pack(m, packed.ptr);
        copy = cairn__node_report__unpack(NULL, packed.len, packed.ptr);
    }
    buf_fini(&packed);
    return copy;
}

static int take_report(struct placement *p, const Cairn__NodeReport *m)
{
    struct heard *h = placement_heard(p, m->node_id);
    if (!h && p->heard_count == CLUSTER_NODES_MAX)
        return ERR_LIMIT;
    Cairn__NodeReport *copy = copy_report(m);
    if (!copy)
        return ERR_NOMEM;
    if (h) {
        cairn__node_report__free_unpacked(h->report, NULL);
    } else {
        h = &p->heard[p->heard_count++];
        snprintf(h->node_id, sizeof(h->node_id), "%s", m->node_id);
    }
    h->ns = env_now_ns(p->replica->node->env);
    h->report = copy;
    return OK;
}

void placement_serve_report(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__NodeReport *m = ((const Cairn__NodeReportRequest *)req->msg)->report;
    Cairn__NodeReportResponse answer = CAIRN__NODE_REPORT_RESPONSE__INIT;
    struct placement *p = leader(n, &answer.leader_hint);
    int err = OK;
    if (!m || check_report(m) != OK)
        err = ERR_INVAL;
    else if (strcmp(req->peer.node_id, m->node_id) != 0)
        err = ERR_AUTH; /* the certificate says who it is */
    else if (!p)
        err = ERR_NOT_LEADER;
    else
        err = check_node(n, m);
    if (err == OK)
        err = take_report(p, m);
    answer.map_version = n->map ? n->map->version : 0;
    rpc_reply(req, err, &answer.base, NULL, 0);
}

/* ---- plans ---- */

/* The changes that a plan would begin, in its order. */
static int show_plan(struct arena *a, const struct placement_view *w, Cairn__PlannedChange ***ret,
                     size_t *ret_count)
{
    struct place_plan plan;
    int err = place_plan(&w->v, PLANNED_MAX, &plan);
    *ret_count = 0;
    if (err != OK)
        return err;
    *ret = arena_zalloc(a, (plan.count + 1) * sizeof((*ret)[0]));
    for (size_t i = 0; *ret && i < plan.count; i++) {
        Cairn__PlannedChange *c = placement_planned(a, w, &plan.changes[i]);
        if (c)
            (*ret)[(*ret_count)++] = c;
    }
    place_plan_fini(&plan);
    return *ret ? OK : ERR_NOMEM;
}

/* ---- root.cluster_status ---- */

/* Of its groups only those that somebody must look at: the whole would be as large as the cluster.
 */
static Cairn__NodeReport *short_report(struct arena *a, const struct placement_view *w,
                                       const Cairn__NodeReport *report)
{
    Cairn__NodeReport *copy = arena_alloc(a, sizeof(*copy));
    if (!copy)
        return NULL;
    *copy = *report;
    copy->n_groups = 0;
    copy->groups = arena_zalloc(a, (report->n_groups + 1) * sizeof(copy->groups[0]));
    for (size_t i = 0; copy->groups && i < report->n_groups; i++) {
        Cairn__GroupReport *g = report->groups[i];
        int at = placement_view_group(w, g->pg);
        if (g->missing || g->endangered || (at >= 0 && w->groups[at].changing))
            copy->groups[copy->n_groups++] = g;
    }
    return copy->groups ? copy : NULL;
}

static int add_nodes(struct placement *p, struct arena *a, const struct placement_view *w,
                     const Cairn__ClusterMap *map, Cairn__ClusterStatusResponse *answer)
{
    uint64_t now = env_now_ns(p->replica->node->env);
    Cairn__NodeStatus *all = arena_zalloc(a, (map->n_nodes + 1) * sizeof(all[0]));
    answer->nodes = arena_zalloc(a, (map->n_nodes + 1) * sizeof(answer->nodes[0]));
    if (!all || !answer->nodes)
        return ERR_NOMEM;
    for (size_t i = 0; i < map->n_nodes; i++) {
        const struct heard *h = placement_heard(p, map->nodes[i]->node_id);
        cairn__node_status__init(&all[i]);
        all[i].record = map->nodes[i];
        all[i].report = h ? short_report(a, w, h->report) : NULL;
        all[i].heard_ms_ago = (now - MIN(now, h ? h->ns : p->listening_ns)) / NS_PER_MS;
        answer->nodes[answer->n_nodes++] = &all[i];
    }
    return OK;
}

static int fill_status(struct placement *p, struct arena *a, Cairn__ClusterStatusResponse *answer)
{
    struct placement_view w;
    const Cairn__ClusterMap *map;
    int err = placement_look(p, a, &w, &map);
    if (err == OK)
        err = add_nodes(p, a, &w, map, answer);
    if (err == OK)
        err = show_plan(a, &w, &answer->planned, &answer->n_planned);
    if (err != OK)
        return err;
    answer->map_version = map->version;
    answer->pgs = map->pgs;
    answer->n_pgs = map->n_pgs;
    answer->zones_down = arena_zalloc(a, (w.v.zone_count + 1) * sizeof(answer->zones_down[0]));
    for (unsigned z = 0; answer->zones_down && z < w.v.zone_count; z++)
        if (place_zone_is_down(&w.v, z))
            answer->zones_down[answer->n_zones_down++] = w.zones[z];
    return answer->zones_down ? OK : ERR_NOMEM;
}

int placement_status(struct replica *r, uint64_t index, struct arena *a,
                     Cairn__ClusterStatusResponse *ret)
{
    struct meta_node *n = r->node;
    if (!r->placement || !placement_leads(r))
        return ERR_NOT_READY;
    if (n->map && n->map->version < index)
        n->map_ns = 0; /* the one that is kept is older */
    int err = fill_status(r->placement, a, ret);
    return err == OK && ret->map_version < index ? ERR_NOT_READY : err;
}

/* ---- root.drain_node ---- */

static void reply_drain(struct replica *r, struct rpc_request *req, int err,
                        Cairn__DrainNodeResponse *answer)
{
    Cairn__DrainNodeResponse hint = CAIRN__DRAIN_NODE_RESPONSE__INIT;
    hint.leader_hint = (char *)(uintptr_t)(r ? status_leader_id(r) : "");
    if (answer)
        answer->leader_hint = hint.leader_hint;
    rpc_reply(req, err, answer ? &answer->base : &hint.base, NULL, 0);
}

static void drain_proposed(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg)
{
    struct drain_wait *d = arg;
    placement_proposed(r, err, outcome, d->placement);
    reply_drain(r, d->req, err == OK && outcome ? outcome->err : err, NULL);
    free(d);
}

/* The node's record with the operator's word in it. */
static int propose_drain(struct placement *p, struct drain_wait *d, Cairn__NodeRecord *record)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutNode put = CAIRN__PUT_NODE__INIT;
    put.node = record;
    command.op_case = CAIRN__COMMAND__OP_PUT_NODE;
    command.put_node = &put;
    int err = propose_own(p->replica, &command, drain_proposed, d);
    if (err == OK)
        p->under_way++;
    return err;
}

/* Whose operator drains it when it is lost does not expect it back: all its disks are LOST from now
 * on.  (Being drained, and away for long afterwards, says nothing of the kind.  Nor does the
 * operator's word of one that has come back since: it is drained like any other.)
 * *ret: there was one that was not.  Returns: OK; ERR_NOMEM. */
static int give_up(struct arena *a, Cairn__NodeRecord *r, uint64_t now_ms, bool *ret)
{
    Cairn__DiskRecord **disks = arena_alloc(a, (r->n_disks + 1) * sizeof(*disks));
    Cairn__DiskRecord *copies = arena_alloc(a, (r->n_disks + 1) * sizeof(*copies));
    if (!disks || !copies)
        return ERR_NOMEM;
    for (size_t i = 0; i < r->n_disks; i++) {
        copies[i] = *r->disks[i];
        disks[i] = &copies[i];
        if (copies[i].state == CAIRN__DISK_STATE__DISK_LOST)
            continue;
        copies[i].state = CAIRN__DISK_STATE__DISK_LOST;
        copies[i].state_since_ms = now_ms;
        *ret = true;
    }
    r->disks = disks;
    return OK;
}

/* The record after the operator's word.  *ret_changed: it is another one. */
static int drained_record(struct placement *p, struct arena *a, bool undrain, Cairn__NodeRecord *r,
                          bool *ret_changed)
{
    *ret_changed = r->draining == undrain;
    r->draining = !undrain;
    if (undrain || r->state != CAIRN__NODE_STATE__NODE_LOST || placement_hears(p, r))
        return OK;
    return give_up(a, r, propose_time_ms(p->replica), ret_changed);
}

/* Takes d. */
static void drain(struct placement *p, struct drain_wait *d)
{
    const Cairn__DrainNodeRequest *m = (const Cairn__DrainNodeRequest *)d->req->msg;
    Cairn__DrainNodeResponse answer = CAIRN__DRAIN_NODE_RESPONSE__INIT;
    struct arena a = {0};
    struct placement_view w;
    const Cairn__ClusterMap *map;
    int err = placement_look(p, &a, &w, &map);
    int node = err == OK ? placement_view_node(&w, m->node_id) : -1;
    if (err == OK && node < 0)
        err = ERR_NOT_FOUND;
    if (err == OK && m->plan_only) {
        w.nodes[node].draining = !m->undrain;
        err = show_plan(&a, &w, &answer.planned, &answer.n_planned);
    } else if (err == OK) {
        Cairn__NodeRecord record = *w.records[node];
        bool changed;
        err = drained_record(p, &a, m->undrain, &record, &changed);
        if (err == OK && changed) {
            log_info("placement.drain", 0, L_STR("node", m->node_id),
                     L_BOOL("draining", record.draining));
            err = propose_drain(p, d, &record);
            if (err == OK) {
                arena_fini(&a);
                return; /* drain_proposed() answers */
            }
        }
    }
    reply_drain(p->replica, d->req, err, err == OK ? &answer : NULL);
    arena_fini(&a);
    free(d);
}

void placement_drains(struct placement *p)
{
    while (p->under_way == 0 && !list_empty(&p->drains)) {
        p->drain_count--;
        drain(p, container_of(list_pop_front(&p->drains), struct drain_wait, node));
    }
}

void placement_drains_fail(struct placement *p, int err)
{
    while (!list_empty(&p->drains)) {
        struct drain_wait *d = container_of(list_pop_front(&p->drains), struct drain_wait, node);
        p->drain_count--;
        reply_drain(p->replica, d->req, err, NULL);
        free(d);
    }
}

void placement_serve_drain(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    char *hint;
    struct placement *p = leader(n, &hint);
    struct drain_wait *d = NULL;
    int err = !p                             ? ERR_NOT_LEADER
              : p->drain_count == DRAINS_MAX ? ERR_OVERLOAD
              : !(d = calloc(1, sizeof(*d))) ? ERR_NOMEM
                                             : OK;
    if (err != OK) {
        reply_drain(node_replica(n, ROOT_PARTITION), req, err, NULL);
        return;
    }
    d->req = req;
    d->placement = p;
    list_push_back(&p->drains, &d->node);
    p->drain_count++;
}
