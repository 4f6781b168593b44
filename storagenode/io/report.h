#pragma once
/* What a storage node says of its disks and groups, as a message. */
#include "proto/storage.pb-c.h"
#include "storagenode/op/disks.h"
#include "storagenode/repair/agent.h"

/* The message points into the arrays. */
struct report {
    Cairn__NodeReport message;
    Cairn__DiskReport *disks;
    Cairn__DiskReport **disk_pointers;
    Cairn__GroupReport *groups;
    Cairn__GroupReport **group_pointers;
    struct id128 *ids;
};

/* As of now; node_id and boot_id are the caller's to fill in.  repair NULL: there is none.
 * OK; ERR_NOMEM.  Owns: the caller, until report_fini(); paths are borrowed from the disks. */
int report_init(struct report *r, const struct disks *disks, struct repair_agent *repair);
void report_fini(struct report *r);
