#pragma once
/* Repair, of all the groups that this storage node is responsible for: of which it is the repairer
 * (plan_repairer()), and of which it is becoming a member (it fills its own places).
 *
 * Rounds: each group in turn, those with the fewest live members first; of one group the digests of
 * all live members, then the inventories of the buckets (first bytes of blob ids) whose digests are
 * not those of the last time that the bucket was found whole; then the blobs that lack something,
 * most endangered first, some at a time.
 *
 * Nothing is kept on disk: what is left to do is what the inventories say.  Two repairers of one
 * group (maps of different age) do each other no harm.
 *
 * It does not drop what this node holds of groups that it has left, and does not ask about orphans.
 *
 * Runs on: the rpc's loop.  Memory: pages of inventories (1024 lines a node of one group),
 * repair_parallel blobs under way (mend.h), 2 KiB a group. */
#include "proto/map_client.h"
#include "proto/storage.pb-c.h"

struct repair_agent;

struct repair_config {
    const char *node_id;    /* copied */
    uint64_t repair_age_ms; /* 0: 2 min; younger blobs are left to their writers */
    uint64_t orphan_age_ms; /* 0: 24 h; a new member gets younger blobs that nothing refers to */
    uint64_t interval_ns;   /* 0: 1 min, between rounds */
    uint64_t bytes_per_sec; /* 0: 32 MiB; read and written, together */
    uint64_t bytes_per_sec_endangered; /* 0: 256 MiB; for blobs that one more loss could destroy */
    uint64_t blob_bytes_max; /* 0: 24 MiB; rebuilt at once of one blob; at least one shard */
    unsigned parallel;       /* 0: 4; at most REPAIR_PARALLEL_MAX */
    uint64_t timeout_ns;     /* 0: 10 s; of one call */
};
#define REPAIR_PARALLEL_MAX 16u

struct repair_stats {
    uint64_t rounds, passes, passes_failed;   /* passes: of one group */
    uint64_t buckets_listed, buckets_settled; /* looked into; skipped, nothing having changed */
    uint64_t repaired_shards, repaired_bytes; /* read back and verified */
    uint64_t failures;                        /* blobs that could not be mended */
    uint64_t checksum_failures;               /* of these: what came out was not the blob */
    uint64_t deleted_skipped, unreferred_skipped, young_skipped;
    /* as of the last pass of each group that this node repairs */
    uint64_t missing, endangered, beyond;
};

/* The map's owner is the caller.  Starts at once.  OK; ERR_NOMEM; ERR_INVAL. */
int repair_agent_new(struct rpc *rpc, struct map_client *map, const struct repair_config *config,
                     struct repair_agent **ret);
void repair_agent_stop(struct repair_agent *a); /* what is under way ends soon */
bool repair_agent_idle(const struct repair_agent *a);
void repair_agent_free(struct repair_agent *a); /* idle */

/* Metrics cairn_repair_*, of the one agent of a process, until it is freed.  Read on the thread
 * that scrapes, which has to be the rpc's loop.  OK; ERR_NOMEM. */
int repair_metrics_register(struct repair_agent *a);
void repair_agent_stats(const struct repair_agent *a, struct repair_stats *ret);
/* Into a node's report: the fields filled_epoch, missing and endangered of a group's.  The others
 * are left alone. */
void repair_agent_report_group(const struct repair_agent *a, Cairn__GroupReport *ret);
/* Walks the groups there is something to say of: *pos starts at 0; false at the end. */
bool repair_agent_next_group(const struct repair_agent *a, size_t *pos, uint32_t *ret_pg);
/* The fields repair_bytes and repaired_shards of the node's report.  What is left to do is known in
 * shards, not in bytes: repair_backlog_bytes is left alone. */
void repair_agent_report_node(const struct repair_agent *a, Cairn__NodeReport *ret);
