/* The parts: limits, the JSON reader, values, the tables of actions and operations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/policy/json.h"
#include "gateway/policy/s3_actions.h"
#include "gateway/policy/values.h"
#include "gateway/s3/request.h"
#include "tests/unit/gateway/policy/world.h"

/* ---- limits ---- */

/* A document of exactly n bytes, of which `blank` are blanks between tokens. */
static void document(struct buf *b, enum policy_kind kind, size_t n, size_t blank)
{
    const char *who = kind == POLICY_BUCKET ? "\"Principal\":\"*\"," : "";
    const char *what = kind == POLICY_TRUST
                           ? "\"Principal\":{\"AWS\":\"*\"},\"Action\":\"sts:AssumeRole\""
                           : "\"Action\":\"s3:GetObject\",\"Resource\":\"*\"";
    buf_clear(b);
    buf_printf(b, "{\"Statement\":{\"Effect\":\"Allow\",%s%s},\"Id\":\"", who, what);
    size_t rest = n - b->len - blank - 2;
    for (size_t i = 0; i < rest; i++)
        buf_u8(b, i % 2 ? ' ' : 'x'); /* blanks within a string count */
    buf_cstr(b, "\"");
    for (size_t i = 0; i < blank; i++)
        buf_u8(b, '\n');
    buf_cstr(b, "}");
    assert_int_equal(b->len, n);
}

/* Escaped quotes do not end a string, so the blanks behind them count. */
static void escapes_are_counted(void **state)
{
    (void)state;
    struct buf b = {0};
    struct arena a = {0};
    const struct policy *p = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    buf_cstr(
        &b,
        "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"},\"Id\":\"\\\"");
    while (b.len < POLICY_MANAGED_BYTES_MAX - 1)
        buf_u8(&b, ' ');
    buf_cstr(&b, "\"}");
    assert_int_equal(world_parse(&a, POLICY_MANAGED, buf_view(&b), &p, reason), POLICY_TOO_LARGE);
    b.len -= 3;
    buf_cstr(&b, "\"}");
    assert_int_equal(world_parse(&a, POLICY_MANAGED, buf_view(&b), &p, reason), POLICY_OK);
    arena_fini(&a);
    buf_fini(&b);
}

static void documents_are_bounded(void **state)
{
    (void)state;
    static const size_t max[] = {[POLICY_BUCKET] = 20480,
                                 [POLICY_MANAGED] = 6144,
                                 [POLICY_INLINE] = 10240,
                                 [POLICY_SESSION] = 2048,
                                 [POLICY_TRUST] = 4096};
    char reason[POLICY_REASON_BYTES_MAX];
    struct buf b = {0};
    for (size_t k = 0; k < POLICY_KIND_COUNT; k++) {
        struct arena a = {0};
        const struct policy *p = NULL;
        enum policy_kind kind = (enum policy_kind)k;
        document(&b, kind, max[k], 0);
        assert_int_equal(world_parse(&a, kind, buf_view(&b), &p, reason), POLICY_OK);
        document(&b, kind, max[k] + 1, 0);
        assert_int_equal(world_parse(&a, kind, buf_view(&b), &p, reason), POLICY_TOO_LARGE);
        assert_non_null(strstr(reason, "exceed"));
        /* IAM does not count blanks, S3 does; nobody takes any number of them. */
        document(&b, kind, max[k] + 500, 500);
        assert_int_equal(world_parse(&a, kind, buf_view(&b), &p, reason),
                         kind == POLICY_BUCKET ? POLICY_TOO_LARGE : POLICY_OK);
        document(&b, kind, POLICY_RAW_BYTES_MAX + 1, POLICY_RAW_BYTES_MAX - 1000);
        assert_int_equal(world_parse(&a, kind, buf_view(&b), &p, reason), POLICY_TOO_LARGE);
        arena_fini(&a);
    }
    buf_fini(&b);
}

