/* cairnctl durability: options, and the answers of cli/durability as text or JSON. */
#include "cli/args/args.h"
#include "cli/cmd/commands.h"
#include "cli/durability/closed.h"
#include "cli/durability/sim.h"
#include "common/base/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct arg_option options[] = {
    {"scheme", ARG_TEXT, "5+4", 0, 0, "data+parity shards (5+4), or copies (rep-3)"},
    {"zones", ARG_COUNT, "3", 1, DUR_ZONES_MAX, "zones"},
    {"nodes", ARG_COUNT, "3", 1, DUR_NODES_MAX, "storage nodes a zone"},
    {"disks", ARG_COUNT, "1", 1, DUR_DISKS_MAX, "disks a node"},
    {"scatter", ARG_COUNT, "0", 0, DUR_NODES_MAX,
     "scatter width: least number of nodes that share a group with a node; 0: shards - 1"},
    {"afr", ARG_RATIO, "1.4%", 0, 100, "losses of a disk a year (1.4% or 0.014)"},
    {"node-loss", ARG_RATIO, "0.5%", 0, 100, "losses of a node, with all its disks, a year"},
    {"zone-loss", ARG_RATIO, "20%", 0, 100, "losses of a zone a year, for a while or for ever"},
    {"zone-permanent", ARG_RATIO, "0.5%", 0, 1, "of the losses of a zone, those that are for ever"},
    {"outage", ARG_DURATION, "6h", 0.01, 8760, "how long a zone is away that comes back"},
    {"disk-repair", ARG_DURATION, NULL, 0.01, 87600, "until a lost disk's shards are there again"},
    {"node-repair", ARG_DURATION, NULL, 0.01, 87600, "the same of a node"},
    {"zone-repair", ARG_DURATION, NULL, 0.01, 87600, "the same of a zone lost for ever"},
    {"detect", ARG_DURATION, "15m", 0, 8760, "until a loss is declared (node_lost_after)"},
    {"disk-used", ARG_BYTES, "12TB", 1e6, 1e15, "bytes used on a disk"},
    {"repair-rate", ARG_BYTES, "200MB", 1e3, 1e13,
     "bytes a second that are rebuilt; gives the repair times that are not stated"},
    {"repair-times", ARG_TEXT, "fixed", 0, 0, "fixed or exponential"},
    {"lse", ARG_NUMBER, "0.5", 0, 1e6, "latent sector errors a year of each disk"},
    {"scrub", ARG_DURATION, "30d", 1, 87600, "in which every byte is read once"},
    {"blob", ARG_BYTES, "4MiB", 1, 1e12, "bytes of a blob (segment of an object)"},
    {"segments", ARG_COUNT, "1", 1, 1e6, "blobs of an object, each in a group of its own"},
    {"method", ARG_TEXT, "importance", 0, 0,
     "importance (a group, rare events), plain (the same without), cluster (all of it, for "
     "--years)"},
    {"cycles", ARG_COUNT, "1000000", 1000, 1e10, "of importance and plain"},
    {"years", ARG_NUMBER, "100000", 1, 1e12, "of cluster"},
    {"seed", ARG_COUNT, "1", 0, 9e15, "the same seed gives the same answer"},
    {"want-nines", ARG_NUMBER, "0", 0, 100,
     "exit with 1 if an object has fewer (upper bound of loss)"},
    {"burst", ARG_RATIO, NULL, 0, 1,
     "only this: so much of all nodes is lost at once; is anything lost?"},
    {"trials", ARG_COUNT, "100000", 100, 1e10, "of --burst"},
};

#define EVENTS_MAX 1e10
#define LOAD_MAX 3.0

struct answer {
    struct dur_params p;
    struct dur_groups groups;
    struct sim_result sim;
    struct dur_terms terms;    /* closed, of a group */
    double window_hours, rate; /* of one shard: failures a year, and until they are repaired */
    double window, sliding, markov, markov_serial, blob, group, any_at_most;
    double segments;
};

static int fail(const char *what)
{
    fprintf(stderr, "cairnctl durability: %s\n", what);
    return CLI_USAGE;
}

