#pragma once
/* What the files of the repair agent share: its groups, and the pass over one of them. */
#include "storagenode/repair/agent.h"
#include "storagenode/repair/mend.h"

#define BUCKETS 256u /* first bytes of blob ids */
#define PAGE_ENTRIES 1024u
#define ITEMS_MAX 256u

enum pass_mode {
    PASS_REPAIR, /* every live place; only blobs that are old enough */
    PASS_FILL,   /* the places that this node is getting; blobs of any age */
};

/* What is remembered of a group. */
struct repair_group {
    uint32_t pg;
    uint64_t
        settled[BUCKETS]; /* the digests of all live members when it was found whole; 0: never */
    uint64_t passes;
    uint64_t filled_epoch;
    uint64_t missing, endangered, beyond;
    bool seen; /* this round: it is still ours */
};

struct pass_node {
    struct pass *pass;
    char id[NET_NODE_ID_MAX];
    struct rpc_peer *peer;
    bool up;   /* as the map says */
    bool live; /* answered */
    bool sent, running;
    struct rpc_call rpc;
    uint64_t digest[BUCKETS];
    uint64_t closed_epoch;
    /* the bucket's page */
    struct id128 after;
    bool has_after, exhausted;
    struct plan_entry *entries; /* PAGE_ENTRIES_MAX of them */
    size_t count;
    bool more;
};
/* A page may be longer than was asked for, so that it ends with the last shard of a blob. */
#define PAGE_ENTRIES_MAX (PAGE_ENTRIES + PLAN_SHARDS_MAX)

struct pass {
    struct repair_agent *agent;
    struct repair_group *group;
    enum pass_mode mode;
    struct op op;
    struct env_timer timer;
    int err;
    uint64_t epoch;
    struct plan_group plan;
    struct pass_node *node;
    unsigned node_count, left;
    bool all_closed; /* every old member that is up has closed the epoch before */
    uint32_t want;   /* places */
    unsigned bucket;
    bool bucket_clean;
    struct plan_item items[ITEMS_MAX];
    size_t item_count, item_next;
    struct mend mend[REPAIR_PARALLEL_MAX];
    bool mending[REPAIR_PARALLEL_MAX];
    unsigned mends_left;
    uint64_t missing, endangered, beyond, failures;
};

/* One group that has to be looked at in this round. */
struct round_entry {
    uint32_t pg;
    enum pass_mode mode;
    int margin; /* live members less data shards */
};

struct repair_agent {
    struct rpc *rpc;
    struct env *env;
    struct map_client *map;
    struct repair_config config;
    char node_id[NET_NODE_ID_MAX];
    struct repair_stats stats;
    struct env_timer timer;
    bool stopped;
    struct repair_group **groups;
    size_t group_count, group_cap;
    struct round_entry *round;
    size_t round_count, round_next;
    struct pass *pass;             /* under way, or NULL */
    struct repair_reader *readers; /* metrics */
    uint64_t free_ns;              /* when what has been granted so far is moved */
};

void repair_metrics_forget(struct repair_agent *a);
/* Ends later with agent_pass_ended(), never inside.  OK; ERR_NOMEM. */
int pass_start(struct repair_agent *a, struct repair_group *g, enum pass_mode mode);
void pass_cancel(struct pass *p);
/* Frees nothing of the agent's; the pass is gone. */
void agent_pass_ended(struct repair_agent *a);
/* Nanoseconds to wait before so many bytes are moved. */
uint64_t agent_pace(void *agent, uint64_t bytes, bool endangered);
