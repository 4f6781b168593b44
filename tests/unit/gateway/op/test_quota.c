/* Quotas: what was accepted since when, and what would be too much. */
#include "gateway/op/quota_tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct quota_amount amount(uint64_t bytes, uint64_t objects)
{
    return (struct quota_amount){bytes, objects};
}

static void bounds(void **state)
{
    (void)state;
    struct quota_amount max = amount(100, 10), none = amount(0, 0);
    assert_false(quota_exceeded(max, amount(60, 5), amount(40, 5))); /* just full */
    assert_true(quota_exceeded(max, amount(60, 5), amount(41, 1)));
    assert_true(quota_exceeded(max, amount(60, 10), amount(1, 1)));
    assert_false(quota_exceeded(max, amount(100, 10), none));
    assert_true(quota_exceeded(max, amount(101, 1), none)); /* over it already */
    assert_false(quota_exceeded(none, amount(UINT64_MAX, UINT64_MAX), amount(UINT64_MAX, 1)));
    assert_false(quota_exceeded(amount(0, 10), amount(UINT64_MAX, 1), amount(1, 1)));
    assert_true(quota_exceeded(amount(100, 0), amount(1, 1), amount(UINT64_MAX, 1)));
    struct quota_amount sum = quota_sum(amount(UINT64_MAX - 1, 1), amount(5, 2));
    assert_true(sum.bytes == UINT64_MAX && sum.objects == 3);
}

static void sum_is(const struct quota_tally *t, uint64_t bytes, uint64_t objects)
{
    struct quota_amount sum = quota_tally_sum(t);
    assert_int_equal(sum.bytes, bytes);
    assert_int_equal(sum.objects, objects);
}

static void what_was_counted_is_forgotten(void **state)
{
    (void)state;
    struct quota_tally t = {0};
    sum_is(&t, 0, 0);
    quota_tally_add(&t, 1000, 100, amount(7, 1));
    quota_tally_add(&t, 1099, 100, amount(8, 1)); /* the same step */
    quota_tally_add(&t, 1100, 100, amount(9, 1));
    assert_int_equal(t.count, 2);
    quota_tally_drop(&t, 1099); /* a part of the step may not have been counted: it stays */
    sum_is(&t, 24, 3);
    quota_tally_drop(&t, 1100);
    sum_is(&t, 9, 1);
    quota_tally_add(&t, 50, 100, amount(1, 1)); /* the clock was set back */
    sum_is(&t, 10, 2);
    quota_tally_drop(&t, 1101);
    sum_is(&t, 0, 0);
}

/* Without a measurement for ever, nothing is lost, and little room is taken. */
static void steps_are_merged(void **state)
{
    (void)state;
    struct quota_tally t = {0};
    for (uint64_t i = 0; i < 1000; i++)
        quota_tally_add(&t, 1000 * i, 100, amount(3, 1));
    assert_int_equal(t.count, QUOTA_SLOTS);
    sum_is(&t, 3000, 1000);
    uint64_t first_kept = 1000 - QUOTA_SLOTS + 1;
    quota_tally_drop(&t, 1000 * (first_kept - 1)); /* the merged one ended then: not before */
    sum_is(&t, 3000, 1000);
    quota_tally_drop(&t, 1000 * first_kept);
    sum_is(&t, 3 * (QUOTA_SLOTS - 1), QUOTA_SLOTS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds),
        cmocka_unit_test(what_was_counted_is_forgotten),
        cmocka_unit_test(steps_are_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
