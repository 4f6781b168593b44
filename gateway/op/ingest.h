#pragma once
/* Data on their way into the store: a small object or part is gathered for the proposal, a larger
 * one is cut into segments that are written as they fill, a few at a time, within the request's
 * budget. */
#include "gateway/op/request.h"

#define INGEST_WRITES_MAX 2 /* segments being written */
#define INGEST_SEGMENTS_MAX                                                                        \
    4 /* held in memory: filling, being written, or with a straggling copy */

struct ingest_write {
    struct ingest *ingest;
    struct blob_write write;
    Cairn__ShardOwner owner;
    size_t index;
    bool busy;
};

struct ingest {
    /* Set before the start. */
    struct request *req;
    uint64_t total;
    struct slice upload_id; /* empty: a plain object */
    uint32_t part_number;
    void (*wake)(struct ingest *ingest); /* there may be room again, or it may be done */
    /* Results. */
    int err;
    Cairn__DataKind kind;
    struct rcbuf *gathered;    /* inline: the data */
    Cairn__Segment **segments; /* else */
    size_t segment_started;    /* their number, once complete */
    /* private */
    uint64_t received, segment_bytes;
    struct id128 write_id; /* in the owner of every segment: which of them belong together */
    size_t parity_bytes_max; /* of each segment, beside its bytes */
    struct budget *budget;
    struct budget_waiter waiter;
    struct blob_segment current;
    struct ingest_write write[INGEST_WRITES_MAX];
};

/* Returns: OK; ERR_OVERLOAD (the loop's budget is full); ERR_NOMEM; ERR_TOO_LARGE. */
int ingest_init(struct ingest *in);
/* Takes a prefix; 0: wait to be woken (or `err` is set). */
size_t ingest_push(struct ingest *in, struct slice data);
/* Goes on with what waited for a free slot; call when woken. */
void ingest_poll(struct ingest *in);
bool ingest_idle(const struct ingest *in);     /* no write is under way */
bool ingest_complete(const struct ingest *in); /* all of total is durable, or gathered */
static inline struct payload ingest_body(const struct ingest *in)
{
    return in->gathered
               ? (struct payload){in->gathered, SLICE(in->gathered->data, in->gathered->len)}
               : (struct payload){0};
}
/* Idle.  discard: what was written will never be referred to: it is deleted. */
void ingest_fini(struct ingest *in, bool discard);
