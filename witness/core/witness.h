#pragma once
/* What a witness knows, and when it may say so (DESIGN section 4; spec/WitnessVisibility.tla).
 *
 * A witness keeps, per partition and hash slot, the highest log index at which a key of that slot
 * changed.  It holds no key and no record: memory is fixed, an update is a max, a collision costs a
 * gateway one read at the leader and never a stale answer.  It says *fresh* only while
 *   - it holds its lease from the root,
 *   - this incarnation has once received everything up to the target of a stream opened to it,
 *   - floor <= as_of (below the floor it knows nothing) and slot <= as_of.
 *
 * Pure: no I/O, no clock (monotonic nanoseconds come in), one thread.  witness/op feeds it. */
#include "common/base/id.h"
#include "common/base/slice.h"

#define WITNESS_PARTITIONS_MAX 4096
#define WITNESS_SLOT_BITS_MAX 24

/* One partition's table.  Names as in the TLA+ model: wterm, wrecv, wthru, wfloor, wtarget. */
struct witness_partition {
    uint32_t id;
    uint64_t term;    /* newest term that opened a stream; 0: none ever did */
    uint64_t stream;  /* the leader's count of that open within its term */
    bool listening;   /* the stream was opened to the incarnation that runs now */
    bool ready;       /* this incarnation has caught up with a stream's target */
    uint64_t target;
    uint64_t recv;    /* last index received in `term` */
    uint64_t through; /* part of it known to be committed: the same in every log */
    uint64_t floor;   /* every change in (floor, recv] is in the slots */
    uint64_t *slots;  /* 1 << slot_bits */
};

struct witness {
    struct id128 incarnation; /* zero: none begun, answers nothing */
    uint64_t lease_until_ns;  /* 0: no lease */
    unsigned slot_bits;
    uint32_t partition_count, partition_cap, partitions_max;
    struct witness_partition *partitions; /* sorted by id */
};

/* slot_bits: 1..WITNESS_SLOT_BITS_MAX (memory: 8 << slot_bits bytes a partition, on first use);
 * partitions_max: at most WITNESS_PARTITIONS_MAX, beyond it opens are refused with ERR_LIMIT. */
void witness_init(struct witness *w, unsigned slot_bits, uint32_t partitions_max);
void witness_fini(struct witness *w);
/* A deep copy, for explorers of interleavings.  ERR_NOMEM leaves *ret zeroed. */
int witness_clone(const struct witness *w, struct witness *ret);

/* Starts a new life under an id never used before: no lease, not ready, listening to no stream.
 * The tables are kept: what they say of the committed past stays true. */
void witness_begin(struct witness *w, struct id128 incarnation);

/* The root granted lease_ns to `incarnation`, asked for at sent_ns on this process's clock: the lease
 * counts from the sending.  Ignored for another incarnation. */
void witness_granted(struct witness *w, struct id128 incarnation, uint64_t sent_ns, uint64_t lease_ns);
/* Gives the lease up: nothing is answered any more by this incarnation. */
void witness_release(struct witness *w);
bool witness_holds_lease(const struct witness *w, uint64_t now_ns);

struct witness_open {
    uint32_t partition;
    uint64_t term;
    struct id128 incarnation; /* that the stream is meant for */
    uint64_t target;          /* leader's last index at the open */
    uint64_t log_first;       /* what is compacted away at the leader; at most commit */
    uint64_t commit;
    uint64_t stream;
};

/* A leader opens a stream.  Gives the index after which it has to begin.
 * Returns: OK; ERR_CONFLICT (for another incarnation, an older term, an older open: ignored);
 * ERR_INVAL (contradicts itself); ERR_LIMIT; ERR_NOMEM. */
int witness_open(struct witness *w, const struct witness_open *open, uint64_t *ret_resume_after);

struct witness_append {
    uint32_t partition;
    uint64_t term;
    struct id128 incarnation;
    uint64_t stream;
    uint64_t prev;               /* the entries are prev+1 .. prev+entry_count */
    const uint32_t *hash_counts; /* one an entry */
    size_t entry_count;
    const uint64_t *hashes;
    size_t hash_count;
    const uint64_t *floors;      /* pairs (index, floor) of RaiseFloor entries */
    size_t floor_count;          /* numbers, so twice the pairs */
    uint64_t commit;
};

/* Entries of the stream, in order.  Those received before are harmless; after a gap nothing is taken
 * and the answer says where to go on.  Gives the last index received.
 * Returns: OK; ERR_CONFLICT (not the stream that is listened to); ERR_INVAL (counts do not add up). */
int witness_append(struct witness *w, const struct witness_append *append, uint64_t *ret_recv);

/* Is what a gateway read as of `as_of` still the newest?  *ret_through: what a fresh entry's as_of may
 * be raised to (0 when not fresh).  Reads through first, then slot, floor and ready, then the lease. */
bool witness_check(const struct witness *w, uint32_t partition, uint64_t hash, uint64_t as_of,
                   uint64_t now_ns, uint64_t *ret_through);

/* NULL when no stream for it was ever opened. */
const struct witness_partition *witness_find(const struct witness *w, uint32_t partition);
/* CHECKs the invariants. */
void witness_check_invariants(const struct witness *w);
