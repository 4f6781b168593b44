#pragma once
/* Places that tests must have walked.  A model test whose faults no longer reach some rare branch
 * passes all the same; so such branches say that they ran, in builds made with -DCAIRN_MUTANTS
 * (tests, simulator), and the test counts.  In a release build PROBE() is nothing.
 * Source: FoundationDB's code probes; "Using Lightweight Formal Methods ..." (SOSP 2021),
 * section 4.2. */
#include <stdint.h>

/* X(NAME, "what happened there") */
#define PROBE_TABLE(X)                                                                             \
    /* storagenode/op */                                                                           \
    X(STORE_SEALED, "the active extent was full, and sealed")                                      \
    X(STORE_BATCH_CUT, "a batch was sent because the next operation did not fit")                  \
    X(STORE_STALLED, "a batch waited for an extent to be ready")                                   \
    X(STORE_FULL, "an operation that waited met a full disk")                                      \
    X(STORE_KNOWN, "a put of what is here already was answered without a write")                   \
    X(STORE_WRITE_FAILED, "a batch failed, and took the disk out of service")                      \
    X(RECLAIM_COPY_DROPPED, "a copy was dropped: deleted or replaced since it was read")           \
    X(RECLAIM_DAMAGED, "reclamation found a damaged frame")                                        \
    X(RECLAIM_GAVE_UP, "reclamation gave a victim up")                                             \
    X(RECLAIM_WAITS, "an emptied extent waited for the index to be durable")                       \
    X(PREPARE_REBORN, "an extent began its next life")                                             \
    X(PREPARE_READERS, "an emptied extent waited for its readers")                                 \
    X(PREPARE_NO_ROOM, "no new extent: the file system is full")                                   \
    X(READ_DAMAGED, "a get found a damaged frame")                                                 \
    X(SCRUB_GONE, "the scrub left an extent whose life was over")                                  \
    X(SCRUB_YIELDS, "the scrub let others go first")                                               \
    X(RECOVER_TAIL, "recovery read a tail that the index did not know")                            \
    X(EXTENT_OLD_FRAME, "a whole frame of an extent's earlier life was met")                       \
    X(RECOVER_HEADER_BAD, "neither copy of an extent's header could be read")                      \
    X(RECOVER_UNMADE, "recovery met a file that was never finished")                               \
    X(RECOVER_BROKEN, "recovery quarantined an extent")                                            \
    X(RECOVER_TORN, "recovery dropped what was torn")                                              \
    X(RECOVER_DAMAGED, "recovery found damage in a tail")                                          \
    X(RECOVER_STALE, "a record referred to a life that was over")                                  \
    X(RECOVER_FLUSHED, "recovery flushed its judgement before it opened")                          \
    X(DISKS_REROUTED, "a put went to another disk after one failed or was full")                   \
    X(DISKS_CONFLICT, "other bytes lay on a disk that was out of service")                         \
    X(DISKS_TWO_COPIES, "an inventory met a shard on two disks")

enum probe {
#define X(NAME, text) PROBE_##NAME,
    PROBE_TABLE(X)
#undef X
        PROBE_COUNT
};

#ifdef CAIRN_MUTANTS
extern uint64_t probe_hits[PROBE_COUNT]; /* one thread counts */
#define PROBE(NAME) ((void)probe_hits[PROBE_##NAME]++)
#else
#define PROBE(NAME) ((void)0)
#endif

const char *probe_text(enum probe p);
