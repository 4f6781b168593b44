/* The operator's table of destinations, and what is signed for them. */
#include "gateway/out/s3_remote.h"
#include "gateway/out/targets.h"
#include "gateway/out/webhook.h"
#include "gateway/s3/sigv4.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char token_path[] = "/tmp/test-targets-XXXXXX";

static int setup(void **state)
{
    (void)state;
    int fd = mkstemp(token_path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a-secret\nrest\n", 14), 14);
    return close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(token_path);
}

static int parse(const char *text, bool remote, struct targets *ret)
{
    struct buf why = {0};
    int err = targets_parse(text, remote, ret, &why);
    assert_true((err == OK) == (why.len == 0));
    assert_true(!why.ptr || !memmem(why.ptr, why.len, "secret-", 7));
    assert_true(!why.ptr || !memmem(why.ptr, why.len, "a-secret", 8));
    buf_fini(&why);
    return err;
}

/* The operator's token and key are used for whom the operator says. */
static void whom_they_serve(void **state)
{
    (void)state;
    static const struct {
        const char *accounts, *account;
        bool serves;
    } cases[] = {
        {"", "000000000001", true},
        {"", "", true},
        {"", "000000000002", false},
        {" accounts=*", "000000000002", true},
        {" accounts=000000000002", "000000000002", true},
        {" accounts=000000000002", "000000000001", true},
        {" accounts=000000000002", "000000000003", false},
        {" accounts=000000000003,000000000002", "000000000002", true},
        {" accounts=000000000003,000000000002", "00000000000", false},
        {" accounts=000000000003,000000000002", "000000000003,000000000002", false},
    };
    static const char *const bad[] = {"2",
                                      "**",
                                      "000000000002,",
                                      ",000000000002",
                                      "000000000002,000000000003,",
                                      "0000000000021",
                                      "000000000002;000000000003",
                                      "00000000000a",
                                      ""};
    char text[256];
    struct targets t = {0};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        snprintf(text, sizeof(text), "one=http://h/%s", cases[i].accounts);
        assert_int_equal(parse(text, false, &t), OK);
        assert_int_equal(target_serves(t.items, slice_cstr(cases[i].account)), cases[i].serves);
        targets_fini(&t);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        snprintf(text, sizeof(text), "one=http://h/ accounts=%s", bad[i]);
        assert_int_equal(parse(text, false, &t), ERR_CONFIG);
    }
}

static void webhooks(void **state)
{
    (void)state;
    char text[512];
    struct targets t = {0};
    assert_int_equal(parse("", false, &t), OK);
    assert_int_equal(t.count, 0);
    targets_fini(&t);
    snprintf(text, sizeof(text),
             " one=http://127.0.0.1:80/a?b=c ;\n two.x=https://h/ token=%s ca=/etc/ca.pem;",
             token_path);
    assert_int_equal(parse(text, false, &t), OK);
    assert_int_equal(t.count, 2);
    const struct target *one = targets_find(&t, SLICE_LIT("one"));
    const struct target *two = targets_find(&t, SLICE_LIT("two.x"));
    assert_true(one && two && !targets_find(&t, SLICE_LIT("on")));
    assert_string_equal(one->url, "http://127.0.0.1:80/a?b=c");
    assert_true(!one->token && !one->ca);
    assert_string_equal(two->url, "https://h");
    assert_string_equal(two->token, "a-secret");
    assert_string_equal(two->ca, "/etc/ca.pem");
    targets_fini(&t);
    assert_null(targets_find(NULL, SLICE_LIT("one")));
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "one",
        "=http://h",
        "o/ne=http://h",
        "https://user:secret-1@h/?token=secret-2",
        "hook!=https://h/?token=secret-2",
        "one=ftp://h",
        "one=http://",
        "one=http:///path",
        "one=http://user@h",
        "one=http://h#x",
        "one=http://h; one=http://i",
        "one=http://h more",
        "one=http://h other=1",
        "one=http://h token=/nowhere/at/all",
        "one=http://h token=/dev/null",
        "one=http://h ca=",
        "one=http://h access_key=A",
        "one=http://h ca=/a ca=/b",
    };
    struct targets t = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse(bad[i], false, &t), ERR_CONFIG);
    assert_int_equal(parse("dr=http://h access_key=A", true, &t), ERR_CONFIG);
    assert_int_equal(parse("dr=http://h/path access_key=A secret=/x", true, &t), ERR_CONFIG);
}

/* ---- signing ---- */

static struct http_call *started;
static void start(struct http_client *c, struct http_call *call)
{
    (void)c;
    started = call;
}
static const struct http_client_ops ops = {.start = start};

static const char *line(const char *name)
{
    for (size_t i = 0; i < started->field_count; i++)
        if (strncmp(started->fields[i], name, strlen(name)) == 0)
            return started->fields[i];
    return NULL;
}

