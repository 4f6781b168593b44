/* A node's report of its disks and groups. */
#include "storagenode/io/report.h"

#include "common/base/check.h"

#include <assert.h>
#include <stdlib.h>

static_assert((int)DISKS_STATE_UP == (int)CAIRN__DISK_STATE__DISK_UP &&
                  (int)DISKS_STATE_FAILED == (int)CAIRN__DISK_STATE__DISK_FAILED &&
                  (int)DISKS_STATE_LOST == (int)CAIRN__DISK_STATE__DISK_LOST,
              "states of disks travel as they are");

static int disks_fill(struct report *r, const struct disks *disks)
{
    struct disks_status st;
    size_t max = disks_members(disks) + DISKS_KNOWN_MAX;
    r->disks = calloc(max, sizeof(*r->disks));
    r->disk_pointers = calloc(max, sizeof(*r->disk_pointers));
    r->ids = calloc(max, sizeof(*r->ids));
    if (!r->disks || !r->disk_pointers || !r->ids)
        return ERR_NOMEM;
    size_t n = 0;
    for (size_t pos = 0; disks_status_next(disks, &pos, &st);) {
        if (id128_is_zero(st.id))
            continue; /* could not be opened: if it was one of ours, it is missed under its id */
        Cairn__DiskReport *d = &r->disks[n];
        cairn__disk_report__init(d);
        r->ids[n] = st.id;
        d->disk_id = (ProtobufCBinaryData){ID_BYTES, r->ids[n].bytes};
        d->path = (char *)(uintptr_t)st.path;
        d->state = (Cairn__DiskState)st.state;
        d->writable = st.writable;
        d->bytes_total = st.stats.bytes_total;
        d->bytes_free = st.stats.bytes_free;
        d->live_bytes = st.stats.live_bytes;
        d->dead_bytes = st.stats.dead_bytes;
        d->shards = st.stats.shards;
        d->scrub_oldest_ms = st.stats.scrub_oldest_ms;
        d->scrub_bytes = st.stats.scrub_bytes;
        d->scrub_found = st.stats.scrub_found;
        r->disk_pointers[n++] = d;
    }
    r->message.disks = r->disk_pointers;
    r->message.n_disks = n;
    return OK;
}

static int groups_fill(struct report *r, const struct disks *disks)
{
    uint32_t pg;
    uint64_t epoch;
    size_t count = 0;
    for (size_t pos = 0; disks_epoch_next(disks, &pos, &pg, &epoch);)
        count++;
    r->groups = calloc(count + 1, sizeof(*r->groups));
    r->group_pointers = calloc(count + 1, sizeof(*r->group_pointers));
    if (!r->groups || !r->group_pointers)
        return ERR_NOMEM;
    count = 0;
    for (size_t pos = 0; disks_epoch_next(disks, &pos, &pg, &epoch);) {
        if (epoch == 0)
            continue; /* not durable yet */
        Cairn__GroupReport *g = &r->groups[count];
        cairn__group_report__init(g);
        g->pg = pg;
        g->closed_epoch = epoch;
        r->group_pointers[count++] = g;
    }
    r->message.groups = r->group_pointers;
    r->message.n_groups = count;
    return OK;
}

int report_init(struct report *r, const struct disks *disks)
{
    *r = (struct report){0};
    cairn__node_report__init(&r->message);
    int err = disks_fill(r, disks);
    if (!err)
        err = groups_fill(r, disks);
    if (err)
        report_fini(r);
    return err;
}

void report_fini(struct report *r)
{
    free(r->disks);
    free(r->disk_pointers);
    free(r->groups);
    free(r->group_pointers);
    free(r->ids);
    *r = (struct report){0};
}
