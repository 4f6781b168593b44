/* The in-memory store: the conformance suite, then what only it has: crashes and planted errors. */
#include "common/base/err.h"
#include "common/env/kv_mem.h"
#include "tests/unit/common/env/fake_env.h"
#include "tests/unit/common/env/kv_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct world {
    struct fake_env env;
    struct kv_mem_files *files;
    struct kv_suite s;
};

static void pump(struct kv_suite *s)
{
    fake_env_run(&((struct world *)s->arg)->env);
}

static void world_init(struct world *w, enum kv_mode mode)
{
    fake_env_init(&w->env);
    w->files = kv_mem_files_new();
    struct kv_mem_config config = {.mode = mode, .files = w->files, .write_delay_ns = 1000,
                                   .flush_delay_ns = 5000};
    w->s = (struct kv_suite){.kv = kv_mem_new(&w->env.env, &config), .mode = mode, .pump = pump,
                             .arg = w, .dir = "/sim"};
}

static void world_fini(struct world *w)
{
    w->s.kv->ops->close(w->s.kv);
    kv_mem_files_free(w->files);
}

static void conforms(void **state)
{
    (void)state;
    void (*const parts[])(struct kv_suite *) = {kv_suite_iterators, kv_suite_snapshots,
                                                kv_suite_batches, kv_suite_replace};
    for (enum kv_mode mode = KV_LOG; mode <= KV_STATE; mode++) {
        struct world w;
        for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
            world_init(&w, mode);
            parts[i](&w.s);
            world_fini(&w);
        }
        world_init(&w, mode);
        kv_suite_model(&w.s, 1 + (uint64_t)mode, 3000);
        world_fini(&w);
    }
}

/* ---- synced writes ---- */
struct write {
    struct kv_write_req req;
    int calls;
};

static void on_write(struct kv_write_req *req)
{
    container_of(req, struct write, req)->calls++;
}

static int start(struct world *w, struct write *out, const char *key)
{
    *out = (struct write){.req = {.cb = on_write, .batch = kv_batch_new()}};
    kv_batch_put(out->req.batch, KV_INDEX, slice_cstr(key), SLICE_LIT("1"));
    int err = w->s.kv->ops->write_start(w->s.kv, &out->req);
    if (err != OK)
        kv_batch_free(out->req.batch);
    return err;
}

static void group_commit_shares_completions(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, KV_LOG);
    struct write a, b, c;
    assert_int_equal(start(&w, &a, "a"), OK);
    assert_int_equal(start(&w, &b, "b"), OK);
    assert_int_equal(start(&w, &c, "c"), OK);
    assert_null(kv_suite_get(&w.s, KV_INDEX, "a")); /* not before it is synced */
    assert_true(fake_env_step(&w.env));
    assert_true(a.calls == 1 && b.calls == 0); /* b came while a's sync was under way */
    assert_true(fake_env_step(&w.env));
    assert_true(b.calls == 1 && c.calls == 1);
    struct kv_mem_stats stats;
    kv_mem_stats(w.s.kv, &stats);
    assert_int_equal(stats.group_commits, 2);
    assert_int_equal(stats.synced_writes, 3);
    assert_int_equal(stats.keys[KV_INDEX], 3);
    world_fini(&w);
}

static uint64_t all_ones(void *arg)
{
    return *(uint64_t *)arg;
}

static void log_crash_keeps_synced_and_a_prefix(void **state)
{
    (void)state;
    for (uint64_t survive = 0; survive <= 1; survive++) {
        struct world w;
        world_init(&w, KV_LOG);
        struct write a, b, c;
        start(&w, &a, "a");
        fake_env_run(&w.env);
        assert_int_equal(a.req.err, OK);
        start(&w, &b, "b"); /* under way: may survive */
        start(&w, &c, "c"); /* queued: never written */
        memset(&b, 0xee, sizeof(b)); /* the owner's memory is gone: nothing may look at it */
        memset(&c, 0xee, sizeof(c));
        kv_mem_crash(w.s.kv, all_ones, &survive);
        fake_env_run(&w.env);
        assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""), survive ? "a=1 b=1" : "a=1");
        world_fini(&w);
    }
}

static void state_crash_goes_back_to_a_flush(void **state)
{
    (void)state;
    struct world w;
    for (uint64_t survive = 0; survive <= 2; survive++) {
        world_init(&w, KV_STATE);
        kv_suite_put(&w.s, KV_INDEX, "a", "1");
        assert_int_equal(kv_suite_flush(&w.s), OK);
        kv_suite_put(&w.s, KV_INDEX, "a", "2");
        kv_suite_put(&w.s, KV_BODY, "b", "2");
        kv_mem_crash(w.s.kv, all_ones, &survive);
        assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "a"), survive == 0 ? "1" : "2");
        assert_int_equal(kv_suite_get(&w.s, KV_BODY, "b") != NULL, survive == 2);
        /* What was found after the crash is on the disk: a second crash takes nothing more. */
        kv_mem_crash(w.s.kv, NULL, NULL);
        assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "a"), survive == 0 ? "1" : "2");
        world_fini(&w);
    }
}

static void on_flush(struct kv_flush_req *req)
{
    (void)req;
}

static void writes_during_a_flush_are_not_covered(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, KV_STATE);
    kv_suite_put(&w.s, KV_INDEX, "a", "1");
    struct kv_flush_req req = {.cb = on_flush};
    assert_int_equal(w.s.kv->ops->flush_start(w.s.kv, &req), OK);
    kv_suite_put(&w.s, KV_INDEX, "b", "1");
    fake_env_run(&w.env);
    assert_int_equal(req.err, OK);
    kv_mem_crash(w.s.kv, NULL, NULL);
    assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""), "a=1");

    /* A flush that the crash interrupted covers nothing. */
    kv_suite_put(&w.s, KV_INDEX, "c", "1");
    assert_int_equal(w.s.kv->ops->flush_start(w.s.kv, &req), OK);
    kv_mem_crash(w.s.kv, NULL, NULL);
    fake_env_run(&w.env);
    assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""), "a=1");
    world_fini(&w);
}

