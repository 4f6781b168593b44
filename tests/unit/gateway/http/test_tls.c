/* The server behind TLS: small requests, large bodies both ways, a body that is cut off, the end.
 */
#include "common/base/check.h"
#include "common/base/err.h"
#include "tests/unit/gateway/http/loopback.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct loopback l;
static char directory[] = "/tmp/http_tls_XXXXXX", certificate[64], key[64];
static SSL_CTX *client_ctx;

static int make_certificate(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(certificate, sizeof(certificate), "%s/cert.pem", directory);
    snprintf(key, sizeof(key), "%s/key.pem", directory);
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, pkey);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    int ok = X509_sign(x, pkey, EVP_sha256()) > 0;
    FILE *f = fopen(certificate, "w");
    ok = ok && f && PEM_write_X509(f, x) == 1;
    fclose(f);
    f = fopen(key, "w");
    ok = ok && f && PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL) == 1;
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(pkey);
    client_ctx = SSL_CTX_new(TLS_client_method());
    return ok && client_ctx ? 0 : -1;
}

static int remove_certificate(void **state)
{
    (void)state;
    unlink(certificate);
    unlink(key);
    SSL_CTX_free(client_ctx);
    return rmdir(directory);
}

static int setup(void **state)
{
    (void)state;
    l = (struct loopback){0};
    http_limits_init(&l.limits);
    if (http_tls_context_new(certificate, key, &l.tls) != OK)
        return -1;
    loopback_start(&l);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_stop(&l);
    http_tls_context_free(l.tls);
    return 0;
}

/* Turn the loop until SSL is content; false: it never will be. */
static bool again(SSL *ssl, int result)
{
    int err = SSL_get_error(ssl, result);
    loopback_turn(&l);
    if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE)
        return false;
    poll(NULL, 0, 0);
    return true;
}

static SSL *tls_over(int fd)
{
    int n;
    SSL *ssl = SSL_new(client_ctx);
    SSL_set_fd(ssl, fd);
    while ((n = SSL_connect(ssl)) != 1)
        assert_true(again(ssl, n));
    return ssl;
}

static SSL *tls_connect(int *ret_fd)
{
    *ret_fd = client_connect(&l);
    return tls_over(*ret_fd);
}

/* Small segments and a small window: the kernel holds little for this client. */
static int connect_narrow(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(http_server_port(l.server))};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), segment = 536, window = 4096;
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window)), 0);
    (void)connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    loopback_turn(&l);
    return fd;
}

static void tls_send(SSL *ssl, struct slice s)
{
    while (s.len) {
        int n = SSL_write(ssl, s.ptr, (int)MIN(s.len, (size_t)65536));
        if (n > 0)
            s = SLICE(s.ptr + n, s.len - (size_t)n);
        else if (!again(ssl, n))
            return;
        loopback_turn(&l);
    }
}

/* Everything until `text` or the end; a string. */
static size_t tls_until(SSL *ssl, struct buf *b, const char *text)
{
    buf_clear(b);
    for (;;) {
        assert_int_equal(buf_reserve(b, 65537), OK);
        int n = SSL_read(ssl, b->ptr + b->len, 65536);
        if (n > 0)
            b->len += (size_t)n;
        else if (!again(ssl, n))
            break;
        b->ptr[b->len] = 0;
        if (text && memmem(b->ptr, b->len, text, strlen(text)))
            break;
    }
    return b->len;
}

static void tls_close(SSL *ssl, int fd)
{
    SSL_free(ssl);
    close(fd);
}

