#pragma once
/* What the files of the repair agent share: its groups, and the pass over one of them. */
#include "storagenode/repair/agent.h"
#include "storagenode/repair/deep_blob.h"
#include "storagenode/repair/mend.h"

#define BUCKETS REPAIR_BUCKETS
#define PAGE_ENTRIES 1024u
#define ITEMS_MAX 256u

enum pass_mode {
    PASS_REPAIR,           /* every live place; only blobs that are old enough */
    PASS_FILL,             /* the places that this node is getting; blobs of any age */
    PASS_CATCH_UP,         /* as PASS_REPAIR, of this node's own places */
    PASS_TURNS,            /* these have turns; */
    PASS_SPOT = PASS_TURNS /* every live place of single blobs */
};
#define NEVER UINT64_MAX
#define RATE_WINDOWS 6u
#define RATE_WINDOW_NS (10 * NS_PER_SEC)

/* When a group is looked into next in this mode. */
struct repair_turn {
    uint64_t due_ns; /* NEVER: not, until something changes */
    unsigned tries;  /* in a row that left something undone */
};

/* One blob that somebody has found to lack something, or says that it may. */
struct repair_spot {
    uint32_t pg;
    struct id128 blob_id;
    uint64_t due_ns;
    unsigned tries;
    uint8_t source;
    bool hint;  /* a gateway's: nothing of it is known to be damaged */
    bool taken; /* by the pass under way */
};

/* What deep scrub remembers of a group: see deep.c. */
struct deep_group {
    uint64_t since_ms[BUCKETS];
    unsigned oldest;   /* bucket */
    uint32_t round;    /* that was asked for: */
    unsigned left;     /* buckets that it has not read, */
    uint8_t done[BUCKETS / 8]; /* and those that it has */
};
#define DEEP_PAGE 256u

struct deep {
    struct env_timer timer;
    struct rpc_call rpc;
    bool listing, checking; /* an answer is to come */
    bool busy;              /* with this bucket: */
    uint32_t pg;
    uint64_t epoch, began_ms;
    unsigned bucket;
    struct id128 after;
    bool has_after, more;
    struct id128 ids[DEEP_PAGE + PLAN_SHARDS_MAX];
    size_t id_count, id_next;
    struct deep_blob blob;
    bool asked; /* a round is under way that was asked for; its number: */
    uint32_t round;
    uint64_t left, total; /* buckets, at the last look */
    Cairn__DeepReport report;
};

/* What is remembered of a group. */
struct repair_group {
    uint32_t pg;
    uint64_t
        settled[BUCKETS]; /* the digests of all live members when it was found whole; 0: never */
    uint64_t passes;
    uint64_t filled_epoch;
    uint64_t missing, endangered, beyond, missing_bytes;
    uint64_t view; /* what the map says of it, as one number; 0: not looked at */
    uint64_t up;   /* and which members are up, a bit each */
    int margin;    /* live members less data shards */
    struct repair_turn turn[PASS_TURNS];
    bool seen, repairs, joins; /* by the map; not seen: not ours any more */
    struct deep_group *deep;   /* NULL: not looked at yet */
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
    uint8_t present[BUCKETS / 8]; /* a bit each: it has something there */
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
    unsigned node_count, left, fallen; /* fallen: nodes whose lists could not be had */
    uint32_t disks_lost;               /* the agent's, when it began */
    bool all_closed; /* every old member that is up has closed the epoch before */
    uint32_t want;   /* places */
    unsigned bucket;
    bool bucket_clean;
    struct plan_item items[ITEMS_MAX];
    size_t item_count, item_next;
    struct mend mend[REPAIR_PARALLEL_MAX];
    bool mending[REPAIR_PARALLEL_MAX];
    unsigned mends_left;
    uint64_t missing, endangered, beyond, missing_bytes, failures;
    uint64_t hopeless, unfilled; /* of the failures: nothing is to be got for them; the others */
    bool made_way;
    bool hints;        /* of the mode PASS_SPOT: its blobs are gateways' hints */
    uint32_t silent;   /* places that were live when it began and did not answer; then not asked */
    uint64_t pending;  /* shards known to be missing, that have not had their turn */
    uint64_t young_ms; /* when the first of those that were too young is old enough; 0: none was */
};

