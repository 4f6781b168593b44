#pragma once
/* Keys and values of a store's index (docs/formats/extent.md, "Index").  Pure.
 *
 *   'b' blob id                     -> blob record: where its shards are, or that it was deleted
 *   'x' extent, offset              -> blob id, shard index: what is alive in an extent, in order
 *   't' time of deletion, blob id   -> (empty): tombstones in the order of their expiry
 *   'g' placement group, blob id, shard index -> group record: a group's shards, in order
 *   'e' extent                      -> extent record
 *   's' extent                      -> scrub record; extent 0: of the last opening
 *   'd'                             -> disk record
 *   'c' placement group             -> epoch below which its writes are refused
 *   'n' disk id                     -> node record: another disk of the same node
 *   'v' placement group             -> deep record: since when its blobs' shards are not compared */
#include "storagenode/extent/format.h"

#define SHARDS_PER_BLOB_MAX 16 /* of one blob on one disk; more than one only while a PG changes */
#define EXTENT_NONE 0u         /* of a shard whose bytes are lost for good */
#define RECORD_KEY_BYTES_MAX 32
#define RECORD_BYTES_MAX (24 + SHARDS_PER_BLOB_MAX * 56)

struct record_key {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    size_t len;
};

static inline struct slice record_key_slice(const struct record_key *k)
{
    return SLICE(k->bytes, k->len);
}

struct record_key record_key_blob(struct id128 blob_id);
struct record_key record_key_live(uint32_t extent_id, uint64_t offset);
struct record_key record_key_tombstone(uint64_t time_ms, struct id128 blob_id);
struct record_key record_key_extent(uint32_t extent_id);
struct record_key record_key_scrub(uint32_t extent_id);
struct record_key record_key_disk(void);
struct record_key record_key_group(uint32_t pg, struct id128 blob_id, uint16_t shard_index);
struct record_key record_key_closed(uint32_t pg);
struct record_key record_key_node(struct id128 disk_id);
struct record_key record_key_deep(uint32_t pg);
/* false: not a key of that kind. */
bool record_key_blob_parse(struct slice key, struct id128 *ret);
bool record_key_live_parse(struct slice key, uint32_t *ret_extent, uint64_t *ret_offset);
bool record_key_tombstone_parse(struct slice key, uint64_t *ret_time_ms, struct id128 *ret_blob);
bool record_key_extent_parse(struct slice key, uint32_t *ret_extent);
bool record_key_scrub_parse(struct slice key, uint32_t *ret_extent);
bool record_key_group_parse(struct slice key, uint32_t *ret_pg, struct id128 *ret_blob,
                            uint16_t *ret_shard_index);
bool record_key_closed_parse(struct slice key, uint32_t *ret_pg);
bool record_key_node_parse(struct slice key, struct id128 *ret_disk);

struct shard_record {
    uint16_t shard_index;
    bool damaged;          /* a read or recovery found it so: answered with ERR_CORRUPT, to be repaired */
    bool confirmed;        /* a record referred to the blob when its partition was asked; nobody relies
                            * on it: lost, it is asked again */
    uint32_t extent_id;    /* EXTENT_NONE only when damaged */
    uint64_t generation, offset, bytes, seq;
    uint32_t crcs_digest;
    uint32_t pg;
    uint64_t time_ms;      /* of the put */
};

struct blob_record {
    bool deleted;          /* a tombstone; no shards */
    uint64_t seq;          /* of the last mark; 0: none */
    uint64_t time_ms;      /* of that mark */
    uint32_t shard_count;
    struct shard_record shards[SHARDS_PER_BLOB_MAX];
};

/* Returns the number of bytes written. */
size_t blob_record_encode(const struct blob_record *r, uint8_t ret[RECORD_BYTES_MAX]);
/* Returns: OK; ERR_CORRUPT; ERR_VERSION. */
int blob_record_decode(struct slice value, struct blob_record *ret);
struct shard_record *blob_record_find(struct blob_record *r, uint16_t shard_index); /* NULL: none */
void blob_record_remove(struct blob_record *r, struct shard_record *shard);

/* The rules of replay: the highest seq wins, whatever the order in which frames are met.
 * A shard is taken unless a later mark or a later frame of the same shard is known (false).  What it
 * replaces is copied to *ret_old (seq 0: nothing). */
