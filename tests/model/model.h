#pragma once
/* The disks of a storage node against a reference map, over random operations with faults among
 * them.
 *
 * A case is a world (how many disks, how large, which faults) and a list of operations, both from
 * one seed.  Each operation has a seed of its own for all that it draws, so a list with some of
 * them left out is a case, too: that is how one that fails is made small.
 *
 * Source: "Using Lightweight Formal Methods to Validate a Key-Value Storage Node in Amazon S3",
 * SOSP 2021, section 4 (an executable reference model, checked for equivalence over random
 * sequences; crashes and dirty reboots in the alphabet) and 4.4 (failure injection as operations of
 * it). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* X(NAME, "text"): the alphabet; weights are alphabet.c's. */
#define MODEL_OP_TABLE(X)                                                                          \
    X(PUT, "put")                                                                                  \
    X(PUT_OTHER, "put other bytes")                                                                \
    X(PUT_REPAIR, "put by repair")                                                                 \
    X(GET, "get")                                                                                  \
    X(GET_RANGE, "get a range")                                                                    \
    X(DELETE, "delete")                                                                            \
    X(FLUSH, "flush the index")                                                                    \
    X(RECLAIM, "reclaim")                                                                          \
    X(STEPS, "let time pass")                                                                      \
    X(SCRUB, "begin a scrub")                                                                      \
    X(SCRUB_ALL, "scrub all")                                                                      \
    X(CHECK_ALL, "wait and check all")                                                             \
    X(CHECK_SHARDS, "check shards")                                                                \
    X(INVENTORY, "inventory")                                                                      \
    X(CLOSE_EPOCH, "close an epoch")                                                               \
    X(WAIT, "wait for minutes")                                                                    \
    X(REBOOT, "reboot")                                                                            \
    X(CRASH, "dirty reboot")                                                                       \
    X(FILL, "fill the file system")                                                                \
    X(ROOM, "room in the file system")                                                             \
    X(FLIP, "flip bits")                                                                           \
    X(FAIL_ONCE, "fail a disk once")                                                               \
    X(EXTENT_LOST, "lose an extent")                                                               \
    X(INDEX_LOST, "lose an index")                                                                 \
    X(DISK_PULLED, "pull a disk")                                                                  \
    X(DISK_RETURNED, "put a disk back")                                                            \
    X(DISK_GIVEN_UP, "give a disk up")                                                             \
    X(DISK_REPLACED, "an empty disk")                                                              \
    X(CONFIRM, "confirm blobs")                                                                    \
    X(DISTRUST, "distrust a shard")                                                                \
    X(DEEP_NOTE, "notes of deep scrub")                                                            \
    X(LEAVE, "leave a group")

enum model_op_kind {
#define X(NAME, text) MODEL_##NAME,
    MODEL_OP_TABLE(X)
#undef X
        MODEL_OP_KINDS
};

/* X(NAME, "what happened"): seen from outside; what only the code knows is in common/base/probe.h.
 */
#define MODEL_EVENT_TABLE(X)                                                                       \
    X(PUTS, "puts")                                                                                \
    X(GETS, "gets")                                                                                \
    X(DELETES, "deletes")                                                                          \
    X(CRASHES, "dirty reboots")                                                                    \
    X(CRASHES_OPENING, "crashes while recovering")                                                 \
    X(CLOSES, "clean reboots")                                                                     \
    X(RECLAIMED, "extents reclaimed")                                                              \
    X(COPIED, "stores that copied live data while reclaiming")                                     \
    X(OLD_FRAMES, "crashes with frames of an earlier life behind the tail")                        \
    X(RECOVERED, "frames indexed again")                                                           \
    X(TORN, "torn frames dropped")                                                                 \
    X(CORRUPTIONS, "corruptions found")                                                            \
    X(FULL, "puts refused for want of space")                                                      \
    X(DELETED_FULL, "deletes taken while puts were refused so")                                    \
    X(FAULTS, "faults armed")                                                                      \
    X(FAILED, "disks taken out of service by a fault")                                             \
    X(READ_FAILED, "gets that met a failing read")                                                 \
    X(PUT_BESIDE_FAILED, "puts taken beside a failed disk")                                        \
    X(GET_FROM_FAILED, "gets answered from a failed disk")                                         \
    X(FLIPS, "bits flipped")                                                                       \
    X(SCRUB_PASSES, "passes of the scrub")                                                         \
    X(SCRUB_FOUND, "shards found damaged by the scrub")                                            \
    X(BAD_SEEN, "bad frames, marked after a pass")                                                 \
    X(HEALED, "damaged shards healed by a put")                                                    \
    X(CONDEMNED, "puts refused by a tombstone")                                                    \
    X(TOO_OLD, "puts refused for their age")                                                       \
    X(EXISTS, "puts of other bytes refused")                                                       \
    X(EPOCH_CLOSED, "epochs closed")                                                               \
    X(EPOCH_REFUSED, "puts refused below a closed epoch")                                          \
    X(DIGESTS, "inventories' digests compared")                                                    \
    X(PAGES, "inventories' pages compared")                                                        \
    X(CHECKED, "shards checked by reading them")                                                   \
    X(EXPIRED, "times that all tombstones had expired")                                            \
    X(EXTENT_LOST, "extents' files lost")                                                          \
    X(HEADER_LOST, "extents whose header was lost with the index")                                 \
    X(INDEX_LOST, "indexes lost and rebuilt")                                                      \
    X(PULLED, "disks pulled")                                                                      \
    X(NOT_READY, "deletes not acknowledged for want of a disk")                                    \
    X(AWAY, "gets of what lies on a disk that is away")                                            \
    X(RETURNED, "disks back with old content")                                                     \
    X(GIVEN_UP, "disks given up")                                                                  \
    X(REFUSED, "disks back after they had been given up")                                          \
    X(REPLACED, "empty disks put in")                                                              \
    X(LOST, "blobs lost with a disk that was given up")                                            \
    X(CONFIRMED, "blobs confirmed")                                                                \
    X(DISTRUSTED, "shards marked because somebody distrusts them")                                 \
    X(NOTED, "notes of deep scrub read again")                                                     \
    X(LEFT, "groups left")                                                                         \
    X(LEFT_CRASHED, "crashes right after that")

enum model_event {
#define X(NAME, text) SEEN_##NAME,
    MODEL_EVENT_TABLE(X)
#undef X
        MODEL_EVENTS
};

#define MODEL_OPS_MAX 400

struct model_op {
    enum model_op_kind kind;
    uint64_t seed;
};

struct model_case {
    uint64_t seed; /* of the world */
    unsigned count;
    struct model_op ops[MODEL_OPS_MAX];
};

const char *model_op_name(enum model_op_kind kind);
const char *model_event_name(enum model_event e);

/* The case of a seed, with `count` operations. */
void model_generate(uint64_t seed, unsigned count, struct model_case *ret);

/* Runs it; `trace` (may be NULL) is told of each operation.  What happened is added to seen.
 * false: an invariant was violated; `ret_why` says which.  A CHECK of the code may fail, too. */
bool model_run(const struct model_case *c, FILE *trace, char *ret_why, size_t why_len,
               uint64_t seen[MODEL_EVENTS]);

/* Leaves out operations as long as the rest still fails: delta debugging, one operation at a time
 * in the end.  `fails` runs a case, in a process of its own if it may die.  Returns the number of
 * runs. */
unsigned model_shrink(struct model_case *c, bool (*fails)(void *arg, const struct model_case *),
                      void *arg);
