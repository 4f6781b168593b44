/* Random numbers: the kernel's, each byte of them given out once. */
#include "common/base/err.h"
#include "common/env_uv/env_uv.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { IDS = 4000, ID = 16 };

static struct env_uv e;

static int setup(void **state)
{
    static uv_loop_t loop;
    *state = &loop;
    return uv_loop_init(&loop) == 0 && env_uv_init(&e, &loop) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    env_uv_fini(&e);
    return uv_loop_close(*state);
}

static int id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, ID);
}

static void never_twice(void **state)
{
    static uint8_t ids[IDS][ID];
    (void)state;
    for (size_t i = 0; i < IDS; i++) {
        uint8_t some[1 + ID];
        env_random(&e.env, some, 1 + i % ID); /* so that ids lie anywhere in what was fetched */
        env_random(&e.env, ids[i], ID);
    }
    qsort(ids, IDS, ID, id_cmp);
    for (size_t i = 1; i < IDS; i++)
        assert_true(memcmp(ids[i - 1], ids[i], ID) != 0);
}

/* Of a key nothing stays behind where it came from. */
static void forgotten(void **state)
{
    static const uint8_t zeros[sizeof(e.random)];
    (void)state;
    for (size_t len = 1; len <= 3 * sizeof(e.random); len++) {
        uint8_t text[3 * sizeof(e.random) + 8];
        memset(text, 0, sizeof(text));
        env_random(&e.env, text, len);
        assert_memory_equal(text + len, zeros, 8); /* no byte more */
        assert_true(len < 8 || memcmp(text + len - 8, zeros, 8) != 0);
        assert_memory_equal(e.random + e.random_left, zeros, sizeof(e.random) - e.random_left);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(never_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(forgotten, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
