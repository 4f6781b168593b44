#pragma once
/* Data on their way out of the store: the bytes of an object's range, piece by piece in order,
 * whatever they lie in (inline, segments, the parts of a manifest), a few pieces read ahead.
 * Every piece has been verified against its checksums.  Of an encrypted object whole chunks are
 * read, and opened one piece at a time as they are taken. */
#include "gateway/crypt/seal.h"
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
    /* Sealed: `data` are chunks from `chunk` on; what was asked for are `bytes` of their plaintext
     * behind the first `chunk_skip`. */
    bool sealed;
    uint8_t body_key[CRYPT_KEY_BYTES];
    uint64_t body_bytes, chunk, chunk_skip;
    bool is_part_body, busy, ready;
    /* extract_moved.c: where the segment is now, should its blob be gone. */
    uint32_t part;         /* 0: the object's own */
    uint64_t part_version; /* of that part */
    size_t segment;        /* position in the record */
    bool looking, looked;
    struct meta_call look;
    Cairn__ReadRequest read_request;
    Cairn__RecordKey read_key, *read_key_ptr;
    Cairn__ListPartsRequest parts_request;
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
    uint8_t data_key[CRYPT_KEY_BYTES]; /* of an encrypted object */
    bool has_data_key;
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
    uint64_t segment_at; /* where segments[segment] begins; sealed: within its body, as stored */
    uint64_t body_at, body_bytes; /* whose they are: the object, or a part of it */
    bool sealed;
    uint8_t body_key[CRYPT_KEY_BYTES];
    struct opener opener;
    uint32_t part; /* whose segments they are; 0: the object's own */
    uint64_t part_version;
    Cairn__ReadResponse *fresh; /* the object's record, read again; segments may point into it */
    struct parts_walk *parts;   /* of a manifest */
    int err;
};
/* Returns: OK; ERR_OVERLOAD (the loop's budget is full); ERR_CORRUPT; ERR_NOMEM; ERR_AUTH (it is
 * encrypted, and there is no key). */
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

/* ---- extract_moved.c ---- */
/* The piece's blob could not be read.  true: the record is read again, and then the piece, if its
 * segment lies in another blob now; else it ends as it was about to. */
bool extract_look(struct extract_piece *p);
void extract_piece_end(struct extract_piece *p, int err);
void extract_blob_cb(struct blob_read *r);

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
