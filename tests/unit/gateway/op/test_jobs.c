/* Background work on buckets: found, claimed by one, gone on with by another, given back. */
#include "common/base/check.h"
#include "gateway/work/jobs_internal.h"
#include "proto/methods.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

#define SETTING 1 /* tags of a bucket */
#define WORKS_MAX 64
#define LEASE_MS 30000
#define INTERVAL_MS 10000
#define PERIOD_MS 600000

static struct stand s;
static struct jobs_metrics metrics;
static struct jobs *a, *b;
static unsigned lists, row_reads;

/* ---- a worker that does what it is told ---- */

static struct job *working[WORKS_MAX];
static unsigned works, starts, stops;
static bool hangs; /* when told to stop */
static int start_err;

static void work_end(unsigned i, enum job_result result)
{
    struct job *job = working[i];
    working[i] = working[--works];
    job_end(job, result);
}

static int work_start(struct job *job)
{
    assert_true(works < WORKS_MAX);
    starts++;
    if (start_err)
        return start_err;
    for (unsigned i = 0; i < works; i++) /* in one process never the same twice */
        assert_false(working[i]->jobs == job->jobs && working[i]->bucket_id == job->bucket_id);
    working[works++] = job;
    return OK;
}

static void work_stop(struct job *job)
{
    stops++;
    for (unsigned i = 0; !hangs && i < works; i++)
        if (working[i] == job) {
            work_end(i, JOB_LATER);
            return;
        }
}

static struct job_kind kind = {.name = "test",
                               .setting = SETTING,
                               .period_ms = PERIOD_MS,
                               .start = work_start,
                               .stop = work_stop};
static const struct job_kind *const kinds[] = {&kind};

/* ---- the stand ---- */

static bool on_view(struct stand *stand_, struct fake_call *call)
{
    (void)stand_;
    lists += call->method == &method_meta_list_buckets;
    row_reads += call->method == &method_meta_rows;
    return false;
}

static void run(int status, const char *method, const char *target, const char *body)
{
    struct exchange x;
    int got = exchange_run(&s, &x, method, target, slice_cstr(body));
    if (got != status)
        fail_msg("%s %s: %d instead of %d", method, target, got, status);
    exchange_fini(&x);
}

static void set_tags(const char *bucket, const char *value)
{
    char target[64], body[256];
    snprintf(target, sizeof(target), "/%s?tagging", bucket);
    snprintf(body, sizeof(body),
             "<Tagging><TagSet><Tag><Key>k</Key><Value>%s</Value></Tag></TagSet></Tagging>", value);
    run(204, "PUT", target, body);
}

static struct jobs *begin(const char *node, unsigned parallel)
{
    struct jobs *jobs;
    struct jobs_config config = {.interval_ms = INTERVAL_MS,
                                 .lease_ms = LEASE_MS,
                                 .parallel = parallel,
                                 .node_id = node,
                                 .kinds = kinds,
                                 .kind_count = 1};
    assert_int_equal(jobs_new(&s.gw, &config, &metrics, &jobs), OK);
    return jobs;
}

static void end(struct jobs **jobs)
{
    if (!*jobs)
        return;
    jobs_stop(*jobs);
    jobs_stop(*jobs);
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_true(jobs_idle(*jobs));
    jobs_free(*jobs);
    *jobs = NULL;
}

static void seconds(unsigned n)
{
    fake_run(&s.f, n * NS_PER_SEC);
}

