/* The parts of a connection by themselves: arena, send queue, body framing, memory at rest. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/http/http_conn.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void arena_bounds(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 20000);
    char *first = arena_alloc(&a, 1);
    assert_non_null(first);
    assert_int_equal((uintptr_t)first % 16, 0);
    assert_non_null(arena_alloc(&a, 10000)); /* larger than a block */
    assert_null(arena_alloc(&a, 10000));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_non_null(arena_alloc(&a, 5000));
    struct slice s = arena_copy(&a, SLICE_LIT("abc"));
    assert_string_equal((const char *)s.ptr, "abc");
    arena_reset(&a);
    assert_ptr_equal(arena_alloc(&a, 1), first); /* the first block is kept */
    arena_fini(&a);
}

static void queue_merges_and_pins(void **state)
{
    (void)state;
    struct http_out o = {0};
    struct slice piece[8];
    struct rcbuf *shared = rcbuf_copy(SLICE_LIT("shared"));
    assert_int_equal(http_out_copy(&o, SLICE_LIT("head")), OK);
    assert_int_equal(http_out_copy(&o, SLICE_LIT("body")), OK);
    assert_int_equal(http_out_peek(&o, piece, 8), 1); /* one piece, one system call */
    assert_true(slice_eq(piece[0], SLICE_LIT("headbody")));
    assert_int_equal(http_out_ref(&o, (struct payload){shared, SLICE(shared->data, 6)}), OK);
    assert_int_equal(shared->refs, 2);
    /* While a write points into the queue's own bytes, they stay where they are. */
    o.pinned = true;
    const uint8_t *where = piece[0].ptr;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(http_out_copy(&o, SLICE_LIT("more")), OK);
    assert_int_equal(http_out_peek(&o, piece, 8), 8);
    assert_ptr_equal(piece[0].ptr, where);
    o.pinned = false;
    http_out_consume(&o, 4);
    assert_int_equal(http_out_peek(&o, piece, 1), 1);
    assert_true(slice_eq(piece[0], SLICE_LIT("body")));
    http_out_consume(&o, 7);
    assert_int_equal(http_out_peek(&o, piece, 1), 1);
    assert_true(slice_eq(piece[0], SLICE_LIT("red")));
    http_out_consume(&o, o.bytes);
    assert_int_equal(shared->refs, 1);
    assert_int_equal(o.own.len, 0);
    assert_int_equal(http_out_ref(&o, (struct payload){shared, SLICE(shared->data, 6)}), OK);
    http_out_fini(&o);
    assert_int_equal(shared->refs, 1);
    rcbuf_unref(shared);
}

static void frame(const char *text, int64_t length, size_t step, int want, const char *body,
                  size_t left_over)
{
    struct http_body b;
    struct buf got = {0};
    struct slice in = slice_cstr(text);
    int err = OK;
    http_body_init(&b, length);
    while (in.len && err == OK && !http_body_done(&b)) {
        size_t used = 0;
        struct slice data;
        err = http_body_step(&b, SLICE(in.ptr, MIN(step, in.len)), &used, &data);
        buf_slice(&got, data);
        in = SLICE(in.ptr + used, in.len - used);
    }
    assert_int_equal(err, want);
    if (want == OK) {
        assert_true(slice_eq(buf_view(&got), slice_cstr(body)));
        assert_int_equal(in.len, left_over);
        assert_true(http_body_done(&b));
    }
    buf_fini(&got);
}

/* A client that pipelines and reads slowly never lets the queue become empty: what was sent must
 * not be kept for that. */
static void a_queue_that_is_never_empty_is_bounded(void **state)
{
    (void)state;
    struct http_out o = {0};
    uint8_t response[300] = {0};
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(http_out_copy(&o, SLICE(response, sizeof(response))), OK);
        if (i > 0)
            http_out_consume(&o, sizeof(response));
        assert_true(o.own.cap <= 256 << 10);
        assert_true(o.cap <= 4096);
    }
    http_out_consume(&o, sizeof(response));
    assert_int_equal(o.bytes, 0);
    http_out_fini(&o);
}

static void framing(void **state)
{
    (void)state;
    for (size_t step = 1; step < 40; step++) {
        frame("abcdeNEXT", 5, step, OK, "abcde", 4);
        frame("NEXT", 0, step, OK, "", 4);
        frame("3\r\nabc\r\nA;ext=\"v\"\r\n0123456789\r\n0\r\n\r\nNEXT", -1, step, OK,
              "abc0123456789", 4);
        frame("0000\r\nName: value\r\nOther: x\r\n\r\nNEXT", -1, step, OK, "", 4);
        static const char *const bad[] = {
            "g\r\n",     "\r\n",     "3\nabc\r\n", "3\r\nabcd\r\n",        "3\r\nabc\n0\r\n",
            "0\r\n\n",   "0\r\nx\n", "0\rx",       "1234567890123456\r\n", " 3\r\nabc\r\n",
            "3;a\nb\r\n"};
        for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
            frame(bad[i], -1, step, ERR_PROTO, "", 0);
    }
}

/* Extensions and trailers are read for nothing: not for ever. */
static void endless_framing(void **state)
{
    (void)state;
    static const char *const starts[] = {"3;", "0\r\nA: b"};
    for (size_t i = 0; i < ARRAY_COUNT(starts); i++) {
        struct http_body b;
        struct slice data;
        size_t used = 0;
        int err = OK;
        http_body_init(&b, HTTP_BODY_CHUNKED);
        assert_int_equal(http_body_step(&b, slice_cstr(starts[i]), &used, &data), OK);
        for (int k = 0; k < 100000 && err == OK; k++)
            err = http_body_step(&b, SLICE_LIT("x"), &used, &data);
        assert_int_equal(err, ERR_PROTO);
    }
}

/* Every byte at every place, against the rule as it is written down. */
static void values(void **state)
{
    (void)state;
    uint8_t text[40];
    assert_true(http_value_valid(SLICE_EMPTY));
    for (size_t len = 1; len <= sizeof(text); len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned c = 0; c < 256; c++) {
                memset(text, at % 2 ? 0xff : '\t', len); /* both are fine, and near what is not */
                text[at] = (uint8_t)c;
                bool fine = c == '\t' || (c >= 0x20 && c != 0x7f);
                assert_true(http_value_valid(SLICE(text, len)) == fine);
            }
}

/* What names of fields are made of: RFC 9110, 5.6.2. */
static void names(void **state)
{
    (void)state;
    for (unsigned c = 1; c < 256; c++) {
        struct http_parse p;
        struct http_head head;
        struct arena arena = {0};
        char text[] = "GET / HTTP/1.1\r\nHost: x\r\nA?B: y\r\n\r\n";
        size_t used = 0;
        *strchr(text, '?') = (char)c;
        bool token = isalnum((int)c & 0x7f) && c < 0x80;
        token = token || (c < 0x80 && strchr("!#$%&'*+-.^_`|~", (int)c));
        http_parse_init(&p, 1000, 10);
        enum http_parse_status status = http_parse_step(&p, slice_cstr(text), &used);
        if (status == HTTP_PARSE_DONE)
            status = http_parse_head(&p, &arena, &head);
        if (c != ':') /* which ends the name */
            assert_true((status == HTTP_PARSE_DONE) == token);
        http_parse_fini(&p);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_bounds),
        cmocka_unit_test(queue_merges_and_pins),
        cmocka_unit_test(a_queue_that_is_never_empty_is_bounded),
        cmocka_unit_test(framing),
        cmocka_unit_test(endless_framing),
        cmocka_unit_test(values),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
