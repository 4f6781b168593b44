/* The model (tests/model) with the sanitizers: some seeds of each kind of world.  Many more run,
 * and planted bugs, in a layer of its own: `make model`. */
#include "tests/model/model.h"

#include "common/base/check.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define OPERATIONS 120
#define SEEDS 96 /* each world with one, two and three disks, four times */

static uint64_t current_seed;

static void on_check(const char *cond, const char *file, int line)
{
    (void)cond;
    (void)file;
    (void)line;
    fprintf(stderr, "repeat with: build/sim/bin/cairn-model --seed=%llu\n",
            (unsigned long long)current_seed);
    check_hook = NULL;
}

static void agrees_with_the_reference(void **state)
{
    (void)state;
    static struct model_case c;
    uint64_t seen[MODEL_EVENTS] = {0};
    check_hook = on_check;
    for (current_seed = 1; current_seed <= SEEDS; current_seed++) {
        char why[256] = "";
        model_generate(current_seed, OPERATIONS, &c);
        if (!model_run(&c, NULL, why, sizeof(why), seen))
            fail_msg("%s; repeat with: build/sim/bin/cairn-model --seed=%llu", why,
                     (unsigned long long)current_seed);
    }
    check_hook = NULL;
    assert_true(seen[SEEN_PUTS] && seen[SEEN_CRASHES] && seen[SEEN_RECLAIMED]);
}

/* What makes a failing case small, by a case that "fails" while three of its operations are in it.
 */
static bool has_three(void *arg, const struct model_case *c)
{
    const uint64_t *wanted = arg;
    unsigned found = 0;
    for (unsigned i = 0; i < c->count; i++)
        for (unsigned n = 0; n < 3; n++)
            found += c->ops[i].seed == wanted[n];
    return found == 3;
}

static void shrinks_to_what_is_needed(void **state)
{
    (void)state;
    static struct model_case c;
    model_generate(7, OPERATIONS, &c);
    uint64_t wanted[3] = {c.ops[0].seed, c.ops[57].seed, c.ops[OPERATIONS - 1].seed};
    unsigned runs = model_shrink(&c, has_three, wanted);
    assert_int_equal(c.count, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_true(c.ops[i].seed == wanted[i]); /* in their order */
    assert_true(runs < 2 * OPERATIONS);
    assert_int_equal(c.seed, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_reference),
        cmocka_unit_test(shrinks_to_what_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
