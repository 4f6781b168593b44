/* Calls and casts between two nodes in memory, with faults at every step. */
#include "rpc_pair.h"

#include "common/base/check.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- calls ---- */

static void a_call_comes_back(void **state)
{
    (void)state;
    struct test_call t;
    assert_int_equal(start_method(&t, &method_echo, 41, 3 * NS_PER_SEC, 100000), OK);
    end(&t, OK);
    assert_int_equal(t.offset, 42);
    assert_int_equal(t.payload_len, 100000);
    assert_int_equal(requests_seen, 1);
    /* The deadline travelled as time left; one way took a delay, connecting three. */
    assert_true(last_deadline >= 4 * NS_PER_SEC);
    assert_true(last_deadline <= 4 * NS_PER_SEC + 2 * FAKE_DELAY_NS);
    assert_int_equal(peer_ups, 1);
    assert_true(rpc_peer_is_up(peer));
    /* Now that the connection is there, the answer takes one round trip. */
    uint64_t before = world.now_ns;
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    assert_int_equal(world.now_ns - before, 2 * FAKE_DELAY_NS);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.calls_failed, 0);
    assert_int_equal(s.calls_now, 0);
    assert_int_equal(s.connects, 1);
}

static void an_error_comes_back(void **state)
{
    (void)state;
    struct test_call t;
    reply_err = ERR_NOT_LEADER;
    assert_int_equal(start(&t, 41), OK);
    end(&t, ERR_NOT_LEADER);
}

static void calls_wait_for_the_connection(void **state)
{
    (void)state;
    struct test_call t[5];
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(start(&t[i], i), OK);
    assert_int_equal(world.conns_made, 1);
    for (unsigned i = 0; i < 5; i++) {
        end(&t[i], OK);
        assert_int_equal(t[i].offset, i + 1);
    }
}

static void an_absent_peer_is_unreachable_then_found(void **state)
{
    (void)state;
    rpc_stop_listening(server);
    struct test_call t;
    assert_true(rpc_peer_is_up(peer)); /* not known to be down */
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    assert_false(rpc_peer_is_up(peer));
    assert_int_equal(rpc_peer_last_error(peer), ERR_UNREACHABLE);
    assert_int_equal(start(&t, 1), ERR_UNREACHABLE);
    /* Attempts go on, no faster than the bound: 20 ms, 40, ... 1 s, each shortened up to a half. */
    struct rpc_stats before, s;
    rpc_stats(client, &before);
    fake_run_for(&world, 20 * NS_PER_SEC);
    rpc_stats(client, &s);
    assert_in_range(s.connects - before.connects, 20, 48);
    assert_int_equal(peer_downs, 1);
    assert_int_equal(rpc_listen(server, "server:1"), OK);
    uint64_t since = world.now_ns;
    while (!rpc_peer_is_up(peer))
        assert_true(fake_step(&world));
    assert_true(world.now_ns - since <= NS_PER_SEC + 10 * FAKE_DELAY_NS);
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    assert_int_equal(peer_ups, 1);
}

static void attempts_end_when_nobody_asks(void **state)
{
    (void)state;
    rpc_stop_listening(server);
    struct test_call t;
    assert_int_equal(start(&t, 1), OK);
    fake_run_for(&world, 70 * NS_PER_SEC);
    struct rpc_stats before, s;
    rpc_stats(client, &before);
    fake_run_for(&world, 70 * NS_PER_SEC);
    rpc_stats(client, &s);
    assert_int_equal(s.connects, before.connects);
    assert_int_equal(start(&t, 1), OK); /* tries again at once */
    end(&t, ERR_UNREACHABLE);
}

