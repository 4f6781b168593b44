/* What storage nodes say of repair and scrub, as JSON. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/admin/health.h"
#include "gateway/blob/ask.h"
#include "gateway/operator/admin.h"

/* What node number i has just said; NULL: nothing. */
static const Cairn__NodeReport *report_of(const struct blob_ask *told, size_t i)
{
    const struct blob_question *q = &told->questions[i];
    if (i >= told->count || q->err != OK || !q->response)
        return NULL;
    return ((const Cairn__StoreStatusResponse *)(const void *)q->response)->report;
}

static json_t *node_begin(const struct cluster_view *v, size_t i)
{
    json_t *o = json_object();
    json_set(&o, "node", json_string(v->status->nodes[i]->record->node_id));
    json_set(&o, "answers", json_boolean(v->answers[i]));
    return o;
}

/* ---- repair ---- */

struct repair_sums {
    uint64_t backlog, missing, endangered, beyond, rate, bytes, shards;
};

static json_t *repair_node(const struct cluster_view *v, size_t i, const Cairn__NodeReport *r,
                           struct repair_sums *sums)
{
    json_t *o = node_begin(v, i);
    uint64_t missing = 0, endangered = 0;
    if (!r)
        return o;
    for (size_t k = 0; k < r->n_groups; k++) {
        missing += r->groups[k]->missing;
        endangered += r->groups[k]->endangered;
    }
    json_set(&o, "backlog_bytes", json_uint(r->repair_backlog_bytes));
    json_set(&o, "missing", json_uint(missing));
    json_set(&o, "endangered", json_uint(endangered));
    json_set(&o, "beyond", json_uint(r->repair_beyond));
    json_set(&o, "bytes_per_sec", json_uint(r->repair_rate));
    json_set(&o, "repaired_bytes", json_uint(r->repair_bytes));
    json_set(&o, "repaired_shards", json_uint(r->repaired_shards));
    json_set(&o, "passes", json_uint(r->repair_passes));
    json_set(&o, "passes_failed", json_uint(r->repair_passes_failed));
    json_set(&o, "last_pass_ms", r->repair_pass_ms ? json_uint(r->repair_pass_ms) : json_null());
    sums->backlog += r->repair_backlog_bytes;
    sums->missing += missing;
    sums->endangered += endangered;
    sums->beyond += r->repair_beyond;
    sums->rate += r->repair_rate;
    sums->bytes += r->repair_bytes;
    sums->shards += r->repaired_shards;
    return o;
}

/* Groups that lack something, by who repairs them. */
static void groups_append(json_t **all, const char *node_id, const Cairn__NodeReport *r)
{
    for (size_t k = 0; r && k < r->n_groups; k++) {
        const Cairn__GroupReport *g = r->groups[k];
        if (g->missing || g->endangered)
            json_append(all, json_pack("{s:I, s:s, s:I, s:I}", "pg", (json_int_t)g->pg, "node",
                                       node_id, "missing", (json_int_t)g->missing, "endangered",
                                       (json_int_t)g->endangered));
    }
}

json_t *admin_repair_json(const struct cluster_view *v, const struct blob_ask *told)
{
    json_t *o = json_object(), *nodes = json_array(), *groups = json_array();
    struct repair_sums s = {0};
    for (size_t i = 0; i < v->status->n_nodes; i++) {
        const Cairn__NodeReport *r = report_of(told, i);
        if (!view_is_storage(v->status->nodes[i]))
            continue;
        json_append(&nodes, repair_node(v, i, r, &s));
        groups_append(&groups, v->status->nodes[i]->record->node_id, r);
    }
    json_set(&o, "backlog_bytes", json_uint(s.backlog));
    json_set(&o, "missing", json_uint(s.missing));
    json_set(&o, "endangered", json_uint(s.endangered));
    json_set(&o, "beyond", json_uint(s.beyond));
    json_set(&o, "bytes_per_sec", json_uint(s.rate));
    /* At the rate of the last minute; nobody knows while nothing moves. */
    json_set(&o, "eta_s",
             s.backlog == 0 ? json_uint(0)
             : s.rate       ? json_uint(s.backlog / s.rate + 1)
                            : json_null());
    json_set(&o, "repaired_bytes", json_uint(s.bytes));
    json_set(&o, "repaired_shards", json_uint(s.shards));
    json_set(&o, "planned", json_uint(v->status->n_planned));
    json_set(&o, "nodes", nodes);
    json_set(&o, "groups", groups);
    return o;
}

