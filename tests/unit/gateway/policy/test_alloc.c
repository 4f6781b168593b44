/* The n-th allocation failing while a policy is read: POLICY_NO_MEMORY, never a refusal of what is
 * right, a leak, or half a policy.  Deciding allocates nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/policy/world.h"

static const struct {
    enum policy_kind kind;
    const char *text;
} documents[] = {
    {POLICY_BUCKET,
     "{\"Version\":\"2012-10-17\",\"Id\":\"\\u0061bc\",\"Statement\":[{\"Sid\":\"One\",\"Effect\":"
     "\"Deny\",\"NotPrincipal\":{\"AWS\":[\"111111111111\",\"arn:aws:iam::222222222222:user/"
     "bob\"]},"
     "\"Action\":[\"s3:Get*\",\"s3:PutObject\"],\"Resource\":[\"arn:aws:s3:::photos/*\"],"
     "\"Condition\":{\"StringNotLike\":{\"aws:Referer\":[\"a\\n\",\"b*\"]},\"Null\":{\"aws:x\":"
     "true}}}"
     "]}"},
    {POLICY_MANAGED,
     "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:*\","
     "\"Resource\":\"arn:aws:s3:::photos/${aws:username}/*\"}}"},
    {POLICY_TRUST,
     "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"111111111111\"},\"Action\":"
     "\"sts:AssumeRole\"}}"},
};

/* A small document fits in the arenas' first blocks: to meet each allocation of the arenas, others
 * before them take what the blocks have. */
static void fill(struct arena *a, size_t leave)
{
    if (leave < ARENA_BLOCK_BYTES)
        assert_non_null(arena_alloc(a, ARENA_BLOCK_BYTES - leave));
}

static void reading(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(documents); i++)
        for (size_t leave = 0; leave <= ARENA_BLOCK_BYTES; leave += leave < 2048 ? 16 : 2048)
            for (uint64_t n = 0;; n++) {
                struct arena a = {0};
                const struct policy *p = NULL;
                char reason[POLICY_REASON_BYTES_MAX];
                fill(&a, leave);
                alloc_fail_at(n);
                enum policy_error err =
                    world_parse(&a, documents[i].kind, slice_cstr(documents[i].text), &p, reason);
                bool failed = alloc_fail_end();
                assert_int_equal(err, failed ? POLICY_NO_MEMORY : POLICY_OK);
                assert_int_equal(p == NULL, failed);
                arena_fini(&a);
                if (!failed) {
                    assert_true(n > 0);
                    break;
                }
            }
}

/* One that takes many blocks of the reader's own arena, begun at different places of theirs:
 * values, escaped texts and what is known of actions all meet the end of a block. */
static void reading_much(void **state)
{
    (void)state;
    size_t failures = 0;
    struct buf b = {0};
    for (size_t shift = 0; shift < 48; shift++) {
        buf_clear(&b);
        buf_cstr(&b, "{\"Statement\":[");
        for (size_t i = 0; i < 24; i++) {
            buf_printf(&b,
                       "%s{\"Effect\":\"Deny\",\"Principal\":{\"AWS\":[\"*\",\"111111111111\"]},"
                       "\"Resource\":[\"arn:aws:s3:::photos\\/*\",\"*\"],\"Action\":[",
                       i ? "," : "");
            for (size_t k = 0; k < 3 + shift; k++)
                buf_printf(&b, "\"s3:Get\\u004f*\",");
            buf_cstr(&b, "\"s3:*\"],\"Condition\":{\"StringLike\":{\"aws:a\":[\"\\n\",\"a\"]}}}");
        }
        buf_cstr(&b, "]}");
        for (uint64_t n = 0;; n++) {
            struct arena a = {0};
            const struct policy *p = NULL;
            char reason[POLICY_REASON_BYTES_MAX];
            alloc_fail_at(n);
            enum policy_error err = world_parse(&a, POLICY_BUCKET, buf_view(&b), &p, reason);
            bool failed = alloc_fail_end();
            assert_int_equal(err, failed                            ? POLICY_NO_MEMORY
                                  : b.len > POLICY_BUCKET_BYTES_MAX ? POLICY_TOO_LARGE
                                                                    : POLICY_OK);
            assert_int_equal(p != NULL, err == POLICY_OK);
            arena_fini(&a);
            if (!failed)
                break;
            failures++;
        }
    }
    assert_true(failures > 300);
    buf_fini(&b);
}

/* The same by the arena's bound: every allocation of it is refused once. */
static void an_arena_that_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(documents); i++) {
        enum policy_error err = POLICY_NO_MEMORY;
        for (size_t bytes = 16; err != POLICY_OK; bytes += 16) {
            struct arena a;
            const struct policy *p = NULL;
            char reason[POLICY_REASON_BYTES_MAX];
            arena_init(&a, bytes);
            err = world_parse(&a, documents[i].kind, slice_cstr(documents[i].text), &p, reason);
            assert_true(err == POLICY_OK || err == POLICY_NO_MEMORY);
            assert_int_equal(p != NULL, err == POLICY_OK);
            arena_fini(&a);
            assert_true(bytes < 16384);
        }
    }
}

static void deciding_allocates_nothing(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct policy *p[ARRAY_COUNT(documents)];
    char reason[POLICY_REASON_BYTES_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(documents); i++)
        assert_int_equal(
            world_parse(&a, documents[i].kind, slice_cstr(documents[i].text), &p[i], reason),
            POLICY_OK);
    const struct policy_request r = {.caller = world_caller("alice"),
                                     .action = SLICE_LIT("s3:GetObject"),
                                     .resource = SLICE_LIT("arn:aws:s3:::photos/alice/x"),
                                     .resource_account = SLICE_LIT(WORLD_ACCOUNT)};
    const struct policy_bundle b = {
        .resource = p[0], .identity = &p[1], .identity_count = 1, .boundary = p[1]};
    alloc_fail_from(0);
    struct policy_decision d = policy_decide(&r, &b);
    (void)policy_is_public(p[0], NULL);
    assert_false(alloc_fail_end());
    assert_int_equal(d.outcome, POLICY_EXPLICIT_DENY);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),
        cmocka_unit_test(reading_much),
        cmocka_unit_test(an_arena_that_ends),
        cmocka_unit_test(deciding_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
