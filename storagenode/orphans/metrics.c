/* Metrics of the agent that asks about orphans. */
#include "common/obs/metrics.h"
#include "common/base/check.h"
#include "storagenode/orphans/agent_impl.h"

#include <stdlib.h>

#define STAT(field) offsetof(struct orphans_stats, field)
static const struct stat_metric {
    size_t offset;
    bool counter;
    const char *name, *help;
} stat_metrics[] = {
    {STAT(walks), true, "cairn_orphans_walks_total", "Walks over all shards of the node."},
    {STAT(asked), true, "cairn_orphans_asked_total",
     "Blobs that their owners' partitions were asked about."},
    {STAT(confirmed), true, "cairn_orphans_confirmed_total",
     "Of these, a record refers to them: not asked about again."},
    {STAT(condemned), true, "cairn_orphans_condemned_total",
     "Of these, no record does: condemned, to be deleted everywhere."},
    {STAT(young), true, "cairn_orphans_young_total",
     "Of these, no record does and the partition calls it too early: clocks differ."},
    {STAT(unanswered), true, "cairn_orphans_unanswered_total",
     "Blobs whose partition did not answer, or refused; asked about again."},
    {STAT(unreadable), true, "cairn_orphans_unreadable_total",
     "Blobs whose owner could not be read from their shard; looked at again."},
    {STAT(pages_failed), true, "cairn_orphans_pages_failed_total",
     "Pages of the walk that could not be listed."},
    {STAT(left), false, "cairn_orphans_left",
     "Blobs of the last walk that are old enough and neither confirmed nor condemned."},
    {STAT(foreign), false, "cairn_orphans_foreign",
     "Of these: older than the cluster, whose index knows nothing of them."},
};

struct orphans_reader {
    const struct orphans *orphans;
    size_t offset;
};

static double stat_read(void *arg)
{
    const struct orphans_reader *r = arg;
    uint64_t value;
    memcpy(&value, (const char *)&r->orphans->stats + r->offset, sizeof(value));
    return (double)value;
}

int orphans_metrics_register(struct orphans *o)
{
    o->readers = calloc(ARRAY_COUNT(stat_metrics), sizeof(*o->readers));
    if (!o->readers)
        return ERR_NOMEM;
    for (size_t i = 0; i < ARRAY_COUNT(stat_metrics); i++) {
        const struct stat_metric *m = &stat_metrics[i];
        o->readers[i] = (struct orphans_reader){o, m->offset};
        metric_function_new(m->name, NULL, m->help, m->counter, stat_read, &o->readers[i]);
    }
    return OK;
}

void orphans_metrics_forget(struct orphans *o)
{
    for (size_t i = 0; o->readers && i < ARRAY_COUNT(stat_metrics); i++)
        metric_function_forget(&o->readers[i]);
    free(o->readers);
    o->readers = NULL;
}
