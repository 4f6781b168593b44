/* Questions about blobs: which go together, and what answers mean. */
#include "storagenode/orphans/core/batch.h"

#include "common/env/env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct orphan blob(uint8_t n, uint64_t bucket_id, const char *key)
{
    struct orphan o = {.blob_id = {{n}}, .bucket_id = bucket_id, .has_owner = key != NULL};
    o.key_len = key ? strlen(key) : 0;
    memcpy(o.key, key ? key : "", o.key_len);
    return o;
}

static void owners_go_together(void **state)
{
    (void)state;
    static struct orphan_batch b;
    const struct orphan all[] = {blob(1, 2, "b"),  blob(2, 1, "b"), blob(3, 2, "b"),
                                 blob(4, 0, NULL), blob(5, 2, ""),  blob(6, 2, "bb"),
                                 blob(7, 1, "b"),  blob(8, 0, NULL)};
    static const uint8_t order[] = {2, 7, 5, 1, 3, 6, 4, 8};
    static const size_t questions[] = {2, 1, 2, 1, 0};
    memcpy(b.blobs, all, sizeof(all));
    b.count = 8;
    orphan_batch_sort(&b);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(b.blobs[i].blob_id.bytes[0], order[i]);
    for (size_t i = 0, at = 0; i < 5; at += questions[i++])
        assert_int_equal(orphan_batch_question(&b, at), questions[i]);
    assert_int_equal(orphan_batch_question(&b, 8), 0);
    b.count = 0;
    orphan_batch_sort(&b);
    assert_int_equal(orphan_batch_question(&b, 0), 0);
}

static void only_answers_decide(void **state)
{
    (void)state;
    static struct orphan_batch b;
    struct id128 ids[ORPHAN_BATCH_MAX];
    for (uint8_t i = 0; i < 5; i++)
        b.blobs[i] = blob(i, 1, "k");
    b.count = 5;
    static const uint8_t bytes[] = {1, 0, 2}, odd[] = {0, 0, 3};
    assert_int_equal(orphan_batch_answer(&b, 1, 3, SLICE(odd, 3)), ERR_PROTO);
    assert_int_equal(orphan_batch_answer(&b, 1, 3, SLICE(bytes, 2)), ERR_PROTO);
    assert_int_equal(orphan_batch_answer(&b, 1, 3, SLICE_EMPTY), ERR_PROTO);
    assert_int_equal(orphan_batch_select(&b, ORPHAN_LATER, ids), 5);
    assert_int_equal(orphan_batch_answer(&b, 1, 3, SLICE(bytes, 3)), OK);
    assert_int_equal(orphan_batch_select(&b, ORPHAN_CONFIRMED, ids), 1);
    assert_int_equal(ids[0].bytes[0], 1);
    assert_int_equal(orphan_batch_select(&b, ORPHAN_CONDEMNED, ids), 1);
    assert_int_equal(ids[0].bytes[0], 2);
    assert_int_equal(orphan_batch_select(&b, ORPHAN_LATER, ids), 3);
}

static void ages_and_paces(void **state)
{
    (void)state;
    uint64_t free_ns = 0;
    assert_int_equal(orphan_older_than(1000, 10), 990);
    assert_int_equal(orphan_older_than(10, 10), 0); /* a clock of 1970 finds nothing old */
    assert_int_equal(orphan_older_than(0, UINT64_MAX), 0);
    assert_int_equal(orphan_pace(&free_ns, 5, 64, 32), 2 * NS_PER_SEC);
    assert_int_equal(orphan_pace(&free_ns, 5 + NS_PER_SEC, 32, 32), 2 * NS_PER_SEC);
    /* What was not used is not saved up. */
    assert_int_equal(orphan_pace(&free_ns, 100 * NS_PER_SEC, 16, 32), NS_PER_SEC / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_go_together),
        cmocka_unit_test(only_answers_decide),
        cmocka_unit_test(ages_and_paces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
