#pragma once
/* What the files of the agent share. */
#include "common/op/op.h"
#include "storagenode/orphans/agent.h"
#include "storagenode/orphans/core/batch.h"

#define READS_MAX 4u

struct orphans_read {
    struct orphans *orphans;
    struct store_get get;
    size_t at; /* in the batch */
    bool running;
};

struct orphans {
    struct env *env;
    struct disks *disks;
    struct map_client *map;
    struct orphans_config config;
    char node_id[NET_NODE_ID_MAX];
    struct orphans_stats stats;
    struct op op;
    struct env_timer timer;
    bool stopped;
    /* the walk */
    uint32_t pg;   /* the group it is in, or the next one behind it */
    bool in_group; /* behind `after` */
    struct id128 after;
    uint64_t left, foreign;
    /* the page */
    struct disks_inventory page;
    bool listing;
    struct orphan_batch batch;
    struct orphans_read reads[READS_MAX];
    unsigned reads_under_way;
    size_t read_next;
    /* the question */
    size_t ask_at, ask_count;
    struct leader_call call;
    bool asking;
    Cairn__BlobRefsRequest request;
    ProtobufCBinaryData ids[ORPHAN_BATCH_MAX];
    uint32_t pgs[ORPHAN_BATCH_MAX];
    uint64_t times_ms[ORPHAN_BATCH_MAX];
    uint64_t free_ns;               /* of the pace */
    struct orphans_reader *readers; /* metrics */
};

void orphans_metrics_forget(struct orphans *o);
