/* Metrics of the disks: each series once a disk, with the label `disk`, its path. */
#include "storagenode/io/service_impl.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

#define STAT(field) offsetof(struct store_stats, field)
static const struct stat_metric {
    size_t offset;
    bool counter;
    const char *name, *help;
} stat_metrics[] = {
    {STAT(puts), true, "cairn_store_puts_total", "Shards acknowledged, all synced."},
    {STAT(put_bytes), true, "cairn_store_put_bytes_total", "Bytes of shards acknowledged."},
    {STAT(put_errors), true, "cairn_store_put_errors_total", "Puts refused or failed."},
    {STAT(gets), true, "cairn_store_gets_total", "Reads answered, all verified."},
    {STAT(get_bytes), true, "cairn_store_get_bytes_total", "Bytes read, in whole blocks."},
    {STAT(get_errors), true, "cairn_store_get_errors_total", "Reads that failed."},
    {STAT(deletes), true, "cairn_store_deletes_total", "Blobs durably marked as deleted."},
    {STAT(batches), true, "cairn_store_batches_total", "Group commits."},
    {STAT(frames), true, "cairn_store_frames_total", "Frames written."},
    {STAT(syncs), true, "cairn_store_syncs_total", "Syncs of extents for group commits."},
    {STAT(index_flushes), true, "cairn_store_index_flushes_total", "Flushes of the index."},
    {STAT(extents_reclaimed), true, "cairn_store_extents_reclaimed_total", "Extents emptied."},
    {STAT(reclaimed_bytes_copied), true, "cairn_store_reclaimed_bytes_total",
     "Bytes copied out of extents that were reclaimed."},
    {STAT(corruptions), true, "cairn_store_corruptions_total",
     "Damaged frames, shards and extents found."},
    {STAT(torn_frames), true, "cairn_store_torn_frames_total",
     "Unacknowledged frames dropped by recovery."},
    {STAT(recovered_frames), true, "cairn_store_recovered_frames_total",
     "Frames that recovery indexed again."},
    {STAT(dropped), true, "cairn_store_dropped_total",
     "Shards dropped because the node has left their group."},
    {STAT(scrub_bytes), true, "cairn_store_scrub_bytes_total", "Bytes read again by the scrub."},
    {STAT(scrub_found), true, "cairn_store_scrub_found_total",
     "Shards that the scrub found damaged."},
    {STAT(scrub_passes), true, "cairn_store_scrub_passes_total",
     "Passes of the scrub that ended."},
    {STAT(scrub_oldest_age_s), false, "cairn_store_scrub_oldest_age_seconds",
     "For how long the longest unverified byte has not been verified, at most."},
    {STAT(shards), false, "cairn_store_shards", "Shards stored."},
    {STAT(live_bytes), false, "cairn_store_live_bytes", "Bytes of frames that are alive."},
    {STAT(dead_bytes), false, "cairn_store_dead_bytes", "Bytes of frames that are dead."},
    {STAT(bytes_total), false, "cairn_store_bytes", "Bytes that extents may take."},
    {STAT(bytes_free), false, "cairn_store_free_bytes", "Bytes that puts may still take."},
    {STAT(tombstones), false, "cairn_store_tombstones", "Deleted blobs remembered."},
    {STAT(queued_bytes), false, "cairn_store_queued_bytes", "Bytes of puts waiting or written."},
    {STAT(queued_count), false, "cairn_store_queued", "Puts and deletes waiting or written."},
    {STAT(read_bytes), false, "cairn_store_read_bytes", "Bytes of reads under way."},
};

#define LABEL_BYTES (2 * DISK_PATH_BYTES_MAX + 64)

struct stat_reader {
    const struct store *store; /* NULL: could not be opened, all is 0 */
    size_t offset;
};

struct disk_readers {
    struct disks *disks;
    size_t member;
    struct stat_reader stats[ARRAY_COUNT(stat_metrics)];
    struct stat_reader batches[STORE_BATCH_BUCKETS];
};

struct disk_metrics {
    size_t count;
    struct disk_readers readers[];
};

static double stat_read(void *arg)
{
    const struct stat_reader *r = arg;
    struct store_stats st;
    uint64_t value;
    if (!r->store)
        return 0;
    store_stats_get(r->store, &st);
    memcpy(&value, (const char *)&st + r->offset, sizeof(value));
    return (double)value;
}

