#pragma once
/* The HTTP client over libcurl's multi interface, on a libuv loop.  Nothing blocks: names are
 * resolved on libcurl's own threads.
 *
 * No redirect is followed, no proxy of the environment is used, no protocol but http and https is
 * spoken.  Certificates and host names are always verified. */
#include "gateway/out/http_client.h"

/* env must be the env of a libuv loop (env_uv).  Returns: OK; ERR_NOMEM. */
int http_curl_new(struct env *env, struct http_client **ret);
/* What is under way ends with ERR_CANCELED, soon; new calls too.  Idempotent. */
void http_curl_stop(struct http_client *c);
bool http_curl_idle(const struct http_client *c);
void http_curl_free(struct http_client *c); /* idle; NULL is fine */
