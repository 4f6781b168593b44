#pragma once
/* A stand (stand.h) on which events are delivered: its gateway claims queues of a leader that does
 * as it is told, for webhooks ("hook") and a remote endpoint ("far") that do so, too.  One bucket,
 * "bucket", is there from the beginning. */
#include "gateway/out/http_client.h"
#include "gateway/out/targets.h"
#include "gateway/work/deliver_lane.h"
#include "tests/unit/gateway/op/stand.h"

#define CLAIM_MS 8000

struct deliver_world {
    struct stand s;
    struct deliver_metrics metrics;
    struct deliver *d;
    struct targets hooks, remotes;
    /* Of the next setup, unless a test says otherwise before it. */
    unsigned queues_max, running_max;
    size_t window_max;
    uint64_t give_up_ms, interval_ms;
    /* The leader. */
    bool granted;              /* it gives us every queue that we have room for, in turns */
    uint64_t gateway_ahead_ms; /* our clock, of its */
    /* The destinations. */
    const char *held_key; /* requests for it are not answered; NULL: none */
    bool poisoned;        /* keys that begin with p are not taken */
    int status;           /* of the answers */
    /* Answers in place of the usual; NULL: none. */
    void (*on_call)(struct http_call *call, int *ret_err, int *ret_status);
    unsigned post_count, canceled, open_max; /* requests to them; those under way at a time */
    unsigned p0_taken;                       /* messages about the key p0 */
};
extern struct deliver_world world;

int world_defaults(void **state); /* before the first setup */
int world_setup(void **state);
int world_teardown(void **state);
/* Runs, answering what is not held. */
void world_run_ms(uint64_t ms);
void world_release(void); /* what is held is answered */
unsigned world_posts_of(const char *key, unsigned from);
/* Another gateway has delivered all that waits of the key. */
void world_acknowledge(const char *key, const char *target);
/* A request of a client; any other status fails the test. */
void world_request(int expected, const char *method, const char *target, const char *body);
void world_notify(const char *bucket); /* hook, of what is created */
#define REPLICATION                                                                                \
    "<ReplicationConfiguration><Role>r</Role><Rule><ID>i</ID><Status>Enabled</Status>"             \
    "<Priority>1</Priority><DeleteMarkerReplication><Status>Disabled</Status>"                     \
    "</DeleteMarkerReplication><Filter><Prefix></Prefix></Filter><Destination>"                    \
    "<Bucket>arn:aws:s3:::far/there</Bucket></Destination></Rule></ReplicationConfiguration>"
void world_replicate(void);         /* the bucket to far/there */
void world_put_poisoned(int count); /* p0, p1, ... */
struct lane *world_lane(void);      /* there is no other */
/* The stand's on_view. */
bool world_on_view(struct stand *s, struct fake_call *call);
