/* Who a request is of: what the operator, other accounts' root users and their users may, and what
 * becomes of that with the request behind a change. */
#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "proto/methods.h"
#include "proto/registry.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdlib.h>

static void expect(struct stand *s, int status, const char *says, const char *method,
                   const char *target)
{
    struct exchange x;
    int got = exchange_run(s, &x, method, target, SLICE_EMPTY);
    if (got != status || !exchange_says(&x, says))
        print_message("%s %s: %d %.*s\n", method, target, got, (int)x.out.len,
                      (const char *)x.out.ptr);
    assert_int_equal(got, status);
    assert_true(exchange_says(&x, says));
    exchange_fini(&x);
}

static void put_user(struct stand *s, const char *account, const char *name, bool present)
{
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    user.name = (char *)(uintptr_t)name;
    assert_int_equal(
        stand_put_row(s, CAIRN__ROW_KIND__ROW_USER, account, name, present ? &user.base : NULL),
        OK);
}

static void what_each_may(void **state)
{
    (void)state;
    struct stand s;
    stand_init(&s);
    stand_put_account(&s, "2", "canonical-2");
    stand_put_key(&s, "TWO", "2", "", true);
    stand_put_key(&s, "USER", "2", "u", true);
    put_user(&s, "2", "u", true);
    expect(&s, 200, "", "PUT", "/operators");
    s.signs_as = "TWO";
    expect(&s, 200, "", "PUT", "/twos");
    expect(&s, 200, "canonical-2", "GET", "/");
    expect(&s, 403, "AccessDenied", "GET", "/operators?list-type=2");
    expect(&s, 200, "ListBucketResult", "GET", "/twos?list-type=2");
    s.signs_as = "USER";
    expect(&s, 403, "AccessDenied", "GET", "/twos?list-type=2");
    expect(&s, 403, "AccessDenied", "GET", "/");
    expect(&s, 403, "AccessDenied", "PUT", "/users");
    s.signs_as = "ROOTKEY";
    expect(&s, 403, "AccessDenied", "GET", "/twos?list-type=2");
    expect(&s, 200, "operators", "GET", "/");
    stand_fini(&s);
}

static void changes_hold_with_the_next_request(void **state)
{
    (void)state;
    struct stand s;
    stand_init(&s);
    stand_put_account(&s, "2", "canonical-2");
    stand_put_account(&s, "3", "canonical-3");
    s.signs_as = "TWO";
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    stand_put_key(&s, "TWO", "2", "", true); /* absence was cached */
    expect(&s, 200, "canonical-2", "GET", "/");
    stand_put_key(&s, "TWO", "2", "", false);
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    stand_put_key(&s, "TWO", "3", "", true);
    expect(&s, 200, "canonical-3", "GET", "/");
    /* Of a user that is not there, and comes. */
    stand_put_key(&s, "TWO", "3", "u", true);
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    put_user(&s, "3", "u", true);
    expect(&s, 403, "AccessDenied", "GET", "/");
    put_user(&s, "3", "u", false);
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    stand_put_key(&s, "TWO", "3", "", true);
    expect(&s, 200, "canonical-3", "GET", "/");
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_ACCOUNT, "", "3", NULL), OK);
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "TWO", NULL), OK);
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    stand_fini(&s);
}

/* An ARN finds a principal, without a secret: nobody signs as one. */
static void nobody_signs_as_an_arn(void **state)
{
    (void)state;
    struct stand s;
    stand_init(&s);
    stand_put_account(&s, "2", "canonical-2");
    stand_put_key(&s, "EMPTY", "2", "", true);
    s.signs_as = "arn:aws:iam::" OPERATOR_ACCOUNT ":root";
    s.signs_with = "";
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    s.signs_with = "secret";
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    /* Nor with a key without a secret. */
    Cairn__AccessKeyRow key = CAIRN__ACCESS_KEY_ROW__INIT;
    key.access_key_id = (char *)(uintptr_t) "EMPTY";
    key.account_id = (char *)(uintptr_t) "2";
    key.enabled = true;
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "EMPTY", &key.base),
                     OK);
    s.signs_as = "EMPTY";
    s.signs_with = "";
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    stand_fini(&s);
}

static unsigned principals_read;

static bool count_reads(struct stand *s, struct fake_call *call)
{
    (void)s;
    if (call->method == &method_meta_read || call->method == &method_meta_rows)
        principals_read++;
    return false;
}

