/* cairn-bench: a load generator for S3 over HTTP/1.1, one thread, epoll, signed requests, every
 * body verified.  Also measures the disk and speaks to plain web servers, so that one run gives
 * ratios.
 *
 *   cairn-bench get    4 KiB-like objects, GET in a loop         cairn-bench put    PUT in a loop
 *   cairn-bench list   pages of 1000 keys, or one page (--query) cairn-bench fill   PUT each once
 *   cairn-bench fsync  time of one 4 KiB write + fdatasync       cairn-bench disk   sequential
 * synced rate cairn-bench files  the same bodies as plain files under --dir, for a web server
 * beside Prints one line of JSON. */
#include "common/base/check.h"
#include "common/base/slice.h"
#include "common/crypto/codec.h"
#include "common/crypto/digest.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNS_MAX 1024
#define PORTS_MAX 16
#define LATENCIES_MAX (1u << 22)
#define IN_BYTES (256u << 10)

enum mode { MODE_GET, MODE_PUT, MODE_FILL, MODE_LIST, MODE_FSYNC, MODE_DISK, MODE_FILES };

struct options {
    enum mode mode;
    unsigned ports[PORTS_MAX], port_count, conns;
    double seconds;
    uint64_t count, objects, first, size;
    const char *bucket, *prefix, *access, *secret, *dir, *path, *query;
    bool sign;
};

struct conn {
    int fd;
    unsigned port;
    uint64_t object, sent_at_ns;
    struct buf out;
    size_t out_done;
    uint64_t body_left_out; /* of a PUT, generated as it is sent */
    uint64_t body_at;
    uint8_t *in;
    size_t in_len;
    bool in_body, busy;
    unsigned status;
    uint64_t body_bytes, body_done;
    bool chunked;
    uint64_t keys;
    char after[128]; /* where a list goes on */
};

static struct options o = {.port_count = 0,
                           .conns = 1,
                           .seconds = 5,
                           .objects = 1000,
                           .size = 4096,
                           .bucket = "bench",
                           .prefix = "o",
                           .sign = true,
                           .dir = "."};
static struct conn conns[CONNS_MAX];
static uint32_t *latencies_us;
static uint64_t latency_count, done, errors, bytes, keys_listed, started_count, deadline_ns;
static int epoll_fd;
static uint8_t *pattern; /* pattern[i] for any offset modulo PATTERN */
#define PATTERN (1u << 20)

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "cairn-bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- signing (SigV4, UNSIGNED-PAYLOAD: the wire is not what is measured) ---- */

static void sign(struct buf *out, const char *method, const char *path, const char *query,
                 unsigned port, uint64_t length)
{
    static char day[16], stamp[32];
    static uint8_t key[SHA256_BYTES];
    static time_t at;
    char host[32], canonical[2048], to_sign[256], hex[2 * SHA256_BYTES + 1];
    uint8_t hash[SHA256_BYTES];
    time_t t = time(NULL);
    snprintf(host, sizeof(host), "127.0.0.1:%u", port);
    buf_printf(out, "%s %s%s%s HTTP/1.1\r\nHost: %s\r\n", method, path, *query ? "?" : "", query,
               host);
    if (strcmp(method, "PUT") == 0)
        buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)length);
    if (!o.sign) {
        buf_cstr(out, "\r\n");
        return;
    }
    if (t != at) {
        struct tm tm;
        char secret[256];
        gmtime_r(&t, &tm);
        strftime(day, sizeof(day), "%Y%m%d", &tm);
        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
        snprintf(secret, sizeof(secret), "AWS4%s", o.secret);
        hmac_sha256(slice_cstr(secret), slice_cstr(day), key);
        hmac_sha256(SLICE(key, SHA256_BYTES), SLICE_LIT("us-east-1"), key);
        hmac_sha256(SLICE(key, SHA256_BYTES), SLICE_LIT("s3"), key);
        hmac_sha256(SLICE(key, SHA256_BYTES), SLICE_LIT("aws4_request"), key);
        at = t;
    }
    snprintf(canonical, sizeof(canonical),
             "%s\n%s\n%s\nhost:%s\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:%s\n\n"
             "host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD",
             method, path, query, host, stamp);
    sha256(slice_cstr(canonical), hash);
    hex_encode(SLICE(hash, SHA256_BYTES), hex);
    hex[2 * SHA256_BYTES] = 0;
    snprintf(to_sign, sizeof(to_sign), "AWS4-HMAC-SHA256\n%s\n%s/us-east-1/s3/aws4_request\n%s",
             stamp, day, hex);
    hmac_sha256(SLICE(key, SHA256_BYTES), slice_cstr(to_sign), hash);
    hex_encode(SLICE(hash, SHA256_BYTES), hex);
    hex[2 * SHA256_BYTES] = 0;
    buf_printf(out,
               "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: %s\r\n"
               "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/s3/aws4_request,"
               "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=%s\r\n\r\n",
               stamp, o.access, day, hex);
}

