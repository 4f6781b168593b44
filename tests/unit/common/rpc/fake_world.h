#pragma once
/* A network of processes in memory, on a virtual clock, for tests of the RPC layer: an env and a
 * net per node, connections with a small constant delay, and a fault to order: drop, duplicate or
 * damage chosen frames, or close the connection at a chosen event. */
#include "common/env/env.h"
#include "common/env/net.h"

#define FAKE_DELAY_NS (1 * NS_PER_MS)

struct fake_world {
    uint64_t now_ns;
    uint64_t sequence;
    uint64_t random;
    struct list timers; /* in order of due time, then of start */
    struct list events; /* in order of delivery */
    uint64_t events_done;
    /* Faults.  close_at: both ends of the connection of that event are closed instead of it. */
    uint64_t close_at;                    /* 0: never */
    unsigned drop_flags, duplicate_flags; /* masks of FRAME_* kinds */
    bool blackhole;                       /* connects get no answer */
    bool no_set_reading;
    unsigned stops, resumes; /* calls of set_reading that changed something */
    unsigned conns_now, conns_made;
    struct list conns;
    struct list listeners;
};

struct fake_node {
    struct fake_world *world;
    struct env env;
    struct net net;
    struct net_identity identity;
};

void fake_world_init(struct fake_world *w);
void fake_node_init(struct fake_node *n, struct fake_world *w, const char *id, enum net_role role);

/* Delivers the next event or fires the next timer; false when there is none. */
bool fake_step(struct fake_world *w);
void fake_run_until(struct fake_world *w, const bool *flag); /* fails the test after 1e6 steps */
void fake_run_for(struct fake_world *w, uint64_t ns);
/* Everything done and nothing left but what is counted: for the end of a test. */
void fake_world_check_empty(struct fake_world *w);
/* Sends raw frames as a node without an RPC layer would: a connection whose frames are counted. */
struct fake_raw {
    struct net_conn *conn;
    struct net_identity peer;
    bool opened, closed;
    int err;
    unsigned frames, hellos, responses;
    int last_status;
};
void fake_raw_connect(struct fake_node *n, const char *addr, struct fake_raw *r);
/* The same as a server that accepts and says nothing by itself. */
void fake_raw_listen(struct fake_node *n, const char *addr, struct fake_raw *r,
                     struct net_listener **ret);
