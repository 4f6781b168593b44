/* Verdicts on the cluster's state: see health.h. */
#include "gateway/admin/health.h"

#include "common/base/check.h"
#include "common/env/net.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

static const char *const node_names[] = {"up", "silent", "down", "lost", "unreported"};
static const char *const pg_names[] = {"well", "changing", "degraded", "endangered", "unreadable"};
static const char *const health_names[] = {"ok", "degraded", "critical"};

const char *node_health_name(enum node_health h)
{
    CHECK((unsigned)h < ARRAY_COUNT(node_names));
    return node_names[h];
}

const char *pg_health_name(enum pg_health h)
{
    CHECK((unsigned)h < ARRAY_COUNT(pg_names));
    return pg_names[h];
}

const char *health_name(enum health h)
{
    CHECK((unsigned)h < ARRAY_COUNT(health_names));
    return health_names[h];
}

bool view_is_storage(const Cairn__NodeStatus *node)
{
    return node->record && node->record->role == NET_ROLE_STORAGENODE;
}

enum node_health node_health(const Cairn__NodeStatus *node, bool answers)
{
    const Cairn__NodeRecord *r = node->record;
    if (r->state == CAIRN__NODE_STATE__NODE_UP)
        return answers ? NODE_IS_UP : NODE_IS_SILENT;
    if (answers && !node->report && r->n_disks == 0)
        return NODE_IS_UNREPORTED;
    return r->state == CAIRN__NODE_STATE__NODE_LOST ? NODE_IS_LOST : NODE_IS_DOWN;
}

static int view_node_cmp(const void *a, const void *b)
{
    const struct view_node *x = a, *y = b;
    return strcmp(x->node_id, y->node_id);
}

void view_init(struct cluster_view *v, const Cairn__ClusterStatusResponse *status,
               const bool *answers, struct view_node *nodes)
{
    *v = (struct cluster_view){.status = status, .answers = answers, .nodes = nodes};
    for (size_t i = 0; i < status->n_nodes; i++)
        if (view_is_storage(status->nodes[i]))
            nodes[v->node_count++] = (struct view_node){status->nodes[i]->record->node_id,
                                                        node_health(status->nodes[i], answers[i])};
    if (v->node_count)
        qsort(nodes, v->node_count, sizeof(*nodes), view_node_cmp);
}

static bool is_there(const struct cluster_view *v, const char *node_id)
{
    struct view_node key = {.node_id = node_id};
    const struct view_node *n =
        v->node_count ? bsearch(&key, v->nodes, v->node_count, sizeof(key), view_node_cmp) : NULL;
    return n && (n->is == NODE_IS_UP || n->is == NODE_IS_UNREPORTED);
}

enum pg_health pg_health(const struct cluster_view *v, const Cairn__PlacementGroup *pg)
{
    size_t there = 0, needed = pg->data_shards ? pg->data_shards : 1;
    for (size_t i = 0; i < pg->n_members; i++)
        there += is_there(v, pg->members[i]);
    if (there < needed)
        return PG_IS_UNREADABLE;
    if (there == pg->n_members)
        return pg->n_next_members ? PG_IS_CHANGING : PG_IS_WELL;
    return there == needed ? PG_IS_ENDANGERED : PG_IS_DEGRADED;
}

static void node_facts(const Cairn__NodeStatus *n, struct health_facts *f)
{
    const Cairn__NodeReport *r = n->report;
    if (!r)
        return;
    f->backlog_bytes += r->repair_backlog_bytes;
    for (size_t i = 0; i < r->n_disks; i++) {
        const Cairn__DiskReport *d = r->disks[i];
        f->disks++;
        f->bytes_total += d->bytes_total;
        f->bytes_free += d->bytes_free;
        f->live_bytes += d->live_bytes;
        f->dead_bytes += d->dead_bytes;
        if (d->state != CAIRN__DISK_STATE__DISK_UP)
            f->disks_failed++;
        else if (!d->writable)
            f->disks_full++;
        f->disks_slow += d->state == CAIRN__DISK_STATE__DISK_UP && d->slow;
    }
    for (size_t i = 0; i < r->n_groups; i++) {
        f->missing += r->groups[i]->missing;
        f->endangered += r->groups[i]->endangered;
    }
}

