/* The RocksDB store: conformance, then crashes of real processes: children that die by _exit or
 * SIGKILL, cut and damaged log files, a replace that dies at each of its steps. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/env_uv.h"
#include "common/env_uv/kv_rocksdb_impl.h"
#include "tests/unit/common/env/kv_suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct world {
    uv_loop_t loop;
    struct env_uv env;
    struct kv_suite s;
    char failure[256];
};

static char dir[64], store[80];

static void fresh_dir(void)
{
    char command[128];
    if (dir[0]) {
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0);
    }
    snprintf(dir, sizeof(dir), "%s", "/tmp/cairn-kv-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(store, sizeof(store), "%s/store", dir);
}

static void pump(struct kv_suite *s)
{
    struct kv_rocksdb *r = container_of(s->kv, struct kv_rocksdb, kv);
    while (r->pending > 0)
        uv_run(&((struct world *)s->arg)->loop, UV_RUN_ONCE);
}

static void on_failed(void *arg, int err, const char *text)
{
    struct world *w = arg;
    snprintf(w->failure, sizeof(w->failure), "%s %s", err_name(err), text);
}

static int try_open(struct world *w, enum kv_mode mode, struct buf *text)
{
    memset(w, 0, sizeof(*w));
    uv_loop_init(&w->loop);
    assert_int_equal(env_uv_init(&w->env, &w->loop), OK);
    struct kv_rocksdb_config config = {.mode = mode, .path = store, .on_failed = on_failed, .arg = w};
    w->s = (struct kv_suite){.mode = mode, .pump = pump, .arg = w, .dir = dir};
    return kv_rocksdb_open(&w->env.env, &config, &w->s.kv, text);
}

static void end_loop(struct world *w)
{
    env_uv_fini(&w->env);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void world_open(struct world *w, enum kv_mode mode)
{
    struct buf text = {0};
    int err = try_open(w, mode, &text);
    if (err != OK)
        fail_msg("%s: %.*s", err_name(err), (int)text.len, (const char *)text.ptr);
    buf_fini(&text);
}

static void world_close(struct world *w)
{
    w->s.kv->ops->close(w->s.kv);
    end_loop(w);
}

static void conforms(void **state)
{
    (void)state;
    void (*const parts[])(struct kv_suite *) = {kv_suite_iterators, kv_suite_snapshots,
                                                kv_suite_batches, kv_suite_replace};
    for (enum kv_mode mode = KV_LOG; mode <= KV_STATE; mode++) {
        struct world w;
        for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
            fresh_dir();
            world_open(&w, mode);
            parts[i](&w.s);
            world_close(&w);
        }
        fresh_dir();
        world_open(&w, mode);
        kv_suite_model(&w.s, 7, mode == KV_LOG ? 150 : 600);
        world_close(&w);
    }
}

/* Children run this very program anew (RocksDB's threads do not survive a fork): the part's name, the
 * directory, and a number come as arguments; acknowledgements go to descriptor 3. */
#define ACK_FD 3
static int die_at;

static pid_t start_child(const char *part, int ack_fd)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing running */
        char number[16];
        snprintf(number, sizeof(number), "%d", die_at);
        if (ack_fd >= 0)
            dup2(ack_fd, ACK_FD);
        execl("/proc/self/exe", "test_kv_rocksdb", part, dir, number, (char *)NULL);
        _exit(96);
    }
    return pid;
}

static int in_child(const char *part)
{
    int status = 0;
    pid_t pid = start_child(part, -1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* ---- what survives ---- */
static void put_three(struct world *w)
{
    if (kv_suite_put(&w->s, KV_INDEX, "a", "1") || kv_suite_put(&w->s, KV_BODY, "b", "2") ||
        kv_suite_put(&w->s, KV_INDEX, "c", "3"))
        _exit(98);
}

static void log_writes_survive_the_process(void **state)
{
    (void)state;
    fresh_dir();
    assert_int_equal(in_child("put_three"), 0);
    struct world w;
    world_open(&w, KV_LOG);
    assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""), "a=1 c=3");
    assert_string_equal(kv_suite_get(&w.s, KV_BODY, "b"), "2");
    world_close(&w);
}

