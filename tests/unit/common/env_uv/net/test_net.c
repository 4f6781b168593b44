/* Frames over real TLS on loopback, and who is not let in. */
#include "certs.h"
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/rpc/frame.h"
#include "raw_client.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct env_uv env;
static struct net_tls_ctx *server_ctx, *client_ctx, *stranger_ctx;
static struct net *server, *client;
static struct net_listener *listener;
static struct env_timer watchdog;
static char addr[32];

/* One end of a connection, and what it has seen. */
struct end {
    struct net_conn *conn;
    struct net_identity peer;
    bool opened, closed, drained;
    int err;
    unsigned frames;
    uint64_t payload_bytes;
    uint32_t crc;      /* of all payloads */
    struct frame last; /* without its bytes */
    char last_msg[64];
    unsigned close_at; /* closes the connection in this frame */
    unsigned stop_at;  /* stops reading in this frame */
    bool echo;
};
static struct end in, out;
static bool refuse_all;
static int problem_err;
static char problem_text[128];
static unsigned problems;

static void on_open(void *arg, struct net_conn *conn, const struct net_identity *peer)
{
    struct end *e = arg;
    assert_false(e->opened || e->closed);
    assert_ptr_equal(e->conn, conn);
    e->opened = true;
    e->peer = *peer;
}

/* Large payloads come with the CRC of each block, others without any. */
static void check_block_crcs(const struct frame *f)
{
    struct slice payload = f->payload_count ? f->payload[0].bytes : SLICE_EMPTY;
    assert_int_equal(f->block_crcs != NULL, payload.len >= FRAME_BLOCK_BYTES);
    for (size_t at = 0, i = 0; f->block_crcs && at < payload.len; at += FRAME_BLOCK_BYTES, i++) {
        size_t n = MIN(payload.len - at, FRAME_BLOCK_BYTES);
        assert_int_equal(f->block_crcs[i], crc32c(0, SLICE(payload.ptr + at, n)));
    }
}

static void on_frame(void *arg, struct net_conn *conn, struct frame *f)
{
    struct end *e = arg;
    check_block_crcs(f);
    assert_true(e->opened && !e->closed);
    e->frames++;
    e->last = *f;
    snprintf(e->last_msg, sizeof(e->last_msg), "%.*s", (int)f->msg.bytes.len,
             f->msg.bytes.len ? (const char *)f->msg.bytes.ptr : "");
    if (f->payload_count) {
        e->payload_bytes += f->payload[0].bytes.len;
        e->crc = crc32c(e->crc, f->payload[0].bytes);
    }
    if (e->echo)
        assert_int_equal(conn == e->conn ? server->ops->send(conn, f) : -1, OK);
    if (e->stop_at && e->frames == e->stop_at)
        server->ops->set_reading(conn, false);
    if (e->close_at && e->frames == e->close_at)
        server->ops->conn_close(conn);
}

static void on_drain(void *arg, struct net_conn *conn)
{
    struct end *e = arg;
    assert_ptr_equal(e->conn, conn);
    e->drained = true;
}

static void on_closed(void *arg, struct net_conn *conn, int err)
{
    struct end *e = arg;
    assert_ptr_equal(e->conn, conn);
    assert_false(e->closed);
    e->closed = true;
    e->err = err;
    e->conn = NULL;
}

static const struct net_conn_handler handler = {on_open, on_frame, on_drain, on_closed};

static int accept_one(void *arg, struct net_conn *conn, const struct net_identity *peer,
                      const struct net_conn_handler **ret_handler, void **ret_arg)
{
    (void)arg;
    if (refuse_all)
        return ERR_LIMIT;
    in.conn = conn;
    in.peer = *peer;
    in.opened = true;
    *ret_handler = &handler;
    *ret_arg = &in;
    return OK;
}

static void on_problem(void *arg, const char *from, int err, const char *text)
{
    (void)arg;
    assert_true(strlen(from) > 8);
    problems++;
    problem_err = err;
    snprintf(problem_text, sizeof(problem_text), "%s", text);
}

static void on_watchdog(struct env_timer *t)
{
    (void)t;
    fprintf(stderr, "the test hangs\n");
    abort();
}

