/* Lifecycle rules: documents and their normal form, what is refused, what rules say of what. */
#include "gateway/s3/lifecycle.h"
#include "gateway/s3/settings.h"
#include "gateway/s3/time.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define NS " xmlns=\"" S3_XMLNS "\""
#define DOC(x) "<LifecycleConfiguration>" x "</LifecycleConfiguration>"
#define RULE(x) DOC("<Rule><ID>r</ID><Status>Enabled</Status>" x "</Rule>")
#define ALL "<Filter/>"
#define DAYS "<Expiration><Days>3</Days></Expiration>"
#define AND(x) "<Filter><And>" x "</And></Filter>"
#define TAG(k, v) "<Tag><Key>" k "</Key><Value>" v "</Value></Tag>"

static struct made m;
static struct buf out;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    buf_fini(&out);
    return 0;
}

static enum s3_code put(const char *body)
{
    MAKE(&m, "PUT", "/bkt?lifecycle", "Host: x");
    assert_code(m.code, S3_OK);
    buf_clear(&out);
    return s3_setting_read(s3_setting_of_op(m.request.op), &m.request, slice_cstr(body), &out,
                           &m.fault);
}

static void normal_form(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {RULE(ALL DAYS), DOC("<Rule><ID>r</ID><Status>Enabled</Status><Filter></Filter>"
                             "<Expiration><Days>3</Days></Expiration></Rule>")},
        /* A date of any form that is a midnight gets one. */
        {RULE("<Prefix>a</Prefix><Expiration><Date>2024-02-29</Date></Expiration>"),
         DOC("<Rule><ID>r</ID><Status>Enabled</Status><Prefix>a</Prefix><Expiration>"
             "<Date>2024-02-29T00:00:00.000Z</Date></Expiration></Rule>")},
        {RULE(AND(TAG("a", "b") "<ObjectSizeGreaterThan> 5000000000 </ObjectSizeGreaterThan>")
                  DAYS),
         DOC("<Rule><ID>r</ID><Status>Enabled</Status><Filter><And><Tag><Key>a</Key><Value>b"
             "</Value></Tag><ObjectSizeGreaterThan>5000000000</ObjectSizeGreaterThan></And>"
             "</Filter><Expiration><Days>3</Days></Expiration></Rule>")},
    };
    for (size_t i = 0; i < ARRAY_COUNT(pairs); i++) {
        assert_code(put(pairs[i][0]), S3_OK);
        char want[1024];
        snprintf(want, sizeof(want), "<LifecycleConfiguration" NS "%s",
                 pairs[i][1] + strlen("<LifecycleConfiguration"));
        assert_slice(buf_view(&out), want);
        assert_code(put(want), S3_OK);
        assert_slice(buf_view(&out), want);
    }
    /* Rules without an id get one that no other has, and keep it. */
    assert_code(put(DOC("<Rule><Status>Enabled</Status>" ALL DAYS "</Rule>"
                        "<Rule><ID/><Status>Enabled</Status>" ALL DAYS "</Rule>")),
                S3_OK);
    char stored[2048];
    snprintf(stored, sizeof(stored), "%.*s", (int)out.len, (const char *)out.ptr);
    assert_non_null(strstr(stored, "<Rule><ID>"));
    assert_null(strstr(stored, "<ID></ID>"));
    assert_code(put(stored), S3_OK);
    assert_slice(buf_view(&out), stored);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum s3_code code;
    } cases[] = {
        {DOC(""), S3_MALFORMED_XML},
        {RULE(DAYS), S3_MALFORMED_XML}, /* neither prefix nor filter, or both */
        {RULE("<Prefix/>" ALL DAYS), S3_MALFORMED_XML},
        {DOC("<Rule>" ALL DAYS "</Rule>"), S3_MALFORMED_XML},
        {DOC("<Rule><Status>enabled</Status>" ALL DAYS "</Rule>"), S3_MALFORMED_XML},
        {RULE(ALL), S3_INVALID_REQUEST},
        {RULE(ALL "<Expiration/>"), S3_MALFORMED_XML},
        {RULE(ALL "<Expiration><Days>3</Days><Date>2024-01-01</Date></Expiration>"),
         S3_MALFORMED_XML},
        {RULE(ALL "<Expiration><Days>3</Days><ExpiredObjectDeleteMarker>true"
                  "</ExpiredObjectDeleteMarker></Expiration>"),
         S3_MALFORMED_XML},
        {RULE(ALL "<Expiration><Days>0</Days></Expiration>"), S3_INVALID_ARGUMENT},
        {RULE(ALL "<Expiration><Days>-1</Days></Expiration>"), S3_MALFORMED_XML},
        {RULE(ALL "<Expiration><Days>2147483648</Days></Expiration>"), S3_MALFORMED_XML},
        {RULE(ALL "<Expiration><Date>2024-01-01T00:00:01Z</Date></Expiration>"),
         S3_INVALID_ARGUMENT},
        {RULE(ALL "<Expiration><Date>2024-13-01</Date></Expiration>"), S3_INVALID_ARGUMENT},
        {RULE(ALL "<Expiration><Date>yesterday</Date></Expiration>"), S3_INVALID_ARGUMENT},
        {RULE("<Filter>" TAG("a", "b") "</Filter><Expiration><ExpiredObjectDeleteMarker>true"
                                       "</ExpiredObjectDeleteMarker></Expiration>"),
         S3_INVALID_REQUEST},
        {RULE("<Filter>" TAG("a", "b") "</Filter><AbortIncompleteMultipartUpload>"
                                       "<DaysAfterInitiation>1</DaysAfterInitiation>"
                                       "</AbortIncompleteMultipartUpload>"),
         S3_INVALID_REQUEST},
        {RULE("<Filter><ObjectSizeLessThan>5</ObjectSizeLessThan></Filter>"
              "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>"
              "</AbortIncompleteMultipartUpload>"),
         S3_INVALID_REQUEST},
        {RULE(ALL "<AbortIncompleteMultipartUpload><DaysAfterInitiation>0</DaysAfterInitiation>"
                  "</AbortIncompleteMultipartUpload>"),
         S3_INVALID_ARGUMENT},
        {RULE(ALL "<NoncurrentVersionExpiration><NoncurrentDays>0</NoncurrentDays>"
                  "</NoncurrentVersionExpiration>"),
         S3_INVALID_ARGUMENT},
        {RULE(ALL "<NoncurrentVersionExpiration><NewerNoncurrentVersions>1"
                  "</NewerNoncurrentVersions></NoncurrentVersionExpiration>"),
         S3_MALFORMED_XML},
        {RULE(ALL "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>"
                  "<NewerNoncurrentVersions>101</NewerNoncurrentVersions>"
                  "</NoncurrentVersionExpiration>"),
         S3_INVALID_ARGUMENT},
        {RULE("<Filter><Prefix/>" TAG("a", "b") "</Filter>" DAYS), S3_MALFORMED_XML},
        {RULE(AND(TAG("a", "b")) DAYS), S3_MALFORMED_XML}, /* And of one */
        {RULE(AND(TAG("a", "b") TAG("a", "c")) DAYS), S3_INVALID_TAG},
        {RULE("<Filter>" TAG("", "b") "</Filter>" DAYS), S3_INVALID_TAG},
        {RULE(AND("<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>5"
                  "</ObjectSizeLessThan>") DAYS),
         S3_INVALID_REQUEST},
        {DOC("<Rule><ID>a</ID><Status>Enabled</Status>" ALL DAYS "</Rule>"
             "<Rule><ID>a</ID><Status>Disabled</Status>" ALL DAYS "</Rule>"),
         S3_INVALID_ARGUMENT},
        {RULE(ALL "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"),
         S3_NOT_IMPLEMENTED},
        {RULE(ALL DAYS "<NoncurrentVersionTransition/>"), S3_NOT_IMPLEMENTED},
        {RULE(ALL DAYS "<Unknown/>"), S3_MALFORMED_XML},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum s3_code code = put(cases[i].body);
        if (code != cases[i].code || code != m.fault.code)
            fail_msg("%s: %s, not %s", cases[i].body, s3_code_name(code),
                     s3_code_name(cases[i].code));
    }
}

