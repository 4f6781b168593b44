/* One group by regenerative cycles with importance sampling; see sim.h. */
#include "cli/durability/rng.h"
#include "cli/durability/sim.h"
#include "common/base/check.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FORCED 0.6 /* probability of a failure before the next repair */
/* Repairs under way in one group: every disk of every member, or the member, and the zones. */
#define HOLES_MAX (DUR_DISKS_MAX * DUR_SHARDS_MAX + DUR_SHARDS_MAX + 2 * DUR_ZONES_MAX)
#define SHARING_WORK (1u << 27) /* members looked at, at most, to see which groups share a loss */
#define LENGTH_CYCLES 200000u

enum source { DISK, NODE, ZONE, OUTAGE, SOURCES };

/* Something that is not there until `until`. */
struct hole {
    double until;
    enum source source;
    unsigned at; /* member or zone */
};

struct cycle {
    const struct dur_params *p;
    struct rng *rng;
    bool biased;
    unsigned shards, zone_of[DUR_SHARDS_MAX], zone_members[DUR_ZONES_MAX];
    double hourly[SOURCES]; /* of one disk, node, zone */
    /* state */
    double now, weight;
    unsigned disks_lost[DUR_SHARDS_MAX];
    bool node_lost[DUR_SHARDS_MAX], zone_lost[DUR_ZONES_MAX], zone_out[DUR_ZONES_MAX];
    struct hole hole[HOLES_MAX];
    unsigned holes;
    unsigned was_lost; /* shards, before the last failure */
};

static bool zone_there(const struct cycle *c, unsigned z)
{
    return c->zone_members[z] && !c->zone_lost[z];
}

static bool member_alive(const struct cycle *c, unsigned i)
{
    return !c->node_lost[i] && !c->zone_lost[c->zone_of[i]];
}

static bool shard_lost(const struct cycle *c, unsigned i)
{
    return !member_alive(c, i) || c->disks_lost[i] > 0;
}

static unsigned lost_count(const struct cycle *c)
{
    unsigned lost = 0;
    for (unsigned i = 0; i < c->shards; i++)
        lost += shard_lost(c, i);
    return lost;
}

/* Of the group's blobs, those that lost a shard on each member that lost something. */
static double blobs_hit(const struct cycle *c)
{
    double share = 1;
    for (unsigned i = 0; i < c->shards; i++)
        if (member_alive(c, i) && c->disks_lost[i] > 0)
            share *= (double)c->disks_lost[i] / c->p->disks;
    return share;
}

/* ---- what may happen ---- */

/* Rate of each thing (member or zone) of each source in the present state. */
struct rates {
    double of[SOURCES][DUR_SHARDS_MAX];
    bool nearer[SOURCES][DUR_SHARDS_MAX]; /* brings loss nearer */
    unsigned things[SOURCES], nearer_count[SOURCES], kinds;
    double total;
};

static void rate_set(struct rates *r, enum source s, unsigned at, double rate, bool nearer)
{
    r->of[s][at] = rate;
    r->nearer[s][at] = nearer && rate > 0;
    r->total += rate;
    r->nearer_count[s] += r->nearer[s][at];
}

static void rates_of(const struct cycle *c, struct rates *r)
{
    bool intact_in[DUR_ZONES_MAX] = {false};
    memset(r, 0, sizeof(*r));
    r->things[DISK] = r->things[NODE] = c->shards;
    r->things[ZONE] = r->things[OUTAGE] = c->p->zones;
    for (unsigned i = 0; i < c->shards; i++) {
        bool intact = !shard_lost(c, i);
        intact_in[c->zone_of[i]] |= intact;
        if (!member_alive(c, i))
            continue;
        rate_set(r, DISK, i, (c->p->disks - c->disks_lost[i]) * c->hourly[DISK], intact);
        rate_set(r, NODE, i, c->hourly[NODE], intact);
    }
    for (unsigned z = 0; z < c->p->zones; z++) {
        if (!zone_there(c, z))
            continue;
        rate_set(r, ZONE, z, c->hourly[ZONE], intact_in[z]);
        rate_set(r, OUTAGE, z, c->zone_out[z] ? 0 : c->hourly[OUTAGE], false);
    }
    for (enum source s = 0; s < SOURCES; s++)
        r->kinds += r->nearer_count[s] > 0;
}

