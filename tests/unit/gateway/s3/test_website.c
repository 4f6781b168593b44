/* Websites: which hosts are, which documents are taken, where rules send. */
#include "gateway/s3/settings.h"
#include "gateway/s3/website.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

static void hosts(void **state)
{
    (void)state;
    static const struct slice base[] = {SLICE_LIT("s3.example.com")};
    static const struct slice some[] = {SLICE_LIT("web.s3.example.com"), SLICE_LIT("www.own.org")},
                              any[] = {SLICE_LIT("web.s3.example.com"), SLICE_LIT("*")};
    static const struct {
        const char *host;
        const char *some, *any; /* whose website it is; NULL: it is none */
    } cases[] = {
        {"bkt.web.s3.example.com", "bkt", "bkt"},
        {"A.B.Web.S3.example.com:8080", "a.b", "a.b"},
        {"web.s3.example.com", "web.s3.example.com", "web.s3.example.com"},
        {"www.own.org", "www.own.org", "www.own.org"},
        {"sub.www.own.org", "sub", "sub.www.own.org"},
        {"Other.org:80", NULL, "other.org"},
        {"s3.example.com", NULL, NULL},
        {"bkt.s3.example.com", NULL, NULL},
        {"localhost", NULL, NULL},
        {"127.0.0.1:9000", NULL, NULL},
        {"[::ffff:1.2.3.4]:9000", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        for (int all = 0; all < 2; all++) {
            struct arena arena = {0};
            struct s3_request r;
            struct s3_fault fault;
            struct s3_addressing addressing = {base, 1, all ? any : some, 2};
            struct http_field host = {SLICE_LIT("Host"), slice_cstr(cases[i].host)};
            const char *want = all ? cases[i].any : cases[i].some;
            s3_request_parse(&arena, &addressing, SLICE_LIT("GET"), SLICE_LIT("/bkt/a%20b?acl"),
                             (struct http_fields){&host, 1}, &r, &fault);
            assert_int_equal(r.website, want != NULL);
            if (want) {
                assert_slice(r.bucket, want);
                assert_slice(r.key, "bkt/a b");
                assert_int_equal(r.op, S3_OP_GET_OBJECT);
                assert_int_equal(r.param_count, 0);
            } else if (fault.code == S3_OK) {
                assert_int_not_equal(r.op, S3_OP_GET_OBJECT); /* the subresource counts */
            }
            arena_fini(&arena);
        }
}

#define SITE(inside) "<WebsiteConfiguration>" inside "</WebsiteConfiguration>"
#define INDEX "<IndexDocument><Suffix>i</Suffix></IndexDocument>"
#define RULES(inside) INDEX "<RoutingRules>" inside "</RoutingRules>"
#define RULE(condition, redirect)                                                                  \
    "<RoutingRule><Condition>" condition "</Condition><Redirect>" redirect                         \
    "</Redirect></RoutingRule>"
#define PREFIX(p) "<KeyPrefixEquals>" p "</KeyPrefixEquals>"
#define STATUS(s) "<HttpErrorCodeReturnedEquals>" s "</HttpErrorCodeReturnedEquals>"

static enum s3_code read_site(struct arena *arena, const char *text, struct s3_website *ret)
{
    struct s3_node *root;
    struct s3_fault fault;
    enum s3_code code =
        s3_document_read(arena, &s3_website_schema, slice_cstr(text), &root, &fault);
    return code == S3_OK ? s3_website_of_node(arena, root, ret, &fault) : code;
}

static void documents(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum s3_code code;
    } cases[] = {
        {SITE(INDEX), S3_OK},
        {SITE(""), S3_INVALID_ARGUMENT},
        {SITE("<IndexDocument/>"), S3_MALFORMED_XML},
        {SITE(INDEX INDEX), S3_MALFORMED_XML},
        {SITE("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>"), S3_INVALID_ARGUMENT},
        {SITE("<IndexDocument><Suffix></Suffix></IndexDocument>"), S3_INVALID_ARGUMENT},
        {SITE(INDEX "<ErrorDocument><Key></Key></ErrorDocument>"), S3_INVALID_ARGUMENT},
        {SITE("<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>"), S3_OK},
        {SITE("<RedirectAllRequestsTo><HostName></HostName></RedirectAllRequestsTo>"),
         S3_INVALID_ARGUMENT},
        {SITE("<RedirectAllRequestsTo><HostName>h/p</HostName></RedirectAllRequestsTo>"),
         S3_INVALID_ARGUMENT},
        {SITE(INDEX "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>"),
         S3_INVALID_ARGUMENT},
        {SITE(RULES(RULE(PREFIX(""), "<HostName>h</HostName>"))), S3_OK},
        {SITE(RULES(RULE("", "<HostName>h</HostName>"))), S3_INVALID_REQUEST},
        {SITE(RULES(RULE(PREFIX("p"), ""))), S3_INVALID_REQUEST},
        {SITE(RULES(RULE(STATUS("600"), "<HostName>h</HostName>"))), S3_INVALID_REQUEST},
        {SITE(RULES(RULE(STATUS("x"), "<HostName>h</HostName>"))), S3_MALFORMED_XML},
        {SITE(RULES(RULE(PREFIX("p"), "<HttpRedirectCode>300</HttpRedirectCode>"))),
         S3_INVALID_REQUEST},
        {SITE(RULES(RULE(PREFIX("p"), "<Protocol>ftp</Protocol>"))), S3_MALFORMED_XML},
        {SITE(RULES(RULE(PREFIX("p"), "<HostName>h&#13;&#10;A: b</HostName>"))),
         S3_INVALID_REQUEST},
        {SITE(RULES(RULE(PREFIX("p"), "<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b"
                                      "</ReplaceKeyPrefixWith>"))),
         S3_INVALID_REQUEST},
        {SITE("<Routing/>"), S3_MALFORMED_XML},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arena arena = {0};
        struct s3_website w;
        enum s3_code code = read_site(&arena, cases[i].text, &w);
        if (code != cases[i].code)
            fail_msg("%s: %s", cases[i].text, s3_code_name(code));
        arena_fini(&arena);
    }
}

static void rules(void **state)
{
    (void)state;
    static const char text[] = SITE(RULES(
        RULE(PREFIX("old/"), "<ReplaceKeyPrefixWith>n w/</ReplaceKeyPrefixWith>")
            RULE(PREFIX("old/"), "<HostName>never</HostName>")
                RULE(PREFIX("gone/") STATUS("404"), "<ReplaceKeyWith></ReplaceKeyWith>"
                                                    "<HttpRedirectCode>307</HttpRedirectCode>")
                    RULE(STATUS("403"), "<HostName>h</HostName><Protocol>https</Protocol>")));
    static const struct {
        const char *key;
        unsigned error;
        const char *location; /* NULL: no rule */
        unsigned status;
    } cases[] = {
        {"old/a", 0, "http://me:1/n%20w/a", 301},
        {"old", 0, NULL, 0},
        {"gone/a", 0, NULL, 0},
        {"gone/a", 404, "http://me:1/", 307},
        {"here", 404, NULL, 0},
        {"a b/c", 403, "https://h/a%20b/c", 301},
        {"old/a", 404, NULL, 0},
    };
    struct arena arena = {0};
    struct s3_website w;
    assert_code(read_site(&arena, text, &w), S3_OK);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct http_field host = {SLICE_LIT("host"), SLICE_LIT("me:1")};
        struct s3_request r = {.key = slice_cstr(cases[i].key), .fields = {&host, 1}};
        struct buf b = {0};
        const struct s3_routing_rule *rule = s3_website_rule(&w, r.key, cases[i].error);
        assert_int_equal(rule != NULL, cases[i].location != NULL);
        if (rule) {
            s3_website_rule_location(&b, rule, &r, false);
            assert_slice(buf_view(&b), cases[i].location);
            assert_int_equal(rule->status, cases[i].status);
        }
        buf_fini(&b);
    }
    arena_fini(&arena);
}