/* Half a message that is taken would be one that is lost. */
static void what_is_not_whole_is_not_sent(void **state)
{
    (void)state;
    struct http_client client = {&ops};
    struct target target = {.url = (char *)(uintptr_t) "http://h"};
    struct webhook_post p = {0};
    started = NULL;
    buf_cstr(&p.body, "{");
    p.body.failed = true;
    assert_int_equal(webhook_post_start(&client, &target, 1000, &p), ERR_NOMEM);
    assert_null(started);
    p.body.failed = false;
    assert_int_equal(webhook_post_start(&client, &target, 1000, &p), OK);
    assert_non_null(started);
    webhook_post_fini(&p);
}

/* What is sent is what the server's own check takes. */
static void the_signature_holds(void **state)
{
    (void)state;
    char text[256];
    struct targets t = {0};
    struct http_client client = {&ops};
    struct arena a = {0};
    snprintf(text, sizeof(text), "dr=http://h:9000 access_key=AK secret=%s region=r", token_path);
    assert_int_equal(parse(text, true, &t), OK);
    struct s3_param params[] = {
        {.name = SLICE_LIT("partNumber"), .value = SLICE_LIT("2"), .has_value = true},
        {.name = SLICE_LIT("uploadId"), .value = SLICE_LIT("a+b/c"), .has_value = true}};
    struct http_field fields[] = {{SLICE_LIT("x-amz-meta-b"), SLICE_LIT("two  spaces")},
                                  {SLICE_LIT("content-type"), SLICE_LIT("text/plain")},
                                  {SLICE_LIT("x-amz-meta-empty"), SLICE_EMPTY}};
    struct s3_remote r = {.method = "PUT",
                          .bucket = SLICE_LIT("bucket"),
                          .key = SLICE_LIT("a b/\xc3\xbc"),
                          .params = params,
                          .param_count = 2,
                          .fields = fields,
                          .field_count = 3,
                          .now_ms = 1369353600000};
    assert_int_equal(s3_remote_start(&client, &t.items[0], &a, &r), OK);
    assert_string_equal(started->url,
                        "http://h:9000/bucket/a%20b/%C3%BC?partNumber=2&uploadId=a%2Bb%2Fc");
    assert_null(line("host"));
    assert_string_equal(line("x-amz-meta-empty"), "x-amz-meta-empty;");
    const char *authorization = line("Authorization");
    assert_non_null(authorization);
    /* As the server sees it. */
    struct http_field got[16];
    size_t n = 0;
    got[n++] = (struct http_field){SLICE_LIT("Host"), SLICE_LIT("h:9000")};
    for (size_t i = 0; i < started->field_count; i++) {
        const char *f = started->fields[i];
        size_t name = strcspn(f, ":;");
        const char *value = f[name] == ':' ? f + name + 2 : "";
        got[n++] = (struct http_field){SLICE(f, name), slice_cstr(value)};
    }
    struct s3_request request;
    struct s3_fault fault = {0};
    struct sigv4_auth auth;
    struct s3_addressing addressing = {0};
    uint8_t key[SHA256_BYTES];
    assert_int_equal(s3_request_parse(&a, &addressing, SLICE_LIT("PUT"),
                                      slice_cstr(started->url + strlen("http://h:9000")),
                                      (struct http_fields){got, n}, &request, &fault),
                     S3_OK);
    assert_int_equal(sigv4_parse(&request, &auth, &fault), S3_OK);
    assert_int_equal(sigv4_check_scope(&request, &auth, SLICE_LIT("r"), r.now_ms, &fault), S3_OK);
    sigv4_signing_key(SLICE_LIT("a-secret"), auth.scope_date, auth.region, auth.service, key);
    assert_int_equal(sigv4_verify(&request, &auth, key, &fault), S3_OK);
    key[0] ^= 1;
    assert_int_equal(sigv4_verify(&request, &auth, key, &fault), S3_SIGNATURE_DOES_NOT_MATCH);
    http_call_fini(&r.call);
    arena_fini(&a);
    targets_fini(&t);
}

static void elements(void **state)
{
    (void)state;
    struct slice d = SLICE_LIT("<A><UploadIdX>1</UploadIdX><UploadId>abc</UploadId><B>x");
    struct slice s = s3_remote_element(d, "UploadId");
    assert_true(slice_eq(s, SLICE_LIT("abc")));
    assert_int_equal(s3_remote_element(d, "B").len, 0); /* cut off */
    assert_int_equal(s3_remote_element(d, "C").len, 0);
    assert_int_equal(s3_remote_element(SLICE_EMPTY, "C").len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whom_they_serve),
        cmocka_unit_test(webhooks),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(what_is_not_whole_is_not_sent),
        cmocka_unit_test(the_signature_holds),
        cmocka_unit_test(elements),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
