#pragma once
/* Tags of buckets and objects: the Tagging document, the x-amz-tagging field, and S3's limits.
 * Pure; what is read lives in the arena given. */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

#define S3_OBJECT_TAGS_MAX 10
#define S3_BUCKET_TAGS_MAX 50
#define S3_TAG_KEY_CHARS_MAX 128
#define S3_TAG_VALUE_CHARS_MAX 256

struct s3_tag {
    struct slice key, value;
};
struct s3_tags {
    struct s3_tag *tags;
    size_t count;
};
extern const struct s3_schema s3_tagging_schema;
extern const struct s3_schema s3_tag_children[]; /* of a Tag, wherever it stands */

/* The tags of a document that s3_document_read() took by s3_tagging_schema.
 * Returns: S3_OK; BAD_REQUEST (too many); INVALID_TAG (lengths, characters, duplicates, and
 * those that begin with "aws:"); INTERNAL_ERROR. */
enum s3_code s3_tags_of_node(struct arena *arena, const struct s3_node *tagging, bool of_object,
                             struct s3_tags *ret, struct s3_fault *fault);
/* Tags wherever they stand, without a bound on their number: lengths, characters, duplicates. */
enum s3_code s3_tags_check(const struct s3_tags *tags, struct s3_fault *fault);
/* Document and tags in one. */
enum s3_code s3_tags_read(struct arena *arena, struct slice body, bool of_object,
                          struct s3_tags *ret, struct s3_fault *fault);
/* x-amz-tagging of a request that makes an object; none: no tags.
 * Returns: S3_OK; INVALID_ARGUMENT (encoding, duplicates); else as s3_tags_of_node(). */
enum s3_code s3_tags_of_request(const struct s3_request *r, struct s3_tags *ret,
                                struct s3_fault *fault);
void s3_tags_write(struct buf *b, const struct s3_tags *tags);