static uint64_t counted(const struct metric_counter *c)
{
    return (uint64_t)atomic_load(&c->value);
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    jobs_metrics_init(&metrics);
    s.on_view = on_view;
    lists = row_reads = works = starts = stops = 0;
    hangs = false;
    start_err = OK;
    kind.parallel_max = 0;
    run(200, "PUT", "/bucket", "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hangs = false;
    end(&a);
    end(&b);
    stand_fini(&s);
    return 0;
}

/* All rows of jobs that lie in the root; free them. */
static Cairn__ListRowsResponse *rows(void)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListRowsRequest q = CAIRN__LIST_ROWS_REQUEST__INIT;
    index_view_init(&view, s.index[0], NULL);
    q.epoch = view.epoch;
    q.kind = CAIRN__ROW_KIND__ROW_JOB;
    q.all_scopes = true;
    assert_int_equal(index_list_rows(&view, &q, &reply), OK);
    struct buf packed = {0};
    buf_reserve(&packed, protobuf_c_message_get_packed_size(&reply.msg.base));
    packed.len = protobuf_c_message_pack(&reply.msg.base, packed.ptr);
    Cairn__ListRowsResponse *m = cairn__list_rows_response__unpack(NULL, packed.len, packed.ptr);
    buf_fini(&packed);
    index_reply_fini(&reply);
    return m;
}

/* The only one; free it. */
static Cairn__JobRow *row(void)
{
    Cairn__ListRowsResponse *m = rows();
    assert_int_equal(m->n_rows, 1);
    assert_string_equal(m->rows[0]->name, "test");
    Cairn__JobRow *ret =
        cairn__job_row__unpack(NULL, m->rows[0]->value.len, m->rows[0]->value.data);
    cairn__list_rows_response__free_unpacked(m, NULL);
    return ret;
}

static size_t row_count(void)
{
    Cairn__ListRowsResponse *m = rows();
    size_t n = m->n_rows;
    cairn__list_rows_response__free_unpacked(m, NULL);
    return n;
}

/* ---- the tests ---- */

static void when_a_job_is_due(void **state)
{
    (void)state;
    Cairn__JobRow r = CAIRN__JOB_ROW__INIT;
    uint64_t before;
    assert_int_equal(job_due(NULL, "a", 5, 100, 1000, &before), JOB_DUE);
    /* Somebody has it, or had it. */
    r.holder = (char *)(uintptr_t) "b";
    r.lease_until_ms = 1001;
    r.started_ms = 500;
    assert_int_equal(job_due(&r, "a", 900, 100, 1000, &before), JOB_NOT_DUE);
    assert_true(before == 1001);
    assert_int_equal(job_due(&r, "b", 0, 100, 1000, &before), JOB_DUE); /* our life before */
    assert_int_equal(job_due(&r, "a", 0, 100, 1001, &before), JOB_DUE);
    /* Nobody has: it was finished, or not. */
    r.holder = (char *)(uintptr_t) "";
    r.lease_until_ms = 0;
    assert_int_equal(job_due(&r, "a", 0, 1000, 1000, &before), JOB_DUE);
    r.finished_ms = 600;
    assert_int_equal(job_due(&r, "a", 0, 1000, 1000, &before), JOB_NOT_DUE);
    assert_true(before == 1500);
    assert_int_equal(job_due(&r, "a", 0, 1000, 1500, &before), JOB_DUE);
    assert_int_equal(job_due(&r, "a", 501, 1000, 1000, &before), JOB_DUE); /* set anew */
    /* A lease of a clock that was a year ahead. */
    r.holder = (char *)(uintptr_t) "b";
    r.lease_until_ms = 1000 + UINT64_C(365) * 86400000;
    assert_int_equal(job_due(&r, "a", 501, 1000, 1000, &before), JOB_DUE);
    r.holder = (char *)(uintptr_t) "";
    r.lease_until_ms = 0;
    r.started_ms = r.finished_ms = 99999; /* by a clock that was wrong */
    assert_int_equal(job_due(&r, "a", 0, 1000, 1000, &before), JOB_DUE);
}

