/* Requests of IAM at a gateway loop: what they hold on to until they are answered. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/obs/log.h"
#include "proto/registry.h"
#include "tests/unit/gateway/op/stand.h"

static char logged[512];
static void on_log(void *arg, enum log_level level, const char *event, const char *line)
{
    (void)arg;
    (void)level;
    if (strcmp(event, "s3.request") == 0)
        snprintf(logged, sizeof(logged), "%s", line);
}

/* Another request of the same user finds the principal changed, so the loop's cache lets go of it
 * while the first one is still under way. */
static unsigned meanwhile;
static bool change_principal(struct stand *s, struct fake_call *call)
{
    struct exchange x;
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    (void)call;
    if (meanwhile++)
        return false;
    user.name = (char *)"other";
    user.path = (char *)"/";
    assert_int_equal(
        stand_put_row(s, CAIRN__ROW_KIND__ROW_USER, OPERATOR_ACCOUNT, "other", &user.base), OK);
    s->signs_for = "s3";
    assert_int_equal(exchange_run(s, &x, "GET", "/", SLICE_EMPTY), 200);
    exchange_fini(&x);
    return false;
}

static void principals_that_change_meanwhile(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    stand_init(&s);
    s.config.access_log = true;
    log_hook_set(on_log, NULL);
    s.on_propose = change_principal;
    s.signs_for = "iam";
    meanwhile = 0;
    assert_int_equal(exchange_run(&s, &x, "GET",
                                  "/?Action=CreateUser&UserName=u&Version=2010-05-08", SLICE_EMPTY),
                     200);
    assert_true(meanwhile > 0);
    assert_non_null(strstr(logged, "user="));
    exchange_fini(&x);
    log_hook_set(NULL, NULL);
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(principals_that_change_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
