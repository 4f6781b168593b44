/* Settings as documents: normal form, hostile input, limits; tags; which CORS rule a request falls
 * under. */
#include "gateway/s3/cors.h"
#include "gateway/s3/settings.h"
#include "gateway/s3/tags.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define NS " xmlns=\"" S3_XMLNS "\""

static struct made m;
static struct buf out;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    buf_fini(&out);
    return 0;
}

/* As PUT would: the code, and what is stored in `out`. */
static enum s3_code put(const char *target, const char *body)
{
    MAKE(&m, "PUT", target, "Host: x");
    assert_code(m.code, S3_OK);
    buf_clear(&out);
    const struct s3_setting *s = s3_setting_of_op(m.request.op);
    assert_non_null(s);
    return s3_setting_read(s, &m.request, slice_cstr(body), &out, &m.fault);
}

static void assert_stored(const char *target, const char *body, const char *stored)
{
    assert_code(put(target, body), S3_OK);
    assert_slice(buf_view(&out), stored);
    assert_code(put(target, stored), S3_OK); /* what was written reads back as itself */
    assert_slice(buf_view(&out), stored);
}

static void normal_form(void **state)
{
    (void)state;
    assert_stored("/bkt?tagging",
                  "<?xml version='1.0'?> <a:Tagging xmlns:a='urn:any' b='c'>\n <TagSet> <Tag>"
                  "<Value> v </Value><!-- x --><Key>k</Key></Tag></TagSet></a:Tagging>",
                  "<Tagging" NS "><TagSet><Tag><Value> v </Value><Key>k</Key></Tag></TagSet>"
                  "</Tagging>");
    assert_stored("/bkt?tagging", "<Tagging><TagSet/></Tagging>",
                  "<Tagging" NS "><TagSet></TagSet></Tagging>");
    assert_stored("/bkt?cors",
                  "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>"
                  "<AllowedOrigin>http://a&amp;b</AllowedOrigin><MaxAgeSeconds> 0007 "
                  "</MaxAgeSeconds></CORSRule></CORSConfiguration>",
                  "<CORSConfiguration" NS "><CORSRule><AllowedMethod>GET</AllowedMethod>"
                  "<AllowedOrigin>http://a&amp;b</AllowedOrigin><MaxAgeSeconds>7</MaxAgeSeconds>"
                  "</CORSRule></CORSConfiguration>");
    assert_stored("/bkt?requestPayment",
                  "<RequestPaymentConfiguration><Payer> Requester\n</Payer>"
                  "</RequestPaymentConfiguration>",
                  "<RequestPaymentConfiguration" NS "><Payer>Requester</Payer>"
                  "</RequestPaymentConfiguration>");
}

