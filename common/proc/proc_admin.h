#pragma once
/* The admin HTTP server: GET and HEAD of a few small pages, one request a connection.  Internal to
 * common/proc.  Bounded: connections, bytes of a request, time for a request and for its answer. */
#include "common/proc/proc.h"

#define ADMIN_CONNS_MAX 64
#define ADMIN_REQUEST_BYTES_MAX 8192
#define ADMIN_TIMEOUT_MS 5000
#define ADMIN_ROUTES_MAX 64

struct admin;

/* Returns: OK; ERR_IO with *ret_error ("address: why"); ERR_NOMEM. */
int admin_open(struct env *env, struct uv_loop_s *loop, const char *addr, struct admin **ret,
               struct buf *ret_error);
unsigned admin_port(const struct admin *a);
/* OK; ERR_EXISTS; ERR_LIMIT; ERR_NOMEM. */
int admin_route(struct admin *a, const char *path, bool prefix, admin_handler handler, void *arg);
/* Closes everything; the memory goes once the loop has run the close callbacks. */
void admin_close(struct admin *a);

/* The request's parts, borrowed from the text. */
struct admin_request {
    bool head; /* HEAD: the answer goes without its body */
    struct slice path, query;
};
/* text ends with the empty line.  Returns: 200 and *ret, or the status of the refusal. */
unsigned admin_parse(struct slice text, struct admin_request *ret);