static void who_insists_has_it_tried_at_once(void **state)
{
    (void)state;
    struct rpc_stats before, s;
    struct test_call t;
    rpc_stop_listening(server);
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    fake_run_for(&world,
                 20 * NS_PER_SEC); /* by now the attempts are half a second apart, or more */
    do {
        rpc_stats(client, &before);
        fake_run_for(&world, NS_PER_MS);
        rpc_stats(client, &s);
    } while (s.connects == before.connects);
    fake_run_for(&world, 100 * NS_PER_MS); /* and this one has failed */
    uint64_t since = world.now_ns;
    insist_since_ns = since;
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    assert_int_equal(start(&t, 1), ERR_UNREACHABLE); /* it has been tried since then */
    rpc_stats(client, &before);
    assert_int_equal(before.connects, s.connects + 1);
    assert_int_equal(rpc_listen(server, "server:1"), OK);
    insist_since_ns = 0;
    assert_int_equal(start(&t, 1), ERR_UNREACHABLE);
    insist_since_ns = world.now_ns;
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    assert_true(world.now_ns - since < 100 * NS_PER_MS);
    insist_since_ns = 0;
}

static void a_black_hole_costs_the_connect_timeout(void **state)
{
    (void)state;
    world.blackhole = true;
    struct test_call shorter, longer;
    assert_int_equal(start_method(&shorter, &method_echo, 1, NS_PER_SEC, 0), OK);
    assert_int_equal(start_method(&longer, &method_echo, 1, 30 * NS_PER_SEC, 10), OK);
    end(&shorter, ERR_UNREACHABLE); /* never sent: nothing happened */
    assert_true(world.now_ns == 2 * NS_PER_SEC);
    end(&longer, ERR_UNREACHABLE);
    assert_true(world.now_ns == 3 * NS_PER_SEC); /* connect_timeout_ms */
    assert_int_equal(rpc_peer_last_error(peer), ERR_TIMEOUT);
}

static void a_timeout_is_told_and_a_late_answer_dropped(void **state)
{
    (void)state;
    struct test_call t;
    hold = true;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    assert_int_equal(cancels_seen, 0);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 1);
    release(); /* replying to a cancelled request is right, and goes nowhere */
    world.drop_flags = FRAME_CANCEL;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    fake_run_for(&world, 10 * NS_PER_MS);
    release();
    fake_run_for(&world, 10 * NS_PER_MS);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.responses_late, 1);
    assert_int_equal(s.timeouts, 2);
    assert_int_equal(requests_seen, 2);
}

static void a_cancelled_call_ends_later(void **state)
{
    (void)state;
    struct test_call queued, sent;
    hold = true;
    assert_int_equal(start(&queued, 1), OK);
    rpc_call_cancel(&queued.call);
    rpc_call_cancel(&queued.call);
    assert_int_equal(queued.ends, 0);
    end(&queued, ERR_CANCELED);
    assert_int_equal(start(&sent, 2), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(requests_seen, 1);
    assert_int_equal(last_offset, 2);
    rpc_call_cancel(&sent.call);
    assert_int_equal(sent.ends, 0);
    end(&sent, ERR_CANCELED);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 1);
}

static void a_callback_may_cancel_another_call(void **state)
{
    (void)state;
    struct test_call a, b;
    hold = true;
    assert_int_equal(start(&a, 1), OK);
    assert_int_equal(start(&b, 2), OK);
    a.then_cancel = &b;
    b.then_cancel = &a; /* already over: nothing happens */
    fake_run_for(&world, 10 * NS_PER_MS);
    release();
    end(&a, OK);
    end(&b, ERR_CANCELED); /* its answer was on the way */
}

static void lost_frames_end_by_the_deadline(void **state)
{
    (void)state;
    struct test_call t;
    world.drop_flags = FRAME_RESPONSE;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    world.drop_flags = FRAME_REQUEST;
    assert_int_equal(start_method(&t, &method_echo, 1, 50 * NS_PER_MS, 0), OK);
    end(&t, ERR_TIMEOUT);
    assert_int_equal(requests_seen, 1);
}