/* Tells the parent of each acknowledged write, until it is killed. */
static void write_for_ever(struct world *w)
{
    for (unsigned i = 0;; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%08u", i);
        if (kv_suite_put(&w->s, KV_INDEX, key, "v") != OK)
            _exit(98);
        if (write(ACK_FD, &i, sizeof(i)) != sizeof(i))
            _exit(97);
    }
}

static void acknowledged_writes_survive_sigkill(void **state)
{
    (void)state;
    fresh_dir();
    int acks[2];
    assert_int_equal(pipe2(acks, O_CLOEXEC), 0);
    pid_t pid = start_child("write_for_ever", acks[1]);
    close(acks[1]);
    unsigned last = 0;
    do
        assert_int_equal(read(acks[0], &last, sizeof(last)), sizeof(last));
    while (last < 40);
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    for (unsigned i; read(acks[0], &i, sizeof(i)) == sizeof(i);)
        last = i;
    close(acks[0]);
    struct world w;
    world_open(&w, KV_LOG);
    for (unsigned i = 0; i <= last; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%08u", i);
        assert_non_null(kv_suite_get(&w.s, KV_INDEX, key));
    }
    world_close(&w);
}

static void flush_between(struct world *w)
{
    char big[4000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    if (kv_suite_put(&w->s, KV_INDEX, "a", "1") || kv_suite_put(&w->s, KV_BODY, "a", big) ||
        kv_suite_flush(&w->s) || kv_suite_put(&w->s, KV_INDEX, "a", "2") ||
        kv_suite_put(&w->s, KV_BODY, "b", "2"))
        _exit(98);
}

static void state_goes_back_to_the_flush_all_families_together(void **state)
{
    (void)state;
    fresh_dir();
    assert_int_equal(in_child("flush_between"), 0);
    struct world w;
    world_open(&w, KV_STATE);
    assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""), "a=1");
    assert_non_null(kv_suite_get(&w.s, KV_BODY, "a"));
    assert_null(kv_suite_get(&w.s, KV_BODY, "b"));
    world_close(&w);
    /* A clean close loses nothing. */
    world_open(&w, KV_STATE);
    kv_suite_put(&w.s, KV_INDEX, "z", "late");
    world_close(&w);
    world_open(&w, KV_STATE);
    assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "z"), "late");
    world_close(&w);
}

/* ---- damaged logs ---- */
#define LOG_RECORDS 30

static void put_records(struct world *w, int first)
{
    for (int i = first; i < first + LOG_RECORDS; i++) {
        char key[16], value[3001];
        snprintf(key, sizeof(key), "%04d", i);
        memset(value, 'a' + i % 26, sizeof(value) - 1); /* some records cross a block of 32 KiB */
        value[sizeof(value) - 1] = 0;
        if (kv_suite_put(&w->s, KV_INDEX, key, value) != OK)
            _exit(98);
    }
}

static void put_many(struct world *w)
{
    put_records(w, 0);
}

static void put_many_times(struct world *w)
{
    for (int i = 0; i < 4; i++)
        put_records(w, i * LOG_RECORDS);
}

static void put_bytes(struct world *w, int number, size_t bytes)
{
    char key[16], *value = calloc(1, bytes + 1);
    snprintf(key, sizeof(key), "%04d", number);
    memset(value, 'x', bytes);
    if (kv_suite_put(&w->s, KV_INDEX, key, value) != OK)
        _exit(98);
    free(value);
}

#define LARGE_BYTES (40 << 10)
static void put_large(struct world *w)
{
    for (int i = 0; i < 2; i++)
        put_bytes(w, i, LARGE_BYTES);
}

