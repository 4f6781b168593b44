/* TLS between the socket and the connection, over memory BIOs: no system call happens in OpenSSL.
 */
#include "gateway/http/http_uv.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#define CIPHER_BYTES_MAX (64 << 10) /* encrypted at once, before the socket has taken it */

struct http_tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    bool pumping, eof;
};

static int select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                       const unsigned char *offered, unsigned offered_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, ret_len, ours, sizeof(ours) - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int http_tls_context_new(const char *certificate_path, const char *key_path,
                         struct ssl_ctx_st **ret)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return ERR_NOMEM;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate_path) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1) {
        ERR_clear_error();
        SSL_CTX_free(ctx);
        return ERR_CONFIG;
    }
    *ret = ctx;
    return OK;
}

void http_tls_context_free(struct ssl_ctx_st *ctx)
{
    SSL_CTX_free(ctx);
}

int http_tls_conn_new(struct http_uv_conn *uc, struct ssl_ctx_st *ctx)
{
    struct http_tls *t = calloc(1, sizeof(*t));
    if (!t)
        return ERR_NOMEM;
    t->ssl = SSL_new(ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out) {
        SSL_free(t->ssl);
        BIO_free(t->in);
        BIO_free(t->out);
        free(t);
        return ERR_NOMEM;
    }
    BIO_set_mem_eof_return(t->in, -1);
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_accept_state(t->ssl);
    uc->tls = t;
    return OK;
}

void http_tls_conn_free(struct http_uv_conn *uc)
{
    if (!uc->tls)
        return;
    SSL_free(uc->tls->ssl);
    free(uc->tls);
    uc->tls = NULL;
}

/* What OpenSSL wants sent: records, or its own alerts and handshake messages. */
static void send_cipher(struct http_uv_conn *uc)
{
    struct http_tls *t = uc->tls;
    char *bytes = NULL;
    long len = BIO_get_mem_data(t->out, &bytes);
    if (len <= 0 || uc->c.transport_busy || uc->c.broken)
        return;
    if (http_uv_send_copy(uc, SLICE(bytes, (size_t)len)) != OK)
        uc->c.broken = true;
    (void)BIO_reset(t->out);
}

void http_tls_flush(struct http_uv_conn *uc)
{
    struct http_tls *t = uc->tls;
    struct http_conn *c = &uc->c;
    while (c->out.bytes > 0 && !c->transport_busy && !c->broken) {
        struct slice piece[1];
        if (!SSL_is_init_finished(t->ssl))
            break;
        while (c->out.bytes > 0 && BIO_ctrl_pending(t->out) < CIPHER_BYTES_MAX) {
            CHECK(http_out_peek(&c->out, piece, 1) == 1);
            ERR_clear_error();
            int n = SSL_write(t->ssl, piece[0].ptr, (int)MIN(piece[0].len, (size_t)1 << 20));
            if (n <= 0) {
                c->broken = true;
                return;
            }
            http_out_consume(&c->out, (size_t)n);
        }
        send_cipher(uc);
    }
    send_cipher(uc);
}

/* Decrypt one piece and hand it on.  Returns whether there may be more. */
static bool pump_once(struct http_uv_conn *uc)
{
    struct http_tls *t = uc->tls;
    struct rcbuf *owner = NULL;
    struct slice space = http_uv_read_space(uc, &owner);
    if (!owner) {
        http_conn_lost(&uc->c, http_uv_now(uc));
        return false;
    }
    ERR_clear_error();
    int n = SSL_read(t->ssl, (void *)(uintptr_t)space.ptr, (int)MIN(space.len, (size_t)1 << 20));
    if (n > 0) {
        uc->c.req.tls_version = SSL_version(t->ssl);
        struct payload p = {rcbuf_ref(owner), SLICE(space.ptr, (size_t)n)};
        http_uv_read_used(uc, owner, (size_t)n);
        http_conn_input(&uc->c, p, http_uv_now(uc));
        payload_unref(&p);
        return true;
    }
    int err = SSL_get_error(t->ssl, n);
    if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE)
        return false;
    t->eof = true;
    if (err == SSL_ERROR_ZERO_RETURN)
        http_conn_eof(&uc->c, http_uv_now(uc));
    else
        http_conn_lost(&uc->c, http_uv_now(uc));
    return false;
}

void http_tls_pump(struct http_uv_conn *uc)
{
    struct http_tls *t = uc->tls;
    uc->pump = false;
    if (!t || t->pumping)
        return;
    t->pumping = true;
    while (uc->c.state != HTTP_CONN_CLOSED && !t->eof && uc->c.reading && pump_once(uc))
        ;
    if (uc->c.state != HTTP_CONN_CLOSED) {
        send_cipher(uc); /* of the handshake, or an alert */
        /* Only OpenSSL's own answers (to key updates) are left behind a write under way; a client
         * that asks for more and more of them and reads none may not fill our memory. */
        if (uc->c.broken || BIO_ctrl_pending(t->out) > CIPHER_BYTES_MAX)
            http_conn_lost(&uc->c, http_uv_now(uc));
    }
    t->pumping = false;
}

void http_tls_input(struct http_uv_conn *uc, struct slice cipher)
{
    CHECK(cipher.len <= INT32_MAX);
    if (uc->c.state == HTTP_CONN_CLOSED)
        return;
    if (BIO_write(uc->tls->in, cipher.ptr, (int)cipher.len) != (int)cipher.len) {
        http_conn_lost(&uc->c, http_uv_now(uc));
        return;
    }
    http_tls_pump(uc);
}

void http_tls_shutdown(struct http_uv_conn *uc)
{
    if (!SSL_is_init_finished(uc->tls->ssl) || uc->c.broken)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(uc->tls->ssl);
    send_cipher(uc);
}