static void setup_options(const struct net_tls_options *extra)
{
    signal(SIGPIPE, SIG_IGN);
    memset(&in, 0, sizeof(in));
    memset(&out, 0, sizeof(out));
    refuse_all = false;
    problems = 0;
    problem_err = OK;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(env_uv_init(&env, &loop), OK);
    struct net_tls_options options = extra ? *extra : (struct net_tls_options){0};
    options.on_problem = on_problem;
    assert_int_equal(net_tls_new(&env, server_ctx, &options, &server), OK);
    assert_int_equal(net_tls_new(&env, client_ctx, NULL, &client), OK);
    assert_int_equal(server->ops->listen(server, "127.0.0.1:0", accept_one, NULL, &listener), OK);
    snprintf(addr, sizeof(addr), "127.0.0.1:%d", net_tls_listener_port(listener));
    env_timer_init(&env.env, &watchdog, on_watchdog);
    env_timer_start(&watchdog, 30 * NS_PER_SEC);
}

static int setup(void **state)
{
    (void)state;
    setup_options(NULL);
    return 0;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
{
    (void)state;
    bool server_closed = false, client_closed = false;
    env_timer_stop(&watchdog);
    net_tls_close(client, set_flag, &client_closed);
    net_tls_close(server, set_flag, &server_closed);
    assert_false(client_closed || server_closed);
    env_uv_run_until(&env, &client_closed);
    env_uv_run_until(&env, &server_closed);
    assert_null(in.conn);
    assert_null(out.conn);
    env_uv_fini(&env);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void connect_to(const char *to, const char *node_id)
{
    assert_int_equal(client->ops->connect(client, to, node_id, &handler, &out, &out.conn), OK);
}

static void connected(void)
{
    connect_to(addr, "node-server");
    env_uv_run_until(&env, &in.opened);
    env_uv_run_until(&env, &out.opened);
}

static void run_until_frames(const struct end *e, unsigned frames)
{
    while (e->frames < frames && !e->closed)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(e->frames, frames);
}

static struct rcbuf *random_bytes(size_t len)
{
    struct rcbuf *b = rcbuf_new(len);
    assert_non_null(b);
    for (size_t i = 0; i < len; i++)
        b->data[i] = (uint8_t)rand();
    b->len = len;
    return b;
}

/* ---- what works ---- */

static void identities_and_fields_arrive(void **state)
{
    (void)state;
    connected();
    assert_string_equal(out.peer.node_id, "node-server");
    assert_int_equal(out.peer.role, NET_ROLE_METANODE);
    assert_string_equal(in.peer.node_id, "node-client");
    assert_int_equal(in.peer.role, NET_ROLE_GATEWAY);
    struct frame f = {.kind = 0xabcd,
                      .flags = FRAME_REQUEST,
                      .version = 7,
                      .request_id = 0x1122334455667788ull,
                      .timeout_ms = 1234,
                      .msg = {NULL, SLICE_LIT("hello")}};
    assert_int_equal(client->ops->send(out.conn, &f), OK);
    run_until_frames(&in, 1);
    assert_int_equal(in.last.kind, 0xabcd);
    assert_int_equal(in.last.flags, FRAME_REQUEST);
    assert_int_equal(in.last.version, 7);
    assert_true(in.last.request_id == 0x1122334455667788ull);
    assert_int_equal(in.last.timeout_ms, 1234);
    assert_string_equal(in.last_msg, "hello");
    assert_int_equal(in.last.payload_count, 0);
    f = (struct frame){.flags = FRAME_RESPONSE, .request_id = 1, .status = ERR_EPOCH};
    assert_int_equal(server->ops->send(in.conn, &f), OK);
    run_until_frames(&out, 1);
    assert_int_equal(out.last.status, ERR_EPOCH);
}

static void frames_of_one_turn_share_a_write(void **state)
{
    (void)state;
    connected();
    struct net_tls_stats before, after;
    net_tls_stats(client, &before);
    struct frame f = {.flags = FRAME_CAST, .msg = {NULL, SLICE_LIT("small")}};
    for (int i = 0; i < 100; i++)
        assert_int_equal(client->ops->send(out.conn, &f), OK);
    assert_true(client->ops->queued_bytes(out.conn) == 100 * (FRAME_HEADER_BYTES + 5));
    run_until_frames(&in, 100);
    net_tls_stats(client, &after);
    assert_int_equal(after.writes - before.writes, 1);
    assert_int_equal(client->ops->queued_bytes(out.conn), 0);
}

/* Sizes around every boundary (record, copy limit, checksum limit), in several slices. */
static void payloads_of_all_sizes_arrive_intact(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     4095,  4096,  4097,       16384 - 45, 16384,
                                   16385, 65536, 65537, 112 * 1024, 1 << 20,    20 << 20};
    connected();
    in.echo = true;
    unsigned frames = 0;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct rcbuf *b = random_bytes(sizes[i]);
        struct frame f = {.flags = FRAME_CAST, .msg = {NULL, SLICE_LIT("with a payload")}};
        size_t at = 0;
        for (unsigned s = 0; s < 3; s++) {
            size_t n = s == 2 ? sizes[i] - at : sizes[i] / 3;
            /* the middle slice has no owner: it must be copied */
            f.payload[f.payload_count++] =
                (struct payload){s == 1 ? NULL : b, SLICE(b->data + at, n)};
            at += n;
        }
        uint32_t crc = crc32c(0, SLICE(b->data, b->len));
        assert_int_equal(client->ops->send(out.conn, &f), OK);
        memset(b->data + sizes[i] / 3, 0, sizes[i] / 3);
        rcbuf_unref(b);
        in.crc = out.crc = 0;
        in.payload_bytes = out.payload_bytes = 0;
        run_until_frames(&out, ++frames);
        assert_true(in.payload_bytes == sizes[i] && out.payload_bytes == sizes[i]);
        assert_int_equal(in.crc, crc);
        assert_int_equal(out.crc, crc);
    }
    struct frame f = {.flags = FRAME_CAST, .msg = {NULL, {(const uint8_t *)addr, (25u << 20)}}};
    assert_int_equal(client->ops->send(out.conn, &f), ERR_TOO_LARGE);
}