/* What a document may cost, at its most expensive. */
static void memory_is_bounded(void **state)
{
    (void)state;
    static const char *const repeated[][3] = {
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Resource\":\"*\",\"Action\":[",
         "\"*\"", "]}}"},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:*\","
         "\"Resource\":[",
         "\"*\"", "]}}"},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\","
         "\"Principal\":"
         "{\"AWS\":[",
         "\"*\"", "]}}}"},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:*\","
         "\"Resource\":"
         "\"*\",\"Condition\":{\"StringEquals\":{\"aws:a\":[",
         "\"\"", "]}}}}"},
        {"{\"Statement\":[",
         "{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}", "]}"},
    };
    char reason[POLICY_REASON_BYTES_MAX];
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_COUNT(repeated); i++) {
        struct arena a = {0};
        const struct policy *p = NULL;
        buf_clear(&b);
        buf_cstr(&b, repeated[i][0]);
        while (b.len + strlen(repeated[i][1]) + 8 < POLICY_BUCKET_BYTES_MAX)
            buf_printf(&b, "%s,", repeated[i][1]);
        buf_printf(&b, "%s%s", repeated[i][1], repeated[i][2]);
        assert_int_equal(world_parse(&a, POLICY_BUCKET, buf_view(&b), &p, reason), POLICY_OK);
        assert_true(a.bytes <= 16 * b.len + 1024);
        arena_fini(&a);
        /* An arena that is too small says so. */
        arena_init(&a, 2 * b.len);
        p = NULL;
        assert_int_equal(world_parse(&a, POLICY_BUCKET, buf_view(&b), &p, reason),
                         POLICY_NO_MEMORY);
        assert_null(p);
        arena_fini(&a);
    }
    buf_fini(&b);
}

static void errors_have_the_names_that_clients_hear(void **state)
{
    (void)state;
    assert_string_equal(policy_error_code(POLICY_BUCKET, POLICY_MALFORMED), "MalformedPolicy");
    assert_string_equal(policy_error_code(POLICY_BUCKET, POLICY_TOO_LARGE), "PolicyTooLarge");
    assert_string_equal(policy_error_code(POLICY_BUCKET, POLICY_NO_MEMORY), "InternalError");
    assert_string_equal(policy_error_code(POLICY_MANAGED, POLICY_MALFORMED),
                        "MalformedPolicyDocument");
    assert_string_equal(policy_error_code(POLICY_TRUST, POLICY_TOO_LARGE), "LimitExceeded");
    assert_string_equal(policy_error_code(POLICY_SESSION, POLICY_TOO_LARGE),
                        "PackedPolicyTooLarge");
    assert_string_equal(policy_error_code(POLICY_INLINE, POLICY_NO_MEMORY), "ServiceFailure");
    assert_string_equal(policy_error_code(POLICY_INLINE, POLICY_OK), "");
    for (size_t k = 0; k < POLICY_KIND_COUNT; k++)
        assert_non_null(strstr(policy_kind_name((enum policy_kind)k), "policy"));
}

/* What a refusal quotes is cut between characters. */
static void reasons_are_text(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf b = {0};
    const struct policy *p = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    for (size_t shift = 0; shift < 3; shift++) {
        buf_clear(&b);
        buf_printf(&b, "{\"%.*s", (int)shift, "xx");
        for (size_t i = 0; i < 100; i++)
            buf_cstr(&b, "€");
        buf_cstr(&b, "\":1}");
        assert_int_equal(world_parse(&a, POLICY_BUCKET, buf_view(&b), &p, reason),
                         POLICY_MALFORMED);
        assert_true(utf8_valid(slice_cstr(reason)));
        assert_true(strncmp(reason, "Unknown field ", 14) == 0);
    }
    buf_fini(&b);
    arena_fini(&a);
}

/* ---- JSON ---- */

