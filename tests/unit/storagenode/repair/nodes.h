#pragma once
/* Storage nodes and a metanode for the tests of repair: one group, its blobs, tables in memory. */
#include "common/ec/ec.h"
#include "proto/storage.pb-c.h"
#include "storagenode/repair/agent.h"
#include "tests/unit/gateway/meta/fake_rpc.h"

#define NODES 8
#define BLOBS_MAX 24
#define SHARDS_MAX 8
#define PG 7u

enum kept { KEPT_NOT, KEPT_WHOLE, KEPT_DAMAGED, KEPT_HEADLESS /* and damaged */ };
struct kept_shard {
    enum kept state;
    uint8_t *bytes;
    size_t len;
};

struct node {
    struct nodes *n;
    unsigned number;
    struct rpc_peer *peer;
    Cairn__NodeState state;
    bool draining;
    Cairn__DiskState disk; /* its only one */
    bool list_fails;       /* pages end with ERR_IO */
    bool forgets;          /* acknowledges puts and keeps nothing */
    bool flips;            /* a bit of what it reads, behind its sums */
    bool get_fails;        /* every get ends with ERR_CHECKSUM */
    bool distrust_fails;   /* the shard is another one by then */
    uint64_t closed_epoch; /* of the group */
    struct kept_shard shard[BLOBS_MAX][SHARDS_MAX];
    bool deleted[BLOBS_MAX]; /* a tombstone */
    unsigned lists;          /* pages asked for */
};

struct blob {
    struct id128 id;
    size_t bytes;
    uint8_t *data;
    uint64_t time_ms;
    bool referred, condemned;
    struct kept_shard shard[SHARDS_MAX]; /* as they should be */
    unsigned mended_at;                  /* 1: the first that was written to, ... */
};

struct nodes {
    struct rpc f;
    struct node node[NODES];
    struct rpc_peer *metanode;
    unsigned data, shards;
    struct ec ec;
    uint64_t epoch, map_version;
    unsigned member[SHARDS_MAX], next[SHARDS_MAX];
    bool changing;
    unsigned members_now; /* 0: as many as shards */
    struct blob blob[BLOBS_MAX];
    unsigned blob_count;
    unsigned page_max;            /* entries in a page */
    bool tombstones_listed;       /* inventories show them */
    unsigned distrusted;
    bool present_untold;          /* digests do not say which buckets are empty */
    unsigned asked, puts, mended; /* questions to the partition; puts taken; blobs written to */
    uint64_t other_epoch; /* 0: there is no other group; it is empty, of nodes 0, 7, 6, ... */
    unsigned other_asked;
    struct map_client *map;
    struct repair_agent *agent;
};

/* data 1: replicas.  Members are nodes 0, 1, ...; blobs are old and referred to. */
void nodes_init(struct nodes *n, unsigned data, unsigned parity);
void nodes_fini(struct nodes *n); /* stops the agent, too */
struct blob *nodes_blob(struct nodes *n, size_t bytes);
/* Takes a blob's shard from a node. */
void nodes_lose(struct nodes *n, unsigned node, const struct blob *b, unsigned shard);
struct kept_shard *nodes_kept(struct nodes *n, unsigned node, const struct blob *b, unsigned shard);
/* Every member has every shard, byte for byte. */
bool nodes_whole(struct nodes *n, const struct blob *b);
/* The map has changed. */
void nodes_map_changed(struct nodes *n);
/* An agent on that node; config may be NULL. */
void nodes_repair(struct nodes *n, const char *node_id, const struct repair_config *config);