static void rounds_follow_one_another(void **state)
{
    (void)state;
    a = begin("a", 4);
    seconds(60);
    assert_int_equal(starts, 0); /* no bucket has such a setting */
    assert_int_equal(row_reads, 0);
    set_tags("bucket", "1");
    seconds(14);
    assert_int_equal(works, 1);
    assert_string_equal(working[0]->bucket, "bucket");
    assert_true(working[0]->finished_ms == 0 && working[0]->cursor.len == 0);
    /* It lasts longer than many leases: renewed, and with it the cursor. */
    seconds(15);
    buf_cstr(&working[0]->cursor, "half way");
    buf_cstr(&working[0]->state, "kept");
    job_save(working[0]);
    seconds(300);
    assert_int_equal(starts, 1);
    Cairn__JobRow *r = row();
    assert_string_equal(r->holder, "a");
    assert_true(r->lease_until_ms > env_wall_ms(s.gw.env) + LEASE_MS / 2);
    assert_int_equal(r->cursor.len, 8);
    uint64_t first = r->started_ms;
    cairn__job_row__free_unpacked(r, NULL);
    work_end(0, JOB_DONE);
    seconds(1);
    r = row();
    assert_string_equal(r->holder, "");
    assert_true(r->lease_until_ms == 0 && r->cursor.len == 0 && r->state.len == 4);
    assert_true(r->started_ms == first && r->finished_ms > first + 300000);
    cairn__job_row__free_unpacked(r, NULL);
    /* The next one begins a period after the one before did. */
    seconds(PERIOD_MS / 1000 - 330);
    assert_int_equal(starts, 1);
    seconds(45);
    assert_int_equal(starts, 2);
    assert_true(working[0]->finished_ms > first && working[0]->state.len == 4);
    work_end(0, JOB_DONE);
    seconds(60);
    assert_int_equal(starts, 2);
    set_tags("bucket", "2"); /* a changed setting does not wait for it */
    seconds(14);
    assert_int_equal(starts, 3);
}

static void nothing_due_costs_next_to_nothing(void **state)
{
    (void)state;
    char name[32];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "/bucket-%02d", i);
        run(200, "PUT", name, "");
        set_tags(name + 1, "1");
    }
    a = begin("a", 8);
    for (int i = 0; i < 60; i++) {
        seconds(1);
        while (works)
            work_end(0, JOB_DONE);
    }
    assert_int_equal(starts, 20);
    unsigned lists_before = lists, proposals_before = s.proposals, reads_before = row_reads;
    uint64_t others = meta_client_stats(s.mc)->leader_reads;
    seconds(400);
    assert_int_equal(starts, 20);
    assert_true(lists - lists_before >= 30 && lists - lists_before <= 54); /* 40 on average */
    assert_int_equal(row_reads, reads_before);
    assert_int_equal(s.proposals, proposals_before);
    assert_int_equal(meta_client_stats(s.mc)->leader_reads, others);
}

static void one_of_several_does_it(void **state)
{
    (void)state;
    set_tags("bucket", "1");
    a = begin("a", 4);
    b = begin("b", 4);
    seconds(300);
    assert_int_equal(starts, 1);
    assert_int_equal(works, 1);
    struct jobs *holder = working[0]->jobs;
    buf_cstr(&working[0]->cursor, "here");
    /* Told to stop, it gives the job back, and the other goes on at once. */
    end(holder == a ? &a : &b);
    assert_int_equal(stops, 1);
    seconds(45);
    assert_int_equal(starts, 2);
    assert_true(slice_eq(buf_view(&working[0]->cursor), SLICE_LIT("here")));
    assert_int_equal(counted(metrics.taken_over), 0);
}

static void freeze(struct jobs *jobs)
{
    env_timer_stop(&jobs->timer);
    for (unsigned i = 0; i < JOBS_PARALLEL_MAX; i++)
        env_timer_stop(&jobs->run[i].timer);
}

