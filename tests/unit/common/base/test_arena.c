/* The bump allocator: alignment, the bound, what a reset keeps, and pieces that never overlap. */
#include "common/base/arena.h"
#include "common/base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena a;
    struct slice pieces[300];
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
        size_t len = i * i % 700 + (i % 50 == 49 ? 3 * ARENA_BLOCK_BYTES : 0);
        uint8_t *p = arena_alloc(&a, len);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, (int)i, len);
        pieces[i] = SLICE(p, len);
    }
    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++)
        for (size_t k = 0; k < pieces[i].len; k++)
            assert_int_equal(pieces[i].ptr[k], (uint8_t)i);
    arena_fini(&a);
}

static void the_bound_holds(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100);
    assert_non_null(arena_alloc(&a, 48));
    assert_non_null(arena_alloc(&a, 48));
    assert_false(a.failed);
    assert_null(arena_alloc(&a, 5)); /* 16 with its padding */
    assert_true(a.failed);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    arena_reset(&a);
    assert_false(a.failed);
    assert_non_null(arena_alloc(&a, 96));
    arena_fini(&a);
    assert_int_equal(a.bytes_max, 100);
}

static void a_reset_keeps_an_ordinary_block_only(void **state)
{
    (void)state;
    struct arena a = {0};
    void *first = arena_alloc(&a, 10);
    assert_non_null(arena_alloc(&a, 10 * ARENA_BLOCK_BYTES));
    arena_reset(&a);
    assert_ptr_equal(arena_alloc(&a, 10), first);
    arena_fini(&a);
    assert_non_null(arena_alloc(&a, 10 * ARENA_BLOCK_BYTES));
    arena_reset(&a);
    assert_null(a.first);
    arena_fini(&a);
}

static void copies_end_in_zero(void **state)
{
    (void)state;
    struct arena a = {0};
    struct slice s = arena_copy(&a, SLICE_LIT("text"));
    assert_int_equal(s.len, 4);
    assert_string_equal((const char *)s.ptr, "text");
    assert_int_equal(arena_copy(&a, SLICE_EMPTY).len, 0);
    uint8_t *zeros = arena_zalloc(&a, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(zeros[i], 0);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(the_bound_holds),
        cmocka_unit_test(a_reset_keeps_an_ordinary_block_only),
        cmocka_unit_test(copies_end_in_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
