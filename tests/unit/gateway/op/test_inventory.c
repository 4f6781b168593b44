/* Inventories: the cursor of a round, and when one is due. */
#include "gateway/work/inventory_place.h"
#include "gateway/work/jobs.h"

#include "common/base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DAY 86400000ull

static struct inventory_place from, to;

static void cursors(void **state)
{
    (void)state;
    struct buf bytes = {0};
    from = (struct inventory_place){.config_hash = 7, .version = 9, .file_count = 2};
    buf_cstr(&from.key, "some/key");
    for (unsigned i = 0; i < 2; i++) {
        from.files[i].bytes = 100 + i;
        memset(from.files[i].name.bytes, (int)(1 + i), ID_BYTES);
        memset(from.files[i].md5, (int)(3 + i), MD5_BYTES);
    }
    inventory_place_write(&from, &bytes);
    assert_true(inventory_place_read(&to, buf_view(&bytes), 7));
    assert_true(slice_eq(buf_view(&to.key), SLICE_LIT("some/key")));
    assert_true(to.version == 9 && to.file_count == 2 && !to.walked);
    assert_memory_equal(to.files, from.files, 2 * sizeof(from.files[0]));

    assert_false(inventory_place_read(&to, buf_view(&bytes), 8)); /* of another configuration */
    assert_true(to.file_count == 0 && to.version == 0 && to.key.len == 0 && to.config_hash == 8);
    for (size_t len = 0; len < bytes.len; len++)
        assert_false(inventory_place_read(&to, SLICE(bytes.ptr, len), 7));
    assert_int_equal(to.key.len, 0);
    inventory_place_fini(&from);
    inventory_place_fini(&to);
    buf_fini(&bytes);
}

/* The longest one fits into the job's row, with its state. */
static void cursors_fit(void **state)
{
    (void)state;
    static char key[1024];
    struct buf bytes = {0}, made = {0};
    from = (struct inventory_place){.config_hash = 1, .file_count = INVENTORY_FILES_MAX};
    buf_append(&from.key, key, sizeof(key));
    inventory_place_write(&from, &bytes);
    inventory_made_write(1, 2, &made);
    assert_true(bytes.len + made.len <= JOB_CURSOR_BYTES_MAX);
    assert_true(inventory_place_read(&to, buf_view(&bytes), 1));
    bytes.ptr[bytes.len - INVENTORY_FILES_MAX * 40 - 2] = 0xFF; /* more files than there can be */
    assert_false(inventory_place_read(&to, buf_view(&bytes), 1));
    inventory_place_fini(&from);
    inventory_place_fini(&to);
    buf_fini(&bytes);
    buf_fini(&made);
}

static void schedules(void **state)
{
    (void)state;
    struct buf made = {0};
    assert_true(inventory_is_due(SLICE_EMPTY, 1, true, DAY, 5));
    inventory_made_write(1, 100 * DAY, &made);
    static const struct {
        uint64_t hash, days_x4;
        bool weekly, due;
    } cases[] = {
        {1, 1, false, false}, {1, 4, false, true}, {1, 3, false, true}, {1, 4, true, false},
        {1, 24, true, false}, {1, 28, true, true}, {2, 0, true, true}, /* changed meanwhile */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(inventory_is_due(buf_view(&made), cases[i].hash, cases[i].weekly, DAY,
                                          100 * DAY + cases[i].days_x4 * DAY / 4),
                         cases[i].due);
    /* Made by a gateway whose clock was ahead: a little, or much. */
    assert_false(inventory_is_due(buf_view(&made), 1, false, DAY, 100 * DAY - DAY / 2));
    assert_true(inventory_is_due(buf_view(&made), 1, false, DAY, 98 * DAY));
    buf_fini(&made);
}

static void names(void **state)
{
    (void)state;
    struct id128 id;
    char name[INVENTORY_NAME_CHARS + 1];
    assert_true(id128_from_hex(SLICE_LIT("0123456789abcdef0123456789abcdef"), &id));
    inventory_file_name(&id, name);
    assert_string_equal(name, "01234567-89ab-cdef-0123-456789abcdef");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursors),
        cmocka_unit_test(cursors_fit),
        cmocka_unit_test(schedules),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
