/* EVP with algorithms fetched once: in OpenSSL 3 an implicit fetch at each start costs more than
 * hashing a small request.  One-shots go below EVP, which allocates at every start and so could
 * fail: a signature is never left unchecked, nor a process ended, for lack of memory. */
#define OPENSSL_SUPPRESS_DEPRECATED /* those functions, of which OpenSSL would rather see none used */
#include "common/crypto/digest.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <pthread.h>

static EVP_MD *algorithms[3];
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    algorithms[DIGEST_MD5] = EVP_MD_fetch(NULL, "MD5", NULL);
    algorithms[DIGEST_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
    algorithms[DIGEST_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
    CHECK(algorithms[DIGEST_MD5] && algorithms[DIGEST_SHA1] && algorithms[DIGEST_SHA256]);
}

void digest_prepare(void)
{
    pthread_once(&fetched, fetch);
}

static EVP_MD *algorithm(enum digest_kind kind)
{
    digest_prepare();
    return algorithms[kind];
}

size_t digest_bytes(enum digest_kind kind)
{
    return kind == DIGEST_MD5 ? MD5_BYTES : kind == DIGEST_SHA1 ? SHA1_BYTES : SHA256_BYTES;
}

int digest_init(struct digest *d, enum digest_kind kind)
{
    if (!d->ctx)
        d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || EVP_DigestInit_ex(d->ctx, algorithm(kind), NULL) != 1) {
        digest_fini(d);
        return ERR_NOMEM;
    }
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
    if (!to->ctx || EVP_MD_CTX_copy_ex(to->ctx, from->ctx) != 1) {
        digest_fini(to);
        return ERR_NOMEM;
    }
    to->kind = from->kind;
    return OK;
}

void digest_once(enum digest_kind kind, struct slice s, uint8_t *ret)
{
    union {
        MD5_CTX md5;
        SHA_CTX sha1;
        SHA256_CTX sha256;
    } ctx;
    switch (kind) {
    case DIGEST_MD5:
        MD5_Init(&ctx.md5);
        MD5_Update(&ctx.md5, s.ptr, s.len);
        MD5_Final(ret, &ctx.md5);
        break;
    case DIGEST_SHA1:
        SHA1_Init(&ctx.sha1);
        SHA1_Update(&ctx.sha1, s.ptr, s.len);
        SHA1_Final(ret, &ctx.sha1);
        break;
    default:
        SHA256_Init(&ctx.sha256);
        SHA256_Update(&ctx.sha256, s.ptr, s.len);
        SHA256_Final(ret, &ctx.sha256);
    }
}

void sha256(struct slice s, uint8_t ret[SHA256_BYTES])
{
    digest_once(DIGEST_SHA256, s, ret);
}

/* RFC 2104: both have a block of 64 bytes. */
#define HMAC_BLOCK_BYTES 64

static void hmac_block(enum digest_kind kind, struct slice key, uint8_t ret[HMAC_BLOCK_BYTES])
{
    memset(ret, 0, HMAC_BLOCK_BYTES);
    if (key.len > HMAC_BLOCK_BYTES)
        digest_once(kind, key, ret);
    else if (key.len)
        memcpy(ret, key.ptr, key.len);
    for (size_t i = 0; i < HMAC_BLOCK_BYTES; i++)
        ret[i] ^= 0x36;
}

void hmac_sha1(struct slice key, struct slice data, uint8_t ret[SHA1_BYTES])
{
    uint8_t block[HMAC_BLOCK_BYTES], inner[SHA1_BYTES];
    SHA_CTX ctx;
    hmac_block(DIGEST_SHA1, key, block);
    SHA1_Init(&ctx);
    SHA1_Update(&ctx, block, sizeof(block));
    SHA1_Update(&ctx, data.ptr, data.len);
    SHA1_Final(inner, &ctx);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36 ^ 0x5c;
    SHA1_Init(&ctx);
    SHA1_Update(&ctx, block, sizeof(block));
    SHA1_Update(&ctx, inner, sizeof(inner));
    SHA1_Final(ret, &ctx);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(inner, sizeof(inner));
    OPENSSL_cleanse(&ctx, sizeof(ctx));
}

void hmac_sha256(struct slice key, struct slice data, uint8_t ret[SHA256_BYTES])
{
    uint8_t block[HMAC_BLOCK_BYTES], inner[SHA256_BYTES];
    SHA256_CTX ctx;
    hmac_block(DIGEST_SHA256, key, block);
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, block, sizeof(block));
    SHA256_Update(&ctx, data.ptr, data.len);
    SHA256_Final(inner, &ctx);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, block, sizeof(block));
    SHA256_Update(&ctx, inner, sizeof(inner));
    SHA256_Final(ret, &ctx);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(inner, sizeof(inner));
    OPENSSL_cleanse(&ctx, sizeof(ctx));
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void crypto_wipe(void *ptr, size_t len)
{
    OPENSSL_cleanse(ptr, len);
}