#define TAGGING(x) "<Tagging><TagSet>" x "</TagSet></Tagging>"
#define TAG(k, v) "<Tag><Key>" k "</Key><Value>" v "</Value></Tag>"
#define RULE(x) "<CORSConfiguration><CORSRule>" x "</CORSRule></CORSConfiguration>"
#define GET_ALL "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
#define METRICS(x) "<MetricsConfiguration><Id>a</Id>" x "</MetricsConfiguration>"
#define TIERING(x)                                                                                 \
    "<IntelligentTieringConfiguration><Id>a</Id><Status>Enabled</Status>" x                        \
    "</IntelligentTieringConfiguration>"

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *target, *body;
        enum s3_code code;
    } cases[] = {
        {"/bkt?tagging", "", S3_MISSING_REQUEST_BODY},
        {"/bkt?tagging", "<Tagging>", S3_MALFORMED_XML},
        {"/bkt?tagging", "<Tagging/>", S3_MALFORMED_XML},
        {"/bkt?tagging", "<Other><TagSet/></Other>", S3_MALFORMED_XML},
        {"/bkt?tagging", "<Tagging><TagSet/><TagSet/></Tagging>", S3_MALFORMED_XML},
        {"/bkt?tagging", "<Tagging><TagSet>text</TagSet></Tagging>", S3_MALFORMED_XML},
        {"/bkt?tagging", TAGGING("<Tag><Key>k</Key></Tag>"), S3_MALFORMED_XML},
        {"/bkt?tagging", TAGGING("<Tag><Key>k<b/></Key><Value/></Tag>"), S3_MALFORMED_XML},
        {"/bkt?tagging", TAGGING("<Tag><Key>k</Key><Value/><More/></Tag>"), S3_MALFORMED_XML},
        {"/bkt?tagging", "<!DOCTYPE Tagging><Tagging><TagSet/></Tagging>", S3_MALFORMED_XML},
        {"/bkt?tagging", TAGGING(TAG("", "v")), S3_INVALID_TAG},
        {"/bkt?tagging", TAGGING(TAG("a*", "v")), S3_INVALID_TAG},
        {"/bkt?tagging", TAGGING(TAG("a", "&#10;")), S3_INVALID_TAG},
        {"/bkt?tagging", TAGGING(TAG("AWS:a", "v")), S3_INVALID_TAG},
        {"/bkt?tagging", TAGGING(TAG("a", "1") TAG("b", "1") TAG("a", "2")), S3_INVALID_TAG},
        {"/bkt?cors", "<CORSConfiguration/>", S3_MALFORMED_XML},
        {"/bkt?cors", RULE("<AllowedMethod>GET</AllowedMethod>"), S3_MALFORMED_XML},
        {"/bkt?cors", RULE("<AllowedOrigin>*</AllowedOrigin>"), S3_MALFORMED_XML},
        {"/bkt?cors", RULE(GET_ALL "<AllowedOrigin/>"), S3_MALFORMED_XML},
        {"/bkt?cors", RULE(GET_ALL "<AllowedMethod>get</AllowedMethod>"), S3_INVALID_REQUEST},
        {"/bkt?cors", RULE(GET_ALL "<AllowedMethod>PATCH</AllowedMethod>"), S3_INVALID_REQUEST},
        {"/bkt?cors", RULE(GET_ALL "<AllowedOrigin>**</AllowedOrigin>"), S3_INVALID_REQUEST},
        {"/bkt?cors", RULE(GET_ALL "<AllowedHeader>*a*</AllowedHeader>"), S3_INVALID_REQUEST},
        {"/bkt?cors", RULE(GET_ALL "<ExposeHeader>a*</ExposeHeader>"), S3_INVALID_REQUEST},
        {"/bkt?cors", RULE(GET_ALL "<MaxAgeSeconds>-1</MaxAgeSeconds>"), S3_MALFORMED_XML},
        {"/bkt?cors", RULE(GET_ALL "<MaxAgeSeconds>2147483648</MaxAgeSeconds>"), S3_MALFORMED_XML},
        {"/bkt?cors", RULE(GET_ALL "<MaxAgeSeconds/>"), S3_MALFORMED_XML},
        {"/bkt?requestPayment",
         "<RequestPaymentConfiguration><Payer>Me</Payer></RequestPaymentConfiguration>",
         S3_MALFORMED_XML},
        {"/my.bkt?accelerate",
         "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>",
         S3_INVALID_REQUEST},
        {"/bkt?metrics&id=b", METRICS(""), S3_INVALID_ARGUMENT},
        {"/bkt?metrics&id=", METRICS(""), S3_INVALID_ARGUMENT},
        {"/bkt?metrics&id=a", METRICS("<Filter><AccessPointArn>x</AccessPointArn></Filter>"),
         S3_NOT_IMPLEMENTED},
        {"/bkt?metrics&id=a", METRICS("<Filter><Prefix>x</Prefix>" TAG("a", "b") "</Filter>"),
         S3_MALFORMED_XML},
        {"/bkt?analytics&id=a",
         "<AnalyticsConfiguration><Id>a</Id><StorageClassAnalysis><DataExport/>"
         "</StorageClassAnalysis></AnalyticsConfiguration>",
         S3_NOT_IMPLEMENTED},
        {"/bkt?intelligent-tiering&id=a", TIERING(""), S3_MALFORMED_XML},
        {"/bkt?intelligent-tiering&id=a",
         TIERING("<Tiering><Days>x</Days><AccessTier>ARCHIVE_ACCESS</AccessTier></Tiering>"),
         S3_MALFORMED_XML},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum s3_code code = put(cases[i].target, cases[i].body);
        if (code != cases[i].code || code != m.fault.code)
            fail_msg("%s: %s, not %s", cases[i].body, s3_code_name(code),
                     s3_code_name(cases[i].code));
    }
    assert_code(put("/bkt?intelligent-tiering&id=a",
                    TIERING("<Tiering><Days>90</Days><AccessTier>ARCHIVE_ACCESS</AccessTier>"
                            "</Tiering>")),
                S3_OK);
}

/* Size and depth: a body beyond the bound, elements without end, elements in elements. */
static void bounded(void **state)
{
    (void)state;
    struct buf body = {0};
    buf_cstr(&body, "<Tagging><TagSet>");
    for (unsigned i = 0; i < 51; i++)
        buf_printf(&body, "<Tag><Key>%u</Key><Value/></Tag>", i);
    buf_cstr(&body, "</TagSet></Tagging>");
    buf_u8(&body, 0);
    assert_code(put("/bkt?tagging", (const char *)body.ptr), S3_BAD_REQUEST);
    buf_clear(&body);
    while (body.len < S3_CONFIG_BODY_BYTES_MAX)
        buf_cstr(&body, "<Tagging>");
    buf_u8(&body, 0);
    assert_code(put("/bkt?tagging", (const char *)body.ptr), S3_MALFORMED_XML);
    buf_clear(&body);
    buf_cstr(&body, "<CORSConfiguration>");
    for (unsigned i = 0; i < S3_CORS_RULES_MAX + 1; i++)
        buf_cstr(&body, "<CORSRule>" GET_ALL "</CORSRule>");
    buf_cstr(&body, "</CORSConfiguration>");
    buf_u8(&body, 0);
    assert_code(put("/bkt?cors", (const char *)body.ptr), S3_INVALID_REQUEST);
    buf_fini(&body);
}

