#pragma once
/* What a change of objects orders to be told of: read from the bucket's settings as the change is
 * proposed, and queued by the index in the entry that makes it (metanode/index/apply_event.c). */
#include "gateway/op/gateway.h"
#include "gateway/s3/notification.h"
#include "gateway/s3/replication.h"

/* Who makes the change; all may be empty. */
struct event_origin {
    struct slice requester, source_ip, request_id;
    bool replica; /* what another store's replication does is not replicated again */
};

/* Sets command->events, or NULL if nobody is to be told; for PutObject and CompleteUpload also the
 * record's replication.  `event`: what it is if it is no deletion; of deletions only whether they
 * are an expiration's (S3_EVENT_EXPIRED_DELETE).  All memory is of the arena, and as the bucket's
 * record, the command and `origin` borrowed until the proposal has ended.
 * Returns: OK; ERR_NOMEM. */
int events_order(struct gateway *gw, struct arena *arena, const Cairn__BucketRecord *bucket,
                 const struct event_origin *origin, enum s3_event event, Cairn__Command *command);
/* After the outcome: counts, and says loudly, what found no room in the queue. */
void events_account(struct gateway *gw, struct slice bucket, const Cairn__Outcome *outcome);

/* The value of the status on responses; NULL: none. */
const char *replication_status_text(Cairn__ReplicationStatus status);
/* A field of requests that says that they are of a replication. */
#define REPLICA_FIELD "x-cairn-replica"

/* Checks, beyond the document, that a configuration of notifications or replication can be:
 * webhooks and remote endpoints that it names are there.  Other kinds: S3_OK. */
enum s3_code events_setting_check(struct gateway *gw, struct arena *arena,
                                  const Cairn__BucketRecord *bucket, unsigned kind,
                                  struct slice document, struct s3_fault *fault);

/* Notifications from their stored document (empty: none), in the arena; false: it says nothing that
 * this gateway understands, or there is no memory. */
bool events_notification(struct arena *arena, struct slice document, struct s3_notification *ret);
