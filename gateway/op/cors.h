#pragma once
/* CORS on answers.  Preflight requests: preflight_start() (operations.h). */
#include "gateway/op/request.h"

/* Between reply_begin()'s first fields and the operation's: what the bucket's configuration allows
 * the Origin of the request to see, errors included.  Nothing without an Origin, or when the
 * request's bucket is not known. */
void cors_reply_fields(struct request *req);
/* Refused before its bucket was read, and a browser could not even see why: the bucket is worth
 * reading. */
bool cors_may_apply(const struct request *req);
