/* PostObject through the whole of a gateway loop: forms in pieces of any size, files of every size,
 * what is refused when, and that nothing is left behind. */
#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/sigv4.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

static struct stand s;
static struct exchange x;
static struct buf body, file;

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket", SLICE_EMPTY), 200);
    exchange_fini(&x);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&body);
    buf_fini(&file);
    stand_fini(&s);
    return 0;
}

static void field(const char *name, struct slice value)
{
    buf_printf(&body, "--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n", name);
    buf_slice(&body, value);
    buf_cstr(&body, "\r\n");
}

static void text_field(const char *name, const char *value)
{
    field(name, slice_cstr(value));
}

/* The fields that sign a policy; conditions: of the fields that the test adds. */
static void sign(const char *key, const char *conditions)
{
    char date[AMZ_DATE_CHARS + 1], credential[128], policy[2048], encoded[4096],
        hex[2 * SHA256_BYTES];
    uint8_t signing_key[SHA256_BYTES], mac[SHA256_BYTES];
    amz_date_format(env_wall_ms(&s.f.env), date);
    snprintf(credential, sizeof(credential), "%s/%.8s/us-east-1/s3/aws4_request", key, date);
    snprintf(policy, sizeof(policy),
             "{\"expiration\":\"2099-01-01T00:00:00Z\",\"conditions\":[{\"bucket\":\"bucket\"},"
             "[\"starts-with\",\"$key\",\"u/\"],{\"x-amz-algorithm\":\"AWS4-HMAC-SHA256\"},"
             "{\"x-amz-credential\":\"%s\"},{\"x-amz-date\":\"%s\"}%s]}",
             credential, date, conditions);
    struct slice text = SLICE(encoded, base64_encode(slice_cstr(policy), encoded));
    sigv4_signing_key(slice_cstr(s.signs_with), SLICE(date, 8), SLICE_LIT("us-east-1"),
                      SLICE_LIT("s3"), signing_key);
    hmac_sha256(SLICE(signing_key, sizeof(signing_key)), text, mac);
    hex_encode(SLICE(mac, sizeof(mac)), hex);
    field("policy", text);
    text_field("x-amz-algorithm", "AWS4-HMAC-SHA256");
    text_field("x-amz-credential", credential);
    text_field("x-amz-date", date);
    field("x-amz-signature", SLICE(hex, sizeof(hex)));
}

static void begin(const char *conditions)
{
    buf_clear(&body);
    sign("ROOTKEY", conditions);
    text_field("key", "u/${filename}");
}

static void end(size_t file_bytes, const char *after)
{
    buf_clear(&file);
    for (size_t i = 0; i < file_bytes; i++)
        buf_u8(&file, i % 1000 == 0 ? '\r' : (uint8_t)(i * 7 + i / 251));
    buf_cstr(&body, "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n");
    buf_slice(&body, buf_view(&file));
    buf_cstr(&body, after);
}

static void post_in(size_t chunk, int status, const char *says)
{
    const char *signs_as = s.signs_as;
    s.signs_as = ""; /* the form does */
    exchange_start(&s, &x, "POST", "/bucket", buf_view(&body),
                   "Content-Type: multipart/form-data; boundary=B", NULL);
    x.chunk = chunk;
    s.signs_as = signs_as;
    exchange_wait(&x);
    if (x.status != status || (says && !exchange_says(&x, says)))
        fail_msg("%d instead of %d %s\n%.*s", x.status, status, says ? says : "", (int)x.out.len,
                 (const char *)x.out.ptr);
    exchange_fini(&x);
}

static void post(int status, const char *says)
{
    post_in(100000, status, says);
}

static void check_stored(void)
{
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/u/f", SLICE_EMPTY), 200);
    assert_true(slice_eq(buf_view(&x.out), buf_view(&file)));
    exchange_fini(&x);
}

#define END "\r\n--B--\r\n"

