/* Error table, slices, cursors, hashes, ids, range positions. */
#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/id.h"
#include "proto/keyhash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void err_table_is_consistent(void **state)
{
    (void)state;
    assert_string_equal(err_name(ERR_CONFLICT), "ERR_CONFLICT");
    assert_int_equal(err_class(ERR_TIMEOUT), ERR_CLASS_UNKNOWN_OUTCOME);
    assert_int_equal(err_class(-9999), ERR_CLASS_UNKNOWN_OUTCOME);
    assert_int_equal(err_class(OK), ERR_CLASS_OK);
}

static void cursor_error_is_sticky(void **state)
{
    (void)state;
    struct cursor c = cursor_of(SLICE_LIT("\x01\x02\x03"));
    assert_int_equal(cursor_be16(&c), 0x0102);
    assert_int_equal(cursor_be32(&c), 0);
    assert_true(c.failed);
    assert_int_equal(cursor_u8(&c), 0);
}

static void crc32c_known_and_combined(void **state)
{
    (void)state;
    /* RFC 3720, appendix B.4: 32 bytes of zeros, of ones. */
    uint8_t zeros[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof(ones));
    assert_int_equal(crc32c(0, SLICE(zeros, 32)), 0x8a9136aa);
    assert_int_equal(crc32c(0, SLICE(ones, 32)), 0x62a8ab43);
    assert_int_equal(crc32c(0, SLICE_LIT("123456789")), 0xe3069283);
    uint32_t a = crc32c(0, SLICE_LIT("12345")), b = crc32c(0, SLICE_LIT("6789"));
    assert_int_equal(crc32c_combine(a, b, 4), 0xe3069283);
    assert_int_equal(crc32c(a, SLICE_LIT("6789")), 0xe3069283);
}

static void id_text_round_trip(void **state)
{
    (void)state;
    struct id128 id = {{0xde, 0xad, [15] = 0x7f}}, back;
    char hex[ID_HEX_CHARS + 1];
    id128_hex(id, hex);
    assert_true(id128_from_hex(slice_cstr(hex), &back));
    assert_true(id128_eq(id, back));
    assert_false(id128_from_hex(SLICE_LIT("xyz"), &back));
}

static void numbers_as_text(void **state)
{
    (void)state;
    char text[U64_CHARS_MAX];
    assert_true(slice_eq(u64_text(0, text), SLICE_LIT("0")));
    assert_true(slice_eq(u64_text(9, text), SLICE_LIT("9")));
    assert_true(slice_eq(u64_text(10, text), SLICE_LIT("10")));
    assert_true(slice_eq(u64_text(1234567890, text), SLICE_LIT("1234567890")));
    assert_true(slice_eq(u64_text(UINT64_MAX, text), SLICE_LIT("18446744073709551615")));
}

static void ranges(void **state)
{
    (void)state;
    struct slice start = SLICE_LIT("\0\0\0\0\0\0\0\5m"), end = SLICE_LIT("\0\0\0\0\0\0\0\7");
    assert_false(range_contains(start, end, 5, SLICE_LIT("a")));
    assert_true(range_contains(start, end, 5, SLICE_LIT("m")));
    assert_true(range_contains(start, end, 6, SLICE_LIT("")));
    assert_false(range_contains(start, end, 7, SLICE_LIT("")));
    assert_false(range_overlaps_bucket(start, end, 4));
    assert_true(range_overlaps_bucket(start, end, 5));
    assert_true(range_overlaps_bucket(start, end, 6));
    assert_false(range_overlaps_bucket(start, end, 7));
    assert_true(range_overlaps_bucket(SLICE_EMPTY, SLICE_EMPTY, 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_table_is_consistent),  cmocka_unit_test(cursor_error_is_sticky),
        cmocka_unit_test(crc32c_known_and_combined), cmocka_unit_test(id_text_round_trip),
        cmocka_unit_test(ranges),                   cmocka_unit_test(numbers_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
