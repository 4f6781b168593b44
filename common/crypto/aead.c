/* EVP's GCM with the cipher fetched once, and HKDF out of HMAC. */
#include "common/crypto/aead.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/crypto/digest.h"

#include <openssl/evp.h>
#include <pthread.h>

static EVP_CIPHER *cipher;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    CHECK(cipher);
}

int aead_init(struct aead *a, const uint8_t key[AEAD_KEY_BYTES], bool seals)
{
    pthread_once(&fetched, fetch);
    if (!a->ctx)
        a->ctx = EVP_CIPHER_CTX_new();
    if (!a->ctx || EVP_CipherInit_ex2(a->ctx, cipher, key, NULL, seals, NULL) != 1) {
        aead_fini(a);
        return ERR_NOMEM;
    }
    a->seals = seals;
    return OK;
}

void aead_begin(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], struct slice aad)
{
    int n;
    CHECK(EVP_CipherInit_ex2(a->ctx, NULL, NULL, nonce, a->seals, NULL) == 1);
    if (aad.len)
        CHECK(EVP_CipherUpdate(a->ctx, NULL, &n, aad.ptr, (int)aad.len) == 1);
}

void aead_update(struct aead *a, struct slice in, uint8_t *out)
{
    int n = 0;
    CHECK(in.len <= INT32_MAX);
    if (in.len)
        CHECK(EVP_CipherUpdate(a->ctx, out, &n, in.ptr, (int)in.len) == 1 && n == (int)in.len);
}

void aead_seal_end(struct aead *a, uint8_t ret_tag[AEAD_TAG_BYTES])
{
    uint8_t none[16];
    int n;
    CHECK(a->seals && EVP_CipherFinal_ex(a->ctx, none, &n) == 1 && n == 0);
    CHECK(EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, ret_tag) == 1);
}

bool aead_open_end(struct aead *a, const uint8_t tag[AEAD_TAG_BYTES])
{
    uint8_t none[16], copy[AEAD_TAG_BYTES];
    int n;
    memcpy(copy, tag, sizeof(copy));
    CHECK(!a->seals &&
          EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, copy) == 1);
    return EVP_CipherFinal_ex(a->ctx, none, &n) == 1;
}

void aead_fini(struct aead *a)
{
    EVP_CIPHER_CTX_free(a->ctx); /* wipes */
    a->ctx = NULL;
}

void hkdf_sha256(struct slice key, struct slice salt, struct slice info, uint8_t ret[32])
{
    uint8_t prk[SHA256_BYTES], block[128];
    CHECK(info.len < sizeof(block));
    hmac_sha256(salt, key, prk);
    if (info.len)
        memcpy(block, info.ptr, info.len);
    block[info.len] = 1;
    hmac_sha256(SLICE(prk, sizeof(prk)), SLICE(block, info.len + 1), ret);
    crypto_wipe(prk, sizeof(prk));
}