static void a_reader_that_stops_holds_the_sender(void **state)
{
    (void)state;
    connected();
    server->ops->set_reading(in.conn, false);
    struct rcbuf *b = random_bytes(1 << 20);
    struct frame f = {
        .flags = FRAME_CAST, .payload = {{b, SLICE(b->data, b->len)}}, .payload_count = 1};
    uint32_t crc = 0;
    for (int i = 0; i < 32; i++) {
        assert_int_equal(client->ops->send(out.conn, &f), OK);
        crc = crc32c(crc, SLICE(b->data, b->len));
    }
    rcbuf_unref(b);
    /* Until the socket is full; then nothing moves, however often the loop turns. */
    size_t queued, before;
    do {
        before = client->ops->queued_bytes(out.conn);
        for (int i = 0; i < 50; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        queued = client->ops->queued_bytes(out.conn);
    } while (queued != before);
    assert_true(queued > 8u << 20);
    assert_int_equal(in.frames, 0);
    assert_false(out.drained);
    server->ops->set_reading(in.conn, true);
    run_until_frames(&in, 32);
    assert_int_equal(in.crc, crc);
    env_uv_run_until(&env, &out.drained);
    assert_int_equal(client->ops->queued_bytes(out.conn), 0);
}

/* The rest has been decrypted already: no poll will announce it. */
static void reading_stops_between_two_frames_of_one_record(void **state)
{
    (void)state;
    connected();
    in.stop_at = 3;
    struct frame f = {.flags = FRAME_CAST, .msg = {NULL, SLICE_LIT("x")}};
    for (int i = 0; i < 10; i++)
        assert_int_equal(client->ops->send(out.conn, &f), OK);
    run_until_frames(&in, 3);
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(in.frames, 3);
    server->ops->set_reading(in.conn, true);
    assert_int_equal(in.frames, 3); /* never within the call */
    run_until_frames(&in, 10);
}

static void a_close_in_a_callback_is_the_last_frame(void **state)
{
    (void)state;
    connected();
    in.close_at = 3;
    struct frame f = {.flags = FRAME_CAST, .msg = {NULL, SLICE_LIT("x")}};
    for (int i = 0; i < 10; i++)
        assert_int_equal(client->ops->send(out.conn, &f), OK);
    env_uv_run_until(&env, &in.closed);
    env_uv_run_until(&env, &out.closed);
    assert_int_equal(in.frames, 3);
    assert_int_equal(in.err, OK);
    assert_int_equal(out.err, ERR_CONN_LOST);
}

static void what_was_sent_before_a_close_arrives(void **state)
{
    (void)state;
    connected();
    struct frame f = {.flags = FRAME_CAST, .msg = {NULL, SLICE_LIT("last words")}};
    assert_int_equal(client->ops->send(out.conn, &f), OK);
    client->ops->conn_close(out.conn);
    assert_false(out.closed); /* never inside the call */
    assert_int_equal(client->ops->send(out.conn, &f), ERR_CONN_LOST);
    env_uv_run_until(&env, &in.closed);
    env_uv_run_until(&env, &out.closed);
    assert_int_equal(in.frames, 1);
    assert_string_equal(in.last_msg, "last words");
    assert_int_equal(out.err, OK);
}

/* ---- connecting ---- */

static void names_are_resolved(void **state)
{
    (void)state;
    char to[32];
    snprintf(to, sizeof(to), "localhost:%d", net_tls_listener_port(listener));
    connect_to(to, NULL);
    env_uv_run_until(&env, &out.opened);
}

static void a_closed_port_is_unreachable(void **state)
{
    (void)state;
    struct net_conn *c;
    assert_int_equal(client->ops->connect(client, "nonsense", NULL, &handler, &out, &c), ERR_INVAL);
    assert_int_equal(client->ops->connect(client, "a:99999", NULL, &handler, &out, &c), ERR_INVAL);
    server->ops->listener_close(listener);
    connect_to(addr, NULL);
    assert_false(out.closed);
    env_uv_run_until(&env, &out.closed);
    assert_int_equal(out.err, ERR_UNREACHABLE);
}

static void a_close_while_connecting_is_quiet(void **state)
{
    (void)state;
    connect_to(addr, NULL);
    client->ops->conn_close(out.conn);
    env_uv_run_until(&env, &out.closed);
    assert_false(out.opened);
    memset(&out, 0, sizeof(out));
    connect_to("localhost:1", NULL); /* while the name is looked up */
    client->ops->conn_close(out.conn);
    env_uv_run_until(&env, &out.closed);
    assert_int_equal(out.err, OK);
    memset(&out, 0, sizeof(out));
    connect_to("localhost:1", NULL); /* teardown closes it in the same state */
}

static void a_listener_closed_in_the_handshake_lets_nobody_in(void **state)
{
    (void)state;
    connect_to(addr, NULL);
    struct net_tls_stats s;
    do {
        uv_run(&loop, UV_RUN_ONCE);
        net_tls_stats(server, &s);
    } while (s.conns == 0);
    if (!in.opened)
        server->ops->listener_close(listener);
    env_uv_run_until(&env, &out.closed);
    assert_false(in.opened);
}

/* ---- who is not let in ---- */

static void another_node_than_asked_for_is_refused(void **state)
{
    (void)state;
    connect_to(addr, "node-serve");
    env_uv_run_until(&env, &out.closed);
    assert_false(out.opened);
    assert_int_equal(out.err, ERR_AUTH);
}

static void another_ca_is_refused_by_both(void **state)
{
    (void)state;
    struct net *stranger;
    bool closed = false;
    assert_int_equal(net_tls_new(&env, stranger_ctx, NULL, &stranger), OK);
    assert_int_equal(stranger->ops->connect(stranger, addr, NULL, &handler, &out, &out.conn), OK);
    env_uv_run_until(&env, &out.closed);
    assert_false(out.opened || in.opened);
    assert_int_equal(out.err, ERR_AUTH);
    net_tls_close(stranger, set_flag, &closed);
    env_uv_run_until(&env, &closed);
    while (problems == 0)
        uv_run(&loop, UV_RUN_ONCE);
}

static void refused_by_accept(void **state)
{
    (void)state;
    refuse_all = true;
    connect_to(addr, NULL);
    env_uv_run_until(&env, &out.closed);
    assert_int_equal(out.err, ERR_CONN_LOST);
    assert_null(in.conn);
}

static void raw_run(struct raw_client *c)
{
    c->port = net_tls_listener_port(listener);
    raw_client_start(c, &env.env);
    env_uv_run_until(&env, &c->done);
    raw_client_join(c);
}

static void raw_problem(struct raw_client c, int err, const char *text)
{
    raw_run(&c);
    while (problems == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(problem_err, err);
    if (!strstr(problem_text, text))
        fail_msg("'%s' is not in '%s'", text, problem_text);
    assert_false(in.opened);
}

static void no_certificate_is_refused(void **state)
{
    (void)state;
    raw_problem((struct raw_client){.tls = true}, ERR_AUTH, "certificate");
}

static void a_strangers_certificate_is_refused(void **state)
{
    (void)state;
    raw_problem((struct raw_client){.tls = true, .cert = "stranger"}, ERR_AUTH, "certificate");
}

static void an_expired_certificate_is_refused(void **state)
{
    (void)state;
    raw_problem((struct raw_client){.tls = true, .cert = "expired"}, ERR_AUTH, "expired");
}

static void an_unknown_role_is_refused(void **state)
{
    (void)state;
    raw_problem((struct raw_client){.tls = true, .cert = "norole"}, ERR_AUTH, "OU");
}

static void two_names_are_refused(void **state)
{
    (void)state;
    raw_problem((struct raw_client){.tls = true, .cert = "twonames"}, ERR_AUTH, "CN");
}

static void garbage_instead_of_tls_is_refused(void **state)
{
    (void)state;
    raw_problem((struct raw_client){.send = SLICE_LIT("GET / HTTP/1.1\r\n\r\n")}, ERR_PROTO, "");
}

static void silence_is_ended(void **state)
{
    (void)state;
    raw_problem((struct raw_client){0}, ERR_TIMEOUT, "handshake");
}

/* A host that greets and resets: the answer cannot be written, in the middle of the handshake. */
static void a_reset_after_the_greeting_is_survived(void **state)
{
    (void)state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *said = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), said);
    SSL_set_connect_state(ssl);
    assert_int_equal(SSL_do_handshake(ssl), -1);
    char *greeting;
    long len = BIO_get_mem_data(said, &greeting);
    assert_true(len > 0);

    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)net_tls_listener_port(listener)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(send(fd, greeting, (size_t)len, MSG_NOSIGNAL), len);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(fd);
    SSL_free(ssl);
    SSL_CTX_free(ctx);

    struct net_tls_stats s;
    do {
        uv_run(&loop, UV_RUN_ONCE);
        net_tls_stats(server, &s);
    } while (s.writes == 0 || s.conns > 0);
    assert_int_equal(s.handshakes, 0);
    connected(); /* it still serves */
}

