#pragma once
/* Inside the delivery of events: queues that are claimed, and their lanes. */
#include "gateway/out/webhook.h"
#include "gateway/work/deliver.h"
#include "gateway/work/replicate.h"

enum {
    LANE_WINDOW = 64,
    LANE_WINDOW_LEAST = 4,
    LANE_ACKS_MAX = 128,
    LANE_PASSED_BITS_MIN = 1 << 13,
    LANE_PASSED_BITS_MAX = 1 << 21,
};

struct deliver;
struct queue;
struct lane;

/* An event under delivery. */
struct delivery {
    struct lane *lane;
    Cairn__EventEntry *entry; /* owned; NULL: the slot is free */
    unsigned tries;
    uint64_t next_ns;           /* not before */
    bool running, refused;      /* refused: its object's status says so */
    bool never;                 /* it cannot be delivered, whatever anybody does */
    struct replicate_sent sent; /* an upload that may be complete after all */
    union {
        struct webhook_post post;
        struct replicate *replicate; /* owned */
    } u;
};

/* One destination's events of a queue. */
struct lane {
    struct list node;
    struct queue *queue;
    Cairn__SinkKind kind;
    char *target;
    bool woken, more; /* there may be some behind the cursor */
    bool crowded;     /* others have the places */
    bool listing, acking;
    uint64_t after_index; /* the cursor: the last that was listed */
    uint32_t after_n;
    struct delivery *window[LANE_WINDOW]; /* in order */
    size_t count;
    unsigned running, failures; /* failures: one after the other */
    uint64_t rows;              /* that wait for it, when the leader was asked last */
    /* Keys that were passed over, by hash, until the queue is begun anew: each time by another. */
    uint64_t *passed, passed_bits, passed_seed, passed_until_ns;
    uint64_t passed_count;
    bool passed_end; /* since then the end of the queue was met */
    uint64_t paused_until_ns;
    struct env_timer timer;
    struct meta_call list;
    Cairn__ListEventsRequest list_request;
    struct meta_propose ack;
    Cairn__AckEvents ack_command;
    Cairn__EventAck acks[LANE_ACKS_MAX], *ack_ptrs[LANE_ACKS_MAX];
    size_t ack_count, ack_sent; /* the first ack_sent are on their way */
    uint64_t ack_since_ns;
    /* Whether the bucket is gone, and with it the reason to try for ever. */
    struct meta_read bucket_read;
    char asked_bucket[S3_BUCKET_NAME_MAX + 1]; /* the event may go before the answer comes */
    bool asking_bucket, gone;
    uint64_t asked_bucket_ns;
    uint64_t logged_ns;
};

struct queue {
    struct list node;
    struct deliver *d;
    uint32_t partition;
    uint64_t bucket_id;
    struct buf key; /* any of the bucket in the partition: where to ask */
    uint64_t claim_until_ns;
    uint64_t time_ms, time_at_ns; /* the partition's time, and when it was that */
    uint64_t progress_ns;         /* when it was claimed, or something of it was taken last */
    bool mentioned;               /* by the leader, when it was asked last */
    bool lapsed; /* the claim was over once: what was listed under it is no longer to be trusted */
    struct list lanes;
    uint64_t rows[DELIVER_KINDS], oldest_ms;
};

struct deliver {
    struct gateway *gw;
    struct deliver_config config;
    const struct deliver_metrics *metrics;
    struct id128 claimant;
    bool stopped;
    struct env_timer timer;
    struct list queues;
    size_t queue_count;
    struct deliver_ask *asks;
    unsigned asking;
    uint64_t claim_logged_ns;
    /* of lanes, together */
    size_t passed_bytes, windowed;
    unsigned running;
    unsigned busy; /* calls and deliveries of lanes */
};

/* ---- deliver_lane.c ---- */
/* NULL: no memory. */
struct lane *lane_new(struct queue *q, Cairn__SinkKind kind, const char *target);
/* There are events for it (again). */
void lane_wake(struct lane *l);
/* Ends what can be ended soon, the process being at its end; at_once: also what a destination may
 * have taken already, for the claim is over and another may deliver. */
void lane_cancel(struct lane *l, bool at_once);
bool lane_idle(const struct lane *l); /* nothing under way, nothing to say */
void lane_free(struct lane *l);       /* nothing under way */
