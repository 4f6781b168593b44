#pragma once
/* Is the cluster well, and may a node go?  Verdicts on what the root's leader and the storage nodes
 * themselves said.  Pure: no clock, no I/O; messages are borrowed for the call. */
#include "common/base/slice.h"
#include "proto/storage.pb-c.h"

/* What the operator is told of a storage node. */
enum node_health {
    NODE_IS_UP,
    NODE_IS_SILENT, /* up, says the root; it does not answer the gateway */
    NODE_IS_DOWN,
    NODE_IS_LOST,
    NODE_IS_UNREPORTED, /* it answers, and never reported to the root: another version, perhaps */
};
const char *node_health_name(enum node_health h);
/* answers: it answered the gateway just now. */
enum node_health node_health(const Cairn__NodeStatus *node, bool answers);

/* Of a group, by its members. */
enum pg_health {
    PG_IS_WELL,
    PG_IS_CHANGING,
    PG_IS_DEGRADED,   /* members are away, and more than one of the rest may still be lost */
    PG_IS_ENDANGERED, /* one more, and its data cannot be read */
    PG_IS_UNREADABLE, /* fewer members than it takes */
    PG_HEALTH_COUNT,
};
const char *pg_health_name(enum pg_health h);

struct view_node {
    const char *node_id;
    enum node_health is;
};
struct cluster_view {
    const Cairn__ClusterStatusResponse *status;
    const bool *answers;     /* one a node of the status */
    struct view_node *nodes; /* storage nodes by id */
    size_t node_count;
};
/* nodes: room for one a node of the status; all is borrowed. */
void view_init(struct cluster_view *v, const Cairn__ClusterStatusResponse *status,
               const bool *answers, struct view_node *nodes);
enum pg_health pg_health(const struct cluster_view *v, const Cairn__PlacementGroup *pg);
bool view_is_storage(const Cairn__NodeStatus *node);

struct health_facts {
    uint64_t nodes, nodes_silent, nodes_down, nodes_lost, nodes_unreported;
    uint64_t zones_down, disks, disks_failed, disks_full, disks_slow;
    uint64_t pgs[PG_HEALTH_COUNT], pg_count;
    uint64_t missing, endangered, backlog_bytes;
    uint64_t bytes_total, bytes_free, live_bytes, dead_bytes;
};
void health_facts(const struct cluster_view *v, struct health_facts *ret);

enum health { HEALTH_OK, HEALTH_DEGRADED, HEALTH_CRITICAL };
const char *health_name(enum health h);
#define HEALTH_REASONS_MAX 16
struct health_reason {
    enum health is;
    uint64_t count;
    const char *text; /* goes on after the count */
};
/* The worst of all that is wrong, worst first in ret. */
enum health health_verdict(const struct health_facts *f,
                           struct health_reason ret[HEALTH_REASONS_MAX], size_t *ret_count);

/* ---- may a node be taken away for good? ---- */

struct removable {
    bool known; /* a storage node of the map */
    bool draining;
    uint64_t member_of, next_member_of, planned_for; /* groups */
    bool safe;
};
void removable_check(const Cairn__ClusterStatusResponse *status, const char *node_id,
                     struct removable *ret);
