#pragma once
/* Reading an extent's tail after a crash: which frames are whole, which were torn, which are damaged.
 * Pure: the caller brings the bytes that it asks for.
 *
 * A batch is written only after the batch before it was synced, and each head names where its batch
 * began.  So a head at hand proves that all below its batch_start had been durable: what is bad there
 * is damage to acknowledged data.  What is bad at or behind the last batch_start was the last write
 * before the crash, torn, and acknowledged to nobody. */
#include "storagenode/extent/format.h"

struct scan_bad {
    uint64_t offset;
    bool known;               /* the head is whole: only the data is bad */
    bool damaged;             /* proved to have been durable once */
    enum frame_kind kind;     /* known */
    struct id128 blob_id;     /* known, a shard */
    uint16_t shard_index;
    uint64_t seq, bytes, time_ms;
    uint32_t crcs_digest, pg;
};

struct scan {
    struct extent_header header;
    uint64_t pos;             /* next place to look at */
    uint64_t end;             /* behind the last whole head's frame, whatever its data are */
    uint64_t last_seq;        /* highest in any head that was met; 0: none */
    uint64_t frames;          /* whole ones */
    bool in_hole;
    struct scan_bad *bad;
    size_t bad_count, bad_cap, bad_open; /* from bad_open on: not proved to be damage */
    bool nomem;
    /* SCAN_NEED */
    uint64_t need_offset, need_bytes;
    /* SCAN_FRAME; data within the window */
    struct frame_head frame;
    struct slice data;
};

enum scan_event {
    SCAN_NEED,  /* a window that holds [need_offset, + need_bytes) */
    SCAN_FRAME, /* a whole frame */
    SCAN_END    /* the end of the extent; ERR_NOMEM if `nomem` */
};

void scan_init(struct scan *s, const struct extent_header *header, uint64_t from);
void scan_fini(struct scan *s);
/* Window: bytes of the extent from window_offset.  A shorter file than the header says is passed as
 * zeros. */
enum scan_event scan_step(struct scan *s, uint64_t window_offset, struct slice window);
/* All is zeros from pos to `to` (a multiple of FRAME_ALIGN): there is no frame. */
void scan_skip(struct scan *s, uint64_t to);
/* After SCAN_END.  `later`: another extent was begun after this one, so that all of this one had been
 * synced; then every bad frame is damage, but a place without a head need not be more than the unused
 * end. */
void scan_judge(struct scan *s, bool later);
