#pragma once
/* Data on their way out of the store: the bytes of an object's range, piece by piece in order,
 * whatever they lie in (inline, segments, the parts of a manifest), a few pieces read ahead.
 * Every piece has been verified against its checksums. */
#include "gateway/op/request.h"

#define EXTRACT_PIECE_BYTES (1u << 20)
#define EXTRACT_PIECES 4
/* With the loop's budget nearly used up: one small piece at a time. */
#define EXTRACT_PIECE_BYTES_MIN (128u << 10)

struct extract_piece {
    struct extract *extract;
    struct blob_read blob;
    struct meta_call part_body; /* the inline data of a part */
    Cairn__ReadPartBodyRequest part_request;
    uint64_t skip, bytes; /* of a part's inline data */
    bool is_part_body, busy, ready;
    int err;
    struct payload data;
};

struct extract {
    /* Set before the start; the record lives as long as the extract. */
    struct request *req;
    uint64_t bucket_id;
    struct slice key;
    const Cairn__ObjectRecord *record;
    struct payload inline_body;
    uint64_t offset, length;
    void (*wake)(struct extract *);
    void *user;
    /* private */
    uint64_t at, end; /* what is next to be read; where to stop */
    struct extract_piece piece[EXTRACT_PIECES];
    unsigned head, count;      /* a ring: pieces in order */
    unsigned window;           /* pieces at once, */
    uint64_t piece_bytes;      /* each at most this large, */
    uint64_t budgeted;         /* are accounted for in the loop's budget */
    Cairn__Segment **segments; /* that `at` lies in, or before */
    size_t segment_count, segment;
    uint64_t segment_at;      /* where segments[segment] begins */
    struct parts_walk *parts; /* of a manifest */
    int err;
};
/* Returns: OK; ERR_OVERLOAD (the loop's budget is full); ERR_CORRUPT; ERR_NOMEM. */
int extract_start(struct extract *x);
/* The next piece, the caller's to unref.  Returns: OK; ERR_LIMIT (wait to be woken); ERR_END; or
 * why the data cannot be had. */
int extract_next(struct extract *x, struct payload *ret);
/* What to tell the client about data that cannot be had.  That a part or a blob is missing is our
 * fault: the object itself is there, and must not be called absent. */
enum s3_code extract_code(int err);
/* Nothing more is read; idle soon (wake says when). */
void extract_stop(struct extract *x);
bool extract_idle(const struct extract *x);
void extract_fini(struct extract *x); /* idle */

/* ---- the parts of an upload or manifest, in order, page by page ---- */

struct parts_walk {
    /* Set before. */
    struct request *req;
    uint64_t bucket_id;
    struct slice key, upload_id;
    bool want_segments;
    uint32_t page_max; /* 0: 1000, with segments fewer */
    void (*wake)(struct parts_walk *);
    void *user;
    /* The current page, from the callback to the next parts_walk_next(). */
    int err;
    Cairn__ListPartsResponse *page;
    size_t part; /* position in the page, the walker's */
    bool busy;
    /* private */
    uint32_t marker;
    struct meta_call call;
    Cairn__ListPartsRequest request;
};
/* Asks for the page behind `marker` (0: the first); wake comes later. */
void parts_walk_start(struct parts_walk *w, uint32_t marker);
/* Asks for the next page.  false: there is none. */
bool parts_walk_next(struct parts_walk *w);
void parts_walk_fini(struct parts_walk *w); /* not busy */
