/* The process frame from outside: this program runs itself as a service, sends it signals and
 * requests, proper and malformed, and looks at its exit status; and the request parser from inside. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/proc/proc.h"
#include "common/proc/proc_admin.h"
#include "common/proc/proc_crash.h"
#include "common/proc/proc_data.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* ---- the service that the tests start ---- */
static const struct config_param params[] = {
    {.name = "on_drain", .type = CONFIG_STRING, .value = "finish", .help = "finish, hang."},
    {.name = "drain_timeout", .type = CONFIG_DURATION, .value = "10s", .help = "Drain timeout."},
    {.name = "is_ready", .type = CONFIG_BOOL, .value = "true", .help = "Ready."},
    {.name = "crash", .type = CONFIG_STRING, .value = "", .help = "overflow, null, check, thread."},
    {.name = "fail", .type = CONFIG_BOOL, .value = "false", .help = "Fails at start."},
};

static void on_drain(void *arg)
{
    struct proc *p = arg;
    if (strcmp(config_string(p->config, "on_drain"), "finish") == 0)
        proc_drained(p);
}

static bool ready(void *arg, struct buf *ret_reason)
{
    struct proc *p = arg;
    buf_cstr(ret_reason, "waiting for a lease");
    return config_bool(p->config, "is_ready");
}

static void page_echo(void *arg, const char *path, const char *query, struct admin_response *ret)
{
    (void)arg;
    buf_printf(&ret->body, "{\"path\":\"%s\",\"query\":\"%s\"}", path, query);
}

/* ---- crashes; plain code, since a sanitizer would end the process before the signal does ---- */
#define PLAIN __attribute__((noinline, no_sanitize("address", "undefined")))

static volatile int bottom = -1;

PLAIN int descend(int depth)
{
    volatile char room[512];
    room[0] = (char)depth;
    return depth == bottom ? room[0] : descend(depth + 1) + room[0];
}

PLAIN int read_at(const volatile int *address)
{
    return *address;
}

static void *descending_thread(void *arg)
{
    if (proc_crash_stack() == OK)
        descend(0);
    return arg;
}

static void crash(const char *how)
{
    pthread_t thread;
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (strcmp(how, "overflow") == 0)
        descend(0);
    if (strcmp(how, "null") == 0)
        read_at(NULL);
    if (strcmp(how, "check") == 0)
        CHECK(strcmp(how, "a \"quoted\" word") == 0);
    if (strcmp(how, "thread") == 0 && pthread_create(&thread, NULL, descending_thread, NULL) == 0)
        pthread_join(thread, NULL);
}

static int serve(int argc, char **argv)
{
    static struct proc p;
    int status;
    if (!proc_init(&p, "cairn-test", argc, argv, params, ARRAY_COUNT(params), &status))
        return status;
    p.on_drain = on_drain;
    p.ready = ready;
    p.arg = &p;
    p.drain_timeout_ms = config_duration_ms(p.config, "drain_timeout");
    if (proc_admin_route(&p, "/debug/echo", page_echo, NULL) != OK ||
        proc_admin_route_prefix(&p, "/debug/tree/", page_echo, NULL) != OK)
        return 3;
    if (config_bool(p.config, "fail"))
        proc_fail(&p, 4, "disk.failed", "planted");
    crash(config_string(p.config, "crash"));
    printf("port %u\n", proc_admin_port(&p));
    fflush(stdout);
    status = proc_run(&p);
    proc_fini(&p);
    return status;
}

/* ---- starting and stopping it ---- */
static char dir[64];

struct service {
    pid_t pid;
    int out, err;
    unsigned port;
};

static struct service start(char *const extra[])
{
    int out[2], err[2];
    char data[96];
    snprintf(data, sizeof(data), "--data_dir=%s/data", dir);
    char *argv[32] = {"cairn-test", "serve", "--admin_listen=127.0.0.1:0", data};
    int n = 4;
    for (; extra && *extra; extra++)
        argv[n++] = *extra;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    fflush(NULL);
    struct service s = {.pid = fork(), .out = out[0], .err = err[0]};
    assert_true(s.pid >= 0);
    if (s.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing running */
        dup2(out[1], 1);
        dup2(err[1], 2);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    return s;
}

/* All that comes until the other end closes, or until `until` has come. */
static const char *read_until(int fd, const char *until)
{
    static char text[200000];
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        text[len] = 0;
        if (until && strstr(text, until))
            break;
    }
    text[len] = 0;
    return text;
}

