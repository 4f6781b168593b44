#pragma once
/* Website hosting: the configuration of a bucket, and where a request is sent by it.  Pure.
 *
 * Ref: S3 User Guide, "Configuring a static website". */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

#define S3_ROUTING_RULES_MAX 50

struct s3_routing_rule {
    bool has_prefix;
    struct slice prefix;   /* of keys */
    unsigned error_status; /* only when this was to be answered; 0: before anything is looked for */
    struct slice host, protocol; /* empty: the request's own */
    bool replaces_key, replaces_prefix;
    struct slice key; /* in place of the key, or of the prefix */
    unsigned status;
};
struct s3_website {
    struct slice index_suffix, error_key; /* empty: none */
    struct slice all_host, all_protocol;  /* everything is there; host empty: nothing is */
    struct s3_routing_rule *rules;
    size_t count;
};
extern const struct s3_schema s3_website_schema;

/* Copied into the arena.  Returns: S3_OK; INVALID_ARGUMENT; INVALID_REQUEST; INTERNAL_ERROR. */
enum s3_code s3_website_of_node(struct arena *arena, const struct s3_node *root,
                                struct s3_website *ret, struct s3_fault *fault);

/* The rule for a key, first as it is (error_status 0), then when it could not be had; NULL: none.
 */
const struct s3_routing_rule *s3_website_rule(const struct s3_website *w, struct slice key,
                                              unsigned error_status);
/* Where the rule sends the request to. */
void s3_website_rule_location(struct buf *b, const struct s3_routing_rule *rule,
                              const struct s3_request *r, bool tls);
/* ... and one that everything is sent to. */
void s3_website_all_location(struct buf *b, const struct s3_website *w, const struct s3_request *r,
                             bool tls);
/* To the folder `path`, whose index document is there.  Of this host, whatever the path: two slashes
 * in front would name another one. */
void s3_website_folder_location(struct buf *b, struct slice path);
/* The error as a page. */
void s3_website_error_page(struct buf *b, const struct s3_fault *fault, struct slice request_id,
                           bool document_failed);