static int usage(void)
{
    struct buf text = {0};
    args_help(options, ARRAY_COUNT(options), &text);
    printf("usage: cairnctl durability [OPTION...]\n\n"
           "How likely data are lost in a year: simulated, and by closed forms.  "
           "docs/durability.md has the\n"
           "model.  Durations: s m h d y (plain: hours); bytes: MB, MiB ...; ratios: 0.01 or "
           "1%%.\nExit status: 0 computed, 1 fewer nines than --want-nines, 2 not understood.\n\n%.*s",
           (int)text.len, (const char *)text.ptr);
    buf_fini(&text);
    return CLI_GOOD;
}

static bool scheme_parse(const char *text, unsigned *ret_data, unsigned *ret_parity)
{
    unsigned a, b;
    char rest;
    if (sscanf(text, "%2u+%2u%c", &a, &b, &rest) == 2) {
        *ret_data = a;
        *ret_parity = b;
        return a >= 1 && a <= DUR_SHARDS_MAX && b >= 1 && b <= DUR_SHARDS_MAX;
    }
    if (sscanf(text, "rep-%2u%c", &a, &rest) != 1 || a < 2 || a > DUR_SHARDS_MAX)
        return false;
    *ret_data = 1;
    *ret_parity = a - 1;
    return true;
}

static double repair_hours(const struct args *a, const char *name, double bytes)
{
    return arg_given(a, name)
               ? arg_number(a, name)
               : fmax(0.01, arg_number(a, "detect") + bytes / arg_number(a, "repair-rate") / 3600);
}

/* What would run for ever, or for days.  Returns: NULL, or what is wrong. */
static const char *too_much(const struct args *a, const struct dur_params *p)
{
    double nodes = dur_nodes(p), events = nodes * p->disks * p->disk_rate + nodes * p->node_rate +
                                          p->zones * p->zone_rate;
    const char *method = arg_text(a, "method");
    if (strcmp(method, "cluster") == 0)
        return events * arg_number(a, "years") > EVENTS_MAX
                   ? "--years: more than 10^10 failures would be simulated"
                   : NULL;
    return dur_load(p) > LOAD_MAX
               ? "so much fails that a group is hardly ever whole: use --method=cluster"
               : NULL;
}

/* Returns: NULL, or what is wrong. */
static const char *params_read(const struct args *a, struct dur_params *p)
{
    const char *times = arg_text(a, "repair-times");
    *p = (struct dur_params){
        .zones = (unsigned)arg_number(a, "zones"),
        .nodes = (unsigned)arg_number(a, "nodes"),
        .disks = (unsigned)arg_number(a, "disks"),
        .scatter = (unsigned)arg_number(a, "scatter"),
        .disk_rate = arg_number(a, "afr"),
        .node_rate = arg_number(a, "node-loss"),
        .zone_rate = arg_number(a, "zone-loss"),
        .zone_permanent = arg_number(a, "zone-permanent"),
        .outage_hours = arg_number(a, "outage"),
        .lse_rate = arg_number(a, "lse"),
        .scrub_hours = arg_number(a, "scrub"),
        .disk_bytes = arg_number(a, "disk-used"),
        .blob_bytes = arg_number(a, "blob"),
        .exponential = strcmp(times, "exponential") == 0,
    };
    p->disk_hours = repair_hours(a, "disk-repair", p->disk_bytes);
    p->node_hours = repair_hours(a, "node-repair", p->disk_bytes * p->disks);
    p->zone_hours = repair_hours(a, "zone-repair", p->disk_bytes * p->disks * p->nodes);
    if (!p->exponential && strcmp(times, "fixed") != 0)
        return "--repair-times: must be fixed or exponential";
    if (!scheme_parse(arg_text(a, "scheme"), &p->data, &p->parity) ||
        dur_shards(p) > DUR_SHARDS_MAX)
        return "--scheme: must be as in 5+4 or rep-3, at most 28 shards";
    if (dur_nodes(p) < dur_shards(p))
        return "--nodes: there must be at least as many nodes as a blob has shards";
    if (dur_nodes(p) > DUR_NODES_MAX)
        return "--nodes: more than 20000 nodes in all";
    if (p->scatter == 0)
        p->scatter = dur_shards(p) - 1;
    if (!arg_given(a, "burst") && dur_params_valid(p)) {
        const char *wrong = too_much(a, p);
        if (wrong)
            return wrong;
    }
    if (!dur_params_valid(p))
        return "nothing ever fails, or a repair takes more than a century";
    return NULL;
}