static int setup_short_handshake(void **state)
{
    (void)state;
    setup_options(&(struct net_tls_options){.handshake_timeout_ms = 50});
    return 0;
}

static int setup_few_conns(void **state)
{
    (void)state;
    setup_options(&(struct net_tls_options){.conns_max = 1});
    return 0;
}

static void connections_are_bounded(void **state)
{
    (void)state;
    connected();
    struct raw_client c = {.tls = true, .cert = "client"};
    raw_run(&c);
    struct net_tls_stats s;
    net_tls_stats(server, &s);
    assert_int_equal(s.conns, 1);
    assert_int_equal(s.handshakes, 1);
}

#define HANDSHAKES_MAX 4u
#define FLOOD 12u

static int setup_few_handshakes(void **state)
{
    (void)state;
    setup_options(&(struct net_tls_options){.conns_max = HANDSHAKES_MAX,
                                            .handshakes_max = HANDSHAKES_MAX,
                                            .handshake_timeout_ms = 20000});
    return 0;
}

/* Connections that say nothing, one after the other; the server has met all of them. */
static void flood(int fds[FLOOD])
{
    struct net_tls_stats before, s;
    net_tls_stats(server, &before);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)net_tls_listener_port(listener)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (unsigned i = 0; i < FLOOD; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&sa, sizeof(sa)), 0);
    }
    do {
        uv_run(&loop, UV_RUN_ONCE);
        net_tls_stats(server, &s);
    } while (s.handshakes_evicted + s.handshaking <
             before.handshakes_evicted + before.handshaking + FLOOD);
    uv_run(&loop, UV_RUN_NOWAIT); /* those that were closed are gone */
}

