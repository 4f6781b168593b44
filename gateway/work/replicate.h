#pragma once
/* One event's replication: the version that it made, or the delete marker, to a bucket at a remote
 * endpoint.
 *
 *   READING ──► SENDING ───────────────────────────────────────────► STOPPING ──► DONE
 *      │   an object of one piece, or a delete marker                  ▲
 *      ├──► CREATING ──► LISTING ──► CHECKING ──► COMPLETING ──────────┤
 *      │        ▲         ▼   ▲  │                   │ no answer       │
 *      │        │         PART   └─► ABORTING ───────│────────────────►┤
 *      │        │ not there                          │                 │
 *      └──► LOOKING ◄────────────────────────────────┘ ─ it is there ──┘
 *
 * Who completes an upload may take minutes; white space that keeps the answer alive counts.  If
 * there is no answer, we look whether the object is there: with the ETag that the parts make, and
 * not older than the upload.  So does the next try, before it sends anything.  What is there of
 * that kind before the upload is completed (CHECKING), say a version of the same data a moment
 * before, would be taken for it: then nobody looks, and it is sent again.
 *
 * What was uploaded in parts goes in the same parts, so that its ETag is the same.  Bytes are read
 * as for a client, verified, a few pieces ahead, out of the loop's budget of bodies.  A version
 * that has gone meanwhile needs no replication. */
#include "common/crypto/digest.h"
#include "gateway/op/extract.h"
#include "gateway/op/sse.h"
#include "gateway/out/s3_remote.h"
#include "proto/events.pb-c.h"

enum replicate_result {
    REPLICATE_DONE,
    REPLICATE_REFUSED, /* the remote endpoint says no: the operator, or its owner, must do something
                        */
    REPLICATE_FAILED,  /* it did not work this time */
    REPLICATE_LATE,    /* the remote endpoint did not put together what it was sent */
    REPLICATE_NEVER,   /* nor will it ever */
};

/* An upload whose completion was not answered. */
struct replicate_sent {
    char etag[48];     /* that it will have; empty: there is none */
    uint64_t since_ms; /* by the remote endpoint's clock */
};

struct replicate {
    /* Set by the caller, zeroed otherwise; all borrowed until the callback. */
    struct gateway *gw;
    const struct target *target;
    struct slice bucket; /* there */
    uint64_t bucket_id;  /* here */
    const Cairn__EventRow *row;
    struct slice storage_class; /* there; empty: the object's */
    void (*cb)(struct replicate *r);
    void *user;
    struct replicate_sent sent; /* of the try before; then what this one leaves to the next */
    /* Results. */
    enum replicate_result result;
    int status;    /* of HTTP; 0: none */
    char why[128]; /* for logs */
    /* private */
    struct op op;
    struct arena arena, part_arena;
    struct request req; /* what extract looks at: no client's */
    struct meta_read read;
    const Cairn__ObjectRecord *record;
    struct extract extract;
    struct sse_key key; /* of encrypted data */
    bool reading, calling, started, canceled, decided;
    int data_err; /* why the data could not be had */
    struct payload held;
    struct slice rest;
    struct s3_remote remote;
    struct s3_param *params; /* of the request under way */
    struct parts_walk parts;
    bool listing;
    uint64_t offset; /* of the next part */
    struct slice upload_id;
    struct buf complete; /* the document that completes it */
    struct digest etags; /* of the parts */
    bool etags_known;
    struct replicate_sent upload; /* this one's */
    bool late, patient;           /* COMPLETING came before LOOKING; it may still be at work */
    uint64_t look_until_ns;
    struct env_timer pause; /* between two looks */
    bool pausing, looked;
    unsigned part_count;
};
void replicate_start(struct replicate *r);
/* Soon: REPLICATE_FAILED; at_once: without waiting for an answer that is all that is missing. */
void replicate_cancel(struct replicate *r, bool at_once);
