/* The libuv environment: clocks, timers, work, posts. */
#include "common/base/check.h"
#include "common/env_uv/env_uv.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct env_uv env;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(env_uv_init(&env, &loop), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    env_uv_fini(&env);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

#define TIMERS 2000
struct test_timer {
    struct env_timer timer;
    unsigned number;
    bool stopped, fired;
};
static struct test_timer timers[TIMERS];
static unsigned fired[TIMERS], fired_count;
static bool all_fired;
static uint64_t expected_count;

static void on_timer(struct env_timer *t)
{
    struct test_timer *tt = container_of(t, struct test_timer, timer);
    assert_false(t->active);
    assert_false(tt->stopped);
    assert_false(tt->fired);
    assert_true(env_now_ns(&env.env) >= t->due_ns);
    tt->fired = true;
    fired[fired_count++] = tt->number;
    all_fired = fired_count == expected_count;
}

static uint64_t random_delay(void)
{
    return 1 + (uint64_t)rand() % 20 * (NS_PER_MS / 4);
}

/* Random starts, restarts and stops against a plain model: whatever was not stopped fires once, in
 * order of due time, and of starting where that is equal. */
static void timers_agree_with_a_model(void **state)
{
    (void)state;
    srand(1);
    fired_count = 0;
    all_fired = false;
    for (unsigned i = 0; i < TIMERS; i++) {
        timers[i] = (struct test_timer){.number = i};
        env_timer_init(&env.env, &timers[i].timer, on_timer);
        env_timer_start(&timers[i].timer, random_delay());
    }
    for (unsigned i = 0; i < 3 * TIMERS; i++) {
        struct test_timer *t = &timers[(unsigned)rand() % TIMERS];
        if (rand() % 3 == 0) {
            env_timer_stop(&t->timer);
            t->stopped = true;
        } else {
            env_timer_start(&t->timer, random_delay());
            t->stopped = false;
        }
        assert_int_equal(t->timer.active, !t->stopped);
    }
    expected_count = 0;
    for (unsigned i = 0; i < TIMERS; i++)
        expected_count += !timers[i].stopped;
    assert_true(expected_count > TIMERS / 4);
    env_uv_run_until(&env, &all_fired);
    for (unsigned i = 1; i < fired_count; i++)
        assert_true(timers[fired[i - 1]].timer.due_ns <= timers[fired[i]].timer.due_ns);
    for (unsigned i = 0; i < TIMERS; i++)
        assert_int_equal(timers[i].fired, !timers[i].stopped);
}

static unsigned soon_order[4], soon_count;
static struct env_timer soon[3];
static bool soon_done;

static void on_soon(struct env_timer *t)
{
    unsigned number = (unsigned)(t - soon);
    soon_order[soon_count++] = number;
    if (soon_count == 1)
        env_timer_start(&soon[0], 0); /* comes again, but on a later turn: after the others */
    if (number == 1)
        env_timer_stop(&soon[2]);
    soon_done = soon_count == 3;
}

static void delay_zero_is_the_next_turn(void **state)
{
    (void)state;
    soon_count = 0;
    soon_done = false;
    for (unsigned i = 0; i < 3; i++) {
        env_timer_init(&env.env, &soon[i], on_soon);
        env_timer_start(&soon[i], 0);
    }
    assert_int_equal(soon_count, 0);
    env_uv_run_until(&env, &soon_done);
    assert_int_equal(soon_order[0], 0);
    assert_int_equal(soon_order[1], 1);
    assert_int_equal(soon_order[2], 0);
    assert_false(soon[2].active);
}

struct test_work {
    struct env_work work;
    int input, result;
};
static unsigned works_done;
static bool works_all_done;

static void work_run(struct env_work *w)
{
    struct test_work *t = container_of(w, struct test_work, work);
    t->result = t->input * 2;
}

static void work_done(struct env_work *w)
{
    struct test_work *t = container_of(w, struct test_work, work);
    assert_int_equal(t->result, t->input * 2);
    works_all_done = ++works_done == 32;
}

static void work_comes_back(void **state)
{
    (void)state;
    static struct test_work work[32];
    works_done = 0;
    works_all_done = false;
    for (int i = 0; i < 32; i++) {
        work[i] = (struct test_work){.work = {.run = work_run, .done = work_done}, .input = i};
        env_work_start(&env.env, &work[i].work);
    }
    assert_int_equal(works_done, 0);
    env_uv_run_until(&env, &works_all_done);
}

#define POSTS 20000
struct test_post {
    struct env_uv_post post;
    int number;
};
static struct test_post posts[2][POSTS];
static int post_next[2];
static bool posts_done;

static void on_post(struct env_uv_post *p)
{
    struct test_post *t = container_of(p, struct test_post, post);
    int thread = t >= posts[1];
    assert_int_equal(t->number, post_next[thread]); /* in the order of each thread */
    post_next[thread]++;
    posts_done = post_next[0] == POSTS && post_next[1] == POSTS;
}

static void poster(void *arg)
{
    struct test_post *mine = arg;
    for (int i = 0; i < POSTS; i++) {
        mine[i] = (struct test_post){.post = {.fn = on_post}, .number = i};
        env_uv_post(&env.env, &mine[i].post);
    }
}

static void posts_from_threads_arrive_in_order(void **state)
{
    (void)state;
    uv_thread_t threads[2];
    posts_done = false;
    memset(post_next, 0, sizeof(post_next));
    for (int i = 0; i < 2; i++)
        assert_int_equal(uv_thread_create(&threads[i], poster, posts[i]), 0);
    env_uv_run_until(&env, &posts_done);
    for (int i = 0; i < 2; i++)
        uv_thread_join(&threads[i]);
}

static void clocks_and_random(void **state)
{
    (void)state;
    struct timespec boot;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    uint64_t now = env_now_ns(&env.env);
    uint64_t before = (uint64_t)boot.tv_sec * NS_PER_SEC + (uint64_t)boot.tv_nsec;
    assert_true(now >= before && now - before < 10 * NS_PER_SEC);
    assert_true(env_wall_ms(&env.env) > 1600000000000ull);
    uint8_t a[600] = {0}, b[600] = {0};
    env_random(&env.env, a, sizeof(a));
    env_random(&env.env, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 580, (uint8_t[20]){0}, 20);
}

/* fini waits for work that is under way and runs what was posted. */
static void fini_loses_nothing(void **state)
{
    (void)state;
    uv_loop_t l;
    struct env_uv e;
    assert_int_equal(uv_loop_init(&l), 0);
    assert_int_equal(env_uv_init(&e, &l), 0);
    struct test_work work = {.work = {.run = work_run, .done = work_done}, .input = 7};
    works_done = 0;
    env_work_start(&e.env, &work.work);
    struct env_timer never;
    env_timer_init(&e.env, &never, on_timer);
    env_timer_start(&never, NS_PER_SEC * 1000);
    env_uv_fini(&e);
    assert_int_equal(works_done, 1);
    assert_int_equal(work.result, 14);
    assert_int_equal(uv_loop_close(&l), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_agree_with_a_model, setup, teardown),
        cmocka_unit_test_setup_teardown(delay_zero_is_the_next_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(work_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(posts_from_threads_arrive_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(clocks_and_random, setup, teardown),
        cmocka_unit_test(fini_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