static void json_is_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int err;
        const char *value; /* of a string or number */
    } cases[] = {
        {"\"a\\u00e9\\n\\\"\\/\\\\\"", OK, "a\xc3\xa9\n\"/\\"},
        {"\"\\ud83d\\ude00\"", OK, "\xf0\x9f\x98\x80"},
        {"\"\\u20AC\"", OK, "\xe2\x82\xac"},
        {"\"\\ud83d\"", ERR_INVAL, NULL},
        {"\"\\ud83d\\u0041\"", ERR_INVAL, NULL},
        {"\"\\ude00\"", ERR_INVAL, NULL},
        {"\"\\u0000\"", ERR_INVAL, NULL},
        {"\"\\u12\"", ERR_INVAL, NULL},
        {"\"\\x\"", ERR_INVAL, NULL},
        {"\"a\nb\"", ERR_INVAL, NULL},
        {"\"a", ERR_INVAL, NULL},
        {"\"a\\", ERR_INVAL, NULL},
        {"\"a\\\"", ERR_INVAL, NULL},
        {"\"\xc0\x80\"", ERR_INVAL, NULL},
        {"\"\xed\xa0\x80\"", ERR_INVAL, NULL},
        {"\"\xf4\x90\x80\x80\"", ERR_INVAL, NULL},
        {"\"\xe2\x82\"", ERR_INVAL, NULL},
        {"-12.50e+3", OK, "-12.50e+3"},
        {"0", OK, "0"},
        {"01", ERR_INVAL, NULL},
        {"-", ERR_INVAL, NULL},
        {"1.", ERR_INVAL, NULL},
        {"1e", ERR_INVAL, NULL},
        {"+1", ERR_INVAL, NULL},
        {" true ", OK, "true"},
        {"null", OK, "null"},
        {"nul", ERR_INVAL, NULL},
        {"true false", ERR_INVAL, NULL},
        {"", ERR_INVAL, NULL},
        {"[1,]", ERR_INVAL, NULL},
        {"[1 2]", ERR_INVAL, NULL},
        {"[,]", ERR_INVAL, NULL},
        {"[", ERR_INVAL, NULL},
        {"{\"a\"}", ERR_INVAL, NULL},
        {"{\"a\":}", ERR_INVAL, NULL},
        {"{\"a\":1,}", ERR_INVAL, NULL},
        {"{a:1}", ERR_INVAL, NULL},
        {"{\"a\":1,\"\\u0061\":2}", ERR_INVAL, NULL},
        {"{\"a\":1,\"A\":2}", OK, NULL},
        {"[[[]]]", OK, NULL},
        {"[[[[]]]]", ERR_INVAL, NULL},
        {"[[[{}]]]", ERR_INVAL, NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arena a = {0};
        const struct policy_json *v = NULL;
        /* A copy of the exact size: the sanitizer sees a byte too far. */
        size_t n = strlen(cases[i].text);
        uint8_t *text = malloc(n ? n : 1);
        assert_non_null(text);
        memcpy(text, cases[i].text, n);
        int err = policy_json_parse(&a, SLICE(text, n), 3, &v);
        if (err != cases[i].err)
            fprintf(stderr, "%s\n", cases[i].text);
        assert_int_equal(err, cases[i].err);
        assert_int_equal(v != NULL, err == OK);
        if (cases[i].value)
            assert_true(slice_eq(v->text, slice_cstr(cases[i].value)));
        free(text);
        arena_fini(&a);
    }
}

/* ---- values ---- */

