#pragma once
/* Blobs: segments of objects as they lie on storage nodes, written to and read from the members of
 * a placement group.  Member i of a group holds shard i of its blobs: of a replicated group each
 * shard is a copy; of a coded one k are data, in order, and m parity (common/ec/ec.h).
 *
 * A write picks a group, sends all shards in parallel and has succeeded when what is durable
 * survives the loss of any zone (quorum.h); the last shards go on without it.  A group that cannot
 * reach this is left for another.  A read verifies every 64 KiB block's CRC32C and turns to another
 * member when one fails, is damaged, or is slow; of a coded blob it asks for the data shards that
 * the range touches, and for parity instead of those that cannot be had.  While a group's members
 * change, shard i is written to both its holders, and read from either.
 *
 * One `struct blob_client` per loop; no libuv. A start leads to exactly one callback, later, never
 * inside the start. */
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/env/env.h"
#include "common/rpc/rpc.h"
#include "gateway/blob/budget.h"
#include "proto/storage.pb-c.h"

struct blob_client;
struct blob_body;
struct meta_client;

#define BLOB_BLOCK_BYTES 65536u
#define BLOB_BYTES_MAX (16u << 20)
#define BLOB_BLOCKS_MAX (BLOB_BYTES_MAX / BLOB_BLOCK_BYTES)

#define BLOB_SCHEMES_MAX 8

/* Of a code; {1, x}: replicas; {0, 0}: not said, as STANDARD's. */
struct blob_scheme {
    unsigned data, parity;
};

struct blob_config {
    const char *zone; /* the own: read from there first.  Copied; NULL: none */
    /* Blobs up to this size are replicated though there are coded groups.  0: 384 KiB, from where
     * on the shards of 5 + 4 and of 3 + 3, whole blocks each, take no more space than three
     * copies. */
    uint64_t replicate_bytes_max;
    /* STANDARD's codes, as the operator stated them; none: by the topology. */
    struct blob_scheme standard[BLOB_SCHEMES_MAX];
    size_t standard_count;
    /* What storage classes name.  Groups of a code that is in here, and not STANDARD's, take what
     * asks for it and nothing else. */
    struct blob_scheme classes[BLOB_SCHEMES_MAX];
    size_t class_count;
    uint32_t write_attempt_ms; /* 0: 5000; then another group is tried */
    uint32_t straggler_ms;     /* 0: 3000; how long a copy may lag behind the two that count */
    uint32_t read_attempt_ms;  /* 0: 3000 */
    uint32_t hedge_min_ms;     /* 0: 5 */
    uint32_t hedge_max_ms;     /* 0: 1000 */
};

struct blob_stats {
    uint64_t writes, coded_writes, write_retries, write_failures, stragglers_dropped;
    uint64_t reads, read_failovers, read_hedges, read_corrupt, read_failures, read_decodes;
    uint64_t bytes_written, bytes_read, discards;
    uint64_t proofs_failed; /* what was to be written had changed in memory */
    uint64_t hints, hints_dropped; /* blobs that lack a shard: told to a member; not told */
};

/* mc: for the map of nodes and groups; outlives it. */
int blob_client_new(struct env *env, struct rpc *rpc, struct meta_client *mc,
                    const struct blob_config *config, struct blob_client **ret);
void blob_client_stop(struct blob_client *bc); /* everything under way ends soon */
bool blob_client_idle(const struct blob_client *bc);
void blob_client_free(struct blob_client *bc); /* stopped and idle */
const struct blob_stats *blob_client_stats(const struct blob_client *bc);

/* What is known of a storage node.  Slow: it takes several times as long as the others; it is asked
 * last for a while. */
struct blob_node_view {
    const char *id;             /* borrowed from the client */
    uint64_t read_ns, write_ns; /* moving averages; 0: nothing measured yet */
    bool slow;
    uint64_t slow_ns, usual_ns; /* slow: its average, and the median of all, when it was found */
};
/* index: 0, 1, ...; a node keeps its index.  Returns: false: there is none. */
bool blob_client_node(const struct blob_client *bc, size_t index, struct blob_node_view *ret);

/* ---- a segment being filled ---- */

/* Bytes of one segment, with the CRC of each block computed as they come in. */
struct blob_segment {
    struct rcbuf *buf;     /* cap: the most it takes */
    struct rcbuf *parity;  /* made by a coded group's write, see code.h */
    size_t parity_bytes;   /* what it may take; 0: the segment will be replicated */
    struct budget *budget; /* referenced; took both capacities */
    uint32_t crc[BLOB_BLOCKS_MAX];
};
/* What a segment of that size may need beside its bytes when it is written so, by the groups that
 * the map has now. */
size_t blob_parity_bytes(struct blob_client *bc, struct blob_scheme scheme, size_t segment_bytes);
/* The same, however small the segment is: of one that had been meant for that code when it was
 * written.  0: the map has no such group. */