static void a_job_is_taken_over(void **state)
{
    (void)state;
    set_tags("bucket", "1");
    a = begin("a", 4);
    seconds(14);
    assert_int_equal(works, 1);
    buf_cstr(&working[0]->cursor, "here");
    seconds(15);
    buf_cstr(&working[0]->cursor, ", and not saved");
    b = begin("b", 4);
    freeze(a);
    seconds(LEASE_MS / 1000 - 12);
    assert_int_equal(starts, 1);
    seconds(60);
    assert_int_equal(starts, 2);
    assert_int_equal(counted(metrics.taken_over), 1);
    assert_true(slice_eq(buf_view(&working[1]->cursor), SLICE_LIT("here")));
    /* The first one wakes up: its next renewal is refused, and it writes nothing. */
    hangs = true;
    env_timer_start(&a->run[0].timer, 0);
    seconds(1);
    assert_int_equal(stops, 1);
    assert_true(working[0]->lost && working[0]->stopping && !working[1]->lost);
    unsigned proposals = s.proposals;
    work_end(0, JOB_DONE);
    seconds(1);
    assert_int_equal(s.proposals, proposals);
    assert_int_equal(counted(metrics.lost), 1);
    assert_int_equal(works, 1);
}

static void a_life_before_is_not_waited_for(void **state)
{
    (void)state;
    set_tags("bucket", "1");
    a = begin("a", 4);
    seconds(14);
    assert_int_equal(works, 1);
    freeze(a);
    b = begin("a", 4); /* the same node, started again */
    seconds(14);
    assert_int_equal(starts, 2);
}

static bool lose_renewals;
static bool on_propose(struct stand *stand_, struct fake_call *call)
{
    if (!lose_renewals)
        return false;
    stand_apply(stand_, call, true);
    return true;
}

static void a_renewal_without_an_answer(void **state)
{
    (void)state;
    set_tags("bucket", "1");
    a = begin("a", 4);
    seconds(14);
    assert_int_equal(works, 1);
    /* It happened, and nobody hears of it; the next one is refused, and the row read again. */
    s.on_propose = on_propose;
    lose_renewals = true;
    seconds(11);
    lose_renewals = false;
    seconds(120);
    assert_int_equal(works, 1);
    assert_int_equal(counted(metrics.lost), 0);
    Cairn__JobRow *r = row();
    assert_true(r->lease_until_ms > env_wall_ms(s.gw.env));
    cairn__job_row__free_unpacked(r, NULL);
    /* Nobody answers for longer than the lease: it may be somebody else's. */
    lose_renewals = true;
    seconds(60);
    lose_renewals = false;
    assert_int_equal(counted(metrics.lost), 1);
    s.on_propose = NULL;
}

static void as_many_as_may_be(void **state)
{
    (void)state;
    char name[32];
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof(name), "/bucket-%02d", i);
        run(200, "PUT", name, "");
        set_tags(name + 1, "1");
    }
    for (int by_kind = 0; by_kind < 2; by_kind++) {
        kind.parallel_max = by_kind ? 2 : 0;
        starts = 0;
        a = begin("a", by_kind ? 8 : 2);
        for (int i = 0; i < 20; i++) {
            seconds(14);
            assert_true(works <= 2);
            if (works && i % 2)
                work_end(0, JOB_DONE);
        }
        while (works)
            work_end(0, JOB_DONE);
        assert_int_equal(starts, 9); /* each once: who was passed over had a turn */
        end(&a);
        seconds(PERIOD_MS / 1000);
    }
}

static void failures_are_not_repeated_at_once(void **state)
{
    (void)state;
    set_tags("bucket", "1");
    start_err = ERR_NOMEM;
    a = begin("a", 4);
    seconds(1200);
    assert_true(starts >= 5 && starts <= 16);
    assert_int_equal(counted(metrics.failed), starts);
    start_err = OK;
    seconds(400);
    assert_int_equal(works, 1);
}

