#pragma once
/* Opens what a storage node's disks lie on: for each directory of the parameter `disks` (data_dir
 * alone when it is empty) the extents in DIR/extents and the index in DIR/index.  One that cannot
 * be opened is logged and stays a member that is out of service. */
#include "common/proc/proc.h"
#include "storagenode/op/disks.h"

struct members {
    struct disks_member disks[DISKS_MAX];
    size_t count;
    struct id128 lost[DISKS_KNOWN_MAX];
    size_t lost_count;
    char *text; /* the paths */
    size_t closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* What lies in this member's directory is of no use any more: it is removed when the member is opened
 * the next time.  OK; ERR_IO; ERR_NOMEM. */
int members_give_up(const struct members *m, size_t member);
/* Logs what is wrong.  Returns: OK; ERR_CONFIG; ERR_NOMEM; the error of the first when none opens.
 */
int members_open(struct members *m, struct proc *p);
/* The disks have been closed.  Closes all, then calls `closed`. */
void members_close(struct members *m, void (*closed)(void *arg), void *arg);
