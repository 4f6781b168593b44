/* The shards of a segment: layout, checksums, and the proof that they decode. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "gateway/blob/code.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    unsigned data, parity;
    size_t bytes;
} shapes[] = {
    {5, 4, 1},      {5, 4, 65536}, {5, 4, 400000},  {5, 4, 4 << 20}, {5, 4, (4 << 20) - 7},
    {3, 3, 500001}, {2, 1, 65537}, {20, 8, 900000}, {1, 2, 100000},  {10, 4, 16 << 20},
};

static void segment_fill(struct blob_segment *s, struct budget *budget, const struct ec *ec,
                         size_t bytes)
{
    *s = (struct blob_segment){0};
    assert_int_equal(blob_segment_init(s, budget, bytes, code_buffer_bytes(ec, bytes)), OK);
    s->parity = budget_buffer(budget, s->parity_bytes);
    assert_non_null(s->parity);
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 7 + i / 911);
    assert_int_equal(blob_segment_append(s, SLICE(data, bytes)), bytes);
    free(data);
}

static uint8_t *shard_bytes(const struct ec *ec, const struct blob_segment *s, unsigned index)
{
    struct code_shard shard;
    size_t len = 0, want = (size_t)ec_shard_bytes(ec->data, s->buf->len);
    uint8_t *ret = malloc(want);
    code_shard(ec, s, index, &shard);
    for (unsigned i = 0; i < shard.piece_count; i++) {
        assert_true(len + shard.piece[i].bytes.len <= want);
        assert_non_null(shard.piece[i].owner); /* nothing needs to be copied */
        memcpy(ret + len, shard.piece[i].bytes.ptr, shard.piece[i].bytes.len);
        len += shard.piece[i].bytes.len;
    }
    assert_int_equal(len, want);
    assert_int_equal(shard.crc_count, want / BLOB_BLOCK_BYTES);
    for (size_t i = 0; i < shard.crc_count; i++)
        assert_int_equal(shard.crcs[i],
                         crc32c(0, SLICE(ret + i * BLOB_BLOCK_BYTES, BLOB_BLOCK_BYTES)));
    return ret;
}

static void shards_are_as_laid_out(void **state)
{
    (void)state;
    struct budget *budget = budget_new(NULL, 256 << 20);
    for (size_t k = 0; k < ARRAY_COUNT(shapes); k++) {
        struct ec ec;
        struct blob_segment s;
        uint8_t *shard[EC_SHARDS_MAX], *parity[EC_PARITY_MAX];
        assert_int_equal(ec_init(&ec, shapes[k].data, shapes[k].parity), OK);
        segment_fill(&s, budget, &ec, shapes[k].bytes);
        uint32_t crc = blob_segment_crc(&s);
        assert_int_equal(code_make(&ec, &s, (struct id128){{(uint8_t)k}}), OK);
        assert_int_equal(blob_segment_crc(&s), crc);
        size_t each = (size_t)ec_shard_bytes(ec.data, s.buf->len);
        for (unsigned i = 0; i < ec.data + ec.parity; i++)
            shard[i] = shard_bytes(&ec, &s, i);
        /* Data in order, zeros behind them; parity as the code has it. */
        for (size_t at = 0; at < ec.data * each; at += 61)
            assert_int_equal(shard[at / each][at % each], at < s.buf->len ? s.buf->data[at] : 0);
        for (unsigned i = 0; i < ec.parity; i++)
            parity[i] = malloc(each);
        ec_encode(&ec, each, (const uint8_t *const *)shard, parity);
        for (unsigned i = 0; i < ec.parity; i++) {
            assert_memory_equal(parity[i], shard[ec.data + i], each);
            free(parity[i]);
        }
        for (unsigned i = 0; i < ec.data + ec.parity; i++)
            free(shard[i]);
        blob_segment_fini(&s);
    }
    assert_int_equal(budget->used, 0);
    budget_unref(budget);
}

static void the_id_says_what_is_dropped(void **state)
{
    (void)state;
    struct ec ec;
    uint32_t seen = 0;
    assert_int_equal(ec_init(&ec, 5, 4), OK);
    for (unsigned i = 0; i < 200; i++) {
        struct id128 id = {{(uint8_t)i, (uint8_t)(i * 3)}};
        uint32_t dropped = code_dropped(&ec, id);
        assert_int_equal(__builtin_popcount(dropped), 4);
        assert_int_equal(code_dropped(&ec, id), dropped);
        seen |= dropped;
    }
    assert_int_equal(seen, 0x1ff);
}

/* What changed in memory after it came in must not be stored as if it had come in so. */
static void what_does_not_decode_is_refused(void **state)
{
    (void)state;
    struct budget *budget = budget_new(NULL, 64 << 20);
    struct ec ec;
    assert_int_equal(ec_init(&ec, 5, 4), OK);
    unsigned found = 0;
    for (uint8_t i = 0; i < 60; i++) {
        struct blob_segment s;
        struct id128 id = {{i}};
        segment_fill(&s, budget, &ec, 600000);
        size_t at = (size_t)i * 9973 % 600000, each = (size_t)ec_shard_bytes(5, 600000);
        s.buf->data[at] ^= 1;
        bool dropped = code_dropped(&ec, id) & 1u << at / each;
        /* A shard that was not dropped is refused by its storage node. */
        assert_int_equal(code_make(&ec, &s, id), dropped ? ERR_CORRUPT : OK);
        found += dropped;
        blob_segment_fini(&s);
    }
    assert_true(found > 10);
    budget_unref(budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_as_laid_out),
        cmocka_unit_test(the_id_says_what_is_dropped),
        cmocka_unit_test(what_does_not_decode_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