static void limits(void **state)
{
    (void)state;
    struct buf b = {0};
    for (unsigned rules = 1000; rules <= 1001; rules++) {
        buf_clear(&b);
        buf_cstr(&b, "<LifecycleConfiguration>");
        for (unsigned i = 0; i < rules; i++)
            buf_printf(&b, "<Rule><ID>%u</ID><Status>Enabled</Status>" ALL DAYS "</Rule>", i);
        buf_cstr(&b, "</LifecycleConfiguration>");
        buf_u8(&b, 0);
        assert_code(put((char *)b.ptr), rules == 1000 ? S3_OK : S3_MALFORMED_XML);
    }
    for (unsigned chars = 255; chars <= 256; chars++) {
        buf_clear(&b);
        buf_cstr(&b, "<LifecycleConfiguration><Rule><ID>");
        for (unsigned i = 0; i < chars; i++)
            buf_u8(&b, 'x');
        buf_cstr(&b, "</ID><Status>Enabled</Status>" ALL DAYS "</Rule></LifecycleConfiguration>");
        buf_u8(&b, 0);
        assert_code(put((char *)b.ptr), chars == 255 ? S3_OK : S3_INVALID_ARGUMENT);
    }
    buf_fini(&b);
}

/* ---- what rules say ---- */

static struct s3_lifecycle read_rules(const char *body)
{
    struct s3_lifecycle l;
    struct s3_node *root;
    MAKE(&m, "PUT", "/bkt?lifecycle", "Host: x");
    assert_code(s3_document_read(&m.arena, &s3_lifecycle_schema, slice_cstr(body), &root, &m.fault),
                S3_OK);
    assert_code(s3_lifecycle_of_node(&m.arena, root, &l, &m.fault), S3_OK);
    return l;
}

