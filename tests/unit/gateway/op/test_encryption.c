/* Server-side encryption through the whole of a gateway loop: what is stored is no plaintext, what
 * is read is, whatever range of it, in every mode; and who has not the key hears why. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/obs/log.h"
#include "gateway/crypt/keys.h"
#include "gateway/op/keyring.h"
#include "proto/sealed.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

#define ALGORITHM "x-amz-server-side-encryption-customer-algorithm: AES256"
#define KEY_A                                                                                      \
    "x-amz-server-side-encryption-customer-key: QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
#define MD5_A "x-amz-server-side-encryption-customer-key-MD5: UhbdzFjo2t5SVgded/ZC2g=="
#define SOURCE_ALGORITHM "x-amz-copy-source-server-side-encryption-customer-algorithm: AES256"
#define SOURCE_KEY_A                                                                               \
    "x-amz-copy-source-server-side-encryption-customer-key: "                                      \
    "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
#define SOURCE_MD5_A                                                                               \
    "x-amz-copy-source-server-side-encryption-customer-key-MD5: UhbdzFjo2t5SVgded/ZC2g=="
#define KEY_B                                                                                      \
    "x-amz-server-side-encryption-customer-key: QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
#define MD5_B "x-amz-server-side-encryption-customer-key-MD5: 8NB6psqPvuXCjIqE3J2m5Q=="
#define KMS "x-amz-server-side-encryption: aws:kms"
#define KMS_KEY "x-amz-server-side-encryption-aws-kms-key-id: "

static struct stand s;
static uint8_t bytes[700000];
static const struct master_keys masters = {
    .count = 2, .keys = {{.id = "m1", .key = {1, 2, 3}}, {.id = "m2", .key = {4, 5, 6}}}};
static const struct master_keys other_masters = {.count = 1, .keys = {{.id = "m1", .key = {7}}}};
static const struct master_keys newer_masters = {
    .count = 2, .keys = {{.id = "m2", .key = {4, 5, 6}}, {.id = "m1", .key = {1, 2, 3}}}};
static const struct master_keys only_newer = {.count = 1, .keys = {{.id = "m2", .key = {4, 5, 6}}}};

static bool errors_expected;
static void on_log(void *arg, enum log_level level, const char *event, const char *line)
{
    (void)arg;
    (void)event;
    if (level == LOG_LEVEL_ERROR && !errors_expected)
        fail_msg("%s", line);
}

static int setup(void **state)
{
    struct exchange x;
    (void)state;
    stand_masters = &masters;
    stand_init(&s);
    errors_expected = false;
    log_hook_set(on_log, NULL);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000 + i / 65536);
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket", SLICE_EMPTY), 200);
    exchange_fini(&x);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stand_fini(&s);
    stand_masters = NULL;
    log_hook_set(NULL, NULL);
    return 0;
}

/* Another gateway over the same cluster: another keyring. */
static void keyring_with(const struct master_keys *m)
{
    keyring_free(s.gw.keyring);
    s.gw.keyring = keyring_new(&s.f.env, s.mc, m);
    assert_non_null(s.gw.keyring);
}

#define run(wanted, method, target, body, ...)                                                     \
    do {                                                                                           \
        struct exchange x_;                                                                        \
        exchange_start(&s, &x_, method, target, body, __VA_ARGS__, NULL);                          \
        exchange_wait(&x_);                                                                        \
        if (x_.status != (wanted))                                                                 \
            fail_msg("%d: %s %s: %d, %.*s", __LINE__, method, target, x_.status, (int)x_.out.len,  \
                     (const char *)x_.out.ptr);                                                    \
        exchange_fini(&x_);                                                                        \
    } while (0)
#define says(wanted, text, method, target, body, ...)                                              \
    do {                                                                                           \
        struct exchange x_;                                                                        \
        exchange_start(&s, &x_, method, target, body, __VA_ARGS__, NULL);                          \
        exchange_wait(&x_);                                                                        \
        if (x_.status != (wanted) || !exchange_says(&x_, text))                                    \
            fail_msg("%d: %s %s: %d, %.*s %.*s", __LINE__, method, target, x_.status,              \
                     (int)x_.head.len, (const char *)x_.head.ptr, (int)x_.out.len,                 \
                     (const char *)x_.out.ptr);                                                    \
        exchange_fini(&x_);                                                                        \
    } while (0)
#define PLAIN_FIELD "x-nothing: 1"

