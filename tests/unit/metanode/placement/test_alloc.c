/* The n-th allocation failing while groups are made and changes are planned: ERR_NOMEM, and nothing
 * leaks. */
#include "common/base/err.h"
#include "metanode/placement/placement.h"
#include "tests/unit/common/alloc_fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void no_memory(void **state)
{
    static struct place_node nodes[6];
    static struct place_group groups[8];
    struct place_view v = {.nodes = nodes, .node_count = 6, .zone_count = 3};
    struct place_ask ask = {.scheme = {1, 2}, .count = 8, .scatter_width = 4};
    (void)state;
    for (unsigned i = 0; i < 6; i++)
        nodes[i].zone = i % 3;
    for (uint64_t n = 0;; n++) {
        struct place_made made = {0};
        alloc_fail_at(n);
        int err = place_make(&v, &ask, &made);
        bool failed = alloc_fail_end();
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        for (unsigned i = 0; err == OK && i < 24; i++)
            groups[i / 3].members[i % 3] = made.members[i];
        place_made_fini(&made);
        if (!failed)
            break;
        assert_true(n < 100);
    }
    for (unsigned g = 0; g < 8; g++) {
        groups[g].scheme = ask.scheme;
        groups[g].count = 3;
    }
    v.groups = groups;
    v.group_count = 8;
    nodes[0].draining = true;
    for (uint64_t n = 0;; n++) {
        struct place_plan plan = {0};
        alloc_fail_at(n);
        int err = place_plan(&v, 100, &plan);
        bool failed = alloc_fail_end();
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        assert_true(failed || plan.count > 0);
        place_plan_fini(&plan);
        if (!failed)
            break;
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