static uint64_t at(const char *text)
{
    uint64_t ms;
    assert_true(iso8601_parse(slice_cstr(text), &ms));
    return ms;
}

static void midnights(void **state)
{
    (void)state;
    /* The example of S3's documentation, and what it leaves open: midnight itself. */
    assert_true(s3_lifecycle_due(at("2014-01-15T10:30:00Z"), 3, S3_DAY_MS) ==
                at("2014-01-19T00:00:00Z"));
    assert_true(s3_lifecycle_due(at("2014-01-15T00:00:00Z"), 3, S3_DAY_MS) ==
                at("2014-01-19T00:00:00Z"));
    assert_true(s3_lifecycle_due(at("2014-01-15T23:59:59Z"), 1, S3_DAY_MS) ==
                at("2014-01-17T00:00:00Z"));
    assert_true(s3_lifecycle_due(10001, 2, 2000) == 16000);
    assert_true(s3_lifecycle_due(5, INT32_MAX, S3_DAY_MS) < UINT64_MAX / 2);
}

#define D(n) ((n)*S3_DAY_MS)
enum { LATEST = 1, MARKER = 2, ALONE = 4 };

struct verdict {
    const char *rules, *key;
    int what;
    uint64_t age_days, noncurrent_days, newer, size;
    const char *tag; /* the value of "k"; NULL: no tag */
    enum s3_lifecycle_action action;
};

#define NONCURRENT(d, n)                                                                           \
    "<NoncurrentVersionExpiration><NoncurrentDays>" d "</NoncurrentDays>"                          \
    "<NewerNoncurrentVersions>" n "</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
#define NONCURRENT_ALL                                                                             \
    "<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays></"                            \
    "NoncurrentVersionExpiration>"
#define MARKERS                                                                                    \
    "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
#define SIZES                                                                                      \
    AND("<ObjectSizeGreaterThan>10</ObjectSizeGreaterThan><ObjectSizeLessThan>20"                  \
        "</ObjectSizeLessThan>")
#define DATE(d) "<Expiration><Date>" d "</Date></Expiration>"

