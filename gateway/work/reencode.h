#pragma once
/* Writes interim segments again: copies that some gateway wrote because no coded group could take
 * them (DESIGN section 5) become shards of a code once there is one that can.
 *
 *   now and then, if a coded group can take shards:
 *   each metanode: meta.interim ──► a page of segments, claimed for us
 *        each segment: read and verify ──► write as shards ──► propose MoveSegment
 *
 * The record keeps its version, ETag and times; the copies go to the deletion queue in the entry
 * that moves the segment, and stay readable for its grace.  Whoever changed the record meanwhile
 * wins: then the shards are discarded.  Any number of gateways may do this at the same time; claims
 * only spare them doing the same.
 *
 * One for a process, on one of its loops.  Memory: a segment with its parity, and a piece being
 * read, for each segment under way, from the loop's budget of bodies; when that is full, clients go
 * first. */
#include "gateway/op/gateway.h"

#define REENCODE_PARALLEL_MAX 16

struct reencode_config {
    uint64_t interval_ms; /* between two rounds of questions; spread by a quarter both ways */
    unsigned parallel;    /* segments under way; at most REENCODE_PARALLEL_MAX */
    uint64_t bytes_per_s; /* of segments that are begun; 0: no bound */
};

struct reencode_metrics {
    struct metric_gauge *waiting;
    struct metric_counter *moved, *bytes, *overtaken, *failed;
};
void reencode_metrics_init(struct reencode_metrics *m);

struct reencode;
/* Begins after an interval.  gw, config and metrics are borrowed.  Returns: OK; ERR_NOMEM. */
int reencode_new(struct gateway *gw, const struct reencode_config *config,
                 const struct reencode_metrics *metrics, struct reencode **ret);
/* No further segment is begun; those that are being written again come to their end.  Idempotent.
 */
void reencode_stop(struct reencode *re);
bool reencode_idle(const struct reencode *re); /* nothing is under way */
void reencode_free(struct reencode *re);       /* stopped and idle; NULL is fine */
