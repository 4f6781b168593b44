/* What is left of a segment, and the counts by scheme. */
#include "common/base/check.h"
#include "gateway/admin/redundancy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void one_segment(void **state)
{
    (void)state;
    static const struct {
        const char *shards; /* + found, - not, x damaged, ? not answered */
        unsigned data;
        enum redundancy is;
    } cases[] = {
        {"+++", 1, REDUNDANCY_FULL},           {"++-", 1, REDUNDANCY_DEGRADED},
        {"+xx", 1, REDUNDANCY_DEGRADED},       {"+??", 1, REDUNDANCY_DEGRADED},
        {"---", 1, REDUNDANCY_LOST},           {"xxx", 1, REDUNDANCY_LOST},
        {"--?", 1, REDUNDANCY_UNKNOWN},        {"+++++++++", 5, REDUNDANCY_FULL},
        {"++++++++-", 5, REDUNDANCY_DEGRADED}, {"+++++----", 5, REDUNDANCY_DEGRADED},
        {"++++-----", 5, REDUNDANCY_LOST},     {"++++?----", 5, REDUNDANCY_UNKNOWN},
        {"+++x?----", 5, REDUNDANCY_LOST},     {"", 0, REDUNDANCY_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum shard_found found[REDUNDANCY_SHARDS_MAX];
        size_t n = strlen(cases[i].shards);
        for (size_t k = 0; k < n; k++)
            found[k] = (enum shard_found)(strchr("+-x?", cases[i].shards[k]) - "+-x?");
        assert_int_equal(redundancy_of(found, n, cases[i].data), cases[i].is);
    }
}

static void counts(void **state)
{
    (void)state;
    struct redundancy_counts c = {0};
    redundancy_count(&c, 1, 2, REDUNDANCY_FULL, 1);
    redundancy_count(&c, 5, 4, REDUNDANCY_LOST, 1);
    redundancy_count(&c, 1, 2, REDUNDANCY_FULL, 1);
    redundancy_count(&c, 5, 4, REDUNDANCY_LOST, -1);
    assert_int_equal(c.scheme_count, 2);
    assert_true(c.scheme[0].data == 1 && c.scheme[0].count[REDUNDANCY_FULL] == 2);
    assert_true(c.scheme[1].data == 5 && c.scheme[1].count[REDUNDANCY_LOST] == 0);
    for (unsigned i = 0; i < 100; i++)
        redundancy_count(&c, 2 + i, 1, REDUNDANCY_DEGRADED, 1);
    uint64_t sum = 0;
    for (size_t i = 0; i < c.scheme_count; i++)
        sum += c.scheme[i].count[REDUNDANCY_DEGRADED];
    assert_true(c.scheme_count == REDUNDANCY_SCHEMES_MAX && sum == 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_segment), cmocka_unit_test(counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
