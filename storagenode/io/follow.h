#pragma once
/* A storage node follows the cluster map and reports to the root's leader.
 *
 * When a placement group that the node is a member of, will be, or has shards of, has a newer epoch
 * than the one it closed last, the node closes it (disks_epoch_close): gateways with an older map
 * are refused from then on.  What is closed durably stands in the next report.
 *
 * Without a map (no metanode answers yet) nothing changes: the node goes on with what it has
 * closed. Runs on: the rpc's loop. */
#include "common/rpc/rpc.h"
#include "proto/map_client.h"
#include "proto/storage.pb-c.h"
#include "storagenode/op/disks.h"
#include "storagenode/repair/agent.h"

struct follow;

struct follow_config {
    const char *node_id;             /* copied */
    const char *const *metanode_ids; /* as map_client_config */
    const char *const *metanode_addrs;
    size_t metanode_count;
    uint64_t report_ns; /* 0: 2 s */
    /* The root's leader does not take the reports; once until it does again.  May be NULL. */
    void (*on_refused)(void *arg, int err);
    /* Adds to a report what others know.  May be NULL. */
    void (*on_report)(void *arg, Cairn__NodeReport *report);
    /* The map says that a disk of this node is lost for ever; with each new map again.  May be
     * NULL. */
    void (*on_disk_lost)(void *arg, const struct id128 *disk_id);
    void *arg;
};

/* The disks are open and outlive it.  OK; ERR_INVAL; ERR_NOMEM. */
int follow_new(struct rpc *rpc, struct disks *disks, const struct follow_config *config,
               struct follow **ret);
/* What the map is known by; follow's own. */
struct map_client *follow_map(struct follow *f);
/* Reports tell of it from now on; it outlives the reports, that is follow_stop(). */
void follow_report_repair(struct follow *f, struct repair_agent *repair);
void follow_stop(struct follow *f); /* what is under way ends soon */
bool follow_idle(const struct follow *f);
void follow_free(struct follow *f); /* idle, or after a crash in a simulation */
