#pragma once
/* One run of the simulator: a cluster boots, is broken for a while as its seed says, is healed,
 * must converge and answer every client; then the histories are checked. */
#include "tests/sim/blobs.h"
#include "tests/sim/workload.h"

struct run_result { /* what a run's process tells its parent */
    uint64_t seed, trace, events, virtual_ns, faults;
    uint64_t asleep; /* how often a replica was seen to sleep */
    unsigned problems;
    bool mends; /* data were destroyed, and repaired */
    struct sim_workload_stats stats;
    struct sim_blobs_stats blobs;
    struct sim_shards_stats shards;
    char first_problem[240];
};

enum run_blobs { RUN_BLOBS_SHARE, RUN_BLOBS_ALWAYS, RUN_BLOBS_NEVER, RUN_BLOBS_MENDS };

struct run_options {
    unsigned seconds;     /* virtual ones in which things break */
    bool verbose;         /* everything is logged to stderr */
    enum run_blobs blobs; /* storage nodes and their clients: in every third seed; in every twelfth
                             they lose data and repair them (MENDS); or as said */
    const char *directed; /* of directed faults only this kind (scenario.h); NULL: any */
};

/* What the run allocated is not freed: it is meant to have a process of its own. */
void run_seed(uint64_t seed, const struct run_options *o, struct run_result *ret);
