/* Uploads by form from any bytes: a byte for the split, the boundary up to a zero, the body; and
 * the same bytes as a policy for the form that came out.  The outcome must not depend on the split,
 * no field that it yields could break out of a header, and of its signature nothing but the right
 * one passes. */
#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/form.h"
#include "gateway/s3/post.h"
#include "gateway/s3/post_policy.h"
#include "gateway/s3/sigv2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET SLICE_LIT("uV3F3YluFJax1cknvbcGwgjvx4QpvB+leU8dUj2o")

struct outcome {
    enum s3_code code;
    uint64_t bytes, sum;
    size_t fields;
};

static void parse(struct outcome *o, struct s3_form *f, struct arena *arena, struct slice type,
                  struct slice body, size_t step)
{
    struct s3_fault fault = {0};
    *o = (struct outcome){.code = s3_form_init(f, arena, type, &fault)};
    while (body.len && o->code == S3_OK) {
        size_t used = 0;
        struct slice out, in = SLICE(body.ptr, MIN(step, body.len));
        o->code = s3_form_push(f, in, &used, &out, &fault);
        CHECK(used <= in.len && (used > 0 || out.len > 0 || o->code != S3_OK));
        CHECK(out.len == 0 || f->has_file);
        CHECK(f->has_file || f->before <= S3_FORM_BYTES_MAX + 1);
        for (size_t i = 0; i < out.len; i++)
            o->sum = o->sum * 31 + out.ptr[i] + 1;
        o->bytes += out.len;
        body = SLICE(body.ptr + used, body.len - used);
    }
    enum s3_code end = s3_form_finish(f, &fault);
    CHECK(o->code == S3_OK || end == o->code);
    o->code = end;
    o->fields = f->field_count;
}

static void apply(struct s3_form *f, struct arena *arena, struct slice body)
{
    struct s3_request r = {.arena = arena, .bucket = SLICE_LIT("bucket")};
    struct s3_fault fault = {0};
    struct s3_post_range range;
    struct buf text = {0};
    if (s3_post_apply(&r, s3_form_fields(f), f->filename, &fault) == S3_OK) {
        CHECK(r.key.len >= 1 && r.key.len <= S3_KEY_BYTES_MAX && utf8_valid(r.key));
        for (size_t i = 0; i < r.fields.count; i++)
            for (size_t k = 0; k < r.fields.ptr[i].value.len; k++)
                CHECK(r.fields.ptr[i].value.ptr[k] != '\r' && r.fields.ptr[i].value.ptr[k] != '\n');
        if (s3_post_answer(s3_form_fields(f)) == S3_POST_REDIRECT) {
            s3_post_redirect(&text, &r, s3_form_fields(f), SLICE_LIT("etag"));
            CHECK(!memchr(text.ptr, '\n', text.len));
        }
    }
    struct slice policy = http_fields_get(s3_form_fields(f), "policy");
    struct s3_post post = {s3_form_fields(f), r.bucket, r.key};
    if (s3_post_policy_check(arena, policy.ptr ? policy : body, &post, 0, &range, &fault) == S3_OK)
        CHECK(f->field_count <= S3_FORM_FIELDS_MAX);
    buf_fini(&text);
}

/* Of both versions what is signed is the policy, and only one of them can be meant. */
static void authenticate(struct http_fields form, struct arena *arena)
{
    struct s3_request r = {.arena = arena, .method = SLICE_LIT("POST")};
    struct s3_fault fault = {0};
    struct sigv4_auth a;
    uint8_t mac[SHA1_BYTES], key[SHA256_BYTES] = {0};
    char right[BASE64_CHARS(SHA1_BYTES)];
    bool of_2 = http_fields_find(form, "signature") || http_fields_find(form, "AWSAccessKeyId");
    bool of_4 = http_fields_find(form, "x-amz-signature") != NULL;
    if (sigv4_parse_form(form, &a, &fault) != S3_OK)
        return;
    CHECK(!of_2 || !of_4);
    CHECK(a.anonymous == (!of_2 && !of_4) && a.version_2 == of_2 && !a.presigned);
    if (a.anonymous)
        return;
    CHECK(a.policy.len && a.access_key.len && a.signature_text.len);
    (void)sigv4_check_scope(&r, &a, SLICE_LIT("us-east-1"), 0, &fault);
    if (!a.version_2) {
        (void)sigv4_verify(&r, &a, key, &fault);
        return;
    }
    hmac_sha1(SECRET, http_fields_get(form, "policy"), mac);
    base64_encode(SLICE(mac, sizeof(mac)), right);
    bool same = slice_eq(a.signature_text, SLICE(right, sizeof(right)));
    CHECK((sigv2_verify(&r, &a, SECRET, &fault) == S3_OK) == same);
    a.signature_text = SLICE(right, sizeof(right));
    CHECK(sigv2_verify(&r, &a, SECRET, &fault) == S3_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size > 1 ? memchr(data + 1, 0, size - 1) : NULL;
    struct arena arena;
    struct buf type = {0};
    struct outcome whole, split;
    if (!zero)
        return 0;
    arena_init(&arena, 8u << 20);
    buf_cstr(&type, "multipart/form-data; boundary=");
    buf_slice(&type, SLICE(data + 1, (size_t)(zero - data) - 1));
    struct slice body = SLICE(zero + 1, size - (size_t)(zero + 1 - data));
    struct s3_form *f = arena_zalloc(&arena, sizeof(*f)), *g = arena_zalloc(&arena, sizeof(*g));
    CHECK(f && g);
    parse(&whole, f, &arena, buf_view(&type), body, body.len + 1);
    parse(&split, g, &arena, buf_view(&type), body, data[0] % 17 + 1);
    CHECK(whole.code == split.code && whole.bytes == split.bytes && whole.sum == split.sum &&
          whole.fields == split.fields);
    authenticate(s3_form_fields(f), &arena);
    apply(f, &arena, body);
    s3_form_fini(f);
    s3_form_fini(g);
    buf_fini(&type);
    arena_fini(&arena);
    return 0;
}
