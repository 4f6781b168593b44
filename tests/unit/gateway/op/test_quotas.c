/* Quotas of buckets and accounts through the whole of a gateway loop: what is refused, what that
 * costs those without one, and how it is counted. */
#include "common/base/check.h"
#include "gateway/op/quota.h"
#include "gateway/work/quota_measure.h"
#include "proto/methods.h"
#include "proto/registry.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

#define OWN OPERATOR_ACCOUNT
#define OTHER "000000000002"
#define INTERVAL_MS 60000

static struct stand s;
static struct quotas *quotas;
static struct quotas_metrics metrics;
static struct quota_measure_metrics measure_metrics;
static struct quota_measure measure;
static struct jobs_metrics jobs_metrics;
static const struct job_kind *kinds[2];
static uint8_t bytes[4000];

static void run(int status, const char *method, const char *target, const char *body)
{
    struct exchange x;
    int got = exchange_run(&s, &x, method, target, slice_cstr(body));
    if (got != status)
        fail_msg("%s %s: %d instead of %d: %.*s", method, target, got, status, (int)x.out.len,
                 (const char *)x.out.ptr);
    exchange_fini(&x);
}

static void put(const char *target, size_t len, int status, const char *says)
{
    struct exchange x;
    int got = exchange_run(&s, &x, "PUT", target, SLICE(bytes, len));
    if (got != status || (says && !exchange_says(&x, says)))
        fail_msg("PUT %s: %d instead of %d %s: %.*s", target, got, status, says ? says : "",
                 (int)x.out.len, (const char *)x.out.ptr);
    exchange_fini(&x);
}
#define FITS(target, len) put(target, len, 200, NULL)
#define EXCEEDS_BUCKET(target, len) put(target, len, 403, "quota of bytes would be")
#define EXCEEDS_ACCOUNT(target, len) put(target, len, 403, "quota of bytes of the bucket")

static void signs(const char *as)
{
    s.signs_as = as;
}

/* id 0: takes it away. */
static void account_quota(const char *account, uint64_t id, uint64_t bytes_max,
                          uint64_t objects_max)
{
    Cairn__Quota quota = CAIRN__QUOTA__INIT;
    quota.id = id;
    quota.bytes_max = bytes_max;
    quota.objects_max = objects_max;
    quota.changed_ms = env_wall_ms(&s.f.env);
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_QUOTA, QUOTAS_OF_ACCOUNTS, account,
                                   id ? &quota.base : NULL),
                     OK);
}

static void usage_put(const char *scope, uint64_t quota_id, uint64_t used, uint64_t versions)
{
    Cairn__QuotaUsage usage = CAIRN__QUOTA_USAGE__INIT;
    Cairn__JobRow job = CAIRN__JOB_ROW__INIT;
    uint8_t packed[128];
    usage.started_ms = usage.measured_ms = env_wall_ms(&s.f.env);
    usage.quota_id = quota_id;
    usage.bytes = used;
    usage.versions = versions;
    job.state = (ProtobufCBinaryData){cairn__quota_usage__pack(&usage, packed), packed};
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_JOB, scope, QUOTA_JOB, &job.base), OK);
}

/* What was counted, by its row in the root. */
static bool usage_get(const char *scope, uint64_t quota_id, Cairn__QuotaUsage *ret)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListRowsRequest q = CAIRN__LIST_ROWS_REQUEST__INIT;
    struct buf packed = {0};
    q.epoch = 1;
    q.kind = CAIRN__ROW_KIND__ROW_JOB;
    q.scope = (char *)(uintptr_t)scope;
    q.name = (char *)(uintptr_t)QUOTA_JOB;
    index_view_init(&view, s.index[0], NULL);
    assert_int_equal(index_list_rows(&view, &q, &reply), OK);
    buf_reserve(&packed, protobuf_c_message_get_packed_size(&reply.msg.base) + 1);
    packed.len = protobuf_c_message_pack(&reply.msg.base, packed.ptr);
    Cairn__ListRowsResponse *m = cairn__list_rows_response__unpack(NULL, packed.len, packed.ptr);
    bool known = m->n_rows && quota_usage_in(SLICE(m->rows[0]->value.data, m->rows[0]->value.len),
                                             quota_id, ret);
    cairn__list_rows_response__free_unpacked(m, NULL);
    buf_fini(&packed);
    index_reply_fini(&reply);
    return known;
}