static void flood_end(int fds[FLOOD])
{
    for (unsigned i = 0; i < FLOOD; i++)
        close(fds[i]);
}

/* The oldest of those that have not authenticated give way, to each other and to nodes; a node that
 * is in stays in, and is counted apart from them. */
static void a_flood_of_silence_keeps_nobody_out(void **state)
{
    (void)state;
    int first[FLOOD], second[FLOOD];
    char byte;
    struct net_tls_stats s;
    flood(first);
    net_tls_stats(server, &s);
    assert_int_equal(s.conns, HANDSHAKES_MAX);
    assert_int_equal(s.handshaking, HANDSHAKES_MAX);
    assert_int_equal(s.handshakes_evicted, FLOOD - HANDSHAKES_MAX);
    for (unsigned i = 0; i < FLOOD; i++)
        assert_int_equal(recv(first[i], &byte, 1, MSG_DONTWAIT),
                         i < FLOOD - HANDSHAKES_MAX ? 0 : -1);

    connected();
    net_tls_stats(server, &s);
    assert_int_equal(s.conns,
                     HANDSHAKES_MAX); /* it took a place, and gave it back when it was in */
    assert_int_equal(s.handshaking, HANDSHAKES_MAX - 1);

    flood(second);
    net_tls_stats(server, &s);
    assert_int_equal(s.conns, HANDSHAKES_MAX + 1);
    assert_int_equal(s.handshaking, HANDSHAKES_MAX);
    assert_int_equal(s.handshakes, 1);
    assert_int_equal(problems, 0); /* nothing that an operator should read a line about, each */
    assert_false(in.closed || out.closed);
    in.echo = true;
    struct frame f = {
        .kind = 1, .flags = FRAME_REQUEST, .version = 1, .request_id = 1, .timeout_ms = 1};
    assert_int_equal(client->ops->send(out.conn, &f), OK);
    run_until_frames(&out, 1);
    flood_end(first);
    flood_end(second);
}