void health_facts(const struct cluster_view *v, struct health_facts *f)
{
    *f = (struct health_facts){.zones_down = v->status->n_zones_down, .pg_count = v->status->n_pgs};
    for (size_t i = 0; i < v->status->n_nodes; i++) {
        const Cairn__NodeStatus *n = v->status->nodes[i];
        if (!view_is_storage(n))
            continue;
        enum node_health h = node_health(n, v->answers[i]);
        f->nodes++;
        f->nodes_silent += h == NODE_IS_SILENT;
        /* One that is drained is missed only where a group still names it. */
        f->nodes_down += h == NODE_IS_DOWN && !n->record->draining;
        f->nodes_lost += h == NODE_IS_LOST && !n->record->draining;
        f->nodes_unreported += h == NODE_IS_UNREPORTED;
        node_facts(n, f);
    }
    for (size_t i = 0; i < v->status->n_pgs; i++)
        f->pgs[pg_health(v, v->status->pgs[i])]++;
}

/* Worst first. */
#define FACT(field) offsetof(struct health_facts, field)
static const struct {
    size_t fact;
    enum health is;
    const char *text;
} reasons[] = {
    {FACT(pgs[PG_IS_UNREADABLE]), HEALTH_CRITICAL, "placement group(s) cannot be read"},
    {FACT(pgs[PG_IS_ENDANGERED]), HEALTH_CRITICAL,
     "placement group(s) have no member left that may be lost"},
    {FACT(endangered), HEALTH_CRITICAL, "blob(s) have no shard left that may be lost"},
    {FACT(zones_down), HEALTH_DEGRADED, "zone(s) are down"},
    {FACT(nodes_lost), HEALTH_DEGRADED, "storage node(s) are lost"},
    {FACT(nodes_down), HEALTH_DEGRADED, "storage node(s) are down"},
    {FACT(nodes_silent), HEALTH_DEGRADED, "storage node(s) do not answer"},
    {FACT(disks_failed), HEALTH_DEGRADED, "disk(s) are out of service"},
    {FACT(disks_full), HEALTH_DEGRADED, "disk(s) take no writes"},
    {FACT(disks_slow), HEALTH_DEGRADED, "disk(s) are slow"},
    {FACT(pgs[PG_IS_DEGRADED]), HEALTH_DEGRADED, "placement group(s) miss members"},
    {FACT(missing), HEALTH_DEGRADED, "shard(s) are missing or damaged, and being repaired"},
};
#undef FACT
static_assert(ARRAY_COUNT(reasons) <= HEALTH_REASONS_MAX, "all fit");

enum health health_verdict(const struct health_facts *f,
                           struct health_reason ret[HEALTH_REASONS_MAX], size_t *ret_count)
{
    enum health worst = HEALTH_OK;
    *ret_count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++) {
        uint64_t count;
        memcpy(&count, (const uint8_t *)f + reasons[i].fact, sizeof(count));
        if (count == 0)
            continue;
        worst = MAX(worst, reasons[i].is);
        ret[(*ret_count)++] = (struct health_reason){reasons[i].is, count, reasons[i].text};
    }
    return worst;
}

/* ---- may a node be taken away for good? ---- */

static bool names(char *const *ids, size_t count, const char *node_id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(ids[i], node_id) == 0)
            return true;
    return false;
}

void removable_check(const Cairn__ClusterStatusResponse *s, const char *node_id,
                     struct removable *ret)
{
    *ret = (struct removable){0};
    for (size_t i = 0; i < s->n_nodes; i++) {
        if (!view_is_storage(s->nodes[i]) || strcmp(s->nodes[i]->record->node_id, node_id) != 0)
            continue;
        ret->known = true;
        ret->draining = s->nodes[i]->record->draining;
    }
    for (size_t i = 0; i < s->n_pgs; i++) {
        ret->member_of += names(s->pgs[i]->members, s->pgs[i]->n_members, node_id);
        ret->next_member_of += names(s->pgs[i]->next_members, s->pgs[i]->n_next_members, node_id);
    }
    for (size_t i = 0; i < s->n_planned; i++)
        ret->planned_for +=
            names(s->planned[i]->members, s->planned[i]->n_members, node_id) ||
            names(s->planned[i]->next_members, s->planned[i]->n_next_members, node_id);
    ret->safe =
        ret->known && ret->draining && ret->member_of + ret->next_member_of + ret->planned_for == 0;
}
