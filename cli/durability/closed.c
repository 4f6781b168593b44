/* Closed forms of data loss. */
#include "cli/durability/closed.h"

#include "common/base/check.h"

#include <math.h>
#include <string.h>

static double log_choose(double n, double k)
{
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1);
}

static double binomial(unsigned n, unsigned k, double p)
{
    if (k > n)
        return 0;
    if (p <= 0 || p >= 1)
        return k == (p <= 0 ? 0 : n);
    return exp(log_choose(n, k) + k * log(p) + (n - k) * log1p(-p));
}

double closed_window(unsigned shards, unsigned parity, double rate, double window_hours)
{
    double p = fmin(1, rate * window_hours / DUR_YEAR_HOURS), sum = 0;
    for (unsigned j = shards; j > parity; j--)
        sum += binomial(shards, j, p);
    return sum;
}

/* With i lost: failures at (shards - i) rate, repairs at i mu or mu.  The mean time from i to i + 1
 * is t_i = (1 + mu_i t_(i-1)) / lambda_i; the sum over i = 0 .. parity leads to data loss. */
double closed_markov(unsigned shards, unsigned parity, double rate, double repair_hours,
                     bool serial)
{
    double mu = DUR_YEAR_HOURS / repair_hours, t = 0, sum = 0;
    if (rate <= 0)
        return 0;
    for (unsigned i = 0; i <= parity; i++) {
        double repairs = i == 0 ? 0 : serial ? mu : i * mu;
        t = (1 + repairs * t) / ((shards - i) * rate);
        sum += t;
    }
    return 1 / sum;
}

/* Of an alternating process that fails at `rate` a year and is down for `hours`: how much of the
 * time it is down. */
static double down(double rate, double hours)
{
    double u = rate * hours / DUR_YEAR_HOURS;
    return u / (1 + u);
}

struct crossing {
    const struct dur_params *p;
    const unsigned *members;
    double member_rate, member_down, zone_rate;
    struct dur_terms *terms;
    double sum;
};

static void add(struct crossing *c, unsigned zones, unsigned shards, double rate)
{
    c->sum += rate;
    c->terms->rate[zones][shards] += rate;
}

/* The zones of `mask` are lost; `weight` is how much of the time just these are. */
static void crossings_of(struct crossing *c, unsigned mask, double weight)
{
    unsigned lost = 0, left = 0, parity = c->p->parity, zones = (unsigned)__builtin_popcount(mask);
    for (unsigned z = 0; z < c->p->zones; z++)
        *(mask & 1u << z ? &lost : &left) += c->members[z];
    if (lost > parity)
        return;
    unsigned spare = parity - lost; /* so many of `left` may be lost beside the zones */
    if (left > spare)               /* one more shard */
        add(c, zones, spare + 1,
            weight * binomial(left, spare, c->member_down) * (left - spare) * c->member_rate);
    for (unsigned z = 0; z < c->p->zones;
         z++) { /* one more zone: `rest` lost in others, `own` in it */
        unsigned own_max = c->members[z], others = left - own_max;
        if (mask & 1u << z)
            continue;
        for (unsigned rest = 0; rest <= others && rest <= spare; rest++)
            for (unsigned own = 0; own <= own_max && rest + own <= spare; own++)
                if (rest + own_max > spare)
                    add(c, zones + 1, rest,
                        weight * binomial(others, rest, c->member_down) *
                            binomial(own_max, own, c->member_down) * c->zone_rate);
    }
}

double closed_crossings(const struct dur_params *p, const unsigned zone_members[DUR_ZONES_MAX],
                        bool whole_nodes, struct dur_terms *ret_terms)
{
    double disks = whole_nodes ? p->disks : 1, zone_rate = p->zone_rate * p->zone_permanent;
    double disk_up = pow(1 - down(p->disk_rate, p->disk_hours), disks);
    double zone_down = down(zone_rate, p->zone_hours);
    struct crossing c = {
        .p = p, .members = zone_members, .zone_rate = zone_rate, .terms = ret_terms};
    memset(ret_terms, 0, sizeof(*ret_terms));
    c.member_down = 1 - disk_up * (1 - down(p->node_rate, p->node_hours));
    c.member_rate = disks * p->disk_rate + p->node_rate;
    for (unsigned mask = 0; mask < 1u << p->zones; mask++) {
        int zones = __builtin_popcount(mask);
        crossings_of(&c, mask, pow(zone_down, zones) * pow(1 - zone_down, (int)p->zones - zones));
    }
    return c.sum;
}

double closed_burst(unsigned nodes, unsigned lost, unsigned groups, unsigned shards,
                    unsigned parity)
{
    double one = 0;
    CHECK(lost <= nodes && shards <= nodes);
    for (unsigned j = parity + 1; j <= shards && j <= lost; j++)
        if (lost - j <= nodes - shards)
            one += exp(log_choose(shards, j) + log_choose(nodes - shards, lost - j) -
                       log_choose(nodes, lost));
    return one >= 1 ? 1 : -expm1(groups * log1p(-one));
}

double closed_probability(double rate)
{
    return -expm1(-rate);
}
double closed_nines(double probability)
{
    return -log10(probability);
}
