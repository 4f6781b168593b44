/* Digests, CRCs and codecs against published vectors, and the laws that CRCs obey. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/crypto/codec.h"
#include "common/crypto/crc.h"
#include "common/crypto/digest.h"

#include <stdlib.h>

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_hex(const uint8_t *bytes, size_t len, const char *want)
{
    char hex[2 * DIGEST_BYTES_MAX + 1] = {0};
    hex_encode(SLICE(bytes, len), hex);
    assert_string_equal(hex, want);
}

static void digests_known(void **state)
{
    (void)state;
    uint8_t out[DIGEST_BYTES_MAX];
    digest_once(DIGEST_MD5, SLICE_LIT("abc"), out);
    assert_hex(out, 16, "900150983cd24fb0d6963f7d28e17f72");
    digest_once(DIGEST_SHA1, SLICE_LIT("abc"), out);
    assert_hex(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
    sha256(SLICE_EMPTY, out);
    assert_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    /* RFC 4231, test cases 1, 2 and 6 (a key longer than the block). */
    uint8_t key[131];
    memset(key, 0x0b, 20);
    hmac_sha256(SLICE(key, 20), SLICE_LIT("Hi There"), out);
    assert_hex(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256(SLICE_LIT("Jefe"), SLICE_LIT("what do ya want for nothing?"), out);
    assert_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 131);
    hmac_sha256(SLICE(key, 131),
                SLICE_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    assert_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    /* RFC 2202, test cases 2, 3 and 6. */
    hmac_sha1(SLICE_LIT("Jefe"), SLICE_LIT("what do ya want for nothing?"), out);
    assert_hex(out, 20, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    uint8_t data[50];
    memset(data, 0xdd, sizeof(data));
    hmac_sha1(SLICE(key, 20), SLICE(data, sizeof(data)), out);
    assert_hex(out, 20, "125d7342b9ac11cd91a39af48aa17b4f63f175d3");
    hmac_sha1(SLICE(key, 80), SLICE_LIT("Test Using Larger Than Block-Size Key - Hash Key First"),
              out);
    assert_hex(out, 20, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
}

static void digest_incremental_and_cloned(void **state)
{
    (void)state;
    struct digest d = {0}, copy = {0};
    uint8_t a[DIGEST_BYTES_MAX], b[DIGEST_BYTES_MAX];
    for (int kind = DIGEST_MD5; kind <= DIGEST_SHA256; kind++) {
        assert_int_equal(digest_init(&d, (enum digest_kind)kind), OK);
        digest_update(&d, SLICE_LIT("12345"));
        assert_int_equal(digest_clone(&copy, &d), OK);
        digest_update(&d, SLICE_LIT("6789"));
        digest_final(&d, a);
        digest_once((enum digest_kind)kind, SLICE_LIT("123456789"), b);
        assert_memory_equal(a, b, digest_bytes((enum digest_kind)kind));
        digest_final(&copy, a);
        digest_once((enum digest_kind)kind, SLICE_LIT("12345"), b);
        assert_memory_equal(a, b, digest_bytes((enum digest_kind)kind));
    }
    digest_fini(&d);
    digest_fini(&copy);
    assert_true(crypto_equal("abc", "abc", 3));
    assert_false(crypto_equal("abc", "abd", 3));
}

static void crc_known(void **state)
{
    (void)state;
    struct slice digits = SLICE_LIT("123456789");
    assert_int_equal(crc32_gzip(0, digits), 0xcbf43926u);
    assert_int_equal(crc32c(0, digits), 0xe3069283u);
    assert_true(crc64nvme(0, digits) == 0xae8b14860a799888ull);
    assert_true(crc64nvme_table(0, digits) == 0xae8b14860a799888ull);
    assert_true(crc64nvme(0, SLICE_EMPTY) == 0);
    /* NVM Express NVM Command Set specification: 4 KiB of zeros, and of ones. */
    static uint8_t block[4096];
    assert_true(crc64nvme(0, SLICE(block, 4096)) == 0x6482d367eb22b64eull);
    memset(block, 0xff, 4096);
    assert_true(crc64nvme(0, SLICE(block, 4096)) == 0xc0ddba7302eca3acull);
}

/* Bit by bit: what the definition says. */
static uint64_t crc64_slow(struct slice s)
{
    uint64_t crc = ~0ull;
    for (size_t i = 0; i < s.len; i++) {
        crc ^= s.ptr[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x9a6c9329ac4bc9b5ull : crc >> 1;
    }
    return ~crc;
}

static void crc64_agrees_with_definition(void **state)
{
    (void)state;
    static uint8_t data[1200];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(hash64(7, SLICE(&i, sizeof(i))));
    for (size_t len = 0; len <= 1180; len++) {
        struct slice s = SLICE(data + len % 17, len);
        uint64_t want = crc64_slow(s);
        assert_true(crc64nvme(0, s) == want);
        assert_true(crc64nvme_table(0, s) == want);
    }
}

static void crc_split_and_combined(void **state)
{
    (void)state;
    static uint8_t data[3000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * i >> 3);
    struct slice all = SLICE(data, sizeof(data));
    uint64_t whole = crc64nvme(0, all);
    uint32_t whole32 = crc32_gzip(0, all), whole32c = crc32c(0, all);
    for (size_t cut = 0; cut <= sizeof(data); cut += cut < 300 ? 1 : 113) {
        struct slice a = SLICE(data, cut), b = SLICE(data + cut, sizeof(data) - cut);
        assert_true(crc64nvme(crc64nvme(0, a), b) == whole);
        assert_int_equal(crc32_gzip(crc32_gzip(0, a), b), whole32);
        assert_true(crc64nvme_combine(crc64nvme(0, a), crc64nvme(0, b), b.len) == whole);
        assert_int_equal(crc32_gzip_combine(crc32_gzip(0, a), crc32_gzip(0, b), b.len), whole32);
        assert_int_equal(crc32c_combine(crc32c(0, a), crc32c(0, b), b.len), whole32c);
    }
}

/* Combining over a length whose bits do not fit once multiplied by eight. */
static void crc_combine_is_associative_for_huge_lengths(void **state)
{
    (void)state;
    uint64_t a = 0x123456789abcdef0ull, b = 0xfeedfacecafebeefull, c = 0x0badc0de;
    uint64_t len_b = 5ull << 40, len_c = (1ull << 62) + 12345;
    uint64_t left = crc64nvme_combine(crc64nvme_combine(a, b, len_b), c, len_c);
    uint64_t right = crc64nvme_combine(a, crc64nvme_combine(b, c, len_c), len_b + len_c);
    assert_true(left == right);
}

static void base64_strict(void **state)
{
    (void)state;
    static const struct {
        const char *plain, *text;
    } known[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        char text[16] = {0};
        uint8_t plain[16] = {0};
        text[base64_encode(slice_cstr(known[i].plain), text)] = 0;
        assert_string_equal(text, known[i].text);
        assert_int_equal(base64_decode(slice_cstr(text), plain, 6), strlen(known[i].plain));
        assert_string_equal((char *)plain, known[i].plain);
    }
    static const char *const bad[] = {
        "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm 9", "Zm9v\n", "Zg==Zg==", "Zm-v", "=Zg="};
    uint8_t out[16];
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(base64_decode(slice_cstr(bad[i]), out, sizeof(out)), -1);
    assert_int_equal(base64_decode(SLICE_LIT("Zm9vYmFy"), out, 5), -1);
    char text[16] = {0};
    text[base64url_encode(SLICE_LIT("\xfb\xff"), text)] = 0;
    assert_string_equal(text, "-_8");
    assert_int_equal(base64url_decode(SLICE_LIT("-_8"), out, 2), 2);
    assert_int_equal(base64url_decode(SLICE_LIT("-_9"), out, 2), -1);
    assert_false(hex_decode(SLICE_LIT("0g"), out, 1));
    assert_false(hex_decode(SLICE_LIT("0a0"), out, 1));
    assert_true(hex_decode(SLICE_LIT("fF00"), out, 2));
    assert_int_equal(out[0], 0xff);
    for (unsigned i = 0; i < 65536; i++) { /* every pair of bytes */
        const char pair[3] = {(char)(i >> 8), (char)i, 0};
        char *end = NULL;
        bool fine = isxdigit((uint8_t)pair[0]) && isxdigit((uint8_t)pair[1]);
        assert_true(hex_decode(SLICE(pair, 2), out, 1) == fine);
        assert_true(!fine || out[0] == strtoul(pair, &end, 16));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_known),
        cmocka_unit_test(digest_incremental_and_cloned),
        cmocka_unit_test(crc_known),
        cmocka_unit_test(crc64_agrees_with_definition),
        cmocka_unit_test(crc_split_and_combined),
        cmocka_unit_test(crc_combine_is_associative_for_huge_lengths),
        cmocka_unit_test(base64_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