/* ---- requests ---- */

static bool more_to_start(void)
{
    if (o.count)
        return started_count < o.count;
    return now_ns() < deadline_ns;
}

static void watch(struct conn *c, bool out)
{
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e) != 0)
        die("epoll_ctl");
}

static void flush(struct conn *c)
{
    for (;;) {
        ssize_t n;
        if (c->out_done < c->out.len) {
            n = send(c->fd, c->out.ptr + c->out_done, c->out.len - c->out_done,
                     c->body_left_out ? MSG_MORE : 0);
            if (n > 0)
                c->out_done += (size_t)n;
        } else if (c->body_left_out > 0) {
            size_t at = c->body_at % PATTERN, want = PATTERN - at;
            n = send(c->fd, pattern + at, MIN(want, c->body_left_out), 0);
            if (n > 0) {
                c->body_left_out -= (uint64_t)n;
                c->body_at += (uint64_t)n;
            }
        } else {
            watch(c, false);
            return;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch(c, true);
            return;
        }
        if (n < 0)
            die("send");
    }
}

/* As a query's values are signed: everything but unreserved characters as %XX. */
static void encode(const char *text, char *ret)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-_.~", *text))
            *ret++ = *text;
        else
            ret += sprintf(ret, "%%%02X", (unsigned)(unsigned char)*text);
    }
    *ret = 0;
}

static void next_request(struct conn *c)
{
    char path[512], query[512] = ""; /* as they are signed */
    c->busy = false;
    if (!more_to_start())
        return;
    uint64_t serial = started_count++;
    c->busy = true;
    c->object = o.mode == MODE_FILL || o.mode == MODE_PUT ? serial % o.objects
                                                          : (serial * 2654435761u) % o.objects;
    buf_clear(&c->out);
    c->out_done = c->in_len = 0;
    c->in_body = false;
    c->body_done = c->body_bytes = 0;
    c->sent_at_ns = now_ns();
    bool put = o.mode == MODE_PUT || o.mode == MODE_FILL;
    if (o.path)
        snprintf(path, sizeof(path), "%s", o.path);
    else if (o.mode == MODE_LIST)
        snprintf(path, sizeof(path), "/%s", o.bucket);
    else
        snprintf(path, sizeof(path), "/%s/%s%08llu", o.bucket, o.prefix,
                 (unsigned long long)(o.first + c->object));
    if (o.mode == MODE_LIST && o.query) {
        snprintf(query, sizeof(query), "%s", o.query);
    } else if (o.mode == MODE_LIST) {
        char after[3 * sizeof(c->after)];
        encode(c->after, after);
        snprintf(query, sizeof(query), "list-type=2&max-keys=1000%s%s",
                 *after ? "&start-after=" : "", after);
    }
    c->keys = 0;
    c->body_left_out = put ? o.size : 0;
    c->body_at = c->object * 97; /* bodies of different objects differ */
    sign(&c->out, put ? "PUT" : "GET", path, query, c->port, o.size);
    flush(c);
}