/* Draws what happens, and corrects the weight for having drawn it unfairly. */
static void choose(struct cycle *c, const struct rates *r, enum source *ret_source,
                   unsigned *ret_at)
{
    bool balanced = c->biased && r->kinds > 0 && rng_unit(c->rng) <= 0.5;
    double u = rng_unit(c->rng) * (balanced ? 1 : r->total), mixed;
    enum source s = SOURCES;
    unsigned at = 0;
    for (enum source i = 0; i < SOURCES && u > 0; i++)
        for (unsigned j = 0; j < r->things[i] && u > 0; j++) {
            double part = !balanced         ? r->of[i][j]
                          : r->nearer[i][j] ? 1.0 / r->kinds / r->nearer_count[i]
                                            : 0;
            if (part <= 0)
                continue;
            u -= part;
            s = i;
            at = j;
        }
    CHECK(s < SOURCES);
    *ret_source = s;
    *ret_at = at;
    if (!c->biased || r->kinds == 0)
        return;
    mixed = 0.5 * r->of[s][at] / r->total +
            (r->nearer[s][at] ? 0.5 / r->kinds / r->nearer_count[s] : 0);
    c->weight *= r->of[s][at] / r->total / mixed;
}

static double duration(struct cycle *c, double hours)
{
    return c->p->exponential ? rng_exponential(c->rng, 1 / hours) : hours;
}

static void hole_add(struct cycle *c, enum source s, unsigned at, double hours)
{
    CHECK(c->holes < HOLES_MAX);
    c->hole[c->holes++] = (struct hole){c->now + duration(c, hours), s, at};
}

/* What a greater loss contains is repaired with it. */
static void holes_drop(struct cycle *c, enum source greater, unsigned at)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < c->holes; i++) {
        struct hole h = c->hole[i];
        bool own = h.source == DISK || (greater == ZONE && h.source == NODE)
                       ? (greater == NODE ? h.at == at : c->zone_of[h.at] == at)
                       : greater == ZONE && h.source == OUTAGE && h.at == at;
        if (!own)
            c->hole[kept++] = h;
    }
    c->holes = kept;
}

static void fail(struct cycle *c, enum source s, unsigned at)
{
    const struct dur_params *p = c->p;
    c->was_lost = lost_count(c);
    switch (s) {
    case DISK:
        c->disks_lost[at]++;
        hole_add(c, s, at, p->disk_hours);
        break;
    case NODE:
        holes_drop(c, NODE, at);
        c->disks_lost[at] = 0;
        c->node_lost[at] = true;
        hole_add(c, s, at, p->node_hours);
        break;
    case ZONE:
        holes_drop(c, ZONE, at);
        for (unsigned i = 0; i < c->shards; i++)
            if (c->zone_of[i] == at) {
                c->disks_lost[i] = 0;
                c->node_lost[i] = false;
            }
        c->zone_lost[at] = true;
        c->zone_out[at] = false;
        hole_add(c, s, at, p->zone_hours);
        break;
    default:
        c->zone_out[at] = true;
        hole_add(c, s, at, p->outage_hours);
        break;
    }
}

/* Repair needs `data` shards within reach; while they are not, it waits for the first outage to
 * end. */
static bool repair_waits(const struct cycle *c, double *ret_until)
{
    unsigned reach = 0;
    double until = INFINITY;
    for (unsigned i = 0; i < c->shards; i++)
        reach += !shard_lost(c, i) && !c->zone_out[c->zone_of[i]];
    for (unsigned i = 0; i < c->holes; i++)
        if (c->hole[i].source == OUTAGE && c->hole[i].until < until)
            until = c->hole[i].until;
    *ret_until = until;
    return reach < c->p->data && until < INFINITY;
}

static void repair(struct cycle *c, unsigned index)
{
    struct hole *h = &c->hole[index];
    double until;
    if ((h->source == DISK || h->source == NODE) && repair_waits(c, &until)) {
        h->until = nextafter(until, INFINITY);
        return;
    }
    switch (h->source) {
    case DISK: c->disks_lost[h->at]--; break;
    case NODE: c->node_lost[h->at] = false; break;
    case ZONE: c->zone_lost[h->at] = false; break;
    default: c->zone_out[h->at] = false; break;
    }
    *h = c->hole[--c->holes];
}

static unsigned next_repair(const struct cycle *c)
{
    unsigned next = 0;
    for (unsigned i = 1; i < c->holes; i++)
        if (c->hole[i].until < c->hole[next].until)
            next = i;
    return next;
}

