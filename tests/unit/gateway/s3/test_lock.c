/* Object lock as clients speak of it: fields, documents, periods. */
#include "gateway/s3/lock.h"
#include "gateway/s3/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define NOW_MS (UINT64_C(1767225600) * 1000) /* 2026-01-01T00:00:00Z */
#define NEXT_DAY_MS (NOW_MS + 24 * 3600 * 1000)
#define MODE "x-amz-object-lock-mode: "
#define UNTIL "x-amz-object-lock-retain-until-date: "
#define HOLD "x-amz-object-lock-legal-hold: "

static struct made m;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    return 0;
}

static void fields(void **state)
{
    (void)state;
    static const struct {
        const char *field[3];
        enum s3_code code;
        struct s3_lock want;
    } cases[] = {
        {{"Host: x"}, S3_OK, {0}},
        {{MODE "GOVERNANCE", UNTIL "2026-01-02T00:00:00Z"},
         S3_OK,
         {S3_LOCK_GOVERNANCE, NEXT_DAY_MS, S3_HOLD_NEVER}},
        {{MODE "COMPLIANCE", UNTIL "2026-01-02T00:00:00.007Z", HOLD "OFF"},
         S3_OK,
         {S3_LOCK_COMPLIANCE, NEXT_DAY_MS + 7, S3_HOLD_OFF}},
        {{HOLD "ON"}, S3_OK, {S3_LOCK_NONE, 0, S3_HOLD_ON}},
        {{MODE "COMPLIANCE"}, S3_INVALID_ARGUMENT, {0}},
        {{UNTIL "2026-01-02T00:00:00Z"}, S3_INVALID_ARGUMENT, {0}},
        {{MODE "", UNTIL "2026-01-02T00:00:00Z"}, S3_INVALID_ARGUMENT, {0}},
        {{MODE "governance", UNTIL "2026-01-02T00:00:00Z"}, S3_INVALID_ARGUMENT, {0}},
        {{MODE "GOVERNANCE", UNTIL ""}, S3_INVALID_ARGUMENT, {0}},
        {{MODE "GOVERNANCE", UNTIL "Fri, 02 Jan 2026 00:00:00 GMT"}, S3_INVALID_ARGUMENT, {0}},
        {{MODE "GOVERNANCE", UNTIL "2026-01-01T00:00:00Z"}, S3_INVALID_ARGUMENT, {0}}, /* now */
        {{HOLD ""}, S3_INVALID_ARGUMENT, {0}},
        {{HOLD "on"}, S3_INVALID_ARGUMENT, {0}},
        {{"X-Amz-Object-Lock-Event: 1"}, S3_NOT_IMPLEMENTED, {0}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct s3_lock lock;
        const char *const list[] = {cases[i].field[0], cases[i].field[1], cases[i].field[2], NULL};
        make(&m, "PUT", "/bkt/k", list);
        assert_code(s3_lock_of_request(&m.request, NOW_MS, &lock, &m.fault), cases[i].code);
        if (cases[i].code == S3_OK)
            assert_true(lock.mode == cases[i].want.mode && lock.hold == cases[i].want.hold &&
                        lock.until_ms == cases[i].want.until_ms);
    }
}

static void switches(void **state)
{
    (void)state;
    bool lock = true;
    MAKE(&m, "DELETE", "/bkt/k", "x-amz-bypass-governance-retention: True");
    assert_true(s3_lock_bypass(&m.request));
    assert_code(s3_lock_of_bucket(&m.request, &lock, &m.fault), S3_OK);
    assert_false(lock);
    MAKE(&m, "DELETE", "/bkt/k", "x-amz-bypass-governance-retention: 1");
    assert_false(s3_lock_bypass(&m.request));
    MAKE(&m, "PUT", "/bkt", "x-amz-bucket-object-lock-enabled: true");
    assert_code(s3_lock_of_bucket(&m.request, &lock, &m.fault), S3_OK);
    assert_true(lock && !s3_lock_bypass(&m.request));
    MAKE(&m, "PUT", "/bkt", "x-amz-bucket-object-lock-enabled: False");
    assert_code(s3_lock_of_bucket(&m.request, &lock, &m.fault), S3_OK);
    assert_false(lock);
    MAKE(&m, "PUT", "/bkt", "x-amz-bucket-object-lock-enabled: yes");
    assert_code(s3_lock_of_bucket(&m.request, &lock, &m.fault), S3_INVALID_ARGUMENT);
    struct s3_checksum_claim claim = {0};
    assert_code(s3_lock_needs_checksum(&claim, "x", &m.fault), S3_INVALID_REQUEST);
    claim.has_md5 = true;
    assert_code(s3_lock_needs_checksum(&claim, "x", &m.fault), S3_OK);
    claim = (struct s3_checksum_claim){.algorithm = S3_CHECKSUM_CRC32, .in_trailer = true};
    assert_code(s3_lock_needs_checksum(&claim, "x", &m.fault), S3_OK);
}

static enum s3_code retention(const char *inside, struct s3_lock *ret)
{
    struct buf b = {0};
    MAKE(&m, "PUT", "/bkt/k?retention", "Host: x");
    buf_printf(&b, "<Retention>%s</Retention>", inside);
    enum s3_code code =
        s3_lock_read_retention(m.request.arena, buf_view(&b), NOW_MS, ret, &m.fault);
    buf_fini(&b);
    return code;
}

static void documents(void **state)
{
    (void)state;
    struct s3_lock lock;
    struct buf b = {0};
    assert_code(retention("<RetainUntilDate> 2026-01-02T00:00:00Z\n</RetainUntilDate><Mode>"
                          "COMPLIANCE</Mode>",
                          &lock),
                S3_OK);
    assert_true(lock.mode == S3_LOCK_COMPLIANCE && lock.until_ms == NEXT_DAY_MS);
    s3_lock_write_retention(&b, lock.mode, lock.until_ms);
    assert_slice(buf_view(&b), "<Retention xmlns=\"" S3_XMLNS "\"><Mode>COMPLIANCE</Mode>"
                               "<RetainUntilDate>2026-01-02T00:00:00.000Z</RetainUntilDate>"
                               "</Retention>");
    assert_code(retention("", &lock), S3_OK);
    assert_true(lock.mode == S3_LOCK_NONE && lock.until_ms == 0);
    static const struct {
        const char *inside;
        enum s3_code code;
    } wrong[] = {
        {"<Mode>COMPLIANCE</Mode>", S3_MALFORMED_XML},
        {"<RetainUntilDate>2026-01-02T00:00:00Z</RetainUntilDate>", S3_MALFORMED_XML},
        {"<Mode>compliance</Mode><RetainUntilDate>2026-01-02T00:00:00Z</RetainUntilDate>",
         S3_MALFORMED_XML},
        {"<Mode>COMPLIANCE</Mode><RetainUntilDate>2026-02-30T00:00:00Z</RetainUntilDate>",
         S3_MALFORMED_XML},
        {"<Mode>COMPLIANCE</Mode><Days>1</Days>", S3_MALFORMED_XML},
        {"<Mode>COMPLIANCE</Mode><RetainUntilDate>2026-01-01T00:00:00Z</RetainUntilDate>",
         S3_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_code(retention(wrong[i].inside, &lock), wrong[i].code);
    struct arena *arena = m.request.arena;
    assert_code(s3_lock_read_retention(arena, SLICE_EMPTY, NOW_MS, &lock, &m.fault),
                S3_MISSING_REQUEST_BODY);
    struct slice on = SLICE_LIT("<LegalHold><Status>ON</Status></LegalHold>");
    assert_code(s3_lock_read_hold(arena, on, &lock, &m.fault), S3_OK);
    assert_true(lock.hold == S3_HOLD_ON);
    buf_clear(&b);
    s3_lock_write_hold(&b, S3_HOLD_OFF);
    assert_slice(buf_view(&b),
                 "<LegalHold xmlns=\"" S3_XMLNS "\"><Status>OFF</Status></LegalHold>");
    on = SLICE_LIT("<LegalHold><Status>TRUE</Status></LegalHold>");
    assert_code(s3_lock_read_hold(arena, on, &lock, &m.fault), S3_MALFORMED_XML);
    assert_code(s3_lock_read_hold(arena, SLICE_LIT("<LegalHold/>"), &lock, &m.fault),
                S3_MALFORMED_XML);
    buf_fini(&b);
}

#define LOCK(x) "<ObjectLockConfiguration>" x "</ObjectLockConfiguration>"
#define ENABLED "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
#define RULE(mode, x)                                                                              \
    LOCK(ENABLED "<Rule><DefaultRetention><Mode>" mode "</Mode>" x "</DefaultRetention></Rule>")

static void configurations(void **state)
{
    (void)state;
    static const struct {
        const char *document;
        enum s3_code code;
        enum s3_lock_mode mode;
        uint64_t days;
    } cases[] = {
        {LOCK(ENABLED), S3_OK, S3_LOCK_NONE, 0},
        {RULE("GOVERNANCE", "<Days>1</Days>"), S3_OK, S3_LOCK_GOVERNANCE, 1},
        {RULE("GOVERNANCE", "<Days> 36500 </Days>"), S3_OK, S3_LOCK_GOVERNANCE, 36500},
        {RULE("COMPLIANCE", "<Years>100</Years>"), S3_OK, S3_LOCK_COMPLIANCE, 36500},
        {RULE("COMPLIANCE", "<Days>0</Days>"), S3_INVALID_RETENTION_PERIOD, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", "<Days>-7</Days>"), S3_INVALID_RETENTION_PERIOD, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", "<Days>36501</Days>"), S3_INVALID_RETENTION_PERIOD, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", "<Years>101</Years>"), S3_INVALID_RETENTION_PERIOD, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", "<Days>1</Days><Years>1</Years>"), S3_MALFORMED_XML, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", ""), S3_MALFORMED_XML, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", "<Days>one</Days>"), S3_MALFORMED_XML, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", "<Days>-</Days>"), S3_MALFORMED_XML, S3_LOCK_NONE, 0},
        {RULE("COMPLIANCE", "<Days>1                                </Days>"), S3_MALFORMED_XML,
         S3_LOCK_NONE, 0},
        {RULE("NONE", "<Days>1</Days>"), S3_MALFORMED_XML, S3_LOCK_NONE, 0},
        {LOCK(ENABLED "<Rule/>"), S3_MALFORMED_XML, S3_LOCK_NONE, 0},
        {LOCK(""), S3_MALFORMED_XML, S3_LOCK_NONE, 0},
        {LOCK("<ObjectLockEnabled>Disabled</ObjectLockEnabled>"), S3_MALFORMED_XML, S3_LOCK_NONE,
         0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf stored = {0};
        enum s3_lock_mode mode;
        uint64_t retain_ms;
        MAKE(&m, "PUT", "/bkt?object-lock", "Host: x");
        const struct s3_setting *s = s3_setting_of_op(m.request.op);
        assert_code(
            s3_setting_read(s, &m.request, slice_cstr(cases[i].document), &stored, &m.fault),
            cases[i].code);
        if (cases[i].code == S3_OK) {
            assert_code(
                s3_lock_default(m.request.arena, buf_view(&stored), &mode, &retain_ms, &m.fault),
                S3_OK);
            assert_int_equal(mode, cases[i].mode);
            assert_true(retain_ms == cases[i].days * 24 * 3600 * 1000);
        }
        buf_fini(&stored);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(fields, teardown),
        cmocka_unit_test_teardown(switches, teardown),
        cmocka_unit_test_teardown(documents, teardown),
        cmocka_unit_test_teardown(configurations, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
