/* The RPC layer's windows, and what happens to whoever breaks the protocol. */
#include "rpc_pair.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- windows ---- */

static void the_clients_window_refuses(void **state)
{
    (void)state;
    make(&(struct rpc_config){.calls_max_per_peer = 3, .queued_bytes_max = 70000}, NULL, true);
    struct test_call t[4], big[3];
    hold = true;
    for (unsigned round = 0; round < 2; round++) { /* queued, then sent */
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(start(&t[i], i), OK);
        assert_int_equal(start(&t[3], 3), ERR_LIMIT);
        fake_run_for(&world, 20 * NS_PER_MS);
        assert_int_equal(start(&t[3], 3), ERR_LIMIT);
        release();
        for (unsigned i = 0; i < 3; i++)
            end(&t[i], OK);
    }
    hold = false;
    assert_int_equal(start_method(&big[0], &method_echo, 1, NS_PER_SEC, 200000), OK);
    assert_int_equal(start_method(&big[1], &method_echo, 1, NS_PER_SEC, 10), ERR_LIMIT);
    end(&big[0], OK);
    assert_int_equal(start_method(&big[1], &method_echo, 1, NS_PER_SEC, 40000), OK);
    assert_int_equal(start_method(&big[2], &method_echo, 1, NS_PER_SEC, 40000), ERR_LIMIT);
    end(&big[1], OK);
    assert_int_equal(
        start_method(&big[2], &method_echo, 1, NS_PER_SEC, FRAME_PAYLOAD_BYTES_MAX + 1),
        ERR_TOO_LARGE);
    teardown(state);
}

static void the_servers_windows_stop_reading(void **state)
{
    (void)state;
    static struct test_call t[64];
    /* First by number, then by bytes of all requests. */
    for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
        struct rpc_config config = {.requests_max_per_conn = by_bytes ? 0 : 8,
                                    .request_bytes_max = by_bytes ? 8 * 100100 - 1 : 0};
        make(NULL, &config, true);
        hold = true;
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(start_method(&t[i], &method_echo, i, NS_PER_SEC, 100000), OK);
        fake_run_for(&world, 50 * NS_PER_MS);
        assert_int_equal(held_count, 8);
        assert_int_equal(rpc_requests_under_way(server), 8);
        assert_int_equal(world.stops, 1);
        while (ended < 64) {
            assert_true(held_count > 0 && held_count <= 8);
            release();
            fake_run_for(&world, 10 * NS_PER_MS);
        }
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(t[i].err, OK);
        struct rpc_stats s;
        rpc_stats(server, &s);
        assert_int_equal(s.request_bytes_now, 0);
        assert_int_equal(world.stops, world.resumes);
        teardown(state);
    }
}

/* The bytes of one connection's requests stop another; the first one's end sets it going again. */
static void room_made_by_one_connection_is_given_to_another(void **state)
{
    (void)state;
    struct fake_raw r;
    struct test_call t[2];
    make(NULL, &(struct rpc_config){.request_bytes_max = 100000}, true);
    hold = true;
    raw_connected(&r);
    raw_hello(&r, 1, 1);
    struct rcbuf *zeros = rcbuf_new(100000);
    memset(zeros->data, 0, zeros->cap);
    struct frame f = {.flags = FRAME_REQUEST,
                      .kind = 1000,
                      .request_id = 1,
                      .version = 1,
                      .timeout_ms = 1000,
                      .payload = {{zeros, SLICE(zeros->data, zeros->cap)}},
                      .payload_count = 1};
    assert_int_equal(client_node.net.ops->send(r.conn, &f), OK);
    rcbuf_unref(zeros);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 1);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(start(&t[i], i), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 2); /* the first, after which it was not read any more */
    client_node.net.ops->conn_close(r.conn);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(cancels_seen, 1);
    assert_int_equal(held_count, 2); /* what a cancelled request holds, it holds until the reply */
    reply_to(held[0]);
    held[0] = held[1];
    held_count = 1;
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 2);
    release();
    for (unsigned i = 0; i < 2; i++)
        end(&t[i], OK);
    teardown(state);
}

