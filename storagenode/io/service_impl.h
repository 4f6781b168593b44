#pragma once
/* The inside of the service: shared by the files of storagenode/io/.
 *
 *   service.c  puts, gets, deletes, status
 *   inspect.c  checks, inventories
 *   metrics.c  metrics of the disks */
#include "common/obs/metrics.h"
#include "storagenode/io/service.h"

struct disk_metrics;

struct service {
    struct disks *disks;
    struct env *env;
    size_t under_way;
    struct metric_histogram *put_seconds, *get_seconds, *delete_seconds;
    struct disk_metrics *metrics;
    struct repair_agent *repair; /* NULL: none */
};

static inline struct slice bytes_of(const ProtobufCBinaryData *b)
{
    return SLICE(b->data, b->len);
}

/* ---- inspect.c ---- */
int inspect_serve(struct service *s, struct rpc *rpc); /* OK; ERR_NOMEM */

/* ---- metrics.c ---- */
int disk_metrics_new(struct disks *disks, struct disk_metrics **ret); /* OK; ERR_NOMEM */
void disk_metrics_free(struct disk_metrics *m);