static void finished(struct conn *c)
{
    uint64_t us = (now_ns() - c->sent_at_ns) / 1000;
    if (latency_count < LATENCIES_MAX)
        latencies_us[latency_count++] = (uint32_t)MIN(us, UINT32_MAX);
    bool ok = c->status == 200;
    if (o.mode == MODE_GET && ok && c->body_done != o.size)
        ok = false;
    if (o.mode == MODE_LIST && ok) {
        keys_listed += c->keys;
        if (c->keys < 1000)
            c->after[0] = 0;
    }
    done++;
    errors += !ok;
    bytes += o.mode == MODE_PUT || o.mode == MODE_FILL ? o.size : c->body_done;
    next_request(c);
}

/* ---- responses ---- */

static void verify(struct conn *c, const uint8_t *p, size_t n)
{
    if (o.mode != MODE_GET || c->status != 200 || o.path)
        return;
    uint64_t at = c->object * 97 + c->body_done;
    while (n > 0) {
        size_t off = at % PATTERN, m = MIN(n, PATTERN - off);
        if (memcmp(p, pattern + off, m) != 0) {
            fprintf(stderr, "cairn-bench: wrong bytes in object %llu at %llu\n",
                    (unsigned long long)c->object, (unsigned long long)c->body_done);
            exit(3);
        }
        p += m;
        n -= m;
        at += m;
    }
}

/* Counts keys of a list page and remembers the last one. */
static void scan_list(struct conn *c)
{
    static const char open[] = "<Key>";
    uint8_t *p = c->in, *end = c->in + c->in_len;
    while ((p = memmem(p, (size_t)(end - p), open, 5)) != NULL) {
        p += 5;
        uint8_t *close = memchr(p, '<', (size_t)(end - p));
        if (!close)
            break;
        size_t n = MIN((size_t)(close - p), sizeof(c->after) - 1);
        memcpy(c->after, p, n);
        c->after[n] = 0;
        c->keys++;
    }
}

static const char *header(const char *head, const char *name)
{
    const char *p = strcasestr(head, name);
    return p ? p + strlen(name) : NULL;
}

/* Parses the head once it is complete.  Lists are kept whole in `in`; other bodies are streamed. */
static bool parse_head(struct conn *c)
{
    uint8_t *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end)
        return false;
    *end = 0;
    const char *head = (const char *)c->in, *length = header(head, "\r\ncontent-length:");
    c->status = (unsigned)atoi(head + 9);
    c->body_bytes = length ? strtoull(length, NULL, 10) : 0;
    c->chunked = header(head, "\r\ntransfer-encoding: chunked") != NULL;
    size_t used = (size_t)(end + 4 - c->in);
    memmove(c->in, c->in + used, c->in_len - used);
    c->in_len -= used;
    c->in_body = true;
    if (c->status != 200 && errors < 3)
        fprintf(stderr, "cairn-bench: status %u\n", c->status);
    return true;
}

static bool list_complete(struct conn *c)
{
    if (c->chunked)
        return c->in_len >= 5 && memcmp(c->in + c->in_len - 5, "0\r\n\r\n", 5) == 0;
    return c->in_len >= c->body_bytes;
}

static void readable(struct conn *c)
{
    for (;;) {
        size_t cap = o.mode == MODE_LIST ? 4 * IN_BYTES : IN_BYTES;
        ssize_t n = recv(c->fd, c->in + c->in_len, cap - c->in_len, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0)
            die(n == 0 ? "server closed the connection" : "recv");
        c->in_len += (size_t)n;
        if (!c->in_body && !parse_head(c))
            continue;
        if (o.mode == MODE_LIST) {
            if (!list_complete(c))
                continue;
            scan_list(c);
            c->in_len = 0;
            finished(c);
            return;
        }
        verify(c, c->in, c->in_len);
        c->body_done += c->in_len;
        c->in_len = 0;
        if (c->body_done >= c->body_bytes) {
            finished(c);
            return;
        }
    }
}

