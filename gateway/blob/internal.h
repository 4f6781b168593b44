#pragma once
/* What the files of the blob client share: nodes and groups as the map has them. */
#include "gateway/blob/blob.h"

#define PG_MEMBERS_MAX 16

struct blob_node {
    char id[NET_NODE_ID_MAX];
    struct rpc_peer *peer;
    unsigned zone; /* index into zones; one number a zone name */
    bool own_zone;
    uint64_t outstanding_bytes;
    uint64_t suspect_until_ns; /* it was slow or failed */
};

struct blob_pg {
    uint32_t id;
    uint64_t epoch;
    unsigned member_count;
    struct blob_node *member[PG_MEMBERS_MAX]; /* NULL: not in the map */
};

struct blob_client {
    struct env *env;
    struct rpc *rpc;
    struct meta_client *mc;
    struct blob_config config;
    struct blob_stats stats;
    bool stopped;
    unsigned outstanding;
    uint64_t hedge_ns;   /* about the 95th percentile of recent reads */
    double hedge_tokens; /* a fraction of all reads may be hedged */

    uint64_t map_version;
    struct blob_node **nodes; /* never freed before the client: calls point to them */
    size_t node_count;
    char (*zones)[NET_NODE_ID_MAX];
    unsigned zone_count;
    struct blob_pg *pgs; /* sorted by id */
    size_t pg_count;

    struct list puts, gets, asks;
};

/* Takes over a newer map, if there is one. */
void pgs_update(struct blob_client *bc);
/* NULL: no such group.  Borrowed until the next pgs_update(). */
const struct blob_pg *pgs_find(struct blob_client *bc, uint32_t id);
/* A group for a write, or NULL: by load, of those that can reach their quorum; `avoid`: the groups
 * that failed this write already. */
const struct blob_pg *pgs_choose(struct blob_client *bc, const uint32_t *avoid, size_t avoid_count);
/* What a write to this group needs: copies, and zones they must be in. */
void pg_quorum(const struct blob_pg *pg, unsigned *ret_copies, unsigned *ret_zones);
bool node_is_usable(const struct blob_client *bc, const struct blob_node *n);

static inline void node_suspect(struct blob_client *bc, struct blob_node *n)
{
    n->suspect_until_ns = env_now_ns(bc->env) + 3 * NS_PER_SEC;
}

void puts_stop(struct blob_client *bc);
void gets_stop(struct blob_client *bc);
void asks_stop(struct blob_client *bc);
