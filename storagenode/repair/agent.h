#pragma once
/* Repair, of all the groups that this storage node is responsible for: of which it is the repairer
 * (plan_repairer()), and of which it is becoming a member (it fills its own places).
 *
 * A group is looked into when its turn comes:
 *   - at once when the map shows it otherwise: it has a new epoch, or a member is up again,
 * drained, or has another disk; or the one that repaired it is away;
 *   - soon again, and ever later, when a pass failed or left something undone;
 *   - when what was too young has come of age;
 *   - every interval.
 * Of several whose turn it is the one with the fewest live members is first.  Of one group: the
 * digests of all live members, then the inventories of the buckets (first bytes of blob ids) whose
 * digests are not those of the last time that the bucket was found whole; then the blobs that lack
 * something, most endangered first, some at a time.
 *
 * A node that starts looks into each group that it is a member of once, for its own places: what it
 * missed while it was away, which may have been too short for the map to know.
 *
 * Beside it, slowly, all shards of each blob are read and compared (deep.c): deep scrub.
 *
 * What somebody knows to be damaged is mended at once (repair_agent_spot()), by the node that
 * knows, whoever repairs the group, and whatever else is under way.
 *
 * What a gateway could not write to every member it says (repair_agent_hint()): these blobs are
 * mended as soon as they are old enough, and tried again while a member that is up does not answer,
 * or nothing refers to them yet.  Damage is first.
 *
 * Nothing is kept on disk: what is left to do is what the inventories say.  Two repairers of one
 * group (maps of different age) do each other no harm.
 *
 * Of orphans it condemns those that it meets because some member lacks them; orphans/agent.h asks
 * about all.
 *
 * Runs on: the rpc's loop.  Memory: pages of inventories (1024 lines of 40 bytes for each node of
 * one group), twice `parallel` blobs under way (mend.h), 5 KiB a group, 160 KiB of single blobs, the
 * shards of one blob that is compared (deep_blob.h). */
#include "proto/map_client.h"
#include "proto/storage.pb-c.h"

struct repair_agent;

#define REPAIR_BUCKETS 256u /* first bytes of blob ids */

/* The shards of a blob do not agree, although each is sound by itself. */
struct repair_deep_found {
    uint32_t pg;
    struct id128 blob_id;
    uint32_t wrong;  /* a bit a shard: proven not to be the blob's */
    uint32_t marked; /* of these: marked as damaged by their nodes, which mend them */
    bool unproven;   /* which are wrong cannot be proven: nothing was changed */
};

struct repair_config {
    const char *node_id;    /* copied */
    uint64_t repair_age_ms; /* 0: 2 min; younger blobs are left to their writers */
    uint64_t interval_ns;   /* 0: 1 min; a group whose turn nothing else brings */
    uint64_t retry_ns;      /* 0: 1 s; after a pass that left something undone, then ever more */
    uint64_t bytes_per_sec; /* 0: 32 MiB; read and written, together */
    uint64_t bytes_per_sec_endangered; /* 0: 256 MiB; for blobs that one more loss could destroy */
    uint64_t blob_bytes_max; /* 0: 24 MiB; rebuilt at once of one blob; at least one shard */
    uint64_t seen_ns_max; /* 0: 10 min; what was seen of a blob for so long ago is not acted upon:
                             a tombstone might be forgotten by now */
    unsigned parallel;    /* 0: 4; at most REPAIR_PARALLEL_MAX */
    uint64_t timeout_ns;  /* 0: 10 s; of one call */
    uint64_t deep_period_ms;     /* 0: 30 days; in which each blob's shards are compared once */
    uint64_t deep_bytes_per_sec; /* 0: 16 MiB; read by that */
    /* Since when the blobs of a group are unchecked, by the first byte of their ids: kept by the
     * owner.  Load: false: nothing is known.  May be NULL. */
    bool (*deep_load)(void *arg, uint32_t pg, uint64_t ret_since_ms[REPAIR_BUCKETS]);
    void (*deep_save)(void *arg, uint32_t pg, const uint64_t since_ms[REPAIR_BUCKETS]);
    void (*on_deep_found)(void *arg, const struct repair_deep_found *found); /* may be NULL */
    /* This node calls itself filled without shards of so many blobs, which cannot be rebuilt: no old
     * member has them, nor may one that is out of reach.  May be NULL. */
    void (*on_filled_without)(void *arg, uint32_t pg, uint64_t blobs);
    void *arg;
};
#define REPAIR_PARALLEL_MAX 16u
#define REPAIR_SPOTS_MAX 1024u /* single blobs waiting, known to be damaged, */
#define REPAIR_HINTS_MAX 2048u /* and written without every member's shard */
#define REPAIR_SOURCES_MAX 32u /* disks */
#define REPAIR_SOURCE_NONE 255u

