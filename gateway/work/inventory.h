#pragma once
/* S3 Inventory carried out: a kind of job (jobs.h), one for each configuration, that walks a bucket
 * and writes what it found as files of CSV into the destination, and then a manifest that names
 * them.
 *
 *   read the configuration ─► list ─► rows, compressed ──full──► put the file, save the place
 *                               ▲                                     │ more
 *                               └─────────────────────────────────────┤ else
 *                                            manifest.json ─► manifest.checksum ─► done
 *
 * The place is saved with each file that was put, so whoever goes on does so behind it; what was
 * gathered since is lost and made again.  Without a manifest there is no inventory: a round that
 * never comes to its end leaves files that nothing names.  Two gateways at one round write files of
 * different names, and one manifest or the other, each whole.
 *
 * As on S3 it is no snapshot: what changes meanwhile may be in it or not. */
#include "gateway/work/jobs.h"

struct inventory_config {
    uint64_t day_ms;     /* of Daily and Weekly */
    uint64_t rate;       /* versions listed a second and inventory; 0: no bound */
    uint64_t file_bytes; /* of a file, compressed; it doubles with each 64 files, three times */
};

struct inventory_metrics {
    struct metric_counter *listed, *files, *made, *failed;
};
void inventory_metrics_init(struct inventory_metrics *m);

struct inventory {
    struct inventory_config config;
    const struct inventory_metrics *metrics;
    struct job_kind kind;
};
/* The kind to be given to jobs_new(); lives as long as they. */
const struct job_kind *inventory_init(struct inventory *i, const struct inventory_config *config,
                                      const struct inventory_metrics *metrics);