static void numbers_dates_and_addresses(void **state)
{
    (void)state;
    static const char *const not_numbers[] = {"", "-", ".5", "1.", "1e3", "0x1", " 1", "1 ", "--1"};
    static const char *const not_dates[] = {
        "",
        "2026-13",
        "2026-00-01",
        "2026-02-29",
        "2026-1-1",
        "2026-01-01T",
        "2026-01-01T00:00",
        "2026-01-01T24:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+1:00",
        "0000",
        "20260101T000000Z",
        "1234567890123",
        "-",
    };
    static const char *const not_addresses[] = {
        "",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.4/33",
        "1.2.3.4/",
        ":",
        ":::",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "::g",
        "12345::",
        "::1/129",
        "::1.2.3",
        "1:2:3:4:5:6:7:1.2.3.4",
        "1:2:3:4:5:6:7::8",
        "::1:",
    };
    static const struct {
        const char *network, *address;
        bool within;
    } within[] = {
        {"0.0.0.0/0", "255.1.2.3", true},
        {"::/0", "2001:db8::1", true},
        {"::/0", "1.2.3.4", false},
        {"10.1.2.3/8", "10.200.0.1", true},
        {"10.0.0.0/9", "10.128.0.0", false},
        {"10.0.0.0/8", "10.0.0.0/7", false},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", true},
        {"::1.2.3.4", "::102:304", true},
        {"1::", "1:0::0", true},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},
    };
    int c;
    int64_t ms;
    struct policy_address n, a;
    for (size_t i = 0; i < ARRAY_COUNT(not_numbers); i++)
        assert_false(policy_number_valid(slice_cstr(not_numbers[i])));
    assert_true(policy_number_compare(SLICE_LIT("-0"), SLICE_LIT("0.000"), &c) && c == 0);
    assert_true(policy_number_compare(SLICE_LIT("-10"), SLICE_LIT("-9.5"), &c) && c < 0);
    assert_true(policy_number_compare(SLICE_LIT("-1"), SLICE_LIT("1"), &c) && c < 0);
    assert_true(policy_number_compare(SLICE_LIT("+0.10"), SLICE_LIT("0.09"), &c) && c > 0);
    for (size_t i = 0; i < ARRAY_COUNT(not_dates); i++) {
        if (policy_date_parse(slice_cstr(not_dates[i]), &ms))
            fprintf(stderr, "%s\n", not_dates[i]);
        assert_false(policy_date_parse(slice_cstr(not_dates[i]), &ms));
    }
    assert_true(policy_date_parse(SLICE_LIT("1969-12-31T23:59:59.5Z"), &ms) && ms == -500);
    assert_true(policy_date_parse(SLICE_LIT("0001"), &ms) && ms == -62135596800000);
    assert_true(policy_date_parse(SLICE_LIT("9999-12-31T23:59:59.999Z"), &ms) &&
                ms == 253402300799999);
    assert_true(policy_date_parse(SLICE_LIT("-10"), &ms) && ms == -10000);
    for (size_t i = 0; i < ARRAY_COUNT(not_addresses); i++) {
        if (policy_address_parse(slice_cstr(not_addresses[i]), &a))
            fprintf(stderr, "%s\n", not_addresses[i]);
        assert_false(policy_address_parse(slice_cstr(not_addresses[i]), &a));
    }
    for (size_t i = 0; i < ARRAY_COUNT(within); i++) {
        assert_true(policy_address_parse(slice_cstr(within[i].network), &n));
        assert_true(policy_address_parse(slice_cstr(within[i].address), &a));
        assert_int_equal(policy_address_within(&n, &a), within[i].within);
    }
    assert_true(policy_base64_valid(SLICE_LIT("YQ==")) && policy_base64_valid(SLICE_EMPTY));
    assert_false(policy_base64_valid(SLICE_LIT("YQ=")) || policy_base64_valid(SLICE_LIT("Y===")) ||
                 policy_base64_valid(SLICE_LIT("Y-==")));
}

/* ---- actions and operations ---- */

static const struct policy_action *action(const char *name)
{
    for (size_t i = 0; i < policy_s3_action_count; i++)
        if (strcmp(policy_s3_actions[i].name, name) == 0)
            return &policy_s3_actions[i];
    return NULL;
}

static void the_actions_are_those_of_s3(void **state)
{
    (void)state;
    static const char *const kinds[] = {"service", "bucket", "object", "other"};
    char *text = world_read("s3_actions.txt"), *save = NULL;
    size_t n = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[64], kind[16];
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%63s %15s", name, kind), 2);
        const struct policy_action *a = action(name);
        if (!a || strcmp(kinds[a->resource], kind) != 0)
            fprintf(stderr, "%s\n", line);
        assert_non_null(a);
        assert_string_equal(kinds[a->resource], kind);
        n++;
    }
    assert_int_equal(n, policy_s3_action_count);
    assert_true(n > 150);
    free(text);
}