/* Two logs that are both needed: no thread flushes the first one's memtable. */
#define TWO_LOGS_RECORDS 4
#define TWO_LOGS_VALUE_BYTES (20 << 10)
static void two_logs(struct world *w)
{
    rocksdb_env_t *env = rocksdb_create_default_env();
    rocksdb_env_set_background_threads(env, 0);
    rocksdb_env_set_high_priority_background_threads(env, 0);
    put_bytes(w, 0, TWO_LOGS_VALUE_BYTES);
    put_bytes(w, 1, TWO_LOGS_VALUE_BYTES);
    struct kv_rocksdb *r = container_of(w->s.kv, struct kv_rocksdb, kv);
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 0);
    char *message = NULL;
    rocksdb_flush(r->db, options, &message); /* begins the next log */
    if (message)
        _exit(97);
    put_bytes(w, 2, TWO_LOGS_VALUE_BYTES);
    put_bytes(w, 3, TWO_LOGS_VALUE_BYTES);
}

/* Where the records end: no value here ends with a zero. */
static off_t records_end(const char *path)
{
    static uint8_t bytes[1 << 20];
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, bytes, sizeof(bytes));
    assert_true(n >= 0 && n < (ssize_t)sizeof(bytes));
    close(fd);
    while (n > 0 && bytes[n - 1] == 0)
        n--;
    return n;
}

/* The store's log file with data in it, and where its records end. */
static void log_path(char *ret, size_t size, off_t *ret_bytes)
{
    DIR *d = opendir(store);
    assert_non_null(d);
    *ret_bytes = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[512];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", store, e->d_name);
        if (strstr(e->d_name, ".log") && stat(path, &st) == 0 && st.st_size > 0) {
            snprintf(ret, size, "%s", path);
            *ret_bytes = records_end(path);
        }
    }
    closedir(d);
    assert_true(*ret_bytes > 0);
}

/* Of two.  Returns: where its records end. */
static off_t older_log(char *ret, size_t size)
{
    unsigned long numbers[2];
    unsigned count = 0;
    DIR *d = opendir(store);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, ".log")) {
            assert_true(count < 2);
            numbers[count++] = strtoul(e->d_name, NULL, 10);
        }
    closedir(d);
    assert_int_equal(count, 2);
    snprintf(ret, size, "%s/%06lu.log", store, MIN(numbers[0], numbers[1]));
    return records_end(ret);
}

/* As if the log had never received what comes behind its first record. */
static void forget_all_but_one(const char *path)
{
    uint8_t head[7];
    struct stat st;
    int fd = open(path, O_RDWR);
    assert_int_equal(read(fd, head, sizeof(head)), (ssize_t)sizeof(head));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(ftruncate(fd, (off_t)sizeof(head) + head[4] + (head[5] << 8)), 0);
    assert_int_equal(ftruncate(fd, st.st_size), 0);
    close(fd);
}

static int count_keys(struct world *w)
{
    int count = 0;
    struct kv_iter *it =
        w->s.kv->ops->iter_new(w->s.kv, NULL, KV_INDEX, SLICE_EMPTY, SLICE_EMPTY);
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it))
        count++;
    it->ops->free(it);
    return count;
}

static void overwrite(const char *path, off_t at, int byte, size_t len)
{
    int fd = open(path, O_RDWR);
    uint8_t bytes[4096];
    assert_true(len <= sizeof(bytes));
    assert_int_equal(pread(fd, bytes, len, at), (ssize_t)len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte < 0 ? (uint8_t)(bytes[i] ^ 0x40) : (uint8_t)byte;
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

enum damage { CUT, ZERO_TAIL, GARBAGE_TAIL, ENDS_IN_ZEROS };

static void torn_tails_are_dropped(void **state)
{
    (void)state;
    const struct {
        enum damage damage;
        off_t bytes; /* from the end */
    } cases[] = {{CUT, 1},        {CUT, 3000},       {CUT, 3050},          {ZERO_TAIL, 100},
                 {ZERO_TAIL, 3000}, {GARBAGE_TAIL, 50}, {ENDS_IN_ZEROS, 5000}, {ENDS_IN_ZEROS, 3},
                 {ENDS_IN_ZEROS, 0}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        fresh_dir();
        assert_int_equal(in_child("put_many"), 0);
        char path[512];
        off_t size;
        log_path(path, sizeof(path), &size);
        off_t at = size - cases[i].bytes;
        switch (cases[i].damage) {
        case CUT: assert_int_equal(truncate(path, at), 0); break;
        case ZERO_TAIL: overwrite(path, at, 0, (size_t)cases[i].bytes); break;
        case GARBAGE_TAIL: overwrite(path, at, -1, (size_t)cases[i].bytes); break;
        case ENDS_IN_ZEROS: assert_int_equal(truncate(path, size + cases[i].bytes), 0); break;
        }
        struct world w;
        world_open(&w, KV_LOG);
        int lost = cases[i].damage == ENDS_IN_ZEROS ? 0 : cases[i].bytes > 3030 ? 2 : 1;
        assert_int_equal(count_keys(&w), LOG_RECORDS - lost);
        assert_int_equal(kv_suite_put(&w.s, KV_INDEX, "after", "1"), OK);
        world_close(&w);
        world_open(&w, KV_LOG);
        assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "after"), "1");
        world_close(&w);
    }
}