static void duplicated_frames_do_nothing(void **state)
{
    (void)state;
    struct test_call t[20];
    world.duplicate_flags = FRAME_REQUEST | FRAME_RESPONSE | FRAME_CANCEL | FRAME_HELLO;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(start(&t[i], i), OK);
    for (unsigned i = 0; i < 20; i++)
        end(&t[i], OK);
    hold = true;
    assert_int_equal(start(&t[0], 100), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    rpc_call_cancel(&t[0].call);
    end(&t[0], ERR_CANCELED);
    fake_run_for(&world, 10 * NS_PER_MS);
    release();
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(requests_seen, 21);
    assert_int_equal(cancels_seen, 1);
    struct rpc_stats c, s;
    rpc_stats(client, &c);
    rpc_stats(server, &s);
    assert_int_equal(c.protocol_errors + s.protocol_errors, 0);
    assert_int_equal(c.responses_late, 20);
    assert_int_equal(s.frames_duplicate, 22);
}

/* Closes the connection in place of the n-th event, for every n: each call ends once, with an error
 * that says truly whether the server may have seen it, and both sides can be closed. */
static void the_connection_breaks_at_each_step(void **state)
{
    (void)state;
    bool broke = true;
    unsigned n;
    for (n = 1; broke; n++) {
        make(NULL, NULL, true);
        world.close_at = n;
        reply_in_cancel = n % 2;
        struct test_call t[6];
        unsigned accepted = 0;
        for (unsigned i = 0; i < 6; i++) {
            hold = i % 3 == 2;
            bool ok = start(&t[accepted], i) == OK;
            accepted += ok;
            fake_run_for(&world, FAKE_DELAY_NS * 2);
            if (i == 3 && accepted > 0)
                rpc_call_cancel(&t[accepted - 1].call);
        }
        release();
        fake_run_for(&world, 5 * NS_PER_SEC);
        broke = false;
        for (unsigned i = 0; i < accepted; i++) {
            assert_int_equal(t[i].ends, 1);
            broke |= t[i].err == ERR_UNREACHABLE || t[i].err == ERR_CONN_LOST;
            assert_true(t[i].err == OK || t[i].err == ERR_UNREACHABLE ||
                        t[i].err == ERR_CONN_LOST || t[i].err == ERR_CANCELED);
        }
        broke |= world.events_done >= world.close_at;
        /* And it heals. */
        world.close_at = 0;
        hold = false;
        struct test_call after;
        while (start(&after, 1) != OK)
            fake_run_for(&world, 100 * NS_PER_MS);
        end(&after, OK);
        teardown(state);
    }
    assert_in_range(n, 10, 60);
}

/* ---- casts ---- */

static void casts_arrive_or_are_refused(void **state)
{
    (void)state;
    assert_int_equal(cast(1), OK);
    assert_int_equal(cast(2), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 2);
    assert_int_equal(last_offset, 2);
    assert_int_equal(cast(3), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 3);
    rpc_stop_listening(server);
    world.close_at = world.events_done + 1;
    assert_int_equal(cast(4), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 3);
    assert_int_equal(cast(5), ERR_UNREACHABLE);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.casts_sent, 4);
    assert_int_equal(s.casts_dropped, 1);
}

/* ---- ends ---- */

static void closing_ends_calls_and_requests(void **state)
{
    (void)state;
    struct test_call t[3], refused;
    bool done = false;
    hold = true;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(start(&t[i], i), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 2);
    rpc_close(client, set_flag, &done);
    assert_int_equal(start(&refused, 1), ERR_SHUTDOWN);
    assert_int_equal(cast(1), ERR_SHUTDOWN);
    assert_int_equal(ended, 0);
    fake_run_until(&world, &done);
    assert_int_equal(t[0].err, ERR_CANCELED);
    assert_int_equal(t[1].err, ERR_CANCELED);
    client = NULL;
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 2);
    /* The server closes before its handlers have answered: they may do it afterwards. */
    done = false;
    rpc_close(server, set_flag, &done);
    fake_run_until(&world, &done);
    server = NULL;
    release();
}

