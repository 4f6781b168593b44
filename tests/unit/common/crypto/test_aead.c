/* AES-256-GCM and HKDF against published vectors. */
#include "common/base/err.h"
#include "common/crypto/aead.h"
#include "common/crypto/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void hex(const char *text, uint8_t *ret, size_t len)
{
    assert_true(hex_decode(slice_cstr(text), ret, len));
}

/* The Galois/Counter Mode of Operation (McGrew, Viega), test case 16. */
static void vector_16(void **state)
{
    uint8_t key[32], nonce[12], aad[20], plain[60], want[60], tag[16], out[60], got[16];
    struct aead a = {0};
    (void)state;
    hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key, 32);
    hex("cafebabefacedbaddecaf888", nonce, 12);
    hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad, 20);
    hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e24"
        "49a6b525b16aedf5aa0de657ba637b39",
        plain, 60);
    hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b10"
        "56828838c5f61e6393ba7a0abcc9f662",
        want, 60);
    hex("76fc6ece0f4e1768cddf8853bb2d551b", tag, 16);
    for (size_t cut = 0; cut <= 60; cut++) {
        assert_int_equal(aead_init(&a, key, true), OK);
        aead_begin(&a, nonce, SLICE(aad, 20));
        aead_update(&a, SLICE(plain, cut), out);
        aead_update(&a, SLICE(plain + cut, 60 - cut), out + cut);
        aead_seal_end(&a, got);
        assert_memory_equal(out, want, 60);
        assert_memory_equal(got, tag, 16);
        assert_int_equal(aead_init(&a, key, false), OK);
        for (int bad = -1; bad < 16; bad++) {
            if (bad >= 0)
                got[bad] ^= 1;
            aead_begin(&a, nonce, SLICE(aad, 20));
            aead_update(&a, SLICE(want, 60), out);
            assert_int_equal(aead_open_end(&a, got), bad < 0);
            if (bad >= 0)
                got[bad] ^= 1;
        }
        assert_memory_equal(out, plain, 60);
    }
    aead_fini(&a);
}

/* RFC 5869, A.1 (the first block of it), A.3. */
static void hkdf(void **state)
{
    uint8_t ikm[22], salt[13], info[10], want[32], got[32];
    (void)state;
    memset(ikm, 0x0b, sizeof(ikm));
    hex("000102030405060708090a0b0c", salt, 13);
    hex("f0f1f2f3f4f5f6f7f8f9", info, 10);
    hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf", want, 32);
    hkdf_sha256(SLICE(ikm, 22), SLICE(salt, 13), SLICE(info, 10), got);
    assert_memory_equal(got, want, 32);
    hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d", want, 32);
    hkdf_sha256(SLICE(ikm, 22), SLICE_EMPTY, SLICE_EMPTY, got);
    assert_memory_equal(got, want, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vector_16), cmocka_unit_test(hkdf)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
