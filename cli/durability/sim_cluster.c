/* A whole cluster, event by event; see sim.h. */
#include "cli/durability/rng.h"
#include "cli/durability/sim.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

enum source { DISK, NODE, ZONE, OUTAGE };

/* A repair, or the end of an outage.  Void when the thing has been lost anew, or with something
 * greater, since: its `life` is another then. */
struct event {
    double at;
    enum source source;
    uint32_t thing; /* node or zone */
    uint32_t life;
};

struct node {
    uint32_t life;
    unsigned disks_lost;
    bool lost;
};

struct zone {
    uint32_t life, outage_life;
    bool lost, out;
    double out_until;
};

struct world {
    const struct dur_params *p;
    const struct dur_groups *g;
    struct rng rng;
    double now;
    struct node *node;
    struct zone zone[DUR_ZONES_MAX];
    unsigned outages;
    uint8_t *lost_of; /* of each group: shards lost */
    struct event *heap;
    size_t events, cap;
    bool nomem;
    /* what one failure has done */
    unsigned groups_hit;
    double blobs_hit;
    /* sums */
    double any, group, group_squares, blob, blob_squares, any_lse, blob_lse, busy_since, busy;
    struct dur_terms terms;
};

/* ---- events by time: a binary heap ---- */

static void push(struct world *w, struct event e)
{
    if (w->events == w->cap) {
        size_t cap = MAX(64, w->cap * 2);
        struct event *grown = realloc(w->heap, cap * sizeof(*grown));
        if (!grown) {
            w->nomem = true;
            return;
        }
        w->heap = grown;
        w->cap = cap;
    }
    size_t i = w->events++;
    for (; i > 0 && w->heap[(i - 1) / 2].at > e.at; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct event pop(struct world *w)
{
    struct event first = w->heap[0], last = w->heap[--w->events];
    size_t i = 0;
    for (size_t child = 1; child < w->events; child = 2 * i + 1) {
        if (child + 1 < w->events && w->heap[child + 1].at < w->heap[child].at)
            child++;
        if (w->heap[child].at >= last.at)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

static void after(struct world *w, double hours, enum source s, uint32_t thing, uint32_t life)
{
    double wait = w->p->exponential ? rng_exponential(&w->rng, 1 / hours) : hours;
    push(w, (struct event){w->now + wait, s, thing, life});
}

/* ---- state ---- */

static bool node_alive(const struct world *w, uint32_t n)
{
    return !w->node[n].lost && !w->zone[dur_zone_of(w->p, n)].lost;
}

static bool degraded(const struct world *w, uint32_t n)
{
    return !node_alive(w, n) || w->node[n].disks_lost > 0;
}

/* Of a group's blobs, those with a shard on each thing that its members lost. */
static double share_hit(const struct world *w, uint32_t group, unsigned *ret_zones,
                        unsigned *ret_beside)
{
    const uint32_t *member = w->g->member + (size_t)group * w->g->shards;
    unsigned zones = 0;
    double share = 1;
    *ret_beside = 0;
    for (unsigned i = 0; i < w->g->shards; i++) {
        unsigned z = dur_zone_of(w->p, member[i]);
        if (w->zone[z].lost)
            zones |= 1u << z;
        else if (degraded(w, member[i]))
            ++*ret_beside;
        if (node_alive(w, member[i]) && w->node[member[i]].disks_lost > 0)
            share *= (double)w->node[member[i]].disks_lost / w->p->disks;
    }
    *ret_zones = (unsigned)__builtin_popcount(zones);
    return share;
}

static void latent(struct world *w, double share)
{
    const struct dur_params *p = w->p;
    double disk = p->lse_rate * p->scrub_hours / 2 / DUR_YEAR_HOURS;
    double groups_a_node = (double)w->g->count * w->g->shards / w->g->node_count;
    double shard = fmin(1, p->blob_bytes / p->data / p->disk_bytes);
    w->any_lse += -expm1(-disk * p->data * p->disks / groups_a_node * share);
    w->blob_lse += share * -expm1(-disk * p->data * shard) / w->g->count;
}

/* The node was whole before, or is whole now. */
static void groups_change(struct world *w, uint32_t n, bool now_degraded)
{
    for (uint32_t i = w->g->node_from[n]; i < w->g->node_from[n + 1]; i++)
        w->lost_of[w->g->node_group[i]] =
            (uint8_t)(w->lost_of[w->g->node_group[i]] + (now_degraded ? 1 : -1));
}

/* After all of one failure: which of these nodes' groups have just lost data, or stand at the edge?
 * Only the first of the nodes that a group shares with the failure counts it. */
static void groups_judge(struct world *w, const uint32_t *fresh, unsigned count,
                         uint8_t *lost_before)
{
    unsigned parity = w->p->parity;
    for (unsigned k = 0; k < count; k++)
        for (uint32_t i = w->g->node_from[fresh[k]]; i < w->g->node_from[fresh[k] + 1]; i++) {
            uint32_t group = w->g->node_group[i];
            unsigned before = lost_before[group], zones, beside;
            lost_before[group] = w->lost_of[group];
            if (before > parity || w->lost_of[group] < parity || before == w->lost_of[group])
                continue;
            double share = share_hit(w, group, &zones, &beside);
            if (w->lost_of[group] == parity) {
                if (before < parity && w->p->lse_rate > 0)
                    latent(w, share);
                continue;
            }
            w->groups_hit++;
            w->blobs_hit += share;
            w->terms.rate[zones][beside] += 1.0 / w->g->count;
        }
}

/* ---- failures and repairs ---- */

static void node_fails(struct world *w, uint32_t n, bool whole)
{
    struct node *node = &w->node[n];
    if (whole) {
        node->life++;
        node->lost = true;
        node->disks_lost = 0;
        after(w, w->p->node_hours, NODE, n, node->life);
    } else {
        node->disks_lost++;
        after(w, w->p->disk_hours, DISK, n, node->life);
    }
}

static void zone_fails(struct world *w, unsigned z)
{
    struct zone *zone = &w->zone[z];
    w->outages -= zone->out;
    zone->out = false;
    zone->outage_life++;
    zone->lost = true;
    for (uint32_t n = z; n < w->g->node_count; n += w->p->zones) {
        w->node[n].life++;
        w->node[n].lost = false;
        w->node[n].disks_lost = 0;
    }
    after(w, w->p->zone_hours, ZONE, z, ++zone->life);
}

static void zone_goes_out(struct world *w, unsigned z)
{
    struct zone *zone = &w->zone[z];
    if (zone->out)
        return;
    zone->out = true;
    w->outages++;
    after(w, w->p->outage_hours, OUTAGE, z, ++zone->outage_life);
}

/* Repair of a node's shards needs `data` others of each group within reach. */
static bool repair_waits(const struct world *w, uint32_t n)
{
    for (uint32_t i = w->g->node_from[n]; w->outages && i < w->g->node_from[n + 1]; i++) {
        uint32_t group = w->g->node_group[i];
        const uint32_t *member = w->g->member + (size_t)group * w->g->shards;
        unsigned reach = 0;
        for (unsigned k = 0; k < w->g->shards; k++)
            reach += !degraded(w, member[k]) && !w->zone[dur_zone_of(w->p, member[k])].out;
        if (reach < w->p->data && w->lost_of[group] <= w->p->parity)
            return true;
    }
    return false;
}

static double outage_end(const struct world *w)
{
    double end = INFINITY;
    for (size_t i = 0; i < w->events; i++) {
        const struct event *e = &w->heap[i];
        if (e->source == OUTAGE && e->life == w->zone[e->thing].outage_life && e->at < end)
            end = e->at;
    }
    return end;
}

static void node_repaired(struct world *w, struct event e)
{
    struct node *node = &w->node[e.thing];
    if (e.life != node->life)
        return;
    if (repair_waits(w, e.thing)) {
        e.at = nextafter(outage_end(w), INFINITY);
        push(w, e);
        return;
    }
    if (e.source == DISK)
        node->disks_lost--;
    else
        node->lost = false;
    if (!degraded(w, e.thing))
        groups_change(w, e.thing, false);
}

static void repaired(struct world *w, struct event e)
{
    struct zone *zone = e.source == ZONE || e.source == OUTAGE ? &w->zone[e.thing] : NULL;
    if (!zone) {
        node_repaired(w, e);
    } else if (e.source == OUTAGE) {
        if (e.life == zone->outage_life && zone->out) {
            zone->out = false;
            w->outages--;
        }
    } else if (e.life == zone->life) {
        zone->lost = false;
        for (uint32_t n = e.thing; n < w->g->node_count; n += w->p->zones)
            groups_change(w, n, false); /* nothing fails in a zone that is lost */
    }
}

/* Draws a disk, node or zone of all there are, by rate; one that is gone already does not fail. */
static void fails(struct world *w, double disk, double node, double total, uint32_t *fresh,
                  uint8_t *lost_before)
{
    double u = rng_unit(&w->rng) * total;
    uint32_t n = rng_below(&w->rng, w->g->node_count);
    unsigned z = rng_below(&w->rng, w->p->zones), count = 0;
    bool whole_zone = u > disk + node && rng_unit(&w->rng) <= w->p->zone_permanent;
    if (u > disk + node) {
        if (w->zone[z].lost)
            return;
        if (!whole_zone) {
            zone_goes_out(w, z);
            return;
        }
    } else if (!node_alive(w, n) ||
               (u <= disk && rng_below(&w->rng, w->p->disks) < w->node[n].disks_lost)) {
        return;
    }
    for (uint32_t i = whole_zone ? z : n; i < w->g->node_count; i += w->p->zones) {
        if (!degraded(w, i))
            fresh[count++] = i;
        if (!whole_zone)
            break;
    }
    if (whole_zone)
        zone_fails(w, z);
    else
        node_fails(w, n, u > disk);
    for (unsigned i = 0; i < count; i++)
        for (uint32_t k = w->g->node_from[fresh[i]]; k < w->g->node_from[fresh[i] + 1]; k++)
            lost_before[w->g->node_group[k]] = w->lost_of[w->g->node_group[k]];
    for (unsigned i = 0; i < count; i++)
        groups_change(w, fresh[i], true);
    groups_judge(w, fresh, count, lost_before);
}

static void account(struct world *w)
{
    double groups = w->groups_hit, blobs = w->blobs_hit / w->g->count;
    w->any += groups > 0;
    w->group += groups / w->g->count;
    w->group_squares += groups / w->g->count * groups / w->g->count;
    w->blob += blobs;
    w->blob_squares += blobs * blobs;
    w->groups_hit = 0;
    w->blobs_hit = 0;
}

static struct sim_estimate estimate(double sum, double squares, double years)
{
    double half = 1.96 * sqrt(squares) / years;
    if (sum <= 0)
        return (struct sim_estimate){0, 0, 3 / years};
    return (struct sim_estimate){sum / years, fmax(0, sum / years - half), sum / years + half};
}

static void run(struct world *w, const struct sim_options *o, uint32_t *fresh, uint8_t *lost_before)
{
    const struct dur_params *p = w->p;
    double hours = o->years * DUR_YEAR_HOURS, nodes = w->g->node_count, next = 0;
    double disk = nodes * p->disks * p->disk_rate / DUR_YEAR_HOURS;
    double node = nodes * p->node_rate / DUR_YEAR_HOURS;
    double total = disk + node + p->zones * p->zone_rate / DUR_YEAR_HOURS;
    double failure = rng_exponential(&w->rng, total);
    while (!w->nomem && (failure < hours || (w->events && w->heap[0].at < hours))) {
        bool repair = w->events && w->heap[0].at <= failure;
        double at = repair ? w->heap[0].at : failure;
        w->busy += w->events ? at - w->now : 0;
        w->now = at;
        if (repair) {
            repaired(w, pop(w));
        } else {
            fails(w, disk, node, total, fresh, lost_before);
            account(w);
            failure = w->now + rng_exponential(&w->rng, total);
        }
        if (o->progress && w->now >= next) {
            o->progress(o->arg, w->now / hours);
            next = w->now + hours / 100;
        }
    }
}

int sim_cluster(const struct dur_params *p, const struct dur_groups *g, const struct sim_options *o,
                struct sim_result *ret)
{
    struct world w = {.p = p, .g = g};
    uint32_t *fresh = calloc(g->node_count, sizeof(*fresh));
    uint8_t *lost_before = calloc(g->count, 1);
    w.node = calloc(g->node_count, sizeof(*w.node));
    w.lost_of = calloc(g->count, 1);
    int err = fresh && lost_before && w.node && w.lost_of ? OK : ERR_NOMEM;
    rng_init(&w.rng, o->seed);
    if (!err)
        run(&w, o, fresh, lost_before);
    if (w.nomem)
        err = ERR_NOMEM;
    if (!err) {
        double years = o->years;
        memset(ret, 0, sizeof(*ret));
        ret->group = estimate(w.group, w.group_squares, years);
        ret->blob = estimate(w.blob, w.blob_squares, years);
        ret->any = estimate(w.any, w.any, years);
        ret->any_lse = w.any_lse / years;
        ret->blob_lse = w.blob_lse / years;
        ret->losses = (uint64_t)w.any;
        ret->busy = w.busy / (years * DUR_YEAR_HOURS);
        for (unsigned z = 0; z <= DUR_ZONES_MAX; z++)
            for (unsigned s = 0; s <= DUR_SHARDS_MAX; s++)
                ret->terms.rate[z][s] = w.terms.rate[z][s] / years;
    }
    free(fresh);
    free(lost_before);
    free(w.node);
    free(w.lost_of);
    free(w.heap);
    return err;
}

int sim_burst(const struct dur_params *p, const struct dur_groups *g, unsigned lost,
              uint64_t trials, uint64_t seed, struct sim_estimate *ret)
{
    uint32_t *node = calloc(g->node_count, sizeof(*node));
    uint8_t *gone = calloc(g->count, 1);
    int err = node && gone ? OK : ERR_NOMEM;
    struct rng r;
    double hits = 0, z = 1.96, n = (double)trials;
    CHECK(lost <= g->node_count && trials > 0);
    rng_init(&r, seed);
    for (uint32_t i = 0; !err && i < g->node_count; i++)
        node[i] = i;
    for (uint64_t t = 0; !err && t < trials; t++) {
        bool hit = false;
        for (unsigned i = 0; i < lost; i++) {
            unsigned j = i + rng_below(&r, g->node_count - i);
            uint32_t swap = node[i];
            node[i] = node[j];
            node[j] = swap;
            for (uint32_t k = g->node_from[node[i]]; k < g->node_from[node[i] + 1]; k++)
                hit |= ++gone[g->node_group[k]] > p->parity;
        }
        for (unsigned i = 0; i < lost; i++)
            for (uint32_t k = g->node_from[node[i]]; k < g->node_from[node[i] + 1]; k++)
                gone[g->node_group[k]] = 0;
        hits += hit;
    }
    double rate = hits / n, wide = 1 + z * z / n, middle = (rate + z * z / 2 / n) / wide;
    double half = z / wide * sqrt(rate * (1 - rate) / n + z * z / 4 / n / n);
    if (!err)
        *ret = (struct sim_estimate){rate, fmax(0, middle - half), fmin(1, middle + half)};
    free(node);
    free(gone);
    return err;
}