static void assert_range(const char *target, size_t from, size_t to, size_t total, const char *f1,
                         const char *f2, const char *f3)
{
    struct exchange x;
    char range[64];
    snprintf(range, sizeof(range), "Range: bytes=%zu-%zu", from, to - 1);
    exchange_start(&s, &x, "GET", target, SLICE_EMPTY, range, f1, f2, f3, NULL);
    exchange_wait(&x);
    to = MIN(to, total);
    if (x.status != 206 || !slice_eq(buf_view(&x.out), SLICE(bytes + from, to - from)))
        fail_msg("%s %zu-%zu: %d, %zu bytes", target, from, to, x.status, x.out.len);
    exchange_fini(&x);
}

/* The whole, and ranges around every border of chunks and segments. */
static void assert_reads(const char *target, size_t total, const char *f1, const char *f2,
                         const char *f3)
{
    struct exchange x;
    exchange_start(&s, &x, "GET", target, SLICE_EMPTY, f1, f2, f3, NULL);
    exchange_wait(&x);
    if (x.status != 200 || !slice_eq(buf_view(&x.out), SLICE(bytes, total)))
        fail_msg("%s: %d, %zu bytes of %zu, %.*s", target, x.status, x.out.len, total,
                 (int)x.head.len, (const char *)x.head.ptr);
    exchange_fini(&x);
    assert_range(target, 0, 1, total, f1, f2, f3);
    memset(s.slots, 0xff, sizeof(s.slots)); /* from now on nothing is served from the cache */
    assert_range(target, total - 1, total, total, f1, f2, f3);
    for (size_t at = SEALED_CHUNK_BYTES; at < total; at += SEALED_CHUNK_BYTES) {
        assert_range(target, at - 1, at + 1, total, f1, f2, f3);
        assert_range(target, at, at + 1, total, f1, f2, f3);
        assert_range(target, at - 10, at + SEALED_CHUNK_BYTES + 10, total, f1, f2, f3);
    }
    assert_range(target, total / 3, total, total, f1, f2, f3);
}

/* No node has 64 bytes of them anywhere. */
static void assert_no_plaintext(void)
{
    for (int n = 0; n < STAND_NODES; n++)
        for (unsigned b = 0; b < s.node[n].blob_count; b++)
            for (size_t at = 0; at + 64 <= sizeof(bytes); at += 50021)
                assert_null(memmem(s.node[n].blobs[b].data->data, s.node[n].blobs[b].data->len,
                                   bytes + at, 64));
}

static const size_t sizes[] = {1, 4096, 4097, SEALED_CHUNK_BYTES, 262080, 262081, sizeof(bytes)};

static void all_modes_all_sizes(void **state)
{
    static const char *const modes[][3] = {
        {"x-amz-server-side-encryption: AES256", PLAIN_FIELD, PLAIN_FIELD},
        {KMS, PLAIN_FIELD, PLAIN_FIELD},
        {ALGORITHM, KEY_A, MD5_A}};
    (void)state;
    for (size_t m = 0; m < ARRAY_COUNT(modes); m++)
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            const char *const *f = modes[m];
            bool customer = m == 2;
            says(200, customer ? MD5_A : f[0], "PUT", "/bucket/key", SLICE(bytes, sizes[i]), f[0],
                 f[1], f[2]);
            assert_reads("/bucket/key", sizes[i], customer ? f[0] : PLAIN_FIELD,
                         customer ? f[1] : PLAIN_FIELD, customer ? f[2] : PLAIN_FIELD);
            says(200, customer ? MD5_A : f[0], "HEAD", "/bucket/key", SLICE_EMPTY,
                 customer ? f[0] : PLAIN_FIELD, f[1], f[2]);
        }
    assert_no_plaintext();
    /* The largest that may be inline is larger when it is sealed. */
    static uint8_t most[1 << 20];
    s.config.inline_bytes_max = sizeof(most);
    run(200, "PUT", "/bucket/most", SLICE(most, sizeof(most)), KMS);
    run(200, "GET", "/bucket/most", SLICE_EMPTY, PLAIN_FIELD);
    run(200, "PUT", "/bucket/empty", SLICE_EMPTY, KMS);
    run(200, "GET", "/bucket/empty", SLICE_EMPTY, PLAIN_FIELD);
}

static unsigned looked_at;

/* A CRC of 64 bits is as good as 8 bytes of data. */
static bool look_for_hashes(struct stand *stand_, struct fake_call *call)
{
    const Cairn__Command *c = ((Cairn__ProposeRequest *)(void *)call->request)->command;
    (void)stand_;
    if (c->op_case == CAIRN__COMMAND__OP_PUT_OBJECT && c->put_object->record->encryption) {
        const Cairn__ObjectRecord *r = c->put_object->record;
        bool may = r->encryption->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_S3;
        assert_true((r->has_crc64nvme != 0) == may && (may || r->crc64nvme == 0));
        looked_at++;
    } else if (c->op_case == CAIRN__COMMAND__OP_PUT_PART) {
        assert_true(!c->put_part->part->has_crc64nvme && c->put_part->part->crc64nvme == 0);
        looked_at++;
    }
    return false;
}

