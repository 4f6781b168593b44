#pragma once
/* Simulations of failures and repairs.
 *
 * sim_cluster: all disks, nodes, zones and groups, event by event, for so many years.  It assumes
 * least and sees only what is not rare.
 *
 * sim_group: one group at a time, by regenerative cycles with importance sampling, for losses far
 * too rare to wait for.  A cycle begins with everything intact, at the first loss of a thing that
 * the group depends on, and ends when all is intact again or data are lost; rate of loss = P(lost
 * in a cycle) / E[length of a cycle].  Within a cycle failures are forced (a failure before the
 * next repair has probability 0.6) and balanced (half of the time the kind of failure, and the
 * thing, are drawn evenly from those that bring loss nearer), and each path is weighed by its
 * likelihood ratio, so that the estimate is unbiased (P. Shahabuddin, "Importance sampling for the
 * simulation of highly reliable Markovian systems", 1994; V. Nicola, M. Nakayama, P. Heidelberger,
 * A. Goyal, 1993, for fixed repair times).  The length is measured without the bias. A loss in the
 * cluster may take several groups at once: how many share the nodes that were lost is counted in
 * the real table of groups, failures elsewhere at that moment left aside.
 *
 * Both are deterministic given the seed.  Pure. */
#include "cli/durability/model.h"

/* A rate a year with its 95 % interval. */
struct sim_estimate {
    double rate, low, high;
};

struct sim_result {
    struct sim_estimate blob;  /* loss of a given blob */
    struct sim_estimate group; /* loss of anything in a given group */
    struct sim_estimate any;   /* moments at which anything is lost in the cluster */
    /* The part of latent sector errors, which is added to none of the above: a group with exactly
     * `parity` shards lost and a bad sector in another.  Expected values, no interval of their own.
     */
    double blob_lse, any_lse;
    struct dur_terms terms; /* of a group */
    uint64_t losses;        /* that were seen, in cycles or in the cluster */
    double busy;            /* how much of the time anything of a group is lost or out of reach */
};

struct sim_options {
    uint64_t seed;
    uint64_t cycles;                          /* sim_group */
    double years;                             /* sim_cluster */
    bool biased;                              /* sim_group; false: plain cycles */
    void (*progress)(void *arg, double done); /* 0 .. 1, about a hundred times; NULL */
    void *arg;
};

/* Returns: OK; ERR_NOMEM. */
int sim_group(const struct dur_params *p, const struct dur_groups *g, const struct sim_options *o,
              struct sim_result *ret);
int sim_cluster(const struct dur_params *p, const struct dur_groups *g, const struct sim_options *o,
                struct sim_result *ret);

/* `lost` random nodes are lost at once, `trials` times: how often does a group lose data?  rate,
 * low and high are probabilities (Wilson's interval).  Returns: OK; ERR_NOMEM. */
int sim_burst(const struct dur_params *p, const struct dur_groups *g, unsigned lost,
              uint64_t trials, uint64_t seed, struct sim_estimate *ret);
