/* The n-th allocation failing, on either side, while a call is made and answered: the call ends,
 * once, with its answer or an error; the next one works. */
#include "rpc_pair.h"
#include "tests/unit/common/alloc_fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static bool play(uint64_t n, size_t payload_len, bool connected)
{
    struct test_call t;
    setup(NULL);
    if (connected) {
        assert_int_equal(start(&t, 1), OK);
        end(&t, OK);
    }
    alloc_fail_at(n);
    int err = start_method(&t, &method_echo, 41, 3 * NS_PER_SEC, payload_len);
    if (err == OK)
        fake_run_until(&world, &t.done);
    bool failed = alloc_fail_end();
    if (err == OK) {
        assert_int_equal(t.ends, 1);
        err = t.err;
    }
    if (err == OK) {
        assert_int_equal(t.offset, 42);
        assert_int_equal(t.payload_len, payload_len);
    }
    if (!failed)
        assert_int_equal(err, OK);
    fake_run_for(&world, 2 * NS_PER_SEC); /* whatever was broken connects again */
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    teardown(NULL);
    return failed;
}

static void calls(void **state)
{
    (void)state;
    static const size_t payloads[] = {0, 10, 100000};
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        for (int connected = 0; connected < 2; connected++) {
            uint64_t n = 0;
            while (play(n, payloads[i], connected))
                n++;
            all += n;
        }
    }
    assert_true(all > 10);
}

static void casts(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        setup(NULL);
        alloc_fail_at(n);
        int err = cast(7);
        fake_run_for(&world, NS_PER_SEC);
        bool failed = alloc_fail_end();
        if (!failed)
            assert_true(err == OK && casts_seen == 1);
        assert_true(casts_seen <= 1);
        teardown(NULL);
        if (!failed)
            break;
    }
}

static void beginnings(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        struct rpc_config config = {0};
        fake_world_init(&world);
        fake_node_init(&client_node, &world, "client", NET_ROLE_GATEWAY);
        client = server = NULL;
        struct rpc_peer *p = NULL;
        alloc_fail_at(n);
        int err = rpc_new(&client_node.env, &client_node.net, &config, &client);
        if (err == OK)
            p = rpc_peer_get(client, "server:1", "server");
        if (err == OK)
            err = rpc_serve(client, &method_echo, on_echo, NULL);
        if (err == OK)
            err = rpc_listen(client, "client:1");
        bool failed = alloc_fail_end();
        if (!failed)
            assert_true(err == OK && p);
        teardown(NULL);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls),
        cmocka_unit_test(casts),
        cmocka_unit_test(beginnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