static off_t file_bytes(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void damage_in_the_middle_is_corruption(void **state)
{
    (void)state;
    /* A flipped byte in a value, a header's length made too large, a page of zeros, the first byte. */
    const struct {
        off_t at;
        int byte;
        size_t len;
    } cases[] = {{10000, -1, 1}, {32768 + 5, 0xff, 1}, {40960, 0, 4096}, {0, -1, 1}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        fresh_dir();
        assert_int_equal(in_child("put_many"), 0);
        char path[512];
        off_t end;
        log_path(path, sizeof(path), &end);
        off_t size = file_bytes(path);
        overwrite(path, cases[i].at, cases[i].byte, cases[i].len);
        struct world w;
        struct buf text = {0};
        int err = try_open(&w, KV_LOG, &text);
        if (err != ERR_CORRUPT)
            fail_msg("case %zu: %s", i, err_name(err));
        assert_true(text.len > 0);
        buf_fini(&text);
        end_loop(&w);
        assert_int_equal(file_bytes(path), size); /* the evidence stays */
    }
}

/* Zeros are ahead of small writes, and large ones do without. */
static void zeros_are_written_ahead(void **state)
{
    (void)state;
    fresh_dir();
    assert_int_equal(in_child("put_three"), 0);
    char path[512];
    off_t end;
    log_path(path, sizeof(path), &end);
    assert_true(end < 1000 && file_bytes(path) == 256 << 10);
    fresh_dir();
    assert_int_equal(in_child("put_large"), 0);
    log_path(path, sizeof(path), &end);
    assert_true(end > 2 * LARGE_BYTES && file_bytes(path) == end);
    fresh_dir();
    assert_int_equal(in_child("put_many_times"), 0); /* the zeros are used up, and more are written */
    log_path(path, sizeof(path), &end);
    assert_true(end > 256 << 10 && file_bytes(path) >= end && file_bytes(path) <= 768 << 10);
    struct world w;
    world_open(&w, KV_LOG);
    assert_int_equal(count_keys(&w), 4 * LOG_RECORDS);
    world_close(&w);
}

/* The older of two logs may end in zeros; in anything else only if nothing follows.  That it lost a
 * record to them is seen by its length. */
static void older_logs_end_in_zeros(void **state)
{
    (void)state;
    enum { AS_IT_IS, TORN, LOST };
    for (int damage = AS_IT_IS; damage <= LOST; damage++) {
        fresh_dir();
        assert_int_equal(in_child("two_logs"), 0);
        char path[512];
        off_t end = older_log(path, sizeof(path));
        assert_true(end < file_bytes(path));
        if (damage == TORN)
            overwrite(path, end - 10, -1, 1);
        else if (damage == LOST)
            forget_all_but_one(path);
        struct world w;
        struct buf text = {0};
        int err = try_open(&w, KV_LOG, &text);
        assert_int_equal(err, damage == AS_IT_IS ? OK : ERR_CORRUPT);
        if (err == OK) {
            assert_int_equal(count_keys(&w), TWO_LOGS_RECORDS);
            world_close(&w);
        } else {
            end_loop(&w);
        }
        buf_fini(&text);
    }
}

static void damaged_tables_are_found_when_read(void **state)
{
    (void)state;
    fresh_dir();
    struct world w;
    world_open(&w, KV_STATE);
    char value[1500];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    kv_suite_put(&w.s, KV_INDEX, "a", value);
    world_close(&w);
    DIR *d = opendir(store);
    for (struct dirent *e; (e = readdir(d));) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", store, e->d_name);
        if (strstr(e->d_name, ".sst"))
            overwrite(path, 8, -1, 1);
    }
    closedir(d);
    world_open(&w, KV_STATE);
    struct buf got = {0};
    assert_int_equal(w.s.kv->ops->get(w.s.kv, NULL, KV_INDEX, SLICE_LIT("a"), &got), ERR_CORRUPT);
    buf_fini(&got);
    world_close(&w);
}

