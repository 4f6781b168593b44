/* The provider: one cipher, as OpenSSL's provider-cipher(7) wants it.  What it can do is what TLS
 * records need: nonces of 12 bytes, tags of 16, associated data up to AAD_BYTES_MAX. */
#include "common/env_uv/net_tls_gcm.h"

#include "common/base/check.h"

#if defined(__x86_64__)
#include <intel-ipsec-mb.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#define PROVIDER_NAME "cairn"
#define KEY_BYTES 16u
#define NONCE_BYTES 12u
#define TAG_BYTES 16u
#define AAD_BYTES_MAX 64u

/* The library's functions for this processor; they keep no state of their own. */
static struct {
    aes_gcm_pre_t key_prepare;
    aes_gcm_init_t begin;
    aes_gcm_enc_dec_update_t encrypt, decrypt;
    aes_gcm_enc_dec_finalize_t encrypt_end, decrypt_end;
} gcm;

struct gcm_cipher {
    struct gcm_key_data key;
    struct gcm_context_data message;
    uint8_t nonce[NONCE_BYTES];
    uint8_t aad[AAD_BYTES_MAX];
    size_t aad_len;
    uint8_t tag[TAG_BYTES]; /* made, or to be compared with */
    bool encrypts, has_key, has_nonce, has_tag, begun;
};

/* ---- life ---- */

static void *cipher_new(void *provider)
{
    (void)provider;
    size_t align = _Alignof(struct gcm_cipher);
    struct gcm_cipher *c = aligned_alloc(align, (sizeof(*c) + align - 1) / align * align);
    if (c)
        memset(c, 0, sizeof(*c));
    return c;
}

static void cipher_free(void *arg)
{
    if (arg)
        OPENSSL_cleanse(arg, sizeof(struct gcm_cipher));
    free(arg);
}

/* ---- parameters ---- */

static const OSSL_PARAM *settable(void *arg, void *provider)
{
    static const OSSL_PARAM list[] = {
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, NULL),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg;
    (void)provider;
    return list;
}

static const OSSL_PARAM *gettable(void *arg, void *provider)
{
    static const OSSL_PARAM list[] = {
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, NULL),
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg;
    (void)provider;
    return list;
}

static int cipher_set(void *arg, const OSSL_PARAM params[])
{
    struct gcm_cipher *c = arg;
    for (const OSSL_PARAM *p = params; p && p->key; p++) {
        size_t size = 0;
        if (strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN) == 0) {
            if (!OSSL_PARAM_get_size_t(p, &size) || size != KEY_BYTES)
                return 0;
        } else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_IVLEN) == 0) {
            if (!OSSL_PARAM_get_size_t(p, &size) || size != NONCE_BYTES)
                return 0;
        } else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0) {
            if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != TAG_BYTES ||
                (p->data && c->encrypts))
                return 0;
            if (p->data)
                memcpy(c->tag, p->data, TAG_BYTES);
            c->has_tag = p->data != NULL;
        }
    }
    return 1;
}

static int set_size(OSSL_PARAM params[], const char *name, size_t value)
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
    return !p || OSSL_PARAM_set_size_t(p, value);
}

static int cipher_get(void *arg, OSSL_PARAM params[])
{
    const struct gcm_cipher *c = arg;
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_AEAD_TAG);
    if (p && (!c->encrypts || !c->has_tag || p->data_size != TAG_BYTES ||
              !OSSL_PARAM_set_octet_string(p, c->tag, TAG_BYTES)))
        return 0;
    return set_size(params, OSSL_CIPHER_PARAM_KEYLEN, KEY_BYTES) &&
           set_size(params, OSSL_CIPHER_PARAM_IVLEN, NONCE_BYTES) &&
           set_size(params, OSSL_CIPHER_PARAM_AEAD_TAGLEN, TAG_BYTES);
}

/* Of the algorithm, without a context. */
static int cipher_describe(OSSL_PARAM params[])
{
    static const char *const flags[] = {OSSL_CIPHER_PARAM_AEAD, OSSL_CIPHER_PARAM_CUSTOM_IV};
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_MODE);
    if (p && !OSSL_PARAM_set_uint(p, EVP_CIPH_GCM_MODE))
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        p = OSSL_PARAM_locate(params, flags[i]);
        if (p && !OSSL_PARAM_set_int(p, 1))
            return 0;
    }
    return set_size(params, OSSL_CIPHER_PARAM_BLOCK_SIZE, 1) &&
           set_size(params, OSSL_CIPHER_PARAM_KEYLEN, KEY_BYTES) &&
           set_size(params, OSSL_CIPHER_PARAM_IVLEN, NONCE_BYTES);
}

/* ---- a message ---- */

/* A key stays for many messages, a nonce for one. */
static int message_init(struct gcm_cipher *c, const unsigned char *key, size_t key_bytes,
                        const unsigned char *nonce, size_t nonce_bytes, const OSSL_PARAM params[])
{
    if ((key && key_bytes != KEY_BYTES) || (nonce && nonce_bytes != NONCE_BYTES))
        return 0;
    if (key)
        gcm.key_prepare(key, &c->key);
    if (nonce)
        memcpy(c->nonce, nonce, NONCE_BYTES);
    c->has_key |= key != NULL;
    c->has_nonce = nonce != NULL;
    c->has_tag = c->begun = false;
    c->aad_len = 0;
    return cipher_set(c, params);
}

static int encrypt_init(void *arg, const unsigned char *key, size_t key_bytes,
                        const unsigned char *nonce, size_t nonce_bytes, const OSSL_PARAM params[])
{
    struct gcm_cipher *c = arg;
    c->encrypts = true;
    return message_init(c, key, key_bytes, nonce, nonce_bytes, params);
}

