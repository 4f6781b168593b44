#pragma once
/* One interim segment on its way from copies to shards (reencode.h). */
#include "common/op/op.h"
#include "gateway/op/gateway.h"

enum reencode_result {
    REENCODE_MOVED,
    REENCODE_OVERTAKEN, /* the record names the segment no more: somebody was faster */
    REENCODE_FAILED,    /* it stays as it is, or (an unknown outcome) has been moved */
};

struct reencode_move {
    /* Set by the caller; zeroed before. */
    struct gateway *gw;
    void *user;
    void (*cb)(struct reencode_move *);
    /* Results. */
    bool running;
    enum reencode_result result;
    uint64_t bytes; /* of the segment, from the start on */
    int err;        /* why it was not moved */
    /* private */
    struct op op;
    const Cairn__InterimSegment *from;
    bool canceled;
    struct blob_segment segment;
    uint64_t budgeted; /* for the piece being read */
    struct blob_read read;
    bool reading;
    struct blob_write write;
    bool writing, written;
    Cairn__ShardOwner owner;
    struct id128 write_id;
    struct meta_propose propose;
    bool proposing, proposed;
    Cairn__MoveSegment command;
    Cairn__Segment to;
};

/* `from` is borrowed until the callback.
 * Returns: OK (the callback comes, later); ERR_LIMIT (no memory for it now); ERR_NO_QUORUM (no
 * coded group is known); ERR_CORRUPT (no segment can be like that); ERR_NOMEM. */
int reencode_move_start(struct reencode_move *m, const Cairn__InterimSegment *from);
/* Unless it is being written, it ends soon. */
void reencode_move_cancel(struct reencode_move *m);