static void verdicts(void **state)
{
    (void)state;
    static const struct verdict cases[] = {
        /* days: 3 and on to midnight (it is noon) */
        {RULE(ALL DAYS), "k", LATEST, 3, 0, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL DAYS), "k", LATEST, 4, 0, 0, 0, NULL, S3_LIFECYCLE_EXPIRE},
        {RULE(ALL DAYS), "k", LATEST | ALONE, 4, 0, 0, 0, NULL, S3_LIFECYCLE_EXPIRE},
        {RULE(ALL DAYS), "k", 0, 9, 9, 9, 0, NULL, S3_LIFECYCLE_KEEP},
        /* and markers that are alone and old enough */
        {RULE(ALL DAYS), "k", LATEST | MARKER | ALONE, 3, 0, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL DAYS), "k", LATEST | MARKER | ALONE, 4, 0, 0, 0, NULL,
         S3_LIFECYCLE_DELETE_MARKER},
        {RULE(ALL DAYS), "k", LATEST | MARKER, 9, 0, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL MARKERS), "k", LATEST | MARKER | ALONE, 0, 0, 0, 0, NULL,
         S3_LIFECYCLE_DELETE_MARKER},
        {RULE(ALL MARKERS), "k", LATEST | MARKER, 9, 0, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL MARKERS), "k", LATEST | ALONE, 9, 0, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL MARKERS), "k", MARKER, 9, 9, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        /* dates */
        {RULE(ALL DATE("2024-01-01")), "k", LATEST, 0, 0, 0, 0, NULL, S3_LIFECYCLE_EXPIRE},
        {RULE(ALL DATE("2025-01-02")), "k", LATEST, 999, 0, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL DATE("2024-01-01")), "k", LATEST | MARKER | ALONE, 99, 0, 0, 0, NULL,
         S3_LIFECYCLE_KEEP},
        /* filters */
        {RULE("<Prefix>a/</Prefix>" DAYS), "a", LATEST, 9, 0, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE("<Prefix>a/</Prefix>" DAYS), "a/b", LATEST, 9, 0, 0, 0, NULL, S3_LIFECYCLE_EXPIRE},
        {RULE("<Filter>" TAG("k", "v") "</Filter>" DAYS), "k", LATEST, 9, 0, 0, 0, NULL,
         S3_LIFECYCLE_KEEP},
        {RULE("<Filter>" TAG("k", "v") "</Filter>" DAYS), "k", LATEST, 9, 0, 0, 0, "w",
         S3_LIFECYCLE_KEEP},
        {RULE("<Filter>" TAG("k", "v") "</Filter>" DAYS), "k", LATEST, 9, 0, 0, 0, "v",
         S3_LIFECYCLE_EXPIRE},
        {RULE(AND(TAG("k", "v") TAG("l", "v")) DAYS), "k", LATEST, 9, 0, 0, 0, "v",
         S3_LIFECYCLE_KEEP},
        {RULE("<Filter>" TAG("k", "v") "</Filter>" DAYS), "k", LATEST | MARKER | ALONE, 9, 0, 0, 0,
         "v", S3_LIFECYCLE_KEEP},
        {RULE(SIZES DAYS), "k", LATEST, 9, 0, 0, 10, NULL, S3_LIFECYCLE_KEEP},
        {RULE(SIZES DAYS), "k", LATEST, 9, 0, 0, 11, NULL, S3_LIFECYCLE_EXPIRE},
        {RULE(SIZES DAYS), "k", LATEST, 9, 0, 0, 19, NULL, S3_LIFECYCLE_EXPIRE},
        {RULE(SIZES DAYS), "k", LATEST, 9, 0, 0, 20, NULL, S3_LIFECYCLE_KEEP},
        {DOC("<Rule><Status>Disabled</Status>" ALL DAYS "</Rule>"), "k", LATEST, 9, 0, 0, 0, NULL,
         S3_LIFECYCLE_KEEP},
        /* what is not current: since when, not how old */
        {RULE(ALL NONCURRENT_ALL), "k", 0, 99, 2, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL NONCURRENT_ALL), "k", 0, 99, 3, 0, 0, NULL, S3_LIFECYCLE_DELETE_VERSION},
        {RULE(ALL NONCURRENT_ALL), "k", MARKER, 99, 3, 0, 0, NULL, S3_LIFECYCLE_DELETE_VERSION},
        {RULE(ALL NONCURRENT_ALL), "k", LATEST, 99, 3, 0, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL NONCURRENT("1", "2")), "k", 0, 99, 9, 1, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(ALL NONCURRENT("1", "2")), "k", 0, 99, 9, 2, 0, NULL, S3_LIFECYCLE_DELETE_VERSION},
        {RULE(ALL NONCURRENT("5", "2")), "k", 0, 99, 3, 9, 0, NULL, S3_LIFECYCLE_KEEP},
        {RULE(SIZES NONCURRENT_ALL), "k", 0, 99, 9, 0, 15, NULL, S3_LIFECYCLE_DELETE_VERSION},
        {RULE(SIZES NONCURRENT_ALL), "k", 0, 99, 9, 0, 5, NULL, S3_LIFECYCLE_KEEP},
    };
    uint64_t now = at("2025-01-01T12:00:00Z");
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct verdict *c = &cases[i];
        struct s3_lifecycle l = read_rules(c->rules);
        struct s3_tag tag = {SLICE_LIT("k"), c->tag ? slice_cstr(c->tag) : SLICE_EMPTY};
        struct s3_lifecycle_object o = {.key = slice_cstr(c->key),
                                        .tags = {&tag, c->tag ? 1 : 0},
                                        .size = c->size,
                                        .mtime_ms = now - D(c->age_days),
                                        .noncurrent_ms = now - D(c->noncurrent_days),
                                        .newer_noncurrent = c->newer,
                                        .is_latest = c->what & LATEST,
                                        .delete_marker = c->what & MARKER,
                                        .alone = c->what & ALONE};
        struct s3_lifecycle_verdict v = {0};
        enum s3_lifecycle_action got = s3_lifecycle_judge(&l, &o, now, S3_DAY_MS, &v);
        if (got != c->action || (v.rule != NULL) != (got != S3_LIFECYCLE_KEEP) || v.due_ms > now)
            fail_msg("case %zu: %d instead of %d", i, got, c->action);
    }
}