/* ---- group commit, bounds, failure ---- */
#define GROUP 50
struct write {
    struct kv_write_req req;
    int calls, order;
};
static int next_order;

static void on_write(struct kv_write_req *req)
{
    struct write *w = container_of(req, struct write, req);
    w->calls++;
    w->order = next_order++;
}

static void many_writes_share_a_sync_in_order(void **state)
{
    (void)state;
    fresh_dir();
    struct world w;
    world_open(&w, KV_LOG);
    static struct write writes[GROUP];
    next_order = 0;
    for (int i = 0; i < GROUP; i++) {
        writes[i] = (struct write){.req = {.cb = on_write, .batch = kv_batch_new()}};
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        kv_batch_put(writes[i].req.batch, KV_INDEX, SLICE_LIT("same key"), slice_cstr(value));
        assert_int_equal(w.s.kv->ops->write_start(w.s.kv, &writes[i].req), OK);
    }
    pump(&w.s);
    for (int i = 0; i < GROUP; i++)
        assert_true(writes[i].calls == 1 && writes[i].req.err == OK && writes[i].order == i);
    assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "same key"), "49");
    struct kv_rocksdb_stats stats;
    kv_rocksdb_stats(w.s.kv, &stats);
    assert_int_equal(stats.synced_writes, GROUP);
    assert_true(stats.group_commits < GROUP / 2);
    assert_int_equal(stats.queued_bytes, 0);
    world_close(&w);
}

static void queue_is_bounded(void **state)
{
    (void)state;
    fresh_dir();
    struct world w;
    world_open(&w, KV_LOG);
    container_of(w.s.kv, struct kv_rocksdb, kv)->queue_bytes_max = 100000;
    static struct write writes[400];
    char value[1000] = {0};
    int accepted = 0, err = OK;
    for (; accepted < 400; accepted++) {
        struct write *one = &writes[accepted];
        *one = (struct write){.req = {.cb = on_write, .batch = kv_batch_new()}};
        kv_batch_put(one->req.batch, KV_INDEX, SLICE_LIT("k"), SLICE(value, sizeof(value)));
        err = w.s.kv->ops->write_start(w.s.kv, &one->req);
        if (err != OK) {
            kv_batch_free(one->req.batch);
            break;
        }
    }
    assert_int_equal(err, ERR_LIMIT);
    assert_true(accepted >= 90);
    pump(&w.s);
    assert_int_equal(kv_suite_put(&w.s, KV_INDEX, "k", "v"), OK); /* it takes more again */
    world_close(&w);
}

static void failed_store_refuses_changes(void **state)
{
    (void)state;
    fresh_dir();
    struct world w;
    world_open(&w, KV_LOG);
    assert_int_equal(kv_suite_put(&w.s, KV_INDEX, "a", "1"), OK);
    kv_rocksdb_fail(container_of(w.s.kv, struct kv_rocksdb, kv), ERR_IO, "planted");
    kv_rocksdb_fail(container_of(w.s.kv, struct kv_rocksdb, kv), ERR_IO, "again");
    uv_run(&w.loop, UV_RUN_NOWAIT);
    assert_non_null(strstr(w.failure, "ERR_IO"));
    assert_non_null(strstr(w.failure, "planted"));
    assert_int_equal(kv_suite_put(&w.s, KV_INDEX, "b", "1"), ERR_IO);
    assert_int_equal(kv_suite_flush(&w.s), ERR_IO);
    struct kv_batch *b = kv_batch_new();
    assert_int_equal(w.s.kv->ops->write(w.s.kv, &b), ERR_IO);
    const char *const none[KV_FAMILY_COUNT] = {NULL, NULL};
    assert_int_equal(w.s.kv->ops->replace_range(w.s.kv, SLICE_EMPTY, SLICE_EMPTY, none, NULL), ERR_IO);
    assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "a"), "1"); /* reading goes on */
    world_close(&w);
}