/* What the requests that hold the memory wait for comes over such connections. */
static void a_metanode_is_read_however_much_others_hold(void **state)
{
    static struct test_call t[6];
    make(NULL, &(struct rpc_config){.request_bytes_max = 100000}, true);
    client_node.identity.role = NET_ROLE_METANODE;
    hold = true;
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(start_method(&t[i], &method_other, i, NS_PER_SEC, 40000), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(held_count, 6);
    assert_int_equal(world.stops, 0);
    release();
    for (unsigned i = 0; i < 6; i++)
        end(&t[i], OK);
    teardown(state);
}

static void answers_that_pile_up_stop_reading(void **state)
{
    (void)state;
    static struct test_call t[40];
    make(NULL, &(struct rpc_config){.queued_bytes_max = 300000}, true);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(start_method(&t[i], &method_echo, i, NS_PER_SEC, 100000), OK);
    fake_run_for(&world, 500 * NS_PER_MS);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(t[i].err, OK);
    assert_true(world.stops > 2);
    assert_int_equal(world.stops, world.resumes);
    teardown(state);
}

static void a_net_that_cannot_stop_reading_makes_the_server_refuse(void **state)
{
    (void)state;
    struct test_call t[10];
    world.no_set_reading = true;
    make(NULL, &(struct rpc_config){.requests_max_per_conn = 8}, true);
    hold = true;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(start(&t[i], i), OK);
    end(&t[8], ERR_LIMIT);
    end(&t[9], ERR_LIMIT);
    release();
    for (unsigned i = 0; i < 8; i++)
        end(&t[i], OK);
    teardown(state);
}

/* ---- who may, and what is understood ---- */

static void roles_and_methods_are_checked(void **state)
{
    (void)state;
    struct test_call t;
    assert_int_equal(start_method(&t, &method_other, 1, NS_PER_SEC, 0), OK);
    end(&t, ERR_AUTH);
    assert_int_equal(start_method(&t, &method_unknown, 1, NS_PER_SEC, 0), OK);
    end(&t, ERR_UNIMPLEMENTED);
    assert_int_equal(requests_seen, 0);
    assert_int_equal(start(&t, 1), OK); /* the connection lives on */
    end(&t, OK);
    assert_int_equal(world.conns_made, 2);
}

static void messages_that_do_not_parse_are_answered(void **state)
{
    (void)state;
    struct fake_raw r;
    raw_connected(&r);
    raw_hello(&r, 1, 1);
    assert_int_equal(raw_send(&r, FRAME_REQUEST, 1000, 1, SLICE_LIT("\xff\xff\xff")), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(r.responses, 1);
    assert_int_equal(r.last_status, ERR_PROTO);
    assert_int_equal(raw_send(&r, FRAME_CAST, 1001, 0, SLICE_LIT("\xff\xff\xff")), OK);
    assert_int_equal(raw_send(&r, FRAME_CAST, 9999, 0, SLICE_EMPTY), OK);
    assert_int_equal(raw_send(&r, FRAME_CANCEL, 1000, 77, SLICE_EMPTY), OK);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_false(r.closed);
    assert_int_equal(casts_seen + requests_seen, 0);
    client_node.net.ops->conn_close(r.conn);
    fake_run_until(&world, &r.closed);
}

/* Two bytes on the wire for a struct of more than a hundred: unpacking is bounded. */
static void a_message_that_explodes_is_refused(void **state)
{
    (void)state;
    static const struct rpc_method method_batch = {
        1004, "test.batch", &cairn__raft_batch__descriptor,
        &cairn__snapshot_chunk_response__descriptor, NET_ROLE_GATEWAY};
    assert_int_equal(rpc_serve(server, &method_batch, on_echo, NULL), OK);
    size_t len = 2 << 20;
    uint8_t *bytes = malloc(len);
    for (size_t i = 0; i < len; i += 2) {
        bytes[i] = 0x0a; /* messages: one more, empty */
        bytes[i + 1] = 0;
    }
    struct fake_raw r;
    raw_connected(&r);
    raw_hello(&r, 1, 1);
    assert_int_equal(raw_send(&r, FRAME_REQUEST, 1004, 1, SLICE(bytes, len)), OK);
    free(bytes);
    fake_run_for(&world, 10 * NS_PER_MS);
    assert_int_equal(r.responses, 1);
    assert_int_equal(r.last_status, ERR_NOMEM);
    assert_int_equal(requests_seen, 0);
    client_node.net.ops->conn_close(r.conn);
    fake_run_until(&world, &r.closed);
}

static void a_client_that_breaks_the_protocol_is_closed(void **state)
{
    (void)state;
    struct rpc_stats s;
    for (unsigned n = 0; n < 6; n++) {
        struct fake_raw r;
        raw_connected(&r);
        if (n > 0)
            raw_hello(&r, n == 1 ? 9 : 1, n == 1 ? 12 : 1);
        if (n == 0) /* a request before the HELLO */
            assert_int_equal(raw_send(&r, FRAME_REQUEST, 1000, 1, SLICE_EMPTY), OK);
        if (n == 2) /* an answer to nothing */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, 1, SLICE_EMPTY), OK);
        if (n == 3) { /* another version than agreed */
            struct frame f = {.flags = FRAME_CAST, .kind = 1001, .version = 2};
            assert_int_equal(client_node.net.ops->send(r.conn, &f), OK);
        }
        if (n == 4) /* a call of what can only be cast */
            assert_int_equal(raw_send(&r, FRAME_REQUEST, 1001, 1, SLICE_EMPTY), OK);
        if (n == 5) /* a cast of what can only be called */
            assert_int_equal(raw_send(&r, FRAME_CAST, 1000, 1, SLICE_EMPTY), OK);
        fake_run_for(&world, 10 * NS_PER_MS);
        assert_true(r.closed);
        rpc_stats(server, &s);
        assert_int_equal(s.protocol_errors, n + 1);
    }
    assert_int_equal(requests_seen + casts_seen, 0);
}