static void which_rule(void **state)
{
    (void)state;
    struct s3_lifecycle l =
        read_rules(DOC("<Rule><ID>tagged</ID><Status>Enabled</Status><Filter>" TAG(
            "k", "v") "</Filter><Expiration><Days>1</Days></Expiration></Rule>"
                      "<Rule><ID>a b</ID><Status>Enabled</Status><Prefix>a</Prefix>" DAYS "</Rule>"
                      "<Rule><ID>up</ID><Status>Enabled</Status><Prefix>a/b</Prefix>"
                      "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>"
                      "</AbortIncompleteMultipartUpload></Rule>"
                      "<Rule><ID>off</ID><Status>Disabled</Status><Prefix/>" DAYS "</Rule>"));
    uint64_t made = at("2025-01-01T12:00:00Z"), when;
    struct s3_tag tag = {SLICE_LIT("k"), SLICE_LIT("v")};
    struct s3_lifecycle_object o = {
        .key = SLICE_LIT("a/b/c"), .tags = {&tag, 1}, .mtime_ms = made, .is_latest = true};
    const struct s3_lifecycle_rule *r;
    assert_true(l.wants_tags);
    /* The date is that of the first to come; to expire it, one that no change of tags undoes. */
    r = s3_lifecycle_expiry(&l, &o, S3_DAY_MS, &when);
    assert_slice(r->id, "tagged");
    assert_true(when == at("2025-01-03T00:00:00Z"));
    struct s3_lifecycle_verdict v;
    assert_int_equal(s3_lifecycle_judge(&l, &o, made + D(9), S3_DAY_MS, &v), S3_LIFECYCLE_EXPIRE);
    assert_slice(v.rule->id, "a b");
    assert_true(v.due_ms == at("2025-01-05T00:00:00Z"));
    o.tags.count = 0;
    r = s3_lifecycle_expiry(&l, &o, S3_DAY_MS, &when);
    buf_clear(&out);
    s3_lifecycle_expiration_text(&out, r, when);
    assert_slice(buf_view(&out),
                 "expiry-date=\"Sun, 05 Jan 2025 00:00:00 GMT\", rule-id=\"a%20b\"");
    o.key = SLICE_LIT("b");
    assert_null(s3_lifecycle_expiry(&l, &o, S3_DAY_MS, &when));
    r = s3_lifecycle_abort(&l, SLICE_LIT("a/b/c"), made, S3_DAY_MS, &when);
    assert_slice(r->id, "up");
    assert_true(when == at("2025-01-04T00:00:00Z"));
    assert_null(s3_lifecycle_abort(&l, SLICE_LIT("a/c"), made, S3_DAY_MS, &when));
}

static void prefixes(void **state)
{
    (void)state;
    struct slice *p;
    size_t count;
#define AT(x) "<Rule><Status>Enabled</Status><Prefix>" x "</Prefix>" DAYS "</Rule>"
    struct s3_lifecycle l =
        read_rules(DOC(AT("b/") AT("a/b") AT("a/") AT("a/b/c") AT("a/") AT("c")));
    assert_true(s3_lifecycle_prefixes(&m.arena, &l, &p, &count));
    assert_int_equal(count, 3);
    assert_slice(p[0], "a/");
    assert_slice(p[1], "b/");
    assert_slice(p[2], "c");
    l = read_rules(DOC(AT("b") AT("") AT("a")));
    assert_true(s3_lifecycle_prefixes(&m.arena, &l, &p, &count));
    assert_true(count == 1 && p[0].len == 0);
    l = read_rules(DOC("<Rule><Status>Disabled</Status>" ALL DAYS "</Rule>"));
    assert_true(s3_lifecycle_prefixes(&m.arena, &l, &p, &count) && count == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_teardown(f, teardown)
        T(normal_form), T(refused),    T(limits),   T(midnights),
        T(verdicts),    T(which_rule), T(prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
