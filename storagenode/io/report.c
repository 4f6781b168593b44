/* A node's report of its disks and groups. */
#include "storagenode/io/report.h"

#include "common/base/check.h"

#include <assert.h>
#include <stdlib.h>

static_assert(DISKS_MAX <= REPAIR_SOURCES_MAX, "disks have numbers as sources");
static_assert((int)DEEP_BUCKETS == (int)REPAIR_BUCKETS, "notes of deep scrub are kept as they are");
static_assert((int)DISKS_STATE_UP == (int)CAIRN__DISK_STATE__DISK_UP &&
                  (int)DISKS_STATE_FAILED == (int)CAIRN__DISK_STATE__DISK_FAILED &&
                  (int)DISKS_STATE_LOST == (int)CAIRN__DISK_STATE__DISK_LOST,
              "states of disks travel as they are");

static int disks_fill(struct report *r, const struct disks *disks,
                      const struct repair_agent *repair)
{
    struct disks_status st;
    size_t max = disks_members(disks) + DISKS_KNOWN_MAX;
    r->disks = calloc(max, sizeof(*r->disks));
    r->disk_pointers = calloc(max, sizeof(*r->disk_pointers));
    r->ids = calloc(max, sizeof(*r->ids));
    if (!r->disks || !r->disk_pointers || !r->ids)
        return ERR_NOMEM;
    size_t n = 0;
    for (size_t pos = 0, at = 0; disks_status_next(disks, &pos, &st); at = pos) {
        if (id128_is_zero(st.id))
            continue; /* could not be opened: if it was one of ours, it is missed under its id */
        Cairn__DiskReport *d = &r->disks[n];
        cairn__disk_report__init(d);
        r->ids[n] = st.id;
        d->disk_id = (ProtobufCBinaryData){ID_BYTES, r->ids[n].bytes};
        d->path = (char *)(uintptr_t)st.path;
        d->state = (Cairn__DiskState)st.state;
        d->writable = st.writable;
        d->slow = st.slow;
        d->bytes_total = st.stats.bytes_total;
        d->bytes_free = st.stats.bytes_free;
        d->live_bytes = st.stats.live_bytes;
        d->dead_bytes = st.stats.dead_bytes;
        d->shards = st.stats.shards;
        d->scrub_oldest_ms = st.stats.scrub_oldest_ms;
        d->scrub_bytes = st.stats.scrub_bytes;
        d->scrub_found = st.stats.scrub_found;
        d->scrub_asked = st.stats.scrub_asked;
        d->scrub_left_bytes = st.stats.scrub_left_bytes;
        d->scrub_passes = st.stats.scrub_passes;
        if (repair && at < disks_members(disks))
            d->scrub_mended = repair_agent_spots_mended(repair, (unsigned)at);
        r->disk_pointers[n++] = d;
    }
    r->message.disks = r->disk_pointers;
    r->message.n_disks = n;
    return OK;
}

/* The next group of each list; *ret_pg is the lesser. */
struct group_walk {
    size_t closed_at, repair_at;
    uint32_t closed_pg, repair_pg;
    uint64_t epoch;
    bool closed_more, repair_more;
};

static void walk_closed(struct group_walk *w, const struct disks *disks)
{
    w->closed_more = disks_epoch_next(disks, &w->closed_at, &w->closed_pg, &w->epoch);
}

static void walk_repair(struct group_walk *w, const struct repair_agent *repair)
{
    w->repair_more = repair && repair_agent_next_group(repair, &w->repair_at, &w->repair_pg);
}

/* Of what has a closed epoch, and of what repair looks after; both are sorted. */
static int groups_fill(struct report *r, const struct disks *disks,
                       const struct repair_agent *repair)
{
    struct group_walk w = {0};
    uint32_t pg;
    uint64_t epoch;
    size_t count = 0;
    for (size_t pos = 0; disks_epoch_next(disks, &pos, &pg, &epoch);)
        count++;
    for (size_t pos = 0; repair && repair_agent_next_group(repair, &pos, &pg);)
        count++;
    r->groups = calloc(count + 1, sizeof(*r->groups));
    r->group_pointers = calloc(count + 1, sizeof(*r->group_pointers));
    if (!r->groups || !r->group_pointers)
        return ERR_NOMEM;
    count = 0;
    walk_closed(&w, disks);
    walk_repair(&w, repair);
    while (w.closed_more || w.repair_more) {
        bool closed = w.closed_more && (!w.repair_more || w.closed_pg <= w.repair_pg);
        bool repaired = w.repair_more && (!w.closed_more || w.repair_pg <= w.closed_pg);
        Cairn__GroupReport *g = &r->groups[count];
        cairn__group_report__init(g);
        g->pg = closed ? w.closed_pg : w.repair_pg;
        g->closed_epoch = closed ? w.epoch : 0; /* 0: not durable yet */
        if (repaired)
            repair_agent_report_group(repair, g);
        if (closed)
            walk_closed(&w, disks);
        if (repaired)
            walk_repair(&w, repair);
        if (g->closed_epoch || repaired)
            r->group_pointers[count++] = g;
    }
    r->message.groups = r->group_pointers;
    r->message.n_groups = count;
    return OK;
}

int report_init(struct report *r, const struct disks *disks, struct repair_agent *repair)
{
    *r = (struct report){0};
    cairn__node_report__init(&r->message);
    int err = disks_fill(r, disks, repair);
    if (!err)
        err = groups_fill(r, disks, repair);
    if (!err && repair)
        repair_agent_report_node(repair, &r->message);
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
