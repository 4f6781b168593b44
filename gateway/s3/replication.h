#pragma once
/* Bucket replication: the configuration's shape and rules, and which of them an object matches.
 * Pure.
 *
 * A destination is arn:aws:s3:::TARGET/BUCKET: a bucket at a remote endpoint that the operator has
 * named TARGET (gateway/out/targets.h).  An ARN of S3's own form names no endpoint, and is refused
 * as a bucket that does not exist. */
#include "gateway/s3/document.h"
#include "gateway/s3/tags.h"

#define S3_REPLICATION_RULES_MAX 1000
#define S3_REPLICATION_SINKS_MAX 8 /* destinations of one object */

struct s3_replication_rule {
    struct slice id, prefix;
    struct s3_tags tags;
    uint64_t priority;
    bool enabled, delete_markers;
    struct slice place;          /* TARGET/BUCKET */
    struct slice target, bucket; /* of it */
    struct slice storage_class;  /* empty: the object's */
};
struct s3_replication {
    struct s3_replication_rule *rules;
    size_t count;
};

extern const struct s3_schema s3_replication_schema;

/* Gives rules without an ID one of their own. */
enum s3_code s3_replication_name(struct arena *arena, struct s3_node *root, struct s3_fault *fault);
/* Returns: S3_OK; INVALID_REQUEST; INVALID_ARGUMENT; MALFORMED_XML; INTERNAL_ERROR.  Slices point
 * into the tree. */
enum s3_code s3_replication_of_node(struct arena *arena, const struct s3_node *root,
                                    struct s3_replication *ret, struct s3_fault *fault);
/* The rules by which an object is replicated: for each destination the one of the highest priority.
 * marker: a delete marker, which has no tags.  Returns: how many, at most S3_REPLICATION_SINKS_MAX.
 */
size_t s3_replication_match(const struct s3_replication *r, struct slice key,
                            const struct s3_tags *tags, bool marker,
                            const struct s3_replication_rule **ret);