static enum s3_code field(const char *value, struct s3_tags *ret)
{
    struct buf line = {0};
    buf_printf(&line, "x-amz-tagging: %s", value);
    buf_u8(&line, 0);
    MAKE(&m, "PUT", "/bkt/k", "Host: x", (const char *)line.ptr);
    assert_code(m.code, S3_OK);
    enum s3_code code = s3_tags_of_request(&m.request, ret, &m.fault);
    if (code != S3_OK) {
        assert_code(m.fault.code, code);
        m.count = 0; /* they point into the line */
    }
    /* The tags themselves may do so too: the line stays until the end of the test. */
    static struct buf kept[64];
    static unsigned n;
    buf_fini(&kept[n % 64]);
    kept[n++ % 64] = line;
    return code;
}

static void tags_of_a_field(void **state)
{
    (void)state;
    struct s3_tags t;
    char longest[800] = "", value[1200] = "k=";
    assert_code(field("a=b&c%20d=e+f&g=&h&%C3%BC=%2F", &t), S3_OK);
    assert_int_equal(t.count, 5);
    assert_slice(t.tags[1].key, "c d");
    assert_slice(t.tags[1].value, "e f");
    assert_slice(t.tags[3].key, "h");
    assert_int_equal(t.tags[3].value.len, 0);
    assert_slice(t.tags[4].key, "\xc3\xbc");
    assert_slice(t.tags[4].value, "/");
    assert_code(field("a=1&a=2", &t), S3_INVALID_ARGUMENT);
    assert_code(field("a=1&", &t), S3_INVALID_ARGUMENT);
    assert_code(field("&a=1", &t), S3_INVALID_ARGUMENT);
    assert_code(field("a=%f", &t), S3_INVALID_ARGUMENT);
    assert_code(field("a=%ff", &t), S3_INVALID_ARGUMENT);
    assert_code(field("=1", &t), S3_INVALID_TAG);
    assert_code(field("a=%00", &t), S3_INVALID_TAG);
    assert_code(field("1&2&3&4&5&6&7&8&9&10", &t), S3_OK);
    assert_code(field("1&2&3&4&5&6&7&8&9&10&11", &t), S3_BAD_REQUEST);
    for (int i = 0; i < 128; i++)
        strcat(longest, "%C3%BC");
    assert_code(field(longest, &t), S3_OK);
    strcat(longest, "x");
    assert_code(field(longest, &t), S3_INVALID_TAG);
    memset(value + 2, 'v', 256);
    assert_code(field(value, &t), S3_OK);
    value[2 + 256] = 'v';
    assert_code(field(value, &t), S3_INVALID_TAG);
    MAKE(&m, "PUT", "/bkt/k", "Host: x");
    assert_code(s3_tags_of_request(&m.request, &t, &m.fault), S3_OK);
    assert_int_equal(t.count, 0);
}

/* ---- CORS ---- */

static struct s3_cors read_cors(const char *text)
{
    struct s3_node *root;
    struct s3_cors cors;
    MAKE(&m, "GET", "/bkt?cors", "Host: x");
    assert_code(s3_document_read(&m.arena, &s3_cors_schema, slice_cstr(text), &root, &m.fault),
                S3_OK);
    assert_code(s3_cors_of_node(&m.arena, root, &cors, &m.fault), S3_OK);
    return cors;
}