static void own_credentials_are_checked(void **state)
{
    (void)state;
    int err;
    static const char *const bad[] = {"expired", "norole", "twonames", "missing", "stranger"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_null(test_ctx("ca", bad[i], &err));
        assert_int_equal(err, ERR_CONFIG);
    }
    assert_null(test_ctx("missing", "client", &err));
    assert_int_equal(err, ERR_CONFIG);
    assert_string_equal(net_tls_ctx_identity(server_ctx)->node_id, "node-server");
}

/* ---- frames that a broken node would send ---- */

static struct slice make_frame(uint8_t *at, uint8_t flags, const char *msg)
{
    struct frame_header h = {.version = 1,
                             .flags = flags,
                             .request_id = 1,
                             .timeout_ms = 5,
                             .status = 5,
                             .msg_bytes = (uint32_t)strlen(msg),
                             .msg_crc = crc32c(0, slice_cstr(msg))};
    frame_encode_header(&h, at);
    memcpy(at + FRAME_HEADER_BYTES, msg, strlen(msg));
    return SLICE(at, FRAME_HEADER_BYTES + strlen(msg));
}

static void bad_frame(struct slice bytes, size_t piece, unsigned good_frames, int err)
{
    struct raw_client c = {.tls = true, .cert = "client", .send = bytes, .piece = piece};
    raw_run(&c);
    env_uv_run_until(&env, &in.closed);
    assert_int_equal(in.frames, good_frames);
    assert_int_equal(in.err, err);
    assert_int_equal(problem_err, err);
}

static void frames_in_single_bytes_then_garbage(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct slice s = make_frame(bytes, FRAME_REQUEST, "one");
    s.len += make_frame(bytes + s.len, FRAME_CAST, "").len;
    s.len += make_frame(bytes + s.len, FRAME_RESPONSE, "").len; /* status 5: not an error code */
    bad_frame(s, 1, 2, ERR_PROTO);
}

static void a_flipped_bit_in_the_header(void **state)
{
    (void)state;
    uint8_t bytes[128];
    struct slice s = make_frame(bytes, FRAME_REQUEST, "one");
    bytes[17] ^= 4;
    bad_frame(s, 0, 0, ERR_CHECKSUM);
}

static void a_flipped_bit_in_the_message(void **state)
{
    (void)state;
    uint8_t bytes[128];
    struct slice s = make_frame(bytes, FRAME_REQUEST, "one");
    bytes[41] ^= 1;
    bad_frame(s, 0, 0, ERR_CHECKSUM);
}

static void a_frame_above_the_limit(void **state)
{
    (void)state;
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header h = {.flags = FRAME_CAST, .payload_bytes = FRAME_PAYLOAD_BYTES_MAX + 1};
    frame_encode_header(&h, bytes);
    bad_frame(SLICE(bytes, sizeof(bytes)), 0, 0, ERR_TOO_LARGE);
}

