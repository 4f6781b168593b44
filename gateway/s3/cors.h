#pragma once
/* Cross-origin resource sharing as S3 has it: the configuration of a bucket, and which rule a
 * request falls under.  Pure. */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

#define S3_CORS_RULES_MAX 100

struct s3_cors_rule {
    struct slice *origins, *methods, *headers, *expose; /* headers in lower case */
    size_t origin_count, method_count, header_count, expose_count;
    bool has_max_age;
    uint64_t max_age_s;
};
struct s3_cors {
    struct s3_cors_rule *rules;
    size_t count;
};
extern const struct s3_schema s3_cors_schema;

/* Copied into the arena.  Returns: S3_OK; INVALID_REQUEST (methods, wildcards, number of rules);
 * INTERNAL_ERROR. */
enum s3_code s3_cors_of_node(struct arena *arena, const struct s3_node *root, struct s3_cors *ret,
                             struct s3_fault *fault);

struct s3_cors_match {
    const struct s3_cors_rule *rule;
    bool any_origin; /* it was allowed by "*" */
};
bool s3_cors_method_known(struct slice method);
/* The first rule that allows the origin, the method and every header of the list (as in
 * Access-Control-Request-Headers; empty: none).  false: none does. */
bool s3_cors_find(const struct s3_cors *cors, struct slice origin, struct slice method,
                  struct slice headers, struct s3_cors_match *ret);
/* The values, separated by ", ". */
void s3_cors_join(struct buf *b, const struct slice *values, size_t count);
