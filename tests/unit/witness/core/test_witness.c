/* The witness's rules one by one; each planted bug of spec/WitnessVisibility.tla that lives in the
 * witness changes the answer that its rule gives. */
#include "witness/core/witness.h"

#include "common/base/err.h"
#include "common/base/mutant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define LEASE 1000
static const struct id128 LIFE1 = {{1}}, LIFE2 = {{2}};

static struct witness w;

static int setup(void **state)
{
    (void)state;
    mutant_active = MUTANT_NONE;
    witness_init(&w, 4, 8);
    witness_begin(&w, LIFE1);
    witness_granted(&w, LIFE1, 0, LEASE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    witness_check_invariants(&w);
    witness_fini(&w);
    mutant_active = MUTANT_NONE;
    return 0;
}

static int open_at(struct id128 life, uint64_t term, uint64_t target, uint64_t first,
                   uint64_t commit, uint64_t *resume)
{
    struct witness_open o = {.partition = 7, .term = term, .incarnation = life, .target = target,
                             .log_first = first, .commit = commit, .stream = 1};
    return witness_open(&w, &o, resume);
}

/* One entry at prev + 1 that changes `hash`. */
static int entry(struct id128 life, uint64_t term, uint64_t prev, uint64_t hash, uint64_t commit,
                 uint64_t *recv)
{
    uint32_t counts[1] = {1};
    struct witness_append a = {.partition = 7, .term = term, .incarnation = life, .stream = 1,
                               .prev = prev, .hash_counts = counts, .entry_count = 1,
                               .hashes = &hash, .hash_count = 1, .commit = commit};
    return witness_append(&w, &a, recv);
}

static bool fresh(uint64_t hash, uint64_t as_of, uint64_t now, uint64_t *through)
{
    return witness_check(&w, 7, hash, as_of, now, through);
}

static void a_new_partition_knows_nothing_below_its_floor(void **state)
{
    (void)state;
    uint64_t resume, recv, through;
    assert_int_equal(open_at(LIFE1, 1, 12, 10, 12, &resume), OK);
    assert_int_equal(resume, 10);
    assert_false(fresh(3, 11, 0, &through)); /* not ready */
    assert_int_equal(entry(LIFE1, 1, 10, 3, 12, &recv), OK);
    assert_int_equal(entry(LIFE1, 1, 11, 4, 12, &recv), OK);
    assert_int_equal(recv, 12);
    assert_true(fresh(3, 11, 0, &through));
    assert_int_equal(through, 12);
    assert_false(fresh(4, 11, 0, &through));
    assert_false(fresh(9, 9, 0, &through)); /* below the floor */
    mutant_active = MUTANT_FLOOR_IGNORED;
    assert_true(fresh(9, 9, 0, &through));
}

static void the_lease_is_counted_from_the_sending_and_checked_last(void **state)
{
    (void)state;
    uint64_t resume, through;
    assert_int_equal(open_at(LIFE1, 1, 0, 0, 0, &resume), OK);
    assert_true(fresh(1, 0, LEASE - 1, &through));
    assert_false(fresh(1, 0, LEASE, &through));
    witness_granted(&w, LIFE2, LEASE, LEASE); /* for another life: ignored */
    assert_false(fresh(1, 0, LEASE, &through));
    mutant_active = MUTANT_ANSWER_WITHOUT_LEASE;
    assert_true(fresh(1, 0, LEASE, &through));
}

static void a_new_term_resumes_after_what_is_committed(void **state)
{
    (void)state;
    uint64_t resume, recv, through;
    assert_int_equal(open_at(LIFE1, 1, 0, 0, 0, &resume), OK);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(entry(LIFE1, 1, i, i, 2, &recv), OK);
    assert_int_equal(recv, 5);
    assert_true(fresh(1, 2, 0, &through));
    assert_int_equal(through, 2); /* never what is not known to be committed */
    assert_int_equal(open_at(LIFE1, 3, 6, 0, 2, &resume), OK);
    assert_int_equal(resume, 2);
    assert_int_equal(witness_find(&w, 7)->floor, 0);
    assert_int_equal(open_at(LIFE1, 2, 6, 0, 2, &resume), ERR_CONFLICT); /* an older term */
    assert_int_equal(entry(LIFE1, 1, 5, 1, 6, &recv), ERR_CONFLICT);     /* its stream */
    assert_int_equal(entry(LIFE1, 3, 4, 1, 2, &recv), OK);               /* a gap */
    assert_int_equal(recv, 2);
    /* A leader that has compacted past it raises the floor. */
    assert_int_equal(open_at(LIFE1, 4, 9, 8, 9, &resume), OK);
    assert_int_equal(resume, 8);
    assert_int_equal(witness_find(&w, 7)->floor, 8);
}

static void the_mutants_of_streams_break_their_rules(void **state)
{
    (void)state;
    uint64_t resume, recv, through;
    assert_int_equal(open_at(LIFE1, 1, 0, 0, 0, &resume), OK);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(entry(LIFE1, 1, i, i, 2, &recv), OK);
    mutant_active = MUTANT_RESUME_FROM_RECV;
    assert_int_equal(open_at(LIFE1, 2, 6, 0, 2, &resume), OK);
    assert_int_equal(resume, 5);
    mutant_active = MUTANT_THROUGH_UNCOMMITTED;
    assert_int_equal(entry(LIFE1, 2, 5, 9, 2, &recv), OK);
    assert_true(fresh(1, 6, 0, &through));
    assert_int_equal(through, 6);
    mutant_active = MUTANT_FLOOR_NOT_RAISED;
    assert_int_equal(open_at(LIFE1, 3, 20, 20, 20, &resume), OK);
    assert_int_equal(witness_find(&w, 7)->floor, 0);
    mutant_active = MUTANT_NONE;
    witness_begin(&w, LIFE2);
    mutant_active = MUTANT_READY_ON_HELLO;
    assert_int_equal(open_at(LIFE2, 4, 30, 0, 20, &resume), OK);
    assert_true(witness_find(&w, 7)->ready);
}

static void a_new_life_is_not_ready_and_hears_no_old_stream(void **state)
{
    (void)state;
    uint64_t resume, recv, through;
    assert_int_equal(open_at(LIFE1, 1, 1, 0, 1, &resume), OK);
    assert_int_equal(entry(LIFE1, 1, 0, 5, 1, &recv), OK);
    assert_true(fresh(5, 1, 0, &through));
    witness_begin(&w, LIFE2);
    witness_granted(&w, LIFE2, 0, LEASE);
    assert_false(fresh(5, 1, 0, &through));
    assert_int_equal(entry(LIFE1, 1, 1, 5, 2, &recv), ERR_CONFLICT);
    assert_int_equal(open_at(LIFE1, 1, 2, 0, 1, &resume), ERR_CONFLICT);
    /* The same leader opens again, for this life; the table is still true of what was committed. */
    assert_int_equal(open_at(LIFE2, 1, 2, 0, 1, &resume), OK);
    assert_int_equal(resume, 1);
    assert_false(fresh(5, 1, 0, &through));
    assert_int_equal(entry(LIFE2, 1, 1, 6, 2, &recv), OK);
    assert_true(fresh(5, 1, 0, &through));
    mutant_active = MUTANT_READY_SURVIVES;
    witness_begin(&w, LIFE1);
    assert_true(witness_find(&w, 7)->ready);
    mutant_active = MUTANT_OLD_STREAM_COUNTS;
    assert_int_equal(open_at(LIFE1, 2, 3, 0, 2, &resume), OK);
    witness_begin(&w, LIFE2);
    assert_int_equal(entry(LIFE1, 2, 2, 5, 3, &recv), OK);
}

static void a_split_raises_the_floor(void **state)
{
    (void)state;
    uint64_t resume, recv, through;
    uint32_t counts[1] = {0};
    uint64_t floors[2] = {1, 1};
    assert_int_equal(open_at(LIFE1, 1, 0, 0, 0, &resume), OK);
    assert_true(fresh(5, 0, 0, &through));
    struct witness_append a = {.partition = 7, .term = 1, .incarnation = LIFE1, .stream = 1,
                               .hash_counts = counts, .entry_count = 1, .floors = floors,
                               .floor_count = 2};
    assert_int_equal(witness_append(&w, &a, &recv), OK);
    assert_false(fresh(5, 0, 0, &through));
    assert_true(fresh(5, 1, 0, &through));
}

/* The leader lost its stream to us and has compacted what we lack: the floor rises over the gap. */
static void a_reopened_stream_may_skip(void **state)
{
    (void)state;
    uint64_t resume, recv, through;
    assert_int_equal(open_at(LIFE1, 1, 3, 0, 0, &resume), OK);
    assert_int_equal(entry(LIFE1, 1, 0, 5, 0, &recv), OK);
    struct witness_open again = {.partition = 7, .term = 1, .incarnation = LIFE1, .target = 9,
                                 .log_first = 8, .commit = 9, .stream = 2};
    assert_int_equal(witness_open(&w, &again, &resume), OK);
    assert_int_equal(resume, 8);
    assert_int_equal(witness_find(&w, 7)->floor, 8);
    assert_false(fresh(6, 7, 0, &through)); /* a change between 2 and 8 would not be known */
    assert_true(fresh(6, 8, 0, &through));
}

static void unsound_messages_are_refused(void **state)
{
    (void)state;
    uint64_t resume, recv;
    uint32_t counts[2] = {2, UINT32_MAX};
    uint64_t hashes[2] = {1, 2};
    assert_int_equal(open_at(LIFE1, 1, 5, 6, 5, &resume), ERR_INVAL);
    assert_int_equal(open_at(LIFE1, 0, 5, 0, 5, &resume), ERR_INVAL);
    assert_int_equal(open_at(LIFE1, 1, 0, 0, 0, &resume), OK);
    struct witness_append a = {.partition = 7, .term = 1, .incarnation = LIFE1, .stream = 1,
                               .hash_counts = counts, .entry_count = 2, .hashes = hashes,
                               .hash_count = 2};
    assert_int_equal(witness_append(&w, &a, &recv), ERR_INVAL);
    a.entry_count = 1;
    a.prev = UINT64_MAX;
    assert_int_equal(witness_append(&w, &a, &recv), ERR_INVAL);
    struct witness_open o = {.term = 1, .incarnation = LIFE1};
    for (o.partition = 100; o.partition < 107; o.partition++)
        assert_int_equal(witness_open(&w, &o, &resume), OK);
    assert_int_equal(witness_open(&w, &o, &resume), ERR_LIMIT);
}

static void a_clone_is_independent(void **state)
{
    (void)state;
    uint64_t resume, recv, through;
    struct witness copy;
    assert_int_equal(open_at(LIFE1, 1, 0, 0, 0, &resume), OK);
    assert_int_equal(witness_clone(&w, &copy), OK);
    assert_int_equal(entry(LIFE1, 1, 0, 5, 1, &recv), OK);
    assert_true(witness_check(&copy, 7, 5, 0, 0, &through));
    assert_false(fresh(5, 0, 0, &through));
    witness_fini(&copy);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_new_partition_knows_nothing_below_its_floor),
        T(the_lease_is_counted_from_the_sending_and_checked_last),
        T(a_new_term_resumes_after_what_is_committed),
        T(the_mutants_of_streams_break_their_rules),
        T(a_new_life_is_not_ready_and_hears_no_old_stream),
        T(a_split_raises_the_floor),
        T(a_reopened_stream_may_skip),
        T(unsound_messages_are_refused),
        T(a_clone_is_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
