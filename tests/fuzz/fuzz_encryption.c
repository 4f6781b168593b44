/* What clients and operators say of encryption, from any bytes; the first byte says where: header
 * fields, a bucket's default as stored, a key's name, master keys, a wrapped key, sealed chunks.
 * Nothing that was not sealed opens. */
#include "common/base/check.h"
#include "gateway/crypt/kms.h"
#include "gateway/s3/encryption.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fields(struct s3_request *r, struct slice text)
{
    static const char *const names[] = {"x-amz-server-side-encryption",
                                        "x-amz-server-side-encryption-customer-algorithm",
                                        "x-amz-server-side-encryption-customer-key",
                                        "x-amz-server-side-encryption-customer-key-MD5",
                                        "x-amz-server-side-encryption-aws-kms-key-id",
                                        "x-amz-server-side-encryption-context",
                                        "x-amz-server-side-encryption-bucket-key-enabled"};
    struct http_field f[ARRAY_COUNT(names)];
    struct s3_sse sse;
    struct s3_fault fault = {0};
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(names) && text.len; i++) {
        const uint8_t *end = memchr(text.ptr, '\n', text.len);
        size_t len = end ? (size_t)(end - text.ptr) : text.len;
        if (len)
            f[count++] = (struct http_field){slice_cstr(names[i]), SLICE(text.ptr, len)};
        text = SLICE(text.ptr + MIN(len + 1, text.len), text.len - MIN(len + 1, text.len));
    }
    r->fields = (struct http_fields){f, count};
    if (s3_sse_parse(r, &sse, &fault) == S3_OK) {
        CHECK(sse.mode == S3_SSE_CUSTOMER || !sse.customer.given);
        CHECK(sse.mode == S3_SSE_KMS || (!sse.kms_key.ptr && !sse.context.ptr));
    } else {
        CHECK(fault.code != S3_OK);
    }
    r->fields = (struct http_fields){0};
}

static void names(struct slice text)
{
    struct slice name;
    struct s3_fault fault = {0};
    if (s3_kms_key_name(text, SLICE_LIT("us-east-1"), &name, &fault) == S3_OK)
        CHECK(s3_kms_key_name_valid(name) && !slice_eq(name, SLICE_LIT(S3_KMS_KEY_INTERNAL)));
    else
        CHECK(fault.code == S3_KMS_NOT_FOUND);
}

static void masters(struct slice text)
{
    struct master_keys m;
    unsigned line;
    const char *why;
    int err = master_keys_parse(text, &m, &line, &why);
    CHECK(err == OK ? m.count >= 1 && m.count <= MASTER_KEYS_MAX && !why : m.count == 0 && why);
}

static void chunks(struct slice text)
{
    static uint8_t out[4 * SEALED_CHUNK_BYTES];
    static const uint8_t key[CRYPT_KEY_BYTES] = {1};
    struct opener o = {0};
    size_t bytes;
    if (text.len < 2 || text.len > 3 * SEALED_BLOCK_BYTES)
        return;
    CHECK(opener_init(&o, key, text.ptr[0] * 1000u) == OK);
    CHECK(opener_open(&o, text.ptr[1] & 3, SLICE(text.ptr + 2, text.len - 2), out, &bytes) ==
              ERR_CORRUPT ||
          bytes == 0);
    opener_fini(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[CRYPT_KEY_BYTES] = {1};
    uint8_t unwrapped[CRYPT_KEY_BYTES];
    struct s3_sse_default def;
    struct s3_fault fault = {0};
    struct arena arena;
    if (size == 0)
        return 0;
    arena_init(&arena, 1 << 20);
    struct s3_request r = {.arena = &arena};
    struct slice rest = SLICE(data + 1, size - 1);
    switch (data[0] % 6) {
    case 0: fields(&r, rest); break;
    case 1:
        if (s3_sse_default_read(&arena, rest, &def, &fault) == S3_OK)
            CHECK(def.mode != S3_SSE_CUSTOMER && (def.mode == S3_SSE_KMS || !def.kms_key.len));
        break;
    case 2: names(rest); break;
    case 3: masters(rest); break;
    case 4: CHECK(key_unwrap(key, rest, SLICE_EMPTY, unwrapped) == ERR_AUTH); break;
    default: chunks(rest);
    }
    arena_fini(&arena);
    return 0;
}
