/* The frame header, field by field. */
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/rpc/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int decode(const struct frame_header *h, struct frame_header *ret)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode_header(h, bytes);
    return frame_decode_header(SLICE(bytes, sizeof(bytes)), ret);
}

/* The format itself: these bytes must never change. */
static void a_known_header(void **state)
{
    (void)state;
    static const uint8_t expected[FRAME_HEADER_BYTES] = {
        'C', 'R', 'N', '1', 1,    0x21, 0x03, 0xe8, 1,    2,    3,    4,
        5,   6,   7,   8,   0,    0,    0x0b, 0xb8, 0,    0,    0,    3,
        0,   1,   0,   0,   0xaa, 0xbb, 0xcc, 0xdd, 0x11, 0x22, 0x33, 0x44};
    struct frame_header h = {.version = 1,
                             .flags = FRAME_REQUEST | FRAME_PAYLOAD_CRC,
                             .kind = 1000,
                             .request_id = 0x0102030405060708ull,
                             .timeout_ms = 3000,
                             .msg_bytes = 3,
                             .payload_bytes = 65536,
                             .msg_crc = 0xaabbccddu,
                             .payload_crc = 0x11223344u};
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode_header(&h, bytes);
    assert_memory_equal(bytes, expected, 36);
    assert_int_equal((uint32_t)bytes[36] << 24 | (uint32_t)bytes[37] << 16 |
                         (uint32_t)bytes[38] << 8 | bytes[39],
                     crc32c(0, SLICE(expected, 36)));
    struct frame_header back = {0};
    assert_int_equal(frame_decode_header(SLICE(bytes, sizeof(bytes)), &back), OK);
    assert_memory_equal(&back, &h, sizeof(h));
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    struct frame_header h = {.version = 1,
                             .flags = FRAME_RESPONSE,
                             .request_id = 9,
                             .status = ERR_EPOCH,
                             .msg_bytes = 100},
                        back;
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode_header(&h, bytes);
    for (unsigned bit = 0; bit < 8 * FRAME_HEADER_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int err = frame_decode_header(SLICE(bytes, sizeof(bytes)), &back);
        assert_int_equal(err, bit < 32 ? ERR_PROTO : ERR_CHECKSUM);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < FRAME_HEADER_BYTES; len++)
        assert_int_equal(frame_decode_header(SLICE(bytes, len), &back), ERR_PROTO);
    assert_int_equal(frame_decode_header(SLICE(bytes, sizeof(bytes)), &back), OK);
    assert_int_equal(back.status, ERR_EPOCH);
}

static void fields_must_go_together(void **state)
{
    (void)state;
    struct frame_header good = {.version = 1,
                                .flags = FRAME_REQUEST,
                                .request_id = 1,
                                .timeout_ms = 1},
                        h, back;
    assert_int_equal(decode(&good, &back), OK);
    for (unsigned flags = 0; flags < 256; flags++) {
        h = good;
        h.flags = (uint8_t)flags;
        unsigned kind = flags & ~FRAME_PAYLOAD_CRC;
        bool one_kind = kind == 1 || kind == 2 || kind == 4 || kind == 8 || kind == 16;
        assert_int_equal(decode(&h, &back), one_kind ? OK : ERR_PROTO);
    }
    static const struct {
        struct frame_header h;
        int err;
    } cases[] = {
        {{.flags = FRAME_REQUEST, .timeout_ms = 1}, ERR_PROTO},
        {{.flags = FRAME_REQUEST, .request_id = 1}, ERR_PROTO},
        {{.flags = FRAME_RESPONSE, .request_id = 1, .status = 1}, ERR_PROTO},
        {{.flags = FRAME_RESPONSE}, ERR_PROTO},
        {{.flags = FRAME_CANCEL}, ERR_PROTO},
        {{.flags = FRAME_CANCEL, .request_id = 1, .msg_bytes = 1}, ERR_PROTO},
        {{.flags = FRAME_CANCEL, .request_id = 1, .payload_bytes = 1}, ERR_PROTO},
        {{.flags = FRAME_HELLO, .msg_bytes = FRAME_HELLO_BYTES_MAX}, OK},
        {{.flags = FRAME_HELLO, .msg_bytes = FRAME_HELLO_BYTES_MAX + 1}, ERR_PROTO},
        {{.flags = FRAME_HELLO, .payload_bytes = 1}, ERR_PROTO},
        {{.flags = FRAME_CAST, .payload_crc = 1}, ERR_PROTO},
        {{.flags = FRAME_CAST, .msg_bytes = FRAME_MSG_BYTES_MAX}, OK},
        {{.flags = FRAME_CAST, .msg_bytes = FRAME_MSG_BYTES_MAX + 1}, ERR_TOO_LARGE},
        {{.flags = FRAME_CAST, .payload_bytes = FRAME_PAYLOAD_BYTES_MAX}, OK},
        {{.flags = FRAME_CAST, .payload_bytes = UINT32_MAX}, ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(decode(&cases[i].h, &back), cases[i].err);
}

static void bodies_are_checked_as_the_flag_says(void **state)
{
    (void)state;
    struct slice msg = SLICE_LIT("message"), payload = SLICE_LIT("payload");
    struct frame_header h = {.flags = FRAME_CAST | FRAME_PAYLOAD_CRC,
                             .msg_bytes = 7,
                             .payload_bytes = 7,
                             .msg_crc = crc32c(0, msg),
                             .payload_crc = crc32c(0, payload)};
    assert_int_equal(frame_check_body(&h, msg, payload), OK);
    assert_int_equal(frame_check_body(&h, SLICE_LIT("massage"), payload), ERR_CHECKSUM);
    assert_int_equal(frame_check_body(&h, msg, SLICE_LIT("payloat")), ERR_CHECKSUM);
    h.flags = FRAME_CAST;
    assert_int_equal(frame_check_body(&h, msg, SLICE_LIT("payloat")), OK);
}

static void versions(void **state)
{
    (void)state;
    static const struct {
        struct frame_hello a, b;
        int err;
        uint8_t version;
    } cases[] = {
        {{1, 1}, {1, 1}, OK, 1},
        {{1, 3}, {2, 5}, OK, 3},
        {{2, 5}, {1, 3}, OK, 3},
        {{1, 2}, {3, 4}, ERR_VERSION, 0},
        {{3, 4}, {1, 2}, ERR_VERSION, 0},
        {{1, 1}, {1, 65535}, OK, 1},
        {{1, 65535}, {300, 400}, ERR_VERSION, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t version = 0;
        assert_int_equal(frame_common_version(cases[i].a, cases[i].b, &version), cases[i].err);
        assert_int_equal(version, cases[i].version);
    }
    struct frame_hello h;
    assert_int_equal(frame_decode_hello(SLICE_LIT("\0\1\0"), &h), ERR_PROTO);
    assert_int_equal(frame_decode_hello(SLICE_LIT("\0\0\0\1"), &h), ERR_PROTO);
    assert_int_equal(frame_decode_hello(SLICE_LIT("\0\2\0\1"), &h), ERR_PROTO);
    assert_int_equal(frame_decode_hello(SLICE_LIT("\0\2\0\7later"), &h), OK);
    assert_int_equal(h.version_min, 2);
    assert_int_equal(h.version_max, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_header),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(fields_must_go_together),
        cmocka_unit_test(bodies_are_checked_as_the_flag_says),
        cmocka_unit_test(versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