struct repair_agent {
    struct rpc *rpc;
    struct env *env;
    struct map_client *map;
    struct repair_config config;
    char node_id[NET_NODE_ID_MAX];
    struct repair_stats stats;
    struct env_timer timer;
    uint32_t disks_lost;   /* so often */
    bool stopped, started; /* started: the first map has been seen */
    uint64_t planned_version;
    struct repair_group **groups;
    size_t group_count, group_cap;
    struct repair_group spot_group; /* of the pass over single blobs, */
    struct repair_spot *spots;      /* REPAIR_SPOTS_MAX + REPAIR_HINTS_MAX of them */
    size_t spot_count, hint_count;  /* in all; of these: hints */
    uint64_t spots_mended[REPAIR_SOURCES_MAX];
    struct pass *pass;      /* under way, or NULL */
    struct pass *spot_pass; /* the same, beside it, over single blobs */
    struct env_timer spot_timer;
    struct repair_reader *readers; /* metrics */
    uint64_t free_ns;              /* when what has been granted so far is moved */
    uint64_t started_ns;
    uint64_t rate_bytes[RATE_WINDOWS]; /* repaired in the windows of time that */
    uint64_t rate_window;              /* end with this one */
    uint64_t pass_ended_ms;            /* wall clock, the last; 0: none */
    struct deep deep;
};

void repair_metrics_forget(struct repair_agent *a);
struct repair_group *agent_group(const struct repair_agent *a, uint32_t pg); /* NULL: not ours */
/* ---- deep.c ---- */
void deep_init(struct repair_agent *a);
void deep_stop(struct repair_agent *a);
bool deep_idle(const struct repair_agent *a);
uint64_t deep_oldest_ms(const struct repair_agent *a); /* 0: nothing is known */
void deep_report(struct repair_agent *a, Cairn__NodeReport *ret);
/* So many bytes were repaired now. */
void agent_repaired(struct repair_agent *a, uint64_t bytes);
/* Ends later with agent_pass_ended(), never inside.  OK; ERR_NOMEM. */
int pass_start(struct repair_agent *a, struct repair_group *g, enum pass_mode mode);
/* Until the next try after so many in a row; at most the interval. */
uint64_t agent_backoff_ns(const struct repair_agent *a, unsigned tries);
void pass_cancel(struct pass *p);
/* What came of it: err, left (something was left undone; a fill: not filled), made_way (for a group
 * in danger: it goes on as soon as that has had its turn), young_ms (as in the
 * pass).  The pass is gone. */
struct pass_result {
    struct repair_group *group;
    enum pass_mode mode;
    int err;
    bool left, made_way;
    uint64_t young_ms;
};
void agent_pass_ended(struct repair_agent *a, const struct pass_result *result);
/* A group in danger has its turn, and this pass is over one that is in less: it makes
 * way.  What it has mended stays mended. */
bool agent_wants_other(struct repair_agent *a, const struct pass *p);
bool agent_is_member(const struct repair_agent *a, const Cairn__PlacementGroup *pg);

/* ---- spots.c ---- */
uint64_t spots_due_ns(const struct repair_agent *a); /* of the first; NEVER: there are none */
/* Those of one group whose turn it is become the items of a pass: what is damaged, else hints.
 * Returns: their number, 0: none; *ret_pg and *ret_hints are set if there are any. */
size_t spots_take(struct repair_agent *a, uint64_t now_ns, struct plan_item *ret, size_t max,
                  uint32_t *ret_pg, bool *ret_hints);
/* silent: a place that is wanted did not answer, although the map calls its node up. */
void spots_outcome(struct repair_agent *a, const struct mend *m, bool silent);
/* What the pass took and did not come to is for later. */
void spots_release(struct repair_agent *a);
/* Nanoseconds to wait before so many bytes are moved. */
uint64_t agent_pace(void *agent, uint64_t bytes, bool endangered);
/* So much has been granted that more would only wait. */
bool agent_is_ahead(const struct repair_agent *a);