static void a_draining_server_refuses_what_is_new(void **state)
{
    (void)state;
    struct test_call old, new;
    hold = true;
    assert_int_equal(start(&old, 1), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    rpc_stop_listening(server);
    rpc_drain(server);
    assert_int_equal(start(&new, 2), OK);
    end(&new, ERR_SHUTDOWN);
    assert_int_equal(cast(3), OK); /* what needs no answer still gets in */
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(casts_seen, 1);
    release();
    end(&old, OK);
    assert_int_equal(rpc_requests_under_way(server), 0);
}

/* Random calls, casts, cancellations, breaks and duplicates: every call ends once, nothing is
 * answered wrongly, nothing leaks; and the same seed gives the same world. */
static uint64_t random_world(unsigned seed)
{
    static struct test_call t[400];
    unsigned started = 0;
    make(&(struct rpc_config){.calls_max_per_peer = 16},
         &(struct rpc_config){.requests_max_per_conn = 4}, true);
    srand(seed);
    for (unsigned i = 0; i < 400; i++) {
        hold = rand() % 3 == 0;
        world.duplicate_flags = rand() % 4 == 0 ? 0xff : 0;
        world.drop_flags = rand() % 8 == 0 ? FRAME_CANCEL | FRAME_RESPONSE : 0;
        reply_in_cancel = rand() % 2;
        if (rand() % 20 == 0)
            world.close_at = world.events_done + 1 + (unsigned)rand() % 5;
        unsigned what = (unsigned)rand() % 8;
        uint64_t timeout = (1 + (uint64_t)rand() % 40) * NS_PER_MS;
        if (what < 5)
            started += start_method(&t[started], &method_echo, started, timeout,
                                    (size_t)rand() % 2000) == OK;
        else if (what == 5)
            (void)cast(i);
        else if (what == 6 && started > 0)
            rpc_call_cancel(&t[started - 1 - (unsigned)rand() % MIN(started, 8u)].call);
        else
            release();
        fake_run_for(&world, (uint64_t)rand() % 4 * NS_PER_MS);
        if (!rpc_peer_is_up(peer) && rand() % 4 == 0)
            fake_run_for(&world, NS_PER_SEC);
    }
    world.close_at = 0;
    release();
    hold = false;
    fake_run_for(&world, NS_PER_SEC);
    release();
    unsigned good = 0;
    for (unsigned i = 0; i < started; i++) {
        assert_int_equal(t[i].ends, 1);
        good += t[i].err == OK;
        if (t[i].err == OK)
            assert_int_equal(t[i].offset, i + 1);
    }
    assert_true(started > 50 && good > 10);
    struct rpc_stats s;
    rpc_stats(client, &s);
    assert_int_equal(s.calls, started);
    assert_int_equal(s.calls_now, 0);
    assert_int_equal(s.protocol_errors, 0);
    uint64_t hash = world.events_done * 1000003 + world.now_ns + world.random + s.bytes_sent;
    teardown(NULL);
    return hash;
}

static void random_worlds_hold_and_repeat(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++)
        assert_true(random_world(seed) == random_world(seed));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
/* Makes its own world. */
#define OWN(f) cmocka_unit_test(f)
    const struct CMUnitTest tests[] = {
        T(a_call_comes_back),
        T(an_error_comes_back),
        T(calls_wait_for_the_connection),
        T(an_absent_peer_is_unreachable_then_found),
        T(attempts_end_when_nobody_asks),
        T(who_insists_has_it_tried_at_once),
        T(a_black_hole_costs_the_connect_timeout),
        T(a_timeout_is_told_and_a_late_answer_dropped),
        T(a_cancelled_call_ends_later),
        T(a_callback_may_cancel_another_call),
        T(lost_frames_end_by_the_deadline),
        T(duplicated_frames_do_nothing),
        OWN(the_connection_breaks_at_each_step),
        T(casts_arrive_or_are_refused),
        T(closing_ends_calls_and_requests),
        T(a_draining_server_refuses_what_is_new),
        OWN(random_worlds_hold_and_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
