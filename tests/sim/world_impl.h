#pragma once
/* What world.c (time and hosts) and world_net.c (connections) share. */
#include "common/base/list.h"
#include "tests/sim/world.h"

#define WORLD_HOSTS_MAX 64
#define CONN_DEAD_NS (3 * NS_PER_SEC) /* a peer that is gone is noticed after this */

struct event {
    uint64_t due_ns, seq;
    struct host *host; /* NULL: the world's own */
    uint64_t life;     /* of the host: an event of an earlier life is dropped */
    void (*fn)(void *arg);
    void *arg;
    bool canceled;
};

struct world {
    uint64_t now_ns, seq, trace, same_time;
    uint64_t rng[4];
    struct event **heap;
    size_t count, cap;
    struct host *hosts[WORLD_HOSTS_MAX];
    size_t host_count;
    struct world_faults faults;
    bool blocked[WORLD_HOSTS_MAX][WORLD_HOSTS_MAX];
};

struct host_env {
    struct env env;
    struct host *host;
};

struct sim_net {
    struct net net;
    struct host *host;
    struct list conns;
    bool listening;
    int (*accept)(void *arg, struct net_conn *, const struct net_identity *,
                  const struct net_conn_handler **, void **);
    void *accept_arg;
};

struct host {
    struct world *world;
    size_t index;
    char id[NET_NODE_ID_MAX], zone[16], addr[64];
    enum net_role role;
    bool alive;
    uint64_t life;
    uint64_t paused_until_ns;
    int32_t rate_ppm;
    uint64_t clock_base_ns, world_base_ns; /* local = base + (world - world_base) * rate */
    int64_t wall_offset_ms;
    struct host_env *env;
    struct sim_net *net;
    void (*on_enter)(void *arg);
    void *enter_arg;
};

struct event *world_post(struct world *w, struct host *h, uint64_t delay_ns, void (*fn)(void *),
                         void *arg);
struct sim_net *sim_net_new(struct host *h);
void sim_net_crash(struct sim_net *net, bool silent);
struct host *world_host_at(struct world *w, const char *addr);
