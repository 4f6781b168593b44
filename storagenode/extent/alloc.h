#pragma once
/* The table of a disk's extents: which may be written, how much of each is alive, which is worth
 * reclaiming.  Pure: it decides, the operations of storagenode/op/ do.
 *
 *      (new) → FREE → ACTIVE → SEALED → RECLAIMING → EMPTIED → FREEING → FREE
 *   FREE: its header is durable and it holds no frame.  ACTIVE: one at most, takes frames.
 *   EMPTIED: nothing in the index refers to it, but the index may not be durable yet.
 *   FREEING: the header of its next life is being written.  BROKEN: quarantined. */
#include "storagenode/extent/format.h"

#define EXTENTS_MAX (1u << 20)

enum extent_state {
    EXTENT_FREE, EXTENT_ACTIVE, EXTENT_SEALED, EXTENT_RECLAIMING, EXTENT_EMPTIED, EXTENT_FREEING,
    EXTENT_BROKEN, EXTENT_STATE_COUNT
};

struct extent {
    struct extent_header header;
    enum extent_state state;
    uint64_t end;          /* where the next frame goes, or the end of the last one */
    uint64_t live_bytes;   /* of whole frames that the index refers to */
    uint32_t live_frames;
    uint32_t readers;      /* gets under way; its next life waits for them */
    uint64_t last_seq;
    bool header_bad;       /* unreadable on the disk: its identity comes from the index */
    uint64_t needs_mark;   /* EMPTIED: index changes that must be durable before it is freed */
    uint64_t unverified_ms; /* each byte was known to be good at some time since; due.h */
    uint32_t scrub_pass;   /* the last pass of the scrub that needs to read it no more */
    bool scrub_known;      /* recovery: unverified_ms is known */
    void *file;            /* struct disk_file, for the operations */
};

/* Who asks for room: puts must leave the reserve to marks and reclamation. */
enum alloc_for { ALLOC_PUT, ALLOC_SYSTEM };

struct alloc {
    struct extent **extents; /* by id - 1; NULL: no such extent */
    uint32_t slots, cap;
    uint32_t count;          /* extents there are */
    uint32_t extents_max;    /* that may be */
    uint32_t reserve;
    uint32_t free_count;     /* in state FREE */
    uint32_t coming;         /* in state FREEING: FREE before long */
    uint32_t id_floor;       /* ids up to it were used once, perhaps by files that are missing */
    uint64_t extent_bytes;
    uint64_t live_bytes, used_bytes; /* used: ends of all extents that hold frames, less headers */
    uint64_t live_frames;
    struct extent *active;
};

void alloc_init(struct alloc *a, uint64_t extent_bytes, uint32_t extents_max, uint32_t reserve);
void alloc_fini(struct alloc *a);

/* Adds a new one in state FREE with end behind the header.
 * Returns: OK; ERR_NOMEM; ERR_EXISTS; ERR_LIMIT (id above EXTENTS_MAX). */
int alloc_add(struct alloc *a, const struct extent_header *header, struct extent **ret);
struct extent *alloc_find(const struct alloc *a, uint32_t id); /* NULL: none */
uint32_t alloc_next_id(const struct alloc *a);                 /* never used; 0: none left */

/* Moves along the arrows above (a CHECK fails on any other move) and keeps the sums. */
void extent_move(struct alloc *a, struct extent *x, enum extent_state state);
/* Recovery only: any state, with the end that was found. */
void extent_restore(struct alloc *a, struct extent *x, enum extent_state state, uint64_t end);
/* A FREEING extent begins its next life: its header is durable. */
void extent_reborn(struct alloc *a, struct extent *x, const struct extent_header *header);
void extent_append(struct alloc *a, struct extent *x, uint64_t bytes);          /* end moves */
void extent_account(struct alloc *a, struct extent *x, int64_t bytes, int frames); /* alive now */

/* Extents that are FREE, about to be, or could still be made. */
uint32_t alloc_free(const struct alloc *a);
bool alloc_may_make(const struct alloc *a);

/* Where a frame of `bytes` may go. */
enum alloc_room {
    ALLOC_FITS,  /* into the active extent */
    ALLOC_NEXT,  /* into another: seal the active one, take a FREE one */
    ALLOC_WAITS, /* into another that is not FREE yet */
    ALLOC_NONE   /* no space left for this purpose */
};
enum alloc_room alloc_room(const struct alloc *a, enum alloc_for purpose, uint64_t bytes);
/* Seals the active one, if any, and makes the FREE one of the smallest id active. */
struct extent *alloc_advance(struct alloc *a);
/* Bytes that puts may still take. */
uint64_t alloc_put_bytes_left(const struct alloc *a);

enum alloc_pressure { ALLOC_RELAXED, ALLOC_TIGHT, ALLOC_FULL };
enum alloc_pressure alloc_pressure(const struct alloc *a);
/* The SEALED extent whose reclamation pays most, or NULL.  Relaxed: at most half of it is alive.
 * The less space is left, the fuller an extent may be, but some of it must be dead frames, and what
 * lives must fit into the space that is left.  `forced`: any dead frame will do (tests). */
struct extent *alloc_victim(const struct alloc *a, bool forced);

/* Sums and states agree; a CHECK fails otherwise. */
void alloc_check(const struct alloc *a);
