#pragma once
/* Are the shards of these segments where they should be?  Questions (store.check) to the members of
 * their groups; what is not full was so at a moment after the start, whoever was a member before.
 */
#include "gateway/admin/redundancy.h"
#include "gateway/blob/ask.h"
#include "gateway/meta/meta_client.h"

#define VERIFY_ITEMS_MAX 128

/* A group as it was when it was asked about.  shards 0: the map has none that could be asked. */
struct verify_group {
    uint32_t pg;
    uint64_t epoch; /* 0: the map has no such group */
    unsigned shards, data, parity;
    struct verify_group *next;
    const char *node[]; /* who has each shard or should */
};

struct verify_item {
    const Cairn__Segment *segment; /* set by the caller; borrowed */
    /* Results. */
    const struct verify_group *group; /* in the caller's arena */
    enum shard_found found[REDUNDANCY_SHARDS_MAX];
    enum redundancy is;
    /* private */
    bool wanted; /* it is being asked about */
};

#define VERIFY_LATE_MAX 64

struct verify_batch;
struct verify_ask { /* zeroed; the next round goes on with it, for as long as the arena lives */
    struct verify_item items[VERIFY_ITEMS_MAX];
    size_t count;
    bool deep;           /* every byte is read */
    uint64_t timeout_ns; /* of a question, and of each map that is read on the way */
    uint64_t since_ns;   /* when the operator asked: see ask.h */
    struct arena *arena;
    void (*cb)(struct verify_ask *v);
    int err; /* result: OK; ERR_NOMEM; why no map as of now was to be had */
    /* private */
    struct verify_group *groups;
    const struct rpc_peer *late[VERIFY_LATE_MAX]; /* did not answer in time: are waited for less */
    size_t late_count;
    struct blob_client *bc;
    struct meta_client *mc;
    unsigned rounds;
    struct meta_map_read map_read;
    struct verify_batch **batches;
    size_t batch_count, batch_cap;
    struct blob_question *questions;
    struct blob_ask ask;
    struct env_timer timer;
};
/* How many items a round takes at most. */
size_t verify_ask_max(const struct verify_ask *v);
/* One callback, later.  The caller has just read the map as of now (struct meta_map_read). */
void verify_ask_start(struct blob_client *bc, struct meta_client *mc, struct verify_ask *v);
