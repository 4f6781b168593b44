/* What is served has a permission that it takes: of every operation in the gateway's table. */
#include "gateway/op/gateway.h"
#include "gateway/op/request.h"
#include "gateway/policy/s3_actions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool needs_none(enum s3_op op)
{
    return op == S3_OP_PREFLIGHT || op == S3_OP_ADMIN; /* nobody signs it; operators only */
}

static void every_operation_takes_permission(void **state)
{
    (void)state;
    struct policy_need needs[POLICY_NEEDS_MAX];
    for (int op = 0; op < S3_OP_COUNT; op++) {
        const char *name = s3_op_name((enum s3_op)op);
        if (!operations[op].start || needs_none((enum s3_op)op))
            continue;
        size_t count = policy_s3_needs(name, 0, needs);
        if (count == 0)
            fail_msg("%s takes no permission, and so is refused to all but root users", name);
        unsigned flags = operations[op].needs;
        /* What is done to a bucket or an object is decided with the bucket's record. */
        if (needs[0].target != POLICY_ON_SERVICE && op != S3_OP_CREATE_BUCKET &&
            !(flags & NEED_BUCKET))
            fail_msg("%s is about a bucket that it does not read", name);
    }
}

/* All uses at once still fit, and add to what is needed anyway. */
static void uses_only_add(void **state)
{
    (void)state;
    struct policy_need plain[POLICY_NEEDS_MAX], more[POLICY_NEEDS_MAX];
    for (size_t i = 0; policy_s3_operation(i); i++) {
        const char *name = policy_s3_operation(i);
        size_t few = policy_s3_needs(name, 0, plain);
        assert_true(policy_s3_needs(name, ~0u, more) >= few);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_takes_permission),
        cmocka_unit_test(uses_only_add),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