/* On to the next event.  Returns: true after a failure. */
static bool advance(struct cycle *c)
{
    struct rates r;
    rates_of(c, &r);
    unsigned next = next_repair(c), at;
    double left = c->hole[next].until - c->now, rate = r.total;
    if (c->biased && r.kinds > 0 && lost_count(c) > 0 && left > 0)
        rate = fmax(rate, -log1p(-FORCED) / left);
    double dt = rate > 0 ? rng_exponential(c->rng, rate) : INFINITY;
    if (dt >= left) {
        c->weight *= exp(-(r.total - rate) * left);
        c->now = c->hole[next].until;
        repair(c, next);
        return false;
    }
    enum source s;
    c->weight *= r.total / rate * exp(-(r.total - rate) * dt);
    c->now += dt;
    choose(c, &r, &s, &at);
    fail(c, s, at);
    return true;
}

/* ---- many cycles ---- */

struct sum {
    double sum, squares;
};

static void sum_add(struct sum *s, double x)
{
    s->sum += x;
    s->squares += x * x;
}

struct run {
    const struct dur_params *p;
    const struct dur_groups *g;
    struct rng rng;
    struct cycle cycle;
    struct sum group, blob, length;
    double group_lse, blob_lse, shared, shared_weight, idle_hours;
    uint64_t losses, sharing_left;
    struct dur_terms terms;
    const uint32_t *member; /* of the cycle's group */
    uint8_t *gone;          /* nodes, for counting groups that share a loss; all 0 between */
};

static void cycle_begin(struct run *run, bool biased)
{
    struct cycle *c = &run->cycle;
    const struct dur_params *p = run->p;
    run->member = run->g->member + (size_t)rng_below(&run->rng, run->g->count) * run->g->shards;
    memset(c, 0, offsetof(struct cycle, hole));
    c->holes = c->was_lost = 0;
    c->p = p;
    c->rng = &run->rng;
    c->biased = biased;
    c->weight = 1;
    c->shards = run->g->shards;
    for (unsigned i = 0; i < c->shards; i++) {
        c->zone_of[i] = dur_zone_of(p, run->member[i]);
        c->zone_members[c->zone_of[i]]++;
    }
    c->hourly[DISK] = p->disk_rate / DUR_YEAR_HOURS;
    c->hourly[NODE] = p->node_rate / DUR_YEAR_HOURS;
    c->hourly[ZONE] = p->zone_rate * p->zone_permanent / DUR_YEAR_HOURS;
    c->hourly[OUTAGE] = p->zone_rate * (1 - p->zone_permanent) / DUR_YEAR_HOURS;
    struct rates r;
    enum source s;
    unsigned at;
    rates_of(c, &r);
    run->idle_hours = 1 / r.total;
    choose(c, &r, &s, &at);
    fail(c, s, at);
}

/* How many groups lost data together with this one: members on lost nodes, or in lost zones. */
static unsigned groups_lost(struct run *run)
{
    const struct dur_groups *g = run->g;
    const struct cycle *c = &run->cycle;
    unsigned count = 0;
    for (unsigned i = 0; i < c->shards; i++)
        run->gone[run->member[i]] = shard_lost(c, i);
    for (unsigned k = 0; k < g->count; k++) {
        unsigned lost = 0;
        for (unsigned i = 0; i < g->shards; i++) {
            uint32_t node = g->member[(size_t)k * g->shards + i];
            lost += run->gone[node] || c->zone_lost[dur_zone_of(run->p, node)];
        }
        count += lost > run->p->parity;
    }
    for (unsigned i = 0; i < c->shards; i++)
        run->gone[run->member[i]] = 0;
    CHECK(count > 0);
    return count;
}

static void lost(struct run *run, double *ret_group, double *ret_blob)
{
    struct cycle *c = &run->cycle;
    unsigned zones = 0, beside = 0;
    uint64_t work = (uint64_t)run->g->count * run->g->shards;
    for (unsigned z = 0; z < run->p->zones; z++)
        zones += c->zone_members[z] && c->zone_lost[z];
    for (unsigned i = 0; i < c->shards; i++)
        beside += shard_lost(c, i) && !c->zone_lost[c->zone_of[i]];
    run->losses++;
    run->terms.rate[zones][beside] += c->weight;
    *ret_group = c->weight;
    *ret_blob = c->weight * blobs_hit(c);
    if (run->sharing_left < work)
        return;
    run->sharing_left -= work;
    run->shared += c->weight / groups_lost(run);
    run->shared_weight += c->weight;
}

/* A loss has brought the group to where one more shard is too many: is a sector bad in one of those
 * that remain?  Errors are found half a scrub after they come, on average. */