static void small_requests(void **state)
{
    (void)state;
    struct buf b = {0};
    int fd;
    SSL *ssl = tls_connect(&fd);
    for (int i = 0; i < 3; i++) {
        tls_send(ssl, SLICE_LIT("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
        tls_until(ssl, &b, "hello");
        assert_non_null(strstr((char *)b.ptr, "200 OK"));
    }
    tls_send(ssl,
             SLICE_LIT("GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n"
                       "Connection: close\r\n\r\n"));
    tls_until(ssl, &b, NULL);
    assert_non_null(strstr((char *)b.ptr, "later"));
    assert_non_null(strstr((char *)b.ptr, "hello"));
    /* The end was announced: nobody cut the connection. */
    assert_true(SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);
    assert_int_equal(l.requests, 5);
    tls_close(ssl, fd);
    buf_fini(&b);
}

/* Requests in records of their own that arrive at once: the later ones wait, encrypted. */
static void pipelined_records(void **state)
{
    (void)state;
    struct buf b = {0};
    int fd;
    static const char request[] = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char last[] = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    SSL *ssl = tls_connect(&fd);
    for (int i = 0; i < 4; i++) /* without a turn of the loop between them */
        assert_int_equal(SSL_write(ssl, request, sizeof(request) - 1), sizeof(request) - 1);
    assert_int_equal(SSL_write(ssl, last, sizeof(last) - 1), sizeof(last) - 1);
    for (int i = 0; i < 2000 && l.requests < 5; i++)
        loopback_turn(&l);
    assert_int_equal(l.requests, 5);
    tls_until(ssl, &b, NULL);
    assert_non_null(strstr((char *)b.ptr, "hello"));
    tls_close(ssl, fd);
    buf_fini(&b);
}

static void large_bodies(void **state)
{
    (void)state;
    enum { BYTES = 3 << 20 };
    struct buf b = {0};
    char text[96];
    int fd;
    SSL *ssl = tls_connect(&fd);
    assert_int_equal(buf_reserve(&b, BYTES), OK);
    memset(b.ptr, 'y', BYTES);
    snprintf(text, sizeof(text), "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
             BYTES);
    tls_send(ssl, slice_cstr(text));
    tls_send(ssl, SLICE(b.ptr, BYTES));
    tls_until(ssl, &b, "3145728");
    assert_non_null(strstr((char *)b.ptr, "200 OK"));
    snprintf(text, sizeof(text), "GET /big/%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
             4 * BYTES);
    tls_send(ssl, slice_cstr(text));
    for (int i = 0; i < 20; i++)
        loopback_turn(&l);
    size_t got = tls_until(ssl, &b, NULL);
    assert_true(got > 4 * BYTES && got < 4 * BYTES + 300);
    assert_true(SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);
    assert_true(l.queued_max <= l.limits.write_high_bytes + 65536 + 300);
    tls_close(ssl, fd);
    buf_fini(&b);
}

static void cut_off(void **state)
{
    (void)state;
    struct buf b = {0};
    int fd;
    SSL *ssl = tls_connect(&fd);
    tls_send(ssl, SLICE_LIT("GET /abort HTTP/1.1\r\nHost: x\r\n\r\n"));
    tls_until(ssl, &b, NULL);
    assert_false(SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);
    tls_close(ssl, fd);
    /* The client goes in the middle of its body. */
    ssl = tls_connect(&fd);
    tls_send(ssl, SLICE_LIT("PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n12345"));
    assert_true(loopback_wait(&l, &l.requests, 2));
    tls_close(ssl, fd);
    for (int i = 0; i < 2000 && l.body_err == OK; i++)
        loopback_turn(&l);
    assert_int_equal(l.body_err, ERR_CONN_LOST);
    buf_fini(&b);
}

static void not_tls(void **state)
{
    (void)state;
    int fd = client_connect(&l);
    client_text(&l, fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client_until(&l, fd, NULL);
    assert_true(client_closed());
    assert_int_equal(l.requests, 0);
    close(fd);
    struct ssl_ctx_st *ctx = NULL;
    assert_int_equal(http_tls_context_new("/nonexistent", key, &ctx), ERR_CONFIG);
}

/* ---- clients that end with a reset ---- */

static void hard_close(int fd)
{
    struct linger hard = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(fd);
}

static void all_gone(void)
{
    for (int i = 0; i < 5000 && (l.live || http_server_stats(l.server)->connections); i++) {
        loopback_turn(&l);
        poll(NULL, 0, i < 100 ? 0 : 1);
    }
    assert_int_equal(l.live, 0);
    assert_int_equal(http_server_stats(l.server)->connections, 0);
}

static void still_serves(void)
{
    struct buf b = {0};
    int fd;
    SSL *ssl = tls_connect(&fd);
    tls_send(ssl, SLICE_LIT("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
    tls_until(ssl, &b, "hello");
    assert_non_null(strstr((char *)b.ptr, "200 OK"));
    tls_close(ssl, fd);
    buf_fini(&b);
    all_gone();
}

/* The server's last words, an alert or its own greeting, meet a dead socket. */
static void reset_in_the_handshake(void **state)
{
    (void)state;
    static const char *const openings[] = {NULL, "", "\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(openings); i++) {
        for (int turns = 0; turns < 3; turns++) {
            int fd = client_connect(&l);
            loopback_turn(&l);
            SSL *ssl = SSL_new(client_ctx);
            SSL_set_fd(ssl, fd);
            if (!openings[i]) /* the true greeting, all at once with the reset */
                assert_int_equal(SSL_connect(ssl), -1);
            else if (openings[i][0])
                assert_true(send(fd, openings[i], strlen(openings[i]), MSG_NOSIGNAL) > 0);
            for (int t = 0; t < turns; t++)
                loopback_turn(&l);
            SSL_free(ssl);
            hard_close(fd);
            all_gone();
        }
    }
    assert_int_equal(l.requests, 0);
    still_serves();
}

static void reset_in_a_response(void **state)
{
    (void)state;
    struct buf b = {0};
    int fd;
    SSL *ssl = tls_connect(&fd);
    tls_send(ssl, SLICE_LIT("GET /big/50000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    tls_until(ssl, &b, "xxxx");
    SSL_free(ssl);
    hard_close(fd);
    assert_true(loopback_wait(&l, &l.gone, 1));
    all_gone();
    /* ... and before it: the answer comes after the reset, and before the server knows of it. */
    ssl = tls_connect(&fd);
    tls_send(ssl, SLICE_LIT("GET /silent HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(loopback_wait(&l, &l.requests, 2));
    SSL_free(ssl);
    hard_close(fd);
    assert_true(loopback_wait(&l, &l.gone, 2));
    all_gone();
    ssl = tls_connect(&fd);
    static const char close_after[] = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_int_equal(SSL_write(ssl, close_after, sizeof(close_after) - 1), sizeof(close_after) - 1);
    SSL_free(ssl);
    hard_close(fd);
    all_gone();
    buf_fini(&b);
    still_serves();
}

static void reset_in_a_body(void **state)
{
    (void)state;
    static const char *const targets[] = {"/count", "/ignore", "/readlater"};
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        char text[128];
        int fd, n = snprintf(text, sizeof(text),
                             "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n12345",
                             targets[i]);
        SSL *ssl = tls_connect(&fd);
        tls_send(ssl, SLICE(text, (size_t)n));
        assert_true(loopback_wait(&l, &l.requests, (unsigned)i + 1));
        assert_int_equal(SSL_write(ssl, text, n), n);
        SSL_free(ssl);
        hard_close(fd);
        all_gone();
    }
    assert_int_equal(l.body_err, ERR_CONN_LOST);
    still_serves();
}

/* Requests that wait, encrypted and decrypted, behind one that is being answered. */
static void reset_with_requests_waiting(void **state)
{
    (void)state;
    static const char *const firsts[] = {"/later", "/big/5000000", "/abort", "/hello"};
    for (size_t i = 0; i < ARRAY_COUNT(firsts); i++) {
        for (int turns = 0; turns < 4; turns++) {
            char text[512];
            int fd, n = snprintf(text, sizeof(text),
                                 "GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
                                 "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
                                 "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123",
                                 firsts[i]);
            SSL *ssl = tls_connect(&fd);
            for (int k = 0; k < 3; k++)
                assert_int_equal(SSL_write(ssl, text, n), n);
            for (int t = 0; t < turns; t++)
                loopback_turn(&l);
            SSL_free(ssl);
            hard_close(fd);
            all_gone();
        }
    }
    still_serves();
}

/* Each message of this client asks for an answer, which it never reads. */
static void answers_nobody_reads(void **state)
{
    (void)state;
    int fd = connect_narrow(), n = 0;
    SSL *ssl = tls_over(fd);
    assert_int_equal(SSL_version(ssl), TLS1_3_VERSION);
    while (n < 100000 && http_server_stats(l.server)->connections) {
        int done = SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
        if (done == 1)
            done = SSL_do_handshake(ssl);
        if (++n % 100 == 0)
            loopback_turn(&l);
        if (done != 1 && !again(ssl, done))
            break;
    }
    unsigned timeouts = (unsigned)http_server_stats(l.server)->timeouts;
    tls_close(ssl, fd);
    all_gone();
    assert_int_equal(timeouts, 0); /* it did not come to that */
    assert_true(n < 100000);
    still_serves();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(small_requests),
                                       TEST(pipelined_records),
                                       TEST(large_bodies),
                                       TEST(cut_off),
                                       TEST(not_tls),
                                       TEST(reset_in_the_handshake),
                                       TEST(reset_in_a_response),
                                       TEST(reset_in_a_body),
                                       TEST(reset_with_requests_waiting),
                                       TEST(answers_nobody_reads)};
    return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
