#pragma once
/* A storage node over RPC, and its metrics: puts, gets, deletes, checks, inventories, status.  The
 * messages are checked here, what they ask for is decided by the disks.  Payloads are passed on by
 * reference in both directions. */
#include "common/rpc/rpc.h"
#include "storagenode/op/disks.h"
#include "storagenode/repair/agent.h"

struct service;

/* Serves the disks on the RPC endpoint; both outlive the service.  OK; ERR_NOMEM. */
int service_new(struct rpc *rpc, struct disks *disks, struct service **ret);
/* store.status tells of it from now on, and store.start_scrub asks it; it outlives the service. */
void service_report_repair(struct service *s, struct repair_agent *repair);
void service_free(struct service *s);
/* Calls that have been handed to the disks and not been answered. */
size_t service_calls_under_way(const struct service *s);
