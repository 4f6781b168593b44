/* TLS credentials, what a certificate says about its bearer, and the BIO between OpenSSL and a
 * connection's socket. */
#include "common/env_uv/net_tls_gcm.h"
#include "common/env_uv/net_tls_impl.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <threads.h>

/* ---- identity ---- */

static const struct {
    const char *name;
    enum net_role role;
} role_names[] = {
    {"gateway", NET_ROLE_GATEWAY},
    {"metanode", NET_ROLE_METANODE},
    {"storagenode", NET_ROLE_STORAGENODE},
    {"witness", NET_ROLE_WITNESS},
};

/* The only entry of this kind in a subject, as text.  A second one would leave open who is meant.
 */
static bool only_entry(const X509_NAME *name, int nid, char *ret, size_t cap)
{
    int at = X509_NAME_get_index_by_NID(name, nid, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0)
        return false;
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    const unsigned char *bytes = ASN1_STRING_get0_data(value);
    int type = ASN1_STRING_type(value), len = ASN1_STRING_length(value);
    if (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING && type != V_ASN1_IA5STRING)
        return false;
    if (len <= 0 || (size_t)len >= cap)
        return false;
    for (int i = 0; i < len; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return false;
    memcpy(ret, bytes, (size_t)len);
    ret[len] = 0;
    return true;
}

int net_tls_cert_identity(X509 *cert, struct net_identity *ret, const char **ret_text)
{
    struct net_identity id = {0};
    char role[16];
    const X509_NAME *name = X509_get_subject_name(cert);
    if (!only_entry(name, NID_commonName, id.node_id, sizeof(id.node_id))) {
        *ret_text = "the certificate's subject must have one CN, the node id (1 to 63 characters)";
        return ERR_AUTH;
    }
    if (!only_entry(name, NID_organizationalUnitName, role, sizeof(role)))
        role[0] = 0;
    for (size_t i = 0; i < ARRAY_COUNT(role_names); i++) {
        if (strcmp(role, role_names[i].name) == 0) {
            id.role = role_names[i].role;
            *ret = id;
            return OK;
        }
    }
    *ret_text = "the certificate's subject must have one OU, the node's role "
                "(gateway, metanode, storagenode, witness or cli)";
    return ERR_AUTH;
}

/* ---- credentials ---- */

static int config_error(struct buf *text, const char *what, const char *file)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    if (text)
        buf_printf(text, "%s %s%s%s", what, file, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
    return ERR_CONFIG;
}

/* Verifies the own certificate as a peer would, for one purpose. */
static int verify_own(SSL_CTX *ssl, X509 *cert, const char *purpose, const char *file,
                      struct buf *text)
{
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ssl, &chain);
    X509_STORE_CTX *v = X509_STORE_CTX_new();
    if (!v)
        return ERR_NOMEM;
    int err = OK;
    if (!X509_STORE_CTX_init(v, SSL_CTX_get_cert_store(ssl), cert, chain) ||
        !X509_STORE_CTX_set_default(v, purpose)) {
        err = ERR_NOMEM;
    } else if (X509_verify_cert(v) != 1) {
        if (text)
            buf_printf(text, "certificate %s would be refused (%s): %s", file, purpose,
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(v)));
        err = ERR_CONFIG;
    }
    X509_STORE_CTX_free(v);
    ERR_clear_error();
    return err;
}

static int load_files(struct net_tls_ctx *ctx, const struct net_tls_config *config,
                      struct buf *text)
{
    SSL_CTX *ssl = ctx->ssl;
    if (SSL_CTX_load_verify_file(ssl, config->ca_file) != 1)
        return config_error(text, "cannot read the CA file", config->ca_file);
    if (SSL_CTX_use_certificate_chain_file(ssl, config->cert_file) != 1)
        return config_error(text, "cannot read the certificate", config->cert_file);
    if (SSL_CTX_use_PrivateKey_file(ssl, config->key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1)
        return config_error(text, "cannot use the private key", config->key_file);
    X509 *cert = SSL_CTX_get0_certificate(ssl);
    const char *why = "";
    if (net_tls_cert_identity(cert, &ctx->identity, &why) != OK)
        return config_error(text, why, config->cert_file);
    int err = verify_own(ssl, cert, "ssl_server", config->cert_file, text);
    return err != OK ? err : verify_own(ssl, cert, "ssl_client", config->cert_file, text);
}

int net_tls_ctx_new(const struct net_tls_config *config, struct net_tls_ctx **ret,
                    struct buf *ret_text)
{
    struct net_tls_ctx *ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return ERR_NOMEM;
    atomic_init(&ctx->refs, 1);
    ERR_clear_error();
    int err = ERR_NOMEM;
    ctx->ssl = SSL_CTX_new_ex(NULL, net_tls_gcm_properties(), TLS_method());
    if (!ctx->ssl || !net_tls_bio_method())
        goto failed;
    SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(ctx->ssl, TLS1_3_VERSION);
    /* AES-128-GCM is the fastest with AES-NI, and both ends are ours. */
    if (SSL_CTX_set_ciphersuites(ctx->ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384") != 1)
        goto failed;
    SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(ctx->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx->ssl, 0);
    SSL_CTX_set_mode(ctx->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx->ssl, 1);
    SSL_CTX_set_default_read_buffer_len(ctx->ssl, READ_BUFFER_BYTES);
    err = load_files(ctx, config, ret_text);
    if (err != OK)
        goto failed;
    *ret = ctx;
    return OK;
failed:
    ERR_clear_error();
    net_tls_ctx_free(ctx);
    return err;
}

void net_tls_ctx_free(struct net_tls_ctx *ctx)
{
    if (!ctx || atomic_fetch_sub(&ctx->refs, 1) != 1)
        return;
    SSL_CTX_free(ctx->ssl);
    free(ctx);
}

const struct net_identity *net_tls_ctx_identity(const struct net_tls_ctx *ctx)
{
    return &ctx->identity;
}

/* ---- the BIO: OpenSSL reads the socket straight into its record buffer ---- */

static int bio_read_cb(BIO *bio, char *ret, size_t len, size_t *ret_len)
{
    bool again = false;
    BIO_clear_retry_flags(bio);
    int ok = conn_bio_read(BIO_get_data(bio), ret, len, ret_len, &again);
    if (again)
        BIO_set_retry_read(bio);
    return ok;
}

static int bio_write_cb(BIO *bio, const char *bytes, size_t len, size_t *ret_len)
{
    BIO_clear_retry_flags(bio);
    int ok = conn_bio_write(BIO_get_data(bio), bytes, len);
    *ret_len = ok ? len : 0;
    return ok;
}

static long bio_ctrl_cb(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method;
static once_flag bio_method_once = ONCE_FLAG_INIT;

static void bio_method_make(void)
{
    int index = BIO_get_new_index();
    BIO_METHOD *m =
        index < 0 ? NULL : BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "cairn connection");
    if (!m)
        return;
    BIO_meth_set_read_ex(m, bio_read_cb);
    BIO_meth_set_write_ex(m, bio_write_cb);
    BIO_meth_set_ctrl(m, bio_ctrl_cb);
    bio_method = m;
}

BIO_METHOD *net_tls_bio_method(void)
{
    call_once(&bio_method_once, bio_method_make);
    return bio_method;
}

SSL *net_tls_ssl_new(struct net_tls_ctx *ctx, struct net_conn *c)
{
    SSL *ssl = SSL_new(ctx->ssl);
    BIO *bio = ssl ? BIO_new(net_tls_bio_method()) : NULL;
    if (!bio) {
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    if (c->outgoing)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    return ssl;
}
