/* The linearizability checker itself: accepts what is right, finds planted faults. */
#include "tests/sim/history.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define P HISTORY_PENDING
#define STEPS 1000000

static enum history_verdict check(const struct history_op *ops, size_t count)
{
    struct history h = {0};
    for (size_t i = 0; i < count; i++)
        history_add(&h, ops[i]);
    enum history_verdict v = history_check(&h, 0, STEPS, NULL);
    history_fini(&h);
    return v;
}
#define CHECK_OPS(...)                                                                             \
    check((const struct history_op[]){__VA_ARGS__},                                                \
          sizeof((const struct history_op[]){__VA_ARGS__}) / sizeof(struct history_op))
#define READ(v, s, e) {.kind = HISTORY_READ, .value = v, .start = s, .end = e}
#define PUT(v, s, e) {.kind = HISTORY_PUT, .value = v, .start = s, .end = e}
#define DEL(s, e) {.kind = HISTORY_DELETE, .start = s, .end = e}
#define ABSENT(v, r, s, e)                                                                         \
    {.kind = HISTORY_PUT_IF_ABSENT, .value = v, .refused = r, .start = s, .end = e}
#define MATCH(v, x, r, s, e)                                                                       \
    {.kind = HISTORY_PUT_IF_MATCH, .value = v, .expect = x, .refused = r, .start = s, .end = e}

static void right_histories(void **state)
{
    (void)state;
    assert_int_equal(CHECK_OPS(PUT(1, 0, 2), READ(1, 3, 4)), HISTORY_OK);
    assert_int_equal(CHECK_OPS(PUT(1, 0, 5), READ(0, 1, 2), READ(1, 3, 4)), HISTORY_OK);
    assert_int_equal(CHECK_OPS(PUT(1, 0, 1), PUT(2, 2, 9), READ(2, 3, 4), DEL(5, 6), READ(0, 7, 8)),
                     HISTORY_OK);
    assert_int_equal(CHECK_OPS(PUT(1, 0, P), READ(0, 5, 6), READ(1, 7, 8)), HISTORY_OK);
    assert_int_equal(CHECK_OPS(PUT(1, 0, P), READ(0, 5, 6)), HISTORY_OK);
    assert_int_equal(CHECK_OPS(ABSENT(1, false, 0, 3), ABSENT(2, true, 1, 4), READ(1, 5, 6)),
                     HISTORY_OK);
    assert_int_equal(CHECK_OPS(PUT(1, 0, 1), MATCH(2, 1, false, 2, 5), MATCH(3, 1, true, 2, 5)),
                     HISTORY_OK);
}

static void wrong_histories(void **state)
{
    (void)state;
    /* a stale read; a read that goes back; a lost write; a value from nowhere */
    assert_int_equal(CHECK_OPS(PUT(1, 0, 1), PUT(2, 2, 3), READ(1, 4, 5)), HISTORY_VIOLATION);
    assert_int_equal(CHECK_OPS(PUT(1, 0, 9), READ(1, 1, 2), READ(0, 3, 4)), HISTORY_VIOLATION);
    assert_int_equal(CHECK_OPS(PUT(1, 0, 1), READ(0, 2, 3)), HISTORY_VIOLATION);
    assert_int_equal(CHECK_OPS(READ(7, 2, 3)), HISTORY_VIOLATION);
    /* two winners of one condition; a refusal without a reason; a deleted value is back */
    assert_int_equal(CHECK_OPS(ABSENT(1, false, 0, 3), ABSENT(2, false, 1, 4)), HISTORY_VIOLATION);
    assert_int_equal(CHECK_OPS(ABSENT(1, true, 0, 3)), HISTORY_VIOLATION);
    assert_int_equal(CHECK_OPS(PUT(1, 0, 1), DEL(2, 3), READ(1, 4, 5)), HISTORY_VIOLATION);
    assert_int_equal(
        CHECK_OPS(PUT(1, 0, 1), MATCH(2, 1, false, 2, 3), MATCH(3, 1, false, 4, 5)),
        HISTORY_VIOLATION);
    /* An unknown write happens at most once. */
    assert_int_equal(
        CHECK_OPS(PUT(1, 0, P), READ(1, 2, 3), DEL(4, 5), READ(0, 6, 7), READ(1, 8, 9)),
        HISTORY_VIOLATION);
}

/* Random histories of a real register are accepted; with one read falsified they are not. */
static void random_histories(void **state)
{
    (void)state;
    srand(5);
    for (int round = 0; round < 300; round++) {
        struct history h = {0};
        uint64_t value = 0, next = 1, now = 1000;
        size_t last_read = SIZE_MAX;
        for (int i = 0; i < 80; i++) {
            now += 10;
            /* the effect is at `now`; the interval around it overlaps its neighbours' */
            struct history_op op = {.start = now - (uint64_t)(rand() % 40), .end = now + (uint64_t)(rand() % 40)};
            int dice = rand() % 10;
            if (dice < 4) {
                op.kind = HISTORY_READ;
                op.value = value;
            } else if (dice < 6) {
                op.kind = HISTORY_PUT;
                op.value = value = next++;
                if (rand() % 4 == 0)
                    op.end = HISTORY_PENDING;
            } else if (dice < 7) {
                op.kind = HISTORY_DELETE;
                value = 0;
            } else {
                op.kind = HISTORY_PUT_IF_ABSENT;
                op.value = next++;
                op.refused = value != 0;
                if (!op.refused)
                    value = op.value;
            }
            size_t at = history_add(&h, op);
            if (op.kind == HISTORY_READ)
                last_read = at;
        }
        assert_int_equal(history_check(&h, 0, STEPS, NULL), HISTORY_OK);
        if (last_read != SIZE_MAX) {
            h.ops[last_read].value = next + 5;
            size_t stuck;
            assert_int_equal(history_check(&h, 0, STEPS, &stuck), HISTORY_VIOLATION);
        }
        history_fini(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_histories),
        cmocka_unit_test(wrong_histories),
        cmocka_unit_test(random_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
