#pragma once
/* HTTP that the gateway speaks as a client, to webhooks and to remote S3 endpoints: the interface.
 * http_curl.h is the real one; tests have their own.
 *
 * Of an answer's body no more than a bound is kept, and no redirect is followed.  A call takes no
 * longer than its bounds say, however slowly, or how much, the other side talks.
 *
 * A start leads to exactly one callback, later, on the same loop, never inside the start. */
#include "common/env/env.h"

#include <sys/types.h>

#define HTTP_ANSWER_BYTES_MAX (64u << 10)
#define HTTP_ANSWER_TAKEN_MAX (1u << 20) /* an answer that goes on beyond is broken off: ERR_IO */
#define HTTP_FIELDS_MAX 64
/* Bytes a second of a streamed body: over each timeout, and over all of it. */
#define HTTP_RATE_MIN 1024u
#define HTTP_RATE_MEAN_MIN (16u << 10)

struct http_client;

struct http_call {
    /* Set by the caller, zeroed otherwise; all borrowed until the callback. */
    const char *method, *url;
    const char *const *fields; /* "Name: value" */
    size_t field_count;
    const char *ca_file; /* NULL: the system's authorities */
    uint64_t timeout_ms; /* for connecting, and without a byte either way */
    uint64_t total_ms; /* of the whole call; 0: timeout_ms, and of a streamed body what it takes at
                        * HTTP_RATE_MEAN_MIN beside */
    struct slice body;
    /* A body that comes piece by piece (body is empty then): */
    bool streamed;
    uint64_t body_bytes; /* exactly as many */
    /* Fills ret; 0: not yet, http_call_resume() says when; -1: there will be no more, the call
     * fails.
     */
    ssize_t (*read)(struct http_call *call, uint8_t *ret, size_t max);
    void (*cb)(struct http_call *call);
    void *user;
    /* Results, until fini. */
    int err;    /* OK: there is an answer, whatever its status; ERR_TIMEOUT; ERR_IO; ERR_CANCELED;
                 * ERR_AUTH (the certificate); ERR_NOMEM */
    int status; /* of HTTP */
    struct buf answer;
    char etag[160];                   /* without quotes; empty: none */
    char date[40], last_modified[40]; /* as they are; empty: none */
    char why[128];                    /* for logs: what libcurl says of a failure */
    /* private */
    struct http_client *client;
    void *easy, *list; /* the implementation's */
    bool paused, canceled, silent;
    uint64_t taken;    /* of the answer */
    uint64_t heard_ns; /* when the last byte came or went */
    struct env_timer patience;
    struct list node;
};

struct http_client_ops {
    void (*start)(struct http_client *c, struct http_call *call);
    void (*resume)(struct http_call *call);
    void (*cancel)(struct http_call *call);
};
struct http_client {
    const struct http_client_ops *ops;
};

static inline void http_call_start(struct http_client *c, struct http_call *call)
{
    call->client = c;
    c->ops->start(c, call);
}
/* Its body goes on; harmless if it did not wait. */
static inline void http_call_resume(struct http_call *call)
{
    call->client->ops->resume(call);
}
/* It ends with ERR_CANCELED, soon, unless it has just ended otherwise.  Before the callback. */
static inline void http_call_cancel(struct http_call *call)
{
    call->client->ops->cancel(call);
}
/* After the callback, or of one never started. */
static inline void http_call_fini(struct http_call *call)
{
    buf_fini(&call->answer);
}