static struct service start_ready(char *const extra[])
{
    struct service s = start(extra);
    const char *text = read_until(s.out, "\n");
    if (sscanf(text, "port %u", &s.port) != 1)
        fail_msg("did not start: %s", read_until(s.err, NULL));
    return s;
}

static int wait_status(struct service *s)
{
    int status = 0;
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    close(s->out);
    close(s->err);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int stop(struct service *s, int number)
{
    assert_int_equal(kill(s->pid, number), 0);
    return wait_status(s);
}

/* ---- talking to it ---- */
static int dial(unsigned port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static const char *ask_raw(unsigned port, struct slice request)
{
    int fd = dial(port);
    /* The server may refuse and close before all has been sent. */
    for (size_t at = 0; at < request.len;) {
        ssize_t n = send(fd, request.ptr + at, request.len - at, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    const char *text = read_until(fd, NULL);
    close(fd);
    return text;
}

static const char *get(unsigned port, const char *target)
{
    char request[512];
    int n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    return ask_raw(port, SLICE(request, (size_t)n));
}

#define ARGS(...) ((char *const[]){__VA_ARGS__, NULL})
#define NODE "--node_id=n1"

static void pages(void **state)
{
    (void)state;
    struct service s = start_ready(ARGS(NODE));
    const char *text = get(s.port, "/healthz");
    assert_ptr_equal(strstr(text, "HTTP/1.1 200 OK\r\n"), text);
    assert_non_null(strstr(text, "\r\n\r\nok\n"));
    text = get(s.port, "/metrics");
    assert_non_null(strstr(text, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(text, "# TYPE process_resident_memory_bytes gauge\n"));
    assert_non_null(strstr(text, "cairn_build_info{program=\"cairn-test\""));
    assert_non_null(strstr(get(s.port, "/readyz"), "200 OK"));
    text = get(s.port, "/debug/echo?a=1&b");
    assert_non_null(strstr(text, "Content-Type: application/json"));
    assert_non_null(strstr(text, "{\"path\":\"/debug/echo\",\"query\":\"a=1&b\"}"));
    assert_non_null(strstr(get(s.port, "/debug/tree/x/y"), "\"path\":\"/debug/tree/x/y\""));
    assert_non_null(strstr(get(s.port, "/debug/tree"), "404 Not Found"));
    text = ask_raw(s.port, SLICE_LIT("HEAD /healthz HTTP/1.0\r\n\r\n"));
    assert_non_null(strstr(text, "Content-Length: 3\r\n"));
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    assert_int_equal(stop(&s, SIGTERM), 0);

    s = start_ready(ARGS(NODE, "--is_ready=false"));
    text = get(s.port, "/readyz");
    assert_non_null(strstr(text, "503 Service Unavailable"));
    assert_non_null(strstr(text, "waiting for a lease\n"));
    assert_int_equal(stop(&s, SIGINT), 0);
}

static void malformed_requests(void **state)
{
    (void)state;
    struct service s = start_ready(ARGS(NODE));
    const struct {
        struct slice request;
        const char *says;
    } cases[] = {
        {SLICE_LIT("\r\n\r\n"), "400"},
        {SLICE_LIT("GET\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz\r\n\r\n"), "400"},
        {SLICE_LIT("GET healthz HTTP/1.1\r\n\r\n"), "400"},
        {SLICE_LIT("GET  /healthz HTTP/1.1\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz HTTP/2.0\r\n\r\n"), "505"},
        {SLICE_LIT("GET /healthz FTP/1.1\r\n\r\n"), "400"},
        {SLICE_LIT("POST /healthz HTTP/1.1\r\n\r\n"), "405"},
        {SLICE_LIT("DELETE /healthz HTTP/1.1\r\n\r\n"), "405"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), "413"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\ncontent-length:0\r\n\r\n"), "200"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\n\r\n"), "413"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\nno colon\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\n folded: x\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\nname : x\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\n: x\r\n\r\n"), "400"},
        {SLICE_LIT("GET /heal\0thz HTTP/1.1\r\n\r\n"), "400"},
        {SLICE_LIT("GET /h\x01 HTTP/1.1\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\na: b\0c\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\na: b\nc: d\r\n\r\n"), "400"},
        {SLICE_LIT("GET /healthz HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n"), "200"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *text = ask_raw(s.port, cases[i].request);
        if (strncmp(text, "HTTP/1.1 ", 9) != 0 || strncmp(text + 9, cases[i].says, 3) != 0)
            fail_msg("case %zu: %.40s", i, text);
        assert_null(strstr(text + 9, "HTTP/1.1 ")); /* one answer a connection */
    }
    static char flood[3 * ADMIN_REQUEST_BYTES_MAX];
    memset(flood, 'a', sizeof(flood));
    memcpy(flood, "GET /", 5);
    /* Unread bytes make the kernel reset the connection, so the answer may be cut; the server lives. */
    const char *text = ask_raw(s.port, SLICE(flood, ADMIN_REQUEST_BYTES_MAX));
    assert_non_null(strstr(text, "431"));
    ask_raw(s.port, SLICE(flood, sizeof(flood)));
    assert_non_null(strstr(get(s.port, "/healthz"), "200 OK"));
    assert_int_equal(stop(&s, SIGTERM), 0);
}

/* More idle connections than the server keeps: it still answers a new one. */
static void idle_connections_give_way(void **state)
{
    (void)state;
    struct service s = start_ready(ARGS(NODE));
    int fds[ADMIN_CONNS_MAX + 20];
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++) {
        fds[i] = dial(s.port);
        assert_int_equal(send(fds[i], "GET /", 5, MSG_NOSIGNAL), 5);
    }
    assert_non_null(strstr(get(s.port, "/healthz"), "200 OK"));
    struct pollfd oldest = {.fd = fds[0], .events = POLLIN};
    /* Closed by the server, long before its patience with the request ends. */
    assert_int_equal(poll(&oldest, 1, ADMIN_TIMEOUT_MS / 2), 1);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        close(fds[i]);
    assert_int_equal(stop(&s, SIGTERM), 0);
}

static void signals_end_it(void **state)
{
    (void)state;
    struct service s = start_ready(ARGS(NODE, "--on_drain=hang"));
    kill(s.pid, SIGTERM);
    read_until(s.err, "proc.draining");
    assert_non_null(strstr(get(s.port, "/readyz"), "503"));
    assert_int_equal(stop(&s, SIGTERM), 128 + SIGTERM); /* the second one does not wait */

    s = start_ready(ARGS(NODE, "--on_drain=hang", "--drain_timeout=20ms"));
    assert_int_equal(stop(&s, SIGTERM), 1);

    s = start(ARGS(NODE, "--fail"));
    assert_non_null(strstr(read_until(s.err, NULL), "ERROR n1 disk.failed reason=planted"));
    assert_int_equal(wait_status(&s), 4);
}

static void hangup_reopens_the_log(void **state)
{
    (void)state;
    char flag[128], path[96], moved[96];
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(moved, sizeof(moved), "%s/log.1", dir);
    snprintf(flag, sizeof(flag), "--log_file=%s", path);
    struct service s = start_ready(ARGS(NODE, flag, "--log_format=json"));
    assert_int_equal(rename(path, moved), 0);
    kill(s.pid, SIGHUP);
    while (access(path, F_OK) != 0) /* the service makes it; a hang is the test's time limit */
        assert_non_null(strstr(get(s.port, "/healthz"), "200 OK"));
    assert_int_equal(stop(&s, SIGTERM), 0);
    int fd = open(path, O_RDONLY);
    const char *text = read_until(fd, NULL);
    assert_non_null(strstr(text, "\"event\":\"proc.log_reopened\""));
    assert_non_null(strstr(text, "\"event\":\"proc.stopped\""));
    assert_null(strstr(text, "proc.started"));
    close(fd);
    unlink(path);
    unlink(moved);
}

static void run_to_end(char *const args[], int status, const char *out_says, const char *err_says)
{
    struct service s = start(args);
    const char *text = read_until(s.out, NULL);
    if (out_says && !strstr(text, out_says))
        fail_msg("\"%s\" does not say \"%s\"", text, out_says);
    text = read_until(s.err, NULL);
    if (err_says && !strstr(text, err_says))
        fail_msg("\"%s\" does not say \"%s\"", text, err_says);
    assert_int_equal(wait_status(&s), status);
}

static void configuration_ends_it(void **state)
{
    (void)state;
    char cluster[96], flag[128];
    snprintf(cluster, sizeof(cluster), "%s/cluster.yaml", dir);
    snprintf(flag, sizeof(flag), "--cluster_file=%s", cluster);
    FILE *f = fopen(cluster, "w");
    fputs("cluster_id: 00112233445566778899aabbccddeeff\nnodes:\n"
          "  - {id: n1, zone: z1, role: metanode, addr: \"127.0.0.1:7101\"}\n", f);
    fclose(f);
    run_to_end(ARGS("--help"), 0, "Usage: cairn-test", NULL);
    run_to_end(ARGS("--version"), 0, "cairn-test " CAIRN_VERSION, NULL);
    run_to_end(ARGS(NODE, "--check-config", flag), 0, "metanodes in 1 zone", NULL);
    run_to_end(ARGS(NODE, "--print-config"), 0, "node_id: \"n1\"  # --node_id", NULL);
    run_to_end(NULL, 2, NULL, "cairn-test: node_id is not set");
    run_to_end(ARGS(NODE, "--nonsense=1"), 2, NULL, "not a parameter");
    run_to_end(ARGS(NODE, "--log_level=loud"), 2, NULL, "--log_level: log_level: 'loud' is unknown");
    run_to_end(ARGS(NODE, "--log_format=xml"), 2, NULL, "use text or json");
    run_to_end(ARGS(NODE, flag, "--zone=z9"), 2, NULL, "cluster.yaml:3 places 'n1' in zone 'z1'");
    run_to_end(ARGS(NODE, "--cluster_file=/nonexistent"), 2, NULL, "/nonexistent: cannot be opened");
    run_to_end(ARGS(NODE, "--log_file=/nonexistent/log"), 1, NULL, "log_file /nonexistent/log cannot be opened");
    unlink(cluster);
}

static void data_directory_has_one_owner(void **state)
{
    (void)state;
    struct service s = start_ready(ARGS(NODE));
    char says[96];
    snprintf(says, sizeof(says), "is in use by another process, pid %d", (int)s.pid);
    run_to_end(ARGS(NODE), 1, NULL, says);
    char busy[64];
    snprintf(busy, sizeof(busy), "--admin_listen=127.0.0.1:%u", s.port);
    char other[96];
    snprintf(other, sizeof(other), "--data_dir=%s/data2", dir);
    run_to_end(ARGS(NODE, other, busy), 1, NULL, "address already in use");
    assert_int_equal(stop(&s, SIGTERM), 0);
    run_to_end(ARGS("--node_id=n2"), 1, NULL, "belongs to node 'n1', not to 'n2'");
    s = start_ready(ARGS(NODE)); /* its own node may come back */
    assert_int_equal(stop(&s, SIGTERM), 0);
}

static void formats_are_checked(void **state)
{
    (void)state;
    char data[96], path[128];
    snprintf(data, sizeof(data), "%s/data3", dir);
    snprintf(path, sizeof(path), "%s/FORMAT", data);
    struct buf why = {0};
    int fd = -1;
    assert_int_equal(data_dir_open(data, "n1", "c1", &fd, &why), OK);
    int second;
    assert_int_equal(data_dir_open(data, "n1", "c1", &second, &why), ERR_CONFLICT);
    close(fd);
    assert_int_equal(data_dir_open(data, "n1", "c2", &fd, &why), ERR_CONFIG);
    const struct {
        const char *text;
        int err;
    } cases[] = {{"format: 2\nnode: n1\n", ERR_VERSION}, {"", ERR_CORRUPT}, {"format: x\n", ERR_CORRUPT},
                 {"format: 1\nnode: n1\ncluster: \n", OK}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        FILE *f = fopen(path, "w");
        fputs(cases[i].text, f);
        fclose(f);
        assert_int_equal(data_dir_open(data, "n1", "c1", &fd, &why), cases[i].err);
        if (cases[i].err == OK)
            close(fd);
    }
    buf_fini(&why);
}

/* Runs the service until it dies of `number`; what it said on standard error, or in its log file. */
static const char *last_words(char *const args[], int number, const char *log)
{
    struct service s = start(args);
    char *text = strdup(read_until(s.err, NULL));
    int status = 0;
    assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
    close(s.out);
    close(s.err);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != number)
        fail_msg("status %x, not signal %d: %s", (unsigned)status, number, text);
    if (!log) {
        static char kept[200000];
        snprintf(kept, sizeof(kept), "%s", text);
        free(text);
        return kept;
    }
    free(text);
    int fd = open(log, O_RDONLY);
    const char *lines = read_until(fd, NULL);
    close(fd);
    unlink(log);
    return lines;
}

static void says(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("\"%s\" does not say \"%s\"", text, what);
}

static void a_crash_is_reported(void **state)
{
    (void)state;
    const char *text = last_words(ARGS(NODE, "--crash=null"), SIGSEGV, NULL);
    says(text, "Z ERROR n1 proc.crashed program=cairn-test version=" CAIRN_VERSION " pid=");
    says(text, " signal=SIGSEGV address=0x0\n");
    says(text, "\ncairn-test(+0x"); /* frames; by name in programs linked with -rdynamic */
    assert_non_null(strstr(strstr(text, "proc.crashed"), "libc.so"));

    /* On a stack that has no room left, of the main thread or of another. */
    text = last_words(ARGS(NODE, "--crash=overflow"), SIGSEGV, NULL);
    says(text, " signal=SIGSEGV address=0x7f");
    says(text, "\ncairn-test(+0x");
    says(last_words(ARGS(NODE, "--crash=thread"), SIGSEGV, NULL), " signal=SIGSEGV address=0x7f");

    text = last_words(ARGS(NODE, "--crash=check"), SIGABRT, NULL);
    says(text, "CHECK failed: strcmp(how, ");
    says(text, " signal=SIGABRT sender_pid=");
    says(text, " check=\"strcmp(how, \\\"a \\\\\\\"quoted\\\\\\\" word\\\") == 0\" file=tests/unit/");
}

static void a_crash_is_in_the_log(void **state)
{
    (void)state;
    char flag[128], path[96];
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(flag, sizeof(flag), "--log_file=%s", path);
    const char *text = last_words(ARGS(NODE, flag, "--crash=overflow"), SIGSEGV, path);
    text = strstr(text, "ERROR n1 proc.crashed");
    assert_non_null(text);
    says(text, " frames=\"");
    says(text, " +");
    assert_string_equal(strchr(text, '\n'), "\n"); /* one line, the last */
    text = last_words(ARGS(NODE, flag, "--log_format=json", "--crash=null"), SIGSEGV, path);
    says(text, "Z\",\"level\":\"error\",\"node\":\"n1\",\"event\":\"proc.crashed\",\"program\":\"cairn-test\"");
    says(text, "\"signal\":\"SIGSEGV\",\"address\":\"0x0\",\"frames\":\"");
    assert_string_equal(text + strlen(text) - 3, "\"}\n");
}

/* Sent from outside it has no address; and a process without a handler ends as one with it does. */
static void a_signal_that_was_sent_has_a_sender(void **state)
{
    (void)state;
    struct service s = start_ready(ARGS(NODE));
    assert_int_equal(kill(s.pid, SIGFPE), 0);
    char sender[64];
    snprintf(sender, sizeof(sender), " signal=SIGFPE sender_pid=%d\n", (int)getpid());
    says(read_until(s.err, NULL), sender);
    int status = 0;
    assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGFPE);
    close(s.out);
    close(s.err);
}

static int cleanup(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0) {
        argv[1] = argv[0];
        return serve(argc - 1, argv + 1);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages),
        cmocka_unit_test(malformed_requests),
        cmocka_unit_test(idle_connections_give_way),
        cmocka_unit_test(signals_end_it),
        cmocka_unit_test(hangup_reopens_the_log),
        cmocka_unit_test(configuration_ends_it),
        cmocka_unit_test(data_directory_has_one_owner),
        cmocka_unit_test(formats_are_checked),
        cmocka_unit_test(a_crash_is_reported),
        cmocka_unit_test(a_crash_is_in_the_log),
        cmocka_unit_test(a_signal_that_was_sent_has_a_sender),
    };
    snprintf(dir, sizeof(dir), "/tmp/cairn-proc-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
