#pragma once
/* store.put, store.get, store.delete and store.status over RPC, and the metrics of a store.  The
 * messages are checked here, what they ask for is decided by the store.  Payloads are passed on by
 * reference in both directions. */
#include "common/rpc/rpc.h"
#include "storagenode/op/store.h"

struct service;

/* Serves the store on the RPC endpoint; both outlive the service.  OK; ERR_NOMEM. */
int service_new(struct rpc *rpc, struct store *store, struct service **ret);
void service_free(struct service *s);
/* Calls that have been handed to the store and not been answered. */
size_t service_calls_under_way(const struct service *s);