static void progress(void *arg, double done)
{
    (void)arg;
    fprintf(stderr, "\r%3.0f %%", 100 * done);
}

static int simulate(const struct args *a, struct answer *x)
{
    const char *method = arg_text(a, "method");
    struct sim_options o = {.seed = (uint64_t)arg_number(a, "seed"),
                            .cycles = (uint64_t)arg_number(a, "cycles"),
                            .years = arg_number(a, "years"),
                            .biased = strcmp(method, "importance") == 0,
                            .progress = isatty(2) ? progress : NULL};
    int err = strcmp(method, "cluster") == 0 ? sim_cluster(&x->p, &x->groups, &o, &x->sim)
                                             : sim_group(&x->p, &x->groups, &o, &x->sim);
    if (o.progress)
        fprintf(stderr, "\r     \r");
    return err;
}

static void closed_forms(struct answer *x)
{
    const struct dur_params *p = &x->p;
    unsigned members[DUR_ZONES_MAX] = {0}, shards = dur_shards(p);
    struct dur_terms blob_terms;
    x->rate = p->disk_rate + p->node_rate;
    x->window_hours = x->rate > 0
                          ? (p->disk_rate * p->disk_hours + p->node_rate * p->node_hours) / x->rate
                          : p->disk_hours;
    x->window = closed_window(shards, p->parity, x->rate, x->window_hours);
    x->markov = closed_markov(shards, p->parity, x->rate, x->window_hours, false);
    x->markov_serial = closed_markov(shards, p->parity, x->rate, x->window_hours, true);
    for (unsigned i = 0; i < shards; i++)
        members[dur_zone_of(p, x->groups.member[i])]++;
    x->blob = closed_crossings(p, members, false, &blob_terms);
    x->group = closed_crossings(p, members, true, &x->terms);
    x->any_at_most = x->group * x->groups.count;
}

/* ---- text ---- */

static void print_rate(const char *what, struct sim_estimate e)
{
    double p = closed_probability(e.rate);
    printf("  %-34s %.4g  (95 %%: %.4g .. %.4g)  %.2f nines\n", what, p, closed_probability(e.low),
           closed_probability(e.high), closed_nines(p));
}

static struct sim_estimate plus(struct sim_estimate e, double rate, double factor)
{
    return (struct sim_estimate){(e.rate + rate) * factor, (e.low + rate) * factor,
                                 (e.high + rate) * factor};
}

static void print_terms(const char *title, const struct dur_terms *t)
{
    double sum = 0;
    for (unsigned z = 0; z <= DUR_ZONES_MAX; z++)
        for (unsigned s = 0; s <= DUR_SHARDS_MAX; s++)
            sum += t->rate[z][s];
    printf("  %s\n", title);
    for (unsigned z = 0; z <= DUR_ZONES_MAX && sum > 0; z++)
        for (unsigned s = 0; s <= DUR_SHARDS_MAX; s++)
            if (t->rate[z][s] / sum >= 1e-4)
                printf("    %u zone%s for ever and %2u more shards  %6.2f %%  %.4g\n", z,
                       z == 1 ? " " : "s", s, 100 * t->rate[z][s] / sum, t->rate[z][s]);
}