/* A file size limit makes the log's next append fail as a full or broken disk does. */
static void fail_by_limit(struct world *w)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, NULL);
    if (kv_suite_put(&w->s, KV_INDEX, "before", "1") != OK)
        _exit(1);
    struct rlimit limit = {200, 200};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(2);
    char big[5000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    if (kv_suite_put(&w->s, KV_INDEX, "lost", big) != ERR_IO)
        _exit(3);
    if (kv_suite_put(&w->s, KV_INDEX, "later", "1") != ERR_IO)
        _exit(4);
    uv_run(&w->loop, UV_RUN_NOWAIT);
    if (!w->failure[0])
        _exit(5);
}

static void io_error_stops_the_store_and_keeps_what_was_acknowledged(void **state)
{
    (void)state;
    fresh_dir();
    assert_int_equal(in_child("fail_by_limit"), 0);
    struct world w;
    world_open(&w, KV_LOG);
    assert_string_equal(kv_suite_get(&w.s, KV_INDEX, "before"), "1");
    assert_null(kv_suite_get(&w.s, KV_INDEX, "later"));
    world_close(&w);
}

/* ---- replacing, with a death at each step ---- */
static void die(int step)
{
    if (step == die_at)
        kill(getpid(), SIGKILL);
}

static void replace_and_die(struct world *w)
{
    char index[512], body[512];
    snprintf(index, sizeof(index), "%s/index", dir);
    snprintf(body, sizeof(body), "%s/body", dir);
    uint64_t bytes;
    char big[4000];
    memset(big, 'n', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    bool failed = kv_suite_put(&w->s, KV_INDEX, "m1", "new") || kv_suite_put(&w->s, KV_BODY, "m1", big);
    failed = failed || w->s.kv->ops->export_range(w->s.kv, NULL, KV_INDEX, SLICE_LIT("m"),
                                                  SLICE_LIT("n"), index, &bytes);
    failed = failed || w->s.kv->ops->export_range(w->s.kv, NULL, KV_BODY, SLICE_LIT("m"),
                                                  SLICE_LIT("n"), body, &bytes);
    failed = failed || kv_suite_put(&w->s, KV_INDEX, "m1", "old") ||
             kv_suite_put(&w->s, KV_BODY, "m1", "old") || kv_suite_put(&w->s, KV_INDEX, "m2", "old") ||
             kv_suite_put(&w->s, KV_INDEX, "applied", "old") || kv_suite_put(&w->s, KV_INDEX, "x", "x") ||
             kv_suite_flush(&w->s);
    kv_rocksdb_replace_step_hook = die;
    const char *const paths[KV_FAMILY_COUNT] = {index, body};
    struct kv_batch *extra = kv_batch_new();
    kv_batch_put(extra, KV_INDEX, SLICE_LIT("applied"), SLICE_LIT("overwritten below"));
    kv_batch_put(extra, KV_INDEX, SLICE_LIT("applied"), SLICE_LIT("new"));
    kv_batch_put(extra, KV_BODY, SLICE_LIT("z"), SLICE_LIT("new"));
    failed = failed || w->s.kv->ops->replace_range(w->s.kv, SLICE_LIT("m"), SLICE_LIT("n"), paths, &extra);
    if (failed)
        _exit(98);
}

static void replace_is_atomic_across_a_crash(void **state)
{
    (void)state;
    for (die_at = 1; die_at <= 5; die_at++) {
        fresh_dir();
        int status = in_child("replace_and_die");
        assert_true(die_at == 5 ? status == 0 : WIFSIGNALED(status));
        struct world w;
        world_open(&w, KV_STATE);
        bool is_new = die_at >= 4;
        assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""),
                            is_new ? "applied=new m1=new x=x" : "applied=old m1=old m2=old x=x");
        assert_int_equal(strlen(kv_suite_get(&w.s, KV_BODY, "m1")), is_new ? 255 : 3);
        assert_int_equal(kv_suite_get(&w.s, KV_BODY, "z") != NULL, is_new);
        char leftover[512];
        snprintf(leftover, sizeof(leftover), "%s/replace", store);
        assert_int_not_equal(access(leftover, F_OK), 0);
        world_close(&w);
    }
}

