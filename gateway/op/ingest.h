#pragma once
/* Data on their way into the store: a small object or part is gathered for the proposal, a larger
 * one is cut into segments that are written as they fill, a few at a time, within the request's
 * budget.  Data to be encrypted are sealed straight into where they would else be copied to. */
#include "gateway/crypt/seal.h"
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

/* Of data that are cut into segments: large, and of no use to small bodies. */
struct ingest_writing {
    struct blob_segment current; /* being filled */
    struct ingest_write write[INGEST_WRITES_MAX];
};

struct ingest {
    /* Set before the start. */
    struct request *req;
    uint64_t total;                    /* bytes to come, */
    bool total_is_bound;               /* or at most so many: ingest_end() will say; never sealed */
    bool sealed;                       /* with: */
    uint8_t body_key[CRYPT_KEY_BYTES]; /* forgotten by the start */
    struct slice upload_id;            /* empty: a plain object */
    uint32_t part_number;
    /* The data come behind such of an object that is there: segments, however few they are. */
    uint32_t segments_before;
    uint64_t bytes_before;
    struct slice storage_class;          /* of the object; read at the start only */
    void (*wake)(struct ingest *ingest); /* there may be room again, or it may be done */
    /* Results. */
    int err;
    Cairn__DataKind kind;
    struct rcbuf *gathered;    /* inline: the data */
    Cairn__Segment **segments; /* else */
    size_t segment_started;    /* their number, once complete */
    uint64_t oldest_ms;        /* the time that the oldest blob's shards carry; 0: none */
    /* private */
    uint64_t stored_total, received, segment_bytes; /* of what is stored */
    struct sealer sealer;
    struct blob_scheme scheme;
    struct id128 write_id;   /* in the owner of every segment: which of them belong together */
    size_t parity_bytes_max; /* of each segment, beside its bytes */
    struct budget *budget;
    struct budget_waiter waiter;
    struct ingest_writing *out; /* NULL: nothing goes to storage nodes */
};

/* Before the start: the data are to be encrypted, with e's salt. */
void ingest_seal(struct ingest *in, const uint8_t data_key[CRYPT_KEY_BYTES],
                 const Cairn__Encryption *e);
/* Returns: OK; ERR_OVERLOAD (the loop's budget is full); ERR_NOMEM; ERR_TOO_LARGE (more segments
 * than a record may have). */
int ingest_init(struct ingest *in);
/* Takes a prefix; 0: wait to be woken (or `err` is set). */
size_t ingest_push(struct ingest *in, struct slice data);
/* No more data are coming: what has come is all, if total was but a bound. */
void ingest_end(struct ingest *in);
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
/* What names these data is issued by then, by this process's wall clock, or never: afterwards they
 * may be taken for orphans (metanode/index/apply_condemn.c).  0: whenever. */
static inline uint64_t ingest_issue_until_ms(const struct ingest *in)
{
    uint64_t age = in->req->gw->config->write_age_ms_max;
    return in->oldest_ms && age ? in->oldest_ms + age : 0;
}
/* Idle.  discard: what was written will never be referred to: it is deleted. */
void ingest_fini(struct ingest *in, bool discard);
