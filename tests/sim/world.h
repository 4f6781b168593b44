#pragma once
/* A world in one thread: virtual time, hosts with clocks that drift, connections that carry frames,
 * and everything that can go wrong with them, all decided by one seed.
 *
 * The hosts run the real code of the services over `env` and `net`.  The same seed gives the same
 * run; world_trace() is a hash over every event, by which tests compare runs. */
#include "common/env/net.h"

struct world;
struct host;

/* Chances are in 1/10,000 per frame. */
struct world_faults {
    uint64_t delay_min_ns, delay_max_ns; /* of a frame, one way */
    uint32_t slow_per_10k;               /* frames that take up to slow_ns longer */
    uint64_t slow_ns;
    uint32_t drop_per_10k, dup_per_10k, reorder_per_10k;
    uint32_t reset_per_10k; /* the connection breaks instead */
};

struct world *world_new(uint64_t seed);
void world_free(struct world *w);
void world_set_faults(struct world *w, const struct world_faults *faults);
uint64_t world_now(const struct world *w);
uint64_t world_random(struct world *w);            /* 64 bits; part of the run */
uint64_t world_below(struct world *w, uint64_t n); /* 0 <= x < n */
bool world_chance(struct world *w, uint32_t per_10k);
uint64_t world_trace(const struct world *w);
void world_trace_add(struct world *w, uint64_t value);

/* Calls fn in delay_ns; the world's own, no host's. */
void world_call(struct world *w, uint64_t delay_ns, void (*fn)(void *arg), void *arg);
/* Runs until nothing is left or until world time `until_ns`.  Returns the events run. */
uint64_t world_run_until(struct world *w, uint64_t until_ns);
bool world_step(struct world *w); /* one event; false: nothing is left */

/* A host: a name, an address, a clock.  rate_ppm: how much faster than the world's its clock runs.
 */
struct host *host_new(struct world *w, const char *node_id, const char *zone, enum net_role role,
                      const char *addr, int32_t rate_ppm, uint64_t wall_ms);
const char *host_id(const struct host *h);
const char *host_zone(const struct host *h);
const char *host_addr(const struct host *h);
enum net_role host_role(const struct host *h);
struct env *host_env(struct host *h); /* of the present life */
struct net *host_net(struct host *h); /* of the present life */
bool host_alive(const struct host *h);
/* Nothing of it runs any more: timers, work, frames.  Peers see resets, or nothing (silent). */
void host_crash(struct host *h, bool silent);
/* A new life: a new env and net; the clock has gone on. */
void host_restart(struct host *h);
/* Nothing of it runs until then; the clock goes on, frames and timers wait. */
void host_pause(struct host *h, uint64_t until_ns);
bool host_paused(const struct host *h);
void host_set_rate(struct host *h, int32_t rate_ppm);
void host_jump_wall(struct host *h, int64_t ms);
/* Called before each callback of the host, e.g. to name it in logs. */
void host_on_enter(struct host *h, void (*fn)(void *arg), void *arg);

/* One-way: what `from` sends does not reach `to` while blocked. */
void world_block(struct world *w, struct host *from, struct host *to, bool blocked);
/* All connections between the two break. */
void world_break(struct world *w, struct host *a, struct host *b);
void world_heal(struct world *w);
uint64_t host_clock_ns(struct host *h);
