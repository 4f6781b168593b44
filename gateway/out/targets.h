#pragma once
/* Where the gateway may send things by itself: webhooks for notifications, remote endpoints for
 * replication.  The operator names them in the gateway's configuration; clients refer to the names
 * and can never make a gateway call an address of their choice.
 *
 *   webhooks             NAME=URL [token=FILE] [ca=FILE] [accounts=A]; NAME=URL ...
 *   replication_targets  NAME=URL access_key=ID secret=FILE [region=R] [ca=FILE] [accounts=A]; ...
 *
 * What is sent is sent with the operator's token or key, so it is for the buckets of the operator's
 * account, and those of other accounts that `accounts` names (ID,ID... or *).
 * Files are read once, at the start.  URLs are http:// or https://, without user, query of a
 * target's URL or fragment; https is verified against the system's authorities, or those of `ca`.
 */
#include "common/base/slice.h"

#define TARGETS_MAX 64
#define TARGET_NAME_CHARS_MAX 64

struct target {
    char *name, *url;                   /* url: without a slash at the end */
    char *ca;                           /* path of a file; NULL: the system's */
    char *token;                        /* webhook: sent as Authorization: Bearer; NULL: none */
    char *access_key, *secret, *region; /* of a remote endpoint */
    char *accounts;                     /* as written; NULL: the operator's alone */
};

struct targets {
    struct target *items;
    size_t count;
};

/* remote: replication_targets, else webhooks.  Returns: OK; ERR_CONFIG (*ret_error says what is
 * wrong, without secrets); ERR_NOMEM.  Owns: the caller owns *ret until targets_fini(). */
int targets_parse(const char *text, bool remote, struct targets *ret, struct buf *ret_error);
void targets_fini(struct targets *t); /* wipes secrets */
/* NULL: none of that name. */
const struct target *targets_find(const struct targets *t, struct slice name);
/* Is it for buckets of this account (12 digits)?  One of the operator's from before there were
 * accounts has none (empty). */
bool target_serves(const struct target *t, struct slice account);