bool blob_record_take(struct blob_record *r, const struct shard_record *shard,
                      struct shard_record *ret_old);
/* A mark removes the shards with a lower seq (copied to ret_removed, counted in *ret_count) and
 * leaves a tombstone unless a later shard lives.  false: nothing changed. */
bool blob_record_mark(struct blob_record *r, uint64_t seq, uint64_t time_ms,
                      struct shard_record ret_removed[SHARDS_PER_BLOB_MAX], uint32_t *ret_count);

struct live_record {
    struct id128 blob_id;
    uint16_t shard_index;
};
#define LIVE_RECORD_BYTES 18
void live_record_encode(const struct live_record *r, uint8_t ret[LIVE_RECORD_BYTES]);
int live_record_decode(struct slice value, struct live_record *ret); /* OK; ERR_CORRUPT */

/* The index knows of all frames of this life of the extent below `indexed_end`. */
struct extent_record {
    uint64_t generation, salt, indexed_end, last_seq;
    bool used;             /* false: prepared, holds no frame */
    bool sealed;           /* no frame was or will be written behind indexed_end */
    bool broken;           /* quarantined: neither read nor written nor used again */
};
#define EXTENT_RECORD_BYTES 34
void extent_record_encode(const struct extent_record *r, uint8_t ret[EXTENT_RECORD_BYTES]);
int extent_record_decode(struct slice value, struct extent_record *ret); /* OK; ERR_CORRUPT; ERR_VERSION */

/* Since when, at the latest, bytes of this life of an extent have not been verified. */
struct scrub_record {
    uint64_t generation, unverified_ms;
};
#define SCRUB_RECORD_BYTES 17
void scrub_record_encode(const struct scrub_record *r, uint8_t ret[SCRUB_RECORD_BYTES]);
int scrub_record_decode(struct slice value, struct scrub_record *ret); /* OK; ERR_CORRUPT; ERR_VERSION */

/* What an inventory needs to know of a shard, without its blob record. */
struct group_record {
    uint64_t time_ms;
    uint32_t crcs_digest;
    bool damaged, confirmed;
};
#define GROUP_RECORD_BYTES 14
void group_record_encode(const struct group_record *r, uint8_t ret[GROUP_RECORD_BYTES]);
int group_record_decode(struct slice value, struct group_record *ret); /* OK; ERR_CORRUPT; ERR_VERSION */

/* One for each disk that the node has, or had, in the index of every one of them. */
#define DISK_PATH_BYTES_MAX 255
struct node_record {
    bool lost;             /* given up: never served again */
    char path[DISK_PATH_BYTES_MAX + 1]; /* where it was last */
};
#define NODE_RECORD_BYTES_MAX (3 + DISK_PATH_BYTES_MAX)
size_t node_record_encode(const struct node_record *r, uint8_t ret[NODE_RECORD_BYTES_MAX]);
int node_record_decode(struct slice value, struct node_record *ret); /* OK; ERR_CORRUPT; ERR_VERSION */

#define CLOSED_RECORD_BYTES 9
void closed_record_encode(uint64_t epoch, uint8_t ret[CLOSED_RECORD_BYTES]);
int closed_record_decode(struct slice value, uint64_t *ret_epoch); /* OK; ERR_CORRUPT; ERR_VERSION */

/* By the first byte of blob ids; wall clock, stored in whole seconds, rounded down. */
#define DEEP_BUCKETS 256u
#define DEEP_RECORD_BYTES (1 + DEEP_BUCKETS * 5)
void deep_record_encode(const uint64_t since_ms[DEEP_BUCKETS], uint8_t ret[DEEP_RECORD_BYTES]);
/* Returns: OK; ERR_CORRUPT; ERR_VERSION. */
int deep_record_decode(struct slice value, uint64_t ret_since_ms[DEEP_BUCKETS]);

struct disk_record {
    struct id128 disk_id;
    uint64_t extent_bytes;
};
#define DISK_RECORD_BYTES 25
void disk_record_encode(const struct disk_record *r, uint8_t ret[DISK_RECORD_BYTES]);
int disk_record_decode(struct slice value, struct disk_record *ret); /* OK; ERR_CORRUPT; ERR_VERSION */
