#pragma once
/* Eighteen storage nodes of three zones, coded and replicated groups on them, and a blob client:
 * for the tests of coded blobs.  Nodes check what they are given, and fail as they are told. */
#include "common/base/check.h"
#include "gateway/blob/blob.h"
#include "gateway/blob/code.h"
#include "tests/unit/gateway/meta/fake_rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NODES 18
#define GROUPS_MAX 4
#define SHARDS_MAX 128
#define REPLICATED (384u << 10) /* the default of replicate_bytes_max */
#define BYTES 500001 /* 5 + 4: shards of two blocks; the fourth is half empty, the fifth empty */

struct shard {
    uint8_t blob_id[ID_BYTES];
    unsigned index, data_shards, parity_shards;
    uint64_t blob_bytes;
    struct rcbuf *data;
    uint32_t crc[BLOB_BLOCKS_MAX];
    bool deleted;
};

struct node {
    struct world *w;
    struct rpc_peer *peer;
    char id[16];
    int put_err;
    bool put_hangs, lost, damaged; /* its shards */
    int mend_err;
    bool mend_hangs;
    uint64_t epoch_min;            /* puts below are refused */
    uint64_t get_delay_ns;
    uint64_t bytes_free, bytes_total; /* it says with each put; 0: nothing */
    unsigned puts, gets, deletes;
    unsigned hints, hinted; /* calls of store.mend; blobs of the last, all of the group */
    uint32_t hinted_pg;
    uint8_t hinted_id[ID_BYTES]; /* its first */
    struct shard shards[SHARDS_MAX];
    unsigned shard_count;
};

/* Node i lies in zone i % 3. */
struct world {
    struct rpc f;
    struct node node[NODES];
    Cairn__ClusterMap map;
    Cairn__NodeRecord record[NODES], *records[NODES];
    Cairn__PlacementGroup pg[GROUPS_MAX], *pgs[GROUPS_MAX];
    char *members[GROUPS_MAX][2][EC_SHARDS_MAX];
    unsigned refreshes;
    bool refresh_ends_change; /* the next map has what next_members says */
    struct budget *budget;
    struct blob_client *bc;
    struct blob_scheme scheme; /* of writes to come */
};
struct writing {
    struct blob_write w;
    struct blob_segment segment;
    Cairn__ShardOwner owner;
    bool done;
};
struct reading {
    struct blob_read r;
    bool done, wrong;
};

void world_init(struct world *w);
void world_init_with(struct world *w, const struct blob_config *config);
void world_fini(struct world *w); /* nothing may be left under way, and no byte in the budget */
/* data 0: replicas.  Members: nodes first, first + 1, ... */
void group_add(struct world *w, unsigned data, unsigned parity, unsigned first);
/* Shard i of the group is to move to node first + i. */
void change_begin(struct world *w, unsigned group, unsigned first);
const struct blob_stats *stats(const struct world *w);
unsigned puts_of(const struct world *w);

/* What every blob of up to 4 MiB begins with. */
const uint8_t *content(void);
void write_cb(struct blob_write *w);
void write_start(struct world *w, struct writing *x, size_t bytes);
int write_run(struct world *w, struct writing *x, size_t bytes);
void read_cb(struct blob_read *r);
void read_begin(struct world *w, struct reading *x, const struct blob_write *of, uint64_t offset,
                uint64_t bytes);
/* Compares what was read; with a planted bug it only says so. */
int read_run(struct world *w, struct reading *x, const struct blob_write *of, uint64_t offset,
             uint64_t bytes);
