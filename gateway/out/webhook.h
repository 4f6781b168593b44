#pragma once
/* One message to a webhook: POST of JSON.  2xx says that it has been taken. */
#include "gateway/out/http_client.h"
#include "gateway/out/targets.h"

struct webhook_post {
    /* Set by the caller, zeroed otherwise. */
    struct buf body; /* owned */
    void (*cb)(struct webhook_post *p);
    void *user;
    /* Results, until fini. */
    int err; /* OK: it was taken; ERR_REFUSED: another status; as of http_call */
    /* private */
    struct http_call call;
    struct buf authorization; /* a header field */
    const char *fields[3];
};
/* target is borrowed until the callback.
 * Returns: OK (the callback comes later, once); ERR_NOMEM (never: the body, or the token, is not
 * whole). */
int webhook_post_start(struct http_client *c, const struct target *target, uint64_t timeout_ms,
                       struct webhook_post *p);
void webhook_post_fini(struct webhook_post *p);
