/* Blocking OpenSSL on a thread: what a stranger, or a broken node, would send. */
#include "raw_client.h"

#include "certs.h"
#include "common/base/check.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *client_ctx(const char *cert)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    CHECK(ctx != NULL);
    if (cert) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s.pem", certs_dir(), cert);
        CHECK(SSL_CTX_use_certificate_chain_file(ctx, path) == 1);
        snprintf(path, sizeof(path), "%s/%s.key", certs_dir(), cert);
        CHECK(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) == 1);
    }
    return ctx;
}

static bool send_bytes(SSL *ssl, int fd, struct slice s)
{
    if (!ssl)
        return send(fd, s.ptr, s.len, MSG_NOSIGNAL) == (ssize_t)s.len;
    return SSL_write(ssl, s.ptr, (int)s.len) == (int)s.len;
}

static void talk(struct raw_client *c, SSL *ssl, int fd)
{
    size_t piece = c->piece ? c->piece : c->send.len;
    for (size_t at = 0; at < c->send.len; at += piece) {
        size_t n = MIN(piece, c->send.len - at);
        if (!send_bytes(ssl, fd, SLICE(c->send.ptr + at, n)))
            return;
    }
    if (c->close_after_send)
        return;
    char bytes[4096];
    for (;;) {
        int n = ssl ? SSL_read(ssl, bytes, sizeof(bytes)) : (int)recv(fd, bytes, sizeof(bytes), 0);
        if (n <= 0)
            return;
        c->received += n;
    }
}

static void on_done(struct env_uv_post *post)
{
    container_of(post, struct raw_client, post)->done = true;
}

static void run(void *arg)
{
    struct raw_client *c = arg;
    signal(SIGPIPE, SIG_IGN);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)c->port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    SSL_CTX *ctx = c->tls ? client_ctx(c->cert) : NULL;
    SSL *ssl = ctx ? SSL_new(ctx) : NULL;
    if (ssl)
        SSL_set_fd(ssl, fd);
    if (!ssl || SSL_connect(ssl) == 1)
        talk(c, ssl, fd);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    c->post.fn = on_done;
    env_uv_post(c->env, &c->post);
}

void raw_client_start(struct raw_client *c, struct env *env)
{
    c->env = env;
    CHECK(uv_thread_create(&c->thread, run, c) == 0);
}

void raw_client_join(struct raw_client *c)
{
    uv_thread_join(&c->thread);
}