static void sizes(void **state)
{
    (void)state;
    static const size_t bytes[] = {0, 1, 4095, 16000, 70000, 1000000, 10000000};
    static const size_t chunks[] = {7, 700, 100000};
    for (size_t i = 0; i < ARRAY_COUNT(bytes); i++)
        for (size_t k = 0; k < ARRAY_COUNT(chunks); k++) {
            if (bytes[i] / chunks[k] > 20000)
                continue;
            begin("");
            end(bytes[i], END);
            post_in(chunks[k], 204, "Location: http://test/bucket/u/f");
            check_stored();
        }
    /* Far less than what the length of the request let expect. */
    for (size_t i = 0; i < 5; i++) {
        begin("");
        end(bytes[i], "\r\n--B\r\nContent-Disposition: form-data; name=late\r\n\r\n");
        for (size_t n = 0; n < 300000; n++)
            buf_u8(&body, 'x');
        buf_cstr(&body, END);
        post(204, NULL);
        check_stored();
    }
}

static void refused(void **state)
{
    (void)state;
    begin("");
    text_field("x-amz-meta-a", "1");
    end(10, END);
    post(403, "Extra input fields: x-amz-meta-a");
    begin("");
    end(10, "\r\n--B");
    post(400, "MalformedPOSTRequest");
    begin("");
    end(10, "");
    post(400, "MalformedPOSTRequest");
    begin("");
    buf_cstr(&body, "--B--\r\n");
    post(400, "IncorrectNumberOfFilesInPostRequest");
    buf_clear(&body);
    sign("ROOTKEY", "");
    text_field("key", "v/f");
    end(10, END);
    post(403, "Policy Condition failed");
    buf_clear(&body);
    sign("NOBODY", "");
    text_field("key", "u/f");
    end(10, END);
    post(403, "InvalidAccessKeyId");
    begin("");
    s.signs_with = "another secret";
    body.len = 0;
    begin("");
    end(10, END);
    post(403, "SignatureDoesNotMatch");
    buf_clear(&body);
    text_field("key", "u/f"); /* nobody signed */
    end(10, END);
    post(403, "AccessDenied");
    assert_int_equal(stand_live_blobs(&s), 0);
}

static void ranges(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        int status;
        const char *says;
    } cases[] = {{99, 400, "<MinSizeAllowed>100<"},
                 {100, 204, NULL},
                 {200000, 204, NULL},
                 {200001, 400, "<MaxSizeAllowed>200000<"},
                 {900000, 400, "EntityTooLarge"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        begin(",[\"content-length-range\",100,200000]");
        end(cases[i].bytes, END);
        post(cases[i].status, cases[i].says);
    }
    begin(",[\"content-length-range\",100,200000]");
    end(200000, END);
    post(204, NULL);
    check_stored();
}

static void answers(void **state)
{
    (void)state;
    begin(",{\"success_action_status\":\"201\"},{\"Content-Type\":\"text/x\"}");
    text_field("success_action_status", "201");
    text_field("Content-Type", "text/x");
    end(5, END);
    post(201, "<PostResponse><Location>http://test/bucket/u/f</Location><Bucket>bucket</Bucket>"
              "<Key>u/f</Key><ETag>&quot;");
    assert_int_equal(exchange_run(&s, &x, "HEAD", "/bucket/u/f", SLICE_EMPTY), 200);
    assert_true(exchange_says(&x, "Content-Type: text/x\n"));
    exchange_fini(&x);
    begin(",[\"starts-with\",\"$success_action_redirect\",\"\"]");
    text_field("success_action_redirect", "http://there/");
    end(5, END);
    post(303, "Location: http://there/?bucket=bucket&key=u%2Ff&etag=%22");
}

/* The client goes away at any point. */
static void broken(void **state)
{
    (void)state;
    for (size_t at = 1; at < 400000; at = at * 3 / 2 + 1) {
        begin("");
        end(300000, END);
        s.signs_as = "";
        exchange_start(&s, &x, "POST", "/bucket", buf_view(&body),
                       "Content-Type: multipart/form-data; boundary=B", NULL);
        s.signs_as = "ROOTKEY";
        x.chunk = 500;
        x.break_at = at;
        exchange_wait(&x);
        assert_int_equal(x.status, at < body.len ? 400 : 204);
        exchange_fini(&x);
    }
    assert_int_equal(exchange_run(&s, &x, "DELETE", "/bucket/u/f", SLICE_EMPTY), 204);
    exchange_fini(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(answers, setup, teardown),
        cmocka_unit_test_setup_teardown(broken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