/* Redirects stay at this host, whatever is asked for, and no header says where it is but a name and a
 * port. */
static void no_other_host(void **state)
{
    (void)state;
    static const char *const folders[][2] = {
        {"a/b c", "/a/b%20c/"},
        {"/evil.example", "/%2Fevil.example/"},
        {"//evil.example", "/%2F/evil.example/"},
        {"\\evil.example", "/%5Cevil.example/"},
        {"a\r\nb: c", "/a%0D%0Ab%3A%20c/"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(folders); i++) {
        struct buf b = {0};
        s3_website_folder_location(&b, slice_cstr(folders[i][0]));
        assert_slice(buf_view(&b), folders[i][1]);
        buf_fini(&b);
    }
    static const struct slice web[] = {SLICE_LIT("web.org")};
    static const struct {
        const char *host;
        enum s3_code code;
    } hosts[] = {
        {"bkt.web.org", S3_OK},
        {"bkt.web.org:80", S3_OK},
        {"bkt.web.org:@evil.example", S3_INVALID_REQUEST},
        {"bkt.web.org:80/x", S3_INVALID_REQUEST},
    };
    for (size_t i = 0; i < ARRAY_COUNT(hosts); i++) {
        struct arena arena = {0};
        struct s3_request r;
        struct s3_fault fault;
        struct s3_addressing addressing = {.website_domains = web, .website_domain_count = 1};
        struct http_field host = {SLICE_LIT("Host"), slice_cstr(hosts[i].host)};
        assert_code(s3_request_parse(&arena, &addressing, SLICE_LIT("GET"), SLICE_LIT("/a"),
                                     (struct http_fields){&host, 1}, &r, &fault),
                    hosts[i].code);
        assert_true(r.website);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts),
        cmocka_unit_test(documents),
        cmocka_unit_test(rules),
        cmocka_unit_test(no_other_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