static void nth_change_fails_and_the_store_with_it(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct world w;
        world_init(&w, KV_LOG);
        kv_mem_fail_nth(w.s.kv, nth, ERR_NOSPACE);
        uint64_t ok = 0;
        int err;
        while ((err = kv_suite_put(&w.s, KV_INDEX, "a", "1")) == OK)
            ok++;
        assert_int_equal(ok, nth - 1);
        assert_int_equal(err, ERR_NOSPACE);
        assert_int_equal(kv_suite_put(&w.s, KV_INDEX, "b", "1"), ERR_IO);
        assert_int_equal(kv_suite_flush(&w.s), ERR_IO);
        kv_mem_crash(w.s.kv, NULL, NULL);
        assert_int_equal(kv_suite_put(&w.s, KV_INDEX, "b", "1"), OK);
        world_fini(&w);
    }
}

/* A write behind a failed sync gets its callback, too: an error, never silence. */
static void queued_writes_fail_with_the_group(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, KV_LOG);
    kv_mem_fail_nth(w.s.kv, 1, ERR_IO);
    struct write a, b;
    start(&w, &a, "a");
    start(&w, &b, "b");
    fake_env_run(&w.env);
    assert_true(a.calls == 1 && a.req.err == ERR_IO);
    assert_true(b.calls == 1 && b.req.err == ERR_IO);
    assert_int_equal(kv_mem_pending(w.s.kv), 0);
    uint64_t all = 2; /* both may be there after a crash: the outcome was unknown */
    kv_mem_crash(w.s.kv, all_ones, &all);
    assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""), "a=1 b=1");
    world_fini(&w);
}

static void snapshots_outlive_a_crash(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, KV_STATE);
    kv_suite_put(&w.s, KV_INDEX, "a", "1");
    const struct kv_snapshot *snap = w.s.kv->ops->snapshot_new(w.s.kv);
    kv_mem_crash(w.s.kv, NULL, NULL);
    assert_null(kv_suite_get(&w.s, KV_INDEX, "a"));
    assert_string_equal(kv_suite_dump(&w.s, snap, KV_INDEX, "", ""), "a=1");
    w.s.kv->ops->snapshot_free(w.s.kv, snap);
    world_fini(&w);
}

static void damaged_file_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, KV_STATE);
    kv_suite_put(&w.s, KV_INDEX, "m", "value");
    uint64_t bytes;
    assert_int_equal(w.s.kv->ops->export_range(w.s.kv, NULL, KV_INDEX, SLICE_EMPTY, SLICE_EMPTY, "f",
                                               &bytes), OK);
    struct slice whole;
    assert_int_equal(kv_mem_file_view(w.files, "f", &whole), OK);
    assert_int_equal(whole.len, bytes);
    const char *const paths[KV_FAMILY_COUNT] = {"cut", NULL};
    for (size_t n = 0; n < whole.len; n++) { /* every torn transfer */
        kv_mem_file_remove(w.files, "cut");
        kv_mem_file_append(w.files, "cut", SLICE(whole.ptr, n));
        int err = w.s.kv->ops->replace_range(w.s.kv, SLICE_EMPTY, SLICE_EMPTY, paths, NULL);
        assert_int_equal(err, ERR_CORRUPT);
    }
    for (size_t n = 0; n < whole.len; n++) { /* every flipped byte */
        uint8_t copy[256];
        assert_true(whole.len < sizeof(copy));
        memcpy(copy, whole.ptr, whole.len);
        copy[n] ^= 0x10;
        kv_mem_file_remove(w.files, "cut");
        kv_mem_file_append(w.files, "cut", SLICE(copy, whole.len));
        int err = w.s.kv->ops->replace_range(w.s.kv, SLICE_EMPTY, SLICE_EMPTY, paths, NULL);
        assert_int_equal(err, ERR_CORRUPT);
    }
    assert_int_equal(kv_mem_file_append(w.files, "f2", whole), OK); /* something behind the end */
    assert_int_equal(kv_mem_file_append(w.files, "f2", SLICE_LIT("x")), OK);
    assert_int_equal(kv_mem_file_rename(w.files, "f2", "cut"), OK);
    assert_int_equal(w.s.kv->ops->replace_range(w.s.kv, SLICE_EMPTY, SLICE_EMPTY, paths, NULL),
                     ERR_CORRUPT);
    assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "m"), "value");
    assert_int_equal(kv_mem_file_rename(w.files, "f", "cut"), OK);
    assert_int_equal(kv_mem_file_view(w.files, "f", &whole), ERR_NOT_FOUND);
    assert_int_equal(w.s.kv->ops->replace_range(w.s.kv, SLICE_EMPTY, SLICE_EMPTY, paths, NULL), OK);
    assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "m"), "value");
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conforms),
        cmocka_unit_test(group_commit_shares_completions),
        cmocka_unit_test(log_crash_keeps_synced_and_a_prefix),
        cmocka_unit_test(state_crash_goes_back_to_a_flush),
        cmocka_unit_test(writes_during_a_flush_are_not_covered),
        cmocka_unit_test(nth_change_fails_and_the_store_with_it),
        cmocka_unit_test(queued_writes_fail_with_the_group),
        cmocka_unit_test(snapshots_outlive_a_crash),
        cmocka_unit_test(damaged_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
