#pragma once
/* What the files of the blob client share: nodes and groups as the map has them. */
#include "gateway/blob/blob.h"
#include "gateway/blob/quorum.h"

#define PG_MEMBERS_MAX EC_SHARDS_MAX
#define PG_LISTS 2 /* of members: now, and after the change that is under way */
#define REPLICATE_BYTES_MAX (384u << 10)

/* A moving average of how long calls took. */
struct node_latency {
    double ns;
    unsigned samples; /* up to a bound */
};

struct blob_node {
    char id[NET_NODE_ID_MAX];
    struct rpc_peer *peer;
    unsigned zone; /* index into zones; one number a zone name */
    bool own_zone;
    bool down;     /* the root says so */
    bool lost;     /* down for so long that it is not expected back */
    bool draining; /* takes new blobs only where nobody else can */
    uint64_t bytes_total;
    uint64_t bytes_free, told_ns; /* it said so with its last put; told_ns 0: never */
    uint64_t outstanding_bytes;
    uint64_t suspect_until_ns; /* it failed */
    uint64_t full_until_ns;    /* it takes no writes; reading goes on */
    uint64_t slow_until_ns;    /* it took much longer than the others, namely: */
    double slow_ns, usual_ns;
    struct node_latency reads, writes;
    bool hinted; /* a hint to it is under way */
};

struct blob_pg {
    uint32_t id;
    uint64_t epoch;
    const struct ec *ec; /* NULL: replicas.  As long as the client */
    unsigned shard_count;                               /* of the longer list */
    unsigned lists;                                     /* 2 while its members change */
    unsigned list_count[PG_LISTS];                      /* replicas may become more */
    bool standard; /* coded: it takes what names no scheme */
    struct blob_node *member[PG_LISTS][PG_MEMBERS_MAX]; /* NULL: not in the map */
};

struct blob_zone {
    char name[NET_NODE_ID_MAX];
    bool down; /* all its storage nodes are */
};

struct blob_client {
    struct env *env;
    struct rpc *rpc;
    struct meta_client *mc;
    struct blob_config config;
    struct blob_stats stats;
    bool stopped;
    unsigned outstanding;
    uint64_t hedge_ns;    /* about the 95th percentile of recent reads */
    double hedge_tokens;  /* a fraction of all reads may be hedged */
    uint64_t compared_ns; /* when slow nodes were last looked for */

    uint64_t map_version;
    struct blob_node **nodes; /* never freed before the client: calls point to them */
    size_t node_count;
    struct blob_zone *zones;
    unsigned zone_count;
    struct ec **codes; /* one a shape that some group had */
    size_t code_count;
    struct blob_pg *pgs; /* sorted by id */
    size_t pg_count;

    struct list puts, gets, coded_gets, asks;

    struct blob_hint *hints; /* HINTS_MAX of them, waiting to be told */
    size_t hint_count;
    struct env_timer hint_timer;
    struct list hint_calls;
};

/* ---- nodes.c ---- */

struct blob_node *node_by_id(struct blob_client *bc, const char *id);
/* All storage nodes of the map.  Returns: OK; ERR_NOMEM. */
int nodes_update(struct blob_client *bc, const Cairn__ClusterMap *map);
bool node_is_usable(const struct blob_client *bc, const struct blob_node *n);
bool node_takes_writes(const struct blob_client *bc, const struct blob_node *n);
bool node_is_slow(const struct blob_client *bc, const struct blob_node *n);
/* Its room for new shards: what it said of late, else its size by the map; 0: not known. */
uint64_t node_space(const struct blob_client *bc, const struct blob_node *n);
/* A call took so long; or had taken so long when it was given up. */
void node_learn(struct blob_client *bc, struct blob_node *n, struct node_latency *which,
                uint64_t took_ns, bool given_up);

#define SUSPECT_FOR_NS (3 * NS_PER_SEC) /* then it is tried again */
static inline void node_suspect(struct blob_client *bc, struct blob_node *n)
{
    n->suspect_until_ns = env_now_ns(bc->env) + SUSPECT_FOR_NS;
}