static void a_server_that_breaks_the_protocol_is_closed(void **state)
{
    (void)state;
    rpc_stop_listening(server);
    for (unsigned n = 0; n < 6; n++) {
        struct fake_raw r;
        struct net_listener *l;
        fake_raw_listen(&server_node, "server:1", &r, &l);
        struct test_call t;
        while (start(&t, 1) != OK)
            fake_run_for(&world, 100 * NS_PER_MS);
        fake_run_until(&world, &r.opened);
        server_node.net.ops->listener_close(l);
        if (n == 0) { /* an answer before the HELLO: the call was never sent */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, 1, SLICE_EMPTY), OK);
            end(&t, ERR_UNREACHABLE);
            assert_int_equal(rpc_peer_last_error(peer), ERR_PROTO);
            continue;
        }
        raw_hello(&r, 1, 1);
        fake_run_for(&world, 10 * NS_PER_MS);
        assert_int_equal(r.frames, 2); /* HELLO, request */
        /* The request id is not known here: one of these is it. */
        if (n == 1) /* an id that was never given */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, 1u << 30, SLICE_EMPTY), OK);
        if (n == 2) /* a request to a client */
            assert_int_equal(raw_send(&r, FRAME_REQUEST, 1000, 1, SLICE_EMPTY), OK);
        for (uint64_t id = 1; n == 3 && id < 20 && r.conn; id++) /* another method's answer */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1002, id, SLICE_EMPTY), OK);
        for (uint64_t id = 1; n == 4 && id < 20 && r.conn; id++) /* an answer that does not parse */
            assert_int_equal(raw_send(&r, FRAME_RESPONSE, 1000, id, SLICE_LIT("\xff\xff")), OK);
        if (n == 5) { /* another version than agreed */
            struct frame f = {.flags = FRAME_RESPONSE, .request_id = 1, .version = 2};
            assert_int_equal(server_node.net.ops->send(r.conn, &f), OK);
        }
        end(&t, ERR_CONN_LOST);
        fake_run_until(&world, &r.closed);
        struct rpc_stats s;
        rpc_stats(client, &s);
        assert_int_equal(s.protocol_errors, n + 1);
    }
}

static void versions_are_negotiated(void **state)
{
    (void)state;
    struct test_call t;
    make(&(struct rpc_config){.version_min = 1, .version_max = 3},
         &(struct rpc_config){.version_min = 2, .version_max = 5}, true);
    assert_int_equal(start(&t, 1), OK);
    end(&t, OK);
    teardown(state);
    make(&(struct rpc_config){.version_min = 1, .version_max = 3},
         &(struct rpc_config){.version_min = 4, .version_max = 5}, true);
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    assert_int_equal(rpc_peer_last_error(peer), ERR_VERSION);
    assert_int_equal(requests_seen, 0);
    assert_int_equal(peer_downs, 1);
    teardown(state);
}

static void another_node_at_the_address_is_not_called(void **state)
{
    (void)state;
    struct rpc_peer *right = peer;
    struct test_call t;
    peer = rpc_peer_get(client, "server:1", "somebody else");
    assert_int_equal(start(&t, 1), OK);
    end(&t, ERR_UNREACHABLE);
    assert_int_equal(rpc_peer_last_error(peer), ERR_AUTH);
    assert_string_equal(rpc_peer_node_id(peer), "somebody else");
    peer = right;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
/* Makes its own world. */
#define OWN(f) cmocka_unit_test(f)
    const struct CMUnitTest tests[] = {
        OWN(the_clients_window_refuses),
        OWN(the_servers_windows_stop_reading),
        OWN(room_made_by_one_connection_is_given_to_another),
        OWN(a_metanode_is_read_however_much_others_hold),
        OWN(answers_that_pile_up_stop_reading),
        OWN(a_net_that_cannot_stop_reading_makes_the_server_refuse),
        T(roles_and_methods_are_checked),
        T(messages_that_do_not_parse_are_answered),
        T(a_message_that_explodes_is_refused),
        T(a_client_that_breaks_the_protocol_is_closed),
        T(a_server_that_breaks_the_protocol_is_closed),
        OWN(versions_are_negotiated),
        T(another_node_at_the_address_is_not_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
