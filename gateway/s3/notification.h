#pragma once
/* Bucket notifications: the configuration's shape and rules, which of them an event matches, and
 * the message that a destination gets.  Pure.
 *
 * Destinations are webhooks that the operator has named (gateway/out/targets.h); clients refer to
 * them by ARN, whichever of S3's three kinds of destination they think of, and never give a URL. */
#include "gateway/s3/document.h"

/* EventName of proto/events.proto; the operations assert that these agree. */
enum s3_event {
    S3_EVENT_NONE,
    S3_EVENT_CREATED_PUT,
    S3_EVENT_CREATED_POST,
    S3_EVENT_CREATED_COPY,
    S3_EVENT_CREATED_COMPLETE,
    S3_EVENT_REMOVED_DELETE,
    S3_EVENT_REMOVED_MARKER,
    S3_EVENT_TAGGING_PUT,
    S3_EVENT_TAGGING_DELETE,
    S3_EVENT_ACL_PUT,
    S3_EVENT_EXPIRED_DELETE,
    S3_EVENT_EXPIRED_MARKER,
    S3_EVENT_COUNT,
};
const char *s3_event_name(enum s3_event event); /* "ObjectCreated:Put"; "" for what is none */

#define S3_NOTIFICATIONS_MAX 100 /* configurations of a bucket */

struct s3_notification_rule {
    struct slice id, arn, webhook; /* webhook: the name in the ARN */
    struct slice prefix, suffix;
    uint32_t events; /* a mask */
};
struct s3_notification {
    struct s3_notification_rule *rules;
    size_t count;
};

extern const struct s3_schema s3_notification_schema;

/* Gives configurations without an Id one of their own, made of what they say. */
enum s3_code s3_notification_name(struct arena *arena, struct s3_node *root,
                                  struct s3_fault *fault);
/* Returns: S3_OK; INVALID_ARGUMENT (an event that there is not, a filter that is none, an ARN of no
 * webhook, rules that overlap, an Id twice); INTERNAL_ERROR.  Slices point into the tree. */
enum s3_code s3_notification_of_node(struct arena *arena, const struct s3_node *root,
                                     struct s3_notification *ret, struct s3_fault *fault);
/* At most one does, as rules do not overlap.  NULL: none. */
const struct s3_notification_rule *s3_notification_match(const struct s3_notification *n,
                                                         enum s3_event event, struct slice key);

/* "Unable to validate the following destination configurations", of this ARN. */
enum s3_code s3_notification_unreachable(struct s3_fault *fault, struct slice arn);

/* ---- messages ---- */

struct s3_event_message {
    enum s3_event event;
    uint64_t time_ms;
    struct slice region, rule_id, requester, source_ip, request_id;
    struct slice bucket, bucket_owner, key, etag;
    uint64_t size, version; /* version 0: it has no id */
    uint64_t index;         /* where it is in the order of changes */
    uint32_t n;
};
/* S3's event structure, as JSON, appended. */
void s3_event_message_write(struct buf *b, const struct s3_event_message *m);
/* What S3 sends to a destination when it is configured. */
void s3_test_message_write(struct buf *b, struct slice bucket, struct slice request_id,
                           uint64_t now_ms);
