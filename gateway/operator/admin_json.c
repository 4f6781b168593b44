/* The operator's answers as JSON. */
#include "common/base/check.h"
#include "common/base/id.h"
#include "gateway/admin/health.h"
#include "gateway/operator/admin.h"

json_t *json_uint(uint64_t n)
{
    return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

void json_set(json_t **object, const char *name, json_t *value)
{
    if (json_object_set_new(*object, name, value) == 0) /* takes the value, whatever comes */
        return;
    json_decref(*object);
    *object = NULL;
}

void json_append(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value) == 0)
        return;
    json_decref(*array);
    *array = NULL;
}

json_t *json_text(const char *s)
{
    json_t *value = json_string(s);
    return value ? value : json_string("(no UTF-8)");
}

/* ---- nodes and disks ---- */

static void node_sums(const Cairn__NodeReport *r, json_t **o)
{
    uint64_t total = 0, unused = 0, missing = 0, endangered = 0;
    for (size_t i = 0; r && i < r->n_disks; i++) {
        total += r->disks[i]->bytes_total;
        unused += r->disks[i]->bytes_free;
    }
    for (size_t i = 0; r && i < r->n_groups; i++) {
        missing += r->groups[i]->missing;
        endangered += r->groups[i]->endangered;
    }
    json_set(o, "disks", json_uint(r ? r->n_disks : 0));
    json_set(o, "bytes_total", json_uint(total));
    json_set(o, "bytes_free", json_uint(unused));
    json_set(o, "repair_backlog_bytes", json_uint(r ? r->repair_backlog_bytes : 0));
    json_set(o, "missing", json_uint(missing));
    json_set(o, "endangered", json_uint(endangered));
}

static json_t *node_json(const struct cluster_view *v, size_t i)
{
    const Cairn__NodeStatus *n = v->status->nodes[i];
    json_t *o = json_object();
    json_set(&o, "node", json_string(n->record->node_id));
    json_set(&o, "zone", json_string(n->record->zone));
    json_set(&o, "state", json_string(node_health_name(node_health(n, v->answers[i]))));
    json_set(&o, "draining", json_boolean(n->record->draining));
    json_set(&o, "answers", json_boolean(v->answers[i]));
    json_set(&o, "heard_ms_ago", n->report ? json_uint(n->heard_ms_ago) : json_null());
    node_sums(n->report, &o);
    return o;
}

static json_t *nodes_array(const struct cluster_view *v)
{
    json_t *all = json_array();
    for (size_t i = 0; i < v->status->n_nodes; i++)
        if (view_is_storage(v->status->nodes[i]))
            json_append(&all, node_json(v, i));
    return all;
}

static json_t *disk_json(const char *node_id, const Cairn__DiskReport *d)
{
    static const char *const states[] = {"up", "failed", "lost"};
    struct id128 id = {0};
    char hex[ID_HEX_CHARS + 1];
    json_t *o = json_object();
    id128_from_slice(bytes_of(d->disk_id), &id);
    id128_hex(id, hex);
    json_set(&o, "node", json_string(node_id));
    json_set(&o, "disk", json_string(hex));
    json_set(&o, "path", json_text(d->path));
    json_set(&o, "state",
             json_string((unsigned)d->state < ARRAY_COUNT(states) ? states[d->state] : "unknown"));
    json_set(&o, "writable", json_boolean(d->writable));
    json_set(&o, "slow", json_boolean(d->slow));
    json_set(&o, "bytes_total", json_uint(d->bytes_total));
    json_set(&o, "bytes_free", json_uint(d->bytes_free));
    json_set(&o, "live_bytes", json_uint(d->live_bytes));
    json_set(&o, "dead_bytes", json_uint(d->dead_bytes));
    json_set(&o, "shards", json_uint(d->shards));
    json_set(&o, "scrub_oldest_ms", d->scrub_oldest_ms ? json_uint(d->scrub_oldest_ms) : json_null());
    json_set(&o, "scrub_found", json_uint(d->scrub_found));
    json_set(&o, "scrub_mended", json_uint(d->scrub_mended));
    return o;
}

static json_t *disks_array(const struct cluster_view *v)
{
    json_t *all = json_array();
    for (size_t i = 0; i < v->status->n_nodes; i++) {
        const Cairn__NodeStatus *n = v->status->nodes[i];
        for (size_t k = 0; view_is_storage(n) && n->report && k < n->report->n_disks; k++)
            json_append(&all, disk_json(n->record->node_id, n->report->disks[k]));
    }
    return all;
}

/* ---- groups ---- */

static json_t *strings(char *const *s, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++)
        json_append(&all, json_string(s[i]));
    return all;
}

static json_t *pg_json(const struct cluster_view *v, const Cairn__PlacementGroup *pg)
{
    json_t *o = json_object();
    json_set(&o, "pg", json_uint(pg->id));
    json_set(&o, "epoch", json_uint(pg->epoch));
    json_set(&o, "scheme",
             pg->scheme == CAIRN__SCHEME__SCHEME_REP3
                 ? json_string("replicated")
                 : json_sprintf("%u+%u", pg->data_shards, pg->parity_shards));
    json_set(&o, "state", json_string(pg_health_name(pg_health(v, pg))));
    json_set(&o, "members", strings(pg->members, pg->n_members));
    json_set(&o, "next_members", strings(pg->next_members, pg->n_next_members));
    return o;
}

