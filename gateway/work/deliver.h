#pragma once
/* Takes events out of the index's queues to their destinations: webhooks, and remote endpoints for
 * replication (docs/decisions/0020-events.md).
 *
 *   now and then, each metanode: meta.event_queues ──► queues claimed for us
 *        each queue, each destination in it (a lane, deliver_lane.c):
 *             list ──► deliver, in order per key ──► AckEvents
 *
 * A queue is delivered by one gateway at a time; nothing goes on beyond the claim.  An
 * event leaves the queue when its destination has taken it, or, a replication that is refused for
 * replication_give_up, was given up.  Until then it is tried again and again, ever more slowly.
 * Crashes and lost claims lead to second deliveries, never to none.
 *
 * A gateway has so many queues at a time and no more.  When it has them, those of which nothing was
 * taken for a while give way to others that may wait: destinations that are away do not keep up
 * those of other buckets.
 *
 * One for a process, on one of its loops, and only where the operator has named destinations.
 * Memory: a window of events for each lane, and a bit or a few for each event that was passed over,
 * bounded. */
#include "gateway/op/gateway.h"

#define DELIVER_QUEUES_MAX 256
#define DELIVER_PARALLEL_MAX 16
#define DELIVER_RUNNING_MAX 1024
#define DELIVER_WINDOW_MAX 32768
#define DELIVER_PASSED_BYTES_MAX (16u << 20) /* beyond, lanes make do with LANE_PASSED_BITS_MIN */

struct deliver_config {
    uint64_t interval_ms;  /* between questions to the metanodes */
    uint64_t retry_max_ms; /* between two tries of one event, in the end */
    uint64_t give_up_ms;   /* replications that are refused for so long */
    unsigned parallel;     /* of a lane; at most DELIVER_PARALLEL_MAX */
    unsigned queues_max;   /* at a time; at most DELIVER_QUEUES_MAX */
    unsigned
        running_max;   /* deliveries at a time, of all lanes; from a quarter on one for each lane */
    size_t window_max; /* events in memory; beyond, LANE_WINDOW_LEAST for each lane */
};

/* Of a claim a quarter is left to clocks that run at different speeds and to answers under way; it
 * is renewed once an interval, and nothing is begun that could outlast it.  false: nothing would
 * ever be begun, or only by luck. */
static inline bool deliver_times_fit(uint64_t timeout_ms, uint64_t interval_ms, uint64_t claim_ms)
{
    return timeout_ms + interval_ms < claim_ms / 4 * 3;
}

enum { DELIVER_WEBHOOK, DELIVER_REPLICATION, DELIVER_KINDS };
struct deliver_metrics {
    struct metric_gauge *waiting[DELIVER_KINDS], *oldest, *queues;
    struct metric_counter *delivered[DELIVER_KINDS], *failed[DELIVER_KINDS], *given_up;
};
void deliver_metrics_init(struct deliver_metrics *m);

struct deliver;
/* Begins at once.  gw (with gw->out set) and metrics are borrowed.  Returns: OK; ERR_NOMEM. */
int deliver_new(struct gateway *gw, const struct deliver_config *config,
                const struct deliver_metrics *metrics, struct deliver **ret);
/* Nothing further is begun.  Idempotent. */
void deliver_stop(struct deliver *d);
bool deliver_idle(const struct deliver *d); /* nothing is under way */
void deliver_free(struct deliver *d);       /* stopped and idle; NULL is fine */