/* ---- pgs.c ---- */

/* Takes over a newer map, if there is one. */
void pgs_update(struct blob_client *bc);
/* NULL: no such group.  Borrowed until the next pgs_update(). */
const struct blob_pg *pgs_find(struct blob_client *bc, uint32_t id);

/* A group that failed a write: while its epoch is not above this. */
struct pg_avoid {
    uint32_t pg;
    uint64_t epoch;
};
/* What a write can do with. */
struct pg_wish {
    const struct pg_avoid *avoid;
    size_t avoid_count;
    size_t bytes;
    struct blob_scheme scheme;
    size_t parity_cap;     /* of the buffer for parity; 0: replicas only */
    const struct ec *made; /* the code whose shards that buffer holds already, or NULL: any */
    bool coded_only;       /* and to a group of which no zone is declared down */
};
/* A group for a write, or NULL: coded ones before replicated ones where the wish allows it; by load
 * and space, of those that can reach their quorum. */
const struct blob_pg *pgs_choose(struct blob_client *bc, const struct pg_wish *wish);
/* May a write to this group count, once the shards of `durable` are durable at the holders of each
 * list?  A change of members needs the quorum in both.  Of nodes and zones counts what the map says
 * now, however old pg is. */
bool pg_quorum(const struct blob_client *bc, const struct blob_pg *pg,
               const uint32_t durable[PG_LISTS]);

static inline unsigned pg_data(const struct blob_pg *pg)
{
    return pg->ec ? pg->ec->data : 1;
}

/* ---- discard.c ---- */

/* Deletes at one node what a failed attempt left there. */
void discard_at(struct blob_client *bc, struct blob_node *n, struct id128 blob_id);

/* ---- hint.c: what was written without every member's shard, told to one that has its own ---- */

#define HINTS_MAX 1024u      /* waiting, in all */
#define HINT_BLOBS_MAX 128u /* in one call */
struct blob_hint {
    struct blob_node *node; /* to be told */
    uint32_t pg;
    struct id128 blob_id;
};
int hints_init(struct blob_client *bc); /* OK; ERR_NOMEM */
void hints_stop(struct blob_client *bc);
void hints_fini(struct blob_client *bc);
/* Best effort: the node is told soon, with others of the group; or it is counted as dropped. */
void hint_add(struct blob_client *bc, struct blob_node *n, uint32_t pg, struct id128 blob_id);
/* No record will name it: whoever has not been told is not. */
void hint_forget(struct blob_client *bc, struct id128 blob_id);

/* ---- write.c, read.c, read_coded.c ---- */

/* An answer to a read of `bytes` at `offset` of a shard of that size: does it hold what was asked
 * for, undamaged?  On OK *ret is a slice of it, referenced.
 * Returns: OK; ERR_PROTO, ERR_CORRUPT, ERR_CHECKSUM. */
int answer_verify(const struct rpc_call *rpc, uint64_t shard_bytes, uint64_t offset, uint64_t bytes,
                  bool checked, struct payload *ret);
/* How gladly is this node asked?  The less the better; from HOLDER_POOR on it is probably in vain,
 * or slow. */
#define HOLDER_POOR 4
int holder_score(const struct blob_client *bc, const struct blob_node *n, uint64_t least);
void learn_latency(struct blob_client *bc, uint64_t took_ns);

/* The read of a group that has a code; counted in bc->outstanding. */
void coded_read_start(struct blob_client *bc, struct blob_read *r);
void coded_read_cancel(struct coded_get *g);

void puts_stop(struct blob_client *bc);
/* This blob's last shards are of no use any more: nobody is told which are missing. */
void puts_forget(struct blob_client *bc, struct id128 blob_id);
void gets_stop(struct blob_client *bc);
void coded_gets_stop(struct blob_client *bc);
void asks_stop(struct blob_client *bc);
