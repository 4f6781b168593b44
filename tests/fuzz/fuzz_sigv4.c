/* Authentication of any request text.  Nothing but the right signature passes; and when the
 * fuzzer's request is well formed, signing it makes it pass. */
#include "common/base/check.h"
#include "gateway/s3/sigv4.h"
#include "tests/fuzz/request_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_MS 1369353600000ull /* 2013-05-24 */

static void check(const struct s3_request *r, struct sigv4_auth *a, struct s3_fault *f)
{
    uint8_t key[SHA256_BYTES];
    struct buf canonical = {0}, text = {0};
    (void)sigv4_check_scope(r, a, SLICE_LIT("us-east-1"), NOW_MS, f);
    sigv4_signing_key(SLICE_LIT("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), a->scope_date,
                      a->region, a->service, key);
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
        check(&r, &a, &f);
    request_text_fini(&t);
    return 0;
}
