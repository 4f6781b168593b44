#pragma once
/* One blob, deep: all its shards are read, judged together (judge.h), and those that are
 * proven not to be the blob's are told to their nodes, which mark them as damaged and mend them.
 * What cannot be proven is left as it is.
 *
 * A shard that cannot be read is not this one's business: repair knows of it, or will.
 *
 * Runs on: the rpc's loop; judging on a worker.  Memory: the blob's shards. */
#include "common/op/op.h"
#include "common/rpc/rpc.h"
#include "proto/storage.pb-c.h"
#include "storagenode/repair/judge.h"
#include "storagenode/repair/core/plan.h"

#define DEEP_BYTES_MAX (128u << 20) /* of all shards of one blob; more is left unchecked */

struct deep_blob;

struct deep_shard {
    struct deep_blob *blob;
    struct rpc_call rpc;
    bool running, sent, had; /* had: all so far has been read, and is sound */
    Cairn__GetShardResponse *head;
    struct rcbuf *bytes;
    uint32_t *crcs;
    size_t crc_count;
};

struct deep_blob {
    /* the caller's */
    struct env *env;
    uint32_t pg;
    unsigned data, shards;                  /* 1: replicas; data + parity */
    struct rpc_peer *peer[PLAN_SHARDS_MAX]; /* of each shard's holder; NULL: not in reach */
    struct id128 blob_id;
    uint64_t timeout_ns;
    void (*cb)(struct deep_blob *);
    /* results */
    enum judge_verdict verdict;
    uint32_t wrong, told; /* told: their nodes have marked them */
    uint64_t bytes;       /* read */
    int err;              /* why nothing was found out; the verdict is TOO_FEW then */
    /* private */
    struct op op;
    struct env_timer timer;
    struct env_work work;
    struct ec ec;
    struct judge judge;
    struct judge_shard judged[PLAN_SHARDS_MAX];
    struct deep_shard shard[PLAN_SHARDS_MAX];
    uint64_t shard_bytes, offset;
    unsigned left;
    bool judging, canceled, odd; /* odd: some shard has another size than the others */
};
/* One callback, later. */
void deep_blob_start(struct deep_blob *b);
void deep_blob_cancel(struct deep_blob *b); /* the callback comes soon, with ERR_CANCELED */