static const char *made_up(char text[32], int i)
{
    snprintf(text, 32, "AKIAMADEUP%06d", i);
    return text;
}

enum { TRIES = KEY_GATE_BURST + 100 };

/* Many requests at once, each with another key, or with the token.  Returns: how many were told to
 * slow down. */
static unsigned many_at_once(struct stand *s, const char *token, const char *else_says)
{
    struct exchange *x = calloc(TRIES, sizeof(*x));
    char(*ids)[32] = calloc(TRIES, sizeof(*ids));
    unsigned slowed = 0;
    assert_true(x && ids);
    for (int i = 0; i < TRIES; i++) {
        s->signs_as = token ? "ROOTKEY" : made_up(ids[i], i);
        exchange_start(s, &x[i], "GET", "/", SLICE_EMPTY, token, NULL);
    }
    for (int i = 0; i < TRIES; i++) {
        exchange_wait(&x[i]);
        slowed += x[i].status == 503;
        assert_true(exchange_says(&x[i], x[i].status == 503 ? "SlowDown" : else_says));
        exchange_fini(&x[i]);
    }
    free(x);
    free(ids);
    return slowed;
}

/* Keys that nobody has cost the root a bounded number of reads, and those that somebody has wait
 * for no one. */
static void made_up_keys_are_bounded(void **state)
{
    (void)state;
    struct stand s;
    char id[32];
    stand_init(&s);
    expect(&s, 200, "", "PUT", "/operators");
    s.on_view = count_reads;
    principals_read = 0;
    uint64_t counted = metric_counter_value(s.metrics.keys_throttled);
    assert_int_equal(many_at_once(&s, NULL, "InvalidAccessKeyId"), TRIES - KEY_GATE_BURST);
    assert_int_equal(principals_read, KEY_GATE_BURST);
    assert_int_equal(metric_counter_value(s.metrics.keys_throttled) - counted,
                     TRIES - KEY_GATE_BURST);
    /* What is known is known: a key, and that there is none. */
    s.signs_as = "ROOTKEY";
    expect(&s, 200, "operators", "GET", "/");
    s.signs_as = made_up(id, 0);
    expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    /* A second later some may be asked about again; a key that is there is at once, and takes
     * nothing from others. */
    fake_run(&s.f, NS_PER_SEC);
    stand_put_account(&s, "2", "canonical-2");
    uint64_t full_ns = s.gw.key_gate.full_ns;
    for (int i = 0; i < 2 * KEY_GATE_PER_SECOND; i++) {
        snprintf(id, sizeof(id), "NEW%d", i);
        stand_put_key(&s, id, "2", "", true);
        s.signs_as = id;
        expect(&s, 200, "canonical-2", "GET", "/");
    }
    assert_int_equal(s.gw.key_gate.full_ns, full_ns);
    stand_fini(&s);
}

/* An ARN is no access key id: nothing is read for it. */
static void arns_are_not_read(void **state)
{
    (void)state;
    struct stand s;
    char arn[64];
    stand_init(&s);
    s.on_view = count_reads;
    principals_read = 0;
    for (int i = 0; i < 10; i++) {
        snprintf(arn, sizeof(arn), "arn:aws:iam::" OPERATOR_ACCOUNT ":user/u%d", i);
        s.signs_as = arn;
        expect(&s, 403, "InvalidAccessKeyId", "GET", "/");
    }
    assert_int_equal(principals_read, 0);
    stand_fini(&s);
}

/* As long as there are no sessions, whoever brings a token asks whether there are. */
static void made_up_tokens_are_bounded(void **state)
{
    (void)state;
    struct stand s;
    static const uint8_t nonsense[80] = {IAM_TOKEN_VERSION};
    char token[200] = "x-amz-security-token: ";
    stand_init(&s);
    base64_encode(SLICE(nonsense, sizeof(nonsense)), token + strlen(token));
    s.on_view = count_reads;
    principals_read = 0;
    assert_int_equal(many_at_once(&s, token, "InvalidToken"), TRIES - KEY_GATE_BURST);
    assert_int_equal(principals_read, KEY_GATE_BURST);
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_each_may),
        cmocka_unit_test(changes_hold_with_the_next_request),
        cmocka_unit_test(nobody_signs_as_an_arn),
        cmocka_unit_test(arns_are_not_read),
        cmocka_unit_test(made_up_keys_are_bounded),
        cmocka_unit_test(made_up_tokens_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
