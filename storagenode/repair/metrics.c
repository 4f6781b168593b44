/* Metrics of the repair agent. */
#include "common/obs/metrics.h"
#include "common/base/check.h"
#include "storagenode/repair/agent_impl.h"

#include <stdlib.h>

#define STAT(field) offsetof(struct repair_stats, field)
static const struct stat_metric {
    size_t offset;
    bool counter;
    const char *name, *help;
} stat_metrics[] = {
    {STAT(repaired_shards), true, "cairn_repair_shards_total",
     "Shards rebuilt or copied, read back and verified."},
    {STAT(repaired_bytes), true, "cairn_repair_bytes_total", "Bytes of these shards."},
    {STAT(failures), true, "cairn_repair_failures_total",
     "Blobs that could not be mended, each try."},
    {STAT(checksum_failures), true, "cairn_repair_checksum_failures_total",
     "Blobs that did not come out as they were written, or could not be read back."},
    {STAT(deleted_skipped), true, "cairn_repair_deleted_total",
     "Blobs left alone because a member has deleted them."},
    {STAT(unreferred_skipped), true, "cairn_repair_unreferred_total",
     "Blobs left alone because no record refers to them."},
    {STAT(passes), true, "cairn_repair_passes_total", "Groups compared."},
    {STAT(passes_failed), true, "cairn_repair_passes_failed_total",
     "Groups whose comparison was broken off."},
    {STAT(missing), false, "cairn_repair_missing_shards",
     "Shards missing or damaged after the last pass, of the groups that this node repairs."},
    {STAT(endangered), false, "cairn_repair_endangered_blobs",
     "Of these: blobs that one more loss could destroy."},
    {STAT(beyond), false, "cairn_repair_beyond_blobs",
     "Blobs of which too few shards are in reach to rebuild what is missing."},
    {STAT(missing_bytes), false, "cairn_repair_missing_bytes",
     "Bytes of the missing shards, as far as their sizes are known."},
    {STAT(filled_without), true, "cairn_repair_filled_without_total",
     "Blobs of which this node, as a new member of a group, got no shard because no old one had it."},
    {STAT(spots), true, "cairn_repair_found_total",
     "Blobs that scrub or a read of this node found damaged, to be mended at once."},
    {STAT(spots_mended), true, "cairn_repair_found_mended_total", "Of these: whole again."},
    {STAT(spots_dropped), true, "cairn_repair_found_dropped_total",
     "Of these: left to a pass over their group, because too many were waiting."},
    {STAT(hints), true, "cairn_repair_hints_total",
     "Blobs that a gateway could not write to every member, and told this node of."},
    {STAT(hints_mended), true, "cairn_repair_hints_mended_total",
     "Of these: made whole, before a pass over their group found them."},
    {STAT(hints_dropped), true, "cairn_repair_hints_dropped_total",
     "Of these: left to a pass over their group, because too many were waiting."},
    {STAT(deep_oldest_age_s), false, "cairn_repair_deep_oldest_age_seconds",
     "For how long the shards of some blob have not been compared, at most, of the groups that this "
     "node repairs."},
    {STAT(deep_blobs), true, "cairn_repair_deep_blobs_total", "Blobs whose shards were compared."},
    {STAT(deep_bytes), true, "cairn_repair_deep_bytes_total", "Bytes read for that."},
    {STAT(deep_found), true, "cairn_repair_deep_found_total",
     "Shards that were proven not to be their blob's, though intact by themselves."},
    {STAT(deep_mended), true, "cairn_repair_deep_mended_total",
     "Of these: marked as damaged by their nodes, which mend them."},
    {STAT(deep_unproven), true, "cairn_repair_deep_unproven_total",
     "Blobs whose shards disagree, and no majority is right; each time."},
    {STAT(deep_unchecked), true, "cairn_repair_deep_unchecked_total",
     "Blobs of which too few shards could be read to compare them."},
};

struct repair_reader {
    const struct repair_agent *agent;
    size_t offset;
};

static double stat_read(void *arg)
{
    const struct repair_reader *r = arg;
    struct repair_stats st;
    uint64_t value;
    repair_agent_stats(r->agent, &st);
    memcpy(&value, (const char *)&st + r->offset, sizeof(value));
    return (double)value;
}

int repair_metrics_register(struct repair_agent *a)
{
    a->readers = calloc(ARRAY_COUNT(stat_metrics), sizeof(*a->readers));
    if (!a->readers)
        return ERR_NOMEM;
    for (size_t i = 0; i < ARRAY_COUNT(stat_metrics); i++) {
        const struct stat_metric *m = &stat_metrics[i];
        a->readers[i] = (struct repair_reader){a, m->offset};
        metric_function_new(m->name, NULL, m->help, m->counter, stat_read, &a->readers[i]);
    }
    return OK;
}

void repair_metrics_forget(struct repair_agent *a)
{
    for (size_t i = 0; a->readers && i < ARRAY_COUNT(stat_metrics); i++)
        metric_function_forget(&a->readers[i]);
    free(a->readers);
    a->readers = NULL;
}
