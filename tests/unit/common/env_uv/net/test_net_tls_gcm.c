/* The provider's AES-128-GCM against OpenSSL's own. */
#include "common/base/check.h"
#include "common/env_uv/net_tls_gcm.h"

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TAG_BYTES 16
#define DATA_BYTES_MAX 20000

static EVP_CIPHER *ours, *theirs;
static uint8_t key[16], nonce[12], aad[64], data[DATA_BYTES_MAX];

static int setup(void **state)
{
    (void)state;
    const char *properties = net_tls_gcm_properties();
    if (properties)
        ours = EVP_CIPHER_fetch(NULL, "AES-128-GCM", properties);
    theirs = EVP_CIPHER_fetch(NULL, "AES-128-GCM", "provider=default");
    srandom(1);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)random();
    memcpy(key, data, sizeof(key));
    memcpy(nonce, data + 100, sizeof(nonce));
    memcpy(aad, data + 200, sizeof(aad));
    return theirs && (!properties || ours) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    EVP_CIPHER_free(ours);
    EVP_CIPHER_free(theirs);
    return 0;
}

static void need_provider(void)
{
    if (!ours) {
        print_message("this processor has no vector AES\n");
        skip();
    }
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(ours)), "cairn");
}

/* As libssl does it: the key once, then a nonce for each message. */
static EVP_CIPHER_CTX *keyed(EVP_CIPHER *cipher, int encrypt)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    assert_non_null(c);
    assert_int_equal(EVP_CipherInit_ex(c, cipher, NULL, NULL, NULL, encrypt), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_IVLEN, sizeof(nonce), NULL), 1);
    assert_int_equal(EVP_CipherInit_ex(c, NULL, NULL, key, NULL, -1), 1);
    return c;
}

static void seal(EVP_CIPHER_CTX *c, size_t aad_len, const uint8_t *in, size_t len, size_t piece,
                 uint8_t *out, uint8_t tag[TAG_BYTES])
{
    int n = 0;
    assert_int_equal(EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, 1), 1);
    assert_int_equal(EVP_CipherUpdate(c, NULL, &n, aad, (int)aad_len), 1);
    for (size_t at = 0; at < len; at += piece) {
        int want = (int)MIN(piece, len - at);
        assert_int_equal(EVP_CipherUpdate(c, out + at, &n, in + at, want), 1);
        assert_int_equal(n, want);
    }
    assert_int_equal(EVP_CipherFinal_ex(c, out + len, &n), 1);
    assert_int_equal(n, 0);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag), 1);
}

/* Returns: was it authentic? */
static bool open_sealed(EVP_CIPHER_CTX *c, size_t aad_len, uint8_t *in_place, size_t len,
                        const uint8_t tag[TAG_BYTES])
{
    int n = 0;
    uint8_t copy[TAG_BYTES];
    memcpy(copy, tag, sizeof(copy));
    assert_int_equal(EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, 0), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, copy), 1);
    assert_int_equal(EVP_CipherUpdate(c, NULL, &n, aad, (int)aad_len), 1);
    if (len > 0)
        assert_int_equal(EVP_CipherUpdate(c, in_place, &n, in_place, (int)len), 1);
    return EVP_CipherFinal_ex(c, in_place + len, &n) == 1;
}

static void same_as_openssl(void **state)
{
    (void)state;
    need_provider();
    static const size_t sizes[] = {0,   1,   15,   16,   17,   31,    63,    64,   255,
                                   256, 257, 1000, 4095, 4096, 16384, 16385, 19999};
    static const size_t aad_sizes[] = {0, 5, 13, 64};
    static uint8_t a[DATA_BYTES_MAX], b[DATA_BYTES_MAX];
    uint8_t tag_a[TAG_BYTES], tag_b[TAG_BYTES];
    EVP_CIPHER_CTX *mine = keyed(ours, 1), *yours = keyed(theirs, 1), *back = keyed(ours, 0);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        for (size_t k = 0; k < ARRAY_COUNT(aad_sizes); k++) {
            size_t len = sizes[i];
            nonce[0]++;
            seal(yours, aad_sizes[k], data, len, DATA_BYTES_MAX, b, tag_b);
            memcpy(a, data, len);
            seal(mine, aad_sizes[k], a, len, k % 2 ? 1 + len / 3 : DATA_BYTES_MAX, a, tag_a);
            assert_memory_equal(tag_a, tag_b, TAG_BYTES);
            assert_memory_equal(a, b, len);
            assert_true(open_sealed(back, aad_sizes[k], a, len, tag_a));
            assert_memory_equal(a, data, len);
        }
    }
    EVP_CIPHER_CTX_free(mine);
    EVP_CIPHER_CTX_free(yours);
    EVP_CIPHER_CTX_free(back);
}

