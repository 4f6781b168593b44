/* Uploads by form: the multipart body, its fields as a request's, policies. */
#include "common/crypto/codec.h"
#include "gateway/s3/form.h"
#include "gateway/s3/post.h"
#include "gateway/s3/post_policy.h"
#include "gateway/s3/sigv2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define NOW_MS (UINT64_C(1767225600) * 1000) /* 2026-01-01T00:00:00Z */
#define TYPE "multipart/form-data; boundary=B"
#define FIELD(name, value)                                                                         \
    "--B\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define FILE_(name, value)                                                                         \
    "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" name                       \
    "\"\r\nContent-Type: text/plain\r\n\r\n" value "\r\n"
#define END "--B--\r\n"

static struct arena arena;
static struct s3_form form;
static struct s3_fault fault;
static struct buf file;

static int teardown(void **state)
{
    (void)state;
    s3_form_fini(&form);
    buf_fini(&file);
    arena_fini(&arena);
    return 0;
}

static enum s3_code parse(const char *type, struct slice body, size_t step)
{
    s3_form_fini(&form);
    arena_fini(&arena);
    buf_clear(&file);
    form = (struct s3_form){0};
    enum s3_code code = s3_form_init(&form, &arena, slice_cstr(type), &fault);
    while (code == S3_OK && body.len) {
        size_t used;
        struct slice data;
        code = s3_form_push(&form, SLICE(body.ptr, MIN(step, body.len)), &used, &data, &fault);
        buf_slice(&file, data);
        body = SLICE(body.ptr + used, body.len - used);
    }
    return code == S3_OK ? s3_form_finish(&form, &fault) : code;
}

