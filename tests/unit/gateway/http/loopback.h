#pragma once
/* A server with a handler that does what the target says, and a client on a real loopback socket.
 * Both run in the test's thread: the client waits by turning the server's loop. */
#include "gateway/http/http_server.h"

struct loopback {
    uv_loop_t loop;
    struct http_server *server;
    struct http_limits limits;
    struct ssl_ctx_st *tls;
    bool closed;
    /* What the handler saw. */
    unsigned requests, gone, drains, live;
    int body_err;
    uint64_t body_bytes;
    size_t queued_max;
    char target[256];
    void *held; /* by "/hold", until loopback_go_on() */
};

void loopback_start(struct loopback *l); /* with l->limits and l->tls as set by the caller */
void loopback_stop(struct loopback *l);

int client_connect(struct loopback *l);
int client_socket(struct loopback *l); /* the same, and the server does not look yet */
void client_send(struct loopback *l, int fd, struct slice bytes);
void client_text(struct loopback *l, int fd, const char *text);
/* Receive until `text` has come, or the peer closed, or 5 s passed; returns all received, as a
 * string that is valid until the next call.  text NULL: until the peer closes. */
const char *client_until(struct loopback *l, int fd, const char *text);
size_t client_received(void);
bool client_closed(void); /* the peer closed during the last call */
bool client_reset(void);  /* ... with a reset */
/* Turn the loop until *flag is at least n, or 5 s passed. */
bool loopback_wait(struct loopback *l, const unsigned *flag, unsigned n);
void loopback_turn(struct loopback *l);
void loopback_go_on(struct loopback *l); /* what is held reads its body now */
