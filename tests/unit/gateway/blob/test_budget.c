/* Budgets of bytes, and the buffers that they keep for the next taker. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/blob/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static struct rcbuf *take(struct budget *b, size_t cap)
{
    struct rcbuf *buffer = NULL;
    assert_int_equal(budget_take_buffer(b, cap, &buffer), OK);
    assert_int_equal(buffer->len, 0);
    assert_int_equal(buffer->cap, cap);
    return buffer;
}

static void spare_is_taken_again(void **state)
{
    (void)state;
    struct budget *own = budget_new(NULL, 64 * MIB), *request = budget_new(own, 16 * MIB);
    struct rcbuf *first = take(request, 4 * MIB);
    struct rcbuf *was = first;
    assert_int_equal(own->used, 4 * MIB);
    first->len = 100;
    budget_give_buffer(request, &first);
    assert_null(first);
    assert_int_equal(own->used, 0);
    assert_int_equal(request->used, 0);
    assert_int_equal(own->spare_bytes, 4 * MIB);

    struct rcbuf *other = take(request, 2 * MIB); /* another size: not this one */
    assert_ptr_not_equal(other, was);
    struct rcbuf *again = take(request, 4 * MIB);
    assert_ptr_equal(again, was);
    assert_int_equal(own->spare_bytes, 0);
    budget_give_buffer(request, &again);
    budget_give_buffer(request, &other);
    budget_unref(request);
    budget_unref(own); /* frees what it keeps: the sanitizer would tell */
}

static void what_is_not_kept(void **state)
{
    (void)state;
    struct budget *own = budget_new(NULL, 64 * MIB);
    struct rcbuf *small = take(own, BUDGET_SPARE_BYTES_MIN - 1);
    budget_give_buffer(own, &small);
    assert_int_equal(own->spare_count, 0);

    /* A frame on its way may still be read from it. */
    struct rcbuf *shared = take(own, 4 * MIB), *reader = rcbuf_ref(shared);
    budget_give_buffer(own, &shared);
    assert_int_equal(own->spare_count, 0);
    assert_int_equal(own->used, 0);
    rcbuf_unref(reader);

    struct rcbuf *many[BUDGET_SPARES_MAX + 2];
    for (size_t i = 0; i < ARRAY_COUNT(many); i++)
        many[i] = take(own, (i + 1) * MIB);
    for (size_t i = 0; i < ARRAY_COUNT(many); i++)
        budget_give_buffer(own, &many[i]);
    assert_int_equal(own->spare_count, BUDGET_SPARES_MAX);
    assert_int_equal(own->spare[0]->cap, 3 * MIB); /* the oldest went */
    budget_unref(own);
}

/* Used and spare together never exceed the bound, and spares never stand in a taker's way. */
static void spares_make_way(void **state)
{
    (void)state;
    struct budget *own = budget_new(NULL, 10 * MIB);
    struct rcbuf *a = take(own, 4 * MIB), *b = take(own, 3 * MIB);
    budget_give_buffer(own, &a);
    budget_give_buffer(own, &b);
    assert_int_equal(own->spare_bytes, 7 * MIB);
    assert_true(budget_take(own, 6 * MIB)); /* the older one goes */
    assert_int_equal(own->spare_bytes, 3 * MIB);
    assert_true(budget_take(own, 4 * MIB));
    assert_int_equal(own->spare_bytes, 0);
    struct rcbuf *none = NULL;
    assert_int_equal(budget_take_buffer(own, MIB, &none), ERR_LIMIT);
    assert_null(none);
    budget_give(own, 10 * MIB);

    /* A taker who is refused leaves the spare where it was. */
    struct budget *request = budget_new(own, 2 * MIB);
    a = take(own, 4 * MIB);
    budget_give_buffer(own, &a);
    assert_int_equal(budget_take_buffer(request, 4 * MIB, &none), ERR_LIMIT);
    assert_int_equal(own->spare_bytes, 4 * MIB);
    /* Nothing is kept that does not fit beside what is used. */
    a = take(own, 4 * MIB);
    assert_true(budget_take(own, 6 * MIB));
    struct rcbuf *held = a;
    own->max = 9 * MIB;
    budget_give_buffer(own, &held);
    assert_int_equal(own->spare_bytes, 0);
    budget_give(own, 6 * MIB);
    budget_unref(request);
    budget_unref(own);
}

static void unwanted_spares_go(void **state)
{
    (void)state;
    struct budget *own = budget_new(NULL, 64 * MIB);
    struct rcbuf *a = take(own, 4 * MIB), *b = take(own, 4 * MIB), *c = take(own, 4 * MIB);
    budget_give_buffer(own, &a);
    budget_give_buffer(own, &b);
    budget_give_buffer(own, &c);
    budget_trim(own);
    assert_int_equal(own->spare_count, 3); /* they came since the last time */
    for (int i = 0; i < 5; i++) {          /* one is in use now and then */
        a = take(own, 4 * MIB);
        budget_give_buffer(own, &a);
        budget_trim(own);
        assert_int_equal(own->spare_count, 1);
    }
    budget_trim(own);
    assert_int_equal(own->spare_count, 0);
    budget_unref(own);
}

struct waiting {
    struct budget_waiter waiter;
    struct budget *budget;
    struct rcbuf *got;
};

static void wake(struct budget_waiter *waiter)
{
    struct waiting *w = container_of(waiter, struct waiting, waiter);
    w->got = take(w->budget, 4 * MIB);
}

static void who_waits_gets_what_was_given_back(void **state)
{
    (void)state;
    struct budget *own = budget_new(NULL, 4 * MIB);
    struct waiting w = {.budget = own};
    budget_waiter_init(&w.waiter, wake);
    list_init(&w.waiter.node);
    struct rcbuf *a = take(own, 4 * MIB), *was = a;
    budget_wait(own, &w.waiter);
    budget_give_buffer(own, &a);
    assert_ptr_equal(w.got, was);
    budget_give_buffer(own, &w.got);
    budget_unref(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spare_is_taken_again),
        cmocka_unit_test(what_is_not_kept),
        cmocka_unit_test(spares_make_way),
        cmocka_unit_test(unwanted_spares_go),
        cmocka_unit_test(who_waits_gets_what_was_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