static void cors_rules(void **state)
{
    (void)state;
    struct s3_cors cors =
        read_cors("<CORSConfiguration>"
                  "<CORSRule><AllowedOrigin>https://*.a.com</AllowedOrigin>"
                  "<AllowedOrigin>http://b</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>"
                  "<AllowedHeader>X-Amz-*</AllowedHeader><AllowedHeader>etag</AllowedHeader>"
                  "</CORSRule>"
                  "<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
                  "<AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>");
    static const struct {
        const char *origin, *method, *headers;
        int rule; /* 0: none */
    } cases[] = {
        {"https://x.a.com", "PUT", "", 1},
        {"https://.a.com", "PUT", "", 1},
        {"https://a.com", "PUT", "", 0},
        {"https://x.a.com.evil", "PUT", "", 0},
        {"HTTPS://x.a.com", "PUT", "", 0},
        {"http://b", "PUT", "x-amz-date,ETag , X-AMZ-X", 1},
        {"http://b", "PUT", "x-amz-date,other", 0},
        {"http://b", "PUT", ",, ", 1},
        {"http://b", "GET", "anything, at-all", 2},
        {"http://b", "DELETE", "", 0},
        {"http://b", "put", "", 0},
        {"", "GET", "", 2},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct s3_cors_match match = {0};
        bool found = s3_cors_find(&cors, slice_cstr(cases[i].origin), slice_cstr(cases[i].method),
                                  slice_cstr(cases[i].headers), &match);
        int rule = found ? (int)(match.rule - cors.rules) + 1 : 0;
        if (rule != cases[i].rule)
            fail_msg("%s %s %s: %d", cases[i].origin, cases[i].method, cases[i].headers, rule);
        if (found)
            assert_int_equal(match.any_origin, rule == 2);
    }
    /* The two ends of a pattern may not share a character. */
    cors =
        read_cors(RULE("<AllowedOrigin>ab*ba</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"));
    struct s3_cors_match match;
    assert_false(s3_cors_find(&cors, SLICE_LIT("aba"), SLICE_LIT("GET"), SLICE_EMPTY, &match));
    assert_true(s3_cors_find(&cors, SLICE_LIT("abba"), SLICE_LIT("GET"), SLICE_EMPTY, &match));
    assert_false(s3_cors_find(&cors, SLICE_LIT("abba"), SLICE_LIT("GET"), SLICE_LIT("x"), &match));
}

/* Every operation on a subresource has what answers it. */
static void tables(void **state)
{
    (void)state;
    assert_null(s3_setting_of_op(S3_OP_NONE));
    assert_null(s3_setting_of_op(S3_OP_GET_OBJECT));
    for (enum s3_op op = S3_OP_GET_BUCKET_REQUEST_PAYMENT; op <= S3_OP_DELETE_BUCKET_LIFECYCLE;
         op++) {
        const struct s3_setting *s = s3_setting_of_op(op);
        assert_non_null(s);
        assert_true(s->none != S3_OK || s->unset);
    }
    for (enum s3_op op = S3_OP_GET_BUCKET_POLICY; op <= S3_OP_GET_BUCKET_NOTIFICATION; op++) {
        bool own = (op >= S3_OP_GET_BUCKET_POLICY && op <= S3_OP_GET_BUCKET_POLICY_STATUS) ||
                   (op >= S3_OP_GET_BUCKET_ACL && op <= S3_OP_PUT_OBJECT_ACL);
        assert_true(own || s3_setting_of_op(op));
    }
}

static void access_settings(void **state)
{
    (void)state;
#define BLOCK(x) "<PublicAccessBlockConfiguration" NS ">" x "</PublicAccessBlockConfiguration>"
    assert_stored("/bkt?publicAccessBlock",
                  "<PublicAccessBlockConfiguration><BlockPublicPolicy>TRUE</BlockPublicPolicy>"
                  "<BlockPublicAcls>false</BlockPublicAcls></PublicAccessBlockConfiguration>",
                  BLOCK("<BlockPublicAcls>false</BlockPublicAcls><IgnorePublicAcls>false"
                        "</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy>"
                        "<RestrictPublicBuckets>false</RestrictPublicBuckets>"));
    assert_code(put("/bkt?publicAccessBlock",
                    "<PublicAccessBlockConfiguration><BlockPublicAcls>yes</BlockPublicAcls>"
                    "</PublicAccessBlockConfiguration>"),
                S3_MALFORMED_XML);
#define OWNED(x)                                                                                   \
    "<OwnershipControls" NS "><Rule><ObjectOwnership>" x "</ObjectOwnership></Rule>"               \
    "</OwnershipControls>"
    assert_stored("/bkt?ownershipControls", OWNED(" ObjectWriter "), OWNED("ObjectWriter"));
    assert_code(put("/bkt?ownershipControls", OWNED("Nobody")), S3_MALFORMED_XML);
    assert_code(put("/bkt?ownershipControls", "<OwnershipControls/>"), S3_MALFORMED_XML);
    /* What deleting leaves is not what was never set. */
    const struct s3_setting *ownership = s3_setting_of_op(S3_OP_DELETE_BUCKET_OWNERSHIP);
    const struct s3_setting *block = s3_setting_of_op(S3_OP_DELETE_PUBLIC_ACCESS_BLOCK);
    assert_non_null(ownership->erased);
    assert_non_null(strstr(ownership->unset, "BucketOwnerEnforced"));
    assert_non_null(block->erased);
    assert_null(strstr(block->unset, "false"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_form),     cmocka_unit_test(refused),    cmocka_unit_test(bounded),
        cmocka_unit_test(tags_of_a_field), cmocka_unit_test(cors_rules), cmocka_unit_test(tables),
        cmocka_unit_test_teardown(access_settings, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