static bool needs(const char *operation, unsigned uses, const char *name, enum policy_target on)
{
    struct policy_need need[POLICY_NEEDS_MAX];
    size_t n = policy_s3_needs(operation, uses, need);
    bool found = false;
    for (size_t i = 0; i < n; i++)
        found |= strcmp(need[i].action, name) == 0 && need[i].target == on;
    return found;
}

/* Whatever is used: each need is an action of S3, on a resource of its kind, and none twice. */
static void operations_need_actions_that_exist(void **state)
{
    (void)state;
    size_t operations = 0;
    for (const char *op; (op = policy_s3_operation(operations)); operations++)
        for (unsigned uses = 0; uses < 1u << 10; uses++) {
            struct policy_need need[POLICY_NEEDS_MAX];
            size_t n = policy_s3_needs(op, uses, need);
            assert_true(n >= 1 && n <= POLICY_NEEDS_MAX);
            for (size_t i = 0; i < n; i++) {
                const struct policy_action *a = action(need[i].action + 3);
                if (!a)
                    fprintf(stderr, "%s: %s\n", op, need[i].action);
                assert_non_null(a);
                assert_int_equal(a->resource,
                                 need[i].target == POLICY_ON_SERVICE  ? POLICY_RESOURCE_SERVICE
                                 : need[i].target == POLICY_ON_BUCKET ? POLICY_RESOURCE_BUCKET
                                                                      : POLICY_RESOURCE_OBJECT);
                for (size_t k = 0; k < i; k++)
                    assert_false(need[k].target == need[i].target &&
                                 strcmp(need[k].action, need[i].action) == 0);
            }
        }
    assert_true(operations > 90);
}

static void every_operation_of_the_gateway_is_in_the_table(void **state)
{
    (void)state;
    struct policy_need need[POLICY_NEEDS_MAX];
    for (int op = S3_OP_NONE + 1; op < S3_OP_COUNT; op++) {
        const char *name = s3_op_name((enum s3_op)op);
        size_t n = policy_s3_needs(name, 0, need);
        /* The operator's questions are not S3's; other rules hold for them.  A browser's question
         * before a request needs no permission. */
        bool none = op == S3_OP_ADMIN || op == S3_OP_PREFLIGHT;
        if (n == 0 && !none)
            fprintf(stderr, "%s is not in the table\n", name);
        assert_int_equal(n == 0, none);
    }
    assert_int_equal(policy_s3_needs("Nothing", 0, need), 0);
}

static void what_operations_need(void **state)
{
    (void)state;
    assert_true(needs("GetObject", 0, "s3:GetObject", POLICY_ON_OBJECT));
    assert_true(needs("GetObject", POLICY_USE_VERSION, "s3:GetObjectVersion", POLICY_ON_OBJECT));
    assert_false(needs("GetObject", POLICY_USE_VERSION, "s3:GetObject", POLICY_ON_OBJECT));
    assert_true(needs("HeadObject", 0, "s3:GetObject", POLICY_ON_OBJECT));
    assert_true(needs("HeadBucket", 0, "s3:ListBucket", POLICY_ON_BUCKET));
    assert_true(needs("ListObjectsV2", 0, "s3:ListBucket", POLICY_ON_BUCKET));
    assert_true(needs("ListObjectVersions", 0, "s3:ListBucketVersions", POLICY_ON_BUCKET));
    assert_true(needs("ListBuckets", 0, "s3:ListAllMyBuckets", POLICY_ON_SERVICE));
    assert_true(needs("ListParts", 0, "s3:ListMultipartUploadParts", POLICY_ON_OBJECT));
    assert_true(
        needs("DeleteObject", POLICY_USE_VERSION, "s3:DeleteObjectVersion", POLICY_ON_OBJECT));
    assert_true(
        needs("DeleteObject", POLICY_USE_BYPASS, "s3:BypassGovernanceRetention", POLICY_ON_OBJECT));
    assert_true(needs("PutObject", POLICY_USE_ACL, "s3:PutObjectAcl", POLICY_ON_OBJECT));
    assert_false(needs("PutObject", 0, "s3:PutObjectAcl", POLICY_ON_OBJECT));
    assert_true(needs("PutObject", POLICY_USE_TAGGING, "s3:PutObjectTagging", POLICY_ON_OBJECT));
    assert_true(needs("CopyObject", 0, "s3:GetObject", POLICY_ON_SOURCE));
    assert_true(
        needs("CopyObject", POLICY_USE_SOURCE_VERSION, "s3:GetObjectVersion", POLICY_ON_SOURCE));
    assert_false(needs("CopyObject", POLICY_USE_SOURCE_VERSION, "s3:GetObject", POLICY_ON_SOURCE));
    assert_true(needs("CopyObject", POLICY_USE_COPY_TAGS, "s3:PutObjectTagging", POLICY_ON_OBJECT));
    assert_true(needs("CopyObject", 0, "s3:PutObject", POLICY_ON_OBJECT));
    assert_true(needs("RenameObject", 0, "s3:DeleteObject", POLICY_ON_SOURCE));
    assert_true(needs("DeleteBucketCors", 0, "s3:PutBucketCORS", POLICY_ON_BUCKET));
    assert_true(needs("GetObjectAttributes", 0, "s3:GetObjectAttributes", POLICY_ON_OBJECT));
    assert_true(
        needs("CreateBucket", POLICY_USE_OBJECT_LOCK, "s3:PutBucketVersioning", POLICY_ON_BUCKET));
    assert_true(needs("PutObjectRetention", POLICY_USE_BYPASS, "s3:BypassGovernanceRetention",
                      POLICY_ON_OBJECT));
}