static void open_conn(struct conn *c, unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->port = port;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in = malloc(o.mode == MODE_LIST ? 4 * IN_BYTES : IN_BYTES);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (!c->in || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e) != 0)
        die("open");
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void run_http(void)
{
    latencies_us = malloc(LATENCIES_MAX * sizeof(*latencies_us));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!latencies_us || epoll_fd < 0)
        die("setup");
    for (unsigned i = 0; i < o.conns; i++)
        open_conn(&conns[i], o.ports[i % o.port_count]);
    uint64_t began = now_ns();
    deadline_ns = began + (uint64_t)(o.seconds * 1e9);
    for (unsigned i = 0; i < o.conns; i++)
        next_request(&conns[i]);
    for (bool busy = true; busy;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, 10000);
        if (n == 0) {
            errno = ETIMEDOUT;
            die("nothing answered for 10 s");
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                flush(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                readable(c);
        }
        busy = false;
        for (unsigned i = 0; i < o.conns && !busy; i++)
            busy = conns[i].busy;
    }
    double s = (double)(now_ns() - began) / 1e9;
    qsort(latencies_us, latency_count, sizeof(*latencies_us), by_value);
#define Q(q) (latency_count ? latencies_us[(uint64_t)((double)(latency_count - 1) * (q))] : 0)
    printf(
        "{\"ops\": %llu, \"errors\": %llu, \"seconds\": %.3f, \"ops_per_s\": %.1f, "
        "\"mb_per_s\": %.1f, "
        "\"keys\": %llu, \"keys_per_s\": %.0f, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u}\n",
        (unsigned long long)done, (unsigned long long)errors, s, (double)done / s,
        (double)bytes / s / 1e6, (unsigned long long)keys_listed, (double)keys_listed / s, Q(0.5),
        Q(0.99), Q(1.0));
}

/* ---- the disk itself ---- */

static void run_disk(void)
{
    char path[512];
    bool small = o.mode == MODE_FSYNC;
    size_t piece = small ? 4096 : 4u << 20;
    uint64_t area = 256u << 20, at = 0, n = 0;
    snprintf(path, sizeof(path), "%s/cairn-bench-disk", o.dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    /* Written once before: what is measured then is data, not metadata. */
    for (uint64_t i = 0; i < area; i += PATTERN)
        if (pwrite(fd, pattern, PATTERN, (off_t)i) != PATTERN)
            die("pwrite");
    if (fsync(fd) != 0)
        die("fsync");
    uint8_t *block = aligned_alloc(4096, piece);
    CHECK(block);
    memset(block, 0x5a, piece);
    uint64_t began = now_ns(), until = began + (uint64_t)(o.seconds * 1e9);
    while (now_ns() < until) {
        if (pwrite(fd, block, piece, (off_t)at) != (ssize_t)piece || fdatasync(fd) != 0)
            die("write and sync");
        at = (at + piece) % area;
        n++;
    }
    double s = (double)(now_ns() - began) / 1e9;
    printf("{\"ops\": %llu, \"ops_per_s\": %.1f, \"mb_per_s\": %.1f, \"us_per_op\": %.1f}\n",
           (unsigned long long)n, (double)n / s, (double)(n * piece) / s / 1e6,
           s * 1e6 / (double)n);
    close(fd);
    unlink(path);
    free(block);
}

static void run_files(void)
{
    char path[512];
    for (uint64_t i = 0; i < o.objects; i++) {
        snprintf(path, sizeof(path), "%s/%s%08llu", o.dir, o.prefix, (unsigned long long)i);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0)
            die(path);
        for (uint64_t done_bytes = 0; done_bytes < o.size;) {
            size_t off = (i * 97 + done_bytes) % PATTERN, want = PATTERN - off;
            ssize_t n = write(fd, pattern + off, MIN(want, o.size - done_bytes));
            if (n <= 0)
                die(path);
            done_bytes += (uint64_t)n;
        }
        close(fd);
    }
    printf("{\"ops\": %llu}\n", (unsigned long long)o.objects);
}

