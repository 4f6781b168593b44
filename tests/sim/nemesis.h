#pragma once
/* What goes wrong in a simulated cluster, drawn from the seed: the first phase breaks anything
 * within the protocol's assumptions (clock rates within the drift bound), the second heals it. */
#include "tests/sim/cluster.h"

struct nemesis;

/* directed: the only kind of directed fault (scenario.h), and always; NULL: as the seed says. */
struct nemesis *nemesis_new(struct sim_cluster *c, const char *directed);
void nemesis_start(struct nemesis *n); /* one fault after another, until nemesis_heal() */
/* Everything runs again, nothing is blocked, frames arrive in time. */
void nemesis_heal(struct nemesis *n);
uint64_t nemesis_faults(const struct nemesis *n);
