#pragma once
/* A client that does not use net_tls: plain or TLS bytes as the test says, on a thread of its own.
 */
#include "common/env_uv/env_uv.h"

struct raw_client {
    int port;
    bool tls;          /* false: plain TCP */
    const char *cert;  /* base name in certs_dir(); NULL: no certificate */
    struct slice send; /* after the handshake; sent in pieces of `piece` bytes, 0: at once */
    size_t piece;
    bool close_after_send; /* else waits for the other side to close */
    /* result */
    int received; /* bytes, until the end */
    bool done;
    /* private */
    struct env *env;
    uv_thread_t thread;
    struct env_uv_post post;
};

void raw_client_start(struct raw_client *c, struct env *env);
void raw_client_join(struct raw_client *c);
