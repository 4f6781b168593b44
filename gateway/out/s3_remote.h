#pragma once
/* One request to a remote S3 endpoint, signed with SigV4 (its body is not: UNSIGNED-PAYLOAD, with
 * Content-MD5 where one is known).  Path-style addresses. */
#include "gateway/http/field.h"
#include "gateway/out/http_client.h"
#include "gateway/out/targets.h"

#include "common/base/arena.h"

struct s3_param;

struct s3_remote {
    /* Set by the caller, zeroed otherwise; all borrowed until the callback. */
    const char *method;
    struct slice bucket, key;
    struct s3_param *params; /* name, value */
    size_t param_count;
    struct http_field *fields; /* further ones; names in lower case */
    size_t field_count;
    uint64_t timeout_ms, total_ms; /* as of http_call */
    uint64_t now_ms;
    /* The body, the callback, and after it the results: as of http_call. */
    struct http_call call;
};

/* What is built lies in the arena.  Returns: OK (call.cb comes later, once); ERR_NOMEM (never). */
int s3_remote_start(struct http_client *c, const struct target *target, struct arena *arena,
                    struct s3_remote *r);
/* The text of the first element of this name in an XML document, as it stands; empty: none. */
struct slice s3_remote_element(struct slice document, const char *name);
