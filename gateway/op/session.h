#pragma once
/* A request with temporary credentials: the session is sealed into the token that it brings
 * (gateway/iam/token.h).  Its principal is read by ARN like any other's, so that a user or role
 * that is gone, or made anew under the name, ends its sessions at once. */
#include "gateway/iam/token.h"
#include "gateway/meta/rows.h"
#include "gateway/op/principal.h"
#include "gateway/op/request.h"

struct session {
    const Cairn__SessionToken *token;
    struct principal_session view;
    /* private */
    struct request *req;
    struct slice text;
    struct meta_rows rows;
    struct iam_token_key *key; /* where the loop keeps it */
    void (*cb)(struct session *s, enum s3_code code);
};

/* Opens the token of req->auth.  The callback comes later, or before this returns: S3_OK;
 * INVALID_TOKEN; EXPIRED_TOKEN; SERVICE_UNAVAILABLE, INTERNAL_ERROR (the key cannot be read);
 * SLOW_DOWN (key_gate.h).  The session (zeroed) lies in the request's arena. */
void session_open(struct session *s, struct request *req,
                  void (*cb)(struct session *s, enum s3_code code));

/* s: NULL: the request is signed with a key of its own. */

/* May the principal be read?  Returns: S3_OK; INVALID_ACCESS_KEY_ID; SLOW_DOWN.  In both of the
 * latter the fault is set; else session_principal_read() must follow the read. */
enum s3_code session_principal_ask(const struct session *s, struct request *req);
void session_principal_read(struct request *req, const struct meta_read *read);
/* What the principal is to be read by. */
struct slice session_principal_name(const struct session *s, const struct sigv4_auth *auth);
/* Who signs; NULL: nobody that may.  Completes the session's view. */
const Cairn__PrincipalRecord *session_principal(struct session *s, const struct sigv4_auth *auth,
                                                const struct cache_entry *entry);
/* Which the record of its principal does not tell. */
bool session_has_ended(const struct session *s);
struct slice session_secret(const struct session *s, const Cairn__PrincipalRecord *p);