static void latent(struct run *run)
{
    const struct dur_params *p = run->p;
    double hit = blobs_hit(&run->cycle);
    double disk = p->lse_rate * p->scrub_hours / 2 / DUR_YEAR_HOURS; /* bad sectors on a disk */
    double groups_a_node = (double)run->g->count * run->g->shards / run->g->node_count;
    double shard = fmin(1, p->blob_bytes / p->data / p->disk_bytes);
    run->group_lse += run->cycle.weight * -expm1(-disk * p->data * p->disks / groups_a_node * hit);
    run->blob_lse += run->cycle.weight * hit * -expm1(-disk * p->data * shard);
}

static void cycle_run(struct run *run, bool biased)
{
    struct cycle *c = &run->cycle;
    unsigned parity = run->p->parity;
    double group = 0, blob = 0;
    bool failed = true;
    cycle_begin(run, biased);
    while (c->holes > 0) {
        unsigned now_lost = failed ? lost_count(c) : 0;
        if (now_lost > parity) {
            lost(run, &group, &blob);
            break;
        }
        if (failed && now_lost == parity && c->was_lost < parity && run->p->lse_rate > 0)
            latent(run);
        failed = advance(c);
    }
    sum_add(&run->group, group);
    sum_add(&run->blob, blob);
    sum_add(&run->length, run->idle_hours + c->now);
}

static double relative_variance(const struct sum *s, double count)
{
    double mean = s->sum / count;
    return mean > 0 ? fmax(0, s->squares / count - mean * mean) / count / (mean * mean) : 0;
}

static struct sim_estimate estimate(const struct sum *s, double count, double length,
                                    double length_rv)
{
    double rate = s->sum / count / length * DUR_YEAR_HOURS;
    double half = 1.96 * sqrt(relative_variance(s, count) + length_rv) * rate;
    if (s->sum <= 0) /* nothing seen: of plain cycles, at most three in so many (95 %) */
        return (struct sim_estimate){0, 0, 3 / count / length * DUR_YEAR_HOURS};
    return (struct sim_estimate){rate, fmax(0, rate - half), rate + half};
}

static void result(struct run *run, double cycles, double length, double length_rv, bool biased,
                   struct sim_result *ret)
{
    double a_year = DUR_YEAR_HOURS / length / cycles;
    double share = run->shared_weight > 0 ? run->shared / run->shared_weight : 1;
    double events = run->g->count * share;
    memset(ret, 0, sizeof(*ret));
    ret->group = estimate(&run->group, cycles, length, length_rv);
    ret->blob = estimate(&run->blob, cycles, length, length_rv);
    if (biased && run->losses == 0)
        ret->group.high = ret->blob.high = INFINITY;
    ret->any = (struct sim_estimate){ret->group.rate * events, ret->group.low * events,
                                     ret->group.high * events};
    ret->blob_lse = run->blob_lse * a_year;
    ret->any_lse = run->group_lse * a_year * run->g->count;
    ret->losses = run->losses;
    ret->busy = 1 - run->idle_hours / length;
    for (unsigned z = 0; z <= DUR_ZONES_MAX; z++)
        for (unsigned s = 0; s <= DUR_SHARDS_MAX; s++)
            ret->terms.rate[z][s] = run->terms.rate[z][s] * a_year;
}

int sim_group(const struct dur_params *p, const struct dur_groups *g, const struct sim_options *o,
              struct sim_result *ret)
{
    struct run *run = calloc(1, sizeof(*run)), *measure = calloc(1, sizeof(*measure));
    uint8_t *gone = calloc(g->node_count, 1);
    int err = run && measure && gone ? OK : ERR_NOMEM;
    uint64_t length_cycles = o->cycles < LENGTH_CYCLES ? o->cycles : LENGTH_CYCLES;
    if (!err) {
        *run = (struct run){.p = p, .g = g, .sharing_left = SHARING_WORK, .gone = gone};
        *measure = (struct run){.p = p, .g = g, .gone = gone};
        rng_init(&run->rng, o->seed);
        rng_init(&measure->rng, ~o->seed);
        uint64_t step = o->cycles / 100 + 1;
        for (uint64_t i = 0; i < o->cycles; i++) {
            cycle_run(run, o->biased);
            if (o->progress && i % step == 0)
                o->progress(o->arg, (double)i / (double)o->cycles);
        }
        for (uint64_t i = 0; i < length_cycles; i++)
            cycle_run(measure, false);
        double count = (double)length_cycles, length = measure->length.sum / count;
        result(run, (double)o->cycles, length, relative_variance(&measure->length, count),
               o->biased, ret);
    }
    free(run);
    free(measure);
    free(gone);
    return err;
}