static void replace_leaves_snapshots_alone(void **state)
{
    (void)state;
    fresh_dir();
    struct world w;
    world_open(&w, KV_STATE);
    kv_suite_put(&w.s, KV_INDEX, "m", "old");
    const struct kv_snapshot *snap = w.s.kv->ops->snapshot_new(w.s.kv);
    const char *const none[KV_FAMILY_COUNT] = {NULL, NULL};
    assert_int_equal(w.s.kv->ops->replace_range(w.s.kv, SLICE_EMPTY, SLICE_EMPTY, none, NULL), OK);
    assert_string_equal(kv_suite_dump(&w.s, snap, KV_INDEX, "", ""), "m=old");
    assert_string_equal(kv_suite_dump(&w.s, NULL, KV_INDEX, "", ""), "");
    w.s.kv->ops->snapshot_free(w.s.kv, snap);
    kv_suite_put(&w.s, KV_INDEX, "m", "newer than the tombstone");
    assert_non_null(kv_suite_get(&w.s, KV_INDEX, "m"));
    world_close(&w);
}

static int cleanup(void **state)
{
    (void)state;
    fresh_dir();
    return rmdir(dir);
}

static int run_child(const char *part)
{
    static const struct {
        const char *name;
        enum kv_mode mode;
        void (*run)(struct world *);
    } parts[] = {
        {"put_three", KV_LOG, put_three},         {"write_for_ever", KV_LOG, write_for_ever},
        {"flush_between", KV_STATE, flush_between}, {"put_many", KV_LOG, put_many},
        {"put_many_times", KV_LOG, put_many_times}, {"put_large", KV_LOG, put_large},
        {"two_logs", KV_LOG, two_logs},
        {"fail_by_limit", KV_LOG, fail_by_limit}, {"replace_and_die", KV_STATE, replace_and_die},
    };
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        if (strcmp(parts[i].name, part) != 0)
            continue;
        static struct world w;
        if (try_open(&w, parts[i].mode, NULL) != OK)
            _exit(99);
        parts[i].run(&w);
        _exit(0); /* without closing: what is only in memory is lost */
    }
    return 95;
}

int main(int argc, char **argv)
{
    if (argc == 4) {
        snprintf(dir, sizeof(dir), "%s", argv[2]);
        snprintf(store, sizeof(store), "%s/store", dir);
        die_at = atoi(argv[3]);
        return run_child(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conforms),
        cmocka_unit_test(log_writes_survive_the_process),
        cmocka_unit_test(acknowledged_writes_survive_sigkill),
        cmocka_unit_test(state_goes_back_to_the_flush_all_families_together),
        cmocka_unit_test(torn_tails_are_dropped),
        cmocka_unit_test(damage_in_the_middle_is_corruption),
        cmocka_unit_test(zeros_are_written_ahead),
        cmocka_unit_test(older_logs_end_in_zeros),
        cmocka_unit_test(damaged_tables_are_found_when_read),
        cmocka_unit_test(many_writes_share_a_sync_in_order),
        cmocka_unit_test(queue_is_bounded),
        cmocka_unit_test(failed_store_refuses_changes),
        cmocka_unit_test(io_error_stops_the_store_and_keeps_what_was_acknowledged),
        cmocka_unit_test(replace_is_atomic_across_a_crash),
        cmocka_unit_test(replace_leaves_snapshots_alone),
    };
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
