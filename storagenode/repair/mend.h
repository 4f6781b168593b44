#pragma once
/* Mending one blob: looking once more what is where, asking its owner's partition, reading k shards
 * range by range, rebuilding, writing, and reading back.
 *
 * What it promises: a place counts as mended only when its node has read back and verified what was
 * written there.  Nothing is written of a blob that a live member remembers deleting, nor, unless a
 * new member is filled, of one that no record refers to: that is condemned when it is old enough,
 * as the partition says (a member that lacks it is reason enough to ask, whatever the others' marks
 * of orphans/agent.h say).  What comes out of the code is held
 * against the CRC of the whole blob before it is written.
 *
 * Of a blob that cannot be rebuilt new members are given the shards that old ones have, so that
 * nothing goes with those: who is out of reach may come back and make it whole.  Everything may be done twice, or by two
 * nodes at once: the same bytes go to the same places under the same id.
 *
 * Memory: `bytes_max` of rebuilt shards (at least one), and a range (256 KiB) of each shard that is
 * read.  Runs on: the rpc's loop. */
#include "common/ec/ec.h"
#include "common/op/op.h"
#include "proto/map_client.h"
#include "proto/storage.pb-c.h"
#include "storagenode/repair/core/plan.h"

enum mend_outcome {
    MEND_FAILED,     /* err says why; some places may have been mended */
    MEND_MENDED,     /* every place that was wanted and lacked it, as far as bytes_max goes */
    MEND_NOTHING,    /* it is whole by now */
    MEND_DELETED,    /* a live member remembers that */
    MEND_UNREFERRED, /* no record refers to it: an orphan, an upload under way, or being deleted */
    MEND_BEYOND,     /* a record refers to it, or may, and too few shards are in reach; what could
                        be copied has been */
    MEND_WRONG,      /* the same, because what comes out is not the blob: some shard is not its,
                        though sound by itself, which is deep scrub's to find out */
};

struct mend;
struct mend_slot {
    struct mend *mend;
    struct rpc_call rpc;
    unsigned place;
    bool sent, running;
};

struct mend {
    /* set by the caller */
    struct env *env;
    struct map_client *map;
    struct plan_group group;
    struct rpc_peer *peer[PLAN_PLACES_MAX]; /* of live places */
    uint32_t pg;
    uint64_t pg_epoch;
    struct plan_item item; /* as plan_merge() gave it; brought up to date here */
    uint32_t listed;       /* the caller's own: the places that lacked it when it was listed */
    uint32_t want;         /* places that may be written to */
    uint64_t bytes_max;
    uint64_t timeout_ns;    /* of one call */
    uint64_t seen_ns_max;   /* below the shortest tombstone_retention */
    /* How long to wait before so many bytes are moved. */
    uint64_t (*pace)(void *pace_arg, uint64_t bytes, bool endangered);
    void *pace_arg;
    void (*cb)(struct mend *);
    void *arg; /* the caller's own */
    /* result */
    int err;
    enum mend_outcome outcome;
    uint32_t mended;   /* places, read back and verified */
    uint64_t bytes;    /* written and verified */
    uint32_t unwanted; /* places that lack it still */
    uint32_t had;      /* places that said that they have theirs whole */
    uint32_t unknown;  /* places that were asked, or should have been, and could not tell */
    /* private */
    struct op op;
    struct env_timer timer;
    struct mend_slot slot[PLAN_PLACES_MAX]; /* a place's, or while fetching a shard's */
    unsigned left;
    bool canceled, asking, paced;
    uint64_t looked_ns;               /* when it was last looked what is where */
    bool new_only;                    /* nothing refers to it yet: only new members get it */
    bool copies;                      /* it cannot be rebuilt: shards are only copied */
    bool wrong;                       /* what came out was not the blob */
    uint32_t whole, damaged, targets; /* masks of places */
    unsigned header_place;
    uint32_t heads; /* damaged places whose heads may tell the owner yet */
    Cairn__GetShardResponse *header;
    struct leader_call ask;
    Cairn__BlobRefsRequest ask_request;
    ProtobufCBinaryData ask_id;
    uint64_t ask_time_ms;
    uint64_t shard_bytes, offset;
    struct ec ec;
    struct ec_plan plan;
    uint32_t sources, rebuilt, outputs; /* masks of shards */
    struct rcbuf *out[PLAN_SHARDS_MAX]; /* whole shards, of outputs; ranges, of others rebuilt */
    uint32_t crc[PLAN_SHARDS_MAX];      /* of the used bytes of data shards, so far */
};

/* The struct is zeroed but for what the caller sets, and stays in place until cb, which comes
 * later, once; everything of it is freed then. */
void mend_start(struct mend *m);
void mend_cancel(struct mend *m); /* its callback comes soon */
