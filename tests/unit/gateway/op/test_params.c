/* Parameters that do not fit together are refused, in words. */
#include "gateway/work/params.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int check(const char *timeout, const char *interval, const char *claim)
{
    const struct config_param *tables[] = {gateway_params};
    const size_t counts[] = {gateway_param_count};
    struct config *c = config_new("test", tables, counts, 1);
    enum config_action action;
    struct buf out = {0}, why = {0};
    char *argv[] = {(char *)(uintptr_t) "test", (char *)(uintptr_t) "--http-listen=127.0.0.1:9000",
                    (char *)(uintptr_t)timeout, (char *)(uintptr_t)interval,
                    (char *)(uintptr_t)claim,   NULL};
    char *envp[] = {NULL};
    assert_non_null(c);
    assert_int_equal(config_load(c, 5, argv, envp, &action, &out), OK);
    int err = gateway_params_check(c, &why);
    assert_true((err == OK) == (why.len == 0));
    assert_true(err == OK || memmem(why.ptr, why.len, "event_claim", 11));
    buf_fini(&why);
    buf_fini(&out);
    config_free(c);
    return err;
}

static void events_that_would_never_be_sent(void **state)
{
    (void)state;
    assert_int_equal(check("--event-timeout=5s", "--event-interval=1s", "--event-claim=15s"), OK);
    assert_int_equal(check("--event-timeout=10s", "--event-interval=1s", "--event-claim=15s"), OK);
    assert_int_equal(check("--event-timeout=12s", "--event-interval=50ms", "--event-claim=15s"),
                     ERR_CONFIG);
    assert_int_equal(check("--event-timeout=11s", "--event-interval=1s", "--event-claim=15s"),
                     ERR_CONFIG);
    assert_int_equal(check("--event-timeout=5s", "--event-interval=60s", "--event-claim=15s"),
                     ERR_CONFIG);
    assert_int_equal(check("--event-timeout=60s", "--event-interval=1s", "--event-claim=600s"), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(events_that_would_never_be_sent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