static void multipart(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum s3_code code;
        const char *file, *filename;
        size_t fields;
    } cases[] = {
        {FIELD("key", "a") FILE_("f.txt", "data") END, S3_OK, "data", "f.txt", 1},
        {"preamble\r\n" FIELD("key", "a\r\nb") FIELD("x", "") FILE_("", "") "--B--", S3_OK, "", "",
         2},
        {FIELD("key", "a") FILE_("C:\\\\d\\f\\\"g.txt", "\r\n--\r\n--A\r\r\n--") END "epilogue --B",
         S3_OK, "\r\n--\r\n--A\r\r\n--", "\"g.txt", 1},
        {FIELD("key", "a") FILE_("d/f", "1") FIELD("late", "x") FIELD("key", "b") END, S3_OK, "1",
         "f", 1},
        {"--B \t\r\ncontent-disposition:form-data ; NAME=key\r\n\r\nv\r\n" FILE_("f", "1") END,
         S3_OK, "1", "f", 1},
        {FIELD("key", "a") FILE_("f", "1") FILE_("f", "2") END, S3_INCORRECT_NUMBER_OF_FILES, NULL,
         NULL, 0},
        {FIELD("key", "a") END, S3_INCORRECT_NUMBER_OF_FILES, NULL, NULL, 0},
        {FIELD("key", "a") FIELD("Key", "b") FILE_("f", "1") END, S3_INVALID_ARGUMENT, NULL, NULL,
         0},
        {FIELD("key", "a") FILE_("f", "1"), S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {FIELD("key", "a") FILE_("f", "1\r\n--Bx") END, S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {FIELD("key", "a") FILE_("f", "1") "--B-", S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {"--B\r\nX: y\r\n\r\nv\r\n" FILE_("f", "1") END, S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {"--B\r\n\r\nv\r\n" FILE_("f", "1") END, S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {"--B\r\nContent-Disposition: form-data; name=\"a\r\n\r\nv\r\n" END,
         S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {"--B\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nv\r\n" END,
         S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {"", S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
        {"no form at all", S3_MALFORMED_POST_REQUEST, NULL, NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        for (size_t step = 1; step < 60; step++) {
            enum s3_code code = parse(TYPE, slice_cstr(cases[i].body), step);
            if (code != cases[i].code)
                fail_msg("case %zu in steps of %zu: %s", i, step, s3_code_name(code));
            if (code != S3_OK)
                continue;
            assert_slice(buf_view(&file), cases[i].file);
            assert_slice(form.filename, cases[i].filename);
            assert_int_equal(form.field_count, cases[i].fields);
        }
}

static void bounds(void **state)
{
    (void)state;
    struct buf b = {0};
    char name[32];
    for (int i = 0; i <= S3_FORM_FIELDS_MAX; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        buf_printf(&b, "--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n\r\n", name);
    }
    buf_cstr(&b, FILE_("f", "1") END);
    assert_code(parse(TYPE, buf_view(&b), 1000), S3_MAX_POST_PRE_DATA_LENGTH);
    buf_clear(&b);
    buf_cstr(&b, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n");
    for (size_t i = 0; i < S3_FORM_BYTES_MAX; i++)
        buf_u8(&b, 'x');
    buf_cstr(&b, "\r\n" FILE_("f", "1") END);
    assert_code(parse(TYPE, buf_view(&b), 1000), S3_MAX_POST_PRE_DATA_LENGTH);
    assert_true(form.value.len <= S3_FORM_BYTES_MAX);
    buf_clear(&b);
    buf_cstr(&b, "--B\r\nX: ");
    for (size_t i = 0; i < S3_FORM_PART_HEAD_BYTES_MAX; i++)
        buf_u8(&b, 'x');
    assert_code(parse(TYPE, buf_view(&b), 1000), S3_MALFORMED_POST_REQUEST);
    buf_fini(&b);
}

static void types(void **state)
{
    (void)state;
    struct slice body =
        slice_cstr("--B\r\nContent-Disposition: form-data; name=file\r\n\r\n1\r\n--B--");
    assert_code(parse("Multipart/Form-Data;charset=x;boundary=\"B\"", body, 100), S3_OK);
    assert_code(parse("", body, 100), S3_PRECONDITION_FAILED);
    assert_code(parse("application/x-www-form-urlencoded", body, 100), S3_PRECONDITION_FAILED);
    assert_code(parse("multipart/mixed; boundary=B", body, 100), S3_PRECONDITION_FAILED);
    assert_code(parse("multipart/form-data", body, 100), S3_MALFORMED_POST_REQUEST);
    assert_code(parse("multipart/form-data; boundary=", body, 100), S3_MALFORMED_POST_REQUEST);
    assert_code(parse("multipart/form-data; boundary=\"a\rb\"", body, 100),
                S3_MALFORMED_POST_REQUEST);
    assert_code(parse("multipart/form-data; boundary="
                      "12345678901234567890123456789012345678901234567890123456789012345678901",
                      body, 100),
                S3_MALFORMED_POST_REQUEST);
}

/* ---- fields ---- */

static enum s3_code apply(struct made *m, const char *body)
{
    assert_code(parse(TYPE, slice_cstr(body), 1000), S3_OK);
    MAKE(m, "POST", "/bkt", "Host: h", "Origin: o", "Content-Type: " TYPE, "Content-Length: 9",
         "If-Match: x");
    assert_code(m->code, S3_OK);
    assert_int_equal(m->request.op, S3_OP_POST_OBJECT);
    return s3_post_apply(&m->request, s3_form_fields(&form), form.filename, &fault);
}

static void fields(void **state)
{
    (void)state;
    static struct made m;
    assert_code(apply(&m, FIELD("key", "u/${filename}-${filename}${") FIELD("acl", "public-read")
                              FIELD("Content-Type", " text/a ") FIELD("x-amz-meta-A", "1")
                                  FIELD("tagging",
                                        "<Tagging><TagSet><Tag><Key>a+</Key><Value>b c"
                                        "</Value></Tag></TagSet></Tagging>") FIELD("submit", "\r\n")
                                      FIELD("x-amz-date", "d") FILE_("\xc3\xbc.txt", "1") END),
                S3_OK);
    assert_slice(m.request.key, "u/\xc3\xbc.txt-\xc3\xbc.txt${");
    struct http_fields f = m.request.fields;
    assert_slice(http_fields_get(f, "host"), "h");
    assert_slice(http_fields_get(f, "origin"), "o");
    assert_slice(http_fields_get(f, "x-amz-acl"), "public-read");
    assert_slice(http_fields_get(f, "content-type"), "text/a");
    assert_slice(http_fields_get(f, "x-amz-meta-a"), "1");
    assert_slice(http_fields_get(f, "x-amz-tagging"), "a%2B=b%20c");
    assert_int_equal(f.count, 6);

    static const struct {
        const char *body;
        enum s3_code code;
    } bad[] = {
        {FILE_("f", "1") END, S3_INVALID_ARGUMENT},
        {FIELD("key", "") FILE_("f", "1") END, S3_INVALID_ARGUMENT},
        {FIELD("key", "${filename}") FILE_("", "1") END, S3_INVALID_ARGUMENT},
        {FIELD("key", "\xff") FILE_("f", "1") END, S3_INVALID_URI},
        {FIELD("key", "k") FIELD("x-amz-meta-a", "1\r\nSet-Cookie: x") FILE_("f", "1") END,
         S3_INVALID_ARGUMENT},
        {FIELD("key", "k") FIELD("x-amz-meta-a: b", "1") FILE_("f", "1") END, S3_INVALID_ARGUMENT},
        {FIELD("key", "k") FIELD("x-amz-copy-source", "a/b") FILE_("f", "1") END,
         S3_NOT_IMPLEMENTED},
        {FIELD("key", "k") FIELD("x-amz-write-offset-bytes", "1") FILE_("f", "1") END,
         S3_NOT_IMPLEMENTED},
        {FIELD("key", "k") FIELD("If-None-Match", "*") FILE_("f", "1") END, S3_NOT_IMPLEMENTED},
        {FIELD("key", "k") FIELD("tagging", "<Tagging>") FILE_("f", "1") END, S3_MALFORMED_XML},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_code(apply(&m, bad[i].body), bad[i].code);
    arena_fini(&m.arena);
}

/* A form of 20 KiB cannot make the gateway write megabytes. */
static void names_in_names(void **state)
{
    (void)state;
    struct arena own = {0};
    struct s3_fault said;
    static uint8_t name[2000];
    struct buf key = {0};
    memset(name, 'n', sizeof(name));
    for (int i = 0; i < 1500; i++)
        buf_cstr(&key, "${filename}");
    struct http_field f = {SLICE_LIT("key"), buf_view(&key)};
    struct s3_request r = {.arena = &own};
    assert_code(s3_post_apply(&r, (struct http_fields){&f, 1}, SLICE(name, sizeof(name)), &said),
                S3_KEY_TOO_LONG);
    assert_true(own.bytes < 64 << 10);
    buf_fini(&key);
    arena_fini(&own);
}

static void answers(void **state)
{
    (void)state;
    static struct made m;
    struct buf b = {0};
    static const struct {
        const char *body;
        enum s3_post_answer want;
    } cases[] = {
        {FIELD("key", "k") FILE_("f", "1") END, S3_POST_204},
        {FIELD("key", "k") FIELD("success_action_status", "200") FILE_("f", "1") END, S3_POST_200},
        {FIELD("key", "k") FIELD("success_action_status", "201") FILE_("f", "1") END, S3_POST_201},
        {FIELD("key", "k") FIELD("success_action_status", "299") FILE_("f", "1") END, S3_POST_204},
        {FIELD("key", "k") FIELD("redirect", "javascript:x") FILE_("f", "1") END, S3_POST_204},
        {FIELD("key", "k") FIELD("redirect", "http://x\r\nA: b") FILE_("f", "1") END, S3_POST_204},
        {FIELD("key", "a b?&/") FIELD("success_action_redirect", "https://x/?q=1") FILE_("f", "1")
             END,
         S3_POST_REDIRECT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_code(apply(&m, cases[i].body), S3_OK);
        assert_int_equal(s3_post_answer(s3_form_fields(&form)), cases[i].want);
    }
    s3_post_redirect(&b, &m.request, s3_form_fields(&form), SLICE_LIT("e"));
    assert_slice(buf_view(&b), "https://x/?q=1&bucket=bkt&key=a%20b%3F%26%2F&etag=%22e%22");
    buf_clear(&b);
    s3_post_location(&b, &m.request, false);
    assert_slice(buf_view(&b), "http://h/bkt/a%20b%3F%26/");
    buf_fini(&b);
    arena_fini(&m.arena);
}

/* ---- policies ---- */

#define POLICY(conditions)                                                                         \
    "{\"expiration\":\"2026-01-01T00:00:00Z\",\"conditions\":[" conditions "]}"
#define BASICS "{\"bucket\":\"bkt\"},[\"starts-with\",\"$key\",\"u/\"]"

static enum s3_code check(const char *text, struct s3_post_range *range)
{
    static const struct http_field fields[] = {
        {SLICE_LIT("key"), SLICE_LIT("u/${filename}")},
        {SLICE_LIT("Policy"), SLICE_LIT("p")},
        {SLICE_LIT("x-amz-signature"), SLICE_LIT("s")},
        {SLICE_LIT("x-ignore-me"), SLICE_LIT("s")},
        {SLICE_LIT("Content-Type"), SLICE_LIT("image/a, image/b")},
        {SLICE_LIT("x-amz-meta-n"), SLICE_LIT("7")},
    };
    struct s3_post post = {{fields, ARRAY_COUNT(fields)}, SLICE_LIT("bkt"), SLICE_LIT("u/f")};
    char encoded[4096];
    size_t n = base64_encode(slice_cstr(text), encoded);
    arena_fini(&arena);
    return s3_post_policy_check(&arena, SLICE(encoded, n), &post, NOW_MS, range, &fault);
}

static void policies(void **state)
{
    (void)state;
#define REST "[\"starts-with\",\"$content-type\",\"image/\"],{\"X-Amz-Meta-N\":7}"
    static const struct {
        const char *text;
        enum s3_code code;
        const char *says;
    } cases[] = {
        {POLICY(BASICS "," REST), S3_OK, NULL},
        {POLICY("[\"eq\",\"\\\\$key\",\"u/f\"],[\"EQ\",\"$bucket\",\"bkt\"]," REST),
         S3_INVALID_POLICY_DOCUMENT, NULL}, /* a backslash that is one */
        {POLICY("[\"eq\",\"\\$key\",\"u/f\"],[\"EQ\",\"$bucket\",\"bkt\"]," REST), S3_OK, NULL},
        {POLICY(BASICS ",[\"content-length-range\",1,\"10\"]," REST), S3_OK, NULL},
        {POLICY("{\"bucket\":\"other\"},{\"key\":\"u/f\"}," REST), S3_ACCESS_DENIED,
         "Invalid according to Policy: Policy Condition failed: [\"eq\", \"$bucket\", \"other\"]"},
        {POLICY("{\"bucket\":\"bkt\"},[\"starts-with\",\"$key\",\"v/\"]," REST), S3_ACCESS_DENIED,
         "Invalid according to Policy: Policy Condition failed: [\"starts-with\", \"$key\", "
         "\"v/\"]"},
        {POLICY(BASICS ",{\"x-amz-meta-n\":\"7\"},[\"starts-with\",\"$Content-Type\",\"image/a\"]"),
         S3_ACCESS_DENIED, NULL}, /* of a list each */
        {POLICY(BASICS "," REST ",[\"starts-with\",\"$x-amz-meta-m\",\"\"]"), S3_ACCESS_DENIED,
         NULL},
        {POLICY(BASICS ",{\"x-amz-meta-n\":\"7\"}"), S3_ACCESS_DENIED,
         "Invalid according to Policy: Extra input fields: Content-Type"},
        {POLICY("{\"bucket\":\"bkt\"}," REST), S3_ACCESS_DENIED,
         "Invalid according to Policy: Extra input fields: key"},
        {"{\"expiration\":\"2025-12-31T23:59:59Z\",\"conditions\":[" BASICS "," REST "]}",
         S3_ACCESS_DENIED, "Invalid according to Policy: Policy expired."},
        {"{\"conditions\":[]}", S3_INVALID_POLICY_DOCUMENT,
         "Invalid Policy: Policy missing expiration."},
        {"{\"expiration\":\"soon\",\"conditions\":[]}", S3_INVALID_POLICY_DOCUMENT,
         "Invalid Policy: Invalid 'expiration' value: 'soon'."},
        {"{\"expiration\":\"2026-01-01T00:00:00Z\"}", S3_INVALID_POLICY_DOCUMENT, NULL},
        {"{\"expiration\":\"2026-01-01T00:00:00Z\",\"conditions\":[],\"x\":1}",
         S3_INVALID_POLICY_DOCUMENT, NULL},
        {"{", S3_INVALID_POLICY_DOCUMENT, "Invalid Policy: Invalid JSON."},
        {"[]", S3_INVALID_POLICY_DOCUMENT, NULL},
        {POLICY("1"), S3_INVALID_POLICY_DOCUMENT, NULL},
        {POLICY("{\"a\":\"1\",\"b\":\"2\"}"), S3_INVALID_POLICY_DOCUMENT, NULL},
        {POLICY("{\"a\":[]}"), S3_INVALID_POLICY_DOCUMENT, NULL},
        {POLICY("[\"eq\",\"key\",\"a\"]"), S3_INVALID_POLICY_DOCUMENT, NULL},
        {POLICY("[\"eq\",\"$key\"]"), S3_INVALID_POLICY_DOCUMENT, NULL},
        {POLICY("[\"ends-with\",\"$key\",\"a\"]"), S3_INVALID_POLICY_DOCUMENT, NULL},
        {POLICY("[\"content-length-range\",\"-1\",2]"), S3_INVALID_POLICY_DOCUMENT, NULL},
    };
    struct s3_post_range range;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum s3_code code = check(cases[i].text, &range);
        if (code != cases[i].code)
            fail_msg("%s: %s", cases[i].text, s3_code_name(code));
        if (cases[i].says)
            assert_slice(fault.message, cases[i].says);
    }
    check(
        POLICY(BASICS ",[\"content-length-range\",3,\"10\"],[\"content-length-range\",1,8]," REST),
        &range);
    assert_int_equal(range.min, 3);
    assert_int_equal(range.max, 8);
    assert_code(s3_post_range_check(&arena, &range, 2, false, &fault), S3_OK);
    assert_code(s3_post_range_check(&arena, &range, 2, true, &fault), S3_ENTITY_TOO_SMALL);
    assert_code(s3_post_range_check(&arena, &range, 8, true, &fault), S3_OK);
    assert_code(s3_post_range_check(&arena, &range, 9, false, &fault), S3_ENTITY_TOO_LARGE);
}

static void credentials(void **state)
{
    (void)state;
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    struct http_field f[] = {
        {SLICE_LIT("policy"), SLICE_LIT("cA==")},
        {SLICE_LIT("X-Amz-Algorithm"), SLICE_LIT("AWS4-HMAC-SHA256")},
        {SLICE_LIT("x-amz-credential"), SLICE_LIT("AK/20260101/us-east-1/s3/aws4_request")},
        {SLICE_LIT("x-amz-date"), SLICE_LIT("20260101T000000Z")},
        {SLICE_LIT("x-amz-signature"), SLICE_LIT(zeros)},
        {SLICE_LIT("x-amz-security-token"), SLICE_LIT("")},
    };
    struct sigv4_auth a;
    struct s3_request r = {.arena = &arena};
    struct http_fields all = {f, ARRAY_COUNT(f)};
    assert_code(sigv4_parse_form(all, &a, &fault), S3_OK);
    assert_true(!a.anonymous && a.policy.ptr && a.token.ptr && a.token.len == 0);
    assert_slice(a.access_key, "AK");
    /* Its policy says until when, not the date. */
    assert_code(sigv4_check_scope(&r, &a, SLICE_LIT("us-east-1"), NOW_MS * 2, &fault), S3_OK);
    assert_code(sigv4_check_scope(&r, &a, SLICE_LIT("eu-west-1"), NOW_MS, &fault),
                S3_AUTHORIZATION_HEADER_MALFORMED);
    for (size_t i = 0; i < 5; i++) { /* one without the others */
        struct http_field saved = f[i];
        f[i].name = SLICE_LIT("x-ignore");
        assert_code(sigv4_parse_form(all, &a, &fault), S3_INVALID_ARGUMENT);
        f[i] = saved;
    }
    f[3].value = SLICE_LIT("20260102T000000Z");
    assert_code(sigv4_parse_form(all, &a, &fault), S3_AUTHORIZATION_HEADER_MALFORMED);
    f[0].value = SLICE_LIT(""); /* and an empty one is none */
    assert_code(sigv4_parse_form(all, &a, &fault), S3_INVALID_ARGUMENT);
    assert_code(sigv4_parse_form((struct http_fields){f + 5, 1}, &a, &fault), S3_OK);
    assert_true(a.anonymous);
}

/* ---- version 2 ---- */

/* "Browser-Based Uploads Using POST", the example of a file upload. */
#define PUBLISHED_POLICY                                                                           \
    "eyAiZXhwaXJhdGlvbiI6ICIyMDA3LTEyLTAxVDEyOjAwOjAwLjAwMFoiLAogICJjb25kaXRpb25zIj"               \
    "ogWwogICAgeyJidWNrZXQiOiAiam9obnNtaXRoIn0sCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXki"               \
    "LCAidXNlci9lcmljLyJdLAogICAgeyJhY2wiOiAicHVibGljLXJlYWQifSwKICAgIHsic3VjY2Vzc1"               \
    "9hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL2pvaG5zbWl0aC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nl"               \
    "c3NmdWxfdXBsb2FkLmh0bWwifSwKICAgIFsic3RhcnRzLXdpdGgiLCAiJENvbnRlbnQtVHlwZSIsIC"               \
    "JpbWFnZS8iXSwKICAgIHsieC1hbXotbWV0YS11dWlkIjogIjE0MzY1MTIzNjUxMjc0In0sCiAgICBb"               \
    "InN0YXJ0cy13aXRoIiwgIiR4LWFtei1tZXRhLXRhZyIsICIiXQogIF0KfQo="
#define PUBLISHED_SIGNATURE "0RavWzkygo6QX9caELEqKi9kDbU="
#define PUBLISHED_SECRET SLICE_LIT("uV3F3YluFJax1cknvbcGwgjvx4QpvB+leU8dUj2o")
#define PUBLISHED_END_MS (UINT64_C(1196510400) * 1000)

static const struct http_field published[] = {
    {SLICE_LIT("Policy"), SLICE_LIT(PUBLISHED_POLICY)},
    {SLICE_LIT("AWSAccessKeyId"), SLICE_LIT("AKIAIOSFODNN7EXAMPLE")},
    {SLICE_LIT("Signature"), SLICE_LIT(PUBLISHED_SIGNATURE)},
    {SLICE_LIT("key"), SLICE_LIT("user/eric/MyPicture.jpg")},
    {SLICE_LIT("acl"), SLICE_LIT("public-read")},
    {SLICE_LIT("success_action_redirect"),
     SLICE_LIT("http://johnsmith.s3.amazonaws.com/successful_upload.html")},
    {SLICE_LIT("Content-Type"), SLICE_LIT("image/jpeg")},
    {SLICE_LIT("x-amz-meta-uuid"), SLICE_LIT("14365123651274")},
    {SLICE_LIT("x-amz-meta-tag"), SLICE_LIT("Some,Tag,For,Picture")},
};
static struct http_field f2[ARRAY_COUNT(published) + 2];
static struct sigv4_auth auth;

/* All that a gateway does with the first `count` of f2. */
static enum s3_code authenticate_2(size_t count, uint64_t now_ms)
{
    struct http_fields all = {f2, count};
    struct s3_request r = {.arena = &arena, .method = SLICE_LIT("POST")};
    struct s3_post post = {all, SLICE_LIT("johnsmith"), http_fields_get(all, "key")};
    struct s3_post_range range;
    arena_fini(&arena);
    enum s3_code code = sigv4_parse_form(all, &auth, &fault);
    if (code == S3_OK)
        code = sigv4_check_scope(&r, &auth, SLICE_LIT("us-east-1"), now_ms, &fault);
    if (code == S3_OK)
        code = sigv2_verify(&r, &auth, PUBLISHED_SECRET, &fault);
    return code == S3_OK ? s3_post_policy_check(&arena, auth.policy, &post, now_ms, &range, &fault)
                         : code;
}

static void again(void)
{
    memcpy(f2, published, sizeof(published));
}

static void version_2(void **state)
{
    (void)state;
    size_t n = ARRAY_COUNT(published);
    again();
    assert_code(authenticate_2(n, PUBLISHED_END_MS), S3_OK);
    assert_true(auth.version_2 && !auth.presigned && !auth.anonymous && !auth.token.ptr);
    assert_slice(auth.access_key, "AKIAIOSFODNN7EXAMPLE");
    assert_slice(auth.service, "s3");
    assert_slice(auth.payload_text, "UNSIGNED-PAYLOAD");
    assert_code(authenticate_2(n, PUBLISHED_END_MS + 1), S3_ACCESS_DENIED);
    assert_slice(fault.message, "Invalid according to Policy: Policy expired.");
    for (size_t i = 0; i < 3; i++) { /* one without the others, or with nothing in it */
        f2[i].value = SLICE_LIT("");
        assert_code(authenticate_2(n, 0), S3_INVALID_ARGUMENT);
        again();
        f2[i].name = SLICE_LIT("x-ignore");
        assert_code(authenticate_2(n, 0), S3_INVALID_ARGUMENT);
        again();
    }
    f2[1] = f2[2] = (struct http_field){SLICE_LIT("x-ignore"), SLICE_LIT("")};
    assert_code(authenticate_2(n, 0), S3_INVALID_ARGUMENT);
    again();
    f2[n] = (struct http_field){SLICE_LIT("x-ignore-me"), SLICE_LIT("1")};
    assert_code(authenticate_2(n + 1, 0), S3_OK);
    static const char *const uncovered[] = {"x-amz-security-token", "x-amz-meta-a", "x-amz-date",
                                            "submit", "Expires"};
    for (size_t i = 0; i < ARRAY_COUNT(uncovered); i++) {
        f2[n] = (struct http_field){slice_cstr(uncovered[i]), SLICE_LIT("")};
        assert_code(authenticate_2(n + 1, 0), S3_ACCESS_DENIED);
        assert_int_equal(auth.token.ptr != NULL, i == 0); /* whose session is asked about */
    }
    static const char *const of_4[] = {"x-amz-signature", "X-Amz-Credential", "x-amz-algorithm"};
    for (size_t i = 0; i < ARRAY_COUNT(of_4); i++) { /* both kinds, whatever is in them */
        f2[n] = (struct http_field){slice_cstr(of_4[i]), SLICE_LIT("")};
        assert_code(authenticate_2(n + 1, 0), S3_INVALID_ARGUMENT);
        assert_true(
            slice_has_prefix(fault.message, SLICE_LIT("Only one auth mechanism allowed; a form")));
        assert_code(sigv4_parse_form((struct http_fields){f2 + 1, n}, &auth, &fault),
                    S3_INVALID_ARGUMENT);
        assert_code(sigv4_parse_form((struct http_fields){f2 + 2, n - 1}, &auth, &fault),
                    S3_INVALID_ARGUMENT);
    }
}

/* What was signed and what was sent differ in whatever way. */
static void version_2_wrong(void **state)
{
    (void)state;
    size_t n = ARRAY_COUNT(published);
    static char policy[] = PUBLISHED_POLICY, key[130];
    static const char *const signatures[] = {
        "1RavWzkygo6QX9caELEqKi9kDbU=",
        "0RavWzkygo6QX9caELEqKi9kDb==",
        "0RavWzkygo6QX9caELEqKi9kDbUA",
        "0RavWzkygo6QX9caELEqKi9kDbU",
        " 0RavWzkygo6QX9caELEqKi9kDbU=",
        "0RavWzkygo6QX9caELEqKi9kDbU=AAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "=",
        "d116af5b3932828e905fd71a10b12a2a2f640db5",
    };
    for (size_t i = 0; i < ARRAY_COUNT(signatures); i++) {
        again();
        f2[2].value = slice_cstr(signatures[i]);
        assert_code(authenticate_2(n, 0), S3_SIGNATURE_DOES_NOT_MATCH);
    }
    again();
    for (size_t i = 0; i < sizeof(policy) - 1; i++) {
        policy[i] ^= 1;
        f2[0].value = SLICE((const uint8_t *)policy, sizeof(policy) - 1);
        assert_code(authenticate_2(n, 0), S3_SIGNATURE_DOES_NOT_MATCH);
        policy[i] ^= 1;
    }
    f2[0].value.len--; /* what it means without the last '=' does not matter: the text is signed */
    assert_code(authenticate_2(n, 0), S3_SIGNATURE_DOES_NOT_MATCH);
    memset(key, 'K', sizeof(key));
    again();
    f2[1].value = SLICE((const uint8_t *)key, 129);
    assert_code(authenticate_2(n, 0), S3_INVALID_ACCESS_KEY_ID);
    /* A signed URL is no policy, though the same key signs both: hmac(secret, text). */
    again();
    f2[0].value = SLICE_LIT("GET\n\n\n9999999999\n/johnsmith/user/eric/MyPicture.jpg");
    f2[2].value = SLICE_LIT("xxUY0nXHXj758e4jl3iFdVh7J44=");
    assert_code(authenticate_2(n, 0), S3_INVALID_POLICY_DOCUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(multipart, teardown),
        cmocka_unit_test_teardown(bounds, teardown),
        cmocka_unit_test_teardown(types, teardown),
        cmocka_unit_test_teardown(fields, teardown),
        cmocka_unit_test(names_in_names),
        cmocka_unit_test_teardown(answers, teardown),
        cmocka_unit_test_teardown(policies, teardown),
        cmocka_unit_test_teardown(credentials, teardown),
        cmocka_unit_test_teardown(version_2, teardown),
        cmocka_unit_test_teardown(version_2_wrong, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
