#pragma once
/* What the files of the metadata client share: the client itself, routes, witness questions. */
#include "gateway/meta/meta_client.h"

#define META_REPLICAS_MAX 16

/* One partition as the map has it, with what was learnt about its leader. */
struct meta_route {
    uint32_t id;
    const Cairn__PartitionDescriptor *descriptor; /* into the map; NULL: the root, not in the map */
    struct rpc_peer *leader;                      /* a guess; NULL: none */
    unsigned next;                                /* which replica to try without a guess */
    struct rpc_peer *shunned;  /* it let an attempt time out: whoever still calls */
    uint64_t shunned_until_ns; /* it the leader is not believed for a while */
};

struct meta_witness {
    struct rpc_peer *peer;
    bool own_zone;
    uint64_t suspect_until_ns; /* it was slow or failed: others are asked first */
};

struct check_frame;

struct meta_client {
    struct env *env;
    struct rpc *rpc;
    struct cache *cache;
    struct meta_config config;
    struct meta_stats stats;
    bool stopped;
    unsigned outstanding; /* calls, reads and frames that will still call back */
    uint64_t op_ids;

    /* map.c */
    struct rpc_peer **seeds;
    unsigned seed_count, next_seed;
    Cairn__ClusterMap *map;
    struct meta_route *routes; /* sorted by start; the root is not among them */
    size_t route_count;
    struct meta_route root;
    struct rpc_peer **metanodes;
    size_t metanode_count;
    struct rpc_call map_call;
    bool map_calling, map_wanted;
    unsigned map_failures;
    struct env_timer map_timer;

    /* call.c: every call that waits or runs */
    struct list calls;

    /* check.c */
    struct meta_witness *witnesses; /* own zone first */
    size_t witness_count;
    struct check_frame *open; /* takes questions until the end of the turn */
    struct list full_frames;  /* others of this turn, waiting for the same end */
    struct list frames, spare_frames;
    unsigned spare_frame_count;
    uint64_t frame_ids;
    struct env_timer flush_timer;
};

/* The start of most backoffs: base doubled `step` times (at most 5), spread over [1/2, 1]. */
uint64_t meta_backoff_ns(struct meta_client *mc, unsigned step);

/* ---- map.c ---- */
int map_init(struct meta_client *mc);
void map_stop(struct meta_client *mc);
void map_fini(struct meta_client *mc);
/* NULL: not known (no map yet, or a hole in it). */
struct meta_route *map_route(struct meta_client *mc, bool root, uint64_t bucket_id,
                             struct slice key);
struct meta_route *map_route_by_id(struct meta_client *mc, uint32_t id);
/* Whom to ask now: the guess, or the next replica; one that is up if any is.  NULL: nobody. */
struct rpc_peer *route_target(struct meta_client *mc, struct meta_route *route);
/* Forgets the guess if it is `failed`, and moves on to another replica. */
void route_failed(struct meta_route *route, const struct rpc_peer *failed);
void route_timed_out(struct meta_client *mc, struct meta_route *route, struct rpc_peer *failed);
/* Sets the guess by node id.  Returns: true if that is another peer than `asked`. */
bool route_hint(struct meta_client *mc, struct meta_route *route, const char *node_id,
                const struct rpc_peer *asked);

/* ---- rows.c ---- */
/* What the witnesses are told of a change of the registry: at most so many hashes for each row. */
#define ROW_TOUCHES_MAX 2
size_t rows_touches(const Cairn__ChangeRows *op, uint64_t *ret);

/* ---- check.c: questions to witnesses, one frame a turn of the loop ---- */
/* META_OWNER: the root user of the bucket's account, a principal too. */
enum meta_record { META_OBJECT, META_BUCKET, META_PRINCIPAL, META_OWNER, META_RECORDS };
#define META_BIT(r) (1u << (r))

void check_init(struct meta_client *mc);
void check_map_changed(struct meta_client *mc);
void check_fini(struct meta_client *mc);
bool check_possible(struct meta_client *mc);
/* Joins the frame of this turn with the entries in read->in_check; later check_answered(). False:
 * out of memory, nothing joined. */
bool check_join(struct meta_client *mc, struct meta_read *read);
/* In read.c: `fresh` is a mask of those in in_check. */
void check_answered(struct meta_read *read, uint8_t fresh);
