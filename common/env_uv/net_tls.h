#pragma once
/* struct net (common/env/net.h) on TCP and OpenSSL: mutual TLS 1.3 always, one event loop each.
 *
 * Identity: both sides present a certificate that chains to the cluster's CA.  The subject has
 * exactly one CN, the node's id (printable ASCII without spaces, 1 to 63 bytes), and exactly one
 * OU, the role: gateway, metanode, storagenode or witness.  An extended key usage, if there is
 * one, must allow serverAuth and clientAuth.  Host names are not looked at.
 *
 * Errors in on_closed: OK after net_conn_close; ERR_UNREACHABLE (no TCP connection came about);
 * ERR_AUTH (certificates); ERR_TIMEOUT (handshake); ERR_PROTO, ERR_CHECKSUM, ERR_TOO_LARGE
 * (frames); ERR_CONN_LOST.
 *
 * A peer whose host is gone is noticed within about 3 s: idle, by keepalive; with data under way,
 * by looking at the kernel's retransmissions once a second.  A peer that merely does not read is
 * not dead.  Frames: docs/formats/frame.md.
 *
 * Anybody can connect, so incoming connections that have not shown their certificate yet have a
 * bound and a deadline of their own.  At the bound the oldest of them makes room: a flood cannot
 * keep nodes out that shake hands sooner than `handshakes_max` others connect. */
#include "common/env/net.h"
#include "common/env_uv/env_uv.h"

struct net_tls_ctx;

struct net_tls_config {
    const char *ca_file;   /* PEM, one or more CAs */
    const char *cert_file; /* PEM, own certificate, then intermediates if any */
    const char *key_file;  /* PEM */
};

/* Reads the files and checks that the own certificate is what a peer would accept.  One context
 * serves all loops of a process; thread-safe after this. Returns: OK; ERR_CONFIG (ret_text, may be
 * NULL, receives one line for the operator); ERR_NOMEM. Owns: the caller, until net_tls_ctx_free;
 * it may free it before the nets made from it. */
int net_tls_ctx_new(const struct net_tls_config *config, struct net_tls_ctx **ret,
                    struct buf *ret_text);
void net_tls_ctx_free(struct net_tls_ctx *ctx);
/* Who this process is, from its own certificate. */
const struct net_identity *net_tls_ctx_identity(const struct net_tls_ctx *ctx);

struct net_tls_options {
    bool reuse_port;    /* SO_REUSEPORT: each loop of a process listens on the same port */
    uint32_t conns_max; /* outgoing, and incoming that are authenticated, 0: 4096; beyond it further
                           incoming ones are dropped */
    uint32_t handshakes_max;       /* incoming in their handshake, 0: 256, besides conns_max */
    uint32_t handshake_timeout_ms; /* incoming, 0: 2000, as long as callers wait (rpc_config);
                                      outgoing: until the user closes it, at most 10 s */
    /* A connection ended for a reason that an operator wants to see (refused certificate, damaged
     * frame, handshake timeout).  May be NULL.  `text` holds no secrets. */
    void (*on_problem)(void *arg, const char *addr, int err, const char *text);
    void *arg;
};

/* A net on the loop of `env`.  `options` may be NULL.
 * Returns: OK; ERR_NOMEM; ERR_IO.  Owns: the caller, until net_tls_close. */
int net_tls_new(struct env_uv *env, struct net_tls_ctx *ctx, const struct net_tls_options *options,
                struct net **ret);
/* Closes connections and listeners that are still open (on_closed comes with OK), then frees the
 * net and calls done, which may be NULL. */
void net_tls_close(struct net *net, void (*done)(void *arg), void *arg);

struct net_tls_stats {
    uint64_t bytes_in, bytes_out; /* ciphertext */
    uint64_t frames_in, frames_out;
    uint64_t reads, writes; /* system calls */
    uint64_t handshakes, handshakes_failed;
    uint64_t frames_bad;         /* header, checksum or limit */
    uint64_t handshakes_evicted; /* incoming ones closed in their handshake to make room */
    uint32_t conns, handshaking; /* now; of these, incoming in their handshake */
};
/* Runs on: the net's loop. */
void net_tls_stats(const struct net *net, struct net_tls_stats *ret);

/* The port that a listener is bound to (it may have been asked for as 0). */
int net_tls_listener_port(const struct net_listener *listener);
