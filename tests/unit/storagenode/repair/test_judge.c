/* Which shards are the blob's: every set of wrong ones, up to what can be proven and beyond it. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "storagenode/repair/judge.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SHARDS_MAX 9

struct made {
    struct ec ec;
    uint64_t blob_bytes, shard_bytes;
    uint8_t *shard[SHARDS_MAX];
    uint32_t crc;
};
static uint8_t scratch[JUDGE_SCRATCH_BYTES];

/* A blob and its shards; `salt` makes another one of the same size. */
static void make(struct made *m, unsigned data, unsigned parity, uint64_t bytes, unsigned salt)
{
    const uint8_t *from[SHARDS_MAX];
    uint8_t *to[SHARDS_MAX], *blob;
    assert_int_equal(ec_init(&m->ec, data, parity), OK);
    m->blob_bytes = bytes;
    m->shard_bytes = data == 1 ? bytes : ec_shard_bytes(data, bytes);
    blob = calloc(data, m->shard_bytes);
    for (uint64_t i = 0; i < bytes; i++)
        blob[i] = (uint8_t)(i * 7 + i / 251 + salt * (i % 13 + 1));
    m->crc = crc32c(0, SLICE(blob, bytes));
    for (unsigned i = 0; i < data + parity; i++) {
        m->shard[i] = malloc(m->shard_bytes);
        if (i < data)
            memcpy(m->shard[i], blob + i * m->shard_bytes, m->shard_bytes);
        from[i] = m->shard[i];
        if (i >= data)
            to[i - data] = m->shard[i];
    }
    ec_encode(&m->ec, m->shard_bytes, from, to);
    free(blob);
}

static void unmake(struct made *m)
{
    for (unsigned i = 0; i < m->ec.data + m->ec.parity; i++)
        free(m->shard[i]);
}

static void words_of(const struct made *m, struct judge_shard *s, uint32_t present)
{
    for (unsigned i = 0; i < m->ec.data + m->ec.parity; i++)
        s[i] = (struct judge_shard){present >> i & 1 ? m->shard[i] : NULL, m->blob_bytes, m->crc};
}

static struct judge judged(const struct made *m, const struct judge_shard *s)
{
    struct judge j = {.ec = &m->ec, .shard_bytes = m->shard_bytes, .shard = s, .scratch = scratch};
    judge_blob(&j);
    return j;
}

/* Shards that are garbage, or another blob's: whatever is missing besides.  With k right ones left
 * the sum proves them, and garbage proves nothing; shards of one other blob win when they are more,
 * and are a rival when they are as many. */
static void every_wrong_set(unsigned data, unsigned parity, uint64_t bytes)
{
    struct made right, other;
    unsigned n = data + parity;
    uint32_t all = (1u << n) - 1;
    make(&right, data, parity, bytes, 1);
    make(&other, data, parity, bytes, 2);
    for (uint32_t absent = 0; absent <= all; absent = absent ? absent << 1 : 1) {
        for (uint32_t bad = 0; bad <= all; bad++) {
            struct judge_shard s[SHARDS_MAX];
            unsigned wrong = (unsigned)__builtin_popcount(bad & ~absent);
            unsigned good = (unsigned)__builtin_popcount(all & ~absent & ~bad);
            words_of(&right, s, all & ~absent);
            uint8_t *flipped[SHARDS_MAX] = {0};
            for (unsigned i = 0; i < n; i++) {
                if (!(bad & ~absent & 1u << i))
                    continue;
                flipped[i] = malloc(right.shard_bytes);
                memcpy(flipped[i], right.shard[i], right.shard_bytes);
                flipped[i][(i * 977) % MIN(right.shard_bytes, right.blob_bytes / data)] ^=
                    (uint8_t)(1u << i % 8);
                s[i].bytes = flipped[i];
            }
            struct judge j = judged(&right, s);
            if (good + wrong < data)
                assert_int_equal(j.verdict, JUDGE_TOO_FEW);
            else if (good < data)
                assert_int_equal(j.verdict, JUDGE_UNPROVEN);
            else
                assert_true(j.wrong == (bad & ~absent) &&
                            j.verdict == (wrong ? JUDGE_WRONG : JUDGE_GOOD));
            for (unsigned i = 0; i < n; i++) {
                free(flipped[i]);
                if (bad & ~absent & 1u << i)
                    s[i] = (struct judge_shard){other.shard[i], other.blob_bytes, other.crc};
            }
            j = judged(&right, s);
            if (good + wrong < data)
                assert_int_equal(j.verdict, JUDGE_TOO_FEW);
            else if (MAX(good, wrong) < data || good == wrong)
                assert_int_equal(j.verdict, JUDGE_UNPROVEN);
            else
                assert_int_equal(j.wrong, (good > wrong ? bad : ~bad) & all & ~absent);
        }
    }
    unmake(&right);
    unmake(&other);
}