static void arns(void **state)
{
    (void)state;
    struct buf b = {0};
    policy_s3_arn(&b, SLICE_LIT("photos"), SLICE_LIT("a/b c"));
    assert_true(slice_eq(buf_view(&b), SLICE_LIT("arn:aws:s3:::photos/a/b c")));
    buf_clear(&b);
    policy_s3_arn(&b, SLICE_LIT("photos"), SLICE_EMPTY);
    assert_true(slice_eq(buf_view(&b), SLICE_LIT("arn:aws:s3:::photos")));
    buf_clear(&b);
    policy_s3_arn(&b, SLICE_EMPTY, SLICE_EMPTY);
    assert_true(slice_eq(buf_view(&b), SLICE_LIT("*")));
    buf_fini(&b);
}

/* The names in the table of keys are actions; a slip would let a condition come with nothing. */
static void keys_of_s3(void **state)
{
    (void)state;
    struct policy_action_set with, named;
    assert_true(policy_s3_key_actions(SLICE_LIT("s3:PREFIX"), &with));
    named = policy_s3_actions_named(SLICE_LIT("s3:ListBucket"));
    assert_false(policy_action_set_empty(policy_action_set_and(with, named)));
    named = policy_s3_actions_named(SLICE_LIT("s3:GetObject"));
    assert_true(policy_action_set_empty(policy_action_set_and(with, named)));
    assert_true(policy_s3_key_actions(SLICE_LIT("s3:existingobjecttag/k"), &with));
    assert_false(policy_action_set_empty(policy_action_set_and(with, named)));
    assert_true(policy_s3_key_actions(SLICE_LIT("s3:TlsVersion"), &with));
    assert_false(policy_s3_key_actions(SLICE_LIT("aws:SourceIp"), &with));
    assert_false(policy_s3_key_actions(SLICE_LIT("s3:ExistingObjectTag"), &with));
    assert_true(policy_action_set_empty(policy_s3_actions_named(SLICE_LIT("s3:Nothing"))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_bounded),
        cmocka_unit_test(escapes_are_counted),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(errors_have_the_names_that_clients_hear),
        cmocka_unit_test(reasons_are_text),
        cmocka_unit_test(json_is_read_strictly),
        cmocka_unit_test(numbers_dates_and_addresses),
        cmocka_unit_test(the_actions_are_those_of_s3),
        cmocka_unit_test(operations_need_actions_that_exist),
        cmocka_unit_test(every_operation_of_the_gateway_is_in_the_table),
        cmocka_unit_test(what_operations_need),
        cmocka_unit_test(arns),
        cmocka_unit_test(keys_of_s3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