static uint64_t counted(const struct metric_counter *c)
{
    return (uint64_t)atomic_load(&c->value);
}

static void seconds(unsigned n)
{
    fake_run(&s.f, n * NS_PER_SEC);
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    quotas_metrics_init(&metrics);
    quota_measure_metrics_init(&measure_metrics);
    jobs_metrics_init(&jobs_metrics);
    assert_int_equal(quotas_new(INTERVAL_MS, &metrics, &quotas), OK);
    s.gw.quotas = quotas;
    stand_put_account(&s, OTHER, "second");
    stand_put_key(&s, "OTHERKEY", OTHER, "", true);
    run(200, "PUT", "/bucket", "");
    run(200, "PUT", "/bucket2", "");
    signs("OTHERKEY");
    run(200, "PUT", "/theirs", "");
    signs("ROOTKEY");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stand_fini(&s);
    quotas_free(quotas);
    return 0;
}

/* ---- what holds ---- */

static void all_buckets_of_an_account_together(void **state)
{
    (void)state;
    account_quota(OWN, 7, 1000, 0);
    FITS("/bucket/a", 600);
    EXCEEDS_ACCOUNT("/bucket2/b", 401);
    FITS("/bucket2/b", 400);
    EXCEEDS_ACCOUNT("/bucket/c", 1);
    assert_int_equal(counted(metrics.refused), 2);
    signs("OTHERKEY"); /* another account's are not concerned */
    FITS("/theirs/a", 4000);
    signs("ROOTKEY");
    run(200, "PUT", "/bucket3", ""); /* nor is what brings no data */
    run(204, "DELETE", "/bucket/none", "");
    /* Bounds that are changed, and a quota that is lifted, are so for the next request. */
    account_quota(OWN, 7, 1500, 3);
    FITS("/bucket3/a", 500);
    put("/bucket3/b", 0, 403, "quota of objects of the bucket");
    account_quota(OWN, 0, 0, 0);
    FITS("/bucket3/b", 4000);
}

static void both_hold(void **state)
{
    (void)state;
    uint64_t id = 0;
    Cairn__BucketSetting setting = CAIRN__BUCKET_SETTING__INIT;
    Cairn__PutBucketSetting op = CAIRN__PUT_BUCKET_SETTING__INIT;
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__Quota quota = CAIRN__QUOTA__INIT;
    uint8_t packed[64];
    uint64_t touch = keyhash_bucket(SLICE_LIT("bucket"));
    id = 1ull << 63; /* the first bucket's (stand.c) */
    quota.bytes_max = 500;
    quota.id = 8;
    setting.kind = CAIRN__SETTING_KIND__SETTING_QUOTA;
    setting.document = (ProtobufCBinaryData){cairn__quota__pack(&quota, packed), packed};
    op.name = (char *)(uintptr_t) "bucket";
    op.id = id;
    op.setting = &setting;
    command.op_case = CAIRN__COMMAND__OP_PUT_BUCKET_SETTING;
    command.put_bucket_setting = &op;
    command.touches = &touch;
    command.n_touches = 1;
    assert_int_equal(stand_command(&s, 0, &command), OK);
    account_quota(OWN, 7, 1000, 0);
    EXCEEDS_BUCKET("/bucket/a", 501);
    FITS("/bucket/a", 300);
    FITS("/bucket2/a", 650);
    EXCEEDS_ACCOUNT("/bucket/b", 51); /* 200 are left in the bucket */
    FITS("/bucket/b", 50);
    /* A refusal by one leaves nothing behind in the other. */
    account_quota(OWN, 7, 2000, 0);
    EXCEEDS_BUCKET("/bucket/c", 151);
    FITS("/bucket/c", 150);
    FITS("/bucket2/c", 850);
    EXCEEDS_ACCOUNT("/bucket2/d", 1);
}

