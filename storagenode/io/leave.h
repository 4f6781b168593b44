#pragma once
/* Shards of placement groups that the node has left are dropped: of those that the map shows with
 * no change under way and without the node among the members.  A group that the map does not show
 * is left alone, and so is what is older than the cluster (orphans/agent.h).  What stands against a
 * map that is behind: disks_group_leave().
 *
 * It looks once for each new map, and goes on, some shards at a time, as long as there is something
 * to drop; and every minute, for what was put meanwhile by a repairer whose map is behind.  Runs
 * on: the loop.  Memory: none to speak of. */
#include "proto/map_client.h"
#include "storagenode/op/disks.h"

struct leave;

/* The disks are open; they and the map outlive it; node_id is copied.  OK; ERR_NOMEM; ERR_INVAL. */
int leave_new(struct env *env, struct disks *disks, struct map_client *map, const char *node_id,
              struct leave **ret);
void leave_free(struct leave *l);
