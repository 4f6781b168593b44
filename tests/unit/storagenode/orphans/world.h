#pragma once
/* Three storage nodes with real disks in memory, each with its agent and a clock of its own; a
 * metanode whose one partition is the real index; its deletion queue. */
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "metanode/index/index.h"
#include "storagenode/orphans/agent.h"
#include "tests/unit/gateway/meta/fake_rpc.h"

#define NODES 3
#define BLOBS_MAX 400
#define BUCKET UINT64_C(77)
#define PG 4u
#define AGE_MS (UINT64_C(3600) * 1000)
#define HOUR_NS (3600 * NS_PER_SEC)

struct world;

struct clock_env { /* the world's, but for the wall clock */
    struct env env;
    struct world *w;
    int64_t skew_ms;
};

struct node {
    struct world *w;
    char id[4];
    struct clock_env clock;
    struct disk *disk;
    struct kv *kv;
    struct disks *disks; /* NULL: it is down */
    struct orphans *agent;
    bool member;
};

struct world {
    struct rpc f;
    struct node node[NODES];
    struct rpc_peer *metanode;
    struct map_client *map;
    struct kv *kv;
    struct index *index;
    uint64_t map_version, created_ms;
    uint64_t blobs_per_sec;
    /* the metanode's faults */
    int refs_err;
    unsigned refs_odd; /* 1: a byte too few, 2: a byte that means nothing, 3: no message */
    unsigned questions, asked;
};

void world_init(struct world *w);
void world_fini(struct world *w);
/* The node's process ends; of its index stays what was flushed. */
void node_down(struct node *n);
/* It opens its disks again, and its agent runs if `agent`. */
void node_up(struct node *n, bool agent);
void agents_start(struct world *w);
void agents_start_one(struct world *w, unsigned node);
struct orphans_stats node_stats(const struct node *n);
void run_hours(struct world *w, double hours);
uint64_t world_ms(struct world *w);

/* A blob, a shard on each node that is up, made now. */
struct id128 blob_new(struct world *w, const char *key);
bool node_has(struct node *n, struct id128 id);
unsigned holders(struct world *w, struct id128 id);

/* Through the index: the object of that key is these blobs.  Returns: what was decided. */
int put_object(struct world *w, const char *key, const struct id128 *ids, size_t count);
int put_part(struct world *w, const char *key, struct id128 upload, uint32_t number,
             const struct id128 *ids, size_t count);
int create_upload(struct world *w, const char *key, struct id128 upload);
int abort_upload(struct world *w, const char *key, struct id128 upload);
int delete_object(struct world *w, const char *key);
int seal_bucket(struct world *w);
/* What the partition's leader does with its queue: an item is done when every node that is not
 * `lost` has acknowledged.  Returns: items that are left. */
size_t drain(struct world *w, const struct node *lost);