size_t blob_code_bytes(struct blob_client *bc, struct blob_scheme scheme, size_t segment_bytes);
/* Has the map any coded group? */
bool blob_has_codes(struct blob_client *bc);
/* Is there a coded group that can take shards now, no zone of it declared down?  What was written
 * as copies for want of one may then be written again. */
bool blob_can_code(struct blob_client *bc);
/* The same of a group that takes what asks for that code: while one code's groups can be written to
 * another's may not. */
bool blob_can_code_as(struct blob_client *bc, struct blob_scheme scheme);
/* Segment.interim: which code the copies are waiting for. */
static inline uint32_t blob_interim_of(struct blob_scheme scheme)
{
    return scheme.data ? (uint32_t)scheme.data << 8 | scheme.parity : 1;
}
static inline struct blob_scheme blob_interim_scheme(uint32_t interim)
{
    return (struct blob_scheme){.data = (interim >> 8) & 0xff,
                                .parity = interim >> 8 ? interim & 0xff : 0};
}
/* The bytes of parity are taken at once, so that full segments never wait for one another's memory;
 * its buffer is made when it is needed.  parity: blob_parity_bytes(), 0: none.
 * Returns: OK; ERR_LIMIT (the budget: wait and try again); ERR_NOMEM. */
int blob_segment_init(struct blob_segment *s, struct budget *budget, size_t cap, size_t parity);
/* Takes what fits.  Returns: how many bytes that was. */
size_t blob_segment_append(struct blob_segment *s, struct slice bytes);
/* Or the caller writes them where they belong: behind what is there, as many as there is room for ... */
static inline uint8_t *blob_segment_end(struct blob_segment *s, size_t *ret_room)
{
    *ret_room = s->buf->cap - s->buf->len;
    return s->buf->data + s->buf->len;
}
/* ... and says how many it wrote. */
void blob_segment_wrote(struct blob_segment *s, size_t bytes);
static inline bool blob_segment_full(const struct blob_segment *s)
{
    return s->buf->len == s->buf->cap;
}
uint32_t blob_segment_crc(const struct blob_segment *s); /* of the whole */
void blob_segment_fini(struct blob_segment *s);          /* zeroed, or taken by a write, is fine */

/* ---- writing ---- */

struct blob_write {
    struct blob_segment *segment; /* emptied by the start: the write owns buffer and budget */
    Cairn__ShardOwner *owner;     /* borrowed until the callback */
    struct blob_scheme scheme;    /* small ones are replicated whatever it is; so is what finds no
                                     group of it that can reach its quorum */
    uint64_t deadline_ns;
    /* To a coded group of which no zone is declared down, or not at all (ERR_NO_QUORUM); its parity
     * is blob_code_bytes(). */
    bool coded_only;
    void (*cb)(struct blob_write *);
    /* results */
    int err;
    uint32_t pg;
    struct id128 blob_id;
    uint64_t bytes;
    uint32_t crc32c;
    uint32_t interim; /* copies, because no coded group could take it: Segment.interim; else 0 */
    uint64_t time_ms; /* the wall clock's, that its shards carry */
    /* private */
    struct blob_client *bc;
    struct blob_body *body; /* between attempts */
    struct env_timer timer;
};
void blob_write_start(struct blob_client *bc, struct blob_write *w);

/* Deletes a blob that no record will ever name (its PUT failed for certain), at all members that
 * the group has or is about to have.  Best effort. */
void blob_discard(struct blob_client *bc, uint32_t pg, struct id128 blob_id);

/* ---- reading ---- */

struct blob_get;
struct coded_get;
struct blob_read {
    uint32_t pg;
    struct id128 blob_id;
    uint64_t blob_bytes;    /* size of the whole blob, as the record has it */
    uint64_t offset, bytes; /* within the blob; bytes > 0 */
    bool want_owner;        /* of a replicated blob: what its header says of its body */
    bool has_crc32c;        /* of the whole blob is known: a read of all of it is checked */
    uint32_t crc32c;
    uint64_t deadline_ns;
    void (*cb)(struct blob_read *);
    /* results */
    int err;
    struct payload data; /* exactly the range asked for; the caller's to unref */
    bool has_owner;      /* wanted, and told: */
    struct id128 write_id;
    uint64_t body_bytes;
    uint32_t segment_number;
    /* private */
    struct blob_client *bc;
    struct blob_get *get;
    struct coded_get *coded;
    struct env_timer timer;
};
/* Of a coded blob: ERR_NO_QUORUM when fewer shards than it takes can be had. */
void blob_read_start(struct blob_client *bc, struct blob_read *r);
/* The callback comes soon, with ERR_CANCELED if nothing else. */
void blob_read_cancel(struct blob_read *r);