/* Who has worked for long gives way, if anybody waits. */
static void others_have_their_turn(void **state)
{
    (void)state;
    run(200, "PUT", "/other", "");
    kind.parallel_max = 1;
    a = begin("a", 4);
    set_tags("bucket", "1");
    seconds(14);
    assert_int_equal(works, 1);
    seconds(2 * LEASE_MS / 1000);
    assert_false(job_should_yield(working[0]));
    set_tags("other", "1");
    seconds(14);
    assert_true(job_should_yield(working[0]));
    buf_cstr(&working[0]->cursor, "here");
    work_end(0, JOB_LATER);
    seconds(14);
    assert_int_equal(works, 1);
    assert_string_equal(working[0]->bucket, "other");
    assert_false(job_should_yield(working[0]));
    seconds(LEASE_MS / 1000);
    assert_true(job_should_yield(working[0]));
    work_end(0, JOB_LATER);
    seconds(14);
    assert_string_equal(working[0]->bucket, "bucket");
    assert_true(slice_eq(buf_view(&working[0]->cursor), SLICE_LIT("here")));
}

static struct job_kind second;
static const struct job_kind *const both[] = {&kind, &second};

static void begin_both(unsigned parallel, unsigned second_setting)
{
    struct jobs_config config = {.interval_ms = INTERVAL_MS,
                                 .lease_ms = LEASE_MS,
                                 .parallel = parallel,
                                 .node_id = "a",
                                 .kinds = both,
                                 .kind_count = 2};
    second = kind;
    second.name = "second";
    second.setting = second_setting;
    assert_int_equal(jobs_new(&s.gw, &config, &metrics, &a), OK);
}

/* ... and goes behind all of them: two that take long do not keep up a third between them. */
static void all_have_their_turn(void **state)
{
    (void)state;
    static const char *const order[] = {"bucket", "other", "third", "bucket", "other"};
    run(200, "PUT", "/other", "");
    run(200, "PUT", "/third", "");
    kind.parallel_max = 1;
    begin_both(4, SETTING + 1); /* of which there are none */
    set_tags("bucket", "1");
    set_tags("other", "1");
    set_tags("third", "1");
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        seconds(14);
        assert_int_equal(works, 1);
        assert_string_equal(working[0]->bucket, order[i]);
        seconds(2 * LEASE_MS / 1000);
        assert_true(job_should_yield(working[0]));
        work_end(0, JOB_LATER);
    }
    /* A place is not left empty for it: when the others are done it goes on soon. */
    seconds(14);
    assert_string_equal(working[0]->bucket, "third");
    work_end(0, JOB_DONE);
    seconds(3);
    assert_string_equal(working[0]->bucket, "bucket");
    work_end(0, JOB_DONE);
    seconds(3);
    assert_string_equal(working[0]->bucket, "other");
}

/* Nor do those of one kind that have all places keep up those of another. */
static void other_kinds_have_their_turn(void **state)
{
    (void)state;
    begin_both(1, SETTING);
    set_tags("bucket", "1");
    for (int i = 0; i < 4; i++) {
        seconds(14);
        assert_int_equal(works, 1);
        assert_ptr_equal(working[0]->kind, both[i % 2]);
        seconds(2 * LEASE_MS / 1000);
        assert_true(job_should_yield(working[0]));
        work_end(0, JOB_LATER);
    }
}

static struct job *work_of(const char *bucket)
{
    for (unsigned i = 0; i < works; i++)
        if (strcmp(working[i]->bucket, bucket) == 0)
            return working[i];
    fail_msg("nobody works at %s", bucket);
    return NULL;
}

static void work_end_of(const char *bucket, enum job_result result)
{
    unsigned i = 0;
    while (working[i] != work_of(bucket))
        i++;
    work_end(i, result);
    seconds(1);
}

/* A row goes with its bucket, finished or not; and what is claimed too late goes when its worker
 * has looked. */