struct repair_stats {
    uint64_t passes, passes_failed;           /* of one group */
    uint64_t buckets_listed, buckets_settled; /* looked into; skipped: empty, or unchanged */
    uint64_t repaired_shards, repaired_bytes; /* read back and verified */
    uint64_t failures;                        /* blobs that could not be mended */
    uint64_t checksum_failures;               /* of these: what came out was not the blob */
    uint64_t deleted_skipped, unreferred_skipped, young_skipped;
    /* as of the last pass of each group that this node repairs */
    uint64_t missing, endangered, beyond;
    uint64_t missing_bytes;       /* of those whose size is known */
    uint64_t spots, spots_mended; /* single blobs that were told; whole again */
    uint64_t filled_without;      /* blobs of which a new member got no shard: nobody had it */
    uint64_t spots_dropped;       /* too many at one time: a pass over their group finds them */
    uint64_t hints, hints_mended, hints_dropped; /* the same, of what gateways told */
    /* deep scrub */
    uint64_t deep_blobs, deep_bytes; /* compared; read */
    uint64_t deep_found, deep_mended; /* shards that are not their blob's; marked, to be mended */
    uint64_t deep_unproven;  /* blobs whose shards disagree, and no majority is right */
    uint64_t deep_unchecked; /* too few shards could be read */
    uint64_t deep_rounds;    /* that were asked for, and ended */
    uint64_t deep_oldest_age_s;
};

/* The map's owner is the caller.  Starts at once.  OK; ERR_NOMEM; ERR_INVAL. */
int repair_agent_new(struct rpc *rpc, struct map_client *map, const struct repair_config *config,
                     struct repair_agent **ret);
void repair_agent_stop(struct repair_agent *a); /* what is under way ends soon */
bool repair_agent_idle(const struct repair_agent *a);
void repair_agent_free(struct repair_agent *a); /* idle */

/* A shard of this blob is known to be damaged or missing: it is mended soon, if the node is, or
 * will be, a member of the group.  `source`: the number of the disk that it lies on, for
 * repair_agent_spots_mended(); or REPAIR_SOURCE_NONE. */
void repair_agent_spot(struct repair_agent *a, uint32_t pg, const struct id128 *blob_id,
                       unsigned source);
/* These blobs were written, and acknowledged, without every member's shard: looked into once they
 * are old enough.  Beyond REPAIR_HINTS_MAX they are left to a pass over the group.
 * Returns: OK; ERR_NOT_FOUND (this node is no member of such a group, as far as it knows);
 * ERR_NOT_READY (it has no map); ERR_SHUTDOWN. */
int repair_agent_hint(struct repair_agent *a, uint32_t pg, const struct id128 *blob_ids,
                      size_t count);
/* A disk of this node serves no more: what had been filled may lie there, so that it is said of no
 * group any more, before all has been looked at once more. */
void repair_agent_unfill(struct repair_agent *a);
uint64_t repair_agent_spots_mended(const struct repair_agent *a, unsigned source);

/* Every blob of every group that this node repairs is looked into now, at deep_bytes_per_sec. A
 * round that was asked for before begins anew.  OK; ERR_SHUTDOWN. */
int repair_agent_deep_now(struct repair_agent *a);

/* Metrics cairn_repair_*, of the one agent of a process, until it is freed.  Read on the thread
 * that scrapes, which has to be the rpc's loop.  OK; ERR_NOMEM. */
int repair_metrics_register(struct repair_agent *a);
void repair_agent_stats(const struct repair_agent *a, struct repair_stats *ret);
/* Into a node's report: the fields filled_epoch, missing and endangered of a group's.  The others
 * are left alone. */
void repair_agent_report_group(const struct repair_agent *a, Cairn__GroupReport *ret);
/* Walks the groups there is something to say of, by number: *pos starts at 0; false at the end. */
bool repair_agent_next_group(const struct repair_agent *a, size_t *pos, uint32_t *ret_pg);
/* The fields repair_* and repaired_shards of the node's report; the backlog as far as the sizes of
 * what is missing are known. */
void repair_agent_report_node(struct repair_agent *a, Cairn__NodeReport *ret);
