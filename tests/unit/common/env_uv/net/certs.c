/* Certificates for tests, by OpenSSL's API. */
#include "certs.h"

#include "common/base/check.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct test_ca {
    EVP_PKEY *key;
    X509 *cert;
};

static char dir[64];
static char written[64][128];
static unsigned written_count;

const char *certs_dir(void)
{
    if (!dir[0]) {
        strcpy(dir, "/tmp/cairn-certs-XXXXXX");
        CHECK(mkdtemp(dir) != NULL);
    }
    return dir;
}

void certs_remove(void)
{
    for (unsigned i = 0; i < written_count; i++)
        unlink(written[i]);
    if (dir[0])
        rmdir(dir);
    dir[0] = 0;
}

static FILE *create(const char *name, const char *suffix)
{
    CHECK(written_count < ARRAY_COUNT(written));
    char *path = written[written_count++];
    snprintf(path, sizeof(written[0]), "%s/%s%s", certs_dir(), name, suffix);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    return f;
}

static void add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CHECK(ext && X509_add_ext(cert, ext, -1));
    X509_EXTENSION_free(ext);
}

static void add_name(X509_NAME *name, const char *field, const char *value)
{
    if (value)
        CHECK(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value,
                                         -1, -1, 0));
}

static X509 *cert_new(EVP_PKEY *key, int days)
{
    static long serial = 1;
    X509 *cert = X509_new();
    CHECK(cert && key);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), days < 0 ? -10l * 86400 : -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), days * 86400l);
    X509_set_pubkey(cert, key);
    return cert;
}

struct test_ca *test_ca_new(const char *name)
{
    struct test_ca *ca = malloc(sizeof(*ca));
    CHECK(ca != NULL);
    ca->key = EVP_EC_gen("P-256");
    ca->cert = cert_new(ca->key, 30);
    add_name(X509_get_subject_name(ca->cert), "CN", name);
    X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert));
    add_ext(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE");
    add_ext(ca->cert, ca->cert, NID_key_usage, "critical,keyCertSign");
    CHECK(X509_sign(ca->cert, ca->key, EVP_sha256()) > 0);
    FILE *f = create(name, ".pem");
    CHECK(PEM_write_X509(f, ca->cert));
    fclose(f);
    return ca;
}

void test_ca_free(struct test_ca *ca)
{
    EVP_PKEY_free(ca->key);
    X509_free(ca->cert);
    free(ca);
}

void test_cert_write(struct test_ca *ca, const char *file, const char *cn, const char *cn2,
                     const char *ou, int days)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = cert_new(key, days);
    X509_NAME *name = X509_get_subject_name(cert);
    add_name(name, "OU", ou);
    add_name(name, "CN", cn);
    add_name(name, "CN", cn2);
    X509_set_issuer_name(cert, X509_get_subject_name(ca->cert));
    add_ext(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE");
    add_ext(cert, ca->cert, NID_ext_key_usage, "serverAuth,clientAuth");
    CHECK(X509_sign(cert, ca->key, EVP_sha256()) > 0);
    FILE *f = create(file, ".pem");
    CHECK(PEM_write_X509(f, cert));
    fclose(f);
    f = create(file, ".key");
    CHECK(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

struct net_tls_ctx *test_ctx(const char *ca_name, const char *file, int *ret_err)
{
    char ca[128], cert[128], key[128];
    snprintf(ca, sizeof(ca), "%s/%s.pem", certs_dir(), ca_name);
    snprintf(cert, sizeof(cert), "%s/%s.pem", certs_dir(), file);
    snprintf(key, sizeof(key), "%s/%s.key", certs_dir(), file);
    struct net_tls_config config = {.ca_file = ca, .cert_file = cert, .key_file = key};
    struct net_tls_ctx *ctx = NULL;
    struct buf text = {0};
    *ret_err = net_tls_ctx_new(&config, &ctx, &text);
    CHECK((*ret_err == 0) == (ctx != NULL) && (*ret_err == 0) == (text.len == 0));
    buf_fini(&text);
    return ctx;
}
