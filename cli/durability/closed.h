#pragma once
/* Closed forms, to be held against the simulations and against what others have published.
 *
 * Each says what it leaves out; docs/durability.md derives them.  Pure. */
#include "cli/durability/model.h"

/* More than `parity` of `shards` fail within one window of `window_hours`, by binomial: the method
 * of B. Beach, "Backblaze Durability is 99.999999999%" (2018), with rate in failures a year.
 * Returns: the probability for a window; times DUR_YEAR_HOURS / window_hours windows gives a year.
 */
double closed_window(unsigned shards, unsigned parity, double rate, double window_hours);

/* Losses a year of a birth-death chain: failures one by one at `rate` a year each, repairs of
 * `repair_hours` each, exponential, all in parallel, or one after another.  1 / mean time to data
 * loss from all intact (D. Patterson, G. Gibson, R. Katz, "RAID", 1988, for any number of
 * parities). */
double closed_markov(unsigned shards, unsigned parity, double rate, double repair_hours,
                     bool serial);

/* Losses a year of one group (`whole_nodes`: any disk of a member counts) or of one blob (only its
 * own disks do), zones and all: how often the stationary process, all repairs in parallel and
 * independent, steps from "at most parity lost" to more.  Holds for any distribution of repair
 * times.  Leaves out that repairs may have to wait for an outage, and latent sector errors.
 * zone_members: how many members of the group each zone has. */
double closed_crossings(const struct dur_params *p, const unsigned zone_members[DUR_ZONES_MAX],
                        bool whole_nodes, struct dur_terms *ret_terms);

/* `lost` of `nodes` nodes, chosen at random, are lost at once: the probability that one of `groups`
 * groups of `shards` nodes loses more than `parity`, taking groups to be independent. */
double closed_burst(unsigned nodes, unsigned lost, unsigned groups, unsigned shards,
                    unsigned parity);

/* 1 - exp(-rate): a year's probability from a year's rate, exact for small ones too. */
double closed_probability(double rate);
/* How many nines: -log10(probability); infinity for 0. */
double closed_nines(double probability);