static void a_frame_cut_short(void **state)
{
    (void)state;
    uint8_t bytes[128];
    struct slice s = make_frame(bytes, FRAME_REQUEST, "one");
    struct raw_client c = {
        .tls = true, .cert = "client", .send = SLICE(s.ptr, s.len - 1), .close_after_send = true};
    raw_run(&c);
    env_uv_run_until(&env, &in.closed);
    assert_int_equal(in.frames, 0);
    assert_int_equal(in.err, ERR_CONN_LOST);
}

/* ---- how fast: printed, not judged ---- */

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void throughput_of_4_mib_payloads(void **state)
{
    (void)state;
    const char *rounds = getenv("BENCH_ROUNDS");
    unsigned total = rounds ? (unsigned)atoi(rounds) : 16;
    connected();
    struct rcbuf *b = random_bytes(4 << 20);
    struct frame f = {
        .flags = FRAME_CAST, .payload = {{b, SLICE(b->data, b->len)}}, .payload_count = 1};
    double start = seconds();
    for (unsigned i = 0; i < total; i++) {
        assert_int_equal(client->ops->send(out.conn, &f), OK);
        while (client->ops->queued_bytes(out.conn) > 8u << 20)
            uv_run(&loop, UV_RUN_ONCE);
    }
    run_until_frames(&in, total);
    double took = seconds() - start;
    rcbuf_unref(b);
    struct net_tls_stats s, r;
    net_tls_stats(client, &s);
    net_tls_stats(server, &r);
    print_message(
        "4 MiB payloads, both ends on one core: %.0f MB/s; %.1f writes, %.1f reads a frame\n",
        total * 4.194304 / took, (double)s.writes / total, (double)r.reads / total);
}

int main(void)
{
    int err;
    struct test_ca *ca = test_ca_new("ca"), *other = test_ca_new("otherca");
    test_cert_write(ca, "server", "node-server", NULL, "metanode", 10);
    test_cert_write(ca, "client", "node-client", NULL, "gateway", 10);
    test_cert_write(ca, "expired", "node-client", NULL, "gateway", -1);
    test_cert_write(ca, "norole", "node-client", NULL, "admin", 10);
    test_cert_write(ca, "twonames", "node-client", "node-server", "gateway", 10);
    test_cert_write(other, "stranger", "node-client", NULL, "gateway", 10);
    server_ctx = test_ctx("ca", "server", &err);
    client_ctx = test_ctx("ca", "client", &err);
    stranger_ctx = test_ctx("otherca", "stranger", &err);
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(identities_and_fields_arrive),
        T(frames_of_one_turn_share_a_write),
        T(payloads_of_all_sizes_arrive_intact),
        T(a_reader_that_stops_holds_the_sender),
        T(reading_stops_between_two_frames_of_one_record),
        T(a_close_in_a_callback_is_the_last_frame),
        T(what_was_sent_before_a_close_arrives),
        T(names_are_resolved),
        T(a_closed_port_is_unreachable),
        T(a_close_while_connecting_is_quiet),
        T(a_listener_closed_in_the_handshake_lets_nobody_in),
        T(another_node_than_asked_for_is_refused),
        T(another_ca_is_refused_by_both),
        T(refused_by_accept),
        T(no_certificate_is_refused),
        T(a_strangers_certificate_is_refused),
        T(an_expired_certificate_is_refused),
        T(an_unknown_role_is_refused),
        T(two_names_are_refused),
        T(garbage_instead_of_tls_is_refused),
        T(a_reset_after_the_greeting_is_survived),
        cmocka_unit_test_setup_teardown(silence_is_ended, setup_short_handshake, teardown),
        cmocka_unit_test_setup_teardown(connections_are_bounded, setup_few_conns, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_silence_keeps_nobody_out, setup_few_handshakes,
                                        teardown),
        cmocka_unit_test(own_credentials_are_checked),
        T(frames_in_single_bytes_then_garbage),
        T(a_flipped_bit_in_the_header),
        T(a_flipped_bit_in_the_message),
        T(a_frame_above_the_limit),
        T(a_frame_cut_short),
        T(throughput_of_4_mib_payloads),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    net_tls_ctx_free(server_ctx);
    net_tls_ctx_free(client_ctx);
    net_tls_ctx_free(stranger_ctx);
    test_ca_free(ca);
    test_ca_free(other);
    certs_remove();
    return failed;
}
