/* The store against a reference map: SEEDS seeds from SEED on (environment). */
#include "tests/unit/storagenode/op/model.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define OPERATIONS 250
#ifdef __SANITIZE_ADDRESS__
#define SEEDS_DEFAULT 160
#else
#define SEEDS_DEFAULT 3000
#endif
#define MUTANT_SEEDS_MAX 60 /* within which each planted bug is found */

static uint64_t current_seed;
static const char *program;

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void say_repeat(void)
{
    fprintf(stderr, "repeat with: SEED=%llu SEEDS=1 %s\n", (unsigned long long)current_seed, program);
}

static void on_check(const char *cond, const char *file, int line)
{
    (void)cond;
    (void)file;
    (void)line;
    say_repeat();
    check_hook = NULL;
}

static void agrees_with_the_reference(void **state)
{
    (void)state;
    struct model_totals t = {0};
    uint64_t first = env_number("SEED", 1), count = env_number("SEEDS", SEEDS_DEFAULT);
    check_hook = on_check;
    for (current_seed = first; current_seed < first + count; current_seed++) {
        char why[256] = "";
        if (!model_run(current_seed, OPERATIONS, why, sizeof(why), &t)) {
            fprintf(stderr, "seed %llu: %s\n", (unsigned long long)current_seed, why);
            say_repeat();
            fail();
        }
    }
    printf("seeds %llu: puts %llu, gets %llu, deletes %llu, crashes %llu, closes %llu, extents "
           "reclaimed %llu, frames recovered %llu, torn %llu, corruptions %llu, full %llu, faults "
           "%llu, flips %llu, scrubs %llu, found %llu, bad frames after one %llu\n",
           (unsigned long long)count, (unsigned long long)t.puts, (unsigned long long)t.gets,
           (unsigned long long)t.deletes, (unsigned long long)t.crashes,
           (unsigned long long)t.closes, (unsigned long long)t.reclaimed,
           (unsigned long long)t.recovered, (unsigned long long)t.torn,
           (unsigned long long)t.corruptions, (unsigned long long)t.nospace,
           (unsigned long long)t.failures, (unsigned long long)t.flips,
           (unsigned long long)t.scrub_passes, (unsigned long long)t.scrub_found,
           (unsigned long long)t.bad_seen);
    if (count >= 100) { /* every path has been walked */
        assert_true(t.crashes && t.closes && t.reclaimed && t.recovered && t.torn);
        assert_true(t.corruptions && t.nospace && t.failures && t.flips);
        assert_true(t.scrub_passes && t.scrub_found && t.bad_seen);
    }
}

#ifdef CAIRN_MUTANTS
/* In worlds without damage and failures, where nothing excuses what is seen; or in those with flipped
 * bits. */
static void finds_in(enum mutant mutant, bool flips)
{
    struct model_totals t = {0};
    uint64_t seed = 0;
    bool found = false;
    char why[256] = "";
    mutant_active = mutant;
    while (!found && seed < MUTANT_SEEDS_MAX) {
        current_seed = ++seed;
        if (flips ? seed % 8 == 5 : seed % 8 != 4 && seed % 8 != 5)
            found = !model_run(seed, OPERATIONS, why, sizeof(why), &t);
    }
    mutant_active = MUTANT_NONE;
    printf("%s: found by seed %llu: %s\n", mutant_name(mutant), (unsigned long long)seed, why);
    assert_true(found);
}

static void finds(enum mutant mutant) { finds_in(mutant, false); }

static void finds_skipped_fsync(void **state)
{
    (void)state;
    finds(MUTANT_STORE_SKIP_FSYNC);
}

static void finds_early_reclamation(void **state)
{
    (void)state;
    finds(MUTANT_STORE_RECLAIM_EARLY);
}

static void finds_unsynced_mark(void **state)
{
    (void)state;
    finds(MUTANT_STORE_MARK_UNSYNCED);
}

static void finds_a_skipped_extent(void **state)
{
    (void)state;
    finds_in(MUTANT_SCRUB_SKIPS_EXTENT, true);
}
#endif

int main(int argc, char **argv)
{
    (void)argc;
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_reference),
#ifdef CAIRN_MUTANTS
        cmocka_unit_test(finds_skipped_fsync),
        cmocka_unit_test(finds_early_reclamation),
        cmocka_unit_test(finds_unsynced_mark),
        cmocka_unit_test(finds_a_skipped_extent),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
