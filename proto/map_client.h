#pragma once
/* The cluster map, for a service that only follows it: asked of the metanodes in turn, again every
 * poll_ns, with the version that is known.  A hint, like every map: who acts upon it names the
 * epoch that he saw, and is refused if that is over.
 *
 * Also calls to a partition's leader: the leader is found by the map, by hints in answers
 * (ERR_NOT_LEADER) and by trying the others, until the deadline.
 *
 * Runs on: the rpc's loop.  No libuv.  A start leads to exactly one callback, later, never inside
 * the start. */
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/rpc/rpc.h"
#include "proto/meta.pb-c.h"

struct map_client;

struct map_client_config {
    const char *const *metanode_ids; /* copied, as the addresses */
    const char *const *metanode_addrs;
    size_t metanode_count;
    uint64_t poll_ns;             /* 0: 1 s */
    void (*on_change)(void *arg); /* a newer map is there; may be NULL */
    void *arg;
};

/* Returns: OK; ERR_INVAL (no metanode); ERR_NOMEM.  Asks at once. */
int map_client_new(struct rpc *rpc, const struct map_client_config *config,
                   struct map_client **ret);
void map_client_stop(struct map_client *mc);       /* what is under way ends soon */
bool map_client_idle(const struct map_client *mc); /* no callback is to come */
void map_client_free(struct map_client *mc);       /* idle, or after a crash in a simulation */

/* NULL: none yet.  Borrowed until the loop turns. */
const Cairn__ClusterMap *map_client_map(const struct map_client *mc);
void map_client_refresh(struct map_client *mc); /* soon, not at the next poll */
const Cairn__NodeRecord *map_client_node(const struct map_client *mc, const char *node_id);
const Cairn__PlacementGroup *map_client_pg(const struct map_client *mc, uint32_t id);
/* NULL: not in the map. */
struct rpc_peer *map_client_peer(struct map_client *mc, const char *node_id);
/* What holds (bucket_id, key); ROOT_PARTITION's with root.  NULL: no map yet. */
const Cairn__PartitionDescriptor *map_client_partition(const struct map_client *mc, bool root,
                                                       uint64_t bucket_id, struct slice key);

/* A call to whoever leads the partition that holds (bucket_id, key), or the root.  Fields
 * `partition` and `epoch` of the request are set here, anew with each try. */
struct leader_call {
    /* the caller's, borrowed until cb */
    const struct rpc_method *method;
    ProtobufCMessage *request;
    bool root;
    uint64_t bucket_id;
    struct slice key;
    uint64_t deadline_ns;
    uint64_t try_ns; /* 0: 2 s; how long one answer is waited for */
    void (*cb)(struct leader_call *);
    /* result: OK, rpc.response until leader_call_fini(); the leader's refusal, if it is PERMANENT
     * or no fault of the route; ERR_TIMEOUT; ERR_SHUTDOWN; ERR_CANCELED.  After an error of class
     * UNKNOWN_OUTCOME on the way the call is made again: for what may be done twice. */
    int err;
    struct rpc_call rpc;
    /* private */
    struct map_client *mc;
    struct list node;
    struct env_timer timer;
    unsigned tries;
    bool running, ended;
    char hint[NET_NODE_ID_MAX];
};
void leader_call_start(struct map_client *mc, struct leader_call *c);
void leader_call_cancel(struct leader_call *c); /* its callback comes soon */
void leader_call_fini(struct leader_call *c);   /* after cb, or never started */