json_t *admin_planned_json(Cairn__PlannedChange *const *planned, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *o = json_object();
        json_set(&o, "pg", json_uint(planned[i]->pg));
        json_set(&o, "bytes", json_uint(planned[i]->bytes));
        json_set(&o, "members", strings(planned[i]->members, planned[i]->n_members));
        json_set(&o, "next_members", strings(planned[i]->next_members, planned[i]->n_next_members));
        json_append(&all, o);
    }
    return all;
}

/* ---- the whole ---- */

static bool zone_is_down(const struct cluster_view *v, const char *zone)
{
    for (size_t i = 0; i < v->status->n_zones_down; i++)
        if (strcmp(v->status->zones_down[i], zone) == 0)
            return true;
    return false;
}

static json_t *zones_array(const struct cluster_view *v)
{
    json_t *all = json_array();
    for (size_t i = 0; i < v->status->n_nodes; i++) {
        const Cairn__NodeStatus *n = v->status->nodes[i];
        size_t k = 0, count = 0, up = 0;
        if (!view_is_storage(n))
            continue;
        for (; k < i; k++) /* each zone once, at its first node */
            if (view_is_storage(v->status->nodes[k]) &&
                strcmp(v->status->nodes[k]->record->zone, n->record->zone) == 0)
                break;
        if (k < i)
            continue;
        for (; k < v->status->n_nodes; k++) {
            const Cairn__NodeStatus *other = v->status->nodes[k];
            if (!view_is_storage(other) || strcmp(other->record->zone, n->record->zone) != 0)
                continue;
            enum node_health h = node_health(other, v->answers[k]);
            count++;
            up += h == NODE_IS_UP || h == NODE_IS_UNREPORTED;
        }
        json_append(&all, json_pack("{s:s, s:b, s:I, s:I}", "zone", n->record->zone, "down",
                                    zone_is_down(v, n->record->zone), "nodes", (json_int_t)count,
                                    "up", (json_int_t)up));
    }
    return all;
}

static json_t *reasons_array(const struct health_reason *reasons, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++)
        json_append(&all, json_pack("{s:s, s:I, s:o}", "severity", health_name(reasons[i].is),
                                    "count", (json_int_t)reasons[i].count, "text",
                                    json_sprintf("%llu %s", (unsigned long long)reasons[i].count,
                                                 reasons[i].text)));
    return all;
}

static json_t *pg_counts(const struct health_facts *f)
{
    json_t *o = json_object();
    json_set(&o, "count", json_uint(f->pg_count));
    for (int i = 0; i < PG_HEALTH_COUNT; i++)
        json_set(&o, pg_health_name((enum pg_health)i), json_uint(f->pgs[i]));
    return o;
}

json_t *admin_status_json(const struct cluster_view *v)
{
    struct health_facts f;
    struct health_reason reasons[HEALTH_REASONS_MAX];
    size_t count;
    health_facts(v, &f);
    enum health verdict = health_verdict(&f, reasons, &count);
    json_t *o = json_object();
    json_set(&o, "health", json_string(health_name(verdict)));
    json_set(&o, "reasons", reasons_array(reasons, count));
    json_set(&o, "map_version", json_uint(v->status->map_version));
    json_set(&o, "zones", zones_array(v));
    json_set(&o, "nodes", nodes_array(v));
    json_set(&o, "disks", disks_array(v));
    json_set(&o, "capacity",
             json_pack("{s:I, s:I, s:I, s:I}", "bytes_total", (json_int_t)f.bytes_total,
                       "bytes_free", (json_int_t)f.bytes_free, "live_bytes",
                       (json_int_t)f.live_bytes, "dead_bytes", (json_int_t)f.dead_bytes));
    json_set(&o, "repair",
             json_pack("{s:I, s:I, s:I}", "backlog_bytes", (json_int_t)f.backlog_bytes, "missing",
                       (json_int_t)f.missing, "endangered", (json_int_t)f.endangered));
    json_set(&o, "pgs", pg_counts(&f));
    json_set(&o, "planned", json_uint(v->status->n_planned));
    return o;
}

json_t *admin_nodes_json(const struct cluster_view *v)
{
    return json_pack("{s:o}", "nodes", nodes_array(v));
}

json_t *admin_disks_json(const struct cluster_view *v)
{
    return json_pack("{s:o}", "disks", disks_array(v));
}

json_t *admin_pgs_json(const struct cluster_view *v)
{
    json_t *all = json_array();
    for (size_t i = 0; i < v->status->n_pgs; i++)
        json_append(&all, pg_json(v, v->status->pgs[i]));
    return json_pack("{s:o, s:o}", "pgs", all, "planned",
                     admin_planned_json(v->status->planned, v->status->n_planned));
}
