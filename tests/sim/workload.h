#pragma once
/* Clients at the gateways of a simulated cluster, the histories of what they did, and the checks
 * over those: linearizability per key (reads, lists' entries, conditional writes), bodies that
 * belong to their records, authorization that holds at or after the moment an object was read. */
#include "tests/sim/cluster.h"
#include "tests/sim/history.h"

#define SIM_OBJECTS 6
#define SIM_KEYS 2 /* access keys: registers of the root partition */
#define SIM_REGISTERS (SIM_OBJECTS + SIM_KEYS)
#define SIM_CLIENTS_MAX 12

struct sim_workload;

struct sim_workload_stats {
    uint64_t started, succeeded, refused, unknown, failed, lists, reads, undecided;
};

/* Two clients a gateway, which all do everything, or (roles) four, of which two only read and two
 * only write.  They start once the bucket exists. */
struct sim_workload *sim_workload_new(struct sim_cluster *c, bool roles, uint64_t think_max_ns);
bool sim_workload_ready(const struct sim_workload *w); /* the bucket exists */
/* No new operation begins; those under way go on. */
void sim_workload_stop(struct sim_workload *w);
bool sim_workload_idle(const struct sim_workload *w);
/* Operations that succeeded since the last call, of the client that had the fewest. */
uint64_t sim_workload_progress(struct sim_workload *w);
/* One read of every register through each gateway, recorded like any other; idle when done. */
void sim_workload_read_all(struct sim_workload *w);
/* Checks all histories; reports through the cluster's problem hook. */
void sim_workload_check(struct sim_workload *w);
const struct sim_workload_stats *sim_workload_stats(const struct sim_workload *w);
void sim_workload_print(const struct sim_workload *w, uint32_t reg,
                        void (*line)(void *arg, const char *), void *arg);