static void usage(void)
{
    puts("usage: cairn-bench get|put|fill|list|fsync|disk|files [--port=N[,N...]] [--conns=N] "
         "[--seconds=S]\n"
         "  [--count=N] [--objects=N] [--size=BYTES] [--bucket=B] [--prefix=P] [--access=A] "
         "[--secret=S]\n"
         "  [--path=/plain/path (unsigned)] [--dir=D]\n"
         "  [--first=N (number of the first object)] [--query=QUERY (of each list: names in order, "
         "values "
         "encoded)]");
}

static void parse_ports(char *text)
{
    for (char *p = strtok(text, ","); p && o.port_count < PORTS_MAX; p = strtok(NULL, ","))
        o.ports[o.port_count++] = (unsigned)atoi(p);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"get", "put", "fill", "list", "fsync", "disk", "files"};
    static const struct option flags[] = {
        {"port", required_argument, NULL, 'p'},    {"conns", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'}, {"count", required_argument, NULL, 'n'},
        {"objects", required_argument, NULL, 'o'}, {"size", required_argument, NULL, 'z'},
        {"bucket", required_argument, NULL, 'b'},  {"prefix", required_argument, NULL, 'x'},
        {"access", required_argument, NULL, 'a'},  {"secret", required_argument, NULL, 'k'},
        {"path", required_argument, NULL, 'u'},    {"dir", required_argument, NULL, 'd'},
        {"first", required_argument, NULL, 'f'},   {"query", required_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    o.access = getenv("AWS_ACCESS_KEY_ID");
    o.secret = getenv("AWS_SECRET_ACCESS_KEY");
    size_t mode = 0;
    for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (c) {
        case 'p': parse_ports(optarg); break;
        case 'c': o.conns = (unsigned)MIN(CONNS_MAX, MAX(1, atoi(optarg))); break;
        case 's': o.seconds = atof(optarg); break;
        case 'n': o.count = strtoull(optarg, NULL, 10); break;
        case 'o': o.objects = MAX(1, strtoull(optarg, NULL, 10)); break;
        case 'z': o.size = strtoull(optarg, NULL, 10); break;
        case 'b': o.bucket = optarg; break;
        case 'x': o.prefix = optarg; break;
        case 'a': o.access = optarg; break;
        case 'k': o.secret = optarg; break;
        case 'u':
            o.path = optarg;
            o.sign = false;
            break;
        case 'd': o.dir = optarg; break;
        case 'f': o.first = strtoull(optarg, NULL, 10); break;
        case 'q': o.query = optarg; break;
        default: usage(); return c == 'h' ? 0 : 2;
        }
    }
    while (optind < argc && mode < ARRAY_COUNT(modes) && strcmp(modes[mode], argv[optind]) != 0)
        mode++;
    if (optind + 1 != argc || mode == ARRAY_COUNT(modes)) {
        usage();
        return 2;
    }
    o.mode = (enum mode)mode;
    pattern = malloc(PATTERN);
    CHECK(pattern);
    uint64_t x = 88172645463325252ull;
    for (size_t i = 0; i < PATTERN; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        pattern[i] = (uint8_t)x;
    }
    if (o.mode >= MODE_FSYNC) {
        (o.mode == MODE_FILES ? run_files : run_disk)();
        return 0;
    }
    if (o.port_count == 0 || (o.sign && (!o.access || !o.secret))) {
        fputs("cairn-bench: --port, and --access/--secret or "
              "AWS_ACCESS_KEY_ID/AWS_SECRET_ACCESS_KEY, are needed\n",
              stderr);
        return 2;
    }
    if (o.mode == MODE_FILL)
        o.count = o.objects;
    run_http();
    return errors ? 1 : 0;
}