static void the_etag_is_an_md5_only_where_it_may_be(void **state)
{
    (void)state;
    s.on_propose = look_for_hashes;
    looked_at = 0;
#define MD5_OF_BODY "841a2d689ad86bd1611447453c22c6fc"
    says(200, MD5_OF_BODY, "PUT", "/bucket/a", SLICE_LIT("body"),
         "x-amz-server-side-encryption: AES256");
    struct exchange x;
    const char *const others[][3] = {{KMS, PLAIN_FIELD, PLAIN_FIELD}, {ALGORITHM, KEY_A, MD5_A}};
    for (int i = 0; i < 2; i++) {
        exchange_start(&s, &x, "PUT", "/bucket/a", SLICE_LIT("body"), others[i][0], others[i][1],
                       others[i][2], NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        assert_false(exchange_says(&x, MD5_OF_BODY));
        exchange_fini(&x);
    }
    assert_int_equal(looked_at, 3);
}

static void keys_of_clients(void **state)
{
    (void)state;
    run(200, "PUT", "/bucket/c", SLICE(bytes, 300000), ALGORITHM, KEY_A, MD5_A);
    run(200, "PUT", "/bucket/plain", SLICE(bytes, 10), PLAIN_FIELD);
    says(400, "<Code>InvalidRequest</Code>", "GET", "/bucket/c", SLICE_EMPTY, PLAIN_FIELD);
    run(400, "HEAD", "/bucket/c", SLICE_EMPTY, PLAIN_FIELD);
    says(403, "<Code>AccessDenied</Code>", "GET", "/bucket/c", SLICE_EMPTY, ALGORITHM, KEY_B,
         MD5_B);
    run(403, "HEAD", "/bucket/c", SLICE_EMPTY, ALGORITHM, KEY_B, MD5_B);
    says(400, "not applicable", "GET", "/bucket/plain", SLICE_EMPTY, ALGORITHM, KEY_A, MD5_A);
    says(400, "did not match the hash", "GET", "/bucket/c", SLICE_EMPTY, ALGORITHM, KEY_A, MD5_B);
    says(400, "valid encryption algorithm", "PUT", "/bucket/c", SLICE_LIT("x"), KEY_A, MD5_A);
    says(400, "appropriate secret key", "PUT", "/bucket/c", SLICE_LIT("x"), ALGORITHM, MD5_A);
    says(400, "client calculated MD5", "PUT", "/bucket/c", SLICE_LIT("x"), ALGORITHM, KEY_A);
    says(400, "InvalidEncryptionAlgorithmError", "PUT", "/bucket/c", SLICE_LIT("x"),
         "x-amz-server-side-encryption-customer-algorithm: AES128", KEY_A, MD5_A);
    says(400, "incompatible", "PUT", "/bucket/c", SLICE_LIT("x"), ALGORITHM, KEY_A, MD5_A, KMS);
    says(400, "InvalidRequest", "GET", "/bucket/c?attributes", SLICE_EMPTY,
         "x-amz-object-attributes: ETag");
    run(200, "GET", "/bucket/c?attributes", SLICE_EMPTY, "x-amz-object-attributes: ETag", ALGORITHM,
        KEY_A, MD5_A);
    s.config.sse_require_tls = true;
    says(400, "secure connection", "PUT", "/bucket/c", SLICE_LIT("x"), ALGORITHM, KEY_A, MD5_A);
    says(400, "secure connection", "GET", "/bucket/c", SLICE_EMPTY, ALGORITHM, KEY_A, MD5_A);
    s.config.sse_require_tls = false;
    assert_reads("/bucket/c", 300000, ALGORITHM, KEY_A, MD5_A);
}

static void fields_that_are_refused(void **state)
{
    (void)state;
    says(501, "NotImplemented", "PUT", "/bucket/x", SLICE_LIT("x"),
         "x-amz-server-side-encryption: aws:kms:dsse");
    says(400, "InvalidArgument", "PUT", "/bucket/x", SLICE_LIT("x"),
         "x-amz-server-side-encryption: aes256");
    says(400, "InvalidArgument", "PUT", "/bucket/x", SLICE_LIT("x"), KMS_KEY "k");
    says(501, "NotImplemented", "PUT", "/bucket/x", SLICE_LIT("x"),
         "x-amz-server-side-encryption-of-tomorrow: 1");
    says(400, "InvalidArgument", "PUT", "/bucket/x", SLICE_LIT("x"), KMS,
         "x-amz-server-side-encryption-context: eyJhIjoxfQ==");
    says(400, "InvalidArgument", "PUT", "/bucket/x", SLICE_LIT("x"), KMS,
         "x-amz-server-side-encryption-bucket-key-enabled: perhaps");
    run(200, "PUT", "/bucket/x", SLICE_LIT("x"), KMS,
        "x-amz-server-side-encryption-context: eyJhIjoiYiJ9");
    run(200, "GET", "/bucket/x", SLICE_EMPTY, PLAIN_FIELD);
    says(400, "not supported for this operation", "GET", "/bucket/x", SLICE_EMPTY, KMS);
}

static void kms_keys(void **state)
{
    (void)state;
    says(400, "KMS.NotFoundException", "PUT", "/bucket/k", SLICE_LIT("x"), KMS, KMS_KEY "mine");
    says(200, "\"changed\":true", "POST", "/_cairn/admin/v1/kms/mine/create", SLICE_EMPTY,
         PLAIN_FIELD);
    run(400, "POST", "/_cairn/admin/v1/kms/mine/create", SLICE_EMPTY, PLAIN_FIELD);
    run(400, "POST", "/_cairn/admin/v1/kms/sse-s3/create", SLICE_EMPTY, PLAIN_FIELD);
    run(400, "POST", "/_cairn/admin/v1/kms/none/rotate", SLICE_EMPTY, PLAIN_FIELD);
    static const char *const names[] = {KMS_KEY "mine", KMS_KEY "alias/mine",
                                        KMS_KEY "arn:aws:kms:us-east-1:123456789012:key/mine",
                                        KMS_KEY "arn:aws:kms:us-east-1:123456789012:alias/mine"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        says(200, ":key/mine", "PUT", "/bucket/k", SLICE(bytes, 5000), KMS, names[i]);
    static const char *const wrong[] = {KMS_KEY "arn:aws:kms:eu-west-1:123456789012:key/mine",
                                        KMS_KEY "sse-s3", KMS_KEY "arn:aws:kms:us-east-1:1:mine",
                                        KMS_KEY "a/b", KMS_KEY "arn:aws:kms:"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        says(400, "KMS.NotFoundException", "PUT", "/bucket/w", SLICE_LIT("x"), KMS, wrong[i]);
    run(200, "POST", "/_cairn/admin/v1/kms/mine/rotate", SLICE_EMPTY, PLAIN_FIELD);
    assert_reads("/bucket/k", 5000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    run(200, "PUT", "/bucket/k2", SLICE(bytes, 5000), KMS, KMS_KEY "mine");
    says(200, "\"versions\":2", "GET", "/_cairn/admin/v1/kms", SLICE_EMPTY, PLAIN_FIELD);
    /* Disabled: for the very next request. */
    run(200, "POST", "/_cairn/admin/v1/kms/mine/disable", SLICE_EMPTY, PLAIN_FIELD);
    says(400, "KMS.DisabledException", "GET", "/bucket/k", SLICE_EMPTY, PLAIN_FIELD);
    says(400, "KMS.DisabledException", "PUT", "/bucket/k3", SLICE_LIT("x"), KMS, KMS_KEY "mine");
    run(200, "HEAD", "/bucket/k", SLICE_EMPTY, PLAIN_FIELD);
    run(200, "POST", "/_cairn/admin/v1/kms/mine/enable", SLICE_EMPTY, PLAIN_FIELD);
    assert_reads("/bucket/k", 5000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    assert_reads("/bucket/k2", 5000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
}

#define TWO "000000000002"

/* A key of an account is for its users, and for what the gateway does for its buckets; for others
 * it is not there. */
static void keys_of_accounts(void **state)
{
    (void)state;
    static const char create[] = "/_cairn/admin/v1/kms/theirs/create?account=";
    static const char to_all[] =
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\","
        "\"Action\":\"s3:*Object\",\"Resource\":\"arn:aws:s3:::theirs/*\"}]}";
    char target[100];
    stand_put_account(&s, TWO, "canonical-2");
    stand_put_key(&s, "TWO", TWO, "", true);
    snprintf(target, sizeof(target), "%s000000000009", create);
    says(400, "no such account", "POST", target, SLICE_EMPTY, PLAIN_FIELD);
    snprintf(target, sizeof(target), "%sme", create);
    says(400, "12 digits", "POST", target, SLICE_EMPTY, PLAIN_FIELD);
    says(400, "everybody", "POST", "/_cairn/admin/v1/kms/aws-s3/create?account=" TWO, SLICE_EMPTY,
         PLAIN_FIELD);
    snprintf(target, sizeof(target), "%s" TWO, create);
    run(200, "POST", target, SLICE_EMPTY, PLAIN_FIELD);
    run(200, "POST", "/_cairn/admin/v1/kms/theirs/rotate", SLICE_EMPTY, PLAIN_FIELD);
    run(200, "POST", "/_cairn/admin/v1/kms/rewrap", SLICE_EMPTY, PLAIN_FIELD);
    run(200, "POST", "/_cairn/admin/v1/kms/all/create", SLICE_EMPTY, PLAIN_FIELD);
    says(200, "\"name\":\"theirs\",\"account\":\"" TWO "\"", "GET", "/_cairn/admin/v1/kms",
         SLICE_EMPTY, PLAIN_FIELD);
    /* To write with it. */
    says(400, "KMS.NotFoundException", "PUT", "/bucket/k", SLICE_LIT("x"), KMS, KMS_KEY "theirs");
    says(400, "KMS.NotFoundException", "POST", "/bucket/k?uploads", SLICE_EMPTY, KMS,
         KMS_KEY "theirs");
    run(200, "PUT", "/bucket/k", SLICE_LIT("x"), KMS, KMS_KEY "all");
    s.signs_as = "TWO";
    run(200, "PUT", "/theirs", SLICE_EMPTY, PLAIN_FIELD);
    run(200, "PUT", "/theirs/k", SLICE(bytes, 5000), KMS, KMS_KEY "theirs");
    run(200, "PUT", "/theirs/a", SLICE_LIT("y"), KMS, KMS_KEY "all");
    assert_reads("/theirs/k", 5000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    /* To read what was, though its bucket's policy lets everybody: in, but not at the key. */
    run(204, "DELETE", "/theirs?publicAccessBlock", SLICE_EMPTY, PLAIN_FIELD);
    run(204, "PUT", "/theirs?policy", slice_cstr(to_all), PLAIN_FIELD);
    static const char *const others[] = {"ROOTKEY", ""};
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        s.signs_as = others[i];
        says(403, "customer master key", "GET", "/theirs/k", SLICE_EMPTY, PLAIN_FIELD);
        says(200, "y", "GET", "/theirs/a", SLICE_EMPTY, PLAIN_FIELD);
        run(200, "HEAD", "/theirs/k", SLICE_EMPTY, PLAIN_FIELD);
    }
    s.signs_as = "ROOTKEY";
    says(403, "customer master key", "PUT", "/bucket/copy", SLICE_EMPTY,
         "x-amz-copy-source: /theirs/k");
    /* Disabled it says so to its own only. */
    run(200, "POST", "/_cairn/admin/v1/kms/theirs/disable", SLICE_EMPTY, PLAIN_FIELD);
    says(400, "KMS.NotFoundException", "PUT", "/bucket/k", SLICE_LIT("x"), KMS, KMS_KEY "theirs");
    s.signs_as = "TWO";
    says(400, "KMS.DisabledException", "GET", "/theirs/k", SLICE_EMPTY, PLAIN_FIELD);
    s.signs_as = "ROOTKEY";
}

static void gateways_without_the_master_key(void **state)
{
    static const struct master_keys none;
    (void)state;
    run(200, "PUT", "/bucket/k", SLICE(bytes, 5000), "x-amz-server-side-encryption: AES256");
    keyring_with(&none);
    says(501, "no master key", "PUT", "/bucket/n", SLICE_LIT("x"),
         "x-amz-server-side-encryption: AES256");
    says(503, "no master key", "GET", "/bucket/k", SLICE_EMPTY, PLAIN_FIELD);
    run(200, "PUT", "/bucket/c", SLICE(bytes, 10), ALGORITHM, KEY_A, MD5_A);
    run(200, "PUT", "/bucket/plain", SLICE(bytes, 10), PLAIN_FIELD);
    run(501, "POST", "/_cairn/admin/v1/kms/rewrap", SLICE_EMPTY, PLAIN_FIELD);
    errors_expected = true;
    keyring_with(&other_masters);
    says(503, "master key", "GET", "/bucket/k", SLICE_EMPTY, PLAIN_FIELD);
    says(503, "master key", "PUT", "/bucket/n", SLICE_LIT("x"), KMS);
    run(400, "POST", "/_cairn/admin/v1/kms/new/create", SLICE_EMPTY, PLAIN_FIELD);
    keyring_with(&masters);
    assert_reads("/bucket/k", 5000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
}

static void another_master_key(void **state)
{
    (void)state;
    run(200, "PUT", "/bucket/k", SLICE(bytes, 5000), "x-amz-server-side-encryption: AES256");
    run(200, "PUT", "/bucket/l", SLICE(bytes, 5000), KMS);
    /* A gateway whose newest is another still wraps with the current one. */
    keyring_with(&newer_masters);
    run(200, "POST", "/_cairn/admin/v1/kms/between/create", SLICE_EMPTY, PLAIN_FIELD);
    says(200, "\"rewrapped\":3", "POST", "/_cairn/admin/v1/kms/rewrap", SLICE_EMPTY, PLAIN_FIELD);
    says(200, "\"rewrapped\":0", "POST", "/_cairn/admin/v1/kms/rewrap", SLICE_EMPTY, PLAIN_FIELD);
    keyring_with(&only_newer);
    assert_reads("/bucket/k", 5000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    assert_reads("/bucket/l", 5000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    run(200, "PUT", "/bucket/m", SLICE(bytes, 5000), KMS, KMS_KEY "between");
    says(200, "\"readable\":true", "GET", "/_cairn/admin/v1/kms", SLICE_EMPTY, PLAIN_FIELD);
    errors_expected = true;
    struct master_keys old = {.count = 1, .keys = {masters.keys[0]}};
    keyring_with(&old);
    says(503, "master key", "GET", "/bucket/k", SLICE_EMPTY, PLAIN_FIELD);
    keyring_with(&masters);
}

#define DEFAULT_OF(inside)                                                                         \
    "<ServerSideEncryptionConfiguration><Rule>" inside "</Rule></"                                 \
    "ServerSideEncryptionConfiguration>"
#define APPLY(inside)                                                                              \
    "<ApplyServerSideEncryptionByDefault>" inside "</ApplyServerSideEncryptionByDefault>"

static void defaults_of_buckets(void **state)
{
    char id[33];
    (void)state;
    says(404, "ServerSideEncryptionConfigurationNotFoundError", "GET", "/bucket?encryption",
         SLICE_EMPTY, PLAIN_FIELD);
    run(200, "PUT", "/bucket?encryption",
        SLICE_LIT(
            DEFAULT_OF(APPLY("<SSEAlgorithm>aws:kms</SSEAlgorithm>") "<BucketKeyEnabled>true</"
                                                                     "BucketKeyEnabled>")),
        PLAIN_FIELD);
    says(200, "<SSEAlgorithm>aws:kms</SSEAlgorithm>", "GET", "/bucket?encryption", SLICE_EMPTY,
         PLAIN_FIELD);
    says(200, "bucket-key-enabled: true", "PUT", "/bucket/d", SLICE(bytes, 100), PLAIN_FIELD);
    exchange_upload(&s, SLICE(bytes, sizeof(bytes)), 300000, id);
    assert_no_plaintext();
    assert_reads("/bucket/mp", sizeof(bytes), PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    exchange_upload(&s, SLICE(bytes, 20000), 3000, id); /* parts in the index */
    assert_reads("/bucket/mp", 20000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    says(206, "aws:kms", "GET", "/bucket/mp?partNumber=2", SLICE_EMPTY, PLAIN_FIELD);
    says(200, "AES256", "PUT", "/bucket/own", SLICE(bytes, 100),
         "x-amz-server-side-encryption: AES256");
    run(501, "PUT", "/bucket?encryption",
        SLICE_LIT(DEFAULT_OF(APPLY("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>"))), PLAIN_FIELD);
    run(400, "PUT", "/bucket?encryption",
        SLICE_LIT(DEFAULT_OF(APPLY("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>k</"
                                   "KMSMasterKeyID>"))),
        PLAIN_FIELD);
    run(200, "PUT", "/bucket?encryption",
        SLICE_LIT(DEFAULT_OF("<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></"
                             "BlockedEncryptionTypes>")),
        PLAIN_FIELD);
    run(403, "PUT", "/bucket/c", SLICE_LIT("x"), ALGORITHM, KEY_A, MD5_A);
    run(204, "DELETE", "/bucket?encryption", SLICE_EMPTY, PLAIN_FIELD);
    run(404, "GET", "/bucket?encryption", SLICE_EMPTY, PLAIN_FIELD);
    assert_reads("/bucket/d", 100, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
}

static void copies_between_modes(void **state)
{
    static const char *const to[][3] = {
        {PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD},
        {"x-amz-server-side-encryption: AES256", PLAIN_FIELD, PLAIN_FIELD},
        {KMS, PLAIN_FIELD, PLAIN_FIELD},
        {ALGORITHM, KEY_A, MD5_A}};
    size_t total = 300000;
    (void)state;
    for (size_t a = 0; a < ARRAY_COUNT(to); a++) {
        run(200, "PUT", "/bucket/from", SLICE(bytes, total), to[a][0], to[a][1], to[a][2]);
        bool keyed = a == 3;
        for (size_t b = 0; b < ARRAY_COUNT(to); b++) {
            run(200, "PUT", "/bucket/to", SLICE_EMPTY, "x-amz-copy-source: bucket/from", to[b][0],
                to[b][1], to[b][2], keyed ? SOURCE_ALGORITHM : PLAIN_FIELD,
                keyed ? SOURCE_KEY_A : PLAIN_FIELD, keyed ? SOURCE_MD5_A : PLAIN_FIELD);
            bool customer = b == 3;
            assert_reads("/bucket/to", total, customer ? ALGORITHM : PLAIN_FIELD,
                         customer ? KEY_A : PLAIN_FIELD, customer ? MD5_A : PLAIN_FIELD);
        }
    }
    says(400, "InvalidRequest", "PUT", "/bucket/to", SLICE_EMPTY, "x-amz-copy-source: bucket/from",
         PLAIN_FIELD);
    /* Onto itself, to be encrypted in another way. */
    run(200, "PUT", "/bucket/self", SLICE(bytes, 100), PLAIN_FIELD);
    run(400, "PUT", "/bucket/self", SLICE_EMPTY, "x-amz-copy-source: bucket/self", PLAIN_FIELD);
    run(200, "PUT", "/bucket/self", SLICE_EMPTY, "x-amz-copy-source: bucket/self", KMS);
    assert_reads("/bucket/self", 100, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
}

static void parts_with_a_clients_key(void **state)
{
    struct exchange x;
    char id[33], target[128], xml[256], etag[40];
    s.on_propose = look_for_hashes;
    (void)state;
    exchange_start(&s, &x, "POST", "/bucket/up?uploads", SLICE_EMPTY, ALGORITHM, KEY_A, MD5_A,
                   NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    buf_u8(&x.out, 0);
    snprintf(id, sizeof(id), "%s", strstr((const char *)x.out.ptr, "<UploadId>") + 10);
    exchange_fini(&x);
    snprintf(target, sizeof(target), "/bucket/up?partNumber=1&uploadId=%s", id);
    says(400, "must include the appropriate", "PUT", target, SLICE_LIT("x"), PLAIN_FIELD);
    says(400, "did not match the ones used originally", "PUT", target, SLICE_LIT("x"), ALGORITHM,
         KEY_B, MD5_B);
    exchange_start(&s, &x, "PUT", target, SLICE(bytes, 300000), ALGORITHM, KEY_A, MD5_A, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    buf_u8(&x.head, 0);
    snprintf(etag, sizeof(etag), "%.34s", strstr((const char *)x.head.ptr, "ETag: ") + 6);
    exchange_fini(&x);
    snprintf(xml, sizeof(xml),
             "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
             "</CompleteMultipartUpload>",
             etag);
    snprintf(target, sizeof(target), "/bucket/up?uploadId=%s", id);
    run(403, "POST", target, slice_cstr(xml), ALGORITHM, KEY_B, MD5_B);
    run(200, "POST", target, slice_cstr(xml), PLAIN_FIELD);
    assert_reads("/bucket/up", 300000, ALGORITHM, KEY_A, MD5_A);
    says(400, "InvalidRequest", "GET", "/bucket/up?partNumber=1", SLICE_EMPTY, PLAIN_FIELD);
    assert_no_plaintext();
}

/* On every node, so that no copy is left to take its place, and with the block's checksum: the
 * storage nodes have been told so. */
static void flip_everywhere(size_t at)
{
    size_t block = at / BLOB_BLOCK_BYTES, from = block * BLOB_BLOCK_BYTES;
    for (int n = 0; n < STAND_NODES; n++)
        for (unsigned b = 0; b < s.node[n].blob_count; b++) {
            struct rcbuf *data = s.node[n].blobs[b].data;
            if (at >= data->len)
                continue;
            data->data[at] ^= 1;
            s.node[n].blobs[b].crc[block] = crc32c(
                0, SLICE(data->data + from, MIN(data->len - from, (size_t)BLOB_BLOCK_BYTES)));
        }
}

/* A chunk that is not what was sealed is an error and no data, whatever the storage nodes think of
 * it, and only where it is read. */
static void damaged_chunks_are_never_given_out(void **state)
{
    static const size_t places[] = {0, SEALED_CHUNK_BYTES - 1, SEALED_CHUNK_BYTES,
                                    SEALED_BLOCK_BYTES - 1, SEALED_BLOCK_BYTES,
                                    3 * SEALED_BLOCK_BYTES + 17};
    size_t total = 250000; /* one segment */
    struct exchange x;
    char range[64];
    (void)state;
    errors_expected = true;
    run(200, "PUT", "/bucket/key", SLICE(bytes, total), KMS);
    memset(s.slots, 0xff, sizeof(s.slots));
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        size_t chunk = places[i] / SEALED_BLOCK_BYTES, from = chunk * SEALED_CHUNK_BYTES;
        flip_everywhere(places[i]);
        snprintf(range, sizeof(range), "Range: bytes=%zu-%zu", from + 5, from + 5);
        says(500, "InternalError", "GET", "/bucket/key", SLICE_EMPTY, range);
        exchange_start(&s, &x, "GET", "/bucket/key", SLICE_EMPTY, PLAIN_FIELD, NULL);
        exchange_wait(&x);
        assert_true(x.status == 500 || (x.status == 200 && x.aborted));
        assert_true(x.status == 500 || x.out.len <= from);
        exchange_fini(&x);
        run(500, "PUT", "/bucket/to", SLICE_EMPTY, "x-amz-copy-source: bucket/key");
        if (chunk)
            assert_range("/bucket/key", 0, from, total, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
        if (chunk < 3)
            assert_range("/bucket/key", from + SEALED_CHUNK_BYTES, total, total, PLAIN_FIELD,
                         PLAIN_FIELD, PLAIN_FIELD);
        flip_everywhere(places[i]);
    }
    assert_reads("/bucket/key", total, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
    run(404, "GET", "/bucket/to", SLICE_EMPTY, PLAIN_FIELD);
}

/* What is renamed stays what it was: not encrypted, with the hashes of its data, whatever the bucket
 * would do with new objects, and whether or not it could. */
static void renaming_encrypts_nothing(void **state)
{
    struct exchange x;
    char etag[64] = "";
    (void)state;
    exchange_start(&s, &x, "PUT", "/bucket/a", SLICE(bytes, 300000), PLAIN_FIELD, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    buf_u8(&x.head, 0);
    snprintf(etag, sizeof(etag), "%.40s", strstr((const char *)x.head.ptr, "ETag: "));
    exchange_fini(&x);
    run(200, "PUT", "/bucket?encryption",
        SLICE_LIT("<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
                  "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>not-there</KMSMasterKeyID>"
                  "</ApplyServerSideEncryptionByDefault></Rule>"
                  "</ServerSideEncryptionConfiguration>"),
        PLAIN_FIELD);
    run(400, "PUT", "/bucket/new", SLICE_LIT("x"), PLAIN_FIELD);
    run(200, "PUT", "/bucket/b?renameObject", SLICE_EMPTY, "x-amz-rename-source: a");
    exchange_start(&s, &x, "GET", "/bucket/b", SLICE_EMPTY, PLAIN_FIELD, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    assert_true(exchange_says(&x, etag));
    assert_false(exchange_says(&x, "x-amz-server-side-encryption"));
    exchange_fini(&x);
    assert_reads("/bucket/b", 300000, PLAIN_FIELD, PLAIN_FIELD, PLAIN_FIELD);
}

/* Names come from records, too: whatever is there, it is asked for or not, and that is all. */
static void names_that_no_key_has(void **state)
{
    char name[S3_KMS_KEY_CHARS_MAX + 2];
    struct keyring_ask ask = {.name = SLICE(name, sizeof(name) - 1)};
    (void)state;
    memset(name, 'n', sizeof(name));
    assert_true(keyring_ask(s.gw.keyring, &ask));
    assert_int_equal(ask.err, ERR_NOT_FOUND);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_modes_all_sizes),
        TEST(the_etag_is_an_md5_only_where_it_may_be),
        TEST(keys_of_clients),
        TEST(fields_that_are_refused),
        TEST(kms_keys),
        TEST(keys_of_accounts),
        TEST(gateways_without_the_master_key),
        TEST(another_master_key),
        TEST(defaults_of_buckets),
        TEST(copies_between_modes),
        TEST(parts_with_a_clients_key),
        TEST(damaged_chunks_are_never_given_out),
        TEST(renaming_encrypts_nothing),
        TEST(names_that_no_key_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
