#pragma once
/* Directed faults: sequences that provoke one dangerous situation each, which chance alone would
 * rarely meet: they watch the cluster and strike at the moment that matters.  All stay within what
 * the protocol must survive.
 *
 * One runs at a time.  It reads the state of nodes only to choose its moment. */
#include "tests/sim/cluster.h"

#define SCENARIO_COUNT 11

struct scenario {
    struct sim_cluster *cluster;
    bool active, stop;
    unsigned kind, step;
    size_t partition;            /* position in the nodes' tables: the same on all */
    size_t leader, other, third; /* zones of metanodes, as they stood at the start */
    size_t witness;              /* zone */
    uint64_t boot, term, mark, until_ns;
    unsigned gateways; /* bits of zones: those that are left with the leader */
    bool flag;
};

void scenario_init(struct scenario *s, struct sim_cluster *c);
/* Starts one of the kinds (< SCENARIO_COUNT).  Returns: false when the cluster is in no state for
 * it. */
bool scenario_start(struct scenario *s, unsigned kind);
/* Ends it, if one runs; what it blocked and slowed is as before. */
void scenario_stop(struct scenario *s);
const char *scenario_name(unsigned kind);

/* A crash that ends by itself. */
void scenario_crash(struct sim_cluster *c, struct sim_node *n, bool silent, uint64_t down_ns);
