/* EVP with algorithms fetched once: in OpenSSL 3 an implicit fetch at each start costs more than
 * hashing a small request.  One-shots use one context a thread, for the same reason. */
#include "common/crypto/digest.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

static EVP_MD *algorithms[3];
static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static pthread_key_t scratch_key;
static _Thread_local EVP_MD_CTX *scratch;

static void scratch_free(void *ctx)
{
    EVP_MD_CTX_free(ctx);
}

static void fetch(void)
{
    algorithms[DIGEST_MD5] = EVP_MD_fetch(NULL, "MD5", NULL);
    algorithms[DIGEST_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
    algorithms[DIGEST_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
    CHECK(algorithms[DIGEST_MD5] && algorithms[DIGEST_SHA1] && algorithms[DIGEST_SHA256]);
    CHECK(pthread_key_create(&scratch_key, scratch_free) == 0);
}

static EVP_MD *algorithm(enum digest_kind kind)
{
    pthread_once(&fetched, fetch);
    return algorithms[kind];
}

static EVP_MD_CTX *scratch_ctx(void)
{
    if (!scratch) {
        pthread_once(&fetched, fetch);
        scratch = EVP_MD_CTX_new();
        CHECK(scratch);
        CHECK(pthread_setspecific(scratch_key, scratch) == 0);
    }
    return scratch;
}

size_t digest_bytes(enum digest_kind kind)
{
    return kind == DIGEST_MD5 ? MD5_BYTES : kind == DIGEST_SHA1 ? SHA1_BYTES : SHA256_BYTES;
}

int digest_init(struct digest *d, enum digest_kind kind)
{
    if (!d->ctx)
        d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || EVP_DigestInit_ex(d->ctx, algorithm(kind), NULL) != 1)
        return ERR_NOMEM;
    d->kind = kind;
    return OK;
}

void digest_update(struct digest *d, struct slice s)
{
    if (s.len)
        CHECK(EVP_DigestUpdate(d->ctx, s.ptr, s.len) == 1);
}

void digest_final(struct digest *d, uint8_t *ret)
{
    CHECK(EVP_DigestFinal_ex(d->ctx, ret, NULL) == 1);
}

void digest_fini(struct digest *d)
{
    EVP_MD_CTX_free(d->ctx);
    d->ctx = NULL;
}

int digest_clone(struct digest *to, const struct digest *from)
{
    if (!to->ctx)
        to->ctx = EVP_MD_CTX_new();
    if (!to->ctx || EVP_MD_CTX_copy_ex(to->ctx, from->ctx) != 1)
        return ERR_NOMEM;
    to->kind = from->kind;
    return OK;
}

void digest_once(enum digest_kind kind, struct slice s, uint8_t *ret)
{
    EVP_MD_CTX *ctx = scratch_ctx();
    CHECK(EVP_DigestInit_ex(ctx, algorithm(kind), NULL) == 1);
    if (s.len)
        CHECK(EVP_DigestUpdate(ctx, s.ptr, s.len) == 1);
    CHECK(EVP_DigestFinal_ex(ctx, ret, NULL) == 1);
}

void sha256(struct slice s, uint8_t ret[SHA256_BYTES])
{
    digest_once(DIGEST_SHA256, s, ret);
}

/* RFC 2104 over a block of 64 bytes. */
void hmac_sha256(struct slice key, struct slice data, uint8_t ret[SHA256_BYTES])
{
    uint8_t block[64] = {0}, inner[SHA256_BYTES];
    EVP_MD_CTX *ctx = scratch_ctx();
    EVP_MD *md = algorithm(DIGEST_SHA256);
    if (key.len > sizeof(block))
        sha256(key, block);
    else if (key.len)
        memcpy(block, key.ptr, key.len);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36;
    CHECK(EVP_DigestInit_ex(ctx, md, NULL) == 1 &&
          EVP_DigestUpdate(ctx, block, sizeof(block)) == 1);
    if (data.len)
        CHECK(EVP_DigestUpdate(ctx, data.ptr, data.len) == 1);
    CHECK(EVP_DigestFinal_ex(ctx, inner, NULL) == 1);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36 ^ 0x5c;
    CHECK(EVP_DigestInit_ex(ctx, md, NULL) == 1 &&
          EVP_DigestUpdate(ctx, block, sizeof(block)) == 1 &&
          EVP_DigestUpdate(ctx, inner, sizeof(inner)) == 1 &&
          EVP_DigestFinal_ex(ctx, ret, NULL) == 1);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(inner, sizeof(inner));
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void crypto_wipe(void *ptr, size_t len)
{
    OPENSSL_cleanse(ptr, len);
}