static int decrypt_init(void *arg, const unsigned char *key, size_t key_bytes,
                        const unsigned char *nonce, size_t nonce_bytes, const OSSL_PARAM params[])
{
    struct gcm_cipher *c = arg;
    c->encrypts = false;
    return message_init(c, key, key_bytes, nonce, nonce_bytes, params);
}

/* The associated data are complete. */
static void message_begin(struct gcm_cipher *c)
{
    if (!c->begun)
        gcm.begin(&c->key, &c->message, c->nonce, c->aad, c->aad_len);
    c->begun = true;
}

static int message_update(void *arg, unsigned char *out, size_t *ret_len, size_t out_size,
                          const unsigned char *in, size_t len)
{
    struct gcm_cipher *c = arg;
    if (!c->has_key || !c->has_nonce)
        return 0;
    *ret_len = len;
    if (!out) {
        if (c->begun || len > AAD_BYTES_MAX - c->aad_len)
            return 0;
        if (len > 0)
            memcpy(c->aad + c->aad_len, in, len);
        c->aad_len += len;
        return 1;
    }
    if (out_size < len)
        return 0;
    message_begin(c);
    if (len > 0)
        (c->encrypts ? gcm.encrypt : gcm.decrypt)(&c->key, &c->message, out, in, len);
    return 1;
}

static int message_final(void *arg, unsigned char *out, size_t *ret_len, size_t out_size)
{
    struct gcm_cipher *c = arg;
    (void)out;
    (void)out_size;
    if (!c->has_key || !c->has_nonce || (!c->encrypts && !c->has_tag))
        return 0;
    *ret_len = 0;
    message_begin(c);
    c->has_nonce = false; /* never for a second message */
    if (c->encrypts) {
        gcm.encrypt_end(&c->key, &c->message, c->tag, TAG_BYTES);
        c->has_tag = true;
        return 1;
    }
    uint8_t tag[TAG_BYTES];
    gcm.decrypt_end(&c->key, &c->message, tag, TAG_BYTES);
    int same = CRYPTO_memcmp(tag, c->tag, TAG_BYTES) == 0;
    c->has_tag = false;
    OPENSSL_cleanse(tag, sizeof(tag));
    return same;
}

/* ---- the provider ---- */

static const OSSL_DISPATCH cipher_functions[] = {
    {OSSL_FUNC_CIPHER_NEWCTX, (void (*)(void))cipher_new},
    {OSSL_FUNC_CIPHER_FREECTX, (void (*)(void))cipher_free},
    {OSSL_FUNC_CIPHER_ENCRYPT_INIT, (void (*)(void))encrypt_init},
    {OSSL_FUNC_CIPHER_DECRYPT_INIT, (void (*)(void))decrypt_init},
    {OSSL_FUNC_CIPHER_UPDATE, (void (*)(void))message_update},
    {OSSL_FUNC_CIPHER_FINAL, (void (*)(void))message_final},
    {OSSL_FUNC_CIPHER_GET_PARAMS, (void (*)(void))cipher_describe},
    {OSSL_FUNC_CIPHER_GET_CTX_PARAMS, (void (*)(void))cipher_get},
    {OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, (void (*)(void))gettable},
    {OSSL_FUNC_CIPHER_SET_CTX_PARAMS, (void (*)(void))cipher_set},
    {OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, (void (*)(void))settable},
    {0, NULL},
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *ret_no_cache)
{
    static const OSSL_ALGORITHM ciphers[] = {
        {"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6", "provider=" PROVIDER_NAME,
         cipher_functions, "AES-128-GCM with vector AES"},
        {NULL, NULL, NULL, NULL},
    };
    (void)provider;
    *ret_no_cache = 0;
    return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **ret, void **ret_provider)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))provider_query},
        {0, NULL},
    };
    (void)core;
    (void)in;
    *ret = functions;
    *ret_provider = &gcm;
    return 1;
}

/* false: not this processor. */
static bool library_open(void)
{
    const uint64_t wanted = IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;
    IMB_MGR *m = alloc_mb_mgr(0);
    if (!m)
        return false;
    IMB_ARCH arch = IMB_ARCH_NONE;
    init_mb_mgr_auto(m, &arch);
    bool suits = arch == IMB_ARCH_AVX512 && (m->features & wanted) == wanted;
    gcm.key_prepare = m->gcm128_pre;
    gcm.begin = m->gcm128_init;
    gcm.encrypt = m->gcm128_enc_update;
    gcm.decrypt = m->gcm128_dec_update;
    gcm.encrypt_end = m->gcm128_enc_finalize;
    gcm.decrypt_end = m->gcm128_dec_finalize;
    free_mb_mgr(m);
    return suits;
}

static OSSL_PROVIDER *loaded;
static once_flag once = ONCE_FLAG_INIT;

static void unload(void)
{
    OSSL_PROVIDER_unload(loaded);
    loaded = NULL;
}

static void open_once(void)
{
    /* The default provider stays what is loaded when nobody has named one. */
    if (library_open() && OSSL_PROVIDER_add_builtin(NULL, PROVIDER_NAME, provider_init) == 1)
        loaded = OSSL_PROVIDER_try_load(NULL, PROVIDER_NAME, 1);
    if (loaded)
        (void)OPENSSL_atexit(unload);
}

const char *net_tls_gcm_properties(void)
{
    call_once(&once, open_once);
    return loaded ? "?provider=" PROVIDER_NAME : NULL;
}

#else

const char *net_tls_gcm_properties(void)
{
    return NULL;
}
#endif