static void print_text(const struct args *a, const struct answer *x)
{
    const struct dur_params *p = &x->p;
    printf("%u+%u over %u zones of %u nodes of %u disks; %u groups\n", p->data, p->parity, p->zones,
           p->nodes, p->disks, x->groups.count);
    printf("a year's losses: disk %.4g, node %.4g, zone %.4g of which for ever %.4g\n",
           p->disk_rate, p->node_rate, p->zone_rate, p->zone_permanent);
    printf("hours until repaired (%s): disk %.4g, node %.4g, zone %.4g; outage %.4g\n",
           p->exponential ? "exponential" : "fixed", p->disk_hours, p->node_hours, p->zone_hours,
           p->outage_hours);
    printf("\nprobability of loss in a year, simulated (%s, %llu losses seen, seed %.0f)\n",
           arg_text(a, "method"), (unsigned long long)x->sim.losses, arg_number(a, "seed"));
    print_rate("a blob", plus(x->sim.blob, x->sim.blob_lse, 1));
    print_rate("an object", plus(x->sim.blob, x->sim.blob_lse, x->segments));
    print_rate("anything in the cluster", plus(x->sim.any, x->sim.any_lse, 1));
    printf("  of which by latent sector errors:  blob %.4g, anything %.4g\n", x->sim.blob_lse,
           x->sim.any_lse);
    print_terms("a group, by what was lost, a year:", &x->sim.terms);
    printf("\nclosed forms, a year\n");
    printf("  a blob, crossings (zones and all)  %.4g\n", x->blob);
    printf("  anything, at most                  %.4g\n", x->any_at_most);
    print_terms("a group, by what was lost:", &x->terms);
    printf("  disks and nodes alone, %.4g losses a year and shard, %.4g h each\n", x->rate,
           x->window_hours);
    printf("    fixed windows, binomial          %.4g  (%.4g in each of %.2f windows)\n",
           x->window * DUR_YEAR_HOURS / x->window_hours, x->window,
           DUR_YEAR_HOURS / x->window_hours);
    printf("    Markov, repairs in parallel      %.4g\n", x->markov);
    printf("    Markov, one repair at a time     %.4g\n", x->markov_serial);
}

/* ---- JSON ---- */

static json_t *estimate_json(struct sim_estimate e)
{
    double p = closed_probability(e.rate), high = closed_probability(e.high);
    json_t *nines = p > 0 ? json_real(closed_nines(p)) : json_null();
    return json_pack("{s:f, s:f, s:f, s:o}", "probability", p, "low", closed_probability(e.low),
                     "high", high, "nines", nines);
}

static json_t *terms_json(const struct dur_terms *t)
{
    json_t *all = json_array();
    for (int z = 0; z <= (int)DUR_ZONES_MAX; z++)
        for (int s = 0; s <= (int)DUR_SHARDS_MAX; s++)
            if (t->rate[z][s] > 0)
                json_array_append_new(all, json_pack("{s:i, s:i, s:f}", "zones", z, "shards", s,
                                                     "rate", t->rate[z][s]));
    return all;
}

static int print_json(json_t *root)
{
    int bad = !root || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0;
    if (bad)
        fprintf(stderr, "cairnctl durability: the answer cannot be written\n");
    else
        printf("\n");
    json_decref(root);
    return bad ? CLI_BAD : CLI_GOOD;
}

static int answer_json(const struct args *a, const struct answer *x)
{
    const struct dur_params *p = &x->p;
    json_t *assumed = json_pack(
        "{s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "data",
        (int)p->data, "parity", (int)p->parity, "zones", (int)p->zones, "nodes", (int)p->nodes,
        "disks", (int)p->disks, "groups", (int)x->groups.count, "disk_rate", p->disk_rate,
        "node_rate", p->node_rate, "zone_rate", p->zone_rate, "zone_permanent", p->zone_permanent,
        "disk_hours", p->disk_hours, "node_hours", p->node_hours, "zone_hours", p->zone_hours,
        "outage_hours", p->outage_hours, "exponential", p->exponential);
    json_t *sim = json_pack(
        "{s:s, s:I, s:I, s:o, s:o, s:o, s:f, s:f, s:o}", "method", arg_text(a, "method"), "seed",
        (json_int_t)arg_number(a, "seed"), "losses_seen", (json_int_t)x->sim.losses, "blob",
        estimate_json(plus(x->sim.blob, x->sim.blob_lse, 1)), "object",
        estimate_json(plus(x->sim.blob, x->sim.blob_lse, x->segments)), "any",
        estimate_json(plus(x->sim.any, x->sim.any_lse, 1)), "blob_lse_rate", x->sim.blob_lse,
        "any_lse_rate", x->sim.any_lse, "group_terms", terms_json(&x->sim.terms));
    json_t *closed = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "blob_rate", x->blob, "any_rate_at_most",
        x->any_at_most, "window_hours", x->window_hours, "window_probability", x->window,
        "window_year", x->window * DUR_YEAR_HOURS / x->window_hours, "markov_parallel", x->markov,
        "markov_serial", x->markov_serial, "group_terms", terms_json(&x->terms));
    return print_json(
        json_pack("{s:o, s:o, s:o}", "assumed", assumed, "simulated", sim, "closed", closed));
}