/* ---- scrub ---- */

static json_t *age_s(uint64_t now_ms, uint64_t since_ms)
{
    return json_uint((now_ms - MIN(now_ms, since_ms)) / 1000);
}

static json_t *scrub_disk(const Cairn__DiskReport *d, uint64_t now_ms)
{
    json_t *o = json_object();
    json_set(&o, "path", json_text(d->path));
    json_set(&o, "live_bytes", json_uint(d->live_bytes));
    json_set(&o, "oldest_age_s",
             d->scrub_oldest_ms ? age_s(now_ms, d->scrub_oldest_ms) : json_null());
    json_set(&o, "asked", json_boolean(d->scrub_asked));
    json_set(&o, "left_bytes", json_uint(d->scrub_left_bytes));
    json_set(&o, "passes", json_uint(d->scrub_passes));
    json_set(&o, "bytes", json_uint(d->scrub_bytes));
    json_set(&o, "found", json_uint(d->scrub_found));
    json_set(&o, "mended", json_uint(d->scrub_mended));
    return o;
}

static json_t *deep_json(const Cairn__DeepReport *d, uint64_t now_ms)
{
    json_t *o = json_object();
    json_set(&o, "oldest_age_s", d->oldest_ms ? age_s(now_ms, d->oldest_ms) : json_null());
    json_set(&o, "asked", json_boolean(d->asked));
    json_set(&o, "left", json_uint(d->left));
    json_set(&o, "total", json_uint(d->total));
    json_set(&o, "rounds", json_uint(d->rounds));
    json_set(&o, "blobs", json_uint(d->blobs));
    json_set(&o, "bytes", json_uint(d->bytes));
    json_set(&o, "found", json_uint(d->found));
    json_set(&o, "mended", json_uint(d->mended));
    json_set(&o, "unproven", json_uint(d->unproven));
    json_set(&o, "unchecked", json_uint(d->unchecked));
    return o;
}

json_t *admin_scrub_json(const struct cluster_view *v, const struct blob_ask *told, uint64_t now_ms)
{
    json_t *o = json_object(), *nodes = json_array();
    uint64_t asked = 0, deep_asked = 0, unproven = 0;
    for (size_t i = 0; i < v->status->n_nodes; i++) {
        const Cairn__NodeReport *r = report_of(told, i);
        if (!view_is_storage(v->status->nodes[i]))
            continue;
        json_t *n = node_begin(v, i), *disks = json_array();
        for (size_t k = 0; r && k < r->n_disks; k++) {
            json_append(&disks, scrub_disk(r->disks[k], now_ms));
            asked += r->disks[k]->scrub_asked != 0;
        }
        json_set(&n, "disks", disks);
        json_set(&n, "deep", r && r->deep ? deep_json(r->deep, now_ms) : json_null());
        deep_asked += r && r->deep && r->deep->asked ? 1 : 0;
        unproven += r && r->deep ? r->deep->unproven : 0;
        json_append(&nodes, n);
    }
    json_set(&o, "disks_under_way", json_uint(asked));
    json_set(&o, "deep_under_way", json_uint(deep_asked));
    json_set(&o, "unproven", json_uint(unproven));
    json_set(&o, "nodes", nodes);
    return o;
}

json_t *admin_scrub_started_json(const struct cluster_view *v, const struct blob_ask *told,
                                 bool deep, const char *node)
{
    json_t *o = json_object(), *nodes = json_array();
    uint64_t started = 0, failed = 0;
    for (size_t i = 0; i < v->status->n_nodes; i++) {
        const struct blob_question *q = &told->questions[i];
        const char *id = v->status->nodes[i]->record->node_id;
        if (!view_is_storage(v->status->nodes[i]) || (node && strcmp(node, id) != 0))
            continue;
        started += q->err == OK;
        failed += q->err != OK;
        json_append(&nodes,
                    json_pack("{s:s, s:b, s:o}", "node", id, "started", q->err == OK, "error",
                              q->err ? json_string(err_name(q->err)) : json_null()));
    }
    json_set(&o, "deep", json_boolean(deep));
    json_set(&o, "started", json_uint(started));
    json_set(&o, "failed", json_uint(failed));
    json_set(&o, "nodes", nodes);
    return o;
}