static const char to_other[] =
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":"
    "\"arn:aws:iam::" OTHER ":root\"},\"Action\":\"s3:PutObject\",\"Resource\":\"arn:aws:s3:::"
    "bucket/*\"}]}";

/* Whoever writes: it is the owner's account that holds it. */
static void who_writes_does_not_matter(void **state)
{
    (void)state;
    run(204, "PUT", "/bucket?policy", to_other);
    account_quota(OWN, 7, 1000, 0);
    account_quota(OTHER, 9, 100, 0);
    signs("OTHERKEY");
    FITS("/bucket/a", 900);
    EXCEEDS_ACCOUNT("/bucket/b", 101);
    EXCEEDS_ACCOUNT("/theirs/a", 101);
    FITS("/theirs/a", 100);
    signs("ROOTKEY");
    EXCEEDS_ACCOUNT("/bucket2/b", 101);
    account_quota(OWN, 0, 0, 0);
    signs("OTHERKEY");
    FITS("/bucket/b", 900);
}

/* ---- what the operator says ---- */

static void admin(const char *method, const char *what, const char *body, int status,
                  const char *says)
{
    struct exchange x;
    char target[128];
    snprintf(target, sizeof(target), "/_cairn/admin/v1/%s", what);
    int got = exchange_run(&s, &x, method, target, slice_cstr(body));
    if (got != status || !exchange_says(&x, says))
        fail_msg("%s %s: %d instead of %d %s: %.*s", method, what, got, status, says,
                 (int)x.out.len, (const char *)x.out.ptr);
    exchange_fini(&x);
}