/* ---- the two questions ---- */

static int burst(const struct args *a, const struct answer *x)
{
    const struct dur_params *p = &x->p;
    struct sim_estimate e;
    unsigned lost = (unsigned)lround(arg_number(a, "burst") * dur_nodes(p));
    uint64_t trials = (uint64_t)arg_number(a, "trials");
    double closed = closed_burst(dur_nodes(p), lost, x->groups.count, dur_shards(p), p->parity);
    if (sim_burst(p, &x->groups, lost, trials, (uint64_t)arg_number(a, "seed"), &e) != OK)
        return fail("out of memory");
    if (a->json)
        return print_json(json_pack("{s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "nodes",
                                    (int)dur_nodes(p), "lost", (int)lost, "groups",
                                    (int)x->groups.count, "scatter", (int)p->scatter, "probability",
                                    e.rate, "low", e.low, "high", e.high, "closed", closed));
    printf("%u of %u nodes lost at once, %u groups (scatter width %u)\n"
           "  probability of data loss   %.4g  (95 %%: %.4g .. %.4g)\n"
           "  closed form                %.4g\n",
           lost, dur_nodes(p), x->groups.count, p->scatter, e.rate, e.low, e.high, closed);
    return CLI_GOOD;
}

static int year(const struct args *a, struct answer *x)
{
    x->segments = arg_number(a, "segments");
    if (simulate(a, x) != OK)
        return fail("out of memory");
    closed_forms(x);
    int status = CLI_GOOD;
    if (a->json)
        status = answer_json(a, x);
    else
        print_text(a, x);
    double loss = closed_probability((x->sim.blob.high + x->sim.blob_lse) * x->segments);
    return closed_nines(loss) < arg_number(a, "want-nines") ? CLI_BAD : status;
}

int cmd_durability(int argc, char **argv)
{
    static const char *positional[ARGS_POSITIONAL_MAX];
    static struct answer x;
    struct args a;
    struct buf error = {0};
    int err = args_parse(&a, options, ARRAY_COUNT(options), argc, argv, positional, &error);
    if (!err && a.help)
        return usage();
    if (!err && a.positional_count)
        buf_printf(&error, "'%.64s': takes options only", a.positional[0]);
    const char *wrong = err || error.len ? NULL : params_read(&a, &x.p);
    const char *method = err ? "" : arg_text(&a, "method");
    if (wrong)
        buf_cstr(&error, wrong);
    else if (!error.len && strcmp(method, "importance") != 0 && strcmp(method, "plain") != 0 &&
             strcmp(method, "cluster") != 0)
        buf_cstr(&error, "--method: must be importance, plain or cluster");
    if (error.len || error.failed) {
        fprintf(stderr, "cairnctl durability: %.*s\nsee cairnctl durability --help\n",
                (int)error.len, error.ptr ? (const char *)error.ptr : "");
        buf_fini(&error);
        return CLI_USAGE;
    }
    err = dur_groups_init(&x.groups, &x.p, (uint64_t)arg_number(&a, "seed"));
    if (err)
        return fail(err == ERR_NOMEM ? "out of memory"
                                     : "--scatter: gives more than 1000000 groups");
    int status = arg_given(&a, "burst") ? burst(&a, &x) : year(&a, &x);
    dur_groups_fini(&x.groups);
    return status;
}
