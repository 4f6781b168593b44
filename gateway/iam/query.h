#pragma once
/* The AWS query protocol: "Action=...&Version=...&Tags.member.1.Key=...", from a form or a target.
 * Pure; everything lies in the arena or is borrowed from the text.
 * Ref: Smithy, "AWS Query protocol". */
#include "common/base/arena.h"

#define IAM_PARAMS_MAX 1000
#define IAM_BODY_BYTES_MAX (512u << 10) /* a document of 128 KiB, percent-encoded, and the rest */

struct iam_param {
    struct slice name, value; /* decoded, UTF-8 */
};
struct iam_query {
    struct iam_param *params;
    size_t count;
};

enum iam_query_error { IAM_QUERY_OK, IAM_QUERY_MALFORMED, IAM_QUERY_NO_MEMORY };
/* MALFORMED: bad escapes, no UTF-8, a parameter twice, too many of them. */
enum iam_query_error iam_query_parse(struct arena *arena, struct slice text, struct iam_query *ret);

/* {NULL, 0}: absent.  Names have case. */
struct slice iam_query_value(const struct iam_query *q, const char *name);
/* list.member.INDEX, or with a field list.member.INDEX.field; from 1. */
struct slice iam_query_member(const struct iam_query *q, const char *list, size_t index,
                              const char *field);
