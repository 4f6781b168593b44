/* Codes: every way to lose m shards, every scheme that is in use, and the layout's arithmetic. */
#include "common/base/check.h"
#include "common/ec/ec.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LEN 1337 /* no multiple of a vector's width */

struct shards {
    struct ec ec;
    uint8_t bytes[EC_SHARDS_MAX][LEN];
};

static void fill(struct shards *s, unsigned k, unsigned m)
{
    const uint8_t *data[EC_DATA_MAX];
    uint8_t *parity[EC_PARITY_MAX];
    assert_int_equal(ec_init(&s->ec, k, m), OK);
    for (unsigned i = 0; i < k; i++) {
        for (size_t b = 0; b < LEN; b++)
            s->bytes[i][b] = (uint8_t)rand();
        data[i] = s->bytes[i];
    }
    for (unsigned j = 0; j < m; j++)
        parity[j] = s->bytes[k + j];
    ec_encode(&s->ec, LEN, data, parity);
}

/* Rebuilds what is not in `have`, and compares. */
static void rebuild(const struct shards *s, uint32_t have)
{
    static uint8_t out[EC_SHARDS_MAX][LEN];
    unsigned n = s->ec.data + s->ec.parity;
    uint32_t want = ((1u << n) - 1) & ~have;
    struct ec_plan plan;
    const uint8_t *from[EC_DATA_MAX];
    uint8_t *to[EC_SHARDS_MAX];
    assert_int_equal(ec_plan_init(&plan, &s->ec, have, want), OK);
    for (unsigned i = 0; i < plan.data; i++)
        from[i] = s->bytes[plan.from[i]];
    for (unsigned i = 0; i < plan.wanted; i++) {
        memset(out[i], 0xee, LEN);
        to[i] = out[i];
    }
    ec_rebuild(&plan, LEN, from, to);
    for (unsigned i = 0; i < plan.wanted; i++)
        assert_memory_equal(out[i], s->bytes[plan.want[i]], LEN);
}

static void every_loss_is_rebuilt(void **state)
{
    (void)state;
    static struct shards s;
    static const unsigned schemes[][2] = {{5, 4}, {3, 3}, {1, 2}, {2, 1}, {4, 2}, {8, 3}};
    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        unsigned k = schemes[i][0], m = schemes[i][1];
        fill(&s, k, m);
        for (uint32_t have = 0; have < 1u << (k + m); have++)
            if ((unsigned)__builtin_popcount(have) == k)
                rebuild(&s, have);
    }
}

static void more_than_enough_is_fine(void **state)
{
    (void)state;
    static struct shards s;
    fill(&s, 5, 4);
    for (uint32_t lost = 0; lost < 9; lost++)
        rebuild(&s, 0x1ff & ~(1u << lost));
}

static void a_wide_code(void **state)
{
    (void)state;
    static struct shards s;
    fill(&s, EC_DATA_MAX, EC_PARITY_MAX);
    uint32_t all = (1u << EC_SHARDS_MAX) - 1;
    for (int i = 0; i < 200; i++) {
        uint32_t lost = 0;
        while ((unsigned)__builtin_popcount(lost) < EC_PARITY_MAX)
            lost |= 1u << (unsigned)rand() % EC_SHARDS_MAX;
        rebuild(&s, all & ~lost);
    }
}

static void one_data_shard_makes_copies(void **state)
{
    (void)state;
    static struct shards s;
    fill(&s, 1, 2);
    assert_memory_equal(s.bytes[0], s.bytes[1], LEN);
    assert_memory_equal(s.bytes[0], s.bytes[2], LEN);
}

static void too_few_are_refused(void **state)
{
    (void)state;
    struct ec ec;
    struct ec_plan plan;
    assert_int_equal(ec_init(&ec, 5, 4), OK);
    assert_int_equal(ec_plan_init(&plan, &ec, 0x0f, 0x10), ERR_NO_QUORUM);
    assert_int_equal(ec_plan_init(&plan, &ec, 0x1f, 0), ERR_INVAL);
    assert_int_equal(ec_plan_init(&plan, &ec, 0x1f, 0x1), ERR_INVAL);
    assert_int_equal(ec_plan_init(&plan, &ec, 0x1f, 0x200), ERR_INVAL);
    assert_int_equal(ec_init(&ec, 0, 4), ERR_INVAL);
    assert_int_equal(ec_init(&ec, EC_DATA_MAX + 1, 4), ERR_INVAL);
    assert_int_equal(ec_init(&ec, 5, 0), ERR_INVAL);
    assert_int_equal(ec_init(&ec, 5, EC_PARITY_MAX + 1), ERR_INVAL);
}

static void layout(void **state)
{
    (void)state;
    assert_int_equal(ec_shard_bytes(5, 1), 65536);
    assert_int_equal(ec_shard_bytes(5, 4 << 20), 13 * 65536);
    assert_int_equal(ec_shard_bytes(3, 3 * 65536), 65536);
    assert_int_equal(ec_shard_bytes(3, 3 * 65536 + 1), 2 * 65536);
    static const uint64_t sizes[] = {1, 65535, 65536, 65537, 1000000, 4 << 20, (4 << 20) - 1};
    for (unsigned k = 1; k <= EC_DATA_MAX; k++) {
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            uint64_t sum = 0;
            for (unsigned s = 0; s < k; s++)
                sum += ec_shard_used(k, sizes[i], s);
            assert_int_equal(sum, sizes[i]);
            assert_int_equal(ec_shard_used(k, sizes[i], 0),
                             MIN(sizes[i], ec_shard_bytes(k, sizes[i])));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loss_is_rebuilt), cmocka_unit_test(more_than_enough_is_fine),
        cmocka_unit_test(a_wide_code),           cmocka_unit_test(one_data_shard_makes_copies),
        cmocka_unit_test(too_few_are_refused),   cmocka_unit_test(layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
