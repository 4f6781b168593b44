/* Lifecycle rules carried out, over (short) days of a virtual clock: what goes, what stays, and
 * what was changed between the look and the deletion. */
#include "common/base/check.h"
#include "gateway/work/lifecycle.h"
#include "proto/methods.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

#define DAY_S 300u
#define RULE(x) "<Rule><Status>Enabled</Status>" x "</Rule>"
#define DAYS(n) "<Expiration><Days>" n "</Days></Expiration>"
#define NONCURRENT(n, keep)                                                                        \
    "<NoncurrentVersionExpiration><NoncurrentDays>" n "</NoncurrentDays>" keep                     \
    "</NoncurrentVersionExpiration>"

static struct stand s;
static struct jobs_metrics jobs_metrics;
static struct lifecycle_metrics metrics;
static struct lifecycle lifecycle;
static const struct job_kind *kinds[1];
static struct jobs *jobs;

static int run_x(struct exchange *x, const char *method, const char *target, const char *body)
{
    return exchange_run(&s, x, method, target, slice_cstr(body));
}

static void run(int status, const char *method, const char *target, const char *body)
{
    struct exchange x;
    int got = run_x(&x, method, target, body);
    if (got != status)
        fail_msg("%s %s: %d instead of %d: %.*s", method, target, got, status, (int)x.out.len,
                 (const char *)x.out.ptr);
    exchange_fini(&x);
}

static void says(const char *method, const char *target, const char *text)
{
    struct exchange x;
    run_x(&x, method, target, "");
    if (!exchange_says(&x, text))
        fail_msg("%s %s does not say %s: %.*s", method, target, text, (int)x.head.len,
                 (const char *)x.head.ptr);
    exchange_fini(&x);
}

static void rules(const char *text)
{
    struct buf b = {0};
    buf_printf(&b, "<LifecycleConfiguration>%s</LifecycleConfiguration>", text);
    buf_u8(&b, 0);
    run(200, "PUT", "/bucket?lifecycle", (const char *)b.ptr);
    buf_fini(&b);
}

static void versioning(const char *status)
{
    char body[128];
    snprintf(body, sizeof(body),
             "<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>", status);
    run(200, "PUT", "/bucket?versioning", body);
}

/* So many of <tag> in the list of versions. */
static unsigned listed(const char *tag)
{
    struct exchange x;
    unsigned n = 0;
    assert_int_equal(run_x(&x, "GET", "/bucket?versions", ""), 200);
    buf_u8(&x.out, 0);
    for (const char *p = (const char *)x.out.ptr; (p = strstr(p, tag)) != NULL; p++)
        n++;
    exchange_fini(&x);
    return n;
}
static unsigned versions(void)
{
    return listed("<Version>");
}
static unsigned markers(void)
{
    return listed("<DeleteMarker>");
}

static void seconds(unsigned n)
{
    fake_run(&s.f, n * NS_PER_SEC);
}
static void days(unsigned n)
{
    seconds(n * DAY_S);
}

static uint64_t counted(const struct metric_counter *c)
{
    return (uint64_t)atomic_load(&c->value);
}

static void begin(void)
{
    struct jobs_config config = {.interval_ms = 10000,
                                 .lease_ms = 60000,
                                 .parallel = 4,
                                 .node_id = "a",
                                 .kinds = kinds,
                                 .kind_count = 1};
    assert_int_equal(jobs_new(&s.gw, &config, &jobs_metrics, &jobs), OK);
}

static void end(void)
{
    if (!jobs)
        return;
    jobs_stop(jobs);
    seconds(30);
    assert_true(jobs_idle(jobs));
    jobs_free(jobs);
    jobs = NULL;
}