static void the_culprits_are_found(void **state)
{
    (void)state;
    every_wrong_set(1, 2, 70001);
    every_wrong_set(3, 3, 3000); /* two data shards are nothing but zeros */
    every_wrong_set(3, 3, 3 * EC_BLOCK_BYTES - 5);
    every_wrong_set(2, 2, 2 * EC_BLOCK_BYTES - 5);
}

static void a_header_that_lies(void **state)
{
    (void)state;
    struct made m;
    struct judge_shard s[SHARDS_MAX];
    make(&m, 5, 4, 700001, 1);
    words_of(&m, s, 0x1ff);
    struct judge j = judged(&m, s);
    assert_true(j.verdict == JUDGE_GOOD && j.tries == 1);
    s[3].blob_crc32c ^= 1;
    j = judged(&m, s);
    assert_true(j.verdict == JUDGE_WRONG && j.wrong == 1u << 3);
    s[3].blob_crc32c ^= 1;
    s[8].blob_bytes -= 1;
    j = judged(&m, s);
    assert_true(j.verdict == JUDGE_WRONG && j.wrong == 1u << 8);
    for (unsigned i = 0; i < 9; i++)
        s[i] = (struct judge_shard){m.shard[i], m.blob_bytes, m.crc ^ 1};
    assert_int_equal(judged(&m, s).verdict,
                     JUDGE_UNPROVEN); /* the shards agree; the sum does not */
    for (unsigned i = 0; i < 9; i++)
        s[i].blob_bytes = m.blob_bytes + 5 * EC_BLOCK_BYTES; /* of a blob with larger shards */
    assert_int_equal(judged(&m, s).verdict, JUDGE_UNPROVEN);
    unmake(&m);
}

/* Headers of before they had the sum: agreement is all there is. */
static void headers_that_say_nothing(void **state)
{
    (void)state;
    for (unsigned data = 1; data <= 3; data += 2) {
        struct made m;
        struct judge_shard s[SHARDS_MAX];
        make(&m, data, 2, 100000, 1);
        m.blob_bytes = m.crc = 0;
        words_of(&m, s, (1u << (data + 2)) - 1);
        assert_int_equal(judged(&m, s).verdict, JUDGE_GOOD);
        m.shard[data][500] ^= 4;
        assert_int_equal(judged(&m, s).verdict, JUDGE_UNPROVEN);
        unmake(&m);
    }
}

/* More sets than are tried: it is said, not guessed. */
static void too_many_sets_are_not_tried(void **state)
{
    (void)state;
    struct ec ec;
    static uint8_t bytes[16][64];
    struct judge_shard s[16];
    assert_int_equal(ec_init(&ec, 8, 8), OK);
    for (unsigned i = 0; i < 16; i++) {
        memset(bytes[i], (int)i * 37, sizeof(bytes[i]));
        s[i] = (struct judge_shard){bytes[i], 0, 0};
    }
    struct judge j = {.ec = &ec, .shard_bytes = 64, .shard = s, .scratch = scratch};
    judge_blob(&j);
    assert_int_equal(j.verdict, JUDGE_UNPROVEN);
    assert_in_range(j.tries, JUDGE_TRIES_MAX, JUDGE_TRIES_MAX + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_culprits_are_found),
        cmocka_unit_test(a_header_that_lies),
        cmocka_unit_test(headers_that_say_nothing),
        cmocka_unit_test(too_many_sets_are_not_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