static void rows_go_with_their_buckets(void **state)
{
    (void)state;
    static const char *const names[] = {"bucket", "gone-idle", "gone-busy", "unset"};
    for (size_t i = 1; i < ARRAY_COUNT(names); i++) {
        char target[32];
        snprintf(target, sizeof(target), "/%s", names[i]);
        run(200, "PUT", target, "");
    }
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        set_tags(names[i], "1");
    a = begin("a", 8);
    seconds(14);
    assert_int_equal(works, 4);
    work_end_of("gone-idle", JOB_DONE);
    work_end_of("unset", JOB_LATER);
    assert_int_equal(row_count(), 4);
    run(204, "DELETE", "/gone-idle", "");
    assert_int_equal(row_count(), 3);
    run(204, "DELETE", "/gone-busy", "");
    assert_int_equal(row_count(), 2);
    seconds(60); /* the renewal finds nothing */
    assert_int_equal(counted(metrics.lost), 1);
    assert_int_equal(row_count(), 2);
    run(204, "DELETE", "/unset?tagging", "");
    work_end_of("unset", JOB_GONE);
    assert_int_equal(row_count(), 1);
    work_end_of("bucket", JOB_DONE);
    seconds(60);
    assert_int_equal(row_count(), 1);
    assert_int_equal(works, 0);
}

static void whether_there_is_something_to_do(void **state)
{
    (void)state;
    Cairn__Record record = CAIRN__RECORD__INIT;
    Cairn__BucketRecord bucket = CAIRN__BUCKET_RECORD__INIT;
    Cairn__BucketSetting setting = CAIRN__BUCKET_SETTING__INIT, *settings = &setting;
    struct job job = {.kind = &kind, .bucket_id = 7};
    assert_int_equal(job_idle(&job, &record), JOB_GONE);
    record.present = true;
    record.bucket = &bucket;
    bucket.id = 8;
    bucket.state = CAIRN__BUCKET_STATE__BUCKET_ACTIVE;
    setting.kind = SETTING;
    bucket.settings = &settings;
    bucket.n_settings = 1;
    assert_int_equal(job_idle(&job, &record), JOB_GONE);
    bucket.id = 7;
    assert_int_equal(job_idle(&job, &record), JOB_DONE);
    setting.kind = SETTING + 1;
    assert_int_equal(job_idle(&job, &record), JOB_GONE);
    bucket.state = CAIRN__BUCKET_STATE__BUCKET_DELETING; /* it may stay after all */
    assert_int_equal(job_idle(&job, &record), JOB_DONE);
}

static void how_long_ago_the_last_round_was(void **state)
{
    (void)state;
    kind.oldest = metric_gauge_new("test_oldest_seconds", NULL, "of the test");
    set_tags("bucket", "1");
    run(200, "PUT", "/other", "");
    a = begin("a", 8);
    seconds(14);
    assert_int_equal(works, 1);
    work_end_of("bucket", JOB_DONE);
    seconds(100);
    assert_in_range(atomic_load(&kind.oldest->value), 85, 115);
    set_tags("other", "1"); /* and never finished: since it was asked for */
    seconds(400);
    assert_in_range(atomic_load(&kind.oldest->value), 485, 515);
    seconds(100); /* the next round of the first */
    work_end_of("bucket", JOB_DONE);
    seconds(30);
    assert_in_range(atomic_load(&kind.oldest->value), 515, 545);
    work_end_of("other", JOB_DONE);
    seconds(30);
    assert_in_range(atomic_load(&kind.oldest->value), 40, 75);
    run(204, "DELETE", "/bucket?tagging", "");
    run(204, "DELETE", "/other?tagging", "");
    seconds(30);
    assert_int_equal(atomic_load(&kind.oldest->value), 0);
    kind.oldest = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_a_job_is_due),
        cmocka_unit_test(whether_there_is_something_to_do),
#define ON_STAND(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        ON_STAND(rounds_follow_one_another),
        ON_STAND(nothing_due_costs_next_to_nothing),
        ON_STAND(one_of_several_does_it),
        ON_STAND(a_job_is_taken_over),
        ON_STAND(a_life_before_is_not_waited_for),
        ON_STAND(a_renewal_without_an_answer),
        ON_STAND(as_many_as_may_be),
        ON_STAND(failures_are_not_repeated_at_once),
        ON_STAND(others_have_their_turn),
        ON_STAND(all_have_their_turn),
        ON_STAND(other_kinds_have_their_turn),
        ON_STAND(rows_go_with_their_buckets),
        ON_STAND(how_long_ago_the_last_round_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