static int setup(void **state)
{
    (void)state;
    struct lifecycle_config config = {.interval_ms = 12000, .rate = 20000, .parallel = 2};
    stand_init(&s);
    s.config.lifecycle_day_ms = DAY_S * 1000;
    jobs_metrics_init(&jobs_metrics);
    lifecycle_metrics_init(&metrics);
    kinds[0] = lifecycle_init(&lifecycle, &config, &metrics);
    run(200, "PUT", "/bucket", "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    end();
    stand_fini(&s);
    return 0;
}

/* ---- the tests ---- */

static void objects_expire(void **state)
{
    (void)state;
    run(200, "PUT", "/bucket/log/a", "x");
    run(200, "PUT", "/bucket/log/b", "x");
    run(200, "PUT", "/bucket/keep", "x");
    rules(RULE("<ID>my rule</ID><Prefix>log/</Prefix>" DAYS("2")));
    says("HEAD", "/bucket/log/a", "x-amz-expiration: expiry-date=\"");
    says("HEAD", "/bucket/log/a", "rule-id=\"my%20rule\"");
    begin();
    days(2);
    assert_int_equal(versions(), 3);
    run(200, "PUT", "/bucket/log/b", "anew");
    days(1);
    run(404, "GET", "/bucket/log/a", "");
    run(200, "GET", "/bucket/log/b", "");
    assert_int_equal(versions(), 2);
    days(2);
    assert_int_equal(versions(), 1);
    run(200, "GET", "/bucket/keep", "");
    assert_int_equal(counted(metrics.expired), 2);
    /* Nothing is left to be done: rounds, and nothing proposed but their rows. */
    unsigned before = s.proposals;
    uint64_t rounds = counted(metrics.rounds);
    days(1);
    assert_true(counted(metrics.rounds) - rounds >= 10);
    assert_true(s.proposals - before <= 2 * (counted(metrics.rounds) - rounds) + 2);
}

static void versions_markers_and_uploads(void **state)
{
    (void)state;
    struct exchange x;
    versioning("Enabled");
    for (int i = 0; i < 5; i++)
        run(200, "PUT", "/bucket/a", "x");
    run(200, "PUT", "/bucket/b", "x");
    run(204, "DELETE", "/bucket/b", "");
    assert_int_equal(run_x(&x, "POST", "/bucket/u?uploads", ""), 200);
    exchange_fini(&x);
    rules(RULE("<Filter/>" NONCURRENT(
        "1",
        "<NewerNoncurrentVersions>2</NewerNoncurrentVersions>") "<AbortIncompleteMultipartUpload><"
                                                                "DaysAfterInitiation>3</"
                                                                "DaysAfterInitiation>"
                                                                "</"
                                                                "AbortIncompleteMultipartUpload>"));
    assert_int_equal(run_x(&x, "POST", "/bucket/v?uploads", ""), 200);
    assert_true(exchange_says(&x, "x-amz-abort-date: ") &&
                exchange_says(&x, "x-amz-abort-rule-id: "));
    exchange_fini(&x);
    begin();
    days(3);
    assert_int_equal(versions(), 3 + 1); /* of b the object is the newest noncurrent one */
    assert_int_equal(counted(metrics.versions), 2);
    says("GET", "/bucket?uploads", "<Key>u</Key>");
    days(2);
    assert_int_equal(counted(metrics.uploads), 2);
    rules(RULE("<Filter/>" NONCURRENT("1", "")));
    days(1);
    assert_int_equal(versions(), 1);
    assert_int_equal(markers(), 1); /* alone now, and no rule is about it */
    rules(RULE("<Filter/><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"
               "</Expiration>"));
    days(1);
    assert_int_equal(markers(), 0);
    assert_int_equal(versions(), 1);
    /* What expires of a bucket with versions stays below a marker, until rules say otherwise. */
    rules(RULE("<Filter/>" DAYS("1")));
    days(1);
    run(404, "GET", "/bucket/a", "");
    assert_true(versions() == 1 && markers() == 1);
    rules(RULE("<Filter/>" DAYS("1") NONCURRENT("1", "")));
    days(6);
    assert_true(versions() == 0 && markers() == 0);
}

static void null_versions(void **state)
{
    (void)state;
    run(200, "PUT", "/bucket/a", "before");
    versioning("Enabled");
    run(200, "PUT", "/bucket/a", "x");
    run(200, "PUT", "/bucket/a", "y");
    versioning("Suspended");
    run(200, "PUT", "/bucket/c", "x");
    rules(RULE("<Prefix>a</Prefix>" NONCURRENT("1", "")) RULE("<Prefix>c</Prefix>" DAYS("1")));
    begin();
    days(5);
    assert_int_equal(versions(), 1); /* a's newest */
    assert_int_equal(markers(), 0);  /* c's, which was alone and old enough */
    run(200, "GET", "/bucket/a", "");
    run(404, "GET", "/bucket/c", "");
}

static void filters(void **state)
{
    (void)state;
    struct exchange x;
    static const char *const tagged[][2] = {{"/bucket/t1", "class=old"},
                                            {"/bucket/t2", "class=old&more=1"},
                                            {"/bucket/t3", "class=new"}};
    for (size_t i = 0; i < ARRAY_COUNT(tagged); i++) {
        char field[64];
        snprintf(field, sizeof(field), "x-amz-tagging: %s", tagged[i][1]);
        exchange_start(&s, &x, "PUT", tagged[i][0], SLICE_LIT("x"), field, NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        exchange_fini(&x);
    }
    run(200, "PUT", "/bucket/large", "0123456789");
    rules(RULE("<Filter><Tag><Key>class</Key><Value>old</Value></Tag></Filter>" DAYS("1"))
              RULE("<Filter><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan></Filter>" DAYS("1")));
    says("GET", "/bucket/t1", "x-amz-expiration");
    begin();
    days(2);
    run(404, "GET", "/bucket/t1", "");
    run(404, "GET", "/bucket/t2", "");
    run(200, "GET", "/bucket/t3", "");
    run(404, "GET", "/bucket/large", "");
}

/* ---- changed in between ---- */

static const char *change_method, *change_target, *change_body;
static bool changed;
static struct exchange change;

/* When the first deletion comes: somebody changes something first. */
static bool on_propose(struct stand *stand_, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    if (changed || q->command->op_case != CAIRN__COMMAND__OP_DELETE_OBJECTS)
        return false;
    changed = true;
    exchange_start(stand_, &change, change_method, change_target, slice_cstr(change_body), NULL);
    return true; /* swallowed: it is proposed again when it was waited for in vain */
}

static void change_before(const char *method, const char *target, const char *body)
{
    change_method = method;
    change_target = target;
    change_body = body;
    changed = false;
    s.on_propose = on_propose;
    days(3);
    assert_true(changed && change.done);
    exchange_fini(&change);
    s.on_propose = NULL;
}

static void what_was_changed_stays(void **state)
{
    (void)state;
    struct exchange x;
    /* An object is written anew. */
    run(200, "PUT", "/bucket/a", "x");
    rules(RULE("<Filter/>" DAYS("30")));
    begin();
    days(29);
    change_before("PUT", "/bucket/a", "anew");
    says("GET", "/bucket/a", "anew");
    assert_int_equal(counted(metrics.overtaken), 1);
    run(204, "DELETE", "/bucket/a", "");
    /* Its tags, which the rule asks for, are taken away. */
    exchange_start(&s, &x, "PUT", "/bucket/t", SLICE_LIT("x"), "x-amz-tagging: k=v", NULL);
    exchange_wait(&x);
    exchange_fini(&x);
    rules(RULE("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>" DAYS("30")));
    days(29);
    change_before("DELETE", "/bucket/t?tagging", "");
    run(200, "GET", "/bucket/t", "");
    assert_int_equal(counted(metrics.overtaken), 2);
    run(204, "DELETE", "/bucket/t", "");
}

static void what_is_the_object_again_stays(void **state)
{
    (void)state;
    struct exchange x;
    char target[128];
    versioning("Enabled");
    run(200, "PUT", "/bucket/a", "x");
    run(204, "DELETE", "/bucket/a", "");
    assert_int_equal(run_x(&x, "GET", "/bucket?versions", ""), 200);
    buf_u8(&x.out, 0);
    const char *marker = strstr((const char *)x.out.ptr, "<DeleteMarker>");
    const char *id = marker ? strstr(marker, "<VersionId>") : NULL;
    assert_non_null(id);
    id += strlen("<VersionId>");
    snprintf(target, sizeof(target), "/bucket/a?versionId=%.*s", (int)strcspn(id, "<"), id);
    exchange_fini(&x);
    rules(RULE("<Filter/>" NONCURRENT("30", "")));
    begin();
    days(29);
    change_before("DELETE", target, "");
    run(200, "GET", "/bucket/a", "");
    assert_true(versions() == 1 && markers() == 0);
    assert_int_equal(counted(metrics.overtaken), 1);
}

static void the_bucket_changes(void **state)
{
    (void)state;
    /* Versioning is enabled between the look and the deletion: a marker, not the end. */
    run(200, "PUT", "/bucket/a", "x");
    rules(RULE("<Filter/>" DAYS("30")));
    begin();
    days(29);
    change_before("PUT", "/bucket?versioning",
                  "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    assert_true(versions() == 1 && markers() == 1);
    /* The rules are taken away, then the bucket. */
    run(204, "DELETE", "/bucket?lifecycle", "");
    run(404, "GET", "/bucket?lifecycle", "");
    days(9);
    assert_true(versions() == 1 && markers() == 1);
}

static const struct rpc_method *change_at;

/* When a page is listed: somebody changes something first, and is answered. */
static bool on_view(struct stand *stand_, struct fake_call *call)
{
    if (changed || call->method != change_at)
        return false;
    changed = true;
    exchange_start(stand_, &change, change_method, change_target, slice_cstr(change_body), NULL);
    return true; /* swallowed: it is listed again when it was waited for in vain */
}

static void change_while_listing(const struct rpc_method *method, const char *at_first,
                                 const char *how, const char *body)
{
    change_at = method;
    change_method = how;
    change_target = "/bucket?lifecycle";
    change_body = body;
    changed = false;
    s.on_view = on_view;
    rules(at_first);
    days(1);
    assert_true(changed && change.done && change.status / 100 == 2);
    exchange_fini(&change);
    s.on_view = NULL;
}

#define ABORT                                                                                      \
    RULE("<Filter/><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>"   \
         "</AbortIncompleteMultipartUpload>")

/* Rules by which a page is due are taken away, or changed, while it is listed. */
static void rules_that_are_no_more(void **state)
{
    (void)state;
    struct exchange x;
    run(200, "PUT", "/bucket/a", "x");
    assert_int_equal(run_x(&x, "POST", "/bucket/u?uploads", ""), 200);
    exchange_fini(&x);
    begin();
    days(3);
    change_while_listing(&method_meta_list, RULE("<Filter/>" DAYS("1")), "DELETE", "");
    change_while_listing(
        &method_meta_list, RULE("<Filter/>" DAYS("1")), "PUT",
        "<LifecycleConfiguration>" RULE("<Filter/>" DAYS("100")) "</LifecycleConfiguration>");
    change_while_listing(&method_meta_list_uploads, ABORT, "DELETE", "");
    assert_true(counted(metrics.expired) == 0 && counted(metrics.uploads) == 0);
    run(200, "GET", "/bucket/a", "");
    says("GET", "/bucket?uploads", "<Key>u</Key>");
    rules(RULE("<Filter/>" DAYS("1")) ABORT);
    days(1);
    assert_true(counted(metrics.expired) == 1 && counted(metrics.uploads) == 1);
}

/* Many keys, a page after the other; stopped in the middle, and gone on with. */
static void many(void **state)
{
    (void)state;
    enum { KEYS = 1700 };
    char target[64];
    lifecycle.config.rate = 1000;
    lifecycle.kind.period_ms = 3600000;
    versioning("Enabled");
    for (int i = 0; i < KEYS; i++) {
        snprintf(target, sizeof(target), "/bucket/%c%04d", i % 2 ? 'a' : 'z', i);
        run(200, "PUT", target, "");
    }
    rules(RULE("<Prefix>a</Prefix>" DAYS("1")) RULE("<Prefix>z</Prefix>" DAYS("1")));
    days(3); /* nobody is there */
    begin();
    for (int i = 0; i < 500 && counted(metrics.expired) == 0; i++)
        seconds(1);
    end();
    uint64_t first = counted(metrics.expired);
    assert_true(first > 0 && first < KEYS);
    begin();
    seconds(300);
    assert_int_equal(counted(metrics.expired), KEYS);
    assert_int_equal(counted(metrics.rounds), 1);
    assert_int_equal(counted(metrics.overtaken), 0);
    assert_true(counted(metrics.looked) <=
                KEYS + 500); /* no page but the last was looked at again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ON_STAND(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        ON_STAND(objects_expire),
        ON_STAND(versions_markers_and_uploads),
        ON_STAND(null_versions),
        ON_STAND(filters),
        ON_STAND(what_was_changed_stays),
        ON_STAND(what_is_the_object_again_stays),
        ON_STAND(the_bucket_changes),
        ON_STAND(rules_that_are_no_more),
        ON_STAND(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