static void forgeries_are_refused(void **state)
{
    (void)state;
    need_provider();
    static uint8_t sealed[DATA_BYTES_MAX], work[DATA_BYTES_MAX];
    uint8_t tag[TAG_BYTES];
    EVP_CIPHER_CTX *c = keyed(ours, 1), *back = keyed(ours, 0);
    size_t len = 1000;
    seal(c, 5, data, len, len, sealed, tag);
    for (size_t bit = 0; bit < 8 * len; bit += 37) {
        memcpy(work, sealed, len);
        work[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(open_sealed(back, 5, work, len, tag));
    }
    for (size_t bit = 0; bit < 8 * TAG_BYTES; bit++) {
        memcpy(work, sealed, len);
        tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(open_sealed(back, 5, work, len, tag));
        tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    memcpy(work, sealed, len);
    assert_false(open_sealed(back, 6, work, len, tag)); /* other associated data */
    memcpy(work, sealed, len);
    assert_true(open_sealed(back, 5, work, len, tag));
    EVP_CIPHER_CTX_free(c);
    EVP_CIPHER_CTX_free(back);
}

/* What would weaken the cipher is an error, not a habit of its callers. */
static void misuse_is_refused(void **state)
{
    (void)state;
    need_provider();
    uint8_t out[64], tag[TAG_BYTES];
    int n = 0;
    EVP_CIPHER_CTX *c = keyed(ours, 1);
    assert_int_equal(EVP_CipherUpdate(c, out, &n, data, 16), 0); /* no nonce yet */
    seal(c, 5, data, 16, 16, out, tag);
    assert_int_equal(EVP_CipherUpdate(c, out, &n, data, 16), 0); /* the nonce is used up */
    assert_int_equal(EVP_CipherFinal_ex(c, out, &n), 0);
    assert_int_equal(EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, 1), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag), 0); /* none */
    assert_int_equal(EVP_CipherUpdate(c, NULL, &n, data, 65), 0); /* too much to remember */
    assert_int_equal(EVP_CipherUpdate(c, out, &n, data, 16), 1);
    assert_int_equal(EVP_CipherUpdate(c, NULL, &n, data, 5), 0); /* too late */
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_IVLEN, 8, NULL), 0);
    EVP_CIPHER_CTX_free(c);

    c = keyed(ours, 0);
    assert_int_equal(EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, 0), 1);
    assert_int_equal(EVP_CipherUpdate(c, out, &n, data, 16), 1);
    assert_int_equal(EVP_CipherFinal_ex(c, out, &n), 0); /* nothing to compare with */
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, 8, tag), 0); /* too short */
    EVP_CIPHER_CTX_free(c);
}

/* Whoever asks for nothing special is served as before, and other algorithms are still there. */
static void others_are_not_affected(void **state)
{
    (void)state;
    need_provider();
    EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);
    assert_non_null(md);
    EVP_MD_free(md);
    EVP_CIPHER *other = EVP_CIPHER_fetch(NULL, "AES-256-GCM", net_tls_gcm_properties());
    assert_non_null(other);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(other)), "default");
    EVP_CIPHER_free(other);
    assert_string_equal(net_tls_gcm_properties(), net_tls_gcm_properties());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_openssl),
        cmocka_unit_test(forgeries_are_refused),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(others_are_not_affected),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
