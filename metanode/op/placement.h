#pragma once
/* Storage nodes and placement groups, as the root's leader sees and drives them; the inside of
 * placement.c, placement_view.c and placement_serve.c.
 *
 * What it heard of nodes is soft state: a new leader begins with nothing and listens for as long as
 * DOWN takes before it calls anybody down or moves anything.  All that others must agree on goes
 * through the log.  Runs on: the node's loop. */
#include "common/base/arena.h"
#include "metanode/op/internal.h"
#include "metanode/placement/placement.h"
#include "proto/storage.pb-c.h"

#define REPORT_BYTES_MAX (4u << 20)
#define PLANNED_MAX 4096 /* changes that are shown */
#define DRAINS_MAX 16    /* requests waiting */

struct heard {
    char node_id[NET_NODE_ID_MAX];
    uint64_t ns; /* when */
    Cairn__NodeReport *report;
};

/* A request of the operator that waits for its turn, then for its entry. */
struct drain_wait {
    struct list node;
    struct rpc_request *req;
    struct placement *placement;
};

struct placement {
    struct replica *replica;
    uint64_t listening_ns; /* since when this leader hears reports */
    uint64_t served_ns;    /* its last tick at which it could */
    bool deaf;             /* and since then it could not */
    uint64_t due_ns;
    unsigned under_way; /* proposals */
    uint64_t version;   /* a map older than this is not planned by */
    struct list drains;
    unsigned drain_count;
    struct meta_placement_info info;
    size_t heard_count;
    struct heard heard[CLUSTER_NODES_MAX];
};

/* ---- placement_view.c ---- */

/* What the pure core looks at, with the records behind its numbers.  Borrows the map. */
struct placement_view {
    struct place_view v;
    struct place_node *nodes;
    struct place_group *groups;
    Cairn__NodeRecord **records; /* by node */
    Cairn__PlacementGroup **pgs; /* by group */
    char **zones;                /* by zone: names */
};

/* Storage nodes and the groups among these pgs that this version understands.
 * Returns: OK; ERR_NOMEM.  Owns: memory of the arena. */
int placement_view_make(struct arena *a, Cairn__NodeRecord **nodes, size_t node_count,
                        Cairn__PlacementGroup **pgs, size_t pg_count, struct placement_view *ret);
/* -1: not in the view. */
int placement_view_node(const struct placement_view *w, const char *node_id);
int placement_view_group(const struct placement_view *w, uint32_t pg);
/* Groups that the cluster is to have and has not: replicated ones first, with ids from first_id on,
 * at most `max`; none is no error.  Returns: OK; ERR_NOMEM.  Owns: memory of the arena. */
int placement_new_groups(struct arena *a, const struct placement_view *w,
                         const struct cluster_config *c, uint32_t first_id, size_t max,
                         Cairn__PlacementGroup ***ret, size_t *ret_count);

/* ---- placement.c ---- */

struct heard *placement_heard(struct placement *p, const char *node_id);
/* The report has a disk in use that the record says is lost: what was deleted without it is still
 * there, so the node is not heard until that disk is gone or emptied.  NULL report: no. */
bool placement_given_up(const Cairn__NodeRecord *record, const Cairn__NodeReport *report);
/* It reports, whatever the record still says of it: the next pass calls it UP. */
bool placement_hears(struct placement *p, const Cairn__NodeRecord *record);
/* The view of the newest map, with what was heard.  NULL map: there is none that may be planned by.
 * Returns: OK; ERR_NOT_READY; ERR_NOMEM. */
int placement_look(struct placement *p, struct arena *a, struct placement_view *ret,
                   const Cairn__ClusterMap **ret_map);
/* A change as messages show it; memory of the arena.  NULL: none left, or it cannot be said. */
Cairn__PlannedChange *placement_planned(struct arena *a, const struct placement_view *w,
                                        const struct place_change *c);
/* Begins a PutNode; `done` may be NULL. */
int placement_put_node(struct placement *p, Cairn__NodeRecord *node);
/* Proposals are answered to by this, which wakes nobody: the tick looks. */
void placement_proposed(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg);
/* This node leads the root and has applied what earlier leaders wrote. */
bool placement_leads(const struct replica *r);

/* ---- placement_serve.c ---- */

/* Takes the operator's requests in turn; returns when one has begun a proposal. */
void placement_drains(struct placement *p);
void placement_drains_fail(struct placement *p, int err);
