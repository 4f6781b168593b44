/* Authentication of any request text.  Nothing but the right signature passes; and when the
 * fuzzer's request is well formed, signing it makes it pass. */
#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/sigv2.h"
#include "tests/fuzz/request_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_MS 1369353600000ull /* 2013-05-24 */
#define SECRET SLICE_LIT("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")

/* Of version 2 the signature is compared as text, so it is written as text. */
static void check_v2(const struct s3_request *r, struct sigv4_auth *a, struct s3_fault *f)
{
    uint8_t mac[SHA1_BYTES];
    char right[BASE64_CHARS(SHA1_BYTES)];
    struct buf text = {0}, document = {0};
    (void)sigv4_check_scope(r, a, SLICE_LIT("us-east-1"), NOW_MS, f);
    bool passed = sigv2_verify(r, a, SECRET, f) == S3_OK;
    s3_error_document(&document, f, r->path, SLICE_LIT("id"), SLICE_LIT("host"));
    buf_fini(&document);
    sigv2_string_to_sign(&text, r, a);
    hmac_sha1(SECRET, buf_view(&text), mac);
    base64_encode(SLICE(mac, sizeof(mac)), right);
    CHECK(passed == slice_eq(a->signature_text, SLICE(right, sizeof(right))));
    a->signature_text = SLICE(right, sizeof(right));
    CHECK(sigv2_verify(r, a, SECRET, f) == S3_OK);
    right[mac[0] % (sizeof(right) - 2)] ^= 1; /* another letter, or none */
    CHECK(sigv2_verify(r, a, SECRET, f) == S3_SIGNATURE_DOES_NOT_MATCH);
    buf_fini(&text);
}

static void check(const struct s3_request *r, struct sigv4_auth *a, struct s3_fault *f)
{
    uint8_t key[SHA256_BYTES];
    struct buf canonical = {0}, text = {0};
    (void)sigv4_check_scope(r, a, SLICE_LIT("us-east-1"), NOW_MS, f);
    sigv4_signing_key(SECRET, a->scope_date, a->region, a->service, key);
    bool passed = sigv4_verify(r, a, key, f) == S3_OK;
    struct buf document = {0};
    s3_error_document(&document, f, r->path, SLICE_LIT("id"), SLICE_LIT("host"));
    buf_fini(&document);
    sigv4_canonical_request(&canonical, r, a);
    sigv4_string_to_sign(&text, a, buf_view(&canonical));
    uint8_t mac[SHA256_BYTES];
    hmac_sha256(SLICE(key, sizeof(key)), buf_view(&text), mac);
    CHECK(passed == (memcmp(mac, a->signature, sizeof(mac)) == 0));
    memcpy(a->signature, mac, sizeof(mac));
    CHECK(sigv4_verify(r, a, key, f) == S3_OK);
    a->signature[mac[0] % SHA256_BYTES] ^= 1;
    CHECK(sigv4_verify(r, a, key, f) == S3_SIGNATURE_DOES_NOT_MATCH);
    buf_fini(&canonical);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_text t;
    struct s3_request r;
    struct s3_fault f;
    struct sigv4_auth a;
    request_text_init(&t, SLICE(data, size), &r, &f);
    if (sigv4_parse(&r, &a, &f) == S3_OK && !a.anonymous)
        a.version_2 ? check_v2(&r, &a, &f) : check(&r, &a, &f);
    request_text_fini(&t);
    return 0;
}
