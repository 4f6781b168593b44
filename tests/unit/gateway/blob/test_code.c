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
    static const struct {
        unsigned data, parity;
        uint32_t ever; /* dropped */
    } codes[] = {{5, 4, 0x1f}, {3, 3, 0x7}, {10, 4, 0x3ff}, {2, 4, 0x3f}};
    for (size_t k = 0; k < ARRAY_COUNT(codes); k++) {
        struct ec ec;
        uint32_t seen = 0, data = (1u << codes[k].data) - 1;
        assert_int_equal(ec_init(&ec, codes[k].data, codes[k].parity), OK);
        for (unsigned i = 0; i < 200; i++) {
            struct id128 id = {{(uint8_t)i, (uint8_t)(i * 3)}};
            uint32_t dropped = code_dropped(&ec, id);
            assert_int_equal(__builtin_popcount(dropped), ec.parity);
            assert_int_equal(__builtin_popcount(dropped & data), MIN(ec.data, ec.parity));
            assert_int_equal(code_dropped(&ec, id), dropped);
            seen |= dropped;
        }
        assert_int_equal(seen, codes[k].ever);
    }
}

/* What changed in memory after it came in must not be stored as if it had come in so, whichever
 * byte it is: parity made of it would agree with it, and give it back when its own shard is
 * rebuilt. */
static void what_changed_in_memory_is_refused(void **state)
{
    (void)state;
    struct budget *budget = budget_new(NULL, 64 << 20);
    for (size_t k = 0; k < ARRAY_COUNT(shapes); k++) {
        struct ec ec;
        size_t bytes = MIN(shapes[k].bytes, 900000);
        assert_int_equal(ec_init(&ec, shapes[k].data, shapes[k].parity), OK);
        for (unsigned i = 0; i < 40; i++) {
            struct blob_segment s;
            segment_fill(&s, budget, &ec, bytes);
            s.buf->data[(size_t)i * (bytes / 40) % bytes] ^= 1;
            assert_int_equal(code_make(&ec, &s, (struct id128){{(uint8_t)i}}), ERR_CORRUPT);
            blob_segment_fini(&s);
        }
    }
    budget_unref(budget);
}

/* One wrong coefficient in one parity shard is found, whatever the blob's id. */
static void wrong_parity_is_refused(void **state)
{
    (void)state;
    struct budget *budget = budget_new(NULL, 64 << 20);
    static const struct {
        unsigned data, parity;
    } codes[] = {{5, 4}, {3, 3}, {10, 4}, {2, 1}, {1, 1}, {2, 4}};
    for (size_t k = 0; k < ARRAY_COUNT(codes); k++) {
        for (unsigned wrong = 0; wrong < codes[k].parity; wrong++) {
            struct ec right, ec;
            assert_int_equal(ec_init(&right, codes[k].data, codes[k].parity), OK);
            /* What encodes is damaged, what decodes is sound. */
            for (uint8_t i = 0; i < 12; i++) {
                struct blob_segment s;
                ec = right;
                ec.tables[32 * (wrong * ec.data + i % ec.data) + 1] ^= 4;
                ec.tables[32 * (wrong * ec.data + i % ec.data) + 17] ^= 4;
                segment_fill(&s, budget, &ec, 600000);
                assert_int_equal(code_make(&ec, &s, (struct id128){{i, (uint8_t)(i * 7)}}),
                                 ERR_CORRUPT);
                blob_segment_fini(&s);
            }
        }
    }
    budget_unref(budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_as_laid_out),
        cmocka_unit_test(the_id_says_what_is_dropped),
        cmocka_unit_test(what_changed_in_memory_is_refused),
        cmocka_unit_test(wrong_parity_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