static void set_by_the_operator(void **state)
{
    (void)state;
    admin("GET", "accounts/" OWN "/quota", "", 404, "The account has no quota");
    admin("GET", "accounts/" OWN "/show", "", 200, "\"quota\":null");
    FITS("/bucket/a", 100); /* the principal is cached, without one */
    admin("POST", "accounts/" OWN "/set-quota", "{\"max_bytes\":1000}", 200, "\"bytes_max\":1000");
    EXCEEDS_ACCOUNT("/bucket/b", 1001);
    FITS("/bucket/b", 900);
    admin("GET", "accounts/" OWN "/quota", "", 200, "\"usage\":null");
    /* Other bounds keep the count, a new quota does not. */
    struct exchange x;
    admin("POST", "accounts/" OWN "/set-quota", "{\"max_bytes\":2000,\"max_objects\":9}", 200,
          "\"objects_max\":9");
    FITS("/bucket/c", 1100);
    EXCEEDS_ACCOUNT("/bucket/d", 1);
    admin("POST", "accounts/" OWN "/delete-quota", "{}", 200, "\"changed\":true");
    admin("POST", "accounts/" OWN "/delete-quota", "{}", 200, "\"changed\":false");
    FITS("/bucket/d", 4000);
    admin("POST", "accounts/" OWN "/set-quota", "{\"max_bytes\":3000}", 200, "\"bytes_max\":3000");
    FITS("/bucket/e", 3000); /* nothing is counted for this one */
    EXCEEDS_ACCOUNT("/bucket/f", 1);
    admin("GET", "quota", "", 200, "\"accounts\":[{\"account\":\"" OWN "\",\"bytes_max\":3000");
    /* What is no quota, no account, or not the operator. */
    static const char *const bad[] = {"{}",
                                      "{\"max_bytes\":0}",
                                      "{\"max_bytes\":-1}",
                                      "{\"max_bytes\":1.5}",
                                      "{\"max_bytes\":\"1\"}",
                                      "{\"max_bytes\":18446744073709551616}",
                                      "[]"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        admin("POST", "accounts/" OTHER "/set-quota", bad[i], 400, "ValidationError");
    admin("POST", "accounts/999999999999/set-quota", "{\"max_bytes\":1}", 404, "NoSuchEntity");
    admin("GET", "accounts/nobody/show", "", 404, "NoSuchEntity");
    admin("POST", "accounts//set-quota", "{\"max_bytes\":1}", 400, "not named");
    admin("POST", "accounts//delete-quota", "{}", 400, "not named");
    signs("OTHERKEY");
    assert_int_equal(exchange_run(&s, &x, "GET", "/_cairn/admin/v1/quota", SLICE_EMPTY), 403);
    exchange_fini(&x);
    assert_int_equal(exchange_run(&s, &x, "POST",
                                  "/_cairn/admin/v1/accounts/" OTHER "/delete-quota",
                                  SLICE_LIT("{}")),
                     403);
    exchange_fini(&x);
    FITS("/theirs/a", 4000);
}

/* ---- what it costs ---- */

/* A write into an account without a quota takes one question to the witness and its proposal. */
static void without_one_nothing_is_paid(void **state)
{
    (void)state;
    static const char *const who[] = {"ROOTKEY", "OTHERKEY"};
    run(204, "PUT", "/bucket?policy", to_other);
    for (size_t i = 0; i < ARRAY_COUNT(who); i++) {
        signs(who[i]);
        FITS("/bucket/a", 100);
        unsigned metanode = s.metanode->calls, witness = s.witness->calls;
        FITS("/bucket/a", 100);
        assert_int_equal(s.metanode->calls, metanode + 1);
        assert_int_equal(s.witness->calls, witness + 1);
    }
    assert_int_equal(counted(metrics.reads), 0);
}

/* What was counted for a quota that was taken away since is none of the new one's. */
static void set_again_is_another_one(void **state)
{
    (void)state;
    account_quota(OWN, 7, 1000, 0);
    usage_put(OWN, 7, 990, 1);
    EXCEEDS_ACCOUNT("/bucket/a", 100);
    account_quota(OWN, 7, 1090, 0); /* the same with other bounds: the count stays good */
    FITS("/bucket/a", 100);
    EXCEEDS_ACCOUNT("/bucket/b", 1);
    account_quota(OWN, 0, 0, 0);
    run(204, "DELETE", "/bucket/a", "");
    account_quota(OWN, 8, 1000, 0); /* nothing is counted for this one yet */
    FITS("/bucket/a", 1000);
    EXCEEDS_ACCOUNT("/bucket/b", 1);
    usage_put(OWN, 8, 300, 1);
    seconds(6); /* until it is read again; what was accepted since it was counted is none */
    FITS("/bucket/b", 600);
    EXCEEDS_ACCOUNT("/bucket/c", 101);
}

static void append(const char *target, size_t from, size_t len, int status)
{
    struct exchange x;
    char field[64];
    snprintf(field, sizeof(field), "x-amz-write-offset-bytes: %zu", from);
    exchange_start(&s, &x, "PUT", target, SLICE(bytes + from, len), field, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, status);
    assert_int_equal(exchange_says(&x, "QuotaExceeded"), status == 403);
    exchange_fini(&x);
}

/* What is appended counts as bytes; as an object only where there was none. */
static void appending(void **state)
{
    (void)state;
    account_quota(OWN, 7, 1000, 2);
    append("/bucket/a", 0, 300, 200);
    append("/bucket/a", 300, 300, 200);
    append("/bucket/a", 600, 401, 403);
    FITS("/bucket2/b", 300);
    append("/bucket/a", 600, 101, 403);
    append("/bucket/a", 600, 100, 200);
    append("/bucket/a", 700, 1, 403);
    account_quota(OWN, 7, 0, 2);
    append("/bucket/a", 700, 1, 200); /* no object more */
    append("/bucket/c", 0, 1, 403);
    account_quota(OWN, 7, 0, 3);
    append("/bucket/c", 0, 1, 200);
    append("/bucket/d", 0, 1, 403);
}

static bool read_fails(struct stand *stand_, struct fake_call *call)
{
    (void)stand_;
    const Cairn__ListRowsRequest *q = (const Cairn__ListRowsRequest *)(void *)call->request;
    if (call->method != &method_meta_rows || q->kind != CAIRN__ROW_KIND__ROW_JOB)
        return false;
    fake_reply(call, ERR_CORRUPT, NULL, (struct payload){0});
    return true;
}

static void unknown_counts_hold_nobody_up(void **state)
{
    (void)state;
    account_quota(OWN, 7, 1000, 0);
    usage_put(OWN, 7, 990, 1);
    s.on_view = read_fails;
    FITS("/bucket/a", 1000);
    EXCEEDS_ACCOUNT("/bucket/b", 1); /* what it accepted itself it knows */
    assert_true(counted(metrics.unknown) > 0);
    s.on_view = NULL;
}

/* Several at once, in both: each takes back what it had reserved. */
static void many_at_once(void **state)
{
    (void)state;
    struct exchange x[8];
    unsigned ok = 0;
    account_quota(OWN, 7, 1000, 0);
    for (size_t i = 0; i < ARRAY_COUNT(x); i++) {
        char target[32];
        snprintf(target, sizeof(target), "/bucket%s/k%zu", i % 2 ? "2" : "", i);
        exchange_start(&s, &x[i], "PUT", target, SLICE(bytes, 300), NULL);
    }
    for (size_t i = 0; i < ARRAY_COUNT(x); i++) {
        exchange_wait(&x[i]);
        assert_true(x[i].status == 200 || x[i].status == 403);
        ok += x[i].status == 200;
        exchange_fini(&x[i]);
    }
    assert_int_equal(ok, 3);
    FITS("/bucket/last", 100);
    EXCEEDS_ACCOUNT("/bucket/more", 1);
}

/* ---- what is counted ---- */

static struct jobs *begin(const char *node, uint64_t rate)
{
    struct quota_measure_config config = {.interval_ms = INTERVAL_MS, .rate = rate};
    struct jobs *jobs;
    quota_measure_init(&measure, &config, &measure_metrics);
    kinds[0] = &measure.of_buckets;
    kinds[1] = &measure.of_accounts;
    struct jobs_config jobs_config = {.interval_ms = 5000,
                                      .lease_ms = 30000,
                                      .parallel = 4,
                                      .node_id = node,
                                      .kinds = kinds,
                                      .kind_count = 2};
    assert_int_equal(jobs_new(&s.gw, &jobs_config, &jobs_metrics, &jobs), OK);
    return jobs;
}

static void end(struct jobs *jobs)
{
    jobs_stop(jobs);
    seconds(10);
    assert_true(jobs_idle(jobs));
    jobs_free(jobs);
}

static void usage_is(uint64_t quota_id, uint64_t used, uint64_t versions, uint64_t objects,
                     uint64_t buckets)
{
    Cairn__QuotaUsage u;
    assert_true(usage_get(OWN, quota_id, &u));
    assert_int_equal(u.bytes, used);
    assert_int_equal(u.versions, versions);
    assert_int_equal(u.objects, objects);
    assert_int_equal(u.buckets, buckets);
}

static void fill(void)
{
    run(200, "PUT", "/bucket2?versioning",
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    FITS("/bucket/a", 100);
    FITS("/bucket/b", 200);
    FITS("/bucket2/a", 300);
    FITS("/bucket2/a", 301);
    run(204, "DELETE", "/bucket2/a", "");
    run(200, "PUT", "/bucket3", "");
    signs("OTHERKEY");
    FITS("/theirs/a", 4000);
    signs("ROOTKEY");
}

static void an_account_is_counted(void **state)
{
    (void)state;
    Cairn__QuotaUsage u;
    fill();
    struct jobs *jobs = begin("a", 0);
    seconds(20);
    assert_false(usage_get(OWN, 7, &u));
    account_quota(OWN, 7, 2000, 0);
    seconds(20);
    usage_is(7, 901, 4, 2, 3);
    assert_false(usage_get(OTHER, 7, &u)); /* has none */
    EXCEEDS_ACCOUNT("/bucket3/x", 1100);
    FITS("/bucket3/x", 1000);
    seconds(70); /* the next round */
    usage_is(7, 1901, 5, 3, 3);
    run(204, "DELETE", "/bucket3/x", "");
    run(204, "DELETE", "/bucket3", ""); /* a bucket goes, and another comes */
    run(200, "PUT", "/anew", "");
    FITS("/anew/x", 10);
    seconds(70);
    usage_is(7, 911, 5, 3, 3);
    FITS("/anew/y", 1089);
    EXCEEDS_ACCOUNT("/anew/z", 1);
    /* Set again: counted at once for the new one, and for it alone. */
    account_quota(OWN, 0, 0, 0);
    seconds(1);
    account_quota(OWN, 8, 5000, 0);
    assert_false(usage_get(OWN, 8, &u));
    seconds(20);
    usage_is(8, 2000, 6, 4, 3);
    assert_false(usage_get(OWN, 7, &u));
    uint64_t rounds = counted(measure_metrics.rounds);
    account_quota(OWN, 0, 0, 0); /* nothing is counted any more */
    seconds(200);
    assert_int_equal(counted(measure_metrics.rounds), rounds);
    end(jobs);
}

/* One is stopped on its way; another goes on where it was, and nothing is counted twice. */
static void another_goes_on(void **state)
{
    (void)state;
    Cairn__QuotaUsage u;
    fill();
    account_quota(OWN, 7, 2000, 0);
    struct jobs *a = begin("a", 1); /* 20 seconds a page, which here is a bucket */
    seconds(20);
    uint64_t before = counted(measure_metrics.counted);
    assert_true(before > 0 && before < 5);
    assert_false(usage_get(OWN, 7, &u));
    end(a);
    struct jobs *b = begin("b", 0);
    seconds(30);
    usage_is(7, 901, 4, 2, 3);
    assert_int_equal(counted(measure_metrics.counted), 5); /* one is a delete marker */
    assert_int_equal(counted(measure_metrics.rounds), 1);
    end(b);
}

static bool no_renewal(struct stand *stand_, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    (void)stand_;
    return q->command->op_case == CAIRN__COMMAND__OP_CHANGE_ROWS; /* swallowed */
}

/* One that dies while it counts is followed by another when its lease has ended: from what it saved
 * last.  Two that are both at it, one of whom has lost it, leave one count. */
static void one_that_is_lost(void **state)
{
    (void)state;
    fill();
    account_quota(OWN, 7, 2000, 0);
    struct jobs *a = begin("a", 1);
    seconds(35); /* it has renewed its lease, with a cursor behind the first bucket */
    s.on_propose = no_renewal;
    seconds(40);
    s.on_propose = NULL;
    struct jobs *b = begin("b", 1);
    seconds(120);
    usage_is(7, 901, 4, 2, 3);
    assert_true(counted(jobs_metrics.lost) == 1 && counted(jobs_metrics.taken_over) >= 1);
    end(a);
    end(b);
}

/* Its cursor is of a quota that is no more: the round begins anew. */
static void set_again_on_the_way(void **state)
{
    (void)state;
    fill();
    account_quota(OWN, 7, 2000, 0);
    struct jobs *a = begin("a", 1);
    seconds(30);
    assert_true(counted(measure_metrics.counted) > 0);
    end(a);
    account_quota(OWN, 0, 0, 0);
    account_quota(OWN, 8, 2000, 0);
    struct jobs *b = begin("b", 0);
    seconds(30);
    usage_is(8, 901, 4, 2, 3);
    end(b);
}

static bool lists_fail(struct stand *stand_, struct fake_call *call)
{
    (void)stand_;
    if (call->method != &method_meta_list)
        return false;
    fake_reply(call, ERR_CORRUPT, NULL, (struct payload){0});
    return true;
}

/* Half of it cannot be read: what was counted before stays what is known, and it comes up again. */
static void what_fails_comes_up_again(void **state)
{
    (void)state;
    fill();
    account_quota(OWN, 7, 2000, 0);
    struct jobs *jobs = begin("a", 0);
    seconds(20);
    usage_is(7, 901, 4, 2, 3);
    FITS("/bucket/c", 50);
    s.on_view = lists_fail;
    seconds(120);
    assert_true(counted(jobs_metrics.failed) > 0);
    usage_is(7, 901, 4, 2, 3);
    s.on_view = NULL;
    seconds(320);
    usage_is(7, 951, 5, 3, 3);
    end(jobs);
}

/* Two that take long give way to a third, and go on where they were. */
static void large_accounts_give_way(void **state)
{
    (void)state;
    static const char *const more[] = {"/theirs2", "/theirs3", "/theirs4", "/theirs5"};
    Cairn__QuotaUsage u;
    fill();
    run(200, "PUT", "/bucket4", "");
    run(200, "PUT", "/bucket5", "");
    signs("OTHERKEY");
    for (size_t i = 0; i < ARRAY_COUNT(more); i++)
        run(200, "PUT", more[i], "");
    signs("ROOTKEY");
    stand_put_account(&s, "000000000003", "third");
    account_quota(OWN, 7, 2000, 0);
    account_quota(OTHER, 7, 9000, 0);
    account_quota("000000000003", 7, 2000, 0); /* comes last, and has no buckets */
    struct jobs *jobs = begin("a", 1);
    seconds(60);
    assert_true(usage_get("000000000003", 7, &u));
    assert_false(usage_get(OWN, 7, &u) || usage_get(OTHER, 7, &u));
    seconds(120);
    usage_is(7, 901, 4, 2, 5);
    assert_true(usage_get(OTHER, 7, &u) && u.bytes == 4000 && u.buckets == 5);
    end(jobs);
}

/* With the quota goes what was counted for it, and whoever is counting stops. */
static void a_count_ends_with_its_quota(void **state)
{
    (void)state;
    fill();
    admin("POST", "accounts/" OWN "/set-quota", "{\"max_bytes\":2000}", 200, "");
    struct jobs *jobs = begin("a", 1);
    seconds(20);
    uint64_t before = counted(measure_metrics.counted);
    assert_true(before > 0 && before < 5);
    admin("POST", "accounts/" OWN "/delete-quota", "{}", 200, "\"changed\":true");
    seconds(120);
    assert_int_equal(counted(jobs_metrics.lost), 1);
    assert_int_equal(counted(measure_metrics.rounds), 0);
    admin("POST", "accounts/" OWN "/set-quota", "{\"max_bytes\":2000}", 200, "");
    seconds(90);
    admin("GET", "accounts/" OWN "/quota", "", 200, "\"bytes\":901");
    end(jobs);
}

/* Many accounts, of which some rows are none: each has its turn. */
static void many_accounts(void **state)
{
    (void)state;
    enum { ACCOUNTS = 150 };
    Cairn__QuotaUsage u;
    char id[16];
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        snprintf(id, sizeof(id), "%012u", 100 + i);
        stand_put_account(&s, id, id);
        account_quota(id, 7, 1000, 0);
        snprintf(id, sizeof(id), "no account %u", i);
        account_quota(id, 7, 1000, 0);
    }
    struct jobs *jobs = begin("a", 0);
    seconds(60);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        snprintf(id, sizeof(id), "%012u", 100 + i);
        if (!usage_get(id, 7, &u))
            fail_msg("%s was not counted", id);
        assert_int_equal(u.buckets, 0);
    }
    end(jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_buckets_of_an_account_together, setup, teardown),
        cmocka_unit_test_setup_teardown(both_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(who_writes_does_not_matter, setup, teardown),
        cmocka_unit_test_setup_teardown(set_by_the_operator, setup, teardown),
        cmocka_unit_test_setup_teardown(without_one_nothing_is_paid, setup, teardown),
        cmocka_unit_test_setup_teardown(set_again_is_another_one, setup, teardown),
        cmocka_unit_test_setup_teardown(appending, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_counts_hold_nobody_up, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_account_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(another_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(set_again_on_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(what_fails_comes_up_again, setup, teardown),
        cmocka_unit_test_setup_teardown(large_accounts_give_way, setup, teardown),
        cmocka_unit_test_setup_teardown(a_count_ends_with_its_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(many_accounts, setup, teardown),
    };
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
