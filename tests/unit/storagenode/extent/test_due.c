/* Which extent the scrub reads next, and how fast. */
#include "common/base/check.h"
#include "storagenode/extent/due.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>


#define MIB (1ull << 20)
#define DAY_MS 86400000ull
#define NOW_MS (1000 * DAY_MS)
#define EXTENT_BYTES (256 * MIB)

static struct due due_at(uint64_t now_ms)
{
    return (struct due){.now_ms = now_ms,
                        .period_ms = 16 * DAY_MS, /* due after 14 days; a slot is 6 hours */
                        .bytes_per_sec_max = 64 * MIB,
                        .skew_ms_max = 60000};
}

/* `count` extents; the n-th has n_bytes alive and is unverified since n_ms. */
static void table(struct alloc *a, uint32_t count, const uint64_t bytes[], const uint64_t ms[])
{
    alloc_init(a, EXTENT_BYTES, count, 0);
    for (uint32_t i = 0; i < count; i++) {
        struct extent_header h = {.id = i + 1, .generation = 1, .bytes = EXTENT_BYTES};
        struct extent *x;
        assert_int_equal(alloc_add(a, &h, &x), OK);
        extent_restore(a, x, EXTENT_SEALED, EXTENT_BYTES);
        if (bytes[i])
            extent_account(a, x, (int64_t)bytes[i], 1);
        x->unverified_ms = ms[i];
    }
}

static void the_longest_unverified_is_next(void **state)
{
    (void)state;
    struct alloc a;
    struct due d = due_at(NOW_MS);
    table(&a, 4, (uint64_t[]){MIB, MIB, 0, MIB},
          (uint64_t[]){NOW_MS - 5, NOW_MS - 9, NOW_MS - 20, NOW_MS - 7});
    assert_int_equal(due_oldest_ms(&d, &a), NOW_MS - 9); /* what is dead does not count */
    assert_int_equal(due_next(&d, &a, 1)->header.id, 2);
    a.extents[1]->scrub_pass = 1;
    assert_int_equal(due_next(&d, &a, 1)->header.id, 4);
    assert_int_equal(due_next(&d, &a, 2)->header.id, 2);
    a.extents[0]->scrub_pass = a.extents[3]->scrub_pass = 1;
    assert_null(due_next(&d, &a, 1));
    alloc_fini(&a);
}

static void a_time_in_the_future_says_nothing(void **state)
{
    (void)state;
    struct alloc a;
    struct due d = due_at(NOW_MS);
    table(&a, 2, (uint64_t[]){MIB, MIB}, (uint64_t[]){NOW_MS + 60000, NOW_MS + 60001});
    assert_int_equal(due_since_ms(&d, a.extents[0]), NOW_MS + 60000);
    assert_int_equal(due_since_ms(&d, a.extents[1]), 0);
    assert_int_equal(due_oldest_ms(&d, &a), 0);
    assert_true(due_late(&d, a.extents[1]));
    assert_false(due_late(&d, a.extents[0]));
    alloc_fini(&a);
}

static void the_rate_is_what_the_tightest_prefix_needs(void **state)
{
    (void)state;
    struct alloc a;
    struct due d = due_at(NOW_MS);
    uint64_t slot_s = d.period_ms / DUE_SLOTS / 1000;
    /* Due now, in 3.5 days, in 14 days. */
    table(&a, 3, (uint64_t[]){100 * MIB, 20 * MIB, 200 * MIB},
          (uint64_t[]){NOW_MS - 15 * DAY_MS, NOW_MS - 21 * DAY_MS / 2, NOW_MS});
    assert_int_equal(due_rate(&d, &a), 100 * MIB / slot_s);
    extent_account(&a, a.extents[0], -99 * (int64_t)MIB, 0);
    extent_account(&a, a.extents[1], 100 * (int64_t)MIB, 0);
    assert_int_equal(due_rate(&d, &a), 121 * MIB / (15 * slot_s));
    d.bytes_per_sec_max = 100;
    assert_int_equal(due_rate(&d, &a), 100);
    alloc_fini(&a);
}

static void small_stores_wait_until_it_is_time(void **state)
{
    (void)state;
    struct alloc a;
    struct due d = due_at(NOW_MS);
    table(&a, 1, (uint64_t[]){100 * MIB}, (uint64_t[]){NOW_MS - 13 * DAY_MS});
    assert_false(due_now(&d, a.extents[0], due_rate(&d, &a)));
    assert_true(
        due_now(&d, a.extents[0], DUE_BYTES_PER_SEC_MIN)); /* a large one goes on all the time */
    d.now_ms += 19 * DAY_MS / 24;
    assert_true(due_now(&d, a.extents[0], due_rate(&d, &a)));
    assert_false(due_late(&d, a.extents[0]));
    d.now_ms += 5 * DAY_MS / 24;
    assert_true(due_late(&d, a.extents[0]));
    alloc_fini(&a);
}

/* 400 GiB read as due_rate says, an hour at a time: whatever the ages are at first, nothing
 * stays unverified for longer than the period once that has been reached. */
static void every_byte_within_the_period(void **state)
{
    (void)state;
    enum { EXTENTS = 2000 };
    static uint64_t bytes[EXTENTS], ms[EXTENTS];
    for (unsigned spread = 0; spread < 3; spread++) {
        struct alloc a;
        struct due d = due_at(NOW_MS);
        uint64_t budget = 0, oldest_max = 0;
        for (uint32_t i = 0; i < EXTENTS; i++) {
            bytes[i] = 200 * MIB;
            ms[i] = NOW_MS - (spread == 0   ? 0
                              : spread == 1 ? i * 10 * DAY_MS / EXTENTS
                                            : i % 2 * 12 * DAY_MS);
        }
        table(&a, EXTENTS, bytes, ms);
        for (unsigned hour = 0; hour < 24 * 60; hour++, d.now_ms += DAY_MS / 24) {
            uint64_t rate = due_rate(&d, &a);
            struct extent *x = due_next(&d, &a, 1);
            budget += MAX(rate, DUE_BYTES_PER_SEC_MIN) * 3600;
            while (budget >= x->live_bytes && due_now(&d, x, rate)) {
                budget -= x->live_bytes;
                x->unverified_ms = d.now_ms;
                x = due_next(&d, &a, 1);
            }
            budget = MIN(budget, EXTENT_BYTES);
            oldest_max = MAX(oldest_max, d.now_ms - due_oldest_ms(&d, &a));
            assert_true(rate < 4 * MIB); /* 400 GiB in 14 days are 0.34 MiB/s */
        }
        assert_in_range(oldest_max, 10 * DAY_MS, 16 * DAY_MS);
        alloc_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_unverified_is_next),
        cmocka_unit_test(a_time_in_the_future_says_nothing),
        cmocka_unit_test(the_rate_is_what_the_tightest_prefix_needs),
        cmocka_unit_test(small_stores_wait_until_it_is_time),
        cmocka_unit_test(every_byte_within_the_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
