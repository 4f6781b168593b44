#pragma once
/* What the files of the shards' checker share.
 *
 *   shards.c      what refers to blobs, by the rows of the partitions; runs in which nothing is
 * lost redundancy.c  runs in which data are destroyed, and repaired */
#include "proto/common.pb-c.h"
#include "tests/sim/shards.h"
#include "tests/sim/stores.h"

#define PG_MEMBERS_MAX 16
#define PGS_MAX 64
#define FLIPS_MAX 512 /* bits that are wrong at one time */
#define LOOK_NS (200 * NS_PER_MS) /* less than the grace period: what is queued is seen */

enum standing { NOWHERE, QUEUED, REFERRED_TO };

struct blob {
    struct id128 id;
    uint32_t pg;
    enum standing standing;     /* as of the last look */
    bool known;                 /* a record referred to it, or a queue held it, once */
    uint32_t lives, held, gone; /* masks of storage nodes: now; ever; had it and lost it */
    uint32_t left_behind;       /* had it when it left the group, and has not dropped it yet */
    bool acknowledged;          /* the write that it belongs to */
    bool discarded_in_calm;
    bool seen;                       /* it was judged as one that is referred to */
    uint64_t met_ns;                 /* it was looked at for the first time */
    uint16_t whole[SIM_NODES_MAX];   /* masks of shards: as the nodes' indexes said last */
    uint16_t damaged[SIM_NODES_MAX]; /* and what they know to be damaged */
};

struct group { /* a placement group */
    bool known;
    uint32_t data; /* shards that it takes to read a blob */
    uint64_t epoch, changed_ns;
    unsigned count, next_count;
    size_t store[PG_MEMBERS_MAX], next[PG_MEMBERS_MAX]; /* positions in cluster->stores */
};

struct flip { /* a bit that is wrong, until the shard is written anew or deleted */
    size_t node;
    struct sim_shard shard;
};

struct sim_shards {
    struct sim_cluster *cluster;
    struct blob *blobs; /* a hash table; id zero: free */
    size_t count, cap;
    uint64_t applied[SIM_PARTITIONS_MAX]; /* the most that was ever seen */
    uint64_t next_look_ns;
    bool calm;
    struct group pgs[PGS_MAX], pgs_before[PGS_MAX];
    /* redundancy.c */
    struct {
        bool up, draining, was_up; /* as the map says; at the look before */
        bool missed;               /* lost, and not given up */
        uint64_t boot;             /* at the look before */
    } node[SIM_NODES_MAX];
    uint64_t zone_down_ns[SIM_NODES_MAX]; /* when a zone was declared down last */
    struct flip flips[FLIPS_MAX];
    size_t flip_count;
    uint64_t struck_ns; /* when data were destroyed last */
    struct sim_shards_stats stats;
};

/* ---- shards.c ---- */
void shards_problem(struct sim_shards *s, const struct blob *b, const char *what,
                    const char *where);
/* Found or made.  Good until the next call. */
struct blob *shards_blob(struct sim_shards *s, struct id128 id);
/* Looks at all rows and all nodes, and judges.  false: the truth is not to be had now. */
bool shards_look(struct sim_shards *s);

/* ---- redundancy.c, of runs that mend ---- */
/* After a look at all rows, before blobs are judged. */
void redundancy_look(struct sim_shards *s, uint32_t up);
void redundancy_judge(struct sim_shards *s, struct blob *b, uint32_t up);
/* The node is a member of the blob's group, or is becoming one. */
bool redundancy_is_member(const struct sim_shards *s, const struct blob *b, size_t node);
/* Every place of what is referred to has its shard, and bit for bit, and nobody else has one; no
 * group changes.  As of the last look.  false with a reason. */
bool redundancy_is_full(struct sim_shards *s, struct buf *ret_why);
/* For sim_cluster.emptied. */
void redundancy_emptied(void *arg, struct sim_node *store);
/* The head of one of its shards can be read: it says whom to ask whether a record refers to it. */
bool redundancy_has_owner(const struct sim_shards *s, const struct blob *b);
/* A row of the root's table of nodes. */
void redundancy_node(struct sim_shards *s, const Cairn__NodeRecord *r);