static bool status_of(const struct disk_readers *r, struct disks_status *ret)
{
    size_t pos = r->member;
    return disks_status_next(r->disks, &pos, ret);
}

static double writable_read(void *arg)
{
    struct disks_status st;
    return status_of(arg, &st) && st.writable;
}

static double slow_read(void *arg)
{
    struct disks_status st;
    return status_of(arg, &st) && st.slow;
}

static double up_read(void *arg)
{
    struct disks_status st;
    return status_of(arg, &st) && st.state == DISKS_STATE_UP;
}

static double out_read(void *arg)
{
    struct disks_counts counts;
    disks_count(arg, &counts);
    return counts.out;
}

/* `disk="path"`, escaped, and what else there is; NULL when there is nothing: in tests. */
static const char *label_write(char *to, const char *path, const char *more)
{
    size_t at = 0;
    if (path[0]) {
        at += (size_t)snprintf(to, LABEL_BYTES, "disk=\"");
        for (; *path; path++) {
            if (*path == '"' || *path == '\\')
                to[at++] = '\\';
            to[at++] = *path == '\n' ? '?' : *path;
        }
        to[at++] = '"';
    }
    snprintf(to + at, LABEL_BYTES - at, "%s%s", at && more[0] ? "," : "", more);
    return to[0] ? to : NULL;
}

static void disk_register(struct disk_readers *r, const char *path)
{
    char label[LABEL_BYTES], more[48];
    const struct store *store = disks_store(r->disks, r->member);
    for (size_t i = 0; i < ARRAY_COUNT(stat_metrics); i++) {
        const struct stat_metric *m = &stat_metrics[i];
        r->stats[i] = (struct stat_reader){store, m->offset};
        metric_function_new(m->name, label_write(label, path, ""), m->help, m->counter, stat_read,
                            &r->stats[i]);
    }
    for (unsigned i = 0; i < STORE_BATCH_BUCKETS; i++) {
        unsigned last = 1u << i, first = i == 0 ? 1 : (last >> 1) + 1;
        if (i + 1 == STORE_BATCH_BUCKETS)
            snprintf(more, sizeof(more), "operations=\"%u or more\"", first);
        else
            snprintf(more, sizeof(more), "operations=\"%u-%u\"", first, last);
        r->batches[i] = (struct stat_reader){store, STAT(batch_sizes) + i * sizeof(uint64_t)};
        metric_function_new("cairn_store_batch_size_total", label_write(label, path, more),
                            "Group commits by the operations they carried.", true, stat_read,
                            &r->batches[i]);
    }
    metric_function_new("cairn_store_writable", label_write(label, path, ""),
                        "1 while puts are taken.", false, writable_read, r);
    metric_function_new("cairn_store_slow", label_write(label, path, ""),
                        "1 while the disk is avoided because its puts take long.", false, slow_read,
                        r);
    metric_function_new("cairn_store_up", label_write(label, path, ""),
                        "1 while the disk is in service.", false, up_read, r);
}

int disk_metrics_new(struct disks *disks, struct disk_metrics **ret)
{
    size_t count = disks_members(disks);
    struct disk_metrics *m = calloc(1, sizeof(*m) + count * sizeof(m->readers[0]));
    if (!m)
        return ERR_NOMEM;
    m->count = count;
    for (size_t i = 0; i < count; i++) {
        struct disks_status st;
        m->readers[i].disks = disks;
        m->readers[i].member = i;
        CHECK(status_of(&m->readers[i], &st));
        disk_register(&m->readers[i], st.path);
    }
    metric_function_new("cairn_store_disks_out", NULL,
                        "Disks that are out of service or missing, and not given up.", false,
                        out_read, disks);
    *ret = m;
    return OK;
}

void disk_metrics_free(struct disk_metrics *m)
{
    if (!m)
        return;
    for (size_t n = 0; n < m->count; n++) {
        struct disk_readers *r = &m->readers[n];
        for (size_t i = 0; i < ARRAY_COUNT(stat_metrics); i++)
            metric_function_forget(&r->stats[i]);
        for (size_t i = 0; i < STORE_BATCH_BUCKETS; i++)
            metric_function_forget(&r->batches[i]);
        metric_function_forget(r);
    }
    if (m->count > 0)
        metric_function_forget(m->readers[0].disks);
    free(m);
}
