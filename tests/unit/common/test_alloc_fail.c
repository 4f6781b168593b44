/* The helper itself: the right one fails, only once, and the libraries' allocations count too. */
#include "common/base/err.h"
#include "proto/common.pb-c.h"
#include "tests/unit/common/alloc_fail.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_nth_fails_alone(void **state)
{
    (void)state;
    void *volatile p[5];
    alloc_fail_at(2);
    p[0] = malloc(1);
    p[1] = calloc(1, 1);
    p[2] = realloc(NULL, 1);
    p[3] = strdup("x");
    p[4] = aligned_alloc(4096, 4096);
    assert_true(alloc_fail_end());
    for (int i = 0; i < 5; i++) {
        assert_int_equal(p[i] == NULL, i == 2);
        free(p[i]);
    }
    alloc_fail_at(1);
    p[0] = malloc(1);
    assert_false(alloc_fail_end());
    free(p[0]);
}

static void a_failed_realloc_keeps_the_old(void **state)
{
    (void)state;
    char *volatile kept = strdup("kept"), *volatile p = kept;
    alloc_fail_at(0);
    char *volatile bigger = realloc(p, 100);
    assert_true(alloc_fail_end());
    assert_null(bigger);
    assert_string_equal(kept, "kept");
    free(kept);
}

static void held_allocations_do_not_count(void **state)
{
    (void)state;
    alloc_fail_at(0);
    alloc_fail_hold();
    void *volatile p = malloc(1);
    alloc_fail_go_on();
    void *volatile q = malloc(1);
    assert_true(alloc_fail_end());
    assert_non_null(p);
    assert_null(q);
    free(p);
}

static void libraries_are_not_spared(void **state)
{
    (void)state;
    Cairn__ObjectRecord r = CAIRN__OBJECT_RECORD__INIT;
    uint8_t packed[64];
    r.etag = (char *)(uintptr_t) "etag";
    size_t len = cairn__object_record__pack(&r, packed);
    uint64_t n = 0;
    for (;; n++) {
        alloc_fail_at(n);
        Cairn__ObjectRecord *got = cairn__object_record__unpack(NULL, len, packed);
        bool did = alloc_fail_end();
        assert_int_equal(got == NULL, did);
        if (got)
            cairn__object_record__free_unpacked(got, NULL);
        if (!did)
            break;
    }
    assert_true(n >= 2); /* the record, and its etag */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_fails_alone),
        cmocka_unit_test(a_failed_realloc_keeps_the_old),
        cmocka_unit_test(held_allocations_do_not_count),
        cmocka_unit_test(libraries_are_not_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
